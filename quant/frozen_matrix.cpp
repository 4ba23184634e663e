#include "quant/frozen_matrix.h"

#include <algorithm>
#include <cstring>

#include "quant/cpu/half_floats.h"
#include "quant/cpu/pieces.h"
#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/cpu/gemm.h"
#include "runtime/ops/transfer.h"

namespace tessera::quant {

namespace {

constexpr int64_t kStrip = 64;  // columns of W decoded at once: a 16 KiB square stays in L1

/// One element of a tensor on a device, when the operators before have run.
float element(Context& ctx, Tensor w, int64_t index) {
  return to_host(ctx, w.view({w.numel()}).slice(index, index + 1)).front();
}

void quantize_on_device(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                        std::string_view name) {
  const Format& format = *spec.format;
  const int64_t bad = cuda::first_not_below(ctx, w, format.limit);
  if (bad >= 0) refuse_element(name, bad, element(ctx, w, bad));
  tessera::cuda::fill_zero(ctx.compute_stream().handle(), blob, spec.bytes());
  format.encode_on_gpu(ctx, spec, w, blob, name);
  ctx.compute_stream().synchronize();
}

}  // namespace

FrozenMatrix::FrozenMatrix(const FrozenSpec& spec, const std::byte* blob)
    : spec_(spec), blob_(blob) {
  spec.validate();
  TESSERA_CHECK(reinterpret_cast<uintptr_t>(blob) % alignof(float) == 0);
}

void FrozenMatrix::quantize(Context& ctx, const FrozenSpec& spec, std::span<const float> w,
                            std::byte* blob, std::string_view name) {
  spec.validate();
  TESSERA_CHECK(int64_t(w.size()) == spec.numel());
  std::memset(blob, 0, spec.bytes());
  spec.format->encode(ctx, spec, w, blob, name);
}

void FrozenMatrix::quantize(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                            std::string_view name) {
  spec.validate();
  TESSERA_CHECK(w.numel() == spec.numel());
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return quantize_on_device(ctx, spec, w, blob, name);
  }
  quantize(ctx, spec, w.span<const float>(), blob, name);
}

void FrozenMatrix::dequantize_runs(const Runs& runs, float* out, int64_t ldo) const {
  spec_.format->decode(spec_, blob_, runs, out, ldo);
}

void FrozenMatrix::dequantize_span(int64_t first, int64_t count, float* out) const {
  dequantize_runs({first, 0, 1, count}, out, 0);
}

void FrozenMatrix::dequantize(Context& ctx, Tensor out) const {
  TESSERA_CHECK(out.numel() == spec_.numel());
  dequantize_part(ctx, 0, out);
}

void FrozenMatrix::dequantize_part(Context& ctx, int64_t begin, Tensor out) const {
  TESSERA_CHECK(0 <= begin && begin + out.numel() <= spec_.numel());
  if (ctx.measuring()) return;
  const PartScope part(ctx.timeline(), ComputePart::kDequantize);
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) {
      return spec_.format->decode_on_gpu(ctx, spec_, blob_, begin, out);
    }
  }
  for_pieces(ctx, out.numel(), [&](int64_t first, int64_t count) {
    if (out.dtype() == DType::kF32) {
      return dequantize_span(begin + first, count, out.data<float>() + first);
    }
    constexpr int64_t kChunk = 4096;
    alignas(64) float wide[kChunk];
    for (int64_t i = first; i < first + count; i += kChunk) {
      const int64_t c = std::min(kChunk, first + count - i);
      dequantize_span(begin + i, c, wide);
      narrow(out.dtype(), wide, c, static_cast<std::byte*>(out.raw()) + size_t(i) * 2);
    }
  });
}

void PackForward::operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const {
  if (nc < cpu::kPanelCols) std::memset(panel, 0, sizeof(float) * size_t(kc * cpu::kPanelCols));
  const int64_t ldw = w_.cols();
  alignas(64) float strip[cpu::kPanelCols * kStrip];
  for (int64_t k = 0; k < kc; k += kStrip) {
    const int64_t depth = std::min(kStrip, kc - k);
    w_.dequantize_runs({n0 * ldw + k0 + k, ldw, nc, depth}, strip, kStrip);
    cpu::transpose(strip, kStrip, nc, depth, panel + k * cpu::kPanelCols, cpu::kPanelCols);
  }
}

void PackBackward::operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const {
  w_.dequantize_runs({k0 * w_.cols() + n0, w_.cols(), kc, nc}, panel, cpu::kPanelCols);
  if (nc == cpu::kPanelCols) return;
  for (int64_t k = 0; k < kc; ++k) {
    std::fill(panel + k * cpu::kPanelCols + nc, panel + (k + 1) * cpu::kPanelCols, 0.0f);
  }
}

}  // namespace tessera::quant
