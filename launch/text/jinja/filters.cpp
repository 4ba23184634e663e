#include "launch/text/jinja/filters.h"

#include <algorithm>
#include <unordered_map>

#include "launch/text/jinja/failure.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

/// Filters of Jinja2's for web pages and terminals, or without a defined result.
constexpr std::string_view kRefused[] = {"pprint", "random", "urlize", "wordwrap", "xmlattr"};

bool is_refused(std::string_view name) {
  return std::find(std::begin(kRefused), std::end(kRefused), name) != std::end(kRefused);
}

}  // namespace

FilterBody find_filter(std::string_view name) {
  static const auto filters = [] {
    std::unordered_map<std::string_view, FilterBody> all;
    for (const auto part : {text_filters(), value_filters(), list_filters(), select_filters()}) {
      for (const NamedFilter& filter : part) all.emplace(filter.name, filter.body);
    }
    return all;
  }();
  const auto it = filters.find(name);
  return it == filters.end() ? nullptr : it->second;
}

void fail_no_filter(std::string_view name) {
  if (is_refused(name)) raise_error("the filter '{}' is not supported", name);
  raise_error("there is no filter named '{}'", io::printable(name, 40));
}

bool is_filter_name(std::string_view name) { return find_filter(name) || is_refused(name); }

}  // namespace tessera::launch::jinja
