// Tensors of all sorts in one flat buffer: small ones, one of exactly 4,096, ends inside a block.
#pragma once

#include <span>
#include <vector>

#include "optim/state_layout.h"

namespace tessera::optim {

inline std::vector<StateSegment> state_table(bool eight_bit) {
  std::vector<StateSegment> segments;
  size_t offset = 0;
  for (size_t elements : {5000, 100, 4096, 4095, 20000, 1, 256, 9999}) {
    segments.push_back(
        {offset, elements, state_bits(elements, eight_bit ? StateBits::k8 : StateBits::k32)});
    offset += (elements + kStateBlock - 1) / kStateBlock * kStateBlock;
  }
  return segments;
}

inline size_t size_of(std::span<const StateSegment> segments) {
  const StateSegment& last = segments.back();
  return (last.offset + last.elements + kStateBlock - 1) / kStateBlock * kStateBlock;
}

}  // namespace tessera::optim
