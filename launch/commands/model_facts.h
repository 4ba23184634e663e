// The shape of a model as `tessera inspect` says it: from the spec where the family is known, else
// from those keys of a config or of GGUF metadata that most families share.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lora/model/spec.h"
#include "runtime/io/gguf.h"

namespace tessera::launch {

/// A line of a report; one without a label goes on with the line before.
struct ReportRow {
  std::string label;
  std::string text;
};

/// Nothing where a size is not given, or differs from layer to layer.
struct ModelFacts {
  std::optional<int64_t> layers = {}, hidden = {}, ffn = {}, heads = {}, kv_heads = {},
                         head_dim = {}, vocab = {}, positions = {}, experts = {},
                         experts_per_token = {};
  std::optional<bool> tied_head = {};
  std::optional<lora::ModelSpec> spec = {};
};

ModelFacts facts_of(const lora::ModelSpec& spec);
/// Of any config.json, also one that wraps a text model. Never an Error: a value that is no size is
/// taken as not given.
ModelFacts facts_of_config(const nlohmann::json& config);
/// Of any GGUF file, as facts_of_config().
ModelFacts facts_of_metadata(const io::GgufFile& file);

/// A whole number of the config, or of its text_config; the text model's first.
std::optional<int64_t> number_in(const nlohmann::json& config, const char* key);
/// A whole number of the metadata, and a text; empty where it is none.
std::optional<int64_t> number_in(const io::GgufFile& file, const std::string& key);
std::string text_in(const io::GgufFile& file, const std::string& key);

/// Sizes, and of the rest only what differs from a plain Llama.
std::vector<ReportRow> report_rows(const ModelFacts& facts);
/// The sizes, null where not known.
nlohmann::ordered_json sizes_json(const ModelFacts& facts);
/// All else that a spec says; null without one.
nlohmann::ordered_json details_json(const ModelFacts& facts);

/// "0-4, 6" or, where the steps are equal, "5, 11, ... 59".
std::string layers_text(const std::vector<int64_t>& layers);

}  // namespace tessera::launch
