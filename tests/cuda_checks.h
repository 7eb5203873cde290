// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of tables and of masked inputs against the CPU's, on any device. `On` is the
// device: On::Memory<T>, of exactly so many elements, some of them off its alignment;
// On::Stream(); and On::Begin() and On::End(what, error, launched) around each call.
#ifndef JAXINTER_TESTS_CUDA_CHECKS_H_
#define JAXINTER_TESTS_CUDA_CHECKS_H_

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "../csrc/assemble_kernels.h"
#include "../csrc/lattice_kernels.h"
#include "../csrc/threads.h"
#include "checks.h"

namespace jaxinter {

enum class Kernel { kTransform, kFused, kAssembly };

// Of a call: what a device may want to know of it.
struct Launched {
  Kernel kernel;
  int n;
  Index elements, element_bytes;  // of one array
  bool aligned;                   // arrays, and rows, begin at 32 bytes
  bool general = false;           // a matrix with other entries than 0 and +-1
};

template <class T>
std::string Words(const char* what, int n, Index batch) {
  return std::string(what) + " " + std::to_string(8 * sizeof(T)) +
         " bits, n = " + std::to_string(n) + ", batch " + std::to_string(batch);
}

template <class On, class T>
void CheckTransform(Index batch, int n, const Matrix2& matrix, int offset) {
  const std::string what = Words<T>("transform", n, batch);
  SleepingThreads threads(1 << 30);
  std::vector<T> in = Normal<T>(batch << n), expected(in.size());
  in[in.size() / 3] = std::numeric_limits<T>::infinity();
  LaunchSubsetTransformCpu(in.data(), expected.data(), batch, n, matrix, threads);
  const typename On::template Memory<T> from(in, offset), to(in.size(), offset);
  const Launched launched{Kernel::kTransform, n,       batch << n,
                          sizeof(T),          !offset, matrix.a00 != std::round(matrix.a00)};
  On::Begin();
  const char* error =
      LaunchSubsetTransformCuda(from.get(), to.get(), batch, n, matrix, On::Stream());
  On::End(what, error, launched);
  Check(Same(to.Values(), expected), what);
  Check(Same(from.Values(), in), what + ": the input has changed");
  On::Begin();
  error = LaunchSubsetTransformCuda(from.get(), from.get(), batch, n, matrix, On::Stream());
  On::End(what + ", in place", error, launched);
  Check(Same(from.Values(), expected), what + ", in place");
}

template <class On, class T>
void CheckFused(Index batch, int n, bool with_delta, int offset) {
  using Tables = typename On::template Memory<T>;
  const std::string what = Words<T>("fused", n, batch);
  SleepingThreads threads(1 << 30);
  const Index size = batch << n;
  const std::vector<T> v = Normal<T>(size), gamma = Normal<T>(size), delta = Normal<T>(size);
  std::vector<T> a(size), b(size);
  std::vector<double> sums(batch * 2 * n);
  LaunchAndOrEffectsCpu(v.data(), gamma.data(), with_delta ? delta.data() : nullptr, a.data(),
                        b.data(), sums.data(), batch, n, threads);
  const Tables d_v(v, offset), d_gamma(gamma, offset), d_delta(delta, offset);
  const Tables d_a(size, offset), d_b(size, offset), d_sums(sums.size());
  const typename On::template Memory<double> workspace(AndOrWorkspaceBytes(batch, n, sizeof(T)) /
                                                       sizeof(double));
  On::Begin();
  const char* error = LaunchAndOrEffectsCuda(
      d_v.get(), d_gamma.get(), with_delta ? d_delta.get() : nullptr, d_a.get(), d_b.get(),
      d_sums.get(), workspace.get(), batch, n, On::Stream());
  On::End(what, error, {Kernel::kFused, n, size, sizeof(T), !offset});
  Check(Same(d_a.Values(), a), what + ": AND effects");
  Check(Same(d_b.Values(), b), what + ": OR effects");
  const std::vector<T> got = d_sums.Values();
  bool near = true;
  for (std::size_t i = 0; i < got.size(); ++i) {
    near = near && std::fabs(got[i] - sums[i]) <= (sizeof(T) == 4 ? 2e-6 : 1e-12) * sums[i];
  }
  Check(near, what + ": sums");
}

// `form` of the masks: bytes, indices of 32 bits, of 64.
template <class On, class T>
void CheckAssembly(Index rows, int n, Index size, int form, int offset) {
  const std::string what = Words<T>("assembly", n, rows) + " of " + std::to_string(size);
  std::vector<std::uint8_t> bytes(rows * n);
  std::vector<std::int32_t> indices32(rows), players(size);
  std::vector<std::int64_t> indices64(rows);
  for (Index row = 0; row < rows; ++row) {
    for (int i = 0; i < n; ++i) {
      const std::int64_t bit = random_bits() & 1;
      bytes[row * n + i] = static_cast<std::uint8_t>(bit * (1 + random_bits() % 255));
      indices64[row] |= bit << i;
      if (n <= 31) indices32[row] |= static_cast<std::int32_t>(bit << i);
    }
  }
  for (std::int32_t& player : players) player = static_cast<int>(random_bits() % (n + 2)) - 1;
  std::vector<T> x(size), baseline(size), expected(rows * size);
  for (T& value : x) value = static_cast<T>(random_bits());
  for (T& value : baseline) value = static_cast<T>(random_bits());
  const auto masks = [&](const std::uint8_t* b, const std::int32_t* i, const std::int64_t* l) {
    return Masks{form == 0 ? b : nullptr, form == 1 ? i : nullptr, form == 2 ? l : nullptr, n};
  };
  SleepingThreads threads(1 << 30);
  LaunchMaskedInputsCpu<T>(masks(bytes.data(), indices32.data(), indices64.data()), rows, x.data(),
                           baseline.data(), players.data(), size, expected.data(), threads);
  const typename On::template Memory<std::uint8_t> d_bytes(bytes);
  const typename On::template Memory<std::int32_t> d_indices32(indices32), d_players(players);
  const typename On::template Memory<std::int64_t> d_indices64(indices64);
  const typename On::template Memory<T> d_x(x), d_baseline(baseline), out(rows * size, offset);
  On::Begin();
  const char* error = LaunchMaskedInputsCuda(
      sizeof(T), masks(d_bytes.get(), d_indices32.get(), d_indices64.get()), rows, d_x.get(),
      d_baseline.get(), d_players.get(), size, out.get(), On::Stream());
  const bool aligned = !offset && size * sizeof(T) % 32 == 0;
  On::End(what, error, {Kernel::kAssembly, n, rows * size, sizeof(T), aligned});
  Check(Same(out.Values(), expected), what);
}

}  // namespace jaxinter

#endif  // JAXINTER_TESTS_CUDA_CHECKS_H_
