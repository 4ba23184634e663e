// `tessera merge`: base and adapter as one model, a folder that transformers loads.
// The output folder appears by one rename, whole, or not at all.
#pragma once

#include <optional>
#include <string>

#include "launch/console/progress.h"
#include "runtime/core/dtype.h"

namespace tessera::launch {

/// What the adapter is added to.
enum class MergeInto {
  kDequantized,  // the weights that the adapter was trained on: quantized and decoded again
  kOriginal,     // the checkpoint's own
};

struct MergeOptions {
  std::string base_model;
  std::string adapter;
  std::string output;
  std::optional<MergeInto> into;  // empty: dequantized if the run was 4-bit
  std::optional<DType> dtype;     // empty: the checkpoint's
  bool partial = false;           // take the adapter of a run that is not at its end
  std::optional<int64_t> threads;
  uint64_t shard_bytes = 5'000'000'000;  // of tensors in a file, as transformers splits
};

/// How far the linears, as written, are from the checkpoint's.
struct MergeReport {
  MergeInto into = MergeInto::kOriginal;
  DType dtype = DType::kF32;
  double largest = 0;
  std::string largest_in;  // tensor name
  double mean = 0;         // of the magnitudes
  uint64_t bytes = 0;      // written
};

/// W' = W + scale * (B A), in float32, rounded once to the dtype; all other tensors are copied.
/// Error, before anything is written, when the output exists, the adapter does not fit the base, or
/// its run is unfinished; and for a value that is not finite in the dtype.
MergeReport merge(const MergeOptions& options, Console& console);

/// The report in a few lines for the user.
std::string describe(const MergeReport& report, const std::string& output);

}  // namespace tessera::launch
