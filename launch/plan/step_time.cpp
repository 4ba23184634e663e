#include "launch/plan/step_time.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "lora/decoder/head.h"
#include "parallel/gradient_tree.h"
#include "quant/frozen_matmul.h"

namespace tessera::launch {
namespace {

using parallel::Visit;
using parallel::Work;

/// What one rank reaches where those of a node share a CPU.
struct Rates {
  double flops, attention, memory, host, link, network;

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
    attention = device.attention(compute) / share;
    memory = device.memory_bytes / share;
    host = device.host_bytes / share;
    link = device.link_bytes / share;
    network = device.network_bytes / share;
  }
};

/// Operations of a product of all tokens with a matrix.
double operations(const PlanInput& input, double columns, double rows) {
  return 2.0 * columns * rows * double(input.tokens);
}

/// Bytes of an element of an activation, or of a decoded weight.
double element_bytes(const PlanInput& input) { return input.gpu ? 2.0 : 4.0; }

/// Bytes that are read and written where all elements of a matrix are decoded.
double decoding_bytes(const PlanInput& input, const quant::FrozenSpec& matrix) {
  if (matrix.is_dense(input.gpu.value_or(DType::kF32))) return 0.0;
  return double(matrix.bytes()) + element_bytes(input) * double(matrix.numel());
}

/// How often a product of all tokens decodes its matrix.
double decodings(const PlanInput& input) {
  return input.gpu ? 1.0 : std::ceil(double(input.tokens) / double(quant::kRowsOfDecoding));
}

/// Keys that a token sees, times two, for each pair takes part in two products: half of the sample,
/// or the window less what it lacks at the sample's begin.
double seen_keys(const PlanInput& input, int64_t window) {
  const auto sample = double(std::min(input.sequence, input.tokens));
  const auto reach = double(window);
  if (window == 0 || reach >= sample) return sample;
  return 2.0 * reach * (1.0 - reach / (2.0 * sample));
}

/// Columns that are read and written of a layer's norms, sums, turns and activations, in forward
/// and in backward.
std::array<double, 2> elementwise_columns(const lora::ModelSpec& model,
                                          const lora::LayerSpec& spec) {
  const lora::AttentionSpec& attention = spec.attention;
  const auto h = double(model.hidden), f = double(spec.mlp.width);
  const auto q = double(attention.q_size()), kv = double(attention.kv_size());
  const auto norms = double(spec.norms.size());
  double heads = attention.rope == lora::AttentionSpec::kNoRope ? 0.0 : 2.0 * (q + kv);
  double split = 0;  // and joined
  if (attention.fused) split += 2.0 * (q + 2.0 * kv);
  if (spec.mlp.fused) split += 4.0 * f;
  const double head_norms = attention.qk_norm == lora::QkNorm::kNone ? 0.0 : q + kv;
  // The norms and two additions; the activation.
  const double forward = norms * 2 * h + 2 * 3 * h + heads + 2 * head_norms + split + 3 * f;
  // The norms once more, their gradients, three sums into one; the activation once more, its
  // gradient.
  const double backward =
      norms * (2 + 4) * h + 3 * h + heads + 5 * head_norms + split + 3 * f + 5 * f;
  return {forward, backward};
}

/// Seconds of a layer's kernels over all tokens.
class LayerTime {
 public:
  LayerTime(const MemoryModel& model, const Rates& rates, int64_t layer);

  /// `dequantized`: on a GPU, its weights are there from the visit before.
  ComputeParts of(const Visit& visit, bool dequantized) const;

 private:
  double linear_ = 0, last_ = 0, attention_ = 0, dequantize_ = 0;
  bool keeps_dequantized_;
  double backward_products_;  // of attention; forward has two
  // In forward, and in backward.
  double adapters_[2] = {0, 0}, elementwise_[2] = {0, 0};
};

// On a GPU scores are computed once for queries and once for keys and values, so that no sum needs
// atomics.
LayerTime::LayerTime(const MemoryModel& model, const Rates& rates, int64_t layer)
    : keeps_dequantized_(model.input().gpu.has_value()),
      backward_products_(keeps_dequantized_ ? 7 : 5) {
  const PlanInput& input = model.input();
  const lora::LayerSpec& spec = input.model.layers[size_t(layer)];
  const lora::BlobLayout& layout = model.layout().layers[size_t(layer)];
  const auto tokens = double(input.tokens);
  // What is not a large product takes as long as it moves bytes.
  const auto move = [&](double columns) {
    return element_bytes(input) * columns * tokens / rates.memory;
  };
  const double masked = input.adapter.dropout > 0 ? 2.0 : 0.0;
  double moved[2] = {0, 0};  // by the adapters
  for (const lora::PlacedTensor& tensor : layout.tensors) {
    if (!tensor.is_matrix()) continue;
    const auto in = double(tensor.row.in()), out = double(tensor.row.out());
    last_ = operations(input, in, out) / rates.flops;
    linear_ += last_;
    dequantize_ += decodings(input) * decoding_bytes(input, tensor.matrix) / rates.memory;
    const auto r = double(model.adapter_rank(tensor.row));
    if (r == 0) continue;
    adapters_[0] += operations(input, in + out, r) / rates.flops;
    // u = x A^T, y += u B^T; dB = dy^T u, du = dy B, dA = du^T x, dx += du A.
    moved[0] += move((1 + masked) * in + 2 * out);
    moved[1] += move((3 + 2 * masked) * in + 2 * out);
  }
  adapters_[1] = 2.0 * adapters_[0];
  attention_ =
      operations(input, seen_keys(input, spec.attention.window), double(spec.attention.q_size())) /
      rates.attention;
  const std::array<double, 2> columns = elementwise_columns(input.model, spec);
  for (size_t i : {0, 1}) elementwise_[i] = move(columns[i]);
  for (int i : {0, 1}) adapters_[i] = std::max(adapters_[i], moved[i]);
}

ComputeParts LayerTime::of(const Visit& visit, bool dequantized) const {
  const bool backward = visit.work == Work::kBackward;  // no gradients of frozen weights
  ComputeParts parts{};
  parts[size_t(ComputePart::kProducts)] = linear_ - (visit.needs_output() ? 0.0 : last_);
  parts[size_t(ComputePart::kAttention)] = (backward ? backward_products_ / 2 : 1.0) * attention_;
  parts[size_t(ComputePart::kAdapters)] = adapters_[backward ? 1 : 0];
  parts[size_t(ComputePart::kElementwise)] = elementwise_[backward ? 1 : 0];
  parts[size_t(ComputePart::kDequantize)] = keeps_dequantized_ && dequantized ? 0.0 : dequantize_;
  return parts;
}

double total(const ComputeParts& parts) { return std::accumulate(parts.begin(), parts.end(), 0.0); }

/// Seconds of the head and its loss.
double head_time(const MemoryModel& model, const Rates& rates) {
  const PlanInput& input = model.input();
  const auto vocab = double(input.model.vocab), hidden = double(input.model.hidden);
  const double products = model.trains_head() ? 3.0 : 2.0;
  const double seconds = products * operations(input, vocab, hidden) / rates.flops;
  if (input.gpu) return seconds;
  // A chunk's logits are written, read for their largest, read and written by e^x and by the scale,
  // and read in backward. The head is decoded for each chunk, in both directions.
  const double logits = 7.0 * vocab * double(input.tokens) * element_bytes(input);
  const DType stored = model.trains_head() ? DType::kF32 : input.format.head;
  const quant::FrozenSpec matrix{{quant::format_of(stored)}, input.model.vocab, input.model.hidden};
  const auto chunk = double(lora::head_chunk_rows(input.model.vocab, DType::kF32));
  const double chunks = std::ceil(double(input.tokens) / chunk);
  const double decoded = 2.0 * chunks * decoding_bytes(input, matrix);
  return seconds + (logits + decoded) / rates.memory;
}

/// What comes to rank 0 from other ranks when a layer is gathered.
class Gathers {
 public:
  Gathers(const MemoryModel& model, const Rates& rates, parallel::Sharding sharding)
      : model_(model), rates_(rates), from_host_(sharding.mode == Mode::kHost) {
    members_ = model.sharding_group(0, sharding).members;
    on_node_ = std::min(model.sharding_group(0, {Mode::kHost, 0}).members, members_);
  }

  /// Seconds to bring one layer here.
  double seconds(int64_t layer) const {
    if (from_host_) return model_.input().gpu ? double(bytes_of(layer)) / rates_.host : 0.0;
    return std::max(shard(layer) * (on_node_ - 1) / rates_.link, between(layer) / rates_.network);
  }
  /// Bytes of it from other nodes.
  double between(int64_t layer) const {
    return from_host_ ? 0.0 : shard(layer) * (members_ - on_node_);
  }

 private:
  using Mode = parallel::Sharding::Mode;

  size_t bytes_of(int64_t layer) const { return model_.layout().layers[size_t(layer)].bytes; }
  double shard(int64_t layer) const {
    return double(parallel::padded_layer_bytes(bytes_of(layer), members_)) / members_;
  }

  const MemoryModel& model_;
  const Rates& rates_;
  bool from_host_;
  int members_, on_node_;
};

}  // namespace

std::string_view StepTime::bound() const {
  if (gather > compute && gather > host_copy) return "gather";
  return host_copy > compute ? "host copy" : "compute";
}

StepTime step_time(const MemoryModel& model, const DeviceProfile& device,
                   const StepChoice& choice) {
  const PlanInput& input = model.input();
  const Rates rates(input, device, choice.compute);
  const Gathers gathers(model, rates, choice.sharding);
  std::vector<LayerTime> layers;
  for (int64_t l = 0; l < input.model.layer_count(); ++l) layers.emplace_back(model, rates, l);
  const double copy = double(input.tokens * input.model.hidden) * element_bytes(input) / rates.host;
  const bool one_link = input.gpu && choice.sharding.mode == parallel::Sharding::Mode::kHost;
  StepTime pass;
  double between = 0;  // bytes of layers from other nodes
  const std::vector<Visit> visits = parallel::visits_of(choice.groups, true);
  std::array<int64_t, parallel::kGatherSlots> slots;
  std::iota(slots.begin(), slots.end(), 0);  // where the backward before this one ended
  for (size_t i = 0; i < visits.size(); ++i) {
    const Visit& visit = visits[i];
    // The second forward and the backward after it share the dequantized weights.
    const bool dequantized = i > 0 && !visits[i - 1].needs_output();
    const ComputeParts parts = layers[size_t(visit.layer)].of(visit, dequantized);
    const double compute = total(parts);
    for (size_t p = 0; p < parts.size(); ++p) pass.parts[p] += parts[p];
    const std::optional<int64_t> ahead = parallel::next_gather(visits, i);
    double moved = 0.0;
    if (ahead && std::ranges::count(slots, *ahead) == 0) {
      *std::ranges::find_if(slots, [&](int64_t held) { return held != visit.layer; }) = *ahead;
      moved = gathers.seconds(*ahead);
      between += gathers.between(*ahead);
    }
    const double copied = visit.offloads || visit.takes ? copy : 0.0;
    pass.gather += moved;
    pass.host_copy += copied;
    pass.seconds += std::max({compute, moved, copied, one_link ? moved + copied : 0.0});
  }
  const double head = head_time(model, rates);
  pass.parts[size_t(ComputePart::kHead)] = head;

  const auto batches =
      double(parallel::micro_batches_of(0, input.ranks(), input.micro_batches).count);
  StepTime step;
  for (size_t p = 0; p < step.parts.size(); ++p) step.parts[p] = pass.parts[p] * batches;
  step.compute = total(step.parts);
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
  const int of_node = model.sharding_group(0, {parallel::Sharding::Mode::kHost, 0}).members;
  step.between_nodes += between * batches * of_node;
  step.optimizer =
      double(model.bytes_updated(0)) / rates.memory + double(choice.optimizer_pages) / rates.host;
  step.seconds = (pass.seconds + head) * batches + step.exchange + step.optimizer;
  step.tokens_per_second = double(input.micro_batches * input.tokens) / step.seconds;
  return step;
}

}  // namespace tessera::launch
