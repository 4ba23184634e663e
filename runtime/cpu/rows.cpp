#include "runtime/ops/rows.h"

#include <cstring>

namespace tessera::cpu {

void gather_rows(Context&, Tensor y, Tensor x, std::span<const int32_t> index) {
  const size_t cols = size_t(x.cols());
  for (size_t i = 0; i < index.size(); ++i) {
    std::memcpy(y.data<float>() + i * cols, x.data<float>() + size_t(index[i]) * cols,
                cols * sizeof(float));
  }
}

void scatter_rows(Context&, Tensor y, Tensor x, std::span<const int32_t> index) {
  const size_t cols = size_t(x.cols());
  for (size_t i = 0; i < index.size(); ++i) {
    std::memcpy(y.data<float>() + size_t(index[i]) * cols, x.data<float>() + i * cols,
                cols * sizeof(float));
  }
}

void fill_zero(Context&, Tensor x) {
  if (x.bytes() > 0) std::memset(x.raw(), 0, x.bytes());
}

}  // namespace tessera::cpu
