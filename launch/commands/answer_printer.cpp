#include "launch/commands/answer_printer.h"

#include <nlohmann/json.hpp>

namespace tessera::launch {

void StreamedAnswer::print(const std::string& text) {
  if (text.size() == printed_) return;
  write_stdout(std::string_view(text).substr(printed_));
  printed_ = text.size();
}

void AnswerLines::add(uint64_t place, const Answer& answer) {
  const nlohmann::ordered_json row =
      whole_ ? to_json(answer) : nlohmann::ordered_json{{"text", answer.text}};
  waiting_[place] = row.dump() + "\n";
  for (auto first = waiting_.begin(); first != waiting_.end() && first->first == printed_;
       first = waiting_.erase(first)) {
    write_stdout(first->second);
    ++printed_;
  }
}

void AnswerProgress::token() {
  ++tokens_;
  const double pause = console_.is_terminal() ? 0.2 : 30, now = watch_.seconds();
  if (now - shown_ < pause) return;
  shown_ = now;
  if (console_.is_terminal()) {
    console_.live(line());
  } else {
    console_.line(line());
  }
}

std::string AnswerProgress::line() const {
  const double seconds = watch_.seconds();
  return fmt::format("{} of {} answers, {} tokens in {} ({:.0f} tokens/s)",
                     format_count(int64_t(done())), format_count(int64_t(answers_)),
                     format_count(tokens_), format_duration(seconds), double(tokens_) / seconds);
}

}  // namespace tessera::launch
