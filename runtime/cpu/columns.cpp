#include "runtime/ops/columns.h"

#include <cstring>

#include "runtime/cpu/parallel.h"

namespace tessera::cpu {
namespace {

/// visit(element of a part, the same element of the whole, number) for each part of each row.
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

}  // namespace

void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole) {
  each_piece(ctx, parts, whole,
             [](float* part, const float* from, size_t bytes) { std::memcpy(part, from, bytes); });
}

void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts) {
  each_piece(ctx, parts, whole,
             [](const float* part, float* to, size_t bytes) { std::memcpy(to, part, bytes); });
}

}  // namespace tessera::cpu
