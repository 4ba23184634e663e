#include "launch/commands/merged_weights.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/error.h"
#include "runtime/ops/matmul.h"

namespace tessera::launch {

MergedWeights::MergedWeights(Context& ctx, const lora::Checkpoint& checkpoint,
                             const lora::AdapterSet& adapters,
                             const std::optional<quant::Storage>& base, MergeReport& report)
    : ctx_(ctx), checkpoint_(checkpoint), adapters_(adapters), base_(base), report_(report) {
  for (const lora::TensorRow& row : lora::linears_of(checkpoint.spec())) {
    linears_[row.name()] = row.id();
  }
  size_t largest = 0;
  for (const auto& info : checkpoint.tensors()) largest = std::max(largest, size_t(info.numel()));
  values_ = Buffer::host(largest * sizeof(float));
  original_ = Buffer::host(largest * sizeof(float));
  delta_ = Buffer::host(largest * sizeof(float));
  ctx.set_scratch(Arena(size_t{1} << 20));
}

std::span<const std::byte> MergedWeights::make(const std::string& name) {
  const lora::TensorInfo& info = checkpoint_.info(name);
  const std::span<float> w(values_.as<float>(), size_t(info.numel()));
  checkpoint_.read_f32(name, w);
  const auto linear = linears_.find(name);
  const std::span<const float> trained = whole(name);
  const bool has_rows =
      adapters_.token_rows() && name == lora::embedding_weight(checkpoint_.spec());
  if (linear == linears_.end() && trained.empty() && !has_rows) return rounded(w, name);
  const std::span<float> before(original_.as<float>(), w.size());
  std::copy(w.begin(), w.end(), before.begin());
  if (!trained.empty()) {
    std::copy(trained.begin(), trained.end(), w.begin());
  } else if (has_rows) {
    replace_rows(w, *adapters_.token_rows());
  } else {
    if (base_) requantize(w, info);
    if (const lora::Adapter* adapter = adapters_.find(linear->second.layer, linear->second.site)) {
      add(*adapter, w, info);
    }
  }
  const std::span<const std::byte> bytes = rounded(w, name);
  measure(before, w, name);
  return bytes;
}

void MergedWeights::finish() { report_.mean = sum_ / double(std::max<int64_t>(count_, 1)); }

std::span<const float> MergedWeights::whole(const std::string& name) const {
  for (const lora::TensorRow& row : adapters_.parts().whole) {
    if (row.name() == name) return adapters_.whole(row.role)->w.span<const float>();
  }
  return {};
}

void MergedWeights::replace_rows(std::span<float> w, const lora::TokenRows& rows) {
  const auto cols = size_t(rows.w.cols());
  const std::span<const float> trained = rows.w.span<const float>();
  for (size_t i = 0; i < rows.ids.size(); ++i) {
    std::ranges::copy(trained.subspan(i * cols, cols), w.begin() + rows.ids[i] * ptrdiff_t(cols));
  }
}

/// w becomes what the run computed with.
void MergedWeights::requantize(std::span<float> w, const lora::TensorInfo& info) {
  const quant::FrozenSpec spec{*base_, info.shape[0], info.shape[1]};
  blob_.resize(spec.bytes());
  quant::FrozenMatrix::quantize(ctx_, spec, w, blob_.data(), info.name);
  quant::FrozenMatrix(spec, blob_.data())
      .dequantize(ctx_, Tensor::of(w, {info.shape[0], info.shape[1]}));
}

void MergedWeights::add(const lora::Adapter& adapter, std::span<float> w,
                        const lora::TensorInfo& info) {
  const std::span<float> delta(delta_.as<float>(), w.size());
  matmul(ctx_, Tensor::of(delta, {info.shape[0], info.shape[1]}), adapter.b, adapter.a, {});
  for (size_t i = 0; i < w.size(); ++i) w[i] += adapter.scale * delta[i];
}

/// The bytes to write; w becomes what they stand for.
std::span<const std::byte> MergedWeights::rounded(std::span<float> w, const std::string& name) {
  TESSERA_CHECK(is_float(report_.dtype));
  switch (report_.dtype) {
    case DType::kBF16:
      return narrow<bf16>(w, name, to_bf16);
    case DType::kF16:
      return narrow<f16>(w, name, to_f16);
    case DType::kF32:
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      break;
  }
  for (float x : w) require_finite(x, x, name);
  return std::as_bytes(w);
}

template <class T>
std::span<const std::byte> MergedWeights::narrow(std::span<float> w, const std::string& name,
                                                 T (*round)(float)) {
  // delta_ is free again by now, and wide enough.
  const std::span<T> out(delta_.as<T>(), w.size());
  for (size_t i = 0; i < w.size(); ++i) {
    out[i] = round(w[i]);
    require_finite(to_float(out[i]), w[i], name);
    w[i] = to_float(out[i]);
  }
  return std::as_bytes(out);
}

void MergedWeights::require_finite(float written, float computed, const std::string& name) const {
  if (std::isfinite(written)) return;
  fail("tensor {}: {} does not fit into {}; try --dtype float32 or bfloat16", name, computed,
       name_of(report_.dtype));
}

void MergedWeights::measure(std::span<const float> before, std::span<const float> after,
                            const std::string& name) {
  double largest = 0;
  for (size_t i = 0; i < after.size(); ++i) {
    const double d = std::abs(double(after[i]) - double(before[i]));
    largest = std::max(largest, d);
    sum_ += d;
  }
  count_ += int64_t(after.size());
  if (largest > report_.largest || report_.largest_in.empty()) {
    report_.largest = largest;
    report_.largest_in = name;
  }
}

}  // namespace tessera::launch
