# SPDX-License-Identifier: Apache-2.0
"""3d. Many samples: one table each, in one file that is added to."""

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from jaxinter import _checks, _progress
from jaxinter._sample_file import KEY_BYTES, Store, open_store
from jaxinter.evaluate import Run, unheard
from jaxinter.value_fn import ValueFunction

__all__ = ["evaluate_samples"]


def evaluate_samples(
    value_fns: Iterable[ValueFunction],
    *,
    batch_size: int | str | None = None,
    memory: int | None = None,
    progress: bool | str = False,
    resume: str | os.PathLike | None = None,
    probe: bool | None = None,
) -> np.ndarray:
    """The tables of many samples, ``[samples, 2**n]`` or ``[samples, outputs, 2**n]``.

    Args:
      value_fns: one of each sample, of the same number of players, see `value_function`.
      resume: one file for all tables: ``.npz`` (arrays "values" and "keys") or ``.zarr`` (a group
        of the same). Samples that it holds already are skipped, others are added to it, whatever
        their order; the sample at which a run stopped goes on at its chunk. `extract_tables` reads
        it (of Zarr the array in it, ``path / "values"``).
      batch_size, memory, progress, probe: as of `evaluate`; the first sample alone is probed.

    Returns:
      the tables in the order of value_fns.

    Raises:
      ValueError: as of `evaluate`; the file is of another model: one finished sample is compared,
        and each that has no key.

    >>> fns = [ValueFunction(lambda masks, k=k: k * masks.sum(axis=1), 2) for k in (1, 2)]
    >>> evaluate_samples(fns)
    array([[0., 1., 1., 2.],
           [0., 2., 2., 4.]])
    """
    call = "evaluate_samples"
    fns = list(value_fns)
    if not fns:
        raise ValueError(f"{call}: value_fns must hold at least one; got none")
    for k, fn in enumerate(fns):
        if not isinstance(fn, ValueFunction):
            raise TypeError(
                f"{call}: value_fns must be ValueFunctions (see value_function); got "
                f"{type(fn).__name__} at {k}"
            )
        if fn.n_players != fns[0].n_players:
            raise ValueError(
                f"{call}: all samples must have the same number of players; got "
                f"{fns[0].n_players} and, at sample {k}, {fn.n_players}"
            )
        if len(fn.key.encode()) > KEY_BYTES:
            raise ValueError(f"{call}: keys must be of at most {KEY_BYTES} bytes; got {fn.key!r}")
    keys = [fn.key or f"sample {k}" for k, fn in enumerate(fns)]
    n, last = fns[0].n_players, None
    tables: np.ndarray | None = None
    with open_store(call, resume) as store, ExitStack() as stack:
        _refuse_others(f"{call}: {resume}", store, keys, fns, (batch_size, memory))
        shown = _progress.shown(progress, "evaluating", len(fns) << n)
        step = stack.enter_context(shown) or unheard
        for k, (key, fn) in enumerate(zip(keys, fns)):
            if key in store:
                table = store.read(key)
            else:
                run = Run(fn, None, batch_size, memory, probe if last is None else False)
                if last is not None:  # it knows of memory and, where that is asked, of safety
                    run.rows, run.safe = min(run.rows, last.rows), False
                try:
                    table = run.table(store.part(key), partial(_further, step, k << n))
                except BaseException as error:
                    kept = f"; those before it are in {resume}" if resume is not None else ""
                    error.add_note(f"{call}: at sample {k} of {len(fns)}{kept}")
                    raise
                last = run
            if tables is None:
                shape, dtype = store.layout() or (table.shape, table.dtype)
                needed = len(fns) * table.nbytes
                _checks.memory(call, n, needed, _checks.free_memory(), "Give fewer samples.")
                tables = np.empty((len(fns), *shape), dtype)
            if table.shape != tables.shape[1:] or table.dtype != tables.dtype:
                raise ValueError(
                    f"{call}: all samples must have the same outputs and dtype; got tables of "
                    f"{tables.dtype} {tables.shape[1:]} and, at sample {k}, {table.dtype} "
                    f"{table.shape}"
                )
            tables[k] = table
            if key not in store:
                store.append(key, tables[k])
            step((k + 1) << n)
    assert tables is not None  # of one sample at least
    return tables


def _refuse_others(
    what: str, store: Store, keys: list[str], fns: list[ValueFunction], options: tuple[Any, Any]
) -> None:
    """Refuses a store of another model, before anything is added to it."""
    layout, n = store.layout(), fns[0].n_players
    if layout is not None and layout[0][-1] != 1 << n:
        raise ValueError(f"{what} holds tables {layout[0]}; got samples of {n} players")
    compared = False
    for k, (key, fn) in enumerate(zip(keys, fns)):
        # Keys tell one sample from another; without them, their worths must.
        if key in store and not (compared and fn.key):
            run = Run(fn, None, *options, False)
            at = run.probed_coalitions()
            run.refuse_other(f"{what}, sample {k},", store.read(key).T[at], run.worths(at))
            compared = True


def _further(step: Callable[[int], None], before: int, done: int) -> None:
    step(before + done)
