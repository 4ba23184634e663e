// Every family against transformers and PEFT: losses, logits and the adapter's gradients on a tiny
// model, held to a float64 run of the same weights (tests/golden/families).
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "lora/decoder/generation_step.h"
#include "lora/decoder/training_pass.h"
#include "tests/dense_model.h"
#include "tests/family_golden.h"
#include "tests/scratch_folder.h"

namespace tessera::lora {
namespace {

namespace fs = std::filesystem;
using tessera::testing::alone;
using tessera::testing::batch_of;
using tessera::testing::DenseModel;
using tessera::testing::Distances;
using tessera::testing::expect_near_float64;
using tessera::testing::FamilyGolden;
using tessera::testing::kExact;
using tessera::testing::kPeer;
using tessera::testing::largest_difference;
using tessera::testing::losses_of;
using tessera::testing::relative_difference;

class Families : public ::testing::TestWithParam<const char*> {
 protected:
  FamilyGolden golden_{GetParam()};
};

TEST_P(Families, LossesOfTheBase) {
  DenseModel model(golden_.folder);
  const std::vector<float> losses = losses_of(model, alone(golden_.samples));
  Distances of_token, of_mean;
  double sum = 0.0;
  size_t begin = 0;
  for (size_t s = 0; s < golden_.samples.size(); ++s) {
    const std::vector<double> exact = golden_.values(s, "losses", kExact);
    const std::vector<double> ours(losses.begin() + std::ptrdiff_t(begin),
                                   losses.begin() + std::ptrdiff_t(begin + exact.size()));
    begin += exact.size();
    of_token.add(largest_difference(ours, exact),
                 largest_difference(golden_.values(s, "losses", kPeer), exact));
    for (double loss : ours) sum += loss;
  }
  EXPECT_EQ(begin, losses.size());
  const nlohmann::json& mean = golden_.numbers.at("base");
  const double exact = mean.at(kExact).at("loss");
  of_mean.add(relative_difference(sum / double(golden_.targets), exact),
              relative_difference(mean.at(kPeer).at("loss"), exact));
  expect_near_float64(golden_, "loss of a token", of_token, 5e-5);
  expect_near_float64(golden_, "loss", of_mean, 1e-5);
}

TEST_P(Families, SamplesInOneBatchHaveTheBitsThatEachHasAlone) {
  DenseModel model(golden_.folder, golden_.adapter);
  EXPECT_EQ(losses_of(model, {batch_of(golden_.samples)}),
            losses_of(model, alone(golden_.samples)));
}

TEST_P(Families, LogitsOfTheBaseOverACache) {
  DenseModel model(golden_.folder);
  Distances of_logits;
  for (size_t s = 0; s < golden_.samples.size(); ++s) {
    const std::span<const int32_t> ids = golden_.samples[s];
    const auto length = int64_t(ids.size());
    const std::vector<double> exact = golden_.values(s, "logits", kExact);
    GenerationStep step(*model.decoder);
    KvCache cache = step.make_cache({2, length, length});
    step.plan(length, cache);
    model.decoder->allocate();
    // The last three positions one by one, and then all positions at once.
    std::vector<double> ours;
    std::vector<float> last;
    size_t fed = 0;
    for (size_t end = ids.size() - 2; end <= ids.size(); ++end) {
      const Feed feed{0, ids.subspan(fed, end - fed)};
      last = step.run(cache, {&feed, 1});
      ours.insert(ours.end(), last.begin(), last.end());
      fed = end;
    }
    const Feed whole{1, ids};
    EXPECT_EQ(step.run(cache, {&whole, 1}), last) << "sample " << s;
    of_logits.add(largest_difference(ours, exact),
                  largest_difference(golden_.values(s, "logits", kPeer), exact));
  }
  expect_near_float64(golden_, "logits", of_logits, 5e-5);
}

/// The mean loss over the batches; leaves its gradient in the model.
double train_on(DenseModel& model, const std::vector<Batch>& batches, int64_t targets) {
  TrainingPass pass(*model.decoder, default_loss());
  std::fill(model.gradients.begin(), model.gradients.end(), 0.0f);
  double loss = 0.0;
  for (const Batch& batch : batches) {
    pass.plan(batch.tokens());
    model.decoder->allocate();
    loss += pass.forward(batch, {}, float(1.0 / double(targets)));
    pass.backward();
  }
  return loss / double(targets);
}

double norm_of(std::span<const double> values) {
  double sum = 0.0;
  for (double x : values) sum += x * x;
  return std::sqrt(sum);
}

double norm_of_difference(std::span<const double> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  std::vector<double> difference(std::min(a.size(), b.size()));
  for (size_t i = 0; i < difference.size(); ++i) difference[i] = a[i] - b[i];
  return norm_of(difference);
}

void expect_gradients(const FamilyGolden& golden, DenseModel& model, double loss) {
  Distances of_tensor, of_loss, of_norm;
  double squares = 0.0;
  for (const Segment& segment : model.adapters->segments()) {
    const auto named = [&](const char* precision) {
      return golden.values(fmt::format("gradient.{}/base_model.model.{}", precision, segment.name));
    };
    const auto begin = model.gradients.begin() + std::ptrdiff_t(segment.offset);
    const std::vector<double> ours(begin, begin + std::ptrdiff_t(segment.elements()));
    const std::vector<double> exact = named(kExact);
    of_tensor.add(norm_of_difference(ours, exact) / norm_of(exact),
                  norm_of_difference(named(kPeer), exact) / norm_of(exact));
    squares += norm_of(ours) * norm_of(ours);
  }
  const nlohmann::json& adapter = golden.numbers.at("adapter");
  const nlohmann::json &exact = adapter.at(kExact), &peer = adapter.at(kPeer);
  of_loss.add(relative_difference(loss, exact.at("loss")),
              relative_difference(peer.at("loss"), exact.at("loss")));
  of_norm.add(relative_difference(std::sqrt(squares), exact.at("grad_norm")),
              relative_difference(peer.at("grad_norm"), exact.at("grad_norm")));
  expect_near_float64(golden, "loss with an adapter", of_loss, 1e-5);
  expect_near_float64(golden, "gradient norm", of_norm, 1e-4);
  expect_near_float64(golden, "gradient of a tensor", of_tensor, 1e-4);
}

TEST_P(Families, GradientsOfTheAdapter) {
  DenseModel model(golden_.folder, golden_.adapter);
  ASSERT_EQ(model.adapters->linears().size(), linears_of(model.checkpoint.spec()).size());
  const double loss = train_on(model, {batch_of(golden_.samples)}, golden_.targets);
  expect_gradients(golden_, model, loss);
}

TEST_P(Families, GradientsOfSamplesOneByOne) {
  DenseModel model(golden_.folder, golden_.adapter);
  const double loss = train_on(model, alone(golden_.samples), golden_.targets);
  expect_gradients(golden_, model, loss);
}

TEST_P(Families, RecomputationChangesNoBit) {
  const std::vector<Batch> batch = {batch_of(golden_.samples)};
  DenseModel keep(golden_.folder, golden_.adapter);
  DenseModel again(golden_.folder, golden_.adapter, parallel::Policy::kRecompute);
  EXPECT_EQ(train_on(keep, batch, golden_.targets), train_on(again, batch, golden_.targets));
  EXPECT_EQ(keep.gradients, again.gradients);
}

/// config_of_transformers5.json is what transformers 5 writes after it read config.json.
TEST_P(Families, TheConfigThatTransformers5WritesIsTheSameModel) {
  const tessera::testing::ScratchFolder copy;
  fs::copy_file(golden_.folder + "/model.safetensors", copy.file("model.safetensors"));
  fs::copy_file(golden_.folder + "/config_of_transformers5.json", copy.file("config.json"));
  DenseModel model(golden_.folder, golden_.adapter), rewritten(copy.path(), golden_.adapter);
  const std::vector<Batch> batches = alone(golden_.samples);
  EXPECT_EQ(losses_of(rewritten, batches), losses_of(model, batches));
  EXPECT_EQ(rewritten.checkpoint.spec().max_position, model.checkpoint.spec().max_position);
  EXPECT_EQ(rewritten.checkpoint.spec().dtype, model.checkpoint.spec().dtype);
}

INSTANTIATE_TEST_SUITE_P(All, Families, ::testing::ValuesIn(tessera::testing::kFamilyNames),
                         [](const auto& info) { return std::string(info.param); });

/// The class ties a head that neither the config nor the files tell of.
TEST(HeadOfMistral3, IsTheEmbeddingWhereTheFilesHaveNoOther) {
  const FamilyGolden golden("mistral3");
  const tessera::testing::ScratchFolder copy;
  nlohmann::json config = io::read_json_file(golden.folder + "/config.json", 1 << 20);
  ASSERT_EQ(config.erase("tie_word_embeddings"), 1u);
  copy.write("config.json", config.dump());
  fs::copy_file(golden.folder + "/model.safetensors", copy.file("model.safetensors"));
  DenseModel said(golden.folder), silent(copy.path());
  EXPECT_TRUE(silent.checkpoint.spec().tied_head);
  EXPECT_EQ(losses_of(silent, alone(golden.samples)), losses_of(said, alone(golden.samples)));
}

TEST(FamilyGoldens, AreAllInTheTable) {
  std::set<std::string> folders, names;
  for (const auto& entry : fs::directory_iterator(std::string(TESSERA_GOLDEN_DIR) + "/families")) {
    if (fs::exists(entry.path() / "golden.json")) folders.insert(entry.path().filename());
  }
  for (const char* name : tessera::testing::kFamilyNames) names.insert(name);
  EXPECT_EQ(folders, names);
}

}  // namespace
}  // namespace tessera::lora
