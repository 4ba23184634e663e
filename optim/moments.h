// The moments of a range of the flat buffer, in pages: handed to an update part by part, and to
// checkpoints as arrays that know nothing of pages.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "optim/state_layout.h"
#include "optim/state_pages.h"

namespace tessera::optim {

class Moments {
 public:
  /// All zero. The memory of `names` outlives the object; `segments` and `range` as state_runs().
  /// Error as StatePages.
  Moments(MomentNames names, std::span<const StateSegment> segments, ElementRange range,
          const PageOptions& options);

  /// What an object made from the same arguments holds. Allocates nothing.
  static PageMemory memory(MomentNames names, std::span<const StateSegment> segments,
                           ElementRange range, const PageOptions& options);

  /// Calls update(state) for every part of every page, each element once.
  void sweep(Context& ctx, FunctionRef<void(const StateView& state)> update);

  ElementRange range() const { return range_; }
  /// The arrays of the range, as state_arrays().
  const std::vector<StateArray>& arrays() const { return arrays_; }
  /// Items of the array `name` from `begin` on, as many as fill `into`; likewise for write. Arrays
  /// can thus be streamed in pieces of any size.
  void read(std::string_view name, uint64_t begin, std::span<std::byte> into) const;
  void write(std::string_view name, uint64_t begin, std::span<const std::byte> bytes);

  const StatePages& pages() const { return pages_; }

 private:
  template <class Piece>
  void each_piece(std::string_view name, uint64_t begin, size_t bytes, const Piece& piece) const;

  MomentNames names_;
  ElementRange range_;
  std::vector<StateArray> arrays_;
  std::vector<StatePage> layout_;
  StatePages pages_;
};

}  // namespace tessera::optim
