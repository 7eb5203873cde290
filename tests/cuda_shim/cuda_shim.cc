// SPDX-License-Identifier: Apache-2.0
// The device of cuda_runtime.h: fibers, warps and barriers; and, of .cu files compiled with
// -fsanitize=thread, a record of every access: the compiler calls the functions at the end of this
// file, in place of the sanitizer's, before each of them.
#include "cuda_shim.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <unordered_map>
#include <vector>

#include "cuda_runtime.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace jaxinter {
constexpr std::size_t kSharedBytes = 227 * 1024;  // of one block on an H100
alignas(128) unsigned char shared_memory[kSharedBytes];
}  // namespace jaxinter

namespace shim {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;

#if defined(__x86_64__)
// Saves what the ABI says a call keeps, changes stacks, and returns on the other one.
extern "C" void ShimSwitch(void** from, void* to);
asm(R"(
  .text
  .globl ShimSwitch
ShimSwitch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");
struct Context {
  void* sp = nullptr;
  void Begin(unsigned char* stack, void (*entry)()) {
    auto* top = reinterpret_cast<void**>(stack + kStackBytes - 64);
    *--top = nullptr;  // where entry would return to; keeps the stack's alignment
    *--top = reinterpret_cast<void*>(entry);
    sp = top - 6;
  }
  void SwitchTo(Context& to) { ShimSwitch(&sp, to.sp); }
};
#else
struct Context {
  ucontext_t context;
  void Begin(unsigned char* stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStackBytes;
    makecontext(&context, entry, 0);
  }
  void SwitchTo(Context& to) { swapcontext(&context, &to.context); }
};
#endif

enum class State { kReady, kAtBarrier, kInWarp, kDone };

struct Thread {
  Context context;
  State state;
  int at;         // the line of the call that it waits in
  unsigned mask;  // of the lanes that it waits for
  int turns = 0;  // shuffles so far
  std::uint64_t brought[2];
  int warp_epoch = 0;
  std::unordered_map<const void*, int> visits;  // of each access in the code
};

// The block that runs now, and what is recorded of it.
std::vector<Thread> threads;
std::unique_ptr<unsigned char, void (*)(void*)> stacks(nullptr, std::free);
std::size_t stacks_for = 0;
Context scheduler;
const std::function<void()>* body = nullptr;
int current = -1, epoch = 0;
Schedule schedule = Schedule::kForward;
std::mt19937 random_order(1);
int shared_limit = jaxinter::kSharedBytes;
Record record;

[[gnu::noinline]] void Fail(const std::string& what) {
  if (record.errors++ == 0) {
    record.first_error = what + ", block " + std::to_string(blockIdx.x) + ", thread " +
                         std::to_string(std::max(current, 0));
  }
}

std::vector<int> Order(int count) {
  std::vector<int> order(count);
  std::iota(order.begin(), order.end(), 0);
  if (schedule == Schedule::kReverse) std::reverse(order.begin(), order.end());
  if (schedule == Schedule::kShuffled) std::shuffle(order.begin(), order.end(), random_order);
  return order;
}

void Enter(int thread) {
  current = thread;
  threadIdx = dim3(thread, 0, 0);
  scheduler.SwitchTo(threads[thread].context);
  current = -1;
}

void Yield() { threads[current].context.SwitchTo(scheduler); }

void Run() {
  (*body)();
  threads[current].state = State::kDone;
  Yield();
}

// Waits for the lanes of `mask` at this call.
void MeetWarp(unsigned mask, int at) {
  Thread& mine = threads[current];
  mine.state = State::kInWarp, mine.at = at, mine.mask = mask;
  const int first = current / 32 * 32;
  if (!(mask >> (current - first) & 1)) Fail("a lane in a shuffle that its mask leaves out");
  bool all = true, same = true;
  for (int lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const bool there = first + lane < static_cast<int>(threads.size()) &&
                       threads[first + lane].state == State::kInWarp;
    all = all && there;
    same = same && there && threads[first + lane].at == at && threads[first + lane].mask == mask &&
           threads[first + lane].turns == mine.turns;
  }
  if (all) {
    if (!same) Fail("lanes of one warp in different shuffles");
    for (int lane = 0; lane < 32; ++lane) {
      if (mask >> lane & 1) threads[first + lane].state = State::kReady;
    }
  }
  Yield();
}

void CountInstructions();

// All threads that are not done wait. Lets them go on, with an error where CUDA would not.
void Release() {
  int at_barrier = 0, done = 0;
  int at = 0;
  bool same = true;
  for (const Thread& thread : threads) {
    done += thread.state == State::kDone;
    if (thread.state != State::kAtBarrier) continue;
    same = same && (at_barrier == 0 || thread.at == at);
    at = thread.at, ++at_barrier;
  }
  if (at_barrier + done < static_cast<int>(threads.size()))
    Fail("a shuffle that lanes never reach");
  if (done) Fail("a barrier that threads never reach");
  if (!same) Fail("threads at different barriers");
  ++epoch;
  for (Thread& thread : threads) {
    if (thread.state != State::kDone) thread.state = State::kReady;
  }
  CountInstructions();  // all before a barrier are whole
}

// ---- the record

constexpr std::size_t kGuardBytes = 64;  // after an allocation, to tell what is out of bounds
std::map<const unsigned char*, std::size_t> allocations;
bool recording = false;

struct Touch {
  int block = -1, thread = -1, epoch = -1, warp_epoch = -1;
  bool Races(int b, int t, int e, int w) const {
    if (thread < 0) return false;
    if (b != block) return true;
    if (t == thread || e != epoch) return false;
    return t / 32 != thread / 32 || w == warp_epoch;
  }
};
struct Shadow {
  Touch write, read, other_read;  // two readers: the last, and the last of another thread
};
std::unordered_map<const void*, Shadow> shadow_of_global, shadow_of_shared;

struct Instruction {
  struct Lane {
    int lane;
    std::uintptr_t address;
    int size;
  };
  std::vector<Lane> lanes;
};
using Key = std::tuple<int, const void*, int>;  // warp, place in the code, visit
std::map<Key, Instruction> global_instructions, shared_instructions;

void CheckRaces(const void* address, bool write, bool shared) {
  Shadow& seen = (shared ? shadow_of_shared : shadow_of_global)[address];
  const int block = static_cast<int>(blockIdx.x), warp_epoch = threads[current].warp_epoch;
  const auto races = [&](const Touch& touch) {
    return touch.Races(block, current, epoch, warp_epoch);
  };
  if (races(seen.write) || (write && (races(seen.read) || races(seen.other_read)))) {
    Fail(std::string("a race in ") + (shared ? "shared" : "device") + " memory");
  }
  const Touch touch{block, current, epoch, warp_epoch};
  if (write) {
    seen.write = touch;
  } else {
    if (seen.read.thread != current || seen.read.block != block) seen.other_read = seen.read;
    seen.read = touch;
  }
}

void Access(const void* address, int size, bool write, const void* at) {
  if (current < 0) return;
  const auto* byte = static_cast<const unsigned char*>(address);
  const bool shared =
      byte >= jaxinter::shared_memory && byte < jaxinter::shared_memory + jaxinter::kSharedBytes;
  if (shared) {
    const std::size_t used = byte - jaxinter::shared_memory + size;
    if (used > static_cast<std::size_t>(shared_limit)) Fail("an access beyond the shared memory");
  } else {
    auto it = allocations.upper_bound(byte);
    if (it == allocations.begin()) return;  // the stack, parameters
    --it;
    const std::size_t offset = byte - it->first;
    if (offset >= it->second + kGuardBytes) return;
    if (offset + size > it->second) Fail("an access out of bounds");
  }
  recording = true;
  CheckRaces(address, write, shared);
  const int visit = threads[current].visits[at]++;
  auto& instructions = shared ? shared_instructions : global_instructions;
  instructions[{current / 32, at, visit}].lanes.push_back(
      {current % 32, reinterpret_cast<std::uintptr_t>(address), size});
}

void CountInstructions() {
  for (auto& [key, instruction] : global_instructions) {
    std::sort(instruction.lanes.begin(), instruction.lanes.end(),
              [](const auto& a, const auto& b) { return a.address < b.address; });
    std::uintptr_t sector = 0, byte = 0;  // the first one after those counted
    for (const auto& [lane, address, size] : instruction.lanes) {
      const std::uintptr_t end = address + size, sector_end = (end + 31) / 32;
      record.fetched += 32 * (sector_end - std::min(sector_end, std::max(sector, address / 32)));
      record.needed += end - std::min(end, std::max(byte, address));
      sector = std::max(sector, sector_end), byte = std::max(byte, end);
    }
  }
  for (auto& [key, instruction] : shared_instructions) {
    std::sort(instruction.lanes.begin(), instruction.lanes.end(),
              [](const auto& a, const auto& b) { return a.lane < b.lane; });
    // Wide accesses take a turn for every 128 bytes that the lanes ask for.
    const int lanes = std::max(1, 32 * 4 / std::max(4, instruction.lanes[0].size));
    ++record.shared_accesses;
    for (std::size_t first = 0; first < instruction.lanes.size(); first += lanes) {
      std::vector<std::uintptr_t> words;
      for (std::size_t i = first; i < std::min(first + lanes, instruction.lanes.size()); ++i) {
        const auto [lane, address, size] = instruction.lanes[i];
        for (int word = 0; word < std::max(1, size / 4); ++word) {
          words.push_back(address / 4 + word);
        }
      }
      std::sort(words.begin(), words.end());
      words.erase(std::unique(words.begin(), words.end()), words.end());
      int of_bank[32] = {};
      for (const std::uintptr_t word : words) ++of_bank[word % 32];
      record.conflicts += *std::max_element(of_bank, of_bank + 32) - 1;
    }
  }
  global_instructions.clear();
  shared_instructions.clear();
}

}  // namespace

void Launch(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  ++record.launches;
  const std::size_t count = config.blockDim.x;
  if (config.gridDim.x == 0 || count == 0 || count > 1024 ||
      config.gridDim.y * config.gridDim.z * config.blockDim.y * config.blockDim.z != 1) {
    return Fail("a grid or a block of a size that cannot be launched");
  }
  if (config.dynamicSmemBytes > static_cast<std::size_t>(SharedLimit())) {
    return Fail("more shared memory than a block may have");
  }
  shared_limit = static_cast<int>(config.dynamicSmemBytes);
  if (stacks_for < count) {
    stacks.reset(static_cast<unsigned char*>(std::aligned_alloc(64, count * kStackBytes)));
    stacks_for = count;
  }
  body = &thread;
  blockDim = config.blockDim, gridDim = config.gridDim;
  shadow_of_global.clear();
  for (const int block : Order(static_cast<int>(config.gridDim.x))) {
    blockIdx = dim3(block, 0, 0);
    threads = std::vector<Thread>(count);
    epoch = 0;
    // What a block finds in shared memory is not to be relied on.
    std::memset(jaxinter::shared_memory, 0xAB, config.dynamicSmemBytes);
    shadow_of_shared.clear();
    for (std::size_t i = 0; i < count; ++i) {
      threads[i].state = State::kReady;
      threads[i].context.Begin(stacks.get() + i * kStackBytes, Run);
    }
    for (bool left = true; left;) {
      bool ran = false;
      for (const int i : Order(static_cast<int>(count))) {
        if (threads[i].state == State::kReady) Enter(i), ran = true;
      }
      left = std::any_of(threads.begin(), threads.end(),
                         [](const Thread& t) { return t.state != State::kDone; });
      if (left && !ran) Release();
    }
    CountInstructions();
  }
  shared_limit = 0;
}

std::uint64_t Exchange(unsigned mask, std::uint64_t mine, int source, int line) {
  // Two turns' room: nobody begins a turn before all have read the last but one.
  const int turn = threads[current].turns++ % 2, first = current / 32 * 32;
  threads[current].brought[turn] = mine;
  MeetWarp(mask, line);
  if (first + source >= static_cast<int>(threads.size()) || !(mask >> source & 1)) {
    Fail("a shuffle from a lane that takes no part");
    return 0;
  }
  return threads[first + source].brought[turn];
}

unsigned Ballot(unsigned mask, bool mine, int line) {
  const int turn = threads[current].turns++ % 2, first = current / 32 * 32;
  threads[current].brought[turn] = mine;
  MeetWarp(mask, line);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if (mask >> lane & 1)
      votes |= static_cast<unsigned>(threads[first + lane].brought[turn]) << lane;
  }
  return votes;
}

int Lane() { return current % 32; }
int limit = jaxinter::kSharedBytes;
int SharedLimit() { return limit; }
void SetSharedLimit(int bytes) { limit = bytes; }
void SetSchedule(Schedule s) { schedule = s; }
bool Recording() { return recording; }
void Reset() { record = Record(); }
const Record& Recorded() { return record; }

void* Allocate(std::size_t bytes, std::size_t offset) {
#if defined(__SANITIZE_ADDRESS__)
  const std::size_t guard = 0;  // one byte more is the sanitizer's
#else
  const std::size_t guard = kGuardBytes;
#endif
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes + offset + guard)) std::abort();
  std::memset(memory, 0xCD, bytes + offset);
  auto* byte = static_cast<unsigned char*>(memory) + offset;
  allocations[byte] = bytes;
  return byte;
}

void Free(void* memory) {
  auto* byte = static_cast<unsigned char*>(memory);
  allocations.erase(byte);
  std::free(byte - reinterpret_cast<std::uintptr_t>(byte) % 256);
}

}  // namespace shim

void __syncthreads(int line) {
  using namespace shim;
  threads[current].state = State::kAtBarrier;
  threads[current].at = line;
  Yield();
}

void __syncwarp(unsigned mask, int line) {
  using namespace shim;
  MeetWarp(mask, line);
  ++threads[current].warp_epoch;
}

#define SHIM_ACCESS(size)                                      \
  extern "C" void __tsan_read##size(void* p) {                 \
    shim::Access(p, size, false, __builtin_return_address(0)); \
  }                                                            \
  extern "C" void __tsan_write##size(void* p) {                \
    shim::Access(p, size, true, __builtin_return_address(0));  \
  }                                                            \
  extern "C" void __tsan_unaligned_read##size(void* p) {       \
    shim::Access(p, size, false, __builtin_return_address(0)); \
  }                                                            \
  extern "C" void __tsan_unaligned_write##size(void* p) {      \
    shim::Access(p, size, true, __builtin_return_address(0));  \
  }
SHIM_ACCESS(1)
SHIM_ACCESS(2)
SHIM_ACCESS(4)
SHIM_ACCESS(8)
SHIM_ACCESS(16)
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
// Where the alignment is not known, as of constant places in shared memory.
extern "C" void __tsan_read_range(void* p, unsigned long size) {
  shim::Access(p, static_cast<int>(size), false, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void* p, unsigned long size) {
  shim::Access(p, static_cast<int>(size), true, __builtin_return_address(0));
}
// The guard of a static variable.
extern "C" unsigned char __tsan_atomic8_load(const volatile unsigned char* p, int order) {
  return __atomic_load_n(p, order);
}
