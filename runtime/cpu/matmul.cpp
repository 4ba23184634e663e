#include "runtime/ops/matmul.h"

#include "runtime/cpu/gemm.h"
#include "runtime/cpu/parallel.h"

namespace tessera::cpu {
namespace {

struct Operands {
  Tensor a, b;
  MatmulOptions options;
};

void multiply(Context& ctx, const GemmOutput& out, const Operands& in) {
  const float* a = in.a.data<float>();
  const int64_t lda = in.a.cols();
  const int64_t depth = in.options.transpose_a ? in.a.rows() : lda;
  GemmTerm term{a, in.options.transpose_a ? 1 : lda, in.options.transpose_a ? lda : 1, depth,
                PackPanel(PackRows{})};
  const PackRows rows{in.b.data<float>(), in.b.cols()};
  const PackTransposed columns{in.b.data<float>(), in.b.cols()};
  term.pack = in.options.transpose_b ? PackPanel(columns) : PackPanel(rows);
  gemm(ctx, out, {&term, 1});
}

/// c[M,N] += t[N,M]^T
void add_transposed(Context& ctx, Tensor c, const float* t) {
  if (ctx.measuring()) return;
  const int64_t m = c.rows(), n = c.cols();
  constexpr int64_t kChunk = 64;
  parallel_for(ctx.threads(), (m + kChunk - 1) / kChunk, [&](int64_t task) {
    const int64_t end = std::min(m, (task + 1) * kChunk);
    for (int64_t i = task * kChunk; i < end; ++i) {
      float* row = c.data<float>() + i * n;
      for (int64_t j = 0; j < n; ++j) row[j] += t[j * m + i];
    }
  });
}

}  // namespace

void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options) {
  const int64_t m = c.rows(), n = c.cols();
  // The gradient of LoRA's B, dy^T * u: a tall, narrow result. Its transpose streams dy once by
  // panels, where the direct product would walk dy column by column.
  constexpr int64_t kNarrow = 256;
  if (options.transpose_a && options.accumulate && n <= kNarrow && n < m) {
    ArenaScope scope(ctx.scratch());
    Tensor t = ctx.scratch().f32({n, m});
    multiply(ctx, {t.data<float>(), n, m, m, false},
             {b, a, {.transpose_a = !options.transpose_b, .transpose_b = false}});
    add_transposed(ctx, c, t.data<float>());
    return;
  }
  multiply(ctx, {c.data<float>(), m, n, n, options.accumulate}, {a, b, options});
}

}  // namespace tessera::cpu
