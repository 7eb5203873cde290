# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels beside copies on the device, jitted XLA, and the CPU; then its targets.

    python bench/bench_gpu.py [--smoke] [--rehearse]

Arrays are made on the device. A figure is the median of several loops of at least 50 ms each, after
a warm-up, waited for at their end, with no CUDA graphs. `--rehearse` runs all of it at tiny sizes
on the CPU backend, to show that the script works; its figures mean nothing.
"""

import argparse
import ctypes
import glob
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Programs of several calls would become CUDA graphs, whose launches cost less than a user's.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_enable_command_buffer="

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine

import jaxinter as ji
from jaxinter import _native
from jaxinter._primitives import (
    MOBIUS,
    ZETA,
    _subset_transform_lax,
    and_or_effects,
    and_or_effects_composed,
    masked_inputs,
    subset_transform,
)

DATA = Path(__file__).parent.parent / "tests" / "data"
SIZES = [(1024, 10), (100_000, 10), (16384, 12), (4096, 14), (2048, 15)]
SIZES += [(1, n) for n in (16, 18, 20, 22, 24, 26)]
SMOKE_SIZES = [(1024, 10), (4096, 14), (1, 20), (1, 24)]
TINY_SIZES = [(3, 4), (1, 16)]
FUSED_SIZES = [(1024, 10), (16384, 12), (4096, 14), (1, 20), (1, 24)]
# Fractions of the bound, by passes; times jitted XLA. From 2^26 bytes on a launch costs nothing
# beside the work; below, launches count, and caches hold the array: told, not judged.
TARGETS, XLA_TARGET, JUDGED_BYTES = {1: 0.8, 2: 0.7}, 5.0, 1 << 26
CHAINED_BELOW, CHAIN = 1 << 26, 20  # bytes; transforms in a program
SOLVED, TOL = 512, 1e-4


def seconds(call: Callable[[], object], loops: int = 5, least: float = 0.05) -> float:
    """Of one call, queued without waiting: median over loops of at least `least` seconds.

    A call that takes longer than a second is measured once.
    """

    def loop(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            result = call()
        jax.block_until_ready(result)
        return time.perf_counter() - start

    loop(1)  # compiles
    count, took = 1, loop(1)
    while took < least:
        count = max(count + 1, int(count * min(10.0, 1.3 * least / took)))
        took = loop(count)
    if took > 1:
        return took / count
    return statistics.median(loop(count) for _ in range(loops)) / count


class Copies:
    """The least time of a copy of an array on the device, which reads and writes it once.

    Of two ways: a jitted jnp.copy, which XLA turns into a cudaMemcpyAsync, and, where the library
    is found, cudaMemcpyAsync itself, queued without JAX's dispatch. The faster one is the bound: a
    pass moves just as many bytes.
    """

    def __init__(self, on_gpu: bool):
        self.runtime = None
        here = [Path(p) / "nvidia" for p in sys.path]
        places = [
            p for folder in here for p in glob.glob(f"{folder}/**/libcudart.so*", recursive=True)
        ]
        for place in [*places, "libcudart.so"] if on_gpu else ():
            try:
                self.runtime = ctypes.CDLL(place)
                break
            except OSError:
                continue

    def seconds(self, x: jax.Array) -> float:
        jitted = jax.jit(jnp.copy)
        times = [seconds(lambda: jitted(x))]
        if self.runtime is not None:
            out = jax.block_until_ready(jitted(x))
            copy = partial(
                self.runtime.cudaMemcpyAsync,
                ctypes.c_void_p(out.unsafe_buffer_pointer()),
                ctypes.c_void_p(x.unsafe_buffer_pointer()),
                ctypes.c_size_t(x.nbytes),
                ctypes.c_int(3),  # from device to device
                ctypes.c_void_p(None),
            )
            if self.runtime.cudaMemcpy(*(copy.args[:4])) == 0:
                times.append(self._by_runtime(copy))
        return min(times)

    def _by_runtime(self, copy: Callable) -> float:
        def loop(count: int) -> float:
            start = time.perf_counter()
            for _ in range(count):
                copy()
            if self.runtime.cudaDeviceSynchronize():
                return float("inf")
            return time.perf_counter() - start

        loop(3)
        count = max(1, int(0.06 / (loop(10) / 10)))
        return statistics.median(loop(count) for _ in range(5)) / count


def passes(n: int, itemsize: int) -> int:
    """Of csrc/lattice_cuda.cu, where a block has at least 134 KB of shared memory (A100, H100)."""
    tile, of_panel = (15, 12) if itemsize == 4 else (14, 12)
    return 1 if n <= tile else 1 + -(-(n - tile) // of_panel)


def there_and_back(x: jax.Array) -> jax.Array:
    """CHAIN transforms whose values stay within bounds."""
    for _ in range(CHAIN // 2):
        x = subset_transform(subset_transform(x, MOBIUS), ZETA)
    return x


def normal(shape: tuple[int, ...], dtype, seed: int = 0) -> jax.Array:
    make = jax.jit(partial(jax.random.normal, shape=shape, dtype=dtype))
    return jax.block_until_ready(make(jax.random.key(seed)))


def size_text(batch: int, n: int) -> str:
    return f"{batch} x 2^{n}"


def transforms(sizes, copies: Copies, verdicts: list) -> None:
    print(
        "\nSubset Mobius transform, into another buffer. copies: times a copy on the device of the"
        "\nsame array; of bound: a copy for each pass, over our time; XLA: the jitted lax form, as"
        f"\ntimes ours. Arrays below {CHAINED_BELOW >> 20} MiB: {CHAIN} transforms in a program."
    )
    print(
        f"{'dtype':8}{'size':>14}{'ms':>10}{'GB/s':>8}{'passes':>8}{'copies':>8}"
        f"{'of bound':>10}{'target':>8}{'XLA':>8}"
    )
    for dtype in (jnp.float32, jnp.float64):
        for batch, n in sizes:
            name = f"{jnp.dtype(dtype).name:8}{size_text(batch, n):>14}"
            try:
                x = normal((batch, 1 << n), dtype)
                copy = copies.seconds(x)
                chained = x.nbytes < CHAINED_BELOW
                ours = jax.jit(
                    there_and_back if chained else partial(subset_transform, matrix=MOBIUS)
                )
                own = seconds(lambda: ours(x)) / (CHAIN if chained else 1)  # noqa: B023
                lax = jax.jit(partial(_subset_transform_lax, matrix=MOBIUS))
                by_xla = seconds(lambda: lax(x), loops=3) / own  # noqa: B023
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                print(f"{name}  does not fit")
                continue
            count, nbytes = passes(n, x.itemsize), x.nbytes
            share, target = count * copy / own, TARGETS.get(count, 0.7)
            print(
                f"{name}{own * 1e3:10.4f}{count * 2 * nbytes / own / 1e9:8.0f}{count:8}"
                f"{own / copy:8.2f}{share:10.0%}{target:8.0%}{by_xla:8.1f}"
            )
            judged = nbytes >= JUDGED_BYTES
            label = f"{jnp.dtype(dtype).name} {size_text(batch, n)}"
            few = "one pass" if count == 1 else f"{count} passes"
            verdicts.append((f"{label}, {few}: {target:.0%} of copies", f"{share:.0%}",
                             share >= target, judged))  # fmt: skip
            verdicts.append((f"{label}: {XLA_TARGET:g} times jitted XLA", f"{by_xla:.1f}",
                             by_xla >= XLA_TARGET, judged))  # fmt: skip


def fused(sizes, copies: Copies) -> None:
    print(
        "\nFused AND-OR effects and sums by order (2 arrays in, 2 out). As times that: its parts"
        "\none after the other (two transforms, XLA's split and sums), and two bare transforms;"
        "\nthen how many copies of one array it takes"
    )
    for dtype in (jnp.float32, jnp.float64):
        for batch, n in sizes:
            try:
                v, gamma = normal((batch, 1 << n), dtype), normal((batch, 1 << n), dtype, 1)
                one, composed = (
                    jax.jit(partial(and_or_effects, delta=None)),
                    jax.jit(and_or_effects_composed),
                )
                bare = jax.jit(partial(subset_transform, matrix=MOBIUS))
                own = seconds(lambda: one(v, gamma))  # noqa: B023
                apart = seconds(lambda: composed(v, gamma)) / own  # noqa: B023
                two = 2 * seconds(lambda: bare(v)) / own  # noqa: B023
                copied = own / copies.seconds(v)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                print(f"{jnp.dtype(dtype).name:8}{size_text(batch, n):>14}  does not fit")
                continue
            print(
                f"{jnp.dtype(dtype).name:8}{size_text(batch, n):>14}{own * 1e3:10.4f} ms, separate "
                f"{apart:.2f}, two transforms {two:.2f}, {copied:.2f} copies"
            )


def assembly(shape: tuple[int, ...], rows: int, copies: Copies) -> None:
    """Reads next to nothing: at best twice the rate at which a copy writes."""
    print(f"\nmasked_inputs, {rows} x {shape} of 12 players: bytes written a second, over a copy's")
    rng = np.random.default_rng(0)
    masks = rng.random((rows, 12)) < 0.5
    players = jnp.asarray(rng.integers(-1, 12, size=shape), jnp.int32)
    for dtype in (jnp.uint8, jnp.float16, jnp.float32, jnp.float64):
        x = jnp.ones(shape, dtype)
        f = jax.jit(masked_inputs)
        out = jax.block_until_ready(f(jnp.asarray(masks), x, 0 * x, players))
        copy, texts = copies.seconds(out), []
        for form, given in (("bool", masks), ("indices", ji.encode(masks))):
            given, absent = jnp.asarray(given), 0 * x
            own = seconds(lambda: f(given, x, absent, players))  # noqa: B023
            texts.append(f"{form} {out.nbytes / own / 1e9:.0f} GB/s ({copy / own:.2f})")
        print(f"{jnp.dtype(dtype).name:8}", ", ".join(texts))


def tables(n: int, count: int) -> tuple[np.ndarray, str]:
    """Real tables of 10 players and parts of these, their players permuted; else random ones."""
    rng = np.random.default_rng(0)
    files = sorted(DATA.glob("*_n10.npz")) if n <= 10 else []
    if not files:
        return rng.normal(size=(count, 1 << n)), "random"
    rows = np.concatenate([np.load(file)["values"] for file in files]).astype(np.float64)
    made = []
    for i in range(count):
        cube = rows[i % len(rows)].reshape((2,) * 10).transpose(rng.permutation(10))
        made.append(cube.reshape(-1, 1 << n)[i % (1 << (10 - n))])
    return np.stack(made), "real"


def solver(players: tuple[int, ...], count: int) -> None:
    print(
        f"\nSparse split of {count} tables to {TOL:g}, no tie-break, samples a second: jitted (all"
        "\non the device); extract() of an array on the device; and, as times slower than the"
        "\nfirst, the JAX engine on this device, and the C++ engine on the CPU, with "
        f"{_native.thread_limit()} threads"
    )
    for n in players:
        values, kind = tables(n, count)
        x = jax.block_until_ready(jnp.asarray(values))
        for ratio in (0.0, 0.02):
            options = {"noise_ratio": ratio, "tol": TOL, "tie_break": 0, "throw": False}
            solve = partial(ji.extract, **options)
            jitted = jax.jit(solve)
            result = jitted(x)
            own = seconds(lambda: jitted(x).and_effects)  # noqa: B023
            whole = seconds(lambda: solve(x).and_effects)  # noqa: B023
            by_jax = seconds(lambda: solve(x, engine="jax").and_effects, loops=1)  # noqa: B023
            by_cpu = seconds(lambda: solve(values).and_effects, loops=3)  # noqa: B023
            iterations = np.asarray(result.iterations)
            print(
                f"n = {n:<3}{kind:7} noise {ratio:<5g} jitted {count / own:,.0f}, extract() "
                f"{count / whole:,.0f}, JAX engine {by_jax / own:.1f}, C++ {by_cpu / own:.2f}; "
                f"iterations {np.median(iterations):.0f}, at most {iterations.max()}; "
                f"{int((~np.asarray(result.converged)).sum())} not converged"
            )


def report(verdicts: list[tuple[str, str, bool, bool]]) -> None:
    """A line for each target, before the solver, which may take long."""
    print()
    for text, got, met, judged in verdicts:
        note = "" if judged else " (so small that launches and caches count)"
        print(f"{'met    ' if met else 'NOT MET'} {text}: {got}{note}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="a few sizes")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU backend")
    options = parser.parse_args()
    if options.rehearse:
        jax.config.update("jax_platforms", "cpu")
    elif _native.cuda is None or jax.default_backend() != "gpu":
        built = "without" if _native.cuda is None else "with"
        print(
            f"bench_gpu: needs a GPU, as JAX's default device; JAX's is {jax.devices()[0]}, and "
            f"this build is {built} CUDA kernels. --rehearse runs it on the CPU, at tiny sizes."
        )
        return 2
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore", RuntimeWarning)  # gaps: what is not converged is in the lines
    print(machine())
    print(jax.devices()[0].device_kind, "-", _native.cuda.status() if _native.cuda else "no CUDA")
    copies = Copies(not options.rehearse)
    if copies.runtime is None and not options.rehearse:
        print("libcudart is not found: small copies are timed with JAX's dispatch")
    verdicts: list[tuple[str, str, bool, bool]] = []
    if options.rehearse:
        print("REHEARSAL on cpu, figures mean nothing")
        transforms(TINY_SIZES, copies, verdicts)
        fused(TINY_SIZES[:1], copies)
        assembly((3, 8, 8), 5, copies)
        report(verdicts)
        solver((3, 11), 2)
    else:
        transforms(SMOKE_SIZES if options.smoke else SIZES, copies, verdicts)
        fused(FUSED_SIZES[:1] if options.smoke else FUSED_SIZES, copies)
        assembly((3, 224, 224), 512, copies)
        report(verdicts)
        solver((8,) if options.smoke else (8, 10, 11), 64 if options.smoke else SOLVED)
    if options.rehearse:
        print("REHEARSAL on cpu, figures mean nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
