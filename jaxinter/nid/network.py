# SPDX-License-Identifier: Apache-2.0
"""NID 2. Networks whose weights are read, MLP and MLP-M, and whose terms are drawn, MLP-Cutoff."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxinter import _checks

__all__ = ["MLP", "AdditiveMLP", "MainEffects"]

REGULARIZERS = (
    "l1", "l2", "group_inputs", "group_units", "sparse_group_inputs", "sparse_group_units"
)  # fmt: skip
UNIVARIATE = (10, 10, 10)  # hidden units of a network of one column
DEVIATION = 0.1  # of the normal numbers, cut at two of it, that weights and biases start from
START = nnx.initializers.truncated_normal(DEVIATION)


class MLP(nnx.Module):
    """y = w_y . h_L + b_y,  h_l = relu(W_l h_{l-1} + b_l),  h_0 = x;  ``[rows, inputs]`` to
    ``[rows, outputs]``. Kernels are flax's, ``[in, out]``: W_l is `layers[l - 1].kernel.T`.

    Source: paper 004, 2.3.
    """

    def __init__(self, sizes: tuple[int, ...], *, rngs: nnx.Rngs):
        start: dict[str, Any] = {"kernel_init": START, "bias_init": START}
        self.layers = nnx.List(nnx.Linear(*ends, **start, rngs=rngs) for ends in pairwise(sizes))

    def __call__(self, x: jax.Array) -> jax.Array:
        *hidden, last = self.layers
        for layer in hidden:
            x = jax.nn.relu(layer(x))
        return last(x)


class MainEffects(nnx.Module):
    """sum_i g_i(x_i): a network of 10, 10 and 10 hidden units for each numeric column, a number
    for each category of the others: with one input a category, all that one column can do.

    Kernels are ``[columns, out, in]``: with the rows last, the small products are twice as fast.

    Source: paper 004, 4.1.
    """

    def __init__(self, architecture: "Architecture", *, rngs: nnx.Rngs):
        numeric, categories = architecture.numeric, architecture.categories
        self.kernels: nnx.List = nnx.List()
        self.biases: nnx.List = nnx.List()
        for inputs, outputs in pairwise((1, *UNIVARIATE, architecture.outputs)):
            self.kernels.append(_parameter(rngs, len(numeric), outputs, inputs))
            self.biases.append(_parameter(rngs, len(numeric), outputs, 1))
        self.biases.pop()  # the output has one already
        self.category = _parameter(rngs, len(categories), architecture.outputs)
        self.numeric, self.categories = numeric, categories

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.zeros((len(x), self.category.shape[-1]), x.dtype)
        if self.numeric:
            y += self.of_columns(x).sum(0).T
        if self.categories:
            y += x[:, np.array(self.categories)] @ self.category[...]
        return y

    def of_columns(self, x: jax.Array) -> jax.Array:
        """g_i(x_i) of each numeric column, ``[columns, outputs, rows]``."""
        h = x[:, np.array(self.numeric)].T[:, None, :]
        *hidden, last = (kernel[...] for kernel in self.kernels)
        for kernel, bias in zip(hidden, self.biases):
            # The product of one input by hand: a matrix product of it is four times as slow.
            product = kernel * h if kernel.shape[-1] == 1 else kernel @ h
            h = jax.nn.relu(product + bias[...])
        if last.shape[1] == 1:
            return (last.swapaxes(1, 2) * h).sum(1, keepdims=True)
        return last @ h


class AdditiveMLP(nnx.Module):
    """A sum of networks, ``[rows, inputs]`` to ``[rows, outputs]``.

    MLP:         interaction_mlp(x)
    MLP-M:       interaction_mlp(x) + sum_i g_i(x_i)
    MLP-Cutoff:  sum_i g_i(x_i) + sum_k g'_k(x_{I_k}): `interaction_mlp` holds all g'_k, stacked on
                 a first axis, and `masks` ``[k, inputs]`` what each of them sees; `bias`, as
                 columns and interactions may be none

    Source: paper 004, 4.1 and 4.3.
    """

    def __init__(self, architecture: "Architecture", *, rngs: nnx.Rngs):
        sizes = (architecture.inputs, *architecture.hidden, architecture.outputs)
        self.main_effects: Any = nnx.data(None)
        self.masks: Any = nnx.data(None)
        self.bias: Any = nnx.data(None)
        if architecture.main_effects:
            self.main_effects = MainEffects(architecture, rngs=rngs)
        if architecture.stacked is None:
            self.interaction_mlp = MLP(sizes, rngs=rngs)
        else:
            start = nnx.vmap(lambda rngs: MLP(sizes, rngs=rngs))
            self.interaction_mlp = start(rngs.split(architecture.stacked))
            self.masks = nnx.Variable(jnp.zeros((architecture.stacked, sizes[0]), jnp.float32))
            self.bias = nnx.Param(jnp.zeros(architecture.outputs, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.masks is None:
            y = self.interaction_mlp(x)
        else:
            y = self.of_interactions(x).sum(0) + self.bias[...][None]
        return y if self.main_effects is None else y + self.main_effects(x)

    def of_interactions(self, x: jax.Array) -> jax.Array:
        """g'_k of MLP-Cutoff, ``[k, rows, outputs]``; zero where k sees nothing."""
        masks = self.masks[...]
        # nnx.vmap would refuse to be called from within lax.map.
        y = jax.vmap(MLP.__call__)(self.interaction_mlp, masks[:, None, :] * x[None])
        return y * masks.max(1)[:, None, None]

    def penalty(self, regularizer: str, columns: np.ndarray) -> jax.Array:
        """R(W), by which a constant is multiplied; of the weights alone, not the biases.

        =====================  =========================================================
        l1                     sum |w| over the weights of the interacting network
        l2                     sum w^2 over them, and over those of the main effects in MLP-Cutoff
        group_inputs           sum_g sqrt(|g|) ||w_g||_2 over the first layer's weights of each
                               column, and sum |w| over the later layers
        group_units            the same, a group for each unit of the first layer
        sparse_group_...       that, and sum |w| over the first layer too
        =====================  =========================================================

        Source: paper 004, 4.1 and appendix G; Scardapane et al. 2017, Eq. 5 and 7.
        """
        kernels = [layer.kernel[...] for layer in self.interaction_mlp.layers]
        if regularizer == "l2":
            if self.masks is not None and self.main_effects is not None:
                kernels += [kernel[...] for kernel in self.main_effects.kernels]
                kernels.append(self.main_effects.category[...])
            return sum((jnp.sum(w * w) for w in kernels), jnp.float32(0))
        first, *later = kernels
        penalised = kernels if regularizer == "l1" or "sparse" in regularizer else later
        result = sum((jnp.sum(jnp.abs(w)) for w in penalised), jnp.float32(0))
        if regularizer.endswith("inputs"):
            squares = jax.ops.segment_sum((first * first).sum(1), columns, columns.max() + 1)
            sizes = np.bincount(columns) * first.shape[1]
        elif regularizer.endswith("units"):
            squares, sizes = (first * first).sum(0), np.full(first.shape[1], first.shape[0])
        else:
            return result
        some = squares > 0  # the norm of zeros has a gradient of 0 here, not NaN
        norms = jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0)
        return result + jnp.sum(np.sqrt(sizes).astype(np.float32) * norms)


def _parameter(rngs: nnx.Rngs, *shape: int) -> nnx.Param:
    return nnx.Param(START(rngs.params(), shape, jnp.float32))


@dataclass(frozen=True)
class Architecture:
    """What a network is built from."""

    columns: tuple[int, ...]  # the column that each input belongs to
    outputs: int  # 1, or the number of classes where there are more than two
    hidden: tuple[int, ...]
    main_effects: bool
    stacked: int | None = None  # interaction networks of an MLP-Cutoff

    @property
    def inputs(self) -> int:
        return len(self.columns)

    @property
    def numeric(self) -> tuple[int, ...]:
        """Inputs that are columns of their own."""
        sizes = np.bincount(self.columns)
        return tuple(i for i, column in enumerate(self.columns) if sizes[column] == 1)

    @property
    def categories(self) -> tuple[int, ...]:
        """Inputs that are categories."""
        return tuple(sorted(set(range(self.inputs)) - set(self.numeric)))


@lru_cache(maxsize=64)
def empty(architecture: Architecture) -> AdditiveMLP:
    """The network with shapes for numbers."""
    return nnx.eval_shape(lambda: AdditiveMLP(architecture, rngs=nnx.Rngs(0)))


def network(architecture: Architecture, state: Any) -> AdditiveMLP:
    return nnx.merge(nnx.graphdef(empty(architecture)), state)


def hidden_sizes(call: str, hidden: Any) -> tuple[int, ...]:
    """The argument `hidden`, checked."""
    try:
        sizes = tuple(_checks.count(call, "hidden", units, least=1) for units in hidden)
    except TypeError:
        sizes = ()
    if not sizes:
        raise ValueError(
            f"{call}: hidden must be the units of one or more hidden layers, as (140, 100, 60, 20);"
            f" got {hidden!r}"
        )
    return sizes
