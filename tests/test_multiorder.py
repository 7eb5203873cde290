# SPDX-License-Identifier: Apache-2.0
"""Stage 7d: interactions of pairs by context size, against sums over contexts and their laws."""

from itertools import combinations
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import jaxinter as ji
import reference


def slow(v):
    """I^(m)(i, j), context by context."""
    n = len(v).bit_length() - 1
    found = np.zeros((n - 1, n, n))
    for i, j in combinations(range(n), 2):
        pair = 1 << i | 1 << j
        contexts = reference.subsets((len(v) - 1) ^ pair)
        for m in range(n - 1):
            differences = [
                v[s | pair] - v[s | 1 << i] - v[s | 1 << j] + v[s]
                for s in contexts
                if reference.size(s) == m
            ]
            assert len(differences) == comb(n - 2, m)
            found[m, i, j] = found[m, j, i] = np.mean(differences)
    return found


TABLES = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.floats(-1e3, 1e3), min_size=2**n, max_size=2**n).map(np.array)
)


class TestInteraction:
    @given(TABLES)
    @settings(max_examples=40)
    def test_by_definition(self, v):
        found = ji.multi_order_interaction(v)
        np.testing.assert_allclose(found, slow(v), atol=1e-12 * (1 + abs(v).max()))
        np.testing.assert_array_equal(found, found.swapaxes(-1, -2))
        assert not np.diagonal(found, axis1=-2, axis2=-1).any()

    @given(TABLES)
    @settings(max_examples=25)
    def test_of_dividends(self, v):
        """SPEC 3.12: sum_{S >= {i, j}} D(S) C(m, |S| - 2) / C(n - 2, |S| - 2)."""
        n = len(v).bit_length() - 1
        dividends = reference.mobius(v)
        found = ji.multi_order_interaction(v)
        for m in range(n - 1):
            for i, j in combinations(range(n), 2):
                expected = sum(
                    dividends[s] * comb(m, reference.size(s) - 2)
                    / comb(n - 2, reference.size(s) - 2)
                    for s in range(len(v))
                    if s >> i & 1 and s >> j & 1
                )  # fmt: skip
                scale = abs(v).max() * 2**n
                np.testing.assert_allclose(found[m, i, j], expected, atol=1e-12 * scale)

    def test_laws(self, rng):
        n = 6
        v = rng.normal(size=(3, 2**n))
        found = ji.multi_order_interaction(v)
        assert found.shape == (3, n - 1, n, n)
        # their mean over orders is the Shapley interaction index
        sii = ji.index(v, "SII", max_order=2)
        for i, j in combinations(range(n), 2):
            np.testing.assert_allclose(found[:, :, i, j].mean(1), sii[:, 1 << i | 1 << j])
        # v(N) is v(empty), the players alone, and each pair by its share
        weights = (n - 1 - np.arange(n - 1)) / (n * (n - 1))
        alone = (v[:, [1 << i for i in range(n)]] - v[:, :1]).sum(axis=1)
        pairs = (found.sum(axis=(2, 3)) * weights).sum(axis=1)
        np.testing.assert_allclose(v[:, 0] + alone + pairs, v[:, -1])
        # its mean over pairs is the second difference of the mean values of an order
        level = np.stack([v[:, ji.orders(n) == k].mean(axis=1) for k in range(n + 1)], axis=1)
        mean = found.sum(axis=(2, 3)) / (n * (n - 1))
        np.testing.assert_allclose(mean, np.diff(level, 2, axis=1), atol=1e-12)
        # linear; blind to what players do alone; relabelled with the players
        w = rng.normal(size=2**n)
        both = ji.multi_order_interaction(2 * v[0] - 3 * w)
        np.testing.assert_allclose(
            both, 2 * found[0] - 3 * ji.multi_order_interaction(w), atol=1e-12
        )
        additive = ji.all_masks(n) @ rng.normal(size=n) + 5.0
        np.testing.assert_allclose(ji.multi_order_interaction(additive), 0, atol=1e-13)
        order = rng.permutation(n)
        renamed = v[0, ji.encode(ji.all_masks(n)[:, order])]
        np.testing.assert_allclose(
            ji.multi_order_interaction(renamed)[:, order][:, :, order], found[0], atol=1e-12
        )

    def test_of_a_dummy_is_nothing(self, rng):
        index = np.arange(32)
        v = rng.normal(size=32)[index & 0b11011] + 2.5 * (index >> 2 & 1)
        found = ji.multi_order_interaction(v)
        np.testing.assert_allclose(found[:, 2], 0, atol=1e-14)
        assert abs(found[:, 0, 1]).min() > 1e-3

    def test_of_two_players_and_of_no_samples(self):
        assert ji.multi_order_interaction([1.0, 2.0, 4.0, 9.0]).tolist() == [[[0, 4], [4, 0]]]
        assert ji.multi_order_interaction(np.zeros((0, 8))).shape == (0, 2, 3, 3)

    def test_is_exact_beside_a_large_constant_and_for_many_players(self):
        n = 12
        rng = np.random.default_rng(1)
        v = rng.normal(size=2**n)
        found = ji.multi_order_interaction(v)
        index, orders = np.arange(2**n), ji.orders(n)
        wide = v.astype(np.longdouble)
        for i, j in ((0, 1), (3, 11), (7, 5)):
            s = index[(index >> i & 1 == 0) & (index >> j & 1 == 0)]
            d = wide[s | 1 << i | 1 << j] - wide[s | 1 << i] - wide[s | 1 << j] + wide[s]
            expected = [float(d[orders[s] == m].mean()) for m in range(n - 1)]
            np.testing.assert_allclose(found[:, i, j], expected, rtol=0, atol=4e-15)
        v = np.round(v * 2**20) / 2**20  # to which 2^30 adds without rounding
        shifted = ji.multi_order_interaction(v + 2**30)
        np.testing.assert_allclose(shifted, ji.multi_order_interaction(v), rtol=0, atol=4e-15)

    def test_batches_are_their_rows(self, rng, monkeypatch):
        v = rng.normal(size=(2, 4, 16))
        found = ji.multi_order_interaction(v)
        np.testing.assert_allclose(found[1, 2], ji.multi_order_interaction(v[1, 2]), atol=1e-14)
        monkeypatch.setattr("jaxinter.multiorder.WORK", 100)  # two samples at a time
        np.testing.assert_allclose(ji.multi_order_interaction(v), found, atol=1e-14)

    def test_kinds_and_dtypes(self, rng, torch):
        v = rng.normal(size=(3, 16))
        expected = ji.multi_order_interaction(v)
        for dtype in (np.float32, np.float16):
            small = ji.multi_order_interaction(v.astype(dtype))
            assert small.dtype == np.float32
            np.testing.assert_allclose(small, expected, atol=1e-6 if dtype == np.float32 else 2e-2)
        assert ji.multi_order_interaction(np.arange(8)).dtype == np.float64
        found = ji.multi_order_interaction(torch.from_numpy(v))
        assert isinstance(found, torch.Tensor) and found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)
        assert ji.multi_order_interaction(torch.arange(8)).dtype == torch.float64
        assert (
            ji.multi_order_interaction(torch.ones(8, dtype=torch.bfloat16)).dtype == torch.float32
        )
        assert ji.multi_order_interaction(jnp.asarray(v, jnp.float32)).dtype == jnp.float32
        strength = ji.interaction_strength(torch.from_numpy(v))
        np.testing.assert_allclose(strength.numpy(), ji.interaction_strength(v))

    def test_torch_gradient(self, torch):
        v = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(ji.multi_order_interaction, (v,))

    def test_in_jax(self, rng, x64):
        v = jnp.asarray(rng.normal(size=(2, 16)))
        expected = ji.multi_order_interaction(np.asarray(v))
        for f in (ji.multi_order_interaction, jax.vmap(ji.multi_order_interaction)):
            np.testing.assert_allclose(jax.jit(f)(v), expected, atol=1e-14)
        # it is linear: its Jacobian gives it back
        jacobian = jax.jacrev(ji.multi_order_interaction)(v[0])
        np.testing.assert_allclose(jacobian @ v[0], expected[0], atol=1e-13)
        check_grads(jax.jit(ji.multi_order_interaction), (v,), 1)
        check_grads(jax.jit(ji.interaction_strength), (v,), 1)


class TestStrength:
    @given(TABLES, st.floats(0.1, 10) | st.floats(-10, -0.1), st.floats(-100, 100))
    @settings(max_examples=40)
    def test_by_definition_and_laws(self, v, scale, shift):
        v = np.stack([v, v[::-1] ** 2 / 100])
        sizes = np.mean([abs(slow(one)).sum(axis=(1, 2)) for one in v], axis=0)
        if sizes.mean() <= 1e-3 * abs(v).max() or abs(v).max() < 0.1:  # lost beside the shift
            return
        found = ji.interaction_strength(v)
        np.testing.assert_allclose(found, sizes / sizes.mean(), atol=1e-8)
        np.testing.assert_allclose(found.mean(), 1)
        np.testing.assert_allclose(ji.interaction_strength(scale * v + shift), found, atol=1e-7)

    def test_is_absolute_after_the_mean_over_contexts(self):
        # two contexts of one player each, of opposite signs: they cancel
        index = np.arange(16)
        third = np.where(index >> 2 & 1, 1.0, 0.0) - np.where(index >> 3 & 1, 1.0, 0.0)
        v = np.where(index & 3 == 3, third, 0.0)
        assert not ji.multi_order_interaction(v)[:, 0, 1].any()

    def test_of_interactions_is_that_of_their_table(self, rng):
        v = rng.normal(size=(3, 16))
        explained = ji.extract(v, noise_ratio=0.1)
        np.testing.assert_allclose(
            ji.interaction_strength(explained), ji.interaction_strength(v), atol=1e-12
        )

    def test_where_nothing_interacts_is_nan(self):
        for kind in (np.asarray, jnp.asarray):
            assert np.isnan(ji.interaction_strength(kind(np.ones(8, np.float32)))).all()

    def test_of_one_term_is_where_it_is_seen(self):
        """Of the AND of all, only the context of all others sees anything."""
        v = np.zeros(64)
        v[-1] = 3.0
        np.testing.assert_allclose(ji.interaction_strength(v), [0, 0, 0, 0, 5], atol=1e-12)


class TestDifficulty:
    @given(st.integers(2, 40))
    def test_by_definition(self, n):
        expected = [(n - m - 1) / (n * (n - 1) * comb(n - 2, m) ** 0.5) for m in range(n - 1)]
        np.testing.assert_allclose(ji.learning_difficulty(n), expected, rtol=1e-12)
        relative = ji.learning_difficulty(n, relative=True)
        np.testing.assert_allclose(relative, np.array(expected) * n, rtol=1e-12)
        assert relative[0] == 1
        np.testing.assert_allclose(relative[-1], 1 / (n - 1))

    @pytest.mark.parametrize(
        ("n", "lowest", "depth"), [(12, 6, 0.0314), (25, 13, 4.3e-4), (196, 98, 1.3e-29)]
    )
    def test_is_least_for_middle_orders(self, n, lowest, depth):
        relative = ji.learning_difficulty(n, relative=True)
        assert relative.argmin() == lowest
        np.testing.assert_allclose(relative[lowest], depth, rtol=0.02)
        assert np.isfinite(relative).all()

    def test_of_thousands_of_players(self):
        relative = ji.learning_difficulty(5000, relative=True)
        assert np.isfinite(relative).all() and (relative >= 0).all()

    def test_is_what_independent_gradients_give(self, rng):
        n, dimensions = 8, 64
        norms = []
        for m in range(n - 1):
            draws = rng.normal(size=(400, comb(n - 2, m), dimensions)).mean(axis=1)
            share = (n - 1 - m) / (n * (n - 1))
            norms.append(share * np.linalg.norm(draws, axis=1).mean())
        ratio = np.array(norms) / norms[0]
        np.testing.assert_allclose(ratio, ji.learning_difficulty(n, relative=True), rtol=0.05)
