// A made-up rule of one moment through Optimizer: the bytes, arrays and pages follow from its row.
#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/optim/golden_values.h"
#include "tests/optim/state_table.h"
#include "tests/scratch_folder.h"

namespace tessera::optim {
namespace {

using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

constexpr size_t kPage = 4096;  // four blocks of 32 bits, or fifteen of 8
constexpr std::string_view kVelocity[] = {"velocity"};

void check_ball(const OptimizerOptions& options) {
  if (options.beta1 >= 1.0) fail_usage("a ball of beta1 = {} never stops", options.beta1);
}

/// Velocity: beta1 velocity + gradient; parameters move by the rate times it. 8 bits: codes are
/// 128 + 127 velocity / largest, rounded.
void update_ball(Context&, const UpdateInput& input, const StateView& state) {
  const bool wide = state.run.bits == StateBits::k32;
  for (size_t begin = 0; begin < state.run.elements(); begin += kStateBlock) {
    const size_t n = std::min(kStateBlock, state.run.elements() - begin);
    uint8_t* codes = wide ? nullptr : state.codes(0, begin);
    float* absmax = wide ? nullptr : state.absmax(0, begin);
    std::vector<float> velocity(n);
    float largest = 0;
    for (size_t i = 0; i < n; ++i) {
      const float before =
          wide ? state.values(0, begin)[i] : (float(codes[i]) - 128.0f) / 127.0f * *absmax;
      velocity[i] = float(input.options.beta1) * before + input.grads[begin + i] * input.grad_scale;
      largest = std::max(largest, std::fabs(velocity[i]));
      input.params[begin + i] -= float(input.learning_rate) * velocity[i];
    }
    if (wide) {
      std::ranges::copy(velocity, state.values(0, begin));
      continue;
    }
    const float divisor = largest == 0 ? 1.0f : largest;
    std::ranges::transform(
        velocity, codes, [&](float x) { return uint8_t(std::lround(x / divisor * 127.0f) + 128); });
    *absmax = largest;
  }
}

constexpr RuleOption kBallOptions[] = {{"adam_beta1", &OptimizerOptions::beta1}};
constexpr Rule kBall = {"ball", kVelocity, kBallOptions, check_ball, update_ball};

using Arrays = std::map<std::string, std::vector<std::byte>>;

struct Result {
  std::vector<float> params;
  Arrays state;
  bool operator==(const Result&) const = default;
};

void steps(Optimizer& optimizer, std::vector<float>& params, int first, int last) {
  Context ctx(Device::cpu(), 1, 0);
  for (int step = first; step <= last; ++step) {
    optimizer.step(ctx, params, golden_values(uint64_t(100 + step), params.size()), 1e-2, 0.5f);
  }
}

Result result_of(const Optimizer& optimizer, const std::vector<float>& params) {
  Result result{params, {}};
  for (const StateArray& array : optimizer.state_arrays()) {
    std::vector<std::byte>& bytes = result.state[array.name];
    bytes.resize(array.elements * size_of(array.dtype));
    optimizer.read_state(array.name, 0, bytes);
  }
  return result;
}

Result trained(bool eight_bit, const PageOptions& paging) {
  const auto segments = state_table(eight_bit);
  std::vector<float> params = golden_values(1, size_of(segments));
  Optimizer optimizer(kBall, segments, {0, params.size()}, {}, paging);
  steps(optimizer, params, 1, 5);
  return result_of(optimizer, params);
}

TEST(Optimizer, ARuleOfOneMomentTakesTheBytesOfOne) {
  const std::vector<StateSegment> segments = {{0, 5000, StateBits::k8},
                                              {5120, 100, StateBits::k32}};
  EXPECT_EQ(Optimizer::memory(kBall, segments, {0, 5376}, {}).resident, 20u * 260 + 1024);
  EXPECT_EQ(Optimizer::memory(adamw_rule(), segments, {0, 5376}, {}).resident, 20u * 520 + 2048);
  const Optimizer optimizer(kBall, segments, {0, 5376}, {}, {});
  EXPECT_EQ(optimizer.memory(), Optimizer::memory(kBall, segments, {0, 5376}, {}));
}

TEST(Optimizer, AStepMovesTheBytesOfItsRuleBitsAndSlice) {
  const std::vector<StateSegment> segments = {{0, 5000, StateBits::k8},
                                              {5120, 100, StateBits::k32}};
  // Parameters are read and written and gradients read; then the moments both ways.
  EXPECT_EQ(Optimizer::bytes_moved(kBall, segments, {0, 5376}),
            5376u * 12 + 2 * (20u * 260 + 1024));
  EXPECT_EQ(Optimizer::bytes_moved(adamw_rule(), segments, {0, 5376}),
            5376u * 12 + 2 * (20u * 520 + 2048));
  EXPECT_EQ(Optimizer::bytes_moved(adamw_rule(), segments, {5120, 5376}), 256u * 28);
}

TEST(Optimizer, ARuleOfOneMomentHasOnlyItsOwnArrays) {
  const std::vector<StateSegment> segments = {{0, 5000, StateBits::k8},
                                              {5120, 100, StateBits::k32}};
  const Optimizer optimizer(kBall, segments, {0, 5376}, {}, {});
  std::vector<std::string> arrays;
  for (const StateArray& array : optimizer.state_arrays()) {
    arrays.push_back(array.name + " " + io::safetensors_name(array.dtype) + " " +
                     std::to_string(array.elements));
  }
  EXPECT_EQ(arrays, (std::vector<std::string>{"velocity F32 256", "velocity_codes U8 5120",
                                              "velocity_absmax F32 20"}));
  EXPECT_EQ(trained(false, {}).state.size(), 1u);
  std::vector<std::byte> bytes(4);
  EXPECT_THROW(optimizer.read_state("exp_avg", 0, bytes), std::logic_error);
}

TEST(Optimizer, TheUpdateIsTheRules) {
  const std::vector<StateSegment> segments = {{0, 300, StateBits::k32}};
  std::vector<float> params = golden_values(1, 300);
  const std::vector<float> before = params, grads = golden_values(101, 300);
  Optimizer optimizer(kBall, segments, {0, 300}, {}, {});
  steps(optimizer, params, 1, 1);
  std::vector<float> velocity(300);
  optimizer.read_state("velocity", 0, std::as_writable_bytes(std::span(velocity)));
  for (size_t i = 0; i < 300; ++i) {
    EXPECT_EQ(velocity[i], 0.5f * grads[i]);
    EXPECT_EQ(params[i], before[i] - 1e-2f * velocity[i]);
  }
  EXPECT_EQ(optimizer.steps_taken(), 1);
}

TEST(Optimizer, PagesOfOneMomentHaveTheBitsOfTheResidentWhole) {
  ScratchFolder folder;
  for (const bool eight_bit : {false, true}) {
    const Result whole = trained(eight_bit, {});
    for (const size_t budget : {size_t{0}, 3 * kPage, 10 * kPage}) {
      for (const std::string& directory : {std::string(), folder.path()}) {
        const PageOptions paging{.budget = budget, .directory = directory, .page_bytes = kPage};
        EXPECT_TRUE(trained(eight_bit, paging) == whole) << eight_bit << " " << budget << directory;
      }
    }
  }
}

TEST(Optimizer, AStateThatWasSavedGoesOnPaged) {
  const auto segments = state_table(true);
  std::vector<float> params = golden_values(1, size_of(segments));
  Optimizer first(kBall, segments, {0, params.size()}, {}, {});
  steps(first, params, 1, 3);
  Optimizer second(kBall, segments, {0, params.size()}, {}, {.budget = 0, .page_bytes = kPage});
  for (const auto& [name, bytes] : result_of(first, params).state) {
    second.write_state(name, 0, bytes);
  }
  steps(second, params, 4, 5);
  EXPECT_TRUE(result_of(second, params) == trained(true, {}));
}

TEST(Optimizer, TheRuleChecksItsOptions) {
  const std::vector<StateSegment> segments = {{0, 300, StateBits::k32}};
  expect_error([&] { Optimizer(kBall, segments, {0, 300}, {.beta1 = 1.0}, {}); }, "never stops");
}

TEST(Rules, RowsAreComplete) {
  std::vector<std::string_view> names;
  for (const Rule& rule : rules()) {
    EXPECT_EQ(std::ranges::count(names, rule.name), 0) << rule.name;
    names.push_back(rule.name);
    EXPECT_FALSE(rule.moments.empty()) << rule.name;
    for (const RuleOption& option : rule.options) {
      EXPECT_EQ(std::ranges::count(rule.options, option.key, &RuleOption::key), 1) << option.key;
    }
    EXPECT_NO_THROW(rule.check({})) << rule.name;
  }
  EXPECT_EQ(adamw_rule().name, "adamw");
}

}  // namespace
}  // namespace tessera::optim
