// SPDX-License-Identifier: Apache-2.0
// Sums of the positive and of the negative entries of a table, by the size of their coalition.
// Included by files that are compiled once for each SIMD level.
#ifndef JAXINTER_ORDER_SUMS_H_
#define JAXINTER_ORDER_SUMS_H_

#include "lattice.h"
#include "simd.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

JAXINTER_INLINE int Order(Index index) {
  return __builtin_popcountll(static_cast<unsigned long long>(index));
}

// Takes nothing: for transforms whose sums nobody asked for.
struct NoSums {
  static constexpr bool kTaken = false;
  template <int kBits>
  struct Group {
    template <int kRegisterBits, class V>
    JAXINTER_INLINE void Take(const V (&)[1 << kRegisterBits], int) {}
  };

  explicit NoSums(int) {}
  template <class G>
  JAXINTER_INLINE void Add(const G&, Index) {}
  void Write(double*, Index) {}
};

// Entries are added up in vectors, lane by lane, one for each size of a coalition above the lanes:
// in registers for the entries of a `Group`, in the table's dtype for at most kPending groups.
// Lanes are then combined, and from there on all is kept in double. The bits depend on the width of
// a vector, not on batch and threads. A NaN ends in both sums.
template <class T>
class OrderSums {
 public:
  static constexpr bool kTaken = true;

  // 2^kBits vectors that differ in kBits players above the lanes.
  template <int kBits>
  struct Group {
    Vector<T> positive[kBits + 1] = {}, negative[kBits + 1] = {};

    // 2^kRegisterBits of them; `order` of the other players of the group are present in these.
    template <int kRegisterBits>
    JAXINTER_INLINE void Take(const Vector<T> (&x)[1 << kRegisterBits], int order) {
#pragma GCC unroll 16
      for (int i = 0; i < (1 << kRegisterBits); ++i) {
        positive[order + __builtin_popcount(i)] += AtLeast0<T>(x[i]);
        negative[order + __builtin_popcount(i)] += AtMost0<T>(x[i]);
      }
    }
  };

  explicit OrderSums(int n_players) : n_(n_players) {
    for (int order = 0; order <= n_; ++order) positive_[order] = negative_[order] = 0;
    for (int order = 0; order <= n_; ++order) pending_[0][order] = pending_[1][order] = Vector<T>{};
  }

  // `index`: of the group's first entry.
  template <int kBits>
  JAXINTER_INLINE void Add(const Group<kBits>& group, Index index) {
    const int above = Order(index);
#pragma GCC unroll 8
    for (int order = 0; order <= kBits; ++order) {
      pending_[0][above + order] += group.positive[order];
      pending_[1][above + order] += group.negative[order];
    }
    if (++pending_count_ == kPending) CombineLanes();
  }

  // One entry.
  void Add(T x, Index index) {
    positive_[Order(index)] += x < 0 ? 0 : x;
    negative_[Order(index)] -= x > 0 ? 0 : x;
  }

  // Writes the sums of orders 1 to n, all >= 0, as row `table` of `sums`: n positive ones, then n
  // negative ones.
  void Write(double* sums, Index table) {
    if (pending_count_ > 0) CombineLanes();
    sums += table * 2 * n_;
    for (int order = 1; order <= n_; ++order) {
      sums[order - 1] = positive_[order];
      sums[n_ + order - 1] = negative_[order];
    }
  }

 private:
  static constexpr int kOrders = kMaxPlayers + 1;
  // float32: a sum of so many terms of one sign, 32 a group at most, is exact to about 1e-6.
  static constexpr int kPending = 32;
  static constexpr int kHalf = Simd<T>::kLanes / 2;

  // An entry whose lane has the player counts one order higher: the halves of the lanes meet player
  // by player, positive sums in the lower half of one vector and negative sums in the upper.
  void CombineLanes() {
    Vector<T> sums[kOrders];
    for (int order = n_; order >= 0; --order) {
      const Vector<T> positive = pending_[0][order], negative = pending_[1][order];
      sums[order] = HasBit<T, kHalf>() ? FlipLanes<T, kHalf>(negative) : positive;
      if (order < n_) {
        sums[order + 1] += HasBit<T, kHalf>() ? negative : FlipLanes<T, kHalf>(positive);
      }
      pending_[0][order] = pending_[1][order] = Vector<T>{};
    }
    if constexpr (kHalf >= 8) FoldLanes<4>(sums);
    if constexpr (kHalf >= 4) FoldLanes<2>(sums);
    if constexpr (kHalf >= 2) FoldLanes<1>(sums);
    for (int order = 0; order <= n_; ++order) {
      positive_[order] += sums[order][0];
      negative_[order] -= sums[order][kHalf];
    }
    pending_count_ = 0;
  }

  template <int kBit>
  void FoldLanes(Vector<T>* sums) const {
    for (int order = n_; order > 0; --order) sums[order] += FlipLanes<T, kBit>(sums[order - 1]);
  }

  const int n_;
  int pending_count_ = 0;
  Vector<T> pending_[2][kOrders];
  double positive_[kOrders], negative_[kOrders];
};

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter

#endif  // JAXINTER_ORDER_SUMS_H_
