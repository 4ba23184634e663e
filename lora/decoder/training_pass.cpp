#include "lora/decoder/training_pass.h"

#include <algorithm>

namespace tessera::lora {

using parallel::LayerLease;
using parallel::Visit;
using parallel::Work;

Decoder::Memory TrainingPass::plan(int64_t max_tokens) {
  check_tokens(max_tokens);
  // One sample of the greatest length asks for as much as any batch of as many tokens.
  const int32_t starts[] = {0, int32_t(max_tokens)};
  const BatchView batch(max_tokens, starts);
  return decoder_.measure(max_tokens, [&] {
    forward(batch, {}, 1.0f);
    backward();
  });
}

double TrainingPass::forward(const BatchView& batch, RunKey key, float scale) {
  const int64_t n = batch.tokens(), c = decoder_.spec().hidden;
  const Visits visits = decoder_.scheduler().begin_pass(true);
  const auto forwards = size_t(decoder_.spec().layer_count());
  Arena& arena = decoder_.activations();
  arena.release(0);
  key_ = key;
  ids_ = batch.ids;
  backward_ = visits.subspan(forwards);
  unpacked_ = {};
  saved_.assign(forwards, {});
  groups_.clear();
  offloaded_ = 0;
  constexpr int kOfForwardAndBackward = 3;  // tables of attention tiles: see AttentionSamples
  batch_ = decoder_.place(batch, kOfForwardAndBackward);
  gradient_ = decoder_.activation(n, c);
  decoder_.offloaded().begin(arena, std::ranges::count(visits, true, &Visit::offloads), gradient_);

  Tensor x = place_of_input(visits.front().offloads), output;
  std::optional<EmbeddingNoise> noise;
  if (noise_alpha_) noise = {*noise_alpha_, key};
  decoder_.embed(x, batch, noise);
  size_t after_output = 0;  // where the group's layers begin in the arena; it returns there unless
                            // they are kept
  for (size_t i = 0; i < forwards; ++i) {
    const Visit& visit = visits[i];
    if (visit.begins) {
      if (visit.offloads) decoder_.offloaded().put(decoder_.context(), offloaded_++);
      groups_.push_back({arena.mark(), x});
      // Its output is the next group's input. After the last group come the backward visits: that
      // group is always kept, so that the first of them begins one and offloads nothing.
      const auto next = std::find_if(visits.begin() + ptrdiff_t(i) + 1, visits.end(),
                                     [](const Visit& other) { return other.begins; });
      output = place_of_input(next->offloads);
      after_output = arena.mark();
    }
    const Tensor y = visit.ends ? output : decoder_.activation(n, c);
    run(visit, x, y);
    if (visit.ends && !visit.keeps) arena.release(after_output);
    x = y;
  }
  mark_place(decoder_.context().timeline(), -1, {});
  return head_loss(decoder_.context(), {.d = gradient_, .scale = scale}, x, batch, decoder_.head(),
                   loss_);
}

Tensor TrainingPass::place_of_input(bool offloaded) {
  if (offloaded) return decoder_.offloaded().buffer(decoder_.context(), offloaded_);
  return decoder_.activation(gradient_.rows(), gradient_.cols());
}

void TrainingPass::run(const Visit& visit, Tensor x, Tensor y) {
  mark_place(decoder_.context().timeline(), visit.layer, name_of(visit.work));
  const LayerLease lease = decoder_.scheduler().acquire(visit.layer);
  const bool backward_is_next = !visit.needs_output();
  if (backward_is_next) unpacked_ = decoder_.unpack(lease, visit.layer);
  const Block block = decoder_.bind(lease, visit.layer, key_, unpacked_);
  const BlockInput input = decoder_.input_of(batch_);
  Context& ctx = decoder_.context();
  BlockSaved& saved = saved_[size_t(visit.layer)];
  saved = allocate_saved(decoder_.activations(), block, x);
  block_forward(ctx, y, saved, block, input,
                [&](BlockSaved& s) { attend_within_samples(ctx, s, block, input); });
}

void TrainingPass::backward() {
  TESSERA_CHECK(!groups_.empty());  // a forward comes first
  for (Visits left = backward_; !left.empty();) {
    const auto last = std::ranges::find_if(
        left, [](const Visit& visit) { return visit.work == Work::kBackward && visit.ends; });
    const auto count = size_t(last - left.begin()) + 1;
    run_back(left.first(count));
    left = left.subspan(count);
  }
  mark_place(decoder_.context().timeline(), -1, {});
  if (decoder_.trains_embedding()) decoder_.embed_backward(gradient_, ids_);
}

void TrainingPass::run_back(Visits visits) {
  Context& ctx = decoder_.context();
  Arena& arena = decoder_.activations();
  const ArenaScope unpacked_scope(ctx.scratch());  // frees what unpack() takes for this group
  const Group group = groups_.back();
  groups_.pop_back();
  Tensor x = group.input;
  for (const Visit& visit : visits) {
    if (visit.work == Work::kAgain) {
      // The group behind this one read its output as an input, and is done.
      if (visit.begins) arena.release(group.mark);
      if (visit.takes) x = decoder_.offloaded().take(ctx, --offloaded_);
      const Tensor y = visit.needs_output() ? decoder_.activation(x.rows(), x.cols()) : Tensor();
      run(visit, x, y);
      x = y;
      continue;
    }
    mark_place(ctx.timeline(), visit.layer, name_of(visit.work));
    const LayerLease lease = decoder_.scheduler().acquire(visit.layer);
    block_backward(ctx, gradient_, saved_[size_t(visit.layer)],
                   decoder_.bind(lease, visit.layer, key_, unpacked_), decoder_.input_of(batch_),
                   visit.layer > 0 || decoder_.trains_embedding());
  }
  arena.release(group.mark);
}

}  // namespace tessera::lora
