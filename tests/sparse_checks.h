// SPDX-License-Identifier: Apache-2.0
// The proof that comes with a sparse split, recomputed by itself (jaxinter/sparse/problem.py).
#ifndef JAXINTER_TESTS_SPARSE_CHECKS_H_
#define JAXINTER_TESTS_SPARSE_CHECKS_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "../csrc/lattice.h"

namespace jaxinter {

// Player by player, with the same products and sums as lattice.h.
template <class T>
void Plain(T* x, Index batch, int n, const Matrix2& m) {
  WithStep<T>(m, [&](const auto& step) {
    for (int player = 0; player < n; ++player) {
      for (Index i = 0; i < batch << n; ++i) {
        if (i < Partner(i, player)) step(x[i], x[Partner(i, player)]);
      }
    }
  });
}

// The dual norm of h.
inline double Gauge(const double* x, int models, Index size) {
  double most = 0;
  for (Index i = 0; i < size; ++i) {
    for (const double sign : {1.0, -1.0}) {
      for (int subset = 1; subset < 1 << models; ++subset) {  // models > 1: |sum| <= count + 1
        double sum = 0, count = models > 1;
        for (int k = 0; k < models; ++k) {
          if (subset >> k & 1) sum += sign * x[k * size + i], ++count;
        }
        most = std::max(most, sum / count);
      }
    }
  }
  return most;
}

struct Proof {
  double primal;  // the strength of the split that a and delta stand for
  double value;   // of the multiplier y
  double gauge;   // how far from the dual ball: within it where at most 1
  double beyond;  // by how much the residual exceeds its bound
};

inline Proof ProofOf(int models, int n, const double* w, double zeta, const double* a,
                     const double* delta, const double* y) {
  const Index size = Index{1} << n, all = models * size;
  std::vector<double> b(all), superset(all), meets(all);
  Proof proof{0, 0, 0, -zeta};
  for (int k = 0; k < models; ++k) {
    const Index at = k * size;
    std::vector<double> k_a(a + at, a + at + size), below(y + at, y + at + size), above = below;
    std::vector<double> rest(size);
    for (Index i = 0; i < size; ++i) {
      rest[i] = delta[at + i] - w[at + i];
      proof.beyond = std::max(proof.beyond, std::fabs(delta[at + i]) - zeta);
      proof.value += below[i] * w[at + i] - zeta * std::fabs(below[i]);
    }
    Plain(k_a.data(), 1, n, AndToOr::kMatrix);
    Plain(rest.data(), 1, n, ComplementMobius::kMatrix);
    Plain(above.data(), 1, n, SupersetZeta::kMatrix);
    Plain(below.data(), 1, n, Zeta::kMatrix);
    for (Index i = 1; i < size; ++i) {
      b[at + i] = k_a[i] + rest[i];
      superset[at + i] = above[i];
      meets[at + i] = below[size - 1] - below[size - 1 - i];
    }
  }
  for (Index i = 0; i < size; ++i) {
    for (const double* x : {a, static_cast<const double*>(b.data())}) {
      double top = 0, bottom = 0;
      for (int k = 0; k < models; ++k) {
        proof.primal += std::fabs(x[k * size + i]);
        top = std::max(top, x[k * size + i]), bottom = std::min(bottom, x[k * size + i]);
      }
      if (models > 1) proof.primal += top - bottom;
    }
  }
  proof.gauge = std::max(Gauge(superset.data(), models, size), Gauge(meets.data(), models, size));
  return proof;
}

}  // namespace jaxinter

#endif  // JAXINTER_TESTS_SPARSE_CHECKS_H_
