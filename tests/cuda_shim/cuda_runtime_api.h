// SPDX-License-Identifier: Apache-2.0
// The rest of the device of cuda_runtime.h, for csrc/module_cuda.cc and csrc/ffi_cuda.cc: two
// devices, all of whose memory is the host's; and what tests/test_cuda.py sees of them.
#ifndef JAXINTER_TESTS_CUDA_RUNTIME_API_H_
#define JAXINTER_TESTS_CUDA_RUNTIME_API_H_

#include <cstdlib>

#include "cuda_runtime.h"

namespace shim {
constexpr int kDevices = 2;
inline int allocations = 0, frees = 0;
}  // namespace shim

inline cudaError_t cudaGetDeviceCount(int* count) { return *count = shim::kDevices, cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= shim::kDevices) return cudaErrorInvalidValue;
  return shim::device = device, cudaSuccess;
}
inline cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
  ++shim::allocations;
  return *memory = std::malloc(bytes), cudaSuccess;
}
inline cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
  ++shim::frees;
  return std::free(memory), cudaSuccess;
}

// For ctypes.
#define SHIM_EXPORT extern "C" __attribute__((used, visibility("default"))) inline
SHIM_EXPORT std::uint64_t ShimStream() { return reinterpret_cast<std::uintptr_t>(shim::stream); }
SHIM_EXPORT int ShimDevice() { return shim::device; }
SHIM_EXPORT void ShimSetCapability(int capability) { shim::capability = capability; }
SHIM_EXPORT int ShimAllocations() { return shim::allocations; }
SHIM_EXPORT int ShimFrees() { return shim::frees; }

#endif  // JAXINTER_TESTS_CUDA_RUNTIME_API_H_
