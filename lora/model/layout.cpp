#include "lora/model/layout.h"

#include <algorithm>
#include <numeric>

#include "runtime/core/arena.h"
#include "runtime/core/error.h"

namespace tessera::lora {
namespace {

size_t aligned(size_t bytes) {
  return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

DType dtype_of(Role role, const BaseFormat& format) {
  switch (role) {
    case Role::kEmbedding:
      return format.embedding;
    case Role::kHead:
      return format.head;
    case Role::kNorm:
    case Role::kBias:
    case Role::kLinear:
      break;
  }
  return format.norm;
}

quant::Storage storage_of(const TensorRow& row, const BaseFormat& format) {
  const auto exception = format.exceptions.find(row.id());
  return exception == format.exceptions.end() ? format.linear : exception->second;
}

/// Behind what the blob holds already.
void place(BlobLayout& blob, TensorRow row, const BaseFormat& format) {
  PlacedTensor tensor{.row = std::move(row), .offset = blob.bytes};
  if (tensor.is_matrix()) {
    tensor.matrix = {storage_of(tensor.row, format), tensor.row.out(), tensor.row.in()};
    tensor.bytes = tensor.matrix.bytes();
  } else {
    tensor.dtype = dtype_of(tensor.row.role, format);
    tensor.bytes = size_of(tensor.dtype);
    for (int64_t extent : tensor.row.shape) tensor.bytes *= size_t(extent);
  }
  blob.bytes = aligned(tensor.offset + tensor.bytes);
  blob.tensors.push_back(std::move(tensor));
}

}  // namespace

quant::FrozenMatrix PlacedTensor::matrix_in(const std::byte* blob) const {
  return {matrix, blob ? blob + offset : nullptr};
}

Tensor PlacedTensor::tensor_in(const std::byte* blob, Device device) const {
  std::byte* data = blob ? const_cast<std::byte*>(blob) + offset : nullptr;
  const std::vector<int64_t>& shape = row.shape;
  if (shape.size() == 1) return Tensor(data, dtype, {shape[0]}, device);
  return Tensor(data, dtype, {shape[0], shape[1]}, device);
}

BaseLayout::BaseLayout(const ModelSpec& spec, const BaseFormat& format)
    : layers(spec.layers.size()) {
  std::vector<TensorRow> rows = tensors_of(spec);
  std::ranges::stable_partition(rows, &TensorRow::is_adaptable);
  for (TensorRow& row : rows) {
    BlobLayout& blob = row.layer == TensorRow::kNoLayer ? outer : layers[size_t(row.layer)];
    place(blob, std::move(row), format);
  }
}

std::vector<size_t> BaseLayout::layer_bytes() const {
  std::vector<size_t> sizes;
  for (const BlobLayout& layer : layers) sizes.push_back(layer.bytes);
  return sizes;
}

size_t BaseLayout::bytes() const {
  const std::vector<size_t> sizes = layer_bytes();
  return std::accumulate(sizes.begin(), sizes.end(), outer.bytes);
}

}  // namespace tessera::lora
