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

// x += 1 for `size` contiguous elements: the streaming pass that transforms are measured against.
template <class T>
void LaunchStreamPassCpu(T* x, Index size, Parallel& parallel);

// The widest instruction set this machine runs: "avx512", "avx2" or "portable".
const char* SimdLevel();

}  // namespace jaxinter

#endif  // JAXINTER_LATTICE_KERNELS_H_
