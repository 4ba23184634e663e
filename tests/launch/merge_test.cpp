// Merged weights against PEFT's merge_and_unload; what merging refuses, and what it leaves behind.
#include "launch/commands/merge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "launch/commands/merged_weights.h"
#include "launch/commands/model_folder.h"
#include "launch/machine/device.h"
#include "launch/run/adapter_run.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "quant/format_4bit.h"
#include "runtime/cpu/gemm_bf16.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/model_folder.h"
#include "tests/random_model.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::bytes_of_file;
using tessera::testing::error_of;
using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class Merging : public ::testing::Test {
 protected:
  /// The golden adapter as a run of its own; `config` and `state` are left out where empty.
  std::string run(const std::string& name, const std::string& config, const std::string& state) {
    fs::create_directories(folder_.file(name));
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
      fs::copy_file(kTiny + "/adapter_out/" + file, folder_.file(name + "/" + file));
    }
    if (!config.empty()) folder_.write(name + "/config.resolved.yml", config);
    if (!state.empty()) folder_.write(name + "/state.json", state);
    return folder_.file(name);
  }
  MergeOptions options(const std::string& adapter) {
    MergeOptions o;
    o.base_model = kTiny;
    o.adapter = adapter;
    o.output = folder_.file("merged");
    return o;
  }
  MergeReport merge(const MergeOptions& o) {
    Console console;
    return launch::merge(o, console);
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      found.push_back(entry.path().filename().string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  ScratchFolder folder_;
};

std::vector<float> values_of(const std::string& folder, const std::string& name) {
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(folder);
  std::vector<float> values(size_t(checkpoint.info(name).numel()));
  checkpoint.read_f32(name, values);
  return values;
}

/// Sampled elements of every linear, to 1e-6; all other tensors bit by bit.
void expect_golden(const std::string& merged, const std::string& kind) {
  const json root =
      io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/generate/tiny_llama.json", 1 << 20);
  const json& linears = root.at("merged").at(kind);
  EXPECT_EQ(linears.size(), 14u);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(merged);
  for (const auto& info : checkpoint.tensors()) {
    const std::vector<float> found = values_of(merged, info.name);
    if (!linears.contains(info.name)) {
      EXPECT_EQ(found, values_of(kTiny, info.name)) << info.name;
      continue;
    }
    const auto expected = linears[info.name]["values"].get<std::vector<float>>();
    const size_t step = linears[info.name]["step"].get<size_t>();
    ASSERT_EQ(expected.size(), (found.size() + step - 1) / step) << info.name;
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(found[i * step], expected[i], 1e-6) << info.name << " element " << i * step;
    }
  }
}

TEST_F(Merging, IntoTheOriginalEqualsPeft) {
  const MergeReport report = merge(options(run("run", "", "")));
  EXPECT_EQ(report.into, MergeInto::kOriginal);
  EXPECT_EQ(report.dtype, DType::kF32);
  expect_golden(folder_.file("merged"), "original");
}

TEST_F(Merging, IntoDequantizedWeightsEqualsPeft) {
  const MergeReport report = merge(options(run("run", "adapter: qlora\n", "")));
  EXPECT_EQ(report.into, MergeInto::kDequantized);
  expect_golden(folder_.file("merged"), "dequantized");
}

TEST_F(Merging, A4BitRunCanGoIntoTheOriginal) {
  MergeOptions o = options(run("run", "adapter: qlora\n", ""));
  o.into = MergeInto::kOriginal;
  merge(o);
  expect_golden(folder_.file("merged"), "original");
}

TEST_F(Merging, ReportsTheDistanceToTheBase) {
  const MergeReport report = merge(options(run("run", "", "")));
  const lora::Checkpoint base = lora::Checkpoint::open(kTiny);
  double largest = 0, sum = 0;
  int64_t count = 0;
  std::string where;
  for (const auto& info : base.tensors()) {
    if (info.name.find("_proj") == std::string::npos) continue;
    const auto before = values_of(kTiny, info.name);
    const auto after = values_of(folder_.file("merged"), info.name);
    for (size_t i = 0; i < before.size(); ++i, ++count) {
      const double d = std::abs(double(after[i]) - double(before[i]));
      sum += d;
      if (d > largest) {
        largest = d;
        where = info.name;
      }
    }
  }
  EXPECT_EQ(report.largest, largest);
  EXPECT_EQ(report.largest_in, where);
  EXPECT_NEAR(report.mean, sum / double(count), 1e-12);
  const std::string text = describe(report, "out");
  EXPECT_NE(text.find(where), std::string::npos);
}

TEST_F(Merging, RoundsOnceToTheDtype) {
  const std::string adapter = run("run", "", "");
  merge(options(adapter));
  const auto exact = values_of(folder_.file("merged"), "model.layers.1.mlp.down_proj.weight");
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    MergeOptions o = options(adapter);
    o.dtype = dtype;
    o.output = folder_.file(std::string(name_of(dtype)));
    EXPECT_EQ(merge(o).dtype, dtype);
    auto expected = exact;
    for (float& x : expected)
      x = dtype == DType::kBF16 ? to_float(to_bf16(x)) : to_float(to_f16(x));
    EXPECT_EQ(values_of(o.output, "model.layers.1.mlp.down_proj.weight"), expected);
    const json config = io::read_json_file(o.output + "/config.json", 1 << 20);
    EXPECT_EQ(config["torch_dtype"], name_of(dtype));
    EXPECT_EQ(config["hidden_size"], 64);
    const lora::Checkpoint checkpoint = lora::Checkpoint::open(o.output);
    for (const auto& info : checkpoint.tensors()) EXPECT_EQ(info.dtype, dtype) << info.name;
  }
}

TEST_F(Merging, SplitsIntoShardsWithAnIndex) {
  const std::string adapter = run("run", "", "");
  merge(options(adapter));
  MergeOptions o = options(adapter);
  o.output = folder_.file("shards");
  o.shard_bytes = 150'000;
  const MergeReport report = merge(o);
  const json index = io::read_json_file(o.output + "/model.safetensors.index.json", 1 << 20);
  EXPECT_EQ(index["metadata"]["total_size"], report.bytes);
  std::set<std::string> files;
  uint64_t bytes = 0, before = 0;
  for (const auto& [name, file] : index["weight_map"].items()) files.insert(file);
  EXPECT_GE(files.size(), 3u);
  EXPECT_EQ(*files.begin(), fmt::format("model-00001-of-{:05}.safetensors", files.size()));
  for (const std::string& name : files) {
    const io::SafetensorsFile shard(o.output + "/" + name);
    uint64_t held = 0;
    for (const auto& entry : shard.entries()) held += entry.bytes;
    EXPECT_LE(held, o.shard_bytes);
    if (before > 0) {
      EXPECT_GT(before + held, o.shard_bytes) << "files that fit into one";
    }
    before = held;
    bytes += held;
  }
  EXPECT_EQ(bytes, report.bytes);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(o.output);
  for (const auto& info : checkpoint.tensors()) {
    EXPECT_EQ(values_of(o.output, info.name), values_of(folder_.file("merged"), info.name));
  }
}

TEST_F(Merging, CopiesTheTokenizerAndGenerationConfig) {
  const std::string base = folder_.file("base");
  fs::create_directories(base);
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(kTiny + "/" + file, base + "/" + file);
  }
  tessera::testing::write_byte_tokenizer(base);
  folder_.write("base/generation_config.json", "{\"eos_token_id\": 2}");
  MergeOptions o = options(run("run", "", ""));
  o.base_model = base;
  o.output = folder_.file("merged") + "/";
  merge(o);
  EXPECT_EQ(bytes_of_file(folder_.file("merged/generation_config.json")), "{\"eos_token_id\": 2}");
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_EQ(bytes_of_file(folder_.file(std::string("merged/") + file)),
              bytes_of_file(base + "/" + file));
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"base", "merged", "run"}));
}

TEST_F(Merging, RefusesAnUnfinishedRun) {
  MergeOptions o = options(run("run", "adapter: qlora\n", R"({"step": 4, "finished": false})"));
  expect_error([&] { merge(o); }, "not finished", "--partial", o.adapter);
  EXPECT_EQ(names(), std::vector<std::string>{"run"});
  o.partial = true;
  merge(o);
  expect_golden(folder_.file("merged"), "dequantized");
}

TEST_F(Merging, KnowsTheRunOfACheckpoint) {
  run("run", "adapter: qlora\n", R"({"step": 4, "finished": true})");
  const std::string last = run("run/checkpoint-4", "", R"({"step": 4})");
  const std::string early = run("run/checkpoint-2", "", R"({"step": 2})");
  expect_error([&] { merge(options(early)); }, "not finished");
  EXPECT_EQ(merge(options(last + "/")).into, MergeInto::kDequantized);
}

/// The machine of a run does not bind those who use its adapter.
TEST_F(Merging, TakesOnlyTheBaseFromTheRun) {
  const std::string other_machine =
      "adapter: qlora\nbnb_4bit_quant_type: fp4\nbnb_4bit_blocksize: 128\n"
      "bnb_4bit_compute_dtype: bfloat16\ndevice: cuda\nthreads: 4096\nmemory_budget: 80GiB\n"
      "sharding: host\noptimizer: paged_adamw_8bit\noptimizer_page_dir: /nowhere\n"
      "output_dir: /nowhere\n";
  MergeOptions o = options(run("run", other_machine, ""));
  EXPECT_EQ(merge(o).into, MergeInto::kDequantized);
  const Config base = base_config(o.adapter, {});
  EXPECT_EQ(base.adapter, AdapterKind::kQlora);
  EXPECT_EQ(base.bnb_4bit_quant_type, &quant::kFp4Format);
  EXPECT_EQ(base.bnb_4bit_blocksize, 128);
  EXPECT_EQ(base.device, std::nullopt);
  EXPECT_EQ(base.threads, std::nullopt);
  EXPECT_EQ(base.output_dir, "");
  // Nor the type that it computed with, unless this machine has it too.
  const bool has = !find_gpus().usable.empty() || cpu::has_gemm_bf16();
  EXPECT_EQ(base.bnb_4bit_compute_dtype, has ? std::optional(DType::kBF16) : std::nullopt);
  EXPECT_EQ(base_config(o.adapter, {"bnb_4bit_compute_dtype=bfloat16"}).bnb_4bit_compute_dtype,
            DType::kBF16);
}

TEST_F(Merging, AnAdapterOnSomeLayersChangesThemOnly) {
  lora::AdapterOptions of = {.targets = {.modules = {.pattern = R"(.*\.1\..*up_proj)"}}};
  lora::AdapterSet adapters(lora::Checkpoint::open(kTiny).spec(), of);
  std::ranges::fill(adapters.params(), 0.125f);
  lora::save_peft(folder_.file("some"), adapters, kTiny);
  const MergeReport report = merge(options(folder_.file("some")));
  EXPECT_EQ(report.largest_in, "model.layers.1.mlp.up_proj.weight");
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(kTiny);
  for (const auto& info : checkpoint.tensors()) {
    const bool changed = values_of(options("").output, info.name) != values_of(kTiny, info.name);
    EXPECT_EQ(changed, info.name == report.largest_in) << info.name;
  }
}

TEST_F(Merging, LeavesNothingBehindWhenItFails) {
  MergeOptions o = options(run("run", "", ""));
  const std::string config = bytes_of_file(o.adapter + "/adapter_config.json");
  const size_t at = config.find("\"lora_alpha\": 32");
  ASSERT_NE(at, std::string::npos);
  folder_.write("run/adapter_config.json",
                std::string(config).replace(at, 16, "\"lora_alpha\": 1e12"));
  o.dtype = DType::kF16;
  expect_error([&] { merge(o); }, "does not fit into float16", "_proj.weight");
  EXPECT_EQ(names(), std::vector<std::string>{"run"});
}

TEST_F(Merging, RefusesWhatItCannotDo) {
  MergeOptions o = options(run("run", "", ""));
  o.into = MergeInto::kDequantized;
  expect_error([&] { merge(o); }, "config.resolved.yml", "--merge_into original");
  o.into.reset();
  o.adapter = folder_.file("nowhere");
  expect_error([&] { merge(o); }, "there is no adapter folder", "nowhere");
  o.adapter = folder_.file("run");
  o.base_model = folder_.file("no model");
  EXPECT_NE(error_of([&] { merge(o); }), "");
  o.base_model = kTiny;
  fs::create_directories(o.output);
  expect_error([&] { merge(o); }, o.output, "exists already");
  o.output = folder_.write("a file", "") + "/merged";
  expect_error([&] { merge(o); }, "cannot create", "a file");
  EXPECT_EQ(names(), (std::vector<std::string>{"a file", "merged", "run"}));
}

/// What config.json says while a model is merged is what it said when the model was opened.
TEST_F(Merging, ReadsTheConfigOnce) {
  fs::create_directories(folder_.file("base"));
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(kTiny + "/" + file, folder_.file(std::string("base/") + file));
  }
  const lora::Checkpoint base = lora::Checkpoint::open(folder_.file("base"));
  const auto size = [](const lora::TensorInfo& info) { return info.bytes(); };
  ModelFolder copied(folder_.file("merged"), base,
                     {.bytes_of = size, .shard_bytes = uint64_t{1} << 40});
  std::vector<std::byte> bytes;
  const auto entries = [](std::span<const lora::TensorInfo> tensors) {
    std::vector<io::SafetensorsEntry> list;
    for (const auto& info : tensors) list.push_back({info.name, "F32", info.shape, 0, 0});
    return list;
  };
  const auto bytes_of = [&](const std::string& name) {
    bytes.resize(base.info(name).bytes());
    base.read(name, bytes);
    return std::span<const std::byte>(bytes);
  };
  copied.write_tensors({entries, bytes_of});
  folder_.write("base/config.json", "{}");
  copied.commit(json::parse(base.config()));
  EXPECT_EQ(io::read_json_file(folder_.file("merged/config.json"), 1 << 20),
            io::read_json_file(kTiny + "/config.json", 1 << 20));
}

TEST_F(Merging, TheRoomNeededHoldsTheSpool) {
  const lora::Checkpoint base = lora::Checkpoint::open(kTiny);
  const auto size = [](const lora::TensorInfo& info) { return info.bytes(); };
  const auto needed = [&](uint64_t shard_bytes, bool spools) {
    const ModelFolder made(folder_.file("merged"), base,
                           {.bytes_of = size, .shard_bytes = shard_bytes, .spools = spools});
    return made.needed_bytes();
  };
  const uint64_t one_file = needed(uint64_t{1} << 40, false);
  EXPECT_EQ(needed(uint64_t{1} << 40, true), 2 * one_file);
  EXPECT_EQ(needed(100'000, false), one_file);
  EXPECT_GT(needed(100'000, true), one_file + 50'000);
  EXPECT_LE(needed(100'000, true), one_file + 100'000);
}

TEST_F(Merging, AFolderThatCannotBeBegunLeavesNothingBehind) {
  const lora::Checkpoint base = lora::Checkpoint::open(kTiny);
  const auto size = [](const lora::TensorInfo& info) -> uint64_t { fail("no {}", info.name); };
  expect_error(
      [&] { ModelFolder made(folder_.file("merged"), base, {.bytes_of = size, .shard_bytes = 1}); },
      "no model.");
  EXPECT_EQ(names(), std::vector<std::string>{});
}

/// A model that is in no table of families, as the tensor table describes it.
TEST_F(Merging, EveryLinearOfAFamilyNobodyKnows) {
  const lora::ModelSpec spec = tessera::testing::made_up_spec();
  tessera::testing::write_tensors(folder_, spec, 2);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(folder_.path(), spec);
  lora::AdapterSet adapters(spec, {.r = 2});
  tessera::testing::RandomNumbers random(3);
  for (float& x : adapters.params()) x = random.uniform(0.5f);
  Context ctx(Device::cpu(), 1, 0);
  MergeReport report;
  const std::optional<quant::Storage> original;
  MergedWeights merged(ctx, checkpoint, adapters, original, report);
  for (const lora::TensorRow& row : lora::tensors_of(spec)) {
    const std::vector<float> base = tessera::testing::values_of(row);
    std::vector<float> made(base.size());
    to_floats(DType::kF32, merged.make(row.name()), made);
    if (!row.is_adaptable()) {
      EXPECT_EQ(made, base) << row.name();
      continue;
    }
    const lora::Adapter& adapter = *adapters.find(row.layer, row.site);
    for (int64_t i = 0; i < row.out() * row.in(); ++i) {
      double sum = 0;
      for (int64_t r = 0; r < 2; ++r) {
        sum += double(adapter.b.data<float>()[i / row.in() * 2 + r]) *
               double(adapter.a.data<float>()[r * row.in() + i % row.in()]);
      }
      ASSERT_NEAR(made[size_t(i)], base[size_t(i)] + double(adapter.scale) * sum, 1e-5)
          << row.name() << " element " << i;
    }
  }
  EXPECT_NE(report.largest_in, "");
}

}  // namespace
}  // namespace tessera::launch
