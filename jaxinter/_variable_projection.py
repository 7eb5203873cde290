# SPDX-License-Identifier: Apache-2.0
"""The least squares behind `fit_distributions`, on plain arrays.

Of four parameters two are linear: for any (alpha, delta), gamma and beta are the non-negative least
squares of two columns, in closed form; alpha and delta are left to search (variable projection).
delta is searched in even steps of u, delta = least (exp(u) - 1), with `least` the least eigenvalue
of M's problem: below it nothing changes, so they reach from 0 to the largest delta.

A row is a fit: the positive and then the negative strengths of orders 1 to n, ``[2 n]``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from jaxinter import _arrays
from jaxinter.distributions import decay_curves, eigenvalues, spindle

PARTS = ("both", "decay", "spindle")
# Starts of the polish: the best grid point in each of these equal parts of the range of u, as where
# the spindle dominates the valley is narrower than a step of alpha; then that of each part alone.
_RANGES = 6
_USES = np.array([[1.0, 1.0]] * _RANGES + [[1.0, 0.0], [0.0, 1.0]])  # decay, spindle
_ROW = {"both": 0, "decay": _RANGES, "spindle": _RANGES + 1}
# Unit of (alpha, u) in the polish, so that the damping of 1 with which it starts is a slight one.
_UNIT = 100.0
_BLOCK = 256  # rows searched at once; few rows, or what is left of many, are filled up to a size


class Fitted(NamedTuple):
    """What `fit_rows` finds, each ``[rows, ...]``."""

    parameters: np.ndarray  # alpha, beta, delta, gamma
    errors: np.ndarray  # standard errors of these, inf where not determined
    parts: np.ndarray  # [rows, 2, 2 n]: decay, spindle
    residuals: np.ndarray  # relative, of the fits by both parts, decay and spindle alone
    at_edge: np.ndarray  # alpha, delta


class _Grid(NamedTuple):
    """Where the search looks, and the curves there."""

    alphas: np.ndarray
    us: np.ndarray  # even steps from 0
    least: float
    spindles: np.ndarray  # [alphas, 2 n]
    decays: np.ndarray  # [rows or 1, us, 2 n]

    def delta(self, u: np.ndarray) -> np.ndarray:
        return self.least * np.expm1(u)


def fit_rows(
    target: np.ndarray, hat: np.ndarray, alphas: np.ndarray, end: float, n_deltas: int, parts: str
) -> Fitted:
    """Fits of ``[rows, 2 n]`` by references of `to_eigen`, one for all rows or one each."""
    n = target.shape[-1] // 2
    least = float(eigenvalues(n)[0])
    us = np.linspace(0, np.log1p(end / least), n_deltas)
    deltas = np.tile(least * np.expm1(us), (hat.shape[1], 1))
    decays = decay_curves(hat, deltas).reshape(*deltas.shape, 2 * n)
    blocks = []
    for start in range(0, max(len(target), 1), _BLOCK):
        rows = slice(start, start + _BLOCK)
        own = rows if hat.shape[1] > 1 else slice(None)
        grid = _Grid(alphas, us, least, _both_signs(n, alphas), decays[own])
        blocks.append(_fit_block(target[rows], hat[:, own], grid, parts))
    return Fitted(*(np.concatenate(pieces) for pieces in zip(*blocks)))


def _fit_block(target: np.ndarray, hat: np.ndarray, grid: _Grid, parts: str) -> Fitted:
    largest = target.max(axis=1, initial=0.0, keepdims=True)
    y = target / np.where(largest > 0, largest, 1.0)
    norm = np.linalg.norm(y, axis=1, keepdims=True)
    y = y / np.where(norm > 0, norm, 1.0)
    pieces = np.moveaxis(CubicSpline(grid.us, grid.decays, axis=1).c, 2, 0)  # [rows, 4, steps, 2 n]
    candidates = _candidates(y, hat, grid, pieces, parts)
    # Each is good for every fit: so both parts together are never worse than one alone.
    found = [[_linear(y, c, uses) for c in candidates] for uses in _USES[list(_ROW.values())]]
    residuals = np.array([[np.linalg.norm(r, axis=1) for _, r in fits] for fits in found])
    asked, each = PARTS.index(parts), np.arange(len(y))
    best = residuals[asked].argmin(axis=0)

    def of_best(arrays: list[np.ndarray]) -> np.ndarray:
        return np.stack(arrays)[best, each]

    alpha, u, curve = (of_best([c[i] for c in candidates]) for i in range(3))
    weights, residual = (of_best([fit[i] for fit in found[asked]]) for i in range(2))
    gamma, beta = weights.T
    ends = grid.alphas[[0, -1]], grid.us[-1]
    at_edge = np.stack([(beta > 0) & np.isin(alpha, ends[0]), (gamma > 0) & (u >= ends[1])], -1)
    alpha, u = np.where(beta > 0, alpha, 1.0), np.where(gamma > 0, u, 0.0)
    bump = _both_signs(y.shape[1] // 2, alpha)
    by_delta = _tabulated(pieces, grid.us, u)[1] / (grid.least * np.exp(u))[:, None]
    columns = [beta[:, None] * _spindle_slope(alpha, bump), bump, gamma[:, None] * by_delta, curve]
    free = np.stack([~at_edge[:, 0], alpha > 0, ~at_edge[:, 1] & (u > 0), alpha > 0], axis=-1)
    free &= _USES[_ROW[parts], [1, 1, 0, 0]] > 0
    errors = _standard_errors(np.stack(columns, axis=-1) * free[:, None], residual)
    scale = largest * norm
    errors[:, 1::2] *= np.where(scale > 0, scale, 1.0)  # in units of the strengths
    return Fitted(
        parameters=np.stack([alpha, beta * scale[:, 0], grid.delta(u), gamma * scale[:, 0]], -1),
        errors=errors,
        parts=scale[:, None] * np.stack([gamma[:, None] * curve, beta[:, None] * bump], axis=1),
        residuals=residuals.min(axis=1).T,
        at_edge=at_edge,
    )


def _candidates(
    y: np.ndarray, hat: np.ndarray, grid: _Grid, pieces: np.ndarray, parts: str
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Where the fits may be: (alpha, u, decay strengths, exactly), for all rows each."""
    rows, row = len(y), _ROW[parts]
    each, own = np.arange(rows), hat.shape[1] > 1
    device = jax.local_devices(backend="cpu")[0]  # small numbers, many steps

    def filled(x: np.ndarray) -> np.ndarray:
        size = 16 if rows <= 16 else _BLOCK
        return np.concatenate([x, np.zeros((size - rows, *x.shape[1:]))])

    def on_device(*arrays: np.ndarray) -> Any:
        return jax.device_put(arrays, device)

    def polish(theta: np.ndarray, table_error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ranges = np.array([grid.alphas[[0, -1]], grid.us[[0, -1]]])
        spline = filled(pieces) if own else pieces
        given = filled(y), spline, filled(table_error), filled(theta), grid.us, ranges, _USES
        theta, rss = (np.asarray(x)[:rows] for x in _polish(*on_device(*given)))
        return theta, rss

    # optimistix promotes freely, whatever a session forbids.
    free = jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard")
    with jax.enable_x64(True), free[0], free[1]:
        decays = filled(grid.decays) if own else grid.decays
        nodes = np.asarray(_search(*on_device(filled(y), decays, grid.spindles)))[:rows]
        starts = np.stack([grid.alphas[nodes[..., 0]], grid.us[nodes[..., 1]]], axis=-1)
        polished, rss = polish(starts, np.zeros_like(y))
        best = rss[:, :_RANGES].argmin(axis=1) if parts == "both" else np.full(rows, row)
        theta = polished[each, best]
        if parts != "spindle":  # once more, the tabulated curve moved onto the exact one there
            error = _exact(hat, grid, theta[:, 1]) - _tabulated(pieces, grid.us, theta[:, 1])[0]
            # All starts from there, of which one is kept: one program serves both polishes.
            theta = polish(np.repeat(theta[:, None], len(_USES), axis=1), error)[0][:, row]
    alone = polished[:, _ROW["decay"]]
    found = {"both": [theta, alone], "decay": [theta], "spindle": [alone]}[parts]
    candidates = [(*t.T, _exact(hat, grid, t[:, 1])) for t in found]
    # The best points of the grid, whose curves are known; so no fit is worse than those.
    for at in (best, _ROW["decay"], _ROW["spindle"]):
        curve = grid.decays[each if own else 0, nodes[each, at, 1]]
        candidates.append((*starts[each, at].T, curve))
    alpha = polished[:, _ROW["spindle"], 0]
    return [*candidates, (alpha, *candidates[-1][1:])]


def _exact(hat: np.ndarray, grid: _Grid, u: np.ndarray) -> np.ndarray:
    """Decay strengths of each row at its own u ``[rows]``, ``[rows, 2 n]``."""
    if hat.shape[1] > 1:
        curves = decay_curves(hat, grid.delta(u[:, None]))[:, 0]
    else:  # many rows ask one reference: each u once
        values, at = np.unique(u, return_inverse=True)
        curves = decay_curves(hat, grid.delta(values)[None])[0][at.ravel()]
    return curves.reshape(len(u), grid.spindles.shape[1])


def _tabulated(pieces: np.ndarray, us: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decay strengths of each row at its own u by the spline, and their derivatives by u."""
    step, t = _place(us, u)
    row = np.arange(len(u)) if len(pieces) > 1 else np.zeros(len(u), int)
    a, b, c, d = np.moveaxis(pieces[row, :, step], 1, 0)
    t = t[:, None]
    return _cubic((a, b, c, d), t), (3 * a * t + 2 * b) * t + c


def _place(us: Any, u: Any) -> tuple[Any, Any]:
    """The spline's step that holds u, and how far into it."""
    step = _arrays.namespace(u).clip((u / us[1]).astype(int), 0, len(us) - 2)
    return step, u - us[step]


def _cubic(pieces: Any, t: Any) -> Any:
    a, b, c, d = pieces
    return ((a * t + b) * t + c) * t + d


def _linear(y: np.ndarray, candidate: tuple, uses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """gamma and beta ``[rows, 2]`` at (alpha, u), and the residual. A part that is no more than
    rounding is 0."""
    alpha, _, curve = candidate
    d, s = curve * uses[0], _both_signs(y.shape[1] // 2, alpha) * uses[1]
    products = _products(y, d, s)
    weights = np.stack(_nonnegative(*products), axis=-1)
    weights[weights * np.sqrt(np.stack(products[:2], axis=-1)) < 1e-12] = 0
    return weights, y - weights[:, :1] * d - weights[:, 1:] * s


def _both_signs(n: int, alpha: Any) -> Any:
    """The spindle as a row: positive and negative alike."""
    bump = spindle(n, alpha)
    return _arrays.namespace(bump).concatenate([bump, bump], axis=-1)


def _products(y: Any, d: Any, s: Any) -> tuple:
    return tuple((a * b).sum(axis=-1) for a, b in ((d, d), (s, s), (d, s), (d, y), (s, y)))


def _nonnegative(dd: Any, ss: Any, ds: Any, dy: Any, sy: Any) -> tuple[Any, Any]:
    """argmin of |y - gamma d - beta s|^2 over gamma, beta >= 0, from the inner products.

    Where both come out positive, that; else the better of the two columns alone.
    """
    xp = _arrays.namespace(dd)
    det = dd * ss - ds * ds
    apart = det > 1e-12 * dd * ss  # not one column, nor two in one direction
    det = xp.where(apart, det, 1.0)
    gamma, beta = (dy * ss - sy * ds) / det, (sy * dd - dy * ds) / det
    both = apart & (gamma >= 0) & (beta >= 0)
    gammas = xp.maximum(dy, 0.0) / xp.where(dd > 0, dd, 1.0)
    betas = xp.maximum(sy, 0.0) / xp.where(ss > 0, ss, 1.0)
    first = gammas * dy >= betas * sy
    gamma = xp.where(both, gamma, xp.where(first, gammas, 0.0))
    return gamma, xp.where(both, beta, xp.where(first, 0.0, betas))


@jax.jit
def _search(y: jax.Array, decays: jax.Array, spindles: jax.Array) -> jax.Array:
    """Grid indices (alpha, u) of each start, ``[rows, starts, 2]``."""

    def of_one(y: jax.Array, d: jax.Array) -> jax.Array:
        dd, ss, ds = (d * d).sum(-1)[None], (spindles * spindles).sum(-1)[:, None], spindles @ d.T
        dy, sy = (d @ y)[None], (spindles @ y)[:, None]
        gamma, beta = _nonnegative(dd, ss, ds, dy, sy)
        rss = -gamma * dy - beta * sy  # less |y|^2, at the optimum
        at = []
        for part in np.array_split(np.arange(rss.shape[1]), _RANGES):
            lowest = rss[:, part[0] : part[-1] + 1].argmin()
            at.append(jnp.stack([lowest // len(part), part[0] + lowest % len(part)]))
        decay, bump = (
            (jnp.maximum(xy, 0.0) ** 2 / jnp.where(xx > 0, xx, 1.0)).argmax()
            for xx, xy in ((dd, dy), (ss, sy))
        )
        at += [jnp.stack([0 * decay, decay]), jnp.stack([bump, 0 * bump])]
        return jnp.stack(at)

    if len(decays) == 1:
        return jax.lax.map(lambda y: of_one(y, decays[0]), y)
    return jax.lax.map(lambda pair: of_one(*pair), (y, decays))


@jax.jit
def _polish(
    y: jax.Array, pieces: Any, table_error: Any, theta: Any, us: Any, ranges: Any, uses: Any
) -> tuple[jax.Array, jax.Array]:
    """(alpha, u) ``[rows, starts, 2]`` after Levenberg-Marquardt, and residual sums of squares."""
    import lineax
    import optimistix

    n = y.shape[-1] // 2
    # Two unknowns: the normal equations lose nothing that matters, and QR takes ten times as long.
    normal = lineax.Normal(lineax.Cholesky())
    solver = optimistix.LevenbergMarquardt(rtol=1e-8, atol=1e-10, linear_solver=normal)

    def decay(pieces: jax.Array, u: jax.Array) -> jax.Array:
        step, t = _place(us, u)
        return _cubic(pieces[:, step], t)

    def inside(theta: jax.Array) -> jax.Array:
        return jnp.clip(theta * _UNIT, ranges[:, 0], ranges[:, 1])

    def residual(theta: jax.Array, given: tuple) -> jax.Array:
        y, pieces, table_error, uses = given
        alpha, u = inside(theta)
        d, s = (decay(pieces, u) + table_error) * uses[0], _both_signs(n, alpha) * uses[1]
        gamma, beta = _nonnegative(*_products(y, d, s))
        return y - gamma * d - beta * s

    def of_one(y: Any, pieces: Any, table_error: Any, theta: Any, uses: Any) -> tuple:
        given = (y, pieces, table_error, uses)
        # Every step accepted lowers the residual; 32 leave what statistics cannot see.
        found = optimistix.least_squares(
            residual, solver, theta / _UNIT, given, max_steps=32, throw=False
        ).value
        left = residual(found, given)
        return inside(found), left @ left

    starts = jax.vmap(of_one, (None, None, None, 0, 0))
    own = 0 if len(pieces) > 1 else None
    pieces = pieces if len(pieces) > 1 else pieces[0]
    return jax.vmap(starts, (0, own, 0, 0, None))(y, pieces, table_error, theta, uses)


def _spindle_slope(alpha: np.ndarray, bump: np.ndarray) -> np.ndarray:
    """The derivative of the spindle by alpha, ``[rows, 2 n]``."""
    n = bump.shape[1] // 2
    left = alpha[:, None] * n - np.arange(n)
    slopes = np.cumsum(n / np.where(left > 0, left, np.inf), axis=1)
    return bump * np.concatenate([slopes, slopes], axis=1)


def _standard_errors(columns: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """sqrt of the diagonal of ``s^2 (D^T D)^-1``, ``[rows, 4]``; inf for columns of zeros, and
    where as many parameters as numbers, or dependent columns, leave nothing to tell them by."""
    norm = np.linalg.norm(columns, axis=1)
    known = norm > 0
    d = columns / np.where(known, norm, 1.0)[:, None]
    gram = np.swapaxes(d, 1, 2) @ d + np.eye(4) * ~known[:, None]
    freedom = residual.shape[1] - known.sum(axis=1)
    usable = (freedom > 0) & (np.linalg.cond(gram) < 1e12) if len(gram) else freedom > 0
    inverse = np.linalg.inv(np.where(usable[:, None, None], gram, np.eye(4)))
    variance = (residual**2).sum(axis=1) / np.maximum(freedom, 1)
    errors = np.sqrt(variance[:, None] * np.diagonal(inverse, axis1=1, axis2=2))
    known &= usable[:, None]
    return np.where(known, errors / np.where(known, norm, 1.0), np.inf)
