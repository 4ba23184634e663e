#include "quant/format_4bit.h"

#include <cmath>
#include <vector>

#include "quant/blockwise4.h"
#include "quant/double_quant.h"
#include "runtime/core/buffer.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera::quant {
namespace {

/// The parts of a blob.
struct Parts4 {
  std::span<uint8_t> codes;
  std::span<float> plain;  // empty with double quantization, as are the others without
  std::span<uint8_t> scale_codes;
  std::span<float> nested;
  float* offset = nullptr;
};

Parts4 parts_of(const FrozenSpec& spec, std::byte* blob) {
  const Layout4 layout(spec);
  const size_t blocks = size_t(layout.blocks);
  Parts4 parts{{reinterpret_cast<uint8_t*>(blob), size_t(spec.numel() + 1) / 2}, {}, {}, {}};
  std::byte* const scales = blob + layout.scales_offset;
  if (!spec.double_quant) {
    parts.plain = {reinterpret_cast<float*>(scales), blocks};
    return parts;
  }
  parts.scale_codes = {reinterpret_cast<uint8_t*>(scales), blocks};
  parts.nested = {reinterpret_cast<float*>(blob + layout.nested_offset), size_t(layout.nested)};
  parts.offset = parts.nested.data() + parts.nested.size();
  return parts;
}

Encoded4 encoded(const FrozenSpec& spec, const std::byte* blob) {
  const Parts4 parts = parts_of(spec, const_cast<std::byte*>(blob));
  return {&codebook_of(spec.format),
          parts.codes.data(),
          spec.block,
          {parts.plain.data(), parts.scale_codes.data(), parts.nested.data(), parts.offset}};
}

void check(const Storage& storage) { check_block(storage.block); }

size_t bytes(const FrozenSpec& spec) { return Layout4(spec).bytes; }

size_t encode_bytes(const FrozenSpec& spec) {
  return spec.double_quant ? size_t(Layout4(spec).blocks) * sizeof(float) : 0;
}

void encode(Context& ctx, const FrozenSpec& spec, std::span<const float> w, std::byte* blob,
            std::string_view name) {
  const Codebook4& book = codebook_of(spec.format);
  const Parts4 parts = parts_of(spec, blob);
  if (!spec.double_quant) {
    return quantize4(ctx, book, spec.block, w, {parts.codes, parts.plain}, name);
  }
  std::vector<float> plain(parts.scale_codes.size());
  quantize4(ctx, book, spec.block, w, {parts.codes, plain}, name);
  *parts.offset = quantize_scales(plain, parts.scale_codes, parts.nested, name);
}

void decode(const FrozenSpec& spec, const std::byte* blob, const Runs& runs, float* out,
            int64_t ldo) {
  dequantize4(encoded(spec, blob), runs, out, ldo);
}

void encode_on_gpu(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                   std::string_view name) {
  if constexpr (kHasCuda) {
    const Codebook4& book = codebook_of(spec.format);
    const Parts4 parts = parts_of(spec, blob);
    if (!spec.double_quant) {
      return cuda::quantize4(ctx, book, spec.block, w, {parts.codes, parts.plain});
    }
    const size_t blocks = parts.scale_codes.size();
    const Buffer memory = Buffer::on(ctx.device(), blocks * sizeof(float));
    const std::span<float> plain(memory.as<float>(), blocks);
    cuda::quantize4(ctx, book, spec.block, w, {parts.codes, plain});
    const float offset = cuda::quantize_scales(ctx, plain, parts.scale_codes, parts.nested, name);
    ctx.compute_stream().copy(parts.offset, &offset, sizeof(offset));
    ctx.compute_stream().synchronize();
  }
}

void decode_on_gpu(Context& ctx, const FrozenSpec& spec, const std::byte* blob, int64_t first,
                   Tensor out) {
  if constexpr (kHasCuda) cuda::dequantize4(ctx, encoded(spec, blob), first, out);
}

constexpr Format four_bit(std::string_view name) {
  return {.name = name,
          .dtype = std::nullopt,
          .limit = INFINITY,
          .check = check,
          .bytes = bytes,
          .encode_bytes = encode_bytes,
          .encode = encode,
          .decode = decode,
          .encode_on_gpu = encode_on_gpu,
          .decode_on_gpu = decode_on_gpu};
}

}  // namespace

Layout4::Layout4(const FrozenSpec& spec)
    : blocks((spec.numel() + spec.block - 1) / spec.block),
      nested(spec.double_quant ? (blocks + kNestedBlock - 1) / kNestedBlock : 0),
      scales_offset(aligned(size_t(spec.numel() + 1) / 2)),
      nested_offset(scales_offset +
                    aligned(size_t(blocks) * (spec.double_quant ? 1 : sizeof(float)))),
      bytes(nested_offset + (spec.double_quant ? aligned(size_t(nested + 1) * sizeof(float)) : 0)) {
}

const Codebook4& codebook_of(const Format* format) {
  TESSERA_CHECK(format == &kNf4Format || format == &kFp4Format);
  return format == &kNf4Format ? kNf4 : kFp4;
}

constinit const Format kNf4Format = four_bit("nf4"), kFp4Format = four_bit("fp4");

}  // namespace tessera::quant
