#include "launch/plan/optimizer_state.h"

#include <algorithm>

#include "parallel/gradient_tree.h"

namespace tessera::launch {

static_assert(lora::AdapterSet::kAlignment == optim::kStateBlock,
              "every tensor begins where a block of the optimizer's state does");
static_assert(parallel::kSliceUnit % optim::kStateBlock == 0, "slices are cut between blocks");

std::vector<optim::StateSegment> state_segments(const lora::AdapterSet& adapters,
                                                optim::StateBits bits) {
  return state_segments(adapters, bits, 1.0);
}

std::vector<optim::StateSegment> state_segments(const lora::AdapterSet& adapters,
                                                optim::StateBits bits, double b_ratio) {
  std::vector<optim::StateSegment> segments;
  for (const lora::Segment& s : adapters.segments()) {
    const bool is_b = s.name.ends_with(".lora_B.weight");
    segments.push_back(
        {s.offset, s.elements(), optim::state_bits(s.elements(), bits), is_b ? b_ratio : 1.0});
  }
  return segments;
}

optim::ElementRange state_slice(size_t elements, int rank, int ranks) {
  const size_t slice = parallel::slice_elements(elements, ranks);
  return {std::min(elements, slice * size_t(rank)), std::min(elements, slice * size_t(rank + 1))};
}

optim::ElementRange owned_state(size_t elements, bool dealt, int rank, int ranks) {
  return dealt ? state_slice(elements, rank, ranks) : optim::ElementRange{0, elements};
}

}  // namespace tessera::launch
