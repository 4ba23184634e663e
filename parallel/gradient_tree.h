// The sum of a step's micro-batch gradients in one canonical binary tree over the global
// micro-batch index, so that its bits do not depend on how the micro-batches are dealt to ranks.
// Node [a, a+2s), a a multiple of 2s, is [a, a+s) + [a+s, a+2s), element by element in float32; a
// node whose right half begins at or after the number of micro-batches is its left half.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/communicator.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::parallel {

/// Micro-batches [first, first + count).
struct MicroBatchRange {
  int64_t first;
  int64_t count;
};
/// The contiguous range of rank `rank` of `ranks`, of `total` in all: sizes differ by at most one,
/// larger ones first.
MicroBatchRange micro_batches_of(int rank, int ranks, int64_t total);

/// A finished subtree: the sum over micro-batches [start, start + size), size a power of two and
/// start a multiple of it.
struct GradientPiece {
  int64_t start;
  int64_t size;
  std::span<float> values;
};

/// The maximal aligned subtrees of a range, in order, without values: what a rank has left to
/// exchange once its micro-batches are done.
std::vector<GradientPiece> pieces_of(MicroBatchRange range);

/// The most buffers that a rank's GradientTree ever holds over a range, the leaf included.
int64_t peak_buffers(MicroBatchRange range);

/// The tree's root over micro-batches [0, total), from pieces in order of start that cover them,
/// whichever ranks they came from. All values have one size. Values are overwritten; the sum is in
/// the returned span, the first piece's. Elements are independent, so slices of the buffers may be
/// combined apart.
std::span<float> combine_pieces(Context& ctx, std::span<const GradientPiece> pieces, int64_t total);

/// One rank's part of the tree. It allocates peak_buffers() buffers and keeps them from step to
/// step.
class GradientTree {
 public:
  /// Ready for a first step over micro-batches [first, first + count) of `elements` gradients each.
  GradientTree(size_t elements, int64_t first, int64_t count);

  /// Forgets the current step; the range may change, as in a short last batch.
  void begin_step(int64_t first, int64_t count);

  /// The buffer of the next micro-batch's gradients, zero when it is first asked for. Valid until
  /// push(); asked for again before that, it is the same buffer with what was added to it.
  std::span<float> leaf();
  /// The leaf is finished. Joins subtrees as soon as they are siblings.
  void push(Context& ctx);

  /// The sum over all `total` micro-batches of the step, the same bits on every rank, valid until
  /// begin_step(). Collective; all of this rank's micro-batches must have been pushed. For a group
  /// of one rank.
  std::span<const float> reduce(Context& ctx, Communicator& group, int64_t total);

  /// The finished subtrees of this rank, in order: pieces_of() what has been pushed.
  std::span<const GradientPiece> pieces() const { return pieces_; }

  /// Host memory that the tree holds, for the plan.
  size_t bytes() const { return buffers_.size() * elements_ * sizeof(float); }

 private:
  size_t elements_;
  MicroBatchRange range_{};
  int64_t pushed_ = 0;
  std::vector<GradientPiece> pieces_;  // pending, in order
  std::span<float> leaf_;              // empty when not asked for
  std::vector<Buffer> buffers_;
  std::vector<std::span<float>> free_;
};

}  // namespace tessera::parallel
