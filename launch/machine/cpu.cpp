#include "launch/machine/cpu.h"

#include <fstream>

#include "runtime/core/error.h"

namespace tessera::launch {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return "unknown";
}

std::string missing_cpu_features() {
  std::string missing;
  const auto require = [&](bool present, const char* name) {
    if (!present) missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
  require(__builtin_cpu_supports("avx2"), "AVX2");
  require(__builtin_cpu_supports("fma"), "FMA");
  require(__builtin_cpu_supports("f16c"), "F16C");
  require(__builtin_cpu_supports("bmi2"), "BMI2");
  return missing;
}

void require_cpu() {
  const std::string missing = missing_cpu_features();
  if (missing.empty()) return;
  fail("Tessera needs a CPU with AVX2 and FMA; this one ({}) lacks {}", cpu_name(), missing);
}

}  // namespace tessera::launch
