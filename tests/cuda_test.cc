// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels without a GPU: csrc/*_cuda.cu as they are, on the device of cuda_shim/, against
// the CPU kernels. Bits are the same; threads run in several orders; with recording (cuda_shim.h)
// no race, nothing out of bounds, coalesced accesses, no bank conflicts. `.ci/check_cuda` builds
// and runs it. An argument names one part: transform, fused or assembly.
#include <cstdlib>
#include <string>
#include <vector>

#include "cuda_checks.h"
#include "cuda_shim/cuda_shim.h"

using namespace jaxinter;

namespace {

// Bytes of the sectors that warps touch, over what they ask for; tables of few bytes end within a
// sector, and where memory, or a row, does not begin with one, the 128 bytes of a warp lie in five,
// not four.
constexpr double kCoalesced = 1.1, kMisaligned = 1.3, kMisalignedBytes = 2;
constexpr std::int64_t kFewBytes = 4096;
// Of shared memory: tiles of 2^10, and a third pass from 2^18.
constexpr int kTinyLimit = 12 * 1024;

// The shim's device, with what was recorded of the launches of one call.
struct Shim {
  template <class T>
  using Memory = shim::Memory<T>;
  static CudaStream Stream() { return {}; }
  static void Begin() { shim::Reset(); }

  static void End(const std::string& what, const char* error, const Launched& launched) {
    Check(error == nullptr, what + ": " + (error ? error : ""));
    const shim::Record& record = shim::Recorded();
    Check(record.errors == 0, what + ": " + record.first_error);
    if (!shim::Recording()) return;
    Check(record.fetched <= Fetched(launched) * record.needed || record.needed < kFewBytes,
          what + ": fetches " + std::to_string(record.fetched) + " bytes for " +
              std::to_string(record.needed));
    Check(record.conflicts <= Conflicts(launched) * record.shared_accesses,
          what + ": " + std::to_string(record.conflicts) + " bank conflicts of " +
              std::to_string(record.shared_accesses) + " accesses");
    if (launched.kernel != Kernel::kTransform) return;
    const Index passes = Passes(launched);
    Check(record.needed == passes * 2 * launched.elements * launched.element_bytes,
          what + ": more than " + std::to_string(passes) + " passes");
  }

 private:
  // Bytes of sectors, at most, for each byte asked for.
  static double Fetched(const Launched& launched) {
    if (launched.aligned) return kCoalesced;
    const bool bytes = launched.kernel == Kernel::kAssembly && launched.element_bytes == 1;
    return bytes ? kMisalignedBytes : kMisaligned;
  }
  // Bank conflicts, at most, for each access of a warp to shared memory.
  static double Conflicts(const Launched& launched) {
    if (launched.kernel == Kernel::kTransform) return 0;
    if (launched.kernel == Kernel::kFused) return launched.n < 5 ? 8 : 0.1;
    return launched.element_bytes < 4 ? 0.5 : 0.1;
  }
  // Device memory is read and written once a pass: one, as long as a block holds a table.
  static Index Passes(const Launched& launched) {
    const bool is_float = launched.element_bytes == 4;
    const int limit = shim::SharedLimit();
    const int one_pass = limit == kTinyLimit             ? 10
                         : limit < 128 * 1024            ? (is_float ? 14 : 13)
                         : is_float && !launched.general ? 15
                                                         : 14;
    return launched.n <= one_pass ? 1 : limit == kTinyLimit ? 3 : 2;
  }
};

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
    CheckTransform<Shim, T>(batch, n, matrices[i], static_cast<int>(i % 2));
  }
  for (const bool with_delta : {false, true}) {
    if (part != "transform" && (n <= 14 || with_delta)) {
      CheckFused<Shim, T>(batch, n, with_delta, with_delta);
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
      CheckAssembly<Shim, std::uint8_t>(40, n, 3 * 1024 + 16, form, 0);
      CheckAssembly<Shim, std::uint8_t>(37, n, 1500, form, 0);
      CheckAssembly<Shim, std::uint8_t>(7, n, 1500, form, 1);
      CheckAssembly<Shim, std::uint16_t>(33, n, 504, form, 0);
      CheckAssembly<Shim, std::uint32_t>(2500, n, 10, form, 0);
      CheckAssembly<Shim, std::uint32_t>(65, n, 784, form, 0);
      CheckAssembly<Shim, std::uint64_t>(3, n, 2049, form, 0);
      CheckAssembly<Shim, std::uint64_t>(500, n, 1, form, 0);
    }
  }
  std::printf("CUDA kernels on the host, %s: %s\n",
              shim::Recording() ? "all accesses recorded" : "nothing recorded",
              failures ? "FAILED" : "all hold");
  return failures != 0;
}
