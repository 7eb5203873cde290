// SPDX-License-Identifier: Apache-2.0
// What every kernel shares. The only file that asks which compiler is at work.
#ifndef JAXINTER_COMMON_H_
#define JAXINTER_COMMON_H_

#include <cstdint>

#if defined(__CUDACC__)
#define JAXINTER_INLINE __host__ __device__ __forceinline__
#define JAXINTER_DEVICE __device__ __forceinline__
#else
#define JAXINTER_INLINE inline __attribute__((always_inline))
#define JAXINTER_DEVICE JAXINTER_INLINE
#endif

struct CUstream_st;

namespace jaxinter {

using Index = std::int64_t;
using CudaStream = CUstream_st*;  // cudaStream_t, for headers that know nothing of CUDA

JAXINTER_INLINE Index CeilDiv(Index a, Index b) { return (a + b - 1) / b; }

}  // namespace jaxinter

#endif  // JAXINTER_COMMON_H_
