// SPDX-License-Identifier: Apache-2.0
// The numbers and decisions of the sparse solver's method, once, for host and device: when it
// checks, restarts, moves tau and changes phase. As in jaxinter/sparse/solver.py.
#ifndef JAXINTER_SPARSE_METHOD_H_
#define JAXINTER_SPARSE_METHOD_H_

#include <cmath>
#include <limits>

#include "common.h"

namespace jaxinter {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr int kCheckEvery = 25;
constexpr double kRestartSufficient = 0.2, kRestartGrowing = 0.8, kRestartLong = 0.25;
constexpr double kPhase1Share = 0.5, kPhase2Share = 0.25;
constexpr double kTauStep = 3;
// A start whose strength is more than this many times the default's is of no help.
constexpr double kWorstStart = 10;

// Sizes |y - x| of the steps seen at checks: the first since the restart, and the last.
struct StepSizes {
  double first, last;

  JAXINTER_INLINE void Forget() { first = last = kInfinity; }

  // Takes in the size at this check; whether to restart, `k` steps after the last restart and
  // `ran` iterations into the phase.
  JAXINTER_INLINE bool Restarts(double size, double k, double ran) {
    const bool fresh = first == kInfinity;
    if (fresh) first = size;
    const bool enough = size <= kRestartSufficient * first;
    const bool stuck = size <= kRestartGrowing * first && size > last;
    const bool slow = k >= kRestartLong * ran;
    last = size;
    return !fresh && (enough || stuck || slow);
  }
};

// z = x + tau * multiplier: by how much to move tau so that both parts have come equally far, from
// the squares of how far they have come.
JAXINTER_INLINE double TauFactor(double moved, double multiplier_moved) {
  const bool usable = moved > 0 && multiplier_moved > 0;
  const double factor = std::sqrt(usable ? std::sqrt(moved / multiplier_moved) : 1);
  return factor < 1 / kTauStep ? 1 / kTauStep : kTauStep < factor ? kTauStep : factor;
}

// Of the tolerance, at which a phase ends: phase 2 has eps > 0.
JAXINTER_INLINE double PhaseShare(double eps, double tie_break) {
  return eps > 0 ? kPhase2Share : tie_break > 0 ? kPhase1Share : 1;
}

// The eps of the next phase.
JAXINTER_INLINE double NextEps(double eps, double tie_break) {
  return eps > 0 ? eps / 2 : tie_break;
}

// Where residuals are kept, so that later rounding stays within zeta.
JAXINTER_INLINE double InnerBox(double zeta, double margin) {
  return zeta - (zeta / 2 < margin ? zeta / 2 : margin);
}

}  // namespace jaxinter

#endif  // JAXINTER_SPARSE_METHOD_H_
