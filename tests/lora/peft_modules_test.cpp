// Adapters whose modules differ in rank and alpha, that hold whole matrices, or that come from a
// model with more than text: as PEFT writes and reads them.
#include <gtest/gtest.h>

#include <algorithm>

#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/model_folder.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

const std::string kGoldens = TESSERA_GOLDEN_DIR;
/// Written by PEFT (tests/golden/modules_to_save).
const std::string kGolden = kGoldens + "/modules_to_save/adapter";
const std::string kWeights(kPeftWeightsFile);

ModelSpec golden_spec() { return Checkpoint::open(kGoldens + "/families/llama").spec(); }

ModelSpec small_spec(bool tied, const char* prefix = "model.") {
  ModelSpec spec = testing::llama_spec({.vocab = 40});
  spec.tied_head = tied;
  spec.prefix = prefix;
  return spec;
}

/// An adapter of a rank for each of its modules, and every value its own.
AdapterSet made_adapter(const ModelSpec& spec, AdapterOptions options) {
  AdapterSet adapters(spec, std::move(options));
  for (const Segment& segment : adapters.segments()) {
    for (size_t i = 0; i < segment.elements(); ++i) {
      const size_t at = segment.offset + i;
      adapters.params()[at] = float(at) * 0x1p-12f;
    }
  }
  return adapters;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const io::SafetensorsFile file(folder + "/" + kWeights);
  for (const io::SafetensorsEntry& entry : file.entries()) names.push_back(entry.name);
  return names;
}

/// The file again, with `rename` applied to every name.
template <class Rename>
void rewrite(const std::string& from, const std::string& to, Rename rename) {
  const io::SafetensorsFile file(from);
  std::vector<io::SafetensorsEntry> layout = file.entries();
  for (io::SafetensorsEntry& entry : layout) entry.name = rename(entry.name);
  io::SafetensorsWriter writer(to, layout);
  std::vector<std::byte> bytes;
  for (const io::SafetensorsEntry& entry : writer.entries()) {
    const auto same = std::ranges::find_if(
        file.entries(), [&](const auto& old) { return rename(old.name) == entry.name; });
    bytes.resize(entry.bytes);
    file.read(*same, bytes);
    writer.write(entry.name, bytes);
  }
  writer.commit();
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(PeftModules, ReadsAndWritesThoseOfPeft) {
  const AdapterSet adapters = load_peft(kGolden, golden_spec());
  EXPECT_EQ(adapters.find(0, Site::kQ)->a.rows(), 6);
  EXPECT_EQ(adapters.find(1, Site::kQ)->a.rows(), 2);
  EXPECT_EQ(adapters.find(1, Site::kUp)->a.rows(), 2);
  EXPECT_EQ(adapters.find(2, Site::kDown)->a.rows(), 3);
  EXPECT_EQ(adapters.find(2, Site::kK)->a.rows(), 4);
  EXPECT_EQ(adapters.find(1, Site::kUp)->scale, 2.5f);
  EXPECT_EQ(adapters.find(2, Site::kUp)->scale, 4.0f);
  EXPECT_EQ(adapters.find(2, Site::kO)->scale, 0.625f);
  ASSERT_TRUE(adapters.whole(Role::kEmbedding) && adapters.whole(Role::kHead));
  // It was written before the first step.
  std::vector<float> base(size_t(adapters.whole(Role::kHead)->w.numel()));
  Checkpoint::open(kGoldens + "/families/llama").read_f32("lm_head.weight", base);
  EXPECT_TRUE(std::ranges::equal(base, adapters.whole(Role::kHead)->w.span<float>()));

  const ScratchFolder folder;
  save_peft(folder.path(), adapters, "llama");
  EXPECT_TRUE(bytes_of_file(folder.file(kWeights)) == bytes_of_file(kGolden + "/" + kWeights));
  const json config = io::read_json_file(folder.file("adapter_config.json"), 1 << 20);
  EXPECT_EQ(config.at("modules_to_save"), (json{"embed_tokens", "lm_head"}));
  EXPECT_FALSE(config.contains("ensure_weight_tying"));
  EXPECT_EQ(config.at("rank_pattern").at("up_proj"), 2);
  EXPECT_EQ(config.at("rank_pattern").at("model.layers.0.self_attn.q_proj"), 6);
  EXPECT_EQ(config.at("alpha_pattern").at("o_proj"), 2.5);
  const AdapterSet again = load_peft(folder.path(), golden_spec());
  EXPECT_EQ(again.parts().sizes, adapters.parts().sizes);
  EXPECT_TRUE(std::ranges::equal(again.params(), adapters.params()));
}

TEST(PeftModules, ReadsAndWritesRowsOfTokensOfPeft) {
  const std::string golden = kGoldens + "/modules_to_save/adapter_tokens";
  const Checkpoint base = Checkpoint::open(kGoldens + "/families/ministral3");
  const AdapterSet adapters = load_peft(golden, base.spec());
  ASSERT_NE(adapters.token_rows(), nullptr);
  const TokenRows& rows = *adapters.token_rows();
  EXPECT_EQ(rows.ids, (std::vector<int32_t>{150, 117, 27, 14, 11}));
  // It was written before the first step.
  AdapterSet first(base.spec(), adapters.options());
  first.copy_whole(base);
  EXPECT_TRUE(std::ranges::equal(rows.w.span<float>(), first.token_rows()->w.span<float>()));

  const ScratchFolder folder;
  save_peft(folder.path(), adapters, "ministral3");
  EXPECT_TRUE(bytes_of_file(folder.file(kWeights)) == bytes_of_file(golden + "/" + kWeights));
  json config = io::read_json_file(folder.file("adapter_config.json"), 1 << 20);
  EXPECT_EQ(config.at("trainable_token_indices"), json(rows.ids));
  // PEFT takes them under the embedding's name, too, and keeps that form.
  for (const char* module : {"embed_tokens", "model.embed_tokens"}) {
    config["trainable_token_indices"] = {{module, rows.ids}};
    folder.write("adapter_config.json", config.dump());
    const AdapterSet again = load_peft(folder.path(), base.spec());
    EXPECT_TRUE(std::ranges::equal(again.params(), adapters.params()));
    EXPECT_EQ(again.token_rows()->ids, rows.ids);
  }
  config["trainable_token_indices"] = {3, 4};
  folder.write("adapter_config.json", config.dump());
  expect_error([&] { load_peft(folder.path(), base.spec()); },
               "embed_tokens.token_adapter.trainable_tokens_delta", "[5, 64]", "[2, 64]");
  config["trainable_token_indices"] = nullptr;
  folder.write("adapter_config.json", config.dump());
  expect_error([&] { load_peft(folder.path(), base.spec()); }, "not part of the adapter",
               "embed_tokens.token_adapter.trainable_tokens_delta");
}

TEST(PeftModules, RowsOfTokensOfAModelWithMoreThanTextAreRead) {
  const ScratchFolder own, other;
  const std::string prefix = "model.language_model.", words = "language_model.model.";
  const ModelSpec spec = small_spec(true, prefix.c_str());
  const AdapterSet adapters = made_adapter(spec, {.r = 2, .tokens = {{9, 3}}});
  save_peft(own.path(), adapters, "");
  const std::string end = "embed_tokens.token_adapter.trainable_tokens_delta";
  EXPECT_EQ(std::ranges::count(names_in(own.path()), "base_model.model." + prefix + end), 1);
  rewrite(own.file(kWeights), other.file(kWeights),
          [&](const std::string& name) { return replaced(name, prefix, words); });
  json config = io::read_json_file(own.file("adapter_config.json"), 1 << 20);
  config["target_modules"] = "all-linear";
  other.write("adapter_config.json", config.dump());
  const AdapterSet again = load_peft(other.path(), spec);
  EXPECT_TRUE(std::ranges::equal(again.params(), adapters.params()));
  EXPECT_EQ(again.segments().back().name, prefix + end);
}

/// PEFT tries the keys of a pattern in the order of the file.
TEST(PeftModules, ThePatternsOrderIsThatOfTheFile) {
  const ScratchFolder folder;
  const auto rank_of_q = [&](const std::string& pattern) {
    folder.write("adapter_config.json",
                 R"({"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"],)"
                 R"("rank_pattern": )" +
                     pattern + "}");
    const AdapterOptions options = read_peft_config(folder.path()).options;
    return trained_parts(options, small_spec(false)).sizes.front().r;
  };
  EXPECT_EQ(rank_of_q(R"({"q_proj": 2, ".*": 3})"), 2);
  EXPECT_EQ(rank_of_q(R"({".*": 3, "q_proj": 2})"), 3);
  EXPECT_EQ(rank_of_q(R"({"nothing": 3})"), 8);
  EXPECT_EQ(rank_of_q("null"), 8);
}

TEST(PeftModules, OneMatrixForEmbeddingAndHeadIsStoredTwice) {
  const ScratchFolder folder;
  const AdapterSet adapters = made_adapter(
      small_spec(true), {.r = 2, .targets = {.whole = {"lm_head"}, .ensure_tying = true}});
  save_peft(folder.path(), adapters, "");
  const std::vector<std::string> names = names_in(folder.path());
  const std::string head = "base_model.model.lm_head.weight";
  EXPECT_EQ(std::ranges::count(names, head), 1);
  EXPECT_EQ(std::ranges::count(names, "base_model.model.model.embed_tokens.weight"), 1);
  const json config = io::read_json_file(folder.file("adapter_config.json"), 1 << 20);
  EXPECT_EQ(config.at("ensure_weight_tying"), true);
  EXPECT_EQ(config.at("modules_to_save"), json::array({"embed_tokens"}));
  const AdapterSet again = load_peft(folder.path(), small_spec(true));
  EXPECT_TRUE(again.ties_head());
  EXPECT_TRUE(std::ranges::equal(again.params(), adapters.params()));
  // For a model whose head has its own weights, as PEFT takes it, the head is missing from the
  // list.
  expect_error([&] { load_peft(folder.path(), small_spec(false)); }, "not part of the adapter",
               head);
  // The two must be one.
  std::string bytes = bytes_of_file(folder.file(kWeights));
  const io::SafetensorsFile file(folder.file(kWeights));
  bytes[file.find(head)->offset] ^= 1;
  folder.write(kWeights, bytes);
  expect_error([&] { load_peft(folder.path(), small_spec(true)); }, head, "ensure_weight_tying");
}

TEST(PeftModules, UntiedHalvesOfATiedModelAreReadAndWritten) {
  for (const char* module : {"lm_head", "embed_tokens"}) {
    const ScratchFolder folder;
    const AdapterSet adapters =
        made_adapter(small_spec(true), {.r = 2, .targets = {.whole = {module}}});
    save_peft(folder.path(), adapters, "");
    const AdapterSet again = load_peft(folder.path(), small_spec(true));
    EXPECT_FALSE(again.ties_head());
    ASSERT_EQ(again.parts().whole.size(), 1u);
    EXPECT_EQ(again.parts().whole.front().own_name(), module);
    EXPECT_TRUE(std::ranges::equal(again.params(), adapters.params()));
  }
}

/// transformers 5, transformers 4 and the text model alone have other words before the layers.
TEST(PeftModules, NamesOfAModelWithMoreThanTextAreRead) {
  const ScratchFolder own, other;
  const std::string prefix = "model.language_model.";
  const ModelSpec spec = small_spec(false, prefix.c_str());
  const AdapterSet adapters =
      made_adapter(spec, {.r = 2,
                          .targets = {.modules = {.names = {"q_proj", "down_proj"}},
                                      .whole = {"embed_tokens", "lm_head"}},
                          .ranks = {{{"layers.1.mlp.down_proj", 3}}}});
  save_peft(own.path(), adapters, "");
  const std::string config = bytes_of_file(own.file("adapter_config.json"));
  EXPECT_EQ(std::ranges::count(names_in(own.path()),
                               "base_model.model.model.language_model.embed_tokens.weight"),
            1);
  // Other parts of the model have modules of these names, too.
  EXPECT_NE(config.find("\"model.language_model.layers.0.self_attn.q_proj\""), std::string::npos);
  EXPECT_EQ(config.find("\"q_proj\""), std::string::npos);

  for (const auto& [words, head] : std::vector<std::pair<std::string, std::string>>{
           {prefix, "lm_head."},
           {"language_model.model.", "language_model.lm_head."},
           {"model.", "lm_head."}}) {
    SCOPED_TRACE(words);
    rewrite(own.file(kWeights), other.file(kWeights), [&](const std::string& name) {
      const std::string peft = "base_model.model.";
      if (name.starts_with(peft + prefix)) return replaced(name, prefix, words);
      return replaced(name, "lm_head.", head);
    });
    std::string there = config;
    for (std::string next; (next = replaced(there, "\"" + prefix, "\"" + words)) != there;) {
      there = next;
    }
    other.write("adapter_config.json", there);
    for (const ModelSpec& model : {spec, small_spec(false)}) {
      const AdapterSet again = load_peft(other.path(), model);
      EXPECT_TRUE(std::ranges::equal(again.params(), adapters.params()));
      EXPECT_EQ(again.parts().sizes, adapters.parts().sizes);
      EXPECT_EQ(again.segments().front().name,
                model.prefix + "layers.0.self_attn.q_proj.lora_A.weight");
    }
  }
}

/// PEFT adapts every module of a name, in a vision tower, too.
TEST(PeftModules, AdaptersBesideTheTextModelMayAddNothing) {
  const ScratchFolder own, other;
  const ModelSpec spec = small_spec(false, "model.language_model.");
  const AdapterSet adapters =
      made_adapter(spec, {.r = 2, .targets = {.modules = {.names = {"q_proj"}}}});
  save_peft(own.path(), adapters, "");
  json config = io::read_json_file(own.file("adapter_config.json"), 1 << 20);
  config["target_modules"] = {"q_proj", "fc1"};
  other.write("adapter_config.json", config.dump());
  const io::SafetensorsFile file(own.file(kWeights));
  const std::string vision = "base_model.model.model.vision_tower.layers.0.q_proj.";
  const auto load_with = [&](const std::string& name, float value) {
    std::vector<io::SafetensorsEntry> layout = file.entries();
    layout.push_back({.name = vision + "lora_A.weight", .dtype = "F32", .shape = {2, 3}});
    layout.push_back({.name = vision + name, .dtype = "F32", .shape = {3, 2}});
    io::SafetensorsWriter writer(other.file(kWeights), layout);
    for (const io::SafetensorsEntry& entry : writer.entries()) {
      std::vector<float> values(entry.bytes / sizeof(float));
      values.back() = entry.name == vision + name ? value : 1.0f;
      if (const auto* old = file.find(entry.name)) {
        file.read(*old, std::as_writable_bytes(std::span(values)));
      }
      writer.write(entry.name, std::as_bytes(std::span(values)));
    }
    writer.commit();
    return load_peft(other.path(), spec);
  };
  EXPECT_TRUE(std::ranges::equal(load_with("lora_B.weight", 0).params(), adapters.params()));
  expect_error([&] { load_with("lora_B.weight", 1); }, "not part of the adapter",
               vision + "lora_B.weight");
  expect_error([&] { load_with("lora_magnitude_vector", 0); }, "not part of the adapter");
  config["target_modules"] = {"fc2", "fc1"};
  other.write("adapter_config.json", config.dump());
  expect_error([&] { load_with("lora_B.weight", 0); }, "nothing is left to adapt");
}

}  // namespace
}  // namespace tessera::lora
