#include "lora/model/fp8_linear.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

constexpr int64_t kChunkCodes = 1 << 20;

/// The scales' tensor as rows and columns; a vector has a scale for each row.
std::array<int64_t, 2> grid_of(const std::vector<int64_t>& shape) {
  if (shape.empty()) return {1, 1};
  if (shape.size() == 1) return {shape[0], 1};
  return shape.size() == 2 ? std::array<int64_t, 2>{shape[0], shape[1]}
                           : std::array<int64_t, 2>{0, 0};
}

Shards::Found find_scales(const Shards& shards, const std::string& weight) {
  std::optional<Shards::Found> scales;
  for (std::string_view suffix : kFp8Scales) {
    const auto found = shards.find(weight + std::string(suffix));
    if (found && scales) {
      fail("tensor {} has scales twice: {} and {}", io::printable(weight),
           io::printable(scales->entry->name), io::printable(found->entry->name));
    }
    if (found) scales = found;
  }
  if (scales) return *scales;
  fail("tensor {} is {}, but its scales are missing: {}{} or {}{}", io::printable(weight), kFp8,
       io::printable(weight), kFp8Scales[0], io::printable(weight), kFp8Scales[1]);
}

template <class T>
void store(float value, std::byte* out) {
  T rounded;
  if constexpr (std::is_same_v<T, bf16>) rounded = to_bf16(value);
  if constexpr (std::is_same_v<T, f16>) rounded = to_f16(value);
  std::memcpy(out, &rounded, sizeof rounded);
}

void round_to(DType dtype, std::span<const float> values, std::byte* out) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kBF16) store<bf16>(values[i], out + 2 * i);
    if (dtype == DType::kF16) store<f16>(values[i], out + 2 * i);
  }
}

}  // namespace

float float_of_fp8(uint8_t code) {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table{};
    for (int c = 0; c < 256; ++c) {
      const int exponent = c >> 3 & 15, mantissa = c & 7;
      float value = exponent == 0 ? std::ldexp(float(mantissa), -9)
                                  : std::ldexp(float(8 + mantissa), exponent - 10);
      if ((c & 0x7f) == 0x7f) value = std::numeric_limits<float>::quiet_NaN();
      table[size_t(c)] = c & 0x80 ? -value : value;
    }
    return table;
  }();
  return values[code];
}

Fp8Linear::Fp8Linear(const Shards& shards, const Shards::Found& found, int64_t rows, int64_t cols)
    : name_(found.entry->name),
      file_(found.file),
      offset_(found.entry->offset),
      rows_(rows),
      cols_(cols) {
  const Shards::Found at = find_scales(shards, name_);
  const io::SafetensorsEntry& entry = *at.entry;
  scales_name_ = entry.name;
  const auto [grid_rows, grid_cols] = grid_of(entry.shape);
  const bool divides =
      grid_rows >= 1 && grid_cols >= 1 && rows % grid_rows == 0 && cols % grid_cols == 0;
  block_rows_ = divides ? rows / grid_rows : 0;
  block_cols_ = divides ? cols / grid_cols : 0;
  // Blocks of 128 that end in a part of one look as if they were smaller.
  const auto plausible = [](int64_t block, int64_t grid) {
    return grid == 1 || std::has_single_bit(uint64_t(block));
  };
  const std::optional<DType> dtype = io::safetensors_dtype(entry.dtype);
  if (!divides || !plausible(block_rows_, grid_rows) || !plausible(block_cols_, grid_cols) ||
      !dtype || !is_float(*dtype)) {
    fail("tensor {}: its scales {} are {} [{}], which do not fit a weight of [{}, {}]",
         io::printable(name_), io::printable(entry.name), entry.dtype, fmt::join(entry.shape, ", "),
         rows, cols);
  }
  std::vector<std::byte> bytes(entry.bytes);
  shards.read(at, bytes);
  scales_.resize(size_t(grid_rows * grid_cols));
  to_floats(*dtype, bytes, scales_);
  const auto bad = std::ranges::find_if(scales_, [](float x) { return !std::isfinite(x); });
  if (bad != scales_.end()) {
    fail("tensor {}: element {} is {}; the checkpoint is damaged", io::printable(entry.name),
         bad - scales_.begin(), *bad);
  }
}

void Fp8Linear::read(std::span<const io::ReadFile> files, DType dtype, bool as_float,
                     std::span<std::byte> out) const {
  const int64_t step = std::clamp<int64_t>(kChunkCodes / cols_, 1, rows_);
  const int64_t grid_cols = cols_ / block_cols_;
  const size_t out_row = size_t(cols_) * (as_float ? sizeof(float) : size_of(dtype));
  std::vector<std::byte> codes(size_t(step * cols_));
  std::vector<float> values(size_t(cols_), 0.0f);
  std::vector<std::byte> rounded(size_t(cols_) * size_of(dtype));
  for (int64_t begin = 0; begin < rows_; begin += step) {
    const int64_t end = std::min(rows_, begin + step);
    const auto chunk = std::span(codes).first(size_t((end - begin) * cols_));
    files[file_].read(offset_ + uint64_t(begin * cols_), chunk);
    for (int64_t row = begin; row < end; ++row) {
      const float* scales = scales_.data() + row / block_rows_ * grid_cols;
      for (int64_t col = 0; col < cols_; ++col) {
        const float value = float_of_fp8(uint8_t(chunk[size_t((row - begin) * cols_ + col)]));
        if (std::isnan(value)) {
          fail("tensor {}: element {} is not a number; the checkpoint is damaged",
               io::printable(name_), row * cols_ + col);
        }
        values[size_t(col)] = value * scales[col / block_cols_];
      }
      std::byte* const to = out.data() + size_t(row) * out_row;
      if (dtype == DType::kF32) {
        std::memcpy(to, values.data(), out_row);
        continue;
      }
      round_to(dtype, values, rounded.data());
      if (as_float) {
        to_floats(dtype, rounded, values);
        std::memcpy(to, values.data(), out_row);
      } else {
        std::memcpy(to, rounded.data(), out_row);
      }
    }
  }
}

}  // namespace tessera::lora
