#include "runtime/io/json.h"

#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

using nlohmann::json;

/// Builds the value while checking the limits; nlohmann's own DOM parser would keep the last of two
/// equal keys and nest without bound.
class Builder : public JsonEvents {
 public:
  Builder(std::string_view source, JsonLimits limits) : JsonEvents(source), limits_(limits) {}

  json take() { return std::move(root_); }

  bool null() override { return add(json(nullptr)); }
  bool boolean(bool v) override { return add(json(v)); }
  bool number_integer(number_integer_t v) override { return add(json(v)); }
  bool number_unsigned(number_unsigned_t v) override { return add(json(v)); }
  bool number_float(number_float_t v, const string_t&) override { return add(json(v)); }
  bool string(string_t& v) override { return add(json(std::move(v))); }

  bool start_object(size_t) override { return open(json::object()); }
  bool key(string_t& name) override {
    json& object = *open_.back();
    if (object.contains(name)) {
      fail("{}: key '{}' appears twice in one JSON object", source(), printable(name));
    }
    slot_ = &(object[name] = nullptr);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_array() override { return close(); }

 private:
  json* place(json&& value) {
    if (++count_ > limits_.max_values) {
      fail("{}: more than {} JSON values", source(), limits_.max_values);
    }
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    return &(*slot_ = std::move(value));
  }
  bool add(json&& value) { return place(std::move(value)) != nullptr; }
  bool open(json&& value) {
    if (int(open_.size()) >= limits_.max_depth) {
      fail("{}: JSON nested deeper than {} levels", source(), limits_.max_depth);
    }
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  JsonLimits limits_;
  json root_;
  json* slot_ = nullptr;
  std::vector<json*> open_;  // stays valid: a parent is not touched while a child is open
  size_t count_ = 0;
};

}  // namespace

bool JsonEvents::parse_error(size_t position, const std::string&,
                             const nlohmann::json::exception& error) {
  // Drop nlohmann's "[json.exception.parse_error.101] parse error at ..: " prefix.
  std::string what = error.what();
  const size_t colon = what.find(": ");
  if (colon != std::string::npos) what.erase(0, colon + 2);
  fail("{}: invalid JSON at byte {}: {}", source_, position, printable(what, 300));
}

void parse_json(std::string_view text, std::string_view source, JsonEvents& events) {
  // nlohmann takes a NUL for the end of the text, which would let anything follow it, and skips a
  // byte order mark.
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) fail("{}: invalid JSON at byte {}: a NUL byte", source, nul);
  if (text.starts_with("\xef\xbb\xbf")) {
    fail("{}: begins with a byte order mark; save it as UTF-8 without one", source);
  }
  json::sax_parse(text.begin(), text.end(), &events);
}

json parse_json(std::string_view text, std::string_view source, JsonLimits limits) {
  Builder builder(source, limits);
  parse_json(text, source, builder);
  return builder.take();
}

json read_json_file(const std::string& path, size_t max_bytes, JsonLimits limits) {
  return parse_json(read_file(path, max_bytes), path, limits);
}

}  // namespace tessera::io
