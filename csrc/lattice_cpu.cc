// SPDX-License-Identifier: Apache-2.0
// The CPU driver of lattice.h. Compiled once for each SIMD level (CMakeLists.txt sets JAXINTER_SIMD
// and the compiler's flags); dispatch_cpu.cc picks one at run time.
//
// A table is walked depth first, so that each level of the walk works in the next larger cache:
//   base   2^(lane + register bits) elements: loaded once, all their players done in registers
//   sweep  radix 8 over the next three players, rows of one vector at stride 2^k, in place
//   panel  above a cache: up to nine players at once on narrow columns copied to a buffer
// The first touch reads `in` and writes `out`; everything after works on `out`.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "lattice.h"
#include "parallel.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kBaseRegisterBits = 4;  // 16 of 32 registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kBaseRegisterBits = 3;  // 8 of 16 registers
#else
constexpr int kVectorBytes = 16;
constexpr int kBaseRegisterBits = 3;
#endif
// Radix 8, not 16: sixteen rows at a power-of-two stride of 4 KiB or more share one set of a
// 12-way L1 cache.
constexpr int kSweepBits = 3;
// Below this many players one table is one task; measured break-even of splitting it.
constexpr int kSplitPlayers = 16;
// A float32 table of this many players (512 KiB) stays in an L2 cache; above, panels.
constexpr int kCachePlayers = 17;
// A panel: rows of 1 KiB, wide enough to stream, and at most 2^9 of them, half an L2 cache.
constexpr Index kPanelBytes = 1024;
constexpr int kPanelBits = 9;
// A task of a batch should touch about this many bytes.
constexpr Index kTaskBytes = 64 * 1024;

template <class T>
struct Simd {
  static constexpr int kLanes = kVectorBytes / sizeof(T);
  static constexpr int kLaneBits = kLanes == 16 ? 4 : kLanes == 8 ? 3 : kLanes == 4 ? 2 : 1;
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Int Mask __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vector = typename Simd<T>::Vector;

template <class T>
JAXINTER_INLINE Vector<T> Load(const T* p) {
  Vector<T> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <class T>
JAXINTER_INLINE void Store(T* p, const Vector<T>& v) {
  std::memcpy(p, &v, sizeof(v));
}

// x[lane ^ bit] for each lane.
template <class T, int kBit>
JAXINTER_INLINE Vector<T> FlipLanes(const Vector<T>& x) {
  using M = typename Simd<T>::Mask;
  if constexpr (Simd<T>::kLanes == 2) {
    return __builtin_shuffle(x, M{0 ^ kBit, 1 ^ kBit});
  } else if constexpr (Simd<T>::kLanes == 4) {
    return __builtin_shuffle(x, M{0 ^ kBit, 1 ^ kBit, 2 ^ kBit, 3 ^ kBit});
  } else if constexpr (Simd<T>::kLanes == 8) {
    return __builtin_shuffle(
        x, M{0 ^ kBit, 1 ^ kBit, 2 ^ kBit, 3 ^ kBit, 4 ^ kBit, 5 ^ kBit, 6 ^ kBit, 7 ^ kBit});
  } else {
    return __builtin_shuffle(
        x, M{0 ^ kBit, 1 ^ kBit, 2 ^ kBit, 3 ^ kBit, 4 ^ kBit, 5 ^ kBit, 6 ^ kBit, 7 ^ kBit,
             8 ^ kBit, 9 ^ kBit, 10 ^ kBit, 11 ^ kBit, 12 ^ kBit, 13 ^ kBit, 14 ^ kBit, 15 ^ kBit});
  }
}

// All ones in the lanes whose index has `kBit`.
template <class T, int kBit>
JAXINTER_INLINE typename Simd<T>::Mask HasBit() {
  typename Simd<T>::Mask m;
  for (int lane = 0; lane < Simd<T>::kLanes; ++lane) m[lane] = (lane & kBit) ? -1 : 0;
  return m;
}

// One player whose pairs lie within a vector. Both sides of the step are written for all lanes, and
// each lane keeps its own; a step that leaves one side alone becomes one masked operation.
template <class T, int kBit, class Step>
JAXINTER_INLINE void StepInLanes(Vector<T>& x, const Step& step) {
  const Vector<T> partner = FlipLanes<T, kBit>(x);
  Vector<T> without = x, its_with = partner;
  step(without, its_with);
  Vector<T> its_without = partner, with = x;
  step(its_without, with);
  x = HasBit<T, kBit>() ? with : without;
}

template <class T, class Step>
JAXINTER_INLINE void AllLanePlayers(Vector<T>& x, const Step& step) {
  StepInLanes<T, 1>(x, step);
  if constexpr (Simd<T>::kLanes >= 4) StepInLanes<T, 2>(x, step);
  if constexpr (Simd<T>::kLanes >= 8) StepInLanes<T, 4>(x, step);
  if constexpr (Simd<T>::kLanes >= 16) StepInLanes<T, 8>(x, step);
}

// kBits players whose pairs lie in different registers.
template <int kBits, class V, class Step>
JAXINTER_INLINE void StepRegisters(V (&x)[1 << kBits], const Step& step) {
#pragma GCC unroll 8
  for (int player = 0; player < kBits; ++player) {
#pragma GCC unroll 16
    for (int i = 0; i < (1 << kBits); ++i) {
      const int partner = static_cast<int>(Partner(i, player));
      if (i < partner) step(x[i], x[partner]);
    }
  }
}

// All players of 2^(lane bits + kBits) contiguous elements.
template <class T, int kBits, class Step>
JAXINTER_INLINE void Base(const T* in, T* out, const Step& step) {
  Vector<T> x[1 << kBits];
#pragma GCC unroll 16
  for (int i = 0; i < (1 << kBits); ++i) {
    x[i] = Load<T>(in + i * Simd<T>::kLanes);
    AllLanePlayers<T>(x[i], step);
  }
  StepRegisters<kBits>(x, step);
#pragma GCC unroll 16
  for (int i = 0; i < (1 << kBits); ++i) Store<T>(out + i * Simd<T>::kLanes, x[i]);
}

// kBits players: `width` columns of 2^kBits rows, read at one stride and written at another.
template <class T, int kBits, class Step>
JAXINTER_INLINE void Sweep(const T* in, Index in_stride, T* out, Index out_stride, Index width,
                           const Step& step) {
  for (Index column = 0; column < width; column += Simd<T>::kLanes) {
    Vector<T> x[1 << kBits];
#pragma GCC unroll 8
    for (int i = 0; i < (1 << kBits); ++i) x[i] = Load<T>(in + column + i * in_stride);
    StepRegisters<kBits>(x, step);
#pragma GCC unroll 8
    for (int i = 0; i < (1 << kBits); ++i) Store<T>(out + column + i * out_stride, x[i]);
  }
}

template <class T, class Step>
void SweepBits(int bits, const T* in, Index in_stride, T* out, Index out_stride, Index width,
               const Step& step) {
  if (bits == 3) return Sweep<T, 3>(in, in_stride, out, out_stride, width, step);
  if (bits == 2) return Sweep<T, 2>(in, in_stride, out, out_stride, width, step);
  return Sweep<T, 1>(in, in_stride, out, out_stride, width, step);
}

// A table smaller than one vector, player by player.
template <class T, class Step>
void Scalar(const T* in, T* out, int n, const Step& step) {
  const Index size = Index{1} << n;
  if (in != out) std::memcpy(out, in, static_cast<std::size_t>(size) * sizeof(T));
  for (int player = 0; player < n; ++player) {
    for (Index i = 0; i < size; ++i) {
      const Index partner = Partner(i, player);
      if (i < partner) step(out[i], out[partner]);
    }
  }
}

template <class T>
constexpr int kBaseBits = Simd<T>::kLaneBits + kBaseRegisterBits;

// How many of the top players of an n-player table one sweep takes.
template <class T>
int TopBits(int n) {
  const int above = n - kBaseBits<T>;
  return above % kSweepBits ? above % kSweepBits : kSweepBits;
}

// A table that fits a cache, on one thread.
template <class T, class Step>
void Table(const T* in, T* out, int n, const Step& step) {
  if (n < Simd<T>::kLaneBits) return Scalar(in, out, n, step);
  if (n <= kBaseBits<T>) {
    switch (n - Simd<T>::kLaneBits) {
      case 0:
        return Base<T, 0>(in, out, step);
      case 1:
        return Base<T, 1>(in, out, step);
      case 2:
        return Base<T, 2>(in, out, step);
      case 3:
        return Base<T, 3>(in, out, step);
      default:
        return Base<T, 4>(in, out, step);
    }
  }
  const int top = TopBits<T>(n);
  const Index stride = Index{1} << (n - top);
  for (Index row = 0; row < (1 << top); ++row) {
    Table(in + row * stride, out + row * stride, n - top, step);
  }
  SweepBits(top, out, stride, out, stride, stride, step);
}

// `bits` players on one panel: kPanelBytes wide columns of 2^bits rows. The first sweep brings the
// rows into `buffer`, contiguous and small enough for the L2 cache, the last one writes them back:
// main memory is read and written once for all these players.
template <class T, class Step>
void Panel(T* rows, int bits, Index stride, T* buffer, const Step& step) {
  constexpr Index kWidth = kPanelBytes / sizeof(T);
  for (int done = 0, now; done < bits; done += now) {
    now = (bits - done) % kSweepBits ? (bits - done) % kSweepBits : kSweepBits;
    const bool first = done == 0, last = done + now == bits;
    const T* in = first ? rows : buffer;
    T* out = last ? rows : buffer;
    const Index in_stride = first ? stride : kWidth, out_stride = last ? stride : kWidth;
    for (Index group = 0; group < (Index{1} << (bits - now)); ++group) {
      const Index low = group & ((Index{1} << done) - 1);
      const Index row = ((group >> done) << (done + now)) | low;
      SweepBits(now, in + row * in_stride, in_stride << done, out + row * out_stride,
                out_stride << done, kWidth, step);
    }
  }
}

// One table on all threads: parts that fit a cache, each one task; then the players above them,
// kPanelBits at a time, on panels of columns.
template <class T, class Step>
void LargeTable(const T* in, T* out, int n, const Step& step, Parallel& parallel) {
  constexpr Index kWidth = kPanelBytes / sizeof(T);
  const int cache = sizeof(T) == 4 ? kCachePlayers : kCachePlayers - 1;
  const int base = n > cache ? cache : n - kSweepBits;
  const Index part = Index{1} << base;
  parallel.For(Index{1} << (n - base),
               [&](Index i) { Table(in + i * part, out + i * part, base, step); });
  for (int level = base, bits; level < n; level += bits) {
    bits = n - level < kPanelBits ? n - level : kPanelBits;
    const Index stride = Index{1} << level, panels = stride / kWidth;
    const Index wanted = 4 * parallel.threads();
    const Index per_task = CeilDiv(panels, wanted);
    for (Index block = 0; block < (Index{1} << (n - level - bits)); ++block) {
      T* rows = out + (block << (level + bits));
      parallel.For(CeilDiv(panels, per_task), [&](Index task) {
        T* buffer = bits > kSweepBits
                        ? static_cast<T*>(std::aligned_alloc(kVectorBytes, kPanelBytes << bits))
                        : rows;
        for (Index p = task * per_task; p < panels && p < (task + 1) * per_task; ++p) {
          Panel(rows + p * kWidth, bits, stride, buffer, step);
        }
        if (buffer != rows) std::free(buffer);
      });
    }
  }
}

template <class T, class Step>
void Batch(const T* in, T* out, Index batch, int n, const Step& step, Parallel& parallel) {
  const Index size = Index{1} << n;
  if (n > kCachePlayers || (n >= kSplitPlayers && batch < 2 * parallel.threads())) {
    for (Index b = 0; b < batch; ++b) {
      LargeTable(in + b * size, out + b * size, n, step, parallel);
    }
    return;
  }
  const Index bytes = size * static_cast<Index>(sizeof(T));
  const Index per_task = bytes >= kTaskBytes ? 1 : kTaskBytes / bytes;
  parallel.For(CeilDiv(batch, per_task), [&](Index task) {
    const Index end = (task + 1) * per_task < batch ? (task + 1) * per_task : batch;
    for (Index b = task * per_task; b < end; ++b) Table(in + b * size, out + b * size, n, step);
  });
}

template <class T>
void SubsetTransform(const T* in, T* out, Index batch, int n, const Matrix2& matrix,
                     Parallel& parallel) {
  WithStep<T>(matrix, [&](const auto& step) { Batch(in, out, batch, n, step, parallel); });
}

template void SubsetTransform<float>(const float*, float*, Index, int, const Matrix2&, Parallel&);
template void SubsetTransform<double>(const double*, double*, Index, int, const Matrix2&,
                                      Parallel&);

// The bound: every element read and written once, four vectors at a time.
template <class T>
void StreamPass(T* x, Index size, Parallel& parallel) {
  constexpr Index kStep = 4 * Simd<T>::kLanes;
  const Index tasks = parallel.threads() > 1 ? 4 * parallel.threads() : 1;
  const Index chunk = CeilDiv(CeilDiv(size, tasks), kStep) * kStep;
  const Vector<T> one = Vector<T>{} + T{1};
  parallel.For(CeilDiv(size, chunk), [&](Index task) {
    const Index end = (task + 1) * chunk < size ? (task + 1) * chunk : size;
    Index i = task * chunk;
    for (; i + kStep <= end; i += kStep) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        T* p = x + i + k * Simd<T>::kLanes;
        Store<T>(p, Load<T>(p) + one);
      }
    }
    for (; i < end; ++i) x[i] += T{1};
  });
}

template void StreamPass<float>(float*, Index, Parallel&);
template void StreamPass<double>(double*, Index, Parallel&);

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter
