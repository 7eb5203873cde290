# SPDX-License-Identifier: Apache-2.0
"""The program of problem.py by an interior point method: a gap of 1e-9, for up to 11 players.

Three vectors t = (kappa, lam, delta) are bounded, |t| <= r = (1, 1, zeta). The two sides of a bound
have slacks r - t and r + t and multipliers; the multipliers' differences are (a, b, y). All of them
are positive within, and at the optimum each product slack * multiplier is 0, while

    b = c + K a + P delta,   kappa = -K^T lam,   y = -P lam.

The start (half of w in AND, lam = 0, delta = 0) obeys these, and so does every point after it: any
is a proof (problem.py) of how far it is from the optimum. Each step is Mehrotra's: a predictor aims
at products of 0, a corrector at what the predictor shows to be within reach. With W the sum over
the two sides of multiplier / slack, both solve for the change of lam with the matrix

    N = diag(W_lam) + K diag(W_kappa) K^T + P diag(1 / W_delta) P,
    N[S, T] = [S = T] W_lam[S] + (-1)^(|S| + |T|) (F[S union T] + G[S intersection T]),

F[S] the sum of W_kappa over the supersets of S, G[S] that of 1 / W_delta over the coalitions whose
complement is a subset of S: 4^n look-ups and one Cholesky factorization a step. Vectors here have
no entry for the empty coalition: ``[2**n - 1]``, float64, w in units of max |w|.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from jaxinter._primitives import MOBIUS, SUPERSET_ZETA, ZETA, Matrix2
from jaxinter.sparse.problem import K_TRANSPOSED, K, P
from jaxinter.transform import apply_numpy

MAX_PLAYERS = 11  # 1.5 s and 170 MB on one core; 12 players took 10 s and 540 MB
STEP_SHARE = 0.995  # of the way to the nearest bound
PATIENCE = 5  # steps without a smaller gap before it is taken for the best that rounding allows
# Near the optimum the entries of N span more than float64 does. The diagonal is raised by the least
# of these shares with which it factorizes; then conjugate gradients, preconditioned by the factor,
# bring what is missing of the graph down to REFINED of its size.
RAISED = (1e-16, 1e-14, 1e-12, 1e-10)
REFINED, REFINEMENTS = 1e-13, 10


class ExactSolution(NamedTuple):
    """In units of max |w|, all ``[2**n]`` with 0 at the empty coalition."""

    a: np.ndarray
    delta: np.ndarray
    lam: np.ndarray  # multiplier for `problem.dual_bounds`
    iterations: int


def solve_exact(
    w: np.ndarray,
    zeta: float,
    *,
    tol: float = 1e-9,
    margin: float = 0.0,
    max_iterations: int = 100,
) -> ExactSolution:
    """The best split and the best multiplier met on the way to a relative gap of `tol`.

    The gap may stay above tol where rounding does not allow it, or after `max_iterations`.

    Args:
      w: ``[2**n]`` with max |w| = 1, w(empty) = 0 and n >= 1: 8 * 4^n bytes of memory a few times.
      zeta: bound of the residual; 0 for none.
      margin: how far residuals stay within the bound (at most half of it), so that later rounding
        stays within too. The gap is that of the problem with the smaller bound.
    """
    radius = zeta - min(margin, zeta / 2)
    c = -_transform(w[1:], P)
    point = _start(w[1:], c, radius)
    best_primal, best_dual, best_gap = np.inf, -np.inf, np.inf
    best_a = best_delta = best_lam = np.zeros_like(c)
    improved = 0
    for iteration in range(max_iterations + 1):
        a, lam, delta = point.split(radius)
        primal, dual = _strength(c, a, delta), _dual_bound(c, lam, radius)
        if primal < best_primal:
            best_primal, best_a, best_delta = primal, a, delta
        if dual > best_dual:
            best_dual, best_lam = dual, lam
        if best_primal - best_dual < best_gap:
            best_gap, improved = best_primal - best_dual, iteration
        if best_gap <= tol * best_primal or iteration - improved >= PATIENCE:
            break
        system = _linearize(c, point)
        if system is None:
            break
        point = _step(system, point)
    a, delta, lam = (_with_empty(x) for x in (best_a, best_delta, best_lam))
    return ExactSolution(a, delta, lam, iteration)


class _Point(NamedTuple):
    """Both ``[blocks, 2, 2**n - 1]``, positive; blocks kappa, lam and, with noise, delta."""

    slack: np.ndarray
    multiplier: np.ndarray

    def split(self, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """a, lam and delta."""
        a = self.multiplier[0, 0] - self.multiplier[0, 1]
        lam, *delta = (self.slack[1:, 1] - self.slack[1:, 0]) / 2
        return a, lam, np.clip(delta[0], -radius, radius) if delta else np.zeros_like(a)


class _System(NamedTuple):
    """The conditions of the optimum, linearized at a point."""

    weight: np.ndarray  # [blocks, 2**n - 1], W
    factor: tuple  # of N
    residual: np.ndarray  # what rounding has left of b = c + K a + P delta


def _with_empty(x: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], x])


def _sums(x: np.ndarray, matrix: Matrix2) -> np.ndarray:
    """The transform of ``[2**n]``."""
    return apply_numpy("solve_exact", "w", matrix, x, None)


def _transform(x: np.ndarray, matrix: Matrix2) -> np.ndarray:
    """The transform of ``[2**n - 1]``, without its entry at the empty coalition."""
    return _sums(_with_empty(x), matrix)[1:]


def _graph(values: np.ndarray) -> np.ndarray:
    """K a - b + P delta."""
    a, b, *delta = values
    return sum((_transform(x, P) for x in delta), _transform(a, K) - b)


def _strength(c: np.ndarray, a: np.ndarray, delta: np.ndarray) -> float:
    b = c + _graph(np.stack([a, np.zeros_like(a), delta]))
    return np.abs(a).sum() + np.abs(b).sum()


def _dual_bound(c: np.ndarray, lam: np.ndarray, radius: float) -> float:
    """As `problem.dual_bounds`."""
    value = lam @ c - radius * np.abs(_transform(lam, P)).sum()
    return value / max(1.0, np.abs(lam).max(), np.abs(_transform(lam, K_TRANSPOSED)).max())


def _start(w: np.ndarray, c: np.ndarray, radius: float) -> _Point:
    """Half of w in AND, and all products of slack and multiplier about the same."""
    a = _transform(w / 2, MOBIUS)
    b = c + _transform(a, K)
    center = np.abs([a, b]).mean() / 2
    multiplier = center + np.maximum(0.0, [[a, -a], [b, -b]])
    slack = np.ones_like(multiplier)
    if radius > 0:
        box = np.ones_like(multiplier[:1])
        slack = np.concatenate([slack, radius * box])
        multiplier = np.concatenate([multiplier, center / radius * box])
    return _Point(slack, multiplier)


def _linearize(c: np.ndarray, x: _Point) -> _System | None:
    weight = (x.multiplier / x.slack).sum(axis=1)
    values = x.multiplier[:, 0] - x.multiplier[:, 1]
    values[2:] = (x.slack[2:, 1] - x.slack[2:, 0]) / 2
    for share in RAISED:
        try:
            # transposed: what LAPACK works on without a copy
            matrix = _normal_matrix(weight, share).T
            factor = scipy.linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)
            return _System(weight, factor, c + _graph(values))
        except np.linalg.LinAlgError:
            continue
    return None


def _normal_matrix(weight: np.ndarray, share: float) -> np.ndarray:
    """N, its signs (-1)^(|S| + |T|) left out, with its diagonal raised by `share`."""
    s = np.arange(1, weight.shape[1] + 1)
    t = s[:, None]
    matrix = _sums(_with_empty(weight[0]), SUPERSET_ZETA)[s | t]
    for delta in weight[2:]:
        matrix += _sums(_with_empty(1 / delta)[::-1], ZETA)[s & t]
    diagonal = matrix.reshape(-1)[:: len(s) + 1]
    diagonal += weight[1]
    diagonal *= 1 + share
    return matrix


def _step(system: _System, x: _Point) -> _Point:
    product = x.slack * x.multiplier
    predictor = _direction(system, x, -product)
    reached = _moved(x, predictor)
    center = product.mean() * ((reached.slack * reached.multiplier).mean() / product.mean()) ** 3
    target = center - product - predictor.slack * predictor.multiplier
    return _moved(x, _direction(system, x, target))


def _direction(system: _System, x: _Point, target: np.ndarray) -> _Point:
    """The changes by which the products change by `target`, to first order.

    A multiplier changes by (target - multiplier * change of slack) / slack, so (a, b, y) change by
    offset + W * change of t.
    """
    offset = target / x.slack
    offset = offset[:, 0] - offset[:, 1]
    t = np.zeros_like(offset)
    t[2:] = -offset[2:] / system.weight[2:]
    offset[2:] = 0.0
    t = _obeying_graph(system, offset, t)
    slack = np.stack([-t, t], axis=1)
    return _Point(slack, (target - x.multiplier * slack) / x.slack)


def _obeying_graph(system: _System, offset: np.ndarray, t: np.ndarray) -> np.ndarray:
    """t, to which a change of lam and what follows from it is added, such that (a, b, delta),
    which change by offset + gain * t, obey the graph: by conjugate gradients."""
    weight = system.weight
    gain = np.concatenate([weight[:2], np.ones_like(weight[2:])])
    best, least, first = t, np.inf, 0.0
    direction, last = np.zeros_like(t[0]), np.inf
    for _ in range(REFINEMENTS):
        # Of the changes themselves, not of N lam: entries of K^T lam cancel to far below their
        # rounding, and those count most.
        missing = system.residual + _graph(offset + gain * t)
        size = np.abs(missing).max()
        first = first or size
        if size < least:
            best, least = t, size
        if size <= REFINED * first:
            break
        lam = _solve(system.factor, missing)
        energy = lam @ missing
        direction = lam + energy / last * direction
        last = energy
        change = [-_transform(direction, K_TRANSPOSED), direction]
        change += [-_transform(direction, P) / delta for delta in weight[2:]]
        curvature = -(direction @ _graph(gain * change))
        if not curvature > 0:  # by rounding
            break
        t = t + energy / curvature * np.array(change)
    return best


def _solve(factor: tuple, x: np.ndarray) -> np.ndarray:
    """N^-1 x."""
    sign = _sums(np.eye(1, len(x) + 1)[0], MOBIUS)[1:]  # (-1)^|S|
    return sign * scipy.linalg.cho_solve(factor, sign * x, check_finite=False)


def _moved(x: _Point, change: _Point) -> _Point:
    """Along a direction, the primal (a, b, delta) and the dual (kappa, lam, y) as far as each may.

    The multipliers of kappa and lam are primal, those of delta are dual.
    """
    limit = [[np.max(-step / value) for step, value in zip(*blocks)] for blocks in zip(change, x)]
    (kappa, lam, *delta), (a, b, *y) = limit
    primal = STEP_SHARE / max(1.0, a, b, *delta)
    dual = STEP_SHARE / max(1.0, kappa, lam, *y)
    along = np.array([dual, dual, primal])[: len(x.slack), None, None]
    across = np.array([primal, primal, dual])[: len(x.slack), None, None]
    return _Point(x.slack + along * change.slack, x.multiplier + across * change.multiplier)
