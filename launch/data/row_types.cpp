#include "launch/data/row_types.h"

#include <algorithm>
#include <array>

#include "launch/data/messages.h"
#include "launch/data/tokenized_rows.h"
#include "launch/text/tokenizer_fields.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

std::string text_column(const json& row, const char* key, std::string_view where) {
  if (!has_value(row, key)) fail("{}: the row has no \"{}\"", where, key);
  const auto it = row.find(key);
  if (!it->is_string()) fail("{}: \"{}\" must be a string", where, key);
  return it->get<std::string>();
}

/// The empty string when the column is absent or null.
std::string optional_column(const json& row, const char* key, std::string_view where) {
  return has_value(row, key) ? text_column(row, key, where) : std::string();
}

/// A question and its answer; `input` is Alpaca's second part of a question.
struct Turn {
  std::string instruction, input, output;
};

/// The turns of an Alpaca row: those of "history", pairs of a question and an answer, and its own.
std::vector<Turn> alpaca_turns(const json& row, std::string_view where) {
  std::vector<Turn> turns;
  if (has_value(row, "history")) {
    const json& history = row.at("history");
    if (!history.is_array()) fail("{}: \"history\" must be an array of pairs", where);
    for (const json& pair : history) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
        fail("{}: \"history\" must hold pairs of texts, a question and its answer", where);
      }
      turns.push_back({pair[0].get<std::string>(), "", pair[1].get<std::string>()});
    }
  }
  turns.push_back({text_column(row, "instruction", where), optional_column(row, "input", where),
                   text_column(row, "output", where)});
  return turns;
}

/// The wording of the Stanford Alpaca release, which every trainer repeats to the letter; a system
/// text takes the place of its first paragraph. The end of the last answer is left to the caller.
std::vector<TextPiece> alpaca_pieces(const json& row, const Tokenizer& tokenizer,
                                     std::string_view where) {
  const std::vector<Turn> turns = alpaca_turns(row, where);
  std::string text = optional_column(row, "system", where);
  if (text.empty()) {
    text = turns.back().input.empty()
               ? "Below is an instruction that describes a task. Write a response that "
                 "appropriately completes the request."
               : "Below is an instruction that describes a task, paired with an input that "
                 "provides further context. Write a response that appropriately completes the "
                 "request.";
  }
  const auto eos = tokenizer.eos_id();
  std::vector<TextPiece> pieces;
  for (size_t i = 0; i < turns.size(); ++i) {
    text += "\n\n### Instruction:\n" + turns[i].instruction;
    if (!turns[i].input.empty()) text += "\n\n### Input:\n" + turns[i].input;
    pieces.push_back({text + "\n\n### Response:\n"});
    pieces.push_back({turns[i].output, /*literal=*/false, /*assistant=*/true});
    text.clear();
    if (i + 1 < turns.size() && eos) {
      pieces.push_back({tokenizer.token(*eos), /*literal=*/false, /*assistant=*/true});
    }
  }
  return pieces;
}

std::vector<TextPiece> prompt_pieces(const json& row, std::string_view where) {
  return {{text_column(row, "prompt", where)},
          {text_column(row, "completion", where), /*literal=*/false, /*assistant=*/true}};
}

/// Whether the message that a piece comes from is one that must not be learned.
bool is_context(const TextPiece& piece, std::span<const Message> messages) {
  return piece.message >= 0 && size_t(piece.message) < messages.size() &&
         !messages[size_t(piece.message)].learned;
}

/// Tokens of a text, and as labels those whose first byte is to be learned.
Sample encode_pieces(const std::vector<TextPiece>& pieces, std::span<const Message> messages,
                     bool train_on_inputs, const Encoding& encoding) {
  Sample sample{encoding.ids, {}};
  sample.labels.reserve(sample.ids.size());
  size_t piece = 0;
  int64_t end = pieces.empty() ? 0 : int64_t(pieces[0].text.size());
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    while (encoding.begins[i] >= end && piece + 1 < pieces.size()) {
      end += int64_t(pieces[++piece].text.size());
    }
    const bool learned =
        (train_on_inputs || pieces[piece].assistant) && !is_context(pieces[piece], messages);
    sample.labels.push_back(learned ? sample.ids[i] : Sample::kIgnore);
  }
  return sample;
}

/// Encodes one row's text.
class TextRow {
 public:
  TextRow(const RowEncoder& encoder, std::string_view where) : encoder_(encoder), where_(where) {
    if (!encoder.tokenizer) throw *encoder.no_tokenizer;
  }

  const Tokenizer& tokenizer() const { return *encoder_.tokenizer; }

  Encoding encode(const std::vector<TextPiece>& pieces) const {
    try {
      Encoding encoding = tokenizer().encode(pieces);
      for (const int32_t id : encoding.ids) require_token(id);
      return encoding;
    } catch (const Error& error) {
      fail("{}: {}", where_, error.what());
    }
  }

  /// As tokenizer(text) has it, special tokens in the text included, between the tokens that begin
  /// and end a text, unless they are there already. The end is learned.
  Sample encode_raw(const std::vector<TextPiece>& pieces, bool train_on_inputs,
                    RowRemarks& remarks) const {
    for (const TextPiece& piece : pieces) {
      remarks.count_placeholders("texts", piece.text, tokenizer());
    }
    Sample sample = encode_pieces(pieces, {}, train_on_inputs, encode(pieces));
    const auto bos = tokenizer().bos_id(), eos = tokenizer().eos_id();
    if (tokenizer().adds_bos() && (sample.ids.empty() || sample.ids.front() != *bos)) {
      sample.ids.insert(sample.ids.begin(), *bos);
      sample.labels.insert(sample.labels.begin(), train_on_inputs ? *bos : Sample::kIgnore);
    }
    if (eos && (sample.ids.empty() || sample.ids.back() != *eos)) {
      sample.ids.push_back(*eos);
      sample.labels.push_back(*eos);
    }
    return sample;
  }

 private:
  void require_token(int32_t id) const {
    if (id < encoder_.vocab) return;
    fail("the tokenizer gives id {}, but the model has {} tokens; do they belong together?", id,
         encoder_.vocab);
  }

  const RowEncoder& encoder_;
  std::string_view where_;
};

Sample encode_conversation(const json& row, const Config& config, const RowEncoder& encoder,
                           std::string_view where, RowRemarks& remarks) {
  const std::vector<Message> messages = messages_of(row, where, remarks);
  const TextRow text(encoder, where);
  if (!encoder.chat_template) throw *encoder.no_chat_template;
  std::vector<TextPiece> pieces;
  try {
    pieces = encoder.chat_template->render(messages, false);
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
  if (config.special_tokens_in_content == ContentTokens::kTokens) {
    for (TextPiece& piece : pieces) piece.literal = false;
  }
  const Encoding encoding = text.encode(pieces);
  count_letters(encoding, messages, text.tokenizer(), remarks);
  return encode_pieces(pieces, messages, config.train_on_inputs, encoding);
}

}  // namespace

RowType infer_row_type(const json& row, std::string_view where) {
  struct Columns {
    RowType type;
    std::string_view first, second = {};
  };
  static constexpr Columns kColumns[] = {
      {RowType::kTokenized, "input_ids"},
      {RowType::kChatTemplate, "messages"},
      {RowType::kChatTemplate, "conversations"},
      {RowType::kAlpaca, "instruction", "output"},
      {RowType::kPromptCompletion, "prompt", "completion"},
      {RowType::kCompletion, "text"},
  };
  std::optional<RowType> found;
  for (const auto& [type, first, second] : kColumns) {
    if (!has_value(row, first) || (!second.empty() && !has_value(row, second))) continue;
    if (found.value_or(type) != type) {
      fail("{}: the columns fit both {} and {}; say which with `type:`", where, name_of(*found),
           name_of(type));
    }
    found = type;
  }
  if (!found) {
    fail(
        "{}: the columns fit no known type (messages; instruction and output; prompt and "
        "completion; text; input_ids)",
        where);
  }
  return *found;
}

std::vector<Sample> encode_row(const json& row, RowType type, const Config& config,
                               const RowEncoder& encoder, std::string_view where,
                               RowRemarks& remarks) {
  using Columns = std::array<std::string_view, 5>;
  static constexpr Columns kAlpaca = {"instruction", "input", "output", "system", "history"};
  static constexpr std::array<std::string_view, 2> kPrompt = {"prompt", "completion"};
  static constexpr std::array<std::string_view, 1> kText = {"text"};
  switch (type) {
    case RowType::kTokenized:
      return encode_tokenized(row, encoder.vocab, where, remarks);
    case RowType::kChatTemplate:
      return {encode_conversation(row, config, encoder, where, remarks)};
    case RowType::kAlpaca: {
      const TextRow text(encoder, where);
      check_columns(row, {kAlpaca}, where, remarks);
      return {text.encode_raw(alpaca_pieces(row, text.tokenizer(), where), config.train_on_inputs,
                              remarks)};
    }
    case RowType::kPromptCompletion: {
      const TextRow text(encoder, where);
      check_columns(row, {kPrompt}, where, remarks);
      return {text.encode_raw(prompt_pieces(row, where), config.train_on_inputs, remarks)};
    }
    case RowType::kCompletion:
      break;
  }
  const TextRow text(encoder, where);
  check_columns(row, {kText, /*rendered=*/true}, where, remarks);
  return {text.encode_raw({{text_column(row, "text", where)}}, true, remarks)};
}

}  // namespace tessera::launch
