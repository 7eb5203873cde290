// SPDX-License-Identifier: Apache-2.0
#include "sparse_tables.h"

#include <cmath>
#include <map>
#include <memory>
#include <mutex>

#include "lattice.h"

namespace jaxinter {
namespace {

using Matrix = std::vector<double>;

// Players in order 0, 1, ...: each joins every path of those before it. In place: a path's raised
// states keep the rows of its old states, the last one takes the new player's row; the lowered
// ones take the rest.
CoupledBasis MakeCoupledBasis(int m) {
  using Path = std::vector<std::int32_t>;
  CoupledBasis basis;
  std::vector<Path> paths = {{0}};
  for (int player = 0; player < m; ++player) {
    const std::int32_t bit = 1 << player;
    std::vector<Path> grown;
    for (const Path& path : paths) {
      const int d = static_cast<int>(path.size());
      for (int k = 1; k < d; ++k) {
        const double up = std::sqrt(double(k) / d), down = std::sqrt(double(d - k) / d);
        for (std::int32_t copy = 0; copy < (1 << m); copy += 2 * bit) {
          basis.couplings.push_back({copy + path[k], copy + path[k - 1] + bit, up, down});
        }
      }
      Path raised = path, lowered;
      raised.push_back(path[d - 1] + bit);
      for (int k = 0; k + 1 < d; ++k) lowered.push_back(path[k] + bit);
      grown.push_back(raised);
      if (d > 1) grown.push_back(lowered);
    }
    paths = grown;
    basis.stages.push_back(static_cast<std::int32_t>(basis.couplings.size()));
  }
  for (int d = m + 1; d > 0; d -= 2) {
    CoupledBasis::Spin spin{d, 0, static_cast<int>(basis.rows.size())};
    for (const Path& path : paths) {
      if (static_cast<int>(path.size()) != d) continue;
      basis.rows.insert(basis.rows.end(), path.begin(), path.end());
      ++spin.paths;
    }
    if (spin.paths) basis.spins.push_back(spin);
  }
  return basis;
}

double Binomial(int n, int k) {
  double value = 1;
  for (int i = 0; i < k; ++i) value = value * (n - i) / (i + 1);
  return value;
}

// What A^(x)m is on one path of spin (d - 1) / 2, for det A = 1: the symmetric power of A,
//   [k', k] = sqrt(C(D, k) / C(D, k')) [y^k'] (a00 + a10 y)^(D - k) (a01 + a11 y)^k,  D = d - 1.
Matrix SymmetricPower(const Matrix2& a, int d) {
  Matrix power(d * d);
  for (int k = 0; k < d; ++k) {
    std::vector<double> polynomial = {1};
    for (int factor = 0; factor < d - 1; ++factor) {
      const bool second = factor >= d - 1 - k;
      const double constant = second ? a.a01 : a.a00, slope = second ? a.a11 : a.a10;
      std::vector<double> product(polynomial.size() + 1);
      for (std::size_t i = 0; i < polynomial.size(); ++i) {
        product[i] += constant * polynomial[i];
        product[i + 1] += slope * polynomial[i];
      }
      polynomial = product;
    }
    for (int row = 0; row < d; ++row) {
      power[row * d + k] = std::sqrt(Binomial(d - 1, k) / Binomial(d - 1, row)) * polynomial[row];
    }
  }
  return power;
}

// The inverse of a positive definite matrix, by Gauss-Jordan.
Matrix Inverse(Matrix a, int size) {
  for (int pivot = 0; pivot < size; ++pivot) {
    const double scale = 1 / a[pivot * size + pivot];
    a[pivot * size + pivot] = 1;
    for (int j = 0; j < size; ++j) a[pivot * size + j] *= scale;
    for (int i = 0; i < size; ++i) {
      if (i == pivot) continue;
      const double factor = a[i * size + pivot];
      a[i * size + pivot] = 0;
      for (int j = 0; j < size; ++j) a[i * size + j] -= factor * a[pivot * size + j];
    }
  }
  return a;
}

HalfSchur MakeHalfSchur(int n, double kappa) {
  // One basis for each number of players, for good.
  static std::map<int, CoupledBasis> bases;
  const auto basis = [](int m) {
    if (!bases.count(m)) bases[m] = MakeCoupledBasis(m);
    return &bases[m];
  };
  const Matrix2 kkt{2, -1, -1, 1}, ppt{1, -1, -1, 2};
  HalfSchur schur{basis(n - n / 2), basis(n / 2), {}};
  for (const auto& high : schur.high->spins) {
    const Matrix k_high = SymmetricPower(kkt, high.d), p_high = SymmetricPower(ppt, high.d);
    for (const auto& low : schur.low->spins) {
      const Matrix k_low = SymmetricPower(kkt, low.d), p_low = SymmetricPower(ppt, low.d);
      const int d = high.d, e = low.d, size = d * e, width = HalfSchur::Width(size);
      // The pair of top spins holds the empty coalition first and the full one last. P takes the
      // empty coalition to the full one, whose residual is no part of the program.
      const bool top = schur.blocks.empty();
      Matrix block(size * size);
      for (int row = 0; row < size; ++row) {
        for (int column = 0; column < size; ++column) {
          const int l = row / d * e + column / d, k = row % d * d + column % d;
          block[row * size + column] =
              (row == column) + k_low[l] * k_high[k] + kappa * kappa * p_low[l] * p_high[k];
          if (top && (row == 0 || column == 0)) block[row * size + column] = row == column;
        }
      }
      if (top) block[size * size - 1] -= kappa * kappa;
      Matrix inverse = Inverse(block, size), padded(size * width);
      if (top) inverse[0] = 0;
      for (int row = 0; row < size; ++row) {
        for (int column = 0; column < size; ++column) {
          padded[row * width + column] =
              (inverse[row * size + column] + inverse[column * size + row]) / 2;
        }
      }
      schur.blocks.push_back(padded);
    }
  }
  return schur;
}

Rotations MakeRotations(int n) {
  const Index size = Index{1} << n;
  const double length = std::pow(1 + kGolden * kGolden, n);
  Rotations rotations{std::vector<double>(size), std::vector<double>(size)};
  for (Index i = 0; i < size; ++i) {
    const int order = __builtin_popcountll(i);
    rotations.inverse[i] = 1 / (length * (1 + std::pow(kGolden, 2 * (2 * order - n))));
    // e_0 in the eigenvectors, before their length is made up for.
    rotations.empty[i] = rotations.inverse[i] * std::pow(kGolden, order);
  }
  const RotationStep back{-kGolden};
  for (int player = 0; player < n; ++player) {
    for (Index i = 0; i < size; ++i) {
      const Index with = Partner(i, player);
      if (i < with) back(rotations.empty[i], rotations.empty[with]);
    }
  }
  const double at_empty = rotations.empty[0];
  for (double& x : rotations.empty) x /= at_empty;
  return rotations;
}

// One of each, made when first asked for, kept for good.
template <class Tables, class Make>
const Tables& Kept(int n, const Make& make) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Tables>> kept;
  std::lock_guard<std::mutex> lock(mutex);
  auto& tables = kept[n];
  if (!tables) tables = std::make_unique<Tables>(make());
  return *tables;
}

}  // namespace

const Rotations& RotationsOf(int n) {
  return Kept<Rotations>(n, [&] { return MakeRotations(n); });
}

const HalfSchur& HalfSchurOf(int n) {
  return Kept<HalfSchur>(n, [&] { return MakeHalfSchur(n, Kappa(n)); });
}

}  // namespace jaxinter
