// Losses of `tessera eval` against PEFT and bitsandbytes.
#include "launch/run/evaluate.h"
#include "launch/commands/eval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::expect_error;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class Evaluating : public ::testing::Test {
 protected:
  Config config(const std::string& more = "", bool data = true) {
    std::string text = "output_dir: " + folder_.file("run") + "\nmicro_batch_size: 3\n" + more;
    if (data) {
      text += "base_model: " + kTiny + "\ndatasets: [{path: " + kTiny +
              "/data.jsonl, type: tokenized}]\n";
    }
    return load_config(folder_.write("run.yml", text), {});
  }
  Evaluation run(const Config& config, const std::optional<std::string>& adapter) {
    return evaluate(config, adapter, console_).front();
  }

  tessera::testing::ScratchFolder folder_;
  Console console_;
};

TEST_F(Evaluating, EqualsPeftBeforeAndAfterTraining) {
  const json golden = io::read_json_file(kTiny + "/golden.json", 1 << 24);
  const Evaluation before = run(config(), kTiny + "/adapter_in");
  const Evaluation after = run(config(), kTiny + "/adapter_out");
  const double expected_before = golden["loss_of_file_before"];
  const double expected_after = golden["loss_of_file_after"];
  EXPECT_NEAR(before.loss, expected_before, 1e-6 * expected_before);
  EXPECT_NEAR(after.loss, expected_after, 1e-6 * expected_after);
  EXPECT_EQ(before.tokens, after.tokens);
}

TEST_F(Evaluating, TakesTheAdapterOfTheRunIfThereIsOne) {
  const Evaluation base = run(config(), "none");
  EXPECT_EQ(run(config(), std::nullopt).loss, base.loss);
  fs::copy(kTiny + "/adapter_out", folder_.file("run"));
  const Evaluation tuned = run(config(), std::nullopt);
  EXPECT_NE(tuned.loss, base.loss);
  EXPECT_EQ(tuned.loss, run(config(), kTiny + "/adapter_out").loss);
  EXPECT_EQ(run(config(), "none").loss, base.loss);
}

TEST_F(Evaluating, BeforeTheRunTakesTheAdapterToStartFrom) {
  const Evaluation start = run(config("lora_model_dir: " + kTiny + "/adapter_in\n"), std::nullopt);
  EXPECT_EQ(start.loss, run(config(), kTiny + "/adapter_in").loss);
}

TEST_F(Evaluating, TakesTheHeldOutRowsOnly) {
  const Evaluation all = run(config(), "none");
  const Evaluation held = run(config("val_set_size: 4\n"), "none");
  EXPECT_GT(held.tokens, 0);
  EXPECT_LT(held.tokens * 2, all.tokens);  // 4 rows of 16
  EXPECT_NE(held.loss, all.loss);
}

/// How rows are put together changes no loss beyond the order of the sum.
TEST_F(Evaluating, DoesNotDependOnTheBatches) {
  const Evaluation three = run(config(), "none");
  const Evaluation packed = run(config("sequence_len: 100\nsample_packing: true\n"), "none");
  const Evaluation padded = run(config("sample_packing: false\n"), "none");
  EXPECT_EQ(packed.tokens, three.tokens);
  EXPECT_NEAR(packed.loss, three.loss, 1e-12);
  EXPECT_NEAR(padded.loss, three.loss, 1e-12);
}

TEST_F(Evaluating, RefusesWhatIsMissing) {
  expect_error([&] { run(config("datasets: [{path: d}]\n", false), "none"); }, "run.yml",
               "base_model is missing");
  expect_error([&] { run(config(), folder_.file("nowhere")); }, "nowhere");
  expect_error([&] { run(config(), kTiny); }, "adapter_config.json");
}

TEST(Evaluation, IsOneJsonObject) {
  SetEvaluation evaluation{{.loss = 1.5, .tokens = 7}, "validation"};
  const std::string one =
      fmt::format(R"({{"loss":1.5,"perplexity":{},"tokens":7}})", std::exp(1.5));
  EXPECT_EQ(to_json({evaluation}), one);
  SetEvaluation other{{.loss = 1e4, .tokens = 7}, "other"};  // a perplexity beyond double
  EXPECT_EQ(to_json({other}), R"({"loss":10000.0,"perplexity":null,"tokens":7})");
  EXPECT_EQ(to_json({evaluation, other}),
            R"({"validation":)" + one + R"(,"other":)" + to_json({other}) + "}");
}

}  // namespace
}  // namespace tessera::launch
