// When a run stops by itself, and whose adapter it leaves.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "launch/config/config.h"
#include "launch/run/checkpoint.h"
#include "launch/run/evaluation_record.h"
#include "launch/run/train.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"
#include "runtime/core/timeline.h"
#include "runtime/io/folder.h"
#include "tests/launch/program.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kGolden = TESSERA_GOLDEN_DIR;

TEST(EvaluationRecord, JudgesAsTransformersDoes) {
  const json golden = json::parse(std::ifstream(kGolden + "/early_stopping.json"));
  for (const json& entry : golden) {
    EvaluationRecord record;
    for (size_t i = 0; i < entry["losses"].size(); ++i) {
      const json& expected = entry["rows"][i];
      EXPECT_EQ(record.add(int64_t(i) + 1, entry["losses"][i], entry["threshold"]), expected[0]);
      EXPECT_EQ(record.best_step, expected[1]) << entry.dump() << i;
      EXPECT_EQ(record.without_gain, expected[2]) << entry.dump() << i;
    }
  }
}

class RunThatStops : public ::testing::Test {
 protected:
  RunThatStops() {
    folder_.write("config.yml", "base_model: " + kGolden + "/tiny_llama\ndatasets: [{path: " +
                                    kGolden + R"(/tiny_llama/data.jsonl, type: tokenized}]
sequence_len: 64
micro_batch_size: 2
max_steps: 8
learning_rate: 1e-3
val_set_size: 4
)");
  }
  std::vector<std::string> with_output(std::vector<std::string> overrides) {
    overrides.push_back("output_dir=" + out_);
    return overrides;
  }
  int run(std::vector<std::string> overrides) {
    return train(load_config(folder_.file("config.yml"), with_output(std::move(overrides))),
                 alone_);
  }
  std::string error_of(std::vector<std::string> overrides) {
    try {
      run(std::move(overrides));
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  std::vector<json> metrics() {
    std::ifstream file(out_ + "/metrics.jsonl");
    std::vector<json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }
  /// Steps that have losses of evaluations, and these.
  std::map<int64_t, double> evaluations() {
    std::map<int64_t, double> found;
    for (const json& line : metrics()) {
      if (line.contains("eval_loss")) found[line["step"]] = line["eval_loss"];
    }
    return found;
  }
  std::string adapter(const std::string& folder = "") {
    return testing::bytes_of_file(out_ + folder + "/adapter_model.safetensors");
  }
  testing::Outcome program(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"train", folder_.file("config.yml")});
    return testing::Program(with_output(std::move(overrides))).wait();
  }

  testing::ScratchFolder folder_;
  const std::string out_ = folder_.file("out");
  parallel::SelfCommunicator alone_;
};

// No loss is ever 100 below another: the first is the best that gains, and the next two do not.
const std::vector<std::string> kStopsAfterThree = {"eval_steps=1", "early_stopping_patience=2",
                                                   "early_stopping_threshold=100"};

TEST_F(RunThatStops, EndsEarlyWithTheAdapterOfTheBestEvaluation) {
  EXPECT_EQ(run(kStopsAfterThree), kFinished);
  const auto losses = evaluations();
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_EQ(json::parse(std::ifstream(out_ + "/state.json")),
            (json{{"step", 3}, {"finished", true}}));
  const auto best = std::ranges::min_element(losses, {}, [](const auto& e) { return e.second; });
  EXPECT_EQ(adapter(), adapter(fmt::format("/checkpoint-{}", best->first)));
  // Nothing is left to do.
  const std::string before = testing::bytes_of_file(out_ + "/metrics.jsonl");
  std::vector<std::string> again = kStopsAfterThree;
  again.push_back("resume_from_checkpoint=auto");
  EXPECT_EQ(run(again), kFinished);
  EXPECT_EQ(testing::bytes_of_file(out_ + "/metrics.jsonl"), before);
}

TEST_F(RunThatStops, AResumedRunStopsWhereAStraightOneDoes) {
  std::vector<std::string> settings = kStopsAfterThree;
  settings.insert(settings.end(), {"save_steps=1", "save_total_limit=8"});
  run(settings);
  const std::string whole = adapter();
  const auto losses = evaluations();
  for (int64_t from : {1, 2}) {
    for (int64_t later = from + 1; later <= 3; ++later) {
      io::remove_all(out_ + fmt::format("/checkpoint-{}", later));
    }
    for (const char* name : {"/adapter_model.safetensors", "/state.json"}) {
      io::remove_all(out_ + name);
    }
    std::vector<std::string> again = settings;
    again.push_back("resume_from_checkpoint=auto");
    EXPECT_EQ(run(again), kFinished);
    EXPECT_EQ(adapter(), whole) << from;
    EXPECT_EQ(evaluations(), losses) << from;
  }
}

TEST_F(RunThatStops, TheBestCheckpointOutlivesTheOthers) {
  // With this rate the loss on rows that are not learned soon rises.
  run({"eval_steps=1", "load_best_model_at_end=true", "learning_rate=2e-2", "max_steps=16",
       "lr_scheduler=constant", "save_steps=1", "save_total_limit=1"});
  const auto losses = evaluations();
  const auto best = std::ranges::min_element(losses, {}, [](const auto& e) { return e.second; });
  ASSERT_GT(best->first, 1);
  ASSERT_LT(best->first, 16) << "the loss has to rise in the end";
  EXPECT_EQ(CheckpointStore(out_, 1).steps(), (std::vector<int64_t>{16, best->first}));
  EXPECT_EQ(adapter(), adapter(fmt::format("/checkpoint-{}", best->first)));
  EXPECT_NE(adapter(), adapter("/checkpoint-16"));
}

TEST_F(RunThatStops, ComparesTheLossThatIsNamed) {
  const std::string sets =
      "test_datasets=[{path: " + kGolden + "/tiny_llama/data.jsonl, type: tokenized}]";
  EXPECT_EQ(error_of({"eval_steps=1", "early_stopping_patience=1", sets,
                      "metric_for_best_model=accuracy"}),
            folder_.file("config.yml") +
                ": metric_for_best_model: accuracy is not measured; choose eval_validation_loss or "
                "eval_data_loss");
  // What is learned gets better for as long as it is learned.
  run({"eval_steps=1", "load_best_model_at_end=true", sets, "metric_for_best_model=eval_data_loss",
       "learning_rate=1e-2", "lr_scheduler=constant"});
  const json state = json::parse(std::ifstream(out_ + "/checkpoint-8/state.json"));
  std::map<int64_t, double> losses;
  for (const json& line : metrics()) {
    if (line.value("eval_set", "") == "data") losses[line["step"]] = line["eval_loss"];
  }
  ASSERT_EQ(losses.size(), 8u);
  const auto best = std::ranges::min_element(losses, {}, [](const auto& e) { return e.second; });
  EXPECT_EQ(state["evaluations"]["best_step"], best->first);
  EXPECT_EQ(state["evaluations"]["best"], best->second);
}

TEST_F(RunThatStops, EvaluatesBeforeTheFirstStep) {
  run({"eval_on_start=true", "max_steps=2"});
  const auto losses = evaluations();
  ASSERT_EQ(losses.size(), 2u);
  EXPECT_TRUE(losses.contains(0));
  EXPECT_NE(losses.at(0), losses.at(2));
}

TEST_F(RunThatStops, ALossThatStaysHighEndsTheRun) {
  const std::string error = error_of({"loss_watchdog_threshold=0.5", "loss_watchdog_patience=3"});
  EXPECT_EQ(error.substr(0, 20), "step 3: the loss is ") << error;
  EXPECT_NE(error.find("above loss_watchdog_threshold 0.5 for 3 steps"), std::string::npos);
  EXPECT_EQ(metrics().size(), 3u);
  EXPECT_EQ(run({"loss_watchdog_threshold=100", "overwrite_output_dir=true"}), kFinished);
}

TEST_F(RunThatStops, LinesCanBeJson) {
  // The last one is a key that is not needed, which a line says.
  const testing::Outcome outcome = program({"log_format=json", "max_steps=2", "flash_attention=1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::istringstream lines(outcome.err);
  std::map<std::string, int> events;
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line);
    ++events[event.at("event")];
    EXPECT_EQ(event.at("time").get<std::string>().size(), 20u);
    EXPECT_EQ(event.value("steps", 2), 2);
  }
  EXPECT_EQ(events["step"], 2);
  EXPECT_EQ(events["evaluation"], 1);
  EXPECT_GT(events["message"], 3);
  EXPECT_NE(outcome.err.find("flash_attention"), std::string::npos) << outcome.err;
}

TEST_F(RunThatStops, LinesOfAnEvaluationCanBeJson) {
  const testing::Outcome outcome =
      testing::run_program(with_output({"eval", folder_.file("config.yml"), "adapter=none",
                                        "log_format=json", "flash_attention=1"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("flash_attention"), std::string::npos) << outcome.err;
  std::istringstream lines(outcome.err);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_EQ(json::parse(line).at("event"), "message") << line;
  }
}

TEST_F(RunThatStops, SaysWhereItIsWhenAsked) {
  testing::Program run(with_output({"train", folder_.file("config.yml"), "max_steps=200000"}));
  ASSERT_TRUE(run.wait_for("step  "));
  run.send(SIGUSR2);
  EXPECT_TRUE(run.wait_for("status   rank 0 of 1: step "));
  run.send(SIGTERM);
  EXPECT_EQ(run.wait().code, 3);
}

TEST_F(RunThatStops, SaysInJsonWhereItIs) {
  testing::Program run(
      with_output({"train", folder_.file("config.yml"), "max_steps=200000", "log_format=json"}));
  ASSERT_TRUE(run.wait_for("\"event\":\"step\""));
  run.send(SIGUSR2);
  EXPECT_TRUE(run.wait_for("\"event\":\"message\",\"text\":\"status   rank 0 of 1: step "));
  run.send(SIGTERM);
  EXPECT_EQ(run.wait().code, 3);
}

TEST_F(RunThatStops, AProfileIsATraceOfThreeSteps) {
  const testing::Outcome outcome = program({"profile=true"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("profile  ms a step"), std::string::npos) << outcome.err;
  const json trace = json::parse(std::ifstream(out_ + "/profile-rank0.json"));
  std::map<std::string, double> seconds;
  double end = 0;
  for (const json& event : trace.at("traceEvents")) {
    if (event["ph"] != "X") continue;
    seconds[event["name"]] += event["dur"].get<double>();
    end = std::max(end, event["ts"].get<double>() + event["dur"].get<double>());
  }
  for (const char* name : {"step 2", "step 3", "step 4", "layer 0 forward", "layer 1 backward",
                           "products", "attention", "adapters", "head", "optimizer"}) {
    EXPECT_GT(seconds[name], 0) << name;
  }
  EXPECT_FALSE(seconds.contains("step 1") || seconds.contains("step 5"));
  // Operators fill their steps: each microsecond is counted once.
  double operators = 0;
  for (const std::string_view part : kPartNames) operators += seconds[std::string(part)];
  EXPECT_NEAR(operators, end, 1e-6 * end);
  // Measuring changes no number.
  const std::string measured = adapter();
  run({"overwrite_output_dir=true"});
  EXPECT_EQ(adapter(), measured);
}

}  // namespace
}  // namespace tessera::launch
