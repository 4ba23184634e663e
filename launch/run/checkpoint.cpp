#include "launch/run/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iterator>

#include "launch/machine/agreement.h"
#include "launch/plan/optimizer_state.h"
#include "launch/report/run_files.h"
#include "lora/adapter/peft.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/hash.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 2;
constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kLatestFile = "latest";
constexpr const char* kUnfinished = ".tmp";
constexpr const char* kPackerKey = "packer";

/// {"bytes": n, "xxh3": hash}
json sealed(const std::string& file) {
  return {{"bytes", io::ReadFile(file).size()}, {"xxh3", io::hash_file(file)}};
}

/// The setting to change where a part of the identity is not one itself.
std::string_view setting_of(std::string_view key) {
  if (key == "base_hash") return " (by base_model)";
  if (key == "data_hash")
    return " (by datasets, val_set_size, the tokenizer, or a date in the chat template)";
  if (key == "compute_dtype") return " (by bnb_4bit_compute_dtype)";
  if (key == "micro_batches_per_step") return " (by global_batch_size)";
  if (key == "total_steps") return " (by max_steps, num_epochs and the data)";
  if (key == "optimizer_bits") return " (by optimizer)";
  return "";
}

/// The first key in which the identities differ; empty where they are those of one run. The rule
/// decides which options there are, so it comes first.
std::string difference(const json& stored, const json& expected) {
  constexpr const char* kRule = "optimizer";
  const auto same = [&](const char* key) {
    return stored.value(key, json()) == expected.value(key, json());
  };
  if (!same(kRule)) return kRule;
  // Another packer is the cause of other numbers; without packing there is none.
  if (same("sample_packing") && same("shuffle") && !same(kPackerKey)) return kPackerKey;
  for (const auto& [key, value] : expected.items()) {
    if (key != kPackerKey && stored.value(key, json()) != value) return key;
  }
  for (const auto& [key, value] : stored.items()) {
    if (!expected.contains(key)) return key;
  }
  return "";
}

void check_identity(const std::string& path, const json& stored, const json& expected) {
  const std::string key = difference(stored, expected);
  if (key.empty()) return;
  if (key == kPackerKey) {
    fail_usage(
        "{} was made by a version of this program that packs rows otherwise; end that run with the "
        "version that began it, or start afresh in another output_dir",
        path);
  }
  fail_usage(
      "{} was made with {} = {}, but this run has {}; change it back{}, or start afresh in another "
      "output_dir",
      path, key, stored.value(key, json()).dump(), expected.value(key, json()).dump(),
      setting_of(key));
}

/// state.json of the checkpoint in `path`.
json read_state(const std::string& path) {
  const std::string file = (fs::path(path) / kStateFile).string();
  json stored = io::read_json_file(file, kMaxStateBytes);
  if (!stored.is_object() || !stored.value("step", json()).is_number_unsigned() ||
      !stored.value("tokens", json()).is_number_unsigned() ||
      !stored.value("identity", json()).is_object()) {
    fail("{} is not the state of a run", file);
  }
  return stored;
}

/// The first few names of a set's linears, so that a message stays readable.
std::string targets_of(const lora::AdapterSet& adapters) {
  constexpr size_t kShown = 8;
  std::vector<std::string> names = adapters.target_names();
  const size_t more = names.size() - std::min(names.size(), kShown);
  names.resize(names.size() - more);
  return fmt::format("{}{}", fmt::join(names, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

void require_same_linears(const lora::AdapterSet& from, const lora::AdapterSet& to,
                          const std::string& folder) {
  std::vector<lora::TensorRow> one_sided;
  std::ranges::set_symmetric_difference(from.linears(), to.linears(), std::back_inserter(one_sided),
                                        {}, &lora::TensorRow::number, &lora::TensorRow::number);
  if (one_sided.empty()) return;
  fail_usage(
      "the adapter in {} has lora_target_modules {}, but the config says {} (they differ in {}); "
      "make them equal",
      folder, targets_of(from), targets_of(to), one_sided.front().module);
}

/// Of sets with the same linears.
void require_same_sizes(const lora::AdapterSet& from, const lora::AdapterSet& to,
                        const std::string& folder) {
  for (size_t i = 0; i < to.linears().size(); ++i) {
    const auto &theirs = from.parts().sizes[i], &ours = to.parts().sizes[i];
    if (theirs == ours) continue;
    fail_usage(
        "the adapter in {} has r {} and alpha {} for {}, but the config says {} and {}; make "
        "lora_rank_pattern and lora_alpha_pattern equal",
        folder, theirs.r, theirs.alpha, to.linears()[i].module, ours.r, ours.alpha);
  }
}

/// "embed_tokens, lm_head", or "none".
std::string whole_of(const lora::AdapterSet& adapters) {
  std::vector<std::string_view> names;
  for (const lora::TensorRow& row : adapters.parts().whole) names.push_back(row.own_name());
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

/// "3, 9, 1", or "none".
std::string tokens_of(const lora::AdapterSet& adapters) {
  const std::vector<int32_t>& ids = adapters.parts().tokens.ids;
  return ids.empty() ? "none" : fmt::format("{}", fmt::join(ids, ", "));
}

json to_json(const LossScale& scale) {
  return {{"factor", scale.factor}, {"good_steps", scale.good_steps}, {"skipped", scale.skipped}};
}

json to_json(const EvaluationRecord& record) {
  return {{"best", *record.best},
          {"best_step", record.best_step},
          {"without_gain", record.without_gain}};
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
  require_same_linears(from, to, folder);
  require_same_sizes(from, to, folder);
  require("lora_modules_to_save", whole_of(from), whole_of(to));
  require("lora_ensure_weight_tying", from.ties_head(), to.ties_head());
  require("lora_trainable_token_indices", tokens_of(from), tokens_of(to));
  std::copy(from.params().begin(), from.params().end(), to.params().begin());
}

std::string CheckpointStore::path_of(int64_t step) const {
  return fmt::format("{}/{}{}", dir_, kCheckpointPrefix, step);
}

std::vector<int64_t> CheckpointStore::steps_with(std::string_view ending) const {
  std::vector<int64_t> found;
  if (!io::is_folder(dir_)) return found;
  for (const std::string& name : io::names_in(dir_)) {
    if (!name.starts_with(kCheckpointPrefix)) continue;
    int64_t step = -1;
    std::from_chars(name.data() + kCheckpointPrefix.size(), name.data() + name.size(), step);
    // "checkpoint-best" and "checkpoint-007" are not ours.
    if (step >= 0 && name == fmt::format("{}{}{}", kCheckpointPrefix, step, ending))
      found.push_back(step);
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::vector<int64_t> CheckpointStore::steps() const { return steps_with(""); }

void CheckpointStore::remove_unfinished() const {
  for (int64_t step : steps_with(kUnfinished)) io::remove_all(path_of(step) + kUnfinished);
}

void CheckpointStore::clear() {
  io::remove_all(dir_ + "/" + kLatestFile);  // first, so that it never names what is gone
  for (int64_t step : steps()) io::remove_all(path_of(step));
  remove_unfinished();
  whole_.clear();
}

std::string CheckpointStore::save(parallel::Communicator& world, const RunState& state,
                                  const TrainedState& trained) {
  const std::string final_path = path_of(state.step);
  const std::string temporary = final_path + kUnfinished;
  const bool leads = world.rank() == 0;
  try {
    all_or_none(world, [&] {
      if (!leads) return;
      remove_unfinished();
      io::make_folders(temporary);
      lora::save_peft(temporary, trained.adapters, trained.base_model);
      json stored = {{"step", state.step}, {"tokens", state.tokens}, {"identity", state.identity}};
      if (state.scale.dynamic) stored["loss_scale"] = to_json(state.scale);
      if (state.evaluations.best) stored["evaluations"] = to_json(state.evaluations);
      if (state.high_losses > 0) stored["high_losses"] = state.high_losses;
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
  whole_.insert(state.step);
  return final_path;
}

void CheckpointStore::publish(const std::string& temporary, const std::string& final_path,
                              const std::vector<std::string>& part_seals) const {
  json files = json::object();
  for (const std::string& seal : part_seals) files.update(json::parse(seal));
  for (const std::string& name : io::names_in(temporary)) {
    if (!is_optimizer_part(name)) files[name] = sealed(temporary + "/" + name);
  }
  const json manifest = {{"format", kFormat}, {"files", files}};
  io::write_file(temporary + "/" + kManifestFile, manifest.dump(2) + "\n");
  io::replace_folder(temporary, final_path);  // the same step may be saved again after a resume
  io::sync_folder(dir_);
  io::write_file(dir_ + "/" + kLatestFile, fs::path(final_path).filename().string() + "\n");
}

std::vector<int64_t> CheckpointStore::excess(int64_t step, std::optional<int64_t> best) {
  const std::vector<int64_t> present = steps();
  const auto most = size_t(std::max<int64_t>(keep_, 1));
  std::vector<int64_t> damaged, whole;
  if (present.size() <= most) return {};
  for (auto older = present.rbegin(); older != present.rend(); ++older) {
    if (*older == step || *older == best) continue;
    try {
      require_whole(*older);
      whole.push_back(*older);
    } catch (const Error&) {
      damaged.push_back(*older);
    }
  }
  damaged.insert(damaged.end(), whole.begin(), whole.end());
  damaged.resize(std::min(damaged.size(), present.size() - most));
  return damaged;
}

std::vector<std::string> CheckpointStore::rotate(int64_t step, std::optional<int64_t> best) {
  std::vector<std::string> lines;
  const auto attempt = [&](FunctionRef<void()> work) {
    try {
      work();
    } catch (const Error& error) {
      lines.push_back(error.what());
    }
  };
  std::vector<int64_t> victims;
  attempt([&] { victims = excess(step, best); });
  for (int64_t victim : victims) {
    whole_.erase(victim);
    attempt([&] { io::remove_all(path_of(victim)); });
  }
  return lines;
}

void CheckpointStore::require_whole(int64_t step) {
  if (whole_.contains(step)) return;
  verify(path_of(step));
  whole_.insert(step);
}

void CheckpointStore::require_folder(const std::string& path) {
  if (!io::is_folder(path)) fail_usage("there is no checkpoint folder {}", path);
  const CheckpointStore inside(path, 1);
  if (const std::vector<int64_t> steps = inside.steps(); !steps.empty()) {
    fail_usage("{} is the folder of a run; name one of its checkpoints, e.g. {}", path,
               inside.path_of(steps.front()));
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
  for (std::string_view needed : {kStateFile, lora::kPeftWeightsFile, lora::kPeftConfigFile}) {
    if (!files.contains(std::string(needed)))
      fail("{}/{} does not list {}", path, kManifestFile, needed);
  }
  for (const auto& [name, entry] : files.items()) {
    if (name.find('/') != std::string::npos || name == "..") {
      fail("{}/{} lists the path {}", path, kManifestFile, name);
    }
    const std::string file = (folder / name).string();
    const uint64_t bytes = io::ReadFile(file).size();
    if (!entry.is_object() || entry.value("bytes", json()) != bytes ||
        entry.value("xxh3", json()) != io::hash_file(file)) {
      fail("{} is damaged: its size or hash is not what {} says", file, kManifestFile);
    }
  }
}

std::optional<std::string> CheckpointStore::newest(std::vector<std::string>& skipped) {
  for (int64_t step : steps()) {
    const std::string path = path_of(step);
    try {
      require_whole(step);
      return path;
    } catch (const Error& error) {
      skipped.push_back(fmt::format("skipping {}: {}", path, error.what()));
    }
  }
  return std::nullopt;
}

void CheckpointStore::require_no_other_run(const json& identity) {
  for (int64_t step : steps()) {
    json stored;
    try {
      stored = read_state(path_of(step))["identity"];
      if (difference(stored, identity).empty()) continue;
      require_whole(step);
    } catch (const Error&) {
      continue;  // nobody goes on from it, whoever made it
    }
    check_identity(path_of(step), stored, identity);
  }
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

/// Of the state stored in the checkpoint; none is that of a run without scaling.
LossScale loss_scale_of(const json& stored, const std::string& path) {
  const json scale = stored.value("loss_scale", json());
  if (scale.is_null()) return {};
  if (!scale.is_object() || !scale.value("factor", json()).is_number() ||
      !scale.value("good_steps", json()).is_number_unsigned() ||
      !scale.value("skipped", json()).is_number_unsigned()) {
    fail("{}/{} has no valid loss_scale", path, kStateFile);
  }
  return {.dynamic = true,
          .factor = scale["factor"],
          .good_steps = scale["good_steps"],
          .skipped = scale["skipped"]};
}

/// Likewise; none is that of a run that has evaluated nothing.
EvaluationRecord evaluations_of(const json& stored, const std::string& path) {
  const json record = stored.value("evaluations", json());
  if (record.is_null()) return {};
  if (!record.is_object() || !record.value("best", json()).is_number() ||
      !record.value("best_step", json()).is_number_unsigned() ||
      !record.value("without_gain", json()).is_number_unsigned()) {
    fail("{}/{} has no valid evaluations", path, kStateFile);
  }
  return {.best = record["best"],
          .best_step = record["best_step"],
          .without_gain = record["without_gain"]};
}

int64_t high_losses_of(const json& stored, const std::string& path) {
  const json count = stored.value("high_losses", json(0u));
  if (!count.is_number_unsigned()) fail("{}/{} has no valid high_losses", path, kStateFile);
  return count;
}

}  // namespace

RunState CheckpointStore::load(const std::string& path, const json& expected,
                               const lora::ModelSpec& model, TrainedState into) {
  verify(path);
  const json stored = read_state(path);
  check_identity(path, stored["identity"], expected);
  copy_adapter(lora::load_peft(path, model), into.adapters, path);
  read_optimizer_parts(parts_of(path), into.optimizer);
  RunState state{.step = stored["step"],
                 .tokens = stored["tokens"],
                 .scale = loss_scale_of(stored, path),
                 .evaluations = evaluations_of(stored, path),
                 .high_losses = high_losses_of(stored, path),
                 .identity = expected};
  into.optimizer.optimizer.set_steps_taken(state.step - state.scale.skipped);
  return state;
}

}  // namespace tessera::launch
