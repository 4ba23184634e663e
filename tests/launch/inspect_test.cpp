// What `inspect` says of models, adapters and files of tensors, also of those that cannot be
// trained, and that it reads no weights.
#include "launch/commands/inspect.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/commands/model_facts.h"
#include "lora/model/families.h"
#include "lora/model/tensors.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

#include "tests/launch/program.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;
using tessera::testing::Outcome;
using tessera::testing::run_program;
using tessera::testing::ScratchFolder;

const std::string kGolden = TESSERA_GOLDEN_DIR;
const std::string kTiny = kGolden + "/tiny_llama";

std::string text_of(const std::string& path, bool tensors = false) {
  return inspect({.path = path, .json = false, .tensors = tensors});
}
json json_of(const std::string& path, bool tensors = false) {
  return json::parse(inspect({.path = path, .json = true, .tensors = tensors}));
}
void expect_in(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in:\n" << text;
  }
}

/// A safetensors file of zeros.
std::string write_tensors(const std::string& path, std::vector<io::SafetensorsEntry> layout) {
  io::SafetensorsWriter writer(path, std::move(layout));
  for (const io::SafetensorsEntry& entry : writer.entries()) {
    writer.write(entry.name, std::vector<std::byte>(entry.bytes));
  }
  writer.commit();
  return path;
}
io::SafetensorsEntry tensor(std::string name, std::string dtype, std::vector<int64_t> shape) {
  return {.name = std::move(name), .dtype = std::move(dtype), .shape = std::move(shape)};
}

/// The folder `to` with the files of `from`.
void copy_files(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::copy(from, to, fs::copy_options::recursive, error);
  ASSERT_FALSE(error) << error.message();
}

constexpr const char* kLlama = R"("architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
    "max_position_embeddings": 256)";

TEST(Inspect, APlainModelIsAFewLines) {
  EXPECT_EQ(text_of(kTiny),
            "model       LlamaForCausalLM (llama), a Hugging Face folder\n"
            "shape       2 layers, hidden 64, MLP 176, 4 heads of 16, 2 for keys and values\n"
            "            vocabulary 256, positions 256, head of its own\n"
            "rotary      theta 10,000\n"
            "parameters  125,248\n"
            "files       model.safetensors, 491 KiB\n"
            "formats     21: 21 F32 (489 KiB)\n"
            "tokenizer   none\n"
            "token ids   bos 1, eos 2, pad 0\n"
            "train       yes, quantized to NF4 while loading (181 KiB of base weights)\n");
}

TEST(Inspect, JsonHasTheKeysOfTheDocumentation) {
  const json root = json_of(kTiny);
  std::vector<std::string> keys;
  for (const auto& [key, value] : root.items()) keys.push_back(key);
  std::ranges::sort(keys);
  EXPECT_EQ(keys, (std::vector<std::string>{"adapter",
                                            "architecture",
                                            "bytes",
                                            "details",
                                            "family",
                                            "files",
                                            "formats",
                                            "kind",
                                            "layout",
                                            "linears_in_4_bits",
                                            "missing_files",
                                            "notes",
                                            "other_parameters",
                                            "parameters",
                                            "path",
                                            "quantization_config",
                                            "shape",
                                            "tensors",
                                            "token_ids",
                                            "tokenizer",
                                            "train"}));
  EXPECT_EQ(root["path"], kTiny);
  EXPECT_EQ(root["kind"], "model");
  EXPECT_EQ(root["layout"], "huggingface");
  EXPECT_EQ(root["architecture"], "LlamaForCausalLM");
  EXPECT_EQ(root["family"], "llama");
  EXPECT_EQ(root["shape"], json::parse(R"({"layers": 2, "hidden": 64, "ffn": 176, "heads": 4,
      "kv_heads": 2, "head_dim": 16, "vocab": 256, "positions": 256, "experts": null,
      "experts_per_token": null, "tied_head": false})"));
  EXPECT_EQ(root["details"]["rope_of_layers"], json({0, 0}));
  EXPECT_EQ(root["details"]["window_of_layers"], json({nullptr, nullptr}));
  EXPECT_EQ(root["details"]["ropes"][0]["theta"], 10000.0);
  EXPECT_EQ(root["details"]["score_scale"], 0.25);
  EXPECT_EQ(root["details"]["norms"], json({"before_attention", "before_mlp"}));
  EXPECT_TRUE(root["adapter"].is_null());
  EXPECT_EQ(root["parameters"], 125248);
  EXPECT_EQ(root["files"], json::parse(R"([{"name": "model.safetensors", "bytes": 503136}])"));
  EXPECT_EQ(root["bytes"], 503136);
  EXPECT_EQ(root["tensors"], 21);
  EXPECT_EQ(root["formats"], json::parse(R"([{"format": "F32", "tensors": 21, "bytes": 500992}])"));
  EXPECT_EQ(root["token_ids"]["config"], json::parse(R"({"bos": [1], "eos": [2], "pad": [0]})"));
  EXPECT_TRUE(root["token_ids"]["generation_config"].is_null());
  EXPECT_EQ(root["tokenizer"],
            json::parse(R"({"files": [], "model": null, "chat_template": false})"));
  EXPECT_EQ(root["train"], json::parse(R"({"possible": true, "reason": null,
      "base_format": "NF4", "base_bytes": 185600})"));
}

TEST(Inspect, TensorsAreListedOnRequest) {
  const json list = json_of(kTiny, true)["tensor_list"];
  ASSERT_EQ(list.size(), 21u);
  const auto q = std::ranges::find_if(list, [](const json& line) {
    return line["name"] == "model.layers.0.self_attn.k_proj.weight";
  });
  ASSERT_NE(q, list.end());
  EXPECT_EQ((*q)["shape"], json({32, 64}));
  EXPECT_EQ((*q)["format"], "F32");
  EXPECT_EQ((*q)["bytes"], 8192);
  expect_in(text_of(kTiny, true),
            {"\nmodel.layers.0.self_attn.k_proj.weight          F32  [32, 64] ", "  8,192\n"});
  EXPECT_EQ(text_of(kTiny).find("k_proj"), std::string::npos);
}

TEST(Inspect, AGgufFileTellsItsTypes) {
  const std::string path = kGolden + "/gguf/tiny.gguf";
  expect_in(text_of(path),
            {"model       LlamaForCausalLM (llama), a GGUF file\n",
             "shape       1 layers, hidden 32, MLP 64, 4 heads of 8, 2 for keys and values\n",
             "vocabulary 32, positions 128, head of its own\n", "rotary      theta 5,000\n",
             "parameters  11,360\n", "files       tiny.gguf, 13 KiB\n",
             "formats     12: 2 Q8_0 (3 KiB), 2 F16 (3 KiB), ", "token ids   bos 1, eos 2\n",
             "train       yes, quantized to NF4 while loading (15 KiB of base weights)\n"});
  const json root = json_of(path);
  EXPECT_EQ(root["layout"], "gguf");
  EXPECT_EQ(root["formats"][0], json::parse(R"({"format": "Q8_0", "tensors": 2, "bytes": 3264})"));
  EXPECT_EQ(root["train"]["base_bytes"], 15104);
}

TEST(Inspect, WhatDiffersFromAPlainModelIsSaid) {
  const std::string gemma = kGolden + "/families/gemma3";
  expect_in(text_of(gemma),
            {"model       Gemma3ForConditionalGeneration (gemma3_text), a Hugging Face folder\n",
             "7 layers, hidden 32, MLP 40, 4 heads of 16, 1 for keys and values\n", "tied head\n",
             "rotary      theta 1,000,000, linear by 8 in layer 5; theta 10,000 in the others\n",
             "window      6 tokens in 6 of 7 layers; layer 5 sees all\n",
             "norms       before attention, after attention, before the MLP, after the MLP; "
             "of q and k, per head; weights plus 1\n",
             "besides     GELU (tanh), scores times 0.0625, embeddings times 5.65685\n",
             " beside the text model\n",
             "note        left alone: multi_modal_projector (2 tensors), vision_tower (21)\n",
             "token ids   eos 1 and 106\n", "train       yes"});
  const json root = json_of(gemma);
  EXPECT_EQ(root["details"]["window_of_layers"], json({6, 6, 6, 6, 6, nullptr, 6}));
  EXPECT_EQ(root["details"]["ropes"][root["details"]["rope_of_layers"][5].get<size_t>()]["type"],
            "linear");
  EXPECT_GT(root["other_parameters"], 0);
  EXPECT_EQ(root["parameters"].get<int64_t>() + root["other_parameters"].get<int64_t>(), 81000);

  expect_in(text_of(kGolden + "/families/smollm3"),
            {"rotary      none in layer 1; theta 2,500 in the others\n"});
  expect_in(text_of(kGolden + "/families/phi3"),
            {"longrope past 12 positions", "12 of 16 elements\n",
             "window      9 tokens in 3 of 3 layers\n",
             "q, k, v are one linear, gate and up are one linear\n"});
  expect_in(text_of(kGolden + "/families/llama"), {"llama3 by 8 past 64 positions\n"});
}

TEST(Inspect, LayersAreRangesOrSteps) {
  EXPECT_EQ(layers_text({0, 1, 2, 3, 4, 6}), "0-4, 6");
  EXPECT_EQ(layers_text({5, 11, 17, 23}), "5, 11, ... 23");
  EXPECT_EQ(layers_text({3}), "3");
  EXPECT_EQ(layers_text({1, 3, 4, 6, 8, 11, 13, 15, 18, 20}),
            "1, 3-4, 6, 8, 11, 13, 15, 18 and 1 more");
}

TEST(Inspect, AModelThatCannotBeTrainedIsShownAsFarAsItTells) {
  const ScratchFolder folder;
  folder.write("config.json", R"({"architectures": ["MixtralForCausalLM"],
      "model_type": "mixtral", "hidden_size": 32, "intermediate_size": 48,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 100})");
  write_tensors(folder.file("model.safetensors"),
                {tensor("model.embed_tokens.weight", "BF16", {100, 32}),
                 tensor("model.layers.0.block_sparse_moe.gate.weight", "F32", {8, 32})});
  expect_in(text_of(folder.path()),
            {"model       MixtralForCausalLM (mixtral), a Hugging Face folder\n",
             "2 layers, hidden 32, MLP 48, 4 heads, 2 for keys and values, 8 experts, 2 of them "
             "for a token\n",
             "parameters  3,456\n", "formats     2: 1 BF16 (6 KiB), 1 F32 (1 KiB)\n",
             "train       no: ", "mixtral is a mixture of experts"});
  const json root = json_of(folder.path());
  EXPECT_EQ(root["shape"]["experts"], 8);
  EXPECT_TRUE(root["details"].is_null());
  EXPECT_EQ(root["train"]["possible"], false);
  EXPECT_TRUE(root["train"]["base_bytes"].is_null());
  const Outcome o = run_program({"inspect", folder.path()});
  EXPECT_EQ(o.code, 0);
  EXPECT_EQ(o.err, "");
}

TEST(Inspect, PackedWeightsDoNotHideTheShape) {
  const ScratchFolder folder;
  const auto config = [&](const std::string& start) {
    folder.write("config.json", "{" + start + R"(, "quantization_config": {"quant_method": "awq",
        "bits": 4, "group_size": 128, "version": "gemm", "zero_point": true}})");
  };
  config(kLlama);
  write_tensors(folder.file("model.safetensors"),
                {tensor("model.layers.0.self_attn.q_proj.qweight", "I32", {64, 8})});
  // That of tiny_llama, whose shape it is: nothing of it is told by the packed tensors.
  expect_in(text_of(folder.path()),
            {"4 heads of 16", "parameters  125,248\n", "rotary      theta 10,000\n",
             "quantized   awq: bits 4, group_size 128, version gemm\n", "train       no: ", "awq"});
  EXPECT_EQ(json_of(folder.path())["quantization_config"]["zero_point"], true);

  config(R"("architectures": ["MixtralForCausalLM"], "model_type": "mixtral")");
  expect_in(text_of(folder.path()), {"parameters  not known: the weights are packed\n"});
  EXPECT_TRUE(json_of(folder.path())["parameters"].is_null());
}

TEST(Inspect, ShardsComeFromTheFolderOnly) {
  const ScratchFolder parent;
  write_tensors(parent.file("outside.safetensors"), {tensor("stolen", "F32", {1000})});
  const ScratchFolder folder;
  folder.write("config.json", "{" + std::string(kLlama) + "}");
  write_tensors(folder.file("model-1.safetensors"), {tensor("a", "F32", {10})});
  write_tensors(folder.file("consolidated.safetensors"), {tensor("b", "F32", {10})});
  const std::string outside = parent.file("outside.safetensors");
  folder.write(
      "model.safetensors.index.json",
      json({{"weight_map",
             {{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}, {"stolen", outside}}}})
          .dump());
  const json root = json_of(folder.path(), true);
  EXPECT_EQ(root["files"].size(), 1u);  // nor the copy that the index leaves out
  EXPECT_EQ(root["tensor_list"].size(), 1u);
  EXPECT_EQ(root["missing_files"], json({outside, "model-2.safetensors"}));
  EXPECT_EQ(root["train"]["possible"], false);
  expect_in(text_of(folder.path()), {"missing: ", "model-2.safetensors\n"});
}

TEST(Inspect, TokenizerAndGenerationConfigAreNamed) {
  const ScratchFolder folder;
  copy_files(kTiny, folder.path());
  folder.write("tokenizer.json", "{}");
  folder.write("tokenizer_config.json", R"({"chat_template": "{{ messages }}"})");
  folder.write("generation_config.json", R"({"bos_token_id": 1, "eos_token_id": [2, 7]})");
  expect_in(text_of(folder.path()),
            {"tokenizer   tokenizer.json, tokenizer_config.json; with a chat template\n",
             "token ids   bos 1, eos 2, pad 0; generation_config.json: bos 1, eos 2 and 7\n"});
  folder.write("tokenizer_config.json", R"({"chat_template": null})");
  expect_in(text_of(folder.path()), {"tokenizer_config.json; no chat template\n"});
  folder.write("tokenizer_config.json", "{");
  expect_in(text_of(folder.path()), {"note        ", "tokenizer_config.json: invalid JSON"});
  folder.write("chat_template.jinja", "x");
  EXPECT_EQ(json_of(folder.path())["tokenizer"]["chat_template"], true);
}

TEST(Inspect, AnAdapterTellsWhatItSitsOn) {
  const std::string path = kTiny + "/adapter_in";
  EXPECT_EQ(text_of(path),
            "adapter     LORA, a PEFT folder\n"
            "base        tiny_llama\n"
            "rank        r 16, alpha 32: scale 2\n"
            "targets     q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj\n"
            "layers      0-1; 14 linears\n"
            "parameters  37,376\n"
            "files       adapter_model.safetensors, 149 KiB\n"
            "formats     28: 28 F32 (146 KiB)\n"
            "train       yes, to continue: base_model = its base, lora_model_dir = this folder\n");
  const json root = json_of(path);
  EXPECT_EQ(root["kind"], "adapter");
  EXPECT_TRUE(root["shape"].is_null());
  const json& adapter = root["adapter"];
  EXPECT_EQ(adapter["layers"], json({0, 1}));
  EXPECT_EQ(adapter["linears"], 14);
  EXPECT_EQ(adapter["modules"].size(), 7u);
  EXPECT_EQ(adapter["rslora"], false);
  EXPECT_EQ(adapter["unknown_keys"], json::array());
  for (const char* key :
       {"peft_type", "task_type", "base_model", "r", "alpha", "dora", "dropout", "rank_pattern",
        "alpha_pattern", "targets", "excluded", "only_layers", "modules_to_save",
        "trainable_token_indices", "scale", "step", "finished", "unneeded_keys"}) {
    EXPECT_TRUE(adapter.contains(key)) << key;
  }
}

TEST(Inspect, AnAdapterOfAnotherKindIsShown) {
  const ScratchFolder folder;
  copy_files(kTiny + "/adapter_in", folder.path());
  json config = json::parse(bytes_of_file(folder.file("adapter_config.json")));
  config["use_rslora"] = true;
  config["of_tomorrow"] = 5;
  folder.write("adapter_config.json", config.dump());
  folder.write("state.json", R"({"step": 12, "finished": true})");
  expect_in(text_of(folder.path()),
            {"r 16, alpha 32, rslora: scale 8\n", "run         step 12, finished\n",
             "unknown     of_tomorrow (keys of adapter_config.json)\n", "train       yes"});

  config["trainable_token_indices"] = {{"embed_tokens", {1, 2}}, {"lm_head", {3}}};
  folder.write("adapter_config.json", config.dump());
  expect_in(text_of(folder.path()),
            {"tokens      2 of embed_tokens, 1 of lm_head (trainable_token_indices)\n",
             "train       no: "});
  config["trainable_token_indices"] = {1, 2, 3};
  folder.write("adapter_config.json", config.dump());
  expect_in(text_of(folder.path()),
            {"tokens      3 of embed_tokens (trainable_token_indices)\n", "train       yes"});
  config.erase("trainable_token_indices");

  config["peft_type"] = "LOHA";
  folder.write("adapter_config.json", config.dump());
  expect_in(text_of(folder.path()), {"adapter     LOHA", "train       no: ", "peft_type"});

  config["peft_type"] = "LORA";
  folder.write("adapter_config.json", config.dump());
  std::error_code error;
  fs::remove(folder.file("adapter_model.safetensors"), error);
  expect_in(text_of(folder.path()), {"files       none with weights\n",
                                     "train       no: ", "no adapter_model.safetensors"});
}

TEST(Inspect, AFileOfTensorsIsNoModelYet) {
  const std::string path = kTiny + "/model.safetensors";
  expect_in(text_of(path), {"tensors     without a config, safetensors\n", "parameters  125,248\n",
                            "train       no: ", "config.json"});
  EXPECT_EQ(json_of(path)["kind"], "tensors");
  const ScratchFolder folder;
  write_tensors(folder.file("x.safetensors"), {tensor("a", "F16", {3, 4})});
  expect_in(text_of(folder.path()), {"parameters  12\n", "there is no config.json"});
}

TEST(Inspect, HostileNamesArePrintedAsText) {
  const ScratchFolder folder;
  folder.write("config.json",
               json({{"architectures", {"Evil\x1b[2J\nmodel  x"}}, {"model_type", "\x07"}}).dump());
  const std::string text = text_of(folder.path());
  expect_in(text,
            {"model       Evil?[2J?model  x (?), a Hugging Face folder\n", "train       no: "});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(json_of(folder.path())["architecture"], "Evil\x1b[2J\nmodel  x");
}

TEST(Inspect, WhatIsNothingIsAnErrorOfOneLine) {
  const ScratchFolder folder;
  const auto refused = [](const std::string& path, const std::string& part) {
    expect_error([&] { inspect({.path = path}); }, path, part);
  };
  refused(folder.path(), "neither a model nor an adapter");
  refused(folder.file("missing"), "no such file or folder");
  refused(folder.write("text", "hello"), "neither a GGUF nor a .safetensors file");
  refused(folder.write("pytorch_model.bin", "PK\x03\x04zip"), "pytorch_model.bin");
  const std::string whole = bytes_of_file(kTiny + "/model.safetensors");
  refused(folder.write("cut.safetensors", whole.substr(0, whole.size() - 1)), "cut short");
  const std::string gguf = bytes_of_file(kGolden + "/gguf/tiny.gguf");
  refused(folder.write("cut.gguf", gguf.substr(0, gguf.size() - 1)), "cut short");

  const ScratchFolder empty;
  empty.write("config.json", "{}");
  refused(empty.path(), "neither architectures nor model_type");
  const ScratchFolder run;
  ASSERT_TRUE(fs::create_directory(run.file("checkpoint-5")));
  refused(run.path(), "checkpoint-5");

  const Outcome o = run_program({"inspect", folder.file("missing")});
  EXPECT_EQ(o.code, 1);
  EXPECT_EQ(o.out, "");
  EXPECT_EQ(std::ranges::count(o.err, '\n'), 1) << o.err;
  EXPECT_EQ(run_program({"inspect"}).code, 2);
}

/// A file of 131 GiB that holds nothing: whoever read the weights would need minutes.
TEST(Inspect, WeightsAreNotRead) {
  const ScratchFolder folder;
  const std::string config = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
      "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
      "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "rope_theta": 500000.0})";
  folder.write("config.json", config);
  json header = json::object();
  uint64_t end = 0;
  for (const lora::TensorRow& row : lora::tensors_of(lora::parse_config(config, "config"))) {
    uint64_t bytes = 2;
    for (const int64_t extent : row.shape) bytes *= uint64_t(extent);
    header[row.name()] = {
        {"dtype", "BF16"}, {"shape", row.shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  const std::string text = header.dump();
  std::string start(8, '\0');
  for (size_t i = 0; i < 8; ++i) start[i] = char(text.size() >> (8 * i) & 0xffu);
  const std::string path = folder.write("model.safetensors", start + text);
  std::error_code error;
  fs::resize_file(path, 8 + text.size() + end, error);
  if (error) GTEST_SKIP() << "no file with holes of this size here: " << error.message();
  expect_in(text_of(folder.path()),
            {"parameters  70,553,706,496\n", "131.4 GiB", "723: 723 BF16",
             "train       yes, quantized to NF4 while loading (36.8 GiB of base weights)\n"});
  EXPECT_EQ(json_of(folder.path())["train"]["base_bytes"], 39517253632);
}

}  // namespace
}  // namespace tessera::launch
