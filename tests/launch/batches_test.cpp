// The plan of steps: order, packing, epochs, the validation split, and the shift of targets.
#include "launch/data/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// Samples of the given lengths; sample i's tokens are all i.
std::vector<Sample> samples_of(const std::vector<int>& lengths) {
  std::vector<Sample> samples;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const std::vector<int32_t> ids(size_t(lengths[i]), int32_t(i));
    samples.push_back({ids, ids});
  }
  return samples;
}

constexpr BatchOptions kPlain{.sequence_len = 10,
                              .micro_batch_size = 2,
                              .micro_batches = 2,
                              .packing = false,
                              .shuffle = false,
                              .seed = 1};

TEST(Batches, TargetsAreTheNextLearnedToken) {
  const std::vector<Sample> samples = {{{5, 6, 7}, {Sample::kIgnore, 6, Sample::kIgnore}},
                                       {{8, 9}, {8, 9}}};
  const lora::Batch batch = make_batch(samples, {{0, 1}}, 0, 1);
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{5, 6, 7, 8, 9}));
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{6, -1, -1, 9, -1}));
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 2, 0, 1}));
  EXPECT_EQ(batch.starts, (std::vector<int32_t>{0, 3, 5}));
  EXPECT_EQ(batch.supervised(), 2);
}

TEST(Batches, FileOrderIsKeptWithoutShuffle) {
  const auto samples = samples_of({4, 4, 4, 9, 1});
  BatchOptions options = kPlain;
  options.packing = true;
  EXPECT_EQ(epoch_rows(samples, options, 0), (std::vector<Row>{{0, 1}, {2}, {3, 4}}));
}

TEST(Batches, PackingLosesNothingAndNeverOverfills) {
  std::vector<int> lengths;
  for (int i = 0; i < 500; ++i) lengths.push_back(1 + (i * 7919) % 10);
  const auto samples = samples_of(lengths);
  BatchOptions options = kPlain;
  options.packing = options.shuffle = true;
  for (int64_t epoch : {0, 1}) {
    const auto rows = epoch_rows(samples, options, epoch);
    std::multiset<int32_t> seen;
    int64_t tokens = 0;
    for (const Row& row : rows) {
      int64_t n = 0;
      for (int32_t i : row) n += lengths[size_t(i)];
      EXPECT_LE(n, options.sequence_len);
      tokens += n;
      seen.insert(row.begin(), row.end());
    }
    EXPECT_EQ(seen.size(), 500u);
    EXPECT_EQ(std::set<int32_t>(seen.begin(), seen.end()).size(), 500u);
    EXPECT_GT(double(tokens) / double(int64_t(rows.size()) * options.sequence_len), 0.95);
  }
  EXPECT_NE(epoch_rows(samples, options, 0), epoch_rows(samples, options, 1));
  EXPECT_EQ(epoch_rows(samples, options, 1), epoch_rows(samples, options, 1));
}

TEST(Batches, EpochsNeverShareAStep) {
  const auto samples = samples_of({1, 2, 3, 4, 5, 6, 7});
  RunSteps plan(samples, kPlain, 2, 0);
  EXPECT_EQ(plan.steps(), 4);  // 4 rows and 3 rows, twice
  EXPECT_EQ(plan.micro_batches(1).size(), 2u);
  EXPECT_EQ(plan.micro_batches(1)[1].tokens(), 7);  // the short last micro-batch
  EXPECT_EQ(plan.epoch_after(2), 1.0);
  EXPECT_EQ(plan.max_tokens(), 11);
  EXPECT_EQ(plan.micro_batches(2)[0].ids, plan.micro_batches(0)[0].ids);
}

TEST(Batches, MaxStepsWinsOverEpochs) {
  const auto samples = samples_of({1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(RunSteps(samples, kPlain, 100, 3).steps(), 3);
  EXPECT_EQ(RunSteps(samples, kPlain, 1, 5).steps(), 5);
}

TEST(Batches, StepsCanBeAskedForInAnyOrder) {
  const auto samples = samples_of({1, 2, 3, 4, 5, 6, 7});
  BatchOptions options = kPlain;
  options.shuffle = true;
  RunSteps straight(samples, options, 3, 0), resumed(samples, options, 3, 0);
  std::vector<std::vector<int32_t>> ids;
  for (int64_t s = 0; s < straight.steps(); ++s) ids.push_back(straight.micro_batches(s)[0].ids);
  for (int64_t s = straight.steps() - 1; s >= 0; --s) {
    EXPECT_EQ(resumed.micro_batches(s)[0].ids, ids[size_t(s)]);
  }
}

TEST(Batches, ValidationIsADisjointShareInFileOrder) {
  auto training = samples_of(std::vector<int>(20, 3));
  const auto validation = split_validation(training, 0.25, 7);
  EXPECT_EQ(validation.size(), 5u);
  EXPECT_EQ(training.size(), 15u);
  std::vector<int32_t> all;
  for (const std::vector<Sample>* set :
       std::initializer_list<const std::vector<Sample>*>{&training, &validation}) {
    for (size_t i = 0; i + 1 < set->size(); ++i) EXPECT_LT((*set)[i].ids[0], (*set)[i + 1].ids[0]);
    for (const Sample& s : *set) all.push_back(s.ids[0]);
  }
  std::sort(all.begin(), all.end());
  std::vector<int32_t> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
  EXPECT_THROW(split_validation(training, 15, 7), Error);
}

}  // namespace
}  // namespace tessera::launch
