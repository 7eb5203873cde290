# SPDX-License-Identifier: Apache-2.0
"""The whole walk: a model and an input to its sparsest AND-OR interactions. Read this first."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxinter.adapters import value_function
from jaxinter.evaluate import evaluate
from jaxinter.interactions import Interactions, common_names
from jaxinter.samples import evaluate_samples
from jaxinter.sparse.extract import extract
from jaxinter.value_fn import ValueFunction

__all__ = ["explain"]


def explain(
    model: Any,
    x: Any = None,
    *,
    target: Any = "predicted",
    output: str | Callable[[Any], Any] | None = None,
    players: Any = None,
    baseline: Any = None,
    noise_ratio: float = 0.0,
    tol: float = 1e-4,
    background: str = "keep",
    channels: str | None = None,
    layer: Any = None,
    tokenizer: Any = None,
    seed: int = 0,
    player_names: Any = None,
    batch_size: int | str | None = None,
    memory: int | None = None,
    progress: bool | str = False,
    resume: str | os.PathLike | None = None,
    probe: bool | None = None,
    **options: Any,
) -> Interactions:
    """The sparsest AND-OR interactions of what a model computes on one input, or on many.

        explain = extract(evaluate(value_function(model, x)))

    Args:
      model, target, output, players, baseline, background, channels, layer, tokenizer, seed,
        player_names: as of `value_function`.
      x: one input, or many: a list, a data frame of several rows, or an array with one axis more
        than an input (which has 3 with "patches" and superpixels, those of the map with any other,
        else 1). With many, target may be a list, one of each; so may players and player_names.
      batch_size, memory, progress, resume, probe: as of `evaluate` (of many: `evaluate_samples`).
      noise_ratio, tol, options: as of `extract`.

    Returns:
      `Interactions` (numpy): of one input without batch axes, of many ``[samples]``; and with
      several outputs (target="all") one axis more, ``[outputs]`` or ``[samples, outputs]``.

    Raises:
      ValueError, TypeError: as of `value_function`, `evaluate` and `extract`.
      ConvergenceError: as of `extract`.

    >>> model = lambda z: z[:, 0] * z[:, 1] + z[:, 2]
    >>> for kind, players, effect in explain(model, np.array([1.0, 2.0, 3.0])).canonical().top(2):
    ...     print(kind, players, round(effect, 3))
    AND (2,) 3.0
    AND (0, 1) 2.0

    Source: papers 001, 002, 003.
    """
    model_options = {"output": output, "baseline": baseline, "background": background}
    model_options |= {"channels": channels, "layer": layer, "tokenizer": tokenizer, "seed": seed}
    run_options: dict[str, Any] = {"batch_size": batch_size, "memory": memory, "probe": probe}
    run_options |= {"progress": progress, "resume": resume}

    def of(sample: Any, target: Any, players: Any, names: Any) -> ValueFunction:
        return value_function(
            model, sample, target=target, players=players, player_names=names, **model_options
        )

    samples = _samples(x, players, tokenizer is not None)
    if samples is None:
        value_fn = of(x, target, players, player_names)
        values, names = evaluate(value_fn, **run_options), value_fn.player_names
    else:
        given = (target, players, player_names)
        each = [_of_each(len(samples), name, one) for name, one in zip(EACH, given)]
        value_fns = [of(*one) for one in zip(samples, *each)]
        values = evaluate_samples(value_fns, **run_options)
        names = common_names([fn.player_names for fn in value_fns])
    title = "finding the sparsest split" if progress else False
    return extract(
        values, noise_ratio=noise_ratio, tol=tol, player_names=names, progress=title, **options
    )


EACH = ("target", "players", "player_names")  # arguments that may be one of each sample


def _samples(x: Any, players: Any, are_texts: bool) -> Sequence[Any] | None:
    """The inputs of many; None where x is one."""
    if x is None or isinstance(x, (str, int, np.integer)):
        return None
    if isinstance(x, (list, tuple)) or are_texts:  # texts of pandas or numpy too
        samples = list(x)
        if not samples:
            raise ValueError("explain: x must hold at least one input; got none")
        return None if isinstance(samples[0], (int, float, np.number)) else samples
    if hasattr(x, "iloc"):  # of pandas
        return [x.iloc[[i]] for i in range(len(x))] if x.ndim == 2 and len(x) > 1 else None
    one = players[0] if _one_of_each("players", players) else players
    inner: tuple[int, ...] = (1,)
    if isinstance(one, str) and one.startswith("patches"):
        inner = (1, 1, 1)
    elif one is not None and not isinstance(one, (str, Mapping)):
        inner, image = np.shape(one), np.shape(x)[-3:]
        inner = image if len(image) == 3 and inner in (image[:2], image[1:]) else inner
    shape = np.shape(x)[1:]
    fits = len(inner) == len(shape) and all(a in (1, b) for a, b in zip(inner, shape))
    return [x[i] for i in range(len(x))] if fits else None


def _one_of_each(name: str, given: Any) -> bool:
    """Whether an argument is a list of one for each sample."""
    if name == "target":  # a tuple is a pair of classes
        return isinstance(given, list) or (not isinstance(given, tuple) and np.ndim(given) == 1)
    # Words, numbers and spans are one choice; maps, lists and groups are one of each sample.
    one = (str, int, np.integer, tuple) if name == "players" else (str, int, np.integer)
    many = isinstance(given, (list, tuple)) and len(given) > 0
    return many and not any(isinstance(g, one) for g in given)


def _of_each(samples: int, name: str, given: Any) -> list[Any]:
    """An argument for each sample: the entries of a list of them, or the same for all."""
    if not _one_of_each(name, given):
        return [given] * samples
    if len(given) != samples:
        raise ValueError(
            f"explain: {name}, given as a list, must be of {samples}, one a sample; got "
            f"{len(given)}"
        )
    return list(given)
