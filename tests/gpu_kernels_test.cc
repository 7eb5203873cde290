// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels on a GPU, without Python and JAX, against the CPU kernels: what
// compute-sanitizer can watch. `bench/gpu_check.sh` builds and runs it. An argument "few" makes the
// sizes fewer, for the slower sanitizers. Ends with 1 where something does not hold, 2 where there
// is no device.
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../csrc/sparse_kernels.h"
#include "cuda_checks.h"
#include "sparse_checks.h"

using namespace jaxinter;

namespace {

// An error of the runtime leaves nothing to go on with.
void Must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

cudaStream_t stream;  // all work is on it: one that does not wait for the default stream

// Device memory of exactly these elements, `offset` of them off its alignment: a sanitizer sees
// what is touched beyond.
template <class T>
class Device {
 public:
  explicit Device(std::size_t size, int offset = 0) : size_(size), offset_(offset) {
    if (size) Must(cudaMalloc(&memory_, (size + offset) * sizeof(T)), "cudaMalloc");
  }
  Device(const std::vector<T>& values, int offset = 0) : Device(values.size(), offset) {
    if (size_ == 0) return;
    Must(cudaMemcpyAsync(get(), values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, stream),
         "copy to the device");
  }
  Device(const Device&) = delete;
  ~Device() { cudaFree(memory_); }
  T* get() const { return memory_ ? static_cast<T*>(memory_) + offset_ : nullptr; }
  std::vector<T> Values() const {
    std::vector<T> values(size_);
    if (size_ == 0) return values;
    Must(cudaMemcpyAsync(values.data(), get(), size_ * sizeof(T), cudaMemcpyDeviceToHost, stream),
         "copy from the device");
    Must(cudaStreamSynchronize(stream), "work on the device");
    return values;
  }

 private:
  std::size_t size_;
  int offset_;
  void* memory_ = nullptr;
};

struct Gpu {
  template <class T>
  using Memory = Device<T>;
  static CudaStream Stream() { return stream; }
  static void Begin() {}
  static void End(const std::string& what, const char* error, const Launched&) {
    Check(!error, what + ": " + (error ? error : ""));
  }
};

struct Solution {
  std::vector<double> a, delta, y, dual, eps;
  std::vector<std::int32_t> iterations;
  Solution(Index groups, Index size)
      : a(groups * size), delta(a), y(a), dual(groups), eps(groups), iterations(groups) {}
};

constexpr Index kMostIterations = 20000;
constexpr double kMargin = 1e-12;

Solution OnCuda(Index groups, int n, const std::vector<double>& w, const std::vector<double>& zeta,
                double tol, double tie_break, const std::string& what) {
  Solution s(groups, Index{1} << n);
  const Device<double> d_w(w), d_zeta(zeta), settings({tol, tie_break, kMargin});
  const Device<double> a(w.size()), delta(w.size()), y(w.size()), dual(groups), eps(groups);
  const Device<std::int32_t> iterations(groups);
  const Device<double> workspace(
      CeilDiv(SparseWorkspaceBytes(groups, n, !zeta.empty()), sizeof(double)));
  const SparseProgram program{groups,  n,   1,         d_w.get(), d_zeta.get(),
                              nullptr, tol, tie_break, kMargin,   kMostIterations};
  const SparseSplit split{a.get(), delta.get(), y.get(), dual.get(), eps.get(), iterations.get()};
  const char* error =
      LaunchSparseSplitCuda(program, settings.get(), split, workspace.get(), stream);
  Check(!error, what + ": " + (error ? error : ""));
  s.a = a.Values(), s.delta = delta.Values(), s.y = y.Values();
  s.dual = dual.Values(), s.eps = eps.Values(), s.iterations = iterations.Values();
  return s;
}

// Its proof, recomputed here; and the strength against the CPU's, both within tol of the optimum.
void CheckSparse(Index groups, int n, double noise, double tie_break, double tol) {
  const std::string what = Words<double>("sparse split", n, groups) + (noise > 0 ? ", noise" : "") +
                           (tie_break > 0 ? ", tie-break" : "");
  const Index size = Index{1} << n;
  std::vector<double> w = Normal<double>(groups * size), zeta;
  for (Index group = 0; group < groups; ++group) {
    double *x = &w[group * size], largest = 0;
    for (Index i = size - 1; i >= 0; --i) largest = std::fmax(largest, std::fabs(x[i] -= x[0]));
    for (Index i = 0; i < size; ++i) x[i] /= largest;
    if (noise > 0) zeta.push_back(noise);
  }
  SleepingThreads threads(1 << 30);
  Solution cpu(groups, size);
  const SparseProgram program{groups,  n,   1,         w.data(), noise > 0 ? zeta.data() : nullptr,
                              nullptr, tol, tie_break, kMargin,  kMostIterations};
  const SparseSplit split{cpu.a.data(),    cpu.delta.data(), cpu.y.data(),
                          cpu.dual.data(), cpu.eps.data(),   cpu.iterations.data()};
  Check(LaunchSparseSplitCpu(program, split, {nullptr, nullptr}, threads), what + ": on the CPU");
  const Solution got = OnCuda(groups, n, w, zeta, tol, tie_break, what);
  for (Index group = 0; group < groups; ++group) {
    const Index at = group * size;
    const Proof mine = ProofOf(1, n, &w[at], noise, &got.a[at], &got.delta[at], &got.y[at]);
    const Proof other = ProofOf(1, n, &w[at], noise, &cpu.a[at], &cpu.delta[at], &cpu.y[at]);
    Check(mine.gauge <= 1 + 1e-9, what + ": multiplier in the dual ball");
    Check(std::fabs(mine.value - got.dual[group]) <= 1e-9 * (1 + mine.primal), what + ": bound");
    Check(mine.beyond <= 0, what + ": residual within its bound");
    Check(got.iterations[group] < kMostIterations, what + ": settled");
    Check(mine.primal - got.dual[group] <= tol * mine.primal * (1 + 1e-9), what + ": gap");
    Check(std::fabs(mine.primal - other.primal) <= 2 * tol * other.primal, what + ": strength");
  }
  const std::vector<double> last_w(w.end() - size, w.end());
  const std::vector<double> last_zeta(zeta.begin(), zeta.begin() + (noise > 0 ? 1 : 0));
  const Solution alone = OnCuda(1, n, last_w, last_zeta, tol, tie_break, what + ", alone");
  Check(!std::memcmp(alone.a.data(), &got.a[(groups - 1) * size], size * sizeof(double)) &&
            alone.iterations[0] == got.iterations[groups - 1],
        what + ": other bits alone than in a batch");
}

template <class T>
void CheckTables(Index batch, int n, bool few) {
  const Matrix2 matrices[] = {Mobius::kMatrix,  ComplementMobius::kMatrix, {0.6, 0.8, -0.8, 0.6},
                              Zeta::kMatrix,    SupersetMobius::kMatrix,   SupersetZeta::kMatrix,
                              AndToOr::kMatrix, AndToOrTransposed::kMatrix};
  for (int i = 0; i < (few ? 3 : 8); ++i) CheckTransform<Gpu, T>(batch, n, matrices[i], i % 2);
  for (const bool with_delta : {false, true}) CheckFused<Gpu, T>(batch, n, with_delta, with_delta);
}

}  // namespace

int main(int argc, char** argv) {
  const bool few = argc > 1 && !std::strcmp(argv[1], "few");
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    std::printf("no CUDA device: %s\n", cudaGetErrorString(error));
    return 2;
  }
  Must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  // Of "few": around the sizes of a warp, of a block and of one pass.
  const std::vector<int> sizes =
      few ? std::vector<int>{0, 1, 3, 5, 6, 9, 10, 11, 14, 15, 16}
          : std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20};
  for (const int n : sizes) {
    for (const Index batch : {Index{1}, Index{3}, Index{101}}) {
      if (batch << n > (few ? 1 << 17 : 1 << 20) && batch > 1) continue;
      CheckTables<float>(batch, n, few);
      CheckTables<double>(batch, n, few);
    }
  }
  for (const int n : {1, 8, 31, 32, 33, 62}) {
    for (int form = 0; form < 3; ++form) {
      if (form == 1 && n > 31) continue;
      CheckAssembly<Gpu, std::uint8_t>(37, n, 1500, form, 0);
      CheckAssembly<Gpu, std::uint8_t>(7, n, 1501, form, 1);
      CheckAssembly<Gpu, std::uint16_t>(33, n, 504, form, 0);
      CheckAssembly<Gpu, std::uint32_t>(65, n, 784, form, 0);
      CheckAssembly<Gpu, std::uint32_t>(few ? 250 : 2500, n, 10, form, 0);
      CheckAssembly<Gpu, std::uint64_t>(3, n, 2049, form, 0);
      CheckAssembly<Gpu, std::uint64_t>(500, n, 1, form, 0);
    }
  }
  for (const int n : few ? std::vector<int>{5, 8} : std::vector<int>{1, 2, 5, 8, 9, 10, 11}) {
    for (const double noise : {0.0, 0.05}) {
      // Without the tie-break in the sanitizers: thousands of iterations, of the same code.
      CheckSparse(few ? 2 : 5, n, noise, 0, few || n > 8 ? 1e-2 : 1e-4);
      if (!few) CheckSparse(3, n, noise, 0.1, 1e-2);
    }
  }
  std::printf("CUDA kernels on the GPU: %d checks, %s\n", checks, failures ? "FAILED" : "all hold");
  return failures != 0;
}
