#include "launch/data/files/json_rows.h"

#include <algorithm>
#include <streambuf>

#include "launch/data/files/json_elements.h"
#include "launch/data/files/lines.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using json = RowJson;

/// A text for a parser that reads streams.
class ChunkBuffer final : public std::streambuf {
 public:
  explicit ChunkBuffer(TextChunks& text) : text_(text) {}

 protected:
  int_type underflow() override {
    text_.take(size_t(egptr() - eback()));
    const std::string_view chunk = text_.peek();
    // Nothing is written through these pointers, but the interface knows no others.
    char* begin = const_cast<char*>(chunk.data());
    setg(begin, begin, begin + chunk.size());
    return chunk.empty() ? traits_type::eof() : traits_type::to_int_type(*begin);
  }

 private:
  TextChunks& text_;
};

/// Finds the key of the outermost object that holds a list of objects.
class ListFinder final : public nlohmann::json_sax<json> {
 public:
  const std::string& key_of_rows() const { return key_of_rows_; }

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool number_integer(number_integer_t) override { return other(); }
  bool number_unsigned(number_unsigned_t) override { return other(); }
  bool number_float(number_float_t, const string_t&) override { return other(); }
  bool string(string_t&) override { return other(); }
  bool binary(binary_t&) override { return other(); }
  bool key(string_t& name) override {
    if (depth_ == 1) key_ = io::printable(name);
    return true;
  }
  bool start_object(size_t) override {
    const bool of_row = key_ == "messages" || key_ == "conversations";
    if (first_in_list_ && !of_row && key_of_rows_.empty()) key_of_rows_ = key_;
    ++depth_;
    return other();
  }
  bool start_array(size_t) override {
    first_in_list_ = ++depth_ == 2;
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  bool other() {
    first_in_list_ = false;
    return true;
  }
  bool close() {
    --depth_;
    return other();
  }

  int64_t depth_ = 0;
  bool first_in_list_ = false;
  std::string key_;  // in the outermost object
  std::string key_of_rows_;
};

/// Says more than a JSON error of the first line can: the file may be one object over many lines.
void refuse_one_object(const std::string& path) {
  TextChunks text(path);
  ChunkBuffer buffer(text);
  std::istream stream(&buffer);
  ListFinder finder;
  if (!json::sax_parse(stream, &finder)) return;
  if (!finder.key_of_rows().empty()) {
    fail("{}: is one JSON object with its rows in \"{}\"; make that array the whole file", path,
         finder.key_of_rows());
  }
  fail("{}: is one JSON object over several lines; put each row on one line, or all in [ ]", path);
}

[[noreturn]] void refuse_first_line(std::string_view line, const std::string& path) {
  const bool tabs = line.find('\t') != line.npos;
  if (tabs || line.find(',') != line.npos) {
    fail("{}: is no JSON; it looks like {}: name it {}, or give ds_type: csv", path,
         tabs ? "TSV" : "CSV", tabs ? ".tsv" : ".csv");
  }
  fail(
      "{}: is no JSON: expected one JSON object on each line, or an array of them; ds_type: text "
      "reads plain text",
      path);
}

json parse_line(std::string_view line, const std::string& where) {
  try {
    return io::parse_ordered_json(line, where);
  } catch (const Error& error) {
    // Two common mistakes have a cure of their own.
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

void read_array(TextChunks& text, RowCounter& rows) {
  JsonElements elements(text);
  std::string element;
  while (elements.next(element)) {
    const bool more =
        rows.row([&](const std::string& where) { return io::parse_ordered_json(element, where); },
                 [&] { return elements.where(); });
    if (!more) return;
  }
  if (rows.count() == 0) fail("{}: the array holds no rows", text.path());
}

void read_lines(TextChunks& text, RowCounter& rows) {
  LineReader lines(text);
  std::string_view line;
  for (bool first = true; lines.next(line); first = false) {
    if (first && line[line.find_first_not_of(kBlank)] != '{') refuse_first_line(line, text.path());
    if (first && !json::accept(line)) refuse_one_object(text.path());
    const bool more = rows.row([&](const std::string& where) { return parse_line(line, where); },
                               [&] { return lines.where(); });
    if (!more) return;
  }
}

}  // namespace

bool begins_with_json_line(std::string_view head) {
  head.remove_prefix(std::min(head.find_first_not_of(kBlank), head.size()));
  if (!head.starts_with('{')) return false;
  const size_t end = head.find('\n');
  if (end != head.npos) return json::accept(head.substr(0, end));
  const size_t inside = head.find_first_not_of(kBlank, 1);
  return inside != head.npos && (head[inside] == '"' || head[inside] == '}');
}

void read_json_rows(TextChunks& text, RowCounter& rows) {
  const std::string_view head = text.peek();
  const size_t first = head.find_first_not_of(kBlank);
  if (first != head.npos && head[first] == '[') {
    read_array(text, rows);
  } else {
    read_lines(text, rows);
  }
}

}  // namespace tessera::launch
