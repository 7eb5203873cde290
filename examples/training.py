# SPDX-License-Identifier: Apache-2.0
"""Papers 001 and 002 on a network of your own size: its interactions from init to overfitting.

    python examples/training.py --out DIR [--small]        trains, explains every checkpoint
    python examples/training.py --analyse DIR [--reference final]     from what was saved alone

A CNN is trained on 300 MNIST digits, a tenth of the labels wrong, until it knows them by heart. At
each checkpoint the same test digits are explained, by the 10 brightest of 16 patches. Strengths by
order are fitted as decay plus spindle against I*, which is a choice: the network at the end of the
normal phase, while the loss gap is still about 0 (`--reference normal`), or the last one (`final`),
which then is all decay. Written to DIR: interactions, Figures 3 to 6 of paper 001, 2 of paper 002.
`--small`: little of everything, for a quick check.

To adapt it, replace `load_digits` and `Cnn`; the rest stays.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import matplotlib

matplotlib.use("Agg")
import numpy as np
import optax
import pandas
from digits import Cnn, load_digits
from flax import nnx
from matplotlib import pyplot

import jaxinter as ji

EPOCHS = (0, 2, 4, 7, 11, 16, 25, 50, 100, 200)
NOISE = (0.2, 0.35, 0.5, 0.7)  # on parameters, in standard deviations of each layer's
WRONG = 0.1  # share of the training labels drawn anew
NORMAL = 0.1  # the normal phase ends with the last checkpoint of a smaller loss gap
FIXED = ji.random_patches((28, 28, 1), (4, 4), 10, centre=(4, 4))  # the same in all digits


@nnx.jit
def loss(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


@nnx.jit
def step(model, adam, x, y):
    adam.update(model, nnx.grad(loss)(model, x, y))


def train(model, x, y, epochs):
    """The network at each of these epochs, copies."""
    adam, rng = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param), np.random.default_rng(0)
    for epoch in range(epochs[-1] + 1):
        if epoch in epochs:
            print(f"training: epoch {epoch} of {epochs[-1]}", flush=True)
            yield nnx.clone(model)
        for rows in rng.permutation(len(x)).reshape(-1, 50):
            step(model, adam, x[rows], y[rows])


def disturbed(model, sigma):
    """The network with Gaussian noise on its parameters, relative to each array's spread."""
    graph, parameters = nnx.split(model)
    rng = np.random.default_rng(0)

    def noisy(w):
        return w + sigma * w.std() * rng.normal(size=w.shape).astype(w.dtype)

    return nnx.merge(graph, jax.tree.map(noisy, parameters))


def explain(out, small):
    """Trains, explains all checkpoints and disturbed networks, saves interactions in `out`."""
    x, y = load_digits()
    (x, y), (test_x, test_y) = (x[:300], y[:300]), (x[-1000:], y[-1000:])
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(len(y)) < WRONG, rng.integers(0, 10, len(y)), y)
    epochs, noise = ((0, 4, 20), NOISE[1:2]) if small else (EPOCHS, NOISE)
    count, n = (4, 6) if small else (50, 10)

    networks = list(train(Cnn(nnx.Rngs(0)), x, labels.astype(np.int32), epochs))
    losses = {
        "train_loss": [float(loss(network, x, labels)) for network in networks],
        "test_loss": [float(loss(network, test_x, test_y)) for network in networks],
    }
    gaps = np.subtract(losses["test_loss"], losses["train_loss"])
    end = int(np.flatnonzero(gaps < NORMAL)[-1])
    run = losses | {"epochs": epochs, "normal": epochs[end], "noise": noise}
    noisy = [disturbed(networks[end], sigma) for sigma in noise]
    run["noise_loss"] = [float(loss(network, test_x, test_y)) for network in noisy]
    run["labels"] = {"train": y[:count].tolist(), "test": test_y[:count].tolist()}
    (out / "run.json").write_text(json.dumps(run))

    def save(name, network, of=test_x, of_labels=test_y, players=f"patches:4x4:brightest={n}"):
        print(f"explaining: {name}", flush=True)
        digits, targets = of[:count], of_labels[:count].tolist()  # v: log-odds of the true digit
        interactions = ji.explain(
            network, digits, target=targets, players=players, noise_preset="paper001", tol=1e-3
        )
        interactions.save(out / f"{name}.npz")

    for epoch, network in zip(epochs, networks):
        save(f"epoch_{epoch}", network)
    for sigma, network in zip(noise, noisy):
        save(f"noise_{sigma}", network)
    for k in (end, -1):
        save(f"train_{epochs[k]}", networks[k], x, y, FIXED)
        save(f"test_{epochs[k]}", networks[k], players=FIXED)
    # What a network trained on testing samples has too, generalises (002).
    *_, baseline = train(Cnn(nnx.Rngs(1)), test_x, test_y, (0, 1) if small else (0, 6))
    save("baseline", baseline)


def analyse(out, reference):
    """The tables and the figures, from the files in `out`."""
    run = json.loads((out / "run.json").read_text())
    epochs, normal, noise = run["epochs"], run["normal"], run["noise"]
    series = [ji.load(out / f"epoch_{epoch}.npz") for epoch in epochs]
    baseline = ji.load(out / "baseline.npz")

    # Strengths in units of Z, the first-order strength of the same checkpoint (001, I.3).
    units = [ji.first_order_strength(one, "paper001") for one in series]
    strengths = [ji.order_strength(one).mean().normalized(z) for one, z in zip(series, units)]
    star = epochs.index(normal if reference == "normal" else epochs[-1])
    name = f"epoch {epochs[star]}"
    effects = series[star].effects / units[star]
    fit = ji.fit_distributions(strengths, effects, reference_name=name)
    print(f"\nI* of the decay: {name}; the normal phase ends at epoch {normal}")
    show(
        {"epoch": epochs, "train loss": run["train_loss"], "test loss": run["test_loss"]}
        | {"alpha": fit.alpha, "beta": fit.beta, "delta": fit.delta, "gamma": fit.gamma}
        | {"spindle share": fit.spindle_share, "residual": fit.relative_residual}
        | {"convergent": [ji.convergent_share(one, baseline) for one in series]}
    )
    gaps = np.subtract(run["test_loss"], run["train_loss"])
    labels = [f"epoch {epoch}" for epoch in epochs]
    axes = ji.plot.checkpoints(fit, labels=labels, gap=gaps, unit="Z")
    axes[0].figure.savefig(out / "figure5.png", dpi=150)

    # Noise on the parameters, from the normal phase's end on: the spindle grows (001, Fig. 4).
    before = series[epochs.index(normal)]
    noisy = [ji.load(out / f"noise_{sigma}.npz") for sigma in noise]
    strengths = [ji.order_strength(one).mean() for one in (before, *noisy)]
    fit = ji.fit_distributions(strengths, before, reference_name=f"epoch {normal}")
    parts = {"decay": fit.decay.total.sum(axis=1), "spindle": fit.spindle.total.sum(axis=1)}
    print(f"\nnoise on the parameters of epoch {normal}, which is I*: strength of the parts")
    losses = [run["test_loss"][epochs.index(normal)], *run["noise_loss"]]
    numbers = {"sigma": [0, *noise], "test loss": losses}
    show(numbers | parts | {"residual": fit.relative_residual})
    titles = [f"noise {sigma:g}" for sigma in (0, *noise)]
    ji.plot.distributions(fit, titles=titles)[0, 0].figure.savefig(out / "figure4.png", dpi=150)
    # What the noise brought, on its own, is a spindle (001, Fig. 3).
    new = [ji.new_strength(one, before, of="effects").mean() for one in noisy]
    axes = ji.plot.distributions(ji.fit_distributions(new, parts="spindle"), titles=titles[1:])
    axes[0, 0].figure.savefig(out / "figure3.png", dpi=150)

    # Training and test digits, by players that mean the same in all of them (001, Fig. 6).
    ax, classes = None, {f"{of}_classes": labels for of, labels in run["labels"].items()}
    print("\nJaccard similarity of training and test digits, by order")
    for epoch in (normal, epochs[-1]):
        sets = [ji.load(out / f"{of}_{epoch}.npz") for of in ("train", "test")]
        similarity = ji.jaccard_by_order(*sets, **classes)
        ax = ji.plot.jaccard(similarity, ax, label=f"epoch {epoch}")
        print(f"epoch {epoch}:", similarity.similarity.round(2))
    ax.figure.savefig(out / "figure6.png", dpi=150)

    # All interactions, and those that the network of the test digits has too (002, Fig. 2).
    figure, panels = pyplot.subplots(2, -(-len(epochs) // 2), figsize=(15, 6), layout="constrained")
    for ax, epoch, one in zip(panels.flat, epochs, series):
        part = ji.order_strength(one, where=ji.convergent(one, baseline)).mean()
        ji.plot.order_strength(ji.order_strength(one, "paper002").mean(), ax, part=part)
        ax.set(title=f"epoch {epoch}", xlabel="order", ylabel="")
        ax.get_legend().remove()
    figure.suptitle("positive up, negative down; full bars: shared with the baseline (log-odds)")
    figure.savefig(out / "paper002_figure2.png", dpi=150)
    print(f"\nwrote figure3.png to figure6.png and paper002_figure2.png to {out}")


def show(columns):
    print(pandas.DataFrame(columns).to_string(index=False, float_format="{:.3g}".format))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("training"), help="default: ./training")
    parser.add_argument("--analyse", type=Path, help="a folder written before: no networks are run")
    parser.add_argument("--reference", choices=("normal", "final"), default="normal")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    start = time.perf_counter()
    if options.analyse is None:
        options.out.mkdir(parents=True, exist_ok=True)
        explain(options.out, options.small)
    analyse(options.analyse or options.out, options.reference)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
