# SPDX-License-Identifier: Apache-2.0
"""`jaccard`, `sparsity_curve`, `matching_curve`: lines, several of them on one axes."""

import math
from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.conciseness import MatchingCurve, SparsityCurve
from jaxinter.plot import _bars, _style
from jaxinter.similarity import JaccardByOrder

__all__ = ["jaccard", "matching_curve", "sparsity_curve"]

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
    _check("plot.jaccard", "similarity", similarity, JaccardByOrder, "jaccard_by_order")
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
    _check(call, "curve", curve, SparsityCurve, "sparsity_curve")
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
    _check(call, "curve", curve, MatchingCurve, "matching_curve")
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


def _check(call: str, argument: str, given: Any, kind: type, maker: str) -> None:
    if not isinstance(given, kind):
        raise TypeError(
            f"{call}: {argument} must be a {kind.__name__}; got {type(given).__name__}. Use "
            f"ji.{maker}"
        )


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
