// SPDX-License-Identifier: Apache-2.0
// A libFuzzer target: any bytes are a call of a CPU kernel or a DLPack tensor, of any size, stride,
// alignment, dtype and value, checked against the slowest way to compute it. `.ci/fuzz` builds and
// runs it with sanitizers.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "../csrc/assemble_kernels.h"
#include "../csrc/lattice_kernels.h"
#include "../csrc/sparse_kernels.h"
#include "../csrc/threads.h"
#include "fuzz_input.h"
#include "fuzz_tensor.h"

namespace jaxinter {
namespace portable {  // dispatch_cpu.cc; here to compare SIMD levels with
template <class T>
void OrderStrength(const T*, const T*, const double*, const std::uint8_t*, double*, Index, int,
                   Parallel&);
}  // namespace portable
}  // namespace jaxinter

using namespace jaxinter;

namespace {

struct Threads : SleepingThreads {
  explicit Threads(Input& in) : SleepingThreads(Set(in.UpTo(3) + 1)) {}
  static Index Set(int threads) {
    setenv("JAXINTER_THREADS", std::to_string(threads).c_str(), 1);
    return 1 << 30;
  }
};

struct Tables {
  int n;
  Index batch, size;
  explicit Tables(Input& in)
      : n(in.UpTo(13)), batch(in.UpTo(std::min(70, (1 << 14) >> n))), size(batch << n) {}
};

template <class T>
T Combined(bool signs, double a, double b, T x, T y) {
  if (!signs) return static_cast<T>(a) * x + static_cast<T>(b) * y;
  if (a == 0) return b > 0 ? y : -y;
  if (b == 0) return a > 0 ? x : -x;
  return a > 0 ? (b > 0 ? x + y : x - y) : (b > 0 ? y - x : -(x + y));
}

// One step of the definition after the other, player by player.
template <class T>
void Transform(std::vector<T>& x, int n, const Matrix2& m, bool signs) {
  for (std::size_t half = 1; half < std::size_t{1} << n; half *= 2) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i & half) continue;
      const T without = x[i], with = x[i + half];
      x[i] = Combined(signs, m.a00, m.a01, without, with);
      x[i + half] = Combined(signs, m.a10, m.a11, without, with);
    }
  }
}

constexpr Matrix2 kSigns[] = {{1, 0, -1, 1}, {1, 0, 1, 1},  {1, -1, 0, 1}, {1, 1, 0, 1},
                              {0, 1, 1, -1}, {1, 1, 0, -1}, {1, 0, 1, -1}};

template <class T>
void FuzzTransform(Input& in) {
  const Tables t(in);
  const int which = in.UpTo(8);
  const bool signs = which < 7, in_place = in.Flip();
  Threads threads(in);
  Matrix2 m = signs ? kSigns[which] : Matrix2{0.6, 0.8, -0.8, 0.6};
  if (which == 8) m = {in.Take<double>(), in.Take<double>(), in.Take<double>(), 0.5};
  std::snprintf(about, sizeof(about), "transform of %zu bytes, n %d, batch %d, matrix %d, %s",
                sizeof(T), t.n, static_cast<int>(t.batch), which, in_place ? "in place" : "apart");
  Values<T> x(in, t.size);
  Memory<T> out(in, t.size);
  std::vector<T> expected = x.kept();
  Transform(expected, t.n, m, signs);
  T* to = in_place ? x.data() : out.data();
  LaunchSubsetTransformCpu<T>(x.data(), to, t.batch, t.n, m, threads);
  RequireSame<T>(in_place ? x : out, expected, "not the transform");
  if (in_place) x.Keep();
}

// Sums by order [batch, 2, n] of entries that are all to be counted.
template <class T>
struct ExpectedSums {
  const Tables& t;
  std::vector<double> sums = std::vector<double>(t.batch * 2 * t.n);

  void Add(Index i, T x) {
    const int order = __builtin_popcountll(i & ((Index{1} << t.n) - 1));
    if (order == 0) return;
    double* const row = &sums[(i >> t.n) * 2 * t.n + order - 1];
    if (!(x < 0)) row[0] += x;
    if (!(x > 0)) row[t.n] -= x;
  }
  // Sums may be kept in T for a while, in another order.
  void Check(Memory<double>& got) const {
    constexpr double kMost = std::numeric_limits<T>::max();
    for (Index i = 0; i < got.size(); ++i) {
      const double x = got[i], y = sums[i];
      const bool close = std::fabs(x - y) <= (sizeof(T) == 4 ? 1e-5 : 1e-12) * y;
      Require(y != y ? x != x : close || (y > kMost / 4 && x > kMost / 8), "not the sums by order");
    }
  }
};

template <class T>
void FuzzFused(Input& in) {
  const Tables t(in);
  const bool with_delta = in.Flip();
  Threads threads(in);
  std::snprintf(about, sizeof(about), "fused effects of %zu bytes, n %d, batch %d, %s delta",
                sizeof(T), t.n, static_cast<int>(t.batch), with_delta ? "with" : "without");
  Values<T> v(in, t.size), gamma(in, t.size), delta(in, with_delta ? t.size : 0);
  Memory<T> and_effects(in, t.size), or_effects(in, t.size);
  Memory<double> sums(in, t.batch * 2 * t.n);
  std::fill_n(sums.data(), sums.size(), 0.0);
  LaunchAndOrEffectsCpu<T>(v.data(), gamma.data(), with_delta ? delta.data() : nullptr,
                           and_effects.data(), or_effects.data(), sums.data(), t.batch, t.n,
                           threads);
  std::vector<T> a(t.size), b(t.size);
  for (Index i = 0; i < t.size; ++i) {
    const T half = T{0.5} * (with_delta ? v[i] - delta[i] : v[i]);
    a[i] = half + gamma[i], b[i] = gamma[i] - half;
  }
  Transform(a, t.n, kSigns[0], true);
  Transform(b, t.n, kSigns[4], true);
  ExpectedSums<T> expected{t};
  for (Index i = 0; i < t.size; ++i) {
    if (i % (Index{1} << t.n) == 0) b[i] = 0;
    expected.Add(i, a[i]), expected.Add(i, b[i]);
  }
  RequireSame(and_effects, a, "not the AND effects");
  RequireSame(or_effects, b, "not the OR effects");
  expected.Check(sums);
}

template <class T>
void FuzzStrength(Input& in) {
  const Tables t(in);
  const bool with_threshold = in.Flip(), with_counted = in.Flip();
  Threads threads(in);
  std::snprintf(about, sizeof(about), "strength of %zu bytes, n %d, batch %d%s%s", sizeof(T), t.n,
                static_cast<int>(t.batch), with_threshold ? ", threshold" : "",
                with_counted ? ", counted" : "");
  Values<T> a(in, t.size), b(in, t.size), limits(in, t.batch);
  Memory<double> threshold(in, t.batch), sums(in, t.batch * 2 * t.n), others(in, sums.size());
  for (Index i = 0; i < t.batch; ++i)
    threshold[i] = limits[i] != limits[i] ? 0 : std::fabs(limits[i]);
  Memory<std::uint8_t> counted(in, 2 * t.size);
  const auto seed = in.Take<std::uint32_t>();
  for (Index i = 0; i < counted.size(); ++i) counted[i] = Scramble(seed + i) & 1;
  const auto run = [&](auto kernel, Memory<double>& to) {
    kernel(a.data(), b.data(), with_threshold ? threshold.data() : nullptr,
           with_counted ? counted.data() : nullptr, to.data(), t.batch, t.n, threads);
  };
  run(LaunchOrderStrengthCpu<T>, sums);
  run(portable::OrderStrength<T>, others);
  RequireSame(sums, others.Copy(), "not the bits of the portable level");
  ExpectedSums<T> expected{t};
  for (Index i = 0; i < t.size; ++i) {
    const Index sample = i >> t.n, above = sample << t.n;
    const double limit = with_threshold ? threshold[sample] : 0;
    for (int kind = 0; kind < 2; ++kind) {
      const T x = kind ? b[i] : a[i];
      const bool in_part = !with_counted || counted[above + (Index{kind} << t.n) + i];
      if (in_part && !(std::fabs(x) <= limit)) expected.Add(i, x);
    }
  }
  expected.Check(sums);
}

template <class T>
void FuzzMasks(Input& in) {
  const int form = in.UpTo(2), n = 1 + in.UpTo(form == 1 ? 30 : 61), size = in.UpTo(5000);
  const Index rows = in.UpTo(std::min(300, (1 << 15) / (size + 1)));
  Threads threads(in);
  std::snprintf(about, sizeof(about),
                "masked inputs of %zu bytes, form %d, n %d, %d of %d elements", sizeof(T), form, n,
                static_cast<int>(rows), size);
  const auto seed = in.Take<std::uint32_t>();
  const bool wild = in.Flip();
  const auto random = [&](Index i) { return Scramble(seed + (Index{1} << 32) * i); };
  Memory<std::uint8_t> bytes(in, form == 0 ? rows * n : 0);
  Memory<std::int32_t> indices32(in, form == 1 ? rows : 0), players(in, size);
  Memory<std::int64_t> indices64(in, form == 2 ? rows : 0);
  Memory<T> x(in, size), baseline(in, size), out(in, rows * size);
  for (Index i = 0; i < bytes.size(); ++i) bytes[i] = random(i) & (wild ? random(i) >> 8 : 1);
  for (Index i = 0; i < indices32.size(); ++i) indices32[i] = static_cast<std::int32_t>(random(i));
  for (Index i = 0; i < indices64.size(); ++i) indices64[i] = static_cast<std::int64_t>(random(i));
  for (Index i = 0; i < size; ++i) {
    players[i] = static_cast<std::int32_t>(wild ? random(~i) : random(~i) % (n + 1) - 1);
    x[i] = static_cast<T>(random(i + size)), baseline[i] = static_cast<T>(random(i + 2 * size));
  }
  const Masks masks{form == 0 ? bytes.data() : nullptr, form == 1 ? indices32.data() : nullptr,
                    form == 2 ? indices64.data() : nullptr, n};
  Require(LaunchMaskedInputsOfSizeCpu(sizeof(T), masks, rows, x.data(), baseline.data(),
                                      players.data(), size, out.data(), threads),
          "refused");
  for (Index i = 0; i < rows * size; ++i) {
    const Index row = i / size, e = i % size, player = std::min(players[e], n - 1);
    const bool present = player < 0  ? true
                         : form == 0 ? bytes[row * n + player] != 0
                         : form == 1 ? indices32[row] >> player & 1
                                     : indices64[row] >> player & 1;
    Require(out[i] == (present ? x[e] : baseline[e]), "not the masked inputs");
  }
}

void FuzzSparse(Input& in) {
  const int n = 1 + in.UpTo(5), models = 1 + in.UpTo(3), groups = 1 + in.UpTo(2);
  const bool noise = in.Flip(), starts = in.Flip(), wild = in.Flip();
  const Index size = Index{1} << n, all = models * size;
  Threads threads(in);
  std::snprintf(about, sizeof(about), "sparse split, n %d, %d models, %d groups%s%s%s", n, models,
                groups, noise ? ", noise" : "", starts ? ", start" : "", wild ? ", wild" : "");
  const double tol = std::ldexp(1.0, -in.UpTo(40)), tie_break = in.UpTo(3) * 0.1;
  const int most = in.UpTo(200);
  Values<double> w(in, groups * all), zeta(in, noise ? groups * models : 0);
  Values<double> start(in, starts ? 3 * groups * all : 0);
  for (Index i = 0; !wild && i < w.size(); ++i) {  // as the header asks: finite, at most 1
    w[i] = i % size == 0 || !std::isfinite(w[i]) ? 0 : w[i] / (1 + std::fabs(w[i]));
  }
  for (Index i = 0; !wild && i < zeta.size(); ++i) {
    zeta[i] = std::isfinite(zeta[i]) ? std::fabs(zeta[i]) / (1 + std::fabs(zeta[i])) : 0.1;
  }
  for (Index group = 0; !wild && group < groups; ++group) {
    double largest = 0;
    for (Index i = 0; i < all; ++i) largest = std::max(largest, std::fabs(w[group * all + i]));
    for (Index i = 0; largest > 0 && i < all; ++i) w[group * all + i] /= largest;
  }
  w.Keep(), zeta.Keep();
  const SparseProgram program{groups,
                              n,
                              models,
                              w.data(),
                              noise ? zeta.data() : nullptr,
                              starts ? start.data() : nullptr,
                              tol,
                              tie_break,
                              1e-12,
                              most};
  Memory<double> a(in, w.size()), delta(in, w.size()), y(in, w.size());
  Memory<double> dual(in, groups), eps(in, groups);
  Memory<std::int32_t> iterations(in, groups);
  std::int32_t done = 0;
  Require(
      LaunchSparseSplitCpu(
          program, {a.data(), delta.data(), y.data(), dual.data(), eps.data(), iterations.data()},
          {nullptr, &done}, threads),
      "memory ran out");
  Require(done == groups, "groups are left");
  for (Index group = 0; group < groups; ++group) {
    Require(iterations[group] >= 0 && iterations[group] <= most, "too many iterations");
    if (wild) continue;
    std::vector<std::vector<double>> parts[2];
    double value = 0, below = 0, primal = 0;
    for (Index k = group * models; k < (group + 1) * models; ++k) {
      std::vector<double> k_a(size), rest(size);
      const double bound = noise ? zeta[k] : 0;
      for (Index i = 0; i < size; ++i) {
        const Index at = k * size + i;
        Require(std::fabs(delta[at]) <= bound, "a residual above its bound");
        k_a[i] = a[at], rest[i] = delta[at] - w[at];
        value += y[at] * w[at], below += bound * std::fabs(y[at]);
      }
      parts[0].push_back(k_a);
      Transform(k_a, n, kSigns[5], true);
      Transform(rest, n, kSigns[4], true);
      for (Index i = 0; i < size; ++i) k_a[i] = i ? k_a[i] + rest[i] : 0;
      parts[1].push_back(k_a);
    }
    for (const auto& part : parts) {
      for (Index i = 1; i < size; ++i) {
        double top = 0, bottom = 0;
        for (const auto& x : part) {
          primal += std::fabs(x[i]), top = std::max(top, x[i]), bottom = std::min(bottom, x[i]);
        }
        if (models > 1) primal += top - bottom;
      }
    }
    Require(std::fabs(value - below - dual[group]) <= 1e-8 * (1 + primal), "y is not of the bound");
    Require(dual[group] <= primal * (1 + 1e-9) + 1e-9, "a bound above the optimum");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static void (*const kCases[])(Input&) = {FuzzTransform<float>,
                                           FuzzTransform<double>,
                                           FuzzFused<float>,
                                           FuzzFused<double>,
                                           FuzzStrength<float>,
                                           FuzzStrength<double>,
                                           FuzzMasks<std::uint8_t>,
                                           FuzzMasks<std::uint16_t>,
                                           FuzzMasks<std::uint32_t>,
                                           FuzzMasks<std::uint64_t>,
                                           FuzzSparse,
                                           FuzzTensor};
  Input in{data, data + size};
  kCases[in.Take<std::uint8_t>() % 12](in);
  return 0;
}
