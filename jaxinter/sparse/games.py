# SPDX-License-Identifier: Apache-2.0
"""What `extract` and `sparsity` are asked, checked: games in float64, with their noise bounds."""

import contextlib
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, _native
from jaxinter.interactions import Interactions
from jaxinter.transform import mobius

# The bounds of the papers: ratio to |v(full) - v(empty)|, of each sample or of their mean.
NOISE_PRESETS = {
    "paper001": (0.02, "dataset"),
    "paper002": (0.01, "sample"),
    "paper003": (0.02, "sample"),
    "interaction-concept": (0.04, "sample"),  # the code published with them
}
NOISE_PER = ("sample", "dataset")
# Table entries solved in one call of the C++ engine, whose samples do not wait for each other.
NATIVE_ELEMENTS = 1 << 20
# float64 vectors of models * 2**n: of a sample in work, without and with noise; of a sample in a
# call, whatever becomes of it. Measured.
VECTORS, VECTORS_WITH_NOISE, VECTORS_IN_CALL = 12, 36, 26
# With noise, blocks of the projection's tables are (n / 2 + 1)^2 wide; csrc/sparse_kernels.h.
MAX_PLAYERS_WITH_NOISE, MAX_MODELS = 20, 16
# Range of max |v - v(empty)| within which sums neither overflow nor fall below what XLA can hold.
SMALLEST, LARGEST = 1e-290, 1e290


class Noise(NamedTuple):
    """A noise bound as the caller gave it."""

    ratio: Any  # None where bound is given
    bound: Any
    per: str


class Games(NamedTuple):
    """Checked values, the batch flattened to groups; numpy, or JAX where anything is traced."""

    values: Any  # float64 [groups, models, 2**n]; NaN throughout a group that is not solved
    bound: Any  # [groups, models, 1], units of v; None without noise
    start: Any  # [groups, models, 3, 2**n]: AND effects, residual, y; None for the default
    dtype: np.dtype  # of the answer
    batch: tuple[int, ...]  # axes before those of models and lattice
    traced: bool = False

    def map(self, f: Callable[[Any], Any]) -> "Games":
        """f of every array over groups."""
        values, bound, start = (None if x is None else f(x) for x in self[:3])
        return Games(values, bound, start, self.dtype, self.batch, self.traced)


def checked_noise(call: str, ratio: Any, bound: Any, preset: str | None, per: str) -> Noise:
    """One of the three ways to say it."""
    if per not in NOISE_PER:
        raise ValueError(f"{call}: noise_per must be one of {NOISE_PER}; got {per!r}")
    given = {
        "noise_ratio": _arrays.is_traced(ratio) or np.any(np.asarray(ratio) != 0),
        "noise_bound": bound is not None,
        "noise_preset": preset is not None,
    }
    if sum(map(bool, given.values())) > 1:
        raise ValueError(
            f"{call}: give one of noise_ratio, noise_bound and noise_preset; "
            f"got {ratio!r}, {bound!r} and {preset!r}"
        )
    if preset is not None:
        name = str(preset)
        name = f"paper{name}" if name in ("001", "002", "003") else name
        if name not in NOISE_PRESETS:
            known = ", ".join(map(repr, NOISE_PRESETS))
            raise ValueError(f"{call}: noise_preset must be one of {known}; got {preset!r}")
        ratio, per = NOISE_PRESETS[name]
    return Noise(None, bound, per) if given["noise_bound"] else Noise(ratio, None, per)


def checked_games(
    call: str, values: Any, noise: Noise, start: Any, joint: bool, throw: bool
) -> Games:
    """The groups to explain, in float64."""
    shape = tuple(values.shape)
    n = _checks.n_players(call, "values", shape)
    dtype = _checks.float_dtype(call, "values", _arrays.numpy_dtype(values))
    if _arrays.is_jax(values):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    batch = shape[:-2] if joint else shape[:-1]
    models = shape[-2] if joint and len(shape) > 1 else 1
    if joint and not 2 <= models <= MAX_MODELS:
        raise ValueError(
            f"{call}: values must be [..., models, 2**n] with 2 to {MAX_MODELS} models for joint; "
            f"got shape {shape}"
        )
    groups = math.prod(batch)
    traced = any(
        _arrays.is_traced(x) for x in jax.tree.leaves((values, noise.ratio, noise.bound, start))
    )
    amount = noise.ratio if noise.bound is None else noise.bound
    has_noise = _arrays.is_traced(amount) or bool(np.any(_arrays.to_numpy(call, "noise", amount)))
    if has_noise and n > MAX_PLAYERS_WITH_NOISE:
        raise ValueError(
            f"{call}: with noise, values must be of at most {MAX_PLAYERS_WITH_NOISE} players; "
            f"got {n}"
        )
    _check_memory(call, n, models, groups, has_noise)
    with jax.enable_x64(True) if traced else contextlib.nullcontext():
        table: Any
        if traced:
            table = _arrays.as_jax(call, "values", values).astype(jnp.float64)
            table = table.reshape(groups, models, 1 << n)
        else:
            table = np.asarray(_arrays.to_numpy(call, "values", values), np.float64)
            bad = _check_values(call, table, batch, throw)
            table = table.reshape(groups, models, 1 << n)
            if bad is not None:
                table = np.where(bad.reshape(groups, 1, 1), np.nan, table)
        bound = _bound(call, noise, table, (*batch, models) if joint else batch, traced)
        start = _checked_start(call, start, shape, table.shape, traced)
    return Games(table, bound, start, dtype, batch, traced)


def _check_memory(call: str, n: int, models: int, groups: int, has_noise: bool) -> None:
    in_work = min(_native.thread_limit(), max(1, groups))
    in_call = min(max(groups, 1), max(in_work, NATIVE_ELEMENTS // (models << n)))
    vectors = in_work * (VECTORS_WITH_NOISE if has_noise else VECTORS) + in_call * VECTORS_IN_CALL
    advice = "Use fewer players (merge some), fewer threads (JAXINTER_THREADS), or more memory."
    _checks.memory(call, n, vectors * models * 8 << n, _checks.free_memory(), advice)


def _check_values(
    call: str, table: np.ndarray, batch: tuple[int, ...], throw: bool
) -> np.ndarray | None:
    """Refuses values that are not finite or out of range; without `throw`, which samples are."""
    with np.errstate(over="ignore", invalid="ignore"):
        swing = np.abs(table - table[..., :1]).max(axis=-1)
    bad = ~(swing <= LARGEST) | ((swing > 0) & (swing < SMALLEST))
    if not bad.any():
        return None
    try:
        _checks.finite_values(call, "values", table)
        where = np.argwhere(bad)[0].tolist()
        sample = f" at sample {where[0] if len(where) == 1 else tuple(where)}" if where else ""
        raise ValueError(
            f"{call}: values must have max |v - v(empty)| = 0 or from {SMALLEST:g} to {LARGEST:g}, "
            f"so that sums neither overflow nor vanish; got {swing[bad][0]:g}{sample}. Rescale them"
        )
    except ValueError as error:
        if throw:
            raise
        message = f"{error}. The effects of such samples are NaN, the others are solved"
        warnings.warn(message, RuntimeWarning, stacklevel=4)
    return bad.reshape(*batch, -1).any(axis=-1)


def _bound(call: str, noise: Noise, table: Any, shape: tuple[int, ...], traced: bool) -> Any:
    """The bound of each residual ``[groups, models, 1]``; None where all are 0."""
    argument = "noise_ratio" if noise.bound is None else "noise_bound"
    given = noise.ratio if noise.bound is None else noise.bound
    if _arrays.is_traced(given):
        amount = given
    else:
        amount = _arrays.to_numpy(call, argument, given)
        dtype = _checks.float_dtype(call, argument, amount.dtype)
        amount = amount.astype(dtype).astype(np.float64)
        if not (np.isfinite(amount).all() and (amount >= 0).all()):
            raise ValueError(f"{call}: {argument} must be finite and >= 0; got {given!r}")
        if not amount.any():
            return None
    try:
        if amount.shape != shape and np.broadcast_shapes(amount.shape, shape) != shape:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{call}: {argument} must broadcast to the batch shape {shape}; "
            f"got shape {tuple(amount.shape)}"
        ) from None
    xp = jnp if traced else np
    amount = xp.broadcast_to(xp.asarray(amount, np.float64), shape).reshape(*table.shape[:2], 1)
    if noise.bound is not None:
        return amount
    swing = abs(table[..., -1:] - table[..., :1])
    return amount * (mean_swing(swing) if noise.per == "dataset" else swing)


def mean_swing(swing: Any) -> Any:
    """The mean over the groups that are solved."""
    xp = _arrays.namespace(swing)
    return xp.nanmean(swing, axis=0, keepdims=True) if swing.shape[0] else swing


def _checked_start(
    call: str, start: Any, shape: tuple[int, ...], group_shape: tuple[int, ...], traced: bool
) -> Any:
    """``[groups, models, 3, 2**n]``: AND effects, residual and multiplier to begin from."""
    if start is None:
        return None
    given = [start]
    if isinstance(start, Interactions):
        given = [x for x in (start.and_effects, start.residual, start.multiplier) if x is not None]
    for part in given:
        if np.shape(part) != shape:
            raise ValueError(f"{call}: start must have shape {shape}; got {np.shape(part)}")
    grouped = (*group_shape[:2], 3, shape[-1])
    xp: Any = jnp if traced else np
    parts: list[Any]
    if traced:
        parts = [_arrays.as_jax(call, "start", x).astype(jnp.float64) for x in given]
    else:
        parts = [np.asarray(_arrays.to_numpy(call, "start", x), np.float64) for x in given]
        for part in parts:
            _checks.finite_values(call, "start", part)
    if len(parts) == 1:
        parts = [mobius(parts[0])]
    parts += [xp.zeros(shape)] * (3 - len(parts))
    return xp.stack(parts, axis=-2).reshape(grouped)
