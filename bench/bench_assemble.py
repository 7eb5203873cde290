# SPDX-License-Identifier: Apache-2.0
"""Masked-input assembly beside its bound (a copy of the bytes it writes) and its peers.

    python bench/bench_assemble.py [--smoke]

GB/s written, median; the bound and the peers as times jaxinter's own time in the same run.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine, median_seconds

import jaxinter as ji
from jaxinter import _native
from jaxinter._primitives import _masked_inputs_lax

# name, masks, shape of the input, players, dtype
CASES = [
    ("MNIST, 12 patches", 1024, (28, 28, 1), 12, np.float32),
    ("ImageNet, 16 patches", 32, (224, 224, 3), 16, np.float32),
    ("ImageNet, 16 patches", 32, (224, 224, 3), 16, np.float16),
    ("table row, 20 columns", 16384, (20,), 20, np.float64),
    ("128 tokens, 12 words", 4096, (128,), 12, np.int64),
    ("token embeddings", 64, (128, 384), 40, np.float32),
]


def numpy_where(masks, x, baseline, players):
    return np.where(masks[:, np.maximum(players, 0)] | (players < 0), x, baseline)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="first case, few repeats")
    smoke = parser.parse_args().smoke
    print(machine())
    print("GB/s written; then bound and peers as times jaxinter's own (own buffers, new outputs)")
    rng = np.random.default_rng(0)
    for name, rows, shape, n, dtype in CASES[:1] if smoke else CASES:
        x, baseline = (rng.integers(0, 100, size=shape).astype(dtype) for _ in range(2))
        players = np.sort(rng.integers(-1, n, size=shape).ravel()).reshape(shape).astype(np.int32)
        masks = rng.random((rows, n)) < 0.5
        out, source = np.empty((2, rows, *shape), dtype)
        out[:], source[:] = 0, 1
        words = np.dtype(f"u{x.dtype.itemsize}")
        kernel = partial(
            _native.masked_inputs,
            masks,
            n,
            x.view(words),
            baseline.view(words),
            players,
            out.view(words),
        )
        in_jit, lax = jax.jit(ji.masked_inputs), jax.jit(_masked_inputs_lax)
        on_device = [jnp.asarray(a) for a in (masks, x, baseline, players)]
        repeats = 3 if smoke else 51
        own = median_seconds(kernel, repeats)
        calls = {
            "copy": partial(np.copyto, out, source),
            "bit-packed masks": partial(
                _native.masked_inputs,
                ji.encode(masks),
                n,
                x.view(words),
                baseline.view(words),
                players,
                out.view(words),
            ),
            "masked_inputs (out=)": partial(ji.masked_inputs, masks, x, baseline, players, out=out),
            "masked_inputs (new output)": partial(ji.masked_inputs, masks, x, baseline, players),
            "in jit": partial(in_jit, *on_device),
            "jitted lax": partial(lax, *on_device),
            "numpy where": partial(numpy_where, masks, x, baseline, players),
        }
        ratios = {label: median_seconds(call, repeats) / own for label, call in calls.items()}
        print(
            f"{name + ', ' + np.dtype(dtype).name:32}{out.nbytes / own / 1e9:7.1f}   "
            + ", ".join(f"{label} {ratio:.2f}" for label, ratio in ratios.items())
        )


if __name__ == "__main__":
    main()
