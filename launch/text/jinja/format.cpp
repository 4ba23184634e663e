#include "launch/text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "launch/text/jinja/characters.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

class ReprWriter {
 public:
  ReprWriter(Budget& budget, bool ascii) : budget_(budget), ascii_(ascii) {}

  void write(const Value& value) {
    budget_.steps(1);
    switch (value.kind()) {
      case Kind::kUndefined:
        return out_.write("Undefined");
      case Kind::kString:
        if (value.is_markup()) out_.write("Markup(");
        write_string(value.text());
        return out_.write(value.is_markup() ? ")" : "");
      case Kind::kList:
        return write_items(value.items(), "[", "]");
      case Kind::kTuple:
        return write_items(value.items(), "(", value.items().size() == 1 ? ",)" : ")");
      case Kind::kDict:
        return write_dict(value.dict());
      case Kind::kObject:
        return out_.append(value.object().repr(budget_));
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat:
      default:
        out_.append(str_of(value, budget_));
    }
  }

  Text take() {
    budget_.bytes(out_.size());
    return std::move(out_);
  }

 private:
  void write_items(const List& items, std::string_view open, std::string_view close) {
    out_.write(open);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.write(", ");
      write(items[i]);
    }
    out_.write(close);
  }

  void write_dict(const Dict& dict) {
    out_.write("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries()) {
      if (!first) out_.write(", ");
      first = false;
      write(key);
      out_.write(": ");
      write(value);
    }
    out_.write("}");
  }

  void write_string(const Text& text) {
    budget_.bytes(out_.size() + text.size() > kMaxTextBytes ? kMaxTextBytes + 1 : text.size());
    const bool single = text.bytes.find('\'') == std::string::npos;
    const char quote = single || text.bytes.find('"') != std::string::npos ? '\'' : '"';
    out_.write(std::string_view(&quote, 1));
    size_t done = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t next = at + utf8_length(text.bytes[at]);
      if (const std::string escape = escape_of(utf8_at(text.bytes, at), quote); !escape.empty()) {
        out_.append(text, done, at);
        out_.append_as(escape, text, at);
        done = next;
      }
      at = next;
    }
    out_.append(text, done, text.size());
    out_.write(std::string_view(&quote, 1));
  }

  /// Empty when the character stands for itself.
  std::string escape_of(char32_t point, char quote) const {
    if (point == '\n') return "\\n";
    if (point == '\r') return "\\r";
    if (point == '\t') return "\\t";
    if (point == '\\' || point == char32_t(quote)) return {'\\', char(point)};
    if (0x20 <= point && point < 0x7f) return {};
    if (!ascii_ && is_printable(point)) return {};
    const auto code = uint32_t(point);
    return code < 0x100     ? fmt::format("\\x{:02x}", code)
           : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                            : fmt::format("\\U{:08x}", code);
  }

  Budget& budget_;
  const bool ascii_;
  Text out_;
};

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value) {
    budget_.steps(1);
    switch (value.kind()) {
      case Kind::kNone:
        return out_.write("null");
      case Kind::kBool:
        return out_.write(value.integer() ? "true" : "false");
      case Kind::kInt:
      case Kind::kFloat:
        return out_.write(number(value));
      case Kind::kString:
        return write_string(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return write_items(value.items());
      case Kind::kDict:
        return write_dict(value.dict());
      case Kind::kUndefined:
      case Kind::kObject:
      default:
        raise_error("Object of type {} is not JSON serializable", value.type_name());
    }
  }

  Text take() {
    budget_.bytes(out_.size());
    return std::move(out_);
  }

 private:
  std::string number(const Value& value) {
    if (value.is_integer()) return fmt::format("{}", value.integer());
    if (std::isnan(value.real())) return "NaN";
    if (std::isinf(value.real())) return value.real() > 0 ? "Infinity" : "-Infinity";
    return float_repr(value.real());
  }

  /// What stands before each item, and after the last one.
  void new_line() {
    if (!style_.indent) return;
    out_.write("\n");
    for (int i = 0; i < level_; ++i) out_.append(*style_.indent);
    budget_.bytes(out_.size() > kMaxTextBytes ? out_.size() : style_.indent->size());
  }

  void before_item(bool first) {
    if (!first) out_.append(style_.item_separator);
    new_line();
  }

  void write_items(const List& items) {
    if (items.empty()) return out_.write("[]");
    out_.write("[");
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      before_item(i == 0);
      write(items[i]);
    }
    --level_;
    new_line();
    out_.write("]");
  }

  void write_dict(const Dict& dict) {
    if (dict.size() == 0) return out_.write("{}");
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
        return ordered(a->first, Order::kLess, b->first);
      });
    }
    out_.write("{");
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      before_item(i == 0);
      write_key(entries[i]->first);
      out_.append(style_.key_separator);
      write(entries[i]->second);
    }
    --level_;
    new_line();
    out_.write("}");
  }

  void write_key(const Value& key) {
    if (key.is_string()) return write_string(key.text());
    if (!key.is_number() && !key.is_none()) {
      raise_error("keys must be str, int, float, bool or None, not {}", key.type_name());
    }
    out_.write("\"");
    write(key);
    out_.write("\"");
  }

  void write_string(const Text& text) {
    budget_.bytes(out_.size() + text.size() > kMaxTextBytes ? kMaxTextBytes + 1 : text.size());
    out_.write("\"");
    size_t done = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t next = at + utf8_length(text.bytes[at]);
      if (const std::string escape = escape_of(utf8_at(text.bytes, at)); !escape.empty()) {
        out_.append(text, done, at);
        out_.append_as(escape, text, at);
        done = next;
      }
      at = next;
    }
    out_.append(text, done, text.size());
    out_.write("\"");
  }

  /// Empty when the character stands for itself.
  std::string escape_of(char32_t point) const {
    switch (point) {
      case '"':
      case '\\':
        return {'\\', char(point)};
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      case '\f':
        return "\\f";
      case '\b':
        return "\\b";
      default:
        break;
    }
    const auto code = uint32_t(point);
    if (code >= 0x20 && (code < 0x7f || !style_.ensure_ascii)) return {};
    if (code < 0x10000) return fmt::format("\\u{:04x}", code);
    const uint32_t rest = code - 0x10000;
    return fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
  }

  const JsonStyle& style_;
  Budget& budget_;
  Text out_;
  int level_ = 0;
};

}  // namespace

std::string float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[32];
  const auto end =
      std::to_chars(buffer, std::end(buffer), number, std::chars_format::scientific).ptr;
  std::string_view written(buffer, size_t(end - buffer));
  const size_t e = written.find('e');
  int exponent = 0;
  const char* digits_of_exponent = buffer + e + (written[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, end, exponent);
  std::string sign = written.front() == '-' ? "-" : "";
  std::string digits;
  for (const char c : written.substr(0, e)) {
    if (c != '-' && c != '.') digits += c;
  }
  const int count = int(digits.size());
  if (exponent < -4 || exponent >= 16) {
    if (count > 1) digits.insert(1, ".");
    return fmt::format("{}{}e{}{:02}", sign, digits, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(size_t(-exponent - 1), '0') + digits;
  if (count <= exponent + 1)
    return sign + digits + std::string(size_t(exponent + 1 - count), '0') + ".0";
  digits.insert(size_t(exponent + 1), ".");
  return sign + digits;
}

Text str_of(const Value& value, Budget& budget) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.integer() ? "True" : "False";
    case Kind::kInt:
      return fmt::format("{}", value.integer());
    case Kind::kFloat:
      return float_repr(value.real());
    case Kind::kString:
      return value.text();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kObject:
    default:
      return repr_of(value, budget);
  }
}

Text repr_of(const Value& value, Budget& budget) {
  ReprWriter writer(budget, false);
  writer.write(value);
  return writer.take();
}

Text ascii_of(const Value& value, Budget& budget) {
  ReprWriter writer(budget, true);
  writer.write(value);
  return writer.take();
}

Text json_of(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value);
  return writer.take();
}

}  // namespace tessera::launch::jinja
