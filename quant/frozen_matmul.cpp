#include "quant/frozen_matmul.h"

#include <array>
#include <atomic>
#include <chrono>

#include "quant/cpu/half_floats.h"
#include "runtime/core/has_cuda.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/gemm_bf16.h"
#include "runtime/ops/matmul.h"

namespace tessera::quant {
namespace {

static_assert(kRowsOfDecoding == cpu::kRowChunk);

/// What a product on a GPU takes of scratch, taken also where nothing is computed, so that a plan
/// for a GPU needs none: the dense matrix, unless it is stored as it is multiplied, and gemm's own.
void reserve_on_gpu(Context& ctx, const FrozenSpec& spec, DType dtype) {
  ArenaScope scope(ctx.scratch());
  if (!spec.is_dense(dtype)) {
    ctx.scratch().tensor(dtype, {spec.rows, spec.cols});
  }
  ctx.scratch().allocate(kMatmulWorkspace);
}

/// A packer of the same weights rounded to float16.
struct PackHalf {
  cpu::PackPanel pack;
  void operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const {
    pack(n0, nc, k0, kc, panel);
    std::array<f16, cpu::kPanelCols> half;
    for (int64_t k = 0; k < kc; ++k, panel += cpu::kPanelCols) {
      narrow(DType::kF16, panel, cpu::kPanelCols, half.data());
      widen(DType::kF16, half.data(), cpu::kPanelCols, panel);
    }
  }
};

/// A packer that sums up the time it takes, over all threads.
class PackTimed {
 public:
  explicit PackTimed(cpu::PackPanel pack) : pack_(pack) {}
  void operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const {
    const auto begin = std::chrono::steady_clock::now();
    pack_(n0, nc, k0, kc, panel);
    taken_ += (std::chrono::steady_clock::now() - begin).count();
  }
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::duration(taken_)).count();
  }

 private:
  cpu::PackPanel pack_;
  mutable std::atomic<std::chrono::steady_clock::rep> taken_{0};
};

/// The product in the context's compute type; the terms after the first stay in float32.
void multiply(Context& ctx, const cpu::GemmOutput& out, std::span<cpu::GemmTerm> terms) {
  if (ctx.compute_dtype() == DType::kBF16) return cpu::gemm_bf16(ctx, out, terms);
  const PackHalf half{terms.front().pack};
  if (ctx.compute_dtype() == DType::kF16) terms.front().pack = half;
  cpu::gemm(ctx, out, terms);
}

/// The same. Where somebody measures, the threads' mean time in the packer of the frozen weight is
/// that of dequantization, unless the product is the head's.
void multiply(Context& ctx, const cpu::GemmOutput& out, std::span<cpu::GemmTerm> terms,
              const FrozenSpec& spec) {
  Timeline* const timeline = ctx.timeline();
  if (!timeline || timeline->now() != ComputePart::kProducts || spec.is_dense(DType::kF32)) {
    return multiply(ctx, out, terms);
  }
  const PackTimed timed(terms.front().pack);
  terms.front().pack = timed;
  multiply(ctx, out, terms);
  timeline->attribute(ComputePart::kDequantize, timed.seconds() / ctx.threads());
}

/// The product, and the low-rank addition as a second term of the same chain, so that it costs no
/// pass over the output.
void two_terms(Context& ctx, const cpu::GemmOutput& out, const cpu::GemmTerm& base,
               const FrozenSpec& spec, Tensor left, cpu::PackPanel pack_right) {
  cpu::GemmTerm terms[] = {
      base, {left ? left.data<float>() : nullptr, left.cols(), 1, left.cols(), pack_right}};
  multiply(ctx, out, {terms, left.cols() > 0 ? size_t{2} : size_t{1}}, spec);
}

const float* floats(Tensor t) { return t.numel() > 0 ? t.data<float>() : nullptr; }

}  // namespace

void frozen_matmul(Context& ctx, Tensor y, Tensor x, const FrozenMatrix& w, LowRank update) {
  const PartScope part(ctx.timeline(), ComputePart::kProducts);
  const int64_t n = x.rows(), in = w.spec().cols, out = w.spec().rows;
  TESSERA_CHECK(x.cols() == in && y.rows() == n && y.cols() == out);
  TESSERA_CHECK(update.left.cols() == update.right.cols());
  if (ctx.device().is_cuda()) {
    reserve_on_gpu(ctx, w.spec(), x.dtype());
    if (ctx.measuring()) return;
    if constexpr (kHasCuda) return cuda::frozen_matmul(ctx, y, x, w, update);
  }
  const PackForward pack = w.pack_forward();
  const cpu::PackTransposed pack_right{floats(update.right), update.right.cols()};
  two_terms(ctx, {y.data<float>(), n, out, out, false}, {x.data<float>(), in, 1, in, pack},
            w.spec(), update.left, pack_right);
}

void frozen_matmul_backward(Context& ctx, Tensor dx, Tensor dy, const FrozenMatrix& w,
                            LowRank update, bool accumulate) {
  const PartScope part(ctx.timeline(), ComputePart::kProducts);
  const int64_t n = dy.rows(), in = w.spec().cols, out = w.spec().rows;
  TESSERA_CHECK(dy.cols() == out && dx.rows() == n && dx.cols() == in);
  TESSERA_CHECK(update.left.cols() == 0 || update.left.cols() == update.right.rows());
  if (ctx.device().is_cuda()) {
    reserve_on_gpu(ctx, w.spec(), dy.dtype());
    if (ctx.measuring()) return;
    if constexpr (kHasCuda) {
      return cuda::frozen_matmul_backward(ctx, dx, dy, w, update, accumulate);
    }
  }
  const PackBackward pack = w.pack_backward();
  const cpu::PackRows pack_right{floats(update.right), in};
  two_terms(ctx, {dx.data<float>(), n, in, in, accumulate}, {dy.data<float>(), out, 1, out, pack},
            w.spec(), update.left, pack_right);
}

}  // namespace tessera::quant
