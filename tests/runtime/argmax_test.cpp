// The largest of a row: which column, the lowest of several, and what NaN and infinities do.
#include "runtime/ops/argmax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/bits_check.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using Floats = std::vector<float>;
using Columns = std::vector<int32_t>;

Columns run(Floats logits, int64_t rows) {
  Context ctx(Device::cpu(), 2, 0);
  testing::give_scratch(ctx);
  Columns columns(static_cast<size_t>(rows), -1);
  argmax(ctx, Tensor::of(std::span(columns), {rows}),
         Tensor::of(std::span(logits), {rows, int64_t(logits.size()) / rows}));
  return columns;
}

TEST(Argmax, FindsTheLargestOfEachRow) {
  for (int64_t cols : {1, 2, 33, 5003}) {
    const int64_t rows = 40;
    const Floats logits = testing::grid_values(size_t(rows * cols), 3);
    const Columns found = run(logits, rows);
    for (int64_t i = 0; i < rows; ++i) {
      const auto row = logits.begin() + i * cols;
      EXPECT_EQ(found[size_t(i)], std::max_element(row, row + cols) - row) << cols << " row " << i;
    }
  }
}

TEST(Argmax, TakesTheLowestOfSeveral) {
  EXPECT_EQ(run({1, 3, 3, 0, /**/ 2, 2, 2, 2, /**/ 0, -0.0f, 0, 0}, 3), (Columns{1, 0, 0}));
}

TEST(Argmax, NanIsNeverTheLargest) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(run({NAN, -2, -1, /**/ 0, inf, NAN, /**/ -inf, -inf, -inf, /**/ NAN, NAN, NAN}, 4),
            (Columns{2, 1, 0, 0}));
}

TEST(Argmax, NeedsAColumnForEachRow) {
  Context ctx(Device::cpu(), 1, 0);
  Floats logits(6);
  Columns columns(3);
  EXPECT_THROW(
      argmax(ctx, Tensor::of(std::span(columns), {3}), Tensor::of(std::span(logits), {2, 3})),
      std::logic_error);
}

}  // namespace
}  // namespace tessera
