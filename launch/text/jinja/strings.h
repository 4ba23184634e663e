// Python's operations on strings, on texts with marks. Indices and widths count code points;
// offsets count bytes.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/text.h"

namespace tessera::launch::jinja {

/// A slice of Python's: its three numbers, each of which may be absent.
struct Slice {
  std::optional<int64_t> start, stop, step;
};

/// The indices start, start + step, ... of which there are `count`.
struct Steps {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};

/// Failure for a step of zero.
Steps resolve(const Slice& slice, int64_t length);

bool is_ascii(std::string_view text);
/// One or more of 0 to 9.
bool is_digits(std::string_view text);
size_t count_points(std::string_view text);
/// Offset of the code point `index`, the end when there are fewer.
size_t offset_of(std::string_view text, size_t index);
Text slice(const Text& text, const Slice& slice);
/// The code points, each a text.
std::vector<Text> points_of(const Text& text);

enum class Side { kBoth, kLeft, kRight };
/// Without the white space, or the characters of `chars`, at its ends.
Text strip(const Text& text, const std::optional<std::string_view>& chars, Side side);

/// str.split, or rsplit `from_right`: at white space without a separator. `most` splits, or any
/// number when negative. Failure for an empty separator.
std::vector<Text> split(const Text& text, const std::optional<std::string_view>& separator,
                        int64_t most, bool from_right);
std::vector<Text> split_lines(const Text& text, bool keep_ends);

/// `most` replacements, or any number when negative.
Text replace(const Text& text, std::string_view old, const Text& by, int64_t most, Budget& budget);
Text repeat(const Text& text, int64_t times, Budget& budget);
Text join(const Text& separator, const std::vector<Text>& parts, Budget& budget);
/// `fill`, one code point, `left` and `right` times around the text; less than once is not at all.
Text pad(const Text& text, int64_t left, int64_t right, const Text& fill, Budget& budget);

enum class Case { kUpper, kLower, kTitle, kCapital, kSwapped, kFolded };
Text to_case(const Text& text, Case to);

/// HTML's escapes for & < > ' ".
Text escape_html(const Text& text, Budget& budget);

}  // namespace tessera::launch::jinja
