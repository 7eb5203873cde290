# SPDX-License-Identifier: Apache-2.0
"""`effects_on_columns`: the strongest interactions of a table row as bars."""

import textwrap
from typing import Any

import numpy as np

from jaxinter.interactions import Interactions
from jaxinter.plot import _style

__all__ = ["effects_on_columns"]


def effects_on_columns(
    interactions: Interactions, ax: Any = None, *, k: int = 10, values: Any = None
) -> Any:
    """The k strongest interactions of a table row as bars, the strongest on top.

    A full bar is an AND (counts when all its columns are there), a hatched one an OR (as soon as
    one is); orange, to the right, raises the output, blue, to the left, lowers it.

    Args:
      interactions: of this one row; its player_names are the columns' names.
      ax: matplotlib axes to draw on; a new figure otherwise.
      k: interactions to draw.
      values: the row itself, a number or string for each player: written beside single columns.

    Returns:
      The axes.

    Raises:
      ValueError: several samples, or not a value for each player.
    """
    call = "plot.effects_on_columns"
    effects = _style.strongest(call, interactions, k)
    n = interactions.n_players
    if values is not None and len(values) != n:
        raise ValueError(f"{call}: values must be one for each of {n} players; got {len(values)}")
    names = interactions.player_names
    labels = []
    for effect in effects:
        members = [str(i) if names is None else names[i] for i in effect.players]
        label = ("players " if effect.order > 1 else "player ") if names is None else ""
        label += ", ".join(members)
        if effect.order > 1:
            label = f"{effect.kind} of {label}"
        elif values is not None:
            value = values[effect.players[0]]
            label += f" = {value if isinstance(value, str) else format(value, '.6g')}"
        labels.append(textwrap.fill(label, 44, break_long_words=False))
    heights = np.array([label.count("\n") + 2.0 for label in labels])  # in lines of text
    places = np.cumsum(heights) - heights / 2
    if ax is None:
        size = (7, 0.14 * heights.sum() + 1.1)
        ax = _style.pyplot().subplots(figsize=size, layout="constrained")[1]
    bars = ax.barh(
        places,
        [effect.effect for effect in effects],
        height=1.4,
        color=[_style.look(effect)[0] for effect in effects],
        hatch=["///" if _style.look(effect)[1] == _style.DASHED else "" for effect in effects],
        edgecolor="white",
        linewidth=0,
    )
    numbers = [_style.number(effect) for effect in effects]
    ax.bar_label(bars, numbers, padding=3, fontsize=_style.SMALL)
    ax.set_yticks(places, labels, parse_math=False, fontsize=9)
    ax.set_ylim(heights.sum() + 0.2, -0.2)
    ax.margins(x=0.18)
    ax.locator_params(axis="x", nbins=6)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel("effect on the output")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    _style.legend(
        ax, bars=True, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.5, ncols=2
    )
    return ax
