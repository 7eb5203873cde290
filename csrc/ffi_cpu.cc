// SPDX-License-Identifier: Apache-2.0
// The door for XLA on the CPU: one handler for each launch function.
#include "ffi_cpu.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "assemble_kernels.h"
#include "ffi_checks.h"
#include "lattice_kernels.h"
#include "sparse_kernels.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace jaxinter {
namespace {

namespace ffi = xla::ffi;

class XlaThreads : public Parallel {
 public:
  // A call that moves few bytes runs on its own, as in threads.h.
  XlaThreads(ffi::ThreadPool pool, std::size_t bytes) : pool_(pool) {
    if (bytes <= static_cast<std::size_t>(SleepingThreads::kWorthBytes)) return;
    const std::int64_t threads = std::min<std::int64_t>(ThreadLimit(), pool.num_threads());
    threads_ = static_cast<int>(std::max<std::int64_t>(1, threads));
  }

  int threads() const override { return threads_; }

  void Run(Index tasks, void* context, Task task) override {
    const Index workers = std::min<Index>(threads_, tasks);
    auto shared = std::make_shared<SharedTasks>(tasks, workers, context, task);
    for (Index i = 1; i < workers; ++i) pool_.Schedule([shared] { shared->Help(); });
    shared->Work();
    shared->Wait();
  }

 private:
  ffi::ThreadPool pool_;
  int threads_ = 1;
};

// Calls f(T{}) for the dtype of `operand`.
template <class F>
ffi::Error OnFloats(const ffi::AnyBuffer& operand, const char* operation, const F& f) {
  switch (operand.element_type()) {
    case ffi::DataType::F32:
      f(float{});
      return ffi::Error::Success();
    case ffi::DataType::F64:
      f(double{});
      return ffi::Error::Success();
    default:
      return ffi::Error::InvalidArgument(std::string(operation) +
                                         ": operand must be float32 or float64");
  }
}

constexpr char kSubsetTransform[] = "jaxinter_subset_transform";

template <class T>
void Transform(const void* in, void* out, const BufferTables& tables, const Matrix2& matrix,
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
  XlaThreads threads(pool, in.size_bytes());
  return OnFloats(in, kSubsetTransform, [&](auto element) {
    Transform<decltype(element)>(in.untyped_data(), out->untyped_data(), *tables, *matrix, threads);
  });
}

XLA_FFI_DEFINE_HANDLER(kSubsetTransformHandler, SubsetTransform,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<ffi::Span<const double>>("matrix"));

constexpr char kAndOrEffects[] = "jaxinter_and_or_effects";

template <class T>
void AndOr(const ffi::AnyBuffer& v, const ffi::AnyBuffer& gamma, const void* delta,
           ffi::AnyBuffer& and_effects, ffi::AnyBuffer& or_effects, ffi::AnyBuffer& sums,
           const BufferTables& tables, Parallel& parallel) {
  std::vector<double> wide(tables.batch * 2 * tables.n_players);
  LaunchAndOrEffectsCpu(static_cast<const T*>(v.untyped_data()),
                        static_cast<const T*>(gamma.untyped_data()), static_cast<const T*>(delta),
                        static_cast<T*>(and_effects.untyped_data()),
                        static_cast<T*>(or_effects.untyped_data()), wide.data(), tables.batch,
                        tables.n_players, parallel);
  std::copy(wide.begin(), wide.end(), static_cast<T*>(sums.untyped_data()));
}

// Operands v, gamma and, where there is one, delta; sums in the dtype of v (JAX may have no other).
ffi::Error AndOrEffects(ffi::ThreadPool pool, ffi::AnyBuffer v, ffi::AnyBuffer gamma,
                        ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> and_effects,
                        ffi::Result<ffi::AnyBuffer> or_effects, ffi::Result<ffi::AnyBuffer> sums) {
  auto tables = ReadTables(v.dimensions(), kAndOrEffects);
  if (tables.has_error()) return tables.error();
  const void* delta = nullptr;
  bool fits = tables->n_players <= kMaxPlayers && gamma.element_count() == v.element_count() &&
              gamma.element_type() == v.element_type() && rest.size() <= 1;
  if (rest.size() == 1) {
    auto buffer = rest.get<ffi::AnyBuffer>(0);
    if (buffer.has_error()) return buffer.error();
    fits = fits && buffer->element_count() == v.element_count() &&
           buffer->element_type() == v.element_type();
    delta = buffer->untyped_data();
  }
  fits = fits && sums->element_type() == v.element_type() &&
         sums->element_count() == static_cast<std::size_t>(tables->batch * 2 * tables->n_players);
  if (!fits) {
    return ffi::Error::InvalidArgument(
        std::string(kAndOrEffects) +
        ": operands must be v, gamma and at most one delta, of one shape and dtype");
  }
  XlaThreads threads(pool, 4 * v.size_bytes());
  return OnFloats(v, kAndOrEffects, [&](auto element) {
    AndOr<decltype(element)>(v, gamma, delta, *and_effects, *or_effects, *sums, *tables, threads);
  });
}

XLA_FFI_DEFINE_HANDLER(kAndOrEffectsHandler, AndOrEffects,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .RemainingArgs()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>());

constexpr char kMaskedInputs[] = "jaxinter_masked_inputs";

// masks: bool [m, n], or indices [m], int32 or int64.
ffi::Error MaskedInputs(ffi::ThreadPool pool, ffi::AnyBuffer masks, ffi::AnyBuffer x,
                        ffi::AnyBuffer baseline, ffi::Buffer<ffi::DataType::S32> players,
                        ffi::Result<ffi::AnyBuffer> out) {
  const auto dims = masks.dimensions();
  const Index size = static_cast<Index>(x.element_count());
  Masks coalitions{};
  switch (masks.element_type()) {
    case ffi::DataType::PRED:
      coalitions.bytes = static_cast<const std::uint8_t*>(masks.untyped_data());
      coalitions.n_players = dims.size() == 2 && dims[1] <= 62 ? static_cast<int>(dims[1]) : 0;
      break;
    case ffi::DataType::S32:
      coalitions.indices32 = masks.typed_data<std::int32_t>();
      coalitions.n_players = dims.size() == 1 ? 31 : 0;
      break;
    case ffi::DataType::S64:
      coalitions.indices64 = masks.typed_data<std::int64_t>();
      coalitions.n_players = dims.size() == 1 ? 62 : 0;
      break;
    default:
      break;
  }
  if (coalitions.n_players < 1 || baseline.element_count() != x.element_count() ||
      players.element_count() != x.element_count() ||
      out->element_count() != static_cast<std::size_t>(dims[0] * size)) {
    return ffi::Error::InvalidArgument(
        std::string(kMaskedInputs) +
        ": operands must be masks, bool [m, n] with 1 <= n <= 62 or int32 or int64 [m], and x, "
        "baseline, players of one shape");
  }
  XlaThreads threads(pool, out->size_bytes());
  const Index element_bytes = static_cast<Index>(ffi::ByteWidth(x.element_type()));
  if (!LaunchMaskedInputsOfSizeCpu(element_bytes, coalitions, dims[0], x.untyped_data(),
                                   baseline.untyped_data(), players.typed_data(), size,
                                   out->untyped_data(), threads)) {
    return ffi::Error::InvalidArgument(std::string(kMaskedInputs) +
                                       ": elements must have 1, 2, 4 or 8 bytes");
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kMaskedInputsHandler, MaskedInputs,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::Buffer<ffi::DataType::S32>>()
                           .Ret<ffi::AnyBuffer>());

constexpr char kSparseSplit[] = "jaxinter_sparse_split";

// Operands w [groups, models, 2^n], zeta [groups, models, 1], start [groups, models, 3, 2^n] or
// [groups, models, 1, 1] for none, settings [groups, 3]: tol, tie-break, margin, the same for all.
ffi::Error SparseSplits(ffi::ThreadPool pool, ffi::Buffer<ffi::F64> w, ffi::Buffer<ffi::F64> zeta,
                        ffi::Buffer<ffi::F64> start, ffi::Buffer<ffi::F64> settings,
                        ffi::ResultBuffer<ffi::F64> a, ffi::ResultBuffer<ffi::F64> delta,
                        ffi::ResultBuffer<ffi::F64> y, ffi::ResultBuffer<ffi::F64> dual,
                        ffi::ResultBuffer<ffi::F64> eps, ffi::ResultBuffer<ffi::S32> iterations,
                        bool boxed, std::int64_t max_iterations) {
  const auto dims = w.dimensions();
  const int n = dims.size() == 3 ? PlayersOf(dims[2]) : -1;
  const bool fits =
      n >= 1 && n <= (boxed ? kMaxPlayersWithNoise : kMaxPlayers) && dims[1] >= 1 &&
      dims[1] <= kMaxModels && settings.element_count() == static_cast<std::size_t>(3 * dims[0]) &&
      zeta.element_count() == static_cast<std::size_t>(dims[0] * dims[1]) &&
      (start.element_count() == zeta.element_count() ||
       start.element_count() == 3 * w.element_count()) &&
      a->element_count() == w.element_count() && delta->element_count() == w.element_count() &&
      y->element_count() == w.element_count() &&
      dual->element_count() == static_cast<std::size_t>(dims[0]) &&
      eps->element_count() == dual->element_count() &&
      iterations->element_count() == dual->element_count();
  if (!fits) {
    return ffi::Error::InvalidArgument(std::string(kSparseSplit) + ": shapes do not fit");
  }
  if (dims[0] == 0) return ffi::Error::Success();
  const double* values = settings.typed_data();
  const SparseProgram program{
      dims[0],
      n,
      static_cast<int>(dims[1]),
      w.typed_data(),
      boxed ? zeta.typed_data() : nullptr,
      start.element_count() > zeta.element_count() ? start.typed_data() : nullptr,
      values[0],
      values[1],
      values[2],
      max_iterations};
  const SparseSplit split{a->typed_data(),    delta->typed_data(), y->typed_data(),
                          dual->typed_data(), eps->typed_data(),   iterations->typed_data()};
  XlaThreads threads(pool, SleepingThreads::kWorthBytes + 1);  // any sample is worth a thread
  if (!LaunchSparseSplitCpu(program, split, {nullptr, nullptr}, threads)) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      std::string(kSparseSplit) + ": memory ran out");
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kSparseSplitHandler, SparseSplits,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::Buffer<ffi::F64>>()
                           .Arg<ffi::Buffer<ffi::F64>>()
                           .Arg<ffi::Buffer<ffi::F64>>()
                           .Arg<ffi::Buffer<ffi::F64>>()
                           .Ret<ffi::Buffer<ffi::F64>>()
                           .Ret<ffi::Buffer<ffi::F64>>()
                           .Ret<ffi::Buffer<ffi::F64>>()
                           .Ret<ffi::Buffer<ffi::F64>>()
                           .Ret<ffi::Buffer<ffi::F64>>()
                           .Ret<ffi::Buffer<ffi::S32>>()
                           .Attr<bool>("boxed")
                           .Attr<std::int64_t>("max_iterations"));

}  // namespace

std::vector<FfiTarget> FfiTargets() {
  return {
      {kAndOrEffects, reinterpret_cast<void*>(kAndOrEffectsHandler)},
      {kMaskedInputs, reinterpret_cast<void*>(kMaskedInputsHandler)},
      {kSparseSplit, reinterpret_cast<void*>(kSparseSplitHandler)},
      {kSubsetTransform, reinterpret_cast<void*>(kSubsetTransformHandler)},
  };
}

}  // namespace jaxinter
