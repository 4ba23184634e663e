#include "launch/metrics.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "runtime/core/error.h"
#include "runtime/io/file.h"

namespace tessera::launch {
namespace {

/// The value in bytes of a "Name:  123 kB" line of a /proc file; 0 if it has none.
int64_t proc_bytes(const char* path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) return std::atoll(line.c_str() + name.size()) * 1024;
  }
  return 0;
}

/// What of an older file belongs to the steps up to `last_step`.
std::string kept_lines(const std::string& path, int64_t last_step) {
  std::string kept;
  std::ifstream old(path);
  for (std::string line; last_step > 0 && std::getline(old, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.value("step", nlohmann::json()).is_number_integer()) continue;
    if (entry["step"].get<int64_t>() <= last_step) kept += line + "\n";
  }
  return kept;
}

}  // namespace

int64_t peak_resident_bytes() { return proc_bytes("/proc/self/status", "VmHWM:"); }
int64_t available_bytes() { return proc_bytes("/proc/meminfo", "MemAvailable:"); }

MetricsFile::MetricsFile(const std::string& path, int64_t resumed_step) : path_(path) {
  io::AtomicFile start(path);
  start.write(std::string_view(kept_lines(path, resumed_step)));
  start.commit();
  file_.reset(std::fopen(path.c_str(), "ae"));
  if (!file_) fail("cannot write {}: {}", path, std::strerror(errno));
}

void MetricsFile::write(const StepMetrics& m) {
  write_line({{"step", m.step},
              {"epoch", m.epoch},
              {"loss", m.loss},
              {"grad_norm", m.grad_norm},
              {"learning_rate", m.learning_rate},
              {"tokens", m.tokens},
              {"tokens_per_second", m.tokens_per_second},
              {"memory", m.memory},
              {"gather_wait", m.gather_wait}});
}

void MetricsFile::write_evaluation(int64_t step, double loss, int64_t tokens) {
  write_line({{"step", step}, {"eval_loss", loss}, {"eval_tokens", tokens}});
}

void MetricsFile::write_line(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  // A full disk must not end a run: the line is lost, the run goes on.
  std::fwrite(text.data(), 1, text.size(), file_.get());
  std::fflush(file_.get());
}

}  // namespace tessera::launch
