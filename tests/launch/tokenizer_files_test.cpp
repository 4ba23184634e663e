// What the files beside tokenizer.json change: the end of text, flags of added tokens, names of
// tokens that are not there, the class that transformers would build.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "launch/text/tokenizer.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

const std::string kTokenizer = TESSERA_GOLDEN_DIR "/tokenizer/byte_level.json";

Tokenizer alone() { return Tokenizer::load(kTokenizer); }

/// The small tokenizer's folder with other files beside it.
Tokenizer with_files(const json& config, const std::map<std::string, std::string>& files) {
  tessera::testing::ScratchFolder folder;
  folder.write("tokenizer.json", io::read_file(kTokenizer, 16 << 20));
  folder.write("tokenizer_config.json", config.dump());
  for (const auto& [name, content] : files) folder.write(name, content);
  return Tokenizer::load(folder.path());
}

TEST(TokenizerFiles, TakesTheEndOfTextOfTheModelWhereItNamesNone) {
  const int32_t end = alone().token_id("<|im_end|>").value();
  const int32_t mask = alone().token_id("<mask>").value();
  const std::string of_end = fmt::format(R"({{"eos_token_id": {}}})", end);
  const std::string list = fmt::format(R"({{"eos_token_id": [{}, {}]}})", mask, end);
  EXPECT_EQ(with_files(json::object(), {{"config.json", of_end}}).eos_id(), end);
  const Tokenizer both =
      with_files(json::object(), {{"config.json", of_end}, {"generation_config.json", list}});
  EXPECT_EQ(both.eos_id(), mask);
  ASSERT_EQ(both.notes().size(), 1u);
  EXPECT_NE(both.notes()[0].find("answers end with '<mask>', as generation_config.json has it"),
            std::string::npos);
  const Tokenizer named = with_files({{"eos_token", "<|im_end|>"}}, {{"config.json", list}});
  EXPECT_EQ(named.eos_id(), end);
  EXPECT_TRUE(named.notes().empty());
  EXPECT_FALSE(with_files(json::object(), {}).eos_id());
  EXPECT_FALSE(
      with_files(json::object(), {{"config.json", R"({"eos_token_id": 999999})"}}).eos_id());
}

TEST(TokenizerFiles, NeedsNoPadToken) {
  const Tokenizer tokenizer = with_files({{"pad_token", "[PAD]"}}, {});
  EXPECT_FALSE(tokenizer.pad_id());
  ASSERT_EQ(tokenizer.notes().size(), 1u);
  EXPECT_NE(tokenizer.notes()[0].find("the pad_token '[PAD]' is not in the vocabulary"),
            std::string::npos);
}

TEST(TokenizerFiles, FlagsOfItsConfigHoldOverThoseOfTokenizerJson) {
  const int32_t end = alone().token_id("<|im_end|>").value();
  const json token = {{"content", "<|im_end|>"}, {"rstrip", true}, {"special", true}};
  const Tokenizer tokenizer =
      with_files({{"added_tokens_decoder", {{std::to_string(end), token}}}}, {});
  const auto with_space = tokenizer.encode("a<|im_end|> \n b");
  const auto without = tokenizer.encode("a<|im_end|>b");
  EXPECT_EQ(with_space, without);
  EXPECT_NE(alone().encode("a<|im_end|> \n b"), without);
}

TEST(TokenizerFiles, SaysWhereTransformersBuildsTheClassAnew) {
  const Tokenizer tokenizer = with_files({{"tokenizer_class", "LlamaTokenizer"}}, {});
  ASSERT_EQ(tokenizer.notes().size(), 1u);
  EXPECT_NE(tokenizer.notes()[0].find("transformers 5 builds class LlamaTokenizer"),
            std::string::npos);
  EXPECT_TRUE(with_files({{"tokenizer_class", "PreTrainedTokenizerFast"}}, {}).notes().empty());
}

}  // namespace
}  // namespace tessera::launch
