// GGUF files: tensors under the names of Hugging Face.
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

}  // namespace

FoundTensors find_tensors(const ModelSpec& spec, GgufFile file) {
  FoundTensors found;
  std::unordered_set<std::string> known{std::string(kRopeFactors), std::string(kRopeLongFactors),
                                        std::string(kRopeShortFactors)};
  for (const TensorRow& row : tensors_of(spec)) {
    const GgufTensor* tensor = file.find(row.gguf);
    if (!tensor) fail("{}: tensor '{}' is missing", file.path(), row.gguf);
    known.insert(row.gguf);
    TensorInfo info = info_of(row);
    check_shape(info, tensor->shape, file.path_of(*tensor));
    info.dtype = dtype_of(*tensor, file.path_of(*tensor));
    if (row.gguf_plus != 0) info.dtype = DType::kF32;  // of the difference
    if (row.role == Role::kBias && io::block_of(tensor->type).elements > 1) {
      fail("{}: tensor '{}' is {}; a bias has to be F32, F16 or BF16", file.path_of(*tensor),
           row.gguf, io::name_of(tensor->type));
    }
    found.source.add(info.name, {.file = tensor->part,
                                 .offset = tensor->offset,
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
