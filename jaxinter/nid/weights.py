# SPDX-License-Identifier: Apache-2.0
"""NID 4. Anyone's feedforward network to the list of its weight matrices, first to last."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from flax import linen, nnx

from jaxinter import _arrays, _checks

__all__ = ["Weights", "read"]

INSTEAD = "Pass a list of weight matrices [out, in], first to last"
# What a chain of torch may hold beside its weights, in lower case without "_": functions of one
# unit each, and what only moves numbers. Softmax mixes units: as the last step alone.
ACTIVATIONS = """
    relu relu6 leakyrelu prelu rrelu elu selu celu gelu silu mish softplus softsign softshrink
    hardshrink tanhshrink hardtanh hardsigmoid hardswish sigmoid logsigmoid tanh threshold sin cos
""".split()
MOVES = """
    dropout dropout1d alphadropout featurealphadropout identity flatten squeeze view reshape
    contiguous clone detach to float double half bfloat16
""".split()
ONE = np.ones(1)
SOFTMAX = ("softmax", "logsoftmax")


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a feedforward network with at least one hidden layer.

    Attributes:
      matrices: float64 ``[out, in]`` each, first to last: ``y = W_L .. a(W_2 a(W_1 x))``.
      column_names: of the inputs, where the network knows them; else None.
    """

    matrices: list[np.ndarray]
    column_names: tuple | None = None


def read(call: str, network: Any) -> Weights:
    """The weight matrices of a network; biases and activations are of no account.

    Args:
      call: whose argument `weights` the network is, for messages.
      network: one of

        - a list or tuple of arrays ``[out, in]``; a last vector ``[in]`` is one output;
        - a flax nnx module, linen parameters or ``(module, variables)``: their Linear or Dense
          layers in the order they were assigned in, numbers as numbers (``layer2`` before
          ``layer10``). What happens between them cannot be seen: a residual is not found out;
        - a torch module, whose computation is traced and must be one chain of Linear layers;
          BatchNorm1d as in evaluation: its scale is folded into the layer before it (rows; columns
          of the next one where an activation lies between), as strengths are homogeneous in these;
        - a torch state_dict, in the order of nnx modules;
        - a fitted MLPClassifier or MLPRegressor of scikit-learn, or a Pipeline that ends in one;
        - anything with an `interaction_mlp`, which is read alone: the univariate networks beside
          it create no interactions.

    Returns:
      `Weights`.

    Raises:
      ValueError: not such a chain, shapes that do not chain, no hidden layer, NaN or infinity, an
        estimator that is not fitted.
      TypeError: none of these.

    >>> read("read", [[[1, 2, 3], [4, 5, 6]], [1, -1]]).matrices[1]
    array([[ 1., -1.]])
    """
    if (inner := _interaction_mlp(network)) is not None:
        return read(call, inner)
    names: tuple | None = None
    if isinstance(network, tuple) and len(network) == 2 and isinstance(network[1], Mapping):
        network = network[1]  # linen (module, variables)
    if _is_torch_module(network):
        found = _of_torch(call, network)
    elif isinstance(network, nnx.Module) and not isinstance(network, nnx.List):
        found = _of_nnx(call, network)
    elif isinstance(network, Mapping):
        found = _of_mapping(call, network)
    elif _is_a(network, "sklearn.neural_network") or _is_a(network, "sklearn.pipeline"):
        found, names = _of_sklearn(call, network)
    elif isinstance(network, (list, tuple)):
        found = [(f"weights[{i}]", x) for i, x in enumerate(network)]
    else:
        hint = ". Pass its parameters" if isinstance(network, linen.Module) else ""
        if hasattr(network, "rankings"):
            hint = ", whose `rankings` are those of its networks"
        raise TypeError(
            f"{call}: weights must be a list of matrices [out, in], a flax nnx, torch or "
            "scikit-learn network, linen parameters or a state_dict; got "
            f"{type(network).__name__}{hint}"
        )
    return Weights(_chain(call, found), names)


def _chain(call: str, found: Sequence[tuple[str, Any]]) -> list[np.ndarray]:
    """Named arrays as float64 matrices that chain."""
    last = len(found) - 1
    matrices = [_matrix(call, name, x, 0 < i == last) for i, (name, x) in enumerate(found)]
    if len(matrices) < 2:
        raise ValueError(
            f"{call}: weights must hold at least two matrices, as interactions arise in hidden "
            f"layers; got {len(matrices)}"
        )
    if _chains(matrices):
        return matrices
    vector = np.ndim(found[-1][1]) == 1
    turned = [W if vector and W is matrices[-1] else W.T for W in matrices]
    hint = ": these look like [in, out] kernels: pass W.T" if _chains(turned) else ""
    shapes = ", ".join(f"{name} {W.shape}" for (name, _), W in zip(found, matrices))
    raise ValueError(
        f"{call}: weights must chain, [out, in] each with the in of one the out of the one before; "
        f"got {shapes}{hint}"
    )


def _chains(matrices: list[np.ndarray]) -> bool:
    return all(a.shape[0] == b.shape[1] for a, b in pairwise(matrices))


def _matrix(call: str, name: str, x: Any, last: bool) -> np.ndarray:
    try:
        W = _arrays.host(call, name, x)
    except ValueError:  # numpy: not of one shape
        W = np.empty(0, object)
    if W.dtype.kind == "O":
        raise TypeError(f"{call}: {name} must be a matrix of numbers; got {type(x).__name__}")
    dtype = _checks.float_dtype(call, name, W.dtype)
    if W.ndim == 1 and last:
        W = W[None]
    if W.ndim != 2 or not W.size:
        raise ValueError(f"{call}: {name} must be a matrix [out, in]; got shape {W.shape}")
    if not np.isfinite(W := W.astype(dtype).astype(np.float64)).all():
        at = tuple(np.argwhere(~np.isfinite(W))[0].tolist())
        raise ValueError(f"{call}: {name} must be finite; got {W[at]} at {at}")
    return W


def _interaction_mlp(network: Any) -> Any:
    """The part of an MLP-M that creates interactions, or None."""
    name = "interaction_mlp"
    if not isinstance(network, Mapping):
        return getattr(network, name, None)
    at = len(name) + 1
    under = {k[at:]: x for k, x in network.items() if str(k).startswith(f"{name}.")}
    return under or network.get("params", network).get(name)


def _is_a(x: Any, module: str) -> bool:
    """Whether a class of x is of this module, without importing it."""
    return any(c.__module__.startswith(module) for c in type(x).__mro__)


def _is_torch_module(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.nn.Module)


def _ordered(names: Iterable[str]) -> list[str]:
    """Names in order of appearance, but numbers in them as numbers: 2 before 10."""
    seen: dict[str, int] = {}

    def key(name: str) -> tuple[int, ...]:
        parts = re.split(r"(\d+)", name)  # texts at even places, numbers at odd ones
        return tuple(
            int(part) if i % 2 else seen.setdefault(part, len(seen)) for i, part in enumerate(parts)
        )

    return sorted(names, key=key)


def _in_order(layers: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, layers[name]) for name in _ordered(layers)]


def _refused(call: str, name: str, kind: str) -> ValueError:
    return ValueError(
        f"{call}: weights must be those of a chain of linear layers; got {kind} at {name!r}. "
        f"{INSTEAD}"
    )


def _of_nnx(call: str, network: Any) -> list[tuple[str, Any]]:
    layers: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(path: tuple, node: Any) -> None:
        if id(node) in seen:  # one module under two names
            return
        seen.add(id(node))
        if type(node) is nnx.Linear:
            layers[".".join(map(str, path))] = node.kernel[...].T
            return
        if isinstance(node, Sequence):
            children: Iterable = enumerate(node)
        else:
            children = (node if isinstance(node, Mapping) else vars(node)).items()
        for key, child in children:
            at = (*path, key)
            if isinstance(child, nnx.Variable) and not isinstance(child, nnx.RngState):
                raise _refused(call, ".".join(map(str, at)), f"a {type(node).__name__}")
            if isinstance(child, (nnx.Module, list, tuple, dict)):
                visit(at, child)

    visit((), network)
    return _in_order(layers)


def _of_mapping(call: str, network: Mapping) -> list[tuple[str, Any]]:
    """A torch state_dict, whose keys are flat, or nested linen parameters."""
    if any(isinstance(key, str) and key.endswith("weight") for key in network):
        return _of_state_dict(call, network)
    layers: dict[str, Any] = {}

    def visit(path: tuple[str, ...], node: Mapping) -> None:
        name = "/".join(path)
        held = {key: x for key, x in node.items() if not isinstance(x, Mapping)}
        if held:
            kernel = held.get("kernel")
            if kernel is None or set(held) - {"kernel", "bias"} or np.ndim(kernel) != 2:
                raise _refused(call, name, f"parameters {', '.join(map(str, held))}")
            kernel = kernel[...] if isinstance(kernel, nnx.Variable) else kernel
            layers[name] = _arrays.host(call, name, kernel).T
        for key, child in node.items():
            if isinstance(child, Mapping):
                visit((*path, str(key)), child)

    visit((), network.get("params", network))
    return _in_order(layers)


def _of_state_dict(call: str, network: Mapping) -> list[tuple[str, Any]]:
    layers = {}
    for key, x in network.items():
        layer, _, name = str(key).rpartition(".")
        ndim = np.ndim(x)
        if name == "weight" and ndim == 2:
            layers[key] = x
        elif name.startswith("running_") or (
            ndim == 1 and name == "weight" and f"{layer}.bias" in network
        ):
            raise ValueError(
                f"{call}: weights must not hold a normalisation in a state_dict; got {key!r}. Pass "
                "the module itself, which is traced"
            )
        elif ndim >= 2:
            raise _refused(call, str(key), f"an array of shape {tuple(np.shape(x))}")
    return _in_order(layers)


def _of_sklearn(call: str, network: Any) -> tuple[list[tuple[str, Any]], tuple | None]:
    mlp = network.steps[-1][1] if hasattr(network, "steps") else network
    if not _is_a(mlp, "sklearn.neural_network") or not hasattr(mlp, "hidden_layer_sizes"):
        raise TypeError(
            f"{call}: weights must be an MLPClassifier or MLPRegressor, or a Pipeline that ends in "
            f"one; got {type(mlp).__name__}"
        )
    if not hasattr(mlp, "coefs_"):
        raise ValueError(
            f"{call}: weights must be of a fitted {type(mlp).__name__}; call fit first"
        )
    names = getattr(mlp, "feature_names_in_", None)
    fitted = getattr(network, "feature_names_in_", None)
    if names is None and fitted is not None:  # the steps before it made an array of a frame
        try:
            names = network[:-1].get_feature_names_out()
        except (AttributeError, ValueError):  # a step that does not know
            names = fitted
        if len(names) != len(mlp.coefs_[0]):
            names = None
    layers = [(f"coefs_[{i}]", W.T) for i, W in enumerate(mlp.coefs_)]
    return layers, None if names is None else tuple(names)


def _of_torch(call: str, network: Any) -> list[tuple[str, Any]]:
    """By the graph of the computation, which must be one chain."""
    from torch import fx, nn

    try:
        graph = fx.Tracer().trace(network)
    except Exception as error:
        raise ValueError(
            f"{call}: weights must be a torch module that torch.fx can trace ({error}). {INSTEAD}"
        ) from error
    modules = dict(network.named_modules())
    layers: dict[str, np.ndarray] = {}
    used: set[str] = set()
    shapes: set[Any] = set()  # nodes that hold shapes, not values
    at: Any = None  # the node that the chain has come to
    below = ""  # the layer whose rows a BatchNorm1d scales: no activation since
    scale = ONE  # of the columns of the next layer
    softmax = ""
    for node in graph.nodes:
        if node.op == "placeholder":
            at = at or (node if node.users else None)
            continue
        if _is_shape(node):
            shapes.add(node)
            continue
        module = modules.get(node.target) if node.op == "call_module" else None
        target = getattr(node.target, "__name__", node.target)
        kind = str(target if module is None else type(module).__name__)
        inputs = [x for x in node.all_input_nodes if x not in shapes]
        if inputs != [at]:
            raise ValueError(
                f"{call}: weights must be those of one chain from input to output; got {kind} "
                f"({node.name!r}) of {' and '.join(x.name for x in inputs) or 'no input'}, not of "
                f"{at.name if at else 'the input'} alone. {INSTEAD}"
            )
        at, layer = node, str(node.target)
        plain = kind.lower().replace("_", "")
        if isinstance(module, (nn.Linear, nn.BatchNorm1d)):
            if softmax:
                raise _refused(call, softmax, "a softmax before the end")
            if layer in used:
                raise _refused(call, layer, f"a second use of a {kind}")
            used.add(layer)
        if isinstance(module, nn.Linear):
            W = module.weight.detach().cpu().double().numpy()
            layers[layer] = W * _fitting(call, layer, scale, W.shape[1])
            below, scale = layer, ONE
        elif isinstance(module, nn.BatchNorm1d):
            factor = _batch_norm(call, layer, module)
            if below:
                rows = _fitting(call, layer, factor, len(layers[below]))
                layers[below] = layers[below] * rows[:, None]
            else:
                scale = factor * _fitting(call, layer, scale, len(factor))
        elif plain in ACTIVATIONS or plain in SOFTMAX:
            below = ""
            softmax = softmax or (node.name if plain in SOFTMAX else "")
        elif plain not in MOVES and node.op != "output":
            raise _refused(call, node.name, kind)
        elif node.op == "output" and not isinstance(node.args[0], fx.Node):
            raise _refused(call, node.name, f"a {type(node.args[0]).__name__}")
    if scale is not ONE:
        raise _refused(call, "output", "a BatchNorm1d after the last activation")
    return list(layers.items())


def _batch_norm(call: str, name: str, module: Any) -> np.ndarray:
    """|gamma| / sqrt(var + eps): the scale of each unit in evaluation."""
    if module.running_var is None:
        raise _refused(call, name, "a BatchNorm1d without running statistics")
    scale = (module.running_var.detach().cpu().double().numpy() + module.eps) ** -0.5
    return scale * (np.abs(module.weight.detach().cpu().double().numpy()) if module.affine else 1)


def _fitting(call: str, name: str, scale: np.ndarray, units: int) -> np.ndarray:
    if len(scale) not in (1, units):
        raise _refused(call, name, f"a BatchNorm1d of {len(scale)} channels, not of {units} units")
    return scale


def _is_shape(node: Any) -> bool:
    """x.shape, x.size(), x.dim(), or an entry of one."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    name = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
    return (name == "getattr" and node.args[1] in ("shape", "ndim")) or (
        name == "getitem" and _is_shape(node.args[0])
    )
