// SPDX-License-Identifier: Apache-2.0
// The CPU kernels by themselves, without Python: against the definition, across every path (scalar,
// registers, sweeps, panels, threads, streams), aligned and not; and the sparse solver's
// certificate recomputed. Meant for sanitizers and for other processors; `.ci/check_kernels` builds
// and runs it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../csrc/assemble_kernels.h"
#include "../csrc/lattice_kernels.h"
#include "../csrc/sparse_kernels.h"
#include "../csrc/threads.h"
#include "checks.h"
#include "sparse_checks.h"

using namespace jaxinter;

namespace {

void Check(bool ok, const char* what, int n, Index batch) {
  jaxinter::Check(
      ok, std::string(what) + ", n = " + std::to_string(n) + ", batch " + std::to_string(batch));
}

// The definition, 3^n terms.
double MobiusAt(const double* v, Index s) {
  double total = 0;
  for (Index t = s;; t = (t - 1) & s) {
    total += __builtin_popcountll(s ^ t) & 1 ? -v[t] : v[t];
    if (t == 0) return total;
  }
}

template <class T>
void CheckTransforms(Index batch, int n, int offset) {
  SleepingThreads threads(1 << 30);
  const Index size = batch << n;
  const std::vector<T> in = Normal<T>(size + offset);
  for (const Matrix2& m : {Mobius::kMatrix, Zeta::kMatrix, SupersetMobius::kMatrix,
                           ComplementMobius::kMatrix, Matrix2{0.6, 0.8, -0.8, 0.6}}) {
    std::vector<T> expected(in.begin() + offset, in.end());
    Plain(expected.data(), batch, n, m);
    std::vector<T> out(size + offset), in_place = in;
    LaunchSubsetTransformCpu(in.data() + offset, out.data() + offset, batch, n, m, threads);
    LaunchSubsetTransformCpu(in_place.data() + offset, in_place.data() + offset, batch, n, m,
                             threads);
    bool same = true;
    for (Index i = 0; i < size; ++i) {
      same = same && out[offset + i] == expected[i] && in_place[offset + i] == expected[i];
    }
    Check(same, "transform", n, batch);
  }
}

template <class T>
void CheckFused(Index batch, int n, bool with_delta, int offset) {
  SleepingThreads threads(1 << 30);
  const Index size = batch << n;
  const auto v = Normal<T>(size + offset), gamma = Normal<T>(size + offset),
             delta = Normal<T>(size + offset);
  std::vector<T> and_effects(size + offset), or_effects(size + offset), a(size), b(size);
  std::vector<double> sums(batch * 2 * n), expected(batch * 2 * n);
  LaunchAndOrEffectsCpu(v.data() + offset, gamma.data() + offset,
                        with_delta ? delta.data() + offset : nullptr, and_effects.data() + offset,
                        or_effects.data() + offset, sums.data(), batch, n, threads);
  for (Index i = 0; i < size; ++i) {
    const T half = T{0.5} * (with_delta ? v[offset + i] - delta[offset + i] : v[offset + i]);
    a[i] = half + gamma[offset + i];
    b[i] = gamma[offset + i] - half;
  }
  Plain(a.data(), batch, n, Mobius::kMatrix);
  Plain(b.data(), batch, n, ComplementMobius::kMatrix);
  bool same = true;
  for (Index i = 0; i < size; ++i) {
    const int order = __builtin_popcountll(i & ((Index{1} << n) - 1));
    if (order == 0) b[i] = 0;
    same = same && and_effects[offset + i] == a[i] && or_effects[offset + i] == b[i];
    for (const double x : {a[i], b[i]}) {
      if (order > 0) expected[(i >> n) * 2 * n + (x < 0) * n + order - 1] += std::fabs(x);
    }
  }
  Check(same, "fused effects", n, batch);
  bool near = true;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const double tolerance = sizeof(T) == 4 ? 2e-6 : 1e-12;
    near = near && std::fabs(sums[i] - expected[i]) <= tolerance * expected[i];
  }
  Check(near, "fused sums", n, batch);
}

// `parts`: with a threshold, one that an effect meets; and with bytes that leave entries out.
template <class T>
void CheckStrength(Index batch, int n, bool parts, int offset) {
  SleepingThreads threads(1 << 30);
  const Index size = batch << n;
  const auto a = Normal<T>(size + offset), b = Normal<T>(size + offset);
  std::vector<double> sums(batch * 2 * n, 7), expected(batch * 2 * n), threshold(batch);
  std::vector<std::uint8_t> counted(2 * size);
  for (Index i = 0; i < batch; ++i) threshold[i] = std::fabs(b[offset + ((i + 1) << n) - 1]);
  for (std::uint8_t& byte : counted) byte = random_bits() & 1;
  LaunchOrderStrengthCpu(a.data() + offset, b.data() + offset, parts ? threshold.data() : nullptr,
                         parts ? counted.data() : nullptr, sums.data(), batch, n, threads);
  for (Index i = 0; i < size; ++i) {
    const Index sample = i >> n, s = i & ((Index{1} << n) - 1);
    const int order = __builtin_popcountll(s);
    for (int kind = 0; kind < 2 && order > 0; ++kind) {
      const double x = kind ? b[offset + i] : a[offset + i];
      if (parts && (std::fabs(x) <= threshold[sample] || !counted[((2 * sample + kind) << n) + s]))
        continue;
      expected[sample * 2 * n + (x < 0) * n + order - 1] += std::fabs(x);
    }
  }
  bool near = true;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const double tolerance = sizeof(T) == 4 ? 1e-6 : 1e-12;
    near = near && std::fabs(sums[i] - expected[i]) <= tolerance * expected[i];
  }
  Check(near, "order strength", n, batch);
}

template <class T>
void CheckAssembly(Index rows, int n, Index size, int form) {
  SleepingThreads threads(1 << 30);
  std::vector<std::uint8_t> bytes(rows * n);
  std::vector<std::int32_t> indices32(rows), players(size);
  std::vector<std::int64_t> indices64(rows);
  for (Index row = 0; row < rows; ++row) {
    for (int i = 0; i < n; ++i) {
      const std::int64_t bit = random_bits() & 1;
      bytes[row * n + i] = static_cast<std::uint8_t>(bit);
      indices64[row] |= bit << i;
      if (n <= 31) indices32[row] |= static_cast<std::int32_t>(bit << i);
    }
  }
  for (std::int32_t& player : players) player = static_cast<int>(random_bits() % (n + 1)) - 1;
  const std::vector<T> x(size, T{1}), baseline(size, T{2});
  std::vector<T> out(rows * size);
  const Masks masks{form == 0 ? bytes.data() : nullptr, form == 1 ? indices32.data() : nullptr,
                    form == 2 ? indices64.data() : nullptr, n};
  LaunchMaskedInputsCpu<T>(masks, rows, x.data(), baseline.data(), players.data(), size, out.data(),
                           threads);
  bool same = true;
  for (Index i = 0; i < rows * size; ++i) {
    const std::int32_t player = players[i % size];
    same = same && out[i] == (player < 0 || bytes[i / size * n + player] ? T{1} : T{2});
  }
  Check(same, "assembly", n, rows);
}

// Groups whose first player is a dummy in every third, and whose fourth is nothing at all.
void CheckSparse(Index groups, int models, int n, double noise, double tie_break, double tol) {
  const Index size = Index{1} << n, all = models * size;
  std::vector<double> w = Normal<double>(groups * all), zeta(groups * models, noise);
  for (Index i = 0; i < groups * all; ++i) {
    const Index group = i / all, at = i % size;
    if (group % 3 == 2 && at & 1) w[i] = w[i - 1];
    if (group == 3) w[i] = 0;
  }
  for (Index table = 0; table < groups * models; ++table) {
    const double empty = w[table * size];
    for (Index i = 0; i < size; ++i) w[table * size + i] -= empty;
  }
  for (Index group = 0; group < groups; ++group) {
    double most = 0;
    for (Index i = 0; i < all; ++i) most = std::max(most, std::fabs(w[group * all + i]));
    for (Index i = 0; most > 0 && i < all; ++i) w[group * all + i] /= most;
  }
  const SparseProgram program{groups,  n,   models,    w.data(), noise > 0 ? zeta.data() : nullptr,
                              nullptr, tol, tie_break, 1e-12,    4000};
  std::vector<double> a(groups * all), delta(a), y(a), dual(groups), eps(groups);
  std::vector<std::int32_t> iterations(groups);
  const auto solve = [&](const char* threads_of, auto&... out) {
    setenv("JAXINTER_THREADS", threads_of, 1);
    SleepingThreads threads(1 << 30);
    LaunchSparseSplitCpu(program, {out.data()...}, {nullptr, nullptr}, threads);
  };
  solve("4", a, delta, y, dual, eps, iterations);
  std::vector<double> a1(a), delta1(a), y1(a), dual1(groups), eps1(groups);
  std::vector<std::int32_t> iterations1(groups);
  solve("1", a1, delta1, y1, dual1, eps1, iterations1);
  Check(a == a1 && delta == delta1 && y == y1 && dual == dual1 && iterations == iterations1,
        "sparse split on one thread", n, groups);
  setenv("JAXINTER_THREADS", "4", 1);
  for (Index group = 0; group < groups; ++group) {
    const Index at = group * all;
    const auto [primal, value, gauge, beyond] =
        ProofOf(models, n, &w[at], noise, &a[at], &delta[at], &y[at]);
    Check(gauge <= 1 + 1e-9, "sparse split: multiplier in the dual ball", n, group);
    Check(std::fabs(value - dual[group]) <= 1e-8 * (1 + primal), "sparse split: bound", n, group);
    Check(beyond <= 0 && primal - dual[group] <= tol * primal + 1e-9 &&
              dual[group] <= primal * (1 + 1e-9) + 1e-12,
          "sparse split: certificate", n, group);
  }
}

}  // namespace

int main(int argc, char**) {
  const int most = argc > 1 ? 13 : 20;  // an argument: less, for emulators
  setenv("JAXINTER_THREADS", "4", 1);
  for (int n = 0; n <= 8; ++n) {
    SleepingThreads threads(0);
    const auto v = Normal<double>(Index{1} << n);
    std::vector<double> effects(v.size());
    LaunchSubsetTransformCpu(v.data(), effects.data(), 1, n, Mobius::kMatrix, threads);
    bool near = true;
    for (Index s = 0; s < Index{1} << n; ++s) {
      near = near && std::fabs(effects[s] - MobiusAt(v.data(), s)) < 1e-12;
    }
    Check(near, "definition", n, 1);
  }
  for (int n = 0; n <= most; ++n) {
    for (const int offset : {0, 1}) {
      CheckTransforms<float>(n < 15 ? 5 : 1, n, offset);
      CheckTransforms<double>(n < 15 ? 5 : 1, n, offset);
      CheckFused<float>(n < 15 ? 5 : 1, n, offset == 0, offset);
      CheckFused<double>(n < 15 ? 5 : 1, n, offset == 1, offset);
      CheckStrength<float>(n < 15 ? 5 : 1, n, offset == 0, offset);
      CheckStrength<double>(n < 15 ? 5 : 1, n, offset == 1, offset);
      CheckStrength<double>(n < 9 ? 700 : 5, n, offset == 0, offset);
    }
  }
  if (most == 13) {  // the paths of large tables
    for (const int n : {16, 18}) {
      CheckTransforms<float>(1, n, 0);
      CheckFused<double>(1, n, true, 0);
    }
  }
  if (most == 20) {  // streamed to memory
    CheckFused<float>(2048, 10, true, 0);
    CheckFused<float>(Index{1} << 18, 3, false, 0);
    CheckFused<double>(128, 13, false, 0);
    CheckFused<float>(64, 15, false, 0);
    CheckFused<float>(9, 17, false, 0);
  }
  for (const int n : {1, 8, 31, 32, 62}) {
    for (int form = 0; form < 3; ++form) {
      if (form == 1 && n > 31) continue;
      CheckAssembly<std::uint8_t>(40, n, 5000, form);
      CheckAssembly<std::uint64_t>(40, n, 300, form);
    }
  }
  for (int n = 1; n <= 7; ++n) {
    for (const double noise : {0.0, 0.05}) {
      CheckSparse(5, 1, n, noise, 0.1, 1e-2);
      CheckSparse(4, 2, n, noise, 0, 1e-2);
      CheckSparse(1, 3, n, noise, 0, 1e-2);
    }
  }
  if (most == 20) {
    CheckSparse(3, 1, 9, 0.3, 0.1, 1e-7);  // by Newton's method
    CheckSparse(1, 1, 16, 0, 0, 1e-1);     // one table on several threads
    CheckSparse(1, 1, 16, 0.3, 0, 1e-1);
  }
  std::printf("%s: %s\n", SimdLevel(), failures ? "FAILED" : "all hold");
  return failures != 0;
}
