// A linear layer as it is trained: y = x * W^T + bias + scale * dropout(x) * A^T * B^T. W is
// frozen in its format, as the bias is where there is one; A and B are an adapter's, or absent. No
// gradient of W or of the bias exists anywhere.
#pragma once

#include "lora/adapter/adapter.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/context.h"
#include "runtime/ops/dropout.h"

namespace tessera::lora {

class Linear {
 public:
  Linear() = default;
  Linear(quant::FrozenMatrix weight, Adapter* adapter) : weight_(weight), adapter_(adapter) {}
  /// bias[out], in its checkpoint's dtype.
  void set_bias(Tensor bias) { bias_ = bias; }
  /// Drops elements of the adapter branch's input with probability p.
  void set_dropout(DropoutKey key, float p) {
    key_ = key;
    dropout_ = p;
  }

  int64_t rank() const { return adapter_ ? adapter_->a.rows() : 0; }

  /// y[N,out] is overwritten; u[N,R] receives scale * dropout(x) * A^T, which backward needs.
  void forward(Context& ctx, Tensor y, Tensor u, Tensor x) const;

  /// Where the gradient of x goes; an empty dx is not computed.
  struct InputGrad {
    Tensor dx;
    bool accumulate;  // dx += instead of dx =
  };
  /// Accumulates into the adapter's da and db. dy[N,out]; x and u as forward saw and left them.
  void backward(Context& ctx, InputGrad grad, Tensor dy, Tensor x, Tensor u) const;

 private:
  void forward_with_adapter(Context& ctx, Tensor y, Tensor u, Tensor x) const;
  Tensor dropped(Context& ctx, Tensor x) const;

  quant::FrozenMatrix weight_;
  Tensor bias_;
  Adapter* adapter_ = nullptr;
  DropoutKey key_{};
  float dropout_ = 0.0f;
};

}  // namespace tessera::lora
