// Every family on a GPU in float32, against a float64 run of the same bits.
#include <gtest/gtest.h>

#include "lora/model/loader.h"
#include "tests/launch/family_runs.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

class FamiliesOnGpu : public ::testing::TestWithParam<const char*> {
 protected:
  tessera::testing::FamilyGolden golden_{GetParam()};
};

TEST_P(FamiliesOnGpu, TrainingOverNf4) {
  const tessera::testing::ScratchFolder scratch;
  testing::expect_three_steps(golden_, scratch.file("run"),
                              {"device=cuda", "bnb_4bit_compute_dtype=float32"},
                              "over NF4, CUDA backend");
}

TEST_P(FamiliesOnGpu, GreedyContinuationIsThatOfPeft) {
  testing::expect_greedy_continuation(golden_, Device::cuda(0));
}

/// The hash of all frozen bytes after loading there.
uint64_t hash_of_base(const std::string& folder, Device device, const quant::Storage& storage) {
  Context ctx(device, 1, 0);
  parallel::SelfCommunicator alone;
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(folder);
  lora::BaseFormat format = lora::checkpoint_format(checkpoint);
  format.linear = storage;
  lora::BaseWeights base(ctx, checkpoint.spec(), format, lora::Placement{alone, {}});
  return lora::load_base(ctx, checkpoint, base, alone, [](int64_t, int64_t) {});
}

TEST_P(FamiliesOnGpu, QuantizesToTheBitsOfTheCpu) {
  for (const quant::Storage& storage :
       {quant::Storage{}, quant::Storage{&quant::kNf4Format, 128, false}}) {
    EXPECT_EQ(hash_of_base(golden_.folder, Device::cuda(0), storage),
              hash_of_base(golden_.folder, Device::cpu(), storage));
  }
}

INSTANTIATE_TEST_SUITE_P(All, FamiliesOnGpu, ::testing::ValuesIn(tessera::testing::kFamilyNames),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::launch
