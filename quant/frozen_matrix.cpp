#include "quant/frozen_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "quant/cpu/half_floats.h"
#include "quant/double_quant.h"
#include "runtime/core/buffer.h"
#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/parallel.h"
#include "runtime/ops/transfer.h"

namespace tessera::quant {

namespace {

constexpr int64_t kTask = 65536;  // elements of one task of a parallel conversion
constexpr int64_t kStrip = 64;    // columns of W decoded at once: a 16 KiB square stays in L1

size_t align(size_t bytes) {
  return (bytes + FrozenSpec::kAlignment - 1) / FrozenSpec::kAlignment * FrozenSpec::kAlignment;
}

/// Calls work(first, count) on disjoint pieces of [0, n).
template <class Work>
void for_pieces(Context& ctx, int64_t n, const Work& work) {
  cpu::parallel_for(ctx.threads(), (n + kTask - 1) / kTask,
                    [&](int64_t task) { work(task * kTask, std::min(kTask, n - task * kTask)); });
}

/// The parts of a 4-bit blob.
struct Parts4 {
  std::span<uint8_t> codes;
  std::span<float> plain;  // empty with double quantization, as are the others without
  std::span<uint8_t> scale_codes;
  std::span<float> nested;
  float* offset = nullptr;
};

Parts4 parts_of(const FrozenSpec& spec, std::byte* blob) {
  const size_t blocks = size_t(spec.blocks());
  Parts4 parts{{reinterpret_cast<uint8_t*>(blob), size_t(spec.numel() + 1) / 2}, {}, {}, {}};
  std::byte* const scales = blob + spec.scales_offset();
  if (!spec.double_quant) {
    parts.plain = {reinterpret_cast<float*>(scales), blocks};
    return parts;
  }
  parts.scale_codes = {reinterpret_cast<uint8_t*>(scales), blocks};
  parts.nested = {reinterpret_cast<float*>(blob + spec.nested_offset()), size_t(spec.nested())};
  parts.offset = parts.nested.data() + parts.nested.size();
  return parts;
}

void quantize_4bit(Context& ctx, const FrozenSpec& spec, std::span<const float> w, std::byte* blob,
                   std::string_view name) {
  const Parts4 parts = parts_of(spec, blob);
  if (!spec.double_quant) {
    return quantize4(ctx, spec.book(), spec.block, w, {parts.codes, parts.plain}, name);
  }
  std::vector<float> plain(size_t(spec.blocks()));
  quantize4(ctx, spec.book(), spec.block, w, {parts.codes, plain}, name);
  *parts.offset = quantize_scales(plain, parts.scale_codes, parts.nested, name);
}

/// The first float above a format's largest finite value that does not round back to it.
float limit_of(Format format) { return format == Format::kF16 ? 65520.0f : INFINITY; }

[[noreturn]] void refuse(std::string_view name, int64_t index, float value) {
  if (!std::isfinite(value)) refuse_element(name, index, value);
  fail("tensor {}: element {} is {}, beyond float16's 65504; keep the base in bfloat16", name,
       index, value);
}

void quantize_16bit(Context& ctx, const FrozenSpec& spec, std::span<const float> w, std::byte* blob,
                    std::string_view name) {
  const DType type = spec.dtype();
  const float limit = limit_of(spec.format);
  std::atomic<bool> bad{false};
  for_pieces(ctx, int64_t(w.size()), [&](int64_t first, int64_t count) {
    const float* from = w.data() + first;
    for (int64_t i = 0; i < count; ++i) {
      if (!(std::fabs(from[i]) < limit)) bad = true;
    }
    std::byte* to = blob + size_t(first) * size_of(type);
    if (type == DType::kF32) {
      std::memcpy(to, from, size_t(count) * sizeof(float));
    } else {
      narrow(type, from, count, to);
    }
  });
  if (!bad) return;
  const auto at = std::ranges::find_if(w, [&](float x) { return !(std::fabs(x) < limit); });
  refuse(name, at - w.begin(), *at);
}

/// One element of a tensor on a device, when the operators before have run.
float element(Context& ctx, Tensor w, int64_t index) {
  return to_host(ctx, w.view({w.numel()}).slice(index, index + 1)).front();
}

void quantize_4bit_on_device(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                             std::string_view name) {
  const Parts4 parts = parts_of(spec, blob);
  if (!spec.double_quant) {
    return cuda::quantize4(ctx, spec.book(), spec.block, w, {parts.codes, parts.plain});
  }
  const size_t blocks = size_t(spec.blocks());
  const Buffer memory = Buffer::on(ctx.device(), blocks * sizeof(float));
  const std::span<float> plain(memory.as<float>(), blocks);
  cuda::quantize4(ctx, spec.book(), spec.block, w, {parts.codes, plain});
  const float offset = cuda::quantize_scales(ctx, plain, parts.scale_codes, parts.nested, name);
  ctx.compute_stream().copy(parts.offset, &offset, sizeof(offset));
  ctx.compute_stream().synchronize();
}

void quantize_on_device(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                        std::string_view name) {
  const int64_t bad = cuda::first_not_below(ctx, w, limit_of(spec.format));
  if (bad >= 0) refuse(name, bad, element(ctx, w, bad));
  tessera::cuda::fill_zero(ctx.compute_stream().handle(), blob, spec.bytes());
  if (spec.is_4bit()) {
    quantize_4bit_on_device(ctx, spec, w, blob, name);
  } else {
    tessera::cuda::convert(ctx, Tensor(blob, spec.dtype(), {spec.numel()}, ctx.device()), w);
  }
  ctx.compute_stream().synchronize();
}

}  // namespace

DType FrozenSpec::dtype() const {
  TESSERA_CHECK(!is_4bit());
  return format == Format::kF32    ? DType::kF32
         : format == Format::kBF16 ? DType::kBF16
                                   : DType::kF16;
}

int64_t FrozenSpec::nested() const {
  return double_quant ? (blocks() + kNestedBlock - 1) / kNestedBlock : 0;
}

size_t FrozenSpec::scales_offset() const { return align(size_t(numel() + 1) / 2); }

size_t FrozenSpec::nested_offset() const {
  return scales_offset() + align(size_t(blocks()) * (double_quant ? 1 : sizeof(float)));
}

size_t FrozenSpec::bytes() const {
  if (!is_4bit()) return align(size_t(numel()) * size_of(dtype()));
  if (!double_quant) return nested_offset();
  return nested_offset() + align(size_t(nested() + 1) * sizeof(float));
}

void FrozenSpec::validate() const {
  TESSERA_CHECK(rows >= 1 && cols >= 1);
  if (is_4bit()) check_block(block);
}

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
  spec.is_4bit() ? quantize_4bit(ctx, spec, w, blob, name)
                 : quantize_16bit(ctx, spec, w, blob, name);
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

Encoded4 FrozenMatrix::encoded() const {
  const Parts4 parts = parts_of(spec_, const_cast<std::byte*>(blob_));
  return {&spec_.book(),
          parts.codes.data(),
          spec_.block,
          {parts.plain.data(), parts.scale_codes.data(), parts.nested.data(), parts.offset}};
}

void FrozenMatrix::dequantize_runs(const Runs& runs, float* out, int64_t ldo) const {
  if (spec_.is_4bit()) return dequantize4(encoded(), runs, out, ldo);
  const DType type = spec_.dtype();
  for (int64_t r = 0; r < runs.rows; ++r) {
    const std::byte* from = blob_ + size_t(runs.first + r * runs.stride) * size_of(type);
    if (type == DType::kF32) {
      std::memcpy(out + r * ldo, from, size_t(runs.count) * sizeof(float));
    } else {
      widen(type, from, runs.count, out + r * ldo);
    }
  }
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
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) {
      if (spec_.is_4bit()) return cuda::dequantize4(ctx, encoded(), begin, out);
      std::byte* elements = const_cast<std::byte*>(blob_) + size_t(begin) * size_of(spec_.dtype());
      const Tensor from(elements, spec_.dtype(), {out.numel()}, ctx.device());
      return tessera::cuda::convert(ctx, out, from);
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
