# SPDX-License-Identifier: Apache-2.0
"""7b. Shapley, Banzhaf and other interaction indices: weighted superset sums of the effects."""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np
from jax.lax import population_count

from jaxinter import _arrays, _checks, _primitives, masks
from jaxinter.transform import mobius, superset_zeta

__all__ = ["index"]


def index(values: Any, name: str, max_order: int | None = None) -> Any:
    """An interaction index of a table, ``I(S) = sum_{T superset S} w(|S|, |T|) m(T)``.

    m are the Mobius coefficients of v (`mobius`), s = |S| from 1 to k = `max_order`, t = |T|:

    ==========  ================================================================================
    name        w(s, t)
    ==========  ================================================================================
    Moebius     1 at t = s, else 0
    Co-Moebius  1: what S adds to everyone else
    SV, SII     1 / (t - s + 1); SV at order 1 alone, the Shapley value
    BV, BII     2^(s - t); BV at order 1 alone, the Banzhaf value
    CHII        s / t
    k-SII       sum_{j = 0}^{min(k, t) - s} C(t - s, j) B_j / (t - s - j + 1), Bernoulli's B_j
    STII        1 at t = s, else 0; at s = k, 1 / C(t, k)
    FSII        1 at t = s, else 0 for t <= k; above,
                (-1)^(k - s) s / (k + s) C(k, s) C(t - 1, k) / C(t + k - 1, k + s)
    FBII        1 at t = s, else 0 for t <= k; above, (-1)^(k - s) 2^(s - t) C(t - s - 1, k - s)
    ==========  ================================================================================

    k-SII, STII and FSII depend on k, add up to v(full) - v(empty), and are SV at k = 1; FBII is BV
    there. One superset sum an order, so O(k n 2^n); one for all orders of Co-Moebius, BII, CHII.

    Args:
      values: any array ``[..., 2**n]``, the worth of each coalition.
      name: one of the names above, spelled as in shapiq.
      max_order: the largest order k, at least 1; n where it is larger or None.

    Returns:
      ``[..., 2**n]``, the kind and dtype as of `mobius`: I(S) at the index of S, 0 above the order
      `max_order`. Entry 0 is v(empty), whatever the index. Differentiable in JAX and torch.

    Raises:
      ValueError: an unknown name, `max_order` below 1, or the last axis is not 2**n long.
      TypeError: the dtype holds no real numbers.

    >>> index([0.0, 1.0, 2.0, 5.0], "SV")  # the 2 that the pair adds are shared
    array([0., 2., 3., 0.])
    >>> index([0.0, 1.0, 2.0, 5.0], "SII", max_order=2)
    array([0., 2., 3., 2.])

    Source: Grabisch and Roubens 1999 (SII, BII), Marichal and Roubens 1999 (CHII), Bordt and von
    Luxburg 2023 (k-SII), Sundararajan et al. 2020 (STII), Tsai et al. 2023 (FSII, FBII), each
    written in Mobius coefficients.
    """
    if _arrays.is_foreign(values):
        array = _arrays.to_numpy("index", "values", values)
        return _arrays.like(index(array, name, max_order), values)
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"index: name must be one of {', '.join(NAMES)}; got {name!r}")
    values = _arrays.as_array("index", "values", values)
    n = _checks.n_players("index", "values", tuple(values.shape))
    _checks.float_dtype("index", "values", _arrays.numpy_dtype(values))
    k = n if max_order is None else _checks.count("index", "max_order", max_order, least=1)
    weights = _weights(name, n, min(n, k, 1 if name in ("SV", "BV") else n))
    return _superset_sums(mobius(values), weights, one_sum=name in _ONE_SUM)


# w(s, t) for 1 <= s <= t, s <= k. Whole numbers and fractions up to one division: nothing cancels.
_WEIGHT: dict[str, Callable[[int, int, int], Any]] = {
    "Moebius": lambda s, t, k: t == s,
    "Co-Moebius": lambda s, t, k: 1,
    "SV": lambda s, t, k: 1 / (t - s + 1),
    "BV": lambda s, t, k: 0.5 ** (t - s),
    "SII": lambda s, t, k: 1 / (t - s + 1),
    "BII": lambda s, t, k: 0.5 ** (t - s),
    "CHII": lambda s, t, k: s / t,
    "k-SII": lambda s, t, k: _bernoulli_sum(t - s, min(k, t) - s),
    "STII": lambda s, t, k: 1 / comb(t, k) if s == k else t == s,
    "FSII": lambda s, t, k: _fsii(s, t, k) if t > k else t == s,
    "FBII": lambda s, t, k: _fbii(s, t, k) if t > k else t == s,
}
NAMES = tuple(_WEIGHT)
# w(s, t) = scale(s) w(1, t): the sums of order 1 serve every order.
_ONE_SUM = ("Co-Moebius", "BII", "CHII")


def _bernoulli_sum(p: int, last: int) -> Fraction:
    """``sum_{j = 0}^{last} C(p, j) B_j / (p - j + 1)``; up to j = p it is 1 at p = 0, else 0."""
    return sum((comb(p + 1, j) * _bernoulli(j) for j in range(last + 1)), Fraction()) / (p + 1)


@lru_cache
def _bernoulli(j: int) -> Fraction:
    return (j == 0) - _bernoulli_sum(j, j - 1)


def _fsii(s: int, t: int, k: int) -> float:
    above, below = s * comb(k, s) * comb(t - 1, k), (k + s) * comb(t + k - 1, k + s)
    return (-1) ** (k - s) * above / below


def _fbii(s: int, t: int, k: int) -> float:
    return (-1) ** (k - s) * comb(t - s - 1, k - s) * 0.5 ** (t - s)


@lru_cache
def _weights(name: str, n: int, k: int) -> np.ndarray:
    """w(s, t), float64 ``[n + 1, n + 1]``; 0 below the diagonal and for s outside 1 to k."""
    weights = np.zeros((n + 1, n + 1))
    for s in range(1, k + 1):
        weights[s, s:] = [float(_WEIGHT[name](s, t, k)) for t in range(s, n + 1)]
    return weights


def _superset_sums(effects: Any, weights: np.ndarray, one_sum: bool) -> Any:
    """``sum_{T superset S} w(|S|, |T|) m(T)``, and m at the empty coalition."""
    xp, order = _orders_like(effects)

    def by_order(numbers: np.ndarray) -> Any:
        return xp.asarray(numbers, dtype=effects.dtype)[order]

    kept = xp.asarray(weights.any(axis=1) | (np.arange(len(weights)) == 0))[order]
    result = xp.where(kept, effects, xp.zeros_like(effects))
    orders = [s for s, row in enumerate(weights) if row[s + 1 :].any()]  # of others, m itself
    if one_sum and orders:
        sums = superset_zeta(effects * by_order(weights[1]))
        sums = sums * by_order(weights[:, -1] / weights[1, -1])
        return xp.where(kept & (order > 0), sums, result)
    for s in orders:
        sums = superset_zeta(effects * by_order(weights[s]))
        result = xp.where(order == s, sums, result)
    return result


def _orders_like(effects: Any) -> tuple[Any, Any]:
    """The array module of `effects`, and the order of each coalition to index its arrays by."""
    n = effects.shape[-1].bit_length() - 1
    if _arrays.is_torch(effects):
        import torch

        return torch, torch.from_numpy(masks.orders(n))
    if _arrays.is_jax(effects):  # counted where it is used: no constant of 2^n in the program
        return _arrays.namespace(effects), population_count(_primitives.lattice_index(effects))
    return np, masks.orders(n)
