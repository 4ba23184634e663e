// Quantization against what bitsandbytes made of the same tensors, bit by bit.
#include <gtest/gtest.h>

#include <sstream>

#include "hwy/targets.h"
#include "quant/blockwise4.h"
#include "quant/double_quant.h"
#include "quant/format_4bit.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/buffer.h"
#include "tests/quant/golden_input.h"

namespace tessera::quant {
namespace {

struct Case {
  std::string format, type, kind, codes, scales, nested, out, offset;
  int block = 0;
  bool double_quant = false;
  int64_t rows = 0, cols = 0;

  FrozenSpec spec() const {
    return {{format == "nf4" ? &kNf4Format : &kFp4Format, block, double_quant}, rows, cols};
  }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  std::ifstream file = open_golden("blockwise4.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream in(line);
    Case c;
    in >> c.format >> c.block >> c.double_quant >> c.rows >> c.cols >> c.type >> c.kind;
    in >> c.codes >> c.scales >> c.nested >> c.out >> c.offset;
    if (!in) fail("blockwise4.txt: cannot read \"{}\"", line);
    all.push_back(c);
  }
  return all;
}

template <class T>
std::string hash(const void* data, int64_t count) {
  return fmt::format("{:016x}", fingerprint<T>({static_cast<const T*>(data), size_t(count)}));
}

std::vector<float> rounded_input(const Case& c) {
  std::vector<float> x = golden_input(codebook_of(c.spec().format), c.kind, c.rows * c.cols);
  for (float& v : x) {
    if (c.type == "bf16") v = to_float(to_bf16(v));
    if (c.type == "f16") v = to_float(to_f16(v));
  }
  return x;
}

std::string hash_of_dequantized(Context& ctx, const Case& c, const FrozenMatrix& w) {
  const int64_t n = c.rows * c.cols;
  const Buffer out = Buffer::host(size_t(n) * sizeof(float));
  const DType type = c.type == "f32" ? DType::kF32 : c.type == "bf16" ? DType::kBF16 : DType::kF16;
  w.dequantize(ctx, Tensor(out.data(), type, {c.rows, c.cols}));
  const bool plain = c.format == "fp4";  // as the script says
  if (type == DType::kF32) {
    uint32_t* bits = out.as<uint32_t>();
    for (int64_t i = 0; plain && i < n; ++i) bits[i] = bits[i] == 0x80000000u ? 0 : bits[i];
    return hash<uint32_t>(bits, n);
  }
  uint16_t* bits = out.as<uint16_t>();
  for (int64_t i = 0; plain && i < n; ++i) bits[i] = bits[i] == 0x8000u ? uint16_t(0) : bits[i];
  return hash<uint16_t>(bits, n);
}

void compare(const Case& c, int threads) {
  Context ctx(Device::cpu(), threads, 0);
  give_scratch(ctx);
  const FrozenSpec spec = c.spec();
  const Layout4 layout(spec);
  const Buffer blob = Buffer::host(spec.bytes());
  FrozenMatrix::quantize(ctx, spec, rounded_input(c), blob.data(), "w");
  EXPECT_EQ(hash<uint8_t>(blob.data(), (spec.numel() + 1) / 2), c.codes);
  const std::byte* scales = blob.data() + layout.scales_offset;
  if (c.double_quant) {
    EXPECT_EQ(hash<uint8_t>(scales, layout.blocks), c.scales);
    const uint32_t* nested = reinterpret_cast<const uint32_t*>(blob.data() + layout.nested_offset);
    EXPECT_EQ(hash<uint32_t>(nested, layout.nested), c.nested);
    EXPECT_EQ(fmt::format("{:08x}", nested[layout.nested]), c.offset);
  } else {
    EXPECT_EQ(hash<uint32_t>(scales, layout.blocks), c.scales);
  }
  EXPECT_EQ(hash_of_dequantized(ctx, c, FrozenMatrix(spec, blob.data())), c.out);
}

void compare_all(int threads) {
  const std::vector<Case> all = cases();
  ASSERT_GT(all.size(), 350u);
  for (const Case& c : all) {
    SCOPED_TRACE(fmt::format("{} block {} dq {} {}x{} {} {}", c.format, c.block, c.double_quant,
                             c.rows, c.cols, c.type, c.kind));
    compare(c, threads);
  }
}

TEST(Bitsandbytes, EveryCaseIsEqual) { compare_all(1); }

TEST(Bitsandbytes, EveryCaseIsEqualOnThreads) { compare_all(3); }

TEST(Bitsandbytes, EveryCaseIsEqualOnAvx2) {
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  compare_all(1);
  hwy::SetSupportedTargetsForTest(0);
}

TEST(Bitsandbytes, TablesAreEqual) {
  std::ifstream file = open_golden("maps.txt");
  const auto expect_next = [&](std::span<const float> table) {
    for (size_t i = 0; i < table.size(); ++i) {
      std::string hex;
      ASSERT_TRUE(file >> hex);
      EXPECT_EQ(fmt::format("{:08x}", std::bit_cast<uint32_t>(table[i])), hex) << i;
    }
  };
  expect_next(kNf4.values);
  expect_next(kFp4.values);
  expect_next(kNf4.thresholds);
  expect_next(kFp4.thresholds);
  expect_next(kDynamicSigned);
  expect_next(kDynamicUnsigned);
}

TEST(Bitsandbytes, MeanIsTorchs) {
  std::ifstream file = open_golden("mean.txt");
  std::vector<float> x = bell(300000, 7, 1.0f);
  for (float& v : x) v = std::fabs(v);
  int lines = 0;
  size_t n;
  for (std::string hex; file >> n >> hex; ++lines) {
    EXPECT_EQ(mean_as_torch({x.data(), n}), float_of_hex(hex)) << n;
  }
  EXPECT_GT(lines, 300);
}

TEST(Bitsandbytes, SmallTensorsByteByByte) {
  std::vector<float> ramp;
  for (int i = 0; i < 64; ++i) ramp.push_back(float((37 * i) % 64 - 32) / 64);
  ramp.insert(ramp.end(), {0.25f, -0.125f, 0.0625f, 0.0f, -0.03125f});
  std::ifstream file = open_golden("small.txt");
  Context ctx(Device::cpu(), 1, 0);
  give_scratch(ctx);
  int lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    std::istringstream in(line);
    std::string format, codes_hex, scale;
    size_t block, n;
    in >> format >> block >> n >> codes_hex;
    std::vector<uint8_t> codes((n + 1) / 2);
    std::vector<float> scales((n + block - 1) / block);
    quantize4(ctx, format == "nf4" ? kNf4 : kFp4, int(block), {ramp.data(), n}, {codes, scales},
              "w");
    EXPECT_EQ(fmt::format("{:02x}", fmt::join(codes, "")), codes_hex);
    for (float s : scales) {
      ASSERT_TRUE(in >> scale);
      EXPECT_EQ(s, float_of_hex(scale));
    }
  }
  EXPECT_EQ(lines, 4);
}

}  // namespace
}  // namespace tessera::quant
