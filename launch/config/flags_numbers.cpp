// Numbers and sizes in a config and on the command line. See flags_types.h.
#include <charconv>
#include <cmath>

#include "launch/config/flags_types.h"

namespace tessera::launch {

namespace {

// Integers beyond this are not exact in the doubles that 1e3 and 3.0 go through.
constexpr double kMostExact = 9007199254740992.0;
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

/// Digits without the underscores between them; empty when one is out of place, or for "+-1".
std::string plain_number(std::string_view text) {
  std::string out;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('+') || text.starts_with("-+")) return {};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto digit = [&](size_t at) { return at < text.size() && isdigit(text[at]) != 0; };
    if (i == 0 || !digit(i - 1) || !digit(i + 1)) return {};
  }
  return out;
}

/// A finite number, or empty.
std::optional<double> parse_real(std::string_view text) {
  const std::string digits = plain_number(text);
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (digits.empty() || error != std::errc{} || stop != end || !std::isfinite(value)) return {};
  return value;
}

/// An integer; an integral real such as 1e3 or 3.0 too; no leading zeros.
std::optional<int64_t> parse_int(std::string_view text) {
  const std::string digits = plain_number(text);
  const size_t first = digits.starts_with('-') ? 1 : 0;
  if (digits.size() > first + 1 && digits[first] == '0' && isdigit(digits[first + 1]) != 0) {
    return {};
  }
  int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (!digits.empty() && error == std::errc{} && stop == end) return value;
  const std::optional<double> real = parse_real(text);
  if (!real || *real != std::floor(*real) || std::abs(*real) > kMostExact) return {};
  return int64_t(*real);
}

std::string from_to(int64_t low, int64_t high) {
  const std::string most = high == kMostSteps ? "1e9" : std::to_string(high);
  return fmt::format("a whole number from {} to {}", low, most);
}

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"tib", 1099511627776.0},
                           {"gib", 1073741824.0},
                           {"mib", 1048576.0},
                           {"kib", 1024.0},
                           {"tb", 1e12},
                           {"gb", 1e9},
                           {"mb", 1e6},
                           {"kb", 1e3},
                           {"b", 1}};

}  // namespace

std::optional<int64_t> IntType::read(const Setting& setting) const {
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<int64_t> value = parse_int(*text);
  if (value && low <= *value && *value <= high) return value;
  // Who asks for more than an integer holds learns where it ends.
  const bool beyond = !value && parse_real(*text).value_or(0) >= double(kLargest);
  return setting.expected(beyond ? from_to(low, high) : describe());
}

std::string IntType::write(int64_t value) const { return std::to_string(value); }

std::string IntType::describe() const {
  return high < kLargest ? from_to(low, high) : fmt::format("a whole number, {} or more", low);
}

std::optional<double> RealType::read(const Setting& setting) const {
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<double> value = parse_real(*text);
  const bool ok =
      value && (above ? *value > low : *value >= low) && (below ? *value < high : *value <= high);
  return ok ? value : setting.expected(describe());
}

std::string RealType::write(double value) const {
  std::string out = fmt::format("{}", value);
  // YAML 1.1 readers take 1e-08 for text and 1.0e-08 for a number.
  const size_t exponent = out.find('e');
  if (exponent != std::string::npos && out.find('.') == std::string::npos) {
    out.insert(exponent, ".0");
  }
  return out;
}

std::string RealType::describe() const {
  std::string out =
      above ? fmt::format("a number above {}", low) : fmt::format("a number, {} or more", low);
  if (std::isfinite(high)) out += fmt::format(", {} {}", below ? "below" : "at most", high);
  return out;
}

std::optional<double> ShareOrCountType::read(const Setting& setting) const {
  const std::optional<double> value = RealType::read(setting);
  if (!value || *value < 1) return value;
  if (*value != std::floor(*value) || *value > kMostExact) return setting.expected(describe());
  if (*value == 1 && setting.value.text.find_first_of(".eE") != std::string::npos) {
    return setting.fault(
        "{} is the share of all rows, which leaves nothing to train on; a share is below 1, and 1 "
        "is one row",
        shown(setting.value.text));
  }
  return value;
}

std::optional<double> StepsType::read(const Setting& setting) const {
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<double> value = parse_real(*text);
  if (value && *value > 0 && *value < 1) return value;
  const bool whole = value && *value == std::floor(*value);
  if (whole && *value >= 1 && *value <= double(kMostSteps)) return value;
  return setting.expected(describe());
}

std::optional<int64_t> SizeType::read(const Setting& setting) const {
  const std::string* written = setting.scalar(describe());
  if (written == nullptr) return std::nullopt;
  std::string text = *written;
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return char(tolower(c)); });
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    const std::string number = trimmed(text.substr(0, text.size() - unit.name.size()));
    const std::optional<int64_t> whole = parse_int(number);
    if (whole && *whole >= 0 && double(*whole) < 8e18 / unit.bytes) {
      return *whole * int64_t(unit.bytes);
    }
    const std::optional<double> real = parse_real(number);
    if (!real || *real < 0 || *real * unit.bytes > kMostExact) break;
    return int64_t(std::llround(*real * unit.bytes));
  }
  return setting.expected("a size with its unit, such as 22GiB or 24GB");
}

std::string SizeType::write(int64_t value) const {
  static constexpr std::string_view kNames[] = {"TiB", "GiB", "MiB", "KiB"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const auto bytes = int64_t(kUnits[i].bytes);
    if (value >= bytes && value % bytes == 0) return fmt::format("{}{}", value / bytes, kNames[i]);
  }
  return fmt::format("{}B", value);
}

}  // namespace tessera::launch
