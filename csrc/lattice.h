// SPDX-License-Identifier: Apache-2.0
// The subset lattice, once, for host and device.
//
// A table holds one number for each of the 2^n coalitions of n players; bit i of an index is set
// when player i is present. Every transform of the library is
//
//     y = (A (x) A (x) ... (x) A) x,          A a 2x2 matrix, one factor a player,
//
// and is done in place, player by player: for each pair of coalitions that differ in player i only,
//
//     (without, with) <- A (without, with).
//
// A `Step` is that 2x2 product. V is a scalar or a SIMD vector: the mathematics is the same.
// Drivers (lattice_cpu.cc) decide which pairs meet in which register; they add no arithmetic.
// Players are always taken in the order 0, 1, ..., n-1, so every driver gives the same bits.
#ifndef JAXINTER_LATTICE_H_
#define JAXINTER_LATTICE_H_

#include "common.h"

namespace jaxinter {

// The most players of a table of which sums by order are kept.
constexpr int kMaxPlayers = 30;

// A, row by row: without' = a00 without + a01 with, with' = a10 without + a11 with.
struct Matrix2 {
  double a00, a01, a10, a11;
};

JAXINTER_INLINE bool operator==(const Matrix2& x, const Matrix2& y) {
  return x.a00 == y.a00 && x.a01 == y.a01 && x.a10 == y.a10 && x.a11 == y.a11;
}

// n of a table of 2^n elements; -1 where `size` is no power of two.
JAXINTER_INLINE int PlayersOf(Index size) {
  int n = 0;
  while (n < 62 && (Index{1} << n) < size) ++n;
  return (Index{1} << n) == size ? n : -1;
}

// The index that differs from `index` in `player` only.
JAXINTER_INLINE Index Partner(Index index, int player) { return index ^ (Index{1} << player); }

// a x + b y for a, b in {-1, 0, 1}: no multiplication, so an infinity stays with its coalition.
template <int a, int b, class V>
JAXINTER_INLINE V SignedSum(const V& x, const V& y) {
  if constexpr (a == 0) {
    return b > 0 ? y : -y;
  } else if constexpr (b == 0) {
    return a > 0 ? x : -x;
  } else if constexpr (a > 0) {
    return b > 0 ? x + y : x - y;
  } else {
    return b > 0 ? y - x : -(x + y);
  }
}

template <int a00, int a01, int a10, int a11>
struct SignStep {
  static constexpr Matrix2 kMatrix{a00, a01, a10, a11};
  template <class V>
  JAXINTER_INLINE void operator()(V& without, V& with) const {
    const V x = without, y = with;
    without = SignedSum<a00, a01>(x, y);
    with = SignedSum<a10, a11>(x, y);
  }
};

using Mobius = SignStep<1, 0, -1, 1>;
using Zeta = SignStep<1, 0, 1, 1>;
using SupersetMobius = SignStep<1, -1, 0, 1>;
using SupersetZeta = SignStep<1, 1, 0, 1>;
// Minus the OR effects of a table: the Mobius transform of the complements.
using ComplementMobius = SignStep<0, 1, 1, -1>;
// What an AND effect takes from the OR effects when it takes its part of the output, and back.
using AndToOr = SignStep<1, 1, 0, -1>;
using AndToOrTransposed = SignStep<1, 0, 1, -1>;

// A rotation by the angle of tangent `s`, lengthened by sqrt(1 + s^2).
struct RotationStep {
  double s;
  template <class V>
  JAXINTER_INLINE void operator()(V& without, V& with) const {
    const V x = without, y = with;
    without = x - s * y;
    with = y + s * x;
  }
};

template <class T>
struct GeneralStep {
  T a00, a01, a10, a11;
  explicit GeneralStep(const Matrix2& m)
      : a00(static_cast<T>(m.a00)),
        a01(static_cast<T>(m.a01)),
        a10(static_cast<T>(m.a10)),
        a11(static_cast<T>(m.a11)) {}
  template <class V>
  JAXINTER_INLINE void operator()(V& without, V& with) const {
    const V x = without, y = with;
    without = a00 * x + a01 * y;
    with = a10 * x + a11 * y;
  }
};

// The AND part of values v split by gamma, v / 2 + gamma, or (sign = -1) minus their OR part,
// gamma - v / 2. V is a vector of T.
template <int sign, class T, class V>
JAXINTER_INLINE V SplitPart(const V& v, const V& gamma) {
  const V half = T{0.5} * v;
  return sign > 0 ? half + gamma : gamma - half;
}

// Calls f(step) with the cheapest step that is exactly `matrix`.
template <class T, class F>
void WithStep(const Matrix2& matrix, F&& f) {
  if (matrix == Mobius::kMatrix) return f(Mobius());
  if (matrix == Zeta::kMatrix) return f(Zeta());
  if (matrix == SupersetMobius::kMatrix) return f(SupersetMobius());
  if (matrix == SupersetZeta::kMatrix) return f(SupersetZeta());
  if (matrix == ComplementMobius::kMatrix) return f(ComplementMobius());
  if (matrix == AndToOr::kMatrix) return f(AndToOr());
  if (matrix == AndToOrTransposed::kMatrix) return f(AndToOrTransposed());
  return f(GeneralStep<T>(matrix));
}

}  // namespace jaxinter

#endif  // JAXINTER_LATTICE_H_
