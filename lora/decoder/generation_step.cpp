#include "lora/decoder/generation_step.h"

#include <algorithm>
#include <numeric>

#include "lora/decoder/forward.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/rows.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {
namespace {

/// The keys and values of a layer go into the cache; each feed attends to its sequence there.
void attend_to_cache(Context& ctx, BlockSaved& s, int64_t layer, AttentionShape shape,
                     KvCache& cache, std::span<const Feed> feeds) {
  int64_t row = 0;
  for (const Feed& feed : feeds) {
    const int64_t count = int64_t(feed.ids.size());
    const KvCache::Rows cached = cache.rows_for(ctx, layer, feed.sequence, count);
    const int64_t first = cache.length(feed.sequence) - cached.first;
    std::vector<int32_t> places(static_cast<size_t>(count));
    std::iota(places.begin(), places.end(), int32_t(first));
    scatter_rows(ctx, cached.keys, s.k.slice(row, row + count), places);
    scatter_rows(ctx, cached.values, s.v.slice(row, row + count), places);
    attention_decode(ctx, s.attended.slice(row, row + count),
                     {s.q.slice(row, row + count), cached.keys, cached.values, first, shape});
    row += count;
  }
}

/// The feeds end to end.
Batch batch_of(const KvCache& cache, std::span<const Feed> feeds) {
  Batch batch;
  for (const Feed& feed : feeds) {
    const int64_t first = cache.length(feed.sequence), count = int64_t(feed.ids.size());
    TESSERA_CHECK(count > 0 && first + count <= cache.capacity());
    batch.starts.push_back(int32_t(batch.ids.size()));
    batch.lengths.push_back(int32_t(feed.length ? feed.length : cache.capacity()));
    batch.ids.insert(batch.ids.end(), feed.ids.begin(), feed.ids.end());
    for (int64_t i = 0; i < count; ++i) batch.positions.push_back(int32_t(first + i));
  }
  batch.starts.push_back(int32_t(batch.ids.size()));
  return batch;
}

}  // namespace

Decoder::Memory GenerationStep::plan(int64_t max_tokens, KvCache& cache) {
  // The widest call: every sequence gets a token, one gets all that are left.
  const int64_t feeds = std::min(cache.sequences(), max_tokens);
  const std::vector<int32_t> ids(size_t(max_tokens), 0);
  std::vector<Feed> all;
  for (int64_t s = 0; s < feeds; ++s) {
    all.push_back({s, std::span(ids).first(size_t(s == 0 ? max_tokens - feeds + 1 : 1))});
  }
  return decoder_.measure(cache.capacity(), [&] { logits(cache, all); });
}

std::vector<float> GenerationStep::run(KvCache& cache, std::span<const Feed> feeds) {
  std::vector<float> values = to_host(decoder_.context(), logits(cache, feeds));
  for (const Feed& feed : feeds) cache.grow(feed.sequence, int64_t(feed.ids.size()));
  return values;
}

Tensor GenerationStep::logits(KvCache& cache, std::span<const Feed> feeds) {
  Context& ctx = decoder_.context();
  const Batch batch = batch_of(cache, feeds);
  const auto attend = [&](int64_t layer, BlockSaved& s, const Block& block, const BlockInput&) {
    attend_to_cache(ctx, s, layer, attention_shape(block.spec.attention), cache, feeds);
  };
  const Tensor x = run_layers(decoder_, batch, attend, [](int64_t, Tensor) {});
  std::vector<int32_t> last;  // row of each feed
  for (size_t i = 1; i < batch.starts.size(); ++i) last.push_back(batch.starts[i] - 1);
  const auto rows = int64_t(feeds.size());
  const Tensor ends = decoder_.activation(rows, decoder_.spec().hidden);
  const Tensor logits = decoder_.activation(rows, decoder_.spec().vocab);
  gather_rows(ctx, ends, x, last);
  head_logits(ctx, logits, ends, decoder_.head());
  return logits;
}

}  // namespace tessera::lora
