// The plan of steps: order, packing, epochs, the validation split, and the shift of targets.
#include "launch/data/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

SampleList list_of(const std::vector<Sample>& samples, double weight = 1) {
  SampleWriter writer;
  for (const Sample& sample : samples) writer.add(sample);
  SampleList list;
  list.append(std::make_shared<const SampleStore>(writer.finish(nullptr)), weight);
  return list;
}

/// Samples of the given lengths; sample i's tokens are all i.
std::vector<Sample> of_lengths(const std::vector<int>& lengths) {
  std::vector<Sample> samples;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const std::vector<int32_t> ids(size_t(lengths[i]), int32_t(i));
    samples.push_back({ids, ids});
  }
  return samples;
}

SampleList samples_of(const std::vector<int>& lengths) { return list_of(of_lengths(lengths)); }

std::vector<std::vector<int32_t>> lists(const Rows& rows) {
  std::vector<std::vector<int32_t>> lists;
  for (size_t r = 0; r < rows.size(); ++r) lists.emplace_back(rows[r].begin(), rows[r].end());
  return lists;
}

/// Samples of an epoch, sorted.
std::vector<int32_t> trained_on(const Rows& rows) {
  std::vector<int32_t> all;
  for (const auto& row : lists(rows)) all.insert(all.end(), row.begin(), row.end());
  std::ranges::sort(all);
  return all;
}

constexpr BatchOptions kPlain{.sequence_len = 10,
                              .micro_batch_size = 2,
                              .micro_batches = 2,
                              .packing = false,
                              .shuffle = false,
                              .seed = 1};

TEST(Batches, TargetsAreTheNextLearnedToken) {
  const SampleList samples =
      list_of({{{5, 6, 7}, {Sample::kIgnore, 6, Sample::kIgnore}}, {{8, 9}, {8, 9}}});
  Rows rows;
  rows.add(std::vector<int32_t>{0, 1});
  const lora::Batch batch = make_batch(samples, rows, 0, 1);
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
  EXPECT_EQ(lists(epoch_rows(samples, options, 0)),
            (std::vector<std::vector<int32_t>>{{0, 1}, {2}, {3, 4}}));
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
    for (const auto& row : lists(rows)) {
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

/// As transformers has it: the part of an epoch is rounded up to whole steps.
TEST(Batches, TheLastEpochMayBeAPartOfOne) {
  const auto samples = samples_of({1, 2, 3, 4, 5, 6, 7});
  const auto steps = [&](double epochs) { return RunSteps(samples, kPlain, epochs, 0).steps(); };
  EXPECT_EQ(steps(0.25), 1);  // of two steps
  EXPECT_EQ(steps(0.5), 1);
  EXPECT_EQ(steps(0.51), 2);
  EXPECT_EQ(steps(2.5), 5);
  EXPECT_EQ(steps(2.75), 6);
  const auto ten = samples_of(std::vector<int>(40, 1));
  EXPECT_EQ(RunSteps(ten, kPlain, 2.1, 0).steps(), 21);  // 2.1 - 2 is a little above 0.1
  const RunSteps part(samples, kPlain, 1.5, 0);
  EXPECT_EQ(part.epoch_after(3), 1 + 4.0 / 7.0);
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

TEST(Batches, RowsAreFull) {
  std::vector<int> lengths;
  for (int i = 0; i < 4000; ++i) lengths.push_back(1 + (i * 7919) % 97);
  const auto samples = samples_of(lengths);
  BatchOptions options = kPlain;
  options.sequence_len = 100;
  options.packing = options.shuffle = true;
  const Rows rows = epoch_rows(samples, options, 0);
  EXPECT_EQ(trained_on(rows).size(), lengths.size());
  EXPECT_GT(double(samples.tokens()) / double(int64_t(rows.size()) * options.sequence_len), 0.98);
  // The rows of a window come in no order of length.
  EXPECT_NE(lengths[size_t(rows[0][0])], 97);
}

TEST(Batches, WeightsRepeatAndThinOut) {
  const std::vector<Sample> ten = of_lengths(std::vector<int>(10, 1));
  BatchOptions options = kPlain;
  EXPECT_EQ(trained_on(epoch_rows(list_of(ten, 2), options, 0)).size(), 20u);
  std::vector<int32_t> halves[3];
  for (int64_t epoch : {0, 1, 2}) {
    halves[epoch] = trained_on(epoch_rows(list_of(ten, 0.5), options, epoch));
    EXPECT_EQ(std::set(halves[epoch].begin(), halves[epoch].end()).size(), 5u);
  }
  EXPECT_TRUE(halves[0] != halves[1] || halves[0] != halves[2]);
  // Every sample, and half of them once more; the second data set keeps its numbers.
  SampleList both = list_of(ten, 1.5);
  both.append(std::make_shared<const SampleStore>([&] {
    SampleWriter writer;
    for (const Sample& sample : ten) writer.add(sample);
    return writer.finish(nullptr);
  }()));
  options.shuffle = true;
  const auto all = trained_on(epoch_rows(both, options, 0));
  EXPECT_EQ(all.size(), 25u);
  EXPECT_EQ(std::set(all.begin(), all.end()).size(), 20u);
  EXPECT_NE(both.fingerprint(), list_of(ten, 1.5).fingerprint());
  EXPECT_NE(list_of(ten, 2).fingerprint(), list_of(ten).fingerprint());
  EXPECT_THROW(RunSteps(list_of(ten, 0.01), options, 1, 0), Error);
}

TEST(Batches, StepsOfGroupedRowsAreOfLikeLength) {
  std::vector<int> lengths;
  for (int i = 0; i < 230; ++i) lengths.push_back(1 + (i * 7919) % 97);
  const auto samples = samples_of(lengths);
  BatchOptions options = kPlain;
  options.shuffle = options.group_by_length = true;
  const Rows rows = epoch_rows(samples, options, 3);
  std::vector<int32_t> all(230);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(trained_on(rows), all);
  int64_t spread = 0;
  bool sorted = true;
  for (size_t step = 0; step + 4 <= 200; step += 4) {  // the first stretch
    int64_t least = 97, most = 0;
    for (size_t r = step; r < step + 4; ++r) {
      least = std::min(least, row_tokens(samples, rows[r]));
      most = std::max(most, row_tokens(samples, rows[r]));
      if (r > 0) sorted &= row_tokens(samples, rows[r]) <= row_tokens(samples, rows[r - 1]);
    }
    spread = std::max(spread, most - least);
  }
  EXPECT_LE(spread, 8);
  EXPECT_FALSE(sorted);
}

TEST(Batches, EvaluationTakesEachSampleOnceInOrder) {
  const SampleList samples = list_of(of_lengths({4, 4, 4, 9, 1}));
  BatchOptions options = kPlain;
  options.packing = options.shuffle = true;
  const EvaluationBatches batches(samples, options);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].ids, (std::vector<int32_t>{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2}));
  EXPECT_EQ(batches[1].tokens(), 10);
  EXPECT_EQ(batches.max_tokens(), 12);
}

TEST(Batches, ValidationIsADisjointShareInFileOrder) {
  const SampleList samples = list_of(of_lengths(std::vector<int>(20, 3)), 3);
  const auto [validation, training] = samples.split(held_out(samples.size(), 0.25, 7));
  EXPECT_EQ(validation.size(), 5u);
  EXPECT_EQ(training.size(), 15u);
  EXPECT_EQ(validation.parts().front().weight, 1);  // for evaluation, each counts once
  EXPECT_EQ(training.parts().front().weight, 3);
  std::vector<int32_t> all;
  for (const SampleList* set : {&training, &validation}) {
    for (size_t i = 0; i + 1 < set->size(); ++i) EXPECT_LT((*set)[i].ids[0], (*set)[i + 1].ids[0]);
    for (size_t i = 0; i < set->size(); ++i) all.push_back((*set)[i].ids[0]);
  }
  std::sort(all.begin(), all.end());
  std::vector<int32_t> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
  EXPECT_THROW(held_out(20, 20, 7), Error);
}

}  // namespace
}  // namespace tessera::launch
