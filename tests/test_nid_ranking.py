# SPDX-License-Identifier: Apache-2.0
"""Weights to ranked interactions, against dictionaries and sets by definition; who is read how."""

import importlib
import math
import os
import warnings
from itertools import combinations, pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxinter.nid import ranking, weights

SLOW_MU = {
    "max": max,
    "rms": lambda w: math.sqrt(math.fsum(x * x for x in w) / len(w)),
    "mean": lambda w: math.fsum(w) / len(w),
    "geometric": lambda w: math.prod(x ** (1 / len(w)) for x in w),
    "harmonic": lambda w: len(w) / math.fsum(1 / x for x in w) if min(w) else 0.0,
    "min": min,
}
averagings = pytest.mark.parametrize("averaging", ranking.AVERAGES)


def slow_any_order(first, z, averaging="min"):
    """Algorithm 1, literally: a dictionary in order of first appearance, then a stable sort."""
    d = {}
    for row, z_r in zip(np.abs(first).tolist(), z.tolist()):
        by_weight = sorted(range(len(row)), key=lambda i, row=row: -row[i])
        for j in range(2, len(row) + 1):
            members = tuple(sorted(by_weight[:j]))
            d[members] = d.get(members, 0.0) + z_r * SLOW_MU[averaging]([row[i] for i in members])
    return sorted(d.items(), key=lambda item: -item[1])


def slow_prune(ranked, most):
    """With a list of the largest sets so far, as the published code has."""
    kept, largest = [], []
    for members, strength in ranked:
        if len(kept) >= most:
            break
        new = set(members)
        if not any(new < old for old in largest):
            largest = [old for old in largest if not old < new] + [new]
            kept.append((members, strength))
    return kept


def slow_pairwise(first, z, averaging="min"):
    p = first.shape[1]
    omega = np.zeros((p, p))
    for i, j in combinations(range(p), 2):
        terms = [z_s * SLOW_MU[averaging]([abs(w[i]), abs(w[j])]) for w, z_s in zip(first, z)]
        omega[i, j] = omega[j, i] = math.fsum(terms)
    return omega


def close(found, slow):
    """The same interactions, none weaker than the next, with the same strengths up to rounding."""
    interactions, strengths = found
    assert (np.diff(strengths) <= 0).all()
    slow = dict(slow)
    assert set(interactions) == set(slow) and len(interactions) == len(slow)
    np.testing.assert_allclose(strengths, [slow[i] for i in interactions], rtol=1e-12)


def layers(rng, *sizes):
    """Matrices [out, in] that float32 holds."""
    shapes = [(b, a) for a, b in pairwise(sizes)]
    return [rng.normal(size=s).astype(np.float32).astype(np.float64) for s in shapes]


@st.composite
def networks(draw, most_columns=8):
    """A first layer and z; small whole numbers for ties and zeros, or any numbers."""
    p1, p = draw(st.integers(1, 9)), draw(st.integers(2, most_columns))
    number = draw(st.sampled_from([st.integers(-2, 2), st.floats(-4, 4, allow_subnormal=False)]))
    first = draw(arrays(np.float64, (p1, p), elements=number.map(float)))
    return first, np.abs(draw(arrays(np.float64, p1, elements=number.map(float))))


class TestAggregatedWeights:
    @pytest.mark.parametrize("layer", [1, 2, 3])
    @pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh, jnp.sin])
    def test_lemma_3(self, rng, x64, layer, activation):
        """No output's gradient by a unit is larger; all together do not exceed their sum."""
        matrices = layers(rng, 6, 5, 7, 4, 3)
        z = ranking.aggregated_weights(matrices, layer)

        def above(h):
            for W in matrices[layer:-1]:
                h = activation(jnp.asarray(W) @ h + 0.1)
            return jnp.asarray(matrices[-1]) @ h

        h = jnp.asarray(rng.normal(size=(200, len(matrices[layer - 1]))))
        gradients = np.asarray(jax.vmap(jax.jacrev(above))(h))  # [m, outputs, p_layer]
        assert (np.abs(gradients).sum(axis=1) <= z + 1e-12).all()
        one_output = ranking.aggregated_weights([*matrices[:-1], matrices[-1][:1]], layer)
        assert (np.abs(gradients[:, 0]) <= one_output + 1e-12).all()

    def test_is_reached(self, rng, x64):
        """By weights > 0 where every unit is on."""
        matrices = [np.abs(W) for W in layers(rng, 4, 5, 3, 1)]
        y = lambda h: (jnp.asarray(matrices[2]) @ jax.nn.relu(jnp.asarray(matrices[1]) @ h))[0]  # noqa: E731
        np.testing.assert_allclose(
            jax.grad(y)(jnp.ones(5)), ranking.aggregated_weights(matrices), rtol=1e-12
        )

    def test_the_last_hidden_layer(self):
        assert ranking.aggregated_weights([np.ones((2, 2)), np.array([[1.0, -3]])]).tolist() == [
            1,
            3,
        ]


class TestAnyOrder:
    @given(networks())
    def test_equals_algorithm_1_to_the_bit(self, network):
        slow = slow_any_order(*network)
        interactions, strengths = ranking.any_order(*network, prune=False, max_interactions=None)
        assert list(zip(interactions, strengths.tolist())) == slow
        top = ranking.any_order(*network, prune=False, max_interactions=3)
        assert list(zip(*top)) == slow[:3]

    @given(networks(), st.integers(1, 12))
    def test_pruning_equals_the_slow_one(self, network, most):
        slow = slow_any_order(*network)
        for limit in (most, 10**6):
            expected = slow_prune(slow, limit)
            found = ranking.any_order(*network, max_interactions=limit)
            assert list(zip(found[0], found[1].tolist())) == expected
            again = ranking.prune([i for i, _ in slow], [s for _, s in slow], limit)
            assert list(zip(again[0], again[1].tolist())) == expected
        with pytest.MonkeyPatch.context() as patch:
            for block in (1, 2, 5):
                patch.setattr(ranking, "BLOCK", block)
                every = ranking.any_order(*network, max_interactions=None)
                assert list(zip(every[0], every[1].tolist())) == expected

    @averagings
    @settings(max_examples=40)
    @given(network=networks())
    def test_averages(self, averaging, network):
        found = ranking.any_order(*network, averaging=averaging, prune=False, max_interactions=None)
        close(found, slow_any_order(*network, averaging))

    @pytest.mark.parametrize("p", [63, 64, 65, 130])
    def test_many_columns(self, rng, p):
        """Keys are bits up to 64 columns, then random; units that share their top columns."""
        order = np.argsort(rng.normal(size=p))
        first = np.stack([np.roll(order, k) for k in (0, 0, 1, 5, p // 2)]) * 1.0
        first[1, :3] = first[0, :3]
        first[1] *= rng.choice([-1, 1], p)
        first[2, order[:4]] = 0
        z = rng.random(5)
        slow = slow_any_order(first, z)
        assert len(slow) < 5 * (p - 1)  # some were proposed by several
        found = ranking.any_order(first, z, prune=False, max_interactions=None)
        assert list(zip(found[0], found[1].tolist())) == slow
        found = ranking.any_order(first, z, max_interactions=50)
        assert list(zip(found[0], found[1].tolist())) == slow_prune(slow, 50)

    def test_pruning_by_many_blocks(self, rng):
        """A full interaction at the top covers thousands of candidates below it."""
        first = np.concatenate([np.ones((1, 40)), rng.random((60, 40))])
        z = np.concatenate([[1e3], rng.random(60)])
        slow = slow_any_order(first, z)
        found = ranking.any_order(first, z)
        assert list(zip(found[0], found[1].tolist())) == slow_prune(slow, 100)
        z[0] = 0
        assert len(ranking.any_order(first, z)[0]) == 100

    @given(networks())
    def test_proposed_strengths(self, network):
        interactions, strengths = ranking.any_order(*network, prune=False, max_interactions=None)
        got = ranking.proposed_strengths(interactions, *network)
        np.testing.assert_array_equal(got, strengths)
        every = [c for k in range(2, 4) for c in combinations(range(network[0].shape[1]), k)]
        d = dict(zip(interactions, strengths))
        got = ranking.proposed_strengths(every, *network)
        np.testing.assert_array_equal(got, [d.get(c, 0.0) for c in every])

    def test_stacked_trials_are_their_mean(self, rng):
        firsts, zs = rng.normal(size=(3, 8, 5)), rng.random((3, 8))
        mean = {}
        for first, z in zip(firsts, zs):
            for members, strength in slow_any_order(first, z):
                mean[members] = mean.get(members, 0) + strength / 3
        stacked = ranking.any_order(
            np.concatenate(firsts), np.concatenate(zs) / 3, prune=False, max_interactions=None
        )
        close(stacked, mean.items())

    @pytest.mark.parametrize("d", [3, 4])
    def test_theorem_4(self, rng, d):
        """Of the subsets of I that are one smaller, one is ranked lower or was not proposed."""
        met = ranked = 0
        for _ in range(300):
            first = rng.random((rng.integers(2, 7), d + 2))
            first[:, :d] += rng.random()
            z = rng.random(len(first))
            found = ranking.any_order(first, z, prune=False, max_interactions=None)
            d_of = dict(zip(*found))
            own = [dict(slow_any_order(first[[r]], z[[r]])) for r in range(len(first))]
            for members in filter(lambda members: len(members) == d, d_of):
                subsets = [s for s in combinations(members, d - 1) if s in d_of]
                pairs = [(o.get(members, 0), o[s]) for o in own for s in subsets if s in o]
                if all(whole > part / d for whole, part in pairs):
                    met += 1
                    ranked += len(subsets) == d
                    assert len(subsets) < d or any(d_of[members] > d_of[s] for s in subsets)
        assert met > 100 and ranked > 5


class TestPairwise:
    @averagings
    @settings(max_examples=40)
    @given(network=networks())
    def test_equals_the_definition(self, averaging, network):
        got = ranking.pairwise(*network, averaging)
        np.testing.assert_allclose(got, slow_pairwise(*network, averaging), rtol=1e-12)
        np.testing.assert_array_equal(got, got.T)

    @averagings
    def test_batches_and_blocks(self, rng, averaging):
        first, z = rng.normal(size=(2, 3, 7, 6)), rng.random((2, 3, 7))
        whole = ranking.pairwise(first, z, averaging)
        for i in np.ndindex(2, 3):
            np.testing.assert_allclose(whole[i], slow_pairwise(first[i], z[i], averaging))
        for units in (30_000, 70_000):  # two pairs at a time, one
            wide, z = rng.normal(size=(units, 5)), rng.random(units)
            got = ranking.pairwise(wide, z, averaging)
            parts = [ranking.pairwise(wide[k::30], z[k::30], averaging) for k in range(30)]
            np.testing.assert_allclose(got, sum(parts), rtol=1e-10)

    def test_appendix_b(self):
        """min is what the best quadratic fit of a ReLU gives its product, up to 0.6 to 0.75."""
        x = (np.arange(300) + 0.5) / 150 - 1
        x1, x2 = (g.ravel() for g in np.meshgrid(x, x))
        design = np.stack([np.ones_like(x1), x1, x2, x1**2, x2**2, x1 * x2], axis=1)
        for a1, a2 in [(1.0, 1.0), (1.0, -0.5), (-0.2, 0.7), (0.01, 2.0), (-1.5, -1.0)]:
            relu = np.maximum(a1 * x1 + a2 * x2, 0)
            beta = np.linalg.lstsq(design, relu, rcond=None)[0][5]
            low, high = sorted([a1**2, a2**2])
            strength = ranking.pairwise(np.array([[a1, a2]]), np.ones(1))[0, 1]
            assert abs(beta) == pytest.approx(0.75 * (1 - low / (5 * high)) * strength, rel=1e-3)
            assert 0.599 < abs(beta) / strength < 0.751


class TestAveragingFunctions:
    @averagings
    @given(st.lists(st.floats(0, 1e3), min_size=2, max_size=6), st.integers(0, 5))
    def test_monotone_and_zero(self, averaging, w, i):
        mu = lambda w: ranking._MU[averaging].prefixes(np.sort(w)[::-1].astype(float))[-1]  # noqa: E731
        value, slack = mu(w), 1 + 1e-12
        if np.min(w) > 1e-140 or averaging != "rms":  # whose squares vanish below
            assert min(w) <= value * slack + 1e-300 and value <= max(w) * slack
        larger = list(w)
        larger[i % len(w)] *= 1.5
        assert value <= mu(larger) * slack
        larger[i % len(w)] = 0
        if averaging in ("geometric", "harmonic", "min"):
            assert mu(larger) == 0

    def test_extreme_weights(self):
        """Products and powers that a float does not hold."""
        for w in ([1e-300] * 5, [1e300, 1e-300, 1e-300], [1e-320, 1e-322]):
            w = np.array(w)
            with np.errstate(all="raise", under="ignore", divide="ignore", over="ignore"):
                got = [ranking._MU[m].prefixes(w)[-1] for m in ("geometric", "min", "max")]
            exact = np.exp(np.log(w).mean())
            np.testing.assert_allclose(got, [exact, w[-1], w[0]], rtol=1e-12)

    @averagings
    def test_rescaled_relu_units(self, rng, averaging):
        """Row r of W1 times c > 0, column r of W2 divided by c: the same function."""
        matrices = layers(rng, 6, 9, 4, 2)
        c = np.exp(rng.normal(size=9))
        scaled = [matrices[0] * c[:, None], matrices[1] / c, matrices[2]]
        options = dict(averaging=averaging, prune=False, max_interactions=10**6)
        one, other = (ranking.rank(x, **options) for x in (matrices, scaled))
        close((other.interactions, other.strengths), zip(one.interactions, one.strengths))
        np.testing.assert_allclose(one.pairwise, other.pairwise, rtol=1e-12)
        assert not np.allclose(one.aggregated_weights, other.aggregated_weights)


@given(networks(), st.data())
def test_grouped(network, data):
    first, _ = network
    q = first.shape[1]
    columns = np.array(data.draw(st.permutations([*range(q // 2 + 1), *range((q - 1) // 2)])))
    got = ranking.grouped(first, columns)
    expected = [np.sqrt((first[:, columns == c] ** 2).sum(axis=1)) for c in range(q // 2 + 1)]
    np.testing.assert_allclose(got, np.stack(expected, axis=1), rtol=1e-12, atol=1e-150)
    alone = [c for c in range(q // 2 + 1) if (columns == c).sum() == 1]
    inputs = [columns.tolist().index(c) for c in alone]
    np.testing.assert_array_equal(got[:, alone], np.abs(first[:, inputs]))
    np.testing.assert_array_equal(ranking.grouped(first[None], columns)[0], got)


class TestRank:
    def test_any_order(self, rng):
        matrices = layers(rng, 6, 20, 5, 1)
        z = np.abs(matrices[2]) @ np.abs(matrices[1])
        got = ranking.rank(matrices)
        slow = slow_prune(slow_any_order(matrices[0], z[0]), 100)
        assert list(zip(got.interactions, got.strengths.tolist())) == slow
        np.testing.assert_array_equal(got.aggregated_weights, z[0])
        np.testing.assert_array_equal(got.pairwise, ranking.pairwise(matrices[0], z[0]))
        top = ranking.rank(matrices, max_interactions=1)
        assert top.interactions == got.interactions[:1]
        assert len(ranking.rank(layers(rng, 40, 30, 1), prune=False)) == 100

    @averagings
    def test_pairwise(self, rng, averaging):
        matrices = layers(rng, 16, 8, 1)
        got = ranking.rank(matrices, order="pairwise", averaging=averaging)
        omega = slow_pairwise(matrices[0], np.abs(matrices[1][0]), averaging)
        expected = sorted(combinations(range(16), 2), key=lambda pair: -omega[pair])
        assert got.interactions == tuple(expected)
        np.testing.assert_allclose(got.strengths, [omega[pair] for pair in expected])
        top = ranking.rank(matrices, order="pairwise", averaging=averaging, max_interactions=3)
        assert top.interactions == tuple(expected[:3])

    def test_pairwise_ties_in_order_of_columns(self, rng):
        first = rng.integers(0, 3, (2, 30)) * 1.0
        got = ranking.rank([first, np.ones((1, 2))], order="pairwise")
        omega = slow_pairwise(first, np.ones(2))
        expected = sorted(combinations(range(30), 2), key=lambda pair: -omega[pair])
        assert got.interactions == tuple(expected)

    def test_groups(self, rng):
        matrices, groups = layers(rng, 5, 7, 1), np.array([0, 2, 2, 1, 0])
        got = ranking.rank(matrices, groups=groups, column_names="abc")
        first = ranking.grouped(matrices[0], groups)
        same = ranking.rank([first, matrices[1]])
        np.testing.assert_array_equal(got.strengths, same.strengths)
        assert got.interactions == tuple(tuple("abc"[i] for i in x) for x in same.interactions)
        assert got.pairwise.shape == (3, 3) and got.column_names == ("a", "b", "c")

    def test_what_it_shows(self, library):
        pandas = library("pandas")
        W1 = [[2.0, -3.0, 0.0], [0.0, 0.5, 1.0]]
        got = ranking.rank([W1, [1.0, -1.0]], column_names=["x", "y", "z"])
        assert got.top(1) == [(("x", "y"), 2.0)] and got.top(0) == []
        assert str(got).splitlines() == [
            "         2  x, y",
            "       0.5  y, z",
            "         0  x, y, z",
        ]
        frame = got.to_pandas()
        assert frame.columns.tolist() == ["rank", "interaction", "order", "strength"]
        assert frame["rank"].tolist() == [1, 2, 3] and frame["order"].tolist() == [2, 2, 3]
        assert frame["interaction"].tolist() == list(got.interactions)
        pairs = ranking.rank([W1, [1.0, -1.0]], order="pairwise").to_pandas()
        assert isinstance(pairs, pandas.DataFrame) and pairs["interaction"].tolist()[0] == (0, 1)


def same(network, matrices, names=None):
    """Whether a network is read as these matrices."""
    read = weights.read("call", network)
    assert read.column_names == names
    assert len(read.matrices) == len(matrices)
    for got, expected in zip(read.matrices, matrices):
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, expected)
    ours, theirs = ranking.rank(network), ranking.rank(matrices, column_names=names)
    assert ours.interactions == theirs.interactions
    np.testing.assert_array_equal(ours.strengths, theirs.strengths)


def nnx_linear(W):
    kernel = jnp.asarray(W.T, jnp.float32)
    return nnx.Linear(*kernel.shape, kernel_init=lambda *_: kernel, rngs=nnx.Rngs(0))


def torch_linear(torch, W):
    layer = torch.nn.Linear(*W.shape[::-1])
    layer.weight.data = torch.tensor(W, dtype=torch.float32)
    return layer


@pytest.fixture
def matrices(rng):
    return layers(rng, 5, 8, 6, 2)


class TestLists:
    def test_arrays(self, matrices):
        same(matrices, matrices)
        same(tuple(W.tolist() for W in matrices), matrices)
        same([jnp.asarray(W, jnp.float32) for W in matrices], matrices)
        half = [W.astype(np.float16) for W in matrices]
        same([jnp.asarray(W) for W in half], [W.astype(np.float64) for W in half])

    def test_last_vector(self, matrices):
        same([*matrices[:2], matrices[2][0]], [*matrices[:2], matrices[2][:1]])

    def test_tensors(self, matrices, torch):
        tensors = [torch.tensor(W, requires_grad=True) for W in matrices]
        same(tensors, matrices)
        same([x.detach().to(torch.bfloat16).double() for x in tensors], [
            x.detach().to(torch.bfloat16).double().numpy() for x in tensors
        ])  # fmt: skip

    def test_interaction_mlp(self, matrices):
        same(SimpleNamespace(interaction_mlp=matrices, main_effects=[np.ones(3)]), matrices)


class TestFlax:
    def test_nnx(self, matrices):
        first, second, third = map(nnx_linear, matrices)
        same(nnx.Sequential(first, jax.nn.relu, second, nnx.Dropout(0.5, rngs=nnx.Rngs(0)), third), matrices)  # fmt: skip

        class Net(nnx.Module):
            def __init__(self):
                self.into, self.between, self.again, self.about = first, second, first, third

        same(Net(), matrices)  # as assigned, not by the alphabet
        same(nnx.state(nnx.Sequential(first, second, third)), matrices)
        same(SimpleNamespace(interaction_mlp=Net()), matrices)

    def test_numbers_in_names(self, rng):
        matrices = layers(rng, 3, *range(4, 16), 1)

        class Net(nnx.Module):
            def __init__(self):
                for i in sorted(range(len(matrices)), key=str):
                    setattr(self, f"layer{i}", nnx_linear(matrices[i]))

        same(Net(), matrices)
        same(nnx.clone(Net()), matrices)
        net = nnx.Module()
        net.hidden, net.out = nnx.List(map(nnx_linear, matrices[:-1])), nnx_linear(matrices[-1])
        same(net, matrices)
        dense = {f"Dense_{i}": {"kernel": W.T, "bias": W[:, 0]} for i, W in enumerate(matrices)}
        same({"params": {key: dense[key] for key in sorted(dense)}}, matrices)

    def test_linen(self, rng):
        class Net(linen.Module):
            @linen.compact
            def __call__(self, x):
                for size in (7, 6, 5):
                    x = linen.relu(linen.Dense(size)(x))
                return linen.Dense(1)(x)

        variables = Net().init(jax.random.key(0), jnp.ones((1, 4)))
        kernels = [np.float64(variables["params"][f"Dense_{i}"]["kernel"]).T for i in range(4)]
        for given_ in (variables, variables["params"], (Net(), variables)):
            same(given_, kernels)
        same({"params": {"interaction_mlp": variables["params"], "rest": np.ones(3)}}, kernels)

    @pytest.mark.parametrize(
        ("kind", "make"),
        [
            ("Conv", lambda r: nnx.Conv(4, 4, (3,), rngs=r)),
            ("BatchNorm", lambda r: nnx.BatchNorm(4, rngs=r)),
            ("Embed", lambda r: nnx.Embed(4, 4, rngs=r)),
            ("LinearGeneral", lambda r: nnx.LinearGeneral(4, 4, rngs=r)),
            ("LoRALinear", lambda r: nnx.LoRALinear(4, 4, lora_rank=1, rngs=r)),
        ],
    )
    def test_others_are_refused_by_name(self, kind, make):
        r = nnx.Rngs(0)
        net = nnx.Sequential(nnx.Linear(3, 4, rngs=r), make(r), nnx.Linear(4, 1, rngs=r))
        with pytest.raises(ValueError, match=rf"nid.rank: weights .* got a {kind} at 'layers.1"):
            ranking.rank(net)

    def test_attention_is_refused(self):
        net = nnx.Module()
        net.mix = nnx.MultiHeadAttention(2, 4, decode=False, rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match=r"LinearGeneral at 'mix.query"):
            ranking.rank(net)


class TestTorch:
    def sequential(self, torch, matrices):
        nn = torch.nn
        first, second, third = (torch_linear(torch, W) for W in matrices)
        inner = nn.Sequential(second, nn.LeakyReLU(), nn.Identity())
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Dropout(), inner, third)

    def test_sequential(self, torch, matrices):
        network = self.sequential(torch, matrices)
        same(network, matrices)
        same(network.state_dict(), matrices)
        assert all(m.training for m in network.modules())
        same(torch.nn.Sequential(network, torch.nn.LogSoftmax(-1)).eval(), matrices)

    def test_functions(self, torch, matrices):
        nn, F = torch.nn, torch.nn.functional
        first, second, third = (torch_linear(torch, W) for W in matrices)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.third, self.second, self.first = third, second, first  # not as used
                self.act = nn.Tanh()

            def forward(self, x, unused=None):
                x = x.view(x.size(0), -1).float()
                x = self.act(self.first(x))
                x = F.dropout(self.act(self.second(x)), 0.1).relu().reshape(x.shape[0], -1)
                return torch.sigmoid(self.third(F.leaky_relu(x))).squeeze(-1)

        same(Net(), matrices)

    def test_state_dict_in_order_of_numbers(self, torch, rng):
        matrices = layers(rng, 3, *range(4, 16), 1)
        state = torch.nn.Sequential(*(torch_linear(torch, W) for W in matrices)).state_dict()
        same({key: state[key] for key in sorted(state)}, matrices)

    def test_interaction_mlp(self, torch, matrices):
        class Net(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.univariate = torch.nn.ModuleList([torch.nn.Linear(1, 2)])
                self.interaction_mlp = inner

            def forward(self, x):
                return self.interaction_mlp(x) + self.univariate[0](x[:, :1])

        network = Net(self.sequential(torch, matrices))
        same(network, matrices)
        same(network.state_dict(), matrices)

    def test_batch_norm(self, torch, rng, matrices):
        """As the network in evaluation: the scales written into the weights beside them."""
        nn = torch.nn
        norms = [nn.BatchNorm1d(n) for n in (5, 8, 8, 6)]
        for norm in norms:
            norm.weight.data = torch.tensor(rng.normal(size=len(norm.weight)))
            norm.running_var = torch.tensor(rng.random(len(norm.weight)))
            norm.double()
        scales = [
            norm.weight.detach().numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
            for norm in norms
        ]
        first, second, third = (torch_linear(torch, W).double() for W in matrices)
        network = nn.Sequential(
            norms[0], first, norms[1], nn.ReLU(), norms[2], nn.Dropout(), second, nn.Identity(),
            norms[3], nn.ReLU(), third,
        )  # fmt: skip
        by_hand = [
            matrices[0] * scales[0] * scales[1][:, None],
            matrices[1] * scales[2] * scales[3][:, None],
            matrices[2],
        ]
        got, expected = ranking.rank(network), ranking.rank(by_hand)
        assert got.interactions == expected.interactions
        np.testing.assert_allclose(got.strengths, expected.strengths, rtol=1e-12)
        network.eval()
        for W, part in zip(by_hand, (network[:3], network[4:9])):  # each is affine
            x = torch.tensor(rng.normal(size=(1, W.shape[1])))
            jacobian = torch.autograd.functional.jacobian(part, x)[0, :, 0].numpy()
            np.testing.assert_allclose(np.abs(jacobian), np.abs(W), rtol=1e-10)

    def test_is_left_as_it_is(self, torch, matrices):
        nn = torch.nn
        first, second, third = (torch_linear(torch, W) for W in matrices)
        network = nn.Sequential(first, nn.BatchNorm1d(8), nn.ReLU(), second.half(), third)
        before = {key: x.clone() for key, x in network.state_dict().items()}
        network[2].eval()
        ranking.rank(network)
        assert [m.training for m in network] == [True, True, False, True, True]
        assert all(torch.equal(x, before[key]) for key, x in network.state_dict().items())
        assert network[3].weight.dtype == torch.float16 and first.weight.requires_grad

    def test_parametrised_layers(self, torch, matrices):
        first, second, third = (torch_linear(torch, W) for W in matrices)
        normed = torch.nn.utils.parametrizations.spectral_norm(second).eval()
        network = torch.nn.Sequential(first, torch.nn.ReLU(), normed, torch.nn.ReLU(), third)
        same(network, [matrices[0], normed.weight.detach().double().numpy(), matrices[2]])
        with pytest.raises(ValueError, match=r"at '2.parametrizations.weight.original'"):
            ranking.rank(network.state_dict())

    def test_what_is_not_a_chain(self, torch):
        nn, F = torch.nn, torch.nn.functional

        def net(forward, **parts):
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
                    for name, part in parts.items():
                        setattr(self, name, part)

            Net.forward = forward
            return Net()

        def gate(self, x):
            return self.b(x) if x.sum() > 0 else self.a(x)

        last = nn.Linear(3, 1)
        cases = [
            (
                lambda s, x: s.b(F.relu(s.a(x)) + x),
                r"got add \('add'\) of relu and x.* list of weight",
            ),
            (lambda s, x: s.b(s.a(x)) * s.a.bias, r"got"),
            (lambda s, x: s.b(s.a(s.a(x))), r"a second use of a Linear at 'a'"),
            (lambda s, x: (s.b(F.relu(s.a(x))), 1), r"got a tuple at 'output'"),
            (lambda s, x: s.b(torch.cat([s.a(x), x])), r"got cat \('cat'\) of a and x"),
            (lambda s, x: s.b(F.relu(s.a(x)) * 2), r"got mul at 'mul'"),
            (lambda s, x: s.b(torch.softmax(s.a(x), -1)), r"a softmax before the end at 'softmax'"),
            (lambda s, x: F.relu(s.b(F.relu(s.a(x)))) @ torch.ones(3), r"got"),
            (gate, r"torch.fx can trace .* Pass a list of weight matrices"),
        ]
        for forward, message in cases:
            with pytest.raises(ValueError, match=r"nid.rank: weights .*" + message):
                ranking.rank(net(forward))
        refused = [
            (nn.Conv1d(3, 3, 1), "Conv1d at"),
            (nn.LSTM(3, 3), "LSTM at"),
            (nn.LayerNorm(3), "LayerNorm at"),
            (nn.Embedding(3, 3), "Embedding at"),
            (nn.BatchNorm1d(3, track_running_stats=False), "without running statistics at"),
            (nn.BatchNorm1d(4), "of 4 channels, not of 3 units at"),
        ]
        for part, message in refused:
            with pytest.raises(ValueError, match=message):
                ranking.rank(nn.Sequential(nn.Linear(3, 3), part, last))
        for units in (1, 3):
            part = nn.Linear(3, units), nn.ReLU(), nn.BatchNorm1d(units)
            with pytest.raises(ValueError, match="a BatchNorm1d after the last activation"):
                ranking.rank(nn.Sequential(nn.Linear(3, 3), *part))

    def test_state_dicts_of_others(self, torch):
        nn = torch.nn
        for part, message in (
            (nn.Conv1d(3, 3, 1), r"an array of shape \(3, 3, 1\) at '1.weight'"),
            (nn.BatchNorm1d(3), r"a normalisation in a state_dict; got '1.weight'. Pass the module"),
            (nn.BatchNorm1d(3, affine=False), r"a normalisation in a state_dict; got '1.running_mean'"),
            (nn.LSTM(3, 3), r"at '1.weight_ih_l0'"),
        ):  # fmt: skip
            network = nn.Sequential(nn.Linear(3, 3), part, nn.Linear(3, 1))
            with pytest.raises(ValueError, match=message):
                ranking.rank(network.state_dict())


class TestSklearn:
    def test_estimators_and_pipelines(self, library, rng):
        library("sklearn")
        pandas = library("pandas")
        from sklearn.compose import ColumnTransformer
        from sklearn.decomposition import PCA
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

        X = pandas.DataFrame(rng.normal(size=(40, 3)), columns=["a", "b", "c"])
        y = rng.integers(0, 3, 40)

        def mlp(kind=MLPRegressor):
            return kind(hidden_layer_sizes=(4, 3), solver="lbfgs", max_iter=2, random_state=0)

        def fitted(model, X=X):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it has not converged
                return model.fit(X, y)

        for kind in (MLPClassifier, MLPRegressor):
            model = fitted(mlp(kind))
            same(model, [W.T for W in model.coefs_], ("a", "b", "c"))
        model = fitted(mlp(), X.to_numpy())
        same(model, [W.T for W in model.coefs_])
        one_hot = ColumnTransformer([("kind", OneHotEncoder(), ["a"])], remainder="passthrough")
        swapped = ColumnTransformer([("first", "passthrough", ["c"])], remainder="passthrough")
        kinds = X.assign(a=np.arange(40) % 2)
        for steps, frame, names in (
            ([StandardScaler()], X, ("a", "b", "c")),
            ([], X, ("a", "b", "c")),
            ([StandardScaler()], X.to_numpy(), None),
            ([PCA(2)], X, ("pca0", "pca1")),
            ([FunctionTransformer(np.tanh)], X, ("a", "b", "c")),
            ([FunctionTransformer(lambda x: x.to_numpy()[:, :2])], X, None),
            ([swapped], X, ("first__c", "remainder__a", "remainder__b")),
            ([one_hot], kinds, ("kind__a_0", "kind__a_1", "remainder__b", "remainder__c")),
        ):
            model = fitted(make_pipeline(*steps, mlp()), frame)
            same(model, [W.T for W in model[-1].coefs_], names)
        got = ranking.rank(model, groups=[0, 0, 1, 2], column_names=["a", "b", "c"])
        assert got.pairwise.shape == (3, 3)
        assert ranking.rank(model, groups=[0, 0, 1, 2]).column_names is None
        for unfit in (mlp(), make_pipeline(StandardScaler(), mlp())):
            with pytest.raises(ValueError, match="a fitted MLPRegressor; call fit first"):
                ranking.rank(unfit)
        with pytest.raises(TypeError, match="a Pipeline that ends in one; got StandardScaler"):
            ranking.rank(make_pipeline(StandardScaler()))


def test_every_kind_gives_one_ranking(torch, matrices):
    nn = torch.nn
    modules = [torch_linear(torch, W) for W in matrices]
    network = nn.Sequential(modules[0], nn.ReLU(), modules[1], nn.ReLU(), modules[2])
    flax = nnx.Sequential(*map(nnx_linear, matrices))
    dense = {f"Dense_{i}": {"kernel": W.T} for i, W in enumerate(matrices)}
    for kind in (network, network.state_dict(), flax, dense, {"params": dense}):
        same(kind, matrices)


@pytest.mark.skipif(
    "JAXINTER_OFFICIAL_NID" not in os.environ,
    reason="JAXINTER_OFFICIAL_NID: a checkout of mtsang/neural-interaction-detection",
)
@pytest.mark.parametrize(("p", "p1"), [(2, 3), (5, 4), (10, 140), (30, 50), (80, 20)])
def test_equals_the_published_code(rng, monkeypatch, torch, p, p1):
    monkeypatch.syspath_prepend(os.environ["JAXINTER_OFFICIAL_NID"])
    published = importlib.import_module("neural_interaction_detection")
    matrices = layers(rng, p, p1, 6, 1)
    for first in (matrices[0], np.round(matrices[0]), np.round(4 * matrices[0]) / 4):
        network = [first, *matrices[1:]]
        expected = published.get_interactions(network)
        got = ranking.rank(network)
        assert list(zip(got.interactions, got.strengths.tolist())) == [
            (tuple(map(int, members)), float(strength)) for members, strength in expected
        ]
        pairs = dict(published.get_interactions(network, pairwise=True))
        got = ranking.rank(network, order="pairwise")
        np.testing.assert_allclose(got.strengths, [pairs[pair] for pair in got.interactions])
        later = published.preprocess_weights(network)
        everything = published.interpret_interactions(*later)
        unpruned = ranking.rank(network, prune=False, max_interactions=10**6)
        assert list(unpruned.interactions) == [tuple(map(int, x)) for x, _ in everything]


def broken(value, at=(1, 2)):
    W = np.ones((4, 3))
    W[at] = value
    return W


W1, W2 = np.ones((4, 3)), np.ones((1, 4))

# fmt: off
BAD_CALLS = [
    (lambda: ranking.rank([]), ValueError, r"nid.rank: weights must hold at least two matrices, .* hidden layers; got 0"),
    (lambda: ranking.rank([W1]), ValueError, r"at least two matrices, .* got 1"),
    (lambda: ranking.rank([broken(np.nan), W2]), ValueError, r"nid.rank: weights\[0\] must be finite; got nan at \(1, 2\)"),
    (lambda: ranking.rank([W1, W2 * np.inf]), ValueError, r"weights\[1\] must be finite; got inf at \(0, 0\)"),
    (lambda: ranking.rank([W1, np.ones((1, 5))]), ValueError, r"must chain, .* got weights\[0\] \(4, 3\), weights\[1\] \(1, 5\)$"),
    (lambda: ranking.rank([W1.T, W2.T]), ValueError, r"must chain, .* these look like \[in, out\] kernels: pass W.T"),
    (lambda: ranking.rank([W1.T, np.ones((4, 5)), np.ones(5)]), ValueError, r"these look like \[in, out\] kernels"),
    (lambda: ranking.rank([np.ones(3), W2]), ValueError, r"weights\[0\] must be a matrix \[out, in\]; got shape \(3,\)"),
    (lambda: ranking.rank([W1, np.ones((2, 3, 4))]), ValueError, r"weights\[1\] must be a matrix .* got shape \(2, 3, 4\)"),
    (lambda: ranking.rank([np.ones((4, 0)), W2]), ValueError, r"weights\[0\] must be a matrix .* got shape \(4, 0\)"),
    (lambda: ranking.rank([(W1, np.ones(4)), (W2, np.ones(1))]), TypeError, r"weights\[0\] must be a matrix of numbers; got tuple"),
    (lambda: ranking.rank([W1, None]), TypeError, r"weights\[1\] must be a matrix of numbers; got NoneType"),
    (lambda: ranking.rank([W1 * 1j, W2]), TypeError, r"weights\[0\] must hold real numbers .* got dtype complex128"),
    (lambda: ranking.rank([["a", "b"], W2]), TypeError, r"weights\[0\] must hold real numbers"),
    (lambda: ranking.rank(W1), TypeError, r"weights must be a list of matrices \[out, in\], .* got ndarray"),
    (lambda: ranking.rank(linen.Dense(3)), TypeError, r"got Dense. Pass its parameters"),
    (lambda: ranking.rank(None), TypeError, r"got NoneType"),
    (lambda: ranking.rank({}), ValueError, r"at least two matrices, .* got 0"),
    (lambda: ranking.rank({"BatchNorm_0": {"scale": W1[0], "bias": W1[0]}}), ValueError, r"got parameters scale, bias at 'BatchNorm_0'"),
    (lambda: ranking.rank({"Conv_0": {"kernel": np.ones((3, 3, 1, 2))}}), ValueError, r"got parameters kernel at 'Conv_0'"),
    (lambda: ranking.rank([np.ones((4, 1)), W2]), ValueError, r"weights must be of at least two columns; got 1"),
    (lambda: ranking.rank([W1, W2], groups=[0, 0, 0]), ValueError, r"at least two columns; got 1"),
    (lambda: ranking.rank([W1, W2], averaging="median"), ValueError, r"nid.rank: averaging must be one of \('max', 'rms', .*; got 'median'"),
    (lambda: ranking.rank([W1, W2], order="triples"), ValueError, r"nid.rank: order must be one of \('any', 'pairwise'\); got 'triples'"),
    (lambda: ranking.rank([W1, W2], max_interactions=0), ValueError, r"max_interactions must be a whole number >= 1; got 0"),
    (lambda: ranking.rank([W1, W2], max_interactions=2.5), ValueError, r"max_interactions must be a whole number"),
    (lambda: ranking.rank([W1, W2], groups=[0, 1]), ValueError, r"groups must be int \[3\], the column of each input; got int64 \(2,\)"),
    (lambda: ranking.rank([W1, W2], groups=[0.0, 1, 2]), ValueError, r"groups must be int \[3\], .* got float64 \(3,\)"),
    (lambda: ranking.rank([W1, W2], groups=[0, 2, 2]), ValueError, r"groups must hold every column from 0 to 2; got \[0, 2\]"),
    (lambda: ranking.rank([W1, W2], groups=[-1, 0, 1]), ValueError, r"groups must hold every column from 0 to 1; got \[-1, 0, 1\]"),
    (lambda: ranking.rank([W1, W2], column_names=["a", "b"]), ValueError, r"column_names must be 3 different names, one a column; got 2"),
    (lambda: ranking.rank([W1, W2], column_names=["a", "b", "a"]), ValueError, r"column_names must be 3 different names, .* got 3, 2 of them different"),
    (lambda: ranking.aggregated_weights([W1, W2], 2), ValueError, r"nid.aggregated_weights: layer must be from 1 to 1; got 2"),
    (lambda: ranking.aggregated_weights([W1, W2], 0), ValueError, r"layer must be a whole number >= 1; got 0"),
    (lambda: ranking.rank([W1, W2]).top(-1), ValueError, r"Ranking.top: k must be a whole number >= 0; got -1"),
]
# fmt: on


@pytest.mark.parametrize("row", range(len(BAD_CALLS)))
def test_bad_input(row):
    call, error, message = BAD_CALLS[row]
    with pytest.raises(error, match=message):
        call()
