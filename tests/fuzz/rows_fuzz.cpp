// A file of rows behind a byte that says of which kind: a table, JSON, gzip, zstd, UTF-16, or the
// names and patterns of files. Any bytes give an Error of one line, or rows that read the same when
// they are written another way.
#include <array>
#include <vector>

#include "launch/data/files/csv_rows.h"
#include "launch/data/files/glob.h"
#include "launch/data/files/json_rows.h"
#include "launch/data/files/lines.h"
#include "launch/data/files/split_slice.h"
#include "runtime/core/error.h"
#include "tests/fuzz/memory_file.h"

namespace {

using namespace tessera;
using namespace tessera::launch;

using Read = void (*)(TextChunks& text, RowCounter& rows);

std::vector<RowJson> rows_of(std::string_view bytes, Read read) {
  const testing::MemoryFile file(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  TextChunks text(file.path());
  std::vector<RowJson> rows;
  const auto keep = [&](RowJson&& row, const std::string&) {
    rows.push_back(std::move(row));
    return true;
  };
  RowCounter counter(0, keep);
  read(text, counter);
  return rows;
}

void check_table(std::string_view bytes) {
  const std::vector<RowJson> rows = rows_of(bytes, read_csv_rows);
  if (rows.empty()) return;
  std::string text, line;
  const auto add = [&](std::string_view cell) {
    line += line.empty() ? "\"" : ",\"";
    for (const char c : cell) line += c == '"' ? std::string("\"\"") : std::string{c};
    line += '"';
  };
  for (const auto& [name, cell] : rows[0].items()) add(name);
  text += std::exchange(line, "") + "\r\n";
  for (const RowJson& row : rows) {
    for (const auto& [name, cell] : row.items()) add(cell.get_ref<const std::string&>());
    text += std::exchange(line, "") + "\r\n";
  }
  TESSERA_CHECK(rows_of(text, read_csv_rows) == rows);
}

void check_json(std::string_view bytes) {
  const std::vector<RowJson> rows = rows_of(bytes, read_json_rows);
  if (rows.empty()) return;
  std::string array;
  for (const RowJson& row : rows) array += (array.empty() ? "[ " : " ,\n") + row.dump(1);
  TESSERA_CHECK(rows_of(array + "\n] ", read_json_rows) == rows);
}

void read_lines(TextChunks& text, RowCounter&) {
  LineReader lines(text);
  for (std::string_view line; lines.next(line);) TESSERA_CHECK(!line.empty());
}

void check_names(std::string_view text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view path = text.substr(0, end),
                         pattern = text.substr(std::min(end + 1, text.size()));
  (void)matches_glob(path, pattern);
  if (!has_wildcards(path)) TESSERA_CHECK(matches_glob(path, path));
  for (const SplitSlice& slice : parse_split(path)) {
    TESSERA_CHECK(parse_split(slice.text()).size() == 1);
    const RowRange range = slice.range_of(1000);
    TESSERA_CHECK(range.begin >= 0 && range.begin <= 1000 && range.end >= 0 && range.end <= 1000);
  }
}

void check(uint8_t kind, std::string_view bytes) {
  switch (kind % 6) {
    case 0:
      return check_table(bytes);
    case 1:
      return check_json(bytes);
    case 2:
    case 3:  // what is compressed says so itself
      return void(rows_of(bytes, read_lines));
    case 4:
      return void(rows_of("\xff\xfe" + std::string(bytes), read_lines));
    default:
      return check_names(bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  try {
    check(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
