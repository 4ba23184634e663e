// Eight bits a weight: a code from -127 to 127 and a scale per block. The blob: codes [N*K] i8,
// then at a multiple of 256 bytes the scales [blocks] f32.
#pragma once

#include "quant/format.h"

namespace tessera::quant {

extern const Format kInt8Format;

}  // namespace tessera::quant
