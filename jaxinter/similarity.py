# SPDX-License-Identifier: Apache-2.0
"""7c. How alike the interactions of two sets of samples are: what generalises from training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks, masks
from jaxinter._pairs import check_alike, divided, names_of
from jaxinter.interactions import Interactions

__all__ = ["JaccardByOrder", "jaccard", "jaccard_by_order"]


def jaccard(train: Interactions, test: Interactions, order: int | None = None) -> float:
    """How alike the interactions of two sets of samples are.

        D   = mean over samples of (max(I(S), 0), max(-I(S), 0)) over all S, AND and OR
        Sim = sum min(D_train, D_test) / sum max(D_train, D_test)

    Players must mean the same in all samples: patches or columns, not words.

    Args:
      train, test: interactions of one model on training and on testing samples; any numbers of
        samples, the same players.
      order: of the effects of this order alone, 1 to n; None for all.

    Returns:
      float from 0 to 1; NaN where neither has effects. The same with the two exchanged.

    Raises:
      ValueError: other players, no samples, an order out of range.

    >>> a = ji.extract([[0.0, 1.0, 2.0, 5.0], [0.0, 2.0, 4.0, 9.0]], tie_break=0)
    >>> jaccard(a, a), jaccard(a, a[:1]) < 1
    (1.0, True)

    Source: paper 001, Definition 2.2 (Zhou et al. 2024).
    """
    n = _checked_sets("jaccard", train, test)
    if order is not None and _checks.count("jaccard", "order", order, least=1) > n:
        raise ValueError(f"jaccard: order must be from 1 to {n}; got {order}")
    least, most = _overlap(*(_distribution("jaccard", x) for x in (train, test)))
    if order is not None:
        least, most = least[order - 1], most[order - 1]
    return float(divided(least.sum(), most.sum()))


@dataclass(frozen=True, eq=False)
class JaccardByOrder:
    """Similarity of the interactions of training and testing samples, order by order.

    Attributes:
      similarity: float64 ``[n]``, mean over classes, without those that are NaN.
      per_class: float64 ``[classes, n]``; NaN where neither has effects of that order, or one of
        the two has no samples of the class.
      classes: the labels ``[classes]``, sorted; None where none were given.
    """

    similarity: np.ndarray
    per_class: np.ndarray
    classes: np.ndarray | None

    @property
    def orders(self) -> np.ndarray:
        return np.arange(1, len(self.similarity) + 1)

    def to_pandas(self) -> Any:
        """Long frame: class, order, similarity."""
        import pandas as pd

        count, n = self.per_class.shape
        labels: Any = [None] if self.classes is None else self.classes
        return pd.DataFrame(
            {
                "class": np.repeat(labels, n),
                "order": np.tile(self.orders, count),
                "similarity": self.per_class.ravel(),
            }
        )


def jaccard_by_order(
    train: Interactions,
    test: Interactions,
    *,
    train_classes: Sequence[Any] | np.ndarray | None = None,
    test_classes: Sequence[Any] | np.ndarray | None = None,
) -> JaccardByOrder:
    """`jaccard` of each order, within each class; the paper shows the mean over classes.

    Args:
      train, test: as of `jaccard`.
      train_classes, test_classes: the class of each sample, in the shape of the batch; None, for
        both, takes all samples as one class.

    Returns:
      `JaccardByOrder`.

    Raises:
      ValueError: as `jaccard`; classes of one of the two only, or not one a sample.

    >>> a = ji.extract([[0.0, 1.0, 2.0, 5.0], [0.0, 2.0, 4.0, 9.0]], tie_break=0)
    >>> jaccard_by_order(a, a).similarity
    array([1., 1.])

    Source: paper 001, Definition 2.2, Claim 1 and appendix G.
    """
    call = "jaccard_by_order"
    _checked_sets(call, train, test)
    if (train_classes is None) != (test_classes is None):
        raise ValueError(f"{call}: give both of train_classes and test_classes, or neither")
    if train_classes is None or test_classes is None:
        least, most = _overlap(*(_distribution(call, x) for x in (train, test)))
        similarity = divided(least, most)
        return JaccardByOrder(similarity, similarity[None], None)
    labels = [
        _labels(call, f"{name}_classes", given, interactions)
        for name, given, interactions in (
            ("train", train_classes, train),
            ("test", test_classes, test),
        )
    ]
    classes = np.unique(np.concatenate(labels))
    n = train.n_players
    per_class = np.full((len(classes), n), np.nan)
    for row, one in zip(per_class, classes):
        chosen = [np.flatnonzero(x == one) for x in labels]
        if all(map(len, chosen)):
            sides = (_distribution(call, x, at) for x, at in zip((train, test), chosen))
            row[:] = divided(*_overlap(*sides))
    known = ~np.isnan(per_class)
    mean = divided(np.where(known, per_class, 0.0).sum(axis=0), known.sum(axis=0))
    return JaccardByOrder(mean, per_class, classes)


def _checked_sets(call: str, train: Interactions, test: Interactions) -> int:
    """n of two sets of samples whose players mean the same throughout."""
    models = {"train": train, "test": test}
    check_alike(call, models)
    for name, given in models.items():
        names = names_of(given)
        if names and not isinstance(names[0], str):
            raise ValueError(
                f"{call}: {name} must have the same players in all samples; got player_names that "
                "differ between samples"
            )
        if not np.size(given.bias):
            raise ValueError(f"{call}: {name} must have at least one sample; got none")
    return train.n_players


def _distribution(call: str, interactions: Interactions, samples: Any = None) -> np.ndarray:
    """Mean positive and mean negative part of each effect, ``[2, 2 * 2**n]``: AND and OR in one."""
    effects = _arrays.host(call, "effects", interactions.effects)
    effects = effects.reshape(-1, *effects.shape[-2:])
    effects = (effects if samples is None else effects[samples]).astype(np.float64)
    sides = [np.maximum(sign * effects, 0.0).mean(axis=0) for sign in (1, -1)]
    return np.stack([side.ravel() for side in sides])


def _overlap(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum min and sum max of two distributions, order by order ``[n]``."""
    size = train.shape[-1] // 2
    n = size.bit_length() - 1
    order_of = np.tile(masks.orders(n), 2)
    least, most = (
        np.bincount(order_of, f(train, test).sum(axis=0), n + 1)[1:]
        for f in (np.minimum, np.maximum)
    )
    return least, most


def _labels(call: str, argument: str, given: Any, interactions: Interactions) -> np.ndarray:
    labels, batch = np.asarray(given), tuple(np.shape(interactions.bias))
    if labels.shape != batch:
        raise ValueError(
            f"{call}: {argument} must hold one class a sample, shape {batch}; got shape "
            f"{labels.shape}"
        )
    return labels.ravel()
