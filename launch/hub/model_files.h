// Which files of a repository a model needs.
#pragma once

#include <string>
#include <vector>

#include "launch/hub/hub.h"

namespace tessera::launch {

/// Of the names of all files: config, tokenizer, templates and *.safetensors with their index, in
/// the repository's own folder (and additional_chat_templates/). consolidated*.safetensors, the
/// same weights in Mistral's layout, are left out where others are there. With name.file: that GGUF
/// file, and the other parts of a split one. Error, with the cure, where there are no such weights.
std::vector<std::string> files_of_model(const HubName& name, const std::vector<std::string>& names);

}  // namespace tessera::launch
