// The families of models that Tessera knows: a row of names and functions each, from the keys of a
// checkpoint's config to a ModelSpec and back. No other file names a family.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lora/model/config_keys.h"
#include "lora/model/spec.h"

namespace tessera::lora {

/// What a family's layers are when all of them are alike.
struct LayerSizes {
  int64_t layers = 0;
  int64_t ffn = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
};

/// A row of the table.
struct Family {
  std::string_view architecture;  // in a config.json's `architectures`
  std::string_view model_type;    // there, too
  std::string_view gguf;          // in GGUF files, whose keys begin with it
  /// Everything but the architecture. Throws Error naming the key for what is missing, out of
  /// range, or not supported.
  ModelSpec (*read)(const ConfigKeys& keys);
  /// The keys that `read` reads back as this spec, without the architecture and the model type.
  nlohmann::json (*write)(const ModelSpec& spec);
  /// The layers of sizes that are in range.
  std::vector<LayerSpec> (*layers)(const LayerSizes& sizes);
};
/// By one of its names; null where there is none.
const Family* find_family(std::string_view Family::*name, std::string_view value);
/// Error that names `source` and the families that there are.
const Family& family_of_gguf(std::string_view architecture, std::string_view source);

/// Reads the text of a Hugging Face config.json; `source` names the file in errors. Both spellings
/// of the rotary settings (rope_theta with rope_scaling, and rope_parameters) are understood.
/// Throws Error as Family::read, and for a family that is not in the table.
ModelSpec parse_config(std::string_view json, std::string_view source);
/// The text of a config.json that parse_config() reads back as this spec, as transformers writes
/// it. The architecture is in the table.
std::string config_text(const ModelSpec& spec);

}  // namespace tessera::lora
