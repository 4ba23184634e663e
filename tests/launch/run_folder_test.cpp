// The folder of a run: its one owner, what is removed from it, what a run that goes on finds there
// and what it leaves.
#include "launch/run/run_folder.h"

#include <sys/mount.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "launch/run/checkpoint.h"
#include "launch/run/run_identity.h"
#include "launch/run/train.h"
#include "parallel/thread_communicator.h"
#include "runtime/io/hash.h"
#include "tests/expect_error.h"
#include "tests/launch/program.h"
#include "tests/random_model.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Outcome;
using testing::Program;
using testing::run_program;

class FolderOfARun : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_random_model(folder_,
                                {.layers = 2, .hidden = 32, .ffn = 48, .heads = 2, .vocab = 64});
    const std::string rows = testing::write_random_rows(folder_, 12, 8, 12, 64);
    yml_ =
        folder_.write("run.yml", "base_model: " + folder_.path() + "\ndatasets: [{path: " + rows +
                                     ", type: tokenized}]\noutput_dir: " + folder_.file("out") + R"(
sequence_len: 16
sample_packing: false
micro_batch_size: 1
global_batch_size: 3
max_steps: 6
save_steps: 2
val_set_size: 2
learning_rate: 1e-3
lora_r: 2
threads: 1
)");
  }

  /// Trains to the end on threads as ranks; gives what is printed.
  std::string train_here(const std::vector<std::string>& overrides, int ranks = 1) {
    const Config config = load_config(yml_, overrides);
    ::testing::internal::CaptureStderr();
    try {
      parallel::run_ranks(ranks, [&](parallel::Communicator& world) {
        EXPECT_EQ(train(config, world), kFinished);
      });
    } catch (...) {
      ::testing::internal::GetCapturedStderr();
      throw;
    }
    return ::testing::internal::GetCapturedStderr();
  }
  std::string out(const std::string& name) const { return folder_.file("out/" + name); }
  std::string bytes(const std::string& name) const { return testing::bytes_of_file(out(name)); }
  std::vector<int64_t> checkpoints() const {
    return CheckpointStore(folder_.file("out"), 1).steps();
  }
  /// Every file of the run, by its name.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.file("out"))) {
      const std::string name = fs::relative(entry.path(), folder_.file("out")).string();
      if (entry.is_regular_file() && name != "run.lock") all[name] = bytes(name);
    }
    return all;
  }
  /// As a program wrote them that had another format.
  void make_unusable(int64_t step) {
    const std::string name = "checkpoint-" + std::to_string(step) + "/manifest.json";
    json manifest = json::parse(bytes(name));
    manifest["format"] = 1;
    folder_.write("out/" + name, manifest.dump());
  }
  std::vector<int64_t> steps_measured(const char* key) const {
    std::vector<int64_t> steps;
    std::ifstream file(out("metrics.jsonl"));
    for (std::string line; std::getline(file, line);) {
      if (const json entry = json::parse(line); entry.contains(key)) steps.push_back(entry["step"]);
    }
    return steps;
  }

  testing::ScratchFolder folder_;
  std::string yml_;
};

void expect_text(const std::string& all, const std::string& part, bool wanted = true) {
  EXPECT_EQ(all.find(part) != std::string::npos, wanted) << "'" << part << "' in: " << all;
}

TEST_F(FolderOfARun, AStopAmongUnusableCheckpointsCanBeResumed) {
  train_here({});
  ASSERT_EQ(checkpoints(), (std::vector<int64_t>{6, 4, 2}));
  for (int64_t step : checkpoints()) make_unusable(step);
  // Steps that are earlier than those of all unusable checkpoints.
  for (int64_t step : checkpoints()) {
    fs::rename(out(fmt::format("checkpoint-{}", step)),
               out(fmt::format("checkpoint-{}", step * 1000)));
  }
  const std::vector<std::string> args = {"train", yml_, "resume_from_checkpoint=auto",
                                         "max_steps=3000", "save_steps=2000"};
  Program program(args);
  ASSERT_TRUE(program.wait_for("starting afresh"));
  ASSERT_TRUE(program.wait_for("step    2/3000"));
  program.send(SIGTERM);
  const Outcome stopped = program.wait();
  EXPECT_EQ(stopped.code, kStopped) << stopped.err;
  std::string latest = bytes("latest");
  latest.pop_back();
  EXPECT_TRUE(fs::is_directory(out(latest))) << latest;
  CheckpointStore::verify(out(latest));
  EXPECT_EQ(checkpoints().size(), 3u);

  Program again(args);
  EXPECT_TRUE(again.wait_for("resumed  " + out(latest)));
}

TEST_F(FolderOfARun, DamagedCheckpointsAreRemovedFirst) {
  train_here({});
  fs::copy(out("checkpoint-2"), out("checkpoint-3"), fs::copy_options::recursive);
  fs::resize_file(out("checkpoint-3/state.json"), 5);
  fs::remove_all(out("checkpoint-4"));
  fs::remove_all(out("checkpoint-6"));
  train_here({"resume_from_checkpoint=auto"});
  EXPECT_EQ(checkpoints(), (std::vector<int64_t>{6, 4, 2}));
  // Of whole ones, the oldest go.
  fs::remove_all(out("checkpoint-6"));
  train_here({"resume_from_checkpoint=auto", "save_total_limit=2"});
  EXPECT_EQ(checkpoints(), (std::vector<int64_t>{6, 4}));
}

TEST_F(FolderOfARun, OnlyWhatIsNamedLikeACheckpointIsRemoved) {
  train_here({});
  for (const char* name : {"checkpoint-best", "checkpoint-best.tmp", "checkpoint-02"}) {
    fs::create_directory(out(name));
  }
  fs::create_directory(out("checkpoint-9.tmp"));  // of a killed run
  EXPECT_EQ(checkpoints(), (std::vector<int64_t>{6, 4, 2}));
  fs::remove_all(out("checkpoint-6"));
  train_here({"resume_from_checkpoint=auto"});
  EXPECT_EQ(checkpoints(), (std::vector<int64_t>{6, 4, 2}));
  for (const char* name : {"checkpoint-best", "checkpoint-best.tmp", "checkpoint-02"}) {
    EXPECT_TRUE(fs::exists(out(name))) << name;
  }
  EXPECT_FALSE(fs::exists(out("checkpoint-9.tmp")));
}

TEST_F(FolderOfARun, ACheckpointThatCannotBeRemovedCostsAWarning) {
  train_here({});
  fs::remove_all(out("checkpoint-6"));
  // What is mounted cannot be removed, whoever tries.
  if (::mount("tmpfs", out("checkpoint-2").c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "a tmpfs cannot be mounted here";
  }
  std::string printed;
  const std::string error = [&] {
    try {
      printed = train_here({"resume_from_checkpoint=auto", "save_total_limit=1"});
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
    return std::string();
  }();
  ::umount2(out("checkpoint-2").c_str(), MNT_DETACH);
  EXPECT_EQ(error, "");
  expect_text(printed, "warning: cannot remove " + out("checkpoint-2"));
  EXPECT_EQ(json::parse(bytes("state.json"))["finished"], true);
}

TEST_F(FolderOfARun, ASecondRunIsRefusedWhileTheFirstLives) {
  Program first({"train", yml_, "max_steps=100000", "save_steps=90000"});
  ASSERT_TRUE(first.wait_for("step      2/100000"));  // and then its pipe fills
  for (const char* how : {"resume_from_checkpoint=auto", "overwrite_output_dir=true", "seed=3"}) {
    const Outcome second = run_program({"train", yml_, how});
    EXPECT_EQ(second.code, 2) << second.err;
    EXPECT_EQ(std::count(second.err.begin(), second.err.end(), '\n'), 1) << second.err;
    expect_text(second.err,
                folder_.file("out") + " belongs to a run that is still going (process ");
  }
  testing::expect_error([&] { train_here({"resume_from_checkpoint=auto"}, 3); },
                        folder_.file("out") + " belongs to a run that is still going");
  EXPECT_EQ(run_program({"train", yml_, "output_dir=" + folder_.file("other")}).code, 0);

  first.send(SIGKILL);
  EXPECT_EQ(first.wait().code, 128 + SIGKILL);
  EXPECT_EQ(run_program({"train", yml_, "resume_from_checkpoint=auto"}).code, 0);
  EXPECT_EQ(steps_measured("loss"), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
}

TEST_F(FolderOfARun, AFinishedRunIsLeftAsItIs) {
  train_here({});
  const auto before = files();
  for (const int ranks : {1, 2, 3}) {
    for (const std::string& from : {std::string("auto"), out("checkpoint-6/")}) {
      const std::string printed = train_here({"resume_from_checkpoint=" + from}, ranks);
      EXPECT_TRUE(files() == before) << ranks << " " << from;
      expect_text(printed, "is finished already (step 6 of 6)");
      expect_text(printed, "lora_model_dir=" + folder_.file("out"));
      for (const char* no : {"loss", "perplexity", "done  "}) expect_text(printed, no, false);
    }
  }
  // The way to go on that it names.
  train_here({"lora_model_dir=" + folder_.file("out"), "output_dir=" + folder_.file("more")});
}

TEST_F(FolderOfARun, AnAdapterThatWasNotWrittenIsWrittenOnResume) {
  train_here({});
  const auto before = files();
  for (const int ranks : {1, 3}) {
    // As if the run had been killed between its last checkpoint and its adapter.
    fs::remove(out("adapter_config.json"));
    fs::remove(out("adapter_model.safetensors"));
    if (ranks == 3) folder_.write("out/state.json", R"({"step": 4, "finished": false})");
    const std::string printed = train_here({"resume_from_checkpoint=auto"}, ranks);
    EXPECT_EQ(bytes("adapter_model.safetensors"), before.at("adapter_model.safetensors"));
    EXPECT_EQ(bytes("adapter_config.json"), before.at("adapter_config.json"));
    EXPECT_EQ(bytes("metrics.jsonl"), before.at("metrics.jsonl"));  // nothing is evaluated again
    EXPECT_EQ(bytes("state.json"), before.at("state.json"));
    expect_text(printed, "done     6 steps, none of them now; adapter in ");
    expect_text(printed, "loss", false);
  }
  // Nor is an evaluation lost that had not come yet.
  std::string lines = bytes("metrics.jsonl");
  lines.resize(lines.rfind("{\"step\":6,\"eval_loss\""));
  folder_.write("out/metrics.jsonl", lines);
  fs::remove(out("adapter_config.json"));
  train_here({"resume_from_checkpoint=auto"});
  EXPECT_EQ(bytes("metrics.jsonl"), before.at("metrics.jsonl"));
}

TEST_F(FolderOfARun, TheSummaryClaimsNoStepsOfAnEarlierStart) {
  expect_text(train_here({}), "done     6 steps in ");
  fs::remove_all(out("checkpoint-6"));
  expect_text(train_here({"resume_from_checkpoint=auto"}), "done     6 steps, 2 of them now, in ");
  fs::remove_all(out("checkpoint-6"));
  fs::copy(out("checkpoint-4"), folder_.file("kept"), fs::copy_options::recursive);
  const std::string printed =
      train_here({"resume_from_checkpoint=" + out("checkpoint-4"), "save_steps=1"});
  expect_text(printed, "done     6 steps, 2 of them now, in ");
  fs::remove_all(out("checkpoint-6"));
  const std::string one = train_here({"resume_from_checkpoint=auto"});
  expect_text(one, "done     6 steps, 1 of them now, in ");
  const std::string summary = one.substr(one.find("done  "));
  expect_text(summary, "loss ");
  expect_text(summary, "->", false);  // one loss does not come from another
}

TEST_F(FolderOfARun, StateSaysWhereAResumedRunBegan) {
  train_here({});
  fs::remove_all(out("checkpoint-6"));
  Program program({"train", yml_, "resume_from_checkpoint=auto"});
  ASSERT_TRUE(program.wait_for("step 5/6"));
  program.send(SIGKILL);
  program.wait();
  if (const json state = json::parse(bytes("state.json")); state["finished"] == false) {
    EXPECT_EQ(state["step"], 4);
  }
}

TEST_F(FolderOfARun, CheckpointsOfAnotherRunAreNotMixedIn) {
  train_here({});
  train_here({"learning_rate=2e-3", "output_dir=" + folder_.file("other")});
  const auto before = files();
  testing::expect_error(
      [&] {
        train_here(
            {"learning_rate=2e-3", "resume_from_checkpoint=" + folder_.file("other/checkpoint-4")},
            2);
      },
      out("checkpoint-6") + " was made with learning_rate = 0.001, but this run has 0.002");
  EXPECT_TRUE(files() == before);
  // In a folder without a run it goes on from there.
  train_here({"learning_rate=2e-3", "resume_from_checkpoint=" + folder_.file("other/checkpoint-4"),
              "output_dir=" + folder_.file("new")});
  EXPECT_EQ(testing::bytes_of_file(folder_.file("new/adapter_model.safetensors")),
            testing::bytes_of_file(folder_.file("other/adapter_model.safetensors")));
}

TEST_F(FolderOfARun, CheckpointsOfAnotherPackerAreRefusedByName) {
  train_here({"sample_packing=true"});
  const std::string name = "checkpoint-6/state.json";
  json state = json::parse(bytes(name));
  ASSERT_EQ(state["identity"].erase("packer"), 1u);
  state["identity"]["total_steps"] = 7;  // other rows make other steps
  folder_.write("out/" + name, state.dump());
  json manifest = json::parse(bytes("checkpoint-6/manifest.json"));
  manifest["files"]["state.json"] = {{"bytes", bytes(name).size()},
                                     {"xxh3", io::hash_file(out(name))}};
  folder_.write("out/checkpoint-6/manifest.json", manifest.dump());
  testing::expect_error(
      [&] {
        train_here({"sample_packing=true", "resume_from_checkpoint=auto"});
      },
      "checkpoint-6 was made by a version of this program that packs rows otherwise");
}

TEST_F(FolderOfARun, ARefusalToResumeIsSharedByTheRanks) {
  train_here({});
  for (const auto& [how, text] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"resume_from_checkpoint=auto", "lora_alpha=64"}, "lora_alpha = 32"},
           {{"resume_from_checkpoint=" + out("checkpoint-3")}, "no checkpoint folder"},
           {{"resume_from_checkpoint=" + folder_.file("out")}, "checkpoint-6"}}) {
    const Config config = load_config(yml_, how);
    parallel::run_ranks(2, [&](parallel::Communicator& world) {
      try {
        train(config, world);
        ADD_FAILURE() << "not refused";
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::kUsage);
        expect_text(error.what(), text);
      }
    });
  }
}

TEST_F(FolderOfARun, WhatIsNoCheckpointIsSkippedByName) {
  train_here({});
  folder_.write("out/checkpoint-7", "a file");
  fs::create_symlink("checkpoint-8", out("checkpoint-8"));  // to itself
  fs::create_directories(out("checkpoint-9/manifest.json"));
  fs::create_symlink("nowhere", out("checkpoint-10"));
  fs::copy(out("checkpoint-6"), out("checkpoint-11"), fs::copy_options::recursive);
  fs::remove(out("checkpoint-11/state.json"));
  fs::create_symlink("state.json", out("checkpoint-11/state.json"));
  std::vector<std::string> skipped;
  EXPECT_EQ(CheckpointStore(folder_.file("out"), 3).newest(skipped), out("checkpoint-6"));
  ASSERT_EQ(skipped.size(), 5u);
  for (size_t i = 0; i < 5; ++i) expect_text(skipped[i], out(fmt::format("checkpoint-{}", 11 - i)));
}

TEST_F(FolderOfARun, APathThatCannotBeFollowedIsAnErrorOfOneLine) {
  const std::string loop = folder_.file("loop");
  fs::create_symlink("loop", loop);
  const std::string name_too_long = folder_.file(std::string(300, 'n'));
  train_here({});
  for (const std::string& bad : {loop, name_too_long}) {
    testing::expect_error(
        [&] {
          std::vector<std::string> skipped;
          CheckpointStore(bad, 3).newest(skipped);
        },
        bad);
    for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
             {"train", yml_, "output_dir=" + bad},
             {"train", yml_, "overwrite_output_dir=true", "base_model=" + bad},
             {"train", yml_, "overwrite_output_dir=true", "lora_model_dir=" + bad},
             {"train", yml_, "overwrite_output_dir=true", "datasets.0.path=" + bad},
             {"train", yml_, "resume_from_checkpoint=" + bad},
             {"plan", yml_, "base_model=" + bad},
             {"eval", yml_, "output_dir=" + bad},
             {"eval", yml_, "adapter=" + bad},
             {"generate", "--base_model", folder_.path(), "--adapter", bad, "--prompt", "x"},
             {"merge", "--base_model", folder_.path(), "--adapter", bad, "--output",
              folder_.file("merged")},
             {"merge", "--base_model", folder_.path(), "--adapter", folder_.file("out"), "--output",
              bad + "/merged"},
             {"tokenize", "--tokenizer", bad, "-"}}) {
      const Outcome o = run_program(args);
      const std::string all = ::testing::PrintToString(args) + "\n" + o.err;
      EXPECT_TRUE(o.code == 1 || o.code == 2) << all;
      EXPECT_TRUE(o.err.starts_with("tessera: ")) << all;
      EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << all;
      expect_text(o.err, bad);
      expect_text(o.err, "filesystem error", false);
    }
  }
}

TEST(RunIdentity, NamesEveryLossButTheDefault) {
  Config config;
  const RunMadeFrom from{1, 2, DType::kF32, 3, 4};
  EXPECT_FALSE(run_identity(config, from).contains("loss"));
  const lora::Loss other = {"other", lora::default_loss().compute};
  config.loss = &other;
  EXPECT_EQ(run_identity(config, from)["loss"], "other");
}

TEST(RunIdentity, NamesEveryRuleButAdamW) {
  Config config;
  const RunMadeFrom from{1, 2, DType::kF32, 3, 4};
  EXPECT_EQ(run_identity(config, from)["optimizer_bits"], 32);
  EXPECT_FALSE(run_identity(config, from).contains("optimizer"));
  optim::Rule other = optim::adamw_rule();
  other.name = "other";
  config.optimizer = {&other, optim::StateBits::k8, true};
  EXPECT_EQ(run_identity(config, from)["optimizer_bits"], 8);
  EXPECT_EQ(run_identity(config, from)["optimizer"], "other");
}

TEST(RunIdentity, HasTheOptionsThatTheRuleUses) {
  Config config;
  config.adam_beta2 = 0.95;
  const RunMadeFrom from{1, 2, DType::kF32, 3, 4};
  const json adamw = run_identity(config, from);
  EXPECT_EQ(adamw["adam_beta1"], 0.9);
  EXPECT_EQ(adamw["adam_beta2"], 0.95);
  EXPECT_EQ(adamw["adam_epsilon"], 1e-8);
  EXPECT_EQ(adamw["weight_decay"], config.weight_decay);
  optim::Rule other = optim::adamw_rule();
  other.options = other.options.first(1);
  config.optimizer = {&other, optim::StateBits::k32, false};
  EXPECT_TRUE(run_identity(config, from).contains("adam_beta1"));
  EXPECT_FALSE(run_identity(config, from).contains("adam_beta2"));
}

}  // namespace
}  // namespace tessera::launch
