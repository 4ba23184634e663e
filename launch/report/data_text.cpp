#include "launch/report/data_text.h"

#include <algorithm>
#include <string_view>

#include "launch/console/progress.h"
#include "launch/report/sample_text.h"
#include "launch/report/visible_text.h"

namespace tessera::launch {
namespace {

constexpr size_t kLabelColumns = 10;  // columns of the labels

/// A bar of `eighths` of a column.
std::string bar_text(int64_t eighths) {
  constexpr const char* kParts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  std::string bar;
  for (int64_t whole = eighths / 8; whole > 0; --whole) bar += "█";
  return bar + kParts[eighths % 8];
}

/// Lines of at most `room` columns, broken at blanks; all but the first are moved in.
std::vector<std::string> wrapped(std::string text, size_t room) {
  constexpr std::string_view kMovedIn = "  ";
  std::vector<std::string> lines;
  while (columns_of(text) > room) {
    size_t cut = text.npos;
    for (size_t at = text.find(' ', kMovedIn.size()); at != text.npos;
         at = text.find(' ', at + 1)) {
      if (cut != text.npos && columns_of(text.substr(0, at)) > room) break;
      cut = at;
    }
    if (cut == text.npos) break;
    lines.push_back(text.substr(0, cut));
    text.replace(0, cut + 1, kMovedIn);
  }
  lines.push_back(std::move(text));
  return lines;
}

/// Puts the parts of a report below each other, labels at the left.
class Page {
 public:
  Page(size_t columns, bool colour) : columns_(columns), colour_(colour) {}

  /// Of the next line.
  void label(std::string_view text) { label_ = text; }
  /// A line of any text, wrapped.
  void add(std::string_view text) {
    const size_t room = std::max(columns_, kLabelColumns + 20) - kLabelColumns;
    for (const std::string& line : wrapped(visible(text, Lines::kOne), room)) row(line);
  }
  /// A line as it is.
  void row(std::string_view text) {
    std::string head = fmt::format("{:<{}}", label_, kLabelColumns);
    if (colour_ && !label_.empty()) head = fmt::format("\x1b[1m{}\x1b[0m", head);
    label_.clear();
    text_ += fmt::format("{}{}\n", head, text);
  }
  void gap() { text_ += "\n"; }
  /// Lines without a margin.
  void raw(std::string_view text) { text_ += text; }

  size_t columns() const { return columns_; }
  std::string take() { return std::move(text_); }

 private:
  const size_t columns_;
  const bool colour_;
  std::string label_, text_;
};

void add_sets(Page& page, const DataSummary& data) {
  for (const SetSummary& set : data.sets) {
    page.label("data");
    page.add(set_title(set));
    for (const std::string& line : set_lines(set)) page.add(line);
  }
}

void add_lengths(Page& page, const DataSummary& data) {
  const LengthHistogram& lengths = data.lengths;
  struct Row {
    std::string range, count, share;
    int64_t samples;
  };
  std::vector<Row> rows;
  size_t range = 0, count = 0;
  int64_t most = 1;
  for (const LengthHistogram::Bin& bin : lengths.bins) {
    rows.push_back({bin_text(bin), format_count(bin.samples),
                    share_text(bin.samples, lengths.samples), bin.samples});
    range = std::max(range, rows.back().range.size());
    count = std::max(count, rows.back().count.size());
    most = std::max(most, bin.samples);
  }
  const std::string limit = format_count(data.steps.sequence_len);
  range = std::max(range, limit.size());
  page.label("lengths");
  page.add(fmt::format("of {} samples to train on, in tokens", format_count(lengths.samples)));
  const size_t before = kLabelColumns + range + 2 + count + 2 + 7 + 2;
  const int64_t room = int64_t(std::max(page.columns(), before + 10) - before);
  for (const Row& row : rows) {
    const int64_t eighths = (row.samples * room * 8 + most - 1) / most;
    std::string line = fmt::format("{:>{}}  {:>{}}  {:>7}  {}", row.range, range, row.count, count,
                                   row.share, bar_text(eighths));
    line.erase(line.find_last_not_of(' ') + 1);
    page.row(line);
  }
  page.row(fmt::format("{:>{}}  ◂ sequence_len", limit, range));
  page.add(lengths_line(lengths));
}

void add_lost(Page& page, const DataSummary& data, int64_t shown) {
  page.label("lost");
  const int64_t all = data.lost_rows(), known = int64_t(data.lost.size());
  if (all == 0) return page.add("nothing: no row is dropped or cut");
  page.add(data.lost_reasons());
  const int64_t named = std::min(shown, known);
  for (int64_t i = 0; i < named; ++i) {
    page.add(fmt::format("{}: {}", data.lost[size_t(i)].where, data.lost[size_t(i)].why));
  }
  if (all == named) return;
  page.add(fmt::format("{} more{}", format_count(all - named),
                       named == known ? ", which are not named"
                                      : fmt::format(" (--lost {} names {})", known,
                                                    known != all ? "the first, as many as are kept"
                                                    : named == 0 ? "them"
                                                                 : "all")));
}

void add_samples(Page& page, const DataSummary& data, const DataTextOptions& options) {
  if (data.samples.empty()) return;
  page.gap();
  page.label("samples");
  page.row(options.tokens && !options.colour ? "token by token" : sample_legend(options.colour));
  for (const SampleSummary& sample : data.samples) {
    page.gap();
    page.raw(visible(sample_title(sample), Lines::kOne) + "\n");
    page.raw(options.tokens ? token_table(sample, options.colour)
                            : sample_text(sample, options.colour));
  }
}

}  // namespace

std::string data_text(const DataSummary& data, const DataTextOptions& options) {
  Page page(options.columns, options.colour);
  add_sets(page, data);
  page.gap();
  add_lengths(page, data);
  page.gap();
  page.label("run");
  for (const std::string& line : steps_lines(data.steps)) page.add(line);
  page.gap();
  add_lost(page, data, options.lost_rows);
  add_samples(page, data, options);
  return page.take();
}

}  // namespace tessera::launch
