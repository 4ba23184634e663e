#include "launch/run/generation_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/data/learned_spans.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kLargestConfig = size_t{1} << 20;

/// The special token that follows an assistant's words; nothing where a template has none, or does
/// not take so simple a conversation.
std::optional<int32_t> end_of_turn(const Tokenizer& tokenizer, const ChatTemplate& chat,
                                   std::span<const int32_t> ends) {
  Conversation turn;
  turn.messages = {{{"role", "user"}, {"content", "a"}}, {{"role", "assistant"}, {"content", "b"}}};
  try {
    const LearnedText text = learned_text(chat, turn, LearnedTurns{}, tokenizer, ends);
    const auto& [begin, end] = text.learned.at(0);
    const std::vector<int32_t> ids = tokenizer.encode(text.text.text.substr(begin, end - begin));
    if (!ids.empty() && tokenizer.is_special(ids.back())) return ids.back();
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

GenerationConfig read_generation_config(const std::string& base_model) {
  // Keys that are used, or that change nothing here.
  static constexpr std::array<std::string_view, 6> kQuiet = {
      "eos_token_id",         "bos_token_id",       "pad_token_id",
      "transformers_version", "_from_model_config", "use_cache"};
  const fs::path path = fs::path(base_model) / "generation_config.json";
  GenerationConfig out;
  if (!io::exists(path)) return out;
  const json config = io::read_json_file(path.string(), kLargestConfig);
  out.stop_ids = end_token_ids(config, path.string());
  std::vector<std::string> unused;
  for (const auto& [key, value] : config.items()) {
    if (value.is_null() || value == json(false)) continue;
    if (std::ranges::find(kQuiet, key) == kQuiet.end()) unused.push_back(io::printable(key));
  }
  if (!unused.empty()) {
    out.notes.push_back(
        fmt::format("{}: not used: {}; the options of the command say how to sample", path.string(),
                    fmt::join(unused, ", ")));
  }
  return out;
}

std::vector<StopToken> stop_tokens(const lora::Checkpoint& model,
                                   const GenerationConfig& generation, const Tokenizer& tokenizer,
                                   const ChatTemplate* chat) {
  std::vector<StopToken> stops = stop_tokens(model);
  for (const int32_t id : generation.stop_ids) {
    stops.push_back({id, model.path() + "/generation_config.json"});
  }
  if (const auto id = tokenizer.eos_id()) {
    stops.push_back({*id, "the tokenizer of " + model.path()});
  }
  if (!chat) return stops;
  std::vector<int32_t> ends;
  for (const StopToken& stop : stops) ends.push_back(stop.id);
  if (const auto id = end_of_turn(tokenizer, *chat, ends))
    stops.push_back({*id, "the chat template"});
  return stops;
}

}  // namespace tessera::launch
