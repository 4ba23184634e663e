#include "launch/run/answer_text.h"

#include <algorithm>

namespace tessera::launch {

size_t held_back(std::string_view text, std::span<const std::string> marks) {
  size_t most = 0;
  for (const std::string& mark : marks) {
    for (size_t n = std::min(mark.size() - 1, text.size()); n > most; --n) {
      if (text.ends_with(std::string_view(mark).substr(0, n))) most = n;
    }
  }
  return most;
}

std::string AnswerText::push(int32_t id) {
  if (stopped_) return "";
  ++tokens_;
  // A model may have more rows than its tokenizer has tokens; those have no text.
  if (!tokenizer_.token(id).empty()) pending_ += decoder_.push(id);
  return release(false);
}

std::string AnswerText::finish() {
  if (stopped_) return "";
  pending_ += decoder_.finish();
  return release(true);
}

std::string AnswerText::release(bool last) {
  size_t end = pending_.size();
  for (const std::string& stop : stops_) {
    const size_t found = pending_.find(stop);
    if (found == pending_.npos) continue;
    stopped_ = true;
    end = std::min(end, found);
  }
  if (!stopped_ && !last) end -= held_back(pending_, stops_);
  std::string text = pending_.substr(0, end);
  pending_.erase(0, end);
  return text;
}

}  // namespace tessera::launch
