// Float32 values on their way into a tensor of a GGUF file: encoded in pieces, by several threads,
// with the rows of queries and keys in llama.cpp's order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/io/gguf_writer.h"

namespace tessera::launch {

/// The row of Hugging Face's order that is row `row` of llama.cpp's, which has the rows i and
/// i + size / 2 of each head side by side. `heads` is TensorRow::interleaved_heads; 0: the same.
int64_t interleaved_row(int64_t row, int64_t rows, int64_t heads);

class GgufRowWriter {
 public:
  GgufRowWriter(io::GgufWriter& file, int threads) : file_(file), threads_(threads) {}

  /// All of a tensor; `values` in Hugging Face's order. Error naming the tensor for a value that
  /// does not fit.
  void write(const io::GgufEntry& entry, std::span<const float> values, int64_t interleaved_heads);

 private:
  io::GgufWriter& file_;
  int threads_;
  std::vector<std::byte> encoded_;
};

}  // namespace tessera::launch
