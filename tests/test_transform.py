# SPDX-License-Identifier: Apache-2.0
import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import jaxinter as ji
import reference
from jaxinter import _native, transform
from jaxinter._primitives import _subset_transform_lax, subset_transform

TRANSFORMS = ["mobius", "zeta", "superset_mobius", "superset_zeta", "or_interactions"]
TRANSPOSES = [("mobius", "superset_mobius"), ("zeta", "superset_zeta")]
# 1e-12 and 1e-4 of the sum of absolute terms: float64 and float32 rounding over n <= 12 additions.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-4}

tables = st.integers(0, 7).flatmap(
    lambda n: st.lists(
        st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2**n, max_size=2**n
    ).map(np.array)
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", range(13))
@pytest.mark.parametrize("name", TRANSFORMS)
def test_equals_definition(name, n, dtype, rng):
    v = rng.normal(size=(2 if n <= 8 else 1, 2**n)).astype(dtype)
    expected = np.array([getattr(reference, name)(row.astype(np.float64)) for row in v])
    got = getattr(ji, name)(v)
    assert got.dtype == dtype and got.shape == v.shape
    scale = ji.zeta(np.abs(v.astype(np.float64))).max()
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("n", [13, 15, 16, 17, 18, 19, 21, 22])
def test_large_tables_equal_player_by_player(n, rng):
    """Above the base block and across threads: the plain loop over players, bit for bit."""
    v = rng.normal(size=(1 if n > 20 else 3, 2**n))
    expected = v.copy()
    for player in range(n):
        pairs = expected.reshape(len(v), -1, 2, 2**player)
        pairs[:, :, 1] -= pairs[:, :, 0]
    np.testing.assert_array_equal(ji.mobius(v), expected)


def test_tables_of_24_players(rng):
    v = rng.normal(size=2**24).astype(np.float32)
    out, expected = np.empty_like(v), v.copy()
    for player in range(24):
        pairs = expected.reshape(-1, 2, 2**player)
        pairs[:, 1] -= pairs[:, 0]
    np.testing.assert_array_equal(ji.mobius(v, out=out), expected)
    np.testing.assert_array_equal(ji.mobius(v, out=v), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [4, 10, 16])
def test_rounding_as_documented(n, dtype, rng):
    """Against long double: the norm of the error is of one rounding of the result."""
    v = rng.normal(size=2**n).astype(dtype)
    exact = v.astype(np.longdouble)
    for player in range(n):
        pairs = exact.reshape(-1, 2, 2**player)
        pairs[:, 1] -= pairs[:, 0]
    error = np.linalg.norm((ji.mobius(v) - exact).astype(float))
    assert error <= 1.5 * np.finfo(dtype).eps * np.linalg.norm(exact.astype(float))


def test_calls_from_many_threads_and_from_a_forked_child(tmp_path):
    """The kernel's sleeping threads are shared by callers, and are not there after a fork."""
    code = """if True:
        import os, numpy as np, jaxinter as ji
        from concurrent.futures import ThreadPoolExecutor
        v = np.random.default_rng(0).normal(size=(4, 2**17))
        expected = [ji.mobius(row) for row in v]
        with ThreadPoolExecutor(4) as callers:
            for _ in range(20):
                for got, want in zip(callers.map(ji.mobius, v), expected):
                    assert (got == want).all()
        child = os.fork()
        if child == 0:
            os._exit(0 if (ji.mobius(v) == np.stack(expected)).all() else 1)
        assert os.waitpid(child, 0)[1] == 0
    """
    environment = {**os.environ, "JAXINTER_THREADS": "3"}
    subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, timeout=120
    )


@given(tables)
def test_round_trip(v):
    scale = np.abs(v).sum() + 1
    np.testing.assert_allclose(ji.zeta(ji.mobius(v)), v, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(
        ji.superset_zeta(ji.superset_mobius(v)), v, rtol=0, atol=1e-12 * scale
    )


@given(tables, st.integers(0, 2**32 - 1))
def test_adjoint(v, seed):
    """<A x, y> = <x, A^T y>."""
    y = np.random.default_rng(seed).normal(size=v.shape)
    for name, transpose in TRANSPOSES:
        left, right = getattr(ji, name)(v) @ y, v @ getattr(ji, transpose)(y)
        scale = ji.zeta(np.abs(v)) @ np.abs(y) + 1
        assert abs(left - right) <= 1e-12 * scale * 2 ** (len(v).bit_length() / 2)


@given(tables, st.floats(-10, 10), st.integers(0, 2**32 - 1))
def test_linear(v, a, seed):
    w = np.random.default_rng(seed).normal(size=v.shape)
    for name in TRANSFORMS:
        f = getattr(ji, name)
        expected = a * f(v) + f(w)
        scale = ji.zeta(np.abs(v) * (1 + abs(a)) + np.abs(w)).max()
        np.testing.assert_allclose(f(a * v + w), expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("n", range(9))
@pytest.mark.parametrize(
    "matrix",
    [(1, 0, -1, 1), (1, 0, 1, 1), (1, -1, 0, 1), (1, 1, 0, 1), (0, 1, 1, -1), (1, 1, 0, -1)]
    + [(1, 0, 1, -1), (0.6, 0.8, -0.8, 0.6), (2.0, 0.5, -1.0, 0.0)],
)
def test_kernel_and_lax_equal_dense_kronecker_power(matrix, n, rng):
    factor, dense = np.array(matrix, float).reshape(2, 2), np.ones((1, 1))
    for _ in range(n):
        dense = np.kron(factor, dense)
    v = rng.normal(size=(3, 2**n))
    expected = v @ dense.T
    atol = 1e-13 * (np.abs(v) @ np.abs(dense).T).max()
    got = transform.apply_numpy("test", "v", matrix, v, None)
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)
    with jax.enable_x64(True):
        x = jnp.asarray(v)
        np.testing.assert_array_equal(subset_transform(x, matrix), got)
        lax = jax.jit(lambda x: _subset_transform_lax(x, matrix=matrix))(x)
    np.testing.assert_allclose(lax, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3), (0,)])
def test_batch_axes(batch, rng):
    v = rng.normal(size=(*batch, 16))
    expected = np.array([ji.mobius(row) for row in v.reshape(-1, 16)]).reshape(v.shape)
    np.testing.assert_array_equal(ji.mobius(v), expected)
    assert ji.mobius(jnp.asarray(v, jnp.float32)).shape == v.shape


def test_same_bits_for_any_batch_and_threads(rng, monkeypatch):
    v = rng.normal(size=(300, 2**11)).astype(np.float32)
    whole = ji.mobius(v)
    np.testing.assert_array_equal(whole[17], ji.mobius(v[17]))
    np.testing.assert_array_equal(whole, ji.mobius(jnp.asarray(v)))
    monkeypatch.setenv("JAXINTER_THREADS", "1")
    np.testing.assert_array_equal(whole, ji.mobius(v))


@pytest.mark.parametrize("simd", ["portable", "avx2"])
def test_same_bits_at_every_simd_level(simd, at_simd_levels):
    """The level is chosen when the module loads, so each has a process of its own."""
    code = """if True:
        import sys, numpy as np, jaxinter as ji
        from jaxinter import _native, transform
        print(_native.simd_level())
        rng, parts = np.random.default_rng(0), []
        for n in range(15):
            for dtype in (np.float32, np.float64):
                v = rng.normal(size=(3, 2**n)).astype(dtype)
                for matrix in ((1, 0, -1, 1), (0, 1, 1, -1), (0.6, 0.8, -0.8, 0.6)):
                    parts.append(transform.apply_numpy("test", "v", matrix, v, None).tobytes())
        open(sys.argv[1], "wb").write(b"".join(parts))
    """
    bits = [path.read_bytes() for path in at_simd_levels(code, simd)]
    assert bits[0] == bits[1]


@pytest.mark.parametrize(
    ("given_dtype", "computed"),
    [("int8", "float64"), ("int64", "float64"), ("uint16", "float64"), ("bool", "float64")]
    + [("float16", "float32"), ("bfloat16", "float32"), (">f4", "float32"), (">f8", "float64")],
)
def test_promotion(given_dtype, computed):
    v = np.array([0, 1, 1, 1], dtype=np.dtype(given_dtype))
    got = ji.or_interactions(v)
    assert got.dtype == computed
    np.testing.assert_array_equal(got, [0, 0, 0, 1])


def test_nan_and_infinity_stay_with_the_coalitions_that_depend_on_them():
    for bad in (np.nan, np.inf):
        for n in (3, 6, 9):
            v = np.ones(2**n)
            v[5] = bad
            index = np.arange(2**n)
            supersets = index & 5 == 5
            np.testing.assert_array_equal(~np.isfinite(ji.mobius(v)), supersets)
            np.testing.assert_array_equal(~np.isfinite(ji.zeta(v)), supersets)
            np.testing.assert_array_equal(~np.isfinite(ji.superset_zeta(v)), index & 5 == index)


class TestNumpyArrays:
    def test_out(self, rng):
        v = rng.normal(size=(3, 8))
        expected = ji.mobius(v)
        out = np.empty_like(v)
        assert ji.mobius(v, out=out) is out
        np.testing.assert_array_equal(out, expected)
        w = v.copy()
        ji.mobius(w, out=w)
        np.testing.assert_array_equal(w, expected)

    def test_out_that_overlaps_or_is_strided(self, rng):
        memory = rng.normal(size=20)
        v, expected = memory[:16], ji.mobius(memory[:16].copy())
        ji.mobius(v, out=memory[2:18])
        np.testing.assert_array_equal(memory[2:18], expected)
        strided = np.zeros((16, 2))
        ji.mobius(expected, out=strided[:, 0])
        np.testing.assert_array_equal(strided[:, 0], ji.mobius(expected))
        assert not strided[:, 1].any()

    def test_unpickled_arrays(self, rng):
        v = pickle.loads(pickle.dumps(rng.normal(size=8)))
        np.testing.assert_array_equal(ji.mobius(v, out=np.empty(8)), ji.mobius(v))

    def test_input_of_any_layout_is_left_alone(self, rng):
        base = rng.normal(size=(16, 6))
        misaligned = np.frombuffer(b"x" + base.tobytes(), np.uint8)[1:].view(np.float64)
        reversed_table = base[::-1, 0]
        for v in (base.T, base[:, ::2].T, reversed_table, misaligned[:64]):
            v.flags.writeable = False
            before = v.copy()
            np.testing.assert_array_equal(ji.mobius(v), ji.mobius(before))
            np.testing.assert_array_equal(v, before)


class TestJax:
    def test_x64_is_not_switched_on(self):
        assert not jax.config.jax_enable_x64
        assert ji.mobius(jnp.ones(4)).dtype == jnp.float32
        assert ji.mobius(np.ones(4)).dtype == np.float64

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_derivatives(self, name, rng):
        with jax.enable_x64(True):
            x = jnp.asarray(rng.normal(size=(2, 8)))
            f = getattr(ji, name)
            check_grads(f, (x,), order=2, modes=["fwd", "rev"])
            check_grads(lambda x: jnp.sin(f(x)), (x,), order=2, modes=["fwd", "rev"])
            dense = jax.jacobian(f)(x[0])
            np.testing.assert_allclose(dense @ x[0], f(x[0]), atol=1e-12)
            np.testing.assert_array_equal(jax.jacfwd(f)(x[0]), dense)
            hessian = jax.hessian(lambda x: (f(x) ** 2).sum())(x[0])
            np.testing.assert_allclose(hessian, 2 * dense.T @ dense, atol=1e-12)

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_vmap_jit_and_transpose(self, name, rng):
        with jax.enable_x64(True):
            x = jnp.asarray(rng.normal(size=(3, 8, 2)))
            f = getattr(ji, name)
            expected = np.stack([f(np.asarray(x[:, :, i])) for i in range(2)], axis=-1)
            np.testing.assert_array_equal(jax.jit(jax.vmap(f, 2, 2))(x), expected)
            twice = jax.vmap(jax.vmap(jax.grad(lambda x: f(x)[3] ** 2)), in_axes=2)(x)
            assert twice.shape == (2, 3, 8)
            (transposed,) = jax.linear_transpose(f, x[:, :, 0])(x[:, :, 1])
            left = (f(x[:, :, 0]) * x[:, :, 1]).sum()
            np.testing.assert_allclose(left, (transposed * x[:, :, 0]).sum(), rtol=1e-12)

    def test_lowers_to_the_kernel_where_there_is_one_and_to_xla_elsewhere(self):
        traced = jax.jit(ji.mobius).trace(jnp.ones((2, 8)))
        for platform in ("cpu", "cuda", "tpu"):
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            kernel = platform in _native.PLATFORMS
            assert ("stablehlo.custom_call @jaxinter" in text) == kernel
            assert ("stablehlo.reshape" in text) != kernel

    def test_without_jit(self):
        with jax.disable_jit():
            np.testing.assert_array_equal(ji.mobius(jnp.arange(4.0)), ji.mobius(np.arange(4.0)))
            np.testing.assert_array_equal(ji.extract(np.arange(4.0), tol=1e-2).bias, 0.0)

    def test_under_shard_map(self):
        mesh = jax.make_mesh((1,), ("batch",))
        spec = jax.sharding.PartitionSpec("batch")
        sharding = jax.sharding.NamedSharding(mesh, spec)
        x = jax.device_put(jnp.arange(16.0).reshape(2, 8), sharding)
        f = jax.shard_map(ji.mobius, mesh=mesh, in_specs=spec, out_specs=spec)
        np.testing.assert_array_equal(f(x), ji.mobius(np.arange(16.0).reshape(2, 8)))


class TestTorch:
    def test_tensors_in_and_out(self, torch, rng):
        v = rng.normal(size=(3, 8))
        got = ji.mobius(torch.from_numpy(v))
        assert isinstance(got, torch.Tensor) and got.dtype == torch.float64
        np.testing.assert_array_equal(got.numpy(), ji.mobius(v))
        out = torch.empty(3, 8, dtype=torch.float64)
        assert ji.mobius(torch.from_numpy(v), out=out) is out
        np.testing.assert_array_equal(out.numpy(), ji.mobius(v))
        assert ji.zeta(torch.ones(4, dtype=torch.bfloat16)).dtype == torch.float32
        assert ji.zeta(torch.ones(4, dtype=torch.int32)).dtype == torch.float64

    def test_half_out_is_refused_not_left_unwritten(self, torch):
        half = torch.zeros(4).half()
        with pytest.raises(ValueError, match=r"out must be float32 or float64; got .*float16"):
            ji.mobius(torch.arange(4).half(), out=half)

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch.func's own
    def test_torch_func(self, torch, rng):
        x = torch.from_numpy(rng.normal(size=(2, 8)))
        dense = torch.func.jacrev(ji.mobius)(x[0])
        np.testing.assert_allclose(dense @ x[0], ji.mobius(x[0]))
        np.testing.assert_array_equal(torch.func.jacfwd(ji.mobius)(x[0]), dense)
        np.testing.assert_array_equal(torch.func.vmap(ji.mobius)(x), ji.mobius(x))

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_gradients_twice(self, name, torch, rng):
        x = torch.from_numpy(rng.normal(size=(2, 8))).requires_grad_()
        f = getattr(ji, name)
        assert torch.autograd.gradcheck(f, x)
        assert torch.autograd.gradgradcheck(lambda x: f(x) ** 2, x)
