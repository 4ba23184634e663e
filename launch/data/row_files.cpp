#include "launch/data/row_files.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;
using json = RowJson;

constexpr size_t kMaxFileBytes = size_t{4} << 30;
constexpr size_t kMaxLineBytes = size_t{64} << 20;
constexpr std::string_view kBlank = " \t\r\n";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// A format that is known by how its files begin.
struct Magic {
  std::string_view begins;
  const char* is;
  const char* cure;
};
constexpr std::array<Magic, 13> kFormats = {{
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
    {"\xff\xfe"sv, "text in UTF-16", "save it as UTF-8"},
    {"\xfe\xff"sv, "text in UTF-16", "save it as UTF-8"},
}};

/// Whether every second byte of the beginning is 0, as in ASCII text written as UTF-16.
bool looks_like_utf16(std::string_view bytes) {
  const size_t count = std::min<size_t>(bytes.size(), 64) / 2 * 2;
  if (count < 4) return false;
  for (size_t odd : {0, 1}) {
    bool alternates = true;
    for (size_t i = 0; i < count; ++i) alternates &= (bytes[i] == 0) == (i % 2 == odd);
    if (alternates) return true;
  }
  return false;
}

[[noreturn]] void refuse_first_line(std::string_view text, const std::string& path) {
  const std::string_view line = text.substr(0, text.find('\n'));
  const bool tabs = path.ends_with(".tsv") || line.find('\t') != line.npos;
  if (tabs || path.ends_with(".csv") || line.find(',') != line.npos) {
    fail("{}: is no JSON; it looks like {}: write its rows as JSON lines", path,
         tabs ? "TSV" : "CSV");
  }
  fail("{}: is no JSON: expected one JSON object on each line, or an array of them", path);
}

/// Says more than a JSON error of the first line can: the file may be one object over many lines.
void refuse_one_object(std::string_view text, const std::string& path) {
  if (!json::accept(text)) return;
  const json whole = json::parse(text);
  for (const auto& [key, value] : whole.items()) {
    if (value.is_array() && !value.empty() && value[0].is_object() && key != "messages" &&
        key != "conversations") {
      fail("{}: is one JSON object with its rows in \"{}\"; make that array the whole file", path,
           key);
    }
  }
  fail("{}: is one JSON object over several lines; put each row on one line, or all in [ ]", path);
}

void require_file(const std::string& path) {
  if (io::is_folder(path)) fail("{}: is a folder; name the file of rows in it", path);
  if (io::exists(path)) return;
  const bool may_be_hub = std::ranges::count(path, '/') == 1 && path.front() != '.' &&
                          path.front() != '/' && fs::path(path).extension().empty();
  fail("{}: no such file{}", path,
       may_be_hub ? "; a data set of the hub has to be downloaded, as JSON or JSON lines" : "");
}

json parse_line(std::string_view line, const std::string& where) {
  try {
    return io::parse_ordered_json(line, where);
  } catch (const Error& error) {
    // Two values, or a Python literal, are told from other broken lines by what a reader can do.
    if (line.find("}{") != line.npos || line.find("} {") != line.npos) {
      fail("{} (two objects on one line? put each on its own)", error.what());
    }
    if (line.find_first_not_of(" \t") != line.npos &&
        line.substr(line.find_first_not_of(" \t")).starts_with("{'")) {
      fail("{} (a Python literal? JSON wants double quotes: write it with json.dumps)",
           error.what());
    }
    throw;
  }
}

}  // namespace

std::string_view plain_text(std::string_view bytes, const std::string& path) {
  for (const Magic& format : kFormats) {
    if (bytes.starts_with(format.begins)) fail("{}: is {}; {}", path, format.is, format.cure);
  }
  if (looks_like_utf16(bytes)) fail("{}: is text in UTF-16; save it as UTF-8", path);
  if (bytes.starts_with(kByteOrderMark)) bytes.remove_prefix(kByteOrderMark.size());
  return bytes;
}

void for_each_line(std::string_view text, const std::string& path,
                   FunctionRef<void(std::string_view line, const std::string& where)> visit) {
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(kBlank) == line.npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    if (line.size() > kMaxLineBytes) fail("{}: the line is longer than 64 MiB", where);
    visit(line, where);
  }
}

void for_each_row(const std::string& path,
                  FunctionRef<void(const json& row, const std::string& where)> visit) {
  require_file(path);
  const std::string bytes = io::read_file(path, kMaxFileBytes);
  const std::string_view text = plain_text(bytes, path);
  const size_t first = text.find_first_not_of(kBlank);
  if (first == text.npos) fail("{}: the file is empty", path);
  if (text[first] == '[') {
    const json rows =
        io::parse_ordered_json(text, path, {.max_depth = 64, .max_values = 100'000'000});
    if (rows.empty()) fail("{}: the array holds no rows", path);
    for (size_t i = 0; i < rows.size(); ++i) visit(rows[i], fmt::format("{}: row {}", path, i + 1));
    return;
  }
  if (text[first] != '{') refuse_first_line(text.substr(first), path);
  const std::string_view line = text.substr(first, text.find('\n', first) - first);
  if (line.size() < text.size() - first && !json::accept(line)) refuse_one_object(text, path);
  for_each_line(text, path, [&](std::string_view row, const std::string& where) {
    visit(parse_line(row, where), where);
  });
}

}  // namespace tessera::launch
