// The rotary settings of a config, as transformers' configs and modeling_rope_utils take them. Both
// spellings are understood: rope_theta with rope_scaling, and rope_parameters.
#pragma once

#include <vector>

#include "lora/model/config_keys.h"
#include "lora/model/spec.h"
#include "runtime/ops/rope.h"

namespace tessera::lora {

/// What a family's class has for what a config leaves out, and what is its own.
struct RopeClass {
  double theta = 10000.0;
  double partial = 1.0;      // of a head that turns
  bool turns_parts = false;  // whether the attention can turn less than whole heads
  bool interleaved = false;
  int64_t original_max_position = 0;  // 0: max_position_embeddings
  bool longrope_only = false;         // no other scaling; "su" and "yarn" are its older names
  bool grows_queries = false;         // llama_4_scaling_beta
  const char* parameters = nullptr;   // JSON of rope_parameters where a config has none
};

/// The rule of all layers. The spec has its layers and max_position already. Throws Error naming
/// the key for settings that are missing, out of range or not supported.
Rope read_rope(const ConfigKeys& keys, const ModelSpec& spec, const RopeClass& of_class = {});

/// The bases of a class with one rule for the layers that see everything, and one for those with a
/// window.
struct RopeThetas {
  double full;
  double sliding;
  const char* sliding_key;  // outside rope_parameters; or null
};
inline constexpr int kFullRope = 0, kSlidingRope = 1;

/// The two rules, in that order. Scaling outside rope_parameters is the former's only.
std::vector<Rope> read_ropes_by_layer_type(const ConfigKeys& keys, const ModelSpec& spec,
                                           const RopeThetas& of_class);

}  // namespace tessera::lora
