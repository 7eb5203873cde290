// SPDX-License-Identifier: Apache-2.0
// Strength of finished effects by order: one pass over AND and OR effects. Compiled once for each
// SIMD level, with the same bits.
#include <cstring>

#include "lattice.h"
#include "order_sums.h"
#include "parallel.h"
#include "simd.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

// A task of a batch should touch about this many bytes.
constexpr Index kStrengthTaskBytes = 64 * 1024;

// Sums of one sample. The lanes of blocks of 64 bytes are added up apart, whatever the width of a
// vector, and meet in Write: so bits depend on no SIMD level. A group of blocks is added up in the
// table's dtype (ten terms a lane and order at most), and from there on all is kept in double.
template <class T>
class Strength {
 public:
  static constexpr int kLanes = 64 / sizeof(T), kLaneBits = sizeof(T) == 8 ? 3 : 4;
  static constexpr int kGroupBits = sizeof(T) == 8 ? 4 : 5;  // measured

  Strength(int n_players, T threshold) : n_(n_players), threshold_(threshold) {
    for (int order = 0; order <= blocks(); ++order) {
      for (int lane = 0; lane < kLanes; ++lane) positive_[order][lane] = negative_[order][lane] = 0;
    }
  }

  // One table; `counted` (null for all): bytes, 1 for the entries that count, else 0.
  void Add(const T* effects, const std::uint8_t* counted) {
    const Index size = Index{1} << n_;
    if (n_ < kLaneBits) {
      for (Index i = 0; i < size; ++i) {
        if (counted && !counted[i]) continue;
        positive_[0][i] += effects[i] <= threshold_ ? 0 : effects[i];
        negative_[0][i] -= effects[i] >= -threshold_ ? 0 : effects[i];
      }
    } else if (n_ < kLaneBits + kGroupBits) {
      Groups<0>(effects, counted, size);
    } else {
      Groups<kGroupBits>(effects, counted, size);
    }
  }

  // Orders 1 to n: n positive sums, then n negative ones.
  void Write(double* sums) const {
    for (int i = 0; i < 2 * n_; ++i) sums[i] = 0;
    for (int above = 0; above <= blocks(); ++above) {
      double positive[kLaneBits + 1] = {}, negative[kLaneBits + 1] = {};
#pragma GCC unroll 16
      for (int lane = 0; lane < kLanes; ++lane) {
        positive[__builtin_popcount(lane)] += positive_[above][lane];
        negative[__builtin_popcount(lane)] += negative_[above][lane];
      }
      for (int order = above ? above : 1; order <= above + kLaneBits && order <= n_; ++order) {
        sums[order - 1] += positive[order - above];
        sums[n_ + order - 1] += negative[order - above];
      }
    }
  }

 private:
  using V = Vector<T>;
  using Mask = typename Simd<T>::Mask;
  static constexpr int kVectors = kLanes / Simd<T>::kLanes;
  // Sums interrupt the stream of loads, and the hardware then fetches too late: from memory, twice
  // the speed.
  static constexpr Index kAhead = 4096 / sizeof(T);

  int blocks() const { return n_ < kLaneBits ? 0 : n_ - kLaneBits; }

  // 2^kBits blocks at a time, in registers. A NaN passes every threshold, into both sums.
  template <int kBits>
  void Groups(const T* effects, const std::uint8_t* counted, Index size) {
    for (Index at = 0; at < size; at += Index{kLanes} << kBits) {
      const int above = Order(at);
      for (int part = 0; part < kVectors; ++part) {
        const Index offset = part * Simd<T>::kLanes;
        if (counted) {
          Group<kBits, true>(effects + at + offset, counted + at + offset, above, offset);
        } else {
          Group<kBits, false>(effects + at + offset, nullptr, above, offset);
        }
      }
    }
  }

  template <int kBits, bool kCounted>
  JAXINTER_INLINE void Group(const T* effects, const std::uint8_t* counted, int above,
                             Index offset) {
    const V threshold = V{} + threshold_;
    V positive[kBits + 1] = {}, negative[kBits + 1] = {};
#pragma GCC unroll 64
    for (int block = 0; block < (1 << kBits); ++block) {
      __builtin_prefetch(effects + block * kLanes + kAhead);
      V x = Load<V>(effects + block * kLanes);
      if constexpr (kCounted) {
        typedef std::uint8_t Bytes __attribute__((vector_size(Simd<T>::kLanes)));
        Bytes bytes;
        std::memcpy(&bytes, counted + block * kLanes, sizeof(bytes));
        const Mask all_or_none = -__builtin_convertvector(bytes, Mask);
        x = reinterpret_cast<V>(reinterpret_cast<Mask>(x) & all_or_none);
      }
      positive[__builtin_popcount(block)] += x <= threshold ? V{} : x;
      negative[__builtin_popcount(block)] += x >= -threshold ? V{} : x;
    }
#pragma GCC unroll 8
    for (int order = 0; order <= kBits; ++order) {
      double* to_positive = positive_[above + order] + offset;
      double* to_negative = negative_[above + order] + offset;
      for (int lane = 0; lane < Simd<T>::kLanes; ++lane) {
        to_positive[lane] += positive[order][lane];
        to_negative[lane] -= negative[order][lane];
      }
    }
  }

  const int n_;
  const T threshold_;
  alignas(64) double positive_[kMaxPlayers + 1][kLanes], negative_[kMaxPlayers + 1][kLanes];
};

template <class T>
void OrderStrength(const T* and_effects, const T* or_effects, const double* threshold,
                   const std::uint8_t* counted, double* sums, Index batch, int n,
                   Parallel& parallel) {
  const Index per_sample = Index{2 * sizeof(T)} << n;
  const Index samples = per_sample < kStrengthTaskBytes ? kStrengthTaskBytes / per_sample : 1;
  parallel.For(CeilDiv(batch, samples), [&](Index task) {
    const Index end = (task + 1) * samples < batch ? (task + 1) * samples : batch;
    for (Index b = task * samples; b < end; ++b) {
      Strength<T> strength(n, threshold ? static_cast<T>(threshold[b]) : T{0});
      strength.Add(and_effects + (b << n), counted ? counted + ((2 * b) << n) : nullptr);
      strength.Add(or_effects + (b << n), counted ? counted + ((2 * b + 1) << n) : nullptr);
      strength.Write(sums + b * 2 * n);
    }
  });
}

#define JAXINTER_INSTANTIATE(T)                                                                   \
  template void OrderStrength<T>(const T*, const T*, const double*, const std::uint8_t*, double*, \
                                 Index, int, Parallel&);
JAXINTER_INSTANTIATE(float)
JAXINTER_INSTANTIATE(double)

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter
