# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501
"""The functions against the printed formulas, their truth against its definition, the metrics."""

import itertools
import math
import pickle
from math import acos, asin, atan, cos, exp, log, pi, sin, sinh, sqrt, tanh
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxinter as ji
from jaxinter.nid import suite

ALL = [*suite.FUNCTIONS.values(), suite.adversarial]
NAMES = [f.name for f in ALL]


def f1(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    root = x9 / x10 * sqrt(x7 / x8)
    return pi ** (x1 * x2) * sqrt(2 * x3) - asin(x4) + log(x3 + x5) - root - x2 * x7


def f2(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    root = x9 / (1 + abs(x10)) * sqrt(abs(x7) / (1 + abs(x8)))
    main = pi ** (x1 * x2) * sqrt(2 * abs(x3)) - asin(0.5 * x4) + log(abs(x3 + x5) + 1)
    return main + root - x2 * x7


def f3(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    power = abs(x3) ** (2 * abs(x4))
    rest = log(x4 * x4 + x5 * x5 + x7 * x7 + x8 * x8) + x9 + 1 / (1 + x10 * x10)
    return exp(abs(x1 - x2)) + abs(x2) * abs(x3) - power + rest


def f4(*x):
    return f3(*x) + x[0] ** 2 * x[3] ** 2


def f5(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    first = 1 / (1 + x1 * x1 + x2 * x2 + x3 * x3)
    return first + exp((x4 + x5) / 2) + abs(x6 + x7) + x8 * x9 * x10


def f6(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    first = exp(abs(x1) * abs(x2) + 1) - exp(abs(x3 + x4) + 1) + cos(x5 + x6 - x8)
    return first + math.hypot(x8, x9, x10)


def f7(*x):
    x1, x2, x3, x4, x5, x6, x7, x8, x9, _ = x
    product = math.prod((x4, x5, x6, x7, x8))
    first = (atan(x1) + atan(x2)) ** 2 + max(x3 * x4 + x6, 0) - 1 / (1 + product**2)
    return first + (abs(x7) / (1 + abs(x9))) ** 5 + math.fsum(x)


def f8(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    powers = 2 ** (x3 + x5 + x6) + 2 ** (x3 + x4 + x5 + x7)
    return x1 * x2 + powers + sin(x7 * sin(x8 + x9)) + acos(0.9 * x10)


def f9(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    first = tanh(x1 * x2 + x3 * x4) * sqrt(abs(x5)) + exp(x5 + x6)
    return first + log((x6 * x7 * x8) ** 2 + 1) + x9 * x10 + 1 / (1 + abs(x10))


def f10(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10):
    first = sinh(x1 + x2) + acos(tanh(x3 + x5 + x7)) + cos(x4 + x5)
    return first + 1 / cos(x7 * x9)


def adversarial(x1, x2, x3, x4, x5, x6, x7, x8):
    return x1 * x1 * x2 * x3 * x3 * x4 + x5 * x5 * x6 * x7 * x7 * x8


SCALAR = [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, adversarial]
# The truth as the paper writes it, columns from 1.
TRUTH = {
    "F1": "1 2 3, 2 7, 3 5, 7 8 9 10",
    "F2": "1 2 3, 2 7, 3 5, 7 8 9 10",
    "F3": "1 2, 2 3, 3 4, 4 5 7 8",
    "F4": "1 2, 2 3, 3 4, 4 5 7 8, 1 4",
    "F5": "1 2 3, 4 5, 6 7, 8 9 10",
    "F6": "1 2, 3 4, 5 6 8, 8 9 10",
    "F7": "1 2, 3 4 6, 4 5 6 7 8, 7 9",
    "F8": "1 2, 3 5 6, 3 4 5 7, 7 8 9",
    "F9": "1 2 3 4 5, 5 6, 6 7 8, 9 10",
    "F10": "1 2, 3 5 7, 4 5, 7 9",
    "adversarial": "1 2 3 4, 5 6 7 8",
}


def as_sets(text):
    return {frozenset(int(i) - 1 for i in group.split()) for group in text.split(",")}


class TestFunctions:
    @pytest.mark.parametrize(("function", "scalar"), list(zip(ALL, SCALAR)), ids=NAMES)
    def test_equals_the_printed_formula(self, function, scalar):
        X, y = function.sample(200, seed=1)
        np.testing.assert_allclose(y, [scalar(*row) for row in X.tolist()], rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("function", ALL, ids=NAMES)
    def test_truth_is_what_the_definition_says(self, function, rng):
        """A set interacts iff f's mixed difference over it, from some point to some other with the
        other columns where they are, is not 0: the dividends of f between two points."""
        n = function.n_columns
        here, there = rng.uniform(function.low, function.high, (2, 60, 1, n))
        difference = ji.mobius(function(np.where(ji.all_masks(n), there, here)))
        largest = np.abs(difference).max(axis=0)
        for index in range(1, 2**n):
            columns = {i for i in range(n) if index >> i & 1}
            if len(columns) < 2:
                continue
            if any(columns <= set(group) for group in function.interactions):
                assert largest[index] > 1e-4, columns
            else:
                assert largest[index] < 1e-11, columns

    @pytest.mark.parametrize("function", ALL, ids=NAMES)
    def test_truth_is_the_printed_one(self, function):
        assert set(map(frozenset, function.interactions)) == as_sets(TRUTH[function.name])
        assert all(group == tuple(sorted(group)) for group in function.interactions)

    def test_the_ten(self):
        assert list(suite.FUNCTIONS) == [f"F{i}" for i in range(1, 11)]
        assert all(getattr(suite, name) is f for name, f in suite.FUNCTIONS.items())
        assert [f.n_columns for f in ALL] == [10] * 10 + [8]

    @pytest.mark.parametrize("function", ALL, ids=NAMES)
    def test_ranges(self, function):
        X, y = function.sample(20_000)
        low = np.full(function.n_columns, -1.0)
        if function.name == "F1":
            low = np.array([0, 0, 0, 0.6, 0.6, 0, 0, 0.6, 0, 0.6])
        assert (X >= low).all() and (X <= 1).all()
        np.testing.assert_allclose(X.min(axis=0), low, atol=2e-3)
        np.testing.assert_allclose(X.max(axis=0), 1, atol=2e-3)
        assert np.isfinite(y).all() and X.dtype == y.dtype == np.float64

    def test_any_batch_and_kind(self, rng, torch):
        x = rng.uniform(0.6, 1, (2, 3, 10)).astype(np.float32)
        y = suite.F1(x)
        assert y.shape == (2, 3) and y.dtype == np.float64
        assert y[1, 2] == suite.F1(x[1, 2]) == suite.F1(x[1, 2].tolist())
        for kind in (jnp.asarray, torch.tensor):
            np.testing.assert_array_equal(suite.F1(kind(x)), y)

    def test_sample_by_seed(self):
        a, b, c = (suite.F5.sample(50, seed) for seed in (3, np.random.default_rng(3), 4))
        for one, same, other in zip(a, b, c):
            np.testing.assert_array_equal(one, same)
            assert not np.isin(one, other).any()
        assert suite.F5.sample()[0].shape == (30_000, 10)

    def test_noise_is_added_to_standardised_columns(self):
        X, y = suite.F5.sample(40_000)
        clean = np.column_stack([X, y])
        clean = (clean - clean.mean(axis=0)) / clean.std(axis=0)
        noise = np.column_stack(suite.F5.sample(40_000, noise=0.3)) - clean
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.01)
        np.testing.assert_allclose(np.cov(noise.T), 0.09 * np.eye(11), atol=0.003)
        np.testing.assert_allclose(np.corrcoef(noise.T, clean.T)[:11, 11:], 0, atol=0.02)
        for a, b in zip(suite.F5.sample(9, noise=0.3), suite.F5.sample(9, noise=0.3)):
            np.testing.assert_array_equal(a, b)

    def test_pickles_and_compares(self):
        for function in ALL:
            assert pickle.loads(pickle.dumps(function)) == function
        assert len(set(ALL)) == 11

    def test_a_function_of_ones_own(self):
        f = suite.Function("xor", "x1 x2", ((0, 1),), (-1, -1), (1, 1), lambda x: x[1] * x[2])
        X, y = f.sample(5)
        np.testing.assert_array_equal(y, X[:, 0] * X[:, 1])


class TestQuadraticPairs:
    def test_counts(self):
        X, y, pairs = suite.quadratic_pairs(rows=20)
        assert X.shape == (20, 1000) and y.shape == (20,)
        assert 940 <= len(pairs) <= 950  # 5 * (20 choose 2), less the few that two a_k share
        assert pairs == tuple(sorted(set(pairs))) and all(0 <= i < j < 1000 for i, j in pairs)
        used = sorted({i for pair in pairs for i in pair})
        assert 80 <= len(used) <= 100

    def test_y_is_the_quadratic_form_of_the_pairs(self):
        """Regression on all monomials finds beta, and W: of the rank, 0 but at the pairs."""
        p, rank, used = 9, 2, 4
        squares = list(itertools.combinations_with_replacement(range(p), 2))
        betas, traces = [], []
        for seed in range(100):
            X, y, pairs = suite.quadratic_pairs(
                p, 80, rank=rank, density=used / p, noise_variance=0, seed=seed
            )
            monomials = np.column_stack([np.ones(80), X, *(X[:, i] * X[:, j] for i, j in squares)])
            found, *_ = np.linalg.lstsq(monomials, y, rcond=None)
            np.testing.assert_allclose(monomials @ found, y, atol=1e-9)
            constant, beta, w = found[0], found[1 : 1 + p], np.zeros((p, p))
            w[tuple(zip(*squares))] = found[1 + p :] / 2
            w += w.T
            assert set(zip(*np.nonzero(np.triu(abs(w) > 1e-6, 1)))) == set(pairs)
            assert (np.linalg.eigvalsh(w) > 1e-6).sum() == rank
            assert abs(constant) < 1e-8 and (abs(beta) > 1e-6).sum() == used
            betas.append(beta)
            traces.append(np.trace(w))
        assert abs(np.square(betas).sum() / (100 * used) - 1) < 0.2
        assert abs(np.mean(traces) / (rank * used) - 1) < 0.2

    def test_moments(self):
        """Columns N(0, 1); the noise N(0, 0.1), and the rest of y the same whatever it is."""
        X, clean, pairs = suite.quadratic_pairs(100, 40_000, noise_variance=0)
        same, y, same_pairs = suite.quadratic_pairs(100, 40_000)
        np.testing.assert_array_equal(X, same)
        assert pairs == same_pairs
        assert abs(np.var(y - clean) - 0.1) < 0.004 and abs(np.mean(y - clean)) < 0.01
        assert abs(X.mean()) < 0.003 and abs(X.std() - 1) < 0.003
        assert abs((X**4).mean() - 3) < 0.03

    def test_by_seed(self):
        (X, y, pairs), (X2, y2, pairs2) = (suite.quadratic_pairs(50, 9, density=0.1) for _ in "ab")
        np.testing.assert_array_equal(X, X2)
        np.testing.assert_array_equal(y, y2)
        assert pairs == pairs2
        other = suite.quadratic_pairs(50, 9, density=0.1, seed=1)
        assert pairs != other[2] and not np.isin(X, other[0]).any()


def symmetric(rng, p, values=None):
    x = rng.normal(size=(p, p)) if values is None else rng.integers(values, size=(p, p))
    return np.tril(x, -1) + np.tril(x, -1).T


def labels_and_scores(matrix, truth):
    pairs = list(itertools.combinations(range(len(matrix)), 2))
    labels = [any({i, j} <= set(group) for group in truth) for i, j in pairs]
    return labels, [matrix[i, j] for i, j in pairs]


def slow_auc(matrix, truth):
    labels, scores = labels_and_scores(matrix, truth)
    true = [s for s, label in zip(scores, labels) if label]
    false = [s for s, label in zip(scores, labels) if not label]
    wins = sum((t > f) + (t == f) / 2 for t in true for f in false)
    return wins / (len(true) * len(false))


groups = st.frozensets(st.integers(0, 5), min_size=2, max_size=4)
truths = st.lists(groups, min_size=1, max_size=4, unique=True).filter(
    lambda t: not any(a < b for a in t for b in t)
)
rankings = st.lists(groups, max_size=12, unique=True)


class TestPairs:
    @given(truths, st.integers(0, 2**32), st.sampled_from([None, 2, 5]))
    def test_auc_is_the_chance_of_the_right_order(self, truth, seed, values):
        matrix = symmetric(np.random.default_rng(seed), 6, values)
        if all(labels_and_scores(matrix, truth)[0]):
            return
        auc = suite.pairwise_auc(matrix, truth)
        assert isinstance(auc, float) and math.isclose(auc, slow_auc(matrix, truth), rel_tol=1e-14)
        # Any increasing map leaves it, the opposite order mirrors it.
        assert suite.pairwise_auc(np.exp(matrix / 9), truth) == auc
        assert math.isclose(suite.pairwise_auc(-matrix, truth), 1 - auc, abs_tol=1e-14)

    @pytest.mark.parametrize("values", [None, 3, 20])
    def test_equals_sklearn(self, values, rng, library):
        metrics = library("sklearn.metrics")
        for function in ALL:
            matrix = symmetric(rng, function.n_columns, values)
            labels, scores = labels_and_scores(matrix, function.interactions)
            auc = suite.pairwise_auc(matrix, function)
            assert math.isclose(auc, metrics.roc_auc_score(labels, scores), rel_tol=1e-13)
            false, true, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
            got = suite.roc_curve(matrix, function)
            np.testing.assert_allclose(got, (false, true), rtol=1e-14)

    def test_perfect_is_exactly_one(self):
        for function in ALL:
            labels, _ = labels_and_scores(
                np.zeros((function.n_columns,) * 2), function.interactions
            )
            matrix = np.zeros((function.n_columns,) * 2)
            matrix[np.triu_indices(function.n_columns, 1)] = labels + np.arange(len(labels)) / 100
            assert suite.pairwise_auc(matrix + matrix.T, function) == 1
            assert suite.pairwise_auc(0 * matrix, function) == 0.5

    def test_objects_batches_and_kinds(self, rng, torch):
        many = np.stack([symmetric(rng, 10) for _ in range(4)])
        aucs = [suite.pairwise_auc(one, suite.F3) for one in many]
        np.testing.assert_array_equal(suite.pairwise_auc(many, suite.F3), aucs)
        by_rows = suite.pairwise_auc(many.reshape(2, 2, 10, 10), suite.F3)
        np.testing.assert_array_equal(by_rows, np.reshape(aucs, (2, 2)))
        result = SimpleNamespace(pairwise=many[0], column_names=None)
        assert suite.pairwise_auc(result, suite.F3) == aucs[0]
        for kind in (jnp.asarray, torch.tensor):
            assert suite.pairwise_auc(kind(many[0]), suite.F3) == pytest.approx(aucs[0], abs=1e-12)
        np.fill_diagonal(many[0], np.nan)
        assert suite.pairwise_auc(many[0], suite.F3) == aucs[0]

    def test_by_name(self, rng):
        matrix = symmetric(rng, 4)
        result = SimpleNamespace(pairwise=matrix, column_names=("age", "pay", "sex", "year"))
        named = suite.pairwise_auc(result, [{"pay", "age"}, ("sex", "age")])
        assert named == suite.pairwise_auc(matrix, [(0, 1), (0, 2)])
        result.interactions = (("age", "pay"), ("pay", "year"))
        assert suite.top_rank_recall(result, [{"pay", "age"}, ("sex", "age")]) == 0.5


def slow_top_rank_recall(ranking, truth):
    count = 0
    for group in ranking:
        if group in truth:
            count += 1
        elif not any(group <= other for other in truth):
            break
    return count / len(truth)


def slow_r_precision(ranking, truth):
    kept = [group for group in ranking if group in truth or not any(group < t for t in truth)]
    return len(set(kept[: len(truth)]) & set(truth)) / len(truth)


class TestRankings:
    @given(rankings, truths)
    def test_equal_the_definition(self, ranking, truth):
        tuples = [tuple(group) for group in ranking]
        recall, precision = suite.top_rank_recall(tuples, truth), suite.r_precision(tuples, truth)
        assert recall == slow_top_rank_recall(ranking, truth)
        assert precision == slow_r_precision(ranking, truth)
        assert 0 <= recall <= precision <= 1
        result = SimpleNamespace(interactions=tuple(tuples))
        assert suite.top_rank_recall(result, truth) == recall

    @given(truths, st.data())
    def test_laws(self, truth, data):
        """Subsets anywhere change nothing; what is behind the first false one only precision."""
        ranking = data.draw(st.permutations(truth))
        assert suite.top_rank_recall(ranking, truth) == suite.r_precision(ranking, truth) == 1
        subsets = [g - {min(g)} for g in truth if len(g) > 2]
        mixed = data.draw(st.permutations([*dict.fromkeys(subsets), *truth]))
        assert suite.top_rank_recall(mixed, truth) == suite.r_precision(mixed, truth) == 1
        false = frozenset(range(10, 13))
        assert suite.top_rank_recall([false, *ranking], truth) == 0
        assert suite.r_precision([false, *ranking], truth) == (len(truth) - 1) / len(truth)

    def test_of_the_suite(self):
        perfect = [tuple(reversed(group)) for group in suite.F7.interactions]
        supersets = [(*group, 99) for group in suite.F7.interactions]
        assert suite.top_rank_recall(perfect, suite.F7) == 1
        assert suite.top_rank_recall([(0, 1), (2, 3), (2, 3, 5), (0, 2), (6, 8)], suite.F7) == 0.5
        assert suite.r_precision([(0, 1), (2, 3), (2, 3, 5), (0, 2), (6, 8)], suite.F7) == 0.75
        assert suite.top_rank_recall(supersets + perfect, suite.F7) == 0
        assert suite.r_precision(supersets + perfect, suite.F7) == 0
        assert suite.r_precision([], suite.F7) == suite.top_rank_recall([], suite.F7) == 0
        assert suite.top_rank_recall(np.array([[0, 1], [1, 6]]), suite.F1) == 0.25


class TestTrimmedMean:
    @given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=12))
    def test_equals_the_definition(self, scores):
        kept = list(scores)
        kept.remove(max(kept))
        kept.remove(min(kept))
        mean, deviation = suite.trimmed_mean(scores)
        expected = sum(kept) / len(kept)
        assert math.isclose(mean, expected, abs_tol=1e-6, rel_tol=1e-9)
        variance = sum((x - expected) ** 2 for x in kept) / len(kept)
        assert math.isclose(deviation, sqrt(variance), abs_tol=1e-4, rel_tol=1e-9)

    def test_each_column_has_its_own_extremes(self):
        mean, deviation = suite.trimmed_mean([[4, 0], [1, 9], [2, 3], [3, 6]])
        assert mean.tolist() == [2.5, 4.5] and deviation.tolist() == [0.5, 1.5]


MATRIX = np.array([[0.0, 3, 1], [3, 0, 2], [1, 2, 0]])
PAIR = [(0, 1)]
LOWER = np.tril(MATRIX)
NAMED = SimpleNamespace(
    pairwise=MATRIX, interactions=(("a", "b"),), column_names=("a", "b", "c")
)  # fmt: skip

# fmt: off
BAD_CALLS = [
    (lambda: suite.F1(np.ones(9)), ValueError, r"F1: x must have 10 columns, \[..., 10\]; got shape \(9,\)"),
    (lambda: suite.adversarial(1.0), ValueError, r"adversarial: x must have 8 columns, .*; got shape \(\)"),
    (lambda: suite.F1.sample(0), ValueError, r"F1.sample: rows must be a whole number >= 1; got 0"),
    (lambda: suite.F1.sample(1, noise=0.1), ValueError, r"F1.sample: rows must be a whole number >= 2; got 1"),
    (lambda: suite.F1.sample(9, noise=-1), ValueError, r"F1.sample: noise must be a number >= 0; got -1"),
    (lambda: suite.F1.sample(9, noise=np.nan), ValueError, r"F1.sample: noise must be a number >= 0; got nan"),
    (lambda: suite.quadratic_pairs(1), ValueError, r"quadratic_pairs: p must be a whole number >= 2; got 1"),
    (lambda: suite.quadratic_pairs(10.0), ValueError, r"quadratic_pairs: p must be a whole number >= 2; got 10.0"),
    (lambda: suite.quadratic_pairs(rows=0), ValueError, r"quadratic_pairs: rows must be a whole number >= 1; got 0"),
    (lambda: suite.quadratic_pairs(rank=0), ValueError, r"quadratic_pairs: rank must be a whole number >= 1; got 0"),
    (lambda: suite.quadratic_pairs(noise_variance=-1), ValueError, r"quadratic_pairs: noise_variance must be a number >= 0; got -1"),
    (lambda: suite.quadratic_pairs(density=0), ValueError, r"quadratic_pairs: density must be a number > 0; got 0"),
    (lambda: suite.quadratic_pairs(50), ValueError, r"quadratic_pairs: density must make 2 to 50 of p = 50 columns; got 0.02"),
    (lambda: suite.quadratic_pairs(50, density=2), ValueError, r"density must make 2 to 50 of p = 50 columns; got 2"),
    (lambda: suite.pairwise_auc(np.ones(3), PAIR), ValueError, r"pairwise_auc: pairwise must be strengths \[p, p\], p >= 2; got shape \(3,\)"),
    (lambda: suite.pairwise_auc(np.ones((2, 3)), PAIR), ValueError, r"pairwise must be strengths \[p, p\], p >= 2; got shape \(2, 3\)"),
    (lambda: suite.pairwise_auc(np.ones((1, 1)), PAIR), ValueError, r"pairwise must be strengths \[p, p\], p >= 2; got shape \(1, 1\)"),
    (lambda: suite.pairwise_auc(MATRIX * np.nan, PAIR), ValueError, r"pairwise_auc: pairwise must be finite"),
    (lambda: suite.pairwise_auc(LOWER, PAIR), ValueError, r"pairwise_auc: pairwise must be symmetric"),
    (lambda: suite.pairwise_auc(LOWER.T, PAIR), ValueError, r"pairwise_auc: pairwise must be symmetric"),
    (lambda: suite.pairwise_auc(MATRIX, [(0, 3)]), ValueError, r"pairwise_auc: truth must be of columns range\(0, 3\); got \[3\]"),
    (lambda: suite.pairwise_auc(MATRIX, suite.F1), ValueError, r"pairwise_auc: truth must be of columns range\(0, 3\); got \[6\]"),
    (lambda: suite.pairwise_auc(NAMED, PAIR), ValueError, r"truth must be of columns \('a', 'b', 'c'\); got \[0, 1\]"),
    (lambda: suite.top_rank_recall(NAMED, PAIR), ValueError, r"top_rank_recall: truth must be of columns \('a', 'b', 'c'\); got \[0, 1\]"),
    (lambda: suite.pairwise_auc(MATRIX, [(0, 1, 2)]), ValueError, r"truth must leave a pair that does not interact"),
    (lambda: suite.pairwise_auc(MATRIX, []), ValueError, r"truth must be one or more interactions of 2 columns or more"),
    (lambda: suite.pairwise_auc(MATRIX, [(0, 0)]), ValueError, r"truth must be one or more interactions of 2 columns or more"),
    (lambda: suite.roc_curve(MATRIX[None], PAIR), ValueError, r"roc_curve: pairwise must be one matrix \[p, p\]; got a batch of shape \(1,\)"),
    (lambda: suite.top_rank_recall(PAIR, [(0, 1), (0, 1, 2)]), ValueError, r"top_rank_recall: truth must hold no subset of another interaction; drop {0, 1}"),
    (lambda: suite.top_rank_recall(PAIR, [(0, 1), (1, 0)]), ValueError, r"top_rank_recall: truth must not repeat an interaction; got {0, 1}"),
    (lambda: suite.r_precision([(0, 1), (1, 0)], PAIR), ValueError, r"r_precision: ranking must not repeat an interaction; got {0, 1}"),
    (lambda: suite.r_precision([((0, 1), 0.5)], PAIR), TypeError, r"r_precision: ranking must be interactions alone, .*; got \[\(\(0, 1\), 0.5\)\]"),
    (lambda: suite.r_precision([0, 1], PAIR), TypeError, r"r_precision: ranking must be interactions alone, .*; got \[0, 1\]"),
    (lambda: suite.r_precision(3, PAIR), TypeError, r"r_precision: ranking must be interactions alone, .*; got 3"),
    (lambda: suite.r_precision(PAIR, ["ab"]), TypeError, r"r_precision: truth must be interactions alone, .*; got \['ab'\]"),
    (lambda: suite.trimmed_mean([1.0, 2.0]), ValueError, r"trimmed_mean: scores must be finite numbers \[trials, ...\] of at least 3 trials; got \[1. 2.\]"),
    (lambda: suite.trimmed_mean(1.0), ValueError, r"trimmed_mean: scores must be .* of at least 3 trials; got 1.0"),
    (lambda: suite.trimmed_mean([1.0, 2.0, np.nan]), ValueError, r"trimmed_mean: scores must be finite numbers"),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "exception", "message"), BAD_CALLS, ids=[m for *_, m in BAD_CALLS]
)
def test_bad_call(call, exception, message):
    with pytest.raises(exception, match=message):
        call()
