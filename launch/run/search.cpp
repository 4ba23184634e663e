#include "launch/run/search.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "launch/machine/agreement.h"
#include "launch/machine/freed_memory.h"
#include "launch/machine/signals.h"
#include "launch/report/candidate_comparison.h"
#include "launch/report/run_figures.h"
#include "launch/report/run_files.h"
#include "launch/report/search_page.h"
#include "launch/report/search_table.h"
#include "launch/run/checkpoint.h"
#include "launch/run/evaluate.h"
#include "launch/run/run_banner.h"
#include "launch/run/run_identity.h"
#include "launch/run/sample_scores.h"
#include "launch/run/train.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMostResultBytes = size_t{1} << 30;
constexpr size_t kMostMetricsBytes = size_t{4} << 30;

/// The plan that takes the most memory.
const RunPlan& largest_of(const std::vector<RunPlan>& plans) {
  return *std::ranges::max_element(plans, {},
                                   [](const RunPlan& plan) { return plan.chosen.memory.peak(); });
}

/// The plans of all candidates. The base lies in all as it does for the largest.
std::vector<RunPlan> plans_of(const std::vector<Candidate>& candidates, const RunStart& start) {
  const auto plan = [&](const Config& config) {
    return plan_run(config, start.inputs, start.world, start.ctx);
  };
  std::vector<RunPlan> plans;
  for (const Candidate& candidate : candidates) plans.push_back(plan(candidate.config));
  const Config largest = largest_of(plans).config;
  for (size_t i = 0; i < plans.size(); ++i) {
    const Config& chosen = plans[i].config;
    if (chosen.sharding == largest.sharding && chosen.sharding_group == largest.sharding_group) {
      continue;
    }
    Config config = candidates[i].config;
    config.sharding = largest.sharding;
    config.sharding_group = largest.sharding_group;
    plans[i] = plan(config);
  }
  return plans;
}

/// How many steps each candidate trains.
int64_t steps_of_candidates(const SearchConfig& search, const RunStart& start) {
  const int64_t total = start.inputs.steps.steps();
  const double steps = search.steps < 1 ? std::ceil(search.steps * double(total)) : search.steps;
  return std::min(int64_t(steps), total);
}

class Search {
 public:
  Search(const SearchConfig& search, RunStart& start, const std::vector<RunPlan>& plans,
         LoadedModel& model)
      : search_(search),
        start_(start),
        plans_(plans),
        model_(model),
        world_(start.world),
        console_(start.console),
        out_(plans.front().config.output_dir),
        last_(steps_of_candidates(search, start)) {}

  int run();

 private:
  bool leads() const { return world_.rank() == 0; }
  std::string folder_of(size_t i) const {
    return fmt::format("{}/{}/{}", out_, kSearchFolder, search_.candidates[i].name());
  }
  /// The run of a candidate up to last_, in the folder of its own.
  RunPlan plan_of_first_steps(size_t i) const;
  /// Trains the candidate, unless an earlier start has. Nothing where a signal stopped it.
  std::optional<CandidateResult> result_of(size_t i);
  std::optional<CandidateResult> train_candidate(size_t i, const json& identity);
  std::optional<CandidateResult> read_result(size_t i, const json& identity);
  void write_result(size_t i, const CandidateResult& result);
  /// The loss on the set that is judged, and of each of its samples.
  void evaluate(RunMachine& machine, CandidateResult& result);
  /// What the candidate's metrics.jsonl says.
  void add_figures(size_t i, CandidateResult& result);
  Comparison compare_all(const std::vector<ComparedCandidate>& candidates);
  /// Makes the first steps of the candidate those of output_dir, unless an earlier start has.
  void take_over(size_t i);
  /// True on all ranks where `question` is on the first, which alone asks it.
  bool on_first_rank(FunctionRef<bool()> question);

  const SearchConfig& search_;
  RunStart& start_;
  const std::vector<RunPlan>& plans_;
  LoadedModel& model_;
  parallel::Communicator& world_;
  Console& console_;
  const std::string& out_;
  const int64_t last_;  // steps that a candidate trains
};

bool Search::on_first_rank(FunctionRef<bool()> question) {
  int answer = 0;
  all_or_none(world_, [&] { answer = leads() && question() ? 1 : 0; });
  return parallel::gather_values(world_, answer).front() == 1;
}

RunPlan Search::plan_of_first_steps(size_t i) const {
  RunPlan plan = plans_[i];
  plan.config.output_dir = folder_of(i);
  if (plan.config.logging_dir) {
    plan.config.logging_dir = *plan.config.logging_dir + "/" + search_.candidates[i].name();
  }
  return plan;
}

std::optional<CandidateResult> Search::read_result(size_t i, const json& identity) {
  const std::string path = folder_of(i) + "/" + std::string(kCandidateResultFile);
  std::string text;
  all_or_none(world_, [&] {
    if (leads() && io::exists(path)) text = io::read_file(path, kMostResultBytes);
  });
  text = gather_texts(world_, text).front();
  if (text.empty()) return std::nullopt;
  CandidateResult result = on_all(world_, [&] { return read_candidate_result(text, path); });
  for (const auto& [key, value] : identity.items()) {
    if (result.identity.value(key, json()) == value) continue;
    throw SharedError(
        fmt::format("{} is of another search: its {} is {}, and here it is {}; set "
                    "overwrite_output_dir=true to search afresh, or choose another output_dir",
                    path, key, result.identity.value(key, json()).dump(), value.dump()),
        Fault::kUsage);
  }
  return result;
}

void Search::write_result(size_t i, const CandidateResult& result) {
  all_or_none(world_, [&] {
    if (leads()) {
      io::write_file(folder_of(i) + "/" + std::string(kCandidateResultFile),
                     candidate_result_json(result));
    }
  });
}

void Search::evaluate(RunMachine& machine, CandidateResult& result) {
  const RunData& data = start_.inputs.data;
  const RunData::EvaluationSet& set = data.evaluation[data.judged_by(plans_.front().config)];
  const EvaluationBatches batches(set.samples, data.options);
  machine.decoder.release();
  lora::EvaluationPass(machine.decoder, machine.loss).plan(batches.max_tokens());
  machine.decoder.allocate();
  world_.set_phase(fmt::format("evaluation after step {}", result.step));
  std::vector<SampleScore> mine;
  const Evaluation evaluation = launch::evaluate(
      machine.decoder, machine.loss,
      {int64_t(batches.size()), [&](size_t b) { return batches[b]; }}, world_, console_,
      [&](size_t b, const lora::Batch& batch, const lora::TokenScores& scores) {
        add_scores(mine, batch, batches.samples_of(b), scores);
      });
  if (!std::isfinite(evaluation.loss)) {
    result.diverged = fmt::format("the validation loss is {}", evaluation.loss);
    return;
  }
  result.loss = evaluation.loss;
  for (const SampleScore& score : gather_scores(world_, mine)) {
    if (score.weight > 0) result.samples.push_back({score.weighted, score.weight});
  }
}

void Search::add_figures(size_t i, CandidateResult& result) {
  all_or_none(world_, [&] {
    if (!leads()) return;
    const RunFigures figures(read_run(folder_of(i)));
    result.training_loss = figures.last_loss.value_or(0);
    result.memory = figures.memory.value_or(0);
    result.seconds = figures.seconds;
  });
}

std::optional<CandidateResult> Search::train_candidate(size_t i, const json& identity) {
  RunPlan plan = plan_of_first_steps(i);
  // What an earlier start has left of it is gone on with.
  const bool begun = on_first_rank([&] { return io::exists(folder_of(i)); });
  plan.config.resume_from_checkpoint =
      begun ? std::optional<ResumeFrom>(ResumeFrom{}) : std::nullopt;
  RunFolder folder(plan.config, world_, console_);
  folder.set_record(run_record(run_facts(plan, start_.inputs, start_.ctx), plan, start_.inputs));
  CandidateResult result{.identity = identity};
  try {
    const auto measure = [&](RunMachine& machine, const RunState& state) {
      result.step = state.step;
      result.parameters = machine.adapters.trainable();
      evaluate(machine, result);
      add_figures(i, result);
    };
    if (train_until({start_, plan, model_, folder}, last_, measure) == kStopped) {
      return std::nullopt;
    }
  } catch (const Diverged& error) {
    result.diverged = error.what();
  }
  write_result(i, result);
  return_freed_memory();  // so that the memory of the next one is measured without this one's
  return result;
}

std::optional<CandidateResult> Search::result_of(size_t i) {
  const std::string name = search_.candidates[i].name();
  const RunData& data = start_.inputs.data;
  const auto& judged = data.evaluation[data.judged_by(plans_.front().config)];
  json identity = identity_of(start_, plans_[i], model_);
  identity["search_steps"] = last_;
  identity["evaluation_hash"] = fmt::format("{:016x}", judged.samples.fingerprint());
  std::optional<CandidateResult> result = read_result(i, identity);
  const bool found = result.has_value();
  console_.line(fmt::format("search   candidate {} of {}: {}{}", i + 1, search_.candidates.size(),
                            name, found ? ", done before" : ""));
  if (!found) result = train_candidate(i, identity);
  if (!result) return result;
  if (!result->diverged.empty()) {
    console_.line(fmt::format("search   {} diverged: {}", name, result->diverged));
  } else {
    const Estimate loss = loss_of(*result);
    console_.line(
        fmt::format("search   {}: validation loss {:.4f} ± {:.4f}", name, loss.mean, loss.error));
  }
  return result;
}

Comparison Search::compare_all(const std::vector<ComparedCandidate>& candidates) {
  const std::optional<Comparison> comparison = compare(candidates, search_.tolerance);
  if (!comparison) {
    throw SharedError("every candidate of the search diverged; lower learning_rate");
  }
  all_or_none(world_, [&] {
    if (!leads()) return;
    const std::string folder = fmt::format("{}/{}/", out_, kSearchFolder);
    io::write_file(folder + std::string(kSearchResultFile),
                   search_json(candidates, *comparison, search_.tolerance));
    io::write_file(folder + "report.html",
                   search_page_html(candidates, *comparison, search_.tolerance, out_));
    write_stdout(search_table(candidates, *comparison));
  });
  for (const std::string& remark : comparison->remarks) console_.line("search   note: " + remark);
  return *comparison;
}

void Search::take_over(size_t i) {
  all_or_none(world_, [&] {
    if (!leads()) return;
    const CheckpointStore own(folder_of(i), 1), whole(out_, 1);
    const int64_t step = own.steps().empty() ? 0 : own.steps().back();
    if (!whole.steps().empty() || step == 0) return;
    // The checkpoint comes last: once it is there, so is all else.
    for (const std::string_view name : {kMetricsFile, kSamplesFile}) {
      const fs::path from = fs::path(folder_of(i)) / name;
      if (io::exists(from)) {
        io::write_file((fs::path(out_) / name).string(),
                       io::read_file(from.string(), kMostMetricsBytes));
      }
    }
    io::replace_folder(own.path_of(step), whole.path_of(step));
  });
}

int Search::run() {
  const StopSignals signals;  // also between two candidates, of which the next one stops at once
  std::vector<ComparedCandidate> compared;
  for (size_t i = 0; i < search_.candidates.size(); ++i) {
    std::optional<CandidateResult> result = result_of(i);
    if (!result) return kStopped;
    compared.push_back(
        {search_.candidates[i].name(), search_.candidates[i].differs, std::move(*result)});
  }
  const Comparison comparison = compare_all(compared);
  const size_t chosen = comparison.chosen;
  console_.line(
      fmt::format("search   {} is chosen{}; its run goes on in {}", compared[chosen].name,
                  chosen == comparison.best
                      ? ""
                      : fmt::format(": within {:g} % of {}, the best", 100 * search_.tolerance,
                                    compared[comparison.best].name),
                  out_));
  take_over(chosen);
  RunPlan plan = plans_[chosen];
  plan.config.resume_from_checkpoint = ResumeFrom{};
  plan.config.overwrite_output_dir = false;
  start_.folder.set_record(
      run_record(run_facts(plan, start_.inputs, start_.ctx), plan, start_.inputs));
  return train_all({start_, plan, model_, start_.folder});
}

/// The facts of the largest candidate, whose plan is that which must fit.
void print_start(const SearchConfig& search, const RunStart& start, const RunPlan& largest,
                 Console& console) {
  console.line(fmt::format(
      "search   {} candidates, {} of {} steps each; the plan is that of the largest",
      search.candidates.size(), steps_of_candidates(search, start), start.inputs.steps.steps()));
  print_banner(console, run_facts(largest, start.inputs, start.ctx), largest);
}

}  // namespace

int search(const SearchConfig& search, parallel::Communicator& world) {
  if (world.size() > 1) {
    for (const Candidate& candidate : search.candidates) {
      require_agreement(world, what_all_run(candidate.config));
    }
  }
  const Config& first = search.candidates.front().config;
  RunStart start(first, world);
  const std::vector<RunPlan> plans = plans_of(search.candidates, start);
  const RunPlan& largest = largest_of(plans);
  print_start(search, start, largest, start.console);
  LoadedModel model = load_base(start, largest);
  if (first.overwrite_output_dir) start.folder.clear();
  return Search(search, start, plans, model).run();
}

}  // namespace tessera::launch
