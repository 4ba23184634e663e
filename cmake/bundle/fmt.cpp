// What the program needs of libfmt, which Debian has as a shared library alone: compiled from its
// header. A function that the program begins to need is missed by the linker.
#define FMT_HEADER_ONLY
#include <fmt/format.h>

namespace fmt::detail {

[[gnu::used]] std::string (*const kVformat)(string_view, format_args) = fmt::vformat;
[[gnu::used]] void (*const kVprint)(string_view, format_args) = fmt::vprint;
[[gnu::used]] void (*const kVprintTo)(std::FILE*, string_view, format_args) = fmt::vprint;
[[gnu::used]] void (*const kThrowFormatError)(const char*) = throw_format_error;
[[gnu::used]] bool (*const kIsPrintable)(uint32_t) = is_printable;
template thousands_sep_result<char> thousands_sep_impl<char>(locale_ref);

}  // namespace fmt::detail
