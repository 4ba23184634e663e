#include "launch/text/pretokenizer_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "launch/text/pretokenizer_unicode.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

/// What models of these families are published with.
constexpr std::array<std::string_view, 7> kKnown = {
    kGpt2Pattern,
    kLlama3Pattern,
    kQwen2Pattern,
    // o200k: Phi 4 mini
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    // Tekken: Mistral Nemo
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"(\p{N})",
    R"(\p{N}{1,3})",
};

/// `\s` as the reference's engine has it; PCRE2 counts U+180E too.
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

/// An escape, and what it stands for as members of a class.
struct Escape {
  std::string_view name;
  std::string members;
  bool negated = false;
};

const std::array<Escape, 9>& escapes() {
  static const std::array<Escape, 9> table = {{
      {R"(\s)", std::string(kWhiteSpace)},
      {R"(\S)", std::string(kWhiteSpace), /*negated=*/true},
      {R"(\p{L})", fmt::format(R"(\p{{L}}{}{}{}{})", kNewUppercase, kNewLowercase,
                               kNewModifierLetters, kNewOtherLetters)},
      {R"(\p{Lu})", fmt::format(R"(\p{{Lu}}{})", kNewUppercase)},
      {R"(\p{Ll})", fmt::format(R"(\p{{Ll}}{})", kNewLowercase)},
      {R"(\p{Lm})", fmt::format(R"(\p{{Lm}}{})", kNewModifierLetters)},
      {R"(\p{Lo})", fmt::format(R"(\p{{Lo}}{})", kNewOtherLetters)},
      {R"(\p{M})", fmt::format(R"(\p{{M}}{})", kNewMarks)},
      {R"(\p{N})", fmt::format(R"(\p{{N}}{})", kNewNumbers)},
  }};
  return table;
}

/// The same pattern with those escapes spelt out.
std::string translate(std::string_view regex) {
  std::string out;
  bool in_class = false;
  for (size_t at = 0; at < regex.size();) {
    const std::string_view rest = regex.substr(at);
    const auto escape = std::find_if(escapes().begin(), escapes().end(),
                                     [&](const Escape& e) { return rest.starts_with(e.name); });
    if (escape != escapes().end()) {
      out += in_class ? escape->members
                      : fmt::format("[{}{}]", escape->negated ? "^" : "", escape->members);
      at += escape->name.size();
      continue;
    }
    const size_t length = rest[0] == '\\' ? 2 : 1;
    if (rest[0] == '[') in_class = true;
    if (rest[0] == ']') in_class = false;
    out += rest.substr(0, length);
    at += length;
  }
  return out;
}

std::string message_of(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

/// What a thread needs to search; patterns are shared.
struct Searcher {
  static constexpr size_t kFirstStack = 64 << 10;
  static constexpr size_t kLargestStack = 64 << 20;

  Searcher()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(kFirstStack, kLargestStack, nullptr)) {
    if (!data || !context || !stack) fail("not enough memory to search a text");
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }

  struct Free {
    void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
    void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
    void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
  };
  std::unique_ptr<pcre2_match_data, Free> data;
  std::unique_ptr<pcre2_match_context, Free> context;
  std::unique_ptr<pcre2_jit_stack, Free> stack;
};

Searcher& searcher() {
  thread_local Searcher of_this_thread;
  return of_this_thread;
}

}  // namespace

struct Pattern::Code {
  explicit Code(pcre2_code* code) : compiled(code) {}
  ~Code() { pcre2_code_free(compiled); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  pcre2_code* compiled;
};

Pattern::Pattern(std::string_view regex) {
  const std::string translated = translate(regex);
  int error = 0;
  PCRE2_SIZE position = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP, &error, &position, nullptr);
  if (!code) fail("PCRE2 does not compile '{}': {}", translated, message_of(error));
  code_ = std::make_shared<Code>(code);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT, the interpreter matches
}

Pattern Pattern::gpt2() { return Pattern(kGpt2Pattern); }

Pattern Pattern::known(const std::string& regex, const std::string& where) {
  if (std::find(kKnown.begin(), kKnown.end(), regex) == kKnown.end()) {
    fail(
        "{}: the regular expression '{}' is not one of those supported (GPT-2, Llama 3, Qwen 2, "
        "o200k, Tekken, single digits)",
        where, io::printable(regex));
  }
  return Pattern(regex);
}

std::optional<std::pair<size_t, size_t>> Pattern::find(std::string_view text, size_t from) const {
  Searcher& mine = searcher();
  const int found =
      pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                  PCRE2_NO_UTF_CHECK, mine.data.get(), mine.context.get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) fail("cannot split the text at byte {} into words: {}", from, message_of(found));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(mine.data.get());
  return std::pair<size_t, size_t>(bounds[0], bounds[1]);
}

}  // namespace tessera::launch
