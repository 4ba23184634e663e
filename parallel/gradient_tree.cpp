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
  // A subtree of 2^s micro-batches holds s smaller ones and the leaf just before it is whole; those
  // before it are whole already.
  int64_t peak = 0, whole = 0;
  for (const GradientPiece& piece : pieces_of(range)) {
    peak = std::max(peak, whole + int64_t(std::bit_width(uint64_t(piece.size))));
    ++whole;
  }
  return peak;
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

size_t slice_elements(size_t elements, int ranks) {
  const size_t unit = kSliceUnit * size_t(ranks);
  return (elements + unit - 1) / unit * kSliceUnit;
}

GradientTree::GradientTree(size_t elements, int ranks)
    : elements_(elements), ranks_(ranks), slice_(slice_elements(elements, ranks)) {}

void GradientTree::begin_step(MicroBatchRange range) {
  TESSERA_CHECK(range.first >= 0 && range.count >= 0);
  range_ = range;
  pushed_ = 0;
  pieces_.clear();
  leaf_ = sum_ = {};
  free_.clear();
  for (const Buffer& buffer : buffers_)
    free_.emplace_back(buffer.as<float>(), slice_ * size_t(ranks_));
}

std::span<float> GradientTree::take_buffer() {
  const size_t elements = slice_ * size_t(ranks_);
  if (free_.empty()) {
    buffers_.push_back(Buffer::host(elements * sizeof(float)));
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
    std::ranges::fill(leaf_, 0.0f);
  }
  return leaf_.first(elements_);
}

void GradientTree::push(Context& ctx) {
  TESSERA_CHECK(!leaf_.empty());
  pieces_.push_back({range_.first + pushed_, 1, leaf_});
  leaf_ = {};
  ++pushed_;
  join_siblings(ctx, pieces_, [&](std::span<float> values) { free_.push_back(values); });
}

std::span<float> GradientTree::received(size_t slices) {
  const size_t bytes = slices * slice_ * sizeof(float);
  if (received_.size() < bytes) {
    received_ = Buffer();
    received_ = Buffer::host(bytes);
  }
  return {received_.as<float>(), slices * slice_};
}

namespace {

/// What each rank holds when all micro-batches are done.
std::vector<std::vector<GradientPiece>> pieces_of_ranks(int ranks, int64_t total) {
  std::vector<std::vector<GradientPiece>> all;
  for (int r = 0; r < ranks; ++r) all.push_back(pieces_of(micro_batches_of(r, ranks, total)));
  return all;
}

}  // namespace

std::span<float> GradientTree::reduce_slice(Context& ctx, Communicator& group, int64_t total) {
  TESSERA_CHECK(group.size() == ranks_ && pushed_ == range_.count);
  if (ranks_ == 1) return sum_ = combine_pieces(ctx, pieces_, total);
  auto all = pieces_of_ranks(ranks_, total);
  size_t count = 0, rounds = 0;
  for (const auto& pieces : all) {
    count += pieces.size();
    rounds = std::max(rounds, pieces.size());
  }
  // Round p: every rank that has a p-th piece sends its slices, which lie in it in rank order.
  std::span<float> free = received(count);
  const uint64_t slice_bytes = slice_ * sizeof(float);
  std::vector<GradientPiece> mine;  // my slice of all pieces
  for (size_t p = 0; p < rounds; ++p) {
    const bool sends = p < pieces_.size();
    const std::vector<uint64_t> out(size_t(ranks_), sends ? slice_bytes : 0);
    std::vector<uint64_t> in;
    const std::span<float> into = free;
    for (const auto& pieces : all) {
      in.push_back(p < pieces.size() ? slice_bytes : 0);
      if (in.back() == 0) continue;
      mine.push_back({pieces[p].start, pieces[p].size, free.first(slice_)});
      free = free.subspan(slice_);
    }
    group.all_to_all({sends ? std::as_bytes(pieces_[p].values) : std::span<const std::byte>{}, out},
                     {std::as_writable_bytes(into.first(into.size() - free.size())), in});
  }
  std::ranges::sort(mine, {}, &GradientPiece::start);
  return sum_ = combine_pieces(ctx, mine, total);
}

std::span<const float> GradientTree::gather(Communicator& group) {
  if (ranks_ == 1) return sum_.first(elements_);
  // The pieces have been sent, so that their buffers are free, if there are any.
  const std::span<float> all = pieces_.empty() ? take_buffer() : pieces_[0].values;
  group.all_gather(std::as_bytes(sum_), std::as_writable_bytes(all));
  return all.first(elements_);
}

std::span<const float> GradientTree::reduce_fast(Context& ctx, Communicator& group) {
  TESSERA_CHECK(group.size() == ranks_ && pushed_ == range_.count);
  if (pieces_.empty()) {
    pieces_.push_back({0, 1, take_buffer()});
    std::ranges::fill(pieces_[0].values, 0.0f);
  }
  const std::span<float> sum = pieces_[0].values.first(elements_);
  for (const GradientPiece& piece : std::span(pieces_).subspan(1)) {
    add(ctx, sum, piece.values.first(elements_));
  }
  group.all_reduce(sum);
  return sum;
}

void GradientTree::gather_slices(Communicator& group, std::span<const float> slice,
                                 std::span<float> all) {
  TESSERA_CHECK(slice.size() <= slice_ && all.size() == elements_);
  const std::span<float> padded = pieces_.empty() ? take_buffer() : pieces_[0].values;
  const std::span<float> mine = padded.subspan(slice_ * size_t(group.rank()), slice_);
  std::ranges::copy(slice, mine.begin());
  group.all_gather(std::as_bytes(mine), std::as_writable_bytes(padded));
  std::ranges::copy(padded.first(elements_), all.begin());
}

size_t GradientTree::bytes() const {
  return buffers_.size() * slice_ * size_t(ranks_) * sizeof(float) + received_.size();
}

size_t GradientTree::buffer_bytes(size_t elements, int rank, int ranks, int64_t total) {
  const int64_t buffers = std::max<int64_t>(1, peak_buffers(micro_batches_of(rank, ranks, total)));
  return size_t(buffers) * size_t(ranks) * slice_elements(elements, ranks) * sizeof(float);
}

size_t GradientTree::exchange_bytes(size_t elements, int ranks, int64_t total) {
  size_t slices = 0;
  if (ranks > 1) {
    for (const auto& pieces : pieces_of_ranks(ranks, total)) slices += pieces.size();
  }
  return slices * slice_elements(elements, ranks) * sizeof(float);
}

}  // namespace tessera::parallel
