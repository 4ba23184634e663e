// Which linears target_modules select: what PEFT adapts for the same config, and what is refused.
#include "lora/adapter/targets.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using tessera::testing::error_of;
using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

ModelSpec model_of(int64_t layers) {
  return testing::llama_spec(
      {.hidden = 16,
       .of_layers = {.layers = layers, .ffn = 32, .heads = 2, .kv_heads = 1, .head_dim = 8}});
}

std::vector<std::string> paths_of(const std::vector<TensorRow>& linears) {
  std::vector<std::string> paths;
  for (const TensorRow& linear : linears) paths.push_back(linear.module);
  return paths;
}

std::vector<TensorRow> select(ModuleList modules, int64_t layers = 12) {
  return select_linears({.modules = std::move(modules)}, model_of(layers));
}

TEST(Targets, AreThoseThatPeftAdapts) {
  const json golden =
      io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/targets/golden.json", 1 << 20);
  const int64_t layers = golden.at("layers");
  const ScratchFolder folder;
  size_t refused = 0;
  for (const json& item : golden.at("cases")) {
    json config = item.at("config");
    SCOPED_TRACE(config.dump());
    config.update({{"peft_type", "LORA"}, {"r", 8}, {"lora_alpha", 8}});
    folder.write("adapter_config.json", config.dump());
    const auto read = [&] {
      return select_linears(read_peft_config(folder.path()).options.targets, model_of(layers));
    };
    if (item.at("modules").is_null()) {
      expect_error(read, "adapter_config.json", "");
      ++refused;
      continue;
    }
    const std::vector<TensorRow> linears = read();
    EXPECT_TRUE(std::ranges::is_sorted(linears, {}, &TensorRow::id));
    EXPECT_EQ(paths_of(linears), item.at("modules").get<std::vector<std::string>>());
    // The names that are written select the same.
    const std::vector<std::string> names = names_of(linears, layers);
    EXPECT_EQ(paths_of(select({.names = names})), paths_of(linears));
  }
  EXPECT_EQ(refused, 20u);
}

/// The config of a golden's case, with its keys in their order.
PeftConfig config_of(const nlohmann::ordered_json& keys, const ScratchFolder& folder) {
  nlohmann::ordered_json config = keys;
  config["peft_type"] = "LORA";
  folder.write("adapter_config.json", config.dump());
  return read_peft_config(folder.path());
}

TEST(Targets, RanksAndScalesAreThoseOfPeft) {
  const auto golden = nlohmann::ordered_json::parse(
      io::read_file(std::string(TESSERA_GOLDEN_DIR) + "/targets/patterns.json", 1 << 20));
  const int64_t layers = golden.at("layers");
  const ScratchFolder folder;
  for (const auto& item : golden.at("cases")) {
    SCOPED_TRACE(item.at("config").dump());
    const AdapterOptions options = config_of(item.at("config"), folder).options;
    const TrainedParts parts = trained_parts(options, model_of(layers));
    const auto& expected = item.at("adapters");
    ASSERT_EQ(parts.linears.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(parts.linears[i].module, expected[i][0].get<std::string>());
      EXPECT_EQ(parts.sizes[i].r, expected[i][1].get<int64_t>()) << parts.linears[i].module;
      EXPECT_EQ(adapter_scale(parts.sizes[i], options.rslora), expected[i][2].get<float>());
    }
  }
}

TEST(Targets, AllLinearIsThatOfPeftInEveryFamily) {
  const std::string goldens = TESSERA_GOLDEN_DIR;
  const json golden = io::read_json_file(goldens + "/targets/patterns.json", 1 << 20);
  for (const auto& [family, modules] : golden.at("all_linear").items()) {
    const ModelSpec spec = Checkpoint::open(goldens + "/families/" + family).spec();
    std::vector<std::string> ours = paths_of(select_linears({}, spec));
    auto theirs = modules.get<std::vector<std::string>>();
    std::ranges::sort(ours);
    std::ranges::sort(theirs);
    EXPECT_EQ(ours, theirs) << family;
  }
}

TEST(Targets, EveryKeyOfASettingMustGiveSomethingItsValue) {
  const std::vector<TensorRow> linears = select({.names = {"q_proj", "up_proj"}}, 2);
  const auto first = [&](std::vector<std::string> keys, std::string_view said_in) {
    return first_matches(keys, linears, said_in);
  };
  EXPECT_EQ(first({"up_proj", "nothing"}, ""), (std::vector{-1, 0, -1, 0}));
  EXPECT_EQ(first({"layers.1.mlp.up_proj", ".*"}, "lora_rank_pattern"), (std::vector{1, 1, 1, 0}));
  expect_error(
      [&] {
        first({"q_proj", "v_proj"}, "lora_rank_pattern");
      },
      "lora_rank_pattern: 'v_proj' gives no module its value", "(q_proj, up_proj)");
  expect_error([&] { first({".*", "q_proj"}, "lora_rank_pattern"); }, "'q_proj' gives no module");
  expect_error([&] { first({"(q"}, "lora_rank_pattern"); }, "the regular expression '(q'");
  expect_error([&] { first({"q_proj)|(up"}, "lora_rank_pattern"); }, "the regular expression");
}

TEST(Targets, WhatIsTrainedInFullIsNoTarget) {
  const auto selected = [](TargetModules targets) {
    return paths_of(select_linears(targets, model_of(1)));
  };
  const std::vector<std::string> q = {"model.layers.0.self_attn.q_proj"};
  EXPECT_EQ(selected({.modules = {.names = {"q_proj", "lm_head"}}, .whole = {"lm_head"}}), q);
  EXPECT_EQ(selected({.modules = {.pattern = ".*q_proj|.*embed.*|lm_head"},
                      .whole = {"lm_head", "model.embed_tokens"}}),
            q);
}

TEST(Targets, NamesArePathsInAModelWithMoreThanText) {
  ModelSpec spec = model_of(1);
  spec.prefix = "model.language_model.";
  const std::vector<TensorRow> linears =
      select_linears({.modules = {.names = {"q_proj", "mlp.up_proj"}}}, spec);
  EXPECT_EQ(names_of(linears, 1),
            (std::vector<std::string>{"model.language_model.layers.0.self_attn.q_proj",
                                      "model.language_model.layers.0.mlp.up_proj"}));
}

TEST(Targets, NamesAreShortWhereAllLayersHaveTheModule) {
  std::vector<TensorRow> linears = select({.names = {"q_proj", "v_proj", "down_proj"}}, 2);
  std::erase_if(linears, [](const TensorRow& row) { return row.id() == LinearId{1, Site::kV}; });
  EXPECT_EQ(names_of(linears, 2),
            (std::vector<std::string>{"q_proj", "down_proj", "model.layers.0.self_attn.v_proj"}));
  EXPECT_EQ(names_of(select({}), 12).size(), 7u);
}

/// PEFT leaves these out in silence, or adapts what this version cannot.
TEST(Targets, EveryNameMustSelectSomething) {
  const std::string places =
      "adapters can sit on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or "
      "all-linear for all of them";
  EXPECT_EQ(
      error_of([&] {
        select({.names = {"q_proj", "v_porj"}});
      }),
      "lora_target_modules: 'v_porj' names no module of the model (did you mean 'v_proj'?); " +
          places);
  EXPECT_EQ(error_of([&] {
              select({.names = {"W_pack", "q_proj"}});
            }),
            "lora_target_modules: 'W_pack' names no module of the model; " + places);
  EXPECT_EQ(
      error_of([&] {
        select({.names = {"q_proj", "lm_head"}});
      }),
      "lora_target_modules: 'lm_head' selects lm_head, which this version cannot adapt; " + places);
  expect_error(
      [&] {
        select({.names = {"q_proj", "embed_tokens"}});
      },
      "selects model.embed_tokens, which this version cannot adapt");
  expect_error(
      [&] {
        select({.names = {"model.layers.12.self_attn.q_proj", "v_proj"}});
      },
      "'model.layers.12.self_attn.q_proj' names no module",
      "did you mean 'model.layers.1.self_attn.q_proj'");
  expect_error([&] { select({.names = {"self_atn.q_proj"}}); }, "'self_attn.q_proj'?");
  expect_error([&] { select({.pattern = "q_proj,v_proj"}); },
               "the regular expression 'q_proj,v_proj' matches no module",
               "model.layers.0.self_attn.q_proj", "[q_proj, v_proj]", places);
  expect_error([&] { select({.pattern = ".*(q_proj|lm_head)"}); }, "selects lm_head", places);
}

TEST(Targets, RegularExpressionsAreBounded) {
  EXPECT_EQ(pattern_fault(".*q_proj"), "");
  EXPECT_EQ(pattern_fault("(q_proj"), "missing closing parenthesis at character 8");
  EXPECT_NE(pattern_fault("(?a)q"), "");
  EXPECT_NE(pattern_fault("\xff"), "");
  EXPECT_EQ(pattern_fault("q{,2}"), "write {0,n} for {,n}");  // Python's alone
  expect_error([&] { select({.pattern = "[q"}); }, "'[q'", "missing terminating ]");
  // It would go on for years.
  expect_error([&] { select({.pattern = "([a-z.0-9_]+)+[!?]"}); }, "cannot be searched",
               "match limit");
}

TEST(Targets, LayersAndExclusionsNarrowThem) {
  const auto narrowed = [](TargetModules targets) {
    return paths_of(select_linears(targets, model_of(3)));
  };
  const std::string q = "self_attn.q_proj", first = "model.layers.1.", last = "model.layers.2.";
  EXPECT_EQ(narrowed({.modules = {.names = {"q_proj"}}, .layers = {2, 1}}),
            (std::vector{first + q, last + q}));
  EXPECT_EQ(narrowed({.modules = {.names = {"q_proj"}}, .excluded = {.pattern = ".*[02]\\..*"}}),
            std::vector{first + q});
  expect_error(
      [&] {
        narrowed({.modules = {.names = {"q_proj"}}, .layers = {1, 3}});
      },
      "there is no layer 3; the model has 3 layers");
  expect_error([&] { narrowed({.excluded = {.pattern = ".*"}}); }, "nothing is left to adapt");
}

}  // namespace
}  // namespace tessera::lora
