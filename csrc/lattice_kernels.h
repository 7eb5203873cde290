// SPDX-License-Identifier: Apache-2.0
// Launch functions of the subset transform: raw pointers and sizes; no FFI, no Python.
#ifndef JAXINTER_LATTICE_KERNELS_H_
#define JAXINTER_LATTICE_KERNELS_H_

#include "lattice.h"
#include "parallel.h"

namespace jaxinter {

// out = (matrix (x) ... (x) matrix) in, for `batch` contiguous tables of 2^n_players elements each.
// `in` may equal `out`; it may not overlap it otherwise. Pointers need the alignment of T only.
// T is float or double.
template <class T>
void LaunchSubsetTransformCpu(const T* in, T* out, Index batch, int n_players,
                              const Matrix2& matrix, Parallel& parallel);

// AND and OR effects of v split by gamma and delta (null for none), each `batch` tables:
//   and_effects = mobius((v - delta) / 2 + gamma)
//   or_effects = or_interactions((v - delta) / 2 - gamma), entry 0 is 0
// and sums [batch, 2, n_players], zero on entry: the positive and the negative effects (both sums
// >= 0) of orders 1 to n, AND and OR together. Outputs overlap no input; n_players <= kMaxPlayers.
template <class T>
void LaunchAndOrEffectsCpu(const T* v, const T* gamma, const T* delta, T* and_effects,
                           T* or_effects, double* sums, Index batch, int n_players,
                           Parallel& parallel);

// The same sums of finished effects [batch, 2^n_players], any number written: of the entries above
// threshold [batch] (>= 0; null for 0) in absolute value whose byte in counted [batch, 2, 2^n] is
// 1, not 0 (null for all 1). Same bits at every SIMD level. A NaN that is counted ends in both
// sums.
template <class T>
void LaunchOrderStrengthCpu(const T* and_effects, const T* or_effects, const double* threshold,
                            const std::uint8_t* counted, double* sums, Index batch, int n_players,
                            Parallel& parallel);

// On CUDA: pointers are to device memory, the device of `stream` is the current one. A launch waits
// for nothing, and returns null or what CUDA says is wrong.
template <class T>
const char* LaunchSubsetTransformCuda(const T* in, T* out, Index batch, int n_players,
                                      const Matrix2& matrix, CudaStream stream);

// As above; the sums, added up in double, end in the dtype of the tables, and need not be zero on
// entry. `workspace`: AndOrWorkspaceBytes of device memory, 8-byte aligned.
Index AndOrWorkspaceBytes(Index batch, int n_players, Index element_bytes);
template <class T>
const char* LaunchAndOrEffectsCuda(const T* v, const T* gamma, const T* delta, T* and_effects,
                                   T* or_effects, T* sums, void* workspace, Index batch,
                                   int n_players, CudaStream stream);

// What transforms and the fused kernel above are measured against (bounds_cpu.cc): x += 1, and the
// split of the fused kernel as a pass of its own.
template <class T>
void LaunchStreamPassCpu(T* x, Index size, Parallel& parallel);
template <class T>
void LaunchSplitPassCpu(const T* v, const T* gamma, T* and_part, T* minus_or_part, Index size,
                        Parallel& parallel);

// The widest instruction set this machine runs: "avx512", "avx2" or "portable".
const char* SimdLevel();

}  // namespace jaxinter

#endif  // JAXINTER_LATTICE_KERNELS_H_
