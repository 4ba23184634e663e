// What is done to a text before it is cut into words, in the file's order: Unicode's forms, upper
// to lower case, replacements and the like, as the normalizers of a tokenizer.json describe it.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

class Normalizer {
 public:
  /// From the "normalizer" of a tokenizer.json; null is none. Error names an unsupported kind.
  Normalizer(const nlohmann::json& node, const std::string& source);

  bool empty() const { return steps_.empty(); }
  /// Whether a text is given a prefix, as Llama 2's space before the first word.
  bool prepends() const { return prepends_; }
  AlignedText normalize(AlignedView text) const;

 private:
  using Step = std::function<AlignedText(AlignedView)>;
  void add(const nlohmann::json& node, const std::string& where);
  bool add_plain(const std::string& type);
  void add_replace(const nlohmann::json& node, const std::string& where);
  void add_bert(const nlohmann::json& node, const std::string& where);

  std::vector<Step> steps_;  // each takes a text that is not empty
  bool prepends_ = false;
};

/// Every `pattern`, left to right, by `content`.
AlignedText replace_all(AlignedView text, std::string_view pattern, std::string_view content);

}  // namespace tessera::launch
