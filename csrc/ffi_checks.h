// SPDX-License-Identifier: Apache-2.0
// Operands of the FFI handlers, read and checked for both platforms: operation, expected, got.
#ifndef JAXINTER_FFI_CHECKS_H_
#define JAXINTER_FFI_CHECKS_H_

#include <string>
#include <utility>

#include "assemble_kernels.h"
#include "lattice.h"
#include "sparse_kernels.h"
#include "xla/ffi/api/ffi.h"

namespace jaxinter {

constexpr char kSubsetTransform[] = "jaxinter_subset_transform";
constexpr char kAndOrEffects[] = "jaxinter_and_or_effects";
constexpr char kMaskedInputs[] = "jaxinter_masked_inputs";
constexpr char kSparseSplit[] = "jaxinter_sparse_split";

inline xla::ffi::Error Refusal(const char* operation, const std::string& why) {
  return xla::ffi::Error::InvalidArgument(std::string(operation) + ": " + why);
}
inline auto Unfit(const char* operation, const std::string& why) {
  return xla::ffi::Unexpected(Refusal(operation, why));
}

// f(T{}), an error or success, for the dtype of `operand`.
template <class F>
xla::ffi::Error OnFloats(const xla::ffi::AnyBuffer& operand, const char* operation, const F& f) {
  switch (operand.element_type()) {
    case xla::ffi::DataType::F32:
      return f(float{});
    case xla::ffi::DataType::F64:
      return f(double{});
    default:
      return Refusal(operation, "operand must be float32 or float64");
  }
}

struct BufferTables {
  Index batch = 1;
  int n_players = 0;
};

// Reads [..., 2^n] dimensions; an error names the operand, the operation, expected and got.
inline xla::ffi::ErrorOr<BufferTables> ReadTables(xla::ffi::AnyBuffer::Dimensions dims,
                                                  const char* operation) {
  const auto fail = [&](const std::string& got) {
    return Unfit(operation, "operand must have a last axis of length 2**n; got " + got);
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
    return Unfit(operation,
                 "attribute matrix must have 4 entries; got " + std::to_string(matrix.size()));
  }
  return Matrix2{matrix[0], matrix[1], matrix[2], matrix[3]};
}

// What every platform binds after the contexts of its own: operands, results, attributes.
template <class Binding>
auto BindTransform(Binding&& binding) {
  using xla::ffi::AnyBuffer;
  return std::move(binding)
      .template Arg<AnyBuffer>()
      .template Ret<AnyBuffer>()
      .template Attr<xla::ffi::Span<const double>>("matrix");
}

struct AndOrOperands {
  BufferTables tables;
  const void* delta;  // null for none
};

// Operands v, gamma and, where there is one, delta; sums in the dtype of v (JAX may have no other).
inline xla::ffi::ErrorOr<AndOrOperands> ReadAndOr(const xla::ffi::AnyBuffer& v,
                                                  const xla::ffi::AnyBuffer& gamma,
                                                  const xla::ffi::RemainingArgs& rest,
                                                  const xla::ffi::AnyBuffer& sums) {
  const auto tables = ReadTables(v.dimensions(), kAndOrEffects);
  if (tables.has_error()) return xla::ffi::Unexpected(tables.error());
  const auto like_v = [&](const xla::ffi::AnyBuffer& buffer) {
    return buffer.element_count() == v.element_count() && buffer.element_type() == v.element_type();
  };
  const void* delta = nullptr;
  bool fits = tables->n_players <= kMaxPlayers && like_v(gamma) && rest.size() <= 1;
  if (rest.size() == 1) {
    const auto buffer = rest.get<xla::ffi::AnyBuffer>(0);
    if (buffer.has_error()) return xla::ffi::Unexpected(buffer.error());
    fits = fits && like_v(*buffer);
    delta = buffer->untyped_data();
  }
  fits = fits && sums.element_type() == v.element_type() &&
         sums.element_count() == static_cast<std::size_t>(tables->batch * 2 * tables->n_players);
  if (!fits) {
    return Unfit(kAndOrEffects,
                 "operands must be v, gamma and at most one delta, of one shape and dtype");
  }
  return AndOrOperands{*tables, delta};
}

template <class Binding>
auto BindAndOr(Binding&& binding) {
  using xla::ffi::AnyBuffer;
  return std::move(binding)
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .RemainingArgs()
      .template Ret<AnyBuffer>()
      .template Ret<AnyBuffer>()
      .template Ret<AnyBuffer>();
}

struct MaskedOperands {
  Masks masks;
  Index rows, size, element_bytes;
};

// masks: bool [m, n], or indices [m], int32 or int64.
inline xla::ffi::ErrorOr<MaskedOperands> ReadMasked(const xla::ffi::AnyBuffer& masks,
                                                    const xla::ffi::AnyBuffer& x,
                                                    const xla::ffi::AnyBuffer& baseline,
                                                    const xla::ffi::Buffer<xla::ffi::S32>& players,
                                                    const xla::ffi::AnyBuffer& out) {
  const auto dims = masks.dimensions();
  Masks coalitions{};
  switch (masks.element_type()) {
    case xla::ffi::DataType::PRED:
      coalitions.bytes = static_cast<const std::uint8_t*>(masks.untyped_data());
      coalitions.n_players = dims.size() == 2 && dims[1] <= 62 ? static_cast<int>(dims[1]) : 0;
      break;
    case xla::ffi::DataType::S32:
      coalitions.indices32 = masks.typed_data<std::int32_t>();
      coalitions.n_players = dims.size() == 1 ? 31 : 0;
      break;
    case xla::ffi::DataType::S64:
      coalitions.indices64 = masks.typed_data<std::int64_t>();
      coalitions.n_players = dims.size() == 1 ? 62 : 0;
      break;
    default:
      break;
  }
  const std::size_t size = x.element_count();
  if (coalitions.n_players < 1 || baseline.element_count() != size ||
      players.element_count() != size || out.element_count() != dims[0] * size) {
    return Unfit(kMaskedInputs,
                 "operands must be masks, bool [m, n] with 1 <= n <= 62 or int32 or int64 [m], and "
                 "x, baseline, players of one shape");
  }
  const auto element_bytes = static_cast<Index>(xla::ffi::ByteWidth(x.element_type()));
  if (element_bytes != 1 && element_bytes != 2 && element_bytes != 4 && element_bytes != 8) {
    return Unfit(kMaskedInputs, "elements must have 1, 2, 4 or 8 bytes");
  }
  return MaskedOperands{coalitions, dims[0], static_cast<Index>(size), element_bytes};
}

template <class Binding>
auto BindMasked(Binding&& binding) {
  using xla::ffi::AnyBuffer;
  return std::move(binding)
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .template Arg<xla::ffi::Buffer<xla::ffi::S32>>()
      .template Ret<AnyBuffer>();
}

struct SparseOperands {
  SparseProgram program;   // all but tol, tie-break and margin
  const double* settings;  // [groups, 3]: these, the same for all groups; where the buffers are
  SparseSplit split;
};

// Operands w [groups, models, 2^n], zeta [groups, models, 1], start [groups, models, 3, 2^n] or
// [groups, models, 1, 1] for none, settings [groups, 3].
inline xla::ffi::ErrorOr<SparseOperands> ReadSparse(
    const xla::ffi::Buffer<xla::ffi::F64>& w, const xla::ffi::Buffer<xla::ffi::F64>& zeta,
    const xla::ffi::Buffer<xla::ffi::F64>& start, const xla::ffi::Buffer<xla::ffi::F64>& settings,
    xla::ffi::Buffer<xla::ffi::F64>& a, xla::ffi::Buffer<xla::ffi::F64>& delta,
    xla::ffi::Buffer<xla::ffi::F64>& y, xla::ffi::Buffer<xla::ffi::F64>& dual,
    xla::ffi::Buffer<xla::ffi::F64>& eps, xla::ffi::Buffer<xla::ffi::S32>& iterations, bool boxed,
    std::int64_t max_iterations) {
  const auto dims = w.dimensions();
  const int n = dims.size() == 3 ? PlayersOf(dims[2]) : -1;
  const std::size_t size = w.element_count(), groups = n < 0 ? 0 : dims[0];
  const bool fits =
      n >= 1 && n <= (boxed ? kMaxPlayersWithNoise : kMaxPlayers) && dims[1] >= 1 &&
      dims[1] <= kMaxModels && settings.element_count() == 3 * groups &&
      zeta.element_count() == groups * dims[1] &&
      (start.element_count() == zeta.element_count() || start.element_count() == 3 * size) &&
      a.element_count() == size && delta.element_count() == size && y.element_count() == size &&
      dual.element_count() == groups && eps.element_count() == groups &&
      iterations.element_count() == groups;
  if (!fits) return Unfit(kSparseSplit, "shapes do not fit");
  return SparseOperands{
      {dims[0], n, static_cast<int>(dims[1]), w.typed_data(), boxed ? zeta.typed_data() : nullptr,
       start.element_count() > zeta.element_count() ? start.typed_data() : nullptr, 0, 0, 0,
       max_iterations},
      settings.typed_data(),
      {a.typed_data(), delta.typed_data(), y.typed_data(), dual.typed_data(), eps.typed_data(),
       iterations.typed_data()}};
}

template <class Binding>
auto BindSparse(Binding&& binding) {
  using Doubles = xla::ffi::Buffer<xla::ffi::F64>;
  return std::move(binding)
      .template Arg<Doubles>()
      .template Arg<Doubles>()
      .template Arg<Doubles>()
      .template Arg<Doubles>()
      .template Ret<Doubles>()
      .template Ret<Doubles>()
      .template Ret<Doubles>()
      .template Ret<Doubles>()
      .template Ret<Doubles>()
      .template Ret<xla::ffi::Buffer<xla::ffi::S32>>()
      .template Attr<bool>("boxed")
      .template Attr<std::int64_t>("max_iterations");
}

}  // namespace jaxinter

#endif  // JAXINTER_FFI_CHECKS_H_
