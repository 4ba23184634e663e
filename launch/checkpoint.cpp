#include "launch/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "launch/agreement.h"
#include "lora/peft.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/hash.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxStateBytes = size_t{16} << 20;
constexpr int kFormat = 2;
constexpr const char* kStateFile = "state.json";
constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kPrefix = "checkpoint-";
constexpr const char* kUnfinished = ".tmp";

/// {"bytes": n, "xxh3": hash}
json sealed(const fs::path& file) {
  return {{"bytes", fs::file_size(file)}, {"xxh3", io::hash_file(file.string())}};
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

json to_json(const LossScale& scale) {
  return {{"factor", scale.factor}, {"good_steps", scale.good_steps}, {"skipped", scale.skipped}};
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

void CheckpointStore::remove_unfinished() const {
  if (!fs::is_directory(dir_)) return;
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kUnfinished)) found.push_back(entry.path());
  }
  for (const fs::path& path : found) fs::remove_all(path);
}

std::string CheckpointStore::save(parallel::Communicator& world, const RunState& state,
                                  const TrainedState& trained) const {
  const std::string final_path = path_of(state.step);
  const std::string temporary = final_path + kUnfinished;
  const bool leads = world.rank() == 0;
  try {
    all_or_none(world, [&] {
      if (!leads) return;
      remove_unfinished();
      fs::create_directories(temporary);
      lora::save_peft(temporary, trained.adapters, trained.base_model);
      json stored = {{"step", state.step}, {"tokens", state.tokens}, {"identity", state.identity}};
      if (state.scale.dynamic) stored["loss_scale"] = to_json(state.scale);
      io::write_file(fs::path(temporary) / kStateFile, stored.dump(2) + "\n");
    });
    const std::string part = optimizer_part_name(world.rank(), world.size());
    json seal;
    all_or_none(world, [&] {
      const std::string path = temporary + "/" + part;
      write_optimizer_part(path, trained.optimizer,
                           state_slice(trained.adapters.size(), world.rank(), world.size()));
      seal = {{part, sealed(path)}};
    });
    const std::vector<std::string> seals = gather_texts(world, seal.dump());
    all_or_none(world, [&] {
      if (leads) publish(temporary, final_path, seals);
    });
  } catch (...) {
    std::error_code ignored;
    if (leads) fs::remove_all(temporary, ignored);
    throw;
  }
  return final_path;
}

void CheckpointStore::publish(const std::string& temporary, const std::string& final_path,
                              const std::vector<std::string>& part_seals) const {
  json files = json::object();
  for (const std::string& seal : part_seals) files.update(json::parse(seal));
  for (const fs::directory_entry& entry : fs::directory_iterator(temporary)) {
    const std::string name = entry.path().filename().string();
    if (!is_optimizer_part(name)) files[name] = sealed(entry.path());
  }
  const json manifest = {{"format", kFormat}, {"files", files}};
  io::write_file(fs::path(temporary) / kManifestFile, manifest.dump(2) + "\n");
  io::replace_folder(temporary, final_path);  // the same step may be saved again after a resume
  io::sync_folder(dir_);
  io::write_file(fs::path(dir_) / "latest", fs::path(final_path).filename().string() + "\n");
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
  if (manifest.value("format", json()) != kFormat) {
    fail("{}/{}: format {} expected, found {}", path, kManifestFile, kFormat,
         manifest.value("format", json()).dump());
  }
  const json& files = manifest["files"];
  for (const char* needed : {kStateFile, "adapter_model.safetensors", "adapter_config.json"}) {
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

namespace {

/// The optimizer's parts that the manifest lists, in order.
std::vector<std::string> parts_of(const fs::path& folder) {
  const json manifest = io::read_json_file((folder / kManifestFile).string(), kMaxStateBytes);
  std::vector<std::string> parts;
  for (const auto& [name, entry] : manifest["files"].items()) {  // sorted by name
    if (is_optimizer_part(name)) parts.push_back((folder / name).string());
  }
  return parts;
}

/// Of a stored state; none is that of a run without scaling.
LossScale loss_scale_of(const json& stored, const std::string& path) {
  const json scale = stored.value("loss_scale", json());
  if (scale.is_null()) return {};
  if (!scale.is_object() || !scale.value("factor", json()).is_number() ||
      !scale.value("good_steps", json()).is_number_unsigned() ||
      !scale.value("skipped", json()).is_number_unsigned()) {
    fail("{} has no valid loss_scale", path);
  }
  return {.dynamic = true,
          .factor = scale["factor"],
          .good_steps = scale["good_steps"],
          .skipped = scale["skipped"]};
}

}  // namespace

RunState CheckpointStore::load(const std::string& path, const json& expected,
                               const lora::DecoderConfig& model, const TrainedState& trained) {
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
  copy_adapter(lora::load_peft(path, model), trained.adapters, path);
  read_optimizer_parts(parts_of(folder), trained.optimizer);
  RunState state{.step = stored["step"],
                 .tokens = stored["tokens"],
                 .scale = loss_scale_of(stored, state_path),
                 .identity = expected};
  trained.optimizer.optimizer.set_steps_taken(state.step - state.scale.skipped);
  return state;
}

}  // namespace tessera::launch
