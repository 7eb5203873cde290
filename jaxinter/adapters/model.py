# SPDX-License-Identifier: Apache-2.0
"""What all frameworks share: a network, an input, players and a baseline to a value function."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
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
        if len(shape_of(outputs)) not in (1, 2):
            raise ValueError(
                f"{CALL}: the model must give [m] or [m, outputs]; got "
                f"{shape_of(outputs) or type(outputs).__name__}. Pass output=, a function that "
                "makes one of it (and x without a batch axis)"
            )
        outputs = outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs
        pair = self.kind == "pair"
        output = self.output or ("logit" if pair else "log-odds")
        if self.output is None and (outputs.ndim == 1 or self.scores == "values"):
            output = "value"
        if outputs.ndim == 1:  # one logit of two classes
            if output == "value":
                return outputs
            outputs = _both_classes(outputs, self.scores)
        if self.scores == "probabilities" and output == "probability":
            output = "value"
        if self.scores == "probabilities" and output != "value":
            with np.errstate(divide="ignore"):  # log 0
                outputs = np.log(outputs)
        measure = logit if output == "value" else MEASURES[output]
        if pair and measure is logit:
            worths = class_difference(outputs, target[0], target[1])
        elif pair:
            worths = measure(outputs, target[0]) - measure(outputs, target[1])
        else:
            worths = measure(outputs, "all" if self.kind == "all" else target)
        if self.scores == "probabilities" and not (np.isfinite(worths) | np.isnan(worths)).all():
            raise ValueError(
                f"{CALL}: output {output!r} is infinite where the model gives a probability of "
                'exactly 0 or 1. Pass output="probability"'
            )
        return worths


def logits_of(outputs: Any) -> Any:
    """The array in what a network gives: itself, its logits, the first of several."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return outputs["logits"]
    if getattr(outputs, "logits", None) is not None:
        return outputs.logits
    return outputs[0] if isinstance(outputs, (tuple, list)) and outputs else outputs


def shape_of(outputs: Any) -> tuple[int, ...]:
    return tuple(getattr(outputs, "shape", ()))


def host(x: Any) -> np.ndarray:
    """x as numpy, on whatever device it is."""
    return _arrays.host(CALL, "x", x)


def one_row(x: Any) -> Any:
    """A batch of x alone, in memory of its own: a model may write to its inputs."""
    if isinstance(x, Mapping):
        return {name: one_row(array) for name, array in x.items()}
    return x[None].clone() if _arrays.is_torch(x) else x[None].copy()


class Model:
    """A network that takes and gives numpy; the frameworks' own are made of it.

    `forward` takes inputs ``[m, *x.shape]``, or a mapping of such arrays, all as `place` gives
    them, and gives ``[m, ...]``.
    """

    scores = "logits"
    channels = "last"  # where images have them
    column_names: tuple[Any, ...] | None = None  # where x is of a table
    classes: Mapping[str, int] = MappingProxyType({})  # by name, where they have names
    on_cpu = True
    digest: Any = ()  # of what besides x and baseline tells one sample from another

    def __init__(self, function: Callable[[Any], Any] | None = None, scores: str = "logits"):
        self.function, self.scores = function, scores

    def place(self, x: Any) -> Any:
        """x where and as the network wants its inputs."""
        return _arrays.to_numpy(CALL, "x", x)

    def numbered(self, target: Any) -> Any:
        """A target with its classes' names replaced by their numbers."""
        if isinstance(target, tuple):
            return tuple(map(self.numbered, target))
        return self.classes.get(target, target) if isinstance(target, str) else target

    def forward(self, inputs: Any) -> Any:
        assert self.function is not None
        return logits_of(self.function(inputs))

    def first(self, x: Any) -> tuple[Any, int]:
        """The outputs for x alone, ``[1, ...]``, and the bytes that a row takes; 0: not known."""
        return self.forward(one_row(x)), 0

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
    if isinstance(x, Mapping) or type(x).__module__.startswith("PIL."):
        raise TypeError(
            f"{CALL}: x must be one array, made ready as the model takes it; got {type(x).__name__}"
        )
    x = model.place(x)
    try:
        outputs, row_bytes = model.first(x)
    except Exception as error:
        error.add_note(
            f"{CALL}: the model was run on x as a batch of one, {x.dtype} {(1, *x.shape)}"
        )
        raise
    measure, target = read_target(outputs, model.numbered(target), output, model.scores)
    channels = channels or model.channels
    seats, names = _players(model, x, players, channels, seed, measure, target)
    n = n_players(CALL, seats)
    fill = _baseline(model, x, seats, baseline, channels, measure, target)
    if background not in ("keep", "mask"):
        raise ValueError(f'{CALL}: background must be "keep" or "mask"; got {background!r}')
    kept = background == "keep"  # else it belongs to one more player, who is never there
    given = model.worth(x, seats if kept else np.where(seats < 0, n, seats), fill, measure, target)
    names = tuple(map(str, player_names)) if player_names is not None else names
    if names is not None and len(names) != n:
        raise ValueError(f"{CALL}: player_names must be {n}, one a player; got {len(names)}")
    said = output if isinstance(output, str) else ""
    return ValueFunction(
        given if kept else lambda masks: given(np.pad(masks, ((0, 0), (0, 1)))),
        n,
        names,
        seats,
        target,
        row_bytes,
        model.on_cpu,
        key(x, seats, fill, background, target, said, model.digest),
    )


def read_target(outputs: Any, target: Any, output: Any, scores: str) -> tuple[Measure, Any]:
    """What is measured, and of which class, given the outputs ``[1, ...]`` for the whole input."""
    if output is not None and not callable(output) and output not in (*MEASURES, "value"):
        raise ValueError(
            f"{CALL}: output must be a function or one of {[*MEASURES, 'value']}; got {output!r}"
        )
    shape = shape_of(outputs)
    if callable(output):
        return Measure(output, scores), None
    if hasattr(target, "item") and np.ndim(target) == 0:
        target = target.item()
    if len(shape) == 1 or shape[1:] == (1,):
        if target not in (None, 1, "predicted", "all"):
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
        return Measure(output, scores, "class"), int(host(outputs)[0].argmax())
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
            array = host(part)
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
        at = {name: i for i, name in enumerate(model.column_names or ())}
        groups = [[at.get(c, c) for c in group] for group in players.values()]
        unknown = [c for group in groups for c in group if isinstance(c, str)]
        if unknown:
            raise ValueError(f"{CALL}: players must name columns of {list(at)}; got {unknown[0]!r}")
        return columns(shape[0], groups), tuple(map(str, players))
    if not isinstance(players, str):
        seats = _arrays.to_numpy(CALL, "players", players)
        seats = seats.astype(np.int64) if seats.dtype.kind == "u" else seats
        if len(shape) == 3 and seats.shape == (shape[:2] if channels == "last" else shape[1:]):
            seats = np.where(seats < 0, BACKGROUND, seats)
            seats = label_map(seats, shape, background=BACKGROUND, channels=channels)
        _checks.broadcasts(CALL, "players", seats.shape, shape, "x")
        return np.broadcast_to(seats, shape), None
    choice = read_choice(CALL, players)
    if choice.of == "columns":
        if len(shape) != 1:
            raise ValueError(f'{CALL}: players "columns" need an input of one axis; got {shape}')
        names = model.column_names
        return columns(shape[0]), None if names is None else tuple(map(str, names))
    if choice.grid is None:
        raise ValueError(f"{CALL}: players {players!r} need a text and a tokenizer")
    seats = cells = patches(shape, choice.grid, channels=channels)
    if choice.rule == "brightest":
        seats = brightest_patches(host(x), choice.grid, choice.k, channels=channels)
    elif choice.rule == "gradients":
        ig = integrated_gradients(_gradient_value(model, measure, target), x)
        seats = brightest_patches(host(ig), choice.grid, choice.k, channels=channels)
    elif choice.rule == "random":
        seats = random_patches(shape, choice.grid, choice.k, seed=seed, channels=channels)
    kept = np.unique(cells[seats != BACKGROUND]).tolist()
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
        name, _, step = baseline.partition(":")
        if name == "zero":
            baseline = 0.0
        elif name == "mean" and x.ndim >= 2:
            pixels = host(x)
            baseline = pixels.mean() if x.ndim == 2 else mean_colour(pixels, channels=channels)
        elif name == "tau" and step.replace(".", "", 1).isdecimal():
            return tau_step(x, float(step))
        elif name == "learned":
            return learned_baseline(_gradient_value(model, measure, target), x, seats, 0 * x)
        else:
            raise ValueError(
                f'{CALL}: baseline must be a number, an array, "zero", "mean" (colour, of images), '
                f'"tau:2" (your step) or "learned"; got {baseline!r}'
            )
    fill = model.place(0.0 if baseline is None else baseline)
    if not (len(fill) if fill.ndim > x.ndim else 1):
        raise ValueError(f"{CALL}: baseline must hold at least one row; got none")
    if fill.ndim != x.ndim + 1 or fill.shape[1:] != x.shape:
        _checks.broadcasts(CALL, "baseline", tuple(fill.shape), tuple(x.shape), "x")
    dtype, values = _arrays.numpy_dtype(x), host(fill)
    if dtype.kind in "biu" and not np.array_equal(values.astype(dtype), values):
        raise ValueError(f"{CALL}: baseline must hold values of x's dtype {dtype}; got {baseline}")
    return fill.to(x.dtype) if _arrays.is_torch(fill) else fill.astype(x.dtype)


def _gradient_value(model: Model, measure: Measure, target: Any) -> Callable[[Any], Any]:
    if measure.kind == "all":
        raise ValueError(
            f'{CALL}: players by gradients and baseline "learned" need one output; got target "all"'
        )
    return model.gradient_value(measure, target)


def _both_classes(one: Any, scores: str) -> Any:
    """The scores of two classes, of which that of the second is given."""
    if _arrays.is_torch(one):
        import torch

        return torch.stack([torch.zeros_like(one), one], dim=-1)
    xp = _arrays.namespace(one)
    other = 1 - one if scores == "probabilities" else xp.zeros_like(one)
    return xp.stack([other, one], axis=-1)
