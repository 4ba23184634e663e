#include "runtime/ops/embedding.h"

#include <algorithm>

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/embedding.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

template <class T>
HWY_INLINE void widen_row(float* y, const T* x, int64_t n) {
  each16(n, [&](int64_t i, auto size) HWY_ATTR { store16(load16(x + i, size), y + i, size); });
}

/// y[C] = table[id,:].
void embedding_row(float* y, const Tensor& table, int64_t id) {
  const int64_t cols = table.cols(), first = id * cols;
  if (table.dtype() == DType::kBF16) {
    widen_row(y, table.data<bf16>() + first, cols);
  } else if (table.dtype() == DType::kF16) {
    widen_row(y, table.data<f16>() + first, cols);
  } else {
    widen_row(y, table.data<float>() + first, cols);
  }
}

/// y[n] += x[n].
void embedding_add(float* y, const float* x, int64_t n) {
  each16(n, [&](int64_t i, auto size) HWY_ATTR {
    store16(add16(load16(y + i, size), load16(x + i, size)), y + i, size);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(embedding_row);
HWY_EXPORT(embedding_add);

void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids) {
  float* out = y.data<float>();
  const int64_t cols = y.cols();
  parallel_ranges(ctx.threads(), int64_t(ids.size()), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(embedding_row)(out + i * cols, table, ids[size_t(i)]);
    }
  });
}

void embedding_backward(Context& ctx, Tensor dtable, Tensor dy, std::span<const int32_t> ids) {
  float* table = dtable.data<float>();
  const float* rows = dy.data<float>();
  const int64_t cols = dy.cols();
  // Rows of one id are added up in order, so tasks share columns, not tokens.
  constexpr int64_t kColumns = 256;
  parallel_for(ctx.threads(), (cols + kColumns - 1) / kColumns, [&](int64_t task) {
    const int64_t begin = task * kColumns, n = std::min(kColumns, cols - begin);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0) continue;
      HWY_DYNAMIC_DISPATCH(embedding_add)
      (table + ids[i] * cols + begin, rows + int64_t(i) * cols + begin, n);
    }
  });
}

}  // namespace tessera::cpu
#endif
