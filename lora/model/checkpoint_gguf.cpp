// GGUF files: tensors under the names of Hugging Face.
#include <optional>
#include <unordered_set>
#include <utility>

#include "lora/model/checkpoint_source.h"
#include "runtime/core/error.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using io::GgufFile;
using io::GgufTensor;
using io::GgufType;

DType dtype_of(const GgufTensor& tensor, std::string_view file) {
  if (!io::is_decodable(tensor.type)) {
    fail("{}: tensor '{}' is {}; supported: {}", file, tensor.name, io::name_of(tensor.type),
         io::decodable_names());
  }
  if (tensor.type == GgufType::kF16) return DType::kF16;
  return tensor.type == GgufType::kBF16 ? DType::kBF16 : DType::kF32;
}

/// A row's values in a file: some of the rows of a tensor, as a rule all.
struct Place {
  const GgufTensor* tensor;
  uint64_t offset;  // of the first of the rows
  std::vector<int64_t> shape;
};

/// Where a row of q, k or v is in a tensor that has all three, one below the other. As in
/// llama.cpp, a family's files may have either. None if there is no such tensor.
std::optional<Place> place_in_fused(const ModelSpec& spec, const TensorRow& row,
                                    const GgufFile& file) {
  const bool is_part = row.site == Site::kQ || row.site == Site::kK || row.site == Site::kV;
  if (!is_part || row.role == Role::kNorm) return std::nullopt;  // a norm's site says nothing
  const std::string name = fmt::format("blk.{}.attn_qkv.{}", row.layer, row.parameter);
  const GgufTensor* tensor = file.find(name);
  if (!tensor) return std::nullopt;
  const AttentionSpec& a = spec.layers[size_t(row.layer)].attention;
  const int64_t rows = a.q_size() + 2 * a.kv_size();
  std::vector<int64_t> shape = row.shape;
  shape.front() = rows;
  check_shape({name, DType::kF32, shape}, tensor->shape, file.path_of(*tensor));
  const int64_t first = row.site == Site::kQ   ? 0
                        : row.site == Site::kK ? a.q_size()
                                               : a.q_size() + a.kv_size();
  return Place{tensor, tensor->offset + tensor->bytes / uint64_t(rows) * uint64_t(first),
               row.shape};
}

Place place_of(const ModelSpec& spec, const TensorRow& row, const GgufFile& file) {
  if (const GgufTensor* tensor = file.find(row.gguf)) {
    return {tensor, tensor->offset, tensor->shape};
  }
  if (const std::optional<Place> part = place_in_fused(spec, row, file)) return *part;
  fail("{}: tensor '{}' is missing", file.path(), row.gguf);
}

}  // namespace

FoundTensors find_tensors(const ModelSpec& spec, GgufFile file) {
  FoundTensors found;
  std::unordered_set<std::string> known{std::string(kRopeFactors), std::string(kRopeLongFactors),
                                        std::string(kRopeShortFactors)};
  for (const TensorRow& row : tensors_of(spec)) {
    const auto [tensor, offset, shape] = place_of(spec, row, file);
    known.insert(tensor->name);
    TensorInfo info = info_of(row);
    check_shape(info, shape, file.path_of(*tensor));
    info.dtype = dtype_of(*tensor, file.path_of(*tensor));
    if (row.gguf_plus != 0) info.dtype = DType::kF32;  // of the difference
    if (row.role == Role::kBias && io::block_of(tensor->type).elements > 1) {
      fail("{}: tensor '{}' is {}; a bias has to be F32, F16 or BF16", file.path_of(*tensor),
           tensor->name, io::name_of(tensor->type));
    }
    found.source.add(info.name, {.file = tensor->part,
                                 .offset = offset,
                                 .encoding = tensor->type,
                                 .interleaved_heads = row.interleaved_heads,
                                 .plus = row.gguf_plus});
    found.tensors.push_back(std::move(info));
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (!known.contains(tensor.name)) {
      fail("{}: tensor '{}' does not belong to a {}", file.path_of(tensor),
           io::printable(tensor.name), spec.architecture);
    }
  }
  found.source.files = std::move(file).take_files();
  return found;
}

}  // namespace tessera::lora
