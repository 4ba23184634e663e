// What Python knows about characters: its classes (str.isalpha and the like) and its full case
// mappings, of which some make two or three characters of one.
#pragma once

#include <string>
#include <string_view>

namespace tessera::launch::jinja {

/// What str.isspace, strip and split take for white space.
bool is_python_space(char32_t point);
/// Where str.splitlines ends a line; "\r\n" is one end, too.
bool is_line_end(char32_t point);
bool is_alpha(char32_t point);
bool is_decimal(char32_t point);
bool is_digit(char32_t point);
bool is_numeric(char32_t point);
/// What repr shows as it is.
bool is_printable(char32_t point);
bool is_lower(char32_t point);
bool is_upper(char32_t point);
bool is_title(char32_t point);
/// Has a case: lower, upper or title.
bool is_cased(char32_t point);

/// str.islower and str.isupper: of the characters with a case, of which there must be some.
bool is_lower_text(std::string_view text);
bool is_upper_text(std::string_view text);

void append_upper(std::string& out, char32_t point);
void append_title(std::string& out, char32_t point);
/// `at` is the place of the point in `text`: a sigma that ends a word has a form of its own.
void append_lower(std::string& out, std::string_view text, size_t at);
void append_folded(std::string& out, char32_t point);

}  // namespace tessera::launch::jinja
