# SPDX-License-Identifier: Apache-2.0
"""Several models explained together (paper 003, Eq. 13), against an LP solver and laws of its norm.

The joint objective is at least the sum of the models' own optima plus the largest of them, and at
most twice their sum: max(0, x_1..x_m) - min(0, x_1..x_m) lies between max |x_k| and sum |x_k|.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinter as ji
import reference
from jaxinter.sparse import problem


def tables(rng, models, n, kind):
    """``[models, 2**n]``."""
    v = rng.normal(size=(models, 2**n)) * 10.0 ** rng.integers(-3, 4)
    if kind == "alike":
        v = v[:1] + rng.normal(size=v.shape) * 0.05 * abs(v).max()
    elif kind == "planted":
        v = ji.zeta(np.where(rng.random(2**n) < 0.3, v, 0.0))
    elif kind == "integers":
        v = rng.integers(-2, 3, size=v.shape).astype(float)
    elif kind == "scales":
        v *= 10.0 ** np.arange(models)[:, None]
    return v


def check(result, v, bound):
    """Universal matching of each model within its own bound, and `primal` by its definition."""
    scale = abs(v).max()
    groups = v.reshape(-1, *v.shape[-2:])
    bound = np.broadcast_to(bound, v.shape[:-1]).reshape(groups.shape[:-1])
    effects = [x.reshape(groups.shape) for x in (result.and_effects, result.or_effects)]
    residual = result.residual.reshape(groups.shape)
    for i, table in enumerate(groups):
        primal = sum(reference.joint_norm(x[i]) for x in effects)
        np.testing.assert_allclose(np.ravel(result.primal)[i], primal, rtol=1e-12)
        for k, values in enumerate(table):
            rebuilt = reference.reconstruct(values[0], *(x[i, k] for x in effects))
            np.testing.assert_allclose(rebuilt + residual[i, k], values, atol=1e-9 * scale)
            assert abs(residual[i, k]).max() <= bound[i, k] + 1e-11 * scale
    assert not residual[..., 0].any()
    assert not any(x[..., 0].any() for x in effects)
    np.testing.assert_array_equal(result.bias, v[..., 0])
    claimed = np.maximum(result.primal - result.dual, 0)
    np.testing.assert_allclose(result.gap * result.primal, claimed, atol=1e-12 * scale)


class TestOptimum:
    @given(
        n=st.integers(1, 4),
        models=st.integers(2, 3),
        ratios=st.tuples(*[st.sampled_from([0.0, 0.02, 0.3])] * 3),
        seed=st.integers(0, 2**32 - 1),
        kind=st.sampled_from(["gauss", "alike", "planted", "integers", "scales"]),
    )
    @settings(max_examples=120)
    def test_brackets_that_of_an_lp_solver(self, n, models, ratios, seed, kind):
        v = tables(np.random.default_rng(seed), models, n, kind)
        bound = np.array(ratios[:models]) * abs(v[:, -1] - v[:, 0])
        result = ji.extract(v, joint=True, noise_bound=bound, tol=1e-4)
        true = reference.sparsest_joint_split(v, bound)
        slack = 1e-7 * (abs(v).max() + true)
        assert result.dual <= true + slack
        assert true <= result.primal + slack
        assert result.gap <= 1e-4
        assert result.converged
        check(result, v, bound)

    @pytest.mark.parametrize(
        ("n", "models", "bound"), [(2, 3, None), (3, 2, [0.0, 0.2]), (4, 2, None)]
    )
    def test_of_the_jax_engine(self, n, models, bound, rng):
        v = rng.normal(size=(3, models, 2**n))
        v[1] = v[1, :1]  # identical models
        v[2, 0] = 1.0  # a constant one
        found = {
            engine: ji.extract(v, joint=True, noise_bound=bound, engine=engine, tol=1e-5)
            for engine in ("jax", "native")
        }
        for result in found.values():
            for i, table in enumerate(v):
                box = [0.0] * models if bound is None else bound
                true = reference.sparsest_joint_split(table, box)
                assert result.dual[i] <= true * (1 + 1e-9)
                assert true <= result.primal[i] * (1 + 1e-9)
            assert (result.gap <= 1e-5).all()
            check(result, v, 0.0 if bound is None else bound)
        assert (found["jax"].dual <= found["native"].primal * (1 + 1e-9)).all()
        assert (found["native"].dual <= found["jax"].primal * (1 + 1e-9)).all()

    @pytest.mark.parametrize("ratio", [0.0, 0.02])
    @pytest.mark.parametrize("models", [2, 3])
    def test_identical_models_pay_once_more(self, table, optimum, ratio, models):
        """All equal, h(x, ..., x) = (m + 1) |x|; by symmetry and convexity nothing is better."""
        v = np.repeat(table[:2, None], models, axis=1)
        result = ji.extract(v, joint=True, noise_ratio=ratio, tol=1e-3)
        true = (models + 1) * optimum(ratio)[:2]
        assert (result.dual <= true * (1 + 1e-7)).all()
        assert (true <= result.primal * (1 + 1e-7)).all()
        assert (result.gap <= 1e-3).all()
        for x in (result.and_effects, result.or_effects):  # and the tie-break keeps them equal
            np.testing.assert_allclose(x, np.repeat(x[:, :1], models, axis=1), atol=1e-9)

    def test_a_model_of_nothing_is_free(self, table, optimum):
        """h(x, 0) = 2 |x|, which the law above says is least."""
        v = np.stack([table[:2], np.full_like(table[:2], 3.0)], axis=1)
        result = ji.extract(v, joint=True, tol=1e-3)
        true = 2 * optimum(0.0)[:2]
        assert (result.dual <= true * (1 + 1e-7)).all()
        assert (true <= result.primal * (1 + 1e-7)).all()

    @given(n=st.integers(1, 5), models=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=30)
    def test_lies_between_the_sum_and_twice_the_sum_of_each(self, n, models, seed):
        v = np.random.default_rng(seed).normal(size=(models, 2**n))
        joint = ji.extract(v, joint=True, noise_ratio=0.05)
        alone = ji.extract(v, noise_ratio=0.05)
        assert joint.primal >= (alone.dual.sum() + alone.dual.max()) * (1 - 1e-9)
        assert joint.dual <= 2 * alone.primal.sum() * (1 + 1e-9)

    def test_all_within_the_noise_or_some(self, rng):
        v = rng.normal(size=(2, 2, 8))
        none = ji.extract(v, joint=True, noise_bound=10.0)
        assert not none.effects.any() and not none.primal.any() and not none.gap.any()
        np.testing.assert_array_equal(none.residual, v - v[..., :1])
        some = ji.extract(v, joint=True, noise_bound=[10.0, 0.0])
        alone = ji.extract(v[:, 1])
        # the noisy model may be anything, so it follows: h is least at equal effects or at 0
        assert (some.primal >= 2 * alone.dual * (1 - 1e-9)).all()
        assert (some.dual <= 2 * alone.primal * (1 + 1e-9)).all()
        check(some, v, [10.0, 0.0])

    def test_sixteen_models(self, rng):
        v = rng.normal(size=(16, 8))
        result = ji.extract(v, joint=True)
        true = reference.sparsest_joint_split(v, np.zeros(16))
        assert result.dual <= true * (1 + 1e-9)
        assert true <= result.primal * (1 + 1e-9)
        assert result.gap <= 1e-4

    def test_scales_with_the_values(self, rng):
        v = rng.normal(size=(3, 16))
        once, much = (ji.extract(c * v, joint=True, noise_ratio=0.1) for c in (1.0, -1e9))
        assert much.dual <= 1e9 * once.primal * (1 + 1e-9)
        assert 1e9 * once.dual <= much.primal * (1 + 1e-9)


class TestNorm:
    """problem.prox and problem.gauge, numpy and JAX, against the definition of h."""

    @pytest.fixture(params=["numpy", "jax"])
    def xp(self, request, x64):
        return {"numpy": np, "jax": jnp}[request.param]

    @pytest.mark.parametrize("models", [1, 2, 3, 5])
    def test_gauge_is_the_dual_norm(self, models, xp, rng):
        lam = rng.normal(size=(12, models, 1)) * rng.choice([0.3, 3.0], size=(12, 1, 1))
        lam[0] = 0.0
        lam[1] = np.round(lam[1])
        found = problem.gauge(xp.asarray(lam))
        assert found.shape == (12, 1, 1)
        expected = [reference.joint_gauge(x[:, 0]) for x in lam]
        if models == 1:  # without the coupling
            expected = abs(lam[:, 0, 0])
        np.testing.assert_allclose(found[:, 0, 0], expected, atol=1e-9)

    def test_gauge_is_the_largest_over_the_group(self, xp, rng):
        lam = rng.normal(size=(4, 3, 8))
        each = [[problem.gauge(xp.asarray(x[None, :, i, None])) for i in range(8)] for x in lam]
        found = problem.gauge(xp.asarray(lam))
        np.testing.assert_allclose(np.ravel(found), np.max(np.array(each), axis=1).ravel())

    @pytest.mark.parametrize("models", [2, 3, 5])
    def test_prox_is_the_minimiser(self, models, xp, rng):
        """z - x is tau times a subgradient at x: in the dual ball, and <z - x, x> = tau h(x)."""
        z = 3 * rng.normal(size=(3, models, 16))
        z[0] = np.round(z[0])  # ties and zeros
        z[1, :, :4] = abs(z[1, :, :1])
        tau = np.array([1.0, 0.3, 2.0]).reshape(3, 1, 1)
        x = np.asarray(problem.prox(xp.asarray(z), xp.asarray(tau)))
        for group in range(3):
            t = tau[group, 0, 0]
            for s in range(16):
                step, at = (z - x)[group, :, s] / t, x[group, :, s]
                assert reference.joint_gauge(step) <= 1 + 1e-9
                np.testing.assert_allclose(step @ at, reference.joint_norm(at), atol=1e-12)
        assert (x == 0).any() and (x != 0).any()

    def test_prox_of_two_models_is_a_projection_on_a_hexagon(self, xp, rng):
        z, tau = 4 * rng.normal(size=(1, 2, 200)), 0.7
        u, v = z[0] / tau
        cu, cv = np.clip(u, -2, 2), np.clip(v, -2, 2)
        g = np.sign(cu + cv)
        p = g * np.clip((g * (u - v) + 3) / 2, 1, 2)
        inside = abs(cu + cv) <= 3
        assert inside.any() and not inside.all()
        ball = np.where(inside, [cu, cv], [p, 3 * g - p])
        found = problem.prox(xp.asarray(z), xp.asarray(np.full((1, 1, 1), tau)))
        np.testing.assert_allclose(found[0], z[0] - tau * ball, atol=1e-12)

    @given(
        z=st.lists(st.floats(-4, 4), min_size=2, max_size=6),
        tau=st.floats(0.01, 3),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=100)
    def test_no_point_nearby_is_better_than_prox(self, z, tau, seed):
        z = np.array(z)[None, :, None]
        x = problem.prox(z, np.full((1, 1, 1), tau))
        near = np.random.default_rng(seed).normal(size=(40, z.shape[1]))
        near *= np.logspace(-6, 0, 40)[:, None]

        def objective(x):
            return reference.joint_norm(x) + ((x - z[0, :, 0]) ** 2).sum() / (2 * tau)

        least = objective(x[0, :, 0])
        assert all(least <= objective(x[0, :, 0] + step) + 1e-12 for step in near)

    @pytest.mark.parametrize("bound", [None, [0.0, 0.1, 0.3]])
    def test_dual_bound_of_any_multiplier_is_below_the_optimum(self, bound, xp, rng):
        for _ in range(15):
            v = rng.normal(size=(3, 8))
            v -= v[:, :1]
            zeta = np.zeros(3) if bound is None else np.array(bound)
            true = reference.sparsest_joint_split(v, zeta)
            c = problem.graph_offset(xp.asarray(v)[None])
            lam = rng.normal(size=(1, 3, 8)) * rng.choice([0.01, 1, 100])
            given = None if bound is None else xp.asarray(zeta)[None, :, None]
            eps = xp.full((1, 1, 1), 0.1)
            value, elastic, y = problem.dual_bounds(c, given, xp.asarray(lam), eps)
            value, elastic, y = float(value[0, 0, 0]), float(elastic[0, 0, 0]), np.asarray(y[0])
            assert value <= true * (1 + 1e-9)
            by_y = (y * v).sum() - (zeta[:, None] * abs(y)).sum()
            np.testing.assert_allclose(by_y, value, rtol=1e-9, atol=1e-12)
            # y is a subgradient of the optimum: it bounds those of other tables too
            other = v + rng.normal(size=v.shape)
            other -= other[:, :1]
            bound_there = (y * other).sum() - (zeta[:, None] * abs(y)).sum()
            assert bound_there <= reference.sparsest_joint_split(other, zeta) * (1 + 1e-9)
            # and the elastic bound is below the elastic objective of the half split
            a = ji.mobius(v / 2)
            a[:, 0] = 0
            a = xp.asarray(a)[None]
            b = problem.or_effects(c, a, None)
            assert elastic <= problem.strength(a, b)[0, 0, 0] + 0.05 * ((a**2).sum() + (b**2).sum())

    @pytest.mark.parametrize("models", [1, 3])
    def test_strength_is_the_objective(self, models, xp, rng):
        a, b = rng.normal(size=(2, 2, models, 8))
        found = problem.strength(xp.asarray(a), xp.asarray(b))
        norm = reference.joint_norm if models > 1 else lambda x: abs(x).sum()
        np.testing.assert_allclose(found[:, 0, 0], [norm(x) + norm(y) for x, y in zip(a, b)])


class TestInteractions:
    @pytest.fixture
    def v(self):
        return np.random.default_rng(3).normal(size=(2, 3, 2, 16))

    @pytest.fixture
    def result(self, v):
        return ji.extract(v, joint=True, noise_bound=[0.1, 0.0], player_names="abcd")

    def test_shapes(self, v, result):
        assert result.joint
        for x in (result.and_effects, result.or_effects, result.residual):
            assert x.shape == (2, 3, 2, 16)
        assert result.bias.shape == (2, 3, 2)
        assert result.effects.shape == (2, 3, 2, 2, 16)
        for name in ("primal", "dual", "gap", "iterations", "converged", "tie_break"):
            assert getattr(result, name).shape == (2, 3), name
        assert len(result) == 2
        assert result.n_players == 4
        assert "2 models" in repr(result)
        check(result, v, [0.1, 0.0])

    def test_indexing_is_over_the_samples(self, v, result):
        row = result[1]
        assert row.joint and row.player_names == tuple("abcd")
        assert len(row) == 3 and row.and_effects.shape == (3, 2, 16) and row.bias.shape == (3, 2)
        one = result[1, 2]
        assert one.primal.shape == () and one.and_effects.shape == (2, 16)
        np.testing.assert_array_equal(one.or_effects, result.or_effects[1, 2])
        np.testing.assert_array_equal(result[:, [2, 0]].residual, result.residual[:, [2, 0]])
        chosen = result.gap > 0
        np.testing.assert_array_equal(result[chosen].bias, result.bias[chosen])
        assert [len(r) for r in result] == [3, 3]
        with pytest.raises(IndexError):
            result[0, 0, 0]
        with pytest.raises(IndexError):
            one[0]
        with pytest.raises(TypeError, match="no len"):
            len(one)
        with pytest.raises(ValueError, match="top: takes one sample"):
            one.top(3)

    def test_one_sample_is_its_row_in_a_batch(self, v, result):
        alone = ji.extract(v[1, 0], joint=True, noise_bound=[0.1, 0.0])
        np.testing.assert_array_equal(alone.effects, result[1, 0].effects)
        np.testing.assert_array_equal(alone.residual, result[1, 0].residual)
        assert (alone.primal, alone.dual) == (result.primal[1, 0], result.dual[1, 0])

    def test_saved_and_loaded(self, result, tmp_path):
        for some in (result, result[1, 2]):
            some.save(tmp_path / "joint.npz")
            back = ji.load(tmp_path / "joint.npz")
            assert back.joint and back.player_names == some.player_names
            for x, y in zip(jax.tree.leaves(back), jax.tree.leaves(some), strict=True):
                np.testing.assert_array_equal(x, y)
            assert repr(back) == repr(some)

    def test_pytree_keeps_what_it_is(self, result):
        doubled = jax.tree.map(lambda x: 2 * x, result)
        assert doubled.joint
        np.testing.assert_array_equal(doubled.primal, 2 * result.primal)

    def test_merged_singletons_rebuild_the_same_and_cost_no_more(self, result):
        merged = result.merge_singletons()
        np.testing.assert_allclose(merged.reconstruct(), result.reconstruct(), atol=1e-12)
        assert (merged.primal <= result.primal * (1 + 1e-12)).all()
        single = ji.orders(4) == 1
        assert not merged.or_effects[..., single].any()
        self.check_certificate(merged, result)
        uneven = self.moved(result, single)
        assert (uneven.primal > result.primal + 0.1).all()
        # from effects of opposite signs, merging gains
        np.testing.assert_allclose(uneven.merge_singletons().primal, merged.primal)

    def test_canonical_rebuilds_the_same(self, result):
        canonical = result.canonical()
        np.testing.assert_allclose(canonical.reconstruct(), result.reconstruct(), atol=1e-12)
        self.check_certificate(canonical, result)
        pairs = ji.orders(4) == 2
        assert not (canonical.and_effects * canonical.or_effects > 0)[..., pairs].any()

    def moved(self, result, where):
        """The same explanation with 1 moved from OR to AND in the first model."""
        step = np.where(where, 1.0, 0.0) * np.array([1.0, 0.0])[:, None]
        return result._with_effects(result.and_effects + step, result.or_effects - step)

    def check_certificate(self, some, result):
        primal = [
            [sum(reference.joint_norm(x[i, j]) for x in (some.and_effects, some.or_effects))
             for j in range(3)]
            for i in range(2)
        ]  # fmt: skip
        np.testing.assert_allclose(some.primal, primal, rtol=1e-12)
        np.testing.assert_array_equal(some.dual, result.dual)
        np.testing.assert_allclose(some.gap, (some.primal - some.dual) / some.primal, atol=1e-15)

    def test_order_of_models_does_not_matter(self, v, result):
        order = [1, 0]
        swapped = ji.extract(v[:, :, order].copy(), joint=True, noise_bound=[0.0, 0.1])
        # either proves what the other found, and effects of permuted models are worth the same
        assert (swapped.dual <= result.primal * (1 + 1e-12)).all()
        assert (result.dual <= swapped.primal * (1 + 1e-12)).all()
        groups = [x.reshape(6, 2, 16) for x in (swapped.and_effects, swapped.or_effects)]
        worth = problem.strength(*(x[:, order] for x in groups))
        np.testing.assert_allclose(worth.ravel(), swapped.primal.ravel(), rtol=1e-12)

    def test_bounds_of_each_model(self, v, result):
        assert (abs(result.residual[..., 0, :]) <= 0.1).all()
        assert abs(result.residual[..., 0, :]).max() > 0.09
        assert not result.residual[..., 1, :].round(12).any()
        per_sample = np.linspace(0, 0.2, 6).reshape(2, 3, 1)
        check(ji.extract(v, joint=True, noise_bound=per_sample), v, per_sample)
        ratio = ji.extract(v, joint=True, noise_ratio=0.05)
        same = ji.extract(v, joint=True, noise_bound=0.05 * abs(v[..., -1] - v[..., 0]))
        np.testing.assert_array_equal(ratio.effects, same.effects)
        swing = abs(v[..., -1] - v[..., 0]).mean(axis=(0, 1))  # of each model
        mean = ji.extract(v, joint=True, noise_preset="paper001")
        same = ji.extract(v, joint=True, noise_bound=0.02 * swing)
        np.testing.assert_allclose(mean.effects, same.effects, atol=1e-9)

    def test_start(self, v, result):
        warm = ji.extract(v, joint=True, noise_bound=[0.1, 0.0], start=result)
        assert warm.iterations.sum() < result.iterations.sum()
        assert (warm.dual <= result.primal).all() and (result.dual <= warm.primal).all()
        half, default = (ji.extract(v, joint=True, start=x) for x in (v / 2, None))
        assert (half.dual <= default.primal).all() and (default.dual <= half.primal).all()

    def test_float32_and_torch(self, v, torch):
        small = ji.extract(v.astype(np.float32), joint=True, tol=1e-3)
        assert small.and_effects.dtype == np.float32
        assert small.primal.dtype == np.float64
        assert (small.gap <= 1e-3 + 1e-6).all()
        tensors = ji.extract(torch.from_numpy(v), joint=True)
        arrays = ji.extract(v, joint=True)
        for x, y in zip(jax.tree.leaves(tensors), jax.tree.leaves(arrays), strict=True):
            assert isinstance(x, torch.Tensor)
            np.testing.assert_array_equal(x.numpy(), y)
        np.testing.assert_array_equal(
            tensors.merge_singletons().primal.numpy(), arrays.merge_singletons().primal
        )

    def test_under_jit_and_vmap(self, v, result):
        bound = jnp.array([0.1, 0.0])

        def extract(v, bound, start):
            found = ji.extract(v, joint=True, noise_bound=bound, start=start, throw=False)
            return found, found.merge_singletons()

        table = jnp.asarray(v[0], jnp.float32)
        for f in (jax.jit(extract), jax.jit(jax.vmap(extract, in_axes=(0, None, 0)))):
            found, merged = f(table, bound, table)
            assert found.joint and found.and_effects.shape == (3, 2, 16)
            assert found.primal.shape == (3,) and found.converged.all()
            np.testing.assert_allclose(found.primal, result.primal[0], rtol=2e-4)
            np.testing.assert_allclose(merged.primal, found.primal, rtol=2e-4)


class TestEdges:
    def test_no_players_no_samples_dummies(self, rng):
        none = ji.extract(rng.normal(size=(3, 2, 1)), joint=True)
        assert not none.primal.any() and not none.gap.any()
        empty = ji.extract(np.zeros((0, 2, 8)), joint=True)
        assert len(empty) == 0 and empty.bias.shape == (0, 2)
        # player 1 moves the first model only, players 0 and 3 neither
        index = np.arange(16)
        v = rng.normal(size=(2, 16))
        v = np.stack([v[0, index & 0b0110], v[1, index & 0b0100]])
        for bound in (0.0, 0.2):
            result = ji.extract(v, joint=True, noise_bound=bound)
            assert not result.effects[..., index & 0b1001 != 0].any()
            true = reference.sparsest_joint_split(v, [bound, bound])
            assert result.dual <= true * (1 + 1e-9)
            assert true <= result.primal * (1 + 1e-9)

    def test_a_bad_model_spoils_its_sample_alone(self, rng):
        v = rng.normal(size=(3, 2, 8))
        expected = ji.extract(v, joint=True)
        v[1, 1, 5] = np.inf
        with pytest.raises(ValueError, match=r"got inf at sample \(1, 1\), coalition 5"):
            ji.extract(v, joint=True)
        with pytest.warns(RuntimeWarning) as told:
            result = ji.extract(v, joint=True, throw=False)
        assert "got inf at sample (1, 1), coalition 5" in str(told[0].message)
        assert np.isnan(result.effects[1]).all() and np.isnan(result.primal[1])
        assert result.converged.tolist() == [True, False, True]
        np.testing.assert_array_equal(result[[0, 2]].effects, expected[[0, 2]].effects)

    def test_progress(self, rng, capsys):
        v = rng.normal(size=(3, 2, 8))
        np.testing.assert_array_equal(
            ji.extract(v, joint=True, progress=True).effects, ji.extract(v, joint=True).effects
        )


class TestPublished:
    """The papers' own descent, by `extract`: what it promises of the joint variants."""

    def explain(self, v, joint, **options):
        bound = 0.02 * abs(v[..., -1] - v[..., 0])
        steps = {"steps": 500, "learning_rate": 1e-2}
        return ji.extract(
            v, joint=joint, method="published", noise_bound=bound, published=steps | options
        )

    def test_coupled_is_above_the_certified_optimum(self, rng):
        v = rng.normal(size=(2, 2, 8))
        found = self.explain(v, True)
        check(found, v, 0.02 * abs(v[..., -1] - v[..., 0]))
        certified = ji.extract(v, joint=True, noise_ratio=0.02)
        assert (found.dual <= certified.primal).all()
        assert (certified.dual <= found.primal).all()
        assert (found.primal <= 1.2 * certified.primal).all()

    @pytest.mark.parametrize("private", [0.0, 0.01, 0.5])
    def test_shared_keeps_each_gamma_near_the_common_one(self, private, rng):
        v = rng.normal(size=(3, 2, 8))
        found = self.explain(v, "shared", private_ratio=private, alpha=0.3)
        half = (v - v[..., :1] - found.residual) / 2
        gamma = ji.zeta(found.and_effects) - half
        apart = abs(gamma[:, 0] - gamma[:, 1])
        allowed = private * abs(v[..., -1] - v[..., 0]).mean(axis=0).sum()
        assert apart.max() <= allowed + 1e-12
        if private == 0.01:  # the clamp is at work
            assert apart.max() >= 0.99 * allowed
        assert (abs(found.residual) <= 0.02 * abs(v[..., -1:] - v[..., :1]) + 1e-12).all()
        rebuilt = found.reconstruct() + found.residual
        np.testing.assert_allclose(rebuilt, v, atol=1e-12)
        sizes = abs(found.effects)  # [samples, models, kinds, 2^n]
        loss = 0.7 * sizes.max(axis=1) + 0.3 * sizes.sum(axis=1)
        np.testing.assert_allclose(found.primal, loss.sum(axis=(1, 2)))
        assert (found.dual <= found.primal).all()
