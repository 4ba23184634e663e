#include "launch/hub/model_files.h"

#include <algorithm>

#include "launch/hub/snapshot.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using Names = std::vector<std::string>;

constexpr size_t kShownNames = 8;
constexpr std::string_view kTemplates = "additional_chat_templates/";

/// Vocabularies and templates; configs are all of the *.json.
constexpr std::string_view kTextEndings[] = {".jinja", ".model", ".tiktoken", ".model.v3"};
constexpr std::string_view kTextFiles[] = {"merges.txt", "vocab.txt"};

bool is_weights(std::string_view name) {
  return name.ends_with(".safetensors") && name.find('/') == std::string_view::npos;
}

/// Mistral's own layout, beside that of transformers.
bool is_consolidated(std::string_view name) { return name.starts_with("consolidated"); }

/// A list of the shards of weights that are pickles.
bool is_index_of_others(std::string_view name) {
  return name.ends_with(".index.json") && !name.ends_with(".safetensors.index.json");
}

bool is_text(std::string_view name) {
  if (name.starts_with(kTemplates)) return name.ends_with(".jinja");
  if (name.find('/') != std::string_view::npos) return false;
  if (name.ends_with(".json")) return !is_index_of_others(name);
  const auto ends = [&](std::string_view ending) { return name.ends_with(ending); };
  return std::any_of(std::begin(kTextEndings), std::end(kTextEndings), ends) ||
         std::find(std::begin(kTextFiles), std::end(kTextFiles), name) != std::end(kTextFiles);
}

std::string list_of(const Names& names) {
  const size_t shown = std::min(names.size(), kShownNames);
  return fmt::format("{}{}", fmt::join(names.begin(), names.begin() + ptrdiff_t(shown), ", "),
                     shown < names.size() ? fmt::format(" and {} more", names.size() - shown) : "");
}

[[noreturn]] void refuse(const HubName& name, const Names& names) {
  Names gguf, pickles;
  for (const std::string& file : names) {
    if (file.ends_with(".gguf")) gguf.push_back(name.id + "/" + file);
    if (file.ends_with(".bin") || file.ends_with(".pth") || file.ends_with(".pt")) {
      pickles.push_back(file);
    }
  }
  if (!gguf.empty()) {
    fail("{} has GGUF files and no safetensors: name one of them: {}", describe(name),
         list_of(gguf));
  }
  if (!pickles.empty()) {
    fail(
        "{} has no safetensors, but {}, which may hold code and is not read: take a repository or "
        "a revision with safetensors, or convert it with transformers' save_pretrained()",
        describe(name), list_of(pickles));
  }
  fail("{} has no weights: neither *.safetensors nor *.gguf", describe(name));
}

/// "model-00001-of-00003.gguf" is "model-"; empty where it is no part of several.
std::string stem_of_part(std::string_view file) {
  constexpr std::string_view kPattern = "00001-of-00003.gguf";
  if (file.size() < kPattern.size()) return "";
  const std::string_view end = file.substr(file.size() - kPattern.size());
  for (size_t i = 0; i < kPattern.size(); ++i) {
    const bool digit = kPattern[i] >= '0' && kPattern[i] <= '9';
    if (digit ? end[i] < '0' || end[i] > '9' : end[i] != kPattern[i]) return "";
  }
  return std::string(file.substr(0, file.size() - kPattern.size()));
}

Names gguf_files(const HubName& name, const Names& names) {
  if (std::find(names.begin(), names.end(), name.file) == names.end()) {
    Names others;
    for (const std::string& file : names) {
      if (file.ends_with(".gguf")) others.push_back(file);
    }
    fail("{} has no file {}; {}", describe(name), name.file,
         others.empty() ? "it has no GGUF files" : "it has " + list_of(others));
  }
  const std::string stem = stem_of_part(name.file);
  Names chosen;
  for (const std::string& file : names) {
    const bool part = !stem.empty() && stem_of_part(file) == stem;
    if (file == name.file || part) chosen.push_back(file);
  }
  return chosen;
}

}  // namespace

Names files_of_model(const HubName& name, const Names& names) {
  if (!name.file.empty()) return gguf_files(name, names);
  const auto is_usual = [](const std::string& file) {
    return is_weights(file) && !is_consolidated(file);
  };
  const bool usual = std::any_of(names.begin(), names.end(), is_usual);
  Names chosen;
  bool weights = false;
  for (const std::string& file : names) {
    if (usual && is_consolidated(file)) continue;
    if (is_weights(file) || is_text(file)) chosen.push_back(file);
    weights = weights || is_weights(file);
  }
  if (!weights) refuse(name, names);
  return chosen;
}

std::string hub_model(const HubName& name, Console& console) {
  const std::string folder = hub_snapshot_of(
      name, [&](const Names& names) { return files_of_model(name, names); }, console);
  return name.file.empty() ? folder : folder + "/" + name.file;
}

}  // namespace tessera::launch
