# SPDX-License-Identifier: Apache-2.0
"""`distributions`, `checkpoints`: strengths by order taken apart into decay and spindle."""

import textwrap
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from jaxinter.fit import FittedDistributions
from jaxinter.plot import _bars, _style

__all__ = ["checkpoints", "distributions"]

# Rows of which the largest strength is below this share of all have a range of y of their own.
TOO_SMALL = 0.2
NOTHING = 1e-12  # parameters up to this are printed as 0
# Panels of a fit, by the parts that it has.
PANELS = {
    "both": ("strength", "decay", "spindle", "residual"),
    "decay": ("strength", "decay", "residual"),
    "spindle": ("strength", "spindle", "residual"),
}


def distributions(
    fit: FittedDistributions,
    axes: Any = None,
    *,
    titles: Sequence[str] | None = None,
    unit: str = "log-odds",
) -> Any:
    """What was measured, with the fit as a line over it, then decay, spindle and what is left.

    A row a fit. The part that a fit by one part alone does not have is left out: of
    ``fit_distributions(new_strength(...), parts="spindle")`` new interactions remain, and the
    spindle. All panels have one range of y, unless a row is so small (below a fifth of the
    largest) that it would not be seen: then each row has its own.

    Args:
      fit: from `fit_distributions`: one fit or a batch.
      axes: matplotlib axes, row by row; a new figure with a legend otherwise.
      titles: a name for each fit, at the left of its row.
      unit: of v, for the axis label.

    Returns:
      The axes; of a new figure ``[fits, panels]``.

    Raises:
      TypeError: fit is no `FittedDistributions`.
      ValueError: no fit, not one title a fit, or not one axes a panel.

    Source: paper 001, Fig. 3, 4 and 7.
    """
    call = "plot.distributions"
    fits = _listed(call, fit)
    names = [""] * len(fits) if titles is None else _names(call, "titles", titles, len(fits))
    panels = PANELS[fit.parts]
    own = axes is None
    if axes is None:
        size = (2.0 * len(panels) + 0.6, 1.75 * len(fits) + 0.7)
        figure = _style.pyplot().figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(fits), len(panels), squeeze=False)
        _style.outside_legend(figure, **_bars.handles(line=_sum_of(fit.parts)))
    flat = _style.given_axes(call, axes, len(fits) * len(panels))
    grid = [flat[i : i + len(panels)] for i in range(0, len(flat), len(panels))]
    tables = [_tables(call, one, panels) for one in fits]
    for i, (one, row, drawn) in enumerate(zip(fits, grid, tables)):
        says = _small_print(one)
        for ax, name in zip(row, panels):
            _bars.draw(ax, drawn[name])
            heading = _heading(name, fit) + "\n" if i == 0 else ""
            ax.set_title(heading + says[name], fontsize=_bars.TITLE, parse_math=False)
        _bars.fitted_line(row[0], drawn["fitted"])
        if own:
            for ax in row:
                ax.tick_params(labelleft=ax is row[0], labelbottom=i == len(fits) - 1)
        row[0].set_ylabel(f"{names[i]}\n({unit})" if names[i] else f"summed effects\n({unit})")
    for ax in grid[-1]:
        ax.set_xlabel("order")
    _share_rows(grid, [list(drawn.values()) for drawn in tables])
    return axes


def checkpoints(
    fit: FittedDistributions,
    axes: Any = None,
    *,
    labels: Sequence[Any],
    gap: Any = None,
    accuracy: Any = None,
    unit: str = "log-odds",
) -> Any:
    """Decay and spindle along training: a column a checkpoint, lines below.

    The rows are what was measured, with the fit as a line over it, the decay and the spindle, all
    with one range of y. With `gap` or `accuracy`, a panel below has them over the same
    checkpoints, and the spindle's share of the strength.

    Args:
      fit: from `fit_distributions`, a batch ``[k]`` of checkpoints.
      axes: matplotlib axes, row by row, and one more for the lines; a new figure with a legend
        otherwise.
      labels: of the checkpoints ``[k]``, such as epochs.
      gap: loss on testing less loss on training samples ``[k]``.
      accuracy: from 0 to 1 ``[k]``.
      unit: of v, for the axis label.

    Returns:
      The axes, in one row: those of the rows, then that of the lines. What has its scale at the
      right (shares) is on a twin of that.

    Raises:
      TypeError: fit is no `FittedDistributions`.
      ValueError: one fit instead of a batch; not one label, gap or accuracy a checkpoint; not one
        axes a panel.

    Source: paper 001, Fig. 5.
    """
    call = "plot.checkpoints"
    fits = _listed(call, fit)
    if not np.ndim(fit.alpha):
        raise ValueError(f"{call}: fit must be a batch of fits, one a checkpoint; got one fit")
    names = _names(call, "labels", labels, len(fits))
    curves = [_curve(call, *x, len(fits)) for x in (("gap", gap), ("accuracy", accuracy))]
    lines = gap is not None or accuracy is not None
    panels = PANELS[fit.parts][:-1]
    k, rows = len(fits), len(panels)
    own = axes is None
    if axes is None:
        heights = [1.0] * rows + [1.25] * lines
        size = (max(1.35 * k, 4.5) + 1.0, 1.35 * sum(heights) + 0.7)
        figure = _style.pyplot().figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(len(heights), k, height_ratios=heights)
        places = [grid[row, i] for row in range(rows) for i in range(k)]
        places += [grid[rows, :]] if lines else []
        axes = np.array([figure.add_subplot(place) for place in places])
        fitted = _sum_of(fit.parts)
        if "decay" in panels:
            fitted += f"; the decay is that of {fit.reference_name}"
        _style.outside_legend(figure, **_bars.handles(line=fitted))
    flat = _style.given_axes(call, axes, rows * k + lines)
    tables = [_tables(call, one, panels) for one in fits]
    for i, drawn in enumerate(tables):
        column = flat[i : rows * k : k]
        for row, (ax, name) in enumerate(zip(column, panels)):
            _bars.draw(ax, drawn[name])
            if own:
                ax.tick_params(labelleft=i == 0, labelbottom=row == rows - 1)
            if i == 0:
                ax.set_ylabel(f"{_SHORT.get(name, name)}\n({unit})")
        _bars.fitted_line(column[0], drawn["fitted"])
        title = f"{names[i]}\nresidual {_percents(fits[i].relative_residual)}"
        column[0].set_title(title, fontsize=_bars.TITLE, parse_math=False)
        column[-1].set_xlabel("order")
    _bars.share_y(flat[: rows * k], [x for drawn in tables for x in drawn.values()])
    if lines:
        _draw_lines(flat[-1], names, fit, *curves)
    return axes


_SHORT = {"strength": "measured"}


def _draw_lines(
    ax: Any, labels: list[str], fit: FittedDistributions, gap: Any, accuracy: Any
) -> None:
    """Gap at the left, shares at the right; shares alone at the left."""
    k = len(labels)
    x = np.arange(k)
    shares = ax if gap is None else ax.twinx()
    if gap is not None:
        ax.plot(x, gap, label="loss gap", **_style.line(0))
        ax.axhline(0, color="black", linewidth=0.5)
        ax.set_ylabel("loss, testing\nless training")
    shares.plot(x, np.ravel(fit.spindle_share), label="spindle's share", **_style.line(1))
    if accuracy is not None:
        shares.plot(x, accuracy, label="accuracy", **_style.line(2))
    shares.set_ylim(-0.03, 1.03)
    shares.set_ylabel("share")
    # A point below the middle of each column, between which there are narrow gaps.
    ax.set_xlim(-0.46, k - 0.54)
    ax.set_xticks(x, labels, parse_math=False)
    for one in {ax, shares}:
        one.spines["top"].set_visible(False)
        one.spines["right"].set_visible(gap is not None)
    drawn = [line for one in dict.fromkeys((ax, shares)) for line in one.lines]
    named = [line for line in drawn if not line.get_label().startswith("_")]
    entries = {"handles": named, "labels": [line.get_label() for line in named]}
    _style.legend_below(shares, entries, pad=2.6)


def _listed(call: str, fit: Any) -> list[FittedDistributions]:
    """All fits of a batch of any shape, or the one."""
    if not isinstance(fit, FittedDistributions):
        raise TypeError(
            f"{call}: fit must be FittedDistributions; got {type(fit).__name__}. Use "
            "ji.fit_distributions"
        )
    shape = np.shape(fit.alpha)
    if 0 in shape:
        raise ValueError(f"{call}: fit must hold at least one fit; got a batch of shape {shape}")
    return [fit[i] for i in np.ndindex(*shape)] if shape else [fit]


def _names(call: str, argument: str, names: Any, count: int) -> list[str]:
    listed = hasattr(names, "__len__") and not isinstance(names, str)
    if not listed or len(names) != count:
        got = len(names) if listed else repr(names)
        raise ValueError(f"{call}: {argument} must be one for each of {count} fits; got {got}")
    return [str(name) for name in names]


def _curve(call: str, argument: str, given: Any, count: int) -> np.ndarray | None:
    if given is None:
        return None
    numbers = np.asarray(given, np.float64)
    if numbers.shape != (count,):
        raise ValueError(
            f"{call}: {argument} must be one number for each of {count} checkpoints; got shape "
            f"{numbers.shape}"
        )
    return numbers


def _tables(call: str, fit: FittedDistributions, panels: Sequence[str]) -> dict[str, np.ndarray]:
    """What each panel shows ``[2, n]``, and the sum of the parts."""
    drawn = {name: _bars.up_and_down(call, name, getattr(fit, name)) for name in panels}
    decay, spindle = (_bars.up_and_down(call, x, getattr(fit, x)) for x in ("decay", "spindle"))
    return drawn | {"fitted": decay + spindle}


def _share_rows(grid: list[list[Any]], tables: list[list[np.ndarray]]) -> None:
    """One range of y for all, or for each row where one would vanish."""
    largest = [max(np.nan_to_num(x).max(initial=0.0) for x in row) for row in tables]
    if min(largest, default=0.0) >= TOO_SMALL * max(largest, default=0.0):
        _bars.share_y(chain.from_iterable(grid), list(chain.from_iterable(tables)))
        return
    for axes, row in zip(grid, tables):
        _bars.share_y(axes, row)


def _sum_of(parts: str) -> str:
    return "decay + spindle" if parts == "both" else f"the {parts}"


def _heading(name: str, fit: FittedDistributions) -> str:
    if name == "decay":
        return textwrap.fill(f"decay, from {fit.reference_name}", 28)
    return {"strength": "measured", "residual": "|measured less fitted|"}.get(name, name)


def _small_print(fit: FittedDistributions) -> dict[str, str]:
    """The parameters, by panel."""

    def number(name: str) -> str:
        edge = " (end of range)" if getattr(fit.at_edge, name) else ""
        value = getattr(fit, name)
        return f"{_GREEK[name]} {value if value > NOTHING else 0:.3g}{edge}"

    return {
        "strength": "",
        "decay": f"{number('gamma')}, {number('delta')}",
        "spindle": f"{number('alpha')}, {number('beta')}",
        "residual": f"relative {_percents(fit.relative_residual)}",
    }


_GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ"}  # noqa: RUF001


def _percents(share: Any) -> str:
    return f"{100 * float(share):.2g} %" if not share < 1e-4 else "< 0.01 %"
