// SPDX-License-Identifier: Apache-2.0
// How kernels are launched, and their shared memory. Included by .cu files.
#ifndef JAXINTER_LAUNCH_CUDA_H_
#define JAXINTER_LAUNCH_CUDA_H_

#include <cuda_runtime.h>

#include <cstddef>

#include "common.h"

namespace jaxinter {

// A block's, as many bytes as its launch says.
extern __shared__ unsigned char shared_memory[];

constexpr int kMaxBlocks = 0x7fffffff;
constexpr int kSharedUnasked = 48 * 1024;

// Null, or what is wrong.
inline const char* Text(cudaError_t error) {
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// The most that a block may have, on the current device.
inline cudaError_t ReadSharedLimit(int* bytes) {
  int device = 0;
  const auto error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}
// The same, or what any device has: where there is none, the launch will say so.
inline int SharedLimit() {
  int bytes = kSharedUnasked;
  ReadSharedLimit(&bytes);
  return bytes;
}

template <class... Parameters, class... Arguments>
const char* Launch(void (*kernel)(Parameters...), Index blocks, int threads, Index shared_bytes,
                   CudaStream stream, const Arguments&... arguments) {
  if (blocks > kMaxBlocks) return "more blocks than a CUDA grid has";
  if (shared_bytes > kSharedUnasked) {
    // As much as there is, not as is used now: other threads may be launching the same kernel.
    int most = 0;
    auto error = ReadSharedLimit(&most);
    if (error == cudaSuccess) {
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
    }
    if (error != cudaSuccess) return Text(error);
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = stream;
  return Text(cudaLaunchKernelEx(&config, kernel, arguments...));
}

}  // namespace jaxinter

#endif  // JAXINTER_LAUNCH_CUDA_H_
