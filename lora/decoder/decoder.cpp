#include "lora/decoder/decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "runtime/ops/attention.h"
#include "runtime/ops/embedding.h"
#include "runtime/ops/rope.h"
#include "runtime/ops/rows.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {

using parallel::LayerGroup;
using parallel::LayerLease;
using parallel::Policy;

Decoder::Decoder(Context& ctx, BaseWeights& base, parallel::LayerScheduler& scheduler,
                 const AdapterSet* adapters)
    : ctx_(ctx), base_(base), scheduler_(scheduler), adapters_(adapters) {
  check_computable(base.spec());
}

Decoder::Memory Decoder::plan(int64_t max_tokens, bool training) {
  if (max_tokens > std::numeric_limits<int32_t>::max()) {
    fail_usage(
        "a micro-batch of {} tokens is too large, the most is {}; make micro_batch_size or "
        "sequence_len smaller",
        max_tokens, std::numeric_limits<int32_t>::max());
  }
  // One sample of the greatest length asks for as much as any batch of as many tokens.
  const int32_t starts[] = {0, int32_t(max_tokens)};
  const BatchView batch(max_tokens, starts);

  shape_rope(max_tokens);
  return measured([&] {
    if (training) {
      forward(batch, {}, 1.0f);
      backward();
    } else {
      loss(batch, nullptr);
    }
  });
}

Decoder::Memory Decoder::plan_steps(int64_t max_tokens, const KvCache& cache) {
  // The widest call: every sequence gets a token, one gets all that are left.
  const int64_t feeds = std::min(cache.sequences(), max_tokens);
  const std::vector<int32_t> ids(size_t(max_tokens), 0);
  std::vector<Feed> all;
  for (int64_t s = 0; s < feeds; ++s) {
    all.push_back({s, std::span(ids).first(size_t(s == 0 ? max_tokens - feeds + 1 : 1))});
  }
  shape_rope(cache.capacity());
  return measured([&] { run_steps(cache, all); });
}

Decoder::Memory Decoder::measured(FunctionRef<void()> run) {
  activations_ = Arena(ctx_.device());
  ctx_.set_scratch(Arena(ctx_.device()));
  offloaded_.set_host(Arena(ctx_.device()));
  run();
  return planned_ = high_water();
}

Decoder::Memory Decoder::high_water() {
  return {.activations = activations_.high_water(),
          .scratch = ctx_.scratch().high_water(),
          .offloaded = offloaded_.host().high_water(),
          .tables = cos_.bytes() + sin_.bytes()};
}

void Decoder::allocate() {
  const Device device = ctx_.device();
  activations_ = Arena(device, planned_.activations);
  ctx_.set_scratch(Arena(device, planned_.scratch));
  offloaded_.set_host(Arena(device, Buffer::staging_for(device, planned_.offloaded)));
  fill_rope();
}

void Decoder::shape_rope(int64_t positions) {
  const int64_t half = spec().layers.front().attention.head_dim / 2;
  cos_ = sin_ = Tensor(nullptr, DType::kF32, {positions, half}, ctx_.device());
}

void Decoder::fill_rope() {
  const size_t half = cos_.bytes();
  const auto table = [&](const Buffer& memory, size_t offset, Device device) {
    return Tensor(memory.data() + offset, DType::kF32, {cos_.rows(), cos_.cols()}, device);
  };
  const Buffer made = Buffer::host(2 * half);
  rope_table(table(made, 0, {}), table(made, half, {}), spec().rope_theta, spec().rope_scaling);
  rope_memory_ = Buffer::on(ctx_.device(), 2 * half);
  copy_bytes(ctx_, rope_memory_.data(), made.data(), 2 * half);
  ctx_.compute_stream().synchronize();
  cos_ = table(rope_memory_, 0, ctx_.device());
  sin_ = table(rope_memory_, half, ctx_.device());
}

void Decoder::begin_batch(const BatchView& batch, int tables) {
  positions_ = to_device(ctx_, activations_, batch.positions);
  samples_ = AttentionSamples(ctx_, activations_, batch.starts, tables);
}

BlockInput Decoder::block_input() {
  return {.model = spec(), .positions = positions_, .cos = cos_, .sin = sin_, .samples = samples_};
}

/// So that a GPU dequantizes a layer once for its second forward and the backward right after it.
/// (The CPU dequantizes in its caches, while it multiplies.)
void Decoder::unpack(const LayerLease& lease, int64_t layer) {
  if (!ctx_.device().is_cuda()) return;
  const DType dtype = ctx_.activation_dtype();
  unpacked_.layer = layer;
  for (const PlacedTensor& tensor : base_.layout().layers[size_t(layer)].tensors) {
    if (!tensor.is_matrix()) continue;
    quant::FrozenMatrix& matrix = unpacked_.matrix[size_t(tensor.row.site)];
    matrix = tensor.matrix_in(lease.data());
    if (matrix.is_dense(dtype)) continue;
    const quant::FrozenSpec spec{format_of(dtype), matrix.rows(), matrix.cols()};
    const Tensor copy = ctx_.scratch().tensor(dtype, {spec.rows, spec.cols});
    matrix.dequantize(ctx_, copy);
    matrix = {spec, static_cast<const std::byte*>(copy.raw())};
  }
}

Block Decoder::bind(const LayerLease& lease, int64_t layer) const {
  Block block{spec().layers[size_t(layer)]};
  for (const PlacedTensor& tensor : base_.layout().layers[size_t(layer)].tensors) {
    const TensorRow& row = tensor.row;
    if (row.role == Role::kNorm) {
      block.norm[size_t(row.norm)] = tensor.tensor_in(lease.data(), ctx_.device());
      continue;
    }
    TESSERA_CHECK(tensor.is_matrix());  // see check_computable()
    const size_t site = size_t(row.site);
    Linear& linear = block.linear[site];
    linear =
        Linear(layer == unpacked_.layer ? unpacked_.matrix[site] : tensor.matrix_in(lease.data()),
               adapters_ ? adapters_->find(layer, row.site) : nullptr);
    if (pass_.training && adapters_) {
      linear.set_dropout(
          {ctx_.seed(), pass_.key.step, pass_.key.micro_batch, uint64_t(layer), uint64_t(site)},
          adapters_->options().dropout);
    }
  }
  return block;
}

double Decoder::forward(const BatchView& batch, RunKey key, float scale) {
  const int64_t n = batch.tokens(), c = spec().hidden;
  const std::span<const LayerGroup> groups = scheduler_.groups();
  pass_ = {key, true};
  scheduler_.begin_pass(scheduler_.visits(true));
  activations_.release(0);
  saved_.assign(size_t(spec().layer_count()), {});
  inputs_.assign(groups.size() + 1, {});
  marks_.assign(groups.size(), 0);
  const auto activation = [&] { return activations_.tensor(ctx_.activation_dtype(), {n, c}); };
  constexpr int kOfForwardAndBackward = 3;
  begin_batch(batch, kOfForwardAndBackward);
  gradient_ = activation();
  offloaded_.begin(activations_, offloads_before(groups.size()), gradient_);
  const auto place_of_input = [&](size_t g) {
    const bool offload = g < groups.size() && groups[g].policy == Policy::kOffload;
    return offload ? offloaded_.buffer(ctx_, offloads_before(g)) : activation();
  };

  const BlockInput input = block_input();
  inputs_[0] = place_of_input(0);
  embedding(ctx_, inputs_[0], base_.embedding(), batch.ids);
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].policy == Policy::kOffload) offloaded_.put(ctx_, offloads_before(g));
    marks_[g] = activations_.mark();
    inputs_[g + 1] = place_of_input(g + 1);
    const size_t mark = activations_.mark();
    run_group(groups[g], inputs_[g], inputs_[g + 1], input);
    if (groups[g].policy != Policy::kKeep) activations_.release(mark);
  }
  return head_loss(ctx_, {.d = gradient_, .scale = scale}, inputs_.back(), batch.targets, head());
}

int64_t Decoder::offloads_before(size_t group) const {
  return std::ranges::count(scheduler_.groups().first(group), Policy::kOffload,
                            &LayerGroup::policy);
}

void Decoder::run_group(const LayerGroup& group, Tensor x, Tensor y, const BlockInput& input) {
  for (int64_t i = 0; i < group.count; ++i) {
    const int64_t layer = group.first + i;
    const LayerLease lease = scheduler_.acquire(layer);
    const bool backward_is_next = !y && i + 1 == group.count;
    if (backward_is_next) unpack(lease, layer);
    const Block block = bind(lease, layer);
    const Tensor out =
        i + 1 == group.count ? y : activations_.tensor(x.dtype(), {x.rows(), x.cols()});
    BlockSaved& saved = saved_[size_t(layer)];
    saved = allocate_saved(activations_, block, x);
    block_forward(ctx_, out, saved, block, input,
                  [&](const BlockSaved& s) { attend_within_samples(ctx_, s, block, input); });
    x = out;
  }
}

void Decoder::backward() {
  const std::span<const LayerGroup> groups = scheduler_.groups();
  const BlockInput input = block_input();
  for (size_t g = groups.size(); g-- > 0;) {
    const LayerGroup& group = groups[g];
    const ArenaScope unpacked(ctx_.scratch());
    if (group.policy != Policy::kKeep) {
      activations_.release(marks_[g]);  // the group's output served its last reader
      const Tensor x =
          group.policy == Policy::kOffload ? offloaded_.take(ctx_, offloads_before(g)) : inputs_[g];
      run_group(group, x, Tensor(), input);
    }
    for (int64_t layer = group.first + group.count - 1; layer >= group.first; --layer) {
      const LayerLease lease = scheduler_.acquire(layer);
      block_backward(ctx_, gradient_, saved_[size_t(layer)], bind(lease, layer), input, layer > 0);
    }
    unpacked_ = {};
    activations_.release(marks_[g]);
  }
}

Tensor Decoder::run_layers(const BatchView& batch, AttendAt attend, Visit visit) {
  const int64_t n = batch.tokens(), c = spec().hidden;
  pass_ = {};
  scheduler_.begin_pass(scheduler_.visits(false));
  activations_.release(0);
  begin_batch(batch, 1);
  const BlockInput input = block_input();
  const DType dtype = ctx_.activation_dtype();
  Tensor x = activations_.tensor(dtype, {n, c}), y = activations_.tensor(dtype, {n, c});
  embedding(ctx_, x, base_.embedding(), batch.ids);
  visit(-1, x);
  for (int64_t layer = 0; layer < spec().layer_count(); ++layer) {
    const LayerLease lease = scheduler_.acquire(layer);
    const Block block = bind(lease, layer);
    ArenaScope scope(activations_);
    block_forward(ctx_, y, allocate_saved(activations_, block, x), block, input,
                  [&](const BlockSaved& s) { attend(layer, block, s); });
    std::swap(x, y);
    visit(layer, x);
  }
  return x;
}

Tensor Decoder::run_layers_on_samples(const BatchView& batch, Visit visit) {
  return run_layers(
      batch,
      [&](int64_t, const Block& block, const BlockSaved& s) {
        attend_within_samples(ctx_, s, block, block_input());
      },
      visit);
}

double Decoder::loss(const BatchView& batch, std::vector<float>* losses) {
  const Tensor x = run_layers_on_samples(batch, [](int64_t, Tensor) {});
  return head_loss(ctx_, {.losses = losses}, x, batch.targets, head());
}

void Decoder::idle(bool training) {
  if (base_.store().gathers_together()) scheduler_.idle_pass(scheduler_.visits(training));
}

std::string Decoder::describe_non_finite(const BatchView& batch) {
  std::string where;
  run_layers_on_samples(batch, [&](int64_t layer, Tensor x) {
    const auto bad = [](float value) { return !std::isfinite(value); };
    if (!where.empty()) return;
    const std::vector<float> values = to_host(ctx_, x);
    if (std::none_of(values.begin(), values.end(), bad)) return;
    where = layer < 0 ? "first in the embedding" : fmt::format("first in layer {}", layer);
  });
  return where.empty() ? "first in the head" : where;
}

std::vector<float> Decoder::step(KvCache& cache, std::span<const Feed> feeds) {
  std::vector<float> logits = to_host(ctx_, run_steps(cache, feeds));
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
  batch.starts.push_back(int32_t(batch.ids.size()));
  const Tensor x = run_layers(
      batch,
      [&](int64_t layer, const Block&, const BlockSaved& s) {
        attend_to_cache(s, layer, cache, feeds);
      },
      [](int64_t, Tensor) {});
  const auto rows = int64_t(feeds.size());
  Tensor ends = activations_.tensor(x.dtype(), {rows, spec().hidden});
  Tensor logits = activations_.tensor(x.dtype(), {rows, spec().vocab});
  gather_rows(ctx_, ends, x, last);
  head_logits(ctx_, logits, ends, head());
  return logits;
}

void Decoder::attend_to_cache(const BlockSaved& s, int64_t layer, const KvCache& cache,
                              std::span<const Feed> feeds) {
  const AttentionShape shape = attention_shape(spec().layers[size_t(layer)].attention);
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
                     {s.q.slice(row, row + count), keys, values, first, shape});
    row += count;
  }
}

Head Decoder::head() const { return {base_.final_norm(), base_.head(), spec().rms_eps}; }

}  // namespace tessera::lora
