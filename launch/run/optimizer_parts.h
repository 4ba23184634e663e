// The optimizer's state in a checkpoint: optimizer-00001-of-00004.safetensors and so on, one file a
// rank, each with the arrays of a range of the flat parameter buffer (optim/state_layout.h).
// Whoever reads them takes what its own range needs, so that any number of ranks can go on from any
// other.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "optim/optimizer.h"

namespace tessera::launch {

std::string optimizer_part_name(int part, int parts);
bool is_optimizer_part(std::string_view file_name);

/// What is stored of an optimizer: all of it, or on each rank a range.
struct StoredOptimizer {
  optim::Optimizer& optimizer;
  std::span<const optim::StateSegment> segments;

  /// The arrays of a range.
  std::vector<optim::StateArray> arrays(optim::ElementRange range) const {
    return optim::state_arrays(optimizer.rule().moments, segments, range);
  }
};

/// Writes the arrays of `range`, which lies in the optimizer's.
void write_optimizer_part(const std::string& path, const StoredOptimizer& stored,
                          optim::ElementRange range);
/// Fills the optimizer's range from the files, which together have to cover it. Error naming the
/// file that does not fit.
void read_optimizer_parts(const std::vector<std::string>& paths, StoredOptimizer into);

}  // namespace tessera::launch
