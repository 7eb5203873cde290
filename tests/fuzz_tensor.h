// SPDX-License-Identifier: Apache-2.0
// The part of the fuzz target (fuzz_kernels.cc) for what DLPack tensors say of themselves.
#ifndef JAXINTER_TESTS_FUZZ_TENSOR_H_
#define JAXINTER_TESTS_FUZZ_TENSOR_H_

#include <string>

#include "../csrc/dlpack_tensor.h"
#include "fuzz_input.h"

namespace jaxinter {

// Computes in numbers so wide that none of them overflows.
inline void FuzzTensor(Input& in) {
  using Wide = __int128;
  constexpr Wide kEnd = std::numeric_limits<std::int64_t>::max();
  struct Named {
    int code, bits;
    const char* name;
  };
  static constexpr Named kNames[] = {{0, 8, "i1"},  {0, 16, "i2"}, {0, 32, "i4"},  {0, 64, "i8"},
                                     {1, 8, "u1"},  {1, 16, "u2"}, {1, 32, "u4"},  {1, 64, "u8"},
                                     {2, 16, "f2"}, {2, 32, "f4"}, {2, 64, "f8"},  {4, 16, "bf2"},
                                     {5, 64, "c8"}, {6, 8, "b1"},  {5, 128, "c16"}};
  const bool wild = in.Flip();
  const auto number = [&](int least, int most) -> std::int64_t {
    return wild && in.Flip() ? in.Take<std::int64_t>() : least + in.UpTo(most - least);
  };
  dlpack::Tensor t{};
  t.ndim = wild && in.Flip() ? in.Take<std::int32_t>() : in.UpTo(6);
  const Named& named = kNames[in.UpTo(14)];
  t.dtype = {static_cast<std::uint8_t>(named.code), static_cast<std::uint8_t>(named.bits), 1};
  if (wild && in.Flip()) t.dtype = in.Take<dlpack::DataType>();
  t.data = reinterpret_cast<void*>(wild ? in.Take<std::uint64_t>() : in.UpTo(3) * 16);
  t.byte_offset = number(0, 100);
  const bool in_bounds = t.ndim >= 0 && t.ndim <= 64;
  Memory<std::int64_t> shape(in, in_bounds ? t.ndim : 0), strides(in, shape.size());
  for (Index i = 0; i < shape.size(); ++i) {
    shape[i] = number(in.UpTo(15) ? 1 : 0, 3), strides[i] = number(-9, 9);
  }
  const int layout = in.UpTo(2);  // any strides, none, or C order but for axes that do not matter
  for (Index i = shape.size() - 1, step = 1; layout == 2 && i >= 0; --i) {
    if (shape[i] < 0 || shape[i] > 1 << 20 || step > 1 << 20) break;
    strides[i] = shape[i] == 1 ? strides[i] : step, step *= shape[i];
  }
  t.shape = shape.size() || in.Flip() ? shape.data() : nullptr;
  t.strides = layout == 1 ? nullptr : strides.data();
  std::snprintf(about, sizeof(about), "tensor of %d axes, dtype %d %d %d", t.ndim, t.dtype.code,
                t.dtype.bits, t.dtype.lanes);

  std::string name;
  for (const Named& x : kNames) {
    if (t.dtype.code == x.code && t.dtype.bits == x.bits && t.dtype.lanes == 1) name = x.name;
  }
  Require(dlpack::ElementName(t.dtype) == name, "not the name of the dtype");
  const std::string refusal = dlpack::LayoutRefusal(t);
  if (name.empty()) return;
  const Wide bytes = t.dtype.bits / 8, data = reinterpret_cast<std::uintptr_t>(t.data);
  bool fits = in_bounds, empty = false;
  Wide count = 1, low = 0, high = 0;
  for (Index i = 0; i < shape.size(); ++i) {
    empty = empty || shape[i] == 0;
    fits = fits && shape[i] >= 0 && (shape[i] == 0 || (count *= shape[i]) <= kEnd / bytes);
  }
  std::vector<Wide> steps(shape.size());
  Wide step = 1;
  for (Index i = shape.size() - 1; fits && i >= 0; --i) {
    steps[i] = t.strides ? Wide{strides[i]} : step, step *= shape[i];
    const Wide reach = std::max<Wide>(shape[i] - 1, 0) * steps[i] * bytes;
    fits = steps[i] * bytes <= kEnd && steps[i] * bytes >= -kEnd - 1;
    (reach < 0 ? low : high) += reach;
    fits = fits && high <= kEnd && low >= -kEnd - 1;
  }
  const Wide first = data + t.byte_offset;
  fits = fits && first <= kEnd && (empty || (first + low >= 0 && first + high + bytes <= kEnd));
  fits = fits && (empty || t.data);
  Require(refusal.empty() == fits, fits ? refusal.c_str() : "a layout that is none");
  if (!fits) return;
  Require(!t.data || Wide(reinterpret_cast<std::uintptr_t>(dlpack::FirstElement(t))) == first,
          "not the first element");
  Require(t.data || !dlpack::FirstElement(t), "null is somewhere");
  const std::vector<std::int64_t> got = dlpack::ElementStrides(t);
  Require(std::equal(got.begin(), got.end(), steps.begin(), steps.end()), "not the strides");
  if (!empty && count > 4096) return;
  bool ordered = true;
  for (Index i = 0; !empty && i < count; ++i) {
    Wide element = 0;
    for (Index axis = shape.size() - 1, rest = i; axis >= 0; --axis) {
      element += rest % shape[axis] * steps[axis], rest /= shape[axis];
    }
    ordered = ordered && element == i;
  }
  Require(dlpack::IsContiguous(t) == ordered, ordered ? "C order missed" : "no C order");
}

}  // namespace jaxinter

#endif  // JAXINTER_TESTS_FUZZ_TENSOR_H_
