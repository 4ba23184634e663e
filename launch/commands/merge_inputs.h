// A base, an adapter, and what the one is added to: what `tessera merge` and `tessera export` begin
// with.
#pragma once

#include <optional>
#include <string>

#include "launch/commands/merge.h"
#include "launch/console/progress.h"
#include "lora/adapter/adapter.h"
#include "lora/model/checkpoint.h"
#include "quant/format.h"

namespace tessera::launch {

struct MergeInputs {
  lora::Checkpoint checkpoint;
  lora::AdapterSet adapters;  // without parts where there is no adapter
  MergeInto into = MergeInto::kOriginal;
  /// How the weights are quantized, and decoded again, before the adapter is added.
  std::optional<quant::Storage> base;
  /// How the adapter's run held the weights; empty: as they are stored.
  std::optional<quant::Storage> trained_over = {};

  /// Whether a tied head becomes a matrix of its own: where the embedding or the head is trained
  /// alone.
  bool unties_head() const;
};

/// Opens options.base_model, and options.adapter unless that is empty; tells the console what a
/// user should know. Error when the adapter does not fit the base, its run is unfinished and not
/// asked for as it is, or options.into asks for a base that is not there.
MergeInputs open_merge(const MergeOptions& options, Console& console);

/// "dequantized"
std::string name_of(MergeInto into);

}  // namespace tessera::launch
