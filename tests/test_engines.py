# SPDX-License-Identifier: Apache-2.0
"""The two engines of `extract`: one certificate, whatever the threads, the batch, the SIMD level
and the trace; and the hard cases, of both."""

import itertools
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinter as ji
import reference
from jaxinter import _native, _progress

ENGINES = ("native", "jax")

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


def same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def prove_each_other(*results):
    """No lower bound is above another's strength, to the rounding of the effects."""
    for a, b in itertools.permutations(results, 2):
        slack = 1e-6 if b.and_effects.dtype == np.float32 else 1e-9
        assert (np.asarray(a.dual) <= np.asarray(b.primal) * (1 + slack)).all()


def some_games(rng, n):
    """A generic, a planted and a constant table, and one with a dummy, ``[4, 2**n]``."""
    v = rng.normal(size=(4, 2**n))
    v[1] = ji.zeta(np.where(rng.random(2**n) < 0.2, v[1], 0.0))
    v[2] = 3.0
    v[3] = v[3][np.arange(2**n) & ~1]
    return v


class TestAgreement:
    @pytest.mark.parametrize(
        ("n", "noisy", "dtype", "started"),
        [
            (1, True, np.float64, False),
            (2, False, np.float32, False),
            (3, True, np.float64, True),
            (4, True, np.float64, False),
            (5, False, np.float64, False),
            (6, False, np.float64, True),
            (7, True, np.float32, False),
            (8, False, np.float64, False),
        ],
    )
    def test_both_bracket_the_optimum(self, n, noisy, dtype, started, rng):
        v = some_games(rng, n).astype(dtype)
        tol = 1e-4 if n < 7 else 1e-3
        bound = np.float32([0.1, 0.0, 0.1, 0.3]) if noisy else None
        start = rng.normal(size=v.shape) if started else None
        results = [
            ji.extract(v, engine=e, noise_bound=bound, start=start, tol=tol) for e in ENGINES
        ]
        prove_each_other(*results)
        slack = 1e-6 if dtype == np.float32 else 0.0
        for r in results:
            assert r.converged.all()
            assert (r.gap <= tol + slack).all()
            assert r.and_effects.dtype == r.residual.dtype == dtype
            assert not r.effects[2].any() and r.primal[2] == r.dual[2] == 0
            wide = abs(r.effects.astype(np.float64)).sum(axis=(1, 2))
            np.testing.assert_allclose(r.primal, wide, rtol=1e-12)
            assert (abs(r.residual) <= (0.0 if bound is None else bound[:, None]) + 1e-6).all()
        for i in range(4 if n < 7 else 0):
            true = reference.sparsest_split(v[i].astype(np.float64), bound[i] if noisy else 0.0)
            for r in results:
                assert r.dual[i] <= true * (1 + 1e-7) + 1e-12
                assert true <= r.primal[i] * (1 + 1e-7) + (1e-5 if slack else 1e-12)
        if n < 7 and dtype == np.float64:
            self.check_tie_break(*results, abs(v - v[:, :1]).max(axis=1), tol)

    def check_tie_break(self, first, second, unit, tol):
        """One answer: the objective is eps-strongly convex, so what is within tol of its least
        value is near. Not for the dummy's row: an engine that keeps it has more to choose from."""
        same = (first.tie_break == second.tie_break) & (first.tie_break > 0) & (np.arange(4) != 3)
        assert same.any()
        eps, unit = first.tie_break[same], unit[same]
        a, b = (r.effects[same] / unit[:, None, None] for r in (first, second))
        objective = abs(a).sum(axis=(1, 2)) + eps / 2 * (a**2).sum(axis=(1, 2))
        apart = np.sqrt(((a - b) ** 2).sum(axis=(1, 2)))
        assert (apart <= 2 * np.sqrt(2 * tol * objective / eps)).all()


class TestBits:
    """The C++ engine's results do not depend on threads or on company."""

    def games(self, rng, n):
        v = rng.normal(size=(5, 2**n))
        if n < 16:  # with dummies; TestDummies has large ones
            v[1] = v[1][np.arange(2**n) & 5]
        return v

    def extract(self, v, **options):
        """On the way, whatever the gap: 60 iterations."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ji.extract(v, engine="native", max_iterations=60, throw=False, **options)

    @pytest.mark.parametrize(
        ("n", "options"),
        [
            (2, {}),
            (4, {"noise_bound": 0.1}),
            (9, {"noise_ratio": 0.05}),
            (16, {}),
            (16, {"noise_bound": 0.3}),
            (16, {"joint": True}),
        ],
        ids=str,
    )
    def test_any_threads_any_batch(self, n, options, rng, monkeypatch):
        v = self.games(rng, n)
        if options.get("joint"):
            v = np.stack([v[:2], v[2:4]])
        results = []
        for threads in ("1", "2", "4"):
            monkeypatch.setenv("JAXINTER_THREADS", threads)
            assert _native.thread_limit() == int(threads)
            results.append(self.extract(v, **options))
            # alone, from 16 players on, a sample is worked on by all threads
            same_bits(self.extract(v[1], **options), results[-1][1])
            same_bits(self.extract(v[::-1].copy(), **options)[::-1], results[-1])
        for other in results[1:]:
            same_bits(other, results[0])

    def test_many_rows(self, rng, monkeypatch):
        """More rows than one call of the engine takes."""
        v = rng.normal(size=(300, 8))
        whole = ji.extract(v, noise_ratio=0.1)
        monkeypatch.setattr(sys.modules["jaxinter.sparse.extract"], "NATIVE_ELEMENTS", 1 << 9)
        same_bits(ji.extract(v, noise_ratio=0.1), whole)
        same_bits(ji.extract(v[250], noise_ratio=0.1), whole[250])
        joint = v.reshape(100, 3, 8)
        same_bits(ji.extract(joint, joint=True)[70:], ji.extract(joint[70:], joint=True))

    def test_any_layout_of_memory(self, rng):
        v = rng.normal(size=(3, 16))
        expected = ji.extract(v, noise_ratio=0.1)
        wide = np.zeros((6, 32))
        wide[::2, ::2] = v
        layouts = {
            "reversed": v[::-1].copy()[::-1],
            "strided": wide[::2, ::2],
            "big-endian": v.astype(">f8"),
            "Fortran": np.asfortranarray(v),
            "transposed": v.T.copy().T,
        }
        for name, x in layouts.items():
            result = ji.extract(x, noise_ratio=0.1)
            np.testing.assert_array_equal(result.effects, expected.effects, err_msg=name)
        again = ji.extract(v, start=np.asfortranarray(v / 3))
        same_bits(again, ji.extract(v, start=v / 3))

    def test_simd_levels_agree(self, tmp_path):
        """Each level in a process of its own, against this one's."""
        names = ("portable", "avx2", "avx512")
        running = [
            subprocess.Popen(
                [sys.executable, "-c", SIMD_PROGRAM, str(tmp_path / f"{name}.npz")],
                env=os.environ | {"JAXINTER_SIMD": name},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in names
        ]
        levels = []
        for process in running:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            levels.append(output.strip())
        assert levels[0] == "portable" or _native.simd_level() not in names
        found = [np.load(tmp_path / f"{name}.npz") for name in names]
        for key in found[0].files:
            first = found[0][key]
            for level, other in zip(levels[1:], found[1:]):
                if level == levels[0]:
                    np.testing.assert_array_equal(other[key], first)
                np.testing.assert_allclose(other[key], first, rtol=1e-4, atol=1e-4, err_msg=level)


SIMD_PROGRAM = """
import sys
import numpy as np
import jaxinter as ji
from jaxinter import _native
found = {}
for n in (2, 3, 6, 9):
    v = np.random.default_rng(n).normal(size=(4, 2**n))
    for i, options in enumerate(({}, {"noise_bound": 0.2}, {"joint": True})):
        result = ji.extract(v, tie_break=0, **options)
        assert result.converged.all()
        found[f"{n} {i}"] = np.array([result.primal, result.dual]) / np.abs(v).max()
        found[f"{n} {i} sparsity"] = ji.sparsity(v, **options) / result.primal
np.savez(sys.argv[1], **found)
print(_native.simd_level())
"""


class TestTraced:
    @pytest.mark.parametrize(
        ("wrap", "joint"),
        [("jit", False), ("vmap", False), ("jit of vmap", False), ("jit of vmap", True)],
    )
    def test_equals_eager(self, wrap, joint, rng, x64):
        v = rng.normal(size=(3, 2, 16))
        bound, start = np.abs(rng.normal(size=(3, 2))) / 10, rng.normal(size=v.shape)
        bound[1] = 0.0

        def f(v, bound, start):
            return ji.extract(v, noise_bound=bound, start=start, joint=joint, throw=False)

        wrapped = {"jit": jax.jit, "vmap": jax.vmap, "jit of vmap": lambda f: jax.jit(jax.vmap(f))}
        result = wrapped[wrap](f)(*(jnp.asarray(x) for x in (v, bound, start)))
        expected = f(v, bound, start)
        assert result.and_effects.shape == expected.and_effects.shape
        assert result.joint == joint
        np.testing.assert_array_equal(result.iterations, expected.iterations)
        np.testing.assert_array_equal(result.converged, expected.converged)
        for name in ("primal", "dual"):
            np.testing.assert_allclose(getattr(result, name), getattr(expected, name), rtol=1e-9)
        np.testing.assert_allclose(result.effects, expected.effects, atol=1e-6)
        assert (abs(result.residual) <= bound[..., None] + 1e-13).all()

    def test_the_jax_engine_in_a_trace(self, rng):
        v = jnp.asarray(rng.normal(size=(2, 8)), jnp.float32)
        f = jax.jit(lambda v: ji.extract(v, engine="jax", noise_bound=0.1, throw=False))
        result, expected = f(v), ji.extract(v, noise_bound=0.1)
        prove_each_other(result, expected)
        assert result.converged.all()

    def test_a_result_is_a_start(self, rng, x64):
        v = jnp.asarray(rng.normal(size=(3, 32)))
        cold = ji.extract(v, noise_bound=0.1)
        f = jax.jit(lambda v, start: ji.extract(v, noise_bound=0.1, start=start, throw=False))
        warm = f(v, cold)
        assert warm.iterations.sum() < cold.iterations.sum()
        prove_each_other(warm, cold)

    @pytest.mark.parametrize("what", ["noise_bound", "noise_ratio", "start"])
    def test_vmap_over_all_but_the_values(self, what, rng):
        """Eager vmap: the values are concrete, what is mapped is not."""
        v = jnp.asarray(rng.normal(size=8), jnp.float32)
        mapped = jnp.asarray(rng.random(size=(3, 8) if what == "start" else 3) / 5, jnp.float32)

        def f(x):
            return ji.extract(v, **{what: x}, throw=False)

        expected = [f(np.asarray(x)) for x in mapped]
        result = jax.vmap(f)(mapped)
        np.testing.assert_allclose(result.primal, [r.primal for r in expected], rtol=2e-4)

    def test_float64_values_beside_a_traced_bound_stay_float64(self, rng):
        v = rng.normal(size=(2, 16))
        result = jax.jit(lambda bound: ji.extract(v, noise_bound=bound, throw=False))(0.1)
        rebuilt = np.asarray(result.reconstruct(), np.float64) + np.asarray(result.residual)
        exact = np.asarray(result.and_effects).dtype == np.float64
        np.testing.assert_allclose(rebuilt, v, atol=1e-12 if exact else 1e-6)
        expected = ji.extract(v, noise_bound=np.float32(0.1))
        np.testing.assert_allclose(result.primal, expected.primal, rtol=1e-9)

    @pytest.mark.parametrize("index", [0, 3, 7])
    @pytest.mark.parametrize("options", [{}, {"noise_ratio": 0.1}, {"noise_bound": 0.1}], ids=str)
    def test_what_is_not_finite_is_not_called_converged(self, index, options, rng):
        """Nothing can be raised in a trace: that sample says so, the other is solved."""
        v = jnp.asarray(rng.normal(size=(2, 8)), jnp.float32).at[1, index].set(jnp.nan)
        result = jax.jit(lambda v: ji.extract(v, **options, throw=False))(v)
        assert result.converged.tolist() == [True, False]
        assert not np.isfinite(result.primal[1])
        expected = ji.extract(v[0], **options)
        np.testing.assert_allclose(result.primal[0], expected.primal, rtol=2e-4)


class TestDummies:
    @pytest.mark.parametrize(("engine", "bound"), [("native", None), ("native", 0.2)])
    @pytest.mark.parametrize("dummies", [0b0001, 0b1000, 0b0110, 0b1111])
    def test_have_no_effects(self, dummies, engine, bound, rng):
        movers = ~dummies & 15
        v = self.table(rng.normal(size=(2, 16)), movers)
        result = ji.extract(v, noise_bound=bound, engine=engine)
        with_one = np.arange(16) & dummies != 0
        assert not result.and_effects[:, with_one].any()
        assert not result.or_effects[:, with_one].any()
        # the optimum is that of the game of the others
        small = v[:, [s for s in range(16) if s & movers == s]]
        for i in range(2):
            true = reference.sparsest_split(small[i], bound or 0.0) if movers else 0.0
            assert result.dual[i] <= true * (1 + 1e-9)
            assert true <= result.primal[i] * (1 + 1e-9)
        # and residuals are those of the others too
        np.testing.assert_allclose(result.residual, self.table(result.residual, movers), atol=1e-14)

    def table(self, v, movers):
        """The values that the players of `movers` alone decide."""
        return np.take(v, np.arange(v.shape[-1]) & movers, axis=-1).copy()

    def test_of_a_large_game_leave_a_small_one_to_all_threads(self, tmp_path):
        """In a process of its own, which a bug here may take down."""
        run = subprocess.run(
            [sys.executable, "-c", LARGE_DUMMIES_PROGRAM],
            env=os.environ | {"JAXINTER_THREADS": "2"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr

    def test_a_start_with_effects_of_dummies(self, rng):
        v = self.table(rng.normal(size=(2, 16)), 0b0111)
        for start in (rng.normal(size=(2, 16)), ji.extract(rng.normal(size=(2, 16)))):
            result = ji.extract(v, start=start)
            assert not result.effects[..., 8:].any()
            prove_each_other(result, ji.extract(v))

    def test_less_than_rounding_is_no_player(self, rng):
        """A player that moves v by 1e-14 of its range costs nothing, and the result stays exact."""
        v = self.table(rng.normal(size=32), 0b10011)
        noise = 1e-14 * rng.normal(size=32)
        result, expected = ji.extract(v + noise), ji.extract(v)
        np.testing.assert_allclose(result.primal, expected.primal, rtol=1e-4)
        assert result.gap <= 1e-4
        assert abs(v + noise - result.reconstruct()).max() <= 1e-14


LARGE_DUMMIES_PROGRAM = """
import numpy as np
import jaxinter as ji
for movers in (1, 2, 3, 4, 7, 9, 10, 12):
    small = np.random.default_rng(movers).normal(size=(2, 2**movers))
    v = np.tile(small, 2**(16 - movers))
    for options in ({}, {"noise_bound": 0.3}, {"joint": True}):
        games = (v, small) if options.get("joint") else (v[0], small[0])
        found, expected = (ji.extract(x, tol=1e-2, tie_break=0, **options) for x in games)
        assert found.dual <= expected.primal * (1 + 1e-9), (movers, options)
        assert expected.dual <= found.primal * (1 + 1e-9), (movers, options)
        assert not found.and_effects[..., 2**movers:].any(), (movers, options)
"""


class TestHardCases:
    def test_constant_tables_and_equal_ends(self, engine, rng):
        v = rng.normal(size=(3, 8))
        v[0] = -7.0
        v[1, 7] = v[1, 0]  # the ratio's bound is 0
        result = ji.extract(v, noise_ratio=0.1, engine=engine)
        assert not result.effects[0].any() and not result.residual[0].any()
        assert abs(result.residual[1]).max() <= 1e-14
        assert result.primal[0] == result.dual[0] == result.gap[0] == 0
        assert result.bias[0] == -7.0
        true = reference.sparsest_split(v[1], 0.0)
        assert result.dual[1] <= true * (1 + 1e-9)
        assert true <= result.primal[1] * (1 + 1e-9)
        assert result.converged.all()
        alone = ji.extract(v[:1])
        assert alone.primal == alone.gap == 0 and not alone.residual.any()

    def test_no_and_one_player(self, engine):
        none = ji.extract(np.array([[2.0], [-1.0]]), engine=engine, noise_bound=0.5)
        assert none.and_effects.shape == (2, 1) and not none.primal.any() and none.converged.all()
        np.testing.assert_array_equal(none.bias, [2.0, -1.0])
        v = np.array([[2.0, 5.0], [1.0, 1.0], [0.0, -1e-9], [4.0, 4.3]])
        one = ji.extract(v, engine=engine, noise_bound=[1.0, 1.0, 0.0, 0.5])
        np.testing.assert_allclose(one.primal, [2.0, 0.0, 1e-9, 0.0], rtol=1e-4)
        np.testing.assert_allclose(one.residual[:, 1], [1.0, 0.0, 0.0, 0.3], atol=3e-4)
        assert (one.dual <= [2.0, 0.0, 1e-9, 0.0]).all()

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_scales(self, scale, engine, rng):
        v = rng.normal(size=(3, 8))
        v[1] *= 1e-6
        expected = ji.extract(v, noise_bound=[0.0, 1e-7, 0.2], engine=engine)
        result = ji.extract(v * scale, noise_bound=scale * np.array([0, 1e-7, 0.2]), engine=engine)
        np.testing.assert_allclose(result.primal, expected.primal * scale, rtol=1e-4)
        np.testing.assert_allclose(result.effects, expected.effects * scale, atol=1e-3 * scale)
        assert (result.gap <= 1e-4).all()
        single = ji.extract((v * scale).astype(np.float32), engine="native", tol=1e-3)
        np.testing.assert_allclose(single.primal, ji.extract(v * scale).primal, rtol=2e-3)

    def test_some_bounds_zero_some_wide(self, engine, rng):
        v = rng.normal(size=(4, 8))
        bound = np.array([0.0, 0.1, 0.0, 100.0])
        result = ji.extract(v, noise_bound=bound, engine=engine)
        for i in range(4):
            true = reference.sparsest_split(v[i], bound[i])
            assert result.dual[i] <= true * (1 + 1e-9)
            assert true <= result.primal[i] * (1 + 1e-9) + 1e-12
        assert (abs(result.residual) <= bound[:, None] + 1e-15).all()
        assert not result.effects[3].any() and result.gap[3] == 0
        np.testing.assert_array_equal(result.residual[3], v[3] - v[3, 0])

    def test_samples_that_are_not_finite_among_good_ones(self, engine, rng):
        v = rng.normal(size=(5, 8))
        good = ji.extract(v, noise_bound=0.1, engine=engine)
        v[1, 3], v[3, 0], v[3, 6] = np.nan, np.inf, -np.inf
        with pytest.raises(
            ValueError, match=r"got nan at sample 1, coalition 3 \(players \[0, 1\]"
        ):
            ji.extract(v, noise_bound=0.1, engine=engine)
        with pytest.warns(RuntimeWarning) as told:
            result = ji.extract(v, noise_bound=0.1, engine=engine, throw=False)
        text = str(told[0].message)
        assert "got nan at sample 1, coalition 3" in text and "3 bad entries in all" in text
        assert told[0].filename == __file__
        assert result.converged.tolist() == [True, False, True, False, True]
        for name in ("and_effects", "or_effects", "residual", "primal", "gap"):
            assert np.isnan(getattr(result, name)[[1, 3]]).all(), name
        rest = [0, 2, 4]
        np.testing.assert_allclose(result.effects[rest], good.effects[rest], atol=1e-12)
        prove_each_other(result[rest], good[rest])

    def test_a_sample_out_of_range_among_good_ones(self, rng):
        v = rng.normal(size=(3, 8))
        v[2] *= 1e300
        with pytest.raises(ValueError, match=r"neither overflow nor vanish; got .* at sample 2"):
            ji.extract(v)
        with pytest.warns(RuntimeWarning) as told:
            result = ji.extract(v, throw=False)
        assert "at sample 2" in str(told[0].message)
        assert result.converged.tolist() == [True, True, False]
        same_bits(result[:2], ji.extract(v[:2]))

    @pytest.mark.parametrize(
        ("engine", "iterations"), [("native", 1), ("native", 24), ("native", 26), ("jax", 24)]
    )
    def test_few_iterations(self, engine, iterations, rng):
        """Cut short anywhere, what is returned is feasible and its bounds hold."""
        v = rng.normal(size=(3, 8))
        every = ({"noise_bound": 0.1}, {"tie_break": 0}, {})
        for options in every[:1] if engine == "jax" else every:
            bound = options.get("noise_bound", 0.0)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                result = ji.extract(
                    v, engine=engine, max_iterations=iterations, tol=1e-15, throw=False, **options
                )
            assert (result.iterations <= iterations).all()
            unfinished = np.sum(~result.converged)
            if unfinished:
                assert f"{unfinished} of 3" in str(told[0].message)
                assert f"in {iterations} iterations" in str(told[0].message)
            for i, table in enumerate(v):
                true = reference.sparsest_split(table, bound)
                assert 0 < result.dual[i] <= true * (1 + 1e-9)
                assert true <= result.primal[i] * (1 + 1e-9)
            assert (abs(result.residual) <= bound + 1e-12).all()
            np.testing.assert_allclose(result.reconstruct() + result.residual, v, atol=1e-12)

    @pytest.mark.parametrize("n", [8, 10])
    def test_planted_interactions_under_noise(self, n, rng):
        """With the noise within the bound, the planted effects are feasible: an upper bound."""
        everyone = np.arange(1, 2**n)
        v, strength = np.zeros((3, 2**n)), np.zeros(3)
        for i in range(3):
            for s in rng.choice(everyone, size=12, replace=False):
                t, effect = np.arange(2**n), rng.normal()
                v[i] += effect * ((t & s) == s if rng.random() < 0.5 else (t & s) != 0)
                strength[i] += abs(effect)
        swing = abs(v).max(axis=1, keepdims=True)
        noise = rng.uniform(-0.01, 0.01, size=v.shape) * swing
        noise[:, 0] = 0
        found = ji.extract(v + noise, noise_bound=0.01 * swing[:, 0], tol=1e-3)
        assert (found.primal <= strength / (1 - 1e-3)).all()
        assert (found.dual <= strength).all()
        salient = found.merge_singletons().salient(share_of_largest=0.05).sum(axis=(1, 2))
        assert (salient <= 40).all()
        # without the box the noise itself has to be explained
        assert (ji.extract(v + noise, tol=1e-2, tie_break=0).dual > 1.2 * strength).all()


class TestNoise:
    PRESETS = (
        ("paper001", 0.02, "dataset"),
        ("paper002", 0.01, "sample"),
        ("paper003", 0.02, "sample"),
        ("interaction-concept", 0.04, "sample"),
    )

    @pytest.mark.parametrize(("preset", "ratio", "per"), PRESETS)
    def test_presets_are_ratios(self, preset, ratio, per, rng):
        v = rng.normal(size=(2, 3, 16))
        v[..., 15] += np.array([[3.0, -3.0, 9.0]])
        swing = abs(v[..., 15] - v[..., 0])
        swing = np.full_like(swing, swing.mean()) if per == "dataset" else swing
        result = ji.extract(v, noise_preset=preset)
        same_bits(result, ji.extract(v, noise_ratio=ratio, noise_per=per))
        np.testing.assert_allclose(
            result.effects, ji.extract(v, noise_bound=ratio * swing).effects, atol=1e-9
        )
        reached = abs(result.residual).max(axis=-1)
        np.testing.assert_allclose(reached, ratio * swing, rtol=1e-6)
        other = {"noise_ratio": ratio, "noise_per": "sample" if per == "dataset" else "dataset"}
        assert not np.allclose(result.primal, ji.extract(v, **other).primal, rtol=1e-3)

    def test_ratio_for_each_sample(self, rng):
        v = rng.normal(size=(3, 16))
        ratio = np.array([0.0, 0.1, 0.3])
        bound = ratio * abs(v[:, 15] - v[:, 0])
        same_bits(ji.extract(v, noise_ratio=ratio), ji.extract(v, noise_bound=bound))
        mean = ratio * abs(v[:, 15] - v[:, 0]).mean()
        same_bits(
            ji.extract(v, noise_ratio=ratio, noise_per="dataset"), ji.extract(v, noise_bound=mean)
        )

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_real_tables_of_either_precision_are_settled(self, table, dtype):
        """At the default tolerance, which is far above the rounding of float32."""
        result = ji.extract(table[:3].astype(dtype), noise_ratio=0.02, throw=False)
        assert result.converged.all()
        assert not np.isnan(result.tie_break).any()


class TestLongRuns:
    @contextmanager
    def interrupted(self, seconds):
        """Ctrl-C after that time, as Python hears it; and how long it took to be obeyed."""

        def interrupt(*_):
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - begun < seconds + 2

    @pytest.mark.parametrize(
        ("shape", "options"),
        [
            ((40, 2**12), {}),
            ((1, 2**14), {"noise_bound": 0.1}),
            ((2, 2**12), {"progress": True}),
            ((3, 2, 2**11), {"joint": True}),
        ],
        ids=str,
    )
    def test_end_at_ctrl_c(self, shape, options, rng):
        v = rng.normal(size=shape)
        with self.interrupted(0.2):
            ji.extract(v, engine="native", tol=1e-15, max_iterations=2_000_000, **options)
        assert ji.extract(v[:1, ..., :8], **options).converged.all()  # and the library goes on

    def test_sparsity_ends_at_ctrl_c(self, rng):
        with self.interrupted(0.2):
            ji.sparsity(rng.normal(size=(2, 2**12)), tol=1e-15, max_iterations=2_000_000)

    def test_sigint_in_a_process_of_its_own(self, tmp_path):
        command = [sys.executable, "-c", SIGINT_PROGRAM]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "ready\n"
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
                output, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        assert output == "interrupted\n" and process.returncode == 0

    def test_progress_changes_nothing(self, engine, rng, capfd):
        v = rng.normal(size=(4, 8))
        plain = ji.extract(v, noise_bound=0.1, engine=engine)
        same_bits(ji.extract(v, noise_bound=0.1, engine=engine, progress=True), plain)
        same_bits(ji.extract(v, noise_bound=0.1, engine=engine, progress="my title"), plain)
        assert capfd.readouterr().out == ""  # bars go to stderr

    def test_progress_counts_to_the_end(self, engine, rng, monkeypatch):
        reports, titles = [], []

        @contextmanager
        def counter(title, total):
            titles.append((title, total))
            yield reports.append

        monkeypatch.setattr(_progress, "counter", counter)
        monkeypatch.setattr(sys.modules["jaxinter.sparse.extract"], "NATIVE_ELEMENTS", 1 << 10)
        ji.extract(rng.normal(size=(300, 8)), noise_bound=0.1, engine=engine, progress="tables")
        assert titles == [("tables", 300)]
        assert reports[-1] == 300 and reports == sorted(reports)

    def test_an_error_while_reporting_stops_the_solver(self, rng, monkeypatch):
        @contextmanager
        def counter(title, total):
            def report(done):
                raise OSError("no terminal")

            yield report

        monkeypatch.setattr(_progress, "counter", counter)
        begun = time.monotonic()
        with pytest.raises(OSError, match="no terminal"):
            ji.extract(
                rng.normal(size=(4, 2**12)), tol=1e-15, max_iterations=2_000_000, progress=True
            )
        assert time.monotonic() - begun < 5


SIGINT_PROGRAM = """
import signal
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
import jaxinter as ji
v = np.random.default_rng(0).normal(size=(4, 2**13))
print("ready", flush=True)
try:
    ji.extract(v, tol=1e-15, max_iterations=10_000_000)
except KeyboardInterrupt:
    print("interrupted")
"""


class TestLimits:
    """What bad starts and few iterations may not do."""

    def test_iterations_end_at_their_maximum(self, rng):
        """Newton's steps are counted: none is taken beyond."""
        v = ji.zeta(np.where(rng.random(256) < 0.1, rng.normal(size=256), 0.0))
        v += 0.01 * rng.normal(size=256)
        for most in (76, 130, 250):
            options = {"noise_ratio": 0.05, "tol": 1e-12, "throw": False, "max_iterations": most}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert ji.extract(v, **options).iterations <= most

    @pytest.mark.parametrize("engine", ["native", "jax"])
    def test_a_sample_that_is_not_finite_costs_nothing(self, engine, rng):
        v = rng.normal(size=(3, 32))
        v[1, 3] = np.nan
        with pytest.warns(RuntimeWarning, match="got nan at sample 1, coalition 3"):
            result = ji.extract(v, noise_ratio=0.05, tol=1e-3, throw=False, engine=engine)
        assert result.iterations[1] == 0 and result.converged.tolist() == [True, False, True]

    @pytest.mark.parametrize("engine", ["native", "jax"])
    @pytest.mark.parametrize("scale", [1e-3, 1e6, 1e200, 1e308])
    def test_a_wrong_multiplier_proves_nothing(self, engine, scale, rng):
        v = rng.normal(size=(2, 32))
        cold = ji.extract(v, noise_bound=0.2, tol=1e-3, tie_break=0, engine=engine)
        wrong = replace(cold, multiplier=scale * np.sign(rng.normal(size=v.shape)))
        warm = ji.extract(v, noise_bound=0.2, tol=1e-3, tie_break=0, start=wrong, engine=engine)
        prove_each_other(warm, cold)
        assert (warm.iterations <= 2 * cold.iterations + 100).all()


class TestCertificateInRationals:
    """Every float is a fraction: what is claimed is checked without any rounding."""

    @given(
        n=st.integers(1, 4),
        bound=st.sampled_from([0.0, 0.1, 1.0]),
        seed=st.integers(0, 2**32 - 1),
        kind=st.sampled_from(["gauss", "integers", "dummy"]),
        dtype=st.sampled_from([np.float64, np.float32]),
    )
    @settings(max_examples=40)
    def test_strength_matching_and_box(self, n, bound, seed, kind, dtype):
        v = self.table(n, seed, kind).astype(dtype)
        result = ji.extract(v, noise_bound=np.float32(bound), tol=1e-3)
        a, b = (self.exact(x) for x in (result.and_effects, result.or_effects))
        strength = sum(map(abs, a + b))
        assert abs(strength - Fraction(float(result.primal))) <= strength / 10**12
        everyone = range(1, 2**n)
        epsilon = Fraction(float(np.finfo(dtype).eps)) * Fraction(float(abs(v).max())) * 2**n
        for t, value in enumerate(self.exact(v)):
            rebuilt = self.exact([result.bias])[0]
            rebuilt += sum(a[s] for s in everyone if s & t == s)
            rebuilt += sum(b[s] for s in everyone if s & t)
            residual = value - rebuilt
            # what was said of the residual, and the box: to the last bit of what is said
            assert abs(residual - self.exact([result.residual[t]])[0]) <= epsilon
            box = Fraction(float(np.float32(bound)))
            room = epsilon if dtype == np.float32 or not bound else 0
            assert abs(residual) <= box + room
            if bound:
                assert abs(Fraction(float(result.residual[t]))) <= box
        rounding = Fraction(1, 10**6 if dtype == np.float32 else 10**12)
        assert Fraction(float(result.dual)) <= strength * (1 + rounding)

    @pytest.mark.parametrize("n", [1, 2, 3, 4])
    @pytest.mark.parametrize("bound", [0.0, 0.125])
    def test_lower_bound(self, n, bound, x64):
        """The multiplier y that `sparsity` has for gradient proves the bound that is reported."""
        f = jax.jit(jax.grad(lambda v: ji.sparsity(v, noise_bound=bound)))
        everyone = range(1, 2**n)
        for seed, kind in itertools.product(range(4), ("gauss", "integers", "dummy")):
            v = self.table(n, seed, kind)
            result = ji.extract(v, noise_bound=bound, tie_break=0)
            y = self.exact(f(jnp.asarray(v)))
            w = [x - self.exact(v)[0] for x in self.exact(v)]
            value = sum(y[t] * w[t] - Fraction(bound) * abs(y[t]) for t in everyone)
            for s in everyone:
                above = abs(sum(y[t] for t in everyone if t & s == s))
                meets = abs(sum(y[t] for t in everyone if t & s))
                # the constraints hold as they are, to rounding
                assert max(above, meets) <= 1 + Fraction(1, 10**12)
            scale = max(
                [Fraction(1)]
                + [abs(sum(y[t] for t in everyone if t & s == s)) for s in everyone]
                + [abs(sum(y[t] for t in everyone if t & s)) for s in everyone]
            )
            proven = value / scale
            size = Fraction(float(abs(v).max())) + 1
            assert abs(proven - Fraction(float(result.dual))) <= size / 10**11
            effects = self.exact(result.and_effects) + self.exact(result.or_effects)
            assert proven <= sum(map(abs, effects)) + (0 if bound else size / 10**12)

    def table(self, n, seed, kind):
        rng = np.random.default_rng(seed)
        v = rng.normal(size=2**n)
        if kind == "integers":
            return rng.integers(-3, 4, size=2**n).astype(float)
        return v[np.arange(2**n) & int(rng.integers(2**n))] if kind == "dummy" else v

    def exact(self, x):
        return [Fraction(float(value)) for value in np.asarray(x)]
