#include "launch/config/faults.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "runtime/core/error.h"

namespace tessera::launch {

std::string Place::text() const { return line > 0 ? fmt::format("{}:{}", *source, line) : *source; }

void Faults::raise() const {
  // A file of nothing but mistakes must not fill the screen.
  constexpr size_t kMost = 100;
  if (found_.empty()) return;
  std::vector<Found> sorted = found_;
  std::ranges::stable_sort(sorted, {}, [](const Found& fault) {
    const int line = fault.place.line > 0 ? fault.place.line : std::numeric_limits<int>::max();
    return std::tuple(fault.place.argument, line);
  });
  std::string all;
  for (size_t i = 0; i < std::min(sorted.size(), kMost); ++i) {
    all += fmt::format("{}{}: {}", i > 0 ? "\n" : "", sorted[i].place.text(), sorted[i].text);
  }
  if (sorted.size() > kMost) all += fmt::format("\nand {} faults more", sorted.size() - kMost);
  throw Error(all, Fault::kUsage);
}

}  // namespace tessera::launch
