// Rows to tokens and labels: what is learned and what is masked, and every way a row can be wrong.
#include "launch/data/dataset.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "launch/data/row_types.h"
#include "runtime/core/error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/row_type.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

class DatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / fmt::format("tessera-dataset-{}", ::getpid());
    testing::write_byte_tokenizer(dir_);
    tokenizer_ = Tokenizer::load(dir_.string());
    chat_ = ChatTemplate::resolve("chatml", *tokenizer_);
    config_.sequence_len = 1000;
  }
  void TearDown() override { fs::remove_all(dir_); }

  Dataset load(const std::string& text, const std::string& type,
               const std::string& name = "d.jsonl") {
    std::ofstream(dir_ / name) << text;
    config_.datasets = {{(dir_ / name).string(), testing::row_type(type)}};
    return load_datasets(config_, config_.datasets, {&*tokenizer_, &*chat_, testing::kByteVocab});
  }
  /// The one sample of the one row.
  Sample row(const std::string& text, const std::string& type) {
    Dataset data = load(text + "\n", type);
    EXPECT_EQ(data.samples.size(), 1u);
    return data.samples[0];
  }
  std::string text_of(const Sample& sample, bool learned) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < sample.ids.size(); ++i) {
      if ((sample.labels[i] != Sample::kIgnore) == learned) ids.push_back(sample.ids[i]);
    }
    return tokenizer_->decode(ids, false);
  }
  std::string error_of(const std::string& text, const std::string& type) {
    try {
      load(text, type);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path dir_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_;
  Config config_;
};

TEST_F(DatasetTest, EveryAssistantTurnIsLearnedItsEndIncluded) {
  const Sample s =
      row(R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yo"},)"
          R"({"role":"user","content":"Bye"},{"role":"assistant","content":"Ciao"}]})",
          "chat_template");
  EXPECT_EQ(text_of(s, true), "Yo<|im_end|>Ciao<|im_end|>");
  EXPECT_EQ(text_of(s, false),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n\n"
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n\n");
}

TEST_F(DatasetTest, UserTextNeverBecomesASpecialToken) {
  const Sample s = row(
      R"({"messages":[{"role":"user","content":"<|im_end|>"},{"role":"assistant","content":"ok"}]})",
      "chat_template");
  EXPECT_EQ(std::count(s.ids.begin(), s.ids.end(), testing::kImEnd), 2);
}

TEST_F(DatasetTest, SharegptIsReadAsMessages) {
  const std::string turns = R"([{"from":"human","value":"a"},{"from":"gpt","value":"b"}])";
  const Sample s = row(R"({"conversations":)" + turns + "}", "chat_template");
  EXPECT_EQ(text_of(s, true), "b<|im_end|>");
}

TEST_F(DatasetTest, AlpacaMasksThePromptAndEndsTheAnswer) {
  const Sample s = row(R"({"instruction":"Add","input":"1 2","output":"3"})", "alpaca");
  EXPECT_EQ(text_of(s, true), "3<|im_end|>");
  EXPECT_EQ(text_of(s, false),
            "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response that appropriately completes the "
            "request.\n\n### Instruction:\nAdd\n\n### Input:\n1 2\n\n### Response:\n");
}

TEST_F(DatasetTest, PromptCompletionAndCompletion) {
  EXPECT_EQ(text_of(row(R"({"prompt":"p","completion":"c"})", "prompt_completion"), true),
            "c<|im_end|>");
  EXPECT_EQ(text_of(row(R"({"text":"all"})", "completion"), true), "all<|im_end|>");
}

TEST_F(DatasetTest, TrainOnInputsLearnsAll) {
  config_.train_on_inputs = true;
  EXPECT_EQ(text_of(row(R"({"prompt":"p","completion":"c"})", "prompt_completion"), false), "");
}

TEST_F(DatasetTest, TokenizedRowsAreTakenAsTheyAre) {
  const Sample s = row(R"({"input_ids":[1,2,3],"labels":[-100,2,3]})", "tokenized");
  EXPECT_EQ(s.ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(s.labels, (std::vector<int32_t>{-100, 2, 3}));
  EXPECT_EQ(row(R"({"input_ids":[1,2,3]})", "tokenized").labels, s.ids);
}

TEST_F(DatasetTest, TypesAreInferredFromColumns) {
  EXPECT_EQ(load("{\"text\":\"ab\"}\n", "").notes().size(), 1u);
  EXPECT_EQ(text_of(row(R"({"prompt":"p","completion":"c"})", ""), true), "c<|im_end|>");
  EXPECT_EQ(
      error_of(R"({"text":"a","input_ids":[1]})", ""),
      fmt::format("{}:1: the columns fit both tokenized and completion; say which with `type:`",
                  (dir_ / "d.jsonl").string()));
  EXPECT_NE(error_of(R"({"foo":1})", "").find("fit no known type"), std::string::npos);
}

TEST_F(DatasetTest, LongRowsAreDroppedOrCutAndCounted) {
  config_.sequence_len = 6;
  const std::string rows =
      "{\"prompt\":\"p\",\"completion\":\"cccccc\"}\n{\"prompt\":\"p\",\"completion\":\"c\"}\n";
  Dataset dropped = load(rows, "prompt_completion");
  EXPECT_EQ(dropped.samples.size(), 1u);
  EXPECT_EQ(dropped.counts.dropped_long, 1);
  config_.excess_length_strategy = ExcessLength::kTruncate;
  Dataset cut = load(rows, "prompt_completion");
  EXPECT_EQ(cut.samples.size(), 2u);
  EXPECT_EQ(cut.counts.truncated, 1);
  EXPECT_EQ(cut.samples[0].ids.size(), 6u);
  // Running text is cut into pieces, none lost: 13 characters and the end are 6 + 6 + 2.
  EXPECT_EQ(load("{\"text\":\"abcdefghijklm\"}\n", "completion").samples.size(), 3u);
}

TEST_F(DatasetTest, JsonArraysAndSeveralSetsKeepTheirOrder) {
  std::ofstream(dir_ / "a.json") << R"([{"text":"1"},{"text":"2"}])";
  std::ofstream(dir_ / "b.jsonl") << "{\"text\":\"3\"}\n\n{\"text\":\"4\"}";
  config_.datasets = {{(dir_ / "a.json").string(), RowType::kCompletion},
                      {(dir_ / "b.jsonl").string(), RowType::kCompletion}};
  const Dataset data =
      load_datasets(config_, config_.datasets, {&*tokenizer_, &*chat_, testing::kByteVocab});
  std::string order;
  for (size_t i = 0; i < data.samples.size(); ++i) order += char(data.samples[i].ids[0]);
  EXPECT_EQ(order, "1234");
}

TEST_F(DatasetTest, BadRowsNameFileAndLine) {
  const std::string at = (dir_ / "d.jsonl").string() + ":2: ";
  const std::string good = "{\"text\":\"x\"}\n";
  EXPECT_EQ(error_of(good + "{\"text\":5}\n", "completion"), at + "\"text\" must be a string");
  EXPECT_EQ(error_of(good + "{}\n", "completion"), at + "the row has no \"text\"");
  EXPECT_EQ(error_of(good + "[1]\n", "completion"), at + "a row must be a JSON object");
  EXPECT_EQ(error_of(good + "{\"text\":\n", "completion").find(at + "invalid JSON"), 0u);
  EXPECT_EQ(error_of(R"({"input_ids":[1,999]})", "tokenized").substr(at.size()),
            "\"input_ids\" holds 999, which is no token of this model (0 to 258)");
  EXPECT_NE(error_of(R"({"input_ids":[1,2],"labels":[1]})", "tokenized").find("1 labels for 2"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"input_ids":[1.5]})", "tokenized").find("integers only"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"messages":[{"role":"wizard","content":"x"}]})", "chat_template")
                .find("unknown role \"wizard\""),
            std::string::npos);
  EXPECT_NE(error_of(R"({"messages":[]})", "chat_template").find("non-empty array"),
            std::string::npos);
}

TEST_F(DatasetTest, NothingToLearnIsAnError) {
  EXPECT_NE(error_of("", "completion").find("empty"), std::string::npos);
  EXPECT_NE(error_of(R"({"input_ids":[1,2],"labels":[-100,-100]})", "tokenized")
                .find("no row to learn from"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::launch
