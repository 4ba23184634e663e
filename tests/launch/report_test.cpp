// `tessera report`: what is read of a run's folder, also of a damaged one; the curves; the page,
// also where a stranger wrote the files; the command.
#include <gtest/gtest.h>

#include <bitset>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "launch/hub/digest.h"
#include "launch/report/run_figures.h"
#include "launch/report/run_page.h"
#include "launch/report/run_page_look.h"
#include "tests/expect_error.h"
#include "tests/launch/program.h"
#include "tests/scratch_folder.h"
#include "tests/well_formed.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using testing::expect_error;
using testing::ScratchFolder;

std::string step_line(int64_t step, double loss) {
  return json({{"step", step},
               {"epoch", 0.5},
               {"loss", loss},
               {"grad_norm", 1.5},
               {"learning_rate", 1e-4},
               {"tokens", 100 * step},
               {"tokens_per_second", 50.0},
               {"memory", int64_t{3} << 30},
               {"gather_wait", 0.5}})
             .dump() +
         "\n";
}

/// A folder as a run leaves it after 40 steps.
void write_run(const testing::Folder& folder, const std::string& learning_rate = "0.001") {
  std::string metrics;
  for (int64_t step = 1; step <= 40; ++step) {
    metrics += step_line(step, 4.0 / double(step));
    if (step % 20 != 0) continue;
    for (const char* set : {"alpaca", "gsm8k"}) {
      metrics +=
          fmt::format("{{\"step\":{},\"eval_loss\":{},\"eval_tokens\":692,\"eval_set\":\"{}\"}}\n",
                      step, step == 20 ? 0.5 : 0.75, set);
    }
  }
  folder.write("metrics.jsonl", metrics);
  folder.write("state.json", R"({"step": 40, "finished": true})");
  folder.write("config.resolved.yml",
               "# Model\nbase_model: m.gguf\n\n# Data\ndatasets:\n  - path: a\n"
               "    type: alpaca\nlora_r: 16\nlearning_rate: " +
                   learning_rate + "\noutput_dir: " + folder.path() + "\n");
  folder.write("samples.jsonl", R"({"step": 20, "prompt": "Say hi", "text": "hi\nthere"})"
                                "\n");
  folder.write("run.json",
               run_record_json({.program = "tessera 0.1.0",
                                .started = "2026-11-30T02:03:04Z",
                                .steps = 40,
                                .memory = int64_t{4} << 30,
                                .memory_parts = {{"adapters", "device", 1 << 20}},
                                .facts = {{"model", "30 layers"}},
                                .datasets = {{.path = "a", .type = "alpaca", .rows = 1000}}}));
}

/// The page without its own script and style, which are not HTML.
std::string html_of(const std::vector<RunHistory>& runs) {
  std::string page = run_page_html(runs, "2026-11-30T02:03:04Z");
  for (const std::string_view own : {kRunPageScript, kRunPageStyle}) {
    const size_t at = page.find(own);
    EXPECT_NE(at, page.npos);
    if (at != page.npos) page.erase(at, own.size());
  }
  return page;
}

TEST(Report, ReadsARunsFolder) {
  const ScratchFolder folder;
  write_run(folder);
  const RunHistory run = read_run(folder.path());
  EXPECT_EQ(run.notes, std::vector<std::string>());
  ASSERT_EQ(run.steps.size(), 40u);
  EXPECT_EQ(run.of(Metric::kLoss)[1], 2.0);
  ASSERT_EQ(run.evaluations.size(), 4u);
  EXPECT_EQ(run.evaluations[1].set, "gsm8k");
  EXPECT_EQ(run.samples.at(0).text, "hi\nthere");
  EXPECT_TRUE(run.finished);
  ASSERT_TRUE(run.record);
  EXPECT_EQ(run.record->memory, int64_t{4} << 30);
  EXPECT_EQ(run.record->datasets.at(0).rows, 1000);
  EXPECT_EQ(run.settings.at(1), (RunSetting{"datasets", "  - path: a\n    type: alpaca"}));

  const RunFigures figures(run);
  EXPECT_EQ(figures.last_step, 40);
  EXPECT_EQ(figures.first_loss, 4.0);
  EXPECT_EQ(figures.best->step, 20);
  EXPECT_EQ(figures.seconds, 80);  // 100 tokens per step at 50 per second
  EXPECT_EQ(figures.waited, 0.25);
  EXPECT_EQ(figures.memory, int64_t{3} << 30);
  EXPECT_EQ(state_text(run, figures), "step 40 of 40, finished");
}

TEST(Report, ReadsWhatIsWholeOfARunThatIsGoingOn) {
  const ScratchFolder folder;
  folder.write("metrics.jsonl", step_line(1, 2) + step_line(2, 1) + R"({"step":3,"lo)");
  const RunHistory run = read_run(folder.path());
  EXPECT_EQ(run.steps, (std::vector<double>{1, 2}));
  EXPECT_EQ(run.notes, std::vector<std::string>());
  EXPECT_FALSE(run.finished);
  EXPECT_TRUE(state_text(run, RunFigures(run)).starts_with("step 2, not finished; last written 2"));
  folder.write("metrics.jsonl", "");
  EXPECT_TRUE(state_text(read_run(folder.path()), RunFigures(read_run(folder.path())))
                  .starts_with("no step is written yet"));
  EXPECT_TRUE(testing::is_well_formed(html_of({read_run(folder.path())})));
}

TEST(Report, DamagedLinesAreNamedAndLeftOut) {
  const ScratchFolder folder;
  folder.write("metrics.jsonl", step_line(1, 2) + "\xff{\n[1]\n" + step_line(2, 1) +
                                    step_line(2, 1) + "{\"step\":1.5,\"loss\":1}\n" +
                                    R"({"step":3,"loss":null,"grad_norm":"x","tokens":1e300})"
                                    "\n" +
                                    R"({"step":-4,"loss":1})"
                                    "\n{\"step\":5}\n");
  folder.write("run.json", R"({"steps": "many"})");
  folder.write("state.json", "{");
  const RunHistory run = read_run(folder.path());
  EXPECT_EQ(run.steps, (std::vector<double>{1, 2, 3}));
  EXPECT_TRUE(std::isnan(run.of(Metric::kLoss)[2]));
  EXPECT_TRUE(std::isnan(run.of(Metric::kGradNorm)[2]));
  EXPECT_TRUE(std::isnan(run.of(Metric::kTokens)[2]));
  EXPECT_EQ(RunFigures(run).not_finite, (std::vector<int64_t>{3}));
  ASSERT_EQ(run.notes.size(), 6u);
  EXPECT_NE(run.notes[0].find("metrics.jsonl:2"), std::string::npos) << run.notes[0];
  EXPECT_EQ(run.notes[1], "metrics.jsonl:3: expected an object, got array; the line is left out");
  EXPECT_EQ(run.notes[2], "metrics.jsonl:5: step 2 comes after step 2; the line is left out");
  EXPECT_EQ(run.notes[3], "3 more lines are left out");
  EXPECT_NE(run.notes[4].find("steps: expected a whole number, got string"), std::string::npos);
  const std::string page = html_of({run});
  EXPECT_TRUE(testing::is_well_formed(page));
  EXPECT_NE(page.find("the loss of 1 step is not a finite number, first of step 3"), page.npos);
}

TEST(Report, AFolderThatIsNoRunIsAnError) {
  const ScratchFolder folder;
  expect_error([&] { read_run(folder.path()); }, folder.path(), "no metrics.jsonl", "output_dir");
  expect_error([&] { read_run(folder.file("none")); }, "there is no folder", "none");
  expect_error([&] { read_run(folder.write("file", "")); }, "is no run");
}

TEST(Report, ThinnedCurvesKeepTheirExtremes) {
  std::vector<double> x, y;
  for (int i = 0; i < 100'000; ++i) {
    x.push_back(i);
    y.push_back(i == 31'415 ? 7 : i == 2'718 ? -5 : i % 2);
  }
  y[5] = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Point> all = curve_of(x, y);
  EXPECT_EQ(all.size(), 99'999u);
  const std::vector<Point> drawn = thinned(all, 100);
  EXPECT_LE(drawn.size(), 202u);
  EXPECT_EQ(drawn.front().x, 0);
  EXPECT_EQ(drawn.back().x, 99'999);
  EXPECT_EQ(quantile(drawn, 1), 7);
  EXPECT_EQ(quantile(drawn, 0), -5);
  for (size_t i = 1; i < drawn.size(); ++i) EXPECT_LT(drawn[i - 1].x, drawn[i].x);
  EXPECT_EQ(thinned(drawn, 100).size(), drawn.size());
  // (1, 3) with weight 1/2: 3 counts twice as much as 1.
  EXPECT_DOUBLE_EQ(smoothed({{1, 1}, {2, 3}}, 3)[1].y, 7.0 / 3);
  EXPECT_DOUBLE_EQ(smoothed({{1, 1}, {2, 3}}, 3)[0].y, 1);
}

TEST(Report, TicksAreRound) {
  const auto at = [](double low, double high, int count) {
    return ticks_between(low, high, count).at;
  };
  EXPECT_EQ(at(0, 60, 8), (std::vector<double>{0, 10, 20, 30, 40, 50, 60}));
  EXPECT_EQ(at(0.2, 0.9, 4), (std::vector<double>{0.2, 0.4, 0.6000000000000001, 0.8}));
  EXPECT_EQ(at(5, 5, 4), (std::vector<double>{5}));
  EXPECT_LE(at(-1e30, 1e30, 6).size(), 8u);
  EXPECT_GE(at(1e-30, 2e-30, 6).size(), 1u);
}

TEST(Report, RunsAreComparedByTheirSettings) {
  const std::vector<RunSetting> a = read_settings("x: 1\nsame: 2\noutput_dir: a\n"),
                                b = read_settings("same: 2\nx: 3\noutput_dir: b\ny: 4\n");
  const auto differences = setting_differences({&a, &b});
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].key, "x");
  EXPECT_EQ(differences[0].values, (std::vector<std::string>{"1", "3"}));
  EXPECT_EQ(differences[1].values, (std::vector<std::string>{"", "4"}));
  const auto chosen = chosen_settings(read_settings(
      "lora_r: 16\nlearning_rate: 0.001\noutput_dir: a\nsave_steps: null\nno_such_key: 1\n"));
  EXPECT_EQ(chosen, (std::vector<RunSetting>{{"learning_rate", "0.001"}, {"no_such_key", "1"}}));
}

/// What anyone who wants to harm the reader of a page would put into a run's files.
RunHistory hostile() {
  const std::string evil =
      "</script></style></pre><script>x</script>\" onload=\"'&\u202E\x1b[2J\xff";
  RunHistory run;
  run.folder = run.name = evil;
  run.steps = {1, 2, 1e9};
  for (auto& values : run.values) values = {-1e30, 1e30, std::nan("")};
  run.evaluations = {{1, evil, 1e30, INT64_MAX}, {2, evil, std::nan(""), 0}};
  run.samples = {{1, evil, evil}, {2, evil, std::string(100'000, 'y')}};
  run.settings = {{evil, evil + "\n" + evil}};
  run.record = RunRecord{.program = evil,
                         .started = evil,
                         .ended = evil,
                         .steps = INT64_MAX,
                         .memory = INT64_MAX,
                         .memory_parts = {{evil, evil, INT64_MAX}},
                         .facts = {{evil, evil}},
                         .datasets = {{.path = evil, .type = evil, .tokens = 1, .learned = 2}}};
  run.notes = {evil};
  return run;
}

TEST(ReportPage, IsSafeAndWhole) {
  const ScratchFolder first, second;
  write_run(first);
  write_run(second, "0.0003");
  const std::vector<RunHistory> runs = {read_run(first.path()), read_run(second.path()), hostile()};
  const std::string page = html_of(runs);
  EXPECT_TRUE(testing::is_well_formed(page));
  for (const char* bad : {"<script>x", "<img", "<link", " src=", "http:", "https:", "\u202E",
                          "\x1b", "\xff", "\" onload", "nan", "inf", "-0 "}) {
    EXPECT_EQ(page.find(bad), page.npos) << bad;
  }
  EXPECT_LT(page.size(), 200'000u);
  for (const char* there :
       {"as of 2026-11-30 02:03 UTC", "Validation loss: gsm8k", "Memory against the plan",
        "planned 4.0 GiB (-25.0 %)", "step 40 of 40, finished", "Say hi", "Settings that differ",
        "<td>learning_rate</td><td class=\"value\">0.001</td><td class=\"value\">0.0003</td>",
        "Waiting for layers", "30 layers"}) {
    EXPECT_NE(page.find(there), page.npos) << there;
  }
}

std::string sha256_base64(std::string_view text) {
  Digest digest(Digest::Kind::kSha256);
  digest.update(std::as_bytes(std::span(text)));
  const std::string hex = digest.finish();
  std::string bits;
  for (const char digit : hex)
    bits += std::bitset<4>(std::stoul(std::string(1, digit), nullptr, 16)).to_string();
  bits.append(2, '0');  // 256 bits are 43 digits but for two bits
  std::string out;
  for (size_t at = 0; at < bits.size(); at += 6) {
    out += "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[std::stoul(
        bits.substr(at, 6), nullptr, 2)];
  }
  return out + "=";
}

TEST(ReportPage, LetsOnlyItsOwnScriptRun) {
  const ScratchFolder folder;
  write_run(folder);
  const std::string page = run_page_html({read_run(folder.path())}, "now");
  EXPECT_NE(page.find(fmt::format("script-src 'sha256-{}'", kRunPageScriptHash)), page.npos);
  EXPECT_EQ(kRunPageScriptHash, sha256_base64(kRunPageScript));
}

TEST(ReportPage, StaysSmallForLongRuns) {
  std::vector<RunHistory> runs(kMostRuns);
  for (size_t r = 0; r < runs.size(); ++r) {
    runs[r].folder = runs[r].name = std::to_string(r);
    for (int step = 1; step <= 50'000; ++step) {
      runs[r].steps.push_back(step);
      for (size_t m = 0; m < kMetrics; ++m) {
        runs[r].values[m].push_back(1 + std::sin(step * double(m + 1)) / step * 1000);
      }
      if (step % 100 == 0) runs[r].evaluations.push_back({step, "", 1.0 / step, 1});
    }
  }
  EXPECT_LT(run_page_html(runs, "now").size(), 2'000'000u);
}

TEST(ReportCommand, WritesAPageAndPrintsFigures) {
  const ScratchFolder folder;
  write_run(folder);
  const std::string page = folder.file("report.html");
  const testing::Outcome written = testing::run_program({"report", folder.path()});
  EXPECT_EQ(written.code, 0) << written.err;
  EXPECT_EQ(written.out, page + "\n");
  EXPECT_TRUE(testing::bytes_of_file(page).starts_with("<!DOCTYPE html>"));
  std::filesystem::remove(page);
  const testing::Outcome printed = testing::run_program({"report", folder.path(), "--json"});
  EXPECT_EQ(printed.code, 0) << printed.err;
  EXPECT_FALSE(std::filesystem::exists(page));
  const json run = json::parse(printed.out)["runs"][0];
  EXPECT_EQ(run["first_loss"], 4.0);
  EXPECT_EQ(run["planned_memory"], int64_t{4} << 30);
  EXPECT_EQ(run["settings"]["learning_rate"], "0.001");
  EXPECT_EQ(testing::run_program({"report", folder.file("none")}).code, 1);
  EXPECT_EQ(testing::run_program({"report"}).code, 2);
  std::vector<std::string> many(kMostRuns + 2, folder.path());
  many.front() = "report";
  const testing::Outcome refused = testing::run_program(many);
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("at most 8 runs"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace tessera::launch
