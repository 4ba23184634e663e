// The families of models that Tessera knows: a row of names and one function each, from the keys of
// a checkpoint's config to a ModelSpec. No other file names a family, but gguf_config.cpp and
// gguf_settings.cpp, where a family's GGUF files need more than a table of keys.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "lora/model/config_keys.h"
#include "lora/model/spec.h"
#include "runtime/core/function_ref.h"

namespace tessera::lora {

/// A row of the table.
struct Family {
  std::string_view architecture;  // in a config.json's `architectures`
  std::string_view model_type;    // there, too
  /// The name in GGUF files, whose keys begin with it; empty where llama.cpp has none of its own.
  std::string_view gguf;
  /// A key that the family's GGUF files have and those of the family of the same name lack.
  std::string_view gguf_mark;
  /// Everything but the architecture, as the family's classes in transformers take it. Throws Error
  /// naming the key for what is missing, out of range, or not supported.
  ModelSpec (*read)(const ConfigKeys& keys);
};
/// In the order in which errors name them.
std::span<const Family> families();
/// By one of its names; null where there is none.
const Family* find_family(std::string_view Family::*name, std::string_view value);
/// `has` tells whether the file has a key of this architecture. Error that names `source` and the
/// families that there are.
const Family& family_of_gguf(std::string_view architecture,
                             FunctionRef<bool(std::string_view key)> has, std::string_view source);
/// The different values of a name, separated by commas.
std::string names_of(std::string_view Family::*name);

/// Reads the text of a Hugging Face config.json; `source` names the file in errors. The spellings
/// of transformers 4 and 5 are understood. Of a model that wraps a text model, the text model with
/// the wrapper's names. Throws Error as Family::read, and for a family that is not in the table.
ModelSpec parse_config(std::string_view json, std::string_view source);
/// The row of the text model of such a config.
const Family& family_of_config(std::string_view json, std::string_view source);

}  // namespace tessera::lora
