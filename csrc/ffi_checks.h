// SPDX-License-Identifier: Apache-2.0
// Operand checks of the FFI handlers, for both platforms: operand, operation, expected, got.
#ifndef JAXINTER_FFI_CHECKS_H_
#define JAXINTER_FFI_CHECKS_H_

#include <string>

#include "lattice.h"
#include "xla/ffi/api/ffi.h"

namespace jaxinter {

struct BufferTables {
  Index batch = 1;
  int n_players = 0;
};

// Reads [..., 2^n] dimensions; an error names the operand, the operation, expected and got.
inline xla::ffi::ErrorOr<BufferTables> ReadTables(xla::ffi::AnyBuffer::Dimensions dims,
                                                  const char* operation) {
  const auto fail = [&](const std::string& got) {
    return xla::ffi::Unexpected(xla::ffi::Error::InvalidArgument(
        std::string(operation) + ": operand must have a last axis of length 2**n; got " + got));
  };
  if (dims.size() == 0) return fail("a scalar");
  BufferTables tables;
  for (std::size_t i = 0; i + 1 < dims.size(); ++i) tables.batch *= dims[i];
  tables.n_players = PlayersOf(dims.back());
  if (tables.n_players < 0) return fail(std::to_string(dims.back()));
  return tables;
}

inline xla::ffi::ErrorOr<Matrix2> ReadMatrix(xla::ffi::Span<const double> matrix,
                                             const char* operation) {
  if (matrix.size() != 4) {
    return xla::ffi::Unexpected(xla::ffi::Error::InvalidArgument(
        std::string(operation) + ": attribute matrix must have 4 entries; got " +
        std::to_string(matrix.size())));
  }
  return Matrix2{matrix[0], matrix[1], matrix[2], matrix[3]};
}

}  // namespace jaxinter

#endif  // JAXINTER_FFI_CHECKS_H_
