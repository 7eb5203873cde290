# SPDX-License-Identifier: Apache-2.0
"""1. A model's outputs to the worth of a coalition: named pure functions."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from jaxinter import _arrays, _checks

__all__ = ["log_odds"]


def log_odds(logits: Any, target: Any) -> Any:
    """Log-odds of a class from logits: ``log p/(1-p) = z_y - log sum_{c != y} exp(z_c)``.

    Never passes through p, so it is exact where p rounds to 1.

    Args:
      logits: any array ``[..., classes]``, classes >= 2; float32 and float64 keep their dtype.
      target: class y, an int or ints that broadcast to ``[...]``.

    Returns:
      ``[...]``, in nats.

    Raises:
      ValueError: fewer than two classes, or a target outside them.

    >>> float(log_odds(np.array([0.0, 100.0]), 1))
    100.0

    Source: paper 001, section 2.1 (the output v of papers 001 to 003).
    """
    logits = _arrays.as_array("log_odds", "logits", logits)
    shape = tuple(logits.shape)
    if not shape or shape[-1] < 2:
        raise ValueError(
            f"log_odds: logits must be [..., classes] with at least 2 classes; got shape {shape}"
        )
    _check_target(target, shape)
    if _arrays.is_torch(logits):
        return _log_odds_torch(logits, target)
    if _arrays.is_jax(logits):
        return _log_odds(jnp, logsumexp, _arrays.floating_jax("log_odds", "logits", logits), target)
    logits = logits.astype(_checks.float_dtype("log_odds", "logits", logits.dtype), copy=False)
    return _log_odds(np, _logsumexp_numpy, logits, target)


def _check_target(target: Any, shape: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(np.shape(target), shape[:-1])
        fits = np.ndim(target) < len(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"log_odds: target must broadcast to {shape[:-1]}; got shape {np.shape(target)}"
        )
    if _arrays.is_traced(target):
        return
    chosen = _arrays.to_numpy("log_odds", "target", target)
    if not np.issubdtype(chosen.dtype, np.integer):
        raise TypeError(f"log_odds: target must be integers; got dtype {chosen.dtype}")
    if chosen.size and (chosen.min() < 0 or chosen.max() >= shape[-1]):
        raise ValueError(
            f"log_odds: target must be from 0 to {shape[-1] - 1}; "
            f"got {chosen.min()} to {chosen.max()}"
        )


def _log_odds(xp: Any, logsumexp: Any, logits: Any, target: Any) -> Any:
    target = xp.asarray(target).astype(np.int32)
    target = xp.broadcast_to(target, logits.shape[:-1])[..., None]
    classes = xp.broadcast_to(xp.arange(logits.shape[-1], dtype=np.int32), logits.shape)
    others = xp.where(classes == target, -xp.inf, logits)
    return xp.take_along_axis(logits, target, axis=-1)[..., 0] - logsumexp(others, axis=-1)


def _logsumexp_numpy(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # all other classes at -inf: log-odds are +inf
        return np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis)


def _log_odds_torch(logits: Any, target: Any) -> Any:
    import torch

    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float() if logits.is_floating_point() else logits.double()
    target = torch.as_tensor(target, device=logits.device).long()
    target = target.expand(logits.shape[:-1])[..., None]
    others = logits.scatter(-1, target, -torch.inf)
    return logits.gather(-1, target)[..., 0] - others.logsumexp(-1)
