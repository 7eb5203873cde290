// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels without a GPU: csrc/*_cuda.cu as they are, on the device of cuda_shim/, against
// the CPU kernels. Bits are the same; threads run in several orders; with recording (cuda_shim.h)
// no race, nothing out of bounds, coalesced accesses, no bank conflicts. `.ci/check_cuda` builds
// and runs it. An argument names one part: transform, fused or assembly.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../csrc/assemble_kernels.h"
#include "../csrc/lattice_kernels.h"
#include "../csrc/threads.h"
#include "cuda_shim/cuda_shim.h"

using namespace jaxinter;

namespace {

int failures = 0;
// Bytes of the sectors that warps touch, over what they ask for; tables of few bytes end within a
// sector, and where memory, or a row, does not begin with one, the 128 bytes of a warp lie in five,
// not four.
constexpr double kCoalesced = 1.1, kMisaligned = 1.3, kMisalignedBytes = 2;
constexpr std::int64_t kFewBytes = 4096;
constexpr int kTinyLimit =
    12 * 1024;  // of shared memory: tiles of 2^10, and a third pass from 2^18

void Check(bool ok, const std::string& what) {
  if (ok) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

std::mt19937_64 random_bits(1);

// Device memory with the values of a vector, a few elements off its alignment.
template <class T>
class Device {
 public:
  explicit Device(std::size_t size, int offset = 0)
      : size_(size), data_(static_cast<T*>(shim::Allocate(size * sizeof(T), offset * sizeof(T)))) {}
  Device(const std::vector<T>& values, int offset = 0) : Device(values.size(), offset) {
    std::copy(values.begin(), values.end(), data_);
  }
  Device(const Device&) = delete;
  ~Device() { shim::Free(data_); }
  T* get() const { return data_; }
  std::vector<T> Values() const { return {data_, data_ + size_}; }

 private:
  std::size_t size_;
  T* data_;
};

template <class T>
std::vector<T> Normal(Index size) {
  std::normal_distribution<T> normal;
  std::vector<T> x(size);
  for (T& value : x) value = normal(random_bits);
  return x;
}

// Equal bit for bit, save that zeros have no sign.
template <class T>
bool Same(const std::vector<T>& x, const std::vector<T>& y) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(x[i] == y[i] || (x[i] != x[i] && y[i] != y[i]))) return false;
  }
  return x.size() == y.size();
}

// What was recorded of the launches of one call; `conflicts`: bank conflicts, at most, for each
// access of a warp to shared memory.
void CheckRecord(const std::string& what, const char* error, double coalesced, double conflicts) {
  Check(error == nullptr, what + ": " + (error ? error : ""));
  const shim::Record& record = shim::Recorded();
  Check(record.errors == 0, what + ": " + record.first_error);
  if (!shim::Recording()) return;
  Check(record.fetched <= coalesced * record.needed || record.needed < kFewBytes,
        what + ": fetches " + std::to_string(record.fetched) + " bytes for " +
            std::to_string(record.needed));
  Check(record.conflicts <= conflicts * record.shared_accesses,
        what + ": " + std::to_string(record.conflicts) + " bank conflicts of " +
            std::to_string(record.shared_accesses) + " accesses");
}

template <class T>
void CheckTransform(Index batch, int n, const Matrix2& matrix, int offset) {
  const std::string what = "transform " + std::to_string(8 * sizeof(T)) +
                           " bits, n = " + std::to_string(n) + ", batch " + std::to_string(batch);
  SleepingThreads threads(0);
  std::vector<T> in = Normal<T>(batch << n), expected(in.size());
  in[in.size() / 3] = std::numeric_limits<T>::infinity();
  LaunchSubsetTransformCpu(in.data(), expected.data(), batch, n, matrix, threads);
  const Device<T> from(in, offset), to(in.size(), offset);
  shim::Reset();
  const char* error =
      LaunchSubsetTransformCuda(from.get(), to.get(), batch, n, matrix, CudaStream{});
  CheckRecord(what, error, offset ? kMisaligned : kCoalesced, 0);
  // Device memory is read and written once a pass: one, as long as a block holds a table.
  const bool is_float = sizeof(T) == 4, general = matrix.a00 != std::round(matrix.a00);
  const int limit = shim::SharedLimit();
  const int one_pass = limit == kTinyLimit    ? 10
                       : limit < 128 * 1024   ? (is_float ? 14 : 13)
                       : is_float && !general ? 15
                                              : 14;
  const Index passes = n <= one_pass ? 1 : limit == kTinyLimit ? 3 : 2;
  Check(!shim::Recording() ||
            shim::Recorded().needed == passes * 2 * static_cast<Index>(in.size() * sizeof(T)),
        what + ": more than " + std::to_string(passes) + " passes");
  Check(Same(to.Values(), expected), what);
  Check(Same(from.Values(), in), what + ": the input has changed");
  shim::Reset();
  error = LaunchSubsetTransformCuda(from.get(), from.get(), batch, n, matrix, CudaStream{});
  CheckRecord(what + ", in place", error, offset ? kMisaligned : kCoalesced, 0);
  Check(Same(from.Values(), expected), what + ", in place");
}

template <class T>
void CheckFused(Index batch, int n, bool with_delta, int offset) {
  const std::string what = "fused " + std::to_string(8 * sizeof(T)) +
                           " bits, n = " + std::to_string(n) + ", batch " + std::to_string(batch);
  SleepingThreads threads(0);
  const Index size = batch << n;
  std::vector<T> v = Normal<T>(size), gamma = Normal<T>(size), delta = Normal<T>(size);
  std::vector<T> a(size), b(size);
  std::vector<double> sums(batch * 2 * n);
  LaunchAndOrEffectsCpu(v.data(), gamma.data(), with_delta ? delta.data() : nullptr, a.data(),
                        b.data(), sums.data(), batch, n, threads);
  const Device<T> d_v(v, offset), d_gamma(gamma, offset), d_delta(delta, offset);
  const Device<T> d_a(size, offset), d_b(size, offset), d_sums(sums.size());
  const Device<double> workspace(AndOrWorkspaceBytes(batch, n, sizeof(T)) / sizeof(double));
  shim::Reset();
  const char* error = LaunchAndOrEffectsCuda(
      d_v.get(), d_gamma.get(), with_delta ? d_delta.get() : nullptr, d_a.get(), d_b.get(),
      d_sums.get(), workspace.get(), batch, n, CudaStream{});
  CheckRecord(what, error, offset ? kMisaligned : kCoalesced, n < 5 ? 8 : 0.1);
  Check(Same(d_a.Values(), a), what + ": AND effects");
  Check(Same(d_b.Values(), b), what + ": OR effects");
  const std::vector<T> got = d_sums.Values();
  bool near = true;
  for (std::size_t i = 0; i < got.size(); ++i) {
    near = near && std::fabs(got[i] - sums[i]) <= (sizeof(T) == 4 ? 2e-6 : 1e-12) * sums[i];
  }
  Check(near, what + ": sums");
}

template <class T>
void CheckAssembly(Index rows, int n, Index size, int form, int offset) {
  const std::string what = "assembly of " + std::to_string(rows) + " x " + std::to_string(size) +
                           " of " + std::to_string(sizeof(T)) + " bytes, n = " + std::to_string(n);
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
  SleepingThreads threads(0);
  LaunchMaskedInputsCpu<T>(masks(bytes.data(), indices32.data(), indices64.data()), rows, x.data(),
                           baseline.data(), players.data(), size, expected.data(), threads);
  const Device<std::uint8_t> d_bytes(bytes);
  const Device<std::int32_t> d_indices32(indices32), d_players(players);
  const Device<std::int64_t> d_indices64(indices64);
  const Device<T> d_x(x), d_baseline(baseline), out(rows * size, offset);
  shim::Reset();
  const char* error = LaunchMaskedInputsCuda(
      sizeof(T), masks(d_bytes.get(), d_indices32.get(), d_indices64.get()), rows, d_x.get(),
      d_baseline.get(), d_players.get(), size, out.get(), CudaStream{});
  const double misaligned = sizeof(T) == 1 ? kMisalignedBytes : kMisaligned;
  CheckRecord(what, error, offset || size * sizeof(T) % 32 ? misaligned : kCoalesced,
              sizeof(T) < 4 ? 0.5 : 0.1);
  Check(Same(out.Values(), expected), what);
}

template <class T>
void CheckBoth(Index batch, int n, const std::string& part) {
  const std::vector<Matrix2> matrices = {Mobius::kMatrix,
                                         ComplementMobius::kMatrix,
                                         Matrix2{0.6, 0.8, -0.8, 0.6},
                                         SupersetMobius::kMatrix,
                                         AndToOr::kMatrix,
                                         Zeta::kMatrix,
                                         AndToOrTransposed::kMatrix,
                                         SupersetZeta::kMatrix};
  const std::size_t count = n <= 10 ? matrices.size() : n <= 14 ? 3 : 2;
  for (std::size_t i = 0; part != "fused" && i < count; ++i) {
    CheckTransform<T>(batch, n, matrices[i], static_cast<int>(i % 2));
  }
  for (const bool with_delta : {false, true}) {
    if (part != "transform" && (n <= 14 || with_delta)) {
      CheckFused<T>(batch, n, with_delta, with_delta);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string part = argc > 1 ? argv[1] : "";
  const int most = argc > 2 ? std::atoi(argv[2]) : 17;
  setenv("JAXINTER_THREADS", "1", 1);
  const shim::Schedule schedules[] = {shim::Schedule::kForward, shim::Schedule::kReverse,
                                      shim::Schedule::kShuffled};
  // Of a block: H100, A100, and consumer cards from 2020 on.
  const int limits[] = {227 * 1024, 163 * 1024, 99 * 1024};
  int round = 0;
  shim::SetSharedLimit(kTinyLimit);
  if (part != "assembly") CheckBoth<float>(3, 18, part);
  for (int n = 0; n <= most && part != "assembly"; ++n) {
    for (const Index batch : {Index{1}, Index{3}, n <= 6 ? Index{1001} : Index{5}}) {
      if (batch > 1 && n > 12 && batch << n > 1 << 16) continue;
      shim::SetSchedule(schedules[round % 3]);
      shim::SetSharedLimit(limits[round / 3 % 3]);
      ++round;
      CheckBoth<float>(batch, n, part);
      CheckBoth<double>(batch, n, part);
    }
  }
  shim::SetSharedLimit(limits[2]);
  for (const int n : {1, 8, 31, 32, 33, 62}) {
    for (int form = 0; form < 3 && (part.empty() || part == "assembly"); ++form) {
      if (form == 1 && n > 31) continue;
      shim::SetSchedule(schedules[round++ % 3]);
      CheckAssembly<std::uint8_t>(40, n, 3 * 1024 + 16, form, 0);
      CheckAssembly<std::uint8_t>(37, n, 1500, form, 0);
      CheckAssembly<std::uint8_t>(7, n, 1500, form, 1);
      CheckAssembly<std::uint16_t>(33, n, 504, form, 0);
      CheckAssembly<std::uint32_t>(2500, n, 10, form, 0);
      CheckAssembly<std::uint32_t>(65, n, 784, form, 0);
      CheckAssembly<std::uint64_t>(3, n, 2049, form, 0);
      CheckAssembly<std::uint64_t>(500, n, 1, form, 0);
    }
  }
  std::printf("CUDA kernels on the host, %s: %s\n",
              shim::Recording() ? "all accesses recorded" : "nothing recorded",
              failures ? "FAILED" : "all hold");
  return failures != 0;
}
