// Checkpoints of a run: output_dir/checkpoint-N holds the adapter (PEFT's format), the optimizer's
// state in one part per rank, and state.json, sealed by manifest.json (size and hash of each file).
// A checkpoint appears by one rename, so it is whole or absent; `latest` names the newest. Reading
// trusts nothing that the manifest does not vouch for. Any number of ranks reads what any other
// wrote.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launch/run/evaluation_record.h"
#include "launch/run/loss_scale.h"
#include "launch/run/optimizer_parts.h"
#include "lora/adapter/adapter.h"
#include "parallel/communicator.h"

namespace tessera::launch {

/// Of state.json.
inline constexpr size_t kMaxStateBytes = size_t{16} << 20;
/// What the name of a checkpoint's folder begins with, before the step.
inline constexpr std::string_view kCheckpointPrefix = "checkpoint-";

/// What a run is at a step boundary, beside the adapter and the moments.
struct RunState {
  int64_t step = 0;    // finished steps
  int64_t tokens = 0;  // trained on so far
  LossScale scale;
  EvaluationRecord evaluations;
  int64_t high_losses = 0;  // steps in a row above loss_watchdog_threshold
  /// Everything that changes the result (data, base, batch sizes, hyper-parameters): flat
  /// key/value.
  nlohmann::json identity;
};

/// What training changes.
struct TrainedState {
  lora::AdapterSet& adapters;
  StoredOptimizer optimizer;
  const std::string& base_model;  // for the adapter's config
};

class CheckpointStore {
 public:
  CheckpointStore(std::string output_dir, int64_t keep)
      : dir_(std::move(output_dir)), keep_(keep) {}

  /// Writes checkpoint-<state.step> and names it in `latest`. Returns its path.
  /// Collective: each rank writes its part. An Error (a full disk, say) comes on all ranks, and
  /// leaves the older checkpoints as they were.
  std::string save(parallel::Communicator& world, const RunState& state,
                   const TrainedState& trained);

  /// Removes checkpoints until `keep` are left: first those that do not verify, then the oldest,
  /// never that of `step`, which was just saved, nor that of `best`. Gives a line for each that
  /// cannot be removed.
  std::vector<std::string> rotate(int64_t step, std::optional<int64_t> best);

  /// Where the checkpoint of `step` lies or would lie.
  std::string path_of(int64_t step) const;

  /// The newest checkpoint that verifies; `skipped` gets a line for each newer one that does not.
  std::optional<std::string> newest(std::vector<std::string>& skipped);

  /// Error (usage) naming a checkpoint that a run with another identity has left here.
  void require_no_other_run(const nlohmann::json& identity);

  /// Removes all checkpoints, whole or not.
  void clear();

  /// Restores all from `path` into what `into` refers to, after verifying it. Error when a file is
  /// damaged, or when the stored identity differs from `expected`: the key and both values.
  static RunState load(const std::string& path, const nlohmann::json& expected,
                       const lora::ModelSpec& model, TrainedState into);

  /// Error (usage) where `path` is no folder, or that of a whole run. Reads nothing.
  static void require_folder(const std::string& path);

  /// Error saying which file of the checkpoint is missing or damaged.
  static void verify(const std::string& path);

  /// Step numbers of the checkpoints present, whole or not, newest first.
  std::vector<int64_t> steps() const;

 private:
  /// Of the folders checkpoint-<step><ending>.
  std::vector<int64_t> steps_with(std::string_view ending) const;
  /// What a killed run left half-written, of any step.
  void remove_unfinished() const;
  void publish(const std::string& temporary, const std::string& final_path,
               const std::vector<std::string>& part_seals) const;
  /// What rotate() removes, in its order.
  std::vector<int64_t> excess(int64_t step, std::optional<int64_t> best);
  /// As verify(); each checkpoint is read once.
  void require_whole(int64_t step);

  std::string dir_;
  int64_t keep_;
  std::set<int64_t> whole_;  // written or verified by this process
};

/// Copies the parameters of an adapter that was read from `folder`. Error (usage) naming both
/// values when rank, scaling or targets differ.
void copy_adapter(const lora::AdapterSet& from, lora::AdapterSet& to, const std::string& folder);

}  // namespace tessera::launch
