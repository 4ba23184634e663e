// The embedding copies rows exactly, for every table type, and refuses foreign ids.
#include "runtime/ops/embedding.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/bits_check.h"

namespace tessera {
namespace {

class Embedding : public ::testing::Test {
 protected:
  Embedding() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

/// A table that holds all 65536 bit patterns must come out as the scalar conversion widens them.
template <class T>
void expect_exact(Context& ctx, int64_t cols) {
  const int64_t rows = 65536 / cols + 1;
  std::vector<T> table(size_t(rows * cols));
  for (size_t i = 0; i < table.size(); ++i) table[i] = T{uint16_t(i)};
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < rows; ++i) ids.push_back(int32_t(rows - 1 - i));
  std::vector<float> y(table.size());
  embedding(ctx, Tensor::of(std::span(y), {rows, cols}), Tensor::of(std::span(table), {rows, cols}),
            ids);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t c = 0; c < cols; ++c) {
      const float expected = to_float(table[size_t(ids[size_t(i)] * cols + c)]);
      const float got = y[size_t(i * cols + c)];
      if (expected != expected) {
        ASSERT_NE(got, got);
      } else {
        ASSERT_EQ(std::memcmp(&got, &expected, sizeof(float)), 0) << expected << " " << got;
      }
    }
  }
}

TEST_F(Embedding, WidensEveryPatternExactly) {
  for (int64_t cols : {16, 21, 5}) {
    expect_exact<bf16>(ctx_, cols);
    expect_exact<f16>(ctx_, cols);
  }
}

TEST_F(Embedding, CopiesFloats) {
  std::vector<float> table = {0, 1, 2, 3, 4, 5}, y(8);
  const std::vector<int32_t> ids = {2, 0, 2, 1};
  embedding(ctx_, Tensor::of(std::span(y), {4, 2}), Tensor::of(std::span(table), {3, 2}), ids);
  EXPECT_EQ(y, (std::vector<float>{4, 5, 0, 1, 4, 5, 2, 3}));
}

TEST_F(Embedding, RefusesIdsOutsideTheTable) {
  std::vector<float> table(6), y(2);
  const Tensor out = Tensor::of(std::span(y), {1, 2}), in = Tensor::of(std::span(table), {3, 2});
  for (int32_t id : {-1, 3}) {
    const std::vector<int32_t> ids = {id};
    try {
      embedding(ctx_, out, in, ids);
      FAIL() << "id " << id << " was accepted";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("token id " + std::to_string(id)), std::string::npos);
      EXPECT_NE(std::string(e.what()).find("vocabulary of 3"), std::string::npos);
    }
  }
}

TEST_F(Embedding, SameBitsOnAnyThreadCountAndTarget) {
  testing::expect_same_bits([](Context& ctx) {
    std::vector<f16> table(37 * 50);
    for (size_t i = 0; i < table.size(); ++i) table[i] = to_f16(float(i) * 0.37f);
    std::vector<int32_t> ids;
    for (int i = 0; i < 3000; ++i) ids.push_back(i % 50);
    std::vector<float> y(ids.size() * 37);
    embedding(ctx, Tensor::of(std::span(y), {3000, 37}), Tensor::of(std::span(table), {50, 37}),
              ids);
    return y;
  });
}

TEST_F(Embedding, GradientAddsRowsInTheOrderOfTokens) {
  std::vector<float> table = {0.5f, 0, 1e8f, 0, 0, 7}, dy = {1, 2, 1, 0, 3, 4, -1e8f, 0};
  const std::vector<int32_t> ids = {2, 1, 2, 1};
  embedding_backward(ctx_, Tensor::of(std::span(table), {3, 2}), Tensor::of(std::span(dy), {4, 2}),
                     ids);
  // 1e8 + 1 rounds to 1e8 in float32, so the other order would leave 1.
  EXPECT_EQ(table, (std::vector<float>{0.5f, 0, 0, 0, 4, 13}));
  const std::vector<float> before = table;
  embedding_backward(ctx_, Tensor::of(std::span(table), {3, 2}), Tensor::of(std::span(dy), {4, 2}),
                     std::vector<int32_t>{-1, 1, -1, -1});
  EXPECT_EQ(table[2], before[2] + 1);
  EXPECT_EQ(table[4], before[4]);  // the others are passed over
  const std::vector<int32_t> outside = {0, 1, 2, 3};
  EXPECT_THROW(embedding_backward(ctx_, Tensor::of(std::span(table), {3, 2}),
                                  Tensor::of(std::span(dy), {4, 2}), outside),
               std::logic_error);
}

TEST_F(Embedding, GradientHasTheSameBitsOnAnyThreadCountAndTarget) {
  testing::expect_same_bits([](Context& ctx) {
    constexpr int64_t kCols = 531, kTokens = 900;
    std::vector<float> dy(size_t(kCols * kTokens)), table(size_t(kCols * 7), 0.25f);
    for (size_t i = 0; i < dy.size(); ++i) dy[i] = 0.37f * float(i % 1013) - 100.0f;
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < kTokens; ++i) ids.push_back(int32_t(i * i % 7));
    embedding_backward(ctx, Tensor::of(std::span(table), {7, kCols}),
                       Tensor::of(std::span(dy), {kTokens, kCols}), ids);
    return table;
  });
}

}  // namespace
}  // namespace tessera
