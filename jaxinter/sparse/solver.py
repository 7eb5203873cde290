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
halved. Where the iterations end before it is settled, a split that is proven within the tolerance
is still returned: this phase's if it is one, else the sparsest seen.

Everything is per sample (tau, k, eps, restarts): samples of a batch do not see each other, save
that all run until the last is done. Units: max |w| = 1. float64 throughout: float32 floors at a gap
of 1e-4 to 2e-3. The method's mathematics and measurements: see problem.py and bench/README.md.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinter.sparse import projection
from jaxinter.sparse.problem import (
    dual_bounds,
    graph_offset,
    or_effects,
    strength,
    total,
    without_empty,
)

CHECK_EVERY = 25
# Restart when the step is this part of its first size, or this part and growing, or when this part
# of the phase's iterations has passed since the last restart (the usual case: 0.25 took 11 % fewer
# iterations to a gap of 1e-5 than 0.36, 31 % fewer than 0.5, over 30 real tables of 10 players).
RESTART_SUFFICIENT, RESTART_GROWING, RESTART_LONG = 0.2, 0.8, 0.25
# Parts of the tolerance at which the two phases end. A tighter second phase costs little more and
# needs less halving of eps: at 1/4 two starts agree better than at 1/2 for the same iterations.
PHASE_1_SHARE, PHASE_2_SHARE = 0.5, 0.25
TAU_STEP = 3.0  # largest change of tau at one restart


class Split(NamedTuple):
    """A feasible candidate."""

    a_delta: jax.Array  # [samples, 2, 2**n]
    l1: jax.Array  # [samples, 1]: sum of absolute effects
    l2: jax.Array  # and of squared effects

    def objective(self, eps: jax.Array) -> jax.Array:
        return self.l1 + eps / 2 * self.l2


class State(NamedTuple):
    """Of each sample; vectors ``[samples, blocks, 2**n]``, scalars ``[samples, 1]``."""

    z: jax.Array
    anchor: jax.Array
    k: jax.Array  # steps since the restart
    tau: jax.Array  # scale between primal and dual
    first_step: jax.Array  # |y - x| at the first check after the restart; inf before it
    last_step: jax.Array
    eps: jax.Array  # tie-break: 0 in phase 1
    best: Split  # of this phase, by its objective (with eps)
    sparsest: Split  # of all phases, by L1 strength
    lower: jax.Array  # best lower bound on this phase's objective
    dual: jax.Array  # best lower bound on the L1 optimum, over both phases
    iterations: jax.Array  # float64, as all counts here
    phase_began: jax.Array  # iterations before this phase
    done: jax.Array


class Solution(NamedTuple):
    """In units of max |w|: a and delta ``[samples, 2**n]``, the rest ``[samples, 1]``."""

    a: jax.Array
    delta: jax.Array
    dual: jax.Array
    eps: jax.Array  # that settled the tie-break; NaN where the iterations ended before
    iterations: jax.Array


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
    margin: jax.Array,
    *,
    boxed: bool,
    max_iterations: int,
) -> Solution:
    """Solves for w ``[samples, 2**n]``, max |w| = 1 and w(empty) = 0, n >= 1.

    Args:
      zeta: ``[samples, 1]`` bound of the residual; not read unless `boxed`. At 1 or more, or where
        w is 0, the answer is known: no effects.
      start: ``[samples, 2, 2**n]``, a and delta to begin from.
      tol: relative gap; tie_break: eps of phase 2, 0 for none; margin: how far residuals stay
        within the box (at most half of it), so that later rounding stays within too. Scalars.
    """
    n = w.shape[-1].bit_length() - 1
    kappa = 1.0 if n <= 11 else 2.0  # scale of the residual's block; measured
    factors = projection.half_schur(n, kappa) if boxed else projection.rotations(n)
    c = graph_offset(w)
    bound = zeta if boxed else None
    inner: jax.Array | None = zeta - jnp.minimum(margin, zeta / 2) if boxed else None
    box: jax.Array | None = None if inner is None else inner / kappa

    def split_of(a: jax.Array, delta: jax.Array) -> Split:
        b = or_effects(c, a, delta if boxed else None)
        return Split(jnp.stack([a, delta], axis=1), strength(a, b), total(a * a) + total(b * b))

    def keep(new: Split, old: Split, where: jax.Array) -> Split:
        a_delta = jnp.where(where[:, None], new.a_delta, old.a_delta)
        return Split(a_delta, jnp.where(where, new.l1, old.l1), jnp.where(where, new.l2, old.l2))

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
        split = split_of(a, delta)
        lam = (y[:, 1] + s.z[:, 1] - 2 * x[:, 1]) / s.tau
        dual, elastic = dual_bounds(c, bound, lam, s.eps)
        dual = jnp.where(s.done, s.dual, jnp.maximum(s.dual, dual))
        better = ~s.done & (split.objective(s.eps) < s.best.objective(s.eps))
        return s._replace(
            best=keep(split, s.best, better),
            sparsest=keep(split, s.sparsest, ~s.done & (split.l1 < s.sparsest.l1)),
            dual=dual,
            lower=jnp.where(s.eps > 0, jnp.maximum(s.lower, elastic), dual),
        )

    def proven(split: Split, dual: jax.Array) -> jax.Array:
        return split.l1 - dual <= tol * split.l1

    def change_phase(s: State, x: jax.Array) -> State:
        share = jnp.where(s.eps > 0, PHASE_2_SHARE, PHASE_1_SHARE)
        upper = s.best.objective(s.eps)
        close = ~s.done & (upper - s.lower <= share * tol * upper)
        finished = close & ((tie_break == 0) | (s.eps > 0) & proven(s.best, s.dual))
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
        steps = jnp.minimum(CHECK_EVERY, max_iterations - jnp.max(s.iterations)).astype(jnp.int32)
        carry = (s.z, s.k, s.anchor, s.tau, s.eps)
        z, k, *_ = jax.lax.fori_loop(0, steps, step, carry)
        ran = jnp.where(s.done, 0.0, steps.astype(z.dtype))
        return check(s._replace(z=z, k=k, iterations=s.iterations + ran))

    def unfinished(s: State) -> jax.Array:
        return jnp.any(~s.done) & (jnp.max(s.iterations) < max_iterations)

    start_split, known = starting_split(w, bound, inner, start)
    first = initial_state(split_of(*start_split), c, known, kappa if boxed else None)
    # The multiplier of the full coalition alone: no split does without |w(full)|, less the noise.
    trivial = jnp.abs(w[:, -1:]) - (0.0 if bound is None else bound)
    first = first._replace(dual=jnp.where(known, 0.0, jnp.maximum(trivial, 0.0)))
    s = jax.lax.while_loop(unfinished, body, first)
    chosen = keep(s.best, s.sparsest, s.done | proven(s.best, s.dual))
    a_delta = jnp.where(known[:, None], first.best.a_delta, chosen.a_delta)
    eps = jnp.where(s.done | (tie_break == 0), s.eps, jnp.nan)
    return Solution(a_delta[:, 0], a_delta[:, 1], s.dual, eps, s.iterations.astype(jnp.int32))


def starting_split(
    w: jax.Array, zeta: jax.Array | None, inner: jax.Array | None, start: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """(a, delta) to begin from, and where they are the answer: w is 0, or lies within the box."""
    a, delta = without_empty(start[:, 0]), without_empty(start[:, 1])
    delta = jnp.clip(delta, -inner, inner) if inner is not None else jnp.zeros_like(delta)
    known = jnp.max(jnp.abs(w), axis=-1, keepdims=True) <= (0.0 if zeta is None else zeta)
    return (jnp.where(known, 0.0, a), jnp.where(known, w, delta)), known


def initial_state(split: Split, c: jax.Array, known: jax.Array, kappa: float | None) -> State:
    a, delta = split.a_delta[:, 0], split.a_delta[:, 1]
    b = or_effects(c, a, None if kappa is None else delta)
    z = jnp.stack([a, b] if kappa is None else [a, b, delta / kappa], axis=1)
    scalar = jnp.zeros_like(split.l1)
    return State(
        z=z,
        anchor=z,
        k=scalar,
        tau=jnp.where(known, 1.0, split.l1 / a.shape[-1] / 2),
        first_step=scalar + jnp.inf,
        last_step=scalar + jnp.inf,
        eps=scalar,
        best=split,
        sparsest=split,
        lower=scalar - jnp.inf,
        dual=scalar,
        iterations=scalar,
        phase_began=scalar,
        done=known,
    )
