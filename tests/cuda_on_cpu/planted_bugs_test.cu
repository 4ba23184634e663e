// One bug of each kind that the simulation exists to find. Each is found, and the same program
// without the bug is not complained about: by its results or a refusal in some order or mode in
// every build, and by TSan in each order.
#include <cmath>

#include "machine_test.h"

namespace cuda_on_cpu {
namespace {

constexpr int kThreads = 128;
constexpr int kSeeds = 8;

enum class Bug {
  kNone,
  kNoBarrierAfterFill,
  kNoBarrierBeforeReuse,
  kUninitialisedShared,
  kNoWaitForCopy,
  kNoWarpBarrier,
  kBlocksRace,
};

// Each thread sends its value to the one opposite, twice, through one buffer.
static __global__ void __launch_bounds__(kThreads)
    planted_exchange(float* out, const float* in, Bug bug) {
  DYN_SHARED(float, buffer);
  const int t = int(threadIdx.x), other = kThreads - 1 - t;
  const size_t at = size_t(blockIdx.x) * kThreads + size_t(t);
  buffer[t] = in[at];
  if (bug != Bug::kNoBarrierAfterFill) __syncthreads();
  const float first = buffer[other];
  if (bug != Bug::kNoBarrierBeforeReuse) __syncthreads();
  buffer[t] = 2.0f * in[at];
  __syncthreads();
  out[at] = first + buffer[other];
}

// Sums what a block has through a table of which some entries may never be written.
static __global__ void __launch_bounds__(kThreads)
    planted_table(float* out, const float* in, Bug bug) {
  DYN_SHARED(float, table);
  const int t = int(threadIdx.x);
  if (bug != Bug::kUninitialisedShared || t != 5) table[t] = in[t];
  __syncthreads();
  float sum = 0.0f;
  for (int i = 0; i < kThreads; ++i) sum += table[i];
  out[size_t(blockIdx.x) * kThreads + size_t(t)] = sum;
}

static __global__ void __launch_bounds__(kThreads)
    planted_async_copy(float* out, const float* in, Bug bug) {
  DYN_SHARED(float, buffer);
  const int t = int(threadIdx.x);
  if (t < kThreads / 4) cp_async16(buffer + 4 * t, in + 4 * t, true);
  cp_async_commit();
  if (bug != Bug::kNoWaitForCopy) cp_async_wait<0>();
  __syncthreads();
  out[t] = buffer[t ^ 64];
}

static __global__ void __launch_bounds__(kThreads)
    planted_warp(float* out, const float* in, Bug bug) {
  DYN_SHARED(float, buffer);
  const int t = int(threadIdx.x);
  buffer[t] = in[t];
  if (bug != Bug::kNoWarpBarrier) __syncwarp();
  out[t] = buffer[t ^ 1];
}

// Blocks may run at once: what one writes no other may read.
static __global__ void __launch_bounds__(kThreads)
    planted_blocks(float* out, const float* in, Bug bug) {
  const int t = int(threadIdx.x), other = bug == Bug::kBlocksRace ? 1 - int(blockIdx.x) : 0;
  if (blockIdx.x == 0) out[t] = in[t];
  if (blockIdx.x == 1) out[kThreads + t] = bug == Bug::kBlocksRace ? out[kThreads - 1 - t] : other;
}

using Planted = void (*)(float*, const float*, Bug);

class PlantedKernelBug : public MachineTest {
 protected:
  PlantedKernelBug() { races_expected_ = true; }
  /// Compares a run without the bug with others; in TSan builds it is the reports that count.
  void expect_found(Planted kernel, Bug bug, int blocks) {
    std::vector<float> values(size_t(blocks) * kThreads);
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i + 1);
    const float* const in = device_array(values);
    const std::vector<float> right = run(kernel, in, Bug::kNone, blocks);
    int wrong = 0;
    const int before = tsan_reports();
    in_every_order(kSeeds, [&] { EXPECT_EQ(run(kernel, in, Bug::kNone, blocks), right); });
    EXPECT_EQ(tsan_reports(), before) << "a report where there is no bug";
    in_every_order(kTsan ? 1 : kSeeds, [&] {
      const int reports_before = tsan_reports();
      const std::vector<float> got = run(kernel, in, bug, blocks);
      // Not ==: what was never written is not a number.
      wrong += got != right;
      if (kTsan && by_tsan_) {
        EXPECT_GT(tsan_reports(), reports_before);
      }
    });
    EXPECT_TRUE(kTsan || wrong > 0);
  }
  std::vector<float> run(Planted kernel, const float* in, Bug bug, int blocks) {
    float* const out = device_array<float>(size_t(blocks) * kThreads);
    EXPECT_EQ(launch_kernel(kernel, unsigned(blocks), kThreads, kThreads * sizeof(float), nullptr,
                            out, in, bug),
              cudaSuccess);
    const std::vector<float> got = from_device(out, size_t(blocks) * kThreads);
    cudaFree(out);
    return got;
  }
  bool by_tsan_ = true;
};

TEST_F(PlantedKernelBug, NoBarrierAfterAFill) {
  expect_found(planted_exchange, Bug::kNoBarrierAfterFill, 3);
}
TEST_F(PlantedKernelBug, NoBarrierBeforeReuse) {
  expect_found(planted_exchange, Bug::kNoBarrierBeforeReuse, 3);
}
TEST_F(PlantedKernelBug, UninitialisedSharedMemory) {
  by_tsan_ = false;
  expect_found(planted_table, Bug::kUninitialisedShared, 2);
}
TEST_F(PlantedKernelBug, NoWaitForAnAsyncCopy) {
  by_tsan_ = false;  // the copy never comes: nothing races
  expect_found(planted_async_copy, Bug::kNoWaitForCopy, 1);
}
TEST_F(PlantedKernelBug, NoWarpBarrier) { expect_found(planted_warp, Bug::kNoWarpBarrier, 1); }
TEST_F(PlantedKernelBug, BlocksThatReadEachOther) {
  expect_found(planted_blocks, Bug::kBlocksRace, 2);
}

static __global__ void __launch_bounds__(kThreads) planted_scale(float* x, float factor, int n) {
  const int i = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (i < n) x[i] *= factor;
}

constexpr int kCount = 200;

void scale(float* x, float factor, cudaStream_t stream) {
  EXPECT_EQ(launch_kernel(planted_scale, (kCount + kThreads - 1) / kThreads, kThreads, 0, stream, x,
                          factor, kCount),
            cudaSuccess);
}

// Two chunks through one pinned and one device buffer: copy in on one stream, work on another, copy
// out on the first. Every wait of it can be left out.
enum class Missing {
  kNone,
  kComputeWaitsForCopy,
  kCopyWaitsForCompute,
  kHostWaitsBeforeRefill,
  kFinalSynchronise,
  kFreeWaitsForCompute,
  kOutWaitsForCompute,
};

class PlantedStreamBug : public MachineTest {
 protected:
  PlantedStreamBug() { races_expected_ = true; }
  void SetUp() override {
    MachineTest::SetUp();
    settings().memory = size_t(1) << 20;
  }
  /// True where the results are wrong, or a call was refused.
  bool wrong(Missing missing) {
    cudaStream_t copies, compute;
    cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking);
    cudaEvent_t copied, computed;
    cudaEventCreateWithFlags(&copied, cudaEventDisableTiming);
    cudaEventCreateWithFlags(&computed, cudaEventDisableTiming);
    constexpr size_t kBytes = kCount * sizeof(float);
    float *pinned = nullptr, *result = nullptr, *device = nullptr;
    cudaMallocHost(reinterpret_cast<void**>(&pinned), kBytes);
    cudaMallocHost(reinterpret_cast<void**>(&result), 2 * kBytes);
    cudaMallocAsync(reinterpret_cast<void**>(&device), kBytes, copies);

    for (int chunk = 0; chunk < 2; ++chunk) {
      if (chunk == 1 && missing != Missing::kHostWaitsBeforeRefill) cudaEventSynchronize(copied);
      for (int i = 0; i < kCount; ++i) pinned[i] = float(i + chunk);
      if (chunk == 1 && missing != Missing::kCopyWaitsForCompute) {
        cudaStreamWaitEvent(copies, computed, 0);
      }
      cudaMemcpyAsync(device, pinned, kBytes, cudaMemcpyDefault, copies);
      cudaEventRecord(copied, copies);
      if (missing != Missing::kComputeWaitsForCopy) cudaStreamWaitEvent(compute, copied, 0);
      scale(device, 2.0f, compute);
      cudaMemcpyAsync(result + chunk * kCount, device, kBytes, cudaMemcpyDefault, compute);
      cudaEventRecord(computed, compute);
    }
    if (missing != Missing::kFreeWaitsForCompute) cudaStreamWaitEvent(copies, computed, 0);
    cudaFreeAsync(device, copies);
    cudaError_t status = cudaSuccess;
    if (missing != Missing::kFinalSynchronise) status = cudaStreamSynchronize(copies);
    bool wrong = false;
    for (int i = 0; i < 2 * kCount; ++i) {
      wrong |= result[i] != 2.0f * float(i % kCount + i / kCount);
    }
    if (status == cudaSuccess) status = cudaDeviceSynchronize();
    cudaDeviceReset();
    cudaFreeHost(pinned);
    cudaFreeHost(result);
    return wrong || status != cudaSuccess;
  }
  void expect_found(Missing missing) {
    const int before = tsan_reports();
    in_every_mode(kSeeds, [&] { EXPECT_FALSE(wrong(Missing::kNone)); });
    EXPECT_EQ(tsan_reports(), before) << "a report where there is no bug";
    int found = 0;
    in_every_mode(kTsan ? 1 : 4 * kSeeds, [&] {
      const int reports_before = tsan_reports();
      const bool bad = wrong(missing);
      found += bad;
      EXPECT_TRUE(!kTsan || bad || tsan_reports() > reports_before);
    });
    EXPECT_TRUE(kTsan || found > 0);
  }
};

TEST_F(PlantedStreamBug, KernelDoesNotWaitForTheCopy) {
  expect_found(Missing::kComputeWaitsForCopy);
}
TEST_F(PlantedStreamBug, CopyOverwritesWhatAKernelUses) {
  expect_found(Missing::kCopyWaitsForCompute);
}
TEST_F(PlantedStreamBug, PinnedBufferRefilledTooEarly) {
  expect_found(Missing::kHostWaitsBeforeRefill);
}
TEST_F(PlantedStreamBug, NoSynchroniseBeforeReading) { expect_found(Missing::kFinalSynchronise); }
TEST_F(PlantedStreamBug, FreedWhileInUse) { expect_found(Missing::kFreeWaitsForCompute); }

}  // namespace
}  // namespace cuda_on_cpu
