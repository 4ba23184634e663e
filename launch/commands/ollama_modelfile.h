// A Modelfile: what `ollama create` makes a model of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tessera::launch {

struct Modelfile {
  std::string gguf;            // the model, or with `base` an adapter
  std::string base;            // the model that the adapter is for; empty for none
  std::vector<int32_t> stops;  // tokens that end a text, beside the tokenizer's own
  std::string tokenizer;       // path of a model that has one
};

/// "model.Modelfile" of "model.gguf".
std::string modelfile_path(const std::string& gguf);

/// FROM, ADAPTER and the texts that end an answer. Ollama takes the chat template from the GGUF
/// file. Replaces the file at `path`.
void write_modelfile(const std::string& path, const Modelfile& modelfile);

}  // namespace tessera::launch
