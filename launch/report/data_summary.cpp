#include "launch/report/data_summary.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "launch/console/progress.h"

namespace tessera::launch {
namespace {

/// "1 row", "2,000 rows"
std::string counted(int64_t n, std::string_view what) {
  return fmt::format("{} {}{}", format_count(n), what, n == 1 ? "" : "s");
}

/// "30 to 55", or "30" where all are the same.
std::string range_text(const Spread& spread) {
  if (spread.least == spread.most) return format_count(spread.least);
  return fmt::format("{} to {}", format_count(spread.least), format_count(spread.most));
}

/// "41.2", "3,900"
std::string mean_text(double mean) {
  return mean < 1000 ? fmt::format("{:.1f}", mean) : format_count(std::llround(mean));
}

/// Behind a range: ", 41.2 on average"
std::string average_text(const Spread& spread) {
  if (spread.least == spread.most) return "";
  return fmt::format(", {} on average", mean_text(spread.mean));
}

/// A note of a data set begins with its path, which is told already.
std::string_view without_path(std::string_view note, const std::string& path) {
  if (note.starts_with(path + ": ")) note.remove_prefix(path.size() + 2);
  return note;
}

}  // namespace

int64_t SampleSummary::learned() const {
  return std::ranges::count_if(tokens, &SampleToken::learned);
}

int64_t DataSummary::lost_rows() const {
  int64_t rows = 0;
  for (const SetSummary& set : sets) rows += set.lost();
  return rows;
}

std::string DataSummary::lost_reasons() const {
  std::string text;
  const auto add = [&](int64_t SetSummary::*count, const char* why) {
    int64_t n = 0;
    for (const SetSummary& set : sets) n += set.*count;
    if (n > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", format_count(n), why);
  };
  add(&SetSummary::dropped_long, "longer than sequence_len (dropped)");
  add(&SetSummary::truncated, "longer than sequence_len (cut)");
  add(&SetSummary::dropped_empty, "with nothing to learn (dropped)");
  return text;
}

std::string share_text(int64_t part, int64_t whole) {
  return fmt::format("{:.1f} %", whole == 0 ? 0.0 : 100 * double(part) / double(whole));
}

std::string set_title(const SetSummary& set) {
  return fmt::format("{}: {}{}{}", set.path, set.type.empty() ? "no rows" : set.type,
                     set.weight == 1 ? "" : fmt::format(", weight {}", set.weight),
                     set.evaluated ? ", evaluated on" : "");
}

std::vector<std::string> set_lines(const SetSummary& set) {
  std::vector<std::string> lines = {
      fmt::format("{} read, {}{}", counted(set.rows, "row"), counted(set.samples, "sample"),
                  set.held_out > 0 ? fmt::format(", {} of them held out to evaluate on",
                                                 format_count(set.held_out))
                                   : ""),
      fmt::format("{}, {} learned ({})", counted(set.tokens, "token"), format_count(set.learned),
                  share_text(set.learned, set.tokens))};
  if (!set.cached_in.empty()) lines.push_back("tokens cached in " + set.cached_in);
  for (const std::string& note : set.notes) lines.emplace_back(without_path(note, set.path));
  return lines;
}

std::vector<std::string> steps_lines(const StepsSummary& s) {
  std::vector<std::string> lines = {fmt::format(
      "{} of {} x {}{}; {:.4g} epoch{}", counted(s.steps, "step"), s.micro_batches,
      counted(s.micro_batch_size, "row"), s.ranks == 1 ? "" : fmt::format(" on {} ranks", s.ranks),
      s.epochs, s.epochs == 1 ? "" : "s")};
  if (s.packing) {
    lines.push_back(fmt::format("{} in an epoch, packed to {:.1f} % of {} tokens",
                                counted(s.rows, "row"), 100 * s.filled,
                                format_count(s.sequence_len)));
    lines.push_back(fmt::format("{} sample{} in a row{}", range_text(s.row_samples),
                                s.row_samples.most == 1 ? "" : "s", average_text(s.row_samples)));
  } else {
    lines.push_back(
        fmt::format("{} in an epoch, of one sample each: no packing", counted(s.rows, "row")));
  }
  std::string batches = fmt::format("{} tokens in a micro-batch{}", range_text(s.batch_tokens),
                                    average_text(s.batch_tokens));
  if (s.largest_batch > s.batch_tokens.most) {
    batches += fmt::format("; at most {} in later epochs", format_count(s.largest_batch));
  }
  lines.push_back(std::move(batches));
  return lines;
}

std::string bin_text(const LengthHistogram::Bin& bin) {
  if (bin.end - bin.begin == 1) return format_count(bin.begin);
  return fmt::format("{}-{}", format_count(bin.begin), format_count(bin.end - 1));
}

std::string lengths_line(const LengthHistogram& l) {
  return fmt::format("least {}, median {}, mean {}, 95 % up to {}, longest {}",
                     format_count(l.least), format_count(l.median), mean_text(l.mean),
                     format_count(l.p95), format_count(l.longest));
}

std::string sample_title(const SampleSummary& sample) {
  const int64_t tokens = int64_t(sample.tokens.size());
  return fmt::format("sample {} of {}: {}, {} learned ({})", sample.number, sample.path,
                     counted(tokens, "token"), format_count(sample.learned()),
                     share_text(sample.learned(), tokens));
}

}  // namespace tessera::launch
