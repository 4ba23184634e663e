// A linear in 4 bits as bitsandbytes and transformers save it: a blob of quant/format_4bit.h in
// several tensors, whose names begin with that of the weight.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lora/model/checkpoint_shards.h"
#include "quant/frozen_matrix.h"

namespace tessera::lora {

/// A linear in files, to be read as a blob.
class BnbLinear {
 public:
  /// Whether the weight `found` is stored so: the tensor with its settings is there.
  static bool is_bnb(const Shards& shards, const Shards::Found& found);
  /// That of the weight `found`, which is_bnb() and has the shape [rows, cols]. Error naming the
  /// tensor for parts that are missing or do not fit together, and for tables and blocks that a
  /// FrozenMatrix does not have.
  BnbLinear(const Shards& shards, const Shards::Found& found, int64_t rows, int64_t cols);

  /// How a FrozenMatrix holds the same bits. Scales whose map or blocks are not those of
  /// quant/double_quant.h are held as the floats that they decode to.
  const quant::FrozenSpec& spec() const { return spec_; }
  /// Names of the tensors that belong to the weight, besides its own.
  const std::vector<std::string>& parts() const { return parts_; }
  /// spec().bytes() bytes from the files, in the order of the shards. Error naming the tensor for a
  /// scale that is not finite.
  void read_blob(std::span<const io::ReadFile> files, std::span<std::byte> blob) const;
  /// The weights in float32, rows * cols of them, as bitsandbytes decodes them.
  void read_f32(std::span<const io::ReadFile> files, std::span<float> out) const;

 private:
  class PartsReader;
  struct Place {
    size_t file = 0;
    uint64_t offset = 0;
  };
  /// Scales that are codes themselves.
  struct Nested {
    Place scales;            // f32, one for each `block` codes
    std::vector<float> map;  // 256 values by code
    int64_t block = 0;
    float offset = 0;
  };

  void read_nested(PartsReader& reader, const nlohmann::json& state);
  std::vector<float> decoded_scales(std::span<const io::ReadFile> files) const;
  void check_finite(std::span<const float> scales) const;

  std::string name_;
  std::vector<std::string> parts_;
  quant::FrozenSpec spec_;
  Place codes_, scales_;
  std::optional<Nested> nested_;
};

/// The tensors that hold the blob of `spec` for a weight of that name, with their bytes: codes and
/// scales are views of the blob. `dtype` is the weight's before it was quantized.
struct BnbPart {
  io::SafetensorsEntry entry;
  std::span<const std::byte> bytes;
};
class BnbParts {
 public:
  BnbParts(const std::string& weight, const quant::FrozenSpec& spec, DType dtype,
           std::span<const std::byte> blob);
  BnbParts(const BnbParts&) = delete;  // parts are views of its own members
  BnbParts& operator=(const BnbParts&) = delete;

  std::span<const BnbPart> parts() const { return parts_; }

 private:
  std::string state_;
  std::vector<BnbPart> parts_;
};

}  // namespace tessera::lora
