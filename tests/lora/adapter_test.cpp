// The flat layout of adapters, their gradients' binding and their initial values.
#include "lora/adapter/adapter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/core/error.h"
#include "tests/expect_error.h"
#include "tests/spec.h"

namespace tessera::lora {
namespace {

ModelSpec small_spec() { return testing::llama_spec({}); }

constexpr Site kSites[] = {Site::kQ,    Site::kK,  Site::kV,   Site::kO,
                           Site::kGate, Site::kUp, Site::kDown};

std::vector<LinearId> ids_of(const std::vector<TensorRow>& linears) {
  std::vector<LinearId> ids;
  for (const TensorRow& linear : linears) ids.push_back(linear.id());
  return ids;
}

std::vector<float> to_vector(std::span<const float> values) {
  return {values.begin(), values.end()};
}

/// Adapters on modules of these names.
TargetModules on(std::vector<std::string> names) { return {.modules = {.names = names}}; }

TEST(AdapterSet, LiesInOneAlignedBufferInOrder) {
  const AdapterSet adapters(small_spec(), {.r = 8, .targets = on({"down_proj", "q_proj"})});
  EXPECT_EQ(
      ids_of(adapters.linears()),
      (std::vector<LinearId>{{0, Site::kQ}, {0, Site::kDown}, {1, Site::kQ}, {1, Site::kDown}}));
  const auto& segments = adapters.segments();
  ASSERT_EQ(segments.size(), 8u);
  EXPECT_EQ(segments[0].name, "model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(segments[1].name, "model.layers.0.self_attn.q_proj.lora_B.weight");
  EXPECT_EQ(segments[2].name, "model.layers.0.mlp.down_proj.lora_A.weight");
  EXPECT_EQ(segments[4].name, "model.layers.1.self_attn.q_proj.lora_A.weight");
  size_t next = 0;
  int64_t elements = 0;
  for (const Segment& segment : segments) {
    EXPECT_EQ(segment.offset, next);
    EXPECT_EQ(segment.offset % AdapterSet::kAlignment, 0u);
    next = (next + segment.elements() + 255) / 256 * 256;
    elements += segment.rows * segment.cols;
  }
  EXPECT_EQ(adapters.size(), next);
  EXPECT_EQ(adapters.params().size(), next);
  EXPECT_EQ(adapters.trainable(), elements);

  // Down projects from ffn = 100 to hidden = 48; its B begins 800 elements, rounded up, after its
  // A.
  const Adapter& down = *adapters.find(0, Site::kDown);
  EXPECT_EQ(down.a.dim(0), 8);
  EXPECT_EQ(down.a.dim(1), 100);
  EXPECT_EQ(down.b.dim(0), 48);
  EXPECT_EQ(down.b.dim(1), 8);
  EXPECT_EQ(down.b.data<float>() - down.a.data<float>(), 1024);
  EXPECT_EQ(down.a.data<float>(), adapters.params().data() + segments[2].offset);
}

TEST(AdapterSet, HasTheShapesOfTheModel) {
  const ModelSpec spec = small_spec();
  const AdapterSet adapters(spec, {.r = 4});
  const int64_t in[] = {48, 48, 48, 64, 48, 48, 100};
  const int64_t out[] = {64, 32, 32, 48, 100, 100, 48};
  for (int64_t layer = 0; layer < spec.layer_count(); ++layer) {
    for (Site site : kSites) {
      const Adapter* adapter = adapters.find(layer, site);
      ASSERT_NE(adapter, nullptr);
      EXPECT_EQ(adapter->a.dim(0), 4);
      EXPECT_EQ(adapter->a.dim(1), in[size_t(site)]);
      EXPECT_EQ(adapter->b.dim(0), out[size_t(site)]);
      EXPECT_EQ(adapter->b.dim(1), 4);
    }
  }
}

TEST(AdapterSet, FindsOnlyWhatIsThere) {
  const AdapterSet adapters(small_spec(), {.targets = on({"q_proj"})});
  EXPECT_NE(adapters.find(1, Site::kQ), nullptr);
  EXPECT_EQ(adapters.find(1, Site::kK), nullptr);
  EXPECT_EQ(adapters.find(2, Site::kQ), nullptr);
  EXPECT_EQ(adapters.find(-1, Site::kQ), nullptr);
}

TEST(AdapterSet, BindsGradientsBesideParameters) {
  AdapterSet adapters(small_spec(), {.r = 8});
  const Adapter* up = adapters.find(1, Site::kUp);
  EXPECT_FALSE(up->da);
  for (int round = 0; round < 2; ++round) {
    std::vector<float> grads(adapters.size());
    adapters.set_gradient_buffer(grads);
    ASSERT_EQ(up, adapters.find(1, Site::kUp));
    EXPECT_EQ(up->da.data<float>() - grads.data(), up->a.data<float>() - adapters.params().data());
    EXPECT_EQ(up->db.data<float>() - grads.data(), up->b.data<float>() - adapters.params().data());
    EXPECT_EQ(up->da.dim(1), up->a.dim(1));
    EXPECT_EQ(up->db.dim(0), up->b.dim(0));
  }
  std::vector<float> wrong(adapters.size() - 1);
  EXPECT_THROW(adapters.set_gradient_buffer(wrong), std::logic_error);
}

TEST(AdapterSet, StaysValidWhenMoved) {
  AdapterSet adapters(small_spec(), {});
  adapters.init(3);
  const Adapter* q = adapters.find(0, Site::kQ);
  const float* a = q->a.data<float>();
  const AdapterSet moved = std::move(adapters);
  EXPECT_EQ(moved.find(0, Site::kQ), q);
  EXPECT_EQ(moved.params().data(), a);
}

TEST(AdapterSet, StartsByPeftsLaw) {
  AdapterSet adapters(testing::llama_spec({.hidden = 1024}),
                      {.r = 64, .targets = on({"q_proj", "o_proj"})});
  std::ranges::fill(adapters.find(0, Site::kQ)->b.span<float>(), 5.0f);
  adapters.init(42);
  const double bound = 1.0 / std::sqrt(1024.0);
  double sum = 0.0, squares = 0.0, low = 0.0, high = 0.0;
  const auto a = adapters.find(1, Site::kQ)->a.span<float>();
  for (float x : a) {
    sum += x;
    squares += double(x) * x;
    low = std::min(low, double(x));
    high = std::max(high, double(x));
  }
  // 65,536 draws: the mean within 5 standard errors of 0, the variance within 5 of bound^2 / 3.
  const double n = double(a.size());
  EXPECT_LT(std::abs(sum / n), 5 * bound / std::sqrt(3 * n));
  EXPECT_NEAR(squares / n / (bound * bound / 3), 1.0, 5 * std::sqrt(0.8 / n));
  EXPECT_GE(low, -bound);
  EXPECT_LT(low, -0.999 * bound);
  EXPECT_LE(high, bound);
  EXPECT_GT(high, 0.999 * bound);
  for (float x : adapters.find(0, Site::kQ)->b.span<float>()) ASSERT_EQ(x, 0.0f);
}

TEST(AdapterSet, InitIsAPureFunctionOfItsKey) {
  const auto values = [](AdapterOptions options, uint64_t seed, int64_t layer, Site site) {
    AdapterSet adapters(small_spec(), std::move(options));
    adapters.init(seed);
    return to_vector(adapters.find(layer, site)->a.span<float>());
  };
  const auto reference = values({}, 7, 1, Site::kUp);
  EXPECT_EQ(values({.targets = on({"up_proj"})}, 7, 1, Site::kUp), reference);
  EXPECT_EQ(values({.targets = on({"model.layers.1.mlp.up_proj"})}, 7, 1, Site::kUp), reference);
  EXPECT_NE(values({}, 8, 1, Site::kUp), reference);
  EXPECT_NE(values({}, 7 + (uint64_t(1) << 40), 1, Site::kUp), reference);
  EXPECT_NE(values({}, 7, 0, Site::kUp), reference);
  EXPECT_NE(values({}, 7, 1, Site::kGate), reference);
}

TEST(AdapterSet, MaySitOnSomeLayersOnly) {
  const AdapterSet adapters(small_spec(),
                            {.r = 8, .targets = on({"model.layers.1.mlp.up_proj", "o_proj"})});
  EXPECT_EQ(ids_of(adapters.linears()),
            (std::vector<LinearId>{{0, Site::kO}, {1, Site::kO}, {1, Site::kUp}}));
  ASSERT_EQ(adapters.segments().size(), 6u);
  EXPECT_EQ(adapters.segments()[4].name, "model.layers.1.mlp.up_proj.lora_A.weight");
  EXPECT_EQ(adapters.find(0, Site::kUp), nullptr);
  ASSERT_NE(adapters.find(1, Site::kUp), nullptr);
  EXPECT_EQ(adapters.find(1, Site::kUp)->b.rows(), 100);
  EXPECT_EQ(adapters.target_names(),
            (std::vector<std::string>{"o_proj", "model.layers.1.mlp.up_proj"}));
}

TEST(AdapterSet, PaddingIsZero) {
  AdapterSet adapters(small_spec(), {.r = 3});
  adapters.init(1);
  std::vector<bool> inside(adapters.size());
  for (const Segment& s : adapters.segments()) {
    std::fill_n(inside.begin() + std::ptrdiff_t(s.offset), s.elements(), true);
  }
  size_t padding = 0;
  for (size_t i = 0; i < inside.size(); ++i) {
    if (inside[i]) continue;
    ++padding;
    ASSERT_EQ(adapters.params()[i], 0.0f);
  }
  EXPECT_GT(padding, 0u);
}

TEST(AdapterSet, ScaleIsPefts) {
  EXPECT_EQ(adapter_scale({16, 32.0}, false), 2.0f);
  EXPECT_EQ(adapter_scale({3, 1.0}, false), float(1.0 / 3.0));
  EXPECT_EQ(adapter_scale({16, 32.0}, true), 8.0f);
}

TEST(AdapterSet, ModulesMayHaveTheirOwnRankAndAlpha) {
  const AdapterSet adapters(small_spec(),
                            {.r = 4,
                             .alpha = 8.0,
                             .targets = on({"q_proj", "up_proj"}),
                             .ranks = {{{"layers.1.self_attn.q_proj", 2}, {"q_proj", 16}}},
                             .alphas = {{{".*mlp.*", 6.0}, {".*", 32.0}}}});
  const auto shape = [&](int64_t layer, Site site) {
    const Adapter& adapter = *adapters.find(layer, site);
    EXPECT_EQ(adapter.a.rows(), adapter.b.cols());
    return std::pair(adapter.a.rows(), adapter.scale);
  };
  EXPECT_EQ(shape(0, Site::kQ), std::pair(int64_t{16}, 2.0f));
  EXPECT_EQ(shape(1, Site::kQ), std::pair(int64_t{2}, 16.0f));
  EXPECT_EQ(shape(0, Site::kUp), std::pair(int64_t{4}, 1.5f));
  EXPECT_EQ(shape(1, Site::kUp), std::pair(int64_t{4}, 1.5f));
  EXPECT_EQ(adapters.segments()[0].rows, 16);
  EXPECT_EQ(adapters.segments()[4].rows, 2);
  // What is written selects the same, by names.
  const AdapterSet plain(small_spec(), adapters.plain_options());
  EXPECT_EQ(plain.parts().sizes, adapters.parts().sizes);
  const std::vector<std::pair<std::string, int64_t>> ranks = {
      {"model.layers.1.self_attn.q_proj", 2}, {"model.layers.0.self_attn.q_proj", 16}};
  EXPECT_EQ(plain.options().ranks.by_key, ranks);
  const std::vector<std::pair<std::string, double>> alphas = {{"up_proj", 6.0}, {"q_proj", 32.0}};
  EXPECT_EQ(plain.options().alphas.by_key, alphas);
}

TEST(AdapterSet, WholeMatricesLieBehindTheAdapters) {
  ModelSpec spec = testing::llama_spec({.vocab = 40});
  const AdapterOptions lora_alone = {.r = 8};
  const AdapterSet without(spec, lora_alone);
  AdapterOptions options = lora_alone;
  options.targets.whole = {"lm_head", "embed_tokens"};
  for (const bool tied : {false, true}) {
    spec.tied_head = tied;
    AdapterSet adapters(spec, options);
    ASSERT_EQ(adapters.segments().size(), without.segments().size() + 2);
    EXPECT_EQ(adapters.linears().size(), without.linears().size());
    const Segment& embedding = adapters.segments()[without.segments().size()];
    EXPECT_EQ(embedding.name, "model.embed_tokens.weight");
    EXPECT_EQ(embedding.offset, without.size());
    EXPECT_EQ(embedding.rows, spec.vocab);
    EXPECT_EQ(embedding.cols, spec.hidden);
    EXPECT_EQ(adapters.segments().back().name, "lm_head.weight");
    const WholeMatrix *rows = adapters.whole(Role::kEmbedding), *head = adapters.whole(Role::kHead);
    ASSERT_TRUE(rows && head);
    EXPECT_NE(rows, head);
    EXPECT_FALSE(adapters.ties_head());
    std::vector<float> grads(adapters.size());
    adapters.set_gradient_buffer(grads);
    EXPECT_EQ(rows->dw.data<float>(), grads.data() + embedding.offset);
    EXPECT_EQ(head->dw.data<float>(), grads.data() + adapters.segments().back().offset);
    EXPECT_EQ(AdapterSet::shapes(spec, options, {}).size(), adapters.size());
  }
  EXPECT_EQ(without.whole(Role::kHead), nullptr);
}

TEST(AdapterSet, AHeadMayStayTheEmbeddingThatIsTrained) {
  ModelSpec spec = testing::llama_spec({.vocab = 40});
  spec.tied_head = true;
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"lm_head"}, {"embed_tokens"}, {"embed_tokens", "lm_head"}}) {
    const AdapterSet adapters(spec, {.targets = {.whole = names, .ensure_tying = true}});
    EXPECT_TRUE(adapters.ties_head());
    EXPECT_EQ(adapters.segments().back().name, "model.embed_tokens.weight");
    ASSERT_NE(adapters.whole(Role::kHead), nullptr);
    EXPECT_EQ(adapters.whole(Role::kHead), adapters.whole(Role::kEmbedding));
  }
  // Alone, it is untied, as in PEFT.
  const AdapterSet head(spec, {.targets = {.whole = {"lm_head"}}});
  EXPECT_EQ(head.whole(Role::kEmbedding), nullptr);
  EXPECT_EQ(head.segments().back().name, "lm_head.weight");
  // Where the head has its own weights, there is nothing to tie.
  spec.tied_head = false;
  const AdapterSet own(spec, {.targets = {.whole = {"embed_tokens"}, .ensure_tying = true}});
  EXPECT_EQ(own.whole(Role::kHead), nullptr);
  EXPECT_FALSE(own.ties_head());
}

TEST(AdapterSet, RowsOfTokensLieBehindTheAdapters) {
  const ModelSpec spec = testing::llama_spec({.vocab = 40});
  const AdapterSet without(spec, {.r = 8});
  EXPECT_EQ(without.token_rows(), nullptr);
  for (const std::vector<std::string>& whole : {std::vector<std::string>{}, {"lm_head"}}) {
    const AdapterOptions options = {.r = 8, .targets = {.whole = whole}, .tokens = {{31, 0, 7}}};
    AdapterSet adapters(spec, options);
    EXPECT_EQ(adapters.segments().size(), without.segments().size() + whole.size() + 1);
    const Segment& rows = adapters.segments().back();
    EXPECT_EQ(rows.name, "model.embed_tokens.token_adapter.trainable_tokens_delta");
    EXPECT_EQ(rows.rows, 3);
    EXPECT_EQ(rows.cols, spec.hidden);
    ASSERT_NE(adapters.token_rows(), nullptr);
    const TokenRows& trained = *adapters.token_rows();
    EXPECT_EQ(trained.ids, (std::vector<int32_t>{31, 0, 7}));
    EXPECT_EQ(trained.row_of(7), 2);
    EXPECT_EQ(trained.row_of(8), -1);
    EXPECT_EQ(trained.row_of(-1), -1);
    std::vector<float> grads(adapters.size());
    adapters.set_gradient_buffer(grads);
    EXPECT_EQ(trained.dw.data<float>(), grads.data() + rows.offset);
    EXPECT_EQ(AdapterSet::shapes(spec, options, {}).size(), adapters.size());
    EXPECT_EQ(AdapterSet(spec, adapters.plain_options()).segments().back().name, rows.name);
  }
}

TEST(AdapterOptions, ImpossibleOnesAreRefused) {
  const auto refused = [](AdapterOptions options, std::string_view key) {
    try {
      AdapterSet adapters(small_spec(), std::move(options));
      ADD_FAILURE() << key << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::kUsage);
      EXPECT_NE(std::string_view(e.what()).find(key), std::string_view::npos) << e.what();
    }
  };
  refused({.r = 0}, "lora_r");
  refused({.r = int64_t(1) << 40}, "lora_r");
  refused({.alpha = 0.0}, "lora_alpha");
  refused({.alpha = std::numeric_limits<double>::quiet_NaN()}, "lora_alpha");
  refused({.ranks = {{{"q_proj", 0}}}}, "rank_pattern");
  refused({.alphas = {{{"q_proj", -1.0}}}}, "alpha_pattern");
  refused({.targets = {.whole = {"embed_token"}}}, "'embed_tokens'?");
  refused({.targets = {.whole = {"norm"}}}, "nothing that can be trained in full");
  refused({.dropout = 1.0}, "lora_dropout");
  refused({.dropout = -0.5}, "lora_dropout");
  refused({.targets = on({"q_porj"})}, "lora_target_modules");
}

TEST(AdapterOptions, RowsOfTokensThatCannotBeTrainedAreRefused) {
  ModelSpec spec = testing::llama_spec({.vocab = 40});
  const auto refused = [&](const AdapterOptions& options, std::string_view why) {
    testing::expect_error([&] { AdapterSet adapters(spec, options); },
                          "lora_trainable_token_indices: ", why);
  };
  refused({.tokens = {{40}}}, "there is no token 40; the model has rows for 40 tokens");
  refused({.tokens = {{-1}}}, "there is no token -1");
  refused({.tokens = {{3, 4, 3}}}, "3 is named twice");
  const std::string_view twice = "lora_modules_to_save trains embed_tokens in full already";
  refused({.targets = {.whole = {"embed_tokens"}}, .tokens = {{3}}}, twice);
  // Nor does PEFT train these. A head of its own it does train in full beside the rows.
  spec.tied_head = true;
  refused({.targets = {.whole = {"lm_head"}}, .tokens = {{3}}},
          "trains lm_head, which is tied to the embedding, in full already; keep one of the two");
  refused({.targets = {.whole = {"lm_head"}, .ensure_tying = true}, .tokens = {{3}}}, twice);
  spec.tied_head = false;
  spec.head_differs = true;
  refused({.tokens = {{3}}}, "set tie_word_embeddings to false");
}

}  // namespace
}  // namespace tessera::lora
