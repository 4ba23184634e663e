// The shape of a decoder and its switches, read from a checkpoint's config. One decoder serves all
// supported families; what they differ in is a field here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/dtype.h"
#include "runtime/ops/rope.h"

namespace tessera::lora {

struct DecoderConfig {
  std::string architecture;  // as the checkpoint names it, e.g. LlamaForCausalLM
  int64_t hidden = 0;
  int64_t ffn = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab = 0;
  int64_t max_position = 0;
  float rms_eps = 1e-5f;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tied_head = false;
  DType dtype = DType::kF32;  // of the checkpoint's weights
  int32_t bos_id = -1;        // -1: none
  std::vector<int32_t> eos_ids;

  int64_t q_size() const { return heads * head_dim; }
  int64_t kv_size() const { return kv_heads * head_dim; }
};

/// Reads the text of a Hugging Face config.json; `source` names the file in errors. Both spellings
/// of the rotary settings (rope_theta with rope_scaling, and rope_parameters) are understood.
/// Throws Error naming the key for what is missing, out of range, or not supported.
DecoderConfig parse_config(std::string_view json, std::string_view source);

/// Throws Error when sizes are out of range or do not fit together. After it no product of two
/// sizes, times the bytes of an element, overflows int64.
void check_config(const DecoderConfig& config, std::string_view source);

}  // namespace tessera::lora
