#include "runtime/ops/embedding.h"

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

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(embedding_row);

void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids) {
  float* out = y.data<float>();
  const int64_t cols = y.cols();
  parallel_ranges(ctx.threads(), int64_t(ids.size()), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(embedding_row)(out + i * cols, table, ids[size_t(i)]);
    }
  });
}

}  // namespace tessera::cpu
#endif
