// SPDX-License-Identifier: Apache-2.0
// What the fuzz target (fuzz_kernels.cc) makes of its input: numbers, and memory of exact sizes.
#ifndef JAXINTER_TESTS_FUZZ_INPUT_H_
#define JAXINTER_TESTS_FUZZ_INPUT_H_

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "../csrc/lattice_kernels.h"

namespace jaxinter {

inline char about[200];  // the case at work, for messages

inline void Require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "WRONG: %s, %s, %s\n", what, about, SimdLevel());
  __builtin_trap();
}

// The input, read from its start; zeros behind its end.
struct Input {
  const std::uint8_t* at;
  const std::uint8_t* const end;

  template <class T>
  T Take() {
    T value{};
    const auto bytes = std::min<std::size_t>(sizeof(T), end - at);
    std::memcpy(&value, at, bytes);
    at += bytes;
    return value;
  }
  int UpTo(int most) { return Take<std::uint16_t>() % (most + 1); }
  bool Flip() { return Take<std::uint8_t>() & 1; }
};

inline std::uint64_t Scramble(std::uint64_t x) {
  x = (x + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  return (x ^ x >> 29) * 0x94d049bb133111ebu ^ x >> 32;
}

// Memory of exactly `size` elements, 0 to 63 bytes behind an address that 64 divides, and poison
// before it. Filled with bytes that nobody expects.
template <class T>
class Memory {
 public:
  Memory(Input& in, Index size) : size_(size) {
    const std::size_t offset = in.UpTo(63) / sizeof(T) * sizeof(T), bytes = size * sizeof(T);
    void* block;
    if (posix_memalign(&block, 64, offset + bytes)) std::abort();
    block_.reset(block);
    data_ = reinterpret_cast<T*>(static_cast<char*>(block) + offset);
    std::memset(static_cast<void*>(data_), 0xa5, bytes);
    ASAN_POISON_MEMORY_REGION(block, offset);
  }
  T* data() { return data_; }
  Index size() const { return size_; }
  T& operator[](Index i) { return data_[i]; }
  std::vector<T> Copy() const { return {data_, data_ + size_}; }

 private:
  const Index size_;
  std::unique_ptr<void, decltype(&std::free)> block_{nullptr, &std::free};
  T* data_;
};

// Bit for bit; NaN equals NaN.
template <class T>
bool Same(T x, T y) {
  return x != x ? y != y : std::memcmp(&x, &y, sizeof(T)) == 0;
}
template <class T>
inline void RequireSame(Memory<T>& got, const std::vector<T>& expected, const char* what) {
  for (Index i = 0; i < got.size(); ++i) Require(Same<T>(got[i], expected[i]), what);
}

// What a kernel reads, and must leave as it is.
template <class T>
class Values : public Memory<T> {
 public:
  Values(Input& in, Index size) : Memory<T>(in, size) {
    const int kind = in.UpTo(3);
    const T scale = std::ldexp(T{1}, in.Take<std::int8_t>() / 8);
    const auto seed = in.Take<std::uint32_t>();
    for (Index i = 0; i < size; ++i) {
      const std::uint64_t random = Scramble(seed + (std::uint64_t{1} << 32) * i);
      T& x = (*this)[i];
      if (kind == 0) x = scale * static_cast<std::int32_t>(random) / (1 << 30);
      if (kind == 1) x = static_cast<T>(static_cast<int>(random % 7) - 3);
      if (kind == 2) std::memcpy(&x, &random, sizeof(T));  // of any bits
      if (kind == 3) x = scale;
    }
    using Limits = std::numeric_limits<T>;
    const T special[] = {T{0},
                         -T{0},
                         Limits::quiet_NaN(),
                         Limits::infinity(),
                         Limits::max(),
                         Limits::lowest(),
                         -Limits::infinity(),
                         Limits::min(),
                         Limits::denorm_min()};
    for (int count = in.UpTo(6); count > 0 && size > 0; --count) {
      const Index at = in.Take<std::uint16_t>() % size;
      (*this)[at] = special[in.UpTo(8)];
    }
    Keep();
  }
  ~Values() { RequireSame(*this, kept_, "an input was written to"); }
  void Keep() { kept_ = this->Copy(); }
  const std::vector<T>& kept() const { return kept_; }

 private:
  std::vector<T> kept_;
};

}  // namespace jaxinter

#endif  // JAXINTER_TESTS_FUZZ_INPUT_H_
