# SPDX-License-Identifier: Apache-2.0
"""Sums by order in numpy and JAX, where the kernel cannot go: traced values, other devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays


def by_order(x: Any) -> Any:
    """Sums over the coalitions of each size, ``[..., 2**n]`` to ``[..., n + 1]``; numpy or JAX.

    Player by player, the last first: the half with the player counts one order higher. Four passes
    in all, no table of orders, and sums are added up in pairs.
    """
    xp = _arrays.namespace(x)
    tables = [x]  # of each order of the players done; one by one XLA fuses them, 40 times faster
    while tables[0].shape[-1] > 64:
        half = tables[0].shape[-1] // 2
        without, with_ = ([t[..., part] for t in tables] for part in (np.s_[:half], np.s_[half:]))
        middle = [a + b for a, b in zip(without[1:], with_[:-1])]
        tables = [without[0], *middle, with_[-1]]
    x = xp.stack(tables, axis=-2)
    while x.shape[-1] > 1:  # small by now, and together: a tenth of the operations to compile
        half = x.shape[-1] // 2
        none = xp.zeros_like(x[..., :1, :half])
        lower = xp.concatenate([x[..., :half], none], axis=-2)
        x = lower + xp.concatenate([none, x[..., half:]], axis=-2)
    return x[..., 0]


def strength(call: str, pair: tuple[Any, Any], limit: Any, where: Any) -> list[jax.Array]:
    """Positive and negative sums of AND and OR effects, ``[..., n]``, in JAX: `order_strength`."""
    tables = [
        _arrays.floating_jax(call, "effects", _arrays.as_jax(call, "effects", x)) for x in pair
    ]
    dtype = tables[0].dtype
    least = jnp.zeros((), dtype) if limit is None else jnp.asarray(limit, dtype)
    least = jnp.broadcast_to(least, tables[0].shape[:-1])[..., None]
    if where is not None:
        where = jnp.broadcast_to(
            jnp.asarray(where), (*tables[0].shape[:-1], 2, tables[0].shape[-1])
        )
    sides = []
    for sign in (1, -1):
        both: Any = 0
        for kind, x in enumerate(tables):
            # not maximum: the derivative at 0 is 0, and NaN ends in both sums
            left_out = sign * x <= least
            if where is not None:
                left_out = left_out | ~where[..., kind, :]
            both = both + jnp.where(left_out, 0, sign * x)
        sides.append(by_order(both)[..., 1:])
    return sides
