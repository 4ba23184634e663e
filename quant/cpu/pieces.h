// A long run of elements, converted in parallel.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/core/context.h"
#include "runtime/cpu/parallel.h"

namespace tessera::quant {

/// Calls work(first, count) on disjoint pieces of [0, n).
template <class Work>
void for_pieces(Context& ctx, int64_t n, const Work& work) {
  constexpr int64_t kPiece = 65536;
  cpu::parallel_for(ctx.threads(), (n + kPiece - 1) / kPiece, [&](int64_t task) {
    work(task * kPiece, std::min(kPiece, n - task * kPiece));
  });
}

}  // namespace tessera::quant
