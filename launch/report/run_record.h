// run.json: what a run knows about itself before its first step, for reports. docs/report.md has
// its keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

struct RunRecord {
  struct Fact {
    std::string name = {}, text = {};
  };
  /// What a rank holds, in the plan: a row of its table.
  struct MemoryPart {
    std::string name = {};
    std::string where = {};  // "device", "host" or "disk"
    int64_t bytes = 0;
  };
  struct Dataset {
    std::string path = {};
    std::string type = {};  // empty: not known
    bool evaluated = false;
    int64_t rows = 0;     // read
    int64_t samples = 0;  // kept
    int64_t tokens = 0, learned = 0;
    int64_t dropped_long = 0, truncated = 0, dropped_empty = 0;
  };

  std::string program = {};  // "tessera 0.1.0"
  std::string started = {};  // UTC, of the last start: "2026-11-30T02:03:04Z"
  std::string ended = {};    // likewise; empty while the run is going, and after a crash
  int64_t steps = 0;         // of the whole run
  int64_t memory = 0;        // planned bytes of the rank that holds most, as metrics count them
  std::vector<MemoryPart> memory_parts = {};
  std::vector<Fact> facts = {};  // model, base, machine: each a line for people
  std::vector<Dataset> datasets = {};
};

/// The content of the file.
std::string run_record_json(const RunRecord& record);

/// Error, which names `source`, where `text` is no such content. A key that is left out is empty.
RunRecord read_run_record(std::string_view text, const std::string& source);

}  // namespace tessera::launch
