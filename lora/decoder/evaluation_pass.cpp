#include "lora/decoder/evaluation_pass.h"

#include <algorithm>
#include <cmath>

#include "lora/decoder/forward.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {
namespace {

Tensor run_on_samples(Decoder& decoder, const BatchView& batch, SeeOutput see) {
  const auto attend = [&](int64_t, BlockSaved& s, const Block& block, const BlockInput& input) {
    attend_within_samples(decoder.context(), s, block, input);
  };
  return run_layers(decoder, batch, attend, see);
}

}  // namespace

Decoder::Memory EvaluationPass::plan(int64_t max_tokens) {
  check_tokens(max_tokens);
  const int32_t starts[] = {0, int32_t(max_tokens)};
  return decoder_.measure(max_tokens, [&] {
    TokenScores none;
    score(BatchView(max_tokens, starts), none);
  });
}

double EvaluationPass::loss(const BatchView& batch, std::vector<float>* losses) {
  const Tensor x = run_on_samples(decoder_, batch, [](int64_t, Tensor) {});
  return head_loss(decoder_.context(), {.losses = losses}, x, batch, decoder_.head(), loss_);
}

double EvaluationPass::score(const BatchView& batch, TokenScores& scores) {
  const Tensor x = run_on_samples(decoder_, batch, [](int64_t, Tensor) {});
  return head_loss(decoder_.context(), {.losses = &scores.losses, .guesses = &scores.guesses}, x,
                   batch, decoder_.head(), loss_);
}

std::string EvaluationPass::describe_non_finite(const BatchView& batch) {
  std::string where;
  run_on_samples(decoder_, batch, [&](int64_t layer, Tensor x) {
    const auto bad = [](float value) { return !std::isfinite(value); };
    if (!where.empty()) return;
    const std::vector<float> values = to_host(decoder_.context(), x);
    if (std::none_of(values.begin(), values.end(), bad)) return;
    where = layer < 0 ? "first in the embedding" : fmt::format("first in layer {}", layer);
  });
  return where.empty() ? "first in the head" : where;
}

}  // namespace tessera::lora
