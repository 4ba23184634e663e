#include "launch/data/role_names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tessera::launch {

std::string_view common_role(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 21> kNames = {{
      {"system", "system"},
      {"user", "user"},
      {"human", "user"},
      {"prompter", "user"},
      {"assistant", "assistant"},
      {"gpt", "assistant"},
      {"chatgpt", "assistant"},
      {"bot", "assistant"},
      {"bard", "assistant"},
      {"bing", "assistant"},
      {"model", "assistant"},
      {"chatbot", "assistant"},
      {"tool", "tool"},
      {"observation", "tool"},
      {"ipython", "tool"},
      {"function_response", "tool"},
      {"tool_response", "tool"},
      {"tool_result", "tool"},
      {"function", "tool"},
      {"function_call", kFunctionCall},
      {"tool_call", kFunctionCall},
  }};
  const auto found =
      std::ranges::find(kNames, name, &std::pair<std::string_view, std::string_view>::first);
  return found == kNames.end() ? std::string_view() : found->second;
}

}  // namespace tessera::launch
