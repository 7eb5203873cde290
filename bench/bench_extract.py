# SPDX-License-Identifier: Apache-2.0
"""Time to a certified gap of 1e-3 beside optax Adam, on the real tables of tests/data.

    python bench/bench_extract.py [--smoke]

Adam is given every help: the same fast matrix-free transforms, float64, v scaled to max 1, a cosine
schedule, all samples in one batch, and for each table the best of four learning rates (one run is
timed). It has no certificate: where it ends is compared with the true optimum afterwards.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import machine, median_seconds

import jaxinter as ji

DATA = Path(__file__).parent.parent / "tests" / "data"
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)


@partial(jax.jit, static_argnames="steps")
def adam(w: jax.Array, zeta: jax.Array, rate: float, steps: int) -> jax.Array:
    """L1 strength where `steps` of Adam on (gamma, delta) end, ``[samples]``."""

    def strength(point):
        gamma, delta = (x.at[:, 0].set(0.0) for x in point)
        half = (w - delta) / 2
        effects = ji.and_interactions(half + gamma), ji.or_interactions(half - gamma)
        return sum(jnp.abs(e[:, 1:]).sum(axis=1) for e in effects)

    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry, _):
        point, state = carry
        grad = jax.grad(lambda p: strength(p).sum())(point)
        updates, state = optimizer.update(grad, state)
        gamma, delta = optax.apply_updates(point, updates)
        return ((gamma, jnp.clip(delta, -zeta, zeta)), state), None

    start = (jnp.zeros_like(w), jnp.zeros_like(w))
    (point, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)
    return strength(point)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="two tables, 200 Adam steps")
    smoke = parser.parse_args().smoke
    steps = 200 if smoke else 10_000
    optima = json.loads((DATA / "optima.json").read_text())
    print(machine())
    print("objective: L1 strength over the true optimum, min .. median .. max over the tables")
    for name in ("lstm_sst2_n10", "mnist_lenet_n10"):
        values = np.load(DATA / f"{name}.npz")["values"][: 2 if smoke else None]
        for ratio in (0.0, 0.02):
            rows = range(len(values))
            true = np.array([optima[f"{name}/{row}/{ratio}"]["primal"] for row in rows])
            seconds, strength = {}, {}
            for label, eps in (("jaxinter", 0.1), ("jaxinter, no tie-break", 0.0)):
                call = partial(ji.extract, values, noise_ratio=ratio, tol=1e-3, tie_break=eps)
                seconds[label] = median_seconds(lambda call=call: call().primal, 1 if smoke else 5)
                strength[label] = call().primal
            with jax.enable_x64(True):
                w = values - values[:, :1]
                scale = np.abs(w).max(axis=1, keepdims=True)
                zeta = ratio * np.abs(w[:, -1:]) / scale
                run = partial(adam, jnp.asarray(w / scale), jnp.asarray(zeta), steps=steps)
                label = f"optax Adam, {steps} steps"
                seconds[label] = median_seconds(lambda run=run: run(3e-3), 1)
                ends = [np.asarray(run(rate)) for rate in LEARNING_RATES]
            strength[label] = np.min(ends, axis=0) * scale[:, 0]
            print(f"{name}, noise ratio {ratio}, {len(values)} tables")
            for label, end in strength.items():
                excess = end / true
                print(
                    f"  {label:24}{seconds[label] / len(values) * 1e3:9.1f} ms a sample   "
                    f"{excess.min():.4f} .. {np.median(excess):.4f} .. {excess.max():.4f}"
                )


if __name__ == "__main__":
    main()
