# SPDX-License-Identifier: Apache-2.0
"""NID 12c. Pairs by weights against pairs by outputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxinter.nid.outputs import OutputComparison
from jaxinter.nid.plot import _looks
from jaxinter.plot import _style

__all__ = ["outputs"]

FLOOR = 1e-4  # of the largest: logarithmic axes end there
NAMED = 10  # points, where there is room


def outputs(comparison: OutputComparison, axes: Any = None, *, truth: Any = None) -> Any:
    """Pairs by the weights of networks and by their outputs, a panel for each of the two measures.

    Both axes are logarithmic, down to 1e-4 of the strongest pair: weaker ones stand at the edge.

    Args:
      comparison: from `by_outputs`.
      axes: two matplotlib axes to draw on; a new figure otherwise.
      truth: a `Function`, or interactions: pairs that are part of one are crosses.

    Returns:
      The axes, ``[2]``.

    Raises:
      TypeError: comparison is none.
      ValueError: not two axes; truth of other columns.
    """
    call = "nid.plot.outputs"
    _style.check_kind(call, "comparison", comparison, OutputComparison, "nid.by_outputs")
    names = comparison.column_names
    i, j = np.triu_indices(len(names), 1)
    pairs = [(names[a], names[b]) for a, b in zip(i.tolist(), j.tolist())]
    kinds = np.array(_looks.kinds(_looks.truth_sets(call, truth, names), pairs)) != ""
    if axes is None:
        axes = _style.panels(2, (3.4, 3.2))[1]
    panels = _style.given_axes(call, axes, 2)
    shown = (
        ("delta_v", comparison.delta_v, "mean |I$^{(m)}$(i, j)| of the output"),
        ("shapley", comparison.shapley, "mean |Shapley interaction| of the output"),
    )
    x = _floored(comparison.weights[i, j])
    for ax, (name, measure, label) in zip(panels, shown):
        y = _floored(measure[i, j])
        ax.set(xscale="log", yscale="log", xlabel="strength by weights")
        ax.set_ylabel(label, fontsize=9)
        for axis, range_ in ((ax.xaxis, x), (ax.yaxis, y)):
            _log_ticks(axis, range_)
        ax.scatter(x[~kinds], y[~kinds], s=16, color="0.45", linewidth=0)
        _looks.mark(ax, x[kinds], y[kinds], [_looks.TRUE] * int(kinds.sum()), size=6.0)
        ax.set_title(f"rank correlation {comparison.correlations[name]:.2f}", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(0.12)
    if truth is not None:
        _looks.legend_above(
            panels[0], [(_looks.line(_looks.TRUE), "part of a true interaction")], pad=24
        )
    panels[0].figure.draw_without_rendering()  # which says where points are
    for ax, (_, measure, _) in zip(panels, shown):
        _name_points(ax, x, _floored(measure[i, j]), pairs)
    return axes


def _floored(x: np.ndarray) -> np.ndarray:
    """What has a logarithm."""
    return np.maximum(x, FLOOR * x.max() if x.max() > 0 else 1.0)


def _log_ticks(axis: Any, x: np.ndarray) -> None:
    """Plain numbers, at 1, 2 and 5 where decades are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    few = x.max() < 100 * x.min()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _name_points(ax: Any, x: np.ndarray, y: np.ndarray, pairs: Sequence[tuple]) -> None:
    """Names beside the strongest points by either axis, where neither points nor names are."""
    strongest = np.argsort(-np.maximum(x / x.max(), y / y.max()), kind="stable")
    at = ax.transData.transform(np.stack([x, y], axis=1)) * 72 / ax.figure.dpi
    taken = [(*(point - 3), *(point + 3)) for point in at]  # left, bottom, right, top
    low, _, high, _ = ax.get_window_extent().extents * 72 / ax.figure.dpi
    for i in strongest[:NAMED].tolist():
        name = _looks.label(pairs[i], 60)
        width = _style.text_width(name, 7) + 2
        places = ((5, 0, "left"), (-5, 0, "right"), (0, 9, "center"), (0, -9, "center"))
        for right, up, align in places:
            left = at[i, 0] + right - width * {"left": 0, "right": 1, "center": 0.5}[align]
            box = (left, at[i, 1] + up - 4.5, left + width, at[i, 1] + up + 4.5)
            others = (other for k, other in enumerate(taken) if k != i)
            if low < box[0] and box[2] < high and not any(_overlap(box, o) for o in others):
                looks: dict[str, Any] = {"ha": align, "va": "center", "parse_math": False}
                looks |= {"textcoords": "offset points", "fontsize": 7}
                ax.annotate(name, (x[i], y[i]), (right, up), **looks)
                taken.append(box)
                break


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
