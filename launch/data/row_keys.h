// Which keys of a row or a message are understood, and what becomes of all others: one that would
// change what is learned is refused by name, any other is named once for the user.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

class Tokenizer;

/// A row of a data set. Its keys keep the order of the file, in which templates print them.
using RowJson = nlohmann::ordered_json;

/// What was met in rows and left as it is, so that a user hears of it once.
struct RowRemarks {
  std::set<std::string> unused_columns;
  std::set<std::string> unused_message_keys;
  std::map<std::string, int64_t> spelled_out;  // special tokens in messages that stay letters
  /// How many of "messages with "<image>"" and the like, whose tokens the vocabulary lacks.
  std::map<std::string, int64_t> placeholders;
  std::map<std::string, int64_t> unprinted;  // messages whose text lacks what this key says
  int64_t unended = 0;                       // learned turns that no end token closes
  int64_t rewritten = 0;  // learned turns whose prompt reads otherwise when they are made
  bool of_config = true;  // false: of a command, which has no special_tokens_in_content

  /// Counts the placeholders of images, videos and sounds in one of the `kind`: messages, texts.
  void count_placeholders(std::string_view kind, std::string_view text, const Tokenizer& tokenizer);
  /// Adds those of another row.
  void add(const RowRemarks& other);
  /// One line for each kind of remark.
  std::vector<std::string> lines() const;
};

/// The keys of an object that are understood.
struct KnownKeys {
  std::span<const std::string_view> read;
  /// The text or the tokens are there in full, so that keys which a template would render are no
  /// more than leftovers.
  bool rendered = false;
};

/// Whether an object has a value under `key`. Null is none: data sets write every key that any of
/// their rows has.
bool has_value(const RowJson& object, std::string_view key);
/// Whether that value says anything: null, false, "", [], {}, and these as JSON text do not.
bool says_something(const RowJson& object, std::string_view key);

/// The column of further variables for the chat template.
inline constexpr const char* kTemplateVariables = "chat_template_kwargs";

/// Whether the key holds images, videos or sounds.
bool is_media_key(std::string_view key);

/// Checks the columns of a row. A value that says nothing is no fault; false neither, except for
/// masks and weights, where it means something; nor a weight of 1.
/// Error beginning with `where` for a key that would change what is learned.
void check_columns(const RowJson& row, const KnownKeys& known, std::string_view where,
                   RowRemarks& remarks);

/// The same for the keys of one message.
void check_message_keys(const RowJson& message, const KnownKeys& known, std::string_view where,
                        RowRemarks& remarks);

/// Adds to `unused` the keys of `object` that are not among `read` and say something.
void note_unused(const RowJson& object, std::span<const std::string_view> read,
                 std::set<std::string>& unused);

/// The keys by which a message says whether it is learned: 1 or true, 0 or false.
inline constexpr std::array<std::string_view, 5> kLearnedKeys = {"weight", "train", "training",
                                                                 "loss", "loss_weight"};

/// What kLearnedKeys say; empty where there is none. Error when they contradict each other or hold
/// something else.
std::optional<bool> learned_by_keys(const RowJson& message, std::string_view where);

}  // namespace tessera::launch
