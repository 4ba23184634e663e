#include "lora/model/gguf_types.h"

#include <algorithm>

#include "runtime/io/gguf_encode.h"

namespace tessera::lora {
namespace {

using io::GgufType;

constexpr GgufMix kMixes[] = {
    {"f32", GgufType::kF32, 0}, {"bf16", GgufType::kBF16, 32}, {"f16", GgufType::kF16, 1},
    {"q8_0", io::kQ8_0, 7},     {"q6_k", io::kQ6_K, 18},       {"q5_k_m", io::kQ5_K, 17},
    {"q4_k_m", io::kQ4_K, 15},  {"q4_0", io::kQ4_0, 2},
};

/// The mixes with more bits for some tensors.
bool is_mixed(const GgufMix& mix) { return mix.usual == io::kQ4_K || mix.usual == io::kQ5_K; }

/// The first and the last eighth of the layers, and every third between.
bool takes_more_bits(int64_t layer, int64_t layers) {
  const int64_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

/// llama.cpp knows the models of 70B parameters by their number of layers. Their values are small
/// beside the queries, so that more bits cost little.
bool is_70b(const ModelSpec& spec, std::string_view architecture) {
  if (spec.layer_count() != 80) return false;
  const AttentionSpec& a = spec.layers.front().attention;
  return architecture == "qwen2" || (architecture == "llama" && a.heads != a.kv_heads);
}

/// A type with a smaller block where rows are no multiple of the block.
GgufType fitting(GgufType type, int64_t columns) {
  const auto fits = [&](GgufType one) { return columns % io::block_of(one).elements == 0; };
  if (fits(type)) return type;
  constexpr struct {
    GgufType type, instead;
  } kSmaller[] = {{io::kQ4_K, io::kQ5_0}, {io::kQ5_K, io::kQ5_1}, {io::kQ6_K, io::kQ8_0}};
  for (const auto& row : kSmaller) {
    if (row.type == type && fits(row.instead)) return row.instead;
  }
  return GgufType::kF16;
}

GgufType type_of(const TensorRow& row, const GgufMix& mix, int64_t layers, bool of_70b) {
  const bool values = row.site == Site::kV || row.site == Site::kQkv;
  if (values || row.site == Site::kDown) {
    if (is_mixed(mix) && takes_more_bits(row.layer, layers)) return io::kQ6_K;
    if (values && of_70b && mix.usual == io::kQ4_K) return io::kQ5_K;
  }
  return mix.usual;
}

/// Of the head, or of an embedding that is the head.
GgufType head_type(const GgufMix& mix, int64_t columns) {
  if (mix.usual == io::kQ8_0 || columns % io::block_of(mix.usual).elements != 0) return io::kQ8_0;
  return io::kQ6_K;
}

}  // namespace

std::span<const GgufMix> gguf_mixes() { return kMixes; }

const GgufMix* find_gguf_mix(std::string_view name) {
  const auto found = std::ranges::find(kMixes, name, &GgufMix::name);
  return found == std::end(kMixes) ? nullptr : found;
}

std::vector<GgufType> gguf_types_of(const ModelSpec& spec, std::span<const TensorRow> rows,
                                    const GgufMix& mix, std::string_view architecture) {
  const bool quantized = io::block_of(mix.usual).elements > 1;
  const bool of_70b = is_70b(spec, architecture);
  const bool has_head = std::ranges::find(rows, Role::kHead, &TensorRow::role) != rows.end();
  std::vector<GgufType> types;
  for (const TensorRow& row : rows) {
    if (row.role == Role::kNorm || row.role == Role::kBias) {
      types.push_back(GgufType::kF32);
      continue;
    }
    if (!quantized) {
      types.push_back(mix.usual);
      continue;
    }
    const bool is_head = row.role == Role::kHead || (row.role == Role::kEmbedding && !has_head);
    const GgufType type = is_head ? head_type(mix, row.in())
                          : row.role == Role::kEmbedding
                              ? mix.usual
                              : type_of(row, mix, spec.layer_count(), of_70b);
    types.push_back(fitting(type, row.in()));
  }
  return types;
}

}  // namespace tessera::lora
