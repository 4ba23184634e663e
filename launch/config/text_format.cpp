#include "launch/config/text_format.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "launch/config/yaml.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {
namespace {

/// Calls `text` for what stands between places, and `place` for the name in each. False where a
/// brace has no partner.
bool walk(std::string_view format, FunctionRef<void(std::string_view)> text,
          FunctionRef<void(std::string_view)> place) {
  while (!format.empty()) {
    const size_t brace = std::min(format.find_first_of("{}"), format.size());
    text(format.substr(0, brace));
    format.remove_prefix(brace);
    if (format.empty()) break;
    if (format.starts_with("{{") || format.starts_with("}}")) {
      text(format.substr(0, 1));
      format.remove_prefix(2);
      continue;
    }
    const size_t end = format.find('}');
    if (format[0] == '}' || end == format.npos) return false;
    place(format.substr(1, end - 1));
    format.remove_prefix(end + 1);
  }
  return true;
}

}  // namespace

std::string format_fault(std::string_view format, std::span<const std::string_view> names) {
  std::string fault;
  const auto place = [&](std::string_view name) {
    if (!fault.empty() || std::ranges::count(names, name) > 0) return;
    fault = fmt::format("{} is no place of this text; it may have {{{}}}, and {{{{ stands for a {{",
                        shown("{" + std::string(name) + "}"), fmt::join(names, "} and {"));
  };
  if (!walk(
          format, [](std::string_view) {}, place)) {
    return "a brace has no partner; {{ stands for {, and }} for }";
  }
  return fault;
}

std::string filled(std::string_view format, std::span<const Placed> texts) {
  std::string out;
  walk(
      format, [&](std::string_view text) { out += text; },
      [&](std::string_view name) {
        const auto found = std::ranges::find(texts, name, &Placed::name);
        if (found != texts.end()) out += found->text;
      });
  return out;
}

}  // namespace tessera::launch
