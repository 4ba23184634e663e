#include "lora/adapter/peft.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>
#include <unordered_map>

#include "lora/model/checkpoint.h"
#include "runtime/core/dtype.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/pickle.h"
#include "runtime/io/printable.h"
#include "runtime/io/safetensors.h"

namespace tessera::lora {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "base_model.model.";

/// What the names of a text model's modules begin with, in adapters of the text model alone, and of
/// a model with more than text in transformers 5 and 4.
constexpr std::string_view kTextPrefixes[] = {"model.", "model.language_model.",
                                              "language_model.model."};
constexpr std::string_view kInnerHead = "language_model.lm_head.weight";

/// A tensor of the file, and what it is of the set's.
struct Stored {
  std::string name;
  Segment segment;
};

/// The tensors of a whole adapter, under the names that they have in a file.
std::vector<Stored> stored_tensors(std::span<const Segment> segments, const StoredNames& names,
                                   bool ties_head) {
  std::vector<Stored> all;
  const auto add = [&](std::string_view name, const Segment& segment) {
    all.push_back({fmt::format("{}{}", kPrefix, names.of(name)), segment});
  };
  for (const Segment& segment : segments) add(segment.name, segment);
  // The last segment is the embedding, which PEFT writes under both names. (No rows of it are
  // behind it then: see select_tokens().)
  if (ties_head) add(kHeadWeight, segments.back());
  return all;
}
std::vector<Stored> stored_tensors(const AdapterSet& adapters) {
  return stored_tensors(adapters.segments(), {}, adapters.ties_head());
}

/// How an adapter of a text model is named in a file.
StoredNames names_in(const io::SafetensorsFile& file, const ModelSpec& model) {
  const auto is_there = [&](std::string_view name) {
    const std::string begin = fmt::format("{}{}", kPrefix, name);
    return std::ranges::any_of(file.entries(), [&](const io::SafetensorsEntry& entry) {
      return entry.name.starts_with(begin);
    });
  };
  const auto has_layers = [&](std::string_view prefix) {
    return is_there(fmt::format("{}layers.", prefix));
  };
  StoredNames names{.prefix = model.prefix, .stored = model.prefix};
  if (!has_layers(model.prefix)) {
    const auto known = std::ranges::find_if(kTextPrefixes, has_layers);
    if (known != std::end(kTextPrefixes)) names.stored = *known;
  }
  if (is_there(kInnerHead)) names.head = kInnerHead;
  return names;
}

/// The first names of a list, so that a message stays one readable line.
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += (i ? ", " : "") + names[i];
  }
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// The layer in a stored name; -1 where there is none.
int64_t layer_of(std::string_view name, const ModelSpec& model) {
  int64_t layer = -1;
  const std::string path = layers_path(model);
  for (std::string_view prefix : {kPrefix, std::string_view(path)}) {
    if (!name.starts_with(prefix)) return -1;
    name.remove_prefix(prefix.size());
  }
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  return error == std::errc() ? layer : -1;
}

void read_tensor(const io::SafetensorsFile& file, const io::SafetensorsEntry& entry,
                 std::span<float> out) {
  std::vector<std::byte> values(entry.bytes);
  file.read(entry, values);
  to_floats(io::safetensors_dtype(entry.dtype).value(), values, out);
}

/// Whether a tensor belongs to an adapter that adds nothing to another part of the model than the
/// text model. PEFT puts one on every module of a name, and where only text was trained, the B of
/// the others is still zero.
bool adds_nothing(const io::SafetensorsFile& file, const io::SafetensorsEntry& entry,
                  const ModelSpec& model) {
  const std::string of_text = fmt::format("{}{}", kPrefix, model.prefix);
  if (!entry.name.starts_with(kPrefix) || entry.name.starts_with(of_text)) return false;
  if (entry.name.ends_with(".lora_A.weight")) return true;
  const std::optional<DType> dtype = io::safetensors_dtype(entry.dtype);
  if (!entry.name.ends_with(".lora_B.weight") || !dtype || !is_float(*dtype)) return false;
  std::vector<float> values(entry.bytes / size_of(*dtype));
  read_tensor(file, entry, values);
  return std::ranges::all_of(values, [](float x) { return x == 0.0f; });
}

/// Every tensor of the table is in the file with its shape and a float dtype, and nothing else is.
void check_tensors(const io::SafetensorsFile& file, std::span<const Stored> tensors,
                   const ModelSpec& model) {
  std::unordered_map<std::string, const Segment*> wanted;
  for (const Stored& tensor : tensors) wanted.emplace(tensor.name, &tensor.segment);
  std::vector<std::string> unexpected;
  for (const io::SafetensorsEntry& entry : file.entries()) {
    const auto it = wanted.find(entry.name);
    if (it == wanted.end()) {
      if (adds_nothing(file, entry, model)) continue;
      const int64_t layer = layer_of(entry.name, model);
      if (layer >= model.layer_count()) {
        fail("{}: {} is for layer {}, but the model has {} layers; it is another model's adapter",
             file.path(), io::printable(entry.name), layer, model.layer_count());
      }
      unexpected.push_back(io::printable(entry.name));
      continue;
    }
    const int64_t shape[] = {it->second->rows, it->second->cols};
    if (!std::ranges::equal(entry.shape, shape)) {
      fail("{}: {} has shape {}, but the model and the adapter's r need {}", file.path(),
           entry.name, shape_text(entry.shape), shape_text(shape));
    }
    const std::optional<DType> dtype = io::safetensors_dtype(entry.dtype);
    if (!dtype || !is_float(*dtype)) {
      fail("{}: {} has dtype {}; supported are F32, F16 and BF16", file.path(), entry.name,
           entry.dtype);
    }
    wanted.erase(it);
  }
  if (!wanted.empty()) {
    std::vector<std::string> missing;
    for (const Stored& tensor : tensors) {
      if (wanted.contains(tensor.name)) missing.push_back(tensor.name);
    }
    const std::string also =
        unexpected.empty() ? "" : fmt::format("; not part of the adapter: {}", listed(unexpected));
    fail("{}: missing {}{}", file.path(), listed(missing), also);
  }
  if (!unexpected.empty()) {
    fail("{}: not part of the adapter that {} describes: {}", file.path(), kPeftConfigFile,
         listed(unexpected));
  }
}

void check_finite(std::string_view source, std::string_view name, std::span<const float> values) {
  const auto bad = std::ranges::find_if(values, [](float x) { return !std::isfinite(x); });
  if (bad != values.end()) {
    fail("{}: {} holds {} at element {}; an adapter must be finite", source, name, *bad,
         bad - values.begin());
  }
}

std::span<const float> values_of(const AdapterSet& adapters, const Segment& segment) {
  return adapters.params().subspan(segment.offset, segment.elements());
}

/// What was written is read back from the file system and compared byte by byte.
void verify(const std::string& folder, const PeftConfig& config, const AdapterSet& adapters) {
  const io::SafetensorsFile file((fs::path(folder) / kPeftWeightsFile).string());
  const std::vector<Stored> tensors = stored_tensors(adapters);
  bool same = peft_config_text(read_peft_config(folder)) == peft_config_text(config) &&
              file.entries().size() == tensors.size();
  std::vector<float> stored;
  for (const auto& [name, segment] : tensors) {
    const io::SafetensorsEntry* entry = same ? file.find(name) : nullptr;
    stored.resize(segment.elements());
    same = entry && io::safetensors_dtype(entry->dtype) == DType::kF32 &&
           entry->bytes == stored.size() * sizeof(float);
    if (!same) break;
    file.read(*entry, std::as_writable_bytes(std::span(stored)));
    same = std::memcmp(stored.data(), values_of(adapters, segment).data(), entry->bytes) == 0;
    if (!same) break;
  }
  if (!same) {
    fail("{}: the adapter read back differs from what was written; check the disk", folder);
  }
}

bool holds(const fs::path& path, std::string_view text) {
  std::error_code error;
  return fs::file_size(path, error) == text.size() && !error &&
         io::read_file(path.string(), text.size()) == text;
}

/// A wrong adapter is not a wrong command line.
TrainedParts parts_in(const AdapterOptions& options, const ModelSpec& model) {
  try {
    return trained_parts(options, model);
  } catch (const Error& error) {
    throw Error(error.what());
  }
}

/// Reads one tensor into the set. The same tensor may come twice, under two names.
void read_into(AdapterSet& adapters, const io::SafetensorsFile& file, const Stored& tensor,
               bool again) {
  const auto values = adapters.params().subspan(tensor.segment.offset, tensor.segment.elements());
  const std::vector<float> before(again ? values.begin() : values.end(), values.end());
  read_tensor(file, *file.find(tensor.name), values);
  check_finite(file.path(), tensor.name, values);
  if (again && !std::ranges::equal(before, values)) {
    fail("{}: {} differs from the embedding, though {} says ensure_weight_tying", file.path(),
         tensor.name, kPeftConfigFile);
  }
}

}  // namespace

std::string peft_weights(const std::string& folder) {
  const fs::path weights = fs::path(folder) / kPeftWeightsFile;
  if (io::exists(weights)) return weights.string();
  const fs::path pickle = fs::path(folder) / "adapter_model.bin";
  if (io::exists(pickle)) io::refuse_pickle(pickle.string());
  fail("{}: no {} in it", folder, kPeftWeightsFile);
}

PeftFolder open_peft(const std::string& folder) { return {folder, read_peft_config(folder)}; }

AdapterSet load_peft(const std::string& folder, const ModelSpec& model) {
  return load_peft(open_peft(folder), model);
}

AdapterSet load_peft(const PeftFolder& folder, const ModelSpec& model, Device device) {
  const PeftConfig& config = folder.config;
  const io::SafetensorsFile file(peft_weights(folder.path));
  // Names and patterns of the config are for the paths that modules have in the file.
  const StoredNames names = names_in(file, model);
  ModelSpec in_file = model;
  in_file.prefix = names.stored;
  AdapterOptions options = config.options;
  options.targets.of_more_than_text = names.stored != kTextPrefixes[0];
  TrainedParts parts = parts_in(options, in_file);
  const auto rename = [&](TensorRow& row) {
    if (row.role == Role::kHead) return;
    row.module = model.prefix + row.module.substr(in_file.prefix.size());
  };
  std::ranges::for_each(parts.linears, rename);
  std::ranges::for_each(parts.whole, rename);
  rename(parts.tokens.embedding);
  // Before memory is taken, whose size the config alone decides.
  const bool ties_head = ties_to_embedding(options, parts, model);
  const std::vector<Stored> tensors = stored_tensors(adapter_segments(parts), names, ties_head);
  check_tensors(file, tensors, in_file);

  AdapterSet adapters(model, std::move(options), std::move(parts), device);
  for (const Stored& tensor : tensors) {
    read_into(adapters, file, tensor, ties_head && &tensor == &tensors.back());
  }
  return adapters;
}

void save_peft(const std::string& folder, const AdapterSet& adapters,
               const std::string& base_model) {
  const fs::path weights_path = fs::path(folder) / kPeftWeightsFile;
  const fs::path config_path = fs::path(folder) / kPeftConfigFile;
  std::vector<io::SafetensorsEntry> layout;
  std::unordered_map<std::string, const Segment*> by_name;
  const std::vector<Stored> tensors = stored_tensors(adapters);
  for (const auto& [name, segment] : tensors) {
    check_finite(folder, name, values_of(adapters, segment));
    layout.push_back({.name = name,
                      .dtype = io::safetensors_name(DType::kF32),
                      .shape = {segment.rows, segment.cols}});
    by_name.emplace(name, &segment);
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("cannot make the folder {}: {}", folder, error.message());

  // All bytes are on their way before an older adapter is touched, so a full disk keeps it.
  const PeftConfig config{.options = adapters.plain_options(), .base_model = base_model};
  io::AtomicFile config_file(config_path.string());
  const std::string text = peft_config_text(config);
  config_file.write(text);
  io::SafetensorsWriter weights(weights_path.string(), layout, {{"format", "pt"}});
  for (const io::SafetensorsEntry& entry : weights.entries()) {
    weights.write(entry.name, std::as_bytes(values_of(adapters, *by_name.at(entry.name))));
  }
  // Two files cannot be exchanged at once. Without its config an adapter is not one, so no moment
  // shows the config of one beside the weights of another.
  if (!holds(config_path, text)) {
    fs::remove(config_path, error);
    if (error) fail("cannot replace {}: {}", config_path.string(), error.message());
    io::sync_folder(folder);
  }
  weights.commit();
  config_file.commit();
  verify(folder, config, adapters);
}

}  // namespace tessera::lora
