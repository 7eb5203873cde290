# SPDX-License-Identifier: Apache-2.0
"""One style for all figures: colours, lines, numbers, the legend; which effects are drawn."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxinter import _checks
from jaxinter.interactions import Effect, Interactions

# Colour-blind safe (Okabe-Ito) and of different lightness, so that grey prints keep the sign.
POSITIVE, NEGATIVE = "#E69F00", "#0072B2"
DASHED = (0, (2, 1.2))
# Lines that are no effects: Okabe-Ito but for the two above; dashes and markers tell them in grey.
_LINES: list[tuple[str, Any, str]] = [
    ("black", "-", "o"),
    ("#009E73", (0, (5, 1.6)), "s"),
    ("#CC79A7", (0, (1.4, 1.2)), "^"),
    ("#D55E00", (0, (6, 1.5, 1.2, 1.5)), "D"),
    ("#56B4E9", (0, (8, 1.5, 1.2, 1.5, 1.2, 1.5)), "v"),
]
SMALL = 8.5  # points: numbers, legends


def strongest(call: str, interactions: Interactions, k: int) -> list[Effect]:
    """The k strongest effects of one sample, singletons merged. Players are numbers, not names:
    names may repeat, and numbers find the place."""
    batch = tuple(np.shape(interactions.primal))
    if batch:
        raise ValueError(
            f"{call}: interactions must be of one sample; got a batch of shape {batch}. Index it, "
            f"as interactions[{', '.join('0' * len(batch))}]"
        )
    if interactions.joint:
        raise ValueError(
            f"{call}: interactions must be of one model; got {interactions.bias.shape[-1]} models "
            "explained together. Take one out, as interactions.model(0)"
        )
    k = _checks.count(call, "k", k)
    effects = replace(interactions, player_names=None).merge_singletons().top(k)
    # What the solver leaves of zeros is not worth a place.
    return [e for e in effects if abs(e.effect) > 1e-3 * abs(effects[0].effect)]


def check_players(call: str, players: np.ndarray, n: int) -> None:
    """Refuses players that are not those of the interactions: 0 to n - 1, and -1 for none."""
    if players.dtype.kind not in "iu":
        raise TypeError(f"{call}: players must be integers; got dtype {players.dtype}")
    found = np.unique(players[players >= 0]).tolist()
    if found != list(range(n)):
        raise ValueError(
            f"{call}: players must be those of the interactions, 0 to {n - 1}, and -1 for none; "
            f"got {found}"
        )


def look(effect: Effect) -> tuple[str, Any]:
    """Colour and line style."""
    dashed = effect.kind == "OR" and effect.order > 1
    return POSITIVE if effect.effect > 0 else NEGATIVE, DASHED if dashed else "-"


def number(effect: Effect) -> str:
    """Signed, two significant digits."""
    x = effect.effect
    return f"{x:+,.0f}" if abs(x) >= 99.5 else f"{x:+#.2g}".rstrip(".")


def stroke(ax, lines, colour, style, width, *, halo: str) -> None:
    """Lines ``[points, 2]`` over an unbroken wider line, on which dashes stay visible."""
    from matplotlib.collections import LineCollection

    for c, s, w in ((halo, "-", width + 1.4), (colour, style, width)):
        collection = LineCollection(lines, colors=c, linestyles=[s], linewidths=w)
        ends = "projecting" if s == "-" else "butt"  # closes corners; would close dashes' gaps
        collection.set(clip_on=False, snap=False, capstyle=ends)
        ax.add_collection(collection, autolim=False)


def legend(owner: Any, *, bars: bool = False, scale: float = 1.0, **place: Any) -> None:
    """What colours and lines, or hatches, say, on a figure or axes."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=POSITIVE), Patch(color=NEGATIVE)]
    for style, hatch in (("-", ""), (DASHED, "///")):
        bar = Patch(facecolor="white", edgecolor="black", linewidth=0.8, hatch=hatch)
        line = Line2D([], [], color="black", linewidth=1.6, linestyle=style)
        handles.append(bar if bars else line)
    labels = ["raises the output", "lowers it"]
    labels += ["AND: counts when all are there", "OR: counts as soon as one is"]
    place |= {"frameon": False, "fontsize": SMALL * scale, "handleheight": 1}
    owner.legend(handles=handles, labels=labels, **place)


def pale(colour: str) -> tuple[float, ...]:
    """Most of the way to white."""
    from matplotlib.colors import to_rgb

    return tuple(0.25 * x + 0.75 for x in to_rgb(colour))


def line(i: int) -> dict[str, Any]:
    """Looks of the i-th line of a figure."""
    colour, dashes, marker = _LINES[i % len(_LINES)]
    looks = {"color": colour, "linestyle": dashes, "marker": marker}
    return looks | {"linewidth": 1.6, "markersize": 4.5}


def panels(count: int, size: tuple[float, float]) -> tuple[Any, np.ndarray]:
    """A figure of so many panels, at most 6 a row, `size` in inches; and the panels."""
    rows = -(-count // 6)
    columns = -(-count // rows)
    inches = (max(columns * size[0], 3.6) + 0.6, rows * size[1] + 0.8)  # with room for a legend
    figure = pyplot().figure(figsize=inches, layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    return figure, np.array([figure.add_subplot(grid[i]) for i in range(count)])


def outside_legend(figure: Any, **entries: Any) -> None:
    """Below all panels."""
    ncols = _columns(entries["labels"], figure.get_figwidth() * 72 / 1.15)
    place = {"loc": "outside lower center", "ncols": ncols}
    figure.legend(**entries, frameon=False, fontsize=SMALL, handleheight=1, **place)


def legend_below(ax: Any, entries: dict[str, list[Any]], *, pad: float = 4.5) -> None:
    """Below the axes and their label, where it hides nothing; `handles` and `labels`."""
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": pad}
    ncols = _columns(entries["labels"], points(ax)[0])
    ax.legend(**entries, frameon=False, fontsize=SMALL, ncols=ncols, **place)


def _columns(labels: Sequence[str], width: float) -> int:
    """As many as there is room for, all of one length; margins beside the axes are room too."""
    widths = [text_width(x, SMALL, math=x.count("$") > 1) + 4.8 * SMALL for x in labels]
    for columns in range(len(labels), 1, -1):
        rows = len(labels) // columns
        needed = sum(max(widths[i : i + rows]) for i in range(0, len(labels), rows))
        if len(labels) % columns == 0 and needed <= 1.15 * width:
            return columns
    return 1


def given_axes(call: str, axes: Any, count: int) -> list[Any]:
    """All axes in order, of which there must be so many."""
    flat = list(np.ravel(axes))
    if len(flat) != count:
        raise ValueError(f"{call}: axes must be {count}, one a panel; got {len(flat)}")
    return flat


def label_outer(axes: Sequence[Any], x: str, y: str, *, tidy: bool) -> None:
    """Labels at the left and at the bottom alone, by the grid that the axes stand in; and so for
    numbers, where `tidy`."""
    for i, ax in enumerate(axes):
        spec = ax.get_subplotspec()
        left = spec.is_first_col() if spec else i == 0
        # A panel with none below it: in the last row, or above a place left empty.
        below = [o for o in axes[i + 1 :] if spec and _same_column(o.get_subplotspec(), spec)]
        if left:
            ax.set_ylabel(y, fontsize=9)
        if not below:
            ax.set_xlabel(x)
        if tidy:
            ax.tick_params(labelleft=left, labelbottom=not below)


def _same_column(a: Any, b: Any) -> bool:
    return a is not None and a.get_gridspec() is b.get_gridspec() and a.colspan == b.colspan


def check_kind(call: str, argument: str, given: Any, kind: type, maker: str) -> None:
    """Refuses what is not the result of `maker`."""
    if not isinstance(given, kind):
        raise TypeError(
            f"{call}: {argument} must be a {kind.__name__}; got {type(given).__name__}. Use "
            f"ji.{maker}"
        )


def halo() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="white")]


def points(ax: Any) -> np.ndarray:
    """Width and height, in points."""
    extent = ax.get_window_extent()
    return np.array([extent.width, extent.height]) * 72 / ax.figure.dpi


def text_width(text: str, size: float, *, math: bool = False) -> float:
    """In points, of the widest line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    measure = text_to_path.get_text_width_height_descent
    return max(measure(line, font, math)[0] for line in text.split("\n"))


def pyplot() -> Any:
    """matplotlib's, or how to get it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("jaxinter.plot needs matplotlib: pip install 'jaxinter[plot]'") from error
    return pyplot
