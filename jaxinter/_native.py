# SPDX-License-Identifier: Apache-2.0
"""Loads the compiled modules and registers their XLA targets. The only file that knows of them."""

import importlib.util
from typing import Any

import jax

try:
    from jaxinter import _cpu  # type: ignore[attr-defined]
except ImportError as error:
    raise ImportError(
        "jaxinter: the compiled module jaxinter._cpu is missing or does not load "
        f"({error}). Install the package (`pip install .`), and run Python from another folder: in "
        "the source folder, which has no kernels, the sources hide the installed package."
    ) from error


def _load_cuda() -> Any:
    """The module of the CUDA kernels, which needs no GPU to load; None where it was not built."""
    found = importlib.util.find_spec("jaxinter._cuda")
    if found is None:
        return None
    try:
        return importlib.import_module(found.name)
    except ImportError as error:
        raise ImportError(
            f"jaxinter: the compiled module {found.origin} does not load ({error}). Install the "
            "package again, or delete that file to go on without the CUDA kernels."
        ) from error


cuda = _load_cuda()

# Registered without a GPU too, so that programs for one can be exported.
for _platform, _module in (("cpu", _cpu), ("CUDA", cuda)):
    for _name, _capsule in _module.registrations().items() if _module else ():
        jax.ffi.register_ffi_target(_name, _capsule, platform=_platform)
for _name in _cpu.registrations():
    # XLA may spread over devices the batch that a lowering (_primitives.py) names.
    jax.ffi.register_ffi_target_as_batch_partitionable(_name)


def has_kernels(platform: str) -> bool:
    """Whether programs for one of `PLATFORMS` call the kernels: not where a GPU or its driver is
    too old for them, and XLA's own operations do it. Asked for when a program is lowered."""
    return platform == "cpu" or cuda.usable()


PLATFORMS: tuple[str, ...] = ("cpu", "cuda") if cuda else ("cpu",)  # with kernels, by JAX's names

subset_transform = _cpu.subset_transform
and_or_effects = _cpu.and_or_effects
order_strength = _cpu.order_strength
masked_inputs = _cpu.masked_inputs
sparse_split = _cpu.sparse_split
from_dlpack = _cpu.from_dlpack
SharedArray = _cpu.SharedArray
stream_pass = _cpu.stream_pass
split_pass = _cpu.split_pass
simd_level = _cpu.simd_level
thread_limit = _cpu.thread_limit
