# SPDX-License-Identifier: Apache-2.0
"""Stage 6, the other methods: the interior point and the papers' own descent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinter as ji
import reference
from jaxinter.sparse.exact import solve_exact
from jaxinter.sparse.published import solve_published

RATIOS = (0.0, 0.02, 0.04)


def or_part(w, a, delta):
    """The OR effects that, with these AND effects, explain w - delta."""
    return ji.or_interactions(w - delta - ji.zeta(a))


def strength(w, a, delta):
    return np.abs(a).sum(axis=-1) + np.abs(or_part(w, a, delta)).sum(axis=-1)


def lower_bound(w, zeta, lam):
    """Weak duality, term by term: no split within zeta has less than this.

    With y such that |sum of y(T) over the T that trigger an effect| <= 1 for every effect,
    <y, w> = <y, delta> + sum of effect * (that sum) <= zeta |y| + sum of |effect|.
    """
    y = -ji.superset_mobius(lam)[::-1]
    y[0] = 0.0
    triggers_and, triggers_or = ji.superset_zeta(y), y.sum() - ji.zeta(y)[::-1]
    scale = max(1.0, np.abs(triggers_and[1:]).max(), np.abs(triggers_or[1:]).max())
    return (y @ w - zeta * np.abs(y).sum()) / scale


def in_units(v):
    w = v - v[0]
    scale = np.abs(w).max()
    return w / scale, scale


class TestExact:
    @pytest.mark.parametrize("ratio", RATIOS)
    def test_proves_the_optimum_of_real_tables(self, table, optimum, ratio):
        for row in (2, 5):  # of MNIST, row 2 has players without effect
            w, scale = in_units(table[row])
            zeta = ratio * abs(w[-1])
            found = solve_exact(w, zeta)
            primal, dual = strength(w, found.a, found.delta), lower_bound(w, zeta, found.lam)
            assert primal - dual <= 1e-9 * primal
            true = optimum(ratio)[row] / scale
            assert dual <= true * (1 + 1e-7) and true <= primal * (1 + 1e-7)
            np.testing.assert_allclose(primal, true, rtol=1e-7)
            assert np.abs(found.delta).max() <= zeta
            assert found.a[0] == found.delta[0] == found.lam[0] == 0
            assert 5 <= found.iterations <= 40

    @given(
        n=st.integers(1, 5),
        zeta=st.sampled_from([0.0, 1e-4, 0.02, 0.3, 0.99]),
        seed=st.integers(0, 2**32 - 1),
        kind=st.sampled_from(["gauss", "planted", "integers", "or", "dummy", "flat", "wide"]),
    )
    @settings(max_examples=60)
    def test_equals_an_lp_solver(self, n, zeta, seed, kind):
        rng = np.random.default_rng(seed)
        v = rng.normal(size=2**n)
        some = int(rng.integers(1, 2**n))
        if kind == "planted":
            v = ji.zeta(np.where(rng.random(2**n) < 0.2, v, 0.0))
        elif kind == "integers":
            v = rng.integers(-2, 3, size=2**n).astype(float)
        elif kind == "or":
            v = (np.arange(2**n) & some != 0) * 3.0
        elif kind == "dummy":
            v = v[np.arange(2**n) & some]
        elif kind == "flat":
            v[1:] = 1 + 1e-6 * v[1:]
        elif kind == "wide":
            v = v * 10.0 ** rng.integers(-8, 1, size=2**n)
        if not (v != v[0]).any():
            v[-1] += 1.0
        w, _ = in_units(v)
        found = solve_exact(w, zeta)
        primal, dual = strength(w, found.a, found.delta), lower_bound(w, zeta, found.lam)
        true = reference.sparsest_split(w, zeta)
        slack = 1e-7 * (1 + true)
        assert dual <= true + slack and true <= primal + slack
        assert primal - dual <= 1e-9 * max(primal, 1.0)
        assert np.abs(found.delta).max() <= zeta

    def test_every_stage_is_a_proof_and_none_is_worse_than_the_one_before(self, rng):
        w, _ = in_units(rng.normal(size=64))
        true = reference.sparsest_split(w, 0.05)
        gaps = []
        for steps in range(15):
            found = solve_exact(w, 0.05, max_iterations=steps)
            primal, dual = strength(w, found.a, found.delta), lower_bound(w, 0.05, found.lam)
            assert found.iterations <= steps
            assert dual <= true * (1 + 1e-9) and true <= primal * (1 + 1e-9)
            gaps.append(primal - dual)
        assert (np.diff(gaps) <= 1e-12).all()
        half = ji.mobius(w / 2)
        np.testing.assert_allclose(gaps[0], strength(w, half, 0 * w), rtol=1e-12)
        assert gaps[-1] <= 1e-6 * gaps[0]

    def test_tol_ends_it_early(self, rng):
        w, _ = in_units(rng.normal(size=64))
        rough, fine = (solve_exact(w, 0.05, tol=tol) for tol in (1e-2, 1e-9))
        assert rough.iterations < fine.iterations
        primal = strength(w, rough.a, rough.delta)
        assert 1e-9 * primal < primal - lower_bound(w, 0.05, rough.lam) <= 1e-2 * primal

    def test_margin_keeps_residuals_within(self, rng):
        w, _ = in_units(rng.normal(size=32))
        for margin, radius in ((0.0, 0.1), (0.01, 0.09), (0.2, 0.05)):
            found = solve_exact(w, 0.1, margin=margin)
            largest = np.abs(found.delta).max()
            assert largest <= radius
            np.testing.assert_allclose(largest, radius, rtol=1e-6)
            true = reference.sparsest_split(w, radius)
            np.testing.assert_allclose(strength(w, found.a, found.delta), true, rtol=1e-8)

    @pytest.mark.parametrize("zeta", [1.0, 7.0])
    def test_noise_that_explains_all_leaves_no_effects(self, zeta, rng):
        w, _ = in_units(rng.normal(size=16))
        found = solve_exact(w, zeta)
        np.testing.assert_allclose(strength(w, found.a, found.delta), 0.0, atol=1e-12)


def descent(v, zeta, joint, private_bound, steps, rate, momentum, alpha):
    """The published update for one sample ``[models, 2**n]``, by dense matrices and subgradients.

    In its own variables p = gamma and q = -delta, all held at 0 for the empty coalition.
    """
    unit = np.eye(v.shape[1])
    to_and = np.stack([reference.mobius(e) for e in unit], axis=1)
    to_or = np.stack([reference.or_interactions(e) for e in unit], axis=1)
    shared, p, q = np.zeros(v.shape[1]), np.zeros_like(v), np.zeros_like(v)
    speed_shared, speed_p, speed_q = 0 * shared, 0 * p, 0 * q
    for step in range(steps):
        q = np.clip(q, -zeta, zeta)
        if joint == "shared":
            p = np.clip(p, -private_bound, private_bound)
        a = ((v + q) / 2 + p + shared) @ to_and.T
        b = ((v + q) / 2 - p - shared) @ to_or.T
        if step == steps - 1:
            return a, -q
        by_a, by_b = subgradient(a, joint, alpha), subgradient(b, joint, alpha)
        by_p, by_q = by_a @ to_and - by_b @ to_or, (by_a @ to_and + by_b @ to_or) / 2
        by_p[:, 0] = by_q[:, 0] = 0
        speed_shared = momentum * speed_shared + by_p.sum(axis=0)
        speed_p, speed_q = momentum * speed_p + by_p, momentum * speed_q + by_q
        now = rate if joint == "shared" else rate * 10 ** (-step / (steps - 1))
        p, q = p - now * speed_p, q - now * speed_q
        if joint == "shared":
            shared = shared - now * speed_shared


def subgradient(effects, joint, alpha):
    result = np.sign(effects)
    for s in range(effects.shape[1]):
        x = effects[:, s]
        if joint == "shared":
            one = np.arange(len(x)) == np.argmax(np.abs(x))
            result[:, s] = ((1 - alpha) * one + alpha) * np.sign(x)
        elif joint == "coupled":
            result[np.argmax(x), s] += x.max() > 0
            result[np.argmin(x), s] -= x.min() < 0
    result[:, 0] = 0
    return result


def publish(v, zeta=None, **options):
    """`solve_published` of numpy arrays, in float64."""
    with jax.enable_x64(True):
        options = {k: jnp.asarray(x) if k == "private_bound" else x for k, x in options.items()}
        bound = None if zeta is None else jnp.asarray(zeta)
        a, delta = solve_published(jnp.asarray(v), bound, **options)
        assert a.dtype == delta.dtype == np.float64
        assert a.shape == delta.shape == v.shape
        return np.asarray(a), np.asarray(delta)


def joint_loss(v, a, joint, alpha=0.1):
    """Of a ``[samples, models, 2**n]``, without noise."""
    effects = np.concatenate([a, or_part(v, a, 0 * v)], axis=-1)
    sizes = np.abs(effects)
    if joint == "shared":
        return ((1 - alpha) * sizes.max(axis=1) + alpha * sizes.sum(axis=1)).sum(axis=-1)
    spread = np.maximum(effects.max(axis=1), 0) - np.minimum(effects.min(axis=1), 0)
    return (sizes.sum(axis=1) + spread).sum(axis=-1)


class TestPublished:
    @pytest.mark.parametrize("joint", [None, "coupled", "shared"])
    @pytest.mark.parametrize("noise", [0.0, 0.05])
    def test_is_the_update_written_out(self, joint, noise, rng):
        v = rng.normal(size=(2, 1 if joint is None else 3, 8))
        v[..., 0] = 0
        zeta = noise * rng.uniform(1, 2, size=(2, v.shape[1], 1))
        private = rng.uniform(0.02, 0.04, size=(2, v.shape[1], 1))
        settings = {"steps": 20, "learning_rate": 1e-2, "momentum": 0.8, "alpha": 0.3}
        a, delta = publish(
            v, zeta if noise else None, joint=joint, private_bound=private, **settings
        )
        for sample in range(2):
            expected_a, expected_delta = descent(
                v[sample], zeta[sample], joint, private[sample], 20, 1e-2, 0.8, 0.3
            )
            np.testing.assert_allclose(a[sample], expected_a, atol=1e-12)
            np.testing.assert_allclose(delta[sample], expected_delta, atol=1e-12)
        assert (np.abs(delta) <= zeta).all()
        assert (np.abs(delta) == zeta)[..., 1:].any()  # the bound was met
        assert not a[..., 0].any() and not delta[..., 0].any()

    @pytest.mark.parametrize("ratio", RATIOS)
    def test_falls_from_the_half_split_but_never_below_the_optimum(self, table, optimum, ratio):
        v = (table - table[:, :1])[:6]
        zeta = ratio * np.abs(v[:, -1:])
        a, delta = publish(v[:, None], zeta[:, None] if ratio else None)
        a, delta = a[:, 0], delta[:, 0]
        assert (np.abs(delta) <= zeta).all()
        assert delta.any() == (ratio > 0)
        true = optimum(ratio)[:6]
        end, start = strength(v, a, delta) / true, strength(v, ji.mobius(v / 2), 0 * v) / true
        assert (end >= 1 - 1e-7).all() and (end < start).all()
        assert 1.15 <= end.min() and end.max() <= 3.2  # what its docstring says

    @pytest.mark.parametrize("joint", ["coupled", "shared"])
    def test_joint_loss_falls_but_not_below_what_each_model_needs(self, table, optimum, joint):
        v = (table - table[:, :1])[:4].reshape(2, 2, -1)
        swing = np.abs(v[..., -1:]).mean(axis=0, keepdims=True)
        needs = optimum(0.0)[:4].reshape(2, 2)
        a, _ = publish(v, joint=joint, private_bound=swing / 2, steps=3000, learning_rate=1e-7)
        start, end = joint_loss(v, ji.mobius(v / 2), joint), joint_loss(v, a, joint)
        assert (end < 0.9 * start).all()
        if joint == "shared":
            assert (end >= 0.9 * needs.max(axis=1) + 0.1 * needs.sum(axis=1)).all()
        else:
            assert (end >= needs.sum(axis=1) + needs.max(axis=1)).all()

    @pytest.mark.parametrize("joint", ["coupled", "shared"])
    def test_equal_models_stay_equal(self, joint, rng):
        v = np.repeat(rng.normal(size=(1, 1, 16)), 3, axis=1)
        v[..., 0] = 0
        bound = np.full((1, 3, 1), 0.1)
        a, delta = publish(v, bound, joint=joint, private_bound=bound, steps=50, learning_rate=1e-3)
        np.testing.assert_array_equal(a[:, 1:], a[:, :-1])
        np.testing.assert_array_equal(delta[:, 1:], delta[:, :-1])
        assert (a != ji.mobius(v / 2)).any()

    def test_samples_and_models_do_not_see_each_other(self, rng):
        v = rng.normal(size=(3, 2, 16))
        v[..., 0] = 0
        zeta = rng.uniform(0.01, 0.1, size=(3, 2, 1))
        a, delta = publish(v, zeta, steps=50, learning_rate=1e-3)
        alone, delta_alone = publish(v[1:2, 1:], zeta[1:2, 1:], steps=50, learning_rate=1e-3)
        np.testing.assert_allclose(a[1:2, 1:], alone, atol=1e-14)
        np.testing.assert_allclose(delta[1:2, 1:], delta_alone, atol=1e-14)
