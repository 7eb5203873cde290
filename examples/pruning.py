# SPDX-License-Identifier: Apache-2.0
"""Paper 003 on a network of your own size: which interactions go as it is pruned, which generalise.

    python examples/pruning.py --out DIR [--pair-mode fixed] [--small]   trains, prunes, explains
    python examples/pruning.py --analyse DIR                             from what was saved alone

A CNN on MNIST digits loses ever more of its weights, without fine-tuning. All networks explain the
same test digits by the same players: the 10 of 16 patches that the unpruned CNN attends to most.
The reference, whose interactions count as generalizable, is a LeNet trained on its own. Written to
DIR: interactions, Figures 3, 4 and 5. `--small`: little of everything, for a quick check.

High orders go before low ones, and pruning is more efficient in phase 1 than in 2. In phase 3 there
is next to nothing left to remove: its efficiency, a quotient of two small changes, says little.

To adapt it, replace `load_digits`, the two networks and `pruned`; the rest stays.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import numpy as np
import optax
from digits import Cnn, load_digits
from flax import nnx

import jaxinter as ji

RATIOS = (20, 40, 60, 70, 80, 85, 90, 94, 97, 99, 99.5)  # percent of weights
TEST = 1000  # digits kept from training


class LeNet(nnx.Module):
    """The reference: other filters, another depth, averages for maxima, tanh for ReLU."""

    def __init__(self, rngs):
        self.convs = nnx.List([nnx.Conv(a, b, (5, 5), rngs=rngs) for a, b in ((1, 6), (6, 16))])
        sizes = ((7 * 7 * 16, 120), (120, 84))
        self.dense = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in sizes])
        self.logits = nnx.Linear(84, 10, rngs=rngs)

    def __call__(self, x):
        for conv in self.convs:
            x = nnx.avg_pool(nnx.tanh(conv(x)), (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        for layer in self.dense:
            x = nnx.tanh(layer(x))
        return self.logits(x)


@nnx.jit
def step(model, adam, x, y):
    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    adam.update(model, nnx.grad(loss)(model))


@nnx.jit
def accuracy(model, x, y):
    return (model(x).argmax(axis=1) == y).mean()


def train(model, x, y, epochs):
    adam, rng = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param), np.random.default_rng(0)
    for epoch in range(epochs):
        for rows in rng.permutation(len(x)).reshape(-1, 100):
            step(model, adam, x[rows], y[rows])
        print(f"{type(model).__name__}: epoch {epoch + 1} of {epochs}", flush=True)


def pruned(model, percent):
    """The network without this share of its weights: the smallest of all layers, biases kept."""
    graph, parameters = nnx.split(model)
    sizes = [abs(w).ravel() for w in jax.tree.leaves(parameters) if w.ndim > 1]
    least = jnp.percentile(jnp.concatenate(sizes), percent)
    left = jax.tree.map(lambda w: jnp.where(abs(w) < least, 0, w) if w.ndim > 1 else w, parameters)
    return nnx.merge(graph, left)


def explain(out, pair_mode, small):
    """Trains, prunes, runs the networks on masked digits and saves their interactions in `out`."""
    x, y = load_digits()
    (train_x, test_x), (train_y, test_y) = ((z[:-TEST], z[-TEST:]) for z in (x, y))
    ratios = RATIOS[2::3] if small else RATIOS
    model, reference = Cnn(nnx.Rngs(0)), LeNet(nnx.Rngs(1))
    for network, epochs in ((model, 6), (reference, 10)):
        train(network, train_x, train_y, 1 if small else epochs)
        print(f"test accuracy {accuracy(network, test_x, test_y):.3f}")
    networks = [pruned(model, ratio) for ratio in ratios]

    count, n = (4, 6) if small else (50, 10)
    samples = list(zip(test_x[:count], test_y[:count].tolist()))
    choice = f"patches:4x4:gradients={n}"
    maps = [ji.value_function(model, x, target=y, players=choice).players for x, y in samples]

    def values(network, title):  # absent patches are black; v: log-odds of the true digit
        pairs = zip(samples, maps)
        fns = [ji.value_function(network, x, target=y, players=m) for (x, y), m in pairs]
        return ji.evaluate_samples(fns, progress=title)

    original, other = values(model, "original"), values(reference, "reference")
    tables = [values(network, f"pruned by {ratio} %") for ratio, network in zip(ratios, networks)]
    options = {"tol": 1e-3, "progress": True}  # the noise bound of paper 003 is the default here
    pairs = ji.extract_pairs(original, tables, pair_mode=pair_mode, **options)
    ji.extract(other, noise_preset="paper003", **options).save(out / "reference.npz")
    if pair_mode == "fixed":
        pairs.original.save(out / "original.npz")
    for k, ratio in enumerate(ratios):
        pairs.pruned[k].save(out / f"pruned_{ratio}.npz")
        if pair_mode == "joint":  # explained together with each pruned network
            pairs.original[k].save(out / f"original_{ratio}.npz")
    run = {
        "pair_mode": pair_mode,
        "ratios": ratios,
        "accuracy": [float(accuracy(network, test_x, test_y)) for network in networks],
        "accuracy_original": float(accuracy(model, test_x, test_y)),
    }
    (out / "run.json").write_text(json.dumps(run))


def analyse(out):
    """Table 2 and Figures 3 to 5, from the files in `out`."""
    run = json.loads((out / "run.json").read_text())
    ratios = run["ratios"]
    if run["pair_mode"] == "fixed":
        original = ji.load(out / "original.npz")
    else:
        original = [ji.load(out / f"original_{ratio}.npz") for ratio in ratios]
    series = ji.pruning_series(
        original,
        [ji.load(out / f"pruned_{ratio}.npz") for ratio in ratios],
        ji.load(out / "reference.npz"),
        ratios=ratios,
        accuracy=run["accuracy"],
    )
    phases = series.phases(run["accuracy_original"])
    print(series.to_pandas().round(3).to_string(index=False))
    share = series.generalizable.total[0].sum() / series.original.total[0].sum()
    print(f"\nof the original's own salient strength {share:.2f} is generalizable")
    print(f"Table 2, {run['pair_mode']} pairs, efficiency of pruning by phase: {phases}")

    ji.plot.pruning_ratios(series, phases=phases).figure.savefig(out / "figure4.png", dpi=150)
    for name, which in (("figure3", "preserved"), ("figure5", "emerged")):
        axes = ji.plot.pruning_orders(series, which=which)
        axes[0].figure.savefig(out / f"{name}.png", dpi=150)
    print(f"wrote figure3.png, figure4.png and figure5.png to {out}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("pruning"), help="default: ./pruning")
    parser.add_argument("--analyse", type=Path, help="a folder written before: no networks are run")
    parser.add_argument("--pair-mode", choices=("joint", "fixed"), default="joint")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    start = time.perf_counter()
    if options.analyse is None:
        options.out.mkdir(parents=True, exist_ok=True)
        explain(options.out, options.pair_mode, options.small)
    analyse(options.analyse or options.out)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
