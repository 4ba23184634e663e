// The run that an adapter came from, as far as the files beside the adapter tell, and the format of
// the base that follows from it: an adapter means what it does only over the base it was trained
// on.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/config/config.h"
#include "lora/model/base_weights.h"

namespace tessera::launch {

struct AdapterRun {
  /// The quantization keys of its config.resolved.yml, all else at its default: an adapter may be
  /// used on another machine than its run's. Empty for an adapter from elsewhere.
  std::optional<Config> base;
  bool finished = true;  // false when state.json says that the run is not at its end

  /// `adapter` is a run's output_dir, a checkpoint inside one, or any PEFT folder. Error when there
  /// is no such folder, or when a file beside the adapter is damaged. `settings`, "key=value", win
  /// over the run's.
  static AdapterRun of(const std::string& adapter, const std::vector<std::string>& settings);
};

/// A warning where the run was over a 16-bit base and the one now used is `stored` in 4 bits; else
/// nothing.
std::string other_base_warning(const AdapterRun& run, const std::string& base_model,
                               const lora::BaseFormat& stored);

/// Whether a key of a config says how the base is held and computed with. All other keys of a run
/// are its own: the machine it was on, its data, its folders.
bool is_of_base(std::string_view key);

/// A config whose quantization keys say how the base is to be held. `settings` are the load_in_4bit
/// and bnb_4bit_* of the command line, each "key=value": where load_in_4bit is given they alone
/// decide, else they amend the config of the adapter's run, and without a run the base stays as
/// stored. Error (usage) as for the same keys in a config.
Config base_config(const std::optional<std::string>& adapter,
                   const std::vector<std::string>& settings);

}  // namespace tessera::launch
