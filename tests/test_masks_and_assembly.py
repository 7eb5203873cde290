# SPDX-License-Identifier: Apache-2.0
"""Stages 1 to 3: value functions, masks, assembly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import jaxinter as ji
from jaxinter import _native


@pytest.mark.parametrize("n", range(7))
def test_masks_orders_and_indices(n):
    masks = ji.all_masks(n)
    assert masks.shape == (2**n, n)
    assert masks.dtype == bool
    for s in range(2**n):
        assert [i for i in range(n) if masks[s, i]] == [i for i in range(n) if s >> i & 1]
    np.testing.assert_array_equal(ji.orders(n), masks.sum(axis=1))


@given(st.integers(1, 62).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, 2**n - 1))))
def test_encode_inverts_decode(case):
    n, index = case
    mask = ji.decode(index, n)
    assert ji.encode(mask) == index
    assert ji.encode(mask.astype(int)) == index
    assert mask.sum() == bin(index).count("1")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32", "int64"])
@pytest.mark.parametrize("kind", ["numpy", "jax", "traced", "torch"])
def test_masked_inputs_element_by_element(kind, dtype, rng, request):
    x = rng.integers(1, 100, size=(4, 6, 2)).astype(jnp.dtype(dtype))
    baseline = rng.integers(1, 100, size=(6, 2)).astype(x.dtype)
    players = rng.integers(-1, 5, size=(4, 6, 1))
    masks = rng.random((7, 5)) < 0.5
    expected = np.stack([np.broadcast_to(x, x.shape)] * 7).copy()
    for m in range(7):
        for i, j, k in np.ndindex(*x.shape):
            player = players[i, j, 0]
            if player >= 0 and not masks[m, player]:
                expected[m, i, j, k] = baseline[j, k]
    if kind == "torch":
        torch = request.getfixturevalue("torch")
        if dtype == "bfloat16":
            t = torch.from_numpy(x.astype(np.float32)).bfloat16()
            got = ji.masked_inputs(masks, t, baseline.astype(np.float32), players).float().numpy()
        else:
            got = ji.masked_inputs(masks, torch.from_numpy(x), baseline, players).numpy()
    elif kind == "numpy":
        got = ji.masked_inputs(masks, x, baseline, players)
        assert got.dtype == x.dtype
    else:
        with jax.enable_x64(True):
            f = jax.jit(ji.masked_inputs) if kind == "traced" else ji.masked_inputs
            got = f(jnp.asarray(masks), jnp.asarray(x), jnp.asarray(baseline), jnp.asarray(players))
            assert got.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(got, np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("n", [1, 31, 32, 62])
@pytest.mark.parametrize("shape", [(5,), (3, 1000), (2049,), (3, 224, 224)])
def test_masked_inputs_of_any_size_and_number_of_players(n, shape, rng):
    """Across blocks, tasks and the two word widths; strided and read-only inputs."""
    x = rng.normal(size=(2, *shape)).astype(np.float32)[0]
    x.flags.writeable = False
    players = rng.integers(-1, n, size=shape)
    masks = rng.random((n, 9)).T < 0.5
    keep = masks[:, np.maximum(players, 0)] | (players < 0)
    expected = np.where(keep, x, np.float32(0.5))
    np.testing.assert_array_equal(ji.masked_inputs(masks, x, 0.5, players), expected)


@pytest.mark.parametrize("kind", ["numpy", "jax", "traced", "torch", "torch with gradient"])
@pytest.mark.parametrize("n", [1, 20, 31, 40, 62])
def test_bit_packed_masks(n, kind, rng, request):
    """Indices of coalitions say what bool masks say; players above the highest do not matter."""
    masks = rng.random((9, n)) < 0.5
    x, baseline = rng.normal(size=(2, 3, 50)).astype(np.float32)
    players = rng.integers(-1, n, size=(3, 50))
    players[0, 0] = max(n - 2, 0)
    expected = ji.masked_inputs(masks, x, baseline, players)
    indices = ji.encode(masks)
    if kind == "numpy":
        got = ji.masked_inputs(indices, x, baseline, players)
        fewer = np.minimum(players, n // 2)
        np.testing.assert_array_equal(
            ji.masked_inputs(indices, x, baseline, fewer),
            ji.masked_inputs(masks, x, baseline, fewer),
        )
    elif kind.startswith("torch"):
        torch = request.getfixturevalue("torch")
        t = torch.from_numpy(x).requires_grad_(kind != "torch")
        got = ji.masked_inputs(torch.from_numpy(indices), t, torch.from_numpy(baseline), players)
        got = got.detach()
    else:
        with jax.enable_x64(n > 31):
            f = jax.jit(ji.masked_inputs) if kind == "traced" else ji.masked_inputs
            got = f(jnp.asarray(indices), jnp.asarray(x), baseline, jnp.asarray(players))
            masks_of = lambda i: ji.masked_inputs(i[None], x, baseline, players)[0]  # noqa: E731
            np.testing.assert_array_equal(jax.vmap(masks_of)(jnp.asarray(indices)), expected)
    np.testing.assert_array_equal(got, expected)


def test_masks_and_players_of_odd_values(rng):
    """Any byte but 0 is True; any negative player is background."""
    bits = rng.random((5, 17)) < 0.5
    masks = (bits * rng.integers(1, 256, size=bits.shape)).astype(np.uint8).view(np.bool_)
    x, players = np.arange(1.0, 18.0), np.arange(17)
    expected = np.where(bits, x, 0.0)
    np.testing.assert_array_equal(ji.masked_inputs(masks, x, 0.0, players), expected)
    for far in (-2, 1 - 2**32, -(2**40)):
        players = np.array([far, 0, 1])
        for one in (np.arange(3.0), jnp.arange(3.0)):
            got = ji.masked_inputs([[False, False]], one, -1.0, players)
            np.testing.assert_array_equal(got, [[0.0, -1.0, -1.0]])


def test_masked_inputs_into_a_buffer(rng, torch):
    masks, x = rng.random((5, 4)) < 0.5, rng.normal(size=(6,))
    players = [0, 1, 2, 3, -1, 0]
    expected = ji.masked_inputs(masks, x, 0.0, players)
    memory = np.full((5, 12), 7.0)
    for out in (np.empty((5, 6)), memory[:, ::2]):
        assert ji.masked_inputs(masks, x, 0.0, players, out=out) is out
        np.testing.assert_array_equal(out, expected)
    assert (memory[:, 1::2] == 7.0).all()
    overlapping = np.zeros((5, 6))
    overlapping[2] = x
    ji.masked_inputs(masks, overlapping[2], 0.0, players, out=overlapping)
    np.testing.assert_array_equal(overlapping, expected)
    shared = torch.full((2, 3), -7.0)  # the baseline lies in the output
    ji.masked_inputs([7, 0], torch.ones(3), shared[0], [0, 1, 2], out=shared)
    np.testing.assert_array_equal(shared, [[1.0] * 3, [-7.0] * 3])
    out = torch.empty(5, 6, dtype=torch.float64)
    assert ji.masked_inputs(masks, torch.from_numpy(x), 0.0, players, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_a_table_is_evaluated_in_chunks_that_use_one_buffer():
    """2^n inputs never exist at once: 2^12 inputs of 1 MB pass through a buffer of 8."""
    x, players = np.arange(2.0**17), np.arange(2**17) % 12
    buffer = np.empty((8, 2**17))
    seen = []

    def value_fn(masks):
        inputs = ji.masked_inputs(masks, x, 0.0, players, out=buffer[: len(masks)])
        seen.append(inputs.base is buffer)
        return inputs[:, :12].sum(axis=1)

    values = ji.evaluate(value_fn, 12, batch_size=8, probe=False)
    assert len(seen) == 2**9 and all(seen)
    np.testing.assert_array_equal(values, ji.all_masks(12) @ np.arange(12.0))


class TestJaxPrimitive:
    """masked_inputs under every transformation, against jnp.where."""

    @pytest.fixture
    def case(self, rng):
        x, baseline = jnp.asarray(rng.normal(size=(2, 3, 4)))
        players = jnp.asarray(rng.integers(-1, 5, size=(3, 4)))
        masks = jnp.asarray(rng.random((6, 5)) < 0.5)
        keep = np.asarray(masks)[:, np.maximum(players, 0)] | (np.asarray(players) < 0)
        return masks, x, baseline, players, keep

    def test_derivatives(self, case, rng):
        with jax.enable_x64(True):
            masks, x, baseline, players, keep = case
            x, baseline = (jnp.asarray(rng.normal(size=(3, 4))) for _ in range(2))

            def f(x, baseline):
                return jnp.sin(ji.masked_inputs(masks, x, baseline, players))

            check_grads(f, (x, baseline), order=2, modes=["fwd", "rev"])
            weights = jnp.asarray(rng.normal(size=(6, 3, 4)))
            loss = lambda x, b: (weights * ji.masked_inputs(masks, x, b, players)).sum()  # noqa: E731
            to_x, to_baseline = jax.grad(loss, argnums=(0, 1))(x, baseline)
            np.testing.assert_allclose(to_x, np.where(keep, weights, 0).sum(axis=0))
            np.testing.assert_allclose(to_baseline, np.where(keep, 0, weights).sum(axis=0))
            np.testing.assert_allclose(jax.grad(loss)(x, baseline), to_x)

    def test_vmap_over_any_argument(self, case):
        masks, x, baseline, players, keep = case
        xs = jnp.stack([x, 2 * x])
        got = jax.jit(jax.vmap(lambda x: ji.masked_inputs(masks, x, baseline, players)))(xs)
        np.testing.assert_array_equal(got[1], np.where(keep, 2 * x, baseline))
        both = jax.vmap(ji.masked_inputs, (None, 2, None, 2), 3)(
            masks, jnp.stack([x, -x], 2), 0.0, jnp.stack([players, players], 2)
        )
        np.testing.assert_array_equal(both[..., 1], np.where(keep, -x, 0.0))

    def test_lowers_to_the_kernel_where_there_is_one_and_to_xla_elsewhere(self, case):
        masks, x, baseline, players, _ = case
        traced = jax.jit(ji.masked_inputs).trace(masks, x, baseline, players)
        for platform in ("cpu", "cuda", "tpu"):
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            kernel = platform in _native.PLATFORMS
            assert ("custom_call @jaxinter_masked_inputs" in text) == kernel
            assert ("custom_call" in text) == kernel


def test_masks_of_odd_indices():
    assert ji.decode([], 2).shape == (0, 2)
    assert ji.decode(np.uint64([3]), 2).all()


def test_masked_inputs_of_nothing():
    assert ji.masked_inputs(np.ones((0, 2), bool), np.ones(3), 0, [0, 1, 1]).shape == (0, 3)
    assert ji.masked_inputs(np.ones((4, 2), bool), np.ones((0, 3)), 0, 0).shape == (4, 0, 3)


def test_masked_inputs_follow_torch_gradients(torch, rng):
    x = torch.from_numpy(rng.normal(size=4)).requires_grad_()
    baseline = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    masks, players = np.array([[True, False], [False, False]]), np.array([0, 1, 1, -1])
    ji.masked_inputs(masks, x, baseline, players).sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 0, 0, 2])
    np.testing.assert_array_equal(baseline.grad, [1, 2, 2, 0])


def test_masked_inputs_without_players_keeps_the_input():
    out = ji.masked_inputs(np.zeros((1, 0), bool), np.arange(3), 9, -1)
    np.testing.assert_array_equal(out, [[0, 1, 2]])


class TestLogOdds:
    def test_equals_the_definition_and_survives_saturation(self, rng):
        logits = rng.normal(size=(5, 4)) * 3
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(ji.log_odds(logits, 2), np.log(p[:, 2] / (1 - p[:, 2])))
        target = np.array([0, 1, 2, 3, 0])
        chosen = p[np.arange(5), target]
        np.testing.assert_allclose(ji.log_odds(logits, target), np.log(chosen / (1 - chosen)))
        assert ji.log_odds(np.array([300.0, 0.0, -np.inf], np.float32), 0) == 300
        assert ji.log_odds(np.array([-1e30, 0.0]), 0) == -1e30

    def test_narrow_integer_targets(self, rng):
        logits = rng.normal(size=(300,))
        expected = ji.log_odds(logits, 5)
        assert ji.log_odds(logits, np.uint8(5)) == expected
        assert np.isclose(ji.log_odds(jnp.asarray(logits), np.uint8(5)), expected)
        assert ji.log_odds([0.0, -np.inf], 0) == np.inf

    def test_same_in_jax_with_a_gradient(self, rng):
        logits = rng.normal(size=(3, 4)).astype(np.float32)
        expected = ji.log_odds(logits, 1)
        assert expected.dtype == np.float32
        np.testing.assert_allclose(ji.log_odds(jnp.asarray(logits), 1), expected, rtol=1e-5)
        grad = jax.grad(lambda z: ji.log_odds(z, 1).sum())(jnp.asarray(logits))
        np.testing.assert_allclose(grad[:, 1], 1.0)

    def test_same_in_torch(self, rng, torch):
        logits = rng.normal(size=(3, 4)).astype(np.float32)
        expected = ji.log_odds(logits, 1)
        got = ji.log_odds(torch.from_numpy(logits), torch.tensor(1))
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)
