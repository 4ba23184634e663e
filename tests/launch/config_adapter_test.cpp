// Keys of a config that say what is trained beside the usual: maps and lists of modules.
#include <gtest/gtest.h>

#include "launch/config/config.h"
#include "launch/config/settings.h"
#include "tests/expect_error.h"

namespace tessera::launch {
namespace {

Config parse(const std::string& text, const std::vector<std::string>& overrides) {
  Faults faults;
  return checked_config(read_settings(text, "run.yml", overrides, faults), "run.yml", {}, faults);
}

TEST(ConfigOfAdapters, ReadsPatternsInTheirOrder) {
  const Config config = parse(
      "rank_pattern: {q_proj: 8, '.*mlp.*': 4}\nalpha_pattern:\n  up_proj: 16\n"
      "additional_target: embed_tokens, lm_head\n",
      {"lora_rank_pattern.o_proj=2", "peft_ensure_weight_tying=true"});
  const std::vector<std::pair<std::string, int64_t>> ranks = {
      {"q_proj", 8}, {".*mlp.*", 4}, {"o_proj", 2}};
  EXPECT_EQ(config.lora_rank_pattern, ranks);
  const std::vector<std::pair<std::string, double>> alphas = {{"up_proj", 16}};
  EXPECT_EQ(config.lora_alpha_pattern, alphas);
  EXPECT_EQ(config.lora_modules_to_save, (std::vector<std::string>{"embed_tokens", "lm_head"}));
  EXPECT_TRUE(config.lora_ensure_weight_tying);
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"lora_rank_pattern: q_proj",
       "run.yml:1: lora_rank_pattern: expected a map from modules to values, each a whole number "
       "from 1 to 65536, got 'q_proj'"},
      {"lora_rank_pattern: {q_proj: 0}",
       "run.yml:1: lora_rank_pattern: q_proj: expected a whole number from 1 to 65536, got '0'"},
      {"lora_alpha_pattern: {'(q': 1}",
       "run.yml:1: lora_alpha_pattern: (q: the regular expression: missing closing parenthesis at "
       "character 3"},
      {"lora_alpha_pattern: {q_proj: [1]}",
       "run.yml:1: lora_alpha_pattern: q_proj: expected a number above 0, got a list"},
      {"lora_modules_to_save: all-linear",
       "run.yml:1: lora_modules_to_save: expected a list of names, got 'all-linear'"},
      {"lora_modules_to_save: '.*head'",
       "run.yml:1: lora_modules_to_save: expected a list of names, got '.*head'"},
      {"lora_ensure_weight_tying: true",
       "run.yml:1: lora_ensure_weight_tying contradicts lora_modules_to_save: null (the default): "
       "name embed_tokens or lm_head there"}};
  for (const auto& [text, message] : faults) {
    EXPECT_EQ(testing::error_of([&] { parse(text, {}); }), message);
  }
  EXPECT_EQ(parse("lora_ensure_weight_tying: false", {}), parse("", {}));
}

TEST(ConfigOfAdapters, ReadsTokensAsPeftAndAxolotlSpellThem) {
  const std::vector<int64_t> ids = {9, 3};
  for (const char* text :
       {"lora_trainable_token_indices: [9, 3]", "peft_trainable_token_indices:\n  - 9\n  - 3\n",
        "trainable_token_indices: {embed_tokens: [9, 3]}",
        "trainable_token_indices: {model.embed_tokens: [9, 3]}\nlora_ensure_weight_tying: true"}) {
    EXPECT_EQ(parse(text, {}).lora_trainable_token_indices, ids) << text;
  }
  EXPECT_EQ(
      parse("", {"trainable_token_indices={\"embed_tokens\":[9,3]}"}).lora_trainable_token_indices,
      ids);
  EXPECT_EQ(parse("lora_trainable_token_indices: [9, 3]", {"trainable_token_indices=null"}),
            parse("", {}));
  const std::string key = "run.yml:1: lora_trainable_token_indices: ";
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"9", key + "expected a list of token ids, got '9'"},
      {"[]", key + "expected a list of token ids, got a list"},
      {"[9, -1]", key + "expected a whole number, 0 or more, got '-1'"},
      {"[9, [3]]", key + "expected a whole number, 0 or more, got a list"},
      {"{lm_head: [9]}", key + "only rows of embed_tokens can be trained, not of 'lm_head'"},
      {"{embed_tokens: 9}", key + "expected a list of token ids, got '9'"},
      {"{}", key + "expected a list of token ids, got a map"}};
  for (const auto& [value, message] : faults) {
    EXPECT_EQ(testing::error_of([&] { parse("lora_trainable_token_indices: " + value, {}); }),
              message);
  }
}

}  // namespace
}  // namespace tessera::launch
