#include "launch/run/training_samples.h"

#include <optional>

#include "launch/machine/freed_memory.h"
#include "launch/run/answers.h"
#include "launch/run/generation_config.h"
#include "launch/run/generator.h"
#include "launch/run/prompt_reader.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {
namespace {

/// None where the model has none; one that the user has named must be there.
std::optional<ChatTemplate> template_for(const Config& config, const Tokenizer& tokenizer) {
  const bool named = config.chat_template != Config{}.chat_template;
  if (!named && tokenizer.chat_template().empty()) return std::nullopt;
  return ChatTemplate::resolve(config.chat_template, tokenizer, config.chat_template_kwargs);
}

std::vector<int32_t> tokens_of(const std::string& prompt, const Tokenizer& tokenizer,
                               const ChatTemplate* chat) {
  if (!chat) {
    PromptChoice choice;
    choice.prompt = prompt;
    return PromptReader(choice, tokenizer, nullptr).next()->ids;
  }
  ChatRequest request;
  request.where = "sample_prompts";
  request.add_generation_prompt = true;
  request.conversation.messages = {{{"role", "user"}, {"content", prompt}}};
  RowRemarks remarks;  // of letters that spell tokens: here, where a person looks, they are plain
  return prompt_of(std::move(request), *chat, tokenizer, remarks);
}

}  // namespace

TrainingSamples::TrainingSamples(const Config& config, const lora::Checkpoint& checkpoint)
    : config_(config) {
  if (config.sample_prompts.empty()) return;
  const Tokenizer tokenizer = Tokenizer::load(config.model());
  const std::optional<ChatTemplate> chat = template_for(config, tokenizer);
  chat_ = chat.has_value();
  for (const std::string& prompt : config.sample_prompts) {
    prompts_.push_back(tokens_of(prompt, tokenizer, chat ? &*chat : nullptr));
    check_prompt(prompts_.back(), checkpoint.spec(),
                 fmt::format("sample prompt {}", prompts_.size()));
  }
  const GenerationConfig generation = read_generation_config(config.model());
  for (const StopToken& stop :
       stop_tokens(checkpoint, generation, tokenizer, chat ? &*chat : nullptr)) {
    stops_.push_back(stop.id);
  }
}

std::vector<std::string> TrainingSamples::answers(lora::Decoder& decoder, int64_t together) const {
  decoder.release();
  std::vector<std::string> texts(prompts_.size());
  {
    const Tokenizer tokenizer = Tokenizer::load(config_.model());
    GeneratorOptions options;
    options.max_new_tokens = config_.sample_max_new_tokens;
    options.stop_ids = stops_;
    options.most_together = together;
    options.heeds_signals = false;
    AnswersInMaking making(tokenizer, {});
    for (size_t i = 0; i < prompts_.size(); ++i) making.begin(i, prompts_[i].size());
    generate_answers(decoder, prompts_, options,
                     {[&](uint64_t s, int32_t id) { making.token(s, id); },
                      [&](uint64_t s, Finish how) { texts[s] = making.finish(s, how).text; }});
  }
  return_freed_memory();  // the tokenizer's part, which training has no room for
  return texts;
}

}  // namespace tessera::launch
