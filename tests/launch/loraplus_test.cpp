// LoRA+ against PEFT: which tensors learn faster, and the numbers of some steps.
#include <gtest/gtest.h>

#include <bit>

#include "launch/plan/optimizer_state.h"
#include "optim/optimizer.h"
#include "tests/optim/golden_values.h"
#include "tests/spec.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using optim::StateBits;
using optim::StateSegment;

lora::AdapterSet adapters_of(std::vector<std::string> whole, std::vector<int64_t> tokens) {
  lora::AdapterOptions options;
  options.r = 4;
  options.targets.modules.names = {"q_proj", "down_proj"};
  options.targets.whole = std::move(whole);
  options.tokens.ids = std::move(tokens);
  constexpr tessera::testing::LayerSizes kLayers = {
      .layers = 1, .ffn = 24, .heads = 2, .kv_heads = 1, .head_dim = 8};
  const auto spec = tessera::testing::llama_spec({.hidden = 16, .of_layers = kLayers, .vocab = 64});
  return lora::AdapterSet::shapes(spec, options, Device::cpu());
}

void expect_groups(const lora::AdapterSet& adapters, const json& golden, const json& groups) {
  const auto segments = state_segments(adapters, StateBits::k8, golden.at("ratio"));
  ASSERT_EQ(segments.size(), groups.size());
  for (size_t i = 0; i < segments.size(); ++i) {
    const json& group = groups.at(adapters.segments()[i].name);
    EXPECT_EQ(golden.at("learning_rate").get<double>() * segments[i].rate_factor,
              group.at("rate").get<double>())
        << adapters.segments()[i].name;
    EXPECT_EQ(group.at("decay"), golden.at("weight_decay"));
  }
}

TEST(LoraPlus, HasTheGroupsOfPeft) {
  const json golden = optim::read_golden("loraplus.json");
  expect_groups(adapters_of({"embed_tokens", "lm_head"}, {}), golden, golden.at("groups"));
  expect_groups(adapters_of({}, {5, 9}), golden, golden.at("groups_of_tokens"));
}

/// Parameters after the golden's steps, with the optimizer cut into ranges at `cuts`.
std::vector<float> after_steps(const json& golden, const std::vector<StateSegment>& segments,
                               size_t elements, const std::vector<size_t>& cuts,
                               const optim::PageOptions& paging) {
  const auto filled = [&](uint64_t step) {
    std::vector<float> all(elements);
    for (size_t k = 0; k < segments.size(); ++k) {
      const auto values = optim::golden_values(1000 * k + step, segments[k].elements);
      std::ranges::copy(values, all.begin() + ptrdiff_t(segments[k].offset));
    }
    return all;
  };
  std::vector<float> params = filled(0);
  Context ctx(Device::cpu(), 2, 0);
  std::vector<std::unique_ptr<optim::Optimizer>> parts;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    parts.push_back(std::make_unique<optim::Optimizer>(
        optim::adamw_rule(), segments, optim::ElementRange{cuts[i], cuts[i + 1]},
        optim::OptimizerOptions{.weight_decay = golden.at("weight_decay")}, paging));
  }
  const int steps = golden.at("steps");
  for (int step = 0; step < steps; ++step) {
    const std::vector<float> grads = filled(uint64_t(step + 1));
    const double rate = golden.at("learning_rate").get<double>() * (1 - double(step) / steps);
    for (size_t i = 0; i < parts.size(); ++i) {
      parts[i]->step(ctx, std::span(params).subspan(cuts[i], parts[i]->size()),
                     std::span(grads).subspan(cuts[i], parts[i]->size()), rate, 1.0f);
    }
  }
  return params;
}

TEST(LoraPlus, StepsAsPeftsOptimizerToTheBit) {
  const json golden = optim::read_golden("loraplus.json");
  const lora::AdapterSet adapters = adapters_of({}, {});
  const auto segments = state_segments(adapters, StateBits::k32, golden.at("ratio"));
  ASSERT_EQ(segments.size(), golden.at("tensors").size());
  const size_t all = adapters.size();
  const optim::PageOptions paged{.budget = 0, .page_bytes = 4096};
  for (const auto& cuts : {std::vector<size_t>{0, all}, {0, 256, 768, all}}) {
    for (const optim::PageOptions& paging : {optim::PageOptions{}, paged}) {
      const auto params = after_steps(golden, segments, all, cuts, paging);
      for (size_t k = 0; k < segments.size(); ++k) {
        const json& tensor = golden.at("tensors")[k];
        ASSERT_EQ(tensor.at("name"), adapters.segments()[k].name);
        const auto& expected = tensor.at("params");
        for (size_t i = 0; i < expected.size(); ++i) {
          ASSERT_EQ(std::bit_cast<uint32_t>(params[segments[k].offset + i]),
                    expected[i].get<uint32_t>())
              << tensor.at("name") << " element " << i;
        }
      }
    }
  }
}

/// Tensors large enough for 8 bits, whose runs of state are now cut between A and B.
TEST(LoraPlus, ARatioOf1ChangesNoBitOfTheStateOrItsPages) {
  lora::AdapterOptions options;
  options.r = 64;
  constexpr tessera::testing::LayerSizes kLayers = {
      .layers = 2, .ffn = 192, .heads = 2, .kv_heads = 1, .head_dim = 64};
  const auto spec =
      tessera::testing::llama_spec({.hidden = 128, .of_layers = kLayers, .vocab = 64});
  const auto adapters = lora::AdapterSet::shapes(spec, options, Device::cpu());
  const auto plain = state_segments(adapters, StateBits::k8);
  const auto faster = state_segments(adapters, StateBits::k8, 16);
  const auto equal = state_segments(adapters, StateBits::k8, 1);
  const optim::ElementRange range{0, adapters.size()};
  EXPECT_EQ(optim::state_runs(equal, range).size(), optim::state_runs(plain, range).size());
  EXPECT_GT(optim::state_runs(faster, range).size(), 20u);
  const optim::MomentNames moments = optim::adamw_rule().moments;
  const optim::PageOptions paged{.budget = 8192, .page_bytes = 4096};
  EXPECT_EQ(optim::Optimizer::memory(optim::adamw_rule(), faster, range, paged),
            optim::Optimizer::memory(optim::adamw_rule(), plain, range, paged));
  const auto arrays = optim::state_arrays(moments, plain, range);
  const auto others = optim::state_arrays(moments, faster, range);
  ASSERT_EQ(arrays.size(), others.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    EXPECT_EQ(arrays[i].name, others[i].name);
    EXPECT_EQ(arrays[i].elements, others[i].elements);
  }
}

}  // namespace
}  // namespace tessera::launch
