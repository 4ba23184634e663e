#include "runtime/ops/attention.h"

#include <algorithm>

#include "runtime/cpu/attention_task.h"
#include "runtime/cpu/parallel.h"
#include "runtime/cpu/thread_memory.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/attention.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

// Far below any logit, and still finite: a logit minus a maximum must not become NaN. An unseen key
// lies so far under a row's first maximum that its exp is 0 even where the row sees nothing yet.
constexpr float kNoMaximum = -1e30f, kUnseen = -2e30f;

HWY_INLINE float max_of(const Vec16& a) {
  V m = a.part[0];
  if constexpr (kParts == 2) m = hn::Max(m, a.part[kParts - 1]);
  return hn::GetLane(hn::MaxOfLanes(D(), m));
}

/// Scales and masks the scores; moves each row's maximum on and keeps the previous one.
HWY_INLINE void update_maxima(const AttentionRows& job, const CausalMask& mask,
                              AttentionForwardTiles& t) {
  const bool whole = mask.covers_all(job.rows);
  for (int64_t i = 0; i < job.rows; ++i) {
    float* row = t.scores + i * kAttentionTile;
    Vec16 top = set16(kUnseen);
    for (int64_t c = 0; c < kAttentionTile; c += 16) {
      Vec16 x = logits16(load16(row + c), job.shape);
      if (!whole) x = keep_seen16(x, c, mask, i, kUnseen);
      store16(x, row + c);
      top = max16(top, x);
    }
    t.previous[i] = t.maximum[i];
    t.maximum[i] = std::max(t.maximum[i], max_of(top));
  }
}

/// Brings what was summed under the previous maxima to the new ones.
HWY_INLINE void rescale(const AttentionRows& job, int64_t pitch, AttentionForwardTiles& t) {
  for (int64_t i = 0; i < kAttentionTile; i += 16) {
    store16(exp16(sub16(load16(t.previous + i), load16(t.maximum + i))), t.previous + i);
  }
  for (int64_t i = 0; i < job.rows; ++i) {
    if (t.previous[i] == 1.0f) continue;
    const Vec16 factor = set16(t.previous[i]);
    store16(mul16(load16(t.sums + i * 16), factor), t.sums + i * 16);
    float* out = t.out + i * pitch;
    for (int64_t c = 0; c < pitch; c += 16) store16(mul16(load16(out + c), factor), out + c);
  }
}

/// Scores become exp(score - maximum); their sums grow.
HWY_INLINE void exponentiate(const AttentionRows& job, AttentionForwardTiles& t) {
  for (int64_t i = 0; i < job.rows; ++i) {
    float* row = t.scores + i * kAttentionTile;
    const Vec16 maximum = set16(t.maximum[i]);
    Vec16 sum = load16(t.sums + i * 16);
    for (int64_t c = 0; c < kAttentionTile; c += 16) {
      const Vec16 p = exp16(sub16(load16(row + c), maximum));
      store16(p, row + c);
      sum = add16(sum, p);
    }
    store16(sum, t.sums + i * 16);
  }
}

HWY_INLINE void write_rows(const AttentionRows& job, int64_t pitch, AttentionForwardTiles& t) {
  const int64_t head_dim = job.shape.head_dim;
  HWY_ALIGN float total[kAttentionTile] = {};
  for (int64_t i = 0; i < job.rows; ++i) {
    total[i] = sum16(load16(t.sums + i * 16));
    const Vec16 factor = set16(1.0f / total[i]);
    const float* from = t.out + i * pitch;
    float* to = job.out + i * job.q_stride;
    int64_t c = 0;
    for (; c + 16 <= head_dim; c += 16) store16(mul16(load16(from + c), factor), to + c);
    if (c < head_dim) store16(mul16(load16(from + c), factor), to + c, head_dim - c);
  }
  if (job.lse == nullptr) return;
  for (int64_t i = 0; i < job.rows; i += 16) {
    Vec16 x = load16(total + i);
    for (int p = 0; p < kParts; ++p) x.part[p] = hn::Log(D(), x.part[p]);
    x = add16(load16(t.maximum + i), x);
    if (i + 16 <= job.rows) {
      store16(x, job.lse + i);
    } else {
      store16(x, job.lse + i, job.rows - i);
    }
  }
}

void attend_rows(const AttentionRows& job, AttentionForwardTiles& t) {
  const int64_t head_dim = job.shape.head_dim, pitch = round_up_16(head_dim);
  const int64_t window = window_of(job.shape);
  const int64_t first_key = first_key_tile(job.position, window);
  const int64_t key_count = job.position + (job.rows - 1) * job.step + 1;
  std::fill_n(t.maximum, kAttentionTile, kNoMaximum);
  std::fill_n(t.sums, kAttentionTile * 16, 0.0f);
  for (int64_t key = first_key; key < key_count; key += kAttentionTile) {
    const int64_t keys = std::min(kAttentionTile, key_count - key);
    const CausalMask mask{job.position - key + 1, job.step, keys, window};
    PackTransposed{job.k + key * job.kv_stride, job.kv_stride}(0, keys, 0, head_dim, t.keys);
    multiply_keys({job.q, job.q_stride, 1, head_dim, t.keys}, mask, job.rows, t.scores);
    update_maxima(job, mask, t);
    if (key > first_key) rescale(job, pitch, t);
    exponentiate(job, t);
    pack_head(job.v + key * job.kv_stride, job.kv_stride, keys, head_dim, t.values);
    for_row_groups(mask, job.rows, [&](int64_t row, int64_t count, int64_t depth) HWY_ATTR {
      multiply_head({t.scores + row * kAttentionTile, kAttentionTile, 1, depth, t.values},
                    {t.out + row * pitch, count, pitch, pitch, key > first_key});
    });
  }
  write_rows(job, pitch, t);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
namespace {

HWY_EXPORT(attend_rows);

void attend(const AttentionRows& job, AttentionForwardTiles& tiles) {
  HWY_DYNAMIC_DISPATCH(attend_rows)(job, tiles);
}

}  // namespace

void attention(Context& ctx, Tensor out, Tensor lse, const AttentionInput& in) {
  if (ctx.measuring()) return;
  const AttentionShape& shape = in.shape;
  const AttentionSamples::Tiles cut =
      in.samples.tiles(ctx, int(kAttentionTile), AttentionSamples::Owner::kQueries);
  const int64_t tokens = in.q.rows(), group = shape.heads / shape.kv_heads;
  const float *q = in.q.data<float>(), *k = in.k.data<float>(), *v = in.v.data<float>();
  float *o = out.data<float>(), *l = lse.data<float>();
  const ThreadMemory<AttentionForwardTiles> tiles(ctx);
  parallel_for(ctx.threads(), cut.count * shape.heads, [&](int64_t i, int thread) {
    const AttentionTile& tile = cut.first[i / shape.heads];
    const int64_t head = i % shape.heads;
    const int64_t at = tile.row * in.q.cols() + head * shape.head_dim;
    const int64_t kv = tile.begin * in.k.cols() + head / group * shape.head_dim;
    const int64_t rows = std::min<int64_t>(kAttentionTile, tile.end - tile.position);
    attend({q + at, k + kv, v + kv, o + at, l + head * tokens + tile.row, in.q.cols(), in.k.cols(),
            rows, tile.position, 1, shape},
           tiles.of(thread));
  });
}

void attention_decode(Context& ctx, Tensor out, const AttentionDecode& in) {
  if (ctx.measuring()) return;
  const AttentionShape& shape = in.shape;
  const int64_t count = in.q.rows(), group = shape.heads / shape.kv_heads, d = shape.head_dim;
  const float *q = in.q.data<float>(), *k = in.k.data<float>(), *v = in.v.data<float>();
  float* o = out.data<float>();
  const ThreadMemory<AttentionForwardTiles> tiles(ctx);
  if (count == 1 && group <= kAttentionTile) {
    // The heads of a group are the rows of one task: each key is packed once for all of them.
    parallel_for(ctx.threads(), shape.kv_heads, [&](int64_t kv, int thread) {
      attend({q + kv * group * d, k + kv * d, v + kv * d, o + kv * group * d, nullptr, d,
              in.k.cols(), group, in.first, 0, shape},
             tiles.of(thread));
    });
    return;
  }
  const int64_t parts = (count + kAttentionTile - 1) / kAttentionTile;
  parallel_for(ctx.threads(), shape.heads * parts, [&](int64_t task, int thread) {
    const int64_t head = task / parts, row = task % parts * kAttentionTile;
    const int64_t at = row * in.q.cols() + head * d, kv = head / group * d;
    attend({q + at, k + kv, v + kv, o + at, nullptr, in.q.cols(), in.k.cols(),
            std::min(kAttentionTile, count - row), in.first + row, 1, shape},
           tiles.of(thread));
  });
}

}  // namespace tessera::cpu
#endif
