# SPDX-License-Identifier: Apache-2.0
"""8a. The two distributions over orders of paper 001: the spindle and the decay.

Noise makes interactions of middle orders, positive and negative alike: the spindle. What training
learns, and noise would wear down from the highest order on, is the decay.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _by_order, _checks, _native, _primitives, masks
from jaxinter._primitives import Matrix2
from jaxinter.interactions import Interactions
from jaxinter.stats import OrderStrength
from jaxinter.transform import apply_numpy

__all__ = ["attenuate", "decay_strength", "spindle"]


def spindle(n: int, alpha: Any, beta: Any = 1.0) -> Any:
    """Strength by order of random interactions, the same for positive and negative ones.

        spindle(m) = beta Gamma(alpha n + 1) / (Gamma(m + 1) Gamma(alpha n - m + 1))

    which is beta C(n, m) at alpha = 1: where all effects are independent N(0, s^2), beta is
    s / sqrt(2 pi) for AND and as much for OR. It peaks near order alpha n / 2. From m = alpha n + 1
    on, where the formula turns negative, it is 0.

    Args:
      n: number of players.
      alpha: > 0, a number or an array ``[...]``.
      beta: >= 0, a number or an array that broadcasts with alpha; in units of v.

    Returns:
      ``[..., n]`` for orders 1 to n; JAX where alpha or beta is (differentiable), else numpy.

    >>> spindle(4, alpha=1.0, beta=0.5)
    array([2. , 3. , 2. , 0.5])

    Source: paper 001, Eq. 6 (Gamma(k) is (k - 1)!, not the printed (k + 1)!).
    """
    n = _checks.count("spindle", "n", n)
    given = {
        name: x if _arrays.is_jax(x) else _arrays.to_numpy("spindle", name, x)
        for name, x in (("alpha", alpha), ("beta", beta))
    }
    for name, x in given.items():
        _nonnegative("spindle", name, x)
    shape = _broadcast("spindle", given)
    traced = [x for x in given.values() if _arrays.is_jax(x)]
    xp: Any = jnp if traced else np
    kinds = [_checks.float_dtype("spindle", "alpha and beta", x.dtype) for x in traced]
    dtype = jax.dtypes.canonicalize_dtype(np.result_type(*kinds)) if traced else np.float64
    alpha, beta = (xp.broadcast_to(xp.asarray(x, dtype), shape)[..., None] for x in given.values())
    # The ratio of Gammas is C(alpha n, m) = prod_{k < m} (alpha n - k) / (k + 1), without poles.
    before = xp.arange(n, dtype=dtype).reshape(*(1 for _ in shape), n)
    factors = xp.maximum(alpha * n - before, 0.0) / (before + 1)
    return beta * xp.cumprod(factors, axis=-1)


# J = [[1, 0], [1, 1]]^(x)n and c = diag(1, 2)^(x)n up to scale, so one 2x2 problem a player,
# J^T J u = lam diag(1, 2) u, diagonalises M: its eigenvalues, and eigenvectors in columns.
_LAM = np.array([5 - 17**0.5, 5 + 17**0.5]) / 4
_U = np.array([np.ones(2), _LAM - 2]) / np.sqrt(1 + 2 * (_LAM - 2) ** 2)
_TO_EIGEN: Matrix2 = (_U[0, 0], 2 * _U[1, 0], _U[0, 1], 2 * _U[1, 1])  # U^-1 = U^T diag(1, 2)
_FROM_EIGEN: Matrix2 = (_U[0, 0], _U[0, 1], _U[1, 0], _U[1, 1])


def attenuate(effects: Any, delta: Any) -> Any:
    """What noise on the triggers leaves of interactions: ``M(delta) I``, in O(n 2^n).

        M(delta) = (J^T J + 2^n delta diag(2^|S|))^-1 J^T J,    J[T, S] = 1 where S is within T

    M(delta) I minimises ``E_T E_eps (y_T - w^T (J_T + eps))^2`` over w, for the outputs y = J I and
    independent eps_S of mean 0 and variance 2^|S| delta: interactions of order m see noise that
    grows as 2^m, and the highest orders go first. For OR effects the same holds of the inverted
    masks, so the same M. M(0) is the identity; M has eigenvalues in (0, 1) and goes to 0.

    Args:
      effects: any array ``[..., 2**n]``, such as `Interactions.effects`.
      delta: the variance of the noise, >= 0 (the papers' sigma^2; at most 1e-3 in paper 001), a
        number or an array that broadcasts with the batch of `effects`.

    Returns:
      ``[..., 2**n]``, the kind and dtype as of `mobius`. Differentiable in JAX and torch.

    Raises:
      ValueError: the last axis is not 2**n long, delta is negative or does not broadcast.

    >>> attenuate(np.array([0.0, 1.0, 1.0, 2.0]), 0.05).round(2)  # the pair loses most
    array([0.15, 1.12, 1.12, 0.9 ])

    Source: paper 001, Theorem 2.3 and appendix H (Eq. 7). M is a Kronecker product in the
    eigenvectors of its 2x2 factors: nothing of size 2^n x 2^n is formed.
    """
    if isinstance(effects, Interactions):
        raise TypeError("attenuate: effects must be an array; got Interactions. Use .effects")
    if _arrays.is_foreign(effects):
        array = _arrays.to_numpy("attenuate", "effects", effects)
        return _arrays.like(attenuate(array, delta), effects)
    effects = _arrays.as_array("attenuate", "effects", effects)
    n = _checks.n_players("attenuate", "effects", tuple(effects.shape))
    dtype = _checks.float_dtype("attenuate", "effects", _arrays.numpy_dtype(effects))
    if not _arrays.is_jax(delta) and not _arrays.is_torch(delta):
        delta = _arrays.to_numpy("attenuate", "delta", delta)
    _nonnegative("attenuate", "delta", delta)
    try:
        np.broadcast_shapes(tuple(delta.shape), tuple(effects.shape[:-1]))
    except ValueError as error:
        raise ValueError(
            "attenuate: delta must broadcast with the batch of effects, "
            f"{tuple(effects.shape[:-1])}; got shape {tuple(delta.shape)}"
        ) from error
    if _arrays.is_torch(effects) or _arrays.is_torch(delta):
        effects = _arrays.as_torch("attenuate", "effects", effects)
        return _attenuate_torch(effects, _arrays.as_torch("attenuate", "delta", delta), n)
    if _arrays.is_jax(effects) or _arrays.is_traced(delta):
        return _attenuate_jax(effects, delta, n)
    kept = _kept(n, _arrays.host("attenuate", "delta", delta).astype(np.float64)).astype(dtype)
    hat = apply_numpy("attenuate", "effects", _TO_EIGEN, effects, None) * kept
    return apply_numpy("attenuate", "effects", _FROM_EIGEN, hat, hat)


def _attenuate_jax(effects: Any, delta: Any, n: int) -> jax.Array:
    effects = _arrays.floating_jax("attenuate", "effects", _arrays.as_jax("", "effects", effects))
    delta = _arrays.as_jax("attenuate", "delta", delta).astype(effects.dtype)
    hat = _primitives.subset_transform(effects, _TO_EIGEN)
    _, order = _arrays.orders_like(hat)
    eigenvalue = jnp.asarray(eigenvalues(n), effects.dtype)[order]
    delta = delta.reshape(*(1 for _ in range(hat.ndim - 1 - delta.ndim)), *delta.shape, 1)
    eigenvalue = eigenvalue.reshape(*(1 for _ in delta.shape[:-1]), -1)
    hat = hat.reshape(*(1 for _ in range(delta.ndim - hat.ndim)), *hat.shape)
    return _primitives.subset_transform(hat * _share_kept(eigenvalue, delta), _FROM_EIGEN)


def _attenuate_torch(effects: Any, delta: Any, n: int) -> Any:
    import torch

    from jaxinter import _torch

    effects = _arrays.floating("attenuate", "effects", effects)
    hat = _torch.apply("attenuate", "effects", _TO_EIGEN, effects, None)
    eigenvalue = torch.from_numpy(eigenvalues(n)[masks.orders(n)]).to(hat)
    kept = _share_kept(eigenvalue, delta.to(hat)[..., None])
    return _torch.apply("attenuate", "effects", _FROM_EIGEN, hat * kept, None)


def _share_kept(eigenvalue: Any, delta: Any) -> Any:
    """The eigenvalue of M(delta) that goes with one of `eigenvalues`."""
    return eigenvalue / (eigenvalue + delta)


@lru_cache
def eigenvalues(n: int) -> np.ndarray:
    """Those of J^T J against 2^n diag(2^|S|), ``[n + 1]``, by how many players have the larger."""
    larger = np.arange(n + 1)
    return (_LAM[0] / 2) ** (n - larger) * (_LAM[1] / 2) ** larger


def _kept(n: int, delta: np.ndarray) -> np.ndarray:
    """The diagonal of M(delta) in its eigenvectors, ``[..., 2**n]``."""
    return _share_kept(eigenvalues(n), delta[..., None])[..., masks.orders(n)]


def decay_strength(interactions: Any, delta: Any, gamma: Any = 1.0) -> OrderStrength:
    """Strength by order of interactions that noise has worn down, averaged over the samples.

        decay(m)+- = gamma mean_x sum_{|S| = m} max(+-AND^(delta)(S), 0) + max(+-OR^(delta)(S), 0)

    Args:
      interactions: I*, `Interactions` or effects ``[samples, 2, 2**n]``, AND then OR; all batch
        axes are samples.
      delta: variance of the noise (see `attenuate`), a number or an array ``[...]``.
      gamma: >= 0, broadcasts with delta.

    Returns:
      `OrderStrength` ``[..., n]`` with the axes of delta; JAX where an argument is traced (then
      differentiable), else numpy.

    >>> and_effects, or_effects = [0.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, -1.0]
    >>> decay_strength(np.array([[and_effects, or_effects]]), delta=0.05).positive.round(2)
    array([2.24, 0.9 ])

    Source: paper 001, Eq. 8.
    """
    call = "decay_strength"
    effects = interactions.effects if isinstance(interactions, Interactions) else interactions
    given = {
        name: x if _arrays.is_jax(x) else _arrays.host(call, name, x)
        for name, x in (("delta", delta), ("gamma", gamma))
    }
    for name, x in given.items():
        _nonnegative(call, name, x)
    shape = _broadcast(call, given)
    if any(_arrays.is_traced(x) for x in (effects, *given.values())):
        effects = _arrays.floating_jax(
            call, "interactions", _arrays.as_jax(call, "interactions", effects)
        )
        n = _check_tables(call, "interactions", effects.shape)
        delta, gamma = (
            jnp.broadcast_to(_arrays.as_jax(call, name, x).astype(effects.dtype), shape)
            for name, x in given.items()
        )
        worn = _attenuate_jax(effects.reshape(-1, 2, 1 << n), delta[..., None, None], n)
        sides = _by_order.strength(call, (worn[..., 0, :], worn[..., 1, :]), None, None)
        return OrderStrength(*(side.mean(axis=-2) * gamma[..., None] for side in sides))
    delta, gamma = (
        np.broadcast_to(_arrays.host(call, name, x).astype(np.float64), shape)
        for name, x in given.items()
    )
    tables = reference_tables(call, "interactions", interactions)
    in_eigen = to_eigen(tables.reshape(1, -1, 2, tables.shape[-1]))
    curves = decay_curves(in_eigen, delta.reshape(1, -1))[0]
    curves = curves.reshape(*shape, *curves.shape[1:]) * gamma[..., None, None]
    return OrderStrength(curves[..., 0, :], curves[..., 1, :])


def _nonnegative(call: str, name: str, x: Any) -> None:
    """Refuses numbers that are negative or not finite, where they are known."""
    if _arrays.is_traced(x):
        return
    try:
        numbers = _arrays.host(call, name, x)
    except RuntimeError:  # tensors of torch.func, without memory of their own
        return
    if numbers.dtype.kind not in "biuf" and not jnp.issubdtype(numbers.dtype, np.floating):
        raise TypeError(f"{call}: {name} must hold real numbers; got dtype {numbers.dtype}")
    if not ((numbers >= 0) & (numbers < np.inf)).all():
        raise ValueError(f"{call}: {name} must be finite and >= 0; got {x}")


def _broadcast(call: str, given: dict[str, Any]) -> tuple[int, ...]:
    """The common shape of two arguments."""
    shapes = {name: tuple(x.shape) for name, x in given.items()}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError as error:
        raise ValueError(
            f"{call}: {' and '.join(shapes)} must broadcast; got shapes "
            f"{' and '.join(map(str, shapes.values()))}"
        ) from error


def _check_tables(call: str, argument: str, shape: tuple[int, ...]) -> int:
    """n of effects ``[..., 2, 2**n]``."""
    n = _checks.n_players(call, argument, shape)
    if len(shape) < 2 or shape[-2] != 2:
        raise ValueError(
            f"{call}: {argument} must be Interactions or effects [samples, 2, 2**n], AND then OR; "
            f"got shape {shape}"
        )
    if 0 in shape[-3:]:
        raise ValueError(f"{call}: {argument} must hold a sample; got shape {shape}")
    return n


def reference_tables(call: str, argument: str, reference: Any) -> np.ndarray:
    """I* as float64 ``[..., 2, 2**n]``, all finite."""
    if isinstance(reference, Interactions):
        reference = reference.effects
    elif not hasattr(reference, "shape") and not isinstance(reference, (list, tuple)):
        raise TypeError(
            f"{call}: {argument} must be Interactions or effects [samples, 2, 2**n]; got "
            f"{type(reference).__name__}"
        )
    tables = _arrays.host(call, argument, reference)
    _checks.float_dtype(call, argument, tables.dtype)
    _check_tables(call, argument, tables.shape)
    tables = tables.astype(np.float64)
    _checks.finite_values(call, argument, tables)
    return tables


def to_eigen(tables: np.ndarray) -> np.ndarray:
    """What every delta shares, U^-1 of each table: ``[fits, samples, 2, 2**n]`` to
    ``[2, fits, samples, 2**n]``."""
    tables = np.ascontiguousarray(np.moveaxis(tables, -2, 0))
    return apply_numpy("decay_strength", "interactions", _TO_EIGEN, tables, None)


_CHUNK = 1 << 17  # numbers of a chunk: 1 MiB, which caches hold


def decay_curves(hat: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Decay strengths ``[fits, deltas, 2, n]`` (gamma 1), the mean over samples.

    hat: references ``[2, fits or 1, samples, 2**n]`` by `to_eigen`; delta ``[fits, deltas]``.
    """
    _, references, samples, size = hat.shape
    n = size.bit_length() - 1
    curves = np.zeros((*delta.shape, 2, n))
    alike = (delta == delta[:1]).all()
    rows = min(samples, max(1, _CHUNK // (2 * size)))
    deltas = min(delta.shape[1], max(1, _CHUNK // (2 * rows * size)))
    buffer = _arrays.empty((2, deltas, rows, size), np.dtype(np.float64))
    for start in range(0, delta.shape[1], max(1, deltas)):
        part = slice(start, start + deltas)
        kept = _kept(n, delta[:1, part])[0] if alike and len(delta) else None
        for fit, row in enumerate(delta[:, part]):
            scale = _kept(n, row)[:, None] if kept is None else kept[:, None]
            tables = hat[:, fit if references > 1 else 0, None]
            for first in range(0, samples, rows):
                some = tables[:, :, first : first + rows]
                worn = buffer.ravel()[: 2 * len(row) * some[0].size]
                worn = worn.reshape(2, len(row), *some.shape[2:])
                np.multiply(scale, some, out=worn)
                apply_numpy("decay_strength", "interactions", _FROM_EIGEN, worn, worn)
                sums = np.empty((*worn.shape[1:3], 2, n))
                _native.order_strength(worn[0], worn[1], None, None, sums)
                curves[fit, part] += sums.sum(axis=1)
    return curves / samples
