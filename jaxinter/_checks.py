# SPDX-License-Identifier: Apache-2.0
"""What a wrong argument says: call, argument, expected, got, and what to do. Worded once."""

import math
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np


def n_players(call: str, argument: str, shape: tuple[int, ...]) -> int:
    """n of a table ``[..., 2**n]``."""
    size = shape[-1] if shape else 0
    if size < 1 or size & (size - 1):
        raise ValueError(
            f"{call}: {argument} must have a last axis of length 2**n; got shape {tuple(shape)}"
        )
    return size.bit_length() - 1


def broadcasts(
    call: str, argument: str, got: tuple[int, ...], shape: tuple[int, ...], of: str
) -> None:
    """Refuses what does not broadcast to `shape`, that of the argument `of`."""
    try:
        fits = got == shape or np.broadcast_shapes(got, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{call}: {argument} must broadcast to the shape of {of}, {shape}; got shape {got}"
        )


def output(call: str, out, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuses an `out` that is not a writable numpy array of this shape and dtype."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{call}: out must be a numpy array; got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        raise ValueError(
            f"{call}: out must be writable, of shape {shape} and dtype {dtype}; got shape "
            f"{out.shape}, dtype {out.dtype}{'' if out.flags.writeable else ', read-only'}"
        )


def float_dtype(call: str, argument: str, dtype) -> np.dtype:
    """The dtype to compute in: floats as they are, half types in float32, integers in float64."""
    dtype = np.dtype(dtype)
    if not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    if dtype.char in "fd":  # a comparison of dtypes takes ten times longer
        return dtype
    if jnp.issubdtype(dtype, np.integer) or dtype == np.bool_:
        return np.dtype(np.float64)
    if jnp.issubdtype(dtype, np.floating) and dtype.itemsize < 4:
        return np.dtype(np.float32)
    raise TypeError(
        f"{call}: {argument} must hold real numbers (float16, bfloat16, float32, float64, integers "
        f"or booleans); got dtype {dtype}"
    )


def members(index: int) -> tuple[int, ...]:
    """The players of a coalition: the bits of its index."""
    return tuple(i for i in range(index.bit_length()) if index >> i & 1)


def finite_values(call: str, argument: str, values: np.ndarray) -> None:
    """Refuses NaN and infinity by the name of the first sample and coalition that holds one."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    *sample, index = (int(i) for i in np.argwhere(bad)[0])
    where = f"sample {sample[0] if len(sample) == 1 else tuple(sample)}, " if sample else ""
    raise ValueError(
        f"{call}: {argument} must be finite; got {values[(*sample, index)]} at {where}coalition "
        f"{index} (players {list(members(index))} present), {int(bad.sum())} bad entries in all"
    )


def count(call: str, argument: str, value, *, least: int = 0) -> int:
    """A whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{call}: {argument} must be a whole number >= {least}; got {value!r}")
    return int(value)


def real(call: str, argument: str, value, *, positive: bool) -> float:
    """A finite number, > 0 or >= 0."""
    ok = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)
    if not ok or value < 0 or (positive and value == 0):
        least = "> 0" if positive else ">= 0"
        raise ValueError(f"{call}: {argument} must be a number {least}; got {value!r}")
    return float(value)


def memory(call: str, n: int, needed: int, available: int, advice: str) -> None:
    """Refuses what cannot fit, before it is allocated."""
    if needed > available:
        raise ValueError(
            f"{call}: n = {n} players need {needed:,} bytes; this machine has {available:,} free. "
            f"{advice}"
        )


def free_memory() -> int:
    """Bytes the kernel would give a new process without swapping (Linux)."""
    with open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62


def listed(values: Iterable[Any]) -> str:
    """Up to five, and how many more."""
    values = list(values)
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(map(repr, values[:5])) + more
