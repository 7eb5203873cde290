# SPDX-License-Identifier: Apache-2.0
"""9a. Figures from results. matplotlib is imported where it is used; axes are returned.

One style: orange raises the output, blue lowers it; solid is an AND, dashed or hatched an OR; an
effect of one player is one thing, AND and OR merged.
"""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import ndimage

from jaxinter import _arrays, _checks
from jaxinter.interactions import Effect, Interactions
from jaxinter.stats import OrderStrength

__all__ = ["effects_on_columns", "effects_on_patches", "effects_on_words", "order_strength"]

# Colour-blind safe (Okabe-Ito) and of different lightness, so that grey prints keep the sign.
POSITIVE, NEGATIVE = "#E69F00", "#0072B2"
DASHED = (0, (2, 1.2))
SMALL = 8.5  # points: numbers, legends


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
        given to `masked_inputs`; -1 for background.
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
    _check_players(call, regions, interactions.n_players)
    k = _checks.count(call, "k", k) if axes is None else np.size(axes) - 1
    effects = _strongest(call, interactions, k)
    if axes is None:
        rows = -(-(k + 1) // 6)
        columns = -(-(k + 1) // rows)
        height = 2 * shown.shape[0] / shown.shape[1] + 0.25
        size = (2 * columns, rows * height + 0.35)
        figure = _pyplot().figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        _legend(figure, loc="outside lower center", ncols=4)
        for ax in axes[k + 1 :]:
            ax.set_axis_off()
        axes = axes[: k + 1]
    first, *others = np.ravel(axes)
    for ax in (first, *others):
        ax.set_axis_off()
    grey = shown.mean(axis=-1, keepdims=True)
    first.imshow(shown)
    first.set_title(f"the {interactions.n_players} patches", fontsize=9)
    _stroke(first, _borders(regions), "0.8", "-", 0.7, halo="black")
    if interactions.player_names is not None:
        _write_names(first, regions, interactions.player_names)
    for ax, effect in zip(others, effects):
        chosen = np.isin(regions, effect.players)
        ax.imshow(np.where(chosen[..., None], shown, 0.62 + 0.2 * grey))
        # The halo is light around the dark colour and dark around the light one: on any image, one
        # of the two stands out.
        halo = "black" if effect.effect > 0 else "white"
        _stroke(ax, _borders(np.where(chosen, regions, -1)), *_look(effect), 2.2, halo=halo)
        kind = "one patch" if effect.order == 1 else f"{effect.kind} of {effect.order}"
        ax.set_title(f"{kind}: {_number(effect)}", fontsize=9)
    return axes


def effects_on_words(
    words: Sequence[str],
    interactions: Interactions,
    ax: Any = None,
    *,
    players: Any = None,
    k: int = 8,
) -> Any:
    """A sentence with its k strongest interactions drawn on the words they join.

    A word's own effect shades it, with the number below. Two words are joined by an arc above
    them, more by a bracket below with a leg at each. A solid line is an AND (its words must all be
    there), a dashed one an OR (any of them will do); orange raises the output, blue lowers it;
    width and shade grow with the strength. What does not fit in one line of text goes on, with
    "…", in the next. Words that are no players are grey.

    Args:
      words: the words (or tokens) of the whole sentence, in order.
      interactions: of this one sentence.
      ax: matplotlib axes to draw on, to whose size the text is fitted; a new figure otherwise.
      players: int ``[len(words)]``, as given to `masked_inputs`: the player of each word, -1 for
        none. By default each word is a player.
      k: interactions to draw.

    Returns:
      The axes.

    Raises:
      ValueError, TypeError: words, players, interactions do not fit; the message says how.
    """
    call = "plot.effects_on_words"
    words = [str(word).replace("\n", "\\n") for word in words]
    n = interactions.n_players
    if players is None and len(words) != n:
        raise ValueError(
            f"{call}: words must be one for each of the {n} players where players is None; got "
            f"{len(words)}. Give players, -1 for words that are no player"
        )
    players = np.arange(n) if players is None else _arrays.to_numpy(call, "players", players)
    if players.shape != (len(words),):
        raise ValueError(
            f"{call}: players must be one int for each of the {len(words)} words; "
            f"got shape {players.shape}"
        )
    _check_players(call, players, n)
    effects = _strongest(call, interactions, k)
    pyplot = _pyplot()
    box = np.array([LINE, np.inf]) if ax is None else _points(ax)
    for scale in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4):
        units, links, size = _lay_out(words, players, effects, box[0] / scale)
        if (size * scale <= box).all():
            break
    scale = min(scale, *(box / size))
    if ax is None:
        box = size * scale
        ax = pyplot.figure(figsize=box / 72).add_axes((0, 0, 1, 1))
    # A unit of the axes is a point (times scale), so that lines and letters keep their places.
    spare = (box / scale - size) / 2
    ax.set(xlim=(-spare[0], size[0] + spare[0]), ylim=(-size[1] - spare[1], spare[1]))
    ax.set_axis_off()
    _draw_sentence(ax, units, links, scale)
    place = {"bbox_to_anchor": (size[0] / 2, -size[1]), "bbox_transform": ax.transData}
    _legend(ax, scale=scale, loc="lower center", borderaxespad=0.6, ncols=2, **place)
    return ax


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
    effects = _strongest(call, interactions, k)
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
        ax = _pyplot().subplots(figsize=size, layout="constrained")[1]
    bars = ax.barh(
        places,
        [effect.effect for effect in effects],
        height=1.4,
        color=[_look(effect)[0] for effect in effects],
        hatch=["///" if _look(effect)[1] == DASHED else "" for effect in effects],
        edgecolor="white",
        linewidth=0,
    )
    ax.bar_label(bars, [_number(effect) for effect in effects], padding=3, fontsize=SMALL)
    ax.set_yticks(places, labels, parse_math=False, fontsize=9)
    ax.set_ylim(heights.sum() + 0.2, -0.2)
    ax.margins(x=0.18)
    ax.locator_params(axis="x", nbins=6)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel("effect on the output")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    _legend(ax, bars=True, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.5, ncols=2)
    return ax


def _strongest(call: str, interactions: Interactions, k: int) -> list[Effect]:
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


def _check_players(call: str, players: np.ndarray, n: int) -> None:
    """Refuses players that are not those of the interactions: 0 to n - 1, and -1 for none."""
    if players.dtype.kind not in "iu":
        raise TypeError(f"{call}: players must be integers; got dtype {players.dtype}")
    found = np.unique(players[players >= 0]).tolist()
    if found != list(range(n)):
        raise ValueError(
            f"{call}: players must be those of the interactions, 0 to {n - 1}, and -1 for none; "
            f"got {found}"
        )


def _look(effect: Effect) -> tuple[str, Any]:
    """Colour and line style."""
    dashed = effect.kind == "OR" and effect.order > 1
    return POSITIVE if effect.effect > 0 else NEGATIVE, DASHED if dashed else "-"


def _number(effect: Effect) -> str:
    """Signed, two significant digits."""
    x = effect.effect
    return f"{x:+,.0f}" if abs(x) >= 99.5 else f"{x:+#.2g}".rstrip(".")


def _stroke(ax, lines, colour, style, width, *, halo: str) -> None:
    """Lines ``[points, 2]`` over an unbroken wider line, on which dashes stay visible."""
    from matplotlib.collections import LineCollection

    for c, s, w in ((halo, "-", width + 1.4), (colour, style, width)):
        collection = LineCollection(lines, colors=c, linestyles=[s], linewidths=w)
        ends = "projecting" if s == "-" else "butt"  # closes corners; would close dashes' gaps
        collection.set(clip_on=False, snap=False, capstyle=ends)
        ax.add_collection(collection, autolim=False)


def _legend(owner: Any, *, bars: bool = False, scale: float = 1.0, **place: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=POSITIVE, label="raises the output"),
        Patch(color=NEGATIVE, label="lowers it"),
    ]
    for label, style, hatch in (
        ("AND: counts when all are there", "-", ""),
        ("OR: counts as soon as one is", DASHED, "///"),
    ):
        handle: Any
        if bars:
            handle = Patch(facecolor="white", edgecolor="black", linewidth=0.8, hatch=hatch)
        else:
            handle = Line2D([], [], color="black", linewidth=1.6, linestyle=style)
        handle.set_label(label)
        handles.append(handle)
    owner.legend(handles=handles, frameon=False, fontsize=SMALL * scale, handleheight=1, **place)


# --- images


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
    pixel = min(_points(ax) / regions.shape[::-1])
    placed, size = [], 8.0
    for player, (name, box) in enumerate(zip(names, ndimage.find_objects(regions + 1))):
        inside = np.pad(regions[box] == player, 1)
        depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
        ys, xs = np.nonzero(depth >= 0.7 * depth.max())
        nearest = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
        text = textwrap.fill(name, max(map(len, name.split()), default=1))
        room = 2 * depth.max() * pixel
        size = min(size, room / max(_text_width(text, 1), 1), room / (1.2 * (text.count("\n") + 1)))
        placed.append((box[1].start + xs[nearest], box[0].start + ys[nearest], text))
    for x, y, text in placed:
        ax.text(
            x, y, text, ha="center", va="center", fontsize=max(size, 5), parse_math=False,
            linespacing=1.0, path_effects=_halo(),
        )  # fmt: skip


# --- sentences

LINE, NARROWEST, LEGEND = 540.0, 300.0, 34.0  # points: widths: our own figure, legend; height
FONT, GAP, PAD = 12.0, 8.0, 12.0  # points: of the words, between words, around everything
ASCENT, DESCENT, BELOW = 11.0, 5.0, 10.0  # of a word's box about its baseline; number below it
RISE, STEP = 9.0, 18.0  # from a word to the first line above or below it, and on to the next


@dataclass(eq=False)
class _Unit:
    """Consecutive words of one player, or one word of none; `x` is the middle, `y` the baseline."""

    text: str
    player: int
    width: float
    effect: Effect | None = None
    label: str = ""
    x: float = 0.0
    y: float = 0.0
    row: int = 0

    def edge(self, side: int) -> float:
        """Where legs end: top (side 1) or bottom (-1) of its box."""
        return self.y + ASCENT if side > 0 else self.y - DESCENT - BELOW * bool(self.label)


@dataclass(eq=False)
class _Link:
    """One interaction in one row of text: a flat line above or below, legs to its words."""

    effect: Effect
    label: str
    units: list[_Unit]
    side: int
    ends: list[float]  # of the flat line
    open: tuple[bool, bool]  # whether it goes on in another row, before and after
    half: float  # of the label's width
    label_x: float
    level: int = 0
    flat: float = 0.0
    legs: list[float] = field(default_factory=list)

    def turn(self, unit: _Unit) -> int:
        """1 where its line starts at the unit, -1 where it ends, 0 where it goes through."""
        starts = unit is self.units[0] and not self.open[0]
        return 1 if starts else -(unit is self.units[-1] and not self.open[1])


def _lay_out(
    words: Sequence[str], players: np.ndarray, effects: list[Effect], limit: float
) -> tuple[list[_Unit], list[_Link], np.ndarray]:
    """Everything in its place, in points from the top left corner, and the size."""
    singles = {effect.players[0]: effect for effect in effects if effect.order == 1}
    units: list[_Unit] = []
    # The words of a player stay together; of the others, each stands for itself.
    runs = itertools.groupby(
        zip(words, players.tolist(), itertools.count()), lambda w: (w[1], w[2] * (w[1] < 0))
    )
    for (player, _), run in runs:
        text = " ".join(word for word, *_ in run)
        units.append(_Unit(text, player, _text_width(text, FONT), singles.get(player)))
    for effect in singles.values():
        mine = [unit for unit in units if unit.effect is effect]
        for unit, label, _ in _labelled(effect, mine):
            unit.label = label
    for unit in units:
        legs = sum(unit.player in effect.players for effect in effects)
        unit.width = max(unit.width, _text_width(unit.label, SMALL), 4.0 * legs)
    width = _wrap(units, limit)

    links = []
    for effect in effects:
        members = [unit for unit in units if unit.player in effect.players]
        parts = [list(part) for _, part in itertools.groupby(members, lambda unit: unit.row)]
        side = 1 if len(members) == 2 and len(parts) == 1 else -1
        for part, label, open_ in _labelled(effect, parts if effect.order > 1 else []):
            ends = [0.0 if open_[0] else part[0].x, width if open_[1] else part[-1].x]
            half = _text_width(label, SMALL) / 2 + 2
            middle = min(max(sum(ends) / 2, half), width - half)
            links.append(_Link(effect, label, part, side, ends, open_, half, middle))
    y = -PAD / 2
    for row, group in itertools.groupby(units, lambda unit: unit.row):
        here = list(group)
        of_row = [link for link in links if link.units[0].row == row]
        above, below = ([link for link in of_row if link.side == side] for side in (1, -1))
        height, depth = _stack(above), _stack(below)
        y -= height + ASCENT
        for unit in here:
            unit.y = y
        lowest = min(unit.edge(-1) for unit in here)
        for link in of_row:
            start = y + ASCENT if link.side > 0 else lowest
            link.flat = start + link.side * (RISE + STEP * link.level)
        _attach(here, above)
        _attach(here, below)
        y = lowest - depth - 1.5 * PAD
    return units, links, np.array([width, LEGEND - y])


def _wrap(units: list[_Unit], limit: float) -> float:
    """Rows of at most `limit`, as few as it takes, then as even as they get; the width."""

    def rows(limit: float) -> int:
        x, row = PAD, 0
        for unit in units:
            if x > PAD and x + unit.width > limit - PAD:
                x, row = PAD, row + 1
            unit.x, unit.row = x + unit.width / 2, row
            x += unit.width + GAP
        return row

    fewest = rows(limit)
    even = sum(unit.width + GAP for unit in units) / (fewest + 1)
    for width in (*np.linspace(min(even, limit), limit, 40), limit):
        if rows(width) == fewest:
            break
    natural = max([unit.x + unit.width / 2 + PAD for unit in units], default=0.0)
    width = max(natural, NARROWEST)
    for unit in units:
        unit.x += (width - natural) / 2
    return width


def _labelled(effect: Effect, parts: list) -> Iterable[tuple[Any, str, tuple[bool, bool]]]:
    """The parts of one effect, each with its number and, "…", whether one comes before, after."""
    for i, part in enumerate(parts):
        before, after = i > 0, i + 1 < len(parts)
        yield part, "… " * before + _number(effect) + " …" * after, (before, after)


def _stack(links: list[_Link]) -> float:
    """Levels such that longer lines are further out and nothing overlaps; the height of it all."""
    placed: list[tuple[float, float, int]] = []
    for link in sorted(links, key=lambda link: link.ends[1] - link.ends[0]):
        left = min(link.ends[0], link.label_x - link.half)
        right = max(link.ends[1], link.label_x + link.half)
        link.level = 1 + max((k for a, b, k in placed if a < right and left < b), default=-1)
        placed.append((left, right, link.level))
    return RISE + STEP * max(k for *_, k in placed) + 12 if placed else 0.0


def _attach(units: list[_Unit], links: list[_Link]) -> None:
    """Legs side by side on each word, ordered so that lines from one word do not cross; numbers
    where no leg of a line further out passes through them."""
    for unit in units:
        mine = [link for link in links if unit in link.units]
        mine.sort(key=lambda link: (link.turn(unit), -link.turn(unit) * link.level))
        for j, link in enumerate(mine):
            x = unit.x + (j - (len(mine) - 1) / 2) * min(8, unit.width / len(mine))
            link.legs.append(x)
            turn = link.turn(unit)
            if turn:
                link.ends[0 if turn > 0 else 1] = x
    for link in links:
        spots = np.linspace(link.ends[0] + link.half, link.ends[1] - link.half, 41)
        legs = [x for other in links if other.level > link.level for x in other.legs]
        hidden = (np.abs(np.subtract.outer(spots, legs)) < link.half).sum(axis=-1)
        if spots[0] < spots[-1]:
            link.label_x = spots[np.lexsort((np.abs(spots - link.label_x), hidden))[0]]


def _draw_sentence(ax: Any, units: list[_Unit], links: list[_Link], scale: float) -> None:
    from matplotlib.patches import Rectangle

    everything = [unit.effect for unit in units if unit.effect] + [link.effect for link in links]
    largest = max((abs(effect.effect) for effect in everything), default=1.0)
    style = {"ha": "center", "parse_math": False}
    for unit in units:
        colour = "black" if unit.player >= 0 else "0.55"
        ax.text(unit.x, unit.y, unit.text, color=colour, fontsize=FONT * scale, **style)
        half = unit.width / 2
        if unit.player >= 0 and " " in unit.text:  # several words, one player
            ends = [unit.x - half, unit.x + half]
            ax.plot(ends, [unit.y - 3.5] * 2, color="0.4", linewidth=0.7 * scale)
        if unit.effect:
            top, bottom = unit.edge(1), unit.edge(-1)
            box = Rectangle((unit.x - half - 3, bottom), 2 * half + 6, top - bottom, linewidth=0)
            strength = abs(unit.effect.effect) / largest
            box.set(facecolor=_look(unit.effect)[0], alpha=0.2 + 0.5 * strength)
            ax.add_patch(box)
            ax.text(unit.x, bottom + 3, unit.label, fontsize=SMALL * scale, **style)
    for link in links:
        width = (1 + 2.2 * abs(link.effect.effect) / largest) * scale
        _stroke(ax, _legs(link), *_look(link.effect), width, halo="white")
        y, va = link.flat + 3.5 * link.side, "bottom" if link.side > 0 else "top"
        number = ax.text(link.label_x, y, link.label, va=va, fontsize=SMALL * scale, **style)
        number.set_path_effects(_halo())


def _legs(link: _Link) -> list[np.ndarray]:
    """The lines of a link: the flat one, its corners round, and the legs between its ends."""
    (left, right), flat = link.ends, link.flat
    feet = [unit.edge(link.side) + 1.5 * link.side for unit in link.units]
    radius = max(min(6.0, (right - left) / 2), 0.0)
    bend = np.linspace(0, np.pi / 2, 7)[:, None]
    corner = radius * np.hstack([1 - np.cos(bend), link.side * (np.sin(bend) - 1)])
    start, stop = np.array([[left, flat]]), np.array([[right, flat]])
    if not link.open[0]:
        start = np.vstack([[left, feet[0]], start + corner])
    if not link.open[1]:
        stop = np.vstack([stop + corner[::-1] * [-1, 1], [right, feet[-1]]])
    between = [(x, y) for x, y in zip(link.legs, feet) if left < x < right]
    return [np.vstack([start, stop]), *(np.array([[x, y], [x, flat]]) for x, y in between)]


def _points(ax: Any) -> np.ndarray:
    """Width and height."""
    extent = ax.get_window_extent()
    return np.array([extent.width, extent.height]) * 72 / ax.figure.dpi


def _halo() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="white")]


def _text_width(text: str, size: float) -> float:
    """In points, of the widest line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    measure = text_to_path.get_text_width_height_descent
    return max(measure(line, font, False)[0] for line in text.split("\n"))


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("jaxinter.plot needs matplotlib: pip install 'jaxinter[plot]'") from error
    return pyplot
