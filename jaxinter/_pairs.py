# SPDX-License-Identifier: Apache-2.0
"""Two models side by side: do they pair up, what is salient in which, what is shared."""

from typing import Any, NamedTuple

import numpy as np

from jaxinter import _arrays
from jaxinter.interactions import Interactions, common_names
from jaxinter.stats import tau


class Compared(NamedTuple):
    """Two models' salient effects, bool ``[..., 2, 2**n]``, numpy or JAX."""

    salient: Any  # of the first model
    other: Any  # of the second
    shared: Any  # in both, of one sign


def compared(
    call: str,
    models: dict[str, Interactions],
    threshold: Any,
    other_threshold: Any,
    *,
    one_tau: bool = False,
) -> Compared:
    """Two models, by the name of their argument.

    Where `other_threshold` is None, the second has the first's tau (`one_tau`), or its own by the
    same rule.
    """
    check_pair(call, models)
    first, second = models.values()
    if threshold is None:
        raise ValueError(f"{call}: threshold must be a number, an array or a rule; got None")
    tau_first = tau_second = tau(call, first, threshold)
    if other_threshold is not None or not one_tau:
        own = threshold if other_threshold is None else other_threshold
        tau_second = tau(call, second, own)
    salient, other = (
        plain(call, x) for x in (first.salient(tau_first), second.salient(tau_second))
    )
    # Signs, not the product of the effects: that may underflow to 0.
    up, also_up = (plain(call, x.effects) > 0 for x in (first, second))
    if not _arrays.is_traced(other):
        xp = _arrays.namespace(salient)
        other, also_up = xp.asarray(other), xp.asarray(also_up)
    return Compared(salient, other, salient & other & (up == also_up))


def pruned_pair(
    call: str, original: Interactions, pruned: Interactions, threshold: Any, other_threshold: Any
) -> Compared:
    """A model and its pruned one, both by the original's tau where no other is given."""
    models = {"original": original, "pruned": pruned}
    return compared(call, models, threshold, other_threshold, one_tau=True)


def check_pair(call: str, models: dict[str, Interactions]) -> None:
    """Refuses what does not pair up sample by sample, and what is not finite."""
    check_alike(call, models)
    (a, first), (b, second) = models.items()
    one, other = (tuple(x.and_effects.shape[:-1]) for x in (first, second))
    if one != other:
        raise ValueError(
            f"{call}: {a} and {b} must be of the same samples; got batches of shape {one} and "
            f"{other}"
        )


def check_alike(call: str, models: dict[str, Interactions]) -> None:
    """Refuses what are no interactions of one model each, of the same players."""
    for name, given in models.items():
        if not isinstance(given, Interactions):
            raise TypeError(f"{call}: {name} must be Interactions; got {type(given).__name__}")
        if given.joint:
            raise ValueError(
                f"{call}: {name} must be of one model; got {given.bias.shape[-1]} models explained "
                f"together. Take one out, as {name}.model(0)"
            )
        check_finite(call, name, given)
    (a, first), (b, second) = models.items()
    if first.n_players != second.n_players:
        raise ValueError(
            f"{call}: {a} and {b} must have the same players; got {first.n_players} and "
            f"{second.n_players}"
        )
    names = [names_of(x) for x in (first, second)]
    if None not in names and names[0] != names[1]:
        raise ValueError(
            f"{call}: {a} and {b} must have the same player_names; got {names[0]} and {names[1]}"
        )


def names_of(interactions: Interactions) -> tuple | None:
    """One tuple of names, or one a sample where they differ."""
    names = interactions.player_names
    return common_names(list(names)) if names and not isinstance(names[0], str) else names


def check_finite(call: str, name: str, interactions: Interactions) -> None:
    """Refuses samples that were not solved: an effect of NaN is neither salient nor absent."""
    if _arrays.is_traced(interactions.and_effects):
        return
    solved = _arrays.host(call, name, interactions.effects)
    solved = np.isfinite(solved).all(axis=(-2, -1))
    if not solved.all():
        where = np.argwhere(~solved).tolist()
        sample = f"sample {where[0][0] if len(where[0]) == 1 else tuple(where[0])}" * bool(where[0])
        raise ValueError(
            f"{call}: {name} must have finite effects; {sample or 'it'} has not. Leave out what "
            "extract did not solve"
        )


def plain(call: str, x: Any) -> Any:
    """numpy or JAX, whatever the effects are."""
    return x if _arrays.is_jax(x) else _arrays.to_numpy(call, "effects", x)


def as_kind(x: Any, template: Interactions) -> Any:
    """A set as the kind of array that the effects are."""
    return x if _arrays.is_jax(x) else _arrays.like(x, template.and_effects)


def strengths(call: str, interactions: Interactions) -> np.ndarray:
    """|effects|, float64 ``[..., 2, 2**n]``."""
    return np.abs(_arrays.host(call, "effects", interactions.effects).astype(np.float64))


def quotient(strength: np.ndarray, part: Any, whole: Any, per_sample: bool) -> Any:
    """Strength of a set over that of a set it is in, of all samples or of each."""
    axes = (-2, -1) if per_sample else None
    sums = [np.where(x, strength, 0.0).sum(axis=axes) for x in (part, whole)]
    ratio = divided(*sums)
    return float(ratio) if ratio.ndim == 0 else ratio


def divided(part: Any, whole: Any) -> np.ndarray:
    """part / whole, NaN where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
