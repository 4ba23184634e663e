// GGUF files: the spec from the metadata, tensors under the names of Hugging Face.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <unordered_set>
#include <utility>

#include "lora/model/checkpoint_source.h"
#include "lora/model/families.h"
#include "runtime/core/error.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using io::GgufFile;
using io::GgufTensor;
using io::GgufType;

constexpr std::string_view kRopeFactors = "rope_freqs.weight";

/// The keys of the model itself, which begin with its family's name: "llama.block_count".
class FamilyKeys {
 public:
  FamilyKeys(const GgufFile& file, const Family& family) : file_(file), family_(family) {}

  std::string name(std::string_view key) const { return fmt::format("{}.{}", family_.gguf, key); }
  bool has(std::string_view key) const { return file_.has(name(key)); }
  int64_t integer(std::string_view key) const { return file_.integer(name(key)); }
  int64_t integer_or(std::string_view key, int64_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
  }
  double real(std::string_view key) const { return file_.real(name(key)); }
  std::string string(std::string_view key) const { return file_.string(name(key)); }

 private:
  const GgufFile& file_;
  const Family& family_;
};

void check_supported(const GgufFile& file, const FamilyKeys& keys) {
  if (file.has("split.count") && file.integer("split.count") > 1) {
    fail("{}: one part of a split model; join the parts first (llama-gguf-split --merge)",
         file.path());
  }
  for (const char* key : {"expert_count", "attention.sliding_window"}) {
    if (keys.integer_or(key, 0) != 0) {
      fail("{}: metadata {} is {}, which is not supported", file.path(), keys.name(key),
           keys.integer(key));
    }
  }
}

void read_rope(const GgufFile& file, const FamilyKeys& keys, int64_t head_dim, ModelSpec& spec) {
  if (keys.has("rope.freq_base")) spec.rope_theta = keys.real("rope.freq_base");
  const int64_t rotated = keys.integer_or("rope.dimension_count", head_dim);
  if (rotated != head_dim) {
    fail("{}: rotary positions on {} of {} dimensions of a head are not supported", file.path(),
         rotated, head_dim);
  }
  // As llama.cpp reads them: linear unless the type says otherwise; a factor in two spellings, of
  // which the older one counts last; none where there is no factor.
  std::string type = "linear";
  if (keys.has("rope.scaling.type")) type = keys.string("rope.scaling.type");
  if (type == "none") return;
  if (type != "linear") {
    fail("{}: rope scaling '{}' is not supported; supported: none, linear", file.path(),
         io::printable(type));
  }
  const char* factor =
      keys.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  if (!keys.has(factor)) return;
  spec.rope_scaling.kind = RopeScaling::Kind::kLinear;
  spec.rope_scaling.factor = keys.real(factor);
  if (!(spec.rope_scaling.factor > 0.0 && std::isfinite(spec.rope_scaling.factor))) {
    fail("{}: metadata {} is not above zero", file.path(), keys.name(factor));
  }
}

/// Dimension `i` of the embedding as the file has it, for what the metadata leaves out.
int64_t vocabulary(const GgufFile& file, const FamilyKeys& keys) {
  const GgufTensor* embedding = file.find(kEmbeddingGguf);
  if (!embedding || embedding->shape.size() != 2) {
    fail("{}: tensor '{}' is missing or not a matrix", file.path(), kEmbeddingGguf);
  }
  return keys.integer_or("vocab_size", embedding->shape[0]);
}

int32_t token_id(const GgufFile& file, std::string_view key, int64_t vocab) {
  const int64_t id = file.integer(key);
  if (id < 0 || id >= vocab) {
    fail("{}: metadata {} is {}, the vocabulary has {}", file.path(), key, id, vocab);
  }
  return int32_t(id);
}

ModelSpec spec_of_metadata(const GgufFile& file) {
  const Family& family = family_of_gguf(file.string("general.architecture"), file.path());
  const FamilyKeys keys(file, family);
  check_supported(file, keys);
  ModelSpec spec;
  LayerSizes sizes;
  spec.architecture = family.architecture;
  spec.hidden = keys.integer("embedding_length");
  sizes.ffn = keys.integer("feed_forward_length");
  sizes.layers = keys.integer("block_count");
  sizes.heads = keys.integer("attention.head_count");
  sizes.kv_heads = keys.integer_or("attention.head_count_kv", sizes.heads);
  spec.max_position = keys.integer("context_length");
  spec.rms_eps = float(keys.real("attention.layer_norm_rms_epsilon"));
  spec.vocab = vocabulary(file, keys);
  if (sizes.heads < 1) fail("{}: {} attention heads", file.path(), sizes.heads);
  sizes.head_dim = keys.integer_or("attention.key_length", spec.hidden / sizes.heads);
  if (keys.integer_or("attention.value_length", sizes.head_dim) != sizes.head_dim) {
    fail("{}: values and keys of different length are not supported", file.path());
  }
  spec.tied_head = file.find(kHeadGguf) == nullptr;
  check_layers(sizes.layers, file.path());
  spec.layers = family.layers(sizes);
  read_rope(file, keys, sizes.head_dim, spec);
  check_spec(spec, file.path());
  if (file.has("tokenizer.ggml.bos_token_id")) {
    spec.bos_id = token_id(file, "tokenizer.ggml.bos_token_id", spec.vocab);
  }
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (!file.has(key)) continue;
    const int32_t id = token_id(file, key, spec.vocab);
    if (std::find(spec.eos_ids.begin(), spec.eos_ids.end(), id) == spec.eos_ids.end()) {
      spec.eos_ids.push_back(id);
    }
  }
  return spec;
}

/// Of the layers, which are all alike in a GGUF file.
int64_t head_dim_of(const ModelSpec& spec) { return spec.layers.front().attention.head_dim; }

/// What frequency i is divided by under Llama 3's rule, as transformers defines rope_type llama3.
double llama3_factor(const ModelSpec& spec, const RopeScaling& scaling, int64_t i) {
  const double frequency = std::pow(spec.rope_theta, -2.0 * double(i) / double(head_dim_of(spec)));
  const double turns = double(scaling.original_max_position) * frequency / (2.0 * std::numbers::pi);
  if (turns > scaling.high_freq_factor) return 1.0;
  if (turns < scaling.low_freq_factor) return scaling.factor;
  const double smooth =
      (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return 1.0 / ((1.0 - smooth) / scaling.factor + smooth);
}

/// llama.cpp's converter keeps only the outcome of Llama 3's rule, one divisor per frequency. Every
/// such model has the same parameters but for the factor, which is the last divisor; if the rule
/// then gives all of them back, the rule it is.
void recognise_llama3(const GgufFile& file, ModelSpec& spec) {
  const GgufTensor* stored = file.find(kRopeFactors);
  if (!stored) return;
  std::vector<float> factors(size_t(head_dim_of(spec) / 2));
  if (stored->type != GgufType::kF32 || stored->bytes != factors.size() * sizeof(float)) {
    fail("{}: tensor '{}' does not hold {} float32 values", file.path(), kRopeFactors,
         factors.size());
  }
  file.read(*stored, std::as_writable_bytes(std::span(factors)));
  RopeScaling scaling{.kind = RopeScaling::Kind::kLlama3,
                      .factor = factors.back(),
                      .low_freq_factor = 1.0,
                      .high_freq_factor = 4.0,
                      .original_max_position = 8192};
  bool matches = scaling.factor >= 1.0 && spec.rope_scaling.kind == RopeScaling::Kind::kNone;
  for (size_t i = 0; i < factors.size(); ++i) {
    const double expected = llama3_factor(spec, scaling, int64_t(i));
    matches = matches && std::abs(factors[i] - expected) <= 1e-4 * expected;
  }
  if (!matches) {
    fail(
        "{}: the rotary factors in '{}' are not those of Llama 3's rule, which is the only one "
        "supported; use the model's Hugging Face folder",
        file.path(), kRopeFactors);
  }
  spec.rope_scaling = scaling;
}

DType dtype_of(const GgufTensor& tensor, std::string_view file) {
  switch (tensor.type) {
    case GgufType::kF16:
      return DType::kF16;
    case GgufType::kBF16:
      return DType::kBF16;
    case GgufType::kF32:
    case GgufType::kQ4_0:
    case GgufType::kQ4_1:
    case GgufType::kQ8_0:
      return DType::kF32;
  }
  fail("{}: tensor '{}' is {}; supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1", file, tensor.name,
       io::name_of(tensor.type));
}

}  // namespace

ModelSpec read_spec(const GgufFile& file) {
  ModelSpec spec = spec_of_metadata(file);
  recognise_llama3(file, spec);
  return spec;
}

FoundTensors find_tensors(const ModelSpec& spec, GgufFile file) {
  FoundTensors found;
  std::unordered_set<std::string> known{std::string(kRopeFactors)};
  for (const TensorRow& row : tensors_of(spec)) {
    const GgufTensor* tensor = file.find(row.gguf);
    if (!tensor) fail("{}: tensor '{}' is missing", file.path(), row.gguf);
    known.insert(row.gguf);
    TensorInfo info = info_of(row);
    check_shape(info, tensor->shape, file.path());
    info.dtype = dtype_of(*tensor, file.path());
    if (row.role == Role::kBias && io::block_of(tensor->type).elements > 1) {
      fail("{}: tensor '{}' is {}; a bias has to be F32, F16 or BF16", file.path(), row.gguf,
           io::name_of(tensor->type));
    }
    found.source.add(info.name, {.file = 0,
                                 .offset = tensor->offset,
                                 .encoding = tensor->type,
                                 .interleaved_heads = row.interleaved_heads});
    found.tensors.push_back(std::move(info));
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (!known.contains(tensor.name)) {
      fail("{}: tensor '{}' does not belong to a {}", file.path(), io::printable(tensor.name),
           spec.architecture);
    }
  }
  found.source.files.push_back(std::move(file).take_file());
  return found;
}

}  // namespace tessera::lora
