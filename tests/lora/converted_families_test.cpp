// GGUF files that llama.cpp's converter made of the tiny models of all families
// (tests/golden/families/make_gguf.py): they are the models of the folders.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "lora/model/families.h"
#include "runtime/io/folder.h"
#include "tests/dense_model.h"
#include "tests/family_golden.h"

namespace tessera::lora {
namespace {

using tessera::testing::alone;
using tessera::testing::DenseModel;
using tessera::testing::FamilyGolden;
using tessera::testing::kFamilyNames;
using tessera::testing::losses_of;

/// What the metadata do not say of a model, and what is read instead: llama.cpp's own rule where it
/// has one. Published models follow it, the tiny ones do not.
struct Lost {
  std::string_view family;
  const char* field;
  const char* read_as;
  bool changes_losses;
  const char* why;
};
constexpr const char* kTextModel = "the file holds the text model alone";
constexpr const char* kClass = "the class has one, and llama.cpp asks the tokenizer";
constexpr const char* kEnds = "the config has a list, and llama.cpp asks the tokenizer";
constexpr const char* kBase = "rope_theta is taken for 10000";
constexpr const char* kScores = "query_pre_attn_scalar is taken for the size of a head";
constexpr const char* kMscale = "mscale is taken for 1";
constexpr const char* kWindows = "llama.cpp has no windows in this architecture";
constexpr const char* kDynamic = "llama.cpp has no dynamic scaling";
constexpr Lost kLost[] = {
    {"gemma", "theta", "10000", true, kBase},
    {"gemma2", "score scale", "0.223606795 0.223606795 0.223606795", true, kScores},
    {"gemma2", "theta", "10000", true, kBase},
    {"gemma3", "architecture", "Gemma3ForCausalLM", false, kTextModel},
    {"gemma3", "prefix", "model.", false, kTextModel},
    {"gemma3", "end tokens", "", false, kEnds},
    {"gemma3", "first token", "-1", false, kClass},
    {"gemma3", "score scale", "0.25 0.25 0.25 0.25 0.25 0.25 0.25", true, kScores},
    {"gemma3_text", "score scale", "0.223606795 0.223606795 0.223606795 0.223606795", true,
     kScores},
    {"gemma3_text", "window", "6 6 6 6", true, "every sixth layer is taken to see everything"},
    {"gemma3_text", "rope of layers", "1 1 1 1", true, "as the windows"},
    {"glm", "end tokens", "", false, kEnds},
    {"glm4", "end tokens", "", false, kEnds},
    {"granite", "dropout", "0", false, "llama.cpp does not train"},
    {"llama", "end tokens", "", false, kEnds},
    {"llama_bias", "end tokens", "", false, kClass},
    {"llama_bias", "first token", "-1", false, kClass},
    {"llama_dynamic", "end tokens", "", false, kClass},
    {"llama_dynamic", "first token", "-1", false, kClass},
    {"llama_dynamic", "scaling", "0", true, kDynamic},
    {"llama_dynamic", "factor", "1", true, kDynamic},
    {"llama_dynamic", "original positions", "8192", true, kDynamic},
    {"llava", "architecture", "LlamaForCausalLM", false, kTextModel},
    {"llava", "prefix", "model.", false, kTextModel},
    {"llava", "end tokens", "", false, kClass},
    {"llava", "first token", "-1", false, kClass},
    {"ministral3", "attention factor", "1.03790998", true, kMscale},
    {"mistral", "architecture", "LlamaForCausalLM", false, "llama.cpp has one name for both"},
    {"mistral", "window", "0 0 0", true, kWindows},
    {"mistral3", "architecture", "Ministral3ForCausalLM", false, kTextModel},
    {"mistral3", "prefix", "model.", false, kTextModel},
    {"mistral3", "end tokens", "", false, kClass},
    {"mistral3", "first token", "-1", false, kClass},
    {"mistral3", "attention factor", "1.03790998", true, kMscale},
    {"qwen2", "window", "0 0 0 0", true, kWindows},
    {"qwen3", "truncate", "1", true, "llama.cpp always truncates"},
    {"smollm3", "rope of layers", "0 0 0 -1", true, "every fourth layer is taken to have no turns"},
};

/// By name; those of layers, of ropes and of their frequencies one after another.
using Fields = std::map<std::string, std::string>;

/// Adds numbers as T holds them; metadata have float32 numbers.
template <class T>
struct FieldsOf {
  Fields fields;

  void add(const char* name, double value) {
    add(name, fmt::format("{:.{}g}", double(T(value)), std::numeric_limits<T>::max_digits10));
  }
  void add(const char* name, const std::string& value) {
    std::string& text = fields[name];
    text += text.empty() ? value : " " + value;
  }
  void add(const LayerSpec& layer) {
    const AttentionSpec& a = layer.attention;
    add("heads", double(a.heads));
    add("kv heads", double(a.kv_heads));
    add("head size", double(a.head_dim));
    add("score scale", a.score_scale);
    add("window", double(a.window));
    add("softcap", a.softcap);
    add("rope of layers", a.rope);
    add("biases", fmt::format("{}{}{}", int(a.qkv_bias), int(a.o_bias), int(layer.mlp.bias)));
    add("fused", fmt::format("{}{}", int(a.fused), int(layer.mlp.fused)));
    add("norms of q and k", double(a.qk_norm));
    add("rows of q and k in pairs", a.interleaved_in_gguf);
    add("width", double(layer.mlp.width));
    add("activation", double(layer.mlp.activation));
    for (const NormName& norm : layer.norms) add("norms", std::string(norm.hf));
    add("residual scale", layer.residual_scale);
  }
  void add(const Rope& rope) {
    const RopeScaling& s = rope.scaling;
    add("dims", double(rope.dims));
    add("theta", rope.theta);
    add("scaling", double(s.kind));
    add("factor", s.factor);
    add("low and high", s.low_freq_factor);
    add("low and high", s.high_freq_factor);
    add("original positions", double(s.original_max_position));
    add("fast and slow", s.beta_fast);
    add("fast and slow", s.beta_slow);
    add("truncate", s.truncate);
    for (const double factor : s.short_factors) add("short factors", factor);
    for (const double factor : s.long_factors) add("long factors", factor);
    add("attention factor", rope.attention_factor);
    add("interleaved", rope.interleaved);
    add("growth of queries", rope.query_growth);
    add("growth of queries", double(rope.query_period));
  }
};

template <class T>
Fields fields_of(const ModelSpec& spec) {
  FieldsOf<T> of;
  of.add("architecture", spec.architecture);
  of.add("prefix", spec.prefix);
  of.add("hidden", double(spec.hidden));
  of.add("vocabulary", double(spec.vocab));
  of.add("positions", double(spec.max_position));
  for (const LayerSpec& layer : spec.layers) of.add(layer);
  for (const Rope& rope : spec.ropes) of.add(rope);
  of.add("epsilon", double(spec.rms_eps));
  of.add("norms plus", double(spec.norm_plus));
  of.add("embedding scale", spec.embedding_scale);
  of.add("rounds it", spec.rounds_embedding_scale);
  of.add("logit scale", spec.logit_scale);
  of.add("logit softcap", spec.logit_softcap);
  of.add("tied head", spec.tied_head);
  of.add("dtype", double(spec.dtype));
  of.add("first token", double(spec.bos_id));
  of.add("end tokens", std::string());
  for (const int32_t id : spec.eos_ids) of.add("end tokens", double(id));
  of.add("dropout", spec.attention_dropout);
  return of.fields;
}

std::string file_of(const std::string& family) {
  return std::string(TESSERA_GOLDEN_DIR) + "/families/" + family + "/model.gguf";
}

class ConvertedFamilies : public ::testing::TestWithParam<const char*> {
 protected:
  std::vector<Lost> lost() const {
    std::vector<Lost> rows;
    for (const Lost& row : kLost) {
      if (row.family == golden_.name) rows.push_back(row);
    }
    return rows;
  }
  /// Whether a file's spec has the very numbers of the folder's, where it has what metadata say.
  bool same_numbers(const ModelSpec& folder, const ModelSpec& file) const {
    Fields of_folder = fields_of<double>(folder), of_file = fields_of<double>(file);
    for (const Lost& row : lost()) of_folder[row.field] = of_file[row.field];
    return of_folder == of_file;
  }

  FamilyGolden golden_{GetParam()};
  std::string file_ = file_of(golden_.name);
};

TEST_P(ConvertedFamilies, HaveTheSpecOfTheFolder) {
  Fields expected = fields_of<float>(Checkpoint::open(golden_.folder).spec());
  std::string all;  // for docs/compatibility.md
  for (const Lost& row : lost()) {
    EXPECT_NE(expected.at(row.field), row.read_as) << row.field << " is not lost: " << row.why;
    expected[row.field] = row.read_as;
    all += fmt::format("{}: {}\n", row.field, row.why);
  }
  EXPECT_EQ(fields_of<float>(Checkpoint::open(file_).spec()), expected);
  RecordProperty("lost", all);
}

TEST_P(ConvertedFamilies, HaveTheValuesOfTheFolder) {
  const Checkpoint folder = Checkpoint::open(golden_.folder), file = Checkpoint::open(file_);
  const std::vector<TensorRow> rows = tensors_of(folder.spec()), of_file = tensors_of(file.spec());
  ASSERT_EQ(rows.size(), of_file.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].gguf, of_file[i].gguf);
    std::vector<float> expected(size_t(folder.info(rows[i].name()).numel()));
    std::vector<float> values(size_t(file.info(of_file[i].name()).numel()));
    folder.read_f32(rows[i].name(), expected);
    file.read_f32(of_file[i].name(), values);
    // The converter rounds a Gemma's norm to float32 after it has added one.
    const float plus = rows[i].gguf_plus;
    if (plus != 0) {
      for (float& value : expected) value = (value + plus) - plus;
    }
    ASSERT_EQ(values.size(), expected.size()) << rows[i].gguf;
    EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0)
        << rows[i].gguf;
  }
}

TEST_P(ConvertedFamilies, HaveTheLossesOfTheFolder) {
  DenseModel folder(golden_.folder), file{Checkpoint::open(file_)};
  const ModelSpec& spec = folder.checkpoint.spec();
  DenseModel told(Checkpoint::open(file_, spec));  // what the metadata do not say
  const std::vector<Batch> batches = alone(golden_.samples);
  const std::vector<float> expected = losses_of(folder, batches);
  const auto expect = [&](DenseModel& model, bool same_bits) {
    const std::vector<float> losses = losses_of(model, batches);
    ASSERT_EQ(losses.size(), expected.size());
    const float bound = same_bits ? 0 : 1e-5f;
    for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], expected[i], bound);
  };
  const bool same_values = spec.norm_plus == 0;
  expect(told, same_values);
  const std::vector<Lost> rows = lost();
  if (std::ranges::any_of(rows, &Lost::changes_losses)) {
    EXPECT_NE(losses_of(file, batches), expected);
  } else {
    expect(file, same_values && same_numbers(spec, file.checkpoint.spec()));
  }
}

std::vector<const char*> converted_names() {
  std::vector<const char*> names;
  for (const char* name : kFamilyNames) {
    if (io::exists(file_of(name))) names.push_back(name);
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(All, ConvertedFamilies, ::testing::ValuesIn(converted_names()),
                         [](const auto& info) { return std::string(info.param); });

/// ministral has none: the converter does not know it.
TEST(ConvertedFamilyFiles, AreThereForFamiliesWithANameInGgufFiles) {
  for (const char* name : kFamilyNames) {
    const std::string path = FamilyGolden(name).folder + "/config.json";
    const nlohmann::json config = io::read_json_file(path, 1 << 20);
    const std::string type = config.value("text_config", config).at("model_type");
    const Family* family = find_family(&Family::model_type, type);
    ASSERT_NE(family, nullptr) << type;
    EXPECT_EQ(io::exists(file_of(name)), !family->gguf.empty()) << name;
  }
}

}  // namespace
}  // namespace tessera::lora
