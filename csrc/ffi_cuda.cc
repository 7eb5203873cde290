// SPDX-License-Identifier: Apache-2.0
// The door for XLA on CUDA: one handler for each launch function. Handlers that only launch kernels
// may be recorded into a command buffer; those with scratch memory, which is given back when they
// return, may not: a recording runs again.
#include <cuda_runtime_api.h>

#include <optional>
#include <string>
#include <vector>

#include "assemble_kernels.h"
#include "ffi_checks.h"
#include "ffi_targets.h"
#include "lattice_kernels.h"
#include "sparse_kernels.h"
#include "xla/ffi/api/ffi.h"

namespace jaxinter {
namespace {

namespace ffi = xla::ffi;

using Stream = ffi::PlatformStream<cudaStream_t>;

// What a launch function said.
ffi::Error Launched(const char* operation, const char* problem) {
  if (!problem) return ffi::Error::Success();
  return ffi::Error::Internal(std::string(operation) + ": CUDA: " + problem);
}

// launch(workspace), with this much scratch memory; null for none.
template <class F>
ffi::Error WithScratch(ffi::ScratchAllocator& scratch, Index bytes, const char* operation,
                       const F& launch) {
  std::optional<void*> workspace = nullptr;
  if (bytes > 0) workspace = scratch.Allocate(static_cast<std::size_t>(bytes), sizeof(double));
  if (!workspace) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      std::string(operation) + ": no scratch memory of " + std::to_string(bytes) +
                          " bytes on the device");
  }
  return Launched(operation, launch(*workspace));
}

ffi::Error SubsetTransform(cudaStream_t stream, ffi::AnyBuffer in, ffi::Result<ffi::AnyBuffer> out,
                           ffi::Span<const double> matrix_entries) {
  const auto tables = ReadTables(in.dimensions(), kSubsetTransform);
  if (tables.has_error()) return tables.error();
  const auto matrix = ReadMatrix(matrix_entries, kSubsetTransform);
  if (matrix.has_error()) return matrix.error();
  return OnFloats(in, kSubsetTransform, [&](auto element) {
    using T = decltype(element);
    return Launched(kSubsetTransform,
                    LaunchSubsetTransformCuda(static_cast<const T*>(in.untyped_data()),
                                              static_cast<T*>(out->untyped_data()), tables->batch,
                                              tables->n_players, *matrix, stream));
  });
}

XLA_FFI_DEFINE_HANDLER(kSubsetTransformHandler, SubsetTransform,
                       BindTransform(ffi::Ffi::Bind().Ctx<Stream>()),
                       {ffi::Traits::kCmdBufferCompatible});

ffi::Error AndOrEffects(cudaStream_t stream, ffi::ScratchAllocator scratch, ffi::AnyBuffer v,
                        ffi::AnyBuffer gamma, ffi::RemainingArgs rest,
                        ffi::Result<ffi::AnyBuffer> and_effects,
                        ffi::Result<ffi::AnyBuffer> or_effects, ffi::Result<ffi::AnyBuffer> sums) {
  const auto read = ReadAndOr(v, gamma, rest, *sums);
  if (read.has_error()) return read.error();
  const auto [batch, n] = read->tables;
  return OnFloats(v, kAndOrEffects, [&, batch = batch, n = n](auto element) {
    using T = decltype(element);
    return WithScratch(
        scratch, AndOrWorkspaceBytes(batch, n, sizeof(T)), kAndOrEffects, [&](void* workspace) {
          return LaunchAndOrEffectsCuda(
              static_cast<const T*>(v.untyped_data()), static_cast<const T*>(gamma.untyped_data()),
              static_cast<const T*>(read->delta), static_cast<T*>(and_effects->untyped_data()),
              static_cast<T*>(or_effects->untyped_data()), static_cast<T*>(sums->untyped_data()),
              workspace, batch, n, stream);
        });
  });
}

XLA_FFI_DEFINE_HANDLER(kAndOrEffectsHandler, AndOrEffects,
                       BindAndOr(ffi::Ffi::Bind().Ctx<Stream>().Ctx<ffi::ScratchAllocator>()));

ffi::Error MaskedInputs(cudaStream_t stream, ffi::AnyBuffer masks, ffi::AnyBuffer x,
                        ffi::AnyBuffer baseline, ffi::Buffer<ffi::S32> players,
                        ffi::Result<ffi::AnyBuffer> out) {
  const auto read = ReadMasked(masks, x, baseline, players, *out);
  if (read.has_error()) return read.error();
  return Launched(kMaskedInputs, LaunchMaskedInputsCuda(
                                     read->element_bytes, read->masks, read->rows, x.untyped_data(),
                                     baseline.untyped_data(), players.typed_data(), read->size,
                                     out->untyped_data(), stream));
}

XLA_FFI_DEFINE_HANDLER(kMaskedInputsHandler, MaskedInputs,
                       BindMasked(ffi::Ffi::Bind().Ctx<Stream>()),
                       {ffi::Traits::kCmdBufferCompatible});

ffi::Error SparseSplits(cudaStream_t stream, ffi::ScratchAllocator scratch, ffi::Buffer<ffi::F64> w,
                        ffi::Buffer<ffi::F64> zeta, ffi::Buffer<ffi::F64> start,
                        ffi::Buffer<ffi::F64> settings, ffi::ResultBuffer<ffi::F64> a,
                        ffi::ResultBuffer<ffi::F64> delta, ffi::ResultBuffer<ffi::F64> y,
                        ffi::ResultBuffer<ffi::F64> dual, ffi::ResultBuffer<ffi::F64> eps,
                        ffi::ResultBuffer<ffi::S32> iterations, bool boxed,
                        std::int64_t max_iterations) {
  const auto read = ReadSparse(w, zeta, start, settings, *a, *delta, *y, *dual, *eps, *iterations,
                               boxed, max_iterations);
  if (read.has_error()) return read.error();
  const SparseProgram& program = read->program;
  if (program.models > 1 || program.n_players > kMaxPlayersOnCuda) {
    return Refusal(kSparseSplit, "on CUDA one model of at most " +
                                     std::to_string(kMaxPlayersOnCuda) +
                                     " players is solved; got " + std::to_string(program.models) +
                                     " of " + std::to_string(program.n_players));
  }
  if (program.groups == 0) return ffi::Error::Success();
  const Index bytes = SparseWorkspaceBytes(program.groups, program.n_players, boxed);
  return WithScratch(scratch, bytes, kSparseSplit, [&](void* workspace) {
    return LaunchSparseSplitCuda(program, read->settings, read->split, workspace, stream);
  });
}

XLA_FFI_DEFINE_HANDLER(kSparseSplitHandler, SparseSplits,
                       BindSparse(ffi::Ffi::Bind().Ctx<Stream>().Ctx<ffi::ScratchAllocator>()));

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
