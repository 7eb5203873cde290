# SPDX-License-Identifier: Apache-2.0
"""What results over a batch share: indices over their samples, and long tables of them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import jax
import numpy as np

from jaxinter import _arrays


@dataclass(frozen=True, eq=False)
class OverBatch:
    """A frozen dataclass and pytree whose arrays begin with the batch axes, but `_shared` ones."""

    _shared: ClassVar[tuple[str, ...]] = ()

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the batch; () for one sample."""
        raise NotImplementedError

    def __len__(self) -> int:
        if not self.batch:
            raise TypeError(f"{type(self).__name__}: one sample has no len()")
        return self.batch[0]

    def __bool__(self) -> bool:
        return not self.batch or len(self) > 0

    def __getitem__(self, index: Any) -> Self:
        """The samples at `index` of the batch axes, as numpy would index an array over them."""
        if not self.batch:
            raise IndexError(f"{type(self).__name__}: one sample cannot be indexed")
        size, axes = math.prod(self.batch), len(self.batch)
        chosen = np.arange(size).reshape(self.batch)[index]
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self._shared}

        def take(x: Any) -> Any:
            return x.reshape(size, *x.shape[axes:])[chosen]

        return replace(self, **{name: jax.tree.map(take, x) for name, x in arrays.items()})

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))


def on_kind(f: Callable, x: Any, *rest: Any) -> Any:
    """f(x, ...) as the kind of array that x is; f gets JAX or numpy arrays."""
    if _arrays.is_jax(x):
        return f(x, *rest)
    return _arrays.like(f(*(_arrays.host("", "", each) for each in (x, *rest))), x)


def long_frame(batch: tuple[int, ...], inner: dict[str, Any], columns: dict[str, Any]) -> Any:
    """A data frame with a row for each sample and each entry of `inner`.

    Args:
      inner: arrays ``[m]`` that name the entries; {} where a sample has one row.
      columns: arrays ``[*batch, m]``, ``[*batch]`` without inner.
    """
    import pandas as pd

    samples: list = list(np.ndindex(*batch)) if len(batch) != 1 else list(range(batch[0]))
    rows = len(next(iter(inner.values()))) if inner else 1
    table: dict[str, Any] = {
        "sample": [s for s in samples for _ in range(rows)] if batch else [0] * rows
    }
    table |= {name: np.tile(x, len(samples)) for name, x in inner.items()}
    table |= {name: _arrays.host("to_pandas", name, x).reshape(-1) for name, x in columns.items()}
    return pd.DataFrame(table)
