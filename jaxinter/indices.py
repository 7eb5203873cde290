# SPDX-License-Identifier: Apache-2.0
"""7b. Shapley, Banzhaf and other interaction indices: weighted superset sums of the effects."""

from collections.abc import Callable, Collection
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import Any

import jax
import numpy as np

from jaxinter import _arrays, _checks
from jaxinter.interactions import Interactions
from jaxinter.transform import mobius, superset_zeta

__all__ = ["all_indices", "index"]


def index(values: Any, name: str, max_order: int | None = None) -> Any:
    """An interaction index, or generalised value, of a table or of what `Interactions` explain.

    For sets S of s = |S| players, s from 1 to k = `max_order`; t = |T|. Interaction indices weigh
    the Mobius coefficients m of v (`mobius`), what each T adds to its parts:

        I(S) = sum_{T superset S} w(s, t) m(T)

    ==========  ================================================================================
    name        w(s, t)
    ==========  ================================================================================
    Moebius     1 at t = s, else 0
    Co-Moebius  1: what S adds to everyone else
    SII         1 / (t - s + 1)
    BII         2^(s - t)
    CHII        s / t
    k-SII       sum_{j = 0}^{min(k, t) - s} C(t - s, j) B_j / (t - s - j + 1), Bernoulli's B_j
    STII        1 at t = s, else 0; at s = k, 1 / C(t, k)
    FSII        1 at t = s, else 0 for t <= k; above,
                (-1)^(k - s) s / (k + s) C(k, s) C(t - 1, k) / C(t + k - 1, k + s)
    FBII        1 at t = s, else 0 for t <= k; above, (-1)^(k - s) 2^(s - t) C(t - s - 1, k - s)
    kADD-SHAP   sum_{r = s}^{min(k, t)} C(t - s, r - s) F(r, t) / (r - s + 1), F that of FSII:
                the SII of what FSII adds up to
    Walsh       (-1)^s 2^(-t): the mean over T of v(T) (-1)^u, u the players that S and T share
    ==========  ================================================================================

    Generalised values weigh what S adds as one block, N all players, n = |N|:

        I(S) = sum_{T subset N without S} p(s, t) [v(T with S) - v(T)]

    ==========  ================================================================================
    name        p(s, t)
    ==========  ================================================================================
    SV, SGV     1 / ((n - s + 1) C(n - s, t)); SV at order 1 alone, the Shapley value
    BV, BGV     2^(s - n); BV at order 1 alone, the Banzhaf value
    CHGV        s / ((s + t) C(n, s + t))
    IGV         1 at t = 0, else 0: v(S) - v(empty)
    EGV         1 at t = n - s, else 0: v(N) - v(N without S)
    JointSV     q_t; q_0 = 1 / sum_{j = 1}^k C(n, j), then q_t =
                sum_{max(t - k, 0) <= j < t} C(t, j) q_j / sum_{j = 1}^{min(k, n - t)} C(n - t, j)
    ==========  ================================================================================

    k-SII, STII, FSII and JointSV depend on k, add up to v(N) - v(empty), and are SV at k = 1;
    FBII is BV there. At order 1, SII and kADD-SHAP are SV, BII is BV.

    Of `Interactions`, v is what they `reconstruct` and m their `dividends`. By their own effects,
    SV and SII of a pair are

        I({i})    = sum_{S contains i}       [AND(S) + OR(S)] / |S|
        I({i, j}) = sum_{S contains i and j} [AND(S) - OR(S)] / (|S| - 1)

    One superset sum an order, so O(k n 2^n); one for all orders of Co-Moebius, BII, CHII, Walsh and
    BGV. Rounding in float64, measured at n = 16, k = 1 to 3 and v up to 5: 6e-16 in generalised
    values, SV and BV; in the others 3e-15 on a smooth v and 2e-12 on noise, as in `mobius`.

    Args:
      values: any array ``[..., 2**n]``, the worth of each coalition, or `Interactions`.
      name: one of the names above, spelled as in shapiq (which has no Walsh).
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
    >>> index([0.0, 1.0, 2.0, 5.0], "SGV", max_order=2)  # the pair as one block adds all 5
    array([0., 2., 3., 5.])

    Source: Grabisch and Roubens 1999 (SII, BII), Marichal and Roubens 1999 (CHII), Bordt and von
    Luxburg 2023 (k-SII), Sundararajan et al. 2020 (STII), Tsai et al. 2023 (FSII, FBII), Pelegrina
    et al. 2023 (kADD-SHAP), each written in Mobius coefficients; Marichal 2000 (SGV, BGV),
    Marichal et al. 2007 (CHGV, IGV, EGV), Harris et al. 2022 (JointSV).
    """
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"index: name must be one of {', '.join(NAMES)}; got {name!r}")
    return _indices("index", values, (name,), max_order)[name]


def all_indices(
    values: Any, names: Collection[str] | None = None, max_order: int | None = 2
) -> dict[str, Any]:
    """Many indices of one table, by name: what `index` gives for each, from one Mobius transform.

    Args:
      values: any array ``[..., 2**n]``, the worth of each coalition, or `Interactions`.
      names: of indices, as `index` takes them; None for all 19.
      max_order: as `index` takes it.

    Raises:
      ValueError: as `index`, or `names` is a single name.
      TypeError: as `index`.

    >>> all_indices([0.0, 1.0, 2.0, 5.0], ["SV", "BII"])
    {'SV': array([0., 2., 3., 0.]), 'BII': array([0., 2., 3., 2.])}
    """
    names = NAMES if names is None else names
    if not isinstance(names, Collection) or not all(name in NAMES for name in names):
        raise ValueError(
            f"all_indices: names must be a list of some of {', '.join(NAMES)}; got {names!r}"
        )
    return _indices("all_indices", values, names, max_order)


def _bernoulli_sum(p: int, last: int) -> Fraction:
    """``sum_{j = 0}^{last} C(p, j) B_j / (p - j + 1)``; up to j = p it is 1 at p = 0, else 0."""
    return sum((comb(p + 1, j) * _bernoulli(j) for j in range(last + 1)), Fraction()) / (p + 1)


@lru_cache
def _bernoulli(j: int) -> Fraction:
    return (j == 0) - _bernoulli_sum(j, j - 1)


def _fsii(s: int, t: int, k: int) -> Fraction:
    if t <= k:
        return Fraction(t == s)
    above, below = s * comb(k, s) * comb(t - 1, k), (k + s) * comb(t + k - 1, k + s)
    return Fraction((-1) ** (k - s) * above, below)


def _fbii(s: int, t: int, k: int) -> float:
    return (-1) ** (k - s) * comb(t - s - 1, k - s) * 0.5 ** (t - s)


@lru_cache(maxsize=1024)
def _joint_shapley(t: int, k: int, n: int) -> Fraction:
    """q_t: how likely a block comes to just these t players.

    Players come in blocks of up to k, every block of those missing alike (Harris et al. 2022).
    """
    below = sum(comb(t, j) * _joint_shapley(j, k, n) for j in range(max(t - k, 0), t))
    return Fraction(below if t else 1) / sum(comb(n - t, j) for j in range(1, min(k, n - t) + 1))


# The weights are fractions up to one division: nothing cancels in them. w(s, t) of Mobius
# coefficients, for 1 <= s <= t, s <= k:
_OF_EFFECTS: dict[str, Callable[[int, int, int], Any]] = {
    "Moebius": lambda s, t, k: t == s,
    "Co-Moebius": lambda s, t, k: 1,
    "SII": lambda s, t, k: 1 / (t - s + 1),
    "BII": lambda s, t, k: 0.5 ** (t - s),
    "CHII": lambda s, t, k: s / t,
    "k-SII": lambda s, t, k: _bernoulli_sum(t - s, min(k, t) - s),
    "STII": lambda s, t, k: 1 / comb(t, k) if s == k else t == s,
    "FSII": lambda s, t, k: _fsii(s, t, k),
    "FBII": lambda s, t, k: _fbii(s, t, k) if t > k else t == s,
    "kADD-SHAP": lambda s, t, k: sum(
        comb(t - s, r - s) * _fsii(r, t, k) / (r - s + 1) for r in range(s, min(k, t) + 1)
    ),
    "Walsh": lambda s, t, k: (-1) ** s * 0.5**t,
}
# p(s, t) of differences of values, for 1 <= s <= k, 0 <= t <= n - s:
_OF_VALUES: dict[str, Callable[[int, int, int, int], Any]] = {
    "SV": lambda s, t, k, n: 1 / ((n - s + 1) * comb(n - s, t)),
    "BV": lambda s, t, k, n: 0.5 ** (n - s),
    "SGV": lambda s, t, k, n: 1 / ((n - s + 1) * comb(n - s, t)),
    "BGV": lambda s, t, k, n: 0.5 ** (n - s),
    "CHGV": lambda s, t, k, n: s / ((s + t) * comb(n, s + t)),
    "IGV": lambda s, t, k, n: t == 0,
    "EGV": lambda s, t, k, n: t == n - s,
    "JointSV": lambda s, t, k, n: _joint_shapley(t, k, n),
}
NAMES = (*_OF_EFFECTS, *_OF_VALUES)
# Weights of order s are scale(s) times those of order 1, whose sums then serve every order.
_ONE_SUM = ("Co-Moebius", "BII", "CHII", "Walsh", "BGV")


@lru_cache(maxsize=256)
def _weights(name: str, n: int, k: int) -> np.ndarray:
    """By s and |T|, 0 for |T| < s and for s outside 1 to k: float64 ``[1 or 2, n + 1, n + 1]``.

    Two for `_OF_VALUES`, of v and of v among those who are missing; one where they are the same.
    """
    weights = np.zeros((2, n + 1, n + 1))
    for s in range(1, k + 1):
        if name in _OF_EFFECTS:
            weights[:, s, s:] = [float(_OF_EFFECTS[name](s, t, k)) for t in range(s, n + 1)]
        else:
            p = [float(_OF_VALUES[name](s, t, k, n)) for t in range(n - s + 1)]
            weights[:, s, s:] = p, p[::-1]
    return weights[:1] if (weights[0] == weights[1]).all() else weights


def _indices(
    call: str, values: Any, names: Collection[str], max_order: int | None
) -> dict[str, Any]:
    """What `all_indices` gives, of checked names."""
    given = isinstance(values, Interactions)
    template = values.and_effects if given else values
    if _arrays.is_foreign(template):
        arrays = jax.tree.map(lambda x: _arrays.to_numpy(call, "values", x), values)
        results = _indices(call, arrays, names, max_order)
        return {name: _arrays.like(x, template) for name, x in results.items()}
    template = _arrays.as_array(call, "values", template)
    n = _checks.n_players(call, "values", tuple(template.shape))
    k = n if max_order is None else _checks.count(call, "max_order", max_order, least=1)
    if not given:
        values = _arrays.floating(call, "values", template)
    xp, order = _arrays.orders_like(template)
    effects = worths = None
    differences: dict[int, tuple[Any, ...]] = {}
    results = {}
    for name in names:
        weights = _weights(name, n, min(n, k, 1 if name in ("SV", "BV") else n))
        if name in _OF_EFFECTS:
            if effects is None:
                effects = values.dividends() if given else mobius(values)
            base, tables = effects, (effects,)
        else:
            # Over U superset S, which is T with S or N without T: p(s, |U| - s) v(U) less
            # p(s, n - |U|) v(N without U). Means of values round less than sums of effects, and
            # those of differences (to v(empty) where p is not symmetric) do not see an offset.
            if worths is None:
                worths = values.reconstruct() if given else values
                v_empty = worths[..., :1]
                absent = worths.flip(-1) if _arrays.is_torch(worths) else worths[..., ::-1]
            if len(weights) not in differences:
                differences[len(weights)] = (
                    (worths - absent,)
                    if len(weights) == 1
                    else (worths - v_empty, v_empty - absent)
                )
            base, tables = worths, differences[len(weights)]
        results[name] = _superset_sums(xp, order, base, tables, weights, name in _ONE_SUM)
    return results


def _superset_sums(
    xp: Any, order: Any, base: Any, tables: tuple[Any, ...], weights: np.ndarray, one_sum: bool
) -> Any:
    """``sum_{T superset S} sum_i weights[i, |S|, |T|] tables[i](T)``; `base` at the empty set."""

    def by_order(numbers: np.ndarray) -> Any:
        return xp.asarray(numbers, dtype=base.dtype)[order]

    def weighted(s: int) -> Any:
        if len(tables) == 1:
            return tables[0] * by_order(weights[0, s])
        first, second = (
            xp.where(w == 0, xp.zeros_like(x), x) * w  # 0 times NaN is 0: IGV and EGV need few
            for x, w in zip(tables, map(by_order, weights[:, s]))
        )
        return first + second

    itself = (weights[0] == np.eye(len(weights[0]))).all(axis=1) & (tables[0] is base)
    itself[0] = True
    result = xp.where(xp.asarray(itself)[order], base, xp.zeros_like(base))
    others = np.flatnonzero(weights.any(axis=(0, 2)) & ~itself).tolist()
    if one_sum and len(others) > 1:
        scale = weights[0, :, -1] / weights[0, 1, -1]
        sums = superset_zeta(weighted(1)) * by_order(scale)
        return xp.where(xp.asarray(scale != 0)[order], sums, result)
    for s in others:
        if xp is np:  # in place: fresh memory takes longer than the sums
            sums = weighted(s)
            np.copyto(result, superset_zeta(sums, out=sums), where=order == s)
        else:
            result = xp.where(order == s, superset_zeta(weighted(s)), result)
    return result
