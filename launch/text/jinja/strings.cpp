#include "launch/text/jinja/strings.h"

#include <algorithm>

#include "launch/text/jinja/characters.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

/// Offset of the code point before `at`.
size_t previous(std::string_view text, size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  return at;
}

std::string_view point_at(std::string_view text, size_t at) {
  return text.substr(at, utf8_length(text[at]));
}

std::vector<Text> split_at_space(const Text& text, int64_t most) {
  const std::string_view bytes = text.bytes;
  std::vector<Text> parts;
  const auto space = [&](size_t at) { return is_python_space(utf8_at(bytes, at)); };
  const auto skip = [&](size_t at, bool over_space) {
    while (at < bytes.size() && space(at) == over_space) at += utf8_length(bytes[at]);
    return at;
  };
  size_t at = skip(0, true);
  while (at < bytes.size()) {
    if (most >= 0 && int64_t(parts.size()) == most) {
      parts.push_back(text.part(at, text.size()));
      break;
    }
    const size_t end = skip(at, false);
    parts.push_back(text.part(at, end));
    at = skip(end, true);
  }
  return parts;
}

std::vector<Text> rsplit_at_space(const Text& text, int64_t most) {
  const std::string_view bytes = text.bytes;
  std::vector<Text> parts;
  const auto skip = [&](size_t end, bool over_space) {
    while (end > 0 && is_python_space(utf8_at(bytes, previous(bytes, end))) == over_space) {
      end = previous(bytes, end);
    }
    return end;
  };
  size_t end = skip(text.size(), true);
  while (end > 0) {
    if (most >= 0 && int64_t(parts.size()) == most) {
      parts.push_back(text.part(0, end));
      break;
    }
    const size_t begin = skip(end, false);
    parts.push_back(text.part(begin, end));
    end = skip(begin, true);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

void append_cased(Text& out, const Text& text, size_t at, Case to) {
  std::string mapped;
  const char32_t point = utf8_at(text.bytes, at);
  if (to == Case::kSwapped) {
    if (!is_upper(point) && !is_lower(point))
      return out.append(text, at, at + utf8_length(text.bytes[at]));
    to = is_upper(point) ? Case::kLower : Case::kUpper;
  }
  switch (to) {
    case Case::kUpper:
      append_upper(mapped, point);
      break;
    case Case::kTitle:
      append_title(mapped, point);
      break;
    case Case::kFolded:
      append_folded(mapped, point);
      break;
    case Case::kLower:
    case Case::kCapital:
    case Case::kSwapped:
    default:
      append_lower(mapped, text.bytes, at);
  }
  out.append_as(mapped, text, at);
}

}  // namespace

Steps resolve(const Slice& slice, int64_t length) {
  const int64_t step = slice.step.value_or(1);
  if (step == 0) raise_error("slice step cannot be zero");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? length : length - 1;
  const auto clamp = [&](const std::optional<int64_t>& index, int64_t absent) {
    if (!index) return absent;
    const int64_t from_front = *index < 0 ? *index + length : *index;
    return std::clamp(from_front, low, high);
  };
  const int64_t start = clamp(slice.start, step > 0 ? low : high);
  const int64_t stop = clamp(slice.stop, step > 0 ? high : low);
  const uint64_t distance = step > 0 ? uint64_t(std::max<int64_t>(stop - start, 0))
                                     : uint64_t(std::max<int64_t>(start - stop, 0));
  const uint64_t stride = step > 0 ? uint64_t(step) : uint64_t{0} - uint64_t(step);
  return {start, step, int64_t(distance / stride + (distance % stride != 0))};
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

bool is_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return '0' <= c && c <= '9'; });
}

size_t count_points(std::string_view text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

size_t offset_of(std::string_view text, size_t index) {
  size_t at = 0;
  while (index > 0 && at < text.size()) {
    at += utf8_length(text[at]);
    --index;
  }
  return at;
}

Text slice(const Text& text, const Slice& slice) {
  const Steps steps = resolve(slice, int64_t(count_points(text.bytes)));
  if (steps.count == 0) return {};
  if (steps.step == 1) {
    const size_t begin = offset_of(text.bytes, size_t(steps.start));
    const std::string_view rest = std::string_view(text.bytes).substr(begin);
    return text.part(begin, begin + offset_of(rest, size_t(steps.count)));
  }
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += utf8_length(text.bytes[at])) offsets.push_back(at);
  Text result;
  int64_t index = steps.start;
  for (int64_t i = 0; i < steps.count; ++i) {
    const size_t at = offsets[size_t(index)];
    result.append(text, at, at + utf8_length(text.bytes[at]));
    if (i + 1 < steps.count) index += steps.step;
  }
  return result;
}

std::vector<Text> points_of(const Text& text) {
  std::vector<Text> points;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at + utf8_length(text.bytes[at]);
    points.push_back(text.part(at, end));
    at = end;
  }
  return points;
}

Text strip(const Text& text, const std::optional<std::string_view>& chars, Side side) {
  const std::string_view bytes = text.bytes;
  const auto goes = [&](size_t at) {
    return chars ? chars->find(point_at(bytes, at)) != std::string_view::npos
                 : is_python_space(utf8_at(bytes, at));
  };
  size_t begin = 0, end = bytes.size();
  if (side != Side::kRight) {
    while (begin < end && goes(begin)) begin += utf8_length(bytes[begin]);
  }
  if (side != Side::kLeft) {
    while (end > begin && goes(previous(bytes, end))) end = previous(bytes, end);
  }
  return text.part(begin, end);
}

std::vector<Text> split(const Text& text, const std::optional<std::string_view>& separator,
                        int64_t most, bool from_right) {
  if (!separator) return from_right ? rsplit_at_space(text, most) : split_at_space(text, most);
  if (separator->empty()) raise_error("empty separator");
  const std::string_view bytes = text.bytes;
  std::vector<Text> parts;
  size_t begin = 0, end = bytes.size();
  while (most < 0 || int64_t(parts.size()) < most) {
    const size_t found =
        from_right ? bytes.substr(0, end).rfind(*separator) : bytes.find(*separator, begin);
    if (found == std::string_view::npos) break;
    parts.push_back(from_right ? text.part(found + separator->size(), end)
                               : text.part(begin, found));
    (from_right ? end : begin) = from_right ? found : found + separator->size();
  }
  parts.push_back(text.part(begin, end));
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Text> split_lines(const Text& text, bool keep_ends) {
  const std::string_view bytes = text.bytes;
  std::vector<Text> lines;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = utf8_length(bytes[at]);
    if (!is_line_end(utf8_at(bytes, at))) {
      at += length;
      continue;
    }
    const bool pair = bytes.substr(at, 2) == "\r\n";
    const size_t next = at + (pair ? 2 : length);
    lines.push_back(text.part(begin, keep_ends ? next : at));
    begin = at = next;
  }
  if (begin < bytes.size()) lines.push_back(text.part(begin, bytes.size()));
  return lines;
}

Text replace(const Text& text, std::string_view old, const Text& by, int64_t most, Budget& budget) {
  const std::string_view bytes = text.bytes;
  Text result;
  size_t done = 0, at = 0;
  budget.bytes(text.size());
  for (int64_t count = 0; most < 0 || count < most; ++count) {
    const size_t found = bytes.find(old, at);
    if (found == std::string_view::npos) break;
    budget.bytes(result.size() + by.size() > kMaxTextBytes ? kMaxTextBytes + 1 : by.size());
    result.append(text, done, found);
    result.append(by);
    done = found + old.size();
    // An empty `old` stands before each character and at the end.
    at = old.empty() ? found + (found < bytes.size() ? utf8_length(bytes[found]) : 1) : done;
    if (at > bytes.size()) break;
  }
  result.append(text, done, text.size());
  budget.bytes(result.size());
  return result;
}

Text repeat(const Text& text, int64_t times, Budget& budget) {
  if (times <= 0 || text.empty()) return {};
  budget.bytes(size_t(times) > kMaxTextBytes ? kMaxTextBytes + 1 : text.size() * size_t(times));
  Text result;
  for (int64_t i = 0; i < times; ++i) result.append(text);
  return result;
}

Text join(const Text& separator, const std::vector<Text>& parts, Budget& budget) {
  Text result;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) result.append(separator);
    result.append(parts[i]);
    budget.steps(1 + (separator.size() + parts[i].size()) / 32);
    if (result.size() > kMaxTextBytes) budget.bytes(result.size());
  }
  return result;
}

Text pad(const Text& text, int64_t left, int64_t right, const Text& fill, Budget& budget) {
  Text result = repeat(fill, left, budget);
  result.append(text);
  result.append(repeat(fill, right, budget));
  return result;
}

Text to_case(const Text& text, Case to) {
  Text result;
  bool in_word = false;
  for (size_t at = 0; at < text.size(); at += utf8_length(text.bytes[at])) {
    Case here = to;
    if (to == Case::kTitle) {
      here = in_word ? Case::kLower : Case::kTitle;
      in_word = is_cased(utf8_at(text.bytes, at));
    } else if (to == Case::kCapital) {
      here = at == 0 ? Case::kTitle : Case::kLower;
    }
    append_cased(result, text, at, here);
  }
  return result;
}

Text escape_html(const Text& text, Budget& budget) {
  Text result;
  budget.bytes(text.size());
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text.bytes[at];
    const char* escape = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '\'' ? "&#39;"
                         : c == '"'  ? "&#34;"
                                     : nullptr;
    if (escape) {
      result.append_as(escape, text, at);
    } else {
      result.append(text, at, at + 1);
    }
  }
  budget.bytes(result.size());
  return result;
}

}  // namespace tessera::launch::jinja
