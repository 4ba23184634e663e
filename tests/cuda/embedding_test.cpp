// The embedding and its gradient on the GPU: the table's rows, in any pair of types; ids reach the
// device through scratch that the plan counts.
#include "runtime/ops/embedding.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;
using Ids = std::vector<int32_t>;

TEST(CudaEmbedding, GivesTheBitsOfTheCpu) {
  for (DType activation : kFloatTypes) {
    for (DType weight : kFloatTypes) {
      for (int64_t cols : {1, 7, 8, 64, 129, 2056}) {
        SCOPED_TRACE(std::string(name_of(activation)) + " of " + std::string(name_of(weight)) +
                     " x " + std::to_string(cols));
        DeviceContext gpu(activation);
        CpuContext cpu;
        Floats table = normal_values(weight, 11 * cols, 1), y(size_t(5 * cols));
        const Ids ids = {10, 0, 3, 3, 7};
        const OnDevice gpu_table(weight, {11, cols}, table), gpu_y(activation, {5, cols});
        embedding(gpu, gpu_y, gpu_table, ids);
        embedding(cpu, of(y, 5), of(table, 11), ids);
        expect_same(activation, gpu_y.values(gpu), y);
      }
    }
  }
}

TEST(CudaEmbedding, TheIdsMayGoAwayAfterTheCall) {
  DeviceContext gpu;
  const OnDevice table(DType::kF32, {3, 1}, {1, 2, 3}), y(DType::kF32, {2, 1});
  {
    Ids ids = {2, 1};
    embedding(gpu, y, table, ids);
    ids = {0, 0};
  }
  expect_same(DType::kF32, y.values(gpu), {3, 2});
}

TEST(CudaEmbedding, RefusesIdsOutsideTheVocabulary) {
  DeviceContext gpu;
  const OnDevice table(DType::kF32, {3, 1}), y(DType::kF32, {1, 1});
  EXPECT_THROW(embedding(gpu, y, table, Ids{3}), Error);
  EXPECT_THROW(embedding(gpu, y, table, Ids{-1}), Error);
}

TEST(CudaEmbedding, GradientHasTheBitsOfTheCpu) {
  for (DType activation : kFloatTypes) {
    for (int64_t cols : {1, 7, 8, 64, 129, 2056}) {
      SCOPED_TRACE(std::string(name_of(activation)) + " x " + std::to_string(cols));
      DeviceContext gpu(activation);
      CpuContext cpu;
      Floats table = normal_values(DType::kF32, 11 * cols, 1);
      Floats dy = normal_values(activation, 6 * cols, 2);
      const Ids ids = {3, 10, 3, 0, 10, -1};
      const OnDevice gpu_table(DType::kF32, {11, cols}, table), gpu_dy(activation, {6, cols}, dy);
      embedding_backward(gpu, gpu_table, gpu_dy, ids);
      embedding_backward(cpu, of(table, 11), of(dy, 6), ids);
      expect_same(DType::kF32, gpu_table.values(gpu), table);
    }
  }
}

TEST(CudaEmbedding, GradientPlansTheScratchThatItTakes) {
  DeviceContext gpu;
  Context planned(test_device(), 1, 7);
  const Ids ids(100, 2);
  const OnDevice table(DType::kF32, {3, 1}, {1, 2, 3}), dy(DType::kF32, {100, 1});
  embedding_backward(gpu, table, dy, ids);
  embedding_backward(planned, table, dy, ids);
  EXPECT_EQ(planned.scratch().high_water(), gpu.scratch().high_water());
  EXPECT_EQ(planned.scratch().high_water(), 1024u);
}

TEST(CudaEmbedding, PlansTheScratchThatItTakes) {
  DeviceContext gpu;
  Context planned(test_device(), 1, 7);
  const Ids ids(100, 2);
  const OnDevice table(DType::kF32, {3, 1}, {1, 2, 3}), y(DType::kF32, {100, 1});
  embedding(gpu, y, table, ids);
  embedding(planned, y, table, ids);
  EXPECT_EQ(planned.scratch().high_water(), gpu.scratch().high_water());
  EXPECT_EQ(planned.scratch().high_water(), 512u);
  EXPECT_EQ(planned.scratch().used(), 0u);
}

}  // namespace
}  // namespace tessera
