# SPDX-License-Identifier: Apache-2.0
"""`extract`: values in, the sparsest `Interactions` out."""

import math
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, _native, _progress
from jaxinter._primitives import MOBIUS, subset_transform, without_empty
from jaxinter.interactions import Interactions, and_or_sum, relative_gap
from jaxinter.sparse.problem import graph_offset, or_effects, strength
from jaxinter.sparse.solver import solve
from jaxinter.transform import mobius

__all__ = ["ConvergenceError", "extract"]

# Table entries solved together in one program. Each sample of a group waits for the slowest. On a
# CPU small groups, one a thread, were measured fastest (n = 10: one sample: 21 ms a sample, against
# 102 ms for groups of 16, with noise); accelerators want width.
GROUP_ELEMENTS_CPU, GROUP_ELEMENTS = 1 << 10, 1 << 20
# float64 vectors of 2**n that a sample in work takes at the peak, without and with noise; measured.
VECTORS, VECTORS_WITH_NOISE = 40, 72
# Range of max |v - v(empty)| within which sums neither overflow nor fall below what XLA can hold.
SMALLEST, LARGEST = 1e-290, 1e290
# How far residuals stay within the noise bound, in units of max |v - v(empty)|: more than the
# rounding of the effects to the dtype of the answer.
MARGIN = {"float64": 1e-12, "float32": 2e-6}
# A start whose strength is more than this many times the default's is of no help.
WORST_START = 10.0


class ConvergenceError(RuntimeError):
    """The gap asked for was not reached; `result` holds the `Interactions` so far."""

    def __init__(self, message: str, result: Interactions):
        super().__init__(message, result)
        self.result = result

    def __str__(self) -> str:
        return self.args[0]


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
    player_names: Sequence[str] | None = None,
) -> Interactions:
    """The sparsest AND-OR explanation of a table of values, with a proof of its sparsity.

        minimise  sum_{S not empty} |AND(S)| + |OR(S)|
        where     v(T) - residual(T) = v(empty) + sum_{S subset T} AND(S) + sum_{S meets T} OR(S)
        and       |residual(T)| <= bound.

    Many splits are optimal; a second phase picks the one of least L2 norm (`tie_break`), so that
    the answer does not depend on the start. Where the iterations end before that is settled, a
    split proven within `tol` is returned with a warning, and its `tie_break` is NaN.

    Args:
      values: any array ``[..., 2**n]``, finite; bit i of an index is set when player i is present.
      noise_ratio: >= 0; bound = noise_ratio * |v(full) - v(empty)|, for each sample.
      noise_bound: >= 0, instead: the bound itself in units of v, broadcast over the batch.
      tol: relative gap to prove, (primal - dual) / primal <= tol.
      tie_break: weight eps of (eps / 2) |effects|^2 in units of max |v - v(empty)|, halved until
        the L1 gap is within tol; 0 skips the second phase.
      start: an `Interactions` of the same shape, or the AND part of a split ``[..., 2**n]``
        (zeros: all in OR; default: half of v). Changes the time, not the answer beyond tol.
      max_iterations: of each sample, both phases together.
      throw: raise where the gap is above tol after that; False returns it with a warning.
      progress: show a progress bar over the samples; a string is its title.
      player_names: n names that travel with the result to every listing.

    Returns:
      `Interactions`: effects and residual of the kind and dtype of `values` (float64 inside).

    Raises:
      ValueError, TypeError: an argument is wrong; the message names it.
      ConvergenceError: not converged after `max_iterations`; holds the result.

    Traced JAX values (not bounds or starts) work under jit and vmap with throw=False; no warning is
    given then, and without x64 what is computed from the float64 certificate is float32.

    >>> v = [0.0, 3.0, 3.0, 3.0, 0.0, 3.0, 3.0, 8.0]  # 3 for 0 or 1; 5 more for all three
    >>> for kind, players, effect in extract(v).top(2):
    ...     print(kind, players, round(effect, 2))
    AND (0, 1, 2) 5.0
    OR (0, 1) 3.0

    Source: papers 001 (Eq. 10) to 003 (Eq. 12), solved to a proven optimum.
    """
    values = _arrays.as_array("extract", "values", values)
    samples, dtype = _checked_samples(values, noise_ratio, noise_bound, start)
    n = samples.values.shape[-1].bit_length() - 1
    settings = _checked_settings(tol, tie_break, max_iterations) | {"dtype": dtype.name}
    names = _checked_names(player_names, n)
    if _arrays.is_traced(values):
        if throw:
            raise TypeError(
                "extract: throw must be False for traced values (under jit or vmap): convergence "
                "is not known while tracing. Read `converged` of the result"
            )
        with jax.enable_x64(True):
            samples = samples._replace(values=samples.values.astype(jnp.float64))
            return _result(values, _solve_group(samples, **settings), names)
    device = _arrays.device_of(values)
    result = _result(values, _solve_in_groups(samples, settings, device, progress), names)
    _report(result, tol, max_iterations, throw)
    return result


class _Samples(NamedTuple):
    """Checked arguments, the batch flattened to one axis; float64 unless traced."""

    values: Any  # [samples, 2**n]
    ratio: Any  # [samples, 1]: bound relative to |v(full) - v(empty)|; None without
    bound: Any  # [samples, 1]; None without
    start: Any  # [samples, 2, 2**n], AND effects and residual; None for the default


def _checked_samples(values, noise_ratio, noise_bound, start) -> tuple[_Samples, np.dtype]:
    """The samples, and the dtype of the answer."""
    traced = _arrays.is_traced(values)
    table = values if traced else _arrays.to_numpy("extract", "values", values)
    n = _checks.n_players("extract", "values", table.shape)
    dtype = _checks.float_dtype("extract", "values", table.dtype)
    if _arrays.is_jax(values):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    batch, size = table.shape[:-1], table.shape[-1]
    has_ratio = bool(np.any(np.asarray(noise_ratio) != 0))
    vectors = VECTORS_WITH_NOISE if has_ratio or noise_bound is not None else VECTORS
    at_once = min(_native.thread_limit(), max(1, math.prod(batch)))
    advice = "Use fewer players (merge some), fewer threads (JAXINTER_THREADS), or more memory."
    _checks.memory("extract", n, at_once * vectors * 8 << n, _checks.free_memory(), advice)
    if not traced:
        _checks.finite_values("extract", "values", table)
        table = np.asarray(table, np.float64)
        _check_range(table)
    if noise_bound is not None and has_ratio:
        raise ValueError(
            "extract: give one of noise_ratio and noise_bound; "
            f"got {noise_ratio!r} and {noise_bound!r}"
        )
    return _Samples(
        values=table.reshape(math.prod(batch), size),
        ratio=_checked_noise("noise_ratio", noise_ratio, batch) if noise_bound is None else None,
        bound=None if noise_bound is None else _checked_noise("noise_bound", noise_bound, batch),
        start=_checked_start(start, batch, size),
    ), dtype


def _check_range(table: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        swing = np.abs(table - table[..., :1]).max(axis=-1)
    bad = (swing > LARGEST) | ((swing > 0) & (swing < SMALLEST))
    if bad.any():
        raise ValueError(
            "extract: values must have max |v - v(empty)| = 0 or from "
            f"{SMALLEST:g} to {LARGEST:g}, so that sums neither overflow nor vanish; "
            f"got {swing[bad][0]:g}. Rescale them"
        )


def _checked_noise(argument: str, noise: Any, batch: tuple[int, ...]) -> np.ndarray | None:
    """``[samples, 1]``; None where all is 0, which needs no box."""
    given = _arrays.to_numpy("extract", argument, noise)
    given = given.astype(_checks.float_dtype("extract", argument, given.dtype)).astype(np.float64)
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise ValueError(f"extract: {argument} must be finite and >= 0; got {noise!r}")
    try:
        bounds = np.broadcast_to(given, batch).reshape(-1, 1)
    except ValueError as error:
        raise ValueError(
            f"extract: {argument} must broadcast to the batch shape {batch}; "
            f"got shape {given.shape}"
        ) from error
    return bounds if bounds.any() else None


def _checked_start(start: Any, batch: tuple[int, ...], size: int) -> np.ndarray | None:
    """``[samples, 2, 2**n]``: AND effects and residual to begin from."""
    if start is None:
        return None
    given = [start.and_effects, start.residual] if isinstance(start, Interactions) else [start]
    parts = [np.asarray(_arrays.to_numpy("extract", "start", x), np.float64) for x in given]
    for part in parts:
        if part.shape != (*batch, size):
            raise ValueError(f"extract: start must have shape {(*batch, size)}; got {part.shape}")
        _checks.finite_values("extract", "start", part)
    a, delta = parts if len(parts) == 2 else (mobius(parts[0]), np.zeros(parts[0].shape))
    return np.stack([a, delta], axis=-2).reshape(-1, 2, size)


def _checked_settings(tol: float, tie_break: float, max_iterations: int) -> dict[str, Any]:
    return {
        "tol": _checks.real("extract", "tol", tol, positive=True),
        "tie_break": _checks.real("extract", "tie_break", tie_break, positive=False),
        "max_iterations": _checks.count("extract", "max_iterations", max_iterations, least=1),
    }


def _checked_names(player_names: Sequence[str] | None, n: int) -> tuple[str, ...] | None:
    if player_names is None:
        return None
    names = tuple(map(str, player_names))
    if len(names) != n:
        raise ValueError(f"extract: player_names must be {n} names; got {len(names)}")
    return names


def _solve_in_groups(
    samples: _Samples, settings: dict[str, Any], device: Any, progress: bool | str
) -> dict[str, np.ndarray]:
    """Solves group after group, on a CPU on all threads. The group size depends on n alone (the
    last group is padded with its last sample), so one program serves any batch."""
    count, size = samples.values.shape
    on_cpu = (device.platform if device else jax.default_backend()) == "cpu"
    group = max(1, (GROUP_ELEMENTS_CPU if on_cpu else GROUP_ELEMENTS) // size)

    def solve_from(first: int) -> dict[str, np.ndarray]:
        rows = np.minimum(np.arange(first, first + group), count - 1)
        with jax.enable_x64(True), jax.default_device(device):  # of this thread
            part = _solve_group(jax.tree.map(lambda x: x[rows], samples), **settings)
            return jax.tree.map(lambda x: np.asarray(x)[: count - first], part)

    if count == 0:
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, _solve_group(samples, **settings))
    starts = range(0, count, group)
    with ThreadPoolExecutor(_native.thread_limit() if on_cpu else 1) as threads:
        try:
            solved = threads.map(solve_from, starts)
            title = progress if isinstance(progress, str) else "extracting"
            parts = list(_progress.track(solved, title, len(starts)) if progress else solved)
        except BaseException:  # an interrupt: let go of what has not begun
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@partial(jax.jit, static_argnames=("max_iterations", "dtype"))
def _solve_group(
    samples: _Samples, *, tol: float, tie_break: float, max_iterations: int, dtype: str
) -> dict[str, jax.Array]:
    """Fields of `Interactions` for float64 samples; effects are rounded to dtype."""
    v_empty = samples.values[:, :1]
    v = samples.values - v_empty
    scale = jnp.max(jnp.abs(v), axis=-1, keepdims=True)
    unit = jnp.where(scale > 0, scale, 1.0)
    scalar = jnp.zeros_like(v_empty)
    bound = samples.bound if samples.ratio is None else samples.ratio * jnp.abs(v[:, -1:])
    if v.shape[-1] == 1 or v.shape[0] == 0:  # no players, or no samples
        a, b, dual, eps, iterations = v, v, scalar, scalar, scalar.astype(jnp.int32)
    else:
        solution = solve(
            v / unit,
            scalar if bound is None else bound / unit,
            _start(samples.start, v) / unit[:, None],
            tol,
            tie_break,
            MARGIN[dtype],
            boxed=bound is not None,
            max_iterations=max_iterations,
        )
        a = unit * solution.a
        b = or_effects(graph_offset(v), a, None if bound is None else unit * solution.delta)
        needed = scale > (0.0 if bound is None else bound)  # else no effects, to the last bit
        a, b = jnp.where(needed, a, 0.0), jnp.where(needed, b, 0.0)
        dual, eps, iterations = unit * solution.dual, solution.eps, solution.iterations
    a, b = (x.astype(dtype).astype(jnp.float64) for x in (a, b))
    primal = strength(a, b)
    gap = relative_gap(primal, dual)
    # Rounding the effects to float32 may add this much to a gap that was within tol before.
    converged = gap <= tol + (1e-6 if dtype == "float32" else 0.0)
    certificate = {"primal": primal, "dual": dual, "gap": gap}
    run = {"iterations": iterations, "converged": converged, "tie_break": eps}
    effects = {"and_effects": a, "or_effects": b, "residual": v - and_or_sum(a, b)}
    return {
        **{name: x[:, 0] for name, x in (certificate | run).items()},
        **{name: x.astype(dtype) for name, x in effects.items()},
        "bias": v_empty[:, 0].astype(dtype),
    }


def _start(start: jax.Array | None, v: jax.Array) -> jax.Array:
    """AND effects and residual to begin from: `start` where it is of use, else half of v in AND."""

    def strength_of(a: jax.Array, delta: jax.Array) -> jax.Array:
        return strength(a, or_effects(graph_offset(v), a, delta))[:, None]

    half = jnp.stack([without_empty(subset_transform(v / 2, MOBIUS)), jnp.zeros_like(v)], axis=1)
    if start is None:
        return half
    start = without_empty(start)
    limit = WORST_START * strength_of(half[:, 0], half[:, 1])
    return jnp.where(strength_of(start[:, 0], start[:, 1]) <= limit, start, half)


def _result(values: Any, parts: dict[str, Any], names: tuple[str, ...] | None) -> Interactions:
    """The fields with the batch axes and the kind of array of `values`."""
    shape = np.shape(values)

    def shaped(x: Any) -> Any:
        x = x.reshape(shape if x.ndim == 2 else shape[:-1])
        if _arrays.is_traced(x):
            return x
        return _arrays.like(x[()], values)

    shaped_parts = {name: shaped(x) for name, x in parts.items()}
    return Interactions(**shaped_parts, player_names=names)


def _report(result: Interactions, tol: float, max_iterations: int, throw: bool) -> None:
    converged = np.asarray(result.converged)
    unsettled = int(np.isnan(np.asarray(result.tie_break)).sum())
    if converged.all():
        if unsettled:
            message = (
                f"extract: the gap of all samples is proven, but the tie-break of {unsettled} of "
                f"{converged.size} was not settled in {max_iterations} iterations (tie_break is "
                "NaN): among equally sparse splits theirs depends on the start. Raise "
                "max_iterations or tol, or give tie_break=0"
            )
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        return
    worst = float(np.max(np.asarray(result.gap)))
    message = (
        f"extract: {int((~converged).sum())} of {converged.size} samples did not reach tol "
        f"{tol:g} in {max_iterations} iterations (largest gap {worst:.2g}). Raise max_iterations "
        "or tol; the certificate of what was reached is valid"
    )
    if throw:
        raise ConvergenceError(message + ", and is in this error's `result`", result)
    warnings.warn(message, RuntimeWarning, stacklevel=3)
