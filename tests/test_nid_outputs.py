# SPDX-License-Identifier: Apache-2.0
"""Pairs by weights and by outputs: against loops over predictions, and networks known by hand."""

import math
from contextlib import contextmanager
from itertools import combinations

import jax
import numpy as np
import pytest
import scipy.stats
from flax import nnx

import jaxinter as ji
from jaxinter import nid
from jaxinter.nid import outputs
from jaxinter.nid.detection import Detection, Scaling, Settings, Trial
from jaxinter.nid.network import empty, network
from jaxinter.nid.outputs import OutputComparison, by_outputs
from jaxinter.nid.table import Encoder

SETTINGS = Settings(
    main_effects=True, order="any", seed=0, averaging="min", max_interactions=100, hidden=(6, 5),
    regularizer="l1", penalty=0.0, epochs=1, batch_size=10, learning_rate=0.01, decay=1.0, rows=20,
    kept=(2, 2),
)  # fmt: skip
TWO = (("a", "b"), ("a", "b", "c"))  # two classes, three


def made(p=4, *, trials=2, hidden=(6, 5), categories=None, classes=None, names=None, first=None):
    """A detection of networks with random weights; `first` ``[units, inputs]`` scales the first."""
    rng = np.random.default_rng(p)
    encoder = Encoder(
        tuple(range(p)) if names is None else tuple(names), names is not None, categories or {},
        "regression" if classes is None else "classification", classes,
    )  # fmt: skip
    settings = SETTINGS.__class__(**vars(SETTINGS) | {"hidden": hidden})
    architecture, q = settings.architecture(encoder), len(encoder.columns)
    shapes = nnx.state(empty(architecture))
    found = []
    for _ in range(trials):
        drawn = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
        net = network(architecture, drawn)
        if first is not None:
            kernel = net.interaction_mlp.layers[0].kernel
            kernel[...] = kernel[...] * first.T.astype(np.float32)
        mean, scale = rng.normal(size=q), rng.uniform(0.5, 2, q)
        for column in encoder.categories:
            of = encoder.columns == column
            mean[of], scale[of] = rng.dirichlet(np.ones(of.sum())), 1.0  # shares
        scaling = Scaling(mean, scale, 3.0, 7.0)
        found.append(Trial(net, scaling, np.ones(1), 1.0))
    return Detection(encoder, settings, tuple(found))


def by_loops(detection, X, t, absent=None):
    """delta_v and shapley of one trial, from the definitions; a prediction for each coalition."""
    owner, p = detection.encoder.columns, len(detection.column_names)
    trial = detection.trials[t]
    x = detection.inputs(X, t)
    absent = np.zeros_like(x[0]) if absent is None else absent
    delta_v, shapley = np.zeros((2, p, p))
    coalitions = [frozenset(S) for m in range(p + 1) for S in combinations(range(p), m)]
    for row in x:
        given = [np.where(np.isin(owner, list(S)), row, absent) for S in coalitions]
        found = np.asarray(trial.network(np.stack(given)), np.float64)
        output = int(found[-1].argmax())  # of the row itself, all columns there
        v = dict(zip(coalitions, found[:, output].tolist()))
        for i, j in combinations(range(p), 2):
            others = [k for k in range(p) if k not in (i, j)]
            by_size = []
            for m in range(p - 1):
                contexts = [frozenset(S) for S in combinations(others, m)]
                parts = [v[S | {i, j}] - v[S | {i}] - v[S | {j}] + v[S] for S in contexts]
                by_size.append(sum(parts) / len(parts))
            delta_v[i, j] += np.abs(by_size).mean() / len(x)
            weights = [
                math.factorial(m) * math.factorial(p - m - 2) / math.factorial(p - 1)
                * math.comb(p - 2, m) for m in range(p - 1)
            ]  # fmt: skip
            shapley[i, j] += abs(np.dot(weights, by_size)) / len(x)
    return delta_v + delta_v.T, shapley + shapley.T


MIXED = {1: (0.0, 1.0, 2.0)}


def rows_of(rng, m=3, categorical=False):
    X = rng.normal(size=(m, 4))
    if categorical:
        X[:, 1] = rng.integers(0, 3, m)
    return X


@pytest.mark.parametrize("categories", [None, MIXED])
@pytest.mark.parametrize("classes", [None, *TWO])
def test_as_loops_over_predictions(categories, classes, rng):
    detection = made(categories=categories, classes=classes)
    X = rows_of(rng, categorical=categories is not None)
    found = by_outputs(detection, X)
    for t in range(2):
        delta_v, shapley = by_loops(detection, X, t)
        np.testing.assert_allclose(found.delta_v_by_trial[t], delta_v, rtol=1e-3, atol=2e-5)
        np.testing.assert_allclose(found.shapley_by_trial[t], shapley, rtol=1e-3, atol=2e-5)
    np.testing.assert_array_equal(found.weights_by_trial, detection.pairwise_by_trial)
    for name in ("weights", "delta_v", "shapley"):
        pairs = getattr(found, name)
        np.testing.assert_array_equal(pairs, pairs.T)
        assert not np.diag(pairs).any() and (pairs >= 0).all()
        np.testing.assert_allclose(pairs, getattr(found, f"{name}_by_trial").mean(0))
    assert (found.shapley <= found.delta_v + 1e-12).all()
    assert found.delta_v.max() > 0.01


def test_shapley_is_the_index_of_the_table(rng):
    detection = made(3, trials=1)
    X = rng.normal(size=(5, 3))
    x, net = detection.inputs(X), detection.networks[0]
    masks = ji.all_masks(3)
    v = np.stack([net(np.where(masks, row, np.float32(0)))[:, 0] for row in x])
    sii = np.abs(ji.index(v.astype(np.float64), "SII", 2)).mean(0)
    found = by_outputs(detection, X).shapley
    expected = [sii[ji.encode(np.isin(range(3), pair))] for pair in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found[np.triu_indices(3, 1)], expected, rtol=1e-4, atol=1e-5)


def test_a_row_as_the_baseline(rng):
    detection = made(categories=MIXED, trials=1)
    X, baseline = rows_of(rng, categorical=True), rows_of(rng, 1, categorical=True)
    found = by_outputs(detection, X, baseline=baseline)
    delta_v, shapley = by_loops(detection, X, 0, detection.inputs(baseline)[0])
    np.testing.assert_allclose(found.delta_v, delta_v, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(found.shapley, shapley, rtol=1e-3, atol=2e-5)
    # A row that is the baseline changes nothing.
    assert not by_outputs(detection, baseline, baseline=baseline).delta_v.any()


def test_the_mean_is_that_of_the_rows_learnt_from(rng):
    detection = made()
    X = rows_of(rng)
    found = by_outputs(detection, X)
    for t, trial in enumerate(detection.trials):
        one = by_outputs(detection, X, trial=t, baseline=trial.scaling.x_mean[None])
        np.testing.assert_allclose(one.delta_v, found.delta_v_by_trial[t], rtol=1e-5, atol=1e-6)


def test_columns_that_no_unit_joins_do_not_interact(rng):
    """Of one hidden layer the weights are exact: what they do not join, the output adds up."""
    first = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    detection = made(hidden=(5,), first=first)
    found = by_outputs(detection, rng.normal(size=(8, 4)))
    joined = np.zeros((4, 4), bool)
    joined[[0, 1, 2, 3], [1, 0, 3, 2]] = True
    for pairs in (found.weights, found.delta_v, found.shapley):
        assert pairs[joined].min() > 1e-3
        assert pairs[~joined].max() < 1e-5
    assert not found.weights[~joined].any()


def test_main_effects_add_to_no_pair(rng):
    detection = made()
    X = rows_of(rng)
    before = by_outputs(detection, X)
    for net in detection.networks:
        for kernel in net.main_effects.kernels:
            kernel[...] = 2 * kernel[...]
    after = by_outputs(detection, X)
    np.testing.assert_array_equal(after.delta_v, before.delta_v)


@pytest.mark.parametrize("factor", [-3.0, 0.5])
def test_all_three_grow_with_the_output(factor, rng):
    X = rows_of(rng)
    before = by_outputs(made(), X)
    detection = made()
    for net in detection.networks:
        last = net.interaction_mlp.layers[-1]
        last.kernel[...] = factor * last.kernel[...]
    after = by_outputs(detection, X)
    for name in ("weights", "delta_v", "shapley"):
        expected = abs(factor) * getattr(before, name)
        np.testing.assert_allclose(getattr(after, name), expected, rtol=1e-4, atol=1e-5)
    assert after.correlations == pytest.approx(before.correlations)


def test_rows_are_drawn_by_the_seed_and_their_order_is_nothing(rng):
    detection = made()
    X = rows_of(rng, 40)
    drawn = [by_outputs(detection, X, rows=5, seed=seed).delta_v for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])
    one_by_one = np.array([by_outputs(detection, X[k : k + 1]).delta_v for k in range(40)])
    whole = by_outputs(detection, X).delta_v
    np.testing.assert_allclose(whole, one_by_one.mean(0), rtol=1e-5, atol=1e-6)
    few = one_by_one[np.random.default_rng(0).permutation(40)[:5]].mean(0)
    np.testing.assert_allclose(drawn[0], few, rtol=1e-5, atol=1e-6)
    shuffled = by_outputs(detection, X[::-1]).delta_v
    np.testing.assert_allclose(shuffled, whole, rtol=1e-5, atol=1e-6)


def test_one_trial(rng):
    detection = made()
    X = rows_of(rng)
    whole, second = by_outputs(detection, X), by_outputs(detection, X, trial=np.int64(1))
    np.testing.assert_array_equal(second.delta_v, whole.delta_v_by_trial[1])
    np.testing.assert_array_equal(second.weights, detection.pairwise_by_trial[1])
    assert second.correlations["shapley"] == whole.correlations_by_trial["shapley"][1]


def test_parts_of_the_rows_give_the_whole(rng, monkeypatch):
    detection = made()
    X = rows_of(rng, 7)
    whole = by_outputs(detection, X)
    monkeypatch.setattr(outputs, "TABLE", 3 << 4)  # three rows at a time, and one
    heard = []

    @contextmanager
    def shown(progress, title, total):
        heard.append((progress, title, total))
        yield heard.append

    monkeypatch.setattr(outputs._progress, "shown", shown)
    parts = by_outputs(detection, X, progress="a title")
    np.testing.assert_allclose(parts.delta_v, whole.delta_v, rtol=1e-5, atol=1e-6)
    assert heard == [("a title", "coalitions", 14), 3, 6, 7, 10, 13, 14]


def test_correlations_are_scipys_over_all_pairs(rng):
    tables = rng.random((3, 2, 6, 6))
    tables = tables + tables.swapaxes(-1, -2)
    found = OutputComparison(*tables, tuple("abcdef"))
    above = np.triu_indices(6, 1)
    for name, table in zip(("delta_v", "shapley"), tables[1:]):
        for t in range(2):
            expected = scipy.stats.spearmanr(tables[0, t][above], table[t][above]).statistic
            assert found.correlations_by_trial[name][t] == pytest.approx(expected)
        mean = scipy.stats.spearmanr(tables[0].mean(0)[above], table.mean(0)[above]).statistic
        assert found.correlations[name] == pytest.approx(mean)
    assert str(found).startswith("15 pairs by weights; rank correlation with delta_v ")
    same = OutputComparison(tables[0], tables[0] ** 3, np.ones_like(tables[0]), tuple("abcdef"))
    assert same.correlations["delta_v"] == pytest.approx(
        scipy.stats.spearmanr(tables[0].mean(0)[above], (tables[0] ** 3).mean(0)[above]).statistic
    )
    assert math.isnan(same.correlations["shapley"])
    pair = OutputComparison(*np.ones((3, 1, 2, 2)), (0, 1))
    assert math.isnan(pair.correlations["delta_v"])


def test_a_frame_has_a_row_a_pair_the_strongest_first(library, rng):
    pd = library("pandas")
    detection = made(names="abcd")
    X = pd.DataFrame(rows_of(rng), columns=list("abcd"))
    found = by_outputs(detection, X[["d", "c", "b", "a"]])
    np.testing.assert_array_equal(found.delta_v, by_outputs(detection, X.to_numpy()).delta_v)
    frame = found.to_pandas()
    assert list(frame) == ["interaction", "weights", "delta_v", "shapley"] and len(frame) == 6
    assert frame.weights.is_monotonic_decreasing
    for row in frame.itertuples():
        i, j = ("abcd".index(name) for name in row.interaction)
        assert i < j
        for name in ("weights", "delta_v", "shapley"):
            assert getattr(row, name) == getattr(found, name)[i, j]


@pytest.mark.parametrize("function", [nid.suite.F5, nid.suite.F10])
def test_weights_and_outputs_rank_the_same_pairs(function, quick_compilation):
    """SPEC 8."""
    X, y = function.sample(8000)
    found = by_outputs(nid.detect(X, y, trials=1, epochs=20, hidden=(40, 20)), X)
    for pairs in (found.weights, found.delta_v, found.shapley):
        assert nid.suite.pairwise_auc(pairs, function) > 0.85
    assert min(found.correlations.values()) > (0.65 if function is nid.suite.F5 else 0.88)


def test_overlap_of_the_strongest(rng):
    tables = rng.random((3, 2, 6, 6))
    tables = tables + tables.swapaxes(-1, -2)
    found = OutputComparison(*tables, tuple("abcdef"))
    pairs = list(combinations(range(6), 2))
    for k in (1, 4, 15):
        ranked = [sorted(pairs, key=lambda ij: -x[ij])[:k] for x in tables.mean(1)]
        shares = [len({*ranked[0]} & {*other}) / k for other in ranked[1:]]
        assert found.overlap(k) == dict(zip(("delta_v", "shapley"), shares))
    for k in (0, 16):
        with pytest.raises(ValueError, match="overlap: k must be"):
            found.overlap(k)


# --- errors

DETECTION = made()
X4 = np.zeros((3, 4))
BAD_CALLS = [
    (lambda: by_outputs(X4, X4), TypeError, "detection must be a Detection; got ndarray. Use nid"),
    (lambda: by_outputs(DETECTION, X4[:, :3]), ValueError, "by_outputs: X must have 4 columns"),
    (lambda: by_outputs(DETECTION, X4[0]), ValueError, r"by_outputs: X must be \[rows, columns\]"),
    (lambda: by_outputs(DETECTION, X4[:0]), ValueError, "X must hold at least one row"),
    (lambda: by_outputs(DETECTION, X4 * np.nan), ValueError, "by_outputs: column 0 of X"),
    (lambda: by_outputs(DETECTION, X4, rows=0), ValueError, "rows must be a whole number >= 1"),
    (lambda: by_outputs(DETECTION, X4, seed=-1), ValueError, "seed must be a whole number >= 0"),
    (lambda: by_outputs(DETECTION, X4, trial=2), ValueError, "trial must be from 0 to 1, or None"),
    (lambda: by_outputs(DETECTION, X4, trial=-1), ValueError, "trial must be a whole number >= 0"),
    (
        lambda: by_outputs(DETECTION, X4, baseline="zero"),
        ValueError,
        r'baseline must be "mean" or a row \[1, p\]; got \'zero\'',
    ),
    (
        lambda: by_outputs(DETECTION, X4, baseline=X4[0]),
        ValueError,
        r"baseline must be .* got shape \(4,\)",
    ),
    (
        lambda: by_outputs(DETECTION, X4, baseline=X4),
        ValueError,
        r"baseline must be .* got shape \(3, 4\)",
    ),
    (
        lambda: by_outputs(DETECTION, X4, baseline=X4[:1, :3]),
        ValueError,
        "by_outputs: X must have 4 columns",
    ),
    (
        lambda: by_outputs(made(100, trials=1), np.zeros((1, 100))),
        ValueError,
        r"p = 100 columns have 2\*\*100 coalitions, of 996 bytes each; this machine has .* fewer",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
