# SPDX-License-Identifier: Apache-2.0
"""4. Values to effects: the subset Mobius and zeta transforms and their transposes.

Every function takes ``[..., 2**n]``: batch axes lead, the lattice axis is last, bit i of an index
is set when player i is present. numpy, JAX (also traced), torch and ``__dlpack__`` arrays are
taken, those in CUDA memory where the CUDA kernels were built; the result is the same kind. float32
and float64 keep their dtype; integers and booleans are computed in float64, half types in float32.
NaN and infinity propagate to the coalitions that depend on them. The same bits come out for any
batch size and thread count.

Rounding, measured against long double on normal tables: the error's norm is below 1 eps of the
result's norm for n = 4 to 24 (eps 6e-8 in float32, 1e-16 in float64). Small effects among large
ones are less exact: the largest error, in units of eps * max |v|, grows as 2^(n/2): 4 at n = 8, 32
at n = 12, 90 at n = 16, 390 at n = 20, 1,400 at n = 24.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _checks, _gpu, _native, _primitives
from jaxinter._primitives import (
    COMPLEMENT_MOBIUS,
    MOBIUS,
    SUPERSET_MOBIUS,
    SUPERSET_ZETA,
    ZETA,
    Matrix2,
    subset_transform,
)

__all__ = [
    "AndOrInteractions",
    "and_interactions",
    "and_or_interactions",
    "mobius",
    "or_interactions",
    "superset_mobius",
    "superset_zeta",
    "zeta",
]


def mobius(values: Any, out: Any = None) -> Any:
    """Subset Mobius transform: ``I(S) = sum_{T subset S} (-1)^(|S|-|T|) v(T)``.

    Args:
      values: any array ``[..., 2**n]``, the worth of each coalition.
      out: writable numpy or torch array of the same shape and (promoted) dtype; may be `values`.

    Returns:
      Effects ``[..., 2**n]`` in the units of `values`; entry 0 is v(empty). `out` if given.

    Raises:
      ValueError: the last axis is not 2**n long, or `out` does not fit.
      TypeError: the dtype holds no real numbers, or `out` is of another kind.

    >>> mobius([0.0, 1.0, 2.0, 5.0])  # v({0, 1}) exceeds v({0}) + v({1}) by 2
    array([0., 1., 2., 2.])

    Source: paper 001, Eq. 2; ``zeta`` is the inverse, O(n 2^n) as it.
    """
    return _apply("mobius", MOBIUS, values, out)


def zeta(effects: Any, out: Any = None) -> Any:
    """Inverse of `mobius`: ``v(T) = sum_{S subset T} I(S)``. Arguments as `mobius`.

    >>> zeta([0.0, 1.0, 2.0, 2.0])
    array([0., 1., 2., 5.])
    """
    return _apply("zeta", ZETA, effects, out, argument="effects")


def superset_mobius(values: Any, out: Any = None) -> Any:
    """Transpose of `mobius`: ``y(S) = sum_{T superset S} (-1)^(|T|-|S|) x(T)``. As `mobius`.

    >>> superset_mobius([0.0, 1.0, 2.0, 5.0])
    array([ 2., -4., -3.,  5.])
    """
    return _apply("superset_mobius", SUPERSET_MOBIUS, values, out)


def superset_zeta(values: Any, out: Any = None) -> Any:
    """Transpose of `zeta`: ``y(S) = sum_{T superset S} x(T)``. Arguments as `mobius`.

    >>> superset_zeta([0.0, 1.0, 2.0, 2.0])
    array([5., 3., 4., 2.])
    """
    return _apply("superset_zeta", SUPERSET_ZETA, values, out)


def and_interactions(values: Any) -> Any:
    """AND interactions (Harsanyi dividends, Mobius coefficients) of a table: `mobius`.

    ``I_and(S)`` is what the players of S contribute only when all of them are present.

    >>> and_interactions([0.0, 1.0, 2.0, 5.0])
    array([0., 1., 2., 2.])

    Source: paper 001, Eq. 2.
    """
    return _apply("and_interactions", MOBIUS, values)


def or_interactions(values: Any) -> Any:
    """OR interactions ``I_or(S) = -sum_{T subset S} (-1)^(|S|-|T|) v(N without T)``, S not empty.

    ``I_or(S)`` is what appears as soon as any player of S is present. Entry 0 is set to 0: the
    formula read literally gives -v(N) there, which no reconstruction uses.

    >>> or_interactions([0.0, 3.0, 3.0, 3.0])  # any player gives 3: one OR effect
    array([0., 0., 0., 3.])

    Source: paper 001, Eq. 3.
    """
    if _arrays.is_foreign(values) and not _arrays.on_cuda(values):
        array = _arrays.to_numpy("or_interactions", "values", values)
        return _arrays.like(or_interactions(array), values)
    effects = _apply("or_interactions", COMPLEMENT_MOBIUS, values)
    if _arrays.is_jax(effects):
        return _primitives.without_empty(0 - effects)
    effects = 0 - effects  # not -effects: no negative zeros
    effects[..., 0] = 0
    return effects


class AndOrInteractions(NamedTuple):
    """What `and_or_interactions` gives."""

    and_effects: Any  # [..., 2**n]; entry 0 is the AND part of v(empty)
    or_effects: Any  # [..., 2**n]; entry 0 is 0
    positive: Any  # [..., n], strength of the positive effects of orders 1 to n
    negative: Any  # [..., n], of the negative ones, >= 0


def and_or_interactions(values: Any, gamma: Any, delta: Any = None) -> AndOrInteractions:
    """AND and OR effects of a given split of the values, and their strength by order, in one go.

        AND = and_interactions((v - delta) / 2 + gamma)
        OR  = or_interactions((v - delta) / 2 - gamma)
        positive(m) =  sum_{|S| = m} max(AND(S), 0) + max(OR(S), 0)
        negative(m) = -sum_{|S| = m} min(AND(S), 0) + min(OR(S), 0)

    `extract` finds the split that makes the effects sparse; this is for splits of your own. Effects
    are, to the bit, those of the separate calls (up to the sign of zeros).

    Args:
      values: any array ``[..., 2**n]``, n <= 30.
      gamma: any array that broadcasts to `values`: how the AND part exceeds half of v.
      delta: likewise, the residual that is left unexplained; None for none.

    Returns:
      `AndOrInteractions`, in the widest float dtype of the arrays. The sums are added up in
      float64 (float32 values: in steps of at most 1,024 float32 additions, exact to about 1e-6) and
      are float64 for numpy, the dtype of the effects for JAX, torch and in CUDA memory. Their
      bits may differ between SIMD levels, not between batch sizes and thread counts. Differentiable
      in JAX and torch; the derivative of a sum by an effect of 0 is 0.

    >>> result = and_or_interactions([0.0, 1.0, 2.0, 5.0], gamma=[0.0, 0.5, 1.0, 2.5])
    >>> result.and_effects, result.or_effects, result.positive  # all of v in AND
    (array([0., 1., 2., 2.]), array([0., 0., 0., 0.]), array([3., 2.]))

    Source: papers 001 (Eq. 2, 3, 4, 10) to 003 (Eq. 12).
    """
    call = "and_or_interactions"
    arrays = {"values": _gpu.as_array(call, "values", values)}
    dtype = _checks.float_dtype(call, "values", _arrays.numpy_dtype(arrays["values"]))
    for name, x in (("gamma", gamma), ("delta", delta)):
        if isinstance(x, (int, float)):
            x = np.asarray(x, dtype)  # a plain number has no dtype of its own
        if x is not None:
            arrays[name] = _gpu.as_array(call, name, x)
            other = _checks.float_dtype(call, name, _arrays.numpy_dtype(arrays[name]))
            dtype = np.result_type(dtype, other)
    shape = tuple(arrays["values"].shape)
    n = _checks.n_players(call, "values", shape)
    if n > 30:
        raise ValueError(f"{call}: values must be of at most 30 players; got {n}")
    for name, x in arrays.items():
        _checks.broadcasts(call, name, tuple(x.shape), shape, "values")
    if any(_arrays.is_torch(x) for x in arrays.values()):
        from jaxinter import _torch

        return AndOrInteractions(*_torch.and_or_interactions(call, arrays, dtype, n))
    if any(map(_arrays.is_foreign, arrays.values())):
        return AndOrInteractions(*_gpu.and_or_effects(call, arrays, dtype, n))
    if any(_arrays.is_jax(x) for x in arrays.values()):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        v, g, *rest = (
            jnp.broadcast_to(_arrays.as_jax(call, name, x).astype(dtype), shape)
            for name, x in arrays.items()
        )
        a, b, sums = _primitives.and_or_effects(v, g, rest[0] if rest else None)
        return AndOrInteractions(a, b, sums[..., 0, :], sums[..., 1, :])
    parts = and_or_numpy([np.broadcast_to(x, shape) for x in arrays.values()], dtype, n)
    return AndOrInteractions(*(_arrays.like(x, values) for x in parts))


def and_or_numpy(arrays: list[np.ndarray], dtype: np.dtype, n: int) -> tuple[np.ndarray, ...]:
    """The fused kernel on arrays v, gamma and perhaps delta of one shape."""
    v, gamma, *rest = (np.require(x, dtype, ["C", "A"]) for x in arrays)
    and_effects, or_effects = _arrays.empty(v.shape, dtype), _arrays.empty(v.shape, dtype)
    sums = np.zeros((*v.shape[:-1], 2, n))
    delta = rest[0] if rest else None
    _native.and_or_effects(v, gamma, delta, and_effects, or_effects, sums)
    return and_effects, or_effects, sums[..., 0, :], sums[..., 1, :]


def _apply(
    call: str, matrix: Matrix2, values: Any, out: Any = None, *, argument: str = "values"
) -> Any:
    """One transform of any kind of array; see the module docstring."""
    if _arrays.is_jax(values):
        if out is not None:
            raise TypeError(f"{call}: out must be None for a JAX array, which cannot be written to")
        values = _arrays.floating_jax(call, argument, values)
        _checks.n_players(call, argument, values.shape)
        return subset_transform(values, matrix)
    if _arrays.is_torch(values):
        from jaxinter import _torch

        return _torch.apply(call, argument, matrix, values, out)
    if _gpu.takes(call, argument, values):
        return _gpu.subset_transform(call, argument, matrix, values, out)
    array = _arrays.to_numpy(call, argument, values)
    result = apply_numpy(call, argument, matrix, array, out)
    return result if array is values or out is not None else _arrays.like(result, values)


def apply_numpy(
    call: str, argument: str, matrix: Matrix2, values: np.ndarray, out: np.ndarray | None
) -> np.ndarray:
    """The kernel on a numpy array: copies only what is not C-contiguous or not of its dtype."""
    _checks.n_players(call, argument, values.shape)
    dtype = _checks.float_dtype(call, argument, values.dtype)
    flags = values.flags
    if flags.c_contiguous and flags.aligned and values.dtype == dtype:
        source = values  # np.require would say so too, and take as long as the rest of the call
    else:
        source = np.require(values, dtype, ["C", "A"])
    if out is None:
        out = _arrays.empty(values.shape, dtype)
        _native.subset_transform(source, out, matrix)
        return out
    _checks.output(call, out, values.shape, dtype)
    direct = out.flags.c_contiguous and out.flags.aligned
    if direct and (source is out or not np.may_share_memory(source, out)):
        _native.subset_transform(source, out, matrix)
    else:
        out[...] = apply_numpy(call, argument, matrix, source, None)
    return out
