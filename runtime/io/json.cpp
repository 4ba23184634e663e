#include "runtime/io/json.h"

#include <type_traits>
#include <unordered_set>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

using nlohmann::json;

/// The names of one object's members while it is read.
template <class Json>
class Members {
 public:
  /// Where the value of a new member goes; null when the object has one of that name.
  Json* add(Json& object, const std::string& name) {
    if constexpr (std::is_same_v<Json, json>) {
      return object.contains(name) ? nullptr : &object[name];
    } else {
      // In order, members are a list: a set spares looking through a long one.
      auto& list = object.template get_ref<typename Json::object_t&>();
      if (list.size() < kFew ? object.contains(name) : !is_new(list, name)) return nullptr;
      return &list.emplace_back(name, nullptr).second;
    }
  }

 private:
  static constexpr size_t kFew = 32;

  template <class List>
  bool is_new(const List& list, const std::string& name) {
    if (names_.empty()) {
      for (const auto& [key, value] : list) names_.insert(key);
    }
    return names_.insert(name).second;
  }

  std::unordered_set<std::string> names_;
};

/// Builds the value while checking the limits; nlohmann's own DOM parser would keep the last of two
/// equal keys and nest without bound.
template <class Json>
class Builder : public JsonEvents {
 public:
  Builder(std::string_view source, JsonLimits limits) : JsonEvents(source), limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(Json(nullptr)); }
  bool boolean(bool v) override { return add(Json(v)); }
  bool number_integer(number_integer_t v) override { return add(Json(v)); }
  bool number_unsigned(number_unsigned_t v) override { return add(Json(v)); }
  bool number_float(number_float_t v, const string_t&) override { return add(Json(v)); }
  bool string(string_t& v) override { return add(Json(std::move(v))); }

  bool start_object(size_t) override { return open(Json::object()); }
  bool key(string_t& name) override {
    slot_ = open_.back().members.add(*open_.back().value, name);
    if (!slot_) fail("{}: key '{}' appears twice in one JSON object", source(), printable(name));
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

 private:
  struct Open {
    Json* value;  // stays valid: a parent is not touched while a child is open
    Members<Json> members;
  };

  Json* place(Json&& value) {
    if (++count_ > limits_.max_values) {
      fail("{}: more than {} JSON values", source(), limits_.max_values);
    }
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(*slot_ = std::move(value));
  }
  bool add(Json&& value) { return place(std::move(value)) != nullptr; }
  bool open(Json&& value) {
    if (int(open_.size()) >= limits_.max_depth) {
      fail("{}: JSON nested deeper than {} levels", source(), limits_.max_depth);
    }
    open_.push_back({place(std::move(value)), {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  JsonLimits limits_;
  Json root_;
  Json* slot_ = nullptr;
  std::vector<Open> open_;
  size_t count_ = 0;
};

template <class Json>
Json build(std::string_view text, std::string_view source, JsonLimits limits) {
  Builder<Json> builder(source, limits);
  parse_json(text, source, builder);
  return builder.take();
}

}  // namespace

std::string json_text(const nlohmann::json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

std::string json_text(const nlohmann::ordered_json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

nlohmann::ordered_json text_or_null(const std::string& text) {
  if (text.empty()) return nullptr;
  return text;
}

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
  return build<json>(text, source, limits);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view source,
                                          JsonLimits limits) {
  return build<nlohmann::ordered_json>(text, source, limits);
}

json read_json_file(const std::string& path, size_t max_bytes, JsonLimits limits) {
  return parse_json(read_file(path, max_bytes), path, limits);
}

}  // namespace tessera::io
