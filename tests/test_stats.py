# SPDX-License-Identifier: Apache-2.0
"""Numbers from interactions against their definitions, subset by subset, and their laws."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxinter as ji
import reference
from jaxinter import _native, conciseness, stats


def made(and_effects, or_effects, residual=None, bias=0.0, joint=False):
    """Interactions that hold just these."""
    a, b = and_effects, or_effects
    zero = 0 * np.asarray(a, np.float64)[..., 0]
    residual = 0 * a if residual is None else residual
    total = np.abs(np.asarray(a)).sum(-1) + np.abs(np.asarray(b)).sum(-1)
    return ji.Interactions(
        a, b, zero + bias, residual, total, total, 0 * total, 0 * total, total >= 0, 0 * total,
        joint=joint,
    )  # fmt: skip


def random(rng, *shape, dtype=np.float64, joint=False):
    """Normal effects, a quarter of them 0, with a small residual."""
    a, b, residual = rng.normal(size=(3, *shape)).astype(dtype)
    for x in (a, b):
        x[rng.random(shape) < 0.25] = 0
        x[..., 0] = 0
    residual[..., 0] = 0
    return made(a, b, residual / 10, bias=0.5, joint=joint)


def slow_strength(a, b, tau=0.0, where=None):
    """One sample, effect by effect: positive, negative, of orders 1 to n."""
    n = len(a).bit_length() - 1
    positive, negative = np.zeros(n), np.zeros(n)
    for kind, effects in enumerate((a, b)):
        for s in range(1, len(a)):
            x = effects[s]
            if abs(x) > tau and (where is None or where[kind, s]):
                (positive if x > 0 else negative)[reference.size(s) - 1] += abs(float(x))
    return positive, negative


@pytest.fixture
def batch(rng):
    return ji.extract(rng.normal(size=(3, 32)), noise_ratio=0.05, tol=1e-3)


class TestTau:
    def test_numbers_and_arrays(self, batch):
        assert stats.tau("call", batch, None) is None
        assert stats.tau("call", batch, 1) == 1.0
        assert stats.tau("call", batch, np.float32(0.5)) == 0.5
        got = stats.tau("call", batch, [1, 2, 3])
        assert got.tolist() == [1, 2, 3] and got.dtype == np.float64
        assert stats.tau("call", batch, jnp.ones(1)).shape == (3,)

    def test_rules(self, batch):
        v = np.asarray(batch.reconstruct() + batch.residual)
        swing = np.mean([abs(row[-1] - row[0]) for row in v])
        for rule, ratio in (("paper001", 0.02), ("paper002", 0.02), ("paper003", 0.05)):
            for got in (
                stats.tau("call", batch, rule),
                ji.salience_threshold(batch, rule=rule),
                ji.salience_threshold(v, rule=rule),
                ji.salience_threshold(v, ratio),
            ):
                assert isinstance(got, float)
                assert np.isclose(got, ratio * swing)
        largest = 0.05 * np.abs(batch.effects).max(axis=(1, 2))
        np.testing.assert_allclose(ji.salience_threshold(batch, rule="largest"), largest)
        assert np.isclose(stats.tau("call", batch[1], "largest"), largest[1])

    def test_joint_has_one_for_each_model(self, rng):
        both = random(rng, 4, 2, 16, joint=True)
        rise = (both.and_effects + both.or_effects).sum(-1) + both.residual[..., -1]
        expected = 0.02 * np.abs(rise).mean(axis=0)
        np.testing.assert_allclose(ji.salience_threshold(both, rule="paper001"), expected)
        np.testing.assert_allclose(stats.tau("c", both, "paper001"), np.tile(expected, (4, 1)))

    def test_compares_alike_in_float32(self, rng):
        """An array as a number: rounded to the effects' float32, it is met and not exceeded."""
        few = random(rng, 2, 8, dtype=np.float32)
        few.and_effects[:, 3] = 0.1
        for threshold in (0.1, np.array([0.1, 0.1]), jnp.array([0.1, 0.1])):
            assert not (np.abs(few.and_effects[0, 3]) > stats.tau("c", few, threshold)).any()
            got, slow = ji.order_strength(few, threshold), slow_strength(*few[0].effects, 0.1)
            np.testing.assert_allclose(got.positive[0], slow[0], rtol=1e-6)

    def test_traced(self, batch, x64):
        on_device = jax.tree.map(jnp.asarray, batch)
        got = jax.jit(lambda t: stats.tau("call", on_device, t))(0.5)
        np.testing.assert_array_equal(got, [0.5] * 3)
        got = jax.vmap(lambda r: stats.tau("call", r, "largest"))(on_device)
        np.testing.assert_allclose(got, ji.salience_threshold(batch, rule="largest"))
        with pytest.raises(TypeError, match="concrete interactions"):
            jax.jit(lambda r: stats.tau("call", r, "paper001"))(on_device)


def test_salience_threshold_of_values(rng):
    v = rng.normal(size=(4, 5, 8))
    expected = 0.05 * np.mean([abs(row[-1] - row[0]) for row in v.reshape(-1, 8)])
    assert np.isclose(ji.salience_threshold(v, ratio=0.05), expected)
    assert ji.salience_threshold(np.zeros((0, 8))) == 0.0
    assert ji.salience_threshold(random(np.random.default_rng(0), 0, 8)) == 0.0


class TestOrderStrength:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n", range(13))
    def test_equals_the_definition(self, n, dtype, rng):
        """The kernel, with and without threshold and mask; a threshold is exceeded, not met."""
        many = random(rng, 2, 2**n, dtype=dtype)
        tau = np.array([0.7, np.abs(many.and_effects[1]).max()], dtype)
        if n:
            tau[0] = np.abs(many.or_effects[0, -1])
        where = rng.random((2, 2, 2**n)) < 0.5
        for threshold in (None, tau):
            for mask in (None, where, where[:1]):
                got = ji.order_strength(many, threshold, where=mask)
                assert got.positive.dtype == got.negative.dtype == dtype
                for i in range(2):
                    limit = 0.0 if threshold is None else tau[i]
                    masked = None if mask is None else mask[i % len(mask)]
                    slow = slow_strength(*many[i].effects, limit, masked)
                    tolerance = 1e-6 if dtype == np.float32 else 1e-12
                    np.testing.assert_allclose(got.positive[i], slow[0], rtol=tolerance)
                    np.testing.assert_allclose(got.negative[i], slow[1], rtol=tolerance)

    @pytest.mark.parametrize("kind", ["numpy", "jax", "torch"])
    def test_kinds(self, kind, rng, request, x64):
        make = {"numpy": np.asarray, "jax": jnp.asarray}.get(kind)
        make = make or request.getfixturevalue("torch").from_numpy
        few = random(rng, 2, 16)
        moved = jax.tree.map(make, few)
        got = ji.order_strength(moved, 0.3)
        assert type(got.positive) is type(moved.and_effects)
        expected = ji.order_strength(few, 0.3)
        parts = {"total": got.total, "offsetting": got.offsetting, "mean": got.mean().positive}
        parts |= {"normalized": got.normalized([2.0, 4.0]).negative}
        for x in parts.values():
            assert type(x) is type(moved.and_effects)
        np.testing.assert_array_equal(np.asarray(got.negative), expected.negative)
        np.testing.assert_allclose(np.asarray(parts["mean"]), expected.positive.mean(0))
        halves = expected.negative / np.array([[2.0], [4.0]])
        np.testing.assert_allclose(np.asarray(parts["normalized"]), halves)

    @given(st.integers(0, 7), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
    def test_laws(self, n, seed, scale):
        many = random(np.random.default_rng(seed), 3, 2**n)
        strength = ji.order_strength(many)
        atol = 1e-12 * 2**n
        np.testing.assert_allclose(strength.total.sum(-1), many.primal, atol=atol)
        signed = (strength.positive - strength.negative).sum(-1)
        v = many.reconstruct() + many.residual  # joint efficiency
        np.testing.assert_allclose(signed, v[:, -1] - v[:, 0] - many.residual[:, -1], atol=atol)
        scaled = made(scale * many.and_effects, -scale * many.or_effects)
        flipped = made(many.and_effects, -many.or_effects)
        for got, expected in zip(
            jax.tree.leaves(ji.order_strength(scaled, 0.5 * scale)),
            jax.tree.leaves(ji.order_strength(flipped, 0.5)),
        ):
            near = np.abs(np.abs(many.effects) - 0.5).min() < 1e-9
            assert near or np.allclose(got, scale * expected, rtol=1e-9)

    def test_of_a_real_table(self, table):
        result = ji.extract(table[:3].astype(np.float64), tol=1e-2)
        got = ji.order_strength(result, "paper001")
        tau = 0.02 * np.abs(table[:3, -1].astype(float) - table[:3, 0]).mean()
        for i in range(3):
            slow = slow_strength(result.and_effects[i], result.or_effects[i], tau)
            np.testing.assert_allclose(got.positive[i], slow[0], rtol=1e-9)
            np.testing.assert_allclose(got.negative[i], slow[1], rtol=1e-9)
        np.testing.assert_allclose(ji.order_strength(result).total.sum(-1), result.primal)

    def test_nan_and_infinity(self, rng):
        for n in (2, 5, 9):
            few = random(rng, 1, 2**n)
            few.and_effects[0, 3], few.or_effects[0, 1] = np.nan, -np.inf
            for strength in (
                ji.order_strength(few),
                ji.order_strength(few, 100.0),
                jax.jit(ji.order_strength)(jax.tree.map(jnp.asarray, few), 100.0),
            ):
                assert np.isnan(strength.positive[0, 1]) and np.isnan(strength.negative[0, 1])
                assert strength.negative[0, 0] == np.inf and np.isfinite(strength.positive[0, 0])
            where = np.isfinite(few.effects)
            assert np.isfinite(ji.order_strength(few, where=where).total).all()

    @pytest.mark.parametrize("n", [0, 1, 4, 9])
    def test_traced_equals_the_kernel(self, n, rng, x64, quick_compilation):
        few = random(rng, 3, 2**n)
        where = rng.random((3, 2, 2**n)) < 0.5
        tau = np.abs(few.or_effects[:, -1])  # met by one effect
        expected = ji.order_strength(few, tau, where=where)
        on_device = jax.tree.map(jnp.asarray, few)
        jitted = jax.jit(lambda r, t, w: ji.order_strength(r, t, where=w))
        mapped = jax.vmap(lambda r, t, w: ji.order_strength(r, t, where=w))
        for f in (jitted, mapped):
            got = f(on_device, jnp.asarray(tau), jnp.asarray(where))
            np.testing.assert_allclose(got.positive, expected.positive, atol=1e-12)
            np.testing.assert_allclose(got.negative, expected.negative, atol=1e-12)
        got = jax.jit(lambda t: ji.order_strength(few, t))(0.5)  # only the threshold is traced
        np.testing.assert_allclose(got.total, ji.order_strength(few, 0.5).total, atol=1e-12)

    def test_gradient(self, rng, x64, quick_compilation):
        """By an effect: 1 in the sum of its sign where it is counted; 0 where it is 0."""
        few = jax.tree.map(jnp.asarray, random(rng, 2, 16))
        a = few.and_effects

        def positive(a, threshold=None):
            return ji.order_strength(replace(few, and_effects=a), threshold).positive.sum()

        np.testing.assert_array_equal(jax.grad(positive)(a), a > 0)
        np.testing.assert_array_equal(jax.grad(positive)(a, 0.5), a > 0.5)

    def test_traced_holds_no_table_of_all_coalitions(self):
        few = random(np.random.default_rng(0), 2**10)
        text = jax.jit(ji.order_strength).lower(jax.tree.map(jnp.asarray, few)).as_text()
        assert 'dense<"' not in text and len(text) < 40_000

    def test_same_bits_for_any_batch_and_threads(self, rng, monkeypatch):
        for n in (3, 8, 11):
            many = random(rng, 41, 2**n, dtype=np.float32)
            where = rng.random((41, 2, 2**n)) < 0.5
            whole = ji.order_strength(many, 0.2, where=where)
            for threads in ("1", "2", "5"):
                monkeypatch.setenv("JAXINTER_THREADS", threads)
                again = ji.order_strength(many, 0.2, where=where)
                np.testing.assert_array_equal(again.positive, whole.positive)
                np.testing.assert_array_equal(again.negative, whole.negative)
            single = ji.order_strength(many[7], 0.2, where=where[7])
            np.testing.assert_array_equal(single.positive, whole.positive[7])

    @pytest.mark.parametrize("simd", ["portable", "avx2"])
    def test_same_bits_at_every_simd_level(self, simd, at_simd_levels):
        bits = [path.read_bytes() for path in at_simd_levels(BITS, simd)]
        assert bits[0] == bits[1]

    def test_strided_misaligned_and_other_dtypes(self, rng):
        few = random(rng, 2, 32)
        expected = ji.order_strength(few).positive
        spread = np.zeros((2, 64))
        spread[:, ::2] = few.and_effects
        got = ji.order_strength(made(spread[:, ::2], few.or_effects.astype(">f8")))
        np.testing.assert_array_equal(got.positive, expected)
        half = made(few.and_effects.astype("f2"), few.or_effects.astype("f2"))
        assert ji.order_strength(half).positive.dtype == np.float32
        np.testing.assert_allclose(ji.order_strength(half).positive, expected, rtol=2e-2)

    def test_the_kernel_refuses_what_does_not_fit(self):
        a, sums = np.zeros((2, 8)), np.zeros((2, 2, 3))
        for threshold, counted, out in (
            (np.zeros(3), None, sums),
            (None, np.zeros((2, 8), bool), sums),
            (None, None, sums[:1]),
        ):
            with pytest.raises(ValueError, match="order_strength: threshold must be"):
                _native.order_strength(a, a, threshold, counted, out)

    def test_members(self, batch):
        strength = ji.order_strength(batch)
        np.testing.assert_array_equal(strength.orders, [1, 2, 3, 4, 5])
        np.testing.assert_allclose(strength.total, strength.positive + strength.negative)
        p, q = strength.positive, strength.negative
        np.testing.assert_allclose(strength.offsetting, 1 - np.abs(p - q) / (p + q))
        mean = strength.mean()
        np.testing.assert_allclose(mean.positive, p.mean(axis=0))
        assert mean.mean() is mean
        assert len(strength) == 3 and strength[1:].batch == (2,) and len(list(strength)) == 3
        np.testing.assert_array_equal(strength[2].positive, p[2])
        frame = strength.to_pandas()
        assert list(frame.columns) == ["sample", "order", "positive", "negative"]
        assert len(frame) == 15
        row = frame[(frame["sample"] == 1) & (frame["order"] == 4)].iloc[0]
        assert row["positive"] == p[1, 3] and row["negative"] == q[1, 3]
        assert (strength[0].to_pandas()["sample"] == 0).all()
        doubled = jax.tree.map(lambda x: 2 * x, strength)
        np.testing.assert_array_equal(doubled.total, 2 * strength.total)

    def test_several_batch_axes(self, rng):
        many = random(rng, 2, 3, 16)
        strength = ji.order_strength(many, np.full((2, 1), 0.5))
        assert strength.positive.shape == (2, 3, 4)
        assert strength[1, 2].batch == () and strength[:, 0].batch == (2,)
        np.testing.assert_allclose(strength.mean().positive, strength.positive.mean((0, 1)))
        np.testing.assert_allclose(strength.mean(axis=-1).positive, strength.positive.mean(1))
        np.testing.assert_allclose(strength.mean(axis=0).negative, strength.negative.mean(0))
        both = strength.mean(axis=(0, -1))
        np.testing.assert_array_equal(both.positive, strength.mean().positive)
        with pytest.raises(ValueError, match=r"mean: axis must be of a batch of shape \(2, 3\)"):
            strength.mean(axis=2)
        frame = strength.to_pandas()
        assert frame["sample"].iloc[-1] == (1, 2)
        assert frame["positive"].iloc[-1] == strength.positive[1, 2, 3]

    def test_edges(self):
        for n, batch in ((0, ()), (0, (2,)), (3, (0,)), (1, ())):
            none = made(np.zeros((*batch, 2**n)), np.zeros((*batch, 2**n)))
            strength = ji.order_strength(none, "paper001")
            assert strength.positive.shape == (*batch, n)
            assert not strength.total.any()
            assert np.isnan(strength.offsetting).all()
            assert len(strength.to_pandas()) == n * int(np.prod(batch))
            traced = jax.jit(ji.order_strength)(none)
            assert traced.positive.shape == (*batch, n)


BITS = """if True:
    import sys, numpy as np
    from jaxinter import _native
    print(_native.simd_level())
    rng, parts = np.random.default_rng(0), []
    for n in range(15):
        for dtype in (np.float32, np.float64):
            a, b = rng.normal(size=(2, 3, 2**n)).astype(dtype)
            where = rng.random((3, 2, 2**n)) < 0.5
            for mask in (None, where):
                sums = np.empty((3, 2, n))
                _native.order_strength(a, b, np.array([0.0, 0.3, 1.0]), mask, sums)
                parts.append(sums.tobytes())
    open(sys.argv[1], "wb").write(b"".join(parts))
"""


def test_first_order_strength(batch):
    for tau in (None, 0.1, [0.1, 0.2, 0.3], "paper003", "largest"):
        expected = ji.order_strength(batch, tau).total[:, 0].mean()
        assert np.isclose(ji.first_order_strength(batch, tau), expected)
    z = ji.first_order_strength(batch)
    assert np.isclose(ji.order_strength(batch).normalized(z).total[:, 0].mean(), 1)
    assert ji.first_order_strength(made(np.zeros((2, 1)), np.zeros((2, 1)))) == 0.0
    both = random(np.random.default_rng(0), 3, 2, 8, joint=True)
    of_each = [np.abs(both.effects[:, m][..., [1, 2, 4]]).sum() / 3 for m in range(2)]
    np.testing.assert_allclose(ji.first_order_strength(both), of_each)


class TestNewStrength:
    def test_averages(self, rng):
        after, before = random(rng, 5, 16), random(rng, 3, 16)
        got = ji.new_strength(after, before, threshold=0.2)
        for name in ("positive", "negative"):
            averages = [getattr(ji.order_strength(x, 0.2), name).mean(0) for x in (after, before)]
            np.testing.assert_allclose(getattr(got, name), np.abs(averages[0] - averages[1]))
        normalized = [ji.order_strength(x).normalized(2.0) for x in (after, before)]
        plain = ji.new_strength(after, before)
        np.testing.assert_allclose(ji.new_strength(*normalized).total, plain.total / 2)

    def test_effects(self, rng):
        after, before = random(rng, 3, 16), random(rng, 3, 16)
        got = ji.new_strength(after, before, of="effects", threshold=0.2)
        for i in range(3):
            change = after[i].effects - before[i].effects
            slow = slow_strength(change[0], change[1], 0.2)
            np.testing.assert_allclose(got.positive[i], slow[0])
            np.testing.assert_allclose(got.negative[i], slow[1])
        back = ji.new_strength(before, after, of="effects", threshold=0.2)
        np.testing.assert_allclose(back.positive, got.negative)

    def test_averages_are_at_most_effects(self, rng):
        after, before = random(rng, 4, 16), random(rng, 4, 16)
        small = ji.new_strength(after, before)
        large = ji.new_strength(after, before, of="effects").total.mean(0)
        assert (small.positive <= large + 1e-12).all() and (small.negative <= large + 1e-12).all()


def test_salient_counts(rng, x64):
    many = random(rng, 2, 3, 16)
    tau = np.abs(many.and_effects[..., 5])  # met, not exceeded, by one effect
    got = ji.salient_counts(many, tau)
    for i in np.ndindex(2, 3):
        for counts, effects in (
            (got.and_counts, many.and_effects),
            (got.or_counts, many.or_effects),
        ):
            expected = [
                sum(abs(effects[i][s]) > tau[i] for s in range(16) if reference.size(s) == m)
                for m in (1, 2, 3, 4)
            ]
            assert counts[i].tolist() == expected
    assert got.total.tolist() == many.salient(tau).sum((-2, -1)).tolist()
    frame = got[0].to_pandas()
    assert list(frame.columns) == ["sample", "order", "and_count", "or_count"]
    assert frame["or_count"].sum() == got.or_counts[0].sum()
    traced = jax.jit(ji.salient_counts)(jax.tree.map(jnp.asarray, many), jnp.asarray(tau))
    np.testing.assert_array_equal(traced.and_counts, got.and_counts)
    assert ji.salient_counts(many[0, 0], "paper001").total.shape == ()
    assert ji.salient_counts(made(np.zeros((2, 1)), np.zeros((2, 1))), 0.0).total.tolist() == [0, 0]


def slow_power(u):
    """Condition 3 on a fine grid of p, pair by pair."""
    for p in np.arange(1, 8001) / 1000:
        pairs = ((j, k) for k in range(1, len(u)) for j in range(k))
        if all(u[j] >= (j / k) ** p * u[k] - 1e-12 for j, k in pairs):
            return p
    return np.inf


class TestSparsityConditions:
    def test_equals_the_definition(self, batch):
        got = ji.sparsity_conditions(batch, 0.3)
        v = batch.reconstruct() + batch.residual
        order_of = ji.orders(5)
        for i in range(3):
            u = [(v[i, order_of == k] - v[i, 0]).mean() for k in range(6)]
            np.testing.assert_allclose(got.average_output[i], u, atol=1e-12)
            strong = np.abs(batch[i].effects) > 0.3
            assert got.max_order[i] == max(order_of[s] for s in range(32) if strong[:, s].any())
            assert got.salient[i] == strong.sum()
            assert got.monotone[i] == all(u[k] >= u[k - 1] for k in range(1, 6))
        assert (got.bounded_order == (got.max_order < 5)).all()
        assert list(got.to_pandas().columns)[:2] == ["sample", "max_order"]

    def test_of_values_takes_and_interactions(self, rng):
        v = rng.normal(size=(2, 16)) + ji.orders(4)
        got = ji.sparsity_conditions(v, "largest")
        effects = np.abs(ji.mobius(v))[:, 1:]
        expected = (effects > 0.05 * effects.max(axis=-1, keepdims=True)).sum(-1)
        np.testing.assert_array_equal(got.salient, expected)

    @given(st.lists(st.integers(-3, 6), min_size=1, max_size=6))
    def test_smallest_power(self, rises):
        """Of games that depend on size alone, whose u is any curve."""
        u = np.array([0, *rises], float)
        n = len(rises)
        got = ji.sparsity_conditions(u[ji.orders(n)], 0.0)
        np.testing.assert_allclose(got.average_output, u, atol=1e-12)
        expected = slow_power(u)
        assert got.monotone == (np.diff(u) >= 0).all()
        if np.isinf(expected):
            assert got.power > 7.99
        else:
            assert got.power <= expected + 1e-9 and got.power >= expected - 1e-3 - 1e-9

    def test_known_powers(self):
        orders = ji.orders(6).astype(float)
        for p in (0.5, 1.0, 1.7):
            assert np.isclose(ji.sparsity_conditions(orders**p).power, p)
        falling = ji.sparsity_conditions(-orders)  # u(k') >= (k'/k)^p u(k) for p <= 1
        assert falling.power == 0 and not falling.monotone
        assert ji.sparsity_conditions(np.where(orders > 2, 1.0, 0.0)).power == np.inf
        constant = ji.sparsity_conditions(np.zeros(8))
        assert constant.power == 0 and constant.monotone and constant.max_order == 0
        assert not constant.salient

    def test_rounding_is_no_fall(self):
        v = (np.minimum(ji.orders(8), 3) / 3 + 5).astype(np.float32)
        v[-1] -= np.float32(4e-7)
        assert ji.sparsity_conditions(v).monotone

    def test_edges(self):
        for shape in ((1,), (2,), (0, 8), (3, 1)):
            got = ji.sparsity_conditions(np.zeros(shape))
            assert got.power.shape == shape[:-1] and (got.power == 0).all()
        assert ji.sparsity_conditions(np.zeros(1)).bounded_order == np.False_


class TestSparsityCurve:
    def test_equals_the_definition(self, rng, x64):
        many = random(rng, 2, 3, 16)
        got = ji.sparsity_curve(many)
        assert got.strength.shape == (2, 3, 30)
        for i in np.ndindex(2, 3):
            effects = sorted(np.abs(many.effects[i][:, 1:]).ravel(), reverse=True)
            np.testing.assert_array_equal(got.strength[i], effects)
            np.testing.assert_allclose(got.cumulative[i], np.cumsum(effects) / np.sum(effects))
        traced = jax.jit(ji.sparsity_curve)(jax.tree.map(jnp.asarray, many))
        np.testing.assert_array_equal(traced.strength, got.strength)
        assert got[0].batch == (3,)

    def test_to_pandas(self, rng):
        many = random(rng, 20, 2**10)
        curve = ji.sparsity_curve(many)
        frame = curve.to_pandas()
        assert 40 < len(frame) <= 61 and frame["rank"].iloc[[0, -1]].tolist() == [1, 2046]
        row = curve.to_pandas(ranks=[10]).iloc[0]
        at = curve.strength[:, 9]
        assert np.isclose(row["mean"], at.mean()) and np.isclose(row["median"], np.median(at))
        assert np.isclose(row["q10"], np.quantile(at, 0.1)) and row["q10"] <= row["q90"]
        assert np.isclose(row["cumulative"], curve.cumulative[:, 9].mean())

    def test_edges(self):
        nothing = ji.sparsity_curve(made(np.zeros((2, 4)), np.zeros((2, 4))))
        assert np.isnan(nothing.cumulative).all() and not nothing.strength.any()
        assert ji.sparsity_curve(made(np.zeros(1), np.zeros(1))).strength.shape == (0,)
        assert ji.sparsity_curve(made(np.zeros((0, 4)), np.zeros((0, 4)))).cumulative.size == 0


class TestMatchingCurve:
    def test_equals_the_definition(self, batch):
        counts = [0, 1, 2, 5, 17, 62]
        got = ji.matching_curve(batch, counts)
        v = batch.reconstruct() + batch.residual
        for i in range(3):
            a, b = batch.and_effects[i], batch.or_effects[i]
            for k, error in zip(counts, got.errors[i]):
                kept_a, kept_b = np.zeros(32), np.zeros(32)
                for effect in batch[i].top(k):
                    s = sum(1 << p for p in effect.players)
                    if effect.kind == "AND":
                        kept_a[s] = a[s]
                    else:
                        kept_b[s] = b[s]
                model = reference.reconstruct(batch.bias[i], kept_a, kept_b)
                expected = np.linalg.norm(v[i] - model) / np.linalg.norm(v[i] - v[i, 0])
                assert np.isclose(error, expected, atol=1e-12)

    def test_chunks_change_nothing(self, rng, monkeypatch):
        many = random(rng, 2, 3, 16)
        whole = ji.matching_curve(many)
        assert whole.counts[0] == 0 and whole.counts[-1] == 30
        for size in (1, 5000, 50_000):
            monkeypatch.setattr(conciseness, "WORKING_BYTES", size)
            np.testing.assert_array_equal(ji.matching_curve(many).errors, whole.errors)

    def test_needed(self, rng):
        curve = ji.matching_curve(random(rng, 3, 16), np.arange(31))
        needed = curve.needed(0.5)
        for i, k in enumerate(needed.astype(int)):
            assert curve.errors[i, k] <= 0.5 and (curve.errors[i, :k] > 0.5).all()
        assert np.isinf(curve.needed(0.0)).all()  # the residual is left
        assert curve[1].needed(0.5) == needed[1]
        frame = curve.to_pandas()
        assert len(frame) == 93 and frame["count"].iloc[-1] == 30

    def test_a_real_table_needs_few(self, table):
        result = ji.extract(table[:4].astype(np.float64), noise_ratio=0.05, tol=1e-2)
        curve = ji.matching_curve(result)
        assert (curve.needed(0.1) < 700).all()
        np.testing.assert_allclose(curve.errors[:, 0], 1)

    def test_edges(self):
        constant = ji.matching_curve(made(np.zeros(8), np.zeros(8), bias=2.0))
        assert not constant.errors.any()
        alone = ji.matching_curve(made(np.zeros(1), np.zeros(1)))
        assert alone.counts.tolist() == [0] and alone.errors.tolist() == [0]
        assert ji.matching_curve(made(np.zeros((0, 8)), np.zeros((0, 8)))).errors.shape[0] == 0
        assert ji.matching_curve(made(np.zeros(8), np.zeros(8)), []).needed(0.1) == np.inf
