// SPDX-License-Identifier: Apache-2.0
#ifndef JAXINTER_FFI_TARGETS_H_
#define JAXINTER_FFI_TARGETS_H_

#include <vector>

namespace jaxinter {

struct FfiTarget {
  const char* name;
  void* handler;
};

// What jax.ffi.register_ffi_target is told of this module: by ffi_cpu.cc or ffi_cuda.cc.
std::vector<FfiTarget> FfiTargets();

}  // namespace jaxinter

#endif  // JAXINTER_FFI_TARGETS_H_
