# SPDX-License-Identifier: Apache-2.0
"""The sparse AND-OR split as a linear program, and the certificate of a candidate.

A table w (w(empty) = 0) is divided into an AND part, an OR part and a residual,
``w = u_and + u_or + delta``, with AND effects ``a = mobius(u_and)`` and OR effects
``b = or_interactions(u_or)``. Eliminating the parts leaves one linear constraint, the *graph*

    b = c + K a + P delta,      c = -P w,
    K = [[1, 1], [0, -1]]^(x)n,   P = [[0, 1], [1, -1]]^(x)n   (P symmetric, K K = 1)

and the problem (papers 001 to 003, the "LASSO-like" loss; their gamma is u_and - (w - delta) / 2)

    minimise  sum |a| + |b|   subject to the graph and |delta| <= zeta.

Index 0, the empty coalition, is a gauge: it is held at 0 in every vector here. For any multiplier
lam, with ``kappa = -K^T lam`` and ``y = -P lam``,

    dual(lam) = (<lam, c> - zeta sum |y|) / max(1, max |lam|, max |kappa|)   <=   the optimum,

so a feasible split and any lam together are a proof. With the tie-break (eps / 2)(|a|^2 + |b|^2)
added to the objective, the bound is <lam, c> - zeta sum |y| minus the excess of |lam| and |kappa|
over 1, squared, over 2 eps. All arrays are float64 ``[samples, 2**n]``, bounds ``[samples, 1]``.
"""

import jax
import jax.numpy as jnp

from jaxinter._primitives import COMPLEMENT_MOBIUS as P
from jaxinter._primitives import Matrix2, subset_transform, without_empty

K: Matrix2 = (1, 1, 0, -1)
K_TRANSPOSED: Matrix2 = (1, 0, 1, -1)


def total(x: jax.Array) -> jax.Array:
    return jnp.sum(x, axis=-1, keepdims=True)


def largest(x: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(x), axis=-1, keepdims=True)


def graph_offset(w: jax.Array) -> jax.Array:
    """c of the graph."""
    return without_empty(-subset_transform(w, P))


def or_effects(c: jax.Array, a: jax.Array, delta: jax.Array | None) -> jax.Array:
    """The b that goes with a and delta: every candidate made here is exactly feasible."""
    b = c + subset_transform(a, K)
    if delta is not None:
        b = b + subset_transform(delta, P)
    return without_empty(b)


def strength(a: jax.Array, b: jax.Array) -> jax.Array:
    """The objective, sum |a| + |b|, ``[samples, 1]``."""
    return total(jnp.abs(a)) + total(jnp.abs(b))


def dual_bounds(
    c: jax.Array, zeta: jax.Array | None, lam: jax.Array, eps: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Lower bounds on the optimum without and with the tie-break (-inf where eps is 0)."""
    lam = without_empty(lam)
    kappa = without_empty(subset_transform(lam, K_TRANSPOSED))
    value = total(lam * c)
    if zeta is not None:
        value = value - zeta * total(jnp.abs(without_empty(subset_transform(lam, P))))
    scale = jnp.maximum(1.0, jnp.maximum(largest(lam), largest(kappa)))
    excess = sum(total(jnp.maximum(jnp.abs(x) - 1.0, 0.0) ** 2) for x in (lam, kappa))
    elastic = value - excess / jnp.where(eps > 0, 2 * eps, 1.0)
    return value / scale, jnp.where(eps > 0, elastic, -jnp.inf)
