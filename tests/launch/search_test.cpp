// A search: its choice, the run it leaves, and what kills and signals do to it.
#include "launch/run/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "launch/run/train.h"
#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "tests/launch/program.h"
#include "tests/sample.h"
#include "tests/sanitized.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

const std::string kModel = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class Searches : public ::testing::Test {
 protected:
  Searches() {
    folder_.write("run.yml", "base_model: " + kModel + "\ndatasets: [{path: " + kModel +
                                 R"(/data.jsonl, type: tokenized}]
sequence_len: 64
micro_batch_size: 2
max_steps: 8
learning_rate: 1e-2
val_set_size: 4
search_ranks: [2, 4]
search_steps: 3
search_tolerance: 0.01
)");
  }
  std::vector<std::string> with_output(std::vector<std::string> overrides, const std::string& out) {
    overrides.push_back("output_dir=" + folder_.file(out));
    return overrides;
  }
  SearchConfig config(std::vector<std::string> overrides, const std::string& out) {
    return load_search(folder_.file("run.yml"), with_output(std::move(overrides), out));
  }
  int search(std::vector<std::string> overrides, const std::string& out = "out") {
    return launch::search(config(std::move(overrides), out), alone_);
  }
  std::string error_of(std::vector<std::string> overrides, const std::string& out = "out") {
    try {
      search(std::move(overrides), out);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  std::vector<std::string> arguments(std::vector<std::string> overrides, const std::string& out) {
    overrides.insert(overrides.begin(), {"search", folder_.file("run.yml")});
    return with_output(std::move(overrides), out);
  }
  std::string adapter(const std::string& out) {
    return testing::bytes_of_file(folder_.file(out) + "/adapter_model.safetensors");
  }
  json found(const std::string& out = "out") {
    return json::parse(std::ifstream(folder_.file(out) + "/search/search.json"));
  }
  /// The losses of steps and of evaluations, by step.
  std::map<std::string, double> losses(const std::string& out) {
    std::ifstream file(folder_.file(out) + "/metrics.jsonl");
    std::map<std::string, double> all;
    for (std::string line; std::getline(file, line);) {
      const json entry = json::parse(line);
      for (const char* key : {"loss", "eval_loss"}) {
        if (entry.contains(key)) all[key + entry["step"].dump()] = entry[key];
      }
    }
    return all;
  }
  /// What two searches must have in common, whatever happened to them: not times and memory.
  json outcome(const std::string& out) {
    json all = found(out);
    for (json& candidate : all["candidates"]) {
      candidate.erase("seconds");
      candidate.erase("memory");
    }
    return all;
  }

  testing::ScratchFolder folder_;
  parallel::SelfCommunicator alone_;
};

TEST_F(Searches, LeaveTheRunOfTheChosenCandidateAsTrainWould) {
  EXPECT_EQ(search({"eval_steps=2"}), kFinished);
  const json result = found();
  ASSERT_EQ(result["candidates"].size(), 2u);
  const std::string rank = result["chosen"].get<std::string>().substr(7);
  EXPECT_EQ(train(load_config(folder_.file("run.yml"),
                              with_output({"eval_steps=2", "search_ranks=null", "lora_r=" + rank,
                                           "lora_alpha=" + std::to_string(2 * std::stoi(rank))},
                                          "straight")),
                  alone_),
            kFinished);
  EXPECT_EQ(adapter("out"), adapter("straight"));
  EXPECT_EQ(losses("out"), losses("straight"));
  EXPECT_EQ(json::parse(std::ifstream(folder_.file("out/state.json"))),
            (json{{"step", 8}, {"finished", true}}));
  // A resolved config can be used again.
  load_config(folder_.file("out/config.resolved.yml"), {});
}

TEST_F(Searches, CompareTheLossesOfTheFirstSteps) {
  EXPECT_EQ(search({}), kFinished);
  const json result = found();
  for (const json& candidate : result["candidates"]) {
    EXPECT_EQ(candidate["step"], 3);
    const std::string rank = candidate["values"]["lora_r"];
    // As a run that is evaluated after so many steps.
    const std::string out = "of" + rank;
    train(load_config(folder_.file("run.yml"),
                      with_output({"eval_steps=3", "search_ranks=null", "lora_r=" + rank,
                                   "lora_alpha=" + std::to_string(2 * std::stoi(rank))},
                                  out)),
          alone_);
    EXPECT_EQ(candidate["loss"], losses(out)["eval_loss3"]);
  }
}

TEST_F(Searches, ChooseBySizeAndTolerance) {
  EXPECT_EQ(search({"search_tolerance=1"}), kFinished);
  EXPECT_EQ(found()["chosen"], "lora_r=2");
  EXPECT_EQ(search({"search_tolerance=0"}, "best"), kFinished);
  EXPECT_EQ(found("best")["chosen"], found("best")["best"]);
  EXPECT_NE(found("best")["chosen"], "lora_r=2");
}

TEST_F(Searches, GoOnAfterAKillAtAnyMoment) {
  ASSERT_EQ(search({"save_steps=2"}, "undisturbed"), kFinished);
  const testing::Outcome whole = testing::run_program(arguments({"save_steps=2"}, "lines"));
  ASSERT_EQ(whole.code, 0) << whole.err;
  const auto lines = size_t(std::ranges::count(whole.err, '\n'));
  ASSERT_GT(lines, 20u);
  std::mt19937 random(testing::sample_seed());
  const size_t trials = testing::takes_all() ? lines : testing::kSanitized ? 2 : 8;
  for (size_t trial = 0; trial < trials; ++trial) {
    const size_t line = testing::takes_all() ? trial + 1 : random() % lines + 1;
    const std::string out = "killed" + std::to_string(trial);
    {
      testing::Program killed(arguments({"save_steps=2", "resume_from_checkpoint=auto"}, out));
      killed.wait_for_lines(line);
      killed.send(SIGKILL);
    }
    EXPECT_EQ(search({"save_steps=2", "resume_from_checkpoint=auto"}, out), kFinished) << line;
    EXPECT_EQ(adapter(out), adapter("undisturbed")) << line;
    EXPECT_EQ(outcome(out), outcome("undisturbed")) << line;
    EXPECT_EQ(losses(out), losses("undisturbed")) << line;
  }
}

TEST_F(Searches, StopAndGoOnBySignal) {
  testing::Program stopped(arguments({}, "out"));
  ASSERT_TRUE(stopped.wait_for("candidate 2 of 2"));
  stopped.send(SIGTERM);
  const testing::Outcome outcome = stopped.wait();
  EXPECT_EQ(outcome.code, kStopped) << outcome.err;
  EXPECT_NE(outcome.err.find("to go on, add to the same command: resume_from_checkpoint=auto\n"),
            std::string::npos);
  EXPECT_EQ(search({"resume_from_checkpoint=auto"}), kFinished);
  EXPECT_EQ(search({}, "straight"), kFinished);
  EXPECT_EQ(adapter("out"), adapter("straight"));
}

TEST_F(Searches, LeaveAFinishedOneAlone) {
  EXPECT_EQ(search({"resume_from_checkpoint=auto"}), kFinished);  // with nothing there
  const std::string before = testing::bytes_of_file(folder_.file("out/metrics.jsonl"));
  EXPECT_EQ(search({"resume_from_checkpoint=auto"}), kFinished);
  EXPECT_EQ(testing::bytes_of_file(folder_.file("out/metrics.jsonl")), before);
}

TEST_F(Searches, AreNotMixed) {
  EXPECT_EQ(search({}), kFinished);
  EXPECT_NE(error_of({}).find("already holds a run"), std::string::npos);
  EXPECT_NE(error_of({"resume_from_checkpoint=auto", "learning_rate=1e-3"})
                .find("is of another search: its learning_rate is 0.01, and here it is 0.001; set "
                      "overwrite_output_dir=true"),
            std::string::npos);
  EXPECT_EQ(search({"overwrite_output_dir=true", "learning_rate=1e-3", "search_ranks=[4]"}),
            kFinished);
  EXPECT_FALSE(io::exists(folder_.file("out/search/lora_r=2")));
  EXPECT_EQ(search({"learning_rate=1e-3", "search_ranks=[4]"}, "afresh"), kFinished);
  EXPECT_EQ(adapter("out"), adapter("afresh"));
}

TEST_F(Searches, GoOnWithoutCandidatesThatDiverge) {
  const std::vector<std::string> rates = {"search_ranks=null", "learning_rate=[1e-2, 1e30]"};
  EXPECT_EQ(search(rates), kFinished);
  const json result = found();
  EXPECT_EQ(result["chosen"], "learning_rate=0.01");
  EXPECT_NE(result["candidates"][1].value("diverged", "").find("lower learning_rate"),
            std::string::npos);
  EXPECT_EQ(error_of({"learning_rate=1e30"}, "none"),
            "every candidate of the search diverged; lower learning_rate");
}

TEST_F(Searches, GiveTheSameOnAnyNumberOfRanks) {
  const std::vector<std::string> overrides = {"global_batch_size=4"};
  EXPECT_EQ(search(overrides), kFinished);
  for (const int ranks : {2, 3}) {
    const std::string out = "on" + std::to_string(ranks);
    const SearchConfig asked = config(overrides, out);
    parallel::run_ranks(ranks, ranks, [&](parallel::Communicator& world) {
      EXPECT_EQ(launch::search(asked, world), kFinished);
    });
    EXPECT_EQ(adapter(out), adapter("out"));
    EXPECT_EQ(outcome(out), outcome("out"));
  }
}

TEST_F(Searches, AreNothingForTrain) {
  try {
    train(load_config(folder_.file("run.yml"), with_output({}, "out")), alone_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("search_ranks is for `tessera search`"),
              std::string::npos);
  }
  EXPECT_FALSE(io::exists(folder_.file("out")));
}

}  // namespace
}  // namespace tessera::launch
