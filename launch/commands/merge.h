// `tessera merge`: base and adapter as one model, a folder that transformers loads.
// The output folder appears by one rename, whole, or not at all.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "launch/console/progress.h"
#include "quant/format.h"
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
  bool into_nf4 = false;          // the sum is quantized; of the original, where that is at hand
  std::optional<DType> dtype;     // empty: the checkpoint's
  bool partial = false;           // take the adapter of a run that is not at its end
  std::optional<int64_t> threads;
  uint64_t shard_bytes = 5'000'000'000;  // of tensors in a file, as transformers splits
};

/// How much of an adapter's change is in the weights as they are written. Of all elements, d is the
/// change that was trained, scale * (B A), and c how far what is written lies from what would be
/// written without the adapter.
struct KeptChange {
  double dd = 0, dc = 0, cc = 0;  // sums of d * d, d * c and c * c

  /// The part of d that c holds: c is share() * d, and something beside it. 1 of no change.
  double share() const;
  /// The size of what is beside it, relative to that of d: sqrt of the sums of squares.
  double noise() const;
  void add(const KeptChange& other);
};

/// How far the linears, as written, are from the checkpoint's, and from what was trained.
struct MergeReport {
  MergeInto into = MergeInto::kOriginal;
  DType dtype = DType::kF32;
  double largest = 0;
  std::string largest_in;  // tensor name
  double mean = 0;         // of the magnitudes
  /// The distance to what was trained, which is in float32 and, after a 4-bit run, over the
  /// quantized weights: relative to the size of what was trained, as kept() measures sizes.
  double from_trained = 0;
  double largest_from_trained = 0;  // of an element
  std::string largest_from_trained_in;
  std::map<std::string, KeptChange> kept;   // by the modules' names: "q_proj"
  std::optional<quant::Storage> quantized;  // the linears as written; empty: in dtype
  uint64_t bytes = 0;                       // written

  KeptChange all_kept() const;
};

/// W' = W + scale * (B A), in float32, rounded once to the dtype, or quantized; all other tensors
/// are copied.
/// Error, before anything is written, when the output exists, the adapter does not fit the base, or
/// its run is unfinished; and for a value that is not finite in the dtype.
MergeReport merge(const MergeOptions& options, Console& console);

/// The report in a few lines for the user.
std::string describe(const MergeReport& report, const std::string& output);

}  // namespace tessera::launch
