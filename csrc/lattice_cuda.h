// SPDX-License-Identifier: Apache-2.0
// How a CUDA warp and block walk a table: the device's drivers of lattice.h, included by .cu files.
//
// A thread holds 2^kBits elements in registers. At first a warp's lanes are the players 0 to 4 of
// its elements, which meet by shuffles; registers are the next kBits players. After `Regroup`,
// which goes through shared memory, registers are the top kBits players instead. Lanes are always
// the lowest players: whatever a warp touches, of device or shared memory, are neighbours.
#ifndef JAXINTER_LATTICE_CUDA_H_
#define JAXINTER_LATTICE_CUDA_H_

#include "lattice.h"
#include "launch_cuda.h"

namespace jaxinter {

constexpr int kLaneBits = 5;
constexpr unsigned kAllLanes = 0xffffffff;

JAXINTER_DEVICE int LaneIndex() { return static_cast<int>(threadIdx.x) & 31; }
JAXINTER_DEVICE int WarpIndex() { return static_cast<int>(threadIdx.x) >> kLaneBits; }
JAXINTER_DEVICE int WarpCount() { return static_cast<int>(blockDim.x) >> kLaneBits; }

// The player whose bit lanes differ in.
template <int kBits, class T, class Step>
JAXINTER_DEVICE void StepLanes(T (&x)[1 << kBits], int player, const Step& step) {
  const bool present = LaneIndex() >> player & 1;
#pragma unroll
  for (int i = 0; i < (1 << kBits); ++i) {
    const T partner = __shfl_xor_sync(kAllLanes, x[i], 1 << player);
    T without = present ? partner : x[i], with = present ? x[i] : partner;
    step(without, with);
    x[i] = present ? with : without;
  }
}

// Players `begin` to `end` of those that registers differ in.
template <int kBits, class T, class Step>
JAXINTER_DEVICE void StepRegisters(T (&x)[1 << kBits], int begin, int end, const Step& step) {
#pragma unroll
  for (int player = 0; player < kBits; ++player) {
    if (player < begin || player >= end) continue;
#pragma unroll
    for (int i = 0; i < (1 << kBits); ++i) {
      if (!(i >> player & 1)) step(x[i], x[i | 1 << player]);
    }
  }
}

// Where register i of this thread lies in its block's 2^bits elements, before and after Regroup:
// First + i * 32, and Last + (i << (bits - kBits)).
template <int kBits>
JAXINTER_DEVICE int First() {
  return WarpIndex() << (kLaneBits + kBits) | LaneIndex();
}
JAXINTER_DEVICE int Last() { return static_cast<int>(threadIdx.x); }

// All threads of the block.
template <int kBits, class T>
JAXINTER_DEVICE void Regroup(T (&x)[1 << kBits], T* shared, int bits) {
  __syncthreads();  // until what was in `shared` is read
#pragma unroll
  for (int i = 0; i < (1 << kBits); ++i) shared[First<kBits>() + (i << kLaneBits)] = x[i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < (1 << kBits); ++i) x[i] = shared[Last() + (i << (bits - kBits))];
}

}  // namespace jaxinter

#endif  // JAXINTER_LATTICE_CUDA_H_
