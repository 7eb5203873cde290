# SPDX-License-Identifier: Apache-2.0
"""Stage 5: `Interactions`, its files and tables, and the axioms of the effects."""

import os
import pickle
from math import comb

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import jaxinter as ji
import reference


@pytest.fixture
def batch(rng):
    return ji.extract(rng.normal(size=(3, 32)), noise_ratio=0.05, tol=1e-3)


@pytest.fixture
def one(batch):
    return batch[0]


def test_reconstruct_equals_the_definition(one):
    expected = reference.reconstruct(one.bias, one.and_effects, one.or_effects)
    np.testing.assert_allclose(one.reconstruct(), expected, atol=1e-12)


def test_top_is_sorted_and_named(one):
    effects = one.top(7)
    assert len(effects) == 7
    sizes = [abs(e.effect) for e in effects]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == np.abs(one.effects).max()
    for e in effects:
        source = one.and_effects if e.kind == "AND" else one.or_effects
        assert source[sum(1 << p for p in e.players)] == e.effect
        assert e.order == len(e.players)
    assert len(one.top(10_000)) == np.count_nonzero(one.effects)


def test_player_names_travel(rng, tmp_path):
    named = ji.extract(rng.normal(size=(2, 32)), tol=1e-2, player_names="abcde")[1]
    assert set("abcde") >= {p for e in named.top(5) for p in e.players}
    named.save(tmp_path / "named.npz")
    assert ji.load(tmp_path / "named.npz").player_names == tuple("abcde")
    assert {p for players in named.to_pandas()["players"] for p in players} <= set("abcde")


def test_salient(batch):
    tau = np.array([0.1, 0.5, 2.0])
    expected = np.abs(batch.effects) > tau[:, None, None]
    np.testing.assert_array_equal(batch.salient(tau), expected)
    largest = np.abs(batch.effects).max(axis=(1, 2))
    np.testing.assert_array_equal(batch.salient(share_of_largest=0.2), batch.salient(0.2 * largest))
    assert not batch.salient(0.0)[..., 0].any()


def test_merge_singletons_keeps_the_function_and_recomputes_the_certificate(batch):
    merged = batch.merge_singletons()
    np.testing.assert_allclose(merged.reconstruct(), batch.reconstruct(), atol=1e-12)
    assert not merged.or_effects[:, ji.orders(5) == 1].any()
    np.testing.assert_allclose(merged.primal, np.abs(merged.effects).sum(axis=(1, 2)))
    assert (merged.primal <= batch.primal * (1 + 1e-12)).all()
    gap = np.maximum(merged.primal - merged.dual, 0) / merged.primal
    np.testing.assert_allclose(merged.gap, gap, rtol=1e-12)
    np.testing.assert_array_equal(merged.dual, batch.dual)


def test_to_pandas_lists_every_effect_above_the_threshold(batch, one):
    frame = batch.to_pandas(threshold=0.05)
    assert len(frame) == (np.abs(batch.effects) > 0.05).sum()
    row = frame.iloc[5]
    index = sum(1 << p for p in row["players"])
    source = batch.and_effects if row["kind"] == "AND" else batch.or_effects
    assert source[row["sample"], index] == row["effect"]
    assert (frame["order"] == frame["players"].map(len)).all()
    assert (one.to_pandas()["sample"] == 0).all()


def test_indexing_len_iteration_and_repr(batch):
    assert len(batch) == 3
    assert [s.primal for s in batch] == batch.primal.tolist()
    assert len(batch[1:]) == 2
    assert batch[-1].bias == batch.bias[2]
    assert "3 samples of 5 players" in repr(batch)
    assert "primal" in repr(batch[0])
    with pytest.raises(IndexError, match="out of bounds for axis 0 with size 3"):
        batch[np.int64(3)]
    with pytest.raises(TypeError, match="one sample has no len"):
        len(batch[0])
    with pytest.raises(AttributeError):
        batch.primal = 0


def test_indexes_the_batch_axes_only(rng):
    v = rng.normal(size=(2, 3, 8))
    result = ji.extract(v, tol=1e-2)
    samples = np.arange(6).reshape(2, 3)
    for index in (np.s_[..., 0], np.s_[1], np.s_[:, 1:], np.array([True, False]), (1, -1)):
        part = result[index]
        np.testing.assert_array_equal(part.bias, result.bias[index])
        expected = v.reshape(6, 8)[samples[index]]
        np.testing.assert_allclose(part.reconstruct() + part.residual, expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["jax", "torch"])
def test_every_method_on_every_kind(kind, request, rng):
    v = rng.normal(size=(2, 16)).astype(np.float32)
    make = jax.numpy.asarray if kind == "jax" else request.getfixturevalue("torch").from_numpy
    expected, got = ji.extract(v, tol=1e-3), ji.extract(make(v), tol=1e-3)
    for a, b in (
        (expected, got),
        (expected[0], got[0]),
        (ji.extract(v[0]), ji.extract(make(v[0]))),
    ):
        kind_of = type(b.and_effects)
        assert np.shape(b.bias) == np.shape(a.bias) == np.shape(b.gap)
        np.testing.assert_array_equal(a.salient(0.1), np.asarray(b.salient(0.1)))
        np.testing.assert_array_equal(
            a.salient(share_of_largest=0.5), np.asarray(b.salient(share_of_largest=0.5))
        )
        merged = b.merge_singletons()
        assert type(merged.and_effects) is kind_of
        np.testing.assert_allclose(np.asarray(merged.effects), a.merge_singletons().effects)
        np.testing.assert_allclose(np.asarray(merged.gap), a.merge_singletons().gap)
        np.testing.assert_allclose(np.asarray(b.reconstruct()), a.reconstruct(), rtol=1e-5)
        assert b.to_pandas().equals(a.to_pandas())
        strength, on_device = ji.order_strength(a, 0.1), ji.order_strength(b, 0.1)
        np.testing.assert_allclose(np.asarray(on_device.positive), strength.positive, rtol=1e-5)
        assert type(on_device.positive) is kind_of
    assert got[1].top(3) == expected[1].top(3)
    assert bool(got[0])


def test_pickle_and_jit(batch):
    again = pickle.loads(pickle.dumps(batch))
    np.testing.assert_array_equal(again.effects, batch.effects)
    error = pickle.loads(pickle.dumps(ji.ConvergenceError("not there", batch)))
    assert str(error) == "not there"
    assert error.result.n_players == 5
    with jax.enable_x64(True):
        on_device = jax.tree.map(jax.numpy.asarray, batch)
        merged = jax.jit(lambda r: r.merge_singletons())(on_device)
        salient = jax.vmap(lambda r: r.salient(0.3))(on_device)
    np.testing.assert_allclose(merged.primal, batch.merge_singletons().primal)
    np.testing.assert_array_equal(salient, batch.salient(0.3))


def test_is_a_pytree(batch):
    doubled = jax.tree.map(lambda x: 2 * x, batch)
    np.testing.assert_array_equal(doubled.and_effects, 2 * batch.and_effects)
    assert doubled.n_players == 5


class TestFiles:
    def test_round_trip(self, batch, one, tmp_path):
        for result in (batch, one):
            path = tmp_path / "result"
            result.save(path)
            loaded = ji.load(path)
            for name in ("and_effects", "or_effects", "bias", "residual", "gap", "converged"):
                np.testing.assert_array_equal(getattr(loaded, name), getattr(result, name))
            assert loaded.and_effects.dtype == result.and_effects.dtype
            assert repr(loaded) == repr(result)

    def test_a_failed_save_leaves_the_old_file(self, batch, one, tmp_path, monkeypatch):
        path = tmp_path / "result.npz"
        one.save(path)

        def fail(*args, **kwargs):
            args[0].write(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(np, "savez", fail)
        with pytest.raises(OSError, match="disk full"):
            batch.save(path)
        assert os.listdir(tmp_path) == ["result.npz"]
        assert ji.load(path).primal == one.primal

    def test_other_files_are_refused(self, tmp_path):
        np.savez(tmp_path / "other.npz", x=1)
        (tmp_path / "text.npz").write_text("hello")
        np.savez(tmp_path / "newer.npz", jaxinter_interactions=99)
        for name in ("other.npz", "text.npz"):
            with pytest.raises(ValueError, match=r"is not a file saved by Interactions.save"):
                ji.load(tmp_path / name)
        with pytest.raises(ValueError, match="has format 99"):
            ji.load(tmp_path / "newer.npz")
        with pytest.raises(FileNotFoundError):
            ji.load(tmp_path / "missing.npz")


games = arrays(np.float64, 32, elements=st.floats(-1, 1))


class TestAxioms:
    """SPEC of the papers (002, section 2; 001, appendix B) for AND of v and OR of v."""

    @property
    def index(self):
        return np.arange(32)

    @given(games)
    def test_efficiency(self, v):
        assert np.isclose(ji.and_interactions(v).sum(), v[-1])
        assert np.isclose(ji.or_interactions(v).sum(), v[-1] - v[0])

    @given(games)
    def test_dummy(self, v):
        i = 2
        without = self.index & ~(1 << i)
        v = v[without] + np.where(self.index >> i & 1, 1.5, 0.0)
        has_i = (self.index >> i & 1).astype(bool)
        for effects in (ji.and_interactions(v), ji.or_interactions(v)):
            np.testing.assert_allclose(effects[has_i & (self.index != 1 << i)], 0, atol=1e-12)
            assert np.isclose(effects[1 << i], 1.5)

    @given(games)
    def test_symmetry_and_anonymity(self, v):
        swap = ji.encode(ji.decode(self.index, 5)[:, [1, 0, 2, 3, 4]])
        for f in (ji.and_interactions, ji.or_interactions):
            np.testing.assert_allclose(f(v[swap]), f(v)[swap], atol=1e-12)
            symmetric = f((v + v[swap]) / 2)
            np.testing.assert_allclose(symmetric, symmetric[swap], atol=1e-12)

    @given(games)
    def test_recursion(self, v):
        i = 3
        without = self.index[(self.index >> i & 1) == 0]
        present = ji.mobius(v[without | 1 << i])  # the game of the others, i present
        effects = ji.mobius(v)
        np.testing.assert_allclose(
            effects[without | 1 << i], present - effects[without], atol=1e-12
        )

    @given(games, games, st.floats(-3, 3))
    def test_linearity(self, v, w, a):
        for f in (ji.and_interactions, ji.or_interactions):
            np.testing.assert_allclose(f(a * v + w), a * f(v) + f(w), atol=1e-12)

    def test_variance_of_independent_outputs(self, rng):
        """2^|S| times that of v: 20,000 games, five standard deviations of a variance."""
        effects = ji.and_interactions(3 * rng.normal(size=(20_000, 16)))
        ratio = effects.var(axis=0) / (9 * 2.0 ** ji.orders(4))
        np.testing.assert_allclose(ratio, 1, atol=5 * np.sqrt(2 / 20_000))

    def test_interaction_distribution(self):
        planted = 0b10110
        v = np.where(self.index & planted == planted, 7.0, 0.0)
        np.testing.assert_allclose(ji.and_interactions(v), np.where(self.index == planted, 7.0, 0))
        v = np.where(self.index & planted != 0, 7.0, 0.0)
        np.testing.assert_allclose(ji.or_interactions(v), np.where(self.index == planted, 7.0, 0))

    @given(games)
    def test_or_is_minus_and_of_the_inverted_game(self, v):
        np.testing.assert_allclose(ji.or_interactions(v)[1:], ji.mobius(-v[::-1])[1:], atol=1e-12)
        signed = (-1.0) ** (ji.orders(5) + 1) * ji.superset_zeta(ji.mobius(v))
        np.testing.assert_allclose(ji.or_interactions(v)[1:], signed[1:], atol=1e-12)

    @settings(max_examples=20)
    @given(games)
    def test_joint_efficiency_and_shapley_value(self, v):
        result = ji.extract(v, tol=1e-3)
        total = result.and_effects.sum() + result.or_effects.sum()
        assert np.isclose(total, v[-1] - v[0])
        shares = (result.and_effects + result.or_effects) / np.maximum(ji.orders(5), 1)
        members = ji.all_masks(5)
        for i in range(5):
            others = self.index[~members[:, i]]
            k = ji.orders(5)[others]
            weight = np.array([1 / (5 * comb(4, size)) for size in k])
            shapley = (weight * (v[others | 1 << i] - v[others])).sum()
            assert np.isclose(shares[members[:, i]].sum(), shapley)
