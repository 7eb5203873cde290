# SPDX-License-Identifier: Apache-2.0
"""5. `Interactions`: the AND and OR effects of one or many samples, with their certificate."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxinter import _arrays, _checks, _files, masks
from jaxinter.transform import superset_zeta, zeta

__all__ = ["Effect", "Interactions", "load"]

FILE_VERSION = 2


class Effect(NamedTuple):
    """One number I(S): its kind ("AND" or "OR"), the players of S (names where known), value."""

    kind: str
    players: tuple
    effect: float

    @property
    def order(self) -> int:
        return len(self.players)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Interactions:
    """AND and OR effects that explain a table, and the proof of how sparse they could be.

    For every coalition T (bit i of an index set when player i is present)

        v(T) - residual(T) = bias + sum_{S subset T} AND(S) + sum_{S meets T} OR(S),   S not empty.

    Batch axes lead everywhere. Effects and residual are of the kind and dtype of the values they
    come from. It is a pytree: jit, vmap and tree.map take it.

    Several models explained together (`joint`) have effects, residuals and biases with an axis of
    their own after the batch, ``[..., models, 2**n]``, and one certificate ``[...]``, that of the
    joint objective; batch indices go over the samples, and `model(i)` takes one model out.

    Attributes:
      and_effects, or_effects: ``[..., 2**n]``, entry 0 is 0, in the units of v.
      bias: ``[...]``, v(empty).
      residual: ``[..., 2**n]``, v - reconstruct(), within the noise bound; entry 0 is 0.
      primal: ``[...]`` float64, sum of absolute effects of exactly what is held here.
      dual: ``[...]`` float64, proven lower bound on the least possible such sum.
      gap: ``[...]`` float64, (primal - dual) / primal; 0 when primal is 0.
      iterations: ``[...]`` int, steps of the solver, first-order and Newton's alike.
      converged: ``[...]`` bool, gap within the tolerance asked for.
      tie_break: ``[...]`` float64, the eps that chose among optimal splits; 0 for none, NaN where
        the iterations ended before the choice was settled.
      multiplier: ``[..., 2**n]``, y, the proof of `dual` where there is one: sums to 0, and

            dual = sum_T y(T) v(T) - bound * sum_{T not empty} |y(T)|,
            |sum_{T superset S} y(T)| <= 1 and |sum_{T meets S} y(T)| <= 1 for every S not empty

        (of several models together: within the dual ball of the joint objective). By weak duality
        no explanation within the bound is sparser; it is the gradient of `sparsity` too.
      player_names: names of the n players, or None; where each sample has its own (words), a tuple
        of them for each entry of the first batch axis.
      joint: whether the axis before the lattice holds models explained together.
    """

    and_effects: Any
    or_effects: Any
    bias: Any
    residual: Any
    primal: Any
    dual: Any
    gap: Any
    iterations: Any
    converged: Any
    tie_break: Any
    multiplier: Any = None
    player_names: tuple | None = field(default=None, metadata={"static": True})
    joint: bool = field(default=False, metadata={"static": True})

    @property
    def n_players(self) -> int:
        return self.and_effects.shape[-1].bit_length() - 1

    @property
    def effects(self) -> Any:
        """AND then OR effects, ``[..., 2, 2**n]``."""
        return _arrays.stack((self.and_effects, self.or_effects), -2)

    def reconstruct(self) -> Any:
        """The table that bias and effects stand for, ``[..., 2**n]``: v - residual."""
        bias = np.asarray(self.bias) if isinstance(self.bias, np.generic) else self.bias
        return bias[..., None] + and_or_sum(self.and_effects, self.or_effects)

    def dividends(self) -> Any:
        """What the bias and the effects add up to as AND effects alone, ``[..., 2**n]``.

            m(S) = AND(S) + (-1)^(|S| + 1) sum_{L superset S} OR(L),   m(empty) = bias

        They are the Mobius coefficients (Harsanyi dividends) of `reconstruct()`.

        Source: 1 where S meets T is ``sum_{L within S and T, not empty} (-1)^(|L| + 1)``.
        """
        bias = np.asarray(self.bias) if isinstance(self.bias, np.generic) else self.bias
        return and_or_dividends(self.and_effects, self.or_effects, bias[..., None])

    def top(self, k: int) -> list[Effect]:
        """The k strongest effects of one sample by absolute value; ties by kind, then by index."""
        k = _checks.count("Interactions.top", "k", k)
        effects = self._one_sample("top")
        strongest = np.argsort(-np.abs(effects), axis=None, kind="stable")[:k]
        rows = zip(*np.unravel_index(strongest, effects.shape))
        return [self._effect(kind, s, effects[kind, s]) for kind, s in rows if effects[kind, s]]

    def salient(self, threshold: Any = None, *, share_of_largest: float | None = None) -> Any:
        """Which effects are strong, bool ``[..., 2, 2**n]`` (AND, OR): |effect| > threshold.

        Args:
          threshold: absolute tau, a number or an array over the batch (see `salience_threshold`).
          share_of_largest: instead, tau = this share of each sample's largest |effect|.
        """
        if (threshold is None) == (share_of_largest is None):
            raise ValueError(
                "Interactions.salient: give one of threshold and share_of_largest; "
                f"got {threshold!r} and {share_of_largest!r}"
            )
        rule = "threshold" if share_of_largest is None else "share_of_largest"
        given = threshold if share_of_largest is None else share_of_largest
        if not _arrays.is_traced(given) and not (np.asarray(given) >= 0).all():
            raise ValueError(f"Interactions.salient: {rule} must be >= 0; got {given!r}")
        effects = self._effects_array()
        xp = _arrays.namespace(effects)
        strength = abs(effects)
        tau = xp.asarray(given, dtype=strength.dtype)
        if share_of_largest is not None:
            tau = tau * strength.max(axis=(-2, -1))
        tau = xp.broadcast_to(tau, strength.shape[:-2])[..., None, None]
        return self._kind((strength > tau) & (strength > 0))

    def model(self, i: int) -> "Interactions":
        """Model i of several explained together: its effects, bias and residual, `joint` False.

        `primal` is the model's own sum. The certificate is that of all models: `dual` and `gap`
        are NaN and `multiplier` None; `iterations`, `converged` and `tie_break` stay the group's.
        """
        if not self.joint:
            raise ValueError("Interactions.model: takes interactions of several models; got one's")
        i, models = _checks.count("Interactions.model", "i", i), self.bias.shape[-1]
        if i >= models:
            raise IndexError(f"Interactions.model: i must be from 0 to {models - 1}; got {i}")
        unproven = {"dual": self.dual * math.nan, "multiplier": None, "joint": False}
        of_one = {"bias": self.bias[..., i], "residual": self.residual[..., i, :]}
        a, b = (x[..., i, :] for x in (self.and_effects, self.or_effects))
        return replace(self, **of_one, **unproven)._with_effects(a, b)

    def merge_singletons(self) -> "Interactions":
        """OR({i}) moved into AND({i}), which is the same function of the coalition.

        What is reconstructed does not change; `primal` may fall, and is recomputed.
        """
        effects = self._effects_array()
        xp = _arrays.namespace(effects)
        single = xp.asarray(masks.orders(self.n_players) == 1)
        single = xp.broadcast_to(single, effects[..., 0, :].shape)
        a, b = effects[..., 0, :], effects[..., 1, :]
        a, b = xp.where(single, a + b, a), xp.where(single, 0, b)
        return self._with_effects(a, b)

    def canonical(self) -> "Interactions":
        """One of many equal explanations, of lower order and no greater L1 strength of each model.

        Singletons are merged; and as AND({i, j}) + OR({i, j}) is AND({i}) + AND({j}), what the two
        effects of a pair have in common moves to its players. What is reconstructed does not
        change; `primal` may fall, and is recomputed.

        Source: the two identities make optima of the sparse split an interval; see `extract`.
        """
        merged = self.merge_singletons()
        effects = merged._effects_array()
        xp = _arrays.namespace(effects)
        a, b = effects[..., 0, :], effects[..., 1, :]
        n = self.n_players
        index = np.arange(1 << n).reshape(*(1 for _ in a.shape[:-1]), -1)
        pair = np.broadcast_to(np.asarray(masks.orders(n)) == 2, a.shape)
        shared = xp.where(pair & (a * b > 0), xp.sign(a) * xp.minimum(abs(a), abs(b)), 0)
        singles = [xp.where(index >> i & 1, shared, 0).sum(axis=-1) for i in range(n)]
        moved = sum((x[..., None] * (index == 1 << i) for i, x in enumerate(singles)), 0 * shared)
        return merged._with_effects((a - shared + moved).astype(a.dtype), b - shared)

    def _with_effects(self, a: Any, b: Any) -> "Interactions":
        """The same explanation by other effects: `primal` and `gap` anew."""
        if not _arrays.is_traced(a):  # the certificate in float64, whatever the effects are in
            a, b = np.asarray(a), np.asarray(b)
        wide = np.float64 if isinstance(a, np.ndarray) else a.dtype
        primal = sum(abs(x).sum(axis=-1, dtype=wide) for x in (a, b))
        if self.joint:
            primal = primal.sum(axis=-1) + sum(spread(x).sum(axis=-1, dtype=wide) for x in (a, b))
        dual = self.dual if _arrays.is_traced(self.dual) else np.asarray(self.dual)
        if _arrays.is_traced(primal):
            dual = dual.astype(primal.dtype)
        fields = {"and_effects": a, "or_effects": b, "primal": primal}
        fields["gap"] = relative_gap(primal, dual)
        return replace(self, **{name: self._kind(x) for name, x in fields.items()})

    def to_pandas(self, threshold: float = 0.0) -> Any:
        """Long frame of the effects above `threshold`: sample, kind, players, order, effect.

        `sample` is the position in the batch (a tuple for several batch axes, 0 for one sample).
        """
        import pandas as pd

        effects = _arrays.to_numpy("Interactions.to_pandas", "effects", self.effects)
        *batch, kinds, indices = np.nonzero(np.abs(effects) > threshold)
        first = batch[0].tolist() if batch else [0] * len(indices)
        named = [self._names_of(sample) for sample in range(max(first, default=0) + 1)]
        members = [_members(s, named[at]) for at, s in zip(first, indices.tolist())]
        samples = list(zip(*(axis.tolist() for axis in batch))) if len(batch) > 1 else None
        return pd.DataFrame(
            {
                "sample": samples if samples is not None else batch[0] if batch else 0,
                "kind": np.where(kinds == 0, "AND", "OR"),
                "players": members,
                "order": [len(m) for m in members],
                "effect": effects[(*batch, kinds, indices)],
            }
        )

    def to_shapiq(
        self, kind: str = "all", max_order: int | None = None, threshold: float = 0.0
    ) -> Any:
        """One sample as shapiq's `InteractionValues`, for its plots.

        Singletons are merged into AND first. For every set S of players, by `kind`:

        "all"   the `dividends()` of AND and OR together, index "Moebius"; nothing is lost
        "AND"   ``AND(S)``, index "Moebius": the dividends of bias and AND effects
        "OR"    ``(-1)^(|S| + 1) OR(S)``, index "Co-Moebius": that of bias and OR effects. It does
                not add up to v(full), as force and waterfall plots take it to

        Args:
          kind: "all", "AND" or "OR".
          max_order: leave out larger sets; n for None. Stacked bars take n^max_order memory.
          threshold: leave out |effect| <= threshold, but no single players: they are the nodes of
            graph plots.

        Returns:
          `shapiq.InteractionValues`, the bias as `baseline_value` and entry ``()``. shapiq 1.4 has
          no player names there; its plots take them, as ``feature_names=``.

        Raises:
          ValueError: a batch, an unknown kind, `max_order` below 1, or a negative threshold.
          ImportError: shapiq is not installed.
        """
        from jaxinter.adapters.shapiq import to_interaction_values

        if kind not in ("all", "AND", "OR"):
            raise ValueError(
                f'Interactions.to_shapiq: kind must be "all", "AND" or "OR"; got {kind!r}'
            )
        merged = self.merge_singletons()
        effects, or_effects = merged._one_sample("to_shapiq").astype(np.float64)
        if kind == "all":
            effects = and_or_dividends(effects, or_effects, 0.0)
        elif kind == "OR":
            effects = np.where(masks.orders(self.n_players) % 2, or_effects, 0 - or_effects)
        effects[0] = self.bias
        index = "Co-Moebius" if kind == "OR" else "Moebius"
        return to_interaction_values(effects, index, max_order, threshold=threshold)

    def save(self, path: str | os.PathLike) -> None:
        """Writes one .npz file that `load` reads; replaces `path` only once it is whole."""
        arrays: dict[str, Any] = {
            f.name: _arrays.to_numpy("Interactions.save", f.name, getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("player_names", "joint") and getattr(self, f.name) is not None
        }
        if self.joint:
            arrays["joint"] = np.bool_(True)
        if self.player_names is not None:
            arrays["player_names"] = np.array(self.player_names, dtype=str)
        with _files.replacing(path) as file:
            np.savez(file, jaxinter_interactions=FILE_VERSION, **arrays)

    def __len__(self) -> int:
        if np.ndim(self.primal) == 0:
            raise TypeError("Interactions: one sample has no len()")
        return self.primal.shape[0]

    def __bool__(self) -> bool:
        return np.ndim(self.primal) == 0 or len(self) > 0

    def __getitem__(self, index: Any) -> "Interactions":
        """The samples at `index` of the batch axes, as numpy would index an array over them."""
        batch = np.shape(self.primal)
        if not batch:
            raise IndexError("Interactions: one sample cannot be indexed")
        chosen = np.arange(math.prod(batch)).reshape(batch)[index]

        def take(x: Any) -> Any:
            return x.reshape(-1, *x.shape[len(batch) :])[chosen]

        part = jax.tree.map(take, self)
        if not self._named_apart:
            return part
        samples = chosen // math.prod(batch[1:])  # the same along all but the first axis, or mixed
        rows = samples.reshape(len(samples) if samples.ndim else 1, -1)
        each = [self._names_of(int(row[0])) for row in rows if row.size]
        one_each = (rows == rows[:, :1]).all()
        return replace(part, player_names=common_names(each) if one_each else None)

    def __iter__(self) -> Iterator["Interactions"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        batch = np.shape(self.primal)
        text = f"{'x'.join(map(str, batch))} samples of " if batch else ""
        text = f"Interactions({text}{self.n_players} players"
        if self.joint:
            text += f", {self.bias.shape[-1]} models"
        if _arrays.is_traced(self.primal) or not np.size(self.primal):
            return text + ")"
        gap = float(np.max(np.asarray(self.gap)))
        if not batch:
            text += f", primal {float(self.primal):.6g}"
        return text + f", gap {'<= ' if batch else ''}{gap:.1e})"

    def _one_sample(self, method: str) -> np.ndarray:
        if np.ndim(self.bias):
            raise ValueError(
                f"Interactions.{method}: takes one sample; got a batch of shape "
                f"{tuple(self.bias.shape)}. Index it first, as interactions[0].{method}(...)"
            )
        return _arrays.to_numpy(f"Interactions.{method}", "effects", self.effects)

    def _effects_array(self) -> Any:
        """AND then OR effects as a JAX (perhaps traced) or numpy array."""
        effects = self.effects
        return effects if _arrays.is_jax(effects) else _arrays.to_numpy("", "effects", effects)

    def _kind(self, x: Any) -> Any:
        """x as the kind of array that the effects are."""
        return x if _arrays.is_jax(x) else _arrays.like(x, self.and_effects)

    @property
    def _named_apart(self) -> bool:
        names = self.player_names or ("",)
        return not isinstance(names[0], str)

    def _names_of(self, sample: int) -> tuple[str, ...] | None:
        names = self.player_names
        return names[sample] if names is not None and self._named_apart else names

    def _effect(self, kind: int, index: int, effect: float) -> Effect:
        return Effect(("AND", "OR")[kind], _members(int(index), self.player_names), float(effect))


def _members(index: int, names: tuple[str, ...] | None) -> tuple:
    """The players of a coalition, by name where they have names."""
    members = _checks.members(index)
    return members if names is None else tuple(names[i] for i in members)


def common_names(names: list) -> tuple | None:
    """`player_names` of samples that have these: one for all where they agree."""
    if not names or all(one == names[0] for one in names):
        return names[0] if names else None
    return None if None in names else tuple(names)


def and_or_sum(and_effects: Any, or_effects: Any) -> Any:
    """``sum_{S subset T} AND(S) + sum_{S meets T} OR(S)`` for every T, ``[..., 2**n]``.

    The S that meet T are all S but those within the complement of T, which is index reversal.
    """
    missed = zeta(or_effects)
    missed = missed.flip(-1) if _arrays.is_torch(missed) else missed[..., ::-1]
    return zeta(and_effects) + missed[..., :1] - missed


def and_or_dividends(and_effects: Any, or_effects: Any, bias: Any) -> Any:
    """The Mobius coefficients of bias + `and_or_sum`; see `Interactions.dividends`."""
    xp, order = _arrays.orders_like(and_effects)
    shared = superset_zeta(or_effects)
    effects = and_effects + xp.where(order % 2 == 1, shared, 0 - shared)
    return xp.where(order == 0, bias, effects)


def spread(x: Any) -> Any:
    """max(0, x_1, ..., x_m) - min(0, x_1, ..., x_m) over the models, ``[..., m, 2**n]`` to
    ``[..., 2**n]``: what the joint objective of paper 003, Eq. 13 adds to the absolute values."""
    xp = _arrays.namespace(x)
    return xp.maximum(x.max(axis=-2), 0.0) - xp.minimum(x.min(axis=-2), 0.0)


def relative_gap(primal: Any, dual: Any) -> Any:
    """(primal - dual) / primal, 0 when primal is 0 and where rounding puts dual above it."""
    xp = _arrays.namespace(primal)
    return xp.maximum(primal - dual, 0.0) / xp.where(primal > 0, primal, 1.0)


def load(path: str | os.PathLike) -> Interactions:
    """Reads what `Interactions.save` wrote, as numpy arrays.

    Raises:
      ValueError: the file is not a saved `Interactions`, or of a newer version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        version = int(arrays.pop("jaxinter_interactions"))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"load: {path} is not a file saved by Interactions.save ({error})"
        ) from error
    if version > FILE_VERSION:
        raise ValueError(
            f"load: {path} has format {version}; this jaxinter reads up to {FILE_VERSION}. "
            "Upgrade it"
        )
    names = arrays.pop("player_names", None)
    joint = bool(arrays.pop("joint", False))
    scalars = {name: array[()] for name, array in arrays.items()}
    if names is not None:
        names = tuple(names.tolist()) if names.ndim == 1 else tuple(map(tuple, names.tolist()))
    return Interactions(**scalars, player_names=names, joint=joint)
