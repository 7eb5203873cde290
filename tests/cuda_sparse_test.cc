// SPDX-License-Identifier: Apache-2.0
// The sparse split on CUDA without a GPU: csrc/sparse_cuda.cu as it is, on the device of
// cuda_shim/. Its proof is recomputed; against the CPU's the bounds are within the tolerance, and
// the iterations the same but for rounding where that has no Newton's method. Threads run in
// several orders, groups alone and in batches, with the shared memory of several devices: the same
// bits. With recording (cuda_shim.h) no race, nothing out of bounds, coalesced accesses; it solves
// less far then. Arguments: the fewest and the most players.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../csrc/sparse_kernels.h"
#include "../csrc/threads.h"
#include "checks.h"
#include "cuda_shim/cuda_shim.h"
#include "sparse_checks.h"

using namespace jaxinter;

namespace {

constexpr double kCoalesced = 1.1;
constexpr int kFewPlayers = 5;

using shim::Memory;

template <class T>
bool SameBits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() &&
         (x.empty() || !std::memcmp(x.data(), y.data(), x.size() * sizeof(T)));
}

struct Problem {
  Index groups;
  int n;
  double tol, tie_break;
  Index max_iterations;
  bool boxed;
  std::vector<double> w, zeta, start;  // start: empty for none

  Index size() const { return Index{1} << n; }
  // The group alone.
  Problem Of(Index group) const {
    Problem one = *this;
    one.groups = 1;
    one.w.assign(&w[group * size()], &w[group * size()] + size());
    one.zeta = {zeta[group]};
    if (!start.empty()) {
      one.start.assign(&start[3 * group * size()], &start[3 * group * size()] + 3 * size());
    }
    return one;
  }
};

constexpr double kMargin = 1e-12;

struct Solution {
  std::vector<double> a, delta, y, dual, eps;
  std::vector<std::int32_t> iterations;
  explicit Solution(const Problem& p)
      : a(p.w.size()), delta(a), y(a), dual(p.groups), eps(dual), iterations(p.groups) {}

  bool Is(const Solution& other) const {
    return SameBits(a, other.a) && SameBits(delta, other.delta) && SameBits(y, other.y) &&
           SameBits(dual, other.dual) && SameBits(eps, other.eps) &&
           SameBits(iterations, other.iterations);
  }
  bool Is(const Solution& all, Index group, Index size) const {
    const auto same = [&](const std::vector<double>& x, const std::vector<double>& from) {
      return !std::memcmp(x.data(), &from[group * size], size * sizeof(double));
    };
    return same(a, all.a) && same(delta, all.delta) && same(y, all.y) &&
           !std::memcmp(&dual[0], &all.dual[group], sizeof(double)) &&
           !std::memcmp(&eps[0], &all.eps[group], sizeof(double)) &&
           iterations[0] == all.iterations[group];
  }
};

Solution OnCpu(const Problem& p) {
  Solution s(p);
  SleepingThreads threads(0);
  const SparseProgram program{p.groups,
                              p.n,
                              1,
                              p.w.data(),
                              p.boxed ? p.zeta.data() : nullptr,
                              p.start.empty() ? nullptr : p.start.data(),
                              p.tol,
                              p.tie_break,
                              kMargin,
                              p.max_iterations};
  LaunchSparseSplitCpu(
      program,
      {s.a.data(), s.delta.data(), s.y.data(), s.dual.data(), s.eps.data(), s.iterations.data()},
      {nullptr, nullptr}, threads);
  return s;
}

Solution OnCuda(const Problem& p, const std::string& what) {
  const Memory<double> w(p.w), zeta(p.zeta), start(p.start),
      settings(std::vector<double>{p.tol, p.tie_break, kMargin});
  const Memory<double> a(p.w.size()), delta(p.w.size()), y(p.w.size()), dual(p.groups),
      eps(p.groups);
  const Memory<std::int32_t> iterations(p.groups);
  const Memory<unsigned char> workspace(SparseWorkspaceBytes(p.groups, p.n, p.boxed));
  const SparseProgram program{p.groups,
                              p.n,
                              1,
                              w.get(),
                              p.boxed ? zeta.get() : nullptr,
                              p.start.empty() ? nullptr : start.get(),
                              -1,  // not read
                              -1,
                              -1,
                              p.max_iterations};
  shim::Reset();
  const char* error = LaunchSparseSplitCuda(
      program, settings.get(),
      {a.get(), delta.get(), y.get(), dual.get(), eps.get(), iterations.get()}, workspace.get(),
      CudaStream{});
  Check(!error, what + ": " + (error ? error : ""));
  const shim::Record& record = shim::Recorded();
  Check(record.errors == 0, what + ": " + record.first_error);
  // Tables smaller than a warp's, and scalars, end within a sector.
  Check(record.fetched <= kCoalesced * record.needed || p.n < kFewPlayers,
        what + ": fetches " + std::to_string(record.fetched) + " bytes for " +
            std::to_string(record.needed));
  Check(SameBits(w.Values(), p.w) && SameBits(zeta.Values(), p.zeta) &&
            SameBits(start.Values(), p.start),
        what + ": the input has changed");
  Solution s(p);
  s.a = a.Values(), s.delta = delta.Values(), s.y = y.Values(), s.dual = dual.Values();
  s.eps = eps.Values(), s.iterations = iterations.Values();
  return s;
}

// Of the groups the third has a dummy, the fourth no values, and of the fifth all values lie
// within their noise.
Problem Make(Index groups, int n, double noise, double tie_break, double tol, Index most) {
  Problem p{groups, n, tol, tie_break, most, noise > 0, {}, {}, {}};
  std::normal_distribution<double> normal;
  for (Index group = 0; group < groups; ++group) {
    std::vector<double> w(p.size());
    for (double& x : w) x = normal(random_bits);
    double largest = 0;
    for (Index i = 0; i < p.size(); ++i) {
      if (group == 2 && i & 1) w[i] = w[i - 1];
    }
    const double empty = w[0];
    for (double& x : w) largest = std::max(largest, std::fabs(x -= empty));
    for (double& x : w) x = group == 3 || largest == 0 ? 0 : x / largest;
    p.w.insert(p.w.end(), w.begin(), w.end());
    p.zeta.push_back(group == 4 ? 1.0 : noise * (1 + 0.1 * static_cast<double>(group)));
  }
  return p;
}

// A start near the solution of other noise; the second group's is of no use, the first one's
// multiplier lies outside the dual ball.
void AddStart(Problem& p) {
  Problem near = p;
  for (double& zeta : near.zeta) zeta *= 0.8;
  near.max_iterations = 200, near.tie_break = 0;
  const Solution s = OnCpu(near);
  p.start.resize(3 * p.w.size());
  for (Index i = 0; i < p.groups * p.size(); ++i) {
    const Index group = i / p.size(), at = 3 * group * p.size() + i % p.size();
    p.start[at] = s.a[i] * (group == 1 ? 1000 : 1) + (i % p.size() == 0);
    p.start[at + p.size()] = s.delta[i];
    p.start[at + 2 * p.size()] = s.y[i] * (group == 0 ? 1.5 : 1);
  }
}

void CheckProof(const Problem& p, const Solution& s, const Solution& cpu, const std::string& what) {
  for (Index group = 0; group < p.groups; ++group) {
    const Index at = group * p.size();
    const double zeta = p.boxed ? p.zeta[group] : 0;
    const Proof mine = ProofOf(1, p.n, &p.w[at], zeta, &s.a[at], &s.delta[at], &s.y[at]);
    const Proof other = ProofOf(1, p.n, &p.w[at], zeta, &cpu.a[at], &cpu.delta[at], &cpu.y[at]);
    const std::string which = what + ", group " + std::to_string(group) + ": ";
    Check(mine.gauge <= 1 + 1e-9, which + "multiplier in the dual ball");
    Check(std::fabs(mine.value - s.dual[group]) <= 1e-9 * (1 + mine.primal), which + "bound");
    Check(mine.beyond <= 0, which + "residual within its bound");
    Check(s.a[at] == 0 && s.y[at] == 0 && s.delta[at] == 0, which + "entries 0");
    const bool settled = s.iterations[group] < p.max_iterations;
    Check(!settled || mine.primal - s.dual[group] <= p.tol * mine.primal * (1 + 1e-9),
          which + "gap");
    Check(s.dual[group] <= mine.primal * (1 + 1e-9) + 1e-12, which + "bound below strength");
    // The CPU goes another way where it leaves out a dummy, or takes to Newton's method.
    const bool same_way = group != 2 && !(p.boxed && p.n >= 8);
    const double near = same_way ? 1e-6 : settled ? 2 * p.tol : 1;
    Check(std::fabs(mine.primal - other.primal) <= near * other.primal, which + "strength");
    Check(std::fabs(s.dual[group] - cpu.dual[group]) <= near * other.primal, which + "dual");
    Check(!same_way || settled == (cpu.iterations[group] < p.max_iterations),
          which + "settled as on the CPU");
    Check(!same_way || s.iterations[group] == cpu.iterations[group],
          which + std::to_string(s.iterations[group]) + " iterations, on the CPU " +
              std::to_string(cpu.iterations[group]));
    const bool same_eps =
        s.eps[group] == cpu.eps[group] || std::isnan(s.eps[group] + cpu.eps[group]);
    Check(!same_way || same_eps, which + "eps");
  }
}

void CheckSplit(const Problem& p, const std::string& what) {
  const Solution cpu = OnCpu(p);
  struct {
    shim::Schedule schedule;
    int shared;
    const char* name;
  } const runs[] = {{shim::Schedule::kForward, 227 * 1024, ", 227 KB"},
                    {shim::Schedule::kReverse, 163 * 1024, ", 163 KB, threads in reverse"},
                    {shim::Schedule::kShuffled, 99 * 1024, ", 99 KB, threads shuffled"}};
  const auto run = [&](int which, const Problem& problem, const std::string& more) {
    shim::SetSchedule(runs[which].schedule);
    shim::SetSharedLimit(runs[which].shared);
    return OnCuda(problem, what + runs[which].name + more);
  };
  const Solution first = run(0, p, "");
  CheckProof(p, first, cpu, what);
  for (int which = 1; which < 3; ++which) {
    if (shim::Recording() && which == 1 + p.n % 2) continue;
    Check(run(which, p, "").Is(first), what + runs[which].name + ": bits");
  }
  for (const Index group : {Index{0}, p.groups - 1}) {
    if (p.groups == 1) break;
    Check(run(2, p.Of(group), ", alone").Is(first, group, p.size()),
          what + ": bits of group " + std::to_string(group) + " alone");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int fewest = argc > 1 ? std::atoi(argv[1]) : 1, most = argc > 2 ? std::atoi(argv[2]) : 11;
  setenv("JAXINTER_THREADS", "1", 1);
  OnCuda(Make(1, 1, 0, 0, 1e-2, 1), "first");  // tells whether accesses are recorded
  const bool recording = shim::Recording();
  for (int n = std::max(fewest, 1); n <= most; ++n) {
    for (const double noise : {0.0, 0.05}) {
      for (const double tie_break : {0.1, 0.0}) {
        for (const bool start : {false, true}) {
          // Recorded, one of these each, which ends after its first restarts and phases.
          if (recording && (tie_break == 0 || start != (n % 2 == (noise > 0)))) continue;
          if (n >= 10 && start != (tie_break > 0)) continue;
          const bool several = recording ? n == 2 || n == 3 : n <= 9;
          const double tol = recording ? 0.03 : n < 8 ? 1e-3 : 1e-2;
          const Index iterations = recording ? (n == 11 ? 27 : 52) : n < 8 ? 2000 : 300;
          Problem p = Make(several ? 5 : 1, n, noise, tie_break, tol, iterations);
          if (start) AddStart(p);
          CheckSplit(p, "n = " + std::to_string(n) + (noise > 0 ? ", noise" : "") +
                            (tie_break > 0 ? ", tie-break" : "") + (start ? ", start" : ""));
        }
      }
    }
  }
  if (fewest <= 4) {
    for (const Index iterations : {0, 1, 25, 26}) {
      Problem p = Make(5, 4, 0.05, 0.1, 1e-3, iterations);
      CheckSplit(p, std::to_string(iterations) + " iterations");
      AddStart(p);
      p.start[2 * p.size() + 3] = std::nan("");  // of no use, and of no harm
      CheckSplit(p, std::to_string(iterations) + " iterations, a start that is no number");
    }
    for (const double noise : {0.0, 0.05}) {  // a tie-break that is never settled
      CheckSplit(Make(5, 4, noise, 10, 1e-2, 200), "open tie-break");
    }
    const SparseProgram two{1, 4, 2, nullptr, nullptr, nullptr, 0, 0, 0, 0},
        large{1, 12, 1, nullptr, nullptr, nullptr, 0, 0, 0, 0};
    for (const SparseProgram& program : {two, large}) {
      Check(LaunchSparseSplitCuda(program, nullptr, {}, nullptr, CudaStream{}), "no error");
    }
  }
  if (fewest <= 2) {  // more groups than blocks
    Problem p = Make(2054, 2, 0.05, 0.1, 1e-3, recording ? 30 : 300);
    for (Index i = 0; recording && i < 2044 * p.size(); ++i) {
      if (i >= 10 * p.size()) p.w[i] = 0;
    }
    const Solution s = OnCuda(p, "many groups");
    for (Index group = 0; group < p.groups; ++group) {
      if (group >= 10 && group < 2042 && group % 80) continue;
      Check(OnCuda(p.Of(group), "one of many").Is(s, group, p.size()),
            "bits of group " + std::to_string(group) + " of many");
    }
  }
  std::printf("sparse split on CUDA, %s: %s\n", recording ? "recorded" : "not recorded",
              failures ? "FAILED" : "all hold");
  return failures != 0;
}
