// Rows of the embedding that are trained by themselves: they act as the same rows of a matrix that
// is trained in full, in the embedding and in a head that is tied to it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "lora/decoder/generation_step.h"
#include "lora/decoder/training_pass.h"
#include "tests/dense_model.h"
#include "tests/family_golden.h"
#include "tests/scratch_folder.h"

namespace tessera::lora {
namespace {

using tessera::testing::batch_of;
using tessera::testing::DenseModel;
using tessera::testing::FamilyGolden;
using tessera::testing::losses_of;

class TokenRowsOf : public ::testing::TestWithParam<const char*> {
 protected:
  TokenRowsOf() {
    // Three that occur, the pad token, and one that does not occur.
    for (size_t i : {size_t{0}, size_t{7}, batch_.ids.size() - 1}) add(batch_.ids[i]);
    if (const int32_t pad = Checkpoint::open(golden_.folder).spec().pad_id; pad >= 0) add(pad);
    add(159);
    EXPECT_EQ(std::ranges::count(batch_.ids, 159), 0);
  }
  void add(int32_t id) {
    if (std::ranges::count(ids_, id) == 0) ids_.push_back(id);
  }

  /// The family's adapter, and the base's rows, each value a little off: of the tokens alone, or
  /// inside the whole matrix.
  std::string adapter(bool whole) const {
    const Checkpoint base = Checkpoint::open(golden_.folder);
    const AdapterSet from = load_peft(golden_.adapter, base.spec());
    AdapterOptions options = from.options();
    if (whole) {
      options.targets.whole = {"embed_tokens"};
      options.targets.ensure_tying = base.spec().tied_head;
    } else {
      options.tokens = {ids_};
    }
    AdapterSet to(base.spec(), options);
    std::ranges::copy(from.params(), to.params().begin());
    to.copy_whole(base);
    const Tensor rows = whole ? to.whole(Role::kEmbedding)->w : to.token_rows()->w;
    for (size_t i = 0; i < ids_.size(); ++i) {
      const int64_t row = whole ? ids_[i] : int64_t(i);
      const std::span<float> values = rows.slice(row, row + 1).span<float>();
      for (size_t c = 0; c < values.size(); ++c) values[c] += 0x1p-6f * float((i + c) % 7);
    }
    const std::string folder = scratch_.file(whole ? "whole" : "rows");
    save_peft(folder, to, "");
    return folder;
  }

  /// The mean loss, whose gradient is left in the model.
  double train(DenseModel& model) const {
    TrainingPass pass(*model.decoder, default_loss());
    pass.plan(batch_.tokens());
    model.decoder->allocate();
    std::ranges::fill(model.gradients, 0.0f);
    const double loss = pass.forward(batch_, {}, float(1.0 / batch_.weight()));
    pass.backward();
    return loss / batch_.weight();
  }

  FamilyGolden golden_{GetParam()};
  tessera::testing::ScratchFolder scratch_;
  Batch batch_ = batch_of(golden_.samples);
  std::vector<int64_t> ids_;
};

TEST_P(TokenRowsOf, GiveTheBitsOfTheWholeMatrix) {
  DenseModel rows(golden_.folder, adapter(false)), whole(golden_.folder, adapter(true));
  DenseModel without(golden_.folder, golden_.adapter);
  EXPECT_EQ(losses_of(rows, {batch_}), losses_of(whole, {batch_}));
  EXPECT_NE(losses_of(rows, {batch_}), losses_of(without, {batch_}));
  const auto logits_of = [&](DenseModel& model) {
    GenerationStep step(*model.decoder);
    KvCache cache = step.make_cache({1, 16, 16});
    step.plan(16, cache);
    model.decoder->allocate();
    const Feed feed{0, std::span<const int32_t>(batch_.ids).first(5)};
    return step.run(cache, {&feed, 1});
  };
  EXPECT_EQ(logits_of(rows), logits_of(whole));
}

/// The L2 norm of the difference, as a part of the second's.
double distance(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double squares = 0, apart = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += double(b[i]) * double(b[i]);
    apart += std::pow(double(a[i]) - double(b[i]), 2);
  }
  EXPECT_GT(squares, 0);
  return std::sqrt(apart / squares);
}

TEST_P(TokenRowsOf, HaveTheGradientThatTheyHaveInTheWholeMatrix) {
  for (auto policy : {parallel::Policy::kKeep, parallel::Policy::kRecompute}) {
    DenseModel rows(golden_.folder, adapter(false), policy);
    DenseModel whole(golden_.folder, adapter(true), policy);
    EXPECT_EQ(train(rows), train(whole));
    const Tensor ours = rows.adapters->token_rows()->dw;
    const Tensor expected = whole.adapters->whole(Role::kEmbedding)->dw;
    std::vector<float> of_whole;
    for (int64_t id : ids_) {
      const auto row = expected.slice(id, id + 1).span<const float>();
      of_whole.insert(of_whole.end(), row.begin(), row.end());
    }
    EXPECT_LE(distance(ours.span<const float>(), of_whole), 1e-5);
    // So have the adapters, which stand before.
    const size_t lora = rows.adapters->segments().back().offset;
    EXPECT_LE(
        distance(std::span(rows.gradients).first(lora), std::span(whole.gradients).first(lora)),
        1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TokenRowsOf,
                         ::testing::Values("gemma2", "gemma3", "granite", "llama", "ministral3"),
                         [](const auto& info) { return std::string(info.param); });

/// Of rows in the embedding and in the head, under the head's bound or scale.
class TiedTokenRows : public TokenRowsOf {};

TEST_P(TiedTokenRows, GradientAgreesWithFiniteDifferences) {
  DenseModel model(golden_.folder, adapter(false));
  train(model);
  const TokenRows& rows = *model.adapters->token_rows();
  const auto dw = rows.dw.span<const float>();
  std::vector<float> gradient(dw.begin(), dw.end());
  // As in transformers, that of the pad token's row leaves out the embedding: it is no slope.
  const auto pad = rows.row_of(model.checkpoint.spec().pad_id) * rows.w.cols();
  std::fill_n(gradient.begin() + pad, rows.w.cols(), 0.0f);
  const std::span<float> w = rows.w.span<float>();
  const std::vector<float> before(w.begin(), w.end());
  double norm = 0;
  for (float g : gradient) norm += double(g) * double(g);
  norm = std::sqrt(norm);
  const auto difference = [&](double step) {
    double sides[2];
    for (int side : {0, 1}) {
      for (size_t i = 0; i < w.size(); ++i) {
        w[i] = before[i] + float((side ? step : -step) * double(gradient[i]) / norm);
      }
      sides[side] = train(model);
    }
    return sides[1] - sides[0];
  };
  // The slope along the gradient to the fourth order: the losses are far from straight here.
  const double step = 4e-3;
  const double slope = (8 * difference(step) - difference(2 * step)) / (12 * step);
  EXPECT_NEAR(slope / norm, 1.0, 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Families, TiedTokenRows, ::testing::Values("gemma2", "granite"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::lora
