// SPDX-License-Identifier: Apache-2.0
// What a test sees of the device of cuda_runtime.h.
#ifndef JAXINTER_TESTS_CUDA_SHIM_H_
#define JAXINTER_TESTS_CUDA_SHIM_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace shim {

// In which order ready threads, and blocks, run.
enum class Schedule { kForward, kReverse, kShuffled };
void SetSchedule(Schedule schedule);
void SetSharedLimit(int bytes);  // of a block
int SharedLimit();

// Device memory; where recording is compiled in, accesses outside of it are errors.
void* Allocate(std::size_t bytes, std::size_t offset = 0);
void Free(void* memory);

// Device memory with the values of a vector, a few elements off its alignment.
template <class T>
class Memory {
 public:
  explicit Memory(std::size_t size, int offset = 0)
      : size_(size), data_(static_cast<T*>(Allocate(size * sizeof(T), offset * sizeof(T)))) {}
  Memory(const std::vector<T>& values, int offset = 0) : Memory(values.size(), offset) {
    std::copy(values.begin(), values.end(), data_);
  }
  Memory(const Memory&) = delete;
  ~Memory() { Free(data_); }
  T* get() const { return data_; }
  std::vector<T> Values() const { return {data_, data_ + size_}; }

 private:
  std::size_t size_;
  T* data_;
};

// Of all launches since Reset. Errors: barriers and shuffles that not all threads reach, and, with
// recording, races (two threads at one address, one of them writing, with no barrier in between)
// and accesses out of bounds.
struct Record {
  std::int64_t launches = 0, errors = 0;
  std::string first_error;
  // With recording: bytes of the sectors (32 bytes) that the warps' accesses to device memory
  // touch, and bytes that their lanes ask for; accesses to shared memory, by warp, and how many
  // more turns at the banks they take than without conflicts.
  std::int64_t fetched = 0, needed = 0, shared_accesses = 0, conflicts = 0;
};
bool Recording();
void Reset();
const Record& Recorded();

}  // namespace shim

#endif  // JAXINTER_TESTS_CUDA_SHIM_H_
