// Which candidate of a search is taken, and what is said of the figures.
#include "launch/report/candidate_comparison.h"

#include <gtest/gtest.h>

#include <cmath>

#include "launch/report/search_page.h"
#include "launch/report/search_table.h"
#include "runtime/core/error.h"
#include "tests/splitmix64.h"

namespace tessera::launch {
namespace {

/// A candidate whose samples have these losses, each of one token.
ComparedCandidate candidate(int64_t rank, std::vector<double> losses, double training_loss = 1) {
  ComparedCandidate made{fmt::format("lora_r={}", rank), {{"lora_r", std::to_string(rank)}}, {}};
  made.result.parameters = 100 * rank;
  made.result.training_loss = training_loss;
  for (const double loss : losses) {
    made.result.samples.push_back({loss, 1});
    made.result.loss += loss / double(losses.size());
  }
  return made;
}

double ratio_without(const std::vector<CandidateResult::Sample>& samples, size_t left_out) {
  double losses = 0, weight = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (i == left_out) continue;
    losses += samples[i].losses;
    weight += samples[i].weight;
  }
  return losses / weight;
}

// The error of a mean is s / sqrt(n).
TEST(CandidateComparison, TheErrorOfEqualWeightsIsThatOfAMean) {
  const ComparedCandidate made = candidate(4, {1, 2, 3, 6});
  const Estimate loss = loss_of(made.result);
  EXPECT_DOUBLE_EQ(loss.mean, 3);
  EXPECT_DOUBLE_EQ(loss.error, std::sqrt((4 + 1 + 0 + 9) / 3.0) / 2);
  EXPECT_TRUE(std::isinf(loss_of(candidate(4, {1}).result).error));
}

// For unequal weights the jackknife is another road to the same number.
TEST(CandidateComparison, TheErrorOfUnequalWeightsIsThatOfTheJackknife) {
  uint64_t drawn = 0;
  const auto draw = [&] { return double(testing::splitmix64(drawn++) >> 11) * 0x1p-53; };
  CandidateResult result;
  for (int i = 0; i < 400; ++i) {
    const double weight = 1 + std::floor(30 * draw());
    result.samples.push_back({weight * (1 + draw()), weight});
  }
  const auto n = result.samples.size();
  double mean = 0, squares = 0;
  for (size_t i = 0; i < n; ++i) mean += ratio_without(result.samples, i) / double(n);
  for (size_t i = 0; i < n; ++i) {
    squares += std::pow(ratio_without(result.samples, i) - mean, 2);
  }
  const double jackknife = std::sqrt(double(n - 1) / double(n) * squares);
  EXPECT_NEAR(loss_of(result).error, jackknife, 0.01 * jackknife);
}

TEST(CandidateComparison, TheGapIsMeasuredSampleBySample) {
  // Losses scatter by 4, their differences by nothing.
  const auto low = candidate(4, {1, 5, 9}), high = candidate(8, {1.5, 5.5, 9.5});
  EXPECT_DOUBLE_EQ(gap_between(low.result, high.result).mean, 0.5);
  EXPECT_NEAR(gap_between(low.result, high.result).error, 0, 1e-15);
}

TEST(CandidateComparison, TakesTheSmallestWithinTheTolerance) {
  const std::vector<ComparedCandidate> all = {candidate(4, {2.05, 2.05}),
                                              candidate(8, {2.01, 2.01}), candidate(16, {2, 2}),
                                              candidate(32, {2.2, 2.2})};
  const auto chosen = [&](double tolerance) {
    const Comparison comparison = *compare(all, tolerance);
    EXPECT_EQ(comparison.best, 2u);
    return comparison.chosen;
  };
  EXPECT_EQ(chosen(0), 2u);
  EXPECT_EQ(chosen(0.01), 1u);
  EXPECT_EQ(chosen(0.03), 0u);
  EXPECT_FALSE(compare(all, 0.01)->standings[0].within);
  EXPECT_TRUE(compare(all, 0.01)->standings[1].within);
}

TEST(CandidateComparison, OfAsManyParametersTheLowerLossIsTaken) {
  std::vector<ComparedCandidate> all = {candidate(4, {2.01, 2.01}), candidate(4, {2, 2}),
                                        candidate(4, {2, 2})};
  EXPECT_EQ(compare(all, 0.1)->chosen, 1u);
  EXPECT_EQ(compare(all, 0.1)->best, 1u);
}

TEST(CandidateComparison, NamesWhatDiverged) {
  std::vector<ComparedCandidate> all = {candidate(4, {1, 1}), candidate(8, {})};
  all[1].result.diverged = "step 3: the loss is nan";
  const Comparison comparison = *compare(all, 0.1);
  EXPECT_EQ(comparison.chosen, 0u);
  EXPECT_EQ(comparison.remarks,
            std::vector<std::string>{"lora_r=8 diverged: step 3: the loss is nan"});
  EXPECT_NE(search_table(all, comparison).find("diverged"), std::string::npos);
  all[0].result.diverged = "so did this";
  EXPECT_FALSE(compare(all, 0.1));
}

TEST(CandidateComparison, SaysWhereNoDifferenceExceedsTheNoise) {
  const auto remarks = [](const std::vector<double>& other) {
    return compare({candidate(4, {1, 2, 3, 4}), candidate(8, other)}, 0)->remarks;
  };
  ASSERT_EQ(remarks({2, 2, 2, 4.5}).size(), 1u);
  EXPECT_EQ(remarks({2, 2, 2, 4.5})[0].find("no candidate differs from the best one"), 0u);
  EXPECT_TRUE(remarks({1.5, 2.5, 3.5, 4.6}).empty());
}

TEST(CandidateComparison, SaysWhereASmallerOneMayDo) {
  const auto remarks = [](double tolerance) {
    return compare({candidate(4, {9, 9, 9, 9}), candidate(8, {1, 3, 3, 3.5}),
                    candidate(16, {1, 2, 3, 4})},
                   tolerance)
        ->remarks;
  };
  EXPECT_EQ(remarks(0),
            std::vector<std::string>{
                "lora_r=8 may be as good as lora_r=16: the difference is less than "
                "twice its standard error; validate on more rows than these 4 to know"});
  EXPECT_TRUE(remarks(0.1).empty());  // it is chosen
}

TEST(CandidateComparison, SaysWhereLargerRanksOverfit) {
  const auto remarks = [](double last_validation, double last_training) {
    const double v = last_validation;
    return compare({candidate(4, {1.1, 2.1, 3.1}, 0.9), candidate(8, {1, 2, 3}, 0.8),
                    candidate(16, {1.05 + v, 2.05 + v, 3.06 + v}, last_training)},
                   0)
        ->remarks;
  };
  ASSERT_EQ(remarks(0.1, 0.5).size(), 1u);
  EXPECT_EQ(remarks(0.1, 0.5)[0],
            "from rank 8 to 16 the validation loss rises (2.0000 to 2.1533) while the training "
            "loss falls (0.8000 to 0.5000): the larger adapters learn the training data by heart");
  EXPECT_TRUE(remarks(0.1, 0.85).empty());
  EXPECT_TRUE(remarks(-0.2, 0.5).empty());
}

TEST(CandidateResult, ReadsBackToTheSameBits) {
  CandidateResult result{.step = 3,
                         .loss = 0.1 + 0.2,
                         .training_loss = 1.0 / 3,
                         .parameters = 12,
                         .memory = 34,
                         .seconds = 5.6,
                         .samples = {{1.0 / 7, 3}, {2, 0.5}},
                         .identity = {{"seed", 42}}};
  EXPECT_EQ(read_candidate_result(candidate_result_json(result), "x"), result);
  result.diverged = "so it is";
  EXPECT_EQ(read_candidate_result(candidate_result_json(result), "x"), result);
  for (const char* wrong : {"", "{", "[]", "{}", R"({"step": "1"})"}) {
    EXPECT_THROW(read_candidate_result(wrong, "x"), Error) << wrong;
  }
}

TEST(SearchPage, EscapesAndShowsEveryCandidate) {
  std::vector<ComparedCandidate> all = {candidate(4, {1, 2}), candidate(8, {1, 3})};
  all[0].name = "<b>";
  const std::string page = search_page_html(all, *compare(all, 0.1), 0.1, "runs/<i>");
  EXPECT_EQ(page.find("<b>,"), page.npos);
  EXPECT_NE(page.find("&lt;b&gt;"), page.npos);
  EXPECT_NE(page.find("runs/&lt;i&gt;"), page.npos);
  EXPECT_NE(page.find("lora_r=8"), page.npos);
}

}  // namespace
}  // namespace tessera::launch
