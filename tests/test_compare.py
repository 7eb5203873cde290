# SPDX-License-Identifier: Apache-2.0
"""Stage 7c: two models and more, by slow definitions over all S, and by the laws of the papers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinter as ji
import reference
from jaxinter import interactions

NUMBERS = st.integers(-4, 4)
SETS = [ji.convergent, ji.generalizable, ji.preserved, ji.removed, ji.emerged]


def made(effects, **fields):
    """`Interactions` of effects ``[..., 2, 2**n]``; entry 0 is set to 0."""
    effects = np.array(effects, float)
    effects[..., 0] = 0
    batch = effects.shape[:-2]
    nothing, a, b = np.zeros(batch), effects[..., 0, :], effects[..., 1, :]
    names = ("bias", "dual", "gap", "iterations", "tie_break")
    certificate = dict.fromkeys(names, nothing) | {"converged": nothing == 0}
    primal = np.abs(effects).sum(axis=(-2, -1))
    rest = certificate | {"residual": np.zeros_like(a), "primal": primal} | fields
    return ji.Interactions(and_effects=a, or_effects=b, **rest)


@st.composite
def models(draw, count=2, max_players=3, max_samples=3):
    """Small whole numbers: ties with the threshold, zeros and equal effects all happen."""
    n, samples = draw(st.integers(1, max_players)), draw(st.integers(1, max_samples))
    size = count * samples * 2 * 2**n
    drawn = draw(st.lists(NUMBERS, min_size=size, max_size=size))
    return [made(x) for x in np.array(drawn).reshape(count, samples, 2, 2**n)]


# v(full) - v(empty) that make tau 0.5 to 4.5 by the rule of paper 003
SWINGS = st.sampled_from([10.0, 30.0, 50.0, 90.0])


def rising(x, swing):
    """The same effects, of a table whose v(full) - v(empty) is `swing`."""
    residual = np.zeros_like(x.residual)
    residual[..., -1] = swing - x.effects.sum(axis=(-2, -1))
    return replace(x, residual=residual)


def swing_tau(x, ratio):
    """ratio * mean over samples of |v(full) - v(empty)|."""
    return ratio * np.mean([abs(one.effects.sum() + one.residual[-1]) for one in x])


def everyone(x):
    """(sample, kind, S) of all non-empty S."""
    samples, kinds, size = x.effects.shape
    return [(i, t, s) for i in range(samples) for t in range(kinds) for s in range(1, size)]


def by_definition(x, wanted):
    found = np.zeros(x.effects.shape, bool)
    for at in everyone(x):
        found[at] = wanted(at)
    return found


def strength_of(x, chosen):
    return sum(abs(x.effects[at]) for at in everyone(x) if chosen[at])


class TestSets:
    @given(models(), st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from([None, 0.0, 1.0, 3.0]))
    @settings(max_examples=150)
    def test_by_definition(self, pair, tau, other):
        (a, b), own = pair, tau if other is None else other
        x, y = a.effects, b.effects
        shared = by_definition(a, lambda s: abs(x[s]) > tau and abs(y[s]) > own and x[s] * y[s] > 0)
        gone = by_definition(a, lambda s: abs(x[s]) > tau and (abs(y[s]) <= own or x[s] * y[s] < 0))
        new = by_definition(a, lambda s: abs(x[s]) <= tau and abs(y[s]) > own)
        for f, expected in zip(SETS, [shared, shared, shared, gone, new]):
            found = f(a, b, tau, other)
            assert found.dtype == bool and found.shape == x.shape
            np.testing.assert_array_equal(found, expected, err_msg=f.__name__)

    @given(models())
    def test_preserved_and_removed_are_the_salient_and_none_emerged(self, pair):
        for thresholds in (("paper003", None), ("paper003", "paper003"), (1.0, "largest")):
            sets = [f(*pair, *thresholds) for f in (ji.preserved, ji.removed, ji.emerged)]
            omega = pair[0].salient(swing_tau(pair[0], 0.05) if thresholds[0] != 1.0 else 1.0)
            preserved, removed, emerged = sets
            np.testing.assert_array_equal(preserved | removed, omega)
            assert not (preserved & removed).any()
            assert not (emerged & omega).any()

    @given(models(), st.tuples(SWINGS, SWINGS))
    def test_each_by_its_own_tau(self, pair, swings):
        a, b = (rising(x, swing) for x, swing in zip(pair, swings))
        for f, ratio in ((ji.convergent, 0.02), (ji.generalizable, 0.05)):
            own = swing_tau(a, ratio), swing_tau(b, ratio)
            np.testing.assert_array_equal(f(a, b), f(a, b, *own))
            np.testing.assert_array_equal(f(a, b), f(b, a))
        for f in (ji.preserved, ji.removed, ji.emerged):
            ours, theirs = swing_tau(a, 0.05), swing_tau(b, 0.05)
            np.testing.assert_array_equal(f(a, b), f(a, b, ours, ours))
            np.testing.assert_array_equal(f(a, b, "paper003", "paper003"), f(a, b, ours, theirs))

    def test_the_residual_counts_for_tau(self):
        effects = np.full((1, 2, 4), 1.0)
        a = made(effects, residual=np.array([[0.0, 0.0, 0.0, 200.0]]))
        assert not ji.convergent(a, a).any()  # 0.02 * (6 + 200) > 1
        assert ji.convergent(a, a, 0.02 * 6).sum() == 6

    def test_products_that_underflow_have_a_sign(self):
        tiny = made(np.full((1, 2, 4), 1e-200))
        assert ji.convergent(tiny, tiny, 0.0).sum() == 6
        assert not ji.convergent(tiny, made(-tiny.effects), 0.0).any()

    def test_one_sample_and_many_batch_axes(self, rng):
        x, y = (made(rng.normal(size=(2, 3, 2, 8))) for _ in range(2))
        tau = rng.uniform(size=(2, 3))
        for f in SETS:
            found = f(x, y, tau)
            assert found.shape == (2, 3, 2, 8)
            np.testing.assert_array_equal(found[1, 2], f(x[1, 2], y[1, 2], tau[1, 2]))

    @pytest.mark.parametrize("kind", ["jax", "torch"])
    def test_kinds(self, kind, request, rng):
        v, w = rng.normal(size=(2, 3, 16)).astype(np.float32)
        make = jnp.asarray if kind == "jax" else request.getfixturevalue("torch").from_numpy
        a, b = (ji.extract(x, noise_ratio=0.05) for x in (v, w))
        c, d = (ji.extract(make(x), noise_ratio=0.05) for x in (v, w))
        for f in SETS:
            for x, y in ((c, d), (c, b), (a, d)):
                found = f(x, y)
                assert type(found) is type(x.and_effects)
                np.testing.assert_array_equal(np.asarray(found), f(a, b))
        assert ji.convergent_share(c, d) == ji.convergent_share(a, b)
        assert ji.removed_strength(c, d, c) == ji.removed_strength(a, b, a)
        assert ji.preserved_ratio(c, d) == ji.preserved_ratio(a, b)
        assert ji.jaccard(c, d) == ji.jaccard(a, b)
        series = ji.pruning_series(c, [d], c, ratios=[1])
        expected = ji.pruning_series(a, [b], a, ratios=[1])
        np.testing.assert_allclose(series.emerged.positive, expected.emerged.positive, rtol=1e-6)

    def test_under_jit_and_vmap(self, rng):
        a, b = (
            jax.tree.map(jnp.asarray, ji.extract(rng.normal(size=(3, 16)).astype(np.float32)))
            for _ in range(2)
        )
        for f in SETS:
            expected = f(a, b, 0.3, 0.2)
            np.testing.assert_array_equal(jax.jit(f)(a, b, 0.3, 0.2), expected)
            np.testing.assert_array_equal(
                jax.vmap(f, in_axes=(0, 0, None, None))(a, b, 0.3, 0.2), expected
            )
        with pytest.raises(TypeError, match=r"convergent: a rule that averages .* traced"):
            jax.jit(ji.convergent)(a, b)
        with pytest.raises(TypeError, match=r"convergent_share: .* must be a concrete array"):
            jax.jit(lambda x: ji.convergent_share(x, x, 0.1))(a)


class TestShares:
    @given(models())
    def test_by_order_and_over_samples(self, pair):
        a, b = pair
        tau = swing_tau(a, 0.02)
        everything = ji.order_strength(a, where=a.salient(tau))
        shared = ji.order_strength(a, where=ji.convergent(a, b))
        for side in ("positive", "negative"):
            j, i = getattr(shared, side), getattr(everything, side)
            assert (j >= 0).all() and (j <= i).all()
        sums = [(x.positive + x.negative).sum() for x in (shared, everything)]
        g = ji.convergent_share(a, b)
        assert isinstance(g, float)
        if sums[1] == 0:
            assert np.isnan(g)
        else:
            np.testing.assert_allclose(g, sums[0] / sums[1])
            assert 0 <= g <= 1
        each = ji.convergent_share(a, b, tau, swing_tau(b, 0.02), per_sample=True)
        for i, one in enumerate(each):
            alone = ji.convergent_share(a[i], b[i], tau, swing_tau(b, 0.02))
            np.testing.assert_array_equal(one, alone)

    def test_is_not_symmetric(self):
        a, b = made([[[0, 4, 0, 0]] * 2]), made([[[0, 1, 3, 0]] * 2])
        assert ji.convergent_share(a, b, 0.0) == 1.0
        assert ji.convergent_share(b, a, 0.0) == 0.25

    @given(models(max_players=4), st.integers(1, 5))
    def test_preserved_ratio_by_definition(self, pair, low):
        a, b = pair
        tau = swing_tau(a, 0.05)
        kept, omega = ji.preserved(a, b), a.salient(tau)
        found = ji.preserved_ratio(a, b, low=low)
        each = ji.preserved_ratio(a, b, tau, low=low, per_sample=True)
        for name, within in (("low", lambda m: m <= low), ("high", lambda m: m > low)):
            inside = by_definition(a, lambda s, of=within: of(reference.size(s[2])))
            whole = strength_of(a, omega & inside)
            ratio = getattr(found, name)
            if whole == 0:
                assert np.isnan(ratio)
            else:
                np.testing.assert_allclose(ratio, strength_of(a, kept & inside) / whole)
            assert getattr(each, name).shape == (len(a),)
            alone = getattr(ji.preserved_ratio(a[0], b[0], tau, low=low), name)
            np.testing.assert_array_equal(getattr(each, name)[0], alone)

    def test_preserved_ratio_of_itself_and_of_nothing(self, rng):
        a = ji.extract(rng.normal(size=(3, 32)), noise_ratio=0.05)
        same, gone = ji.preserved_ratio(a, a), ji.preserved_ratio(a, made(0 * a.effects))
        assert (same.low, same.high) == (1.0, 1.0)
        assert (gone.low, gone.high) == (0.0, 0.0)
        # of three orders without a salient effect, no ratio
        assert np.isnan(ji.preserved_ratio(a, a, low=5).high)

    @given(models(count=3))
    def test_removed_strength_by_definition(self, three):
        a, b, c = three
        gone, good = ji.removed(a, b), ji.generalizable(a, c)
        found = ji.removed_strength(a, b, c)
        np.testing.assert_allclose(found.total, strength_of(a, gone))
        np.testing.assert_allclose(found.generalizable, strength_of(a, gone & good))
        np.testing.assert_allclose(found.salient, strength_of(a, a.salient(swing_tau(a, 0.05))))
        assert 0 <= found.generalizable <= found.total <= found.salient
        own = ji.removed_strength(a, b, c, "paper003", "largest", 2.0)
        gone, good = ji.removed(a, b, "paper003", "largest"), ji.generalizable(a, c, "paper003", 2)
        np.testing.assert_allclose(own.generalizable, strength_of(a, gone & good))


class TestEfficiency:
    steps = st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=6)

    @given(steps)
    def test_of_growing_sums_lies_in_0_to_1(self, steps):
        total = np.cumsum([0.0] + [step for step, _ in steps])
        good = np.cumsum([0.0] + [step * share for step, share in steps])
        e = ji.pruning_efficiency(total, good)
        np.testing.assert_allclose(e, [1 - share for _, share in steps], atol=1e-12)
        np.testing.assert_array_equal(ji.pruning_efficiency(total, 0 * total), 1)
        np.testing.assert_array_equal(ji.pruning_efficiency(total, total), 0)
        ends = [0, len(steps)]
        np.testing.assert_allclose(
            ji.pruning_efficiency(total, good, edges=ends), [1 - good[-1] / total[-1]], atol=1e-12
        )

    def test_of_hardly_any_removal_is_nan(self):
        e = ji.pruning_efficiency([0.0, 10.0, 10.005, 10.02, 9.0], [0.0, 5.0, 5.0, 5.0, 5.1])
        np.testing.assert_allclose(e, [0.5, np.nan, 1.0, 1 + 0.1 / 1.02])
        e = ji.pruning_efficiency([0.0, 10.0, 10.02], [0.0, 5.0, 5.0], total=[50.0, 1.0, 1.0])
        np.testing.assert_allclose(e, [0.5, np.nan])
        np.testing.assert_array_equal(ji.pruning_efficiency([0.0, 0.0], [0.0, 0.0]), [np.nan])


@pytest.fixture(scope="module")
def pruned_tables():
    """A network, three that lose it by degrees (the high orders first), and a reference."""
    rng = np.random.default_rng(7)
    n, samples = 5, 6
    orders = ji.orders(n)
    effects = rng.normal(size=(samples, 2**n)) * 3.0 / (1 + orders)
    noise = rng.normal(size=(4, samples, 2**n)) * np.array([0.02, 0.1, 0.1, 0.3])[:, None, None]
    kept = [orders >= 0, orders < 4, orders < 2, orders < 1]
    pruned = [ji.zeta(np.where(k, effects, 0) + x) for k, x in zip(kept, noise)]
    reference_values = ji.zeta(np.where(orders < 3, effects, 0) + noise[3])
    return ji.zeta(effects), np.stack(pruned), reference_values


RATIOS = [0.0, 10.0, 30.0, 80.0]
ACCURACY = [0.9, 0.89, 0.5, 0.1]


class TestSeries:
    @pytest.mark.parametrize("mode", ["joint", "fixed"])
    def test_is_what_its_parts_are(self, mode, pruned_tables):
        values, pruned_values, reference_values = pruned_tables
        base = ji.extract(reference_values, noise_preset="paper003")
        original, pruned = ji.extract_pairs(values, pruned_values, pair_mode=mode)
        series = ji.pruning_series(original, pruned, base, ratios=RATIOS, accuracy=ACCURACY)
        assert series.pair_mode == mode
        originals = [original] * 4 if mode == "fixed" else original
        assert len(originals) == len(pruned) == 4
        for i, (a, b) in enumerate(zip(originals, pruned)):
            rho, gone = ji.preserved_ratio(a, b), ji.removed_strength(a, b, base)
            assert (series.rho_low[i], series.rho_high[i]) == (rho.low, rho.high)
            assert series.removed[i] == gone.total
            assert series.removed_generalizable[i] == gone.generalizable
            assert series.salient[i] == gone.salient
            tau = swing_tau(a, 0.05)
            new = ji.emerged(a, b)
            curves = {
                "original": (a, a.salient(tau)),
                "generalizable": (a, ji.generalizable(a, base)),
                "preserved": (a, ji.preserved(a, b)),
                "emerged": (b, new),
                "emerged_generalizable": (
                    b,
                    new & ji.generalizable(b, base, tau, swing_tau(base, 0.05)),
                ),
            }
            for name, (whose, where) in curves.items():
                curve, expected = getattr(series, name), ji.order_strength(whose, where=where)
                for side in ("positive", "negative"):
                    mean = getattr(expected, side).mean(axis=0)
                    np.testing.assert_allclose(getattr(curve, side)[i], mean, err_msg=name)
        expected = ji.pruning_efficiency(
            series.removed, series.removed_generalizable, series.salient
        )
        np.testing.assert_array_equal(series.efficiency, expected)
        frame = series.to_pandas()
        assert frame["ratio"].tolist() == RATIOS and frame["accuracy"].tolist() == ACCURACY
        assert np.isnan(frame["efficiency"][0])
        np.testing.assert_array_equal(frame["efficiency"][1:], series.efficiency)
        up, down = (x.sum(axis=1) for x in (series.emerged.positive, series.emerged.negative))
        np.testing.assert_allclose(frame["emerged"], up + down)
        part = series.emerged_generalizable.total.sum(axis=1)
        np.testing.assert_allclose(frame["emerged_generalizable"], part)
        with np.errstate(invalid="ignore"):
            expected = 1 - abs(up - down) / (up + down)
        np.testing.assert_allclose(frame["emerged_offsetting"], expected)

    def test_curves_lie_within_each_other(self, pruned_tables):
        values, pruned_values, reference_values = pruned_tables
        base = ji.extract(reference_values, noise_preset="paper003")
        pairs = ji.extract_pairs(values, pruned_values, pair_mode="fixed")
        series = ji.pruning_series(*pairs, base, ratios=RATIOS)
        for side in ("positive", "negative"):
            original = getattr(series.original, side)
            assert original.shape == (4, 5)
            np.testing.assert_array_equal(original, original[[0, 0, 0, 0]])
            for within in (series.preserved, series.generalizable):
                assert (getattr(within, side) <= original * (1 + 1e-12)).all()
            new = getattr(series.emerged, side)
            assert (getattr(series.emerged_generalizable, side) <= new * (1 + 1e-12)).all()
        lost = series.original.positive + series.original.negative
        lost = lost - series.preserved.positive - series.preserved.negative
        np.testing.assert_allclose(lost.sum(axis=1) * len(values), series.removed)
        by_pruned = ji.pruning_series(*pairs, base, ratios=RATIOS, preserved_by="pruned")
        for i, pruned in enumerate(pairs.pruned):
            where = ji.preserved(pairs.original, pruned)
            expected = ji.order_strength(pruned, where=where).positive.mean(axis=0)
            np.testing.assert_allclose(by_pruned.preserved.positive[i], expected)

    @pytest.mark.parametrize("mode", ["joint", "fixed"])
    def test_of_the_network_itself_and_of_a_constant(self, mode, table):
        v = table[:3]
        pairs = ji.extract_pairs(v, [v, np.ones_like(v)], pair_mode=mode, tol=1e-3)
        series = ji.pruning_series(*pairs, pairs.pruned[0], ratios=[0.0, 1.0])
        np.testing.assert_array_equal(series.rho_low, [1, 0])
        np.testing.assert_array_equal(series.rho_high, [1, 0])
        assert series.removed[0] == 0 and series.removed[1] == series.salient[1] > 0
        assert not series.emerged.positive.any() and not series.emerged.negative.any()

    @given(models(count=3), st.tuples(SWINGS, SWINGS, SWINGS))
    @settings(max_examples=40)
    def test_emerged_by_the_tau_of_the_original(self, three, swings):
        a, b, c = (rising(x, swing) for x, swing in zip(three, swings))
        tau, own = 0.05 * swings[0], 0.05 * swings[2]
        series = ji.pruning_series(a, [b], c, ratios=[1])
        x, y, z = a.effects, b.effects, c.effects
        new = by_definition(a, lambda s: abs(x[s]) <= tau and abs(y[s]) > tau)
        good = by_definition(a, lambda s: new[s] and abs(z[s]) > own and y[s] * z[s] > 0)
        for name, where in (("emerged", new), ("emerged_generalizable", good)):
            curve = getattr(series, name)
            total = (curve.positive + curve.negative).sum() * len(a)
            np.testing.assert_allclose(total, strength_of(b, where))

    def test_thresholds_are_passed_on(self, pruned_tables):
        values, pruned_values, reference_values = pruned_tables
        original, pruned = ji.extract_pairs(values, pruned_values[1:2], pair_mode="fixed")
        base = ji.extract(reference_values)
        given = (0.5, 0.1, 1.0)
        series = ji.pruning_series(
            original,
            pruned,
            base,
            ratios=[10],
            threshold=0.5,
            other_threshold=0.1,
            reference_threshold=1.0,
        )
        gone = ji.removed_strength(original, pruned[0], base, *given)
        found = (series.removed[0], series.removed_generalizable[0], series.salient[0])
        assert found == (gone.total, gone.generalizable, gone.salient)
        new = ji.emerged(original, pruned[0], 0.5, 0.1)
        new &= ji.generalizable(pruned[0], base, 0.1, 1.0)
        expected = ji.order_strength(pruned[0], where=new).positive.mean(axis=0)
        np.testing.assert_allclose(series.emerged_generalizable.positive[0], expected)


class TestPhases:
    def series(self, accuracy, first=0.0):
        points = len(accuracy)
        weaker = [made([[[0, 4, 4, 8]] * 2])] + [made([[[0, 0, 4, 8]] * 2])] * (points - 1)
        ratios = first + np.arange(points)
        base = made([[[0, 4, 0, 0]] * 2])
        return ji.pruning_series(weaker[0], weaker, base, ratios=ratios, accuracy=accuracy)

    @pytest.mark.parametrize(
        ("accuracy", "points"),
        [
            ([0.9, 0.89, 0.88, 0.6, 0.2, 0.16, 0.1], [0, 2, 5, 6]),
            ([0.9, 0.5, 0.1, 0.1], [0, 0, 2, 3]),  # no first phase
            ([0.9, 0.89, 0.7, 0.5], [0, 1, 3, 3]),  # no third
            ([0.9, 0.9, 0.89], [0, 2, 2, 2]),  # pruning does no harm
            ([0.9, 0.89, 0.1, 0.1], [0, 1, 2, 3]),
            ([0.9, 0.5, 0.9, 0.1, 0.1], [0, 0, 3, 4]),  # what recovers has fallen before
            ([0.9, 0.1, 0.5, 0.1], [0, 0, 3, 3]),  # for good
            ([0.9], [0, 0, 0, 0]),
        ],
    )
    def test_edges(self, accuracy, points):
        series = self.series(accuracy)
        phases = series.phases()
        assert phases.points.tolist() == points
        np.testing.assert_array_equal(phases.edges, series.ratios[points])
        expected = ji.pruning_efficiency(
            series.removed, series.removed_generalizable, series.salient, edges=points
        )
        np.testing.assert_array_equal(phases.efficiency, expected)

    def test_settings_and_text(self):
        series = self.series([0.88, 0.6, 0.2, 0.1], first=1.25)
        assert series.phases(0.9, drop=0.3).points.tolist() == [0, 1, 3, 3]
        assert series.phases(0.9, floor=0.2).points.tolist() == [0, 0, 2, 3]
        assert str(series.phases(0.89)) == "-, 1.25->4.25: 0.00, -"
        with pytest.raises(ValueError, match=r"needs accuracy_original, .* first ratio is 1.25"):
            series.phases()
        with pytest.raises(ValueError, match="needs accuracy; give it to pruning_series"):
            replace(series, accuracy=None).phases(0.9)


class TestPairs:
    @pytest.mark.parametrize("ratio", [0.0, 0.02])
    def test_joint_matches_both_and_shares_more(self, ratio, table):
        v = table[:3]
        # what is left of a network: its values, damped and disturbed
        w = 0.7 * v + 0.1 * np.random.default_rng(0).normal(size=v.shape) * v.std()
        noise = {"noise_ratio": ratio, "tol": 1e-3}
        joint = ji.extract_pairs(v, [w], **noise)
        fixed = ji.extract_pairs(v, [w], pair_mode="fixed", **noise)
        for pairs in (joint, fixed):
            first = pairs.original[0] if pairs is joint else pairs.original
            for one, values in ((first, v), (pairs.pruned[0], w)):
                rebuilt = one.reconstruct() + one.residual
                np.testing.assert_allclose(rebuilt, values, atol=1e-9 * abs(v).max())
                bound = ratio * abs(values[:, -1:] - values[:, :1]) + 1e-9
                assert (abs(one.residual) <= bound).all()
        # Eq. 13 is least for the joint ones, Eq. 12 for the others
        both = [joint.original[0].effects, joint.pruned[0].effects]
        apart = [fixed.original.effects, fixed.pruned[0].effects]
        norms = [reference.joint_norm(np.stack(x)) for x in (both, apart)]
        assert norms[0] <= norms[1] * (1 + 2e-3)
        assert abs(apart[0]).sum() <= abs(both[0]).sum() * (1 + 2e-3)
        shares = [
            ji.convergent_share(x, y)
            for x, y in ((joint.original[0], joint.pruned[0]), (fixed.original, fixed.pruned[0]))
        ]
        assert shares[0] > shares[1]

    def test_noise_is_that_of_the_paper_unless_given(self, pruned_tables):
        values, pruned_values, _ = pruned_tables
        for mode in ("joint", "fixed"):
            found = ji.extract_pairs(values, pruned_values[:1], pair_mode=mode).pruned[0]
            bound = 0.02 * abs(pruned_values[0, :, -1:] - pruned_values[0, :, :1])
            assert (abs(found.residual) <= bound * (1 + 1e-9)).all()
            assert abs(found.residual).max() > 0.5 * bound.max()
            bare = ji.extract_pairs(values, pruned_values[:1], pair_mode=mode, noise_bound=0.0)
            assert abs(bare.pruned[0].residual).max() < 1e-9

    def test_torch_and_jax(self, pruned_tables, torch):
        values, pruned_values, _ = (x.astype(np.float32) for x in pruned_tables)
        expected = ji.extract_pairs(values, pruned_values[:2], player_names="abcde")
        for make in (torch.from_numpy, jnp.asarray):
            found = ji.extract_pairs(make(values), make(pruned_values)[:2], player_names="abcde")
            for side, other in zip(found, expected):
                for x, y in zip(side, other):
                    assert type(x.and_effects) is type(make(values))
                    np.testing.assert_allclose(np.asarray(x.effects), y.effects, atol=1e-5)
                    assert x.player_names == tuple("abcde")

    @given(st.lists(NUMBERS, min_size=2, max_size=2))
    def test_envelope_of_two_models(self, pair):
        """env(a, b) is the larger |.| of one sign, and the sum of opposite ones."""
        a, b = pair
        env = abs(min(0, a, b)) + abs(max(0, a, b))
        assert env == (max(abs(a), abs(b)) if a * b >= 0 else abs(a) + abs(b))
        assert interactions.spread(np.array(pair)[:, None]) == env


class TestModel:
    def test_is_one_models_explanation(self, rng):
        v = rng.normal(size=(2, 3, 2, 16))
        joint = ji.extract(v, joint=True, noise_bound=[0.1, 0.0], player_names="abcd")
        for i in range(2):
            one = joint.model(i)
            assert not one.joint and one.player_names == joint.player_names
            np.testing.assert_array_equal(one.effects, joint.effects[:, :, i])
            np.testing.assert_array_equal(one.bias, v[..., i, 0])
            np.testing.assert_allclose(one.reconstruct() + one.residual, v[..., i, :], atol=1e-12)
            np.testing.assert_allclose(one.primal, abs(one.effects).sum(axis=(-2, -1)), rtol=1e-14)
            assert np.isnan(one.dual).all() and np.isnan(one.gap).all() and one.multiplier is None
            np.testing.assert_array_equal(one.iterations, joint.iterations)
            assert one[1].and_effects.shape == (3, 16) and len(one) == 2
            np.testing.assert_array_equal(one[1, 2].effects, joint[1, 2].model(i).effects)

    @pytest.mark.parametrize("kind", ["jax", "torch"])
    def test_of_every_kind_and_saved(self, kind, request, rng, tmp_path):
        v = rng.normal(size=(2, 8)).astype(np.float32)
        make = jnp.asarray if kind == "jax" else request.getfixturevalue("torch").from_numpy
        expected, one = (ji.extract(x, joint=True).model(1) for x in (v, make(v)))
        assert type(one.and_effects) is type(make(v))
        np.testing.assert_array_equal(np.asarray(one.effects), expected.effects)
        assert np.isnan(float(one.gap))
        one.save(tmp_path / "one.npz")
        back = ji.load(tmp_path / "one.npz")
        np.testing.assert_array_equal(back.effects, expected.effects)
        assert not back.joint and back.top(3) == expected.top(3)

    def test_under_jit(self, rng):
        joint = ji.extract(jnp.asarray(rng.normal(size=(3, 2, 8)), jnp.float32), joint=True)
        found = jax.jit(lambda x: x.model(1))(jax.tree.map(jnp.asarray, joint))
        np.testing.assert_array_equal(found.effects, joint.model(1).effects)
        np.testing.assert_allclose(found.primal, joint.model(1).primal, rtol=1e-6)


class TestJaccard:
    def slow(self, train, test, order=None):
        """Definition 2.2, effect by effect."""
        least = most = 0.0
        for kind in range(2):
            for s in range(1, train.effects.shape[-1]):
                if order is None or reference.size(s) == order:
                    for sign in (1, -1):
                        a, b = (
                            np.mean([max(sign * one.effects[kind, s], 0) for one in x])
                            for x in (train, test)
                        )
                        least, most = least + min(a, b), most + max(a, b)
        return least / most if most else np.nan

    @given(models())
    def test_by_definition(self, pair):
        a, b = pair
        by_order = ji.jaccard_by_order(a, b)
        assert by_order.classes is None
        for order in (None, *range(1, a.n_players + 1)):
            found, expected = ji.jaccard(a, b, order), self.slow(a, b, order)
            np.testing.assert_allclose(found, expected)
            assert isinstance(found, float)
            if order is not None:
                np.testing.assert_array_equal(by_order.similarity[order - 1], found)
                np.testing.assert_array_equal(by_order.per_class[0, order - 1], found)

    @given(models())
    def test_laws(self, pair):
        a, b = pair
        found = ji.jaccard(a, b)
        np.testing.assert_array_equal(found, ji.jaccard(b, a))
        assert np.isnan(found) or 0 <= found <= 1
        if a.effects.any():
            assert ji.jaccard(a, a) == 1
            # of one sample: signs that differ share nothing
            first = a[:1]
            flipped = made(-first.effects)
            assert not first.effects.any() or ji.jaccard(first, flipped) == 0
        scaled = [made(3.7 * x.effects) for x in pair]
        np.testing.assert_allclose(ji.jaccard(*scaled), found)

    def test_numbers_of_samples_may_differ(self, rng):
        a, b = made(rng.normal(size=(4, 2, 8))), made(rng.normal(size=(2, 3, 2, 8)))
        np.testing.assert_allclose(ji.jaccard(a, b), self.slow(a, made(b.effects.reshape(6, 2, 8))))
        assert ji.jaccard(a[0], a[:1]) == 1.0

    def test_by_class(self, rng):
        a, b = made(rng.normal(size=(6, 2, 8))), made(rng.normal(size=(5, 2, 8)))
        b.and_effects[:, 7] = b.or_effects[:, 7] = 0
        a.and_effects[4:, 7] = a.or_effects[4:, 7] = 0
        ours, theirs = list("xyxyzz"), list("zxzxw")
        found = ji.jaccard_by_order(a, b, train_classes=ours, test_classes=theirs)
        assert found.classes.tolist() == list("wxyz")
        assert found.per_class.shape == (4, 3)
        np.testing.assert_array_equal(found.orders, [1, 2, 3])
        assert np.isnan(found.per_class[[0, 2]]).all()  # samples in one of the two only
        for row, at, to in ((1, [0, 2], [1, 3]), (3, [4, 5], [0, 2])):
            expected = [self.slow(a[at], b[to], m) for m in (1, 2, 3)]
            np.testing.assert_allclose(found.per_class[row], expected)
        assert found.per_class[1, 2] == 0 and np.isnan(found.per_class[3, 2])
        expected = found.per_class[[1, 3]].mean(axis=0)
        np.testing.assert_allclose(found.similarity, [*expected[:2], 0])
        frame = found.to_pandas()
        assert len(frame) == 12
        row = frame[(frame["class"] == "z") & (frame["order"] == 2)]
        assert row["similarity"].item() == found.per_class[3, 1]
        apart = ji.jaccard_by_order(a, b, train_classes=[0] * 6, test_classes=[1] * 5)
        assert np.isnan(apart.similarity).all()

    def test_noise_generalises_less_in_high_orders(self, rng):
        """Claim 1 on a planted case: what two sets of samples share is of low order."""
        orders = ji.orders(6)
        common = rng.normal(size=(1, 2, 64)) * (orders <= 2)
        train, test = (made(common + 0.1 * rng.normal(size=(9, 2, 64))) for _ in range(2))
        similarity = ji.jaccard_by_order(train, test).similarity
        assert similarity[:2].min() > similarity[2:].max()


class TestNames:
    def test_of_words_pair_up_by_sample(self, rng):
        v = rng.normal(size=(2, 4))
        names = [["a", "b"], ["c", "d"]]
        apart = ji.extract(v, player_names=names)
        assert ji.convergent(apart, apart).any()
        assert ji.convergent(apart, ji.extract(v)).any()  # where both have names
        alike = ji.extract(v, player_names=[["a", "b"]] * 2)
        assert ji.convergent(alike, ji.extract(v, player_names="ab")).any()
        with pytest.raises(ValueError, match="convergent: a and b must have the same player_names"):
            ji.convergent(apart, ji.extract(v, player_names=names[::-1]))
        with pytest.raises(ValueError, match="jaccard: train must have the same players in all"):
            ji.jaccard(apart, apart)
        assert ji.jaccard(alike, alike) == 1

    def test_samples_that_were_not_solved_are_refused(self, rng):
        v = rng.normal(size=(2, 2, 4))
        v[1, 0, 2] = np.nan
        with pytest.warns(RuntimeWarning):
            some = ji.extract(v, throw=False)
        good = ji.extract(np.nan_to_num(v))
        with pytest.raises(ValueError, match=r"b must have finite effects; sample \(1, 0\) has"):
            ji.convergent(good, some)
        with pytest.raises(ValueError, match=r"a must have finite effects; it has not"):
            ji.convergent(some[1, 0], good[1, 0])


def test_a_phase_in_which_nothing_goes_has_no_efficiency():
    nothing = ji.PruningPhases(
        np.arange(4), np.array([0.0, 5, 5, 9]), np.array([0.5, np.nan, np.nan])
    )
    assert str(nothing) == "0->5: 0.50, -, 5->9: -"
