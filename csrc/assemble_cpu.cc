// SPDX-License-Identifier: Apache-2.0
// The CPU driver of assemble.h. Compiled once for each SIMD level, as lattice_cpu.cc.
//
// A block of elements (input, baseline, bit of the player) stays in the L1 cache while one row of
// output after another streams out of it; the compiler turns the inner loop into a shift, a test
// and a blend a vector.
#include <cstdint>
#include <cstring>

#include "assemble_kernels.h"

namespace jaxinter {
namespace JAXINTER_SIMD {

constexpr Index kBlock = 2048;            // elements
constexpr Index kTaskBytes = 256 * 1024;  // of output
constexpr int kPlayersOfNarrowWord = 31;  // and one bit for elements without a player

// One row of masks as a word: bit i of player i, bit n always set. Any byte but 0 counts as 1.
// Eight bytes of 0 or 1 become eight bits by one product: byte k times 2^(56 - 7k) lands on bit 56
// + k, and nothing carries there.
template <class W>
JAXINTER_INLINE W Coalition(const Masks& masks, Index row) {
  const int n = masks.n_players;
  std::uint64_t word = 0;
  if (masks.indices32) {
    word = static_cast<std::uint32_t>(masks.indices32[row]);
  } else if (masks.indices64) {
    word = static_cast<std::uint64_t>(masks.indices64[row]);
  } else {
    const std::uint8_t* mask = masks.bytes + row * n;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
      std::uint64_t bytes;
      std::memcpy(&bytes, mask + i, 8);
      bytes = ((bytes & 0x7f7f7f7f7f7f7f7fu) + 0x7f7f7f7f7f7f7f7fu) | bytes;  // high bit: not 0
      word |= ((bytes >> 7 & 0x0101010101010101u) * 0x0102040810204080u >> 56) << i;
    }
    for (; i < n; ++i) word |= std::uint64_t{mask[i] != 0} << i;
  }
  return static_cast<W>(word | std::uint64_t{1} << n);
}

template <class T, class W>
void Block(const Masks& masks, Index first, Index last, const T* x, const T* baseline,
           const std::int32_t* players, Index begin, Index count, Index size, T* out) {
  alignas(64) W bits[kBlock];
  const int n = masks.n_players;
  for (Index e = 0; e < count; ++e) {
    const std::int32_t player = players[begin + e];
    bits[e] = static_cast<W>(player < 0 ? n : player < n ? player : n - 1);
  }
  for (Index row = first; row < last; ++row) {
    const W coalition = Coalition<W>(masks, row);
    T* __restrict target = out + row * size + begin;
    const T* __restrict kept = x + begin;
    const T* __restrict absent = baseline + begin;
    for (Index e = 0; e < count; ++e) {
      target[e] = MaskedElement<T, W>(coalition, bits[e], kept[e], absent[e]);
    }
  }
}

template <class T>
void MaskedInputs(const Masks& masks, Index rows, const T* x, const T* baseline,
                  const std::int32_t* players, Index size, T* out, Parallel& parallel) {
  if (rows == 0 || size == 0) return;
  const Index blocks = CeilDiv(size, kBlock);
  const Index row_bytes = (size < kBlock ? size : kBlock) * static_cast<Index>(sizeof(T));
  const Index rows_per_task = row_bytes < kTaskBytes ? CeilDiv(kTaskBytes, row_bytes) : 1;
  const Index groups = CeilDiv(rows, rows_per_task);
  parallel.For(blocks * groups, [&](Index task) {
    const Index begin = task % blocks * kBlock, first = task / blocks * rows_per_task;
    const Index count = size - begin < kBlock ? size - begin : kBlock;
    const Index last = first + rows_per_task < rows ? first + rows_per_task : rows;
    if (masks.n_players <= kPlayersOfNarrowWord) {
      Block<T, std::uint32_t>(masks, first, last, x, baseline, players, begin, count, size, out);
    } else {
      Block<T, std::uint64_t>(masks, first, last, x, baseline, players, begin, count, size, out);
    }
  });
}

#define JAXINTER_INSTANTIATE(T)                                                               \
  template void MaskedInputs<T>(const Masks&, Index, const T*, const T*, const std::int32_t*, \
                                Index, T*, Parallel&);
JAXINTER_INSTANTIATE(std::uint8_t)
JAXINTER_INSTANTIATE(std::uint16_t)
JAXINTER_INSTANTIATE(std::uint32_t)
JAXINTER_INSTANTIATE(std::uint64_t)

}  // namespace JAXINTER_SIMD
}  // namespace jaxinter
