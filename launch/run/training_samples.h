// Answers to sample_prompts by the model as training has made it so far: the most likely tokens, so
// that what changes from one time to the next is what was learned. Every rank makes the same ones.
#pragma once

#include <string>
#include <vector>

#include "launch/config/config.h"
#include "lora/decoder/decoder.h"
#include "lora/model/checkpoint.h"

namespace tessera::launch {

class TrainingSamples {
 public:
  /// Reads the tokenizer for the prompts and lets it go again: beside a model it may be large.
  /// Error for a prompt that the template or the model does not take. The config outlives it.
  TrainingSamples(const Config& config, const lora::Checkpoint& checkpoint);

  bool empty() const { return prompts_.empty(); }
  const std::string& prompt(size_t i) const { return config_.sample_prompts[i]; }
  /// Whether prompts are messages of a user; else they are texts to go on with.
  bool chat() const { return chat_; }

  /// An answer to each prompt. Takes the decoder's memory: that of training has to be allocated
  /// anew. `together`: how many may be made at a time, the same on all ranks.
  std::vector<std::string> answers(lora::Decoder& decoder, int64_t together) const;

 private:
  const Config& config_;
  bool chat_ = false;
  std::vector<std::vector<int32_t>> prompts_;
  std::vector<int32_t> stops_;
};

}  // namespace tessera::launch
