// The formats that are not quantized: the blob is the elements, in float32, bfloat16 or float16.
#pragma once

#include "quant/format.h"

namespace tessera::quant {

extern const Format kF32Format, kBF16Format, kF16Format;

}  // namespace tessera::quant
