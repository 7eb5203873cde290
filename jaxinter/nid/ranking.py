# SPDX-License-Identifier: Apache-2.0
"""NID 5. Interactions from weights: what each unit of the first layer joins, ranked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks
from jaxinter.nid import weights as _weights

__all__ = [
    "AVERAGES",
    "Ranking",
    "aggregated_weights",
    "any_order",
    "grouped",
    "pairwise",
    "proposed_strengths",
    "prune",
    "rank",
    "ranked_pairs",
]


@dataclass(frozen=True)
class _Average:
    """``after(combine over w in I of before(w), |I|)``: prefixes accumulate it, pairs are one."""

    before: Callable[[Any], Any]
    combine: np.ufunc
    after: Callable[[Any, Any], Any]

    def prefixes(self, w: np.ndarray) -> np.ndarray:
        """Of the first 2, 3, .. of the weights ``[..., p]``: ``[..., p - 1]``."""
        sizes = np.arange(2, w.shape[-1] + 1)
        with np.errstate(divide="ignore", over="ignore"):  # log 0, 1 / 0
            return self.after(self.combine.accumulate(self.before(w), axis=-1)[..., 1:], sizes)


def _same(total: Any, size: Any = None) -> Any:
    return total


# mu of |w_I| (3.1). A weight of 0 is log 0 = -inf and 1 / 0 = inf: the average of such is 0.
_MU = {
    "max": _Average(_same, np.maximum, _same),
    "rms": _Average(np.square, np.add, lambda total, size: np.sqrt(total / size)),
    "mean": _Average(_same, np.add, np.divide),
    "geometric": _Average(np.log, np.add, lambda total, size: np.exp(total / size)),
    "harmonic": _Average(np.reciprocal, np.add, lambda total, size: size / total),
    "min": _Average(_same, np.minimum, _same),
}
AVERAGES = tuple(_MU)
ORDERS = ("any", "pairwise")
BLOCK = 512  # candidates that are looked through at once for the next to keep


def aggregated_weights(matrices: Sequence[np.ndarray], layer: int = 1) -> np.ndarray:
    """How much the output can change with each unit of a hidden layer, by all weights above it.

        z = |w_y|^T |W_L| ... |W_{layer + 1}|

    Args:
      matrices: ``[out, in]`` each, first to last.
      layer: a hidden layer, from 1.

    Returns:
      float64 ``[p_layer]``, summed over outputs. Each output is z-Lipschitz in the activations of
      the layer, where activation functions are 1-Lipschitz (ReLU, tanh, sigmoid; not GELU).

    Raises:
      ValueError: no such hidden layer.

    >>> aggregated_weights([np.ones((2, 3)), [[1.0, -2.0], [0.5, 0.0]], [[3.0, -4.0]]])
    array([5., 6.])

    Source: paper 004, 3.2 and Lemma 3.
    """
    hidden = len(matrices) - 1
    if _checks.count("nid.aggregated_weights", "layer", layer, least=1) > hidden:
        raise ValueError(f"nid.aggregated_weights: layer must be from 1 to {hidden}; got {layer}")
    z = np.abs(matrices[-1]).sum(axis=0, keepdims=True, dtype=np.float64)
    for W in matrices[-2 : layer - 1 : -1]:
        z = z @ np.abs(W)
    return z[0]


def grouped(first: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The weights of columns that enter as several inputs: categories, embeddings.

        W[s, c] = sqrt(sum of W[s, i]^2 over the inputs i of column c)

    Args:
      first: ``[..., p1, q]``, the first layer.
      columns: int ``[q]``, the column of each input, 0 to p - 1, in any order.

    Returns:
      ``[..., p1, p]``, |w| where a column is one input.

    >>> grouped(np.array([[3.0, -1.0, 4.0]]), np.array([0, 1, 0]))
    array([[5., 1.]])
    """
    order = np.argsort(columns, kind="stable")
    starts = np.searchsorted(columns[order], np.arange(columns.max() + 1))
    return np.hypot.reduceat(np.abs(first)[..., order], starts, axis=-1)


def pairwise(first: np.ndarray, z: np.ndarray, averaging: str = "min") -> np.ndarray:
    """The strength of each pair of columns.

        omega({i, j}) = sum over units s of z_s mu(|W[s, i]|, |W[s, j]|)

    Args:
      first: ``[..., p1, p]``, the first layer.
      z: ``[..., p1]``, its aggregated weights.
      averaging: mu, one of `AVERAGES`.

    Returns:
      float64 ``[..., p, p]``, symmetric, zero diagonal.

    Source: paper 004, 4.4.
    """
    mu, p = _MU[averaging], first.shape[-1]
    strength = np.zeros((*first.shape[:-2], p, p))
    step = max(1, (1 << 16) // (first.size // p))  # the units of so many pairs fit the cache
    with np.errstate(divide="ignore", over="ignore"):
        w = mu.before(np.abs(first, dtype=np.float64).swapaxes(-1, -2).copy())
        for i in range(p - 1):
            for j in range(i + 1, p, step):
                pairs = mu.after(mu.combine(w[..., j : j + step, :], w[..., i : i + 1, :]), 2)
                strength[..., i, j : j + step] = (pairs @ z[..., None])[..., 0]
    return strength + strength.swapaxes(-1, -2)


def ranked_pairs(
    pairwise: np.ndarray, max_interactions: int | None = None
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """All pairs of ``[p, p]``, or the top ones, strongest first; their strengths ``[k]``."""
    i, j = np.triu_indices(len(pairwise), 1)
    order = np.argsort(-pairwise[i, j], kind="stable")[:max_interactions]
    return list(zip(i[order].tolist(), j[order].tolist())), pairwise[i, j][order]


def any_order(
    first: np.ndarray,
    z: np.ndarray,
    *,
    averaging: str = "min",
    prune: bool = True,
    max_interactions: int | None = 100,
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Interactions of any order, ranked: each unit proposes its j strongest columns, j = 2 to p.

        d[I] = sum over units s that propose I of z_s mu(|W[s, i]| for i in I)

    Of weights that tie, the column with the lower number comes first; of strengths that tie, the
    interaction that was proposed first, unit by unit.

    Args:
      first: ``[p1, p]``, the first layer, p >= 2.
      z: ``[p1]``, its aggregated weights.
      averaging: mu, one of `AVERAGES`.
      prune: leave out subsets of interactions ranked above them, as `prune`.
      max_interactions: the top ones; None for all.

    Returns:
      interactions as ascending columns, and their strengths float64 ``[k]``, descending.

    >>> any_order(np.array([[3.0, 1.0, -2.0], [0.0, 1.0, -1.0]]), np.array([1.0, 5.0]))
    ([(1, 2), (0, 2), (0, 1, 2)], array([5., 2., 1.]))

    Source: paper 004, Algorithm 1 and Eq. 1.
    """
    order, contributions = _proposals(first, z, averaging)
    proposal, strengths = _candidates(order, contributions)
    unit, size = np.divmod(proposal, order.shape[1] - 1)
    size += 2
    if prune:
        kept = _kept(order, unit, size, max_interactions)
    else:
        kept = list(range(len(unit)))[:max_interactions]
    chosen = zip(unit[kept], size[kept])
    return [tuple(np.sort(order[s, :j]).tolist()) for s, j in chosen], strengths[kept]


def proposed_strengths(
    interactions: Sequence[tuple[int, ...]],
    first: np.ndarray,
    z: np.ndarray,
    averaging: str = "min",
) -> np.ndarray:
    """d[I] of `any_order` for given I, 0 where no unit proposes it: float64 ``[k]``."""
    order, contributions = _proposals(first, z, averaging)
    ranks = _ranks(order)
    strengths = np.zeros(len(interactions))
    for k, members in enumerate(interactions):
        proposing = ranks[list(members)].max(axis=0) == len(members) - 1
        each = contributions[proposing, len(members) - 2]
        strengths[k] = np.cumsum(each)[-1] if each.size else 0.0  # in order of units
    return strengths


def prune(
    interactions: Sequence[tuple], strengths: Any, max_interactions: int | None = 100
) -> tuple[list[tuple], np.ndarray]:
    """A ranking without the proper subsets of what it ranks higher.

    Args:
      interactions, strengths: in order, strongest first.
      max_interactions: stop when so many are kept; None for all.

    >>> prune([(0, 1), (0, 1, 2), (1, 2), (0, 3)], [4.0, 3.0, 2.0, 1.0])
    ([(0, 1), (0, 1, 2), (0, 3)], array([4., 3., 1.]))

    Source: paper 004, 4.2 (footnote 2), as in the code published with it.
    """
    kept: list[int] = []
    sets: list[frozenset] = []
    for k, members in enumerate(map(frozenset, interactions)):
        if len(kept) == max_interactions:
            break
        if not any(members < larger for larger in sets):
            kept.append(k)
            sets.append(members)
    return [interactions[k] for k in kept], np.asarray(strengths, np.float64)[kept]


def _proposals(first: np.ndarray, z: np.ndarray, averaging: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns by weight, descending ``[p1, p]``, and what each unit adds to its top 2 to p."""
    w = np.abs(first, dtype=np.float64)
    order = np.argsort(-w, axis=1, kind="stable")
    mu = _MU[averaging].prefixes(np.take_along_axis(w, order, axis=1))
    return order, z[:, None] * mu


def _candidates(order: np.ndarray, contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct proposals by strength: the first of each, numbered unit by unit, and its d[I]."""
    words = _words(order.shape[1])
    keys = words[:, order].cumsum(axis=-1)[..., 1:].reshape(len(words), -1)
    by_key = np.lexsort(keys)  # stable: of equal keys, the first proposal comes first
    keys = keys[:, by_key]
    new = np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)])
    of = np.empty(len(by_key), np.intp)
    of[by_key] = new.cumsum() - 1
    strengths = np.bincount(of, weights=contributions.ravel())  # adds up in order of units
    proposal = by_key[new]
    ranking = np.lexsort((proposal, -strengths))
    return proposal[ranking], strengths[ranking]


def _words(p: int) -> np.ndarray:
    """Numbers for columns ``[1 or 2, p]`` whose sums tell sets apart: bits, or random ones.

    Two sets share both sums of random numbers with chance 2**-128: among the 500,000 candidates of
    500 units and 1000 columns, any two do with chance 4e-28.
    """
    if p <= 64:
        return np.uint64(1) << np.arange(p, dtype=np.uint64)[None]
    return np.random.default_rng(4).integers(0, 1 << 64, (2, p), np.uint64)


def _ranks(order: np.ndarray) -> np.ndarray:
    """The place of each column in the order of each unit, ``[p, p1]``."""
    ranks = np.empty(order.shape[::-1], np.int32)
    np.put_along_axis(ranks, order.T, np.arange(len(ranks), dtype=np.int32)[:, None], axis=0)
    return ranks


def _kept(order: np.ndarray, unit: np.ndarray, size: np.ndarray, most: int | None) -> list[int]:
    """`prune` of candidates (top `size` columns of `unit`), none of which is made a set.

    The top j of a unit lie within a set where no column outside it comes among them: up to a j
    that is found for all units at once.
    """
    ranks = _ranks(order)
    covered = np.zeros(order.shape[0], np.int32)  # largest j whose top j lie within a kept one
    kept: list[int] = []
    at = 0
    while at < len(unit) and len(kept) != most:
        open_ = size[at : at + BLOCK] > covered[unit[at : at + BLOCK]]
        if not open_.any():
            at += BLOCK
            continue
        at += int(open_.argmax())
        kept.append(at)
        outside = ranks[:, unit[at]] >= size[at]
        within = ranks[outside].min(axis=0, initial=len(ranks))
        np.maximum(covered, within, out=covered)
        at += 1
    return kept


@dataclass(frozen=True, eq=False)
class Ranking:
    """Interactions of a network, strongest first. Its text is the top 10.

    Attributes:
      interactions: tuples of columns in column order: names where known, else numbers from 0.
      strengths: float64 ``[k]``, descending.
      pairwise: of each pair of columns, float64 ``[p, p]``, symmetric, zero diagonal.
      aggregated_weights: z of the units of the first layer, float64 ``[p1]``.
      column_names: of all columns, or None.
    """

    interactions: tuple[tuple, ...]
    strengths: np.ndarray
    pairwise: np.ndarray
    aggregated_weights: np.ndarray
    column_names: tuple | None = None

    def __len__(self) -> int:
        return len(self.interactions)

    def __str__(self) -> str:
        lines = (f"{d:10.4g}  {', '.join(map(str, members))}" for members, d in self.top(10))
        return "\n".join(lines)

    def top(self, k: int = 10) -> list[tuple[tuple, float]]:
        """The k strongest, ``(interaction, strength)`` each."""
        k = _checks.count("Ranking.top", "k", k)
        return list(zip(self.interactions[:k], self.strengths[:k].tolist()))

    def to_pandas(self) -> Any:
        """Frame: rank (from 1), interaction, order, strength."""
        import pandas as pd

        return pd.DataFrame(
            {
                "rank": np.arange(1, len(self) + 1),
                "interaction": pd.Series(self.interactions, dtype=object),
                "order": np.array([len(members) for members in self.interactions], np.int64),
                "strength": self.strengths,
            }
        )


def rank(
    weights: Any,
    *,
    averaging: str = "min",
    order: str = "any",
    prune: bool = True,
    max_interactions: int | None = None,
    groups: Any = None,
    column_names: Sequence | None = None,
) -> Ranking:
    """The interactions that a feedforward network has learned, read off its weights (NID).

        z = |w_y|^T |W_L| ... |W_2|                     how much each unit of layer 1 can matter
        omega_s(I) = z_s mu(|W_1[s, i]| for i in I)     what unit s makes of the columns I
        d[I] = sum over s of omega_s(I)                 of units that propose I, or of all (pairs)

    No data, no gradients: milliseconds. z bounds the gradient of each output by each unit where
    activation functions are 1-Lipschitz (ReLU, tanh, sigmoid); with others it only weighs.
    Strengths do not change when a ReLU unit is scaled and the weights above it divided by as much.
    They do with the scale of the inputs: train on standardised ones, with some L1.

    Args:
      weights: a network, as `jaxinter.nid.weights.read` takes it: matrices ``[out, in]``, flax nnx
        or linen, torch, scikit-learn. Several outputs are summed.
      averaging: mu: "min" as in the paper, or "max", "rms", "mean", "geometric", "harmonic".
      order: "any" ranks what Algorithm 1 proposes, each unit its 2 to p strongest columns;
        "pairwise" all pairs.
      prune: leave out subsets of interactions ranked above them.
      max_interactions: the top ones; None for 100, or all pairs.
      groups: int ``[inputs]``, from 0: the column that each input belongs to, where several
        (categories) make up one; its weight is their L2 norm.
      column_names: one a column; else those the network was fitted with, else numbers.

    Returns:
      `Ranking`.

    Raises:
      ValueError, TypeError: a network that is not a chain of linear layers with hidden ones, fewer
        than two columns; groups, names or options that are not as above.

    >>> W1 = [[2.0, -3.0, 0.0, 0.1], [0.0, 0.5, 1.0, 1.0]]
    >>> ranking = rank([W1, [[1.0, -1.0]]], column_names=["age", "bmi", "dose", "sex"])
    >>> print(ranking)
             2  age, bmi
             1  dose, sex
           0.5  bmi, dose, sex
           0.1  age, bmi, sex
             0  age, bmi, dose, sex
    >>> ranking.pairwise[0, 1]
    np.float64(2.0)

    Source: paper 004, Lemma 3, Eq. 1, Algorithm 1 and 4.4 (Tsang et al. 2018).
    """
    call = "nid.rank"
    for name, value, known in (("averaging", averaging, AVERAGES), ("order", order, ORDERS)):
        if value not in known:
            raise ValueError(f"{call}: {name} must be one of {known}; got {value!r}")
    if max_interactions is not None:
        _checks.count(call, "max_interactions", max_interactions, least=1)
    network = _weights.read(call, weights)
    z, first = aggregated_weights(network.matrices), network.matrices[0]
    names = network.column_names if column_names is None and groups is None else column_names
    if groups is not None:
        first = grouped(first, _checked_groups(call, groups, first.shape[1]))
    p = first.shape[1]
    if p < 2:
        raise ValueError(f"{call}: weights must be of at least two columns; got {p}")
    names = None if names is None else _checked_names(call, names, p)
    pairs = pairwise(first, z, averaging)
    if order == "any":
        most = 100 if max_interactions is None else max_interactions
        found, strengths = any_order(
            first, z, averaging=averaging, prune=prune, max_interactions=most
        )
    else:
        found, strengths = ranked_pairs(pairs, max_interactions)
    if names is not None:
        found = [tuple(names[i] for i in members) for members in found]
    return Ranking(tuple(found), strengths, pairs, z, names)


def _checked_groups(call: str, groups: Any, inputs: int) -> np.ndarray:
    columns = _arrays.host(call, "groups", groups)
    if columns.shape != (inputs,) or columns.dtype.kind not in "iu":
        raise ValueError(
            f"{call}: groups must be int [{inputs}], the column of each input; got "
            f"{columns.dtype} {columns.shape}"
        )
    present = np.unique(columns)
    if not np.array_equal(present, np.arange(len(present))):
        raise ValueError(
            f"{call}: groups must hold every column from 0 to {present.max()}; got "
            f"{present.tolist()}"
        )
    return columns


def _checked_names(call: str, names: Sequence, p: int) -> tuple:
    names = tuple(names)
    if len(names) != p or len(set(names)) != p:
        raise ValueError(
            f"{call}: column_names must be {p} different names, one a column; got {len(names)}, "
            f"{len(set(names))} of them different"
        )
    return names
