// Adapters on disk, in the folder that PEFT reads and writes: adapter_config.json beside
// adapter_model.safetensors. Where the folder holds a config, the weights beside it are whole and
// belong to it, whenever a save is interrupted. What another model or method needs is refused by
// name, never dropped.
#pragma once

#include <string>
#include <vector>

#include "lora/adapter/adapter.h"

namespace tessera::lora {

inline constexpr std::string_view kPeftConfigFile = "adapter_config.json";
inline constexpr std::string_view kPeftWeightsFile = "adapter_model.safetensors";

/// What adapter_config.json says.
struct PeftConfig {
  AdapterOptions options;
  std::string base_model;  // base_model_name_or_path; may be empty
  // Keys that are set and without a part in what the adapter computes, to be told of: those that
  // are known to have none, and those that are not known at all.
  std::vector<std::string> unneeded = {}, unknown = {};
};

/// Reads folder/adapter_config.json. Throws Error naming the key for a missing or ill-typed one,
/// for another peft_type than LORA, and for every setting whose adapters this program cannot
/// represent.
PeftConfig read_peft_config(const std::string& folder);

/// An adapter on disk, of which the config has been read.
struct PeftFolder {
  std::string path;
  PeftConfig config;
};
/// Error as read_peft_config().
PeftFolder open_peft(const std::string& folder);

/// The path of the weights in an adapter's folder. Error where there are none, or only a pickle.
std::string peft_weights(const std::string& folder);

/// The text of adapter_config.json as PEFT writes it (indent 2, sorted keys), with those keys that
/// all its versions since 0.9 know. Its targets must be names.
std::string peft_config_text(const PeftConfig& config);

/// Reads a whole adapter: float32, or 16 bits widened. Throws Error naming every tensor that is
/// missing or not part of the adapter, wrong shapes (both given), layers that the model lacks, and
/// non-finite values; for target_modules as select_linears(); and for a folder whose weights are a
/// pickle.
/// On a device the caller has still to call to_device().
AdapterSet load_peft(const PeftFolder& folder, const ModelSpec& model,
                     Device device = Device::cpu());
AdapterSet load_peft(const std::string& folder, const ModelSpec& model);

/// Writes the adapter, making the folder where needed; then reads it back and compares. Throws
/// Error for a value that is not finite, before anything is written, and for whatever the system
/// refuses.
void save_peft(const std::string& folder, const AdapterSet& adapters,
               const std::string& base_model);

}  // namespace tessera::lora
