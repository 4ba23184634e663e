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

/// The config of a run with every key, in its folder.
inline constexpr std::string_view kResolvedConfigFile = "config.resolved.yml";

class RunFolder {
 public:
  /// Checks, before anything expensive, that output_dir can be written, belongs to no run that is
  /// still going, and holds no other run (unless resuming or overwriting). Error with the cure.
  /// Collective: rank 0 looks, writes and holds the lock; where it throws, all ranks do.
  RunFolder(const Config& config, parallel::Communicator& world, Console& console);

  /// Whether a run that ends after `step` steps has ended here and left its adapter. Collective.
  bool finished(int64_t step) const;
  /// Writes `resolved` as config.resolved.yml and the tokenizer's files for a run that begins after
  /// `step`; removes an older run if told to.
  void begin(const Config& resolved, const TokenizerFiles& tokenizer, int64_t step) const;
  /// Writes run.json. Collective.
  void write_record(const RunRecord& record) const;
  /// Writes state.json: how far the run came and whether it finished.
  void end(int64_t step, bool finished) const;

 private:
  void prepare(Console& console);
  void take_lock(Console& console);
  void remove_older_run() const;
  void write_start(const Config& resolved, const TokenizerFiles& tokenizer) const;
  void write_state(int64_t step, bool finished) const;
  bool holds_finished(int64_t step) const;
  /// On rank 0 alone; where it throws there, all ranks do.
  void on_first_rank(FunctionRef<void()> work) const;

  const Config& config_;
  parallel::Communicator& world_;
  std::optional<io::LockFile> lock_;
};

}  // namespace tessera::launch
