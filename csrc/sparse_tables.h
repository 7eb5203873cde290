// SPDX-License-Identifier: Apache-2.0
// Tables of the exact projection onto the graph, H^-1 = (1 + K K^T [+ kappa^2 P P^T])^-1 without
// the empty coalition: see jaxinter/sparse/projection.py for the mathematics. Made once for each n.
#ifndef JAXINTER_SPARSE_TABLES_H_
#define JAXINTER_SPARSE_TABLES_H_

#include <cstdint>
#include <vector>

#include "common.h"

namespace jaxinter {

// The slope of the eigenvectors (1, -g) and (g, 1) of K K^T's factor [[2, -1], [-1, 1]].
constexpr double kGolden = 0.61803398874989484820;

// H^-1 without noise: rotate every player by slope g, multiply by `inverse`, rotate back, and
// take `empty` times what is left at the empty coalition.
struct Rotations {
  std::vector<double> inverse, empty;  // [2^n]; `inverse` makes up for both rotations' length
};

// One rotation of coupling a player: rows (raised, lowered) <- (down x + up y, up x - down y) of
// their values (x, y).
struct Coupling {
  std::int32_t raised, lowered;
  double up, down;
};

// The orthogonal change to coupled spins of m players, in place on 2^m rows.
struct CoupledBasis {
  struct Spin {
    int d, paths, first;  // 2j + 1; how many; its first entry in `rows`
  };
  std::vector<Coupling> couplings;
  std::vector<std::int32_t> stages;  // where each player's couplings end; one's are independent
  std::vector<Spin> spins;           // top spin first
  std::vector<std::int32_t> rows;    // by spin, path, and number of ones k: where it lies
};

// H^-1 with noise ("half-Schur"): one inverted block for each pair of spins of the high and the low
// half of the players.
struct HalfSchur {
  const CoupledBasis *high, *low;
  std::vector<std::vector<double>> blocks;  // [high spin * low spins + low spin]: [de, width(de)]
  // Rows of a block, in order (l of low, k of high), end at a whole cache line.
  static int Width(int size) { return (size + 7) / 8 * 8; }
};

// Scale of the residual's part of a point, delta = kappa d: measured, fewer iterations.
inline double Kappa(int n_players) { return n_players <= 11 ? 1.0 : 2.0; }

const Rotations& RotationsOf(int n_players);
const HalfSchur& HalfSchurOf(int n_players);

}  // namespace jaxinter

#endif  // JAXINTER_SPARSE_TABLES_H_
