// Answers any number of prompts over one KV cache. As many as the memory allows advance together,
// one token per step; a finished one makes room for the next that waits. An answer depends only on
// its own prompt and the options, never on what runs beside it. Where a rotary scaling depends on
// the length, the length is that of the prompt and all max_new_tokens, from the first token on.
#pragma once

#include <cstdint>
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
};

/// Why an answer ended.
enum class Finish {
  kStop,     // with a stop token
  kLength,   // max_new_tokens
  kContext,  // the position_limit() is reached
};

/// What happens, as it happens. `prompt` is an index in the prompts.
struct AnswerEvents {
  FunctionRef<void(size_t prompt, int32_t token)> token;
  FunctionRef<void(size_t prompt, Finish finish)> finish;
};

/// Error for a prompt that is empty, holds an id that the model lacks, or leaves no position for an
/// answer.
void check_prompts(std::span<const std::vector<int32_t>> prompts, const lora::ModelSpec& model);

/// Answers all prompts; the decoder's memory is planned anew. Returns false when a stop signal came
/// first (see StopSignals). Error as check_prompts().
bool generate_answers(lora::Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                      const GeneratorOptions& options, const AnswerEvents& events);

}  // namespace tessera::launch
