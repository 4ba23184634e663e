// Generation on a GPU with less memory than its host: as many sequences at a time as the device has
// room for, in its element type. Only the simulated machine can be given so little.
#include "launch/generator.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <numeric>

#include "launch/device.h"
#include "launch/model.h"
#include "parallel/self_communicator.h"
#include "tests/random_model.h"

namespace tessera::launch {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(GenerateOnGpu, TheDeviceDecidesHowManySequencesAdvanceTogether) {
  ::setenv("CUDA_ON_CPU_MEMORY", std::to_string(120 * kMiB).c_str(), 1);
  const Gpus gpus = find_gpus();
  if (gpus.usable.empty() || int64_t(gpus.usable[0].memory) != 120 * kMiB) {
    GTEST_SKIP() << "not the simulated machine";
  }
  const testing::ScratchFolder folder;
  testing::write_random_model(folder, {.layers = 2});  // 2 kv heads of 16, 4096 positions
  Console console;
  Context ctx(Device::cuda(0), 1, 7);
  ctx.set_compute_dtype(DType::kBF16);
  parallel::SelfCommunicator alone;
  LoadedModel model(ctx, folder.path(), BaseChoice(), {alone, {}}, console);
  lora::Decoder decoder(ctx, model.base(), model.scheduler(), nullptr);
  EXPECT_EQ(int64_t(decoder.cache_bytes(1, 4096)), kMiB);  // 2 layers, keys and values, 2 bytes

  // 192 sequences of all positions would be 192 MiB; products need 32 of what is left beside them.
  // Every answer ends with its first token.
  GeneratorOptions options;
  options.max_new_tokens = 4096;
  options.stop_ids.resize(256);
  std::iota(options.stop_ids.begin(), options.stop_ids.end(), 0);
  const std::vector<std::vector<int32_t>> prompts(192, {1, 2, 3});
  int ended = 0;
  EXPECT_TRUE(generate_answers(decoder, prompts, options,
                               {[](size_t, int32_t) {},
                                [&](size_t, Finish finish) {
                                  EXPECT_EQ(finish, Finish::kStop);
                                  ++ended;
                                }}));
  EXPECT_EQ(ended, 192);
}

}  // namespace
}  // namespace tessera::launch
