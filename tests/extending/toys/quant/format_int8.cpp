#include "quant/format_int8.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/error.h"

namespace tessera::quant {
namespace {

int64_t blocks_of(const FrozenSpec& spec) { return (spec.numel() + spec.block - 1) / spec.block; }

void check(const Storage& storage) {
  if (storage.double_quant) fail_usage("bnb_4bit_use_double_quant: int8 has none; use false");
}

size_t bytes(const FrozenSpec& spec) {
  return aligned(size_t(spec.numel())) + aligned(size_t(blocks_of(spec)) * sizeof(float));
}

size_t encode_bytes(const FrozenSpec&) { return 0; }

void encode(Context&, const FrozenSpec& spec, std::span<const float> w, std::byte* blob,
            std::string_view name) {
  auto* codes = reinterpret_cast<int8_t*>(blob);
  auto* scales = reinterpret_cast<float*>(blob + aligned(size_t(spec.numel())));
  for (size_t i = 0; i < w.size(); ++i) {
    if (!std::isfinite(w[i])) refuse_element(name, int64_t(i), w[i]);
    float& scale = scales[i / size_t(spec.block)];
    scale = std::max(scale, std::fabs(w[i]) / 127.0f);
  }
  for (size_t i = 0; i < w.size(); ++i) {
    const float scale = scales[i / size_t(spec.block)];
    codes[i] = scale > 0.0f ? int8_t(std::lrint(w[i] / scale)) : int8_t(0);
  }
}

void decode(const FrozenSpec& spec, const std::byte* blob, const Runs& runs, float* out,
            int64_t ldo) {
  const auto* codes = reinterpret_cast<const int8_t*>(blob);
  const auto* scales = reinterpret_cast<const float*>(blob + aligned(size_t(spec.numel())));
  for (int64_t r = 0; r < runs.rows; ++r) {
    const int64_t first = runs.first + r * runs.stride;
    for (int64_t i = 0; i < runs.count; ++i) {
      out[r * ldo + i] = float(codes[first + i]) * scales[(first + i) / spec.block];
    }
  }
}

void encode_on_gpu(Context&, const FrozenSpec&, Tensor, std::byte*, std::string_view) {
  fail("int8 weights have no kernels for a GPU");
}
void decode_on_gpu(Context&, const FrozenSpec&, const std::byte*, int64_t, Tensor) {
  fail("int8 weights have no kernels for a GPU");
}

}  // namespace

constinit const Format kInt8Format = {.name = "int8",
                                      .dtype = std::nullopt,
                                      .limit = INFINITY,
                                      .check = check,
                                      .bytes = bytes,
                                      .encode_bytes = encode_bytes,
                                      .encode = encode,
                                      .decode = decode,
                                      .encode_on_gpu = encode_on_gpu,
                                      .decode_on_gpu = decode_on_gpu};

}  // namespace tessera::quant
