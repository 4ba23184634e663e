// What becomes of every key of a row: masks, weights, system texts and history are honoured, what
// cannot be is refused by name, the rest is named once. Special tokens in raw text and in messages.
#include <gtest/gtest.h>

#include "launch/data/dataset.h"
#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/row_type.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::expect_error;

class Rows : public ::testing::Test {
 protected:
  void SetUp() override {
    tessera::testing::write_byte_tokenizer(folder_.path());
    tokenizer_ = Tokenizer::load(folder_.path());
    chat_ = ChatTemplate::resolve("chatml", *tokenizer_);
    config_.sequence_len = 10'000;
  }

  Dataset load(const std::string& text, const std::string& type,
               const std::string& name = "d.jsonl") {
    config_.datasets = {{folder_.write(name, text), tessera::testing::row_type(type)}};
    return load_datasets(config_, config_.datasets,
                         {&*tokenizer_, &*chat_, tessera::testing::kByteVocab});
  }
  /// The one sample of one row, whose JSON may be broken over lines here.
  Sample row(std::string text, const std::string& type) {
    std::erase(text, '\n');
    const Dataset data = load(text, type);
    EXPECT_EQ(data.samples.size(), 1u);
    return data.samples[0];
  }
  std::string learned(const Sample& sample) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < sample.ids.size(); ++i) {
      if (sample.labels[i] != Sample::kIgnore) ids.push_back(sample.ids[i]);
    }
    return tokenizer_->decode(ids, false);
  }
  std::string whole(const Sample& sample) { return tokenizer_->decode(sample.ids, false); }
  void refuse(std::string text, const std::string& type, const std::string& part) {
    std::erase(text, '\n');
    expect_error([&] { load(text, type); }, "d.jsonl:1: ", part);
  }

  tessera::testing::ScratchFolder folder_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_;
  Config config_;
};

using Ids = std::vector<int32_t>;
constexpr int32_t kNone = Sample::kIgnore;

TEST_F(Rows, PaddingIsCutOffOnEitherSide) {
  const Sample right =
      row(R"({"input_ids":[1,2,3,0,0],"attention_mask":[1,1,1,0,0]})", "tokenized");
  EXPECT_EQ(right.ids, (Ids{1, 2, 3}));
  EXPECT_EQ(right.labels, (Ids{1, 2, 3}));
  const Sample left =
      row(R"({"input_ids":[0,0,1,2],"labels":[-100,-100,-100,2],"attention_mask":[0,0,1,1]})",
          "tokenized");
  EXPECT_EQ(left.ids, (Ids{1, 2}));
  EXPECT_EQ(left.labels, (Ids{kNone, 2}));
  refuse(R"({"input_ids":[1,2,3],"attention_mask":[1,0,1]})", "tokenized", "a 0 between ones");
  refuse(R"({"input_ids":[1,2],"attention_mask":[1,2]})", "tokenized", "neither 0 nor 1");
  refuse(R"({"input_ids":[1,2],"attention_mask":[1]})", "tokenized", "1 attention_mask for 2");
}

TEST_F(Rows, PositionsThatStartAgainSeparateSamples) {
  const Dataset data = load(
      R"({"input_ids":[1,2,3,4,5,0],"position_ids":[0,1,2,0,1,1],"attention_mask":[1,1,1,1,1,0]})",
      "tokenized");
  ASSERT_EQ(data.samples.size(), 2u);
  EXPECT_EQ(data.samples[0].ids, (Ids{1, 2, 3}));
  EXPECT_EQ(data.samples[1].ids, (Ids{4, 5}));
  EXPECT_EQ(data.counts.rows, 1);
  const char* why = "\"position_ids\" must count up from 0";
  refuse(R"({"input_ids":[1,2,3],"position_ids":[0,2,4]})", "tokenized", why);
  refuse(R"({"input_ids":[1,2,3],"position_ids":[5,6,7]})", "tokenized", why);
  refuse(R"({"input_ids":[1,2,3],"position_ids":[0,1,-1]})", "tokenized", "no position");
}

TEST_F(Rows, MasksOfTokenizedRowsSayWhatIsLearned) {
  EXPECT_EQ(row(R"({"input_ids":[1,2,3],"completion_mask":[0,1,1]})", "tokenized").labels,
            (Ids{kNone, 2, 3}));
  EXPECT_EQ(
      row(R"({"input_ids":[1,2,3],"assistant_masks":[false,false,true]})", "tokenized").labels,
      (Ids{kNone, kNone, 3}));
  EXPECT_EQ(row(R"({"input_ids":[1,2,3,4],"labels":[-100,2,3,4],"completion_mask":[1,1,0,1],
                    "assistant_masks":null})",
                "tokenized")
                .labels,
            (Ids{kNone, 2, kNone, 4}));
  refuse(R"({"input_ids":[1,2],"loss_mask":[0,1]})", "tokenized", "\"loss_mask\"");
  refuse(R"({"input_ids":[1,2],"labels":[-5,1]})", "tokenized", "holds -5");
}

TEST_F(Rows, ATurnOfWeightZeroIsContextOnly) {
  const auto turns = [](const std::string& first, const std::string& second) {
    return R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"bad")" +
           first + R"(},{"role":"user","content":"b"},{"role":"assistant","content":"good")" +
           second + "}]}";
  };
  const Sample s = row(turns(R"(,"weight":0)", R"(,"weight":1)"), "chat_template");
  EXPECT_EQ(learned(s), "good<|im_end|>");
  EXPECT_NE(whole(s).find("bad<|im_end|>"), std::string::npos);
  EXPECT_EQ(learned(row(turns(R"(,"train":false)", ""), "chat_template")), "good<|im_end|>");
  EXPECT_EQ(learned(row(turns(R"(,"loss":0.0)", R"(,"loss":1.0)"), "chat_template")),
            "good<|im_end|>");
  config_.train_on_inputs = true;
  const std::string all = learned(row(turns(R"(,"weight":0)", ""), "chat_template"));
  EXPECT_EQ(all.find("bad"), std::string::npos);
  EXPECT_NE(all.find("user\na"), std::string::npos);
  refuse(turns(R"(,"weight":0.5)", ""), "chat_template", "must be 0, 1, false or true, not 0.5");
  refuse(turns(R"(,"weight":1,"train":false)", ""), "chat_template", "contradicts");
  config_.train_on_inputs = false;
  // A message of another role can be learned; OpenAI's weight of 1 does not ask for it.
  const std::string user = R"({"messages":[{"role":"user","content":"a",)";
  EXPECT_EQ(learned(row(user + R"("train":true}]})", "chat_template")), "a<|im_end|>");
  expect_error([&] { load(user + R"("weight":1}]})", "chat_template"); }, "no row to learn from");
}

TEST_F(Rows, WeightZeroHoldsInEveryTemplate) {
  for (const char* name : {"chatml", "alpaca"}) {
    chat_ = ChatTemplate::resolve(name, *tokenizer_);
    const Sample s = row(
        R"({"system":"S","messages":[{"role":"user","content":"a"},
           {"role":"assistant","content":"bad","weight":0},{"role":"user","content":"b"},
           {"role":"assistant","content":"good"}]})",
        "chat_template");
    EXPECT_EQ(learned(s), "good<|im_end|>") << name;
  }
}

TEST_F(Rows, ASystemColumnIsTheFirstMessage) {
  const std::string turns =
      R"("conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Yo"}])";
  EXPECT_EQ(whole(row(R"({"system":"Be brief.",)" + turns + "}", "chat_template")),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nYo<|im_end|>\n");
  EXPECT_EQ(row(R"({"system":"",)" + turns + "}", "chat_template").ids,
            row("{" + turns + "}", "chat_template").ids);
  const std::string own =
      R"("messages":[{"role":"system","content":"A"},{"role":"user","content":"b"},
                             {"role":"assistant","content":"c"}]})";
  refuse(R"({"system":"B",)" + own, "chat_template", "two system texts");
  EXPECT_EQ(row(R"({"system_prompt":"A",)" + own, "chat_template").ids,
            row("{" + own, "chat_template").ids);
  refuse(R"({"prompt":"a","completion":"b","system":"S"})", "prompt_completion", "\"system\"");
}

TEST_F(Rows, AlpacaTakesSystemAndHistory) {
  const Sample s = row(
      R"({"instruction":"Go on.","input":"","output":"It slept.","system":"You tell stories.",
          "history":[["Begin.","Once."],["And?","It ran."]]})",
      "alpaca");
  EXPECT_EQ(whole(s),
            "You tell stories.\n\n### Instruction:\nBegin.\n\n### Response:\nOnce.<|im_end|>"
            "\n\n### Instruction:\nAnd?\n\n### Response:\nIt ran.<|im_end|>"
            "\n\n### Instruction:\nGo on.\n\n### Response:\nIt slept.<|im_end|>");
  EXPECT_EQ(learned(s), "Once.<|im_end|>It ran.<|im_end|>It slept.<|im_end|>");
  refuse(R"({"instruction":"a","output":"b","history":[["q"]]})", "alpaca", "pairs");
  refuse(R"({"instruction":"a","output":"b","history":"q"})", "alpaca", "pairs");
}

TEST_F(Rows, TextPartsOfAContentAreJoined) {
  EXPECT_EQ(learned(row(R"({"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]},
      {"role":"assistant","content":[{"type":"text","text":"Y"},{"type":"text","text":"o"}]}]})",
                        "chat_template")),
            "Yo<|im_end|>");
  refuse(R"({"messages":[{"role":"user","content":[{"type":"image","image":"a.png"}]}]})",
         "chat_template", "part of type \"image\"");
  refuse(R"({"messages":[{"role":"user","content":[{"type":"text","text":"a","image_url":"x"}]}]})",
         "chat_template", "\"image_url\"");
  refuse(R"({"messages":[{"role":"user","content":null}]})", "chat_template", "no \"content\"");
  refuse(R"({"messages":[{"role":"user","content":7}]})", "chat_template", "list of text parts");
  const Dataset named = load(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":1}]},)"
      R"({"role":"assistant","content":"b"}]})",
      "chat_template");
  const std::vector<std::string> notes = named.notes();
  EXPECT_EQ(std::ranges::count_if(
                notes,
                [](const std::string& note) { return note.find("cache_control") != note.npos; }),
            1);
}

TEST_F(Rows, NumbersOfTokenizedRowsAreTakenAsTheyAre) {
  // -100 in 64 bits without a sign.
  refuse(R"({"input_ids":[1,2],"labels":[1,18446744073709551516]})", "tokenized",
         "\"labels\" holds 18446744073709551516, which is no token");
  refuse(R"({"input_ids":[true,2]})", "tokenized", "\"input_ids\" must hold integers only");
  refuse(R"({"input_ids":[],"labels":[1,2]})", "tokenized", "2 labels for 0 input_ids");
  EXPECT_EQ(row(R"({"input_ids":[1,2],"completion_mask":[false,true]})", "tokenized").labels,
            (Ids{kNone, 2}));
}

TEST_F(Rows, ShareGptsRolesHaveManyNames) {
  for (const char* name : {"gpt", "chatgpt", "bard", "bing", "model", "assistant"}) {
    const std::string turns = R"({"conversations":[{"from":"user","value":"a"},{"from":")" +
                              std::string(name) + R"(","value":"b"}]})";
    EXPECT_EQ(learned(row(turns, "chat_template")), "b<|im_end|>") << name;
  }
  refuse(R"({"conversations":[{"from":"wizard","value":"b"}]})", "chat_template",
         "human, user, gpt");
  EXPECT_EQ(whole(row(R"({"conversations":[{"from":"observation","value":"a"},
                         {"from":"gpt","value":"b"}]})",
                      "chat_template")),
            "<|im_start|>tool\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n");
}

TEST_F(Rows, WhatCannotBeHonouredIsRefusedByName) {
  const auto chat = [](const std::string& key, const std::string& value) {
    return R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],")" +
           key + "\":" + value + "}";
  };
  for (const char* key : {"tools", "functions", "images", "videos", "documents", "history",
                          "attention_mask", "weight", "rejected"}) {
    refuse(chat(key, R"(["x"])"), "chat_template",
           "\"" + std::string(key) + "\" is not understood");
    EXPECT_EQ(learned(row(chat(key, "null"), "chat_template")), "b<|im_end|>");
    EXPECT_EQ(learned(row(chat(key, "[]"), "chat_template")), "b<|im_end|>");
  }
  const auto answer = [](const std::string& key) {
    return R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,")" +
           key + R"(":"x"}]})";
  };
  for (const char* key :
       {"tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "images"}) {
    refuse(answer(key), "chat_template", "\"" + std::string(key) + "\" is not understood");
  }
  for (const char* key : {"weight", "attention_mask", "completion_mask", "images", "loss_weight"}) {
    refuse(R"({"text":"a",")" + std::string(key) + R"(":[0]})", "completion", key);
    refuse(R"({"prompt":"a","completion":"b",")" + std::string(key) + R"(":[0]})",
           "prompt_completion", key);
    refuse(R"({"instruction":"a","output":"b",")" + std::string(key) + R"(":[0]})", "alpaca", key);
  }
  // Beside a text or tokens that are whole, what a template would render is a leftover.
  EXPECT_EQ(load(R"({"text":"a","tools":[1]})", "completion").samples.size(), 1u);
  EXPECT_EQ(load(R"({"input_ids":[1,2],"messages":[1],"system":"s"})", "tokenized").samples.size(),
            1u);
}

TEST_F(Rows, OtherColumnsAreNamedOnce) {
  const std::string turns = R"("messages":[{"role":"user","content":"a","name":"Ann"},
                              {"role":"assistant","content":"b"}],"id":1,"source":"x"})";
  std::string line = "{" + turns;
  std::erase(line, '\n');
  const Dataset data = load(line + "\n" + line + "\n", "chat_template");
  const std::string path = folder_.file("d.jsonl");
  EXPECT_EQ(data.notes(), (std::vector<std::string>{path + ": columns not used: id, source",
                                                    path + ": keys of messages not used: name"}));
}

TEST_F(Rows, ImagePlaceholdersAreNamed) {
  const Dataset data = load(
      R"({"messages":[{"role":"user","content":"<image> What?"},{"role":"assistant","content":"b"}]})",
      "chat_template");
  ASSERT_EQ(data.notes().size(), 1u);
  EXPECT_NE(data.notes()[0].find("messages with \"<image>\""), std::string::npos);
}

TEST_F(Rows, PlaceholdersOfMediaAreNamedInEveryText) {
  const auto expect = [&](const std::string& text, const std::string& type,
                          const std::string& line) {
    const Dataset data = load(text, type);
    EXPECT_EQ(data.notes(), (std::vector<std::string>{folder_.file("d.jsonl") + ": " + line}));
  };
  expect(
      R"({"messages":[{"role":"user","content":"<video><video>"},{"role":"assistant","content":"b"}]})",
      "chat_template", "messages with \"<video>\", which is learned as letters: 1");
  const std::string audio = "texts with \"<audio>\", which is learned as letters: ";
  expect("{\"text\":\"a <audio>\"}\n{\"text\":\"a\"}", "completion", audio + "1");
  expect(R"({"prompt":"<audio>","completion":"<audio>"})", "prompt_completion", audio + "2");
  expect(R"({"instruction":"a","input":"<audio>","output":"b"})", "alpaca", audio + "1");
}

TEST_F(Rows, APlaceholderThatIsATokenIsNoLetters) {
  auto spec =
      nlohmann::json::parse(tessera::testing::bytes_of_file(folder_.file("tokenizer.json")));
  spec["added_tokens"].push_back({{"id", 259}, {"content", "<image>"}, {"special", false}});
  folder_.write("tokenizer.json", spec.dump());
  tokenizer_ = Tokenizer::load(folder_.path());
  config_.datasets = {{folder_.write("d.jsonl", R"({"text":"<image>a"})"), RowType::kCompletion}};
  const Dataset data = load_datasets(config_, config_.datasets, {&*tokenizer_, &*chat_, 260});
  EXPECT_EQ(data.samples[0].ids, (Ids{259, 'a', tessera::testing::kImEnd}));
  EXPECT_TRUE(data.notes().empty());
}

/// Data sets that hold rows of several kinds write every key in each of them.
TEST_F(Rows, ANullColumnIsAbsent) {
  const std::string null = R"("text":null,"input_ids":null,"prompt":null,"completion":null,)";
  const std::string turns =
      R"([{"role":null,"content":null,"from":"human","value":"Hi"},
          {"role":null,"content":null,"from":"gpt","value":"Yo","weight":null}]})";
  EXPECT_EQ(learned(row("{" + null + R"("messages":null,"conversations":)" + turns, "")),
            "Yo<|im_end|>");
  EXPECT_EQ(learned(row(R"({"text":null,"instruction":"a","output":"b","messages":null})", "")),
            "b<|im_end|>");
  refuse(R"({"text":null})", "completion", "the row has no \"text\"");
  refuse(R"({"messages":null})", "chat_template", "the row has no \"messages\"");
  refuse(R"({"input_ids":null})", "tokenized", "the row has no \"input_ids\"");
  EXPECT_EQ(
      learned(row(R"({"messages":[{"role":"user","content":"a","train":true,"weight":null}]})",
                  "chat_template")),
      "a<|im_end|>");
}

TEST_F(Rows, AValueThatSaysNothingIsNoFault) {
  const auto with = [](const std::string& value) {
    return R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],)" +
           value + "}";
  };
  for (const char* value : {R"("tools":"[]")", R"("tools":"null")", R"("documents":"{}")",
                            R"("prefix":false)", R"("tools":false)", R"("masked":false)"}) {
    EXPECT_TRUE(load(with(value), "chat_template").notes().empty()) << value;
  }
  for (const char* value : {R"("tools":"[1]")", R"("prefix":true)", R"("loss_mask":false)",
                            R"("train":false)", R"("masked":true)"}) {
    refuse(with(value), "chat_template", "is not understood here");
  }
}

TEST_F(Rows, RawTextHasSpecialTokens) {
  const Sample s = row(R"({"text":"<|im_start|>user\nHi<|im_end|>\n"})", "completion");
  EXPECT_EQ(std::count(s.ids.begin(), s.ids.end(), tessera::testing::kImStart), 1);
  EXPECT_EQ(std::count(s.ids.begin(), s.ids.end(), tessera::testing::kImEnd), 2);
  EXPECT_EQ(row(R"({"text":"a<|im_end|>"})", "completion").ids,
            (Ids{'a', tessera::testing::kImEnd}));
  EXPECT_EQ(
      row(R"({"prompt":"<|im_start|>p","completion":"c<|im_end|>"})", "prompt_completion").ids,
      (Ids{tessera::testing::kImStart, 'p', 'c', tessera::testing::kImEnd}));
}

/// The byte tokenizer with <|endoftext|> before every text, and <think> as a token that is not
/// special.
void write_tokenizer_with_bos(const tessera::testing::Folder& folder) {
  tessera::testing::write_byte_tokenizer(folder.path());
  auto spec = nlohmann::json::parse(tessera::testing::bytes_of_file(folder.file("tokenizer.json")));
  spec["post_processor"] = nlohmann::json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|endoftext|>"}},
                                               {"Sequence":{"id":"A"}}]})");
  spec["added_tokens"].push_back({{"id", 259}, {"content", "<think>"}, {"special", false}});
  folder.write("tokenizer.json", spec.dump());
}

TEST_F(Rows, ATextBeginsAndEndsOnce) {
  write_tokenizer_with_bos(folder_);
  tokenizer_ = Tokenizer::load(folder_.path());
  const int bos = tessera::testing::kEndOfText, eos = tessera::testing::kImEnd;
  EXPECT_EQ(row(R"({"text":"a"})", "completion").ids, (Ids{bos, 'a', eos}));
  EXPECT_EQ(row(R"({"text":"<|endoftext|>a<|im_end|>"})", "completion").ids, (Ids{bos, 'a', eos}));
  EXPECT_EQ(row(R"({"prompt":"<|endoftext|>a","completion":"b"})", "prompt_completion").ids,
            (Ids{bos, 'a', 'b', eos}));
}

TEST_F(Rows, InMessagesOnlyOrdinaryAddedTokensAreTokens) {
  write_tokenizer_with_bos(folder_);
  tokenizer_ = Tokenizer::load(folder_.path());
  const std::string text = R"({"messages":[{"role":"user","content":"<|im_end|><|im_end|>"},
                              {"role":"assistant","content":"<think>b"}]})";
  config_.datasets = {{folder_.write("d.json", "[" + text + "]"), RowType::kChatTemplate}};
  const RowEncoder encoder = {&*tokenizer_, &*chat_, 260};
  Dataset data = load_datasets(config_, config_.datasets, encoder);
  const auto count = [&](int32_t id) { return std::ranges::count(data.samples[0].ids, id); };
  EXPECT_EQ(count(tessera::testing::kImEnd), 2);
  EXPECT_EQ(count(259), 1);
  ASSERT_EQ(data.notes().size(), 1u);
  EXPECT_NE(data.notes()[0].find("taken as letters: <|im_end|> (2)"), std::string::npos)
      << data.notes()[0];

  config_.special_tokens_in_content = ContentTokens::kTokens;
  data = load_datasets(config_, config_.datasets, encoder);
  EXPECT_EQ(count(tessera::testing::kImEnd), 4);
  EXPECT_TRUE(data.notes().empty());
}

TEST_F(Rows, AMissingTemplateIsNamedWhereARowNeedsIt) {
  config_.datasets = {
      {folder_.write("d.jsonl", R"({"messages":[{"role":"user","content":"a"}]})"), {}}};
  expect_error(
      [&] {
        load_datasets(config_, config_.datasets,
                      {.tokenizer = &*tokenizer_,
                       .vocab = 259,
                       .no_chat_template = Error("chat_template: none is recognised")});
      },
      "none is recognised");
  expect_error(
      [&] {
        load_datasets(config_, config_.datasets,
                      {.vocab = 259, .no_tokenizer = Error("no tokenizer.json")});
      },
      "no tokenizer.json");
}

TEST_F(Rows, AnyNumberOfThreadsGivesTheSameSamples) {
  std::string rows;
  for (int i = 0; i < 300; ++i) rows += fmt::format("{{\"text\":\"row {}\",\"id\":1}}\n", i);
  config_.datasets = {{folder_.write("many.jsonl", rows), RowType::kCompletion}};
  const auto with = [&](int threads) {
    return load_datasets(config_, config_.datasets,
                         {.tokenizer = &*tokenizer_,
                          .chat_template = &*chat_,
                          .vocab = tessera::testing::kByteVocab,
                          .threads = threads});
  };
  const Dataset one = with(1), three = with(3);
  ASSERT_EQ(one.samples.size(), 300u);
  for (size_t i = 0; i < one.samples.size(); ++i) {
    EXPECT_EQ(one.samples[i].ids, three.samples[i].ids) << i;
  }
  EXPECT_EQ(one.notes(), three.notes());
  // Of several rows at fault, the first is heard of.
  config_.datasets = {{folder_.write("bad.jsonl", rows + "{\"text\":1}\n{\"text\":2}\n" + rows),
                       RowType::kCompletion}};
  expect_error([&] { with(3); }, "bad.jsonl:301");
}

}  // namespace
}  // namespace tessera::launch
