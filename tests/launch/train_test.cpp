// A run from a config to its folder: what lies there, what ends it, what it refuses.
#include "launch/run/train.h"
#include "launch/run/adapter_run.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/config/config.h"
#include "launch/run/checkpoint.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class Training : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / fmt::format("tessera-train-{}", ::getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    std::ofstream(dir_ / "config.yml") << "base_model: " << kTiny << R"(
datasets:
  - path: )" << kTiny << R"(/data.jsonl
    type: tokenized
sequence_len: 64
micro_batch_size: 2
max_steps: 6
learning_rate: 1e-3
)";
  }
  void TearDown() override { fs::remove_all(dir_); }

  int run(std::vector<std::string> overrides, const std::string& out = "out") {
    overrides.push_back("output_dir=" + (dir_ / out).string());
    return train(load_config((dir_ / "config.yml").string(), overrides), alone_);
  }
  std::string error_of(std::vector<std::string> overrides, const std::string& out = "out") {
    try {
      run(std::move(overrides), out);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  std::vector<json> metrics(const std::string& out = "out") {
    std::ifstream file(dir_ / out / "metrics.jsonl");
    std::vector<json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }
  std::string bytes(const std::string& out) {
    std::ifstream file(dir_ / out / "adapter_model.safetensors", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  parallel::SelfCommunicator alone_;
  fs::path dir_;
};

TEST_F(Training, RemembersHowConversationsBecameText) {
  EXPECT_EQ(run({"max_steps=1", "chat_template='{{ messages[0].content }}'",
                 "chat_template_kwargs={a: true}"}),
            kFinished);
  const AdapterRun again = AdapterRun::of((dir_ / "out").string(), {});
  ASSERT_TRUE(again.base);
  EXPECT_EQ(again.base->chat_template, "{{ messages[0].content }}");
  EXPECT_EQ(again.base->chat_template_kwargs, nlohmann::ordered_json({{"a", true}}));
}

TEST_F(Training, LeavesAnAdapterMetricsAndAFinishedState) {
  // Every step sees all 16 rows, so that losses can be compared.
  EXPECT_EQ(
      run({"save_steps=2", "save_total_limit=2", "sample_packing=false", "global_batch_size=16"}),
      kFinished);
  const fs::path out = dir_ / "out";
  EXPECT_EQ(json::parse(std::ifstream(out / "state.json")),
            (json{{"step", 6}, {"finished", true}}));
  EXPECT_EQ(CheckpointStore(out.string(), 2).steps(), (std::vector<int64_t>{6, 4}));
  const auto lines = metrics();
  ASSERT_EQ(lines.size(), 6u);
  for (const char* key : {"step", "epoch", "loss", "grad_norm", "learning_rate", "tokens",
                          "tokens_per_second", "memory"}) {
    EXPECT_TRUE(lines[0].contains(key)) << key;
  }
  EXPECT_LT(double(lines[5]["loss"]), double(lines[0]["loss"]));
  // The resolved config is a config: it gives the same adapter.
  Config again = load_config((out / "config.resolved.yml").string(), {});
  again.output_dir = (dir_ / "again").string();
  EXPECT_EQ(train(again, alone_), kFinished);
  EXPECT_EQ(bytes("out"), bytes("again"));
}

TEST_F(Training, EvaluatesOnHeldOutRows) {
  EXPECT_EQ(run({"val_set_size=4", "eval_steps=2"}), kFinished);
  std::vector<int64_t> steps;
  for (const json& line : metrics()) {
    if (line.contains("eval_loss")) steps.push_back(line["step"]);
  }
  EXPECT_EQ(steps, (std::vector<int64_t>{2, 4, 6}));
}

TEST_F(Training, TrainsOnAnUnquantizedBase) {
  EXPECT_EQ(run({"adapter=lora"}, "lora"), kFinished);
  EXPECT_EQ(run({}, "qlora"), kFinished);
  const double lora = metrics("lora")[0]["loss"], qlora = metrics("qlora")[0]["loss"];
  EXPECT_NE(lora, qlora);
  EXPECT_NEAR(lora, qlora, 0.1);
}

TEST_F(Training, AccumulationIsAlsoOneGlobalBatch) {
  run({"gradient_accumulation_steps=3", "max_steps=2"}, "a");
  run({"global_batch_size=6", "max_steps=2"}, "b");
  EXPECT_EQ(bytes("a"), bytes("b"));
}

TEST_F(Training, PackedRowsLearnWhatPaddedOnesDo) {
  // One step over all rows, with one sum over all of their tokens: only the order of sums differs.
  run({"sample_packing=true", "shuffle=false", "global_batch_size=16", "max_steps=1"}, "packed");
  run({"sample_packing=false", "shuffle=false", "global_batch_size=16", "max_steps=1"}, "padded");
  EXPECT_NEAR(double(metrics("packed")[0]["loss"]), double(metrics("padded")[0]["loss"]), 1e-6);
}

TEST_F(Training, ANonFiniteLossEndsTheRunByStepAndLayer) {
  const std::string error = error_of({"learning_rate=1e30", "lr_scheduler=constant"});
  EXPECT_NE(error.find("step "), std::string::npos) << error;
  EXPECT_TRUE(error.find("first in layer") != std::string::npos ||
              error.find("first in the head") != std::string::npos ||
              error.find("gradient is not finite") != std::string::npos)
      << error;
  EXPECT_FALSE(fs::exists(dir_ / "out" / "adapter_model.safetensors"));
}

TEST_F(Training, RefusesAFolderThatHoldsARun) {
  run({});
  const std::string error = error_of({});
  EXPECT_NE(error.find("resume_from_checkpoint=auto"), std::string::npos) << error;
  EXPECT_NE(error.find("overwrite_output_dir=true"), std::string::npos) << error;
  EXPECT_EQ(run({"overwrite_output_dir=true"}), kFinished);
}

TEST_F(Training, RefusesToResumeAnotherRun) {
  run({"save_steps=2"});
  const std::string error = error_of({"resume_from_checkpoint=auto", "lora_alpha=64"});
  EXPECT_NE(error.find("lora_alpha = 32"), std::string::npos) << error;
  EXPECT_NE(error.find("64"), std::string::npos) << error;
}

TEST_F(Training, SkipsDamagedCheckpoints) {
  run({"save_steps=2", "save_total_limit=9"}, "straight");
  fs::copy(dir_ / "straight", dir_ / "out", fs::copy_options::recursive);
  std::ofstream(dir_ / "out/checkpoint-6/optimizer.safetensors", std::ios::app) << "x";
  fs::remove(dir_ / "out/checkpoint-4/state.json");
  EXPECT_EQ(run({"save_steps=2", "save_total_limit=9", "resume_from_checkpoint=auto"}), kFinished);
  EXPECT_EQ(metrics("out").size(), 6u);
  EXPECT_EQ(bytes("straight"), bytes("out"));
}

TEST_F(Training, AnAdapterOfAnotherShapeIsRefused) {
  run({"lora_r=4"}, "small");
  const std::string error = error_of({"lora_model_dir=" + (dir_ / "small").string()});
  EXPECT_NE(error.find("lora_r 4"), std::string::npos) << error;
}

TEST_F(Training, AdaptsSomeLayersOnly) {
  const std::string targets = "lora_target_modules=[model.layers.1.self_attn.q_proj, v_proj]";
  EXPECT_EQ(run({targets, "lora_dropout=0.1", "save_steps=3"}, "straight"), kFinished);
  const json config = json::parse(std::ifstream(dir_ / "straight/adapter_config.json"));
  EXPECT_EQ(config.at("target_modules"), (json{"v_proj", "model.layers.1.self_attn.q_proj"}));
  // The same linears by a regular expression, gone on with from the third step.
  const std::string pattern = R"(lora_target_modules='.*(v_proj|1\.self_attn\.q_proj)')";
  EXPECT_EQ(run({pattern, "lora_dropout=0.1", "save_steps=3"}, "half"), kFinished);
  fs::remove_all(dir_ / "half/checkpoint-6");
  EXPECT_EQ(run({pattern, "lora_dropout=0.1", "resume_from_checkpoint=auto"}, "half"), kFinished);
  EXPECT_EQ(bytes("half"), bytes("straight"));
  // They may start another run, over the same linears only.
  const std::string start = "lora_model_dir=" + (dir_ / "half").string();
  EXPECT_EQ(run({targets, start}, "next"), kFinished);
  EXPECT_NE(error_of({start, "lora_target_modules=[v_proj]"}, "other")
                .find("has lora_target_modules v_proj, model.layers.1.self_attn.q_proj, but the "
                      "config says v_proj (they differ in model.layers.1.self_attn.q_proj)"),
            std::string::npos);
}

TEST_F(Training, AMisspeltTargetIsRefusedBeforeTheDataIsRead) {
  for (const char* data : {"/data.jsonl", "/none.jsonl"}) {
    const std::string error = error_of(
        {"lora_target_modules=[q_proj, v_porj]", fmt::format("datasets.0.path={}{}", kTiny, data)});
    EXPECT_NE(error.find("config.yml: lora_target_modules: 'v_porj' names no module"),
              std::string::npos)
        << error;
  }
}

TEST_F(Training, UnwritableOutputIsRefusedFirst) {
  std::ofstream(dir_ / "file") << "";
  EXPECT_NE(error_of({}, "file").find("is a file, not a folder"), std::string::npos);
  EXPECT_NE(error_of({}, "file/below").find("cannot create output_dir"), std::string::npos);
}

TEST_F(Training, AReaderThatLeavesDoesNotEndTheRun) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const int terminal = ::dup(STDERR_FILENO);
  ::dup2(ends[1], STDERR_FILENO);
  ::close(ends[1]);
  ::close(ends[0]);  // as in `tessera train ... 2>&1 | head -1`
  int code = -1;
  std::string error;
  try {
    code = run({});
  } catch (const std::exception& e) {
    error = e.what();
  }
  ::dup2(terminal, STDERR_FILENO);
  ::close(terminal);
  EXPECT_EQ(code, kFinished) << error;
}

TEST_F(Training, AFullDiskKeepsTheOldCheckpointAndTheRun) {
  const fs::path disk = dir_ / "disk";
  fs::create_directories(disk);
  // Room for one checkpoint (0.45 MiB), not for two.
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=700k") != 0) {
    GTEST_SKIP() << "a small tmpfs cannot be mounted here";
  }
  const auto unmount = [&] { ::umount2(disk.c_str(), MNT_DETACH); };
  std::string error;
  try {
    error = error_of({"save_steps=2", "lora_r=16"}, "disk/run");
  } catch (...) {
    unmount();
    throw;
  }
  CheckpointStore store((disk / "run").string(), 3);
  std::vector<std::string> skipped;
  const auto newest = store.newest(skipped);
  const size_t steps = metrics("disk/run").size();
  unmount();
  EXPECT_NE(error.find("No space left"), std::string::npos) << error;  // the last save must fail
  EXPECT_EQ(steps, 6u);                                                // the run did not
  ASSERT_TRUE(newest.has_value());
  EXPECT_TRUE(newest->ends_with("checkpoint-2")) << *newest;
  EXPECT_TRUE(skipped.empty());
}

}  // namespace
}  // namespace tessera::launch
