// What the stand-ins for cuBLASLt and NCCL refuse and report; that they work is seen by the tests
// of what uses them.
#include <cublasLt.h>
#include <nccl.h>

#include <string>
#include <vector>

#include "machine_test.h"

namespace cuda_on_cpu {
namespace {

/// A product c[m,n] = a[m,k] b[k,n] of column-major float32, to be spoilt.
class Product {
 public:
  uint64_t m = 32, n = 16, k = 64;
  int64_t ld_a = 32;
  cudaDataType type_a = CUDA_R_32F, type_b = CUDA_R_32F, type_c = CUDA_R_32F;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  uint32_t promised_alignment = 16;
  uint64_t workspace_bytes = 4096;

  Product() = default;
  Product(const Product&) = delete;
  ~Product() { forget(); }

  cublasStatus_t choose() {
    forget();
    cublasLtCreate(&handle_);
    cublasLtMatmulDescCreate(&description_, compute, CUDA_R_32F);
    cublasLtMatrixLayoutCreate(&a_, type_a, m, k, ld_a);
    cublasLtMatrixLayoutCreate(&b_, type_b, k, n, int64_t(k));
    cublasLtMatrixLayoutCreate(&c_, type_c, m, n, int64_t(m));
    cublasLtMatmulPreference_t wish = nullptr;
    cublasLtMatmulPreferenceCreate(&wish);
    set(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    for (const auto name :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(wish, name, promised_alignment);
    }
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, description_, a_, b_, c_,
                                                                 c_, wish, 1, &best, &found);
    cublasLtMatmulPreferenceDestroy(wish);
    algorithm_ = best.algo;
    return status;
  }
  cublasStatus_t run(const float* a, float* c, void* workspace, size_t bytes, cudaStream_t stream) {
    const float one = 1.0f, zero = 0.0f;
    return cublasLtMatmul(handle_, description_, &one, a, a_, b_memory(), b_, &zero, c, c_, c, c_,
                          &algorithm_, workspace, bytes, stream);
  }
  float* a_memory() { return a_floats_; }
  float* b_memory() { return b_floats_; }
  float* c_memory() { return c_floats_; }
  char* workspace() { return workspace_; }
  void reshape(uint64_t rows) {
    cublasLtMatrixLayoutDestroy(c_);
    cublasLtMatrixLayoutCreate(&c_, type_c, m, n, int64_t(rows));
  }

 private:
  void forget() {
    if (!handle_) return;
    for (const auto layout : {a_, b_, c_}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(description_);
    cublasLtDestroy(handle_);
  }
  template <class T>
  static void set(cublasLtMatmulPreference_t wish, cublasLtMatmulPreferenceAttributes_t name,
                  T value) {
    EXPECT_EQ(cublasLtMatmulPreferenceSetAttribute(wish, name, &value, sizeof(value)),
              CUBLAS_STATUS_SUCCESS);
  }
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  float* a_floats_ = device_array<float>(32 * 64 + 8);
  float* b_floats_ = device_array<float>(64 * 16);
  float* c_floats_ = device_array<float>(32 * 16);
  char* workspace_ = device_array<char>(8192);
};

using BlasStandIn = MachineTest;

TEST_F(BlasStandIn, HasNoAlgorithmForWhatIsInNoTable) {
  const auto status_of = [](auto&& spoil) {
    Product product;
    spoil(product);
    return product.choose();
  };
  EXPECT_EQ(status_of([](Product&) {}), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(status_of([](Product& p) { p.type_b = CUDA_R_16BF; }), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(status_of([](Product& p) { p.type_c = CUDA_R_16F; }), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(status_of([](Product& p) { p.compute = CUBLAS_COMPUTE_16F; }),
            CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(status_of([](Product& p) { p.promised_alignment = 2; }), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(status_of([](Product& p) { p.ld_a = 31; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status_of([](Product& p) { p.k = 0; }), CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(BlasStandIn, RefusesMemoryThatDoesNotServe) {
  Product p;
  ASSERT_EQ(p.choose(), CUBLAS_STATUS_SUCCESS);
  const auto run = [&](const float* a, float* c, void* workspace, size_t bytes) {
    return p.run(a, c, workspace, bytes, nullptr);
  };
  std::vector<float> host(32 * 64);
  EXPECT_EQ(run(p.a_memory(), p.c_memory(), p.workspace(), 4096), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(run(p.a_memory() + 4, p.c_memory(), p.workspace(), 4096), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(run(p.a_memory() + 1, p.c_memory(), p.workspace(), 4096), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(run(host.data(), p.c_memory(), p.workspace(), 4096), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(p.a_memory(), p.c_memory() + 16, p.workspace(), 4096), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(p.a_memory(), p.c_memory(), p.workspace(), 1024), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(p.a_memory(), p.c_memory(), p.workspace() + 16, 4096), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST_F(BlasStandIn, RefusesAnAlgorithmOfAnotherProductAndAStreamOfAnotherDevice) {
  Product p;
  ASSERT_EQ(p.choose(), CUBLAS_STATUS_SUCCESS);
  cudaStream_t stream = nullptr;
  cudaSetDevice(1);
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  cudaSetDevice(0);
  EXPECT_EQ(p.run(p.a_memory(), p.c_memory(), p.workspace(), 4096, stream),
            CUBLAS_STATUS_EXECUTION_FAILED);
  p.reshape(40);
  EXPECT_EQ(p.run(p.a_memory(), p.c_memory(), p.workspace(), 4096, nullptr),
            CUBLAS_STATUS_NOT_SUPPORTED);
}

/// Two ranks of one thread; nothing here waits.
class NcclStandIn : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    connect(comm_);
    for (int r : {0, 1}) {
      cudaSetDevice(r);
      ASSERT_EQ(cudaStreamCreateWithFlags(&stream_[r], cudaStreamNonBlocking), cudaSuccess);
      floats_[r] = device_array(std::vector<float>(kCount, float(r + 1)));
    }
  }
  void TearDown() override {
    for (int r : {0, 1}) ncclCommAbort(comm_[r]);
    MachineTest::TearDown();
  }
  /// A communicator of devices 0 and 1.
  static void connect(ncclComm_t (&comm)[2]) {
    ncclUniqueId id;
    ASSERT_EQ(ncclGetUniqueId(&id), ncclSuccess);
    for (int r : {0, 1}) {
      cudaSetDevice(r);
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      ASSERT_EQ(ncclCommInitRankConfig(&comm[r], 2, id, r, &config), ncclInProgress);
    }
    for (ncclComm_t one : comm) EXPECT_EQ(state_of(one), ncclSuccess);
  }
  static ncclResult_t state_of(ncclComm_t comm) {
    ncclResult_t now = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm, &now);
    return asked == ncclSuccess ? now : asked;
  }
  ncclResult_t state(int r) { return state_of(comm_[r]); }
  ncclResult_t sum(int r, size_t count) {
    return ncclAllReduce(floats_[r], floats_[r], count, ncclFloat32, ncclSum, comm_[r], stream_[r]);
  }

  static constexpr size_t kCount = 1000;
  ncclComm_t comm_[2] = {};
  cudaStream_t stream_[2] = {};
  float* floats_[2] = {};
};

TEST_F(NcclStandIn, SumsWhenBothHaveCome) {
  EXPECT_EQ(sum(0, kCount), ncclInProgress);
  EXPECT_EQ(cudaStreamQuery(stream_[0]), cudaErrorNotReady);
  EXPECT_EQ(sum(1, kCount), ncclInProgress);
  EXPECT_EQ(cudaStreamSynchronize(stream_[0]), cudaSuccess);
  cudaSetDevice(0);
  EXPECT_EQ(from_device(floats_[0], kCount), std::vector<float>(kCount, 3.0f));
}

TEST_F(NcclStandIn, LetsOtherStreamsGoOn) {
  cudaSetDevice(0);
  EXPECT_EQ(sum(0, kCount), ncclInProgress);
  cudaStream_t other = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(device_array<char>(8), 0, 8, other), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
}

TEST_F(NcclStandIn, ReportsRanksThatDisagree) {
  EXPECT_EQ(sum(0, kCount), ncclInProgress);
  EXPECT_EQ(sum(1, kCount - 1), ncclInProgress);
  for (int r : {0, 1}) {
    cudaSetDevice(r);
    EXPECT_EQ(cudaStreamSynchronize(stream_[r]), cudaErrorLaunchFailure);
    EXPECT_NE(failure_of(r).find("ranks disagree"), std::string::npos) << failure_of(r);
  }
}

TEST_F(NcclStandIn, ReportsAnotherOrder) {
  EXPECT_EQ(sum(0, kCount), ncclInProgress);
  EXPECT_EQ(ncclBroadcast(floats_[1], floats_[1], 4 * kCount, ncclUint8, 0, comm_[1], stream_[1]),
            ncclInProgress);
  EXPECT_EQ(cudaStreamSynchronize(stream_[1]), cudaErrorLaunchFailure);
}

TEST_F(NcclStandIn, ReportsAMessageOfAnotherLength) {
  EXPECT_EQ(ncclSend(floats_[0], 10, ncclFloat32, 1, comm_[0], stream_[0]), ncclInProgress);
  EXPECT_EQ(ncclRecv(floats_[1], 11, ncclFloat32, 0, comm_[1], stream_[1]), ncclInProgress);
  EXPECT_EQ(cudaStreamSynchronize(stream_[1]), cudaErrorLaunchFailure);
}

TEST_F(NcclStandIn, RefusesOperandsThatDoNotServe) {
  const auto gather = [&](const float* from, float* to, size_t count) {
    return ncclAllGather(from, to, count, ncclFloat32, comm_[0], stream_[0]);
  };
  std::vector<float> host(kCount);
  EXPECT_EQ(gather(host.data(), floats_[0], 10), ncclInvalidArgument);
  EXPECT_EQ(gather(floats_[1], floats_[0], 10), ncclInvalidArgument);
  EXPECT_EQ(gather(floats_[0], floats_[0] + 10, kCount / 2), ncclInvalidArgument);
  EXPECT_EQ(gather(floats_[0] + 5, floats_[0], 10), ncclInvalidArgument);
  EXPECT_EQ(
      ncclAllReduce(floats_[0], floats_[0] + 1, 10, ncclFloat32, ncclSum, comm_[0], stream_[0]),
      ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(floats_[0], floats_[0], 10, ncclFloat32, ncclSum, comm_[0], stream_[1]),
            ncclInvalidUsage);
  EXPECT_EQ(ncclSend(floats_[0], 10, ncclFloat32, 2, comm_[0], stream_[0]), ncclInvalidArgument);
}

TEST_F(NcclStandIn, RefusesACallBeforeTheLastHasEnded) {
  EXPECT_EQ(sum(0, 10), ncclInProgress);
  EXPECT_EQ(sum(0, 10), ncclInvalidArgument);
  EXPECT_EQ(state(0), ncclSuccess);
  EXPECT_EQ(sum(0, 10), ncclInProgress);
}

TEST_F(NcclStandIn, FusesTheCallsOfAGroup) {
  // Each sends before it receives; in order, neither would ever get on.
  for (int r : {0, 1}) {
    cudaSetDevice(r);
    ASSERT_EQ(ncclGroupStart(), ncclSuccess);
    EXPECT_EQ(ncclSend(floats_[r], 500, ncclFloat32, 1 - r, comm_[r], stream_[r]), ncclSuccess);
    EXPECT_EQ(ncclRecv(floats_[r] + 500, 500, ncclFloat32, 1 - r, comm_[r], stream_[r]),
              ncclSuccess);
    EXPECT_EQ(ncclGroupEnd(), ncclInProgress);
  }
  EXPECT_EQ(cudaStreamSynchronize(stream_[0]), cudaSuccess);
  cudaSetDevice(0);
  EXPECT_EQ(from_device(floats_[0] + 500, 500), std::vector<float>(500, 2.0f));
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
}

TEST_F(NcclStandIn, RefusesAMessageToItselfWithoutItsOtherSide) {
  EXPECT_EQ(ncclSend(floats_[0], 10, ncclFloat32, 0, comm_[0], stream_[0]), ncclInvalidUsage);
  ASSERT_EQ(ncclGroupStart(), ncclSuccess);
  EXPECT_EQ(ncclSend(floats_[0], 10, ncclFloat32, 0, comm_[0], stream_[0]), ncclSuccess);
  EXPECT_EQ(ncclRecv(floats_[0] + 10, 10, ncclFloat32, 0, comm_[0], stream_[0]), ncclSuccess);
  EXPECT_EQ(ncclGroupEnd(), ncclInProgress);
  EXPECT_EQ(cudaStreamSynchronize(stream_[0]), cudaSuccess);
}

TEST_F(NcclStandIn, AnAbortEndsItsOwnWorkAndIsSeenByOthers) {
  EXPECT_EQ(sum(0, kCount), ncclInProgress);
  EXPECT_EQ(cudaStreamQuery(stream_[0]), cudaErrorNotReady);
  EXPECT_EQ(ncclCommAbort(comm_[0]), ncclSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_[0]), cudaSuccess);
  EXPECT_EQ(state(1), ncclRemoteError);
  EXPECT_EQ(sum(0, kCount), ncclInvalidArgument);
  EXPECT_EQ(ncclCommAbort(comm_[0]), ncclInvalidArgument);
}

TEST_F(NcclStandIn, EndsWhenAllHaveFinalized) {
  ASSERT_EQ(ncclCommFinalize(comm_[0]), ncclInProgress);
  EXPECT_EQ(state(0), ncclInProgress);
  EXPECT_EQ(sum(0, 10), ncclInvalidArgument);
  ASSERT_EQ(ncclCommFinalize(comm_[1]), ncclInProgress);
  EXPECT_EQ(state(0), ncclSuccess);
  EXPECT_EQ(ncclCommDestroy(comm_[0]), ncclSuccess);
  EXPECT_EQ(ncclCommDestroy(comm_[0]), ncclInvalidArgument);
}

/// A second communicator of the same devices, with a stream on each.
class NcclStandInOfTwoGroups : public NcclStandIn {
 protected:
  void SetUp() override {
    NcclStandIn::SetUp();
    connect(other_);
    for (int r : {0, 1}) {
      cudaSetDevice(r);
      ASSERT_EQ(cudaStreamCreateWithFlags(&beside_[r], cudaStreamNonBlocking), cudaSuccess);
    }
  }
  void TearDown() override {
    for (int r : {0, 1}) ncclCommAbort(other_[r]);
    NcclStandIn::TearDown();
  }
  ncclResult_t sum_in_other(int r, cudaStream_t stream) {
    cudaSetDevice(r);
    return ncclAllReduce(floats_[r], floats_[r], kCount, ncclFloat32, ncclSum, other_[r], stream);
  }
  /// What is queued on the second stream from now on comes after what is queued on the first.
  void order(int r) {
    cudaSetDevice(r);
    cudaEvent_t event = nullptr;
    ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);
    ASSERT_EQ(cudaEventRecord(event, stream_[r]), cudaSuccess);
    ASSERT_EQ(cudaStreamWaitEvent(beside_[r], event, 0), cudaSuccess);
  }
  void expect_sums(float sum) {
    for (int r : {0, 1}) {
      cudaSetDevice(r);
      EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess) << failure_of(r);
      EXPECT_EQ(from_device(floats_[r], kCount), std::vector<float>(kCount, sum));
    }
  }

  ncclComm_t other_[2] = {};
  cudaStream_t beside_[2] = {};
};

TEST_F(NcclStandInOfTwoGroups, MayNotCommunicateAtOnce) {
  EXPECT_EQ(sum(0, kCount), ncclInProgress);
  EXPECT_EQ(sum_in_other(0, beside_[0]), ncclInvalidUsage);
  EXPECT_NE(failure_of(0).find("may communicate at once"), std::string::npos) << failure_of(0);
}

TEST_F(NcclStandInOfTwoGroups, MayNotThoughTheFirstHappensToBeOver) {
  for (int r : {0, 1}) EXPECT_EQ(sum(r, kCount), ncclInProgress);
  cudaSetDevice(0);
  EXPECT_EQ(cudaStreamSynchronize(stream_[0]), cudaSuccess);
  // Nobody has waited for the stream of rank 1.
  EXPECT_EQ(sum_in_other(1, beside_[1]), ncclInvalidUsage);
  EXPECT_NE(failure_of(1).find("may communicate at once"), std::string::npos) << failure_of(1);
}

TEST_F(NcclStandInOfTwoGroups, MayOneAfterTheOther) {
  for (int r : {0, 1}) EXPECT_EQ(sum(r, kCount), ncclInProgress);
  for (int r : {0, 1}) order(r);
  for (int r : {0, 1}) EXPECT_EQ(sum_in_other(r, beside_[r]), ncclInProgress);
  expect_sums(6.0f);
  // The host has waited; and a stream has an order of its own.
  for (int r : {0, 1}) EXPECT_EQ(state(r), ncclSuccess);
  for (int r : {0, 1}) EXPECT_EQ(sum(r, kCount), ncclInProgress);
  for (int r : {0, 1}) EXPECT_EQ(state_of(other_[r]), ncclSuccess);
  for (int r : {0, 1}) EXPECT_EQ(sum_in_other(r, stream_[r]), ncclInProgress);
  expect_sums(24.0f);
}

TEST_F(NcclStandIn, RefusesRanksThatCannotBe) {
  ncclUniqueId id;
  ASSERT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclComm_t comm = nullptr, second = nullptr;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, id, 2, &config), ncclInvalidArgument);
  config.blocking = 0;
  ASSERT_EQ(ncclCommInitRankConfig(&comm, 3, id, 0, &config), ncclInProgress);
  EXPECT_EQ(ncclCommInitRankConfig(&second, 2, id, 1, &config), ncclInvalidArgument);
  EXPECT_EQ(ncclCommInitRankConfig(&second, 3, id, 0, &config), ncclInvalidUsage);
  EXPECT_EQ(ncclCommInitRankConfig(&second, 3, id, 1, &config), ncclInvalidUsage);  // one device
  EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
}

}  // namespace
}  // namespace cuda_on_cpu
