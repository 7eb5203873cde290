// SPDX-License-Identifier: Apache-2.0
// The threads that numpy and torch calls run on. Inside a jitted program XLA's own are used instead
// (ffi_cpu.cc); both share out work with SharedTasks.
#ifndef JAXINTER_THREADS_H_
#define JAXINTER_THREADS_H_

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel.h"

namespace jaxinter {

// JAXINTER_THREADS, or as many as the machine has; read at every call.
int ThreadLimit();

// Tasks that caller and helpers share out: each begins with a range of its own, the caller with the
// first, so that memory stays in the cache of one core, and then helps with the others'. The caller
// takes part and waits for claimed tasks only, so a helper that starts late, or never, delays
// nobody; it keeps this object alive, never the caller's stack.
class SharedTasks {
 public:
  SharedTasks(Index tasks, Index workers, void* context, Parallel::Task task)
      : tasks_(tasks), context_(context), task_(task), ranges_(workers) {
    for (Index k = 0; k < workers; ++k) ranges_[k].next = First(k);
  }

  void Work() { WorkFrom(0); }           // the caller
  void Help() { WorkFrom(++helpers_); }  // everybody else, at most workers - 1 times
  void Wait();

 private:
  struct alignas(64) Range {
    std::atomic<Index> next{0};
  };
  void WorkFrom(Index own);
  Index First(Index range) const { return range * tasks_ / static_cast<Index>(ranges_.size()); }

  const Index tasks_;
  void* const context_;
  const Parallel::Task task_;
  std::vector<Range> ranges_;
  std::atomic<Index> helpers_{0};
  std::atomic<Index> done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
};

// Workers that sleep between calls. Started at first use, never stopped (a process ends with them);
// a forked child, which inherits none, starts its own.
class SleepingThreads : public Parallel {
 public:
  // Waking a worker costs several microseconds: a call that moves fewer bytes runs on its own.
  static constexpr Index kWorthBytes = 192 * 1024;

  explicit SleepingThreads(Index bytes) : threads_(bytes > kWorthBytes ? ThreadLimit() : 1) {}
  int threads() const override { return threads_; }
  void Run(Index tasks, void* context, Task task) override;

 private:
  int threads_;
};

}  // namespace jaxinter

#endif  // JAXINTER_THREADS_H_
