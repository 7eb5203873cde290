// SPDX-License-Identifier: Apache-2.0
// The definition of the subset Mobius transform, 3^n steps a table: a peer of bench_transform.py,
// which compiles it.
#include <cstdint>

template <class T>
void Naive(const T* v, T* effects, std::int64_t batch, int n) {
  const std::int64_t size = std::int64_t{1} << n;
  for (std::int64_t b = 0; b < batch; ++b, v += size, effects += size) {
    for (std::int64_t s = 0; s < size; ++s) {
      T total = 0;
      for (std::int64_t t = s;; t = (t - 1) & s) {
        total += __builtin_popcountll(static_cast<unsigned long long>(s ^ t)) & 1 ? -v[t] : v[t];
        if (t == 0) break;
      }
      effects[s] = total;
    }
  }
}

extern "C" void naive_float(const float* v, float* effects, std::int64_t batch, int n) {
  Naive(v, effects, batch, n);
}

extern "C" void naive_double(const double* v, double* effects, std::int64_t batch, int n) {
  Naive(v, effects, batch, n);
}
