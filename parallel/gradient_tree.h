// The sum of a step's micro-batch gradients in one canonical binary tree over the global
// micro-batch index, so that its bits do not depend on how the micro-batches are dealt to ranks.
// Node [a, a+2s), a a multiple of 2s, is [a, a+s) + [a+s, a+2s), element by element in float32; a
// node whose right half begins at or after the number of micro-batches is its left half.
#pragma once

#include <cstdint>
#include <memory>
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

using Pieces = std::vector<GradientPiece>;

/// The maximal aligned subtrees of a range, in order, without values: what a rank has left to
/// exchange once its micro-batches are done.
Pieces pieces_of(MicroBatchRange range);

/// The most buffers that a rank's GradientTree ever holds over a range, the leaf included.
int64_t peak_buffers(MicroBatchRange range);

/// The maximal aligned subtrees of the range that `pieces`, in order and without gaps, cover:
/// pieces joined wherever both halves of a subtree are there. Values as with combine_pieces().
Pieces join_pieces(Context& ctx, std::span<const GradientPiece> pieces);

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

/// How the ranks lie on the nodes: rank = node * members + member. What is exchanged inside a node
/// does not cross to another, so subtrees are combined there first.
struct NodeGrid {
  int nodes = 1;
  int members = 1;

  int ranks() const { return nodes * members; }
};
/// `nodes` holds Communicator::node() of every rank. Where nodes have different numbers of ranks,
/// or ranks that do not follow each other, every rank counts as a node.
NodeGrid node_grid(std::span<const int> nodes);

/// One rank's part of the tree. It allocates peak_buffers() buffers, one more where the rank has no
/// micro-batch, and what the exchange needs, and keeps them from step to step.
class GradientTree {
 public:
  /// For steps over gradients of `elements` elements, in memory of the context's device, summed
  /// over the ranks of `world`. Both outlive it. Collective.
  GradientTree(Context& ctx, size_t elements, Communicator& world);

  /// Forgets the current step; this rank's micro-batches are [first, first + count).
  void begin_step(MicroBatchRange range);

  /// The buffer of the next micro-batch's gradients, zero when it is first asked for. Valid until
  /// push(); asked for again before that, it is the same buffer with what was added to it.
  std::span<float> leaf();
  /// The leaf is finished. Joins subtrees as soon as they are siblings.
  void push();

  /// This rank's slice of the sum over all `total` micro-batches of the step, which were dealt as
  /// micro_batches_of() deals them. Collective; all of this rank's micro-batches must have been
  /// pushed. Valid until gather() or begin_step(). Elements past the last are zero.
  std::span<float> reduce_slice(int64_t total);
  /// The whole sum from the slices of all ranks, the same bits on each. Collective.
  std::span<const float> gather();
  /// Both: the sum over all `total` micro-batches, the same bits on every rank.
  std::span<const float> reduce(int64_t total) {
    reduce_slice(total);
    return gather();
  }
  /// The whole sum by one all-reduce, whose bits depend on the ranks: instead of the two above.
  std::span<const float> reduce_fast();
  /// Makes every rank's `slice` (as reduce_slice() cuts them, without what lies past the end) one
  /// whole in `all`, of which it may be a part. After the exchange of a step. Collective.
  void gather_slices(std::span<const float> slice, std::span<float> all);

  /// The finished subtrees of this rank, in order: pieces_of() what has been pushed.
  std::span<const GradientPiece> pieces() const { return pieces_; }

  /// Memory that the tree holds, in bytes.
  size_t bytes() const;
  /// What it will hold of rank `rank`'s own gradients in steps of at most `total` micro-batches.
  static size_t buffer_bytes(size_t elements, int rank, int ranks, int64_t total);
  /// What it will hold for the exchange, on a rank of node `node`.
  struct ExchangeBytes {
    size_t in_node = 0;  // received from the ranks of the node
    size_t between = 0;  // received from other nodes
    size_t staging = 0;  // slices on their way between nodes

    size_t all() const { return in_node + between + staging; }
  };
  static ExchangeBytes exchange_bytes(size_t elements, NodeGrid grid, int node, int64_t total);
  /// The same where only gather_slices() is used, after reduce_fast().
  static ExchangeBytes gather_bytes(size_t elements, NodeGrid grid);

 private:
  /// Each rank of `group` that has a piece at `place` in `pieces_of_ranks` sends its slices of it,
  /// which lie in `mine` in rank order, and mine of them are appended to `to`.
  void exchange(Communicator& group, std::span<const Pieces> pieces_of_ranks, size_t place,
                std::span<const float> mine, Pieces& to);
  /// The pieces of this node, of which this rank keeps the slices of the ranks that are the same
  /// member of their node: element k of the result is for node k.
  std::vector<Pieces> combine_in_node(int64_t total);
  /// All nodes' pieces, this rank's slice of each.
  Pieces exchange_between_nodes(std::span<const Pieces> mine, int64_t total);
  /// The slices of all ranks in rank order into `all`.
  void gather_all(std::span<const float> mine, std::span<float> all);
  void copy(std::span<float> to, std::span<const float> from);
  std::span<float> take_buffer();
  void reserve_exchange(ExchangeBytes bytes);
  int ranks() const { return grid_.ranks(); }
  int node() const { return rank_ / grid_.members; }

  Context& ctx_;
  size_t elements_;
  int rank_;
  NodeGrid grid_;
  std::unique_ptr<Communicator> all_;       // all ranks; these are over memory of the device
  std::unique_ptr<Communicator> of_node_;   // the members of this node
  std::unique_ptr<Communicator> of_nodes_;  // the same member of every node
  size_t slice_;
  MicroBatchRange range_{};
  int64_t pushed_ = 0;
  Pieces pieces_;          // pending, in order; all buffers are ranks() * slice_ long
  std::span<float> leaf_;  // empty when not asked for
  std::span<float> sum_;   // this rank's slice of the step's sum
  std::vector<Buffer> buffers_;
  std::vector<std::span<float>> free_;
  Buffer exchange_;
  std::span<float> staging_;   // in it: a slice for each node
  std::span<float> received_;  // what is left in it for slices of other ranks' pieces
};

}  // namespace tessera::parallel
