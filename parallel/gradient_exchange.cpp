// The part of GradientTree that talks to other ranks: subtrees are combined inside a node, what is
// left crosses to the other nodes, and the finished slices come back the same way.
#include <algorithm>

#include "parallel/gradient_tree.h"
#include "runtime/core/error.h"
#include "runtime/ops/transfer.h"

namespace tessera::parallel {

NodeGrid node_grid(std::span<const int> nodes) {
  const auto ranks = int(nodes.size());
  const auto members = int(std::ranges::count(nodes, nodes.front()));
  bool regular = ranks % members == 0;
  for (int r = 0; r < ranks; ++r) regular = regular && nodes[size_t(r)] == r / members * members;
  return regular ? NodeGrid{ranks / members, members} : NodeGrid{ranks, 1};
}

namespace {

/// What ranks [first, first + count) hold when all micro-batches are done.
std::vector<Pieces> pieces_of_ranks(int first, int count, int ranks, int64_t total) {
  std::vector<Pieces> all;
  for (int r = first; r < first + count; ++r) {
    all.push_back(pieces_of(micro_batches_of(r, ranks, total)));
  }
  return all;
}

/// What each node holds when its ranks have combined theirs.
std::vector<Pieces> pieces_of_nodes(NodeGrid grid, int64_t total) {
  std::vector<Pieces> all;
  for (int node = 0; node < grid.nodes; ++node) {
    MicroBatchRange range = micro_batches_of(node * grid.members, grid.ranks(), total);
    for (int m = 1; m < grid.members; ++m) {
      range.count += micro_batches_of(node * grid.members + m, grid.ranks(), total).count;
    }
    all.push_back(pieces_of(range));
  }
  return all;
}

size_t count_of(std::span<const Pieces> pieces) {
  size_t count = 0;
  for (const Pieces& some : pieces) count += some.size();
  return count;
}

size_t most_of(std::span<const Pieces> pieces) {
  size_t most = 0;
  for (const Pieces& some : pieces) most = std::max(most, some.size());
  return most;
}

}  // namespace

void GradientTree::reserve_exchange(ExchangeBytes bytes) {
  if (exchange_.size() < bytes.all()) {
    exchange_ = Buffer();
    exchange_ = Buffer::on(ctx_.device(), bytes.all());
  }
  staging_ = {exchange_.as<float>(), bytes.staging / sizeof(float)};
  received_ = {staging_.data() + staging_.size(), (bytes.in_node + bytes.between) / sizeof(float)};
}

void GradientTree::exchange(Communicator& group, std::span<const Pieces> pieces_of_ranks,
                            size_t place, std::span<const float> mine, Pieces& to) {
  const uint64_t bytes = slice_ * sizeof(float);
  const std::vector<uint64_t> out(size_t(group.size()), mine.empty() ? 0 : bytes);
  const std::span<float> into = received_;
  std::vector<uint64_t> in;
  for (const Pieces& pieces : pieces_of_ranks) {
    in.push_back(place < pieces.size() ? bytes : 0);
    if (in.back() == 0) continue;
    to.push_back({pieces[place].start, pieces[place].size, received_.first(slice_)});
    received_ = received_.subspan(slice_);
  }
  group.all_to_all({std::as_bytes(mine), out},
                   {std::as_writable_bytes(into.first(into.size() - received_.size())), in});
}

std::vector<Pieces> GradientTree::combine_in_node(int64_t total) {
  const auto all = pieces_of_ranks(node() * grid_.members, grid_.members, ranks(), total);
  const size_t of_a_node = slice_ * size_t(grid_.members);
  std::vector<Pieces> combined;
  for (int k = 0; k < grid_.nodes; ++k) {
    Pieces received;
    for (size_t p = 0; p < most_of(all); ++p) {
      const bool sends = p < pieces_.size();
      exchange(*of_node_, all, p,
               sends ? pieces_[p].values.subspan(size_t(k) * of_a_node, of_a_node)
                     : std::span<const float>{},
               received);
    }
    std::ranges::sort(received, {}, &GradientPiece::start);
    combined.push_back(join_pieces(ctx_, received));
  }
  return combined;
}

Pieces GradientTree::exchange_between_nodes(std::span<const Pieces> mine, int64_t total) {
  const auto all = pieces_of_nodes(grid_, total);
  Pieces received;
  for (size_t p = 0; p < most_of(all); ++p) {
    std::span<const float> slices;  // of this node's p-th piece, for each node
    if (p < all[size_t(node())].size()) {
      slices = mine.empty() ? pieces_[p].values : staging_;
      for (size_t k = 0; k < mine.size(); ++k) {
        copy(staging_.subspan(k * slice_, slice_), mine[k][p].values);
      }
    }
    exchange(*of_nodes_, all, p, slices, received);
  }
  std::ranges::sort(received, {}, &GradientPiece::start);
  return received;
}

std::span<float> GradientTree::reduce_slice(int64_t total) {
  TESSERA_CHECK(pushed_ == range_.count);
  if (ranks() == 1) return sum_ = combine_pieces(ctx_, pieces_, total);
  reserve_exchange(exchange_bytes(elements_, grid_, node(), total));
  std::vector<Pieces> of_node;
  if (of_node_) of_node = combine_in_node(total);
  const Pieces pieces = of_nodes_ ? exchange_between_nodes(of_node, total) : of_node[0];
  return sum_ = combine_pieces(ctx_, pieces, total);
}

void GradientTree::copy(std::span<float> to, std::span<const float> from) {
  copy_bytes(ctx_, to.data(), from.data(), from.size_bytes());
}

void GradientTree::gather_all(std::span<const float> mine, std::span<float> all) {
  if (!of_node_ || !of_nodes_) {
    return all_->all_gather(std::as_bytes(mine), std::as_writable_bytes(all));
  }
  // Every slice crosses to another node once, to the same member there, which passes it on.
  if (staging_.empty()) reserve_exchange(gather_bytes(elements_, grid_));
  of_nodes_->all_gather(std::as_bytes(mine), std::as_writable_bytes(staging_));
  const size_t of_a_node = slice_ * size_t(grid_.members);
  for (size_t k = 0; k < size_t(grid_.nodes); ++k) {
    of_node_->all_gather(std::as_bytes(staging_.subspan(k * slice_, slice_)),
                         std::as_writable_bytes(all.subspan(k * of_a_node, of_a_node)));
  }
}

std::span<const float> GradientTree::gather() {
  if (ranks() == 1) return sum_.first(elements_);
  // The pieces have been sent, so that their buffers are free, if there are any.
  const std::span<float> all = pieces_.empty() ? take_buffer() : pieces_[0].values;
  gather_all(sum_, all);
  return all.first(elements_);
}

void GradientTree::gather_slices(std::span<const float> slice, std::span<float> all) {
  TESSERA_CHECK(slice.size() <= slice_ && all.size() == elements_);
  const std::span<float> padded = pieces_.empty() ? take_buffer() : pieces_[0].values;
  const std::span<float> mine = padded.subspan(slice_ * size_t(rank_), slice_);
  copy(mine.first(slice.size()), slice);
  if (ranks() > 1) gather_all(mine, padded);
  copy(all, padded.first(elements_));
}

GradientTree::ExchangeBytes GradientTree::exchange_bytes(size_t elements, NodeGrid grid, int node,
                                                         int64_t total) {
  const size_t slice = slice_elements(elements, grid.ranks()) * sizeof(float);
  ExchangeBytes bytes = gather_bytes(elements, grid);
  if (grid.members > 1) {
    const auto of_node = pieces_of_ranks(node * grid.members, grid.members, grid.ranks(), total);
    bytes.in_node = count_of(of_node) * size_t(grid.nodes) * slice;
  }
  if (grid.nodes > 1) bytes.between = count_of(pieces_of_nodes(grid, total)) * slice;
  return bytes;
}

GradientTree::ExchangeBytes GradientTree::gather_bytes(size_t elements, NodeGrid grid) {
  if (grid.members == 1 || grid.nodes == 1) return {};
  return {.staging = size_t(grid.nodes) * slice_elements(elements, grid.ranks()) * sizeof(float)};
}

}  // namespace tessera::parallel
