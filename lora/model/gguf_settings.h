// What GGUF metadata say of a model: the way back of config_of_metadata(), with the keys that
// llama.cpp's converter writes. llama.cpp computes what it knows of an architecture, whatever a
// config says; a model that it would compute otherwise is refused, and what differs in long texts
// only is said.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lora/model/spec.h"
#include "runtime/io/gguf_writer.h"

namespace tessera::lora {

/// A float32 tensor that belongs to the metadata.
struct GgufFactors {
  std::string_view name;  // "rope_freqs.weight"
  std::vector<float> values;
};

struct GgufSettings {
  std::string architecture;          // general.architecture
  std::vector<GgufFactors> factors;  // to divide rotary frequencies by
  /// The head is a tensor of its own, even where it is the embedding.
  bool has_own_head = false;
  std::vector<std::string> notes;  // what a user should know of what is not said, a line each
};

/// The name in GGUF of the model that `config` describes. Error naming the architecture where
/// llama.cpp has none; `source` is the model's path in messages.
std::string gguf_architecture(std::string_view config, std::string_view source);

/// Puts the keys of the model itself, which begin with the architecture. Error naming the setting
/// that llama.cpp would compute otherwise.
GgufSettings put_gguf_settings(const ModelSpec& spec, std::string_view architecture,
                               std::string_view source, io::GgufMetadata& metadata);

}  // namespace tessera::lora
