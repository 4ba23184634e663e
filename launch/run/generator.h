// Answers any number of prompts over one KV cache. As many as the memory allows advance together,
// one token each a step; a finished one makes room for the next that waits. An answer depends only
// on its own prompt, never on what runs beside it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "launch/run/sampler.h"
#include "lora/decoder/generation_step.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

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
  kContext,  // the model's positions are used up
};

/// What happens, as it happens. `prompt` is an index in the prompts.
struct AnswerEvents {
  FunctionRef<void(size_t prompt, int32_t token)> token;
  FunctionRef<void(size_t prompt, Finish finish)> finish;
};

/// Answers all prompts; the decoder's memory is planned anew. Returns false when a stop signal came
/// first (see StopSignals). Error for a prompt that is empty, holds an id that the model lacks, or
/// leaves no position for an answer.
bool generate_answers(lora::Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                      const GeneratorOptions& options, const AnswerEvents& events);

}  // namespace tessera::launch
