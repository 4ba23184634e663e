#include "launch/plan/planner.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "launch/config/options.h"
#include "launch/console/progress.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using parallel::LayerGroup;
using parallel::Policy;

constexpr int64_t kGroupSizes[] = {1, 2, 4};

/// The integers that stand for the policies of all layers.
struct Policies {
  Policy policy;
  int64_t group;
  int64_t kept;
};

/// Every choice that the config allows; what is kept first, then what is recomputed.
std::vector<Policies> allowed_policies(const Config& config, int64_t layers, bool gpu) {
  const int64_t size = config.gradient_checkpointing_layers;
  if (config.gradient_checkpointing) {
    const int64_t kept = std::min(layers, config.gradient_checkpointing_kept_layers);
    return {{*config.gradient_checkpointing, size, kept}};
  }
  std::vector<Policies> all = {{Policy::kKeep, size, 0}};
  for (Policy how : {Policy::kRecompute, Policy::kOffload}) {
    // In one memory with what it is moved from, an input that is offloaded saves nothing.
    if (how == Policy::kOffload && !gpu) continue;
    for (int64_t group : kGroupSizes) {
      if (size != 1 && group != 1) continue;  // it was set
      const int64_t step = size == 1 ? group : size;
      for (int64_t kept = 0; kept < layers; ++kept) {
        if (kept == 0 || (layers - kept) % step == 0) all.push_back({how, step, kept});
      }
    }
  }
  return all;
}

std::vector<parallel::Sharding> allowed_shardings(const Config& config, const PlanInput& input,
                                                  bool limited) {
  using Mode = parallel::Sharding::Mode;
  if (config.sharding) {
    const bool groups = *config.sharding == Mode::kHybrid;
    return {{*config.sharding, groups ? int(config.sharding_group.value_or(0)) : 0}};
  }
  if (input.ranks() == 1 && !input.gpu) return {{Mode::kReplicate, 0}};
  if (input.ranks() == 1) return {{Mode::kReplicate, 0}, {Mode::kHost, 0}};
  if (!limited) return {{Mode::kFull, 0}};
  return {{Mode::kFull, 0}, {Mode::kReplicate, 0}, {Mode::kHost, 0}};
}

/// The rank that holds most, and the bytes of the fullest node, before any activations.
struct Fullest {
  int rank = 0;
  size_t ranks_of_node = 0;
  size_t node_bytes = 0;
  size_t host_bytes = 0;  // of these, in the node's own memory
};

/// What a rank holds of its node's own memory, of which a CPU's ranks hold all that they hold.
size_t host_of(const RankMemory& memory, bool gpu) {
  return memory.host() + (gpu ? 0 : memory.device());
}

Fullest find_fullest(const MemoryModel& model, parallel::Sharding sharding) {
  const PlanInput& input = model.input();
  Fullest fullest;
  size_t most = 0;
  // Bytes, ranks, bytes of the node's own memory.
  std::vector<std::tuple<size_t, size_t, size_t>> nodes(size_t(input.ranks()));
  for (int r = 0; r < input.ranks(); ++r) {
    const RankMemory memory = model.rank(r, sharding, {});
    if (memory.budgeted(input.gpu.has_value()) > most) {
      most = memory.budgeted(input.gpu.has_value());
      fullest.rank = r;
    }
    auto& [bytes, ranks, host] = nodes[size_t(input.nodes[size_t(r)])];
    bytes += memory.device() + memory.host();
    host += host_of(memory, input.gpu.has_value());
    ++ranks;
  }
  std::tie(fullest.node_bytes, fullest.ranks_of_node, fullest.host_bytes) =
      *std::ranges::max_element(nodes);
  return fullest;
}

class Search {
 public:
  Search(const Config& config, PlanInput input, const DeviceProfile& device,
         const MemoryLimit& limit)
      : config_(config), model_(std::move(input)), device_(device), limit_(limit) {}

  /// Nothing where no plan fits; the bound that it breaks then says how much is needed.
  std::optional<Plan> run();
  struct Broken {
    MemoryLimit::Bound bound;
    size_t needed;
    bool by_rank;
  };
  /// The rank's where a plan would fit the node, or where it is the narrower of the two.
  Broken broken() const;

 private:
  Plan evaluate(const Policies& policies, const lora::Decoder::Memory& activity,
                std::vector<LayerGroup> groups, parallel::Sharding sharding,
                const Fullest& fullest);
  void page(Plan& plan) const;
  bool fits_node(const Plan& plan) const { return !limit_.node || plan.host <= limit_.node->bytes; }
  bool fits_rank(const Plan& plan) const {
    return !limit_.rank || plan.memory.budgeted(gpu()) <= limit_.rank->bytes;
  }
  bool is_better(const Plan& plan, const Plan& best) const;
  bool gpu() const { return model_.input().gpu.has_value(); }

  const Config& config_;
  MemoryModel model_;
  const DeviceProfile& device_;
  MemoryLimit limit_;
  // The least that the plans take: of a rank, of one in a plan that fits its node, of a node.
  size_t smallest_rank_ = SIZE_MAX;
  std::optional<size_t> smallest_in_node_;
  size_t smallest_node_ = SIZE_MAX;
};

Search::Broken Search::broken() const {
  if (smallest_in_node_) return {*limit_.rank, *smallest_in_node_, true};
  const bool rank_is_narrower = limit_.rank && smallest_rank_ > limit_.rank->bytes &&
                                limit_.rank->bytes <= limit_.node->bytes;
  if (rank_is_narrower) return {*limit_.rank, smallest_rank_, true};
  return {*limit_.node, smallest_node_, false};
}

/// Faster; of equally fast ones, what moves less behind the products, since no model knows how well
/// that hides; then what is smaller. Times within a thousandth of a step are one.
bool Search::is_better(const Plan& plan, const Plan& best) const {
  const double grain = 1e-3 * best.time.seconds;
  const double gained = best.time.seconds - plan.time.seconds;
  if (std::abs(gained) > grain) return gained > 0;
  const auto moved = [](const StepTime& time) { return time.gather + time.host_copy; };
  const double spared = moved(best.time) - moved(plan.time);
  if (std::abs(spared) > grain) return spared > 0;
  return gpu() ? plan.memory.device() < best.memory.device() : plan.node < best.node;
}

std::optional<Plan> Search::run() {
  const PlanInput& input = model_.input();
  const int64_t layers = input.model.layer_count();
  const std::vector<parallel::Sharding> shardings =
      allowed_shardings(config_, input, limit_.rank.has_value());
  std::vector<Fullest> fullest;
  for (parallel::Sharding sharding : shardings) fullest.push_back(find_fullest(model_, sharding));
  std::optional<Plan> best;
  for (const Policies& policies : allowed_policies(config_, layers, gpu())) {
    const auto groups =
        parallel::layer_groups(policies.policy, policies.group, policies.kept, layers);
    const lora::Decoder::Memory activity = model_.activity(groups);
    for (size_t s = 0; s < shardings.size(); ++s) {
      const Plan plan = evaluate(policies, activity, groups, shardings[s], fullest[s]);
      const size_t of_rank = plan.memory.budgeted(gpu());
      smallest_rank_ = std::min(smallest_rank_, of_rank);
      smallest_node_ = std::min(smallest_node_, plan.host);
      if (!fits_node(plan)) continue;
      smallest_in_node_ = std::min(smallest_in_node_.value_or(of_rank), of_rank);
      if (!fits_rank(plan)) continue;
      if (!best || is_better(plan, *best)) best = plan;
    }
  }
  return best;
}

Plan Search::evaluate(const Policies& policies, const lora::Decoder::Memory& activity,
                      std::vector<LayerGroup> groups, parallel::Sharding sharding,
                      const Fullest& fullest) {
  Plan plan;
  plan.sharding = sharding;
  plan.groups = std::move(groups);
  plan.checkpointing = policies.policy;
  plan.group_layers = policies.group;
  plan.kept_layers = policies.kept;
  plan.page_budget = model_.input().optimizer.pages.budget;
  plan.ranks = model_.input().ranks();
  plan.fullest = fullest.rank;
  plan.memory = model_.rank(fullest.rank, sharding, activity);
  const RankMemory without = model_.rank(fullest.rank, sharding, {});
  plan.node = fullest.node_bytes +
              fullest.ranks_of_node *
                  (plan.memory.device() + plan.memory.host() - without.device() - without.host());
  if (config_.optimizer.paged && !plan.page_budget) page(plan);
  plan.host = fullest.host_bytes +
              fullest.ranks_of_node * (host_of(plan.memory, gpu()) - host_of(without, gpu()));
  const DType compute = config_.bnb_4bit_compute_dtype.value_or(gpu() ? DType::kBF16 : DType::kF32);
  plan.time = step_time(model_, device_,
                        {.sharding = sharding,
                         .groups = plan.groups,
                         .compute = compute,
                         .optimizer_pages = plan.memory.pages + plan.memory.page_file});
  return plan;
}

/// What is left over holds as many pages of the optimizer as it can.
void Search::page(Plan& plan) const {
  if (!limit_.rank || plan.memory.budgeted(gpu()) <= limit_.rank->bytes) return;
  const auto with = [&](size_t budget) {
    RankMemory memory = plan.memory;
    const optim::PageMemory state = model_.optimizer(plan.fullest, budget);
    memory.optimizer = state.resident + state.staging;
    memory.pages = state.host;
    memory.page_file = state.file;
    return memory;
  };
  const size_t least = with(0).budgeted(gpu());
  const size_t budget = limit_.rank->bytes > least ? limit_.rank->bytes - least : 0;
  plan.memory = with(budget);
  plan.page_budget = budget;
}

std::string what_would_fit(const Config& config, const PlanInput& input,
                           const DeviceProfile& device, const MemoryLimit& limit) {
  std::vector<std::string> cures;
  const int64_t rows = config.micro_batch_size.value_or(1);
  const auto fits = [&](PlanInput changed) {
    return Search(config, std::move(changed), device, limit).run().has_value();
  };
  const auto with_tokens = [&](int64_t tokens) {
    PlanInput changed = input;
    changed.tokens = std::min(changed.tokens, tokens);
    changed.sequence = std::min(changed.sequence, changed.tokens);
    return changed;
  };
  if (rows > 1 && fits(with_tokens(config.sequence_len))) cures.push_back("micro_batch_size=1");
  for (int64_t length = config.sequence_len / 2; cures.empty() && length >= 64; length /= 2) {
    if (fits(with_tokens(length * rows))) cures.push_back(fmt::format("sequence_len={}", length));
  }
  const bool apart = limit.node && !input.gpu;  // on one node they share what is free
  const bool shards = !config.sharding || *config.sharding == parallel::Sharding::Mode::kFull;
  for (int ranks = 2; shards && ranks <= 64; ranks *= 2) {
    if (ranks <= input.ranks()) continue;
    PlanInput changed = input;
    changed.nodes.resize(size_t(ranks));
    for (int r = 0; r < ranks; ++r) changed.nodes[size_t(r)] = apart ? r : r / 8 * 8;
    if (!fits(changed)) continue;
    cures.push_back(fmt::format("{} ranks{}", ranks, apart ? " on nodes of their own" : ""));
    break;
  }
  if (cures.empty()) return "a smaller model, lora_r or sequence_len is needed";
  return fmt::format("{} would fit", fmt::join(cures, " or "));
}

}  // namespace

Plan choose_plan(const Config& config, const PlanInput& input, const DeviceProfile& device,
                 const MemoryLimit& limit) {
  Search search(config, input, device, limit);
  if (std::optional<Plan> plan = search.run()) return *plan;
  const Search::Broken broken = search.broken();
  fail_usage("memory: the smallest plan needs {} {}, but {} is {}; {}",
             format_bytes(int64_t(broken.needed)), broken.by_rank ? "a rank" : "on a node",
             broken.bound.name, format_bytes(int64_t(broken.bound.bytes)),
             what_would_fit(config, input, device, limit));
}

Config Plan::applied(const Config& config) const {
  Config chosen = config;
  chosen.gradient_checkpointing = checkpointing;
  chosen.gradient_checkpointing_layers = group_layers;
  chosen.gradient_checkpointing_kept_layers = kept_layers;
  if (config.optimizer.paged && page_budget) chosen.optimizer_page_budget = *page_budget;
  if (ranks > 1) chosen.sharding = sharding.mode;
  return chosen;
}

std::string Plan::describe_policies() const {
  int64_t layers = 0, kept = 0;
  for (const LayerGroup& group : groups) layers += group.count;
  for (const LayerGroup& group : groups) {
    if (group.policy == Policy::kKeep) kept += group.count;
  }
  if (kept == layers) return "kept";
  std::string text = checkpointing == Policy::kOffload ? "offloaded and recomputed" : "recomputed";
  if (group_layers > 1) text += fmt::format(" in groups of {}", group_layers);
  if (kept == 0) return text;
  return fmt::format("of {} layers {}, of {} kept", layers - kept, text, kept);
}

PlanInput plan_input(const Config& config, const lora::ModelSpec& model,
                     const lora::BaseFormat& stored, std::vector<int> nodes, bool gpu) {
  PlanInput input;
  input.model = model;
  input.format = base_format(quantization(config), stored);
  input.adapter = adapter_options(config);
  input.micro_batches = micro_batches_per_step(config, int(nodes.size()));
  input.nodes = std::move(nodes);
  input.tokens = config.sequence_len * config.micro_batch_size.value_or(1);
  input.sequence = config.sequence_len;
  input.loss = config.loss;
  input.reduction = config.reduction;
  input.optimizer = {.kind = config.optimizer,
                     .sharded = config.optimizer_sharding,
                     .pages = page_options(config, gpu ? Device::cuda(0) : Device::cpu())};
  if (gpu) input.gpu = compute_dtype_on_gpu(config);
  return input;
}

}  // namespace tessera::launch
