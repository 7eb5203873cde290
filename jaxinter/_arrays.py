# SPDX-License-Identifier: Apache-2.0
"""Any array in, the same kind out: numpy, JAX (also traced), torch, anything with __dlpack__."""

import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter import _checks, _native, _primitives, masks


def is_jax(x: Any) -> bool:
    return isinstance(x, jax.Array)


def is_traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def is_torch(x: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    return torch is not None and isinstance(x, torch.Tensor)


def library_of(x: Any) -> Any:
    """The array API's namespace of another library's array; None where it has none."""
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    cupy = sys.modules.get("cupy")  # whose arrays have that method from version 14 on
    return cupy if cupy is not None and isinstance(x, cupy.ndarray) else None


def on_cuda(x: Any) -> bool:
    """Whether x is in CUDA memory: a torch tensor, or an array of a library that makes others."""
    if is_torch(x):
        return x.is_cuda and sys.modules["torch"].version.hip is None  # HIP says so too
    if not is_foreign(x) or library_of(x) is None:
        return False
    return x.__dlpack_device__()[0] in (2, 13)  # kDLCUDA, kDLCUDAManaged


def as_array(call: str, argument: str, x: Any) -> Any:
    """x itself where it is a JAX or torch array, else as numpy: with a shape and a dtype."""
    return x if is_jax(x) or is_torch(x) else to_numpy(call, argument, x)


def to_numpy(call: str, argument: str, x: Any) -> np.ndarray:
    """x as numpy, sharing memory where the CPU allows it. Gradients are not followed.

    Read-only where x is, or does not say: JAX arrays are never written to.
    """
    if isinstance(x, np.ndarray):
        return x
    if is_torch(x):
        if not x.is_cpu:
            raise ValueError(
                f"{call}: {argument} must be on the CPU; got a tensor on {x.device}. Use .cpu()"
            )
        x = resolved(x)
        return _native.from_dlpack(sys.modules["torch"].utils.dlpack.to_dlpack(x), writable=True)
    if is_traced(x):
        raise TypeError(f"{call}: {argument} must be a concrete array; got a traced JAX value")
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


def host(call: str, argument: str, x: Any) -> np.ndarray:
    """`to_numpy`, of a tensor on whatever device and with whatever gradient."""
    return to_numpy(call, argument, x.detach().cpu() if is_torch(x) else x)


def _is_lazy(tensor: Any) -> bool:
    """Whether a torch tensor's memory does not hold its values: conjugates, negatives, zeros."""
    return tensor.is_neg() or tensor.is_conj() or tensor._is_zerotensor()


def resolved(tensor: Any) -> Any:
    """A torch tensor whose memory holds its values."""
    return tensor.clone().resolve_conj().resolve_neg() if _is_lazy(tensor) else tensor


def check_writable(call: str, out: Any) -> None:
    """Refuses tensors that cannot be written to past torch."""
    if is_torch(out) and (out.requires_grad or _is_lazy(out)):
        raise ValueError(
            f"{call}: out cannot be a tensor that requires grad, nor a lazy conjugate, negative or "
            "zero; detach or clone it"
        )


def writable_numpy(call: str, out: Any) -> np.ndarray:
    """A view of `out`, numpy or torch, that writes to all of it."""
    check_writable(call, out)
    array = to_numpy(call, "out", out)
    spread = not array.flags.c_contiguous
    if spread and any(step == 0 and size > 1 for step, size in zip(array.strides, array.shape)):
        raise ValueError(f"{call}: out must not overlap itself; got strides {array.strides}")
    return array


def numpy_dtype(x: Any) -> np.dtype:
    """The dtype of any array, torch's as numpy's."""
    return np.dtype(str(x.dtype).removeprefix("torch.")) if is_torch(x) else x.dtype


def as_jax(call: str, argument: str, x: Any) -> jax.Array:
    """x as a JAX array; integers that JAX without x64 would cut are refused."""
    if is_jax(x):
        return x
    array = to_numpy(call, argument, x)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if dtype != array.dtype and np.issubdtype(dtype, np.integer) and array.size:
        bounds = np.iinfo(dtype)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise ValueError(
                f"{call}: {argument} must fit {dtype} while jax_enable_x64 is off; got "
                f"{array.min()} to {array.max()}"
            )
    return jnp.asarray(array)


def as_torch(call: str, argument: str, x: Any) -> Any:
    """x as a torch tensor, its graph kept; a copy of other arrays."""
    if is_torch(x):
        return x
    array = to_numpy(call, argument, x)
    dtype = _checks.float_dtype(call, argument, array.dtype)
    torch_knows = array.dtype.isnative and array.dtype.kind in "biuf"
    return sys.modules["torch"].from_numpy(np.array(array, array.dtype if torch_knows else dtype))


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


def floating(call: str, argument: str, x: Any) -> Any:
    """A JAX, torch or numpy array in the float dtype it is computed in."""
    if is_jax(x):
        return floating_jax(call, argument, x)
    dtype = _checks.float_dtype(call, argument, numpy_dtype(x))
    if is_torch(x):
        return x.to(getattr(sys.modules["torch"], dtype.name))
    return x.astype(dtype, copy=False)


def orders_like(x: Any) -> tuple[Any, Any]:
    """The array module of x, torch too, and the order of each coalition to index its arrays by."""
    n = x.shape[-1].bit_length() - 1
    if is_torch(x):
        torch = sys.modules["torch"]
        return torch, torch.from_numpy(masks.orders(n))
    if is_jax(x):  # counted where it is used: no constant of 2^n in the program
        return jnp, jax.lax.population_count(_primitives.lattice_index(x))
    return np, masks.orders(n)


def namespace(x: Any) -> Any:
    """jax.numpy for JAX arrays, numpy for all else."""
    return jnp if is_jax(x) else np


def stack(arrays: Any, axis: int) -> Any:
    """Arrays of one kind, torch too, along a new axis."""
    first = arrays[0]
    xp = sys.modules["torch"] if is_torch(first) else namespace(first)
    return xp.stack(arrays, axis)


def gradient(f: Any, at: Any) -> Any:
    """The gradient of a scalar function of one array, by the framework that the array is of."""
    if is_torch(at):
        torch = sys.modules["torch"]
        with torch.inference_mode(False), torch.enable_grad():
            leaf = at.detach().clone().requires_grad_()
            return torch.autograd.grad(f(leaf), leaf)[0]
    return jax.grad(f)(at)


def as_input(call: str, argument: str, array: Any, x: Any) -> Any:
    """`array` as x's kind, dtype and device: JAX or torch."""
    if is_torch(x):
        return as_torch(call, argument, array).to(x)
    return as_jax(call, argument, array).astype(x.dtype)
