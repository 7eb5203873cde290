// SPDX-License-Identifier: Apache-2.0
// Launch functions of masked-input assembly: raw pointers and sizes; no FFI, no Python.
#ifndef JAXINTER_ASSEMBLE_KERNELS_H_
#define JAXINTER_ASSEMBLE_KERNELS_H_

#include "assemble.h"
#include "parallel.h"

namespace jaxinter {

// One coalition a row, in one of three forms, the others null: a byte a player, 0 for absent,
// [rows, n_players]; or one index a row, bit i of player i (higher bits are not looked at).
struct Masks {
  const std::uint8_t* bytes;
  const std::int32_t* indices32;  // n_players <= 31
  const std::int64_t* indices64;
  int n_players;  // 1 to 62
};

// out[row][e] = x[e] where players[e] < 0 or players[e] is present in the coalition of the row,
// else baseline[e], for `rows` coalitions and inputs of `size` elements. T has the size of an
// element: std::uint8_t, 16, 32 or 64. A players[e] above n_players - 1 counts as that (a traced
// value cannot be checked before).
template <class T>
void LaunchMaskedInputsCpu(const Masks& masks, Index rows, const T* x, const T* baseline,
                           const std::int32_t* players, Index size, T* out, Parallel& parallel);

// The same on CUDA, for elements of `element_bytes`, 1, 2, 4 or 8; see lattice_kernels.h.
const char* LaunchMaskedInputsCuda(Index element_bytes, const Masks& masks, Index rows,
                                   const void* x, const void* baseline, const std::int32_t* players,
                                   Index size, void* out, CudaStream stream);

// The CPU's for elements of `element_bytes`; false where it has no word of that size.
inline bool LaunchMaskedInputsOfSizeCpu(Index element_bytes, const Masks& masks, Index rows,
                                        const void* x, const void* baseline,
                                        const std::int32_t* players, Index size, void* out,
                                        Parallel& parallel) {
  const auto launch = [&](auto element) {
    using T = decltype(element);
    LaunchMaskedInputsCpu<T>(masks, rows, static_cast<const T*>(x), static_cast<const T*>(baseline),
                             players, size, static_cast<T*>(out), parallel);
    return true;
  };
  switch (element_bytes) {
    case 1:
      return launch(std::uint8_t{});
    case 2:
      return launch(std::uint16_t{});
    case 4:
      return launch(std::uint32_t{});
    case 8:
      return launch(std::uint64_t{});
    default:
      return false;
  }
}

}  // namespace jaxinter

#endif  // JAXINTER_ASSEMBLE_KERNELS_H_
