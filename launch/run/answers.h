// Answers while they are made, and as rows of JSON when they are finished.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "launch/console/progress.h"
#include "launch/run/answer_text.h"
#include "launch/run/generator.h"

namespace tessera::launch {

/// A finished answer: one of `samples` to the prompt of an index.
struct Answer {
  uint64_t index = 0;
  uint64_t sample = 0;
  std::string text;
  int64_t tokens = 0;  // that were drawn, without a stop token
  Finish finish = Finish::kStop;
  int64_t prompt_tokens = 0;
  double seconds = 0;  // from its prompt's first step on, beside other answers
};

/// "stop", "stop_string", "length" or "context".
std::string_view name_of(Finish finish);
nlohmann::ordered_json to_json(const Answer& answer);

/// The sequence that keys the draws of an answer. It depends neither on how many prompts there are
/// nor on how many samples.
constexpr uint64_t sequence_of(uint64_t index, uint64_t sample) { return sample << 32 | index; }

/// The answers that are being made, by their sequences.
class AnswersInMaking {
 public:
  /// Both outlive the object.
  AnswersInMaking(const Tokenizer& tokenizer, std::span<const std::string> stops)
      : tokenizer_(tokenizer), stops_(stops) {}

  void begin(uint64_t sequence, size_t prompt_tokens);
  void token(uint64_t sequence, int32_t id);
  bool stopped(uint64_t sequence) const { return made_.at(sequence).words.stopped(); }
  /// The text so far that is certain.
  const std::string& text(uint64_t sequence) const { return made_.at(sequence).answer.text; }
  Answer finish(uint64_t sequence, Finish finish);

 private:
  struct InMaking {
    Answer answer;
    AnswerText words;
    Stopwatch watch = {};
  };

  const Tokenizer& tokenizer_;
  std::span<const std::string> stops_;
  std::map<uint64_t, InMaking> made_;
};

}  // namespace tessera::launch
