# SPDX-License-Identifier: Apache-2.0
"""4b. Baselines: what stands for an absent player. Means, steps towards zero, learned ones."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks
from jaxinter.assemble import masked_inputs
from jaxinter.masks import decode
from jaxinter.players import n_players
from jaxinter.transform import mobius, superset_mobius

__all__ = ["learned_baseline", "learned_data_baseline", "mean_colour", "tau_step"]

CHUNK = 256  # masked inputs of which a gradient is taken at once


def mean_colour(images: Any, *, channels: str = "last") -> np.ndarray:
    """The mean over all pixels of all images, for each channel; of feature maps, the mean feature.

    Args:
      images: ``[..., height, width, channels]``, or ``[..., channels, height, width]`` where
        `channels` is "first".

    Returns:
      ``[channels]`` or ``[channels, 1, 1]``: it broadcasts to one image.

    >>> mean_colour(np.array([[[0.0, 1.0], [2.0, 5.0]]]))
    array([1., 3.])

    Source: paper 001, footnote 4 (mean colour); paper 003, appendix H.3 (a feature vector).
    """
    images = _arrays.to_numpy("mean_colour", "images", images)
    if channels not in ("first", "last") or images.ndim < 3:
        raise ValueError(
            "mean_colour: images must be [..., height, width, channels], or [..., channels, "
            f'height, width] with channels="first"; got {images.shape}, channels={channels!r}'
        )
    if channels == "last":
        return images.reshape(-1, images.shape[-1]).mean(axis=0)
    kept = images.ndim - 3
    return images.mean(axis=tuple(a for a in range(images.ndim) if a != kept)).reshape(-1, 1, 1)


def tau_step(x: Any, tau: float) -> Any:
    """Each element one step of length tau towards 0, the mean, and not past it.

        b = max(x - tau, 0) where x > 0,  min(x + tau, 0) where x < 0

    >>> tau_step(np.array([3.0, -1.0, 0.5]), 2.0)
    array([1., 0., 0.])

    Source: published code of the learning-dynamics papers (tau = 2 on images, 1 on columns).
    """
    tau = _checks.real("tau_step", "tau", tau, positive=True)
    x = _arrays.as_array("tau_step", "x", x)
    return x - x.clip(-tau, tau)


def learned_baseline(
    value: Callable[[Any], Any],
    x: Any,
    players: Any,
    start: Any = 0.0,
    *,
    bounds: tuple[Any, Any] | None = None,
    steps: int = 50,
    rate: float = 0.05,
) -> Any:
    """The baseline of one sample whose AND interactions are weakest.

        minimise over b:  sum_{S not empty} |AND(S)|,   bounds[0] <= b <= bounds[1]

    by projected gradient, the step falling tenfold. The best b met is returned, so that it is
    never worse than `start`. b = x has no interactions at all: the bounds keep b away from it, and
    decide much of the result. Every step runs the network twice on 2^n inputs.

    Args:
      value: of inputs ``[m, *x.shape]`` gives ``[m]``; differentiable, in JAX or torch.
      x: one input, JAX or torch (numpy is taken as JAX).
      players: as of `masked_inputs`.
      start: broadcasts to x; its shape is that of the result (one colour, or every pixel apart).
      bounds: numbers or arrays that broadcast to start; default: start -+ a tenth of x's range.
      steps: of the descent.
      rate: the first step of the element of largest gradient, as a share of the bounds' width.

    Returns:
      of the shape of start, of x's kind and dtype.

    >>> value = lambda z: (z[:, 0] - 0.1) * (z[:, 1] - 0.1)
    >>> b = learned_baseline(value, np.float32([1, 2]), [0, 1], [0, 0], steps=5, rate=0.5)
    >>> np.asarray(b).round(2)
    array([0.1, 0.1], dtype=float32)

    Source: published code of Zhang's group (aog, _train_baseline: projected gradient, rates from
    rate to rate / 10).
    """
    call = "learned_baseline"
    x = x if _arrays.is_torch(x) else _arrays.as_jax(call, "x", x)
    players = _arrays.to_numpy(call, "players", players)
    n = n_players(call, players)
    b = _arrays.as_input(call, "start", start, x)
    tenth = (x.max() - x.min()) / 10
    if bounds is None:
        low, high = b - tenth, b + tenth
    else:
        low, high = (_arrays.as_input(call, "bounds", c, x) for c in bounds)
        b = b.clip(low, high)
    span = float((high - low).max())
    chunks = [decode(np.arange(a, min(a + CHUNK, 1 << n)), n) for a in range(0, 1 << n, CHUNK)]

    def effects_of(b: Any) -> np.ndarray:
        worths = [value(masked_inputs(masks, x, b, players)) for masks in chunks]
        v = np.concatenate([_arrays.host(call, "the result of value", w) for w in worths])
        return mobius(v.astype(np.float64))

    best, least = b, np.inf
    for step in np.geomspace(rate, rate / 10, _checks.count(call, "steps", steps, least=1)):
        effects = effects_of(b)
        strength = float(np.abs(effects[1:]).sum())
        if strength < least:
            best, least = b, strength
        signs = np.sign(effects)
        signs[0] = 0.0
        # sum_S |AND(S)| = sum_T c(T) v(T) with c = the transpose of mobius applied to the signs
        c = superset_mobius(signs)
        parts = [_arrays.as_input(call, "c", c[a : a + CHUNK], x) for a in range(0, 1 << n, CHUNK)]
        gradient = sum(
            _arrays.gradient(
                lambda b, masks=masks, part=part: (
                    value(masked_inputs(masks, x, b, players)) * part
                ).sum(),
                b,
            )
            for masks, part in zip(chunks, parts)
        )
        steepest = float(abs(gradient).max())
        if not steepest > 0:
            return best
        b = (b - step * span / steepest * gradient).clip(low, high)
    return b if np.abs(effects_of(b)[1:]).sum() < least else best


def learned_data_baseline(
    values: Callable[[Any], Any] | Sequence[Callable[[Any], Any]],
    xs: Any,
    players: Any,
    start: Any = 0.0,
    *,
    epochs: int = 200,
    triplets: int = 10,
    rate: float = 1e-3,
    momentum: float = 0.9,
    seed: int = 0,
) -> Any:
    """One baseline for a data set: that of the weakest interactions between random sets of players.

        minimise over b:  E |v(S1 S2 S3) - v(S1 S3) - v(S2 S3) + v(S3)|

    by stochastic gradient descent, one step a sample.

    Args:
      values: of inputs ``[m, *x.shape]`` gives ``[m]``; one for all samples, or one of each.
      xs: ``[samples, *x.shape]``, JAX or torch (numpy is taken as JAX).
      players: one map for all samples.
      start: broadcasts to a sample; its shape is that of the result.
      epochs, triplets (of a sample and step), rate, momentum: of the descent.
      seed: of the triplets: S1 and S2 of 1 to 3 players, disjoint, uniform; S3 all others one time
        in three, else as many of them as a uniform number says.

    Returns:
      of the shape of start, of xs' kind and dtype.

    >>> value = lambda z: z[:, 0] * z[:, 1]
    >>> xs = np.array([[1, 2], [3, 2]], np.float32)
    >>> b = learned_data_baseline(value, xs, [0, 1], np.zeros(2), epochs=2, rate=5e-2)
    >>> bool(abs(b).min() > 0.5)
    True

    Source: published code of Zhang's group (interaction-sparsity, baseline/train.py and
    sample_subset).
    """
    call = "learned_data_baseline"
    xs = xs if _arrays.is_torch(xs) else _arrays.as_jax(call, "xs", xs)
    players = _arrays.to_numpy(call, "players", players)
    n = n_players(call, players)
    if n < 2:
        raise ValueError(f"{call}: players must be at least 2; got {n}")
    fns = [values] * len(xs) if callable(values) else list(values)
    if len(fns) != len(xs):
        raise ValueError(f"{call}: values must be one of each sample, {len(xs)}; got {len(fns)}")
    rng = np.random.default_rng(seed)
    b = _arrays.as_input(call, "start", start, xs)
    speed = 0.0 * b
    for _ in range(epochs):
        for at in rng.permutation(len(xs)).tolist():
            masks = np.concatenate([_pair_and_context(n, rng) for _ in range(triplets)])

            def loss(b: Any, at: int = at, masks: np.ndarray = masks) -> Any:
                v = fns[at](masked_inputs(masks, xs[at], b, players)).reshape(-1, 4)
                return abs(v[:, 0] - v[:, 1] - v[:, 2] + v[:, 3]).mean()

            speed = momentum * speed + _arrays.gradient(loss, b)
            b = b - rate * speed
    return b


def _pair_and_context(n: int, rng: np.random.Generator) -> np.ndarray:
    """Masks of S1 S2 S3, S1 S3, S2 S3 and S3, ``[4, n]``."""
    order = rng.permutation(n)
    one = int(rng.integers(1, min(3, n - 1) + 1))
    two = int(rng.integers(1, min(3, n - one) + 1))
    rest = order[one + two :]
    context = len(rest) if rng.random() < 1 / 3 or not len(rest) else int(rng.integers(len(rest)))
    masks = np.zeros((4, n), bool)
    masks[:, rest[:context]] = True
    masks[:2, order[:one]] = True
    masks[::2, order[one : one + two]] = True
    return masks
