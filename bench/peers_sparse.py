# SPDX-License-Identifier: Apache-2.0
"""Peers of the sparse solver: exact LP solvers, the published optimiser, and Adam.

Each takes tables w = v - v(empty) and the bound zeta on the residual in the same units, and gives
the L1 strength where it ends, sum_{S not empty} |AND(S)| + |OR(S)| of a split that keeps to the
bound, and the seconds of the solve alone: not of building matrices, nor of compiling.
"""

import time
from functools import lru_cache, partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize, sparse

import jaxinter as ji

# Factors of Kronecker powers. AND effects are M u; OR effects are -P u; AND effects a and residual
# delta taken from w leave the OR effects K a + P delta - P w.
M, P, K = ((1, 0), (-1, 1)), ((0, 1), (1, -1)), ((1, 1), (0, -1))


def strength(w: np.ndarray, gamma: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """L1 strength ``[...]`` of the split (w - delta) / 2 + gamma in AND, the rest in OR."""
    half = (w - delta) / 2
    effects = ji.and_interactions(half + gamma), ji.or_interactions(half - gamma)
    return sum(np.abs(effect[..., 1:]).sum(axis=-1) for effect in effects)


def highs(
    w: np.ndarray, zeta: float, solver: str = "ds", time_limit: float | None = None
) -> tuple[float, float]:
    """The linear program in HiGHS, by dual simplex ("ds") or interior point ("ipm").

        min sum |a| + |b|   where   b - K a - P delta = -P w,  |delta| <= zeta,

    with K and P sparse, 3^n nonzeros each, and the empty set dropped.

    Args:
      w: one table ``[2**n]``.
      time_limit: in seconds; NaN is the objective where it is not enough.
    """
    k, p = (_power(factor, len(w))[1:, 1:] for factor in (K, P))
    one = sparse.eye_array(len(w) - 1)
    blocks = [-k, k, one, -one]  # a+, a-, b+, b-
    bounds = [(0.0, None)] * (4 * len(w) - 4)
    cost = np.ones(len(bounds))
    if zeta > 0:  # and delta
        blocks.append(-p)
        bounds += [(-zeta, zeta)] * (len(w) - 1)
        cost = np.append(cost, np.zeros(len(w) - 1))
    equal = {"A_eq": sparse.hstack(blocks, format="csc"), "b_eq": -(p @ w[1:])}
    limit = {} if time_limit is None else {"time_limit": time_limit}
    start = time.perf_counter()
    result = optimize.linprog(cost, **equal, bounds=bounds, method=f"highs-{solver}", options=limit)
    seconds = time.perf_counter() - start
    return (float(result.fun) if result.status == 0 else np.nan), seconds


def published(
    w: np.ndarray,
    zeta: np.ndarray,
    steps: int = 10_000,
    rate: float = 1e-5,
    momentum: float = 0.9,
) -> tuple[np.ndarray, np.ndarray]:
    """The optimiser of the papers, as published for PyTorch: one table after the other, float32.

    Gradient descent with momentum on the L1 norm of AND (w + q) / 2 + p and OR (w + q) / 2 - p,
    both by dense ``2**n x 2**n`` matrices; p and q begin at 0, q is clamped to the bound before
    each step, and the rate falls to a tenth, evenly in its logarithm.

    Args:
      w: ``[samples, 2**n]``.
      zeta: ``[samples]`` or one for all.

    Returns:
      objective and seconds, ``[samples]`` each.
    """
    import torch

    dense = [_power(factor, w.shape[-1]).toarray().astype(np.float32) for factor in (M, P)]
    to_and, to_or = torch.from_numpy(dense[0]), -torch.from_numpy(dense[1])
    to_or[0] = to_and[0]  # published so: u(empty) is the OR effect of the empty set
    rates = np.geomspace(rate, rate / 10, steps)
    objective, seconds = [], []
    for table, bound in zip(w, np.broadcast_to(zeta, len(w)).tolist()):
        v = torch.from_numpy(table.astype(np.float32))
        p = torch.zeros_like(v, requires_grad=True)
        q = torch.zeros_like(v, requires_grad=bound > 0)
        optimizer = torch.optim.SGD([p, q] if bound > 0 else [p], lr=rate, momentum=momentum)
        start = time.perf_counter()
        for rate_now in rates:
            with torch.no_grad():
                q.clamp_(-bound, bound)
            half = (v + q) / 2
            loss = (to_and @ (half + p)).abs().sum() + (to_or @ (half - p)).abs().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.param_groups[0]["lr"] = rate_now
            optimizer.step()
        seconds.append(time.perf_counter() - start)
        gamma, delta = (x.detach().numpy().astype(np.float64) for x in (p, -q))
        gamma[0] = delta[0] = 0.0
        objective.append(strength(table, gamma, delta.clip(-bound, bound)))
    return np.array(objective), np.array(seconds)


def adam(
    w: np.ndarray, zeta: np.ndarray, steps: int = 10_000, rate: float = 3e-3
) -> tuple[np.ndarray, float]:
    """optax Adam on (gamma, delta), given every help: the matrix-free transforms of this library,
    float64, w scaled to max 1, a cosine schedule, all tables in one batch.

    Args:
      w: ``[samples, 2**n]``.
      zeta: ``[samples]`` or one for all.

    Returns:
      objective ``[samples]``, and seconds a table.
    """
    with jax.enable_x64(True):
        scale = np.abs(w).max(axis=-1, keepdims=True)
        bound = np.broadcast_to(zeta, len(w))[:, None] / scale
        run = _adam.lower(jnp.asarray(w / scale), jnp.asarray(bound), rate, steps).compile()
        start = time.perf_counter()
        gamma, delta = jax.block_until_ready(run(jnp.asarray(w / scale), jnp.asarray(bound), rate))
        seconds = (time.perf_counter() - start) / len(w)
    gamma, delta = (scale * np.asarray(x) for x in (gamma, delta))
    return strength(w, gamma, delta), seconds


@partial(jax.jit, static_argnames="steps")
def _adam(w: jax.Array, bound: jax.Array, rate: float, steps: int) -> tuple[jax.Array, jax.Array]:
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def loss(point):
        gamma, delta = (x.at[:, 0].set(0.0) for x in point)
        half = (w - delta) / 2
        effects = ji.and_interactions(half + gamma), ji.or_interactions(half - gamma)
        return sum(jnp.abs(effect[:, 1:]).sum() for effect in effects)

    def step(carry, _):
        point, state = carry
        updates, state = optimizer.update(jax.grad(loss)(point), state)
        gamma, delta = optax.apply_updates(point, updates)
        return ((gamma, jnp.clip(delta, -bound, bound)), state), None

    start = (jnp.zeros_like(w), jnp.zeros_like(w))
    (point, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
    gamma, delta = (x.at[:, 0].set(0.0) for x in point)
    return gamma, delta


@lru_cache
def _power(factor: tuple[tuple[int, int], ...], size: int) -> sparse.csc_array:
    """The Kronecker power of a 2 x 2 factor that acts on tables of `size`."""
    factors = [sparse.csc_array(np.array(factor, float))] * (size.bit_length() - 1)
    return reduce(partial(sparse.kron, format="csc"), factors)
