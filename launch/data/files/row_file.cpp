#include "launch/data/files/row_file.h"

#include <array>

#include "launch/data/files/csv_rows.h"
#include "launch/data/files/json_rows.h"
#include "launch/data/files/lines.h"
#include "launch/data/files/parquet_rows.h"
#include "launch/data/files/text_chunks.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// Every line that is not blank is a row of one column.
void read_text_rows(TextChunks& text, RowCounter& rows) {
  LineReader lines(text);
  std::string_view line;
  while (lines.next(line)) {
    const bool more = rows.row(
        [&](const std::string&) {
          return RowJson{{"text", line}};
        },
        [&] { return lines.where(); });
    if (!more) return;
  }
}

void read_parquet_rows(const std::string& path, RowCounter& rows) {
  for_each_parquet_row(path, [&](RowJson&& row, const std::string& where) {
    return rows.row([&](const std::string&) { return std::move(row); }, [&] { return where; });
  });
}

bool begins_as_parquet(const std::string& path) {
  std::array<char, kParquetMagic.size()> begin;
  return std::string_view(begin.data(), FileBytes(path).read(begin)) == kParquetMagic;
}

}  // namespace

int64_t read_row_file(const std::string& path, std::optional<FileKind> kind, int64_t skip,
                      RowVisitor visit) {
  RowCounter rows(skip, visit);
  const bool given = kind.has_value();
  if (!given) kind = begins_as_parquet(path) ? FileKind::kParquet : kind_by_name(path);
  if (kind == FileKind::kParquet) {
    read_parquet_rows(path, rows);
    return rows.count();
  }
  TextChunks text(path);
  // JSON lines are told by what they are, whatever the file is called.
  if (!kind || (!given && begins_with_json_line(text.peek()))) kind = FileKind::kJson;
  if (kind == FileKind::kCsv) {
    read_csv_rows(text, rows);
  } else if (kind == FileKind::kText) {
    read_text_rows(text, rows);
  } else {
    read_json_rows(text, rows);
  }
  if (rows.count() == 0) fail("{}: the file is empty", path);
  return rows.count();
}

}  // namespace tessera::launch
