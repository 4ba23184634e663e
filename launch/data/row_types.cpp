#include "launch/data/row_types.h"

#include <algorithm>
#include <array>
#include <map>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

const std::string& text_field(const json& row, const char* key, std::string_view where) {
  const auto it = row.find(key);
  if (it == row.end()) fail("{}: the row has no \"{}\"", where, key);
  if (!it->is_string()) fail("{}: \"{}\" must be a string", where, key);
  return it->get_ref<const std::string&>();
}

/// The empty string when the key is absent or null.
std::string optional_text(const json& row, const char* key, std::string_view where) {
  const auto it = row.find(key);
  return it == row.end() || it->is_null() ? std::string() : text_field(row, key, where);
}

std::vector<int32_t> integers(const json& row, const char* key, std::string_view where,
                              const RowEncoder& encoder) {
  const json& list = row.at(key);
  if (!list.is_array()) fail("{}: \"{}\" must be an array of integers", where, key);
  std::vector<int32_t> out;
  for (const json& item : list) {
    if (!item.is_number_integer()) fail("{}: \"{}\" must hold integers only", where, key);
    const int64_t id = item.get<int64_t>();
    const bool ignored = id == Sample::kIgnore && std::string_view(key) == "labels";
    if (!ignored && (id < 0 || id >= encoder.vocab)) {
      fail("{}: \"{}\" holds {}, which is no token of this model (0 to {})", where, key, id,
           encoder.vocab - 1);
    }
    out.push_back(int32_t(id));
  }
  return out;
}

/// The text that opens a row by itself, where the tokenizer wants one.
void open_with_bos(std::vector<TextPiece>& pieces, const Tokenizer& tokenizer) {
  if (tokenizer.adds_bos()) pieces.push_back({tokenizer.token(*tokenizer.bos_id()), false, false});
}

/// What tells the model that the answer ends; learned like the answer.
void close_with_eos(std::vector<TextPiece>& pieces, const Tokenizer& tokenizer) {
  if (tokenizer.eos_id()) pieces.push_back({tokenizer.token(*tokenizer.eos_id()), false, true});
}

std::vector<TextPiece> alpaca_pieces(const json& row, const Tokenizer& tokenizer,
                                     std::string_view where) {
  const std::string& instruction = text_field(row, "instruction", where);
  const std::string input = optional_text(row, "input", where);
  // The wording of the Stanford Alpaca release, which every trainer repeats to the letter.
  std::string prompt =
      input.empty() ? "Below is an instruction that describes a task. Write a response that "
                      "appropriately completes the request.\n\n### Instruction:\n" +
                          instruction
                    : "Below is an instruction that describes a task, paired with an input that "
                      "provides further context. Write a response that appropriately completes the "
                      "request.\n\n### Instruction:\n" +
                          instruction + "\n\n### Input:\n" + input;
  std::vector<TextPiece> pieces;
  open_with_bos(pieces, tokenizer);
  pieces.push_back({prompt + "\n\n### Response:\n", true, false});
  pieces.push_back({text_field(row, "output", where), true, true});
  close_with_eos(pieces, tokenizer);
  return pieces;
}

std::vector<TextPiece> prompt_pieces(const json& row, const Tokenizer& tokenizer,
                                     std::string_view where) {
  std::vector<TextPiece> pieces;
  open_with_bos(pieces, tokenizer);
  pieces.push_back({text_field(row, "prompt", where), true, false});
  pieces.push_back({text_field(row, "completion", where), true, true});
  close_with_eos(pieces, tokenizer);
  return pieces;
}

std::vector<TextPiece> completion_pieces(const json& row, const Tokenizer& tokenizer,
                                         std::string_view where) {
  std::vector<TextPiece> pieces;
  open_with_bos(pieces, tokenizer);
  pieces.push_back({text_field(row, "text", where), true, true});
  close_with_eos(pieces, tokenizer);
  return pieces;
}

Sample encode_pieces(const std::vector<TextPiece>& pieces, bool train_on_inputs,
                     const RowEncoder& encoder, std::string_view where) {
  Encoding encoding;
  try {
    encoding = encoder.tokenizer->encode(pieces);
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
  Sample sample{std::move(encoding.ids), {}};
  // A token is learned if its first byte is the assistant's.
  size_t piece = 0;
  int64_t end = pieces.empty() ? 0 : int64_t(pieces[0].text.size());
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    while (encoding.begins[i] >= end && piece + 1 < pieces.size()) {
      end += int64_t(pieces[++piece].text.size());
    }
    const bool learned = train_on_inputs || pieces[piece].assistant;
    sample.labels.push_back(learned ? sample.ids[i] : Sample::kIgnore);
    if (sample.ids[i] >= encoder.vocab) {
      fail("{}: the tokenizer gives id {}, but the model has {} tokens; do they belong together?",
           where, sample.ids[i], encoder.vocab);
    }
  }
  return sample;
}

Sample encode_tokenized(const json& row, const RowEncoder& encoder, std::string_view where) {
  if (!row.contains("input_ids")) fail("{}: the row has no \"input_ids\"", where);
  Sample sample;
  sample.ids = integers(row, "input_ids", where, encoder);
  sample.labels = row.contains("labels") ? integers(row, "labels", where, encoder) : sample.ids;
  if (sample.labels.size() != sample.ids.size()) {
    fail("{}: {} labels for {} input_ids", where, sample.labels.size(), sample.ids.size());
  }
  return sample;
}

}  // namespace

std::string infer_row_type(const json& row, std::string_view where) {
  static constexpr std::array<std::array<std::string_view, 3>, 6> kColumns = {{
      {"tokenized", "input_ids", ""},
      {"chat_template", "messages", ""},
      {"chat_template", "conversations", ""},
      {"alpaca", "instruction", "output"},
      {"prompt_completion", "prompt", "completion"},
      {"completion", "text", ""},
  }};
  std::string found;
  for (const auto& [type, first, second] : kColumns) {
    if (!row.contains(first) || (!second.empty() && !row.contains(second))) continue;
    if (!found.empty() && found != type) {
      fail("{}: the columns fit both {} and {}; say which with `type:`", where, found, type);
    }
    found = type;
  }
  if (found.empty()) {
    fail(
        "{}: the columns fit no known type (messages; instruction and output; prompt and "
        "completion; text; input_ids)",
        where);
  }
  return found;
}

std::vector<Message> messages_of(const json& row, std::string_view where) {
  const bool sharegpt = !row.contains("messages") && row.contains("conversations");
  const char* key = sharegpt ? "conversations" : "messages";
  if (!row.contains(key)) fail("{}: the row has no \"messages\"", where);
  const json& list = row.at(key);
  if (!list.is_array() || list.empty()) fail("{}: \"{}\" must be a non-empty array", where, key);
  static const std::map<std::string, std::string, std::less<>> kRoles = {{"human", "user"},
                                                                         {"gpt", "assistant"}};
  std::vector<Message> messages;
  for (const json& item : list) {
    if (!item.is_object()) fail("{}: every message must be an object", where);
    const bool from = !item.contains("role") && item.contains("from");
    std::string role = text_field(item, from ? "from" : "role", where);
    if (const auto it = kRoles.find(role); from && it != kRoles.end()) role = it->second;
    if (role != "system" && role != "user" && role != "assistant") {
      fail("{}: unknown role \"{}\" (system, user or assistant)", where, role);
    }
    messages.push_back({role, text_field(item, from ? "value" : "content", where)});
  }
  return messages;
}

Sample encode_row(const json& row, const std::string& type, bool train_on_inputs,
                  const RowEncoder& encoder, std::string_view where) {
  if (type == "tokenized") return encode_tokenized(row, encoder, where);
  TESSERA_CHECK(encoder.tokenizer != nullptr);
  const Tokenizer& tokenizer = *encoder.tokenizer;
  if (type == "chat_template") {
    TESSERA_CHECK(encoder.chat_template != nullptr);
    const auto messages = messages_of(row, where);
    const auto pieces = encoder.chat_template->render(messages, false);
    return encode_pieces(pieces, train_on_inputs, encoder, where);
  }
  if (type == "alpaca") {
    return encode_pieces(alpaca_pieces(row, tokenizer, where), train_on_inputs, encoder, where);
  }
  if (type == "prompt_completion") {
    return encode_pieces(prompt_pieces(row, tokenizer, where), train_on_inputs, encoder, where);
  }
  TESSERA_CHECK(type == "completion");
  return encode_pieces(completion_pieces(row, tokenizer, where), true, encoder, where);
}

}  // namespace tessera::launch
