// Text to token ids and back: every BPE, Unigram and WordLevel tokenizer that a tokenizer.json can
// describe. The ids equal those of the `tokenizers` package.
// A Tokenizer is an immutable value: copies share their tables, and any number of threads may use
// one. encode() adds no tokens around a text: callers look at prefix_ids() and suffix_ids().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/text/tokenizer/tokenizer_decoder.h"

namespace tessera::launch {

/// Files by name, with what they hold.
using TokenizerFiles = std::vector<std::pair<std::string, std::string>>;

/// A stretch of one text. Pieces are tokenized as one concatenated text, so that a token may span
/// two of them, unless the second begins a span; only the added tokens (<|im_end|> and the like)
/// look at `literal`.
struct TextPiece {
  std::string text;
  bool literal = false;  // what a user wrote: added tokens marked special are letters in it
  bool learned = false;  // what the model is to learn to say
  /// No token reaches from before this piece into it: the ids before it are those of the text
  /// before it alone, and the ids of the piece continue that text, without a prefix of their own.
  bool begins_span = false;
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int64_t> begins;       // byte offset in the concatenated text where each token starts
  std::vector<int32_t> spelled_out;  // special tokens that stayed letters, as literal text has them
};

class Tokenizer {
 public:
  /// `path` is a folder in Hugging Face layout, a tokenizer.json (taken alone), or a .gguf file.
  /// Error when it is none of these, damaged, or of a kind that is not supported.
  static Tokenizer load(const std::string& path);

  /// Error when a piece is not valid UTF-8.
  Encoding encode(std::span<const TextPiece> pieces) const;
  /// With `parse_special` false the whole text is literal: tokens marked special are not looked
  /// for.
  std::vector<int32_t> encode(std::string_view text, bool parse_special = true) const;

  /// Valid UTF-8: bytes that are none become U+FFFD. `skip_special` leaves out the tokens marked
  /// special. Error when an id is no token.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;
  /// Whether the reference puts bos_id() before a text that is encoded alone.
  bool adds_bos() const;
  /// All tokens that the reference puts before and behind a text that is encoded alone.
  const std::vector<int32_t>& prefix_ids() const;
  const std::vector<int32_t>& suffix_ids() const;

  std::optional<int32_t> token_id(std::string_view token) const;
  /// The token as the vocabulary spells it; empty for an id that no token has.
  const std::string& token(int32_t id) const;
  /// The largest id plus one.
  int64_t vocab_size() const;

  /// The Jinja text that came with the tokenizer; empty if none did.
  const std::string& chat_template() const;
  /// All of them by name, "default" among them, where there are several or one.
  const std::map<std::string, std::string>& chat_templates() const;
  /// The tokens that have names, such as "bos_token", as chat templates see them.
  const std::map<std::string, std::string>& named_tokens() const;
  /// Whether decode(skip_special) leaves the token out.
  bool is_special(int32_t id) const;

  /// What a user should know of what was read, a line each.
  const std::vector<std::string>& notes() const;

  /// The files to put beside an adapter: a folder's originals, or, for a GGUF
  /// file, a tokenizer.json and tokenizer_config.json that transformers loads with the same ids.
  const TokenizerFiles& files() const;

 private:
  friend class StreamDecoder;
  struct State;
  explicit Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

/// Text from tokens that arrive one by one, for `generate` and `chat`. What push() returns is
/// always whole code points; all of it and finish() together equal
/// Tokenizer::decode(ids, /*skip_special=*/true).
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// The text that is certain after this token; empty while a code point is incomplete.
  std::string push(int32_t id);
  /// The rest; the decoder then starts a new text.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  TokenDecoder::State decoding_;
};

}  // namespace tessera::launch
