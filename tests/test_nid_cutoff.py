# SPDX-License-Identifier: Apache-2.0
"""nid.cutoff: laws of the additive model and of its steps, errors read again by plain numpy."""

import itertools
import sys
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from jaxinter import _native, _progress
from jaxinter.nid import table
from jaxinter.nid.cutoff import cutoff
from jaxinter.nid.detect import detect
from jaxinter.nid.detection import load
from jaxinter.nid.training import BLOCK, Part, Trained, mean_loss

module = sys.modules["jaxinter.nid.cutoff"]  # the package names the function so
SMALL = {"hidden": (12, 8), "batch_size": 25, "trials": 2}
RANKED = [(0, 1), (1, 0), (2, 3), (0, 1, 2), (0, 2)]


pytestmark = pytest.mark.usefixtures("quick_file")


@pytest.fixture(scope="module")
def product():
    """Two columns interact; one matters alone; one does not."""
    x = np.random.default_rng(0).uniform(-1, 1, (800, 4)) * [1, 2, 3, 4] + [0, 0, 5, 0]
    return x, 10 * x[:, 0] * x[:, 1] + 5 * np.sin(x[:, 2] - 5) + 30


@pytest.fixture(scope="module")
def found(product):
    return detect(*product, epochs=30, decay=0.9, **SMALL)


@pytest.fixture(scope="module")
def ladder(product, found):
    """All steps of a ranking with parts and wholes, for a goal out of reach."""
    return cutoff(*product, found, interactions=RANKED, goal=0)


@pytest.fixture(scope="module")
def frame(library):
    """Three classes, of a table with names and categories."""
    pd = library("pandas")
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"a": rng.normal(size=300), "kind": rng.choice(["u", "v", "w"], 300)})
    X["b"] = rng.normal(3, 2, 300)
    score = X["a"] * (X["kind"] == "u") + 0.3 * X["b"]
    y = np.array(["no", "so", "yes"])[np.digitize(score, [0.5, 1.2])]
    detection = detect(X, y, epochs=2, **SMALL)
    ranked = [("kind", "a"), ("a", "kind", "b")]
    return X, y, detection, cutoff(X, y, detection, interactions=ranked, goal=0)


@pytest.fixture(scope="module")
def two_classes():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 2))
    y = X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=200) > 0.5
    detection = detect(X, y, main_effects=False, epochs=2, test=0, **SMALL)
    return X, y, detection, cutoff(X, y, detection, interactions=[(0, 1)], goal=0)


@pytest.fixture(scope="module")
def last():
    """A cutoff at the last K, whatever its error."""

    def of(*arguments, **options):
        with pytest.MonkeyPatch.context() as patch:
            calls = itertools.count(1)
            patch.setattr(module, "_error", lambda *_: 1 / next(calls))
            return cutoff(*arguments, goal=0, **options)

    return of


def leaves(net):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(net))]


def same_bits(a, b):
    return all((x == y).all() for x, y in zip(leaves(a.network), leaves(b.network), strict=True))


# ---------------------------------------------------------------------------------------- steps


def test_parts_are_skipped_and_wholes_take_their_place(ladder):
    assert ladder.tried == ((0, 1), (2, 3), (0, 1, 2))
    assert ladder.skipped == ((0, 1),)
    assert len(ladder.errors) == len(ladder.test_errors) == 4
    assert not ladder.reached and ladder.k == ladder.errors.argmin()


columns = st.lists(st.integers(0, 5), min_size=2, max_size=4, unique=True).map(sorted).map(tuple)


@given(st.lists(columns, max_size=12), st.integers(1, 6))
def test_models_are_what_is_part_of_no_other(ranked, largest):
    tried, skipped, models = module._added(ranked, largest)
    new = [
        i for n, i in enumerate(ranked) if not any(set(i) <= set(earlier) for earlier in ranked[:n])
    ]
    assert tried == new[:largest]
    for k, model in enumerate(models):
        assert model == [i for i in tried[:k] if not any(set(i) < set(j) for j in tried[:k])]
    in_order = list(tried)
    for above, one in reversed(skipped):
        in_order.insert(above, one)
    assert in_order == ranked[: len(in_order)]
    assert len(in_order) == len(ranked) or len(tried) == largest


@pytest.mark.parametrize("goal_of", [0, 1, 2, 3])
def test_the_first_to_reach_the_goal(product, found, ladder, goal_of):
    goal = ladder.errors[goal_of]
    first = int((ladder.errors <= goal).argmax())
    options = {"interactions": RANKED}
    reached = cutoff(*product, found, goal=goal, **options)
    assert reached.reached and reached.k == first == len(reached.tried)
    assert reached.tried == ladder.tried[:first]
    assert reached.skipped == ladder.skipped[: first > 1]
    np.testing.assert_array_equal(reached.errors, ladder.errors[: first + 1])
    near = cutoff(*product, found, goal=goal / 1.5, tolerance=0.500001, **options)
    assert near.k == first and near.goal == goal / 1.5


@pytest.mark.parametrize(("errors", "k"), [((3, 1, 2, 1), 1), ((1, 2, 3, 4), 0), ((4, 3, 2, 1), 3)])
def test_the_first_of_least_error_where_none_reaches_the_goal(
    product, found, errors, k, monkeypatch
):
    sequence = iter([0, 0, *np.repeat(errors, 2)])  # validation rows, test rows
    monkeypatch.setattr(module, "_error", lambda *_: next(sequence))
    best = cutoff(*product, found, interactions=RANKED)
    assert not best.reached and best.k == k and best.errors.tolist() == list(errors)
    monkeypatch.undo()
    own = cutoff(*product, found, interactions=RANKED[: [0, 1, 3, 4][k]], goal=0)
    assert best.interactions == ((), ((0, 1),), ((0, 1), (2, 3)), ((2, 3), (0, 1, 2)))[k]
    assert own.k != k or same_bits(best, own)


def test_at_most_so_many(product, found, ladder):
    two = cutoff(*product, found, interactions=RANKED, goal=0, largest=2)
    assert two.tried == ladder.tried[:2]
    np.testing.assert_array_equal(two.errors, ladder.errors[:3])
    none = cutoff(*product, found, interactions=[], goal=0)
    assert none.interactions == () and none.k == 0 and not none.reached
    assert same_bits(none, cutoff(*product, found, goal=1e9))


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_and_what_else_is_tried_make_no_difference(
    product, found, ladder, threads, monkeypatch
):
    monkeypatch.setattr(_native, "thread_limit", lambda: threads)
    again = cutoff(*product, found, interactions=RANKED, goal=0)
    np.testing.assert_array_equal(again.errors, ladder.errors)
    assert same_bits(again, ladder)


def test_nor_does_the_order_in_which_they_end(product, found, ladder, monkeypatch):
    train_all = module.train_all
    monkeypatch.setattr(_native, "thread_limit", lambda: 4)
    monkeypatch.setattr(module, "train_all", lambda *of: reversed(list(train_all(*of))))
    again = cutoff(*product, found, interactions=RANKED, goal=0)
    np.testing.assert_array_equal(again.errors, ladder.errors)
    assert same_bits(again, ladder)


def test_a_saved_detection_gives_the_same(product, found, ladder, tmp_path):
    found.save(tmp_path / "found.npz")
    again = cutoff(*product, load(tmp_path / "found.npz"), interactions=RANKED, goal=0, largest=1)
    np.testing.assert_array_equal(again.errors, ladder.errors[:2])
    assert again.test_goal == ladder.test_goal


# ---------------------------------------------------------------------------------- the recipe


class Stop(Exception):
    pass


@pytest.fixture
def first_wave(monkeypatch):
    """The arguments of the first call of training, which it stops."""

    def of(*arguments, **options):
        def train_all(architecture, recipe, runs, step):
            raise Stop(architecture, recipe, [run() for run in runs])

        monkeypatch.setattr(module, "train_all", train_all)
        with pytest.raises(Stop) as stopped:
            cutoff(*arguments, **options)
        return stopped.value.args

    return of


def test_the_recipe_is_the_detections_but_for_the_penalty(product, found, first_wave):
    architecture, recipe, runs = first_wave(*product, found, trial=1)
    expected = found.settings.recipe("regression")
    assert (recipe.regularizer, recipe.penalty) == ("l2", 1e-4)
    for name in ("task", "epochs", "batch_size", "learning_rate", "decay"):
        assert getattr(recipe, name) == getattr(expected, name)
    assert architecture.hidden == (12, 8) and architecture.main_effects
    learnt, checked, _ = found.settings.split(1)
    x = found.inputs(product[0], 1)
    np.testing.assert_array_equal(runs[0].training.x, x[learnt])
    np.testing.assert_array_equal(runs[0].validation.x, x[checked])
    assert (runs[0].masks == 0).all() and runs[0].masks.shape == (1, 4)
    assert runs[0].key == found.settings.key(1)


def test_the_recipe_can_be_another(two_classes, first_wave, monkeypatch):
    X, y, found, _ = two_classes
    monkeypatch.setattr(_native, "thread_limit", lambda: 2)
    options = {"penalty": 0.5, "epochs": 7, "hidden": [3], "interactions": [(1, 0)]}
    architecture, recipe, runs = first_wave(X, y, found, **options)
    assert (recipe.penalty, recipe.epochs, architecture.hidden) == (0.5, 7, (3,))
    assert architecture.main_effects  # also where the ranking is of an MLP
    np.testing.assert_array_equal(runs[1].masks, [[1, 1]])


def test_an_interaction_sees_all_categories_of_its_columns(frame, first_wave, monkeypatch):
    X, y, found, _ = frame
    monkeypatch.setattr(_native, "thread_limit", lambda: 2)
    for ranked, mask in ((("a", "b"), [1, 0, 0, 0, 1]), (("kind", "b"), [0, 1, 1, 1, 1])):
        _, _, runs = first_wave(X, y, found, interactions=[ranked])
        np.testing.assert_array_equal(runs[1].masks, [mask])


def test_rankings(product, found, ladder, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "_added", lambda *of: asked.append(list(of[0])) or ([], [], [[]]))
    for trial, expected in ((None, found), (0, found.rankings[0]), (1, found.rankings[1])):
        cutoff(*product, found, trial=trial, goal=0)
        assert asked.pop() == list(expected.interactions)


def test_a_training_that_diverges(product, found, monkeypatch):
    def train_all(architecture, recipe, runs, step):
        for i in range(len(runs)):
            yield i, Trained(None, np.full(recipe.epochs, np.nan, np.float32))

    monkeypatch.setattr(module, "train_all", train_all)
    with pytest.raises(ValueError, match=r"the model of 0 interactions diverged: .* \(now 0.01\)"):
        cutoff(*product, found)


def test_a_training_that_diverges_late(product, found, ladder, monkeypatch):
    """The weights from before are taken."""
    run = module.train_all

    def train_all(*of):
        for i, (state, losses) in run(*of):
            yield i, Trained(state, np.where(np.arange(len(losses)) < 9, losses, np.nan))

    monkeypatch.setattr(module, "train_all", train_all)
    again = cutoff(*product, found, interactions=RANKED[:1], goal=0)
    np.testing.assert_array_equal(again.errors, ladder.errors[:2])


def test_the_penalty_is_of_all_weights_and_no_biases(frame):
    net = frame[3].network
    squares = [
        (np.asarray(leaf) ** 2).sum()
        for path, leaf in nnx.to_flat_state(nnx.state(net, nnx.Param))
        if not {"bias", "biases"} & set(path)
    ]
    assert len(squares) == 8  # three layers, four of main effects, categories
    np.testing.assert_allclose(net.penalty("l2", np.array([0])), sum(squares), rtol=1e-6)


def test_the_table_is_read_as_the_detection_read_it():
    """Numbers that are categories, and classes."""
    X, y = np.arange(40.0).reshape(20, 2) % 7, np.arange(20) % 3
    data = table.read("", X, y, categorical=[1], task="classification")
    was = SimpleNamespace(encoder=data.encoder, settings=SimpleNamespace(rows=20))
    again = module._same_table(X, y, was)
    assert again.encoder == data.encoder and (again.inputs == data.inputs).all()


def test_progress(product, found, monkeypatch):
    steps = []
    monkeypatch.setattr(_native, "thread_limit", lambda: 1)

    @contextmanager
    def counter(title, total):
        steps.extend([title, total])
        yield steps.append

    monkeypatch.setattr(_progress, "counter", counter)
    cutoff(*product, found, interactions=RANKED, goal=0, largest=2, progress="K")
    title, total, *done = steps
    assert (title, total, done[-1]) == ("K", 90, 90)
    assert done == sorted(done)


# --------------------------------------------------------------------------------------- errors


def rmse(prediction, y, y_scale):
    return np.sqrt(np.mean((prediction - y) ** 2)) / y_scale


def test_errors_of_regression(product, found, ladder):
    (X, y), scale = product, found.trials[0].scaling
    _, validation, test = found.settings.split(0)
    for rows, errors in ((validation, ladder.errors), (test, ladder.test_errors)):
        error = rmse(ladder.predict(X[rows]), y[rows], scale.y_scale)
        np.testing.assert_allclose(errors[ladder.k], error, rtol=1e-6)
    assert np.isnan(module._error(found.encoder, np.empty((0, 1)), np.empty(0)))
    own = cutoff(X, y, found, trial=1, interactions=[])
    np.testing.assert_allclose(own.goal, np.sqrt(found.validation_loss[1]), rtol=1e-5)
    np.testing.assert_allclose(own.test_goal, np.sqrt(found.test_loss[1]), rtol=1e-5)
    learnt = X[found.settings.split(1)[0]]
    np.testing.assert_array_equal([own.low, own.high], [learnt.min(0), learnt.max(0)])


def test_errors_of_two_classes(two_classes):
    X, y, found, c = two_classes
    validation = found.settings.split(0)[1]
    p, truth = c.predict(X[validation])[:, 1], y[validation]
    pairs = np.sign(p[truth][:, None] - p[~truth])
    np.testing.assert_allclose(c.errors[c.k], 1 - (pairs + 1).mean() / 2, rtol=1e-12)
    assert np.isnan(c.test_errors).all() and np.isnan(c.test_goal)
    assert np.isnan(c.relative_improvement)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2))
def test_auc_counts_pairs_and_halves_ties(two_classes, rows):
    score, truth = (np.array(a) for a in zip(*rows))
    error = module._error(two_classes[3].encoder, score[:, None] * 1.0, truth.astype(np.int32))
    pairs = np.sign(score[truth][:, None] - score[~truth])
    expected = 1 - (pairs + 1).mean() / 2 if pairs.size else np.nan
    np.testing.assert_allclose(error, expected, atol=1e-12)


def test_errors_of_more_classes(frame):
    X, y, found, c = frame
    test = found.settings.split(0)[2]
    p = c.predict(X.iloc[test])
    np.testing.assert_allclose(p.sum(1), 1)
    chosen = p[np.arange(len(test)), np.searchsorted(found.classes, y[test])]
    np.testing.assert_allclose(c.test_errors[c.k], -np.log(chosen).mean(), rtol=1e-6)
    np.testing.assert_allclose(c.test_goal, found.test_loss[0], rtol=1e-5)


def test_relative_improvement(ladder):
    first, last = ladder.test_errors[[0, ladder.k]]
    expected = (first - last) / (first - ladder.test_goal)
    assert ladder.relative_improvement == expected
    assert np.isnan(replace(ladder, test_goal=first).relative_improvement)


# ---------------------------------------------------------------------------------------- terms


def whole(c, X):
    """f by the network itself."""
    x = c.scaling.inputs(c.encoder.encode("", X))
    return np.asarray(c.network(x), np.float64) * c.scaling.y_scale + c.scaling.y_mean


@pytest.fixture(scope="module", params=["regression", "two classes", "three classes"])
def one(request, last):
    """A table, its detection and an additive model."""
    get = request.getfixturevalue
    if request.param == "regression":
        X, y = get("product")
        return X, get("found"), last(X, y, get("found"), interactions=RANKED)
    X, y, found, c = get("two_classes" if "two" in request.param else "frame")
    return X, found, last(X, y, found, interactions=c.tried[:1])


def test_terms_and_the_constant_sum_up(one):
    X, _, c = one
    terms = c.terms(X)
    assert list(terms) == [(name,) for name in c.column_names] + list(c.interactions)
    total = sum(terms.values()) + (c.constant if len(c.constant) > 1 else c.constant[0])
    f, predicted = whole(c, X), c.predict(X)
    if c.encoder.task == "regression":
        np.testing.assert_allclose(total, f[:, 0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(predicted, total, rtol=1e-12)
    elif len(c.encoder.classes) == 2:
        np.testing.assert_allclose(total, f[:, 0], rtol=1e-5, atol=1e-6)
        assert predicted.shape == (len(X), 2)
        np.testing.assert_allclose(predicted[:, 1], 1 / (1 + np.exp(-total)), rtol=1e-12)
    else:
        np.testing.assert_allclose(total, f - f.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)
        p = np.exp(total) / np.exp(total).sum(1, keepdims=True)
        np.testing.assert_allclose(predicted, p, rtol=1e-12)


def test_terms_are_centred(one):
    X, found, c = one
    learnt = found.settings.split(0)[0]
    terms = c.terms(X.iloc[learnt] if hasattr(X, "iloc") else X[learnt])
    for values in terms.values():
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-6 * max(1, c.scaling.y_scale))
        if values.ndim == 2:
            np.testing.assert_allclose(values.sum(1), 0, atol=1e-12)


def test_terms_are_of_their_columns_alone(product, ladder):
    X = product[0]
    before = ladder.terms(X)
    for column in range(4):
        moved = X.copy()
        moved[:, column] = X[::-1, column]
        for names, values in ladder.terms(moved).items():
            assert (before[names] == values).all() == (column not in names)


def test_no_rows_and_many(product, ladder):
    X = product[0]
    assert ladder.predict(X[:0]).shape == ladder.terms(X[:0])[(0,)].shape == (0,)
    many = np.tile(X, (4, 1))  # more than a block
    np.testing.assert_allclose(ladder.predict(many), np.tile(ladder.predict(X), 4), rtol=1e-6)


def test_training_takes_more_than_a_block(ladder):
    x = np.random.default_rng(0).normal(size=(2 * BLOCK + 9, 4)).astype(np.float32)
    part = Part(x, x[:, 0])
    loss = mean_loss("regression", ladder.network, part)
    np.testing.assert_allclose(loss, ((ladder.network(x)[:, 0] - x[:, 0]) ** 2).mean(), rtol=1e-5)


def test_main_effects_are_terms(product, found, ladder):
    X = product[0]
    for column in range(4):
        at, values = ladder.main_effect(column, X[:50, column])
        np.testing.assert_array_equal(at, X[:50, column])
        np.testing.assert_allclose(values, ladder.terms(X[:50])[(column,)], rtol=1e-5, atol=1e-5)
    at, values = ladder.main_effect(2)
    assert at.shape == values.shape == (100,)
    learnt = X[found.settings.split(0)[0]]
    assert (at[0], at[-1]) == (learnt[:, 2].min(), learnt[:, 2].max())


def test_main_effects_of_categories(frame):
    X, _, _, c = frame
    at, values = c.main_effect("kind")
    assert at.tolist() == ["u", "v", "w"] and values.shape == (3, 3)
    of_rows = c.terms(X)[("kind",)]
    for category, expected in zip(at, values):
        np.testing.assert_allclose(of_rows[X["kind"] == category][0], expected, atol=1e-6)
    at, one = c.main_effect("kind", ["w"])
    np.testing.assert_array_equal(one, values[2:])


def test_pairs_are_terms_on_a_grid(product, found, last):
    c = last(*product, found, interactions=[(2, 0)])
    (a, b), values = c.interaction_effect((0, 2), at=([-0.5, 0.5], [3, 4, 6]))
    assert values.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        row = np.array([[a[i], 9.0, b[j], -9.0]])
        np.testing.assert_allclose(c.terms(row)[(0, 2)][0], values[i, j], rtol=1e-5, atol=1e-5)
    (a, b), values = c.interaction_effect([0, 2], at=(None, [1]))
    assert values.shape == (50, 1) and (a[0], a[-1]) == (c.low[0], c.high[0])


def test_pairs_with_categories(frame, last):
    X, y, found, _ = frame
    c = last(X, y, found, interactions=[("kind", "a")])
    (a, kinds), values = c.interaction_effect(("a", "kind"))
    assert kinds.tolist() == ["u", "v", "w"] and values.shape == (50, 3, 3)
    row = X.iloc[:1].copy()
    row["a"], row["kind"] = a[7], "v"
    np.testing.assert_allclose(c.terms(row)[("a", "kind")][0], values[7, 1], atol=1e-6)


def test_wider_interactions_are_of_rows(product, found, last):
    X = product[0]
    c = last(*product, found, interactions=RANKED)
    assert c.interactions == ((2, 3), (0, 1, 2))
    at, values = c.interaction_effect((0, 1, 2), X[:9])
    assert at.shape == (9, 4)
    np.testing.assert_array_equal(values, c.terms(X[:9])[(0, 1, 2)])


# --------------------------------------------------------------------------------- known truth


def test_the_true_interaction_is_enough(product, found):
    X, y = product
    assert found.interactions[0] == (0, 1)
    c = cutoff(X, y, found, tolerance=0.5)
    assert c.interactions == ((0, 1),) and c.reached and c.k == 1
    assert c.errors[0] > 3 * c.errors[1] and 0.9 < c.relative_improvement < 1.1
    (a, b), values = c.interaction_effect((0, 1))
    for column in (0, 1):  # what could as well be a main effect
        values = values - values.mean(column, keepdims=True)
    assert np.corrcoef(values.ravel(), np.outer(a, b).ravel())[0, 1] > 0.9
    at, values = c.main_effect(2)
    assert np.corrcoef(values, np.sin(at - 5))[0, 1] > 0.9
    assert np.corrcoef(c.predict(X), y)[0, 1] > 0.9


def test_the_rarer_class_is_known_without_interactions(two_classes):
    """The constant is learnt: no column says it."""
    _, y, _, c = two_classes
    assert c.constant[0] < -0.2 and y.mean() < 0.4


# --------------------------------------------------------------------------------------- doors


def test_frame_and_text(frame, ladder):
    table = ladder.to_pandas()
    assert table["interaction"].tolist() == [None, *ladder.tried]
    assert table["order"].tolist() == [0, 2, 2, 3]
    np.testing.assert_array_equal(table["validation_error"], ladder.errors)
    np.testing.assert_array_equal(table["test_error"], ladder.test_errors)
    lines = str(ladder).splitlines()
    assert len(lines) == 5 and lines[ladder.k].endswith("<-")
    assert "(0, 1, 2)" in lines[3] and lines[-1] == "  0.0000  goal, not reached"


def other(x, *index):
    x = x.copy()
    x[index] += 1
    return x


# fmt: off
BAD_CALLS = [
    (lambda X, y, f: cutoff(X, y, None), TypeError, "nid.cutoff: detection must be what detect returns; got NoneType"),
    (lambda X, y, f: cutoff(X, y, f, trial=2), ValueError, "trial must be less than the detection's 2; got 2"),
    (lambda X, y, f: cutoff(X, y, f, trial=-1), ValueError, "trial must be a whole number >= 0; got -1"),
    (lambda X, y, f: cutoff(X, y, f, largest=0), ValueError, "largest must be a whole number >= 1; got 0"),
    (lambda X, y, f: cutoff(X, y, f, goal=np.nan), ValueError, "goal must be a number >= 0; got nan"),
    (lambda X, y, f: cutoff(X, y, f, goal="low"), ValueError, "goal must be a number >= 0; got 'low'"),
    (lambda X, y, f: cutoff(X, y, f, tolerance=-0.1), ValueError, "tolerance must be a number >= 0; got -0.1"),
    (lambda X, y, f: cutoff(X, y, f, penalty=np.inf), ValueError, "penalty must be a number >= 0; got inf"),
    (lambda X, y, f: cutoff(X, y, f, epochs=0), ValueError, "epochs must be a whole number >= 1; got 0"),
    (lambda X, y, f: cutoff(X, y, f, hidden=()), ValueError, "hidden must be the units of one or more"),
    (lambda X, y, f: cutoff(X, y, f, hidden=5), ValueError, "hidden must be the units of one or more .*; got 5"),
    (lambda X, y, f: cutoff(X, y, f, hidden=(5, 0)), ValueError, "hidden must be a whole number >= 1; got 0"),
    (lambda X, y, f: cutoff(X, y, f, interactions=[(0, 4)]), ValueError, r"two or more columns of 0, 1, 2, 3; got \(0, 4\)"),
    (lambda X, y, f: cutoff(X, y, f, interactions=[(1,)]), ValueError, r"two or more columns .*; got \(1,\)"),
    (lambda X, y, f: cutoff(X, y, f, interactions=[(1, 1)]), ValueError, r"two or more columns .*; got \(1, 1\)"),
    (lambda X, y, f: cutoff(X, y, f, interactions=(0, 1)), ValueError, "interactions must hold tuples of .*; got 0"),
    (lambda X, y, f: cutoff(X, y, f, interactions=5), ValueError, "interactions must hold tuples of .*; got 5"),
    (lambda X, y, f: cutoff(X, y, f, interactions=[(i for i in (0, 0))]), ValueError, "two or more columns .*; got <gen"),
    (lambda X, y, f: cutoff(X[:-1], y[:-1], f), ValueError, "must be the 800 rows of the detection; got 799"),
    (lambda X, y, f: cutoff(X[:, :3], y, f), ValueError, r"whose column names are \(0, 1, 2, 3\); got \(0, 1, 2\)"),
    (lambda X, y, f: cutoff(X[::-1], y, f), ValueError, "rows of the detection, in their order: .* validation loss was"),
    (lambda X, y, f: cutoff(X, y[::-1], f), ValueError, "rows of the detection, in their order: .* validation loss was"),
    (lambda X, y, f: cutoff(other(X, 3, 1) * np.nan, y, f), ValueError, "nid.cutoff: column 0 of X must be finite"),
    (lambda X, y, f: cutoff(X, y > 30, f), ValueError, "validation loss was"),
]
# fmt: on


def test_a_table_that_is_a_little_another(product, found):
    trial = found.trials[0]
    was = replace(trial, validation_losses=1.02 * trial.validation_losses)
    with pytest.raises(ValueError, match="rows of the detection, in their order"):
        cutoff(*product, replace(found, trials=(was,)))


@pytest.mark.parametrize(("call", "kind", "message"), BAD_CALLS)
def test_bad_calls(product, found, call, kind, message):
    with pytest.raises(kind, match=message):
        call(*product, found)


# fmt: off
BAD_QUESTIONS = [
    (lambda c, X: c.main_effect(4), r"nid.Cutoff.main_effect: column must be one of 0, 1, 2, 3; got 4"),
    (lambda c, X: c.main_effect(0, [np.nan]), r"main_effect: at must hold finite numbers, \[m\]; got \[nan\]"),
    (lambda c, X: c.main_effect(0, 1.0), r"main_effect: at must hold finite numbers, \[m\]; got 1.0"),
    (lambda c, X: c.main_effect(0, ["u"]), r"main_effect: at must hold finite numbers, \[m\]; got \['u'\]"),
    (lambda c, X: c.interaction_effect((0, 1)), r"interaction must be one of \(2, 3\), \(0, 1, 2\); got \(0, 1\)"),
    (lambda c, X: c.interaction_effect(2), r"interaction must be one of .*; got 2"),
    (lambda c, X: c.interaction_effect((2, 3), [1, 2, 3]), r"at must be values of each of two columns, \(\[a\], \[b\]\)"),
    (lambda c, X: c.interaction_effect((2, 3), ([1], 2)), r"at\[1\] must hold finite numbers, \[m\]; got 2"),
    (lambda c, X: c.interaction_effect((0, 1, 2)), r"at must be rows, \[rows, columns\], .*; got None for \(0, 1, 2\)"),
    (lambda c, X: c.interaction_effect((0, 1, 2), X[:, :3]), "interaction_effect: X must have 4 columns"),
    (lambda c, X: c.predict(X[:, :3]), "nid.Cutoff.predict: X must have 4 columns"),
    (lambda c, X: c.terms(X[:, :3]), "nid.Cutoff.terms: X must have 4 columns"),
]
# fmt: on


@pytest.mark.parametrize(("ask", "message"), BAD_QUESTIONS)
def test_bad_questions(product, found, last, ask, message):
    c = last(*product, found, interactions=RANKED)
    with pytest.raises(ValueError, match=message):
        ask(c, product[0])


def test_categories_there_are_not(frame):
    X, y, found, c = frame
    with pytest.raises(ValueError, match="at must hold categories of column 'kind', 'u', 'v', 'w'"):
        c.main_effect("kind", ["x"])
    with pytest.raises(ValueError, match=r"whose categories are \{1: .*'w'\)\}; got"):
        cutoff(X.replace({"kind": {"w": "x"}}), y, found)
    with pytest.raises(ValueError, match=r"whose classes are \('no', 'so', 'yes'\); got"):
        cutoff(X, np.char.replace(y, "so", "maybe"), found)


def test_validation_rows_of_one_class(two_classes):
    X, y, found, _ = two_classes
    rows = found.settings.split(0)[1]
    y = y.copy()
    y[rows] = True
    with pytest.raises(
        ValueError, match="validation rows must be of both classes; all 20 are of one"
    ):
        cutoff(X, y, found)
