# SPDX-License-Identifier: Apache-2.0
"""`pruning_orders`, `pruning_ratios`: what becomes of interactions as a network is pruned."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxinter.plot import _bars, _style
from jaxinter.pruning import PruningPhases, PruningSeries

__all__ = ["pruning_orders", "pruning_ratios"]

# which -> the attributes of the series that are the whole and its part, and what they are called
SHOWN = {
    "preserved": (
        "original",
        "preserved",
        "original",
        "preserved",
    ),
    "emerged": ("emerged", "emerged_generalizable", "emerged", "generalizable"),
    "generalizable": ("original", "generalizable", "original", "generalizable"),
}


def pruning_orders(
    series: PruningSeries,
    axes: Any = None,
    *,
    which: str = "preserved",
    ratios: Sequence[float] | np.ndarray | None = None,
    unit: str = "log-odds",
) -> Any:
    """Strength by order at each pruning ratio, a panel each, a part of it as full bars inside.

    Args:
      series: from `pruning_series`.
      axes: matplotlib axes, one a ratio; a new figure with a legend otherwise.
      which: what is drawn, and which part of it is full:

        "preserved"      the original's effects; those that the pruned network has too
        "emerged"        effects of the pruned network alone; those that the reference has too
        "generalizable"  the original's effects; those that the reference has too

      ratios: some of the series'; all for None. For pairs that are "fixed" the panels of
        "generalizable" are all alike: one will do, as ``ratios=series.ratios[:1]``.
      unit: of v, for the axis label.

    Returns:
      The axes, one a ratio.

    Raises:
      ValueError: an unknown `which`, ratios that the series does not have, not one axes a ratio.
      TypeError: series is no `PruningSeries`.

    Source: paper 003, Fig. 3, 5 and 26.
    """
    call = "plot.pruning_orders"
    _style.check_kind(call, "series", series, PruningSeries, "pruning_series")
    if which not in SHOWN:
        raise ValueError(f"{call}: which must be one of {tuple(SHOWN)}; got {which!r}")
    chosen = _chosen(call, series.ratios, ratios)
    *names, whole_label, part_label = SHOWN[which]
    tables = [
        [_bars.up_and_down(call, name, getattr(series, name)[int(i)]) for name in names]
        for i in chosen
    ]
    own = axes is None
    if axes is None:
        figure, axes = _style.panels(len(chosen), (1.75, 2.1))
        _style.outside_legend(figure, **_bars.handles(whole_label, part_label))
    flat = _style.given_axes(call, axes, len(chosen))
    percent = _percent(series.ratios)
    for ax, i, (whole, part) in zip(flat, chosen, tables):
        _bars.draw(ax, whole, part)
        title = f"pruned: {series.ratios[i]:.4g}{percent}"
        if series.accuracy is not None:
            title += f"\naccuracy {series.accuracy[i]:.1%}".replace("%", " %")
        ax.set_title(title, fontsize=_bars.TITLE)
    _bars.share_y(flat, [table for pair in tables for table in pair])
    _style.label_outer(flat, "order", f"summed effects ({unit}),\nmean over samples", tidy=own)
    return axes


def pruning_ratios(
    series: PruningSeries, ax: Any = None, *, phases: PruningPhases | None = None
) -> Any:
    """What is left of the strength of low and of high orders, and the accuracy, by pruning ratio.

    Args:
      series: from `pruning_series`.
      ax: matplotlib axes to draw on; a new figure otherwise.
      phases: as of `series.phases()`: a band each, with the efficiency of pruning in it, e.

    Returns:
      The axes.

    Raises:
      TypeError: series is no `PruningSeries`, phases are no `PruningPhases`.

    Source: paper 003, Fig. 4 and Table 2.
    """
    call = "plot.pruning_ratios"
    _style.check_kind(call, "series", series, PruningSeries, "pruning_series")
    if phases is not None and not isinstance(phases, PruningPhases):
        raise TypeError(
            f"{call}: phases must be PruningPhases; got {type(phases).__name__}. Use "
            "series.phases()"
        )
    if ax is None:
        ax = _style.pyplot().subplots(figsize=(6.6, 3.7), layout="constrained")[1]
    lines = {
        rf"$\rho_{{\mathrm{{low}}}}$, orders 1 to {series.low}": series.rho_low,
        rf"$\rho_{{\mathrm{{high}}}}$, orders above {series.low}": series.rho_high,
    }
    if series.accuracy is not None:
        lines["accuracy"] = series.accuracy
    labels = []
    for i, (label, numbers) in enumerate(lines.items()):
        labels.append(label + (" (none salient)" if np.isnan(numbers).all() else ""))
        ax.plot(series.ratios, numbers, label=labels[-1], clip_on=False, **_style.line(i))
    ax.set_ylim(0, 1.02)
    ax.margins(x=0.02)
    percent = _percent(series.ratios)
    ax.set_xlabel(f"pruning ratio{' (%)' if percent else ''}")
    ax.set_ylabel("share preserved" if series.accuracy is None else "share preserved, accuracy")
    ax.spines[["top", "right"]].set_visible(False)
    _style.legend_below(ax, {"handles": list(ax.lines[-len(lines) :]), "labels": labels})
    if phases is not None:
        _draw_phases(ax, phases, percent)
    return ax


def _draw_phases(ax: Any, phases: PruningPhases, percent: str) -> None:
    """Bands of those that there are, with texts above, moved apart where bands are narrow."""
    ax.set_xlim(ax.get_xlim())
    full, short, middles = [], [], []
    for k, (left, right, e) in enumerate(zip(phases.edges, phases.edges[1:], phases.efficiency)):
        if left < right:
            ax.axvspan(left, right, color=("0.95", "0.89", "0.95")[k], linewidth=0, zorder=0)
            says = "unknown" if np.isnan(e) else f"{e:.2f}"
            full.append(f"phase {k + 1}: {left:.4g} to {right:.4g}{percent}\ne = {says}")
            short.append(f"phase {k + 1}\ne = {says}")
            middles.append((left + right) / 2)
    low, high = ax.get_xlim()
    scale = (high - low) / _style.points(ax)[0]
    for texts in (full, short):
        widths = [(_style.text_width(text, _style.SMALL) + 6) * scale for text in texts]
        if sum(widths) <= high - low:
            break
    place = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    for x, text in zip(_apart(middles, widths, low, high), texts):
        ax.text(x, 1.02, text, fontsize=_style.SMALL, **place)


def _apart(middles: list[float], widths: list[float], low: float, high: float) -> list[float]:
    """Places next to `middles` for things so wide: none over another, between low and high."""
    places = list(middles)
    edge = low
    for i, width in enumerate(widths):
        places[i] = max(places[i], edge + width / 2)
        edge = places[i] + width / 2
    edge = max(high, low + sum(widths))
    for i in reversed(range(len(widths))):
        places[i] = min(places[i], edge - widths[i] / 2)
        edge = places[i] - widths[i] / 2
    return places


def _chosen(call: str, known: np.ndarray, ratios: Any) -> np.ndarray:
    """Positions of some of the known ratios; all for None."""
    if ratios is None:
        return np.arange(len(known))
    asked = np.asarray(ratios, np.float64)
    found = np.isclose(asked.reshape(-1, 1), known, rtol=1e-6, atol=0)
    if asked.ndim != 1 or not len(asked) or not found.any(axis=1).all():
        raise ValueError(
            f"{call}: ratios must be some of the series', {[float(x) for x in known]}; got {ratios}"
        )
    return found.argmax(axis=1)


def _percent(ratios: np.ndarray) -> str:
    """Ratios may be in any unit; those that reach beyond 1, but not 100, are percentages."""
    return " %" if 1 < ratios.max() <= 100 else ""
