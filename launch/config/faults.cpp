#include "launch/config/faults.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "runtime/core/error.h"

namespace tessera::launch {

std::string Place::text() const { return line > 0 ? fmt::format("{}:{}", *source, line) : *source; }

std::vector<Faults::Found> Faults::sorted(std::vector<Found> found) {
  std::ranges::stable_sort(found, {}, [](const Found& fault) {
    const int line = fault.place.line > 0 ? fault.place.line : std::numeric_limits<int>::max();
    return std::tuple(fault.place.argument, line);
  });
  return found;
}

std::vector<std::string> Faults::lines() const {
  std::vector<std::string> lines;
  for (const Found& fault : sorted(found_)) {
    lines.push_back(fmt::format("{}: {}", fault.place.text(), fault.text));
  }
  return lines;
}

void Faults::add_all(const Faults& other) {
  for (const Found& found : other.found_) {
    if (std::ranges::find(found_, found) == found_.end()) found_.push_back(found);
  }
}

std::vector<std::string> Faults::notes() const {
  std::vector<std::string> lines;
  for (const Found& note : sorted(noted_)) {
    const Place& place = note.place;
    const std::string where =
        place.line > 0 ? fmt::format("{} line {}", *place.source, place.line) : place.text();
    std::string line = fmt::format("{}: {}", where, note.text);
    if (std::ranges::find(lines, line) == lines.end()) lines.push_back(std::move(line));
  }
  return lines;
}

void Faults::raise() const {
  // A file of nothing but mistakes must not fill the screen.
  constexpr size_t kMost = 100;
  if (found_.empty()) return;
  std::vector<std::string> all = lines();
  if (all.size() > kMost) {
    const size_t more = all.size() - kMost;
    all.resize(kMost);
    all.push_back(fmt::format("and {} faults more", more));
  }
  throw Error(fmt::format("{}", fmt::join(all, "\n")), Fault::kUsage);
}

}  // namespace tessera::launch
