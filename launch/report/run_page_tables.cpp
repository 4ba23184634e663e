#include "launch/report/run_page_tables.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "launch/console/progress.h"
#include "launch/report/html.h"

namespace tessera::launch {
namespace {

constexpr size_t kMostEvaluations = 200;  // rows of a run
constexpr size_t kMostPrompts = 20, kMostSamplesOfPrompt = 12;
constexpr size_t kMostTextBytes = 2000, kMostSettingBytes = 400;

/// The beginning of a long text, cut between characters.
std::string cut(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (uint8_t(text[bytes]) & 0xc0u) == 0x80u) --bytes;
  return fmt::format("{} … ({} bytes in all)", text.substr(0, bytes),
                     format_count(int64_t(text.size())));
}

std::string number_cell(const std::string& text) {
  return fmt::format("<td class=\"number\">{}</td>", text);
}

std::string number_heads(const std::vector<std::string>& names) {
  std::string html;
  for (const std::string& name : names) html += fmt::format("<th class=\"number\">{}</th>", name);
  return html;
}

/// A part of the page with what each run has for it, side by side where there is room and `narrow`
/// says that it fits.
std::string section(const char* title, const std::vector<ReportedRun>& runs, bool narrow,
                    std::string (*part_of)(const ReportedRun&)) {
  std::string html;
  for (const ReportedRun& run : runs) {
    const std::string part = part_of(run);
    if (part.empty()) continue;
    const std::string name =
        runs.size() > 1 ? fmt::format("<h3>{}</h3>\n", escaped(run.name)) : std::string();
    html += fmt::format("<section>{}{}</section>\n", name, part);
  }
  if (html.empty()) return "";
  return fmt::format("<h2>{}</h2>\n<div{}>\n{}</div>\n", title, narrow ? " class=\"columns\"" : "",
                     html);
}

std::string evaluations_table(const ReportedRun& run) {
  const auto& all = run.history->evaluations;
  if (all.empty()) return "";
  const bool named =
      std::ranges::any_of(all, [](const auto& evaluation) { return !evaluation.set.empty(); });
  std::string html =
      fmt::format("<div class=\"scroll\"><table>\n<tr>{}{}{}</tr>\n", number_heads({"Step"}),
                  named ? "<th>Set</th>" : "", number_heads({"Loss", "Perplexity", "Tokens"}));
  const size_t first = all.size() > kMostEvaluations ? all.size() - kMostEvaluations : 0;
  for (size_t i = first; i < all.size(); ++i) {
    const RunHistory::Evaluation& e = all[i];
    const bool best =
        run.figures.best && run.figures.best->step == e.step && run.figures.best->set == e.set;
    const bool finite = std::isfinite(e.loss);
    html += fmt::format(
        "<tr>{}{}<td class=\"number{}\">{}</td>{}{}</tr>\n", number_cell(format_count(e.step)),
        named ? fmt::format("<td>{}</td>", escaped(e.set)) : "", best ? " best" : "",
        finite ? fmt::format("{:.4f}", e.loss) : "not a number",
        number_cell(perplexity_text(e.loss)), number_cell(format_count(e.tokens)));
  }
  html += "</table></div>\n";
  if (first > 0) {
    html += fmt::format("<p class=\"soft\">{} earlier ones are left out.</p>\n",
                        format_count(int64_t(first)));
  }
  return html;
}

std::string memory_table(const ReportedRun& run) {
  if (!run.history->record || run.history->record->memory == 0) return "";
  const RunRecord& record = *run.history->record;
  const int64_t used = run.figures.memory.value_or(0);
  int64_t most = std::max<int64_t>({record.memory, used, 1});
  for (const auto& part : record.memory_parts) most = std::max(most, part.bytes);
  std::string html = "<div class=\"scroll\"><table>\n";
  const auto add = [&](const std::string& name, int64_t bytes, bool total) {
    html += fmt::format(
        "<tr><td class=\"name{0}\">{1}</td><td class=\"number\">{2}</td><td class=\"wide\">"
        "<span class=\"bar\" style=\"width:{3:.1f}%\"></span></td></tr>\n",
        total ? " best" : "", escaped(name), format_bytes(bytes),
        100 * double(bytes) / double(most));
  };
  for (const auto& part : record.memory_parts) {
    add(part.where == "device" ? part.name : fmt::format("{} ({})", part.name, part.where),
        part.bytes, false);
  }
  add("planned in all", record.memory, true);
  if (used > 0) add("in use at most", used, true);
  return html + "</table></div>\n";
}

std::string samples_of(const ReportedRun& run) {
  std::vector<std::string> prompts;  // in the order of the file
  std::map<std::string_view, std::vector<const RunHistory::Sample*>> texts;
  for (const RunHistory::Sample& sample : run.history->samples) {
    auto& of_prompt = texts[sample.prompt];
    if (of_prompt.empty()) prompts.push_back(sample.prompt);
    of_prompt.push_back(&sample);
  }
  std::string html;
  for (size_t p = 0; p < std::min(prompts.size(), kMostPrompts); ++p) {
    const auto& all = texts[prompts[p]];
    html += fmt::format("<h3><span class=\"soft\">Prompt:</span> {}</h3>\n",
                        escaped(cut(prompts[p], kMostTextBytes)));
    const size_t first = all.size() > kMostSamplesOfPrompt ? all.size() - kMostSamplesOfPrompt : 0;
    for (size_t i = first; i < all.size(); ++i) {
      html += fmt::format(
          "<div class=\"sample\"><span class=\"soft\">step {}</span><pre>{}</pre></div>\n",
          format_count(all[i]->step), escaped(cut(all[i]->text, kMostTextBytes), Lines::kKeep));
    }
    if (first > 0) {
      html += fmt::format("<p class=\"soft\">{} earlier ones are left out.</p>\n", first);
    }
  }
  if (prompts.size() > kMostPrompts) {
    html += fmt::format("<p class=\"soft\">{} more prompts are left out.</p>\n",
                        format_count(int64_t(prompts.size() - kMostPrompts)));
  }
  return html;
}

/// Of a file's lines: signs for their ends would be in the way.
std::string escaped_lines(std::string_view text) {
  std::string html;
  for (;;) {
    const size_t end = text.find('\n');
    html += escaped(text.substr(0, end));
    if (end == text.npos) return html;
    html += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string setting_cell(const std::string& value) {
  return fmt::format("<td class=\"value\">{}</td>",
                     value.empty() ? "<span class=\"soft\">not there</span>"
                                   : escaped_lines(cut(value, kMostSettingBytes)));
}

std::string differences_table(const std::vector<ReportedRun>& runs,
                              const std::vector<SettingDifference>& differences) {
  if (differences.empty()) return "<p>All settings are the same.</p>\n";
  std::string html = "<div class=\"scroll\"><table>\n<tr><th>Key</th>";
  for (const ReportedRun& run : runs) html += fmt::format("<th>{}</th>", escaped(run.name));
  html += "</tr>\n";
  for (const SettingDifference& difference : differences) {
    html += fmt::format("<tr><td>{}</td>", escaped(cut(difference.key, kMostSettingBytes)));
    for (const std::string& value : difference.values) html += setting_cell(value);
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string chosen_table(const RunHistory& run) {
  std::string html = "<p>Those that are not the default:</p>\n<div class=\"scroll\"><table>\n";
  for (const RunSetting& setting : chosen_settings(run.settings)) {
    html += fmt::format("<tr><td>{}</td>{}</tr>\n", escaped(cut(setting.key, kMostSettingBytes)),
                        setting_cell(setting.value));
  }
  return html + "</table></div>\n";
}

/// As config.resolved.yml has them.
std::string all_settings(const ReportedRun& run, bool alone) {
  if (run.history->settings.empty()) return "";
  std::string text;
  for (const RunSetting& setting : run.history->settings) {
    const bool list = setting.value.starts_with(' ');
    text += fmt::format("{}:{}{}\n", setting.key, list ? "\n" : " ", setting.value);
  }
  return fmt::format("<details><summary>All settings{}</summary>\n<pre>{}</pre></details>\n",
                     alone ? "" : " of " + escaped(run.name), escaped_lines(text));
}

std::string datasets_table(const std::vector<RunRecord::Dataset>& sets) {
  std::string html = fmt::format(
      "<div class=\"scroll\"><table>\n<tr><th>Data set</th><th>Type</th>{}<th>Lost</th></tr>\n",
      number_heads({"Rows", "Samples", "Tokens", "Learned"}));
  for (const RunRecord::Dataset& set : sets) {
    std::string lost;
    const auto add = [&](int64_t count, const char* why) {
      if (count == 0) return;
      lost += fmt::format("{}{} {}", lost.empty() ? "" : ", ", format_count(count), why);
    };
    add(set.dropped_long, "too long");
    add(set.truncated, "cut");
    add(set.dropped_empty, "with nothing to learn");
    const double share = set.tokens > 0 ? double(set.learned) / double(set.tokens) : 0;
    html += fmt::format("<tr><td>{}{}</td><td>{}</td>", escaped(set.path),
                        set.evaluated ? ", evaluated on" : "", escaped(set.type));
    for (const int64_t count : {set.rows, set.samples, set.tokens}) {
      html += number_cell(format_count(count));
    }
    html += number_cell(fmt::format("{:.1f} %", 100 * share));
    html += fmt::format("<td>{}</td></tr>\n", lost.empty() ? "nothing" : lost);
  }
  return html + "</table></div>\n";
}

std::string model_and_data(const ReportedRun& run) {
  const auto& record = run.history->record;
  if (!record) return "";
  std::string html;
  for (const auto& fact : record->facts) {
    html += fmt::format("<tr><td class=\"soft\">{}</td><td>{}</td></tr>\n", escaped(fact.name),
                        escaped(fact.text));
  }
  if (!html.empty()) html = "<div class=\"scroll\"><table>\n" + html + "</table></div>\n";
  if (!record->datasets.empty()) html += datasets_table(record->datasets);
  return html;
}

std::string notes_list(const ReportedRun& run) {
  std::string html;
  for (const std::string& note : run.history->notes) {
    html += fmt::format("<li>{}</li>\n", escaped(note));
  }
  return html.empty() ? "" : "<ul>\n" + html + "</ul>\n";
}

}  // namespace

std::string evaluations_section(const std::vector<ReportedRun>& runs) {
  return section("Evaluations", runs, true, evaluations_table);
}

std::string memory_section(const std::vector<ReportedRun>& runs) {
  return section("Memory against the plan", runs, true, memory_table);
}

std::string samples_section(const std::vector<ReportedRun>& runs) {
  return section("Samples", runs, false, samples_of);
}

std::string settings_section(const std::vector<ReportedRun>& runs) {
  std::vector<const std::vector<RunSetting>*> settings;
  bool any = false;
  for (const ReportedRun& run : runs) {
    settings.push_back(&run.history->settings);
    any = any || !run.history->settings.empty();
  }
  if (!any) return "";
  const bool alone = runs.size() == 1;
  std::string html = alone ? "<h2>Settings</h2>\n" + chosen_table(*runs[0].history)
                           : "<h2>Settings that differ</h2>\n" +
                                 differences_table(runs, setting_differences(settings));
  for (const ReportedRun& run : runs) html += all_settings(run, alone);
  return html;
}

std::string data_section(const std::vector<ReportedRun>& runs) {
  return section("Model and data", runs, false, model_and_data);
}

std::string notes_section(const std::vector<ReportedRun>& runs) {
  return section("What could not be read", runs, false, notes_list);
}

}  // namespace tessera::launch
