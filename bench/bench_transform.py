# SPDX-License-Identifier: Apache-2.0
"""The subset Mobius transform beside its bound (one in-place streaming pass) and its peers.

    python bench/bench_transform.py [--smoke] [--fht PATH]

Best of many runs (the machine is shared: the rest is other people's noise). Buffers are given, at
64-byte boundaries. `--fht`: a shared library with `int fht_float(float*, int)` and `fht_double`,
the C interface of FFHT (a Hadamard butterfly: twice the additions of a Mobius transform).
"""

import argparse
import ctypes
import os
import timeit
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from timing import best_seconds, machine

import jaxinter as ji
from jaxinter import _native
from jaxinter._primitives import _subset_transform_lax
from jaxinter.transform import MOBIUS

FHT = "FFHT, 1 thread"
SIZES = [(1024, 10), (64, 14), (1, 16), (1, 20), (1, 24), (1, 26)]


def lax_concatenate(x: jax.Array) -> jax.Array:
    for player in range(x.shape[-1].bit_length() - 1):
        pairs = x.reshape(*x.shape[:-1], -1, 2, 1 << player)
        without, with_ = pairs[..., :1, :], pairs[..., 1:, :]
        x = jnp.concatenate([without, with_ - without], axis=-2).reshape(x.shape)
    return x


def butterfly_in_place(x) -> None:
    """numpy or torch, player by player."""
    for player in range(x.shape[-1].bit_length() - 1):
        pairs = x.reshape(*x.shape[:-1], -1, 2, 1 << player)
        with np.errstate(all="ignore"):  # repeated in place, the numbers run to infinity
            pairs[..., 1, :] -= pairs[..., 0, :]


def dense(n: int, dtype) -> np.ndarray:
    matrix = np.ones((1, 1), dtype)
    for _ in range(n):
        matrix = np.kron(np.array([[1, 0], [-1, 1]], dtype), matrix)
    return matrix


def naive(values: np.ndarray) -> None:
    """The definition in Python: 3^n steps for one table."""
    for s in range(len(values)):
        t, total = s, 0.0
        while True:
            total += values[t] * (-1) ** bin(s ^ t).count("1")
            if t == 0:
                break
            t = (t - 1) & s


def fht_rows(library: ctypes.CDLL, x: np.ndarray) -> None:
    f = library.fht_float if x.dtype == np.float32 else library.fht_double
    n, step, start = x.shape[-1].bit_length() - 1, x.strides[0], x.ctypes.data
    for row in range(len(x)):
        f(ctypes.c_void_p(start + row * step), n)


def aligned(shape: tuple[int, int], dtype) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def peers(x: np.ndarray, in_place: np.ndarray, library) -> dict:
    size = x.shape[-1]
    on_device = jnp.asarray(x) if x.dtype == np.float32 else None
    calls = {"numpy": partial(butterfly_in_place, in_place)}
    try:
        import torch

        calls["torch"] = partial(butterfly_in_place, torch.from_numpy(in_place))
    except ImportError:
        pass
    if on_device is not None:
        lax_stack = partial(_subset_transform_lax, matrix=MOBIUS)
        calls["in jit"] = partial(jax.jit(ji.mobius), on_device)
        calls["lax stack"] = partial(jax.jit(lax_stack), on_device)
        calls["lax concatenate"] = partial(jax.jit(lax_concatenate), on_device)
    if size <= 1 << 10:
        calls["dense matmul"] = partial(np.matmul, x, dense(size.bit_length() - 1, x.dtype).T)
    if library is not None:
        calls[FHT] = partial(fht_rows, library, in_place)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="smallest size, few repeats")
    parser.add_argument("--fht", help="shared library with the C interface of FFHT")
    options = parser.parse_args()
    library = ctypes.CDLL(options.fht) if options.fht else None
    print(machine())
    print(
        "ns an element (times a streaming pass of the same threads), then peers as times 2 threads"
    )
    for dtype in (np.float32, np.float64):
        for batch, n in SIZES[:1] if options.smoke else SIZES:
            x, out = aligned((batch, 1 << n), dtype), aligned((batch, 1 << n), dtype)
            x[:], out[:] = np.random.default_rng(0).normal(size=x.shape), 0
            repeats = 5 if options.smoke else max(7, min(301, (1 << 27) // x.size))
            texts, own, times = [], 0.0, {}
            for threads in (1, 2):
                os.environ["JAXINTER_THREADS"] = str(threads)
                stream = best_seconds(partial(_native.stream_pass, out), repeats)
                own = best_seconds(partial(ji.mobius, x, out=out), repeats)
                x_again = best_seconds(partial(ji.mobius, out, out=out), repeats)
                times[threads] = x_again
                texts.append(
                    f"{threads} thread{'s' * (threads > 1)} {own / x.size * 1e9:.3f} "
                    f"({own / stream:.1f}), in place {x_again / x.size * 1e9:.3f} "
                    f"({x_again / stream:.1f})"
                )
            few = max(3, repeats // 20)
            ratios = {
                name: best_seconds(call, repeats if name == "in jit" else few) / own
                for name, call in peers(x, out, library).items()
            }
            if FHT in ratios:  # both in place, on one thread
                ratios[f"{FHT}, over one of ours"] = ratios.pop(FHT) * own / times[1]
            print(f"{np.dtype(dtype).name} {batch:>4}x2^{n:<3}", "; ".join(texts), sep="  ")
            print("      " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()))
    one = np.random.default_rng(0).normal(size=1 << 10)
    own = best_seconds(partial(ji.mobius, one), 1001)
    print(f"one float64 table of 2^10: {own * 1e6:.1f} us a call;", end=" ")
    print(f"the definition in Python {best_seconds(partial(naive, one), 3) / own:,.0f} times that")
    small, out = np.ones(4), np.empty(4)
    overhead = min(timeit.repeat(partial(ji.mobius, small, out=out), number=10_000)) / 10_000
    print(f"a call on 2^2, numpy: {overhead * 1e6:.1f} us")


if __name__ == "__main__":
    main()
