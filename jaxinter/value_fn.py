# SPDX-License-Identifier: Apache-2.0
"""1. A model's outputs to the worth of a coalition: named pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax
from jax.scipy.special import logsumexp

from jaxinter import _arrays, _checks

__all__ = [
    "ValueFunction",
    "class_difference",
    "log_odds",
    "log_probability",
    "logit",
    "probability",
]


@dataclass(frozen=True, eq=False)
class ValueFunction:
    """v of the coalitions of one sample, and what is known of it: what `evaluate` runs.

    Called with masks, bool ``[m, n_players]`` (True: present), it gives their worths, ``[m]`` or
    ``[m, outputs]``, as any array. `value_function` makes one of a model and an input.

    Attributes:
      worth: the function itself.
      n_players: number of players.
      player_names: their names, or None.
      players: which player each element of the input belongs to, -1 for none; None where players
        are not parts of an array. Plots take it.
      target: the output that is explained: a class, a pair of classes, "all", or None.
      row_bytes: memory that the model takes for one coalition, an upper estimate; 0: not known.
      on_cpu: whether the model runs there: cache, not memory, then says how many rows are fastest.
      key: a digest of sample, players, baseline and target, by which `evaluate_samples` knows
        which samples a file holds; "" for none.

    >>> v = ValueFunction(lambda masks: masks.sum(axis=1), n_players=2, player_names=("a", "b"))
    >>> v([[True, True]])
    array([2])
    """

    worth: Callable[[np.ndarray], Any]
    n_players: int
    player_names: tuple[str, ...] | None = None
    players: Any = None
    target: Any = None
    row_bytes: int = 0
    on_cpu: bool = True
    key: str = ""

    def __call__(self, masks: Any) -> Any:
        return self.worth(np.asarray(masks, bool))


def log_odds(logits: Any, target: Any) -> Any:
    """Log-odds of a class from logits: ``log p/(1-p) = z_y - log sum_{c != y} exp(z_c)``.

    Never passes through p, so it is exact where p rounds to 1.

    Args:
      logits: any array ``[..., classes]``, classes >= 2; float32 and float64 keep their dtype.
      target: class y, an int or ints that broadcast to ``[...]``; or "all", for every class.

    Returns:
      ``[...]``, in nats; ``[..., classes]`` for "all".

    Raises:
      ValueError: fewer than two classes, or a target outside them.

    >>> float(log_odds(np.array([0.0, 100.0]), 1))
    100.0
    >>> log_odds(np.array([0.0, 100.0]), "all")
    array([-100.,  100.])

    Source: paper 001, section 2.1 (the output v of papers 001 to 003).
    """
    return _of_target("log_odds", logits, target)


def logit(logits: Any, target: Any) -> Any:
    """The logit of a class itself, ``z_y``: arguments as of `log_odds`.

    >>> float(logit(np.array([0.5, 2.0]), 1))
    2.0

    Source: paper 001, section 2.1 (an alternative output).
    """
    return _of_target("logit", logits, target)


def log_probability(logits: Any, target: Any) -> Any:
    """``log p_y = z_y - log sum_c exp(z_c)``: arguments as of `log_odds`.

    >>> round(float(log_probability(np.array([0.0, 0.0]), 1)), 4)
    -0.6931

    Source: paper 001, section 2.1 (an alternative output).
    """
    return _of_target("log_probability", logits, target)


def probability(logits: Any, target: Any) -> Any:
    """``p_y = exp(z_y) / sum_c exp(z_c)``: arguments as of `log_odds`.

    It saturates: effects on a network that is sure vanish in rounding. Prefer `log_odds`.

    >>> float(probability(np.array([0.0, 0.0]), 1))
    0.5
    """
    return _of_target("probability", logits, target)


def class_difference(logits: Any, a: Any, b: Any) -> Any:
    """``z_a - z_b``: what speaks for class a rather than b, the log-odds between the two.

    >>> float(class_difference(np.array([0.5, 2.0, -1.0]), 1, 2))
    3.0
    """
    call = "class_difference"
    return _of_target(call, logits, a, measure="logit") - _of_target(
        call, logits, b, measure="logit"
    )


def _of_target(call: str, logits: Any, target: Any, measure: str = "") -> Any:
    logits = _arrays.as_array(call, "logits", logits)
    shape = tuple(logits.shape)
    if not shape or shape[-1] < 2:
        raise ValueError(
            f"{call}: logits must be [..., classes] with at least 2 classes; got shape {shape}"
        )
    every = isinstance(target, str)
    if every and target != "all":
        raise ValueError(f'{call}: target must be integers or "all"; got {target!r}')
    if not every:
        _check_target(call, target, shape)
    measure = measure or call
    if _arrays.is_torch(logits):
        return _torch_measure(measure, logits, target)
    if _arrays.is_jax(logits):
        logits = _arrays.floating_jax(call, "logits", logits)
        return _measure(jnp, logsumexp, log_softmax, measure, logits, target)
    logits = logits.astype(_checks.float_dtype(call, "logits", logits.dtype), copy=False)
    return _measure(np, _logsumexp_numpy, _log_softmax_numpy, measure, logits, target)


def _check_target(call: str, target: Any, shape: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(np.shape(target), shape[:-1])
        fits = np.ndim(target) < len(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{call}: target must broadcast to {shape[:-1]}; got shape {np.shape(target)}"
        )
    if _arrays.is_traced(target):
        return
    chosen = _arrays.to_numpy(call, "target", target)
    if not np.issubdtype(chosen.dtype, np.integer):
        raise TypeError(f"{call}: target must be integers; got dtype {chosen.dtype}")
    if chosen.size and (chosen.min() < 0 or chosen.max() >= shape[-1]):
        raise ValueError(
            f"{call}: target must be from 0 to {shape[-1] - 1}; got {chosen.min()} to "
            f"{chosen.max()}"
        )


def _measure(
    xp: Any, logsumexp: Any, log_softmax: Any, measure: str, logits: Any, target: Any
) -> Any:
    """numpy and JAX: the measure of the target class ``[...]``, or of all ``[..., classes]``."""
    classes = xp.broadcast_to(xp.arange(logits.shape[-1], dtype=np.int32), logits.shape)
    every = isinstance(target, str)
    if not every:
        target = xp.asarray(target).astype(np.int32)
        target = xp.broadcast_to(target, logits.shape[:-1])[..., None]
    if measure == "log_odds":
        # Of all classes, only the likeliest can have 1 - p too small to subtract.
        chosen = logits.argmax(axis=-1, keepdims=True).astype(np.int32) if every else target
        others = xp.where(classes == chosen, -xp.inf, logits)
        exact = xp.take_along_axis(logits, chosen, axis=-1)[..., 0] - logsumexp(others, axis=-1)
        if not every:
            return exact
        log_p = log_softmax(logits)
        unlikely = xp.where(classes == chosen, -xp.inf, log_p)
        return xp.where(classes == chosen, exact[..., None], log_p - xp.log1p(-xp.exp(unlikely)))
    if measure != "logit":
        logits = log_softmax(logits)
    value = logits if every else xp.take_along_axis(logits, target, axis=-1)[..., 0]
    return xp.exp(value) if measure == "probability" else value


def _logsumexp_numpy(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # all other classes at -inf: log-odds are +inf
        return np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis)


def _log_softmax_numpy(x: np.ndarray) -> np.ndarray:
    return x - _logsumexp_numpy(x, -1)[..., None]


def _torch_measure(measure: str, logits: Any, target: Any) -> Any:
    import torch

    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float() if logits.is_floating_point() else logits.double()
    every = isinstance(target, str)
    if not every:
        target = torch.as_tensor(target, device=logits.device).long()
        target = target.expand(logits.shape[:-1])[..., None]
    if measure == "log_odds":
        chosen = logits.argmax(-1, keepdim=True) if every else target
        others = logits.scatter(-1, chosen, -torch.inf)
        exact = logits.gather(-1, chosen) - others.logsumexp(-1, keepdim=True)
        if not every:
            return exact[..., 0]
        log_p = logits.log_softmax(-1)
        unlikely = log_p.scatter(-1, chosen, -torch.inf)
        return (log_p - torch.log1p(-unlikely.exp())).scatter(-1, chosen, exact)
    if measure != "logit":
        logits = logits.log_softmax(-1)
    value = logits if every else logits.gather(-1, target)[..., 0]
    return value.exp() if measure == "probability" else value
