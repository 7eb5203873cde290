# SPDX-License-Identifier: Apache-2.0
"""The progress bar of everything long: done, rate, time left. On stderr, gone when finished."""

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


class _Rate(ProgressColumn):
    """Items a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")


def _bars() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """`items`, with a bar that counts them."""
    with _bars() as bars:
        yield from bars.track(items, total=total, description=title)


@contextmanager
def counter(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for work that says itself how much of it is done."""
    with _bars() as bars:
        task = bars.add_task(title, total=total)
        yield lambda done: bars.update(task, completed=done)
