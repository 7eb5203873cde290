// SPDX-License-Identifier: Apache-2.0
// The door for XLA on the CPU: one handler for each launch function.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "assemble_kernels.h"
#include "ffi_checks.h"
#include "ffi_targets.h"
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

ffi::Error SubsetTransform(ffi::ThreadPool pool, ffi::AnyBuffer in, ffi::Result<ffi::AnyBuffer> out,
                           ffi::Span<const double> matrix_entries) {
  auto tables = ReadTables(in.dimensions(), kSubsetTransform);
  if (tables.has_error()) return tables.error();
  auto matrix = ReadMatrix(matrix_entries, kSubsetTransform);
  if (matrix.has_error()) return matrix.error();
  XlaThreads threads(pool, in.size_bytes());
  return OnFloats(in, kSubsetTransform, [&](auto element) {
    using T = decltype(element);
    LaunchSubsetTransformCpu(static_cast<const T*>(in.untyped_data()),
                             static_cast<T*>(out->untyped_data()), tables->batch, tables->n_players,
                             *matrix, threads);
    return ffi::Error::Success();
  });
}

XLA_FFI_DEFINE_HANDLER(kSubsetTransformHandler, SubsetTransform,
                       BindTransform(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()));

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

ffi::Error AndOrEffects(ffi::ThreadPool pool, ffi::AnyBuffer v, ffi::AnyBuffer gamma,
                        ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> and_effects,
                        ffi::Result<ffi::AnyBuffer> or_effects, ffi::Result<ffi::AnyBuffer> sums) {
  const auto read = ReadAndOr(v, gamma, rest, *sums);
  if (read.has_error()) return read.error();
  XlaThreads threads(pool, 4 * v.size_bytes());
  return OnFloats(v, kAndOrEffects, [&](auto element) {
    AndOr<decltype(element)>(v, gamma, read->delta, *and_effects, *or_effects, *sums, read->tables,
                             threads);
    return ffi::Error::Success();
  });
}

XLA_FFI_DEFINE_HANDLER(kAndOrEffectsHandler, AndOrEffects,
                       BindAndOr(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()));

ffi::Error MaskedInputs(ffi::ThreadPool pool, ffi::AnyBuffer masks, ffi::AnyBuffer x,
                        ffi::AnyBuffer baseline, ffi::Buffer<ffi::S32> players,
                        ffi::Result<ffi::AnyBuffer> out) {
  const auto read = ReadMasked(masks, x, baseline, players, *out);
  if (read.has_error()) return read.error();
  XlaThreads threads(pool, out->size_bytes());
  LaunchMaskedInputsOfSizeCpu(read->element_bytes, read->masks, read->rows, x.untyped_data(),
                              baseline.untyped_data(), players.typed_data(), read->size,
                              out->untyped_data(), threads);
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kMaskedInputsHandler, MaskedInputs,
                       BindMasked(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()));

ffi::Error SparseSplits(ffi::ThreadPool pool, ffi::Buffer<ffi::F64> w, ffi::Buffer<ffi::F64> zeta,
                        ffi::Buffer<ffi::F64> start, ffi::Buffer<ffi::F64> settings,
                        ffi::ResultBuffer<ffi::F64> a, ffi::ResultBuffer<ffi::F64> delta,
                        ffi::ResultBuffer<ffi::F64> y, ffi::ResultBuffer<ffi::F64> dual,
                        ffi::ResultBuffer<ffi::F64> eps, ffi::ResultBuffer<ffi::S32> iterations,
                        bool boxed, std::int64_t max_iterations) {
  auto read = ReadSparse(w, zeta, start, settings, *a, *delta, *y, *dual, *eps, *iterations, boxed,
                         max_iterations);
  if (read.has_error()) return read.error();
  SparseProgram& program = read->program;
  if (program.groups == 0) return ffi::Error::Success();
  program.tol = read->settings[0];
  program.tie_break = read->settings[1];
  program.margin = read->settings[2];
  XlaThreads threads(pool, SleepingThreads::kWorthBytes + 1);  // any sample is worth a thread
  if (!LaunchSparseSplitCpu(program, read->split, {nullptr, nullptr}, threads)) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      std::string(kSparseSplit) + ": memory ran out");
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kSparseSplitHandler, SparseSplits,
                       BindSparse(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()));

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
