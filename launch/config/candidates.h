// The configs that `tessera search` compares. One file describes all of them: search_ranks and the
// keys with a list of values where the key takes one value (Flag::searched), in all combinations.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "launch/config/config.h"

namespace tessera::launch {

/// A run that a search compares with others.
struct Candidate {
  /// Of the whole run. Its search_ranks are empty, and output_dir is that of the search.
  Config config;
  /// The keys in which candidates differ, with the values of this one as a config has them. lora_r
  /// stands for lora_alpha, too, which follows from it.
  std::vector<std::pair<std::string, std::string>> differs;

  /// "lora_r=8,learning_rate=0.0002": of its own among the candidates, and the name of a folder.
  std::string name() const;
};

struct SearchConfig {
  /// As the keys search_steps and search_tolerance.
  double steps, tolerance;
  /// At least one. Ranks change first, and rise.
  std::vector<Candidate> candidates;
};

/// Reads a config as load_config() does. Error (usage) as there, and where a list is empty or has a
/// value twice, where there is nothing to validate on, and for more than kMostCandidates.
SearchConfig load_search(const std::string& path, std::span<const std::string> overrides);

inline constexpr size_t kMostCandidates = 256;

}  // namespace tessera::launch
