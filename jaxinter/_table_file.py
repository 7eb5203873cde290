# SPDX-License-Identifier: Apache-2.0
"""A table on disk while it is filled: memory-mapped, block by block, a checksum for each block.

    pages       magic, then a line of JSON: `Layout` and what the model gave on the probe
    blocks * 8  for each block uint32 (crc32 of its values, coalitions a call + 1; 0: not done)
    values      [2**n, outputs] in index order

A block counts only once its checksum is written after its values, so that a process that dies at
any moment loses the block it was at. The file is made whole before it gets its name.
"""

import fcntl
import json
import os
import time
import warnings
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

MAGIC = b"jaxinter table 1\n"
PAGE = 4096
SECONDS_AT_RISK = 1.0  # when the whole machine dies; a process that dies loses its block only


@dataclass(frozen=True)
class Layout:
    """What a file holds: `block` coalitions are evaluated, checked and lost together."""

    n: int
    outputs: int | None
    dtype: str
    block: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (1 << self.n,) if self.outputs is None else (1 << self.n, self.outputs)

    @property
    def blocks(self) -> int:
        return -(-(1 << self.n) // self.block)


class TableFile:
    """The file at `path`, open and locked; `values` is the table as far as it is done."""

    def __init__(self, path: Path, layout: Layout, probe: dict[str, Any], file: Any, at: int):
        self.path, self.layout, self.probe, self._file = path, layout, probe, file
        self._flushed = time.monotonic()
        self._done = np.memmap(file, np.uint32, "r+", at, (layout.blocks, 2))
        at += self._done.nbytes
        self.values = np.memmap(file, np.dtype(layout.dtype), "r+", at, layout.shape)

    @staticmethod
    def create(path: Path, layout: Layout, probe: dict[str, Any]) -> None:
        """An empty one, whole before it gets its name."""
        header = MAGIC + json.dumps({**asdict(layout), "probe": probe}).encode() + b"\n"
        header = header.ljust(-(-len(header) // PAGE) * PAGE, b"\0")
        size = len(header) + 8 * layout.blocks
        size += int(np.prod(layout.shape)) * np.dtype(layout.dtype).itemsize
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with open(partial, "wb") as file:
                file.write(header)
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is said now
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    @classmethod
    def open(cls, path: Path) -> "TableFile":
        file = open(path, "r+b")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ValueError(
                    f"evaluate: resume file {path} is in use by another process"
                ) from error
            if file.readline() != MAGIC:
                raise ValueError(
                    "evaluate: resume must be a file that evaluate wrote, or a new name; "
                    f"got {path}"
                )
            fields = json.loads(file.readline())
            probe = fields.pop("probe")
            return cls(path, Layout(**fields), probe, file, -(-file.tell() // PAGE) * PAGE)
        except BaseException:
            file.close()
            raise

    def rows(self, block: int) -> int:
        """How many coalitions were evaluated in a call of a finished block; 0: not done."""
        return max(int(self._done[block, 1]) - 1, 0)

    def finished(self) -> np.ndarray:
        """For each block whether it is done and whole; a damaged one is to be done again."""
        done = np.array(self._done[:, 1] > 0)
        for block in np.flatnonzero(done).tolist():
            if self._crc(block) != int(self._done[block, 0]):
                done[block] = False
                first, end = self.range(block)
                warnings.warn(
                    f"evaluate: coalitions {first} to {end - 1} in {self.path} are damaged, and "
                    "evaluated again",
                    RuntimeWarning,
                    stacklevel=3,
                )
        return done

    def range(self, block: int) -> tuple[int, int]:
        first = block * self.layout.block
        return first, min(first + self.layout.block, 1 << self.layout.n)

    def finish(self, block: int, rows: int) -> None:
        """Marks a block, whose values are there, as done with `rows` coalitions a call."""
        self._done[block, 0] = self._crc(block)
        self._done[block, 1] = rows + 1
        if time.monotonic() - self._flushed > SECONDS_AT_RISK:
            self.flush()

    def flush(self) -> None:
        """Values, then checksums to the disk: for a machine that dies, not only a process."""
        self.values.flush()
        self._flushed = time.monotonic()

    def __enter__(self) -> "TableFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.flush()
        self._file.close()

    def _crc(self, block: int) -> int:
        first, end = self.range(block)
        return zlib.crc32(self.values[first:end].tobytes())
