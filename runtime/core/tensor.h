// A non-owning, contiguous, shaped view of memory: pointer, dtype, shape (at most 4 dims), device.
// Copying a Tensor copies the view. Whoever made the memory (Buffer, Arena, blob) keeps it alive.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "runtime/core/device.h"
#include "runtime/core/dtype.h"
#include "runtime/core/error.h"

namespace tessera {

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kF32;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::kBF16;
}
template <>
constexpr DType dtype_of<f16>() {
  return DType::kF16;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kI32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kI64;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kU8;
}

class Tensor {
 public:
  static constexpr int kMaxDims = 4;

  Tensor() = default;
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape, Device device = {})
      : data_(data), dtype_(dtype), device_(device), dims_(int(shape.size())) {
    TESSERA_CHECK(shape.size() <= size_t(kMaxDims));
    int i = 0;
    for (int64_t extent : shape) shape_[i++] = extent;
  }
  template <class T>
  static Tensor of(std::span<T> values, std::initializer_list<int64_t> shape, Device device = {}) {
    Tensor view(const_cast<std::remove_const_t<T>*>(values.data()),
                dtype_of<std::remove_const_t<T>>(), shape, device);
    TESSERA_CHECK(view.numel() == int64_t(values.size()));
    return view;
  }

  /// False for a default Tensor only; a view made while measuring has a shape but no memory.
  explicit operator bool() const { return dims_ > 0; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  int dims() const { return dims_; }
  int64_t dim(int i) const { return shape_[i < 0 ? dims_ + i : i]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < dims_; ++i) n *= shape_[i];
    return n;
  }
  size_t bytes() const { return size_t(numel()) * size_of(dtype_); }
  /// Product of all dims but the last.
  int64_t rows() const { return dims_ == 0 || dim(-1) == 0 ? 0 : numel() / dim(-1); }
  int64_t cols() const { return dims_ == 0 ? 0 : dim(-1); }

  void* raw() const { return data_; }
  template <class T>
  T* data() const {
    TESSERA_CHECK(dtype_of<std::remove_const_t<T>>() == dtype_);
    return static_cast<T*>(data_);
  }
  template <class T>
  std::span<T> span() const {
    return {data<T>(), size_t(numel())};
  }

  /// The same memory in another shape of equal size.
  Tensor view(std::initializer_list<int64_t> shape) const {
    Tensor other(data_, dtype_, shape, device_);
    TESSERA_CHECK(other.numel() == numel());
    return other;
  }
  /// Rows [begin, end) of the first dimension.
  Tensor slice(int64_t begin, int64_t end) const {
    TESSERA_CHECK(dims_ >= 1 && 0 <= begin && begin <= end && end <= shape_[0]);
    Tensor other = *this;
    const int64_t stride = shape_[0] == 0 ? 0 : numel() / shape_[0];
    other.data_ = static_cast<char*>(data_) + size_t(begin * stride) * size_of(dtype_);
    other.shape_[0] = end - begin;
    return other;
  }

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Device device_;
  int dims_ = 0;
  std::array<int64_t, kMaxDims> shape_{};
};

}  // namespace tessera
