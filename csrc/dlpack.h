// SPDX-License-Identifier: Apache-2.0
// Arrays of other libraries, by the DLPack protocol (versions 0 and 1): taken over from their
// exporters, as numpy views, and back.
#ifndef JAXINTER_DLPACK_H_
#define JAXINTER_DLPACK_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>

#include "dlpack_tensor.h"

namespace jaxinter {

// A tensor taken over from its exporter: deleted exactly once, with the last copy of `owner`.
struct TakenTensor {
  pybind11::capsule owner;
  dlpack::Tensor tensor;
  std::optional<bool> read_only;  // none: version 0, which cannot say
};

// The tensor of x, which has __dlpack__, or is a capsule of that protocol. `stream`: what
// __dlpack__ is told of the stream that reads it, None for nothing. Raises BufferError where there
// is no tensor, or one of a version above 1.
TakenTensor TakeTensor(pybind11::object x, pybind11::object stream);

// What x's __dlpack_device__ says, before an export that may wait for the device; none for a
// capsule, which says so itself.
std::optional<dlpack::Device> DeviceOf(const pybind11::object& x);

// A numpy view of x, which has __dlpack__ and __dlpack_device__, or is a capsule of that protocol.
// The view keeps x's memory alive. It is read-only where x says so, and where x cannot say (version
// 0, as JAX exports its immutable arrays), unless `writable` vouches for it.
// Raises BufferError for memory that is not the CPU's and for dtypes numpy has not.
pybind11::array FromDLPack(pybind11::object x, bool writable);

// An array as an object with __dlpack__ and __dlpack_device__, for any library's from_dlpack. What
// is exported shares the array's memory and keeps it alive.
class SharedArray {
 public:
  explicit SharedArray(pybind11::array array) : array_(std::move(array)) {}

  // The array API's arguments: `max_version` below 1, or None, asks for version 0.
  pybind11::capsule ToDLPack(pybind11::object stream, pybind11::object max_version,
                             pybind11::object device, pybind11::object copy) const;
  static pybind11::tuple Device();

 private:
  pybind11::array array_;
};

}  // namespace jaxinter

#endif  // JAXINTER_DLPACK_H_
