// SPDX-License-Identifier: Apache-2.0
// Arrays of other libraries, by the DLPack protocol (versions 0 and 1), as numpy views and back.
#ifndef JAXINTER_DLPACK_H_
#define JAXINTER_DLPACK_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace jaxinter {

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
