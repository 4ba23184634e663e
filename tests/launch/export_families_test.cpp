// The tiny families as `tessera export` writes them, against llama.cpp: its converter's files, and
// what it computes with the files written here (tests/golden/make_export_golden.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/commands/gguf_rows.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "runtime/io/json.h"
#include "tests/dense_model.h"
#include "tests/expect_error.h"
#include "tests/family_golden.h"
#include "tests/launch/exported.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::alone;
using tessera::testing::bytes_in;
using tessera::testing::DenseModel;
using tessera::testing::expect_error;
using tessera::testing::export_options;
using tessera::testing::export_silently;
using tessera::testing::FamilyGolden;
using tessera::testing::floats_in;
using tessera::testing::losses_of;
using tessera::testing::ScratchFolder;

const std::string kGolden = TESSERA_GOLDEN_DIR;

class ExportedFamilies : public ::testing::TestWithParam<const char*> {
 protected:
  std::string out(const char* name) const { return scratch_.file(name); }

  ScratchFolder scratch_;
  FamilyGolden golden_{GetParam()};
};

/// Keys that the converter writes of no family, or not of this one, and that llama.cpp reads of
/// all; and those that it rounds or computes otherwise.
const std::set<std::string> kOurs = {"attention.key_length", "attention.value_length",
                                     "rope.dimension_count", "rope.freq_base",
                                     "rope.scaling.type",    "vocab_size"};
/// The converter takes mscale for 1, and the tiny models have another.
constexpr const char* kLogMultiplier = "rope.scaling.yarn_log_multiplier";

TEST_P(ExportedFamilies, HaveTheTensorsAndSettingsOfTheConverter) {
  export_silently(export_options(golden_.folder, out("model.gguf"), "bf16"));
  const io::GgufFile ours(out("model.gguf")), theirs(golden_.folder + "/model.gguf");
  ASSERT_EQ(ours.tensors().size(), theirs.tensors().size());
  for (const io::GgufTensor& tensor : theirs.tensors()) {
    const io::GgufTensor* own = ours.find(tensor.name);
    ASSERT_NE(own, nullptr) << tensor.name;
    EXPECT_EQ(own->type, tensor.type) << tensor.name;
    EXPECT_EQ(own->shape, tensor.shape) << tensor.name;
    if (tensor.name != "rope_freqs.weight") {
      EXPECT_EQ(bytes_in(ours, tensor.name), bytes_in(theirs, tensor.name)) << tensor.name;
      continue;
    }
    const std::vector<float> a = floats_in(ours, tensor.name), b = floats_in(theirs, tensor.name);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6f * b[i]);
  }
  const std::string architecture = theirs.string("general.architecture");
  EXPECT_EQ(ours.string("general.architecture"), architecture);
  EXPECT_EQ(ours.integer("general.file_type"), theirs.integer("general.file_type"));
  for (const std::string& key : theirs.keys()) {
    if (!key.starts_with(architecture + ".") || key.ends_with(kLogMultiplier)) continue;
    ASSERT_TRUE(ours.has(key)) << key;
    if (theirs.is_array(key)) {
      EXPECT_EQ(ours.booleans(key), theirs.booleans(key)) << key;
    } else if (key.ends_with("scaling.type")) {
      EXPECT_EQ(ours.string(key), theirs.string(key));
    } else {
      EXPECT_NEAR(ours.real(key), theirs.real(key), 1e-7 * std::abs(theirs.real(key))) << key;
    }
  }
  for (const std::string& key : ours.keys()) {
    if (!key.starts_with(architecture + ".") || theirs.has(key)) continue;
    EXPECT_TRUE(kOurs.contains(key.substr(architecture.size() + 1))) << key;
  }
}

TEST_P(ExportedFamilies, ComputeWhatLlamaCppComputesWithThem) {
  const json all = io::read_json_file(kGolden + "/export/losses.json", 1 << 20).at("families");
  const auto figures = all.find(golden_.name);
  if (figures == all.end() || figures->contains("changed")) {
    GTEST_SKIP() << "llama.cpp computes the samples of this model otherwise";
  }
  ExportOptions options = export_options(golden_.folder, out("base.gguf"), "f32");
  export_silently(options);
  options.merge.adapter = golden_.adapter;
  options.merge.output = out("merged.gguf");
  export_silently(options);
  // llama.cpp's GELU, which Gemmas have, comes from a table of 16 bits.
  const double bound = golden_.name.starts_with("gemma") ? 5e-4 : 2e-6;
  for (const auto& [file, of] : {std::pair("base.gguf", "base"), {"merged.gguf", "merged"}}) {
    DenseModel model(lora::Checkpoint::open(out(file)));
    double sum = 0;
    const std::vector<float> losses = losses_of(model, alone(golden_.samples));
    for (const float loss : losses) sum += double(loss);
    EXPECT_NEAR(sum / double(golden_.targets), (*figures)[of]["loss"].get<double>(), bound) << of;
  }
}

TEST_P(ExportedFamilies, AnAdapterAloneHasTheRowsOfTheBase) {
  ExportOptions options = export_options(golden_.folder, out("lora.gguf"), "f32");
  options.merge.adapter = golden_.adapter;
  options.adapter_only = true;
  export_silently(options);
  const io::GgufFile file(out("lora.gguf"));
  const lora::ModelSpec spec = lora::Checkpoint::open(golden_.folder).spec();
  const lora::AdapterSet adapters = lora::load_peft(golden_.adapter, spec);
  EXPECT_EQ(file.string("general.type"), "adapter");
  EXPECT_EQ(file.string("adapter.type"), "lora");
  EXPECT_EQ(file.tensors().size(), 2 * adapters.linears().size());
  for (const lora::TensorRow& row : adapters.linears()) {
    const lora::Adapter& adapter = *adapters.find(row.layer, row.site);
    const auto r = size_t(adapter.a.rows());
    EXPECT_FLOAT_EQ(float(file.real("adapter.lora.alpha") / double(r)), adapter.scale);
    const auto a = adapter.a.span<const float>(), b = adapter.b.span<const float>();
    EXPECT_TRUE(std::ranges::equal(floats_in(file, row.gguf + ".lora_a"), a)) << row.gguf;
    const std::vector<float> stored = floats_in(file, row.gguf + ".lora_b");
    ASSERT_EQ(stored.size(), b.size()) << row.gguf;
    for (int64_t i = 0; i < row.out(); ++i) {
      const int64_t from = interleaved_row(i, row.out(), row.interleaved_heads);
      EXPECT_TRUE(std::equal(stored.begin() + i * int64_t(r), stored.begin() + (i + 1) * int64_t(r),
                             b.begin() + from * int64_t(r)))
          << row.gguf;
    }
  }
}

constexpr const char* kExported[] = {
    "gemma",      "glm4",    "granite",  "llama", "llama_bias", "llama_dynamic", "llava",
    "ministral3", "mistral", "mistral3", "olmo2", "phi3",       "qwen2",         "seed_oss"};
INSTANTIATE_TEST_SUITE_P(All, ExportedFamilies, ::testing::ValuesIn(kExported),
                         [](const auto& info) { return std::string(info.param); });

TEST(Export, RefusesWhatLlamaCppWouldComputeOtherwise) {
  ScratchFolder scratch;
  const auto refuses = [&](const char* family, const char* what) {
    expect_error(
        [&] {
          export_silently(
              export_options(kGolden + "/families/" + family, scratch.file("m.gguf"), "f32"));
        },
        family, what);
    EXPECT_TRUE(fs::is_empty(scratch.path()));
  };
  refuses("ministral", "no architecture");
  refuses("gemma2", "scores are multiplied by 0.288675");
  refuses("gemma3", "scores are multiplied by 0.0625");
  refuses("exaone4", "3 heads of 20");
  refuses("glm", "3 heads of 20");
  refuses("olmo3", "YaRN's bounds are 0.4 and 0.05");
  refuses("qwen3", "biases");
  refuses("smollm3", "rotary positions are not used in layer 1");
}

TEST(Export, SaysWhatDiffersInLongTexts) {
  ScratchFolder scratch;
  const auto note = [&](const char* family) {
    const ExportReport report = export_silently(
        export_options(kGolden + "/families/" + family, scratch.file(family) + ".gguf", "f32"));
    EXPECT_EQ(report.notes.size(), 2u);  // and that there is no tokenizer
    return report.notes.empty() ? "" : report.notes.front();
  };
  EXPECT_NE(note("mistral").find("more than 7 tokens"), std::string::npos);
  EXPECT_NE(note("llama_dynamic").find("more than 16 tokens"), std::string::npos);
}

TEST(Export, AnAdapterAloneHasNoPlaceForWholeModules) {
  ScratchFolder scratch;
  const lora::ModelSpec spec = lora::Checkpoint::open(kGolden + "/families/llama").spec();
  lora::AdapterOptions of_adapter;
  of_adapter.targets.whole = {"lm_head"};
  lora::AdapterSet adapters(spec, of_adapter);
  lora::save_peft(scratch.file("adapter"), adapters, "");
  ExportOptions options =
      export_options(kGolden + "/families/llama", scratch.file("l.gguf"), "f32");
  options.merge.adapter = scratch.file("adapter");
  options.adapter_only = true;
  expect_error([&] { export_silently(options); }, "trained in full", "without --adapter_only");
}

TEST(Export, RanksAndScalesOfTheirOwnAreInB) {
  ScratchFolder scratch;
  const lora::ModelSpec spec = lora::Checkpoint::open(kGolden + "/families/llama").spec();
  lora::AdapterOptions of_adapter;
  of_adapter.r = 4;
  of_adapter.alpha = 8;
  of_adapter.rslora = true;
  of_adapter.ranks = {{{"v_proj", 16}}, ""};
  lora::AdapterSet adapters(spec, of_adapter);
  adapters.init(7);
  for (float& value : adapters.params()) value += 0.25f;
  lora::save_peft(scratch.file("adapter"), adapters, "");
  ExportOptions options =
      export_options(kGolden + "/families/llama", scratch.file("l.gguf"), "f32");
  options.merge.adapter = scratch.file("adapter");
  options.adapter_only = true;
  export_silently(options);
  const io::GgufFile file(scratch.file("l.gguf"));
  const double alpha = file.real("adapter.lora.alpha");
  EXPECT_EQ(alpha, 16);  // 8 * sqrt(4)
  for (const lora::TensorRow& row : adapters.linears()) {
    const lora::Adapter& adapter = *adapters.find(row.layer, row.site);
    const double scale = alpha / double(adapter.a.rows());
    const float b = adapter.b.span<const float>()[0];
    EXPECT_FLOAT_EQ(float(scale * double(floats_in(file, row.gguf + ".lora_b")[0])),
                    adapter.scale * b)
        << row.gguf;
  }
}

}  // namespace
}  // namespace tessera::launch
