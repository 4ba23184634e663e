// Memory that the program has freed, and malloc keeps for later.
#pragma once

namespace tessera::launch {

/// Gives it back to the system, so that tensors may lie there.
void return_freed_memory();

}  // namespace tessera::launch
