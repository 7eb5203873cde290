# SPDX-License-Identifier: Apache-2.0
"""Arrays in CUDA memory: torch's, and those of other libraries with __dlpack__ (CuPy).

The kernels work on the arrays' own memory, on the stream that their library works on, and nothing
waits for them. One function for each operation that has a kernel; arguments are checked by the
callers, as for the CPU.
"""

import sys
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks, _native


def takes(call: str, argument: str, x: Any) -> bool:
    """Whether x is in CUDA memory; an error where it is, and this build has no kernels for it."""
    if not _arrays.on_cuda(x):
        return False
    if _native.cuda is None:
        raise ValueError(
            f"{call}: {argument} must be on the CPU, as this build has no CUDA kernels; got "
            f"{type(x).__name__} in CUDA memory. Use .cpu() (CuPy: .get()), or install the package "
            "with nvcc on PATH: `pip install . -Ccmake.define.JAXINTER_CUDA=ON`"
        )
    return True


def as_array(call: str, argument: str, x: Any) -> Any:
    """`_arrays.as_array`, of a call that has a kernel: arrays in CUDA memory stay there."""
    return x if takes(call, argument, x) else _arrays.as_array(call, argument, x)


def subset_transform(call: str, argument: str, matrix: Any, values: Any, out: Any = None) -> Any:
    """One transform; `out`, a tensor, is checked by `check_out`."""
    _checks.n_players(call, argument, tuple(values.shape))
    dtype = _checks.float_dtype(call, argument, _arrays.numpy_dtype(values))
    source = _ready(values, dtype)
    if out is not None:
        check_out(call, out, values, tuple(values.shape), dtype)
    direct = out is not None and out.is_contiguous() and _alike_or_apart(source, out)
    target = out if direct else _empty(values, tuple(values.shape), dtype)
    _native.cuda.subset_transform(_given(source), _given(target), matrix, _stream(values))
    if out is None or direct:
        return target
    return out.copy_(target)


def and_or_effects(call: str, arrays: dict[str, Any], dtype: np.dtype, n: int) -> tuple[Any, ...]:
    """The fused kernel on arrays values, gamma and perhaps delta, which broadcast to `values`."""
    first = v = arrays["values"]
    if not _arrays.on_cuda(v):
        others = ", ".join(name for name, x in arrays.items() if _arrays.on_cuda(x))
        raise ValueError(
            f"{call}: values must be in CUDA memory, as {others}; got {type(v).__name__}"
        )
    shape = tuple(v.shape)
    given = [_ready(_beside(x, v), dtype, shape) for x in arrays.values()]
    and_effects, or_effects = _empty(v, shape, dtype), _empty(v, shape, dtype)
    sums = _empty(v, (*shape[:-1], 2, n), dtype)
    v, gamma, *rest = map(_given, given)
    results = map(_given, (and_effects, or_effects, sums))
    _native.cuda.and_or_effects(v, gamma, rest[0] if rest else None, *results, _stream(first))
    return and_effects, or_effects, sums[..., 0, :], sums[..., 1, :]


def masked_inputs(masks: Any, n: int, x: Any, baseline: Any, players: Any, out: Any = None) -> Any:
    """See `jaxinter.masked_inputs`; masks and players of any kind, on any device."""
    shape, dtype = tuple(x.shape), _arrays.numpy_dtype(x)
    whole = (len(masks), *shape)
    if out is not None:
        check_out("masked_inputs", out, x, whole, dtype)
    sources = (
        _ready(_beside(masks, x), np.dtype(bool if masks.ndim == 2 else np.int64)),
        _ready(x, dtype),
        _ready(_beside(baseline, x), dtype, shape),
        _ready(_seats(_beside(players, x)), np.dtype(np.int32), shape),
    )
    direct = out is not None and out.is_contiguous() and all(_apart(a, out) for a in sources)
    target = out if direct else _empty(x, whole, dtype)
    rows, *others = map(_given, sources)
    _native.cuda.masked_inputs(rows, n, *others, _given(target), _stream(x))
    if out is None or direct:
        return target
    return out.copy_(target)


def check_out(call: str, out: Any, like: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuses an `out` that is not a tensor of this shape and dtype on the device of `like`."""
    if not (_arrays.is_torch(out) and _arrays.is_torch(like)):
        raise TypeError(
            f"{call}: out must be None for {type(like).__name__} in CUDA memory, or both must be "
            f"torch tensors; got {type(out).__name__}"
        )
    _arrays.check_writable(call, out)
    got = tuple(out.shape), _arrays.numpy_dtype(out), out.device
    if got != (shape, dtype, like.device):
        raise ValueError(
            f"{call}: out must be of shape {shape} and dtype {dtype} on {like.device}; got shape "
            f"{got[0]}, dtype {got[1]} on {got[2]}"
        )


# ---- what differs between torch and the libraries of the array API


def _ready(x: Any, dtype: np.dtype, shape: tuple[int, ...] | None = None) -> Any:
    """x, C-contiguous, of this dtype and shape; a copy only where it is not."""
    if _arrays.is_torch(x):
        x = _arrays.resolved(x)
        x = x if shape is None else x.expand(shape)
        return x.to(getattr(sys.modules["torch"], dtype.name)).contiguous()
    shape = tuple(x.shape) if shape is None else shape
    ordered = getattr(getattr(x, "flags", None), "c_contiguous", False)
    if ordered and tuple(x.shape) == shape and _arrays.numpy_dtype(x) == dtype:
        return x
    made = _empty(x, shape, dtype)
    made[...] = x
    return made


def _empty(like: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    if _arrays.is_torch(like):
        return like.new_empty(shape, dtype=getattr(sys.modules["torch"], dtype.name))
    return _arrays.library_of(like).empty(shape, dtype=dtype)


def _beside(x: Any, like: Any) -> Any:
    """x, of any kind, as an array of the library and on the device of `like`."""
    if _arrays.is_torch(like):
        torch = sys.modules["torch"]
        x = x if _arrays.is_torch(x) else torch.from_numpy(np.array(x))
        return x.to(like.device)
    return x if _arrays.on_cuda(x) else _arrays.library_of(like).asarray(np.asarray(x))


def _seats(players: Any) -> Any:
    """Players, those however far below 0 as -1, background: they are cut to 32 bits."""
    if _arrays.is_torch(players):
        return players.clamp(min=-1)
    return _arrays.library_of(players).maximum(players, -1)


def _given(x: Any) -> Any:
    """What the door is given: torch tensors as capsules, with whatever gradient they have."""
    return sys.modules["torch"].utils.dlpack.to_dlpack(x) if _arrays.is_torch(x) else x


def _stream(x: Any) -> int:
    """The handle of the stream that x's library works on; 0 is CUDA's default one."""
    if _arrays.is_torch(x):
        return sys.modules["torch"].cuda.current_stream(x.device).cuda_stream
    cupy = sys.modules.get("cupy")
    return cupy.cuda.get_current_stream().ptr if cupy and isinstance(x, cupy.ndarray) else 0


def _apart(x: Any, out: Any) -> bool:
    return x.untyped_storage().data_ptr() != out.untyped_storage().data_ptr()


def _alike_or_apart(x: Any, out: Any) -> bool:
    return x.data_ptr() == out.data_ptr() or _apart(x, out)
