# SPDX-License-Identifier: Apache-2.0
"""Tables of many samples by their keys: in memory, in one .npz file, in one Zarr group."""

import fcntl
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from jaxinter import _files

KEY_BYTES = 64  # of a key in a Zarr array


class Store:
    """Finished tables, all of one shape and dtype. This one is not on disk."""

    parts: Path | None = None  # the directory of the tables in work

    def __init__(self) -> None:
        self._tables: dict[str, np.ndarray] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._tables

    def read(self, key: str) -> np.ndarray:
        return self._tables[key]

    def append(self, key: str, table: np.ndarray) -> None:
        self._tables[key] = table

    def layout(self) -> tuple[tuple[int, ...], np.dtype] | None:
        """Shape and dtype of a table; None where there is none yet."""
        first = next(iter(self._tables.values()), None)
        return None if first is None else (first.shape, first.dtype)

    def part(self, key: str) -> Path | None:
        """The file of a table in work."""
        return None if self.parts is None else self.parts / f"{quote(key, safe='')}.table"

    def drop_part(self, key: str) -> None:
        """Once the table is in the file."""
        part = self.part(key)
        if part is not None:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        return None


class NpzStore(Store):
    """One .npz file, written whole when the run ends or stops; until then a file a sample."""

    def __init__(self, call: str, path: Path, parts: Path):
        super().__init__()
        self.path, self.parts, self._whole = path, parts, parts / f"{path.name}.part"
        self._new: list[str] = []
        if not path.exists():
            return
        try:
            # np.load forgets to close a file that is cut short, where it opens it itself.
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                self._tables = dict(zip(file["keys"].tolist(), file["values"], strict=True))
        except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise _foreign(call, path, error) from error

    def append(self, key: str, table: np.ndarray) -> None:
        super().append(key, table)
        self._new.append(key)

    def close(self) -> None:
        if not self._new:
            return
        values, keys = np.stack(list(self._tables.values())), np.array(list(self._tables))
        with _files.replacing(self.path, self._whole) as file:
            np.savez(file, values=values, keys=keys)
        for key in self._new:
            self.drop_part(key)


class ZarrStore(Store):
    """A Zarr group: a table is appended when it is done, its key after it."""

    def __init__(self, call: str, path: Path, parts: Path):
        try:
            import zarr
        except ImportError as error:
            raise ImportError(
                f'{call}: {path} needs zarr. Run pip install "jaxinter[zarr]", or give .npz'
            ) from error
        self.parts = parts
        try:
            self._group = zarr.open_group(path, mode="a")
        except (AssertionError, ValueError) as error:  # an array lies there
            raise _foreign(call, path, error) from error
        self._values, self._keys = (self._group.get(name) for name in ("values", "keys"))
        if self._values is not None and self._keys is None:
            raise _foreign(call, path, "its array keys is missing")
        rows = [] if self._keys is None else self._keys[:]
        keys = [bytes(row).rstrip(b"\0").decode() for row in rows]
        self._at = {key: at for at, key in enumerate(keys) if key}
        if self._values is not None and len(self._at) < self._values.shape[0]:
            self._values.resize((len(self._at), *self._values.shape[1:]))  # killed before its key

    def __contains__(self, key: str) -> bool:
        return key in self._at

    def read(self, key: str) -> np.ndarray:
        return np.asarray(self._values[self._at[key]])

    def append(self, key: str, table: np.ndarray) -> None:
        shape, dtype, add = table.shape, table.dtype, self._group.create_array
        if self._keys is None:
            self._keys = add("keys", shape=(0, KEY_BYTES), chunks=(1, KEY_BYTES), dtype="uint8")
        if self._values is None:
            self._values = add("values", shape=(0, *shape), chunks=(1, *shape), dtype=dtype)
        at = len(self._at)
        self._values.resize((at + 1, *shape))
        self._values[at] = table
        self._keys.resize((at + 1, KEY_BYTES))
        self._keys[at] = np.frombuffer(key.encode().ljust(KEY_BYTES, b"\0"), np.uint8)
        self._at[key] = at
        self.drop_part(key)

    def layout(self) -> tuple[tuple[int, ...], np.dtype] | None:
        return None if self._values is None else (self._values.shape[1:], self._values.dtype)


@contextmanager
def open_store(call: str, resume: Any) -> Iterator[Store]:
    """A store and, beside its file, a locked directory for the tables in work."""
    if resume is None:
        yield Store()
        return
    path = Path(resume)
    if path.suffix not in (".npz", ".zarr"):
        raise ValueError(f'{call}: resume must end in ".npz" or ".zarr"; got {path}')
    with _locked(call, path) as parts:
        kind = ZarrStore if path.suffix == ".zarr" else NpzStore
        store = kind(call, path, parts)
        for file in parts.iterdir():  # what a process that was killed has left
            if file.suffix == ".part" or unquote(file.stem) in store:
                file.unlink()
        try:
            yield store
        finally:
            store.close()


@contextmanager
def _locked(call: str, path: Path) -> Iterator[Path]:
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    lock = os.open(parts, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield parts
        finally:
            if not any(parts.iterdir()):
                parts.rmdir()
            fcntl.flock(lock, fcntl.LOCK_UN)
    except BlockingIOError as error:
        raise ValueError(f"{call}: resume file {path} is in use by another process") from error
    finally:
        os.close(lock)


def _foreign(call: str, path: Path, why: Any) -> ValueError:
    return ValueError(
        f"{call}: resume must be a file that {call} wrote, or a new name; got {path} ({why})"
    )
