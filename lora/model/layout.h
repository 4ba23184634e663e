// Where the tensors of the base lie in memory: each layer's in one blob, those outside the layers
// in another. It follows from the spec and the format alone, so plans know it without a checkpoint.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "lora/model/tensors.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/tensor.h"

namespace tessera::lora {

/// How the weights are stored: the layers' linears in a quantized format or as the checkpoint has
/// them, all others as the checkpoint has them.
struct BaseFormat {
  quant::Storage linear;
  std::map<LinearId, quant::Storage> exceptions = {};  // linears that are stored otherwise
  DType norm = DType::kF32;                            // of biases, too
  DType embedding = DType::kF32;
  DType head = DType::kF32;
};

struct PlacedTensor {
  TensorRow row = {};
  size_t offset = 0;  // in its blob, a multiple of Arena::kAlignment
  size_t bytes = 0;
  quant::FrozenSpec matrix = {};  // of a linear of the layers
  DType dtype = DType::kF32;      // of any other

  bool is_matrix() const { return row.role == Role::kLinear; }
  /// The linear in a blob, or null while memory is measured.
  quant::FrozenMatrix matrix_in(const std::byte* blob) const;
  /// Any other tensor, likewise. Not to be written to, though a Tensor has no const variant.
  Tensor tensor_in(const std::byte* blob, Device device) const;
};

struct BlobLayout {
  std::vector<PlacedTensor> tensors;  // a layer's linears first, in the order of the table
  size_t bytes = 0;
};

struct BaseLayout {
  BaseLayout(const ModelSpec& spec, const BaseFormat& format);

  std::vector<BlobLayout> layers;
  BlobLayout outer;  // embedding, last norm, head

  std::vector<size_t> layer_bytes() const;
  /// Of all layers and the outer blob.
  size_t bytes() const;
};

}  // namespace tessera::lora
