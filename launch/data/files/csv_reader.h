// Splits the text of a table into records, as RFC 4180 defines them: a delimiter separates cells,
// and quotes enclose a cell that holds delimiters, line ends or (doubled) quotes. A lone CR ends a
// record too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "launch/data/files/text_chunks.h"

namespace tessera::launch {

struct CsvRecord {
  std::vector<std::string> cells;
  size_t count = 0;  // how many cells the record has; `cells` may hold fewer
  int64_t line = 0;  // where the record begins
};

class CsvReader {
 public:
  CsvReader(TextChunks& text, char delimiter) : text_(text), delimiter_(delimiter) {}

  /// Reads the next record and keeps at most `most` of its cells. Skips empty lines. False at the
  /// end. Error naming the line for a quote that is not closed, for text behind a closing quote,
  /// and for a record of more than 64 MiB.
  bool next(CsvRecord& record, size_t most);

 private:
  enum class State { kNothing, kCellBegin, kPlain, kQuoted, kQuoteInQuoted };

  /// Reads `chunk` up to the end of the record or of the chunk; returns the bytes read.
  size_t scan(std::string_view chunk, CsvRecord& record);
  /// Handles a delimiter, a quote, a line end, or what follows a closing quote.
  void special(char c, CsvRecord& record);
  /// The front of `rest` that is plain content of a cell in the present state.
  std::string_view ordinary(std::string_view rest) const;
  void add(std::string_view text, CsvRecord& record);
  void begin_cell(CsvRecord& record);
  /// Ends the last record at the end of the file; false where there is none.
  bool finish(CsvRecord& record);

  TextChunks& text_;
  const char delimiter_;
  State state_ = State::kNothing;
  bool done_ = false;      // the record is complete
  bool after_cr_ = false;  // the letter before was a CR
  size_t most_ = 0;
  size_t bytes_ = 0;  // of the record so far
  int64_t line_ = 1;
};

/// The delimiter of a table that begins with `head`: of comma, semicolon and tab, the one that the
/// header has most often outside quotes; a comma where it has none.
char find_delimiter(std::string_view head);

}  // namespace tessera::launch
