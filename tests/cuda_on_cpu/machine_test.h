// What the tests of the simulated machine share: a fixture that leaves it as new, arrays on the
// device, every order and mode, and the count of TSan's reports.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <vector>

#include "control.h"
#include "gpu_primitives.h"

namespace cuda_on_cpu {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kTsan = true;
#else
inline constexpr bool kTsan = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAsan = true;
#else
inline constexpr bool kAsan = false;
#endif

/// How often TSan has reported a race; reports do not end the program.
int tsan_reports();

class MachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    settings() = Settings{};
    cudaSetDevice(0);
    cudaDeviceReset();
    reports_before_ = tsan_reports();
  }
  void TearDown() override {
    EXPECT_TRUE(races_expected_ || tsan_reports() == reports_before_);
    for (int d = 0; d < settings().devices; ++d) {
      cudaSetDevice(d);
      cudaDeviceReset();
    }
    cudaSetDevice(0);
    settings() = Settings{};
  }

  bool races_expected_ = false;

 private:
  int reports_before_ = 0;
};

template <class T>
T* device_array(size_t count) {
  void* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, count * sizeof(T)), cudaSuccess);
  return static_cast<T*>(p);
}
template <class T>
T* device_array(const std::vector<T>& values) {
  T* const p = device_array<T>(values.size());
  EXPECT_EQ(cudaMemcpy(p, values.data(), values.size() * sizeof(T), cudaMemcpyDefault),
            cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  return p;
}
template <class T>
std::vector<T> from_device(const T* p, size_t count) {
  std::vector<T> values(count);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(values.data(), p, count * sizeof(T), cudaMemcpyDefault), cudaSuccess);
  return values;
}

/// Calls f in ascending, descending and `seeds` random orders.
inline void in_every_order(int seeds, const std::function<void()>& f) {
  const Settings before = settings();
  for (int i = 0; i < 2 + seeds; ++i) {
    settings().order = i == 0 ? Order::kAscending : i == 1 ? Order::kDescending : Order::kRandom;
    settings().order_seed = uint64_t(i);
    SCOPED_TRACE("order " + std::to_string(i));
    f();
  }
  settings() = before;
}

/// Calls f with streams eager, late, and `seeds` times random.
inline void in_every_mode(int seeds, const std::function<void()>& f) {
  const Settings before = settings();
  for (int i = 0; i < 2 + seeds; ++i) {
    settings().streams = i == 0 ? Streams::kEager : i == 1 ? Streams::kLate : Streams::kRandom;
    SCOPED_TRACE("mode " + std::to_string(i));
    f();
  }
  settings() = before;
}

}  // namespace cuda_on_cpu
