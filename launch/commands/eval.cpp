#include "launch/commands/eval.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/commands/arguments.h"
#include "launch/config/options.h"
#include "launch/hub/find_model.h"
#include "launch/machine/agreement.h"
#include "launch/machine/device.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/run/loaded_model.h"
#include "launch/run/run_identity.h"
#include "lora/adapter/peft.h"
#include "lora/model/loader.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/hash.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The adapter's folder; empty for the base alone.
std::optional<std::string> choose_adapter(const Config& config,
                                          const std::optional<std::string>& given) {
  if (given == "none") return std::nullopt;
  if (given) return given;
  const fs::path run = config.output_dir;
  if (!run.empty() && io::exists(run / lora::kPeftConfigFile)) return config.output_dir;
  return config.lora_model_dir;  // what the run would start from
}

/// Takes adapter=PATH or adapter=none out of `overrides`; adapter=qlora and adapter=lora stay, the
/// config key of the same name.
std::optional<std::string> take_adapter(std::vector<std::string>& overrides) {
  std::optional<std::string> adapter;
  const auto is_path = [](const std::string& text) {
    return text.starts_with("adapter=") && text != "adapter=qlora" && text != "adapter=lora";
  };
  for (auto it = overrides.begin(); it != overrides.end();) {
    if (!is_path(*it)) {
      ++it;
      continue;
    }
    if (adapter) fail_usage("command line: adapter= is given twice; keep one");
    adapter = it->substr(it->find('=') + 1);
    if (adapter->empty()) fail_usage("command line: adapter= needs a folder, or none");
    const UserPath path = read_user_path(*adapter);
    if (!path.fault.empty()) fail_usage("command line: adapter=: {}", path.fault);
    adapter = path.path;
    it = overrides.erase(it);
  }
  return adapter;
}

/// How the ranks hold the base: as the config says, else so that a node has one copy. A GPU cannot
/// read that in place: there the ranks deal the layers among them.
parallel::Sharding sharding_of(const Config& config, Device device, int ranks) {
  using Mode = parallel::Sharding::Mode;
  if (ranks == 1) return {};
  parallel::Sharding sharding;
  sharding.mode = config.sharding.value_or(device.is_cuda() ? Mode::kFull : Mode::kHost);
  if (sharding.mode == Mode::kHybrid) sharding.group = int(config.sharding_group.value_or(0));
  parallel::check_sharding(sharding, ranks);
  return sharding;
}

/// What is evaluated, read before the minutes of a large load.
struct EvalInputs {
  EvalInputs(const EvalOptions& options, Context& ctx, parallel::Communicator& world,
             Console& console)
      : folder(choose_adapter(options.config, options.adapter)),
        opened(on_all(world, [&] { return open_adapter(folder, console); })),
        checkpoint(on_all(world, [&] { return lora::Checkpoint::open(options.config.model()); })),
        base(on_all(world,
                    [&] {
                      const lora::BaseFormat stored = lora::checkpoint_format(checkpoint);
                      return quantization(with_stored_format(options.config, stored));
                    })),
        data(on_all(world,
                    [&] {
                      return RunData(options.config, checkpoint.spec().vocab, 1, ctx.threads(),
                                     console);
                    })),
        sets(data.sets_to_evaluate()) {}

  const std::optional<std::string> folder;
  const std::optional<lora::PeftFolder> opened;
  const lora::Checkpoint checkpoint;
  const std::optional<quant::Storage> base;
  const RunData data;
  const std::vector<RunData::EvaluationSet> sets;
};

/// What must be the same on every rank, beside the config and the base.
json what_is_read(const EvalInputs& inputs) {
  json all = json::object();
  if (inputs.folder) all["adapter"] = io::hash_file(lora::peft_weights(*inputs.folder));
  for (const RunData::EvaluationSet& set : inputs.sets) {
    all["data " + set.name] = fmt::format("{:016x}", set.samples.fingerprint());
  }
  return all;
}

void print_banner(const EvalOptions& options, const EvalInputs& inputs, Context& ctx,
                  parallel::Communicator& world, Console& console) {
  const RunData& data = inputs.data;
  data.print_notes(console);
  console.line(fmt::format("base     {} ({})", options.config.base_model, describe(inputs.base)));
  console.line(fmt::format("compute  {}{}", describe_compute(ctx.compute_dtype(), ctx.device()),
                           world.size() > 1 ? fmt::format(" on {} ranks", world.size()) : ""));
  console.line(fmt::format("adapter  {}", inputs.folder.value_or("none")));
  const std::string lost = describe_losses(data.counts);
  if (data.evaluation.empty()) {
    console.line(fmt::format("data     {} row{}{}", data.training.size(),
                             data.training.size() == 1 ? "" : "s", lost.empty() ? ", all" : lost));
  } else {
    console.line(fmt::format("data     {}{}", data.describe_evaluation(" rows"), lost));
  }
}

/// The lines of --per_sample, which are written when all are there: what ends the program before
/// leaves nothing.
class SampleLines {
 public:
  /// Fails at once where the file is there or cannot be written: that must not cost an evaluation.
  SampleLines(const std::optional<std::string>& path, parallel::Communicator& world)
      : path_(path), world_(world) {
    on_first_rank([&] {
      if (io::exists(*path_)) {
        fail_usage("--per_sample {} is there already; remove it, or choose another name", *path_);
      }
      const io::AtomicFile probe(*path_);
    });
  }
  void add(const std::string& lines) {
    if (path_ && world_.rank() == 0) text_ += lines;
  }
  void write() {
    on_first_rank([&] { io::write_file(*path_, text_); });
  }

 private:
  void on_first_rank(FunctionRef<void()> work) {
    all_or_none(world_, [&] {
      if (path_ && world_.rank() == 0) work();
    });
  }

  std::optional<std::string> path_;
  parallel::Communicator& world_;
  std::string text_;
};

}  // namespace

std::vector<SetEvaluation> evaluate(const EvalOptions& options, parallel::Communicator& world,
                                    Console& console) {
  const Config& config = options.config;
  require_keys(config, kEvalNeeds);
  if (world.size() > 1) require_agreement(world, what_all_run(config));
  const Device device = on_all(world, [&] { return choose_device(config.device, world, console); });
  Context ctx(device, thread_count(config.threads, world), uint64_t(config.seed));
  ctx.set_compute_dtype(on_all(world, [&] { return compute_dtype(config, device); }));
  const EvalInputs inputs(options, ctx, world, console);
  if (world.size() > 1) require_agreement(world, what_is_read(inputs));
  SampleLines lines(options.per_sample, world);
  print_banner(options, inputs, ctx, world, console);
  LoadedModel model(ctx, inputs.checkpoint, inputs.base,
                    {world, sharding_of(config, device, world.size())}, console);
  auto adapters = on_all(world, [&] { return load_adapter(ctx, inputs.opened, model.spec()); });
  lora::Decoder decoder(ctx, model.base(), model.scheduler(), adapters ? &*adapters : nullptr);
  std::vector<EvaluationBatches> batches;
  int64_t tokens = 0;
  for (const auto& set : inputs.sets) {
    batches.emplace_back(set.samples, inputs.data.options);
    tokens = std::max(tokens, batches.back().max_tokens());
  }
  const lora::Loss loss = make_loss(config);
  lora::EvaluationPass(decoder, loss).plan(tokens);
  decoder.allocate();
  std::vector<SetEvaluation> results;
  for (size_t s = 0; s < inputs.sets.size(); ++s) {
    const auto batch = [&](size_t i) { return batches[s][i]; };
    std::vector<SampleScore> mine;
    const auto see = [&](size_t i, const lora::Batch& of, const lora::TokenScores& scores) {
      add_scores(mine, of, batches[s].samples_of(i), scores);
    };
    const Evaluation evaluation =
        evaluate(decoder, loss, {int64_t(batches[s].size()), batch}, world, console, see);
    if (!std::isfinite(evaluation.loss)) {
      throw SharedError(fmt::format("the loss is {}; is the base model or the adapter damaged?",
                                    evaluation.loss));
    }
    const std::vector<SampleScore> samples = gather_scores(world, mine);
    results.push_back({evaluation, inputs.sets[s].name, sum_of(samples)});
    if (options.per_sample) {
      lines.add(describe_samples(samples, inputs.sets[s], inputs.data.reports));
    }
  }
  lines.write();
  return results;
}

std::string to_json(const std::vector<SetEvaluation>& evaluations) {
  nlohmann::ordered_json all;
  for (const SetEvaluation& evaluation : evaluations) {
    all[evaluation.set] = {{"loss", evaluation.loss},
                           {"perplexity", evaluation.perplexity()},
                           {"token_accuracy", evaluation.score.token_accuracy()},
                           {"exact_match", evaluation.score.exact_match()},
                           {"tokens", evaluation.tokens},
                           {"samples", evaluation.score.samples}};
  }
  return (all.size() == 1 ? all.front() : all).dump();
}

void declare_eval(CLI::App* command, int& exit_code) {
  auto arguments = std::make_shared<ConfigArguments>();
  auto per_sample = std::make_shared<std::optional<std::string>>();
  arguments->add_to(command);
  add_path(command, "--per_sample", *per_sample, "File to write: a line of JSON for each sample")
      ->type_name("FILE");
  command->footer(
      "\nPrints {\"loss\", \"perplexity\", \"token_accuracy\", \"exact_match\", \"tokens\", "
      "\"samples\"} as JSON:\nover the rows that val_set_size holds out and over test_datasets, by "
      "name where there are several,\nelse over all rows. exact_match is the share of samples of "
      "which every token is the most likely one\nafter the right tokens before it. The adapter is "
      "the one in output_dir if there is one, else that of\nlora_model_dir; adapter=PATH names "
      "another, adapter=none measures the base model alone. Under mpirun\nthe ranks share the "
      "samples.\n\nExample: tessera eval run.yml adapter=none");
  command->callback([arguments, per_sample, &exit_code] {
    require_cpu();
    exit_code = run_on_ranks([&](parallel::Communicator& world) {
      EvalOptions options;
      all_or_none(world, [&] {
        options.adapter = take_adapter(arguments->overrides);
        options.config = arguments->load(kEvalNeeds);
      });
      Config& config = options.config;
      Console console(world.rank() == 0, config.log_format == LogFormat::kJson);
      show_notes(config, console);
      config.model_path = on_all(world, [&] { return find_model(config.base_model, console); });
      options.per_sample = *per_sample;
      const std::string result = to_json(evaluate(options, world, console)) + "\n";
      if (world.rank() == 0) write_stdout(result);
      return 0;
    });
  });
}

}  // namespace tessera::launch
