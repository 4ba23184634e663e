#include "launch/data/chat_rows.h"

#include <algorithm>

#include "launch/data/learned_spans.h"
#include "launch/data/messages.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

LearnedTurns turns_of(const Config& config) {
  return {.all = config.train_on_inputs,
          .last_only = config.mask_history,
          .roles = config.roles_to_train};
}

/// Learns the end tokens of all turns, or of the last learned turn alone.
void learn_ends(ChatRow& row, EndTokens which, std::span<const int32_t> ends) {
  if (which == EndTokens::kTurn) return;
  bool last = true;
  for (size_t i = row.learned.size(); i-- > 0;) {
    if (std::ranges::find(ends, row.encoding.ids[i]) == ends.end()) continue;
    if (which == EndTokens::kAll) {
      row.learned[i] = true;
    } else if (row.learned[i]) {
      row.learned[i] = last;
      last = false;
    }
  }
}

}  // namespace

ChatRow chat_row(Conversation conversation, const Config& config, const ChatTools& tools,
                 std::string_view where, RowRemarks& remarks) {
  fit_to_template(conversation, tools.chat_template, where, remarks);
  ChatRow row;
  try {
    const LearnedText text = learned_text(tools.chat_template, conversation, turns_of(config),
                                          tools.tokenizer, tools.ends);
    for (const std::string& key : text.unprinted) ++remarks.unprinted[key];
    remarks.unended += text.unended;
    remarks.rewritten += text.rewritten;
    row.pieces = pieces_of(text);
    if (config.special_tokens_in_content == ContentTokens::kTokens) {
      for (TextPiece& piece : row.pieces) piece.literal = false;
    }
    row.encoding = tools.tokenizer.encode(row.pieces);
  } catch (const jinja::TemplateRefusal& refusal) {
    fail("{}: the chat template refuses the conversation: {}", where, refusal.what());
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
  count_letters(row.encoding, conversation, tools.tokenizer, remarks);
  row.learned = learned_tokens(row.pieces, row.encoding);
  learn_ends(row, config.train_on_eos, tools.ends);
  return row;
}

}  // namespace tessera::launch
