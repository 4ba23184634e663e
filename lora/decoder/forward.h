// A forward over all layers that leaves nothing for a backward: what evaluation and generation
// share.
#pragma once

#include "lora/decoder/decoder.h"

namespace tessera::lora {

/// How a layer's attention is done.
using AttendAt =
    FunctionRef<void(int64_t layer, BlockSaved& s, const Block& block, const BlockInput& input)>;
/// Sees every block's output [N, C] (layer -1: the embedding).
using SeeOutput = FunctionRef<void(int64_t layer, Tensor x)>;

/// The last block's output [N, C], in the decoder's activations.
Tensor run_layers(Decoder& decoder, const BatchView& batch, AttendAt attend, SeeOutput see);

}  // namespace tessera::lora
