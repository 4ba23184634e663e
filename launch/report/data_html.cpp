#include "launch/report/data_html.h"

#include <algorithm>
#include <string_view>

#include "launch/console/progress.h"
#include "launch/report/html.h"

namespace tessera::launch {
namespace {

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<title>Training data</title>
<style>
:root { color-scheme: light dark; --ink: #1f2328; --soft: #656d76; --page: #ffffff;
  --card: #f6f8fa; --line: #d8dee4; --bar: #54aeff; --learned: #b4f0be; --special: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #8d96a0; --page: #0d1117;
  --card: #161b22; --line: #30363d; --bar: #1f6feb; --learned: #0f5323; --special: #79c0ff; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink);
  background: var(--page); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }
p, ul { margin: .2rem 0; } li, td { overflow-wrap: anywhere; } .soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td { padding: .1rem .6rem .1rem 0; vertical-align: middle; white-space: nowrap; }
td.wide { width: 100%; } td.number { text-align: right; } td.why { white-space: normal; }
.bar { height: .9rem; min-width: 1px; background: var(--bar); border-radius: 2px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; margin: 0;
  padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--soft);
  font: 13px/1.6 ui-monospace, monospace; }
.learned { background: var(--learned); color: var(--ink); }
.special { color: var(--special); font-weight: 600; }
span[title]:hover { outline: 1px solid var(--line); }
</style>
</head>
<body>
<h1>Training data</h1>
)";

void add_list(std::string& page, const std::vector<std::string>& lines) {
  page += "<ul>\n";
  for (const std::string& line : lines) page += fmt::format("<li>{}</li>\n", escaped(line));
  page += "</ul>\n";
}

void add_lengths(std::string& page, const DataSummary& data) {
  const LengthHistogram& lengths = data.lengths;
  page += fmt::format("<h2>Lengths</h2>\n<p>Of {} samples to train on, in tokens.</p>\n<table>\n",
                      format_count(lengths.samples));
  int64_t most = 1;
  for (const LengthHistogram::Bin& bin : lengths.bins) most = std::max(most, bin.samples);
  for (const LengthHistogram::Bin& bin : lengths.bins) {
    page += fmt::format(
        "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td>"
        "<td class=\"number\">{}</td><td class=\"wide\">",
        bin_text(bin), format_count(bin.samples), share_text(bin.samples, lengths.samples));
    if (bin.samples > 0) {
      page += fmt::format("<div class=\"bar\" style=\"width:{:.1f}%\"></div>",
                          100 * double(bin.samples) / double(most));
    }
    page += "</td></tr>\n";
  }
  page += fmt::format(
      "<tr><td class=\"number\">{}</td><td class=\"soft\" colspan=\"3\">&#9666; sequence_len</td>"
      "</tr>\n</table>\n<p>{}</p>\n",
      format_count(data.steps.sequence_len), escaped(lengths_line(lengths)));
}

void add_lost(std::string& page, const DataSummary& data) {
  page += "<h2>Lost</h2>\n";
  const int64_t all = data.lost_rows(), named = int64_t(data.lost.size());
  if (all == 0) {
    page += "<p>Nothing: no row is dropped or cut.</p>\n";
    return;
  }
  page += fmt::format("<p>{}</p>\n", escaped(data.lost_reasons()));
  page += "<details><summary>The rows</summary>\n<table>\n";
  for (const LostRow& row : data.lost) {
    page += fmt::format("<tr><td class=\"why\">{}</td><td class=\"why\">{}</td></tr>\n",
                        escaped(row.where), escaped(row.why));
  }
  page += "</table>\n";
  if (all > named)
    page += fmt::format("<p>{} more are not named.</p>\n", format_count(all - named));
  page += "</details>\n";
}

/// What stands over a token while the pointer is on it.
std::string title_of(size_t index, const SampleToken& token) {
  std::string title = fmt::format("token {}: id {}, ", index, token.id);
  if (!token.learned()) return title + "not learned";
  title += fmt::format("learned, label {}", token.label);
  if (token.label != token.id) title += fmt::format(": {}", token.label_text);
  return title;
}

void add_sample(std::string& page, const SampleSummary& sample) {
  page += fmt::format("<h3>{}</h3>\n<pre>", escaped(sample_title(sample)));
  for (size_t i = 0; i < sample.tokens.size();) {
    // Tokens that share a character stand together.
    std::string title;
    do {
      if (!title.empty()) title += "; ";
      title += title_of(i, sample.tokens[i]);
      ++i;
    } while (sample.tokens[i - 1].text.empty() && i < sample.tokens.size());
    const SampleToken& last = sample.tokens[i - 1];
    page += fmt::format("<span class=\"{}{}\" title=\"{}\">{}</span>",
                        last.learned() ? "learned" : "plain", last.special ? " special" : "",
                        escaped(title), escaped(last.text, Lines::kKeep));
  }
  page += "</pre>\n";
}

}  // namespace

std::string data_html(const DataSummary& data) {
  std::string page(kHead);
  page += "<h2>Data sets</h2>\n";
  for (const SetSummary& set : data.sets) {
    page += fmt::format("<h3>{}</h3>\n", escaped(set_title(set)));
    add_list(page, set_lines(set));
  }
  add_lengths(page, data);
  page += "<h2>Run</h2>\n";
  add_list(page, steps_lines(data.steps));
  add_lost(page, data);
  if (!data.samples.empty()) {
    page +=
        "<h2>Samples</h2>\n<p><span class=\"learned\">learned</span>, "
        "<span class=\"soft\">not learned</span>, <span class=\"special\">special</span></p>\n";
  }
  for (const SampleSummary& sample : data.samples) add_sample(page, sample);
  return page + "</body>\n</html>\n";
}

}  // namespace tessera::launch
