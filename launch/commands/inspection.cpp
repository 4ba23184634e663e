#include "launch/commands/inspection.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "launch/config/options.h"
#include "launch/text/tokenizer/tokenizer_parts.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "lora/model/families.h"
#include "lora/model/layout.h"
#include "lora/model/loader.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/pickle.h"
#include "runtime/io/safetensors.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;
using Names = std::vector<std::string>;

constexpr size_t kMaxIndex = 1 << 26;
constexpr size_t kMaxTokenizerConfig = 1 << 26;
constexpr std::string_view kWeights = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kSafetensors = ".safetensors";
constexpr std::string_view kGguf = ".gguf";

bool has(const Names& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

Names ending_with(const Names& names, std::string_view end) {
  Names found;
  std::ranges::copy_if(names, std::back_inserter(found),
                       [&](const std::string& name) { return name.ends_with(end); });
  return found;
}

std::string path_in(const std::string& folder, std::string_view name) {
  return (fs::path(folder) / name).string();
}

/// What `use` throws, else nothing.
template <class Use>
std::string fault_of(Use use) {
  try {
    use();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// The files that transformers would load, as far as they are there: the only one, those of the
/// index, or else all. Only names of the folder's own list are ever opened.
Names weight_files(Inspection& found, const Names& names) {
  if (has(names, kWeights)) return {std::string(kWeights)};
  Names files = ending_with(names, kSafetensors);
  std::erase(files, lora::kPeftWeightsFile);
  if (!has(names, kIndex)) return files;
  std::set<std::string> listed;
  const std::string fault = fault_of([&] {
    const json index = io::read_json_file(path_in(found.path, kIndex), kMaxIndex);
    if (!index.is_object() || !index.contains("weight_map")) return;
    for (const json& file : index["weight_map"]) {
      if (file.is_string()) listed.insert(file.get<std::string>());
    }
  });
  if (!fault.empty()) found.notes.push_back(fault);
  if (listed.empty()) return files;
  for (const std::string& name : listed) {
    if (!has(files, name)) found.missing_files.push_back(name);
  }
  std::erase_if(files, [&](const std::string& name) { return !listed.contains(name); });
  return files;
}

/// The ids that a config names, each a list. As in transformers a wrapper's own come first.
ordered_json ids_in(const json& config) {
  ordered_json ids = ordered_json::object();
  const auto text = config.find("text_config");
  for (const char* token : {"bos", "eos", "pad"}) {
    const std::string key = fmt::format("{}_token_id", token);
    for (const json* object : {&config, text == config.end() ? nullptr : &*text}) {
      if (!object || !object->is_object() || ids.contains(token)) continue;
      const json value = object->value(key, json());
      for (const json& id : value.is_array() ? value : json::array({value})) {
        if (id.is_number_integer()) ids[token].push_back(ordered_json(id));
      }
    }
  }
  return ids;
}

ordered_json ids_in(const io::GgufFile& file) {
  ordered_json ids = ordered_json::object();
  constexpr std::pair<const char*, const char*> kIds[] = {
      {"bos", "bos"}, {"eos", "eos"}, {"eos", "eot"}, {"pad", "padding"}};
  for (const auto& [token, key] : kIds) {
    const auto id = number_in(file, fmt::format("tokenizer.ggml.{}_token_id", key));
    if (id && std::ranges::find(ids[token], ordered_json(*id)) == ids[token].end()) {
      ids[token].push_back(*id);
    }
    if (ids[token].is_null()) ids.erase(token);
  }
  return ids;
}

std::string text_at(const json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : "";
}

int64_t parameters_of(const lora::ModelSpec& spec) {
  int64_t count = 0;
  for (const lora::TensorRow& row : lora::tensors_of(spec)) {
    int64_t elements = 1;
    for (const int64_t extent : row.shape) elements *= extent;
    count += elements;
  }
  return count;
}

/// The word before the settings of a format: "NF4".
std::string short_name(const quant::Storage& storage) {
  const std::string text = quant::describe(storage);
  return text.substr(0, text.find(','));
}

/// Opens the model as `train` does; what it says of itself then beats what was found before.
void judge(Inspection& found) {
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(found.path);
  const lora::ModelSpec& spec = checkpoint.spec();
  found.shape = facts_of(spec);
  found.architecture = spec.architecture;
  found.parameters = parameters_of(spec);
  for (const lora::OtherTensor& other : checkpoint.others()) {
    found.other_parameters += elements_of({{other.name, other.dtype, other.shape, other.bytes}});
  }
  for (const lora::TensorInfo& info : checkpoint.tensors()) {
    if (info.quantized) ++found.linears[quant::describe(*info.quantized)];
  }
  const auto& notes = checkpoint.notes();
  found.notes.insert(found.notes.end(), notes.begin(), notes.end());

  const lora::BaseFormat stored = lora::checkpoint_format(checkpoint);
  const lora::BaseFormat held = base_format(quantization(Config()), stored);
  found.stored_so = !stored.linear.format->dtype;
  found.storage = short_name(held.linear);
  found.base_bytes = lora::BaseLayout(spec, held).bytes();
}

/// The spec of a config whose weights cannot be read: the shape is the same however they are
/// quantized.
std::optional<lora::ModelSpec> spec_of(json config, const std::string& source) {
  config.erase("quantization_config");
  try {
    return lora::parse_config(config.dump(), source);
  } catch (const Error&) {
    return std::nullopt;
  }
}

void name_model(Inspection& found, const json& config) {
  const auto names = config.find("architectures");
  if (names != config.end() && names->is_array()) {
    for (const json& name : *names) {
      if (!name.is_string()) continue;
      if (!found.architecture.empty()) found.architecture += ", ";
      found.architecture += name.get<std::string>();
    }
  }
  found.family = text_at(config, "model_type");
  const auto text = config.find("text_config");
  if (text != config.end() && text->is_object() && text->contains("model_type")) {
    found.family = text_at(*text, "model_type");
  }
}

Inspection inspect_model_folder(const std::string& folder, const Names& names) {
  Inspection found{.path = folder, .kind = Inspection::Kind::kModel, .layout = "huggingface"};
  const std::string path = path_in(folder, "config.json");
  const json config = io::read_json_file(path, kMaxConfig);
  if (!config.is_object()) fail("{}: not a JSON object", path);
  name_model(found, config);
  found.token_ids = ids_in(config);
  found.quantization = config.value("quantization_config", json());
  const std::optional<lora::ModelSpec> spec = spec_of(config, path);
  found.shape = spec ? facts_of(*spec) : facts_of_config(config);
  for (const std::string& name : weight_files(found, names)) {
    const std::string fault = add_weight_file(found, folder, name);
    if (!fault.empty()) found.notes.push_back(fault);
  }
  if (spec) {
    found.parameters = parameters_of(*spec);
  } else if (found.quantization.is_null() && found.missing_files.empty() && found.notes.empty() &&
             !found.tensors.empty()) {
    found.parameters = elements_of(found.tensors);
  }
  add_tokenizer(found, folder, names);
  if (has(names, "generation_config.json")) {
    const std::string fault = fault_of([&] {
      const json generation =
          io::read_json_file(path_in(folder, "generation_config.json"), kMaxConfig);
      if (generation.is_object()) found.generation_ids = ids_in(generation);
    });
    if (!fault.empty()) found.notes.push_back(fault);
  }
  found.refusal = fault_of([&] { judge(found); });
  std::erase(found.notes, found.refusal);
  const bool is_named = !found.architecture.empty() || !found.family.empty();
  if (!is_named && found.files.empty()) fail("{}", found.refusal);
  return found;
}

Inspection inspect_gguf(const std::string& path) {
  Inspection found{.path = path, .kind = Inspection::Kind::kModel, .layout = "gguf"};
  io::GgufFile file(path);
  found.architecture = found.family = text_in(file, "general.architecture");
  found.shape = facts_of_metadata(file);
  found.token_ids = ids_in(file);
  found.tokenizer_model = text_in(file, "tokenizer.ggml.model");
  const std::string pre = text_in(file, "tokenizer.ggml.pre");
  if (!pre.empty()) found.tokenizer_model += fmt::format(" ({})", pre);
  found.chat_template = !text_in(file, "tokenizer.chat_template").empty();
  for (const io::GgufTensor& tensor : file.tensors()) {
    found.tensors.push_back(
        {tensor.name, std::string(io::name_of(tensor.type)), tensor.shape, tensor.bytes});
  }
  found.parameters = elements_of(found.tensors);
  for (const io::ReadFile& part : std::move(file).take_files()) {
    found.files.push_back({fs::path(part.path()).filename().string(), part.size()});
  }
  found.refusal = fault_of([&] { judge(found); });
  if (const auto* family = lora::find_family(&lora::Family::architecture, found.architecture)) {
    found.family = family->model_type;
  }
  return found;
}

Inspection inspect_tensors(const std::string& folder, const Names& names) {
  Inspection found{.path = folder, .kind = Inspection::Kind::kTensors, .layout = "safetensors"};
  for (const std::string& name : names) {
    const std::string fault = add_weight_file(found, folder, name);
    if (!fault.empty()) fail("{}", fault);
  }
  found.parameters = elements_of(found.tensors);
  return found;
}

/// A folder with config.json is a model's, unless its only weights are an adapter's.
Inspection inspect_folder(const std::string& folder) {
  const Names names = io::names_in(folder);
  const bool weights = has(names, kWeights) || has(names, kIndex);
  const bool config = has(names, "config.json");
  if (has(names, lora::kPeftConfigFile) && !(config && weights)) return inspect_adapter(folder);
  if (config) return inspect_model_folder(folder, names);
  if (!ending_with(names, kGguf).empty()) {
    Inspection found = inspect_gguf(lora::find_gguf(folder));
    found.path = folder;
    return found;
  }
  const Names files = ending_with(names, kSafetensors);
  if (!files.empty()) {
    Inspection found = inspect_tensors(folder, files);
    found.refusal = fmt::format("{}: there is no config.json, which says what model it is", folder);
    return found;
  }
  for (const std::string& name : names) {
    if (!name.starts_with("checkpoint-")) continue;
    fail("{}: a run without an adapter yet; inspect one of its checkpoints, e.g. {}", folder,
         path_in(folder, name));
  }
  fail(
      "{}: neither a model nor an adapter: it holds no config.json, {}, .gguf or .safetensors file",
      folder, lora::kPeftConfigFile);
}

Inspection inspect_file(const std::string& path) {
  char magic[4] = {};
  {
    const io::ReadFile file(path);
    if (file.size() >= sizeof magic) file.read(0, std::as_writable_bytes(std::span(magic)));
  }
  const std::string_view first(magic, sizeof magic);
  if (first == "GGUF") return inspect_gguf(path);
  if (io::is_pickle(first) || io::has_pickle_name(path)) io::refuse_pickle(path);
  if (!path.ends_with(kSafetensors)) {
    fail(
        "{}: neither a GGUF nor a .safetensors file; give one of those, or a model's or an "
        "adapter's folder",
        path);
  }
  const fs::path file(path);
  Inspection found = inspect_tensors(file.parent_path().string(), {file.filename().string()});
  found.path = path;
  found.refusal = fault_of([&] { lora::Checkpoint::open(path); });
  return found;
}

}  // namespace

uint64_t Inspection::bytes() const {
  uint64_t sum = 0;
  for (const WeightFile& file : files) sum += file.bytes;
  return sum;
}

std::vector<FormatCount> Inspection::formats() const {
  std::map<std::string, FormatCount> by_name;
  for (const TensorLine& tensor : tensors) {
    FormatCount& count = by_name[tensor.format];
    ++count.tensors;
    count.bytes += tensor.bytes;
  }
  std::vector<FormatCount> counts;
  for (auto& [name, count] : by_name) {
    count.format = name;
    counts.push_back(count);
  }
  std::ranges::stable_sort(counts, std::greater(), &FormatCount::bytes);
  return counts;
}

int64_t elements_of(const std::vector<TensorLine>& tensors) {
  int64_t sum = 0;
  for (const TensorLine& tensor : tensors) {
    int64_t elements = 1;
    for (const int64_t extent : tensor.shape) elements *= extent;
    sum += elements;
  }
  return sum;
}

std::string add_weight_file(Inspection& inspection, const std::string& folder,
                            const std::string& name) {
  const std::string path = path_in(folder, name);
  return fault_of([&] {
    inspection.files.push_back({name, io::ReadFile(path).size()});
    const io::SafetensorsFile file(path);
    for (const io::SafetensorsEntry& entry : file.entries()) {
      inspection.tensors.push_back({entry.name, entry.dtype, entry.shape, entry.bytes});
    }
  });
}

void add_tokenizer(Inspection& inspection, const std::string& folder, const Names& names) {
  for (const std::string_view name : kTokenizerFiles) {
    if (has(names, name)) inspection.tokenizer_files.emplace_back(name);
  }
  inspection.chat_template = has(names, "chat_template.jinja") || has(names, "chat_template.json");
  if (inspection.chat_template || !has(names, "tokenizer_config.json")) return;
  const std::string fault = fault_of([&] {
    const json config =
        io::read_json_file(path_in(folder, "tokenizer_config.json"), kMaxTokenizerConfig);
    const json value = config.is_object() ? config.value("chat_template", json()) : json();
    inspection.chat_template = !value.is_null() && !value.empty();
  });
  if (!fault.empty()) inspection.notes.push_back(fault);
}

Inspection inspect_path(const std::string& path) {
  if (!io::exists(path)) fail("{}: no such file or folder", path);
  try {
    return io::is_folder(path) ? inspect_folder(path) : inspect_file(path);
  } catch (const Error& error) {
    throw Error(error.what());  // whatever it is, the command line was right
  }
}

}  // namespace tessera::launch
