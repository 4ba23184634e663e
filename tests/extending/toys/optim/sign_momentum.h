// Steps of one size, in the direction of a moving average of the gradients.
#pragma once

#include "optim/rule.h"

namespace tessera::optim {

inline constexpr std::string_view kSignMoments[] = {"exp_avg"};
inline constexpr RuleOption kSignOptions[] = {{"adam_beta1", &OptimizerOptions::beta1}};

void check_sign(const OptimizerOptions& options);
void update_sign(Context& ctx, const UpdateInput& input, const StateView& state);

}  // namespace tessera::optim
