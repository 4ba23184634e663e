// Where adapters sit: the linears of a model that can carry one, and the choice among them that
// target_modules makes, as PEFT makes it. select_linears() alone decides, by the full paths of the
// model's modules; all else works on the linears that it returns.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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
  /// Names of modules that are trained in full, as PEFT's modules_to_save: the embedding, the head.
  /// No adapter sits on them, whatever `modules` says.
  std::vector<std::string> whole = {};
  /// Where the head is the embedding and one of the two is trained in full: it stays the embedding.
  /// Otherwise a tied head is a matrix of its own then, as PEFT has it.
  bool ensure_tying = false;
  /// Of an adapter of a model with more than text: a name that selects nothing in the text model
  /// may be that of another part's module.
  bool of_more_than_text = false;
  std::string said_in = "lora_target_modules";         // where `modules` stands, for messages
  std::string whole_said_in = "lora_modules_to_save";  // likewise
};

/// Tokens whose rows of the embedding are trained, as PEFT's trainable_token_indices. A tied head
/// has the same rows. Their order is that of the rows in a file.
struct TrainedTokens {
  std::vector<int64_t> ids = {};
  std::string said_in = "lora_trainable_token_indices";  // for messages
};

/// Values of single modules in place of the usual one: that of the first key, a regular expression,
/// which matches a module's path or what stands behind one of its dots. PEFT's rank_pattern and
/// alpha_pattern.
template <class T>
struct ModuleValues {
  std::vector<std::pair<std::string, T>> by_key = {};
  /// Where they stand, for messages. Empty: in an adapter of PEFT's, which ignores a key that gives
  /// no module its value; elsewhere that is an error.
  std::string said_in = {};
};

/// The linears selected, in the order of the tensor table. Error (usage), naming what adapters can
/// sit on, for a name or a pattern that selects no module, for one that selects a module without a
/// place for an adapter, for a layer that the model lacks, and where nothing is left.
std::vector<TensorRow> select_linears(const TargetModules& targets, const ModelSpec& model);

/// What targets.whole selects: the embedding, the head, or both. A tied head has a row here, unless
/// it stays the embedding. Error (usage) for a name that selects neither.
std::vector<TensorRow> select_whole(const TargetModules& targets, const ModelSpec& model);

/// The rows of the embedding that are trained.
struct TokenSelection {
  TensorRow embedding = {};
  std::vector<int32_t> ids = {};  // of the rows; empty: none is trained
};
/// What `tokens` selects. Error (usage) for a token that the model lacks or that is named twice,
/// and where `targets` has the same matrix trained in full.
TokenSelection select_tokens(const TrainedTokens& tokens, const TargetModules& targets,
                             const ModelSpec& model);

/// Of each linear, the index of the first key that matches it, as ModuleValues; -1 for none. Error
/// (usage) for a broken regular expression and, unless `said_in` is empty, for an idle key.
std::vector<int> first_matches(std::span<const std::string> keys,
                               std::span<const TensorRow> linears, std::string_view said_in);

/// Names that select exactly `linears`, which are in the table's order: a module's own name where
/// all layers have it, else whole paths. Whole paths in a model with more than text, whose other
/// parts have modules of the same names.
std::vector<std::string> names_of(std::span<const TensorRow> linears, int64_t layers);

/// The word for every linear, in any case.
bool is_all_linear(std::string text);
/// Why a regular expression cannot be used; empty where it can.
std::string pattern_fault(const std::string& pattern);

}  // namespace tessera::lora
