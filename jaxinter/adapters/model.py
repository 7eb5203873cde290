# SPDX-License-Identifier: Apache-2.0
"""What all frameworks share: a network, an input, players and a baseline to a value function."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks
from jaxinter.assemble import masked_inputs
from jaxinter.baselines import learned_baseline, mean_colour, tau_step
from jaxinter.players import (
    BACKGROUND,
    brightest_patches,
    columns,
    integrated_gradients,
    label_map,
    n_players,
    patches,
    random_patches,
    read_choice,
)
from jaxinter.value_fn import (
    ValueFunction,
    class_difference,
    log_odds,
    log_probability,
    logit,
    probability,
)

CALL = "value_function"
MEASURES = {
    "log-odds": log_odds,
    "logit": logit,
    "log-probability": log_probability,
    "probability": probability,
}


@dataclass(frozen=True)
class Measure:
    """Outputs of a network to worths: which number of them, of which class.

    Attributes:
      output: one of `MEASURES`, "value" (the output as it is), a function of the outputs, or None
        for what the outputs say themselves: log-odds of several classes, else the value.
      scores: what the network gives: "logits", "probabilities" or "values".
      kind: of target: "class", "pair", "all" or "none".
    """

    output: str | Callable[[Any], Any] | None
    scores: str
    kind: str = "none"

    def __call__(self, outputs: Any, target: Any) -> Any:
        """Outputs ``[m]``, ``[m, classes]`` (anything for a function) to ``[m]``, ``[m, k]``."""
        if callable(self.output):
            return self.output(outputs)
        outputs = outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs
        if outputs.ndim not in (1, 2):
            raise ValueError(
                f"{CALL}: the model must give [m] or [m, outputs]; got {tuple(outputs.shape)}. "
                "Pass output=, a function that makes one of it"
            )
        pair = self.kind == "pair"
        output = self.output or ("logit" if pair else "log-odds")
        if self.output is None and (outputs.ndim == 1 or self.scores == "values"):
            output = "value"
        if outputs.ndim == 1:  # one logit of two classes
            if output == "value":
                return outputs
            outputs = _stack(0 * outputs, outputs)
        if self.scores == "probabilities" and output != "value":
            outputs = _log(outputs)
        measure = logit if output == "value" else MEASURES[output]
        if pair and measure is logit:
            return class_difference(outputs, target[0], target[1])
        if pair:
            return measure(outputs, target[0]) - measure(outputs, target[1])
        return measure(outputs, "all" if self.kind == "all" else target)


class Model:
    """A network that takes and gives numpy; the frameworks' own are made of it.

    `forward` takes inputs ``[m, *x.shape]``, or a mapping of such arrays, all as `place` gives
    them, and gives ``[m, ...]``.
    """

    scores = "logits"
    channels = "last"  # where images have them
    column_names: tuple[str, ...] | None = None
    digest: Any = ()  # of what besides x and baseline tells one sample from another

    def __init__(self, function: Callable[[Any], Any] | None = None, scores: str = "logits"):
        self.function, self.scores = function, scores

    def place(self, x: Any) -> Any:
        """x where and as the network wants its inputs."""
        return _arrays.to_numpy(CALL, "x", x)

    def forward(self, inputs: Any) -> Any:
        assert self.function is not None
        return self.function(inputs)

    def first(self, x: Any) -> tuple[Any, int]:
        """The outputs for x alone, ``[1, ...]``, and the bytes that a row takes; 0: not known."""
        return self.forward(x[None]), 0

    def worth(
        self, x: Any, players: np.ndarray, baseline: Any, measure: Measure, target: Any
    ) -> Callable[[np.ndarray], Any]:
        """v of masks: assembled, run, measured; averaged over the rows of a marginal baseline."""
        rows = baseline if np.ndim(baseline) > np.ndim(x) else [baseline]

        def worth(masks: np.ndarray) -> Any:
            worths = [
                measure(self.forward(masked_inputs(masks, x, row, players)), target) for row in rows
            ]
            return sum(worths[1:], worths[0]) / len(worths) if len(worths) > 1 else worths[0]

        return worth

    def gradient_value(self, measure: Measure, target: Any) -> Callable[[Any], Any]:
        """Inputs to ``[m]`` so that gradients can be taken."""
        raise TypeError(
            f"{CALL}: players by integrated gradients and learned baselines need a network of JAX "
            f"or torch; got {type(self.function).__name__}"
        )


def array_value_function(
    model: Model,
    x: Any,
    *,
    target: Any,
    output: Any,
    players: Any,
    baseline: Any,
    background: str,
    channels: str | None,
    seed: int,
    player_names: Any,
) -> ValueFunction:
    """`value_function` for an input that is one array."""
    x = model.place(x)
    outputs, row_bytes = model.first(x)
    measure, target = read_target(outputs, target, output, model.scores)
    channels = channels or model.channels
    seats, names = _players(model, x, players, channels, seed, measure, target)
    fill = _baseline(model, x, seats, baseline, channels, measure, target)
    if background == "mask":
        x = _where(seats < 0, fill, x)
    elif background != "keep":
        raise ValueError(f'{CALL}: background must be "keep" or "mask"; got {background!r}')
    n = n_players(CALL, seats)
    names = tuple(map(str, player_names)) if player_names is not None else names
    if names is not None and len(names) != n:
        raise ValueError(f"{CALL}: player_names must be {n}, one a player; got {len(names)}")
    return ValueFunction(
        model.worth(x, seats, fill, measure, target),
        n,
        names,
        seats,
        target,
        row_bytes,
        key(x, seats, fill, target, output if isinstance(output, str) else "", model.digest),
    )


def read_target(outputs: Any, target: Any, output: Any, scores: str) -> tuple[Measure, Any]:
    """What is measured, and of which class, given the outputs ``[1, ...]`` for the whole input."""
    if output is not None and not callable(output) and output not in (*MEASURES, "value"):
        raise ValueError(
            f"{CALL}: output must be a function or one of {[*MEASURES, 'value']}; got {output!r}"
        )
    shape = tuple(outputs.shape)
    if callable(output):
        return Measure(output, scores), None
    if len(shape) == 1 or shape[1:] == (1,):
        if not isinstance(target, str) and target not in (None, 1):
            raise ValueError(
                f"{CALL}: target must be left out for a model of one output; got {target!r}"
            )
        return Measure(output, scores, "class"), 1
    if len(shape) != 2:
        Measure(output, scores)(outputs, None)  # says what to do
    classes = shape[1]
    if isinstance(target, str) and target in ("predicted", "all"):
        if target == "all" or (output is None and scores == "values"):
            return Measure(output, scores, "all"), "all"
        host = outputs.detach().cpu() if _arrays.is_torch(outputs) else outputs
        return Measure(output, scores, "class"), int(host[0].argmax())
    pair = isinstance(target, tuple) and len(target) == 2
    chosen = target if pair else (target,)
    if not all(isinstance(c, (int, np.integer)) and 0 <= c < classes for c in chosen):
        raise ValueError(
            f'{CALL}: target must be a class from 0 to {classes - 1}, a pair of them, "predicted" '
            f'or "all"; got {target!r}'
        )
    if pair:
        return Measure(output, scores, "pair"), (int(target[0]), int(target[1]))
    return Measure(output, scores, "class"), int(target)


def key(*parts: Any) -> str:
    """A digest of arrays and plain values."""
    digest = hashlib.sha256()
    for part in parts:
        if hasattr(part, "shape"):
            part = part.detach().cpu() if _arrays.is_torch(part) else part
            array = np.asarray(_arrays.to_numpy(CALL, "x", part))
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()[:32]


def _players(
    model: Model, x: Any, players: Any, channels: str, seed: int, measure: Measure, target: Any
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The map of players, of x's shape, and their names where they have any."""
    shape = tuple(x.shape)
    if players is None:
        if len(shape) != 1:
            raise ValueError(
                f'{CALL}: players must be given for an input of shape {shape}: "patches:4x4" or '
                "an int array"
            )
        players = "columns"
    if isinstance(players, Mapping):
        if len(shape) != 1:
            raise ValueError(f"{CALL}: groups of players are of columns; x has shape {shape}")
        return columns(shape[0], players), tuple(map(str, players))
    if not isinstance(players, str):
        seats = _arrays.to_numpy(CALL, "players", players)
        if seats.ndim == 2 and len(shape) == 3 and seats.shape != shape:
            seats = label_map(seats, shape, background=range(-9, 0), channels=channels)
        _checks.broadcasts(CALL, "players", seats.shape, shape, "x")
        return np.broadcast_to(seats, shape), None
    choice = read_choice(CALL, players)
    if choice.of == "columns":
        if len(shape) != 1:
            raise ValueError(f'{CALL}: players "columns" need an input of one axis; got {shape}')
        return columns(shape[0]), model.column_names
    if choice.grid is None:
        raise ValueError(f"{CALL}: players {players!r} need a text and a tokenizer")
    if choice.rule == "brightest":
        host = x.detach().cpu() if _arrays.is_torch(x) else x
        seats = brightest_patches(host, choice.grid, choice.k, channels=channels)
    elif choice.rule == "gradients":
        value = model.gradient_value(measure, target)
        ig = integrated_gradients(value, x)
        ig = ig.detach().cpu() if _arrays.is_torch(ig) else ig
        seats = brightest_patches(ig, choice.grid, choice.k, channels=channels)
    elif choice.rule == "random":
        seats = random_patches(shape, choice.grid, choice.k, seed=seed, channels=channels)
    else:
        seats = patches(shape, choice.grid, channels=channels)
    cells = patches(shape, choice.grid, channels=channels)
    kept = sorted({int(c) for c in np.unique(cells[seats != BACKGROUND])})
    return seats, tuple(f"patch {c // choice.grid[1]},{c % choice.grid[1]}" for c in kept)


def _baseline(
    model: Model,
    x: Any,
    seats: np.ndarray,
    baseline: Any,
    channels: str,
    measure: Measure,
    target: Any,
) -> Any:
    """What replaces absent players, as x's kind: broadcasts to x, or has an axis of rows before."""
    if isinstance(baseline, str):
        name, _, number = baseline.partition(":")
        if name == "zero":
            baseline = 0.0
        elif name == "mean" and x.ndim >= 2:
            host = x.detach().cpu() if _arrays.is_torch(x) else x
            host = _arrays.to_numpy(CALL, "x", host)
            baseline = host.mean() if x.ndim == 2 else mean_colour(host, channels=channels)
        elif name == "tau" and number:
            return tau_step(x, float(number))
        elif name == "learned":
            value = model.gradient_value(measure, target)
            return learned_baseline(value, x, seats, 0 * x)
        else:
            raise ValueError(
                f'{CALL}: baseline must be a number, an array, "zero", "mean" (colour, of images), '
                f'"tau:2" (your step) or "learned"; got {baseline!r}'
            )
    fill = model.place(0.0 if baseline is None else baseline)
    if fill.ndim != x.ndim + 1 or fill.shape[1:] != x.shape:
        _checks.broadcasts(CALL, "baseline", tuple(fill.shape), tuple(x.shape), "x")
    return fill


def _where(condition: np.ndarray, a: Any, b: Any) -> Any:
    if _arrays.is_torch(b):
        import torch

        return torch.where(torch.from_numpy(np.array(condition)).to(b.device), a, b)
    xp = _arrays.namespace(b)
    return xp.where(condition, a, b).astype(b.dtype)


def _stack(a: Any, b: Any) -> Any:
    if _arrays.is_torch(a):
        import torch

        return torch.stack([a, b], dim=-1)
    return _arrays.namespace(a).stack([a, b], axis=-1)


def _log(p: Any) -> Any:
    if _arrays.is_torch(p):
        return p.log()
    with np.errstate(divide="ignore"):  # log 0: refused by the name of its coalition
        return _arrays.namespace(p).log(p)
