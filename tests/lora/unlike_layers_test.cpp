// Models whose layers differ from each other: in heads and widths, so that each has a blob,
// activations and adapters of its own size; and in everything that a family may have.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "lora/decoder/evaluation_pass.h"
#include "lora/decoder/generation_step.h"
#include "lora/decoder/training_pass.h"
#include "parallel/self_communicator.h"
#include "quant/format_dense.h"
#include "tests/expect_error.h"
#include "tests/spec.h"

namespace tessera::lora {
namespace {

constexpr int32_t kVocab = 50;

ModelSpec unlike_spec() {
  ModelSpec spec = testing::llama_spec({.hidden = 32, .vocab = kVocab});
  spec.max_position = 64;
  spec.ropes = {{.dims = 8}};
  spec.layers.push_back(spec.layers.front());
  spec.layers[0].attention = {.heads = 4, .kv_heads = 2, .head_dim = 8};
  spec.layers[1].attention = {.heads = 2, .kv_heads = 1, .head_dim = 8};
  spec.layers[2].attention = {.heads = 6, .kv_heads = 6, .head_dim = 8};
  for (size_t l = 0; l < 3; ++l) spec.layers[l].mlp.width = int64_t(40 + 24 * l);
  return spec;
}

constexpr NormName kAllNorms[] = {
    {NormSite::kBeforeAttention, "a", "a"},
    {NormSite::kAfterAttention, "b", "b"},
    {NormSite::kBeforeMlp, "c", "c"},
    {NormSite::kAfterMlp, "d", "d"},
};
constexpr NormName kNormsBehind[] = {
    {NormSite::kAfterAttention, "b", "b"},
    {NormSite::kAfterMlp, "d", "d"},
};

/// Between its layers it has every field of a spec away from its default.
ModelSpec featured_spec() {
  using Kind = RopeScaling::Kind;
  ModelSpec spec = testing::llama_spec({.hidden = 32, .vocab = kVocab});
  spec.max_position = 64;
  spec.norm_plus = 1;
  spec.embedding_scale = 1.5;
  spec.logit_scale = 0.75;
  spec.logit_softcap = 2;
  spec.ropes = {
      {.dims = 4, .theta = 100, .interleaved = true, .query_growth = 0.3, .query_period = 4},
      {.dims = 8, .scaling = {.kind = Kind::kDynamic, .factor = 3, .original_max_position = 10}},
      {.dims = 8,
       .scaling = {.kind = Kind::kLongrope,
                   .original_max_position = 10,
                   .short_factors = {1, 1.5, 2, 2.5},
                   .long_factors = {2, 3, 4, 5}},
       .attention_factor = 1.2},
  };
  spec.layers.assign(4, spec.layers.front());
  LayerSpec& sandwich = spec.layers[0];
  sandwich.attention = {.heads = 4,
                        .kv_heads = 2,
                        .head_dim = 8,
                        .score_scale = 0.5,
                        .window = 5,
                        .softcap = 3,
                        .rope = 0,
                        .qkv_bias = true,
                        .fused = true,
                        .qk_norm = QkNorm::kPerHead};
  sandwich.mlp = {.width = 40, .activation = Activation::kGeluTanh, .fused = true};
  sandwich.norms = kAllNorms;
  sandwich.residual_scale = 0.7;
  LayerSpec& behind = spec.layers[1];
  behind.attention = {.heads = 6,
                      .kv_heads = 3,
                      .head_dim = 16,
                      .rope = AttentionSpec::kNoRope,
                      .o_bias = true,
                      .qk_norm = QkNorm::kWholeWidth};
  behind.mlp = {.width = 48, .bias = true};
  behind.norms = kNormsBehind;
  spec.layers[2].attention = {.heads = 2, .kv_heads = 1, .head_dim = 8, .rope = 1};
  spec.layers[2].norms = {};
  spec.layers[3].attention = {.heads = 2, .kv_heads = 2, .head_dim = 12, .window = 3, .rope = 2};
  return spec;
}

/// Values in [-scale, scale) from a number per element.
struct Values {
  uint32_t state;
  float operator()(float scale) {
    state = state * 1664525u + 1013904223u;
    return (float(state >> 8) / float(1 << 23) - 1.0f) * scale;
  }
};

void fill(const BlobLayout& layout, int64_t layer, parallel::ShardedStore& store, Values& values) {
  for (const PlacedTensor& tensor : layout.tensors) {
    std::vector<float> floats(tensor.bytes / sizeof(float), 0.0f);
    size_t numel = 1;
    for (int64_t extent : tensor.row.shape) numel *= size_t(extent);
    const bool norm = tensor.row.role == Role::kNorm && tensor.row.gguf_plus == 0;
    for (size_t i = 0; i < numel; ++i) floats[i] = norm ? 1.0f + values(0.1f) : values(0.3f);
    const parallel::BlobPart part{layer, tensor.offset, tensor.bytes};
    store.distribute({&part, 1}, std::as_bytes(std::span(floats)));
  }
}

struct UnlikeModel {
  UnlikeModel(const ModelSpec& spec, parallel::Policy policy)
      : ctx(Device::cpu(), 2, 7),
        base(ctx, spec, {.linear = {&quant::kF32Format}}, Placement{alone, {}}),
        scheduler(ctx, base.store()),
        adapters(base.spec(), options()),
        decoder(ctx, base, scheduler, &adapters),
        training(decoder, default_loss()) {
    Values values{11};
    for (int64_t l = 0; l < spec.layer_count(); ++l)
      fill(base.layout().layers[size_t(l)], l, base.store(), values);
    fill(base.layout().outer, 0, base.outer(), values);
    base.store().finish_loading();
    base.outer().finish_loading();
    for (float& x : adapters.params()) x = values(0.2f);
    grads.assign(adapters.size(), 0.0f);
    adapters.set_gradient_buffer(grads);
    scheduler.set_groups(parallel::uniform_groups(spec.layer_count(), policy, 2));
    training.plan(64);
    decoder.allocate();
  }
  static AdapterOptions options() {
    AdapterOptions options;
    options.r = 4;
    options.dropout = 0.2;
    return options;
  }
  /// The loss; with `backward` the gradients, too.
  double run(const Batch& batch, bool backward) {
    std::fill(grads.begin(), grads.end(), 0.0f);
    const double loss = training.forward(batch, {3, 1}, 1.0f);
    if (backward) training.backward();
    return loss;
  }

  Context ctx;
  parallel::SelfCommunicator alone;
  BaseWeights base;
  parallel::LayerScheduler scheduler;
  AdapterSet adapters;
  Decoder decoder;
  TrainingPass training;
  std::vector<float> grads;
};

Batch some_batch() {
  Batch batch;
  for (int32_t i = 0; i < 24; ++i) {
    batch.ids.push_back((i * 37 + 11) % kVocab);
    batch.targets.push_back((i * 5 + 3) % kVocab);
    batch.positions.push_back(i % 16);
  }
  batch.starts = {0, 16, 24};
  return batch;
}

class UnlikeLayers : public ::testing::TestWithParam<ModelSpec (*)()> {
 protected:
  ModelSpec spec() const { return GetParam()(); }
};

TEST_P(UnlikeLayers, TheGradientIsTheSlope) {
  UnlikeModel model(spec(), parallel::Policy::kKeep);
  const Batch batch = some_batch();
  model.run(batch, true);
  const std::vector<float> grads = model.grads;
  for (const Segment& segment : model.adapters.segments()) {
    const std::span<const float> grad(grads.data() + segment.offset, segment.elements());
    const std::span<float> params = model.adapters.params().subspan(segment.offset, grad.size());
    double squares = 0.0;
    for (float g : grad) squares += double(g) * double(g);
    ASSERT_GT(squares, 0.0) << segment.name;
    const std::vector<float> saved(params.begin(), params.end());
    const auto slope_over = [&](double step) {
      double loss[2];
      for (int side : {0, 1}) {
        for (size_t i = 0; i < params.size(); ++i) {
          params[i] = saved[i] + float((side ? step : -step) * double(grad[i]));
        }
        loss[side] = model.run(batch, false);
      }
      return (loss[1] - loss[0]) / (2 * step) / squares;
    };
    // Two central differences, of which the third derivative's share drops out.
    const double step = 1e-3;
    const double wide = slope_over(step / std::sqrt(squares));
    const double narrow = slope_over(step / 2 / std::sqrt(squares));
    std::copy(saved.begin(), saved.end(), params.begin());
    // Measured over steps from 5e-4 to 2e-3: float32's noise below, the fifth derivative above; at
    // 1e-3 at most 9e-5 for layers unlike in size, 3.1e-3 for those with every feature, whose loss
    // bends most.
    const double bound = GetParam() == unlike_spec ? 5e-4 : 5e-3;
    EXPECT_NEAR((4 * narrow - wide) / 3, 1.0, bound) << segment.name;
  }
}

TEST_P(UnlikeLayers, RecomputingThemKeepsTheBits) {
  UnlikeModel kept(spec(), parallel::Policy::kKeep);
  UnlikeModel again(spec(), parallel::Policy::kRecompute);
  const Batch batch = some_batch();
  EXPECT_EQ(kept.run(batch, true), again.run(batch, true));
  EXPECT_EQ(kept.grads, again.grads);
}

TEST_P(UnlikeLayers, PackingThemKeepsTheBits) {
  UnlikeModel model(spec(), parallel::Policy::kKeep);
  const Batch both = some_batch();
  std::vector<float> losses;
  EvaluationPass evaluation(model.decoder, default_loss());
  evaluation.plan(64);
  model.decoder.allocate();
  evaluation.loss(both, &losses);
  std::vector<float> alone;
  for (size_t s = 0; s + 1 < both.starts.size(); ++s) {
    const auto begin = both.starts[s], end = both.starts[s + 1];
    const auto of = [&](const std::vector<int32_t>& all) {
      return std::vector<int32_t>(all.begin() + begin, all.begin() + end);
    };
    const Batch one{.ids = of(both.ids),
                    .targets = of(both.targets),
                    .positions = of(both.positions),
                    .starts = {0, end - begin}};
    evaluation.loss(one, &alone);
  }
  EXPECT_EQ(losses, alone);
}

TEST_P(UnlikeLayers, ACacheOfThemGivesTheLogitsOfOnePass) {
  UnlikeModel model(spec(), parallel::Policy::kKeep);
  GenerationStep step(model.decoder);
  const std::vector<int32_t> ids = {4, 8, 15, 16, 23, 42, 3, 5, 8, 13, 21, 34};
  for (const int64_t length : {6, 12}) {  // on either side of the rules that depend on it
    const auto all = std::span(ids).first(size_t(length));
    KvCache whole = step.make_cache({1, 16, 16}), parts = step.make_cache({1, 16, 16});
    step.plan(16, whole);
    model.decoder.allocate();
    const Feed at_once{0, all, length};
    const std::vector<float> expected = step.run(whole, {&at_once, 1});
    const Feed first{0, all.first(4), length}, then{0, all.subspan(4, size_t(length) - 5), length};
    const Feed last{0, all.last(1), length};
    step.run(parts, {&first, 1});
    step.run(parts, {&then, 1});
    EXPECT_EQ(step.run(parts, {&last, 1}), expected) << length;
  }
}

INSTANTIATE_TEST_SUITE_P(, UnlikeLayers, ::testing::Values(unlike_spec, featured_spec),
                         [](const auto& info) {
                           return info.param == unlike_spec ? "InSize" : "InEverything";
                         });

/// A layer with a window drops old rows of its cache, a layer without keeps them.
TEST(WindowedCache, HoldsLittleMoreThanTheWindow) {
  ModelSpec spec = unlike_spec();
  spec.max_position = 4096;
  spec.layers[1].attention.window = 7;
  UnlikeModel model(spec, parallel::Policy::kKeep);
  GenerationStep step(model.decoder);
  const CacheSize size{1, 1500, 1500}, fed{1, 1500, 40};
  EXPECT_LT(step.cache_bytes(fed), step.cache_bytes(size));
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 1500; ++i) ids.push_back(i * 31 % kVocab);
  KvCache whole = step.make_cache(size), parts = step.make_cache(fed);
  step.plan(1500, whole);
  model.decoder.allocate();
  const Feed all{0, ids};
  const std::vector<float> expected = step.run(whole, {&all, 1});
  std::vector<float> got;
  for (size_t at = 0; at < ids.size(); at += 30) {
    const Feed feed{0, std::span(ids).subspan(at, 30)};
    got = step.run(parts, {&feed, 1});
  }
  EXPECT_EQ(got, expected);
}

}  // namespace
}  // namespace tessera::lora
