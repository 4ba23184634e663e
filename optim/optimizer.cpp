#include "optim/optimizer.h"

#include <cmath>

#include "runtime/core/error.h"

namespace tessera::optim {

namespace {

const OptimizerOptions& checked(const Rule& rule, const OptimizerOptions& options) {
  rule.check(options);
  return options;
}

}  // namespace

Optimizer::Optimizer(const Rule& rule, std::span<const StateSegment> segments, ElementRange range,
                     const OptimizerOptions& options, const PageOptions& paging)
    : rule_(rule),
      options_(checked(rule, options)),
      moments_(rule.moments, segments, range, paging) {}

PageMemory Optimizer::memory(const Rule& rule, std::span<const StateSegment> segments,
                             ElementRange range, const PageOptions& paging) {
  return Moments::memory(rule.moments, segments, range, paging);
}

size_t Optimizer::bytes_moved(const Rule& rule, std::span<const StateSegment> segments,
                              ElementRange range) {
  size_t bytes = 3 * sizeof(float) * range.size();
  for (const StateRun& run : state_runs(segments, range)) {
    bytes += 2 * run.bytes(rule.moments.size());
  }
  return bytes;
}

void Optimizer::set_steps_taken(int64_t steps) {
  if (steps < 0) fail("optimizer state: a step count of {} is not possible", steps);
  steps_taken_ = steps;
}

void Optimizer::step(Context& ctx, std::span<float> params, std::span<const float> grads, double lr,
                     float grad_scale) {
  TESSERA_CHECK(params.size() == size() && grads.size() == size());
  if (!(lr >= 0.0 && std::isfinite(lr))) {
    fail_usage("the learning rate must be finite and not negative, not {}", lr);
  }
  ++steps_taken_;
  moments_.sweep(ctx, [&](const StateView& state) {
    const size_t first = state.run.begin - range().begin;
    const size_t count = state.run.elements();
    rule_.update(ctx,
                 {.params = params.subspan(first, count),
                  .grads = grads.subspan(first, count),
                  .options = options_,
                  .step = steps_taken_,
                  .learning_rate = lr * state.run.rate_factor,
                  .grad_scale = grad_scale},
                 state);
  });
}

}  // namespace tessera::optim
