#include "launch/report/run_history.h"

#include <sys/stat.h>

#include <cmath>
#include <ctime>
#include <filesystem>
#include <limits>

#include "launch/report/run_files.h"
#include "runtime/core/error.h"
#include "runtime/core/function_ref.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kKeys[kMetrics] = {"loss",   "grad_norm",  "learning_rate",
                                              "epoch",  "tokens",     "tokens_per_second",
                                              "memory", "gather_wait"};
constexpr size_t kMostMetricsBytes = size_t{2} << 30;
constexpr size_t kMostSampleBytes = size_t{64} << 20;
constexpr size_t kMostSmallBytes = size_t{1} << 20;
constexpr int64_t kMostSteps = 1'000'000'000;
/// Beyond it a value is no measurement, and arithmetic with it may overflow.
constexpr double kMostValue = 1e30;
constexpr size_t kNamedFaults = 3;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Faults of a file's lines, of which the first are told.
class LineFaults {
 public:
  explicit LineFaults(std::vector<std::string>& notes) : notes_(notes) {}
  ~LineFaults() {
    if (count_ > kNamedFaults) {
      notes_.push_back(fmt::format("{} more lines are left out", count_ - kNamedFaults));
    }
  }
  void add(const std::string& fault) {
    if (++count_ <= kNamedFaults) notes_.push_back(fault + "; the line is left out");
  }

 private:
  std::vector<std::string>& notes_;
  size_t count_ = 0;
};

/// Each line of JSON Lines as an object. A last line without its end is still being written, and
/// is none.
void for_each_line(const std::string& path, size_t most_bytes, std::vector<std::string>& notes,
                   FunctionRef<void(const json&, const std::string& place)> see) {
  const std::string content = io::read_file(path, most_bytes);
  const std::string name = fs::path(path).filename().string();
  LineFaults faults(notes);
  std::string_view rest = content;
  for (int64_t number = 1;; ++number) {
    const size_t end = rest.find('\n');
    if (end == rest.npos) return;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    const std::string place = fmt::format("{}:{}", name, number);
    try {
      const json entry = io::parse_json(line, place, {.max_depth = 8, .max_values = 1000});
      if (!entry.is_object()) fail("{}: expected an object, got {}", place, entry.type_name());
      see(entry, place);
    } catch (const Error& error) {
      faults.add(error.what());
    }
  }
}

double number_of(const json& entry, std::string_view key) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_number()) return kNan;
  const double value = *found;
  return std::abs(value) <= kMostValue ? value : kNan;
}

int64_t step_of(const json& entry, const std::string& place) {
  const double step = number_of(entry, "step");
  if (!(step >= 0 && step <= double(kMostSteps) && step == std::floor(step))) {
    fail("{}: it has no step, which is a whole number", place);
  }
  return int64_t(step);
}

/// As JSON where it is none.
std::string text_of(const json& entry, std::string_view key) {
  const auto found = entry.find(key);
  if (found == entry.end()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

void add_evaluation(RunHistory& run, const json& entry, int64_t step) {
  const double tokens = number_of(entry, "eval_tokens");
  run.evaluations.push_back({.step = step,
                             .set = text_of(entry, "eval_set"),
                             .loss = number_of(entry, "eval_loss"),
                             .tokens = tokens >= 0 && tokens < 1e18 ? int64_t(tokens) : 0});
}

void add_step(RunHistory& run, const json& entry, int64_t step, const std::string& place) {
  if (!entry.contains("loss")) fail("{}: it has neither a loss nor an eval_loss", place);
  if (!run.steps.empty() && double(step) <= run.steps.back()) {
    fail("{}: step {} comes after step {}", place, step, run.steps.back());
  }
  run.steps.push_back(double(step));
  for (size_t m = 0; m < kMetrics; ++m) run.values[m].push_back(number_of(entry, kKeys[m]));
}

void read_metrics(RunHistory& run, const std::string& path) {
  for_each_line(path, kMostMetricsBytes, run.notes, [&](const json& entry, const auto& place) {
    const int64_t step = step_of(entry, place);
    if (entry.contains("eval_loss")) return add_evaluation(run, entry, step);
    add_step(run, entry, step, place);
  });
}

void read_samples(RunHistory& run, const std::string& path) {
  for_each_line(path, kMostSampleBytes, run.notes, [&](const json& entry, const auto& place) {
    run.samples.push_back(
        {step_of(entry, place), text_of(entry, "prompt"), text_of(entry, "text")});
  });
}

std::string time_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";
  std::tm parts{};
  gmtime_r(&status.st_mtime, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts)};
}

/// Reads a file that need not be there. A fault in it becomes a note.
void read_if_there(RunHistory& run, std::string_view name,
                   FunctionRef<void(const std::string& path)> read) {
  const std::string path = (fs::path(run.folder) / name).string();
  try {
    if (io::exists(path)) read(path);
  } catch (const Error& error) {
    run.notes.push_back(fmt::format("{}; the file is left out", error.what()));
  }
}

}  // namespace

std::string_view key_of(Metric metric) { return kKeys[size_t(metric)]; }

RunHistory read_run(const std::string& folder) {
  if (!io::exists(folder)) fail("there is no folder {}", io::printable(folder));
  const std::string metrics = (fs::path(folder) / kMetricsFile).string();
  if (!io::is_folder(folder) || !io::exists(metrics)) {
    fail("{} is no run: it has no {}; give the output_dir of a `tessera train`",
         io::printable(folder), kMetricsFile);
  }
  RunHistory run;
  run.folder = folder;
  run.name = io::absolute(folder).filename().string();
  run.written = time_of(metrics);
  read_metrics(run, metrics);
  read_if_there(run, kSamplesFile, [&](const std::string& path) { read_samples(run, path); });
  read_if_there(run, kResolvedConfigFile, [&](const std::string& path) {
    run.settings = read_settings(io::read_file(path, kMostSmallBytes));
  });
  read_if_there(run, kRunRecordFile, [&](const std::string& path) {
    run.record = read_run_record(io::read_file(path, kMostSmallBytes), path);
  });
  read_if_there(run, kStateFile, [&](const std::string& path) {
    const json state = io::read_json_file(path, kMostSmallBytes);
    run.finished = state.is_object() && state.value("finished", json()) == true;
  });
  return run;
}

}  // namespace tessera::launch
