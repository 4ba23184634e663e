// What the readers of families share: the keys that configs of all or several families have, read
// as transformers' classes take them. Each throws Error naming the key.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lora/model/config_keys.h"
#include "lora/model/spec.h"
#include "runtime/core/function_ref.h"

namespace tessera::lora {

/// What a family's class has for keys that a config leaves out. Zero: the config has to have it.
struct ClassDefaults {
  int64_t vocab = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // zero: as many as heads
  int64_t head_dim = 0;  // zero: hidden_size / num_attention_heads
  int64_t max_position = 2048;
  double rms_eps = 1e-6;
  bool tied_head = false;
  const char* activation_key = "hidden_act";
  std::string_view activation = "silu";
  // Tokens that the vocabulary does not have count as none.
  int32_t pad_id = -1;
  int32_t bos_id = -1;
  std::span<const int32_t> eos_ids = {};
  bool gelu_is_tanh = false;  // "gelu" means its approximation by tanh
};

/// All that families have in common: sizes, the head, the dtype and tokens. All layers are alike
/// and as Llama's, with its names of norms; rotary positions, windows and biases are yet to come.
ModelSpec read_model(const ConfigKeys& keys, const ClassDefaults& of_class);

/// sliding_window: 0 for null, which is none.
int64_t read_window(const ConfigKeys& keys, int64_t otherwise);
/// Gives a window to the layers that layer_types names, or without it to those of `by_class`.
void read_windows(const ConfigKeys& keys, int64_t window, FunctionRef<bool(int64_t)> by_class,
                  ModelSpec& spec);

/// attention_bias, which says it of q, k, v and o.
void read_attention_bias(const ConfigKeys& keys, ModelSpec& spec);
/// The same, and mlp_bias of gate, up and down.
void read_biases(const ConfigKeys& keys, ModelSpec& spec);

/// 0 for null, which is none.
double read_softcap(const ConfigKeys& keys, const char* key, double otherwise);

}  // namespace tessera::lora
