// The cosines and sines of a model's rotary positions, and where a batch's tokens find theirs.
// Most rules have a row for each position. Two depend on a sample's length: longrope has a second
// table for long samples; dynamic writes the rows of long samples anew for each batch.
#pragma once

#include <cstdint>
#include <vector>

#include "lora/decoder/batch.h"
#include "lora/model/spec.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::lora {

/// One rule's tables, and a batch's rows in them.
struct RopeRows {
  Tensor rows;                  // [N] i32
  Tensor cos, sin;              // [rows, half]
  Tensor query_cos, query_sin;  // the same memory for models whose queries do not grow
  bool interleaved = false;

  RopeTurn of_keys(int64_t head_dim) const { return {rows, cos, sin, head_dim, interleaved}; }
  RopeTurn of_queries(int64_t head_dim) const {
    return {rows, query_cos, query_sin, head_dim, interleaved};
  }
};

/// A batch's rows under every rule of the model. Keeps what the rows' tensors view.
struct PlacedRopes {
  std::vector<RopeRows> rules;                // as ModelSpec::ropes
  std::vector<std::vector<int32_t>> lists{};  // of the rules that depend on lengths
};

class RopeTables {
 public:
  explicit RopeTables(const ModelSpec& model);

  /// Shapes for samples of up to `positions` tokens. While memory is measured place() adds what the
  /// largest batch needs.
  void measure(Device device, int64_t positions);
  /// Makes and fills the tables as measured.
  void allocate(Context& ctx);
  size_t bytes() const;

  /// `positions` is the batch's, where the context computes.
  PlacedRopes place(Context& ctx, Arena& arena, const BatchView& batch, Tensor positions);

 private:
  struct Table {
    Rope rope;
    int64_t positions = 0;   // P
    int64_t short_rows = 0;  // of samples that are not long
    int64_t long_rows = 0;
    Buffer memory{};
    RopeRows view{};

    int64_t rows() const { return short_rows + long_rows; }
    bool has_long_samples() const;
    bool queries_grow() const { return rope.query_growth != 0; }
    size_t bytes() const;
    void bind(std::byte* memory, Device device);
    void fill(Context& ctx, int64_t first_row, int64_t rows, const RopePositions& of);
  };
  std::vector<int32_t> rows_of(Context& ctx, Table& table, const BatchView& batch);

  std::vector<Table> tables_;
};

}  // namespace tessera::lora
