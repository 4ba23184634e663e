#include "launch/text/tokenizer/pretokenizer_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "launch/text/tokenizer/pretokenizer_regex.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

constexpr size_t kLongestPattern = 16 << 10;  // bytes

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

  /// A run of characters may be given back one by one, so that the limit grows with the text.
  void limit_steps(size_t text) {
    constexpr size_t kFixed = 10'000'000, kPerByte = 8;
    const size_t steps = std::min(kFixed + kPerByte * text, size_t{UINT32_MAX});
    pcre2_set_match_limit(context.get(), uint32_t(steps));
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

Pattern Pattern::gpt2() { return read(std::string(kGpt2Pattern), "ByteLevel"); }

Pattern Pattern::read(const std::string& regex, const std::string& where) {
  if (regex.size() > kLongestPattern) {
    fail("{}: a regular expression has {} bytes; supported are {}", where, regex.size(),
         kLongestPattern);
  }
  const std::string translated = translate_regex(regex, where);
  struct Free {
    void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  };
  const std::unique_ptr<pcre2_compile_context, Free> context(pcre2_compile_context_create(nullptr));
  if (!context) fail("not enough memory to read a regular expression");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE position = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP, &error, &position, context.get());
  if (!code) {
    fail("{}: the regular expression '{}' is not supported: {}", where, io::printable(regex),
         message_of(error));
  }
  auto compiled = std::make_shared<Code>(code);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT, the interpreter matches
  return Pattern(std::move(compiled));
}

std::optional<std::pair<size_t, size_t>> Pattern::find(std::string_view text, size_t from) const {
  Searcher& mine = searcher();
  mine.limit_steps(text.size());
  const int found =
      pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                  PCRE2_NO_UTF_CHECK, mine.data.get(), mine.context.get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) fail("cannot split the text at byte {} into words: {}", from, message_of(found));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(mine.data.get());
  return std::pair<size_t, size_t>(bounds[0], bounds[1]);
}

}  // namespace tessera::launch
