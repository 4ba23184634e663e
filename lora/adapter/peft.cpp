#include "lora/adapter/peft.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>
#include <unordered_map>

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

std::string stored_name(const Segment& segment) { return std::string(kPrefix) + segment.name; }

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
int64_t layer_of(std::string_view name) {
  int64_t layer = -1;
  for (std::string_view prefix : {kPrefix, kLayersPath}) {
    if (!name.starts_with(prefix)) return -1;
    name.remove_prefix(prefix.size());
  }
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  return error == std::errc() ? layer : -1;
}

/// Every tensor of the table is in the file with its shape and a float dtype, and nothing else is.
void check_tensors(const io::SafetensorsFile& file, std::span<const Segment> segments,
                   int64_t layers) {
  std::unordered_map<std::string, const Segment*> wanted;
  for (const Segment& segment : segments) wanted.emplace(stored_name(segment), &segment);
  std::vector<std::string> unexpected;
  for (const io::SafetensorsEntry& entry : file.entries()) {
    const auto it = wanted.find(entry.name);
    if (it == wanted.end()) {
      if (layer_of(entry.name) >= layers) {
        fail("{}: {} is for layer {}, but the model has {} layers; it is another model's adapter",
             file.path(), io::printable(entry.name), layer_of(entry.name), layers);
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
    for (const Segment& segment : segments) {
      if (wanted.contains(stored_name(segment))) missing.push_back(stored_name(segment));
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

void read_tensor(const io::SafetensorsFile& file, const io::SafetensorsEntry& entry,
                 std::span<float> out) {
  std::vector<std::byte> values(entry.bytes);
  file.read(entry, values);
  to_floats(io::safetensors_dtype(entry.dtype).value(), values, out);
}

void check_finite(std::string_view source, const Segment& segment, std::span<const float> values) {
  const auto bad = std::ranges::find_if(values, [](float x) { return !std::isfinite(x); });
  if (bad != values.end()) {
    fail("{}: {} holds {} at element {}; an adapter must be finite", source, stored_name(segment),
         *bad, bad - values.begin());
  }
}

std::span<const float> values_of(const AdapterSet& adapters, const Segment& segment) {
  return adapters.params().subspan(segment.offset, segment.elements());
}

/// What was written is read back from the file system and compared byte by byte.
void verify(const std::string& folder, const PeftConfig& config, const AdapterSet& adapters) {
  const io::SafetensorsFile file((fs::path(folder) / kPeftWeightsFile).string());
  bool same = peft_config_text(read_peft_config(folder)) == peft_config_text(config) &&
              file.entries().size() == adapters.segments().size();
  std::vector<float> stored;
  for (const Segment& segment : adapters.segments()) {
    const io::SafetensorsEntry* entry = same ? file.find(stored_name(segment)) : nullptr;
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
std::vector<TensorRow> select_in(const TargetModules& targets, const ModelSpec& model) {
  try {
    return select_linears(targets, model);
  } catch (const Error& error) {
    throw Error(error.what());
  }
}

}  // namespace

PeftFolder open_peft(const std::string& folder) { return {folder, read_peft_config(folder)}; }

AdapterSet load_peft(const std::string& folder, const ModelSpec& model) {
  return load_peft(open_peft(folder), model);
}

AdapterSet load_peft(const PeftFolder& folder, const ModelSpec& model, Device device) {
  const PeftConfig& config = folder.config;
  const fs::path weights = fs::path(folder.path) / kPeftWeightsFile;
  if (!io::exists(weights)) {
    const fs::path pickle = fs::path(folder.path) / "adapter_model.bin";
    if (io::exists(pickle)) io::refuse_pickle(pickle.string());
    fail("{}: no {} in it", folder.path, kPeftWeightsFile);
  }
  const io::SafetensorsFile file(weights.string());
  // Before memory is taken, whose size the config alone decides.
  const std::vector<TensorRow> linears = select_in(config.options.targets, model);
  check_tensors(file, adapter_segments(linears, config.options.r), model.layer_count());

  AdapterSet adapters(model, config.options, device);
  for (const Segment& segment : adapters.segments()) {
    const auto values = adapters.params().subspan(segment.offset, segment.elements());
    read_tensor(file, *file.find(stored_name(segment)), values);
    check_finite(file.path(), segment, values);
  }
  return adapters;
}

void save_peft(const std::string& folder, const AdapterSet& adapters,
               const std::string& base_model) {
  const fs::path weights_path = fs::path(folder) / kPeftWeightsFile;
  const fs::path config_path = fs::path(folder) / kPeftConfigFile;
  std::vector<io::SafetensorsEntry> layout;
  std::unordered_map<std::string, const Segment*> by_name;
  for (const Segment& segment : adapters.segments()) {
    check_finite(folder, segment, values_of(adapters, segment));
    layout.push_back({.name = stored_name(segment),
                      .dtype = io::safetensors_name(DType::kF32),
                      .shape = {segment.rows, segment.cols}});
    by_name.emplace(stored_name(segment), &segment);
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("cannot make the folder {}: {}", folder, error.message());

  // All bytes are on their way before an older adapter is touched, so a full disk keeps it.
  PeftConfig config{.options = adapters.options(), .base_model = base_model};
  config.options.targets = {.modules = {.names = adapters.target_names()}};
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
