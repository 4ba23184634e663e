#include "quant/format.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "quant/format_4bit.h"
#include "quant/format_dense.h"
#include "runtime/core/error.h"

namespace tessera::quant {

namespace {

constexpr const Format* kFormats[] = {
    &kNf4Format, &kFp4Format, &kF32Format, &kBF16Format, &kF16Format,
};

}  // namespace

std::span<const Format* const> formats() { return kFormats; }

const Format* format_of(DType dtype) {
  for (const Format* format : kFormats) {
    if (format->dtype == dtype) return format;
  }
  fail("a weight of type {} cannot be used", name_of(dtype));
}

std::string describe(const Storage& storage) {
  std::string name(storage.format->name);
  if (storage.format->dtype) return name;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return toupper(c); });
  return fmt::format("{}{}, blocks of {}", name, storage.double_quant ? ", double-quantized" : "",
                     storage.block);
}

size_t aligned(size_t bytes) {
  return (bytes + FrozenSpec::kAlignment - 1) / FrozenSpec::kAlignment * FrozenSpec::kAlignment;
}

size_t FrozenSpec::bytes() const { return format->bytes(*this); }

bool FrozenSpec::is_dense(DType dtype) const { return format->dtype == dtype; }

void FrozenSpec::validate() const {
  TESSERA_CHECK(rows >= 1 && cols >= 1);
  format->check(*this);
}

void refuse_element(std::string_view name, int64_t index, float value) {
  if (std::isfinite(value)) {
    fail("tensor {}: element {} is {}, beyond float16's 65504; keep the base in bfloat16", name,
         index, value);
  }
  fail("tensor {}: element {} is {}; a frozen weight must be finite: repair the checkpoint", name,
       index, value);
}

}  // namespace tessera::quant
