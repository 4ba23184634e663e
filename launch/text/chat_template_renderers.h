// The built-in chat templates, each by the rules of the Jinja text it stands for.
#pragma once

#include <memory>
#include <string>

#include "launch/text/chat_template.h"

namespace tessera::launch {

/// <|im_start|>ROLE\nCONTENT<|im_end|>\n for every message. Where the first is no system message
/// and `default_system` is not empty, a turn with that comes first. `opening` is put before all.
std::shared_ptr<const ChatRenderer> chatml_renderer(std::string default_system,
                                                    std::string opening);

/// Qwen 2.5's ChatML: a default system message, and tool results in the user's turns.
std::shared_ptr<const ChatRenderer> qwen2_5_renderer();

/// Qwen 3's: no default system message; the answers after the last question have a think block.
std::shared_ptr<const ChatRenderer> qwen3_renderer();

/// Llama 3's headers, contents trimmed, after `bos`.
struct Llama3Options {
  bool dated_system = false;    // Llama 3.1 begins with a system turn that has two dates
  bool always_prompts = false;  // the first release ended with the assistant's header in any case
};
std::shared_ptr<const ChatRenderer> llama3_renderer(std::string bos, Llama3Options options);

/// Gemma 2: user and model in turns, contents trimmed, after `bos`.
std::shared_ptr<const ChatRenderer> gemma2_renderer(std::string bos);

/// Phi 3.5; a text without a generation prompt ends with `eos`.
std::shared_ptr<const ChatRenderer> phi3_5_renderer(std::string eos);

/// The Stanford Alpaca text, after `bos`; a system message replaces its first paragraph, and every
/// response ends with `eos`.
std::shared_ptr<const ChatRenderer> alpaca_renderer(std::string bos, std::string eos);

}  // namespace tessera::launch
