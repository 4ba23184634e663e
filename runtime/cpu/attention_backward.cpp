#include <algorithm>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "runtime/cpu/attention_task.h"
#include "runtime/cpu/parallel.h"
#include "runtime/cpu/thread_memory.h"
#include "runtime/ops/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/attention_backward.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// The query rows [query, query + rows) of one head of the group against the keys from `key`.
struct TilePair {
  int64_t head, query, rows, key, keys, window;

  CausalMask mask() const { return {query - key + 1, 1, keys, window}; }
};

/// delta[i] = sum over d of out[i][d] * dout[i][d], the softmax's part of the gradient.
HWY_INLINE void compute_delta(const AttentionGroup& g, int64_t offset, int64_t rows, float* delta) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* out = g.out + offset + i * g.q_stride;
    const float* dout = g.dout + offset + i * g.q_stride;
    Vec16 sum = zero16();
    int64_t c = 0;
    for (; c + 16 <= g.shape.head_dim; c += 16) sum = fma16(load16(out + c), load16(dout + c), sum);
    if (c < g.shape.head_dim) {
      const int64_t n = g.shape.head_dim - c;
      sum = fma16(load16(out + c, n), load16(dout + c, n), sum);
    }
    delta[i] = sum16(sum);
  }
}

/// p = exp(logits - lse) and ds = p * (dout v^T - delta) by the raw product q k^T; 0 where unseen.
HWY_INLINE void probabilities(const AttentionGroup& g, const TilePair& pair,
                              AttentionBackwardTiles& t) {
  const CausalMask mask = pair.mask();
  const int64_t offset = pair.head * g.shape.head_dim + pair.query * g.q_stride;
  multiply_keys({g.q + offset, g.q_stride, 1, g.shape.head_dim, t.keys_transposed}, mask, pair.rows,
                t.p);
  multiply_keys({g.dout + offset, g.q_stride, 1, g.shape.head_dim, t.values_transposed}, mask,
                pair.rows, t.ds);
  const Vec16 scale = set16(g.shape.scale);
  const float softcap = g.shape.softcap;
  const bool whole = mask.covers_all(pair.rows);
  const float* lse = g.lse + pair.head * g.lse_stride + pair.query;
  for (int64_t i = 0; i < pair.rows; ++i) {
    float *p_row = t.p + i * kAttentionTile, *ds_row = t.ds + i * kAttentionTile;
    const Vec16 log_sum = set16(lse[i]), delta = set16(t.delta[i]);
    for (int64_t c = 0; c < kAttentionTile; c += 16) {
      const Vec16 x = logits16(load16(p_row + c), g.shape);
      Vec16 p = exp16(sub16(x, log_sum));
      Vec16 ds = mul16(mul16(p, scale), sub16(load16(ds_row + c), delta));
      if (softcap > 0) {
        const Vec16 tanh = div16(x, set16(softcap));
        ds = mul16(ds, sub16(set16(1.0f), mul16(tanh, tanh)));
      }
      if (!whole) {
        p = keep_seen16(p, c, mask, i, 0.0f);
        ds = keep_seen16(ds, c, mask, i, 0.0f);
      }
      store16(p, p_row + c);
      store16(ds, ds_row + c);
    }
  }
}

/// dq (+)= ds * keys, for the rows of the pair. The first tile of keys they see overwrites.
HWY_INLINE void add_dq(const AttentionGroup& g, const TilePair& pair, AttentionBackwardTiles& t) {
  const bool accumulate = pair.key > first_key_tile(pair.query, pair.window);
  float* dq = g.dq + pair.head * g.shape.head_dim + pair.query * g.q_stride;
  for_row_groups(pair.mask(), pair.rows, [&](int64_t row, int64_t n, int64_t depth) HWY_ATTR {
    multiply_head({t.ds + row * kAttentionTile, kAttentionTile, 1, depth, t.keys},
                  {dq + row * g.q_stride, n, g.shape.head_dim, g.q_stride, accumulate});
  });
}

/// sum (+)= weights^T * rows, for the keys of the pair.
HWY_INLINE void add_to_keys(const TilePair& pair, const float* weights, const float* rows,
                            const GemmOutput& sum) {
  // On the diagonal, key j is seen by rows j and later only.
  const bool diagonal = pair.query == pair.key;
  const int64_t step = diagonal ? kTileRows : pair.keys;
  for (int64_t j = 0; j < pair.keys; j += step) {
    const int64_t first = diagonal ? j : 0;
    GemmOutput part = sum;
    part.c += j * sum.ldc;
    part.rows = std::min(step, pair.keys - j);
    multiply_head({weights + first * kAttentionTile + j, 1, kAttentionTile, pair.rows - first,
                   rows + first * kPanelCols},
                  part);
  }
}

HWY_INLINE void pack_keys(const AttentionGroup& g, int64_t key, int64_t keys,
                          AttentionBackwardTiles& t) {
  const int64_t at = key * g.kv_stride;
  PackTransposed{g.k + at, g.kv_stride}(0, keys, 0, g.shape.head_dim, t.keys_transposed);
  PackTransposed{g.v + at, g.kv_stride}(0, keys, 0, g.shape.head_dim, t.values_transposed);
  pack_head(g.k + at, g.kv_stride, keys, g.shape.head_dim, t.keys);
}

/// dk and dv of the tile of keys at `key`; with_dq adds the tile's share of every dq too.
void gradients_of_keys(const AttentionGroup& g, int64_t key, bool with_dq,
                       AttentionBackwardTiles& t) {
  const int64_t keys = std::min(kAttentionTile, g.length - key);
  const int64_t pitch = round_up_16(g.shape.head_dim);
  pack_keys(g, key, keys, t);
  const int64_t window = window_of(g.shape), end = std::min(g.length, key + keys - 1 + window);
  bool accumulate = false;
  for (int64_t head = 0; head < g.group; ++head) {
    for (int64_t query = key; query < end; query += kAttentionTile) {
      const int64_t rows = std::min(kAttentionTile, g.length - query);
      const TilePair pair{head, query, rows, key, keys, window};
      const int64_t offset = head * g.shape.head_dim + query * g.q_stride;
      compute_delta(g, offset, rows, t.delta);
      probabilities(g, pair, t);
      pack_head(g.dout + offset, g.q_stride, rows, g.shape.head_dim, t.douts);
      add_to_keys(pair, t.p, t.douts, {t.dv, keys, pitch, pitch, accumulate});
      pack_head(g.q + offset, g.q_stride, rows, g.shape.head_dim, t.queries);
      add_to_keys(pair, t.ds, t.queries, {t.dk, keys, pitch, pitch, accumulate});
      if (with_dq) add_dq(g, pair, t);
      accumulate = true;
    }
  }
  for (int64_t i = 0; i < keys; ++i) {
    const int64_t at = (key + i) * g.kv_stride;
    std::copy_n(t.dk + i * pitch, g.shape.head_dim, g.dk + at);
    std::copy_n(t.dv + i * pitch, g.shape.head_dim, g.dv + at);
  }
}

/// dq of one tile of one head: the same sums in the same order as gradients_of_keys with dq.
void gradients_of_queries(const AttentionGroup& g, int64_t head, int64_t query,
                          AttentionBackwardTiles& t) {
  const int64_t rows = std::min(kAttentionTile, g.length - query);
  compute_delta(g, head * g.shape.head_dim + query * g.q_stride, rows, t.delta);
  const int64_t window = window_of(g.shape);
  for (int64_t key = first_key_tile(query, window); key <= query; key += kAttentionTile) {
    const int64_t keys = std::min(kAttentionTile, g.length - key);
    pack_keys(g, key, keys, t);
    const TilePair pair{head, query, rows, key, keys, window};
    probabilities(g, pair, t);
    add_dq(g, pair, t);
  }
}

void gradients_of_group(const AttentionGroup& g, AttentionBackwardTiles& t) {
  for (int64_t key = 0; key < g.length; key += kAttentionTile) gradients_of_keys(g, key, true, t);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
namespace {

HWY_EXPORT(gradients_of_keys);
HWY_EXPORT(gradients_of_queries);
HWY_EXPORT(gradients_of_group);

std::vector<AttentionGroup> list_groups(const AttentionGrads& grads, Tensor dout, Tensor out,
                                        Tensor lse, const AttentionInput& in) {
  const AttentionShape& shape = in.shape;
  const int64_t tokens = in.q.rows(), q_stride = in.q.cols(), kv_stride = in.k.cols();
  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<AttentionGroup> groups;
  const std::span<const int32_t> starts = in.samples.starts();
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const int64_t begin = starts[s], length = starts[s + 1] - begin;
    for (int64_t kv = 0; length > 0 && kv < shape.kv_heads; ++kv) {
      const int64_t q_at = begin * q_stride + kv * group * shape.head_dim;
      const int64_t kv_at = begin * kv_stride + kv * shape.head_dim;
      groups.push_back({in.q.data<float>() + q_at, in.k.data<float>() + kv_at,
                        in.v.data<float>() + kv_at, out.data<float>() + q_at,
                        dout.data<float>() + q_at, lse.data<float>() + kv * group * tokens + begin,
                        grads.dq.data<float>() + q_at, grads.dk.data<float>() + kv_at,
                        grads.dv.data<float>() + kv_at, length, group, q_stride, kv_stride, tokens,
                        shape});
    }
  }
  // Long tasks first, so that the threads end together.
  std::ranges::stable_sort(groups, std::greater{}, &AttentionGroup::length);
  return groups;
}

/// How many groups, from the first, to compute whole, so that all threads end soonest. The others
/// are split into tasks for every tile, which fill the threads evenly, but compute the
/// probabilities twice: 7 products of tiles instead of 5. The longest groups come first.
size_t whole_groups(const std::vector<AttentionGroup>& groups, int threads) {
  constexpr double kSplit = 7.0 / 5.0;
  const auto cost = [](const AttentionGroup& g) { return double(g.length) * double(g.length); };
  std::vector<double> busy(size_t(std::max(threads, 1)), 0.0);
  double left = 0, whole = 0;
  for (const AttentionGroup& g : groups) left += cost(g);
  size_t best = 0;
  double soonest = std::numeric_limits<double>::infinity();
  for (size_t n = 0;; ++n) {
    const double end =
        std::max(*std::ranges::max_element(busy), (whole + kSplit * left) / double(busy.size()));
    if (end < soonest) {
      soonest = end;
      best = n;
    }
    if (n == groups.size()) return best;
    *std::ranges::min_element(busy) += cost(groups[n]);
    whole += cost(groups[n]);
    left -= cost(groups[n]);
  }
}

}  // namespace

void attention_backward(Context& ctx, const AttentionGrads& grads, Tensor dout, Tensor out,
                        Tensor lse, const AttentionInput& in) {
  if (ctx.measuring()) return;
  const ThreadMemory<AttentionBackwardTiles> tiles(ctx);
  const std::vector<AttentionGroup> groups = list_groups(grads, dout, out, lse, in);
  const size_t whole = whole_groups(groups, ctx.threads());
  struct Part {
    const AttentionGroup* group;
    int64_t head;  // -1: dk and dv of the keys at `first`; else dq of the queries at `first`
    int64_t first;
    int64_t cost;
  };
  std::vector<Part> parts;
  for (const AttentionGroup& g : std::span(groups).subspan(whole)) {
    for (int64_t first = 0; first < g.length; first += kAttentionTile) {
      parts.push_back({&g, -1, first, 4 * g.group * (g.length - first)});
      for (int64_t head = 0; head < g.group; ++head) {
        parts.push_back({&g, head, first, 3 * (first + kAttentionTile)});
      }
    }
  }
  std::ranges::stable_sort(parts, std::greater{}, &Part::cost);
  parallel_for(ctx.threads(), int64_t(whole + parts.size()), [&](int64_t i, int thread) {
    AttentionBackwardTiles& memory = tiles.of(thread);
    if (size_t(i) < whole) {
      HWY_DYNAMIC_DISPATCH(gradients_of_group)(groups[size_t(i)], memory);
      return;
    }
    const Part& part = parts[size_t(i) - whole];
    if (part.head < 0) {
      HWY_DYNAMIC_DISPATCH(gradients_of_keys)(*part.group, part.first, false, memory);
    } else {
      HWY_DYNAMIC_DISPATCH(gradients_of_queries)(*part.group, part.head, part.first, memory);
    }
  });
}

}  // namespace tessera::cpu
#endif
