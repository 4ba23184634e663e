// Jinja2's filters, as chat templates have them (tojson is json.dumps, without HTML's escapes).
#pragma once

#include <span>
#include <string_view>

#include "launch/text/jinja/syntax.h"

namespace tessera::launch::jinja {

/// Null when there is none, or it is one that is not supported.
FilterBody find_filter(std::string_view name);
/// Failure: why there is no such filter.
[[noreturn]] void fail_no_filter(std::string_view name);
/// Whether Jinja2 has it.
bool is_filter_name(std::string_view name);

struct NamedFilter {
  std::string_view name;
  FilterBody body;
};

// The parts of the table.
std::span<const NamedFilter> text_filters();
std::span<const NamedFilter> value_filters();
std::span<const NamedFilter> list_filters();
std::span<const NamedFilter> select_filters();

}  // namespace tessera::launch::jinja
