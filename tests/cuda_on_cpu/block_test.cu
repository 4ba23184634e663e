// Threads of a block: their indices, orders, barriers, shuffles and votes, and what is refused.
#include <cstdlib>
#include <thread>

#include "machine_test.h"

namespace cuda_on_cpu {
namespace {

class BlockTest : public MachineTest {
 protected:
  /// Runs what is launched and returns the device's failure.
  template <class Launch>
  std::string failure_of_launch(Launch launch) {
    EXPECT_EQ(launch(), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    const std::string message = failure_of(0);
    EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure) << "a failure sticks";
    EXPECT_EQ(cudaDeviceReset(), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return message;
  }
};

static __global__ void __launch_bounds__(64) block_indices(int* seen) {
  const int block = int(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  const int thread = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  ++seen[block * int(blockDim.x * blockDim.y * blockDim.z) + thread];
}

TEST_F(BlockTest, EveryIndexRunsOnce) {
  in_every_order(4, [] {
    const dim3 grid(5, 3, 2), block(7, 2, 3);
    int* const seen = device_array(std::vector<int>(30 * 42));
    ASSERT_EQ(launch_kernel(block_indices, grid, block, 0, nullptr, seen), cudaSuccess);
    EXPECT_EQ(from_device(seen, 30 * 42), std::vector<int>(30 * 42, 1));
    cudaFree(seen);
  });
}

static __global__ void __launch_bounds__(64) block_order(int* order, unsigned* next) {
  order[atomicAdd(next, 1u)] = int(blockIdx.x * blockDim.x + threadIdx.x);
}

std::vector<int> order_of_threads() {
  int* const order = device_array<int>(4 * 64);
  unsigned* const next = device_array(std::vector<unsigned>{0});
  EXPECT_EQ(launch_kernel(block_order, 4, 64, 0, nullptr, order, next), cudaSuccess);
  return from_device(order, 4 * 64);
}

TEST_F(BlockTest, OrderIsAsAsked) {
  std::vector<int> up(4 * 64);
  for (size_t i = 0; i < up.size(); ++i) up[i] = int(i);
  EXPECT_EQ(order_of_threads(), up);
  settings().order = Order::kDescending;
  EXPECT_EQ(order_of_threads(), std::vector<int>(up.rbegin(), up.rend()));

  settings().order = Order::kRandom;
  std::vector<std::vector<int>> orders;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    settings().order_seed = seed;
    orders.push_back(order_of_threads());
    std::vector<int> sorted = orders.back();
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, up);
    EXPECT_NE(orders.back(), up);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
}

static __global__ void __launch_bounds__(128) block_counts(int* out) {
  const int t = int(threadIdx.x);
  if (t >= 100) return;  // who has returned is not waited for
  const int count = __syncthreads_count(t % 3 == 0);
  const int any = __syncthreads_or(t == 99), none = __syncthreads_or(t == 100);
  const int all = __syncthreads_and(t < 100), some = __syncthreads_and(t < 99);
  out[t] = count * 10000 + any * 1000 + none * 100 + all * 10 + some;
}

TEST_F(BlockTest, BarriersThatCount) {
  in_every_order(4, [] {
    int* const out = device_array<int>(100);
    ASSERT_EQ(launch_kernel(block_counts, 1, 128, 0, nullptr, out), cudaSuccess);
    EXPECT_EQ(from_device(out, 100), std::vector<int>(100, 34 * 10000 + 1000 + 10));
    cudaFree(out);
  });
}

static __global__ void __launch_bounds__(64) block_shuffles(int* out, int width) {
  const int t = int(threadIdx.x);
  out += 6 * t;
  out[0] = __shfl_sync(~0u, 100 + t, t + 3, width);
  out[1] = __shfl_xor_sync(~0u, 100 + t, 5, width);
  out[2] = __shfl_up_sync(~0u, 100 + t, 3, width);
  out[3] = __shfl_down_sync(~0u, 100 + t, 3, width);
  out[4] = int(__ballot_sync(~0u, t % 3 == 0));
  out[5] = __any_sync(~0u, t % 32 == 7) * 2 + __all_sync(~0u, t % 32 != 7);
}

TEST_F(BlockTest, ShufflesAndVotes) {
  for (const int width : {32, 16, 8, 2}) {
    in_every_order(3, [width] {
      int* const out = device_array<int>(6 * 64);
      ASSERT_EQ(launch_kernel(block_shuffles, 1, 64, 0, nullptr, out, width), cudaSuccess);
      const std::vector<int> got = from_device(out, 6 * 64);
      cudaFree(out);
      for (int t = 0; t < 64; ++t) {
        const int lane = t % 32, warp = t - lane, segment = lane / width * width;
        const int up = lane - 3 >= segment ? t - 3 : t;
        const int down = lane + 3 < segment + width ? t + 3 : t;
        // A segment may read those before it, not those after it.
        const int exchanged = (lane ^ 5) < segment + width ? warp + (lane ^ 5) : t;
        EXPECT_EQ(got[6 * t], 100 + warp + segment + (lane + 3) % width);
        EXPECT_EQ(got[6 * t + 1], 100 + exchanged);
        EXPECT_EQ(got[6 * t + 2], 100 + up);
        EXPECT_EQ(got[6 * t + 3], 100 + down);
        unsigned ballot = 0;
        for (int l = 0; l < 32; ++l) ballot |= unsigned((warp + l) % 3 == 0) << l;
        EXPECT_EQ(unsigned(got[6 * t + 4]), ballot);
        EXPECT_EQ(got[6 * t + 5], 2);
      }
    });
  }
}

static __global__ void __launch_bounds__(32) block_halves(double* out) {
  const int t = int(threadIdx.x);
  double x = t;
  if (t < 16) {
    for (int d = 8; d > 0; d /= 2) x += __shfl_xor_sync(0x0000ffffu, x, d, 16);
  } else {
    for (int d = 8; d > 0; d /= 2) x += __shfl_xor_sync(0xffff0000u, x, d, 16);
  }
  __syncwarp();
  out[t] = x;
}

TEST_F(BlockTest, HalvesOfAWarpMeetApart) {
  in_every_order(4, [] {
    double* const out = device_array<double>(32);
    ASSERT_EQ(launch_kernel(block_halves, 1, 32, 0, nullptr, out), cudaSuccess);
    const std::vector<double> got = from_device(out, 32);
    for (int t = 0; t < 32; ++t) EXPECT_EQ(got[size_t(t)], t < 16 ? 120.0 : 376.0);
    cudaFree(out);
  });
}

static __global__ void __launch_bounds__(64) block_divergent(int* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}
static __global__ void __launch_bounds__(64) block_lane_missing(int* out) {
  int x = 0;
  if (threadIdx.x != 3) x = __shfl_sync(~0u, 1, 0);
  __syncthreads();
  out[threadIdx.x] = x;
}
static __global__ void __launch_bounds__(64) block_lane_returned(int* out) {
  if (threadIdx.x % 32 == 3) return;
  __syncwarp(0xfffffff7u);
  out[threadIdx.x] = __shfl_sync(~0u, 1, 0);
}
static __global__ void __launch_bounds__(64) block_outside_mask(int* out) {
  out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 0);
}
static __global__ void __launch_bounds__(64) block_reads_outside(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 20);
}

TEST_F(BlockTest, WhatHangsOrIsUndefinedIsRefused) {
  const auto refused = [&](void (*kernel)(int*), const char* because) {
    in_every_order(2, [&] {
      int* const out = device_array<int>(64);
      const std::string message =
          failure_of_launch([&] { return launch_kernel(kernel, 2, 64, 0, nullptr, out); });
      EXPECT_NE(message.find(because), std::string::npos) << message;
      EXPECT_NE(message.find("block_test.cu:"), std::string::npos) << message;
    });
  };
  refused(block_divergent, "divergent __syncthreads");
  refused(block_lane_missing, "deadlock");
  refused(block_lane_returned, "a lane that has returned");
  refused(block_outside_mask, "not in its mask");
  refused(block_reads_outside, "outside of its mask");
}

static __global__ void __launch_bounds__(32) block_shared(unsigned* out, int size, int offset) {
  DYN_SHARED(unsigned char, bytes);
  unsigned filled = 1;
  for (int i = 0; i < size; ++i) filled &= bytes[i] == 0xFF;
  __syncthreads();
  if (threadIdx.x == 0) {
    out[blockIdx.x] = filled + unsigned(reinterpret_cast<uintptr_t>(bytes) % 128);
    bytes[offset] = 0;  // the next block must not see it
  }
}

TEST_F(BlockTest, SharedMemoryIsFilledForEveryBlockAndEndsWhereItEnds) {
  unsigned* const out = device_array<unsigned>(4);
  ASSERT_EQ(launch_kernel(block_shared, 4, 32, 1001, nullptr, out, 1001, 1000), cudaSuccess);
  EXPECT_EQ(from_device(out, 4), std::vector<unsigned>(4, 1));
  if (kAsan) return;  // which ends the program
  ASSERT_EQ(launch_kernel(block_shared, 4, 32, 1001, nullptr, out, 1001, 1001), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
  EXPECT_NE(failure_of(0).find("past the end"), std::string::npos);
}

static __global__ void __launch_bounds__(256) block_rotate(int* data, int rounds) {
  DYN_SHARED(int, buffer);
  const unsigned t = threadIdx.x, at = blockIdx.x * blockDim.x + t;
  int x = data[at];
  for (int r = 0; r < rounds; ++r) {
    buffer[t] = x;
    __syncthreads();
    x = buffer[(t + 1) % blockDim.x] + __shfl_xor_sync(~0u, 0, 1);
    __syncthreads();
  }
  data[at] = x;
}

TEST_F(BlockTest, HostThreadsRunKernelsAtOnce) {
  constexpr int kRounds = 20, kBlocks = 3, kWidth = kTsan ? 64 : 256;
  std::vector<std::thread> ranks;
  for (int device = 0; device < 4; ++device) {
    ranks.emplace_back([device] {
      EXPECT_EQ(cudaSetDevice(device), cudaSuccess);
      std::vector<int> values(kBlocks * kWidth);
      for (size_t i = 0; i < values.size(); ++i) values[i] = device * 10000 + int(i);
      int* const data = device_array(values);
      for (int repeat = 0; repeat < 5; ++repeat) {
        EXPECT_EQ(launch_kernel(block_rotate, kBlocks, kWidth, kWidth * 4, nullptr, data, kRounds),
                  cudaSuccess);
      }
      const std::vector<int> got = from_device(data, values.size());
      for (int i = 0; i < kBlocks * kWidth; ++i) {
        const int source = i / kWidth * kWidth + (i + 5 * kRounds) % kWidth;
        ASSERT_EQ(got[size_t(i)], values[size_t(source)]);
      }
      cudaFree(data);
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

}  // namespace
}  // namespace cuda_on_cpu
