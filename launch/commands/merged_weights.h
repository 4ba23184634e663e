// The tensors of a base with an adapter merged into it: W' = W + scale * (B A) in float32, rounded
// once to the dtype of the report. Made one by one; holds a few of the largest in float32.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "launch/commands/merge.h"
#include "lora/adapter/adapter.h"
#include "lora/model/checkpoint.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::launch {

class MergedWeights {
 public:
  /// The adapter is added to the original, or with `base` to what the original is after it was
  /// quantized so. All arguments outlive this object. Of the report, `dtype` is read, and what is
  /// measured is written.
  MergedWeights(Context& ctx, const lora::Checkpoint& checkpoint, const lora::AdapterSet& adapters,
                const std::optional<quant::Storage>& base, MergeReport& report);

  /// The values of the checkpoint's tensor, or of a tied head, in report.dtype, valid until the
  /// next call. Error naming the tensor for one that is not finite in the dtype.
  std::span<const std::byte> make(const std::string& name);
  /// Completes the report after the last tensor.
  void finish();

 private:
  /// The values of a matrix that is trained in full; empty for any other.
  std::span<const float> whole(const std::string& name) const;
  static void replace_rows(std::span<float> w, const lora::TokenRows& rows);
  void requantize(std::span<float> w, const lora::TensorInfo& info);
  void add(const lora::Adapter& adapter, std::span<float> w, const lora::TensorInfo& info);
  std::span<const std::byte> rounded(std::span<float> w, const std::string& name);
  template <class T>
  std::span<const std::byte> narrow(std::span<float> w, const std::string& name, T (*round)(float));
  void require_finite(float written, float computed, const std::string& name) const;
  void measure(std::span<const float> before, std::span<const float> after,
               const std::string& name);

  Context& ctx_;
  const lora::Checkpoint& checkpoint_;
  const lora::AdapterSet& adapters_;
  const std::optional<quant::Storage>& base_;
  MergeReport& report_;
  std::unordered_map<std::string, lora::LinearId> linears_;  // by the names of their weights
  Buffer values_, original_, delta_;
  std::vector<std::byte> blob_;
  double sum_ = 0;
  int64_t count_ = 0;
};

}  // namespace tessera::launch
