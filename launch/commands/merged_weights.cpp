#include "launch/commands/merged_weights.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/error.h"
#include "runtime/ops/matmul.h"

namespace tessera::launch {
namespace {

/// "q_proj" of "model.layers.3.self_attn.q_proj.weight".
std::string module_of(const std::string& name) {
  const size_t end = name.rfind('.');
  const size_t begin = name.rfind('.', end - 1);
  return name.substr(begin + 1, end - begin - 1);
}

}  // namespace

MergedWeights::MergedWeights(Context& ctx, const lora::Checkpoint& checkpoint,
                             const lora::AdapterSet& adapters,
                             const std::optional<quant::Storage>& base, MergeReport& report)
    : ctx_(ctx), checkpoint_(checkpoint), adapters_(adapters), base_(base), report_(report) {
  for (const lora::TensorRow& row : lora::linears_of(checkpoint.spec())) {
    linears_[row.name()] = row.id();
  }
  size_t largest = 0, largest_linear = 0;
  for (const auto& info : checkpoint.tensors()) {
    largest = std::max(largest, size_t(info.numel()));
    if (is_linear(info.name)) largest_linear = std::max(largest_linear, size_t(info.numel()));
  }
  for (Buffer* buffer : {&values_, &original_, &out_}) {
    *buffer = Buffer::host(largest * sizeof(float));
  }
  for (Buffer* buffer : {&base_buffer_, &change_, &trained_}) {
    *buffer = Buffer::host(largest_linear * sizeof(float));
  }
  ctx.set_scratch(Arena(size_t{1} << 20));
}

std::span<const std::byte> MergedWeights::make(const std::string& name) {
  const lora::TensorInfo& info = checkpoint_.info(name);
  const std::span<float> w(values_.as<float>(), size_t(info.numel()));
  checkpoint_.read_f32(name, w);
  const std::span<const float> trained = whole(name);
  const bool has_rows =
      adapters_.token_rows() && name == lora::embedding_weight(checkpoint_.spec());
  if (!is_linear(name) && trained.empty() && !has_rows) return rounded(w, name);
  const std::span<float> before(original_.as<float>(), w.size());
  std::copy(w.begin(), w.end(), before.begin());
  if (is_linear(name)) {
    const Linear linear = merge(w, info);
    rounded(linear.base, name);
    const std::span<const std::byte> bytes = rounded(w, name);
    measure(before, w, name);
    measure_change(linear, w, name);
    return bytes;
  }
  if (!trained.empty()) {
    std::copy(trained.begin(), trained.end(), w.begin());
  } else {
    replace_rows(w, *adapters_.token_rows());
  }
  const std::span<const std::byte> bytes = rounded(w, name);
  measure(before, w, name);
  return bytes;
}

void MergedWeights::make_quantized(const std::string& name, const std::string& stored,
                                   QuantizedLinears& linears,
                                   std::vector<io::SafetensorsEntry>& entries) {
  const lora::TensorInfo& info = checkpoint_.info(name);
  const std::span<float> w(values_.as<float>(), size_t(info.numel()));
  const std::span<float> before(original_.as<float>(), w.size());
  checkpoint_.read_f32(name, w);
  std::copy(w.begin(), w.end(), before.begin());
  const Linear linear = merge(w, info);
  requantize(linear.base, linears.spec_of(info), name);
  const quant::FrozenMatrix written = linears.add(info, stored, report_.dtype, w, entries);
  written.dequantize(ctx_, Tensor::of(w, {info.shape[0], info.shape[1]}));
  measure(before, w, name);
  measure_change(linear, w, name);
}

void MergedWeights::finish() {
  report_.mean = sum_ / double(std::max<int64_t>(count_, 1));
  if (trained_squares_ > 0) report_.from_trained = std::sqrt(from_trained_ / trained_squares_);
}

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

MergedWeights::Linear MergedWeights::merge(std::span<float> w, const lora::TensorInfo& info) {
  const auto spec_of = [&](const quant::Storage& storage) {
    return quant::FrozenSpec{storage, info.shape[0], info.shape[1]};
  };
  const size_t n = w.size();
  const Linear linear{
      {base_buffer_.as<float>(), n}, {change_.as<float>(), n}, {trained_.as<float>(), n}};
  std::ranges::copy(w, linear.trained.begin());
  if (base_) requantize(w, spec_of(*base_), info.name);
  std::ranges::copy(w, linear.base.begin());
  const lora::LinearId id = linears_.at(info.name);
  if (const lora::Adapter* adapter = adapters_.find(id.layer, id.site)) {
    matmul(ctx_, Tensor::of(linear.change, {info.shape[0], info.shape[1]}), adapter->b, adapter->a,
           {});
    for (size_t i = 0; i < n; ++i) {
      linear.change[i] *= adapter->scale;
      w[i] += linear.change[i];
    }
  } else {
    std::ranges::fill(linear.change, 0.0f);
  }
  if (base_ || !trained_over_) {
    std::ranges::copy(w, linear.trained.begin());
  } else {
    requantize(linear.trained, spec_of(*trained_over_), info.name);
    for (size_t i = 0; i < n; ++i) linear.trained[i] += linear.change[i];
  }
  return linear;
}

/// w becomes what it is after it was quantized.
void MergedWeights::requantize(std::span<float> w, const quant::FrozenSpec& spec,
                               const std::string& name) {
  blob_.resize(spec.bytes());
  quant::FrozenMatrix::quantize(ctx_, spec, w, blob_.data(), name);
  quant::FrozenMatrix(spec, blob_.data()).dequantize(ctx_, Tensor::of(w, {spec.rows, spec.cols}));
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
  const std::span<T> out(out_.as<T>(), w.size());
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

void MergedWeights::measure_change(const Linear& linear, std::span<const float> after,
                                   const std::string& name) {
  KeptChange kept;
  double largest = 0;
  for (size_t i = 0; i < after.size(); ++i) {
    const double d = double(linear.change[i]), c = double(after[i]) - double(linear.base[i]);
    kept.dd += d * d;
    kept.dc += d * c;
    kept.cc += c * c;
    const double trained = double(linear.trained[i]), from = double(after[i]) - trained;
    from_trained_ += from * from;
    trained_squares_ += trained * trained;
    largest = std::max(largest, std::abs(from));
  }
  report_.kept[module_of(name)].add(kept);
  if (largest > report_.largest_from_trained || report_.largest_from_trained_in.empty()) {
    report_.largest_from_trained = largest;
    report_.largest_from_trained_in = name;
  }
}

double KeptChange::share() const { return dd > 0 ? dc / dd : 1; }

double KeptChange::noise() const {
  return dd > 0 ? std::sqrt(std::max(0.0, cc - dc * dc / dd) / dd) : 0;
}

void KeptChange::add(const KeptChange& other) {
  dd += other.dd;
  dc += other.dc;
  cc += other.cc;
}

KeptChange MergeReport::all_kept() const {
  KeptChange all;
  for (const auto& [module, change] : kept) all.add(change);
  return all;
}

}  // namespace tessera::launch
