# SPDX-License-Identifier: Apache-2.0
"""7c. Pruning a network step by step: which of its interactions go, and which would generalise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxinter import _arrays, _checks
from jaxinter._pairs import divided
from jaxinter.compare import pruning_efficiency, pruning_step, ratio_of
from jaxinter.interactions import Interactions
from jaxinter.sparse.extract import extract
from jaxinter.stats import OrderStrength, order_strength

__all__ = [
    "PairedInteractions",
    "PruningPhases",
    "PruningSeries",
    "extract_pairs",
    "pruning_series",
]

PAIR_MODES = ("joint", "fixed")
# 0.6 is 0.3 below 0.9, whatever their bits.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class PruningPhases:
    """Efficiency of pruning in each of three phases: a row of the paper's Table 2 as text.

    Attributes:
      points: positions of the edges among the ratios, int ``[4]``: phase k (from 0) lies from
        points[k] to points[k + 1]; where they are equal there is no such phase.
      edges: the ratios there ``[4]``.
      efficiency: e of each phase ``[3]``; NaN where there is no such phase.
    """

    points: np.ndarray
    edges: np.ndarray
    efficiency: np.ndarray

    def __str__(self) -> str:
        rows = zip(self.edges, self.edges[1:], self.efficiency)
        return ", ".join(
            ("-" if not a < b else f"{a:g}->{b:g}: " + ("-" if np.isnan(e) else f"{e:.2f}"))
            for a, b, e in rows
        )


@dataclass(frozen=True, eq=False)
class PruningSeries:
    """What becomes of a network's interactions as more and more of it is pruned.

    Numbers are float64 of each pruning ratio ``[ratios]``. Strengths by order are `OrderStrength`
    ``[ratios, n]``, means over samples.

    Attributes:
      ratios: as given, increasing.
      accuracy: of the pruned networks, or None.
      low: the last of the low orders.
      pair_mode: "fixed" (one extraction of the original) or "joint" (one with each pruned network).
      rho_low, rho_high: preserved ratios of low and high orders, as of `preserved_ratio`.
      removed, removed_generalizable, salient: A, G and the strength of all salient effects, as of
        `removed_strength`, summed over samples.
      efficiency: ``[ratios - 1]``, from each ratio to the next, as of `pruning_efficiency`.
      original: strength of the original's salient effects; the same at all ratios for "fixed".
      generalizable: of those that the reference has too.
      preserved: of those that the pruned network has too; by the original's effects, or the pruned
        one's where asked for.
      emerged: of effects salient in the pruned network alone, by its effects.
      emerged_generalizable: of those that the reference has too.
    """

    ratios: np.ndarray
    accuracy: np.ndarray | None
    low: int
    pair_mode: str
    rho_low: np.ndarray
    rho_high: np.ndarray
    removed: np.ndarray
    removed_generalizable: np.ndarray
    salient: np.ndarray
    efficiency: np.ndarray
    original: OrderStrength
    generalizable: OrderStrength
    preserved: OrderStrength
    emerged: OrderStrength
    emerged_generalizable: OrderStrength

    def phases(
        self, accuracy_original: float | None = None, *, drop: float = 0.02, floor: float = 0.10
    ) -> PruningPhases:
        """Where the three phases of pruning end, by accuracy, and the efficiency of each.

        Phase 1 lasts while accuracy is at most `drop` below the original's; phase 3 begins where
        accuracy has come down for good to its end: the last ratio's, plus `floor` of the way from
        there up to the original's. Phase 2 lies between. The paper sets no edges: these are ours.

        Args:
          accuracy_original: of the unpruned network; None where the first ratio is 0.
          drop: 0.02 is two points.
          floor: a share, 0.10.

        Returns:
          `PruningPhases`; its text is a row of Table 2, "0->14.65: 0.92, 14.65->39.68: 0.78, -".

        Raises:
          ValueError: the series has no accuracy, or none of the original is known.

        Source: paper 003, Tables 1 to 3.
        """
        call = "PruningSeries.phases"
        if self.accuracy is None:
            raise ValueError(f"{call}: needs accuracy; give it to pruning_series")
        if accuracy_original is None:
            if self.ratios[0] != 0:
                raise ValueError(
                    f"{call}: needs accuracy_original, as no network is unpruned; the first ratio "
                    f"is {self.ratios[0]:g}"
                )
            accuracy_original = self.accuracy[0]
        top = _checks.real(call, "accuracy_original", accuracy_original, positive=False)
        drop = _checks.real(call, "drop", drop, positive=False)
        floor = _checks.real(call, "floor", floor, positive=False)
        last = len(self.ratios) - 1
        fallen = self.accuracy < top - drop - ROUNDING
        first_end = max(int(fallen.argmax()) - 1, 0) if fallen.any() else last
        end = self.accuracy[-1]
        high = np.flatnonzero(self.accuracy > end + floor * (top - end) + ROUNDING)
        third_start = max(int(high[-1]) + 1 if len(high) else 0, first_end)
        points = np.array([0, first_end, min(third_start, last), last])
        efficiency = pruning_efficiency(
            self.removed, self.removed_generalizable, self.salient, edges=points
        )
        return PruningPhases(points, self.ratios[points], efficiency)

    def to_pandas(self) -> Any:
        """Frame of the numbers, a row a ratio; efficiency is that from the ratio before.

        emerged is the strength of all orders (a mean over samples), emerged_generalizable the part
        of it that the reference has too, emerged_offsetting the share that its signs offset.
        """
        import pandas as pd

        names = ("rho_low", "rho_high", "removed", "removed_generalizable", "salient")
        numbers = {name: getattr(self, name) for name in names}
        known = {} if self.accuracy is None else {"accuracy": self.accuracy}
        efficiency = np.concatenate([[np.nan], self.efficiency])
        up, down = (x.sum(axis=-1) for x in (self.emerged.positive, self.emerged.negative))
        emerged = {"emerged": up + down}
        emerged["emerged_generalizable"] = self.emerged_generalizable.total.sum(axis=-1)
        emerged["emerged_offsetting"] = OrderStrength(up, down).offsetting
        numbers |= {"efficiency": efficiency} | emerged
        return pd.DataFrame({"ratio": self.ratios} | known | numbers)


def pruning_series(
    original: Interactions | Sequence[Interactions],
    pruned: Sequence[Interactions],
    reference: Interactions,
    *,
    ratios: Sequence[float] | np.ndarray,
    accuracy: Sequence[float] | np.ndarray | None = None,
    threshold: Any = "paper003",
    other_threshold: Any = None,
    reference_threshold: Any = None,
    low: int = 3,
    preserved_by: str = "original",
) -> PruningSeries:
    """The numbers and curves of paper 003 along a series of pruning ratios.

    Args:
      original: interactions of the unpruned network: one `Interactions` for all ratios ("fixed"),
        or one for each, extracted jointly with the pruned network ("joint"), as of `extract_pairs`.
      pruned: interactions of the pruned network, one for each ratio, on the same samples.
      reference: those of a network trained on testing samples, or trained independently.
      ratios: pruning ratios, increasing, in any unit.
      accuracy: of the pruned networks on all testing samples, 0 to 1; for `phases`.
      threshold, other_threshold, reference_threshold: of original, pruned and reference; as of
        `removed_strength`.
      low: the last of the low orders, as of `preserved_ratio`.
      preserved_by: whose effects make `preserved`: "original", so that it lies within `original`,
        or "pruned".

    Returns:
      `PruningSeries`.

    Raises:
      ValueError: not one network a ratio, ratios that do not increase, accuracy out of range; and
        as `convergent`.

    >>> v = np.array([[0.0, 1.0, 2.0, 5.0]])
    >>> a, *pruned = (ji.extract(share * v, tie_break=0) for share in (1.0, 1.0, 0.5, 0.0))
    >>> series = pruning_series(a, pruned, a, ratios=[0, 50, 100], accuracy=[0.9, 0.6, 0.1])
    >>> series.rho_low, series.efficiency  # at 50 all is left, if weaker
    (array([1., 1., 0.]), array([nan,  0.]))
    >>> print(series.phases())
    -, 0->100: 0.00, -

    Source: paper 003, Eq. 4 to 11. Effects by which E of Eq. 11 is defined are the pruned
    network's (printed: the original's, of which none emerges).
    """
    call = "pruning_series"
    steps, pruned = _checked_ratios(call, ratios), _listed(call, "pruned", pruned)
    if fixed := isinstance(original, Interactions):
        originals = [original] * len(steps)
    else:
        originals = _listed(call, "original", original)
    for name, given in (("original", originals), ("pruned", pruned)):
        if len(given) != len(steps):
            raise ValueError(
                f"{call}: {name} must hold one network a ratio, {len(steps)}; got {len(given)}"
            )
    if preserved_by not in ("original", "pruned"):
        raise ValueError(
            f"{call}: preserved_by must be 'original' or 'pruned'; got {preserved_by!r}"
        )
    low = _checks.count(call, "low", low, least=1)
    thresholds = threshold, other_threshold, reference_threshold
    rows: list[dict[str, Any]] = []
    for first, second in zip(originals, pruned):
        step = pruning_step(call, first, second, reference, thresholds)
        pair, ratio = step.pair, ratio_of(call, first, step.pair, low)
        new = ~pair.salient & pair.other
        kept_by = first if preserved_by == "original" else second
        rows.append(
            {
                "rho_low": ratio.low,
                "rho_high": ratio.high,
                "removed": step.strength.total,
                "removed_generalizable": step.strength.generalizable,
                "salient": step.strength.salient,
                "original": _mean_strength(first, pair.salient),
                "generalizable": _mean_strength(first, step.generalizable),
                "preserved": _mean_strength(kept_by, pair.shared),
                "emerged": _mean_strength(second, new),
                "emerged_generalizable": _mean_strength(second, new & step.pruned_generalizable),
            }
        )
    numbers: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    curves = ("original", "generalizable", "preserved", "emerged", "emerged_generalizable")
    for name in curves:
        numbers[name] = OrderStrength(*numbers[name].swapaxes(0, 1))
    totals = numbers["removed"], numbers["removed_generalizable"], numbers["salient"]
    return PruningSeries(
        ratios=steps,
        accuracy=_checked_accuracy(call, accuracy, len(steps)),
        low=low,
        pair_mode="fixed" if fixed else "joint",
        efficiency=pruning_efficiency(*totals),
        **numbers,
    )


class PairedInteractions(NamedTuple):
    """What `extract_pairs` gives: the first two arguments of `pruning_series`."""

    original: Interactions | list[Interactions]
    pruned: list[Interactions]


def extract_pairs(
    original_values: Any,
    pruned_values: Any,
    *,
    pair_mode: str = "joint",
    **extract_arguments: Any,
) -> PairedInteractions:
    """Interactions of a network and of its pruned ones, for `pruning_series`.

    Args:
      original_values: the unpruned network's tables, any array ``[..., 2**n]``.
      pruned_values: those of each pruned network on the same samples, ``[ratios, ..., 2**n]`` or a
        sequence of ``[..., 2**n]``.
      pair_mode: "joint" explains the original together with each pruned network, which favours
        effects that they share, so that the original's differ somewhat from pair to pair; "fixed"
        explains every network alone, the original once.
      extract_arguments: of `extract`; the noise bound is `noise_preset` "paper003" where none is
        given.

    Returns:
      `PairedInteractions`: `.original`, one `Interactions` for "fixed" and one a ratio for "joint",
      and `.pruned`, one a ratio. Those of "joint" are taken out of their pair by
      `Interactions.model`, without a certificate of their own.

    Raises:
      ValueError, TypeError: an unknown mode, tables of different shapes; and as `extract`.
      ConvergenceError: as `extract`.

    >>> v = np.array([[0.0, 1.0, 2.0, 5.0]])
    >>> original, pruned = extract_pairs(v, [0.9 * v, 0.1 * v], pair_mode="fixed")
    >>> series = pruning_series(original, pruned, original, ratios=[20, 80])
    >>> series.pair_mode, series.rho_low  # a tenth of the effects is below the original's tau
    ('fixed', array([1., 0.]))

    Source: paper 003, Eq. 12 ("fixed") and Eq. 13 ("joint").
    """
    call = "extract_pairs"
    if pair_mode not in PAIR_MODES:
        raise ValueError(f"{call}: pair_mode must be one of {PAIR_MODES}; got {pair_mode!r}")
    if "joint" in extract_arguments:
        raise TypeError(f"{call}: joint follows from pair_mode; leave it out")
    noise = ("noise_ratio", "noise_bound", "noise_preset")
    if not any(name in extract_arguments for name in noise):
        extract_arguments["noise_preset"] = "paper003"
    first = _arrays.as_array(call, "original_values", original_values)
    tables = [_arrays.as_array(call, "pruned_values", x) for x in pruned_values]
    for i, table in enumerate(tables):
        if tuple(table.shape) != tuple(first.shape):
            raise ValueError(
                f"{call}: pruned_values[{i}] must have the shape of original_values, "
                f"{tuple(first.shape)}; got {tuple(table.shape)}"
            )
    if pair_mode == "fixed":
        alone = [extract(table, **extract_arguments) for table in (first, *tables)]
        return PairedInteractions(alone[0], alone[1:])
    stacked = (_arrays.stack((first, x), -2) for x in tables)
    pairs = [extract(pair, joint=True, **extract_arguments) for pair in stacked]
    return PairedInteractions([p.model(0) for p in pairs], [p.model(1) for p in pairs])


def _mean_strength(interactions: Interactions, where: Any) -> np.ndarray:
    """Strength by order of a set of effects, mean over samples, float64 ``[2, n]``."""
    strength = order_strength(interactions, where=where)
    sides = (strength.positive, strength.negative)
    wide = [_arrays.host("pruning_series", "effects", x).astype(np.float64) for x in sides]
    samples = np.stack(wide).reshape(2, -1, interactions.n_players)
    return divided(samples.sum(axis=1), samples.shape[1])


def _listed(call: str, argument: str, given: Any) -> list[Interactions]:
    if isinstance(given, Interactions) or not hasattr(given, "__iter__"):
        raise TypeError(
            f"{call}: {argument} must be a sequence of Interactions, one a ratio; got "
            f"{type(given).__name__}"
        )
    return list(given)


def _checked_ratios(call: str, ratios: Any) -> np.ndarray:
    steps = np.asarray(ratios, dtype=np.float64)
    if steps.ndim != 1 or not len(steps) or not (np.diff(steps) > 0).all():
        raise ValueError(f"{call}: ratios must be one or more increasing numbers; got {ratios!r}")
    return steps


def _checked_accuracy(call: str, accuracy: Any, count: int) -> np.ndarray | None:
    if accuracy is None:
        return None
    given = np.asarray(accuracy, dtype=np.float64)
    if given.shape != (count,) or not ((given >= 0) & (given <= 1)).all():
        raise ValueError(
            f"{call}: accuracy must be {count} numbers from 0 to 1, one a ratio; got {accuracy!r}"
        )
    return given
