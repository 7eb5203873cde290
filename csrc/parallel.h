// SPDX-License-Identifier: Apache-2.0
// A loop over independent tasks, run by whoever owns the threads: XLA's pool inside a jitted
// program (ffi_cpu.cc), a pool of its own otherwise (threads.h).
#ifndef JAXINTER_PARALLEL_H_
#define JAXINTER_PARALLEL_H_

#include "common.h"

namespace jaxinter {

class Parallel {
 public:
  using Task = void (*)(void* context, Index task);

  virtual ~Parallel();
  virtual int threads() const = 0;
  // Runs task(context, i) for each i in [0, tasks), in any order, and returns when all are done.
  virtual void Run(Index tasks, void* context, Task task) = 0;

  template <class F>
  void For(Index tasks, const F& f) {
    if (tasks <= 1 || threads() <= 1) {
      for (Index i = 0; i < tasks; ++i) f(i);
      return;
    }
    Run(tasks, const_cast<F*>(&f), [](void* c, Index i) { (*static_cast<F*>(c))(i); });
  }
};

}  // namespace jaxinter

#endif  // JAXINTER_PARALLEL_H_
