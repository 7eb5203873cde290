# SPDX-License-Identifier: Apache-2.0
"""Arrays in and out: DLPack both ways, torch, what is never written to."""

import ctypes
import gc
import subprocess
import sys
import threading
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinter as ji
from jaxinter import _native

CPU, CUDA, PINNED = 1, 2, 3
INT, UINT, FLOAT, BFLOAT, COMPLEX, BOOL = 0, 1, 2, 4, 5, 6


class Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = (("tensor", Tensor), ("manager", ctypes.c_void_p), ("deleter", DELETER))


class ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class Exporter:
    """A DLPack array by hand, by the protocol's text: bytes, and whatever the tensor says of them.

    `deleted` counts the calls of its deleter.
    """

    exported: ClassVar[list] = []  # what is exported lives until its deleter is called

    def __init__(self, memory, shape, *, code=FLOAT, bits=64, strides=None, offset=0, lanes=1,
                 versioned=True, major=1, flags=0, device=CPU, says=None, old=False):  # fmt: skip
        self.memory = memory  # keeps it alive
        self.deleted = 0
        self.device = device if says is None else says
        self.old = old
        self.deleter = DELETER(self._delete)
        array = ctypes.c_int64 * len(shape)
        self.shape, self.strides = array(*shape), None if strides is None else array(*strides)
        tensor = Tensor(
            memory.ctypes.data, Device(device, 0), len(shape), DataType(code, bits, lanes),
            self.shape, self.strides, offset,
        )  # fmt: skip
        if versioned:
            self.managed = ManagedVersioned(major, 0, None, self.deleter, flags, tensor)
        else:
            self.managed = Managed(tensor, None, self.deleter)
        self.name = b"dltensor_versioned" if versioned else b"dltensor"

    def _delete(self, _):
        self.deleted += 1
        self.exported.remove(self)

    def __dlpack_device__(self):
        return self.device, 0

    def __dlpack__(self, **arguments):
        if self.old and arguments:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.exported.append(self)
        return new_capsule(ctypes.addressof(self.managed), self.name, None)


class Namespaced(Exporter):
    """With the array API's way back."""

    def __array_namespace__(self):
        return self

    def from_dlpack(self, x):
        return "namespace", np.from_dlpack(x)


TABLE = np.arange(8.0)
EXPECTED = ji.mobius(TABLE)


class TestReader:
    @pytest.mark.parametrize("versioned", [True, False])
    @pytest.mark.parametrize("old", [True, False])
    @pytest.mark.parametrize("device", [CPU, PINNED])
    def test_both_versions_and_exporters_from_before_versions(self, versioned, old, device):
        x = Exporter(TABLE, (8,), versioned=versioned, old=old, device=device)
        np.testing.assert_array_equal(ji.mobius(x), EXPECTED)
        gc.collect()
        assert x.deleted == 1

    def test_a_view_shares_the_memory_and_keeps_it_until_it_goes(self):
        x = Exporter(TABLE.copy(), (8,))
        view = _native.from_dlpack(x)
        assert view.ctypes.data == x.memory.ctypes.data
        part = view[2:]
        del view
        gc.collect()
        assert x.deleted == 0
        np.testing.assert_array_equal(part, TABLE[2:])
        del part
        gc.collect()
        assert x.deleted == 1

    @pytest.mark.parametrize(
        ("versioned", "flags", "writable"), [(True, 0, True), (True, 1, False), (False, 0, False)]
    )
    def test_read_only_where_it_says_so_or_cannot_say(self, versioned, flags, writable):
        x = Exporter(TABLE.copy(), (8,), versioned=versioned, flags=flags)
        view = _native.from_dlpack(x)
        assert view.flags.writeable == writable
        if not writable:
            with pytest.raises(ValueError, match="out must be writable"):
                ji.mobius(TABLE, out=view)
            np.testing.assert_array_equal(x.memory, TABLE)

    def test_jax_arrays_are_never_written_to(self):
        x = jnp.arange(8.0)
        view = _native.from_dlpack(x)
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="not writeable"):
            _native.subset_transform(TABLE.astype(np.float32), view, (1, 0, -1, 1))
        np.testing.assert_array_equal(x, TABLE)

    @pytest.mark.parametrize("offset", range(8))
    def test_any_byte(self, offset):
        memory = np.zeros(72, np.uint8)
        memory[offset : offset + 64] = TABLE.view(np.uint8)
        x = Exporter(memory, (8,), offset=offset)
        np.testing.assert_array_equal(ji.mobius(x), EXPECTED)

    @pytest.mark.parametrize(
        ("shape", "strides", "offset", "expected"),
        [
            ((4,), (2,), 0, TABLE[::2]),
            ((8,), (-1,), 56, TABLE[::-1]),
            ((2, 4), (1, 2), 0, TABLE.reshape(4, 2).T),
            ((3, 2), (0, 1), 8, np.tile(TABLE[1:3], (3, 1))),
            ((2, 4), None, 0, TABLE.reshape(2, 4)),
            ((1, 1), (7, -3), 16, TABLE[2:3].reshape(1, 1)),
        ],
    )
    def test_strides(self, shape, strides, offset, expected):
        x = Exporter(TABLE, shape, strides=strides, offset=offset)
        np.testing.assert_array_equal(_native.from_dlpack(x), expected)
        np.testing.assert_array_equal(ji.mobius(x), ji.mobius(expected.copy()))

    def test_no_elements(self):
        assert ji.mobius(Exporter(TABLE, (0, 4))).shape == (0, 4)

    @pytest.mark.parametrize(
        ("code", "bits", "dtype"),
        [(INT, b, f"i{b // 8}") for b in (8, 16, 32, 64)]
        + [(UINT, b, f"u{b // 8}") for b in (8, 16, 32, 64)]
        + [(FLOAT, 16, "f2"), (FLOAT, 32, "f4"), (FLOAT, 64, "f8"), (BFLOAT, 16, jnp.bfloat16)]
        + [(BOOL, 8, "?"), (COMPLEX, 64, "c8"), (COMPLEX, 128, "c16")],
    )
    def test_dtypes(self, code, bits, dtype):
        memory = np.array([0, 1, 1, 0]).astype(dtype)
        view = _native.from_dlpack(Exporter(memory, (4,), code=code, bits=bits))
        assert view.dtype == memory.dtype
        np.testing.assert_array_equal(view, memory)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"device": CUDA}, r"DLPack device \(2, 0\), not in CPU memory"),
            ({"device": CUDA, "says": CPU}, r"DLPack device \(2, 0\)"),
            ({"major": 2}, "DLPack version 2; 0 and 1 are read"),
            ({"code": FLOAT, "bits": 8}, "type code 2, 8 bits, 1 lanes"),
            ({"code": INT, "bits": 4}, "type code 0, 4 bits"),
            ({"code": 17, "bits": 4}, "type code 17"),
            ({"code": 3, "bits": 64}, "type code 3"),
            ({"lanes": 2}, "2 lanes"),
        ],
    )
    def test_what_cannot_be_read_is_refused_and_deleted_once(self, wrong, message):
        x = Exporter(TABLE, (8,), **wrong)
        with pytest.raises(
            ValueError, match=r"mobius: values must be an array in CPU .*" + message
        ):
            ji.mobius(x)
        gc.collect()
        assert x.deleted == (wrong != {"device": CUDA})  # then nothing was exported

    @pytest.mark.parametrize(
        ("shape", "said", "message"),
        [
            ((8,), {"ndim": -1}, "-1 axes"),
            ((8,), {"ndim": 65}, "65 axes"),
            ((8,), {"shape": None}, "1 axes"),
            ((8,), {"data": None}, "elements and no memory"),
            ((2, -4), {}, "an axis of length -4"),
            ((1 << 40, 1 << 40), {}, "do not fit into memory"),
            ((2, 4), {"strides": (1 << 62, 1)}, "do not fit into memory"),
            ((2, 4), {"strides": (-(1 << 61), 1)}, "do not fit into memory"),
            ((8,), {"byte_offset": (1 << 64) - 8}, "do not fit into memory"),
        ],
    )
    def test_what_no_array_can_be_is_refused(self, shape, said, message):
        x = Exporter(TABLE, shape, strides=said.get("strides"))
        for name, value in said.items():
            if name != "strides":
                setattr(x.managed.tensor, name, value)
        with pytest.raises(ValueError, match=message):
            ji.mobius(x)
        gc.collect()
        assert x.deleted == 1

    def test_a_tensor_is_taken_once(self):
        x = Exporter(TABLE, (8,))
        capsule = x.__dlpack__()
        np.testing.assert_array_equal(_native.from_dlpack(capsule), TABLE)
        with pytest.raises(BufferError, match="taken before"):
            _native.from_dlpack(capsule)
        assert x.deleted == 1

    def test_an_exporter_that_refuses_is_quoted(self):
        class Refuses(Exporter):
            def __dlpack__(self, **_):
                raise BufferError("not today")

        with pytest.raises(ValueError, match=r"got Refuses \(not today\)"):
            ji.mobius(Refuses(TABLE, (8,)))

    def test_transforms_and_assembly_give_their_kind(self):
        kind, effects = ji.mobius(Namespaced(TABLE, (8,)))
        assert kind == "namespace"
        np.testing.assert_array_equal(effects, EXPECTED)
        kind, effects = ji.or_interactions(Namespaced(TABLE, (8,)))
        np.testing.assert_array_equal(effects, ji.or_interactions(TABLE))
        kind, inputs = ji.masked_inputs([[True, False]], Namespaced(TABLE[:2], (2,)), -1.0, [0, 1])
        np.testing.assert_array_equal(inputs, [[0.0, -1.0]])
        result = ji.extract(Namespaced(TABLE, (8,)))  # results of extraction are numpy then
        np.testing.assert_array_equal(result.and_effects, ji.extract(TABLE).and_effects)
        assert isinstance(ji.mobius(Exporter(TABLE, (8,))), np.ndarray)


class TestProducer:
    @pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (2, 5)])
    def test_what_is_exported_is_read_back(self, version):
        memory = np.arange(6.0).reshape(2, 3)[:, ::-1]
        capsule = _native.SharedArray(memory).__dlpack__(max_version=version)
        view = _native.from_dlpack(capsule)
        np.testing.assert_array_equal(view, memory)
        assert view.ctypes.data == memory.ctypes.data
        assert view.flags.writeable == (version is not None and version[0] >= 1)

    @pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.bool_, np.complex64])
    def test_consumers_share_the_memory(self, dtype, torch):
        memory = np.zeros(64 + 16, dtype)
        memory = memory[-memory.ctypes.data % 64 // memory.itemsize :][:16]
        memory[:] = np.arange(16) % 3
        shared = _native.SharedArray(memory)
        for read in (np.from_dlpack, torch.from_dlpack, jnp.from_dlpack):
            got = read(shared)
            np.testing.assert_array_equal(np.asarray(got), memory)
            if read is jnp.from_dlpack:
                assert got.unsafe_buffer_pointer() == memory.ctypes.data
            elif read is np.from_dlpack:
                assert got.ctypes.data == memory.ctypes.data
            else:
                assert got.data_ptr() == memory.ctypes.data

    def test_bfloat16(self, torch):
        memory = np.arange(4).astype(jnp.bfloat16)
        assert torch.from_dlpack(_native.SharedArray(memory)).dtype == torch.bfloat16

    def test_exports_hold_the_memory_until_deleted_by_anyone(self):
        memory = np.arange(4.0)
        at_rest = sys.getrefcount(memory)
        shared = _native.SharedArray(memory)
        view = np.from_dlpack(shared)
        del shared
        assert sys.getrefcount(memory) == at_rest + 1
        np.testing.assert_array_equal(view, memory)
        holder = [view]
        del view
        thread = threading.Thread(target=holder.clear)
        thread.start()
        thread.join()
        assert sys.getrefcount(memory) == at_rest
        _native.SharedArray(memory).__dlpack__(max_version=(1, 0))  # a capsule nobody takes
        assert sys.getrefcount(memory) == at_rest

    def test_read_only_is_said_or_refused(self):
        memory = np.arange(4.0)
        memory.flags.writeable = False
        shared = _native.SharedArray(memory)
        view = _native.from_dlpack(shared.__dlpack__(max_version=(1, 0)))
        assert not view.flags.writeable
        with pytest.raises(BufferError, match="before version 1 cannot say"):
            shared.__dlpack__()
        copied = _native.from_dlpack(shared.__dlpack__(max_version=(1, 0), copy=True))
        assert copied.ctypes.data != memory.ctypes.data

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({"stream": 1}, "no stream"), ({"dl_device": (CUDA, 0)}, "in CPU memory only")],
    )
    def test_what_it_cannot_do_is_refused(self, arguments, message):
        with pytest.raises(BufferError, match=message):
            _native.SharedArray(TABLE).__dlpack__(**arguments)

    def test_dtypes_that_dlpack_has_not(self):
        others = np.zeros(2, np.longdouble), np.zeros(2, ">f8")
        for memory in (np.array(["a"]), np.zeros(2, "M8[s]"), np.array([None]), *others):
            with pytest.raises(BufferError, match="no such dtype"):
                _native.SharedArray(memory).__dlpack__()
        records = np.zeros(3, [("x", "f8"), ("y", "u1")])
        with pytest.raises(BufferError, match="strides are not whole elements"):
            _native.SharedArray(records["x"]).__dlpack__()

    def test_exports_outlive_the_interpreter(self, tmp_path):
        code = """if True:
            import numpy as np, jax, jax.numpy as jnp
            from jaxinter import _native
            memory = np.zeros(1 << 16, np.float32)
            start = -memory.ctypes.data % 64 // 4
            x = jnp.from_dlpack(_native.SharedArray(memory[start:][: 1 << 15]))
            y = jax.jit(jnp.linalg.svd)(x[: 1 << 14].reshape(128, 128))
        """
        run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
        assert run.returncode == 0


class TestTorch:
    def test_views_that_share_memory_in_odd_ways(self, torch, rng):
        base = torch.from_numpy(rng.normal(size=(16, 6)))
        negated = torch.view_as_complex(torch.ones(8, 2)).conj().imag
        assert negated.is_neg()
        for x in (base.T, base[:, ::2].T, base[3].expand(4, 6)[:, :4], base.T + 1j, negated):
            x = x.imag if x.is_complex() else x
            np.testing.assert_array_equal(ji.mobius(x), ji.mobius(x.clone().numpy()))

    def test_gradients_are_followed_not_refused(self, torch):
        x = torch.ones(4, requires_grad=True)
        ji.mobius(x).sum().backward()
        np.testing.assert_array_equal(x.grad, ji.superset_mobius(np.ones(4)))
        assert not ji.mobius(x.detach()).requires_grad

    def test_lazy_tensors(self, torch):
        """Conjugate, negative and zero tensors hold other bytes than their values."""
        numbers = torch.tensor([1 + 2j, 3 + 4j], dtype=torch.complex64)
        got = ji.masked_inputs([1], numbers.conj(), 0, [0, 1])
        np.testing.assert_array_equal(got, [[1 - 2j, 0]])
        zeros = torch._efficientzerotensor(8)
        np.testing.assert_array_equal(ji.mobius(zeros), 0)
        negative = torch.view_as_complex(torch.ones(8, 2)).conj().imag
        for out in (zeros, negative, torch.zeros(8, requires_grad=True)):
            with pytest.raises(
                ValueError, match="out cannot be a tensor that requires grad, nor a la"
            ):
                ji.mobius(torch.ones(8), out=out)
        with pytest.raises(ValueError, match=r"out must not overlap itself; got strides \(0, 4\)"):
            ji.masked_inputs(
                [0, 1], torch.ones(3), 0, [0, 1, 2], out=torch.zeros(1, 3).expand(2, 3)
            )

    def test_half_types(self, torch):
        for dtype in (torch.float16, torch.bfloat16):
            np.testing.assert_array_equal(ji.mobius(torch.arange(8).to(dtype)), EXPECTED)

    def test_no_reference_is_kept(self, torch):
        x = torch.ones(8, dtype=torch.float64)
        at_rest = sys.getrefcount(x)
        for _ in range(10):
            ji.mobius(x, out=x)
            ji.masked_inputs(np.ones((2, 1), bool), x, 0.0, 0)
        assert sys.getrefcount(x) == at_rest


def test_results_are_aligned_for_the_kernels():
    for shape in ((1 << 16,), (3, 1 << 15)):
        assert ji.mobius(np.ones(shape)).ctypes.data % 64 == 0
    assert jax.config.jax_enable_x64 is False
