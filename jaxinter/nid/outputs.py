# SPDX-License-Identifier: Apache-2.0
"""NID 11. Pairs by weights and by outputs: one network, seen from both sides."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jaxinter import _checks, _progress, masks
from jaxinter.multiorder import multi_order_interaction
from jaxinter.nid.detection import Detection
from jaxinter.nid.network import AdditiveMLP

__all__ = ["OutputComparison", "by_outputs"]

CALL = "nid.by_outputs"
AT_ONCE = 2048  # rows that go through a network together: what a layer gives stays in the cache
TABLE = 1 << 21  # worths held at a time


@dataclass(frozen=True, eq=False)
class OutputComparison:
    """How strongly each pair of columns interacts, by a network's weights and by its outputs.

    All arrays are symmetric, with zeros on the diagonal, and of standardised columns and target.

    Attributes:
      weights_by_trial: omega({i, j}) of NID, float64 ``[trials, p, p]``.
      delta_v_by_trial: mean over rows and sizes of context m of |I^(m)(i, j)|, the same shape.
      shapley_by_trial: mean over rows of |SII(i, j)|, the same shape.
      column_names: of the p columns.
    """

    weights_by_trial: np.ndarray
    delta_v_by_trial: np.ndarray
    shapley_by_trial: np.ndarray
    column_names: tuple

    @property
    def weights(self) -> np.ndarray:
        """The mean over trials, ``[p, p]``."""
        return self.weights_by_trial.mean(0)

    @property
    def delta_v(self) -> np.ndarray:
        """The mean over trials, ``[p, p]``."""
        return self.delta_v_by_trial.mean(0)

    @property
    def shapley(self) -> np.ndarray:
        """The mean over trials, ``[p, p]``."""
        return self.shapley_by_trial.mean(0)

    @cached_property
    def correlations(self) -> dict[str, float]:
        """Spearman's, over all pairs, of the weights with "delta_v" and "shapley": 1 where both
        rank the pairs alike. NaN where either does not tell pairs apart."""
        found = {"delta_v": self.delta_v, "shapley": self.shapley}
        return {name: _spearman(self.weights, x) for name, x in found.items()}

    @cached_property
    def correlations_by_trial(self) -> dict[str, np.ndarray]:
        """The same of each trial's network alone, ``[trials]``."""
        found = {"delta_v": self.delta_v_by_trial, "shapley": self.shapley_by_trial}
        return {
            name: np.array([_spearman(*pair) for pair in zip(self.weights_by_trial, x)])
            for name, x in found.items()
        }

    def overlap(self, k: int) -> dict[str, float]:
        """The share of the k strongest pairs by weights that are among the k strongest by "delta_v"
        and by "shapley". Where few pairs interact, the order of the others is noise: it lowers
        `correlations`, and not this."""
        i, j = np.triu_indices(len(self.column_names), 1)
        if _checks.count("OutputComparison.overlap", "k", k, least=1) > len(i):
            raise ValueError(f"OutputComparison.overlap: k must be at most {len(i)} pairs; got {k}")
        tables = {"": self.weights, "delta_v": self.delta_v, "shapley": self.shapley}
        first = {name: set(np.argsort(-x[i, j])[:k].tolist()) for name, x in tables.items()}
        weights = first.pop("")
        return {name: len(weights & pairs) / k for name, pairs in first.items()}

    def to_pandas(self) -> Any:
        """A data frame with a row for each pair, the strongest by weights first."""
        import pandas as pd

        i, j = np.triu_indices(len(self.column_names), 1)
        order = np.argsort(-self.weights[i, j], kind="stable")
        i, j = i[order], j[order]
        names = self.column_names
        return pd.DataFrame(
            {
                "interaction": [(names[a], names[b]) for a, b in zip(i.tolist(), j.tolist())],
                "weights": self.weights[i, j],
                "delta_v": self.delta_v[i, j],
                "shapley": self.shapley[i, j],
            }
        )

    def __str__(self) -> str:
        p = len(self.column_names)
        found = ", ".join(f"{name} {x:.3f}" for name, x in self.correlations.items())
        return f"{p * (p - 1) // 2} pairs by weights; rank correlation with {found}"


def by_outputs(
    detection: Detection,
    X: Any,
    *,
    rows: int = 64,
    trial: int | None = None,
    baseline: Any = "mean",
    seed: int = 0,
    progress: bool | str = False,
) -> OutputComparison:
    """Does the output agree with the weights on which pairs of columns interact?

    Weights are read without data; outputs are those on rows x. With v(S) the network's output where
    columns outside S are those of the baseline,

        delta_v = mean over x and m of |I^(m)(i, j | x)|        `multi_order_interaction`
        shapley = mean over x of |SII(i, j | x)|                `index(v, "SII", 2)`

    both beside omega({i, j}), the weights', and the mean over trials. The output is the target,
    standardised; of two classes the logit; of more, that of the class that is predicted for x.

    Args:
      detection: from `detect`.
      X: rows as the detection's data, any number.
      rows: how many of them to draw; all where there are fewer. Few lower the correlation.
      trial: the number of one trial; None: all.
      baseline: "mean", that of the rows each network learnt from (shares of categories, in
        categorical columns); or a row ``[1, p]``, of the kind of X.
      seed: of the rows drawn.
      progress: show a bar, by this title where it is a string.

    Returns:
      `OutputComparison`. All 2^p coalitions of columns are taken: exact, and O(rows p^2 2^p).

    Raises:
      TypeError: detection is none.
      ValueError: more columns than memory allows, no rows, rows that the detection cannot read, no
        such trial, a baseline that is neither.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (2000, 4))
    >>> found = nid.detect(X, X[:, 0] * X[:, 1] + X[:, 2], trials=2, epochs=10)
    >>> nid.by_outputs(found, X).to_pandas().interaction[0]
    (0, 1)

    Source: papers 000 (I^(m)) and 004 (omega).
    """
    if not isinstance(detection, Detection):
        raise TypeError(
            f"{CALL}: detection must be a Detection; got {type(detection).__name__}. Use nid.detect"
        )
    rows = _checks.count(CALL, "rows", rows, least=1)
    seed = _checks.count(CALL, "seed", seed)
    trials = _trials(detection, trial)
    p, owner = len(detection.column_names), detection.encoder.columns
    _check_memory(p, len(owner))
    x = detection.encoder.encode(CALL, X)
    if not len(x):
        raise ValueError(f"{CALL}: X must hold at least one row")
    x = x[np.random.default_rng(seed).permutation(len(x))[:rows]]
    reference = _baseline(detection, baseline)
    with _progress.shown(progress, "coalitions", len(trials) * len(x)) as step:
        found = []
        for number, t in enumerate(trials):
            net, scaling = detection.trials[t].network, detection.trials[t].scaling
            absent = np.zeros_like(x[:1]) if reference is None else scaling.inputs(reference)

            def heard(done: int, before: int = number * len(x)) -> None:
                if step:
                    step(before + done)

            found.append(_of_network(net, scaling.inputs(x), absent, owner, heard))
    delta_v, shapley = map(np.stack, zip(*found))
    weights = detection.pairwise_by_trial[trials]
    return OutputComparison(weights, delta_v, shapley, tuple(detection.column_names))


def _of_network(
    net: AdditiveMLP, x: np.ndarray, absent: np.ndarray, owner: np.ndarray, heard: Callable
) -> tuple[np.ndarray, np.ndarray]:
    """delta_v and shapley of one network, ``[p, p]`` each; inputs are standardised."""
    p = owner.max() + 1
    present = masks.all_masks(p)[:, owner]
    at_once = max(1, TABLE >> p)
    delta_v = shapley = np.zeros((p, p))
    for k in range(0, len(x), at_once):
        # Differences of worths are small beside them: no matrix product in fewer digits.
        with jax.default_matmul_precision("highest"):
            v = _worths(net, x[k : k + at_once], absent.astype(np.float32), present)
        found = multi_order_interaction(np.asarray(v, np.float64))  # [rows, p - 1, p, p]
        delta_v = delta_v + abs(found).mean(1).sum(0)
        shapley = shapley + abs(found.mean(1)).sum(0)  # SII is the mean over m
        heard(min(k + at_once, len(x)))
    return delta_v / len(x), shapley / len(x)


@jax.jit
def _worths(net: AdditiveMLP, x: jax.Array, absent: jax.Array, present: jax.Array) -> jax.Array:
    """v less what columns add alone, ``[rows, 2**p]``, which no pair sees; `present`, inputs."""
    output = net(x).argmax(-1, keepdims=True)  # of one output, 0

    def of_coalition(mask: jax.Array) -> jax.Array:
        y = net.interaction_mlp(jnp.where(mask[None], x, absent))
        return jnp.take_along_axis(y, output, -1)[:, 0]

    return jax.lax.map(of_coalition, present, batch_size=max(1, AT_ONCE // len(x))).T


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    above = np.triu_indices(len(a), 1)
    a, b = a[above], b[above]
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(scipy.stats.spearmanr(a, b).statistic)


def _trials(detection: Detection, trial: Any) -> list[int]:
    count = len(detection.trials)
    if trial is None:
        return list(range(count))
    if _checks.count(CALL, "trial", trial) >= count:
        raise ValueError(f"{CALL}: trial must be from 0 to {count - 1}, or None; got {trial}")
    return [int(trial)]


def _baseline(detection: Detection, baseline: Any) -> np.ndarray | None:
    """A row of inputs ``[1, q]``; None for the mean."""
    if isinstance(baseline, str):
        if baseline != "mean":
            raise ValueError(f'{CALL}: baseline must be "mean" or a row [1, p]; got {baseline!r}')
        return None
    if np.ndim(baseline) != 2 or len(baseline) != 1:
        raise ValueError(
            f'{CALL}: baseline must be "mean" or a row [1, p]; got shape {np.shape(baseline)}'
        )
    return detection.encoder.encode(CALL, baseline)


def _check_memory(p: int, inputs: int) -> None:
    """Worths in two precisions, masks of columns and of inputs, and what `multi_order_interaction`
    makes of them, measured at p = 20."""
    each = inputs + 8 * p + 96
    available = _checks.free_memory()
    if each << p > available:
        raise ValueError(
            f"{CALL}: p = {p} columns have 2**{p} coalitions, of {each} bytes each; this machine "
            f"has {available:,} free. Detect interactions among fewer columns"
        )
