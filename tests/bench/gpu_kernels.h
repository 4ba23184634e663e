// How fast a model's operators are alone, each beside what the same run finds the device can do.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/core/context.h"
#include "tests/bench/gpu_shapes.h"

namespace tessera::launch {

struct KernelsAsked {
  Shape shape;
  int64_t tokens;  // of a micro-batch, one sample
  bool once;       // each operator one time, for a profiler: nothing is measured
};

struct KernelRate {
  std::string name, size;
  double bytes = 0;       // that it reads and writes
  double operations = 0;  // of products and attention
  double seconds = 0;     // the median of several tries
  // Of products on a GPU: cuBLASLt's algorithms, its first choice first, which is what is taken.
  std::vector<double> algorithms = {};

  double best() const;  // seconds
};

/// The first row is a copy, which shows what the memory can do.
std::vector<KernelRate> measure_kernels(Context& ctx, const KernelsAsked& asked);

/// A table in Markdown. Shares are of the copy's bytes a second, or of the fastest product's
/// operations a second, whichever is larger. (L2) marks a share of bytes that are so few that they
/// may stay in a cache between the tries, which is faster than the copy.
std::string kernel_table(const std::vector<KernelRate>& rows);
nlohmann::ordered_json kernel_json(const std::vector<KernelRate>& rows);

}  // namespace tessera::launch
