#include "control.h"

#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "memory.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

[[noreturn]] void refuse(const char* name, const std::string& value) {
  throw std::invalid_argument(std::string(name) + "=" + value + " is not understood");
}

uint64_t number(const char* name, const std::string& text) {
  size_t used = 0;
  uint64_t value = 0;
  try {
    value = std::stoull(text, &used);
  } catch (const std::exception&) {
    refuse(name, text);
  }
  if (used != text.size()) refuse(name, text);
  return value;
}

// "word" or "word:seed"; returns which of three words it is.
int choice(const char* name, const std::string& value, const char* const (&words)[3],
           uint64_t& seed) {
  const size_t colon = value.find(':');
  if (colon != std::string::npos) seed = number(name, value.substr(colon + 1));
  for (int i = 0; i < 3; ++i) {
    if (value.substr(0, colon) == words[i]) return i;
  }
  refuse(name, value);
}

Settings from_environment() {
  Settings s;
  if (const auto v = variable("CUDA_ON_CPU_DEVICES"); !v.empty()) {
    s.devices = int(number("CUDA_ON_CPU_DEVICES", v));
  }
  if (const auto v = variable("CUDA_ON_CPU_MEMORY"); !v.empty()) {
    s.memory = number("CUDA_ON_CPU_MEMORY", v);
  }
  if (const auto v = variable("CUDA_ON_CPU_CAPABILITIES"); !v.empty()) {
    std::istringstream list(v);
    for (std::string one; std::getline(list, one, ',');) {
      s.capabilities.push_back(int(number("CUDA_ON_CPU_CAPABILITIES", one)));
    }
  }
  s.protect = variable("CUDA_ON_CPU_PROTECT") == "1";
  if (const auto v = variable("CUDA_ON_CPU_ORDER"); !v.empty()) {
    s.order =
        Order(choice("CUDA_ON_CPU_ORDER", v, {"ascending", "descending", "random"}, s.order_seed));
  }
  if (const auto v = variable("CUDA_ON_CPU_STREAMS"); !v.empty()) {
    s.streams =
        Streams(choice("CUDA_ON_CPU_STREAMS", v, {"eager", "late", "random"}, s.streams_seed));
  }
  return s;
}

}  // namespace

Settings& settings() {
  static Settings settings = from_environment();
  return settings;
}

std::string failure_of(int device) { return scheduler().failure_message(device); }
size_t peak_memory(int device) { return memory().peak(device); }

}  // namespace cuda_on_cpu
