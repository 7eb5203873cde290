# SPDX-License-Identifier: Apache-2.0
"""Stage 7b: interaction indices against their definitions, in values and never in dividends."""

from dataclasses import replace
from itertools import accumulate, permutations
from math import comb, factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import bernoulli

import jaxinter as ji
import reference
from jaxinter.indices import NAMES, all_indices, index
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


def kadd_shap(v, s, k):
    """The Shapley interaction index of the game that FSII adds up to."""
    sets = [t for t in range(1, 2**N) if size(t) <= k]
    effects = {t: faithful(v, t, k, shapley=True) for t in sets}
    fitted = [v[0] + sum(effects[t] for t in subsets(u) if t in effects) for u in range(2**N)]
    return sii(fitted, s, k)


def walsh(v, s, k):
    return np.mean([(-1) ** size(s & t) * v[t] for t in range(2**N)])


def generalised(v, s, weight):
    """sum_{T subset N without S} weight(|T|) (v(T + S) - v(T))."""
    return sum(weight(size(t)) * (v[t | s] - v[t]) for t in subsets(FULL & ~s))


def sgv(v, s, k):
    rest = N - size(s)
    return generalised(v, s, lambda t: factorial(rest - t) * factorial(t) / factorial(rest + 1))


def bgv(v, s, k):
    return generalised(v, s, lambda t: 0.5 ** (N - size(s)))


def chgv(v, s, k):
    """Over all orders in which players come: what S adds to those there when its last one comes."""
    orders = [[1 << i for i in order] for order in permutations(range(N))]
    there = [next(t for t in accumulate(order) if s & t == s) for order in orders]
    return np.mean([v[t] - v[t & ~s] for t in there])


def joint_sv(v, s, k):
    """Harris et al.: blocks of up to k players come one by one, each of those left as likely."""
    here, added = np.zeros(2**N), 0.0  # how likely just these players are there at some time
    here[0] = 1.0
    for t in sorted(range(FULL), key=size):
        blocks = [b for b in subsets(FULL & ~t) if 1 <= size(b) <= k]
        for block in blocks:
            here[t | block] += here[t] / len(blocks)
            added += (block == s) * here[t] / len(blocks) * (v[t | s] - v[t])
    return added


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
    "kADD-SHAP": kadd_shap,
    "Walsh": walsh,
    "SGV": sgv,
    "BGV": bgv,
    "CHGV": chgv,
    "IGV": lambda v, s, k: v[s] - v[0],
    "EGV": lambda v, s, k: v[FULL] - v[FULL & ~s],
    "JointSV": joint_sv,
}
GENERALISED = ["SGV", "BGV", "CHGV", "IGV", "EGV", "JointSV"]


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
    @pytest.mark.parametrize("name", ["SV", "k-SII", "STII", "FSII", "JointSV"])
    def test_efficiency(self, rng, name, k):
        v = rng.normal(size=2**12)
        np.testing.assert_allclose(index(v, name, k).sum(), v[-1], atol=1e-10)

    @pytest.mark.parametrize(
        "name", ["SII", "CHII", "k-SII", "STII", "FSII", "kADD-SHAP", "SGV", "CHGV", "JointSV"]
    )
    def test_order_1_is_the_shapley_value(self, rng, name):
        v = rng.normal(size=2**9)
        np.testing.assert_allclose(index(v, name, 1), index(v, "SV"), atol=1e-12)

    @pytest.mark.parametrize("name", ["BII", "FBII", "BGV"])
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
        if name in GENERALISED:  # a block with the others adds what they add, but for CHGV, JointSV
            touched &= ji.orders(6) == 1
        np.testing.assert_allclose(index(v, name, 3)[touched], 0, atol=1e-13)

    @pytest.mark.parametrize("name", ["SGV", "BGV", "IGV", "EGV"])
    def test_a_player_without_effect_adds_none_to_a_block(self, rng, name):
        with_, without = index(np.repeat(rng.normal(size=2**5), 2), name).reshape(-1, 2).T[::-1]
        np.testing.assert_allclose(with_[1:], without[1:], atol=1e-13)

    @pytest.mark.parametrize("name", ["FSII", "kADD-SHAP"])
    def test_of_a_fit_of_higher_order_is_that_of_the_game(self, rng, name):
        v = rng.normal(size=2**7)
        fitted = ji.zeta(index(v, "FSII", 3))  # a projection: of a smaller space, once more
        np.testing.assert_allclose(index(fitted, name, 2), index(v, name, 2), atol=1e-11)

    @given(st.integers(0, 6), st.sampled_from(NAMES), st.integers(1, 7), st.integers(0, 2**32))
    @settings(max_examples=60)
    def test_linear_and_the_same_for_every_player(self, n, name, k, seed):
        rng = np.random.default_rng(seed)
        u, v, (a, b) = rng.normal(size=2**n), rng.normal(size=2**n), rng.normal(size=2)
        combined = a * index(u, name, k) + b * index(v, name, k)
        np.testing.assert_allclose(index(a * u + b * v, name, k), combined, atol=1e-11)
        renamed = ji.encode(ji.all_masks(n)[:, rng.permutation(n)]) if n else [0]
        np.testing.assert_allclose(
            index(v[renamed], name, k), index(v, name, k)[renamed], atol=1e-11
        )

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_generalised_values_of_16_players(self, rng, k):
        """By long double Mobius coefficients m: sum_{R meets S} c(|R without S|, |S|) m(R)."""
        n, v, sets = 16, rng.normal(size=2**16), [1 << 15, 0b11, 0b1010000001][k - 1 : k]
        m = v.astype(np.longdouble)
        for i in range(n):
            pairs = m.reshape(-1, 2, 1 << i)
            pairs[:, 1] -= pairs[:, 0]
        c = {
            "SGV": lambda r, s: np.longdouble(1) / (r + 1),
            "BGV": lambda r, s: np.longdouble(2) ** -r,
            "CHGV": lambda r, s: np.longdouble(s) / (s + r),
            "IGV": lambda r, s: r == 0,
            "EGV": lambda r, s: 1,
        }
        for name, of_order in c.items():
            ours = index(v, name, k)
            for s in sets:
                weights = np.array([of_order(r, size(s)) for r in range(n + 1)], np.longdouble)
                meets = np.flatnonzero(np.arange(2**n) & s)
                expected = (weights[ji.orders(n)[meets & ~s]] * m[meets]).sum()
                assert ours[s] == pytest.approx(float(expected), abs=2e-14), name

    def test_an_offset_costs_no_digits_of_the_differences(self, rng):
        v = rng.integers(-9, 9, size=2**8).astype(float)
        for name in NAMES:
            shifted = index(v + 2.0**40, name, 2)[1:]
            np.testing.assert_allclose(shifted, index(v, name, 2)[1:], atol=1e-11)

    def test_a_unanimity_game_is_shared_equally(self):
        m = np.zeros(64)
        m[0b101100] = 6.0
        expected = np.where(ji.orders(6) == 1, 2.0, 0.0) * ((np.arange(64) & 0b101100) > 0)
        np.testing.assert_allclose(index(ji.zeta(m), "SV"), expected, atol=1e-14)


class TestAllIndices:
    @pytest.mark.parametrize("k", [1, 2, None])
    def test_are_the_single_ones(self, rng, k):
        v = rng.normal(size=(3, 32))
        together = all_indices(v, max_order=k)
        assert tuple(together) == NAMES
        for name, result in together.items():
            np.testing.assert_array_equal(result, index(v, name, k))

    def test_of_some_names_up_to_order_2(self, v):
        together = all_indices(v, ["SGV", "SII"])
        assert list(together) == ["SGV", "SII"]
        for name, result in together.items():
            np.testing.assert_array_equal(result, index(v, name, 2))
            assert not result[ji.orders(N) > 2].any() and result[ji.orders(N) == 2].all()
        assert all_indices(v, []) == {}

    @pytest.mark.usefixtures("x64", "quick_compilation")
    def test_jax_under_jit_and_their_derivatives(self, rng):
        v, cotangent = rng.normal(size=(2, 3, 16))
        together = jax.jit(lambda x: jax.vmap(all_indices)(x))
        results, back = jax.vjp(together, jnp.asarray(v))
        _, tangents = jax.jvp(together, [jnp.asarray(v)], [jnp.asarray(cotangent)])
        for name in NAMES:
            np.testing.assert_allclose(results[name], index(v, name, 2), atol=1e-13)
            np.testing.assert_allclose(tangents[name], index(cotangent, name, 2), atol=1e-13)
            zeros = {other: jnp.zeros((3, 16)) for other in NAMES}
            (gradient,) = back(zeros | {name: jnp.asarray(cotangent)})
            expected = cotangent @ index(np.eye(16), name, 2).T  # the columns: of unit tables
            np.testing.assert_allclose(gradient, expected, atol=1e-12)

    def test_of_tensors(self, rng, torch):
        v = rng.normal(size=(3, 16)).astype(np.float32)
        for name, result in all_indices(torch.tensor(v)).items():
            assert result.dtype == torch.float32
            np.testing.assert_allclose(result, index(v, name, 2), atol=1e-6)

    @pytest.mark.parametrize("names", ["SV", ["SV", "Shapley"], [["SV"]], 3, (n for n in ["SV"])])
    def test_errors(self, names):
        with pytest.raises(
            ValueError, match=r"all_indices: names must be a list of some of Moeb.*; got"
        ):
            all_indices(np.ones(4), names)

    def test_errors_of_values_name_the_call(self):
        with pytest.raises(ValueError, match=r"all_indices: values .* got shape \(6,\)"):
            all_indices(np.ones(6))
        with pytest.raises(TypeError, match=r"all_indices: values must hold real numbers"):
            all_indices(np.ones(4, complex))
        with pytest.raises(ValueError, match=r"all_indices: max_order must be .* >= 1; got 0"):
            all_indices(np.ones(4), max_order=0)


class Foreign:
    """An array of another library."""

    def __init__(self, x):
        self.x = np.ascontiguousarray(x)

    def __dlpack__(self, **arguments):
        return self.x.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()

    def __array_namespace__(self):
        return self

    def from_dlpack(self, x):
        return "of its kind", np.from_dlpack(x)


class TestInteractions:
    """The index of what they explain: their bias and effects, not the residual."""

    @pytest.fixture
    def explained(self, rng):
        return ji.extract(1.0 + rng.normal(size=(3, 16)), noise_ratio=0.1, tol=1e-2)

    def test_dividends_are_the_mobius_transform(self, explained):
        assert abs(explained.residual).max() > 0.01
        table = explained.reconstruct()
        for ours, v in zip(explained.dividends(), table, strict=True):
            np.testing.assert_allclose(ours, reference.mobius(v), atol=1e-12)
        np.testing.assert_array_equal(explained[0].dividends(), explained.dividends()[0])

    @pytest.mark.parametrize("k", [2, None])
    def test_every_index_is_that_of_their_table(self, explained, k):
        table = explained.reconstruct()
        for name, ours in all_indices(explained, max_order=k).items():
            np.testing.assert_allclose(ours, index(table, name, k), atol=1e-12, err_msg=name)
            np.testing.assert_array_equal(ours[:, 0], explained.bias)
            np.testing.assert_array_equal(ours[1], index(explained[1], name, k))

    def test_the_shapley_value_in_the_papers_terms(self, explained):
        for one in explained:
            ours = index(one, "SV")
            for i in range(N):
                with_i = [s for s in range(16) if s >> i & 1]
                both = [(one.and_effects[s] + one.or_effects[s]) / size(s) for s in with_i]
                assert ours[1 << i] == pytest.approx(sum(both), abs=1e-13)

    def test_the_interaction_of_a_pair_in_the_papers_terms(self, explained):
        for one in explained:
            ours = index(one, "SII", 2)
            for pair in [s for s in range(16) if size(s) == 2]:
                above = [s for s in range(16) if s & pair == pair]
                terms = [(one.and_effects[s] - one.or_effects[s]) / (size(s) - 1) for s in above]
                assert ours[pair] == pytest.approx(sum(terms), abs=1e-13)

    def test_of_several_models(self, rng):
        both = ji.extract(rng.normal(size=(2, 2, 8)), joint=True, tol=1e-2)
        table = both.reconstruct()
        for name in ("SII", "SGV"):
            np.testing.assert_allclose(index(both, name), index(table, name), atol=1e-13)

    @pytest.mark.usefixtures("x64", "quick_compilation")
    def test_traced(self, explained):
        ours = jax.jit(all_indices)(jax.tree.map(jnp.asarray, explained))
        for name in NAMES:
            np.testing.assert_allclose(ours[name], index(explained, name, 2), atol=1e-13)
        np.testing.assert_allclose(
            jax.jit(lambda x: x.dividends())(explained), explained.dividends(), atol=1e-13
        )

    def test_of_tensors_and_its_derivative(self, torch, explained):
        names = ("and_effects", "or_effects", "bias")
        leaves = {n: torch.tensor(getattr(explained, n), requires_grad=True) for n in names}
        tensors = replace(explained, **leaves)
        for name in ("SII", "SGV"):
            ours = index(tensors, name, 2)
            np.testing.assert_allclose(ours.detach(), index(explained, name, 2), atol=1e-13)
        gradients = torch.autograd.grad(index(tensors, "SII", 2)[0, 0b0011], leaves.values())
        above = np.array([1 / (size(s) - 1) if s & 3 == 3 else 0.0 for s in range(16)])
        np.testing.assert_allclose(gradients[0][0], above, atol=1e-13)
        np.testing.assert_allclose(gradients[1][0], -above, atol=1e-13)
        assert not gradients[2].any() and not gradients[0][1:].any()

    def test_of_float32(self, explained):
        narrow = jax.tree.map(lambda x: x.astype(np.float32), explained)
        for name, ours in all_indices(narrow).items():
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, index(explained, name, 2), atol=1e-5)

    def test_of_another_librarys_arrays(self, explained):
        numbers = replace(explained, converged=np.ones(3))  # DLPack 0 knows no bool
        for name, (kind, ours) in all_indices(jax.tree.map(Foreign, numbers)).items():
            assert kind == "of its kind"
            np.testing.assert_array_equal(ours, index(explained, name, 2))

    def test_without_players(self):
        result = ji.extract([3.0])
        for ours in all_indices(result).values():
            np.testing.assert_array_equal(ours, [3.0])


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
        kind, result = index(Foreign(v), "SV")
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
        of_one = -1.0 if name == "Walsh" else 2.0
        np.testing.assert_array_equal(index([3.0, 5.0], name, 2), [3.0, of_one])
        np.testing.assert_array_equal(index(np.zeros((0, 4)), name), np.zeros((0, 4)))

    def test_what_is_not_finite_stays_with_the_sets_that_depend_on_it(self, v):
        v[-1] = np.nan
        for name, k in (("Moebius", None), ("STII", N), ("k-SII", N), ("FSII", N)):
            np.testing.assert_array_equal(np.flatnonzero(np.isnan(index(v, name, k))), [FULL])
        for name, orders in (("STII", (2,)), ("BII", (1, 2)), ("SII", (1, 2))):
            bad = np.isnan(index(v, name, 2))
            np.testing.assert_array_equal(bad, np.isin(ji.orders(N), orders))
        v[-1], v[0b0101] = 0.0, np.inf
        assert np.flatnonzero(~np.isfinite(index(v, "IGV"))) == [0b0101]
        assert np.flatnonzero(~np.isfinite(index(v, "EGV"))) == [0b1010]

    def test_moebius_is_mobius(self, v):
        np.testing.assert_array_equal(index(v, "Moebius"), ji.mobius(v))
        np.testing.assert_allclose(index(v, "Moebius"), reference.mobius(v), atol=1e-13)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                (np.ones(4), "Shapley"),
                ValueError,
                r"index: name must be one of Moebius, .*JointSV; got 'Shapley'",
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
