# SPDX-License-Identifier: Apache-2.0
"""7c. Two models on the same samples: the effects they share, and those that one lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxinter import _arrays, _checks, masks
from jaxinter._pairs import Compared, as_kind, compared, pruned_pair, quotient, strengths
from jaxinter.interactions import Interactions
from jaxinter.stats import tau

__all__ = [
    "PreservedRatio",
    "RemovedStrength",
    "convergent",
    "convergent_share",
    "emerged",
    "generalizable",
    "preserved",
    "preserved_ratio",
    "pruning_efficiency",
    "removed",
    "removed_strength",
]

# Ratios between which less than this share of the strength is removed have no efficiency.
LEAST_SHARE = 1e-3


def convergent(
    a: Interactions, b: Interactions, threshold: Any = "paper002", other_threshold: Any = None
) -> Any:
    """Which effects two models share: salient in both, and of one sign.

        |I_a(S)| > tau_a  and  |I_b(S)| > tau_b  and  I_a(S) I_b(S) > 0,   for AND and for OR

    `order_strength(a, where=convergent(a, b))` are the paper's J_pos and -J_neg of each order, and
    `order_strength(a, threshold)` its I_pos and -I_neg.

    Args:
      a, b: interactions of two models on the same samples, one model each.
      threshold: tau_a: a number, an array over the batch, or the name of a rule of
        `salience_threshold`, by which a model's own tau follows from its own interactions.
      other_threshold: tau_b, likewise; None for the same rule, applied to b, or the same number.

    Returns:
      bool ``[..., 2, 2**n]`` (AND, OR), of the kind of array that a's effects are. The same with a
      and b exchanged. Under jit and vmap thresholds must be numbers or arrays.

    Raises:
      ValueError: other players or samples in a than in b, several models in one of them, effects
        that are not finite, or a threshold that is none.
      TypeError: a or b is no `Interactions`.

    >>> a = ji.extract([0.0, 1.0, 2.0, 5.0], tie_break=0)
    >>> int(convergent(a, a, 0.5).sum()) == int(a.salient(0.5).sum())
    True

    Source: paper 002, Eq. 5.
    """
    pair = compared("convergent", {"a": a, "b": b}, threshold, other_threshold)
    return as_kind(pair.shared, a)


def generalizable(
    original: Interactions,
    reference: Interactions,
    threshold: Any = "paper003",
    other_threshold: Any = None,
) -> Any:
    """Which salient effects a reference model, trained on testing samples, has too.

        |I(S)| > tau  and  |I*(S)| > tau*  and  I(S) I*(S) > 0

    `convergent` by the rule of paper 003. Arguments and result as there; `other_threshold` is tau*,
    None for the reference's own by the same rule.

    Source: paper 003, Definition 2.2 and Eq. 5.
    """
    models = {"original": original, "reference": reference}
    return as_kind(compared("generalizable", models, threshold, other_threshold).shared, original)


def preserved(
    original: Interactions,
    pruned: Interactions,
    threshold: Any = "paper003",
    other_threshold: Any = None,
) -> Any:
    """Which salient effects of a model are left in its pruned one.

        |I(S)| > tau  and  not removed:  |I'(S)| > tau'  and  I(S) I'(S) > 0

    Args:
      original, pruned: interactions of the two models on the same samples.
      threshold: tau: a number, an array over the batch, or the name of a rule of
        `salience_threshold`, applied to the original.
      other_threshold: tau' of the pruned model; None for tau, the original's: what is removed is
        measured on the original's scale. A rule's name is applied to the pruned model.

    Returns:
      bool ``[..., 2, 2**n]`` (AND, OR), as of `convergent`. With `removed` it makes up the salient
      effects of the original.

    Raises:
      ValueError, TypeError: as `convergent`.

    >>> a = ji.extract([[0.0, 1.0, 2.0, 5.0]], tie_break=0)
    >>> bool((preserved(a, a, 0.5) == a.salient(0.5)).all()), bool(removed(a, a, 0.5).any())
    (True, False)

    Source: paper 003, Definition 2.3 and Eq. 6 (there without the primes of I').
    """
    pair = pruned_pair("preserved", original, pruned, threshold, other_threshold)
    return as_kind(pair.shared, original)


def removed(
    original: Interactions,
    pruned: Interactions,
    threshold: Any = "paper003",
    other_threshold: Any = None,
) -> Any:
    """Which salient effects of a model pruning has removed.

        |I(S)| > tau  and  (|I'(S)| <= tau'  or  I(S) I'(S) < 0)

    Arguments and result as of `preserved`.

    Source: paper 003, Definition 2.3 and Eq. 6.
    """
    pair = pruned_pair("removed", original, pruned, threshold, other_threshold)
    return as_kind(pair.salient & ~pair.shared, original)


def emerged(
    original: Interactions,
    pruned: Interactions,
    threshold: Any = "paper003",
    other_threshold: Any = None,
) -> Any:
    """Which effects are salient in the pruned model alone.

        |I(S)| <= tau  and  |I'(S)| > tau'

    Arguments and result as of `preserved`. No salient effect of the original is among them: one
    that came back with the other sign is `removed`.

    Source: paper 003, Definition 2.4 and Eq. 10.
    """
    pair = pruned_pair("emerged", original, pruned, threshold, other_threshold)
    return as_kind(~pair.salient & pair.other, original)


def convergent_share(
    a: Interactions,
    b: Interactions,
    threshold: Any = "paper002",
    other_threshold: Any = None,
    *,
    per_sample: bool = False,
) -> Any:
    """The share of a's salient strength that b shares.

        g = sum_k (J_pos(k) - J_neg(k)) / sum_k (I_pos(k) - I_neg(k))
          = sum_{S convergent} |I_a(S)| / sum_{S salient in a} |I_a(S)|

    Args:
      a, b, threshold, other_threshold: as of `convergent`.
      per_sample: one share a sample, instead of one of sums over all samples.

    Returns:
      float from 0 to 1, or float64 over the batch; NaN where nothing is salient in a. It is not
      the same with a and b exchanged.

    >>> a = ji.extract([[0.0, 1.0, 2.0, 5.0]], tie_break=0)
    >>> convergent_share(a, a)
    1.0

    Source: paper 002, Eq. 6 and 7.
    """
    call = "convergent_share"
    pair = compared(call, {"a": a, "b": b}, threshold, other_threshold)
    return quotient(strengths(call, a), pair.shared, pair.salient, per_sample)


@dataclass(frozen=True)
class PreservedRatio:
    """Shares of strength that pruning left, from 0 to 1; NaN where nothing was salient."""

    low: Any
    high: Any


def preserved_ratio(
    original: Interactions,
    pruned: Interactions,
    threshold: Any = "paper003",
    other_threshold: Any = None,
    *,
    low: int = 3,
    per_sample: bool = False,
) -> PreservedRatio:
    """The share of salient strength that pruning leaves, of low and of high orders.

        rho_low  = sum_{preserved, |S| <= low} |I(S)| / sum_{salient, |S| <= low} |I(S)|
        rho_high = the same over |S| > low

    Args:
      original, pruned, threshold, other_threshold: as of `preserved`.
      low: the last of the low orders; 3 in the paper.
      per_sample: one ratio a sample, instead of one of sums over all samples. The paper prints the
        formula of one sample, and shows mean distributions over 100 samples; sums over samples
        follow those, and have no hole where a sample has no salient effects of high order.

    Returns:
      `PreservedRatio`: `.low` and `.high`, floats, or float64 over the batch.

    >>> a = ji.extract([[0.0, 1.0, 2.0, 5.0]], tie_break=0)
    >>> preserved_ratio(a, a)  # two players have no orders above 3
    PreservedRatio(low=1.0, high=nan)

    Source: paper 003, Eq. 7: the original's I, both times.
    """
    call = "preserved_ratio"
    low = _checks.count(call, "low", low, least=1)
    pair = pruned_pair(call, original, pruned, threshold, other_threshold)
    return ratio_of(call, original, pair, low, per_sample)


def ratio_of(
    call: str, original: Interactions, pair: Compared, low: int, per_sample: bool = False
) -> PreservedRatio:
    """`preserved_ratio` of a pair compared before."""
    strength, order_of = strengths(call, original), masks.orders(original.n_players)
    sides = (np.where(at, strength, 0.0) for at in (order_of <= low, order_of > low))
    return PreservedRatio(*(quotient(s, pair.shared, pair.salient, per_sample) for s in sides))


@dataclass(frozen=True)
class RemovedStrength:
    """Strength of the original's interactions, summed over all samples, in units of v.

    Attributes:
      total: A, of those removed.
      generalizable: G, of those removed that the reference has too; 0 <= G <= A.
      salient: of all salient ones, removed or not; A is at most this.
    """

    total: float
    generalizable: float
    salient: float


def removed_strength(
    original: Interactions,
    pruned: Interactions,
    reference: Interactions,
    threshold: Any = "paper003",
    other_threshold: Any = None,
    reference_threshold: Any = None,
) -> RemovedStrength:
    """How much pruning removed, and how much of that would have generalised.

        A = sum_{S removed} |I(S)|,   G = sum_{S removed and generalizable} |I(S)|

    Args:
      original, pruned, reference: interactions of the three models on the same samples.
      threshold, other_threshold: of original and pruned, as of `removed`.
      reference_threshold: as `other_threshold` of `generalizable`.

    Returns:
      `RemovedStrength`: `.total` A, `.generalizable` G and `.salient`, summed over all samples.

    Raises:
      ValueError, TypeError: as `convergent`.

    >>> a = ji.extract([[0.0, 1.0, 2.0, 5.0]], tie_break=0)
    >>> nothing = ji.extract([[0.0, 0.0, 0.0, 0.0]])
    >>> strength = removed_strength(a, nothing, a)
    >>> strength.generalizable == strength.total == strength.salient
    True

    Source: paper 003, Eq. 8.
    """
    thresholds = threshold, other_threshold, reference_threshold
    return pruning_step("removed_strength", original, pruned, reference, thresholds).strength


def pruning_efficiency(
    removed: Any,
    generalizable: Any,
    total: Any = None,
    *,
    edges: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """The share of what pruning removes from one ratio to the next that does not generalise.

        e(r1 -> r2) = 1 - (G(r2) - G(r1)) / (A(r2) - A(r1))

    Args:
      removed: A at each pruning ratio ``[ratios]``, as of `removed_strength`.
      generalizable: G, likewise.
      total: strength of all salient effects, a number or ``[ratios]``; None for the largest A.
      edges: positions between which to take e, for phases; None for all neighbours.

    Returns:
      float64 ``[ratios - 1]``, or ``[edges - 1]``; NaN where A changes by less than 1e-3 of
      `total`. 1 where nothing generalizable is removed, 0 where all of it is; outside of 0 to 1
      only where A or G falls, as they may: an effect can come back.

    Raises:
      ValueError: removed and generalizable are not of one length, or edges out of range.

    >>> pruning_efficiency([0.0, 4.0, 8.0], [0.0, 1.0, 5.0])
    array([0.75, 0.  ])

    Source: paper 003, Eq. 9; sums over samples come before the quotient.
    """
    call = "pruning_efficiency"
    a, g = (
        np.asarray(_arrays.host(call, name, x), np.float64)
        for name, x in (("removed", removed), ("generalizable", generalizable))
    )
    if a.ndim != 1 or a.shape != g.shape:
        raise ValueError(
            f"{call}: removed and generalizable must be of one length, [ratios]; got shapes "
            f"{a.shape} and {g.shape}"
        )
    largest = np.max(a if total is None else _arrays.host(call, "total", total), initial=0.0)
    at = np.arange(len(a)) if edges is None else np.asarray(edges)
    if at.ndim != 1 or at.dtype.kind not in "iu" or not ((at >= 0) & (at < len(a))).all():
        raise ValueError(f"{call}: edges must be positions from 0 to {len(a) - 1}; got {edges!r}")
    step, lost = np.diff(a[at]), np.diff(g[at])
    enough = (np.abs(step) >= LEAST_SHARE * largest) & (step != 0)
    return 1 - np.divide(lost, step, out=np.full(step.shape, np.nan), where=enough)


class PruningStep(NamedTuple):
    """One pruned network, compared."""

    pair: Compared
    generalizable: Any  # of the original's salient effects, bool [..., 2, 2**n]
    pruned_generalizable: Any  # of the pruned network's
    strength: RemovedStrength


def pruning_step(
    call: str,
    original: Interactions,
    pruned: Interactions,
    reference: Interactions,
    thresholds: tuple[Any, Any, Any],
) -> PruningStep:
    """All that is asked of a pruned network and its reference, by `threshold`, `other_threshold`
    and `reference_threshold` of `removed_strength`."""
    threshold, other, own = thresholds
    own = threshold if own is None else own
    pair = pruned_pair(call, original, pruned, threshold, other)
    among = compared(call, {"original": original, "reference": reference}, threshold, own)
    # The pruned network's effects, by the threshold they had in the pair.
    tau_pruned = tau(call, original, threshold) if other is None else other
    of_pruned = compared(call, {"pruned": pruned, "reference": reference}, tau_pruned, own)
    strength, gone = strengths(call, original), pair.salient & ~pair.shared
    sums = (np.where(x, strength, 0.0).sum() for x in (gone, gone & among.shared, pair.salient))
    return PruningStep(pair, among.shared, of_pruned.shared, RemovedStrength(*map(float, sums)))
