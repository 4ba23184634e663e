// The embedding and the head trained in full beside adapters, or rows of single tokens: three steps
// over NF4 against PEFT and float64 (tests/golden/modules_to_save), and what follows from it:
// resuming, merging, planning.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "launch/commands/merge.h"
#include "launch/plan/memory_model.h"
#include "launch/plan/planner.h"
#include "lora/model/loader.h"
#include "parallel/thread_communicator.h"
#include "tests/expect_error.h"
#include "tests/launch/modules_golden.h"

namespace tessera::launch {
namespace {

using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;
using tessera::testing::FamilyGolden;
using tessera::testing::ScratchFolder;
using testing::kModulesGolden;

constexpr const char* kCases[] = {"llama",
                                  "tied_embedding_alone",
                                  "tied_head_alone",
                                  "tied_both_apart",
                                  "tied_as_one",
                                  "granite",
                                  "tokens",
                                  "tokens_and_head",
                                  "tied_tokens",
                                  "tied_tokens_capped",
                                  "tied_tokens_scaled"};

class ModulesToSave : public ::testing::TestWithParam<const char*> {
 protected:
  testing::ModulesGolden golden_{GetParam()};
};

TEST_P(ModulesToSave, TrainsAsPeftDoes) { testing::expect_training_as_peft(golden_, {}); }

double largest_difference(const Tensor& a, const Tensor& b) {
  double largest = 0;
  for (size_t i = 0; i < size_t(a.numel()); ++i) {
    const double d = double(a.span<const float>()[i]) - double(b.span<const float>()[i]);
    largest = std::max(largest, std::fabs(d));
  }
  return largest;
}

TEST_P(ModulesToSave, AFreshRunStartsFromTheBaseAndResumes) {
  const std::vector<std::string> more = {"save_steps=1", "save_total_limit=9"};
  const std::string straight = golden_.run("straight", more);
  const std::string resumed = golden_.run(
      "resumed", {more[0], more[1], "resume_from_checkpoint=" + straight + "/checkpoint-1"});
  const std::string weights = "/adapter_model.safetensors";
  EXPECT_TRUE(bytes_of_file(straight + weights) == bytes_of_file(resumed + weights));
  // AdamW moves a weight by a hundredth in a step at most.
  const lora::AdapterSet trained = golden_.load(straight), first = golden_.at_first();
  const auto expect_moved = [](const Tensor& now, const Tensor& then) {
    const double largest = largest_difference(now, then);
    EXPECT_GT(largest, 1e-3);
    EXPECT_LT(largest, 3.1e-2);
  };
  for (const lora::TensorRow& row : trained.parts().whole) {
    expect_moved(trained.whole(row.role)->w, first.whole(row.role)->w);
  }
  ASSERT_EQ(trained.token_rows() != nullptr, first.token_rows() != nullptr);
  if (trained.token_rows()) expect_moved(trained.token_rows()->w, first.token_rows()->w);
}

TEST_P(ModulesToSave, RanksAndMemoryOptionsKeepTheBits) {
  const auto adapter_of = [&](int ranks, std::vector<std::string> more) {
    more.emplace_back("overwrite_output_dir=true");
    const Config config = golden_.config("run", more);
    parallel::run_ranks(ranks, ranks, [&](parallel::Communicator& world) {
      EXPECT_EQ(train(config, world), kFinished);
    });
    return bytes_of_file(golden_.scratch.file("run/adapter_model.safetensors"));
  };
  const std::string plain = adapter_of(1, {"gradient_checkpointing=false"});
  EXPECT_TRUE(adapter_of(1, {"gradient_checkpointing=true"}) == plain);
  EXPECT_TRUE(adapter_of(2, {"sharding=full", "gradient_checkpointing=offload"}) == plain);
  EXPECT_TRUE(adapter_of(4, {"sharding=full", "optimizer=paged_adamw_32bit"}) == plain);
}

/// With one matrix for both, the merged head is the embedding; else each is what was trained.
TEST_P(ModulesToSave, MergesThem) {
  const std::string out = golden_.run("run", {"max_steps=1"});
  const lora::AdapterSet trained = golden_.load(out);
  MergeOptions options;
  options.base_model = golden_.family.folder;
  options.adapter = out;
  options.output = golden_.scratch.file("merged");
  options.dtype = DType::kF32;
  Console console(false);
  merge(options, console);
  const lora::Checkpoint base = lora::Checkpoint::open(golden_.family.folder);
  const lora::Checkpoint merged = lora::Checkpoint::open(options.output);
  const bool tied = base.spec().tied_head;
  EXPECT_EQ(merged.spec().tied_head,
            tied && (trained.parts().whole.empty() || trained.ties_head()));
  const lora::TokenRows* rows = trained.token_rows();
  for (const auto& [role, name] :
       {std::pair{lora::Role::kEmbedding, lora::embedding_weight(base.spec())},
        std::pair{lora::Role::kHead, std::string(lora::kHeadWeight)}}) {
    std::vector<float> made(size_t(merged.info(name).numel())), expected(made.size());
    merged.read_f32(name, made);
    base.read_f32(name, expected);
    if (const lora::WholeMatrix* matrix = trained.whole(role)) {
      EXPECT_NE(made, expected) << name;
      std::ranges::copy(matrix->w.span<float>(), expected.begin());
    } else if (rows && (tied || role == lora::Role::kEmbedding)) {
      EXPECT_NE(made, expected) << name;
      const int64_t cols = rows->w.cols();
      for (size_t i = 0; i < rows->ids.size(); ++i) {
        const int64_t row = int64_t(i);
        std::ranges::copy(rows->w.slice(row, row + 1).span<float>(),
                          expected.begin() + rows->ids[i] * cols);
      }
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
              ranks = model_of({"lora_rank_pattern={q_proj: 68}"}),
              tokens = model_of({"lora_trainable_token_indices=[7, 3, 150]"});
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
  constexpr size_t kRows = 256;  // 3 x 48 floats, up to the next multiple
  EXPECT_EQ(tokens.adapter_elements(), usual.adapter_elements() + kRows);
  EXPECT_EQ(tokens.rank(0, {}, {}).adapters, before.adapters + kRows * sizeof(float));
}

TEST(ModulesToSaveSettings, TheBannerSaysWhereRowsOfTokensStand) {
  const std::pair<const char*, std::string> cases[] = {
      {"tied_tokens", ", the rows of 4 tokens in embed_tokens and the head tied to it, "},
      {"tokens_and_head", ", lm_head in full, the rows of 4 tokens in embed_tokens, "}};
  for (const auto& [name, words] : cases) {
    const testing::ModulesGolden golden(name);
    ::testing::internal::CaptureStderr();
    golden.run("run", {"max_steps=1"});
    const std::string told = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(told.find(words), std::string::npos) << told;
  }
}

TEST(ModulesToSaveSettings, AnAdapterOfOthersIsRefused) {
  const FamilyGolden family("llama");
  const ScratchFolder scratch;
  int runs = 0;
  const auto start_from = [&](const std::string& adapter, const std::vector<std::string>& more) {
    std::vector<std::string> overrides = {
        "base_model=" + family.folder, "lora_model_dir=" + adapter,
        "output_dir=" + scratch.file(fmt::format("run{}", ++runs)),
        fmt::format("datasets=[{{path: {}/data.jsonl, type: tokenized}}]", family.folder)};
    overrides.insert(overrides.end(), more.begin(), more.end());
    parallel::SelfCommunicator self;
    train(load_config(std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml", overrides),
          self);
  };
  const auto start = [&](const std::vector<std::string>& more) {
    start_from(kModulesGolden + "/adapter", more);
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
  expect_error([&] { start_from(family.adapter, {"lora_trainable_token_indices=[7, 3]"}); },
               "has lora_trainable_token_indices none", "the config says 7, 3; make them equal");
  expect_error(
      [&] {
        start({ranks, "lora_alpha_pattern={norm: 2}"});
      },
      "lora_alpha_pattern", "'norm' gives no module its value");
}

}  // namespace
}  // namespace tessera::launch
