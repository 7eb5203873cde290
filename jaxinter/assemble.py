# SPDX-License-Identifier: Apache-2.0
"""3b. Masks and an input to masked inputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, _gpu, _native, _primitives
from jaxinter.masks import MAX_PLAYERS
from jaxinter.players import BACKGROUND

__all__ = ["masked_inputs"]


def masked_inputs(masks: Any, x: Any, baseline: Any, players: Any, out: Any = None) -> Any:
    """Copies of x with the players outside each coalition replaced by the baseline.

        out[m][e] = x[e]         where players[e] < 0 or players[e] is in coalition m
                    baseline[e]  elsewhere

    Args:
      masks: one coalition a row: bool ``[m, n]``, True where a player is present; or bit-packed,
        int ``[m]``, the indices of the coalitions as `encode` gives them (bit i: player i).
      x: any array ``[...]`` (one sample); floats, integers (tokens) and booleans keep their dtype.
      baseline: broadcasts to x; what replaces an absent player. x's dtype must hold it.
      players: int, broadcasts to x: which player each element belongs to, -1 for none (background,
        always kept). See `patches`, `columns`.
      out: writable numpy or torch array ``[m, *x.shape]`` of x's dtype, on x's device, to be used
        again from chunk to chunk: 2^n inputs need never exist at once (see `evaluate`).

    Returns:
      ``[m, *x.shape]``, of the kind and dtype of x (JAX if any argument is); `out` if given. JAX
      values may be traced, players too.

    Raises:
      ValueError, TypeError: a shape, dtype or player does not fit; the message names it.

    >>> masked_inputs([[True, False], [False, True]], np.array([5.0, 6.0, 7.0]), 0.0, [0, 1, -1])
    array([[5., 0., 7.],
           [0., 6., 7.]])
    >>> masked_inputs([1, 2], np.array([5.0, 6.0, 7.0]), 0.0, [0, 1, -1])  # the same, bit-packed
    array([[5., 0., 7.],
           [0., 6., 7.]])

    Source: paper 001, section 2.1 (the masked sample x_S).
    """
    given = (masks, x, baseline, players)
    # A torch tensor in CUDA memory has torch's own operations where there is no kernel.
    x = x if _arrays.is_torch(x) else _gpu.as_array("masked_inputs", "x", x)
    masks = masks if _arrays.on_cuda(masks) else _arrays.as_array("masked_inputs", "masks", masks)
    shape, dtype = tuple(x.shape), _arrays.numpy_dtype(x)
    is_number = jnp.issubdtype(dtype, np.number) or dtype == np.bool_
    if not is_number or dtype.itemsize not in (1, 2, 4, 8):
        raise TypeError(
            "masked_inputs: x must hold numbers or booleans of 1, 2, 4 or 8 bytes; "
            f"got dtype {x.dtype}"
        )
    for argument, array in (("players", players), ("baseline", baseline)):
        _checks.broadcasts("masked_inputs", argument, tuple(np.shape(array)), shape, "x")
    _check_baseline(baseline, dtype)
    masks, n = _checked_masks(masks, _highest_player(players))
    if any(_arrays.is_jax(a) for a in (masks, *given)):
        if out is not None:
            raise TypeError("masked_inputs: out must be None for JAX arrays, which are not written")
        return _masked_jax(masks, n, _arrays.as_jax("masked_inputs", "x", x), baseline, players)
    if _arrays.is_torch(x):
        return _masked_torch(masks, n, x, baseline, players, out)
    if _arrays.on_cuda(x):
        return _gpu.masked_inputs(masks, n, x, baseline, players, out)
    target = _arrays.empty((len(masks), *shape), dtype) if out is None else out
    _checks.output("masked_inputs", target, (len(masks), *shape), dtype)
    fill = _arrays.to_numpy("masked_inputs", "baseline", baseline).astype(dtype)
    fill = np.ascontiguousarray(np.broadcast_to(fill, shape))
    _masked_words(masks, n, np.require(x, None, ["C", "A"]), fill, players, target)
    return _arrays.like(target, given[1]) if out is None else out


def _checked_masks(masks: Any, most: int) -> tuple[Any, int]:
    """Masks as bool ``[m, n]`` or int ``[m]``, and the number of players (of an index: enough)."""
    dtype = _arrays.numpy_dtype(masks)
    packed = masks.ndim == 1 and dtype.kind in "iu"
    if dtype.kind not in "biu":
        raise TypeError(f"masked_inputs: masks must be bool or indices (int); got dtype {dtype}")
    n = MAX_PLAYERS if packed else masks.shape[-1] if masks.ndim == 2 else -1
    if packed and most >= n:
        raise ValueError(f"masked_inputs: players must be at most {n - 1}; got {most}")
    if n < 0 or most >= n:
        raise ValueError(
            "masked_inputs: masks must be bool [m, n] with a column for each player "
            f"(players go up to {most}), or int [m]; got {dtype} {tuple(masks.shape)}"
        )
    if n > MAX_PLAYERS:
        raise ValueError(f"masked_inputs: masks must be of at most {MAX_PLAYERS} players; got {n}")
    if packed:
        n = max(most + 1, 1)
        if _arrays.is_traced(masks):
            return masks, n
        indices = _arrays.host("masked_inputs", "masks", masks)
        if indices.size and not 0 <= indices.min() <= indices.max() < 1 << MAX_PLAYERS:
            raise ValueError(
                "masked_inputs: masks as indices must be from 0 to 2**62 - 1; "
                f"got {indices.min()} to {indices.max()}"
            )
        return (masks if _arrays.is_jax(masks) else indices.astype(np.int64)), n
    if n == 0:  # nobody to mask: one player that nothing belongs to
        return np.ones((len(masks), 1), bool), 1
    return masks, n


def _masked_words(
    masks: Any, n: int, x: np.ndarray, baseline: np.ndarray, players: Any, out: np.ndarray
) -> None:
    """The kernel on elements reinterpreted as unsigned words; x and baseline are contiguous."""
    masks = _arrays.to_numpy("masked_inputs", "masks", masks)
    masks = np.ascontiguousarray(masks, np.bool_ if masks.ndim == 2 else np.int64)
    players = _arrays.to_numpy("masked_inputs", "players", players)
    players = np.maximum(np.broadcast_to(players, x.shape), BACKGROUND)  # however far below
    players = np.ascontiguousarray(players, np.int32)
    target = out
    inputs = (x, baseline, masks, players)
    direct = out.flags.c_contiguous and out.flags.aligned
    if not direct or any(np.may_share_memory(out, a) for a in inputs):
        target = np.empty(out.shape, out.dtype)
    words = np.dtype(f"u{x.dtype.itemsize}")
    views = [array.view(words) for array in (x, baseline, target)]
    _native.masked_inputs(masks, n, views[0], views[1], players, views[2])
    if target is not out:
        out[...] = target


def _masked_torch(masks: Any, n: int, x: Any, baseline: Any, players: Any, out: Any) -> Any:
    """The kernel where there is one; torch's own operations elsewhere and for gradients."""
    import torch

    if not isinstance(baseline, (int, float, bool)):
        baseline = _arrays.as_torch("masked_inputs", "baseline", baseline)
    fill = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand(x.shape)
    follow = torch.is_grad_enabled() and (x.requires_grad or fill.requires_grad)
    on_cuda = _arrays.on_cuda(x)
    if (_native.cuda is not None if on_cuda else x.is_cpu) and not follow:
        if out is not None and not isinstance(out, torch.Tensor):
            raise TypeError(f"masked_inputs: out must be a torch tensor; got {type(out).__name__}")
        if on_cuda:
            return _gpu.masked_inputs(masks, n, x, fill, players, out)
        target = torch.empty((len(masks), *x.shape), dtype=x.dtype) if out is None else out
        view = _arrays.writable_numpy("masked_inputs", target)
        kept = _arrays.to_numpy("masked_inputs", "x", x.contiguous())
        absent = _arrays.to_numpy("masked_inputs", "baseline", fill.contiguous())
        _checks.output("masked_inputs", view, (len(masks), *x.shape), kept.dtype)
        _masked_words(masks, n, kept, absent, players, view)
        return target
    if out is not None:
        raise ValueError(
            "masked_inputs: out must be None where a gradient is due or x is on a device without "
            "kernels"
        )
    masks, players = (
        (a if _arrays.is_torch(a) else torch.from_numpy(np.array(a))).to(x.device)
        for a in (masks, players)
    )
    players = players.to(torch.int64).expand(x.shape)
    seat = players.clamp(min=0)
    if masks.ndim == 1:
        present = (masks.reshape(-1, *[1] * x.ndim) >> seat) & 1 == 1
    else:
        present = masks.bool()[:, seat]
    return torch.where(present | (players < 0), x, fill)


def _masked_jax(masks: Any, n: int, x: jax.Array, baseline: Any, players: Any) -> jax.Array:
    call = "masked_inputs"
    if not _arrays.is_jax(players):
        players = np.maximum(_arrays.to_numpy(call, "players", players), BACKGROUND)
    players = jnp.broadcast_to(_arrays.as_jax(call, "players", players).astype(jnp.int32), x.shape)
    fill = jnp.broadcast_to(_arrays.as_jax(call, "baseline", baseline).astype(x.dtype), x.shape)
    word = np.dtype(bool)
    if masks.ndim == 1:
        word = jax.dtypes.canonicalize_dtype(np.int64)
        if n > 8 * word.itemsize - 1:
            raise ValueError(
                f"{call}: masks as indices of more than 31 players need jax_enable_x64, or give "
                f"them as bool [m, n]; got {n} players"
            )
    masks = _arrays.as_jax(call, "masks", masks).astype(word)
    return _primitives.masked_inputs(masks, x, fill, players)


def _check_baseline(baseline: Any, dtype: np.dtype) -> None:
    """Integers (tokens, pixels) must be replaced by integers they can hold; floats may round."""
    if dtype.kind not in "biu" or _arrays.is_traced(baseline):
        return
    given = _arrays.host("masked_inputs", "baseline", baseline)
    with np.errstate(invalid="ignore"):
        if not np.array_equal(given.astype(dtype), given):
            raise ValueError(
                f"masked_inputs: baseline must hold values of x's dtype {dtype}; got {baseline!r}"
            )


def _highest_player(players: Any) -> int:
    """-1 where there is none, or where it is not known while tracing."""
    if _arrays.is_traced(players):
        return BACKGROUND
    players = _arrays.host("masked_inputs", "players", players)
    if not np.issubdtype(players.dtype, np.integer):
        raise TypeError(f"masked_inputs: players must be integers; got dtype {players.dtype}")
    return int(players.max()) if players.size else BACKGROUND
