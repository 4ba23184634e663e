#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "launch/text/tokenizer/sentencepiece_classes.h"
#include "launch/text/tokenizer/sentencepiece_model.h"
#include "launch/text/tokenizer/tekken_file.h"
#include "launch/text/tokenizer/tiktoken_file.h"
#include "launch/text/tokenizer/tokenizer_chat_templates.h"
#include "launch/text/tokenizer/tokenizer_class.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "launch/text/tokenizer/tokenizer_parts.h"
#include "launch/text/tokenizer/tokenizer_special_tokens.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The folder of chat templates beside the one that holds where none is named.
constexpr const char* kOtherTemplates = "additional_chat_templates";

/// What a value names, whether it is a token's text, a token with flags, or a list of either.
json content_of(const json& value) {
  if (value.is_object() && value.contains("content")) return value["content"];
  if (!value.is_array()) return value;
  json contents = json::array();
  for (const json& item : value) contents.push_back(content_of(item));
  return contents;
}

/// The older key of special tokens becomes the newer one where that has none.
void rename_older(json& config) {
  if (!config.contains(kOlderExtraTokens) || !config.value(kExtraTokens, json()).empty()) return;
  config[kExtraTokens] = config[kOlderExtraTokens];
  config.erase(kOlderExtraTokens);
}

/// Whether the config's value of `key` stays: transformers takes names of its own out before it
/// reads special_tokens_map.json, and does not use the older key beside a list of the newer one.
bool config_holds(const json& config, const std::string& key) {
  if (key == kOlderExtraTokens) {
    return config.contains(kExtraTokens) && !config[kExtraTokens].is_object();
  }
  return key.ends_with("_token") && config.value(key, json()).is_string() &&
         std::ranges::find(kTokenNames, key) == kTokenNames.end();
}

/// Adds the further special tokens of special_tokens_map.json to those of the config. Of a token
/// that both list, the map's flags hold: it comes first. False where the map's value replaces all.
bool join_extra(const json& value, TokenizerJson& out) {
  json& own = out.config[kExtraTokens];
  if (own.is_array() && value.is_array()) {
    own.insert(own.begin(), value.begin(), value.end());
  } else if (own.is_object() && value.is_object()) {
    own.update(value);
  } else if (own.is_object() && value.is_array()) {
    out.config[kOlderExtraTokens] = value;
    out.mapped.insert(kOlderExtraTokens);
  } else {
    return false;
  }
  return true;
}

/// transformers reads special_tokens_map.json only where tokenizer_config.json has no
/// "added_tokens_decoder"; most of its keys then hold.
void take_special_tokens_map(const json& map, TokenizerJson& out) {
  if (!map.is_object()) fail("{} must be a JSON object", out.map_source);
  const bool read = !out.config.contains("added_tokens_decoder");
  if (read) rename_older(out.config);
  std::map<std::string, std::vector<std::string>> differing;  // keys by what becomes of them
  for (const auto& [key, value] : map.items()) {
    const bool kept = read && config_holds(out.config, key);
    const bool taken = read && !kept;
    const json own =
        out.config.value(kept && key == kOlderExtraTokens ? kExtraTokens : key, json());
    if (taken && key == kExtraTokens && join_extra(value, out)) continue;
    if (content_of(own) != content_of(value) && !(taken && own.is_null())) {
      differing[taken  ? "is taken from here, not from " + out.config_source
                : kept ? "is taken from " + out.config_source + ", not from here"
                       : "is not used beside added_tokens_decoder"]
          .push_back(io::printable(key));
    }
    if (!taken) continue;
    out.config[key] = value;
    out.mapped.insert(key);
  }
  for (const auto& [fate, keys] : differing) {
    out.notes.push_back(
        fmt::format("{}: {} {}, as in transformers", out.map_source, fmt::join(keys, ", "), fate));
  }
}

/// The end of text that the model's own files name; of several the first.
void take_model_eos(const fs::path& folder, TokenizerJson& out) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string path = (folder / name).string();
    if (!io::exists(path)) continue;
    const auto ids = end_token_ids(io::read_json_file(path, kLargestTokenizerFile), path);
    if (ids.empty()) continue;
    out.model_eos = ids.front();
    out.model_eos_source = name;
    return;
  }
}

/// Templates in files of their own hold over those of the config, all of them, as in
/// transformers 5. That of processors, chat_template.json, holds where there is no other.
void take_chat_templates(const fs::path& folder, TokenizerJson& out) {
  const auto text_of = [](const fs::path& path) {
    std::string text = io::read_file(path.string(), kLargestTokenizerFile);
    if (find_invalid_utf8(text)) fail("{} is not valid UTF-8", path.string());
    return text;
  };
  ChatTemplates templates;
  const fs::path jinja = folder / "chat_template.jinja";
  if (io::exists(jinja)) templates["default"] = text_of(jinja);
  const fs::path others = folder / kOtherTemplates;
  if (io::is_folder(others)) {
    for (const std::string& name : io::names_in(others)) {
      if (!name.ends_with(".jinja")) continue;
      templates[name.substr(0, name.size() - 6)] = text_of(others / name);
    }
  }
  const std::string processor = (folder / "chat_template.json").string();
  const bool config_has_one = !out.config.value("chat_template", json()).is_null();
  if (templates.empty() && !config_has_one && io::exists(processor)) {
    const json of_processor = io::read_json_file(processor, kLargestTokenizerFile);
    if (!of_processor.is_object()) fail("{} must be a JSON object", processor);
    templates = read_chat_templates(of_processor, processor);
  }
  if (templates.empty()) return;
  out.config["chat_template"] = chat_templates_json(templates);
  if (!io::is_folder(others)) return;
  // The files beside an adapter have no folder of their own: there the config holds all templates.
  std::erase_if(out.files, [](const auto& file) { return file.first == "chat_template.jinja"; });
  put_config_file(out);
}

/// The vocabulary of a folder without tokenizer.json: the file's name, empty for none.
std::string vocabulary_file(const fs::path& folder) {
  for (const char* name :
       {"tekken.json", "tokenizer.model", "spiece.model", "tokenizer.model.v3", "tiktoken.model"}) {
    if (io::exists(folder / name)) return name;
  }
  std::string found;
  for (const std::string& name : io::names_in(folder)) {
    if (!name.ends_with(".tiktoken")) continue;
    if (!found.empty()) {
      fail("{}: {} and {} are both vocabularies; keep the one of the model", folder.string(),
           io::printable(found), io::printable(name));
    }
    found = name;
  }
  return found;
}

void take_vocabulary(const fs::path& folder, TokenizerJson& out) {
  const std::string name = vocabulary_file(folder);
  if (name.empty()) {
    fail("{}: there is no tokenizer.json, and no tokenizer.model, tekken.json or tiktoken file",
         folder.string());
  }
  out.tokenizer_source = (folder / name).string();
  const std::string content = io::read_file(out.tokenizer_source, kLargestTokenizerFile);
  if (name == "tekken.json") {
    take_tekken(io::parse_json(content, out.tokenizer_source), out);
  } else {
    const std::string path = (folder / "config.json").string();
    json model = json::object();
    if (io::exists(path)) model = io::read_json_file(path, kLargestTokenizerFile);
    if (!model.is_object()) fail("{} must be a JSON object", path);
    const std::string class_name = tokenizer_class_of(out.config, model);
    if (is_sentencepiece_model(content)) {
      take_sentencepiece(parse_sentencepiece_model(content, out.tokenizer_source), class_name, out);
    } else {
      take_tiktoken(content, class_name, out);
    }
  }
  put_tokenizer_file(out);
  put_config_file(out);
}

}  // namespace

TokenizerJson read_tokenizer_folder(const std::string& path) {
  const fs::path folder = path;
  const auto at = [&](std::string_view name) { return (folder / name).string(); };
  TokenizerJson out;
  for (const std::string_view name : kTokenizerFiles) {
    if (!io::exists(at(name))) continue;
    out.files.emplace_back(name, io::read_file(at(name), kLargestTokenizerFile));
  }
  const auto text = [&](const char* name) -> const std::string* {
    for (const auto& [file, content] : out.files) {
      if (file == name) return &content;
    }
    return nullptr;
  };
  const auto parse = [&](const char* name) { return io::parse_json(*text(name), at(name)); };
  out.config_source = at("tokenizer_config.json");
  if (text("tokenizer_config.json")) out.config = parse("tokenizer_config.json");
  if (!out.config.is_object()) fail("{} must be a JSON object", out.config_source);
  out.map_source = at("special_tokens_map.json");
  if (text("special_tokens_map.json")) {
    take_special_tokens_map(parse("special_tokens_map.json"), out);
  }
  if (text("added_tokens.json") && !out.config.contains("added_tokens_decoder")) {
    out.added_tokens_source = at("added_tokens.json");
    out.added_tokens = parse("added_tokens.json");
  }
  take_chat_templates(folder, out);
  if (text("tokenizer.json")) {
    out.tokenizer_source = at("tokenizer.json");
    out.tokenizer = parse("tokenizer.json");
  } else {
    take_vocabulary(folder, out);
  }
  if (out.config.value("eos_token", json()).is_null()) take_model_eos(folder, out);
  return out;
}

}  // namespace tessera::launch
