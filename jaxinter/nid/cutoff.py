# SPDX-License-Identifier: Apache-2.0
"""NID 8. How many interactions of a ranking the data needs: MLP-Cutoff, an additive model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from jaxinter import _checks, _native, _progress
from jaxinter.nid import detection as detections
from jaxinter.nid import table
from jaxinter.nid.detection import Detection, Scaling, Trial
from jaxinter.nid.network import AdditiveMLP, Architecture, hidden_sizes, network
from jaxinter.nid.training import Recipe, Run, losses, train_all

__all__ = ["Cutoff", "cutoff"]

CALL = "nid.cutoff"
SAME_LOSS = 0.01  # relative: other machines round otherwise
POINTS, POINTS_OF_PAIR = 100, 50  # of a numeric column's range


@dataclass(frozen=True, eq=False)
class Cutoff:
    """The interactions above the cutoff, and the additive model that shows them.

        f(x) = constant + sum_i g_i(x_i) + sum_k g'_k(x_{I_k})

    f is the target, or the log-odds of the second of two classes, or of each of more classes the
    logit, of mean zero over classes. Each term has mean zero over the rows learnt from. Of an
    interaction's term, what is additive could as well be in the terms of its columns: only their
    sum is identified, and no interaction's term alone is.

    Attributes:
      interactions: those of the model, in ranked order: added and no part of a later one.
      tried: all that were added, one by one.
      skipped: those ranked above the last tried that were part of one already added.
      errors: float64 ``[K + 1]``, of the validation rows, with the first 0 to K of `tried`:
        RMSE of the standardised target, 1 - AUC of two classes, cross-entropy of more.
      test_errors: the same of the test rows; NaN where there are none, or of two classes one.
      goal: the error to reach on the validation rows.
      test_goal: the error of the detection's network on the test rows, or NaN as there.
      k: how many of `tried` were added at the cutoff.
      reached: whether the goal was; else k is that of the least error.
      network: MLP-Cutoff, of standardised inputs.
      constant: float64 ``[outputs]``.
      encoder, scaling: what makes inputs of columns.
    """

    interactions: tuple[tuple, ...]
    tried: tuple[tuple, ...]
    skipped: tuple[tuple, ...]
    errors: np.ndarray
    test_errors: np.ndarray
    goal: float
    test_goal: float
    k: int
    reached: bool
    network: AdditiveMLP
    encoder: table.Encoder
    scaling: Scaling
    constant: np.ndarray
    centers: np.ndarray  # [p + interactions, outputs], what is taken off each term
    low: np.ndarray  # [inputs], of the rows learnt from
    high: np.ndarray

    @property
    def column_names(self) -> tuple:
        return self.encoder.column_names

    @property
    def relative_improvement(self) -> float:
        """(error_0 - error_k) / (error_0 - test_goal) on the test rows: 1 where the interactions
        are worth as much as the detection's network; NaN where that is no better than none, or
        without test rows.

        Source: paper 004, Table 3.
        """
        least, most = self.test_goal, self.test_errors[0]
        return float((most - self.test_errors[self.k]) / (most - least)) if most > least else np.nan

    def predict(self, X: Any) -> np.ndarray:
        """The target ``[rows]``, or probabilities ``[rows, classes]``."""
        encoded = self.encoder.encode("nid.Cutoff.predict", X)
        y = self.constant + self._centered(encoded).sum(0)
        return y[:, 0] if self.encoder.task == "regression" else detections.probabilities(y)

    def terms(self, X: Any) -> dict[tuple, np.ndarray]:
        """Each g_i by ``(column,)`` and g'_k by its interaction, ``[rows]``, or ``[rows, classes]``
        of more than two: their sum and `constant` is f."""
        found = self._centered(self.encoder.encode("nid.Cutoff.terms", X))
        names = [(name,) for name in self.column_names] + list(self.interactions)
        return {name: _squeezed(values) for name, values in zip(names, found)}

    def main_effect(self, column: Any, at: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """g_i of a column on its own.

        Args:
          column: its name, or number where columns have no names.
          at: values of it, ``[m]``; None for 100 over the range learnt from, or all categories.

        Returns:
          at ``[m]``, in the column's units; values ``[m]``, or ``[m, classes]`` of more than two,
          in the target's.

        Raises:
          ValueError: a column there is not; values that are no finite numbers, or no categories.
        """
        call = "nid.Cutoff.main_effect"
        if column not in self.column_names:
            raise ValueError(
                f"{call}: column must be one of {_checks.listed(self.column_names)}; got {column!r}"
            )
        j = self.column_names.index(column)
        points, encoded = self._points(call, "at", j, at, POINTS)
        x = np.tile(self.scaling.x_mean, (len(points), 1))
        x[:, self._inputs(j)] = encoded
        return points, _squeezed(self._centered(x)[j])

    def interaction_effect(self, interaction: Sequence, at: Any = None) -> tuple[Any, np.ndarray]:
        """g'_k of an interaction of the model.

        Args:
          interaction: one of `interactions`.
          at: of a pair, values of each of its two columns, ``([a], [b])``, None for 50 over the
            range of each, or all categories. Of more columns, rows as `predict` takes them.

        Returns:
          of a pair ``([a], [b])``, in the columns' units, and values ``[a, b]``; else `at` and
          ``[rows]``; of more than two classes with a last axis of these.

        Raises:
          ValueError: an interaction the model has not; no rows for one of three columns or more.
        """
        call = "nid.Cutoff.interaction_effect"
        wanted = tuple(interaction) if isinstance(interaction, list) else interaction
        if wanted not in self.interactions:
            raise ValueError(
                f"{call}: interaction must be one of {_checks.listed(self.interactions)}; got "
                f"{interaction!r}"
            )
        k = self.interactions.index(wanted)
        place = len(self.column_names) + k
        if len(wanted) > 2:
            if at is None:
                raise ValueError(
                    f"{call}: at must be rows, [rows, columns], for an interaction of more than two"
                    f" columns; got None for {wanted!r}"
                )
            return at, _squeezed(self._centered(self.encoder.encode(call, at))[place])
        if at is None:
            at = None, None
        elif not isinstance(at, (tuple, list)) or len(at) != 2:
            raise ValueError(f"{call}: at must be values of each of two columns, ([a], [b])")
        columns = [self.column_names.index(name) for name in wanted]
        (a, of_a), (b, of_b) = (
            self._points(call, f"at[{i}]", j, each, POINTS_OF_PAIR)
            for i, (j, each) in enumerate(zip(columns, at))
        )
        x = np.tile(self.scaling.x_mean, (len(a), len(b), 1))
        x[..., self._inputs(columns[0])] = of_a[:, None]
        x[..., self._inputs(columns[1])] = of_b
        values = self._centered(x.reshape(-1, x.shape[-1]))[place]
        return (a, b), _squeezed(values.reshape(len(a), len(b), -1))

    def to_pandas(self) -> Any:
        """A data frame with a row for each K, from none added to all tried."""
        import pandas as pd

        return pd.DataFrame(
            {
                "k": np.arange(len(self.errors)),
                "interaction": [None, *self.tried],
                "order": [0, *map(len, self.tried)],
                "validation_error": self.errors,
                "test_error": self.test_errors,
            }
        )

    def __str__(self) -> str:
        added = ["none", *self.tried]
        lines = [f"{error:8.4f}  {what}" for error, what in zip(self.errors, added)]
        lines[self.k] += "  <-"
        reached = "reached" if self.reached else "not reached"
        return "\n".join([*lines, f"{self.goal:8.4f}  goal, {reached}"])

    def __repr__(self) -> str:
        return (
            f"<Cutoff: {self.k} of {len(self.tried)} tried, error {self.errors[self.k]:.4g} of "
            f"{self.errors[0]:.4g} without; {self.interactions}>"
        )

    @cached_property
    def _columns(self) -> tuple[int, ...]:
        return tuple(self.encoder.columns.tolist())

    def _inputs(self, column: int) -> np.ndarray:
        return np.flatnonzero(self.encoder.columns == column)

    def _centered(self, x: np.ndarray) -> np.ndarray:
        """All terms of encoded rows, ``[p + interactions, rows, outputs]``."""
        blocks = _blocks(self.network, self.scaling.inputs(x), self._columns)
        none = np.empty((len(self.centers), 0, self.centers.shape[1]))
        terms = np.concatenate([none, *(block[: len(none)] for block in blocks)], axis=1)
        return terms * self.scaling.y_scale - self.centers[:, None]

    def _points(
        self, call: str, argument: str, column: int, at: Any, points: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of a column, ``[m]``, and its inputs there, ``[m, inputs of it]``."""
        categories = self.encoder.categories.get(column)
        if categories is not None:
            values = np.array(categories if at is None else at)
            if values.ndim != 1 or not set(values.tolist()) <= set(categories):
                raise ValueError(
                    f"{call}: {argument} must hold categories of column "
                    f"{self.column_names[column]!r}, {_checks.listed(categories)}; got {at!r}"
                )
            return values, (values[:, None] == np.array(categories)).astype(np.float64)
        if at is None:
            (i,) = self._inputs(column)
            at = np.linspace(self.low[i], self.high[i], points)
        values = np.asarray(at)
        if values.ndim != 1 or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise ValueError(f"{call}: {argument} must hold finite numbers, [m]; got {at!r}")
        return values, values.astype(np.float64)[:, None]


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
    recipe = Recipe(
        detection.task,
        settings.epochs if epochs is None else _checks.count(CALL, "epochs", epochs, least=1),
        settings.batch_size,
        settings.learning_rate,
        settings.decay,
        "l2",
        _checks.real(CALL, "penalty", penalty, positive=False),
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
            outputs = [_outputs(net, part.x, columns) for part in (validation, test)]
            errors.append([_error(encoder, *of) for of in zip(outputs, (validation.y, test.y))])
            reached = errors[-1][0] <= (1 + tolerance) * goal
            if reached or errors[-1][0] < min([e for e, _ in errors[:-1]], default=np.inf):
                k, best = len(errors) - 1, net
            if reached:
                break
    last = len(errors) - 1
    centers = sum(block.sum(1) for block in _blocks(best, training.x, columns)) / len(learnt)
    centers = centers[: len(encoder.column_names) + len(models[k])]
    constant = _bias(best) + centers.sum(0)
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


@partial(jax.jit, static_argnums=2)
def _terms(net: AdditiveMLP, x: jax.Array, columns: tuple[int, ...]) -> jax.Array:
    """g_i of each column, then g'_k, ``[p + stacked, rows, outputs]``."""
    owner, effects = np.array(columns), net.main_effects
    assert effects is not None  # an MLP-Cutoff
    interactions = net.of_interactions(x)
    main = jnp.zeros((owner[-1] + 1, *interactions.shape[1:]), x.dtype)
    if effects.numeric:
        numeric = owner[np.array(effects.numeric)]
        main = main.at[numeric].set(effects.of_columns(x).swapaxes(1, 2))
    if effects.categories:
        inputs = np.array(effects.categories)
        each = x.T[inputs][:, :, None] * effects.category[...][:, None, :]
        main = main.at[owner[inputs]].add(each)
    return jnp.concatenate([main, interactions])


def _blocks(net: AdditiveMLP, x: np.ndarray, columns: tuple[int, ...]) -> Iterator[np.ndarray]:
    """`_terms` in float64, a block of rows at a time."""
    yield from map(_identified, detections.by_blocks(lambda rows: _terms(net, rows, columns), x))


def _outputs(net: AdditiveMLP, x: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """float64 ``[rows, outputs]``."""
    bias = _bias(net)
    none = np.empty((0, len(bias)))
    return np.concatenate([none, *(block.sum(0) + bias for block in _blocks(net, x, columns))])


def _bias(net: AdditiveMLP) -> np.ndarray:
    assert net.bias is not None  # an MLP-Cutoff
    return _identified(np.asarray(net.bias[...], np.float64))


def _identified(outputs: np.ndarray) -> np.ndarray:
    """Logits of more than two classes are the same with a number added to all of them."""
    return outputs - outputs.mean(-1, keepdims=True) if outputs.shape[-1] > 1 else outputs


def _squeezed(values: np.ndarray) -> np.ndarray:
    return values[..., 0] if values.shape[-1] == 1 else values


def _error(encoder: table.Encoder, outputs: np.ndarray, y: np.ndarray) -> float:
    """RMSE, 1 - AUC of two classes, or cross-entropy of more; NaN where rows are too few."""
    if not len(y):
        return float("nan")
    if encoder.task == "regression":
        return float(np.sqrt(np.mean((outputs[:, 0] - y) ** 2)))
    if encoder.n_outputs > 1:
        chosen = outputs[np.arange(len(y)), y]
        return float(np.mean(scipy.special.logsumexp(outputs, axis=1) - chosen))
    second = y == 1
    ones, zeros = int(second.sum()), int((~second).sum())
    if not ones or not zeros:
        return float("nan")
    ranks = scipy.stats.rankdata(outputs[:, 0])
    return float(1 - (ranks[second].sum() - ones * (ones + 1) / 2) / (ones * zeros))


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
