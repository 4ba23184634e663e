// Columns of a matrix: every element is where it belongs, splitting is the gradient of joining, and
// taking that of putting.
#include "runtime/ops/columns.h"

#include <gtest/gtest.h>

#include "tests/bits_check.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

Tensor shaped(Floats& v, int64_t rows) {
  return Tensor::of(std::span(v), {rows, int64_t(v.size()) / rows});
}

class Columns : public ::testing::Test {
 protected:
  Columns() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

TEST_F(Columns, SplitsAndJoins) {
  for (int64_t rows : {1, 3, 500}) {
    const auto n = size_t(rows);
    const Floats whole = grid_values(n * 43, 1);
    Floats from = whole, a(n * 32), b(n), c(n * 10), joined(whole.size());
    const Tensor parts[] = {shaped(a, rows), shaped(b, rows), shaped(c, rows)};
    split_columns(ctx_, parts, shaped(from, rows));
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(a[i * 32], whole[i * 43]);
      EXPECT_EQ(a[i * 32 + 31], whole[i * 43 + 31]);
      EXPECT_EQ(b[i], whole[i * 43 + 32]);
      EXPECT_EQ(c[i * 10], whole[i * 43 + 33]);
      EXPECT_EQ(c[i * 10 + 9], whole[i * 43 + 42]);
    }
    EXPECT_EQ(from, whole);
    join_columns(ctx_, shaped(joined, rows), parts);
    EXPECT_EQ(joined, whole);
  }
}

TEST_F(Columns, SplittingIsTheGradientOfJoining) {
  Floats a = grid_values(15, 1), b = grid_values(21, 2), dy = grid_values(36, 3), y(36);
  Floats da(15), db(21);
  const Tensor parts[] = {shaped(a, 3), shaped(b, 3)}, gradients[] = {shaped(da, 3), shaped(db, 3)};
  const auto loss = [&] {
    join_columns(ctx_, shaped(y, 3), parts);
    return testing::dot(y, dy);
  };
  split_columns(ctx_, gradients, shaped(dy, 3));
  testing::expect_gradient(a, da, loss);
  testing::expect_gradient(b, db, loss);
}

TEST_F(Columns, PutsAndTakesThoseOfAList) {
  const std::vector<int32_t> index = {8, 0, 5};
  for (int64_t rows : {1, 3, 500}) {
    const auto n = size_t(rows);
    const Floats before = grid_values(n * 9, 1);
    Floats whole = before, listed = grid_values(n * 3, 2), taken(n * 3);
    put_columns(ctx_, shaped(whole, rows), shaped(listed, rows), index);
    Floats expected = before, without = before;
    for (size_t i = 0; i < n; ++i) {
      for (size_t k = 0; k < index.size(); ++k) {
        expected[i * 9 + size_t(index[k])] = listed[i * 3 + k];
        without[i * 9 + size_t(index[k])] = 0.0f;
      }
    }
    EXPECT_EQ(whole, expected);
    take_columns(ctx_, shaped(taken, rows), shaped(whole, rows), index);
    EXPECT_EQ(taken, listed);
    EXPECT_EQ(whole, without);
  }
}

TEST_F(Columns, TakingIsTheGradientOfPutting) {
  const std::vector<int32_t> index = {6, 2};
  const Floats dy = grid_values(3 * 7, 3);
  Floats whole = grid_values(3 * 7, 1), listed = grid_values(3 * 2, 2);
  Floats d_listed(listed.size()), d_whole = dy, y;
  const auto loss = [&] {
    y = whole;
    put_columns(ctx_, shaped(y, 3), shaped(listed, 3), index);
    return testing::dot(y, dy);
  };
  take_columns(ctx_, shaped(d_listed, 3), shaped(d_whole, 3), index);
  testing::expect_gradient(listed, d_listed, loss);
  testing::expect_gradient(whole, d_whole, loss);
}

TEST_F(Columns, SameBitsOnAnyThreadCountAndTarget) {
  testing::expect_same_bits([&](Context& ctx) {
    Floats whole = grid_values(1000 * 70, 1), a(1000 * 50), b(1000 * 20), joined(whole.size());
    const Tensor parts[] = {shaped(a, 1000), shaped(b, 1000)};
    split_columns(ctx, parts, shaped(whole, 1000));
    const Tensor swapped[] = {parts[1], parts[0]};
    join_columns(ctx, shaped(joined, 1000), swapped);
    return joined;
  });
}

TEST_F(Columns, RefusesPartsThatAreNotTheWhole) {
  Floats whole(20), narrow(18), low(10);
  const Tensor too_few[] = {shaped(narrow, 2)}, rows[] = {shaped(low, 1)};
  EXPECT_THROW(split_columns(ctx_, too_few, shaped(whole, 2)), std::logic_error);
  EXPECT_THROW(join_columns(ctx_, shaped(whole, 2), rows), std::logic_error);
}

TEST_F(Columns, RefusesAListThatDoesNotFit) {
  Floats whole(20), listed(4);
  const std::vector<int32_t> outside = {0, 10}, below = {-1, 3}, three = {0, 1, 2};
  for (const auto& index : {outside, below, three}) {
    EXPECT_THROW(put_columns(ctx_, shaped(whole, 2), shaped(listed, 2), index), std::logic_error);
    EXPECT_THROW(take_columns(ctx_, shaped(listed, 2), shaped(whole, 2), index), std::logic_error);
  }
}

TEST_F(Columns, TouchesNothingWhileMeasuring) {
  Context measuring(Device::cpu(), 1, 0);
  const Tensor parts[] = {Tensor(nullptr, DType::kF32, {4, 3}),
                          Tensor(nullptr, DType::kF32, {4, 5})};
  const Tensor whole(nullptr, DType::kF32, {4, 8});
  split_columns(measuring, parts, whole);
  join_columns(measuring, whole, parts);
  const std::vector<int32_t> index = {7, 1, 2};
  put_columns(measuring, whole, parts[0], index);
  take_columns(measuring, parts[0], whole, index);
}

}  // namespace
}  // namespace tessera
