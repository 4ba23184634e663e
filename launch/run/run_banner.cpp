#include "launch/run/run_banner.h"

#include <fmt/ranges.h>

#include <set>

#include "launch/config/options.h"
#include "launch/console/version.h"
#include "launch/machine/device.h"
#include "launch/plan/plan_table.h"
#include "lora/model/layout.h"

namespace tessera::launch {
namespace {

using Facts = std::vector<RunRecord::Fact>;

void add_adapter(Facts& facts, const RunPlan& plan, Device device) {
  const lora::ModelSpec& model = plan.input.model;
  const auto adapters = lora::AdapterSet::shapes(model, plan.input.adapter, device);
  std::string text = fmt::format("r {}, alpha {}", plan.config.lora_r, plan.config.lora_alpha);
  std::vector<std::string_view> whole;
  for (const lora::TensorRow& row : adapters.parts().whole) whole.push_back(row.own_name());
  if (!whole.empty()) text += fmt::format(", {} in full", fmt::join(whole, " and "));
  const size_t tokens = adapters.parts().tokens.ids.size();
  if (tokens > 0) {
    text += fmt::format(", the row{} of {} token{} in embed_tokens{}", tokens == 1 ? "" : "s",
                        format_count(int64_t(tokens)), tokens == 1 ? "" : "s",
                        model.tied_head ? " and the head tied to it" : "");
  }
  facts.push_back({"adapter", fmt::format("{}, {} trainable parameters", text,
                                          format_count(adapters.trainable()))});
  if (model.tied_head && !whole.empty() && !adapters.ties_head()) {
    facts.push_back({"",
                     "training unties the head from the embedding, as PEFT does; "
                     "lora_ensure_weight_tying: true keeps them one matrix"});
  } else if (plan.config.lora_ensure_weight_tying && !model.tied_head) {
    facts.push_back({"", "lora_ensure_weight_tying has no effect: the head has its own weights"});
  }
}

void add_samples(Facts& facts, const Config& config, const TrainingSamples& samples) {
  if (samples.empty()) return;
  const size_t count = config.sample_prompts.size();
  facts.push_back(
      {"samples", fmt::format("{} prompt{} {}, {}", count, count == 1 ? "" : "s",
                              samples.chat() ? "as messages of the chat template" : "as plain text",
                              config.sample_steps ? fmt::format("every {} steps and at the end",
                                                                *config.sample_steps)
                                                  : "at the end")});
}

std::string rows_text(size_t rows) {
  return fmt::format("{} row{}", format_count(int64_t(rows)), rows == 1 ? "" : "s");
}

/// The tokens that were counted are those of all rows of `datasets`, held out or not.
std::string describe_data(const Config& config, const RunData& data) {
  const size_t held_out = config.val_set_size > 0 ? data.evaluation.front().samples.size() : 0;
  const size_t training = data.training.size(), all = training + held_out;
  const std::string tokens =
      fmt::format("({} tokens, {} supervised)", format_count(data.counts.tokens),
                  format_count(data.counts.supervised));
  const std::string start = held_out == 0
                                ? fmt::format("{} to train on {}", rows_text(training), tokens)
                                : fmt::format("{} {}: {} to train on", rows_text(all), tokens,
                                              format_count(int64_t(training)));
  return fmt::format("{}, {}{}", start, data.describe_evaluation(), describe_losses(data.counts));
}

}  // namespace

std::vector<RunRecord::Fact> run_facts(const RunPlan& plan, const RunInputs& inputs,
                                       const Context& ctx) {
  const Config& config = plan.config;
  const RunData& data = inputs.data;
  const RunSteps& steps = inputs.steps;
  const lora::ModelSpec& c = plan.input.model;
  const lora::AttentionSpec& attention = c.layers.front().attention;
  const size_t base = lora::BaseLayout(c, plan.input.format).bytes();
  Facts facts;
  facts.push_back(
      {"model", fmt::format("{} ({} layers, hidden {}, {} heads / {} kv, vocab {})",
                            config.base_model, c.layer_count(), c.hidden, attention.heads,
                            attention.kv_heads, format_count(c.vocab))});
  facts.push_back(
      {"base", fmt::format("{}: {}", describe(quantization(config)), format_bytes(int64_t(base)))});
  facts.push_back(
      {"compute", fmt::format("{}; {}", describe_compute(ctx.compute_dtype(), ctx.device()),
                              ctx.device().is_cuda() ? describe_device(ctx.device())
                                                     : fmt::format("{} threads", ctx.threads()))});
  add_adapter(facts, plan, ctx.device());
  facts.push_back({"data", describe_data(config, data)});
  facts.push_back(
      {"steps", fmt::format("{} of {} x {}{}", steps.steps(), data.options.micro_batches,
                            rows_text(size_t(data.options.micro_batch_size)),
                            config.sample_packing
                                ? fmt::format(", packed to {:.0f} % of {} tokens",
                                              100 * steps.packing_efficiency(), config.sequence_len)
                                : std::string())});
  add_samples(facts, config, inputs.samples);
  if (const int ranks = plan.input.ranks(); ranks > 1) {
    const std::set<int> nodes(plan.input.nodes.begin(), plan.input.nodes.end());
    facts.push_back(
        {"ranks", fmt::format("{} on {} node{}, base {}", ranks, nodes.size(),
                              nodes.size() == 1 ? "" : "s", name_of(plan.chosen.sharding.mode))});
  }
  return facts;
}

void print_banner(Console& console, const Facts& facts, const RunPlan& plan) {
  for (const RunRecord::Fact& fact : facts) {
    console.line(fmt::format("{:<8} {}", fact.name, fact.text));
  }
  for (const std::string& line : plan_table(plan.chosen, plan.input)) console.line(line);
}

RunRecord run_record(Facts facts, const RunPlan& plan, const RunInputs& inputs) {
  using Where = MemoryRow::Where;
  const RankMemory& memory = plan.chosen.memory;
  RunRecord record;
  record.program = fmt::format("tessera {}", kVersion);
  record.steps = inputs.steps.steps();
  record.memory = int64_t(memory.budgeted(plan.input.gpu.has_value()));
  for (const MemoryRow& row : memory_rows()) {
    if (memory.*row.bytes == 0) continue;
    const char* where = row.where == Where::kDevice ? "device"
                        : row.where == Where::kHost ? "host"
                                                    : "disk";
    record.memory_parts.push_back({std::string(row.name), where, int64_t(memory.*row.bytes)});
  }
  record.facts = std::move(facts);
  const std::vector<DatasetReport>& reports = inputs.data.reports;
  for (size_t i = 0; i < reports.size(); ++i) {
    const DatasetCounts& counts = reports[i].counts;
    record.datasets.push_back({.path = reports[i].path,
                               .type = reports[i].type ? name_of(*reports[i].type) : "",
                               .evaluated = i >= plan.config.datasets.size(),
                               .rows = counts.rows,
                               .samples = counts.samples,
                               .tokens = counts.tokens,
                               .learned = counts.supervised,
                               .dropped_long = counts.dropped_long,
                               .truncated = counts.truncated,
                               .dropped_empty = counts.dropped_empty});
  }
  return record;
}

}  // namespace tessera::launch
