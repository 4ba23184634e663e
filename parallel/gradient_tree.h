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

/// The exchange deals the elements to the ranks in equal slices, cut at multiples of 4,096 elements
/// so that sums over chunks (the gradient norm) and blocks (8-bit state) never straddle ranks.
inline constexpr size_t kSliceUnit = 4096;
/// Elements of a slice; the last ones may lie beyond `elements`.
size_t slice_elements(size_t elements, int ranks);

/// One rank's part of the tree. It allocates peak_buffers() buffers, one more where the rank has no
/// micro-batch, and what the exchange needs, and keeps them from step to step.
class GradientTree {
 public:
  /// For steps over gradients of `elements` elements, summed over `ranks` ranks.
  GradientTree(size_t elements, int ranks);

  /// Forgets the current step; this rank's micro-batches are [first, first + count).
  void begin_step(MicroBatchRange range);

  /// The buffer of the next micro-batch's gradients, zero when it is first asked for. Valid until
  /// push(); asked for again before that, it is the same buffer with what was added to it.
  std::span<float> leaf();
  /// The leaf is finished. Joins subtrees as soon as they are siblings.
  void push(Context& ctx);

  /// This rank's slice of the sum over all `total` micro-batches of the step, which were dealt as
  /// micro_batches_of() deals them. Collective; all of this rank's micro-batches must have been
  /// pushed. Valid until begin_step(). Elements past the last are zero.
  std::span<float> reduce_slice(Context& ctx, Communicator& group, int64_t total);
  /// The whole sum from the slices of all ranks, the same bits on each. Collective.
  std::span<const float> gather(Communicator& group);
  /// Both: the sum over all `total` micro-batches, the same bits on every rank.
  std::span<const float> reduce(Context& ctx, Communicator& group, int64_t total) {
    reduce_slice(ctx, group, total);
    return gather(group);
  }
  /// The whole sum by one all-reduce, whose bits depend on the ranks: instead of the two above.
  std::span<const float> reduce_fast(Context& ctx, Communicator& group);
  /// Makes every rank's `slice` (as reduce_slice() cuts them, without what lies past the end) one
  /// whole in `all`, of which it may be a part. After the exchange of a step. Collective.
  void gather_slices(Communicator& group, std::span<const float> slice, std::span<float> all);

  /// The finished subtrees of this rank, in order: pieces_of() what has been pushed.
  std::span<const GradientPiece> pieces() const { return pieces_; }

  /// Host memory that the tree holds, in bytes.
  size_t bytes() const;
  /// What it will hold for steps of at most `total` micro-batches: the gradients of rank `rank`'s
  /// own, and what it receives of the others'.
  static size_t buffer_bytes(size_t elements, int rank, int ranks, int64_t total);
  static size_t exchange_bytes(size_t elements, int ranks, int64_t total);

 private:
  std::span<float> take_buffer();
  std::span<float> received(size_t slices);

  size_t elements_;
  int ranks_;
  size_t slice_;
  MicroBatchRange range_{};
  int64_t pushed_ = 0;
  std::vector<GradientPiece> pieces_;  // pending, in order; all buffers are ranks_ * slice_ long
  std::span<float> leaf_;              // empty when not asked for
  std::span<float> sum_;               // this rank's slice of the step's sum
  std::vector<Buffer> buffers_;
  std::vector<std::span<float>> free_;
  Buffer received_;  // slices of the other ranks' pieces
};

}  // namespace tessera::parallel
