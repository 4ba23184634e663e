#include "runtime/ops/columns.h"

#include <cstring>
#include <utility>

#include "runtime/cpu/parallel.h"

namespace tessera::cpu {
namespace {

/// visit(element of a part, the same element of the whole, bytes) for each part of each row.
template <class Visit>
void each_piece(Context& ctx, std::span<const Tensor> parts, Tensor whole, const Visit& visit) {
  const int64_t columns = whole.cols();
  parallel_ranges(ctx.threads(), whole.rows(), columns, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* at = whole.data<float>() + row * columns;
      for (const Tensor& part : parts) {
        const int64_t n = part.cols();
        visit(part.data<float>() + row * n, at, size_t(n) * sizeof(float));
        at += n;
      }
    }
  });
}

/// visit(listed element, its element of the whole) for each listed column of each row.
template <class Visit>
void each_listed(Context& ctx, Tensor listed, Tensor whole, std::span<const int32_t> index,
                 const Visit& visit) {
  const int64_t columns = whole.cols(), n = listed.cols();
  parallel_ranges(ctx.threads(), whole.rows(), n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* of_list = listed.data<float>() + row * n;
      float* of_whole = whole.data<float>() + row * columns;
      for (int64_t k = 0; k < n; ++k) visit(of_list[k], of_whole[index[size_t(k)]]);
    }
  });
}

}  // namespace

void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole) {
  each_piece(ctx, parts, whole,
             [](float* part, const float* from, size_t bytes) { std::memcpy(part, from, bytes); });
}

void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts) {
  each_piece(ctx, parts, whole,
             [](const float* part, float* to, size_t bytes) { std::memcpy(to, part, bytes); });
}

void put_columns(Context& ctx, Tensor whole, Tensor listed, std::span<const int32_t> index) {
  each_listed(ctx, listed, whole, index, [](float from, float& to) { to = from; });
}

void take_columns(Context& ctx, Tensor listed, Tensor whole, std::span<const int32_t> index) {
  each_listed(ctx, listed, whole, index,
              [](float& to, float& from) { to = std::exchange(from, 0.0f); });
}

}  // namespace tessera::cpu
