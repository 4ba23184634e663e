// Update rules, and what an optimizer is: a rule x the bits of its state x paged or not. A rule is
// a file in optim/ with its kernels in cpu/ and cuda/, and one row of the table in rule.cpp; the
// key `optimizer`, the layout of the state, the plan, checkpoints and their identity follow from
// the row. The bits of an update depend on neither the device, nor threads, nor cuts at blocks.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "optim/state_layout.h"

namespace tessera {
class Context;
}

namespace tessera::optim {

struct OptimizerOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
};

/// What an update of a run gets beside the state. Spans are those of the run, in memory of the
/// context's device.
struct UpdateInput {
  std::span<float> params;       // updated in place
  std::span<const float> grads;  // each is first multiplied by grad_scale
  const OptimizerOptions& options;
  int64_t step;  // 1 for the first
  double learning_rate;
  float grad_scale;
};

/// An option that a rule uses, by the config's key; the identity of a run has it under that key.
struct RuleOption {
  using Field = double OptimizerOptions::*;  // named, because nvcc would warn of its own brackets
  std::string_view key;
  Field value;
};

struct Rule {
  std::string_view name;  // as the key `optimizer` and the identity of a run have it
  MomentNames moments;
  std::span<const RuleOption> options;
  /// Error (usage) unless the rule can work with the options.
  void (*check)(const OptimizerOptions& options);
  /// The update of a whole run, at either width, on the CPU or a GPU.
  void (*update)(Context& ctx, const UpdateInput& input, const StateView& state);
};

/// The table, in the order of the values of `optimizer`.
std::span<const Rule> rules();
const Rule& adamw_rule();

struct OptimizerKind {
  const Rule* rule;
  StateBits bits = StateBits::k32;  // of large tensors: see state_bits()
  bool paged = false;
  bool operator==(const OptimizerKind&) const = default;
};

}  // namespace tessera::optim
