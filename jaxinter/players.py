# SPDX-License-Identifier: Apache-2.0
"""3a. Players: which part of an input each one is. Grids, superpixels, columns, words.

A map of players is an int array of the input's shape: the player of each element, -1 for none
(background, which stays as it is unless told otherwise).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks

__all__ = [
    "brightest_patches",
    "columns",
    "integrated_gradients",
    "label_map",
    "patches",
    "random_patches",
    "token_players",
    "word_spans",
]

AT_ONCE = 10  # points of a path whose gradients are taken together
BACKGROUND = -1  # the player of elements that belong to none
WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
# Words of English grammar: they are not drawn where words are chosen at random.
STOP_WORDS = frozenset(
    """a about above after again all am an and any are as at be because been before being below
    between both but by can could did do does doing down during each few for from further had has
    have having he her here hers herself him himself his how i if in into is it its itself just me
    might more most must my myself no nor not now of off on once only or other our ours ourselves
    out over own s same shall she should so some such t than that the their theirs them themselves
    then there these they this those through to too under until up very was we were what when where
    which while who whom why will with would you your yours yourself yourselves""".split()
)


def patches(shape: tuple[int, ...], grid: tuple[int, int], *, channels: str = "last") -> np.ndarray:
    """Players of an image or a feature map: the cells of a grid, row by row from the top left.

    Args:
      shape: ``(height, width)``, or with channels ``(height, width, channels)``, or
        ``(channels, height, width)`` where `channels` is "first" (torch).
      grid: ``(rows, columns)``; where it does not divide, cells differ by a pixel at most.

    Returns:
      int of `shape`: 0 to rows * columns - 1.

    >>> patches((2, 4), (1, 2))
    array([[0, 0, 1, 1],
           [0, 0, 1, 1]])
    """
    height, width = _plane("patches", shape, channels)
    cells = [_checks.count("patches", "grid", g, least=1) for g in np.ravel(grid).tolist()]
    if len(cells) != 2 or cells[0] > height or cells[1] > width:
        raise ValueError(
            f"patches: grid must be (rows, columns), at most one cell a pixel of "
            f"{(height, width)}; got {grid}"
        )
    row, column = (np.arange(size) * g // size for size, g in zip((height, width), cells))
    return _over_channels(row[:, None] * cells[1] + column, shape, channels)


def brightest_patches(
    image: Any, grid: tuple[int, int], k: int, *, channels: str = "last"
) -> np.ndarray:
    """Players of an image: the k cells of a grid of largest L1 norm; the rest is background.

    Players are numbered in reading order. Ties go to the earlier cell. Of an attribution, as
    `integrated_gradients` gives it, these are the k most significant cells.

    Returns:
      int of the image's shape: 0 to k - 1, and -1 for background.

    >>> brightest_patches(np.array([[0.0, 1.0, 5.0, 0.0]]), (1, 4), 2)
    array([[-1,  0,  1, -1]])

    Source: paper 002, appendix J.3 (the k patches of highest L1 norm); paper 003, appendix H.3
    (the k patches of largest integrated gradients).
    """
    image = _arrays.to_numpy("brightest_patches", "image", image)
    cells = patches(image.shape, grid, channels=channels)
    norms = np.bincount(cells.ravel(), np.abs(image.ravel().astype(np.float64)))
    if _checks.count("brightest_patches", "k", k, least=1) > len(norms):
        raise ValueError(f"brightest_patches: k must be at most {len(norms)} cells; got {k}")
    return _keep(cells, np.argsort(-norms, kind="stable")[:k])


def random_patches(
    shape: tuple[int, ...],
    grid: tuple[int, int],
    k: int,
    *,
    centre: tuple[int, int] | None = None,
    seed: int = 0,
    channels: str = "last",
) -> np.ndarray:
    """Players of an image: k cells of a grid drawn at random from its centre; the rest background.

    Args:
      shape, channels: as of `patches`.
      grid: ``(rows, columns)``.
      k: number of players.
      centre: rows and columns of the central part to draw from; default: all but the outer ring.
      seed: the same seed draws the same cells.

    Returns:
      int of `shape`: 0 to k - 1 in reading order, and -1 for background.

    >>> random_patches((4, 4), (4, 4), 4)[1:3, 1:3]
    array([[0, 1],
           [2, 3]])

    Source: paper 001, appendix I.2 (10 random patches of the central 6 x 6 of 8 x 8).
    """
    cells = patches(shape, grid, channels=channels)
    inner = [max(1, g - 2) for g in grid] if centre is None else np.ravel(centre).tolist()
    inner = [_checks.count("random_patches", "centre", c, least=1) for c in inner]
    if len(inner) != 2 or any(c > g for c, g in zip(inner, grid)):
        raise ValueError(f"random_patches: centre must be within the grid {grid}; got {centre}")
    rows, cols = (np.arange((g - c) // 2, (g - c) // 2 + c) for g, c in zip(grid, inner))
    central = (rows[:, None] * grid[1] + cols).ravel()
    if _checks.count("random_patches", "k", k, least=1) > len(central):
        raise ValueError(
            f"random_patches: k must be at most {len(central)}, the cells of the centre; got {k}"
        )
    return _keep(cells, np.random.default_rng(seed).choice(central, k, replace=False))


def label_map(
    labels: Any,
    shape: tuple[int, ...] | None = None,
    *,
    background: int | Sequence[int] = (),
    channels: str = "last",
) -> np.ndarray:
    """Players of an image: its segments (superpixels), in the order of their labels.

    Args:
      labels: int ``[height, width]``, any labels, as `skimage.segmentation.slic` gives them.
      shape: of the image where it has channels: the map is repeated over them.
      background: labels that are no players.

    Returns:
      int of `shape`, or of labels: 0 to segments - 1, and -1 for background.

    >>> label_map([[7, 7, 3], [9, 9, 3]], background=9)
    array([[ 1,  1,  0],
           [-1, -1,  0]])
    """
    labels = _arrays.to_numpy("label_map", "labels", labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"label_map: labels must be int [height, width]; got {labels.dtype} {labels.shape}"
        )
    known, player_of = np.unique(labels, return_inverse=True)
    player_of = player_of.reshape(labels.shape)
    shape = labels.shape if shape is None else tuple(shape)
    if _plane("label_map", shape, channels) != labels.shape:
        raise ValueError(f"label_map: shape {shape} must be an image of labels {labels.shape}")
    kept = np.flatnonzero(~np.isin(known, background))
    return _keep(_over_channels(player_of, shape, channels), kept)


def columns(n: int, groups: Any = None) -> np.ndarray:
    """Players of a table row: each of n columns, or given groups of columns.

    Args:
      n: number of columns.
      groups: sequences of column numbers, one a player; columns in none are background. Or a
        mapping of names to such sequences (`value_function` keeps the names).

    >>> columns(4, groups=[[0], [2, 3]])
    array([ 0, -1,  1,  1])
    """
    n = _checks.count("columns", "n", n)
    if groups is None:
        return np.arange(n)
    player_of = np.full(n, BACKGROUND)
    for player, group in enumerate(groups.values() if isinstance(groups, Mapping) else groups):
        members = np.asarray(group)
        members = members if members.size else members.astype(np.int64)  # an empty list is float
        whole = np.issubdtype(members.dtype, np.integer)
        if not whole or (members.size and (members.min() < 0 or members.max() >= n)):
            raise ValueError(f"columns: groups must hold columns 0 to {n - 1}; got {group}")
        if (player_of[members] != BACKGROUND).any():
            raise ValueError(f"columns: a column must be in one group only; got {groups}")
        player_of[members] = player
    return player_of


def word_spans(
    text: str, choose: int | Sequence[int | str] | None = None, *, seed: int = 0
) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, ``[(start, end), ...]``; punctuation is no word.

    Args:
      text: any string.
      choose: which words: all; k of them, drawn at random from those that are not words of
        English grammar ("the", "of", ...); or given, by number or as they stand in the text.
      seed: the same seed draws the same words.

    Raises:
      ValueError: too few words to choose from, or one that is not in the text.

    >>> word_spans("not a bad film!")
    [(0, 3), (4, 5), (6, 9), (10, 14)]
    >>> word_spans("not a bad film!", ["bad", 0])
    [(0, 3), (6, 9)]

    Source: paper 001, appendix I.2 (10 random words that are no stop words).
    """
    if not isinstance(text, str):
        raise TypeError(f"word_spans: text must be a string; got {type(text).__name__}")
    spans = [found.span() for found in WORD.finditer(text)]
    if choose is None:
        return spans
    words = [text[a:b] for a, b in spans]
    if isinstance(choose, (int, np.integer)):
        k = _checks.count("word_spans", "choose", choose, least=1)
        content = [i for i, word in enumerate(words) if word.lower() not in STOP_WORDS]
        if k > len(content):
            raise ValueError(
                f"word_spans: choose must be at most {len(content)}, the words of the text that "
                f"are not of grammar; got {k}"
            )
        drawn = np.random.default_rng(seed).choice(content, k, replace=False)
        return [spans[i] for i in sorted(drawn.tolist())]
    numbers = set()
    for which in [choose] if isinstance(choose, str) else choose:
        hits = [i for i, word in enumerate(words) if which in (i, word)]
        if not hits:
            raise ValueError(f"word_spans: choose must name words of the text; got {which!r}")
        numbers.update(hits)
    return [spans[i] for i in sorted(numbers)]


def token_players(offsets: Any, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Players of a tokenized text: the tokens that share a character with each span.

    Args:
      offsets: int ``[tokens, 2]``, where each token begins and ends in the text, as tokenizers
        give them; tokens of no characters ([CLS], [SEP], ...) are background.
      spans: ``(start, end)`` of each player in the text, see `word_spans`; any spans that do not
        share a token will do.

    Returns:
      int ``[tokens]``: 0 to spans - 1, and -1 for background.

    >>> token_players([(0, 0), (0, 3), (4, 6), (6, 9), (0, 0)], [(0, 3), (4, 9)])
    array([-1,  0,  1,  1, -1])
    """
    offsets = np.asarray(offsets, np.int64)
    if offsets.ndim != 2 or offsets.shape[1] != 2:
        raise ValueError(f"token_players: offsets must be [tokens, 2]; got shape {offsets.shape}")
    player_of = np.full(len(offsets), BACKGROUND)
    for player, (start, end) in enumerate(spans):
        members = np.maximum(offsets[:, 0], start) < np.minimum(offsets[:, 1], end)
        if not members.any():
            raise ValueError(
                f"token_players: no token lies in span {(start, end)}. Was the text cut short?"
            )
        if (player_of[members] != BACKGROUND).any():
            raise ValueError(
                f"token_players: spans must not share a token; span {(start, end)} shares one "
                f"with {spans[player_of[members].max()]}"
            )
        player_of[members] = player
    return player_of


def integrated_gradients(
    value: Callable[[Any], Any], x: Any, baseline: Any = 0.0, *, steps: int = 50
) -> Any:
    """Attribution of a network's output to the elements of its input.

        IG = (x - b) * mean_k grad v(b + (k - 1/2) / steps * (x - b)),   k = 1 ... steps

    Args:
      value: of inputs ``[m, *x.shape]`` gives ``[m]``, row by row; in JAX or torch.
      x: one input, JAX or torch (numpy is taken as JAX).
      baseline: broadcasts to x.
      steps: points on the path, midpoints.

    Returns:
      of x's shape and kind; sums to about v(x) - v(b).

    >>> ig = integrated_gradients(lambda z: (z**2).sum(axis=1), np.array([1.0, 2.0], np.float32))
    >>> ig.round(3).tolist()
    [1.0, 4.0]

    Source: Sundararajan, Taly, Yan (ICML 2017), Eq. 3; paper 003, appendix H.3 (choice of players).
    """
    steps = _checks.count("integrated_gradients", "steps", steps, least=1)
    if not _arrays.is_torch(x):
        x = _arrays.as_jax("integrated_gradients", "x", x)
    baseline = _arrays.as_input("integrated_gradients", "baseline", baseline, x)
    if _arrays.is_jax(x):
        baseline = jnp.broadcast_to(baseline, x.shape)
    total = 0.0
    for start in range(0, steps, AT_ONCE):  # rows are independent: their sum's gradient is each's
        some = range(start, min(start + AT_ONCE, steps))
        points = _arrays.stack([baseline + (k + 0.5) / steps * (x - baseline) for k in some], 0)
        total = total + _arrays.gradient(lambda z: value(z).sum(), points).sum(0)
    return (x - baseline) * total / steps


class Choice(NamedTuple):
    """A choice of players by name, read: ``patches:8x8:brightest=10`` and the like."""

    of: str  # patches, columns, words or tokens
    grid: tuple[int, int] | None
    rule: str | None  # brightest, gradients or random
    k: int


def read_choice(call: str, text: str) -> Choice:
    """What a named choice says; the grammar is in the docstring of `value_function`."""
    found = re.fullmatch(
        r"patches:(\d+)x(\d+)(?::(brightest|gradients|random)=(\d+))?"
        r"|(columns|tokens|words)|words:(random)=(\d+)",
        text,
    )
    if not found:
        raise ValueError(
            f'{call}: players must be an int array, or one of "columns", "words", '
            '"words:random=10", "tokens", "patches:4x4", "patches:4x4:brightest=12" (or gradients, '
            f"random), with your numbers; got {text!r}"
        )
    rows, cols, rule, k, plain, random, drawn = found.groups()
    if plain:
        return Choice(plain, None, None, 0)
    if random:
        return Choice("words", None, "random", int(drawn))
    return Choice("patches", (int(rows), int(cols)), rule, int(k or 0))


def n_players(call: str, players: np.ndarray) -> int:
    """The number of players in a map; a number that no element has is refused."""
    if not np.issubdtype(players.dtype, np.integer):
        raise TypeError(f"{call}: players must be integers; got dtype {players.dtype}")
    n = int(players.max(initial=BACKGROUND)) + 1
    missing = set(range(n)) - set(np.unique(players).tolist())
    if missing:
        raise ValueError(
            f"{call}: players must be numbered 0 to n - 1 without gaps (-1: background); "
            f"no element belongs to {sorted(missing)[:5]} of 0 to {n - 1}"
        )
    return n


def _keep(players: np.ndarray, chosen: Any) -> np.ndarray:
    """Of the players only the chosen, renumbered in their order; the rest is background."""
    number = np.full(int(players.max()) + 1, BACKGROUND)
    number[np.sort(chosen)] = np.arange(len(chosen))
    return np.where(players < 0, BACKGROUND, number[players])


def _plane(call: str, shape: tuple[int, ...], channels: str) -> tuple[int, int]:
    """Height and width of an image of this shape."""
    if channels not in ("first", "last"):
        raise ValueError(f'{call}: channels must be "first" or "last"; got {channels!r}')
    if len(shape) not in (2, 3):
        layout = "(height, width, channels)" if channels == "last" else "(channels, height, width)"
        raise ValueError(f"{call}: shape must be (height, width) or {layout}; got {tuple(shape)}")
    plane = shape if len(shape) == 2 else shape[:2] if channels == "last" else shape[1:]
    return int(plane[0]), int(plane[1])


def _over_channels(plane: np.ndarray, shape: tuple[int, ...], channels: str) -> np.ndarray:
    if len(shape) == 3 and channels == "last":
        plane = plane[..., None]
    return np.broadcast_to(plane, tuple(shape)).copy()
