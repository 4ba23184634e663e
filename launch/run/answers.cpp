#include "launch/run/answers.h"

#include <cmath>

#include "runtime/core/error.h"

namespace tessera::launch {

std::string_view name_of(Finish finish) {
  switch (finish) {
    case Finish::kStop:
      return "stop";
    case Finish::kStopText:
      return "stop_string";
    case Finish::kLength:
      return "length";
    case Finish::kContext:
      return "context";
  }
  TESSERA_CHECK(false);
  return "";
}

nlohmann::ordered_json to_json(const Answer& answer) {
  return {{"index", answer.index},
          {"sample", answer.sample},
          {"text", answer.text},
          {"tokens", answer.tokens},
          {"finish", name_of(answer.finish)},
          {"prompt_tokens", answer.prompt_tokens},
          {"seconds", std::round(answer.seconds * 1000) / 1000}};
}

void AnswersInMaking::begin(uint64_t sequence, size_t prompt_tokens) {
  Answer answer;
  answer.index = sequence & 0xffffffffu;
  answer.sample = sequence >> 32;
  answer.prompt_tokens = int64_t(prompt_tokens);
  made_.insert_or_assign(sequence, InMaking{std::move(answer), AnswerText(tokenizer_, stops_)});
}

void AnswersInMaking::token(uint64_t sequence, int32_t id) {
  InMaking& making = made_.at(sequence);
  making.answer.text += making.words.push(id);
}

Answer AnswersInMaking::finish(uint64_t sequence, Finish finish) {
  const auto found = made_.find(sequence);
  InMaking& making = found->second;
  making.answer.text += making.words.finish();
  making.answer.finish = making.words.stopped() ? Finish::kStopText : finish;
  making.answer.tokens = making.words.tokens();
  making.answer.seconds = making.watch.seconds();
  Answer answer = std::move(making.answer);
  made_.erase(found);
  return answer;
}

}  // namespace tessera::launch
