# SPDX-License-Identifier: Apache-2.0
"""NID 12a. Rankings: pairs as shades, interactions as bars, and how well they find the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks
from jaxinter.nid import suite
from jaxinter.nid.detection import Detection
from jaxinter.nid.plot import _looks
from jaxinter.nid.ranking import Ranking
from jaxinter.plot import _style

__all__ = ["averaging", "heat_map", "ranking", "roc"]


def heat_map(
    pairwise: Any, ax: Any = None, *, truth: Any = None, column_names: Sequence | None = None
) -> Any:
    """How strongly each pair of columns interacts, as shades; each pair once, below the diagonal.

    Args:
      pairwise: a `Detection`, a `Ranking`, or strengths ``[p, p]``, symmetric.
      ax: matplotlib axes to draw on; a new figure otherwise.
      truth: a `Function`, or interactions: crosses mark pairs that are part of one.
      column_names: of an array's columns.

    Returns:
      The axes.

    Raises:
      ValueError: strengths that are not symmetric and finite, another number of names, truth of
        other columns.

    Source: paper 004, Fig. 4 and 5.
    """
    call = "nid.plot.heat_map"
    strength, names = _strengths(call, pairwise, column_names)
    p = len(strength)
    marked = np.zeros((p, p), bool)
    for members in _looks.truth_sets(call, truth, names):
        at = [names.index(name) for name in members]
        marked[np.ix_(at, at)] = True
    below = np.tri(p, k=-1, dtype=bool)
    if ax is None:
        side = float(np.clip(0.3 * p + 1.4, 3.4, 8.5))
        ax = _style.pyplot().subplots(figsize=(side + 0.9, side), layout="constrained")[1]
    ax.set(xlim=(-0.5, p - 1.5), ylim=(p - 0.5, 0.5), aspect="equal")
    room = _style.points(ax).min() / p
    # Edges tell pairs of no strength from no pairs; where cells are small they would be all.
    edges = {"edgecolors": "0.85", "linewidth": 0.5} if room > 6 else {"rasterized": True}
    shades = (ax.pcolor if room > 6 else ax.pcolormesh)(
        np.arange(p),
        np.arange(p),
        np.ma.masked_array(strength, ~below),
        cmap="Greys",
        vmin=0.0,
        vmax=strength[below].max() or 1.0,
        **edges,
    )
    step = next((s for s in (1, 2, 5, 10, 20, 50) if s * room > _style.SMALL + 2), 100)
    labels = [_looks.short(name) for name in names]
    flat = max(_style.text_width(x, _style.SMALL) for x in labels[: p - 1]) < 0.9 * step * room
    looks = {"fontsize": _style.SMALL, "parse_math": False}
    x, y = np.arange(0, p - 1, step), np.arange(1 if step == 1 else step, p, step)
    ax.set_xticks(x, [labels[i] for i in x], rotation=0 if flat else 90, **looks)
    ax.set_yticks(y, [labels[i] for i in y], **looks)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if truth is not None:
        row, column = np.nonzero(marked & below)
        _looks.mark(
            ax, column, row, [_looks.TRUE] * len(row), size=float(np.clip(0.4 * room, 2, 7))
        )
        _looks.legend_above(ax, [(_looks.line(_looks.TRUE), "part of a true interaction")])
    bar = ax.figure.colorbar(shades, ax=ax, label="strength", shrink=0.8, aspect=25)
    bar.outline.set(linewidth=0.5, edgecolor="0.6")
    return ax


def ranking(found: Any, ax: Any = None, *, k: int = 15, truth: Any = None) -> Any:
    """The k strongest interactions as bars, the strongest on top.

    Args:
      found: a `Detection`, whose bars show the deviation over trials, and beside them the share of
        trials that propose the interaction; or a `Ranking`.
      ax: matplotlib axes to draw on; a new figure otherwise.
      k: interactions to draw.
      truth: a `Function`, or interactions: a cross marks a true one, a ring a part of one.

    Returns:
      The axes.

    Raises:
      TypeError: found is neither.
      ValueError: k < 1; truth of other columns.
    """
    call = "nid.plot.ranking"
    if not isinstance(found, (Detection, Ranking)):
        raise TypeError(
            f"{call}: found must be a Detection or a Ranking; got {type(found).__name__}. Use "
            "nid.detect or nid.rank"
        )
    k = min(_checks.count(call, "k", k, least=1), len(found.interactions))
    kinds = _looks.kinds(_looks.truth_sets(call, truth, found.column_names), found.interactions[:k])
    labels = [_looks.label(members, 44) for members in found.interactions[:k]]
    heights = np.array([label.count("\n") + 1.8 for label in labels])  # in lines of text
    places = np.cumsum(heights) - heights / 2
    if ax is None:
        size = (6.4, 0.15 * heights.sum() + 1.2)
        ax = _style.pyplot().subplots(figsize=size, layout="constrained")[1]
    trials, spread = None, None
    if isinstance(found, Detection) and len(found.trials) > 1:
        trials, spread = found.found[:k], found.spread[:k]
    ends = {"ecolor": "black", "elinewidth": 0.9, "capsize": 2.5}
    ax.barh(places, found.strengths[:k], 1.2, color=_looks.BAR, xerr=spread, error_kw=ends)
    ax.set_yticks(places, labels, parse_math=False, fontsize=9)
    ax.set_ylim(heights.sum() + 0.3, -0.3)
    ax.set_xlim(left=0)
    beside = ax.get_yaxis_transform()
    _looks.mark(ax, np.full(k, -0.02), places, kinds, transform=beside)
    if trials is not None:
        looks: dict[str, Any] = {"fontsize": _style.SMALL, "transform": beside}
        for y, share in zip(places, trials):
            ax.text(1.02, y, f"{100 * share:.0f} %", va="center", **looks)
        ax.text(1.02, -0.5, "of trials", va="bottom", **looks)
    ax.set_xlabel("strength" if trials is None else "strength: mean and deviation over trials")
    ax.locator_params(axis="x", nbins=6)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0, pad=3.5 if truth is None else 15)
    if truth is not None:
        _looks.legend_above(ax, [(_looks.line(kind), kind) for kind in (_looks.TRUE, _looks.PART)])
    return ax


def averaging(counts: Mapping[str, Any], ax: Any = None) -> Any:
    """How many true interactions come before the first false one, by averaging function.

    Args:
      counts: name -> number, or the numbers of several trials: their mean, and deviation.
      ax: matplotlib axes to draw on; a new figure otherwise.

    Returns:
      The axes.

    Raises:
      ValueError: no counts, or none for a name.

    Source: paper 004, Fig. 3.
    """
    call = "nid.plot.averaging"
    if not isinstance(counts, Mapping) or not counts:
        raise ValueError(f"{call}: counts must be name -> number or numbers; got {counts!r}")
    tables = [np.ravel(_arrays.host(call, name, x)).astype(float) for name, x in counts.items()]
    if not all(len(x) and np.isfinite(x).all() for x in tables):
        raise ValueError(f"{call}: counts must be finite numbers, one or more a name")
    if ax is None:
        size = (0.75 * len(counts) + 1.6, 3.2)
        ax = _style.pyplot().subplots(figsize=size, layout="constrained")[1]
    spread = [x.std(ddof=1) if len(x) > 1 else np.nan for x in tables]
    ends = {"ecolor": "black", "elinewidth": 0.9, "capsize": 2.5}
    yerr = None if np.isnan(spread).all() else spread
    ax.bar(
        range(len(tables)),
        [x.mean() for x in tables],
        0.7,
        color=_looks.BAR,
        yerr=yerr,
        error_kw=ends,
    )
    ax.set_xticks(range(len(tables)), [str(name) for name in counts], fontsize=9)
    ax.set_ylabel("true interactions\nbefore the first false one")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def roc(pairwise: Any, truth: Any, ax: Any = None, *, label: str | None = None) -> Any:
    """True pairs found over false ones, as fewer and weaker pairs are taken.

    Args:
      pairwise, truth: as of `roc_curve`.
      ax: matplotlib axes to draw on, perhaps with the lines of earlier calls, of which this
        differs; a new figure otherwise.
      label: of the line in the legend, which also says the area under it.

    Returns:
      The axes.

    Raises:
      As `roc_curve`.

    Source: paper 004, Fig. 9 and 10.
    """
    false, true = suite.roc_curve(pairwise, truth)
    area = f"area {suite.pairwise_auc(pairwise, truth):.3f}"
    if ax is None:
        ax = _style.pyplot().subplots(figsize=(4, 4), layout="constrained")[1]
        ax.plot([0, 1], [0, 1], color="0.75", linewidth=0.8, label="_chance")
        ax.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        ax.spines[["top", "right"]].set_visible(False)
    named = sum(not line.get_label().startswith("_") for line in ax.lines)
    style = _style.line(named) | {"marker": ""}
    ax.plot(false, true, label=f"{label}: {area}" if label else area, clip_on=False, **style)
    ax.legend(frameon=False, fontsize=_style.SMALL, loc="lower right")
    return ax


def _strengths(call: str, given: Any, names: Sequence | None) -> tuple[np.ndarray, tuple]:
    """``[p, p]``, and a name for each column: its number where there is none."""
    x = getattr(given, "pairwise", given)
    x = np.asarray(_arrays.host(call, "pairwise", x), np.float64)
    if x.ndim != 2 or x.shape[0] != x.shape[1] or len(x) < 2:
        raise ValueError(f"{call}: pairwise must be strengths [p, p], p >= 2; got shape {x.shape}")
    if not np.isfinite(x).all() or not np.allclose(x, x.T, atol=1e-9 * np.abs(x).max()):
        raise ValueError(f"{call}: pairwise must be finite and symmetric")
    names = getattr(given, "column_names", None) if names is None else names
    names = tuple(range(len(x)) if names is None else names)
    if len(names) != len(x):
        raise ValueError(f"{call}: column_names must be {len(x)}, one a column; got {len(names)}")
    return x, names
