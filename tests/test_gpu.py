# SPDX-License-Identifier: Apache-2.0
"""What only a GPU can tell: the kernels there give what those of the CPU give.

Skipped where there is none; with JAXINTER_REQUIRE_GPU set (bench/gpu_check.sh), that is an error,
and with JAXINTER_REQUIRE_GPU_TORCH so is a torch without CUDA. The kernels alone, without Python,
are in gpu_kernels_test.cc; what can be known without a GPU is in test_cuda.py and cuda_test.cc.
"""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxinter as ji
from jaxinter import _native, transform
from jaxinter._primitives import subset_transform
from jaxinter.sparse.native import solve_traced

PLATFORM, TORCH_DEVICE = "gpu", "cuda"
TRANSFORMS = ["mobius", "zeta", "superset_mobius", "superset_zeta", "or_interactions"]
MATRICES = [
    (1, 0, -1, 1), (1, 0, 1, 1), (1, -1, 0, 1), (1, 1, 0, 1), (0, 1, 1, -1), (1, 1, 0, -1),
    (1, 0, 1, -1), (0.6, 0.8, -0.8, 0.6),
]  # fmt: skip
DTYPES = [np.float32, np.float64]
SUMS = {np.float32: 2e-6, np.float64: 1e-12}  # relative, of and_or_interactions


def why_none():
    """Why there is no GPU to test on; None where there is one."""
    if _native.cuda is None:
        return "this build has no CUDA kernels (JAXINTER_CUDA)"
    if _native.cuda.device_count() == 0:
        return f"no GPU: {_native.cuda.status()}"
    try:
        jax.devices(PLATFORM)
    except RuntimeError as error:
        return f"there is a GPU, but JAX has none: {error}"
    return None


@pytest.fixture(scope="module", autouse=True)
def gpu():
    why = why_none()
    if why and os.environ.get("JAXINTER_REQUIRE_GPU"):
        pytest.fail(f"JAXINTER_REQUIRE_GPU is set, but {why}")
    if why:
        pytest.skip(why)
    device = jax.devices(PLATFORM)[0]
    with jax.default_device(device):
        yield device


@pytest.fixture
def on_gpu(gpu):
    """x as a JAX array there; float64 needs the fixture x64, or its context."""
    return lambda x: jax.device_put(jnp.asarray(x), gpu)


@pytest.fixture
def cuda_torch(torch):
    if not torch.cuda.is_available():
        assert not os.environ.get("JAXINTER_REQUIRE_GPU_TORCH"), "this torch has no CUDA"
        pytest.skip("this torch has no CUDA")
    return torch


def same(got, expected):
    """Bit for bit, but for the sign of zeros and what a NaN holds."""
    got = np.asarray(got)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def batches(n):
    """Odd ones: the last block is not full; one that fills many blocks."""
    return (3, max(1, (1 << 19 >> n) | 1)) if n < 18 else (1, 3)


def by_cpu(matrix, v):
    return transform.apply_numpy("test", "v", matrix, v, None)


# ---- transforms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", range(21))
def test_transforms_have_the_bits_of_the_cpu(n, dtype, on_gpu, x64, rng):
    every = jax.jit(lambda x: [subset_transform(x, matrix) for matrix in MATRICES])
    for batch in batches(n):
        v = rng.normal(size=(batch, 2**n)).astype(dtype)
        for got, matrix in zip(every(on_gpu(v)), MATRICES):
            assert got.devices() == {jax.devices(PLATFORM)[0]}
            same(got, by_cpu(matrix, v))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [22, 26])
def test_large_tables(n, dtype, on_gpu, x64, rng):
    v = rng.normal(size=2**n).astype(dtype)
    for f in (ji.mobius, ji.or_interactions):
        same(jax.jit(f)(on_gpu(v)), f(v))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 5, 8, 10, 13, 16])
def test_values_that_are_not_finite(n, dtype, on_gpu, x64, rng):
    """NaN and infinity reach the coalitions that depend on them alone."""
    v = rng.normal(size=(3, 2**n)).astype(dtype)
    v[0, 5], v[1, 5], v[1, 6] = np.nan, np.inf, -np.inf
    v[2] = np.where(rng.random(2**n) < 0.5, 1.0, -0.0)
    every = jax.jit(lambda x: [subset_transform(x, matrix) for matrix in MATRICES])
    with np.errstate(all="ignore"):
        for got, matrix in zip(every(on_gpu(v)), MATRICES):
            same(got, by_cpu(matrix, v))


@pytest.mark.parametrize("n", [4, 10, 16])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_functions_and_their_derivatives(name, n, on_gpu, x64, rng):
    f = getattr(ji, name)
    v, w = rng.normal(size=(2, 3, 2**n))
    x, y = on_gpu(v), on_gpu(w)
    same(f(x), f(v))
    value, tangent = jax.jit(lambda x, y: jax.jvp(f, (x,), (y,)))(x, y)
    same(value, f(v))
    same(tangent, f(w))
    with jax.default_device(jax.devices("cpu")[0]):
        expected = jax.vjp(f, jnp.asarray(v))[1](jnp.asarray(w))[0]
    same(jax.jit(lambda x, y: jax.vjp(f, x)[1](y)[0])(x, y), np.asarray(expected))
    columns = jax.jit(jax.vmap(f, 1, 1))(on_gpu(np.ascontiguousarray(v.T)))
    same(columns, np.ascontiguousarray(f(v).T))
    if n == 4:
        check_grads(lambda x: jnp.sin(f(x)), (x,), order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("n", [10, 15, 20])
def test_donated_input(n, on_gpu, rng):
    v = rng.normal(size=(2, 2**n)).astype(np.float32)
    x = on_gpu(v)
    same(jax.jit(ji.mobius, donate_argnums=0)(x), ji.mobius(v))
    assert x.is_deleted()
    kept = on_gpu(v)
    same(jax.jit(ji.mobius)(kept), ji.mobius(v))
    same(kept, v)  # the input is left as it was


def test_same_bits_for_any_batch_and_twice(on_gpu, rng):
    for n in (6, 11, 15, 17):
        v = rng.normal(size=(37, 2**n)).astype(np.float32)
        whole = np.asarray(ji.mobius(on_gpu(v)))
        same(ji.mobius(on_gpu(v)), whole)
        same(ji.mobius(on_gpu(v[17])), whole[17])


def test_many_calls_in_one_program_and_beside_the_cpu(gpu, on_gpu, rng):
    """Calls that wait for each other within one program; and arrays on the CPU stay there."""
    v = rng.normal(size=(5, 2**10)).astype(np.float32)

    def program(x):
        for _ in range(20):
            x = ji.zeta(0.5 * ji.mobius(x))
        return x

    expected = v
    for _ in range(20):
        expected = ji.zeta(np.float32(0.5) * ji.mobius(expected))
    same(jax.jit(program)(on_gpu(v)), expected)
    there = jax.device_put(v, jax.devices("cpu")[0])
    got = ji.mobius(there)
    assert got.devices() == there.devices()
    same(got, ji.mobius(v))


# ---- the fused split


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_delta", [False, True])
@pytest.mark.parametrize("n", [*range(19), 20, 22])
def test_and_or_interactions(n, with_delta, dtype, on_gpu, x64, rng):
    """Effects bit for bit; sums, which blocks add up in another order, to rounding."""
    for batch in batches(n)[:1] if n > 15 else batches(n):
        arrays = list(rng.normal(size=(3 if with_delta else 2, batch, 2**n)).astype(dtype))
        got = jax.jit(ji.and_or_interactions)(*map(on_gpu, arrays))
        expected = ji.and_or_interactions(*arrays)
        same(got.and_effects, expected.and_effects)
        same(got.or_effects, expected.or_effects)
        for one, other in zip(got[2:], expected[2:]):
            assert one.dtype == dtype
            np.testing.assert_allclose(one, other, rtol=SUMS[dtype])


def test_and_or_interactions_that_are_not_finite_and_derivatives(on_gpu, x64, rng):
    v = np.ones((2, 2**9))
    v[0, 5], v[1, 5] = np.nan, np.inf
    got = ji.and_or_interactions(on_gpu(v), on_gpu(np.zeros_like(v)))
    expected = ji.and_or_interactions(v, np.zeros_like(v))
    for one, other in zip(got, expected):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    arrays = [on_gpu(x) for x in rng.normal(size=(3, 2, 8))]
    check_grads(ji.and_or_interactions, arrays, order=2, modes=["fwd", "rev"])
    one = jax.jit(jax.vmap(ji.and_or_interactions, (0, None)))(arrays[0], arrays[1][0])
    same(one.and_effects[1], np.asarray(ji.and_or_interactions(arrays[0][1], arrays[1][0])[0]))


# ---- masked inputs


@pytest.mark.parametrize("shape", [(5,), (3, 50), (2049,), (3, 224, 224)])
@pytest.mark.parametrize("n", [1, 31, 62])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "bfloat16", "float32", "float64"])
def test_masked_inputs(dtype, n, shape, on_gpu, rng):
    """Elements of 1, 2, 4 and 8 bytes; masks as bool, and as indices of 32 and of 64 bits."""
    wide = dtype == "float64"
    x, baseline = rng.integers(0, 2 if dtype == "bool" else 100, (2, *shape)).astype(
        jnp.dtype(dtype)
    )
    players = rng.integers(-1, n, size=shape)
    masks = rng.random((9, n)) < 0.5
    expected = ji.masked_inputs(masks, x, baseline, players)
    f = jax.jit(ji.masked_inputs)
    for x64 in (False, True):
        if wide and not x64:
            continue
        with jax.enable_x64(x64):
            rest = on_gpu(x), on_gpu(baseline), on_gpu(players.astype(np.int32))
            same(f(on_gpu(masks), *rest), expected)
            if n <= 31 or x64:
                indices = ji.encode(masks).astype(np.int64 if x64 else np.int32)
                # n from the players, which must not be traced then
                packed = jax.jit(partial(ji.masked_inputs, players=players))
                same(packed(on_gpu(indices), *rest[:2]), expected)


def test_masked_inputs_derivatives(on_gpu, x64, rng):
    masks, players = on_gpu(rng.random((6, 5)) < 0.5), on_gpu(rng.integers(-1, 5, size=(3, 4)))
    x, baseline = (on_gpu(a) for a in rng.normal(size=(2, 3, 4)))
    f = lambda x, b: jnp.sin(ji.masked_inputs(masks, x, b, players))  # noqa: E731
    check_grads(f, (x, baseline), order=2, modes=["fwd", "rev"])


# ---- the sparse split


def check_certificate(result, v, bound, tol):
    """The promises of `Interactions`, recomputed from the table by numpy alone."""
    index = np.arange(v.shape[-1])
    within = index[None, :] & index[:, None] == index[:, None]  # [S, T]: S within T
    meets = index[None, :] & index[:, None] != 0
    scale = np.abs(v).max(axis=-1)
    a, b, residual, y = (
        np.asarray(getattr(result, name))
        for name in ("and_effects", "or_effects", "residual", "multiplier")
    )
    assert not a[..., 0].any() and not b[..., 0].any()
    rebuilt = np.asarray(result.bias)[:, None] + a @ within + b @ meets
    assert (np.abs(v - residual - rebuilt) <= 1e-9 * scale[:, None]).all()
    assert (np.abs(residual) <= bound[:, None] + 1e-9 * scale[:, None]).all()
    primal = np.abs(a).sum(axis=-1) + np.abs(b).sum(axis=-1)
    np.testing.assert_allclose(result.primal, primal, rtol=1e-11)
    # the proof: y within the dual ball, and worth what is reported
    assert np.abs(y @ within.T)[:, 1:].max() <= 1 + 1e-9
    assert np.abs(y @ meets.T)[:, 1:].max() <= 1 + 1e-9
    dual = (y * v).sum(axis=-1) - bound * np.abs(y[:, 1:]).sum(axis=-1)
    slack = 1e-9 * scale * v.shape[-1]
    assert (np.abs(dual - np.asarray(result.dual)) <= slack).all()
    assert (primal - dual <= tol * primal + slack).all()


def games(rng, n, count):
    """Generic tables, and one of a few effects, all players' among them."""
    v = rng.normal(size=(count, 2**n))
    v[1, :-1] *= rng.random(2**n - 1) < 0.1
    v[1] = ji.zeta(v[1])
    return v


@pytest.mark.parametrize("ratio", [0.0, 0.02])
@pytest.mark.parametrize("n", range(1, 12))
def test_extract(n, ratio, on_gpu, x64, rng):
    tol = 1e-4 if n < 11 else 1e-3
    v = games(rng, n, 5)
    bound = ratio * np.abs(v[:, -1] - v[:, 0])
    for tie_break in (0.0, 0.1):
        options = {"noise_ratio": ratio, "tol": tol, "tie_break": tie_break}
        options["max_iterations"] = 100_000  # the kernel has no Newton's method
        got, expected = ji.extract(on_gpu(v), **options), ji.extract(v, **options)
        assert isinstance(got.and_effects, jax.Array) and np.asarray(got.converged).all()
        check_certificate(got, v, bound, tol)
        np.testing.assert_allclose(got.primal, expected.primal, rtol=1.1 * tol)
        # neither bound is above the other's strength
        assert (np.asarray(got.dual) <= expected.primal * (1 + 1e-9) + 1e-12).all()
        assert (expected.dual <= np.asarray(got.primal) * (1 + 1e-9) + 1e-12).all()
        settled = np.asarray(got.tie_break)
        assert (settled > 0).all() if tie_break else not settled.any()


@pytest.mark.parametrize("ratio", [0.0, 0.02])
def test_extract_of_real_tables(ratio, on_gpu, x64, table, optimum):
    options = {"noise_ratio": ratio, "tol": 1e-4, "max_iterations": 100_000}
    result = ji.extract(on_gpu(table.astype(np.float64)), **options)
    true = optimum(ratio)
    assert (np.asarray(result.dual) <= true * (1 + 1e-7)).all()
    assert (true <= np.asarray(result.primal) * (1 + 1e-7)).all()
    bound = ratio * np.abs(table[:, -1] - table[:, 0])
    check_certificate(result, table.astype(np.float64), bound, 1e-4)


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("n", [1, 4, 8, 9, 10, 11])
def test_the_solver_has_the_same_bits_twice_and_in_any_batch(n, boxed, on_gpu, x64, rng):
    w = rng.normal(size=(11, 1, 2**n))
    w -= w[..., :1]
    w /= np.abs(w).max(axis=-1, keepdims=True)
    zeta = np.full((11, 1, 1), 0.02)
    solve = jax.jit(
        lambda w, zeta: solve_traced(
            w, zeta, None, 1e-3, 0.1, 1e-12, boxed=boxed, max_iterations=20000
        )
    )
    whole = jax.tree.map(np.asarray, solve(on_gpu(w), on_gpu(zeta)))
    assert (whole.iterations > 0).all() and (whole.iterations < 20000).all()
    for rows in (slice(None), slice(3, 4), slice(2, 9)):
        for one, other in zip(solve(on_gpu(w[rows]), on_gpu(zeta[rows])), whole):
            assert np.asarray(one).tobytes() == other[rows].tobytes()


def test_extract_in_float32_traced_warm_and_of_odd_samples(on_gpu, rng):
    v = games(rng, 6, 5).astype(np.float32)
    expected = ji.extract(v, tol=1e-3)
    got = ji.extract(on_gpu(v), tol=1e-3)
    assert got.and_effects.dtype == jnp.float32 and not jax.config.jax_enable_x64
    np.testing.assert_allclose(got.primal, expected.primal, rtol=1.1e-3)
    again = ji.extract(on_gpu(v), tol=1e-3, start=got)
    np.testing.assert_allclose(again.primal, expected.primal, rtol=1.1e-3)
    extract = partial(ji.extract, tol=1e-3, throw=False)
    for f in (jax.jit(extract), jax.jit(jax.vmap(extract))):
        result = f(on_gpu(v))
        assert np.asarray(result.converged).all()
        np.testing.assert_allclose(result.primal, expected.primal, rtol=1.1e-3)
    v[2] = 3.0
    flat = ji.extract(on_gpu(v), tol=1e-3)
    assert not np.asarray(flat.effects)[2].any() and np.asarray(flat.primal)[2] == 0
    gradient = jax.jit(jax.grad(lambda v: ji.sparsity(v, tol=1e-3).sum()))(on_gpu(v))
    assert np.isfinite(np.asarray(gradient)).all()


def test_extract_where_there_is_no_kernel(on_gpu, x64, rng):
    """Twelve players, and models explained together: by the JAX engine, on the GPU."""
    v = ji.zeta(np.where(rng.random((1, 2**12)) < 0.005, rng.normal(size=(1, 2**12)), 0.0))
    got = ji.extract(on_gpu(v), tol=1e-2, tie_break=0)
    expected = ji.extract(v, tol=1e-2, tie_break=0)
    np.testing.assert_allclose(got.primal, expected.primal, rtol=1.1e-2)
    models = rng.normal(size=(3, 2, 16))
    options = {"joint": True, "noise_ratio": 0.02, "tol": 1e-3}
    got, expected = ji.extract(on_gpu(models), **options), ji.extract(models, **options)
    np.testing.assert_allclose(got.primal, expected.primal, rtol=1.1e-3)
    assert (np.asarray(got.dual) <= expected.primal * (1 + 1e-9)).all()


# ---- memory and devices


def test_jitted_calls_leave_the_device_alone(on_gpu, rng):
    """No copy to the host or from it."""
    v = on_gpu(rng.normal(size=(3, 2**10)).astype(np.float32))
    masks = on_gpu(rng.random((4, 10)) < 0.5)
    players = on_gpu(np.arange(1024, dtype=np.int32) % 10)
    extract = partial(ji.extract, tol=1e-2, throw=False)
    calls = [
        (jax.jit(ji.mobius), (v,)),
        (jax.jit(ji.and_or_interactions), (v, v)),
        (jax.jit(ji.masked_inputs), (masks, v[0], v[1], players)),
        (jax.jit(extract), (v,)),
    ]
    for f, arguments in calls:
        jax.block_until_ready(f(*arguments))  # compiled, and its constants on the device
        with jax.transfer_guard("disallow"):
            jax.block_until_ready(f(*arguments))


def test_a_batch_over_several_devices(rng):
    devices = jax.devices(PLATFORM)
    if len(devices) < 2:
        pytest.skip("one GPU only")
    mesh = jax.make_mesh((len(devices),), ("batch",), devices=devices)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    v = rng.normal(size=(4 * len(devices), 2**8)).astype(np.float32)
    x = jax.device_put(v, sharding)
    got = jax.jit(ji.mobius)(x)
    assert got.sharding.is_equivalent_to(sharding, 2)
    assert "all-gather" not in jax.jit(ji.mobius).lower(x).compile().as_text()
    same(got, ji.mobius(v))
    same(jax.jit(ji.and_or_interactions)(x, x)[1], ji.and_or_interactions(v, v)[1])
    result = jax.jit(partial(ji.extract, tol=1e-2, throw=False))(x)
    np.testing.assert_allclose(result.primal, ji.extract(v, tol=1e-2).primal, rtol=1.1e-2)
    alone = jax.device_put(v, devices[1])
    assert ji.mobius(alone).devices() == {devices[1]}
    same(ji.mobius(alone), ji.mobius(v))


# ---- torch and CuPy


class TestTorch:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("n", [0, 1, 4, 5, 9, 10, 12, 15, 16, 18])
    def test_transforms(self, n, dtype, cuda_torch, rng):
        v = rng.normal(size=(3, 2**n)).astype(dtype)
        for name in TRANSFORMS:
            f = getattr(ji, name)
            x = cuda_torch.from_numpy(v).to(TORCH_DEVICE)
            got = f(x)
            assert got.device == x.device
            same(got.cpu(), f(v))
            same(x.cpu(), v)
            if name != "or_interactions":
                out = cuda_torch.empty_like(x)
                assert f(x, out=out) is out
                same(out.cpu(), f(v))
                assert f(x, out=x) is x
                same(x.cpu(), f(v))

    def test_views(self, cuda_torch, rng):
        """Strided, and off the alignment that an allocation has."""
        v = rng.normal(size=(16, 33)).astype(np.float32)
        x = cuda_torch.from_numpy(v).to(TORCH_DEVICE)
        for view, expected in ((x.T, v.T), (x[:, 1:], v[:, 1:]), (x[:, ::2][:, :16], None)):
            expected = v[:, ::2][:, :16] if expected is None else expected
            same(ji.mobius(view).cpu(), ji.mobius(expected))
        flat = x.flatten()
        for start in (1, 3, 7):
            view, expected = flat[start : start + 256], v.ravel()[start : start + 256]
            same(ji.mobius(view).cpu(), ji.mobius(expected))
            out = cuda_torch.zeros(260, device=TORCH_DEVICE)
            ji.mobius(view, out=out[start : start + 256])
            same(out.cpu()[start : start + 256], ji.mobius(expected))
            assert not out[:start].any() and not out[start + 256 :].any()
        spread = cuda_torch.zeros(16, 2, device=TORCH_DEVICE)
        ji.mobius(x[0, :16], out=spread[:, 0])
        same(spread[:, 0].cpu(), ji.mobius(v[0, :16]))
        assert not spread[:, 1].any()

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_gradients_twice(self, name, cuda_torch, rng):
        x = cuda_torch.from_numpy(rng.normal(size=(2, 8))).to(TORCH_DEVICE).requires_grad_()
        f = getattr(ji, name)
        assert cuda_torch.autograd.gradcheck(f, x)
        assert cuda_torch.autograd.gradgradcheck(lambda x: f(x) ** 2, x)

    @pytest.mark.parametrize("n", [3, 10, 16])
    def test_and_or_interactions(self, n, cuda_torch, rng):
        arrays = rng.normal(size=(3, 3, 2**n))
        tensors = [cuda_torch.from_numpy(x).to(TORCH_DEVICE) for x in arrays]
        got, expected = ji.and_or_interactions(*tensors), ji.and_or_interactions(*arrays)
        same(got.and_effects.cpu(), expected.and_effects)
        same(got.or_effects.cpu(), expected.or_effects)
        for one, other in zip(got[2:], expected[2:]):
            np.testing.assert_allclose(one.cpu(), other, rtol=1e-12)
        if n == 3:
            given = [x.requires_grad_() for x in tensors]
            assert cuda_torch.autograd.gradcheck(ji.and_or_interactions, given)

    @pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "int64"])
    def test_masked_inputs(self, dtype, cuda_torch, rng):
        x = rng.integers(0, 100, (3, 50)).astype(dtype)
        players, masks = rng.integers(-1, 9, size=(3, 50)), rng.random((7, 9)) < 0.5
        expected = ji.masked_inputs(masks, x, 5, players)
        tensor = cuda_torch.from_numpy(x).to(TORCH_DEVICE)
        out = cuda_torch.empty((7, 3, 50), dtype=tensor.dtype, device=TORCH_DEVICE)
        same(ji.masked_inputs(masks, tensor, 5, players).cpu(), expected)
        assert ji.masked_inputs(ji.encode(masks), tensor, 5, players, out=out) is out
        same(out.cpu(), expected)

    def test_order_of_work_on_a_stream_of_the_callers(self, cuda_torch, rng):
        """Long work is queued before, and the input is overwritten after: a kernel on another
        stream, or a result that is not waited for, would see other values."""
        torch = cuda_torch
        v, gamma = rng.normal(size=(2, 64, 2**12)).astype(np.float32)
        players, masks = np.arange(2**12) % 12, ji.all_masks(12)[:64]
        expected = (
            ji.mobius(v),
            ji.and_or_interactions(v, gamma).or_effects,
            ji.masked_inputs(masks, v[0], 0.0, players),
        )
        given, other = (torch.from_numpy(a).to(TORCH_DEVICE) for a in (v, gamma))
        calls = (
            ji.mobius,
            lambda x: ji.and_or_interactions(x, other).or_effects,
            lambda x: ji.masked_inputs(masks, x[0], 0.0, players),
        )
        stream = torch.cuda.Stream()
        for call, wanted in zip(calls, expected):
            x = torch.zeros_like(given)
            torch.cuda.synchronize()
            with torch.cuda.stream(stream):
                call(x)  # what is made once is made
                torch.cuda._sleep(50_000_000)  # tens of milliseconds
                x.copy_(given)
                got = call(x)
                x.zero_()
                doubled = got + got
            stream.synchronize()
            same(got.cpu(), wanted)
            same(doubled.cpu(), wanted + wanted)

    def test_a_second_device(self, cuda_torch, rng):
        if cuda_torch.cuda.device_count() < 2:
            pytest.skip("one GPU only")
        v = rng.normal(size=(3, 2**10))
        x = cuda_torch.from_numpy(v).to("cuda:1")
        before = cuda_torch.cuda.current_device()
        got = ji.mobius(x)
        assert got.device == x.device and cuda_torch.cuda.current_device() == before
        same(got.cpu(), ji.mobius(v))
        here = cuda_torch.from_numpy(v).to("cuda:0")
        with pytest.raises(ValueError, match=r"out must be .* on cuda:1; got"):
            ji.mobius(x, out=here)


def test_cupy(rng):
    cupy = pytest.importorskip("cupy")
    v, gamma = rng.normal(size=(2, 3, 2**10))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        x = cupy.asarray(v)
        got = ji.mobius(x)
        parts = ji.and_or_interactions(x, cupy.asarray(gamma))
        masked = ji.masked_inputs(ji.all_masks(10)[:7], x[0], 0.0, np.arange(2**10) % 10)
        stream.synchronize()
    assert isinstance(got, cupy.ndarray)
    same(got.get(), ji.mobius(v))
    same(parts.or_effects.get(), ji.and_or_interactions(v, gamma).or_effects)
    expected = ji.masked_inputs(ji.all_masks(10)[:7], v[0], 0.0, np.arange(2**10) % 10)
    same(masked.get(), expected)
