# SPDX-License-Identifier: Apache-2.0
"""The way from a model to its table, beside the model's forward pass alone and beside shapiq.

    python bench/bench_evaluate.py [--smoke]

1. A small CNN in JAX and in torch, and a perceptron on columns, n = 12: `evaluate` (masks,
   assembly, network, value, table) over the network alone on inputs made ready beforehand, chunk
   for chunk.
2. Peak memory of a run at n = 16 over what the process held before, beside the budget (`memory`).
3. scikit-learn, n = 10: `evaluate` and shapiq's game with its imputer, each less the time that is
   spent in the estimator.
"""

import argparse
import os
import subprocess
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from timing import machine

import jaxinter as ji
from jaxinter.demo import Cnn
from jaxinter.masks import decode


def ratio(whole, alone, repeats):
    """Median seconds of both, taken in turns, and the median of their ratios."""
    whole(), alone()
    times = np.empty((repeats, 2))
    for pair in times:
        for k, call in enumerate((whole, alone)):
            start = time.perf_counter()
            call()
            pair[k] = time.perf_counter() - start
    return *np.median(times, axis=0), float(np.median(times[:, 0] / times[:, 1]))


def chunks(value_fn, n):
    """The chunks that `evaluate` chooses."""
    from importlib import import_module

    rows = import_module("jaxinter.evaluate").Run(value_fn, n, None, None, None).rows
    return [decode(np.arange(a, a + rows), n) for a in range(0, 1 << n, rows)]


def jax_cases(n):
    rng = np.random.default_rng(0)
    cnn = Cnn(nnx.Rngs(0))
    mlp = nnx.Sequential(
        nnx.Linear(n, 256, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(256, 10, rngs=nnx.Rngs(1))
    )
    image = rng.random((28, 28, 1)).astype(np.float32)
    players = ji.brightest_patches(image, (4, 4), n)
    for name, net, x, seats in (
        ("JAX CNN", cnn, image, players),
        ("JAX perceptron 12-256-10", mlp, rng.normal(size=n).astype(np.float32), ji.columns(n)),
    ):
        value_fn = ji.value_function(net, x, players=seats)
        graph, state = nnx.split(net)
        forward = jax.jit(lambda state, z, graph=graph: nnx.merge(graph, state)(z))
        ready = [
            jnp.asarray(ji.masked_inputs(masks, x, 0.0, seats)) for masks in chunks(value_fn, n)
        ]

        def alone(forward=forward, state=state, ready=ready):
            for inputs in ready:
                forward(state, inputs).block_until_ready()

        yield name, partial(ji.evaluate, value_fn), alone, ready


def torch_cases(n):
    import torch
    from torch import nn

    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(7 * 7 * 32, 64), nn.ReLU(), nn.Linear(64, 10),
    ).eval()  # fmt: skip
    mlp = nn.Sequential(nn.Linear(n, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
    image = torch.rand(1, 28, 28)
    players = ji.brightest_patches(image, (4, 4), n, channels="first")
    for name, net, x, seats in (
        ("torch CNN", cnn, image, players),
        ("torch perceptron 12-256-10", mlp, torch.randn(n), ji.columns(n)),
    ):
        value_fn = ji.value_function(net, x, players=seats)
        ready = [ji.masked_inputs(masks, x, 0.0, seats) for masks in chunks(value_fn, n)]

        def alone(net=net, ready=ready):
            with torch.inference_mode():
                for inputs in ready:
                    net(inputs)

        yield name, partial(ji.evaluate, value_fn), alone, ready


def overhead(n, repeats):
    print(f"\nn = {n}, ms: evaluate / the network alone on ready inputs (coalitions a call)")
    for cases in (jax_cases, torch_cases):
        try:
            for name, whole, alone, ready in cases(n):
                a, b, share = ratio(whole, alone, repeats)
                print(f"{name:28} {1e3 * a:8.1f} / {1e3 * b:8.1f} = {share:.2f} ({len(ready[0])})")
        except ImportError as error:
            print(f"{cases.__name__}: not measured, {error}")


PEAK = """
import sys, threading, time, numpy as np, jaxinter as ji
framework, n, budget = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, sys.argv[4])
import bench_evaluate as b
held = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
rng = np.random.default_rng(0)
if framework == "JAX":
    from flax import nnx
    net, x = b.Cnn(nnx.Rngs(0)), rng.random((28, 28, 1)).astype(np.float32)
else:
    import torch
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(),
        torch.nn.MaxPool2d(2), torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(),
        torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(1568, 10))
    x = torch.rand(1, 28, 28)
channels = "last" if framework == "JAX" else "first"
players = ji.brightest_patches(x, (4, 4), n, channels=channels)
f = ji.value_function(net, x, players=players)
ji.evaluate(ji.ValueFunction(lambda m: np.asarray(f(np.pad(m, [(0, 0), (0, n - 4)]))), 4))  # warm
before, most, running = held(), 0, True
def watch():
    global most
    while running:
        most = max(most, held())
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
ji.evaluate(f, memory=budget)
running = False
watcher.join()
print(most - before, f.row_bytes)
"""


def memory(n, budgets):
    print(f"\npeak memory of a run, n = {n}, MiB over what was held before / the budget")
    here = os.path.dirname(os.path.abspath(__file__))
    for framework in ("JAX", "torch"):
        for budget in budgets:
            arguments = [framework, str(n), str(budget), here]
            run = subprocess.run(
                [sys.executable, "-P", "-c", PEAK, *arguments],  # not the source folder's package
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            grown, row = map(int, run.stdout.split())
            print(f"{framework:6} {grown / 2**20:7.1f} / {budget / 2**20:5.0f} ({row} bytes a row)")


def against_shapiq(n, repeats):
    try:
        import shapiq
        from sklearn.datasets import load_breast_cancer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        print(f"\nshapiq: not measured, {error}")
        return
    data = load_breast_cancer()
    rows = data.data[:, :n]
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, data.target)
    x, mean = rows[0], rows.mean(axis=0)
    inside = 0.0

    class Timed(type(estimator)):  # the estimator, and the time spent in it
        def predict_proba(self, z):
            nonlocal inside
            start = time.perf_counter()
            p = super().predict_proba(z)
            inside += time.perf_counter() - start
            return p

    estimator.__class__ = Timed
    value_fn = ji.value_function(estimator, x, baseline=mean, output="probability", target=1)
    imputer = shapiq.BaselineImputer(
        lambda z: estimator.predict_proba(z)[:, 1], mean, x, normalize=False
    )
    ours = partial(ji.evaluate, value_fn)
    theirs = partial(shapiq.ExactComputer, imputer, n, evaluate_game=True)
    seconds = np.empty((2, 2, repeats))  # ours, theirs: whole, inside the estimator
    for k in range(repeats):
        for who, call in enumerate((ours, theirs)):
            start, inside = time.perf_counter(), 0.0
            call()
            seconds[who, :, k] = time.perf_counter() - start, inside
    (a, b), (c, d) = 1e3 * np.median(seconds, axis=2)
    times = np.median((seconds[1, 0] - seconds[1, 1]) / (seconds[0, 0] - seconds[0, 1]))
    print(f"\nscikit-learn logistic regression, n = {n}, ms outside the estimator (inside)")
    print(f"jaxinter {a - b:.2f} ({b:.2f}), shapiq {c - d:.2f} ({d:.2f}): {times:.0f} times")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="small, few repeats")
    smoke = parser.parse_args().smoke
    print(machine())
    overhead(8 if smoke else 12, 2 if smoke else 15)
    memory(8 if smoke else 16, [64 << 20] if smoke else [64 << 20, 256 << 20])
    against_shapiq(6 if smoke else 10, 2 if smoke else 31)


if __name__ == "__main__":
    main()
