# SPDX-License-Identifier: Apache-2.0
"""NID 9. What `cutoff` found: an additive model of interactions, and its functions of columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _checks
from jaxinter.nid import detection as detections
from jaxinter.nid import table
from jaxinter.nid.detection import Scaling
from jaxinter.nid.network import AdditiveMLP

__all__ = ["Cutoff"]

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
        found = blocks(self.network, self.scaling.inputs(x), self._columns)
        none = np.empty((len(self.centers), 0, self.centers.shape[1]))
        terms = np.concatenate([none, *(block[: len(none)] for block in found)], axis=1)
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


def blocks(net: AdditiveMLP, x: np.ndarray, columns: tuple[int, ...]) -> Iterator[np.ndarray]:
    """`_terms` in float64, a block of rows at a time."""
    yield from map(_identified, detections.by_blocks(lambda rows: _terms(net, rows, columns), x))


def outputs(net: AdditiveMLP, x: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """float64 ``[rows, outputs]``."""
    constant = bias(net)
    none = np.empty((0, len(constant)))
    return np.concatenate([none, *(block.sum(0) + constant for block in blocks(net, x, columns))])


def bias(net: AdditiveMLP) -> np.ndarray:
    assert net.bias is not None  # an MLP-Cutoff
    return _identified(np.asarray(net.bias[...], np.float64))


def _identified(outputs: np.ndarray) -> np.ndarray:
    """Logits of more than two classes are the same with a number added to all of them."""
    return outputs - outputs.mean(-1, keepdims=True) if outputs.shape[-1] > 1 else outputs


def _squeezed(values: np.ndarray) -> np.ndarray:
    return values[..., 0] if values.shape[-1] == 1 else values
