// The run that an adapter came from, as far as the files beside the adapter tell, and the format of
// the base that follows from it: an adapter means what it does only over the base it was trained
// on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/model.h"

namespace tessera::launch {

struct AdapterRun {
  std::optional<Config> config;  // config.resolved.yml; empty for an adapter from elsewhere
  bool finished = true;          // false when state.json says that the run is not at its end

  /// `adapter` is a run's output_dir, a checkpoint inside one, or any PEFT folder. Error when there
  /// is no such folder, or when a file beside the adapter is damaged.
  static AdapterRun of(const std::string& adapter);
};

/// How the base is to be held. `settings` are the load_in_4bit and bnb_4bit_* of the command line,
/// each "key=value"; where load_in_4bit is given they decide, else the adapter's run does, and
/// without one the base stays as stored. Error (usage) as for the same keys in a config.
BaseChoice choose_base(const std::optional<std::string>& adapter,
                       const std::vector<std::string>& settings);

}  // namespace tessera::launch
