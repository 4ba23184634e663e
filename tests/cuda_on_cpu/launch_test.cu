// Launches that a GPU's runtime refuses, and failures that stick to a device.
#include "machine_test.h"

namespace cuda_on_cpu {
namespace {

class LaunchTest : public MachineTest {};

struct View {
  float* data;
  int count;
};

static __global__ void __launch_bounds__(256) launch_fill(float* out, float value) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}
static __global__ void __launch_bounds__(128, 4) launch_bounded(float* out) {
  if (threadIdx.x == 0) out[0] = 1.0f;
}
template <int N>
static __global__ void __launch_bounds__(N) launch_bounded_by(float* out) {
  if (threadIdx.x == 0) out[0] = float(N);
}
static __global__ void launch_unbounded(float* out) {
  if (threadIdx.x == 0) out[0] = 1.0f;
}
static __global__ void __launch_bounds__(32) launch_view(View view) {
  if (threadIdx.x == 0) view.data[0] = 1.0f;
}
static __global__ void __launch_bounds__(32) launch_big(float* out) {
  DYN_SHARED(float, buffer);
  if (threadIdx.x == 0) buffer[0] = 1.0f;
  if (threadIdx.x == 0) out[0] = buffer[0];
}
static __global__ void __launch_bounds__(32) launch_misaligned(float* out, const float* in) {
  check_aligned(in, 16);
  if (threadIdx.x == 0) out[0] = in[0];
}

TEST_F(LaunchTest, ShapesBeyondTheLimits) {
  float* const out = device_array<float>(1024);
  const auto launched = [&](dim3 grid, dim3 block) {
    return launch_kernel(launch_unbounded, grid, block, 0, nullptr, out);
  };
  EXPECT_EQ(launched(1, 1024), cudaSuccess);
  EXPECT_EQ(launched(1, 1025), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(1, dim3(32, 32, 2)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(1, dim3(1, 1, 65)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(0, 32), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(dim3(1, 65536), 32), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(dim3(1, 1, 65536), 32), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(0x80000000u, 1), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "a refusal does not stick";
}

TEST_F(LaunchTest, MoreThreadsThanLaunchBounds) {
  float* const out = device_array<float>(1024);
  EXPECT_EQ(launch_kernel(launch_bounded, 1, 128, 0, nullptr, out), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_bounded, 1, 160, 0, nullptr, out), cudaErrorLaunchOutOfResources);
  EXPECT_EQ(launch_kernel(launch_bounded_by<96>, 1, 96, 0, nullptr, out), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_bounded_by<96>, 1, 128, 0, nullptr, out),
            cudaErrorLaunchOutOfResources);
  cudaFuncAttributes attributes;
  ASSERT_EQ(cudaFuncGetAttributes(&attributes, launch_unbounded), cudaSuccess);
  EXPECT_EQ(attributes.maxThreadsPerBlock, 1024);
  ASSERT_EQ(cudaFuncGetAttributes(&attributes, launch_bounded_by<512>), cudaSuccess);
  EXPECT_GE(attributes.maxThreadsPerBlock, 512);
  EXPECT_LT(attributes.maxThreadsPerBlock, 528);
}

TEST_F(LaunchTest, SharedMemoryHasToBeAskedForOnEachDevice) {
  float* out = device_array<float>(1);
  const auto launched = [&](size_t bytes) {
    return launch(launch_big, 1, 32, bytes, nullptr, out);
  };
  EXPECT_EQ(launched(48 * 1024), cudaSuccess);
  EXPECT_EQ(launched(48 * 1024 + 16), cudaErrorInvalidValue);
  const auto ask = [](int bytes) {
    return cudaFuncSetAttribute(launch_big, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  EXPECT_EQ(ask(100 * 1024), cudaSuccess);
  EXPECT_EQ(launched(100 * 1024), cudaSuccess);
  EXPECT_EQ(launched(100 * 1024 + 16), cudaErrorInvalidValue);
  EXPECT_EQ(ask(227 * 1024), cudaSuccess);
  EXPECT_EQ(ask(227 * 1024 + 1), cudaErrorInvalidValue);
  EXPECT_EQ(launched(227 * 1024), cudaSuccess);
  cudaSetDevice(1);
  out = device_array<float>(1);
  EXPECT_EQ(launched(100 * 1024), cudaErrorInvalidValue);
  EXPECT_EQ(launch_kernel(launch_big, 1, 32, 100 * 1024, nullptr, out), cudaSuccess)
      << "which asks by itself";
}

TEST_F(LaunchTest, DestroyedStreamAndStreamOfAnotherDevice) {
  float* const out = device_array<float>(32);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_fill, 1, 32, 0, stream, out, 1.0f), cudaSuccess);
  cudaSetDevice(1);
  EXPECT_EQ(launch_kernel(launch_fill, 1, 32, 0, stream, out, 1.0f),
            cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess) << "which any device may";
  cudaSetDevice(0);
  ASSERT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_fill, 1, 32, 0, stream, out, 1.0f),
            cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaMemsetAsync(out, 0, 4, stream), cudaErrorInvalidResourceHandle);
}

TEST_F(LaunchTest, ADestroyedStreamFinishesItsWork) {
  settings().streams = Streams::kLate;
  float* const out = device_array<float>(32);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_fill, 1, 32, 0, stream, out, 3.0f), cudaSuccess);
  ASSERT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_fill, 1, 32, 0, stream, out, 4.0f),
            cudaErrorInvalidResourceHandle);
  EXPECT_EQ(from_device(out, 32), std::vector<float>(32, 3.0f));
}

TEST_F(LaunchTest, PointersTheDeviceCannotReach) {
  float* const here = device_array<float>(256);
  cudaSetDevice(1);
  float* const elsewhere = device_array<float>(256);
  cudaSetDevice(0);
  std::vector<float> host(256);
  float* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(reinterpret_cast<void**>(&pinned), 1024), cudaSuccess);
  float* const freed = device_array<float>(256);
  cudaFree(freed);

  EXPECT_EQ(launch_kernel(launch_fill, 1, 32, 0, nullptr, here, 1.0f), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_fill, 1, 32, 0, nullptr, pinned, 1.0f), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const auto refused = [&](auto start) {
    start();
    EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    EXPECT_EQ(cudaDeviceReset(), cudaSuccess);
  };
  for (float* p : {elsewhere, host.data(), freed}) {
    refused([p] { launch_kernel(launch_fill, 1, 32, 0, nullptr, p, 1.0f); });
  }
  refused([&] { launch_kernel(launch_view, 1, 32, 0, nullptr, View{elsewhere, 256}); });
  cudaFreeHost(pinned);
}

TEST_F(LaunchTest, MisalignedPack) {
  float* const out = device_array<float>(1);
  const float* const in = device_array<float>(8);
  EXPECT_EQ(launch_kernel(launch_misaligned, 1, 32, 0, nullptr, out, in + 4), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(launch_kernel(launch_misaligned, 1, 32, 0, nullptr, out, in + 1), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorMisalignedAddress);
  EXPECT_NE(failure_of(0).find("misaligned"), std::string::npos);
}

TEST_F(LaunchTest, AFailureSticksToItsDeviceAlone) {
  float* const out = device_array<float>(1);
  launch_kernel(launch_misaligned, 1, 32, 0, nullptr, out, out + 1);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorMisalignedAddress);
  void* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, 16), cudaErrorMisalignedAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMisalignedAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMisalignedAddress);
  EXPECT_STREQ(cudaGetErrorName(cudaGetLastError()), "cudaErrorMisalignedAddress");
  cudaSetDevice(1);
  EXPECT_EQ(cudaMalloc(&p, 16), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST_F(LaunchTest, DevicesAndWhatTheySay) {
  int count = 0, value = 0;
  ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, settings().devices);
  EXPECT_EQ(cudaSetDevice(count), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(-1), cudaErrorInvalidDevice);
  cudaDeviceProp p;
  ASSERT_EQ(cudaGetDeviceProperties(&p, 3), cudaSuccess);
  EXPECT_EQ(p.major, 9);
  EXPECT_EQ(p.totalGlobalMem, settings().memory);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0),
            cudaSuccess);
  EXPECT_EQ(value, 227 * 1024);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 9),
            cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceCanAccessPeer(&value, 0, 1), cudaSuccess);
  EXPECT_EQ(value, 0);
  EXPECT_EQ(cudaDriverGetVersion(&value), cudaSuccess);
  EXPECT_EQ(value, CUDART_VERSION);
}

}  // namespace
}  // namespace cuda_on_cpu
