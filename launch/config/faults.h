// What is wrong with a config, and what the user should know of it though nothing is wrong:
// collected by everything that reads it, told all at once.
// A fault that only follows from another is not told. Whoever sees one names the keys that it
// leaves in doubt, and whoever judges by the value of a key asks first whether it is.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::launch {

/// Where something was written: "run.yml:12", or "command line: lora_r=8".
struct Place {
  std::shared_ptr<const std::string> source;
  int line = 0;      // from 1; 0 for the source as a whole
  int argument = 0;  // of the command line, from 1; 0 for a file
  std::string text() const;
};

class Faults {
 public:
  /// "PLACE: ..."; the rest as for fmt::format.
  template <class... Args>
  void add(const Place& place, fmt::format_string<Args...> format, Args&&... args) {
    found_.push_back({place, fmt::format(format, std::forward<Args>(args)...)});
  }
  bool empty() const { return found_.empty(); }
  /// Those of `other` that are not told yet.
  void add_all(const Faults& other);

  /// The same for what is no fault.
  template <class... Args>
  void note(const Place& place, fmt::format_string<Args...> format, Args&&... args) {
    noted_.push_back({place, fmt::format(format, std::forward<Args>(args)...)});
  }
  /// The lines of the notes, in the order of faults; each line once. They say "run.yml line 12"
  /// where a fault says "run.yml:12", so that who looks for faults finds no others.
  std::vector<std::string> notes() const;

  /// The key `name` of the flag table was written, but its value is not known.
  void doubt(std::string_view name) { doubted_.emplace(name); }
  bool doubts(std::string_view name) const { return doubted_.contains(name); }

  /// One line for each fault: those of the file by line, those of the file as a whole, those of the
  /// command line in its order.
  std::vector<std::string> lines() const;
  /// Throws an Error (usage) of these lines. Returns where there are none.
  void raise() const;

 private:
  struct Found {
    Place place;
    std::string text;
    bool operator==(const Found& other) const {
      return text == other.text && place.text() == other.place.text();
    }
  };
  static std::vector<Found> sorted(std::vector<Found> found);

  std::vector<Found> found_;
  std::vector<Found> noted_;
  std::set<std::string, std::less<>> doubted_;
};

}  // namespace tessera::launch
