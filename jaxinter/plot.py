# SPDX-License-Identifier: Apache-2.0
"""9a. Figures from results. matplotlib is imported where it is used; axes are returned."""

from dataclasses import replace
from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.interactions import Effect, Interactions
from jaxinter.stats import OrderStrength

__all__ = ["effects_on_patches", "order_strength"]

# Colour-blind safe (Okabe-Ito) and of different lightness, so that grey prints keep the sign.
POSITIVE, NEGATIVE = "#E69F00", "#0072B2"
DASHED = (0, (2, 1.2))


def order_strength(strength: OrderStrength, ax: Any = None, *, unit: str = "log-odds") -> Any:
    """Mean strength of each order over the batch: positive up, negative down.

    Args:
      strength: from `order_strength`, one sample or any batch.
      ax: matplotlib axes to draw on; a new figure otherwise.
      unit: of v, for the axis label.

    Returns:
      The axes.
    """
    ax = ax if ax is not None else _pyplot().subplots(figsize=(6, 3.6), layout="constrained")[1]
    sides = [
        np.asarray(_arrays.to_numpy("plot.order_strength", "strength", side), np.float64)
        for side in (strength.positive, strength.negative)
    ]
    up, down = (side.reshape(-1, side.shape[-1]).mean(axis=0) for side in sides)
    ax.bar(strength.orders, up, color=POSITIVE, label="positive: for the output")
    ax.bar(strength.orders, -down, color=NEGATIVE, label="negative: against it")
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(strength.orders)
    ax.set_xlabel("order: number of players in the interaction")
    ax.set_ylabel(f"summed effects ({unit}),\nmean over samples")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def effects_on_patches(
    image: Any, players: Any, interactions: Interactions, axes: Any = None, *, k: int = 5
) -> Any:
    """An image, then its k strongest interactions drawn on the patches they join.

    In each panel the patches of one interaction show the image in full contrast inside a frame; the
    rest is faded. A solid frame is an AND (its patches must all be there), a dashed one an OR (any
    of them will do); orange raises the output, blue lowers it. AND and OR of one patch are merged.

    Args:
      image: ``[height, width]`` or ``[height, width, channels]``.
      players: int of image's shape (or its first two axes), as given to `masked_inputs`.
      interactions: of this one image.
      axes: k + 1 matplotlib axes; a new figure otherwise.
      k: interactions to draw.

    Returns:
      The axes.
    """
    if axes is None:
        figure = _pyplot().figure(figsize=(1.6 * (k + 1), 2.1), layout="constrained")
        axes = figure.subplots(1, k + 1, squeeze=False)[0]
    image = _arrays.to_numpy("plot.effects_on_patches", "image", image)
    players = np.asarray(players).reshape(*image.shape[:2], -1)[..., 0]
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    everyone = tuple(range(interactions.n_players))
    _panel(axes[0], image, players, everyone, "0.55", "-", fade=False)
    for ax in axes[1:]:
        ax.set_axis_off()
    numbered = replace(interactions, player_names=None)  # names may repeat; numbers find patches
    for ax, effect in zip(axes[1:], numbered.merge_singletons().top(len(axes) - 1)):
        colour = POSITIVE if effect.effect > 0 else NEGATIVE
        line = DASHED if effect.kind == "OR" else "-"
        _panel(ax, image, players, effect.players, colour, line, fade=True)
        ax.set_title(_title(effect), fontsize=9)
    return axes


def _title(effect: Effect) -> str:
    kind = "one patch" if effect.order == 1 else f"{effect.kind} of {effect.order}"
    return f"{kind}: {effect.effect:+.1f}"


def _panel(ax: Any, image: np.ndarray, players: np.ndarray, members, colour, line, fade) -> None:
    """The image with the members' patches framed, and the rest faded towards grey."""
    chosen = np.isin(players, members)
    low, high = float(image.min()), float(image.max())
    shown = (image - low) / (high - low or 1.0)
    if fade:
        keep = chosen if image.ndim == 2 else chosen[..., None]
        shown = np.where(keep, shown, 0.62 + 0.2 * shown)
    ax.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for (x0, y0), (x1, y1) in _borders(np.where(chosen, players, -1)):
        ax.plot([x0, x1], [y0, y1], color=colour, linewidth=2.2 if fade else 0.8, linestyle=line)
    ax.set_axis_off()


def _borders(regions: np.ndarray) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Line segments between pixels of different regions, merged into runs."""
    padded = np.pad(regions, 1, constant_values=-1)
    segments = []
    for transposed, grid in ((False, padded), (True, padded.T)):
        edges = grid[1:, 1:-1] != grid[:-1, 1:-1]  # edge above row r of the image
        for r, row in enumerate(edges):
            ends = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
            for start, stop in ends.reshape(-1, 2):
                run = ((start - 0.5, r - 0.5), (stop - 0.5, r - 0.5))
                segments.append(tuple(p[::-1] for p in run) if transposed else run)
    return segments  # type: ignore[return-value]


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("jaxinter.plot needs matplotlib: pip install 'jaxinter[plot]'") from error
    return pyplot
