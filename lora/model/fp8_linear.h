// A linear whose weight is in files as 8-bit floats (E4M3), with scales: one for all of it, one for
// each row, or one for each block, in a tensor beside it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lora/model/checkpoint_shards.h"
#include "runtime/core/dtype.h"

namespace tessera::lora {

/// The name of the type in safetensors.
inline constexpr std::string_view kFp8 = "F8_E4M3";
/// What the names of scales end with: fine-grained FP8, and compressed-tensors.
inline constexpr std::string_view kFp8Scales[] = {"_scale_inv", "_scale"};

/// The value of a code; NaN for 0x7f and 0xff.
float float_of_fp8(uint8_t code);

class Fp8Linear {
 public:
  /// That of the weight `found`, which is F8_E4M3 and has the shape [rows, cols]. Error naming the
  /// tensor for scales that are missing, there twice, or do not fit.
  Fp8Linear(const Shards& shards, const Shards::Found& found, int64_t rows, int64_t cols);

  const std::string& scales_name() const { return scales_name_; }
  /// The weight in `dtype`, as transformers decodes it: code times scale in float32, rounded once.
  /// Or those values as float32. `files` are in the order of the shards. Error naming the tensor
  /// for a code that is not a number.
  void read(std::span<const io::ReadFile> files, DType dtype, bool as_float,
            std::span<std::byte> out) const;

 private:
  std::string name_, scales_name_;
  size_t file_ = 0;
  uint64_t offset_ = 0;
  int64_t rows_, cols_;
  int64_t block_rows_ = 1, block_cols_ = 1;  // that share a scale
  std::vector<float> scales_;                // [rows / block_rows, cols / block_cols]
};

}  // namespace tessera::lora
