# SPDX-License-Identifier: Apache-2.0
"""One style for all figures: colours, lines, numbers, the legend; which effects are drawn."""

from dataclasses import replace
from typing import Any

import numpy as np

from jaxinter import _checks
from jaxinter.interactions import Effect, Interactions

# Colour-blind safe (Okabe-Ito) and of different lightness, so that grey prints keep the sign.
POSITIVE, NEGATIVE = "#E69F00", "#0072B2"
DASHED = (0, (2, 1.2))
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
            "explained together. Give one's effects and bias by dataclasses.replace, joint=False"
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


def halo() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="white")]


def points(ax: Any) -> np.ndarray:
    """Width and height, in points."""
    extent = ax.get_window_extent()
    return np.array([extent.width, extent.height]) * 72 / ax.figure.dpi


def text_width(text: str, size: float) -> float:
    """In points, of the widest line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    measure = text_to_path.get_text_width_height_descent
    return max(measure(line, font, False)[0] for line in text.split("\n"))


def pyplot() -> Any:
    """matplotlib's, or how to get it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("jaxinter.plot needs matplotlib: pip install 'jaxinter[plot]'") from error
    return pyplot
