# SPDX-License-Identifier: Apache-2.0
"""The whole walk: a model and an input to its sparsest AND-OR interactions. Read this first."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxinter.adapters import value_function
from jaxinter.evaluate import evaluate, evaluate_samples
from jaxinter.interactions import Interactions, common_names
from jaxinter.sparse.extract import extract
from jaxinter.value_fn import ValueFunction

__all__ = ["explain"]


def explain(
    model: Any,
    x: Any,
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
        than an input (players of an int array have an input's axes; "patches" 2 or 3; "columns" 1).
        With many, target may be a list, one of each; so may players and player_names.
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

    samples = _samples(x, players)
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


def _samples(x: Any, players: Any) -> Sequence[Any] | None:
    """The inputs of many; None where x is one."""
    if x is None or isinstance(x, (str, int, np.integer)):
        return None
    if isinstance(x, (list, tuple)):
        return None if isinstance(x[0], (int, float)) else x
    if hasattr(x, "iloc"):  # of pandas
        return [x.iloc[[i]] for i in range(len(x))] if x.ndim == 2 and len(x) > 1 else None
    axes = np.ndim(x)
    if isinstance(players, str) and players.startswith("patches"):
        inner = 3
    elif players is None or isinstance(players, (str, Mapping)):
        inner = 1
    else:
        inner = np.ndim(players[0] if isinstance(players, list) else players)
        inner = 3 if inner == 2 else inner  # images have channels
    return [x[i] for i in range(len(x))] if axes == inner + 1 else None


def _of_each(samples: int, name: str, given: Any) -> list[Any]:
    """An argument for each sample: the entries of a list of them, or the same for all."""
    if name == "target":
        listed = isinstance(given, list) or (not isinstance(given, tuple) and np.ndim(given) == 1)
    else:
        inner = (list, tuple) if name == "player_names" else (list, np.ndarray)
        listed = isinstance(given, (list, tuple)) and all(isinstance(g, inner) for g in given)
    if not listed:
        return [given] * samples
    if len(given) != samples:
        raise ValueError(
            f"explain: {name}, given as a list, must be of {samples}, one a sample; got "
            f"{len(given)}"
        )
    return [g.item() if hasattr(g, "item") and np.ndim(g) == 0 else g for g in given]
