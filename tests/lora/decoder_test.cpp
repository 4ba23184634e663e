// The decoder's gradient against finite differences, and its promises about bits.
#include "lora/decoder/evaluation_pass.h"
#include "lora/decoder/generation_step.h"
#include "lora/decoder/training_pass.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "hwy/targets.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"

namespace tessera::lora {
namespace {

/// The tiny model of tests/golden with adapters whose B is not zero.
struct TinyModel {
  explicit TinyModel(int threads = 2, parallel::Policy policy = parallel::Policy::kKeep,
                     double dropout = 0.0, const quant::Format* format = &quant::kNf4Format,
                     TargetModules targets = {})
      : ctx(Device::cpu(), threads, 7),
        checkpoint(Checkpoint::open(std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama")) {
    BaseFormat base_format = checkpoint_format(checkpoint);
    base_format.linear = {format};
    base = std::make_unique<BaseWeights>(ctx, checkpoint.spec(), base_format, Placement{group, {}});
    load_base(ctx, checkpoint, *base, group, [](int64_t, int64_t) {});
    scheduler = std::make_unique<parallel::LayerScheduler>(ctx, base->store());
    scheduler->set_groups(parallel::uniform_groups(checkpoint.spec().layer_count(), policy, 1));
    AdapterOptions options;
    options.r = 4;
    options.dropout = dropout;
    options.targets = std::move(targets);
    adapters = std::make_unique<AdapterSet>(checkpoint.spec(), options);
    adapters->init(3);
    adapters->copy_whole(checkpoint);
    uint32_t state = 1;
    for (const Segment& segment : adapters->segments()) {
      if (segment.name.find("lora_B") == std::string::npos) continue;
      for (size_t i = 0; i < segment.elements(); ++i) {
        state = state * 1664525u + 1013904223u;
        adapters->params()[segment.offset + i] = (float(state >> 8) / float(1 << 24) - 0.5f) * 0.2f;
      }
    }
    grads.assign(adapters->size(), 0.0f);
    adapters->set_gradient_buffer(grads);
    decoder = std::make_unique<Decoder>(ctx, *base, *scheduler, adapters.get());
    training.emplace(*decoder, default_loss());
    training->plan(128);
    decoder->allocate();
  }

  double run(const Batch& batch, float scale) {
    std::fill(grads.begin(), grads.end(), 0.0f);
    const double loss = training->forward(batch, {5, 1}, scale);
    training->backward();
    return loss;
  }

  Context ctx;
  Checkpoint checkpoint;
  parallel::SelfCommunicator group;
  std::unique_ptr<BaseWeights> base;
  std::unique_ptr<parallel::LayerScheduler> scheduler;
  std::unique_ptr<AdapterSet> adapters;
  std::vector<float> grads;
  std::unique_ptr<Decoder> decoder;
  std::optional<TrainingPass> training;
};

/// Samples of the given lengths; every third position is not supervised.
Batch batch_of(std::initializer_list<int> lengths, uint32_t seed = 9) {
  Batch batch;
  batch.starts.push_back(0);
  for (int length : lengths) {
    for (int i = 0; i < length; ++i) {
      seed = seed * 1664525u + 1013904223u;
      batch.ids.push_back(int32_t(seed >> 16) & 0xff);
      batch.targets.push_back(i % 3 == 0 ? Batch::kUnsupervised : int32_t(seed >> 8) & 0xff);
      batch.positions.push_back(i);
    }
    batch.starts.push_back(int32_t(batch.ids.size()));
  }
  return batch;
}

void expect_gradient(TinyModel& model, const Batch& batch) {
  const auto scale = float(1.0 / batch.weight());
  model.run(batch, scale);
  const std::vector<float> grads = model.grads;
  // Along the gradient of one tensor at a time the slope is its squared norm. Losses are float32
  // sums of about 20 terms: their noise (about 1e-7 relative) over the step bounds the error.
  for (const Segment& segment : model.adapters->segments()) {
    double norm = 0.0;
    for (size_t i = 0; i < segment.elements(); ++i) {
      norm += double(grads[segment.offset + i]) * double(grads[segment.offset + i]);
    }
    norm = std::sqrt(norm);
    ASSERT_GT(norm, 0.0) << segment.name;
    const double step = 5e-3;
    std::array<double, 2> loss{};
    const std::vector<float> saved(model.adapters->params().begin(),
                                   model.adapters->params().end());
    for (int side : {0, 1}) {
      for (size_t i = 0; i < segment.elements(); ++i) {
        model.adapters->params()[segment.offset + i] =
            saved[segment.offset + i] +
            float((side ? step : -step) * double(grads[segment.offset + i]) / norm);
      }
      loss[size_t(side)] = model.training->forward(batch, {5, 1}, scale) * double(scale);
    }
    std::copy(saved.begin(), saved.end(), model.adapters->params().begin());
    const double slope = (loss[1] - loss[0]) / (2 * step);
    EXPECT_NEAR(slope / norm, 1.0, 5e-4) << segment.name << " norm " << norm;
  }
}

TEST(Decoder, GradientAgreesWithFiniteDifferences) {
  TinyModel model;
  expect_gradient(model, batch_of({9, 17, 1, 5}));
}

TEST(Decoder, GradientWithDropoutAgreesWithFiniteDifferences) {
  TinyModel model(2, parallel::Policy::kKeep, 0.3);
  expect_gradient(model, batch_of({9, 17, 1, 5}));
}

TEST(Decoder, GradientOfSomeLayersAgreesWithFiniteDifferences) {
  const std::string first = "model.layers.0.", last = "model.layers.1.";
  const std::vector<std::vector<std::string>> some = {
      {first + "self_attn.q_proj", first + "mlp.down_proj"},
      {last + "self_attn.v_proj", last + "mlp.up_proj"},
      {first + "self_attn.o_proj", "gate_proj"}};
  for (const auto& targets : some) {
    for (auto policy : {parallel::Policy::kKeep, parallel::Policy::kRecompute}) {
      TinyModel model(2, policy, 0.3, &quant::kNf4Format, {.modules = {.names = targets}});
      expect_gradient(model, batch_of({9, 17, 1, 5}));
    }
  }
}

/// Also where no adapter sits on the first layer, whose gradient the embedding's needs.
TEST(Decoder, GradientOfWholeMatricesAgreesWithFiniteDifferences) {
  const TargetModules last = {.modules = {.names = {"model.layers.1.mlp.up_proj"}},
                              .whole = {"lm_head", "embed_tokens"}};
  for (auto policy : {parallel::Policy::kKeep, parallel::Policy::kRecompute}) {
    TinyModel model(2, policy, 0.0, &quant::kNf4Format, last);
    ASSERT_EQ(model.adapters->segments().size(), 4u);
    expect_gradient(model, batch_of({9, 17, 1, 5}));
  }
}

/// They begin as the base's: to train them changes nothing before the first step.
TEST(Decoder, WholeMatricesOfTheBaseGiveItsLossToTheBit) {
  const Batch batch = batch_of({9, 17, 1, 5});
  TinyModel frozen;
  const double expected = frozen.run(batch, 0.1f);
  for (const std::vector<std::string>& whole :
       {std::vector<std::string>{"lm_head"}, {"embed_tokens"}, {"embed_tokens", "lm_head"}}) {
    TinyModel model(2, parallel::Policy::kKeep, 0.0, &quant::kNf4Format, {.whole = whole});
    EXPECT_EQ(model.run(batch, 0.1f), expected);
    // The adapters' gradients, too, and they alone stand at the begin of the buffer.
    EXPECT_TRUE(
        std::ranges::equal(frozen.grads, std::span(model.grads).first(frozen.grads.size())));
    EXPECT_GT(model.grads.size(), frozen.grads.size());
  }
}

/// The gradient is the slope of the weighted mean.
TEST(Decoder, GradientUnderMixedWeightsAgreesWithFiniteDifferences) {
  Batch batch = batch_of({9, 17, 1, 5});
  for (size_t i = 0; i < batch.ids.size(); ++i) batch.weights.push_back(0.375f * float(i * i % 5));
  EXPECT_NE(batch.weight(), double(batch.supervised()));
  TinyModel model;
  expect_gradient(model, batch);
}

/// Loss and gradients; `weights` of the batch's positions.
std::vector<double> run_weighted(Batch batch, std::vector<float> weights, float scale) {
  TinyModel model(2, parallel::Policy::kKeep, 0.1);
  model.training->plan(batch.tokens());
  model.decoder->allocate();
  batch.weights = std::move(weights);
  std::vector<double> all = {model.run(batch, scale)};
  all.insert(all.end(), model.grads.begin(), model.grads.end());
  return all;
}

TEST(Decoder, WeightsOf1ChangeNoBit) {
  const Batch batch = batch_of({40, 33, 20});
  const std::vector<float> ones(batch.ids.size(), 1.0f);
  EXPECT_EQ(run_weighted(batch, ones, 0.01f), run_weighted(batch, {}, 0.01f));
}

TEST(Decoder, TwiceTheWeightIsTwiceTheLossAndTwiceTheScale) {
  const Batch batch = batch_of({40, 33, 20});
  const std::vector<float> twos(batch.ids.size(), 2.0f);
  const std::vector<double> doubled = run_weighted(batch, twos, 0.01f);
  std::vector<double> expected = run_weighted(batch, {}, 0.02f);
  expected[0] *= 2;
  EXPECT_EQ(doubled, expected);
}

TEST(Decoder, ATokenOfWeight0TrainsAsIfItWereNotSupervised) {
  Batch batch = batch_of({400, 400, 400, 400, 60});
  ASSERT_GT(batch.supervised(), 1024);  // rows of the head's first chunk
  const size_t at = 1650;
  ASSERT_NE(batch.targets[at], Batch::kUnsupervised);
  std::vector<float> weights(batch.ids.size(), 1.0f);
  const std::vector<double> all = run_weighted(batch, weights, 0.1f);
  weights[at] = 0.0f;
  const std::vector<double> without = run_weighted(batch, weights, 0.1f);
  batch.targets[at] = Batch::kUnsupervised;
  EXPECT_EQ(without, run_weighted(batch, {}, 0.1f));
  EXPECT_NE(without, all);
}

TEST(Decoder, LossesOfTokensAreWithoutTheirWeights) {
  TinyModel model;
  EvaluationPass pass(*model.decoder, default_loss());
  Batch batch = batch_of({9, 17, 5});
  std::vector<float> plain, weighted;
  pass.loss(batch, &plain);
  for (size_t i = 0; i < batch.ids.size(); ++i) batch.weights.push_back(0.3f * float(i % 4));
  const double sum = pass.loss(batch, &weighted);
  EXPECT_EQ(weighted, plain);
  double expected = 0.0, weight = 0.0;
  size_t of_token = 0;
  for (size_t i = 0; i < batch.ids.size(); ++i) {
    if (batch.targets[i] == Batch::kUnsupervised) continue;
    expected += double(batch.weights[i]) * double(plain[of_token++]);
    weight += double(batch.weights[i]);
  }
  EXPECT_EQ(of_token, plain.size());
  EXPECT_EQ(sum, expected);
  EXPECT_EQ(batch.weight(), weight);
}

TEST(Decoder, RefusesWeightsThatAreNotOneForEachPosition) {
  TinyModel model;
  Batch batch = batch_of({9});
  batch.weights.assign(batch.ids.size() - 1, 1.0f);
  EXPECT_THROW(model.run(batch, 1.0f), std::logic_error);
}

TEST(Losses, AreInATableThatBeginsWithTheDefault) {
  EXPECT_EQ(&losses().front(), &default_loss());
  EXPECT_EQ(default_loss().name, "cross_entropy");
  for (const Loss& loss : losses()) {
    EXPECT_EQ(std::ranges::count(losses(), loss.name, &Loss::name), 1) << loss.name;
  }
}

TEST(Decoder, SameBitsOnAnyThreadCountPolicyAndTarget) {
  const Batch batch = batch_of({40, 33, 20});
  TinyModel reference(1, parallel::Policy::kKeep, 0.1);
  const double loss = reference.run(batch, 0.01f);
  const auto expect_same = [&](TinyModel& model) {
    EXPECT_EQ(loss, model.run(batch, 0.01f));
    EXPECT_EQ(reference.grads, model.grads);
  };
  for (int threads : {2, 4}) {
    TinyModel model(threads, parallel::Policy::kKeep, 0.1);
    expect_same(model);
  }
  TinyModel recompute(2, parallel::Policy::kRecompute, 0.1);
  expect_same(recompute);
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  TinyModel avx2(2, parallel::Policy::kKeep, 0.1);
  expect_same(avx2);
  hwy::SetSupportedTargetsForTest(0);
}

TEST(Decoder, RecomputationNeedsLessMemory) {
  TinyModel keep, recompute(2, parallel::Policy::kRecompute);
  EXPECT_LT(recompute.training->plan(512).activations, keep.training->plan(512).activations);
}

TEST(Decoder, PackedSamplesLoseNothing) {
  TinyModel model;
  std::vector<float> packed, alone;
  EvaluationPass(*model.decoder, default_loss()).loss(batch_of({9, 17, 5}), &packed);
  const Batch all = batch_of({9, 17, 5});
  for (size_t s = 0; s + 1 < all.starts.size(); ++s) {
    const auto begin = all.starts[s], end = all.starts[s + 1];
    Batch one;
    one.ids.assign(all.ids.begin() + begin, all.ids.begin() + end);
    one.targets.assign(all.targets.begin() + begin, all.targets.begin() + end);
    one.positions.assign(all.positions.begin() + begin, all.positions.begin() + end);
    one.starts = {0, end - begin};
    EvaluationPass(*model.decoder, default_loss()).loss(one, &alone);
  }
  EXPECT_EQ(packed, alone);  // to the bit, so within 1e-6 too
}

TEST(Decoder, StepsOverACacheEqualOnePass) {
  TinyModel model;
  const Batch whole = batch_of({12});
  GenerationStep step(*model.decoder);
  KvCache cache = step.make_cache({2, 16, 16});
  step.plan(12, cache);
  model.decoder->allocate();
  const Feed all{0, whole.ids};
  const std::vector<float> expected = step.run(cache, {&all, 1});
  std::vector<float> last;
  for (int32_t id : whole.ids) {
    const Feed feed{1, {&id, 1}};
    last = step.run(cache, {&feed, 1});
  }
  EXPECT_EQ(expected, last);
}

/// Batches of as many tokens, cut into other samples: what attention keeps of a batch is its own.
TEST(Decoder, EachBatchHasSamplesOfItsOwn) {
  const Batch batches[] = {batch_of({30, 10}), batch_of({10, 30})};
  const auto gradients_of = [&](std::initializer_list<int> which) {
    TinyModel model;
    for (int i : which) model.run(batches[i], 1.0f);
    return model.grads;
  };
  EXPECT_EQ(gradients_of({0, 1}), gradients_of({1}));
  EXPECT_EQ(gradients_of({1, 0}), gradients_of({0}));
  EXPECT_NE(gradients_of({0}), gradients_of({1}));
}

}  // namespace
}  // namespace tessera::lora
