#include "launch/report/run_page.h"

#include <map>

#include "launch/console/progress.h"
#include "launch/report/chart.h"
#include "launch/report/html.h"
#include "launch/report/run_charts.h"
#include "launch/report/run_page_look.h"
#include "launch/report/run_page_tables.h"

namespace tessera::launch {
namespace {

/// The last part of each path, or all of it where others end alike.
std::vector<std::string> names_of(const std::vector<RunHistory>& runs) {
  std::map<std::string_view, int> uses;
  for (const RunHistory& run : runs) ++uses[run.name];
  std::vector<std::string> names;
  for (const RunHistory& run : runs) {
    names.push_back(uses[run.name] > 1 ? run.folder : run.name);
  }
  return names;
}

/// A figure with its name over it and, smaller, what belongs to it.
class FactList {
 public:
  void add(std::string_view name, const std::string& value, const std::string& more = "") {
    html_ += fmt::format("<div><dt>{}</dt><dd><b>{}</b>{}</dd></div>\n", name, escaped(value),
                         more.empty() ? "" : fmt::format("<small>{}</small>", escaped(more)));
  }
  std::string html() const { return "<dl>\n" + html_ + "</dl>\n"; }

 private:
  std::string html_;
};

void add_loss(FactList& facts, const ReportedRun& run) {
  const RunFigures& f = run.figures;
  if (f.last_loss) {
    facts.add(
        "Loss", value_text(*f.last_loss, Unit::kNumber),
        fmt::format("mean at the end; {} at first", value_text(*f.first_loss, Unit::kNumber)));
  }
  if (f.best) {
    facts.add("Best validation loss", value_text(f.best->loss, Unit::kNumber),
              fmt::format("step {}{}; perplexity {}", format_count(f.best->step),
                          f.best->set.empty() ? "" : " of " + f.best->set,
                          perplexity_text(f.best->loss)));
  }
}

std::string facts_of(const ReportedRun& run) {
  const RunFigures& f = run.figures;
  const std::optional<RunRecord>& record = run.history->record;
  FactList facts;
  add_loss(facts, run);
  if (f.tokens) facts.add("Tokens", format_count(*f.tokens), "trained on");
  if (f.tokens_per_second) {
    facts.add("Throughput", value_text(*f.tokens_per_second, Unit::kPerSecond),
              "tokens; median of the steps");
  }
  if (f.memory) {
    facts.add("Memory", format_bytes(*f.memory),
              record && record->memory > 0
                  ? fmt::format("at most; planned {} ({:+.1f} %)", format_bytes(record->memory),
                                100 * (double(*f.memory) / double(record->memory) - 1))
                  : "at most");
  }
  if (f.seconds > 0) {
    facts.add("Time", format_duration(f.seconds),
              fmt::format("in steps{}",
                          f.waited && *f.waited > 0
                              ? fmt::format("; {:.1f} % waiting for layers", 100 * *f.waited)
                              : ""));
  }
  return facts.html();
}

/// "2026-11-30 02:03 UTC" of "2026-11-30T02:03:04Z"; other texts as they are.
std::string readable_time(const std::string& time) {
  if (time.size() != 20 || time[10] != 'T' || !time.ends_with('Z')) return time;
  return fmt::format("{} {} UTC", time.substr(0, 10), time.substr(11, 5));
}

/// The program and its times; empty where they are not known.
std::string origin_of(const RunHistory& run) {
  if (!run.record) return "";
  std::string text = run.record->program;
  const auto add = [&](const char* what, const std::string& time) {
    if (!time.empty())
      text += fmt::format("{}{} {}", text.empty() ? "" : "; ", what, readable_time(time));
  };
  add("started", run.record->started);
  add("ended", run.record->ended);
  return text;
}

std::string run_cards(const std::vector<ReportedRun>& runs) {
  std::string html = "<div class=\"runs\">\n";
  for (size_t r = 0; r < runs.size(); ++r) {
    html += fmt::format("<section class=\"run\"><h3>{}{}</h3>\n<p class=\"soft\">{}<br/>{}</p>\n{}",
                        runs.size() > 1 ? swatch(r) : "", escaped(runs[r].name),
                        escaped(state_text(*runs[r].history, runs[r].figures)),
                        escaped(origin_of(*runs[r].history)), facts_of(runs[r]));
    html += "</section>\n";
  }
  return html + "</div>\n";
}

std::string charts_section(const std::vector<ReportedRun>& runs) {
  const std::string charts = run_charts_html(runs);
  if (charts.empty()) return "";
  std::string html = "<h2>Curves</h2>\n";
  std::vector<std::string> names;
  for (const ReportedRun& run : runs) names.push_back(run.name);
  html += legend_html(names);
  return html + "<div class=\"charts\">\n" + charts + "</div>\n";
}

}  // namespace

std::string run_page_html(const std::vector<RunHistory>& runs, const std::string& now) {
  const std::vector<std::string> names = names_of(runs);
  std::vector<ReportedRun> reported;
  for (size_t r = 0; r < runs.size(); ++r) {
    reported.push_back({&runs[r], RunFigures(runs[r]), names[r]});
  }
  std::string page = page_head((runs.size() == 1 ? names[0] : fmt::format("{} runs", runs.size())) +
                               ": training report");
  page += fmt::format(
      "<body>\n<header><h1>Training report</h1>\n<p class=\"soft\">{}, as of {}</p></header>\n"
      "<h2>{}</h2>\n",
      runs.size() == 1 ? escaped(runs[0].folder) : fmt::format("{} runs", runs.size()),
      escaped(readable_time(now)), runs.size() == 1 ? "Run" : "Runs");
  page += run_cards(reported) + charts_section(reported) + evaluations_section(reported) +
          memory_section(reported) + samples_section(reported) + settings_section(reported) +
          data_section(reported) + notes_section(reported);
  return page + page_end();
}

}  // namespace tessera::launch
