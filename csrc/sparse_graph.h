// SPDX-License-Identifier: Apache-2.0
// H^-1 with the noise box, applied: the half-Schur form of sparse_tables.h. Included by files that
// are compiled once for each SIMD level.
//
// A table is a matrix [high, low]. Its rows are coupled, it is transposed, its new rows are
// coupled, and each pair of paths is multiplied by the block of its pair of spins; then all the way
// back.
#ifndef JAXINTER_SPARSE_GRAPH_H_
#define JAXINTER_SPARSE_GRAPH_H_

#include <algorithm>

#include "parallel.h"
#include "simd.h"
#include "sparse_tables.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

// Elements up to which the couplings of a matrix work in place, in a core's own caches; above, on
// copied panels of kPanelColumns.
constexpr Index kCoupleInPlace = 1 << 14;
constexpr Index kPanelColumns = 16;

// One rotation of two rows; its own inverse.
template <class V>
JAXINTER_INLINE void Couple(const Coupling& c, double* raised, double* lowered) {
  const V x = Load<V>(raised), y = Load<V>(lowered);
  const V up = c.down * x + c.up * y, down = c.up * x - c.down * y;
  std::memcpy(raised, &up, sizeof(V));
  std::memcpy(lowered, &down, sizeof(V));
}

template <class V>
void CoupleColumns(const CoupledBasis& basis, bool back, double* x, Index stride, Index width) {
  constexpr Index kStep = sizeof(V) / sizeof(double);
  const auto run = [&](const Coupling& c) {
    double *raised = x + c.raised * stride, *lowered = x + c.lowered * stride;
    for (Index i = 0; i < width; i += kStep) Couple<V>(c, raised + i, lowered + i);
  };
  if (back) {
    for (auto c = basis.couplings.rbegin(); c != basis.couplings.rend(); ++c) run(*c);
  } else {
    for (const Coupling& c : basis.couplings) run(c);
  }
}

// Couples the rows of x [rows, columns], or undoes it.
inline void CoupleRows(const CoupledBasis& basis, bool back, double* x, Index columns,
                       Parallel& parallel) {
  const Index rows = static_cast<Index>(basis.rows.size());
  if (columns < Simd<double>::kLanes) {
    return CoupleColumns<double>(basis, back, x, columns, columns);
  }
  if (rows * columns <= kCoupleInPlace) {
    return CoupleColumns<Vector<double>>(basis, back, x, columns, columns);
  }
  parallel.For(columns / kPanelColumns, [&](Index panel) {
    alignas(64) double buffer[kPanelColumns << 10];  // n <= 20: 2^10 rows
    double* at = x + panel * kPanelColumns;
    for (Index row = 0; row < rows; ++row) {
      std::copy_n(at + row * columns, kPanelColumns, buffer + row * kPanelColumns);
    }
    CoupleColumns<Vector<double>>(basis, back, buffer, kPanelColumns, kPanelColumns);
    for (Index row = 0; row < rows; ++row) {
      std::copy_n(buffer + row * kPanelColumns, kPanelColumns, at + row * columns);
    }
  });
}

// Transposes a square of kLanes vectors.
JAXINTER_INLINE void TransposeSquare(Vector<double> (&x)[Simd<double>::kLanes]) {
  constexpr int kLanes = Simd<double>::kLanes;
  using Mask = Simd<double>::Mask;
#pragma GCC unroll 3
  for (int bit = 1; bit < kLanes; bit *= 2) {
    Mask first{}, second{};
    for (int lane = 0; lane < kLanes; ++lane) {
      first[lane] = lane & bit ? (lane ^ bit) + kLanes : lane;
      second[lane] = lane & bit ? lane + kLanes : lane ^ bit;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; ++i) {
      if (i & bit) continue;
      const Vector<double> a = x[i], b = x[i | bit];
      x[i] = __builtin_shuffle(a, b, first);
      x[i | bit] = __builtin_shuffle(a, b, second);
    }
  }
}

// out [columns, rows] <- x [rows, columns] with its rows in `order`; or, back, x from out.
template <bool kBack>
void Transpose(double* x, double* out, const std::vector<std::int32_t>& order, Index columns,
               Parallel& parallel) {
  constexpr Index kLanes = Simd<double>::kLanes;
  const Index rows = static_cast<Index>(order.size());
  if (rows < kLanes || columns < kLanes) {
    for (Index row = 0; row < rows; ++row) {
      for (Index column = 0; column < columns; ++column) {
        double &a = x[order[row] * columns + column], &b = out[column * rows + row];
        kBack ? a = b : b = a;
      }
    }
    return;
  }
  const auto group = [&](Index row) {
    for (Index column = 0; column < columns; column += kLanes) {
      Vector<double> square[kLanes];
#pragma GCC unroll 8
      for (Index i = 0; i < kLanes; ++i) {
        square[i] = Load<Vector<double>>(kBack ? out + (column + i) * rows + row
                                               : x + order[row + i] * columns + column);
      }
      TransposeSquare(square);
#pragma GCC unroll 8
      for (Index i = 0; i < kLanes; ++i) {
        Keep::Store<double>(
            kBack ? x + order[row + i] * columns + column : out + (column + i) * rows + row,
            square[i]);
      }
    }
  };
  if (rows * columns <= kCoupleInPlace) {
    for (Index row = 0; row < rows; row += kLanes) group(row);
  } else {
    parallel.For(rows / kLanes, [&](Index i) { group(i * kLanes); });
  }
}

// Copies `count` numbers, mostly fewer than a vector: by memcpy they would be a call each.
JAXINTER_INLINE void CopyFew(const double* from, int count, double* to) {
#if defined(__AVX512F__)
  for (; count > 0; count -= 8, from += 8, to += 8) {
    const __mmask8 some = count < 8 ? (1 << count) - 1 : 0xFF;
    _mm512_mask_storeu_pd(to, some, _mm512_maskz_loadu_pd(some, from));
  }
#else
  for (int i = 0; i < count; ++i) to[i] = from[i];
#endif
}

// y[pair] = block x[pair], entries from `at` on, for kPairs vectors `width` apart; the block,
// [size, width], is symmetric.
template <int kPairs, int kVectors>
JAXINTER_INLINE void MultiplyPart(const double* block, int size, int width, int at, const double* x,
                                  double* y) {
  using V = Vector<double>;
  constexpr int kLanes = Simd<double>::kLanes;
  V sum[kPairs][kVectors] = {};
  for (int j = 0; j < size; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const V column = Load<V>(block + j * width + at + v * kLanes);
#pragma GCC unroll 8
      for (int pair = 0; pair < kPairs; ++pair) sum[pair][v] += column * x[pair * width + j];
    }
  }
#pragma GCC unroll 8
  for (int pair = 0; pair < kPairs; ++pair) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Keep::Store<double>(y + pair * width + at + v * kLanes, sum[pair][v]);
    }
  }
}

// kPairs * kMost sums at once, enough to hide the latency of an addition.
template <int kPairs, int kMost>
JAXINTER_INLINE void MultiplyPairs(const double* block, int size, int width, const double* x,
                                   double* y) {
  constexpr int kLanes = Simd<double>::kLanes;
  int at = 0;
  for (; at + kMost * kLanes <= width; at += kMost * kLanes) {
    MultiplyPart<kPairs, kMost>(block, size, width, at, x, y);
  }
  for (; at < width; at += kLanes) MultiplyPart<kPairs, 1>(block, size, width, at, x, y);
}

// The blocks, in place on t [low rows, high columns in order of the basis]: all paths of one spin
// of the low half with all of one spin of the high half.
inline void MultiplyBlocks(const HalfSchur& schur, const CoupledBasis::Spin& high,
                           const CoupledBasis::Spin& low, const std::vector<double>& block,
                           double* t) {
  constexpr int kPairs = 8, kWidest = 128;
  const int d = high.d, e = low.d, size = d * e, width = HalfSchur::Width(size);
  const Index columns = static_cast<Index>(schur.high->rows.size());
  const std::int32_t* rows = schur.low->rows.data() + low.first;
  alignas(64) double x[kPairs * kWidest], y[kPairs * kWidest];
  const int pairs = high.paths * low.paths;
  for (int first = 0, now; first < pairs; first += now) {
    const int left = pairs - first;
    now = left >= 8 ? 8 : left >= 4 ? 4 : 1;
    const auto each = [&](const auto& f) {
      for (int i = 0; i < now; ++i) {
        const int p = (first + i) % high.paths, q = (first + i) / high.paths;
        double* at = t + high.first + p * d;
        for (int l = 0; l < e; ++l) f(at + rows[q * e + l] * columns, i * width + l * d);
      }
    };
    each([&](const double* from, int to) { CopyFew(from, d, x + to); });
    if (now == 8) {
      MultiplyPairs<8, 1>(block.data(), size, width, x, y);
    } else if (now == 4) {
      MultiplyPairs<4, 2>(block.data(), size, width, x, y);
    } else {
      MultiplyPairs<1, 4>(block.data(), size, width, x, y);
    }
    each([&](double* to, int from) { CopyFew(y + from, d, to); });
  }
}

// x <- H^-1 x, t: scratch of the same size.
inline void ApplyHalfSchur(const HalfSchur& schur, double* x, double* t, Parallel& parallel) {
  const Index rows = static_cast<Index>(schur.high->rows.size());
  const Index columns = static_cast<Index>(schur.low->rows.size());
  CoupleRows(*schur.high, false, x, columns, parallel);
  Transpose<false>(x, t, schur.high->rows, columns, parallel);
  CoupleRows(*schur.low, false, t, rows, parallel);
  const Index lows = static_cast<Index>(schur.low->spins.size());
  parallel.For(static_cast<Index>(schur.blocks.size()), [&](Index i) {
    MultiplyBlocks(schur, schur.high->spins[i / lows], schur.low->spins[i % lows], schur.blocks[i],
                   t);
  });
  CoupleRows(*schur.low, true, t, rows, parallel);
  Transpose<true>(x, t, schur.high->rows, columns, parallel);
  CoupleRows(*schur.high, true, x, columns, parallel);
}

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter

#endif  // JAXINTER_SPARSE_GRAPH_H_
