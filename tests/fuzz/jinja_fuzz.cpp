// A template and, behind a NUL byte, its variables as JSON. Any of them gives an Error, or a text
// of valid UTF-8 whose marks and generation blocks lie in it.
#include "launch/text/jinja/template.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace {

constexpr std::string_view kVariables =
    R"({"messages": [{"role": "system", "content": " a\n"}, {"role": "user", "content": "b<|x|>"},)"
    R"( {"role": "assistant", "content": "<think>c</think>d", "tool_calls": [{"function":)"
    R"( {"name": "f", "arguments": {"x": [1, 2.5, null, true, "é"]}}}]}], "tools": [{"type":)"
    R"( "function", "function": {"name": "f", "parameters": {"type": "object"}}}],)"
    R"( "add_generation_prompt": true, "bos_token": "<s>"})";

void check(const tessera::launch::jinja::Rendered& out) {
  TESSERA_CHECK(!tessera::launch::find_invalid_utf8(out.text));
  size_t at = 0;
  for (const auto& mark : out.marks) {
    TESSERA_CHECK(mark.begin >= at && mark.begin < mark.end && mark.end <= out.text.size());
    at = mark.end;
  }
  for (const auto& [begin, end] : out.generation) {
    TESSERA_CHECK(begin <= end && end <= out.text.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = input.find('\0');
  const std::string_view variables =
      nul == input.npos ? kVariables : input.substr(std::min(nul + 1, size));
  try {
    const auto jinja = launch::jinja::Template::parse(input.substr(0, nul), "fuzz");
    const auto json = io::parse_ordered_json(variables, "variables");
    if (!json.is_object()) return 0;
    check(jinja.render(launch::jinja::Value::from_json(json, 0), /*now=*/1'700'000'000));
  } catch (const Error&) {
  }
  return 0;
}
