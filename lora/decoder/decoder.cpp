#include "lora/decoder/decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/ops/attention.h"
#include "runtime/ops/embedding.h"
#include "runtime/ops/rope.h"
#include "runtime/ops/rows.h"

namespace tessera::lora {

using parallel::Direction;
using parallel::LayerLease;
using parallel::Policy;

Decoder::Decoder(Context& ctx, BaseWeights& base, parallel::LayerScheduler& scheduler,
                 const AdapterSet* adapters)
    : ctx_(ctx), base_(base), scheduler_(scheduler), adapters_(adapters) {}

Decoder::Memory Decoder::plan(int64_t max_tokens, bool training) {
  // One sample of the greatest length asks for as much as any batch of as many tokens.
  Batch batch;
  batch.ids.assign(size_t(max_tokens), 0);
  batch.targets.assign(size_t(max_tokens), 0);
  batch.positions.resize(size_t(max_tokens));
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  batch.starts = {0, int32_t(max_tokens)};

  reserve_rope(max_tokens);
  measure();
  if (training) {
    forward(batch, {}, 1.0f);
    backward(batch);
  } else {
    loss(batch, nullptr);
  }
  return allocate_arenas();
}

Decoder::Memory Decoder::plan_steps(int64_t max_tokens, const KvCache& cache) {
  reserve_rope(cache.capacity());
  measure();
  // The widest call: every sequence gets a token, one gets all that are left.
  const int64_t feeds = std::min(cache.sequences(), max_tokens);
  const std::vector<int32_t> ids(size_t(max_tokens), 0);
  std::vector<Feed> all;
  for (int64_t s = 0; s < feeds; ++s) {
    all.push_back({s, std::span(ids).first(size_t(s == 0 ? max_tokens - feeds + 1 : 1))});
  }
  run_steps(cache, all);
  return allocate_arenas();
}

void Decoder::measure() {
  activations_ = Arena();
  ctx_.set_scratch(Arena());
}

Decoder::Memory Decoder::allocate_arenas() {
  const Memory memory{activations_.high_water(), ctx_.scratch().high_water()};
  activations_ = Arena(memory.activations);
  ctx_.set_scratch(Arena(memory.scratch));
  return memory;
}

void Decoder::reserve_rope(int64_t positions) {
  const DecoderConfig& c = config();
  const size_t half = size_t(positions * c.head_dim / 2);
  rope_memory_ = Buffer::host(2 * half * sizeof(float));
  float* table = rope_memory_.as<float>();
  cos_ = Tensor::of(std::span(table, half), {positions, c.head_dim / 2});
  sin_ = Tensor::of(std::span(table + half, half), {positions, c.head_dim / 2});
  rope_table(cos_, sin_, c.rope_theta, c.rope_scaling);
}

BlockInput Decoder::input_of(const Batch& batch) const {
  return {.config = config(),
          .positions = Tensor::of(std::span(batch.positions), {batch.tokens()}),
          .cos = cos_,
          .sin = sin_,
          .starts = batch.starts};
}

Block Decoder::bind(const LayerLease& lease, int64_t layer) const {
  const BlockLayout& layout = base_.layout();
  const BaseFormat& format = base_.format();
  const auto norm = [&](size_t offset) {
    return Tensor(const_cast<std::byte*>(lease.data()) + offset, format.norm, {config().hidden});
  };
  const auto linear = [&](Site site) {
    const size_t i = size_t(site);
    Linear l(quant::FrozenMatrix(layout.spec[i],
                                 const_cast<std::byte*>(lease.data()) + layout.offset[i]),
             adapters_ ? adapters_->find(layer, site) : nullptr);
    if (pass_.training && adapters_) {
      l.set_dropout(
          {ctx_.seed(), pass_.key.step, pass_.key.micro_batch, uint64_t(layer), uint64_t(site)},
          adapters_->options().dropout);
    }
    return l;
  };
  return {norm(layout.attention_norm),
          norm(layout.mlp_norm),
          {linear(Site::kQ), linear(Site::kK), linear(Site::kV), linear(Site::kO),
           linear(Site::kGate), linear(Site::kUp), linear(Site::kDown)}};
}

void Decoder::embed(Tensor x, const Batch& batch) {
  embedding(ctx_, x, base_.embedding(), batch.ids);
}

double Decoder::forward(const Batch& batch, RunKey key, float scale) {
  const int64_t n = batch.tokens(), c = config().hidden;
  pass_ = {key, true};
  activations_.release(0);
  saved_.assign(size_t(config().layers), {});
  marks_.assign(size_t(config().layers), 0);
  const BlockInput input = input_of(batch);
  gradient_ = activations_.f32({n, c});
  Tensor x = activations_.f32({n, c});
  embed(x, batch);
  for (int64_t layer = 0; layer < config().layers; ++layer) {
    const LayerLease lease = scheduler_.acquire(layer, Direction::kUp);
    const Block block = bind(lease, layer);
    BlockSaved& saved = saved_[size_t(layer)];
    marks_[size_t(layer)] = activations_.mark();
    Tensor y = activations_.f32({n, c});
    const size_t mark = activations_.mark();
    saved = allocate_saved(activations_, config(), block, x);
    block_forward(ctx_, y, saved, block, input,
                  [&](const BlockSaved& s) { attend_within_samples(ctx_, s, input); });
    if (recomputes(layer)) activations_.release(mark);
    x = y;
  }
  return head_loss(ctx_, {.d = gradient_, .scale = scale}, x, batch.targets, head());
}

void Decoder::backward(const Batch& batch) {
  const BlockInput input = input_of(batch);
  for (int64_t layer = config().layers - 1; layer >= 0; --layer) {
    const LayerLease lease = scheduler_.acquire(layer, Direction::kDown);
    const Block block = bind(lease, layer);
    BlockSaved saved = saved_[size_t(layer)];
    if (recomputes(layer)) {
      saved = allocate_saved(activations_, config(), block, saved.x);
      block_forward(ctx_, Tensor(), saved, block, input,
                    [&](const BlockSaved& s) { attend_within_samples(ctx_, s, input); });
    }
    block_backward(ctx_, gradient_, saved, block, input, layer > 0);
    activations_.release(marks_[size_t(layer)]);
  }
}

double Decoder::run_forward(const Batch& batch, std::vector<float>* losses,
                            FunctionRef<void(int64_t, Tensor)> visit) {
  const int64_t n = batch.tokens(), c = config().hidden;
  pass_ = {};
  activations_.release(0);
  const BlockInput input = input_of(batch);
  Tensor x = activations_.f32({n, c}), y = activations_.f32({n, c});
  embed(x, batch);
  visit(-1, x);
  for (int64_t layer = 0; layer < config().layers; ++layer) {
    const LayerLease lease = scheduler_.acquire(layer, Direction::kUp);
    const Block block = bind(lease, layer);
    ArenaScope scope(activations_);
    block_forward(ctx_, y, allocate_saved(activations_, config(), block, x), block, input,
                  [&](const BlockSaved& s) { attend_within_samples(ctx_, s, input); });
    std::swap(x, y);
    visit(layer, x);
  }
  return head_loss(ctx_, {.losses = losses}, x, batch.targets, head());
}

std::string Decoder::describe_non_finite(const Batch& batch) {
  std::string where;
  run_forward(batch, nullptr, [&](int64_t layer, Tensor x) {
    const auto bad = [](float value) { return !std::isfinite(value); };
    const std::span<const float> values = x.span<const float>();
    if (!where.empty() || std::none_of(values.begin(), values.end(), bad)) return;
    where = layer < 0 ? "first in the embedding" : fmt::format("first in layer {}", layer);
  });
  return where.empty() ? "first in the head" : where;
}

Tensor Decoder::step(KvCache& cache, std::span<const Feed> feeds) {
  Tensor logits = run_steps(cache, feeds);
  for (const Feed& feed : feeds) cache.grow(feed.sequence, int64_t(feed.ids.size()));
  return logits;
}

Tensor Decoder::run_steps(const KvCache& cache, std::span<const Feed> feeds) {
  Batch batch;  // the feeds end to end
  std::vector<int32_t> last;
  for (const Feed& feed : feeds) {
    const int64_t first = cache.length(feed.sequence), count = int64_t(feed.ids.size());
    TESSERA_CHECK(count > 0 && first + count <= cache.capacity());
    batch.starts.push_back(int32_t(batch.ids.size()));
    batch.ids.insert(batch.ids.end(), feed.ids.begin(), feed.ids.end());
    for (int64_t i = 0; i < count; ++i) batch.positions.push_back(int32_t(first + i));
    last.push_back(int32_t(batch.ids.size()) - 1);
  }
  const int64_t n = batch.tokens(), c = config().hidden;
  pass_ = {};
  activations_.release(0);
  const BlockInput input = input_of(batch);
  Tensor x = activations_.f32({n, c}), y = activations_.f32({n, c});
  embed(x, batch);
  for (int64_t layer = 0; layer < config().layers; ++layer) {
    const LayerLease lease = scheduler_.acquire(layer, Direction::kUp);
    const Block block = bind(lease, layer);
    ArenaScope scope(activations_);
    block_forward(ctx_, y, allocate_saved(activations_, config(), block, x), block, input,
                  [&](const BlockSaved& s) { attend_to_cache(s, layer, cache, feeds); });
    std::swap(x, y);
  }
  Tensor ends = activations_.f32({int64_t(feeds.size()), c});
  Tensor logits = activations_.f32({int64_t(feeds.size()), config().vocab});
  gather_rows(ctx_, ends, x, last);
  head_logits(ctx_, logits, ends, head());
  return logits;
}

void Decoder::attend_to_cache(const BlockSaved& s, int64_t layer, const KvCache& cache,
                              std::span<const Feed> feeds) {
  int64_t row = 0;
  for (const Feed& feed : feeds) {
    const int64_t count = int64_t(feed.ids.size()), first = cache.length(feed.sequence);
    const Tensor keys = cache.keys(layer, feed.sequence);
    const Tensor values = cache.values(layer, feed.sequence);
    std::vector<int32_t> places(static_cast<size_t>(count));
    std::iota(places.begin(), places.end(), int32_t(first));
    scatter_rows(ctx_, keys, s.k.slice(row, row + count), places);
    scatter_rows(ctx_, values, s.v.slice(row, row + count), places);
    attention_decode(ctx_, s.attended.slice(row, row + count),
                     {s.q.slice(row, row + count), keys, values, first, attention_shape(config())});
    row += count;
  }
}

bool Decoder::recomputes(int64_t layer) const {
  // Backward begins with the last layer, so keeping it costs no peak and saves its second forward.
  return scheduler_.policy(layer) == Policy::kRecompute && layer + 1 < config().layers;
}

Head Decoder::head() const { return {base_.final_norm(), base_.head(), config().rms_eps}; }

}  // namespace tessera::lora
