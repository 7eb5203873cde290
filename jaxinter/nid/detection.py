# SPDX-License-Identifier: Apache-2.0
"""NID 6. What `detect` found: trained networks, what is read from their weights, and its file."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
import scipy.special
from flax import nnx

from jaxinter import _checks, _files
from jaxinter.nid import ranking, table, weights
from jaxinter.nid.network import AdditiveMLP, Architecture, empty
from jaxinter.nid.training import BLOCK, Part, Recipe

__all__ = ["Detection", "load"]

FILE_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """How a detection was made."""

    main_effects: bool
    order: str
    seed: int
    averaging: str
    max_interactions: int
    hidden: tuple[int, ...]
    regularizer: str
    penalty: float
    epochs: int
    batch_size: int
    learning_rate: float
    decay: float
    rows: int
    kept: tuple[int, int]  # rows for validation and for the test

    def architecture(self, encoder: table.Encoder) -> Architecture:
        columns = tuple(encoder.columns.tolist())
        return Architecture(columns, encoder.n_outputs, self.hidden, self.main_effects)

    def recipe(self, task: str) -> Recipe:
        return Recipe(
            task,
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.decay,
            self.regularizer,
            self.penalty,
        )

    def split(self, trial: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows to learn from, for validation and for the test, of a trial."""
        order = np.random.default_rng([self.seed, trial]).permutation(self.rows)
        validation, test = self.kept
        learnt = self.rows - validation - test
        return order[:learnt], order[learnt : learnt + validation], order[learnt + validation :]

    def key(self, trial: int) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.seed), trial)


@dataclass(frozen=True, eq=False)
class Scaling:
    """What standardises inputs and, in regression, the target: by the rows learnt from."""

    x_mean: np.ndarray  # [inputs]
    x_scale: np.ndarray
    y_mean: float
    y_scale: float

    @classmethod
    def of(cls, data: table.Table, learnt: np.ndarray) -> "Scaling":
        x, encoder = data.inputs[learnt], data.encoder
        scale = _deviation(x)
        # Categories are only centred: those of few rows would count as much as those of many.
        scale[np.isin(encoder.columns, list(encoder.categories))] = 1.0
        y = data.target[learnt] if encoder.task == "regression" else np.array([-1.0, 1.0])
        return cls(x.mean(0), scale, y.mean(), float(_deviation(y)))

    def part(self, data: table.Table, rows: np.ndarray) -> Part:
        y = data.target[rows]
        if data.encoder.task == "regression":
            y = ((y - self.y_mean) / self.y_scale).astype(np.float32)
        return Part(self.inputs(data.inputs[rows]), y)

    def inputs(self, x: np.ndarray) -> np.ndarray:
        return ((x - self.x_mean) / self.x_scale).astype(np.float32)


def _deviation(values: np.ndarray) -> np.ndarray:
    """Of rows; 1 of one value alone, that only rows kept back differ from."""
    # The deviation of equal values need not be 0: their mean is rounded.
    return np.where(values.max(0) > values.min(0), values.std(0), 1.0)


@dataclass(frozen=True, eq=False)
class Trial:
    """A trained network and what belongs to it."""

    network: AdditiveMLP
    scaling: Scaling
    validation_losses: np.ndarray  # [epochs]
    test_loss: float  # NaN without a test part

    @property
    def validation_loss(self) -> float:
        return float(np.nanmin(self.validation_losses))


@dataclass(frozen=True, eq=False)
class Detection:
    """Ranked interactions, and the networks they were read from. Columns are numbers, or the names
    of a data frame's. All strengths are those of standardised columns and target."""

    encoder: table.Encoder
    settings: Settings
    trials: tuple[Trial, ...]

    @property
    def column_names(self) -> tuple:
        return self.encoder.column_names

    @property
    def task(self) -> str:
        return self.encoder.task

    @property
    def classes(self) -> tuple | None:
        return self.encoder.classes

    @property
    def networks(self) -> tuple[AdditiveMLP, ...]:
        """The trained networks, of standardised inputs (`inputs`)."""
        return tuple(trial.network for trial in self.trials)

    @cached_property
    def first_weights(self) -> np.ndarray:
        """The standard deviation, over the rows learnt from, of what each column adds to the input
        of each unit of the first layer: ``[trials, units, p]``.

            |w|                                                       of a numeric column
            sqrt(sum_c share_c (w_c - mean)^2), mean = sum_c share_c w_c    of one with categories c
        """
        found = []
        for read, trial in zip(self._read, self.trials):
            first = read.matrices[0].copy()
            for column in self.encoder.categories:
                of = self.encoder.columns == column
                shares = trial.scaling.x_mean[of]
                first[:, of] -= first[:, of] @ shares[:, None]
                first[:, of] *= np.sqrt(shares)
            found.append(ranking.grouped(first, self.encoder.columns))
        return np.stack(found)

    @cached_property
    def aggregated_weights(self) -> np.ndarray:
        """z of the first hidden layer, ``[trials, units]``."""
        return np.stack([ranking.aggregated_weights(read.matrices) for read in self._read])

    @cached_property
    def _read(self) -> list[weights.Weights]:
        return [weights.read("nid.Detection", net) for net in self.networks]

    @cached_property
    def pairwise_by_trial(self) -> np.ndarray:
        """``[trials, p, p]``."""
        of = self.first_weights, self.aggregated_weights
        return ranking.pairwise(*of, self.settings.averaging)

    @cached_property
    def pairwise(self) -> np.ndarray:
        """omega({i, j}), the mean over trials: ``[p, p]``, symmetric, zeros on the diagonal."""
        return self.pairwise_by_trial.mean(0)

    @cached_property
    def _numbered(self) -> tuple[list[tuple[int, ...]], np.ndarray]:
        if self.settings.order == "pairwise":
            return ranking.ranked_pairs(self.pairwise)
        # The mean over trials of what units propose is what the units of all trials propose, each
        # of a share of its weight: one network whose output is the mean of theirs.
        return ranking.any_order(
            np.concatenate(self.first_weights),
            np.concatenate(self.aggregated_weights) / len(self.trials),
            averaging=self.settings.averaging,
            max_interactions=self.settings.max_interactions,
        )

    @cached_property
    def interactions(self) -> tuple[tuple, ...]:
        """Tuples of columns, strongest first."""
        return tuple(map(self.encoder.labels, self._numbered[0]))

    @property
    def strengths(self) -> np.ndarray:
        """The mean over trials, ``[k]``."""
        return self._numbered[1]

    @cached_property
    def strengths_by_trial(self) -> np.ndarray:
        """``[trials, k]``; 0 where a trial's network proposes no such interaction."""
        found = self._numbered[0]
        if self.settings.order == "pairwise":
            i, j = np.array(found).T
            return self.pairwise_by_trial[:, i, j]
        return np.stack(
            [
                ranking.proposed_strengths(found, first, z, self.settings.averaging)
                for first, z in zip(self.first_weights, self.aggregated_weights)
            ]
        )

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of the strengths over trials, ``[k]``; NaN of one trial."""
        if len(self.trials) < 2:
            return np.full(len(self.strengths), np.nan)
        return self.strengths_by_trial.std(0, ddof=1)

    @property
    def found(self) -> np.ndarray:
        """The share of trials whose networks propose the interaction, ``[k]``."""
        return (self.strengths_by_trial > 0).mean(0)

    @cached_property
    def rankings(self) -> tuple[ranking.Ranking, ...]:
        """Each trial's own."""
        settings = self.settings
        names = self.column_names if self.encoder.named else None
        options: dict[str, Any] = {"averaging": settings.averaging, "order": settings.order}
        if settings.order == "any":
            options["max_interactions"] = settings.max_interactions
        return tuple(
            ranking.rank([first, *read.matrices[1:]], column_names=names, **options)
            for first, read in zip(self.first_weights, self._read)
        )

    @property
    def validation_loss(self) -> np.ndarray:
        """The least of each trial, ``[trials]``: the squared error of the standardised target, 1 of
        its mean, or cross-entropy."""
        return np.array([trial.validation_loss for trial in self.trials])

    @property
    def test_loss(self) -> np.ndarray:
        """Of rows that nothing was chosen by, ``[trials]``."""
        return np.array([trial.test_loss for trial in self.trials])

    def inputs(self, X: Any, trial: int = 0) -> np.ndarray:
        """Rows as a trial's network takes them, float32 ``[rows, inputs]``."""
        scaling = self.trials[trial].scaling
        return scaling.inputs(self.encoder.encode("nid.Detection.inputs", X))

    def predict(self, X: Any) -> np.ndarray:
        """The mean over trials: the target ``[rows]``, or probabilities ``[rows, classes]``."""
        encoded = self.encoder.encode("nid.Detection.predict", X)
        found = []
        for trial in self.trials:
            y = outputs(trial.network, trial.scaling.inputs(encoded))
            if self.task == "regression":
                found.append(y[:, 0] * trial.scaling.y_scale + trial.scaling.y_mean)
            else:
                found.append(probabilities(y))
        return np.mean(found, axis=0)

    def top(self, k: int = 10) -> list[tuple[tuple, float]]:
        """The k strongest interactions and their strengths."""
        k = _checks.count("nid.Detection.top", "k", k)
        return list(zip(self.interactions[:k], self.strengths[:k].tolist()))

    def to_pandas(self) -> Any:
        """A data frame with a row for each interaction."""
        import pandas as pd

        return pd.DataFrame(
            {
                "rank": np.arange(1, len(self.interactions) + 1),
                "interaction": list(self.interactions),
                "order": [len(i) for i in self.interactions],
                "strength": self.strengths,
                "spread": self.spread,
                "found": self.found,
            }
        )

    def save(self, path: str | os.PathLike) -> None:
        """Everything, in one .npz: `nid.load` reads it."""
        write(path, self.encoder, self.settings, dict(enumerate(self.trials)))

    def __len__(self) -> int:
        return len(self.interactions)

    def __str__(self) -> str:
        several = len(self.trials) > 1
        return "\n".join(
            f"{strength:8.3g} {f'+- {spread:<8.2g}' if several else ''} {interaction}"
            for interaction, strength, spread in zip(
                self.interactions[:10], self.strengths, self.spread
            )
        )

    def __repr__(self) -> str:
        return (
            f"<Detection: {len(self.trials)} trials, {self.settings.rows} rows, "
            f"{len(self.column_names)} columns, {self.task}; strongest {self.interactions[0]}>"
        )


def load(path: str | os.PathLike) -> Detection:
    """What `Detection.save` wrote.

    Raises:
      ValueError: the file is none of its, or one of `resume` that lacks a trial before others.
    """
    encoder, settings, trials, _ = read("nid.load", path)
    if set(trials) != set(range(len(trials))):  # a trial's number says which rows it learnt from
        raise ValueError(
            f"nid.load: {os.fspath(path)} must hold the first trials; got {sorted(trials)}. Let "
            "detect resume it"
        )
    return Detection(encoder, settings, tuple(trials[t] for t in sorted(trials)))


@jax.jit
def _forward(net: AdditiveMLP, x: jax.Array) -> jax.Array:
    return net(x)


def outputs(net: AdditiveMLP, x: np.ndarray) -> np.ndarray:
    """float64 ``[rows, outputs]``."""
    none = np.empty((0, net.interaction_mlp.layers[-1].kernel.shape[-1]))
    return np.concatenate([none, *by_blocks(partial(_forward, net), x)])


def by_blocks(function: Callable[[np.ndarray], jax.Array], x: np.ndarray) -> Iterator[np.ndarray]:
    """`function` of rows, float64 ``[.., rows, outputs]``, a block of them at a time."""
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        filled = np.zeros((BLOCK, x.shape[1]), x.dtype)  # one shape, one program
        filled[: len(block)] = block
        yield np.asarray(function(filled), np.float64)[..., : len(block), :]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Of all classes, ``[rows, classes]``, from logits ``[rows, 1 or classes]``."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return scipy.special.softmax(logits, axis=1)


def write(
    path: str | os.PathLike,
    encoder: table.Encoder,
    settings: Settings,
    trials: Mapping[int, Trial],
    digest: str = "",
) -> None:
    """A detection, or what there is of one; `digest` of the data."""
    header = {
        "encoder": encoder.to_dict(),
        "settings": asdict(settings),
        "digest": digest,
    }
    arrays: dict[str, Any] = {"jaxinter_nid": FILE_VERSION, "header": json.dumps(header)}
    for t, trial in trials.items():
        of = asdict(trial.scaling) | {"losses": trial.validation_losses, "test": trial.test_loss}
        leaves = jax.tree.leaves(nnx.state(trial.network))
        of |= {f"leaf_{i}": leaf for i, leaf in enumerate(leaves)}
        arrays |= {f"trial_{t}/{name}": x for name, x in of.items()}
    with _files.replacing(path) as file:
        np.savez(file, **arrays)


def read(
    call: str, path: str | os.PathLike
) -> tuple[table.Encoder, Settings, dict[int, Trial], str]:
    """What `write` was given."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["jaxinter_nid"]) != FILE_VERSION:
                raise ValueError(f"version {file['jaxinter_nid']}")
            arrays = dict(file)
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{call}: {os.fspath(path)} must be a file that nid.Detection.save wrote; it is not"
        ) from error
    header = json.loads(str(arrays["header"]))
    encoder = table.Encoder.from_dict(header["encoder"])
    lists = {k: tuple(v) for k, v in header["settings"].items() if isinstance(v, list)}
    settings = Settings(**header["settings"] | lists)
    template = empty(settings.architecture(encoder))
    definition, shape = nnx.split(template)
    count = len(jax.tree.leaves(shape))
    trials = {}
    for t in sorted({int(n[6:].split("/")[0]) for n in arrays if n.startswith("trial_")}):
        of = {n.split("/")[1]: x for n, x in arrays.items() if n.startswith(f"trial_{t}/")}
        leaves = [of[f"leaf_{i}"] for i in range(count)]
        state = jax.tree.unflatten(jax.tree.structure(shape), leaves)
        scaling = Scaling(of["x_mean"], of["x_scale"], float(of["y_mean"]), float(of["y_scale"]))
        net = nnx.merge(definition, state)
        trials[t] = Trial(net, scaling, of["losses"], float(of["test"]))
    return encoder, settings, trials, header["digest"]
