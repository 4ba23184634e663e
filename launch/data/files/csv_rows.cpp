#include "launch/data/files/csv_rows.h"

#include <set>

#include "launch/data/files/csv_reader.h"
#include "launch/data/files/known_formats.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

constexpr size_t kMostColumns = 10'000;

void check_header(const CsvRecord& header, const std::string& path) {
  const std::string where = fmt::format("{}:{}", path, header.line);
  if (header.count > kMostColumns) {
    fail("{}: {} columns, more than the {} that a table may have", where, header.count,
         kMostColumns);
  }
  std::set<std::string_view> names;
  for (size_t i = 0; i < header.count; ++i) {
    const std::string& name = header.cells[i];
    if (name.empty()) {
      fail("{}: column {} has no name in the header{}", where, i + 1,
           i == 0 ? "; pandas' to_csv(index=False) leaves out the numbers of rows" : "");
    }
    if (!names.insert(name).second) {
      fail("{}: two columns are called '{}'; rename one", where, io::printable(name));
    }
  }
}

RowJson row_of(const CsvRecord& header, CsvRecord& record) {
  RowJson row = RowJson::object();
  auto& columns = row.get_ref<RowJson::object_t&>();
  columns.reserve(header.cells.size());
  for (size_t i = 0; i < header.cells.size(); ++i) {
    columns.emplace_back(header.cells[i], std::move(record.cells[i]));
  }
  return row;
}

}  // namespace

void read_csv_rows(TextChunks& text, RowCounter& rows) {
  const std::string extension = inner_extension(text.path());
  const bool tabs = extension == ".tsv" || extension == ".tab";
  const char delimiter = tabs ? '\t' : find_delimiter(text.peek());
  CsvReader reader(text, delimiter);
  CsvRecord header, record;
  if (!reader.next(header, kMostColumns)) return;
  check_header(header, text.path());
  while (reader.next(record, header.count)) {
    const auto where = [&] { return fmt::format("{}:{}", text.path(), record.line); };
    if (record.count != header.count) {
      fail(
          "{}: {} cells in a row, but the header has {} columns; put cells that hold '{}' or line "
          "ends in quotes",
          where(), record.count, header.count, delimiter == '\t' ? "\\t" : std::string{delimiter});
    }
    if (!rows.row([&](const std::string&) { return row_of(header, record); }, where)) return;
  }
  if (rows.count() == 0) fail("{}: the table has a header, but no rows", text.path());
}

}  // namespace tessera::launch
