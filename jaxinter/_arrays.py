# SPDX-License-Identifier: Apache-2.0
"""Any array in, the same kind out: numpy, JAX (also traced), torch, anything with __dlpack__."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _checks


def is_jax(x: Any) -> bool:
    return isinstance(x, jax.Array)


def is_traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def is_torch(x: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    return torch is not None and isinstance(x, torch.Tensor)


def to_numpy(call: str, argument: str, x: Any) -> np.ndarray:
    """x as numpy, sharing memory where the CPU allows it. Gradients are not followed."""
    if isinstance(x, np.ndarray):
        return x
    if is_traced(x):
        raise TypeError(f"{call}: {argument} must be a concrete array; got a traced JAX value")
    if is_torch(x):
        if x.device.type != "cpu":
            raise ValueError(
                f"{call}: {argument} must be on the CPU; got a tensor on {x.device}. Use .cpu()"
            )
        x = x.detach()
        return (x.float() if x.dtype.itemsize < 4 and x.is_floating_point() else x).numpy()
    if is_jax(x):
        return np.asarray(x)
    if hasattr(x, "__dlpack__") and not isinstance(x, np.generic):
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{call}: {argument} must be an array in CPU memory; got {type(x).__name__} "
                f"({error})"
            ) from error
    return np.asarray(x)


def like(result: np.ndarray, template: Any) -> Any:
    """`result` as the kind of array that `template` is, with its dtype.

    JAX without x64 cannot hold 64-bit numbers: those stay numpy, with all their digits.
    """
    if is_torch(template):
        return sys.modules["torch"].from_numpy(np.ascontiguousarray(result))
    if is_jax(template) and jax.dtypes.canonicalize_dtype(result.dtype) == result.dtype:
        return jnp.asarray(result)
    return result


def floating_jax(call: str, argument: str, x: jax.Array) -> jax.Array:
    """x in the float dtype it is computed in (JAX without x64 has no float64: float32 then)."""
    dtype = _checks.float_dtype(call, argument, x.dtype)
    return x.astype(jax.dtypes.canonicalize_dtype(dtype)) if x.dtype != dtype else x
