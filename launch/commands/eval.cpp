#include "launch/commands/eval.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/commands/arguments.h"
#include "launch/config/options.h"
#include "launch/hub/find_model.h"
#include "launch/machine/device.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/run/loaded_model.h"
#include "launch/run/run_data.h"
#include "lora/adapter/peft.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

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

}  // namespace

std::vector<SetEvaluation> evaluate(const Config& config, const std::optional<std::string>& adapter,
                                    Console& console) {
  require_keys(config, kEvalNeeds);
  const std::optional<std::string> folder = choose_adapter(config, adapter);
  const Device device = choose_device(config.device, console);
  const DType compute = compute_dtype(config, device);
  const auto opened = open_adapter(folder, console);
  parallel::SelfCommunicator alone;
  Context ctx(device, thread_count(config.threads), uint64_t(config.seed));
  ctx.set_compute_dtype(compute);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(config.model());
  const auto base = quantization(with_stored_format(config, lora::checkpoint_format(checkpoint)));
  LoadedModel model(ctx, checkpoint, base, {alone, {}}, console);
  auto adapters = load_adapter(ctx, opened, model.spec());
  const RunData data(config, model.spec().vocab, 1, ctx.threads(), console);
  data.print_notes(console);
  std::vector<RunData::EvaluationSet> sets = data.evaluation;
  if (sets.empty()) sets.push_back({"all", data.training});
  console.line(fmt::format("base     {} ({})", config.base_model, describe(base)));
  console.line(fmt::format("compute  {}", describe_compute(compute, device)));
  console.line(fmt::format("adapter  {}", folder.value_or("none")));
  std::string lost = describe_losses(data.counts);
  if (data.evaluation.empty()) {
    console.line(
        fmt::format("data     {} rows{}", data.training.size(), lost.empty() ? ", all" : lost));
  } else {
    console.line(fmt::format("data     {}{}", data.describe_evaluation(" rows"), lost));
  }

  lora::Decoder decoder(ctx, model.base(), model.scheduler(), adapters ? &*adapters : nullptr);
  std::vector<EvaluationBatches> batches;
  int64_t tokens = 0;
  for (const auto& set : sets) {
    batches.emplace_back(set.samples, data.options);
    tokens = std::max(tokens, batches.back().max_tokens());
  }
  lora::EvaluationPass(decoder, *config.loss).plan(tokens);
  decoder.allocate();
  std::vector<SetEvaluation> results;
  for (size_t s = 0; s < sets.size(); ++s) {
    const auto batch = [&](size_t i) { return batches[s][i]; };
    results.push_back(
        {evaluate(decoder, *config.loss, {int64_t(batches[s].size()), batch}, alone, console),
         sets[s].name});
    if (std::isfinite(results.back().loss)) continue;
    fail("the loss is {}; is the base model or the adapter damaged?", results.back().loss);
  }
  return results;
}

std::string to_json(const std::vector<SetEvaluation>& evaluations) {
  nlohmann::ordered_json all;
  for (const SetEvaluation& evaluation : evaluations) {
    all[evaluation.set] = {{"loss", evaluation.loss},
                           {"perplexity", evaluation.perplexity()},
                           {"tokens", evaluation.tokens}};
  }
  return (all.size() == 1 ? all.front() : all).dump();
}

void declare_eval(CLI::App* command, int&) {
  auto arguments = std::make_shared<ConfigArguments>();
  arguments->add_to(command);
  command->footer(
      "\nPrints {\"loss\", \"perplexity\", \"tokens\"} as JSON: over the rows that val_set_size "
      "holds out and\nover test_datasets, by name where there are several, else over all rows. The "
      "adapter is the one in\noutput_dir if there is one, else that of lora_model_dir; "
      "adapter=PATH "
      "names another, adapter=none\nmeasures the base model alone.\n\n"
      "Example: tessera eval run.yml adapter=none");
  command->callback([arguments] {
    require_cpu();
    require_alone("eval");
    const auto adapter = take_adapter(arguments->overrides);
    Console console;
    Config config = arguments->load(kEvalNeeds);
    config.model_path = find_model(config.base_model, console);
    write_stdout(to_json(evaluate(config, adapter, console)) + "\n");
  });
}

}  // namespace tessera::launch
