# SPDX-License-Identifier: Apache-2.0
"""The torch door of the transforms: CPU tensors, no copy, differentiable any number of times."""

from typing import Any

import torch
from torch.autograd.forward_ad import unpack_dual

from jaxinter import _arrays, masks, transform
from jaxinter._primitives import Matrix2


class _SubsetTransform(torch.autograd.Function):
    """A linear map: its backward is the same map with the 2x2 factor transposed."""

    @staticmethod
    def forward(values, call, argument, matrix):
        array = _arrays.to_numpy(call, argument, values)
        return torch.from_numpy(transform.apply_numpy(call, argument, matrix, array, None))

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


def apply(call: str, argument: str, matrix: Matrix2, values: torch.Tensor, out: Any) -> Any:
    """One transform of a tensor; see `transform._apply`."""
    if out is None:
        if values.is_floating_point() and values.dtype.itemsize < 4:
            values = values.float()
        if not values.requires_grad and unpack_dual(values).tangent is None:
            try:  # nothing to differentiate: ten times less overhead
                return _SubsetTransform.forward(values, call, argument, matrix)
            except RuntimeError:
                pass  # a tensor of torch.func.vmap, without memory of its own
        return _SubsetTransform.apply(values, call, argument, matrix)
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"{call}: out must be a torch tensor; got {type(out).__name__}")
    if values.requires_grad or out.requires_grad:
        raise ValueError(f"{call}: out cannot be used with tensors that require grad; detach them")
    if out.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{call}: out must be float32 or float64; got dtype {out.dtype}")
    array, target = _arrays.to_numpy(call, argument, values), _arrays.to_numpy(call, "out", out)
    transform.apply_numpy(call, argument, matrix, array, target)
    return out


def and_or_interactions(call: str, arrays: dict[str, Any], n: int) -> tuple[torch.Tensor, ...]:
    """See `transform.and_or_interactions`: the kernel, or a composition where gradients are due."""
    given = [x if isinstance(x, torch.Tensor) else torch.as_tensor(x) for x in arrays.values()]
    dtypes = [
        torch.float64 if not x.is_floating_point() else max(x.dtype, torch.float32, key=_width)
        for x in given
    ]
    dtype = max(dtypes, key=_width)
    shape = given[0].shape
    given = [x.to(dtype).broadcast_to(shape) for x in given]
    if not any(x.requires_grad or unpack_dual(x).tangent is not None for x in given):
        try:
            numpy_arrays = [_arrays.to_numpy(call, name, x) for name, x in zip(arrays, given)]
        except RuntimeError:
            pass  # tensors of torch.func, without memory of their own
        else:
            parts = transform.and_or_numpy(numpy_arrays, numpy_arrays[0].dtype, n)
            return tuple(torch.from_numpy(x).to(dtype) for x in parts)
    v, gamma, *rest = given
    half = (v - rest[0] if rest else v) / 2
    effects = transform.mobius(half + gamma), transform.or_interactions(half - gamma)
    order_of = torch.from_numpy(masks.orders(n))
    zeros = torch.zeros((*shape[:-1], n + 1), dtype=dtype)
    sums = []
    for sign in (1, -1):
        both = sum(torch.where(sign * x <= 0, 0, sign * x) for x in effects)
        sums.append(zeros.index_add(-1, order_of, both)[..., 1:])
    return *effects, *sums


def _width(dtype: torch.dtype) -> int:
    return dtype.itemsize
