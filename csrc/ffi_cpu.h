// SPDX-License-Identifier: Apache-2.0
#ifndef JAXINTER_FFI_CPU_H_
#define JAXINTER_FFI_CPU_H_

#include <vector>

namespace jaxinter {

struct FfiTarget {
  const char* name;
  void* handler;
};

// What jax.ffi.register_ffi_target is told of this build.
std::vector<FfiTarget> FfiTargets();

}  // namespace jaxinter

#endif  // JAXINTER_FFI_CPU_H_
