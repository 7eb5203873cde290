# SPDX-License-Identifier: Apache-2.0
"""The torch door of the transforms: CPU tensors, no copy, differentiable any number of times."""

from typing import Any

import numpy as np
import torch

from jaxinter import _arrays, transform
from jaxinter._primitives import Matrix2


class _SubsetTransform(torch.autograd.Function):
    """A linear map: its backward is the same map with the 2x2 factor transposed."""

    @staticmethod
    def forward(ctx, values, call, matrix):
        ctx.call, ctx.matrix = call, matrix
        return torch.from_numpy(_transform(call, matrix, values, None))

    @staticmethod
    def backward(ctx, cotangent):
        a00, a01, a10, a11 = ctx.matrix
        grad = _SubsetTransform.apply(cotangent, ctx.call, (a00, a10, a01, a11))
        return grad, None, None


def apply(call: str, matrix: Matrix2, values: torch.Tensor, out: Any) -> torch.Tensor:
    if out is None:
        if values.requires_grad and torch.is_grad_enabled():
            if values.dtype not in (torch.float32, torch.float64):
                values = values.float()
            return _SubsetTransform.apply(values, call, matrix)
        return torch.from_numpy(_transform(call, matrix, values, None))
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"{call}: out must be a torch tensor; got {type(out).__name__}")
    if values.requires_grad or out.requires_grad:
        raise ValueError(f"{call}: out cannot be used with tensors that require grad; detach them")
    _transform(call, matrix, values, _arrays.to_numpy(call, "out", out))
    return out


def _transform(call: str, matrix: Matrix2, values: torch.Tensor, out: Any) -> np.ndarray:
    return transform.apply_numpy(call, matrix, _arrays.to_numpy(call, "values", values), out)
