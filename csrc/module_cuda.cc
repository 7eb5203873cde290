// SPDX-License-Identifier: Apache-2.0
// Module jaxinter._cuda: the targets that XLA calls on CUDA, and the doors for CUDA arrays of torch
// and others, through DLPack: device memory in, device memory out, on the caller's stream, which is
// not waited for. It loads on machines without a driver, and says so. The Python layer checks what
// users pass; what is checked here would be its bug.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

#include "assemble_kernels.h"
#include "dlpack.h"
#include "ffi_targets.h"
#include "lattice_kernels.h"

namespace jaxinter {
namespace {

namespace py = pybind11;

py::dict Registrations() {
  py::dict targets;
  for (const FfiTarget& target : FfiTargets()) targets[target.name] = py::capsule(target.handler);
  return targets;
}

// ---- devices

int DeviceCount() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

bool HasDriver() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess && version > 0;
}

// Why there is no device.
std::string WhyNoDevice() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  const std::string words = error == cudaSuccess ? "" : cudaGetErrorString(error);
  if (HasDriver()) return words;
  return "no CUDA driver is installed" + (words.empty() ? "" : " (" + words + ")");
}

// Whether this build has code for a compute capability: of "80" its binary, for 8.x, and its PTX,
// for all that is newer; of "80-real" the binary alone.
bool HasCode(int major, int minor) {
  std::istringstream architectures(JAXINTER_CUDA_ARCHITECTURES);
  for (std::string entry; std::getline(architectures, entry, ',');) {
    const std::size_t begin = entry.find_first_not_of(' ');
    const int built = std::atoi(entry.c_str() + (begin == std::string::npos ? 0 : begin));
    const bool binary = built / 10 == major && built % 10 <= minor;
    const bool ptx = entry.find("-real") == std::string::npos && built <= 10 * major + minor;
    if (binary || ptx) return true;
  }
  return false;
}

// A device that this build has no code for, as words; empty where there is none.
std::string DeviceWithoutCode() {
  for (int device = 0; device < DeviceCount(); ++device) {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    if (!HasCode(major, minor)) {
      return "device " + std::to_string(device) + ", of compute capability " +
             std::to_string(major) + "." + std::to_string(minor);
    }
  }
  return "";
}

// Whether XLA's programs should call the kernels: every device can run them; or there is no driver,
// and the programs are for other machines.
bool Usable() { return DeviceCount() > 0 ? DeviceWithoutCode().empty() : !HasDriver(); }

std::string Status() {
  const std::string built = "compiled for the architectures " JAXINTER_CUDA_ARCHITECTURES "; ";
  const int count = DeviceCount();
  if (count > 0) {
    const std::string without = DeviceWithoutCode();
    return built + std::to_string(count) + (count > 1 ? " devices" : " device") +
           (without.empty() ? "" : "; no code for " + without);
  }
  const std::string why = WhyNoDevice();
  return built + "no device" + (why.empty() ? "" : ": " + why);
}

// What a launch function, or the runtime, says is wrong; null for nothing.
const char* Text(cudaError_t error) {
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Makes a device the current one, until it goes.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) : device_(device) {
    problem_ = Text(cudaGetDevice(&before_));
    if (!problem_ && before_ != device_) problem_ = Text(cudaSetDevice(device_));
  }
  ~CurrentDevice() {
    if (!problem_ && before_ != device_) cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  const char* problem() const { return problem_; }

 private:
  int device_, before_ = 0;
  const char* problem_;
};

// Memory that the stream takes and gives back, in its order; null for 0 bytes.
class Workspace {
 public:
  Workspace(Index bytes, cudaStream_t stream) : stream_(stream) {
    if (bytes > 0) {
      problem_ = Text(cudaMallocAsync(&memory_, static_cast<std::size_t>(bytes), stream));
    }
  }
  ~Workspace() {
    if (memory_) cudaFreeAsync(memory_, stream_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* memory() const { return memory_; }
  const char* problem() const { return problem_; }

 private:
  cudaStream_t stream_;
  void* memory_ = nullptr;
  const char* problem_ = nullptr;
};

// ---- arrays

// The arrays of one call, all on one device; a refusal names the call and the array.
class Call {
 public:
  // `stream`: a handle; the default one, 0, is 1 to DLPack, and so to CUDA, which knows it so too.
  Call(const char* name, std::uintptr_t stream) : name_(name), stream_(stream ? stream : 1) {}

  [[noreturn]] void Refuse(const std::string& array, const std::string& why) const {
    throw py::value_error(std::string("_cuda.") + name_ + ": " + array + " " + why);
  }

  // Takes a C-contiguous array on CUDA.
  TakenTensor Take(const char* array, const py::object& x) {
    std::optional<TakenTensor> taken;
    try {
      if (const auto device = DeviceOf(x)) CheckDevice(array, *device);
      taken = TakeTensor(x, py::int_(stream_));
    } catch (const py::buffer_error& error) {
      Refuse(array, std::string("cannot be read: ") + error.what());
    }
    const dlpack::Tensor& tensor = taken->tensor;
    CheckDevice(array, tensor.device);
    if (device_.value_or(tensor.device.id) != tensor.device.id) {
      Refuse(array, "must be on CUDA device " + std::to_string(*device_) +
                        ", as the others are; got device " + std::to_string(tensor.device.id));
    }
    device_ = tensor.device.id;
    if (dlpack::ElementName(tensor.dtype).empty()) {
      Refuse(array, "must have elements of a known type; got " + dlpack::ElementText(tensor.dtype));
    }
    const std::string why = dlpack::LayoutRefusal(tensor);
    if (!why.empty()) Refuse(array, "cannot be read: " + why);
    if (!dlpack::IsContiguous(tensor)) Refuse(array, "must be C-contiguous");
    const std::int64_t bytes = tensor.dtype.bits / 8;
    if (reinterpret_cast<std::uintptr_t>(dlpack::FirstElement(tensor)) % bytes) {
      Refuse(array, "must be aligned to its elements");
    }
    return *taken;
  }

  TakenTensor TakeOut(const char* array, const py::object& x) {
    TakenTensor taken = Take(array, x);
    if (taken.read_only.value_or(false)) Refuse(array, "is written to; got a read-only array");
    return taken;
  }

  // launch(stream), with the arrays' device as the current one, without the GIL.
  template <class F>
  void Launch(const F& launch) const {
    std::string problem;
    {
      py::gil_scoped_release release;
      const CurrentDevice current(*device_);
      const char* text = current.problem();
      if (!text) text = launch(reinterpret_cast<cudaStream_t>(stream_));
      if (text) problem = text;
    }
    if (problem.empty()) return;
    if (DeviceCount() == 0) problem = WhyNoDevice();
    throw std::runtime_error(std::string("_cuda.") + name_ + ": CUDA: " + problem);
  }

 private:
  void CheckDevice(const char* array, const dlpack::Device& device) const {
    if (device.type == dlpack::kCuda || device.type == dlpack::kCudaManaged) return;
    Refuse(array, "must be in CUDA memory; it is on " + dlpack::DeviceText(device));
  }

  const char* name_;
  std::uintptr_t stream_;
  std::optional<int> device_;
};

Index SizeOf(const dlpack::Tensor& tensor) {
  Index size = 1;
  for (int axis = 0; axis < tensor.ndim; ++axis) size *= tensor.shape[axis];
  return size;
}

// A table [..., 2^n], float32 or float64, which sets what others must be like.
struct TableShape {
  Index batch;
  int n_players;
  std::string element;

  TableShape(const Call& call, const char* array, const dlpack::Tensor& tensor)
      : element(dlpack::ElementName(tensor.dtype)) {
    n_players = tensor.ndim > 0 ? PlayersOf(tensor.shape[tensor.ndim - 1]) : -1;
    if (n_players < 0 || (element != "f4" && element != "f8")) {
      call.Refuse(array, "must be [..., 2**n], float32 or float64");
    }
    batch = SizeOf(tensor) >> n_players;
  }
  void Check(const Call& call, const char* array, const dlpack::Tensor& tensor, Index size) const {
    const std::string got = dlpack::ElementName(tensor.dtype);
    if (got == element && SizeOf(tensor) == size) return;
    call.Refuse(array, "must have " + std::to_string(size) + " elements of type " + element +
                           "; got " + std::to_string(SizeOf(tensor)) + " of type " + got);
  }
  Index size() const { return batch << n_players; }

  // f(T{}) for the type of the elements.
  template <class F>
  const char* OnFloats(const F& f) const {
    return element == "f4" ? f(float{}) : f(double{});
  }
};

template <class T>
T* Data(const TakenTensor& taken) {
  return static_cast<T*>(dlpack::FirstElement(taken.tensor));
}

// ---- doors

void SubsetTransform(const py::object& in, const py::object& out, std::array<double, 4> entries,
                     std::uintptr_t stream) {
  Call call("subset_transform", stream);
  const TakenTensor source = call.Take("in", in), target = call.TakeOut("out", out);
  const TableShape tables(call, "in", source.tensor);
  tables.Check(call, "out", target.tensor, tables.size());
  const Matrix2 matrix{entries[0], entries[1], entries[2], entries[3]};
  call.Launch([&](cudaStream_t on) {
    return tables.OnFloats([&](auto element) {
      using T = decltype(element);
      return LaunchSubsetTransformCuda(Data<const T>(source), Data<T>(target), tables.batch,
                                       tables.n_players, matrix, on);
    });
  });
}

// sums [..., 2, n], of the tables' dtype.
void AndOrEffects(const py::object& v, const py::object& gamma,
                  const std::optional<py::object>& delta, const py::object& and_effects,
                  const py::object& or_effects, const py::object& sums, std::uintptr_t stream) {
  Call call("and_or_effects", stream);
  const TakenTensor v_in = call.Take("v", v), gamma_in = call.Take("gamma", gamma);
  std::optional<TakenTensor> delta_in;
  if (delta) delta_in = call.Take("delta", *delta);
  const TakenTensor and_out = call.TakeOut("and_effects", and_effects),
                    or_out = call.TakeOut("or_effects", or_effects),
                    sums_out = call.TakeOut("sums", sums);
  const TableShape tables(call, "v", v_in.tensor);
  if (tables.n_players > kMaxPlayers) call.Refuse("v", "must be of at most 30 players");
  tables.Check(call, "gamma", gamma_in.tensor, tables.size());
  if (delta_in) tables.Check(call, "delta", delta_in->tensor, tables.size());
  tables.Check(call, "and_effects", and_out.tensor, tables.size());
  tables.Check(call, "or_effects", or_out.tensor, tables.size());
  tables.Check(call, "sums", sums_out.tensor, tables.batch * 2 * tables.n_players);
  call.Launch([&](cudaStream_t on) {
    return tables.OnFloats([&](auto element) -> const char* {
      using T = decltype(element);
      const Workspace workspace(AndOrWorkspaceBytes(tables.batch, tables.n_players, sizeof(T)), on);
      if (workspace.problem()) return workspace.problem();
      return LaunchAndOrEffectsCuda(Data<const T>(v_in), Data<const T>(gamma_in),
                                    delta_in ? Data<const T>(*delta_in) : nullptr, Data<T>(and_out),
                                    Data<T>(or_out), Data<T>(sums_out), workspace.memory(),
                                    tables.batch, tables.n_players, on);
    });
  });
}

// masks: bool [m, n], or int32 or int64 [m], indices of coalitions of n_players; x, baseline and
// out of one element type, players int32 of x's size.
void MaskedInputs(const py::object& masks, int n_players, const py::object& x,
                  const py::object& baseline, const py::object& players, const py::object& out,
                  std::uintptr_t stream) {
  Call call("masked_inputs", stream);
  const TakenTensor masks_in = call.Take("masks", masks), x_in = call.Take("x", x),
                    baseline_in = call.Take("baseline", baseline),
                    players_in = call.Take("players", players), inputs = call.TakeOut("out", out);
  const dlpack::Tensor& rows = masks_in.tensor;
  const std::string kind = dlpack::ElementName(rows.dtype);
  const bool packed = rows.ndim == 1 && (kind == "i4" || kind == "i8");
  const int most = packed && kind == "i4" ? 31 : 62;
  if (!packed && !(rows.ndim == 2 && kind == "b1" && rows.shape[1] == n_players)) {
    call.Refuse("masks", "must be bool [m, n], or int32 or int64 [m]");
  }
  if (n_players < 1 || n_players > most) {
    call.Refuse("masks", "must be of 1 to " + std::to_string(most) + " players; got " +
                             std::to_string(n_players));
  }
  const auto check = [&](const char* array, const dlpack::Tensor& tensor, const std::string& type,
                         Index size) {
    if (dlpack::ElementName(tensor.dtype) == type && SizeOf(tensor) == size) return;
    call.Refuse(array, "must have " + std::to_string(size) + " elements of type " + type);
  };
  const Index size = SizeOf(x_in.tensor);
  const std::string type = dlpack::ElementName(x_in.tensor.dtype);
  check("baseline", baseline_in.tensor, type, size);
  check("players", players_in.tensor, "i4", size);
  check("out", inputs.tensor, type, rows.shape[0] * size);
  Masks coalitions{nullptr, nullptr, nullptr, n_players};
  if (!packed) {
    coalitions.bytes = Data<const std::uint8_t>(masks_in);
  } else if (kind == "i4") {
    coalitions.indices32 = Data<const std::int32_t>(masks_in);
  } else {
    coalitions.indices64 = Data<const std::int64_t>(masks_in);
  }
  call.Launch([&](cudaStream_t on) {
    return LaunchMaskedInputsCuda(x_in.tensor.dtype.bits / 8, coalitions, rows.shape[0],
                                  Data<const void>(x_in), Data<const void>(baseline_in),
                                  Data<const std::int32_t>(players_in), size, Data<void>(inputs),
                                  on);
  });
}

}  // namespace
}  // namespace jaxinter

PYBIND11_MODULE(_cuda, m) {
  using pybind11::arg;
  m.def("registrations", &jaxinter::Registrations, "FFI targets: name -> capsule.");
  m.def("device_count", &jaxinter::DeviceCount, "0 where there is no driver.");
  m.def("usable", &jaxinter::Usable, "False where a device or the driver cannot run the kernels.");
  m.def("status", &jaxinter::Status, "One sentence: what was compiled, which devices there are.");
  m.def("subset_transform", &jaxinter::SubsetTransform, arg("in"), arg("out"), arg("matrix"),
        arg("stream"));
  m.def("and_or_effects", &jaxinter::AndOrEffects, arg("v"), arg("gamma"), arg("delta"),
        arg("and_effects"), arg("or_effects"), arg("sums"), arg("stream"));
  m.def("masked_inputs", &jaxinter::MaskedInputs, arg("masks"), arg("n_players"), arg("x"),
        arg("baseline"), arg("players"), arg("out"), arg("stream"));
}
