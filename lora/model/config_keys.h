// Typed access to one object of a config.json, for the families' readers.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::lora {

/// A key whose value is null counts as absent. Errors name the source and the key.
class ConfigKeys {
 public:
  ConfigKeys(const nlohmann::json& object, std::string_view source)
      : object_(object), source_(source) {
    if (!object.is_object()) fail("{}: expected a JSON object", source);
  }

  std::string_view source() const { return source_; }
  const nlohmann::json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  /// Whether the key is there, and null: "none" where a key that is left out has a default.
  bool is_null(const char* key) const {
    const auto found = object_.find(key);
    return found != object_.end() && found->is_null();
  }
  int64_t integer(const char* key, int64_t min, int64_t max) const {
    return as_integer(key, required(key), min, max);
  }
  int64_t integer(const char* key, int64_t min, int64_t max, int64_t otherwise) const {
    const nlohmann::json* value = find(key);
    return value ? as_integer(key, *value, min, max) : otherwise;
  }
  double positive(const char* key) const { return as_positive(key, required(key)); }
  double positive(const char* key, double otherwise) const {
    const nlohmann::json* value = find(key);
    return value ? as_positive(key, *value) : otherwise;
  }
  /// Zero counts as absent, as in Python's `or`.
  double positive_or_zero(const char* key, double otherwise) const {
    const nlohmann::json* value = find(key);
    return value && *value != 0 ? as_positive(key, *value) : otherwise;
  }
  std::vector<double> positives(const char* key) const {
    const nlohmann::json& value = required(key);
    if (!value.is_array()) wrong(key, value, "a list of numbers above zero");
    std::vector<double> numbers;
    for (const nlohmann::json& number : value) numbers.push_back(as_positive(key, number));
    return numbers;
  }
  bool boolean(const char* key, bool otherwise) const {
    const nlohmann::json* value = find(key);
    if (value && !value->is_boolean()) wrong(key, *value, "true or false");
    return value ? value->get<bool>() : otherwise;
  }
  /// Null where there is none.
  const nlohmann::json* object(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value && !value->is_object()) wrong(key, *value, "an object");
    return value;
  }
  std::optional<std::string> string(const char* key) const {
    const nlohmann::json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) wrong(key, *value, "a string");
    return value->get<std::string>();
  }
  int64_t as_integer(const char* key, const nlohmann::json& value, int64_t min, int64_t max) const {
    const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t(max)
                                                 : value.is_number_integer();
    if (!fits || value.get<int64_t>() < min || value.get<int64_t>() > max) {
      wrong(key, value, fmt::format("an integer from {} to {}", min, max));
    }
    return value.get<int64_t>();
  }
  [[noreturn]] void wrong(const char* key, const nlohmann::json& value,
                          std::string_view expected) const {
    fail("{}: {} is {}, expected {}", source_, key, io::printable(value.dump()), expected);
  }

 private:
  const nlohmann::json& required(const char* key) const {
    const nlohmann::json* value = find(key);
    if (!value) fail("{}: {} is missing", source_, key);
    return *value;
  }
  double as_positive(const char* key, const nlohmann::json& value) const {
    const double number = value.is_number() ? value.get<double>() : 0.0;
    if (!(number > 0.0 && std::isfinite(number))) wrong(key, value, "a number above zero");
    return number;
  }

  const nlohmann::json& object_;
  std::string_view source_;
};

}  // namespace tessera::lora
