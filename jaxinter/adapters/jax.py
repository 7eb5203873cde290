# SPDX-License-Identifier: Apache-2.0
"""JAX functions and flax modules: mask, assemble, run and measure in one jitted program."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from jaxinter import _arrays
from jaxinter.adapters.model import CALL, Measure, Model, logits_of, one_row
from jaxinter.assemble import masked_inputs


class JaxModel(Model):
    """A function; ``(function, parameters)``; an nnx module; linen ``(module, variables)``.

    The program is compiled once for each model, shape and measure: parameters, input, baseline,
    players and target are its arguments. An nnx module is copied in evaluation mode, and the
    original left as it is.
    """

    def __init__(self, model: Any, layer: Any = None):
        super().__init__(model)
        parts: tuple[Any, Any] = (None, model) if layer is None else _split(model, layer)
        self.lower, upper = parts
        self.apply, self.parameters = _apply(upper)
        leaves = [p for p in jax.tree.leaves(self.parameters) if hasattr(p, "dtype")]
        floats = [p.dtype for p in leaves if jnp.issubdtype(p.dtype, jnp.floating)]
        self.dtype = floats[0] if floats else None
        device = next(filter(None, map(_arrays.device_of, leaves)), jax.devices()[0])
        self.on_cpu = device.platform == "cpu"

    def place(self, x: Any) -> jax.Array:
        x = _arrays.as_jax(CALL, "x", x)
        cast = self.dtype is not None and jnp.issubdtype(x.dtype, jnp.floating)
        return x.astype(self.dtype) if cast else x

    def features(self, x: Any) -> jax.Array:
        """What the lower part gives for one input: x of the rest of the network."""
        apply, parameters = _apply(self.lower)
        return _outputs(apply, parameters, self.place(x)[None])[0]

    def forward(self, inputs: Any) -> jax.Array:
        return _outputs(self.apply, self.parameters, inputs)

    def first(self, x: Any) -> tuple[jax.Array, int]:
        return self.forward(one_row(x)), _row_bytes(self.apply, self.parameters, x)

    def worth(
        self, x: Any, players: np.ndarray, baseline: Any, measure: Measure, target: Any
    ) -> Callable[[np.ndarray], Any]:
        marginal = baseline.ndim > x.ndim
        at = jnp.asarray(0 if target in (None, "all") else target)
        fixed = x, baseline, jnp.asarray(players, jnp.int32), at
        program = partial(_worth, self.apply, measure, marginal, self.parameters)
        return lambda masks: program(masks, *fixed)

    def gradient_value(self, measure: Measure, target: Any) -> Callable[[Any], Any]:
        return lambda inputs: _measured(self.apply, measure, self.parameters, inputs, target)


@partial(jax.jit, static_argnums=0)
def _outputs(apply: Any, parameters: Any, inputs: Any) -> jax.Array:
    return logits_of(apply(parameters, inputs))


@partial(jax.jit, static_argnums=(0, 1))
def _measured(apply: Any, measure: Measure, parameters: Any, inputs: Any, target: Any) -> Any:
    return measure(logits_of(apply(parameters, inputs)), target)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _worth(
    apply: Any,
    measure: Measure,
    marginal: bool,
    parameters: Any,
    masks: Any,
    x: Any,
    baseline: Any,
    players: Any,
    target: Any,
) -> jax.Array:
    def of(row: Any) -> Any:
        inputs = masked_inputs(masks, x, row, players)
        return _measured(apply, measure, parameters, inputs, target)

    return jax.lax.map(of, baseline).mean(axis=0) if marginal else of(baseline)


def _row_bytes(apply: Any, parameters: Any, x: Any) -> int:
    """All that a row computes, as if nothing were freed or fused: by abstract evaluation."""

    def held(rows: int) -> int:
        inputs = jax.tree.map(lambda a: jax.ShapeDtypeStruct((rows, *a.shape), a.dtype), x)
        program = _outputs.trace(apply, parameters, inputs).jaxpr  # kept from sample to sample
        return _bytes(program.jaxpr) + rows * sum(a.nbytes for a in jax.tree.leaves(x))

    return max(held(2) - held(1), 1)


def _bytes(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [p.jaxpr if hasattr(p, "jaxpr") else p for p in equation.params.values()]
        inner = [p for p in inner if hasattr(p, "eqns")]
        if inner:
            total += sum(map(_bytes, inner))
        else:
            shapes = [v.aval for v in equation.outvars if hasattr(v.aval, "shape")]
            total += sum(a.size * a.dtype.itemsize for a in shapes)
    return total


@dataclass(frozen=True)
class _Nnx:
    """An nnx module as a function of its state; equal for modules of one structure."""

    graph: Any

    def __call__(self, state: Any, inputs: Any) -> Any:
        return nnx.merge(self.graph, state)(inputs)


@dataclass(frozen=True)
class _Linen:
    """A linen module as a function of its variables."""

    module: linen.Module

    def __call__(self, variables: Any, inputs: Any) -> Any:
        return self.module.apply(variables, inputs)


class _Plain:
    """A function without parameters of its own; by its identity, as it may not hash."""

    def __init__(self, function: Any):
        self.function = function

    def __call__(self, parameters: Any, inputs: Any) -> Any:
        return self.function(inputs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Plain) and self.function is other.function

    def __hash__(self) -> int:
        return id(self.function)


def _apply(model: Any) -> tuple[Any, Any]:
    """A function of (parameters, inputs) that hashes by what it is, and the parameters."""
    if isinstance(model, tuple) and len(model) == 2:
        module, parameters = model
        return _Linen(module) if isinstance(module, linen.Module) else module, parameters
    if isinstance(model, nnx.Module):
        copy = nnx.merge(*nnx.split(model))
        copy.eval()
        graph, state = nnx.split(copy)
        return _Nnx(graph), state
    if isinstance(model, linen.Module):
        if model.scope is None:
            raise ValueError(
                f"{CALL}: model of flax linen must be (module, variables), or bound to them; got "
                f"{type(model).__name__} without variables"
            )
        module, variables = model.unbind()
        return _Linen(module), variables
    return _Plain(model), ()


def _split(model: Any, layer: Any) -> tuple[Any, Any]:
    """The network below and above a layer: of an `nnx.Sequential`, by its number."""
    if not isinstance(model, nnx.Sequential) or not isinstance(layer, int):
        raise ValueError(
            f"{CALL}: layer must be the number of a layer of an nnx.Sequential; got {layer!r} of "
            f"{type(model).__name__}. Of other JAX models, give the upper part as model and the "
            "lower part's output as x"
        )
    layers = list(model.layers)
    if not 0 <= layer < len(layers) - 1:
        raise ValueError(f"{CALL}: layer must be from 0 to {len(layers) - 2}; got {layer}")
    return nnx.Sequential(*layers[: layer + 1]), nnx.Sequential(*layers[layer + 1 :])
