// SPDX-License-Identifier: Apache-2.0
// The subset transforms and the fused AND-OR split, over the walk of lattice_walk.h. Compiled once
// for each SIMD level; dispatch_cpu.cc picks one at run time.
#include "lattice_walk.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

// A task of a batch should touch about this many bytes.
constexpr Index kTaskBytes = 64 * 1024;
// A fused batch that touches more than this does not stay in a cache: its outputs are streamed,
// where both tables of a sample fit the scratch.
constexpr Index kStreamBytes = 24 * 1024 * 1024;
constexpr int kStreamPlayers = 15;

// SplitPart of v - delta; without kDelta, delta is 0.
template <class T, int sign, bool kDelta>
struct Split {
  const T *v, *gamma, *delta;
  template <class V>
  JAXINTER_INLINE V Read(Index i) const {
    V explained = Load<V>(v + i);
    if constexpr (kDelta) explained = explained - Load<V>(delta + i);
    return SplitPart<sign, T>(explained, Load<V>(gamma + i));
  }
  Split At(Index offset) const {
    return {v + offset, gamma + offset, kDelta ? delta + offset : nullptr};
  }
};

// Tables of jobs [0, batch). `stream`: outputs are aligned and no inputs.
template <class T, class Sums, class... Jobs>
void Batch(Index batch, int n, bool stream, double* sums, Parallel& parallel, const Jobs&... jobs) {
  const Index size = Index{1} << n;
  // Sums are added up in one way, whatever batch and threads.
  const bool split = Sums::kTaken || batch < 2 * parallel.threads();
  if (n > kCachePlayers || (n >= kSplitPlayers && split)) {
    for (Index b = 0; b < batch; ++b) {
      double* row = sums ? sums + b * 2 * n : nullptr;
      LargeTable<T, Sums>(n, row, parallel, jobs.At(b * size)...);
    }
    return;
  }
  const Index bytes = size * static_cast<Index>(sizeof(T));
  const Index per_task = bytes >= kTaskBytes ? 1 : kTaskBytes / bytes;
  parallel.For(CeilDiv(batch, per_task), [&](Index task) {
    T* scratch = stream && n <= kStreamPlayers ? Scratch<T>() : nullptr;
    const Index end = (task + 1) * per_task < batch ? (task + 1) * per_task : batch;
    for (Index b = task * per_task; b < end; ++b) {
      Sums taker(n);
      if (scratch) {
        T* free = scratch;
        Table<T, Stream>(n, taker, jobs.At(b * size).InScratch(free, size)...);
      } else {
        Table<T, Keep>(n, taker, jobs.At(b * size)...);
      }
      taker.Write(sums, b);
    }
    if (scratch) Stream::Finish();
  });
}

template <class T>
void SubsetTransform(const T* in, T* out, Index batch, int n, const Matrix2& matrix,
                     Parallel& parallel) {
  WithStep<T>(matrix, [&](const auto& step) {
    using Step = std::decay_t<decltype(step)>;
    Batch<T, NoSums>(batch, n, false, nullptr, parallel,
                     Job<T, Values<T>, Step>{{in}, out, step, out});
  });
}

template void SubsetTransform<float>(const float*, float*, Index, int, const Matrix2&, Parallel&);
template void SubsetTransform<double>(const double*, double*, Index, int, const Matrix2&,
                                      Parallel&);

template <class T, bool kDelta>
void AndOrEffectsOf(const T* v, const T* gamma, const T* delta, T* and_effects, T* or_effects,
                    double* sums, Index batch, int n, Parallel& parallel) {
  const Index touched = (batch << n) * (kDelta ? 5 : 4) * static_cast<Index>(sizeof(T));
  const bool stream = touched > kStreamBytes && IsAligned(and_effects) && IsAligned(or_effects);
  Batch<T, OrderSums<T>>(
      batch, n, stream, sums, parallel,
      Job<T, Split<T, 1, kDelta>, Mobius>{{v, gamma, delta}, and_effects, {}, and_effects},
      Job<T, Split<T, -1, kDelta>, ComplementMobius>{
          {v, gamma, delta}, or_effects, {}, or_effects});
  for (Index b = 0; b < batch; ++b) or_effects[b << n] = 0;
}

template <class T>
void AndOrEffects(const T* v, const T* gamma, const T* delta, T* and_effects, T* or_effects,
                  double* sums, Index batch, int n, Parallel& parallel) {
  return (delta ? AndOrEffectsOf<T, true> : AndOrEffectsOf<T, false>)(v, gamma, delta, and_effects,
                                                                      or_effects, sums, batch, n,
                                                                      parallel);
}

#define JAXINTER_INSTANTIATE(T)                                                            \
  template void AndOrEffects<T>(const T*, const T*, const T*, T*, T*, double*, Index, int, \
                                Parallel&);
JAXINTER_INSTANTIATE(float)
JAXINTER_INSTANTIATE(double)

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter
