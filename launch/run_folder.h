// The folder a run writes to: what may be there before, what lies there after.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launch/config.h"
#include "launch/data/dataset.h"
#include "launch/data/tokenizer.h"
#include "lora/adapter.h"

namespace tessera::launch {

class RunFolder {
 public:
  /// Checks, before anything expensive, that output_dir can be written and holds no other run
  /// (unless resuming or overwriting). Error with the cure.
  explicit RunFolder(const Config& config);

  /// Writes config.resolved.yml and the tokenizer's files, removes an older run if told to.
  void begin(const std::optional<Tokenizer>& tokenizer) const;
  /// Writes state.json: how far the run came and whether it finished.
  void end(int64_t step, bool finished) const;

 private:
  const Config& config_;
};

/// Everything that changes what a run computes, as flat keys: a resume must find the same.
nlohmann::json run_identity(const Config& config, int64_t total_steps, uint64_t base_hash,
                            uint64_t data_hash);

/// ", 3 too long (dropped)" and the like; empty when nothing was lost.
std::string describe_losses(const DatasetCounts& counts);

/// The first adapter tensor whose gradient holds an infinity or NaN, by name.
std::string first_non_finite(const lora::AdapterSet& adapters, std::span<const float> grads);

}  // namespace tessera::launch
