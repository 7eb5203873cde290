# SPDX-License-Identifier: Apache-2.0
"""3b. A value function on every coalition, in chunks."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks, _progress
from jaxinter.masks import decode, players

__all__ = ["evaluate"]


def evaluate(
    value_fn: Callable[[np.ndarray], Any],
    n: int,
    *,
    batch_size: int = 1024,
    progress: bool | str = False,
) -> np.ndarray:
    """The worth of each of the 2^n coalitions: a table ``[2**n]`` or ``[outputs, 2**n]``.

    Args:
      value_fn: takes masks, bool ``[m, n]`` (True: present), gives ``[m]`` or ``[m, outputs]`` as
        any array. Coalitions come in index order; all chunks but the last have the same size.
      n: number of players.
      batch_size: coalitions in a call, m; 2^n inputs never exist at once.
      progress: show a progress bar with rate and time left; a string is its title.

    Returns:
      numpy, float32 or float64 as value_fn gives (integers in float64).

    Raises:
      ValueError: value_fn gave the wrong shape, or NaN or infinity (the message names the
        coalition), or the table does not fit in memory.

    >>> evaluate(lambda masks: masks.sum(axis=1), 2)
    array([0., 1., 1., 2.])
    """
    n = players("evaluate", n)
    if not callable(value_fn):
        raise TypeError(f"evaluate: value_fn must be callable; got {type(value_fn).__name__}")
    batch_size = min(_checks.count("evaluate", "batch_size", batch_size, least=1), 1 << n)
    advice = "Use fewer players."
    _checks.memory("evaluate", n, 8 << n, _checks.free_memory(), advice)
    starts: Iterable[int] = range(0, 1 << n, batch_size)
    if progress:
        title = progress if isinstance(progress, str) else "evaluating"
        starts = _progress.track(starts, title, -(-(1 << n) // batch_size))
    table: np.ndarray | None = None
    for first in starts:
        indices = np.arange(first, min(first + batch_size, 1 << n))
        part = _checked(value_fn(decode(indices, n)), indices)
        if table is None:
            _checks.memory(
                "evaluate", n, part.nbytes // len(part) << n, _checks.free_memory(), advice
            )
            table = np.empty((1 << n, *part.shape[1:]), part.dtype)
        elif part.shape[1:] != table.shape[1:]:
            raise ValueError(
                f"evaluate: value_fn gave {table.shape[1:]} outputs a coalition, "
                f"then {part.shape[1:]}"
            )
        table = table.astype(np.result_type(table, part), copy=False)
        table[indices] = part
    assert table is not None  # 2**n >= 1 coalitions
    return np.ascontiguousarray(table.T)


def _checked(worth: Any, indices: np.ndarray) -> np.ndarray:
    """What value_fn gave for `indices`, as a float array ``[m]`` or ``[m, outputs]``."""
    worth = _arrays.to_numpy("evaluate", "the result of value_fn", worth)
    if worth.ndim not in (1, 2) or len(worth) != len(indices):
        raise ValueError(
            "evaluate: value_fn must give [m] or [m, outputs] for masks [m, n], "
            f"m = {len(indices)}; got shape {worth.shape}"
        )
    worth = worth.astype(_checks.float_dtype("evaluate", "the result of value_fn", worth.dtype))
    bad = ~np.isfinite(worth).reshape(len(worth), -1).all(axis=1)
    if bad.any():
        index = int(indices[bad.argmax()])
        raise ValueError(
            f"evaluate: value_fn must give finite values; got {worth[bad.argmax()]} at coalition "
            f"{index} (players {[i for i in range(index.bit_length()) if index >> i & 1]} present)"
        )
    return worth
