#include "parallel/gradient_tree.h"

#include <algorithm>
#include <bit>

#include "runtime/core/error.h"
#include "runtime/cpu/parallel.h"

namespace tessera::parallel {

namespace {

void add(Context& ctx, std::span<float> to, std::span<const float> from) {
  TESSERA_CHECK(to.size() == from.size());
  constexpr size_t kTaskElements = 65536;
  const int64_t tasks = int64_t((to.size() + kTaskElements - 1) / kTaskElements);
  cpu::parallel_for(ctx.threads(), tasks, [&](int64_t task) {
    const size_t begin = size_t(task) * kTaskElements;
    const size_t end = std::min(begin + kTaskElements, to.size());
    for (size_t i = begin; i < end; ++i) to[i] += from[i];
  });
}

bool are_siblings(const GradientPiece& left, const GradientPiece& right) {
  return left.size == right.size && left.start + left.size == right.start &&
         left.start % (2 * left.size) == 0;
}

/// Joins the last pieces while they are siblings; `release` gets each buffer that becomes free.
template <class Release>
void join_siblings(Context& ctx, std::vector<GradientPiece>& pieces, Release&& release) {
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

std::vector<GradientPiece> pieces_of(MicroBatchRange range) {
  std::vector<GradientPiece> pieces;
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
  size_t peak = 0;
  for (int64_t pushed = 0; pushed < range.count; ++pushed) {
    peak = std::max(peak, pieces_of({range.first, pushed}).size() + 1);
  }
  return int64_t(peak);
}

std::span<float> combine_pieces(Context& ctx, std::span<const GradientPiece> pieces,
                                int64_t total) {
  std::vector<GradientPiece> pending;
  int64_t covered = 0;
  for (const GradientPiece& piece : pieces) {
    TESSERA_CHECK(piece.start == covered && piece.size > 0 && piece.start % piece.size == 0);
    covered += piece.size;
    pending.push_back(piece);
    join_siblings(ctx, pending, [](std::span<float>) {});
  }
  TESSERA_CHECK(covered == total && total > 0);
  // What is left has falling sizes and lacks right siblings: each passes up as it is until it is
  // the sibling of the one before it.
  while (pending.size() >= 2) {
    add(ctx, pending[pending.size() - 2].values, pending.back().values);
    pending.pop_back();
  }
  return pending.front().values;
}

GradientTree::GradientTree(size_t elements, int64_t first, int64_t count) : elements_(elements) {
  TESSERA_CHECK(elements > 0);
  begin_step(first, count);
}

void GradientTree::begin_step(int64_t first, int64_t count) {
  TESSERA_CHECK(first >= 0 && count >= 0);
  range_ = {first, count};
  pushed_ = 0;
  for (const GradientPiece& piece : pieces_) free_.push_back(piece.values);
  pieces_.clear();
  if (!leaf_.empty()) free_.push_back(leaf_);
  leaf_ = {};
}

std::span<float> GradientTree::leaf() {
  TESSERA_CHECK(pushed_ < range_.count);
  if (leaf_.empty()) {
    if (free_.empty()) {
      buffers_.push_back(Buffer::host(elements_ * sizeof(float)));
      free_.emplace_back(buffers_.back().as<float>(), elements_);
    }
    leaf_ = free_.back();
    free_.pop_back();
    std::ranges::fill(leaf_, 0.0f);
  }
  return leaf_;
}

void GradientTree::push(Context& ctx) {
  TESSERA_CHECK(!leaf_.empty());
  pieces_.push_back({range_.first + pushed_, 1, leaf_});
  leaf_ = {};
  ++pushed_;
  join_siblings(ctx, pieces_, [&](std::span<float> values) { free_.push_back(values); });
}

std::span<const float> GradientTree::reduce(Context& ctx, Communicator& group, int64_t total) {
  TESSERA_CHECK(group.size() == 1);
  TESSERA_CHECK(pushed_ == range_.count && range_.first == 0 && range_.count == total);
  const std::span<float> sum = combine_pieces(ctx, pieces_, total);
  // The sum stays a pending piece, so that its buffer is not handed out again before begin_step().
  for (const GradientPiece& piece : std::span(pieces_).subspan(1)) free_.push_back(piece.values);
  pieces_ = {{0, total, sum}};
  return sum;
}

}  // namespace tessera::parallel
