// `tessera export`: the types and bytes of llama.cpp's quantizer, which make_export_golden.py had
// it make, the tokenizer, and the command.
#include "launch/commands/export.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/text/tokenizer/gguf_pretokenizers.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "lora/model/checkpoint.h"
#include "lora/model/families.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/exported.h"
#include "tests/launch/program.h"
#include "tests/model_folder.h"
#include "tests/scratch_folder.h"
#include "tests/splitmix64.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::bytes_in;
using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;
using tessera::testing::export_options;
using tessera::testing::export_silently;
using tessera::testing::kByteVocab;
using tessera::testing::Program;
using tessera::testing::ScratchFolder;
using tessera::testing::splitmix64;
using tessera::testing::unit_value;
using tessera::testing::write_byte_tokenizer;

const std::string kGolden = TESSERA_GOLDEN_DIR;

// The types of tensors, and their bytes.

/// As write_model() of make_export_golden.py.
void write_quantized_model(const ScratchFolder& folder) {
  const json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"model_type", "llama"},
                       {"rms_norm_eps", 1e-5},
                       {"max_position_embeddings", 64},
                       {"tie_word_embeddings", false},
                       {"bos_token_id", 0},
                       {"eos_token_id", 1},
                       {"torch_dtype", "float32"},
                       {"hidden_size", 256},
                       {"intermediate_size", 288},
                       {"num_hidden_layers", 8},
                       {"num_attention_heads", 4},
                       {"num_key_value_heads", 1},
                       {"vocab_size", 96}};
  const lora::ModelSpec spec = lora::parse_config(config.dump(), "config.json");
  folder.write("config.json", config.dump());
  std::map<std::string, lora::TensorRow> rows;
  for (const lora::TensorRow& row : lora::tensors_of(spec)) rows[row.name()] = row;
  std::vector<io::SafetensorsEntry> layout;
  for (const auto& [name, row] : rows) {
    layout.push_back({.name = name, .dtype = "F32", .shape = row.shape});
  }
  io::SafetensorsWriter writer(folder.file("model.safetensors"), layout);
  for (const io::SafetensorsEntry& entry : writer.entries()) {
    const auto t = uint64_t(std::distance(rows.begin(), rows.find(entry.name)));
    const bool norm = entry.shape.size() == 1;
    std::vector<float> values(entry.bytes / sizeof(float));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = unit_value(splitmix64(i + (t << 32))) * (norm ? 0.5f : 0.1f) + (norm ? 1.0f : 0);
    }
    writer.write(entry.name, std::as_bytes(std::span(values)));
  }
  writer.commit();
}

TEST(Export, TypesAndBytesAreThoseOfLlamaCpp) {
  ScratchFolder model, scratch;
  write_quantized_model(model);
  const json golden = io::read_json_file(kGolden + "/export/quantized.json", 1 << 20).at("types");
  EXPECT_EQ(golden.size() + 1, lora::gguf_mixes().size());
  for (const auto& [type, tensors] : golden.items()) {
    const std::string path = scratch.file(type) + ".gguf";
    const ExportReport report = export_silently(export_options(model.path(), path, type.c_str()));
    EXPECT_EQ(report.bytes, fs::file_size(path));
    const io::GgufFile file(path);
    EXPECT_EQ(file.tensors().size(), tensors.size());
    for (const auto& [name, figures] : tensors.items()) {
      ASSERT_NE(file.find(name), nullptr) << name;
      EXPECT_EQ(io::name_of(file.find(name)->type), figures[0].get<std::string>())
          << type << " " << name;
      uint64_t sum = 0, i = 0;
      for (const std::byte byte : bytes_in(file, name)) {
        sum += (uint64_t(byte) + 1) * splitmix64(i++);
      }
      EXPECT_EQ(fmt::format("{:016x}", sum), figures[1].get<std::string>()) << type << " " << name;
    }
  }
}

TEST(Export, ThreadsDoNotChangeTheFile) {
  ScratchFolder scratch;
  std::string first;
  for (const int threads : {1, 3}) {
    ExportOptions options =
        export_options(kGolden + "/families/llama", scratch.file("m.gguf"), "q8_0");
    options.merge.threads = threads;
    options.overwrite = true;
    export_silently(options);
    const std::string bytes = bytes_of_file(scratch.file("m.gguf"));
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes, first);
  }
}

// The tokenizer.

/// A copy of the tiny Llama with rows for the bytes and ChatML's tokens.
void write_model_with_tokenizer(const ScratchFolder& folder) {
  ScratchFolder model;
  write_quantized_model(model);
  json config = io::read_json_file(model.file("config.json"), 1 << 20);
  config["vocab_size"] = kByteVocab + 5;
  config["eos_token_id"] = {testing::kImEnd, testing::kEndOfText};
  const lora::ModelSpec spec = lora::parse_config(config.dump(), "config.json");
  folder.write("config.json", config.dump());
  testing::write_tensors(folder, spec, 1);
  write_byte_tokenizer(folder.path());
}

TEST(Export, TheTokenizerIsReadBackAsItWas) {
  ScratchFolder model, scratch;
  write_model_with_tokenizer(model);
  ExportOptions options = export_options(model.path(), scratch.file("m.gguf"), "f16");
  options.modelfile = true;
  const ExportReport report = export_silently(options);
  EXPECT_TRUE(report.notes.empty()) << report.notes.front();
  const io::GgufFile file(scratch.file("m.gguf"));
  EXPECT_EQ(file.string("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file.string("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(file.integer("tokenizer.ggml.eos_token_id"), testing::kImEnd);
  EXPECT_EQ(file.integer("tokenizer.ggml.eot_token_id"), testing::kEndOfText);
  EXPECT_FALSE(file.boolean("tokenizer.ggml.add_bos_token"));
  const std::vector<std::string> tokens = file.strings("tokenizer.ggml.tokens");
  const std::vector<int64_t> types = file.integers("tokenizer.ggml.token_type");
  ASSERT_EQ(tokens.size(), size_t(kByteVocab) + 5);
  EXPECT_EQ(tokens.back(), fmt::format("[PAD{}]", kByteVocab + 4));
  EXPECT_EQ(types[0], 1);
  EXPECT_EQ(types[testing::kImEnd], 3);
  EXPECT_EQ(types.back(), 5);
  const Tokenizer before = Tokenizer::load(model.path()), after = Tokenizer::load(file.path());
  for (const char* text : {"a b<|im_start|>c", "\u00e9\n\t", "<|im_end|>"}) {
    EXPECT_EQ(before.encode(text), after.encode(text)) << text;
  }
  EXPECT_EQ(bytes_of_file(scratch.file("m.Modelfile")),
            "FROM ./m.gguf\nPARAMETER stop \"<|im_end|>\"\nPARAMETER stop \"<|endoftext|>\"\n");
}

TEST(Export, AGgufBaseKeepsItsTokenizer) {
  ScratchFolder model, scratch;
  write_model_with_tokenizer(model);
  export_silently(export_options(model.path(), scratch.file("a.gguf"), "q8_0"));
  const ExportReport report =
      export_silently(export_options(scratch.file("a.gguf"), scratch.file("b.gguf"), "f32"));
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes.front().find("quantized already"), std::string::npos);
  const io::GgufFile a(scratch.file("a.gguf")), b(scratch.file("b.gguf"));
  for (const std::string& key : a.keys()) {
    EXPECT_EQ(b.has(key), a.has(key)) << key;
  }
  EXPECT_EQ(a.strings("tokenizer.ggml.tokens"), b.strings("tokenizer.ggml.tokens"));
  EXPECT_EQ(a.integers("tokenizer.ggml.token_type"), b.integers("tokenizer.ggml.token_type"));
  // Rounded twice is rounded once.
  export_silently(export_options(scratch.file("b.gguf"), scratch.file("c.gguf"), "q8_0"));
  const io::GgufFile c(scratch.file("c.gguf"));
  for (const io::GgufTensor& tensor : a.tensors()) {
    EXPECT_EQ(bytes_in(a, tensor.name), bytes_in(c, tensor.name)) << tensor.name;
  }
}

TEST(Export, EveryPretokenizerIsFoundByItsExpressions) {
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "tekken", "gpt-4o",
                           "deepseek-v3", "seed-coder", "bailingmoe"}) {
    const GgufPretokenizer words = gguf_pretokenizer(name, "test");
    const std::vector<std::string> names = gguf_pretokenizer_names(words.steps, words);
    ASSERT_FALSE(names.empty()) << name;
    EXPECT_EQ(names.front(), name);
  }
  const json other = {{"type", "Split"},
                      {"pattern", {{"Regex", "[a-z]+"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  EXPECT_TRUE(gguf_pretokenizer_names(other, {}).empty());
}

// The command.

TEST(Export, RefusesToLoseFilesAndNonsense) {
  ScratchFolder scratch;
  const std::string model = kGolden + "/families/llama", out = scratch.file("m.gguf");
  ExportOptions options = export_options(model, out, "f32");
  scratch.write("m.gguf", "here");
  expect_error([&] { export_silently(options); }, out, "exists", "--overwrite");
  EXPECT_EQ(bytes_of_file(out), "here");
  options.overwrite = true;
  export_silently(options);
  EXPECT_NE(bytes_of_file(out), "here");
  options.merge.base_model = out;
  expect_error([&] { export_silently(options); }, out, "base model");
  expect_error([&] { export_silently(export_options(model, scratch.file("m.bin"), "f32")); },
               ".gguf");
  options = export_options(model, scratch.file("lora.gguf"), "q8_0");
  options.adapter_only = true;
  expect_error([&] { export_silently(options); }, "--adapter");
  options.merge.adapter = model + "/adapter";
  expect_error([&] { export_silently(options); }, "f32, f16 or bf16", "q8_0");
}

TEST(Export, ThePrintedReportIsTheFile) {
  ScratchFolder scratch;
  const std::string out = scratch.file("m.gguf");
  Program program({"export", "--base_model", kGolden + "/families/llama", "--output", out, "--type",
                   "q8_0", "--json"});
  const auto outcome = program.wait();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  EXPECT_EQ(report["path"], out);
  EXPECT_EQ(report["bytes"], fs::file_size(out));
  EXPECT_EQ(report["architecture"], "llama");
  EXPECT_EQ(report["type"], "q8_0");
  int64_t tensors = 0;
  for (const auto& [type, count] : report["tensors"].items()) tensors += count.get<int64_t>();
  EXPECT_EQ(size_t(tensors), io::GgufFile(out).tensors().size());
  Program again({"export", "--base_model", kGolden + "/families/llama", "--output", out});
  const auto refused = again.wait();
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("--overwrite"), std::string::npos);
}

/// Not while the vocabulary is compared, either.
TEST(Export, StoppedItLeavesNoFile) {
  ScratchFolder model, scratch;
  write_model_with_tokenizer(model);
  const std::string out = scratch.file("out/m.gguf");
  Program program({"export", "--base_model", model.path(), "--output", out});
  ASSERT_TRUE(program.wait_until([&] {
    return fs::exists(out + ".vocabulary.gguf") || fs::exists(out);
  })) << program.wait().err;
  program.send(SIGINT);
  const auto outcome = program.wait();
  const bool stopped = outcome.code == 1;
  EXPECT_TRUE(stopped || outcome.code == 0) << outcome.code << outcome.err;
  EXPECT_EQ(stopped, outcome.err.find("was not written") != std::string::npos) << outcome.err;
  for (const auto& entry : fs::directory_iterator(scratch.file("out"))) {
    EXPECT_TRUE(!stopped && entry.path() == out) << entry.path();
  }
}

}  // namespace
}  // namespace tessera::launch
