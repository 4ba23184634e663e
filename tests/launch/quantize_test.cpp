// `tessera quantize` against transformers and bitsandbytes, and what runs make of such a folder.
#include "launch/commands/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/commands/merge.h"
#include "launch/commands/plan.h"
#include "launch/config/config.h"
#include "launch/config/options.h"
#include "launch/run/adapter_run.h"
#include "launch/run/train.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"
#include "quant/format_4bit.h"
#include "quant/frozen_matrix.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/program.h"
#include "tests/scratch_folder.h"
#include "tests/splitmix64.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::bytes_of_file;
using tessera::testing::error_of;
using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;
using tessera::testing::splitmix64;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";
constexpr quant::Storage kNf4Double{&quant::kNf4Format, 64, true};
constexpr quant::Storage kFp4Plain{&quant::kFp4Format, 64, false};

/// As in tests/golden/quantized_folder.py.
json describe_tensors(const std::string& folder) {
  json tensors;
  for (const auto& file : fs::directory_iterator(folder)) {
    if (file.path().extension() != ".safetensors") continue;
    const io::SafetensorsFile shard(file.path().string());
    for (const io::SafetensorsEntry& entry : shard.entries()) {
      std::vector<std::byte> bytes(entry.bytes);
      shard.read(entry, bytes);
      uint64_t sum = 0;
      for (size_t i = 0; i < bytes.size(); ++i) sum += (uint64_t(bytes[i]) + 1) * splitmix64(i);
      tensors[entry.name] = {{"dtype", entry.dtype},
                             {"shape", entry.shape},
                             {"fingerprint", fmt::format("{:016x}", sum)}};
    }
  }
  return tensors;
}

class Quantizing : public ::testing::Test {
 protected:
  QuantizeReport quantize(const quant::Storage& storage, const std::string& name,
                          const std::string& model = kTiny, int64_t shard_bytes = 1 << 30) {
    QuantizeOptions options;
    options.model = model;
    options.output = folder_.file(name);
    options.storage = storage;
    options.threads = 1;
    options.shard_bytes = shard_bytes;
    Console console;
    return launch::quantize(options, console);
  }
  /// A short run on that model; returns its adapter's bytes.
  std::string train(const std::string& model, const std::string& out,
                    const std::vector<std::string>& settings = {}) {
    const std::string config = folder_.write("run.yml", fmt::format(R"(base_model: {}
datasets:
  - path: {}/data.jsonl
    type: tokenized
sequence_len: 64
micro_batch_size: 2
max_steps: 3
learning_rate: 1e-3
threads: 1
)",
                                                                    model, kTiny));
    std::vector<std::string> overrides = settings;
    overrides.push_back("output_dir=" + folder_.file(out));
    launch::train(load_config(config, overrides), alone_);
    return bytes_of_file(folder_.file(out) + "/adapter_model.safetensors");
  }
  std::vector<float> values_of(const std::string& folder, const std::string& name) {
    const lora::Checkpoint checkpoint = lora::Checkpoint::open(folder);
    std::vector<float> values(size_t(checkpoint.info(name).numel()));
    checkpoint.read_f32(name, values);
    return values;
  }

  parallel::SelfCommunicator alone_;
  ScratchFolder folder_;
};

TEST_F(Quantizing, WritesWhatTransformersWrites) {
  const json golden = io::read_json_file(
      std::string(TESSERA_GOLDEN_DIR) + "/quantized/tiny_llama.json", size_t{1} << 20);
  for (const auto& [name, storage] : {std::pair{"nf4", kNf4Double}, {"fp4", kFp4Plain}}) {
    EXPECT_EQ(quantize(storage, name).linears, 14);
    const json found = describe_tensors(folder_.file(name));
    const json& expected = golden[name]["tensors"];
    EXPECT_EQ(found.size(), expected.size());
    for (const auto& [tensor, description] : expected.items()) {
      EXPECT_EQ(found.value(tensor, json()), description) << name << " " << tensor;
    }
    json config = io::read_json_file(folder_.file(name) + "/config.json", 1 << 20);
    EXPECT_EQ(config["quantization_config"], golden[name]["quantization_config"]);
    config.erase("quantization_config");
    EXPECT_EQ(config, io::read_json_file(kTiny + "/config.json", 1 << 20));
  }
}

TEST_F(Quantizing, ShardsHoldTheSame) {
  quantize(kNf4Double, "one");
  const QuantizeReport report = quantize(kNf4Double, "many", kTiny, 100'000);
  EXPECT_EQ(describe_tensors(folder_.file("many")), describe_tensors(folder_.file("one")));
  const json index = io::read_json_file(folder_.file("many/model.safetensors.index.json"), 1 << 20);
  EXPECT_EQ(index["metadata"]["total_size"], report.bytes);
  EXPECT_EQ(index["weight_map"].size(), describe_tensors(folder_.file("one")).size());
  std::set<std::string> files;
  for (const auto& [name, file] : index["weight_map"].items()) files.insert(file);
  EXPECT_GE(files.size(), 3u);
  lora::Checkpoint::open(folder_.file("many"));
}

TEST_F(Quantizing, RunsOnTheFolderTrainTheSameAdapter) {
  for (const quant::Storage& storage :
       {kNf4Double, kFp4Plain, quant::Storage{&quant::kNf4Format, 128, true}}) {
    const std::string name = fmt::format("{}-{}", storage.format->name, storage.block);
    quantize(storage, name);
    const std::string on_folder = train(folder_.file(name), name + "-run");
    EXPECT_EQ(on_folder,
              train(kTiny, name + "-expected",
                    {fmt::format("bnb_4bit_quant_type={}", storage.format->name),
                     fmt::format("bnb_4bit_blocksize={}", storage.block),
                     fmt::format("bnb_4bit_use_double_quant={}", storage.double_quant)}));
    // What the run was is in its resolved config, whatever the model is then.
    const Config resolved = load_config(folder_.file(name + "-run") + "/config.resolved.yml", {});
    EXPECT_EQ(quantization(resolved), storage);
    EXPECT_EQ(quantization(*AdapterRun::of(folder_.file(name + "-run"), {}).base), storage);
  }
}

TEST_F(Quantizing, TheFormatOfTheBaseMayBeAuto) {
  const auto config = [&](const std::string& text) {
    return load_config(folder_.write("config.yml", text), {});
  };
  const Config open = config(
      "bnb_4bit_quant_type: auto\nbnb_4bit_blocksize: auto\nbnb_4bit_use_double_quant: auto\n");
  EXPECT_EQ(open, config(""));
  EXPECT_NE(dump_config(open).find("bnb_4bit_blocksize: auto"), std::string::npos);
  // For a base that is not quantized auto is the default; for a quantized one, what it is.
  lora::BaseFormat stored = {.linear = {quant::format_of(DType::kBF16)}};
  EXPECT_EQ(quantization(with_stored_format(open, stored)), quant::Storage{});
  const Config lora = config("adapter: lora");
  EXPECT_EQ(with_stored_format(lora, stored), lora);
  EXPECT_EQ(config("adapter: lora\nbnb_4bit_quant_type: auto\nbnb_4bit_blocksize: auto\n"
                   "bnb_4bit_use_double_quant: auto\n"),
            lora);
  stored.linear = {&quant::kNf4Format, 128, false};
  EXPECT_EQ(quantization(with_stored_format(open, stored)), stored.linear);
  EXPECT_EQ(base_format(quant::Storage{}, stored).linear, stored.linear);
}

TEST_F(Quantizing, KeysOfAnotherFormatAreRefused) {
  quantize(kNf4Double, "nf4");
  const std::string model = folder_.file("nf4");
  for (const std::string setting :
       {"bnb_4bit_quant_type=fp4", "bnb_4bit_blocksize=128", "bnb_4bit_use_double_quant=false"}) {
    expect_error([&] { train(model, setting, {setting}); }, setting.substr(0, setting.find('=')),
                 model, "NF4, double-quantized, blocks of 64", "leave");
  }
  expect_error([&] { train(model, "lora", {"adapter=lora"}); }, "adapter: lora", model);
  EXPECT_NE(
      train(model, "same",
            {"bnb_4bit_quant_type=nf4", "bnb_4bit_blocksize=64", "bnb_4bit_use_double_quant=true"}),
      "");
}

TEST_F(Quantizing, PlansKnowTheFormat) {
  quantize(kFp4Plain, "fp4");
  PlanOptions options;
  options.config = folder_.write("plan.yml", "base_model: " + folder_.file("fp4") + "\n");
  options.json = true;
  options.ranks = 1;
  const json on_folder = json::parse(plan(options));
  options.overrides = {"base_model=" + kTiny, "bnb_4bit_quant_type=fp4",
                       "bnb_4bit_use_double_quant=false"};
  json expected = json::parse(plan(options));
  expected["base_model"] = folder_.file("fp4");
  EXPECT_EQ(on_folder, expected);
  options.overrides = {"bnb_4bit_quant_type=nf4"};
  expect_error([&] { plan(options); }, "bnb_4bit_quant_type", "FP4, blocks of 64");
}

/// The merged weights are those of the run, over a base that was quantized before or while loading.
TEST_F(Quantizing, MergesIntoTheDecodedWeights) {
  quantize(kNf4Double, "nf4");
  train(folder_.file("nf4"), "run");
  MergeOptions options;
  options.adapter = folder_.file("run");
  options.base_model = folder_.file("nf4");
  options.output = folder_.file("merged");
  Console console;
  EXPECT_EQ(launch::merge(options, console).into, MergeInto::kDequantized);
  options.base_model = kTiny;
  options.output = folder_.file("expected");
  EXPECT_EQ(launch::merge(options, console).into, MergeInto::kDequantized);
  EXPECT_EQ(describe_tensors(folder_.file("merged")), describe_tensors(folder_.file("expected")));
  EXPECT_EQ(io::read_json_file(folder_.file("merged/config.json"), 1 << 20),
            io::read_json_file(kTiny + "/config.json", 1 << 20));
  options.base_model = folder_.file("nf4");
  options.output = folder_.file("original");
  options.into = MergeInto::kOriginal;
  expect_error([&] { launch::merge(options, console); }, "--merge_into original", "NF4");
  options.into.reset();
  quantize(kFp4Plain, "fp4");
  options.base_model = folder_.file("fp4");
  expect_error([&] { launch::merge(options, console); }, "bnb_4bit_quant_type", "FP4");
}

TEST_F(Quantizing, CopiesWhatStandsBesideTheModel) {
  fs::create_directories(folder_.file("base"));
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(kTiny + "/" + file, folder_.file(std::string("base/") + file));
  }
  tessera::testing::write_byte_tokenizer(folder_.file("base"));
  folder_.write("base/generation_config.json", "{\"eos_token_id\": 2}");
  folder_.write("base/tekken.json", "{\"vocab\": []}");
  folder_.write("base/tokenizer.model.v3", "pieces");
  quantize(kNf4Double, "out", folder_.file("base"));
  std::vector<std::string> files = {"tokenizer_config.json", "generation_config.json",
                                    "tekken.json", "tokenizer.model.v3", "tokenizer.json"};
  const auto expect_copies = [&](const std::string& out) {
    for (const std::string& file : files) {
      EXPECT_EQ(bytes_of_file(folder_.file(out + "/" + file)),
                bytes_of_file(folder_.file("base/" + file)));
    }
  };
  expect_copies("out");
  // Also those of a tokenizer that cannot be read.
  fs::remove(folder_.file("base/tokenizer.json"));
  files.pop_back();
  ::testing::internal::CaptureStderr();
  quantize(kNf4Double, "unread", folder_.file("base"));
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("note: the tokenizer was copied, but Tessera cannot read it: " +
                      folder_.file("base/tekken.json") + ": "),
            std::string::npos)
      << said;
  expect_copies("unread");
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    names.insert(entry.path().filename().string());
  }
  EXPECT_EQ(names, (std::set<std::string>{"base", "out", "unread"}));
}

TEST_F(Quantizing, A4BitBaseOfA16BitAdapterIsNamed) {
  const std::string base = folder_.file("base"), nf4 = folder_.file("nf4");
  fs::create_directories(base);
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(kTiny + "/" + file, base + "/" + file);
  }
  tessera::testing::write_byte_tokenizer(base);
  quantize(kNf4Double, "nf4", base);
  train(base, "sixteen", {"adapter=lora"});
  train(base, "four");
  const std::string line = "warning: the adapter was trained on a 16-bit base; " + nf4 +
                           " is stored as NF4, double-quantized, blocks of 64\n";
  for (const std::string adapter : {"sixteen", "four"}) {
    for (const std::string& model : {base, nf4}) {
      const std::string run = folder_.file(adapter);
      std::vector<std::vector<std::string>> commands = {{"generate", "--prompt", "A"},
                                                        {"merge", "--output", run + "-merged"}};
      commands[0].insert(commands[0].end(), {"--max_new_tokens", "2"});
      for (std::vector<std::string>& command : commands) {
        command.insert(command.end(), {"--base_model", model, "--adapter", run, "--threads", "1"});
        const auto done = tessera::testing::run_program(command);
        EXPECT_EQ(done.code, 0) << done.err;
        EXPECT_EQ(done.err.find(line) != std::string::npos, adapter == "sixteen" && model == nf4)
            << command[0] << ": " << done.err;
      }
      fs::remove_all(run + "-merged");
    }
  }
}

TEST_F(Quantizing, GeneratesAsTheBaseInThatFormat) {
  const std::string base = folder_.file("base"), out = folder_.file("out");
  fs::create_directories(base);
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(kTiny + "/" + file, base + "/" + file);
  }
  tessera::testing::write_byte_tokenizer(base);
  using tessera::testing::run_program;
  const auto quantized = run_program(
      {"quantize", base, out, "--quant_type", "fp4", "--double_quant", "false", "--block", "128"});
  EXPECT_EQ(quantized.code, 0) << quantized.err;
  EXPECT_NE(quantized.out.find("14 linears as FP4, blocks of 128"), std::string::npos);
  const auto generate = [](const std::string& model, std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", "--base_model", model, "--prompt", "A",
                               "--max_new_tokens", "8", "--threads", "1"});
    return run_program(more);
  };
  const auto expected =
      generate(base, {"--load_in_4bit", "true", "--bnb_4bit_quant_type", "fp4",
                      "--bnb_4bit_use_double_quant", "false", "--bnb_4bit_blocksize", "128"});
  EXPECT_EQ(expected.code, 0) << expected.err;
  const auto found = generate(out, {});
  EXPECT_EQ(found.code, 0) << found.err;
  EXPECT_EQ(found.out, expected.out);
  const auto refused = generate(out, {"--load_in_4bit", "false"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("load_in_4bit: false"), std::string::npos) << refused.err;
  EXPECT_EQ(run_program({"quantize", base, folder_.file("odd"), "--block", "48"}).code, 2);
}

TEST_F(Quantizing, TakesGgufFiles) {
  const std::string model = TESSERA_GOLDEN_DIR "/gguf/tiny.gguf";
  quantize(kNf4Double, "out", model);
  const lora::Checkpoint from = lora::Checkpoint::open(model);
  const lora::Checkpoint out = lora::Checkpoint::open(folder_.file("out"));
  ASSERT_EQ(out.tensors().size(), from.tensors().size());
  Context ctx(Device::cpu(), 1, 0);
  int64_t quantized = 0;
  for (const lora::TensorInfo& info : from.tensors()) {
    std::vector<float> expected = values_of(model, info.name);
    const lora::TensorInfo& found = out.info(info.name);
    if (found.quantized) {
      ++quantized;
      const quant::FrozenSpec spec{kNf4Double, info.shape[0], info.shape[1]};
      std::vector<std::byte> blob(spec.bytes()), read(spec.bytes());
      quant::FrozenMatrix::quantize(ctx, spec, expected, blob.data(), info.name);
      out.read_blob(info.name, read);
      EXPECT_EQ(read, blob) << info.name;
    } else {
      EXPECT_EQ(values_of(folder_.file("out"), info.name), expected) << info.name;
    }
  }
  EXPECT_EQ(quantized, int64_t(lora::linears_of(from.spec()).size()));
}

/// A model of text and images: tiny_llama under the names of published ones, and two more tensors.
class WithImages : public Quantizing {
 protected:
  void SetUp() override { write_base("BF16"); }
  void write_base(const std::string& dtype_of_others) {
    json config = io::read_json_file(kTiny + "/config.json", 1 << 20);
    fs::create_directories(base_);
    folder_.write("base/config.json", json{{"architectures", {"LlavaForConditionalGeneration"}},
                                           {"model_type", "llava"},
                                           {"torch_dtype", "float32"},
                                           {"text_config", config},
                                           {"vision_config", {{"hidden_size", 4}}}}
                                          .dump());
    folder_.write("base/preprocessor_config.json", "{}");
    const io::SafetensorsFile tiny(kTiny + "/model.safetensors");
    std::vector<io::SafetensorsEntry> layout;
    for (io::SafetensorsEntry entry : tiny.entries()) {
      entry.name.insert(0, "language_model.");
      layout.push_back(std::move(entry));
    }
    for (const char* name : {"vision_tower.patches.weight", "multi_modal_projector.bias"}) {
      layout.push_back({.name = name, .dtype = dtype_of_others, .shape = {3}});
    }
    io::SafetensorsWriter writer(base_ + "/model.safetensors", layout);
    for (const io::SafetensorsEntry& entry : writer.entries()) {
      std::vector<std::byte> bytes(entry.bytes, std::byte{0x3f});
      const std::string own = entry.name.substr(entry.name.find('.') + 1);
      if (const auto* from = tiny.find(own)) tiny.read(*from, bytes);
      writer.write(entry.name, bytes);
    }
    writer.commit();
  }

  const std::string base_ = folder_.file("base");
};

TEST_F(WithImages, MergesTheTextAndCopiesTheRest) {
  const lora::ModelSpec spec = lora::Checkpoint::open(base_).spec();
  lora::AdapterSet adapters(spec, {.r = 2});
  std::ranges::fill(adapters.params(), 0.125f);
  lora::save_peft(folder_.file("adapter"), adapters, base_);
  MergeOptions options;
  options.base_model = base_;
  options.adapter = folder_.file("adapter");
  options.output = folder_.file("merged");
  Console console;
  launch::merge(options, console);
  const json before = describe_tensors(base_), after = describe_tensors(options.output);
  ASSERT_EQ(before.size(), after.size());
  int64_t changed = 0;
  for (const auto& [name, tensor] : before.items()) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_EQ(after[name]["shape"], tensor["shape"]);
    const bool same = after[name] == tensor;
    EXPECT_EQ(same, name.find("_proj.weight") == std::string::npos) << name;
    changed += !same;
  }
  EXPECT_EQ(changed, 14);
  EXPECT_EQ(io::read_json_file(options.output + "/config.json", 1 << 20),
            io::read_json_file(base_ + "/config.json", 1 << 20));
  EXPECT_EQ(bytes_of_file(options.output + "/preprocessor_config.json"), "{}");
}

TEST_F(WithImages, QuantizesTheTextAlone) {
  quantize(kNf4Double, "out", base_);
  quantize(kNf4Double, "text", kTiny);
  json expected;
  const json text = describe_tensors(folder_.file("text"));
  for (const auto& [name, tensor] : text.items()) {
    expected["language_model." + name] = tensor;
  }
  const json base = describe_tensors(base_);
  for (const char* name : {"vision_tower.patches.weight", "multi_modal_projector.bias"}) {
    expected[name] = base[name];
  }
  EXPECT_EQ(describe_tensors(folder_.file("out")), expected);
  const json config = io::read_json_file(folder_.file("out/config.json"), 1 << 20);
  EXPECT_EQ(config["quantization_config"]["llm_int8_skip_modules"],
            (json{"lm_head", "model.multi_modal_projector", "model.vision_tower"}));
}

/// Their scales would mean nothing to a reader of the new config.
TEST_F(WithImages, RefusesWhatIsQuantizedBesideTheText) {
  write_base("F8_E4M3");
  expect_error([&] { quantize(kNf4Double, "out", base_); },
               "is quantized and no part of the text model; use the original checkpoint");
  const lora::ModelSpec spec = lora::Checkpoint::open(base_).spec();
  lora::save_peft(folder_.file("adapter"), lora::AdapterSet(spec, {.r = 2}), base_);
  MergeOptions options;
  options.base_model = base_;
  options.adapter = folder_.file("adapter");
  options.output = folder_.file("out");
  Console console;
  expect_error([&] { launch::merge(options, console); }, "use the original checkpoint");
  EXPECT_FALSE(fs::exists(folder_.file("out")));
}

TEST_F(Quantizing, RefusesWhatItCannotDo) {
  quantize(kNf4Double, "nf4");
  expect_error([&] { quantize(kNf4Double, "again", folder_.file("nf4")); }, "quantized already",
               "NF4, double-quantized, blocks of 64");
  expect_error([&] { quantize(kNf4Double, "nf4"); }, "exists already");
  expect_error([&] { quantize({&quant::kNf4Format, 48, true}, "odd"); }, "48");
  EXPECT_FALSE(fs::exists(folder_.file("again")) || fs::exists(folder_.file("odd")));
}

}  // namespace
}  // namespace tessera::launch
