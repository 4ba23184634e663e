#include "launch/step_time.h"

#include <algorithm>
#include <array>

#include "parallel/gradient_tree.h"

namespace tessera::launch {
namespace {

using parallel::LayerGroup;
using parallel::Policy;

enum class Work { kForward, kRecompute, kRecomputeLast, kBackward };

struct Visit {
  int64_t layer;
  Work work;
  bool copies = false;  // an input to or from host memory
};

/// The layers in the order in which LayerScheduler visits them.
std::vector<Visit> visits_of(std::span<const LayerGroup> groups) {
  std::vector<Visit> visits;
  const auto offloads = [&](size_t g) {
    return groups[g].policy == Policy::kOffload && g + 1 < groups.size();
  };
  for (size_t g = 0; g < groups.size(); ++g) {
    for (int64_t i = 0; i < groups[g].count; ++i) {
      visits.push_back({groups[g].first + i, Work::kForward, i == 0 && offloads(g)});
    }
  }
  for (size_t g = groups.size(); g-- > 0;) {
    const LayerGroup& group = groups[g];
    const bool again = group.policy != Policy::kKeep && g + 1 < groups.size();
    for (int64_t i = 0; again && i < group.count; ++i) {
      const Work work = i + 1 == group.count ? Work::kRecomputeLast : Work::kRecompute;
      visits.push_back({group.first + i, work, i == 0 && offloads(g)});
    }
    for (int64_t i = group.count; i-- > 0;) visits.push_back({group.first + i, Work::kBackward});
  }
  return visits;
}

/// Multiplications and additions of one layer over all tokens.
struct LayerFlops {
  double linear = 0, down = 0, attention = 0, adapter = 0;

  LayerFlops(const PlanInput& input, size_t adapter_elements) {
    const lora::DecoderConfig& c = input.model;
    const auto tokens = double(input.tokens);
    for (lora::Site site : lora::kAllSites) {
      const auto [in, out] = lora::shape_of(c, site);
      linear += 2.0 * double(in) * double(out) * tokens;
    }
    down = 2.0 * double(c.ffn) * double(c.hidden) * tokens;
    // Half of the pairs, each in two products.
    attention = 2.0 * double(std::min(input.sequence, input.tokens)) * double(c.q_size()) * tokens;
    adapter = 2.0 * double(adapter_elements) / double(c.layers) * tokens;
  }
  double of(Work work) const {
    switch (work) {
      case Work::kForward:
      case Work::kRecompute:
        return linear + attention + adapter;
      case Work::kRecomputeLast:  // its output is known
        return linear - down + attention + adapter;
      case Work::kBackward:  // no gradients of frozen weights; attention multiplies five times
        return linear + 2.5 * attention + 2.0 * adapter;
    }
    return 0;
  }
};

/// What one rank reaches where those of a node share a CPU.
struct Rates {
  double flops, memory, host, link, network;

  Rates(const PlanInput& input, const DeviceProfile& device, DType compute) {
    size_t sharers = 1;
    if (!device.gpu) {
      for (int node : input.nodes) {
        sharers = std::max(sharers, size_t(std::ranges::count(input.nodes, node)));
        if (node != input.nodes.front()) break;
      }
    }
    const auto share = double(sharers);
    flops = device.flops(compute) / share;
    memory = device.memory_bytes / share;
    host = device.host_bytes / share;
    link = device.link_bytes / share;
    network = device.network_bytes / share;
  }
};

/// What comes to rank 0 from other ranks when a layer is gathered.
struct GatherBytes {
  double in_node = 0, between = 0;
};
GatherBytes gather_bytes(const MemoryModel& model, parallel::Sharding sharding) {
  using Mode = parallel::Sharding::Mode;
  const MemoryModel::Group group = model.group_of(0, sharding);
  if (sharding.mode == Mode::kHost || group.members == 1) return {};
  const int on_node = std::min(model.group_of(0, {Mode::kHost, 0}).members, group.members);
  const auto padded = double(parallel::padded_layer_bytes(model.layout().bytes, group.members));
  const double shard = padded / group.members;
  return {shard * (on_node - 1), shard * (group.members - on_node)};
}

/// Seconds to bring one layer to rank 0.
double gather_seconds(const MemoryModel& model, const Rates& rates, parallel::Sharding sharding) {
  const PlanInput& input = model.input();
  const auto bytes = double(model.layout().bytes);
  if (sharding.mode == parallel::Sharding::Mode::kHost) return input.gpu ? bytes / rates.host : 0.0;
  const GatherBytes from = gather_bytes(model, sharding);
  return std::max(from.in_node / rates.link, from.between / rates.network);
}

}  // namespace

std::string_view StepTime::bound() const {
  if (gather > compute && gather > host_copy) return "gather";
  return host_copy > compute ? "host copy" : "compute";
}

StepTime step_time(const MemoryModel& model, const DeviceProfile& device,
                   const StepChoice& choice) {
  const PlanInput& input = model.input();
  const lora::DecoderConfig& c = input.model;
  const Rates rates(input, device, choice.compute);
  const LayerFlops flops(input, model.adapter_elements());
  const double gather = gather_seconds(model, rates, choice.sharding);
  const double copy = double(input.tokens * c.hidden) * (input.gpu ? 2.0 : 4.0) / rates.host;
  const bool one_link = input.gpu && choice.sharding.mode == parallel::Sharding::Mode::kHost;
  // On a GPU a layer is dequantized once a visit: read as it is, written as bfloat16.
  const double dequantize =
      input.gpu
          ? (double(model.layout().bytes) + flops.linear / double(input.tokens)) / rates.memory
          : 0.0;

  StepTime pass;
  int64_t gathers = 0;
  const std::vector<Visit> visits = visits_of(choice.groups);
  std::array<int64_t, 2> slots = {0, 1};  // where the backward before this one ended
  for (size_t i = 0; i < visits.size(); ++i) {
    const Visit& visit = visits[i];
    const bool dequantized = i > 0 && visits[i - 1].layer == visit.layer;
    const double compute = flops.of(visit.work) / rates.flops + (dequantized ? 0.0 : dequantize);
    const auto ahead = std::find_if(visits.begin() + ptrdiff_t(i) + 1, visits.end(),
                                    [&](const Visit& other) { return other.layer != visit.layer; });
    double moved = 0.0;
    if (ahead != visits.end() && std::ranges::count(slots, ahead->layer) == 0) {
      (slots[0] == visit.layer ? slots[1] : slots[0]) = ahead->layer;
      moved = gather;
      ++gathers;
    }
    const double copied = visit.copies ? copy : 0.0;
    pass.compute += compute;
    pass.gather += moved;
    pass.host_copy += copied;
    pass.seconds += std::max({compute, moved, copied, one_link ? moved + copied : 0.0});
  }
  const double head = 4.0 * double(c.vocab * c.hidden) * double(input.tokens) / rates.flops;

  const auto batches =
      double(parallel::micro_batches_of(0, input.ranks(), input.micro_batches).count);
  StepTime step;
  step.compute = (pass.compute + head) * batches;
  step.gather = pass.gather * batches;
  step.host_copy = pass.host_copy * batches;
  const auto parameters = double(model.adapter_elements()) * sizeof(float);
  if (input.ranks() > 1) {
    // The slices of the sum cross to each node once, and go on to all its ranks.
    const parallel::NodeGrid grid = parallel::node_grid(input.nodes);
    const auto exchange = model.exchange(0);
    if (grid.members > 1) step.exchange += (double(exchange.in_node) + parameters) / rates.link;
    if (grid.nodes > 1) {
      const auto slice = double(parallel::slice_elements(model.adapter_elements(), input.ranks()));
      const double share = double(grid.nodes - 1) / grid.nodes;  // the rest is the node's own
      const double received =
          (double(exchange.between) + slice * sizeof(float) * grid.nodes) * share;
      step.exchange += received / rates.network;
      step.between_nodes = received * grid.members;
    }
  }
  const int of_node = model.group_of(0, {parallel::Sharding::Mode::kHost, 0}).members;
  step.between_nodes +=
      gather_bytes(model, choice.sharding).between * double(gathers) * batches * of_node;
  // Parameters and both moments are read and written, gradients read.
  step.optimizer = 7.0 * parameters / rates.memory + double(choice.optimizer_pages) / rates.host;
  step.seconds = (pass.seconds + head) * batches + step.exchange + step.optimizer;
  step.tokens_per_second = double(input.micro_batches * input.tokens) / step.seconds;
  return step;
}

}  // namespace tessera::launch
