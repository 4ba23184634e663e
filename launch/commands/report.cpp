// `tessera report`: what happened in runs, as a page (launch/report/run_page.h).
#include <filesystem>

#include "launch/commands/arguments.h"
#include "launch/machine/ranks.h"
#include "launch/report/html.h"
#include "launch/report/run_figures.h"
#include "launch/report/run_page.h"
#include "launch/report/run_page_look.h"

namespace tessera::launch {
namespace {

struct ReportOptions {
  std::vector<std::string> runs;
  std::optional<std::string> output;
  bool json = false;
};

void report(const ReportOptions& options) {
  if (options.runs.size() > kMostRuns) {
    fail_usage("a report shows at most {} runs, whose lines can be told apart; {} are given",
               kMostRuns, options.runs.size());
  }
  std::vector<RunHistory> runs;
  for (const std::string& folder : options.runs) runs.push_back(read_run(folder));
  if (options.output || !options.json) {
    const std::string path = options.output.value_or(
        (std::filesystem::path(options.runs.front()) / "report.html").string());
    write_page(path, run_page_html(runs, utc_time()));
    Console console;
    for (const RunHistory& run : runs) {
      for (const std::string& note : run.notes) {
        console.line(fmt::format("warning: {}: {}", run.folder, note));
      }
    }
    if (!options.json) write_stdout(path + "\n");
  }
  if (options.json) write_stdout(report_json(runs));
}

}  // namespace

void declare_report(CLI::App* command, int&) {
  auto options = std::make_shared<ReportOptions>();
  add_path(command, "runs", options->runs, "Output folders of runs, to show beside each other")
      ->required()
      ->type_name("RUN");
  add_path(command, "--output", options->output,
           "The page to write; default: report.html in the first run's folder")
      ->type_name("FILE");
  command->add_flag("--json", options->json,
                    "Print the figures as one JSON object; a page comes with --output only");
  command->footer(
      "\nWrites one page that needs no network: loss, validation, gradient norm, learning rate,\n"
      "throughput, memory against the plan, samples, settings and where the runs differ. Prints "
      "its\n"
      "path. A run may still be going.\n\n"
      "Example: tessera report runs/rank-8 runs/rank-16 --output ranks.html");
  command->callback([options] {
    require_alone("report");
    report(*options);
  });
}

}  // namespace tessera::launch
