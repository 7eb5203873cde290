# SPDX-License-Identifier: Apache-2.0
"""`effects_on_patches`: an image, its strongest interactions framed on it."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from jaxinter import _arrays, _checks
from jaxinter.interactions import Interactions
from jaxinter.plot import _style

__all__ = ["effects_on_patches"]


def effects_on_patches(
    image: Any,
    players: Any,
    interactions: Interactions,
    axes: Any = None,
    *,
    k: int = 5,
    channels: str = "last",
) -> Any:
    """An image, then its k strongest interactions drawn on the patches they join.

    The first panel shows the patches, with the players' names where `interactions` has them. In
    each other panel the patches of one interaction show the image in full contrast inside a frame;
    the rest is faded and grey. A solid frame is an AND (its patches must all be there), a dashed
    one an OR (any of them will do); orange raises the output, blue lowers it.

    Args:
      image: ``[height, width]`` or ``[height, width, channels]`` with 1 or 3 channels. uint8 and
        floats from 0 to 1 are shown as they are, others (normalised images) from least to greatest.
      players: int of image's shape, or of its height and width: patches or any other regions, as
        given to `masked_inputs`; -1 for background. A map of channels first goes with an image of
        channels last too.
      interactions: of this one image.
      axes: k + 1 matplotlib axes, which set k; a new figure with a legend otherwise.
      k: interactions to draw.
      channels: "first" for ``[channels, height, width]``.

    Returns:
      The axes.

    Raises:
      ValueError, TypeError: a shape, the players or the samples do not fit; the message says how.
    """
    call = "plot.effects_on_patches"
    shown, regions = _image_and_regions(call, image, players, channels)
    _style.check_players(call, regions, interactions.n_players)
    k = _checks.count(call, "k", k) if axes is None else np.size(axes) - 1
    effects = _style.strongest(call, interactions, k)
    if axes is None:
        rows = -(-(k + 1) // 6)
        columns = -(-(k + 1) // rows)
        height = 2 * shown.shape[0] / shown.shape[1] + 0.25
        size = (2 * columns, rows * height + 0.35)
        figure = _style.pyplot().figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(rows, columns)
        axes = np.array([figure.add_subplot(grid[i]) for i in range(k + 1)])
        _style.legend(figure, loc="outside lower center", ncols=4)
    first, *others = np.ravel(axes)
    for ax in (first, *others):
        ax.set_axis_off()
    grey = shown.mean(axis=-1, keepdims=True)
    first.imshow(shown)
    first.set_title(f"the {interactions.n_players} patches", fontsize=9)
    _style.stroke(first, _borders(regions), "0.8", "-", 0.7, halo="black")
    if interactions.player_names is not None:
        _write_names(first, regions, interactions.player_names)
    for ax, effect in zip(others, effects):
        chosen = np.isin(regions, effect.players)
        ax.imshow(np.where(chosen[..., None], shown, 0.62 + 0.2 * grey))
        frame = _borders(np.where(chosen, regions, -1))
        # The halo is light around the dark colour and dark around the light one: on any image, one
        # of the two stands out.
        halo = "black" if effect.effect > 0 else "white"
        _style.stroke(ax, frame, *_style.look(effect), 2.2, halo=halo)
        kind = "one patch" if effect.order == 1 else f"{effect.kind} of {effect.order}"
        ax.set_title(f"{kind}: {_style.number(effect)}", fontsize=9)
    return axes


def _image_and_regions(
    call: str, image: Any, players: Any, channels: str
) -> tuple[np.ndarray, np.ndarray]:
    """The image ``[height, width, 3]`` from 0 to 1, and the player of each pixel."""
    if channels not in ("first", "last"):
        raise ValueError(f"{call}: channels must be 'first' or 'last'; got {channels!r}")
    image = _arrays.to_numpy(call, "image", image)
    players = _arrays.to_numpy(call, "players", players)
    axis = 0 if channels == "first" else -1
    whole = np.expand_dims(image, axis) if image.ndim == 2 else image
    if whole.ndim != 3 or whole.shape[axis] not in (1, 3):
        other = "last" if channels == "first" else "first"
        raise ValueError(
            f"{call}: image must be [height, width] or have 1 or 3 channels, "
            f"{channels}; got shape {image.shape}. For channels {other}: channels={other!r}"
        )
    size = whole.shape[1:] if channels == "first" else whole.shape[:2]
    if players.shape == size:
        players = np.expand_dims(players, axis)
    elif channels == "last" and players.ndim == 3 and players.shape[1:] == size:
        players = np.moveaxis(players, 0, -1)  # of torch, beside the image as it is shown
    _checks.broadcasts(call, "players", players.shape, whole.shape, "image")
    players = np.moveaxis(np.broadcast_to(players, whole.shape), axis, -1)
    regions = np.maximum(players[..., 0], -1)
    if (np.maximum(players, -1) != regions[..., None]).any():
        raise ValueError(
            f"{call}: players must be the same in all channels of a pixel; got a map that differs "
            "between channels, which cannot be drawn"
        )
    whole = np.moveaxis(whole, axis, -1)
    shown = whole / 255 if whole.dtype == np.uint8 else whole.astype(np.float64)
    low, high = shown.min(), shown.max()
    if low < 0 or high > 1:
        shown = (shown - low) / (high - low or 1.0)
    return np.broadcast_to(shown, (*size, 3)), regions


def _borders(regions: np.ndarray) -> list[list[tuple[float, float]]]:
    """Lines between pixels of different regions, as long as they go: dashes run on round corners.

    Straight runs end at corners of the pixel grid where at most one across and one down end; those
    two are joined.
    """
    padded = np.pad(regions, 1, constant_values=-1)
    open_ended: dict[Any, list] = {}  # both ends of each line -> the line
    closed = []
    for grid, step in ((padded, 1), (padded.T, -1)):
        edges = grid[1:, 1:-1] != grid[:-1, 1:-1]  # edge above row r of the image
        change = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        for (row, start), stop in zip(np.argwhere(change > 0), np.nonzero(change < 0)[1]):
            a, b = ((x - 0.5, row - 0.5)[::step] for x in (start, stop))
            before, after = open_ended.pop(a, [a]), open_ended.pop(b, [b])
            if before is after:
                closed.append([*before, before[0]])
                continue
            line = before[:: 1 if before[-1] == a else -1] + after[:: 1 if after[0] == b else -1]
            open_ended[line[0]] = open_ended[line[-1]] = line
    return closed + list({id(line): line for line in open_ended.values()}.values())


def _write_names(ax: Any, regions: np.ndarray, names: Sequence[str]) -> None:
    """Each player's name in its region, where that is widest, as large as all names allow."""
    pixel = min(_style.points(ax) / regions.shape[::-1])
    placed, size = [], 8.0
    for player, (name, box) in enumerate(zip(names, ndimage.find_objects(regions + 1))):
        inside = np.pad(regions[box] == player, 1)
        depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
        ys, xs = np.nonzero(depth >= 0.7 * depth.max())
        nearest = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
        text = textwrap.fill(name, max(map(len, name.split()), default=1))
        room = 2 * depth.max() * pixel
        lines = 1.2 * (text.count("\n") + 1)
        size = min(size, room / max(_style.text_width(text, 1), 1), room / lines)
        placed.append((box[1].start + xs[nearest], box[0].start + ys[nearest], text))
    for x, y, text in placed:
        ax.text(
            x, y, text, ha="center", va="center", fontsize=max(size, 5), parse_math=False,
            linespacing=1.0, path_effects=_style.halo(),
        )  # fmt: skip
