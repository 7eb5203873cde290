# SPDX-License-Identifier: Apache-2.0
"""7a. Strength by order, and the threshold above which an effect is salient."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _arrays, _by_order, _checks, _native
from jaxinter._results import OverBatch, long_frame, on_kind
from jaxinter.interactions import Interactions

__all__ = [
    "OrderStrength",
    "first_order_strength",
    "new_strength",
    "order_strength",
    "salience_threshold",
]

# The thresholds of the papers: ratio to the mean over samples of |v(full) - v(empty)|; and that of
# the code published with them, ratio to each sample's largest |effect|.
SALIENCE_RULES = {"paper001": 0.02, "paper002": 0.02, "paper003": 0.05, "largest": 0.05}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class OrderStrength(OverBatch):
    """Strength of the interactions of each order 1 to n; both >= 0, ``[..., n]``, in units of v.

    A pytree: jit, vmap and tree.map take it. Indices, len and iteration go over the batch.
    """

    positive: Any
    negative: Any

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.positive.shape[:-1])

    @property
    def orders(self) -> np.ndarray:
        return np.arange(1, self.positive.shape[-1] + 1)

    @property
    def total(self) -> Any:
        """positive + negative, ``[..., n]``."""
        return self.positive + self.negative

    @property
    def offsetting(self) -> Any:
        """``1 - |positive - negative| / (positive + negative)``, ``[..., n]``, from 0 to 1.

        The share of an order's strength that its two signs take from each other; NaN for orders
        without strength. Overfitted networks come near 1 at high orders (paper 002).
        """
        with np.errstate(invalid="ignore"):
            return 1 - abs(self.positive - self.negative) / self.total

    def mean(self, axis: int | tuple[int, ...] | None = None) -> "OrderStrength":
        """The mean over batch axes: the papers' average over samples.

        Args:
          axis: which, counted over the batch: -1 is the last before the orders; None for all.

        Raises:
          ValueError: no samples; no such axis.
        """
        ndim = len(self.batch)
        given = range(ndim) if axis is None else np.ravel(axis).tolist()
        if not all(-ndim <= x < ndim for x in given):
            raise ValueError(
                f"OrderStrength.mean: axis must be of a batch of shape {self.batch}; got {axis!r}"
            )
        axes = tuple(sorted({x % ndim for x in given}))
        if 0 in (self.batch[x] for x in axes):
            raise ValueError(
                f"OrderStrength.mean: needs at least one sample; got a batch of shape {self.batch}"
            )
        return self._each(lambda x: x.mean(axis=axes)) if axes else self

    def normalized(self, by: Any) -> "OrderStrength":
        """Both divided by a number, or an array over the batch, > 0: see `first_order_strength`."""
        if not _arrays.is_traced(by):
            by = _arrays.host("OrderStrength.normalized", "by", by)
            if by.dtype.kind not in "iuf" or not (by > 0).all():
                raise ValueError(f"OrderStrength.normalized: by must be > 0; got {by}")
        _checks.broadcasts(
            "OrderStrength.normalized", "by", tuple(by.shape), self.batch, "the batch"
        )
        like_numpy = not (_arrays.is_traced(by) or _arrays.is_jax(self.positive))
        xp: Any = np if like_numpy else jnp
        divisor = xp.broadcast_to(by, self.batch)[..., None]
        if like_numpy:
            return self._each(lambda x: x / divisor.astype(x.dtype))
        return self._each(lambda x: jnp.asarray(x) / jnp.asarray(divisor, x.dtype))

    def to_pandas(self) -> Any:
        """Long frame: sample, order, positive, negative.

        `sample` is the position in the batch (a tuple for several batch axes, 0 for one sample).
        """
        columns = {"positive": self.positive, "negative": self.negative}
        return long_frame(self.batch, {"order": self.orders}, columns)

    def _each(self, f: Any) -> "OrderStrength":
        return OrderStrength(on_kind(f, self.positive), on_kind(f, self.negative))


def order_strength(
    interactions: Interactions, threshold: Any = None, *, where: Any = None
) -> OrderStrength:
    """Sum of positive, and of negative, AND and OR effects of each order.

        positive(m) =  sum_{|S| = m} max(AND(S), 0) + max(OR(S), 0)
        negative(m) = -sum_{|S| = m} min(AND(S), 0) + min(OR(S), 0)

    One pass over the effects at the speed of memory, added up in float64 (float32: from ten
    terms on), with the same bits for any batch, thread count and SIMD level; traced JAX values,
    and those on other devices, are folded player by player in their own dtype.

    Args:
      interactions: one or many samples, as extracted (singletons unmerged).
      threshold: count only |effect| > threshold: a number, an array over the batch, or a rule of
        `salience_threshold` ("paper001", "paper002", "paper003", "largest") for these interactions.
      where: bool ``[..., 2, 2**n]`` (AND, OR), or what broadcasts to it: count only these, of
        those above the threshold where there is one.

    Returns:
      `OrderStrength`, ``[..., n]`` for orders 1 to n, kind and dtype of the effects. With neither
      threshold nor `where`, positive + negative sums to `primal`, and positive - negative to
      v(full) - v(empty) less the residual. A NaN that is counted ends in both sums of its order.
      The derivative by an effect of 0 is 0.

    Raises:
      ValueError: a threshold that is negative, NaN, of another shape or an unknown rule; `where`
        that does not broadcast to the effects.
      TypeError: `where` is not bool.

    >>> result = ji.extract([0.0, 1.0, 2.0, 5.0])
    >>> strength = order_strength(result)
    >>> strength.positive.sum() - strength.negative.sum()
    np.float64(5.0)

    Source: paper 001, Eq. 4 (the printed minus covers both terms).
    """
    call = "order_strength"
    limit = tau(call, interactions, threshold)
    pair = interactions.and_effects, interactions.or_effects
    return _strength(call, pair, limit, where)


def first_order_strength(interactions: Interactions, threshold: Any = None) -> Any:
    """Z, by which the papers divide strengths before they compare states of a network.

        Z = mean over samples of sum_i |AND({i})| + |OR({i})|

    One number a model (or checkpoint): ``order_strength(x).normalized(first_order_strength(x))``.

    Args:
      interactions: the samples, singletons unmerged.
      threshold: count only salient effects, as the paper does; see `order_strength`.

    Returns:
      float, in the units of v; of `joint` interactions ``[models]`` float64.

    Raises:
      ValueError: no samples; a threshold that `order_strength` refuses too.

    >>> result = ji.extract([[0.0, 1.0, 2.0, 3.0], [0.0, 4.0, 1.0, 5.0]]).canonical()
    >>> round(first_order_strength(result), 3)
    4.0

    Source: paper 001, appendix I.3.
    """
    call = "first_order_strength"
    batch = tuple(interactions.and_effects.shape[:-1])
    if 0 in batch:
        raise ValueError(f"{call}: interactions must hold at least one sample; got shape {batch}")
    limit = tau(call, interactions, threshold)
    singles = 1 << np.arange(interactions.n_players)
    sums = np.zeros(batch)
    for effects in (interactions.and_effects, interactions.or_effects):
        strength = np.abs(_arrays.host(call, "effects", effects)[..., singles])
        if limit is not None:
            strength = np.where(strength <= np.asarray(limit)[..., None], 0, strength)
        sums += strength.sum(axis=-1, dtype=np.float64)
    if interactions.joint:
        return sums.reshape(-1, sums.shape[-1]).mean(axis=0)
    return float(sums.mean())


def new_strength(
    after: Any, before: Any, *, of: str = "averages", threshold: Any = None
) -> OrderStrength:
    """Strength by order of the interactions that are new in `after`, in one of two meanings.

    "averages", of a network trained on (paper 001, 2.2.1): the change of the averages,

        positive(m) = |mean_x A+(m; after) - mean_x A+(m; before)|,        negative likewise

    "effects", of a network or input disturbed (paper 001, 2.2.2 and Eq. 5): the strength of the
    changes, sample by sample,

        dI(S) = I(S; after) - I(S; before),        positive(m) = sum_{|S| = m} max(dI(S), 0) ...

    The first is at most the mean of the second's positive + negative: effects that come and go
    within an order cancel in it.

    Args:
      after, before: `Interactions`; for "averages" of any samples, or `OrderStrength` where the
        strengths are to be normalized first; for "effects" of the same samples.
      of: "averages" or "effects".
      threshold: count only |I| ("averages") or |dI| ("effects") above it; as in `order_strength`.
        A rule is applied to each of both ("averages"), or to `before` ("effects").

    Returns:
      `OrderStrength`, ``[n]`` for "averages", ``[..., n]`` for "effects".

    Raises:
      ValueError: an unknown `of`; other numbers of players or (for "effects") samples; a threshold
        with `OrderStrength`; no samples for "averages".
      TypeError: neither Interactions nor (for "averages") OrderStrength.

    >>> before, after = ji.extract([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 8.0]]).canonical()
    >>> new_strength(after, before, of="effects").total.round(3)
    array([0., 5.])

    Paper 001 prints dI with the other sign: its + is our negative, of equal distribution.
    """
    call = "new_strength"
    if of not in ("averages", "effects"):
        raise ValueError(f"{call}: of must be 'averages' or 'effects'; got {of!r}")
    kinds = (Interactions, OrderStrength) if of == "averages" else (Interactions,)
    for name, x in (("after", after), ("before", before)):
        if not isinstance(x, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{call}: {name} must be {wanted} for {of!r}; got {type(x).__name__}")
    if of == "effects":
        shapes = [tuple(x.and_effects.shape) for x in (after, before)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{call}: after and before must be of the same samples and players for 'effects'; "
                f"got effects of shapes {shapes[0]} and {shapes[1]}"
            )
        changes = (
            after.and_effects - before.and_effects,
            after.or_effects - before.or_effects,
        )
        return _strength(call, changes, tau(call, before, threshold), None)
    means = []
    for x in (after, before):
        if isinstance(x, Interactions):
            limit = tau(call, x, threshold)
            x = _strength(call, (x.and_effects, x.or_effects), limit, None)
        elif threshold is not None:
            raise ValueError(f"{call}: threshold must be None for OrderStrength; got {threshold!r}")
        means.append(x.mean())
    if means[0].positive.shape != means[1].positive.shape:
        orders = [len(mean.orders) for mean in means]
        raise ValueError(f"{call}: after and before must have as many players; got {orders}")
    new, old = means
    return OrderStrength(abs(new.positive - old.positive), abs(new.negative - old.negative))


def _strength(call: str, pair: tuple[Any, Any], limit: Any, where: Any) -> OrderStrength:
    """Of AND and OR effects; limit as `tau` gives it."""
    effects = pair[0]
    shape = (*effects.shape[:-1], 2, effects.shape[-1])
    if where is not None:
        where = where if _arrays.is_traced(where) else _arrays.host(call, "where", where)
        if where.dtype != bool:
            raise TypeError(f"{call}: where must be bool [..., 2, 2**n]; got dtype {where.dtype}")
        _checks.broadcasts(call, "where", tuple(where.shape), shape, "the effects (AND, OR)")
    traced = any(map(_arrays.is_traced, (*pair, limit, where)))
    device = _arrays.device_of(effects)
    if traced or (_arrays.is_jax(effects) and (device is None or device.platform != "cpu")):
        return OrderStrength(*_by_order.strength(call, pair, limit, where))
    dtype = _checks.float_dtype(call, "effects", _arrays.numpy_dtype(effects))
    sums = _kernel_sums(call, pair, dtype, limit, where)
    return OrderStrength(
        *(_arrays.like(sums[..., side, :].astype(dtype), effects) for side in (0, 1))
    )


def _kernel_sums(call: str, pair: Any, dtype: np.dtype, limit: Any, where: Any) -> np.ndarray:
    """float64 ``[..., 2, n]``, of effects on the host."""
    shape = (*pair[0].shape[:-1], 2, pair[0].shape[-1])
    tables = [np.require(_arrays.host(call, "effects", x), dtype, ["C", "A"]) for x in pair]
    if limit is not None:
        limit = np.require(np.broadcast_to(limit, shape[:-2]), np.float64, ["C", "A"])
    if where is not None:
        where = np.require(np.broadcast_to(where, shape), bool, ["C", "A"])
    sums = np.empty((*shape[:-2], 2, _checks.n_players(call, "effects", shape)))
    _native.order_strength(*tables, limit, where, sums)
    return sums


def salience_threshold(values: Any, ratio: float = 0.02, *, rule: str | None = None) -> Any:
    """tau, above which an effect is salient: ratio * mean over samples of |v(full) - v(empty)|.

    One threshold for a model and a data set, not one a sample; but of several models explained
    together (`joint`) one each.

    Args:
      values: any array ``[..., 2**n]``, all leading axes are samples; or the `Interactions` of
        them, where v(full) - v(empty) is the sum of effects and the residual at the full coalition.
      ratio: >= 0.
      rule: instead, a name:

        "paper001"   ratio 0.02
        "paper002"   ratio 0.02
        "paper003"   ratio 0.05
        "largest"    0.05 * max_S |I(S)| of each sample; takes `Interactions`

    Returns:
      float, in the units of `values`, 0.0 for no samples; an array ``[models]`` for `joint`, and
      over the batch for "largest", both float64.

    Raises:
      ValueError: values that are no tables or not finite; a negative ratio; ratio and rule both;
        an unknown rule, or "largest" of values.

    >>> salience_threshold([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, -2.0]], ratio=0.5)
    2.0

    Source: paper 001, Table 1 (its main text misses the absolute value); paper 003, section 3
    ("Sum" read as mean); "largest": the code published with Ren et al. 2024a and Chen et al. 2024.
    """
    call = "salience_threshold"
    if not ratio >= 0:
        raise ValueError(f"{call}: ratio must be >= 0; got {ratio!r}")
    if rule is not None:
        if ratio != 0.02:
            raise ValueError(f"{call}: give one of ratio and rule; got {ratio!r} and {rule!r}")
        _check_rule(call, "rule", rule)
        if rule == "largest":
            if not isinstance(values, Interactions):
                raise ValueError(
                    f"{call}: rule 'largest' takes Interactions; got {type(values).__name__}"
                )
            return _by_largest(call, values)
        ratio = SALIENCE_RULES[rule]
    if isinstance(values, Interactions):
        return ratio * _mean_swing(call, values)
    values = _arrays.to_numpy(call, "values", values)
    _checks.n_players(call, "values", values.shape)
    _checks.finite_values(call, "values", values)
    swing = np.abs(values[..., -1].astype(np.float64) - values[..., 0])
    return float(ratio * swing.mean()) if swing.size else 0.0


def tau(call: str, interactions: Interactions, threshold: Any) -> Any:
    """A `threshold` argument, checked: a float, or an array over the batch, for effects of these.

    Args:
      call: for messages.
      threshold: a number, an array that broadcasts to the batch (perhaps traced), the name of a
        rule of `salience_threshold`, or None, which stays None.

    Returns:
      None, a float, or a numpy or JAX array of the shape of the batch (of `joint` interactions:
      ``[..., models]``) and of the dtype of the effects, so that all compare alike.
    """
    if threshold is None:
        return None
    batch = tuple(interactions.and_effects.shape[:-1])
    given: Any
    if isinstance(threshold, str):
        _check_rule(call, "threshold", threshold)
        if threshold == "largest":
            given = _by_largest(call, interactions)
        else:
            given = SALIENCE_RULES[threshold] * _mean_swing(call, interactions)
    elif _arrays.is_traced(threshold):
        given = threshold
    else:
        given = _arrays.host(call, "threshold", threshold)
        if given.dtype.kind not in "iuf" or not (given >= 0).all():
            raise ValueError(
                f"{call}: threshold must be >= 0, a number or an array over the batch, or one of "
                f"{tuple(SALIENCE_RULES)}; got {threshold!r}"
            )
    if np.ndim(given) == 0 and not _arrays.is_jax(given):
        return float(given)
    _checks.broadcasts(call, "threshold", tuple(given.shape), batch, "the batch")
    dtype = _arrays.numpy_dtype(interactions.and_effects)
    return _arrays.namespace(given).broadcast_to(given.astype(dtype), batch)


def _check_rule(call: str, argument: str, rule: Any) -> None:
    if rule not in SALIENCE_RULES:
        known = ", ".join(map(repr, SALIENCE_RULES))
        raise ValueError(f"{call}: {argument} must be one of {known}; got {rule!r}")


def _by_largest(call: str, interactions: Interactions) -> Any:
    """Of each sample, over both kinds; JAX for traced effects."""
    effects = [interactions.and_effects, interactions.or_effects]
    if not _arrays.is_traced(effects[0]):
        effects = [_arrays.host(call, "effects", x).astype(np.float64) for x in effects]
    strongest = [abs(x).max(axis=-1) for x in effects]
    return SALIENCE_RULES["largest"] * _arrays.namespace(strongest[0]).maximum(*strongest)


def _mean_swing(call: str, interactions: Interactions) -> Any:
    """Mean over samples of |v(full) - v(empty)|: a float, or ``[models]`` float64 for `joint`."""
    if _arrays.is_traced(interactions.and_effects):
        raise TypeError(
            f"{call}: a rule that averages over samples needs concrete interactions; got traced "
            "ones. Call salience_threshold outside of jit and vmap, and give its number"
        )
    pair = interactions.and_effects, interactions.or_effects
    dtype = _checks.float_dtype(call, "effects", _arrays.numpy_dtype(pair[0]))
    sums = _kernel_sums(call, pair, dtype, None, None)
    left = _arrays.host(call, "residual", interactions.residual[..., -1]).astype(np.float64)
    swing = np.abs((sums[..., 0, :] - sums[..., 1, :]).sum(axis=-1) + left)
    if not np.isfinite(swing).all():
        raise ValueError(f"{call}: effects must be finite for a rule that averages over samples")
    if not interactions.joint:
        return float(swing.mean()) if swing.size else 0.0
    swing = swing.reshape(-1, swing.shape[-1])
    return swing.mean(axis=0) if len(swing) else np.zeros(swing.shape[-1])
