// Folders whose linears are quantized: in 4 bits as bitsandbytes stores them, taken as they are,
// and in 8-bit floats, decoded as transformers does it.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "lora/model/bnb_linear.h"
#include "lora/model/families.h"
#include "lora/model/fp8_linear.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"
#include "quant/format_4bit.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/model_folder.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"
#include "tests/splitmix64.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using quant::FrozenSpec;
using quant::Storage;
using testing::expect_error;
using testing::splitmix64;

constexpr Storage kDouble{&quant::kNf4Format, 64, true};

std::vector<std::byte> blob_of(Context& ctx, const FrozenSpec& spec, const TensorRow& row) {
  std::vector<std::byte> blob(spec.bytes());
  quant::FrozenMatrix::quantize(ctx, spec, testing::values_of(row), blob.data(), row.name());
  return blob;
}

/// A small model whose tensors can be changed before they are written.
class QuantizedFolder : public ::testing::Test {
 protected:
  struct Stored {
    std::string dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };

  /// The linears in that storage, all else in float32.
  void fill(const Storage& storage) {
    tensors_.clear();
    for (const TensorRow& row : tensors_of(spec_)) {
      if (row.role == Role::kLinear) {
        const FrozenSpec of{storage, row.out(), row.in()};
        const std::vector<std::byte> blob = blob_of(ctx_, of, row);
        const BnbParts parts(row.name(), of, DType::kBF16, blob);
        for (const BnbPart& part : parts.parts()) {
          tensors_[part.entry.name] = {
              part.entry.dtype, part.entry.shape, {part.bytes.begin(), part.bytes.end()}};
        }
      } else {
        set_floats(row.name(), row.shape, testing::values_of(row));
      }
    }
  }
  void set_floats(const std::string& name, std::vector<int64_t> shape,
                  const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    tensors_[name] = {"F32", std::move(shape), {bytes.begin(), bytes.end()}};
  }
  std::vector<float> floats(const std::string& name) const {
    const std::vector<std::byte>& bytes = tensors_.at(name).bytes;
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  void set_state(const std::string& weight, const std::string& key, const json& value) {
    Stored& stored = tensors_.at(weight + ".quant_state.bitsandbytes__nf4");
    json state = json::parse(
        std::string(reinterpret_cast<const char*>(stored.bytes.data()), stored.bytes.size()));
    state[key] = value;
    const std::string text = state.dump();
    const auto bytes = std::as_bytes(std::span(text));
    stored = {"U8", {int64_t(text.size())}, {bytes.begin(), bytes.end()}};
  }
  Checkpoint open() {
    std::vector<io::SafetensorsEntry> layout;
    for (const auto& [name, stored] : tensors_) {
      layout.push_back({.name = name, .dtype = stored.dtype, .shape = stored.shape});
    }
    io::SafetensorsWriter writer(folder_.file("model.safetensors"), layout);
    for (const auto& entry : writer.entries())
      writer.write(entry.name, tensors_.at(entry.name).bytes);
    writer.commit();
    return Checkpoint::open(folder_.path(), spec_);
  }
  template <class... Parts>
  void refuse(Parts&&... parts) {
    expect_error([&] { open(); }, std::forward<Parts>(parts)...);
  }
  std::vector<float> read(const Checkpoint& checkpoint, const std::string& name) {
    std::vector<float> values(size_t(checkpoint.info(name).numel()));
    checkpoint.read_f32(name, values);
    return values;
  }
  /// Every linear is held so, decodes to the values of `blob_of` and has its bytes if held alike.
  void expect_bits(const Checkpoint& checkpoint, const Storage& stored, const Storage& held) {
    for (const TensorRow& row : linears_of(spec_)) {
      const TensorInfo& info = checkpoint.info(row.name());
      ASSERT_TRUE(info.quantized == held) << row.name();
      EXPECT_EQ(info.shape, row.shape);
      const FrozenSpec of{stored, row.out(), row.in()};
      const std::vector<std::byte> expected = blob_of(ctx_, of, row);
      std::vector<float> values(size_t(of.numel()));
      quant::FrozenMatrix(of, expected.data()).dequantize_span(0, of.numel(), values.data());
      EXPECT_EQ(read(checkpoint, row.name()), values) << row.name();
      if (held != stored) continue;
      std::vector<std::byte> blob(of.bytes(), std::byte{0xaa});
      checkpoint.read_blob(row.name(), blob);
      EXPECT_EQ(blob, expected) << row.name();
    }
  }

  ModelSpec spec_ = testing::llama_spec({.vocab = 96});
  std::string linear_ = linears_of(spec_).front().name();
  Context ctx_{Device::cpu(), 1, 0};
  testing::ScratchFolder folder_;
  std::map<std::string, Stored> tensors_;
};

TEST_F(QuantizedFolder, EveryFormatIsTakenAsItIs) {
  for (const quant::Format* format : {&quant::kNf4Format, &quant::kFp4Format}) {
    for (const bool double_quant : {false, true}) {
      for (const int block : {32, 64, 4096}) {
        const Storage storage{format, block, double_quant};
        fill(storage);
        const Checkpoint checkpoint = open();
        expect_bits(checkpoint, storage, storage);
        EXPECT_EQ(checkpoint_format(checkpoint).linear, storage);
        EXPECT_TRUE(checkpoint_format(checkpoint).exceptions.empty());
      }
    }
  }
}

/// The bytes count, not the type under which they are stored.
TEST_F(QuantizedFolder, CodesMayHaveAnyType) {
  for (const auto& [dtype, size] : {std::pair{"BF16", 2}, {"F16", 2}, {"F32", 4}, {"I8", 1}}) {
    fill(kDouble);
    for (const TensorRow& row : linears_of(spec_)) {
      Stored& codes = tensors_.at(row.name());
      codes.dtype = dtype;
      codes.shape = {int64_t(codes.bytes.size()) / size, 1};
    }
    expect_bits(open(), kDouble, kDouble);
  }
}

/// Maps differ by a bit or two from build to build of torch. The scales are then held as the floats
/// that they decode to, with any map and any blocks.
TEST_F(QuantizedFolder, ScalesOfAnotherMapAreHeldAsFloats) {
  const Storage plain{&quant::kNf4Format, 64, false};
  fill(kDouble);
  std::map<std::string, std::vector<float>> expected;
  for (const TensorRow& row : linears_of(spec_)) {
    const std::string name = row.name();
    std::vector<float> map = floats(name + ".nested_quant_map");
    for (float& x : map) x = std::bit_cast<float>(std::bit_cast<uint32_t>(x) + (x > 0.1f));
    set_floats(name + ".nested_quant_map", {256}, map);
    // Two blocks of scales where one was.
    const Stored& codes = tensors_.at(name + ".absmax");
    const int64_t half = (int64_t(codes.bytes.size()) + 1) / 2;
    const float outer = floats(name + ".nested_absmax").at(0);
    set_floats(name + ".nested_absmax", {2}, {outer, outer * 0.5f});
    set_state(name, "nested_blocksize", half);
    const json state = json::parse(
        std::string(reinterpret_cast<const char*>(
                        tensors_.at(name + ".quant_state.bitsandbytes__nf4").bytes.data()),
                    tensors_.at(name + ".quant_state.bitsandbytes__nf4").bytes.size()));
    const float offset = float(state["nested_offset"].get<double>());
    std::vector<float>& values = expected[name];
    for (int64_t i = 0; i < row.out() * row.in(); ++i) {
      const int64_t block = i / 64;
      const float nested = block < half ? outer : outer * 0.5f;
      const float product = map[size_t(codes.bytes[size_t(block)])] * nested;
      const uint8_t pair = uint8_t(tensors_.at(name).bytes[size_t(i / 2)]);
      const float value = quant::kNf4.values[i % 2 ? pair & 15 : pair >> 4];
      values.push_back(value * (product + offset));
    }
  }
  const Checkpoint checkpoint = open();
  for (const TensorRow& row : linears_of(spec_)) {
    ASSERT_TRUE(checkpoint.info(row.name()).quantized == plain);
    EXPECT_EQ(read(checkpoint, row.name()), expected[row.name()]) << row.name();
  }
  EXPECT_EQ(checkpoint_format(checkpoint).linear, plain);
}

/// As with llm_int8_skip_modules.
TEST_F(QuantizedFolder, LinearsThatAreStoredDenseStayDense) {
  fill(kDouble);
  const TensorRow dense = linears_of(spec_)[2];
  std::erase_if(tensors_,
                [&](const auto& tensor) { return tensor.first.starts_with(dense.name()); });
  set_floats(dense.name(), dense.shape, testing::values_of(dense));
  const Checkpoint checkpoint = open();
  const BaseFormat format = checkpoint_format(checkpoint);
  EXPECT_EQ(format.linear, kDouble);
  ASSERT_EQ(format.exceptions.size(), 1u);
  EXPECT_EQ(format.exceptions.at(dense.id()).format, quant::format_of(DType::kF32));
  parallel::SelfCommunicator alone;
  BaseWeights base(ctx_, spec_, format, Placement{alone, {}});
  load_base(ctx_, checkpoint, base, alone, [](int64_t, int64_t) {});
  for (int64_t layer = 0; layer < spec_.layer_count(); ++layer) {
    for (const PlacedTensor& tensor : base.layout().layers[size_t(layer)].tensors) {
      if (!tensor.is_matrix()) continue;
      const quant::FrozenMatrix matrix = tensor.matrix_in(base.store().whole(layer).data());
      const bool is_dense = tensor.row.name() == dense.name();
      EXPECT_EQ(matrix.spec().is_dense(DType::kF32), is_dense);
      std::vector<float> values(size_t(matrix.spec().numel()));
      matrix.dequantize_span(0, matrix.spec().numel(), values.data());
      EXPECT_EQ(values, read(checkpoint, tensor.row.name())) << tensor.row.name();
    }
  }
}

TEST_F(QuantizedFolder, RefusesPartsThatDoNotFit) {
  const auto broken = [&](const auto& change) {
    fill(kDouble);
    change();
  };
  for (const char* part : {".absmax", ".quant_map", ".nested_quant_map"}) {
    broken([&] { tensors_.erase(linear_ + part); });
    refuse(linear_ + part, "is missing");
  }
  broken([&] { tensors_.erase(linear_ + ".nested_absmax"); });
  refuse(linear_ + ".absmax", "U8", "F32");  // as if the scales were plain
  broken([&] { tensors_.erase(linear_ + ".quant_state.bitsandbytes__nf4"); });
  refuse("'" + linear_ + "' has shape [");
  broken([&] { tensors_[linear_ + ".quant_state.bitsandbytes__fp4"] = {"U8", {2}, {}}; });
  tensors_[linear_ + ".quant_state.bitsandbytes__fp4"].bytes = {std::byte{'{'}, std::byte{'}'}};
  refuse(linear_, "two quant_state");
  broken([&] { set_state(linear_, "shape", json{48, 64}); });
  refuse(linear_, "[48,64]");
  broken([&] { set_state(linear_, "quant_type", "fp4"); });
  refuse(linear_, "quant_type");
  for (const json& bad : {json(48), json(16), json(8192), json(-64), json("64"), json()}) {
    broken([&] { set_state(linear_, "blocksize", bad); });
    refuse(linear_, "block");
  }
  for (const json& bad : {json("a"), json(), json(1e300)}) {
    broken([&] { set_state(linear_, "nested_offset", bad); });
    refuse(linear_, "nested_offset");
  }
  broken([&] {
    std::vector<float> table = floats(linear_ + ".quant_map");
    table[3] += 0.01f;
    set_floats(linear_ + ".quant_map", {16}, table);
  });
  refuse(linear_, "quant_map is not the table of nf4");
  broken([&] {
    tensors_.at(linear_).bytes.pop_back();
    tensors_.at(linear_).shape[0] -= 1;
  });
  refuse(linear_, "its codes have");
  broken([&] { tensors_["model.norm.weight.absmax"] = {"U8", {1}, {std::byte{0}}}; });
  refuse("'model.norm.weight.absmax' does not belong");
  broken([&] { tensors_[linear_ + ".anything"] = {"U8", {1}, {std::byte{0}}}; });
  refuse(linear_ + ".anything' does not belong");
  broken([&] { set_floats(linear_ + ".nested_absmax", {1}, {INFINITY}); });
  const Checkpoint damaged = open();
  expect_error([&] { read(damaged, linear_); }, linear_, "scale 0 is inf", "damaged");
  broken([&] {  // every number is finite, and what they make is not
    std::ranges::fill(tensors_.at(linear_ + ".absmax").bytes, std::byte{0xff});
    const float large = std::numeric_limits<float>::max();
    const auto groups = floats(linear_ + ".nested_absmax").size();
    set_floats(linear_ + ".nested_absmax", {int64_t(groups)}, std::vector<float>(groups, large));
    set_state(linear_, "nested_offset", 3e38);
  });
  const Checkpoint overflows = open();
  std::vector<std::byte> blob(
      FrozenSpec{kDouble, overflows.info(linear_).shape[0], overflows.info(linear_).shape[1]}
          .bytes());
  expect_error([&] { overflows.read_blob(linear_, blob); }, linear_, "scale 0 is inf", "damaged");
}

/// Nothing outside the layers is held in 4 bits.
TEST_F(QuantizedFolder, RefusesAQuantizedHead) {
  fill(kDouble);
  tensors_["lm_head.weight.quant_state.bitsandbytes__nf4"] = {"U8", {1}, {std::byte{' '}}};
  refuse("'lm_head.weight' is stored in 4 bits", "only linears of the layers");
}

std::string fingerprint(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += (uint64_t(bytes[i]) + 1) * splitmix64(i);
  return fmt::format("{:016x}", sum);
}

const json& fp8_golden() {
  static const json golden =
      io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/quantized/fp8.json", size_t{1} << 20);
  return golden;
}

TEST(Fp8, EveryCodeIsWhatTorchMakesOfIt) {
  for (int code = 0; code < 256; ++code) {
    const auto bits =
        uint32_t(std::stoul(fp8_golden()["codes"][size_t(code)].get<std::string>(), nullptr, 16));
    const float value = float_of_fp8(uint8_t(code));
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value) && std::isnan(std::bit_cast<float>(bits)));
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(value), bits) << code;
    }
  }
}

/// One weight [256, 128] with its scales; see make_fp8_golden.py.
class Fp8Folder : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 256, kCols = 128;

  void write(const json& shape, const std::string& scale_type, const std::string& suffix) {
    std::vector<std::byte> codes(size_t(kRows * kCols));
    for (size_t i = 0; i < codes.size(); ++i) {
      const auto code = uint8_t(splitmix64(i));
      codes[i] = std::byte((code & 0x7f) == 0x7f ? 0x7e : code);
    }
    if (not_a_number_) codes[1000] = std::byte{0xff};
    size_t count = 1;
    for (const json& extent : shape) count *= extent.get<size_t>();
    std::vector<std::byte> scales;
    for (size_t j = 0; j < count; ++j) {
      const float scale = float(double(splitmix64(1000 + j) >> 40) * 0x1p-24 + 0x1p-10);
      const bf16 rounded = to_bf16(scale);
      const auto bytes = scale_type == "F32" ? std::as_bytes(std::span(&scale, 1))
                                             : std::as_bytes(std::span(&rounded, 1));
      scales.insert(scales.end(), bytes.begin(), bytes.end());
    }
    io::SafetensorsWriter writer(
        folder_.file("model.safetensors"),
        {{.name = "w", .dtype = "F8_E4M3", .shape = {kRows, kCols}},
         {.name = "w" + suffix, .dtype = scale_type, .shape = shape.get<std::vector<int64_t>>()}});
    for (const auto& entry : writer.entries()) {
      writer.write(entry.name, entry.name == "w" ? codes : scales);
    }
    writer.commit();
  }

  testing::ScratchFolder folder_;
  bool not_a_number_ = false;
};

TEST_F(Fp8Folder, DecodesAsTransformersDoes) {
  EXPECT_EQ(fp8_golden()["cases"].size(), 16u);
  for (const json& expected : fp8_golden()["cases"]) {
    const std::string suffix = expected["shape"].size() == 2 ? "_scale_inv" : "_scale";
    write(expected["shape"], expected["scales"], suffix);
    Shards shards(folder_.path());
    const Fp8Linear linear(shards, shards.find("w").value(), kRows, kCols);
    const auto files = std::move(shards).take_files();
    const DType dtype = expected["decoded"] == "F32" ? DType::kF32 : DType::kBF16;
    std::vector<std::byte> out(size_t(kRows * kCols) * size_of(dtype));
    linear.read(files, dtype, false, out);
    EXPECT_EQ(fingerprint(out), expected["fingerprint"].get<std::string>()) << expected;
    std::vector<float> wide(size_t(kRows * kCols)), same(wide.size());
    linear.read(files, dtype, true, std::as_writable_bytes(std::span(wide)));
    to_floats(dtype, out, same);
    EXPECT_EQ(wide, same);
  }
}

TEST_F(Fp8Folder, RefusesScalesThatDoNotFit) {
  const auto make = [&] {
    const Shards shards(folder_.path());
    Fp8Linear(shards, shards.find("w").value(), kRows, kCols);
  };
  // Blocks of 128 of a weight of 384 rows would be three; [3, 1] does not divide 256.
  for (const json& bad : {json{3, 1}, json{2, 3}, json{512, 1}, json{0}, json{2, 1, 1}}) {
    write(bad, "F32", "_scale_inv");
    expect_error(make, "w_scale_inv", "do not fit a weight of [256, 128]");
  }
  write({2, 1}, "F32", "_other");
  expect_error(make, "tensor w is F8_E4M3", "w_scale_inv");
}

TEST_F(Fp8Folder, RefusesACodeThatIsNoNumber) {
  not_a_number_ = true;
  write({2, 1}, "F32", "_scale_inv");
  Shards shards(folder_.path());
  const Fp8Linear linear(shards, shards.find("w").value(), kRows, kCols);
  const auto files = std::move(shards).take_files();
  std::vector<float> out(size_t(kRows * kCols));
  expect_error(
      [&] { linear.read(files, DType::kF32, true, std::as_writable_bytes(std::span(out))); },
      "tensor w: element 1000 is not a number");
}

/// A whole model: linears in 8-bit floats, and scales of activations, which are not used.
TEST_F(QuantizedFolder, EightBitFloatsBecomeTheModelsDtype) {
  spec_.dtype = DType::kBF16;
  fill(kDouble);
  for (const TensorRow& row : linears_of(spec_)) {
    std::erase_if(tensors_,
                  [&](const auto& tensor) { return tensor.first.starts_with(row.name()); });
    std::vector<std::byte> codes(size_t(row.out() * row.in()), std::byte{0x39});  // 1.125
    codes.back() = std::byte{0xc0};                                               // -2
    tensors_[row.name()] = {"F8_E4M3", row.shape, codes};
    set_floats(row.name() + "_scale", {row.out(), 1}, std::vector<float>(size_t(row.out()), 0.3f));
    set_floats(row.module + ".input_scale", {1}, {1.0f});
  }
  for (const TensorRow& row : tensors_of(spec_)) {
    if (row.role == Role::kLinear) continue;
    Stored& stored = tensors_.at(row.name());
    stored.dtype = "BF16";
    stored.bytes.resize(stored.bytes.size() / 2, std::byte{0});
    std::ranges::fill(stored.bytes, std::byte{0});
  }
  const Checkpoint checkpoint = open();
  ASSERT_EQ(checkpoint.notes().size(), 1u);
  EXPECT_NE(checkpoint.notes()[0].find("14 scales of 8-bit activations"), std::string::npos);
  EXPECT_EQ(checkpoint.info(linear_).dtype, DType::kBF16);
  EXPECT_FALSE(checkpoint.info(linear_).quantized.has_value());
  const std::vector<float> values = read(checkpoint, linear_);
  EXPECT_EQ(values.front(), to_float(to_bf16(1.125f * 0.3f)));
  EXPECT_EQ(values.back(), to_float(to_bf16(-2.0f * 0.3f)));
  EXPECT_EQ(checkpoint_format(checkpoint).linear.format, quant::format_of(DType::kBF16));
  set_floats(linear_ + "_scale_inv", {1}, {1.0f});
  refuse(linear_ + " has scales twice", linear_ + "_scale_inv");
  tensors_.erase(linear_ + "_scale_inv");
  tensors_["model.layers.0.mlp.other_scale"] = {"F32", {1}, std::vector<std::byte>(4)};
  refuse("other_scale", "does not belong");
}

ModelSpec parse_with(const json& quantization) {
  json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"hidden_size", 8},
                 {"intermediate_size", 12},
                 {"num_hidden_layers", 1},
                 {"num_attention_heads", 2},
                 {"vocab_size", 6},
                 {"quantization_config", quantization}};
  return parse_config(config.dump(), "config.json");
}

TEST(QuantizationConfig, KnowsWhatCanBeRead) {
  for (const json& good :
       {json{{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}, {"load_in_8bit", false}},
        json{{"load_in_4bit", true}},
        json{{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}},
        json{{"quant_method", "compressed-tensors"}, {"format", "float-quantized"}}}) {
    EXPECT_EQ(parse_with(good).vocab, 6) << good;
  }
  const auto refuse = [](const json& bad, std::string_view part) {
    expect_error([&] { parse_with(bad); }, "config.json: quantization_config", part);
  };
  refuse({{"quant_method", "awq"}}, "quantized by awq, which cannot be read; give the original");
  refuse({{"quant_method", "gptq"}, {"bits", 4}}, "gptq");
  refuse({{"quant_method", "mxfp4"}}, "base_model");
  refuse({{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}}, "bitsandbytes in 8 bits");
  refuse({{"quant_method", "bitsandbytes"}}, "neither load_in_4bit nor load_in_8bit");
  refuse({{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}},
         "compressed-tensors in the format pack-quantized");
  refuse({{"bits", 4}}, "quant_method is missing");
}

}  // namespace
}  // namespace tessera::lora
