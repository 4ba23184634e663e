// Cuts a text into words, which the model then encodes one by one, as the pre-tokenizers of a
// tokenizer.json describe it.
#pragma once

#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "launch/text/tokenizer/pretokenizer_pattern.h"
#include "launch/text/tokenizer/pretokenizer_split.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

/// Words, and the storage of those that differ from the text they come from.
struct Words {
  std::vector<AlignedView> views;
  std::deque<AlignedText> owned;
  /// Whether the first word goes on from what stood before the text, so that it gets no prefix.
  bool continues = false;
};

class Pretokenizer {
 public:
  /// From the "pre_tokenizer" of a tokenizer.json; null is none: a text is one word. Error names an
  /// unsupported kind or pattern.
  Pretokenizer(const nlohmann::json& node, const std::string& source);

  /// Where the last step spells bytes as GPT-2's stand-ins: leaves that to the caller, whose words
  /// are then bytes, and returns true.
  bool leave_byte_level();

  /// Replaces the words by those of `text`, which is not empty and outlives them. `continues` of
  /// `words` says how the text begins.
  void split(AlignedView text, Words& words) const;

 private:
  struct Split {
    std::variant<std::string, Pattern, FindMatch> what;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
  };
  struct PrefixSpace {};
  struct SpellBytes {};
  struct FixedLength {
    size_t length;  // in code points
  };
  struct Metaspace {
    enum class Prepend { kAlways, kFirst, kNever };
    std::string replacement;
    Prepend prepend;
  };
  using Step = std::variant<Split, PrefixSpace, SpellBytes, FixedLength, Metaspace>;

  void add(const nlohmann::json& node, const std::string& where);
  void add_split(const nlohmann::json& node, const std::string& where);
  void add_metaspace(const nlohmann::json& node, const std::string& where);
  void add_byte_level(const nlohmann::json& node, const std::string& where);
  /// The members of the steps that find single code points.
  bool add_by_class(const std::string& type, const nlohmann::json& node, const std::string& where);

  static void apply(const Split& split, AlignedView text, Words& words);
  static void apply(const PrefixSpace&, AlignedView text, Words& words);
  static void apply(const SpellBytes&, AlignedView text, Words& words);
  static void apply(const FixedLength& fixed, AlignedView text, Words& words);
  static void apply(const Metaspace& metaspace, AlignedView text, Words& words);

  std::vector<Step> steps_;
};

}  // namespace tessera::launch
