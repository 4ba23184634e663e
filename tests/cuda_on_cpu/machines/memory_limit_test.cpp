// Generation on a GPU with less memory than its host: as many sequences at a time as the device has
// room for, in its element type.
#include "launch/config/options.h"
#include "launch/run/generator.h"

#include <gtest/gtest.h>

#include <numeric>

#include "launch/run/loaded_model.h"
#include "lora/decoder/generation_step.h"
#include "parallel/self_communicator.h"
#include "tests/cuda_on_cpu/control.h"
#include "tests/random_model.h"

namespace tessera::launch {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

class SmallDevices {
 public:
  explicit SmallDevices(int64_t bytes) { cuda_on_cpu::settings().memory = size_t(bytes); }
  ~SmallDevices() { cuda_on_cpu::settings() = before_; }

 private:
  const cuda_on_cpu::Settings before_ = cuda_on_cpu::settings();
};

TEST(GenerateOnGpu, TheDeviceDecidesHowManySequencesAdvanceTogether) {
  if (cuda_on_cpu::settings().devices < 1) GTEST_SKIP() << "needs a device";
  const SmallDevices small(160 * kMiB);
  const testing::ScratchFolder folder;
  testing::write_random_model(folder, {.layers = 4, .kv_heads = 4});
  Console console;
  Context ctx(Device::cuda(0), 1, 7);
  ctx.set_compute_dtype(DType::kBF16);
  parallel::SelfCommunicator alone;
  LoadedModel model(ctx, lora::Checkpoint::open(folder.path()), quant::Storage(), {alone, {}},
                    console);
  lora::Decoder decoder(ctx, model.base(), model.scheduler(), nullptr);
  // 4 layers, keys and values of 64 columns, 2 bytes, 4096 positions.
  EXPECT_EQ(int64_t(lora::GenerationStep(decoder).cache_bytes({1, 4096, 4096})), 4 * kMiB);

  // 64 sequences of all positions would be 256 MiB. Every answer ends with its first token.
  GeneratorOptions options;
  options.max_new_tokens = 4096;
  options.stop_ids.resize(256);
  std::iota(options.stop_ids.begin(), options.stop_ids.end(), 0);
  const std::vector<std::vector<int32_t>> prompts(64, {1, 2, 3});
  int ended = 0;
  EXPECT_TRUE(generate_answers(decoder, prompts, options,
                               {[](size_t, int32_t) {},
                                [&](size_t, Finish finish) {
                                  EXPECT_EQ(finish, Finish::kStop);
                                  ++ended;
                                }}));
  EXPECT_EQ(ended, 64);
}

}  // namespace
}  // namespace tessera::launch
