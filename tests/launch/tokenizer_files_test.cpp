// What the files beside tokenizer.json change: the end of text, flags of added tokens, names of
// tokens that are not there, the class that transformers would build.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using tessera::testing::expect_error;

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

/// Whether the tokenizer's notes are one, with this in it.
void expect_note(const Tokenizer& tokenizer, const std::string& part) {
  ASSERT_EQ(tokenizer.notes().size(), 1u) << part;
  EXPECT_NE(tokenizer.notes()[0].find(part), std::string::npos) << tokenizer.notes()[0];
}

TEST(TokenizerFiles, RefusesAnEndOfTextThatIsNoId) {
  for (const char* file : {"config.json", "generation_config.json"}) {
    for (const char* id : {"-1", "\"</s>\"", "[1.5]", "16777216"}) {
      const std::string content = fmt::format(R"({{"eos_token_id": {}}})", id);
      expect_error(
          [&] {
            with_files(json::object(), {{file, content}});
          },
          std::string(file) + ": eos_token_id: a token id must be");
      EXPECT_TRUE(with_files({{"eos_token", "<mask>"}}, {{file, content}}).notes().empty());
    }
    EXPECT_FALSE(with_files(json::object(), {{file, R"({"eos_token_id": null})"}}).eos_id());
  }
  expect_note(with_files(json::object(), {{"config.json", R"({"eos_token_id": 999999})"}}),
              "the eos_token_id 999999 of config.json is no token");
}

/// Ids, flags and names by transformers 5 of many combinations of these files.
TEST(TokenizerFiles, NameTokensAsInTransformers) {
  const json golden =
      json::parse(io::read_file(TESSERA_GOLDEN_DIR "/tokenizer/named_tokens.json", 16 << 20));
  const std::string text = golden["text"];
  ASSERT_GT(golden["cases"].size(), 20u);
  for (const auto& [name, wanted] : golden["cases"].items()) {
    SCOPED_TRACE(name);
    std::map<std::string, std::string> files;
    for (const auto& [file, content] : wanted["files"].items()) files[file] = content.dump();
    json spec = json::parse(io::read_file(kTokenizer, 16 << 20));
    spec["post_processor"] = wanted["post_processor"];
    files["tokenizer.json"] = spec.dump();
    const Tokenizer tokenizer = with_files(json::object(), files);
    EXPECT_EQ(json(tokenizer.encode(text)), wanted["ids"]);
    std::vector<int32_t> special;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (tokenizer.token(id).empty()) continue;
      if (tokenizer.decode({&id, 1}, /*skip_special=*/true).empty()) special.push_back(id);
    }
    EXPECT_EQ(json(special), wanted["special"]);
    const auto number = [](std::optional<int32_t> id) { return id ? json(*id) : json(); };
    EXPECT_EQ(number(tokenizer.bos_id()), wanted["bos"]);
    EXPECT_EQ(number(tokenizer.eos_id()), wanted["eos"]);
    EXPECT_EQ(number(tokenizer.pad_id()), wanted["pad"]);
    EXPECT_EQ(tokenizer.adds_bos(), wanted["with_special"][0] != wanted["ids"][0]);
  }
}

TEST(TokenizerFiles, SayWhichFileDecides) {
  const std::string map = R"({"eos_token": "<mask>", "pad_token": {"content": "<pad>"}})";
  const json config = {{"eos_token", "<|im_end|>"}, {"pad_token", "<pad>"}};
  expect_note(with_files(config, {{"special_tokens_map.json", map}}),
              "special_tokens_map.json: eos_token is taken from here, not from ");
  json with_decoder = config;
  with_decoder["added_tokens_decoder"] = json::object();
  expect_note(with_files(with_decoder, {{"special_tokens_map.json", map}}),
              "special_tokens_map.json: eos_token is not used beside added_tokens_decoder");
  // The same said twice, or only in one of them, needs no line.
  const json same = {{"eos_token", "<mask>"}, {"pad_token", {{"content", "<pad>"}}}};
  EXPECT_TRUE(with_files(same, {{"special_tokens_map.json", map}}).notes().empty());
  EXPECT_TRUE(with_files(json::object(), {{"special_tokens_map.json", map}}).notes().empty());
  // An error names the file that the name stands in.
  expect_error(
      [&] {
        with_files(config, {{"special_tokens_map.json", R"({"eos_token": "<none>"})"}});
      },
      "special_tokens_map.json: the eos_token '<none>' is not in the vocabulary");
  // So does a note.
  const Tokenizer both = with_files(
      {{"img_token", "<img>"}},
      {{"special_tokens_map.json", R"({"unk_token": "<none>", "cls_token": "<none>"})"}});
  ASSERT_EQ(both.notes().size(), 2u);
  const std::string why = ": not in the vocabulary, so that they stay letters: ";
  EXPECT_TRUE(both.notes()[0].ends_with("/special_tokens_map.json" + why + "cls_token, unk_token"))
      << both.notes()[0];
  EXPECT_TRUE(both.notes()[1].ends_with("/tokenizer_config.json" + why + "img_token"))
      << both.notes()[1];
}

TEST(TokenizerFiles, SayWhatDoesNotHoldOverTheConfig) {
  const json config = {{"additional_special_tokens", {"<think>"}}, {"tool_token", "<mask>"}};
  const auto with_map = [&](const char* map) {
    return with_files(config, {{"special_tokens_map.json", map}});
  };
  const Tokenizer other =
      with_map(R"({"additional_special_tokens": ["<both>"], "tool_token": "<pad>"})");
  expect_note(other,
              "special_tokens_map.json: additional_special_tokens, tool_token is taken from ");
  EXPECT_TRUE(
      other.notes()[0].ends_with("/tokenizer_config.json, not from here, as in "
                                 "transformers"))
      << other.notes()[0];
  EXPECT_TRUE(with_map(R"({"additional_special_tokens": ["<think>"], "tool_token": "<mask>"})")
                  .notes()
                  .empty());
  EXPECT_TRUE(with_map(R"({"extra_special_tokens": ["<both>"]})").notes().empty());  // both hold
  const auto with_ids = [&](const char* ids) {
    return with_files(json::object(), {{"added_tokens.json", ids}});
  };
  expect_note(with_ids(R"({"<think>": 500, "<both>": 425, "one": "1"})"),
              "added_tokens.json: the ids of tokenizer.json hold, as in transformers: '<think>' "
              "429, not 500, 'one' 426, not \"1\"");
  EXPECT_TRUE(with_ids(R"({"<think>": 429})").notes().empty());
}

TEST(TokenizerFiles, NameTokensThatAreNotInTheVocabulary) {
  expect_note(with_files({{"additional_special_tokens", {"<think>", "<a>", "<b>"}}}, {}),
              "additional_special_tokens: not in the vocabulary, so that they stay letters: '<a>', "
              "'<b>'");
  expect_note(with_files({{"img_token", "<img>"}, {"unk_token", "<none>"}}, {}),
              "not in the vocabulary, so that they stay letters: img_token, unk_token");
  expect_note(
      with_files({{"extra_special_tokens", {"<think>"}}, {"additional_special_tokens", {"<mask>"}}},
                 {}),
      "additional_special_tokens is not used beside extra_special_tokens");
  expect_error(
      [&] {
        with_files({{"extra_special_tokens", "<think>"}}, {});
      },
      "extra_special_tokens must be a list of tokens");
  expect_error(
      [&] {
        with_files({{"extra_special_tokens", {7}}}, {});
      },
      "'extra_special_tokens' must be a string, not 7");
  expect_error(
      [&] {
        with_files({{"split_special_tokens", true}}, {});
      },
      "tokenizer_config.json: 'split_special_tokens' is not supported");
  EXPECT_TRUE(with_files({{"split_special_tokens", false}}, {}).notes().empty());
}

TEST(TokenizerFiles, SayWhereThePostProcessorDecides) {
  json spec = json::parse(io::read_file(kTokenizer, 16 << 20));
  const json config = {{"bos_token", "<|im_start|>"}, {"eos_token", "<|im_end|>"}};
  const auto notes = [&](bool before, bool after, const json& flags) {
    json single = json::array({{{"Sequence", {{"id", "A"}}}}});
    const auto token = [](const char* id) { return json{{"SpecialToken", {{"id", id}}}}; };
    if (before) single.insert(single.begin(), token("<|im_start|>"));
    if (after) single.push_back(token("<|im_end|>"));
    spec["post_processor"] = {{"type", "TemplateProcessing"}, {"single", single}};
    json all = config;
    all.update(flags);
    return with_files(all, {{"tokenizer.json", spec.dump()}}).notes();
  };
  using Lines = std::vector<std::string>;
  for (const bool puts : {false, true}) {
    EXPECT_EQ(notes(puts, puts, {{"add_bos_token", puts}, {"add_eos_token", puts}}), Lines());
    EXPECT_EQ(notes(puts, puts, json::object()), Lines());
    const Lines bos = notes(puts, false, {{"add_bos_token", !puts}});
    ASSERT_EQ(bos.size(), 1u);
    EXPECT_NE(bos[0].find(fmt::format("add_bos_token is {}, but the post_processor of ", !puts)),
              std::string::npos);
    EXPECT_NE(bos[0].find(puts ? "adds the bos_token" : "adds no bos_token"), std::string::npos);
  }
  EXPECT_EQ(notes(false, true, {{"add_eos_token", false}}).size(), 1u);
  EXPECT_EQ(notes(false, false, {{"add_eos_token", true}}), Lines());  // every text ends with it
}

/// The files are those that were read: the folder is gone.
TEST(TokenizerFiles, AreReadOnce) {
  const std::string jinja = "{{ a }}";
  const auto files =
      with_files({{"eos_token", "<mask>"}}, {{"chat_template.jinja", jinja}}).files();
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0].second, io::read_file(kTokenizer, 16 << 20));
  EXPECT_EQ(files[1],
            std::pair(std::string("tokenizer_config.json"), json{{"eos_token", "<mask>"}}.dump()));
  EXPECT_EQ(files[2], std::pair(std::string("chat_template.jinja"), jinja));
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
