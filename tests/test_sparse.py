# SPDX-License-Identifier: Apache-2.0
"""Stage 6: the projection, the certificate and `extract`, against dense solves and an LP solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinter as ji
import reference
from jaxinter.sparse import problem, projection

RATIOS = (0.0, 0.02, 0.04)


def dense(matrix, n):
    return projection.kronecker_power(np.array(matrix, float).reshape(2, 2), n)


@pytest.mark.parametrize("m", range(8))
def test_coupled_basis_is_orthogonal_and_blocks_every_path_alike(m, rng):
    basis = projection.coupled_basis(m)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2**m), atol=1e-14)
    matrix = rng.normal(size=(2, 2))
    power = basis.T @ projection.kronecker_power(matrix, m) @ basis
    column = 0
    for (d, paths), block in zip(projection.spins(m), projection.spin_blocks(matrix, m)):
        for _ in range(paths):
            span = slice(column, column + d)
            np.testing.assert_allclose(power[span, span], block, atol=1e-12 * 3.0**m)
            power[span, span] = 0
            column += d
    np.testing.assert_allclose(power, 0, atol=1e-12 * 3.0**m)


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize(("boxed", "kappa"), [(False, 1.0), (True, 1.0), (True, 2.0)])
def test_projection_equals_dense_least_squares(n, boxed, kappa, x64, rng):
    blocks = 3 if boxed else 2
    k, p = (dense(m, n)[1:, 1:] for m in (problem.K, problem.P))
    c, t = rng.normal(size=(2, 1, 2**n)), rng.normal(size=(2, blocks, 1, 2**n))
    c[..., 0] = t[..., 0] = 0
    factors = projection.half_schur(n, kappa) if boxed else projection.rotations(n)
    y = np.asarray(projection.project(factors, jnp.asarray(c), kappa, jnp.asarray(t)))
    graph = np.hstack([k, -np.eye(2**n - 1)] + [kappa * p] * boxed)  # graph @ y = -c
    for sample in range(2):
        flat = t[sample, :, 0, 1:].ravel()
        shift = np.linalg.solve(graph @ graph.T, graph @ flat + c[sample, 0, 1:])
        np.testing.assert_allclose(y[sample, :, 0, 1:].ravel(), flat - graph.T @ shift, atol=1e-11)
    assert not y[..., 0].any()


@pytest.mark.parametrize("zeta", [None, 0.05])
def test_dual_bound_of_any_multiplier_is_below_the_optimum(zeta, x64, rng):
    for _ in range(20):
        v = rng.normal(size=16)
        v[0] = 0
        optimum = reference.sparsest_split(v, zeta or 0.0)
        c = problem.graph_offset(jnp.asarray(v)[None, None])
        lam = jnp.asarray(rng.normal(size=(1, 1, 16)) * rng.choice([0.01, 1, 100]))
        bound = None if zeta is None else jnp.full((1, 1, 1), zeta)
        value, elastic, y = problem.dual_bounds(c, bound, lam, jnp.full((1, 1, 1), 0.1))
        value, elastic = value[0, 0, 0], elastic[0, 0, 0]
        assert value <= optimum * (1 + 1e-9)
        np.testing.assert_allclose(y[0, 0] @ v - (zeta or 0) * abs(y).sum(), value, rtol=1e-9)
        # and the elastic bound is below the elastic objective of the half split
        a = ji.mobius(v / 2)
        a[0] = 0
        a = jnp.asarray(a)[None, None]
        b = problem.or_effects(c, a, None)
        half = problem.strength(a, b)[0, 0, 0] + 0.05 * ((a**2).sum() + (b**2).sum())
        assert elastic <= half


@given(
    n=st.integers(1, 5),
    ratio=st.sampled_from([0.0, 0.02, 0.3]),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["gauss", "planted", "integers", "or"]),
)
@settings(max_examples=60)
def test_brackets_the_optimum_of_an_lp_solver(n, ratio, seed, kind):
    rng = np.random.default_rng(seed)
    v = rng.normal(size=2**n) * 10.0 ** rng.integers(-3, 4)
    if kind == "planted":
        v = ji.zeta(np.where(rng.random(2**n) < 0.2, v, 0.0))
    elif kind == "integers":
        v = rng.integers(-2, 3, size=2**n).astype(float)
    elif kind == "or":
        v = (np.arange(2**n) & int(rng.integers(1, 2**n)) != 0) * 3.0 - 1.0
    result = ji.extract(v, noise_ratio=ratio, tol=1e-4)
    optimum = reference.sparsest_split(v, ratio * abs(v[-1] - v[0]))
    slack = 1e-7 * (np.abs(v).max() + optimum)
    assert result.dual <= optimum + slack
    assert optimum <= result.primal + slack
    check_explanation(result, v, ratio * abs(v[-1] - v[0]))
    assert result.gap <= 1e-4


def check_explanation(result, v, bound):
    """The laws of API.md that every result obeys."""
    scale = np.abs(v).max(axis=-1, keepdims=True)
    effects = result.effects
    np.testing.assert_allclose(result.primal, np.abs(effects).sum(axis=(-2, -1)), rtol=1e-12)
    claimed = np.maximum(result.primal - result.dual, 0)
    np.testing.assert_allclose(result.gap * result.primal, claimed, atol=1e-12 * scale.max())
    assert not effects[..., 0].any()
    assert not result.residual[..., 0].any()
    np.testing.assert_array_equal(result.bias, v[..., 0])
    error = np.abs(v - result.reconstruct() - result.residual)
    assert (error <= 1e-9 * scale).all()
    assert (np.abs(result.residual) <= np.asarray(bound)[..., None] + 1e-9 * scale).all()


class TestRealTables:
    @pytest.mark.parametrize("ratio", RATIOS)
    def test_brackets_the_true_optimum(self, table, optimum, ratio):
        result = ji.extract(table, noise_ratio=ratio, tol=1e-3)
        true = optimum(ratio)
        assert (result.dual <= true * (1 + 1e-7)).all()
        assert (true <= result.primal * (1 + 1e-7)).all()
        assert (result.gap <= 1e-3).all()
        assert result.converged.all()
        bound = ratio * np.abs(table[:, -1] - table[:, 0])
        check_explanation(result, table, bound)
        if ratio:  # within the box to the last bit
            assert (np.abs(result.residual) <= bound[:, None]).all()

    def test_two_starts_agree(self, table):
        """gamma = 0 against u_and = 0: the tie-break selects one of many optima."""
        results = [ji.extract(table, tol=1e-5, start=start) for start in (None, 0 * table)]
        assert (results[0].iterations != results[1].iterations).any()  # the starts were used
        assert (results[0].tie_break < 0.1).any()  # the L1 gap asked for smaller eps
        assert all((r.gap <= 1e-5).all() for r in results)
        for row in range(len(table)):
            first, second = (
                {(e.kind, e.players) for e in r[row].merge_singletons().top(50)} for r in results
            )
            assert len(first & second) / len(first | second) >= 0.95

    def test_start_changes_the_time_not_the_answer(self, table, optimum):
        options = {"noise_ratio": 0.02, "tol": 1e-3, "tie_break": 0}
        cold = ji.extract(table[:4], **options)
        warm = ji.extract(table[:4], **options, start=cold)
        assert (cold.iterations > 100).all() and (warm.iterations <= 50).all()
        true = optimum(0.02)[:4]
        assert (warm.dual <= true * (1 + 1e-7)).all()
        assert (true <= warm.primal * (1 + 1e-7)).all()


def test_universal_matching_of_random_splits(rng):
    """Any gamma and delta: AND and OR effects of the two parts rebuild v - delta."""
    for n in range(1, 7):
        v, gamma, delta = rng.normal(size=(3, 2**n))
        gamma[0] = delta[0] = 0.0
        u_and, u_or = (v - delta) / 2 + gamma, (v - delta) / 2 - gamma
        u_and[0], u_or[0] = v[0], 0.0
        rebuilt = reference.reconstruct(v[0], ji.and_interactions(u_and), ji.or_interactions(u_or))
        np.testing.assert_allclose(rebuilt, v - delta, atol=1e-11)


def test_same_result_alone_and_in_a_batch(table):
    batch = ji.extract(table[:3], noise_ratio=0.02, tol=1e-2)
    alone = ji.extract(table[1], noise_ratio=0.02, tol=1e-2)
    np.testing.assert_array_equal(batch[1].effects, alone.effects)
    assert alone.primal.shape == ()
    small = np.random.default_rng(0).normal(size=(70, 8))
    np.testing.assert_array_equal(ji.extract(small)[5].effects, ji.extract(small[5]).effects)


def test_batch_axes_bounds_and_names(rng):
    v = np.repeat(rng.normal(size=(2, 1, 16)), 3, axis=1)
    bound = np.array([0.0, 0.1, 10.0])
    result = ji.extract(v, noise_bound=bound)
    assert result.primal.shape == (2, 3)
    check_explanation(result, v, np.broadcast_to(bound, (2, 3)))
    assert (result.primal[:, 0] > result.primal[:, 1]).all()
    assert not result.primal[:, 2].any()
    np.testing.assert_allclose(result.residual[:, 2], v[:, 2] - v[:, 2, :1], atol=1e-12)


@pytest.mark.parametrize("n", [0, 1])
def test_smallest_games(n):
    v = np.array([2.0, 5.0])[: 2**n]
    result = ji.extract(v)
    np.testing.assert_allclose(result.primal, 3.0 * n)
    np.testing.assert_allclose(result.gap, 0, atol=1e-4)
    np.testing.assert_allclose(result.reconstruct(), v)
    assert len(ji.extract(np.zeros((0, 2**n)))) == 0


def test_a_start_of_no_use_is_not_used(table):
    wild = ji.extract(table[:2], tol=1e-3, start=1e12 * table[:2])
    np.testing.assert_array_equal(wild.effects, ji.extract(table[:2], tol=1e-3).effects)


def test_twelve_players_with_noise(rng):
    """Above n = 11 the residual's block is scaled; a planted split bounds the optimum."""
    planted = np.where(rng.random(4096) < 0.005, rng.normal(size=4096), 0.0)
    planted[0] = 0.0
    v = ji.zeta(planted)
    bound = 0.02 * np.abs(v).max()
    result = ji.extract(v, noise_bound=bound, tol=1e-2, tie_break=0)
    assert result.dual <= np.abs(planted).sum()
    assert result.iterations <= 2500
    check_explanation(result, v, bound)


def test_a_proof_within_tol_is_not_lost_when_the_tie_break_is_cut_short(table, optimum):
    enough = int(ji.extract(table, tol=1e-3, tie_break=0).iterations.max()) + 10
    with pytest.warns(RuntimeWarning, match="gap of all samples is proven, but the tie-break of"):
        result = ji.extract(table, tol=1e-3, max_iterations=enough)
    assert result.converged.all()
    assert (result.gap <= 1e-3).all()
    assert np.isnan(result.tie_break).any()
    assert (result.iterations <= enough).all()
    assert (result.iterations == enough).any()
    assert (optimum(0.0) <= result.primal * (1 + 1e-7)).all()
    check_explanation(result, table, 0.0)


def test_scales(rng):
    v = rng.normal(size=16)
    expected = ji.extract(v, tol=1e-3)
    for scale in (1e-280, 1e-12, 1e12, 1e280):
        result = ji.extract(v * scale, tol=1e-3)
        np.testing.assert_allclose(result.primal, expected.primal * scale, rtol=2e-3)
        assert result.gap <= 1e-3
        check_explanation(result, v * scale, 0.0)


def test_real_tables_within_the_noise_need_no_effects(table):
    result = ji.extract(table, noise_bound=np.abs(table - table[:, :1]).max(axis=1))
    assert not result.primal.any()
    assert not result.gap.any()
    np.testing.assert_array_equal(result.residual, table - table[:, :1])


def test_constant_table_and_table_within_the_noise():
    flat = ji.extract(np.full(8, 3.0), noise_ratio=0.1)
    assert flat.primal == flat.dual == flat.gap == 0
    assert flat.bias == 3.0
    within = ji.extract(np.array([0.0, 0.1, 0.2, 1.0]), noise_bound=1.0)
    assert within.primal == 0
    np.testing.assert_array_equal(within.residual, [0.0, 0.1, 0.2, 1.0])


class TestKinds:
    def test_float32_keeps_its_dtype_and_is_solved_in_float64(self, table):
        v = table[:2].astype(np.float32)
        result = ji.extract(v, tol=1e-3)
        assert result.and_effects.dtype == result.residual.dtype == result.bias.dtype == np.float32
        assert result.primal.dtype == result.dual.dtype == result.gap.dtype == np.float64
        np.testing.assert_allclose(result.reconstruct(), v, atol=1e-3 * np.abs(v).max())
        assert (result.gap <= 1.1e-3).all()
        noisy = ji.extract(v, noise_bound=0.05, tol=1e-3)
        assert (np.abs(noisy.residual) <= 0.05).all()

    def test_jax(self, table):
        result = ji.extract(jnp.asarray(table[:2], jnp.float32), tol=1e-3)
        assert isinstance(result.and_effects, jax.Array)
        assert result.and_effects.dtype == jnp.float32
        assert result.gap.dtype == np.float64
        assert result.reconstruct().shape == (2, 1024)
        assert not jax.config.jax_enable_x64

    def test_objects_with_dlpack_only(self):
        class Foreign:
            def __init__(self, array):
                self.array = array

            def __dlpack__(self, **arguments):
                return self.array.__dlpack__(**arguments)

            def __dlpack_device__(self):
                return self.array.__dlpack_device__()

        v = np.arange(8.0)
        np.testing.assert_array_equal(ji.mobius(Foreign(v)), ji.mobius(v))
        np.testing.assert_array_equal(ji.extract(Foreign(v)).effects, ji.extract(v).effects)
        assert ji.log_odds(Foreign(v), 7) == ji.log_odds(v, 7)
        masked = ji.masked_inputs(np.ones((2, 8), bool), Foreign(v), 0.0, np.arange(8))
        np.testing.assert_array_equal(masked, [v, v])

    def test_names_travel_through_a_trace(self):
        f = jax.jit(lambda v: ji.extract(v, tol=1e-2, throw=False, player_names="ab"))
        assert f(jnp.arange(4.0)).player_names == ("a", "b")

    def test_under_jit_and_vmap(self, table):
        v = jnp.asarray(table[:2], jnp.float32)
        expected = ji.extract(v, noise_ratio=0.02, tol=1e-2)

        def extract(v):
            return ji.extract(v, noise_ratio=0.02, tol=1e-2, throw=False)

        for f in (jax.jit(extract), jax.jit(jax.vmap(extract))):
            result = f(v)
            assert result.converged.all()
            np.testing.assert_allclose(result.primal, expected.primal, rtol=1e-2)

    def test_torch(self, table, torch):
        result = ji.extract(torch.from_numpy(table[:2]), tol=1e-2)
        assert isinstance(result.and_effects, torch.Tensor)
        assert isinstance(result.gap, torch.Tensor)
        expected = ji.extract(table[:2], tol=1e-2)
        np.testing.assert_array_equal(result.effects.numpy(), expected.effects)
        np.testing.assert_array_equal(result.reconstruct().numpy(), expected.reconstruct())


class TestNotConverged:
    def test_raises_with_the_result(self, table):
        with pytest.raises(
            ji.ConvergenceError, match=r"1 of 1 .* tol 1e-06 in 50 iterations"
        ) as error:
            ji.extract(table[0], tol=1e-6, max_iterations=50)
        result = error.value.result
        assert not result.converged
        assert result.dual < result.primal
        check_explanation(result, table[0], 0.0)

    def test_returns_it_with_a_warning(self, table, optimum):
        with pytest.warns(RuntimeWarning, match="did not reach tol 1e-06 in 50 iterations"):
            result = ji.extract(table, tol=1e-6, max_iterations=50, throw=False)
        assert (result.dual <= optimum(0.0)).all()
        assert (optimum(0.0) <= result.primal).all()
        assert (result.iterations == 50).all()


def test_tie_break_zero_skips_the_second_phase(table):
    plain = ji.extract(table[:3], tie_break=0, tol=1e-5)
    broken = ji.extract(table[:3], tol=1e-5)
    assert not plain.tie_break.any()
    assert (broken.tie_break > 0).all()
    assert (plain.iterations < broken.iterations).all()
    assert ((plain.effects**2).sum() > (broken.effects**2).sum()).all()
