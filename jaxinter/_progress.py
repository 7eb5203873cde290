# SPDX-License-Identifier: Apache-2.0
"""The progress of everything long: done, rate, time left. A bar on stderr, gone when finished."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")
SECONDS_A_LINE = 30.0


class _Rate(ProgressColumn):
    """Items a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")


def track(items: Iterable[T], progress: bool | str, title: str, total: int) -> Iterator[T]:
    """`items`, with a bar that counts them where `progress` asks for one."""
    with shown(progress, title, total) as step:
        for done, item in enumerate(items, 1):
            yield item
            if step:
                step(done)


@contextmanager
def shown(progress: bool | str, title: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """What a `progress` argument asks for: a counter, by its own title where it is one; or None."""
    if not progress:
        yield None
        return
    with counter(progress if isinstance(progress, str) else title, total) as step:
        yield step


@contextmanager
def counter(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for work that says itself how much of it is done; in a log, a line now and then."""
    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield _lines(title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=total)
        yield lambda done: bars.update(task, completed=done)


def _lines(title: str, total: int) -> Callable[[int], None]:
    began = said = time.monotonic()
    before: int | None = None  # done by an earlier run: no part of the rate

    def step(done: int) -> None:
        nonlocal said, before
        before = done if before is None else before
        now = time.monotonic()
        if now - said < SECONDS_A_LINE or done == before:
            return
        said, rate = now, (done - before) / (now - began)
        left = f"{(total - done) / rate:,.0f} s left"
        print(f"{title}: {done:,} of {total:,}, {rate:,.3g}/s, {left}", file=sys.stderr, flush=True)

    return step
