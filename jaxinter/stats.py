# SPDX-License-Identifier: Apache-2.0
"""7a. Numbers from interactions: strength by order, the salience threshold."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, masks
from jaxinter.interactions import Interactions

__all__ = ["OrderStrength", "order_strength", "salience_threshold"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class OrderStrength:
    """Strength of the interactions of each order 1 to n; both >= 0, ``[..., n]``, in units of v."""

    positive: Any
    negative: Any

    @property
    def orders(self) -> np.ndarray:
        return np.arange(1, self.positive.shape[-1] + 1)


def order_strength(interactions: Interactions, threshold: Any = None) -> OrderStrength:
    """Sum of positive, and of negative, AND and OR effects of each order.

        positive(m) =  sum_{|S| = m} max(AND(S), 0) + max(OR(S), 0)
        negative(m) = -sum_{|S| = m} min(AND(S), 0) + min(OR(S), 0)

    Args:
      interactions: one or many samples, as extracted (singletons unmerged).
      threshold: count only |effect| > threshold (a number, or an array over the batch).

    Returns:
      `OrderStrength`, ``[..., n]`` for orders 1 to n. Without a threshold, positive + negative
      sums to `primal`, and positive - negative to v(full) - v(empty) less the residual.

    Source: paper 001, Eq. 4 (the printed minus covers both terms).
    """
    effects = interactions.effects
    if not _arrays.is_jax(effects):
        effects = _arrays.to_numpy("order_strength", "effects", effects)
    xp = _arrays.namespace(effects)
    if threshold is not None:
        salient = interactions.salient(threshold)
        effects = xp.where(salient if xp is jnp else np.asarray(salient), effects, 0)
    order_of = masks.orders(interactions.n_players)
    # Order by order over the coalitions of that order, AND and OR together.
    of_order = [np.flatnonzero(order_of == m) for m in range(1, interactions.n_players + 1)]
    sides = []
    for sign in (1, -1):
        part = xp.maximum(sign * effects, 0)
        sums = [part[..., where].sum(axis=(-2, -1)) for where in of_order]
        side = xp.stack(sums, axis=-1) if sums else part[..., 0, :0]
        sides.append(side if xp is jnp else _arrays.like(side, interactions.and_effects))
    return OrderStrength(*sides)


def salience_threshold(values: Any, ratio: float = 0.02) -> float:
    """tau = ratio * mean over samples of |v(full) - v(empty)|: effects above it are salient.

    One threshold for a model and a data set, not one a sample.

    Args:
      values: any array ``[..., 2**n]``; all leading axes are samples.
      ratio: >= 0; 0.02 in papers 001 and 002, 0.05 in paper 003.

    Returns:
      float, in the units of `values`; 0.0 for no samples.

    >>> salience_threshold([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, -2.0]], ratio=0.5)
    2.0

    Source: paper 001, Table 1 (its main text misses the absolute value).
    """
    values = _arrays.to_numpy("salience_threshold", "values", values)
    _checks.n_players("salience_threshold", "values", values.shape)
    if not ratio >= 0:
        raise ValueError(f"salience_threshold: ratio must be >= 0; got {ratio!r}")
    _checks.finite_values("salience_threshold", "values", values)
    swing = np.abs(values[..., -1].astype(np.float64) - values[..., 0])
    return float(ratio * swing.mean()) if swing.size else 0.0
