// SPDX-License-Identifier: Apache-2.0
// Masked inputs on CUDA: the device's driver of assemble.h.
//
// A block keeps a chunk of the elements (input, baseline, bit of the player) and the coalitions of
// its rows in shared memory and writes those rows' chunks, one after the other, 16 bytes a thread
// where alignment allows, else 4: device memory does little else than take the output in.
#include "assemble_kernels.h"
#include "launch_cuda.h"

namespace jaxinter {
namespace {

using Word = std::uint64_t;
constexpr int kThreads = 256;
constexpr Index kChunk = 1024;             // elements
constexpr Index kElementsOfBlock = 16384;  // of output, about
constexpr Index kLeastRows = 32, kMostRows = 1024;
constexpr Index kMaskBytes = 8192;  // of a block, at most
constexpr int kVectorBytes = 16;

// The coalitions of a block's rows as words: bit i of player i, bit n always set. `bytes`: room for
// the rows' masks, which are read side by side.
JAXINTER_DEVICE void ReadCoalitions(const Masks& masks, Index first, int rows, Word* coalitions,
                                    std::uint8_t* bytes) {
  const int n = masks.n_players, thread = static_cast<int>(threadIdx.x), lane = thread & 31;
  const Word always = Word{1} << n;
  if (!masks.bytes) {
    for (int row = thread; row < rows; row += kThreads) {
      coalitions[row] =
          always | (masks.indices32 ? static_cast<std::uint32_t>(masks.indices32[first + row])
                                    : static_cast<Word>(masks.indices64[first + row]));
    }
    return;
  }
  for (int i = thread; i < rows * n; i += kThreads) bytes[i] = masks.bytes[first * n + i];
  __syncthreads();
  for (int row = thread >> 5; row < rows; row += kThreads / 32) {
    const std::uint8_t* mask = bytes + row * n;
    const unsigned low = __ballot_sync(0xffffffff, lane < n && mask[lane]);
    const unsigned high = __ballot_sync(0xffffffff, lane + 32 < n && mask[lane + 32]);
    if (lane == 0) coalitions[row] = always | Word{high} << 32 | low;
  }
}

template <class T, int kVector>
struct alignas(sizeof(T) * kVector) Pack {
  T element[kVector];
};

template <class T, int kVector>
__global__ void __launch_bounds__(kThreads)
    Assemble(Masks masks, Index rows, Index rows_of_block, const T* x, const T* baseline,
             const std::int32_t* players, Index size, Index chunk, T* out) {
  using Elements = Pack<T, kVector>;
  using Bits = Pack<std::uint8_t, kVector>;
  const Index chunks = CeilDiv(size, chunk);
  const Index begin = blockIdx.x % chunks * chunk, first = blockIdx.x / chunks * rows_of_block;
  const int count = static_cast<int>(size - begin < chunk ? size - begin : chunk);
  const int n_rows = static_cast<int>(rows - first < rows_of_block ? rows - first : rows_of_block);
  T* kept = reinterpret_cast<T*>(shared_memory);
  T* absent = kept + chunk;
  Word* coalitions = reinterpret_cast<Word*>(absent + chunk);
  std::uint8_t* bits = reinterpret_cast<std::uint8_t*>(coalitions + rows_of_block);
  const int n = masks.n_players;
  for (int e = static_cast<int>(threadIdx.x); e < count; e += kThreads) {
    kept[e] = x[begin + e], absent[e] = baseline[begin + e];
    const std::int32_t player = players[begin + e];
    bits[e] = static_cast<std::uint8_t>(player < 0 ? n : player < n ? player : n - 1);
  }
  ReadCoalitions(masks, first, n_rows, coalitions, bits + chunk);
  __syncthreads();
  // Packs of all rows in one sequence, so that narrow rows keep all threads busy too.
  const int packs = count / kVector;
  int row = static_cast<int>(threadIdx.x) / packs, pack = static_cast<int>(threadIdx.x) % packs;
  const int row_step = kThreads / packs, pack_step = kThreads % packs;
  while (row < n_rows) {
    const Word coalition = coalitions[row];
    const auto input = reinterpret_cast<const Elements*>(kept)[pack];
    const auto other = reinterpret_cast<const Elements*>(absent)[pack];
    const auto bit = reinterpret_cast<const Bits*>(bits)[pack];
    Elements made;
#pragma unroll
    for (int e = 0; e < kVector; ++e) {
      made.element[e] =
          MaskedElement<T, Word>(coalition, bit.element[e], input.element[e], other.element[e]);
    }
    reinterpret_cast<Elements*>(out + (first + row) * size + begin)[pack] = made;
    row += row_step, pack += pack_step;
    if (pack >= packs) pack -= packs, ++row;
  }
}

template <class T>
const char* MaskedInputs(const Masks& masks, Index rows, const void* x, const void* baseline,
                         const std::int32_t* players, Index size, void* out, CudaStream stream) {
  constexpr int kVector = kVectorBytes / static_cast<int>(sizeof(T));
  constexpr int kWord = sizeof(T) < 4 ? 4 / static_cast<int>(sizeof(T)) : 1;
  const Index chunk = size < kChunk ? CeilDiv(size, kVectorBytes) * kVectorBytes : kChunk;
  Index rows_of_block = kElementsOfBlock / chunk;
  if (rows_of_block < kLeastRows) rows_of_block = kLeastRows;
  const Index most =
      kMostRows < kMaskBytes / masks.n_players ? kMostRows : kMaskBytes / masks.n_players;
  if (rows_of_block > most) rows_of_block = most;
  rows_of_block -= rows_of_block % kLeastRows;  // masks begin at a sector, packs at 16 bytes
  const Index blocks = CeilDiv(size, chunk) * CeilDiv(rows, rows_of_block);
  const Index of_row = sizeof(Word) + (masks.bytes ? masks.n_players : 0);
  const Index shared_bytes = chunk * (2 * sizeof(T) + 1) + rows_of_block * of_row;
  const auto fits = [&](int vector) {
    return size % vector == 0 && reinterpret_cast<std::uintptr_t>(out) % (vector * sizeof(T)) == 0;
  };
  const auto kernel = fits(kVector) ? Assemble<T, kVector>
                      : fits(kWord) ? Assemble<T, kWord>
                                    : Assemble<T, 1>;
  return Launch(kernel, blocks, kThreads, shared_bytes, stream, masks, rows, rows_of_block,
                static_cast<const T*>(x), static_cast<const T*>(baseline), players, size, chunk,
                static_cast<T*>(out));
}

}  // namespace

const char* LaunchMaskedInputsCuda(Index element_bytes, const Masks& masks, Index rows,
                                   const void* x, const void* baseline, const std::int32_t* players,
                                   Index size, void* out, CudaStream stream) {
  if (rows == 0 || size == 0) return nullptr;
  const auto launch = element_bytes == 1   ? MaskedInputs<std::uint8_t>
                      : element_bytes == 2 ? MaskedInputs<std::uint16_t>
                      : element_bytes == 4 ? MaskedInputs<std::uint32_t>
                      : element_bytes == 8 ? MaskedInputs<std::uint64_t>
                                           : nullptr;
  if (!launch) return "elements must have 1, 2, 4 or 8 bytes";
  return launch(masks, rows, x, baseline, players, size, out, stream);
}

}  // namespace jaxinter
