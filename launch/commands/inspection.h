// What `tessera inspect` finds at a path: a model, an adapter, or a file of tensors. It is gathered
// from configs and the headers of files. Nothing outside the path is opened, and of weights nothing
// is read but what Checkpoint::open() looks at. Texts are as the files have them.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launch/commands/model_facts.h"

namespace tessera::launch {

/// Largest JSON file that is read.
inline constexpr size_t kMaxConfig = 1 << 20;

struct TensorLine {
  std::string name;
  std::string format;          // as the file calls it: "BF16", "Q4_K"
  std::vector<int64_t> shape;  // row-major
  uint64_t bytes = 0;
};

struct WeightFile {
  std::string name;
  uint64_t bytes = 0;
};

/// How many tensors a format has.
struct FormatCount {
  std::string format;
  int64_t tensors = 0;
  uint64_t bytes = 0;
};

struct Inspection {
  enum class Kind { kModel, kAdapter, kTensors };

  std::string path = {};
  Kind kind = Kind::kModel;
  std::string layout = {};  // "huggingface", "gguf", "peft" or "safetensors"
  // Of a model, empty where they are not given.
  std::string architecture = {};
  std::string family = {};
  ModelFacts shape = {};
  // Of an adapter: as inspect_adapter(), and as PeftConfig.
  nlohmann::ordered_json adapter = {};
  std::vector<std::string> unknown_keys = {};
  std::vector<std::string> unneeded_keys = {};

  std::optional<int64_t> parameters = {};  // nothing where weights are packed
  int64_t other_parameters = 0;            // of a vision tower, for example
  std::vector<WeightFile> files = {};
  std::vector<std::string> missing_files = {};  // which the index names
  std::vector<TensorLine> tensors = {};
  /// How many linears are stored in 4 bits, by their format.
  std::map<std::string, int64_t> linears = {};
  nlohmann::json quantization = {};  // quantization_config, or null

  std::vector<std::string> tokenizer_files = {};
  std::string tokenizer_model = {};  // of a tokenizer inside a GGUF file
  bool chat_template = false;
  nlohmann::ordered_json token_ids = {};       // of the config or the metadata; null without
  nlohmann::ordered_json generation_ids = {};  // of generation_config.json; null without

  std::vector<std::string> notes = {};
  std::string refusal = {};  // why `train` does not take it; empty where it does
  std::string storage = {};  // how `train` holds a model's linears by default: "NF4"
  bool stored_so = false;    // and they are in the files so
  std::optional<uint64_t> base_bytes = {};

  uint64_t bytes() const;  // of all files
  /// Of the tensors; the format with most bytes first.
  std::vector<FormatCount> formats() const;
};

/// Error, one line, where there is neither a model nor an adapter nor a file of tensors.
Inspection inspect_path(const std::string& path);

/// Of a folder with adapter_config.json: its settings (null where not given) and what its tensors
/// tell: linears, layers, modules.
Inspection inspect_adapter(const std::string& folder);

/// Adds a safetensors file of the folder: its size, and its tensors if it can be read. Returns
/// why it cannot be, else nothing.
std::string add_weight_file(Inspection& inspection, const std::string& folder,
                            const std::string& name);
/// Elements of all tensors.
int64_t elements_of(const std::vector<TensorLine>& tensors);
/// Looks at the files of a tokenizer among the names in the folder.
void add_tokenizer(Inspection& inspection, const std::string& folder,
                   const std::vector<std::string>& names);

}  // namespace tessera::launch
