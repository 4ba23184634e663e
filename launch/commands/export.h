// `tessera export`: a base, with an adapter merged into it or not, as one GGUF file that llama.cpp
// loads; or an adapter alone, as llama.cpp's LoRA file. The file appears whole or not at all.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/commands/merge.h"
#include "launch/commands/merge_inputs.h"
#include "launch/console/progress.h"
#include "lora/model/gguf_types.h"

namespace tessera::launch {

struct ExportOptions {
  MergeOptions merge;                   // the adapter may be empty; `output` is the file
  const lora::GgufMix* type = nullptr;  // null: the floats of the checkpoint; f32 of an adapter
  std::optional<std::string> tokenizer_pre;  // as GgufVocabularyOptions::pre
  bool adapter_only = false;
  bool modelfile = false;  // write a Modelfile for Ollama beside the file
  bool overwrite = false;
};

/// What was written.
struct ExportReport {
  std::string architecture;
  std::string type;
  std::map<std::string, int64_t> tensors;  // by the names of their types
  int64_t weights = 0;                     // values in all tensors
  uint64_t bytes = 0;                      // of the file
  std::string modelfile;                   // its path, or empty
  std::vector<std::string> notes;          // what the file does not say, a line each

  double bits_per_weight() const { return weights ? 8.0 * double(bytes) / double(weights) : 0; }
};

/// Error, before anything is written, when the output exists, the disk has too little room, or GGUF
/// cannot say what the model or the adapter is; and naming the tensor for a value that does not fit
/// into its type.
ExportReport export_gguf(const ExportOptions& options, Console& console);

/// The two kinds of it, behind the checks of export_gguf().
ExportReport export_model(const ExportOptions& options, const MergeInputs& inputs,
                          Console& console);
ExportReport export_adapter(const ExportOptions& options, const MergeInputs& inputs);

/// Error where the file's disk has less room than `bytes`.
void check_export_room(const std::string& output, uint64_t bytes);

/// The report in a few lines for the user.
std::string describe(const ExportReport& report, const std::string& output);

}  // namespace tessera::launch
