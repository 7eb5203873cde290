# SPDX-License-Identifier: Apache-2.0
"""Strength by order as bars, up and down: what all figures of distributions share."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.plot import _style
from jaxinter.stats import OrderStrength

COLOURS = (_style.POSITIVE, _style.NEGATIVE)
WIDTH, INNER = 0.84, 0.52  # of a bar, and of the bar of a part within it; orders are 1 apart
TITLE = 9  # points, of a panel


def up_and_down(call: str, argument: str, strength: Any, orders: int | None = None) -> np.ndarray:
    """Positive and negative strength ``[2, n]``, both >= 0, the mean over the batch."""
    if not isinstance(strength, OrderStrength):
        raise TypeError(
            f"{call}: {argument} must be an OrderStrength; got {type(strength).__name__}. Use "
            "ji.order_strength(interactions)"
        )
    n = len(strength.orders)
    if orders is not None and n != orders:
        raise ValueError(f"{call}: {argument} must have orders 1 to {orders}; got 1 to {n}")
    return mean_over(call, argument, (strength.positive, strength.negative), strength.batch)


def mean_over(call: str, argument: str, sides: Iterable[Any], batch: tuple[int, ...]) -> np.ndarray:
    """The mean over the batch of each of the sides ``[*batch, n]``, float64 ``[sides, n]``."""
    if 0 in batch:
        raise ValueError(f"{call}: {argument} must hold a sample; got a batch of shape {batch}")
    wide = [np.asarray(_arrays.host(call, argument, side), np.float64) for side in sides]
    tables = np.stack(wide)
    return tables.reshape(len(wide), math.prod(batch), tables.shape[-1]).mean(axis=1)


def draw(ax: Any, whole: np.ndarray, part: np.ndarray | None = None) -> None:
    """Bars ``[2, n]``; with a part of them, pale ones that hold those of the part."""
    orders = np.arange(1, whole.shape[-1] + 1)
    for sign, colour, heights in zip((1, -1), COLOURS, whole):
        if part is None:
            ax.bar(orders, sign * heights, WIDTH, color=colour)
        else:
            pale = {"facecolor": _style.pale(colour), "edgecolor": colour, "linewidth": 0.8}
            ax.bar(orders, sign * heights, WIDTH, **pale)
    for sign, colour, heights in zip((1, -1), COLOURS, () if part is None else part):
        ax.bar(orders, sign * heights, INNER, color=colour)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xlim(0.4, max(len(orders), 1) + 0.6)
    ax.set_xticks(ticks(ax, len(orders)))
    ax.spines[["top", "right"]].set_visible(False)


def fitted_line(ax: Any, fitted: np.ndarray) -> None:
    """A line ``[2, n]`` over the bars, on both sides of 0."""
    orders = np.arange(1, fitted.shape[-1] + 1)
    for sign, heights in zip((1, -1), fitted):
        ax.plot(orders, sign * heights, **_LINE, path_effects=_style.halo())


_LINE: dict[str, Any] = {"color": "black", "linewidth": 1.1, "marker": "o", "markersize": 2.4}


def share_y(axes: Iterable[Any], tables: Sequence[np.ndarray]) -> None:
    """One range for all panels, of all that is drawn in them, tables ``[2, n]``."""
    finite = [np.nan_to_num(table, posinf=0.0).max(axis=-1, initial=0.0) for table in tables]
    up, down = np.max(finite, axis=0, initial=0.0)
    up, down = (up, down) if up + down > 0 else (1.0, 1.0)
    room = 0.06 * (up + down)
    for ax in axes:
        ax.set_ylim(-down - room, up + room)
        ax.locator_params(axis="y", nbins=6)


def handles(whole: str = "", part: str = "", line: str = "") -> dict[str, list[Any]]:
    """Legend entries, as `handles` and `labels`: the signs, of a whole and its part, or a line."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    full = [Patch(color=colour) for colour in COLOURS]
    entries: list[tuple[Any, str]] = []
    if part:
        pale = [Patch(facecolor=_style.pale(c), edgecolor=c, linewidth=0.8) for c in COLOURS]
        for boxes, what in ((pale, whole), (full, part)):
            entries += [(boxes[0], f"positive, {what}"), (boxes[1], f"negative, {what}")]
    else:
        entries += zip(full, ("positive: for the output", "negative: against it"))
    if line:
        entries.append((Line2D([], [], **_LINE), line))
    return {"handles": [h for h, _ in entries], "labels": [label for _, label in entries]}


def label_x(ax: Any) -> None:
    """In full where there is room."""
    full = "order: number of players in the interaction"
    wide = _style.text_width(full, 10) < 1.1 * _style.points(ax)[0]
    ax.set_xlabel(full if wide else "order")


def ticks(ax: Any, n: int) -> np.ndarray:
    """Orders for which there is room below the axes, about 14 points each."""
    most = max(_style.points(ax)[0] / 14, 2)
    step = next((s for s in (1, 2, 5, 10, 20) if n <= s * most), 50)
    return np.arange(1, n + 1, step) if step < 5 else np.r_[1, np.arange(step, n + 1, step)]
