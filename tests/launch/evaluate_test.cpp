// Losses of `tessera eval` against PEFT and bitsandbytes, its accuracy against torch, and the same
// of it on any number of ranks.
#include "launch/run/evaluate.h"
#include "launch/commands/eval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/random_model.h"
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
  SetEvaluation run(const Config& config, const std::optional<std::string>& adapter) {
    return evaluate({config, adapter}, alone_, console_).front();
  }
  /// The lines of --per_sample.
  static std::vector<json> lines_of(const std::string& text) {
    std::vector<json> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
    return lines;
  }

  tessera::testing::ScratchFolder folder_;
  parallel::SelfCommunicator alone_;
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

/// tests/golden/make_evaluate_golden.py: rows that are right as a whole, in part or nowhere.
TEST_F(Evaluating, AccuracyEqualsTorch) {
  const std::string folder = std::string(TESSERA_GOLDEN_DIR) + "/evaluate";
  const json golden = io::read_json_file(folder + "/golden.json", 1 << 20);
  const std::string text = fmt::format(
      "base_model: {}\nadapter: lora\nmicro_batch_size: 3\n"
      "datasets: [{{path: {}/rows.jsonl, type: tokenized}}]\n",
      kTiny, folder);
  const std::string path = folder_.write("rows.yml", text), out = folder_.file("samples.jsonl");
  for (const char* packing : {"sample_packing=false", "sample_packing=true"}) {
    const Config c = load_config(path, std::vector<std::string>{packing, "sequence_len=64"});
    std::filesystem::remove(out);
    const SetEvaluation all = evaluate({c, "none", out}, alone_, console_).front();
    EXPECT_EQ(all.score.token_accuracy(), golden["token_accuracy"].get<double>());
    EXPECT_EQ(all.score.exact_match(), golden["exact_match"].get<double>());
    EXPECT_EQ(all.tokens, golden["tokens"].get<int64_t>());
    EXPECT_EQ(all.score.tokens, all.tokens);
    EXPECT_NEAR(all.loss, golden["loss"].get<double>(), 1e-6);
    const std::vector<json> lines = lines_of(tessera::testing::bytes_of_file(out));
    ASSERT_EQ(lines.size(), golden["rows"].size());
    for (size_t i = 0; i < lines.size(); ++i) {
      const json& row = golden["rows"][i];
      EXPECT_EQ(lines[i]["row"], i + 1);
      EXPECT_EQ(lines[i]["exact"], row["exact"]) << i;
      EXPECT_EQ(lines[i]["tokens"], row["tokens"]) << i;
      EXPECT_EQ(lines[i]["accuracy"], row["correct"].get<double>() / row["tokens"].get<double>());
      EXPECT_NEAR(lines[i]["loss"].get<double>(), row["loss"].get<double>(), 1e-5) << i;
    }
  }
}

TEST_F(Evaluating, PlacesOfSamplesAreThoseInTheirFiles) {
  const std::string out = folder_.file("samples.jsonl");
  const std::string test =
      folder_.write("test.jsonl",
                    "{\"input_ids\": [1, 2], \"labels\": [-100, -100]}\n"  // nothing to learn
                    "{\"input_ids\": [1, 2, 3]}\n");
  const Config c =
      config("val_set_size: 3\ntest_datasets: [{path: " + test + ", type: tokenized}]\n");
  const auto sets = evaluate({c, "none", out}, alone_, console_);
  ASSERT_EQ(sets.size(), 2u);
  const std::vector<json> lines = lines_of(tessera::testing::bytes_of_file(out));
  ASSERT_EQ(lines.size(), 4u);
  int64_t before = 0;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(lines[i]["set"], "validation");
    EXPECT_EQ(lines[i]["sample"], i + 1);
    EXPECT_GT(lines[i]["row"], before);  // of the whole file
    before = lines[i]["row"].get<int64_t>();
  }
  EXPECT_GT(before, 3);
  EXPECT_EQ(lines[3]["set"], "test");
  EXPECT_EQ(lines[3]["dataset"], test);
  EXPECT_EQ(lines[3]["dataset_sample"], 1);
  EXPECT_FALSE(lines[3].contains("row"));  // a row was dropped: numbers of samples are none of rows
}

TEST_F(Evaluating, AFolderThatIsNotThereCostsNoEvaluation) {
  expect_error(
      [&] {
        evaluate({config(), "none", folder_.file("no/samples.jsonl")}, alone_, console_);
      },
      "samples.jsonl");
}

TEST_F(Evaluating, IsTheSameOnAnyNumberOfRanks) {
  const tessera::testing::Folder& at = folder_;
  tessera::testing::write_random_model(at, {.layers = 3});
  const std::string rows = tessera::testing::write_random_rows(at, 11, 8, 40, 256);
  const std::string path =
      folder_.write("ranks.yml", tessera::testing::random_run(at, rows) + "val_set_size: 7\n");
  const auto results = [&](int ranks, const std::vector<std::string>& settings) {
    const std::string out = folder_.file("samples.jsonl");
    std::filesystem::remove(out);
    std::string all;
    parallel::run_ranks(ranks, ranks, [&](parallel::Communicator& world) {
      Console console(false);
      const Config c = load_config(path, settings);
      const std::string text = to_json(evaluate({c, "none", out}, world, console));
      if (world.rank() == 0) all = text;
    });
    return all + tessera::testing::bytes_of_file(out);
  };
  const std::string expected = results(1, {});
  EXPECT_NE(expected.find("\"sample\":7"), std::string::npos);
  for (const char* sharding : {"host", "full", "hybrid", "replicate"}) {
    for (int ranks : {2, 3, 8}) {
      EXPECT_EQ(results(ranks, {fmt::format("sharding={}", sharding)}), expected)
          << ranks << " ranks, " << sharding;
    }
  }
  EXPECT_EQ(results(3, {}), expected);
}

TEST_F(Evaluating, RefusesWhatIsMissing) {
  expect_error([&] { run(config("datasets: [{path: d}]\n", false), "none"); }, "run.yml",
               "base_model is missing");
  expect_error([&] { run(config(), folder_.file("nowhere")); }, "nowhere");
  expect_error([&] { run(config(), kTiny); }, "adapter_config.json");
}

TEST(Evaluation, IsOneJsonObject) {
  SetEvaluation evaluation{{.loss = 1.5, .tokens = 7},
                           "validation",
                           {.samples = 4, .tokens = 7, .correct = 7, .exact = 1}};
  const std::string one =
      fmt::format(R"({{"loss":1.5,"perplexity":{},"token_accuracy":1.0,"exact_match":0.25,)"
                  R"("tokens":7,"samples":4}})",
                  std::exp(1.5));
  EXPECT_EQ(to_json({evaluation}), one);
  SetEvaluation other{{.loss = 1e4, .tokens = 7}, "other", {}};  // a perplexity beyond double
  EXPECT_EQ(to_json({other}).substr(0, 36), R"({"loss":10000.0,"perplexity":null,"t)");
  EXPECT_EQ(to_json({evaluation, other}),
            R"({"validation":)" + one + R"(,"other":)" + to_json({other}) + "}");
}

}  // namespace
}  // namespace tessera::launch
