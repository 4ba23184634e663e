// Memory and copies: limits, what new and freed memory holds, damage, kinds of copies and when they
// read and write.
#include "machine_test.h"

namespace cuda_on_cpu {
namespace {

class MemoryTest : public MachineTest {};

static __global__ void __launch_bounds__(32) memory_poke(unsigned char* p, long at) {
  if (threadIdx.x == 0) p[at] = 1;
}

void poke(unsigned char* p, long at) {
  EXPECT_EQ(launch_kernel(memory_poke, 1, 32, 0, nullptr, p, at), cudaSuccess);
}

TEST_F(MemoryTest, NewMemoryIsAlignedAndFilled) {
  for (const size_t bytes : {size_t(1), size_t(255), size_t(4096), size_t(100001)}) {
    auto* const p = device_array<unsigned char>(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 256, 0u);
    EXPECT_EQ(from_device(p, bytes), std::vector<unsigned char>(bytes, 0xFF));
  }
  void* p = &p;
  EXPECT_EQ(cudaMalloc(&p, 0), cudaSuccess);
  EXPECT_EQ(p, nullptr);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
}

TEST_F(MemoryTest, ADeviceHasOnlySoMuch) {
  settings().memory = 10000;
  size_t free = 0, total = 0;
  void *first = nullptr, *second = nullptr;
  EXPECT_EQ(cudaMalloc(&first, 6000), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 4001), cudaErrorMemoryAllocation);
  EXPECT_EQ(second, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&second, 4000), cudaSuccess) << "it does not stick";
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 0u);
  EXPECT_EQ(total, 10000u);
  EXPECT_EQ(cudaFree(first), cudaSuccess);
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 6000u);
  EXPECT_EQ(peak_memory(0), 10000u);
  cudaSetDevice(1);
  EXPECT_EQ(cudaMalloc(&first, 10000), cudaSuccess);
}

TEST_F(MemoryTest, FreeingWhatIsNoAllocation) {
  auto* const p = device_array<unsigned char>(512);
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 64), cudaSuccess);
  int host = 0;
  EXPECT_EQ(cudaFree(p + 256), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(&host), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(pinned), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(p), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(p), cudaSuccess);
  EXPECT_EQ(cudaFree(p), cudaErrorInvalidValue) << "twice";
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(MemoryTest, WritesOutsideOfAnAllocation) {
  if (kAsan || kTsan) GTEST_SKIP() << "the sanitizer ends the program, or keeps no freed memory";
  for (const long at : {1000L, 1100L, -1L}) {
    poke(device_array<unsigned char>(1000), at);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress) << at;
    EXPECT_NE(failure_of(0).find("outside of an allocation of 1000"), std::string::npos);
    cudaDeviceReset();
  }
}

TEST_F(MemoryTest, WritesToFreedMemory) {
  if (kAsan || kTsan) GTEST_SKIP() << "the sanitizer ends the program, or keeps no freed memory";
  auto* const freed = device_array<unsigned char>(1000);
  auto* const alive = device_array<unsigned char>(1000);
  ASSERT_EQ(cudaFree(freed), cudaSuccess);
  poke(alive, freed - alive + 10);  // an address computed, which no look at the arguments finds
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
  EXPECT_NE(failure_of(0).find("after it was freed"), std::string::npos);
}

TEST_F(MemoryTest, CopiesHaveToLieInsideAndGoTheWayTheySay) {
  auto* const device = device_array<unsigned char>(100);
  unsigned char host[100] = {};
  const auto copied = [](void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpy(to, from, bytes, kind);
  };
  EXPECT_EQ(copied(device, host, 100, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(copied(host, device, 100, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(copied(device + 50, device, 50, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_EQ(copied(device, host, 101, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copied(device + 1, host, 100, cudaMemcpyDefault), cudaErrorInvalidValue);
  EXPECT_EQ(copied(host, device + 60, 41, cudaMemcpyDefault), cudaErrorInvalidValue);
  EXPECT_EQ(copied(device + 100, host, 1, cudaMemcpyDefault), cudaErrorInvalidValue);
  EXPECT_EQ(copied(device, host, 10, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(copied(device, host, 10, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copied(host, host + 10, 10, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(device, 0, 101), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host, 0, 10), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(device, 7, 100), cudaSuccess);
  EXPECT_EQ(from_device(device, 100), std::vector<unsigned char>(100, 7));
}

TEST_F(MemoryTest, CopiesBetweenDevices) {
  const std::vector<int> values = {1, 2, 3, 4};
  const int* const here = device_array(values);
  cudaSetDevice(1);
  int* const there = device_array<int>(4);
  ASSERT_EQ(cudaMemcpy(there, here, 16, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(from_device(there, 4), values);
}

TEST_F(MemoryTest, PageableSourcesAreReadAtTheCallPinnedOnesLate) {
  settings().streams = Streams::kLate;
  int* const device = device_array<int>(2);
  int* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(reinterpret_cast<void**>(&pinned), 4), cudaSuccess);
  int pageable = *pinned = 1;
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaMemcpyAsync(device, &pageable, 4, cudaMemcpyDefault, stream);
  cudaMemcpyAsync(device + 1, pinned, 4, cudaMemcpyDefault, stream);
  pageable = 2;
  if (!kTsan) *pinned = 2;  // a race, which is the point
  EXPECT_EQ(from_device(device, 2), (std::vector<int>{1, kTsan ? 1 : 2}));
  cudaFreeHost(pinned);
}

TEST_F(MemoryTest, PageableTargetsAreWaitedForPinnedOnesAreNot) {
  settings().streams = Streams::kLate;
  const int* const device = device_array(std::vector<int>{7});
  int pageable = 0;
  int* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(reinterpret_cast<void**>(&pinned), 4), cudaSuccess);
  *pinned = 0;
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaMemcpyAsync(pinned, device, 4, cudaMemcpyDefault, stream);
  EXPECT_TRUE(kTsan || *pinned == 0);
  cudaMemcpyAsync(&pageable, device, 4, cudaMemcpyDefault, stream);
  EXPECT_EQ(pageable, 7);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(*pinned, 7);
  cudaFreeHost(pinned);
}

TEST_F(MemoryTest, PointersAndRegisteredMemory) {
  std::vector<int> host(64);
  cudaPointerAttributes attributes;
  const auto type = [&](const void* p) {
    EXPECT_EQ(cudaPointerGetAttributes(&attributes, p), cudaSuccess);
    return attributes.type;
  };
  EXPECT_EQ(type(host.data()), cudaMemoryTypeUnregistered);
  EXPECT_EQ(cudaHostRegister(host.data(), 256, cudaHostRegisterDefault), cudaSuccess);
  EXPECT_EQ(cudaHostRegister(host.data(), 256, cudaHostRegisterDefault),
            cudaErrorHostMemoryAlreadyRegistered);
  EXPECT_EQ(type(host.data() + 63), cudaMemoryTypeHost);
  cudaSetDevice(2);
  EXPECT_EQ(type(device_array<int>(1)), cudaMemoryTypeDevice);
  EXPECT_EQ(attributes.device, 2);
  EXPECT_EQ(cudaHostUnregister(host.data()), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(host.data()), cudaErrorHostMemoryNotRegistered);
  EXPECT_EQ(type(host.data()), cudaMemoryTypeUnregistered);
}

TEST_F(MemoryTest, AsyncMemoryIsThereInItsStreamAlone) {
  settings().streams = Streams::kLate;
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  void* p = nullptr;
  ASSERT_EQ(cudaMallocAsync(&p, 64, stream), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(p, stream), cudaSuccess);
  size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(total - free, 64u);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(total, free);
}

TEST_F(MemoryTest, CopiesOfMemoryThatIsFreedBeforeTheyRun) {
  settings().streams = Streams::kLate;
  cudaStream_t frees, copies;
  cudaStreamCreateWithFlags(&frees, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking);
  void* p = nullptr;
  ASSERT_EQ(cudaMallocAsync(&p, 64, frees), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(p, 0, 64, copies), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(p, frees), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(frees), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(copies), cudaErrorIllegalAddress);
  EXPECT_NE(failure_of(0).find("freed"), std::string::npos);
}

using MemoryDeathTest = MemoryTest;

TEST_F(MemoryDeathTest, TheHostCannotTouchDeviceMemoryUnderProtection) {
  if (kAsan || kTsan) GTEST_SKIP() << "no threads beside a forked death test";
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  enum class Host { kNever, kAtOnce, kAfterWork };
  const auto use = [](Host host) {
    settings().protect = true;
    auto* const p = device_array<unsigned char>(100);
    if (host == Host::kAtOnce) p[5] = 2;
    poke(p, 5);
    EXPECT_EQ(from_device(p, 6)[5], 1);
    if (host == Host::kAfterWork) p[5] = 2;
    cudaFree(p);
    std::_Exit(::testing::Test::HasFailure() ? 1 : 0);
  };
  EXPECT_EXIT(use(Host::kNever), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(use(Host::kAtOnce), ::testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT(use(Host::kAfterWork), ::testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace cuda_on_cpu
