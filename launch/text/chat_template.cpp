#include "launch/text/chat_template.h"

#include <xxhash.h>

#include <array>
#include <optional>

#include "launch/text/chat_template_outline.h"
#include "launch/text/chat_template_renderers.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using Renderer = std::shared_ptr<const ChatRenderer>;

constexpr char kChoices[] = "chatml, llama3 and alpaca";

/// The text of a special token; "" when the tokenizer has none, as Jinja prints an undefined value.
std::string text_of(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? tokenizer.token(*id) : std::string();
}

struct Resolved {
  std::string name;
  Renderer renderer;
};

/// A published template that is recognised by the hash of its outline.
struct Known {
  uint64_t hash;  // XXH3, 64 bits, of the outline's lines, each with a line feed after it
  const char* name;
  Renderer (*make)(const std::string& bos, const std::string& eos);
};

const std::array<Known, 7> kKnown = {{
    {0x8fdaa4f6e469f40e, "qwen2.5", [](const auto&, const auto&) { return qwen2_5_renderer(); }},
    {0x122b1ff7354b31fe, "qwen3", [](const auto&, const auto&) { return qwen3_renderer(); }},
    {0x6c3ffc770d64c655, "llama3",
     [](const auto& bos, const auto&) { return llama3_renderer(bos, {.always_prompts = true}); }},
    {0xe41d1810ed30b7f2, "llama3",
     [](const auto& bos, const auto&) { return llama3_renderer(bos, {}); }},
    {0xa3767943a30c259e, "llama3.1",
     [](const auto& bos, const auto&) { return llama3_renderer(bos, {.dated_system = true}); }},
    {0xd80c2a4f623da56f, "gemma2",
     [](const auto& bos, const auto&) { return gemma2_renderer(bos); }},
    {0xe3642e7ca00df060, "phi3.5",
     [](const auto&, const auto& eos) { return phi3_5_renderer(eos); }},
}};

/// Reads an outline line by line.
class Lines {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}

  bool at_end() const { return at_ == lines_.size(); }
  bool take(std::string_view line) {
    const bool same = !at_end() && lines_[at_] == line;
    at_ += same;
    return same;
  }
  /// What stands between the two ends of a line.
  std::optional<std::string> take_between(std::string_view begin, std::string_view end) {
    if (at_end()) return std::nullopt;
    const std::string& line = lines_[at_];
    if (line.size() < begin.size() + end.size() || !line.starts_with(begin) ||
        !line.ends_with(end)) {
      return std::nullopt;
    }
    ++at_;
    return line.substr(begin.size(), line.size() - begin.size() - end.size());
  }

 private:
  const std::vector<std::string>& lines_;
  size_t at_ = 0;
};

/// The default system message of a ChatML template, where the outline goes on with one.
std::optional<std::string> take_default_system(Lines& lines, std::string_view condition) {
  if (!lines.take(condition)) return "";
  const auto text = lines.take_between("text <|im_start|>system\n", "<|im_end|>\n");
  return text && !text->empty() && lines.take("endif") ? text : std::nullopt;
}

/// The many spellings of ChatML, with or without a default system message.
std::optional<Resolved> match_chatml(const std::vector<std::string>& outline,
                                     const Tokenizer& tokenizer) {
  Lines lines(outline);
  if (lines.take("if not add_generation_prompt is defined") &&
      !(lines.take("set add_generation_prompt=false") && lines.take("endif"))) {
    return std::nullopt;
  }
  const bool opens_with_bos = lines.take("out bos_token");
  const auto before = take_default_system(lines, R"(if messages[0].role!="system")");
  const auto variable = lines.take_between("for ", " in messages");
  if (!before || !variable) return std::nullopt;
  const auto inside = take_default_system(lines, R"(if loop.first and messages[0].role!="system")");
  const bool matches =
      inside && (before->empty() || inside->empty()) && lines.take("text <|im_start|>") &&
      lines.take("out " + *variable + ".role") && lines.take("text \n") &&
      lines.take("out " + *variable + ".content") && lines.take("text <|im_end|>\n") &&
      lines.take("endfor") && lines.take("if add_generation_prompt") &&
      lines.take("text <|im_start|>assistant\n") && lines.take("endif") && lines.at_end();
  if (!matches) return std::nullopt;
  const std::string system = *before + *inside;
  const bool smollm2 =
      system == "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
  const std::string opening = opens_with_bos ? text_of(tokenizer, tokenizer.bos_id()) : "";
  return Resolved{smollm2 ? "smollm2" : "chatml", chatml_renderer(system, opening)};
}

Resolved recognise(const Tokenizer& tokenizer) {
  const std::string& jinja = tokenizer.chat_template();
  if (jinja.empty()) {
    fail_usage("chat_template: the tokenizer brings no chat template; choose one of {}", kChoices);
  }
  const auto outline = outline_of(jinja);
  uint64_t hash = 0;
  if (outline) {
    if (auto chatml = match_chatml(*outline, tokenizer)) return *std::move(chatml);
    std::string lines;
    for (const std::string& line : *outline) lines += line + '\n';
    hash = XXH3_64bits(lines.data(), lines.size());
    for (const Known& known : kKnown) {
      if (known.hash != hash) continue;
      return {known.name, known.make(text_of(tokenizer, tokenizer.bos_id()),
                                     text_of(tokenizer, tokenizer.eos_id()))};
    }
  }
  fail_usage(
      "chat_template: the tokenizer's own template (outline {:016x}) is none of those recognised "
      "(ChatML, SmolLM2, Qwen 2.5, Qwen 3, Llama 3, Llama 3.1, Gemma 2, Phi 3.5); choose one of {}",
      hash, kChoices);
}

void require_tokens(const std::string& name, std::initializer_list<const char*> tokens,
                    const Tokenizer& tokenizer) {
  for (const char* token : tokens) {
    if (!tokenizer.token_id(token)) {
      fail_usage("chat_template: {} needs the token {}, which the tokenizer does not have", name,
                 token);
    }
  }
}

Resolved by_name(const std::string& name, const Tokenizer& tokenizer) {
  if (name == "chatml") {
    require_tokens(name, {"<|im_start|>", "<|im_end|>"}, tokenizer);
    return {name, chatml_renderer("", "")};
  }
  if (name == "llama3") {
    require_tokens(name, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, tokenizer);
    if (!tokenizer.bos_id()) fail_usage("chat_template: llama3 needs a beginning-of-text token");
    return {name, llama3_renderer(text_of(tokenizer, tokenizer.bos_id()), {})};
  }
  if (name == "alpaca") {
    if (!tokenizer.eos_id()) fail_usage("chat_template: alpaca needs an end-of-text token");
    const auto bos = tokenizer.adds_bos() ? tokenizer.bos_id() : std::nullopt;
    return {name, alpaca_renderer(text_of(tokenizer, bos), text_of(tokenizer, tokenizer.eos_id()))};
  }
  if (name == "tokenizer_default") return recognise(tokenizer);
  fail_usage("chat_template: '{}' is unknown; choose one of tokenizer_default, {}", name, kChoices);
}

}  // namespace

ChatTemplate ChatTemplate::resolve(const std::string& name, const Tokenizer& tokenizer) {
  Resolved resolved = by_name(name, tokenizer);
  return ChatTemplate(std::move(resolved.name), std::move(resolved.renderer));
}

}  // namespace tessera::launch
