# SPDX-License-Identifier: Apache-2.0
"""A table on disk while it is filled: memory-mapped, block by block, a checksum for each block.

    pages       magic, then a line of JSON and its crc32: `Layout` and the worths of the probe
    blocks * 8  for each block uint32 (crc32, coalitions a call; 0: not done)
    values      [2**n, outputs] in index order

A block counts only once its checksum is written after its values, so that a process that dies at
any moment loses the block it was at. The file is made whole before it gets its name.
"""

import fcntl
import json
import math
import os
import time
import zlib
from contextlib import suppress
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

    @property
    def bytes(self) -> int:
        """Of all that follows the header."""
        return 8 * self.blocks + math.prod(self.shape) * np.dtype(self.dtype).itemsize


class TableFile:
    """The file at `path`, open and locked; `values` is the table as far as it is done."""

    def __init__(self, path: Path, layout: Layout, probe: np.ndarray, file: Any, at: int):
        self.path, self.layout, self.probe, self._file = path, layout, probe, file
        self._flushed = time.monotonic()
        self._done = np.memmap(file, np.uint32, "r+", at, (layout.blocks, 2))
        at += self._done.nbytes
        self.values = np.memmap(file, np.dtype(layout.dtype), "r+", at, layout.shape)

    @staticmethod
    def create(path: Path, layout: Layout, probe: np.ndarray) -> None:
        """An empty one, whole before it gets its name; of two that are made, the first stays."""
        line = json.dumps({**asdict(layout), "probe": probe.tolist()}).encode()
        header = MAGIC + line + b"\n" + _checksum(line)
        header = header.ljust(-(-len(header) // PAGE) * PAGE, b"\0")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with open(partial, "wb") as file:
                file.write(header)
                # A full disk is said now.
                os.posix_fallocate(file.fileno(), 0, len(header) + layout.bytes)
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(partial, path)  # os.replace would take it from a process that is faster
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: Path) -> "TableFile":
        file = open(path, "r+b")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(
                    f"evaluate: resume file {path} is in use by another process"
                ) from error
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError(
                    "evaluate: resume must be a file that evaluate wrote, or a new name; "
                    f"got {path}"
                )
            line = file.readline().rstrip(b"\n")
            if file.readline() != _checksum(line):
                raise ValueError(
                    f"evaluate: resume file {path} is damaged in its first lines. Give another file"
                )
            fields = json.loads(line)
            probe = np.array(fields.pop("probe"))
            layout, at = Layout(**fields), -(-file.tell() // PAGE) * PAGE
            size = os.fstat(file.fileno()).st_size
            if size != at + layout.bytes:
                raise ValueError(
                    f"evaluate: resume file {path} must be of {at + layout.bytes:,} bytes; got "
                    f"{size:,}. Was it copied in part? Give another file"
                )
            return cls(path, layout, probe, file, at)
        except BaseException:
            file.close()
            raise

    def rows(self, block: int) -> int:
        """How many coalitions were evaluated in a call of a finished block; 0: not done."""
        return int(self._done[block, 1])

    def finished(self) -> tuple[np.ndarray, list[int]]:
        """For each block whether it is done and whole; and those that are damaged."""
        done = np.array(self._done[:, 1] > 0)
        damaged = [b for b in np.flatnonzero(done).tolist() if self._crc(b) != self._done[b, 0]]
        done[damaged] = False
        return done, damaged

    def range(self, block: int) -> tuple[int, int]:
        first = block * self.layout.block
        return first, min(first + self.layout.block, 1 << self.layout.n)

    def finish(self, block: int, rows: int) -> None:
        """Marks a block, whose values are there, as done with `rows` coalitions a call."""
        self._done[block, 0] = self._crc(block, rows)
        self._done[block, 1] = rows
        if time.monotonic() - self._flushed > SECONDS_AT_RISK:
            self.flush()

    def flush(self) -> None:
        """To the disk: for a machine that dies, not only a process."""
        self.values.flush()
        self._done.flush()
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
        # The maps hold the lock as well, for as long as a traceback that is kept holds them.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()

    def _crc(self, block: int, rows: int | None = None) -> int:
        first, end = self.range(block)
        rows = self.rows(block) if rows is None else rows
        return zlib.crc32(self.values[first:end].tobytes(), rows)


def _checksum(line: bytes) -> bytes:
    return b"%08x\n" % zlib.crc32(line)
