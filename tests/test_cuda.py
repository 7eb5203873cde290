# SPDX-License-Identifier: Apache-2.0
"""CUDA without a GPU: the module, what JAX lowers to it, and its doors for arrays of others.

With JAXINTER_CUDA_SHIM, the folder of a module built against tests/cuda_shim
(.ci/check_cuda_doors), the kernels run as well, on arrays of the host that say they are on a CUDA
device.
"""

import ctypes
import gc
import importlib.util
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_doors import BFLOAT, BOOL, COMPLEX, CPU, CUDA, FLOAT, INT, UINT, Exporter

import jaxinter as ji
from jaxinter import _arrays, _gpu, _native
from jaxinter._primitives import COMPLEMENT_MOBIUS, MOBIUS, SUPERSET_ZETA, ZETA
from jaxinter.sparse.native import solve_native, solve_traced

MANAGED = 13
TARGETS = sorted(f"jaxinter_{name}" for name in (
    "subset_transform", "and_or_effects", "masked_inputs", "sparse_split"
))  # fmt: skip
CODES = {"f": FLOAT, "i": INT, "u": UINT, "b": BOOL, "c": COMPLEX}


@pytest.fixture
def cuda():
    """The module; with JAXINTER_REQUIRE_CUDA set (CI), a build without it is an error."""
    if _native.cuda is None:
        assert not os.environ.get("JAXINTER_REQUIRE_CUDA"), "jaxinter._cuda was not built"
        pytest.skip("this build has no CUDA kernels (JAXINTER_CUDA)")
    return _native.cuda


@pytest.fixture
def no_gpu(cuda):
    if cuda.device_count():
        pytest.skip("there is a CUDA device")
    return cuda


@pytest.fixture(scope="session")
def shim():
    folder = os.environ.get("JAXINTER_CUDA_SHIM")
    if not folder:
        pytest.skip("JAXINTER_CUDA_SHIM names no module built against tests/cuda_shim")
    (path,) = Path(folder).glob("_cuda*.so")
    spec = importlib.util.spec_from_file_location("_cuda", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module_symbols = ctypes.CDLL(str(path))
    module_symbols.ShimStream.restype = ctypes.c_uint64
    return module, module_symbols


@pytest.fixture
def doors(request):
    """A module whose doors can be knocked at: the one that was built, or the shim's."""
    return _native.cuda or request.getfixturevalue("shim")[0]


class OnCuda(Exporter):
    """A numpy array that says it is in CUDA memory; `asked`: the arguments of its exports."""

    def __init__(self, array, *, device=CUDA, device_id=0, **other):
        kind = {"code": CODES[array.dtype.kind], "bits": 8 * array.dtype.itemsize} | other
        super().__init__(array, kind.pop("shape", array.shape), device=device, **kind)
        tensor = self.managed.tensor
        tensor.device.id = self.device_id = device_id
        self.asked = []

    def __dlpack_device__(self):
        return self.device, self.device_id

    def __dlpack__(self, **arguments):
        self.asked.append(dict(arguments))
        if self.old:  # from before versions
            arguments.pop("stream", None)
        return super().__dlpack__(**arguments)


# ---- the module


def test_it_loads_without_a_driver_and_says_so(no_gpu):
    assert no_gpu.device_count() == 0
    assert re.fullmatch(
        r"compiled for the architectures [\d, realvitu-]+; no device: \S.*", no_gpu.status()
    )
    assert sorted(no_gpu.registrations()) == TARGETS


def test_a_broken_module_is_an_error_not_silence(monkeypatch, tmp_path):
    broken = tmp_path / "_cuda.so"
    spec = importlib.util.spec_from_loader("jaxinter._no_such", None, origin=str(broken))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ImportError, match=rf"{broken} does not load \(.*delete that file"):
        _native._load_cuda()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert _native._load_cuda() is None


def test_info_says_what_there_is():
    from jaxinter import cli

    line = next(row for row in cli.info().splitlines() if row.startswith("CUDA kernels:"))
    assert line.endswith(_native.cuda.status() if _native.cuda else "not in this build")


# ---- what JAX lowers to

V = jnp.ones((2, 8))
PLAYERS = np.arange(8)
MASKS = jnp.ones((3, 8), bool)


def strength(v):
    return ji.and_or_interactions(v, 0.25 * v).positive.sum()


def worth(x):
    return (ji.masked_inputs(MASKS, x, 0.0, PLAYERS) ** 2).sum()


def explained(v, **options):
    result = ji.extract(v, throw=False, **options)
    return result.and_effects, result.gap


LOWERED = {
    "mobius": (ji.mobius, V, {"subset_transform"}),
    "vmap": (jax.vmap(ji.or_interactions, 1, 1), jnp.ones((8, 2)), {"subset_transform"}),
    "grad": (jax.grad(lambda v: (ji.zeta(v) ** 2).sum()), V, {"subset_transform"}),
    "vmap of grad": (jax.vmap(jax.grad(lambda v: ji.zeta(v)[3] ** 2)), V, {"subset_transform"}),
    "hessian": (jax.hessian(lambda v: (ji.zeta(v) ** 2).sum()), V[0], {"subset_transform"}),
    "and_or": (strength, V, {"and_or_effects"}),
    "and_or with delta": (lambda v: [*ji.and_or_interactions(v, v, v)], V, {"and_or_effects"}),
    "vmap of and_or": (jax.vmap(strength), V, {"and_or_effects"}),
    "grad of and_or": (jax.grad(strength), V, {"subset_transform"}),
    "masks": (lambda x: ji.masked_inputs(MASKS, x, 0.0, PLAYERS), V[0], {"masked_inputs"}),
    "packed": (lambda x: ji.masked_inputs(jnp.arange(3), x, 0.0, PLAYERS), V[0], {"masked_inputs"}),
    "grad of masks": (jax.grad(worth), V[0], {"masked_inputs"}),
    "extract": (explained, V, {"sparse_split"}),
    "vmap of extract": (jax.vmap(explained), V, {"sparse_split"}),
    "extract with noise": (lambda v: explained(v, noise_ratio=0.1), V, {"sparse_split"}),
    "extract of 11 players": (explained, jnp.ones((1, 1 << 11)), {"sparse_split"}),
    "grad of sparsity": (jax.grad(lambda v: ji.sparsity(v).sum()), V, {"sparse_split"}),
    "extract of 12 players": (explained, jnp.ones((1, 1 << 12)), {"subset_transform"}),
    "extract of two models": (lambda v: explained(v, joint=True), V, {"subset_transform"}),
}  # fmt: skip


def exported(f, *arguments, platforms):
    unsafe = [jax.export.DisabledSafetyCheck.custom_call(name) for name in TARGETS]
    return jax.export.export(jax.jit(f), platforms=platforms, disabled_checks=unsafe)(*arguments)


def targets_of(text):
    return {name for name in re.findall(r"custom_call @(\w+)", text) if name in TARGETS}


@pytest.mark.parametrize("name", LOWERED)
def test_lowers_to_the_kernel_on_cuda(name, cuda):
    f, x, expected = LOWERED[name]
    text = exported(f, x, platforms=["cuda"]).mlir_module()
    assert {f"jaxinter_{one}" for one in expected} <= targets_of(text)
    assert ("jaxinter_sparse_split" in targets_of(text)) == ("sparse_split" in expected)


@pytest.mark.parametrize("name", ["mobius", "and_or", "masks", "extract"])
def test_a_gpu_that_the_kernels_are_too_new_for_is_left_to_xla(name, cuda, monkeypatch):
    class Cuda:
        usable = staticmethod(lambda: False)

    f, x, _ = LOWERED[name]
    monkeypatch.setattr(_native, "cuda", Cuda)
    program = exported(lambda x: f(x), x, platforms=["cuda"])
    assert not targets_of(program.mlir_module())


@pytest.mark.parametrize("name", ["mobius", "and_or", "masks", "extract", "extract of two models"])
def test_one_program_for_both_platforms(name, cuda):
    f, x, expected = LOWERED[name]
    program = exported(f, x, platforms=["cpu", "cuda"])
    assert {f"jaxinter_{one}" for one in expected} <= targets_of(program.mlir_module())
    for one, other in zip(jax.tree.leaves(program.call(x)), jax.tree.leaves(jax.jit(f)(x))):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("platforms", [("cuda",), ("cpu", "cuda")])
def test_programs_can_be_saved(platforms, cuda):
    pytest.importorskip("flatbuffers")
    program = exported(ji.mobius, V, platforms=platforms)
    again = jax.export.deserialize(program.serialize())
    assert again.platforms == platforms
    assert again.mlir_module() == program.mlir_module()
    if "cpu" in platforms:
        np.testing.assert_array_equal(again.call(V), ji.mobius(V))
    else:
        with pytest.raises(ValueError, match="platform"):
            again.call(V)


def test_sharded_batches_are_named(cuda):
    text = exported(ji.mobius, V, platforms=["cuda"]).mlir_module()
    assert 'num_batch_dims = "1"' in text
    assert "sdy.op_sharding_rule" in text


def test_small_batches_of_the_kernel_are_padded_little():
    """On a GPU: a kernel's group is the next power of two, the JAX engine's is always whole."""
    from jaxinter.sparse.native import has_kernel

    kernels = _native.cuda is not None
    assert has_kernel("cpu", 4, 20)
    for platform in ("cuda", "gpu"):
        assert has_kernel(platform, 1, 11) == kernels
        assert not has_kernel(platform, 1, 12)
        assert not has_kernel(platform, 2, 3)
    assert not has_kernel("tpu", 1, 3)


def test_both_engines_in_groups_agree(rng):
    """As extract() solves values on a GPU, here on the CPU."""
    from jaxinter.sparse import solver
    from jaxinter.sparse.extract import _explain_in_groups, explain_games
    from jaxinter.sparse.games import checked_games, checked_noise

    noise = checked_noise("extract", 0.05, None, None, "sample")
    games = checked_games("extract", rng.normal(size=(5, 8)), noise, None, False, True)
    settings = {"tol": 1e-6, "tie_break": 0.1, "max_iterations": 20000, "dtype": "float64"}
    by_kernel, by_jax = (
        _explain_in_groups(None, solve, games, settings, None)
        for solve in (solve_traced, solver.solve)
    )
    assert by_kernel["converged"].all() and by_jax["converged"].all()
    np.testing.assert_allclose(by_kernel["primal"], by_jax["primal"], rtol=2e-6)
    native = explain_games(games, solve_native, settings)["and_effects"]
    np.testing.assert_allclose(by_kernel["and_effects"], native, atol=1e-12)


# ---- the doors, on any machine

TABLES = np.arange(16.0).reshape(2, 8)


def like(array, value=-7):
    return np.full_like(array, value)


def transform(door, x, out, stream=0):
    door.subset_transform(x, out, MOBIUS, stream)


def and_or(door, v, gamma, delta, *results, stream=0):
    door.and_or_effects(v, gamma, delta, *results, stream)


def masked(door, masks, x, baseline, players, out, n=2, stream=0):
    door.masked_inputs(masks, n, x, baseline, players, out, stream)


def given(call):
    """Arguments of a call that fits, as arrays."""
    t, sums = TABLES, np.zeros((2, 2, 3))
    x = np.arange(4.0, dtype=np.float32)
    return {
        transform: [t, like(t)],
        and_or: [t, 0.5 * t, 0.25 * t, like(t), like(t), sums],
        masked: [np.array([[1, 0], [0, 1]], bool), x, like(x), np.array([0, 1, -1, 1], np.int32),
                 np.zeros((2, 4), np.float32)],
    }[call]  # fmt: skip


def refusals():
    f32 = TABLES.astype(np.float32)
    half = OnCuda(TABLES[:, :4].copy())
    cases = [
        (transform, 0, OnCuda(TABLES[:, ::-1], strides=(8, -1)), "in must be C-contiguous"),
        (transform, 0, OnCuda(TABLES, strides=(1, 2)), "in must be C-contiguous"),
        (transform, 0, OnCuda(TABLES.view(np.uint8), shape=(2, 8), code=FLOAT, bits=64, offset=4),
         "in must be aligned to its elements"),
        (transform, 0, OnCuda(TABLES[:, :6].copy()), r"in must be \[..., 2\*\*n\], float32 or f"),
        (transform, 0, OnCuda(np.array(3.0)), r"in must be \[..., 2\*\*n\], float32 or float64"),
        (transform, 0, OnCuda(TABLES.astype(np.int64)), r"in must be \[..., 2\*\*n\], float32 or"),
        (transform, 0, OnCuda(TABLES.view(np.uint64), code=3), "in must have elements of a known"),
        (transform, 0, OnCuda(TABLES, shape=(2, -8)), "in cannot be read: it has an axis of len"),
        (transform, 0, OnCuda(TABLES, major=2), "in cannot be read: .* version 2; 0 and 1 are"),
        (transform, 0, OnCuda(TABLES, device=CPU), r"in must be in CUDA memory; .*device \(1, 0\)"),
        (transform, 0, TABLES, r"in must be in CUDA memory; it is on DLPack device \(1, 0\)"),
        (transform, 1, OnCuda(f32), "out must have 16 elements of type f8; got 16 of type f4"),
        (transform, 1, half, "out must have 16 elements of type f8; got 8 of type f8"),
        (transform, 1, OnCuda(TABLES, device_id=1), "out must be on CUDA device 0, .* device 1"),
        (transform, 1, OnCuda(TABLES, flags=1), "out is written to; got a read-only array"),
        (transform, 1, like(TABLES), r"out must be in CUDA memory; .* \(1, 0\)"),
        (and_or, 1, OnCuda(f32), "gamma must have 16 elements of type f8; got 16 of type f4"),
        (and_or, 1, half, "gamma must have 16 elements"),
        (and_or, 2, half, "delta must have 16 elements"),
        (and_or, 3, half, "and_effects must have 16 elements"),
        (and_or, 4, OnCuda(like(TABLES), flags=1), "or_effects is written to"),
        (and_or, 5, OnCuda(np.zeros((2, 2, 4))), "sums must have 12 elements of type f8; got 16"),
        (and_or, 5, OnCuda(np.zeros((2, 2, 3), np.float32)), "sums must have 12 elements of type"),
        (masked, 0, OnCuda(np.zeros((2, 3), bool)), r"masks must be bool \[m, n\], or int32"),
        (masked, 0, OnCuda(np.zeros((2, 2), np.uint8)), r"masks must be bool \[m, n\], or int32"),
        (masked, 0, OnCuda(np.zeros(2, np.int16)), r"masks must be bool \[m, n\], or int32 or int"),
        (masked, 2, OnCuda(np.zeros(4)), "baseline must have 4 elements of type f4"),
        (masked, 3, OnCuda(np.zeros(4, np.int64)), "players must have 4 elements of type i4"),
        (masked, 4, OnCuda(np.zeros((2, 4))), "out must have 8 elements of type f4"),
        (masked, 4, OnCuda(np.zeros((3, 4), np.float32)), "out must have 8 elements of type f4"),
    ]  # fmt: skip
    return [pytest.param(*case, id=f"{case[0].__name__}-{case[3]}") for case in cases]


@pytest.mark.parametrize(("call", "position", "wrong", "message"), refusals())
def test_what_does_not_fit_is_refused_and_given_back(call, position, wrong, message, doors):
    arrays = [OnCuda(a) for a in given(call)]
    arrays[position] = wrong
    name = {transform: "subset_transform", and_or: "and_or_effects", masked: "masked_inputs"}[call]
    with pytest.raises(ValueError, match=rf"_cuda\.{name}: {message}"):
        call(doors, *arrays)
    gc.collect()
    assert not Exporter.exported
    for array in arrays:
        assert not isinstance(array, OnCuda) or array.deleted == len(array.asked)


def test_more_players_than_indices_have_bits(doors):
    masks, *others = (OnCuda(a) for a in given(masked))
    for kind, most in ((np.int32, 31), (np.int64, 62)):
        masks = OnCuda(np.zeros(2, kind))
        with pytest.raises(
            ValueError, match=f"masks must be of 1 to {most} players; got {most + 1}"
        ):
            masked(doors, masks, *others, n=most + 1)


def test_what_is_no_array_is_refused(doors):
    with pytest.raises(AttributeError, match="__dlpack"):
        transform(doors, [1.0, 2.0], OnCuda(TABLES))


@pytest.mark.parametrize("call", [transform, and_or, masked])
@pytest.mark.parametrize("device", [CUDA, MANAGED])
def test_without_a_driver_a_call_ends_in_an_error(call, device, no_gpu):
    arrays = [OnCuda(a, device=device) for a in given(call)]
    with pytest.raises(RuntimeError, match=r"_cuda\.\w+: CUDA: \S+"):
        call(no_gpu, *arrays)
    gc.collect()
    assert [a.deleted for a in arrays] == [1] * len(arrays)


def test_a_build_without_kernels_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(_native, "cuda", None)
    calls = [
        ("mobius", lambda x: ji.mobius(x)),
        ("or_interactions", lambda x: ji.or_interactions(x)),
        ("and_or_interactions", lambda x: ji.and_or_interactions(x, 0.0)),
        ("masked_inputs", lambda x: ji.masked_inputs([1], x, 0.0, np.arange(8))),
    ]
    for name, call in calls:
        with pytest.raises(ValueError, match=rf"{name}: \w+ must be .*Array.*JAXINTER_CUDA=ON"):
            call(Array(np.arange(8.0)))
    for x in (Array(np.arange(8.0)), OnCuda(np.arange(8.0))):
        with pytest.raises(ValueError, match="extract: values must be an array in CPU memory"):
            ji.extract(x)


# ---- the doors, on a device of the host's


def test_it_counts_devices(shim):
    assert shim[0].device_count() == 2
    assert shim[0].status() == (
        "compiled for the architectures 80-real, 90-real, 100-real, 120; 2 devices"
    )
    assert shim[0].usable()


@pytest.mark.parametrize(
    ("capability", "has_code"),
    [(75, False), (80, True), (89, True), (90, True), (103, True), (110, False), (121, True)],
)
def test_it_knows_which_devices_it_has_code_for(capability, has_code, shim):
    module, symbols = shim
    symbols.ShimSetCapability(capability)
    try:
        assert module.usable() == has_code
        text = f"2 devices; no code for device 0, of compute capability {capability / 10}"
        assert module.status().endswith("2 devices" if has_code else text)
    finally:
        symbols.ShimSetCapability(90)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("matrix", [MOBIUS, ZETA, SUPERSET_ZETA, COMPLEMENT_MOBIUS, (1, 2, 3, 4)])
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 3)])
def test_transforms_are_the_cpus(dtype, matrix, shape, rng, shim):
    for n in (0, 1, 5, 9, 12):
        x = rng.normal(size=(*shape, 1 << n)).astype(dtype)
        expected, out = np.empty_like(x), np.empty_like(x)
        _native.subset_transform(x, expected, matrix)
        shim[0].subset_transform(OnCuda(x), OnCuda(out), matrix, 0)
        np.testing.assert_array_equal(out, expected)
        shim[0].subset_transform(OnCuda(x), OnCuda(x), matrix, 0)
        np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("delta", [True, False])
def test_and_or_effects_are_the_cpus(dtype, delta, rng, shim):
    module, symbols = shim
    for n in (1, 4, 10, 16):
        v, gamma, rest = rng.normal(size=(3, 2, 1 << n)).astype(dtype)
        rest = rest if delta else None
        expected = [np.empty_like(v), np.empty_like(v), np.zeros((2, 2, n))]
        _native.and_or_effects(v, gamma, rest, *expected)
        got = [np.empty_like(v), np.empty_like(v), np.empty((2, 2, n), dtype)]
        arrays = [None if a is None else OnCuda(a) for a in (v, gamma, rest, *got)]
        module.and_or_effects(*arrays, 5)
        assert symbols.ShimStream() == 5
        for one, other in zip(got[:2], expected):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(got[2], expected[2], rtol=1e-5 if dtype == np.float32 else 1e-13)
    assert symbols.ShimAllocations() == symbols.ShimFrees()
    assert symbols.ShimAllocations() > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int32, np.float64, bool])
@pytest.mark.parametrize("masks", ["bool", np.int32, np.int64])
def test_masked_inputs_are_the_cpus(dtype, masks, rng, shim):
    n, rows = 7, np.arange(0, 128, 3)
    coalitions = (rows[:, None] >> np.arange(n) & 1).astype(bool)
    x, baseline = rng.integers(0, 2 if dtype is bool else 100, (2, 5, 6)).astype(dtype)
    players = rng.integers(-1, n, (5, 6)).astype(np.int32)
    out = np.empty((len(rows), 5, 6), dtype)
    given_masks = coalitions if masks == "bool" else rows.astype(masks)
    shim[0].masked_inputs(
        *map(OnCuda, (given_masks,)), n, *map(OnCuda, (x, baseline, players, out)), 0
    )
    np.testing.assert_array_equal(out, ji.masked_inputs(coalitions, x, baseline, players))


@pytest.mark.parametrize(
    ("stream", "told"), [(0, 1), (1, 1), (2, 2), (0x7F00DEADBEE0, 0x7F00DEADBEE0)]
)
@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_exporters_are_told_the_stream_and_asked_once(stream, told, versioned, old, shim):
    x, out = (OnCuda(a, versioned=versioned, old=old) for a in (TABLES.copy(), like(TABLES)))
    transform(shim[0], x, out, stream)
    gc.collect()
    np.testing.assert_array_equal(out.memory, ji.mobius(TABLES))
    assert shim[1].ShimStream() == told
    for array in (x, out):
        first = {"stream": told, "max_version": (1, 0)}
        assert array.asked == ([first, {"stream": told}] if old else [first])
        assert array.deleted == 1


def test_capsules_are_taken_once(shim):
    x, out = OnCuda(TABLES.copy()), OnCuda(like(TABLES))
    capsules = x.__dlpack__(), out.__dlpack__()
    transform(shim[0], *capsules)
    np.testing.assert_array_equal(out.memory, ji.mobius(TABLES))
    with pytest.raises(ValueError, match=r"in cannot be read: .* taken before"):
        transform(shim[0], *capsules)
    gc.collect()
    assert (x.deleted, out.deleted) == (1, 1)


def test_the_arrays_device_is_current_during_the_call_only(shim):
    seen = []

    class Watching(OnCuda):
        def _delete(self, managed):
            seen.append(shim[1].ShimDevice())
            super()._delete(managed)

    x, out = (Watching(a, device_id=1) for a in (TABLES.copy(), like(TABLES)))
    transform(shim[0], x, out)
    np.testing.assert_array_equal(out.memory, ji.mobius(TABLES))
    assert shim[1].ShimDevice() == 0 and seen == [0, 0]
    with pytest.raises(RuntimeError, match="CUDA: invalid argument"):
        transform(shim[0], OnCuda(TABLES, device_id=2), OnCuda(like(TABLES), device_id=2))


# ---- XLA's handlers, on a device of the host's


@pytest.fixture(scope="session")
def handlers(shim):
    """Calls a handler of the module from a program for the CPU."""
    for name, capsule in shim[0].registrations().items():
        jax.ffi.register_ffi_target(f"shim_{name}", capsule, platform="cpu")

    def call(name, results, *operands, **attributes):
        kinds = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in results]
        with jax.enable_x64(True):
            f = jax.ffi.ffi_call(f"shim_jaxinter_{name}", kinds)
            return [np.asarray(x) for x in jax.jit(lambda *x: f(*x, **attributes))(*operands)]

    return call


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_handlers_of_transforms(dtype, rng, handlers, shim):
    x = rng.normal(size=(3, 1 << 6)).astype(dtype)
    (got,) = handlers("subset_transform", [(x.shape, dtype)], x, matrix=np.array(ZETA, np.float64))
    np.testing.assert_array_equal(got, ji.zeta(x))
    assert shim[1].ShimStream() == 9
    v, gamma, delta = rng.normal(size=(3, 2, 1 << 16)).astype(dtype)  # with scratch memory
    kinds = [(v.shape, dtype), (v.shape, dtype), ((2, 2, 16), dtype)]
    for rest in ([], [delta]):
        got = handlers("and_or_effects", kinds, v, gamma, *rest)
        expected = ji.and_or_interactions(v, gamma, *rest)
        for one, other in zip(got[:2], expected):
            np.testing.assert_array_equal(one, other)
        for sign in (0, 1):
            np.testing.assert_allclose(got[2][:, sign], expected[2 + sign], rtol=1e-5)


@pytest.mark.parametrize("masks", [bool, np.int32, np.int64])
def test_handler_of_masked_inputs(masks, rng, handlers):
    rows, players = np.arange(0, 32, 3), rng.integers(-1, 5, (2, 7)).astype(np.int32)
    coalitions = (rows[:, None] >> np.arange(5) & 1).astype(bool)
    x, baseline = rng.normal(size=(2, 2, 7)).astype(np.float16)
    given_masks = coalitions if masks is bool else rows.astype(masks)
    operands = given_masks, x, baseline, players
    (got,) = handlers("masked_inputs", [((len(rows), 2, 7), np.float16)], *operands)
    np.testing.assert_array_equal(got, ji.masked_inputs(coalitions, x, baseline, players))


def sparse_operands(rng, groups, models, n, ratio):
    """And the results' kinds; values in units of the largest, 0 at the empty coalition."""
    w = rng.normal(size=(groups, models, 1 << n))
    w[..., 0] = 0
    w /= abs(w).max(axis=(1, 2), keepdims=True)
    zeta, start = np.full((groups, models, 1), ratio), np.zeros((groups, models, 1, 1))
    settings = np.broadcast_to([1e-6, 0.1, 1e-12], (groups, 3))
    kinds = [(w.shape, np.float64)] * 3 + [((groups,), np.float64)] * 2 + [((groups,), np.int32)]
    return (w, zeta, start, settings), kinds


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.1])
def test_handler_of_the_sparse_split(n, ratio, rng, handlers):
    operands, kinds = sparse_operands(rng, 3, 1, n, ratio)
    options = {"boxed": ratio > 0, "max_iterations": 20000}
    a, delta, _, dual, *_ = handlers("sparse_split", kinds, *operands, **options)
    native = solve_native(*operands[:2], None, 1e-6, 0.1, 1e-12, **options)
    np.testing.assert_allclose(dual, native.dual, rtol=1e-5)
    np.testing.assert_allclose(a, native.a, atol=1e-2)
    assert (abs(delta) <= ratio).all()


def test_handler_of_the_sparse_split_refuses_what_it_has_no_kernel_for(rng, handlers):
    for models, n in ((2, 3), (1, 12)):
        operands, kinds = sparse_operands(rng, 1, models, n, 0.0)
        with pytest.raises(RuntimeError, match=f"11 players is solved; got {models} of {n}"):
            handlers("sparse_split", kinds, *operands, boxed=False, max_iterations=10)


def test_a_batch_of_none(handlers):
    kinds = [((0, 8), np.float64)]
    (got,) = handlers("subset_transform", kinds, np.zeros((0, 8)), matrix=np.array(ZETA, float))
    assert got.shape == (0, 8)
    operands, kinds = sparse_operands(np.random.default_rng(0), 1, 1, 3, 0.0)
    none = [x[:0] for x in operands]
    kinds = [((0, *shape[1:]), dtype) for shape, dtype in kinds]
    assert handlers("sparse_split", kinds, *none, boxed=False, max_iterations=1)[0].shape[0] == 0


# ---- what users call, on arrays that say they are in CUDA memory


class Array(OnCuda):
    """As of a library of the array API, with as much of it as is used."""

    def __init__(self, array):
        super().__init__(np.asarray(array))
        self.exported_shape, self.shape = self.shape, self.memory.shape

    dtype = property(lambda self: self.memory.dtype)
    ndim = property(lambda self: self.memory.ndim)
    flags = property(lambda self: self.memory.flags)

    def __array_namespace__(self):
        return Array

    def __len__(self):
        return len(self.memory)

    def __getitem__(self, key):
        return Array(self.memory[key])

    def __setitem__(self, key, value):
        self.memory[key] = value.memory if isinstance(value, Array) else value

    def __rsub__(self, other):
        return Array(other - self.memory)

    @classmethod
    def empty(cls, shape, dtype):
        return cls(np.full(shape, 77, dtype))

    @classmethod
    def asarray(cls, array):
        return cls(array)

    @classmethod
    def maximum(cls, array, other):
        return cls(np.maximum(array.memory, other))


@pytest.fixture
def on_shim(shim, monkeypatch):
    monkeypatch.setattr(_native, "cuda", shim[0])


@pytest.mark.parametrize("name", ["mobius", "zeta", "superset_mobius", "or_interactions"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32, bool])
def test_other_libraries_transforms(name, dtype, rng, on_shim):
    x = rng.integers(0, 2, (3, 16)).astype(dtype)
    for memory in (x, x[:, ::-1]):
        expected = getattr(ji, name)(memory)
        got = getattr(ji, name)(Array(np.ascontiguousarray(memory)))
        assert isinstance(got, Array) and got.dtype == expected.dtype
        np.testing.assert_array_equal(got.memory, expected)


def test_other_libraries_fused_split_and_masks(rng, on_shim):
    v, gamma, delta = rng.normal(size=(3, 2, 16)).astype(np.float32)
    expected = ji.and_or_interactions(v, gamma, delta)
    for other in (Array(gamma), gamma):
        got = ji.and_or_interactions(Array(v), other, Array(delta))
        for one, reference in zip(got, expected):
            assert isinstance(one, Array) and one.dtype == np.float32
            np.testing.assert_allclose(one.memory, reference, rtol=1e-6)
    got = ji.and_or_interactions(Array(v), gamma=0.5)
    np.testing.assert_array_equal(got.and_effects.memory, ji.and_or_interactions(v, 0.5)[0])
    with pytest.raises(ValueError, match="values must be in CUDA memory, as gamma; got ndarray"):
        ji.and_or_interactions(v, Array(gamma))

    x, players, masks = (
        rng.normal(size=(4, 5)),
        rng.integers(-3, 3, (4, 5)),
        rng.random((6, 3)) < 0.5,
    )
    expected = ji.masked_inputs(masks, x, -1.0, players)
    for rows in (masks, Array(masks), masks @ (1 << np.arange(3))):
        got = ji.masked_inputs(rows, Array(x), -1.0, players)
        assert isinstance(got, Array)
        np.testing.assert_array_equal(got.memory, expected)
    with pytest.raises(TypeError, match="out must be None for Array in CUDA memory"):
        ji.mobius(Array(v), out=v)


def test_what_has_no_kernel_is_refused(on_shim):
    with pytest.raises(ValueError, match="extract: values must be an array in CPU memory"):
        ji.extract(Array(np.arange(8.0)))


@pytest.fixture
def torch_on_shim(torch, on_shim, monkeypatch):
    """torch whose CPU tensors are taken to be on the host's CUDA device, on stream 7."""

    def exported(tensor):
        if not _arrays.is_torch(tensor):
            return tensor
        torch.utils.dlpack.to_dlpack(tensor)  # which refuses tensors without memory
        if tensor.dtype == torch.bfloat16:
            return OnCuda(tensor.view(torch.int16).numpy(), code=BFLOAT)
        return OnCuda(tensor.detach().numpy())

    on_cuda = _arrays.on_cuda
    monkeypatch.setattr(_arrays, "on_cuda", lambda x: _arrays.is_torch(x) or on_cuda(x))
    monkeypatch.setattr(_gpu, "_given", exported)
    monkeypatch.setattr(_gpu, "_stream", lambda x: 7)
    return torch


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_torch_transforms_and_their_derivatives(rng, shim, torch_on_shim):
    torch = torch_on_shim
    x = torch.from_numpy(rng.normal(size=(3, 16)))
    np.testing.assert_array_equal(ji.mobius(x), ji.mobius(x.numpy()))
    assert shim[1].ShimStream() == 7
    for odd in (x[:, ::2], x.T[:2].T.contiguous()[:, :2], x.float(), x.half(), x.bfloat16(), x > 0):
        expected = ji.or_interactions(
            odd.float().numpy() if odd.dtype == torch.bfloat16 else odd.numpy()
        )
        np.testing.assert_array_equal(ji.or_interactions(odd), expected)
    leaf = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(ji.zeta, leaf)
    assert torch.autograd.gradgradcheck(lambda x: ji.zeta(x) ** 2, leaf)
    (ji.mobius(leaf)[:, 3]).sum().backward()
    np.testing.assert_array_equal(leaf.grad[0], ji.superset_mobius(np.eye(16)[3]))
    np.testing.assert_array_equal(torch.func.vmap(ji.mobius, 1, 1)(x.T), ji.mobius(x.numpy()).T)
    _, tangent = torch.func.jvp(ji.mobius, (x,), (x,))
    np.testing.assert_array_equal(tangent, ji.mobius(x.numpy()))


def test_torch_out(rng, torch_on_shim):
    torch = torch_on_shim
    x = torch.from_numpy(rng.normal(size=(3, 16)))
    expected = ji.mobius(x.numpy())
    out = torch.empty_like(x)
    assert ji.mobius(x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    spread = torch.empty((16, 3), dtype=x.dtype).T
    np.testing.assert_array_equal(ji.mobius(x, out=spread), expected)
    memory = torch.from_numpy(rng.normal(size=40))
    wanted = ji.mobius(memory[:32].numpy())
    np.testing.assert_array_equal(ji.mobius(memory[:32], out=memory[4:36]), wanted)
    assert ji.mobius(x, out=x) is x
    np.testing.assert_array_equal(x, expected)
    refusals = [
        (torch.empty(3, 8, dtype=x.dtype), ValueError, r"out must be of shape \(3, 16\)"),
        (
            x.float(),
            ValueError,
            "out must be of shape .* dtype float64 on cpu; got .* dtype float32",
        ),
        (x.clone().requires_grad_(), ValueError, "out cannot be a tensor that requires grad"),
        (np.empty((3, 16)), TypeError, "out must be a torch tensor; got ndarray"),
    ]
    for out, error, message in refusals:
        with pytest.raises(error, match=message):
            ji.mobius(x, out=out)


def test_torch_fused_split(rng, torch_on_shim):
    torch = torch_on_shim
    v, gamma, delta = rng.normal(size=(3, 2, 16))
    expected = ji.and_or_interactions(v, gamma, delta)
    tensors = [torch.from_numpy(a) for a in (v, gamma, delta)]
    for given_delta in (tensors[2], delta):
        got = ji.and_or_interactions(*tensors[:2], given_delta)
        for one, other in zip(got, expected):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    leaf = tensors[0].clone().requires_grad_()
    ji.and_or_interactions(leaf, *tensors[1:]).positive.sum().backward()
    gradient = jax.grad(lambda v: ji.and_or_interactions(v, gamma, delta).positive.sum())
    with jax.enable_x64(True):
        np.testing.assert_allclose(leaf.grad, gradient(jnp.asarray(v)), atol=1e-12)
    many = torch.func.vmap(ji.and_or_interactions)(*tensors)
    np.testing.assert_allclose(many[2], expected[2], rtol=1e-12)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "int64", "bool", "complex64"])
def test_torch_masks(kind, rng, torch_on_shim):
    torch = torch_on_shim
    x = torch.from_numpy(rng.integers(0, 2, (4, 5))).to(getattr(torch, kind))
    masks, players = rng.random((6, 3)) < 0.5, rng.integers(-3, 3, (4, 5))
    keep = torch.from_numpy(np.where(players < 0, True, masks[:, np.maximum(players, 0)]))
    expected = torch.where(keep, x, torch.zeros_like(x))
    packed = masks @ (1 << np.arange(3))
    for rows in (masks, packed, torch.from_numpy(masks), torch.from_numpy(packed)):
        for seats in (players, torch.from_numpy(players)):
            got = ji.masked_inputs(rows, x, 0, seats)
            assert got.dtype == x.dtype and bool((got == expected).all())
    for out in (
        torch.empty((6, 4, 5), dtype=x.dtype),
        torch.empty((4, 5, 6), dtype=x.dtype).permute(2, 0, 1),
    ):
        assert ji.masked_inputs(masks, x, 0, players, out=out) is out
        assert bool((out == expected).all())
    with pytest.raises(ValueError, match=r"out must be of shape \(6, 4, 5\)"):
        ji.masked_inputs(masks, x, 0, players, out=out[:5])


def test_torch_masks_with_gradients_are_torchs_own(torch_on_shim):
    torch = torch_on_shim
    x = torch.ones(3, requires_grad=True)
    masks = torch.tensor([[True, False], [False, False]])
    ji.masked_inputs(masks, x, 0.0, torch.tensor([0, 1, -1])).sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 0, 2])
