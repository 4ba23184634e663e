// A checkpoint that was cut short, or in which a bit flipped: going on from it is refused with an
// error that names the file, or gives exactly what the whole one gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "launch/config/config.h"
#include "launch/config/options.h"
#include "launch/plan/optimizer_state.h"
#include "launch/run/checkpoint.h"
#include "launch/run/train.h"
#include "lora/model/checkpoint.h"
#include "parallel/thread_communicator.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/random_model.h"
#include "tests/sanitized.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Two ranks' checkpoints of steps 1 and 2, and what a run needs to go on from one.
class CheckpointDamage : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::ScratchFolder>();
    testing::write_random_model(*folder_, {.layers = 2, .hidden = 32, .ffn = 48, .vocab = 64});
    const std::string rows = testing::write_random_rows(*folder_, 6, 8, 12, 64);
    folder_->write("config.yml", "base_model: " + folder_->path() + R"(
datasets:
  - path: )" + rows + R"(
    type: tokenized
sequence_len: 16
sample_packing: false
micro_batch_size: 1
global_batch_size: 3
max_steps: 2
save_steps: 1
lora_r: 2
threads: 1
output_dir: )" + folder_->file("out"));
    config_ = std::make_unique<Config>(load_config(folder_->file("config.yml"), {}));
    parallel::run_ranks(2, [](parallel::Communicator& world) { train(*config_, world); });
    expected_ = std::make_unique<json>(json::parse(testing::bytes_of_file(file("state.json"))));
    model_ = std::make_unique<lora::ModelSpec>(lora::Checkpoint::open(folder_->path()).spec());
    whole_ = std::make_unique<Loaded>(load());
    ASSERT_EQ(whole_->step, 2);
  }
  static void TearDownTestSuite() {
    whole_.reset();
    expected_.reset();
    model_.reset();
    config_.reset();
    folder_.reset();
  }

  static std::string checkpoint(int step = 2) {
    return folder_->file("out/checkpoint-" + std::to_string(step));
  }
  static std::string file(const std::string& name) { return checkpoint() + "/" + name; }
  static std::vector<std::string> files() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(checkpoint())) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  /// All that a run takes from a checkpoint.
  struct Loaded {
    int64_t step = 0, tokens = 0, steps_taken = 0;
    std::vector<float> params;
    std::string moments;
    bool operator==(const Loaded&) const = default;
  };
  static Loaded load() {
    lora::AdapterSet adapters(*model_, adapter_options(*config_));
    const auto segments = state_segments(adapters, optim::StateBits::k32);
    optim::Optimizer optimizer(optim::adamw_rule(), segments, {0, adapters.size()}, {},
                               page_options(*config_, Device::cpu()));
    const RunState state =
        CheckpointStore::load(checkpoint(), (*expected_)["identity"], *model_,
                              {adapters, {optimizer, segments}, config_->base_model});
    Loaded loaded{state.step, state.tokens, optimizer.steps_taken(), {}, {}};
    loaded.params.assign(adapters.params().begin(), adapters.params().end());
    for (const optim::StateArray& array : optimizer.state_arrays()) {
      std::string bytes(array.elements * size_of(array.dtype), '\0');
      optimizer.read_state(array.name, 0, std::as_writable_bytes(std::span(bytes)));
      loaded.moments += array.name + bytes;
    }
    return loaded;
  }

  /// Another file, since some file systems write a truncated one out at once.
  static void replace(const std::string& name, const std::string& bytes) {
    fs::remove(file(name));
    folder_->write("out/checkpoint-2/" + name, bytes);
  }
  /// Loads the checkpoint while its file `name` has other bytes. What is wrong with the outcome;
  /// empty when the error names the file, or when nothing is lost.
  std::string outcome_with(const std::string& name, const std::string& bytes) {
    const std::string before = testing::bytes_of_file(file(name));
    replace(name, bytes);
    std::string wrong;
    try {
      if (load() != *whole_) wrong = "loads, but not what was saved";
      ++irrelevant_;
    } catch (const Error& error) {
      // A manifest whose list was damaged makes another file a missing or damaged one.
      const std::string named = name == "manifest.json" ? checkpoint() : file(name);
      const std::string message = error.what();
      if (message.find(named) == std::string::npos) wrong = "does not name the file: " + message;
      if (message.find('\n') != std::string::npos) wrong = "more than a line: " + message;
      ++refused_;
    } catch (const std::exception& error) {
      wrong = std::string("not an Error: ") + error.what();
    }
    replace(name, before);
    return wrong;
  }

  static std::unique_ptr<testing::ScratchFolder> folder_;
  static std::unique_ptr<Config> config_;
  static std::unique_ptr<lora::ModelSpec> model_;
  static std::unique_ptr<json> expected_;
  static std::unique_ptr<Loaded> whole_;
  int refused_ = 0, irrelevant_ = 0;
};
std::unique_ptr<testing::ScratchFolder> CheckpointDamage::folder_;
std::unique_ptr<Config> CheckpointDamage::config_;
std::unique_ptr<lora::ModelSpec> CheckpointDamage::model_;
std::unique_ptr<json> CheckpointDamage::expected_;
std::unique_ptr<CheckpointDamage::Loaded> CheckpointDamage::whole_;

TEST_F(CheckpointDamage, EveryTruncationIsRefused) {
  testing::RandomNumbers random(3);
  int tried = 0;
  for (const std::string& name : files()) {
    const std::string bytes = testing::bytes_of_file(file(name));
    for (size_t length = 0; length < bytes.size(); ++length) {
      // Every length of the texts, and samples of what follows in the larger files.
      const bool at_the_end = bytes.size() - length < 16;
      const bool near_an_end = length < 4096 || at_the_end;
      if (!near_an_end && random.bits() % (bytes.size() / 128) != 0) continue;
      if (testing::kSanitized && !at_the_end && length % 8 != 0) continue;
      ++tried;
      const std::string wrong = outcome_with(name, bytes.substr(0, length));
      EXPECT_EQ(wrong, "") << name << " cut to " << length << " of " << bytes.size() << " bytes";
    }
  }
  // Only the manifest without its last line break is still the same.
  EXPECT_EQ(irrelevant_, 1);
  EXPECT_EQ(refused_ + irrelevant_, tried);
  EXPECT_GT(tried, testing::kSanitized ? 600 : 5000);
}

TEST_F(CheckpointDamage, BitsThatFlipAreRefusedOrIrrelevant) {
  testing::RandomNumbers random(4);
  const std::vector<std::string> names = files();
  for (int trial = 0; trial < 1000; ++trial) {
    const std::string& name = names[size_t(trial) % names.size()];
    std::string bytes = testing::bytes_of_file(file(name));
    const size_t at = random.bits() % bytes.size();
    const uint32_t bit = random.bits() % 8;
    bytes[at] = char(uint8_t(bytes[at]) ^ (1u << bit));
    EXPECT_EQ(outcome_with(name, bytes), "") << name << " byte " << at << " bit " << bit;
  }
  EXPECT_LT(irrelevant_, 10);  // a blank or line break of the manifest
  EXPECT_EQ(refused_ + irrelevant_, 1000);
}

TEST_F(CheckpointDamage, FilesThatAreMissingOrOfAnotherStepAreRefused) {
  for (const std::string& name : files()) {
    const std::string bytes = testing::bytes_of_file(file(name));
    if (name != "manifest.json" && name != "adapter_config.json") {  // equal at all steps
      const std::string other = testing::bytes_of_file(checkpoint(1) + "/" + name);
      ASSERT_NE(other, bytes) << name;
      EXPECT_EQ(outcome_with(name, other), "") << name;
    }
    fs::remove(file(name));
    testing::expect_error(load, file(name));
    std::vector<std::string> skipped;
    EXPECT_EQ(CheckpointStore(config_->output_dir, 3).newest(skipped), checkpoint(1));
    ASSERT_EQ(skipped.size(), 1u);
    EXPECT_NE(skipped[0].find(file(name)), std::string::npos) << skipped[0];
    replace(name, bytes);
  }
  EXPECT_EQ(irrelevant_, 0);
  EXPECT_EQ(load(), *whole_);
}

/// Such as the name of an update rule, which AdamW's identity does not have.
TEST_F(CheckpointDamage, AnIdentityWithAKeyThatTheRunLacksIsRefused) {
  const json before = *expected_;
  (*expected_)["identity"].erase("optimizer_bits");
  testing::expect_error(load, checkpoint(), "made with optimizer_bits = 32, but this run has null");
  *expected_ = before;
}

}  // namespace
}  // namespace tessera::launch
