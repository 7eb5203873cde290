# SPDX-License-Identifier: Apache-2.0
"""Times of a call after a warm-up, and the machine they were taken on."""

import platform
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of `call`, whose result is waited for inside the timed region."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def best_seconds(call: Callable[[], object], repeats: int) -> float:
    """Least wall time of `call`: what the code can do when nobody else is at work.

    At least a fifth of a second in all, so that new threads have settled on cores of their own.
    """
    jax.block_until_ready(call())
    best, began = float("inf"), time.perf_counter()
    while repeats > 0 or time.perf_counter() < began + 0.2:
        start = time.perf_counter()
        jax.block_until_ready(call())
        best = min(best, time.perf_counter() - start)
        repeats -= 1
    return best


def machine() -> str:
    from jaxinter import _native

    return (
        f"{platform.machine()}, {_native.thread_limit()} threads, {_native.simd_level()}, "
        f"jax {jax.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    )
