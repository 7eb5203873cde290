# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced only once they are whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike, partial: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write, on the disk when it takes the name `path`; nothing is left of a failure.

    `partial` is its name until then: a process that is killed leaves it behind.
    """
    partial = partial or Path(f"{os.fspath(path)}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
