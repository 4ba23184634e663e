// What one config of `tessera search` describes: which candidates, and what is wrong with it.
#include "launch/config/candidates.h"

#include <gtest/gtest.h>

#include "launch/config/settings.h"
#include "runtime/core/error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

class Candidates : public ::testing::Test {
 protected:
  SearchConfig load(const std::string& lines, std::vector<std::string> overrides = {}) {
    folder_.write("run.yml", kRun + lines);
    return load_search(folder_.file("run.yml"), overrides);
  }
  std::string error_of(const std::string& lines, std::vector<std::string> overrides = {}) {
    try {
      load(lines, std::move(overrides));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      std::string text = error.what();
      const std::string path = folder_.file("run.yml");
      for (size_t at = 0; (at = text.find(path)) != text.npos;)
        text.replace(at, path.size(), "run.yml");
      return text;
    }
    return "no error";
  }
  static std::vector<std::string> names(const SearchConfig& search) {
    std::vector<std::string> all;
    for (const Candidate& candidate : search.candidates) all.push_back(candidate.name());
    return all;
  }

  const std::string kRun =
      "base_model: model\ndatasets: [{path: data.jsonl}]\noutput_dir: out\nval_set_size: 4\n";
  testing::ScratchFolder folder_;
};
using Names = std::vector<std::string>;

TEST_F(Candidates, RanksKeepTheScaleOfAdapters) {
  const SearchConfig search = load(
      "lora_r: 16\nlora_alpha: 24\nsearch_ranks: [32, 4]\nsearch_steps: 50\n"
      "search_tolerance: 0.05\n");
  EXPECT_EQ(search.steps, 50);
  EXPECT_EQ(search.tolerance, 0.05);
  EXPECT_EQ(names(search), (Names{"lora_r=4", "lora_r=32"}));
  EXPECT_EQ(search.candidates[0].config.lora_r, 4);
  EXPECT_EQ(search.candidates[0].config.lora_alpha, 6);
  EXPECT_EQ(search.candidates[1].config.lora_alpha, 48);
  // A candidate's config is that of a run.
  EXPECT_EQ(search.candidates[1].config,
            load_config(folder_.file("run.yml"),
                        std::vector<std::string>{"lora_r=32", "lora_alpha=48", "search_ranks=null",
                                                 "search_steps=null", "search_tolerance=null"}));
}

TEST_F(Candidates, RankStabilizedAdaptersKeepAlpha) {
  const SearchConfig search = load("use_rslora: true\nsearch_ranks: [4]\n");
  EXPECT_EQ(search.candidates[0].config.lora_alpha, Config{}.lora_alpha);
}

TEST_F(Candidates, AreTheUsualRanksWhereNothingElseIsAsked) {
  EXPECT_EQ(names(load("")),
            (Names{"lora_r=4", "lora_r=8", "lora_r=16", "lora_r=32", "lora_r=64"}));
  EXPECT_EQ(load("").steps, Config{}.search_steps);
}

TEST_F(Candidates, CombineRanksWithListsOfOtherKeys) {
  EXPECT_EQ(names(load("search_ranks: [8, 4]\n"
                       "learning_rate: [2e-4, 1e-3]\nlora_dropout: [0.1]\n")),
            (Names{"lora_r=4,learning_rate=0.0002,lora_dropout=0.1",
                   "lora_r=8,learning_rate=0.0002,lora_dropout=0.1",
                   "lora_r=4,learning_rate=0.001,lora_dropout=0.1",
                   "lora_r=8,learning_rate=0.001,lora_dropout=0.1"}));
  EXPECT_EQ(names(load("", {"learning_rate=[0.1, 0.2]"})),
            (Names{"learning_rate=0.1", "learning_rate=0.2"}));
}

TEST_F(Candidates, OfAKeyThatTakesAListAreListsOfLists) {
  const SearchConfig one = load("search_ranks: [4]\nlora_target_modules: [q_proj, v_proj]\n");
  EXPECT_EQ(names(one), (Names{"lora_r=4"}));
  EXPECT_EQ(one.candidates[0].config.lora_target_modules.names, (Names{"q_proj", "v_proj"}));
  const SearchConfig two = load("lora_target_modules: [[q_proj, v_proj], all-linear]\n");
  ASSERT_EQ(two.candidates.size(), 2u);
  EXPECT_EQ(two.candidates[0].config.lora_target_modules.names, (Names{"q_proj", "v_proj"}));
  EXPECT_TRUE(two.candidates[1].config.lora_target_modules.empty());
  // A name is that of a folder, and of its own.
  EXPECT_EQ(two.candidates[0].name().find_first_of(" /[]"), std::string::npos);
  EXPECT_NE(two.candidates[0].name(), two.candidates[1].name());
}

TEST_F(Candidates, AllThatIsWrongIsToldAtOnce) {
  EXPECT_EQ(error_of("learning_rate: [1e-4, fast]\nlora_dropout: [2, 0.1]\nseed: [1, 2]\n"),
            "run.yml:5: learning_rate: expected a number above 0, got 'fast'\n"
            "run.yml:6: lora_dropout: expected a number, 0 or more, below 1, got '2'\n"
            "run.yml:7: seed: expected a whole number, 0 or more, got a list");
}

TEST_F(Candidates, AreRefused) {
  EXPECT_EQ(error_of("lora_r: [4, 8]\n"),
            "run.yml:5: lora_r: ranks to compare go into search_ranks, which keeps lora_alpha / "
            "lora_r");
  EXPECT_EQ(error_of("learning_rate: []\n"),
            "run.yml:5: learning_rate: expected at least one value");
  EXPECT_EQ(error_of("learning_rate: [1e-4, 0.0001]\n"),
            "run.yml: a list of values has learning_rate=0.0001 twice; keep one");
  EXPECT_EQ(error_of("search_ranks: [4, 4]\n"),
            "run.yml:5: search_ranks: 4 stands twice in the list; keep one");
  EXPECT_EQ(
      error_of("search_ranks: 4\n"),
      "run.yml:5: search_ranks: expected a list, each a whole number from 1 to 65536, got '4'");
  EXPECT_EQ(error_of("search_ranks: [4]\nlora_rank_pattern: {q_proj: 2}\n"),
            "run.yml:5: search_ranks contradicts lora_rank_pattern: {q_proj: 2} (run.yml:6): its "
            "modules would keep their ranks; remove one");
  EXPECT_EQ(error_of("", {"val_set_size=0"}),
            "run.yml: a search compares losses on rows to validate on, and there are none; set "
            "val_set_size, e.g. 0.05, or test_datasets");
  std::string many = "learning_rate: [1e-9";
  for (int i = 2; i < 20; ++i) many += fmt::format(", {}e-9", i);
  EXPECT_EQ(error_of(many + "]\nweight_decay" + many.substr(13) + "]\n"),
            "run.yml: the lists of values make more than 256 candidates; shorten them");
}

TEST_F(Candidates, AreNothingForATraining) {
  folder_.write("run.yml", kRun + "learning_rate: [1e-4, 2e-4]\n");
  try {
    load_config(folder_.file("run.yml"), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), folder_.file("run.yml") +
                                ":5: learning_rate: expected a number above 0, got a list; "
                                "`tessera search` compares several values");
  }
}

}  // namespace
}  // namespace tessera::launch
