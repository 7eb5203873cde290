# SPDX-License-Identifier: Apache-2.0
"""3c. A value function on every coalition, in chunks: measured, stopped and resumed."""

import gc
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks, _progress
from jaxinter._table_file import Layout, TableFile
from jaxinter.masks import decode, players
from jaxinter.value_fn import ValueFunction

__all__ = ["evaluate"]

DEFAULT_ROWS = 1024  # coalitions a call where nothing is known of the model's memory
MOST_ROWS = 1 << 13  # more in a call gains nothing, and shows progress less often
# On a CPU more than this leaves its caches, and a row takes longer; other devices want more.
CPU_MEMORY = 64 << 20
DEFAULT_MEMORY = 1 << 30
PROBED_FROM = 8  # players: the probe, two calls of four, then takes a small part of the run
# Differences of a probe above this share of its range are no rounding of float32.
PROBE_TOLERANCE = 1e-4
SAME_MODEL = 1e-3  # of the range: the same model on another machine, or in another batch
OUT_OF_MEMORY = (
    "out of memory",
    "resource_exhausted",
    "can't allocate memory",
    "failed to allocate",
    "bad_alloc",
    "alloc_failed",  # cuBLAS
)


def evaluate(
    value_fn: Callable[[np.ndarray], Any],
    n: int | None = None,
    *,
    batch_size: int | str | None = None,
    memory: int | None = None,
    progress: bool | str = False,
    resume: str | os.PathLike | None = None,
    probe: bool | None = None,
) -> np.ndarray:
    """The worth of each of the 2^n coalitions: a table ``[2**n]`` or ``[outputs, 2**n]``.

    Args:
      value_fn: takes masks, bool ``[m, n]`` (True: present), gives ``[m]`` or ``[m, outputs]`` as
        any array. `value_function` makes one of a model and an input. Coalitions come in index
        order; all chunks but the last have the same size.
      n: number of players; a `ValueFunction` knows it.
      batch_size: coalitions in a call, m; 2^n inputs never exist at once. Default: as many as fit
        `memory`, a power of 2 (1024 where value_fn does not say what a coalition takes). "safe":
        the same, but 1 where the probe finds that a row depends on the other rows of its batch.
      memory: bytes that the model may take for one call; default 64 MiB on a CPU, where more is
        slower, else 1 GiB; at most a quarter of what is free. A call that runs out of memory is
        repeated in halves, and so are those after it.
      progress: show a progress bar with rate and time left; a string is its title.
      resume: a file for the table while it is filled. Ctrl-C, a crash or a kill loses one chunk;
        the same call goes on where it was, to the same bits. A file of another model, input or
        setting is refused: its values on four coalitions are compared.
      probe: whether to try first, on four coalitions, if the model is deterministic and if a row
        depends on the other rows of its batch; each gives a RuntimeWarning with the measured
        difference. Default: from 8 players on.

    Returns:
      numpy, float32 or float64 as value_fn gives (integers in float64).

    Raises:
      ValueError: value_fn gave the wrong shape, or NaN or infinity (the message names the
        coalition), or the table does not fit in memory, or `resume` is of something else.

    What value_fn raises comes through, with a note that says at which coalitions.

    >>> evaluate(lambda masks: masks.sum(axis=1), 2)
    array([0., 1., 1., 2.])
    """
    run = Run(value_fn, n, batch_size, memory, probe)
    with _progress.shown(progress, "evaluating", 1 << run.n) as step:
        return run.table(resume, step or unheard)


def unheard(done: int) -> None:
    """The step of a run that shows no progress."""


class Run:
    """One value function, checked, and the number of coalitions it is given at once."""

    def __init__(self, value_fn: Any, n: int | None, batch_size: Any, memory: Any, probe: Any):
        if not callable(value_fn):
            raise TypeError(f"evaluate: value_fn must be callable; got {type(value_fn).__name__}")
        known = value_fn if isinstance(value_fn, ValueFunction) else None
        if n is None and known is None:
            raise TypeError("evaluate: n must be given, the number of players of value_fn")
        self.n = players("evaluate", known.n_players if n is None else n)  # type: ignore[union-attr]
        if known is not None and self.n != known.n_players:
            raise ValueError(f"evaluate: n must be {known.n_players}, as value_fn says; got {n}")
        self.value_fn = value_fn
        self.names = known.player_names if known is not None else None
        self.safe = batch_size == "safe"
        self.automatic = batch_size is None and memory is None
        self.rows = _rows(self.n, None if self.safe else batch_size, memory, known)
        self.probed = self.n >= PROBED_FROM if probe is None else bool(probe)
        _checks.memory("evaluate", self.n, 8 << self.n, _checks.free_memory(), ADVICE)

    def table(self, resume: Any, step: Callable[[int], None]) -> np.ndarray:
        """All worths, ``[2**n]`` or ``[outputs, 2**n]``; `step` hears how many are there."""
        if resume is None:
            if self.probed or self.safe:
                self.probe()
            return self._in_memory(step)
        path = Path(resume)
        if path.suffix in (".npz", ".zarr"):
            raise ValueError(
                f"evaluate: resume is a file of evaluate's own, of any other name; got {path}. "
                "evaluate_samples([value_fn], resume=...) makes .npz and .zarr"
            )
        probe = self.probe()
        self._table_fits(probe)
        if not path.exists():
            outputs = probe.shape[1] if probe.ndim == 2 else None
            TableFile.create(path, Layout(self.n, outputs, probe.dtype.name, self.rows), probe)
        with TableFile.open(path) as file:
            what = f"evaluate: resume file {path}"
            if file.layout.n != self.n:
                raise ValueError(f"{what} holds {file.layout.n} players; got n = {self.n}")
            if file.layout.dtype != probe.dtype:
                raise ValueError(
                    f"{what} is of another model: it holds {file.layout.dtype}, this one gives "
                    f"{probe.dtype}. Give another file"
                )
            self.refuse_other(what, file.probe, probe)
            return self._in_file(file, step)

    def _in_memory(self, step: Callable[[int], None]) -> np.ndarray:
        table: np.ndarray | None = None
        first = 0
        while first < 1 << self.n:
            end = min(first + self.rows, 1 << self.n)
            part = self.worths(np.arange(first, end))
            if table is None:
                self._table_fits(part)
                table = np.empty((*part.shape[1:], 1 << self.n), part.dtype)
            elif part.shape[1:] != table.shape[:-1]:
                raise ValueError(
                    f"evaluate: value_fn gave {table.shape[:-1]} outputs a coalition, "
                    f"then {part.shape[1:]}"
                )
            table = table.astype(np.result_type(table, part), copy=False)
            table[..., first:end] = part.T
            step(end)
            first = end
        assert table is not None  # 2**n >= 1 coalitions
        return table

    def _in_file(self, file: TableFile, step: Callable[[int], None]) -> np.ndarray:
        layout = file.layout
        finished, damaged = file.finished()
        if damaged:
            first, end = file.range(damaged[0])
            warnings.warn(
                f"evaluate: {len(damaged)} of {layout.blocks} blocks of {file.path} are damaged "
                f"(coalitions {first} to {end - 1} first), and evaluated again",
                RuntimeWarning,
                stacklevel=_outside(),
            )
        # As many in a call as before, unless told otherwise: the bits of a row may depend on it.
        rows = min([layout.block, *(file.rows(b) for b in np.flatnonzero(finished).tolist())])
        self.rows = rows if self.automatic else min(rows, self.rows)
        done = sum(end - first for first, end in map(file.range, np.flatnonzero(finished).tolist()))
        step(done)
        for block in np.flatnonzero(~finished).tolist():
            first, end = file.range(block)
            try:
                part = self.worths(np.arange(first, end))
                if part.shape[1:] != layout.shape[1:] or part.dtype != layout.dtype:
                    raise ValueError(
                        f"evaluate: value_fn gave {layout.shape[1:]} outputs of {layout.dtype} a "
                        f"coalition, then {part.shape[1:]} of {part.dtype}"
                    )
            except BaseException as error:
                error.add_note(
                    f"evaluate: {done} of {1 << self.n} coalitions are in {file.path}; the same "
                    "call goes on from there"
                )
                raise
            file.values[first:end] = part
            file.finish(block, self.rows)
            done += end - first
            step(done)
        return np.array(file.values.T, order="C")

    def probe(self) -> np.ndarray:
        """Worths of the probed coalitions, and warnings of what the model does with them."""
        at = self.probed_coalitions()
        together = self.worths(at)
        if not self.probed and not self.safe:
            return together
        spread = _scale(together) * PROBE_TOLERANCE
        # In other company: without the empty and the full. A model that passes this passes both.
        apart = self.worths(at[[2, 2, 3, 3]])
        moved = float(np.abs(apart[[0, 3]] - together[2:]).max())
        noise = float(np.abs(self.worths(at) - together).max()) if moved > spread else 0.0
        if noise > spread:
            warnings.warn(
                f"evaluate: value_fn is not deterministic: the same {len(at)} coalitions gave "
                f"worths that differ by up to {noise:.3g}. Is dropout or sampling on? Effects will "
                "hold that noise, high orders most",
                RuntimeWarning,
                stacklevel=_outside(),
            )
            return together
        if moved > spread:
            advice = 'Pass batch_size=1 or batch_size="safe"'
            if self.safe:
                self.rows, advice = 1, "They are evaluated one by one"
            warnings.warn(
                "evaluate: the worth of a coalition depends on the other rows of its batch, by up "
                f"to {moved:.3g} (quantized networks and batch statistics do that). {advice}",
                RuntimeWarning,
                stacklevel=_outside(),
            )
        return together

    def probed_coalitions(self) -> np.ndarray:
        """Empty, full, every other player, every third: all with companions unlike themselves."""
        second, third = (sum(1 << i for i in range(0, self.n, step)) for step in (2, 3))
        return np.array([0, (1 << self.n) - 1, second, third])

    def refuse_other(self, what: str, before: np.ndarray, now: np.ndarray) -> None:
        """Refuses worths of a file, of the probed coalitions, that are not those of now."""
        if before.shape != now.shape:
            raise ValueError(
                f"{what} is of another model: it holds {before.shape[1:]} outputs a coalition, "
                f"this one gives {now.shape[1:]}. Give another file"
            )
        off = np.abs(before - now).reshape(len(now), -1).max(axis=1)
        worst = int(off.argmax())
        if not off[worst] <= SAME_MODEL * max(_scale(before), _scale(now)):
            raise ValueError(
                f"{what} is of another model, input or setting: v of coalition "
                f"{self.probed_coalitions()[worst]} was {before[worst]}, is {now[worst]}. "
                "Give another file, or repeat the call it is of"
            )

    def worths(self, indices: np.ndarray) -> np.ndarray:
        """The worths of coalitions, checked: in one call, or in halves where memory runs out."""
        parts, first = [], 0
        while first < len(indices):
            these = indices[first : first + self.rows]
            try:
                worth = self.value_fn(decode(these, self.n))
                parts.append(_checked(worth, these, self.names))
            except Exception as error:
                if not _is_out_of_memory(error) or self.rows == 1:
                    if not isinstance(error, ValueError) or not str(error).startswith("evaluate:"):
                        error.add_note(
                            f"evaluate: at coalitions {these[0]} to {these[-1]} of {1 << self.n}"
                        )
                    raise
                too_many = min(self.rows, len(these))
                worth = None
            else:
                first += len(these)
                continue
            self.rows = max(1, too_many // 2)  # out of `except`: its tensors are free to go
            _free_memory()
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _table_fits(self, part: np.ndarray) -> None:
        needed = part.nbytes // len(part) << self.n
        _checks.memory("evaluate", self.n, needed, _checks.free_memory(), ADVICE)


ADVICE = "Use fewer players."


def _rows(n: int, batch_size: Any, memory: Any, known: ValueFunction | None) -> int:
    if memory is not None:
        memory = _checks.count("evaluate", "memory", memory, least=1)
    if batch_size is not None:
        return min(_checks.count("evaluate", "batch_size", batch_size, least=1), 1 << n)
    rows = DEFAULT_ROWS
    if known is not None and known.row_bytes:
        if memory is None:
            suits = CPU_MEMORY if known.on_cpu else DEFAULT_MEMORY
            memory = min(suits, _checks.free_memory() // 4)
        rows = min(max(memory // known.row_bytes, 1), MOST_ROWS)
    return min(1 << (rows.bit_length() - 1), 1 << n)  # powers of 2: chunks of one size


def _scale(worths: np.ndarray) -> float:
    """The range of v; of a constant, a thousandth of it."""
    return float(max(np.ptp(worths, axis=0).max(), 1e-3 * np.abs(worths).max(), 1e-12))


def _checked(worth: Any, indices: np.ndarray, names: tuple[str, ...] | None) -> np.ndarray:
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
        present = list(_checks.members(index))
        named = "" if names is None else f": {', '.join(str(names[i]) for i in present)}"
        raise ValueError(
            f"evaluate: value_fn must give finite values; got {worth[bad.argmax()]} at coalition "
            f"{index} (players {present} present{named})"
        )
    return worth


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY)


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _outside() -> int:
    """The stacklevel at which a warning points to the line that called jaxinter."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("jaxinter"):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    return level
