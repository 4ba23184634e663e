// Rotary position embedding: pairs of a head's elements turn by an angle of position * frequency.
// In place; the backward is the inverse turn. Heads are of the context's activation dtype, tables
// and arithmetic float32. Frequencies are those of transformers' modeling_rope_utils, float32 in
// every step as there.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

struct RopeScaling {
  enum class Kind { kNone, kLinear, kDynamic, kLlama3, kYarn, kLongrope };
  Kind kind = Kind::kNone;
  double factor = 1.0;           // linear, dynamic, llama3, yarn
  double low_freq_factor = 1.0;  // llama3, as the one below
  double high_freq_factor = 4.0;
  /// llama3, yarn; dynamic and longrope change the frequencies of samples that are longer.
  int64_t original_max_position = 8192;
  double beta_fast = 32.0;  // yarn, as the two below
  double beta_slow = 1.0;
  bool truncate = true;
  std::vector<double> short_factors{}, long_factors{};  // longrope: of each frequency

  bool operator==(const RopeScaling&) const = default;
  /// Whether the frequencies differ from sample to sample, by the samples' lengths.
  bool depends_on_length() const { return kind == Kind::kDynamic || kind == Kind::kLongrope; }
};

/// One rule of rotary positions, of some or all layers of a model.
struct Rope {
  int64_t dims = 0;  // of a head, from its first, that turn; an odd number counts as the next even
  double theta = 10000.0;
  RopeScaling scaling{};
  double attention_factor = 1.0;  // of every cosine and sine
  bool interleaved = false;       // pairs (2i, 2i + 1), else (i, i + half)
  /// Queries at `position` are longer by 1 + query_growth * ln(1 + floor(position / query_period)).
  double query_growth = 0.0;
  int64_t query_period = 1;

  bool operator==(const Rope&) const = default;
  int64_t half() const { return (dims + 1) / 2; }
};

/// The half() angles in radians by which a sample of `length` tokens turns per position.
std::vector<float> rope_frequencies(const Rope& rope, int64_t length);

/// Which angles a table holds: those of positions first, first + 1, ... of a sample of `length`
/// tokens; `of_queries` makes them grow as queries do.
struct RopePositions {
  int64_t length;
  int64_t first = 0;
  bool of_queries = false;
};

/// Fills cos[P,half] and sin[P,half], f32 in host memory, for P positions: those of the float32
/// product position * frequency, rounded once, times the attention factor. The same bits on every
/// machine.
void rope_table(Tensor cos, Tensor sin, const Rope& rope, const RopePositions& positions);

/// How a matrix of heads is turned.
struct RopeTurn {
  Tensor rows;       // [N] i32: of each token its row of the tables (a GPU does not check them)
  Tensor cos, sin;   // [P,half]
  int64_t head_dim;  // D, at least 2 half
  bool interleaved;  // as in Rope
};

/// Turns the first 2 half elements of each head of x[N,H*D], in place:
/// x1' = x1 cos - x2 sin, x2' = x2 cos + x1 sin for the two of each pair.
void rope(Context& ctx, Tensor x, const RopeTurn& turn);

/// Turns a gradient dx[N,H*D] back, in place: the gradient by rope's output becomes the one by its
/// input.
void rope_backward(Context& ctx, Tensor dx, const RopeTurn& turn);

namespace cpu {
void rope(Context& ctx, Tensor x, const RopeTurn& turn);
void rope_backward(Context& ctx, Tensor dx, const RopeTurn& turn);
}  // namespace cpu
namespace cuda {
void rope(Context& ctx, Tensor x, const RopeTurn& turn);
void rope_backward(Context& ctx, Tensor dx, const RopeTurn& turn);
}  // namespace cuda

}  // namespace tessera
