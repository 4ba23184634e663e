// Where adapters sit: the linears of a model that can carry one, and the choice among them that
// target_modules makes, as PEFT makes it. select_linears() alone decides, by the full paths of the
// model's modules; all else works on the linears that it returns.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lora/model/tensors.h"

namespace tessera::lora {

/// Modules by name or by pattern.
struct ModuleList {
  std::vector<std::string> names = {};  // each a whole path, or the end of paths behind a dot
  std::string pattern = {};             // instead of names: a regular expression for whole paths

  bool empty() const { return names.empty() && pattern.empty(); }
  bool operator==(const ModuleList&) const = default;
};

struct TargetModules {
  ModuleList modules = {};           // empty: every linear of the layers
  ModuleList excluded = {};          // not these, whatever `modules` says
  std::vector<int64_t> layers = {};  // of what ends of paths select, these layers only; empty: all
  std::string said_in = "lora_target_modules";  // where `modules` stands, for messages
};

/// The linears selected, in the order of the tensor table. Error (usage), naming what adapters can
/// sit on, for a name or a pattern that selects no module, for one that selects a module without a
/// place for an adapter, for a layer that the model lacks, and where nothing is left.
std::vector<TensorRow> select_linears(const TargetModules& targets, const ModelSpec& model);

/// Names that select exactly `linears`, which are in the table's order: a module's own name where
/// all layers have it, else whole paths.
std::vector<std::string> names_of(std::span<const TensorRow> linears, int64_t layers);

/// The word for every linear, in any case.
bool is_all_linear(std::string text);
/// Why a regular expression cannot be used; empty where it can.
std::string pattern_fault(const std::string& pattern);

}  // namespace tessera::lora
