# SPDX-License-Identifier: Apache-2.0
"""Restarted Halpern Peaceman-Rachford splitting of the program in problem.py.

Two sets of constraints are easy alone: the graph (projection.py) and the objective with its box
(`prox`). Reflecting a point z through both, and pulling it towards an anchor, converges:

    x = prox(z);  y = project(2x - z);  z <- anchor / (k+2) + (k+1)/(k+2) (z + 2 (y - x))

Every `CHECK_EVERY` steps each group is certified, and then restarted from where it is (anchor = z)
if the step |y - x| has shrunk enough, or has stopped shrinking, or the run has grown long; at a
restart the scale tau between primal and dual moves to balance how far each has come.

The optimum is not unique, so a sample goes through two phases. In the first there is no tie-break
(eps = 0); at half the tolerance its lower bound is kept. In the second eps > 0 selects the split
of least L2 norm; where its own gap is closed but its L1 gap is not within the tolerance, eps is
halved. Where the iterations end before it is settled, a split that is proven within the tolerance
is still returned: this phase's if it is one, else the sparsest seen.

csrc/sparse_cpu.cc is the same method in C++, one sample at a time, and goes on from it: with noise,
for one model of 8 players or more, it takes to Newton's method (csrc/sparse_newton.h) once that is
likely to be faster, from the gap reached, the size of the explanation and the digits that are left.
Its Newton matrix follows the few effects and residuals that change in a step by rank-1 updates of
its factor: 4 to 20 times faster than factorizing anew. ms a sample of 30 real tables, noise 0.02,
two threads, first-order alone / both, to 1e-4 and to 1e-5: n = 10 2.7 / 2.4 and 6.5 / 4.4, with the
tie-break 8.3 / 6.6 and 25 / 13; n = 12 18 / 14 and 42 / 21, with the tie-break 57 / 29, 158 / 53.
With noise 0.05 at n = 12, 20,000 iterations leave the tie-break of 1 of 30 samples open; alone, of
9. Without noise every value is matched, |J| is near 2^n, and the first-order method is left to
itself.

Everything is per group (tau, k, eps, restarts): groups of a batch do not see each other, save
that all run until the last is done. Units: max |w| = 1. float64 throughout: float32 floors at a gap
of 1e-4 to 2e-3. The method's mathematics and measurements: see problem.py and bench/README.md.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinter._primitives import MOBIUS, subset_transform, without_empty
from jaxinter.sparse import projection
from jaxinter.sparse.problem import (
    K_TRANSPOSED,
    P,
    dual_bounds,
    graph_offset,
    multiplier_effects,
    or_effects,
    prox,
    scale_of,
    strength,
    total,
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
# A start whose strength is more than this many times the default's is of no help, nor is a
# multiplier that lies this many times outside the dual ball.
WORST_START = 10.0


class Split(NamedTuple):
    """A feasible candidate."""

    a_delta: jax.Array  # [groups, 2, models, 2**n]
    l1: jax.Array  # [groups, 1, 1]: the objective
    l2: jax.Array  # and the sum of squared effects

    def objective(self, eps: jax.Array) -> jax.Array:
        return self.l1 + eps / 2 * self.l2


class State(NamedTuple):
    """Of each group; vectors ``[groups, blocks, models, 2**n]``, scalars ``[groups, 1, 1]``."""

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
    y: jax.Array  # and its gradient by w, [groups, models, 2**n]
    iterations: jax.Array  # float64, as all counts here
    phase_began: jax.Array  # iterations before this phase
    done: jax.Array


class Solution(NamedTuple):
    """In units of max |w|, JAX or numpy: a, delta and y ``[groups, models, 2**n]``, the rest
    ``[groups]``."""

    a: Any
    delta: Any
    y: Any  # the gradient of the lower bound by w
    dual: Any
    eps: Any  # that settled the tie-break; NaN where the iterations ended before
    iterations: Any


class Program(NamedTuple):
    """What the iteration needs to know of the linear program."""

    c: jax.Array  # offset of the graph, [groups, models, 2**n]
    zeta: jax.Array | None  # [groups, models, 1], bound of the residual; None without noise
    inner: jax.Array | None  # the same less a margin for rounding: where residuals are kept
    kappa: float  # scale of the residual's block, delta = kappa d
    factors: projection.Rotations | projection.HalfSchur
    tol: jax.Array
    tie_break: jax.Array

    def split(self, a: jax.Array, delta: jax.Array) -> Split:
        """The feasible split of these AND effects and residual."""
        b = or_effects(self.c, a, None if self.zeta is None else delta)
        return Split(jnp.stack([a, delta], axis=1), strength(a, b), total(a * a) + total(b * b))

    def prox(self, z: jax.Array, tau: jax.Array, eps: jax.Array) -> jax.Array:
        """argmin of the objective + |x - z|^2 / (2 tau); for the residual, a clip."""
        bound = tau[:, None]
        x = prox(z[:, :2], bound) / (1 + bound * eps[:, None])
        if self.inner is not None:
            box = (self.inner / self.kappa)[:, None]
            x = jnp.concatenate([x, jnp.clip(z[:, 2:], -box, box)], axis=1)
        return without_empty(x)

    def project(self, t: jax.Array) -> jax.Array:
        """The nearest point of the graph."""
        return projection.project(self.factors, self.c, self.kappa, t)

    def proven(self, split: Split, dual: jax.Array) -> jax.Array:
        """Whether a split's L1 strength is within tol of the lower bound."""
        return split.l1 - dual <= self.tol * split.l1


@partial(jax.jit, static_argnames=("boxed", "max_iterations"))
def solve(
    w: jax.Array,
    zeta: jax.Array,
    start: jax.Array | None,
    tol: jax.Array,
    tie_break: jax.Array,
    margin: jax.Array,
    *,
    boxed: bool,
    max_iterations: int,
) -> Solution:
    """Solves for w ``[groups, models, 2**n]``, max |w| = 1 and w(empty) = 0, n >= 1.

    Args:
      zeta: ``[groups, models, 1]`` bound of the residual; not read unless `boxed`. Where w lies
        within it, the answer is known: no effects.
      start: ``[groups, models, 3, 2**n]``, a, delta and y to begin from where they are of use;
        None: half of w in AND.
      tol: relative gap; tie_break: eps of phase 2, 0 for none; margin: how far residuals stay
        within the box (at most half of it), so that later rounding stays within too. Scalars.
    """
    n = w.shape[-1].bit_length() - 1
    kappa = 1.0 if n <= 11 else 2.0  # measured: fewer iterations at n = 12 and 14
    program = Program(
        c=graph_offset(w),
        zeta=zeta if boxed else None,
        inner=zeta - jnp.minimum(margin, zeta / 2) if boxed else None,
        kappa=kappa,
        factors=projection.half_schur(n, kappa) if boxed else projection.rotations(n),
        tol=tol,
        tie_break=tie_break,
    )

    def unfinished(s: State) -> jax.Array:
        return jnp.any(~s.done) & (jnp.max(s.iterations) < max_iterations)

    def run_and_check(s: State) -> State:
        steps = jnp.minimum(CHECK_EVERY, max_iterations - jnp.max(s.iterations)).astype(jnp.int32)
        s = jax.lax.fori_loop(0, steps, lambda _, s: iterate(program, s), s)
        ran = jnp.where(s.done, 0.0, steps.astype(s.k.dtype))
        s = s._replace(iterations=s.iterations + ran)
        x = program.prox(s.z, s.tau, s.eps)
        y = program.project(2 * x - s.z)
        return restart(program, change_phase(program, certify(program, s, x, y), x), norm(y - x))

    first = initial_state(program, w, start)
    s = jax.lax.while_loop(unfinished, run_and_check, first)
    chosen = keep(s.best, s.sparsest, s.done | program.proven(s.best, s.dual))
    eps = jnp.where(s.done | (tie_break == 0), s.eps, jnp.nan)
    a, delta = chosen.a_delta[:, 0], chosen.a_delta[:, 1]
    dual, eps, iterations = (x[:, 0, 0] for x in (s.dual, eps, s.iterations))
    return Solution(a, delta, s.y, dual, eps, iterations.astype(jnp.int32))


def initial_state(program: Program, w: jax.Array, start: jax.Array | None) -> State:
    """The start, or the answer where it is known: where w is 0, or lies within the box."""
    a, delta = without_empty(subset_transform(w / 2, MOBIUS)), jnp.zeros_like(w)
    y = jnp.zeros_like(w)
    if start is not None:
        *given, multiplier = (without_empty(start[:, :, part]) for part in range(3))
        limit = WORST_START * program.split(a, delta).l1
        useful = program.split(*given).l1 <= limit
        a, delta = jnp.where(useful, given[0], a), jnp.where(useful, given[1], delta)
        y = jnp.where(useful, multiplier, 0.0)
    inner = 0.0 if program.inner is None else program.inner
    zeta = 0.0 if program.zeta is None else program.zeta
    known = jnp.all(jnp.abs(w) <= zeta, axis=(-2, -1), keepdims=True)
    a = jnp.where(known, 0.0, a)
    delta = jnp.where(known, w, jnp.clip(delta, -inner, inner))
    b = or_effects(program.c, a, None if program.zeta is None else delta)
    blocks = [a, b] if program.zeta is None else [a, b, delta / program.kappa]
    split = program.split(a, delta)
    tau = jnp.where(known, 1.0, split.l1 / (a.shape[-1] * a.shape[-2]) / 2)
    # z = x + tau times the multipliers that y stands for
    scale = scale_of(*multiplier_effects(y))
    value = total(w * y) - total(zeta * jnp.abs(y))
    y = jnp.where(jnp.isfinite(value) & (scale <= WORST_START), y, 0.0)
    superset, meets = multiplier_effects(y)
    slopes = [superset, meets, program.kappa * y][: len(blocks)]
    z = jnp.stack(blocks, axis=1) + tau[:, None] * jnp.stack(slopes, axis=1)
    scale = scale_of(superset, meets)
    given_dual = (total(w * y) - total(zeta * jnp.abs(y))) / scale
    scalar = jnp.zeros_like(split.l1)
    # The multiplier of the full coalition alone: no split does without |w(full)|, less the noise.
    full = w[..., -1:]
    worth = jnp.maximum(jnp.abs(full) - zeta, 0.0)
    trivial = jnp.where(known, 0.0, total(worth))
    y_full = jnp.zeros_like(w).at[..., -1:].set(jnp.where(worth > 0, jnp.sign(full), 0.0))
    return State(
        z=z,
        anchor=z,
        k=scalar,
        tau=tau,
        first_step=scalar + jnp.inf,
        last_step=scalar + jnp.inf,
        eps=scalar,
        best=split,
        sparsest=split,
        lower=scalar - jnp.inf,
        dual=jnp.maximum(trivial, given_dual),
        y=jnp.where(given_dual > trivial, y / scale, y_full),
        iterations=scalar,
        phase_began=scalar,
        done=known,
    )


def iterate(program: Program, s: State) -> State:
    """One Halpern step."""
    x = program.prox(s.z, s.tau, s.eps)
    y = program.project(2 * x - s.z)
    pull = (1 / (s.k + 2))[:, None]
    z = pull * s.anchor + (1 - pull) * (s.z + 2 * (y - x))
    return s._replace(z=z, k=s.k + 1)


def certify(program: Program, s: State, x: jax.Array, y: jax.Array) -> State:
    """The split and the multiplier at this point, kept where they are the best so far.

    The residual is y's, clipped into its box; the effects take what clipping took, each as little
    as the graph allows (over real tables of 10, 12, 14 players 5, 14, 19 % fewer iterations to
    1e-3 than when b took it all).
    """
    a, delta = y[:, 0], jnp.zeros_like(y[:, 0])
    if program.inner is not None:
        delta = jnp.clip(program.kappa * y[:, 2], -program.inner, program.inner)
        taken = without_empty(subset_transform(delta - program.kappa * y[:, 2], P))
        n = a.shape[-1].bit_length() - 1
        a = a - subset_transform(projection.solve(projection.rotations(n), taken), K_TRANSPOSED)
    split = program.split(a, delta)
    lam = (y[:, 1] + s.z[:, 1] - 2 * x[:, 1]) / s.tau
    dual, elastic, y = dual_bounds(program.c, program.zeta, lam, s.eps)
    improved = ~s.done & (dual > s.dual)
    dual = jnp.where(improved, dual, s.dual)
    better = ~s.done & (split.objective(s.eps) < s.best.objective(s.eps))
    return s._replace(
        best=keep(split, s.best, better),
        sparsest=keep(split, s.sparsest, ~s.done & (split.l1 < s.sparsest.l1)),
        dual=dual,
        y=jnp.where(improved, y, s.y),
        lower=jnp.where(s.eps > 0, jnp.maximum(s.lower, elastic), dual),
    )


def change_phase(program: Program, s: State, x: jax.Array) -> State:
    """Phase 1 to phase 2, phase 2 with half the eps, or done."""
    share = jnp.where(program.tie_break > 0, PHASE_1_SHARE, 1.0)
    share = jnp.where(s.eps > 0, PHASE_2_SHARE, share)
    upper = s.best.objective(s.eps)
    close = ~s.done & (upper - s.lower <= share * program.tol * upper)
    settled = (s.eps > 0) & program.proven(s.best, s.dual)
    finished = close & (settled | (program.tie_break == 0))
    onward = close & ~finished
    eps = jnp.where(onward, jnp.where(s.eps > 0, s.eps / 2, program.tie_break), s.eps)
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


def restart(program: Program, s: State, size: jax.Array) -> State:
    """Moves the anchor, and balances tau, where the step |y - x| says so."""
    fresh = jnp.isinf(s.first_step)
    first = jnp.where(fresh, size, s.first_step)
    enough = size <= RESTART_SUFFICIENT * first
    stuck = (size <= RESTART_GROWING * first) & (size > s.last_step)
    long = s.k >= RESTART_LONG * (s.iterations - s.phase_began)
    go = ~fresh & (enough | stuck | long)
    # z = x + tau * multiplier; move tau so that both parts have come equally far.
    x, x_anchor = (program.prox(z, s.tau, s.eps) for z in (s.z, s.anchor))
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


def keep(new: Split, old: Split, where: jax.Array) -> Split:
    """`new` for the groups where `where` ``[groups, 1, 1]`` is true, else `old`."""
    a_delta = jnp.where(where[:, None], new.a_delta, old.a_delta)
    return Split(a_delta, jnp.where(where, new.l1, old.l1), jnp.where(where, new.l2, old.l2))


def norm(x: jax.Array) -> jax.Array:
    """L2 norm of each group of ``[groups, blocks, models, 2**n]``, ``[groups, 1, 1]``."""
    return jnp.sqrt(jnp.sum(x * x, axis=(1, 3), keepdims=True).sum(axis=2))
