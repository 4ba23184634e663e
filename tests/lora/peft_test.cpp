// Adapters on disk: files that PEFT wrote are read and written to the byte; others are refused.
#include "lora/adapter/peft.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"
#include "tests/spec.h"

namespace tessera::lora {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The shape of tests/golden/tiny_llama.
ModelSpec tiny_llama(int64_t ffn = 176) {
  return tessera::testing::llama_spec(
      {.hidden = 64,
       .of_layers = {.layers = 2, .ffn = ffn, .heads = 4, .kv_heads = 2, .head_dim = 16}});
}

std::vector<std::string> paths_of(const AdapterSet& adapters) {
  std::vector<std::string> paths;
  for (const TensorRow& linear : adapters.linears()) paths.push_back(linear.module);
  return paths;
}

const std::string kGolden = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama/adapter_in";

std::string text_of(const fs::path& path) { return io::read_file(path.string(), 1 << 24); }

class Peft : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() /
              (std::string("tessera_peft_") + info->name() + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string folder() const { return folder_.string(); }
  fs::path weights() const { return folder_ / kPeftWeightsFile; }
  fs::path config() const { return folder_ / kPeftConfigFile; }

  void copy_golden() {
    fs::create_directories(folder_);
    fs::copy(kGolden, folder_, fs::copy_options::overwrite_existing | fs::copy_options::recursive);
  }
  void write_config(const json& root) {
    io::AtomicFile file(config().string());
    file.write(root.dump());
    file.commit();
  }
  /// The golden adapter with one key of its config set, or left out for a discarded value.
  void set_key(const std::string& key, const json& value) {
    copy_golden();
    json root = json::parse(text_of(config()));
    if (value.is_discarded()) {
      root.erase(key);
    } else {
      root[key] = value;
    }
    write_config(root);
  }
  /// The golden weights, with the entries changed first; values of kept names stay, others are
  /// `fill`.
  template <class Change>
  void rewrite_weights(Change&& change, float fill = 0.0f) {
    copy_golden();
    const io::SafetensorsFile golden(kGolden + "/" + std::string(kPeftWeightsFile));
    std::vector<io::SafetensorsEntry> layout = golden.entries();
    change(layout);
    io::SafetensorsWriter writer(weights().string(), layout);
    for (const auto& entry : writer.entries()) {
      std::vector<std::byte> bytes(entry.bytes);
      const auto* kept = golden.find(entry.name);
      if (kept && kept->bytes == entry.bytes) {
        golden.read(*kept, bytes);
      } else if (entry.dtype == "F32") {
        std::vector<float> values(entry.bytes / 4, fill);
        std::ranges::copy(std::as_bytes(std::span(values)), bytes.begin());
      }
      writer.write(entry.name, bytes);
    }
    writer.commit();
  }
  /// Loading fails, in one line that holds all the words.
  void refused(std::vector<std::string> words, const ModelSpec& model = tiny_llama()) {
    try {
      load_peft(folder(), model);
      ADD_FAILURE() << "accepted; expected an error with " << words.front();
    } catch (const Error& e) {
      const std::string message = e.what();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      for (const std::string& word : words) {
        EXPECT_NE(message.find(word), std::string::npos) << message << "\nlacks: " << word;
      }
    }
  }

 private:
  fs::path folder_;
};

/// make_initial_adapter.py's rule for element i of the t-th tensor in the order of names.
float golden_value(uint64_t t, uint64_t i, double scale) {
  uint64_t h = 1234 + (t << 32) + i + 0x9E3779B97F4A7C15u;
  h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
  h = (h ^ h >> 27) * 0x94D049BB133111EBu;
  h ^= h >> 31;
  return (float(h >> 40) * 0x1p-23f - 1.0f) * float(scale);
}

TEST_F(Peft, ReadsWhatPeftWrote) {
  const AdapterSet adapters = load_peft(kGolden, tiny_llama());
  EXPECT_EQ(adapters.options().r, 16);
  EXPECT_EQ(adapters.options().alpha, 32.0);
  EXPECT_EQ(adapters.options().dropout, 0.0);
  EXPECT_FALSE(adapters.options().rslora);
  EXPECT_EQ(adapters.linears().size(), 2 * size_t{7});
  EXPECT_EQ(read_peft_config(kGolden).base_model, "tiny_llama");
  EXPECT_TRUE(read_peft_config(kGolden).unknown.empty());
  EXPECT_TRUE(read_peft_config(kGolden).unneeded.empty());

  std::vector<const Segment*> sorted;
  for (const Segment& segment : adapters.segments()) sorted.push_back(&segment);
  std::ranges::sort(sorted, {}, &Segment::name);
  ASSERT_EQ(sorted.size(), 28u);
  for (size_t t = 0; t < sorted.size(); ++t) {
    const Segment& segment = *sorted[t];
    const bool is_a = segment.name.find("lora_A") != std::string::npos;
    const double scale = is_a ? 1.0 / std::sqrt(double(segment.cols)) : 0.01;
    for (size_t i = 0; i < segment.elements(); ++i) {
      ASSERT_EQ(adapters.params()[segment.offset + i], golden_value(t, i, scale)) << segment.name;
    }
  }
}

TEST_F(Peft, WritesTheBytesThatPeftWrites) {
  save_peft(folder(), load_peft(kGolden, tiny_llama()), "tiny_llama");
  EXPECT_TRUE(text_of(weights()) == text_of(fs::path(kGolden) / kPeftWeightsFile));
  // Of the config, every key that is written has PEFT's value, in PEFT's order and layout.
  const json theirs = json::parse(text_of(fs::path(kGolden) / kPeftConfigFile));
  const json ours = json::parse(text_of(config()));
  for (const auto& [key, value] : ours.items()) EXPECT_EQ(value, theirs.at(key)) << key;
  EXPECT_EQ(text_of(config()), ours.dump(2));
  EXPECT_NE(text_of(config()).find("\n  \"lora_alpha\": 32,\n  \"lora_dropout\": 0.0,\n"),
            std::string::npos);
  // Nothing else is left behind.
  EXPECT_EQ(std::distance(fs::directory_iterator(folder()), fs::directory_iterator()), 2);
}

TEST_F(Peft, KeepsEveryOption) {
  AdapterSet adapters(
      tiny_llama(),
      {.r = 5,
       .alpha = 7.5,
       .rslora = true,
       .dropout = 0.05,
       .targets = {.modules = {.names = {"v_proj", "model.layers.1.mlp.down_proj"}}}});
  adapters.init(3);
  save_peft(folder(), adapters,
            "some/m\xC3\xB6"
            "del");
  const AdapterSet loaded = load_peft(folder(), tiny_llama());
  EXPECT_EQ(loaded.options().r, 5);
  EXPECT_EQ(loaded.options().alpha, 7.5);
  EXPECT_TRUE(loaded.options().rslora);
  EXPECT_EQ(loaded.options().dropout, 0.05);
  EXPECT_EQ(paths_of(loaded), paths_of(adapters));
  EXPECT_EQ(json::parse(text_of(config())).at("target_modules"),
            (json{"v_proj", "model.layers.1.mlp.down_proj"}));
  EXPECT_TRUE(std::ranges::equal(loaded.params(), adapters.params()));
  EXPECT_EQ(read_peft_config(folder()).base_model,
            "some/m\xC3\xB6"
            "del");
  // Python escapes what is not ASCII.
  EXPECT_NE(text_of(config()).find("m\\u00f6del"), std::string::npos);
}

TEST_F(Peft, ReplacesAnOlderAdapter) {
  copy_golden();
  AdapterSet adapters(tiny_llama(), {.r = 4});
  adapters.init(1);
  save_peft(folder(), adapters, "");
  adapters.params()[0] = 0.5f;
  save_peft(folder(), adapters, "");
  const AdapterSet loaded = load_peft(folder(), tiny_llama());
  EXPECT_EQ(loaded.options().r, 4);
  EXPECT_EQ(loaded.params()[0], 0.5f);
  EXPECT_EQ(read_peft_config(folder()).base_model, "");
}

TEST_F(Peft, AFailedSaveKeepsTheOlderAdapter) {
  AdapterSet adapters(tiny_llama(), {.r = 4});
  adapters.init(1);
  for (std::string_view blocked : {kPeftConfigFile, kPeftWeightsFile}) {
    copy_golden();
    // A folder in the place of the temporary file: it cannot be made.
    fs::create_directory(fs::path(folder()) / (std::string(blocked) + ".tmp"));
    EXPECT_THROW(save_peft(folder(), adapters, ""), Error);
    EXPECT_EQ(load_peft(folder(), tiny_llama()).options().r, 16);
    fs::remove_all(folder());
  }
}

TEST_F(Peft, NeverShowsAConfigBesideForeignWeights) {
  copy_golden();
  fs::remove(weights());
  fs::create_directory(weights());  // the weights cannot be put in place
  AdapterSet adapters(tiny_llama(), {.r = 4});
  EXPECT_THROW(save_peft(folder(), adapters, ""), Error);
  EXPECT_FALSE(fs::exists(config()));
  // Weights of the same config may replace each other beneath it.
  fs::remove(weights());
  save_peft(folder(), adapters, "");
  fs::remove(weights());
  fs::create_directory(weights());
  EXPECT_THROW(save_peft(folder(), adapters, ""), Error);
  EXPECT_TRUE(fs::exists(config()));
}

TEST_F(Peft, DoesNotSaveWhatIsNotFinite) {
  AdapterSet adapters(tiny_llama(), {});
  const Segment& segment = adapters.segments()[3];
  adapters.params()[segment.offset + 5] = std::numeric_limits<float>::infinity();
  try {
    save_peft(folder(), adapters, "");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(segment.name), std::string::npos) << e.what();
  }
  EXPECT_FALSE(fs::exists(folder()));
}

TEST_F(Peft, WidensSixteenBits) {
  for (const char* dtype : {"F16", "BF16"}) {
    rewrite_weights([&](auto& layout) {
      for (auto& entry : layout) entry.dtype = dtype;
    });
    // Rewritten as zeros, except for one tensor with known bits.
    const std::string name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
    const io::SafetensorsFile zeros(weights().string());
    const auto layout = zeros.entries();
    io::SafetensorsWriter writer(weights().string(), layout);
    const uint16_t bits = dtype[0] == 'F' ? 0xC100 : 0xC020;  // -2.5
    for (const auto& entry : writer.entries()) {
      std::vector<uint16_t> halves(entry.bytes / 2, entry.name == name ? bits : 0);
      writer.write(entry.name, std::as_bytes(std::span(halves)));
    }
    writer.commit();
    const AdapterSet adapters = load_peft(folder(), tiny_llama());
    for (float x : adapters.find(1, Site::kUp)->b.span<float>()) ASSERT_EQ(x, -2.5f);
    for (float x : adapters.find(1, Site::kUp)->a.span<float>()) ASSERT_EQ(x, 0.0f);
  }
}

TEST_F(Peft, ReadsTargetsInEverySpelling) {
  const json golden = json::parse(text_of(fs::path(kGolden) / kPeftConfigFile));
  std::vector<std::string> reversed = golden.at("target_modules");
  std::ranges::reverse(reversed);
  const AdapterSet expected = load_peft(kGolden, tiny_llama());
  const std::vector<std::string> paths = paths_of(expected);
  const std::vector<json> spellings = {"all-linear", reversed, paths,
                                       R"(.*\.(q|k|v|o|gate|up|down)_proj$)",
                                       R"(model\.layers\.[01]\..*_proj)"};
  for (const json& targets : spellings) {
    SCOPED_TRACE(targets.dump());
    set_key("target_modules", targets);
    const AdapterSet adapters = load_peft(folder(), tiny_llama());
    EXPECT_EQ(paths_of(adapters), paths_of(expected));
    EXPECT_TRUE(std::ranges::equal(adapters.params(), expected.params()));
  }
}

TEST_F(Peft, NarrowedTargetsAskForTheirTensorsOnly) {
  const std::string layer = "base_model.model.model.layers.1.";
  const auto first_layer_only = [&] {
    rewrite_weights([&](auto& layout) {
      std::erase_if(layout, [&](const auto& e) { return e.name.starts_with(layer); });
    });
  };
  first_layer_only();
  refused({"missing", layer + "self_attn.q_proj.lora_A.weight"});
  const std::vector<std::pair<const char*, json>> narrowings = {
      {"layers_to_transform", 0},
      {"layers_to_transform", json::array({0})},
      {"exclude_modules", R"(model\.layers\.1\..*)"}};
  for (const auto& [key, value] : narrowings) {
    SCOPED_TRACE(key);
    set_key(key, value);
    const json root = json::parse(text_of(config()));
    first_layer_only();
    write_config(root);
    EXPECT_EQ(load_peft(folder(), tiny_llama()).linears().size(), 7u);
  }
}

TEST_F(Peft, TellsOfKeysThatItDoesNotUse) {
  set_key("a_later_invention", {{"strength", 3}});
  EXPECT_EQ(read_peft_config(folder()).unknown, std::vector<std::string>{"a_later_invention"});
  set_key("a_later_invention", nullptr);
  EXPECT_TRUE(read_peft_config(folder()).unknown.empty());
  for (const char* key :
       {"corda_config", "eva_config", "loftq_config", "lora_ga_config", "velora_config"}) {
    set_key(key, true);
    EXPECT_EQ(read_peft_config(folder()).unneeded, std::vector<std::string>{key});
    set_key(key, false);
    EXPECT_TRUE(read_peft_config(folder()).unneeded.empty()) << key;
  }
  set_key("qalora_group_size", 32);
  EXPECT_EQ(read_peft_config(folder()).unneeded, std::vector<std::string>{"qalora_group_size"});
  const std::vector<std::pair<const char*, json>> usual_values = {
      {"qalora_group_size", 16},
      {"megatron_core", "megatron.core"},
      {"peft_version", "0.99.0"},
      {"auto_mapping", {{"base_model_class", "LlamaForCausalLM"}}},
      {"revision", "main"}};
  for (const auto& [key, usual] : usual_values) {
    set_key(key, usual);
    const PeftConfig config = read_peft_config(folder());
    EXPECT_TRUE(config.unneeded.empty() && config.unknown.empty()) << key;
  }
}

TEST_F(Peft, RefusesOtherMethodsByName) {
  const std::vector<std::pair<std::string, json>> settings = {
      {"peft_type", "LOHA"},
      {"peft_type", 3},
      {"task_type", "SEQ_CLS"},
      {"bias", "all"},
      {"bias", "lora_only"},
      {"use_dora", true},
      {"use_dora", 1},
      {"use_qalora", true},
      {"lora_bias", true},
      {"fan_in_fan_out", true},
      {"modules_to_save", "lm_head"},
      {"modules_to_save", {"norm"}},
      {"modules_to_save", {"lm_head", 3}},
      {"ensure_weight_tying", "yes"},
      {"rank_pattern", {{"q_proj", 0}}},
      {"rank_pattern", {{"q_proj", 4.5}}},
      {"rank_pattern", {{"(q_proj", 4}}},
      {"rank_pattern", {"q_proj"}},
      {"alpha_pattern", {{"q_proj", 0}}},
      {"alpha_pattern", {{"q_proj", "4"}}},
      {"alpha_pattern", 4},
      {"layers_to_transform", -1},
      {"layers_to_transform", true},
      {"layers_to_transform", {0, "1"}},
      {"exclude_modules", 7},
      {"exclude_modules", {1}},
      {"exclude_modules", "("},
      {"layers_pattern", "layers"},
      {"layer_replication", {{0, 1}}},
      {"trainable_token_indices", 3},
      {"trainable_token_indices", "3"},
      {"trainable_token_indices", {1, "2"}},
      {"trainable_token_indices", {1, -2}},
      {"trainable_token_indices", {1, 2.5}},
      {"trainable_token_indices", {1, 1}},
      {"trainable_token_indices", {1 << 30}},
      {"trainable_token_indices", {{"lm_head", {1}}}},
      {"trainable_token_indices", {{"embed_tokens", {1}}, {"lm_head", {1}}}},
      {"trainable_token_indices", {{"embed_tokens", {1}}, {"model.embed_tokens", {2}}}},
      {"trainable_token_indices", {{"embed_tokens", 1}}},
      {"target_parameters", {"experts"}},
      {"init_lora_weights", "pissa_niter_4"},
      {"init_lora_weights", "loftq"},
      {"target_modules", {"q_proj", "lm_head"}},
      {"target_modules", {"q_proj", 3}},
      {"target_modules", ".*_porj"},
      {"target_modules", {"q_proj", "v_porj"}},
      {"target_modules", "(q_proj"},
      {"target_modules", ""},
      {"target_modules", json::array()},
      {"r", 0},
      {"r", -1},
      {"r", "16"},
      {"r", 16.5},
      {"r", uint64_t(1) << 63},
      {"lora_alpha", nullptr},
      {"lora_alpha", 0},
      {"lora_dropout", 1.0},
      {"lora_dropout", "0.1"},
      {"use_rslora", "yes"},
      {"base_model_name_or_path", 3}};
  for (const auto& [key, value] : settings) {
    SCOPED_TRACE(key + " = " + value.dump());
    set_key(key, value);
    refused({std::string(kPeftConfigFile), key});
  }
  for (const char* key : {"peft_type", "r", "lora_alpha", "target_modules"}) {
    set_key(key, json(json::value_t::discarded));
    refused({std::string(kPeftConfigFile), key, "missing"});
  }
}

TEST_F(Peft, NamesEveryTensorThatDoesNotBelong) {
  const std::string layer = "base_model.model.model.layers.";
  rewrite_weights([&](auto& layout) {
    std::erase_if(layout, [&](const auto& e) {
      return e.name == layer + "0.mlp.up_proj.lora_A.weight" ||
             e.name == layer + "1.self_attn.q_proj.lora_B.weight";
    });
  });
  refused({"missing", "0.mlp.up_proj.lora_A.weight", "1.self_attn.q_proj.lora_B.weight"});

  rewrite_weights([&](auto& layout) {
    layout.push_back({.name = "base_model.model.lm_head.weight", .dtype = "F32", .shape = {4}});
    layout.push_back(
        {.name = layer + "0.mlp.up_proj.lora_magnitude_vector", .dtype = "F32", .shape = {4}});
  });
  refused({"not part of the adapter", "lm_head.weight", "lora_magnitude_vector"});

  // A wrong prefix, which PEFT meets with an untuned model.
  rewrite_weights([&](auto& layout) {
    for (auto& entry : layout) entry.name = entry.name.substr(std::string("base_model.").size());
  });
  refused({"missing", layer + "0.self_attn.q_proj.lora_A.weight", "and 20 more",
           "model.model.layers.0.mlp.down_proj.lora_A.weight"});

  rewrite_weights([&](auto& layout) {
    layout.push_back(
        {.name = layer + "30.mlp.up_proj.lora_A.weight", .dtype = "F32", .shape = {16, 64}});
  });
  refused({"layer 30", "2 layers"});
}

TEST_F(Peft, RefusesWrongShapesDtypesAndValues) {
  copy_golden();
  const ModelSpec wider = tiny_llama(192);
  refused({"lora_", "176", "192"}, wider);
  set_key("r", 8);
  refused({"[16, 176]", "[8, 176]"});

  const std::string name = "base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight";
  const auto change = [&](auto&& edit) {
    rewrite_weights(
        [&](auto& layout) { edit(*std::ranges::find(layout, name, &io::SafetensorsEntry::name)); },
        std::numeric_limits<float>::quiet_NaN());
  };
  change([](auto& entry) { entry.shape = {16, 32}; });
  refused({name, "[16, 32]", "[32, 16]"});
  change([](auto& entry) { entry.dtype = "F64"; });
  refused({name, "F64"});

  // One value of a good file.
  copy_golden();
  const io::SafetensorsFile golden(weights().string());
  std::string bytes = text_of(weights());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::copy_n(reinterpret_cast<const char*>(&nan), 4,
              bytes.begin() + std::ptrdiff_t(golden.find(name)->offset + 12));
  io::AtomicFile file(weights().string());
  file.write(bytes);
  file.commit();
  refused({name, "nan", "element 3"});
}

TEST_F(Peft, RefusesFoldersThatHoldNoAdapter) {
  refused({folder(), std::string(kPeftConfigFile)});
  copy_golden();
  fs::remove(weights());
  refused({folder(), std::string(kPeftWeightsFile)});
  {
    io::AtomicFile pickle(folder() + "/adapter_model.bin");
    pickle.write("PK\x03\x04");
    pickle.commit();
  }
  refused({"adapter_model.bin", "pickle", "safetensors"});
  write_config(json::array());
  refused({std::string(kPeftConfigFile), "object"});
}

TEST_F(Peft, SaysWhatIsWrongWithAnotherModelsAdapter) {
  const fs::path real = fs::path(TESSERA_SHARED_DIR) / "adapters/opt-125m-dpo-lora";
  if (!fs::exists(real)) GTEST_SKIP() << "no shared data at " << TESSERA_SHARED_DIR;
  // PEFT 0.18 wrote it: its config is understood, its tensors are another architecture's.
  const PeftConfig config = read_peft_config(real.string());
  EXPECT_EQ(config.options.r, 16);
  EXPECT_EQ(config.options.dropout, 0.05);
  EXPECT_EQ(config.options.targets.modules.names, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(config.base_model, "facebook/opt-125m");
  EXPECT_TRUE(config.unknown.empty() && config.unneeded.empty());
  fs::copy(real, folder());
  refused({"missing", "base_model.model.model.decoder.layers.0.self_attn.q_proj.lora_A.weight"});
}

}  // namespace
}  // namespace tessera::lora
