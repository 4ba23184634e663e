// Weights of tokens on a GPU, where they lie in memory that the plan counts for something else (see
// head_loss()). The kernel's use of them is tested in cross_entropy_test.cpp.
#include <gtest/gtest.h>

#include <utility>

#include "launch/run/loaded_model.h"
#include "lora/decoder/training_pass.h"
#include "parallel/self_communicator.h"
#include "runtime/ops/rows.h"
#include "runtime/ops/transfer.h"
#include "tests/random_model.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using Floats = std::vector<float>;

constexpr int32_t kTokens = 200;

lora::Batch one_sample() {
  lora::Batch batch;
  for (int32_t i = 0; i < kTokens; ++i) {
    batch.ids.push_back(i * 7 % 256);
    batch.targets.push_back(i % 3 == 0 ? lora::Batch::kUnsupervised : i * 5 % 256);
    batch.positions.push_back(i);
  }
  batch.starts = {0, kTokens};
  return batch;
}

TEST(TokenWeightsOnGpu, ScaleTheGradientsOfTheirTokens) {
  testing::ScratchFolder folder;
  testing::write_random_model(
      folder, {.layers = 2, .hidden = 128, .ffn = 192, .heads = 2, .kv_heads = 1, .vocab = 256});
  parallel::SelfCommunicator alone;
  Console console(false);
  Context ctx(Device::cuda(0), 1, 7);
  LoadedModel model(ctx, lora::Checkpoint::open(folder.path()), quant::Storage(), {alone, {}},
                    console);
  lora::AdapterSet adapters(model.spec(), {}, ctx.device());
  adapters.init(7);
  adapters.to_device(ctx);
  const Buffer memory = Buffer::on(ctx.device(), adapters.size() * sizeof(float));
  const std::span gradients(reinterpret_cast<float*>(memory.data()), adapters.size());
  const Tensor all = Tensor::of(gradients, {int64_t(gradients.size())}, ctx.device());
  adapters.set_gradient_buffer(gradients);
  lora::Decoder decoder(ctx, model.base(), model.scheduler(), &adapters);
  lora::TrainingPass pass(decoder, lora::default_loss());
  pass.plan(kTokens);
  decoder.allocate();

  lora::Batch batch = one_sample();
  const auto run = [&](const Floats& weights, float scale) {
    fill_zero(ctx, all);
    batch.weights = weights;
    const double loss = pass.forward(batch, {}, scale);
    pass.backward();
    return std::pair(loss, to_host(ctx, all));
  };
  const auto plain = run({}, 0.02f);
  EXPECT_EQ(run(Floats(kTokens, 1.0f), 0.02f), plain);
  EXPECT_EQ(run(Floats(kTokens, 2.0f), 0.01f), std::pair(2 * plain.first, plain.second));

  Floats weights(kTokens, 1.0f);
  weights[kTokens - 1] = 0.0f;
  const auto without_last = run(weights, 0.02f);
  EXPECT_NE(without_last.second, plain.second);
  batch.targets.back() = 1;  // which no longer counts
  EXPECT_EQ(run(weights, 0.02f).second, without_last.second);
}

}  // namespace
}  // namespace tessera::launch
