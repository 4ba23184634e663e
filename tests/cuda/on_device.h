// Values of the host on a device and back, for tests that compare the two backends.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "launch/machine/cuda_libraries.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::testing {

/// Before the first test: libraries are where the program finds them.
class CudaLibraries : public ::testing::Environment {
 public:
  void SetUp() override { launch::use_cuda_library_folders(); }
};
inline ::testing::Environment* const kCudaLibraries =
    ::testing::AddGlobalTestEnvironment(new CudaLibraries);  // which googletest deletes

inline Device test_device() { return Device::cuda(0); }

/// A context on the device, with scratch, computing in `dtype`.
class DeviceContext : public Context {
 public:
  explicit DeviceContext(DType dtype = DType::kF32, size_t scratch_bytes = size_t{16} << 20)
      : Context(test_device(), 1, 7) {
    set_compute_dtype(dtype);
    set_scratch(Arena(test_device(), scratch_bytes));
  }
};

/// A tensor of its own memory on the device.
class OnDevice {
 public:
  /// Uninitialised, as far as an operator may know.
  OnDevice(DType dtype, std::initializer_list<int64_t> shape)
      : shape_(nullptr, dtype, shape), memory_(Buffer::on(test_device(), shape_.bytes())) {
    tensor_ = Tensor(memory_.data(), dtype, shape, test_device());
  }
  /// The values, rounded to `dtype`.
  OnDevice(DType dtype, std::initializer_list<int64_t> shape, const std::vector<float>& values)
      : OnDevice(dtype, shape) {
    set(values);
  }

  Tensor tensor() const { return tensor_; }
  operator Tensor() const { return tensor_; }

  void set(const std::vector<float>& values) {
    ASSERT_EQ(int64_t(values.size()), tensor_.numel());
    std::vector<std::byte> bytes(tensor_.bytes());
    for (size_t i = 0; i < values.size(); ++i) store(bytes.data(), i, values[i]);
    upload(bytes.data(), bytes.size());
  }
  void upload(const void* bytes, size_t size) {
    ASSERT_EQ(size, tensor_.bytes());
    Stream stream(test_device());
    stream.copy(tensor_.raw(), bytes, size);
    stream.synchronize();
  }
  /// Waits for all work of `ctx` first.
  std::vector<std::byte> bytes(Context& ctx) const {
    std::vector<std::byte> result(tensor_.bytes());
    ctx.compute_stream().copy(result.data(), tensor_.raw(), result.size());
    ctx.compute_stream().synchronize();
    return result;
  }
  std::vector<float> values(Context& ctx) const {
    const std::vector<std::byte> raw = bytes(ctx);
    std::vector<float> result(size_t(tensor_.numel()));
    for (size_t i = 0; i < result.size(); ++i) result[i] = load(raw.data(), i);
    return result;
  }

 private:
  void store(std::byte* at, size_t i, float value) const {
    switch (tensor_.dtype()) {
      case DType::kBF16:
        reinterpret_cast<bf16*>(at)[i] = to_bf16(value);
        break;
      case DType::kF16:
        reinterpret_cast<f16*>(at)[i] = to_f16(value);
        break;
      default:
        reinterpret_cast<float*>(at)[i] = value;
    }
  }
  float load(const std::byte* at, size_t i) const {
    switch (tensor_.dtype()) {
      case DType::kBF16:
        return to_float(reinterpret_cast<const bf16*>(at)[i]);
      case DType::kF16:
        return to_float(reinterpret_cast<const f16*>(at)[i]);
      default:
        return reinterpret_cast<const float*>(at)[i];
    }
  }

  Tensor shape_;
  Buffer memory_;
  Tensor tensor_;
};

/// The values as `dtype` holds them.
inline std::vector<float> rounded(DType dtype, std::vector<float> values) {
  for (float& x : values) {
    if (dtype == DType::kBF16) x = to_float(to_bf16(x));
    if (dtype == DType::kF16) x = to_float(to_f16(x));
  }
  return values;
}

}  // namespace tessera::testing
