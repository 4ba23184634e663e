#include "lora/adapter/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/core/error.h"
#include "runtime/core/philox.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {

namespace {

// Sets these draws apart from every other use of the same seed.
constexpr uint32_t kInitTag = 0x4C6F5241;

}  // namespace

float AdapterOptions::scale() const {
  return float(rslora ? alpha / std::sqrt(double(r)) : alpha / double(r));
}

void check_adapter_options(const AdapterOptions& options) {
  if (options.r < 1 || options.r > kMaxRank) {
    fail_usage("lora_r must be from 1 to {}, not {}", kMaxRank, options.r);
  }
  if (!(options.alpha > 0.0 && std::isfinite(options.alpha))) {
    fail_usage("lora_alpha must be positive, not {}", options.alpha);
  }
  if (!(options.dropout >= 0.0 && options.dropout < 1.0)) {
    fail_usage("lora_dropout must be in [0, 1), not {}", options.dropout);
  }
}

std::vector<Segment> adapter_segments(std::span<const TensorRow> linears, int64_t r) {
  std::vector<Segment> segments;
  size_t offset = 0;
  const auto add = [&](std::string name, int64_t rows, int64_t cols) {
    segments.push_back({std::move(name), offset, rows, cols});
    offset = flat_size(segments);
  };
  for (const TensorRow& linear : linears) {
    add(linear.module + ".lora_A.weight", r, linear.in());
    add(linear.module + ".lora_B.weight", linear.out(), r);
  }
  return segments;
}

size_t flat_size(std::span<const Segment> segments) {
  if (segments.empty()) return 0;
  constexpr size_t kAlignment = AdapterSet::kAlignment;
  const size_t end = segments.back().offset + segments.back().elements();
  return (end + kAlignment - 1) / kAlignment * kAlignment;
}

AdapterSet::AdapterSet(const ModelSpec& spec, AdapterOptions options, Device device)
    : AdapterSet(spec, std::move(options), device, Memory::kReal) {}

AdapterSet AdapterSet::shapes(const ModelSpec& spec, AdapterOptions options, Device device) {
  AdapterSet set(spec, std::move(options), device, Memory::kNone);
  for (Adapter& adapter : set.adapters_) {
    adapter.da = adapter.a;
    adapter.db = adapter.b;
  }
  return set;
}

AdapterSet::AdapterSet(const ModelSpec& spec, AdapterOptions options, Device device, Memory memory)
    : options_(std::move(options)), layers_(spec.layer_count()), device_(device) {
  check_adapter_options(options_);
  linears_ = select_linears(options_.targets, spec);
  segments_ = adapter_segments(linears_, options_.r);
  size_ = flat_size(segments_);
  if (memory == Memory::kReal) {
    const size_t bytes = size_ * sizeof(float);
    host_ = Buffer::host(bytes);
    if (device.is_cuda()) gpu_ = Buffer::on(device, bytes);
    device_params_ = device.is_cuda() ? gpu_.as<float>() : host_.as<float>();
  }
  const auto view = [&](const Segment& segment) {
    float* data = device_params_ ? device_params_ + segment.offset : nullptr;
    return Tensor(data, DType::kF32, {segment.rows, segment.cols}, device);
  };
  index_.resize(size_t(layers_));
  for (auto& sites : index_) sites.fill(-1);
  for (size_t i = 0; i < linears_.size(); ++i) {
    index_[size_t(linears_[i].layer)][size_t(linears_[i].site)] = int32_t(i);
    adapters_.push_back({.a = view(segments_[2 * i]),
                         .b = view(segments_[2 * i + 1]),
                         .da = {},
                         .db = {},
                         .scale = options_.scale()});
  }
}

std::vector<std::string> AdapterSet::target_names() const { return names_of(linears_, layers_); }

int64_t AdapterSet::trainable() const {
  int64_t elements = 0;
  for (const Segment& segment : segments_) elements += int64_t(segment.elements());
  return elements;
}

void AdapterSet::set_gradient_buffer(std::span<float> grads) {
  TESSERA_CHECK(grads.size() == size_);
  const auto beside = [&](const Tensor& param) {
    const std::ptrdiff_t offset = param.data<float>() - device_params_;
    return Tensor(grads.data() + offset, DType::kF32, {param.dim(0), param.dim(1)}, device_);
  };
  for (Adapter& adapter : adapters_) {
    adapter.da = beside(adapter.a);
    adapter.db = beside(adapter.b);
  }
}

std::span<float> AdapterSet::in_host(const Tensor& param) {
  return params().subspan(size_t(param.data<float>() - device_params_), size_t(param.numel()));
}

void AdapterSet::to_device(Context& ctx) {
  if (!device_.is_cuda()) return;
  copy_bytes(ctx, gpu_.data(), host_.data(), gpu_.size());
  ctx.compute_stream().synchronize();
}

void AdapterSet::to_host(Context& ctx) {
  if (!device_.is_cuda()) return;
  copy_bytes(ctx, host_.data(), gpu_.data(), gpu_.size());
  ctx.compute_stream().synchronize();
}

int32_t AdapterSet::index_of(int64_t layer, Site site) const {
  return layer < 0 || layer >= layers_ ? -1 : index_[size_t(layer)][size_t(site)];
}

Adapter* AdapterSet::find(int64_t layer, Site site) {
  const int32_t index = index_of(layer, site);
  return index < 0 ? nullptr : &adapters_[size_t(index)];
}

const Adapter* AdapterSet::find(int64_t layer, Site site) const {
  const int32_t index = index_of(layer, site);
  return index < 0 ? nullptr : &adapters_[size_t(index)];
}

void AdapterSet::init(uint64_t seed) {
  const PhiloxKey key{{uint32_t(seed), uint32_t(seed >> 32)}};
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const auto number = uint32_t(linears_[i].number);
    std::ranges::fill(in_host(adapters_[i].b), 0.0f);
    const std::span<float> a = in_host(adapters_[i].a);
    const float bound = float(1.0 / std::sqrt(double(adapters_[i].a.cols())));
    for (size_t begin = 0; begin < a.size(); begin += 4) {
      const uint64_t draw = begin / 4;
      const PhiloxCounter random =
          philox({{uint32_t(draw), uint32_t(draw >> 32), number, kInitTag}}, key);
      for (size_t j = begin; j < std::min(begin + 4, a.size()); ++j) {
        // 24 bits: every value of u is exact.
        const float u = float(random.word[j - begin] >> 8) * 0x1p-23f - 1.0f;
        a[j] = u * bound;
      }
    }
  }
}

}  // namespace tessera::lora
