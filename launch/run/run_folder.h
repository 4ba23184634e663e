// The folder a run writes to: what may be there before, what lies there after. It has one owner: a
// run holds its lock (run.lock) from the first look to the end.
#pragma once

#include <optional>
#include <string>

#include "launch/config/config.h"
#include "launch/console/progress.h"
#include "launch/report/run_record.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "parallel/communicator.h"
#include "runtime/core/function_ref.h"
#include "runtime/io/lock_file.h"

namespace tessera::launch {

class RunFolder {
 public:
  /// Checks, before anything expensive, that output_dir can be written, belongs to no run that is
  /// still going, and holds no other run (unless resuming or overwriting). Error with the cure.
  /// Collective: rank 0 looks, writes and holds the lock; where it throws, all ranks do.
  RunFolder(const Config& config, parallel::Communicator& world, Console& console);

  /// Whether a run that ends after `step` steps has ended here and left its adapter. Collective.
  bool finished(int64_t step) const;
  /// Whether the user wants what is there replaced.
  bool overwrites() const { return config_.overwrite_output_dir; }
  /// Removes what an older run has left. Collective.
  void clear() const;
  /// What run.json is to say, but for when the run started and ended. Before begin().
  void set_record(RunRecord record) { record_ = std::move(record); }
  /// Writes `resolved` as config.resolved.yml, the tokenizer's files and run.json for a run that
  /// begins after `step`; removes an older run if `resolved` says so. Collective.
  void begin(const Config& resolved, const TokenizerFiles& tokenizer, int64_t step);
  /// Writes in run.json that the run has ended, and in state.json how far it came and whether it
  /// finished. Collective.
  void end(int64_t step, bool finished);

 private:
  void prepare(Console& console);
  void take_lock(Console& console);
  void remove_older_run() const;
  void write_start(const Config& resolved, const TokenizerFiles& tokenizer) const;
  void write_record() const;
  void write_state(int64_t step, bool finished) const;
  bool holds_finished(int64_t step) const;
  /// On rank 0 alone; where it throws there, all ranks do.
  void on_first_rank(FunctionRef<void()> work) const;

  const Config& config_;
  parallel::Communicator& world_;
  RunRecord record_;
  std::optional<io::LockFile> lock_;
};

}  // namespace tessera::launch
