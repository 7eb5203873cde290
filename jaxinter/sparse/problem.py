# SPDX-License-Identifier: Apache-2.0
"""The sparse AND-OR split as a linear program, and the certificate of a candidate.

A table w (w(empty) = 0) is divided into an AND part, an OR part and a residual,
``w = u_and + u_or + delta``, with AND effects ``a = mobius(u_and)`` and OR effects
``b = or_interactions(u_or)``. Eliminating the parts leaves one linear constraint, the *graph*

    b = c + K a + P delta,      c = -P w,
    K = [[1, 1], [0, -1]]^(x)n,   P = [[0, 1], [1, -1]]^(x)n   (P symmetric, K K = 1)

and the problem (papers 001 to 003, the "LASSO-like" loss; their gamma is u_and - (w - delta) / 2)

    minimise  sum h(a) + h(b)   subject to the graph and |delta| <= zeta.

For one model h is the absolute value. Several models explained together (paper 003, Eq. 13) have a
table each, and of the effects x_1, ..., x_m of one coalition

    h(x) = sum_k |x_k| + max(0, x_1, ..., x_m) + max(0, -x_1, ..., -x_m).

h is a norm. Its dual ball is where no k of the lam_j, of either sign, sum to more than k + 1 (one
model: |lam| <= 1), and what its prox at tau = 1 takes lam to is how far lam lies outside.

Index 0, the empty coalition, is a gauge: it is held at 0 in every vector here. For any multiplier
lam, with ``kappa = -K^T lam`` and ``y = -P lam``,

    dual(lam) = (<lam, c> - zeta sum |y|) / max(1, gauge(lam), gauge(kappa))   <=   the optimum,

so a feasible split and any lam together are a proof. <lam, c> = <y, w>: y over the same scale is
the gradient of the bound by w. With the tie-break (eps / 2)(|a|^2 + |b|^2) added to the objective,
the bound is <lam, c> - zeta sum |y| minus the squared distances of lam and kappa from the dual ball
over 2 eps.

Arrays are float64 ``[groups, models, 2^n]``, bounds ``[groups, models, 1]``, numpy or JAX; a group
is one sample, of one model or of several explained together.
"""

from typing import Any

import numpy as np

from jaxinter import _arrays, _primitives
from jaxinter._primitives import COMPLEMENT_MOBIUS as P
from jaxinter._primitives import SUPERSET_ZETA, ZETA, Matrix2
from jaxinter.interactions import spread
from jaxinter.transform import apply_numpy

K: Matrix2 = (1, 1, 0, -1)
K_TRANSPOSED: Matrix2 = (1, 0, 1, -1)


def subset_transform(x: Any, matrix: Matrix2) -> Any:
    """``(A (x) ... (x) A) x`` of numpy or JAX arrays."""
    if _arrays.is_jax(x):
        return _primitives.subset_transform(x, matrix)
    return apply_numpy("extract", "values", matrix, x, None)


def without_empty(x: Any) -> Any:
    """x with 0 at the empty coalition; a numpy array in place."""
    if _arrays.is_jax(x):
        return _primitives.without_empty(x)
    x[..., 0] = 0
    return x


def total(x: Any) -> Any:
    """The sum over a group, ``[groups, 1, 1]``."""
    return x.sum(axis=(-2, -1), keepdims=True)


def graph_offset(w: Any) -> Any:
    """c of the graph."""
    return without_empty(-subset_transform(w, P))


def or_effects(c: Any, a: Any, delta: Any | None) -> Any:
    """The b that goes with a and delta: every candidate made here is exactly feasible."""
    b = c + subset_transform(a, K)
    if delta is not None:
        b = b + subset_transform(delta, P)
    return without_empty(b)


def strength(a: Any, b: Any) -> Any:
    """The objective, sum h(a) + h(b), ``[groups, 1, 1]``."""
    both = sum(total(abs(x)) for x in (a, b))
    if a.shape[-2] == 1:
        return both
    return both + sum(spread(x).sum(axis=-1)[:, None, None] for x in (a, b))


def prox(z: Any, tau: Any) -> Any:
    """argmin_x h(x) + |x - z|^2 / (2 tau), effect by effect.

    Each z is moved towards 0 by tau; then the largest positive parts of a coalition's effects are
    brought down to one level, by tau in all, and the negative ones likewise.
    """
    xp = _arrays.namespace(z)
    x = z - xp.clip(z, -tau, tau)
    if z.shape[-2] == 1:
        return x
    positive, negative = xp.maximum(x, 0.0), xp.maximum(-x, 0.0)
    return xp.minimum(positive, _level(positive, tau)) - xp.minimum(negative, _level(negative, tau))


def _level(parts: Any, tau: Any) -> Any:
    """The level to which the largest parts fall when tau in all is taken off them; >= 0."""
    xp = _arrays.namespace(parts)
    sums, counts = _largest(parts)
    return xp.maximum(((sums - tau) / counts).max(axis=-2, keepdims=True), 0.0)


def _largest(parts: Any) -> tuple[Any, np.ndarray]:
    """The sums of the 1, 2, ..., m largest of the models' parts, and these counts."""
    xp = _arrays.namespace(parts)
    sums = xp.cumsum(xp.flip(xp.sort(parts, axis=-2), axis=-2), axis=-2)
    counts = np.arange(1, parts.shape[-2] + 1, dtype=np.float64)
    return sums, counts.reshape(*(1 for _ in parts.shape[:-2]), -1, 1)


def gauge(lam: Any) -> Any:
    """The factor by which the dual ball must grow to hold every lam, ``[groups, 1, 1]``."""
    xp = _arrays.namespace(lam)
    if lam.shape[-2] == 1:
        return abs(lam).max(axis=(-2, -1), keepdims=True)
    both = (_largest(xp.maximum(part, 0.0)) for part in (lam, -lam))
    return xp.maximum(*((x / (k + 1)).max(axis=(-2, -1), keepdims=True) for x, k in both))


def scale_of(*multipliers: Any) -> Any:
    """What they are divided by to lie in the dual ball; at least 1."""
    xp = _arrays.namespace(multipliers[0])
    scale = gauge(multipliers[0])
    for lam in multipliers[1:]:
        scale = xp.maximum(scale, gauge(lam))
    return xp.maximum(1.0, scale)


def multiplier_effects(y: Any) -> tuple[Any, Any]:
    """The multipliers of a and b that y stands for: its sums over the supersets of S, and over all
    that S meets."""
    within = subset_transform(y, ZETA)
    meets = within[..., -1:] - within[..., ::-1]
    return without_empty(subset_transform(y, SUPERSET_ZETA)), without_empty(meets)


def dual_bounds(c: Any, zeta: Any | None, lam: Any, eps: Any) -> tuple[Any, Any, Any]:
    """Lower bounds ``[groups, 1, 1]`` on the optimum without and with the tie-break (-inf where
    eps is 0), and y of the first, its gradient by w."""
    xp = _arrays.namespace(lam)
    lam = without_empty(lam + 0.0)
    kappa = without_empty(subset_transform(lam, K_TRANSPOSED))
    y = without_empty(-subset_transform(lam, P))
    value = total(lam * c)
    if zeta is not None:
        value = value - total(zeta * abs(y))
    scale = scale_of(lam, kappa)
    outside = sum(total(prox(x, 1.0) ** 2) for x in (lam, kappa))
    elastic = value - outside / xp.where(eps > 0, 2 * eps, 1.0)
    return value / scale, xp.where(eps > 0, elastic, -xp.inf), y / scale
