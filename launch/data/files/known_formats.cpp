#include "launch/data/files/known_formats.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

/// A format that is known by how its files begin.
struct Magic {
  std::string_view begins;
  const char* is;
  const char* cure;
};
constexpr std::array<Magic, 11> kFormats = {{
    {"\x1f\x8b"sv, "compressed by gzip", "unpack it with gunzip"},
    {"\x28\xb5\x2f\xfd"sv, "compressed by zstd", "unpack it with unzstd"},
    {"BZh"sv, "compressed by bzip2", "unpack it with bunzip2"},
    {"\xfd\x37zXZ\0"sv, "compressed by xz", "unpack it with unxz"},
    {"PK\x03\x04"sv, "a zip archive (or an office document)",
     "unpack it, or export the rows as JSON"},
    {"PAR1"sv, "a Parquet file", "write it as JSON lines, e.g. with pandas' to_json(lines=True)"},
    {"ARROW1"sv, "an Arrow file", "write it as JSON lines, e.g. with datasets' to_json()"},
    {"\x89HDF"sv, "an HDF5 file", "write it as JSON lines"},
    {"SQLite format 3"sv, "an SQLite database", "write its rows as JSON lines"},
    {"GGUF"sv, "a GGUF model", "data sets are JSON or JSON lines"},
    {"%PDF"sv, "a PDF document", "write its text as JSON lines"},
}};
/// A tar archive says so behind the name of its first file.
constexpr std::string_view kTarMagic = "ustar";
constexpr size_t kTarMagicAt = 257;

struct Named {
  std::string_view name;
  FileKind kind;
};
constexpr std::array<Named, 4> kKinds = {{
    {"json", FileKind::kJson},
    {"csv", FileKind::kCsv},
    {"text", FileKind::kText},
    {"parquet", FileKind::kParquet},
}};
constexpr std::array<Named, 9> kExtensions = {{
    {".json", FileKind::kJson},
    {".jsonl", FileKind::kJson},
    {".ndjson", FileKind::kJson},
    {".csv", FileKind::kCsv},
    {".tsv", FileKind::kCsv},
    {".tab", FileKind::kCsv},
    {".txt", FileKind::kText},
    {".md", FileKind::kText},
    {".parquet", FileKind::kParquet},
}};

std::string small_letters(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return char(tolower(c)); });
  return text;
}

}  // namespace

std::optional<FileKind> file_kind(std::string_view ds_type) {
  if (ds_type.empty()) return std::nullopt;
  const auto found = std::ranges::find(kKinds, ds_type, &Named::name);
  if (found == kKinds.end()) {
    fail("ds_type: expected json, csv, text or parquet, got '{}'", io::printable(ds_type));
  }
  return found->kind;
}

std::string_view name_of(FileKind kind) {
  return std::ranges::find(kKinds, kind, &Named::kind)->name;
}

std::string inner_extension(std::string_view path) {
  fs::path name = fs::path(path).filename();
  std::string extension = small_letters(name.extension().string());
  if (extension == ".gz" || extension == ".zst" || extension == ".zstd") {
    extension = small_letters(name.stem().extension().string());
  }
  return extension;
}

std::optional<FileKind> kind_by_name(std::string_view path) {
  const auto found = std::ranges::find(kExtensions, inner_extension(path), &Named::name);
  return found == kExtensions.end() ? std::nullopt : std::optional(found->kind);
}

TextEncoding encoding_of(std::string_view head, const std::string& path) {
  if (head.starts_with("\xff\xfe\0\0"sv) || head.starts_with("\0\0\xfe\xff"sv)) {
    fail("{}: is text in UTF-32; save it as UTF-8", path);
  }
  if (head.starts_with("\xff\xfe")) return TextEncoding::kUtf16Little;
  if (head.starts_with("\xfe\xff")) return TextEncoding::kUtf16Big;
  // Where much of a text is ASCII, one byte of many pairs is zero.
  head = head.substr(0, 64);
  std::array<size_t, 2> zeros = {};  // at even and at odd places
  for (size_t i = 0; i < head.size(); ++i) zeros[i % 2] += head[i] == 0;
  if (zeros[1] > 2 * zeros[0] && 8 * zeros[1] >= head.size()) return TextEncoding::kUtf16Little;
  if (zeros[0] > 2 * zeros[1] && 8 * zeros[0] >= head.size()) return TextEncoding::kUtf16Big;
  return TextEncoding::kUtf8;
}

void refuse_other_formats(std::string_view head, const std::string& path) {
  for (const Magic& format : kFormats) {
    if (head.starts_with(format.begins)) fail("{}: is {}; {}", path, format.is, format.cure);
  }
  if (head.size() > kTarMagicAt && head.substr(kTarMagicAt).starts_with(kTarMagic)) {
    fail("{}: is a tar archive; unpack it with tar -xf", path);
  }
}

std::string_view plain_text(std::string_view bytes, const std::string& path) {
  refuse_other_formats(bytes, path);
  if (encoding_of(bytes, path) != TextEncoding::kUtf8) {
    fail("{}: is text in UTF-16; save it as UTF-8", path);
  }
  if (bytes.starts_with(kByteOrderMark)) bytes.remove_prefix(kByteOrderMark.size());
  return bytes;
}

}  // namespace tessera::launch
