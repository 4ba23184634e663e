// The tensors of a base with an adapter merged into it: W' = W + scale * (B A) in float32, rounded
// once to the dtype of the report, or quantized. Made one by one; holds a few of the largest in
// float32.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "launch/commands/merge.h"
#include "launch/commands/quantized_linears.h"
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
  /// Whether the tensor is a linear of the layers.
  bool is_linear(const std::string& name) const { return linears_.contains(name); }
  /// The same of a linear that becomes 4-bit: gives it to `linears` as `stored`, and appends the
  /// tensors that hold it.
  void make_quantized(const std::string& name, const std::string& stored, QuantizedLinears& linears,
                      std::vector<io::SafetensorsEntry>& entries);
  /// How the adapter's run held the weights, where `base` does not say it.
  void set_trained_over(const std::optional<quant::Storage>& storage) { trained_over_ = storage; }
  /// Completes the report after the last tensor.
  void finish();

 private:
  struct Linear {
    std::span<float> base;     // without the adapter
    std::span<float> change;   // what the adapter adds
    std::span<float> trained;  // what the run computed with: in float32, over its own weights
  };

  /// The values of a matrix that is trained in full; empty for any other.
  std::span<const float> whole(const std::string& name) const;
  static void replace_rows(std::span<float> w, const lora::TokenRows& rows);
  /// w, the checkpoint's values, become merged. The result is valid until the next call.
  Linear merge(std::span<float> w, const lora::TensorInfo& info);
  void requantize(std::span<float> w, const quant::FrozenSpec& spec, const std::string& name);
  std::span<const std::byte> rounded(std::span<float> w, const std::string& name);
  template <class T>
  std::span<const std::byte> narrow(std::span<float> w, const std::string& name, T (*round)(float));
  void require_finite(float written, float computed, const std::string& name) const;
  /// `after` is what is written.
  void measure(std::span<const float> before, std::span<const float> after,
               const std::string& name);
  /// The same of a linear, whose `base` is what would be written without the adapter.
  void measure_change(const Linear& linear, std::span<const float> after, const std::string& name);

  Context& ctx_;
  const lora::Checkpoint& checkpoint_;
  const lora::AdapterSet& adapters_;
  const std::optional<quant::Storage>& base_;
  MergeReport& report_;
  std::unordered_map<std::string, lora::LinearId> linears_;  // by the names of their weights
  std::optional<quant::Storage> trained_over_;
  Buffer values_, original_, out_;         // of the largest tensor
  Buffer base_buffer_, change_, trained_;  // of the largest linear
  std::vector<std::byte> blob_;
  double sum_ = 0;
  int64_t count_ = 0;
  double from_trained_ = 0, trained_squares_ = 0;  // sums of squares
};

}  // namespace tessera::launch
