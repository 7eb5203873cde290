# SPDX-License-Identifier: Apache-2.0
"""Tables of many samples in one file, .npz or Zarr: kept by their keys, added to, never half."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Store:
    """Finished tables by their keys, kept in memory; and how one on disk looks."""

    def __init__(self) -> None:
        self._keys: list[str] = []

    def keys(self) -> list[str]:
        return list(self._keys)

    def part(self, key: str) -> Path | None:
        """The file of a table in work."""
        return None

    def read(self, at: int) -> np.ndarray:
        raise IndexError(at)

    def append(self, key: str, table: np.ndarray) -> None:
        return None

    def close(self) -> None:
        return None


class NpzStore(Store):
    """One .npz file, written whole when the run ends or stops; until then a file a sample."""

    def __init__(self, call: str, path: Path):
        self.path, self.parts = path, path.with_name(f"{path.name}.parts")
        self._keys, self._tables, self._new = [], [], 0
        if path.exists():
            try:
                with np.load(path, allow_pickle=False) as file:
                    self._tables = list(file["values"])
                    self._keys = [str(key) for key in file["keys"]]
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"{call}: resume must be a file that {call} wrote, or a new name; got {path} "
                    f"({error})"
                ) from error

    def part(self, key: str) -> Path:
        return self.parts / f"{key.replace(' ', '-')}.table"

    def read(self, at: int) -> np.ndarray:
        return self._tables[at]

    def append(self, key: str, table: np.ndarray) -> None:
        self._keys.append(key)
        self._tables.append(table)
        self._new += 1

    def close(self) -> None:
        if not self._new:
            return
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            with open(partial, "wb") as file:
                np.savez(file, values=np.stack(self._tables), keys=np.array(self._keys))
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        for key in self._keys:
            self.part(key).unlink(missing_ok=True)
        if not any(self.parts.iterdir()):
            self.parts.rmdir()


class ZarrStore(Store):
    """A Zarr group: a table is appended when it is done, its key after it."""

    def __init__(self, call: str, path: Path):
        try:
            import zarr
        except ImportError as error:
            raise ImportError(
                f'{call}: {path} needs zarr. Run pip install "jaxinter[zarr]", or give .npz'
            ) from error
        self.path, self.parts = path, path.with_name(f"{path.name}.parts")
        self.group = zarr.open_group(path, mode="a")
        found = self.group.get("keys")
        self._keys = [bytes(row).rstrip(b"\0").decode() for row in found[:]] if found else []

    def part(self, key: str) -> Path:
        return self.parts / f"{key.replace(' ', '-')}.table"

    def read(self, at: int) -> np.ndarray:
        return np.asarray(self.group["values"][at])

    def append(self, key: str, table: np.ndarray) -> None:
        if "values" not in self.group:
            chunks = (1, *table.shape)
            self.group.create_array(
                "values", shape=(0, *table.shape), chunks=chunks, dtype=table.dtype
            )
            self.group.create_array("keys", shape=(0, 64), chunks=(1024, 64), dtype="uint8")
        at = len(self._keys)
        values, keys = self.group["values"], self.group["keys"]
        values.resize((at + 1, *table.shape))
        values[at] = table
        keys.resize((at + 1, 64))
        keys[at] = np.frombuffer(key.encode().ljust(64, b"\0")[:64], np.uint8)
        self._keys.append(key)
        self.part(key).unlink(missing_ok=True)

    def close(self) -> None:
        if self.parts.exists() and not any(self.parts.iterdir()):
            self.parts.rmdir()


def open_store(call: str, resume: Any) -> Store:
    if resume is None:
        return Store()
    path = Path(resume)
    if path.suffix not in (".npz", ".zarr"):
        raise ValueError(f'{call}: resume must end in ".npz" or ".zarr"; got {path}')
    return ZarrStore(call, path) if path.suffix == ".zarr" else NpzStore(call, path)
