#include "lora/adapter/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lora/model/checkpoint.h"
#include "runtime/core/error.h"
#include "runtime/core/philox.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {

namespace {

// Sets these draws apart from every other use of the same seed.
constexpr uint32_t kInitTag = 0x4C6F5241;

/// Of each linear: its own value, or the usual one.
template <class T>
std::vector<T> values_of(const ModuleValues<T>& values, std::span<const TensorRow> linears,
                         T usual) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : values.by_key) keys.push_back(key);
  std::vector<T> of_each;
  for (int first : first_matches(keys, linears, values.said_in)) {
    of_each.push_back(first < 0 ? usual : values.by_key[size_t(first)].second);
  }
  return of_each;
}

/// Names with the values of the linears that have another than the usual one.
template <class T>
ModuleValues<T> named_values(const TrainedParts& parts, T TrainedParts::Size::*value, T usual,
                             int64_t layers) {
  std::map<T, std::vector<TensorRow>> linears;
  for (size_t i = 0; i < parts.linears.size(); ++i) {
    if (parts.sizes[i].*value != usual) linears[parts.sizes[i].*value].push_back(parts.linears[i]);
  }
  ModuleValues<T> named;
  for (const auto& [of, rows] : linears) {
    for (std::string& name : names_of(rows, layers)) named.by_key.emplace_back(std::move(name), of);
  }
  return named;
}

}  // namespace

void check_adapter_options(const AdapterOptions& options) {
  const auto check_r = [](std::string_view key, int64_t r) {
    if (r < 1 || r > kMaxRank) fail_usage("{} must be from 1 to {}, not {}", key, kMaxRank, r);
  };
  const auto check_alpha = [](std::string_view key, double alpha) {
    if (!(alpha > 0.0 && std::isfinite(alpha))) {
      fail_usage("{} must be positive, not {}", key, alpha);
    }
  };
  check_r("lora_r", options.r);
  check_alpha("lora_alpha", options.alpha);
  for (const auto& [key, r] : options.ranks.by_key) check_r("rank_pattern", r);
  for (const auto& [key, alpha] : options.alphas.by_key) check_alpha("alpha_pattern", alpha);
  if (!(options.dropout >= 0.0 && options.dropout < 1.0)) {
    fail_usage("lora_dropout must be in [0, 1), not {}", options.dropout);
  }
}

TrainedParts trained_parts(const AdapterOptions& options, const ModelSpec& model) {
  check_adapter_options(options);
  TrainedParts parts{.linears = select_linears(options.targets, model),
                     .sizes = {},
                     .whole = select_whole(options.targets, model),
                     .tokens = select_tokens(options.tokens, options.targets, model)};
  const std::vector<int64_t> ranks = values_of(options.ranks, parts.linears, options.r);
  const std::vector<double> alphas = values_of(options.alphas, parts.linears, options.alpha);
  for (size_t i = 0; i < ranks.size(); ++i) parts.sizes.push_back({ranks[i], alphas[i]});
  return parts;
}

bool ties_to_embedding(const AdapterOptions& options, const TrainedParts& parts,
                       const ModelSpec& model) {
  return model.tied_head && options.targets.ensure_tying && !parts.whole.empty();
}

float adapter_scale(TrainedParts::Size size, bool rslora) {
  return float(size.alpha / (rslora ? std::sqrt(double(size.r)) : double(size.r)));
}

std::vector<Segment> adapter_segments(const TrainedParts& parts) {
  std::vector<Segment> segments;
  size_t offset = 0;
  const auto add = [&](std::string name, int64_t rows, int64_t cols) {
    segments.push_back({std::move(name), offset, rows, cols});
    offset = flat_size(segments);
  };
  for (size_t i = 0; i < parts.linears.size(); ++i) {
    const TensorRow& linear = parts.linears[i];
    add(linear.module + ".lora_A.weight", parts.sizes[i].r, linear.in());
    add(linear.module + ".lora_B.weight", linear.out(), parts.sizes[i].r);
  }
  for (const TensorRow& matrix : parts.whole) add(matrix.name(), matrix.out(), matrix.in());
  if (const TokenSelection& tokens = parts.tokens; !tokens.ids.empty()) {
    add(tokens.embedding.module + ".token_adapter.trainable_tokens_delta",
        int64_t(tokens.ids.size()), tokens.embedding.in());
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
    : AdapterSet(spec, options, trained_parts(options, spec), device, Memory::kReal) {}

AdapterSet::AdapterSet(const ModelSpec& spec, AdapterOptions options, TrainedParts parts,
                       Device device)
    : AdapterSet(spec, std::move(options), std::move(parts), device, Memory::kReal) {}

AdapterSet AdapterSet::shapes(const ModelSpec& spec, AdapterOptions options, Device device) {
  AdapterSet set(spec, options, trained_parts(options, spec), device, Memory::kNone);
  for (Adapter& adapter : set.adapters_) {
    adapter.da = adapter.a;
    adapter.db = adapter.b;
  }
  for (WholeMatrix& matrix : set.whole_) matrix.dw = matrix.w;
  if (set.token_rows_) set.token_rows_->dw = set.token_rows_->w;
  return set;
}

AdapterSet::AdapterSet(const ModelSpec& spec, AdapterOptions options, TrainedParts parts,
                       Device device, Memory memory)
    : options_(std::move(options)),
      layers_(spec.layer_count()),
      parts_(std::move(parts)),
      ties_head_(ties_to_embedding(options_, parts_, spec)),
      segments_(adapter_segments(parts_)),
      device_(device),
      size_(flat_size(segments_)) {
  if (memory == Memory::kReal) {
    const size_t bytes = size_ * sizeof(float);
    host_ = Buffer::host(bytes);
    if (device.is_cuda()) gpu_ = Buffer::on(device, bytes);
    device_params_ = device.is_cuda() ? gpu_.as<float>() : host_.as<float>();
  }
  size_t next = 0;
  const auto view = [&] {
    const Segment& segment = segments_[next++];
    float* data = device_params_ ? device_params_ + segment.offset : nullptr;
    return Tensor(data, DType::kF32, {segment.rows, segment.cols}, device);
  };
  index_.resize(size_t(layers_));
  for (auto& sites : index_) sites.fill(-1);
  for (size_t i = 0; i < parts_.linears.size(); ++i) {
    const TensorRow& linear = parts_.linears[i];
    index_[size_t(linear.layer)][size_t(linear.site)] = int32_t(i);
    const Tensor a = view(), b = view();
    adapters_.push_back({.a = a,
                         .b = b,
                         .da = {},
                         .db = {},
                         .scale = adapter_scale(parts_.sizes[i], options_.rslora)});
  }
  for (size_t i = 0; i < parts_.whole.size(); ++i) whole_.push_back({.w = view(), .dw = {}});
  if (const std::vector<int32_t>& ids = parts_.tokens.ids; !ids.empty()) {
    token_rows_ = TokenRows{.ids = ids, .w = view(), .dw = {}, .rows = {}};
    for (size_t i = 0; i < ids.size(); ++i) token_rows_->rows.emplace(ids[i], int32_t(i));
  }
}

std::vector<std::string> AdapterSet::target_names() const {
  return names_of(parts_.linears, layers_);
}

AdapterOptions AdapterSet::plain_options() const {
  AdapterOptions plain = options_;
  plain.targets = {.modules = {.names = target_names()}};
  for (const TensorRow& matrix : parts_.whole) {
    plain.targets.whole.emplace_back(matrix.own_name());
  }
  plain.targets.ensure_tying = ties_head_;
  plain.tokens = {.ids = {parts_.tokens.ids.begin(), parts_.tokens.ids.end()}};
  plain.ranks = named_values(parts_, &TrainedParts::Size::r, options_.r, layers_);
  plain.alphas = named_values(parts_, &TrainedParts::Size::alpha, options_.alpha, layers_);
  return plain;
}

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
  for (WholeMatrix& matrix : whole_) matrix.dw = beside(matrix.w);
  if (token_rows_) token_rows_->dw = beside(token_rows_->w);
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

const WholeMatrix* AdapterSet::whole(Role role) const {
  for (size_t i = 0; i < whole_.size(); ++i) {
    const Role own = parts_.whole[i].role;
    if (own == role || (ties_head_ && role == Role::kHead)) return &whole_[i];
  }
  return nullptr;
}

void AdapterSet::copy_whole(const Checkpoint& base) {
  for (size_t i = 0; i < whole_.size(); ++i) {
    base.read_f32(parts_.whole[i].name(), in_host(whole_[i].w));
  }
  if (!token_rows_) return;
  const std::span<float> rows = in_host(token_rows_->w);
  const auto cols = size_t(token_rows_->w.cols());
  for (size_t i = 0; i < token_rows_->ids.size(); ++i) {
    base.read_embedding_row(token_rows_->ids[i], rows.subspan(i * cols, cols));
  }
}

void AdapterSet::init(uint64_t seed) {
  const PhiloxKey key{{uint32_t(seed), uint32_t(seed >> 32)}};
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const auto number = uint32_t(parts_.linears[i].number);
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
