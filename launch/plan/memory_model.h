// The memory that a run takes, by rank and category, before anything of the model's size exists:
// activations by running the decoder over measure-only arenas, all else by the functions that the
// real objects are sized with. In bytes. A rank's total is exact to the byte on the CPU; for a GPU
// it is modelled.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "launch/config/config.h"
#include "lora/decoder/training_pass.h"
#include "optim/optimizer.h"
#include "parallel/gradient_tree.h"
#include "parallel/layer_scheduler.h"
#include "parallel/sharded_store.h"

namespace tessera::launch {

struct OptimizerSetting {
  optim::OptimizerKind kind = {&optim::adamw_rule()};
  bool sharded = false;  // each rank's slice of the state
  optim::PageOptions pages = {};
};

struct PlanInput {
  lora::ModelSpec model;
  lora::BaseFormat format;
  lora::AdapterOptions adapter;
  std::vector<int> nodes = {0};  // by rank: where it runs, as Communicator::node()
  int64_t tokens = 0;            // of the largest micro-batch
  int64_t sequence = 0;          // tokens that attend to each other at most
  int64_t micro_batches = 1;     // of a step, over all ranks
  const lora::Loss* loss = &lora::default_loss();
  Reduction reduction = Reduction::kInvariant;
  OptimizerSetting optimizer;
  std::optional<DType> gpu;  // on a GPU, with activations of that dtype; nothing: on the CPU

  int ranks() const { return int(nodes.size()); }
};

/// What one rank holds.
struct RankMemory {
  size_t base = 0;         // its shard of the layers
  size_t slots = 0;        // layers that are gathered
  size_t outer = 0;        // embedding, last norm, head
  size_t adapters = 0;     // parameters
  size_t gradients = 0;    // of a micro-batch, and pending partial sums
  size_t exchange = 0;     // gradients of other ranks
  size_t optimizer = 0;    // moments that stay, and staging frames
  size_t activations = 0;  // what forward leaves for backward
  size_t workspace = 0;    // scratch of the operators
  size_t tables = 0;       // cosines and sines
  size_t libraries = 0;    // a GPU's context, kernels and communication buffers

  // In host memory beside a GPU; on the CPU it is the same memory.
  size_t host_base = 0;
  size_t offloaded = 0;  // inputs of layer groups
  size_t pages = 0;      // moments that do not stay
  size_t page_file = 0;  // on disk

  size_t loading = 0;  // beside base and outer, while nothing else is there: a tensor and its blob

  size_t device() const;
  size_t host() const { return host_base + offloaded + pages; }
  /// The most memory at any time, disk excepted.
  size_t peak() const;
  /// What has to stay within the budget: the device's part, or all that the CPU has one memory for.
  size_t budgeted(bool gpu) const {
    return gpu ? std::max(device(), base + outer + libraries + loading) : peak();
  }
};

/// The rows of a table of it.
struct MemoryRow {
  enum class Where { kDevice, kHost, kDisk };
  std::string_view key;   // in JSON
  std::string_view name;  // for people
  size_t RankMemory::*bytes;
  Where where;
};
std::span<const MemoryRow> memory_rows();

/// Answers for one model and one set of ranks. Cheap to ask again for other policies.
class MemoryModel {
 public:
  explicit MemoryModel(PlanInput input);

  const PlanInput& input() const { return input_; }
  const lora::BaseLayout& layout() const { return base_.layout(); }
  /// Of the adapter of a linear of the layers; 0: it has none.
  int64_t adapter_rank(const lora::TensorRow& row) const {
    const lora::Adapter* adapter = adapters_.find(row.layer, row.site);
    return adapter ? adapter->a.rows() : 0;
  }
  bool trains_head() const { return adapters_.whole(lora::Role::kHead) != nullptr; }
  /// Elements of the flat parameter buffer.
  size_t adapter_elements() const { return elements_; }

  /// What a pass takes under these policies of the layers.
  lora::Decoder::Memory activity(std::vector<parallel::LayerGroup> groups);

  /// What a rank's optimizer holds if `budget` bytes of it stay; nothing: all.
  optim::PageMemory optimizer(int rank, std::optional<size_t> budget) const;

  /// What a rank's optimizer reads and writes in a step, in bytes of memory.
  size_t bytes_updated(int rank) const;

  /// What a rank receives of other ranks' gradients.
  parallel::GradientTree::ExchangeBytes exchange(int rank) const;

  /// With the optimizer's pages as the input says. Error (usage) where the ranks cannot be dealt as
  /// asked.
  RankMemory rank(int rank, parallel::Sharding sharding, const lora::Decoder::Memory& memory) const;

  /// The ranks that hold the layers together with this one, and its place among them.
  struct ShardingGroup {
    int member;
    int members;
  };
  ShardingGroup sharding_group(int rank, parallel::Sharding sharding) const;

 private:
  optim::ElementRange owned_by(int rank) const;
  size_t loading_bytes() const;

  PlanInput input_;
  Context ctx_;
  lora::BaseWeights base_;
  lora::AdapterSet adapters_;
  parallel::LayerScheduler scheduler_;
  lora::Decoder decoder_;
  size_t elements_;
  std::vector<optim::StateSegment> segments_;
};

}  // namespace tessera::launch
