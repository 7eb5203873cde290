# SPDX-License-Identifier: Apache-2.0
"""The fused split: effects and strength by order in one go, against the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import jaxinter as ji
import reference
from jaxinter import _native
from jaxinter._primitives import and_or_effects_composed


def by_definition(v, gamma, delta):
    """One sample, float64, from the formulas of the docstring."""
    half = (v - delta) / 2
    and_effects = reference.mobius(half + gamma)
    or_effects = reference.or_interactions(half - gamma)
    n = len(v).bit_length() - 1
    return and_effects, or_effects, *reference.order_strength(and_effects, or_effects, n)


@pytest.mark.parametrize("kind", ["numpy", "jax", "composed", "torch"])
@pytest.mark.parametrize("with_delta", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 6, 9, 11])
def test_equals_definition(n, with_delta, kind, rng, request):
    v, gamma, delta = rng.normal(size=(3, 2, 2**n))
    delta = delta * 0.1 if with_delta else None
    given_arrays = [v, gamma] + ([delta] if with_delta else [])
    with jax.enable_x64(True):
        if kind == "torch":
            torch = request.getfixturevalue("torch")
            got = ji.and_or_interactions(*map(torch.from_numpy, given_arrays))
        elif kind == "numpy":
            got = ji.and_or_interactions(*given_arrays)
        elif kind == "jax":
            got = jax.jit(ji.and_or_interactions)(*map(jnp.asarray, given_arrays))
        else:
            a, b, sums = and_or_effects_composed(*map(jnp.asarray, given_arrays))
            got = a, b, sums[..., 0, :], sums[..., 1, :]
        for sample in range(2):
            expected = by_definition(v[sample], gamma[sample], delta[sample] if with_delta else 0.0)
            scale = ji.zeta(np.abs(v[sample]) + np.abs(gamma[sample]) + 1).max()
            for one, want in zip(got, expected):
                np.testing.assert_allclose(one[sample], want, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("batch", "n"), [(3, 13), (2, 16), (1, 17), (1, 19), (300, 10), (1, 21)])
def test_large_tables_equal_the_separate_transforms(batch, n, dtype, rng):
    """Effects bit for bit, across parts and panels; sums against numpy in float64."""
    v, gamma, delta = rng.normal(size=(3, batch, 2**n)).astype(dtype)
    for given_delta in (None, delta):
        half = dtype(0.5) * (v if given_delta is None else v - delta)
        expected = ji.and_interactions(half + gamma), ji.or_interactions(half - gamma)
        got = ji.and_or_interactions(v, gamma, given_delta)
        np.testing.assert_array_equal(got.and_effects, expected[0])
        np.testing.assert_array_equal(got.or_effects, expected[1])
        order_of = ji.orders(n)
        for b in range(min(batch, 2)):
            both = np.stack([x[b] for x in expected]).astype(np.float64)
            weights = [np.maximum(sign * both, 0).sum(axis=0) for sign in (1, -1)]
            for side, weight in zip((got.positive, got.negative), weights):
                exact = np.bincount(order_of, weight)[1:]
                np.testing.assert_allclose(
                    side[b], exact, rtol={np.float32: 2e-6, np.float64: 1e-13}[dtype]
                )


def test_sums_of_many_equal_float32_effects_are_exact():
    """Rounding is then all of one sign: 2.5e-6 if float32 sums were never broken off."""
    v = np.zeros(2**24, np.float32)
    v[0] = 1.2345679  # every AND effect is this or its negative
    got = ji.and_or_interactions(v, v / 2)
    count = np.bincount(ji.orders(24))[1:]
    np.testing.assert_allclose(got.positive + got.negative, count * np.float64(v[0]), rtol=1e-6)


@pytest.mark.parametrize("n", [10, 12, 15])
def test_a_batch_that_leaves_the_cache(n, rng):
    """Outputs are then streamed: the same numbers, and nothing beside them is written."""
    v, gamma = rng.normal(size=(2, 2**22 >> n, 2**n)).astype(np.float32)
    got = ji.and_or_interactions(v, gamma)
    one = ji.and_or_interactions(v[7], gamma[7])
    for many, single in zip(got, one):
        np.testing.assert_array_equal(many[7], single)
    half = np.float32(0.5) * v
    np.testing.assert_array_equal(got.and_effects, ji.mobius(half + gamma))
    np.testing.assert_array_equal(got.or_effects, ji.or_interactions(half - gamma))


@pytest.mark.parametrize("n", [5, 11, 16, 18])
def test_same_bits_for_any_batch_and_threads(n, rng, monkeypatch):
    v, gamma = rng.normal(size=(2, 9, 2**n)).astype(np.float32)
    whole = ji.and_or_interactions(v, gamma)
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("JAXINTER_THREADS", threads)
        again = ji.and_or_interactions(v, gamma)
        single = ji.and_or_interactions(v[3], gamma[3])
        for x, y, z in zip(whole, again, single):
            np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(x[3], z)


@pytest.mark.parametrize("simd", ["portable", "avx2"])
def test_every_simd_level(simd, at_simd_levels):
    """Effects to the bit; sums, which lanes add up in another order, to rounding."""
    code = """if True:
        import sys, numpy as np, jaxinter as ji
        from jaxinter import _native
        print(_native.simd_level())
        rng, parts = np.random.default_rng(0), {}
        for n in [*range(14), 18]:
            for dtype in (np.float32, np.float64):
                got = ji.and_or_interactions(*rng.normal(size=(3, 2, 2**n)).astype(dtype))
                parts |= {f"{n}{dtype.__name__}{name}": x for name, x in got._asdict().items()}
        np.savez(open(sys.argv[1], "wb"), **parts)
    """
    files = [np.load(path) for path in at_simd_levels(code, simd)]
    for name in files[0].files:
        if "effects" in name:
            np.testing.assert_array_equal(files[0][name], files[1][name])
        else:
            np.testing.assert_allclose(files[0][name], files[1][name], rtol=2e-6)


@given(st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_laws(n, seed):
    """The parts add up to v, and the sums to the effects."""
    v, gamma = np.random.default_rng(seed).normal(size=(2, 2**n)) * 10
    a, b, positive, negative = ji.and_or_interactions(v, gamma)
    total = np.abs(a[1:]).sum() + np.abs(b[1:]).sum()
    np.testing.assert_allclose(positive.sum() + negative.sum(), total, atol=1e-12 * (total + 1))
    swing = (a[1:] + b[1:]).sum()
    np.testing.assert_allclose(positive.sum() - negative.sum(), swing, atol=1e-12 * (total + 1))
    rebuilt = reference.reconstruct(v[0], np.r_[0, a[1:]], b)
    np.testing.assert_allclose(rebuilt, v, atol=1e-11 * (total + 1))


def test_agrees_with_an_extraction(table):
    """gamma of a solved split gives its effects and its strength by order back."""
    result = ji.extract(table[:2].astype(np.float64), tol=1e-2)
    u_and = ji.zeta(result.and_effects) + result.bias[..., None]
    a, b, positive, negative = ji.and_or_interactions(table[:2], u_and - table[:2] / 2)
    scale = np.abs(table).max()
    np.testing.assert_allclose(a[:, 1:], result.and_effects[:, 1:], atol=1e-10 * scale)
    np.testing.assert_allclose(b, result.or_effects, atol=1e-10 * scale)
    strength = ji.order_strength(result)
    np.testing.assert_allclose(positive, strength.positive, atol=1e-9 * scale)
    np.testing.assert_allclose(negative, strength.negative, atol=1e-9 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity(dtype):
    v = np.ones((2, 2**9), dtype)
    v[0, 5], v[1, 5] = np.nan, np.inf
    got = ji.and_or_interactions(v, np.zeros(2**9, dtype))
    for bad, good in zip(got.and_effects, ji.mobius(v / 2)):
        np.testing.assert_array_equal(bad, good)
    assert np.isnan(got.positive[0, 1:]).all() and np.isnan(got.negative[0, 1:]).all()
    assert np.isfinite(got.positive[0, 0]) == np.isfinite(got.or_effects[0, [1, 2, 4, 8]]).all()


def test_kinds_dtypes_and_broadcasting(torch):
    v = np.arange(8, dtype=np.float32)
    for gamma, dtype in (
        (0, "float32"),
        (0.5, "float32"),
        (np.float32(0), "float32"),
        (v.astype("f2"), "float32"),
    ):
        got = ji.and_or_interactions(v, gamma)
        assert got.and_effects.dtype == dtype and got.positive.dtype == "float64"
    one_gamma = ji.and_or_interactions(np.stack([v, v]), v)
    np.testing.assert_array_equal(one_gamma.or_effects[1], ji.and_or_interactions(v, v).or_effects)
    assert ji.and_or_interactions(jnp.asarray(v), v).positive.dtype == jnp.float32
    for other in (v.astype(">f4"), v[::-1], v.astype("bfloat16"), v.astype(int)):
        expected = ji.and_or_interactions(v, np.array(other, np.float32))
        for one in (jnp.asarray(v), torch.from_numpy(v)):
            got = ji.and_or_interactions(one, other)
            np.testing.assert_allclose(got.or_effects, expected.or_effects, rtol=1e-6)
    tensor = ji.and_or_interactions(torch.arange(8), torch.zeros(8).half())
    assert tensor.positive.dtype == torch.float64
    assert isinstance(ji.and_or_interactions(v, torch.zeros(8)).and_effects, torch.Tensor)
    strided = np.stack([v, v], axis=1)[:, 0]
    np.testing.assert_array_equal(ji.and_or_interactions(strided, v)[1], one_gamma.or_effects[0])


class TestDerivatives:
    def test_jax(self, rng):
        with jax.enable_x64(True):
            v, gamma, delta = jnp.asarray(rng.normal(size=(3, 2, 8)))
            check_grads(ji.and_or_interactions, (v, gamma, delta), order=2, modes=["fwd", "rev"])
            loss = lambda *x: sum((y**2).sum() for y in ji.and_or_interactions(*x))  # noqa: E731
            check_grads(loss, (v, gamma), order=2, modes=["fwd", "rev"])
            one = jax.jit(jax.vmap(ji.and_or_interactions, (0, None), 1))(v, gamma[0])
            np.testing.assert_array_equal(one[0][:, 1], ji.and_or_interactions(v[1], gamma[0])[0])

    def test_of_a_sum_by_an_effect_of_0_is_0(self):
        strength = lambda v: ji.and_or_interactions(v, jnp.zeros(4)).positive.sum()  # noqa: E731
        np.testing.assert_array_equal(jax.grad(strength)(jnp.zeros(4)), 0)

    def test_torch_twice(self, torch, rng):
        arrays = [torch.from_numpy(x).requires_grad_() for x in rng.normal(size=(3, 2, 8))]
        assert torch.autograd.gradcheck(ji.and_or_interactions, arrays)
        squared = lambda *x: [y**2 for y in ji.and_or_interactions(*x)]  # noqa: E731
        assert torch.autograd.gradgradcheck(squared, arrays)
        with torch.no_grad():
            assert not ji.and_or_interactions(*arrays).positive.requires_grad
        plain = ji.and_or_interactions(*(x.detach() for x in arrays))
        for one, other in zip(plain, ji.and_or_interactions(*arrays)):
            np.testing.assert_allclose(one, other.detach(), atol=1e-12)

    def test_torch_vmap(self, torch, rng):
        v, gamma = torch.from_numpy(rng.normal(size=(2, 3, 8)))
        many = torch.func.vmap(ji.and_or_interactions)(v, gamma)
        np.testing.assert_allclose(many[2], ji.and_or_interactions(v, gamma).positive, atol=1e-12)

    def test_export_with_a_batch_of_any_size(self):
        (batch,) = jax.export.symbolic_shape("batch")
        operand = jax.ShapeDtypeStruct((batch, 8), jnp.float32)
        unsafe = jax.export.DisabledSafetyCheck.custom_call("jaxinter_and_or_effects")
        f = jax.jit(ji.and_or_interactions)
        exported = jax.export.export(f, disabled_checks=[unsafe])(operand, operand)
        x = jnp.arange(24.0).reshape(3, 8)
        for one, other in zip(exported.call(x, x), f(x, x)):
            np.testing.assert_array_equal(one, other)

    def test_lowers_to_the_kernel_where_there_is_one_and_to_xla_elsewhere(self):
        x = jnp.ones((2, 8))
        traced = jax.jit(ji.and_or_interactions).trace(x, x)
        for platform in ("cpu", "cuda", "tpu"):
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            kernel = platform in _native.PLATFORMS
            assert ("custom_call @jaxinter_and_or_effects" in text) == kernel
            assert ("custom_call" in text) == kernel
