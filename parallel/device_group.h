// A group of ranks whose spans are memory of the context's device.
#pragma once

#include <memory>

#include "parallel/communicator.h"
#include "runtime/core/context.h"

namespace tessera::parallel {

/// On the CPU `host` itself. On a GPU, NCCL over the same ranks, whose operations are work of
/// `stream`; it outlives the group. Collective.
std::unique_ptr<Communicator> device_group(std::unique_ptr<Communicator> host, Context& ctx,
                                           Stream& stream);

}  // namespace tessera::parallel
