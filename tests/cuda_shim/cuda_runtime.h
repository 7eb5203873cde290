// SPDX-License-Identifier: Apache-2.0
// A CUDA device on the host: what csrc/*.cu use of CUDA, so that a C++ compiler builds them as they
// are and tests/cuda_test.cc runs them without a GPU. Every CUDA thread is a fiber; shuffles and
// barriers are exact; device memory is host memory. cuda_shim.cc is the device, cuda_shim.h what a
// test sees of it. It has no clock and no caches, and its threads never run at once.
#ifndef JAXINTER_TESTS_CUDA_RUNTIME_H_
#define JAXINTER_TESTS_CUDA_RUNTIME_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  void* attrs = nullptr;
  unsigned numAttrs = 0;
};

namespace shim {
void Launch(const cudaLaunchConfig_t& config, const std::function<void()>& thread);
// Waits for the lanes of `mask` at this line, which bring `mine`; what lane `source` brought.
std::uint64_t Exchange(unsigned mask, std::uint64_t mine, int source, int line);
unsigned Ballot(unsigned mask, bool mine, int line);
int Lane();
int SharedLimit();
inline int device = 0;                 // the current one
inline int capability = 90;            // 10 * major + minor, of every device
inline cudaStream_t stream = nullptr;  // of the last launch
}  // namespace shim

// Lines tell calls from each other: a compiler may have made several of one.
void __syncthreads(int line = __builtin_LINE());
void __syncwarp(unsigned mask = 0xffffffff, int line = __builtin_LINE());
inline unsigned __ballot_sync(unsigned mask, int mine, int line = __builtin_LINE()) {
  return shim::Ballot(mask, mine != 0, line);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }

template <class T>
inline __attribute__((always_inline)) T __shfl_sync(unsigned mask, T x, int source,
                                                    int line = __builtin_LINE()) {
  std::uint64_t word = 0;
  std::memcpy(&word, &x, sizeof(T));
  word = shim::Exchange(mask, word, source & 31, line);
  std::memcpy(&x, &word, sizeof(T));
  return x;
}
template <class T>
inline __attribute__((always_inline)) T __shfl_xor_sync(unsigned mask, T x, int bits,
                                                        int line = __builtin_LINE()) {
  return __shfl_sync(mask, x, shim::Lane() ^ bits, line);
}

inline const char* cudaGetErrorString(cudaError_t error) {
  return error ? "invalid argument" : "no error";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = shim::device, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor   ? shim::capability / 10
           : attribute == cudaDevAttrComputeCapabilityMinor ? shim::capability % 10
                                                            : shim::SharedLimit();
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  return std::memset(to, value, bytes), cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F*, cudaFuncAttribute, int bytes) {
  return bytes <= shim::SharedLimit() ? cudaSuccess : cudaErrorInvalidValue;
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> copied(std::forward<Arguments>(arguments)...);
  shim::stream = config->stream;
  shim::Launch(*config, [&] { std::apply(kernel, copied); });
  return cudaSuccess;
}

#endif  // JAXINTER_TESTS_CUDA_RUNTIME_H_
