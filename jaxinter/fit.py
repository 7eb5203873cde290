# SPDX-License-Identifier: Apache-2.0
"""8b. The fit of both distributions to a network's strengths by order (paper 001, Eq. 9)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxinter import _arrays, _checks
from jaxinter._results import OverBatch, long_frame
from jaxinter._variable_projection import PARTS, Fitted, fit_rows
from jaxinter.distributions import reference_tables, to_eigen
from jaxinter.interactions import Interactions
from jaxinter.stats import OrderStrength

__all__ = ["FitParameters", "FittedDistributions", "fit_distributions"]

NEGLIGIBLE = 0.05  # share of the strength below which the end of a part's range goes unsaid


class FitParameters(NamedTuple):
    """One number each, or one array: of the parameters of `fit_distributions`."""

    alpha: Any
    beta: Any
    delta: Any
    gamma: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FittedDistributions(OverBatch):
    """Strengths by order as decay plus spindle; batch axes ``[...]`` are those of the strengths.

    A pytree. Indices, len and iteration go over the batch.

    Attributes:
      alpha, beta: of the spindle (`spindle`); alpha is 1 where beta is 0.
      delta, gamma: of the decay (`decay_strength`); delta is 0 where gamma is 0.
      strength: what was fitted, ``[..., n]`` positive and negative.
      decay, spindle: the two parts, ``[..., n]``; gamma and beta are within them.
      residual: |strength - decay - spindle|, ``[..., n]`` by sign.
      relative_residual: ``[...]``, its L2 norm over that of strength, both signs; 0 where there is
        no strength.
      standard_errors: of the four parameters, for residuals that are independent and alike:
        ``s^2 (D^T D)^-1``, D the derivatives, s^2 the residual's variance. inf where the strengths
        do not determine a parameter: alpha where beta is 0, delta where gamma is 0, a parameter at
        the end of its range, fewer numbers than parameters. Good to some 2 %: the derivative by
        delta is that of a spline through the grid.
      decay_only, spindle_only: ``[...]``, the relative residuals of the best fits by one part.
      at_edge: bool, whether a parameter (alpha, delta) ended at the end of the range searched.
      parts: "both", "decay" or "spindle".
      reference_name: what I* was. The decay of a network is relative to it.
    """

    alpha: Any
    beta: Any
    delta: Any
    gamma: Any
    strength: OrderStrength
    decay: OrderStrength
    spindle: OrderStrength
    residual: OrderStrength
    relative_residual: Any
    standard_errors: FitParameters
    decay_only: Any
    spindle_only: Any
    at_edge: FitParameters
    parts: str = field(default="both", metadata={"static": True})
    reference_name: str = field(default="I*", metadata={"static": True})

    _shared = ("parts", "reference_name")

    @property
    def batch(self) -> tuple[int, ...]:
        return np.shape(self.alpha)

    @property
    def spindle_share(self) -> Any:
        """The spindle's part of the fitted strength, ``[...]`` in [0, 1]; 0 where there is none."""
        spindle, decay = (part.total.sum(axis=-1) for part in (self.spindle, self.decay))
        both = spindle + decay
        return np.divide(spindle, both, out=np.zeros_like(both), where=both > 0)[()]

    def bic(self) -> dict[str, Any]:
        """Bayes' information criterion of both parts, decay alone and spindle alone, ``[...]``.

        ``2n log(relative residual^2) + k log(2n)`` with k = 4, 2, 2; the least is preferred. Only
        of the fits asked for: all three with parts="both", else one.
        """
        size = 2 * self.decay.positive.shape[-1]
        residuals = {
            "both": (self.relative_residual, 4),
            "decay": (self.decay_only, 2),
            "spindle": (self.spindle_only, 2),
        }
        floor = np.finfo(float).eps
        return {
            name: 2 * size * np.log(np.maximum(r, floor)) + k * np.log(size)
            for name, (r, k) in residuals.items()
            if self.parts in ("both", name)
        }

    def __repr__(self) -> str:
        shape, says = np.shape(self.alpha), []
        if not shape:
            for f, error in zip(FitParameters._fields, self.standard_errors):
                says.append(f"{f} {getattr(self, f):.4g} +- {error:.1g}")
        residual = np.max(self.relative_residual, initial=0)
        says.append(f"relative residual {'<= ' if shape else ''}{residual:.2g}")
        batch = f"{'x'.join(map(str, shape))} fits: " if shape else ""
        return f"FittedDistributions({batch}{', '.join(says)}; reference {self.reference_name})"

    def to_pandas(self) -> Any:
        """A row a fit: sample, parameters, their errors, residuals, the spindle's share, at_edge.

        `sample` is the position in the batch (a tuple for several batch axes, 0 for one fit).
        """
        names = FitParameters._fields
        columns = {name: getattr(self, name) for name in names}
        columns |= {f"{name}_error": x for name, x in zip(names, self.standard_errors)}
        names = ("relative_residual", "decay_only", "spindle_only", "spindle_share")
        columns |= {name: getattr(self, name) for name in names}
        columns["at_edge"] = np.logical_or(self.at_edge.alpha, self.at_edge.delta)
        return long_frame(self.batch, {}, {name: np.asarray(x) for name, x in columns.items()})


def fit_distributions(
    strength: OrderStrength | Sequence[OrderStrength],
    reference: Any = None,
    *,
    parts: str = "both",
    alpha_range: tuple[float, float] = (0.2, 1.3),
    delta_max: float = 10**-2.5,
    n_deltas: int = 100,
    reference_name: str = "I*",
) -> FittedDistributions:
    """Strengths by order as the sum of a decay and a spindle, by least squares.

        minimise sum_m (A(m)+ - fit(m)+)^2 + (A(m)- - fit(m)-)^2
        fit(m)+- = decay(m; delta, gamma)+- + spindle(m; alpha, beta),   gamma, beta >= 0

    Every fit is searched on a grid of alpha (steps of 0.01) times `n_deltas` values of delta, 0
    among them, with the best gamma and beta of each; the best points of six ranges of delta are
    polished with optimistix's Levenberg-Marquardt. What is returned is evaluated exactly, is never
    worse than those points, nor both parts than one alone.

    Args:
      strength: from `order_strength` (its `.mean()` for a data set) or `new_strength`; every entry
        of its batch ``[...]`` is fitted. Or a sequence of them, as of checkpoints, of one shape.
      reference: I* of the decay: `Interactions` (all batch axes are samples), or effects
        ``[samples, 2, 2**n]``, AND then OR, one for all fits; or ``[..., samples, 2, 2**n]`` with
        the batch of `strength`, each fit's own. Which network it comes from decides what counts as
        decay: with the last checkpoint of a run, that checkpoint is all decay. Not needed for
        parts="spindle".
      parts: "both", or "decay" or "spindle" for one alone.
      alpha_range: the alphas searched.
      delta_max: the largest delta searched. Paper 001 takes at most 1e-3.
      n_deltas: values of delta on the grid, at least 6.
      reference_name: what to call I* in the result's text and plots.

    Returns:
      `FittedDistributions`, numpy float64. Batches of other sizes agree to rounding.

    Raises:
      ValueError: negative or non-finite strengths, a reference of other players or batch, a wrong
        range.

    Warns:
      UserWarning: alpha or delta of a fit at the end of its range, which would go beyond; if its
        part is 5 % of the fitted strength or more.

    >>> rng = np.random.default_rng(0)
    >>> last = rng.normal(size=(20, 2, 2**8)) * 0.5 ** ji.orders(8)  # I* of 20 samples
    >>> decay, noise = ji.decay_strength(last, 1e-4), ji.spindle(8, 0.8, 0.3)
    >>> planted = OrderStrength(decay.positive + noise, decay.negative + noise)
    >>> fit = fit_distributions(planted, last)
    >>> [round(float(x), 4) for x in (fit.alpha, fit.beta, fit.delta, fit.gamma)]
    [0.8, 0.3, 0.0001, 1.0]

    Source: paper 001, Eq. 9. One search serves all three fits: both, decay alone, spindle alone.
    """
    call = "fit_distributions"
    if isinstance(strength, (list, tuple)) and all(isinstance(x, OrderStrength) for x in strength):
        strength = _stacked(call, strength)
    if not isinstance(strength, OrderStrength):
        raise TypeError(
            f"{call}: strength must be an OrderStrength, or a sequence of them; got "
            f"{type(strength).__name__}. Use order_strength(interactions).mean()"
        )
    if parts not in PARTS:
        raise ValueError(f'{call}: parts must be "both", "decay" or "spindle"; got {parts!r}')
    given = _strengths(call, strength)
    *batch, _, n = given.shape
    try:
        low, high = (float(x) for x in alpha_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"{call}: alpha_range must be (low, high), 0 < low < high; got {alpha_range!r}"
        )
    n_deltas = _checks.count(call, "n_deltas", n_deltas, least=6)
    end = _checks.real(call, "delta_max", delta_max, positive=True)
    if reference is None:
        if parts != "spindle":
            raise ValueError(f"{call}: reference must be given for parts={parts!r}; got None")
        reference = np.zeros((1, 2, 1 << n))
    tables = _reference_of_fits(call, reference, tuple(batch), n)
    unit = np.abs(tables).max(initial=0.0) or 1.0
    alphas = np.append(np.arange(low, high, 0.01), high)
    target = given.reshape(-1, 2 * n)
    fitted = fit_rows(target, to_eigen(tables / unit), alphas, end, n_deltas, parts)
    for x in (fitted.parameters, fitted.errors):
        x[:, 3] /= unit  # gamma
    shares = fitted.parts.sum(axis=-1)[:, ::-1]  # spindle, whose alpha is first, and decay
    shares = shares > NEGLIGIBLE * shares.sum(axis=1, keepdims=True)
    told = (fitted.at_edge & shares).T
    for name, at_edge, last in zip(("alpha", "delta"), told, ((low, high), (0.0, end))):
        if at_edge.any():
            warnings.warn(
                f"{call}: {name} of {at_edge.sum()} of {len(target)} fits ended at the end of its "
                f"range, {last[0]:g} to {last[1]:g}; see at_edge",
                stacklevel=2,
            )
    return _result(fitted, given, parts, reference_name)


def _strengths(call: str, strength: OrderStrength) -> np.ndarray:
    """float64 ``[..., 2, n]``."""
    sides = [_arrays.host(call, "strength", x) for x in (strength.positive, strength.negative)]
    shapes = [side.shape for side in sides]
    if shapes[0] != shapes[1] or not shapes[0] or not shapes[0][-1]:
        raise ValueError(
            f"{call}: strength must have positive and negative sides of one shape, [..., n] with n "
            f"at least 1; got {shapes[0]} and {shapes[1]}"
        )
    for side in sides:
        _checks.float_dtype(call, "strength", side.dtype)
    given = np.stack(sides, axis=-2).astype(np.float64)
    bad = ~((given >= 0) & (given < np.inf))
    if bad.any():
        raise ValueError(f"{call}: strength must be finite and >= 0; got {given[bad][0]}")
    return given


def _stacked(call: str, strengths: Sequence[OrderStrength]) -> OrderStrength:
    shapes = sorted({tuple(x.positive.shape) for x in strengths})
    if len(shapes) != 1:
        raise ValueError(f"{call}: strength must hold strengths of one shape; got {shapes}")
    sides = (
        [_arrays.host(call, "strength", x) for x in side]
        for side in zip(*((x.positive, x.negative) for x in strengths))
    )
    return OrderStrength(*(np.stack(side) for side in sides))


def _reference_of_fits(call: str, reference: Any, batch: tuple, n: int) -> np.ndarray:
    """I* as ``[fits or 1, samples, 2, 2**n]``."""
    tables = reference_tables(call, "reference", reference)
    if tables.shape[-1] != 1 << n:
        raise ValueError(
            f"{call}: reference must be of the {n} players of strength; got a last axis of length "
            f"{tables.shape[-1]}"
        )
    lead = tables.shape[:-3]
    if isinstance(reference, Interactions) or not lead:  # one for all
        return tables.reshape(1, -1, 2, 1 << n)
    if lead != batch:
        raise ValueError(
            f"{call}: reference must be [samples, 2, 2**n], or lead with the batch of strength, "
            f"{batch}; got shape {tables.shape}"
        )
    return tables.reshape(-1, *tables.shape[-3:])


def _result(
    fitted: Fitted, given: np.ndarray, parts: str, reference_name: str
) -> FittedDistributions:
    """The fits in the shape of the batch of strengths ``[..., 2, n]``."""
    *batch, _, n = given.shape

    def shaped(x: np.ndarray) -> Any:
        return x.reshape((*batch, *x.shape[1:]))[()]

    def strength(x: np.ndarray) -> OrderStrength:
        sides = x.reshape(-1, 2, n)
        return OrderStrength(shaped(sides[:, 0]), shaped(sides[:, 1]))

    target = given.reshape(-1, 2 * n)
    decay, spindle = fitted.parts[:, 0], fitted.parts[:, 1]
    alpha, beta, delta, gamma = (shaped(x) for x in fitted.parameters.T)
    inside = np.zeros(len(target), bool)
    edges = (fitted.at_edge[:, 0], inside, fitted.at_edge[:, 1], inside)
    return FittedDistributions(
        alpha=alpha,
        beta=beta,
        delta=delta,
        gamma=gamma,
        strength=strength(target),
        decay=strength(decay),
        spindle=strength(spindle),
        residual=strength(abs(target - decay - spindle)),
        relative_residual=shaped(fitted.residuals[:, PARTS.index(parts)]),
        standard_errors=FitParameters(*(shaped(x) for x in fitted.errors.T)),
        decay_only=shaped(fitted.residuals[:, 1]),
        spindle_only=shaped(fitted.residuals[:, 2]),
        at_edge=FitParameters(*(shaped(x) for x in edges)),
        parts=parts,
        reference_name=reference_name,
    )
