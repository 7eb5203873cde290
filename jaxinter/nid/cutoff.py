# SPDX-License-Identifier: Apache-2.0
"""NID 10. How many interactions of a ranking the data needs: MLP-Cutoff, an additive model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxinter import _checks, _native, _progress
from jaxinter.nid import additive, suite, table
from jaxinter.nid import detection as detections
from jaxinter.nid.additive import Cutoff
from jaxinter.nid.detection import Detection, Trial
from jaxinter.nid.network import AdditiveMLP, Architecture, hidden_sizes, network
from jaxinter.nid.training import Recipe, Run, losses, train_all

__all__ = ["cutoff"]

CALL = "nid.cutoff"
SAME_LOSS = 0.01  # relative: other machines round otherwise


def cutoff(
    X: Any,
    y: Any,
    detection: Detection,
    *,
    trial: int | None = None,
    interactions: Sequence | None = None,
    goal: float | None = None,
    largest: int = 20,
    tolerance: float = 0.0,
    penalty: float = 1e-4,
    hidden: Sequence[int] | None = None,
    epochs: int | None = None,
    progress: bool | str = False,
) -> Cutoff:
    """How many of the top-ranked interactions the data needs.

        c_K(x) = sum_i g_i(x_i) + sum_{k <= K} g'_k(x_{I_k})

    all of them networks, trained jointly: once for each K = 0, 1, .. until a model that knows these
    interactions alone is as good, on validation rows, as the network they were read from. An
    interaction that is part of one already added is skipped; one that contains earlier ones takes
    their place: an interaction of all columns, which rankings of real tables hold, that of all.

    Args:
      X, y: the table that the detection was made from.
      detection: what `detect` found. Its scaling, validation and test rows are those here.
      trial: whose ranking and rows; None: the ranking of all trials, some of which learnt from rows
        that are kept back here, and the rows of trial 0.
      interactions: another ranking, tuples of columns, first to last.
      goal: the error to reach; None: that of the trial's network, MLP-M or MLP.
      largest: how many interactions are added at most. Each takes as long as a trial of `detect`
        for every interaction of its model: with a goal out of reach, 20 take minutes.
      tolerance: the goal is reached at an error <= (1 + tolerance) goal.
      penalty: times the sum of all squared weights, added to the mean loss of a batch.
      hidden: units of the hidden layers of each g'_k; None: the detection's. Those of g_i are 10,
        10 and 10.
      epochs: None: the detection's, as all else of the recipe.
      progress: show a bar, by this title where it is a string; of `largest`, it may end early.

    Returns:
      `Cutoff`. Where the goal is not reached, that of the least error.

    Raises:
      ValueError: another table than the detection's; a trial or columns there are not; validation
        rows of one class alone; a setting out of range; a training that diverges.
      TypeError: a detection that is none.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (2000, 4))
    >>> y = X[:, 0] * X[:, 1] + X[:, 2]
    >>> found = nid.detect(X, y, trials=2, epochs=10, hidden=(20, 10))
    >>> nid.cutoff(X, y, found, tolerance=0.5).interactions
    ((0, 1),)

    Source: paper 004, 4.3 and 5.3.
    """
    if not isinstance(detection, Detection):
        raise TypeError(
            f"{CALL}: detection must be what detect returns; got {type(detection).__name__}"
        )
    settings, count = detection.settings, len(detection.trials)
    of = 0 if trial is None else _checks.count(CALL, "trial", trial)
    if of >= count:
        raise ValueError(f"{CALL}: trial must be less than the detection's {count}; got {trial}")
    largest = _checks.count(CALL, "largest", largest, least=1)
    if goal is not None:
        goal = _checks.real(CALL, "goal", goal, positive=False)
    tolerance = _checks.real(CALL, "tolerance", tolerance, positive=False)
    epochs = settings.epochs if epochs is None else epochs
    recipe = replace(
        settings.recipe(detection.task),
        epochs=_checks.count(CALL, "epochs", epochs, least=1),
        regularizer="l2",
        penalty=_checks.real(CALL, "penalty", penalty, positive=False),
    )
    sizes = settings.hidden if hidden is None else hidden_sizes(CALL, hidden)
    ranked: Any = interactions if np.iterable(interactions) else [interactions]
    if interactions is None:
        ranked = detection.interactions if trial is None else detection.rankings[of].interactions
    number = {name: j for j, name in enumerate(detection.column_names)}
    tried, skipped, models = _added((_numbered(number, one) for one in ranked), largest)

    data = _same_table(X, y, detection)
    own, encoder = detection.trials[of], detection.encoder
    columns = tuple(encoder.columns.tolist())
    learnt, *kept = settings.split(of)
    training, validation, test = (own.scaling.part(data, rows) for rows in (learnt, *kept))
    own_outputs = [detections.outputs(own.network, part.x) for part in (validation, test)]
    _check_rows(detection, own, own_outputs[0], validation.y)
    own_goal, test_goal = map(partial(_error, encoder), own_outputs, (validation.y, test.y))
    goal = own_goal if goal is None else goal

    def run(model: list[tuple[int, ...]], stacked: int) -> Run:
        masks = np.zeros((stacked, len(columns)), np.float32)
        for mask, interaction in zip(masks, model):
            mask[np.isin(columns, interaction)] = 1
        return Run(settings.key(of), masks, training, validation)

    parts = Architecture(columns, encoder.n_outputs, sizes, main_effects=True)
    errors: list[list[float]] = []
    with _progress.shown(progress, "cutoff", len(models) * recipe.epochs) as step:
        for net in _trained(parts, recipe, models, run, step):
            outputs = [additive.outputs(net, part.x, columns) for part in (validation, test)]
            errors.append([_error(encoder, *of) for of in zip(outputs, (validation.y, test.y))])
            reached = errors[-1][0] <= (1 + tolerance) * goal
            if reached or errors[-1][0] < min([e for e, _ in errors[:-1]], default=np.inf):
                k, best = len(errors) - 1, net
            if reached:
                break
    last = len(errors) - 1
    sums = sum(block.sum(1) for block in additive.blocks(best, training.x, columns))
    centers = (sums / len(learnt))[: len(encoder.column_names) + len(models[k])]
    constant = additive.bias(best) + centers.sum(0)
    return Cutoff(
        interactions=tuple(map(encoder.labels, models[k])),
        tried=tuple(map(encoder.labels, tried[:last])),
        skipped=tuple(encoder.labels(one) for above, one in skipped if above < last),
        errors=np.array(errors)[:, 0],
        test_errors=np.array(errors)[:, 1],
        goal=goal,
        test_goal=test_goal,
        k=k,
        reached=reached,
        network=best,
        encoder=encoder,
        scaling=own.scaling,
        constant=own.scaling.y_mean + own.scaling.y_scale * constant,
        centers=own.scaling.y_scale * centers,
        low=data.inputs[learnt].min(0),
        high=data.inputs[learnt].max(0),
    )


def _added(
    ranked: Iterable[tuple[int, ...]], largest: int
) -> tuple[list[tuple[int, ...]], list[tuple[int, tuple[int, ...]]], list[list[tuple[int, ...]]]]:
    """What is added, one by one; what is skipped, each after how many added; and the interactions
    of the model of each K, from 0."""
    tried: list[tuple[int, ...]] = []
    skipped, models = [], [tried[:]]
    for one in ranked:
        if len(tried) == largest:
            break
        if any(set(one) <= set(other) for other in models[-1]):
            skipped.append((len(tried), one))
            continue
        tried.append(one)
        models.append([other for other in models[-1] if not set(other) <= set(one)] + [one])
    return tried, skipped, models


def _trained(
    parts: Architecture,
    recipe: Recipe,
    models: list[list[tuple[int, ...]]],
    run: Callable[[list[tuple[int, ...]], int], Run],
    step: Callable[[int], None] | None,
) -> Iterator[AdditiveMLP]:
    """The network of each K in turn, as many at a time as there are threads.

    Interactions are filled up to a power of two with some that see nothing: each number of them
    takes longer to compile than to train on a table of ten thousand rows.
    """
    threads = _native.thread_limit()
    # One program, and so one wave, for all neighbours of one size.
    for stacked, group in groupby(range(len(models)), lambda k: _power_of_two(len(models[k]))):
        architecture, ks = replace(parts, stacked=stacked), list(group)
        for wave in (ks[i : i + threads] for i in range(0, len(ks), threads)):
            before, ready, k = wave[0] * recipe.epochs, {}, wave[0]
            heard = None if step is None else lambda done, b=before: step(b + done)
            runs = [partial(run, models[k], stacked) for k in wave]
            for i, trained in train_all(architecture, recipe, runs, heard):
                ready[wave[i]] = trained
                while k in ready:
                    if not np.isfinite(ready[k].losses).any():
                        raise ValueError(
                            f"{CALL}: the model of {k} interactions diverged: no finite validation "
                            f"loss in {recipe.epochs} epochs. Lower learning_rate in detect (now "
                            f"{recipe.learning_rate})"
                        )
                    yield network(architecture, ready.pop(k).state)
                    k += 1


def _power_of_two(count: int) -> int:
    """The least that holds so many, and one."""
    return 1 << max(count - 1, 0).bit_length()


def _error(encoder: table.Encoder, outputs: np.ndarray, y: np.ndarray) -> float:
    """RMSE, 1 - AUC of two classes, or cross-entropy of more; NaN where rows are too few."""
    if not len(y):
        return float("nan")
    if encoder.task == "regression":
        return float(np.sqrt(np.mean((outputs[:, 0] - y) ** 2)))
    if encoder.n_outputs > 1:
        chosen = outputs[np.arange(len(y)), y]
        return float(np.mean(scipy.special.logsumexp(outputs, axis=1) - chosen))
    return float("nan") if np.ptp(y) == 0 else 1 - suite.auc(outputs[:, 0], y == 1)


def _same_table(X: Any, y: Any, detection: Detection) -> table.Table:
    """X and y as the detection read them; other columns or classes are refused."""
    encoder = detection.encoder
    categorical = [encoder.column_names[j] for j in encoder.categories]
    data = table.read(CALL, X, y, categorical=categorical or None, task=encoder.task)
    for what in ("column_names", "categories", "classes"):
        was, now = getattr(encoder, what), getattr(data.encoder, what)
        if was != now:
            raise ValueError(
                f"{CALL}: X and y must be the table of the detection, whose "
                f"{what.replace('_', ' ')} are {was}; got {now}"
            )
    rows = detection.settings.rows
    if len(data.target) != rows:
        raise ValueError(
            f"{CALL}: X and y must be the {rows} rows of the detection; got {len(data.target)}"
        )
    return data


def _check_rows(detection: Detection, own: Trial, outputs: np.ndarray, y: np.ndarray) -> None:
    """Refuses rows of which the detection's network makes another validation loss than it did."""
    if detection.encoder.n_outputs == 1 and detection.task == "classification" and np.ptp(y) == 0:
        raise ValueError(
            f"{CALL}: validation rows must be of both classes; all {len(y)} are of one. Keep more "
            "of them back in detect"
        )
    loss = float(losses(detection.task, jnp.asarray(outputs, jnp.float32), jnp.asarray(y)).mean())
    if not np.isclose(loss, own.validation_loss, rtol=SAME_LOSS, atol=1e-7):
        raise ValueError(
            f"{CALL}: X and y must hold the rows of the detection, in their order: its network's "
            f"validation loss was {own.validation_loss:.4g}; got {loss:.4g}"
        )


def _numbered(number: Mapping[Any, int], interaction: Any) -> tuple[int, ...]:
    """The numbers of an interaction's columns, ascending."""
    try:
        columns = [number[name] for name in interaction]
    except (TypeError, KeyError):
        columns = []
    if len(columns) < 2 or len(set(columns)) < len(columns):
        raise ValueError(
            f"{CALL}: interactions must hold tuples of two or more columns of "
            f"{_checks.listed(list(number))}; got {interaction!r}"
        )
    return tuple(sorted(columns))
