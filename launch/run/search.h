// `tessera search`: trains candidates for the first steps of a run, compares their losses on the
// rows to validate on, and goes on with the smallest that is good enough. What each has come to
// lies in output_dir/search/NAME, so that a search that was killed goes on where it was; the run of
// the chosen one is that of output_dir.
#pragma once

#include "launch/config/candidates.h"
#include "parallel/communicator.h"

namespace tessera::launch {

/// Of the candidates all over one base, one after the other, with all ranks of `world`: collective.
/// The exit codes of train(). Error also where every candidate diverged.
int search(const SearchConfig& search, parallel::Communicator& world);

}  // namespace tessera::launch
