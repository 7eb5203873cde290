# SPDX-License-Identifier: Apache-2.0
"""3a. Masks and an input to masked inputs; maps from the elements of an input to players."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, _native, _primitives
from jaxinter.masks import MAX_PLAYERS

__all__ = ["brightest_patches", "columns", "masked_inputs", "patches"]

BACKGROUND = -1  # the player of elements that belong to none


def masked_inputs(masks: Any, x: Any, baseline: Any, players: Any) -> Any:
    """Copies of x with the players outside each coalition replaced by the baseline.

        out[m][e] = x[e]         where players[e] < 0 or masks[m, players[e]]
                    baseline[e]  elsewhere

    Args:
      masks: bool ``[m, n]``, True where a player is present.
      x: any array ``[...]`` (one sample); floats, integers (tokens) and booleans keep their dtype.
      baseline: broadcasts to x; what replaces an absent player. x's dtype must hold it.
      players: int, broadcasts to x: which player each element belongs to, -1 for none (background,
        always kept). See `patches`, `columns`.

    Returns:
      ``[m, *x.shape]``, of the kind and dtype of x (JAX if any argument is). JAX values may be
      traced, players too.

    >>> masked_inputs([[True, False], [False, True]], np.array([5.0, 6.0, 7.0]), 0.0, [0, 1, -1])
    array([[5., 0., 7.],
           [0., 6., 7.]])

    Source: paper 001, section 2.1 (the masked sample x_S).
    """
    x = _arrays.as_array("masked_inputs", "x", x)
    masks = _arrays.as_array("masked_inputs", "masks", masks)
    shape, dtype = tuple(x.shape), _numpy_dtype(masks)
    if dtype.kind not in "biu":
        raise TypeError(f"masked_inputs: masks must be bool; got dtype {dtype}")
    if _numpy_dtype(x).hasobject or _numpy_dtype(x).itemsize not in (1, 2, 4, 8):
        raise TypeError(
            "masked_inputs: x must hold numbers or booleans of 1, 2, 4 or 8 bytes; "
            f"got dtype {x.dtype}"
        )
    n = masks.shape[-1] if masks.ndim == 2 else -1
    most = _highest_player(players)
    if n < 0 or most >= n:
        raise ValueError(
            "masked_inputs: masks must be [m, n] with a column for each player "
            f"(players go up to {most}); got {tuple(masks.shape)}"
        )
    if n > MAX_PLAYERS:
        raise ValueError(f"masked_inputs: masks must be of at most {MAX_PLAYERS} players; got {n}")
    for argument, array in (("players", players), ("baseline", baseline)):
        _check_broadcasts(argument, np.shape(array), shape)
    _check_baseline(baseline, _numpy_dtype(x))
    if n == 0:  # nobody to mask: one player that nothing belongs to
        masks = np.ones((len(masks), 1), bool)
    if any(_arrays.is_jax(a) for a in (masks, x, baseline, players)):
        return _masked_jax(masks, jnp.asarray(x), baseline, players)
    if _arrays.is_torch(x):
        return _masked_torch(masks, x, baseline, players)
    fill = _arrays.to_numpy("masked_inputs", "baseline", baseline).astype(x.dtype)
    out = np.empty((len(masks), *shape), x.dtype)
    words = np.dtype(f"u{x.dtype.itemsize}")
    x, fill = np.require(x, None, ["C", "A"]), np.ascontiguousarray(np.broadcast_to(fill, shape))
    _masked_words(masks, x.view(words), fill.view(words), out.view(words), players)
    return out


def _masked_words(
    masks: Any, x: np.ndarray, baseline: np.ndarray, out: np.ndarray, players: Any
) -> None:
    """The kernel on elements reinterpreted as unsigned words."""
    masks = np.ascontiguousarray(_arrays.to_numpy("masked_inputs", "masks", masks), np.bool_)
    players = _arrays.to_numpy("masked_inputs", "players", players)
    players = np.ascontiguousarray(np.broadcast_to(players, x.shape), np.int32)
    _native.masked_inputs(masks, x, baseline, players, out)


def _masked_torch(masks: Any, x: Any, baseline: Any, players: Any) -> Any:
    """The kernel on the CPU; torch's own operations elsewhere and where a gradient is due."""
    import torch

    fill = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand(x.shape)
    follow = torch.is_grad_enabled() and (x.requires_grad or fill.requires_grad)
    if x.device.type == "cpu" and not follow:
        x, fill = (t.detach().resolve_neg().contiguous() for t in (x, fill))
        out = torch.empty((len(masks), *x.shape), dtype=x.dtype)
        words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.dtype.itemsize]
        views = [t.view(words).numpy() for t in (x, fill, out)]
        _masked_words(masks, views[0], views[1], views[2], players)
        return out
    masks = masks if _arrays.is_torch(masks) else torch.from_numpy(np.asarray(masks))
    players = _arrays.to_numpy("masked_inputs", "players", players)
    players = torch.from_numpy(np.broadcast_to(players, tuple(x.shape)).astype(np.int64))
    players = players.to(x.device)
    keep = masks.to(x.device).bool()[:, players.clamp(min=0)] | (players < 0)
    return torch.where(keep, x, fill)


def _masked_jax(masks: Any, x: jax.Array, baseline: Any, players: Any) -> jax.Array:
    fill = jnp.broadcast_to(jnp.asarray(baseline).astype(x.dtype), x.shape)
    players = jnp.broadcast_to(jnp.asarray(players).astype(jnp.int32), x.shape)
    return _primitives.masked_inputs(jnp.asarray(masks).astype(bool), x, fill, players)


def _numpy_dtype(x: Any) -> np.dtype:
    return np.dtype(str(x.dtype).removeprefix("torch.")) if _arrays.is_torch(x) else x.dtype


def _check_baseline(baseline: Any, dtype: np.dtype) -> None:
    """Integers (tokens, pixels) must be replaced by integers they can hold; floats may round."""
    if dtype.kind not in "biu" or _arrays.is_traced(baseline):
        return
    given = _arrays.to_numpy("masked_inputs", "baseline", baseline)
    with np.errstate(invalid="ignore"):
        if not np.array_equal(given.astype(dtype), given):
            raise ValueError(
                f"masked_inputs: baseline must hold values of x's dtype {dtype}; got {baseline!r}"
            )


def _highest_player(players: Any) -> int:
    """-1 where there is none, or where it is not known while tracing."""
    if _arrays.is_traced(players):
        return BACKGROUND
    players = _arrays.to_numpy("masked_inputs", "players", players)
    if not np.issubdtype(players.dtype, np.integer):
        raise TypeError(f"masked_inputs: players must be integers; got dtype {players.dtype}")
    return int(players.max()) if players.size else BACKGROUND


def _check_broadcasts(argument: str, got: tuple[int, ...], shape: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(got, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"masked_inputs: {argument} must broadcast to the shape of x, {shape}; got shape {got}"
        )


def patches(shape: tuple[int, ...], grid: tuple[int, int]) -> np.ndarray:
    """Players of an image: the cells of a grid, row by row from the top left.

    Args:
      shape: ``(height, width)`` or ``(height, width, channels)`` of the image.
      grid: ``(rows, columns)``; where it does not divide, cells differ by a pixel at most.

    Returns:
      int of `shape`: 0 to rows * columns - 1.

    >>> patches((2, 4), (1, 2))
    array([[0, 0, 1, 1],
           [0, 0, 1, 1]])
    """
    if len(shape) not in (2, 3):
        raise ValueError(
            f"patches: shape must be (height, width) or (height, width, channels); got {shape}"
        )
    cells = [_checks.count("patches", "grid", g, least=1) for g in np.ravel(grid).tolist()]
    if len(cells) != 2 or cells[0] > shape[0] or cells[1] > shape[1]:
        raise ValueError(
            f"patches: grid must be (rows, columns), at most one cell a pixel of {shape[:2]}; "
            f"got {grid}"
        )
    row, column = (np.arange(size) * g // size for size, g in zip(shape, cells))
    cell = row[:, None] * cells[1] + column
    return np.broadcast_to(cell[(...,) + (None,) * (len(shape) - 2)], shape).copy()


def brightest_patches(image: Any, grid: tuple[int, int], k: int) -> np.ndarray:
    """Players of an image: the k cells of a grid of largest L1 norm; the rest is background.

    Players are numbered in reading order. Ties go to the earlier cell.

    Returns:
      int of the image's shape: 0 to k - 1, and -1 for background.

    >>> brightest_patches(np.array([[0.0, 1.0, 5.0, 0.0]]), (1, 4), 2)
    array([[-1,  0,  1, -1]])

    Source: paper 002, appendix J.3 (the k patches of highest L1 norm).
    """
    image = _arrays.to_numpy("brightest_patches", "image", image)
    cells = patches(image.shape, grid)
    norms = np.bincount(cells.ravel(), np.abs(image.ravel().astype(np.float64)))
    if _checks.count("brightest_patches", "k", k, least=1) > len(norms):
        raise ValueError(f"brightest_patches: k must be at most {len(norms)} cells; got {k}")
    chosen = np.sort(np.argsort(-norms, kind="stable")[:k])
    player_of = np.full(len(norms), BACKGROUND)
    player_of[chosen] = np.arange(k)
    return player_of[cells]


def columns(n: int, groups: Any = None) -> np.ndarray:
    """Players of a table row: each of n columns, or given groups of columns.

    Args:
      n: number of columns.
      groups: sequences of column numbers, one a player; columns in none are background.

    >>> columns(4, groups=[[0], [2, 3]])
    array([ 0, -1,  1,  1])
    """
    n = _checks.count("columns", "n", n)
    if groups is None:
        return np.arange(n)
    player_of = np.full(n, BACKGROUND)
    for player, group in enumerate(groups):
        members = np.asarray(group, np.int64)
        if members.size and (members.min() < 0 or members.max() >= n):
            raise ValueError(f"columns: groups must hold columns 0 to {n - 1}; got {group}")
        if (player_of[members] != BACKGROUND).any():
            raise ValueError(f"columns: a column must be in one group only; got {groups}")
        player_of[members] = player
    return player_of
