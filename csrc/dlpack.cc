// SPDX-License-Identifier: Apache-2.0
#include "dlpack.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace jaxinter {
namespace {

namespace py = pybind11;

// The protocol's binary interface, https://dmlc.github.io/dlpack/latest/c_api.html.
enum DeviceType : std::int32_t { kCpu = 1, kCudaHost = 3, kRocmHost = 11 };
enum TypeCode : std::uint8_t {
  kInt = 0,
  kUInt = 1,
  kFloat = 2,
  kBfloat = 4,
  kComplex = 5,
  kBool = 6
};
constexpr std::uint64_t kReadOnly = 1;
constexpr std::uint32_t kMajor = 1, kMinor = 0;

struct Device {
  std::int32_t type, id;
};
struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null for C order
  std::uint64_t byte_offset;
};
struct Managed {  // version 0
  static constexpr char kName[] = "dltensor", kUsed[] = "used_dltensor";
  Tensor tensor;
  void* manager;
  void (*deleter)(Managed*);
};
struct ManagedVersioned {  // version 1
  static constexpr char kName[] = "dltensor_versioned", kUsed[] = "used_dltensor_versioned";
  std::uint32_t major, minor;
  void* manager;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

[[noreturn]] void Refuse(const std::string& why) { throw py::buffer_error(why); }

template <class M>
void Delete(void* managed) {
  auto* m = static_cast<M*>(managed);
  if (m->deleter) m->deleter(m);
}

py::dtype NumpyType(const DataType& type) {
  const int bytes = type.bits / 8;
  const bool whole = type.lanes == 1 && type.bits % 8 == 0;
  if (whole && type.code == kBfloat && bytes == 2) {
    return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
  }
  const char* kinds[] = {"i", "u", "f", "", "", "c", "b"};
  const char* kind = type.code <= kBool ? kinds[type.code] : "";
  const bool known = type.code == kFloat     ? bytes == 2 || bytes == 4 || bytes == 8
                     : type.code == kComplex ? bytes == 8 || bytes == 16
                     : type.code == kBool    ? bytes == 1
                                             : bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
  if (!whole || !*kind || !known) {
    Refuse("its elements (DLPack type code " + std::to_string(type.code) + ", " +
           std::to_string(type.bits) + " bits, " + std::to_string(type.lanes) +
           " lanes) are of no numpy dtype");
  }
  return py::dtype(kind + std::to_string(bytes));
}

void CheckDevice(std::int32_t type, std::int32_t id) {
  if (type == kCpu || type == kCudaHost || type == kRocmHost) return;
  Refuse("it is on DLPack device (" + std::to_string(type) + ", " + std::to_string(id) +
         "), not in CPU memory");
}

// Takes the tensor over from its capsule: from here on it is deleted exactly once, with the view or
// with the error.
template <class M>
py::array View(PyObject* capsule, bool read_only) {
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, M::kName));
  if (managed == nullptr || PyCapsule_SetName(capsule, M::kUsed) != 0)
    throw py::error_already_set();
  py::capsule owner(managed, Delete<M>);
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    if (managed->major != kMajor) {
      Refuse("it is of DLPack version " + std::to_string(managed->major) + "; 0 and 1 are read");
    }
    read_only = managed->flags & kReadOnly;
  }
  const Tensor& tensor = managed->tensor;
  CheckDevice(tensor.device.type, tensor.device.id);
  const py::dtype dtype = NumpyType(tensor.dtype);
  std::vector<py::ssize_t> shape(tensor.shape, tensor.shape + tensor.ndim), strides(tensor.ndim);
  py::ssize_t step = dtype.itemsize();
  for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
    strides[axis] = tensor.strides ? tensor.strides[axis] * dtype.itemsize() : step;
    step *= shape[axis];
  }
  char* data = static_cast<char*>(tensor.data);
  py::array view(dtype, shape, strides, data ? data + tensor.byte_offset : data, owner);
  if (read_only) view.attr("setflags")(false);
  return view;
}

// What an export keeps alive, and the memory that its tensor points to.
template <class M>
struct Export {
  py::array array;
  std::vector<std::int64_t> shape, strides;
  M managed;
};

template <class M>
py::capsule MakeCapsule(const py::array& array, const DataType& type, bool read_only) {
  auto made = std::make_unique<Export<M>>();
  made->array = array;
  for (int axis = 0; axis < array.ndim(); ++axis) {
    made->shape.push_back(array.shape(axis));
    made->strides.push_back(array.strides(axis) / array.itemsize());
  }
  M& managed = made->managed;
  managed.tensor = Tensor{const_cast<void*>(array.data()),
                          {kCpu, 0},
                          static_cast<int>(array.ndim()),
                          type,
                          made->shape.data(),
                          made->strides.data(),
                          0};
  managed.manager = made.get();
  managed.deleter = [](M* m) {
    if (!Py_IsInitialized()) return;  // at exit: the memory goes with the process
    py::gil_scoped_acquire gil;       // consumers may delete from any thread
    delete static_cast<Export<M>*>(m->manager);
  };
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    managed.major = kMajor;
    managed.minor = kMinor;
    managed.flags = read_only ? kReadOnly : 0;
  }
  PyObject* capsule = PyCapsule_New(&managed, M::kName, [](PyObject* unused) {
    if (!PyCapsule_IsValid(unused, M::kName)) return;  // somebody took it
    Delete<M>(PyCapsule_GetPointer(unused, M::kName));
  });
  if (capsule == nullptr) throw py::error_already_set();
  made.release();
  return py::reinterpret_steal<py::capsule>(capsule);
}

}  // namespace

py::array FromDLPack(py::object x, bool writable) {
  py::object capsule = x;
  if (!PyCapsule_CheckExact(x.ptr())) {
    const auto device =
        py::cast<std::pair<std::int32_t, std::int32_t>>(x.attr("__dlpack_device__")());
    CheckDevice(device.first, device.second);  // before the export, which may wait for the device
    try {
      capsule = x.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(kMajor, kMinor));
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_TypeError)) throw;
      capsule = x.attr("__dlpack__")();  // an exporter from before versions
    }
  }
  if (PyCapsule_IsValid(capsule.ptr(), ManagedVersioned::kName)) {
    return View<ManagedVersioned>(capsule.ptr(), false);
  }
  if (PyCapsule_IsValid(capsule.ptr(), Managed::kName)) {
    return View<Managed>(capsule.ptr(), !writable);
  }
  Refuse("its __dlpack__ gave no tensor, or one that was taken before");
}

py::capsule SharedArray::ToDLPack(py::object stream, py::object max_version, py::object device,
                                  py::object copy) const {
  if (!stream.is_none()) Refuse("memory of the CPU has no stream");
  if (!device.is_none() && !device.equal(Device())) Refuse("it is in CPU memory only");
  py::array array = array_;
  if (!copy.is_none() && py::cast<bool>(copy)) array = array.attr("copy")();
  const char kind = array.dtype().kind();
  const bool bfloat16 = py::str(array.dtype().attr("name")).equal(py::str("bfloat16"));
  const TypeCode code = bfloat16      ? kBfloat
                        : kind == 'i' ? kInt
                        : kind == 'u' ? kUInt
                        : kind == 'f' ? kFloat
                        : kind == 'c' ? kComplex
                                      : kBool;
  const py::ssize_t widest = kind == 'c' ? 16 : 8;
  if (!(bfloat16 || std::strchr("iufcb", kind)) || array.itemsize() > widest ||
      !py::cast<bool>(array.dtype().attr("isnative"))) {
    Refuse("DLPack has no such dtype");
  }
  for (int axis = 0; axis < array.ndim(); ++axis) {
    if (array.strides(axis) % array.itemsize()) Refuse("its strides are not whole elements");
  }
  const DataType type{static_cast<std::uint8_t>(code),
                      static_cast<std::uint8_t>(8 * array.itemsize()), 1};
  const bool versioned = !max_version.is_none() &&
                         py::cast<int>(py::tuple(max_version)[0]) >= static_cast<int>(kMajor);
  if (versioned) return MakeCapsule<ManagedVersioned>(array, type, !array.writeable());
  if (!array.writeable()) Refuse("it is read-only, which DLPack before version 1 cannot say");
  return MakeCapsule<Managed>(array, type, false);
}

py::tuple SharedArray::Device() { return py::make_tuple(static_cast<int>(kCpu), 0); }

}  // namespace jaxinter
