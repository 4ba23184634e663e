// The groups of the flag table that say how a run trains: its batches and length, its optimizer,
// its learning rate, when it stops by itself, what it shows, and how runs are compared. See
// flags.h.
#pragma once

#include <vector>

#include "launch/config/flags.h"

namespace tessera::launch {

std::vector<Flag> batch_flags();
std::vector<Flag> optimizer_flags();
std::vector<Flag> schedule_flags();
std::vector<Flag> stopping_flags();
std::vector<Flag> watching_flags();
std::vector<Flag> search_flags();

}  // namespace tessera::launch
