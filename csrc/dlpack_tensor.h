// SPDX-License-Identifier: Apache-2.0
// Tensors of the DLPack protocol: its binary interface and what a tensor says of its memory. No
// Python and no numpy, so that fuzz targets and every door can use it.
#ifndef JAXINTER_DLPACK_TENSOR_H_
#define JAXINTER_DLPACK_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

namespace jaxinter {
namespace dlpack {

// https://dmlc.github.io/dlpack/latest/c_api.html
enum DeviceType : std::int32_t {
  kCpu = 1,
  kCuda = 2,
  kCudaHost = 3,
  kRocmHost = 11,
  kCudaManaged = 13
};
enum TypeCode : std::uint8_t {
  kInt = 0,
  kUInt = 1,
  kFloat = 2,
  kBfloat = 4,
  kComplex = 5,
  kBool = 6
};
constexpr std::uint64_t kReadOnly = 1;
constexpr std::uint32_t kMajor = 1, kMinor = 0;

struct Device {
  std::int32_t type, id;
};
struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null for C order
  std::uint64_t byte_offset;
};
struct Managed {  // version 0
  static constexpr char kName[] = "dltensor", kUsed[] = "used_dltensor";
  Tensor tensor;
  void* manager;
  void (*deleter)(Managed*);
};
struct ManagedVersioned {  // version 1
  static constexpr char kName[] = "dltensor_versioned", kUsed[] = "used_dltensor_versioned";
  std::uint32_t major, minor;
  void* manager;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

constexpr std::int32_t kMaxAxes = 64;  // numpy's

// As numpy names them ("f4", "i8", "b1", "c8", and "bf2" for bfloat16); "" where numpy has none.
inline std::string ElementName(const DataType& type) {
  const int bytes = type.bits / 8;
  if (type.lanes != 1 || type.bits % 8 != 0) return "";
  const bool small = bytes == 2 || bytes == 4 || bytes == 8;
  const std::string number = std::to_string(bytes);
  switch (type.code) {
    case kInt:
      return bytes == 1 || small ? "i" + number : "";
    case kUInt:
      return bytes == 1 || small ? "u" + number : "";
    case kFloat:
      return small ? "f" + number : "";
    case kBfloat:
      return bytes == 2 ? "bf2" : "";
    case kComplex:
      return bytes == 8 || bytes == 16 ? "c" + number : "";
    case kBool:
      return bytes == 1 ? "b1" : "";
    default:
      return "";
  }
}

inline std::string ElementText(const DataType& type) {
  return "DLPack type code " + std::to_string(type.code) + ", " + std::to_string(type.bits) +
         " bits, " + std::to_string(type.lanes) + " lanes";
}

inline std::string DeviceText(const Device& device) {
  return "DLPack device (" + std::to_string(device.type) + ", " + std::to_string(device.id) + ")";
}

// Why no array can have this layout, "" where one can. Ask first: a tensor is what somebody else
// wrote, and the functions below compute with its numbers. All of its elements, whose type has a
// name, then lie at addresses from 0 to 2^63 - 1, and so do all counts and strides in bytes.
inline std::string LayoutRefusal(const Tensor& tensor) {
  const std::int64_t bytes = tensor.dtype.bits / 8;
  if (tensor.ndim < 0 || tensor.ndim > kMaxAxes || (tensor.ndim > 0 && !tensor.shape)) {
    return "it has " + std::to_string(tensor.ndim) + " axes";
  }
  bool empty = false, fits = true;
  std::int64_t size = bytes, below = 0, above = bytes;  // of the elements around the first one
  for (int axis = 0; axis < tensor.ndim; ++axis) {
    const std::int64_t length = tensor.shape[axis];
    if (length < 0) return "it has an axis of length " + std::to_string(length);
    if (length == 0) empty = true;
    if (length > 0) fits = fits && !__builtin_mul_overflow(size, length, &size);
  }
  for (int axis = 0; tensor.strides && axis < tensor.ndim; ++axis) {
    const std::int64_t steps = tensor.shape[axis] > 0 ? tensor.shape[axis] - 1 : 0;
    std::int64_t step, reach, &end = tensor.strides[axis] < 0 ? below : above;
    fits = fits && !__builtin_mul_overflow(tensor.strides[axis], bytes, &step) &&
           !__builtin_mul_overflow(step, steps, &reach) &&
           !__builtin_add_overflow(end, reach, &end);
  }
  if (!tensor.strides) above = size;
  if (empty) below = above = 0;
  std::int64_t first, last;
  const auto data = reinterpret_cast<std::uintptr_t>(tensor.data);
  fits = fits && !__builtin_add_overflow(data, tensor.byte_offset, &first) &&
         !__builtin_add_overflow(first, above, &last) && first + below >= 0;
  if (!fits) return "its elements do not fit into memory";
  if (!tensor.data && !empty) return "it has elements and no memory";
  return "";
}

// In elements.
inline std::vector<std::int64_t> ElementStrides(const Tensor& tensor) {
  if (tensor.strides) return {tensor.strides, tensor.strides + tensor.ndim};
  std::vector<std::int64_t> strides(tensor.ndim);
  std::int64_t step = 1;
  for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
    strides[axis] = step;
    step *= tensor.shape[axis];
  }
  return strides;
}

// In C order. The strides of axes of length 1, and of tensors without elements, do not matter.
inline bool IsContiguous(const Tensor& tensor) {
  bool ordered = true;
  std::int64_t step = 1;
  for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
    const std::int64_t length = tensor.shape[axis];
    if (length == 0) return true;
    if (length > 1 && tensor.strides && tensor.strides[axis] != step) ordered = false;
    step *= length;
  }
  return ordered;
}

inline void* FirstElement(const Tensor& tensor) {
  return tensor.data ? static_cast<char*>(tensor.data) + tensor.byte_offset : nullptr;
}

}  // namespace dlpack
}  // namespace jaxinter

#endif  // JAXINTER_DLPACK_TENSOR_H_
