# SPDX-License-Identifier: Apache-2.0
"""`extract`: values in, the sparsest `Interactions` out."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, _native, _progress
from jaxinter.interactions import Interactions, and_or_sum, relative_gap
from jaxinter.sparse.problem import graph_offset, objective, or_effects
from jaxinter.sparse.solver import solve
from jaxinter.transform import mobius

# Table entries solved together in one program. Each sample of a group waits for the slowest. On a CPU
# small groups, one a thread, were measured fastest (n = 10: one sample); accelerators want width.
GROUP_ELEMENTS_CPU, GROUP_ELEMENTS = 1 << 10, 1 << 20
# float64 vectors of 2**n that a sample of a group takes at the peak (state, anchor, temporaries).
VECTORS_PER_SAMPLE = 30


class ConvergenceError(RuntimeError):
    """The gap asked for was not reached; `result` holds the `Interactions` so far."""

    def __init__(self, message: str, result: Interactions):
        super().__init__(message)
        self.result = result


def extract(
    values: Any,
    *,
    noise_ratio: Any = 0.0,
    noise_bound: Any = None,
    tol: float = 1e-4,
    tie_break: float = 0.1,
    start: Any = None,
    max_iterations: int = 20000,
    throw: bool = True,
    progress: bool | str = False,
) -> Interactions:
    """The sparsest AND-OR explanation of a table of values, with a proof of its sparsity.

        minimise  sum_{S not empty} |AND(S)| + |OR(S)|
        where     v(T) - residual(T) = v(empty) + sum_{S subset T} AND(S) + sum_{S meets T} OR(S)
        and       |residual(T)| <= bound.

    Many splits are optimal; a second phase picks the one of least L2 norm (`tie_break`), so that the
    answer does not depend on the start.

    Args:
      values: any array ``[..., 2**n]``, finite; bit i of an index is set when player i is present.
      noise_ratio: >= 0; bound = noise_ratio * |v(full) - v(empty)|, for each sample.
      noise_bound: >= 0, instead: the bound itself in units of v, broadcast over the batch ``[...]``.
      tol: relative gap to prove, (primal - dual) / primal <= tol.
      tie_break: weight eps of (eps / 2) |effects|^2 in units of max |v - v(empty)|, halved until the
        L1 gap is within tol; 0 skips the second phase.
      start: an `Interactions` of the same shape, or the AND part of a split ``[..., 2**n]`` (zeros:
        all in OR; default: half of v). Changes the time, not the answer beyond tol.
      max_iterations: a sample that needs more is not converged.
      throw: raise on that; False returns it with a warning.
      progress: show a progress bar over the samples; a string is its title.

    Returns:
      `Interactions`: effects and residual of the kind and dtype of `values` (float64 inside).

    Raises:
      ValueError, TypeError: an argument is wrong; the message names it.
      ConvergenceError: not converged after `max_iterations`; holds the result.

    Traced JAX values work under jit and vmap with throw=False (no warning is then given).

    >>> v = [0.0, 3.0, 3.0, 3.0, 1.0, 4.0, 4.0, 9.0]  # OR of 0 and 1: 3; player 2: 1; all three: 5
    >>> for kind, players, effect in extract(v).merge_singletons().top(3):
    ...     print(kind, players, round(effect, 2))
    AND (0, 1, 2) 5.0
    OR (0, 1) 3.0
    AND (2,) 1.0

    Source: papers 001 (Eq. 10) to 003 (Eq. 12), solved to a proven optimum.
    """
    problem = _prepare(values, noise_ratio, noise_bound, tol, tie_break, start, max_iterations)
    if _arrays.is_traced(values):
        if throw:
            raise TypeError(
                "extract: throw must be False for traced values (under jit or vmap): convergence is "
                "not known while tracing. Read `converged` of the result"
            )
        with jax.enable_x64(True):
            table = values.astype(jnp.float64).reshape(problem.tables.shape)
            return _result(values, _solve_group(problem._replace(tables=table)))
    result = _result(values, _solve_groups(problem, progress))
    _report(result, tol, max_iterations, throw)
    return result


class _Problem(NamedTuple):
    """Checked arguments; arrays float64 with the batch flattened to one axis."""

    tables: Any  # [samples, 2**n]
    bounds: Any  # [samples, 1]; None without noise
    ratio: Any  # [samples, 1], the same relative to |v(full) - v(empty)|, or None
    start: Any  # [samples, 2, 2**n], AND effects and residual; None for the default
    tol: float
    tie_break: float
    max_iterations: int
    dtype: np.dtype


def _prepare(values, noise_ratio, noise_bound, tol, tie_break, start, max_iterations) -> _Problem:
    traced = _arrays.is_traced(values)
    table = values if traced else _arrays.to_numpy("extract", "values", values)
    n = _checks.n_players("extract", "values", table.shape)
    dtype = _checks.float_dtype("extract", "values", table.dtype)
    if _arrays.is_jax(values):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    if not traced:
        _checks.finite_values("extract", table)
        table = np.asarray(table, np.float64)
    batch = table.shape[:-1]
    _checks.memory(
        "extract",
        n,
        VECTORS_PER_SAMPLE * 8 << n,
        _checks.free_memory(),
        "Use fewer players (merge some), or a machine with more memory.",
    )
    if not (math.isfinite(tol) and tol > 0):
        raise ValueError(f"extract: tol must be a number > 0; got {tol!r}")
    if not (math.isfinite(tie_break) and tie_break >= 0):
        raise ValueError(f"extract: tie_break must be a number >= 0; got {tie_break!r}")
    bound_of = {"noise_ratio": noise_ratio, "noise_bound": noise_bound}
    given = "noise_ratio" if noise_bound is None else "noise_bound"
    if noise_bound is not None and np.any(np.asarray(noise_ratio) != 0):
        raise ValueError(
            "extract: give one of noise_ratio and noise_bound; "
            f"got {noise_ratio!r} and {noise_bound!r}"
        )
    noise = _arrays.to_numpy("extract", given, bound_of[given])
    try:
        noise = np.broadcast_to(np.asarray(noise, np.float64), batch).reshape(-1, 1)
    except ValueError as error:
        raise ValueError(
            f"extract: {given} must broadcast to the batch shape {batch}; got shape {noise.shape}"
        ) from error
    if not (np.isfinite(noise).all() and (noise >= 0).all()):
        raise ValueError(f"extract: {given} must be finite and >= 0; got {bound_of[given]!r}")
    has_noise = bool((noise > 0).any())
    return _Problem(
        table.reshape(-1, table.shape[-1]) if not traced else jax.ShapeDtypeStruct(
            (math.prod(batch), table.shape[-1]), table.dtype
        ),
        noise if has_noise and given == "noise_bound" else None,
        noise if has_noise and given == "noise_ratio" else None,
        _start(start, batch, table.shape[-1]),
        float(tol),
        float(tie_break),
        _checks.count("extract", "max_iterations", max_iterations, least=1),
        dtype,
    )


def _start(start: Any, batch: tuple, size: int) -> np.ndarray | None:
    """``[samples, 2, 2**n]``: AND effects and residual to begin from."""
    if start is None:
        return None
    if isinstance(start, Interactions):
        pair = (start.and_effects, start.residual)
        a, delta = (np.asarray(_arrays.to_numpy("extract", "start", x), np.float64) for x in pair)
    else:
        split = np.asarray(_arrays.to_numpy("extract", "start", start), np.float64)
        _checks.n_players("extract", "start", split.shape)
        a = mobius(split)
        delta = np.zeros_like(a)
    if a.shape != (*batch, size):
        raise ValueError(f"extract: start must have shape {(*batch, size)}; got {a.shape}")
    _checks.finite_values("extract: start", a)
    return np.stack([a, delta], axis=-2).reshape(-1, 2, size)


def _solve_groups(problem: _Problem, progress: bool | str) -> dict[str, np.ndarray]:
    """Solves group after group on all threads. The group size depends on n alone (the last group is
    padded with its last sample), so one program serves any batch, and gives the same bits."""
    samples, size = problem.tables.shape
    on_cpu = jax.default_backend() == "cpu"
    group = max(1, (GROUP_ELEMENTS_CPU if on_cpu else GROUP_ELEMENTS) // size)

    def solve_from(first: int) -> dict[str, np.ndarray]:
        rows = np.minimum(np.arange(first, first + group), samples - 1)
        take = {
            name: None if getattr(problem, name) is None else getattr(problem, name)[rows]
            for name in ("tables", "bounds", "ratio", "start")
        }
        with jax.enable_x64(True):  # of this thread
            part = jax.tree.map(np.asarray, _solve_group(problem._replace(**take)))
        return jax.tree.map(lambda x: x[: samples - first], part)

    if samples == 0:
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, _solve_group(problem))
    with ThreadPoolExecutor(_native.thread_limit() if on_cpu else 1) as threads:
        try:
            starts = range(0, samples, group)
            solved = threads.map(solve_from, starts)
            title = progress if isinstance(progress, str) else "extracting"
            parts = list(_progress.track(solved, title, len(starts)) if progress else solved)
        except BaseException:  # an interrupt: let go of what has not begun
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _solve_group(problem: _Problem) -> dict[str, jax.Array]:
    return _solve_tables(
        problem.tables,
        problem.bounds,
        problem.ratio,
        problem.start,
        problem.tol,
        problem.tie_break,
        max_iterations=problem.max_iterations,
        dtype=np.dtype(problem.dtype).name,
    )


@partial(jax.jit, static_argnames=("max_iterations", "dtype"))
def _solve_tables(tables, bounds, ratio, start, tol, tie_break, *, max_iterations, dtype):
    """Fields of `Interactions` for float64 tables ``[samples, 2**n]``, effects rounded to dtype."""
    v_empty = tables[:, :1]
    v = tables - v_empty
    scale = jnp.max(jnp.abs(v), axis=-1, keepdims=True)
    unit = jnp.where(scale > 0, scale, 1.0)
    if ratio is not None:
        bounds = ratio * jnp.abs(v[:, -1:])
    if start is None:
        start = jnp.stack([_and_effects(v / 2), jnp.zeros_like(v)], axis=1)
    scalar = jnp.zeros_like(v_empty)
    if v.shape[-1] == 1 or v.shape[0] == 0:  # no players, or no samples
        a, b, dual, eps = v, v, scalar, scalar
        iterations, converged = scalar.astype(jnp.int32), scalar == 0
    else:
        s = solve(
            v / unit,
            scalar if bounds is None else bounds / unit,
            start / unit[:, None],
            tol,
            tie_break,
            boxed=bounds is not None,
            max_iterations=max_iterations,
        )
        a, delta = unit * s.a, None if bounds is None else unit * s.delta
        b = or_effects(graph_offset(v), a, delta)
        dual, eps, iterations, converged = unit * s.dual, s.eps, s.iterations, s.converged
    a, b = (x.astype(dtype).astype(jnp.float64) for x in (a, b))
    primal = objective(a, b)
    fields = dict(primal=primal, dual=dual, gap=relative_gap(primal, dual), tie_break=eps)
    fields |= dict(iterations=iterations, converged=converged)
    fields = {name: x[:, 0] for name, x in fields.items()}
    effects = dict(and_effects=a, or_effects=b, residual=v - and_or_sum(a, b), bias=v_empty[:, 0])
    return fields | {name: x.astype(dtype) for name, x in effects.items()}


def _and_effects(u_and: jax.Array) -> jax.Array:
    return mobius(u_and).at[:, 0].set(0.0)


def _result(values: Any, parts: dict[str, Any]) -> Interactions:
    """The fields with the batch axes and the kind of array of `values`."""
    shape = np.shape(values)

    def shaped(name: str, x: Any) -> Any:
        x = x.reshape(shape if x.ndim == 2 else shape[:-1])
        if _arrays.is_traced(x):
            return x
        return _arrays.like(x[()], values)

    return Interactions(**{name: shaped(name, x) for name, x in parts.items()})


def _report(result: Interactions, tol: float, max_iterations: int, throw: bool) -> None:
    converged = np.asarray(result.converged)
    if converged.all():
        return
    worst = float(np.max(np.asarray(result.gap)[~converged] if converged.ndim else result.gap))
    message = (
        f"extract: {int((~converged).sum())} of {converged.size} samples did not reach a gap of {tol:g} "
        f"in {max_iterations} iterations (worst {worst:.2g}). Raise max_iterations or tol; the "
        "certificate of what was reached is valid"
    )
    if throw:
        raise ConvergenceError(message + ", and is in this error's `result`", result)
    warnings.warn(message, RuntimeWarning, stacklevel=3)
