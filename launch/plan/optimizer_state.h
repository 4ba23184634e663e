// Which elements of the optimizer's state a rank keeps, for the plan and for the run.
#pragma once

#include <vector>

#include "lora/adapter/adapter.h"
#include "optim/state_layout.h"

namespace tessera::launch {

/// The tensors of an adapter set as an optimizer of these bits sees them.
std::vector<optim::StateSegment> state_segments(const lora::AdapterSet& adapters,
                                                optim::StateBits bits);
/// The same where the matrices B of adapters learn `b_ratio` times as fast as all else: LoRA+, with
/// the groups of PEFT's create_loraplus_optimizer. Its group of embeddings holds adapters of
/// embeddings, which do not exist here; matrices and rows that are trained in full learn as A does.
std::vector<optim::StateSegment> state_segments(const lora::AdapterSet& adapters,
                                                optim::StateBits bits, double b_ratio);

/// The range of `rank` when state, or the writing of it, is dealt over `ranks` as GradientTree
/// deals its slices. May be empty.
optim::ElementRange state_slice(size_t elements, int rank, int ranks);

/// What a rank's optimizer updates: its slice where the state is dealt, else all.
optim::ElementRange owned_state(size_t elements, bool dealt, int rank, int ranks);

}  // namespace tessera::launch
