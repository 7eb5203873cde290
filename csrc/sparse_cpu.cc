// SPDX-License-Identifier: Apache-2.0
// The sparse AND-OR split: restarted Halpern Peaceman-Rachford splitting, as in
// jaxinter/sparse/solver.py, where the method is explained; here for one sample at a time, whose
// vectors stay in a core's caches, on as many threads as there are samples, or one large sample on
// all threads. Compiled once for each SIMD level.
//
// One step is a projection onto the graph, which leaves
//     mu = H^-1 (t_b - K t_a - kappa P t_d - c),   K^T mu,   P mu      for t = 2x - z, x = prox(z),
// and an update of z. The same three vectors are the certificate: the multiplier -mu / tau is
// exactly normal to the graph, so its bound costs three sums and no transform.
#include "sparse_kernels.h"

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "lattice_walk.h"
#include "sparse_graph.h"
#include "sparse_tables.h"

namespace jaxinter {
namespace JAXINTER_SIMD {
namespace {

// As in solver.py.
constexpr std::int64_t kCheckEvery = 25;
constexpr double kRestartSufficient = 0.2, kRestartGrowing = 0.8, kRestartLong = 0.25;
constexpr double kPhase1Share = 0.5, kPhase2Share = 0.25;
constexpr double kTauStep = 3;
// A start whose strength is more than this many times the default's is of no help.
constexpr double kWorstStart = 10;
// A player that moves no value by more than this part of max |w| is a dummy.
constexpr double kDummy = 1e-12;
// Sums are taken of this many elements at a time, whatever the threads.
constexpr Index kChunk = 1 << 13;
// From this many players one sample is worth several threads.
constexpr int kThreadedPlayers = 14;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using V8 = Vector<double>;

// argmin_x h(x) + |x - z|^2 / (2 tau) over the models of one effect, h the objective (problem.py).
struct Prox {
  double tau, shrink;  // shrink = 1 / (1 + tau eps)
  int models;

  // One model: the soft threshold.
  template <class V>
  JAXINTER_INLINE V One(const V& z) const {
    return (z - Clip<V>(z, V{} + tau)) * shrink;
  }

  // Several: each is thresholded, then its largest positive and negative parts are brought down to
  // a common level, by tau in all.
  template <class V>
  JAXINTER_INLINE void Joint(V* z) const {
    V positive[kMaxModels], negative[kMaxModels];
    for (int k = 0; k < models; ++k) {
      const V soft = z[k] - Clip<V>(z[k], V{} + tau);
      positive[k] = Max<V>(soft, V{});
      negative[k] = Max<V>(-soft, V{});
    }
    const V up = Level<V>(positive), down = Level<V>(negative);
    for (int k = 0; k < models; ++k) {
      z[k] = (Min<V>(positive[k], up) - Min<V>(negative[k], down)) * shrink;
    }
  }

  // max over k of (the sum of the k largest of p, less tau) / k, at least 0.
  template <class V>
  JAXINTER_INLINE V Level(const V* p) const {
    V sorted[kMaxModels];
    for (int k = 0; k < models; ++k) {
      V x = p[k];
      for (int i = 0; i < k; ++i) {
        const V larger = Max<V>(sorted[i], x);
        x = Min<V>(sorted[i], x);
        sorted[i] = larger;
      }
      sorted[k] = x;
    }
    V sum = V{} - tau, level{};
    for (int k = 0; k < models; ++k) {
      sum += sorted[k];
      level = Max<V>(level, sum * (1.0 / (k + 1)));
    }
    return level;
  }
};

// max over both signs and k of (the sum of the k largest of them) / (k + 1): the gauge of the
// joint objective's dual ball.
template <class V>
JAXINTER_INLINE V JointGauge(const V* lam, int models) {
  V gauge{};
  for (double sign : {1.0, -1.0}) {
    V sorted[kMaxModels], sum{};
    for (int k = 0; k < models; ++k) {
      V x = Max<V>(lam[k] * sign, V{});
      for (int i = 0; i < k; ++i) {
        const V larger = Max<V>(sorted[i], x);
        x = Min<V>(sorted[i], x);
        sorted[i] = larger;
      }
      sorted[k] = x;
    }
    for (int k = 0; k < models; ++k) {
      sum += sorted[k];
      gauge = Max<V>(gauge, sum * (1.0 / (k + 2)));
    }
  }
  return gauge;
}

// Sums and maxima of a pass over vectors.
template <class V, int kSums, int kMaxima>
struct Totals {
  V sum[kSums ? kSums : 1] = {}, max[kMaxima ? kMaxima : 1] = {};
};

// f(V{}, i) for vectors of elements i of [0, size), and the totals f adds to: in chunks, so that
// the bits do not depend on the threads.
template <int kSums, int kMaxima, class F>
Totals<double, kSums, kMaxima> Pass(Index size, Parallel& parallel, const F& f) {
  using Scalar = Totals<double, kSums, kMaxima>;
  if (size < Simd<double>::kLanes) {
    Scalar totals;
    for (Index i = 0; i < size; ++i) f(double{}, i, totals);
    return totals;
  }
  const auto chunk = [&](Index first, Index end) {
    Totals<V8, kSums, kMaxima> wide;
    for (Index i = first; i < end; i += Simd<double>::kLanes) f(V8{}, i, wide);
    Scalar totals;
    for (int lane = 0; lane < Simd<double>::kLanes; ++lane) {
      for (int s = 0; s < kSums; ++s) totals.sum[s] += wide.sum[s][lane];
      for (int s = 0; s < kMaxima; ++s) {
        totals.max[s] = Max(totals.max[s], static_cast<double>(wide.max[s][lane]));
      }
    }
    return totals;
  };
  if (size <= kChunk) return chunk(0, size);
  std::vector<Scalar> parts(size / kChunk);
  parallel.For(size / kChunk, [&](Index i) { parts[i] = chunk(i * kChunk, (i + 1) * kChunk); });
  Scalar totals;
  for (const Scalar& part : parts) {
    for (int s = 0; s < kSums; ++s) totals.sum[s] += part.sum[s];
    for (int s = 0; s < kMaxima; ++s) totals.max[s] = Max(totals.max[s], part.max[s]);
  }
  return totals;
}

template <class V>
JAXINTER_INLINE void Put(double* p, const V& x) {
  std::memcpy(p, &x, sizeof(V));
}

// What a transform reads: an expression of vectors at an index.
template <class F>
struct Expression {
  const F& f;
  Index offset;
  template <class V>
  JAXINTER_INLINE V Read(Index i) const {
    return f(V{}, offset + i);
  }
  Expression At(Index more) const { return {f, offset + more}; }
};

// One sample of `models` tables of n players. kJoint: several models, one objective.
template <bool kJoint>
class Solver {
 public:
  Solver(int n, int models, bool boxed, Parallel& parallel)
      : n_(n),
        models_(models),
        boxed_(boxed),
        size_(Index{1} << n),
        all_(models * size_),
        kappa_(Kappa(n)),
        rotations_(boxed ? nullptr : &RotationsOf(n)),
        schur_(boxed ? &HalfSchurOf(n) : nullptr),
        parallel_(parallel) {
    const int vectors = boxed ? 16 : 10;
    memory_.reset(static_cast<double*>(std::aligned_alloc(64, (vectors * all_ + 8) * 8 / 64 * 64)));
    if (!memory_) throw std::bad_alloc();
    double* free = memory_.get();
    const auto take = [&] { return std::exchange(free, free + all_); };
    for (int block = 0; block < (boxed ? 3 : 2); ++block) z_[block] = take(), anchor_[block] = take();
    c_ = take(), mu_ = take(), k_mu_ = take(), lam_ = take();
    best_.a = take(), sparsest_.a = take();
    if (boxed) {
      p_mu_ = take(), clipped_ = take();
      best_.delta = take(), sparsest_.delta = take();
    }
  }

  void Solve(const SparseProgram& program, const double* w, const double* zeta, const double* start,
             const std::int32_t* stop, double* a, double* delta, double* y, double* dual,
             double* eps, std::int32_t* iterations) {
    Begin(program, w, zeta, start);
    for (;;) {
      Project();
      if (iterations_ % kCheckEvery == 0 && iterations_ > 0) {
        Certify();
        const bool moved = ChangePhase();
        if (done_ || iterations_ >= program.max_iterations ||
            (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))) {
          break;
        }
        if (Restart() || moved) Project();
      } else if (iterations_ >= program.max_iterations) {
        Certify();
        ChangePhase();
        break;
      }
      Update();
    }
    const Split& chosen = done_ || eps_ == 0 || Proven(best_) ? best_ : sparsest_;
    std::copy_n(chosen.a, all_, a);
    if (boxed_) {
      std::copy_n(chosen.delta, all_, delta);
    } else {
      std::fill_n(delta, all_, 0.0);
    }
    for (int k = 0; k < models_; ++k) {
      double* table = y + k * size_;
      if (has_lam_) {
        Transform(ComplementMobius(), table, [&](auto v, Index i) {
          return -Load<decltype(v)>(lam_ + k * size_ + i);
        });
        table[0] = 0;
      } else {
        std::fill_n(table, size_, 0.0);
        table[size_ - 1] = y_full_[k];
      }
    }
    *dual = dual_;
    *eps = done_ || tie_break_ == 0 ? eps_ : std::numeric_limits<double>::quiet_NaN();
    *iterations = static_cast<std::int32_t>(iterations_);
  }

 private:
  struct Split {
    double *a = nullptr, *delta = nullptr;
    double l1 = kInfinity, l2 = 0;
    double Objective(double eps) const { return l1 + eps / 2 * l2; }
  };

  // ---- what the passes and transforms are written with

  template <int kSums = 0, int kMaxima = 0, class F>
  Totals<double, kSums, kMaxima> Over(Index size, const F& f) {
    return Pass<kSums, kMaxima>(size, parallel_, f);
  }

  // f(V{}, i) for the elements i of all models' tables. A vector must not span two of them.
  template <class F>
  void OverTables(const F& f) {
    for (int k = 0; k < models_; ++k) {
      Over(size_, [&](auto v, Index i, auto&) { f(v, k * size_ + i); });
    }
  }

  // out = (Step (x) ... (x) Step) of f(V{}, i), i the elements of one table; out may be read by f.
  template <class Step, class F>
  void Transform(const Step& step, double* out, const F& f) {
    if (n_ > kCachePlayers - 1 || parallel_.threads() > 1) {
      // Written first: compiling the walk of large tables for each expression takes minutes.
      Over(size_, [&](auto v, Index i, auto&) { Put(out + i, f(v, i)); });
      const Job<double, Values<double>, Step> job{{out}, out, step, out};
      LargeTable<double, NoSums>(n_, nullptr, parallel_, job);
    } else {
      NoSums none(n_);
      Table<double, Keep>(n_, none, Job<double, Expression<F>, Step>{{f, 0}, out, step, out});
    }
  }

  // x = prox(z) of block 0 or 1 (a or b), element i of the whole sample.
  template <class V>
  JAXINTER_INLINE V X(const double* z, Index i) const {
    if constexpr (kJoint) {
      V all[kMaxModels] = {};
      const Index at = i & (size_ - 1);
      for (int k = 0; k < models_; ++k) all[k] = Load<V>(z + k * size_ + at);
      prox_.Joint(all);
      return all[i >> n_];
    } else {
      return prox_.One(Load<V>(z + i));
    }
  }

  // t = 2x - z.
  template <class V>
  JAXINTER_INLINE V T(int block, Index i) const {
    return X<V>(z_[block], i) * 2.0 - Load<V>(z_[block] + i);
  }

  // Of the residual's block of model k, kept within its box.
  template <class V>
  JAXINTER_INLINE V XBox(const double* z, double box, Index i) const {
    return Clip<V>(Load<V>(z + i), V{} + box);
  }
  template <class V>
  JAXINTER_INLINE V TBox(double box, Index i) const {
    return XBox<V>(z_[2], box, i) * 2.0 - Load<V>(z_[2] + i);
  }

  double Box(int k) const { return inner_[k] / kappa_; }

  // ---- the method, in order

  void Begin(const SparseProgram& program, const double* w, const double* zeta,
             const double* start) {
    tol_ = program.tol, tie_break_ = program.tie_break;
    eps_ = 0, k_ = 0, iterations_ = phase_began_ = 0, done_ = false;
    first_step_ = last_step_ = kInfinity;
    dual_ = 0, lower_ = -kInfinity, has_lam_ = false;
    for (int k = 0; k < models_; ++k) {
      zeta_[k] = zeta ? zeta[k] : 0;
      inner_[k] = zeta_[k] - std::min(program.margin, zeta_[k] / 2);
      double* c = c_ + k * size_;
      Transform(ComplementMobius(), c, [&](auto v, Index i) {
        return -Load<decltype(v)>(w + k * size_ + i);
      });
      c[0] = 0;
      // The multiplier y of the full coalition alone: no split does without |w(full)|, less noise.
      const double full = w[(k + 1) * size_ - 1];
      y_full_[k] = std::abs(full) > zeta_[k] ? std::copysign(1.0, full) : 0.0;
      dual_ += std::max(0.0, std::abs(full) - zeta_[k]);
    }
    SetStart(w, nullptr);
    if (start) {
      const double limit = kWorstStart * best_.l1;
      SetStart(w, start);
      if (!(best_.l1 <= limit)) SetStart(w, nullptr);
    }
    sparsest_.l1 = kInfinity;
    tau_ = best_.l1 / all_ / 2;
    for (int block = 0; block < (boxed_ ? 3 : 2); ++block) {
      std::copy_n(z_[block], all_, anchor_[block]);
    }
  }

  // z at a split, and the split as the best so far.
  void SetStart(const double* w, const double* start) {
    prox_ = {0, 1, models_};
    for (int k = 0; k < models_; ++k) {
      const Index at = k * size_;
      double *a = z_[0] + at, *b = z_[1] + at;
      if (start) {
        std::copy_n(start + 2 * at, size_, a);
      } else {
        Transform(Mobius(), a, [&](auto v, Index i) { return Load<decltype(v)>(w + at + i) * 0.5; });
      }
      a[0] = 0;
      Transform(AndToOr(), b, [&](auto v, Index i) { return Load<decltype(v)>(a + i); });
      Over(size_, [&](auto v, Index i, auto&) {
        using U = decltype(v);
        Put(b + i, Load<U>(b + i) + Load<U>(c_ + at + i));
      });
      if (boxed_) {
        const double* given = start ? start + 2 * at + size_ : nullptr;
        double* d = z_[2] + at;
        Over(size_, [&](auto v, Index i, auto&) {
          using U = decltype(v);
          U x{};
          if (given) x = Clip<U>(Load<U>(given + i), U{} + inner_[k]);
          Put(best_.delta + at + i, x);
          Put(d + i, x * (1 / kappa_));
        });
        d[0] = best_.delta[at] = 0;
        if (given) {
          Transform(ComplementMobius(), mu_ + at, [&](auto v, Index i) {
            return Load<decltype(v)>(best_.delta + at + i);
          });
          Over(size_, [&](auto v, Index i, auto&) {
            using U = decltype(v);
            Put(b + i, Load<U>(b + i) + Load<U>(mu_ + at + i));
          });
        }
      }
      b[0] = 0;
    }
    std::copy_n(z_[0], all_, best_.a);
    const auto [l1, l2] = Strength([&](auto v, int block, Index i) {
      return Load<decltype(v)>(z_[block] + i);
    });
    best_.l1 = l1, best_.l2 = l2;
  }

  // The objective and the sum of squares of a candidate, f(V{}, block, i); entries 0 are 0.
  template <class F>
  std::pair<double, double> Strength(const F& f) {
    const auto totals = Over<2>(size_, [&](auto v, Index i, auto& totals) {
      using U = decltype(v);
      for (int block = 0; block < 2; ++block) {
        if constexpr (kJoint) {
          U top{}, bottom{};
          for (int k = 0; k < models_; ++k) {
            const U x = f(v, block, k * size_ + i);
            top = Max<U>(top, x), bottom = Min<U>(bottom, x);
            totals.sum[0] += Abs<U>(x), totals.sum[1] += x * x;
          }
          totals.sum[0] += top - bottom;
        } else {
          const U x = f(v, block, i);
          totals.sum[0] += Abs<U>(x), totals.sum[1] += x * x;
        }
      }
    });
    return {totals.sum[0], totals.sum[1]};
  }

  // mu, K^T mu and P mu of the nearest point of the graph to t = 2x - z.
  void Project() {
    prox_ = {tau_, 1 / (1 + tau_ * eps_), models_};
    for (int k = 0; k < models_; ++k) {
      const Index at = k * size_;
      double *mu = mu_ + at, *k_mu = k_mu_ + at;
      const double* c = c_ + at;
      Transform(AndToOr(), mu, [&](auto v, Index i) { return T<decltype(v)>(0, at + i); });
      if (boxed_) {
        double* p_mu = p_mu_ + at;
        const double box = Box(k);
        Transform(ComplementMobius(), p_mu, [&](auto v, Index i) {
          return TBox<decltype(v)>(box, at + i);
        });
        Over(size_, [&](auto v, Index i, auto&) {
          using U = decltype(v);
          Put(mu + i, T<U>(1, at + i) - Load<U>(mu + i) - Load<U>(p_mu + i) * kappa_ -
                          Load<U>(c + i));
        });
        mu[0] = 0;
        ApplyHalfSchur(*schur_, mu, k_mu, parallel_);
        Transform(ComplementMobius(), p_mu, [&](auto v, Index i) {
          return Load<decltype(v)>(mu + i);
        });
        p_mu[0] = 0;
      } else {
        mu[0] = 0;
        Transform(RotationStep{kGolden}, mu, [&](auto v, Index i) {
          using U = decltype(v);
          return T<U>(1, at + i) - Load<U>(mu + i) - Load<U>(c + i);
        });
        const double* inverse = rotations_->inverse.data();
        Transform(RotationStep{-kGolden}, mu, [&](auto v, Index i) {
          using U = decltype(v);
          return Load<U>(mu + i) * Load<U>(inverse + i);
        });
        const double at_empty = mu[0];
        const double* empty = rotations_->empty.data();
        Over(size_, [&](auto v, Index i, auto&) {
          using U = decltype(v);
          Put(mu + i, Load<U>(mu + i) - Load<U>(empty + i) * at_empty);
        });
        mu[0] = 0;
      }
      Transform(AndToOrTransposed(), k_mu, [&](auto v, Index i) { return Load<decltype(v)>(mu + i); });
    }
  }

  // z <- anchor / (k + 2) + (k + 1) / (k + 2) (z + 2 (y - x)).
  void Update() {
    const double pull = 1.0 / (k_ + 2), keep = 1 - pull;
    // t + 2 (y - t): the reflected reflection.
    const auto move = [&](auto t, const auto& step, const double* anchor, double* z) {
      using U = decltype(t);
      Put(z, Load<U>(anchor) * pull + (t + step * 2.0) * keep);
    };
    if constexpr (kJoint) {
      Over(size_, [&](auto v, Index i, auto&) {
        using U = decltype(v);
        for (int block = 0; block < 2; ++block) {
          U x[kMaxModels];
          for (int k = 0; k < models_; ++k) x[k] = Load<U>(z_[block] + k * size_ + i);
          prox_.Joint(x);
          for (int k = 0; k < models_; ++k) {
            const Index at = k * size_ + i;
            const U step = block ? -Load<U>(mu_ + at) : Load<U>(k_mu_ + at);
            move(U(x[k] * 2.0 - Load<U>(z_[block] + at)), step, anchor_[block] + at, z_[block] + at);
          }
        }
      });
    } else {
      OverTables([&](auto v, Index i) {
        using U = decltype(v);
        move(T<U>(0, i), Load<U>(k_mu_ + i), anchor_[0] + i, z_[0] + i);
        move(T<U>(1, i), U(-Load<U>(mu_ + i)), anchor_[1] + i, z_[1] + i);
      });
    }
    for (int k = 0; boxed_ && k < models_; ++k) {
      const double box = Box(k);
      Over(size_, [&](auto v, Index j, auto&) {
        using U = decltype(v);
        const Index i = k * size_ + j;
        move(TBox<U>(box, i), U(Load<U>(p_mu_ + i) * kappa_), anchor_[2] + i, z_[2] + i);
      });
    }
    ++k_, ++iterations_;
  }

  // The split and the bound at this point, kept where they are the best so far.
  void Certify() {
    // The residual is y's, clipped into its box; what clipping took goes to the OR effects.
    const auto y_box = [&](auto v, double box, Index i) {
      using U = decltype(v);
      return U(TBox<U>(box, i) + Load<U>(p_mu_ + i) * kappa_);
    };
    for (int k = 0; boxed_ && k < models_; ++k) {
      double* taken = clipped_ + k * size_;
      const double box = Box(k);
      const Index at = k * size_;
      Over(size_, [&](auto v, Index i, auto&) {
        using U = decltype(v);
        const U y = y_box(v, box, at + i);
        Put(taken + i, U((Clip<U>(y, U{} + box) - y) * kappa_));
      });
      taken[0] = 0;
      Transform(ComplementMobius(), taken, [&](auto v, Index i) {
        return Load<decltype(v)>(taken + i);
      });
      taken[0] = 0;
    }
    const auto [l1, l2] = Strength([&](auto v, int block, Index i) {
      using U = decltype(v);
      if (block == 0) return U(T<U>(0, i) + Load<U>(k_mu_ + i));
      const U b = T<U>(1, i) - Load<U>(mu_ + i);
      return boxed_ ? U(b + Load<U>(clipped_ + i)) : b;
    });
    const auto keep = [&](Split& split) {
      split.l1 = l1, split.l2 = l2;
      OverTables([&](auto v, Index i) {
        using U = decltype(v);
        Put(split.a + i, U(T<U>(0, i) + Load<U>(k_mu_ + i)));
      });
      for (int k = 0; boxed_ && k < models_; ++k) {
        const double box = Box(k);
        const Index at = k * size_;
        Over(size_, [&](auto v, Index i, auto&) {
          using U = decltype(v);
          Put(split.delta + at + i, U(Clip<U>(y_box(v, box, at + i), U{} + box) * kappa_));
        });
        split.delta[at] = 0;
      }
    };
    if (l1 + eps_ / 2 * l2 < best_.Objective(eps_)) keep(best_);
    if (eps_ > 0 && l1 < sparsest_.l1) keep(sparsest_);
    Bound();
  }

  // The lower bounds of the multiplier -mu / tau (problem.py), without and with the tie-break.
  void Bound() {
    double value = 0;
    for (int k = 0; k < models_; ++k) {
      const Index at = k * size_;
      const auto totals = Over<2>(size_, [&](auto v, Index i, auto& totals) {
        using U = decltype(v);
        totals.sum[0] += Load<U>(mu_ + at + i) * Load<U>(c_ + at + i);
        if (boxed_) totals.sum[1] += Abs<U>(Load<U>(p_mu_ + at + i));
      });
      value -= (totals.sum[0] + zeta_[k] * totals.sum[1]) / tau_;
    }
    const double unit = 1 / tau_;
    const auto ball = Over<1, 1>(size_, [&](auto v, Index i, auto& totals) {
      using U = decltype(v);
      for (const double* vector : {mu_, k_mu_}) {
        if constexpr (kJoint) {
          U lam[kMaxModels];
          for (int k = 0; k < models_; ++k) lam[k] = Load<U>(vector + k * size_ + i) * unit;
          totals.max[0] = Max<U>(totals.max[0], JointGauge(lam, models_));
          // What prox takes lam to is how far it lies outside the dual ball.
          Prox{1, 1, models_}.Joint(lam);
          for (int k = 0; k < models_; ++k) totals.sum[0] += lam[k] * lam[k];
        } else {
          const U lam = Abs<U>(Load<U>(vector + i)) * unit;
          const U outside = Max<U>(lam - 1.0, U{});
          totals.max[0] = Max<U>(totals.max[0], lam);
          totals.sum[0] += outside * outside;
        }
      }
    });
    const double dual = value / std::max(1.0, ball.max[0]);
    if (dual > dual_) {
      dual_ = dual, has_lam_ = true;
      const double scale = -unit / std::max(1.0, ball.max[0]);
      OverTables([&](auto v, Index i) {
        using U = decltype(v);
        Put(lam_ + i, U(Load<U>(mu_ + i) * scale));
      });
    }
    lower_ = eps_ > 0 ? std::max(lower_, value - ball.sum[0] / (2 * eps_)) : dual_;
  }

  bool Proven(const Split& split) const { return split.l1 - dual_ <= tol_ * split.l1; }

  // Phase 1 to phase 2, phase 2 with half the eps, or done. Returns whether z moved.
  bool ChangePhase() {
    const double upper = best_.Objective(eps_);
    const double share = eps_ > 0 ? kPhase2Share : tie_break_ > 0 ? kPhase1Share : 1;
    if (upper - lower_ > share * tol_ * upper) return false;
    if (tie_break_ == 0 || (eps_ > 0 && Proven(best_))) {
      done_ = true;
      return false;
    }
    if (eps_ == 0) {
      sparsest_.l1 = best_.l1, sparsest_.l2 = best_.l2;
      std::copy_n(best_.a, all_, sparsest_.a);
      if (boxed_) std::copy_n(best_.delta, all_, sparsest_.delta);
    }
    const double eps = eps_ > 0 ? eps_ / 2 : tie_break_;
    // The new tie-break's prox has the same x at this z: the primal does not jump. The anchor's
    // room takes the new z, as x of one model depends on z of all.
    const double shift = tau_ * (eps - eps_);
    for (int block = 0; block < 2; ++block) {
      double *z = z_[block], *moved = anchor_[block];
      OverTables([&](auto v, Index i) {
        using U = decltype(v);
        Put(moved + i, U(Load<U>(z + i) + X<U>(z, i) * shift));
      });
      std::copy_n(moved, all_, z);
    }
    if (boxed_) std::copy_n(z_[2], all_, anchor_[2]);
    k_ = 0, first_step_ = last_step_ = kInfinity;
    eps_ = eps, lower_ = -kInfinity, phase_began_ = iterations_;
    return true;
  }

  // Moves the anchor, and balances tau, where the step |y - x| says so. Returns whether z moved.
  bool Restart() {
    const double size = StepSize();
    const bool fresh = first_step_ == kInfinity;
    if (fresh) first_step_ = size;
    const bool enough = size <= kRestartSufficient * first_step_;
    const bool stuck = size <= kRestartGrowing * first_step_ && size > last_step_;
    const bool slow = k_ >= kRestartLong * static_cast<double>(iterations_ - phase_began_);
    last_step_ = size;
    if (fresh || !(enough || stuck || slow)) return false;
    // z = x + tau * multiplier; move tau so that both parts have come equally far.
    double moved = 0, multiplier_moved = 0;
    ForBlocks([&](auto v, int block, double box, Index i, auto& totals) {
      using U = decltype(v);
      const U z = Load<U>(z_[block] + i), anchor = Load<U>(anchor_[block] + i);
      const U x = block < 2 ? X<U>(z_[block], i) : XBox<U>(z_[2], box, i);
      const U at = block < 2 ? X<U>(anchor_[block], i) : XBox<U>(anchor_[2], box, i);
      const U dx = x - at, dm = (z - x) - (anchor - at);
      totals.sum[0] += dx * dx, totals.sum[1] += dm * dm;
    }, moved, multiplier_moved);
    const bool usable = moved > 0 && multiplier_moved > 0;
    const double ratio = usable ? std::sqrt(moved / multiplier_moved) : 1;
    const double factor = std::min(std::max(std::sqrt(ratio), 1 / kTauStep), kTauStep);
    double unused = 0;
    ForBlocks([&](auto v, int block, double box, Index i, auto&) {
      using U = decltype(v);
      const U z = Load<U>(z_[block] + i);
      const U x = block < 2 ? X<U>(z_[block], i) : XBox<U>(z_[2], box, i);
      Put(anchor_[block] + i, U(x + (z - x) * factor));
    }, unused, unused);
    for (int block = 0; block < (boxed_ ? 3 : 2); ++block) {
      std::copy_n(anchor_[block], all_, z_[block]);
    }
    tau_ *= factor, k_ = 0, first_step_ = kInfinity;
    return true;
  }

  // |y - x|.
  double StepSize() {
    double square = 0, unused = 0;
    ForBlocks([&](auto v, int block, double box, Index i, auto& totals) {
      using U = decltype(v);
      const U x = block < 2 ? X<U>(z_[block], i) : XBox<U>(z_[2], box, i);
      const U step = block == 0   ? Load<U>(k_mu_ + i)
                     : block == 1 ? -Load<U>(mu_ + i)
                                  : Load<U>(p_mu_ + i) * kappa_;
      const U difference = x - Load<U>(z_[block] + i) + step;
      totals.sum[0] += difference * difference;
    }, square, unused);
    return std::sqrt(square);
  }

  // f(V{}, block, box, i, totals) for all blocks of all models; adds up two sums.
  template <class F>
  void ForBlocks(const F& f, double& first, double& second) {
    for (int block = 0; block < (boxed_ ? 3 : 2); ++block) {
      for (int k = 0; k < models_; ++k) {
        const double box = boxed_ ? Box(k) : 0;
        const auto totals = Over<2>(size_, [&](auto v, Index i, auto& totals) {
          f(v, block, box, k * size_ + i, totals);
        });
        first += totals.sum[0], second += totals.sum[1];
      }
    }
  }

  const int n_, models_;
  const bool boxed_;
  const Index size_, all_;  // entries of a table, and of all models' tables
  const double kappa_;
  const Rotations* const rotations_;
  const HalfSchur* const schur_;
  Parallel& parallel_;

  struct Free {
    void operator()(double* p) const { std::free(p); }
  };
  std::unique_ptr<double, Free> memory_;
  // Blocks a, b and d = delta / kappa of z and its anchor; the rest as in the head of this file.
  double *z_[3] = {}, *anchor_[3] = {};
  double *c_, *mu_, *k_mu_, *p_mu_ = nullptr, *clipped_ = nullptr;
  double* lam_;  // the multiplier behind dual_, if it is one of an iterate
  Split best_, sparsest_;  // of this phase by its objective; of all by l1

  double zeta_[kMaxModels], inner_[kMaxModels], y_full_[kMaxModels];
  double tol_, tie_break_, eps_, tau_;
  Prox prox_;
  double dual_, lower_;  // bounds on the optimum, and on this phase's objective
  double first_step_, last_step_;
  std::int64_t k_, iterations_, phase_began_;
  bool done_, has_lam_;
};

struct OneThread : Parallel {
  int threads() const override { return 1; }
  void Run(Index tasks, void* context, Task task) override {
    for (Index i = 0; i < tasks; ++i) task(context, i);
  }
};

// The players that move some value of one of the models: the others are dummies.
Index Movers(const double* w, int models, int n) {
  const Index size = Index{1} << n;
  Index movers = 0;
  for (int player = 0; player < n; ++player) {
    const Index bit = Index{1} << player;
    bool moves = false;
    for (Index i = 0; i < models * size && !moves; ++i) {
      moves = !(i & bit) && !(std::abs(w[i | bit] - w[i]) <= kDummy);
    }
    if (moves) movers |= bit;
  }
  return movers;
}

// The i-th subset of `mask`.
Index SubsetOf(Index mask, Index i) {
  Index subset = 0;
  for (Index rest = mask; rest; rest &= rest - 1, i >>= 1) {
    if (i & 1) subset |= rest & -rest;
  }
  return subset;
}

template <bool kJoint>
void SolveGroup(const SparseProgram& program, const SparseSplit& split, const Monitor& monitor,
                Index group, Parallel& parallel) {
  const int n = program.n_players, models = program.models;
  const Index size = Index{1} << n, all = models * size;
  const double* w = program.w + group * all;
  const double* zeta = program.zeta ? program.zeta + group * models : nullptr;
  const double* start = program.start ? program.start + 2 * group * all : nullptr;
  double *a = split.a + group * all, *delta = split.delta + group * all;
  double* y = split.y + group * all;
  double *dual = split.dual + group, *eps = split.eps + group;
  std::int32_t* iterations = split.iterations + group;

  bool known = true;
  for (Index i = 0; i < all && known; ++i) known = std::abs(w[i]) <= (zeta ? zeta[i >> n] : 0);
  if (known) {  // every value lies within its bound: no effects
    std::fill_n(a, all, 0.0);
    std::copy_n(w, all, delta);
    std::fill_n(y, all, 0.0);
    *dual = 0, *eps = 0, *iterations = 0;
    return;
  }
  const auto solve = [&](int players, const double* tables, const double* begin, double* effects,
                         double* residual, double* gradient) {
    Solver<kJoint> solver(players, models, zeta != nullptr, parallel);
    solver.Solve(program, tables, zeta, begin, monitor.stop, effects, residual, gradient, dual,
                 eps, iterations);
  };
  const Index movers = Movers(w, models, n);
  if (movers == size - 1) return solve(n, w, start, a, delta, y);

  // Dummies have no effects, and no residual of their own: what is left is a smaller game.
  const int players = __builtin_popcountll(movers);
  const Index fewer = Index{1} << players;
  std::vector<Index> subset(fewer);
  for (Index i = 0; i < fewer; ++i) subset[i] = SubsetOf(movers, i);
  const auto gather = [&](const double* from, Index tables) {
    std::vector<double> to(from ? tables * fewer : 0);
    for (std::size_t i = 0; i < to.size(); ++i) {
      to[i] = from[(i >> players << n) + subset[i & (fewer - 1)]];
    }
    return to;
  };
  const std::vector<double> tables = gather(w, models), begin = gather(start, 2 * models);
  std::vector<double> effects(models * fewer), residual(models * fewer), gradient(models * fewer);
  solve(players, tables.data(), start ? begin.data() : nullptr, effects.data(), residual.data(),
        gradient.data());
  std::fill_n(a, all, 0.0);
  std::fill_n(y, all, 0.0);
  std::vector<Index> part(size);  // of each coalition, its movers' place among the subsets
  for (Index i = 0; i < fewer; ++i) part[subset[i]] = i;
  for (Index i = 0; i < size; ++i) part[i] = part[i & movers];
  for (int k = 0; k < models; ++k) {
    for (Index i = 0; i < fewer; ++i) {
      a[k * size + subset[i]] = effects[k * fewer + i];
      y[k * size + subset[i]] = gradient[k * fewer + i];
    }
    for (Index i = 0; i < size; ++i) delta[k * size + i] = residual[k * fewer + part[i]];
  }
}

}  // namespace

void SparseSplits(const SparseProgram& program, const SparseSplit& split, const Monitor& monitor,
                  Parallel& parallel) {
  const auto solve = [&](Index group, Parallel& threads) {
    if (monitor.stop && __atomic_load_n(monitor.stop, __ATOMIC_RELAXED)) return;
    (program.models > 1 ? SolveGroup<true> : SolveGroup<false>)(program, split, monitor, group,
                                                                threads);
    if (monitor.done) __atomic_add_fetch(monitor.done, 1, __ATOMIC_RELAXED);
  };
  if (program.n_players >= kThreadedPlayers && program.groups < parallel.threads()) {
    for (Index group = 0; group < program.groups; ++group) solve(group, parallel);
    return;
  }
  parallel.For(program.groups, [&](Index group) {
    OneThread alone;
    solve(group, alone);
  });
}

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter
