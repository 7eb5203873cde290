# SPDX-License-Identifier: Apache-2.0
"""7a. How few effects explain a model: salient counts, sparsity conditions, two curves."""

from dataclasses import dataclass
from math import comb
from typing import Any

import jax
import numpy as np

from jaxinter import _arrays, _checks, stats
from jaxinter._by_order import by_order
from jaxinter._results import OverBatch, long_frame, on_kind
from jaxinter.interactions import Interactions, and_or_sum
from jaxinter.transform import mobius

__all__ = [
    "MatchingCurve",
    "SalientCounts",
    "SparsityConditions",
    "SparsityCurve",
    "matching_curve",
    "salient_counts",
    "sparsity_conditions",
    "sparsity_curve",
]

# Of the tables that `matching_curve` has in work, and how many float64 tables it holds for each.
WORKING_BYTES, TABLES_IN_WORK = 128 << 20, 8


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SalientCounts(OverBatch):
    """How many effects of each order 1 to n are salient, int ``[..., n]``, of either kind."""

    and_counts: Any
    or_counts: Any

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.and_counts.shape[:-1])

    @property
    def orders(self) -> np.ndarray:
        return np.arange(1, self.and_counts.shape[-1] + 1)

    @property
    def total(self) -> Any:
        """Over both kinds and all orders, ``[...]``."""
        return (self.and_counts + self.or_counts).sum(-1)

    def to_pandas(self) -> Any:
        """Long frame: sample, order, and_count, or_count."""
        columns = {"and_count": self.and_counts, "or_count": self.or_counts}
        return long_frame(self.batch, {"order": self.orders}, columns)


def salient_counts(interactions: Interactions, threshold: Any) -> SalientCounts:
    """How many AND and OR effects of each order are salient: |effect| > threshold.

    Args:
      interactions: one or many samples, singletons unmerged; may be traced.
      threshold: a number, an array over the batch, or a rule of `salience_threshold`.

    Returns:
      `SalientCounts`, int32 ``[..., n]``, kind of the effects. NaN is not salient.

    Raises:
      ValueError: no threshold, or one that is negative, NaN, of another shape, or an unknown rule.

    >>> salient_counts(ji.extract([0.0, 0.0, 0.0, 5.0]), 0.5).and_counts
    array([0, 1], dtype=int32)

    Source: Omega of paper 001, section 2.2.1, and of papers 002 and 003.
    """
    call = "salient_counts"
    if threshold is None:
        raise ValueError(f"{call}: threshold must be a number, an array or a rule's name; got None")
    limit = stats.tau(call, interactions, threshold)
    return SalientCounts(
        *(
            on_kind(lambda x: by_order((_salient(x, limit)).astype(np.int32))[..., 1:], x)
            for x in (interactions.and_effects, interactions.or_effects)
        )
    )


def _salient(x: Any, limit: Any) -> Any:
    """Which entries of x ``[..., 2**n]`` are above `limit`, as `stats.tau` gives it."""
    return abs(x) > (limit if isinstance(limit, float) else limit[..., None])


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SparsityConditions(OverBatch):
    """How far a model meets the three conditions under which its interactions are proven sparse.

    Attributes:
      max_order: int ``[...]``, M of condition 1: the largest order of a salient effect, 0 for none.
      average_output: float64 ``[..., n + 1]``, of condition 2: the mean of v(S) - v(empty) over the
        coalitions of each size.
      monotone: bool ``[...]``, condition 2: it never falls from one size to the next.
      power: float64 ``[...]``, of condition 3: the smallest p, inf where there is none.
      salient: int ``[...]``, how many effects are above the threshold.
    """

    max_order: Any
    average_output: Any
    monotone: Any
    power: Any
    salient: Any

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.average_output.shape[:-1])

    @property
    def bounded_order(self) -> Any:
        """Condition 1 says something: no salient effect of order n, bool ``[...]``."""
        return self.max_order < self.average_output.shape[-1] - 1

    def to_pandas(self) -> Any:
        """A row a sample: sample, max_order, bounded_order, monotone, power, salient."""
        names = ("max_order", "bounded_order", "monotone", "power", "salient")
        return long_frame(self.batch, {}, {name: getattr(self, name) for name in names})


def sparsity_conditions(
    interactions_or_values: Any, threshold: Any = "paper001"
) -> SparsityConditions:
    """Checks the three conditions of sparse interactions, and counts the salient effects.

        1. no salient effect is of higher order than M
        2. u(k') <= u(k) for k' <= k,                   u(k) = mean_{|S| = k} v(S) - v(empty)
        3. u(k') >= (k' / k)^p u(k) for k' <= k, some p > 0; 0 where every p > 0 will do

    They speak of a v that grows as players come: of a v that falls, as a log-odds against a class,
    2 fails, and 3 in general too; give the table of -v then.

    The smallest p is exact. A pair k' < k asks p >= log(u(k) / u(k')) / log(k / k') where both are
    positive, p at most that where both are negative, and the impossible where u(k') < 0 <= u(k) or
    u(k') = 0 < u(k).

    Args:
      interactions_or_values: `Interactions`, whose v is reconstruct() + residual; or a table of v
        ``[..., 2**n]``, of which AND interactions alone are taken, as Ren et al. prove it.
      threshold: of a salient effect: a number, an array over the batch, or a rule of
        `salience_threshold`.

    Returns:
      `SparsityConditions`, numpy. 2 and 3 are judged up to the rounding of v.

    Raises:
      ValueError: values that are no table or not finite; no threshold, or a bad one.
      TypeError: traced values.

    >>> conditions = sparsity_conditions([0.0, 1.0, 2.0, 5.0])
    >>> conditions.average_output, conditions.monotone, conditions.power.round(3)
    (array([0. , 1.5, 5. ]), np.True_, np.float64(1.737))

    Source: paper 001, appendix B (condition 2 misprints k' <= k); Ren et al. 2024a.
    """
    call = "sparsity_conditions"
    given = interactions_or_values
    if not isinstance(given, Interactions):
        given = _and_only(call, given)
    if threshold is None:
        raise ValueError(f"{call}: threshold must be a number, an array or a rule's name; got None")
    limit = stats.tau(call, given, threshold)
    dtype = _checks.float_dtype(call, "effects", _arrays.numpy_dtype(given.and_effects))
    a, b, residual = (
        _arrays.host(call, "effects", x).astype(dtype)
        for x in (given.and_effects, given.or_effects, given.residual)
    )
    strong = _salient(a, limit).astype(np.int32) + _salient(b, limit)
    n = given.n_players
    counts = by_order(strong)
    orders = np.arange(n + 1)
    rise = and_or_sum(a.astype(np.float64), b.astype(np.float64)) + residual
    if not np.isfinite(rise).all():
        raise ValueError(f"{call}: effects must be finite")
    u = by_order(rise) / np.array([comb(n, k) for k in orders], np.float64)
    u[..., 0] = 0
    slack = 8 * np.finfo(dtype).eps * np.abs(rise).max(axis=-1)
    return SparsityConditions(
        max_order=np.where(counts > 0, orders, 0).max(axis=-1),
        average_output=u,
        monotone=(np.diff(u, axis=-1) >= -slack[..., None]).all(axis=-1),
        power=_smallest_power(u, slack),
        salient=counts[..., 1:].sum(axis=-1),
    )


def _and_only(call: str, values: Any) -> Interactions:
    """A table as the AND interactions of all of it."""
    values = _arrays.host(call, "values", values)
    _checks.n_players(call, "values", values.shape)
    values = values.astype(_checks.float_dtype(call, "values", values.dtype))
    _checks.finite_values(call, "values", values)
    effects = mobius(values - values[..., :1])
    primal = np.abs(effects).sum(axis=-1, dtype=np.float64)
    none = np.zeros_like(effects)
    return Interactions(
        effects, none, values[..., 0], none, primal, primal, 0 * primal, 0, True, 0.0
    )


def _smallest_power(u: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """Condition 3 of u ``[..., n + 1]``; differences up to `slack` ``[...]`` are none."""
    k = np.arange(1, u.shape[-1])
    smaller, larger = np.nonzero(k[:, None] < k)  # the pairs
    if not smaller.size:
        return np.zeros(u.shape[:-1])
    u = np.where(np.abs(u) <= slack[..., None], 0, u)[..., 1:]
    low, high = u[..., smaller], u[..., larger]
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.log(high / low) / np.log(k[larger] / k[smaller])
    exact = np.where(np.abs(high - low) <= slack[..., None], 0, exact)
    at_least = np.where((low > 0) & (high > 0), exact, 0).max(axis=-1, initial=0)
    at_most = np.where((low < 0) & (high < 0), exact, np.inf).min(axis=-1)
    impossible = ((low < 0) & (high >= 0)) | ((low == 0) & (high > 0))
    possible = ~impossible.any(axis=-1) & (at_most > 0) & (at_least <= at_most)
    return np.where(possible, at_least, np.inf)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SparsityCurve(OverBatch):
    """|effects| from the strongest down, ``[..., 2 * (2**n - 1)]``, AND and OR together."""

    strength: Any

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.strength.shape[:-1])

    @property
    def cumulative(self) -> Any:
        """Share of the L1 strength in the strongest 1, 2, ... effects; NaN where that is 0."""
        with np.errstate(invalid="ignore"):
            running = self.strength.cumsum(-1)
            return running / running[..., -1:]

    def to_pandas(self, ranks: Any = None) -> Any:
        """A row a rank, over the samples: rank, mean, q10, median, q90, cumulative (mean share).

        Args:
          ranks: which, from 1; about 60 spaced by their logarithm for None.
        """
        import pandas as pd

        call = "SparsityCurve.to_pandas"
        strength = _arrays.host(call, "strength", self.strength).astype(np.float64)
        if not strength[..., :1].size:
            raise ValueError(f"{call}: needs at least one sample of one player")
        size = strength.shape[-1]
        ranks = _counts(call, "ranks", ranks, size, 1)
        share = _arrays.host(call, "cumulative", SparsityCurve(strength).cumulative)
        each = strength.reshape(-1, size)[:, ranks - 1]
        low, middle, high = np.quantile(each, [0.1, 0.5, 0.9], axis=0)
        return pd.DataFrame(
            {
                "rank": ranks,
                "mean": each.mean(axis=0),
                "q10": low,
                "median": middle,
                "q90": high,
                "cumulative": share.reshape(-1, size)[:, ranks - 1].mean(axis=0),
            }
        )


def sparsity_curve(interactions: Interactions) -> SparsityCurve:
    """|effects| sorted, strongest first: how fast they fall is how sparse the explanation is.

    Args:
      interactions: one or many samples; may be traced.

    Returns:
      `SparsityCurve`, of the kind and dtype of the effects; NaN last.

    >>> sparsity_curve(ji.extract([0.0, 1.0, 2.0, 5.0]).canonical()).strength.round(3)
    array([2., 2., 1., 0., 0., 0.])

    Source: Ren et al. 2024a; papers 001 to 003 count from it what is salient.
    """

    def sort(a: Any, b: Any) -> Any:
        xp = _arrays.namespace(a)
        strength = abs(xp.concatenate([a[..., 1:], b[..., 1:]], axis=-1))
        return -xp.sort(-strength, axis=-1)

    return SparsityCurve(on_kind(sort, interactions.and_effects, interactions.or_effects))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class MatchingCurve(OverBatch):
    """How well the strongest effects alone match v.

    Attributes:
      counts: int ``[counts]``, how many effects are kept.
      errors: float64 ``[..., counts]``, ||v - h_k|| / ||v - v(empty)|| of that many.
    """

    counts: Any
    errors: Any
    _shared = ("counts",)

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.errors.shape[:-1])

    def needed(self, error: float) -> np.ndarray:
        """The least of `counts` whose error is at most `error`, ``[...]``; inf where none is."""
        error = _checks.real("MatchingCurve.needed", "error", error, positive=False)
        counts = _arrays.host("MatchingCurve.needed", "counts", self.counts)
        within = _arrays.host("MatchingCurve.needed", "errors", self.errors) <= error
        return np.where(within, counts.astype(np.float64), np.inf).min(axis=-1, initial=np.inf)

    def to_pandas(self) -> Any:
        """Long frame: sample, count, error."""
        return long_frame(self.batch, {"count": self.counts}, {"error": self.errors})


def matching_curve(interactions: Interactions, counts: Any = None) -> MatchingCurve:
    """Error of the logical model that keeps only the k strongest effects, for each k asked for.

        h_k(T) = bias + the k strongest of  AND(S), S within T,  and OR(S), S that meets T
        error(k) = ||v - h_k|| / ||v - v(empty)||,        L2 over all 2^n coalitions

    where v = reconstruct() + residual. error(0) is 1, and error of all effects what the residual
    leaves. It need not fall from each k to the next.

    Args:
      interactions: one or many samples.
      counts: whole numbers from 0 to 2 * (2**n - 1), any order; about 60 from 0 to all, spaced by
        their logarithm, for None.

    Returns:
      `MatchingCurve`, float64. Of a v that is constant the error is 0 where matched, else inf. Ties
      in strength go by kind (AND first), then by index.

    Raises:
      ValueError: counts that are no whole numbers in range.
      TypeError: traced interactions.

    >>> curve = matching_curve(ji.extract([0.0, 1.0, 2.0, 5.0]).canonical(), [0, 1, 2, 3])
    >>> curve.needed(1e-3)
    np.float64(3.0)

    Source: papers 001 and 002, "universal matching"; Ren et al. 2024a for the salient effects only.
    """
    call = "matching_curve"
    a, b, residual = (
        _arrays.host(call, "effects", x).astype(np.float64)
        for x in (interactions.and_effects, interactions.or_effects, interactions.residual)
    )
    size = a.shape[-1]
    counts = _counts(call, "counts", counts, 2 * (size - 1), 0)
    batch = a.shape[:-1]
    tables = [x.reshape(-1, size) for x in (a, b, residual)]
    errors = np.zeros((len(tables[0]), len(counts)))
    rows = max(1, WORKING_BYTES // (TABLES_IN_WORK * 8 * size))  # of a sample and a count each
    samples, some = max(1, rows // max(1, len(counts))), max(1, min(rows, len(counts)))
    for start in range(0, len(errors), samples):
        part = slice(start, start + samples)
        x, y, rest = (table[part] for table in tables)
        rank = np.argsort(np.argsort(-np.abs(np.concatenate([x, y], -1)), -1, kind="stable"), -1)
        whole = np.linalg.norm(and_or_sum(x, y) + rest, axis=-1)[:, None]
        for first in range(0, len(counts), some):
            kept = counts[first : first + some, None]
            dropped = [
                np.where(rank[:, None, kind * size : (kind + 1) * size] < kept, 0, z[:, None])
                for kind, z in enumerate((x, y))
            ]
            error = np.linalg.norm(and_or_sum(*dropped) + rest[:, None], axis=-1)
            with np.errstate(divide="ignore", invalid="ignore"):
                error = np.where(error == 0, 0, error / whole)
            errors[part, first : first + some] = error
    errors = errors.reshape(*batch, len(counts))
    return MatchingCurve(counts, _arrays.like(errors, interactions.and_effects))


def _counts(call: str, argument: str, given: Any, most: int, least: int) -> np.ndarray:
    """Whole numbers from `least` to `most`; about 60 of them, spaced by their logarithm."""
    if given is None:
        return np.unique(
            np.r_[least, np.geomspace(1, max(most, 1), 60).round()].clip(0, most)
        ).astype(int)
    array = np.asarray(given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{call}: {argument} must be whole numbers [m]; got {given!r}")
    if array.size and not (least <= array.min() and array.max() <= most):
        raise ValueError(
            f"{call}: {argument} must be from {least} to {most}; got {array.min()} to {array.max()}"
        )
    return array.astype(int)
