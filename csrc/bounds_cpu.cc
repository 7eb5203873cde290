// SPDX-License-Identifier: Apache-2.0
// What the kernels are measured against: a streaming pass over memory, and the split in a pass of
// its own. Compiled once for each SIMD level.
#include "lattice.h"
#include "parallel.h"
#include "simd.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

// Calls f(begin, end) on as many parts of [0, size) as keep all threads busy; parts begin at a
// multiple of four vectors.
template <class T, class F>
void InParts(Index size, Parallel& parallel, const F& f) {
  constexpr Index kStep = 4 * Simd<T>::kLanes;
  const Index tasks = parallel.threads() > 1 ? 4 * parallel.threads() : 1;
  const Index chunk = CeilDiv(CeilDiv(size, tasks), kStep) * kStep;
  parallel.For(CeilDiv(size, chunk), [&](Index task) {
    f(task * chunk, (task + 1) * chunk < size ? (task + 1) * chunk : size);
  });
}

// x += 1: every element read and written once.
template <class T>
void StreamPass(T* x, Index size, Parallel& parallel) {
  constexpr Index kLanes = Simd<T>::kLanes;
  InParts<T>(size, parallel, [&](Index i, Index end) {
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        Keep::Store(x + i + k * kLanes, Load<Vector<T>>(x + i + k * kLanes) + T{1});
      }
    }
    for (; i < end; ++i) x[i] += T{1};
  });
}

// The AND part of v and minus its OR part, where a split is a pass of its own.
template <class T>
void SplitPass(const T* v, const T* gamma, T* and_part, T* minus_or_part, Index size,
               Parallel& parallel) {
  InParts<T>(size, parallel, [&](Index i, Index end) {
    for (; i < end; ++i) {
      const T half = T{0.5} * v[i];
      and_part[i] = half + gamma[i];
      minus_or_part[i] = gamma[i] - half;
    }
  });
}

#define JAXINTER_INSTANTIATE(T)                      \
  template void StreamPass<T>(T*, Index, Parallel&); \
  template void SplitPass<T>(const T*, const T*, T*, T*, Index, Parallel&);
JAXINTER_INSTANTIATE(float)
JAXINTER_INSTANTIATE(double)

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter
