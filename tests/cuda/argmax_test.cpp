// The largest of a row on the GPU: the column that the CPU finds.
#include "runtime/ops/argmax.h"

#include <limits>

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;
using Columns = std::vector<int32_t>;

Columns on_gpu(DType dtype, const Floats& logits, int64_t rows) {
  DeviceContext gpu(dtype);
  const OnDevice x(dtype, {rows, int64_t(logits.size()) / rows}, logits);
  const OnDevice columns(DType::kI32, {rows});
  argmax(gpu, columns, x);
  const std::vector<std::byte> bytes = columns.bytes(gpu);
  Columns found(static_cast<size_t>(rows));
  std::memcpy(found.data(), bytes.data(), bytes.size());
  return found;
}

Columns on_cpu(Floats logits, int64_t rows) {
  CpuContext cpu;
  Columns found(static_cast<size_t>(rows));
  argmax(cpu, Tensor::of(std::span(found), {rows}), of(logits, rows));
  return found;
}

TEST(CudaArgmax, FindsTheColumnOfTheCpu) {
  for (DType dtype : kFloatTypes) {
    for (int64_t cols : {1, 2, 7, 8, 33, 4096, 4104, 5003, 40009}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " x " + std::to_string(cols));
      const Floats logits = normal_values(dtype, 5 * cols, 1, 4.0f);
      EXPECT_EQ(on_gpu(dtype, logits, 5), on_cpu(logits, 5));
    }
  }
}

// In bfloat16 a large vocabulary has many logits of one value.
TEST(CudaArgmax, TakesTheLowestOfSeveral) {
  const int64_t cols = 9001;
  for (DType dtype : kFloatTypes) {
    for (int64_t first : {int64_t{0}, int64_t{5}, int64_t{511}, int64_t{512}, int64_t{4097}}) {
      Floats logits(static_cast<size_t>(cols), -5.0f);
      for (int64_t at = first; at < cols; at += 1000) logits[size_t(at)] = 9.0f;
      logits.back() = 9.0f;
      EXPECT_EQ(on_gpu(dtype, logits, 1), Columns{int32_t(first)}) << name_of(dtype);
    }
    EXPECT_EQ(on_gpu(dtype, Floats(20000, 1.0f), 2), (Columns{0, 0}));
  }
}

TEST(CudaArgmax, NanAndInfinitiesAreTheCpus) {
  const float inf = std::numeric_limits<float>::infinity();
  const Floats logits = {NAN,  -2,   -1,    // NaN is never the largest
                         0,    inf,  NAN,   //
                         -inf, -inf, -inf,  // nor is there one
                         NAN,  NAN,  NAN,   //
                         -inf, NAN,  -3};
  for (DType dtype : kFloatTypes) EXPECT_EQ(on_gpu(dtype, logits, 5), on_cpu(logits, 5));
}

}  // namespace
}  // namespace tessera
