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
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def _bars() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
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
