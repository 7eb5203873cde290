# SPDX-License-Identifier: Apache-2.0
"""Stage 7b: interaction indices against their definitions, in values and never in dividends."""

from math import comb, factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import bernoulli

import jaxinter as ji
import reference
from jaxinter.indices import NAMES, index
from reference import size, subsets

N = 4
FULL = 2**N - 1


@pytest.fixture
def v(rng):
    return rng.normal(size=2**N)


# The definitions: of one value table of N players, the index of one set s, with k = max_order.
def derivative(v, s, t):
    """Delta_S v(T) = sum_{L subset S} (-1)^(|S|-|L|) v(T + L), T without players of S."""
    return sum((-1) ** (size(s) - size(part)) * v[t | part] for part in subsets(s))


def cardinal(v, s, weight):
    """sum_{T subset N without S} weight(|T|) Delta_S v(T)."""
    return sum(weight(size(t)) * derivative(v, s, t) for t in subsets(FULL & ~s))


def sii(v, s, k):
    rest = N - size(s)
    return cardinal(v, s, lambda t: factorial(rest - t) * factorial(t) / factorial(rest + 1))


def bii(v, s, k):
    return cardinal(v, s, lambda t: 0.5 ** (N - size(s)))


def chii(v, s, k):
    return cardinal(v, s, lambda t: size(s) / ((size(s) + t) * comb(N, size(s) + t)))


def k_sii(v, s, k):
    """Bordt and von Luxburg, Theorem 6: n-SII from SII by Bernoulli numbers."""
    numbers = bernoulli(k)
    extra = [t for t in subsets(FULL & ~s) if size(s | t) <= k]
    return sum(numbers[size(t)] * sii(v, s | t, k) for t in extra)


def stii(v, s, k):
    if size(s) < k:
        return derivative(v, s, 0)
    return cardinal(v, s, lambda t: k / (N * comb(N - 1, t)))


def faithful(v, s, k, shapley):
    """The effects of order 1 to k whose sums are closest to v in the weighted squares.

    Banzhaf: all coalitions weigh alike, and the constant is free. Shapley: those of t players weigh
    1 / (C(n - 2, t - 1) (n - 1)), and the empty and the full one are met exactly.
    """
    sets = [s for s in range(2**N) if size(s) <= k]
    design = np.array([[float(s & t == s) for s in sets] for t in range(2**N)])
    if not shapley:
        return np.linalg.lstsq(design, v, rcond=None)[0][sets.index(s)]
    weight = [1 / (comb(N - 2, size(t) - 1) * (N - 1)) if 0 < t < FULL else 0 for t in range(2**N)]
    exact = design[[0, FULL]]
    normal = design.T @ (np.array(weight)[:, None] * design)
    # Lagrange's conditions; least squares, for at k = N the weighted part is singular
    system = np.block([[normal, exact.T], [exact, np.zeros((2, 2))]])
    right = np.concatenate([design.T @ (weight * v), v[[0, FULL]]])
    return np.linalg.lstsq(system, right, rcond=None)[0][sets.index(s)]


DEFINITIONS = {
    "Moebius": lambda v, s, k: derivative(v, s, 0),
    "Co-Moebius": lambda v, s, k: derivative(v, s, FULL & ~s),
    "SV": sii,
    "BV": bii,
    "SII": sii,
    "BII": bii,
    "CHII": chii,
    "k-SII": k_sii,
    "STII": stii,
    "FSII": lambda v, s, k: faithful(v, s, k, shapley=True),
    "FBII": lambda v, s, k: faithful(v, s, k, shapley=False),
}


def top_order(name, k):
    return 1 if name in ("SV", "BV") else k


class TestDefinition:
    def test_every_name_has_one(self):
        assert set(DEFINITIONS) == set(NAMES)

    @pytest.mark.parametrize("k", [1, 2, 3, 4])
    @pytest.mark.parametrize("name", NAMES)
    def test_equals_it(self, v, name, k):
        expected = np.zeros(2**N)
        expected[0] = v[0]  # the rule of the empty set, whatever the index
        for s in range(1, 2**N):
            if size(s) <= top_order(name, k):
                expected[s] = DEFINITIONS[name](v, s, k)
        np.testing.assert_allclose(index(v, name, k), expected, atol=1e-12)

    @pytest.mark.parametrize("name", NAMES)
    def test_no_max_order_is_all_of_them(self, v, name):
        np.testing.assert_array_equal(index(v, name), index(v, name, N))
        np.testing.assert_array_equal(index(v, name), index(v, name, N + 3))


class TestLaws:
    """Those that hold at any n: the definitions above are too slow there."""

    @pytest.mark.parametrize("k", [1, 3, 12])
    @pytest.mark.parametrize("name", ["SV", "k-SII", "STII", "FSII"])
    def test_efficiency(self, rng, name, k):
        v = rng.normal(size=2**12)
        np.testing.assert_allclose(index(v, name, k).sum(), v[-1], atol=1e-10)

    @pytest.mark.parametrize("name", ["SII", "CHII", "k-SII", "STII", "FSII"])
    def test_order_1_is_the_shapley_value(self, rng, name):
        v = rng.normal(size=2**9)
        np.testing.assert_allclose(index(v, name, 1), index(v, "SV"), atol=1e-12)

    @pytest.mark.parametrize("name", ["BII", "FBII"])
    def test_order_1_is_the_banzhaf_value(self, rng, name):
        v = rng.normal(size=2**9)
        np.testing.assert_allclose(index(v, name, 1), index(v, "BV"), atol=1e-12)

    @pytest.mark.parametrize("name", ["k-SII", "STII", "FSII", "FBII"])
    def test_what_is_of_order_k_is_met_exactly(self, rng, name):
        m = rng.normal(size=2**9) * (ji.orders(9) <= 3)
        np.testing.assert_allclose(index(ji.zeta(m), name, 3), m, atol=1e-12)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_player_without_effect_has_none(self, rng, name):
        v = np.repeat(rng.normal(size=2**5), 2)  # player 0 changes nothing
        touched = ji.all_masks(6)[:, 0]
        np.testing.assert_allclose(index(v, name, 3)[touched], 0, atol=1e-13)

    def test_a_unanimity_game_is_shared_equally(self):
        m = np.zeros(64)
        m[0b101100] = 6.0
        expected = np.where(ji.orders(6) == 1, 2.0, 0.0) * ((np.arange(64) & 0b101100) > 0)
        np.testing.assert_allclose(index(ji.zeta(m), "SV"), expected, atol=1e-14)


class TestKinds:
    @pytest.mark.parametrize("name", NAMES)
    def test_numpy_keeps_batch_and_dtype(self, rng, name):
        v = rng.normal(size=(2, 3, 32))
        rows = np.stack([[index(x, name, 2) for x in half] for half in v])
        np.testing.assert_array_equal(index(v, name, 2), rows)
        half = index(v.astype(np.float32), name, 2)
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, rows, atol=1e-5)
        assert index(np.arange(8), name).dtype == np.float64
        assert index(np.arange(8, dtype=np.float16), name).dtype == np.float32

    @pytest.mark.parametrize("name", ["k-SII", "BII", "STII"])  # a sum an order, one, or none
    @pytest.mark.usefixtures("x64", "quick_compilation")
    def test_jax_under_jit_and_its_derivative(self, rng, name):
        v = rng.normal(size=(3, 16))

        def of_order_2(x):
            return index(x, name, 2)

        values, back = jax.vjp(jax.jit(of_order_2), jnp.asarray(v))
        np.testing.assert_allclose(values, index(v, name, 2), atol=1e-13)
        # A linear map: the columns are the index of the unit tables
        (gradient,) = back(jnp.asarray(v))
        np.testing.assert_allclose(gradient, v @ index(np.eye(16), name, 2).T, atol=1e-12)

    @pytest.mark.usefixtures("quick_compilation")
    def test_jax_without_x64_and_under_vmap(self, rng):
        v = jnp.asarray(rng.normal(size=(3, 16)), jnp.bfloat16)
        result = jax.jit(jax.vmap(lambda x: index(x, "SV")))(v)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, index(np.asarray(v, np.float32), "SV"), atol=1e-6)

    @pytest.mark.parametrize("name", NAMES)
    def test_torch_and_its_derivative(self, rng, torch, name):
        v = rng.normal(size=(3, 16))
        x = torch.tensor(v, requires_grad=True)
        result = index(x, name, 2)
        assert result.dtype == torch.float64
        np.testing.assert_allclose(result.detach(), index(v, name, 2), atol=1e-13)
        (result * torch.tensor(v)).sum().backward()
        np.testing.assert_allclose(x.grad, v @ index(np.eye(16), name, 2).T, atol=1e-12)
        assert index(x.detach().float(), name).dtype == torch.float32

    def test_another_librarys_array(self, v):
        class Foreign:
            def __dlpack__(self, **arguments):
                return v.__dlpack__(**arguments)

            def __dlpack_device__(self):
                return v.__dlpack_device__()

            def __array_namespace__(self):
                return self

            def from_dlpack(self, x):
                return "of its kind", np.from_dlpack(x)

        kind, result = index(Foreign(), "SV")
        assert kind == "of its kind"
        np.testing.assert_array_equal(result, index(v, "SV"))

    def test_the_values_are_left_as_they_are(self, v):
        before = v.copy()
        index(v, "k-SII", 2)
        np.testing.assert_array_equal(v, before)


class TestEdges:
    @pytest.mark.parametrize("name", NAMES)
    def test_no_player_and_one(self, name):
        np.testing.assert_array_equal(index([3.0], name), [3.0])
        np.testing.assert_array_equal(index([3.0, 5.0], name, 2), [3.0, 2.0])
        np.testing.assert_array_equal(index(np.zeros((0, 4)), name), np.zeros((0, 4)))

    def test_what_is_not_finite_stays_with_the_sets_that_depend_on_it(self, v):
        v[-1] = np.nan
        for name, k in (("Moebius", None), ("STII", N), ("k-SII", N), ("FSII", N)):
            np.testing.assert_array_equal(np.flatnonzero(np.isnan(index(v, name, k))), [FULL])
        for name, orders in (("STII", (2,)), ("BII", (1, 2)), ("SII", (1, 2))):
            bad = np.isnan(index(v, name, 2))
            np.testing.assert_array_equal(bad, np.isin(ji.orders(N), orders))

    def test_moebius_is_mobius(self, v):
        np.testing.assert_array_equal(index(v, "Moebius"), ji.mobius(v))
        np.testing.assert_allclose(index(v, "Moebius"), reference.mobius(v), atol=1e-13)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                (np.ones(4), "Shapley"),
                ValueError,
                r"index: name must be one of Moebius, .*FBII; got",
            ),
            ((np.ones(4), ["SV"]), ValueError, r"index: name must be one of .* got \['SV'\]"),
            ((np.ones(4), "SII", 0), ValueError, r"index: max_order must be .* >= 1; got 0"),
            ((np.ones(4), "SII", 1.5), ValueError, r"index: max_order must be a whole number"),
            ((np.ones((2, 6)), "SII"), ValueError, r"index: values .* 2\*\*n; got shape \(2, 6\)"),
            ((jnp.ones(6), "SII"), ValueError, r"index: values .* got shape \(6,\)"),
            ((3.0, "SII"), ValueError, r"index: values .* got shape \(\)"),
            ((np.ones(4, complex), "SII"), TypeError, r"index: values must hold real numbers"),
        ],
    )
    def test_errors(self, arguments, error, message):
        with pytest.raises(error, match=message):
            index(*arguments)
