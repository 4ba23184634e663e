// `tessera plan`: what is chosen within a budget, how long a step takes by a profile, and the
// errors.
#include "launch/commands/plan.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/machine/system_limits.h"
#include "launch/plan/device_profile.h"
#include "launch/plan/planner.h"
#include "lora/model/families.h"
#include "tests/expect_error.h"
#include "tests/sanitized.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using testing::expect_error;

/// The shape of a published model, in bfloat16.
std::string shape(int64_t hidden, int64_t ffn, int64_t layers, int64_t heads, int64_t kv,
                  int64_t vocab) {
  return nlohmann::json({{"architectures", {"LlamaForCausalLM"}},
                         {"hidden_act", "silu"},
                         {"hidden_size", hidden},
                         {"intermediate_size", ffn},
                         {"num_hidden_layers", layers},
                         {"num_attention_heads", heads},
                         {"num_key_value_heads", kv},
                         {"vocab_size", vocab},
                         {"torch_dtype", "bfloat16"}})
      .dump();
}

class PlanCommand : public ::testing::Test {
 protected:
  PlanCommand() {
    for (const auto& [name, text] : {std::pair("8b", shape(4096, 14336, 32, 32, 8, 128256)),
                                     std::pair("405b", shape(16384, 53248, 126, 128, 8, 128256))}) {
      std::filesystem::create_directory(folder_.file(name));
      folder_.write(std::string(name) + "/config.json", text);
    }
    config_ = folder_.write("run.yml", "base_model: " + folder_.file("8b") + "\n");
  }
  nlohmann::json plan_of(std::vector<std::string> overrides, int ranks,
                         std::optional<std::string> profile, std::optional<int> per_node = {}) {
    return nlohmann::json::parse(plan({.config = config_,
                                       .overrides = std::move(overrides),
                                       .ranks = ranks,
                                       .ranks_per_node = per_node,
                                       .profile = std::move(profile),
                                       .json = true}));
  }
  std::string base(const std::string& name) const { return "base_model=" + folder_.file(name); }

  testing::ScratchFolder folder_;
  std::string config_;
};

TEST_F(PlanCommand, ReadsOnlyTheShape) {
  // Figures of an independent calculation: parameters times bits, and shapes times bytes.
  const nlohmann::json p = plan_of({"gradient_checkpointing=true"}, 1, "4090");
  EXPECT_NEAR(double(p["device"]["base"]) / 1073741824.0, 3.354, 0.004);
  EXPECT_EQ(p["device"]["embeddings"], (2 * 128256 * 4096 + 4096) * 2);
  EXPECT_EQ(p["device"]["adapters"], 41943040 * 4);
  EXPECT_EQ(p["device"]["optimizer"], 41943040 * 8);
  // Inputs of 32 layers in bfloat16, and one layer whole.
  const double per_token = 32 * 2 * 4096 + 2 * (2 * 4096 + 2 * 1024 + 2 * 4096 + 2 * 14336);
  EXPECT_NEAR(double(p["device"]["activations"]) / 2048 / per_token, 1.03, 0.03);
  EXPECT_TRUE(p["modelled"]);
  EXPECT_EQ(p["time"]["bound"], "compute");
  // A token at a context of 4,096: 30.0 GFLOP of large products and 4.83 of attention at half their
  // rate. 38,912 columns go into the linears of a layer and 43,008 come out, which adapters read or
  // write 4 times each in both directions; 280,576 columns pass through the other kernels. And two
  // passes of 2.516 bytes a weight.
  const nlohmann::json kept = plan_of(
      {"gradient_checkpointing=false", "sequence_len=4096", "memory_budget=80GiB"}, 1, "H100");
  const double columns = 4 * 38912 + 4 * 43008 + 280576;
  const double seconds = (30.02e9 + 2 * 4.832e9) * 4096 / (0.7 * 989.4e12) +
                         (2 * columns * 32 * 4096 + 2 * 2.516 * 6.979e9) / (0.85 * 3350e9);
  EXPECT_NEAR(double(kept["time"]["tokens_per_second"]) * seconds / 4096, 1.0, 0.01);
}

TEST_F(PlanCommand, HalfOfTheLayersTakeHalfOfTheAdapters) {
  const std::vector<std::string> fixed = {"gradient_checkpointing=true", "lora_dropout=0.1"};
  const auto with = [&](const std::string& targets) {
    std::vector<std::string> overrides = fixed;
    overrides.push_back("lora_target_modules=" + targets);
    return plan_of(overrides, 1, "H100");
  };
  const nlohmann::json all = with("[q_proj, up_proj]");
  const nlohmann::json odd = with(R"('.*[13579]\.[^.]*\.(q|up)_proj')");
  const nlohmann::json even = with(R"('.*[02468]\.[^.]*\.(q|up)_proj')");
  const auto half = [](const nlohmann::json& whole) { return whole.get<double>() / 2; };
  EXPECT_EQ(even["device"]["adapters"], half(all["device"]["adapters"]));
  EXPECT_EQ(even["device"]["optimizer"], half(all["device"]["optimizer"]));
  // The last layer, an odd one, is not recomputed.
  const auto seconds = [](const nlohmann::json& plan) {
    return plan["time"]["compute_parts"]["adapters"].get<double>();
  };
  EXPECT_NEAR(seconds(even) + seconds(odd), seconds(all), 1e-12);
  EXPECT_GT(seconds(even), seconds(odd));
  EXPECT_EQ(even["time"]["compute_parts"]["products"], all["time"]["compute_parts"]["products"]);
}

/// Layers that are kept run no second forward, nor do their adapters.
TEST_F(PlanCommand, AdaptersTakeTheTimeOfTheirOwnLayers) {
  const auto adapters = [&](const std::string& checkpointing) {
    return plan_of({R"(lora_target_modules='.*\.(1[6-9]|2[0-9]|3[01])\.[^.]*\.(q|up)_proj')",
                    "gradient_checkpointing_kept_layers=16", "memory_budget=80GiB", checkpointing},
                   1, "H100")["time"]["compute_parts"]["adapters"];
  };
  EXPECT_EQ(adapters("gradient_checkpointing=true"), adapters("gradient_checkpointing=false"));
}

TEST_F(PlanCommand, AnUpdateTakesTheTimeOfItsBitsAndSlice) {
  const auto seconds = [&](const std::string& optimizer, const std::string& sharding) {
    return plan_of({"optimizer=" + optimizer, "optimizer_sharding=" + sharding}, 8,
                   "H100")["time"]["optimizer"]
        .get<double>();
  };
  const double wide = seconds("adamw", "false");
  EXPECT_NEAR(wide, 41943040 * 28 / (0.85 * 3350e9), 1e-9);
  // Of 8 bits, a block of 256 elements has 260 bytes a moment.
  EXPECT_NEAR(seconds("adamw_8bit", "false") / wide, (12 + 4 * 260 / 256.0) / 28, 1e-9);
  EXPECT_NEAR(seconds("adamw", "true") / wide, 1 / 8.0, 1e-9);
}

TEST_F(PlanCommand, ShardsDivideTheBase) {
  const nlohmann::json one = plan_of({}, 1, "H100");
  for (int n : {2, 3, 4, 5, 6, 7, 8}) {
    const nlohmann::json p = plan_of({"sharding=full"}, n, "H100");
    EXPECT_NEAR(double(p["device"]["base"]) * n / double(one["device"]["base"]), 1.0, 0.01) << n;
    EXPECT_NEAR(double(p["device"]["gather_slots"]) * 16 / double(one["device"]["base"]), 1.0,
                0.01);
  }
}

TEST_F(PlanCommand, ManyRanksTakeNoMemoryHere) {
  if (testing::kSanitized) GTEST_SKIP() << "a sanitizer's memory would be measured";
  const int64_t before = peak_resident_bytes();
  const nlohmann::json p =
      plan_of({base("405b"), "global_batch_size=1024", "lora_r=64"}, 1024, "H100");
  EXPECT_LT(peak_resident_bytes() - before, int64_t{64} << 20);
  EXPECT_EQ(p["ranks"], 1024);
  EXPECT_LE(p["device_total"].get<int64_t>(), int64_t{81559} << 20);
}

/// The longest that a config may ask for: its ids alone would be 64 MiB.
TEST_F(PlanCommand, LongSequencesTakeNoMemoryHere) {
  if (testing::kSanitized) GTEST_SKIP() << "a sanitizer's memory would be measured";
  const nlohmann::json one = plan_of({"sequence_len=65536"}, 1, "H100");
  const int64_t before = peak_resident_bytes();
  const nlohmann::json p = plan_of(
      {"sequence_len=16777216", "memory_budget=1000TiB", "gradient_checkpointing=true"}, 1, "H100");
  EXPECT_LT(peak_resident_bytes() - before, int64_t{8} << 20);
  EXPECT_EQ(p["tokens_per_micro_batch"], 16777216);
  EXPECT_EQ(p["device"]["tables"].get<int64_t>(), 256 * one["device"]["tables"].get<int64_t>());
  expect_error(
      [&] {
        plan_of({"sequence_len=16777216", "micro_batch_size=128"}, 1, "H100");
      },
      "a micro-batch of 2147483648 tokens is too large");
}

TEST_F(PlanCommand, MoreMemoryIsNeverSlower) {
  double last = INFINITY;
  for (int gib : {9, 10, 11, 12, 14, 18, 24}) {
    const nlohmann::json p = plan_of({fmt::format("memory_budget={}GiB", gib)}, 1, "4090");
    EXPECT_LE(p["device_total"].get<double>(), gib * 1073741824.0);
    EXPECT_LE(p["time"]["seconds_per_step"].get<double>(), last) << gib;
    last = p["time"]["seconds_per_step"];
  }
}

TEST_F(PlanCommand, ABudgetPagesTheOptimizer) {
  const nlohmann::json all =
      plan_of({"lora_r=64", "optimizer=paged_adamw_32bit", "memory_budget=24GiB"}, 1, "4090");
  EXPECT_EQ(all["host"]["optimizer_pages"], 0);
  const int64_t room = int64_t{9000} << 20;
  const nlohmann::json some = plan_of({"lora_r=64", "optimizer=paged_adamw_32bit",
                                       fmt::format("memory_budget={}B", room), "sequence_len=512"},
                                      1, "4090");
  EXPECT_GT(some["host"]["optimizer_pages"], 0);
  EXPECT_LE(some["device_total"].get<int64_t>(), room);
}

TEST_F(PlanCommand, SaysWhatWouldFit) {
  const std::vector<std::string> settings = {"sharding=full", "memory_budget=8GiB",
                                             "sequence_len=8192"};
  expect_error([&] { plan_of(settings, 1, "4090"); }, "memory: the smallest plan needs 8.8 GiB",
               " a rank, but memory_budget is 8.0 GiB; sequence_len=2048 or 2 ranks would fit");
  // And so it is.
  EXPECT_NO_THROW(plan_of(settings, 2, "4090"));
  EXPECT_NO_THROW(plan_of({settings[0], settings[1], "sequence_len=2048"}, 1, "4090"));
  expect_error([&] { plan_of({"memory_budget=100MiB"}, 1, "4090"); }, "a smaller model");
  expect_error([&] { plan_of({"micro_batch_size=64"}, 1, "4090"); }, "but what the GPU has is",
               "micro_batch_size=1");
}

/// Beside a GPU, what is offloaded has to fit into the host.
TEST_F(PlanCommand, TheHostOfAGpuIsLimitedToo) {
  const Config config =
      load_config(config_, std::vector<std::string>{"sharding=replicate", "sequence_len=8192"});
  const lora::ModelSpec model =
      lora::parse_config(testing::bytes_of_file(folder_.file("8b/config.json")), "config.json");
  const lora::BaseFormat stored{.linear = {quant::format_of(model.dtype)},
                                .norm = model.dtype,
                                .embedding = model.dtype,
                                .head = model.dtype};
  const DeviceProfile device = find_profile("4090");
  const auto planned = [&](int64_t rank_mib, int64_t host_mib) {
    return choose_plan(config, plan_input(config, model, stored, {0}, true), device,
                       {.rank = {{size_t(rank_mib) << 20, "what the GPU has"}},
                        .node = {{size_t(host_mib) << 20, "what the host has free"}}});
  };
  const Plan offloaded = planned(9500, 100000);
  EXPECT_EQ(offloaded.checkpointing, parallel::Policy::kOffload);
  EXPECT_EQ(offloaded.host, offloaded.memory.host());
  EXPECT_GT(offloaded.host, size_t{200} << 20);
  EXPECT_LE(planned(24000, 1).host, size_t{1} << 20);  // not needed there
  expect_error([&] { planned(9500, 100); }, "memory: the smallest plan needs", " a rank, but what ",
               "the GPU has is 9.3 GiB");
  expect_error(
      [&] {
        const Config host = load_config(config_, std::vector<std::string>{"sharding=host"});
        choose_plan(host, plan_input(host, model, stored, {0}, true), device,
                    {.rank = {}, .node = {{size_t{1} << 30, "what the host has free"}}});
      },
      "memory: the smallest plan needs 3.4 GiB on a node, but what the host has free is 1.0 GiB");
}

TEST_F(PlanCommand, RefusesWhatItDoesNotKnow) {
  expect_error([&] { plan_of({}, 1, "GTX 480"); }, "--profile GTX 480", "RTX 4090", "H100");
  const std::string broken = folder_.write("p.json", R"({"name": "x", "gpu": false, "memory": 1})");
  expect_error([&] { plan_of({}, 1, broken); }, broken, "flops_f32");
  expect_error(
      [&] {
        plan_of({"sharding=hybrid", "sharding_group=3"}, 8, "H100");
      },
      "8 ranks cannot be dealt into groups of 3");
  expect_error([&] { plan_of({"base_model=" + folder_.file("none")}, 1, {}); }, "none");
  EXPECT_NO_THROW(plan_of({"device=cuda"}, 1, "RTX-3090"));
}

TEST_F(PlanCommand, TimeOnACpuFollowsEachRateOfItsProfile) {
  const auto parts_of = [&](const DeviceProfile& profile, const std::string& length) {
    const std::string path = folder_.write("p.json", profile_json(profile));
    return plan_of({"gradient_checkpointing=true", length}, 1, path)["time"]["compute_parts"];
  };
  const auto ratio = [](const nlohmann::json& a, const nlohmann::json& b, const char* part) {
    return double(a[part]) / double(b[part]);
  };
  const DeviceProfile device = nominal_cpu();
  const nlohmann::json usual = parts_of(device, "sequence_len=1024");
  DeviceProfile slow = device;
  slow.flops_attention /= 2;
  const nlohmann::json attends = parts_of(slow, "sequence_len=1024");
  EXPECT_NEAR(ratio(attends, usual, "attention"), 2.0, 1e-9);
  EXPECT_NEAR(ratio(attends, usual, "products"), 1.0, 1e-9);
  slow = device;
  slow.memory_bytes /= 2;
  const nlohmann::json copies = parts_of(slow, "sequence_len=1024");
  for (const char* part : {"dequantize", "elementwise"}) {
    EXPECT_NEAR(ratio(copies, usual, part), 2.0, 1e-9) << part;
  }
  EXPECT_GT(ratio(copies, usual, "head"), 1.01);
  // 32 layers forward, 31 again and 32 backward; of a weight 4.13 bits are read, 32 are written.
  constexpr double kWeights = 4096.0 * (2 * 4096 + 2 * 1024 + 3 * 14336);
  EXPECT_NEAR(double(usual["dequantize"]), 95 * kWeights * (4.127 + 32) / 8 / device.memory_bytes,
              0.001);
  // A weight is decoded once for 1,026 tokens at most, in each direction.
  const nlohmann::json longer = parts_of(device, "sequence_len=2048");
  EXPECT_NEAR(ratio(longer, usual, "dequantize"), 2.0, 1e-9);
  EXPECT_NEAR(ratio(longer, usual, "elementwise"), 2.0, 1e-9);
}

TEST_F(PlanCommand, AProfileIsReadAsItIsWritten) {
  DeviceProfile profile = nominal_cpu();
  profile.name = "mine";
  profile.flops_bf16 = 3e11;
  const std::string path = folder_.write("p.json", profile_json(profile));
  const DeviceProfile read = find_profile(path);
  EXPECT_EQ(profile_json(read), profile_json(profile));
  const nlohmann::json p = plan_of({}, 2, path);
  EXPECT_FALSE(p["modelled"]);
  EXPECT_EQ(p["profile"], "mine");
}

}  // namespace
}  // namespace tessera::launch
