// Answers any number of prompts over one KV cache. As many as the memory allows advance together,
// one token per step; a finished one makes room for the next that waits. An answer depends only on
// its own prompt, its sequence and the options, never on what runs beside it. Where a rotary
// scaling depends on the length, it is that of the prompt and all max_new_tokens, from the first
// token on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/run/sampler.h"
#include "lora/decoder/generation_step.h"
#include "lora/model/checkpoint.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// A token that is to end answers.
struct StopToken {
  int32_t id = 0;
  std::string source;  // what names it, for messages: a file, or what was read from one
};

/// The most tokens of a prompt and its answer: the model's positions, unless its rotary scaling is
/// dynamic, which stretches to any length.
int64_t position_limit(const lora::ModelSpec& model);

/// Those that the model's config names.
std::vector<StopToken> stop_tokens(const lora::Checkpoint& model);

/// A warning for each that a model with `vocab` tokens lacks: no answer ends with it.
std::vector<std::string> missing_stops(std::span<const StopToken> stops, int64_t vocab);

struct GeneratorOptions {
  int64_t max_new_tokens = 256;
  std::vector<int32_t> stop_ids;  // end an answer and are not part of it
  SamplerOptions sampler;
  int64_t prefill_tokens = 256;  // of prompts, a step: bounds the memory of activations
  int64_t most_together = 64;    // sequences in the cache at a time
  bool heeds_signals = true;     // else a stop signal waits until all answers are made
};

/// Why an answer ended.
enum class Finish {
  kStop,      // with a stop token
  kStopText,  // AnswerEvents::ended() said so
  kLength,    // max_new_tokens
  kContext,   // the position_limit() is reached
};

/// An answer that is asked for.
struct AnswerRequest {
  uint64_t sequence = 0;  // keys the draws of its tokens, and names it in the events
  std::vector<int32_t> prompt;
};

/// Gives the answers to make one after another, and then nothing.
using NextRequest = FunctionRef<std::optional<AnswerRequest>()>;

inline constexpr auto kGoesOn = [](uint64_t) { return false; };

/// What happens, as it happens.
struct AnswerEvents {
  FunctionRef<void(uint64_t sequence, int32_t token)> token;
  FunctionRef<void(uint64_t sequence, Finish finish)> finish;
  /// Asked behind each token: whether the answer ends with it.
  FunctionRef<bool(uint64_t sequence)> ended = kGoesOn;
};

/// Error for a prompt that is empty, holds an id that the model lacks, or leaves no position for an
/// answer. `name` begins the message.
void check_prompt(std::span<const int32_t> prompt, const lora::ModelSpec& model,
                  const std::string& name);

class Generator {
 public:
  struct Room {
    int64_t sequences;      // at a time; fewer where the memory has no room for them
    int64_t prompt_tokens;  // of the longest prompt
  };
  /// Plans the decoder's memory anew. Error (usage) without a max_new_tokens. The decoder and the
  /// options outlive the generator.
  Generator(lora::Decoder& decoder, const GeneratorOptions& options, const Room& most);

  /// Makes all answers that `next` gives, whose prompts have passed check_prompt(). Keys and values
  /// of an earlier prompt and answer serve a new prompt as far as it begins with the same tokens.
  /// Returns false when a stop signal came first (see StopSignals).
  bool run(NextRequest next, const AnswerEvents& events);

 private:
  /// A place in the cache. The cache holds the first of its `ids`.
  struct Slot {
    bool busy = false;
    uint64_t sequence = 0;
    std::vector<int32_t> ids;  // the prompt and the answer so far
    int64_t prompt = 0;        // tokens of the prompt
    int64_t length = 0;        // tokens that are fed in all
  };

  /// False when there are no more requests.
  bool fill_slots(NextRequest next);
  void start(AnswerRequest request);
  /// How many tokens of the prompt a slot's rows in the cache serve.
  int64_t reusable(int64_t slot, const AnswerRequest& request) const;
  void gather_feeds();
  void advance(int64_t slot, std::span<const float> logits, const AnswerEvents& events);
  std::optional<Finish> finish_of(int64_t slot, const AnswerEvents& events) const;

  lora::Decoder& decoder_;
  lora::GenerationStep step_;
  const GeneratorOptions& options_;
  int64_t capacity_;
  int64_t prefill_;
  std::vector<Slot> slots_;
  lora::KvCache cache_;
  Sampler sampler_;
  std::vector<lora::Feed> feeds_;
};

/// Answers all prompts. The sequence of each is its index. Error as check_prompt().
bool generate_answers(lora::Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                      const GeneratorOptions& options, const AnswerEvents& events);

}  // namespace tessera::launch
