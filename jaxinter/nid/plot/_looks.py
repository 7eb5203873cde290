# SPDX-License-Identifier: Apache-2.0
"""What the figures share: marks of what is true, names of columns, a legend above."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxinter.nid import suite
from jaxinter.plot import _style

TRUE, PART = "true", "part of a true one"
MARK = "#D55E00"  # of what is true: Okabe-Ito's vermilion
BAR, PALE = "0.6", "0.87"
LONG = 24  # letters of a name, and of a line of names
WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def truth_sets(call: str, truth: Any, names: Sequence | None) -> list[frozenset]:
    """The true interactions, none where none are given."""
    return [] if truth is None else suite.truth_sets(call, truth, names)


def kinds(truth: list[frozenset], interactions: Sequence[Sequence]) -> list[str]:
    """TRUE, PART or "" for each."""
    sets = [frozenset(members) for members in interactions]
    return [TRUE if s in truth else PART if any(s < t for t in truth) else "" for s in sets]


def line(kind: str, size: float = 6.0) -> Any:
    """The mark of a kind, for the axes and for the legend."""
    from matplotlib.lines import Line2D

    looks: dict[str, Any] = {"linestyle": "", "color": MARK, "markersize": size}
    looks |= {"marker": "x" if kind == TRUE else "o", "markerfacecolor": "none"}
    return Line2D([], [], markeredgewidth=1.6, **looks)


def mark(
    ax: Any, x: Any, y: Any, kinds: Sequence[str], *, size: float = 6.0, transform: Any = None
) -> None:
    """Crosses and rings, which a white edge shows on any shade."""
    for kind in (TRUE, PART):
        at = np.array([k == kind for k in kinds], bool)
        if at.any():
            marks = line(kind, size)
            marks.set_data(np.asarray(x)[at], np.asarray(y)[at])
            marks.set(path_effects=_style.halo(), zorder=4, clip_on=False)
            marks.set_transform(ax.transData if transform is None else transform)
            ax.add_line(marks)


def legend_above(ax: Any, entries: Sequence[tuple[Any, str]], *, pad: float = 4.0) -> None:
    """Above the axes, where neither ticks nor data are; pad in points."""
    from matplotlib.transforms import ScaledTranslation

    up = ScaledTranslation(0, pad / 72, ax.figure.dpi_scale_trans)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
    place |= {"bbox_transform": ax.transAxes + up, "ncols": min(len(entries), 3)}
    place["frameon"] = False
    handles, labels = [h for h, _ in entries], [label for _, label in entries]
    ax.legend(handles, labels, fontsize=_style.SMALL, handletextpad=0.3, **place)


def short(name: Any) -> str:
    name = str(name)
    return name if len(name) <= LONG else name[: LONG - 1] + "…"


def axis_name(name: Any) -> str:
    return f"column {name}" if isinstance(name, int) else short(name)


def label(members: Sequence, width: int) -> str:
    """The columns of an interaction, in lines."""
    return textwrap.fill(", ".join(map(short, members)), width, **WHOLE)
