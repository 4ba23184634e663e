// Answers to sample_prompts: those that `tessera generate` gives with the same adapter.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/run/train.h"
#include "parallel/thread_communicator.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/program.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";
// More than are made at a time.
const std::vector<std::string> kPrompts = {"Hello", "A", "What is it?", "one two", "B", "the end"};

class SamplesOfTraining : public ::testing::Test {
 protected:
  SamplesOfTraining() {
    testing::write_byte_tokenizer(base_);
    for (const char* file : {"config.json", "model.safetensors"}) {
      fs::copy_file(kTiny + "/" + file, base_ + "/" + file);
    }
    folder_.write("run.yml", "base_model: " + base_ + "\ndatasets: [{path: " + kTiny +
                                 "/data.jsonl, type: tokenized}]\noutput_dir: " + out_ + R"(
overwrite_output_dir: true
micro_batch_size: 2
lora_r: 4
max_steps: 4
learning_rate: 2e-2
save_steps: 2
threads: 1
sample_steps: 2
sample_max_new_tokens: 8
sample_prompts: )" + json(kPrompts).dump() +
                                 "\n");
  }
  void train_on(int ranks) {
    const Config config = load_config(folder_.file("run.yml"), {});
    parallel::run_ranks(
        ranks, [&](parallel::Communicator& world) { EXPECT_EQ(train(config, world), kFinished); });
  }
  std::string samples() const { return testing::bytes_of_file(out_ + "/samples.jsonl"); }
  /// What `generate` prints with the adapter in `folder`.
  std::string answer(const std::string& folder, const std::string& prompt) const {
    const testing::Outcome outcome =
        testing::run_program({"generate", "--base_model", base_, "--adapter", folder, "--prompt",
                              prompt, "--max_new_tokens", "8", "--threads", "1"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  }

  testing::ScratchFolder folder_;
  const std::string base_ = folder_.file("base"), out_ = folder_.file("out");
};

TEST_F(SamplesOfTraining, AreTheAnswersOfGenerate) {
  train_on(1);
  std::istringstream lines(samples());
  for (const int64_t step : {2, 4}) {
    const std::string adapter = fmt::format("{}/checkpoint-{}", out_, step);
    for (const std::string& prompt : kPrompts) {
      std::string line;
      ASSERT_TRUE(std::getline(lines, line)) << step << " " << prompt;
      const json sample = json::parse(line);
      EXPECT_EQ(sample["step"], step);
      EXPECT_EQ(sample["prompt"], prompt);
      EXPECT_EQ(sample["text"].get<std::string>() + "\n", answer(adapter, prompt));
    }
  }
}

TEST_F(SamplesOfTraining, AreTheSameOnSeveralRanks) {
  train_on(1);
  const std::string alone = samples();
  train_on(3);
  EXPECT_EQ(samples(), alone);
}

}  // namespace
}  // namespace tessera::launch
