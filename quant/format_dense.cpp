#include "quant/format_dense.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "quant/cpu/half_floats.h"
#include "quant/cpu/pieces.h"
#include "runtime/core/has_cuda.h"
#include "runtime/ops/transfer.h"

namespace tessera::quant {
namespace {

/// The first float above float16's largest value that does not round back to it.
constexpr float kFloat16Limit = 65520.0f;

DType dtype_of(const FrozenSpec& spec) { return *spec.format->dtype; }

void check(const Storage&) {}

size_t bytes(const FrozenSpec& spec) {
  return aligned(size_t(spec.numel()) * size_of(dtype_of(spec)));
}

size_t encode_bytes(const FrozenSpec&) { return 0; }

void encode(Context& ctx, const FrozenSpec& spec, std::span<const float> w, std::byte* blob,
            std::string_view name) {
  const DType type = dtype_of(spec);
  const float limit = spec.format->limit;
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
  refuse_element(name, at - w.begin(), *at);
}

void decode(const FrozenSpec& spec, const std::byte* blob, const Runs& runs, float* out,
            int64_t ldo) {
  const DType type = dtype_of(spec);
  for (int64_t r = 0; r < runs.rows; ++r) {
    const std::byte* from = blob + size_t(runs.first + r * runs.stride) * size_of(type);
    if (type == DType::kF32) {
      std::memcpy(out + r * ldo, from, size_t(runs.count) * sizeof(float));
    } else {
      widen(type, from, runs.count, out + r * ldo);
    }
  }
}

void encode_on_gpu(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                   std::string_view) {
  if constexpr (kHasCuda) {
    tessera::cuda::convert(ctx, Tensor(blob, dtype_of(spec), {spec.numel()}, ctx.device()), w);
  }
}

void decode_on_gpu(Context& ctx, const FrozenSpec& spec, const std::byte* blob, int64_t first,
                   Tensor out) {
  if constexpr (kHasCuda) {
    const DType type = dtype_of(spec);
    std::byte* elements = const_cast<std::byte*>(blob) + size_t(first) * size_of(type);
    tessera::cuda::convert(ctx, out, Tensor(elements, type, {out.numel()}, ctx.device()));
  }
}

constexpr Format dense(std::string_view name, DType dtype, float limit) {
  return {.name = name,
          .dtype = dtype,
          .limit = limit,
          .check = check,
          .bytes = bytes,
          .encode_bytes = encode_bytes,
          .encode = encode,
          .decode = decode,
          .encode_on_gpu = encode_on_gpu,
          .decode_on_gpu = decode_on_gpu};
}

}  // namespace

constinit const Format kF32Format = dense("float32", DType::kF32, INFINITY);
constinit const Format kBF16Format = dense("bfloat16", DType::kBF16, INFINITY);
constinit const Format kF16Format = dense("float16", DType::kF16, kFloat16Limit);

}  // namespace tessera::quant
