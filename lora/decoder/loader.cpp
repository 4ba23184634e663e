#include "lora/decoder/loader.h"

#include <cmath>
#include <cstring>

namespace tessera::lora {
namespace {

void require_finite(std::span<const float> values, std::string_view name) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      fail("tensor {} holds {} at element {}; the checkpoint is damaged", name, values[i], i);
    }
  }
}

/// Copies a tensor into `to` in its own dtype, checking it row block by row block.
class RawReader {
 public:
  explicit RawReader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  void read(const std::string& name, Tensor to) {
    const TensorInfo& info = checkpoint_.info(name);
    if (info.dtype != to.dtype()) {
      fail("{}: tensor {} is {}, but others of its kind are {}", checkpoint_.path(), name,
           name_of(info.dtype), name_of(to.dtype()));
    }
    checkpoint_.read(name, {static_cast<std::byte*>(to.raw()), to.bytes()});
    check(to, name);
  }

 private:
  static void check(Tensor t, std::string_view name) {
    const int64_t n = t.numel();
    switch (t.dtype()) {
      case DType::kF32:
        return require_finite(t.span<const float>(), name);
      case DType::kBF16:
        return check_16<bf16>(t, name, n);
      case DType::kF16:
        return check_16<f16>(t, name, n);
      default:
        fail("tensor {} has the unusable type {}", name, name_of(t.dtype()));
    }
  }
  template <class T>
  static void check_16(Tensor t, std::string_view name, int64_t n) {
    const T* values = t.data<T>();
    for (int64_t i = 0; i < n; ++i) {
      const float x = to_float(values[i]);
      require_finite({&x, 1}, name);
    }
  }
  const Checkpoint& checkpoint_;
};

}  // namespace

std::string weight_name(int64_t layer, Site site) {
  return fmt::format("model.layers.{}.{}.weight", layer, module_path(site));
}

BaseFormat checkpoint_format(const Checkpoint& checkpoint) {
  const DecoderConfig& c = checkpoint.config();
  BaseFormat format;
  const DType linear = checkpoint.info(weight_name(0, Site::kQ)).dtype;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    for (int site = 0; site < kSites; ++site) {
      const std::string name = weight_name(layer, Site(site));
      const DType dtype = checkpoint.info(name).dtype;
      if (dtype != linear) {
        fail("{}: tensor {} is {}, but {} is {}; one dtype for all linears is needed",
             checkpoint.path(), name, name_of(dtype), weight_name(0, Site::kQ), name_of(linear));
      }
    }
  }
  format.linear = format_of(linear);
  format.norm = checkpoint.info("model.norm.weight").dtype;
  format.embedding = checkpoint.info("model.embed_tokens.weight").dtype;
  if (!c.tied_head) format.head = checkpoint.info("lm_head.weight").dtype;
  return format;
}

void load_base(Context& ctx, const Checkpoint& checkpoint, BaseWeights& base,
               LoadProgress progress) {
  const DecoderConfig& c = base.config();
  const BlockLayout& layout = base.layout();
  const int64_t total = c.layers * (kSites + 2) + 2 + (c.tied_head ? 0 : 1);
  int64_t done = 0;
  const auto advance = [&] { progress(++done, total); };
  RawReader raw(checkpoint);

  raw.read("model.embed_tokens.weight", base.embedding());
  advance();
  raw.read("model.norm.weight", base.final_norm());
  advance();
  if (!c.tied_head) {
    raw.read("lm_head.weight", base.head_weight());
    advance();
  }

  size_t largest = 0, largest_blob = 0;
  for (const quant::FrozenSpec& spec : layout.spec) {
    largest = std::max(largest, size_t(spec.rows * spec.cols));
    largest_blob = std::max(largest_blob, spec.bytes());
  }
  const Buffer values = Buffer::host(largest * sizeof(float));
  const Buffer blob = Buffer::host(largest_blob);
  const Buffer norm = Buffer::host(size_t(c.hidden) * size_of(base.format().norm));
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    for (size_t i = 0; i < kSites; ++i) {
      const std::string name = weight_name(layer, Site(i));
      const quant::FrozenSpec& spec = layout.spec[i];
      const std::span<float> w(values.as<float>(), size_t(spec.rows * spec.cols));
      checkpoint.read_f32(name, w);
      quant::FrozenMatrix::quantize(ctx, spec, w, blob.data(), name);
      base.store().put(layer, layout.offset[i], {blob.data(), spec.bytes()});
      advance();
    }
    for (const auto& [suffix, offset] : {std::pair("input_layernorm", layout.attention_norm),
                                         std::pair("post_attention_layernorm", layout.mlp_norm)}) {
      raw.read(fmt::format("model.layers.{}.{}.weight", layer, suffix),
               Tensor(norm.data(), base.format().norm, {c.hidden}));
      base.store().put(layer, offset, {norm.data(), norm.size()});
      advance();
    }
  }
}

}  // namespace tessera::lora
