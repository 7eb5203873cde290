# SPDX-License-Identifier: Apache-2.0
"""Any array in, the same kind out: numpy, JAX (also traced), torch, anything with __dlpack__."""

import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _checks, _native


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
    """x as numpy, sharing memory where the CPU allows it. Gradients are not followed.

    Read-only where x is, or does not say: JAX arrays are never written to.
    """
    if isinstance(x, np.ndarray):
        return x
    if is_traced(x):
        raise TypeError(f"{call}: {argument} must be a concrete array; got a traced JAX value")
    if is_torch(x):
        if x.device.type != "cpu":
            raise ValueError(
                f"{call}: {argument} must be on the CPU; got a tensor on {x.device}. Use .cpu()"
            )
        export = sys.modules["torch"].utils.dlpack.to_dlpack
        return _native.from_dlpack(export(x.resolve_neg() if x.is_neg() else x), writable=True)
    if is_jax(x):
        return np.asarray(x)
    if is_foreign(x):
        try:
            return _native.from_dlpack(x)
        except (AttributeError, BufferError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{call}: {argument} must be an array in CPU memory; got {type(x).__name__} "
                f"({error})"
            ) from error
    return np.asarray(x)


def is_foreign(x: Any) -> bool:
    """An array of another library, known by its __dlpack__."""
    if isinstance(x, (np.ndarray, np.generic)):
        return False
    return hasattr(x, "__dlpack__") and not is_jax(x) and not is_torch(x)


def like(result: np.ndarray, template: Any) -> Any:
    """`result` as the kind of array that `template` is, with its own dtype, on template's device.

    JAX without x64 cannot hold 64-bit numbers: those stay numpy, with all their digits. So do
    results for libraries without the array API's `from_dlpack`.
    """
    if is_torch(template):
        return sys.modules["torch"].from_numpy(np.array(result, order="C"))
    if is_jax(template) and jax.dtypes.canonicalize_dtype(result.dtype) == result.dtype:
        return jax.device_put(result, device_of(template))
    if is_foreign(template) and hasattr(template, "__array_namespace__"):
        return template.__array_namespace__().from_dlpack(_native.SharedArray(result))
    return result


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """np.empty, large arrays at a multiple of 64 bytes: kernels are up to 40 % faster there."""
    size = math.prod(shape) * dtype.itemsize
    if size < 1 << 18:
        return np.empty(shape, dtype)
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


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
