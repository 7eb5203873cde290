# SPDX-License-Identifier: Apache-2.0
"""Stage 8: spindle and M(delta) against their definitions, the fit against planted parameters."""

import warnings
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy.optimize import minimize, nnls
from scipy.special import gamma as gamma_function

import jaxinter as ji
from jaxinter import OrderStrength, attenuate, decay_strength, fit_distributions, spindle
from jaxinter._variable_projection import _both_signs, _spindle_slope
from reference import size


def dense(n, delta):
    """M(delta) as the paper has it: 2^n x 2^n."""
    index = np.arange(2**n)
    j = (index[:, None] & index == index).astype(float)
    c = 2.0 ** np.array([size(s) for s in index]) * delta
    return np.linalg.solve(j.T @ j + 2**n * np.diag(c), j.T @ j)


class TestSpindle:
    @pytest.mark.parametrize("n", [1, 5, 10])
    def test_alpha_1_is_the_binomial(self, n):
        expected = [comb(n, m) for m in range(1, n + 1)]
        np.testing.assert_allclose(spindle(n, 1.0), expected, rtol=1e-12)

    @given(st.floats(0.05, 2.0), st.integers(1, 12))
    def test_is_the_formula_while_that_is_positive_and_then_0(self, alpha, n):
        got = spindle(n, alpha, beta=0.7)
        for m in range(1, n + 1):
            left = alpha * n - m + 1
            if left > 1e-6:
                raw = gamma_function(alpha * n + 1) / gamma_function(m + 1) / gamma_function(left)
                assert got[m - 1] == pytest.approx(0.7 * raw, rel=1e-9)
            elif left <= 0:
                assert got[m - 1] == 0

    def test_is_continuous_in_alpha_where_it_becomes_0(self):
        before, after = spindle(10, 0.8 + 1e-9), spindle(10, 0.8 - 1e-9)  # m = 9 = alpha n + 1
        assert 0 < before[8] < 1e-6 and after[8] == 0

    @pytest.mark.parametrize(("alpha", "peak"), [(0.4, 2), (0.6, 3), (0.8, 4), (1.0, 5), (1.2, 6)])
    def test_peak_order(self, alpha, peak):
        assert 1 + spindle(10, alpha).argmax() == peak

    def test_is_what_independent_effects_make(self, rng):
        n, samples = 6, 4000
        effects = rng.normal(size=(samples, 2, 2**n)) * 3
        got = decay_strength(effects, 0.0)
        expected = spindle(n, 1.0, 2 * 3 / np.sqrt(2 * np.pi))
        for side in (got.positive, got.negative):
            error = 3 * np.sqrt(2 * expected / samples)  # s^2 / 2 - s^2 / 2 pi < s^2 each
            assert (abs(side - expected) < 5 * error).all()

    def test_broadcasts(self):
        got = spindle(5, np.array([[0.5], [1.0]]), np.array([1.0, 2.0, 3.0]))
        assert got.shape == (2, 3, 5)
        np.testing.assert_array_equal(got[1, 2], 3 * spindle(5, 1.0))

    def test_derivatives(self, x64):
        check_grads(
            jax.jit(lambda a, b: spindle(9, a, b)), (jnp.array(0.73), jnp.array(1.5)), order=2
        )
        slope = jax.jit(jax.vmap(jax.grad(lambda a: spindle(4, a).sum())))
        assert np.isfinite(slope(jnp.linspace(0.1, 1.5, 30))).all()

    @pytest.mark.parametrize("bad", [{"alpha": -0.1}, {"alpha": np.nan}, {"beta": -1.0}])
    def test_bad(self, bad):
        with pytest.raises(ValueError, match=f"spindle: {next(iter(bad))} must be finite and >= 0"):
            spindle(4, **({"alpha": 1.0} | bad))


class TestAttenuate:
    @given(st.integers(0, 7), st.floats(-4, 2).map(lambda x: 10**x), st.integers(0, 2**32))
    def test_is_the_dense_matrix(self, n, delta, seed):
        effects = np.random.default_rng(seed).normal(size=(3, 2**n))
        expected = effects @ dense(n, delta).T
        np.testing.assert_allclose(attenuate(effects, delta), expected, rtol=0, atol=1e-12 * 2**n)

    def test_is_the_least_squares_of_noisy_triggers(self, rng):
        """Theorem 2.3's problem itself: no change of w lowers the expected loss."""
        n, delta = 4, 0.05
        effects = rng.normal(size=2**n)
        index = np.arange(2**n)
        j = (index[:, None] & index == index).astype(float)
        variance = 2.0 ** ji.orders(n) * delta

        def loss(w):  # mean over T and noise of (y_T - w (J_T + eps))^2
            return ((j @ effects - j @ w) ** 2).mean() + (w**2 * variance).sum()

        w = attenuate(effects, delta)
        least = loss(w)
        for _ in range(50):
            assert loss(w + 1e-3 * rng.normal(size=2**n)) > least

    def test_limits(self, rng):
        effects = rng.normal(size=2**8)
        np.testing.assert_allclose(attenuate(effects, 0.0), effects, atol=1e-13)
        assert abs(attenuate(effects, 1e12)).max() < 1e-8

    def test_eigenvalues_are_in_0_to_1(self):
        values = np.linalg.eigvals(attenuate(np.eye(2**5), 0.01))
        assert abs(values.imag).max() < 1e-12
        assert 0 < values.real.min() and values.real.max() < 1

    def test_rows_norm_depends_on_the_order_alone_and_decreases(self):
        norms = np.linalg.norm(attenuate(np.eye(2**8), 1e-3).T, axis=1)
        by_order = [norms[ji.orders(8) == m] for m in range(9)]
        assert max(np.ptp(x) for x in by_order) < 1e-12
        assert (np.diff([x[0] for x in by_order]) < 0).all()

    @pytest.mark.parametrize(
        ("delta", "ratios"),
        [
            (1e-4, [1.009, 1.029, 1.083, 1.213]),
            (1e-3, [1.037, 1.102, 1.255, 1.598]),
            (1e-2, [1.125, 1.305, 1.725, 2.041]),
        ],
    )
    def test_ratio_of_neighbouring_orders(self, delta, ratios):
        """r(k) as Ren et al. 2024b print it."""
        norms = np.linalg.norm(attenuate(np.eye(2**8), delta).T, axis=1)
        rows = [norms[(1 << m) - 1] for m in range(5)]
        np.testing.assert_allclose(np.divide(rows[:-1], rows[1:]), ratios, atol=6e-4)

    def test_high_orders_go_first(self):
        """The diagonal at orders 1, 3, 5, 10 of ten players."""
        unit = np.eye(2**10)[[(1 << m) - 1 for m in (1, 3, 5, 10)]]
        for delta, expected in ((1e-3, [0.86, 0.50, 0.13, 0.001]), (1e-6, [1.0, 0.98, 0.87, 0.06])):
            diagonal = (attenuate(unit, delta) * unit).sum(axis=1)
            np.testing.assert_allclose(diagonal, expected, atol=6e-3)

    def test_or_effects_are_and_effects_of_the_inverted_masks(self, rng):
        """So the same M: attenuating them is attenuating the inverted game's dividends."""
        values = rng.normal(size=2**6)
        dividends = ji.mobius(-values[::-1])
        dividends[0] = 0
        got = attenuate(ji.or_interactions(values), 0.01)
        np.testing.assert_allclose(got, attenuate(dividends, 0.01), atol=1e-12)

    def test_delta_broadcasts_with_the_batch(self, rng):
        effects, delta = rng.normal(size=(3, 1, 2**5)), np.array([0.0, 1e-3, 1.0])
        got = attenuate(effects, delta)
        assert got.shape == (3, 3, 2**5)
        for i in range(3):
            for k in range(3):
                np.testing.assert_array_equal(got[i, k], attenuate(effects[i, 0], delta[k]))

    def test_n_20_is_exact(self, rng):
        """A product of effects of one player each stays one: M is a Kronecker product. And two
        deltas in turn are not one: eigenvalues multiply."""
        n, delta = 20, 1e-4
        one = rng.normal(size=2**n)
        worn = attenuate(one, delta)
        # (J^T J + 2^n delta c) worn = J^T J effects, by two transforms each
        normal = ji.superset_zeta(ji.zeta(worn)) + 2.0**n * delta * 2.0 ** ji.orders(n) * worn
        right = ji.superset_zeta(ji.zeta(one))
        assert np.linalg.norm(normal - right) < 1e-12 * np.linalg.norm(right)

    def test_jax_and_torch_agree_and_differentiate(self, rng, torch, x64):
        effects, delta = rng.normal(size=(2, 2**4)), np.array([0.1, 0.5])
        expected = attenuate(effects, delta)
        traced = jax.jit(attenuate)(jnp.asarray(effects), jnp.asarray(delta))
        np.testing.assert_allclose(traced, expected, atol=1e-13)
        check_grads(jax.jit(attenuate), (jnp.asarray(effects), jnp.asarray(delta)), order=2)
        tensors = [torch.tensor(x, requires_grad=True) for x in (effects, delta)]
        np.testing.assert_allclose(attenuate(*tensors).detach(), expected, atol=1e-13)
        assert torch.autograd.gradcheck(attenuate, tensors)

    def test_torch_kinds(self, rng, torch):
        got = attenuate(torch.ones(8, dtype=torch.float16), 0.1)
        assert got.dtype == torch.float32 and got.shape == (8,)
        effects = torch.from_numpy(rng.normal(size=8))
        slope = torch.func.grad(lambda d: attenuate(effects, d).sum())(torch.tensor(0.1))
        step = (attenuate(effects, 0.101).sum() - attenuate(effects, 0.099).sum()) / 2e-3
        assert float(slope) == pytest.approx(float(step), rel=1e-3)

    @pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
    def test_dtypes(self, dtype):
        effects = np.arange(8).astype(dtype)
        got = attenuate(effects, 0.01)
        assert got.dtype == (np.float64 if dtype is np.int64 else np.float32)
        np.testing.assert_allclose(got, attenuate(effects.astype(float), 0.01), rtol=1e-5)

    def test_bad(self):
        with pytest.raises(ValueError, match=r"attenuate: delta must be finite and >= 0; got -1"):
            attenuate(np.zeros(4), -1.0)
        with pytest.raises(
            TypeError, match=r"attenuate: effects must be an array; got Interactions"
        ):
            attenuate(ji.extract([0.0, 1.0]), 1.0)
        with pytest.raises(TypeError, match=r"attenuate: delta must hold real numbers"):
            attenuate(np.zeros(4), "a")
        with pytest.raises(ValueError, match=r"spindle: alpha and beta must broadcast"):
            spindle(3, np.ones(2), np.ones(3))
        with pytest.raises(ValueError, match=r"delta must broadcast with the batch of effects"):
            attenuate(np.zeros((2, 4)), np.zeros(3))
        with pytest.raises(ValueError, match=r"effects must have a last axis of length 2\*\*n"):
            attenuate(np.zeros(5), 1.0)


class TestDecayStrength:
    def test_is_the_mean_strength_of_what_is_left(self, table):
        result = ji.extract(table[:6], noise_ratio=0.02, tol=1e-3)
        deltas, gammas = np.array([0.0, 1e-5, 1e-3]), np.array([1.0, 2.0, 0.0])
        got = decay_strength(result, deltas, gammas)
        for k, (delta, gamma) in enumerate(zip(deltas, gammas)):
            worn = result.effects @ dense(10, delta).T
            for side, sign in ((got.positive, 1), (got.negative, -1)):
                both = np.maximum(sign * worn, 0).sum(axis=1).mean(axis=0)
                expected = [gamma * both[ji.orders(10) == m].sum() for m in range(1, 11)]
                np.testing.assert_allclose(side[k], expected, atol=1e-9)

    def test_of_one_sample(self, rng):
        effects = rng.normal(size=(2, 2**5))
        worn = np.maximum(attenuate(effects, 0.01), 0).sum(axis=0)
        expected = [worn[ji.orders(5) == m].sum() for m in range(1, 6)]
        np.testing.assert_allclose(decay_strength(effects, 0.01).positive, expected)
        np.testing.assert_allclose(decay_strength(effects[None], 0.01).positive, expected)

    def test_many_samples_are_taken_in_parts(self, rng):
        effects = rng.normal(size=(70, 2, 2**11))
        whole = decay_strength(effects, [1e-4, 1e-3])
        parts = [decay_strength(effects[i : i + 10], [1e-4, 1e-3]) for i in range(0, 70, 10)]
        mean = np.mean([p.positive for p in parts], axis=0)
        np.testing.assert_allclose(whole.positive, mean, rtol=1e-12)

    def test_traced_and_differentiable(self, rng, x64):
        effects = rng.normal(size=(4, 2, 2**5))
        deltas = np.array([1e-3, 1e-2])
        expected = decay_strength(effects, deltas, 1.5)
        got = jax.jit(decay_strength)(jnp.asarray(effects), jnp.asarray(deltas), 1.5)
        np.testing.assert_allclose(got.positive, expected.positive, rtol=1e-12)
        np.testing.assert_allclose(got.negative, expected.negative, rtol=1e-12)

        columns = np.array([[1e-3], [1e-2]]), np.array([1.0, 2.0, 0.0])
        got = jax.jit(decay_strength)(jnp.asarray(effects), *columns)
        np.testing.assert_allclose(got.total, decay_strength(effects, *columns).total, rtol=1e-12)
        narrow = jax.jit(decay_strength)(jnp.asarray(effects, np.float32), 1e-3, 1.0)
        assert narrow.positive.dtype == np.float32
        slope = jax.grad(lambda e: decay_strength(e, 0.0).positive.sum())(jnp.zeros((1, 2, 4)))
        np.testing.assert_array_equal(slope, 0)

        def total(effects, delta):
            return jax.jit(lambda e, d: decay_strength(e, d).total)(effects, delta)

        check_grads(total, (jnp.asarray(effects), jnp.asarray(1e-2)), order=1)

    @pytest.mark.parametrize(
        ("effects", "message"),
        [
            (np.zeros((4, 3, 32)), r"effects \[samples, 2, 2\*\*n\], AND then OR"),
            (np.zeros(32), r"effects \[samples, 2, 2\*\*n\], AND then OR"),
            (np.zeros((0, 2, 32)), "must hold a sample"),
        ],
    )
    @pytest.mark.parametrize("traced", [False, True])
    def test_bad(self, effects, message, traced):
        call = (
            (lambda g: jax.jit(lambda g: decay_strength(effects, 1e-3, g))(g))
            if traced
            else (lambda g: decay_strength(effects, 1e-3, g))
        )
        with pytest.raises(ValueError, match=f"decay_strength: interactions .*{message}"):
            call(1.0)
        with pytest.raises(ValueError, match="decay_strength: delta must be finite and >= 0"):
            jax.jit(lambda g: decay_strength(np.zeros((1, 2, 4)), -1.0, g))(1.0)


def planted(reference, alpha, beta, delta, gamma):
    decay, noise = decay_strength(reference, delta, gamma), spindle(8, alpha, beta)
    return OrderStrength(decay.positive + noise, decay.negative + noise)


@pytest.fixture
def reference(rng):
    return rng.normal(size=(10, 2, 2**8)) * 0.6 ** ji.orders(8)


@pytest.mark.usefixtures("quick_compilation")
class TestFit:
    def test_finds_all_that_is_planted(self, rng, reference):
        """Some where the spindle dominates, and the valley is narrower than the grid's steps."""
        count = 1000
        alpha, gamma = rng.uniform(0.4, 1.2, count), rng.uniform(0.3, 3, count)
        beta = rng.choice([0.05, 0.5, 2.0], count)
        delta = 10 ** rng.choice([-5.5, -5, -4, -3.1], count) * rng.uniform(1, 1.05, count)
        alpha[0], beta[0], delta[0], gamma[0] = 0.977190672, 2.0, 7.94328235e-4, 0.3
        decay, noise = decay_strength(reference, delta, gamma), spindle(8, alpha, beta)
        fit = fit_distributions(
            OrderStrength(decay.positive + noise, decay.negative + noise), reference
        )
        assert fit.relative_residual.max() < 1e-5
        found = np.stack([fit.alpha, fit.beta, fit.delta, fit.gamma])
        np.testing.assert_allclose(found, [alpha, beta, delta, gamma], rtol=0.02)

    @settings(max_examples=30)
    @given(
        alpha=st.floats(0.4, 1.2),
        beta=st.floats(0.05, 2.0),
        delta=st.floats(-5.5, -3.1).map(lambda x: 10**x),
        gamma=st.floats(0.3, 3.0),
    )
    def test_finds_what_was_planted(self, alpha, beta, delta, gamma):
        reference = np.random.default_rng(0).normal(size=(10, 2, 2**8)) * 0.6 ** ji.orders(8)
        fit = fit_distributions(planted(reference, alpha, beta, delta, gamma), reference)
        got = [fit.alpha, fit.beta, fit.delta, fit.gamma]
        np.testing.assert_allclose(got, [alpha, beta, delta, gamma], rtol=1e-3)
        assert fit.relative_residual < 1e-5
        assert fit.decay_only > fit.relative_residual < fit.spindle_only

    @pytest.mark.filterwarnings("ignore::UserWarning")  # where beta is small, alpha is anything
    def test_within_its_standard_errors(self, rng, reference):
        """200 draws: 95 % intervals hold what was planted 95 % of the time (Student's t, as 16
        numbers and 4 parameters leave 12 degrees of freedom)."""
        truth = np.array([0.83, 0.4, 3e-4, 1.3])
        exact = planted(reference, *truth)
        noise = 0.001 * exact.total.max() * rng.normal(size=(2, 200, 8))
        strengths = OrderStrength(*(np.maximum(x + e, 0) for x, e in zip(
            (exact.positive, exact.negative), noise)))  # fmt: skip
        fit = fit_distributions(strengths, reference)
        found = np.array([fit.alpha, fit.beta, fit.delta, fit.gamma])
        errors = np.array(fit.standard_errors)
        inside = (abs(found - truth[:, None]) <= 2.179 * errors).mean(axis=1)
        assert (inside > 0.88).all() and (inside < 0.99).all(), inside
        # and they are of the right size: the spread of the estimates
        np.testing.assert_allclose(np.median(errors, axis=1), found.std(axis=1), rtol=0.25)

    @pytest.mark.parametrize("samples", [1, 8])
    def test_is_the_optimum_on_real_strengths(self, rng, table, samples):
        """Against a simplex search of the exact objective from three starts."""
        result = ji.extract(table[:samples], noise_ratio=0.02, tol=1e-3)
        other = ji.order_strength(ji.extract(table[-3:], noise_ratio=0.02, tol=1e-3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = fit_distributions(other, result, delta_max=1e-3)
        for row in range(3):
            y = np.concatenate([other.positive[row], other.negative[row]])

            def loss(theta, y=y):
                alpha = np.clip(theta[0], 0.2, 1.3)
                decay = decay_strength(result, np.clip(np.exp(theta[1]), 0, 1e-3))
                d = np.concatenate([decay.positive, decay.negative])
                return nnls(np.stack([d, np.tile(spindle(10, alpha), 2)], axis=1), y)[1]

            found = fit.alpha[row], np.log(fit.delta[row] + 1e-12)
            starts = found, (0.5, np.log(1e-6)), (1.0, np.log(1e-4))
            best = min(minimize(loss, x, method="Nelder-Mead").fun for x in starts)
            assert fit.relative_residual[row] * np.linalg.norm(y) <= best * (1 + 2e-3)

    def test_is_never_worse_than_the_grid(self, rng, reference):
        strengths = OrderStrength(*rng.exponential(size=(2, 20, 8)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = fit_distributions(strengths, reference, delta_max=1e-3)
        least = (5 - 17**0.5) / 8
        u = np.linspace(0, np.log1p(1e-3 / least**8), 100)
        decay = decay_strength(reference, least**8 * np.expm1(u))
        decay = np.concatenate([decay.positive, decay.negative], axis=1)
        spindles = np.tile(spindle(8, np.append(np.arange(0.2, 1.3, 0.01), 1.3)), 2)
        for row in range(20):
            y = np.concatenate([strengths.positive[row], strengths.negative[row]])
            found = fit.relative_residual[row] * np.linalg.norm(y)
            grid = [nnls(np.stack([d, s], axis=1), y)[1] for d in decay[::3] for s in spindles[::5]]
            assert found <= min(grid) + 1e-9

    def test_result_adds_up(self, rng, reference):
        strengths = OrderStrength(*rng.exponential(size=(2, 5, 8)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = fit_distributions(strengths, reference, reference_name="final checkpoint")
        for i, one in enumerate(fit):
            decay = decay_strength(reference, one.delta, one.gamma)
            bump = spindle(8, one.alpha, one.beta)
            for side in ("positive", "negative"):
                given, d = getattr(strengths, side)[i], getattr(decay, side)
                np.testing.assert_allclose(getattr(one.decay, side), d, atol=1e-10)
                np.testing.assert_allclose(getattr(one.spindle, side), bump, atol=1e-10)
                np.testing.assert_allclose(
                    getattr(one.residual, side), abs(given - d - bump), atol=1e-9
                )
                np.testing.assert_array_equal(getattr(one.strength, side), given)
            left = np.concatenate([one.residual.positive, one.residual.negative])
            whole = np.concatenate([strengths.positive[i], strengths.negative[i]])
            expected = np.linalg.norm(left) / np.linalg.norm(whole)
            assert one.relative_residual == pytest.approx(expected)
            parts = one.spindle.total.sum(), one.decay.total.sum()
            assert one.spindle_share == pytest.approx(parts[0] / sum(parts))
        frame = fit.to_pandas()
        assert len(frame) == 5 and frame["alpha"].tolist() == fit.alpha.tolist()
        assert "final checkpoint" in repr(fit) and "+-" in repr(fit[0])

    def test_own_references_are_fitted_one_by_one(self, rng):
        references = rng.normal(size=(20, 3, 2, 2**8)) * 0.6 ** ji.orders(8)
        truth = [(0.5 + 0.03 * i, 0.3, 10 ** (-5 + 0.09 * i), 1.0) for i in range(20)]
        made = [planted(r, *t) for r, t in zip(references, truth)]
        strengths = OrderStrength(
            *(np.stack([getattr(m, s) for m in made]) for s in ("positive", "negative"))
        )
        fit = fit_distributions(strengths, references)
        found = np.stack([fit.alpha, fit.beta, fit.delta, fit.gamma], axis=1)
        np.testing.assert_allclose(found, truth, rtol=1e-3)
        one = fit_distributions(made[3], references[3])
        assert one.delta == pytest.approx(fit.delta[3], rel=1e-9)

    def test_batches_of_any_size_agree(self, rng, reference):
        truth = np.stack([rng.uniform(0.5, 1.2, 300), rng.uniform(0.1, 1, 300)])
        noise = spindle(8, *truth)
        decay = decay_strength(reference, 10 ** rng.uniform(-5, -3.3, 300))
        strengths = OrderStrength(decay.positive + noise, decay.negative + noise)
        whole = fit_distributions(strengths, reference)
        some = fit_distributions(strengths[250:270], reference)
        np.testing.assert_allclose(whole[250:270].alpha, some.alpha, rtol=1e-6)
        np.testing.assert_allclose(whole.alpha, truth[0], rtol=1e-3)
        grid = fit_distributions(
            OrderStrength(
                *(x[:6].reshape(2, 3, 8) for x in (strengths.positive, strengths.negative))
            ),
            reference,
        )
        np.testing.assert_allclose(grid.alpha, whole.alpha[:6].reshape(2, 3), rtol=1e-6)

    def test_a_sequence_is_a_batch(self, reference):
        made = [planted(reference, 0.6 + 0.1 * i, 0.5, 1e-4, 1.0) for i in range(3)]
        fit = fit_distributions(made, reference)
        np.testing.assert_allclose(fit.alpha, [0.6, 0.7, 0.8], rtol=1e-3)
        np.testing.assert_array_equal(fit.strength.negative[2], made[2].negative)
        with pytest.raises(ValueError, match=r"strengths of one shape; got \[\(7,\), \(8,\)\]"):
            fit_distributions([*made, OrderStrength(np.ones(7), np.ones(7))], reference)

    def test_one_part_alone(self, reference):
        both = planted(reference, 0.8, 0.5, 1e-4, 1.0)
        decay = fit_distributions(both, reference, parts="decay")
        bump = fit_distributions(both, parts="spindle")
        fit = fit_distributions(both, reference)
        assert decay.beta == 0 and bump.gamma == 0
        assert decay.relative_residual == pytest.approx(fit.decay_only, rel=1e-3)
        assert bump.relative_residual == pytest.approx(fit.spindle_only, rel=1e-9)
        assert decay.alpha == 1 and np.isinf(decay.standard_errors.alpha)
        assert bump.delta == 0 and np.isinf(bump.standard_errors.delta)
        exact = fit_distributions(OrderStrength(*2 * [spindle(8, 0.7, 2.0)]), parts="spindle")
        assert (exact.alpha, exact.beta) == (pytest.approx(0.7), pytest.approx(2.0))

    def test_own_references_beyond_a_block(self, rng):
        references = rng.normal(size=(260, 2, 2, 2**4)) * 0.6 ** ji.orders(4)
        delta = np.where(np.arange(260) % 50 == 7, 2e-3, 1e-4)
        bump = spindle(4, 0.8, 0.3)
        made = [decay_strength(r, d) for r, d in zip(references, delta)]
        sides = [np.stack([getattr(m, s) for m in made]) + bump for s in ("positive", "negative")]
        np.testing.assert_allclose(
            fit_distributions(OrderStrength(*sides), references).delta, delta, rtol=1e-2
        )

    def test_all_batch_axes_of_interactions_are_samples(self, rng):
        many = ji.extract(rng.normal(size=(2, 3, 2**8)), tol=1e-2)
        flat = many.effects.reshape(6, 2, 2**8)
        strength = decay_strength(flat, 1e-4)
        np.testing.assert_allclose(decay_strength(many, 1e-4).positive, strength.positive)
        fits = fit_distributions(strength, many), fit_distributions(strength, flat)
        assert fits[0].delta == fits[1].delta == pytest.approx(1e-4)

    def test_standard_errors_are_those_of_a_numerical_jacobian(self, rng, reference):
        exact = planted(reference, 0.78, 0.5, 2e-4, 1.0)  # 0.24 before the spindle's end
        y = np.concatenate([exact.positive, exact.negative]) * (1 + 0.02 * rng.normal(size=16))
        fit = fit_distributions(OrderStrength(y[:8], y[8:]), reference)
        at = np.array([fit.alpha, fit.beta, fit.delta, fit.gamma])

        def model(theta):
            made = planted(reference, *theta)
            return np.concatenate([made.positive, made.negative])

        steps = np.diag(1e-5 * at)
        d = np.stack([(model(at + h) - model(at - h)) / (2 * h.sum()) for h in steps], axis=1)
        r = y - model(at)
        expected = np.sqrt(r @ r / 12 * np.diag(np.linalg.inv(d.T @ d)))
        np.testing.assert_allclose(fit.standard_errors, expected, rtol=0.04)
        bic = 16 * np.log(r @ r / (y @ y)) + 4 * np.log(16)
        assert fit.bic()["both"] == pytest.approx(bic)
        alone = fit_distributions(OrderStrength(y[:8], y[8:]), reference, parts="decay")
        at = np.array([1.0, 0.0, alone.delta, alone.gamma])
        steps = np.diag(1e-5 * at)[2:]
        d = np.stack([(model(at + h) - model(at - h)) / (2 * h.sum()) for h in steps], axis=1)
        r = y - model(at)
        expected = np.sqrt(r @ r / 14 * np.diag(np.linalg.inv(d.T @ d)))
        np.testing.assert_allclose(alone.standard_errors[2:], expected, rtol=0.04)
        assert alone.bic() == {
            "decay": pytest.approx(16 * np.log(r @ r / (y @ y)) + 2 * np.log(16))
        }

    def test_slope_of_the_spindle(self):
        alpha = np.array([0.78, 0.31, 1.0 + 1e-3, 1.29])  # some just before an order's end
        bump = _both_signs(8, alpha)
        step = 1e-6
        expected = (_both_signs(8, alpha + step) - _both_signs(8, alpha - step)) / (2 * step)
        np.testing.assert_allclose(_spindle_slope(alpha, bump), expected, rtol=1e-6, atol=1e-8)

    def test_one_part_is_never_better_than_both(self, rng, reference):
        strengths = OrderStrength(*rng.exponential(size=(2, 40, 8)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = fit_distributions(strengths, reference)
            decay = fit_distributions(strengths, reference, parts="decay")
        assert (fit.relative_residual <= fit.decay_only).all()
        assert (fit.relative_residual <= fit.spindle_only).all()
        np.testing.assert_array_equal(decay.relative_residual, decay.decay_only)
        np.testing.assert_allclose(decay.decay_only, fit.decay_only, rtol=1e-3)

    @pytest.mark.parametrize("scale", [1e-160, 1e-12, 1e12, 1e160])
    def test_any_scale(self, reference, scale):
        made = planted(reference, 0.8, 0.5, 1e-4, 1.0)
        fit = fit_distributions(
            OrderStrength(scale * made.positive, scale * made.negative), reference * scale
        )
        found = [fit.alpha, fit.beta / scale, fit.delta, fit.gamma]
        np.testing.assert_allclose(found, [0.8, 0.5, 1e-4, 1.0], rtol=1e-4)

    def test_indices_go_over_the_batch_only(self, reference):
        made = planted(reference, 0.8, 0.3, 1e-4, 1.0)
        tiled = OrderStrength(*(np.tile(x, (2, 3, 1)) for x in (made.positive, made.negative)))
        fit = fit_distributions(tiled, reference, reference_name="last")
        assert fit[..., 0].decay.positive.shape == (2, 8) and fit[..., 0].alpha.shape == (2,)
        assert bool(fit[0, 0]) and fit[0, 0].reference_name == "last"
        assert fit.to_pandas()["sample"].tolist()[-1] == (1, 2)

    def test_bic_prefers_what_made_it(self, rng, reference):
        def preferred(beta, gamma):
            exact = planted(reference, 0.8, beta, 1e-4, gamma)
            noisy = [x + 0.01 * rng.normal(size=8) for x in (exact.positive, exact.negative)]
            bic = fit_distributions(OrderStrength(*np.maximum(noisy, 0)), reference).bic()
            return min(bic, key=bic.get)

        assert preferred(0.5, 1.0) == "both"
        assert preferred(0.0, 1.0) == "decay"
        assert preferred(0.5, 0.0) == "spindle"


@pytest.mark.usefixtures("quick_compilation")
class TestFitOfOddStrengths:
    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize(
        "strength",
        [
            np.zeros((2, 8)),
            np.ones((2, 8)),
            np.eye(8)[[3, 3]],
            np.eye(8)[[0, 7]],
            np.eye(8)[[7, 7]],
        ],
        ids=["none", "constant", "one order", "two orders", "the highest"],
    )
    def test_no_nan(self, reference, strength):
        fit = fit_distributions(OrderStrength(*strength), reference)
        for leaf in jax.tree.leaves(fit):
            assert not np.isnan(leaf).any()
        assert 0 <= fit.relative_residual <= 1 + 1e-12

    def test_no_strength_is_no_decay_and_no_spindle(self, reference):
        fit = fit_distributions(OrderStrength(*np.zeros((2, 8))), reference)
        assert (fit.alpha, fit.beta, fit.delta, fit.gamma) == (1, 0, 0, 0)
        assert fit.relative_residual == 0 and fit.spindle_share == 0
        assert not fit.at_edge.alpha and not fit.at_edge.delta

    def test_the_reference_itself_is_all_decay(self, rng):
        """What rounding leaves is no spindle, of whatever alpha."""
        references = rng.normal(size=(20, 3, 2, 2**8)) * 0.6 ** ji.orders(8)
        made = [decay_strength(one, 0.0) for one in references]
        fit = fit_distributions(
            OrderStrength(
                np.stack([m.positive for m in made]), np.stack([m.negative for m in made])
            ),
            references,
        )
        assert (fit.beta == 0).all() and (fit.alpha == 1).all()
        np.testing.assert_allclose(fit.gamma, 1, rtol=1e-6)
        assert np.isinf(fit.standard_errors.alpha).all() and fit.delta.max() < 1e-9

    def test_a_reference_without_effects_explains_nothing(self):
        fit = fit_distributions(OrderStrength(*2 * [spindle(8, 0.9)]), np.zeros((2, 2, 2**8)))
        assert fit.gamma == 0 and fit.alpha == pytest.approx(0.9)
        assert fit.decay_only == pytest.approx(1)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("n", [1, 2])
    def test_few_players(self, rng, n):
        reference = rng.normal(size=(4, 2, 2**n))
        fit = fit_distributions(decay_strength(reference, 1e-3), reference)
        assert fit.relative_residual < 1e-3
        assert n > 2 or np.isinf(fit.standard_errors.gamma) or fit.relative_residual < 1e-6

    def test_no_fits(self, reference):
        fit = fit_distributions(OrderStrength(*np.zeros((2, 0, 8))), reference)
        assert len(fit) == 0 and len(fit.to_pandas()) == 0

    def test_the_end_of_the_range_is_said(self, reference):
        far = planted(reference, 0.8, 0.3, 10**-2.7, 1.0)
        assert fit_distributions(far, reference).delta == pytest.approx(10**-2.7, rel=1e-3)
        with pytest.warns(
            UserWarning, match=r"delta of 1 of 1 fits ended at the end .* 0 to 0.001"
        ):
            fit = fit_distributions(far, reference, delta_max=1e-3)
        assert fit.at_edge.delta and not fit.at_edge.alpha
        assert np.isinf(fit.standard_errors.delta) and np.isfinite(fit.standard_errors.gamma)
        with pytest.warns(UserWarning, match=r"alpha of 1 of 1 fits .* 0.2 to 1.3"):
            fit = fit_distributions(planted(reference, 1.5, 0.3, 1e-4, 1.0), reference)
        assert fit.at_edge.alpha and fit.alpha == 1.3
        low = OrderStrength(*2 * [spindle(8, 0.4)])
        with pytest.warns(UserWarning, match=r"alpha of 1 of 1 fits .* 0.6 to 1.3"):
            fit = fit_distributions(low, parts="spindle", alpha_range=(0.6, 1.3))
        assert fit.at_edge.alpha
        small = planted(reference, 1.5, 1e-4, 1e-4, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a part that hardly is there, nothing
            assert fit_distributions(small, reference).at_edge.alpha

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"strength": 3}, "strength must be an OrderStrength, or a sequence of them; got int"),
            (
                {"strength": OrderStrength(-np.ones(8), np.ones(8))},
                "strength must be finite and >= 0",
            ),
            (
                {"strength": OrderStrength(np.full(8, np.nan), np.ones(8))},
                "strength must be finite",
            ),
            ({"parts": "all"}, 'parts must be "both", "decay" or "spindle"'),
            ({"reference": None}, "reference must be given for parts='both'"),
            ({"reference": np.zeros((2, 2, 2**7))}, "reference must be of the 8 players"),
            ({"reference": np.zeros((2, 3, 2**8))}, r"effects \[samples, 2, 2\*\*n\], AND then OR"),
            ({"reference": np.zeros((5, 1, 2, 2**8))}, r"lead with the batch of strength, \(\)"),
            ({"reference": np.full((1, 2, 2**8), np.inf)}, "reference must be finite"),
            ({"reference": np.zeros((0, 2, 2**8))}, "reference must hold a sample"),
            ({"alpha_range": (1.0, 0.5)}, "alpha_range must be"),
            ({"alpha_range": 1.0}, "alpha_range must be"),
            ({"reference": "hello"}, "reference must be Interactions or effects"),
            (
                {"reference": OrderStrength(np.ones(8), np.ones(8))},
                "reference must be Interactions",
            ),
            ({"strength": OrderStrength(np.ones(8), np.ones(7))}, "sides of one shape"),
            ({"strength": OrderStrength(np.float64(1), np.float64(1))}, "sides of one shape"),
            ({"strength": OrderStrength(np.full(8, np.inf), np.ones(8))}, "and >= 0; got inf"),
            ({"strength": OrderStrength(np.ones(8) * 1j, np.ones(8))}, "must hold real numbers"),
            ({"delta_max": 0.0}, "delta_max must be a number > 0"),
            ({"n_deltas": 5}, "n_deltas must be a whole number >= 6"),
        ],
    )
    def test_bad(self, reference, change, message):
        given = {"strength": OrderStrength(np.ones(8), np.ones(8)), "reference": reference} | change
        with pytest.raises((ValueError, TypeError), match=f"fit_distributions: .*{message}"):
            fit_distributions(given.pop("strength"), given.pop("reference"), **given)
