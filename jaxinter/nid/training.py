# SPDX-License-Identifier: Apache-2.0
"""NID 3. Training: one program for a whole run, any number of runs at a time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxinter import _native
from jaxinter.nid.network import DEVIATION, UNIVARIATE, AdditiveMLP, Architecture, empty

__all__ = ["Part", "Recipe", "Run", "mean_loss", "train_all"]

BLOCK = 2048  # rows of the validation part that go through the network at a time
ROWS_A_CALL = 200_000  # between two looks at whether to stop


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["learning_rate", "decay", "penalty"],  # other numbers, the same program
    meta_fields=["task", "epochs", "batch_size", "regularizer"],
)
@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    task: str  # "regression" or "classification"
    epochs: int
    batch_size: int
    learning_rate: float
    decay: float
    regularizer: str
    penalty: float


class Progress(NamedTuple):
    """Where a training run stands, after some epochs: all that it goes on from."""

    state: Any  # of the network: parameters, and masks where it has some
    moments: Any  # Adam's
    best: Any  # the state with the least validation loss
    best_loss: jax.Array
    losses: jax.Array  # [epochs], of the validation part; NaN for those to come


class Part(NamedTuple):
    """Rows to learn from or to check by."""

    x: Any  # float32 [rows, inputs]
    y: Any  # float32 [rows], or int32, the class


def _start(architecture: Architecture, recipe: Recipe, key: jax.Array, masks: Any) -> Progress:
    """A network as it is before training; `masks` of an MLP-Cutoff, else None."""
    shapes, rest = nnx.split_state(nnx.state(empty(architecture)), nnx.Param, ...)
    leaves, structure = jax.tree.flatten(shapes)
    # One draw for all: a draw for each takes four seconds to compile.
    ends = np.cumsum([leaf.size for leaf in leaves])
    drawn = jnp.split(jax.random.truncated_normal(key, -2, 2, (ends[-1],), jnp.float32), ends[:-1])
    units = [part.reshape(leaf.shape) for part, leaf in zip(drawn, leaves)]
    weights = jax.tree.map_with_path(
        lambda path, x: x * jnp.float32(_deviation(masks is not None, path, x.shape)),
        jax.tree.unflatten(structure, units),
    )
    state = nnx.merge_state(weights, jax.tree.map(lambda _: masks, rest))
    losses = jnp.full(recipe.epochs, jnp.nan, jnp.float32)
    return Progress(state, optax.scale_by_adam().init(weights), state, jnp.float32(jnp.inf), losses)


def _deviation(stacked: bool, path: Any, shape: tuple[int, ...]) -> float:
    """Of the numbers that a weight or bias is drawn from.

    Networks of columns that start this small are often stuck: alone, in MLP-Cutoff, they err a
    tenth to a fifth more. Beside a network under L1 they must: where they learn first, it dies.
    """
    names = [getattr(key, "key", getattr(key, "name", None)) for key in path]
    if stacked and "biases" in names:
        return 0.5
    if stacked and "kernels" in names and len(UNIVARIATE) not in names:  # all but the output's
        return np.sqrt(2 / shape[-1])  # He et al. 2015
    return DEVIATION


def _train(
    architecture: Architecture,
    recipe: Recipe,
    progress: Progress,
    key: jax.Array,
    training: Part,
    validation: Part,
    epochs: Any,
) -> Progress:
    """Epochs ``epochs[0]`` to ``epochs[1] - 1``: the same bits in one call as in several.

    Adam, whose rate falls after each epoch, on the mean loss of each batch and the penalty. Each
    epoch takes the rows in an order of its own and leaves out those that fill no batch.
    """
    definition = nnx.graphdef(empty(architecture))
    columns = np.array(architecture.columns)
    adam = optax.scale_by_adam()
    rows, size = len(training.x), min(recipe.batch_size, len(training.x))

    def objective(weights, rest, batch):
        net = nnx.merge(definition, weights, rest)
        loss = losses(recipe.task, net(batch.x), batch.y).mean()
        return loss + recipe.penalty * net.penalty(recipe.regularizer, columns)

    def epoch(i, progress):
        rate = recipe.learning_rate * jnp.float32(recipe.decay) ** i.astype(jnp.float32)
        order = jax.random.permutation(
            jax.random.fold_in(key, i), jnp.arange(rows, dtype=jnp.int32)
        )
        order = order[: rows // size * size].reshape(-1, size)
        batches = jax.tree.map(lambda a: a[order], training)
        weights, rest = nnx.split_state(progress.state, nnx.Param, ...)

        def step(carry, batch):
            weights, moments = carry
            gradient = jax.grad(objective)(weights, rest, batch)
            update, moments = adam.update(gradient, moments)
            return (jax.tree.map(lambda w, u: w - rate * u, weights, update), moments), None

        (weights, moments), _ = jax.lax.scan(step, (weights, progress.moments), batches)
        state = nnx.merge_state(weights, rest)
        loss = mean_loss(recipe.task, nnx.merge(definition, state), validation)
        better = loss < progress.best_loss
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state, progress.best)
        return Progress(
            state,
            moments,
            best,
            jnp.where(better, loss, progress.best_loss),
            progress.losses.at[i].set(loss),
        )

    return jax.lax.fori_loop(epochs[0], epochs[1], epoch, progress)


def losses(task: str, outputs: Any, y: Any) -> jax.Array:
    """Squared error, or cross-entropy, of each row."""
    if task == "regression":
        return (outputs[:, 0] - y) ** 2
    if outputs.shape[1] == 1:
        return optax.sigmoid_binary_cross_entropy(outputs[:, 0], y.astype(outputs.dtype))
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y)


def mean_loss(task: str, net: AdditiveMLP, part: Part) -> jax.Array:
    """A block of rows at a time, so that what a layer gives stays in the cache."""
    rows = len(part.x)
    blocks = -(-rows // BLOCK)
    size = -(-rows // blocks)
    counted = (jnp.arange(blocks * size) < rows).reshape(blocks, size)
    filled = jax.tree.map(lambda a: jnp.resize(a, (blocks, size, *a.shape[1:])), part)

    def total(block: tuple[Part, jax.Array]) -> jax.Array:
        part, counted = block
        return jnp.where(counted, losses(task, net(part.x), part.y), 0).sum()

    return jax.lax.map(total, (filled, counted)).sum() / rows


# One run: of a CPU's threads each has its own. And all runs of an accelerator at once.
start_one = jax.jit(_start, static_argnums=0)
train_one = jax.jit(_train, static_argnums=0, donate_argnums=2)


@partial(jax.jit, static_argnums=0)
def start_together(architecture, recipe, keys, masks):
    return jax.vmap(partial(_start, architecture, recipe))(keys, masks)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def train_together(architecture, recipe, progress, keys, training, validation, epochs):
    each = partial(_train, architecture, recipe)
    axes = (0, 0, 0, 0, None)
    return jax.vmap(each, in_axes=axes)(progress, keys, training, validation, epochs)


class Run(NamedTuple):
    """A network to be trained."""

    key: jax.Array
    masks: Any  # of an MLP-Cutoff, else None
    training: Part
    validation: Part


class Trained(NamedTuple):
    state: Any  # with the least validation loss
    losses: np.ndarray  # [epochs], of the validation part


def train_all(
    architecture: Architecture,
    recipe: Recipe,
    runs: Sequence[Callable[[], Run]],
    step: Callable[[int], None] | None = None,
    *,
    together: bool | None = None,
) -> Iterator[tuple[int, Trained]]:
    """Each run and its place among `runs`, as it ends; `step` hears of epochs done.

    A CPU's threads train a network each: the same bits whatever their number and that of the runs.
    An accelerator trains all `together`, one program over all.
    """
    if together is None:
        together = jax.default_backend() != "cpu"
    ready, done, stop = threading.Lock(), 0, threading.Event()

    def heard(epochs: int) -> None:
        nonlocal done
        with ready:
            done += epochs
            if step:
                step(done)

    def finish(start: Any, train: Any, run: Run, count: int) -> Any:
        # Adam of optax needs implicit promotion, and would correct its moments in float64.
        with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
            progress = start(architecture, recipe, run.key, run.masks)
            at_once = max(1, ROWS_A_CALL // max(1, run.training.y.size))
            for epoch in range(0, recipe.epochs, at_once):
                if stop.is_set():
                    return None
                epochs = np.array([epoch, min(epoch + at_once, recipe.epochs)], np.int32)
                progress = train(architecture, recipe, progress, *run[:1], *run[2:], epochs)
                jax.block_until_ready(progress.losses)
                heard(int(epochs[1] - epochs[0]) * count)
        return Trained(jax.device_get(progress.best), np.asarray(progress.losses))

    if together:
        made = [run() for run in runs]
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *made) if made else None
        if stacked is not None:
            trained = finish(start_together, train_together, stacked, len(made))
            for i in range(len(made)):
                yield i, jax.tree.map(lambda a, i=i: a[i], trained)
        return
    with ThreadPoolExecutor(max(1, min(_native.thread_limit(), len(runs)))) as threads:
        one = partial(finish, start_one, train_one)
        try:
            futures = {threads.submit(lambda r: one(r(), 1), run): i for i, run in enumerate(runs)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:  # an interrupt, an error, or a caller who wants no more
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
