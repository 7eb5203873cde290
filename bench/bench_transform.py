# SPDX-License-Identifier: Apache-2.0
"""The subset Mobius transform beside its bound (a copy of the same bytes) and its peers.

    python bench/bench_transform.py [--smoke]

ns an element, median; ratios to jaxinter's own time in the same run.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine, median_seconds

import jaxinter as ji
from jaxinter._primitives import _subset_transform_lax
from jaxinter.transform import MOBIUS

SIZES = [(1024, 10), (64, 14), (1, 16), (1, 20), (1, 24)]


def lax_concatenate(x: jax.Array) -> jax.Array:
    for player in range(x.shape[-1].bit_length() - 1):
        pairs = x.reshape(*x.shape[:-1], -1, 2, 1 << player)
        without, with_ = pairs[..., :1, :], pairs[..., 1:, :]
        x = jnp.concatenate([without, with_ - without], axis=-2).reshape(x.shape)
    return x


def numpy_butterfly(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    for player in range(x.shape[-1].bit_length() - 1):
        pairs = x.reshape(*x.shape[:-1], -1, 2, 1 << player)
        pairs[..., 1, :] -= pairs[..., 0, :]
    return x


def dense(x: np.ndarray) -> np.ndarray:
    matrix = np.ones((1, 1), x.dtype)
    for _ in range(x.shape[-1].bit_length() - 1):
        matrix = np.kron(np.array([[1, 0], [-1, 1]], x.dtype), matrix)
    return matrix


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="smallest size, few repeats")
    smoke = parser.parse_args().smoke
    print(machine())
    print(f"{'size':>12}{'ns/element':>12}   times jaxinter's own: bound and peers")
    for batch, n in SIZES[:1] if smoke else SIZES:
        x = np.random.default_rng(0).normal(size=(batch, 1 << n)).astype(np.float32)
        repeats = 5 if smoke else max(9, min(201, (1 << 27) // x.size))
        out, on_device = np.empty_like(x), jnp.asarray(x)
        lax_stack = partial(_subset_transform_lax, matrix=MOBIUS)
        calls = {
            "copy": partial(np.copyto, out, x),
            "jaxinter in jit": partial(jax.jit(ji.mobius), on_device),
            "lax stack": partial(jax.jit(lax_stack), on_device),
            "lax concatenate": partial(jax.jit(lax_concatenate), on_device),
            "numpy": partial(numpy_butterfly, x),
        }
        if n <= 10:
            calls["dense matmul"] = partial(np.matmul, x, dense(x).T)
        own = median_seconds(partial(ji.mobius, x, out=out), repeats)
        slow = max(3, repeats // 20)
        ratios = {
            name: median_seconds(call, repeats if "jax" in name or name == "copy" else slow) / own
            for name, call in calls.items()
        }
        print(
            f"{batch:>6}x2^{n:<3}{own / x.size * 1e9:>12.3f}   "
            + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
        )


if __name__ == "__main__":
    main()
