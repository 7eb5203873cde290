// SPDX-License-Identifier: Apache-2.0
// XLA's stream and scratch memory on the device of cuda_runtime.h: included before
// csrc/ffi_cuda.cc, so that XLA can call its handlers on a CPU, which has neither.
#ifndef JAXINTER_TESTS_FFI_CONTEXT_H_
#define JAXINTER_TESTS_FFI_CONTEXT_H_

#include <memory>
#include <vector>

#include "cuda_runtime_api.h"
#include "xla/ffi/api/ffi.h"

namespace xla::ffi {

template <>
struct CtxDecoding<PlatformStream<cudaStream_t>> {
  using Type = cudaStream_t;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*,
                                    DiagnosticEngine&) {
    return reinterpret_cast<cudaStream_t>(9);
  }
};

struct ShimScratch {
  std::vector<std::unique_ptr<double[]>> memory;
  std::optional<void*> Allocate(std::size_t size, std::size_t) {
    memory.emplace_back(new double[size / sizeof(double) + 1]);
    return memory.back().get();
  }
};
template <>
struct CtxDecoding<ShimScratch> {
  using Type = ShimScratch;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*,
                                    DiagnosticEngine&) {
    return ShimScratch();
  }
};

}  // namespace xla::ffi

#define ScratchAllocator ShimScratch

#endif  // JAXINTER_TESTS_FFI_CONTEXT_H_
