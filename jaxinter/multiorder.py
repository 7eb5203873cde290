# SPDX-License-Identifier: Apache-2.0
"""7d. Interactions of pairs of players in contexts of each size: strength and difficulty."""

from math import comb
from typing import Any

import jax
import numpy as np
from scipy.special import gammaln

from jaxinter import _arrays, _checks, masks
from jaxinter.interactions import Interactions

__all__ = ["interaction_strength", "learning_difficulty", "multi_order_interaction"]

# Numbers held at a time for the samples in work, 8 bytes each.
WORK = 1 << 22


def multi_order_interaction(values: Any) -> Any:
    """How two players work together, on average over contexts of m others.

        I^(m)(i, j) = mean over S without i and j, |S| = m, of
                      v(S + i + j) - v(S + i) - v(S + j) + v(S),   m = 0 to n - 2

    Their mean over m is the Shapley interaction index of the pair, `index(values, "SII", 2)`. Each
    is a difference of four means of values, exact to a few units of rounding: weighted sums of
    dividends give the same with errors that grow as 2^(n/2) (at n = 12, on normal tables, 4e-12
    against 7e-16). O(n^2 2^n).

    Args:
      values: any array ``[..., 2**n]``, n >= 2, the worth of each coalition.

    Returns:
      ``[..., n - 1, n, n]``, the kind and dtype as of `mobius`: m, i, j. Symmetric, with a diagonal
      of zeros. Differentiable in JAX and torch.

    Raises:
      ValueError: the last axis is not 2**n long, or n < 2.
      TypeError: the dtype holds no real numbers.

    >>> v = [0.0, 1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 9.0]  # 6 for three, who do nothing in pairs
    >>> multi_order_interaction(v)[:, 0, 1]
    array([0., 6.])

    Source: paper 000; Zhang et al. 2020.
    """
    call = "multi_order_interaction"
    if _arrays.is_foreign(values):
        return _arrays.like(
            multi_order_interaction(_arrays.to_numpy(call, "values", values)), values
        )
    v = _arrays.as_array(call, "values", values)
    n = _checked_players(call, tuple(v.shape))
    dtype = _checks.float_dtype(call, "values", _arrays.numpy_dtype(v))
    if _arrays.is_jax(v):
        return _of_pairs(_arrays.floating_jax(call, "values", v), n)
    v = _arrays.floating(call, "values", v) if _arrays.is_torch(v) else v.astype(np.float64)
    batch = tuple(v.shape[:-1])
    rows = v.reshape(-1, 1 << n)
    # Of the largest order, C(n, n/2) coalitions with 2n numbers each.
    at_once = max(1, WORK // (2 * n * comb(n, n // 2)))
    parts = [_of_pairs(rows[k : k + at_once], n) for k in range(0, max(len(rows), 1), at_once)]
    if _arrays.is_torch(v):
        import torch

        return torch.cat(parts).reshape(*batch, n - 1, n, n)
    result = np.concatenate(parts).reshape(*batch, n - 1, n, n).astype(dtype)
    return _arrays.like(result, values)


def _of_pairs(v: Any, n: int) -> Any:
    """By sums over the coalitions of each order with and without i and j."""
    order_of, members = masks.orders(n), masks.all_masks(n)
    v = v - v[..., :1]  # which no difference sees: what is large and shared costs no digits
    inside, outside = slice(n), slice(n, 2 * n)
    grams = []  # [..., 2n, 2n]: sums over those in which both, one or none of a pair are
    for k in range(n + 1):
        at = np.flatnonzero(order_of == k)
        both = _like(np.concatenate([members[at], ~members[at]], axis=1), v)
        grams.append(_matmul((v[..., at, None] * both).swapaxes(-1, -2), both))
    means, pairs = [], _like(~np.eye(n, dtype=bool), v)
    for m in range(n - 1):
        with_both, with_none = grams[m + 2][..., inside, inside], grams[m][..., outside, outside]
        with_one = grams[m + 1][..., inside, outside]
        mean = (with_both - 2 * with_one + with_none) / comb(n - 2, m)
        means.append((mean + mean.swapaxes(-1, -2)) / 2 * pairs)  # symmetric to the bit
    return _arrays.stack(means, -3)


def interaction_strength(values: Any) -> Any:
    """How strong the interactions of pairs are in contexts of each size, relative to their mean.

        J^(m) = E_x E_{i,j} |I^(m)(i, j | x)| / mean over m' of E_x E_{i,j} |I^(m')(i, j | x)|

    The absolute value follows the mean over contexts. Trained networks show a U: strong at small
    and large m. Of sampled contexts, fewer than all, the noise of each mean raises J^(m) where
    contexts are many; this takes all of them.

    Args:
      values: any array ``[..., 2**n]``, n >= 2, all leading axes are samples; or the `Interactions`
        of such tables, residual and all.

    Returns:
      ``[n - 1]`` for m = 0 to n - 2, the kind and dtype as of `multi_order_interaction`. Their mean
      is 1; the same for a v + c as for v. NaN where no pair interacts.

    Raises:
      ValueError, TypeError: as `multi_order_interaction`; no samples.

    >>> interaction_strength([0.0, 1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 9.0])
    array([0., 2.])

    Source: paper 000.
    """
    call = "interaction_strength"
    if isinstance(values, Interactions):
        values = values.reconstruct() + values.residual
    values = values if _arrays.is_foreign(values) else _arrays.as_array(call, "values", values)
    n = _checked_players(call, tuple(values.shape))
    if 0 in values.shape:
        raise ValueError(f"{call}: values must hold at least one sample; got shape {values.shape}")
    found = multi_order_interaction(values)
    sizes = abs(found).reshape(-1, n - 1, n * n).mean(0).sum(-1)
    mean = sizes.mean()
    if _arrays.is_jax(sizes) or _arrays.is_torch(sizes):
        return sizes / mean  # 0 / 0 is NaN there without a warning
    return sizes / (mean if mean > 0 else np.nan)


def learning_difficulty(n: int, *, relative: bool = False) -> np.ndarray:
    """How much a training step moves interactions of each order, were all gradients noise.

        F^(m) = (n - m - 1) / (n (n - 1) sqrt(C(n - 2, m))),   m = 0 to n - 2

    up to a factor. Interactions of middle order average over most contexts, whose gradients cancel:
    F is least there. For comparison with `interaction_strength`, the paper divides by F^(0) and
    takes a smaller n than that of the network.

    Args:
      n: number of players, at least 2; may be large.
      relative: divide by F^(0), which is 1 / n.

    Returns:
      float64 ``[n - 1]``.

    >>> learning_difficulty(4)
    array([0.25      , 0.11785113, 0.08333333])

    Source: paper 000, section on learning difficulty (Eq. 13).
    """
    n = _checks.count("learning_difficulty", "n", n, least=2)
    m = np.arange(n - 1)
    # By logarithms: C(n - 2, m) overflows from n = 1032 on.
    contexts = gammaln(n - 1) - gammaln(m + 1) - gammaln(n - 1 - m)
    steps = (n - m - 1) / (n - 1) * np.exp(-contexts / 2)
    return steps if relative else steps / n


def _checked_players(call: str, shape: tuple[int, ...]) -> int:
    n = _checks.n_players(call, "values", shape)
    if n < 2:
        raise ValueError(f"{call}: values must be of at least 2 players, a pair; got {n}")
    return n


def _like(x: np.ndarray, v: Any) -> Any:
    """0 and 1 of the kind and dtype of v, with its batch axes: JAX may be strict about ranks."""
    x = x.reshape(*(1 for _ in v.shape[:-1]), *x.shape)
    if _arrays.is_torch(v):
        import torch

        return torch.from_numpy(x).to(v)
    return _arrays.namespace(v).asarray(x, dtype=v.dtype)


def _matmul(a: Any, b: Any) -> Any:
    """a @ b; accelerators would round JAX's float32 to 10 bits."""
    if _arrays.is_jax(a):
        return jax.numpy.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
    return a @ b
