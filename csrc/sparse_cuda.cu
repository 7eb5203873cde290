// SPDX-License-Identifier: Apache-2.0
// The sparse AND-OR split on CUDA: the method of sparse_cpu.cc (without Newton's, and for one
// model), one block a sample from start to end, so that nothing comes back to the host between
// iterations.
//
// A thread holds kEach elements of a vector. Outside of transforms these are always the same ones,
// threadIdx.x + j * blockDim.x, which it alone reads and writes: no barrier between such passes.
// A transform reads what other threads wrote, and leaves each thread its own elements.
//
// Vectors lie in shared memory as far as it goes (`WithShared`), the rest of them in device memory:
// with noise 10 of every iteration and 4 of checks only, without noise 7 and 1. At n = 11, 16 KiB
// each, 227 KB (H100) hold all 10 and the projection's tables, or all 7 of two samples without
// noise; 163 KB (A100) 7 and its blocks, or 5 of each of two; 99 KB 5, or 3. At n = 10 they hold
// 10, 6 and 5 of each of two samples, without noise 7, 7 and 6. Splits and multipliers that are
// kept lie where they are returned.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "lattice_cuda.h"
#include "launch_cuda.h"
#include "sparse_kernels.h"
#include "sparse_method.h"
#include "sparse_tables.h"

namespace jaxinter {
namespace {

constexpr int kBits = 3, kEach = 1 << kBits;  // elements of a thread
constexpr int kWarpBits = kLaneBits + kBits;  // players that one warp holds
constexpr int kMaxThreads = 1 << (kMaxPlayersOnCuda - kBits);
constexpr int kMaxStages = (kMaxPlayersOnCuda + 1) / 2;
constexpr int kOrders = kMaxPlayersOnCuda + 1;
// Vectors of every iteration, and all.
template <bool kBoxed>
constexpr int kHot = kBoxed ? 10 : 7;
template <bool kBoxed>
constexpr int kSlots = kBoxed ? 14 : 8;
// Blocks of threads that a processor's registers must hold at least; more hide each other's
// waiting.
template <bool kBoxed, int kPlayers>
constexpr int kBlocksOfProcessor =
    (kBoxed || kPlayers == kWarpBits ? 256 : 512) >> (kPlayers - kBits);
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// More than any device runs at once; a block of a larger batch solves one sample after the other.
Index MostBlocks(int n) { return n <= kWarpBits ? 2048 : 1024; }

// One entry of the projection's products, of one pair of paths, in one word. Its column of their
// block starts at `block`, entries `size` apart; the entries that it multiplies start at `start`.
struct Product {
  int start, size, block;

  // 2^11 entries, blocks of at most 7 x 6 rows, 84 x 56 entries of all blocks.
  std::uint32_t Packed() const { return start | size << 11 | block << 17; }
  static JAXINTER_DEVICE Product Of(std::uint32_t packed) {
    return {static_cast<int>(packed & 0x7ff), static_cast<int>(packed >> 11 & 0x3f),
            static_cast<int>(packed >> 17)};
  }
};

// What a block needs to know of its sample.
struct Sample {
  const double *w, *start;  // start: null for none
  double zeta, tol, tie_break, margin;
  int max_iterations;
  double *a, *delta, *y, *dual, *eps;
  std::int32_t* iterations;
};

// The low half's couplings, of each lane, player by player: what becomes of its column is
// own * itself + other * its partner's.
struct LaneCouplings {
  static constexpr int kStages = kMaxPlayersOnCuda / 2 - 1;  // the first player has none
  double own[kStages][32], other[kStages][32];
  std::int32_t partner[kStages][32];
};
static_assert(sizeof(LaneCouplings) % 128 == 0, "the walk's tables follow each other");

// What only checks touch, as in sparse_cpu.cc. Between checks it is in shared memory: every
// thread's registers would be too few.
struct Checks {
  double eps, dual, lower, best_l1, best_l2, sparsest_l1;
  StepSizes steps;
  int phase_began;
  bool lam;  // the multiplier kept is lam, not y
};

// What a block's shared memory begins with.
struct Head {
  Sample sample;
  Checks checks;
  double parts[kMaxThreads / 32][4];        // sums and maxima of each warp
  double inverse[kOrders], empty[kOrders];  // by order |S|, as in Rotations
  double at_empty;
  int high_end[kMaxStages];  // the high half's couplings end here, player by player
};

// Of one n, with noise or without: where everything lies, in bytes. The tables of the half-Schur
// projection are those that every iteration walks, then its blocks, then its products.
struct Plan {
  int n;
  int vector_bytes;  // of 2^n doubles, or as many as a warp holds
  int shared_slots;  // of the vectors, the first ones, which lie in shared memory
  int high_stages, low_stages;
  int walk_bytes, block_bytes, product_bytes;
  int shared_blocks, shared_products, shared_bytes;  // the former 0 where they do not fit
  double inverse[kOrders], empty[kOrders];
  int high_end[kMaxStages];

  JAXINTER_INLINE int TableBytes() const { return walk_bytes + block_bytes + product_bytes; }
};

// As in simd.h.
JAXINTER_DEVICE double Clip(double x, double bound) {
  const double above = x > -bound ? x : -bound;
  return above < bound ? above : bound;
}

// One sample, solved by all threads of a block. Every thread has the same scalars, and so takes the
// same branches. kPlayers: n, or kWarpBits for any n of one warp.
template <bool kBoxed, int kPlayers>
class Solver {
 public:
  static constexpr int kThreads = 1 << (kPlayers - kBits);
  static constexpr bool kOneWarp = kPlayers == kWarpBits;

  JAXINTER_DEVICE Solver(const Plan& plan, const unsigned char* tables, unsigned char* room)
      : players_(plan.n),
        high_stages_(plan.high_stages),
        low_stages_(plan.low_stages),
        room_(room) {
    int slot = 0;
    const auto take = [&] {
      const int at = slot++;
      unsigned char* shared = shared_memory + sizeof(Head) + plan.walk_bytes;
      return reinterpret_cast<double*>((at < plan.shared_slots ? shared : room) +
                                       at * kVectorBytes);
    };
    mu_ = take(), k_mu_ = take(), z_[0] = take();
    if (kBoxed) p_mu_ = take(), z_[2] = take();
    z_[1] = take(), anchor_[0] = take(), anchor_[1] = take(), c_ = take();
    if (kBoxed) anchor_[2] = take();

    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kOrders) {
      head().inverse[thread] = plan.inverse[thread];
      head().empty[thread] = plan.empty[thread];
    }
    if (kBoxed) {
      if (thread < plan.high_stages) head().high_end[thread] = plan.high_end[thread];
      const unsigned char *blocks = tables + plan.walk_bytes, *products = blocks + plan.block_bytes;
      unsigned char* walk = shared_memory + sizeof(Head);
      Copy(tables, plan.walk_bytes, walk);
      if (plan.shared_blocks) {
        Copy(blocks, plan.block_bytes, shared_memory + plan.shared_blocks);
        blocks = shared_memory + plan.shared_blocks;
      }
      if (plan.shared_products) {
        Copy(products, plan.product_bytes, shared_memory + plan.shared_products);
        products = shared_memory + plan.shared_products;
      }
      blocks_ = reinterpret_cast<const double*>(blocks);
      products_ = reinterpret_cast<const std::uint32_t*>(products);
    }
  }

  JAXINTER_DEVICE void Solve() {
    if (IsKnown()) {  // every value lies within its bound: no effects
      Give(sample().a, [](int) { return 0.0; });
      Give(sample().delta, [&](int i) { return sample().w[i]; });
      Give(sample().y, [](int) { return 0.0; });
      return GiveScalars(0, 0, 0);
    }
    Begin();
    const auto park = [&] {  // after any thread has read it: checks have barriers
      if (threadIdx.x == 0) head().checks = checks_;
    };
    park();
    for (bool checked = false;;) {
      Project();
      const bool last = iterations_ >= sample().max_iterations;
      if (last || (!checked && iterations_ > 0 && iterations_ % kCheckEvery == 0)) {
        checks_ = head().checks;
        Certify();
        const bool moved = ChangePhase();
        if (done_ || last) break;
        checked = true;
        const bool restarted = Restart();
        park();
        if (restarted || moved) continue;
      }
      checked = false;
      Update();
    }
    if (!done_ && checks_.eps != 0 && !Proven(checks_.best_l1)) {
      Give(sample().a, [&](int i) { return Rare(kSparsestA)[i]; });
      if (kBoxed) Give(sample().delta, [&](int i) { return Rare(kSparsestDelta)[i]; });
    }
    if (!kBoxed) Give(sample().delta, [](int) { return 0.0; });
    if (checks_.lam) {  // y is a transform away
      Transform(ComplementMobius(), mu_, [&](int i) { return In(i) ? sample().y[i] : 0; });
      Give(sample().y, [&](int i) { return i ? -mu_[i] : 0; });
    }
    GiveScalars(checks_.dual, done_ || sample().tie_break == 0 ? checks_.eps : kNaN, iterations_);
  }

 private:
  static constexpr int kVectorBytes = kThreads * kEach * sizeof(double);
  static constexpr int kBlocks = kBoxed ? 3 : 2;  // of z: a, b and delta
  // Vectors of checks only, after those of every iteration.
  enum { kSparsestA = kHot<kBoxed>, kSparsestDelta, kClipped, kKClipped };

  JAXINTER_DEVICE int n() const { return kOneWarp ? players_ : kPlayers; }
  JAXINTER_DEVICE int size() const { return 1 << n(); }
  JAXINTER_DEVICE bool In(int i) const { return !kOneWarp || i < size(); }
  static JAXINTER_DEVICE Head& head() { return *reinterpret_cast<Head*>(shared_memory); }
  static JAXINTER_DEVICE const Sample& sample() { return head().sample; }
  // The walk's tables.
  static JAXINTER_DEVICE const LaneCouplings& lanes() {
    return *reinterpret_cast<const LaneCouplings*>(shared_memory + sizeof(Head));
  }
  static JAXINTER_DEVICE const std::uint16_t* places() {
    return reinterpret_cast<const std::uint16_t*>(&lanes() + 1);
  }
  static JAXINTER_DEVICE const Coupling* couplings() {
    return reinterpret_cast<const Coupling*>(places() + kThreads * kEach);
  }
  // A vector of checks only.
  JAXINTER_DEVICE double* Rare(int slot) const {
    return reinterpret_cast<double*>(room_ + slot * kVectorBytes);
  }
  static JAXINTER_DEVICE int Order(int i) { return __popc(static_cast<unsigned>(i)); }

  // Of a thread's own elements, j of kEach; those beyond the table, of few players, are 0.
  static JAXINTER_DEVICE int Mine(int j) { return static_cast<int>(threadIdx.x) + j * kThreads; }

  static JAXINTER_DEVICE void Copy(const unsigned char* from, int bytes, unsigned char* to) {
    const auto* words = reinterpret_cast<const double*>(from);
    for (int i = threadIdx.x; i < bytes / 8; i += kThreads) {
      reinterpret_cast<double*>(to)[i] = words[i];
    }
  }

  // ---- passes

  // out[i] = f(i), out one of this block's vectors. All is read before the first is written: the
  // compiler cannot tell that vectors do not overlap.
  template <class F>
  static JAXINTER_DEVICE void Set(double* out, const F& f) {
    double x[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) x[j] = f(Mine(j));
#pragma unroll
    for (int j = 0; j < kEach; ++j) out[Mine(j)] = x[j];
  }

  // The same for a table that is returned.
  template <class F>
  JAXINTER_DEVICE void Give(double* out, const F& f) const {
#pragma unroll 2
    for (int j = 0; j < kEach; ++j) {
      if (In(Mine(j))) out[Mine(j)] = f(Mine(j));
    }
  }

  JAXINTER_DEVICE void GiveScalars(double dual, double eps, int iterations) const {
    if (threadIdx.x) return;
    *sample().dual = dual, *sample().eps = eps, *sample().iterations = iterations;
  }

  // What f(i, x) adds up in x, sums and then maxima of numbers >= 0, of all elements.
  template <int kSums, int kMaxima, class F>
  static JAXINTER_DEVICE void Total(double (&x)[kSums + kMaxima], const F& f) {
    constexpr int kAll = kSums + kMaxima;
#pragma unroll
    for (int s = 0; s < kAll; ++s) x[s] = 0;
#pragma unroll 2  // only checks need totals; more would take registers
    for (int j = 0; j < kEach; ++j) f(Mine(j), x);
    const auto join = [](int s, double& into, double from) {
      into = s < kSums ? into + from : from > into ? from : into;
    };
#pragma unroll
    for (int s = 0; s < kAll; ++s) {
#pragma unroll
      for (int bit = 16; bit > 0; bit /= 2) join(s, x[s], __shfl_xor_sync(kAllLanes, x[s], bit));
    }
    __syncthreads();  // until the last parts are read
#pragma unroll
    for (int s = 0; s < kAll; ++s) {
      if (LaneIndex() == 0) head().parts[WarpIndex()][s] = x[s];
    }
    __syncthreads();
#pragma unroll
    for (int s = 0; s < kAll; ++s) {
      x[s] = head().parts[0][s];
      for (int warp = 1; warp < kThreads / 32; ++warp) join(s, x[s], head().parts[warp][s]);
    }
  }

  // out[i] = take(i, y[i]) for y = (Step (x) ... (x) Step) of read(i). What `read` reads may be
  // other threads'; out may be among it. What `take` reads is this thread's, or of out's source.
  template <class Step, class Read, class Take>
  JAXINTER_DEVICE void Transform(const Step& step, double* out, const Read& read,
                                 const Take& take) const {
    double x[kEach];
    __syncthreads();  // until all that is read is written, and what is in `out` is read
#pragma unroll
    for (int j = 0; j < kEach; ++j) x[j] = read(First<kBits>() + (j << kLaneBits));
#pragma unroll 1
    for (int player = 0; player < kLaneBits && player < n(); ++player) {
      StepLanes<kBits>(x, player, step);
    }
    StepRegisters<kBits>(x, 0, n() - kLaneBits, step);
    if (!kOneWarp) {
      // As Regroup: `out` is read at these places by this thread only, if at all.
#pragma unroll
      for (int j = 0; j < kEach; ++j) out[First<kBits>() + (j << kLaneBits)] = x[j];
      __syncthreads();
#pragma unroll
      for (int j = 0; j < kEach; ++j) x[j] = out[Mine(j)];
      StepRegisters<kBits>(x, kWarpBits + kBits - n(), kBits, step);
    }
#pragma unroll
    for (int j = 0; j < kEach; ++j) x[j] = take(Mine(j), x[j]);
#pragma unroll
    for (int j = 0; j < kEach; ++j) out[Mine(j)] = x[j];
  }
  template <class Step, class Read>
  JAXINTER_DEVICE void Transform(const Step& step, double* out, const Read& read) const {
    Transform(step, out, read, [](int, double x) { return x; });
  }

  // ---- elements

  JAXINTER_DEVICE double W(int i) const { return In(i) ? sample().w[i] : 0; }
  // Of the start's table `part`: AND effects, residual, multiplier; without its entry 0.
  JAXINTER_DEVICE double Start(int part, int i) const {
    return i > 0 && In(i) ? sample().start[part * size() + i] : 0;
  }
  // x = prox(z), t = 2x - z. The residual's scale kappa is 1 for so few players.
  JAXINTER_DEVICE double X(int block, double z) const {
    return block < 2 ? (z - Clip(z, tau_)) * shrink_ : Clip(z, inner_);
  }
  JAXINTER_DEVICE double T(int block, int i) const {
    const double z = z_[block][i];
    return X(block, z) * 2 - z;
  }
  // y - t.
  JAXINTER_DEVICE double Step(int block, int i) const {
    return block == 0 ? k_mu_[i] : block == 1 ? -mu_[i] : p_mu_[i];
  }

  JAXINTER_DEVICE void SetTau(double tau) { tau_ = tau, shrink_ = 1 / (1 + tau_ * checks_.eps); }

  // ---- the method, in order

  JAXINTER_DEVICE bool IsKnown() const {
    double outside[1];
    Total<1, 0>(outside,
                [&](int i, double (&x)[1]) { x[0] += std::fabs(W(i)) <= sample().zeta ? 0 : 1; });
    return outside[0] == 0;
  }

  JAXINTER_DEVICE void Begin() {
    inner_ = InnerBox(sample().zeta, sample().margin);
    checks_.eps = 0, k_ = 0, iterations_ = checks_.phase_began = 0, done_ = false;
    checks_.steps.Forget();
    checks_.lower = -kInfinity, checks_.lam = false;
    Transform(
        ComplementMobius(), c_, [&](int i) { return W(i); },
        [](int i, double x) { return i ? -x : 0; });
    // The multiplier y of the full coalition alone: no split does without |w(full)|, less noise.
    const double full = W(size() - 1), beyond = std::fabs(full) - sample().zeta;
    Give(sample().y,
         [&](int i) { return i == size() - 1 && beyond > 0 ? std::copysign(1.0, full) : 0; });
    checks_.dual = beyond > 0 ? beyond : 0;
    SetStart(false);
    bool useful = false;
    if (sample().start) {
      const double limit = kWorstStart * checks_.best_l1;
      SetStart(true);
      useful = checks_.best_l1 <= limit;
      if (!useful) SetStart(false);
    }
    checks_.sparsest_l1 = kInfinity;
    SetTau(checks_.best_l1 / size() / 2);
    if (useful) StartMultiplier();
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      Set(anchor_[block], [&](int i) { return z_[block][i]; });
    }
  }

  // z at a split, the start's or half of w, and the split as the best so far.
  JAXINTER_DEVICE void SetStart(bool given) {
    if (given) {
      Set(z_[0], [&](int i) { return Start(0, i); });
    } else {
      Transform(
          Mobius(), z_[0], [&](int i) { return W(i); },
          [](int i, double x) { return i ? x * 0.5 : 0; });
    }
    if (kBoxed) Set(z_[2], [&](int i) { return given ? Clip(Start(1, i), inner_) : 0; });
    Transform(
        AndToOr(), z_[1], [&](int i) { return z_[0][i]; },
        [&](int i, double x) { return i ? x + c_[i] : 0; });
    if (kBoxed && given) {
      Transform(ComplementMobius(), mu_, [&](int i) { return z_[2][i]; });
      Set(z_[1], [&](int i) { return i ? z_[1][i] + mu_[i] : 0; });
    }
    Give(sample().a, [&](int i) { return z_[0][i]; });
    if (kBoxed) Give(sample().delta, [&](int i) { return z_[2][i]; });
    double strength[2];
    Total<2, 0>(strength, [&](int i, double (&x)[2]) {
      const double a = z_[0][i], b = z_[1][i];
      x[0] += std::fabs(a) + std::fabs(b), x[1] += a * a + b * b;
    });
    checks_.best_l1 = strength[0], checks_.best_l2 = strength[1];
  }

  // z = x + tau times the multipliers that the start's y stands for, A^T y and y itself
  // (problem.py).
  JAXINTER_DEVICE void StartMultiplier() {
    const auto y = [&](int i) { return Start(2, i); };
    Transform(SupersetZeta(), k_mu_, y, [](int i, double x) { return i ? x : 0; });
    Transform(Zeta(), anchor_[0], y);
    __syncthreads();
    Set(mu_, [&](int i) {
      return i > 0 && In(i) ? anchor_[0][size() - 1] - anchor_[0][size() - 1 - i] : 0;
    });
    double value[1], unused;  // the total's barriers end the use of anchor_ for this
    Total<1, 0>(value, [&](int i, double (&x)[1]) {
      x[0] += W(i) * y(i) - sample().zeta * std::fabs(y(i));
    });
    const double gauge = LargestGauge(1, unused), scale = gauge > 1 ? gauge : 1;
    if (!std::isfinite(value[0]) || !(scale <= kWorstStart)) return;
    const double bound = value[0] / scale;
    Set(z_[0], [&](int i) { return z_[0][i] + tau_ * k_mu_[i]; });
    Set(z_[1], [&](int i) { return z_[1][i] + tau_ * mu_[i]; });
    if (kBoxed) Set(z_[2], [&](int i) { return z_[2][i] + tau_ * y(i); });
    if (!(bound > checks_.dual)) return;
    checks_.dual = bound;
    Give(sample().y, [&](int i) { return y(i) / scale; });
  }

  // mu, K^T mu and P mu of the nearest point of the graph to t = 2x - z.
  JAXINTER_DEVICE void Project() {
    Transform(
        AndToOr(), mu_, [&](int i) { return T(0, i); },
        [&](int i, double x) { return i ? T(1, i) - x - c_[i] : 0; });
    if (!kBoxed) {
      Transform(
          RotationStep{kGolden}, mu_, [&](int i) { return mu_[i]; },
          [](int i, double x) { return x * head().inverse[Order(i)]; });
      return RotateBack(mu_, k_mu_);
    }
    Transform(
        ComplementMobius(), p_mu_, [&](int i) { return T(2, i); },
        [&](int i, double x) { return i ? mu_[i] - x : 0; });
    ApplyHalfSchur();
    Transform(
        ComplementMobius(), p_mu_, [&](int i) { return mu_[i]; },
        [](int i, double x) { return i ? x : 0; });
    Transform(AndToOrTransposed(), k_mu_, [&](int i) { return mu_[i]; });
  }

  // The rest of (1 + K K^T)^-1 of what RotationStep{kGolden} and `inverse` made of a vector; and
  // K^T of it.
  JAXINTER_DEVICE void RotateBack(double* mu, double* k_mu) const {
    Transform(
        RotationStep{-kGolden}, mu, [&](int i) { return mu[i]; },
        [](int i, double x) {
          if (i == 0) head().at_empty = x;
          return x;
        });
    const auto rest = [&](int i) {
      return i && In(i) ? mu[i] - head().empty[Order(i)] * head().at_empty : 0;
    };
    Transform(AndToOrTransposed(), k_mu, rest);
    Set(mu, rest);
  }

  // mu <- H^-1 p_mu, as in sparse_graph.h. A table is a matrix [high, low]: the high half's players
  // couple its rows, in shared memory; the low half's its columns, which are lanes.
  JAXINTER_DEVICE void ApplyHalfSchur() {
    double *x = p_mu_, *t = k_mu_, y[kEach];
#pragma unroll 1
    for (int stage = 0; stage < high_stages_; ++stage) CoupleRows(x, stage);
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kEach; ++j) y[j] = x[Mine(j)];
#pragma unroll 1
    for (int stage = 0; stage < low_stages_; ++stage) CoupleLanes(y, stage);
#pragma unroll
    for (int j = 0; j < kEach; ++j) t[places()[Mine(j)]] = y[j];
    __syncthreads();
#pragma unroll 1
    for (int j = 0; j < kEach; ++j) {
      const Product product = Product::Of(products_[Mine(j)]);
      const double *block = blocks_ + product.block, *from = t + product.start;
      double sum = 0;
#pragma unroll 4
      for (int i = 0; i < product.size; ++i) sum = fma(block[i * product.size], from[i], sum);
      mu_[Mine(j)] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kEach; ++j) y[j] = mu_[places()[Mine(j)]];
#pragma unroll 1
    for (int stage = low_stages_ - 1; stage >= 0; --stage) CoupleLanes(y, stage);
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kEach; ++j) mu_[Mine(j)] = y[j];
#pragma unroll 1
    for (int stage = high_stages_ - 1; stage >= 0; --stage) CoupleRows(mu_, stage);
  }

  // One player's couplings, which are independent, and their own inverse.
  JAXINTER_DEVICE void CoupleRows(double* x, int stage) const {
    __syncthreads();
    const int low = n() / 2, columns = 1 << low;
    const int begin = stage ? head().high_end[stage - 1] : 0, end = head().high_end[stage];
    for (int item = threadIdx.x; item < (end - begin) << low; item += kThreads) {
      const Coupling c = couplings()[begin + (item >> low)];
      double* raised = x + (c.raised << low) + (item & (columns - 1));
      double* lowered = x + (c.lowered << low) + (item & (columns - 1));
      const double up = *raised, down = *lowered;
      *raised = c.down * up + c.up * down;
      *lowered = c.up * up - c.down * down;
    }
  }
  JAXINTER_DEVICE void CoupleLanes(double (&x)[kEach], int stage) const {
    const int lane = LaneIndex(), partner = lanes().partner[stage][lane];
    const double own = lanes().own[stage][lane], other = lanes().other[stage][lane];
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      x[j] = own * x[j] + other * __shfl_sync(kAllLanes, x[j], partner);
    }
  }

  // z <- anchor / (k + 2) + (k + 1) / (k + 2) (z + 2 (y - x)).
  JAXINTER_DEVICE void Update() {
    const double pull = 1.0 / (k_ + 2), keep = 1 - pull;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      Set(z_[block], [&](int i) {
        return anchor_[block][i] * pull + (T(block, i) + Step(block, i) * 2) * keep;
      });
    }
    ++k_, ++iterations_;
  }

  // The split and the bound at this point, kept where they are the best so far.
  JAXINTER_DEVICE void Certify() {
    // As on the CPU: the residual is y's, clipped into its box, and the effects take what clipping
    // took.
    const auto y_box = [&](int i) { return T(2, i) + p_mu_[i]; };
    double *clipped = Rare(kClipped), *k_clipped = Rare(kKClipped);
    if (kBoxed) {
      Transform(
          ComplementMobius(), clipped,
          [&](int i) { return i ? Clip(y_box(i), inner_) - y_box(i) : 0; },
          [](int i, double x) { return i ? x : 0; });
      Transform(
          RotationStep{kGolden}, clipped, [&](int i) { return clipped[i]; },
          [](int i, double x) { return x * head().inverse[Order(i)]; });
      RotateBack(clipped, k_clipped);
    }
    const auto a_of = [&](int i) {
      const double a = T(0, i) + k_mu_[i];
      return kBoxed ? a - k_clipped[i] : a;
    };
    const auto delta_of = [&](int i) { return i ? Clip(y_box(i), inner_) : 0; };
    double strength[2];
    Total<2, 0>(strength, [&](int i, double (&x)[2]) {
      const double a = a_of(i), unclipped = T(1, i) - mu_[i];
      const double b = kBoxed ? unclipped + clipped[i] : unclipped;
      x[0] += std::fabs(a) + std::fabs(b), x[1] += a * a + b * b;
    });
    const double l1 = strength[0], l2 = strength[1];
    if (l1 + checks_.eps / 2 * l2 < Objective()) {
      checks_.best_l1 = l1, checks_.best_l2 = l2;
      Give(sample().a, a_of);
      if (kBoxed) Give(sample().delta, delta_of);
    }
    if (checks_.eps > 0 && l1 < checks_.sparsest_l1) {
      checks_.sparsest_l1 = l1;
      Set(Rare(kSparsestA), a_of);
      if (kBoxed) Set(Rare(kSparsestDelta), delta_of);
    }
    Bound();
  }

  // The lower bounds of the multiplier -mu / tau (problem.py), without and with the tie-break.
  JAXINTER_DEVICE void Bound() {
    double sums[2], outside;
    Total<2, 0>(sums, [&](int i, double (&x)[2]) {
      x[0] += mu_[i] * c_[i];
      if (kBoxed) x[1] += std::fabs(p_mu_[i]);
    });
    const double value = -(sums[0] + sample().zeta * sums[1]) / tau_, unit = 1 / tau_;
    const double gauge = LargestGauge(unit, outside), scale = gauge > 1 ? gauge : 1;
    if (value / scale > checks_.dual) {
      checks_.dual = value / scale, checks_.lam = !kBoxed;
      const double* direction = kBoxed ? p_mu_ : mu_;
      const double factor = (kBoxed ? unit : -unit) / scale;
      Give(sample().y, [&](int i) { return i ? direction[i] * factor : 0; });
    }
    const double elastic = value - outside / (2 * checks_.eps);
    checks_.lower = !(checks_.eps > 0)        ? checks_.dual
                    : checks_.lower < elastic ? elastic
                                              : checks_.lower;
  }

  // The gauge of unit times mu_ and k_mu_, and their squared distance from the dual ball.
  JAXINTER_DEVICE double LargestGauge(double unit, double& outside) const {
    double ball[2];
    Total<1, 1>(ball, [&](int i, double (&x)[2]) {
#pragma unroll
      for (int block = 0; block < 2; ++block) {
        const double lam = (block ? mu_ : k_mu_)[i] * unit, beyond = lam - Clip(lam, 1);
        x[0] += beyond * beyond;
        x[1] = x[1] < std::fabs(lam) ? std::fabs(lam) : x[1];
      }
    });
    outside = ball[0];
    return ball[1];
  }

  JAXINTER_DEVICE double Objective() const {
    return checks_.best_l1 + checks_.eps / 2 * checks_.best_l2;
  }
  JAXINTER_DEVICE bool Proven(double l1) const { return l1 - checks_.dual <= sample().tol * l1; }

  // Phase 1 to phase 2, phase 2 with half the eps, or done. Returns whether z moved.
  JAXINTER_DEVICE bool ChangePhase() {
    const double upper = Objective(), share = PhaseShare(checks_.eps, sample().tie_break);
    if (!(upper - checks_.lower <= share * sample().tol * upper)) return false;
    if (sample().tie_break == 0 || (checks_.eps > 0 && Proven(checks_.best_l1))) {
      done_ = true;
      return false;
    }
    if (checks_.eps == 0) {
      checks_.sparsest_l1 = checks_.best_l1;
      const auto kept = [&](const double* from) {
        return [from, this](int i) { return In(i) ? from[i] : 0; };
      };
      Set(Rare(kSparsestA), kept(sample().a));
      if (kBoxed) Set(Rare(kSparsestDelta), kept(sample().delta));
    }
    const double eps = NextEps(checks_.eps, sample().tie_break);
    // The new tie-break's prox has the same x at this z: the primal does not jump.
    const double shift = tau_ * (eps - checks_.eps);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      if (block < 2) {
        Set(z_[block], [&](int i) { return z_[block][i] + X(block, z_[block][i]) * shift; });
      }
      Set(anchor_[block], [&](int i) { return z_[block][i]; });
    }
    k_ = 0, checks_.steps.Forget();
    checks_.eps = eps, checks_.lower = -kInfinity, checks_.phase_began = iterations_;
    SetTau(tau_);
    return true;
  }

  // Moves the anchor, and balances tau, where the step |y - x| says so. Returns whether z moved.
  JAXINTER_DEVICE bool Restart() {
    double square[1], moved[2];
    Total<1, 0>(square, [&](int i, double (&x)[1]) {
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const double z = z_[block][i], step = X(block, z) - z + Step(block, i);
        x[0] += step * step;
      }
    });
    if (!checks_.steps.Restarts(std::sqrt(square[0]), k_, iterations_ - checks_.phase_began))
      return false;
    Total<2, 0>(moved, [&](int i, double (&x)[2]) {
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const double z = z_[block][i], anchor = anchor_[block][i];
        const double at = X(block, z), from = X(block, anchor);
        const double dx = at - from, dm = (z - at) - (anchor - from);
        x[0] += dx * dx, x[1] += dm * dm;
      }
    });
    const double factor = TauFactor(moved[0], moved[1]);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      Set(z_[block], [&](int i) {
        const double z = z_[block][i], x = X(block, z);
        return x + (z - x) * factor;
      });
      Set(anchor_[block], [&](int i) { return z_[block][i]; });
    }
    k_ = 0, checks_.steps.first = kInfinity;
    SetTau(tau_ * factor);
    return true;
  }

  const int players_, high_stages_, low_stages_;
  unsigned char* const room_;  // in device memory
  const double* blocks_ = nullptr;
  const std::uint32_t* products_ = nullptr;

  // As in sparse_cpu.cc.
  double *z_[3] = {}, *anchor_[3] = {};
  double *c_, *mu_, *k_mu_, *p_mu_ = nullptr;

  double inner_, tau_, shrink_;
  Checks checks_;
  int k_, iterations_;
  bool done_;
};

template <bool kBoxed, int kPlayers>
__global__ void __launch_bounds__(1 << (kPlayers - kBits), kBlocksOfProcessor<kBoxed, kPlayers>)
    SolveSamples(Plan plan, SparseProgram program, const double* settings, SparseSplit split,
                 unsigned char* workspace) {
  unsigned char* rooms = workspace + plan.TableBytes();
  Solver<kBoxed, kPlayers> solver(plan, workspace,
                                  rooms + Index{blockIdx.x} * kSlots<kBoxed> * plan.vector_bytes);
  for (Index group = blockIdx.x; group < program.groups; group += gridDim.x) {
    __syncthreads();  // until the last sample is done with
    if (threadIdx.x == 0) {
      const Index at = group << plan.n;
      Sample& sample = reinterpret_cast<Head*>(shared_memory)->sample;
      sample.w = program.w + at;
      sample.start = program.start ? program.start + 3 * at : nullptr;
      sample.zeta = kBoxed ? program.zeta[group] : 0;
      sample.tol = settings[0], sample.tie_break = settings[1], sample.margin = settings[2];
      sample.max_iterations = static_cast<int>(program.max_iterations);
      sample.a = split.a + at, sample.delta = split.delta + at, sample.y = split.y + at;
      sample.dual = split.dual + group, sample.eps = split.eps + group;
      sample.iterations = split.iterations + group;
    }
    __syncthreads();
    solver.Solve();
  }
}

// The tables of a Plan; in host memory for good, as a copy of them may still be under way.
struct Tables {
  Plan plan = {};
  std::vector<double> words;

  // Whole lines of 128 bytes, as all that lies behind is read by warps.
  template <class T>
  void Add(const std::vector<T>& from) {
    const std::size_t at = words.size(), bytes = from.size() * sizeof(T);
    words.resize(at + CeilDiv(bytes, 128) * 128 / sizeof(double));
    if (bytes) std::memcpy(&words[at], from.data(), bytes);
  }
  static int Bytes(std::size_t words) { return static_cast<int>(words * sizeof(double)); }

  Tables(int n, bool boxed) {
    const Index size = Index{1} << n;
    plan.n = n;
    plan.vector_bytes = Bytes(std::max(size, Index{1} << kWarpBits));
    const Rotations& rotations = RotationsOf(n);
    for (int order = 0; order <= n; ++order) {
      plan.inverse[order] = rotations.inverse[(Index{1} << order) - 1];
      plan.empty[order] = rotations.empty[(Index{1} << order) - 1];
    }
    if (boxed) AddProjection(n);
  }

  void AddProjection(int n) {
    const HalfSchur& schur = HalfSchurOf(n);
    const CoupledBasis &high = *schur.high, &low = *schur.low;
    const int low_players = n / 2, columns = 1 << low_players;
    for (const std::int32_t end : high.stages) {
      if (end > 0) plan.high_end[plan.high_stages++] = end;
    }
    LaneCouplings lanes = {};
    std::int32_t begin = 0;
    for (const std::int32_t end : low.stages) {
      if (end == begin) continue;
      double *own = lanes.own[plan.low_stages], *other = lanes.other[plan.low_stages];
      std::int32_t* partner = lanes.partner[plan.low_stages++];
      std::fill_n(own, 32, 1.0), std::fill_n(other, 32, 0.0);
      std::iota(partner, partner + 32, 0);
      for (; begin < end; ++begin) {
        const Coupling& c = low.couplings[begin];
        for (int first = 0; first < 32; first += columns) {
          const int raised = first + c.raised, lowered = first + c.lowered;
          own[raised] = c.down, own[lowered] = -c.down;
          other[raised] = other[lowered] = c.up;
          partner[raised] = lowered, partner[lowered] = raised;
        }
      }
    }

    // Pairs of paths follow each other, spin by spin; in a pair, numbers of ones (high, low).
    const std::size_t padded = plan.vector_bytes / sizeof(double);
    std::vector<std::uint16_t> places(padded);
    std::vector<std::uint32_t> products(padded);
    std::vector<double> blocks;
    int next = 0;
    const auto* from = schur.blocks.data();
    for (const auto& h : high.spins) {
      for (const auto& l : low.spins) {
        const int size = h.d * l.d, width = HalfSchur::Width(size);
        for (int pair = 0; pair < h.paths * l.paths; ++pair) {
          const int start = next, p = pair / l.paths, q = pair % l.paths;
          for (int entry = 0; entry < size; ++entry, ++next) {
            const int row = high.rows[h.first + p * h.d + entry / l.d];
            const int column = low.rows[l.first + q * l.d + entry % l.d];
            places[row << low_players | column] = static_cast<std::uint16_t>(next);
            products[next] = Product{start, size, static_cast<int>(blocks.size()) + entry}.Packed();
          }
        }
        const auto at = [&](int entry) { return entry % l.d * h.d + entry / l.d; };
        for (int i = 0; i < size; ++i) {
          for (int j = 0; j < size; ++j) blocks.push_back((*from)[at(i) * width + at(j)]);
        }
        ++from;
      }
    }
    for (std::size_t i = next; i < padded; ++i) places[i] = static_cast<std::uint16_t>(i);
    Add(std::vector<LaneCouplings>{lanes});
    Add(places);
    Add(high.couplings);
    plan.walk_bytes = Bytes(words.size());
    Add(blocks);
    plan.block_bytes = Bytes(words.size()) - plan.walk_bytes;
    Add(products);
    plan.product_bytes = Bytes(words.size()) - plan.walk_bytes - plan.block_bytes;
  }
};

const Tables& TablesOf(int n, bool boxed) {
  static std::mutex mutex;
  static std::map<std::pair<int, bool>, Tables> kept;
  std::lock_guard<std::mutex> lock(mutex);
  return kept.try_emplace({n, boxed}, n, boxed).first->second;
}

// Fills shared memory: the vectors that transforms read, the blocks, which every product reads, the
// vectors that only their own threads touch, the products. Two blocks of threads share a
// processor's, as one alone waits at its barriers; with noise at n = 11 one needs it all.
Plan WithShared(Plan plan, bool boxed) {
  const int limit = SharedLimit();
  constexpr int kReserved = 1024;  // of each block, for the system
  const bool alone = boxed && plan.n == kMaxPlayersOnCuda;
  const int most = alone ? limit : (limit + kReserved) / 2 - kReserved;
  plan.shared_bytes = static_cast<int>(sizeof(Head)) + plan.walk_bytes;
  const auto fits = [&](int bytes) {
    if (plan.shared_bytes + bytes > most) return false;
    plan.shared_bytes += bytes;
    return true;
  };
  const auto vectors = [&](int count) {
    while (plan.shared_slots < count && fits(plan.vector_bytes)) ++plan.shared_slots;
  };
  vectors(boxed ? 5 : 3);
  const bool blocks = boxed && fits(plan.block_bytes);
  vectors(boxed ? kHot<true> : kHot<false>);
  const bool products = boxed && fits(plan.product_bytes);
  int end = plan.shared_bytes;
  if (products) plan.shared_products = end -= plan.product_bytes;
  if (blocks) plan.shared_blocks = end -= plan.block_bytes;
  return plan;
}

}  // namespace

Index SparseWorkspaceBytes(Index groups, int n, bool boxed) {
  const Plan& plan = TablesOf(n, boxed).plan;
  return plan.TableBytes() + std::min(groups, MostBlocks(n)) * plan.vector_bytes *
                                 (boxed ? kSlots<true> : kSlots<false>);
}

const char* LaunchSparseSplitCuda(const SparseProgram& program, const double* settings,
                                  const SparseSplit& split, void* workspace, CudaStream stream) {
  if (program.models != 1) return "the sparse split on CUDA is of one model";
  if (program.n_players < 1 || program.n_players > kMaxPlayersOnCuda) {
    return "the sparse split on CUDA is of 1 to 11 players";
  }
  if (program.groups == 0) return nullptr;
  const bool boxed = program.zeta;
  const Tables& tables = TablesOf(program.n_players, boxed);
  const Plan plan = WithShared(tables.plan, boxed);
  if (!tables.words.empty()) {
    const char* error = Text(cudaMemcpyAsync(workspace, tables.words.data(), plan.TableBytes(),
                                             cudaMemcpyHostToDevice, stream));
    if (error) return error;
  }
  SparseProgram within = program;
  within.max_iterations = std::min<std::int64_t>(program.max_iterations, 0x7fffffff);
  const auto solve = [&](auto players) {
    constexpr int kPlayers = decltype(players)::value;
    return Launch(boxed ? SolveSamples<true, kPlayers> : SolveSamples<false, kPlayers>,
                  std::min(program.groups, MostBlocks(program.n_players)), 1 << (kPlayers - kBits),
                  plan.shared_bytes, stream, plan, within, settings, split,
                  static_cast<unsigned char*>(workspace));
  };
  switch (program.n_players) {
    case 11:
      return solve(std::integral_constant<int, 11>());
    case 10:
      return solve(std::integral_constant<int, 10>());
    case 9:
      return solve(std::integral_constant<int, 9>());
    default:
      return solve(std::integral_constant<int, kWarpBits>());
  }
}

}  // namespace jaxinter
