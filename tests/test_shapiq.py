# SPDX-License-Identifier: Apache-2.0
"""shapiq's games, explainers and values, in and out; and its ExactComputer as the reference."""

import importlib
import os
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest

import jaxinter as ji
import reference
from jaxinter.indices import NAMES, index


def required(name):
    """The module; with JAXINTER_REQUIRE_ADAPTERS set (CI), a missing one is an error."""
    if os.environ.get("JAXINTER_REQUIRE_ADAPTERS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


shapiq = required("shapiq")
ensemble = required("sklearn.ensemble")
adapter = importlib.import_module("jaxinter.adapters.shapiq")

# ExactComputer meets v(full) in FSII and kADD-SHAP by a weight of 1e8, not exactly.
TOLERANCE = {"FSII": 1e-8, "FBII": 1e-8, "kADD-SHAP": 1e-8}
N = 5
pytestmark = [  # of ExactComputer, for the empty set
    pytest.mark.filterwarnings("ignore:CHII is not defined for the empty set"),
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:shapiq.game_theory.exact"),
]


def look_up(v):
    """A game as shapiq takes it, which is not ours."""
    return lambda masks: v[masks.astype(int) @ 2 ** np.arange(masks.shape[1])]


def assert_same_effects(ours, theirs, tolerance=1e-10):
    """The same sets in the same order, the same effects of all but the empty one."""
    assert list(ours.interactions) == list(theirs.interactions)
    for players, effect in theirs.interactions.items():
        if players:
            assert ours[players] == pytest.approx(effect, abs=tolerance), players


@pytest.fixture(scope="module")
def games():
    rng = np.random.default_rng(7)
    unanimity = np.zeros(2**6)  # a sum of three unanimity games and a constant
    unanimity[[0, 0b11, 0b101100, 0b111111]] = 1.0, 2.0, -3.0, 0.5
    soum = np.zeros(2**7)  # of many, drawn
    soum[rng.choice(2**7, 12, replace=False)] = rng.uniform(-1, 1, 12)
    tables = rng.normal(size=2**N), ji.zeta(unanimity), ji.zeta(soum)
    return [(v, shapiq.ExactComputer(look_up(v), v.size.bit_length() - 1)) for v in tables]


class TestIndex:
    @pytest.mark.parametrize("order", [1, 2, 3, N])
    @pytest.mark.parametrize("name", [name for name in NAMES if name != "Walsh"])
    def test_equals_exact_computer(self, games, name, order):
        for v, computer in games:
            ours, top = index(v, name, order), 1 if name in ("SV", "BV") else order
            theirs = computer(name, order)
            compared = [s for s in range(1, v.size) if reference.size(s) <= top]
            players = [tuple(np.flatnonzero(m).tolist()) for m in ji.decode(compared, 7)]
            assert set(players) >= {s for s in theirs.interactions if 1 <= len(s) <= top}
            for s, members in zip(compared, players):  # an exact 0 is left out of theirs
                expected = pytest.approx(theirs[members], abs=TOLERANCE.get(name, 1e-12))
                assert ours[s] == expected

    def test_walsh_is_their_banzhaf_index_rescaled(self, games):
        for v, computer in games:
            ours = index(v, "Walsh", 3)
            theirs = computer("BII", 3)
            for s in theirs.interactions:
                expected = pytest.approx((-0.5) ** len(s) * theirs[s], abs=1e-12)
                assert not s or ours[sum(1 << i for i in s)] == expected


@pytest.fixture(scope="module")
def forest():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, N))
    y = x[:, 0] * x[:, 1] + np.sign(x[:, 2]) + x[:, 3]
    return ensemble.RandomForestRegressor(4, max_depth=4, random_state=0).fit(x, y), x


class Weighted(shapiq.Game):
    """v(T) = 10 + (the sum of players' numbers)^2, centred by shapiq."""

    def __init__(self, **arguments):
        super().__init__(n_players=3, normalization_value=10.0, **arguments)

    def value_function(self, coalitions):
        return 10.0 + (coalitions @ np.arange(1.0, 4.0)) ** 2


WEIGHTED = [10.0, 11.0, 14.0, 19.0, 19.0, 26.0, 35.0, 46.0]


class TestValueFunction:
    def test_of_a_game_is_not_centred(self):
        game = Weighted(player_names=["a", "b", "c"])
        assert game(game.grand_coalition) == 36.0
        v = adapter.value_function(game)
        assert v.n_players == 3 and v.player_names == ("a", "b", "c")
        np.testing.assert_array_equal(ji.evaluate(v, v.n_players), WEIGHTED)
        assert adapter.value_function(Weighted()).player_names is None

    def test_of_a_precomputed_game(self, tmp_path):
        game = Weighted()
        game.precompute()
        game.save_values(tmp_path / "game.json")
        stored = shapiq.Game(n_players=3, normalize=False)  # its value function is this file
        stored.load_values(tmp_path / "game.json", precomputed=True)
        for given in (game, stored):
            v = adapter.value_function(given)
            np.testing.assert_array_equal(ji.evaluate(v, v.n_players), WEIGHTED)

    def test_of_an_imputer(self, forest):
        model, data = forest
        imputer = shapiq.BaselineImputer(model.predict, data[0], data[7])
        v = adapter.value_function(imputer)
        imputer.fit(data[8])  # the next sample, by the same imputer
        inputs = np.where(ji.all_masks(N), data[7], data[0])
        np.testing.assert_array_equal(ji.evaluate(v, N), model.predict(inputs))

    def test_of_an_explainers_imputer_keeps_its_v_empty(self, forest):
        model, data = forest
        explainer = shapiq.TabularExplainer(model.predict, data, sample_size=9, random_state=3)
        explainer.imputer.fit(data[7])
        values = ji.evaluate(adapter.value_function(explainer.imputer), N)
        assert values[0] == explainer.baseline_value
        np.testing.assert_allclose(values[-1], model.predict(data[7:8])[0])

    def test_errors(self, forest):
        model, data = forest
        with pytest.raises(TypeError, match="game must be a shapiq Game or Imputer; got function"):
            adapter.value_function(look_up(np.ones(4)))
        with pytest.raises(ValueError, match=r"imputer must be fitted .* call \.fit\(x\) first"):
            adapter.value_function(shapiq.BaselineImputer(model.predict, data))


class TestAsGame:
    def test_gives_the_table_back(self, rng):
        v = rng.normal(size=2**N)
        game = adapter.as_game(v)
        np.testing.assert_array_equal(game(ji.all_masks(N)), v)
        np.testing.assert_array_equal(game(ji.all_masks(N).astype(int)), v)
        assert game(()) == v[0] and game((1, 4)) == v[0b10010]
        round_trip = adapter.value_function(game)
        np.testing.assert_array_equal(ji.evaluate(round_trip, N), v)
        copy = pickle.loads(pickle.dumps(game))
        np.testing.assert_array_equal(copy(ji.all_masks(N)), v)
        v[:] = 0
        assert game(()) != 0

    def test_knows_players_by_name(self):
        game = adapter.as_game([1, 2, 3, 6], player_names=["no", "good"])
        assert game(("good",)) == 3 and game(("no", "good")) == 6
        assert adapter.value_function(game).player_names == ("no", "good")

    def test_feeds_shapiqs_computer_approximators_and_explainers(self, rng):
        v = rng.normal(size=2**N)
        game = adapter.as_game(v)
        shapley = index(v, "SV")[2 ** np.arange(N)]
        computed = shapiq.ExactComputer(game)("SV", 1)
        np.testing.assert_allclose(computed.get_n_order_values(1), shapley, atol=1e-12)
        sampled = shapiq.KernelSHAP(N, random_state=0).approximate(2**N, game)
        np.testing.assert_allclose(sampled.get_n_order_values(1), shapley, atol=1e-4)
        explainer = shapiq.AgnosticExplainer(game, index="FBII", max_order=2, random_state=0)
        pairs = explainer.explain(budget=2**N).get_n_order_values(2)
        assert pairs[1, 3] == pytest.approx(index(v, "FBII", 2)[0b01010], abs=1e-8)

    @pytest.mark.parametrize(
        ("values", "names", "message"),
        [
            (np.ones(6), None, r"as_game: values .* 2\*\*n; got shape \(6,\)"),
            (np.ones((2, 4)), None, r"values must be one table \[2\*\*n\]; got shape \(2, 4\)"),
            (np.ones(1), None, r"as_game: values must be of at least 1 player"),
            (np.ones(4), ["a"], r"as_game: player_names must be 2 different names; got \['a'\]"),
            (np.ones(4), ["a", "a"], r"2 different names; got \['a', 'a'\]"),
            (np.ones(4), ["a", "a", "b"], r"2 different names; got \['a', 'a', 'b'\]"),
        ],
    )
    def test_errors(self, values, names, message):
        with pytest.raises(ValueError, match=message):
            adapter.as_game(values, names)


class TestExact:
    CASES = (("SV", 1), ("BV", 1), ("SII", 2), ("k-SII", 2), ("STII", 3), ("FSII", 2), ("FBII", 2))

    @pytest.mark.parametrize(("name", "order"), CASES)
    def test_in_tabular_explainer(self, forest, name, order):
        model, data = forest
        exact = adapter.Exact(N, order, name)
        settings = {"imputer": "baseline", "index": name, "max_order": order}
        explainer = shapiq.TabularExplainer(model.predict, data, approximator=exact, **settings)
        ours = explainer.explain(data[7], budget=2**N)
        theirs = shapiq.ExactComputer(explainer.imputer)(name, order)
        assert_same_effects(ours, theirs, TOLERANCE.get(name, 1e-10))
        assert (ours.index, ours.max_order, ours.min_order) == (name, order, 0)
        assert ours.n_players == N and ours.estimation_budget == 2**N and not ours.estimated
        assert ours.baseline_value == explainer.baseline_value != 0

    OTHERS = (("BII", 3), ("CHII", 2), ("kADD-SHAP", 2), ("SGV", 2), ("CHGV", 3), ("JointSV", 2))

    @pytest.mark.parametrize(("name", "order"), [*CASES, *OTHERS])
    def test_in_agnostic_explainer(self, rng, name, order):
        v = rng.normal(size=2**N)
        exact = adapter.Exact(N, order, name)
        theirs = shapiq.ExactComputer(look_up(v), N)(name, order)
        for game, n in ((adapter.as_game(v), None), (look_up(v), N)):
            explainer = shapiq.AgnosticExplainer(game, n_players=n, approximator=exact)
            ours = explainer.explain(budget=1000)
            assert_same_effects(ours, theirs, TOLERANCE.get(name, 1e-10))
            assert ours[()] == ours.baseline_value == v[0]

    def test_a_game_is_taken_as_it_is_called(self):
        result = adapter.Exact(3, 1, "SV").approximate(None, Weighted())
        assert result.baseline_value == 0.0  # v(empty) = 10 is subtracted by the game
        assert sum(result.interactions.values()) == pytest.approx(36.0)

    def test_explains_many_inputs(self, forest):
        model, data = forest
        exact = pickle.loads(pickle.dumps(adapter.Exact(N, 2, "k-SII")))
        explainer = shapiq.TabularExplainer(
            model.predict, data, imputer="baseline", approximator=exact
        )
        results = explainer.explain_X(data[:3], budget=2**N, random_state=1)
        sums = [sum(result.interactions.values()) for result in results]
        np.testing.assert_allclose(sums, model.predict(data[:3]), atol=1e-12)

    def test_evaluates_in_the_batches_asked_for(self, rng):
        v, sizes = rng.normal(size=2**N), []

        def game(masks):
            sizes.append(len(masks))
            return look_up(v)(masks)

        adapter.Exact(N).approximate(2**N, game)
        assert sizes == [2**N]  # one call: and not one coalition more than the budget
        adapter.Exact(N, batch_size=16).approximate(2**N, game)
        assert sizes[1:] == [16, 16]

    def test_orders_above_what_there_is(self):
        assert adapter.Exact(2, 7).max_order == 2
        assert adapter.Exact(4, 3, "SV").max_order == 1

    def test_errors(self):
        ones = look_up(np.ones(8))
        calls = (
            (lambda: adapter.Exact(3)(7, ones), r"budget must be at least 2\*\*3 = 8 .* got 7"),
            (lambda: adapter.Exact(3)(8, adapter.as_game(np.ones(4))), r"n = 3 players; got 2"),
            (
                lambda: adapter.Exact(3)(8, lambda m: np.ones((len(m), 2))),
                r"one number a coal.*got 2",
            ),
            (lambda: adapter.Exact(3)(8, lambda m: m[:, 0] / 0.0), r"must give finite values"),
            (lambda: adapter.Exact(3, 2, "Walsh"), r"Exact: index must be one of .*; got 'Walsh'"),
            (lambda: adapter.Exact(3, 0), r"Exact: max_order must be a whole number >= 1; got 0"),
            (lambda: adapter.Exact(0), r"Exact: n must be a whole number >= 1; got 0"),
        )
        for call, message in calls:
            with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
                call()


class TestToShapiq:
    @pytest.fixture
    def result(self, rng):
        return ji.extract(rng.normal(size=16), noise_ratio=0.05, tol=1e-3)

    @pytest.fixture
    def planted(self, result):
        """AND of 0 and 1, OR of 2 and 3, and player 0 alone, as OR."""
        a, b = np.zeros(16), np.zeros(16)
        a[0b0011], b[0b1100], b[0b0001] = 2.0, -1.5, 0.5
        return replace(result, and_effects=a, or_effects=b, bias=np.float64(7.0))

    def test_all_is_the_mobius_transform_of_what_is_explained(self, result):
        values = result.to_shapiq()
        assert (values.index, values.max_order, values.n_players) == ("Moebius", 4, 4)
        assert values.baseline_value == values[()] == result.bias and not values.estimated
        coefficients = np.zeros(16)
        for players, effect in values.interactions.items():
            coefficients[sum(1 << i for i in players)] = effect
        np.testing.assert_allclose(reference.zeta(coefficients), result.reconstruct(), atol=1e-12)

    @pytest.mark.parametrize(("kind", "name"), [("AND", "Moebius"), ("OR", "Co-Moebius")])
    def test_one_kind_is_an_index_of_its_part(self, result, kind, name):
        merged = result.merge_singletons()
        parts = [merged.and_effects, merged.or_effects]
        parts[kind == "AND"] = np.zeros(16)
        computer = shapiq.ExactComputer(look_up(reference.reconstruct(result.bias, *parts)), 4)
        values = result.to_shapiq(kind)
        assert values.index == name and values[()] == result.bias
        assert_same_effects(values, computer(name, 4), 1e-12)

    def test_is_sparse(self, planted):
        single = {(): 7.0, (0,): 0.5, (1,): 0.0, (2,): -1.5, (3,): -1.5}
        assert planted.to_shapiq().interactions == {**single, (0, 1): 2.0, (2, 3): 1.5}
        assert planted.to_shapiq(max_order=1).interactions == single
        assert planted.to_shapiq(threshold=1.5).interactions == {**single, (0, 1): 2.0}
        alone = {(): 7.0, (0,): 0.5, (1,): 0.0, (2,): 0.0, (3,): 0.0}
        assert planted.to_shapiq("AND").interactions == {**alone, (0, 1): 2.0}
        none = {(): 7.0, (0,): 0.0, (1,): 0.0, (2,): 0.0, (3,): 0.0}
        assert planted.to_shapiq("OR").interactions == {**none, (2, 3): 1.5}

    @pytest.mark.parametrize("kind", ["all", "AND", "OR"])
    def test_shapiq_draws_it(self, planted, kind):
        plt = pytest.importorskip("matplotlib.pyplot")
        values, names = planted.to_shapiq(kind), ["not", "bad", "good", "fine"]
        for plot in (values.plot_network, values.plot_si_graph, values.plot_upset):
            assert plot(show=False, feature_names=names) is not None
        if kind != "OR":  # these two add the effects up
            assert values.plot_waterfall(names, show=False) is not None
            assert values.plot_force(names, show=False) is not None
        plt.close("all")

    def test_of_float32_tensors_in_float64(self, torch, result):
        names = ("and_effects", "or_effects", "bias")
        merged = result.merge_singletons()
        narrow = {name: np.asarray(getattr(merged, name), np.float32) for name in names}
        wide = {name: x.astype(np.float64) for name, x in narrow.items()}
        tensors = {name: torch.tensor(x) for name, x in narrow.items()}
        ours = replace(merged, **tensors).to_shapiq()
        assert_same_effects(ours, replace(merged, **wide).to_shapiq(), 1e-14)

    def test_errors(self, rng, result):
        batch = ji.extract(rng.normal(size=(2, 8)), tol=1e-2)
        for call, message in (
            (lambda: batch.to_shapiq(), r"to_shapiq: takes one sample; got a batch"),
            (lambda: result.to_shapiq("or"), r'kind must be "all", "AND" or "OR"; got \'or\''),
            (
                lambda: result.to_shapiq(max_order=0),
                r"max_order must be a whole number >= 1; got 0",
            ),
            (lambda: result.to_shapiq(threshold=-1), r"threshold must be a number >= 0; got -1"),
        ):
            with pytest.raises(ValueError, match=message):
                call()


def test_to_interaction_values():
    values = adapter.to_interaction_values(index([1.0, 2.0, 3.0, 6.0], "SV"), "SV", 1)
    assert values.interactions == {(): 1.0, (0,): 2.0, (1,): 3.0}
    everything = adapter.to_interaction_values([1, 0, 2, 0], "Moebius")
    assert everything.interactions == {(): 1.0, (0,): 0.0, (1,): 2.0, (0, 1): 0.0}
    with pytest.raises(ValueError, match=r"index must be one of SII, .*; got 'OR-Moebius'"):
        adapter.to_interaction_values(np.ones(4), "OR-Moebius")


def test_a_missing_shapiq_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "jaxinter.adapters.shapiq")
    monkeypatch.setitem(sys.modules, "shapiq", None)
    with pytest.raises(ImportError, match=r"needs shapiq: pip install 'jaxinter\[shapiq\]'"):
        importlib.import_module("jaxinter.adapters.shapiq")
