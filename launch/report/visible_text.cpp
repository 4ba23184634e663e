#include "launch/report/visible_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

namespace tessera::launch {
namespace {

/// The code point at the start of `text` and its bytes; less than 1 where it is no UTF-8.
utf8proc_ssize_t first_of(std::string_view text, utf8proc_int32_t& code) {
  return utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                          utf8proc_ssize_t(text.size()), &code);
}

/// Joiners make one sign of several and are no danger alone; emoji and many scripts need them.
bool is_joiner(utf8proc_int32_t code) { return code == 0x200c || code == 0x200d; }

/// Whether a terminal or a page would show nothing, or something else than the text.
bool is_hidden(utf8proc_int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP || (category == UTF8PROC_CATEGORY_CF && !is_joiner(code));
}

/// U+2400 and those behind it are pictures of the control characters of ASCII.
std::string picture(int code) { return {'\xe2', '\x90', char(0x80 + code)}; }

}  // namespace

std::string visible(std::string_view text, Lines lines) {
  std::string out;
  while (!text.empty()) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t bytes = first_of(text, code);
    if (bytes < 1) {
      out += fmt::format("⟨{:02X}⟩", static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    if (code == '\n') {
      out += lines == Lines::kKeep ? "↵\n" : "↵";
    } else if (code == '\t' && lines == Lines::kKeep) {
      out += '\t';
    } else if (code < 0x20) {
      out += picture(code);
    } else if (code == 0x7f) {
      out += "␡";
    } else if (is_hidden(code)) {
      out += fmt::format("⟨U+{:04X}⟩", code);
    } else {
      out += text.substr(0, size_t(bytes));
    }
    text.remove_prefix(size_t(bytes));
  }
  return out;
}

size_t columns_of(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t bytes = first_of(text, code);
    if (bytes > 0) columns += size_t(std::max(0, utf8proc_charwidth(code)));
    text.remove_prefix(size_t(std::max<utf8proc_ssize_t>(bytes, 1)));
  }
  return columns;
}

}  // namespace tessera::launch
