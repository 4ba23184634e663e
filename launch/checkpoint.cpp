#include "launch/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "launch/agreement.h"
#include "lora/peft.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/hash.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxStateBytes = size_t{16} << 20;
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";
constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kPrefix = "checkpoint-";

void write_text(const fs::path& path, const std::string& text) {
  io::AtomicFile file(path.string());
  file.write(std::string_view(text));
  file.commit();
}

void write_moments(const fs::path& path, const optim::AdamW& optimizer) {
  const int64_t n = int64_t(optimizer.size());
  io::SafetensorsWriter writer(path.string(),
                               {{"exp_avg", "F32", {n}, 0, 0}, {"exp_avg_sq", "F32", {n}, 0, 0}});
  writer.write("exp_avg", std::as_bytes(optimizer.m()));
  writer.write("exp_avg_sq", std::as_bytes(optimizer.v()));
  writer.commit();
}

void read_moments(const std::string& path, optim::AdamW& optimizer) {
  const io::SafetensorsFile file(path);
  const auto read = [&](const char* name, std::span<float> into) {
    const io::SafetensorsEntry* entry = file.find(name);
    if (!entry || entry->dtype != "F32" || entry->bytes != into.size_bytes()) {
      fail("{}: tensor {} with {} float32 elements expected", path, name, into.size());
    }
    file.read(*entry, std::as_writable_bytes(into));
  };
  read("exp_avg", optimizer.m());
  read("exp_avg_sq", optimizer.v());
}

/// {"files": {name: {"bytes": n, "xxh3": hash}}}
json manifest_of(const fs::path& folder) {
  json files = json::object();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    files[name] = {{"bytes", entry.file_size()}, {"xxh3", io::hash_file(entry.path().string())}};
  }
  return {{"format", 1}, {"files", files}};
}

std::string target_names(const lora::AdapterOptions& options) {
  std::string names;
  for (lora::Site site : options.targets) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", lora::module_name(site));
  }
  return names;
}

void check_identity(const std::string& path, const json& stored, const json& expected) {
  for (const auto& [key, value] : expected.items()) {
    const json was = stored.value(key, json());
    if (was != value) {
      fail_usage(
          "{} was made with {} = {}, but this run has {}; change it back, or start afresh in "
          "another output_dir",
          path, key, was.dump(), value.dump());
    }
  }
}

}  // namespace

void copy_adapter(const lora::AdapterSet& from, lora::AdapterSet& to, const std::string& folder) {
  const lora::AdapterOptions &a = from.options(), &b = to.options();
  const auto require = [&](const char* key, auto theirs, auto ours) {
    if (theirs != ours) {
      fail_usage("the adapter in {} has {} {}, but the config says {}; make them equal", folder,
                 key, theirs, ours);
    }
  };
  require("lora_r", a.r, b.r);
  require("lora_alpha", a.alpha, b.alpha);
  require("use_rslora", a.rslora, b.rslora);
  require("lora_target_modules", target_names(a), target_names(b));
  std::copy(from.params().begin(), from.params().end(), to.params().begin());
}

std::string CheckpointStore::path_of(int64_t step) const {
  return fmt::format("{}/{}{}", dir_, kPrefix, step);
}

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> found;
  if (!fs::is_directory(dir_)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir_)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const std::string digits = name.substr(std::string_view(kPrefix).size());
    if (digits.empty() || digits.size() > 15 ||
        digits.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    found.push_back(std::stoll(digits));
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::string CheckpointStore::save(parallel::Communicator& world, const RunState& state,
                                  const lora::AdapterSet& adapters, const optim::AdamW& optimizer,
                                  const std::string& base_model) const {
  all_or_none(world, [&] {
    if (world.rank() == 0) write(state, adapters, optimizer, base_model);
  });
  return path_of(state.step);
}

void CheckpointStore::write(const RunState& state, const lora::AdapterSet& adapters,
                            const optim::AdamW& optimizer, const std::string& base_model) const {
  const fs::path final_path = path_of(state.step);
  const fs::path temporary = final_path.string() + ".tmp";
  try {
    fs::remove_all(temporary);  // a killed run's leftover
    fs::create_directories(temporary);
    lora::save_peft(temporary.string(), adapters, base_model);
    write_moments(temporary / kOptimizerFile, optimizer);
    const json stored = {
        {"step", state.step}, {"tokens", state.tokens}, {"identity", state.identity}};
    write_text(temporary / kStateFile, stored.dump(2) + "\n");
    write_text(temporary / kManifestFile, manifest_of(temporary).dump(2) + "\n");
    fs::remove_all(final_path);  // the same step, saved again after a resume
    fs::rename(temporary, final_path);
    io::sync_folder(dir_);
    write_text(fs::path(dir_) / "latest", final_path.filename().string() + "\n");
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  const std::vector<int64_t> present = steps();
  for (size_t i = size_t(std::max<int64_t>(keep_, 1)); i < present.size(); ++i) {
    fs::remove_all(path_of(present[i]));
  }
}

void CheckpointStore::verify(const std::string& path) {
  const fs::path folder(path);
  const json manifest = io::read_json_file((folder / kManifestFile).string(), kMaxStateBytes);
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_object()) {
    fail("{}/{} is no manifest", path, kManifestFile);
  }
  const json& files = manifest["files"];
  for (const char* needed :
       {kOptimizerFile, kStateFile, "adapter_model.safetensors", "adapter_config.json"}) {
    if (!files.contains(needed)) fail("{}/{} does not list {}", path, kManifestFile, needed);
  }
  for (const auto& [name, entry] : files.items()) {
    if (name.find('/') != std::string::npos || name == "..") {
      fail("{}/{} lists the path {}", path, kManifestFile, name);
    }
    const std::string file = (folder / name).string();
    if (!fs::is_regular_file(file)) fail("{} is missing", file);
    if (!entry.is_object() || entry.value("bytes", json()) != fs::file_size(file) ||
        entry.value("xxh3", json()) != io::hash_file(file)) {
      fail("{} is damaged: its size or hash is not what {} says", file, kManifestFile);
    }
  }
}

std::optional<std::string> CheckpointStore::newest(std::vector<std::string>& skipped) const {
  for (int64_t step : steps()) {
    const std::string path = path_of(step);
    try {
      verify(path);
      return path;
    } catch (const Error& error) {
      skipped.push_back(fmt::format("skipping {}: {}", path, error.what()));
    }
  }
  return std::nullopt;
}

RunState CheckpointStore::load(const std::string& path, const json& expected,
                               const lora::DecoderConfig& model, lora::AdapterSet& adapters,
                               optim::AdamW& optimizer) {
  if (!fs::is_directory(path)) fail_usage("there is no checkpoint folder {}", path);
  verify(path);
  const fs::path folder(path);
  const std::string state_path = (folder / kStateFile).string();
  const json stored = io::read_json_file(state_path, kMaxStateBytes);
  if (!stored.is_object() || !stored.value("step", json()).is_number_unsigned() ||
      !stored.value("tokens", json()).is_number_unsigned() ||
      !stored.value("identity", json()).is_object()) {
    fail("{} is not the state of a run", state_path);
  }
  check_identity(path, stored["identity"], expected);
  copy_adapter(lora::load_peft(path, model), adapters, path);
  read_moments((folder / kOptimizerFile).string(), optimizer);
  RunState state{stored["step"].get<int64_t>(), stored["tokens"].get<int64_t>(), expected};
  optimizer.set_steps_taken(state.step);
  return state;
}

}  // namespace tessera::launch
