#include "launch/text/jinja/globals.h"

#include <array>
#include <ctime>

#include "launch/text/jinja/format.h"
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/parameters.h"

namespace tessera::launch::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // the sandbox's

Value make_range(Interpreter&, Arguments& arguments) {
  const Parameters given("range", arguments, {"/start", "/stop", "/step"}, 1);
  const bool one = !given.find(1);
  const int64_t step = given.integer(2, 1);
  if (step == 0) raise_error("range() arg 3 must not be zero");
  const auto range =
      std::make_shared<Range>(one ? 0 : given.integer(0, 0), given.integer(one ? 0 : 1, 0), step);
  if (range->size() > kMaxRange || range->size() < 0) {
    raise_error("a range of more than {} items", kMaxRange);
  }
  return range;
}

/// dict(mapping or pairs, name=value, ...).
Dict dict_of(Interpreter& interpreter, const char* function, Arguments& arguments) {
  if (arguments.positional.size() > 1) raise_error("{} takes at most one dict", function);
  Dict dict;
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is(Kind::kDict)) {
      interpreter.budget().steps(from.dict().size());
      dict = from.dict();
    } else {
      for (const Value& pair : to_list(from, interpreter.budget())) {
        List parts = to_list(pair, interpreter.budget());
        if (parts.size() != 2) raise_error("{}: expected pairs of key and value", function);
        dict.set(std::move(parts[0]), std::move(parts[1]));
      }
    }
  }
  for (auto& [name, value] : arguments.named) dict.set(name, value);
  return dict;
}

Value make_dict(Interpreter& interpreter, Arguments& arguments) {
  return dict_of(interpreter, "dict", arguments);
}

Value make_namespace(Interpreter& interpreter, Arguments& arguments) {
  Dict attributes = dict_of(interpreter, "namespace", arguments);
  for (const auto& [name, value] : attributes.entries()) {
    if (name.is_string() && name.bytes().starts_with('_')) {
      raise_error("a namespace cannot have the attribute '{}'", name.bytes());
    }
  }
  return interpreter.make_namespace(std::move(attributes));
}

Value make_cycler(Interpreter&, Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) {
    raise_error("cycler takes at least one item");
  }
  return std::make_shared<Cycler>(Value::tuple(arguments.positional));
}

Value make_joiner(Interpreter&, Arguments& arguments) {
  const Parameters given("joiner", arguments, {"sep"});
  return std::make_shared<Joiner>(given.get(0, ", "));
}

Value refuse_lipsum(Interpreter&, Arguments&) { raise_error("lipsum is not supported"); }

Value raise_exception(Interpreter& interpreter, Arguments& arguments) {
  const Parameters given("raise_exception", arguments, {"message"}, 1);
  throw TemplateRefusal(str_of(given.at(0), interpreter.budget()).bytes);
}

/// One %-sequence of strftime, for a local time without a zone, as Python's datetime has it.
std::string time_part(const std::tm& time, const std::string& directive) {
  if (directive == "%f") return "000000";
  if (directive == "%z" || directive == "%Z") return "";
  std::array<char, 256> buffer;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const size_t size = std::strftime(buffer.data(), buffer.size(), directive.c_str(), &time);
#pragma GCC diagnostic pop
  return {buffer.data(), size};
}

Value strftime_now(Interpreter& interpreter, Arguments& arguments) {
  const Parameters given("strftime_now", arguments, {"format"}, 1);
  const Text& format = given.text(0);
  const auto now = std::time_t(interpreter.now());
  std::tm time = {};
  if (!localtime_r(&now, &time)) raise_error("the time is out of range");
  Text result;
  interpreter.budget().bytes(format.size());
  for (size_t at = 0; at < format.size();) {
    const bool directive = format.bytes[at] == '%' && at + 1 < format.size();
    size_t end = at + 1;
    if (directive) {
      constexpr std::string_view kFlags = "-_0^#";  // of the C library
      while (kFlags.find(format.bytes[end]) != kFlags.npos && end + 1 < format.size()) ++end;
      ++end;
      result.append_as(time_part(time, format.bytes.substr(at, end - at)), format, at);
    } else {
      result.append(format, at, end);
    }
    at = end;
    if (result.size() > kMaxTextBytes) interpreter.budget().bytes(result.size());
  }
  return result;
}

}  // namespace

std::optional<Value> global(std::string_view name) {
  static constexpr std::pair<std::string_view, GlobalFunction::Body> kGlobals[] = {
      {"range", make_range},
      {"dict", make_dict},
      {"namespace", make_namespace},
      {"cycler", make_cycler},
      {"joiner", make_joiner},
      {"lipsum", refuse_lipsum},
      {"raise_exception", raise_exception},
      {"strftime_now", strftime_now}};
  for (const auto& [known, body] : kGlobals) {
    if (known == name) return Value(std::make_shared<GlobalFunction>(body));
  }
  return std::nullopt;
}

}  // namespace tessera::launch::jinja
