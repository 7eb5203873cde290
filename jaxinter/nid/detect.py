# SPDX-License-Identifier: Apache-2.0
"""NID 7. The whole walk: train networks on a table of data, rank interactions by their weights."""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxinter import _checks, _native, _progress
from jaxinter.nid import detection, ranking, table
from jaxinter.nid.detection import Detection, Scaling, Settings, Trial
from jaxinter.nid.network import REGULARIZERS, Architecture, empty, hidden_sizes, network
from jaxinter.nid.training import Run, Trained, losses, train_all

__all__ = ["detect"]

CALL = "nid.detect"


def detect(
    X: Any,
    y: Any,
    *,
    main_effects: bool = True,
    order: str = "any",
    trials: int = 10,
    seed: int = 0,
    averaging: str = "min",
    max_interactions: int = 100,
    task: str | None = None,
    categorical: Any = None,
    hidden: Sequence[int] = (140, 100, 60, 20),
    regularizer: str = "l1",
    penalty: float = 5e-5,
    epochs: int = 100,
    batch_size: int = 100,
    learning_rate: float = 0.01,
    decay: float = 0.95,
    validation: float = 0.1,
    test: float = 0.1,
    progress: bool | str = False,
    resume: str | os.PathLike | None = None,
) -> "Detection":
    """Interactions of columns that a target depends on, of any order, strongest first.

    Networks are trained on the data and their weights read (`rank`): columns interact where strong
    weights lead them to one unit of the first hidden layer, and strong paths from there to the
    output. Each trial has a start, an order of batches and a split of the rows of its own. Its
    columns and target are standardised by the rows it learns from; strengths are means over trials.

    Columns with outliers look strong for the sake of a few rows: clip or transform them first.

    Of interactions of any order, those that are part of a stronger one are left out. `cutoff` says
    how many of the others the data needs.

    Args:
      X: ``[rows, p]``, any array, or a data frame. Frames keep their columns' names; categorical,
        object and string columns become one input a category, and one column again where weights
        are read (`Detection.first_weights`).
      y: ``[rows]``. Strings, booleans and numbers of two values are classes, else numbers are
        regressed on; `task` says otherwise.
      main_effects: train MLP-M, a network for each column beside the one that is read, so that what
        columns do on their own is not read as interactions; else MLP.
      order: "any" (Algorithm 1), or "pairwise", all pairs.
      trials: networks to train. On a CPU a trial gives the same bits whatever their number.
      seed: of starts, splits and batches; less than 2**32.
      averaging: of the weights of an interaction: "min", "harmonic", "geometric", "mean", "rms",
        "max".
      max_interactions: of any order, how many are kept; all pairs are.
      task: "regression" or "classification"; None: by y.
      categorical: further columns, by name or number, whose numbers are categories.
      hidden: units of the hidden layers of the network that is read.
      regularizer: "l1", "l2", "group_inputs", "group_units", "sparse_group_inputs" or
        "sparse_group_units" (see `AdditiveMLP.penalty`), times `penalty`, added to the mean loss of
        a batch. A constant tuned by validation loss detects less: F1 at AUC 0.78, not 0.89.
      epochs, batch_size, learning_rate, decay: Adam, whose rate is multiplied by `decay` after each
        epoch. The weights with the least validation loss are kept.
      validation, test: shares of the rows kept back: to choose those weights, and for `test_loss`.
      progress: show a bar, by this title where it is a string.
      resume: a file for finished trials. What was stopped goes on from there, of the same data and
        settings; more `trials` may be asked for.

    Returns:
      `Detection`.

    Raises:
      ValueError: data that cannot be learnt from (a constant column or target, NaN, fewer than two
        columns), by name; a setting out of range; networks that need more memory than is free; a
        training that diverges; `resume` of other data or settings.
      TypeError: dates, complex numbers, nested objects.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (2000, 4))
    >>> y = X[:, 0] * X[:, 1] + X[:, 2]
    >>> nid.detect(X, y, trials=2, epochs=10, hidden=(20, 10)).interactions[0]
    (0, 1)

    Source: paper 004 (Tsang et al. 2018); recipe of its official code.
    """
    data = table.read(CALL, X, y, categorical=categorical, task=task)
    settings = Settings(
        main_effects=bool(main_effects),
        order=_one_of("order", order, ("any", "pairwise")),
        seed=_seed(seed),
        averaging=_one_of("averaging", averaging, ranking.AVERAGES),
        max_interactions=_checks.count(CALL, "max_interactions", max_interactions, least=1),
        hidden=hidden_sizes(CALL, hidden),
        regularizer=_one_of("regularizer", regularizer, REGULARIZERS),
        penalty=_checks.real(CALL, "penalty", penalty, positive=False),
        epochs=_checks.count(CALL, "epochs", epochs, least=1),
        batch_size=_checks.count(CALL, "batch_size", batch_size, least=1),
        learning_rate=_checks.real(CALL, "learning_rate", learning_rate, positive=True),
        decay=_checks.real(CALL, "decay", decay, positive=True),
        rows=len(data.target),
        kept=_kept(len(data.target), validation, test),
    )
    trials = _checks.count(CALL, "trials", trials, least=1)
    architecture = settings.architecture(data.encoder)
    _check_memory(architecture, len(data.target), trials)
    finished = _Finished(resume, data, settings)
    to_do = [t for t in range(trials) if t not in finished.trials]
    _check_classes(data, settings, to_do)
    scaling: dict[int, Scaling] = {}  # of each trial, made where it trains
    runs = [partial(_run, data, settings, t, scaling) for t in to_do]
    recipe = settings.recipe(data.encoder.task)
    with _progress.shown(progress, "training", len(to_do) * settings.epochs) as step:
        for i, trained in train_all(architecture, recipe, runs, step):
            t = to_do[i]
            finished.add(t, _trial(data, settings, t, trained, architecture, scaling[t]))
    found = tuple(finished.trials[t] for t in range(trials))
    return Detection(data.encoder, settings, found)


def _run(data: table.Table, settings: Settings, trial: int, scaling: dict[int, Scaling]) -> Run:
    learnt, checked, _ = settings.split(trial)
    own = scaling[trial] = Scaling.of(data, learnt)
    return Run(settings.key(trial), None, own.part(data, learnt), own.part(data, checked))


def _trial(
    data: table.Table,
    settings: Settings,
    trial: int,
    trained: Trained,
    architecture: Architecture,
    scaling: Scaling,
) -> Trial:
    if not np.isfinite(trained.losses).any():
        raise ValueError(
            f"{CALL}: trial {trial} diverged: no finite validation loss in {settings.epochs} "
            f"epochs. Lower learning_rate (now {settings.learning_rate})"
        )
    *_, kept_back = settings.split(trial)
    net = network(architecture, trained.state)
    test = float("nan")
    if len(kept_back):
        part = scaling.part(data, kept_back)
        y = detection.outputs(net, part.x).astype(np.float32)
        test = float(losses(data.encoder.task, y, part.y).mean())
    return Trial(net, scaling, trained.losses, test)


class _Finished:
    """Trials that are done, in a file where one is asked for."""

    def __init__(self, path: Any, data: table.Table, settings: Settings):
        self.path = None if path is None else Path(path)
        self.data, self.settings = data, settings
        self.trials: dict[int, Trial] = {}
        if self.path is None:
            return
        if not self.path.parent.is_dir():
            raise ValueError(f"{CALL}: resume must be in a folder that is there; got {self.path}")
        content = hashlib.sha256(data.inputs.data)
        content.update(data.target.data)
        self.digest = content.hexdigest()
        if not self.path.exists():
            return
        encoder, there, trials, digest = detection.read(CALL, self.path)
        same = digest == self.digest and encoder == data.encoder  # of categories or of 0 and 1
        if not same or there != settings:
            differ = [k for k, v in vars(settings).items() if getattr(there, k) != v]
            raise ValueError(
                f"{CALL}: resume must be a file of the same data and settings; {self.path} is of "
                f"other {', '.join(differ) if same else 'data'}. Name another"
            )
        self.trials = trials

    def add(self, t: int, trial: Trial) -> None:
        self.trials[t] = trial
        if self.path is not None:
            content = self.data.encoder, self.settings, self.trials, self.digest
            detection.write(self.path, *content)


def _one_of(argument: str, value: Any, names: Sequence[str]) -> str:
    if value not in names:
        raise ValueError(f"{CALL}: {argument} must be one of {', '.join(names)}; got {value!r}")
    return value


def _seed(seed: Any) -> int:
    if _checks.count(CALL, "seed", seed) >= 1 << 32:  # a key keeps no more of it
        raise ValueError(f"{CALL}: seed must be less than 2**32; got {seed}")
    return int(seed)


def _kept(rows: int, validation: Any, test: Any) -> tuple[int, int]:
    shares = [
        _checks.real(CALL, name, share, positive=name == "validation")
        for name, share in (("validation", validation), ("test", test))
    ]
    kept = max(1, round(shares[0] * rows)), round(shares[1] * rows)
    if sum(kept) > rows - 2:
        raise ValueError(
            f"{CALL}: validation and test must leave rows to learn from; got {shares[0]:g} and "
            f"{shares[1]:g} of {rows} rows"
        )
    return kept


def _check_classes(data: table.Table, settings: Settings, trials: Sequence[int]) -> None:
    classes = data.encoder.classes or ()
    for t in trials if classes else ():
        learnt = np.bincount(data.target[settings.split(t)[0]], minlength=len(classes))
        if not learnt.all():
            raise ValueError(
                f"{CALL}: y must hold every class among the rows that a trial learns from; trial "
                f"{t} has none of {classes[int(learnt.argmin())]!r}. Drop or join "
                "rare classes, or take another seed"
            )


def _check_memory(architecture: Architecture, rows: int, trials: int) -> None:
    """All networks stay; each in training has its rows, which are scaled in float64, Adam's moments
    and the best so far."""
    net = 4 * sum(leaf.size for leaf in jax.tree.leaves(empty(architecture)))
    at_once = trials if jax.default_backend() != "cpu" else min(trials, _native.thread_limit())
    needed = trials * net + at_once * (6 * net + 3 * 8 * rows * architecture.inputs)
    available = _checks.free_memory()
    if needed > available:
        raise ValueError(
            f"{CALL}: {trials} trials of {net // 4:,} parameters on {rows:,} rows need {needed:,} "
            f"bytes; this machine has {available:,} free. Ask for fewer trials or smaller hidden "
            "layers"
        )
