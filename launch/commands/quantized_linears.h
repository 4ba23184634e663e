// Linears in 4 bits on their way into a model folder, as bitsandbytes stores them. They are
// quantized when a file is begun, because the sizes of all tensors come first in it, and kept on
// the disk until it is their turn.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lora/model/checkpoint.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"
#include "runtime/io/safetensors.h"

namespace tessera::launch {

/// A file without a name for bytes that are read back later.
class Spool {
 public:
  /// On the disk of `folder`.
  explicit Spool(const std::string& folder);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  void clear();
  /// Returns where they are.
  uint64_t append(std::span<const std::byte> bytes);
  void read(uint64_t at, std::span<std::byte> out) const;

 private:
  [[noreturn]] void refuse() const;

  std::string folder_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

class QuantizedLinears {
 public:
  QuantizedLinears(Context& ctx, const quant::Storage& storage) : ctx_(ctx), storage_(storage) {}

  /// Where they wait. Before the first file.
  void keep_in(const std::string& folder) { spool_.emplace(folder); }
  /// Forgets those of the file before.
  void begin_file();

  quant::FrozenSpec spec_of(const lora::TensorInfo& info) const {
    return {storage_, info.shape[0], info.shape[1]};
  }
  /// Bytes of a linear in the folder at most, with the tables of its codes and its settings.
  uint64_t bytes_of(const lora::TensorInfo& info) const;

  /// Quantizes the values of the linear `info`, which the folder calls `stored` and which had
  /// `dtype`; appends the tensors that hold it. What it has become, until the next call. Error
  /// naming the tensor for a value that is not finite.
  quant::FrozenMatrix add(const lora::TensorInfo& info, const std::string& stored, DType dtype,
                          std::span<const float> values,
                          std::vector<io::SafetensorsEntry>& entries);
  /// Whether a tensor in the folder is a part of one of them.
  bool has(const std::string& entry) const { return places_.contains(entry); }
  /// Its bytes, until the next call.
  std::span<const std::byte> bytes(const std::string& entry);

 private:
  struct Place {
    uint64_t at;
    size_t size;
  };
  Context& ctx_;
  const quant::Storage storage_;
  std::optional<Spool> spool_;
  std::map<std::string, Place> places_;
  Buffer blob_, read_;
};

/// The quantization_config of such a folder, as transformers writes it. The other tensors have
/// `dtype`.
nlohmann::json quantization_config(const lora::Checkpoint& checkpoint,
                                   const quant::Storage& storage, DType dtype);

}  // namespace tessera::launch
