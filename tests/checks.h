// SPDX-License-Identifier: Apache-2.0
// What the programs that test kernels without Python share.
#ifndef JAXINTER_TESTS_CHECKS_H_
#define JAXINTER_TESTS_CHECKS_H_

#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "../csrc/common.h"

namespace jaxinter {

inline int checks = 0, failures = 0;

inline void Check(bool ok, const std::string& what) {
  ++checks;
  if (ok) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

inline std::mt19937_64 random_bits(1);

template <class T>
std::vector<T> Normal(Index size) {
  std::normal_distribution<T> normal;
  std::vector<T> x(size);
  for (T& value : x) value = normal(random_bits);
  return x;
}

// Equal bit for bit, save that zeros have no sign.
template <class T>
bool Same(const std::vector<T>& x, const std::vector<T>& y) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(x[i] == y[i] || (x[i] != x[i] && y[i] != y[i]))) return false;
  }
  return x.size() == y.size();
}

}  // namespace jaxinter

#endif  // JAXINTER_TESTS_CHECKS_H_
