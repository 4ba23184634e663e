// What is done to a text before it is cut into words: NFC, Prepend, Replace, in the file's order.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/text/tokenizer_text.h"

namespace tessera::launch {

class Normalizer {
 public:
  /// From the "normalizer" of a tokenizer.json; null is none. Error names an unsupported kind.
  Normalizer(const nlohmann::json& node, const std::string& source) { add(node, source); }

  bool empty() const { return steps_.empty(); }
  /// Whether a text is given a prefix, as Llama 2's space before the first word.
  bool prepends() const;
  AlignedText normalize(AlignedView text) const;

 private:
  enum class Kind { kNfc, kPrepend, kReplace };
  struct Step {
    Kind kind;
    std::string pattern;
    std::string content;
  };
  void add(const nlohmann::json& node, const std::string& source);

  std::vector<Step> steps_;
};

/// Canonical composition. A composed character comes from where its first part stood.
AlignedText compose_nfc(AlignedView text);

/// Every `pattern`, left to right, by `content`.
AlignedText replace_all(AlignedView text, std::string_view pattern, std::string_view content);

}  // namespace tessera::launch
