#include "parallel/gradient_tree.h"

#include <algorithm>
#include <bit>

#include "parallel/device_group.h"
#include "runtime/core/error.h"
#include "runtime/ops/add.h"
#include "runtime/ops/rows.h"

namespace tessera::parallel {

namespace {

Tensor tensor_of(Context& ctx, std::span<const float> values) {
  return Tensor::of(values, {int64_t(values.size())}, ctx.device());
}

void add(Context& ctx, std::span<float> to, std::span<const float> from) {
  tessera::add(ctx, tensor_of(ctx, to), tensor_of(ctx, from));
}

bool are_siblings(const GradientPiece& left, const GradientPiece& right) {
  return left.size == right.size && left.start + left.size == right.start &&
         left.start % (2 * left.size) == 0;
}

/// Joins the last pieces while they are siblings; `release` gets each buffer that becomes free.
template <class Release>
void join_siblings(Context& ctx, Pieces& pieces, Release&& release) {
  while (pieces.size() >= 2 && are_siblings(pieces[pieces.size() - 2], pieces.back())) {
    GradientPiece& left = pieces[pieces.size() - 2];
    add(ctx, left.values, pieces.back().values);
    left.size *= 2;
    release(pieces.back().values);
    pieces.pop_back();
  }
}

}  // namespace

MicroBatchRange micro_batches_of(int rank, int ranks, int64_t total) {
  TESSERA_CHECK(0 <= rank && rank < ranks && total >= 0);
  const int64_t share = total / ranks;
  const int64_t longer = total % ranks;
  return {rank * share + std::min<int64_t>(rank, longer), share + (rank < longer ? 1 : 0)};
}

Pieces pieces_of(MicroBatchRange range) {
  Pieces pieces;
  int64_t start = range.first;
  const int64_t end = range.first + range.count;
  while (start < end) {
    // The largest power of two that divides start and still fits.
    int64_t size = int64_t(std::bit_floor(uint64_t(end - start)));
    if (start > 0) size = std::min(size, start & -start);
    pieces.push_back({start, size, {}});
    start += size;
  }
  return pieces;
}

int64_t peak_buffers(MicroBatchRange range) {
  // A subtree of 2^s micro-batches holds s smaller ones and the leaf just before it is whole; those
  // before it are whole already.
  int64_t peak = 0, whole = 0;
  for (const GradientPiece& piece : pieces_of(range)) {
    peak = std::max(peak, whole + int64_t(std::bit_width(uint64_t(piece.size))));
    ++whole;
  }
  return peak;
}

Pieces join_pieces(Context& ctx, std::span<const GradientPiece> pieces) {
  Pieces joined;
  for (const GradientPiece& piece : pieces) {
    TESSERA_CHECK(piece.size > 0 && piece.start % piece.size == 0);
    TESSERA_CHECK(joined.empty() || joined.back().start + joined.back().size == piece.start);
    joined.push_back(piece);
    join_siblings(ctx, joined, [](std::span<float>) {});
  }
  return joined;
}

std::span<float> combine_pieces(Context& ctx, std::span<const GradientPiece> pieces,
                                int64_t total) {
  TESSERA_CHECK(!pieces.empty() && pieces.front().start == 0);
  TESSERA_CHECK(pieces.back().start + pieces.back().size == total);
  Pieces pending = join_pieces(ctx, pieces);
  // What is left has falling sizes and lacks right siblings: each passes up as it is until it is
  // the sibling of the one before it.
  while (pending.size() >= 2) {
    add(ctx, pending[pending.size() - 2].values, pending.back().values);
    pending.pop_back();
  }
  return pending.front().values;
}

size_t slice_elements(size_t elements, int ranks) {
  const size_t unit = kSliceUnit * size_t(ranks);
  return (elements + unit - 1) / unit * kSliceUnit;
}

GradientTree::GradientTree(Context& ctx, size_t elements, Communicator& world)
    : ctx_(ctx),
      elements_(elements),
      rank_(world.rank()),
      grid_(node_grid(gather_values(world, world.node()))),
      slice_(slice_elements(elements, world.size())) {
  if (world.size() == 1) return;
  const auto split = [&](int colour) {
    return device_group(world.split(colour), ctx, ctx.compute_stream());
  };
  all_ = split(0);
  if (grid_.members > 1) of_node_ = split(node());
  if (grid_.nodes > 1) of_nodes_ = split(rank_ % grid_.members);
}

void GradientTree::begin_step(MicroBatchRange range) {
  TESSERA_CHECK(range.first >= 0 && range.count >= 0);
  range_ = range;
  pushed_ = 0;
  pieces_.clear();
  leaf_ = sum_ = {};
  free_.clear();
  for (const Buffer& buffer : buffers_) {
    free_.emplace_back(buffer.as<float>(), slice_ * size_t(ranks()));
  }
}

std::span<float> GradientTree::take_buffer() {
  const size_t elements = slice_ * size_t(ranks());
  if (free_.empty()) {
    buffers_.push_back(Buffer::on(ctx_.device(), elements * sizeof(float)));
    free_.emplace_back(buffers_.back().as<float>(), elements);
  }
  const std::span<float> buffer = free_.back();
  free_.pop_back();
  return buffer;
}

std::span<float> GradientTree::leaf() {
  TESSERA_CHECK(pushed_ < range_.count);
  if (leaf_.empty()) {
    leaf_ = take_buffer();
    fill_zero(ctx_, tensor_of(ctx_, leaf_));
  }
  return leaf_.first(elements_);
}

void GradientTree::push() {
  TESSERA_CHECK(!leaf_.empty());
  pieces_.push_back({range_.first + pushed_, 1, leaf_});
  leaf_ = {};
  ++pushed_;
  join_siblings(ctx_, pieces_, [&](std::span<float> values) { free_.push_back(values); });
}

std::span<const float> GradientTree::reduce_fast() {
  TESSERA_CHECK(pushed_ == range_.count);
  if (pieces_.empty()) {
    pieces_.push_back({0, 1, take_buffer()});
    fill_zero(ctx_, tensor_of(ctx_, pieces_[0].values));
  }
  const std::span<float> sum = pieces_[0].values.first(elements_);
  for (const GradientPiece& piece : std::span(pieces_).subspan(1)) {
    add(ctx_, sum, piece.values.first(elements_));
  }
  if (all_) all_->all_reduce(sum);
  return sum;
}

size_t GradientTree::bytes() const {
  return buffers_.size() * slice_ * size_t(ranks()) * sizeof(float) + exchange_.size();
}

size_t GradientTree::buffer_bytes(size_t elements, int rank, int ranks, int64_t total) {
  const int64_t buffers = std::max<int64_t>(1, peak_buffers(micro_batches_of(rank, ranks, total)));
  return size_t(buffers) * size_t(ranks) * slice_elements(elements, ranks) * sizeof(float);
}

}  // namespace tessera::parallel
