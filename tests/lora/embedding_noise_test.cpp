// NEFTune: noise on the embedding in training alone, of the size that transformers gives it; and
// smoothed targets through the decoder.
#include <gtest/gtest.h>

#include <cmath>

#include "lora/decoder/training_pass.h"
#include "runtime/io/json.h"
#include "runtime/ops/noise.h"
#include "tests/dense_model.h"

namespace tessera::lora {
namespace {

using Floats = std::vector<float>;
using tessera::testing::batch_of;
using tessera::testing::DenseModel;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";
constexpr int64_t kTokens = 64;
constexpr double kAlpha = 5;

/// A model with an adapter, ready to train.
struct Model : DenseModel {
  explicit Model(parallel::Policy policy = parallel::Policy::kKeep,
                 const Loss& loss = default_loss())
      : DenseModel(kTiny, kTiny + "/adapter_out", policy), pass(*decoder, loss) {
    pass.plan(kTokens);
    decoder->allocate();
  }
  /// Loss and gradients.
  Floats run(const Batch& batch, RunKey key) {
    std::ranges::fill(gradients, 0.0f);
    Floats all = {float(pass.forward(batch, key, 0.1f))};
    pass.backward();
    all.insert(all.end(), gradients.begin(), gradients.end());
    return all;
  }
  TrainingPass pass;
};

Batch some_batch() {
  return batch_of({{5, 17, 150, 3, 9}, {1, 2, 3, 4, 5, 6, 7, 8, 9}, {30, 20, 10}});
}

Floats embedded(Decoder& decoder, const Batch& batch, const std::optional<EmbeddingNoise>& noise) {
  const int64_t n = batch.tokens(), c = decoder.spec().hidden;
  Floats x(size_t(n * c));
  decoder.embed(Tensor::of(std::span(x), {n, c}), batch, noise);
  return x;
}

/// A number that transformers gave for rows of `width` tokens: "bound" or "added".
double golden(const std::string& model, int64_t width, const char* key) {
  static const nlohmann::json file =
      io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/ops/neftune.json", size_t{1} << 20);
  EXPECT_EQ(file["alpha"], kAlpha);
  for (const nlohmann::json& one : file["cases"]) {
    if (one["model"] == model && one["width"] == width) return one[key];
  }
  ADD_FAILURE() << model << " " << width;
  return 0;
}

/// What is added for a longest row of `row` tokens.
void expect_noise(Decoder& decoder, const Batch& batch, int64_t row) {
  const EmbeddingNoise noise{kAlpha, {3, 2}};
  const Floats plain = embedded(decoder, batch, std::nullopt);
  const Floats noisy = embedded(decoder, batch, noise);
  const double c = double(decoder.spec().hidden);
  const auto bound = float(kAlpha / std::sqrt(double(row) * c));
  EXPECT_NEAR(bound, golden("tiny_llama", row, "bound"), 1e-7);
  const DropoutKey key{decoder.context().seed(), 3, 2, 0, 0xff};
  for (size_t i = 0; i < plain.size(); ++i) {
    const PhiloxCounter random = philox(dropout_counter(key, i / 4), dropout_key(key));
    const float product = noise_of(random.word[i % 4]) * bound;
    ASSERT_EQ(noisy[i], plain[i] + product) << i;
  }
}

TEST(EmbeddingNoise, IsThatOfThePaddedBatch) {
  Model model;
  Batch batch = some_batch();
  expect_noise(*model.decoder, batch, 9);
  batch.width = 14;  // the first two samples share a row
  expect_noise(*model.decoder, batch, 14);
}

/// transformers scales the embedding of Gemma inside the module that gets the noise, and that of
/// Granite behind it.
TEST(EmbeddingNoise, IsScaledAsTheEmbeddingWhereTheModelScalesBehindIt) {
  const Batch batch = some_batch();
  for (const char* family : {"gemma3_text", "granite"}) {
    const std::string folder = std::string(TESSERA_GOLDEN_DIR) + "/families/" + family;
    DenseModel model(folder);
    EvaluationPass(*model.decoder, default_loss()).plan(kTokens);
    model.decoder->allocate();
    ASSERT_NE(model.decoder->spec().embedding_scale, 1.0) << family;
    const Floats plain = embedded(*model.decoder, batch, std::nullopt);
    const Floats noisy = embedded(*model.decoder, batch, EmbeddingNoise{kAlpha, {}});
    double largest = 0;
    for (size_t i = 0; i < plain.size(); ++i) {
      largest = std::max(largest, std::abs(double(noisy[i]) - double(plain[i])));
    }
    const double expected = golden(family, 9, "added");
    EXPECT_LE(largest, expected * (1 + 1e-5)) << family;
    EXPECT_GT(largest, expected * 0.98) << family;
  }
}

TEST(EmbeddingNoise, TheKeyAndAlphaAloneDecideWhateverIsRecomputed) {
  const Batch batch = some_batch();
  Model model;
  const Floats plain = model.run(batch, {3, 1});
  model.pass.set_noise_alpha(5);
  const Floats noisy = model.run(batch, {3, 1});
  EXPECT_NE(noisy[0], plain[0]);
  EXPECT_NEAR(noisy[0], plain[0], 0.2 * double(plain[0]));
  EXPECT_EQ(noisy, model.run(batch, {3, 1}));
  EXPECT_NE(noisy, model.run(batch, {4, 1}));
  EXPECT_NE(noisy, model.run(batch, {3, 0}));
  for (parallel::Policy policy : {parallel::Policy::kRecompute, parallel::Policy::kOffload}) {
    Model other(policy);
    other.pass.set_noise_alpha(5);
    EXPECT_EQ(noisy, other.run(batch, {3, 1}));
  }
  model.pass.set_noise_alpha(std::nullopt);
  EXPECT_EQ(plain, model.run(batch, {3, 1}));
}

TEST(EmbeddingNoise, AnEvaluationHasNone) {
  const Batch batch = some_batch();
  Model model;
  EvaluationPass evaluation(*model.decoder, default_loss());
  const double before = evaluation.loss(batch, nullptr);
  model.pass.set_noise_alpha(5);
  model.run(batch, {});
  EXPECT_EQ(evaluation.loss(batch, nullptr), before);
}

TEST(EmbeddingNoise, TheGradientIsThatOfTheNoisyLoss) {
  const Batch batch = some_batch();
  Model model;
  model.pass.set_noise_alpha(5);
  const Floats result = model.run(batch, {3, 1});
  double squares = 0;
  for (size_t i = 1; i < result.size(); ++i) squares += double(result[i]) * double(result[i]);
  const double norm = std::sqrt(squares), step = 2e-3;
  const Floats saved(model.adapters->params().begin(), model.adapters->params().end());
  const auto loss_at = [&](double h) {
    for (size_t i = 0; i < saved.size(); ++i) {
      model.adapters->params()[i] = saved[i] + float(h * double(result[i + 1]) / norm);
    }
    return model.pass.forward(batch, {3, 1}, 0.1f) * 0.1;
  };
  EXPECT_NEAR((loss_at(step) - loss_at(-step)) / (2 * step) / norm, 1.0, 2e-3);
}

/// (1 - s) times the plain loss and s times the mean over the vocabulary: linear in s.
TEST(LabelSmoothing, IsLinearInTheFactorInTrainingAndEvaluation) {
  const Batch batch = some_batch();
  const auto losses_with = [&](float smoothing) {
    Loss loss = default_loss();
    loss.settings.label_smoothing = smoothing;
    Model model(parallel::Policy::kKeep, loss);
    EvaluationPass evaluation(*model.decoder, loss);
    const double trained = model.pass.forward(batch, {}, 1.0f);
    EXPECT_EQ(trained, evaluation.loss(batch, nullptr));
    return trained;
  };
  const double plain = losses_with(0.0f), half = losses_with(0.5f), quarter = losses_with(0.25f);
  EXPECT_GT(half, plain);
  EXPECT_NEAR(quarter, (plain + half) / 2, 1e-6 * plain);
}

}  // namespace
}  // namespace tessera::lora
