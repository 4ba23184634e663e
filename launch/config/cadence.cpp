#include "launch/config/cadence.h"

#include <algorithm>
#include <cmath>

namespace tessera::launch {

namespace {

Cadence cadence_of(const std::optional<double>& steps, const std::optional<int64_t>& per_epoch) {
  using Kind = Cadence::Kind;
  if (steps) return {*steps < 1 ? Kind::kShare : Kind::kSteps, *steps};
  if (per_epoch.value_or(0) > 0) return {Kind::kPerEpoch, double(*per_epoch)};
  return {};
}

}  // namespace

bool Cadence::due(const Moment& now) const {
  // Epochs are quotients of rows: what should be whole may come out a little below.
  constexpr double kRounding = 1e-9;
  switch (kind) {
    case Kind::kNever:
      return false;
    case Kind::kSteps:
      return now.step % int64_t(number) == 0;
    case Kind::kShare: {
      const auto every = std::max(int64_t{1}, int64_t(std::ceil(number * double(now.total))));
      return now.step % every == 0;
    }
    case Kind::kPerEpoch:
      return std::floor(number * now.epochs + kRounding) >
             std::floor(number * now.epochs_before + kRounding);
  }
  return false;
}

Cadence eval_cadence(const Config& config) {
  return cadence_of(config.eval_steps, config.evals_per_epoch);
}

Cadence save_cadence(const Config& config) {
  return cadence_of(config.save_steps, config.saves_per_epoch);
}

bool evaluates_nothing(const Config& config) {
  return config.val_set_size == 0 && config.test_datasets.empty();
}

}  // namespace tessera::launch
