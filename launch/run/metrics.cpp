#include "launch/run/metrics.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

constexpr const char* kSet = "eval_set";

}  // namespace

nlohmann::ordered_json to_json(const StepMetrics& m) {
  return {{"step", m.step},
          {"epoch", m.epoch},
          {"loss", m.loss},
          {"grad_norm", m.grad_norm},
          {"learning_rate", m.learning_rate},
          {"tokens", m.tokens},
          {"tokens_per_second", m.tokens_per_second},
          {"memory", m.memory},
          {"gather_wait", m.gather_wait}};
}

MetricsFile::MetricsFile(const std::string& path, int64_t resumed_step)
    : file_(begin(path, resumed_step)) {}

io::AppendFile MetricsFile::begin(const std::string& path, int64_t resumed_step) {
  io::write_file(path, kept_lines(path, resumed_step));
  return io::AppendFile(path);
}

/// What of an older file belongs to the steps up to `last_step`.
std::string MetricsFile::kept_lines(const std::string& path, int64_t last_step) {
  if (last_step == 0 || !io::exists(path)) return "";
  std::string kept;
  std::ifstream old(path);
  if (!old) fail("cannot read {}: {}", path, std::strerror(errno));
  for (std::string line; std::getline(old, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.value("step", nlohmann::json()).is_number_integer()) continue;
    const int64_t step = entry["step"];
    if (step > last_step) continue;
    kept += line + "\n";
    last_step_ = step;
    if (entry.contains("eval_loss")) evaluated_.emplace(step, entry.value(kSet, std::string()));
  }
  return kept;
}

bool MetricsFile::write(const StepMetrics& metrics) { return write_line(to_json(metrics)); }

bool MetricsFile::write_evaluation(int64_t step, const std::string& set, double loss,
                                   int64_t tokens) {
  evaluated_.emplace(step, set);
  nlohmann::ordered_json line = {{"step", step}, {"eval_loss", loss}, {"eval_tokens", tokens}};
  if (!set.empty()) line[kSet] = set;
  return write_line(line);
}

bool MetricsFile::write_line(const nlohmann::ordered_json& line) {
  // A model's text may end within a character.
  return file_.append(io::json_text(line) + "\n");
}

}  // namespace tessera::launch
