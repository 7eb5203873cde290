// SPDX-License-Identifier: Apache-2.0
// Semismooth Newton for the split with noise of one model: high accuracy where the first-order
// method of sparse_cpu.cc grows slow. Included by files compiled once for each SIMD level.
//
// The dual in the value domain (problem.py), in units of max |w|, is
//     max  <w, y> - zeta |y|_1 - dist(A^T y, dual ball)^2 / (2 eps),
// A x the values that effects x = (a, b) add up to. It is solved by the proximal method of
// multipliers: x and delta are the multipliers of A^T y and of y; for a penalty s each step
// minimises
//     Phi(y) = -<w, y> + |soft(x + s A^T y, s)|^2 / (2 s (1 + s eps))
//              + sum huber_zeta(delta + s y) / s + |y - y0|^2 / (2 rho s),
// which is piecewise quadratic, and then takes x and delta from its two shrunken arguments. With J
// the effects above the threshold s, and D one number for residuals within their bound and another
// for those at it, Newton's matrix is D + s' A_J A_J^T: by Woodbury's identity a system of the size
// of J, of the explanation and not of 2^n,
//     M = 1 / s' + A_J^T D^-1 A_J,      s' = s / (1 + s eps).
// A_J^T A_J is known in closed form, and over the few residuals at their bound it is a count of
// common ones, by words of 64. M is factorized anew where s changes; in between a few effects enter
// and leave J (a row more, a row less) and a few residuals reach and leave their bound (a matrix of
// rank 1 more or less), and the factor follows at |J|^2 a change. What that loses to rounding a few
// conjugate gradients bring back, with the factor as preconditioner.
#ifndef JAXINTER_SPARSE_NEWTON_H_
#define JAXINTER_SPARSE_NEWTON_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <vector>

#include "sparse_passes.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

// M = R^T R for a positive definite matrix, R upper triangular, which follows small changes of M.
// Entries have slots; a slot that was dropped stays, as a row and column of the unit matrix.
class Factor {
 public:
  Factor() = default;
  explicit Factor(Index slots)
      : slots_(slots),
        stride_(CeilDiv(slots + slots / 4 + 32, kTile * 4) * kTile * 4),
        r_(stride_ * stride_) {}

  Index slots() const { return slots_; }
  // M itself, below the diagonal, until Factorize.
  double* Lower(Index i) { return r_.data() + i * stride_; }

  // False where M is not positive definite, to rounding.
  bool Factorize() {
    const Index padded = CeilDiv(slots_, kTile) * kTile;
    for (Index i = slots_; i < padded; ++i) Lower(i)[i] = 1;
    for (Index i = 0; i < padded; i += kTile) {
      for (Index j = 0; j <= i; j += kTile) {
        double tile[kTile][kTile];
        Products(Lower(i), Lower(j), j, tile);
        for (Index r = 0; r < kTile; ++r) {
          for (Index c = 0; c < (i == j ? r + 1 : kTile); ++c) {
            double x = Lower(i + r)[j + c] - tile[r][c];
            for (Index k = 0; k < c; ++k) x -= Lower(i + r)[j + k] * Lower(j + c)[j + k];
            if (i == j && r == c) {
              if (!(x > 0)) return false;
              Lower(i + r)[j + c] = std::sqrt(x);
            } else {
              Lower(i + r)[j + c] = x / Lower(j + c)[j + c];
            }
          }
        }
      }
    }
    // Rows of R are what Solve and the changes go along.
    for (Index i = 0; i < slots_; ++i) {
      for (Index j = i + 1; j < slots_; ++j) R(i)[j] = R(j)[i];
    }
    return true;
  }

  // x <- M^-1 x.
  void Solve(std::vector<double>& x) const {
    for (Index k = 0; k < slots_; ++k) {
      const double* row = R(k);
      const double value = x[k] /= row[k];
      if (value == 0) continue;
      for (Index i = k + 1; i < slots_; ++i) x[i] -= value * row[i];
    }
    for (Index k = slots_ - 1; k >= 0; --k) {
      const double* row = R(k);
      x[k] = (x[k] - Dot(row + k + 1, x.data() + k + 1, slots_ - k - 1)) / row[k];
    }
  }

  // M <- M + sign x x^T; x [slots] is used up. False where rounding does not allow it.
  bool Add(double sign, std::vector<double>& x, Index first = 0) {
    for (Index k = first; k < slots_; ++k) {
      if (x[k] == 0) continue;
      double* row = R(k);
      const double square = row[k] * row[k] + sign * x[k] * x[k];
      if (!(square > 1e-10 * row[k] * row[k])) return false;
      const double root = std::sqrt(square), c = root / row[k], s = x[k] / row[k];
      row[k] = root;
      const double s_signed = sign * s, inverse = 1 / c;
      for (Index i = k + 1; i < slots_; ++i) {
        row[i] = (row[i] + s_signed * x[i]) * inverse;
        x[i] = c * x[i] - s * row[i];
      }
    }
    return true;
  }

  // Without the entry of a slot.
  void Drop(Index slot) {
    std::vector<double> x(slots_);
    std::copy(R(slot) + slot + 1, R(slot) + slots_, x.begin() + slot + 1);
    std::fill(R(slot) + slot, R(slot) + slots_, 0.0);
    for (Index k = 0; k < slot; ++k) R(k)[slot] = 0;
    R(slot)[slot] = 1;
    Add(1, x, slot + 1);
  }

  // With one entry more, in a new slot: its row of M, [slots + 1], is used up. False where there is
  // no room, or rounding does not allow it.
  bool Append(std::vector<double>& row) {
    if (slots_ == stride_) return false;
    const double diagonal = row[slots_];
    double left = diagonal;
    for (Index k = 0; k < slots_; ++k) {
      const double value = row[k] /= R(k)[k];
      if (value == 0) continue;
      for (Index i = k + 1; i < slots_; ++i) row[i] -= value * R(k)[i];
      left -= value * value;
    }
    if (!(left > 1e-10 * diagonal)) return false;
    for (Index k = 0; k < slots_; ++k) R(k)[slots_] = row[k];
    R(slots_)[slots_] = std::sqrt(left);
    ++slots_;
    return true;
  }

 private:
  static constexpr Index kTile = 4;

  double* R(Index i) { return r_.data() + i * stride_; }
  const double* R(Index i) const { return r_.data() + i * stride_; }

  static double Dot(const double* x, const double* y, Index size) {
    constexpr Index kLanes = Simd<double>::kLanes;
    Doubles sum{}, more{};
    Index i = 0;
    for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
      sum += Load<Doubles>(x + i) * Load<Doubles>(y + i);
      more += Load<Doubles>(x + i + kLanes) * Load<Doubles>(y + i + kLanes);
    }
    double total = 0;
    for (Index lane = 0; lane < kLanes; ++lane) total += sum[lane] + more[lane];
    for (; i < size; ++i) total += x[i] * y[i];
    return total;
  }

  // Inner products of the first `size` entries (whole tiles) of kTile rows with those of others.
  void Products(const double* x, const double* y, Index size, double (&tile)[kTile][kTile]) const {
    constexpr Index kLanes = Simd<double>::kLanes;
    Doubles sum[kTile][kTile] = {};
    Index k = 0;
    for (; k + kLanes <= size; k += kLanes) {
      Doubles left[kTile];
#pragma GCC unroll 4
      for (Index r = 0; r < kTile; ++r) left[r] = Load<Doubles>(x + r * stride_ + k);
#pragma GCC unroll 4
      for (Index c = 0; c < kTile; ++c) {
        const Doubles right = Load<Doubles>(y + c * stride_ + k);
#pragma GCC unroll 4
        for (Index r = 0; r < kTile; ++r) sum[r][c] += left[r] * right;
      }
    }
    for (Index r = 0; r < kTile; ++r) {
      for (Index c = 0; c < kTile; ++c) {
        double total = 0;
        for (Index lane = 0; lane < kLanes; ++lane) total += sum[r][c][lane];
        for (Index i = k; i < size; ++i) total += x[r * stride_ + i] * y[c * stride_ + i];
        tile[r][c] = total;
      }
    }
  }

  Index slots_ = 0, stride_ = 0;
  std::vector<double> r_;
};

class Newton : Lattice {
 public:
  // Effects above which a factor costs more than it saves.
  static constexpr Index kMostEffects = 1600;
  // 64 MB of words that tell which effects are at work in which residuals at their bound.
  static constexpr Index kMostWords = 8 << 20;

  Newton(int n, Parallel& parallel) : Lattice(n, parallel), memory_(18, size_) {
    for (double** vector : {&x_[0], &x_[1], &next_[0], &next_[1], &y, &y0_, &u_[0], &u_[1], &delta_,
                            &next_delta_, &gradient_, &step_, &u_step_[0], &u_step_[1], &inverse_,
                            &work_[0], &work_[1], &work_[2]}) {
      *vector = memory_.Take();
    }
  }

  double *x_[2], *delta_;  // effects and residual to begin from, and what was reached
  double* y;               // the multiplier, likewise
  double* next_[2];        // the effects that belong to y
  double* u_[2];           // A^T y
  int steps = 0;

  // Goes on until certify(), called now and then at (next_, y, u_), says so: true. False where it
  // does not get there in `most` steps, or the explanation is too large.
  template <class Certify>
  bool Run(const double* w, double zeta, double eps, double tau, int most, const Certify& certify) {
    w_ = w, zeta_ = zeta, eps_ = eps;
    factor_ = Factor();
    s_ = 30 * tau;
    double most_growth = 5;
    y[0] = delta_[0] = x_[0][0] = x_[1][0] = 0;
    Transposed(y, u_);
    for (const int last = steps + most; steps < last;) {
      std::copy_n(y, size_, y0_);
      double norm = Gradient(), moved = moved_;
      if (!std::isfinite(norm)) return false;
      int inner = 0;
      bool stuck = false;
      while (norm > 0.01 * moved && inner < 40 && steps < last && !stuck) {
        if (static_cast<Index>(effects_.size()) > kMostEffects || !Direction()) return false;
        stuck = !Search();
        norm = Gradient(), moved = moved_;
        ++inner, ++steps;
        if (inner % 5 == 0 && certify()) return true;
      }
      if (norm > 0.3 * moved) {  // far from a minimum: without this it may run away
        std::copy_n(y0_, size_, y);
        Transposed(y, u_);
        s_ /= 4, most_growth = 2;
        if (s_ < 1e-3 * tau) return false;
        continue;
      }
      for (int block = 0; block < 2; ++block) std::copy_n(next_[block], size_, x_[block]);
      std::copy_n(next_delta_, size_, delta_);
      if (certify()) return true;
      if ((stuck && inner == 1) || !std::isfinite(norm)) return false;
      if (inner == 0) ++steps;
      s_ *= std::min(most_growth, inner <= 6 ? 4.8 : inner <= 15 ? 3.0 : 2.0);
      s_ = std::min(s_, 1e5 * tau);
      most_growth = std::min(5.0, 1.4 * most_growth);
    }
    return false;
  }

  // out = A (a, b): zeta of a, and of b all that meets.
  void Values(const double* a, const double* b, double* out) {
    Transform(Zeta(), a, out);
    Transform(Zeta(), b, work_[2]);
    const double* missed = work_[2];
    const double total = missed[size_ - 1];
    for (Index i = 0; i < size_; ++i) out[i] += total - missed[size_ - 1 - i];
    out[0] = 0;
  }

  // out = A^T y: of each S, the sum of y over its supersets, and over all that it meets.
  void Transposed(const double* from, double* const (&out)[2]) {
    Transform(SupersetZeta(), from, out[0]);
    Transform(Zeta(), from, work_[2]);
    const double* within = work_[2];
    const double total = within[size_ - 1];
    for (Index i = 0; i < size_; ++i) out[1][i] = total - within[size_ - 1 - i];
    out[0][0] = out[1][0] = 0;
  }

 private:
  static constexpr double kRho = 1e3;  // of the proximal term; 100 was up to twice slower

  double Shrink() const { return 1 / (1 + s_ * eps_); }
  // D^-1 of a residual within its bound, and of one at it.
  double Inside() const { return 1 / (s_ + 1 / (kRho * s_)); }
  double AtBound() const { return kRho * s_; }

  // next_, next_delta_, the active sets and the gradient of Phi at y; its norm. moved_: how far
  // next is from x and delta.
  double Gradient() {
    const double s = s_, shrink = Shrink();
    effects_.clear();
    double moved = 0;
    for (int block = 0; block < 2; ++block) {
      moved += Over<1>(size_, [&](auto v, Index i, auto& totals) {
                 using U = decltype(v);
                 const U t = Load<U>(x_[block] + i) + Load<U>(u_[block] + i) * s;
                 const U soft = (t - Clip<U>(t, U{} + s)) * shrink;
                 const U difference = soft - Load<U>(x_[block] + i);
                 totals.sum[0] += difference * difference;
                 Put(next_[block] + i, soft);
               }).sum[0];
      for (Index i = 1; i < size_; ++i) {
        if (next_[block][i] != 0) effects_.push_back(block * size_ + i);
      }
    }
    Values(next_[0], next_[1], gradient_);
    const double pull = 1 / (kRho * s_);
    bound_.clear();
    const double inside = Inside(), at_bound = AtBound();
    double square = 0;
    for (Index i = 1; i < size_; ++i) {
      const double t = delta_[i] + s * y[i], clipped = std::min(std::max(t, -zeta_), zeta_);
      const bool bound = std::abs(t) >= zeta_;
      if (bound) bound_.push_back(i);
      inverse_[i] = bound ? at_bound : inside;
      next_delta_[i] = clipped;
      moved += (clipped - delta_[i]) * (clipped - delta_[i]);
      gradient_[i] += clipped - w_[i] + (y[i] - y0_[i]) * pull;
      square += gradient_[i] * gradient_[i];
    }
    gradient_[0] = next_delta_[0] = inverse_[0] = 0;
    moved_ = std::sqrt(moved);
    return std::sqrt(square);
  }

  // Phi at y + length * step.
  double Phi(double length) {
    const double s = s_, zeta = zeta_;
    const auto totals = Over<3>(size_, [&](auto v, Index i, auto& totals) {
      using U = decltype(v);
      for (int block = 0; block < 2; ++block) {
        const U u = Load<U>(u_[block] + i) + Load<U>(u_step_[block] + i) * length;
        const U soft = Max<U>(Abs<U>(Load<U>(x_[block] + i) + u * s) - s, U{});
        totals.sum[0] += soft * soft;
      }
      const U at = Load<U>(y + i) + Load<U>(step_ + i) * length, away = at - Load<U>(y0_ + i);
      const U t = Load<U>(delta_ + i) + at * s, clipped = Clip<U>(t, U{} + zeta);
      totals.sum[1] += (t - clipped * 0.5) * clipped * (1 / s) - Load<U>(w_ + i) * at;
      totals.sum[2] += away * away;
    });
    return totals.sum[0] * Shrink() / (2 * s) + totals.sum[1] + totals.sum[2] / (2 * kRho * s);
  }

  // step_ = -(D + s' A_J A_J^T)^-1 gradient. False where it cannot be solved.
  bool Direction() {
    const Index count = static_cast<Index>(effects_.size());
    std::vector<double> solution(count);
    if (count > 0) {
      Weighted(gradient_, u_step_[0]);
      if (!SolveM(Gather(u_step_[0]), solution)) return false;
    }
    Scatter(solution);
    Values(work_[0], work_[1], step_);
    for (Index i = 0; i < size_; ++i) step_[i] = inverse_[i] * (step_[i] - gradient_[i]);
    Transposed(step_, u_step_);
    return true;
  }

  // y moves along the step as far as Phi falls. False where it does not.
  bool Search() {
    double slope = 0;
    for (Index i = 0; i < size_; ++i) slope += gradient_[i] * step_[i];
    const double begin = Phi(0), rounding = 1e-14 * std::abs(begin);
    for (double length = 1; length > 1e-6; length /= 2) {
      if (!(Phi(length) <= begin + 1e-4 * length * slope + rounding)) continue;
      for (Index i = 0; i < size_; ++i) {
        y[i] += length * step_[i];
        u_[0][i] += length * u_step_[0][i];
        u_[1][i] += length * u_step_[1][i];
      }
      return true;
    }
    return false;
  }

  void Weighted(const double* from, double* to) const {
    for (Index i = 0; i < size_; ++i) to[i] = inverse_[i] * from[i];
  }

  // A_J^T from, which is none of the first two of work_.
  std::vector<double> Gather(const double* from) {
    double* const both[2] = {work_[0], work_[1]};
    Transposed(from, both);
    std::vector<double> to(effects_.size());
    for (std::size_t j = 0; j < to.size(); ++j) {
      to[j] = both[effects_[j] >> n_][effects_[j] & (size_ - 1)];
    }
    return to;
  }

  // work_[0], work_[1] = the effects of J, zero elsewhere.
  void Scatter(const std::vector<double>& from) {
    std::fill_n(work_[0], size_, 0.0);
    std::fill_n(work_[1], size_, 0.0);
    for (std::size_t j = 0; j < from.size(); ++j) {
      work_[effects_[j] >> n_][effects_[j] & (size_ - 1)] = from[j];
    }
  }

  // M p, M = 1 / s' + A_J^T D^-1 A_J.
  std::vector<double> MultiplyM(const std::vector<double>& p) {
    Scatter(p);
    Values(work_[0], work_[1], step_);  // neither step is in use before the solution is there
    Weighted(step_, u_step_[0]);
    std::vector<double> out = Gather(u_step_[0]);
    const double diagonal = 1 / (s_ * Shrink());
    for (std::size_t j = 0; j < out.size(); ++j) out[j] += diagonal * p[j];
    return out;
  }

  // By the factor, and conjugate gradients for what its changes lost to rounding.
  bool SolveM(const std::vector<double>& right, std::vector<double>& solution) {
    constexpr int kMostIterations = 8;
    constexpr double kAccuracy = 1e-9;
    bool fresh = false;
    if (factor_.slots() == 0 || factor_s_ != s_ || !Follow()) {
      if (!MakeFactor()) return false;
      fresh = true;
    }
    const double first = Dot(right, right);
    for (;;) {
      std::fill(solution.begin(), solution.end(), 0.0);
      std::vector<double> residual = right, z = Precondition(residual), p = z;
      double energy = Dot(residual, z);
      for (int iteration = 0; iteration < kMostIterations; ++iteration) {
        const std::vector<double> m_p = MultiplyM(p);
        const double curvature = Dot(p, m_p);
        if (!(curvature > 0)) break;
        const double length = energy / curvature;
        for (std::size_t j = 0; j < p.size(); ++j) {
          solution[j] += length * p[j];
          residual[j] -= length * m_p[j];
        }
        if (Dot(residual, residual) <= kAccuracy * kAccuracy * first) return true;
        z = Precondition(residual);
        const double next = Dot(residual, z);
        for (std::size_t j = 0; j < p.size(); ++j) p[j] = z[j] + next / energy * p[j];
        energy = next;
      }
      if (fresh) return true;  // all that rounding allows: the line search tells if it is of use
      if (!MakeFactor()) return false;
      fresh = true;
    }
  }

  // The factor follows the sets from when it was made or last followed. False: make it anew.
  bool Follow() {
    std::vector<Index> left, entered;
    std::set_difference(factor_bound_.begin(), factor_bound_.end(), bound_.begin(), bound_.end(),
                        std::back_inserter(left));
    std::set_difference(bound_.begin(), bound_.end(), factor_bound_.begin(), factor_bound_.end(),
                        std::back_inserter(entered));
    std::vector<char> stays(2 * size_);
    for (const Index effect : effects_) stays[effect] = 1;
    std::vector<Index> added;
    for (const Index effect : effects_) {
      if (place_[effect] < 0) added.push_back(effect);
    }
    const std::size_t dropped = factor_effects_ + added.size() - effects_.size();
    // A change costs some 2 |J|^2, a new factor |J|^3 / 3 and more.
    const std::size_t changes = left.size() + entered.size() + added.size() + dropped;
    if (changes > effects_.size() / 8) return false;
    for (std::size_t slot = 0; dropped > 0 && slot < slot_effect_.size(); ++slot) {
      const Index effect = slot_effect_[slot];
      if (effect < 0 || stays[effect]) continue;
      factor_.Drop(static_cast<Index>(slot));
      slot_effect_[slot] = place_[effect] = -1;
    }
    const double jump = std::sqrt(AtBound() - Inside());
    const auto shift = [&](double sign, Index coalition) {
      std::vector<double> x(slot_effect_.size());
      for (std::size_t slot = 0; slot < x.size(); ++slot) {
        if (slot_effect_[slot] >= 0 && AtWork(slot_effect_[slot], coalition)) x[slot] = jump;
      }
      return factor_.Add(sign, x);
    };
    for (const Index coalition : entered) {
      if (!shift(1, coalition)) return false;
    }
    for (const Index coalition : left) {
      if (!shift(-1, coalition)) return false;
    }
    for (const Index effect : added) {
      std::vector<double> unit(effects_.size());
      unit[std::lower_bound(effects_.begin(), effects_.end(), effect) - effects_.begin()] = 1;
      const std::vector<double> column = MultiplyM(unit);
      std::vector<double> row(slot_effect_.size() + 1);
      for (std::size_t j = 0; j < column.size(); ++j) {
        if (place_[effects_[j]] >= 0) row[place_[effects_[j]]] = column[j];
        if (effects_[j] == effect) row.back() = column[j];
      }
      if (!factor_.Append(row)) return false;
      place_[effect] = static_cast<std::int32_t>(slot_effect_.size());
      slot_effect_.push_back(effect);
    }
    factor_bound_ = bound_;
    factor_effects_ = effects_.size();
    return true;
  }

  // Whether an effect adds to the value of a coalition: an entry of A.
  bool AtWork(Index effect, Index coalition) const {
    const Index s = effect & (size_ - 1), common = coalition & s;
    return effect < size_ ? common == s : common != 0;
  }

  static double Dot(const std::vector<double>& x, const std::vector<double>& y) {
    double total = 0;
    for (std::size_t i = 0; i < x.size(); ++i) total += x[i] * y[i];
    return total;
  }

  std::vector<double> Precondition(const std::vector<double>& r) const {
    std::vector<double> slots(factor_.slots()), z(r.size());
    for (std::size_t j = 0; j < r.size(); ++j) slots[place_[effects_[j]]] = r[j];
    factor_.Solve(slots);
    for (std::size_t j = 0; j < r.size(); ++j) z[j] = slots[place_[effects_[j]]];
    return z;
  }

  // M at the present sets, factorized.
  bool MakeFactor() {
    const Index count = static_cast<Index>(effects_.size());
    const Index words = CeilDiv(static_cast<Index>(bound_.size()), 64);
    if (count * words > kMostWords) return false;
    std::vector<std::uint64_t> ones(count * words);  // of A_J's columns, over bound_
    for (Index j = 0; j < count; ++j) {
      for (std::size_t k = 0; k < bound_.size(); ++k) {
        const std::uint64_t one = AtWork(effects_[j], bound_[k]);
        ones[j * words + static_cast<Index>(k >> 6)] |= one << (k & 63);
      }
    }
    factor_ = Factor(count);
    const double inside = Inside(), at_bound = AtBound();
    for (Index i = 0; i < count; ++i) {
      double* row = factor_.Lower(i);
      for (Index j = 0; j <= i; ++j) {
        std::int64_t common = 0;
        for (Index k = 0; k < words; ++k) {
          common += __builtin_popcountll(ones[i * words + k] & ones[j * words + k]);
        }
        const double all = CommonOnes(effects_[i], effects_[j]);
        row[j] =
            inside * (all - static_cast<double>(common)) + at_bound * static_cast<double>(common);
      }
      row[i] += 1 / (s_ * Shrink());
    }
    factor_s_ = s_, factor_bound_ = bound_, factor_effects_ = effects_.size();
    slot_effect_ = effects_;
    place_.assign(2 * size_, -1);
    for (Index j = 0; j < count; ++j) place_[effects_[j]] = static_cast<std::int32_t>(j);
    return factor_.Factorize();
  }

  // In how many coalitions two effects are both at work.
  double CommonOnes(Index i, Index j) const {
    const Index mask = size_ - 1, s = i & mask, t = j & mask;
    const auto supersets = [&](Index set) {
      return static_cast<double>(size_ >>
                                 __builtin_popcountll(static_cast<unsigned long long>(set)));
    };
    if (i <= mask && j <= mask) return supersets(s | t);
    if (i > mask && j > mask) {
      return static_cast<double>(size_) - supersets(s) - supersets(t) + supersets(s | t);
    }
    const Index all_of = i <= mask ? s : t, any_of = i <= mask ? t : s;
    return supersets(all_of) - (all_of & any_of ? 0 : supersets(all_of | any_of));
  }

  Memory memory_;
  double *y0_, *next_delta_, *gradient_, *step_, *u_step_[2], *inverse_, *work_[3];
  const double* w_;
  double zeta_, eps_, s_, moved_;
  std::vector<Index> effects_, bound_;  // J, OR effects from 2^n on; residuals at their bound
  Factor factor_;  // of M for the sets and the s it was made for or has followed to
  double factor_s_ = 0;
  std::vector<Index> factor_bound_, slot_effect_;  // -1: a dropped slot
  std::size_t factor_effects_ = 0;
  std::vector<std::int32_t> place_;  // slot of each effect, or -1
};

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter

#endif  // JAXINTER_SPARSE_NEWTON_H_
