// SPDX-License-Identifier: Apache-2.0
// Vectors of the SIMD level a file is compiled for (CMakeLists.txt sets JAXINTER_SIMD and the
// compiler's flags). Included by files that are compiled once for each level, and by no other.
#ifndef JAXINTER_SIMD_H_
#define JAXINTER_SIMD_H_

#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "common.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct Simd {
  static constexpr int kLanes = kVectorBytes / sizeof(T);
  static constexpr int kLaneBits = kLanes == 16 ? 4 : kLanes == 8 ? 3 : kLanes == 4 ? 2 : 1;
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Int Mask __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vector = typename Simd<T>::Vector;

// V is a vector or a single element, at any address.
template <class V, class T>
JAXINTER_INLINE V Load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// How a vector is written: to be read again soon, or past the caches to memory. `Stream` needs the
// address of a whole vector, and Finish() before another thread reads.
struct Keep {
  template <class T>
  static JAXINTER_INLINE void Store(T* p, const Vector<T>& v) {
    std::memcpy(p, &v, sizeof(v));
  }
  static void Finish() {}
};

#if defined(__AVX__)
struct Stream {
  template <class T>
  static JAXINTER_INLINE void Store(T* p, const Vector<T>& v) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(v));
#else
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(v));
#endif
  }
  static void Finish() { _mm_sfence(); }
};
#else
using Stream = Keep;
#endif

template <class T>
bool IsAligned(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % kVectorBytes == 0;
}

// x[lane ^ bit] for each lane.
template <class T, int kBit>
JAXINTER_INLINE Vector<T> FlipLanes(const Vector<T>& x) {
  using M = typename Simd<T>::Mask;
  if constexpr (Simd<T>::kLanes == 2) {
    return __builtin_shuffle(x, M{0 ^ kBit, 1 ^ kBit});
  } else if constexpr (Simd<T>::kLanes == 4) {
    return __builtin_shuffle(x, M{0 ^ kBit, 1 ^ kBit, 2 ^ kBit, 3 ^ kBit});
  } else if constexpr (Simd<T>::kLanes == 8) {
    return __builtin_shuffle(
        x, M{0 ^ kBit, 1 ^ kBit, 2 ^ kBit, 3 ^ kBit, 4 ^ kBit, 5 ^ kBit, 6 ^ kBit, 7 ^ kBit});
  } else {
    return __builtin_shuffle(
        x, M{0 ^ kBit, 1 ^ kBit, 2 ^ kBit, 3 ^ kBit, 4 ^ kBit, 5 ^ kBit, 6 ^ kBit, 7 ^ kBit,
             8 ^ kBit, 9 ^ kBit, 10 ^ kBit, 11 ^ kBit, 12 ^ kBit, 13 ^ kBit, 14 ^ kBit, 15 ^ kBit});
  }
}

// The larger, and the smaller, of 0 and each lane; NaN stays.
template <class T>
JAXINTER_INLINE Vector<T> AtLeast0(const Vector<T>& x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_maskz_max_ps(0xFFFF, Vector<T>{}, x);
  if constexpr (sizeof(T) == 8) return _mm512_maskz_max_pd(0xFF, Vector<T>{}, x);
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4) return _mm256_max_ps(Vector<T>{}, x);
  if constexpr (sizeof(T) == 8) return _mm256_max_pd(Vector<T>{}, x);
#else
  return x < T{0} ? Vector<T>{} : x;
#endif
}

template <class T>
JAXINTER_INLINE Vector<T> AtMost0(const Vector<T>& x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_maskz_min_ps(0xFFFF, Vector<T>{}, x);
  if constexpr (sizeof(T) == 8) return _mm512_maskz_min_pd(0xFF, Vector<T>{}, x);
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4) return _mm256_min_ps(Vector<T>{}, x);
  if constexpr (sizeof(T) == 8) return _mm256_min_pd(Vector<T>{}, x);
#else
  return x > T{0} ? Vector<T>{} : x;
#endif
}

// Lane by lane; V is a vector of doubles or one double, none of them NaN.
template <class V>
JAXINTER_INLINE V Min(const V& x, const V& y) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_maskz_min_pd(0xFF, x, y);
#elif defined(__AVX__)
  if constexpr (sizeof(V) == 32) return _mm256_min_pd(x, y);
#endif
  return x < y ? x : y;
}

template <class V>
JAXINTER_INLINE V Max(const V& x, const V& y) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_maskz_max_pd(0xFF, x, y);
#elif defined(__AVX__)
  if constexpr (sizeof(V) == 32) return _mm256_max_pd(x, y);
#endif
  return x > y ? x : y;
}

template <class V>
JAXINTER_INLINE V Abs(const V& x) {
  return Max<V>(x, -x);
}

// x within [-bound, bound].
template <class V>
JAXINTER_INLINE V Clip(const V& x, const V& bound) {
  return Min<V>(Max<V>(x, -bound), bound);
}

// All ones in the lanes whose index has `kBit`.
template <class T, int kBit>
JAXINTER_INLINE typename Simd<T>::Mask HasBit() {
  typename Simd<T>::Mask m;
  for (int lane = 0; lane < Simd<T>::kLanes; ++lane) m[lane] = (lane & kBit) ? -1 : 0;
  return m;
}

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter

#endif  // JAXINTER_SIMD_H_
