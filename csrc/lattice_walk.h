// SPDX-License-Identifier: Apache-2.0
// How a CPU walks a table: the drivers of lattice.h. Included by files that are compiled once for
// each SIMD level (CMakeLists.txt sets JAXINTER_SIMD and the compiler's flags).
//
// A table is walked depth first, so that each level of the walk works in the next larger cache:
//   base   2^(lane + register bits) elements: loaded once, all their players done in registers
//   sweep  radix 8 over the next three players, rows of one vector at stride 2^k, in place
//   panel  above a cache: up to nine players at once on narrow columns copied to a buffer
// The first touch reads the source and writes `out`; everything after works on `out`.
#ifndef JAXINTER_LATTICE_WALK_H_
#define JAXINTER_LATTICE_WALK_H_

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "lattice.h"
#include "order_sums.h"
#include "parallel.h"
#include "simd.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

// 16 of 32 registers, or 8 of 16.
constexpr int kBaseRegisterBits = kVectorBytes == 64 ? 4 : 3;
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
// Panels go to this many tasks, however many threads there are: sums are added up by task.
constexpr Index kPanelTasks = 64;
// What a transform reads: V, a vector or one element, of a table at an index.
template <class T>
struct Values {
  const T* in;
  template <class V>
  JAXINTER_INLINE V Read(Index i) const {
    return Load<V>(in + i);
  }
  Values At(Index offset) const { return {in + offset}; }
};

// One transform: its source, where its tables go, and its step. Several jobs run together share the
// caches, and the sums.
template <class T, class Source, class Step>
struct Job {
  Source source;
  T* out;
  Step step;
  T* work;  // where all but the last sweep work: `out`, or scratch of this thread
  Job At(Index offset) const { return {source.At(offset), out + offset, step, work + offset}; }
  Job InWork() const { return {source, work, step, work}; }
  Job InScratch(T*& free, Index size) const {
    T* mine = free;
    free += size;
    return {source, out, step, mine};
  }
};

// One player whose pairs lie within a vector. Both sides of the step are written for all lanes, and
// each lane keeps its own; a step that leaves one side alone becomes one masked operation.
template <class T, int kBit, class Step>
JAXINTER_INLINE void StepInLanes(Vector<T>& x, const Step& step) {
  const Vector<T> partner = FlipLanes<T, kBit>(x);
  if constexpr (std::is_same_v<Step, RotationStep>) {
    const Vector<T> s = Vector<T>{} + step.s;
    x = x + (HasBit<T, kBit>() ? s : -s) * partner;
  } else {
    Vector<T> without = x, its_with = partner;
    step(without, its_with);
    Vector<T> its_without = partner, with = x;
    step(its_without, with);
    x = HasBit<T, kBit>() ? with : without;
  }
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
template <int kBits, class Write, class T, class Source, class Step, class Sums>
JAXINTER_INLINE void Base(const Source& source, T* out, const Step& step, Sums& sums) {
  Vector<T> x[1 << kBits];
#pragma GCC unroll 16
  for (int i = 0; i < (1 << kBits); ++i) {
    x[i] = source.template Read<Vector<T>>(i * Simd<T>::kLanes);
    AllLanePlayers<T>(x[i], step);
  }
  StepRegisters<kBits>(x, step);
  typename Sums::template Group<kBits> group;
  group.template Take<kBits>(x, 0);
  sums.Add(group, 0);
#pragma GCC unroll 16
  for (int i = 0; i < (1 << kBits); ++i) Write::Store(out + i * Simd<T>::kLanes, x[i]);
}

// kBits players: `width` columns of 2^kBits rows, read at one stride and written at another.
// `index`: of the first entry, for the sums.
template <int kBits, class Write, class T, class Step, class Sums>
JAXINTER_INLINE void Sweep(const T* in, Index in_stride, T* out, Index out_stride, Index width,
                           Index index, const Step& step, Sums& sums) {
  // Sums are taken of a few columns at a time, whose coalitions differ in size by a known number.
  constexpr int kColumnBits = Sums::kTaken ? (kBits == 4 ? 1 : 2) : 0;
  for (Index group_at = 0; group_at < width; group_at += Simd<T>::kLanes << kColumnBits) {
    typename Sums::template Group<kBits + kColumnBits> group;
#pragma GCC unroll 4
    for (int c = 0; c < (1 << kColumnBits); ++c) {
      const Index column = group_at + c * Simd<T>::kLanes;
      Vector<T> x[1 << kBits];
#pragma GCC unroll 16
      for (int i = 0; i < (1 << kBits); ++i) x[i] = Load<Vector<T>>(in + column + i * in_stride);
      StepRegisters<kBits>(x, step);
      group.template Take<kBits>(x, __builtin_popcount(c));
#pragma GCC unroll 16
      for (int i = 0; i < (1 << kBits); ++i) Write::Store(out + column + i * out_stride, x[i]);
    }
    sums.Add(group, index + group_at);
  }
}

template <class Write, class T, class Step, class Sums>
void SweepBits(int bits, const T* in, Index in_stride, T* out, Index out_stride, Index width,
               Index index, const Step& step, Sums& sums) {
  switch (bits) {
    case 1:
      return Sweep<1, Write>(in, in_stride, out, out_stride, width, index, step, sums);
    case 2:
      return Sweep<2, Write>(in, in_stride, out, out_stride, width, index, step, sums);
    case 3:
      return Sweep<3, Write>(in, in_stride, out, out_stride, width, index, step, sums);
    default:
      return Sweep<kBaseRegisterBits, Write>(in, in_stride, out, out_stride, width, index, step,
                                             sums);
  }
}

// A table smaller than one vector, player by player.
template <class T, class Source, class Step, class Sums>
void Scalar(const Source& source, T* out, int n, const Step& step, Sums& sums) {
  const Index size = Index{1} << n;
  for (Index i = 0; i < size; ++i) out[i] = source.template Read<T>(i);
  for (int player = 0; player < n; ++player) {
    for (Index i = 0; i < size; ++i) {
      const Index partner = Partner(i, player);
      if (i < partner) step(out[i], out[partner]);
    }
  }
  if constexpr (Sums::kTaken) {
    for (Index i = 0; i < size; ++i) sums.Add(out[i], i);
  }
}

template <class T>
constexpr int kBaseBits = Simd<T>::kLaneBits + kBaseRegisterBits;

// Whether `bits` players are done in a sweep of four and sweeps of three, which saves a sweep of
// one. Registers must last, and the four's rows lie close together.
constexpr bool BeginsWithFour(int bits) {
  return kVectorBytes == 64 && bits > 1 && bits % kSweepBits == 1;
}

// How many of the top players of an n-player table its last sweep takes.
template <class T>
int TopBits(int n) {
  const int above = n - kBaseBits<T>, rest = above % kSweepBits;
  if (BeginsWithFour(above)) return above == 4 ? 4 : kSweepBits;
  return rest ? rest : kSweepBits;
}

// The players of a table that fits a cache, on one thread: block by block, all jobs, then the
// players between blocks.
template <class T, class Write, class Sums, class... Jobs>
void Table(int n, Sums& sums, const Jobs&... jobs) {
  if (n < Simd<T>::kLaneBits) return (Scalar(jobs.source, jobs.out, n, jobs.step, sums), ...);
  if (n <= kBaseBits<T>) {
    switch (n - Simd<T>::kLaneBits) {
      case 0:
        return (Base<0, Write>(jobs.source, jobs.out, jobs.step, sums), ...);
      case 1:
        return (Base<1, Write>(jobs.source, jobs.out, jobs.step, sums), ...);
      case 2:
        return (Base<2, Write>(jobs.source, jobs.out, jobs.step, sums), ...);
      case 3:
        return (Base<3, Write>(jobs.source, jobs.out, jobs.step, sums), ...);
      default:
        return (Base<kBaseRegisterBits, Write>(jobs.source, jobs.out, jobs.step, sums), ...);
    }
  }
  const int top = TopBits<T>(n);
  const Index stride = Index{1} << (n - top);
  NoSums none(n);
  for (Index at = 0; at < (Index{1} << n); at += stride) {
    if (n - top == kBaseBits<T>) {
      (Base<kBaseRegisterBits, Keep>(jobs.source.At(at), jobs.work + at, jobs.step, none), ...);
    } else {
      Table<T, Keep>(n - top, none, jobs.InWork().At(at)...);
    }
  }
  (SweepBits<Write>(top, jobs.work, stride, jobs.out, stride, stride, 0, jobs.step, sums), ...);
}

// 512 KiB of this thread, or nullptr where there is no memory to be had.
template <class T>
T* Scratch() {
  struct Freed {
    void* memory = std::aligned_alloc(64, kPanelBytes << kPanelBits);
    ~Freed() { std::free(memory); }
  };
  thread_local Freed freed;
  return static_cast<T*>(freed.memory);
}

// `bits` players on one panel: kPanelBytes wide columns of 2^bits rows. The first sweep brings the
// rows into `buffer`, contiguous and small enough for the L2 cache, the last one writes them back:
// main memory is read and written once for all these players. Without a buffer, in place.
template <class T, class Step, class Sums>
void Panel(T* rows, int bits, Index stride, T* buffer, Index index, const Step& step, Sums& sums) {
  constexpr Index kWidth = kPanelBytes / sizeof(T);
  const Index inner_stride = buffer ? kWidth : stride;
  T* inner = buffer ? buffer : rows;
  NoSums none(bits);
  for (int done = 0, now; done < bits; done += now) {
    const int left = bits - done, rest = left % kSweepBits;
    now = left > 4 && BeginsWithFour(left) ? 4 : rest ? rest : kSweepBits;
    const bool first = done == 0, last = done + now == bits;
    const T* in = first ? rows : inner;
    T* out = last ? rows : inner;
    const Index in_stride = first ? stride : inner_stride;
    const Index out_stride = last ? stride : inner_stride;
    for (Index group = 0; group < (Index{1} << (bits - now)); ++group) {
      const Index low = group & ((Index{1} << done) - 1);
      const Index row = ((group >> done) << (done + now)) | low;
      const auto sweep = [&](auto& taker) {
        SweepBits<Keep>(now, in + row * in_stride, in_stride << done, out + row * out_stride,
                        out_stride << done, kWidth, index + row * stride, step, taker);
      };
      last ? sweep(sums) : sweep(none);
    }
  }
}

// One table on all threads: parts that fit a cache, each one task; then the players above them,
// kPanelBits at a time, on panels of columns. Sums are taken where the last players are.
template <class T, class Sums, class... Jobs>
void LargeTable(int n, double* sums, Parallel& parallel, const Jobs&... jobs) {
  constexpr Index kWidth = kPanelBytes / sizeof(T);
  const int cache = sizeof(T) == 4 ? kCachePlayers : kCachePlayers - 1;
  const int base = n > cache ? cache : n - kSweepBits;
  const Index part = Index{1} << base;
  parallel.For(Index{1} << (n - base), [&](Index i) {
    NoSums none(n);
    (Table<T, Keep>(base, none, jobs.At(i * part)), ...);  // one by one: a part fills the cache
  });
  for (int level = base, bits; level < n; level += bits) {
    bits = n - level < kPanelBits ? n - level : kPanelBits;
    const bool last = level + bits == n;
    const Index stride = Index{1} << level, panels = stride / kWidth;
    const Index per_task = CeilDiv(panels, kPanelTasks), tasks = CeilDiv(panels, per_task);
    std::vector<double> partial(Sums::kTaken && last ? tasks * 2 * n : 0);
    for (Index block = 0; block < (Index{1} << (n - level - bits)); ++block) {
      parallel.For(tasks, [&](Index task) {
        T* buffer = bits > kSweepBits ? Scratch<T>() : nullptr;
        const Index end = (task + 1) * per_task < panels ? (task + 1) * per_task : panels;
        const auto run = [&](auto& taker) {
          for (Index p = task * per_task; p < end; ++p) {
            const Index index = (block << (level + bits)) + p * kWidth;
            (Panel(jobs.out + index, bits, stride, buffer, index, jobs.step, taker), ...);
          }
        };
        if (last) {
          Sums taker(n);
          run(taker);
          taker.Write(partial.data(), task);
        } else {
          NoSums none(n);
          run(none);
        }
      });
    }
    for (std::size_t i = 0; i < partial.size(); ++i) sums[i % (2 * n)] += partial[i];
  }
}

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter

#endif  // JAXINTER_LATTICE_WALK_H_
