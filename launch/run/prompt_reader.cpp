#include "launch/run/prompt_reader.h"

#include <algorithm>
#include <array>

#include "launch/data/messages.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

constexpr std::array<std::string_view, 1> kRead = {"prompt"};

std::string text_of(const RowJson& row, const std::string& where, RowRemarks& remarks) {
  if (row.is_string()) return row.get<std::string>();
  if (has_value(row, "messages")) {
    fail("{}: a conversation; --messages takes files of conversations, --prompts plain texts",
         where);
  }
  const auto text = row.is_object() ? row.find("prompt") : row.end();
  if (text == row.end() || !text->is_string()) {
    fail("{}: expected a JSON string or an object {{\"prompt\": \"...\"}}", where);
  }
  note_unused(row, kRead, remarks.unused_columns);
  return text->get<std::string>();
}

}  // namespace

void check_prompt_choice(const PromptChoice& choice) {
  const int given =
      choice.prompt.has_value() + choice.prompts.has_value() + choice.messages.has_value();
  if (given != 1) fail_usage("give one of --prompt TEXT, --prompts FILE and --messages FILE");
}

PromptFile::PromptFile(const std::string& path)
    : path_(path), json_(inner_extension(path) == ".jsonl") {
  if (json_ || inner_extension(path) == ".txt") return;
  fail("{}: --prompts takes .txt with a text on each line, or .jsonl with {{\"prompt\": \"...\"}}",
       path);
}

std::optional<PromptFile::Row> PromptFile::next(RowRemarks& remarks) {
  const bool first = !reader_;
  if (first) {
    text_ = std::make_unique<TextChunks>(path_);
    reader_.emplace(*text_);
  }
  std::string_view line;
  if (!reader_->next(line)) {
    if (first) fail("{}: the file is empty", path_);
    reader_.reset();
    return std::nullopt;
  }
  Row row{std::string(line), reader_->where()};
  if (json_) row.text = text_of(io::parse_ordered_json(line, row.where), row.where, remarks);
  return row;
}

PromptReader::PromptReader(const PromptChoice& choice, const Tokenizer& tokenizer,
                           const ChatTemplate* chat)
    : choice_(choice), tokenizer_(tokenizer), chat_(chat) {
  check_prompt_choice(choice);
  if (choice.prompts) file_.emplace(*choice.prompts);
  if (choice.messages) conversations_.emplace(*choice.messages);
  remarks_.of_config = false;
}

std::optional<PromptReader::Prompt> PromptReader::next() {
  if (conversations_) return next_conversation();
  if (file_) return next_text();
  given_ = !given_;
  if (!given_) return std::nullopt;
  return Prompt{ids_of(*choice_.prompt), "the prompt"};
}

std::optional<PromptReader::Prompt> PromptReader::next_text() {
  const std::optional<PromptFile::Row> row = file_->next(remarks_);
  if (!row) return std::nullopt;
  return Prompt{ids_of(row->text), row->where};
}

std::optional<PromptReader::Prompt> PromptReader::next_conversation() {
  std::optional<ChatRequest> request = conversations_->next(remarks_);
  if (!request) return std::nullopt;
  std::string name = lines() ? request->where : "the prompt";
  return Prompt{prompt_of(std::move(*request), *chat_, tokenizer_, remarks_), std::move(name)};
}

std::vector<int32_t> PromptReader::ids_of(const std::string& text) const {
  std::vector<int32_t> ids = tokenizer_.encode(text);
  const std::vector<int32_t>& prefix = tokenizer_.prefix_ids();
  if (std::ranges::mismatch(prefix, ids).in1 != prefix.end()) {
    ids.insert(ids.begin(), prefix.begin(), prefix.end());
  }
  return ids;
}

std::vector<std::string> PromptReader::notes() const {
  std::vector<std::string> out;
  const std::string& path = choice_.messages ? *choice_.messages : choice_.prompts.value_or("");
  for (const std::string& line : remarks_.lines()) out.push_back(fmt::format("{}: {}", path, line));
  return out;
}

std::vector<int32_t> prompt_of(ChatRequest request, const ChatTemplate& chat,
                               const Tokenizer& tokenizer, RowRemarks& remarks) {
  request.add_generation_prompt = !request.continues;
  const jinja::Rendered text = render(request, chat, remarks);
  Encoding encoding = tokenizer.encode(pieces_of(text));
  count_letters(encoding, request.conversation, tokenizer, remarks);
  return std::move(encoding.ids);
}

}  // namespace tessera::launch
