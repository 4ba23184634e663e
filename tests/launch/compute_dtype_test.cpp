// Which type a config computes in, and the refusal of one that the CPU lacks.
#include <gtest/gtest.h>

#include "launch/config/options.h"
#include "launch/run/loaded_model.h"
#include "tests/expect_error.h"

namespace tessera::launch {
namespace {

TEST(ComputeDtype, AutoIsFloat32OnAnyCpu) {
  Config config;
  for (const bool bf16_products : {false, true}) {
    EXPECT_EQ(compute_dtype_on_cpu(config, bf16_products), DType::kF32);
  }
}

TEST(ComputeDtype, WhatIsAskedForIsUsed) {
  Config config;
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
    config.bnb_4bit_compute_dtype = type;
    EXPECT_EQ(compute_dtype_on_cpu(config, true), type);
  }
}

TEST(ComputeDtype, Bfloat16IsRefusedWithoutTheInstruction) {
  Config config;
  config.source = "run.yml";
  config.bnb_4bit_compute_dtype = DType::kBF16;
  testing::expect_error([&] { compute_dtype_on_cpu(config, false); }, "run.yml",
                        "bnb_4bit_compute_dtype", "AVX512_BF16; use float32");
  try {
    compute_dtype_on_cpu(config, false);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
  }
  config.bnb_4bit_compute_dtype = DType::kF16;
  EXPECT_EQ(compute_dtype_on_cpu(config, false), DType::kF16);
}

}  // namespace
}  // namespace tessera::launch
