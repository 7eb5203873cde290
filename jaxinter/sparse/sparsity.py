# SPDX-License-Identifier: Apache-2.0
"""`sparsity`: the least L1 strength of an explanation, as a function to differentiate."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks
from jaxinter.sparse.extract import explain_games
from jaxinter.sparse.games import Games, checked_games, checked_noise, mean_swing
from jaxinter.sparse.native import solve_native, solve_traced

__all__ = ["sparsity"]


def sparsity(
    values: Any,
    *,
    noise_ratio: Any = 0.0,
    noise_bound: Any = None,
    noise_preset: str | None = None,
    noise_per: str = "sample",
    tol: float = 1e-4,
    joint: bool = False,
    max_iterations: int = 20000,
) -> Any:
    """The optimal L1 strength of the values alone: differentiable, so it can be a training loss.

        sparsity(v) = min sum_{S not empty} |AND(S)| + |OR(S)|        as in `extract`
                    = max_y <y, v> - bound * sum |y|,   |sum_{T superset S} y(T)| <= 1
                                                        |sum_{T meets S} y(T)| <= 1,  sum y = 0.

    By the envelope theorem its (sub)gradient is the optimal multiplier: y by v, and -sum |y| by the
    bound (which depends on v itself, where it is a ratio). The solver's y is feasible to rounding,
    and its bound within `tol` of the optimum, so ``sparsity(v') >= sparsity(v) (1 - tol) +
    <y, v' - v>`` for every v': the gradient is exact up to tol, away from kinks and at them.

    Args:
      values: any array ``[..., 2**n]``; ``[..., models, 2**n]`` with `joint`. JAX arrays (also
        traced, under jit, vmap and grad) and torch tensors carry gradients.
      others: as in `extract`. Not differentiated twice.

    Returns:
      ``[...]`` of the kind and dtype of `values`: the strength of a feasible split, at most
      ``1 / (1 - tol)`` times the optimum where `max_iterations` suffice.

    Raises:
      ValueError, TypeError: an argument is wrong; the message names it.

    >>> sparsity(np.array([0.0, 3.0, 3.0, 3.0, 0.0, 3.0, 3.0, 8.0])).round(3)
    np.float64(8.0)
    >>> jax.grad(sparsity)(jax.numpy.array([0.0, 1.0, 2.0, 5.0])).round(2)  # all in AND({0, 1})
    Array([-1.,  0.,  0.,  1.], dtype=float32)

    Source: papers 001 (Eq. 10) to 003 (Eq. 12, 13); problem.py for the dual.
    """
    call = "sparsity"
    settings = {
        "tol": _checks.real(call, "tol", tol, positive=True),
        "max_iterations": _checks.count(call, "max_iterations", max_iterations, least=1),
    }
    if joint not in (False, True):
        raise ValueError(f"{call}: joint must be False or True; got {joint!r}")
    values = _arrays.as_array(call, "values", values)
    noise = checked_noise(call, noise_ratio, noise_bound, noise_preset, noise_per)
    if _arrays.is_torch(values) and values.requires_grad:
        from jaxinter import _torch

        return _torch.sparsity(values, partial(_of_numpy, call, noise, bool(joint), settings))
    if any(map(_arrays.is_jax, (values, noise.ratio, noise.bound))):
        values = _arrays.as_jax(call, "values", values)
        games = checked_games(call, values, noise, None, bool(joint), True)
        return _of_jax(values, noise, bool(joint), games, settings)
    optimum, _ = _of_numpy(call, noise, bool(joint), settings, values)
    return _arrays.like(optimum[()], values)


def _of_numpy(
    call: str, noise: Any, joint: bool, settings: dict[str, Any], values: Any
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The optimum ``[...]``, and what takes its cotangent to that of `values`."""
    games = checked_games(call, values, noise, None, joint, True)
    fields = explain_games(games, solve_native, _settings(settings, games.dtype))
    y = fields["multiplier"].astype(np.float64)

    def pull_back(cotangent: np.ndarray) -> np.ndarray:
        weight = np.asarray(cotangent, np.float64).reshape(-1, 1, 1)
        back = weight * y
        if games.bound is not None and noise.bound is None:  # the bound follows the values
            swing = games.values[..., -1:] - games.values[..., :1]
            size = mean_swing(abs(swing)) if noise.per == "dataset" else abs(swing)
            ratio = np.divide(games.bound, size, out=np.zeros_like(games.bound), where=size > 0)
            by_size = -weight * ratio * abs(y[..., 1:]).sum(axis=-1, keepdims=True)
            if noise.per == "dataset":
                by_size = by_size.mean(axis=0, keepdims=True)
            back[..., -1:] += by_size * np.sign(swing)
            back[..., :1] -= by_size * np.sign(swing)
        return back.reshape(tuple(values.shape)).astype(games.dtype)

    return fields["primal"].reshape(games.batch).astype(games.dtype), pull_back


def _settings(settings: dict[str, Any], dtype: np.dtype) -> dict[str, Any]:
    return settings | {"tie_break": 0.0, "dtype": dtype.name}


def _of_jax(
    values: jax.Array, noise: Any, joint: bool, games: Games, settings: dict[str, Any]
) -> jax.Array:
    """In the dtype of the values outside, in float64 inside `_optimum`."""
    _, models, size = games.values.shape
    table = values.astype(games.dtype).reshape(-1, models, size)
    if games.bound is None:
        bound = jnp.zeros((*table.shape[:2], 1), table.dtype)
    else:
        shape = (*games.batch, models) if joint else games.batch
        amount = noise.ratio if noise.bound is None else noise.bound
        bound = jnp.broadcast_to(jnp.asarray(amount, table.dtype), shape)
        bound = bound.reshape(*table.shape[:2], 1)
        if noise.bound is None:
            swing = jnp.abs(table[..., -1:] - table[..., :1])
            bound = bound * (mean_swing(swing) if noise.per == "dataset" else swing)
    fixed = tuple(sorted(_settings(settings, np.dtype(np.float64)).items()))
    return _optimum(games.bound is not None, fixed, table, bound).reshape(games.batch)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _optimum(boxed: bool, settings: tuple, table: jax.Array, bound: jax.Array) -> jax.Array:
    """``[groups]``, for table ``[groups, models, 2**n]`` and bound ``[groups, models, 1]``."""
    return _solved(boxed, settings, table, bound)[0]


@_optimum.defjvp
def _(boxed, settings, primals, tangents):
    optimum, y = _solved(boxed, settings, *primals)
    table, bound = tangents
    along = (y * table).sum(axis=(1, 2)) - (jnp.abs(y[..., 1:]) * bound).sum(axis=(1, 2))
    return optimum, along


def _solved(
    boxed: bool, settings: tuple, table: jax.Array, bound: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The optimum and y, in the dtype of the table."""
    with jax.enable_x64(True):
        wide = table.astype(jnp.float64), bound.astype(jnp.float64) if boxed else None
        games = Games(*wide, None, np.dtype(np.float64), (), True)
        fields = explain_games(games, solve_traced, dict(settings))
        return fields["primal"].astype(table.dtype), fields["multiplier"].astype(table.dtype)
