# SPDX-License-Identifier: Apache-2.0
"""Lines, several of them on one axes: `jaccard`, `offsetting`, `sparsity_conditions`, curves."""

import math
from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.conciseness import MatchingCurve, SparsityConditions, SparsityCurve
from jaxinter.plot import _bars, _style
from jaxinter.similarity import JaccardByOrder
from jaxinter.stats import OrderStrength

__all__ = ["jaccard", "matching_curve", "offsetting", "sparsity_conditions", "sparsity_curve"]

BAND = (0.1, 0.9)  # quantiles over samples
RANKS = 300  # points of a line over up to 2**(n + 1) ranks
FLOOR = 1e-4  # of the largest: further down are zeros that a solver left


def jaccard(similarity: JaccardByOrder, ax: Any = None, *, label: str | None = None) -> Any:
    """Similarity by order of the interactions of training and testing samples.

    A thin line a class, a thick one for their mean. Orders without effects are left out.

    Args:
      similarity: from `jaccard_by_order`.
      ax: matplotlib axes to draw on, perhaps with the lines of earlier calls, of which these
        differ; a new figure otherwise.
      label: of the line in the legend.

    Returns:
      The axes.

    Raises:
      TypeError: similarity is no `JaccardByOrder`.

    Source: paper 001, Fig. 6.
    """
    _style.check_kind("plot.jaccard", "similarity", similarity, JaccardByOrder, "jaccard_by_order")
    ax, style = _axes_and_style(ax)
    if len(similarity.per_class) > 1:
        thin = {"color": style["color"], "linewidth": 0.8, "alpha": 0.45}
        ax.plot(similarity.orders, similarity.per_class.T, **thin)
    _draw(ax, similarity.orders, similarity.similarity, label, style | {"linewidth": 2.2})
    ax.set_xticks(_bars.ticks(ax, len(similarity.orders)))
    ax.set_ylim(0, 1.02)
    _bars.label_x(ax)
    ax.set_ylabel("Jaccard similarity,\ntraining and testing samples")
    return ax


def offsetting(strength: OrderStrength, ax: Any = None, *, label: str | None = None) -> Any:
    """The share of each order's strength that its two signs take from each other, 0 to 1.

    Args:
      strength: from `order_strength`; of a batch, that of the mean strengths. Orders without
        strength are left out.
      ax: matplotlib axes to draw on, perhaps with the lines of earlier calls; a new figure
        otherwise.
      label: of the line in the legend.

    Returns:
      The axes.

    Raises:
      TypeError: strength is no `OrderStrength`.
      ValueError: no samples.

    Source: paper 002, section 3: interactions of high order that offset each other.
    """
    up, down = _bars.up_and_down("plot.offsetting", "strength", strength)
    ax, style = _axes_and_style(ax)
    share = OrderStrength(up, down).offsetting
    _draw(ax, np.arange(1, len(up) + 1), share, label, style)
    ax.set_xticks(_bars.ticks(ax, len(up)))
    ax.set_ylim(0, 1.02)
    _bars.label_x(ax)
    ax.set_ylabel("offsetting strength, share")
    return ax


def sparsity_conditions(
    conditions: SparsityConditions,
    ax: Any = None,
    *,
    label: str | None = None,
    unit: str = "log-odds",
) -> Any:
    """The mean output u(k) of k players, of conditions 2 and 3: does it rise, and how steeply?

    Of several samples the median, in a band from the 10 % to the 90 % quantile; of one sample with
    a finite p also the least that condition 3 lets it be, (k / n)^p u(n), dotted.

    Args:
      conditions: from `sparsity_conditions`.
      ax: matplotlib axes to draw on, perhaps with the lines of earlier calls; a new figure
        otherwise.
      label: of the line in the legend.
      unit: of v, for the axis label.

    Returns:
      The axes.

    Raises:
      TypeError: conditions is no `SparsityConditions`.

    Source: paper 001, appendix B.
    """
    call = "plot.sparsity_conditions"
    _style.check_kind(call, "conditions", conditions, SparsityConditions, "sparsity_conditions")
    u = np.asarray(_arrays.host(call, "conditions", conditions.average_output), np.float64)
    sizes = np.arange(u.shape[-1])
    n = len(sizes) - 1
    ax, style = _axes_and_style(ax)
    _draw_samples(ax, sizes, u.reshape(math.prod(conditions.batch), n + 1), label, style)
    if not conditions.batch and n and np.isfinite(conditions.power):
        least = (sizes / n) ** float(conditions.power) * u[-1]
        ax.plot(sizes, least, color=style["color"], linestyle=":", linewidth=1.2)
    ax.set_xlabel("players present")
    ax.set_ylabel(f"mean of v(S) - v(empty) ({unit})")
    return ax


def sparsity_curve(
    curve: SparsityCurve,
    ax: Any = None,
    *,
    share: bool = False,
    label: str | None = None,
    unit: str = "log-odds",
) -> Any:
    """|effects| from the strongest down: how fast they fall is how sparse the explanation is.

    Of several samples the median, in a band from the 10 % to the 90 % quantile.

    Args:
      curve: from `sparsity_curve`.
      ax: matplotlib axes to draw on, perhaps with the lines of earlier calls; a new figure
        otherwise.
      share: draw the share of the strength in the strongest 1, 2, ... effects instead.
      label: of the line in the legend.
      unit: of v, for the axis label.

    Returns:
      The axes. Both are logarithmic, y only without `share`, down to 1e-4 of the largest effect.

    Raises:
      TypeError: curve is no `SparsityCurve`.

    Source: Ren et al. 2024a.
    """
    call = "plot.sparsity_curve"
    _style.check_kind(call, "curve", curve, SparsityCurve, "sparsity_curve")
    strength = np.asarray(_arrays.host(call, "curve", curve.strength), np.float64)
    drawn = SparsityCurve(strength).cumulative if share else strength
    size = strength.shape[-1]
    ranks = np.unique(np.geomspace(1, max(size, 1), RANKS).round().astype(int))[:size]
    drawn = drawn.reshape(math.prod(curve.batch), size)[:, ranks - 1]
    ax, style = _axes_and_style(ax)
    ax.set(xscale="log", yscale="linear" if share else "log")
    if not share:
        largest = drawn[np.isfinite(drawn)].max(initial=0.0)
        # Zeros have no logarithm: lines to them leave the axes at the bottom.
        drawn = np.maximum(drawn, FLOOR**2 * largest if largest > 0 else np.nan)
    _draw_samples(ax, ranks, drawn, label, style | {"marker": ""})
    if share:
        ax.set_ylim(0, 1.02)
    elif len(tops := [np.nanmax(y) for y in _drawn(ax) if np.isfinite(y).any()]):
        ax.set_ylim(bottom=FLOOR * max(tops), auto=None)
    ax.set_xlabel("effects, the strongest first")
    ax.set_ylabel("share of the summed strength" if share else f"|effect| ({unit})")
    return ax


def matching_curve(curve: MatchingCurve, ax: Any = None, *, label: str | None = None) -> Any:
    """How well the strongest effects alone match v, by how many are kept.

    Of several samples the median, in a band from the 10 % to the 90 % quantile; samples whose
    error is infinite (of a constant v) are left out, and so is the error 1 of no effects.

    Args:
      curve: from `matching_curve`.
      ax: matplotlib axes to draw on, perhaps with the lines of earlier calls; a new figure
        otherwise.
      label: of the line in the legend.

    Returns:
      The axes, x logarithmic.

    Raises:
      TypeError: curve is no `MatchingCurve`.

    Source: papers 001 and 002, "universal matching".
    """
    call = "plot.matching_curve"
    _style.check_kind(call, "curve", curve, MatchingCurve, "matching_curve")
    counts = _arrays.host(call, "counts", curve.counts)
    errors = np.asarray(_arrays.host(call, "errors", curve.errors), np.float64)
    errors = errors.reshape(math.prod(curve.batch), len(counts))
    shown = np.argsort(counts, kind="stable")
    shown = shown[counts[shown] > 0]
    ax, style = _axes_and_style(ax)
    few = style if len(shown) <= 20 else style | {"marker": ""}
    _draw_samples(ax, counts[shown], errors[:, shown], label, few)
    ax.set_xscale("log")
    ax.set_ylim(bottom=0, auto=None)  # which leaves the top free for more lines
    ax.set_xlabel("number of strongest effects kept")
    ax.set_ylabel("error of matching v, relative")
    return ax


def _axes_and_style(ax: Any) -> tuple[Any, dict[str, Any]]:
    """The axes, and a style that none of the lines drawn there before has."""
    if ax is None:
        ax = _style.pyplot().subplots(figsize=(6, 3.6), layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    return ax, _style.line(len(_drawn(ax)))


MAIN = "jaxinter: a line of its own"  # tells these from thin lines, and from others' lines


def _drawn(ax: Any) -> list[np.ndarray]:
    """y of each line of its own."""
    return [line.get_ydata() for line in ax.lines if line.get_gid() == MAIN]


def _draw(ax: Any, x: np.ndarray, y: np.ndarray, label: str | None, style: dict) -> None:
    ax.plot(x, y, gid=MAIN, label=label, zorder=3, **style)
    if label is not None:
        ax.legend(frameon=False, fontsize=_style.SMALL)


def _draw_samples(
    ax: Any, x: np.ndarray, samples: np.ndarray, label: str | None, style: dict
) -> None:
    """The median of ``[samples, m]`` in a band; what is not finite is left out."""
    known = np.where(np.isfinite(samples), samples, np.nan)
    some = ~np.isnan(known).all(axis=0)
    low, middle, high = np.full((3, len(x)), np.nan)
    if some.any():
        quantiles = np.nanquantile(known[:, some], (BAND[0], 0.5, BAND[1]), axis=0)
        low[some], middle[some], high[some] = quantiles
    if len(samples) > 1:
        ax.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
    _draw(ax, x, middle, label, style)
