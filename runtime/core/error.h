// Errors that a user can cause or meet, and checks for bugs. The library throws; it never prints or
// exits. A message is one line (of a config, one for each fault) that names the thing (file, line,
// key, tensor), says what was expected and what came, and gives the cure where known.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace tessera {

/// Which exit code the program ends with.
enum class Fault {
  kFailure = 1,  // the environment or an input file failed us
  kUsage = 2,    // the command line or the config is wrong
};

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, Fault fault = Fault::kFailure)
      : std::runtime_error(message), fault_(fault) {}
  Fault fault() const { return fault_; }

 private:
  Fault fault_;
};

/// Throws an Error with Fault::kFailure; arguments as for fmt::format.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws an Error with Fault::kUsage.
template <class... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...), Fault::kUsage);
}

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace tessera

/// A condition that only a bug can violate. Always on; throws std::logic_error.
#define TESSERA_CHECK(condition) \
  ((condition) ? (void)0 : ::tessera::check_failed(#condition, __FILE__, __LINE__))
