#include "launch/plan/memory_model.h"

#include <algorithm>
#include <utility>

#include "launch/plan/optimizer_state.h"
#include "parallel/gradient_tree.h"
#include "runtime/core/error.h"

namespace tessera::launch {

using Where = MemoryRow::Where;

namespace {

constexpr MemoryRow kRows[] = {
    {"base", "base, this rank's shard", &RankMemory::base, Where::kDevice},
    {"gather_slots", "gathered layers", &RankMemory::slots, Where::kDevice},
    {"embeddings", "embedding and head", &RankMemory::outer, Where::kDevice},
    {"adapters", "adapters", &RankMemory::adapters, Where::kDevice},
    {"gradients", "gradients, pending sums", &RankMemory::gradients, Where::kDevice},
    {"exchange", "exchange of gradients", &RankMemory::exchange, Where::kDevice},
    {"optimizer", "optimizer", &RankMemory::optimizer, Where::kDevice},
    {"activations", "activations", &RankMemory::activations, Where::kDevice},
    {"workspace", "workspace", &RankMemory::workspace, Where::kDevice},
    {"tables", "position tables", &RankMemory::tables, Where::kDevice},
    {"libraries", "driver and libraries", &RankMemory::libraries, Where::kDevice},
    {"host_base", "base, this node's copy", &RankMemory::host_base, Where::kHost},
    {"offloaded", "offloaded inputs", &RankMemory::offloaded, Where::kHost},
    {"optimizer_pages", "optimizer pages", &RankMemory::pages, Where::kHost},
    {"optimizer_file", "optimizer page file", &RankMemory::page_file, Where::kDisk},
};

// Modelled: a CUDA context with this program's kernels and a cuBLAS workspace, and what NCCL adds.
constexpr size_t kGpuContext = size_t{1} << 30;
constexpr size_t kGpuCommunication = size_t{512} << 20;

size_t sum(const RankMemory& memory, Where where) {
  size_t bytes = 0;
  for (const MemoryRow& row : kRows) {
    if (row.where == where) bytes += memory.*row.bytes;
  }
  return bytes;
}

}  // namespace

std::span<const MemoryRow> memory_rows() { return kRows; }

size_t RankMemory::device() const { return sum(*this, Where::kDevice); }

size_t RankMemory::peak() const {
  return std::max(device() + host(), base + outer + host_base + loading);
}

MemoryModel::MemoryModel(PlanInput input)
    : input_(std::move(input)),
      ctx_(input_.gpu ? Context::to_measure(Device::cuda(0), *input_.gpu)
                      : Context::to_measure(Device::cpu(), DType::kF32)),
      base_(input_.model, input_.format, ctx_.device()),
      adapters_(lora::AdapterSet::shapes(input_.model, input_.adapter, ctx_.device())),
      scheduler_(ctx_, base_.store()),
      decoder_(ctx_, base_, scheduler_, &adapters_),
      elements_(adapters_.size()),
      segments_(state_segments(adapters_, input_.optimizer.kind.bits)) {
  TESSERA_CHECK(input_.ranks() >= 1 && input_.tokens >= 1 && input_.micro_batches >= 1);
}

lora::Decoder::Memory MemoryModel::activity(std::vector<parallel::LayerGroup> groups) {
  scheduler_.set_groups(std::move(groups));
  return lora::TrainingPass(decoder_, *input_.loss).plan(input_.tokens);
}

MemoryModel::ShardingGroup MemoryModel::sharding_group(int rank,
                                                       parallel::Sharding sharding) const {
  const auto colour_of = [&](int r) {
    return parallel::sharding_colour(sharding, r, input_.nodes[size_t(r)]);
  };
  parallel::check_sharding(sharding, input_.ranks());
  ShardingGroup group{0, 0};
  for (int r = 0; r < input_.ranks(); ++r) {
    if (colour_of(r) != colour_of(rank)) continue;
    if (r < rank) ++group.member;
    ++group.members;
  }
  return group;
}

optim::ElementRange MemoryModel::owned_by(int rank) const {
  return owned_state(elements_, input_.optimizer.sharded, rank, input_.ranks());
}

optim::PageMemory MemoryModel::optimizer(int rank, std::optional<size_t> budget) const {
  optim::PageOptions options = input_.optimizer.pages;
  options.budget = budget;
  return optim::Optimizer::memory(*input_.optimizer.kind.rule, segments_, owned_by(rank), options);
}

size_t MemoryModel::bytes_updated(int rank) const {
  return optim::Optimizer::bytes_moved(*input_.optimizer.kind.rule, segments_, owned_by(rank));
}

parallel::GradientTree::ExchangeBytes MemoryModel::exchange(int rank) const {
  using parallel::GradientTree;
  const parallel::NodeGrid grid = parallel::node_grid(input_.nodes);
  if (input_.reduction == Reduction::kInvariant) {
    return GradientTree::exchange_bytes(elements_, grid, rank / grid.members, input_.micro_batches);
  }
  if (input_.optimizer.sharded) return GradientTree::gather_bytes(elements_, grid);
  return {};
}

RankMemory MemoryModel::rank(int rank, parallel::Sharding sharding,
                             const lora::Decoder::Memory& memory) const {
  const ShardingGroup group = sharding_group(rank, sharding);
  const parallel::Sharding outer = lora::outer_sharding(sharding, ctx_.device());
  const ShardingGroup outer_group = sharding_group(rank, outer);
  const lora::BaseLayout& layout = base_.layout();

  RankMemory m;
  const bool gathers = !parallel::reads_in_place(sharding.mode, group.members, ctx_.device());
  std::vector<size_t> padded;
  for (const lora::BlobLayout& layer : layout.layers) {
    m.base +=
        parallel::shard_range(sharding.mode, group.member, group.members, layer.bytes).bytes();
    padded.push_back(parallel::padded_layer_bytes(layer.bytes, group.members));
  }
  if (gathers) m.slots = parallel::slot_bytes(padded);
  m.outer =
      parallel::shard_range(outer.mode, outer_group.member, outer_group.members, layout.outer.bytes)
          .bytes();
  m.adapters = elements_ * sizeof(float);
  m.gradients =
      parallel::GradientTree::buffer_bytes(elements_, rank, input_.ranks(), input_.micro_batches);
  m.exchange = exchange(rank).all();
  const optim::PageMemory state = optimizer(rank, input_.optimizer.pages.budget);
  m.optimizer = state.resident + state.staging;
  m.pages = state.host;
  m.page_file = state.file;
  m.activations = memory.activations;
  m.workspace = memory.scratch;
  m.tables = memory.tables;
  m.offloaded = memory.offloaded;
  m.loading = loading_bytes();
  if (input_.gpu) {
    if (sharding.mode == parallel::Sharding::Mode::kHost) m.host_base = std::exchange(m.base, 0);
    m.libraries = kGpuContext + (input_.ranks() > 1 ? kGpuCommunication : 0);
  }
  return m;
}

size_t MemoryModel::loading_bytes() const {
  const auto matrix = [](const quant::FrozenSpec& spec) {
    const size_t beside = spec.format->encode_bytes(spec);
    return size_t(spec.numel()) * sizeof(float) + beside + spec.bytes();
  };
  size_t largest = 0;
  for (const lora::PlacedTensor& tensor : base_.layout().outer.tensors) {
    largest = std::max(largest, tensor.bytes);
  }
  for (const lora::BlobLayout& layer : base_.layout().layers) {
    for (const lora::PlacedTensor& tensor : layer.tensors) {
      if (tensor.is_matrix()) largest = std::max(largest, matrix(tensor.matrix));
    }
  }
  return largest;
}

}  // namespace tessera::launch
