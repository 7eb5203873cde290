// SPDX-License-Identifier: Apache-2.0
// Module jaxinter._cpu: the CPU handlers for XLA, and the direct door for numpy and torch arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "assemble_kernels.h"
#include "ffi_checks.h"
#include "lattice_kernels.h"
#include "threads.h"

namespace jaxinter {
namespace {

namespace ffi = xla::ffi;
namespace py = pybind11;

class XlaThreads : public Parallel {
 public:
  explicit XlaThreads(ffi::ThreadPool pool)
      : pool_(pool),
        threads_(
            std::min(ThreadLimit(), static_cast<int>(std::max<int64_t>(1, pool.num_threads())))) {}

  int threads() const override { return threads_; }

  void Run(Index tasks, void* context, Task task) override {
    auto shared = std::make_shared<SharedTasks>(tasks, context, task);
    const Index helpers = std::min<Index>(threads_, tasks) - 1;
    for (Index i = 0; i < helpers; ++i) pool_.Schedule([shared] { shared->Work(); });
    shared->Work();
    shared->Wait();
  }

 private:
  ffi::ThreadPool pool_;
  int threads_;
};

constexpr char kSubsetTransform[] = "jaxinter_subset_transform";

template <class T>
void Transform(const void* in, void* out, const Tables& tables, const Matrix2& matrix,
               Parallel& parallel) {
  LaunchSubsetTransformCpu(static_cast<const T*>(in), static_cast<T*>(out), tables.batch,
                           tables.n_players, matrix, parallel);
}

ffi::Error SubsetTransform(ffi::ThreadPool pool, ffi::AnyBuffer in, ffi::Result<ffi::AnyBuffer> out,
                           ffi::Span<const double> matrix_entries) {
  auto tables = ReadTables(in.dimensions(), kSubsetTransform);
  if (tables.has_error()) return tables.error();
  auto matrix = ReadMatrix(matrix_entries, kSubsetTransform);
  if (matrix.has_error()) return matrix.error();
  XlaThreads threads(pool);
  switch (in.element_type()) {
    case ffi::DataType::F32:
      Transform<float>(in.untyped_data(), out->untyped_data(), *tables, *matrix, threads);
      return ffi::Error::Success();
    case ffi::DataType::F64:
      Transform<double>(in.untyped_data(), out->untyped_data(), *tables, *matrix, threads);
      return ffi::Error::Success();
    default:
      return ffi::Error::InvalidArgument(std::string(kSubsetTransform) +
                                         ": operand must be float32 or float64");
  }
}

XLA_FFI_DEFINE_HANDLER(kSubsetTransformHandler, SubsetTransform,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<ffi::Span<const double>>("matrix"));

constexpr char kMaskedInputs[] = "jaxinter_masked_inputs";

ffi::Error MaskedInputs(ffi::ThreadPool pool, ffi::Buffer<ffi::DataType::PRED> masks,
                        ffi::AnyBuffer x, ffi::AnyBuffer baseline,
                        ffi::Buffer<ffi::DataType::S32> players, ffi::Result<ffi::AnyBuffer> out) {
  const auto dims = masks.dimensions();
  const Index size = static_cast<Index>(x.element_count());
  if (dims.size() != 2 || dims[1] < 1 || dims[1] > 62 ||
      baseline.element_count() != x.element_count() ||
      players.element_count() != x.element_count() ||
      out->element_count() != static_cast<std::size_t>(dims[0] * size)) {
    return ffi::Error::InvalidArgument(
        std::string(kMaskedInputs) +
        ": operands must be masks [m, n] with 1 <= n <= 62, and x, baseline, players of one shape");
  }
  XlaThreads threads(pool);
  const auto launch = [&](auto element) {
    using T = decltype(element);
    LaunchMaskedInputsCpu<T>(reinterpret_cast<const std::uint8_t*>(masks.typed_data()), dims[0],
                             static_cast<int>(dims[1]), static_cast<const T*>(x.untyped_data()),
                             static_cast<const T*>(baseline.untyped_data()), players.typed_data(),
                             size, static_cast<T*>(out->untyped_data()), threads);
    return ffi::Error::Success();
  };
  switch (ffi::ByteWidth(x.element_type())) {
    case 1:
      return launch(std::uint8_t{});
    case 2:
      return launch(std::uint16_t{});
    case 4:
      return launch(std::uint32_t{});
    case 8:
      return launch(std::uint64_t{});
    default:
      return ffi::Error::InvalidArgument(std::string(kMaskedInputs) +
                                         ": elements must have 1, 2, 4 or 8 bytes");
  }
}

XLA_FFI_DEFINE_HANDLER(kMaskedInputsHandler, MaskedInputs,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::Buffer<ffi::DataType::PRED>>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::Buffer<ffi::DataType::S32>>()
                           .Ret<ffi::AnyBuffer>());

py::dict Registrations() {
  py::dict targets;
  targets[kMaskedInputs] = py::capsule(reinterpret_cast<void*>(kMaskedInputsHandler));
  targets[kSubsetTransform] = py::capsule(reinterpret_cast<void*>(kSubsetTransformHandler));
  return targets;
}

// transform.py hands over C-contiguous arrays of one shape and dtype; anything else is its bug.
void SubsetTransformArrays(const py::array& in, py::array& out, std::array<double, 4> entries) {
  const auto contiguous = [](const py::array& a) {
    return (a.flags() & py::array::c_style) && a.ndim() > 0;
  };
  const bool is_float = py::isinstance<py::array_t<float>>(in);
  if (!contiguous(in) || !contiguous(out) || in.nbytes() != out.nbytes() ||
      !in.dtype().equal(out.dtype()) || !(is_float || py::isinstance<py::array_t<double>>(in))) {
    throw py::value_error(
        "_cpu.subset_transform: in and out must be C-contiguous arrays of one "
        "shape and dtype, float32 or float64");
  }
  const Index size = in.shape(in.ndim() - 1);
  Tables tables;
  tables.n_players = PlayersOf(size);
  if (tables.n_players < 0) {
    throw py::value_error("_cpu.subset_transform: the last axis must have length 2**n");
  }
  tables.batch = in.size() / size;
  const Matrix2 matrix{entries[0], entries[1], entries[2], entries[3]};
  const void* source = in.data();
  void* target = out.mutable_data();  // raises for a read-only array
  py::gil_scoped_release release;
  SleepingThreads threads(in.nbytes());
  (is_float ? Transform<float> : Transform<double>)(source, target, tables, matrix, threads);
}

template <class T>
void MaskedInputsOf(const py::array& masks, const py::array& x, const py::array& baseline,
                    const py::array& players, py::array& out) {
  const Index rows = masks.shape(0), size = x.size();
  const int n_players = static_cast<int>(masks.shape(1));
  const auto* mask_data = static_cast<const std::uint8_t*>(masks.data());
  const auto* player_data = static_cast<const std::int32_t*>(players.data());
  const T* x_data = static_cast<const T*>(x.data());
  const T* baseline_data = static_cast<const T*>(baseline.data());
  T* out_data = static_cast<T*>(out.mutable_data());
  py::gil_scoped_release release;
  SleepingThreads threads(rows * size * static_cast<Index>(sizeof(T)));
  LaunchMaskedInputsCpu<T>(mask_data, rows, n_players, x_data, baseline_data, player_data, size,
                           out_data, threads);
}

// assemble.py hands over C-contiguous arrays, elements as unsigned words; anything else is its bug.
void MaskedInputsArrays(const py::array& masks, const py::array& x, const py::array& baseline,
                        const py::array& players, py::array& out) {
  for (const py::array* a : {&masks, &x, &baseline, &players, const_cast<const py::array*>(&out)}) {
    if (!(a->flags() & py::array::c_style)) {
      throw py::value_error("_cpu.masked_inputs: arrays must be C-contiguous");
    }
  }
  if (masks.ndim() != 2 || masks.itemsize() != 1 || masks.shape(1) > 62 ||
      players.itemsize() != 4 || players.size() != x.size() || baseline.size() != x.size() ||
      baseline.itemsize() != x.itemsize() || out.itemsize() != x.itemsize() ||
      out.size() != masks.shape(0) * x.size()) {
    throw py::value_error("_cpu.masked_inputs: shapes or item sizes do not fit");
  }
  switch (x.itemsize()) {
    case 1:
      return MaskedInputsOf<std::uint8_t>(masks, x, baseline, players, out);
    case 2:
      return MaskedInputsOf<std::uint16_t>(masks, x, baseline, players, out);
    case 4:
      return MaskedInputsOf<std::uint32_t>(masks, x, baseline, players, out);
    case 8:
      return MaskedInputsOf<std::uint64_t>(masks, x, baseline, players, out);
    default:
      throw py::value_error("_cpu.masked_inputs: elements must have 1, 2, 4 or 8 bytes");
  }
}

void StreamPassArray(py::array& x) {
  const bool is_float = py::isinstance<py::array_t<float>>(x);
  if (!(x.flags() & py::array::c_style) || !(is_float || py::isinstance<py::array_t<double>>(x))) {
    throw py::value_error("_cpu.stream_pass: x must be C-contiguous, float32 or float64");
  }
  void* data = x.mutable_data();
  const Index size = x.size();
  py::gil_scoped_release release;
  SleepingThreads threads(size * (is_float ? 4 : 8));
  if (is_float) {
    LaunchStreamPassCpu(static_cast<float*>(data), size, threads);
  } else {
    LaunchStreamPassCpu(static_cast<double*>(data), size, threads);
  }
}

}  // namespace
}  // namespace jaxinter

PYBIND11_MODULE(_cpu, m) {
  m.def("registrations", &jaxinter::Registrations, "FFI targets: name -> capsule.");
  m.def("subset_transform", &jaxinter::SubsetTransformArrays, pybind11::arg("in").noconvert(),
        pybind11::arg("out").noconvert(), pybind11::arg("matrix"));
  m.def("masked_inputs", &jaxinter::MaskedInputsArrays, pybind11::arg("masks").noconvert(),
        pybind11::arg("x").noconvert(), pybind11::arg("baseline").noconvert(),
        pybind11::arg("players").noconvert(), pybind11::arg("out").noconvert());
  m.def("stream_pass", &jaxinter::StreamPassArray, pybind11::arg("x").noconvert(),
        "x += 1 in place: one read and write of every element, the bound of every transform.");
  m.def("simd_level", &jaxinter::SimdLevel);
  m.def("thread_limit", &jaxinter::ThreadLimit);
}
