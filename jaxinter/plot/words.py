# SPDX-License-Identifier: Apache-2.0
"""`effects_on_words`: a sentence, its strongest interactions as arcs and brackets."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.interactions import Effect, Interactions
from jaxinter.players import BACKGROUND, word_spans
from jaxinter.plot import _style

__all__ = ["effects_on_words"]

LINE, NARROWEST, LEGEND = 540.0, 300.0, 34.0  # points: widths: our own figure, legend; height
FONT, GAP, PAD = 12.0, 8.0, 12.0  # points: of the words, between words, around everything
ASCENT, DESCENT, BELOW = 11.0, 5.0, 10.0  # of a word's box about its baseline; number below it
RISE, STEP = 9.0, 18.0  # from a word to the first line above or below it, and on to the next


def effects_on_words(
    words: str | Sequence[str],
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
      words: the words (or tokens) of the whole sentence, in order; or the sentence itself.
      interactions: of this one sentence.
      ax: matplotlib axes to draw on, to whose size the text is fitted; a new figure otherwise.
      players: int ``[len(words)]``, as given to `masked_inputs`: the player of each word, -1 for
        none. By default each word is a player. Of a sentence: ``(start, end)`` of each player in
        it, as `word_spans` gives them.
      k: interactions to draw.

    Returns:
      The axes.

    Raises:
      ValueError, TypeError: words, players, interactions do not fit; the message says how.
    """
    call = "plot.effects_on_words"
    if isinstance(words, str):
        words, players = _words_and_players(words, players)
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
    _style.check_players(call, players, n)
    effects = _style.strongest(call, interactions, k)
    pyplot = _style.pyplot()
    box = np.array([LINE, np.inf]) if ax is None else _style.points(ax)
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
    _style.legend(ax, scale=scale, loc="lower center", borderaxespad=0.6, ncols=2, **place)
    return ax


def _words_and_players(text: str, spans: Any) -> tuple[list[str], list[int]]:
    """The words of a text, and of each the number of the span that it shares a character with."""
    words = word_spans(text)
    spans = words if spans is None else list(spans)
    players = [
        next((k for k, (a, b) in enumerate(spans) if a < end and b > start), BACKGROUND)
        for start, end in words
    ]
    return [text[a:b] for a, b in words], players


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
    units = []
    # The words of a player stay together; of the others, each stands for itself.
    runs = itertools.groupby(
        zip(words, players.tolist(), itertools.count()), lambda w: (w[1], w[2] * (w[1] < 0))
    )
    for (player, _), run in runs:
        text = " ".join(word for word, *_ in run)
        legs = sum(player in effect.players for effect in effects)
        units.append(_Unit(text, player, max(_style.text_width(text, FONT), 4.0 * legs)))
    members = [[unit for unit in units if unit.player in effect.players] for effect in effects]
    for effect, mine in zip(effects, members):
        for unit, label, _ in _labelled(effect, mine if effect.order == 1 else []):
            unit.effect, unit.label = effect, label
            unit.width = max(unit.width, _style.text_width(label, _style.SMALL))
    width = _wrap(units, limit)

    links = []
    for effect, mine in zip(effects, members):
        parts = [list(part) for _, part in itertools.groupby(mine, lambda unit: unit.row)]
        side = 1 if len(mine) == 2 and len(parts) == 1 else -1
        for part, label, open_ in _labelled(effect, parts if effect.order > 1 else []):
            ends = [0.0 if open_[0] else part[0].x, width if open_[1] else part[-1].x]
            half = _style.text_width(label, _style.SMALL) / 2 + 2
            middle = min(max(sum(ends) / 2, half), width - half)
            links.append(_Link(effect, label, part, side, ends, open_, half, middle))
    y = -PAD / 2
    for row, group in itertools.groupby(units, lambda unit: unit.row):
        here = list(group)
        of_row = [link for link in links if link.units[0].row == row]
        above, below = ([link for link in of_row if link.side == side] for side in (1, -1))
        y -= _stack(above) + ASCENT
        for unit in here:
            unit.y = y
        lowest = min(unit.edge(-1) for unit in here)
        depth = _stack(below)
        _attach(here, above, y + ASCENT)
        _attach(here, below, lowest)
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
        yield part, "… " * before + _style.number(effect) + " …" * after, (before, after)


def _stack(links: list[_Link]) -> float:
    """Levels such that longer lines are further out and nothing overlaps; the height of it all."""
    placed: list[tuple[float, float, int]] = []
    for link in sorted(links, key=lambda link: link.ends[1] - link.ends[0]):
        left = min(link.ends[0], link.label_x - link.half)
        right = max(link.ends[1], link.label_x + link.half)
        link.level = 1 + max((k for a, b, k in placed if a < right and left < b), default=-1)
        placed.append((left, right, link.level))
    return RISE + STEP * max(k for *_, k in placed) + 12 if placed else 0.0


def _attach(units: list[_Unit], links: list[_Link], start: float) -> None:
    """Lines of one side, from the height `start`. Legs side by side on each word, ordered so that
    lines from one word do not cross; numbers where no leg of a line further out hides them."""
    for unit in units:
        mine = [link for link in links if unit in link.units]
        mine.sort(key=lambda link: (link.turn(unit), -link.turn(unit) * link.level))
        for j, link in enumerate(mine):
            x = unit.x + (j - (len(mine) - 1) / 2) * min(8, unit.width / len(mine))
            link.legs.append(x)
            if turn := link.turn(unit):
                link.ends[0 if turn > 0 else 1] = x
    for link in links:
        link.flat = start + link.side * (RISE + STEP * link.level)
        spots = np.linspace(link.ends[0] + link.half, link.ends[1] - link.half, 41)
        legs = [x for other in links if other.level > link.level for x in other.legs]
        hidden = (np.abs(np.subtract.outer(spots, legs)) < link.half).sum(axis=-1)
        if spots[0] < spots[-1]:
            link.label_x = spots[np.lexsort((np.abs(spots - link.label_x), hidden))[0]]


def _draw_sentence(ax: Any, units: list[_Unit], links: list[_Link], scale: float) -> None:
    everything = [unit.effect for unit in units if unit.effect] + [link.effect for link in links]
    largest = max((abs(effect.effect) for effect in everything), default=1.0)
    style = {"ha": "center", "parse_math": False}
    for unit in units:
        colour = "black" if unit.player >= 0 else "0.55"
        ax.text(unit.x, unit.y, unit.text, color=colour, fontsize=FONT * scale, **style)
        if unit.player >= 0 and " " in unit.text:  # several words, one player
            ends = [unit.x - unit.width / 2, unit.x + unit.width / 2]
            ax.plot(ends, [unit.y - 3.5] * 2, color="0.4", linewidth=0.7 * scale)
        if unit.effect:
            top, bottom = unit.edge(1), unit.edge(-1)
            shade = 0.2 + 0.5 * abs(unit.effect.effect) / largest
            box = {"color": _style.look(unit.effect)[0], "alpha": shade, "linewidth": 0}
            ax.bar(unit.x, top - bottom, unit.width + 6, bottom, **box)
            ax.text(unit.x, bottom + 3, unit.label, fontsize=_style.SMALL * scale, **style)
    for link in links:
        width = (1 + 2.2 * abs(link.effect.effect) / largest) * scale
        _style.stroke(ax, _legs(link), *_style.look(link.effect), width, halo="white")
        y, va = link.flat + 3.5 * link.side, "bottom" if link.side > 0 else "top"
        number = ax.text(link.label_x, y, link.label, va=va, fontsize=_style.SMALL * scale, **style)
        number.set_path_effects(_style.halo())


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
