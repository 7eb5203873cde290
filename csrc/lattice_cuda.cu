// SPDX-License-Identifier: Apache-2.0
// The subset transforms and the fused AND-OR split on CUDA, over the walk of lattice_cuda.h.
//
// Device memory is read and written once a pass, and a pass takes as many players as a block's
// registers and shared memory hold: all of a table up to 2^15 float32 or 2^14 float64 (fused 2^14
// and 2^13), so that only larger tables need a second pass. Its blocks hold panels: rows of at
// least 32 bytes, a sector, and of 128 up to 2^25 float32, one for each coalition of the players
// between the passes. Players are taken in the order 0, 1, ..., n-1: the same bits as on the CPU,
// with no fused multiply-add (CMakeLists.txt).
#include "lattice_cuda.h"

#include <type_traits>
#include <utility>

#include "lattice_kernels.h"

namespace jaxinter {
namespace {

constexpr int kRegisterBits = 5;
constexpr int kWarpBits = kLaneBits + kRegisterBits;
constexpr int kMostPlayers = 32;  // places within a table are 32-bit words
constexpr char kTooManyPlayers[] = "tables of more than 32 players";
constexpr Index kMostSums = 32 * 2 * (kWarpBits + 1) * Index{sizeof(double)};
// Where a warp needs no others, this many share a block.
constexpr int kWarpsOfBlock = 4;

// How a pass cuts a batch into tiles of 2^bits elements: rows of 2^column_bits neighbours, which
// lie 2^row_bits apart; tiles of neighbouring columns follow each other.
struct Tiles {
  int bits, column_bits, row_bits;
  int begin, end;  // bits of an element's place in its tile that this pass takes the players of
  int table_bits;  // n; tables of a flat batch may be smaller than a tile
  bool last;       // pass of its table
  Index elements;  // of the batch

  // The first element of a tile, of all tables.
  JAXINTER_INLINE Index At(Index tile) const {
    const int between = row_bits - column_bits;
    const Index within = tile & ((Index{1} << between) - 1);
    return within << column_bits | tile >> between << (row_bits + bits - column_bits);
  }
  // Of an element of a tile, from the tile's first; less than 2^kMostPlayers.
  JAXINTER_INLINE unsigned Offset(int place) const {
    return (place & ((1 << column_bits) - 1)) | unsigned(place >> column_bits) << row_bits;
  }
  // How many of the elements here, here + step, ... there are; many mean all of a thread's.
  JAXINTER_INLINE int CountFrom(Index here, unsigned step) const {
    if (here + (Index{step} << kRegisterBits) <= elements) return 1 << kRegisterBits;
    return here < elements ? static_cast<int>((elements - here + step - 1) / step) : 0;
  }
  JAXINTER_INLINE Index InTable(Index element) const {
    return element & ((Index{1} << table_bits) - 1);
  }
  // Of those that a warp's lanes differ in.
  JAXINTER_INLINE int LanePlayers() const {
    return table_bits < kLaneBits ? table_bits : kLaneBits;
  }
  // Tiles, or tables where these are smaller.
  JAXINTER_INLINE Index CountOfSums() const {
    return elements >> (table_bits < bits ? table_bits : bits);
  }
};

template <class T>
struct Values {
  const T* in;
  JAXINTER_DEVICE T Read(Index i) const { return in[i]; }
};

// SplitPart of v - delta; without kDelta, delta is 0.
template <class T, int sign, bool kDelta>
struct Split {
  const T *v, *gamma, *delta;
  JAXINTER_DEVICE T Read(Index i) const {
    return SplitPart<sign, T>(kDelta ? v[i] - delta[i] : v[i], gamma[i]);
  }
};

// ComplementMobius is done as the Mobius transform of the mirrored table: the same sums, without a
// step that exchanges registers.
template <class Step>
constexpr bool kMirrors = std::is_same_v<Step, ComplementMobius>;
template <class Step>
auto WalkStep(const Step& step) {
  if constexpr (kMirrors<Step>) {
    return Mobius();
  } else {
    return step;
  }
}

// One transform. `kZeroEmpty`: 0 is left at the empty coalition.
template <class Source, class T, class Step, bool kZeroEmpty = false>
struct Job {
  static constexpr bool kMirror = kMirrors<Step>;
  Source source;
  T* out;
  decltype(WalkStep(std::declval<Step>())) step;
};

// Two jobs hold half of what one holds: 64 registers of 32 bits, of the 128 that each of 512
// threads can have, are too many for float64 once there are sums.
template <class T, class... Jobs>
constexpr int kFullBits = sizeof(T) == 8 && sizeof...(Jobs) != 1 ? 4 : kRegisterBits;
// The players of the largest tile: 128 KiB of a block's shared memory, where it has as much; half
// of it for jobs that want more than the 64 registers that each of 1024 threads can have.
template <class T, class... Jobs>
constexpr int kTileBits = sizeof(T) == 8 && sizeof...(Jobs) != 1 ? 13 : 14;
template <class Source, class Step, bool kZeroEmpty>
constexpr int kTileBits<float, Job<Source, float, Step, kZeroEmpty>> =
    std::is_same_v<Step, GeneralStep<float>> ? 14 : 15;
// The most threads of a block.
template <int kBits, class T, class... Jobs>
constexpr int kMaxThreads = kBits < kFullBits<T, Jobs...> ? kWarpsOfBlock << kLaneBits
                                                          : 1 << (kTileBits<T, Jobs...> - kBits);

JAXINTER_DEVICE int Order(Index index) { return __popcll(static_cast<unsigned long long>(index)); }

JAXINTER_INLINE constexpr int PopCount(int i) { return i ? 1 + PopCount(i & (i - 1)) : 0; }

// Sums of the positive and of the negative entries of a warp, by the size of their coalition.
template <class T, int kBits>
struct OrderSums {
  static constexpr int kOrders = kBits + kLaneBits + 1;
  // By order within the registers; the table's dtype holds a few dozen terms of one sign well.
  T positive[kBits + 1] = {}, negative[kBits + 1] = {};

  JAXINTER_DEVICE void Take(const T (&x)[1 << kBits]) {
    TakeEach(x, std::make_integer_sequence<int, 1 << kBits>());
  }

  // Adds up the lanes of each of the warp's tables, 2^lane_players of them, lane player by lane
  // player: an entry whose lane has the player counts one order higher. At the first one the lanes
  // part: an even one goes on with positive sums, an odd one with negative ones.
  JAXINTER_DEVICE void CombineLanes(int lane_players, double (&sums)[kOrders]) const {
    const bool odd = LaneIndex() & 1;
#pragma unroll
    for (int order = 0; order < kOrders; ++order) sums[order] = 0;
#pragma unroll
    for (int order = 0; order <= kBits; ++order) {
      const double mine = odd ? negative[order] : positive[order];
      const double got = __shfl_xor_sync(kAllLanes, odd ? positive[order] : negative[order], 1);
      sums[order] += odd ? got : mine;  // of the even lane, without player 0
      sums[order + 1] += odd ? mine : got;
    }
#pragma unroll
    for (int player = 1; player < kLaneBits; ++player) {
      if (player >= lane_players) break;
      const bool present = LaneIndex() >> player & 1;
      double below = 0;  // what entries with the player bring, from one order less
#pragma unroll
      for (int order = 0; order <= kBits + player + 1; ++order) {
        const double mine = sums[order], got = __shfl_xor_sync(kAllLanes, mine, 1 << player);
        sums[order] = (present ? got : mine) + below;
        below = present ? mine : got;
      }
    }
  }

 private:
  template <int... i>
  JAXINTER_DEVICE void TakeEach(const T (&x)[1 << kBits], std::integer_sequence<int, i...>) {
    ((positive[PopCount(i)] += x[i] < 0 ? T{0} : x[i]), ...);  // a NaN ends in both
    ((negative[PopCount(i)] -= x[i] > 0 ? T{0} : x[i]), ...);
  }
};

// One job of one tile, by a warp or by a block. With kSums, adds the sums of each of a warp's
// tables to parts [tables, 2, orders].
template <int kBits, bool kSums, class Source, class T, class Step, bool kZeroEmpty>
JAXINTER_DEVICE void RunTile(const Tiles& tiles, Index at, double* parts,
                             const Job<Source, T, Step, kZeroEmpty>& job) {
  constexpr int kInWarp = kLaneBits + kBits;
  T x[1 << kBits];
  const int place = First<kBits>() & ((1 << tiles.bits) - 1);
  {
    const unsigned step = tiles.Offset(1 << kLaneBits);
    constexpr int kRegisters = (1 << kBits) - 1;
    const int mirror = job.kMirror ? (1 << tiles.end) - (1 << tiles.begin) : 0;
    const int flip = mirror >> kLaneBits & kRegisters;
    const Index from = at + tiles.Offset(place ^ (mirror & ~(kRegisters << kLaneBits)));
    const int count = tiles.CountFrom(from, step);
#pragma unroll
    for (int i = 0; i < (1 << kBits); ++i) {
      x[i] = (i ^ flip) < count ? job.source.Read(from + (i ^ flip) * step) : T{0};
    }
    if (job.kMirror) __syncwarp();  // until all of the warp's tile is read: it may be `out`
  }
#pragma unroll 1
  for (int player = tiles.begin; player < kLaneBits && player < tiles.end; ++player) {
    StepLanes<kBits>(x, player, job.step);
  }
  StepRegisters<kBits>(x, tiles.begin - kLaneBits, tiles.end - kLaneBits, job.step);
  const bool regroup = tiles.bits > kInWarp;
  if (regroup) {
    Regroup<kBits>(x, reinterpret_cast<T*>(shared_memory), tiles.bits);
    const int top = tiles.bits - kBits;  // the player of the first register bit
    StepRegisters<kBits>(x, kInWarp - top, tiles.end - top, job.step);
  }
  const Index here = at + tiles.Offset(regroup ? Last() : First<kBits>() & ((1 << tiles.bits) - 1));
  const unsigned step = tiles.Offset(regroup ? 1 << (tiles.bits - kBits) : 1 << kLaneBits);
  if (kZeroEmpty && tiles.last && tiles.InTable(here) == 0) x[0] = 0;
  const int count = tiles.CountFrom(here, step);
#pragma unroll
  for (int i = 0; i < (1 << kBits); ++i) {
    if (i < count) job.out[here + i * step] = x[i];
  }
  if constexpr (kSums) {
    constexpr int kOrders = OrderSums<T, kBits>::kOrders;
    OrderSums<T, kBits> taken;
    taken.Take(x);
    const int lane_players = tiles.LanePlayers(), table = LaneIndex() >> lane_players;
    double sums[kOrders];
    taken.CombineLanes(lane_players, sums);
    const int in_table = LaneIndex() & ((1 << lane_players) - 1);
#pragma unroll
    for (int order = 0; order < kOrders; ++order) {
      if (in_table < 2) parts[(2 * table + in_table) * kOrders + order] += sums[order];
    }
  }
}

// Whether warps have tiles of their own; and the tile of this one.
template <int kBits>
JAXINTER_DEVICE bool IsAlone(const Tiles& tiles) {
  return tiles.bits <= kLaneBits + kBits;
}
template <int kBits>
JAXINTER_DEVICE Index TileOfWarp(const Tiles& tiles, int warp) {
  return IsAlone<kBits>(tiles) ? Index{blockIdx.x} * WarpCount() + warp : Index{blockIdx.x};
}

template <int kBits, class T, class... Jobs>
__global__ void __launch_bounds__(kMaxThreads<kBits, T, Jobs...>, 1)
    TilePass(Tiles tiles, Jobs... jobs) {
  const Index at = tiles.At(TileOfWarp<kBits>(tiles, WarpIndex()));
  (RunTile<kBits, false>(tiles, at, nullptr, jobs), ...);
}

// The last pass, with the sums of its tiles: `sums` [tables, 2, n] where a table is one tile, else
// null and `partial` [tiles, 2, n].
template <int kBits, class T, class... Jobs>
__global__ void __launch_bounds__(kMaxThreads<kBits, T, Jobs...>, 1)
    SumPass(Tiles tiles, T* sums, double* partial, Jobs... jobs) {
  constexpr int kOrders = OrderSums<T, kBits>::kOrders;
  const int n = tiles.table_bits;
  const bool alone = IsAlone<kBits>(tiles);
  const int tables_of_warp = 1 << (kLaneBits - tiles.LanePlayers());
  // Of each warp, or of each of its tables where these are smaller, [2, kOrders]; after the room
  // that Regroup needs.
  const Index used = alone ? 0 : Index{sizeof(T)} << tiles.bits;
  double* parts = reinterpret_cast<double*>(shared_memory + used);
  double* mine = parts + WarpIndex() * tables_of_warp * 2 * kOrders;
  for (int i = LaneIndex(); i < tables_of_warp * 2 * kOrders; i += 32) mine[i] = 0;
  __syncwarp();
  const Index at = tiles.At(TileOfWarp<kBits>(tiles, WarpIndex()));
  (RunTile<kBits, true>(tiles, at, mine, jobs), ...);
  __syncthreads();
  // A tile's sums: of one part, or of all warps'.
  const int tiles_of_block = alone ? WarpCount() * tables_of_warp : 1;
  const Index begin = Index{blockIdx.x} * tiles_of_block, end = tiles.CountOfSums();
  for (int i = static_cast<int>(threadIdx.x); i < tiles_of_block * 2 * n; i += blockDim.x) {
    const int row = i / (2 * n), sign = i % (2 * n) / n, order = i % n + 1;
    if (begin + row >= end) break;
    double total = 0;
    for (int part = alone ? row : 0; part < (alone ? row + 1 : WarpCount()); ++part) {
      const int warp = part / tables_of_warp;
      const int place = alone ? 0 : warp << kLaneBits;
      const Index first = tiles.At(TileOfWarp<kBits>(tiles, warp)) + tiles.Offset(place);
      // of the players that neither lanes nor registers differ in
      const int below = order - (tables_of_warp > 1 ? 0 : Order(tiles.InTable(first)));
      if (below >= 0 && below < kOrders) total += parts[(2 * part + sign) * kOrders + below];
    }
    if (sums) {
      sums[begin * 2 * n + i] = static_cast<T>(total);
    } else {
      partial[begin * 2 * n + i] = total;
    }
  }
}

// sums [tables, 2 n] of partial [tables, tiles, 2 n], tile by tile.
template <class T>
__global__ void AddTiles(const double* partial, Index tiles, Index tables, int row, T* sums) {
  const Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= tables * row) return;
  double total = 0;
  for (Index tile = 0; tile < tiles; ++tile) {
    total += partial[(i / row * tiles + tile) * row + i % row];
  }
  sums[i] = static_cast<T>(total);
}

// The passes over tables of n players, first to last: the low players on contiguous tiles, then
// panels.
struct Plan {
  int count = 0;
  Tiles passes[4];

  template <class T>
  static Plan Make(Index batch, int n, int smallest, int largest) {
    const int shared_bytes = SharedLimit();
    while ((Index{sizeof(T)} << largest) + kMostSums > shared_bytes) --largest;
    const int row = sizeof(T) == 4 ? 5 : 4;    // 128 bytes
    const int of_panel = largest - (row - 2);  // players, at most, in rows of 32 bytes
    Plan plan;
    const auto add = [&](int bits, int column_bits, int row_bits, int begin, int end) {
      plan.passes[plan.count++] = {bits, column_bits, row_bits, begin, end, n, false, batch << n};
    };
    const int panels = n <= largest ? 0 : static_cast<int>(CeilDiv(n - largest, of_panel));
    // Of two passes each takes about half the bytes of its tiles: smaller ones leave room for more
    // blocks on a processor, which hide each other's waiting. A panel fills at least a warp.
    const int half = (n + row + 1) / 2, most = n - panels * kRegisterBits;
    int first = panels == 0 ? n : panels == 1 && half < largest ? half : largest;
    if (panels > 0 && first > most) first = most;
    const int least = panels == 0 ? smallest : kWarpBits, bits = first < least ? least : first;
    add(bits, bits, bits, 0, first);
    for (int panel = 0, level = first; panel < panels; ++panel) {
      const int bits = static_cast<int>(CeilDiv(n - level, panels - panel));
      const int columns = bits + row > largest     ? largest - bits
                          : bits + row < kWarpBits ? kWarpBits - bits
                                                   : row;
      add(bits + columns, columns, level, columns, columns + bits);
      level += bits;
    }
    plan.passes[plan.count - 1].last = true;
    return plan;
  }
};

template <int kBits>
struct Shape {
  Index blocks, shared_bytes;
  int threads;

  Shape(const Tiles& tiles, Index element_bytes, bool sums) {
    constexpr int kInWarp = kLaneBits + kBits;
    const bool alone = tiles.bits <= kInWarp;
    const Index count = CeilDiv(tiles.elements, Index{1} << tiles.bits);
    blocks = alone ? CeilDiv(count, kWarpsOfBlock) : count;
    threads = alone ? kWarpsOfBlock << kLaneBits : 1 << (tiles.bits - kBits);
    shared_bytes = alone ? 0 : element_bytes << tiles.bits;
    if (sums)
      shared_bytes += (threads >> tiles.LanePlayers()) * 2 * (kInWarp + 1) * Index{sizeof(double)};
  }
};

}  // namespace

template <class T>
const char* LaunchSubsetTransformCuda(const T* in, T* out, Index batch, int n,
                                      const Matrix2& matrix, CudaStream stream) {
  if (batch == 0) return nullptr;
  if (n > kMostPlayers) return kTooManyPlayers;
  const char* error = nullptr;
  WithStep<T>(matrix, [&](const auto& step) {
    using Step = std::decay_t<decltype(step)>;
    using Only = Job<Values<T>, T, Step>;
    Only job{{in}, out, WalkStep(step)};
    const Plan plan = Plan::Make<T>(batch, n, kWarpBits, kTileBits<T, Only>);
    for (int pass = 0; pass < plan.count && !error; ++pass) {
      const Tiles& tiles = plan.passes[pass];
      const Shape<kRegisterBits> shape(tiles, sizeof(T), false);
      error = Launch(TilePass<kRegisterBits, T, Only>, shape.blocks, shape.threads,
                     shape.shared_bytes, stream, tiles, job);
      job.source = {out};
    }
  });
  return error;
}

template const char* LaunchSubsetTransformCuda<float>(const float*, float*, Index, int,
                                                      const Matrix2&, CudaStream);
template const char* LaunchSubsetTransformCuda<double>(const double*, double*, Index, int,
                                                       const Matrix2&, CudaStream);

namespace {

// Tables smaller than a full warp's 2^10 elements: fewer registers a thread, one table a warp.
template <int kFull, class F>
void WithRegisterBits(int n, const F& f) {
  switch (n - kLaneBits) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    default:
      return n > kLaneBits ? f(std::integral_constant<int, kFull>())
                           : f(std::integral_constant<int, 0>());
  }
}

template <class T>
Index TilesOfTable(int n) {
  const Plan plan = Plan::Make<T>(1, n, kLaneBits, kTileBits<T>);
  return n < kLaneBits ? 1 : Index{1} << (n - plan.passes[plan.count - 1].bits);
}

template <class T, bool kDelta>
const char* AndOrEffects(const T* v, const T* gamma, const T* delta, T* and_effects, T* or_effects,
                         T* sums, double* partial, Index batch, int n, CudaStream stream) {
  const Plan plan = Plan::Make<T>(batch, n, kLaneBits, kTileBits<T>);
  constexpr int kFull = kFullBits<T>;
  const Index tiles_of_table = TilesOfTable<T>(n);
  const char* error = nullptr;
  const auto pass = [&](const Tiles& tiles, const auto&... jobs) {
    const Shape<kFull> shape(tiles, sizeof(T), false);
    error = Launch(TilePass<kFull, T, std::decay_t<decltype(jobs)>...>, shape.blocks, shape.threads,
                   shape.shared_bytes, stream, tiles, jobs...);
  };
  const auto last_pass = [&](auto bits, const Tiles& tiles, const auto&... jobs) {
    constexpr int kBits = decltype(bits)::value;
    const Shape<kBits> shape(tiles, sizeof(T), true);
    error = Launch(SumPass<kBits, T, std::decay_t<decltype(jobs)>...>, shape.blocks, shape.threads,
                   shape.shared_bytes, stream, tiles, tiles_of_table == 1 ? sums : nullptr, partial,
                   jobs...);
  };
  const Job<Split<T, 1, kDelta>, T, Mobius> and_part{{v, gamma, delta}, and_effects, {}};
  const Job<Split<T, -1, kDelta>, T, ComplementMobius, true> or_part{
      {v, gamma, delta}, or_effects, {}};
  if (plan.count == 1) {
    WithRegisterBits<kFull>(n,
                            [&](auto bits) { last_pass(bits, plan.passes[0], and_part, or_part); });
    return error;
  }
  const Job<Values<T>, T, Mobius> and_rest{{and_effects}, and_effects, {}};
  const Job<Values<T>, T, ComplementMobius, true> or_rest{{or_effects}, or_effects, {}};
  pass(plan.passes[0], and_part, or_part);
  for (int i = 1; i + 1 < plan.count && !error; ++i) pass(plan.passes[i], and_rest, or_rest);
  if (error) return error;
  const std::integral_constant<int, kFull> all;
  last_pass(all, plan.passes[plan.count - 1], and_rest, or_rest);
  if (error) return error;
  const Index rows = batch * 2 * n;
  return Launch(AddTiles<T>, CeilDiv(rows, 128), 128, 0, stream, partial, tiles_of_table, batch,
                2 * n, sums);
}

}  // namespace

Index AndOrWorkspaceBytes(Index batch, int n, Index element_bytes) {
  const Index tiles = element_bytes == 4 ? TilesOfTable<float>(n) : TilesOfTable<double>(n);
  return tiles == 1 ? 0 : batch * tiles * 2 * n * Index{sizeof(double)};
}

template <class T>
const char* LaunchAndOrEffectsCuda(const T* v, const T* gamma, const T* delta, T* and_effects,
                                   T* or_effects, T* sums, void* workspace, Index batch, int n,
                                   CudaStream stream) {
  if (batch == 0) return nullptr;
  return (delta ? AndOrEffects<T, true>
                : AndOrEffects<T, false>)(v, gamma, delta, and_effects, or_effects, sums,
                                          static_cast<double*>(workspace), batch, n, stream);
}

template const char* LaunchAndOrEffectsCuda<float>(const float*, const float*, const float*, float*,
                                                   float*, float*, void*, Index, int, CudaStream);
template const char* LaunchAndOrEffectsCuda<double>(const double*, const double*, const double*,
                                                    double*, double*, double*, void*, Index, int,
                                                    CudaStream);

}  // namespace jaxinter
