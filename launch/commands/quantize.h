// `tessera quantize`: a model with its linears in 4 bits, a folder that transformers with
// bitsandbytes and Tessera load. It appears by one rename, whole, or not at all.
#pragma once

#include <optional>
#include <string>

#include "launch/console/progress.h"
#include "quant/format.h"

namespace tessera::launch {

struct QuantizeOptions {
  std::string model;
  std::string output;
  quant::Storage storage;
  std::optional<int64_t> threads;
  int64_t shard_bytes = 5'000'000'000;  // of tensors in a file
};

struct QuantizeReport {
  int64_t linears = 0;
  uint64_t bytes = 0;  // written
};

/// The linears of the layers in options.storage; all other tensors are copied. One tensor is in
/// memory at a time. Error, before anything is written, when the output exists or the model is
/// quantized already, whole or beside its text, and naming the tensor for a value that is not
/// finite.
QuantizeReport quantize(const QuantizeOptions& options, Console& console);

}  // namespace tessera::launch
