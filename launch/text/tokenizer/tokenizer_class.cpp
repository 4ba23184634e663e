#include "launch/text/tokenizer/tokenizer_class.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

namespace tessera::launch {
namespace {

using nlohmann::json;

/// Model types whose tokenizer has no habits, whatever class their files name.
constexpr std::array<std::string_view, 30> kPlainModels = {
    "arctic",     "flex_olmo", "fuyu",      "glm",        "glm4",     "granite",
    "granitemoe", "internlm2", "internlm3", "jamba",      "llava",    "llava_next",
    "minicpm3",   "minicpmv",  "ministral", "ministral3", "mistral",  "mistral3",
    "mixtral",    "molmo",     "nemotron",  "olmo2",      "olmo3",    "persimmon",
    "phi3",       "phi3_v",    "phimoe",    "pixtral",    "stablelm", "vipllava"};

/// The class of model types that have one.
const std::map<std::string_view, const char*>& classes_of_models() {
  static const std::map<std::string_view, const char*> classes = {
      {"code_llama", "CodeLlamaTokenizer"},   {"gemma", "GemmaTokenizer"},
      {"gemma2", "GemmaTokenizer"},           {"gemma3", "GemmaTokenizer"},
      {"gemma3_text", "GemmaTokenizer"},      {"gemma3n", "GemmaTokenizer"},
      {"gemma3n_text", "GemmaTokenizer"},     {"idefics", "LlamaTokenizer"},
      {"idefics2", "LlamaTokenizer"},         {"mt5", "T5Tokenizer"},
      {"recurrent_gemma", "GemmaTokenizer"},  {"shieldgemma2", "GemmaTokenizer"},
      {"switch_transformers", "T5Tokenizer"}, {"t5", "T5Tokenizer"},
      {"t5gemma", "GemmaTokenizer"}};
  return classes;
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

std::string tokenizer_class_of(const json& config, const json& model_config) {
  std::string named = text_of(config, "tokenizer_class");
  if (named.empty()) named = text_of(model_config, "tokenizer_class");
  if (named.ends_with("Fast")) named.resize(named.size() - 4);
  const std::string model = text_of(model_config, "model_type");
  if (std::ranges::find(kPlainModels, model) != kPlainModels.end()) return kPlainTokenizerClass;
  if (!named.empty()) return named;
  const auto found = classes_of_models().find(model);
  return found == classes_of_models().end() ? kPlainTokenizerClass : found->second;
}

}  // namespace tessera::launch
