// What operators check about their arguments before they choose a backend.
#pragma once

#include <initializer_list>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

inline bool same_shape(const Tensor& a, const Tensor& b) {
  if (a.dims() != b.dims()) return false;
  for (int i = 0; i < a.dims(); ++i) {
    if (a.dim(i) != b.dim(i)) return false;
  }
  return true;
}

inline bool is_float(DType type) {
  return type == DType::kF32 || type == DType::kBF16 || type == DType::kF16;
}

/// All are float32 and lie where the context computes.
inline bool all_f32(const Context& ctx, std::initializer_list<Tensor> tensors) {
  for (const Tensor& t : tensors) {
    if (t.dtype() != DType::kF32 || t.device() != ctx.device()) return false;
  }
  return true;
}

}  // namespace tessera
