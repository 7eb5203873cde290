// SPDX-License-Identifier: Apache-2.0
// What the sparse solver's steps are written with: passes over vectors with their sums, and
// transforms of expressions. Included by files that are compiled once for each SIMD level.
#ifndef JAXINTER_SPARSE_PASSES_H_
#define JAXINTER_SPARSE_PASSES_H_

#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "lattice_walk.h"
#include "parallel.h"
#include "simd.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

using Doubles = Vector<double>;

// Sums are taken of this many elements at a time, whatever the threads.
constexpr Index kChunk = 1 << 13;

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
    Totals<Doubles, kSums, kMaxima> wide;
    for (Index i = first; i < end; i += Simd<double>::kLanes) f(Doubles{}, i, wide);
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

// Tables of n players, on the threads of `parallel`.
class Lattice {
 protected:
  Lattice(int n, Parallel& parallel) : n_(n), size_(Index{1} << n), parallel_(parallel) {}

  // f(V{}, i, totals) for the elements i of `size`, and what f adds to its totals.
  template <int kSums = 0, int kMaxima = 0, class F>
  Totals<double, kSums, kMaxima> Over(Index size, const F& f) {
    return Pass<kSums, kMaxima>(size, parallel_, f);
  }

  // out = (Step (x) ... (x) Step) from; they may be the same.
  template <class Step>
  void Transform(const Step& step, const double* from, double* out) {
    Run(step, Values<double>{from}, out);
  }

  // out = (Step (x) ... (x) Step) of f(V{}, i), i the elements of one table; out may be read by f.
  template <class Step, class F>
  void TransformOf(const Step& step, double* out, const F& f) {
    if (n_ > kCachePlayers - 1 || parallel_.threads() > 1) {
      // Written first: compiling the walk of large tables for each expression takes minutes.
      Over(size_, [&](auto v, Index i, auto&) { Put(out + i, f(v, i)); });
      Transform(step, out, out);
    } else {
      Run(step, Expression<F>{f, 0}, out);
    }
  }

 private:
  template <class Step, class Source>
  void Run(const Step& step, const Source& source, double* out) {
    const Job<double, Source, Step> job{source, out, step, out};
    if constexpr (std::is_same_v<Source, Values<double>>) {
      if (n_ > kCachePlayers - 1 || parallel_.threads() > 1) {
        return LargeTable<double, NoSums>(n_, nullptr, parallel_, job);
      }
    }
    NoSums none(n_);
    Table<double, Keep>(n_, none, job);
  }

 protected:
  const int n_;
  const Index size_;  // entries of a table
  Parallel& parallel_;
};

// Vectors of `size` doubles, one after the other, at multiples of 64 bytes where size allows.
class Memory {
 public:
  Memory(Index vectors, Index size) : size_(size) {
    const Index bytes = (vectors * size + 8) * static_cast<Index>(sizeof(double)) / 64 * 64;
    memory_.reset(static_cast<double*>(std::aligned_alloc(64, bytes)));
    if (!memory_) throw std::bad_alloc();
    free_ = memory_.get();
  }
  double* Take() {
    double* mine = free_;
    free_ += size_;
    return mine;
  }

 private:
  struct Free {
    void operator()(double* p) const { std::free(p); }
  };
  const Index size_;
  std::unique_ptr<double, Free> memory_;
  double* free_;
};

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter

#endif  // JAXINTER_SPARSE_PASSES_H_
