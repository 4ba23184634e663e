// FrozenMatrix: layout, decoding of any span, the packers' products, bits, and refused weights.
#include "quant/frozen_matrix.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "hwy/targets.h"
#include "quant/format_4bit.h"
#include "quant/format_dense.h"
#include "runtime/core/buffer.h"
#include "runtime/cpu/gemm.h"
#include "tests/quant/golden_input.h"

namespace tessera::quant {
namespace {

struct Frozen {
  FrozenSpec spec;
  std::vector<float> source;
  Buffer blob;
  FrozenMatrix matrix;

  explicit Frozen(const FrozenSpec& s)
      : spec(s), source(bell(s.numel(), 99, 0.05f)), blob(Buffer::host(s.bytes())) {
    Context ctx(Device::cpu(), 2, 0);
    give_scratch(ctx);
    FrozenMatrix::quantize(ctx, spec, source, blob.data(), "w");
    matrix = FrozenMatrix(spec, blob.data());
  }
  std::vector<float> dequantized() const {
    Context ctx(Device::cpu(), 1, 0);
    give_scratch(ctx);
    std::vector<float> w(source.size());
    matrix.dequantize(ctx, Tensor(w.data(), DType::kF32, {spec.rows, spec.cols}));
    return w;
  }
};

std::vector<FrozenSpec> specs() {
  return {{{&kNf4Format, 64, true}, 130, 172},
          {{&kNf4Format, 64, false}, 7, 33},
          {{&kFp4Format, 32, true}, 65, 77},
          {{&kNf4Format, 256, true}, 70, 1100},
          {{&kFp4Format, 4096, true}, 1100, 66},
          {{&kNf4Format, 64, true}, 1, 1},
          {{&kF32Format}, 66, 75},
          {{&kBF16Format}, 66, 75},
          {{&kF16Format}, 130, 131}};
}

class FrozenFormats : public ::testing::TestWithParam<FrozenSpec> {
 protected:
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

TEST_P(FrozenFormats, SpansDecodeAsTheWholeAndStayInBounds) {
  const Frozen w(GetParam());
  const std::vector<float> whole = w.dequantized();
  const int64_t n = w.spec.numel();
  for (int64_t targets : {int64_t{0}, int64_t{HWY_AVX2}}) {
    hwy::SetSupportedTargetsForTest(targets);
    for (int64_t i = 0; i < 400; ++i) {
      const int64_t first = int64_t(splitmix64(uint64_t(i)) % uint64_t(n));
      const int64_t count = std::min<int64_t>(n - first, i % 4 == 3 ? n : i % 140);
      std::vector<float> out(size_t(count + 2), -7.0f);
      w.matrix.dequantize_span(first, count, out.data() + 1);
      ASSERT_EQ(out.front(), -7.0f);
      ASSERT_EQ(out.back(), -7.0f) << first << " + " << count;
      ASSERT_EQ(std::memcmp(out.data() + 1, whole.data() + first, size_t(count) * 4), 0)
          << first << " + " << count;
    }
  }
}

/// The panels of all of B, whose shape is [depth, cols], joined into one row-major matrix.
template <class Pack>
std::vector<float> unpack(const Pack& pack, int64_t depth, int64_t cols) {
  std::vector<float> b(size_t(depth * cols));
  const Buffer buffer = Buffer::host(size_t(cpu::kPanelDepth * cpu::kPanelCols) * 4);
  float* panel = buffer.as<float>();
  for (int64_t n0 = 0; n0 < cols; n0 += cpu::kPanelCols) {
    for (int64_t k0 = 0; k0 < depth; k0 += cpu::kPanelDepth) {
      const int64_t nc = std::min(cpu::kPanelCols, cols - n0);
      const int64_t kc = std::min(cpu::kPanelDepth, depth - k0);
      std::fill_n(panel, cpu::kPanelDepth * cpu::kPanelCols, -7.0f);
      pack(n0, nc, k0, kc, panel);
      for (int64_t k = 0; k < cpu::kPanelDepth; ++k) {
        for (int64_t c = 0; c < cpu::kPanelCols; ++c) {
          const float got = panel[k * cpu::kPanelCols + c];
          if (k < kc && c < nc) {
            b[size_t((k0 + k) * cols + n0 + c)] = got;
          } else {
            EXPECT_EQ(got, k < kc ? 0.0f : -7.0f) << k << " " << c;
          }
        }
      }
    }
  }
  return b;
}

TEST_P(FrozenFormats, PackersGiveTheWeightAndItsTranspose) {
  const Frozen w(GetParam());
  const int64_t n = w.spec.rows, k = w.spec.cols;
  const std::vector<float> whole = w.dequantized();
  std::vector<float> transposed(whole.size());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < k; ++j) transposed[size_t(j * n + i)] = whole[size_t(i * k + j)];
  }
  for (int64_t targets : {int64_t{0}, int64_t{HWY_AVX2}}) {
    hwy::SetSupportedTargetsForTest(targets);
    EXPECT_EQ(unpack(w.matrix.pack_backward(), n, k), whole);
    EXPECT_EQ(unpack(w.matrix.pack_forward(), k, n), transposed);
  }
}

struct Products {
  std::vector<float> y, dx;
  bool operator==(const Products&) const = default;
};

constexpr int64_t kTokens = 11;

Products multiply(const Frozen& w, int threads) {
  Context ctx(Device::cpu(), threads, 0);
  give_scratch(ctx);
  const int64_t n = w.spec.rows, k = w.spec.cols;
  const std::vector<float> x = bell(kTokens * k, 5, 1.0f), dy = bell(kTokens * n, 6, 1.0f);
  Products out{std::vector<float>(size_t(kTokens * n)), std::vector<float>(size_t(kTokens * k))};
  const PackForward forward = w.matrix.pack_forward();
  const cpu::GemmTerm y_term{x.data(), k, 1, k, forward};
  cpu::gemm(ctx, {out.y.data(), kTokens, n, n, false}, {&y_term, 1});
  const PackBackward backward = w.matrix.pack_backward();
  const cpu::GemmTerm dx_term{dy.data(), n, 1, n, backward};
  cpu::gemm(ctx, {out.dx.data(), kTokens, k, k, false}, {&dx_term, 1});
  return out;
}

TEST_P(FrozenFormats, ProductsAgreeWithDoubleSums) {
  const Frozen w(GetParam());
  const int64_t n = w.spec.rows, k = w.spec.cols;
  const std::vector<float> whole = w.dequantized();
  const std::vector<float> x = bell(kTokens * k, 5, 1.0f), dy = bell(kTokens * n, 6, 1.0f);
  const Products got = multiply(w, 2);
  const auto check = [&](const std::vector<float>& a, int64_t depth, int64_t cols, int64_t stride_d,
                         int64_t stride_c, const std::vector<float>& c) {
    for (int64_t i = 0; i < kTokens; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        double sum = 0, magnitude = 0;
        for (int64_t d = 0; d < depth; ++d) {
          const double term =
              double(a[size_t(i * depth + d)]) * double(whole[size_t(d * stride_d + j * stride_c)]);
          sum += term;
          magnitude += std::abs(term);
        }
        ASSERT_NEAR(c[size_t(i * cols + j)], sum, magnitude * double(depth + 1) * 0x1p-24);
      }
    }
  };
  check(x, k, n, 1, k, got.y);
  check(dy, n, k, k, 1, got.dx);
}

TEST_P(FrozenFormats, SameBitsOnAnyThreadCountAndTarget) {
  const Products expected = multiply(Frozen(GetParam()), 1);
  const Frozen w(GetParam());
  for (int threads : {2, 3, 4}) EXPECT_EQ(multiply(w, threads), expected);
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  const Frozen narrow(GetParam());
  EXPECT_EQ(std::memcmp(narrow.blob.data(), w.blob.data(), w.spec.bytes()), 0);
  EXPECT_EQ(multiply(narrow, 2), expected);
}

INSTANTIATE_TEST_SUITE_P(All, FrozenFormats, ::testing::ValuesIn(specs()));

TEST(FrozenMatrix, SixteenBitFormatsRoundToNearest) {
  for (const Format* format : {&kBF16Format, &kF16Format, &kF32Format}) {
    const Frozen w(FrozenSpec{{format}, 37, 53});
    const std::vector<float> got = w.dequantized();
    for (size_t i = 0; i < got.size(); ++i) {
      const float x = w.source[i];
      EXPECT_EQ(got[i], format == &kBF16Format  ? to_float(to_bf16(x))
                        : format == &kF16Format ? to_float(to_f16(x))
                                                : x);
    }
  }
}

TEST(FrozenMatrix, LayoutFollowsFromTheSpec) {
  const FrozenSpec dq{{&kNf4Format, 64, true}, 576, 172};  // 99,072 elements, 1,548 blocks
  EXPECT_EQ(Layout4(dq).scales_offset, 49664u);            // 49,536 rounded up to 256
  EXPECT_EQ(Layout4(dq).nested_offset, 49664u + 1792u);
  EXPECT_EQ(dq.bytes(), 49664u + 1792u + 256u);  // 7 nested scales and the offset
  FrozenSpec plain = dq;
  plain.double_quant = false;
  EXPECT_EQ(plain.bytes(), 49664u + 6400u);
  // 63 nested scales leave room for the offset in their 256 bytes, 64 do not.
  const FrozenSpec full{{&kNf4Format, 64, true}, 63 * 256, 64};
  EXPECT_EQ(full.bytes() - Layout4(full).nested_offset, 256u);
  const FrozenSpec over{{&kNf4Format, 64, true}, 64 * 256, 64};
  EXPECT_EQ(over.bytes() - Layout4(over).nested_offset, 512u);
  EXPECT_EQ((FrozenSpec{{&kBF16Format}, 3, 5}).bytes(), 256u);
  EXPECT_EQ((FrozenSpec{{&kF32Format}, 16, 8}).bytes(), 512u);
}

TEST(FrozenMatrix, EveryByteOfTheBlobIsWritten) {
  // Blobs travel and are hashed as bytes, so what was in the memory before must not show.
  Context ctx(Device::cpu(), 1, 0);
  give_scratch(ctx);
  const FrozenSpec spec{{&kNf4Format, 64, true}, 5, 77};
  const std::vector<float> w = bell(spec.numel(), 1, 1.0f);
  const Buffer a = Buffer::host(spec.bytes()), b = Buffer::host(spec.bytes());
  std::memset(b.data(), 0xA5, spec.bytes());
  FrozenMatrix::quantize(ctx, spec, w, a.data(), "w");
  FrozenMatrix::quantize(ctx, spec, w, b.data(), "w");
  EXPECT_EQ(std::memcmp(a.data(), b.data(), spec.bytes()), 0);
}

TEST(FrozenMatrix, BothEncodingsOfAZeroBlockDecodeToZero) {
  // bitsandbytes writes 0x77 on the CPU and 0x00 on CUDA.
  for (const int code : {0x00, 0x77}) {
    const FrozenSpec spec{{&kNf4Format, 64, false}, 2, 64};
    const Buffer blob = Buffer::host(spec.bytes());
    std::memset(blob.data(), code, 64);
    float out[128];
    FrozenMatrix(spec, blob.data()).dequantize_span(0, 128, out);
    for (float x : out) EXPECT_EQ(x, 0.0f);
  }
}

std::string message_of(const FrozenSpec& spec, const std::vector<float>& w) {
  Context ctx(Device::cpu(), 2, 0);
  give_scratch(ctx);
  try {
    const Buffer blob = Buffer::host(spec.bytes());
    FrozenMatrix::quantize(ctx, spec, w, blob.data(), "model.layers.3.mlp.up_proj.weight");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(FrozenMatrix, RefusesWhatIsNotFiniteByNameAndFirstIndex) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const Format* format : {&kNf4Format, &kFp4Format, &kF32Format, &kBF16Format, &kF16Format}) {
    const FrozenSpec spec{{format}, 2001, 100};
    for (const auto& [value, index] :
         std::vector<std::pair<float, size_t>>{{kInf, 0}, {kNan, 131100}, {-kInf, 200099}}) {
      std::vector<float> w = bell(spec.numel(), 1, 1.0f);
      w[index] = value;
      w.back() = kNan;
      if (index + 1 == w.size()) w.back() = value;
      const std::string message = message_of(spec, w);
      const std::string expected =
          fmt::format("tensor model.layers.3.mlp.up_proj.weight: element {} is {}", index, value);
      EXPECT_EQ(message.substr(0, expected.size()), expected);
    }
  }
}

TEST(FrozenMatrix, RefusesWhatDoesNotFit) {
  const std::vector<float> large(640, 65520.0f), fits(640, 65519.0f);
  EXPECT_NE(message_of({{&kF16Format}, 10, 64}, large).find("beyond float16's 65504"),
            std::string::npos);
  EXPECT_EQ(message_of({{&kF16Format}, 10, 64}, fits), "no error");
  const std::vector<float> huge(640, 3e38f);
  EXPECT_NE(message_of({{&kNf4Format}, 10, 64}, huge).find("bnb_4bit_use_double_quant: false"),
            std::string::npos);
  EXPECT_EQ(message_of({{&kNf4Format, 64, false}, 10, 64}, huge), "no error");
}

TEST(FrozenMatrix, RefusesBlockSizesThatDoNotExist) {
  for (const int block : {-64, 0, 1, 16, 48, 63, 8192}) {
    const FrozenSpec spec{{&kNf4Format, block, false}, 4, 4};
    try {
      spec.validate();
      ADD_FAILURE() << block;
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::kUsage);
      EXPECT_NE(std::string(e.what()).find(fmt::format("got {}", block)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tessera::quant
