#include "launch/data/files/csv_reader.h"

#include <algorithm>
#include <array>

#include "launch/data/files/lines.h"
#include "runtime/core/error.h"

namespace tessera::launch {

bool CsvReader::next(CsvRecord& record, size_t most) {
  record.cells.clear();
  record.count = 0;
  most_ = most;
  bytes_ = 0;
  state_ = State::kNothing;
  for (done_ = false; !done_;) {
    const std::string_view chunk = text_.peek();
    if (chunk.empty()) return finish(record);
    const size_t used = scan(chunk, record);
    bytes_ = state_ == State::kNothing ? 0 : bytes_ + used;
    if (bytes_ > kMaxRowBytes) {
      fail("{}:{}: the row is longer than 64 MiB; is a quote left open?", text_.path(),
           record.line);
    }
    text_.take(used);
  }
  return true;
}

size_t CsvReader::scan(std::string_view chunk, CsvRecord& record) {
  size_t at = 0;
  while (at < chunk.size() && !done_) {
    const std::string_view plain = ordinary(chunk.substr(at));
    if (!plain.empty()) {
      add(plain, record);
      at += plain.size();
      after_cr_ = false;
    } else {
      special(chunk[at++], record);
    }
  }
  return at;
}

std::string_view CsvReader::ordinary(std::string_view rest) const {
  // No text may follow a closing quote. A quote inside an unquoted cell is plain content.
  if (state_ == State::kQuoteInQuoted) return {};
  const std::array<char, 3> of_quoted = {'"', '\r', '\n'};
  const std::array<char, 4> of_others = {delimiter_, '\r', '\n', '"'};
  const size_t others = state_ == State::kPlain ? 3 : 4;
  const std::string_view ends = state_ == State::kQuoted
                                    ? std::string_view(of_quoted.data(), of_quoted.size())
                                    : std::string_view(of_others.data(), others);
  return rest.substr(0, rest.find_first_of(ends));
}

void CsvReader::add(std::string_view text, CsvRecord& record) {
  if (state_ == State::kNothing || state_ == State::kCellBegin) {
    begin_cell(record);
    state_ = State::kPlain;
  }
  if (record.count <= most_) record.cells.back() += text;
}

void CsvReader::begin_cell(CsvRecord& record) {
  if (record.count == 0) record.line = line_;
  if (++record.count <= most_) record.cells.emplace_back();
}

void CsvReader::special(char c, CsvRecord& record) {
  const bool line_end = c == '\r' || c == '\n';
  const bool second_of_pair = c == '\n' && after_cr_;
  const int64_t line = line_;
  if (line_end && !second_of_pair) ++line_;
  after_cr_ = c == '\r';
  switch (state_) {
    case State::kQuoted:
      if (c == '"') {
        state_ = State::kQuoteInQuoted;
      } else {
        add({&c, 1}, record);
      }
      return;
    case State::kQuoteInQuoted:
      if (c == '"') {
        state_ = State::kQuoted;
        return add({&c, 1}, record);
      }
      if (c != delimiter_ && !line_end) {
        fail(
            "{}:{}: a quote closes cell {}, but more than a delimiter follows it; double the "
            "quotes inside a cell",
            text_.path(), line, record.count);
      }
      break;
    case State::kNothing:
      if (line_end) return;
      [[fallthrough]];
    case State::kCellBegin:
      begin_cell(record);
      if (c == '"') {
        state_ = State::kQuoted;
        return;
      }
      break;
    case State::kPlain:
      break;
  }
  done_ = line_end;
  state_ = State::kCellBegin;
}

bool CsvReader::finish(CsvRecord& record) {
  if (state_ == State::kQuoted) {
    fail("{}:{}: the file ends inside the quotes of cell {}", text_.path(), record.line,
         record.count);
  }
  if (state_ == State::kCellBegin) begin_cell(record);
  return state_ != State::kNothing;
}

char find_delimiter(std::string_view head) {
  std::array<std::pair<char, int64_t>, 3> found = {{{',', 0}, {';', 0}, {'\t', 0}}};
  head.remove_prefix(std::min(head.find_first_not_of("\r\n"), head.size()));
  bool quoted = false;
  for (const char c : head) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '\n' || c == '\r') break;
    for (auto& [delimiter, count] : found) count += c == delimiter;
  }
  return std::ranges::max_element(found, {}, [](const auto& each) { return each.second; })->first;
}

}  // namespace tessera::launch
