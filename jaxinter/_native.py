# SPDX-License-Identifier: Apache-2.0
"""Loads the compiled module and registers its XLA targets. The only file that knows of it."""

import jax

try:
    from jaxinter import _cpu  # type: ignore[attr-defined]
except ImportError as error:
    raise ImportError(
        "jaxinter: the compiled module jaxinter._cpu is missing or does not load "
        f"({error}). Install the package (`pip install .`), and run Python from another folder: in "
        "the source folder, which has no kernels, the sources hide the installed package."
    ) from error

for _name, _capsule in _cpu.registrations().items():
    jax.ffi.register_ffi_target(_name, _capsule, platform="cpu")
    # XLA may spread over devices the batch that a lowering (_primitives.py) names.
    jax.ffi.register_ffi_target_as_batch_partitionable(_name)

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
