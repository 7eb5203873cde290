# SPDX-License-Identifier: Apache-2.0
"""Restarted Halpern Peaceman-Rachford splitting of the program in problem.py.

Two sets of constraints are easy alone: the graph (projection.py) and the objective with its box
(`prox`). Reflecting a point z through both, and pulling it towards an anchor, converges:

    x = prox(z);  y = project(2x - z);  z <- anchor / (k+2) + (k+1)/(k+2) (z + 2 (y - x))

Every `CHECK_EVERY` steps each sample is certified, and then restarted from where it is (anchor = z)
if the step |y - x| has shrunk enough, or has stopped shrinking, or the run has grown long; at a
restart the scale tau between primal and dual moves to balance how far each has come.

The optimum is not unique, so a sample goes through two phases. In the first there is no tie-break
(eps = 0); at half the tolerance its lower bound is kept. In the second eps > 0 selects the split
of least L2 norm; where its own gap is closed but its L1 gap is not within the tolerance, eps is
halved.

Everything is per sample (tau, k, eps, restarts): samples of a batch do not see each other, save
that all run until the last is done. Units: max |w| = 1. float64 throughout: float32 floors at a gap
of 1e-4 to 2e-3. The method's mathematics and measurements: see problem.py and bench/README.md.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinter.sparse import projection
from jaxinter.sparse.problem import dual_bounds, graph_offset, objective, or_effects, without_empty

CHECK_EVERY = 25
# Restart when the step is this part of its first size, or this part and growing, or when this part
# of the phase's iterations has passed since the last restart (the usual case: 0.25 took 11 % fewer
# iterations to a gap of 1e-5 than 0.36, 31 % fewer than 0.5, over 30 real tables of 10 players).
RESTART_SUFFICIENT, RESTART_GROWING, RESTART_LONG = 0.2, 0.8, 0.25
# Parts of the tolerance at which the two phases end. A tighter second phase costs little more and
# needs less halving of eps: at 1/4 two starts agree better than at 1/2 for the same iterations.
PHASE_1_SHARE, PHASE_2_SHARE = 0.5, 0.25
TAU_STEP = 3.0  # largest change of tau at one restart
# Residuals stay this far (units of max |w|) within the box, so that rounding stays within it too.
BOX_MARGIN = 1e-12


class State(NamedTuple):
    """Of each sample; vectors ``[samples, blocks, 2**n]``, scalars ``[samples, 1]``."""

    z: jax.Array
    anchor: jax.Array
    k: jax.Array  # steps since the restart
    tau: jax.Array  # scale between primal and dual
    first_step: jax.Array  # |y - x| at the first check after the restart; inf before it
    last_step: jax.Array
    eps: jax.Array  # tie-break: 0 in phase 1
    best: jax.Array  # [samples, 2, 2**n]: a and delta of the best split of this phase
    upper: jax.Array  # its objective (with eps)
    lower: jax.Array  # best lower bound on that
    dual: jax.Array  # best lower bound on the L1 optimum, over both phases
    iterations: jax.Array  # float64, as all counts here
    phase_began: jax.Array  # iterations before this phase
    done: jax.Array


class Solution(NamedTuple):
    """In units of max |w|: a and delta ``[samples, 2**n]``, the rest ``[samples, 1]``."""

    a: jax.Array
    delta: jax.Array
    dual: jax.Array
    eps: jax.Array
    iterations: jax.Array
    converged: jax.Array


def prox(z: jax.Array, tau: jax.Array, eps: jax.Array, box: jax.Array | None) -> jax.Array:
    """argmin of the objective + |x - z|^2 / (2 tau): soft threshold; clip for the residual."""
    ab, bound = z[:, :2], tau[:, None]
    x = (ab - jnp.clip(ab, -bound, bound)) / (1 + bound * eps[:, None])
    if box is not None:
        x = jnp.concatenate([x, jnp.clip(z[:, 2:], -box[:, None], box[:, None])], axis=1)
    return without_empty(x)


def norm(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(x * x, axis=(1, 2)))[:, None]


@partial(jax.jit, static_argnames=("boxed", "max_iterations"))
def solve(
    w: jax.Array,
    zeta: jax.Array,
    start: jax.Array,
    tol: jax.Array,
    tie_break: jax.Array,
    *,
    boxed: bool,
    max_iterations: int,
) -> Solution:
    """Solves for w ``[samples, 2**n]``, max |w| = 1 and w(empty) = 0, n >= 1.

    Args:
      zeta: ``[samples, 1]`` bound of the residual; not read unless `boxed`. At 1 or more, or where
        w is 0, the answer is known: no effects.
      start: ``[samples, 2, 2**n]``, a and delta to begin from.
      tol: relative gap; tie_break: eps of phase 2, 0 for none. float64 scalars.
    """
    n = w.shape[-1].bit_length() - 1
    kappa = 1.0 if n <= 11 else 2.0  # scale of the residual's block; measured
    factors = projection.half_schur(n, kappa) if boxed else projection.rotations(n)
    c = graph_offset(w)
    box = jnp.maximum(zeta - BOX_MARGIN, 0.0) / kappa if boxed else None
    bound = zeta if boxed else None

    def step(_, carry):
        z, k, anchor, tau, eps = carry
        x = prox(z, tau, eps, box)
        y = projection.project(factors, c, kappa, 2 * x - z)
        pull = (1 / (k + 2))[:, None]
        return pull * anchor + (1 - pull) * (z + 2 * (y - x)), k + 1, anchor, tau, eps

    def check(s: State) -> State:
        x = prox(s.z, s.tau, s.eps, box)
        y = projection.project(factors, c, kappa, 2 * x - s.z)
        s = certify(s, x, y)
        s = change_phase(s, x)
        return restart(s, x, y)

    def certify(s: State, x: jax.Array, y: jax.Array) -> State:
        a = y[:, 0]
        delta = jnp.zeros_like(a) if box is None else kappa * jnp.clip(y[:, 2], -box, box)
        candidate = jnp.stack([a, delta], axis=1)
        upper = objective_of(candidate, s.eps)
        lam = (y[:, 1] + s.z[:, 1] - 2 * x[:, 1]) / s.tau
        dual, elastic = dual_bounds(c, bound, lam, s.eps)
        better = ~s.done & (upper < s.upper)
        dual = jnp.where(s.done, s.dual, jnp.maximum(s.dual, dual))
        return s._replace(
            best=jnp.where(better[:, None], candidate, s.best),
            upper=jnp.where(better, upper, s.upper),
            dual=dual,
            lower=jnp.where(s.eps > 0, jnp.maximum(s.lower, elastic), dual),
        )

    def objective_of(split: jax.Array, eps: jax.Array | float) -> jax.Array:
        a, delta = split[:, 0], split[:, 1]
        return objective(a, or_effects(c, a, delta if boxed else None), eps)

    def change_phase(s: State, x: jax.Array) -> State:
        share = jnp.where(s.eps > 0, PHASE_2_SHARE, PHASE_1_SHARE)
        close = ~s.done & (s.upper - s.lower <= share * tol * s.upper)
        l1 = objective_of(s.best, 0.0)
        accurate = l1 - s.dual <= tol * l1
        last = (s.eps > 0) | (tie_break == 0)
        finished = close & last & (accurate | (tie_break == 0))
        onward = close & ~finished
        eps = jnp.where(onward, jnp.where(s.eps > 0, s.eps / 2, tie_break), s.eps)
        # The new tie-break's prox has the same x at this z: the primal does not jump.
        shift = (s.tau * (eps - s.eps))[:, None] * x[:, :2]
        z = s.z.at[:, :2].add(shift)
        return s._replace(
            z=z,
            anchor=jnp.where(onward[:, None], z, s.anchor),
            k=jnp.where(onward, 0.0, s.k),
            first_step=jnp.where(onward, jnp.inf, s.first_step),
            eps=eps,
            upper=jnp.where(onward, objective_of(s.best, eps), s.upper),
            lower=jnp.where(onward, -jnp.inf, s.lower),
            phase_began=jnp.where(onward, s.iterations, s.phase_began),
            done=s.done | finished,
        )

    def restart(s: State, x: jax.Array, y: jax.Array) -> State:
        size = norm(y - x)
        fresh = jnp.isinf(s.first_step)
        first = jnp.where(fresh, size, s.first_step)
        go = (size <= RESTART_SUFFICIENT * first) | (
            (size <= RESTART_GROWING * first) & (size > s.last_step)
        )
        go = ~fresh & (go | (s.k >= RESTART_LONG * (s.iterations - s.phase_began)))
        # z = x + tau * multiplier; move tau so that both parts have come equally far.
        x = prox(s.z, s.tau, s.eps, box)
        x_anchor = prox(s.anchor, s.tau, s.eps, box)
        multiplier, multiplier_anchor = s.z - x, s.anchor - x_anchor
        moved, multiplier_moved = norm(x - x_anchor), norm(multiplier - multiplier_anchor)
        usable = (moved > 0) & (multiplier_moved > 0)
        ratio = jnp.where(usable, moved / jnp.where(usable, multiplier_moved, 1.0), 1.0)
        factor = jnp.where(go, jnp.clip(jnp.sqrt(ratio), 1 / TAU_STEP, TAU_STEP), 1.0)
        z = jnp.where(go[:, None], x + factor[:, None] * multiplier, s.z)
        return s._replace(
            z=z,
            anchor=jnp.where(go[:, None], z, s.anchor),
            k=jnp.where(go, 0.0, s.k),
            tau=factor * s.tau,
            first_step=jnp.where(go, jnp.inf, first),
            last_step=size,
        )

    def body(s: State) -> State:
        carry = (s.z, s.k, s.anchor, s.tau, s.eps)
        z, k, *_ = jax.lax.fori_loop(0, CHECK_EVERY, step, carry)
        ran = jnp.where(s.done, 0.0, CHECK_EVERY)
        return check(s._replace(z=z, k=k, iterations=s.iterations + ran))

    def unfinished(s: State) -> jax.Array:
        return jnp.any(~s.done) & (jnp.max(s.iterations) < max_iterations)

    final = jax.lax.while_loop(unfinished, body, initial_state(w, c, bound, start, kappa))
    iterations = final.iterations.astype(jnp.int32)
    return Solution(
        final.best[:, 0], final.best[:, 1], final.dual, final.eps, iterations, final.done
    )


def initial_state(
    w: jax.Array, c: jax.Array, zeta: jax.Array | None, start: jax.Array, kappa: float
) -> State:
    a, delta = without_empty(start[:, 0]), without_empty(start[:, 1])
    if zeta is not None:
        box = jnp.maximum(zeta - BOX_MARGIN, 0.0)
        delta = jnp.clip(delta, -box, box)
    # Where the box holds all of w, and where w is 0, no effects are needed.
    known = jnp.max(jnp.abs(w), axis=-1, keepdims=True) <= (0.0 if zeta is None else zeta)
    a = jnp.where(known, 0.0, a)
    delta = jnp.where(known, w, delta if zeta is not None else 0.0)
    b = or_effects(c, a, delta if zeta is not None else None)
    blocks = [a, b] if zeta is None else [a, b, delta / kappa]
    z = jnp.stack(blocks, axis=1)
    scalar = jnp.zeros_like(w[:, :1])
    upper = jnp.where(known, 0.0, objective(a, b))
    # The multiplier of the full coalition alone: no split does without |w(full)|, less the noise.
    trivial = jnp.abs(w[:, -1:]) - (0.0 if zeta is None else zeta)
    dual = jnp.where(known, 0.0, jnp.maximum(trivial, 0.0))
    return State(
        z=z,
        anchor=z,
        k=scalar,
        tau=jnp.where(known, 1.0, jnp.mean(jnp.abs(a) + jnp.abs(b), axis=-1, keepdims=True) / 2),
        first_step=scalar + jnp.inf,
        last_step=scalar + jnp.inf,
        eps=scalar,
        best=jnp.stack([a, delta], axis=1),
        upper=upper,
        lower=dual,
        dual=dual,
        iterations=scalar,
        phase_began=scalar,
        done=known,
    )
