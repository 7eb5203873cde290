// SPDX-License-Identifier: Apache-2.0
// Picks, once, the widest build of the CPU kernels that this machine runs.
#include <cstdlib>
#include <string_view>

#include "assemble_kernels.h"
#include "lattice_kernels.h"
#include "sparse_kernels.h"

// JAXINTER_ONLY_PORTABLE: for tests that build one level.
#if defined(__x86_64__) && !defined(JAXINTER_ONLY_PORTABLE)
#define JAXINTER_X86
#endif

namespace jaxinter {

#define JAXINTER_DECLARE(simd)                                                                    \
  namespace simd {                                                                                \
  template <class T>                                                                              \
  void SubsetTransform(const T*, T*, Index, int, const Matrix2&, Parallel&);                      \
  template <class T>                                                                              \
  void AndOrEffects(const T*, const T*, const T*, T*, T*, double*, Index, int, Parallel&);        \
  template <class T>                                                                              \
  void StreamPass(T*, Index, Parallel&);                                                          \
  template <class T>                                                                              \
  void SplitPass(const T*, const T*, T*, T*, Index, Parallel&);                                   \
  template <class T>                                                                              \
  void OrderStrength(const T*, const T*, const double*, const std::uint8_t*, double*, Index, int, \
                     Parallel&);                                                                  \
  template <class T>                                                                              \
  void MaskedInputs(const Masks&, Index, const T*, const T*, const std::int32_t*, Index, T*,      \
                    Parallel&);                                                                   \
  bool SparseSplits(const SparseProgram&, const SparseSplit&, const Monitor&, Parallel&);         \
  }
JAXINTER_DECLARE(portable)
#if defined(JAXINTER_X86)
JAXINTER_DECLARE(avx2)
JAXINTER_DECLARE(avx512)
#endif
#undef JAXINTER_DECLARE

Parallel::~Parallel() = default;

namespace {

enum class Simd { kPortable, kAvx2, kAvx512 };

// The widest level that the machine has, or the narrower one that JAXINTER_SIMD names.
Simd Detect() {
#if defined(JAXINTER_X86)
  const char* text = std::getenv("JAXINTER_SIMD");
  const std::string_view limit = text ? text : "";
  __builtin_cpu_init();
  if (limit == "portable" || !__builtin_cpu_supports("avx2")) return Simd::kPortable;
  if (limit == "avx2" || !__builtin_cpu_supports("avx512f") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl")) {
    return Simd::kAvx2;
  }
  return Simd::kAvx512;
#else
  return Simd::kPortable;
#endif
}

const Simd kSimd = Detect();

}  // namespace

// Calls the build of `function` for this machine.
#if defined(JAXINTER_X86)
#define JAXINTER_DISPATCH(function, ...)                  \
  (kSimd == Simd::kAvx512 ? avx512::function(__VA_ARGS__) \
   : kSimd == Simd::kAvx2 ? avx2::function(__VA_ARGS__)   \
                          : portable::function(__VA_ARGS__))
#else
#define JAXINTER_DISPATCH(function, ...) portable::function(__VA_ARGS__)
#endif

template <class T>
void LaunchSubsetTransformCpu(const T* in, T* out, Index batch, int n_players,
                              const Matrix2& matrix, Parallel& parallel) {
  JAXINTER_DISPATCH(SubsetTransform, in, out, batch, n_players, matrix, parallel);
}

template <class T>
void LaunchAndOrEffectsCpu(const T* v, const T* gamma, const T* delta, T* and_effects,
                           T* or_effects, double* sums, Index batch, int n_players,
                           Parallel& parallel) {
  JAXINTER_DISPATCH(AndOrEffects, v, gamma, delta, and_effects, or_effects, sums, batch, n_players,
                    parallel);
}

template <class T>
void LaunchStreamPassCpu(T* x, Index size, Parallel& parallel) {
  JAXINTER_DISPATCH(StreamPass, x, size, parallel);
}

template <class T>
void LaunchSplitPassCpu(const T* v, const T* gamma, T* and_part, T* minus_or_part, Index size,
                        Parallel& parallel) {
  JAXINTER_DISPATCH(SplitPass, v, gamma, and_part, minus_or_part, size, parallel);
}

template <class T>
void LaunchOrderStrengthCpu(const T* and_effects, const T* or_effects, const double* threshold,
                            const std::uint8_t* counted, double* sums, Index batch, int n_players,
                            Parallel& parallel) {
  JAXINTER_DISPATCH(OrderStrength, and_effects, or_effects, threshold, counted, sums, batch,
                    n_players, parallel);
}

template <class T>
void LaunchMaskedInputsCpu(const Masks& masks, Index rows, const T* x, const T* baseline,
                           const std::int32_t* players, Index size, T* out, Parallel& parallel) {
  JAXINTER_DISPATCH(MaskedInputs, masks, rows, x, baseline, players, size, out, parallel);
}

bool LaunchSparseSplitCpu(const SparseProgram& program, const SparseSplit& split,
                          const Monitor& monitor, Parallel& parallel) {
  return JAXINTER_DISPATCH(SparseSplits, program, split, monitor, parallel);
}

#define JAXINTER_INSTANTIATE(T)                                                   \
  template void LaunchMaskedInputsCpu<T>(const Masks&, Index, const T*, const T*, \
                                         const std::int32_t*, Index, T*, Parallel&);
JAXINTER_INSTANTIATE(std::uint8_t)
JAXINTER_INSTANTIATE(std::uint16_t)
JAXINTER_INSTANTIATE(std::uint32_t)
JAXINTER_INSTANTIATE(std::uint64_t)
#undef JAXINTER_INSTANTIATE

#define JAXINTER_INSTANTIATE(T)                                                                   \
  template void LaunchSubsetTransformCpu<T>(const T*, T*, Index, int, const Matrix2&, Parallel&); \
  template void LaunchAndOrEffectsCpu<T>(const T*, const T*, const T*, T*, T*, double*, Index,    \
                                         int, Parallel&);                                         \
  template void LaunchStreamPassCpu<T>(T*, Index, Parallel&);                                     \
  template void LaunchSplitPassCpu<T>(const T*, const T*, T*, T*, Index, Parallel&);              \
  template void LaunchOrderStrengthCpu<T>(const T*, const T*, const double*, const std::uint8_t*, \
                                          double*, Index, int, Parallel&);
JAXINTER_INSTANTIATE(float)
JAXINTER_INSTANTIATE(double)
#undef JAXINTER_INSTANTIATE

const char* SimdLevel() {
  return kSimd == Simd::kAvx512 ? "avx512" : kSimd == Simd::kAvx2 ? "avx2" : "portable";
}

}  // namespace jaxinter
