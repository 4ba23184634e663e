#include "launch/commands/inspect.h"

#include <algorithm>

#include "launch/commands/arguments.h"
#include "launch/commands/inspection.h"
#include "launch/console/progress.h"
#include "launch/machine/ranks.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using io::printable;
using nlohmann::json;
using nlohmann::ordered_json;
using Kind = Inspection::Kind;

constexpr size_t kShownNames = 3;
constexpr size_t kReasonLength = 1000;

/// Of quantization_config: what is worth a line.
constexpr const char* kQuantizationKeys[] = {"load_in_4bit",
                                             "load_in_8bit",
                                             "bnb_4bit_quant_type",
                                             "bnb_4bit_use_double_quant",
                                             "bits",
                                             "group_size",
                                             "desc_act",
                                             "version",
                                             "format",
                                             "weight_block_size",
                                             "activation_scheme"};

std::string text_of(const json& value) {
  return printable(value.is_string() ? value.get<std::string>() : io::json_text(value));
}

/// Whether a setting says something.
bool is_set(const ordered_json& value) {
  return !value.is_null() && value != false && !(value.is_structured() && value.empty());
}

std::string sizes_of(uint64_t bytes) { return format_bytes(int64_t(bytes)); }

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", printable(name));
  }
  return text;
}

std::string kind_text(const Inspection& found) {
  if (found.layout == "gguf") return found.files.size() > 1 ? "a split GGUF model" : "a GGUF file";
  return found.layout == "huggingface" ? "a Hugging Face folder" : "safetensors";
}

std::string quantization_text(const json& config) {
  if (!config.is_object()) return config.is_null() ? "" : text_of(config);
  std::string text = text_of(config.value("quant_method", json("no quant_method")));
  const char* between = ": ";
  for (const char* key : kQuantizationKeys) {
    const json value = config.value(key, json());
    if (!is_set(value)) continue;
    text += fmt::format("{}{}{}", between, key, value == true ? "" : " " + text_of(value));
    between = ", ";
  }
  return text;
}

std::string tensors_text(const Inspection& found) {
  if (found.tensors.empty()) return "";
  std::vector<std::string> parts;
  for (const FormatCount& count : found.formats()) {
    parts.push_back(fmt::format("{} {} ({})", format_count(count.tensors), count.format,
                                sizes_of(count.bytes)));
  }
  return fmt::format("{}: {}", format_count(int64_t(found.tensors.size())), fmt::join(parts, ", "));
}

std::string files_text(const Inspection& found) {
  const size_t count = found.files.size();
  if (count == 0) return "none with weights";
  return fmt::format("{}, {}",
                     count == 1 ? printable(found.files.front().name)
                                : fmt::format("{} with weights", format_count(int64_t(count))),
                     sizes_of(found.bytes()));
}

std::string missing_text(const Inspection& found) {
  std::vector<std::string> names = found.missing_files;
  const size_t more = names.size() > kShownNames ? names.size() - kShownNames : 0;
  names.resize(names.size() - more);
  if (names.empty()) return "";
  return fmt::format("missing: {}{}", joined(names), more ? fmt::format(" and {} more", more) : "");
}

std::string tokenizer_text(const Inspection& found) {
  const bool model = found.kind == Kind::kModel;
  std::string text = joined(found.tokenizer_files);
  if (!found.tokenizer_model.empty()) text = "in the file: " + printable(found.tokenizer_model);
  if (text.empty()) return model ? "none" : "";
  return text + (found.chat_template ? "; with a chat template" : "; no chat template");
}

/// "bos 1, eos 2 and 3"
std::string ids_text(const ordered_json& ids) {
  std::vector<std::string> parts;
  for (const auto& [token, list] : ids.items()) {
    std::vector<std::string> numbers;
    for (const ordered_json& id : list) numbers.push_back(id.dump());
    parts.push_back(fmt::format("{} {}", token, fmt::join(numbers, " and ")));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string tokens_text(const Inspection& found) {
  const std::string config = ids_text(found.token_ids);
  const std::string generation = ids_text(found.generation_ids);
  if (generation.empty() || generation == config) return config;
  return config +
         fmt::format("{}generation_config.json: {}", config.empty() ? "" : "; ", generation);
}

std::string verdict_text(const Inspection& found) {
  if (!found.refusal.empty()) return "no: " + printable(found.refusal, kReasonLength);
  if (found.kind == Kind::kAdapter) {
    return "yes, to continue: base_model = its base, lora_model_dir = this folder";
  }
  return fmt::format("yes, {} ({} of base weights)",
                     found.stored_so ? fmt::format("in {} as it is stored", found.storage)
                                     : fmt::format("quantized to {} while loading", found.storage),
                     sizes_of(found.base_bytes.value_or(0)));
}

std::string parameters_text(const Inspection& found) {
  if (!found.parameters) {
    return found.quantization.is_null() ? "" : "not known: the weights are packed";
  }
  std::string text = format_count(*found.parameters);
  if (found.other_parameters > 0) {
    text += fmt::format(", and {} beside the text model", format_count(found.other_parameters));
  }
  return text;
}

/// "r 16, alpha 32, rslora: scale 8"
std::string rank_text(const ordered_json& adapter) {
  std::string text =
      fmt::format("r {}, alpha {}", text_of(adapter["r"]), text_of(adapter["alpha"]));
  for (const char* key : {"rslora", "dora"}) {
    if (adapter[key] == true) text += fmt::format(", {}", key);
  }
  if (adapter["scale"].is_number()) {
    text += fmt::format(": scale {:.6g}", adapter["scale"].get<double>());
  }
  for (const char* key : {"rank_pattern", "alpha_pattern", "dropout"}) {
    if (is_set(adapter[key]) && adapter[key] != 0) {
      text += fmt::format(", {} {}", key, text_of(adapter[key]));
    }
  }
  return text;
}

/// Names, or the regular expression that selects them.
std::string modules_text(const ordered_json& value) {
  if (!value.is_array()) return is_set(value) ? text_of(value) : "";
  std::vector<std::string> names;
  for (const ordered_json& name : value) names.push_back(text_of(name));
  return fmt::format("{}", fmt::join(names, ", "));
}

/// "3 of embed_tokens", of a list of ids or a map from modules to lists.
std::string tokens_text(const ordered_json& value) {
  if (value.is_array()) return fmt::format("{} of embed_tokens", value.size());
  if (!value.is_object()) return text_of(value);
  std::vector<std::string> parts;
  for (const auto& [module, ids] : value.items()) {
    parts.push_back(fmt::format("{} of {}", ids.size(), printable(module)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

void add_adapter_rows(const Inspection& found, std::vector<ReportRow>& rows) {
  const ordered_json& adapter = found.adapter;
  rows.push_back({"adapter", fmt::format("{}, a PEFT folder", text_of(adapter["peft_type"]))});
  rows.push_back(
      {"base", is_set(adapter["base_model"]) ? text_of(adapter["base_model"]) : "not named"});
  rows.push_back({"rank", rank_text(adapter)});
  rows.push_back({"targets", modules_text(adapter["targets"])});
  if (is_set(adapter["excluded"])) {
    rows.push_back({"", "but for " + modules_text(adapter["excluded"])});
  }
  const auto layers = adapter["layers"].get<std::vector<int64_t>>();
  if (!layers.empty()) {
    rows.push_back(
        {"layers", fmt::format("{}; {} linears", layers_text(layers), adapter["linears"].dump())});
  }
  if (is_set(adapter["modules_to_save"])) {
    rows.push_back({"saved", modules_text(adapter["modules_to_save"]) + " (modules_to_save)"});
  }
  if (const ordered_json& tokens = adapter["trainable_token_indices"]; is_set(tokens)) {
    rows.push_back({"tokens", tokens_text(tokens) + " (trainable_token_indices)"});
  }
  if (adapter["step"].is_number()) {
    rows.push_back({"run", fmt::format("step {}{}", adapter["step"].dump(),
                                       adapter["finished"] == true ? ", finished" : "")});
  }
  if (!found.unknown_keys.empty()) {
    rows.push_back({"unknown", joined(found.unknown_keys) + " (keys of adapter_config.json)"});
  }
  if (!found.unneeded_keys.empty()) {
    rows.push_back({"no effect", joined(found.unneeded_keys) + " (keys of adapter_config.json)"});
  }
}

std::vector<ReportRow> rows_of(const Inspection& found) {
  std::vector<ReportRow> rows;
  switch (found.kind) {
    case Kind::kModel: {
      const std::string name = found.architecture.empty() ? "unknown" : found.architecture;
      rows.push_back(
          {"model",
           fmt::format("{}{}, {}", printable(name),
                       found.family.empty() ? "" : fmt::format(" ({})", printable(found.family)),
                       kind_text(found))});
      const std::vector<ReportRow> shape = report_rows(found.shape);
      rows.insert(rows.end(), shape.begin(), shape.end());
      break;
    }
    case Kind::kAdapter:
      add_adapter_rows(found, rows);
      break;
    case Kind::kTensors:
      rows.push_back({"tensors", "without a config, " + kind_text(found)});
      break;
  }
  rows.push_back({"parameters", parameters_text(found)});
  rows.push_back({"files", files_text(found)});
  rows.push_back({"", missing_text(found)});
  rows.push_back({"formats", tensors_text(found)});
  for (const auto& [format, count] : found.linears) {
    rows.push_back({"", fmt::format("{} linears in {}", format_count(count), format)});
  }
  rows.push_back({"quantized", quantization_text(found.quantization)});
  rows.push_back({"tokenizer", tokenizer_text(found)});
  rows.push_back({"token ids", tokens_text(found)});
  for (const std::string& note : found.notes)
    rows.push_back({"note", printable(note, kReasonLength)});
  rows.push_back({"train", verdict_text(found)});
  std::erase_if(rows, [](const ReportRow& row) { return row.text.empty(); });
  return rows;
}

std::string tensor_table(const Inspection& found) {
  size_t name = 0, format = 0, shape = 0;
  struct Line {
    std::string name, format, shape, bytes;
  };
  std::vector<Line> lines;
  for (const TensorLine& tensor : found.tensors) {
    const Line& line = lines.emplace_back(Line{printable(tensor.name), tensor.format,
                                               fmt::format("[{}]", fmt::join(tensor.shape, ", ")),
                                               format_count(int64_t(tensor.bytes))});
    name = std::max(name, line.name.size());
    format = std::max(format, line.format.size());
    shape = std::max(shape, line.shape.size());
  }
  std::string text = "\n";
  for (const Line& line : lines) {
    text += fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>14}\n", line.name, name, line.format, format,
                        line.shape, shape, line.bytes);
  }
  return text;
}

std::string as_text(const Inspection& found, bool tensors) {
  std::string text;
  for (const ReportRow& row : rows_of(found))
    text += fmt::format("{:<11} {}\n", row.label, row.text);
  return tensors ? text + tensor_table(found) : text;
}

const char* key_of(Kind kind) {
  switch (kind) {
    case Kind::kModel:
      return "model";
    case Kind::kAdapter:
      return "adapter";
    case Kind::kTensors:
      break;
  }
  return "tensors";
}

/// Null where it is empty.
ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

template <class T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json adapter_json(const Inspection& found) {
  if (found.kind != Kind::kAdapter) return nullptr;
  ordered_json adapter = found.adapter;
  adapter["unknown_keys"] = found.unknown_keys;
  adapter["unneeded_keys"] = found.unneeded_keys;
  return adapter;
}

ordered_json list_of(const std::vector<TensorLine>& tensors) {
  ordered_json list = ordered_json::array();
  for (const TensorLine& tensor : tensors) {
    list.push_back({{"name", tensor.name},
                    {"format", tensor.format},
                    {"shape", tensor.shape},
                    {"bytes", tensor.bytes}});
  }
  return list;
}

std::string as_json(const Inspection& found, bool tensors) {
  ordered_json files = ordered_json::array(), formats = files, linears = files;
  for (const WeightFile& file : found.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}});
  }
  for (const FormatCount& count : found.formats()) {
    formats.push_back(
        {{"format", count.format}, {"tensors", count.tensors}, {"bytes", count.bytes}});
  }
  for (const auto& [format, count] : found.linears) {
    linears.push_back({{"format", format}, {"linears", count}});
  }
  const bool model = found.kind == Kind::kModel;
  ordered_json root = {
      {"path", found.path},
      {"kind", key_of(found.kind)},
      {"layout", found.layout},
      {"architecture", text_or_null(found.architecture)},
      {"family", text_or_null(found.family)},
      {"shape", model ? sizes_json(found.shape) : nullptr},
      {"details", details_json(found.shape)},
      {"adapter", adapter_json(found)},
      {"parameters", or_null(found.parameters)},
      {"other_parameters", found.other_parameters},
      {"files", files},
      {"missing_files", found.missing_files},
      {"bytes", found.bytes()},
      {"tensors", found.tensors.size()},
      {"formats", formats},
      {"linears_in_4_bits", linears},
      {"quantization_config", ordered_json(found.quantization)},
      {"tokenizer",
       {{"files", found.tokenizer_files},
        {"model", text_or_null(found.tokenizer_model)},
        {"chat_template", found.chat_template}}},
      {"token_ids", {{"config", found.token_ids}, {"generation_config", found.generation_ids}}},
      {"notes", found.notes},
      {"train",
       {{"possible", found.refusal.empty()},
        {"reason", text_or_null(found.refusal)},
        {"base_format", text_or_null(found.storage)},
        {"base_bytes", or_null(found.base_bytes)}}}};
  if (tensors) root["tensor_list"] = list_of(found.tensors);
  return io::json_text(root, 2) + "\n";
}

}  // namespace

std::string inspect(const InspectOptions& options) {
  const Inspection found = inspect_path(options.path);
  return options.json ? as_json(found, options.tensors) : as_text(found, options.tensors);
}

void declare_inspect(CLI::App* command, int&) {
  auto options = std::make_shared<InspectOptions>();
  add_path(command, "path", options->path,
           "A model's or an adapter's folder, a .gguf or a .safetensors file")
      ->required();
  command->add_flag("--json", options->json, "As one JSON object");
  command->add_flag("--tensors", options->tensors, "List every tensor: format, shape, bytes");
  command->footer(
      "\nReads configs and the headers of files, not the weights. The last line says whether "
      "`tessera\ntrain` takes it. The exit code is 0 also where it does not.\n\n"
      "Example: tessera inspect models/llama-3.1-8b");
  command->callback([options] {
    require_alone("inspect");
    write_stdout(inspect(*options));
  });
}

}  // namespace tessera::launch
