// Columns of matrices on the GPU: the CPU's bits, and nothing else touched.
#include "runtime/ops/columns.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

constexpr int64_t kRows = 3;

// Whole runs; parts of which the first, the others or only the sum are no whole runs.
const std::vector<std::vector<int64_t>> kWidths = {{8},       {64, 16, 16}, {2056, 8}, {3, 8, 16},
                                                   {8, 3, 5}, {1, 1},       {4, 4, 7}, {300, 2051}};

template <class F>
void over_parts(F&& f) {
  for (DType dtype : kFloatTypes) {
    for (const std::vector<int64_t>& widths : kWidths) {
      std::string trace(name_of(dtype));
      for (int64_t width : widths) trace += " x " + std::to_string(width);
      SCOPED_TRACE(trace);
      f(dtype, widths);
    }
  }
}

/// Parts of random values and the whole that they make, on both sides.
struct Sides {
  Sides(DType dtype, const std::vector<int64_t>& widths) {
    int64_t total = 0;
    values.reserve(widths.size());
    for (int64_t width : widths) {
      values.push_back(normal_values(dtype, kRows * width, uint32_t(total)));
      gpu_memory.emplace_back(dtype, std::initializer_list<int64_t>{kRows, width}, values.back());
      gpu.push_back(gpu_memory.back());
      cpu.push_back(of(values.back(), kRows));
      total += width;
    }
    whole.resize(static_cast<size_t>(kRows * total));
  }
  int64_t columns() const { return int64_t(whole.size()) / kRows; }

  std::vector<Floats> values;
  std::vector<OnDevice> gpu_memory;
  std::vector<Tensor> gpu, cpu;
  Floats whole;
};

TEST(CudaColumns, JoinsTheBitsOfTheCpu) {
  over_parts([](DType dtype, const std::vector<int64_t>& widths) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Sides sides(dtype, widths);
    const OnDevice whole(dtype, {kRows, sides.columns()});
    join_columns(gpu, whole, sides.gpu);
    join_columns(cpu, of(sides.whole, kRows), sides.cpu);
    expect_same(dtype, whole.values(gpu), sides.whole);
  });
}

TEST(CudaColumns, SplitsIntoTheBitsOfTheCpu) {
  over_parts([](DType dtype, const std::vector<int64_t>& widths) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Sides sides(dtype, widths);
    sides.whole = normal_values(dtype, int64_t(sides.whole.size()), 77);
    const OnDevice whole(dtype, {kRows, sides.columns()}, sides.whole);
    split_columns(gpu, sides.gpu, whole);
    split_columns(cpu, sides.cpu, of(sides.whole, kRows));
    for (size_t i = 0; i < widths.size(); ++i) {
      expect_same(dtype, sides.gpu_memory[i].values(gpu), sides.values[i]);
    }
    expect_same(dtype, whole.values(gpu), sides.whole);
  });
}

/// Lists shorter and longer than a block of threads, out of order.
TEST(CudaColumns, PutsAndTakesTheBitsOfTheCpu) {
  for (DType dtype : kFloatTypes) {
    for (int64_t count : {1, 3, 300}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " x " + std::to_string(count));
      const int64_t columns = 2 * count + 5;
      std::vector<int32_t> index;
      for (int64_t k = count; k-- > 0;) index.push_back(int32_t(2 * k + k % 2));
      DeviceContext gpu(dtype);
      CpuContext cpu;
      Floats whole = normal_values(dtype, kRows * columns, 1);
      Floats listed = normal_values(dtype, kRows * count, 2);
      const OnDevice gpu_whole(dtype, {kRows, columns}, whole);
      const OnDevice gpu_listed(dtype, {kRows, count}, listed);
      put_columns(gpu, gpu_whole, gpu_listed, index);
      put_columns(cpu, of(whole, kRows), of(listed, kRows), index);
      expect_same(dtype, gpu_whole.values(gpu), whole);
      expect_same(dtype, gpu_listed.values(gpu), listed);
      const OnDevice gpu_taken(dtype, {kRows, count});
      Floats taken(listed.size());
      take_columns(gpu, gpu_taken, gpu_whole, index);
      take_columns(cpu, of(taken, kRows), of(whole, kRows), index);
      expect_same(dtype, gpu_taken.values(gpu), taken);
      expect_same(dtype, gpu_whole.values(gpu), whole);
      EXPECT_EQ(taken, listed);
    }
  }
}

TEST(CudaColumns, MovesRowsThatStartBesideARun) {
  DeviceContext gpu(DType::kBF16);
  const Floats left = normal_values(DType::kBF16, 32, 1),
               right = normal_values(DType::kBF16, 16, 2);
  const Flat a(DType::kBF16, left, 1), b(DType::kBF16, right, 0);
  const Flat whole(DType::kBF16, Floats(48), 1);
  const Tensor parts[] = {Tensor(a).view({2, 16}), Tensor(b).view({2, 8})};
  join_columns(gpu, Tensor(whole).view({2, 24}), parts);
  Floats expected(left.begin(), left.begin() + 16);
  expected.insert(expected.end(), right.begin(), right.begin() + 8);
  expected.insert(expected.end(), left.begin() + 16, left.end());
  expected.insert(expected.end(), right.begin() + 8, right.end());
  expect_same(DType::kBF16, whole.values(gpu), expected);
}

TEST(CudaColumns, LeavesNoRowsAlone) {
  DeviceContext gpu;
  const Tensor part(nullptr, DType::kF32, {0, 8}, test_device());
  const Tensor whole(nullptr, DType::kF32, {0, 16}, test_device());
  const Tensor parts[] = {part, part};
  join_columns(gpu, whole, parts);
  split_columns(gpu, parts, whole);
  const std::vector<int32_t> index = {7, 6, 5, 4, 3, 2, 1, 0};
  put_columns(gpu, whole, part, index);
  take_columns(gpu, part, whole, index);
  gpu.compute_stream().synchronize();
}

TEST(CudaColumns, RefusesPartsThatAreNotTheWhole) {
  DeviceContext gpu;
  const OnDevice whole(DType::kF32, {2, 8}), narrow(DType::kF32, {2, 7}), low(DType::kF32, {1, 8});
  const Tensor too_few[] = {narrow}, rows[] = {low};
  EXPECT_THROW(join_columns(gpu, whole, too_few), std::logic_error);
  EXPECT_THROW(split_columns(gpu, rows, whole), std::logic_error);
}

}  // namespace
}  // namespace tessera
