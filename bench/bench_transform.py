# SPDX-License-Identifier: Apache-2.0
"""The subset Mobius transform beside its bound (one in-place streaming pass) and its peers.

    python bench/bench_transform.py [--smoke] [--fht PATH]

Best of many runs (the machine is shared: the rest is other people's noise). Buffers are given, at
64-byte boundaries; lax has its input donated. `--fht`: a shared library with `int fht_float(float*,
int)` and `fht_double`, the C interface of FFHT (a Hadamard butterfly: twice the additions of a
Mobius transform). pyfwht, another one, is timed where it is installed, and so is torch.
"""

import argparse
import ctypes
import os
import subprocess
import tempfile
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from timing import best_seconds, machine

import jaxinter as ji
from jaxinter import _native
from jaxinter._primitives import (
    COMPLEMENT_MOBIUS,
    MOBIUS,
    _subset_transform_lax,
    and_or_effects_composed,
)

FHT = "FFHT, 1 thread"
SIZES = [(1024, 10), (64, 14), (1, 16), (1, 20), (1, 24), (1, 26)]
FUSED_SIZES = [(64, 10), (1024, 10), (4096, 10), (256, 12), (64, 14), (1, 20), (1, 24)]


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


def naive_library() -> ctypes.CDLL:
    """naive.cc, compiled."""
    source = Path(__file__).with_name("naive.cc")
    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/naive.so"
        compiler = [os.environ.get("CXX", "c++"), "-O3", "-shared", "-fPIC"]
        subprocess.run([*compiler, str(source), "-o", target], check=True)
        return ctypes.CDLL(target)


def naive_rows(library: ctypes.CDLL, x: np.ndarray, out: np.ndarray) -> None:
    f = library.naive_float if x.dtype == np.float32 else library.naive_double
    n = x.shape[-1].bit_length() - 1
    f(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(len(x)), n)


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


def donated(f: Callable, x: np.ndarray) -> Callable:
    """f jitted, each call on the result of the last, whose memory it takes over."""
    program = jax.jit(f, donate_argnums=0)
    state = [jnp.array(x)]

    def call():
        state[0] = program(state[0])
        return state[0]

    return call


def peers(x: np.ndarray, in_place: np.ndarray, fht, naive_cc) -> dict:
    n = x.shape[-1].bit_length() - 1
    calls = {"numpy": partial(butterfly_in_place, in_place)}
    try:
        import torch

        calls["torch"] = partial(butterfly_in_place, torch.from_numpy(in_place))
    except ImportError:
        pass
    if x.dtype == np.float32:
        calls["in jit"] = partial(jax.jit(ji.mobius), jnp.asarray(x))
        calls["in jit, donated"] = donated(ji.mobius, x)
        calls["lax stack"] = donated(partial(_subset_transform_lax, matrix=MOBIUS), x)
        calls["lax concatenate"] = donated(lax_concatenate, x)
    else:
        try:
            import pyfwht

            backend = pyfwht.Backend.CPU
            calls["pyfwht"] = lambda: [pyfwht.transform(row, backend=backend) for row in in_place]
        except ImportError:
            pass
    if n <= 10:
        calls["dense matmul"] = partial(np.matmul, x, dense(n, x.dtype).T)
    if n <= 14:
        calls["3^n in C++"] = partial(naive_rows, naive_cc, x, in_place)
    if fht is not None:
        calls[FHT] = partial(fht_rows, fht, in_place)
    return calls


def transforms(smoke: bool, fht) -> None:
    print(
        "ns an element (times a streaming pass of the same threads), then peers as times 2 threads"
    )
    naive_cc = naive_library()
    for dtype in (np.float32, np.float64):
        for batch, n in SIZES[:1] if smoke else SIZES:
            x, out = aligned((batch, 1 << n), dtype), aligned((batch, 1 << n), dtype)
            x[:], out[:] = np.random.default_rng(0).normal(size=x.shape), 0
            repeats = 5 if smoke else max(7, min(301, (1 << 27) // x.size))
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
                name: best_seconds(call, repeats if name.startswith("in jit") else few) / own
                for name, call in peers(x, out, fht, naive_cc).items()
            }
            if "in jit, donated" in ratios:
                lax = min(ratios["lax stack"], ratios["lax concatenate"])
                ratios["fastest lax over in jit, both donated"] = lax / ratios["in jit, donated"]
            if FHT in ratios:  # both in place, on one thread
                ratios[f"{FHT}, over one of ours"] = ratios.pop(FHT) * own / times[1]
            print(f"{np.dtype(dtype).name} {batch:>4}x2^{n:<3}", "; ".join(texts), sep="  ")
            print("      " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()))


def fused(smoke: bool) -> None:
    """The fused kernel beside its own parts in passes of their own, and beside jitted JAX."""
    print(
        "and_or_interactions: ns an element of v, and what else takes, as times that, on 2 threads"
    )
    for dtype in (np.float32, np.float64):
        for batch, n in FUSED_SIZES[:1] if smoke else FUSED_SIZES:
            v, gamma, a, b = (aligned((batch, 1 << n), dtype) for _ in range(4))
            v[:], gamma[:] = np.random.default_rng(0).normal(size=(2, *v.shape))
            sums = np.zeros((batch, 2, n))

            def separate(v=v, gamma=gamma, a=a, b=b, sums=sums):
                _native.split_pass(v, gamma, a, b)
                _native.subset_transform(a, a, MOBIUS)
                _native.subset_transform(b, b, COMPLEMENT_MOBIUS)
                _native.order_strength(a, b, None, None, sums)

            def bare(v=v, gamma=gamma, a=a, b=b):
                _native.subset_transform(v, a, MOBIUS)
                _native.subset_transform(gamma, b, COMPLEMENT_MOBIUS)

            call = partial(_native.and_or_effects, v, gamma, None, a, b, sums)
            repeats = 5 if smoke else max(7, min(301, (1 << 26) // v.size))
            own = best_seconds(call, repeats)
            others = {"two bare transforms": bare, "separate passes": separate}
            if dtype == np.float32:
                in_jax = jax.jit(and_or_effects_composed)
                others["jitted JAX over the kernel"] = partial(
                    in_jax, *map(jnp.asarray, (v, gamma))
                )
            ratios = {name: best_seconds(other, repeats) / own for name, other in others.items()}
            text = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
            print(f"{np.dtype(dtype).name} {batch:>4}x2^{n:<3} {own / v.size * 1e9:6.3f}   {text}")


def overheads() -> None:
    """What a call costs on a table of four."""

    def microseconds(call: Callable, number: int = 10_000) -> float:
        return min(timeit.repeat(call, number=number)) / number * 1e6

    small, out = np.ones(4), np.empty(4)
    texts = [f"numpy {microseconds(partial(ji.mobius, small, out=out)):.1f}"]
    try:
        import torch

        small, out = torch.from_numpy(small), torch.from_numpy(out)
        texts.append(f"torch {microseconds(partial(ji.mobius, small)):.1f}")
        texts.append(f"torch with out= {microseconds(partial(ji.mobius, small, out=out)):.1f}")
    except ImportError:
        pass
    x, times = jnp.ones(4), []
    for calls in (1, 101):

        def program(x, calls=calls):
            for _ in range(calls):
                x = ji.mobius(x)
            return x

        jitted = jax.jit(program)
        times.append(microseconds(lambda: jitted(x).block_until_ready(), 1000))  # noqa: B023
    texts.append(f"a jitted program {times[0]:.1f}")
    texts.append(f"one more call inside it {(times[1] - times[0]) / 100:.2f}")
    print("us a call on 2^2:", ", ".join(texts))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="smallest size, few repeats")
    parser.add_argument("--fht", help="shared library with the C interface of FFHT")
    options = parser.parse_args()
    print(machine())
    overheads()
    transforms(options.smoke, ctypes.CDLL(options.fht) if options.fht else None)
    fused(options.smoke)
    one = np.random.default_rng(0).normal(size=1 << 10)
    own = best_seconds(partial(ji.mobius, one), 1001)
    print(f"one float64 table of 2^10: {own * 1e6:.1f} us a call;", end=" ")
    print(f"the definition in Python {best_seconds(partial(naive, one), 3) / own:,.0f} times that")


if __name__ == "__main__":
    main()
