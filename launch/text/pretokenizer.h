// Cuts a text into words, which BPE then encodes one by one: Split, Digits, ByteLevel, Metaspace
// and sequences of them, as tokenizer.json describes them.
#pragma once

#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "launch/text/pretokenizer_pattern.h"
#include "launch/text/tokenizer_text.h"

namespace tessera::launch {

/// Words, and the storage of those that differ from the text they come from.
struct Words {
  std::vector<AlignedView> views;
  std::deque<AlignedText> owned;
};

class Pretokenizer {
 public:
  /// From the "pre_tokenizer" of a tokenizer.json; null is none: a text is one word. Error names an
  /// unsupported kind or pattern.
  Pretokenizer(const nlohmann::json& node, const std::string& source);

  /// Whether words are to be read as bytes, not as characters.
  bool byte_level() const { return byte_level_; }
  /// `text` is not empty and outlives the words.
  void split(AlignedView text, Words& words) const;

 private:
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Split {
    std::variant<std::string, Pattern> what;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
  };
  struct PrefixSpace {};
  struct Metaspace {
    enum class Prepend { kAlways, kFirst, kNever };
    std::string replacement;
    Prepend prepend;
  };
  using Step = std::variant<Split, PrefixSpace, Metaspace>;

  void add(const nlohmann::json& node, const std::string& where);
  void add_split(const nlohmann::json& node, const std::string& where);
  void add_metaspace(const nlohmann::json& node, const std::string& where);

  static void apply(const Split& split, AlignedView text, Words& words);
  static void apply(const PrefixSpace&, AlignedView text, Words& words);
  static void apply(const Metaspace& metaspace, AlignedView text, Words& words);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace tessera::launch
