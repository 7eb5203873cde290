# SPDX-License-Identifier: Apache-2.0
"""The torch door: CPU and CUDA tensors, no copy; transforms differentiable any number of times."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.autograd.forward_ad import unpack_dual

from jaxinter import _arrays, _gpu, masks, transform
from jaxinter._primitives import Matrix2


class _SubsetTransform(torch.autograd.Function):
    """A linear map: its backward is the same map with the 2x2 factor transposed."""

    @staticmethod
    def forward(values, call, argument, matrix):
        return _transformed(call, argument, matrix, values, None)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.names, ctx.matrix = inputs[1:3], inputs[3]

    @staticmethod
    def backward(ctx, cotangent):
        a00, a01, a10, a11 = ctx.matrix
        grad = _SubsetTransform.apply(cotangent, *ctx.names, (a00, a10, a01, a11))
        return grad, None, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        return _SubsetTransform.apply(tangent, *ctx.names, ctx.matrix)

    @staticmethod
    def vmap(info, in_dims, values, *rest):
        return _SubsetTransform.apply(values.movedim(in_dims[0], 0), *rest), 0


def _transformed(
    call: str, argument: str, matrix: Matrix2, values: torch.Tensor, out: torch.Tensor | None
) -> torch.Tensor:
    """The kernel, on the device of the tensor's memory."""
    if _gpu.takes(call, argument, values):
        return _gpu.subset_transform(call, argument, matrix, values, out)
    array = _arrays.to_numpy(call, argument, values)
    target = None if out is None else _arrays.writable_numpy(call, out)
    result = transform.apply_numpy(call, argument, matrix, array, target)
    return torch.from_numpy(result) if out is None else out


def apply(call: str, argument: str, matrix: Matrix2, values: torch.Tensor, out: Any) -> Any:
    """One transform of a tensor; see `transform._apply`."""
    if out is None:
        if values.is_floating_point() and values.dtype.itemsize < 4:
            values = values.float()
        if not _follows(values):
            try:  # nothing to differentiate: ten times less overhead
                return _SubsetTransform.forward(values, call, argument, matrix)
            except RuntimeError:
                pass  # a tensor of torch.func.vmap, without memory of its own
        return _SubsetTransform.apply(values, call, argument, matrix)
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"{call}: out must be a torch tensor; got {type(out).__name__}")
    if values.requires_grad or unpack_dual(values).tangent is not None:
        raise ValueError(f"{call}: out cannot be used with tensors that require grad; detach them")
    if out.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{call}: out must be float32 or float64; got dtype {out.dtype}")
    return _transformed(call, argument, matrix, values, out)


def _follows(tensor: torch.Tensor) -> bool:
    """Whether a derivative by this tensor is due."""
    if tensor.requires_grad and torch.is_grad_enabled():
        return True
    return unpack_dual(tensor).tangent is not None


def and_or_interactions(
    call: str, arrays: dict[str, Any], dtype: np.dtype, n: int
) -> tuple[torch.Tensor, ...]:
    """See `transform.and_or_interactions`: the kernel, or a composition where gradients are due."""
    wide = torch.float64 if dtype == np.float64 else torch.float32
    device = next(x.device for x in arrays.values() if _arrays.is_torch(x))
    given = []
    for name, x in arrays.items():
        if not _arrays.is_torch(x):
            x = _arrays.as_torch(call, name, x).to(device)
        if x.device != device:
            raise ValueError(f"{call}: {name} must be on {device}; got a tensor on {x.device}")
        given.append(x.to(wide))
    shape = given[0].shape
    v, gamma, *rest = given = [x.broadcast_to(shape) for x in given]
    if not any(_follows(x) for x in given):
        try:
            if _arrays.on_cuda(v):
                return _gpu.and_or_effects(call, dict(zip(arrays, given)), dtype, n)
            numpy_arrays = [_arrays.to_numpy(call, name, x) for name, x in zip(arrays, given)]
        except RuntimeError as error:
            if "_cuda." in str(error):
                raise  # of the kernel; others are of torch.func's tensors, without memory
        else:
            parts = transform.and_or_numpy(numpy_arrays, dtype, n)
            return tuple(torch.from_numpy(x).to(wide) for x in parts)
    half = (v - rest[0] if rest else v) / 2
    effects = transform.mobius(half + gamma), transform.or_interactions(half - gamma)
    order_of = torch.from_numpy(masks.orders(n)).to(device)
    zeros = torch.zeros((*shape[:-1], n + 1), dtype=torch.float64, device=device)
    sums = []
    for sign in (1, -1):
        both = sum(torch.where(sign * x <= 0, 0, sign * x) for x in effects)
        sums.append(zeros.index_add(-1, order_of, both.double())[..., 1:].to(wide))
    return *effects, *sums


class _Sparsity(torch.autograd.Function):
    """A number a game, and how its gradient comes back."""

    @staticmethod
    def forward(ctx, values, solve):
        optimum, ctx.pull_back = solve(values.detach())
        return torch.from_numpy(np.array(optimum))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent):
        return torch.from_numpy(ctx.pull_back(cotangent.numpy())), None


def sparsity(values: torch.Tensor, solve: Callable[[Any], tuple]) -> torch.Tensor:
    """See `jaxinter.sparsity`; solve gives the optimum and what takes cotangents back."""
    return _Sparsity.apply(values, solve)
