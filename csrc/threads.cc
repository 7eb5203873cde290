// SPDX-License-Identifier: Apache-2.0
#include "threads.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <system_error>
#include <thread>

namespace jaxinter {
namespace {

// Waking a thread that sleeps takes as long as transforming a megabyte, so whoever waits looks for
// work this long first: enough to bridge the gap between calls in a loop, too short to be felt by
// others on the machine.
constexpr std::chrono::microseconds kSpin{50};

template <class F>
bool SpinUntil(const F& ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

int ThreadLimit() {
  const char* text = std::getenv("JAXINTER_THREADS");
  const int asked = text ? std::atoi(text) : 0;
  if (asked > 0) return asked;
  // A system call that takes longer than a small table: asked once.
  static const int kCores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return kCores;
}

void SharedTasks::WorkFrom(Index own) {
  const Index workers = static_cast<Index>(ranges_.size());
  for (Index k = 0; k < workers; ++k) {
    const Index range = (own + k) % workers, end = First(range + 1);
    for (Index i = ranges_[range].next++; i < end; i = ranges_[range].next++) {
      task_(context_, i);
      if (++done_ == tasks_) {
        std::lock_guard<std::mutex> lock(mutex_);
        all_done_.notify_all();
      }
    }
  }
}

void SharedTasks::Wait() {
  if (SpinUntil([this] { return done_ == tasks_; })) return;
  std::unique_lock<std::mutex> lock(mutex_);
  all_done_.wait(lock, [this] { return done_ == tasks_; });
}

namespace {

class Pool {
 public:
  // Asks `helpers` workers to take part in `tasks`, starting those that are missing.
  void Call(const std::shared_ptr<SharedTasks>& tasks, Index helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      try {
        for (; workers_ < helpers; ++workers_) std::thread([this] { Sleep(); }).detach();
      } catch (const std::system_error&) {
        // No more threads to be had: the caller and those that started do the work.
      }
      for (Index i = 0; i < std::min(helpers, workers_); ++i) calls_.push_back(tasks);
      waiting_ = static_cast<Index>(calls_.size());
    }
    wake_.notify_all();
  }

  // The pool of this process.
  static Pool& Get() {
    static std::mutex mutex;
    static Pool* pool = nullptr;
    static pid_t owner = 0;
    std::lock_guard<std::mutex> lock(mutex);
    if (owner != getpid()) {  // first use, or a fork: the parent's workers are not here
      pool = new Pool;
      owner = getpid();
    }
    return *pool;
  }

 private:
  void Sleep() {
    for (;;) {
      std::shared_ptr<SharedTasks> tasks;
      SpinUntil([this] { return waiting_ > 0; });
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return !calls_.empty(); });
        tasks = std::move(calls_.front());
        calls_.pop_front();
        waiting_ = static_cast<Index>(calls_.size());
      }
      tasks->Help();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<SharedTasks>> calls_;
  std::atomic<Index> waiting_{0};  // calls_.size(), to look at without the lock
  Index workers_ = 0;
};

}  // namespace

void SleepingThreads::Run(Index tasks, void* context, Task task) {
  const Index workers = std::min<Index>(threads_, tasks);
  auto shared = std::make_shared<SharedTasks>(tasks, workers, context, task);
  Pool::Get().Call(shared, workers - 1);
  shared->Work();
  shared->Wait();
}

}  // namespace jaxinter
