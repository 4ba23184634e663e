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

/// All are of `dtype` and lie where the context computes.
inline bool all_of(const Context& ctx, DType dtype, std::initializer_list<Tensor> tensors) {
  for (const Tensor& t : tensors) {
    if (t.dtype() != dtype || t.device() != ctx.device()) return false;
  }
  return true;
}
inline bool all_f32(const Context& ctx, std::initializer_list<Tensor> tensors) {
  return all_of(ctx, DType::kF32, tensors);
}
/// All are of the type that operators hand each other, and lie where the context computes.
inline bool all_activations(const Context& ctx, std::initializer_list<Tensor> tensors) {
  return all_of(ctx, ctx.activation_dtype(), tensors);
}
/// A weight in the type of its checkpoint.
inline bool is_float_weight(const Context& ctx, const Tensor& w) {
  return is_float(w.dtype()) && w.device() == ctx.device();
}

}  // namespace tessera
