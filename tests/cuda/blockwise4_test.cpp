// Frozen weights on a GPU: the bytes of the CPU, whose own are bitsandbytes', and what they decode
// to.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "quant/blockwise4.h"
#include "quant/double_quant.h"
#include "quant/format_4bit.h"
#include "quant/format_dense.h"
#include "quant/frozen_matrix.h"
#include "tests/cuda/on_device.h"
#include "tests/quant/golden_input.h"

namespace tessera::quant {
namespace {

using tessera::testing::DeviceContext;
using tessera::testing::OnDevice;
using tessera::testing::rounded;
using tessera::testing::test_device;

constexpr DType kFloats[] = {DType::kF32, DType::kBF16, DType::kF16};

std::string name(const FrozenSpec& s) {
  return fmt::format("format {} {}x{} block {} dq {}", s.format->name, s.rows, s.cols, s.block,
                     s.double_quant);
}

class HostContext : public Context {
 public:
  HostContext() : Context(Device::cpu(), 1, 0) { give_scratch(*this); }
};

std::vector<std::byte> host_blob(const FrozenSpec& spec, const std::vector<float>& w) {
  HostContext ctx;
  std::vector<std::byte> blob(spec.bytes());
  FrozenMatrix::quantize(ctx, spec, w, blob.data(), "w");
  return blob;
}

/// A blob on the device that starts as garbage.
OnDevice garbage(const FrozenSpec& spec) {
  const int64_t bytes = int64_t(spec.bytes());
  OnDevice blob(DType::kU8, {bytes});
  const std::vector<std::byte> ones(size_t(bytes), std::byte{0xff});
  blob.upload(ones.data(), ones.size());
  return blob;
}

std::vector<std::byte> device_blob(const FrozenSpec& spec, Tensor w) {
  DeviceContext ctx;
  const OnDevice blob = garbage(spec);
  FrozenMatrix::quantize(ctx, spec, w, static_cast<std::byte*>(blob.tensor().raw()), "w");
  return blob.bytes(ctx);
}

std::vector<std::byte> host_values(const FrozenSpec& spec, const std::vector<std::byte>& blob,
                                   DType dtype) {
  HostContext ctx;
  std::vector<std::byte> out(size_t(spec.numel()) * size_of(dtype));
  FrozenMatrix(spec, blob.data()).dequantize(ctx, Tensor(out.data(), dtype, {spec.numel()}));
  return out;
}

/// Elements [first, first + count), and after them what was there before.
std::vector<std::byte> device_values(const FrozenSpec& spec, const std::vector<std::byte>& blob,
                                     DType dtype, int64_t first, int64_t count) {
  DeviceContext ctx;
  OnDevice on_device(DType::kU8, {int64_t(blob.size())});
  on_device.upload(blob.data(), blob.size());
  const OnDevice out(dtype, {count + 8}, std::vector<float>(size_t(count + 8), -7.0f));
  const FrozenMatrix w(spec, static_cast<std::byte*>(on_device.tensor().raw()));
  w.dequantize_part(ctx, first, out.tensor().slice(0, count));
  const std::vector<float> all = out.values(ctx);
  for (size_t i = size_t(count); i < all.size(); ++i) EXPECT_EQ(all[i], -7.0f);
  std::vector<std::byte> bytes = out.bytes(ctx);
  bytes.resize(size_t(count) * size_of(dtype));
  return bytes;
}

std::vector<FrozenSpec> specs() {
  std::vector<FrozenSpec> all;
  for (const Format* format : {&kNf4Format, &kFp4Format}) {
    for (const bool double_quant : {false, true}) {
      for (int block = 32; block <= 4096; block *= 2) {
        all.push_back({{format, block, double_quant}, 37, 331});  // odd, the last block short
        all.push_back({{format, block, double_quant}, 64, 256});
      }
      all.push_back({{format, 64, double_quant}, 1, 1});
      all.push_back({{format, 64, double_quant}, 1, 65});
      all.push_back({{format, 4096, double_quant}, 1, 2049});
      all.push_back({{format, 64, double_quant}, 130, 400});  // 813 scales: 4 nested
      all.push_back({{format, 32, double_quant}, 512, 1024});
    }
  }
  for (const Format* format : {&kF32Format, &kBF16Format, &kF16Format}) {
    all.push_back({{format}, 33, 75});
    all.push_back({{format}, 64, 64});
  }
  return all;
}

TEST(DeviceBlockwise4, BlobsAndValuesHaveTheBitsOfTheCpu) {
  for (const FrozenSpec& spec : specs()) {
    SCOPED_TRACE(name(spec));
    for (const DType dtype : kFloats) {
      const std::vector<float> w = rounded(dtype, bell(spec.numel(), 99, 0.05f));
      const std::vector<std::byte> expected = host_blob(spec, w);
      ASSERT_EQ(device_blob(spec, OnDevice(dtype, {spec.numel()}, w)), expected) << name_of(dtype);
      if (spec.numel() > 100000) break;
    }
    const std::vector<std::byte> blob = host_blob(spec, bell(spec.numel(), 99, 0.05f));
    for (const DType dtype : kFloats) {
      ASSERT_EQ(device_values(spec, blob, dtype, 0, spec.numel()), host_values(spec, blob, dtype))
          << name_of(dtype);
    }
  }
}

TEST(DeviceBlockwise4, AgreesOnTiesZerosAndTheEndsOfTheRange) {
  for (const Format* format : {&kNf4Format, &kFp4Format}) {
    for (const bool double_quant : {false, true}) {
      for (const char* kind :
           {"constant", "ties", "ties0.3", "tiny", "subnormal", "huge", "zeros"}) {
        if (double_quant && std::string(kind) == "huge") continue;  // is refused
        const FrozenSpec spec{{format, 64, double_quant}, 61, 133};
        SCOPED_TRACE(name(spec) + " " + kind);
        const std::vector<float> w = golden_input(codebook_of(spec.format), kind, spec.numel());
        const std::vector<std::byte> blob = host_blob(spec, w);
        EXPECT_EQ(device_blob(spec, OnDevice(DType::kF32, {spec.numel()}, w)), blob);
        for (const DType dtype : kFloats) {
          EXPECT_EQ(device_values(spec, blob, dtype, 0, spec.numel()),
                    host_values(spec, blob, dtype))
              << name_of(dtype);
        }
      }
    }
  }
}

TEST(DeviceBlockwise4, QuantizesFromAnyAddress) {
  const FrozenSpec spec{{&kNf4Format, 64, true}, 30, 100};
  for (const DType dtype : kFloats) {
    std::vector<float> w = rounded(dtype, bell(spec.numel() + 1, 3, 1.0f));
    const OnDevice longer(dtype, {spec.numel() + 1}, w);
    w.erase(w.begin());
    EXPECT_EQ(device_blob(spec, longer.tensor().slice(1, spec.numel() + 1)), host_blob(spec, w));
  }
}

TEST(DeviceBlockwise4, DecodesAnyPart) {
  for (const FrozenSpec& spec : {FrozenSpec{{&kNf4Format, 32, true}, 91, 333},
                                 {{&kFp4Format, 128, false}, 91, 333},
                                 {{&kBF16Format}, 91, 333}}) {
    const std::vector<std::byte> blob = host_blob(spec, bell(spec.numel(), 5, 1.0f));
    for (const DType dtype : kFloats) {
      const std::vector<std::byte> whole = host_values(spec, blob, dtype);
      for (int64_t i = 0; i < 24; ++i) {
        const int64_t n = spec.numel();
        const int64_t random = int64_t(splitmix64(uint64_t(i)) % uint64_t(n));
        const int64_t first = i % 3 == 0 ? random / 8 * 8 : random;
        const int64_t count = std::min(n - first, i % 2 == 0 ? n : 1 + i * 7);
        const auto begin = whole.begin() + first * int64_t(size_of(dtype));
        const std::vector<std::byte> expected(begin, begin + count * int64_t(size_of(dtype)));
        ASSERT_EQ(device_values(spec, blob, dtype, first, count), expected)
            << name(spec) << " " << first << " + " << count;
      }
    }
  }
}

TEST(DeviceBlockwise4, BothEncodingsOfAZeroBlockDecodeToZero) {
  const FrozenSpec spec{{&kNf4Format, 64, false}, 2, 64};
  for (const int code : {0x00, 0x77}) {
    std::vector<std::byte> blob(spec.bytes());
    std::memset(blob.data(), code, 64);
    std::vector<float> values(128);
    const auto bytes = device_values(spec, blob, DType::kF32, 0, 128);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    for (float x : values) EXPECT_EQ(x, 0.0f);
  }
}

TEST(DeviceBlockwise4, MeanIsSummedInTheCpusOrder) {
  DeviceContext ctx;
  const auto expect_equal = [&](const std::vector<float>& x) {
    const OnDevice on_device(DType::kF32, {int64_t(x.size())}, x);
    const float mean = cuda::mean_as_torch(ctx, on_device.tensor().span<const float>());
    ASSERT_EQ(mean, mean_as_torch(x)) << x.size();
  };
  std::vector<float> x = bell(300000, 7, 1.0f);
  for (float& v : x) v = std::fabs(v);
  for (const size_t n : {1,    3,    4,    7,    8,      9,      31,     32,     33,     40,
                         63,   64,   511,  512,  513,    544,    8191,   8192,   8704,   16383,
                         9000, 9001, 9023, 9024, 131071, 131072, 131073, 139264, 262144, 299999}) {
    expect_equal({x.begin(), x.begin() + int64_t(n)});
  }
  // From 2^20 groups of 32 on, a partial sum is of more than 16.
  std::vector<float> many((size_t{1} << 25) + 32 * 70 + 13);
  for (size_t i = 0; i < many.size(); ++i) many[i] = x[i % 299993];
  expect_equal(many);
}

template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(DeviceBlockwise4, RefusesWhatTheCpuRefuses) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto compare = [](const FrozenSpec& spec, const std::vector<float>& w,
                          std::string_view expected) {
    const std::string on_host = message_of([&] { host_blob(spec, w); });
    EXPECT_NE(on_host.find(expected), std::string::npos) << on_host;
    EXPECT_EQ(message_of([&] { device_blob(spec, OnDevice(DType::kF32, {spec.numel()}, w)); }),
              on_host);
  };
  for (const Format* format : {&kNf4Format, &kFp4Format, &kF32Format, &kBF16Format, &kF16Format}) {
    const FrozenSpec spec{{format}, 201, 101};
    for (const auto& [value, index] :
         std::vector<std::pair<float, size_t>>{{kInf, 0}, {kNan, 4095}, {-kInf, 20299}}) {
      std::vector<float> w = bell(spec.numel(), 1, 1.0f);
      w[index] = value;
      w[20300] = kNan;
      compare(spec, w, fmt::format("tensor w: element {} is {}", index, value));
    }
  }
  compare({{&kF16Format}, 10, 64}, std::vector<float>(640, 65520.0f), "beyond float16's 65504");
  compare({{&kF16Format}, 10, 64}, std::vector<float>(640, 65519.0f), "no error");
  const std::vector<float> huge(640, 3e38f);
  compare({{&kNf4Format}, 10, 64}, huge, "bnb_4bit_use_double_quant: false");
  compare({{&kNf4Format, 64, false}, 10, 64}, huge, "no error");
}

TEST(DeviceBlockwise4, TouchesNothingWhileMemoryIsPlanned) {
  Context ctx(test_device(), 1, 0);
  const FrozenSpec spec{{&kNf4Format, 64, true}, 8, 64};
  const FrozenMatrix w(spec, nullptr);
  w.dequantize(ctx, Tensor(nullptr, DType::kBF16, {8, 64}, test_device()));
}

}  // namespace
}  // namespace tessera::quant
