#include "launch/data/row_types.h"

#include <algorithm>
#include <array>

#include "launch/data/chat_rows.h"
#include "launch/data/column_guess.h"
#include "launch/data/learned_spans.h"
#include "launch/data/message_mapping.h"
#include "launch/data/messages.h"
#include "launch/data/tokenized_rows.h"

namespace tessera::launch {
namespace {

using json = RowJson;

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
struct Exchange {
  std::string instruction, input, output;
};

/// The turns of an Alpaca row: those of "history", pairs of a question and an answer, and its own.
std::vector<Exchange> alpaca_turns(const json& row, std::string_view where) {
  std::vector<Exchange> turns;
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
  const std::vector<Exchange> turns = alpaca_turns(row, where);
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
    pieces.push_back({turns[i].output, /*literal=*/false, /*learned=*/true});
    text.clear();
    if (i + 1 < turns.size() && eos) {
      pieces.push_back({tokenizer.token(*eos), /*literal=*/false, /*learned=*/true});
    }
  }
  return pieces;
}

std::vector<TextPiece> prompt_pieces(const json& row, std::string_view where) {
  return {{text_column(row, "prompt", where)},
          {text_column(row, "completion", where), /*literal=*/false, /*learned=*/true}};
}

/// What answers are made of begins a span, so that a prompt has the tokens it has alone.
void begin_spans(std::vector<TextPiece>& pieces) {
  for (size_t i = 1; i < pieces.size(); ++i) {
    pieces[i].begins_span = pieces[i].learned != pieces[i - 1].learned;
  }
}

Sample sample_of(const Encoding& encoding, const std::vector<bool>& learned) {
  Sample sample{encoding.ids, encoding.ids};
  for (size_t i = 0; i < learned.size(); ++i) {
    if (!learned[i]) sample.labels[i] = Sample::kIgnore;
  }
  return sample;
}

/// Puts `ids` before or behind a text, unless they are there already.
void add_around(Sample& sample, const std::vector<int32_t>& ids, bool in_front, bool learned) {
  std::vector<int32_t>& text = sample.ids;
  const auto n = std::ptrdiff_t(ids.size());
  const bool there = text.size() >= ids.size() &&
                     std::equal(ids.begin(), ids.end(), in_front ? text.begin() : text.end() - n);
  if (there) return;
  const auto at = in_front ? 0 : std::ptrdiff_t(text.size());
  const std::vector<int32_t> none(ids.size(), Sample::kIgnore);
  const std::vector<int32_t>& labels = learned ? ids : none;
  text.insert(text.begin() + at, ids.begin(), ids.end());
  sample.labels.insert(sample.labels.begin() + at, labels.begin(), labels.end());
}

bool has_list(const json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_array();
}

/// Encodes one row's text.
class TextRow {
 public:
  TextRow(const RowEncoder& encoder, std::string_view where) : encoder_(encoder), where_(where) {
    if (!encoder.tokenizer) throw *encoder.no_tokenizer;
  }

  const Tokenizer& tokenizer() const { return *encoder_.tokenizer; }

  Encoding encode(const std::vector<TextPiece>& pieces) const {
    Encoding encoding;
    try {
      encoding = tokenizer().encode(pieces);
    } catch (const Error& error) {
      fail("{}: {}", where_, error.what());
    }
    check(encoding);
    return encoding;
  }

  /// Error for an id that the model does not have.
  void check(const Encoding& encoding) const {
    for (const int32_t id : encoding.ids) {
      if (id < encoder_.vocab) continue;
      fail("{}: the tokenizer gives id {}, but the model has {} tokens; do they belong together?",
           where_, id, encoder_.vocab);
    }
  }

  /// As tokenizer(text) has it, special tokens in the text included, between the tokens that begin
  /// and end a text, unless they are there already. The end is learned.
  Sample encode_raw(std::vector<TextPiece> pieces, bool train_on_inputs,
                    RowRemarks& remarks) const {
    for (TextPiece& piece : pieces) {
      remarks.count_placeholders("texts", piece.text, tokenizer());
      piece.learned = piece.learned || train_on_inputs;
    }
    begin_spans(pieces);
    const Encoding encoding = encode(pieces);
    Sample sample = sample_of(encoding, learned_tokens(pieces, encoding));
    add_around(sample, tokenizer().prefix_ids(), /*in_front=*/true, train_on_inputs);
    add_around(sample, tokenizer().suffix_ids(), /*in_front=*/false, /*learned=*/true);
    if (const auto eos = tokenizer().eos_id()) {
      add_around(sample, {*eos}, /*in_front=*/false, /*learned=*/true);
    }
    return sample;
  }

 private:
  const RowEncoder& encoder_;
  std::string_view where_;
};

Sample encode_conversation(const json& row, const Config& config, const RowEncoder& encoder,
                           std::string_view where, RowRemarks& remarks) {
  Conversation conversation = conversation_of(row, where, remarks);
  const TextRow text(encoder, where);
  if (!encoder.chat_template) {
    if (encoder.no_chat_template) throw *encoder.no_chat_template;
    fail("{}: the row is a conversation; set type: chat_template", where);
  }
  const ChatRow chat =
      chat_row(std::move(conversation), config,
               {*encoder.chat_template, text.tokenizer(), encoder.ends}, where, remarks);
  text.check(chat.encoding);
  return sample_of(chat.encoding, chat.learned);
}

/// Texts of which each says whether it is learned. Each is tokenized alone, and nothing is put
/// around them: their author has written all of it.
Sample encode_segments(const json& row, const Config& config, const RowEncoder& encoder,
                       std::string_view where, RowRemarks& remarks) {
  const TextRow text(encoder, where);
  if (!has_list(row, "segments")) fail("{}: the row has no list \"segments\"", where);
  Sample sample;
  for (const json& segment : row.at("segments")) {
    if (!segment.is_object() || !segment.value("label", json()).is_boolean() ||
        !segment.value("text", json()).is_string()) {
      fail("{}: every segment must be {{\"label\": true or false, \"text\": ...}}", where);
    }
    const std::string words = segment.at("text");
    remarks.count_placeholders("texts", words, text.tokenizer());
    const Encoding encoding{text.tokenizer().encode(words), {}, {}};
    text.check(encoding);
    const bool learned = config.train_on_inputs || segment.at("label") == true;
    for (const int32_t id : encoding.ids) {
      sample.ids.push_back(id);
      sample.labels.push_back(learned ? id : Sample::kIgnore);
    }
  }
  return sample;
}

/// Prompt and completion as lists of messages: one conversation, whose end is learned. Of a prompt,
/// as of a text, train_on_inputs decides.
json conversation_of_prompt(const json& row, const Config& config, std::string_view where) {
  json conversation = row, messages = json::array();
  for (const char* key : {"prompt", "completion"}) {
    const auto list = conversation.find(key);
    if (list == conversation.end() || !list->is_array()) {
      fail("{}: prompt and completion must both be texts, or both be lists of messages", where);
    }
    for (json& message : *list) {
      if (!message.is_object()) fail("{}: every message must be an object", where);
      if (!config.train_on_inputs) message["train"] = key != std::string_view("prompt");
      messages.push_back(std::move(message));
    }
    conversation.erase(list);
  }
  conversation["messages"] = std::move(messages);
  return conversation;
}

}  // namespace

RowType infer_row_type(const json& row, std::string_view where) {
  const std::vector<RowType> types = types_of_columns(row);
  if (types.size() == 1) return types[0];
  if (!types.empty()) {
    fail("{}: the columns fit both {} and {}; say which with `type:`", where, name_of(types[0]),
         name_of(types[1]));
  }
  if (has_value(row, "chosen") || has_value(row, "rejected")) {
    fail(
        "{}: the row holds a preference (chosen, rejected), and preferences cannot be learned; to "
        "learn the chosen answers alone, set field_messages: chosen where they are messages, else "
        "type: prompt_completion, field_instruction and field_output: chosen",
        where);
  }
  fail(
      "{}: the columns fit no known type (messages; instruction and output; prompt and completion; "
      "text; segments; input_ids): they are {}; say which is which in the data set's "
      "field_messages, "
      "field_instruction and field_output, or field",
      where, names_in(row));
}

std::vector<Sample> encode_row(const json& row, RowType type, const Config& config,
                               const RowEncoder& encoder, std::string_view where,
                               RowRemarks& remarks) {
  using Columns = std::array<std::string_view, 5>;
  static constexpr Columns kAlpaca = {"instruction", "input", "output", "system", "history"};
  static constexpr std::array<std::string_view, 2> kPrompt = {"prompt", "completion"};
  static constexpr std::array<std::string_view, 1> kText = {"text"}, kSegments = {"segments"};
  switch (type) {
    case RowType::kTokenized:
      return encode_tokenized(row, encoder.vocab, where, remarks);
    case RowType::kChatTemplate: {
      const bool pair = has_list(row, "prompt") && has_list(row, "completion") &&
                        !has_value(row, "messages") && !has_value(row, "conversations");
      return {encode_conversation(pair ? conversation_of_prompt(row, config, where) : row, config,
                                  encoder, where, remarks)};
    }
    case RowType::kAlpaca: {
      const TextRow text(encoder, where);
      check_columns(row, {kAlpaca}, where, remarks);
      return {text.encode_raw(alpaca_pieces(row, text.tokenizer(), where), config.train_on_inputs,
                              remarks)};
    }
    case RowType::kPromptCompletion: {
      if (has_list(row, "prompt") || has_list(row, "completion")) {
        return {encode_conversation(conversation_of_prompt(row, config, where), config, encoder,
                                    where, remarks)};
      }
      const TextRow text(encoder, where);
      check_columns(row, {kPrompt}, where, remarks);
      return {text.encode_raw(prompt_pieces(row, where), config.train_on_inputs, remarks)};
    }
    case RowType::kInputOutput:
      check_columns(row, {kSegments, /*rendered=*/true}, where, remarks);
      return {encode_segments(row, config, encoder, where, remarks)};
    case RowType::kCompletion:
      break;
  }
  const TextRow text(encoder, where);
  check_columns(row, {kText, /*rendered=*/true}, where, remarks);
  return {text.encode_raw({{text_column(row, "text", where)}}, true, remarks)};
}

}  // namespace tessera::launch
