// The sum of squares of one chunk of a gradient buffer on the CPU, single-threaded.
#pragma once

#include <span>

namespace tessera::optim::cpu {

/// Sixteen FMA chains (element i joins chain i mod 16), joined by halving.
float sum_of_squares(std::span<const float> values);

}  // namespace tessera::optim::cpu
