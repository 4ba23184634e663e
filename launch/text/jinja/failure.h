// What can go wrong while a template is parsed or run, and what it may take. A Failure has no
// place yet: Template adds the name and the line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/core/error.h"

namespace tessera::launch::jinja {

class Failure : public Error {
  using Error::Error;
};

/// A limit of ours, not an error of Python's: nothing may catch it and go on.
class LimitFailure : public Failure {
  using Failure::Failure;
};

/// Throws a Failure; arguments as for fmt::format.
template <class... Args>
[[noreturn]] void raise_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure(fmt::format(format, std::forward<Args>(args)...));
}

inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
/// Levels of lists in lists, and of expressions and blocks in a template.
inline constexpr int kMaxNesting = 100;
/// Macros and recursive loops that wait for one another.
inline constexpr int kMaxCalls = 150;
/// Expressions and blocks within one another as a template runs, through all macros.
inline constexpr int kMaxRunDepth = 1500;
/// One string, and so the rendered text, too.
inline constexpr size_t kMaxTextBytes = size_t{64} << 20;
/// Texts and items in one value, as deep as it goes; a text counts for each 32 bytes, too.
inline constexpr uint32_t kMaxWeight = 16'000'000;
/// Steps of one render: values computed, list items, and each 32 bytes of text written.
inline constexpr int64_t kMaxSteps = 20'000'000;

/// Counts down what a render may still do, so that time and memory are bounded.
class Budget {
 public:
  /// LimitFailure when more than kMaxSteps were taken.
  void steps(size_t count) {
    if (count > size_t(left_)) fail_steps();
    left_ -= int64_t(count);
  }
  /// For a text of this size that is about to be made.
  void bytes(size_t count) {
    if (count > kMaxTextBytes) fail_bytes();
    steps(1 + count / 32);
  }

  /// One more macro, recursive loop or namespace within another, as long as it lives.
  class Level {
   public:
    /// LimitFailure beyond kMaxCalls.
    explicit Level(Budget& budget) : budget_(budget) {
      if (budget_.level_ == kMaxCalls) fail_level();
      ++budget_.level_;
    }
    ~Level() { --budget_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  [[noreturn]] static void fail_level();
  [[noreturn]] static void fail_steps();
  [[noreturn]] static void fail_bytes();

  int64_t left_ = kMaxSteps;
  int level_ = 0;
};

}  // namespace tessera::launch::jinja
