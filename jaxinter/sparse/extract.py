# SPDX-License-Identifier: Apache-2.0
"""`extract`: values in, the sparsest `Interactions` out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, _native, _progress
from jaxinter.interactions import Interactions, and_or_sum, relative_gap
from jaxinter.sparse import solver
from jaxinter.sparse.exact import MAX_PLAYERS as EXACT_PLAYERS
from jaxinter.sparse.exact import solve_exact
from jaxinter.sparse.games import NATIVE_ELEMENTS, Games, checked_games, checked_noise, mean_swing
from jaxinter.sparse.native import has_kernel, solve_native, solve_traced
from jaxinter.sparse.problem import dual_bounds, graph_offset, or_effects, strength, total
from jaxinter.sparse.published import solve_published
from jaxinter.sparse.solver import Solution

__all__ = ["ConvergenceError", "explain_games", "extract"]

METHODS = ("rhpr", "exact", "published")
ENGINES = ("auto", "native", "jax")
# Table entries solved in one call of the JAX engine: on a CPU, where a small group stays in a cache
# and each waits for its slowest sample, and on an accelerator, which wants width.
GROUP_ELEMENTS_CPU, GROUP_ELEMENTS = 1 << 10, 1 << 20
# How far residuals stay within the noise bound, in units of max |v - v(empty)|: more than rounding.
MARGIN = 1e-12


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
    noise_preset: str | None = None,
    noise_per: str = "sample",
    tol: float = 1e-4,
    tie_break: float = 0.1,
    joint: bool | str = False,
    start: Any = None,
    method: str = "rhpr",
    max_iterations: int = 20000,
    throw: bool = True,
    progress: bool | str = False,
    player_names: Sequence[Any] | None = None,
    engine: str = "auto",
    published: Mapping[str, Any] | None = None,
) -> Interactions:
    """The sparsest AND-OR explanation of a table of values, with a proof of its sparsity.

        minimise  sum_{S not empty} |AND(S)| + |OR(S)|
        where     v(T) - residual(T) = v(empty) + sum_{S subset T} AND(S) + sum_{S meets T} OR(S)
        and       |residual(T)| <= bound.

    Many splits are optimal; a second phase picks the one of least L2 norm (`tie_break`), so that
    the answer does not depend on the start. Where the iterations end before that is settled, a
    split proven within `tol` is returned with a warning, and its `tie_break` is NaN. Players that
    never change v are left out by the C++ engine, without effects; those that change it by no more
    than 1e-12 of its range have effects of that size.

    Args:
      values: any array ``[..., 2**n]``, finite; bit i of an index is set when player i is present.
      noise_ratio: >= 0; bound = noise_ratio * |v(full) - v(empty)|, broadcast over the batch.
      noise_bound: >= 0, instead: the bound itself in units of v, broadcast over the batch.
      noise_preset: instead, a ratio by name: "paper001" (0.02 of the data set's mean), "paper002"
        (0.01), "paper003" (0.02), "interaction-concept" (0.04); "001" is "paper001".
      noise_per: "sample", or "dataset": |v(full) - v(empty)| is averaged over all samples.
      tol: relative gap to prove, (primal - dual) / primal <= tol.
      tie_break: weight eps of (eps / 2) |effects|^2 in units of max |v - v(empty)|, halved until
        the L1 gap is within tol; 0 skips the second phase.
      joint: explain several models together: values ``[..., models, 2**n]``, at most 16 models.
        Each matches its own values; the objective adds, for AND and for OR and each S, the largest
        positive and the largest negative effect among the models (paper 003, Eq. 13), which favours
        effects that they share. "shared", with method="published" only: the ICLR 2024 variant.
      start: an `Interactions` of the same shape (of an earlier checkpoint, another bound), or the
        AND part of a split ``[..., 2**n]`` (zeros: all in OR; default: half of v). Changes the
        time, not the answer beyond tol.
      method: "rhpr"; "exact", an interior point to a gap of 1e-9 for n <= 11 (no tie-break); or
        "published", the papers' own gradient descent, which proves nothing: for reproducing old
        numbers.
      max_iterations: of each sample, both phases together.
      throw: raise where the gap is above tol after that, or a sample is not finite; False returns
        it with a warning (effects of a sample that is not finite are NaN) and solves the others.
      progress: show a progress bar over the samples; a string is its title.
      player_names: n names that travel with the result to every listing; or n for each entry of
        the first batch axis.
      engine: "native" (C++, the CPU's default), "jax" (any platform), or "auto": on a GPU the CUDA
        kernel for one model of at most 11 players, where it was built, else "jax".
      published: options of that method: steps (10,000), learning_rate (1e-5), momentum (0.9); for
        "shared" steps (20,000), learning_rate (1e-7), private_ratio (0.5, times the mean |v(full) -
        v(empty)|) and alpha (0.1).

    Returns:
      `Interactions`: effects and residual of the kind and dtype of `values` (float64 inside). With
      `joint`, effects, residual and bias have the axis of the models, the certificate has not: it
      is that of the joint objective.

    Raises:
      ValueError, TypeError: an argument is wrong; the message names it.
      ConvergenceError: not converged after `max_iterations`; holds the result.

    Traced JAX values (and bounds and starts) work under jit and vmap with throw=False; no warning
    is given then, and without x64 what is computed from the float64 certificate is float32.

    Memory: 8 bytes * 2**n * models * (12, with noise 36, a thread + 26 a sample, of those that at
    most 2**20 values are taken from at a time), checked before it is taken: one sample with noise
    takes 2 MB at n = 12 and 33 MB at n = 16 (and Newton's method up to 100 MB a thread); without,
    0.3 GB at n = 20.

    >>> v = [0.0, 3.0, 3.0, 3.0, 0.0, 3.0, 3.0, 8.0]  # 3 for 0 or 1; 5 more for all three
    >>> for kind, players, effect in extract(v).top(2):
    ...     print(kind, players, round(effect, 2))
    AND (0, 1, 2) 5.0
    OR (0, 1) 3.0

    Source: papers 001 (Eq. 10) to 003 (Eq. 12, 13), solved to a proven optimum.
    """
    for argument, given, known in (
        ("method", method, METHODS),
        ("engine", engine, ENGINES),
        ("joint", joint, (False, True, "shared")),
    ):
        if given not in known:
            raise ValueError(f"extract: {argument} must be one of {known}; got {given!r}")
    values = _arrays.as_array("extract", "values", values)
    noise = checked_noise("extract", noise_ratio, noise_bound, noise_preset, noise_per)
    games = checked_games("extract", values, noise, start, bool(joint), throw)
    n = games.values.shape[-1].bit_length() - 1
    settings = _checked_settings(tol, tie_break, max_iterations) | {"dtype": games.dtype.name}
    names = _checked_names(player_names, n, games.batch)
    if published is not None and method != "published":
        raise ValueError("extract: published holds options of method='published' only")
    if method != "rhpr" or joint == "shared":
        explain = _other_method(method, joint, published, games, n)
        # What these end at is told by the gap, not by an error.
        throw = throw and method == "exact"
    elif games.traced:
        engine_of = solver.solve if engine == "jax" else solve_traced
        explain = partial(_explain_traced, engine_of)
    else:
        device = _arrays.device_of(values)
        on_cpu = (device.platform if device else "cpu") == "cpu"
        if engine == "native" and not on_cpu:
            raise ValueError(f"extract: engine 'native' is for CPUs; values are on {device}")
        native = on_cpu if engine == "auto" else engine == "native"
        solve = solver.solve if engine == "jax" else solve_traced
        explain = _explain_native if native else partial(_explain_in_groups, device, solve)
    if games.traced and throw:
        raise TypeError(
            "extract: throw must be False for traced values (under jit or vmap): convergence "
            "is not known while tracing. Read `converged` of the result"
        )
    with _progress.shown(progress, "extracting", len(games.values)) as report:
        parts = explain(games, settings, report)
    result = _result(values, parts, games, bool(joint), names)
    if not games.traced and method != "published":
        _report(result, tol, max_iterations, throw)
    return result


def _checked_settings(tol: float, tie_break: float, max_iterations: int) -> dict[str, Any]:
    return {
        "tol": _checks.real("extract", "tol", tol, positive=True),
        "tie_break": _checks.real("extract", "tie_break", tie_break, positive=False),
        "max_iterations": _checks.count("extract", "max_iterations", max_iterations, least=1),
    }


def _checked_names(player_names: Sequence[Any] | None, n: int, batch: Any) -> tuple | None:
    if player_names is None:
        return None
    names = list(player_names)
    if batch and len(names) == batch[0] and all(isinstance(one, (list, tuple)) for one in names):
        return tuple(_checked_names(one, n, ()) for one in names)
    if len(names) != n:
        raise ValueError(f"extract: player_names must be {n} names; got {len(names)}")
    return tuple(map(str, names))


# ---- games to fields of `Interactions`

Report = Callable[[int], None] | None  # told how many groups are explained so far
Fields = dict[str, Any]  # arrays over groups


def explain_games(games: Games, solve: Callable[..., Solution], settings: dict[str, Any]) -> Fields:
    """Fields of `Interactions`, and y, by one engine in one call; effects are rounded to dtype."""
    xp = _arrays.namespace(games.values)
    v_empty, v, solved = _centred(games)
    scale = abs(v).max(axis=(-2, -1), keepdims=True)
    unit = xp.where(scale > 0, scale, 1.0)
    groups, models, size = v.shape
    boxed = games.bound is not None
    if size == 1 or groups == 0:  # no players, or no samples
        none = xp.zeros(groups)
        found = Solution(v, v, v, none, none, none.astype(np.int32))
    else:
        found = solve(
            v / unit,
            xp.where(solved, games.bound, 0.0) / unit if boxed else xp.zeros((groups, models, 1)),
            None if games.start is None else _in_units(games.start, unit),
            settings["tol"],
            settings["tie_break"],
            MARGIN,
            boxed=boxed,
            max_iterations=settings["max_iterations"],
        )
    multiplier = xp.where(solved, found.y, xp.nan).astype(settings["dtype"])
    multiplier = multiplier - multiplier.sum(axis=-1, keepdims=True) * _at_empty(multiplier)
    run = {"iterations": found.iterations, "tie_break": found.eps, "multiplier": multiplier}
    scaled = unit * found.a, unit * found.delta if boxed else None, found.dual * unit[:, 0, 0]
    return _fields(games, v_empty, v, solved, *scaled, settings) | run


def _in_units(start: Any, unit: Any) -> Any:
    """Effects and residuals in units of max |w|; y has none."""
    xp = _arrays.namespace(start)
    return xp.concatenate([start[:, :, :2] / unit[:, None], start[:, :, 2:]], axis=2)


def _at_empty(x: Any) -> np.ndarray:
    """1 at the empty coalition, 0 elsewhere, of the rank and dtype of x."""
    one = np.zeros((*(1 for _ in x.shape[:-1]), x.shape[-1]), x.dtype)
    one[..., 0] = 1
    return one


def _centred(games: Games) -> tuple[Any, Any, Any]:
    """v(empty), v - v(empty), and which groups ``[groups, 1, 1]`` are finite; the others are 0."""
    xp = _arrays.namespace(games.values)
    v_empty = games.values[..., :1]
    solved = xp.isfinite(games.values).all(axis=(-2, -1), keepdims=True)
    return v_empty, xp.where(solved, games.values - v_empty, 0.0), solved


def _fields(
    games: Games,
    v_empty: Any,
    v: Any,
    solved: Any,
    a: Any,
    delta: Any,
    dual: Any,
    settings: dict[str, Any],
) -> Fields:
    """Of a split and a lower bound in units of v."""
    xp, dtype = _arrays.namespace(v), settings["dtype"]
    b = or_effects(graph_offset(v), a, delta)
    bound = 0.0 if games.bound is None else games.bound
    needed = (abs(v) > bound).any(axis=(-2, -1), keepdims=True)  # else no effects, to the last bit
    a, b = (xp.where(solved, xp.where(needed, x, 0.0), xp.nan) for x in (a, b))
    residual = v - and_or_sum(a, b)
    if dtype == "float32":  # towards 0, so that rounding does not leave the bound
        rounded = residual.astype(dtype)
        inward = xp.nextafter(rounded, xp.zeros_like(rounded))
        residual = xp.where(abs(rounded.astype(np.float64)) > abs(residual), inward, rounded)
        a, b = (x.astype(dtype).astype(np.float64) for x in (a, b))
    primal, dual = strength(a, b)[:, 0, 0], xp.where(solved[:, 0, 0], dual, xp.nan)
    gap = relative_gap(primal, dual)
    # Rounding the effects to float32 may add this much to a gap that was within tol before.
    converged = gap <= settings["tol"] + (1e-6 if dtype == "float32" else 0.0)
    effects = {"and_effects": a, "or_effects": b, "residual": residual}
    effects["bias"] = v_empty[..., 0]
    rounded = {name: x.astype(dtype) for name, x in effects.items()}
    return rounded | {"primal": primal, "dual": dual, "gap": gap, "converged": converged}


def _explain_native(games: Games, settings: dict[str, Any], report: Report) -> Fields:
    """On all threads of this machine, a bounded number of groups in memory at a time."""
    count, models, size = games.values.shape
    at_once = max(_native.thread_limit(), NATIVE_ELEMENTS // (models * size))

    def part(first: int) -> Fields:
        inner = (lambda done: report(first + done)) if report else None
        some = games.map(lambda x: x[first : first + at_once])
        return explain_games(some, partial(solve_native, report=inner), settings)

    return _joined(part(first) for first in range(0, max(count, 1), at_once))


def _explain_traced(
    solve: Callable[..., Solution], games: Games, settings: dict[str, Any], _: Report
) -> Fields:
    with jax.enable_x64(True):
        return explain_games(games, solve, settings)


def _explain_in_groups(
    device: Any,
    solve: Callable[..., Solution],
    games: Games,
    settings: dict[str, Any],
    report: Report,
) -> Fields:
    """By JAX on one device. The group size depends on n alone (the last group is padded with its
    last sample), so one program serves any batch. A kernel, where the program is little else, has
    smaller groups for small batches: powers of two."""
    count, models, size = games.values.shape
    platform = device.platform if device else jax.default_backend()
    group = max(1, (GROUP_ELEMENTS_CPU if platform == "cpu" else GROUP_ELEMENTS) // (models * size))
    if solve is solve_traced and has_kernel(platform, models, size.bit_length() - 1):
        group = min(group, 1 << (count - 1).bit_length())

    def part(first: int) -> Fields:
        rows = np.minimum(np.arange(first, first + group), count - 1)
        with jax.enable_x64(True), jax.default_device(device):
            some = _explain_jitted(solve, *games.map(lambda x: x[rows])[:3], **settings)
            fields = jax.tree.map(lambda x: np.asarray(x)[: count - first], some)
        if report:
            report(min(first + group, count))
        return fields

    if count == 0:
        return explain_games(games, solver.solve, settings)
    return _joined(part(first) for first in range(0, count, group))


@partial(jax.jit, static_argnames=("solve", "max_iterations", "dtype"))
def _explain_jitted(
    solve: Callable[..., Solution], values: jax.Array, bound: Any, start: Any, **settings: Any
) -> Fields:
    games = Games(values, bound, start, settings["dtype"], ())
    return explain_games(games, solve, settings)


def _joined(parts: Any) -> Fields:
    return jax.tree.map(lambda *x: np.concatenate(x) if len(x) > 1 else x[0], *parts)


def _other_method(
    method: str, joint: bool | str, published: Mapping[str, Any] | None, games: Games, n: int
) -> Callable[..., Fields]:
    """The explanation by `method` "exact" or "published"."""
    if games.traced:
        raise TypeError(f"extract: method {method!r} takes no traced values; use 'rhpr'")
    if joint == "shared" and method != "published":
        raise ValueError("extract: joint='shared' needs method='published'; True is certified")
    if method == "published":
        return partial(_explain_published, joint, dict(published or {}))
    if games.values.shape[1] > 1:
        raise ValueError("extract: method 'exact' takes one model at a time; use 'rhpr' for joint")
    if n > EXACT_PLAYERS:
        raise ValueError(
            f"extract: method 'exact' takes at most {EXACT_PLAYERS} players (its time grows as "
            f"8^n); got {n}. Use 'rhpr' with a small tol"
        )
    return _explain_exact


def _explain_exact(games: Games, settings: dict[str, Any], report: Report) -> Fields:
    """By the interior point method, to a gap of 1e-9 or the tol asked for, if smaller."""

    def solve(w, zeta, start, tol, tie_break, margin, *, boxed, max_iterations):
        rows = []
        for i, (table, bound) in enumerate(zip(w[:, 0], zeta[:, 0, 0])):
            needed = abs(table).max() > bound
            accuracy = {"tol": min(1e-9, tol), "margin": margin}
            rows.append(solve_exact(table, float(bound), **accuracy) if needed else None)
            if report:
                report(i + 1)
        zero = np.zeros_like(w[0, 0])
        a, delta, lam = (
            np.stack([zero if r is None else getattr(r, name) for r in rows])[:, None]
            for name in ("a", "delta", "lam")
        )
        delta = np.where([[[r is None]] for r in rows], w, delta)
        dual, _, y = dual_bounds(graph_offset(w), zeta if boxed else None, lam, np.zeros((1, 1, 1)))
        steps = np.array([0 if r is None else r.iterations for r in rows], np.int32)
        return Solution(a, delta, y, dual[:, 0, 0], np.zeros(len(w)), steps)

    return explain_games(games, solve, settings)


def _explain_published(
    joint: bool | str,
    options: dict[str, Any],
    games: Games,
    settings: dict[str, Any],
    report: Report,
) -> Fields:
    """By the papers' own gradient descent, in units of v; the bound is |v(full)| less the noise."""
    v_empty, v, solved = _centred(games)
    shared = joint == "shared"  # the settings of its own code: the usual rate raises this loss
    steps = options.pop("steps", 20_000 if shared else 10_000)
    rate = options.pop("learning_rate", 1e-7 if shared else 1e-5)
    alpha, private = options.pop("alpha", 0.1), options.pop("private_ratio", 0.5)
    momentum = options.pop("momentum", 0.9)
    if options:
        raise ValueError(f"extract: published has no option {next(iter(options))!r}")
    swing = abs(v[..., -1:])
    kind = "shared" if joint == "shared" else "coupled" if joint else None
    with jax.enable_x64(True):
        a, delta = solve_published(
            jnp.asarray(v),
            None if games.bound is None else jnp.asarray(games.bound),
            steps=steps,
            learning_rate=rate,
            joint=kind,
            private_bound=jnp.asarray(private * mean_swing(swing)),
            alpha=alpha,
            momentum=momentum,
        )
        a, delta = np.asarray(a), None if games.bound is None else np.asarray(delta)
    if report:
        report(len(v))
    bound = 0.0 if games.bound is None else games.bound
    dual = np.maximum(swing - bound, 0.0)
    fields = _fields(games, v_empty, v, solved, a, delta, total(dual)[:, 0, 0], settings)
    if kind == "shared":
        both = fields["and_effects"], fields["or_effects"]
        loss = sum((1 - alpha) * abs(x).max(axis=1) + alpha * abs(x).sum(axis=1) for x in both)
        bound = (1 - alpha) * dual.max(axis=1) + alpha * dual.sum(axis=1)
        fields |= {"primal": loss.sum(axis=-1), "dual": bound[:, 0]}
        fields["gap"] = relative_gap(fields["primal"], fields["dual"])
        fields["converged"] = fields["gap"] <= settings["tol"]
    counts = np.full(len(v), steps, np.int32)
    return fields | {"iterations": counts, "tie_break": np.zeros(len(v))}


def _result(
    values: Any, parts: Fields, games: Games, joint: bool, names: tuple[str, ...] | None
) -> Interactions:
    """The fields with the batch axes and the kind of array of `values`."""
    shape = tuple(values.shape)

    def shaped(x: Any) -> Any:
        x = x.reshape(shape if x.ndim == 3 else shape[:-1] if x.ndim == 2 else games.batch)
        return x if _arrays.is_traced(x) else _arrays.like(x[()], values)

    return Interactions(
        **{name: shaped(x) for name, x in parts.items()}, player_names=names, joint=joint
    )


def _report(result: Interactions, tol: float, max_iterations: int, throw: bool) -> None:
    converged = np.asarray(result.converged) | np.isnan(np.asarray(result.gap))  # said at the door
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
    worst = float(np.nanmax(np.asarray(result.gap)))
    message = (
        f"extract: {int((~converged).sum())} of {converged.size} samples did not reach tol "
        f"{tol:g} in {max_iterations} iterations (largest gap {worst:.2g}). Raise max_iterations "
        "or tol; the certificate of what was reached is valid"
    )
    if throw:
        raise ConvergenceError(message + ", and is in this error's `result`", result)
    warnings.warn(message, RuntimeWarning, stacklevel=3)
