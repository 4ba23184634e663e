// The embedding and the head trained in full beside adapters: three steps over NF4 against PEFT and
// float64 (tests/golden/modules_to_save), and what follows from it: resuming, merging, planning.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "launch/commands/merge.h"
#include "launch/config/config.h"
#include "launch/config/options.h"
#include "launch/plan/memory_model.h"
#include "launch/plan/planner.h"
#include "launch/run/train.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/family_golden.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;
using tessera::testing::FamilyGolden;
using tessera::testing::relative_difference;
using tessera::testing::ScratchFolder;

const std::string kGolden = std::string(TESSERA_GOLDEN_DIR) + "/modules_to_save";
constexpr const char* kCases[] = {"llama",           "tied_embedding_alone", "tied_head_alone",
                                  "tied_both_apart", "tied_as_one",          "granite"};
const char* const kWithPatterns = "llama";

class ModulesToSave : public ::testing::TestWithParam<const char*> {
 protected:
  ModulesToSave()
      : golden_(io::read_json_file(kGolden + "/golden.json", 1 << 20).at("cases").at(GetParam())),
        family_(golden_.at("family").get<std::string>()) {}

  std::vector<std::string> settings() const {
    std::vector<std::string> all = {
        "lora_modules_to_save=" + golden_.at("modules_to_save").dump(),
        "lora_ensure_weight_tying=" + golden_.at("ensure_weight_tying").dump()};
    if (GetParam() == std::string(kWithPatterns)) {
      const std::string mlp = "layers\\.[01]\\.mlp\\.(gate|up)_proj";
      all.push_back(
          "lora_rank_pattern={layers.0.self_attn.q_proj: 6, 'q_proj|up_proj': 2, "
          "'v_proj|mlp\\.\\w+': 3}");
      all.push_back("lora_alpha_pattern={'" + mlp + "': 5, o_proj: 2.5}");
    }
    return all;
  }

  /// What the training starts from: the family's adapter, and the matrices of the base.
  std::string start() {
    if (GetParam() == std::string(kWithPatterns)) return kGolden + "/adapter";
    const lora::Checkpoint base = lora::Checkpoint::open(family_.folder);
    const lora::AdapterSet from = lora::load_peft(family_.adapter, base.spec());
    lora::AdapterSet to(base.spec(), adapter_options(config("unused")));
    std::ranges::copy(from.params(), to.params().begin());
    to.copy_whole(base);
    lora::save_peft(scratch_.file("start"), to, "");
    return scratch_.file("start");
  }

  Config config(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> overrides = settings();
    overrides.push_back("base_model=" + family_.folder);
    overrides.push_back("output_dir=" + scratch_.file(out));
    overrides.push_back(fmt::format("gradient_accumulation_steps={}", family_.samples.size()));
    overrides.push_back(
        fmt::format("datasets=[{{path: {}/data.jsonl, type: tokenized}}]", family_.folder));
    overrides.insert(overrides.end(), more.begin(), more.end());
    return load_config(std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml", overrides);
  }

  std::string run(const std::string& out, const std::vector<std::string>& more) {
    parallel::SelfCommunicator self;
    EXPECT_EQ(train(config(out, more), self), kFinished);
    return scratch_.file(out);
  }

  lora::AdapterSet load(const std::string& folder) const {
    return lora::load_peft(folder, lora::Checkpoint::open(family_.folder).spec());
  }

  json golden_;
  FamilyGolden family_;
  ScratchFolder scratch_;
};

TEST_P(ModulesToSave, TrainsAsPeftDoes) {
  const std::string from = start();
  const std::string out = run("run", {"lora_model_dir=" + from});
  std::ifstream metrics(out + "/metrics.jsonl");
  std::vector<json> steps;
  for (std::string line; std::getline(metrics, line);) {
    const json step = json::parse(line);
    if (step.contains("grad_norm")) steps.push_back(step);
  }
  const json& exact = golden_.at("float64");
  ASSERT_EQ(steps.size(), exact.at("steps").size());
  for (size_t s = 0; s < steps.size(); ++s) {
    const json& step = exact["steps"][s];
    EXPECT_LE(relative_difference(steps[s].at("loss"), step.at("loss")), 1e-5) << s;
    EXPECT_LE(relative_difference(steps[s].at("grad_norm"), step.at("grad_norm")), 1e-4) << s;
  }
  // Every element that is compared has moved by up to three steps of 1e-2.
  const io::SafetensorsFile file(out + "/adapter_model.safetensors");
  const io::SafetensorsFile before(from + "/adapter_model.safetensors");
  size_t whole = 0;
  for (const io::SafetensorsEntry& entry : file.entries()) {
    if (entry.name.find(".lora_") != std::string::npos) continue;
    ++whole;
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(exact.at("stored").contains(entry.name));
    const json& expected = exact["stored"][entry.name];
    std::vector<float> values(entry.bytes / sizeof(float)), old(values.size());
    file.read(entry, std::as_writable_bytes(std::span(values)));
    before.read(*before.find(entry.name), std::as_writable_bytes(std::span(old)));
    EXPECT_EQ(entry.shape, expected.at("shape").get<std::vector<int64_t>>());
    for (const json& element : expected.at("elements")) {
      EXPECT_NEAR(values[element.at("index").get<size_t>()], element.at("value").get<double>(),
                  2e-5);
    }
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i)
      sum += std::pow(double(values[i]) - double(old[i]), 2);
    EXPECT_LE(relative_difference(std::sqrt(sum), expected.at("update_l2")), 1e-4);
  }
  EXPECT_EQ(whole, exact.at("stored").size());
}

TEST_P(ModulesToSave, AFreshRunStartsFromTheBaseAndResumes) {
  const std::vector<std::string> more = {"save_steps=1", "save_total_limit=9"};
  const std::string straight = run("straight", more);
  const std::string resumed =
      run("resumed", {more[0], more[1], "resume_from_checkpoint=" + straight + "/checkpoint-1"});
  const std::string weights = "/adapter_model.safetensors";
  EXPECT_TRUE(bytes_of_file(straight + weights) == bytes_of_file(resumed + weights));
  // AdamW moves a weight by a hundredth in a step at most.
  const lora::Checkpoint base = lora::Checkpoint::open(family_.folder);
  const lora::AdapterSet trained = load(straight);
  lora::AdapterSet first(base.spec(), adapter_options(config("unused")));
  first.copy_whole(base);
  for (const lora::TensorRow& row : trained.parts().whole) {
    const auto now = trained.whole(row.role)->w.span<float>();
    const auto then = first.whole(row.role)->w.span<float>();
    double largest = 0;
    for (size_t i = 0; i < now.size(); ++i) {
      largest = std::max(largest, std::fabs(double(now[i]) - double(then[i])));
    }
    EXPECT_GT(largest, 1e-3);
    EXPECT_LT(largest, 3.1e-2);
  }
}

/// With one matrix for both, the merged head is the embedding; else each is what was trained.
TEST_P(ModulesToSave, MergesThem) {
  const std::string out = run("run", {"max_steps=1"});
  const lora::AdapterSet trained = load(out);
  MergeOptions options;
  options.base_model = family_.folder;
  options.adapter = out;
  options.output = scratch_.file("merged");
  options.dtype = DType::kF32;
  Console console(false);
  merge(options, console);
  const lora::Checkpoint base = lora::Checkpoint::open(family_.folder);
  const lora::Checkpoint merged = lora::Checkpoint::open(options.output);
  EXPECT_EQ(merged.spec().tied_head, base.spec().tied_head && trained.ties_head());
  for (const auto& [role, name] : {std::pair{lora::Role::kEmbedding, "model.embed_tokens.weight"},
                                   std::pair{lora::Role::kHead, "lm_head.weight"}}) {
    std::vector<float> made(size_t(merged.info(name).numel())), expected(made.size());
    merged.read_f32(name, made);
    base.read_f32(name, expected);
    if (const lora::WholeMatrix* matrix = trained.whole(role)) {
      EXPECT_NE(made, expected) << name;
      std::ranges::copy(matrix->w.span<float>(), expected.begin());
    }
    EXPECT_EQ(made, expected) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ModulesToSave, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param); });

TEST(ModulesToSaveSettings, ThePlanCountsThem) {
  const lora::Checkpoint base = lora::Checkpoint::open(FamilyGolden("llama").folder);
  const auto model_of = [&](const std::vector<std::string>& settings) {
    const Config config =
        load_config(std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml", settings);
    PlanInput input = plan_input(config, base.spec(), lora::checkpoint_format(base), {0}, false);
    input.tokens = input.sequence = 8;
    return MemoryModel(input);
  };
  MemoryModel usual = model_of({}), whole = model_of({"lora_modules_to_save=embed_tokens,lm_head"}),
              ranks = model_of({"lora_rank_pattern={q_proj: 68}"});
  const auto matrix = size_t(base.spec().vocab * base.spec().hidden);
  EXPECT_EQ(matrix % lora::AdapterSet::kAlignment, 0u);
  EXPECT_EQ(whole.adapter_elements(), usual.adapter_elements() + 2 * matrix);
  const RankMemory before = usual.rank(0, {}, {}), after = whole.rank(0, {}, {});
  EXPECT_EQ(after.adapters, before.adapters + 2 * matrix * sizeof(float));
  EXPECT_GE(after.gradients, before.gradients + 2 * matrix * sizeof(float));
  EXPECT_GE(after.optimizer, before.optimizer + 4 * matrix * sizeof(float));
  EXPECT_FALSE(usual.trains_head());
  EXPECT_TRUE(whole.trains_head());
  const lora::TensorRow q = lora::linears_of(base.spec()).front();
  EXPECT_EQ(ranks.adapter_rank(q), 68);
  EXPECT_GT(ranks.adapter_elements(), usual.adapter_elements());
}

TEST(ModulesToSaveSettings, AnAdapterOfOthersIsRefused) {
  const FamilyGolden family("llama");
  const ScratchFolder scratch;
  int runs = 0;
  const auto start = [&](const std::vector<std::string>& more) {
    std::vector<std::string> overrides = {
        "base_model=" + family.folder, "lora_model_dir=" + kGolden + "/adapter",
        "output_dir=" + scratch.file(fmt::format("run{}", ++runs)),
        fmt::format("datasets=[{{path: {}/data.jsonl, type: tokenized}}]", family.folder)};
    overrides.insert(overrides.end(), more.begin(), more.end());
    parallel::SelfCommunicator self;
    train(load_config(std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml", overrides),
          self);
  };
  expect_error([&] { start({"lora_modules_to_save=lm_head"}); }, "q_proj",
               "make lora_rank_pattern and lora_alpha_pattern equal");
  const std::string ranks =
      "lora_rank_pattern={layers.0.self_attn.q_proj: 6, 'q_proj|up_proj': 2, 'v_proj|mlp.*': 3}";
  const std::string alphas =
      "lora_alpha_pattern={'layers\\.[01]\\.mlp\\.(gate|up)_proj': 5, o_proj: 2.5}";
  expect_error(
      [&] {
        start({ranks, alphas, "lora_modules_to_save=lm_head"});
      },
      "lora_modules_to_save embed_tokens, lm_head", "the config says lm_head");
  expect_error(
      [&] {
        start({ranks, "lora_alpha_pattern={norm: 2}"});
      },
      "lora_alpha_pattern", "'norm' gives no module its value");
}

}  // namespace
}  // namespace tessera::launch
