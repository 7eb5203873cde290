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

using namespace dlpack;  // this file is about nothing else

[[noreturn]] void Refuse(const std::string& why) { throw py::buffer_error(why); }

template <class M>
void Delete(void* managed) {
  auto* m = static_cast<M*>(managed);
  if (m->deleter) m->deleter(m);
}

py::dtype NumpyType(const DataType& type) {
  const std::string name = ElementName(type);
  if (name.empty()) Refuse("its elements (" + ElementText(type) + ") are of no numpy dtype");
  if (name == "bf2") {
    return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
  }
  return py::dtype(name);
}

void CheckDevice(const Device& device) {
  if (device.type == kCpu || device.type == kCudaHost || device.type == kRocmHost) return;
  Refuse("it is on " + DeviceText(device) + ", not in CPU memory");
}

template <class M>
TakenTensor Take(PyObject* capsule) {
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, M::kName));
  if (managed == nullptr || PyCapsule_SetName(capsule, M::kUsed) != 0)
    throw py::error_already_set();
  TakenTensor taken{py::capsule(managed, Delete<M>), {}, {}};
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    if (managed->major != kMajor) {
      Refuse("it is of DLPack version " + std::to_string(managed->major) + "; 0 and 1 are read");
    }
    taken.read_only = managed->flags & kReadOnly;
  }
  taken.tensor = managed->tensor;
  return taken;
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

std::optional<Device> DeviceOf(const py::object& x) {
  if (PyCapsule_CheckExact(x.ptr())) return std::nullopt;
  const auto [type, id] =
      py::cast<std::pair<std::int32_t, std::int32_t>>(x.attr("__dlpack_device__")());
  return Device{type, id};
}

TakenTensor TakeTensor(py::object x, py::object stream) {
  py::object capsule = x;
  if (!PyCapsule_CheckExact(x.ptr())) {
    py::dict arguments;
    if (!stream.is_none()) arguments["stream"] = stream;
    try {
      capsule = x.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(kMajor, kMinor),
                                     **arguments);
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_TypeError)) throw;
      capsule = x.attr("__dlpack__")(**arguments);  // an exporter from before versions
    }
  }
  if (PyCapsule_IsValid(capsule.ptr(), ManagedVersioned::kName)) {
    return Take<ManagedVersioned>(capsule.ptr());
  }
  if (PyCapsule_IsValid(capsule.ptr(), Managed::kName)) return Take<Managed>(capsule.ptr());
  Refuse("its __dlpack__ gave no tensor, or one that was taken before");
}

py::array FromDLPack(py::object x, bool writable) {
  if (const auto device = DeviceOf(x)) CheckDevice(*device);
  const TakenTensor taken = TakeTensor(x, py::none());
  const Tensor& tensor = taken.tensor;
  CheckDevice(tensor.device);
  const py::dtype dtype = NumpyType(tensor.dtype);
  if (const std::string why = LayoutRefusal(tensor); !why.empty()) Refuse(why);
  const std::vector<py::ssize_t> shape(tensor.shape, tensor.shape + tensor.ndim);
  std::vector<py::ssize_t> strides = ElementStrides(tensor);
  for (py::ssize_t& stride : strides) stride *= dtype.itemsize();
  py::array view(dtype, shape, strides, FirstElement(tensor), taken.owner);
  if (taken.read_only.value_or(!writable)) view.attr("setflags")(false);
  return view;
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
