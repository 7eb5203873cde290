// SPDX-License-Identifier: Apache-2.0
// Launch function of the sparse AND-OR split: raw pointers and sizes; no FFI, no Python.
#ifndef JAXINTER_SPARSE_KERNELS_H_
#define JAXINTER_SPARSE_KERNELS_H_

#include <cstdint>

#include "parallel.h"

namespace jaxinter {

// The most models explained together.
constexpr int kMaxModels = 16;
// The most players with noise: the largest block of the projection's tables is (n / 2 + 1)^2 wide.
constexpr int kMaxPlayersWithNoise = 20;

// What is solved, for `groups` samples of `models` tables [2^n_players] each: see
// jaxinter/sparse/problem.py. All numbers in units of max |w| of the group.
struct SparseProgram {
  Index groups;
  int n_players, models;
  const double* w;      // [groups, models, 2^n], entry 0 of each is 0
  const double* zeta;   // [groups, models], bounds of the residuals; null without noise
  const double* start;  // [groups, models, 3, 2^n], AND effects, residual and y; null: half of w
  double tol;           // relative gap to prove
  double tie_break;     // 0 for none
  double margin;        // how far residuals stay within zeta, at most half of it
  std::int64_t max_iterations;
};

struct SparseSplit {
  double *a, *delta, *y;     // [groups, models, 2^n]: AND effects, residual, and the multiplier of
                             // w whose bound is `dual`: its gradient
  double *dual, *eps;        // [groups]: lower bound; tie-break, NaN where it is not settled
  std::int32_t* iterations;  // [groups]
};

// Watched and set by others while a launch is running; both may be null.
struct Monitor {
  const std::int32_t* stop;  // not 0: return as soon as may be, results are void
  std::int32_t* done;        // groups solved so far
  bool Stopped() const { return stop && __atomic_load_n(stop, __ATOMIC_RELAXED); }
};

// False where memory ran out: results are void.
bool LaunchSparseSplitCpu(const SparseProgram& program, const SparseSplit& split,
                          const Monitor& monitor, Parallel& parallel);

// On CUDA, one block a sample: of one model, of at most kMaxPlayersOnCuda. As in lattice_kernels.h;
// tol, tie-break and margin are not the program's, but three doubles on the device, `settings`.
// `workspace`: SparseWorkspaceBytes of device memory, 8-byte aligned.
constexpr int kMaxPlayersOnCuda = 11;
Index SparseWorkspaceBytes(Index groups, int n_players, bool boxed);
const char* LaunchSparseSplitCuda(const SparseProgram& program, const double* settings,
                                  const SparseSplit& split, void* workspace, CudaStream stream);

}  // namespace jaxinter

#endif  // JAXINTER_SPARSE_KERNELS_H_
