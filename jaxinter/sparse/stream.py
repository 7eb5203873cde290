# SPDX-License-Identifier: Apache-2.0
"""`extract_tables`: more tables than memory holds, batch by batch, each batch safe on disk."""

import hashlib
import inspect
import json
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxinter import _arrays, _checks, _files, _progress
from jaxinter.interactions import Interactions, load
from jaxinter.sparse.extract import extract
from jaxinter.sparse.games import checked_noise

__all__ = ["StoredInteractions", "extract_tables", "open_tables"]

# Values of one batch: wide enough to keep all threads at work, and little to lose at a crash.
BATCH_BYTES = 64 << 20
# Tables, evenly spread, by which a changed source is known before anything is computed.
FINGERPRINT_TABLES = 16
MANIFEST = "source.json"
OPTIONS = inspect.signature(extract)


@dataclass(frozen=True)
class StoredInteractions:
    """The results of `extract_tables` on disk; parts are read as they are asked for.

    `stored[7]` and `stored[10:20]` are `Interactions`, as `extract` would have given them;
    `len(stored)` and `for one in stored` go over the samples. `batches()` is the way through all.

    Attributes:
      path: the directory.
      shape: of the source, ``[samples, ..., 2**n]``.
      batch_size: samples in a part; the last may have fewer.
    """

    path: Path
    shape: tuple[int, ...]
    batch_size: int

    @property
    def n_players(self) -> int:
        return self.shape[-1].bit_length() - 1

    def batches(self) -> Iterator[Interactions]:
        """Part after part in the order of the source, one in memory at a time."""
        return (load(file) for file in self.files())

    def files(self) -> list[Path]:
        """One file a part, named after its first and last sample; `ji.load` reads it."""
        firsts = range(0, len(self), self.batch_size)
        lasts = (min(first + self.batch_size, len(self)) - 1 for first in firsts)
        return [self.path / f"part-{a:08d}-{b:08d}.npz" for a, b in zip(firsts, lasts)]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> Interactions:
        chosen = np.arange(len(self))[index if isinstance(index, slice) else operator.index(index)]
        part, row = np.divmod(chosen, self.batch_size)
        files = self.files()
        if np.ndim(chosen) == 0:
            return load(files[part])[row]
        parts = dict.fromkeys(part.tolist()) or [0]  # nothing of the first, where it is empty
        pieces = [load(files[p])[row[part == p]] for p in parts]
        return jax.tree.map(lambda *x: np.concatenate(x), *pieces)

    def __iter__(self) -> Iterator[Interactions]:
        return (one for batch in self.batches() for one in batch)


def extract_tables(
    source: Any,
    out: str | os.PathLike,
    *,
    batch_size: int | None = None,
    progress: bool | str = False,
    **options: Any,
) -> StoredInteractions:
    """`extract` for more tables than memory holds; what is stopped goes on where it was.

    Batch after batch is read, extracted, and written to `out` as one file that appears only once
    it is whole, so that a crash or Ctrl-C loses one batch at most. The same call again skips each
    part that is there, readable, and adds up to its tables (v = reconstruct() + residual), and
    extracts the others. One process at a time may write to a directory.

    Args:
      source: one array ``[samples, ..., 2**n]`` of which a slice is read at a time: a Zarr array
        or the path of one, a numpy memmap, an h5py data set, ... Or a directory of ``.npy`` and
        ``.npz`` files (array "values", or the only one), each ``[..., 2**n]``, in the order of
        their names, or one such file: their tables are the samples, ``[samples, 2**n]``.
      out: directory of the results, made where missing: the parts, and ``source.json`` which says
        what they are of.
      batch_size: samples in a part; default: 64 MiB of values, at least one sample.
      progress: show a progress bar over the batches; a string is its title.
      options: of `extract`, the same for every table. `throw` may change between calls; with
        throw=True the batches before the one that did not converge are kept.

    Returns:
      `StoredInteractions`: numpy, of the dtype that `extract` gives.

    Raises:
      ValueError, TypeError: an argument is wrong; a table holds NaN or infinity (the message
        names sample and file); `out` holds parts made with other arguments or of another source.
      ConvergenceError: from `extract`; a note names the samples.
      ImportError: a Zarr path, and zarr is not installed.

    >>> import tempfile
    >>> tables = np.random.default_rng(0).normal(size=(10, 8))
    >>> with tempfile.TemporaryDirectory() as out:
    ...     stored = extract_tables(tables, out, batch_size=4, tol=1e-3)
    ...     print(len(stored), stored[7].n_players, [len(batch) for batch in stored.batches()])
    10 3 [4, 4, 2]
    """
    tables = _Tables(source)
    total, row = tables.shape[0], math.prod(tables.shape[1:]) * tables.dtype.itemsize
    if batch_size is None:
        batch_size = max(1, BATCH_BYTES // row)
    batch_size = _checks.count("extract_tables", "batch_size", batch_size, least=1)
    stored = StoredInteractions(Path(out), tables.shape, batch_size)
    if isinstance(source, (str, os.PathLike)) and stored.path.resolve() == Path(source).resolve():
        raise ValueError(f"extract_tables: out must be another directory than source; got {out}")
    _begin(stored, _manifest(stored, tables, options))
    files = stored.files()
    batches = zip(range(0, total, batch_size), files)
    for first, file in _progress.track(batches, progress, "extracting", len(files)):
        values = tables.read(first, min(first + batch_size, total))
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():  # `extract` would name its place in the batch
            at = int(bad.argmax())
            _checks.finite_values("extract_tables", tables.name(first + at), values[at])
        if _is_finished(file, values, options.get("throw", True)):
            continue
        try:
            part = extract(values, **options)
        except Exception as error:
            names = f"{tables.name(first)} to {tables.name(first + len(values) - 1)}"
            error.add_note(f"extract_tables: in the batch from {names}; parts before it are kept")
            raise
        part.save(file)
    return stored


def open_tables(out: str | os.PathLike) -> StoredInteractions:
    """The results that `extract_tables` wrote to `out`.

    Raises:
      ValueError: `out` is not such a directory, or parts of it are missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as out:
    ...     written = extract_tables(np.ones((3, 4)), out)
    ...     open_tables(out) == written
    True
    """
    manifest = _read_manifest(Path(out))
    if not manifest:
        raise ValueError(f"open_tables: out must be written by extract_tables; got {out}")
    stored = StoredInteractions(Path(out), tuple(manifest["shape"]), manifest["batch_size"])
    files = stored.files()
    missing = sum(not file.exists() for file in files)
    if missing:
        raise ValueError(
            f"open_tables: {missing} of {len(files)} parts of {out} are missing. Run the same "
            "extract_tables again: it extracts them alone"
        )
    return stored


class _Tables:
    """A source, opened: tables ``[samples, ..., 2**n]`` that are read a few at a time."""

    def __init__(self, source: Any):
        self.names, self.piece = _open(source)  # one array, or one of each file
        shapes, dtypes = [], []
        for k, name in enumerate(self.names):
            shapes.append(tuple(map(int, self.piece(k).shape)))
            dtype = _arrays.numpy_dtype(self.piece(k))
            dtypes.append(_checks.float_dtype("extract_tables", name, dtype))
            _checks.n_players("extract_tables", name, shapes[k])
            if shapes[k][1:] != shapes[0][1:]:
                raise ValueError(
                    "extract_tables: all files must hold tables of one n; got 2**n = "
                    f"{shapes[0][-1]} in {self.names[0]} and {shapes[k][-1]} in {name}"
                )
        self.begins = np.cumsum([0] + [shape[0] for shape in shapes])
        self.shape = (int(self.begins[-1]), *shapes[0][1:])
        self.dtype = np.result_type(*dtypes)
        if len(self.shape) < 2 or 0 in self.shape:
            raise ValueError(
                "extract_tables: source must be [samples, ..., 2**n] with at least one sample; "
                f"got shape {shapes[0]}"
            )

    def read(self, first: int, end: int) -> np.ndarray:
        """Samples first <= s < end, in the dtype that `extract` answers in."""
        batch = np.empty((end - first, *self.shape[1:]), self.dtype)
        for k in range(self._piece_of(first), self._piece_of(end - 1) + 1):
            begin = int(self.begins[k])
            low, high = max(first, begin), min(end, int(self.begins[k + 1]))
            rows = self.piece(k)[low - begin : high - begin]
            batch[low - first : high - first] = _arrays.to_numpy("extract_tables", "source", rows)
        return batch

    def name(self, sample: int) -> str:
        k = self._piece_of(sample)
        where = f" (table {sample - self.begins[k]} of {self.names[k]})"
        return f"sample {sample} of source{where if len(self.names) > 1 else ''}"

    def _piece_of(self, sample: int) -> int:
        return int(np.searchsorted(self.begins, sample, side="right")) - 1


def _open(source: Any) -> tuple[list[str], Callable[[int], Any]]:
    """The names of the arrays that the source is made of, and how to get the k-th."""
    if not isinstance(source, (str, os.PathLike)):
        array = source if hasattr(source, "dtype") else np.asarray(source)
        return ["source"], lambda k: array
    path = Path(source)
    if path.suffix == ".zarr" or any((path / name).exists() for name in ("zarr.json", ".zarray")):
        array = _open_zarr(path)
        return ["source"], lambda k: array
    files = [path] if path.is_file() else sorted(path.glob("[!.]*.np[yz]"))
    if not files:
        raise ValueError(
            "extract_tables: source must be an array, the path of a Zarr array or of a .npy or "
            f".npz file, or a directory of such files; got {path}, which holds none"
        )
    return [file.name for file in files], lru_cache(maxsize=1)(lambda k: _load_tables(files[k]))


def _open_zarr(path: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f'extract_tables: {path} needs zarr to be read. Run pip install "jaxinter[zarr]"'
        ) from error
    try:
        return zarr.open_array(path, mode="r")
    except Exception as error:
        raise ValueError(
            f"extract_tables: source must be the path of a Zarr array; got {path} ({error})"
        ) from error


def _load_tables(file: Path) -> np.ndarray:
    """``[tables, 2**n]``; of a .npy file, what is not looked at stays on disk."""
    try:
        array = np.load(file, mmap_mode="r")
        if isinstance(array, np.lib.npyio.NpzFile):
            with array as npz:
                array = npz[npz.files[0] if len(npz.files) == 1 else "values"]
        return array.reshape(-1, array.shape[-1])
    except Exception as error:
        raise ValueError(
            f"extract_tables: {file} must hold one array [..., 2**n], or one named values ({error})"
        ) from error


def _manifest(stored: StoredInteractions, tables: _Tables, options: dict[str, Any]) -> dict:
    """All that the parts depend on. `throw` decides whether there is a part, not what is in it."""
    try:
        bound = OPTIONS.bind(None, **options)
    except TypeError as error:
        raise TypeError(f"extract_tables: options must be those of extract; {error}") from error
    bound.apply_defaults()
    digest = hashlib.sha256(repr((tables.names, tables.begins.tolist())).encode())
    for sample in np.linspace(0, len(stored) - 1, FINGERPRINT_TABLES).astype(int).tolist():
        digest.update(tables.read(sample, sample + 1).tobytes())
    no_key = ("values", "throw", "progress")
    plain = {name: _plain(name, x) for name, x in bound.arguments.items() if name not in no_key}
    said = (plain[f"noise_{part}"] for part in ("ratio", "bound", "preset", "per"))
    if checked_noise("extract_tables", *said).per == "dataset":
        raise ValueError(
            "extract_tables: a noise bound by the mean of the data set (noise_per='dataset', "
            "'paper001') would be that of each batch; give it as noise_bound"
        )
    return {
        "n_players": stored.n_players,
        "shape": list(stored.shape),
        "dtype": tables.dtype.name,
        "batch_size": stored.batch_size,
        **plain,
        "source": f"sha256 {digest.hexdigest()[:16]}",  # names of files, some tables
    }


def _plain(name: str, option: Any) -> Any:
    """An option as JSON gives it back."""
    if name == "player_names" and option is not None:
        return [str(player) for player in option]
    option = option.item() if isinstance(option, np.generic) else option
    if option is None or isinstance(option, (bool, int, float, str)):
        return option
    raise TypeError(
        f"extract_tables: {name} must be one number, the same for every table; "
        f"got {type(option).__name__}"
    )


def _begin(stored: StoredInteractions, manifest: dict[str, Any]) -> None:
    """Writes the manifest, unless parts are there: those must have been made with the same."""
    stored.path.mkdir(parents=True, exist_ok=True)
    for left_over in stored.path.glob("part-*.part"):  # of a run that was killed while it wrote
        left_over.unlink()
    if any(stored.path.glob("part-*.npz")):
        before = _read_manifest(stored.path)
        changes = [
            f"{name} was {before.get(name)!r}, is {now!r}"
            for name, now in manifest.items()
            if before.get(name) != now
        ]
        if changes:
            raise ValueError(
                f"extract_tables: out ({stored.path}) holds parts of another call: "
                f"{'; '.join(changes)}. Repeat that call to finish it, or give another out"
            )
        return
    with _files.replacing(stored.path / MANIFEST, stored.path / f"{MANIFEST}.part") as file:
        file.write(json.dumps(manifest, indent=1).encode() + b"\n")


def _read_manifest(path: Path) -> dict[str, Any]:
    """Empty where there is none."""
    try:
        return json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}


def _is_finished(file: Path, values: np.ndarray, throw: bool) -> bool:
    """Whether the part is there, whole, and of these values."""
    if not file.exists():
        return False
    try:
        part = load(file)
        error = np.abs(part.reconstruct() + part.residual - values).max(axis=-1)
        scale = np.abs(part.effects).sum(axis=(-2, -1)) + np.abs(values).max(axis=-1)
        rounding = 64 * np.finfo(values.dtype).eps * scale  # a few units for each step of the sums
        if part.residual.shape == values.shape and (error <= rounding).all():
            return bool(part.converged.all()) or not throw
        reason = "it does not add up to its tables"
    except (ValueError, TypeError) as problem:
        reason = str(problem)
    message = f"extract_tables: {file} is damaged, and extracted again: {reason}"
    warnings.warn(message, RuntimeWarning, stacklevel=3)
    return False
