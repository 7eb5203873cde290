# SPDX-License-Identifier: Apache-2.0
"""NID 8. Functions whose interactions are known, and how well a ranking finds them."""

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks

__all__ = [
    "F1",
    "F2",
    "F3",
    "F4",
    "F5",
    "F6",
    "F7",
    "F8",
    "F9",
    "F10",
    "FUNCTIONS",
    "Function",
    "adversarial",
    "pairwise_auc",
    "quadratic_pairs",
    "r_precision",
    "roc_curve",
    "top_rank_recall",
    "trimmed_mean",
]


@dataclass(frozen=True)
class Function:
    """A function of independent uniform columns, and which of them interact.

    A set of columns interacts in f where f is no sum of functions that each miss one of them; so
    do all its subsets, and `interactions` holds those that are no subset of another.

    Attributes:
      name, formula: text; the formula counts columns from 1, as the paper does.
      interactions: tuples of columns from 0.
      low, high: the range of each column, ``[p]``.
      compute: f, of the columns: `x[1]` is the first, as in the formula.
    """

    name: str
    formula: str
    interactions: tuple[tuple[int, ...], ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    compute: Callable[[Sequence[Any]], Any] = field(repr=False)

    @property
    def n_columns(self) -> int:
        return len(self.low)

    def __call__(self, x: Any) -> Any:
        """f of x ``[..., p]``: float64 ``[...]``, NaN or infinite outside the domain."""
        x = _arrays.host(self.name, "x", x).astype(np.float64)
        if not x.ndim or x.shape[-1] != self.n_columns:
            raise ValueError(
                f"{self.name}: x must have {self.n_columns} columns, [..., {self.n_columns}]; got "
                f"shape {x.shape}"
            )
        return self.compute([None, *np.moveaxis(x, -1, 0)])

    def sample(
        self, rows: int = 30_000, seed: Any = 0, noise: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows drawn from the ranges, and f of them.

        Args:
          rows: the paper has 30,000, a third each to train, validate and test.
          seed: what numpy's `default_rng` takes.
          noise: where > 0, every column and y are standardised (mean 0, deviation 1) and normal
            noise of this deviation is added to all of them. The rows beneath are those of noise 0.

        Returns:
          X float64 ``[rows, p]``, y float64 ``[rows]``.

        Raises:
          ValueError: rows < 1, or < 2 with noise; noise negative or not finite.

        >>> X, y = F5.sample(100)
        >>> X.shape, bool((y == F5(X)).all())
        ((100, 10), True)

        Source: paper 004, section 5.1 and footnote 3.
        """
        call = f"{self.name}.sample"
        noise = _checks.real(call, "noise", noise, positive=False)
        rows = _checks.count(call, "rows", rows, least=2 if noise else 1)
        rng = np.random.default_rng(seed)
        x = rng.uniform(self.low, self.high, (rows, self.n_columns))
        y = self(x)
        if not noise:
            return x, y
        x, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (x, y))
        return x + noise * rng.normal(size=x.shape), y + noise * rng.normal(size=y.shape)


def _function(
    formula: str, *interactions: tuple[int, ...], low: Sequence[float] = (-1.0,) * 10
) -> Callable[[Callable[[Sequence[Any]], Any]], Function]:
    """Makes a `Function` of what it stands above; all three count columns from 1."""

    def made(compute: Callable[[Sequence[Any]], Any]) -> Function:
        name = compute.__name__
        compute.__qualname__ = f"{name}.compute"  # where pickle finds it
        truth = tuple(tuple(i - 1 for i in group) for group in interactions)
        return Function(name, formula, truth, tuple(low), (1.0,) * len(low), compute)

    return made


# The ranges are those of Hooker 2004.
@_function(
    "pi^(x1 x2) sqrt(2 x3) - asin(x4) + log(x3 + x5) - x9/x10 sqrt(x7/x8) - x2 x7",
    (1, 2, 3), (2, 7), (3, 5), (7, 8, 9, 10),
    low=(0.0, 0.0, 0.0, 0.6, 0.6, 0.0, 0.0, 0.6, 0.0, 0.6),
)  # fmt: skip
def F1(x):
    y = np.pi ** (x[1] * x[2]) * np.sqrt(2 * x[3]) - np.arcsin(x[4]) + np.log(x[3] + x[5])
    return y - x[9] / x[10] * np.sqrt(x[7] / x[8]) - x[2] * x[7]


# |x7|: the paper prints x7, whose root is undefined on half the range.
@_function(
    "pi^(x1 x2) sqrt(2|x3|) - asin(x4/2) + log(|x3 + x5| + 1)"
    " + x9/(1 + |x10|) sqrt(|x7|/(1 + |x8|)) - x2 x7",
    (1, 2, 3), (2, 7), (3, 5), (7, 8, 9, 10),
)  # fmt: skip
def F2(x):
    y = np.pi ** (x[1] * x[2]) * np.sqrt(2 * abs(x[3])) - np.arcsin(x[4] / 2)
    y = y + np.log(abs(x[3] + x[5]) + 1) - x[2] * x[7]
    return y + x[9] / (1 + abs(x[10])) * np.sqrt(abs(x[7]) / (1 + abs(x[8])))


@_function(
    "exp|x1 - x2| + |x2 x3| - x3^(2|x4|) + log(x4^2 + x5^2 + x7^2 + x8^2) + x9 + 1/(1 + x10^2)",
    (1, 2), (2, 3), (3, 4), (4, 5, 7, 8),
)  # fmt: skip
def F3(x):
    y = np.exp(abs(x[1] - x[2])) + abs(x[2] * x[3]) - (x[3] ** 2) ** abs(x[4])
    return y + np.log(x[4] ** 2 + x[5] ** 2 + x[7] ** 2 + x[8] ** 2) + x[9] + 1 / (1 + x[10] ** 2)


@_function("F3 + (x1 x4)^2", (1, 2), (2, 3), (3, 4), (1, 4), (4, 5, 7, 8))
def F4(x):
    return F3.compute(x) + (x[1] * x[4]) ** 2


@_function(
    "1/(1 + x1^2 + x2^2 + x3^2) + sqrt(exp(x4 + x5)) + |x6 + x7| + x8 x9 x10",
    (1, 2, 3), (4, 5), (6, 7), (8, 9, 10),
)  # fmt: skip
def F5(x):
    y = 1 / (1 + x[1] ** 2 + x[2] ** 2 + x[3] ** 2) + np.sqrt(np.exp(x[4] + x[5]))
    return y + abs(x[6] + x[7]) + x[8] * x[9] * x[10]


@_function(
    "exp(|x1 x2| + 1) - exp(|x3 + x4| + 1) + cos(x5 + x6 - x8) + sqrt(x8^2 + x9^2 + x10^2)",
    (1, 2), (3, 4), (5, 6, 8), (8, 9, 10),
)  # fmt: skip
def F6(x):
    y = np.exp(abs(x[1] * x[2]) + 1) - np.exp(abs(x[3] + x[4]) + 1)
    return y + np.cos(x[5] + x[6] - x[8]) + np.sqrt(x[8] ** 2 + x[9] ** 2 + x[10] ** 2)


@_function(
    "(atan x1 + atan x2)^2 + max(x3 x4 + x6, 0) - 1/(1 + (x4 x5 x6 x7 x8)^2) + (|x7|/(1 + |x9|))^5"
    " + sum xi",
    (1, 2), (3, 4, 6), (4, 5, 6, 7, 8), (7, 9),
)  # fmt: skip
def F7(x):
    y = (np.arctan(x[1]) + np.arctan(x[2])) ** 2 + np.maximum(x[3] * x[4] + x[6], 0)
    y = y - 1 / (1 + (x[4] * x[5] * x[6] * x[7] * x[8]) ** 2)
    return y + (abs(x[7]) / (1 + abs(x[9]))) ** 5 + sum(x[1:])


@_function(
    "x1 x2 + 2^(x3 + x5 + x6) + 2^(x3 + x4 + x5 + x7) + sin(x7 sin(x8 + x9)) + acos(0.9 x10)",
    (1, 2), (3, 5, 6), (3, 4, 5, 7), (7, 8, 9),
)  # fmt: skip
def F8(x):
    y = x[1] * x[2] + 2 ** (x[3] + x[5] + x[6]) + 2 ** (x[3] + x[4] + x[5] + x[7])
    return y + np.sin(x[7] * np.sin(x[8] + x[9])) + np.arccos(0.9 * x[10])


@_function(
    "tanh(x1 x2 + x3 x4) sqrt|x5| + exp(x5 + x6) + log((x6 x7 x8)^2 + 1) + x9 x10 + 1/(1 + |x10|)",
    (1, 2, 3, 4, 5), (5, 6), (6, 7, 8), (9, 10),
)  # fmt: skip
def F9(x):
    y = np.tanh(x[1] * x[2] + x[3] * x[4]) * np.sqrt(abs(x[5])) + np.exp(x[5] + x[6])
    return y + np.log((x[6] * x[7] * x[8]) ** 2 + 1) + x[9] * x[10] + 1 / (1 + abs(x[10]))


@_function(
    "sinh(x1 + x2) + acos(tanh(x3 + x5 + x7)) + cos(x4 + x5) + sec(x7 x9)",
    (1, 2), (3, 5, 7), (4, 5), (7, 9),
)  # fmt: skip
def F10(x):
    y = np.sinh(x[1] + x[2]) + np.arccos(np.tanh(x[3] + x[5] + x[7])) + np.cos(x[4] + x[5])
    return y + 1 / np.cos(x[7] * x[9])


# Paper 004, Table 1.
FUNCTIONS = {f.name: f for f in (F1, F2, F3, F4, F5, F6, F7, F8, F9, F10)}


# A case made against NID: ParaACE publishes a pairwise AUC of 0.70. Its 8 columns all interact.
@_function(
    "x1^2 x2 x3^2 x4 + x5^2 x6 x7^2 x8", (1, 2, 3, 4), (5, 6, 7, 8), low=(-1.0,) * 8
)  # fmt: skip
def adversarial(x):
    return x[1] ** 2 * x[2] * x[3] ** 2 * x[4] + x[5] ** 2 * x[6] * x[7] ** 2 * x[8]


def quadratic_pairs(
    p: int = 1000,
    rows: int = 10_000,
    *,
    rank: int = 5,
    density: float = 0.02,
    noise_variance: float = 0.1,
    seed: Any = 0,
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[int, int], ...]]:
    """Many columns of which few pairs interact.

        y = beta . x + x^T W x + e,        W = sum_k a_k a_k^T,        x ~ N(0, 1)

    beta and each a_k are normal at round(density * p) columns and 0 elsewhere.

    Args:
      p, rows: columns and rows.
      rank: how many a_k.
      density: share of their entries that are not 0.
      noise_variance: of e, normal.
      seed: what numpy's `default_rng` takes.

    Returns:
      X float64 ``[rows, p]``, y float64 ``[rows]``, the pairs i < j of columns with W[i, j] != 0:
      at the defaults about 950, 190 for each a_k.

    Raises:
      ValueError: a size out of range; fewer than two entries of each a_k.

    >>> X, y, pairs = quadratic_pairs(50, 100, rank=1, density=0.1)
    >>> X.shape, y.shape, len(pairs)
    ((100, 50), (100,), 10)

    Source: paper 004, appendix F.
    """
    call = "quadratic_pairs"
    p = _checks.count(call, "p", p, least=2)
    rows = _checks.count(call, "rows", rows, least=1)
    rank = _checks.count(call, "rank", rank, least=1)
    density = _checks.real(call, "density", density, positive=True)
    variance = _checks.real(call, "noise_variance", noise_variance, positive=False)
    used = round(density * p)
    if not 2 <= used <= p:
        raise ValueError(f"{call}: density must make 2 to {p} of p = {p} columns; got {density}")
    rng = np.random.default_rng(seed)
    vectors = np.zeros((rank + 1, p))
    for vector in vectors:
        vector[rng.choice(p, used, replace=False)] = rng.normal(size=used)
    beta, a = vectors[0], vectors[1:]
    x = rng.normal(size=(rows, p))
    y = x @ beta + ((x @ a.T) ** 2).sum(axis=1) + np.sqrt(variance) * rng.normal(size=rows)
    pairs = np.argwhere(np.triu(a.T @ a, 1))
    return x, y, tuple((i, j) for i, j in pairs.tolist())


def pairwise_auc(pairwise: Any, truth: Any) -> Any:
    """Area under the ROC curve of pair strengths: how well they tell true pairs from others.

        AUC = P(strength of a true pair > of another) + P(equal) / 2

    Args:
      pairwise: strengths ``[..., p, p]``, symmetric, of which the diagonal is not read; or what has
        them as `.pairwise`.
      truth: a `Function`, or interactions: a pair is true where it is a subset of one. Tuples or
        sets of columns, by name where `pairwise` has `column_names`.

    Returns:
      float; float64 ``[...]`` of many matrices.

    Raises:
      ValueError: strengths that are not square, symmetric and finite; truth that is empty, of other
        columns, or holds a subset of another interaction; only true pairs, or none.
      TypeError: truth that is no interactions.

    >>> pairwise_auc([[0, 3, 1], [3, 0, 2], [1, 2, 0]], [(0, 1)])
    1.0

    Source: paper 004, section 5.2.
    """
    strengths, positive = _pairs("pairwise_auc", pairwise, truth)
    areas = np.empty(strengths.shape[:-1])
    for i in np.ndindex(areas.shape):
        areas[i] = auc(strengths[i], positive)
    return areas if areas.ndim else float(areas)


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores ``[m]``, of which `positive` bool ``[m]`` should be high;
    some are, some are not."""
    false, true = _counts(scores, positive)
    return float(np.dot(np.diff(false), true[1:] + true[:-1]) / (2 * false[-1] * true[-1]))


def roc_curve(pairwise: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate of the pairs of at least each strength, from (0, 0) to (1, 1).

    Args:
      pairwise, truth: as of `pairwise_auc`; one matrix.

    Returns:
      false and true positive rate, float64 ``[k + 1]`` each of k different strengths.

    Raises:
      As `pairwise_auc`; ValueError also for many matrices.

    >>> roc_curve([[0, 3, 1], [3, 0, 2], [1, 2, 0]], [(0, 1)])
    (array([0. , 0. , 0.5, 1. ]), array([0., 1., 1., 1.]))

    Source: paper 004, Figures 9 and 10.
    """
    strengths, positive = _pairs("roc_curve", pairwise, truth)
    if strengths.ndim > 1:
        raise ValueError(
            f"roc_curve: pairwise must be one matrix [p, p]; got a batch of shape "
            f"{strengths.shape[:-1]}"
        )
    false, true = _counts(strengths, positive)
    return false / false[-1], true / true[-1]


def top_rank_recall(ranking: Any, truth: Any) -> float:
    """Share of the true interactions that come before the first false one.

    Subsets of true interactions are passed over: they interact too.

    Args:
      ranking: interactions, strongest first; or what has them as `.interactions`.
      truth: a `Function`, or its interactions; by name where `ranking` has `column_names`.

    Returns:
      float from 0 to 1.

    Raises:
      ValueError: a ranking that repeats an interaction; truth that is empty, of other columns, or
        holds a subset of another interaction.
      TypeError: either is no interactions.

    >>> top_rank_recall([(0, 1), (0, 1, 2), (3, 4), (2, 3)], [(0, 1, 2), (2, 3)])
    0.5

    Source: paper 004, section 5.3.
    """
    wanted, ranked = _relevant("top_rank_recall", ranking, truth)
    before = next((k for k, found in enumerate(ranked) if not found), len(ranked))
    return before / len(wanted)


def r_precision(ranking: Any, truth: Any) -> float:
    """Share of the first R that are true, R the number of true interactions.

    Subsets of true interactions are passed over: they interact too.

    Args:
      ranking, truth: as of `top_rank_recall`.

    Returns:
      float from 0 to 1, at least `top_rank_recall`; of a ranking of fewer than R, the missing are
      false.

    Raises:
      As `top_rank_recall`.

    >>> r_precision([(0, 1), (0, 1, 2), (3, 4), (2, 3)], [(0, 1, 2), (2, 3)])
    0.5

    Source: the code published with paper 004.
    """
    wanted, ranked = _relevant("r_precision", ranking, truth)
    return sum(ranked[: len(wanted)]) / len(wanted)


def trimmed_mean(scores: Any) -> tuple[Any, Any]:
    """Mean and standard deviation over trials, without the highest and the lowest.

    Args:
      scores: ``[trials, ...]``, of three trials or more; the paper runs ten.

    Returns:
      float64 ``[...]`` each.

    Raises:
      ValueError: fewer than three trials; not finite.

    >>> trimmed_mean([0.0, 3.0, 5.0, 100.0])
    (np.float64(4.0), np.float64(1.0))

    Source: paper 004, section 5.2.
    """
    scores = _arrays.host("trimmed_mean", "scores", scores).astype(np.float64)
    if not scores.ndim or len(scores) < 3 or not np.isfinite(scores).all():
        raise ValueError(
            "trimmed_mean: scores must be finite numbers [trials, ...] of at least 3 trials; got "
            f"{scores if scores.size < 10 else f'shape {scores.shape}'}"
        )
    kept = np.sort(scores, axis=0)[1:-1]
    return kept.mean(axis=0), kept.std(axis=0)


def _pairs(call: str, pairwise: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Strength ``[..., pairs]`` of each pair of columns, and whether it is true ``[pairs]``."""
    x = _arrays.host(call, "pairwise", getattr(pairwise, "pairwise", pairwise)).astype(np.float64)
    p = x.shape[-1] if x.ndim > 1 else -1
    if p < 2 or x.shape[-2] != p:
        raise ValueError(f"{call}: pairwise must be strengths [p, p], p >= 2; got shape {x.shape}")
    rows, columns = np.triu_indices(p, 1)
    strengths = x[..., rows, columns]
    if not np.isfinite(strengths).all():
        raise ValueError(f"{call}: pairwise must be finite")
    rounding = 1e-9 * abs(strengths).max(initial=0.0)
    if not np.allclose(strengths, x[..., columns, rows], atol=rounding):
        raise ValueError(f"{call}: pairwise must be symmetric")
    names = _names(pairwise) or range(p)
    position = {name: i for i, name in enumerate(names)}
    true = np.zeros((p, p), bool)
    for group in truth_sets(call, truth, names):
        at = [position[column] for column in group]
        true[np.ix_(at, at)] = True
    positive = true[rows, columns]
    if positive.all():
        raise ValueError(f"{call}: truth must leave a pair that does not interact; got all pairs")
    return strengths, positive


def _counts(strengths: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """0, then of each strength, highest first: how many false, and true, pairs have at least it."""
    _, rank = np.unique(-strengths, return_inverse=True)
    false, true = (np.cumsum(np.bincount(rank + 1, kind)) for kind in (~positive, positive))
    return false, true


def _relevant(call: str, ranking: Any, truth: Any) -> tuple[list[frozenset], list[bool]]:
    """The true interactions; for each ranked one that is no proper subset of one, whether true."""
    wanted = truth_sets(call, truth, _names(ranking))
    ranked = _sets(call, "ranking", ranking)
    return wanted, [group in wanted for group in ranked if not any(group < w for w in wanted)]


def _names(found: Any) -> Sequence[Any] | None:
    """By which an object that was found calls its columns."""
    return getattr(found, "column_names", None)


def truth_sets(call: str, truth: Any, columns: Sequence[Any] | None) -> list[frozenset]:
    """Of these columns, where they are known."""
    sets = _sets(call, "truth", truth)
    if not sets or any(len(group) < 2 for group in sets):
        raise ValueError(f"{call}: truth must be one or more interactions of 2 columns or more")
    for group in sets:
        if any(group < other for other in sets):
            raise ValueError(
                f"{call}: truth must hold no subset of another interaction; drop {set(group)}"
            )
        if columns is not None and (unknown := sorted(group.difference(columns), key=str)):
            raise ValueError(
                f"{call}: truth must be of columns {reprlib.repr(columns)}; got {unknown}"
            )
    return sets


def _sets(call: str, argument: str, given: Any) -> list[frozenset]:
    """Of different interactions, without their strengths."""
    try:
        groups = list(getattr(given, "interactions", given))
        sets = list(map(frozenset, groups))
        strange = any(isinstance(x, (float, tuple)) for group in sets for x in group)
    except TypeError:
        groups, sets, strange = [], [], True
    if strange or any(isinstance(group, str) for group in groups):
        raise TypeError(
            f"{call}: {argument} must be interactions alone, each a tuple of columns; got "
            f"{reprlib.repr(given)}"
        )
    if len(set(sets)) < len(sets):
        repeated = next(group for group in sets if sets.count(group) > 1)
        raise ValueError(f"{call}: {argument} must not repeat an interaction; got {set(repeated)}")
    return sets
