// SPDX-License-Identifier: Apache-2.0
// Launch functions of masked-input assembly: raw pointers and sizes; no FFI, no Python.
#ifndef JAXINTER_ASSEMBLE_KERNELS_H_
#define JAXINTER_ASSEMBLE_KERNELS_H_

#include "assemble.h"
#include "parallel.h"

namespace jaxinter {

// out[row][e] = x[e] where players[e] < 0 or masks[row][players[e]], else baseline[e], for `rows`
// masks of n_players bytes (0 or 1, n_players <= 62) and inputs of `size` elements. T has the size
// of an element: std::uint8_t, 16, 32 or 64. A players[e] above n_players - 1
// counts as that (a traced value cannot be checked before), n_players >= 1.
template <class T>
void LaunchMaskedInputsCpu(const std::uint8_t* masks, Index rows, int n_players, const T* x,
                           const T* baseline, const std::int32_t* players, Index size, T* out,
                           Parallel& parallel);

}  // namespace jaxinter

#endif  // JAXINTER_ASSEMBLE_KERNELS_H_
