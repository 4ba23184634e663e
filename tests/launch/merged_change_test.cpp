// What `tessera merge` reports: how far the written weights are from what was trained, and how much
// of the adapter's change they hold, in 16 bits and in 4.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "launch/commands/merge.h"
#include "launch/commands/quantize.h"
#include "lora/model/checkpoint.h"
#include "runtime/io/json.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using tessera::testing::bytes_of_file;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class MergedChange : public ::testing::Test {
 protected:
  /// The golden adapter as a run of this config, or of none.
  MergeOptions options(const std::string& config) {
    fs::create_directories(folder_.file("run"));
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
      fs::copy_file(kTiny + "/adapter_out/" + file, folder_.file(std::string("run/") + file));
    }
    if (!config.empty()) folder_.write("run/config.resolved.yml", config);
    MergeOptions o;
    o.base_model = kTiny;
    o.adapter = folder_.file("run");
    o.output = folder_.file("merged");
    return o;
  }
  MergeReport merge(const MergeOptions& o) { return launch::merge(o, console_); }
  /// The model in 4 bits as a folder of that name; its path.
  std::string quantized(const std::string& model, const std::string& name) {
    QuantizeOptions o;
    o.model = model;
    o.output = folder_.file(name);
    quantize(o, console_);
    return o.output;
  }

  tessera::testing::ScratchFolder folder_;
  Console console_;
};

std::vector<float> values_of(const std::string& folder, const std::string& name) {
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(folder);
  std::vector<float> values(size_t(checkpoint.info(name).numel()));
  checkpoint.read_f32(name, values);
  return values;
}

/// Names of tensors.
std::vector<std::string> linears_named(const std::string& module) {
  const lora::Checkpoint base = lora::Checkpoint::open(kTiny);
  std::vector<std::string> names;
  for (const auto& info : base.tensors()) {
    if (info.name.find(module) != std::string::npos) names.push_back(info.name);
  }
  return names;
}

/// Of a linear, the change that the adapter is: scale * (B A), from what merging in float32 gives.
std::vector<float> change_of(const std::string& merged, const std::string& base,
                             const std::string& name) {
  std::vector<float> change = values_of(merged, name), before = values_of(base, name);
  for (size_t i = 0; i < change.size(); ++i) change[i] -= before[i];
  return change;
}

TEST_F(MergedChange, ReportsTheDistanceToWhatWasTrained) {
  MergeOptions o = options("adapter: qlora\n");
  const MergeReport exact = merge(o);
  EXPECT_EQ(exact.from_trained, 0);
  EXPECT_NEAR(exact.all_kept().share(), 1, 1e-6);
  EXPECT_LT(exact.all_kept().noise(), 1e-5);
  // What a 4-bit run trained is over the quantized weights, wherever the adapter is added.
  o.into = MergeInto::kOriginal;
  o.output = folder_.file("original");
  const MergeReport original = merge(o);
  double from = 0, size = 0, largest = 0;
  for (const std::string& name : linears_named("_proj")) {
    const auto trained = values_of(folder_.file("merged"), name);
    const auto written = values_of(o.output, name);
    for (size_t i = 0; i < trained.size(); ++i) {
      const double d = double(written[i]) - double(trained[i]);
      from += d * d;
      size += double(trained[i]) * double(trained[i]);
      largest = std::max(largest, std::abs(d));
    }
  }
  EXPECT_NEAR(original.from_trained, std::sqrt(from / size), 1e-12);
  EXPECT_EQ(original.largest_from_trained, largest);
  EXPECT_GT(original.from_trained, 0.05);
}

TEST_F(MergedChange, RoundingCostsSomeOfTheChange) {
  MergeOptions o = options("");
  merge(o);
  const std::string exact = o.output;
  o.dtype = DType::kBF16;
  o.output = folder_.file("rounded");
  const MergeReport report = merge(o);
  KeptChange expected;
  for (const std::string& name : linears_named("_proj")) {
    const auto change = change_of(exact, kTiny, name), base = values_of(kTiny, name);
    const auto written = values_of(o.output, name);
    for (size_t i = 0; i < change.size(); ++i) {
      const double d = double(change[i]);
      const double c = double(written[i]) - double(to_float(to_bf16(base[i])));
      expected.add({d * d, d * c, c * c});
    }
  }
  EXPECT_NEAR(report.all_kept().share(), expected.share(), 1e-5);
  EXPECT_NEAR(report.all_kept().noise(), expected.noise(), 1e-5);
  EXPECT_GT(report.all_kept().noise(), 0.01);
  EXPECT_EQ(report.kept.size(), 7u);
}

TEST_F(MergedChange, IntoNf4IsTheSumQuantized) {
  MergeOptions o = options("adapter: qlora\n");
  o.into = MergeInto::kOriginal;
  o.output = folder_.file("sum");
  merge(o);
  o.into.reset();
  o.into_nf4 = true;
  o.output = folder_.file("nf4");
  const MergeReport report = merge(o);
  // As merging and quantizing one after the other.
  const std::string then = quantized(folder_.file("sum"), "then");
  EXPECT_EQ(bytes_of_file(o.output + "/model.safetensors"),
            bytes_of_file(then + "/model.safetensors"));
  EXPECT_EQ(io::read_json_file(o.output + "/config.json", 1 << 20),
            io::read_json_file(then + "/config.json", 1 << 20));
  EXPECT_EQ(report.into, MergeInto::kOriginal);
  // Against what quantizing makes of the base alone.
  const std::string alone = quantized(kTiny, "alone");
  KeptChange expected;
  for (const std::string& name : linears_named("down_proj")) {
    const auto change = change_of(folder_.file("sum"), kTiny, name);
    const auto with = values_of(o.output, name), without = values_of(alone, name);
    for (size_t i = 0; i < change.size(); ++i) {
      const double d = double(change[i]), c = double(with[i]) - double(without[i]);
      expected.add({d * d, d * c, c * c});
    }
  }
  const KeptChange& found = report.kept.at("down_proj");
  EXPECT_NEAR(found.share(), expected.share(), 1e-5);
  EXPECT_NEAR(found.noise(), expected.noise(), 1e-4);
  EXPECT_NE(describe(report, "out").find("down_proj"), std::string::npos);
}

/// A change that is smaller than the steps between codes is lost where the base lies on codes.
TEST_F(MergedChange, IntoNf4AgainLosesTheChange) {
  const std::string base = quantized(kTiny, "base");
  MergeOptions o = options("adapter: qlora\n");
  o.into_nf4 = true;
  const double original = merge(o).all_kept().share();
  o.base_model = base;
  o.output = folder_.file("again");
  const double again = merge(o).all_kept().share();
  EXPECT_NEAR(original, 1, 0.1);
  EXPECT_LT(again, 0.1);
}

}  // namespace
}  // namespace tessera::launch
