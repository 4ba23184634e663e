#include "launch/data/row_keys.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using json = RowJson;

constexpr char kUnprinted[] =
    "nothing here would print it; choose a chat_template that does, or write it into the text as "
    "the model spells it";
constexpr char kMedia[] = "this is a text model; leave such rows out, or remove the key";
constexpr char kMasks[] =
    "of all masks, rows of type tokenized can carry attention_mask, "
    "position_ids, completion_mask and assistant_masks";
constexpr char kPreference[] =
    "preferences cannot be learned; name the texts prompt and completion";
constexpr char kPlace[] = "this type of row has no place for it";
constexpr char kWeights[] = "this cannot be weighted; only messages can, by 0 or 1";
constexpr char kMasked[] = "give messages a weight of 0 instead, or leave such rows out";

/// Keys that change what a row means wherever they are not read, and what to do about them.
struct Meaningful {
  std::string_view key;
  const char* cure;
  bool rendered;  // by a template: without meaning beside a text that is rendered already
};
constexpr bool kRendered = true, kAlways = false;
constexpr std::array<Meaningful, 50> kMeaningful = {{
    {"tools", kUnprinted, kRendered},
    {"functions", kUnprinted, kRendered},
    {"tool_calls", kUnprinted, kRendered},
    {"function_call", kUnprinted, kRendered},
    {"reasoning", kUnprinted, kRendered},
    {"reasoning_content", kUnprinted, kRendered},
    {"thinking", kUnprinted, kRendered},
    {"thinking_content", kUnprinted, kRendered},
    {"thoughts", kUnprinted, kRendered},
    {"thought", kUnprinted, kRendered},
    {"system", kPlace, kRendered},
    {"system_prompt", kPlace, kRendered},
    {"history", kPlace, kRendered},
    {"documents", kUnprinted, kRendered},
    {"chat_template", kPlace, kRendered},
    {"chat_template_kwargs", kPlace, kRendered},
    {"prefix", kPlace, kRendered},
    {"suffix", kPlace, kRendered},
    {"refusal", kPlace, kRendered},
    {"chosen", kPreference, kRendered},
    {"rejected", kPreference, kRendered},
    {"image", kMedia, kAlways},
    {"images", kMedia, kAlways},
    {"image_url", kMedia, kAlways},
    {"video", kMedia, kAlways},
    {"videos", kMedia, kAlways},
    {"audio", kMedia, kAlways},
    {"audios", kMedia, kAlways},
    {"attention_mask", kMasks, kAlways},
    {"position_ids", kMasks, kAlways},
    {"completion_mask", kMasks, kAlways},
    {"assistant_masks", kMasks, kAlways},
    {"assistant_mask", kMasks, kAlways},
    {"assistant_tokens_mask", kMasks, kAlways},
    {"loss_mask", kMasks, kAlways},
    {"label_mask", kMasks, kAlways},
    {"labels_mask", kMasks, kAlways},
    {"loss_weights", kMasks, kAlways},
    {"token_weights", kMasks, kAlways},
    {"seq_lengths", kMasks, kAlways},
    {"cu_seqlens", kMasks, kAlways},
    {"weight", kWeights, kAlways},
    {"weights", kWeights, kAlways},
    {"train", kWeights, kAlways},
    {"train_detail", kWeights, kAlways},
    {"training", kWeights, kAlways},
    {"loss", kWeights, kAlways},
    {"loss_weight", kWeights, kAlways},
    {"sample_weight", kWeights, kAlways},
    {"masked", kMasked, kAlways},
}};

/// Columns of lists and objects are often kept as their JSON text.
bool says_nothing(const json& value) {
  static constexpr std::array<std::string_view, 4> kTexts = {"", "[]", "{}", "null"};
  if (value.is_string()) {
    return std::ranges::find(kTexts, value.get_ref<const std::string&>()) != kTexts.end();
  }
  return value.is_null() || (value.is_structured() && value.empty());
}

bool is_read(std::string_view key, std::span<const std::string_view> read) {
  return std::ranges::find(read, key) != read.end();
}

/// A weight that changes nothing.
bool is_one(const json& value) { return value == json(true) || value == json(1); }

/// A value of a key of kMeaningful that changes nothing. A mask that is false would mask.
bool changes_nothing(const Meaningful& rule, const json& value) {
  if (rule.cure == kWeights) return is_one(value);
  return rule.cure != kMasks && value == json(false);
}

void check_keys(const json& object, const KnownKeys& known, std::string_view where,
                std::set<std::string>& unused) {
  for (const auto& [key, value] : object.items()) {
    if (is_read(key, known.read) || says_nothing(value)) continue;
    const auto rule = std::ranges::find(kMeaningful, key, &Meaningful::key);
    if (rule == kMeaningful.end() || (rule->rendered && known.rendered)) {
      unused.insert(io::printable(key));
    } else if (!changes_nothing(*rule, value)) {
      fail("{}: \"{}\" is not understood here: {}", where, key, rule->cure);
    }
  }
}

}  // namespace

void RowRemarks::add(const RowRemarks& other) {
  unused_columns.insert(other.unused_columns.begin(), other.unused_columns.end());
  unused_message_keys.insert(other.unused_message_keys.begin(), other.unused_message_keys.end());
  for (const auto& [token, times] : other.spelled_out) spelled_out[token] += times;
  for (const auto& [which, times] : other.placeholders) placeholders[which] += times;
  for (const auto& [key, times] : other.unprinted) unprinted[key] += times;
  unended += other.unended;
  rewritten += other.rewritten;
}

std::vector<std::string> RowRemarks::lines() const {
  std::vector<std::string> out;
  if (!unused_columns.empty()) {
    out.push_back(fmt::format("columns not used: {}", fmt::join(unused_columns, ", ")));
  }
  if (!unused_message_keys.empty()) {
    out.push_back(
        fmt::format("keys of messages not used: {}", fmt::join(unused_message_keys, ", ")));
  }
  if (!spelled_out.empty()) {
    std::vector<std::string> counted;
    for (const auto& [token, times] : spelled_out) {
      counted.push_back(fmt::format("{} ({})", io::printable(token), times));
    }
    out.push_back(fmt::format(
        "special tokens inside messages, taken as letters: {}{}", fmt::join(counted, ", "),
        of_config ? "; special_tokens_in_content: tokens takes them as tokens" : ""));
  }
  for (const auto& [key, times] : unprinted) {
    out.push_back(fmt::format("the chat template leaves out, of {1} messages: {0}", key, times));
  }
  if (unended > 0) {
    out.push_back(
        fmt::format("warning: {} learned turns have no end token behind them: nothing "
                    "that is learned will end such an answer",
                    unended));
  }
  if (rewritten > 0) {
    out.push_back(
        fmt::format("{} learned turns stand behind another text here than when they are made, as "
                    "the chat template rewrites earlier turns; mask_history: true learns the last "
                    "turn alone",
                    rewritten));
  }
  for (const auto& [which, times] : placeholders) {
    out.push_back(fmt::format("{}, which is {} as letters: {}", which,
                              of_config ? "learned" : "taken", times));
  }
  return out;
}

void RowRemarks::count_placeholders(std::string_view kind, std::string_view text,
                                    const Tokenizer& tokenizer) {
  for (const std::string_view name : {"<image>", "<video>", "<audio>"}) {
    if (text.find(name) == text.npos || tokenizer.token_id(name)) continue;
    ++placeholders[fmt::format("{} with \"{}\"", kind, name)];
  }
}

bool has_value(const json& object, std::string_view key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

bool says_something(const json& object, std::string_view key) {
  const auto found = object.find(key);
  return found != object.end() && !says_nothing(*found) && *found != json(false);
}

bool is_media_key(std::string_view key) {
  const auto rule = std::ranges::find(kMeaningful, key, &Meaningful::key);
  return rule != kMeaningful.end() && rule->cure == kMedia;
}

void note_unused(const json& object, std::span<const std::string_view> read,
                 std::set<std::string>& unused) {
  for (const auto& [key, value] : object.items()) {
    if (!is_read(key, read) && !says_nothing(value)) unused.insert(io::printable(key));
  }
}

void check_columns(const json& row, const KnownKeys& known, std::string_view where,
                   RowRemarks& remarks) {
  check_keys(row, known, where, remarks.unused_columns);
}

void check_message_keys(const json& message, const KnownKeys& known, std::string_view where,
                        RowRemarks& remarks) {
  check_keys(message, known, where, remarks.unused_message_keys);
}

std::optional<bool> learned_by_keys(const json& message, std::string_view where) {
  std::optional<bool> learned;
  for (const std::string_view key : kLearnedKeys) {
    const auto found = message.find(key);
    if (found == message.end() || found->is_null()) continue;
    const bool one = is_one(*found);
    if (!one && *found != json(false) && *found != json(0)) {
      fail("{}: \"{}\" must be 0, 1, false or true, not {}", where, key,
           io::printable(found->dump()));
    }
    if (learned.value_or(one) != one) {
      fail("{}: \"{}\" contradicts another key of the message: is it to be learned?", where, key);
    }
    learned = one;
  }
  return learned;
}

}  // namespace tessera::launch
