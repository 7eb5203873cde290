# SPDX-License-Identifier: Apache-2.0
"""2. Coalitions: as bool masks ``[..., n]`` and as indices, bit i set when player i is present."""

from functools import lru_cache

import numpy as np

from jaxinter import _checks

__all__ = ["all_masks", "decode", "encode", "orders"]

MAX_PLAYERS = 62  # an index is an int64


def all_masks(n: int) -> np.ndarray:
    """Every coalition of n players, bool ``[2**n, n]``; row s is coalition s, row 0 the empty one.

    Raises:
      ValueError: n is not a whole number from 0 to 62, or 2**n masks do not fit in memory.

    >>> all_masks(2).astype(int)
    array([[0, 0],
           [1, 0],
           [0, 1],
           [1, 1]])
    """
    n = players("all_masks", n)
    advice = "Use decode(indices, n) on a part of the indices."
    # decode holds the indices, in two copies, while it works.
    _checks.memory("all_masks", n, (n + 16) << n, _checks.free_memory(), advice)
    return decode(np.arange(1 << n), n)


def orders(n: int) -> np.ndarray:
    """Number of players of each coalition, int ``[2**n]``.

    >>> orders(3)
    array([0, 1, 1, 2, 1, 2, 2, 3])
    """
    n = players("orders", n)
    _checks.memory("orders", n, 16 << n, _checks.free_memory(), "Use fewer players.")
    return _orders(n).copy()


@lru_cache(maxsize=4)
def _orders(n: int) -> np.ndarray:
    counts = np.zeros(1, np.int64)
    for _ in range(n):
        counts = np.concatenate([counts, counts + 1])
    return counts


def encode(masks) -> np.ndarray:
    """Indices of coalitions: bool ``[..., n]`` to int64 ``[...]``.

    >>> encode([[True, False], [True, True]])
    array([1, 3])
    """
    masks = np.asarray(masks)
    if masks.ndim == 0 or not (masks.dtype == bool or np.isin(masks, (0, 1)).all()):
        raise ValueError(
            "encode: masks must be bool [..., n] (or hold only 0 and 1); "
            f"got shape {masks.shape}, dtype {masks.dtype}"
        )
    players("encode", masks.shape[-1])
    return masks.astype(np.int64) @ (1 << np.arange(masks.shape[-1], dtype=np.int64))


def decode(indices, n: int) -> np.ndarray:
    """Masks of coalitions: int ``[...]`` to bool ``[..., n]``, the inverse of `encode`.

    >>> decode([1, 3], 2)
    array([[ True, False],
           [ True,  True]])
    """
    n = players("decode", n)
    indices = np.asarray(indices)
    indices = indices if indices.size else indices.astype(np.int64)  # an empty list is float
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"decode: indices must be integers; got dtype {indices.dtype}")
    if indices.size and (indices.min() < 0 or int(indices.max()) >= 1 << n):
        raise ValueError(
            f"decode: indices must be from 0 to 2**{n} - 1; got {indices.min()} to {indices.max()}"
        )
    bits = np.ascontiguousarray(indices.astype("<i8")[..., None]).view(np.uint8)
    packed = bits[..., : -(-n // 8)]
    return np.unpackbits(packed, axis=-1, count=n, bitorder="little").view(bool)


def players(call: str, n: int) -> int:
    if _checks.count(call, "n", n) > MAX_PLAYERS:
        raise ValueError(f"{call}: n must be at most {MAX_PLAYERS} players; got {n}")
    return int(n)
