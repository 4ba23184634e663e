// Names of the files that a run leaves in its folder, for those who write and those who read them.
// docs/formats.md says what they hold.
#pragma once

#include <string_view>

namespace tessera::launch {

/// What was measured, and the answers to sample_prompts: JSON Lines.
inline constexpr std::string_view kMetricsFile = "metrics.jsonl";
inline constexpr std::string_view kSamplesFile = "samples.jsonl";
/// The config of the run with every key.
inline constexpr std::string_view kResolvedConfigFile = "config.resolved.yml";
/// A RunRecord.
inline constexpr std::string_view kRunRecordFile = "run.json";
/// How far the run came; also in each of its checkpoints.
inline constexpr std::string_view kStateFile = "state.json";

/// A folder in that of a search: in it a folder for each candidate with its CandidateResult, and
/// what they come to together.
inline constexpr std::string_view kSearchFolder = "search";
inline constexpr std::string_view kCandidateResultFile = "result.json";
inline constexpr std::string_view kSearchResultFile = "search.json";

}  // namespace tessera::launch
