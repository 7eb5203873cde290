# SPDX-License-Identifier: Apache-2.0
"""8b. The fit of both distributions to a network's strengths by order (paper 001, Eq. 9)."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from jaxinter import _arrays, _checks
from jaxinter.distributions import decay_curves, eigenvalues, reference_tables, spindle, to_eigen
from jaxinter.interactions import Interactions
from jaxinter.stats import OrderStrength

__all__ = ["FitParameters", "FittedDistributions", "fit_distributions"]

NEGLIGIBLE = 0.05  # share of the strength below which the end of a part's range goes unsaid


class FitParameters(NamedTuple):
    """One number each, or one array: of the parameters of `fit_distributions`."""

    alpha: Any
    beta: Any
    delta: Any
    gamma: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FittedDistributions:
    """Strengths by order as decay plus spindle; batch axes ``[...]`` are those of the strengths.

    Attributes:
      alpha, beta: of the spindle (`spindle`); alpha is 1 where beta is 0.
      delta, gamma: of the decay (`decay_strength`); delta is 0 where gamma is 0.
      strength: what was fitted, ``[..., n]`` positive and negative.
      decay, spindle: the two parts, ``[..., n]``; gamma and beta are within them.
      residual: |strength - decay - spindle|, ``[..., n]`` by sign.
      relative_residual: ``[...]``, its L2 norm over that of strength, both signs; 0 where there is
        no strength.
      standard_errors: of the four parameters, for residuals that are independent and alike:
        ``s^2 (D^T D)^-1``, D the derivatives, s^2 the residual's variance. inf where the strengths
        do not determine a parameter: alpha where beta is 0, delta where gamma is 0, a parameter at
        the end of its range, fewer numbers than parameters.
      decay_only, spindle_only: ``[...]``, the relative residuals of the best fits by one part.
      at_edge: bool, whether a parameter (alpha, delta) ended at the end of the range searched.
      parts: "both", "decay" or "spindle".
      reference_name: what I* was. The decay of a network is relative to it.
    """

    alpha: Any
    beta: Any
    delta: Any
    gamma: Any
    strength: OrderStrength
    decay: OrderStrength
    spindle: OrderStrength
    residual: OrderStrength
    relative_residual: Any
    standard_errors: FitParameters
    decay_only: Any
    spindle_only: Any
    at_edge: FitParameters
    parts: str = field(default="both", metadata={"static": True})
    reference_name: str = field(default="I*", metadata={"static": True})

    @property
    def spindle_share(self) -> Any:
        """The spindle's part of the fitted strength, ``[...]`` in [0, 1]; 0 where there is none."""
        spindle, decay = (part.total.sum(axis=-1) for part in (self.spindle, self.decay))
        both = spindle + decay
        return np.divide(spindle, both, out=np.zeros_like(both), where=both > 0)

    def bic(self) -> dict[str, Any]:
        """Bayes' information criterion of both parts, decay alone and spindle alone, ``[...]``.

        ``2n log(relative residual^2) + k log(2n)`` with k = 4, 2, 2; the least is preferred.
        """
        size = 2 * self.decay.positive.shape[-1]
        residuals = {"decay": (self.decay_only, 2), "spindle": (self.spindle_only, 2)}
        if self.parts == "both":
            residuals = {"both": (self.relative_residual, 4)} | residuals
        floor = np.finfo(float).eps
        return {
            name: 2 * size * np.log(np.maximum(r, floor)) + k * np.log(size)
            for name, (r, k) in residuals.items()
        }

    def __len__(self) -> int:
        if np.ndim(self.alpha) == 0:
            raise TypeError("FittedDistributions: one fit has no len()")
        return len(self.alpha)

    def __getitem__(self, index: Any) -> "FittedDistributions":
        if np.ndim(self.alpha) == 0:
            raise IndexError("FittedDistributions: one fit cannot be indexed")
        return jax.tree.map(lambda x: x[index], self)

    def __iter__(self) -> Iterator["FittedDistributions"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shape, says = np.shape(self.alpha), []
        if not shape:
            for f, error in zip(FitParameters._fields, self.standard_errors):
                says.append(f"{f} {getattr(self, f):.4g} +- {error:.1g}")
        residual = np.max(self.relative_residual, initial=0)
        says.append(f"relative residual {'<= ' if shape else ''}{residual:.2g}")
        batch = f"{'x'.join(map(str, shape))} fits: " if shape else ""
        return f"FittedDistributions({batch}{', '.join(says)}; reference {self.reference_name})"

    def to_pandas(self) -> Any:
        """One row a fit: parameters, standard errors, residuals, the spindle's share."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in FitParameters._fields}
        columns |= {
            f"{name}_error": error
            for name, error in zip(FitParameters._fields, self.standard_errors)
        }
        names = ("relative_residual", "decay_only", "spindle_only", "spindle_share")
        columns |= {name: getattr(self, name) for name in names}
        columns["at_edge"] = np.logical_or(self.at_edge.alpha, self.at_edge.delta)
        return pd.DataFrame({name: np.ravel(column) for name, column in columns.items()})


def fit_distributions(
    strength: OrderStrength | Sequence[OrderStrength],
    reference: Any = None,
    *,
    parts: str = "both",
    alpha_range: tuple[float, float] = (0.2, 1.3),
    delta_max: float | None = None,
    n_deltas: int = 100,
    reference_name: str = "I*",
) -> FittedDistributions:
    """Strengths by order as the sum of a decay and a spindle, by least squares.

        minimise sum_m (A(m)+ - fit(m)+)^2 + (A(m)- - fit(m)-)^2
        fit(m)+- = decay(m; delta, gamma)+- + spindle(m; alpha, beta),   gamma, beta >= 0

    Every fit is searched on a grid of alpha (steps of 0.01) times `n_deltas` values of delta, 0
    among them, with the best gamma and beta of each; the best local minima are polished with
    optimistix's Levenberg-Marquardt; what is returned is evaluated exactly, and is never worse than
    the best point of the grid.

    Args:
      strength: from `order_strength` (its `.mean()` for a data set) or `new_strength`; every entry
        of its batch ``[...]`` is fitted. Or a sequence of them, as of checkpoints, of one shape.
      reference: I* of the decay: `Interactions` (all batch axes are samples), or effects
        ``[samples, 2, 2**n]``, AND then OR, one for all fits; or ``[..., samples, 2, 2**n]`` with
        the batch of `strength`, each fit's own. Which network it comes from decides what counts as
        decay: with the last checkpoint of a run, that checkpoint is all decay. Not needed for
        parts="spindle".
      parts: "both", or "decay" or "spindle" for one alone.
      alpha_range: the alphas searched.
      delta_max: the largest delta searched; None for 1e-3, and 10^-2.5 for fits that end there.
      n_deltas: values of delta on the grid, at least 4.
      reference_name: what to call I* in the result's text and plots.

    Returns:
      `FittedDistributions`, numpy float64. Batches of other sizes agree to rounding.

    Raises:
      ValueError: negative or non-finite strengths, a reference of other players or batch, a wrong
        range.

    Warns:
      UserWarning: alpha or delta of a fit at the end of its range, which would go beyond; if its
        part is 5 % of the fitted strength or more.

    >>> rng = np.random.default_rng(0)
    >>> last = rng.normal(size=(20, 2, 2**8)) * 0.5 ** ji.orders(8)  # I* of 20 samples
    >>> decay, noise = ji.decay_strength(last, 1e-4), ji.spindle(8, 0.8, 0.3)
    >>> planted = OrderStrength(decay.positive + noise, decay.negative + noise)
    >>> fit = fit_distributions(planted, last)
    >>> [round(float(x), 4) for x in (fit.alpha, fit.beta, fit.delta, fit.gamma)]
    [0.8, 0.3, 0.0001, 1.0]

    Source: paper 001, Eq. 9. One search serves all three fits: both, decay alone, spindle alone.
    """
    call = "fit_distributions"
    if isinstance(strength, (list, tuple)) and all(isinstance(x, OrderStrength) for x in strength):
        strength = _stacked(call, strength)
    if not isinstance(strength, OrderStrength):
        raise TypeError(
            f"{call}: strength must be an OrderStrength, or a sequence of them; got "
            f"{type(strength).__name__}. Use order_strength(interactions).mean()"
        )
    if parts not in ("both", "decay", "spindle"):
        raise ValueError(f'{call}: parts must be "both", "decay" or "spindle"; got {parts!r}')
    sides = [_arrays.host(call, "strength", x) for x in (strength.positive, strength.negative)]
    given = np.stack(sides, axis=-2).astype(np.float64)
    *batch, _, n = given.shape
    if n < 1:
        raise ValueError(f"{call}: strength must have an order; got shape {sides[0].shape}")
    if not ((given >= 0) & (given < np.inf)).all():
        raise ValueError(f"{call}: strength must be finite and >= 0; got {given.min()} at least")
    low, high = (float(x) for x in alpha_range)
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"{call}: alpha_range must be (low, high), 0 < low < high; got {alpha_range}"
        )
    n_deltas = _checks.count(call, "n_deltas", n_deltas, least=4)
    end = _checks.real(call, "delta_max", 1e-3 if delta_max is None else delta_max, positive=True)
    if reference is None:
        if parts != "spindle":
            raise ValueError(f"{call}: reference must be given for parts={parts!r}; got None")
        reference = np.zeros((1, 2, 1 << n))
    tables = _reference_of_fits(call, reference, tuple(batch), n)
    target = given.reshape(-1, 2 * n)
    alphas = np.append(np.arange(low, high, 0.01), high)
    hat = to_eigen(tables)
    fitted = _fit(target, hat, alphas, end, n_deltas, parts)
    beyond = fitted["at_edge"][:, 1]
    if delta_max is None and beyond.any():
        own = hat[:, beyond] if hat.shape[1] > 1 else hat
        for name, x in _fit(target[beyond], own, alphas, 10**-2.5, n_deltas, parts).items():
            fitted[name][beyond] = x
    ends = (low, high), (0.0, 10**-2.5 if delta_max is None else end)
    shares = fitted["parts"].sum(axis=-1)[:, ::-1]  # spindle, whose alpha is first, and decay
    shares = shares > NEGLIGIBLE * shares.sum(axis=1, keepdims=True)
    told = (fitted["at_edge"] & shares).T
    for name, at_edge, (least, most) in zip(("alpha", "delta"), told, ends):
        if at_edge.any():
            warnings.warn(
                f"{call}: {name} of {at_edge.sum()} of {len(target)} fits ended at the end of its "
                f"range, {least:g} to {most:g}; see at_edge",
                stacklevel=2,
            )
    return _result(fitted, tuple(batch), n, parts, reference_name)


def _stacked(call: str, strengths: Sequence[OrderStrength]) -> OrderStrength:
    shapes = sorted({tuple(x.positive.shape) for x in strengths})
    if len(shapes) != 1:
        raise ValueError(f"{call}: strength must hold strengths of one shape; got {shapes}")
    sides = (
        [_arrays.host(call, "strength", x) for x in side]
        for side in zip(*((x.positive, x.negative) for x in strengths))
    )
    return OrderStrength(*(np.stack(side) for side in sides))


def _reference_of_fits(call: str, reference: Any, batch: tuple, n: int) -> np.ndarray:
    """I* as ``[fits or 1, samples, 2, 2**n]``."""
    tables = reference_tables(call, "reference", reference)
    if tables.shape[-1] != 1 << n:
        raise ValueError(
            f"{call}: reference must be of the {n} players of strength; got a last axis of length "
            f"{tables.shape[-1]}"
        )
    lead = tables.shape[:-3]
    if isinstance(reference, Interactions) or not lead:
        return tables.reshape(1, -1, 2, 1 << n)
    if lead != batch:
        raise ValueError(
            f"{call}: reference must be [samples, 2, 2**n], or lead with the batch of strength, "
            f"{batch}; got shape {tables.shape}"
        )
    return tables.reshape(-1, *tables.shape[-3:])


# The search. Of four parameters two are linear: for any (alpha, delta), gamma and beta are the
# non-negative least squares of two columns, in closed form (variable projection). delta is searched
# in even steps of u, delta = least (exp(u) - 1), with `least` the least eigenvalue of M's problem:
# below it nothing changes, so they reach from 0 to the largest delta.

_STARTS = 3  # local minima of the grid that are polished
# Which columns a start may use: decay, spindle. The last two are the fits by one part alone.
_USES = np.array([[1.0, 1.0]] * _STARTS + [[1.0, 0.0], [0.0, 1.0]])
_ROW = {"both": 0, "decay": _STARTS, "spindle": _STARTS + 1}
_UNIT = 100.0  # of theta in the polish: its damping, which starts at 1, is then slight
_BLOCK = 256  # fits searched at once; few fits, or what is left of many, are filled up to a size


class _Grid(NamedTuple):
    """Where the search looks, and the curves there."""

    alphas: np.ndarray
    us: np.ndarray  # even steps from 0
    least: float
    spindles: np.ndarray  # [alphas, 2 n]
    decays: np.ndarray  # [fits or 1, us, 2 n]

    def delta(self, u: np.ndarray) -> np.ndarray:
        return self.least * np.expm1(u)


def _fit(
    target: np.ndarray, hat: np.ndarray, alphas: np.ndarray, end: float, n_deltas: int, parts: str
) -> dict[str, np.ndarray]:
    """Fits of ``[fits, 2 n]`` by references of `to_eigen`."""
    n = target.shape[-1] // 2
    least = float(eigenvalues(n)[0])
    us = np.linspace(0, np.log1p(end / least), n_deltas)
    grid = _Grid(alphas, us, least, np.tile(spindle(n, alphas), 2), np.empty(0))
    deltas = np.tile(grid.delta(us), (hat.shape[1], 1))
    grid = grid._replace(decays=decay_curves(hat, deltas).reshape(*deltas.shape, -1))
    blocks = []
    for start in range(0, max(len(target), 1), _BLOCK):
        part = slice(start, start + _BLOCK)
        own = part if hat.shape[1] > 1 else slice(None)
        part_grid = grid._replace(decays=grid.decays[own])
        blocks.append(_fit_block(target[part], hat[:, own], part_grid, parts))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _fit_block(target: np.ndarray, hat: np.ndarray, grid: _Grid, parts: str) -> dict:
    fits, own = len(target), hat.shape[1] > 1
    scale = np.linalg.norm(target, axis=1)
    y = target / np.where(scale > 0, scale, 1.0)[:, None]

    def filled(x: np.ndarray) -> np.ndarray:
        size = 16 if fits <= 16 else _BLOCK
        return np.concatenate([x, np.zeros((size - fits, *x.shape[1:]))])

    each, row = np.arange(fits), _ROW[parts]
    decays = filled(grid.decays) if own else grid.decays
    pieces = np.moveaxis(CubicSpline(grid.us, decays, axis=1).c, 2, 0)  # [fits, 4, steps, 2 n]
    ranges = np.array([grid.alphas[[0, -1]], grid.us[[0, -1]]])

    def polish(theta: np.ndarray, offset: np.ndarray) -> tuple:
        arrays = _polish(filled(y), pieces, filled(offset), filled(theta), grid.us, ranges)
        return tuple(np.asarray(x)[:fits] for x in arrays)

    # optimistix promotes freely, whatever a session forbids.
    free = jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard")
    with jax.enable_x64(True), free[0], free[1]:
        nodes = np.asarray(_search(filled(y), decays, grid.spindles))[:fits]
        starts = np.stack([grid.alphas[nodes[..., 0]], grid.us[nodes[..., 1]]], axis=-1)
        theta, rss, curves, slopes = polish(starts, 0 * y)
        best = rss[:, :_STARTS].argmin(axis=1) if parts == "both" else row
        theta, slope = theta[each, best], slopes[each, best]
        if parts != "spindle":  # once more, the tabulated curve moved onto the exact one there
            offset = _exact(hat, grid, theta[:, 1:])[:, 0] - curves[each, best]
            theta, _, _, slopes = polish(np.repeat(theta[:, None], len(_USES), axis=1), offset)
            theta, slope = theta[:, row], slopes[:, row]
    # Exactly, the polished fit and the best point of the grid: the better one is returned.
    on_grid = starts[:, row]
    curves = [_exact(hat, grid, theta[:, 1:])[:, 0]]
    curves.append(grid.decays[each if own else 0, nodes[:, row, 1]])
    results = [_linear(y, c, t[:, 0], parts) for c, t in zip(curves, (theta, on_grid))]
    better = (results[1][1] ** 2).sum(axis=1) < (results[0][1] ** 2).sum(axis=1)

    def kept(polished: np.ndarray, on_grid: np.ndarray) -> np.ndarray:
        return np.where(better[:, None], on_grid, polished)

    (alpha, u), curve = kept(theta, on_grid).T, kept(*curves)
    (gamma, beta), residual = kept(results[0][0], results[1][0]).T, kept(*(r[1] for r in results))
    at_edge = np.stack(
        [(beta > 0) & np.isin(alpha, ranges[0]), (gamma > 0) & (u >= grid.us[-1])], axis=-1
    )
    alpha, u = np.where(beta > 0, alpha, 1.0), np.where(gamma > 0, u, 0.0)
    bump = np.tile(spindle(target.shape[1] // 2, alpha), 2)
    by_delta = slope / (grid.least * np.exp(u))[:, None]
    columns = [beta[:, None] * _spindle_slope(alpha, bump), bump, gamma[:, None] * by_delta, curve]
    known = np.ones((fits, 4), bool)
    known[:, 0], known[:, 2] = ~at_edge[:, 0], ~at_edge[:, 1] & (u > 0)
    known &= np.array([parts != "decay"] * 2 + [parts != "spindle"] * 2)
    errors = _standard_errors(np.stack(columns, axis=-1) * known[:, None], residual)
    errors[:, 1::2] *= np.where(scale > 0, scale, 1.0)[:, None]  # in units of the strengths
    return {
        "parameters": np.stack([alpha, beta * scale, grid.delta(u), gamma * scale], axis=-1),
        "errors": errors,
        "parts": scale[:, None, None] * np.stack([gamma[:, None] * curve, beta[:, None] * bump], 1),
        "strength": target,
        "relative_residual": np.linalg.norm(residual, axis=1),
        "alone": np.sqrt(rss[:, _STARTS:]),
        "at_edge": at_edge,
    }


def _exact(hat: np.ndarray, grid: _Grid, u: np.ndarray) -> np.ndarray:
    """Decay strengths of each fit at u ``[fits, ...]``, ``[fits, ..., 2 n]``."""
    rows = u.reshape(len(u), u[0].size if len(u) else 1)
    if hat.shape[1] > 1:
        curves = decay_curves(hat, grid.delta(rows))
    else:  # many fits ask one reference: each u once
        values, at = np.unique(rows, return_inverse=True)
        curves = decay_curves(hat, grid.delta(values)[None])[0][at.ravel()]
    return curves.reshape(*u.shape, curves.shape[-2] * curves.shape[-1])


def _linear(y: np.ndarray, curve: np.ndarray, alpha: np.ndarray, parts: str) -> tuple:
    """gamma and beta ``[fits, 2]`` for given curves, and the residual. A part that is no more than
    rounding is 0."""
    bump = np.tile(spindle(y.shape[1] // 2, alpha), 2)
    d, s = curve * (parts != "spindle"), bump * (parts != "decay")
    products = _products(y, d, s)
    weights = np.stack(_nonnegative(*products), axis=-1)
    weights[weights * np.sqrt(np.stack(products[:2], axis=-1)) < 1e-12] = 0
    return weights, y - weights[:, :1] * d - weights[:, 1:] * s


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
    """Grid indices (alpha, u) of each start, ``[fits, starts, 2]``: the best local minima of both
    parts together, and the best of each part alone."""

    def of_one(y: jax.Array, d: jax.Array) -> jax.Array:
        dd, ss, ds = (d * d).sum(-1)[None], (spindles * spindles).sum(-1)[:, None], spindles @ d.T
        dy, sy = (d @ y)[None], (spindles @ y)[:, None]
        gamma, beta = _nonnegative(dd, ss, ds, dy, sy)
        rss = -gamma * dy - beta * sy  # less |y|^2, at the optimum
        padded = jnp.pad(rss, 1, constant_values=jnp.inf)
        rows = jnp.minimum(jnp.minimum(padded[:-2], padded[1:-1]), padded[2:])
        around = jnp.minimum(jnp.minimum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
        lowest = jnp.where(rss <= around, rss, jnp.inf).ravel()
        best: list[jax.Array] = []
        for _ in range(_STARTS):  # top_k would sort them all
            at = lowest.argmin()
            best.append(jnp.where(lowest[at] < jnp.inf, at, best[0]) if best else at)
            lowest = lowest.at[at].set(jnp.inf)
        at = jnp.stack(best)
        both = jnp.stack([at // rss.shape[1], at % rss.shape[1]], axis=-1)
        decay, bump = (
            (jnp.maximum(xy, 0.0) ** 2 / jnp.where(xx > 0, xx, 1.0)).argmax()
            for xx, xy in ((dd, dy), (ss, sy))
        )
        alone = jnp.stack([jnp.stack([jnp.zeros_like(decay), decay]), jnp.stack([bump, 0 * bump])])
        return jnp.concatenate([both, alone.astype(both.dtype)])

    if len(decays) == 1:
        return jax.lax.map(lambda y: of_one(y, decays[0]), y)
    return jax.lax.map(lambda pair: of_one(*pair), (y, decays))


@jax.jit
def _polish(
    y: jax.Array, pieces: jax.Array, offset: jax.Array, theta: jax.Array, us: Any, ranges: Any
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """(alpha, u) ``[fits, starts, 2]`` after Levenberg-Marquardt, residual sums of squares, and the
    tabulated decay strengths there with their derivatives by u, ``[fits, starts, 2 n]``."""
    import lineax
    import optimistix

    n = y.shape[-1] // 2
    # Two unknowns: the normal equations lose nothing that matters, and QR takes ten times as long.
    normal = lineax.Normal(lineax.Cholesky())
    solver = optimistix.LevenbergMarquardt(rtol=1e-8, atol=1e-10, linear_solver=normal)

    def decay(pieces: jax.Array, u: jax.Array) -> jax.Array:
        at = jnp.clip((u / us[1]).astype(int), 0, len(us) - 2)
        c, t = pieces[:, at], u - us[at]
        return ((c[0] * t + c[1]) * t + c[2]) * t + c[3]

    def inside(theta: jax.Array) -> jax.Array:
        return jnp.clip(theta * _UNIT, ranges[:, 0], ranges[:, 1])

    def residual(theta: jax.Array, given: tuple) -> jax.Array:
        y, pieces, offset, uses = given
        alpha, u = inside(theta)
        d = (decay(pieces, u) + offset) * uses[0]
        s = jnp.tile(spindle(n, alpha), 2) * uses[1]
        gamma, beta = _nonnegative(*_products(y, d, s))
        return y - gamma * d - beta * s

    def of_one(y: Any, pieces: Any, offset: Any, theta: Any, uses: Any) -> tuple:
        given = (y, pieces, offset, uses)
        # Every step accepted lowers the residual; 32 leave what statistics cannot see.
        found = optimistix.least_squares(
            residual, solver, theta / _UNIT, given, max_steps=32, throw=False
        ).value
        left, found = residual(found, given), inside(found)
        at, along = (found[1],), (jnp.ones_like(found[1]),)
        return found, left @ left, *jax.jvp(lambda u: decay(pieces, u), at, along)

    starts = jax.vmap(of_one, (None, None, None, 0, 0))
    own = 0 if len(pieces) > 1 else None
    pieces = pieces if len(pieces) > 1 else pieces[0]
    return jax.vmap(starts, (0, own, 0, 0, None))(y, pieces, offset, theta, _USES)


def _spindle_slope(alpha: np.ndarray, bump: np.ndarray) -> np.ndarray:
    """The derivative of the spindle by alpha, ``[fits, 2 n]``."""
    n = bump.shape[1] // 2
    left = alpha[:, None] * n - np.arange(n)
    with np.errstate(divide="ignore"):
        slopes = np.cumsum(n / np.where(left > 0, left, np.inf), axis=1)
    return bump * np.tile(slopes, 2)


def _standard_errors(columns: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """sqrt of the diagonal of ``s^2 (D^T D)^-1``, ``[fits, 4]``; inf for columns of zeros, and
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


def _result(
    fitted: dict[str, np.ndarray], batch: tuple, n: int, parts: str, reference_name: str
) -> FittedDistributions:
    """The fits in the shape of the batch."""

    def shaped(x: np.ndarray) -> Any:
        return x.reshape((*batch, *x.shape[1:]))[()]

    def strength(x: np.ndarray) -> OrderStrength:
        sides = x.reshape(-1, 2, n)
        return OrderStrength(shaped(sides[:, 0]), shaped(sides[:, 1]))

    decay, bump = fitted["parts"][:, 0], fitted["parts"][:, 1]
    alone = fitted["alone"]
    alpha, beta, delta, gamma = (shaped(x) for x in fitted["parameters"].T)
    return FittedDistributions(
        alpha=alpha,
        beta=beta,
        delta=delta,
        gamma=gamma,
        strength=strength(fitted["strength"]),
        decay=strength(decay),
        spindle=strength(bump),
        residual=strength(abs(fitted["strength"] - decay - bump)),
        relative_residual=shaped(fitted["relative_residual"]),
        standard_errors=FitParameters(*(shaped(x) for x in fitted["errors"].T)),
        decay_only=shaped(alone[:, 0]),
        spindle_only=shaped(alone[:, 1]),
        at_edge=FitParameters(
            alpha=shaped(fitted["at_edge"][:, 0]),
            beta=shaped(np.zeros(len(alone), bool)),
            delta=shaped(fitted["at_edge"][:, 1]),
            gamma=shaped(np.zeros(len(alone), bool)),
        ),
        parts=parts,
        reference_name=reference_name,
    )
