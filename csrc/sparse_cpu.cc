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

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "sparse_graph.h"
#include "sparse_method.h"
#include "sparse_newton.h"
#include "sparse_passes.h"
#include "sparse_tables.h"

namespace jaxinter {
namespace JAXINTER_SIMD {
namespace {

// A player that moves no value by more than this part of max |w| is a dummy.
constexpr double kDummy = 1e-12;
// From this many players one sample is worth several threads: two take 0.6 to 0.75 of the time of
// one at n = 16, and 1.1 to 1.3 of it at 14.
constexpr int kThreadedPlayers = 16;

// The models of one effect, kModels of them or, where that is 0, as many as said at run time.
template <int kModels>
struct Models {
  int count;
  JAXINTER_INLINE int size() const { return kModels ? kModels : count; }
};

// x[0] >= x[1] >= ... : the models of one effect in order.
template <class V, int kModels>
JAXINTER_INLINE void Sort(V* x, Models<kModels> models) {
  for (int k = 1; k < models.size(); ++k) {
    for (int i = k; i > 0; --i) {
      const V larger = Max<V>(x[i - 1], x[i]);
      x[i] = Min<V>(x[i - 1], x[i]);
      x[i - 1] = larger;
    }
  }
}

// argmin_x h(x) + |x - z|^2 / (2 tau), h the objective (problem.py), of one effect's models.
template <int kModels>
struct Prox {
  static constexpr int kRoom = kModels ? kModels : kMaxModels;

  double tau, shrink;  // shrink = 1 / (1 + tau eps)
  Models<kModels> models;

  template <class V>
  JAXINTER_INLINE void operator()(V* z) const {
    V positive[kRoom], negative[kRoom];
    for (int k = 0; k < models.size(); ++k) {
      const V soft = z[k] - Clip<V>(z[k], V{} + tau);
      if (kModels == 1) {
        z[k] = soft * shrink;
        return;
      }
      positive[k] = Max<V>(soft, V{});
      negative[k] = Max<V>(-soft, V{});
    }
    // The largest positive and negative parts are brought down to a level, by tau in all.
    const V up = Level<V>(positive), down = Level<V>(negative);
    for (int k = 0; k < models.size(); ++k) {
      z[k] = (Min<V>(positive[k], up) - Min<V>(negative[k], down)) * shrink;
    }
  }

  // max over k of (the sum of the k largest of p, less tau) / k, at least 0.
  template <class V>
  JAXINTER_INLINE V Level(const V* p) const {
    V sorted[kRoom], sum = V{} - tau, level{};
    for (int k = 0; k < models.size(); ++k) sorted[k] = p[k];
    Sort<V>(sorted, models);
    for (int k = 0; k < models.size(); ++k) {
      sum += sorted[k];
      level = Max<V>(level, sum * (1.0 / (k + 1)));
    }
    return level;
  }
};

// By how much the dual ball of h must grow to hold one effect's lam: max over both signs and k of
// (the sum of the k largest of them) / (k + 1); one model: |lam|.
template <class V, int kModels>
JAXINTER_INLINE V Gauge(const V* lam, Models<kModels> models) {
  if (kModels == 1) return Abs<V>(lam[0]);
  V gauge{};
  for (const double sign : {1.0, -1.0}) {
    V sorted[Prox<kModels>::kRoom], sum{};
    for (int k = 0; k < models.size(); ++k) sorted[k] = Max<V>(lam[k] * sign, V{});
    Sort<V>(sorted, models);
    for (int k = 0; k < models.size(); ++k) {
      sum += sorted[k];
      gauge = Max<V>(gauge, sum * (1.0 / (k + 2)));
    }
  }
  return gauge;
}

// One sample of `models` tables of n players; kModels as in Models.
template <int kModels>
class Solver : Lattice {
 public:
  static constexpr bool kJoint = kModels != 1;

  Solver(int n, int models, bool boxed, Parallel& parallel)
      : Lattice(n, parallel),
        models_(models),
        boxed_(boxed),
        all_(models * size_),
        kappa_(Kappa(n)),
        rotations_(&RotationsOf(n)),
        schur_(boxed ? &HalfSchurOf(n) : nullptr),
        memory_(boxed ? 17 : 10, all_) {
    for (int block = 0; block < (boxed ? 3 : 2); ++block) {
      z_[block] = memory_.Take();
      anchor_[block] = memory_.Take();
    }
    for (double** vector : {&c_, &mu_, &k_mu_, &multiplier_, &best_.a, &sparsest_.a}) {
      *vector = memory_.Take();
    }
    for (double** vector : {&p_mu_, &clipped_, &k_clipped_, &best_.delta, &sparsest_.delta}) {
      if (boxed) *vector = memory_.Take();
    }
  }

  void Solve(const SparseProgram& program, const double* w, const double* zeta, const double* start,
             const Monitor& monitor, double* a, double* delta, double* y, double* dual, double* eps,
             std::int32_t* iterations) {
    Begin(program, w, zeta, start);
    for (;;) {
      Project();
      if (iterations_ >= program.max_iterations) {
        Certify();
        ChangePhase();
        break;
      }
      if (iterations_ % kCheckEvery == 0 && iterations_ > 0) {
        Certify();
        const bool moved = ChangePhase();
        if (done_ || monitor.Stopped()) break;
        const std::int64_t left = program.max_iterations - iterations_;
        if (const int steps = NewtonSteps(); steps > 0 && left > 0) {
          RunNewton(w, static_cast<int>(std::min<std::int64_t>(steps, left)), monitor);
          if (done_ || iterations_ >= program.max_iterations) break;
          Project();
        } else if (Restart() || moved) {
          Project();
        }
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
      double *table = y + k * size_, *from = multiplier_ + k * size_;
      if (from_ == Multiplier::kLam) {
        Transform(ComplementMobius(), from, table);
        for (Index i = 0; i < size_; ++i) table[i] = -table[i];
      } else {
        std::copy_n(from, size_, table);
      }
      table[0] = 0;
    }
    *dual = dual_;
    *eps = done_ || tie_break_ == 0 ? eps_ : std::numeric_limits<double>::quiet_NaN();
    *iterations = static_cast<std::int32_t>(iterations_);
  }

 private:
  enum class Multiplier { kY, kLam };  // lam: y is a transform away

  struct Split {
    double *a = nullptr, *delta = nullptr;
    double l1 = kInfinity, l2 = 0;
    double Objective(double eps) const { return l1 + eps / 2 * l2; }
  };

  // f(V{}, i) for the elements i of all models' tables. A vector must not span two of them.
  template <class F>
  void OverTables(const F& f) {
    for (int k = 0; k < models_; ++k) {
      Over(size_, [&](auto v, Index i, auto&) { f(v, k * size_ + i); });
    }
  }

  // x = prox(z) of block 0 or 1 (a or b), element i of the whole sample.
  template <class V>
  JAXINTER_INLINE V X(const double* z, Index i) const {
    V all[Prox<kModels>::kRoom] = {};
    const Index at = kJoint ? i & (size_ - 1) : i;
    for (int k = 0; k < prox_.models.size(); ++k) all[k] = Load<V>(z + k * size_ + at);
    prox_(all);
    return all[kJoint ? i >> n_ : 0];
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
    steps_.Forget();
    dual_ = 0, lower_ = -kInfinity;
    from_ = Multiplier::kY, newton_from_ = 0;
    for (int k = 0; k < models_; ++k) {
      zeta_[k] = zeta ? zeta[k] : 0;
      inner_[k] = InnerBox(zeta_[k], program.margin);
      double* c = c_ + k * size_;
      Transform(ComplementMobius(), w + k * size_, c);
      for (Index i = 0; i < size_; ++i) c[i] = -c[i];
      c[0] = 0;
      // The multiplier y of the full coalition alone: no split does without |w(full)|, less noise.
      const double full = w[(k + 1) * size_ - 1];
      std::fill_n(multiplier_ + k * size_, size_, 0.0);
      if (std::abs(full) > zeta_[k]) multiplier_[(k + 1) * size_ - 1] = std::copysign(1.0, full);
      dual_ += std::max(0.0, std::abs(full) - zeta_[k]);
    }
    SetStart(w, nullptr);
    bool useful = false;
    if (start) {
      const double limit = kWorstStart * best_.l1;
      SetStart(w, start);
      useful = best_.l1 <= limit;
      if (!useful) SetStart(w, nullptr);
    }
    sparsest_.l1 = kInfinity;
    tau_ = best_.l1 / all_ / 2;
    if (useful) StartMultiplier(w, start);
    for (int block = 0; block < (boxed_ ? 3 : 2); ++block) {
      std::copy_n(z_[block], all_, anchor_[block]);
    }
  }

  // z = x + tau times the multipliers that the start's y stands for, A^T y and y itself
  // (problem.py).
  void StartMultiplier(const double* w, const double* start) {
    double value = 0, unused = 0;
    for (int k = 0; k < models_; ++k) {
      const Index at = k * size_;
      const double* y = start + 3 * at + 2 * size_;
      double *superset = k_mu_ + at, *meets = mu_ + at;
      Transform(SupersetZeta(), y, superset);
      Transform(Zeta(), y, meets);
      std::reverse(meets, meets + size_);
      const double total = meets[0];
      for (Index i = 1; i < size_; ++i) {
        meets[i] = total - meets[i];
        value += w[at + i] * y[i] - zeta_[k] * std::abs(y[i]);
      }
      superset[0] = meets[0] = 0;
    }
    const double scale = std::max(1.0, LargestGauge(1, unused));
    if (!std::isfinite(value) || !(scale <= kWorstStart)) return;
    for (Index i = 0; i < all_; ++i) {
      const double y =
          i & (size_ - 1) ? start[(i >> n_) * 3 * size_ + 2 * size_ + (i & (size_ - 1))] : 0;
      z_[0][i] += tau_ * k_mu_[i];
      z_[1][i] += tau_ * mu_[i];
      if (boxed_) z_[2][i] += tau_ * kappa_ * y;
      if (value / scale > dual_) multiplier_[i] = y / scale;
    }
    dual_ = std::max(dual_, value / scale);
  }

  // z at a split, and the split as the best so far.
  void SetStart(const double* w, const double* start) {
    prox_ = {0, 1, {models_}};
    for (int k = 0; k < models_; ++k) {
      const Index at = k * size_;
      double *a = z_[0] + at, *b = z_[1] + at;
      if (start) {
        std::copy_n(start + 3 * at, size_, a);
      } else {
        Transform(Mobius(), w + at, a);
        for (Index i = 0; i < size_; ++i) a[i] *= 0.5;
      }
      a[0] = 0;
      Transform(AndToOr(), a, b);
      Over(size_, [&](auto v, Index i, auto&) {
        using U = decltype(v);
        Put(b + i, Load<U>(b + i) + Load<U>(c_ + at + i));
      });
      if (boxed_) {
        const double* given = start ? start + 3 * at + size_ : nullptr;
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
          Transform(ComplementMobius(), best_.delta + at, mu_ + at);
          Over(size_, [&](auto v, Index i, auto&) {
            using U = decltype(v);
            Put(b + i, Load<U>(b + i) + Load<U>(mu_ + at + i));
          });
        }
      }
      b[0] = 0;
    }
    std::copy_n(z_[0], all_, best_.a);
    const auto [l1, l2] =
        Strength([&](auto v, int block, Index i) { return Load<decltype(v)>(z_[block] + i); });
    best_.l1 = l1, best_.l2 = l2;
  }

  // The objective and the sum of squares of a candidate, f(V{}, block, i); entries 0 are 0.
  template <class F>
  std::pair<double, double> Strength(const F& f) {
    const auto totals = Over<2>(size_, [&](auto v, Index i, auto& totals) {
      using U = decltype(v);
      for (int block = 0; block < 2; ++block) {
        U top{}, bottom{};
        for (int k = 0; k < prox_.models.size(); ++k) {
          const U x = f(v, block, k * size_ + i);
          top = Max<U>(top, x), bottom = Min<U>(bottom, x);
          totals.sum[0] += Abs<U>(x), totals.sum[1] += x * x;
        }
        if (kJoint) totals.sum[0] += top - bottom;
      }
    });
    return {totals.sum[0], totals.sum[1]};
  }

  // mu, K^T mu and P mu of the nearest point of the graph to t = 2x - z.
  void Project() {
    prox_ = {tau_, 1 / (1 + tau_ * eps_), {models_}};
    for (int k = 0; k < models_; ++k) {
      const Index at = k * size_;
      double *mu = mu_ + at, *k_mu = k_mu_ + at;
      const double* c = c_ + at;
      TransformOf(AndToOr(), mu, [&](auto v, Index i) { return T<decltype(v)>(0, at + i); });
      if (boxed_) {
        double* p_mu = p_mu_ + at;
        const double box = Box(k);
        TransformOf(ComplementMobius(), p_mu,
                    [&](auto v, Index i) { return TBox<decltype(v)>(box, at + i); });
        Over(size_, [&](auto v, Index i, auto&) {
          using U = decltype(v);
          Put(mu + i,
              T<U>(1, at + i) - Load<U>(mu + i) - Load<U>(p_mu + i) * kappa_ - Load<U>(c + i));
        });
        mu[0] = 0;
        ApplyHalfSchur(*schur_, mu, k_mu, parallel_);
        Transform(ComplementMobius(), mu, p_mu);
        p_mu[0] = 0;
      } else {
        mu[0] = 0;
        TransformOf(RotationStep{kGolden}, mu, [&](auto v, Index i) {
          using U = decltype(v);
          return T<U>(1, at + i) - Load<U>(mu + i) - Load<U>(c + i);
        });
        RotateBack(mu);
      }
      Transform(AndToOrTransposed(), mu, k_mu);
    }
  }

  // The rest of (1 + K K^T)^-1 of what RotationStep{kGolden} made of a vector.
  void RotateBack(double* mu) {
    const double *inverse = rotations_->inverse.data(), *empty = rotations_->empty.data();
    TransformOf(RotationStep{-kGolden}, mu, [&](auto v, Index i) {
      using U = decltype(v);
      return Load<U>(mu + i) * Load<U>(inverse + i);
    });
    const double at_empty = mu[0];
    Over(size_, [&](auto v, Index i, auto&) {
      using U = decltype(v);
      Put(mu + i, Load<U>(mu + i) - Load<U>(empty + i) * at_empty);
    });
    mu[0] = 0;
  }

  // z <- anchor / (k + 2) + (k + 1) / (k + 2) (z + 2 (y - x)).
  void Update() {
    const double pull = 1.0 / (k_ + 2), keep = 1 - pull;
    // t + 2 (y - t): the reflected reflection.
    const auto move = [&](auto t, const auto& step, const double* anchor, double* z) {
      using U = decltype(t);
      Put(z, Load<U>(anchor) * pull + (t + step * 2.0) * keep);
    };
    Over(size_, [&](auto v, Index i, auto&) {
      using U = decltype(v);
      for (int block = 0; block < 2; ++block) {
        U x[Prox<kModels>::kRoom];
        const int models = prox_.models.size();
        for (int k = 0; k < models; ++k) x[k] = Load<U>(z_[block] + k * size_ + i);
        prox_(x);
        for (int k = 0; k < models; ++k) {
          const Index at = k * size_ + i;
          const U step = block ? -Load<U>(mu_ + at) : Load<U>(k_mu_ + at);
          move(U(x[k] * 2.0 - Load<U>(z_[block] + at)), step, anchor_[block] + at, z_[block] + at);
        }
      }
    });
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
    // The residual is y's, clipped into its box; the effects take what clipping took, each as
    // little as the graph allows: (1 + K K^T)^-1 of it goes to the OR effects, the rest to the AND
    // effects.
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
      Transform(ComplementMobius(), taken, taken);
      taken[0] = 0;
      Transform(RotationStep{kGolden}, taken, taken);
      RotateBack(taken);
      Transform(AndToOrTransposed(), taken, k_clipped_ + k * size_);
    }
    const auto a_of = [&](auto v, Index i) {
      using U = decltype(v);
      const U a = T<U>(0, i) + Load<U>(k_mu_ + i);
      return boxed_ ? U(a - Load<U>(k_clipped_ + i)) : a;
    };
    const auto [l1, l2] = Strength([&](auto v, int block, Index i) {
      using U = decltype(v);
      if (block == 0) return a_of(v, i);
      const U b = T<U>(1, i) - Load<U>(mu_ + i);
      return boxed_ ? U(b + Load<U>(clipped_ + i)) : b;
    });
    Keep(l1, l2, [&](Split& split) {
      OverTables([&](auto v, Index i) { Put(split.a + i, a_of(v, i)); });
      for (int k = 0; boxed_ && k < models_; ++k) {
        const double box = Box(k);
        const Index at = k * size_;
        Over(size_, [&](auto v, Index i, auto&) {
          using U = decltype(v);
          Put(split.delta + at + i, U(Clip<U>(y_box(v, box, at + i), U{} + box) * kappa_));
        });
        split.delta[at] = 0;
      }
    });
    Bound();
  }

  // Has `write` write a candidate of this strength where it is the best of the phase, and where it
  // is the sparsest of all.
  template <class Write>
  void Keep(double l1, double l2, const Write& write) {
    const auto into = [&](Split& split) {
      split.l1 = l1, split.l2 = l2;
      write(split);
    };
    if (l1 + eps_ / 2 * l2 < best_.Objective(eps_)) into(best_);
    if (eps_ > 0 && l1 < sparsest_.l1) into(sparsest_);
  }

  // Keeps the bounds of a multiplier: its value, its gauge, its squared distance from the dual
  // ball; `factor` times `direction` is it, as `from` says, before it is scaled into the ball.
  void KeepBound(double value, double gauge, double outside, Multiplier from, double factor,
                 const double* direction) {
    const double scale = std::max(1.0, gauge);
    if (value / scale > dual_) {
      dual_ = value / scale, from_ = from;
      OverTables([&](auto v, Index i) {
        Put(multiplier_ + i, Load<decltype(v)>(direction + i) * (factor / scale));
      });
    }
    lower_ = eps_ > 0 ? std::max(lower_, value - outside / (2 * eps_)) : dual_;
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
    double outside = 0;
    const double gauge = LargestGauge(unit, outside);
    if (boxed_) {
      KeepBound(value, gauge, outside, Multiplier::kY, unit, p_mu_);
    } else {
      KeepBound(value, gauge, outside, Multiplier::kLam, -unit, mu_);
    }
  }

  // The gauge of unit times mu_ and k_mu_, and their squared distance from the dual ball.
  double LargestGauge(double unit, double& outside) {
    const auto ball = Over<1, 1>(size_, [&](auto v, Index i, auto& totals) {
      using U = decltype(v);
      for (const double* vector : {mu_, k_mu_}) {
        U lam[Prox<kModels>::kRoom];
        const Models<kModels> models = prox_.models;
        for (int k = 0; k < models.size(); ++k) lam[k] = Load<U>(vector + k * size_ + i) * unit;
        totals.max[0] = Max<U>(totals.max[0], Gauge(lam, models));
        // What prox takes lam to is how far it lies outside the dual ball.
        Prox<kModels>{1, 1, models}(lam);
        for (int k = 0; k < models.size(); ++k) totals.sum[0] += lam[k] * lam[k];
      }
    });
    outside = ball.sum[0];
    return ball.max[0];
  }

  bool Proven(const Split& split) const { return split.l1 - dual_ <= tol_ * split.l1; }

  // How many Newton steps this sample is worth now; 0: it is better off without.
  //
  // Measured, n = 10 to 14: to divide its gap by g the first-order method takes g^0.43 times the
  // iterations so far, the tie-break 2.5 times that, at 4.2 ns an element; a Newton step takes
  // 1.6 ns an entry of |J|^2, J the effects of the point, and there are some 20 to a digit.
  int NewtonSteps() {
    if (kJoint || !boxed_ || n_ < 8 ||
        iterations_ < std::max<std::int64_t>(100 * (n_ - 8), newton_from_))
      return 0;
    const double upper = best_.Objective(eps_), gap = (upper - lower_) / upper;
    if (!(gap < 0.05)) return 0;
    const double digits = std::max(0.0, std::log10(gap / (Share() * tol_)));
    const bool choice_ahead = tie_break_ > 0;
    const double more = std::pow(10, 0.43 * digits) * (choice_ahead ? 2.5 : 1) - 1;
    const double first_order = 4.2 * static_cast<double>(size_) * iterations_ * more;
    const auto active = Over<1>(size_, [&](auto v, Index i, auto& totals) {
                          using U = decltype(v);
                          for (int block = 0; block < 2; ++block) {
                            // 1 where |z| > tau, by way of the clipped excess
                            const U excess = Abs<U>(Load<U>(z_[block] + i)) - tau_;
                            totals.sum[0] += Min<U>(Max<U>(excess * 1e300, U{}), U{} + 1.0);
                          }
                        }).sum[0];
    const double steps = 40 + 20 * digits + (choice_ahead ? 40 : 0);
    if (active > Newton::kMostEffects || 1.6 * active * active * steps > 0.7 * first_order)
      return 0;
    return static_cast<int>(3 * steps);
  }

  // Both phases by Newton's method from this point, as far as it gets in `most` steps.
  void RunNewton(const double* w, int most, const Monitor& monitor) {
    Newton newton(n_, parallel_);
    for (int block = 0; block < 2; ++block) {
      Over(size_, [&](auto v, Index i, auto&) {
        Put(newton.x_[block] + i, X<decltype(v)>(z_[block], i));
      });
    }
    const double box = Box(0);
    Over(size_, [&](auto v, Index i, auto&) {
      using U = decltype(v);
      Put(newton.delta_ + i, U(XBox<U>(z_[2], box, i) * kappa_));
      Put(newton.y + i, U(Load<U>(p_mu_ + i) * (1 / tau_)));
    });
    const auto certify = [&] { return CertifyNewton(newton, w) || monitor.Stopped(); };
    while (!done_ && newton.Run(w, inner_[0], eps_, tau_, most - newton.steps, certify)) {
      if (monitor.Stopped()) break;
      ChangePhase();
    }
    iterations_ += newton.steps;
    newton_from_ = 4 * iterations_;
  }

  // As Certify: the residual that clipping leaves is shared among the effects, by the least change.
  bool CertifyNewton(Newton& newton, const double* w) {
    double *delta = clipped_, *mu = mu_, *k_mu = k_mu_;
    newton.Values(newton.next_[0], newton.next_[1], delta);
    const double inner = inner_[0];
    Over(size_, [&](auto v, Index i, auto&) {
      using U = decltype(v);
      Put(delta + i, Clip<U>(Load<U>(w + i) - Load<U>(delta + i), U{} + inner));
    });
    delta[0] = 0;
    Transform(AndToOr(), newton.next_[0], mu);
    Transform(ComplementMobius(), delta, k_mu);
    Over(size_, [&](auto v, Index i, auto&) {
      using U = decltype(v);
      Put(mu + i,
          U(Load<U>(newton.next_[1] + i) - Load<U>(mu + i) - Load<U>(k_mu + i) - Load<U>(c_ + i)));
    });
    mu[0] = 0;
    Transform(RotationStep{kGolden}, mu, mu);
    RotateBack(mu);
    Transform(AndToOrTransposed(), mu, k_mu);
    const auto [l1, l2] = Strength([&](auto v, int block, Index i) {
      using U = decltype(v);
      const U x = Load<U>(newton.next_[block] + i);
      return block ? U(x - Load<U>(mu + i)) : U(x + Load<U>(k_mu + i));
    });
    Keep(l1, l2, [&](Split& split) {
      Over(size_, [&](auto v, Index i, auto&) {
        using U = decltype(v);
        Put(split.a + i, U(Load<U>(newton.next_[0] + i) + Load<U>(k_mu + i)));
      });
      std::copy_n(delta, size_, split.delta);
    });
    const auto totals = Over<3, 1>(size_, [&](auto v, Index i, auto& totals) {
      using U = decltype(v);
      const U y = Load<U>(newton.y + i);
      totals.sum[0] += y * Load<U>(w + i);
      totals.sum[1] += Abs<U>(y);
      for (int block = 0; block < 2; ++block) {
        const U lam = Abs<U>(Load<U>(newton.u_[block] + i));
        const U outside = Max<U>(lam - 1.0, U{});
        totals.max[0] = Max<U>(totals.max[0], lam);
        totals.sum[2] += outside * outside;
      }
    });
    const double value = totals.sum[0] - zeta_[0] * totals.sum[1];
    KeepBound(value, totals.max[0], totals.sum[2], Multiplier::kY, 1, newton.y);
    return Closed();
  }

  bool Closed() const {
    const double upper = best_.Objective(eps_);
    return upper - lower_ <= Share() * tol_ * upper;
  }

  // Of the tolerance, at which this phase ends.
  double Share() const { return PhaseShare(eps_, tie_break_); }

  // Phase 1 to phase 2, phase 2 with half the eps, or done. Returns whether z moved.
  bool ChangePhase() {
    if (!Closed()) return false;
    if (tie_break_ == 0 || (eps_ > 0 && Proven(best_))) {
      done_ = true;
      return false;
    }
    if (eps_ == 0) {
      sparsest_.l1 = best_.l1, sparsest_.l2 = best_.l2;
      std::copy_n(best_.a, all_, sparsest_.a);
      if (boxed_) std::copy_n(best_.delta, all_, sparsest_.delta);
    }
    const double eps = NextEps(eps_, tie_break_);
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
    k_ = 0, steps_.Forget();
    eps_ = eps, lower_ = -kInfinity, phase_began_ = iterations_;
    prox_ = {tau_, 1 / (1 + tau_ * eps_), {models_}};
    return true;
  }

  // Moves the anchor, and balances tau, where the step |y - x| says so. Returns whether z moved.
  bool Restart() {
    const auto ran = static_cast<double>(iterations_ - phase_began_);
    if (!steps_.Restarts(StepSize(), static_cast<double>(k_), ran)) return false;
    double moved = 0, multiplier_moved = 0;
    ForBlocks(
        [&](auto v, int block, double box, Index i, auto& totals) {
          using U = decltype(v);
          const U z = Load<U>(z_[block] + i), anchor = Load<U>(anchor_[block] + i);
          const U x = block < 2 ? X<U>(z_[block], i) : XBox<U>(z_[2], box, i);
          const U at = block < 2 ? X<U>(anchor_[block], i) : XBox<U>(anchor_[2], box, i);
          const U dx = x - at, dm = (z - x) - (anchor - at);
          totals.sum[0] += dx * dx, totals.sum[1] += dm * dm;
        },
        moved, multiplier_moved);
    const double factor = TauFactor(moved, multiplier_moved);
    double unused = 0;
    ForBlocks(
        [&](auto v, int block, double box, Index i, auto&) {
          using U = decltype(v);
          const U z = Load<U>(z_[block] + i);
          const U x = block < 2 ? X<U>(z_[block], i) : XBox<U>(z_[2], box, i);
          Put(anchor_[block] + i, U(x + (z - x) * factor));
        },
        unused, unused);
    for (int block = 0; block < (boxed_ ? 3 : 2); ++block) {
      std::copy_n(anchor_[block], all_, z_[block]);
    }
    tau_ *= factor, k_ = 0, steps_.first = kInfinity;
    return true;
  }

  // |y - x|.
  double StepSize() {
    double square = 0, unused = 0;
    ForBlocks(
        [&](auto v, int block, double box, Index i, auto& totals) {
          using U = decltype(v);
          const U x = block < 2 ? X<U>(z_[block], i) : XBox<U>(z_[2], box, i);
          const U step = block == 0   ? Load<U>(k_mu_ + i)
                         : block == 1 ? -Load<U>(mu_ + i)
                                      : Load<U>(p_mu_ + i) * kappa_;
          const U difference = x - Load<U>(z_[block] + i) + step;
          totals.sum[0] += difference * difference;
        },
        square, unused);
    return std::sqrt(square);
  }

  // f(V{}, block, box, i, totals) for all blocks of all models; adds up two sums.
  template <class F>
  void ForBlocks(const F& f, double& first, double& second) {
    for (int block = 0; block < (boxed_ ? 3 : 2); ++block) {
      for (int k = 0; k < models_; ++k) {
        const double box = boxed_ ? Box(k) : 0;
        const auto totals = Over<2>(
            size_, [&](auto v, Index i, auto& totals) { f(v, block, box, k * size_ + i, totals); });
        first += totals.sum[0], second += totals.sum[1];
      }
    }
  }

  const int models_;
  const bool boxed_;
  const Index all_;  // entries of all models' tables
  const double kappa_;
  const Rotations* const rotations_;
  const HalfSchur* const schur_;

  Memory memory_;
  // Blocks a, b and d = delta / kappa of z and its anchor; the rest as in the head of this file.
  double *z_[3] = {}, *anchor_[3] = {};
  double *c_, *mu_, *k_mu_, *p_mu_ = nullptr, *clipped_ = nullptr, *k_clipped_ = nullptr;
  double* multiplier_;  // behind dual_: y, or lam where y is a transform away
  Multiplier from_;
  Split best_, sparsest_;  // of this phase by its objective; of all by l1

  double zeta_[kMaxModels], inner_[kMaxModels];
  double tol_, tie_break_, eps_, tau_;
  Prox<kModels> prox_;
  double dual_, lower_;  // bounds on the optimum, and on this phase's objective
  StepSizes steps_;
  std::int64_t k_, iterations_, phase_began_;
  std::int64_t newton_from_;  // iterations before the next attempt
  bool done_;
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

template <int kModels>
void SolveGroup(const SparseProgram& program, const SparseSplit& split, const Monitor& monitor,
                Index group, Parallel& parallel) {
  const int n = program.n_players, models = program.models;
  const Index size = Index{1} << n, all = models * size;
  const double* w = program.w + group * all;
  const double* zeta = program.zeta ? program.zeta + group * models : nullptr;
  const double* start = program.start ? program.start + 3 * group * all : nullptr;
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
    OneThread alone;  // what is left of a large game may be small
    Parallel& threads = players < kThreadedPlayers ? alone : parallel;
    Solver<kModels> solver(players, models, zeta != nullptr, threads);
    solver.Solve(program, tables, zeta, begin, monitor, effects, residual, gradient, dual, eps,
                 iterations);
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
  const std::vector<double> tables = gather(w, models), begin = gather(start, 3 * models);
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

bool SparseSplits(const SparseProgram& program, const SparseSplit& split, const Monitor& monitor,
                  Parallel& parallel) {
  const auto solver = program.models == 1   ? SolveGroup<1>
                      : program.models == 2 ? SolveGroup<2>
                                            : SolveGroup<0>;
  std::atomic<bool> enough{true};  // memory; an exception may not leave a thread
  const auto solve = [&](Index group, Parallel& threads) {
    if (!enough || monitor.Stopped()) return;
    try {
      solver(program, split, monitor, group, threads);
    } catch (const std::bad_alloc&) {
      enough = false;
    }
    if (monitor.done) __atomic_add_fetch(monitor.done, 1, __ATOMIC_RELAXED);
  };
  if (program.n_players >= kThreadedPlayers && program.groups < parallel.threads()) {
    for (Index group = 0; group < program.groups; ++group) solve(group, parallel);
  } else {
    parallel.For(program.groups, [&](Index group) {
      OneThread alone;
      solve(group, alone);
    });
  }
  return enough;
}

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter
