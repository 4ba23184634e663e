#include "launch/evaluate.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/agreement.h"
#include "launch/device.h"
#include "launch/model.h"
#include "launch/run_data.h"
#include "lora/peft.h"
#include "parallel/gradient_tree.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// The adapter's folder; empty for the base alone.
std::optional<std::string> choose_adapter(const Config& config,
                                          const std::optional<std::string>& given) {
  if (given == "none") return std::nullopt;
  if (given) return given;
  if (config.output_dir.empty() ||
      !io::exists(fs::path(config.output_dir) / lora::kPeftConfigFile)) {
    return std::nullopt;
  }
  return config.output_dir;
}

}  // namespace

double Evaluation::perplexity() const { return std::exp(loss); }

Evaluation evaluate(lora::Decoder& decoder, const std::vector<lora::Batch>& batches,
                    parallel::Communicator& world, Console& console) {
  const auto total = int64_t(batches.size());
  const auto [first, count] = parallel::micro_batches_of(world.rank(), world.size(), total);
  const int64_t most = parallel::micro_batches_of(0, world.size(), total).count;
  std::vector<double> sums;
  for (int64_t i = 0; i < most; ++i) {
    console.live(fmt::format("evaluating: batch {}/{}", i * world.size() + 1, total));
    if (i < count) {
      sums.push_back(decoder.loss(batches[size_t(first + i)], nullptr));
    } else {
      decoder.idle(false);
    }
  }
  console.live("");
  Evaluation result;
  for (double sum : gather_dealt(world, sums, total)) result.loss += sum;
  for (const lora::Batch& batch : batches) result.tokens += batch.supervised();
  result.loss /= double(result.tokens);
  return result;
}

Evaluation evaluate(const Config& config, const std::optional<std::string>& adapter,
                    Console& console) {
  require_keys(config, kEvalNeeds);
  const std::optional<std::string> folder = choose_adapter(config, adapter);
  const Device device = choose_device(config.device);
  const DType compute = compute_dtype(config, device);
  if (folder) announce_adapter(*folder, console);
  parallel::SelfCommunicator alone;
  Context ctx(device, thread_count(config.threads), uint64_t(config.seed));
  ctx.set_compute_dtype(compute);
  LoadedModel model(ctx, config.base_model, BaseChoice::of(config), {alone, {}}, console);
  const auto adapters = load_adapter(ctx, folder, model.config());
  const RunData data(config, model.config().vocab, 1, console);
  const bool split = !data.validation.empty();
  const auto batches = evaluation_batches(split ? data.validation : data.training, data.options);
  console.line(
      fmt::format("base     {} ({})", config.base_model, BaseChoice::of(config).describe()));
  console.line(fmt::format("compute  {}", describe_compute(compute, device)));
  console.line(fmt::format("adapter  {}", folder.value_or("none")));
  console.line(fmt::format("data     {} rows{}",
                           split ? data.validation.size() : data.training.size(),
                           split ? " held out" : ", all"));

  lora::Decoder decoder(ctx, model.base(), model.scheduler(), adapters ? &*adapters : nullptr);
  int64_t tokens = 0;
  for (const lora::Batch& batch : batches) tokens = std::max(tokens, batch.tokens());
  decoder.plan(tokens, false);
  decoder.allocate();
  const Evaluation result = evaluate(decoder, batches, alone, console);
  if (!std::isfinite(result.loss)) {
    fail("the loss is {}; is the base model or the adapter damaged?", result.loss);
  }
  return result;
}

std::string to_json(const Evaluation& evaluation) {
  const nlohmann::ordered_json json = {{"loss", evaluation.loss},
                                       {"perplexity", evaluation.perplexity()},
                                       {"tokens", evaluation.tokens}};
  return json.dump();
}

}  // namespace tessera::launch
