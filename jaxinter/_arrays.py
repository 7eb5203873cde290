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


def as_array(call: str, argument: str, x: Any) -> Any:
    """x itself where it is a JAX or torch array, else as numpy: with a shape and a dtype."""
    return x if is_jax(x) or is_torch(x) else to_numpy(call, argument, x)


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
        x = x.detach().resolve_neg()
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
    """`result` as the kind of array that `template` is, with its own dtype, on template's device.

    JAX without x64 cannot hold 64-bit numbers: those stay numpy, with all their digits.
    """
    if is_torch(template):
        return sys.modules["torch"].from_numpy(np.array(result, order="C"))
    if is_jax(template) and jax.dtypes.canonicalize_dtype(result.dtype) == result.dtype:
        return jax.device_put(result, device_of(template))
    return result


def device_of(x: Any) -> Any:
    """The one device that holds a concrete JAX array; None for other arrays and sharded ones."""
    devices = x.devices() if is_jax(x) and not is_traced(x) else ()
    return next(iter(devices)) if len(devices) == 1 else None


def floating_jax(call: str, argument: str, x: jax.Array) -> jax.Array:
    """x in the float dtype it is computed in (JAX without x64 has no float64: float32 then)."""
    dtype = _checks.float_dtype(call, argument, x.dtype)
    return x.astype(jax.dtypes.canonicalize_dtype(dtype)) if x.dtype != dtype else x


def namespace(x: Any) -> Any:
    """jax.numpy for JAX arrays, numpy for all else."""
    return jnp if is_jax(x) else np
