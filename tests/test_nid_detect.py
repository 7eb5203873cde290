# SPDX-License-Identifier: Apache-2.0
"""Networks, training and detection: against plain numpy and optax, and on tables of known truth."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxinter import _checks, _native, _progress, nid
from jaxinter.nid import detection, ranking, table, training
from jaxinter.nid.network import REGULARIZERS, AdditiveMLP, Architecture
from jaxinter.nid.training import Part, Recipe, Run, Trained, train_all

DETECT = sys.modules["jaxinter.nid.detect"]  # whose name the function has taken
SMALL = {"hidden": (20, 10), "epochs": 30, "batch_size": 20, "trials": 2}


pytestmark = pytest.mark.usefixtures("quick_file")


@pytest.fixture(scope="module")
def product():
    """Two columns interact; one matters alone; one does not."""
    x = np.random.default_rng(0).uniform(-1, 1, (400, 4))
    return x, x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2])


@pytest.fixture(scope="module")
def found(product):
    return nid.detect(*product, **SMALL)


def bits(detection):
    return [np.asarray(leaf) for t in detection.trials for leaf in leaves(t.network)]


def leaves(net):
    return jax.tree.leaves(nnx.state(net))


def same_bits(a, b):
    return all((x == y).all() for x, y in zip(bits(a), bits(b), strict=True))


# ------------------------------------------------------------------------------------- networks


def plain_mlp(net, x):
    for layer in net.layers[:-1]:
        x = np.maximum(x @ np.asarray(layer.kernel) + np.asarray(layer.bias), 0)
    return x @ np.asarray(net.layers[-1].kernel) + np.asarray(net.layers[-1].bias)


def plain_main_effects(effects, architecture, x):
    """One column at a time."""
    y = np.zeros((len(x), architecture.outputs))
    for c, i in enumerate(architecture.numeric):
        h = x[:, [i]]
        for kernel, bias in zip(effects.kernels[:-1], effects.biases):
            h = np.maximum(h @ np.asarray(kernel)[c].T + np.asarray(bias)[c].T, 0)
        y += h @ np.asarray(effects.kernels[-1])[c].T
    for row, i in enumerate(architecture.categories):
        y += x[:, [i]] * np.asarray(effects.category)[row]
    return y


@pytest.mark.parametrize(
    ("columns", "outputs"), [((0, 1, 2), 1), ((0, 1, 1, 1, 2), 3), ((0, 0, 1, 1), 1)]
)
def test_networks_compute_their_sums(rng, columns, outputs):
    architecture = Architecture(columns, outputs, (7, 5), True)
    net = AdditiveMLP(architecture, rngs=nnx.Rngs(3))
    x = rng.normal(size=(11, len(columns))).astype(np.float32)
    expected = plain_mlp(net.interaction_mlp, x)
    expected = expected + plain_main_effects(net.main_effects, architecture, x)
    np.testing.assert_allclose(net(x), expected, atol=2e-6)


def test_stacked_networks_see_what_their_masks_say(rng):
    architecture = Architecture((0, 1, 2), 2, (7, 5), True, stacked=2)
    net = AdditiveMLP(architecture, rngs=nnx.Rngs(3))
    net.masks[...] = jnp.asarray([[1, 0, 1], [0, 0, 0]], jnp.float32)
    x = rng.normal(size=(6, 3)).astype(np.float32)
    first = jax.tree.map(lambda a: a[0], net.interaction_mlp)
    terms = net.of_interactions(x)
    np.testing.assert_allclose(terms[0], plain_mlp(first, x * [1, 0, 1]), atol=2e-6)
    assert (terms[1] == 0).all()
    expected = terms[0] + plain_main_effects(net.main_effects, architecture, x)
    np.testing.assert_allclose(net(x), expected, atol=2e-6)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_penalties_are_their_formulas(regularizer):
    columns = np.array([0, 1, 1, 2])
    net = AdditiveMLP(Architecture(tuple(columns.tolist()), 1, (5, 4), True), rngs=nnx.Rngs(1))
    net.interaction_mlp.layers[0].kernel[0] = 0.0  # a group of zeros has a gradient of 0
    first, *later = (np.asarray(layer.kernel, float) for layer in net.interaction_mlp.layers)
    expected = sum(abs(w).sum() for w in later)
    if regularizer == "l2":
        expected = sum((w**2).sum() for w in [first, *later])
    elif regularizer == "l1" or regularizer.startswith("sparse"):
        expected += abs(first).sum()
    groups = []
    if regularizer.endswith("inputs"):
        groups = [first[columns == c] for c in range(3)]
    elif regularizer.endswith("units"):
        groups = list(first.T)
    expected += sum(np.sqrt(g.size) * np.sqrt((g**2).sum()) for g in groups)
    assert float(net.penalty(regularizer, columns)) == pytest.approx(expected, rel=1e-6)
    graph, state = nnx.split(net)
    gradient = jax.grad(lambda s: nnx.merge(graph, s).penalty(regularizer, columns))(state)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


# ------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_losses_are_their_formulas(rng, task, outputs):
    logits = 3 * rng.normal(size=(9, outputs)).astype(np.float32)
    if task == "regression":
        y = rng.normal(size=9).astype(np.float32)
        expected = (logits[:, 0] - y) ** 2
    else:
        y = rng.integers(0, max(2, outputs), 9).astype(np.int32)
        p = detection.probabilities(logits)
        assert p.shape == (9, max(2, outputs))
        expected = [-np.log(row[label]) for row, label in zip(p, y)]
        if outputs == 1:
            np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-logits[:, 0])), rtol=1e-6)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(training.losses(task, logits, y), expected, rtol=1e-4)


@jax.numpy_dtype_promotion("standard")
def plain_training(architecture, recipe, run):
    """Plain optax, batch by batch; all states and validation losses."""
    graph = nnx.graphdef(AdditiveMLP(architecture, rngs=nnx.Rngs(0)))
    state = training.start_one(architecture, recipe, run.key, None).state
    columns = np.array(architecture.columns)

    def objective(state, x, y):
        net = nnx.merge(graph, state)
        loss = jnp.mean((net(x)[:, 0] - y) ** 2)
        return loss + recipe.penalty * net.penalty(recipe.regularizer, columns)

    gradient = jax.jit(jax.grad(objective))
    update_of = jax.jit(lambda slope, moments: adam.update(slope, moments))
    rows, size = len(run.training.x), recipe.batch_size
    adam = optax.adam(
        optax.exponential_decay(recipe.learning_rate, rows // size, recipe.decay, staircase=True)
    )
    moments, states, checked = adam.init(state), [], []
    for epoch in range(recipe.epochs):
        order = jax.random.permutation(jax.random.fold_in(run.key, epoch), rows)
        for batch in order[: rows // size * size].reshape(-1, size):
            slope = gradient(state, run.training.x[batch], run.training.y[batch])
            update, moments = update_of(slope, moments)
            state = optax.apply_updates(state, update)
        states.append(state)
        outputs = nnx.merge(graph, state)(run.validation.x)[:, 0]
        checked.append(float(jnp.mean((outputs - run.validation.y) ** 2)))
    return states, checked


def test_weights_and_biases_start_small():
    """Truncated normal, of 0.1 before it is cut at two deviations; none is that of another."""
    architecture = Architecture((0, 1, 2), 1, (60, 50), True)
    drawn = np.concatenate([x.ravel() for x in jax.tree.leaves(started(architecture, None))])
    assert abs(drawn).max() <= 0.2 and len(np.unique(drawn)) > 0.999 * len(drawn)
    assert drawn.std() == pytest.approx(0.088, abs=0.002) and abs(drawn.mean()) < 0.005


def test_networks_of_columns_alone_start_larger():
    architecture = Architecture((*range(40), 40, 40, 40), 2, (5,), True, stacked=3)
    masks = jnp.ones((3, 43), jnp.float32)
    net = started(architecture, masks)
    assert (net.masks[...] == 1).all()
    stds = [np.asarray(x[...]).std() / 0.88 for x in net.main_effects.kernels]
    np.testing.assert_allclose(stds, [2**0.5, 0.2**0.5, 0.2**0.5, 0.1], rtol=0.1)
    biases = [np.asarray(x[...]).std() / 0.88 for x in net.main_effects.biases]
    np.testing.assert_allclose(biases, [0.5] * 3, rtol=0.1)
    assert max(abs(x).max() for x in jax.tree.leaves(net.interaction_mlp)) <= 0.2
    assert abs(net.main_effects.category[...]).max() <= 0.2


def started(architecture, masks):
    recipe = Recipe("regression", 3, 10, 0.02, 0.5, "l1", 1e-3)
    state = training.start_one(architecture, recipe, jax.random.key(5), masks).state
    return nnx.merge(nnx.graphdef(AdditiveMLP(architecture, rngs=nnx.Rngs(0))), state)


def test_training_is_plain_adam(rng, monkeypatch):
    monkeypatch.setattr(training, "BLOCK", 8)  # of 30 rows: three blocks, and six rows over
    x = rng.normal(size=(75, 3)).astype(np.float32)
    y = x[:, 0] * x[:, 1]
    architecture = Architecture((0, 1, 2), 1, (6, 5), True)
    recipe = Recipe("regression", 3, 10, 0.02, 0.5, "sparse_group_inputs", 1e-3)
    run = Run(jax.random.key(5), None, Part(x[:45], y[:45]), Part(x[45:], y[45:]))
    states, checked = plain_training(architecture, recipe, run)
    ((i, trained),) = train_all(architecture, recipe, [lambda: run])
    assert i == 0
    np.testing.assert_allclose(trained.losses, checked, rtol=2e-4)
    best = states[int(np.argmin(checked))]
    for ours, theirs in zip(jax.tree.leaves(trained.state), jax.tree.leaves(best), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_the_best_weights_are_kept(product):
    """A rate that throws the network about: the last epoch is not the best."""
    result = nid.detect(*product, **SMALL | {"learning_rate": 0.3, "decay": 1.0})
    data = table.read("", *product)
    for t, trial in enumerate(result.trials):
        _, checked, kept = result.settings.split(t)
        for rows, loss in ((checked, trial.validation_losses.min()), (kept, trial.test_loss)):
            part = trial.scaling.part(data, rows)
            got = np.mean((plain(trial.network, result, part.x) - part.y) ** 2)
            assert got == pytest.approx(loss, rel=1e-4)
    assert any(t.validation_losses.argmin() < 29 for t in result.trials)


def test_fewer_rows_than_a_batch(product):
    options = SMALL | {"batch_size": 1000, "epochs": 2, "trials": 1}
    before, after = nid.detect(*product, **options).trials[0].validation_losses
    assert after < before


def test_a_training_that_diverges_late(product, found):
    """The weights from before are kept."""
    trial, data = found.trials[1], table.read("", *product)
    losses = np.array([2.0, 0.25, np.nan], np.float32)
    trained = Trained(nnx.state(trial.network), losses)
    architecture = found.settings.architecture(found.encoder)
    again = DETECT._trial(data, found.settings, 1, trained, architecture, trial.scaling)
    assert (again.validation_loss, again.test_loss) == (0.25, trial.test_loss)


def test_values_that_only_rows_kept_back_differ_from():
    """Of equal values numpy's standard deviation is not 0, where their mean is rounded."""
    x = np.random.default_rng(0).normal(size=(40, 2))
    x[:, 1], y, learnt = 0.1, np.full(40, 0.1), np.arange(39)
    x[39, 1] = y[39] = 5.0
    scaling = detection.Scaling.of(table.read("", x, y, task="regression"), learnt)
    assert x[:39, 1].std() > 0
    assert scaling.x_scale.tolist() == [x[:39, 0].std(), 1.0] and scaling.y_scale == 1.0


def plain(net, result, x):
    architecture = result.settings.architecture(result.encoder)
    y = plain_mlp(net.interaction_mlp, x)
    if net.main_effects is not None:
        y = y + plain_main_effects(net.main_effects, architecture, x)
    return y[:, 0]


# ----------------------------------------------------------------------------- the same bits


def test_a_trial_does_not_depend_on_the_others(product, found, monkeypatch):
    monkeypatch.setattr(_native, "thread_limit", lambda: 1)
    more = nid.detect(*product, **SMALL | {"trials": 3})
    assert same_bits(found, detection.Detection(found.encoder, found.settings, more.trials[:2]))
    assert (more.strengths_by_trial[:2, 0] > 0).any()


def test_nor_on_when_it_looks_whether_to_stop(product, found, monkeypatch):
    monkeypatch.setattr(training, "ROWS_A_CALL", 1)
    assert same_bits(found, nid.detect(*product, **SMALL))


def test_nor_on_x64(product, found):
    jax.config.update("jax_enable_x64", True)  # everywhere: a context would not reach the threads
    try:
        assert same_bits(found, nid.detect(*product, **SMALL))
    finally:
        jax.config.update("jax_enable_x64", False)


def test_another_seed_is_another_detection(product, found):
    other = nid.detect(*product, **SMALL, seed=1)
    assert not same_bits(found, other)
    made = [d.settings.split(t)[1] for d in (found, other) for t in range(2)]
    assert len({frozenset(rows.tolist()) for rows in made}) == 4
    assert not same_bits(
        detection.Detection(found.encoder, found.settings, found.trials[:1]),
        detection.Detection(found.encoder, found.settings, found.trials[1:]),
    )


def test_all_runs_in_one_program_train_as_one_at_a_time(rng):
    """What an accelerator does, on the CPU; batched products round differently."""
    architecture = Architecture((0, 1), 1, (6, 5), True)
    recipe = Recipe("regression", 2, 10, 0.01, 0.95, "l1", 1e-4)
    x = rng.normal(size=(3, 60, 2)).astype(np.float32)

    def run(t):
        y = x[t, :, 0] * x[t, :, 1]
        return Run(jax.random.key(t), None, Part(x[t, :40], y[:40]), Part(x[t, 40:], y[40:]))

    runs = [lambda t=t: run(t) for t in range(3)]
    heard = []
    one = dict(train_all(architecture, recipe, runs, heard.append))
    assert heard == [2, 4, 6]
    all_at_once = dict(train_all(architecture, recipe, runs, heard.append, together=True))
    assert heard[-1] == 6
    for t in range(3):
        np.testing.assert_allclose(one[t].losses, all_at_once[t].losses, rtol=1e-4)
        for a, b in zip(jax.tree.leaves(one[t].state), jax.tree.leaves(all_at_once[t].state)):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert not dict(train_all(architecture, recipe, [], together=True))


# ---------------------------------------------------------------------- stopped and resumed


def test_what_was_stopped_goes_on(product, found, tmp_path, monkeypatch):
    path = tmp_path / "trials.npz"
    run = training.train_all

    def stopped(*args, **kwargs):
        results = run(*args, **kwargs)
        yield next(results)
        raise KeyboardInterrupt

    monkeypatch.setattr(DETECT, "train_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        nid.detect(*product, **SMALL, resume=path)
    _, _, trials, digest = detection.read("", path)
    (first,) = trials
    begun, steps = [], []

    @contextmanager
    def counter(title, total):
        steps.extend([title, total])
        yield steps.append

    monkeypatch.setattr(_progress, "counter", counter)

    def counted(architecture, recipe, runs, step):
        begun.append(len(runs))
        return run(architecture, recipe, runs, step)

    monkeypatch.setattr(DETECT, "train_all", counted)
    again = nid.detect(*product, **SMALL, resume=path, progress="again")
    assert same_bits(found, again) and (again.test_loss == found.test_loss).all()
    assert steps[:2] == ["again", 30] and steps[-1] == 30
    assert same_bits(found, nid.detect(*product, **SMALL, resume=path))
    fewer = nid.detect(*product, **SMALL | {"trials": 1}, resume=path)
    assert same_bits(fewer, replace(found, trials=found.trials[:1]))
    assert begun == [1, 0, 0]
    x, y = product
    for other in ((x, -y), (-x, y)):
        with pytest.raises(ValueError, match=r"nid.detect: resume must .* is of other data"):
            nid.detect(*other, **SMALL, resume=path)
    encoder = replace(found.encoder, categories={3: (0, 1)})  # inputs of the same bytes
    detection.write(path, encoder, *detection.read("", path)[1:])
    with pytest.raises(ValueError, match=r"nid.detect: resume must .* is of other data"):
        nid.detect(x, y, **SMALL, resume=path)
    detection.write(path, found.encoder, found.settings, trials | {5: trials[first]}, digest)
    with pytest.raises(ValueError, match=rf"hold the first trials; got \[{first}, 5\]. Let detect"):
        nid.load(path)
    with pytest.raises(ValueError, match=r"resume must .* is of other penalty, epochs"):
        nid.detect(x, y, **SMALL | {"epochs": 5}, penalty=0.1, resume=path)
    with pytest.raises(ValueError, match=r"resume must be in a folder that is there; got .*none"):
        nid.detect(x, y, **SMALL, resume=tmp_path / "none" / "trials.npz")
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"nid.detect: .* must be a file that nid.Detection.save"):
        nid.detect(x, y, **SMALL, resume=path)


def test_an_interrupt_stops_all_threads(rng, monkeypatch):
    """The generator's end: no thread trains on for minutes."""
    monkeypatch.setattr(_native, "thread_limit", lambda: 2)
    monkeypatch.setattr(training, "ROWS_A_CALL", 1)
    architecture = Architecture((0, 1), 1, (4,), False)
    recipe = Recipe("regression", 5000, 10, 0.01, 0.95, "l1", 1e-4)
    x = rng.normal(size=(50, 2)).astype(np.float32)
    part = Part(x, x[:, 0])

    class Stop(Exception):
        pass

    heard = []

    def step(done):
        heard.append(done)
        if done == 5:  # in one of the threads
            raise Stop

    with pytest.raises(Stop):
        list(
            train_all(
                architecture, recipe, [lambda: Run(jax.random.key(0), None, part, part)] * 3, step
            )
        )
    assert len(heard) < 5000


def test_says_what_it_is(found):
    assert repr(found).startswith(
        "<Detection: 2 trials, 400 rows, 4 columns, regression; strongest (0"
    )
    first, *_ = str(found).split("\n")
    assert "+-" in first and first.endswith("(0, 1)")
    alone = detection.Detection(found.encoder, found.settings, found.trials[:1])
    assert "+-" not in str(alone)
    with pytest.raises(TypeError, match=r"got Detection, whose `rankings` are"):
        nid.rank(found)


def test_saved_and_loaded(product, found, tmp_path):
    path = tmp_path / "found.npz"
    found.save(path)
    again = nid.load(path)
    assert again.interactions == found.interactions
    assert (again.strengths_by_trial == found.strengths_by_trial).all()
    assert (again.pairwise == found.pairwise).all()
    assert (again.predict(product[0]) == found.predict(product[0])).all()
    assert (again.validation_loss == found.validation_loss).all()
    assert (again.test_loss == found.test_loss).all()
    assert again.settings == found.settings and again.encoder == found.encoder


def test_a_file_keeps_the_order_of_trials(found, tmp_path):
    many = [replace(found.trials[t % 2], test_loss=float(t)) for t in range(12)]
    replace(found, trials=tuple(many)).save(tmp_path / "many.npz")
    again = nid.load(tmp_path / "many.npz")
    assert again.test_loss.tolist() == list(range(12))
    assert same_bits(again, replace(found, trials=found.trials * 6))


# ------------------------------------------------------------------------------- detection


def test_strengths_are_means_over_trials(found):
    assert (np.diff(found.strengths) <= 0).all()
    np.testing.assert_allclose(found.strengths_by_trial.mean(0), found.strengths, rtol=1e-12)
    np.testing.assert_allclose(
        found.pairwise, np.mean([r.pairwise for r in found.rankings], axis=0), rtol=1e-12
    )
    for t, own in enumerate(found.rankings):
        its_own = dict(zip(own.interactions, own.strengths))
        for k, interaction in enumerate(found.interactions):
            if interaction in its_own:
                assert found.strengths_by_trial[t, k] == pytest.approx(its_own[interaction])
    np.testing.assert_allclose(found.spread, found.strengths_by_trial.std(0, ddof=1))
    assert set(np.unique(found.found)) <= {0.5, 1.0}


def test_rankings_are_as_asked_for(found):
    one = replace(found, settings=replace(found.settings, max_interactions=1))
    assert [len(r) for r in (one, *one.rankings)] == [1, 1, 1]
    assert len(found) > 1 < max(len(r) for r in found.rankings)
    other = replace(found, settings=replace(found.settings, averaging="max"))
    expected = ranking.pairwise(other.first_weights, other.aggregated_weights, "max")
    np.testing.assert_array_equal(other.pairwise_by_trial, expected)
    np.testing.assert_allclose([r.pairwise for r in other.rankings], expected, rtol=1e-12)
    np.testing.assert_allclose(other.strengths_by_trial.mean(0), other.strengths, rtol=1e-12)


def test_training_is_as_asked_for(product, monkeypatch):
    asked = []
    monkeypatch.setattr(DETECT, "train_all", lambda *of: asked.extend(of[:3]) or ())
    options = {"hidden": [3], "epochs": 4, "batch_size": 5, "learning_rate": 0.5, "decay": 0.75}
    options |= {"regularizer": "group_units", "penalty": 0.25, "validation": 0.25, "test": 0.5}
    with pytest.raises(KeyError):
        nid.detect(*product, **options, main_effects=False, trials=3, seed=2**32 - 1)
    architecture, recipe, runs = asked
    assert architecture == Architecture((0, 1, 2, 3), 1, (3,), False)
    assert recipe == Recipe("regression", 4, 5, 0.5, 0.75, "group_units", 0.25)
    assert [(len(r.training.y), len(r.validation.y)) for r in (run() for run in runs)] == [
        (100, 100)
    ] * 3


def test_pairs_of_a_detection(product):
    result = nid.detect(*product, order="pairwise", main_effects=False, **SMALL)
    assert len(result) == len(set(result.interactions)) == 6
    i, j = np.array(result.interactions).T
    assert (result.pairwise[i, j] == result.strengths).all()
    np.testing.assert_allclose(result.strengths_by_trial.mean(0), result.strengths)
    assert result.networks[0].main_effects is None
    assert result.rankings[0].interactions[0] in result.interactions


def test_finds_what_interacts(product, found):
    assert found.interactions[0] == (0, 1) and found.found[0] == 1
    assert found.test_loss.max() < 0.1
    assert found.top(1) == [((0, 1), found.strengths[0])]
    np.testing.assert_allclose(found.predict(product[0]), product[1], atol=0.6)


def test_prediction_is_the_mean_of_the_networks(product, found):
    x, _ = product
    each = []
    for t, trial in enumerate(found.trials):
        scaled = (x - x[found.settings.split(t)[0]].mean(0)) / x[found.settings.split(t)[0]].std(0)
        np.testing.assert_allclose(found.inputs(x, t), scaled, rtol=1e-5, atol=1e-6)
        y = product[1][found.settings.split(t)[0]]
        each.append(plain(trial.network, found, scaled) * y.std() + y.mean())
    np.testing.assert_allclose(found.predict(x), np.mean(each, axis=0), atol=1e-5)


def test_data_frames_with_categories_and_classes(library, rng):
    pd = library("pandas")
    frame = pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], 600),
            "size": rng.normal(size=600),
            "noise": rng.normal(size=600),
            "weight": rng.normal(size=600),
        }
    )
    sign = frame["colour"].map({"red": 1.0, "green": -1.0, "blue": 0.0})
    score = 3 * sign * frame["size"] + frame["weight"]
    y = pd.Series(np.where(score > 0, "yes", "no"), name="bought")
    result = nid.detect(frame, y, **SMALL)
    assert result.classes == ("no", "yes") and result.task == "classification"
    assert result.interactions[0] == ("colour", "size")
    assert result.pairwise.shape == (4, 4) and result.column_names == tuple(frame.columns)
    p = result.predict(frame)
    assert p.shape == (600, 2)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (np.array(["no", "yes"])[p.argmax(1)] == y).mean() > 0.9
    each = [
        detection.outputs(t.network, result.inputs(frame, i)) for i, t in enumerate(result.trials)
    ]
    np.testing.assert_allclose(p[:, 1], np.mean([1 / (1 + np.exp(-y[:, 0])) for y in each], axis=0))
    for t, trial in enumerate(result.trials):
        x = result.inputs(frame.iloc[result.settings.split(t)[0]], t)
        kernel = np.asarray(trial.network.interaction_mlp.layers[0].kernel)
        for c in range(4):
            of = result.encoder.columns == c
            added = (x[:, of] @ kernel[of]).std(0)
            np.testing.assert_allclose(result.first_weights[t, :, c], added, rtol=1e-3, atol=1e-5)
    made = result.to_pandas()
    assert list(made.columns) == ["rank", "interaction", "order", "strength", "spread", "found"]
    assert made["interaction"][0] == ("colour", "size") and made["order"][0] == 2
    assert made["rank"].tolist() == list(range(1, len(result) + 1))


def test_three_classes(rng):
    x = rng.uniform(-1, 1, (500, 3))
    y = np.digitize(x[:, 0] * x[:, 1], [-0.1, 0.1])
    result = nid.detect(x, y, task="classification", main_effects=False, **SMALL | {"trials": 1})
    assert result.interactions[0] == (0, 1)
    assert (result.predict(x).argmax(1) == y).mean() > 0.85
    assert np.isnan(result.spread).all()
    assert result.test_loss[0] < 0.5


@given(st.integers(10, 500), st.floats(0.01, 0.45), st.floats(0.0, 0.45), st.integers(0, 3))
@settings(max_examples=30)
def test_splits_part_all_rows(rows, validation, test, trial):
    kept = DETECT._kept(rows, validation, test)
    made = detection.Settings(
        True, "any", 0, "min", 100, (3,), "l1", 0.0, 1, 1, 0.1, 1.0, rows, kept
    ).split(trial)
    assert sorted(np.concatenate(made).tolist()) == list(range(rows))
    assert [len(part) for part in made[1:]] == list(kept) and len(made[0]) >= 2 and kept[0] >= 1


# ------------------------------------------------------------------------------- bad input

GOOD = np.random.default_rng(1).normal(size=(40, 3))
Y = GOOD[:, 0] * GOOD[:, 1]
WIDE = np.random.default_rng(1).normal(size=(400, 4))  # the shape that is compiled already


def spoiled(value):
    x = GOOD.copy()
    x[3, 1] = value
    return x


# fmt: off
BAD_CALLS = [
    (lambda: nid.detect(GOOD, ["rare"] + ["a", "b", "c"] * 13, trials=9), r"y must hold every class among the rows that a trial learns from; trial \d has none of 'rare'"),
    (lambda: nid.detect(GOOD, np.ones(40)), r"nid.detect: y must vary; got one value alone"),
    (lambda: nid.detect(spoiled(np.nan), Y), r"nid.detect: column 1 of X must be finite"),
    (lambda: nid.detect(GOOD[:, :1], Y), r"nid.detect: X must have at least 10 rows and 2 columns; got shape \(40, 1\)"),
    (lambda: nid.detect(GOOD, Y[:-1]), r"nid.detect: .*40.*39|39.*40"),
    (lambda: nid.detect(GOOD, Y, order="all"), r"nid.detect: order must be one of any, pairwise; got 'all'"),
    (lambda: nid.detect(GOOD, Y, averaging="median"), r"averaging must be one of max, rms, .*; got 'median'"),
    (lambda: nid.detect(GOOD, Y, regularizer="l0"), r"regularizer must be one of l1, l2, .*; got 'l0'"),
    (lambda: nid.detect(GOOD, Y, trials=0), r"trials must be a whole number >= 1; got 0"),
    (lambda: nid.detect(GOOD, Y, epochs=0), r"epochs must be a whole number >= 1"),
    (lambda: nid.detect(GOOD, Y, seed=-1), r"seed must be a whole number >= 0"),
    (lambda: nid.detect(GOOD, Y, seed=2**32), r"seed must be less than 2\*\*32; got 4294967296"),
    (lambda: nid.detect(GOOD, Y, decay=0), r"decay must be a number > 0; got 0"),
    (lambda: nid.detect(GOOD, Y, hidden=()), r"hidden must be the units of one or more hidden layers"),
    (lambda: nid.detect(GOOD, Y, hidden=10), r"hidden must be the units .* got 10"),
    (lambda: nid.detect(GOOD, Y, hidden=(10, 0)), r"hidden must be a whole number >= 1; got 0"),
    (lambda: nid.detect(GOOD, Y, penalty=-1), r"penalty must be a number >= 0"),
    (lambda: nid.detect(GOOD, Y, learning_rate=0), r"learning_rate must be a number > 0"),
    (lambda: nid.detect(GOOD, Y, validation=0.5, test=0.5), r"validation and test must leave rows to learn from; got 0.5 and 0.5 of 40 rows"),
    (lambda: nid.detect(GOOD, Y, validation=0), r"validation must be a number > 0"),
    (lambda: nid.detect(GOOD, Y, max_interactions=0), r"max_interactions must be a whole number >= 1"),
    (lambda: nid.detect(WIDE, WIDE[:, 0], **SMALL | {"learning_rate": 1e30}), r"trial \d diverged: .* Lower learning_rate \(now 1e\+30\)"),
]
# fmt: on


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_more_trials_than_memory(monkeypatch):
    monkeypatch.setattr(_checks, "free_memory", lambda: 10_000_000)
    with pytest.raises(
        ValueError, match=r"1000 trials of 22,\d+ parameters on 40 rows need [\d,]+ bytes; .* fewer"
    ):
        nid.detect(GOOD, Y, trials=1000)
    monkeypatch.setattr(_checks, "free_memory", lambda: 24 * WIDE.size)  # no less, in training
    with pytest.raises(ValueError, match=r"1 trials of .* parameters on 400 rows need"):
        DETECT._check_memory(Architecture((0, 1, 2, 3), 1, (2,), False), 400, 1)


def test_a_file_of_something_else_is_refused(found, tmp_path, monkeypatch):
    path = tmp_path / "other.npz"
    for write in (
        lambda: np.savez(path, header=json.dumps({})),
        lambda: np.save(tmp_path / "x.npy", Y) or (tmp_path / "x.npy").rename(path),
        lambda: monkeypatch.setattr(detection, "FILE_VERSION", 2) or found.save(path),
    ):
        write()
        monkeypatch.undo()
        with pytest.raises(
            ValueError, match=r"nid.load: .* must be a file that nid.Detection.save"
        ):
            nid.load(path)


def test_rows_are_predicted_in_blocks(product, found):
    x = np.tile(product[0], (6, 1))  # more than one
    assert (found.predict(x) == np.tile(found.predict(product[0]), 6)).all()
    assert found.predict(x[:0]).shape == (0,)


def test_jaxinter_alone_does_not_import_it():
    code = "import sys, jaxinter; print('jaxinter.nid' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert run.stdout.strip() == "False"
