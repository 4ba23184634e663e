#include "launch/plan/device_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "launch/console/progress.h"
#include "launch/machine/system_limits.h"
#include "quant/frozen_matmul.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/matmul.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// Published peaks, and the share of them that products, memory and links were seen to reach in
/// practice (docs/planning.md has the sources).
struct Gpu {
  std::string_view name;
  double memory_mib;                    // as the driver reports it
  double teraflops;                     // bfloat16 with float32 sums, dense
  double share;                         // of it
  double memory_gb;                     // a second
  double host_gb, link_gb, network_gb;  // a second, reached
};
constexpr Gpu kGpus[] = {
    {"H200", 143771, 989.4, 0.70, 4800, 50, 360, 48},
    {"H100", 81559, 989.4, 0.70, 3350, 50, 360, 48},
    {"A100-80GB", 81920, 312.0, 0.75, 2039, 24, 230, 24},
    {"A100-40GB", 40960, 312.0, 0.75, 1555, 24, 230, 24},
    {"L40S", 46068, 362.0, 0.65, 864, 24, 24, 12},
    {"RTX 4090", 24564, 165.2, 0.80, 1008, 24, 10, 3},
    {"RTX 3090", 24576, 71.0, 0.85, 936, 24, 10, 3},
    {"RTX A6000", 49140, 154.8, 0.70, 768, 24, 24, 3},
};
constexpr double kMemoryShare = 0.85;
constexpr double kFloat32Share = 1.0 / 8;  // of products in bfloat16
constexpr double kAttentionShare = 0.5;    // of products, on `mma.sync`

std::string simplified(std::string_view name) {
  std::string text;
  for (char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c))) {
      text += char(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  for (std::string_view word : {"nvidia", "geforce", "rtx", "gb"}) {
    const size_t at = text.find(word);
    if (at != std::string::npos) text.erase(at, word.size());
  }
  return text;
}

DeviceProfile profile_of(const Gpu& gpu) {
  const double products = gpu.teraflops * gpu.share * 1e12;
  return {.name = std::string(gpu.name),
          .gpu = true,
          .memory = int64_t(gpu.memory_mib) << 20,
          .flops_f32 = kFloat32Share * products,
          .flops_bf16 = products,
          .flops_attention = kAttentionShare * kFloat32Share * products,
          .memory_bytes = gpu.memory_gb * kMemoryShare * 1e9,
          .host_bytes = gpu.host_gb * 1e9,
          .link_bytes = gpu.link_gb * 1e9,
          .network_bytes = gpu.network_gb * 1e9};
}

struct Key {
  const char* name;
  double DeviceProfile::*rate;
  bool may_be_zero = false;
};
constexpr Key kRates[] = {
    {"flops_f32", &DeviceProfile::flops_f32},
    {"flops_bf16", &DeviceProfile::flops_bf16, true},
    {"flops_attention", &DeviceProfile::flops_attention},
    {"memory_bytes_per_second", &DeviceProfile::memory_bytes},
    {"host_bytes_per_second", &DeviceProfile::host_bytes},
    {"link_bytes_per_second", &DeviceProfile::link_bytes},
    {"network_bytes_per_second", &DeviceProfile::network_bytes},
};

DeviceProfile read_profile(const std::string& path) {
  const json root = io::read_json_file(path, 1 << 16);
  const auto bad = [&](const char* key, const char* expected) {
    fail_usage("{}: {} is missing or not {}; `tessera doctor --profile` writes such a file", path,
               key, expected);
  };
  DeviceProfile profile;
  if (!root.is_object() || !root.contains("name") || !root["name"].is_string()) {
    bad("name", "text");
  }
  profile.name = root["name"];
  if (!root.contains("gpu") || !root["gpu"].is_boolean()) bad("gpu", "true or false");
  profile.gpu = root["gpu"];
  if (!root.contains("memory") || !root["memory"].is_number_unsigned()) bad("memory", "bytes");
  profile.memory = root["memory"];
  for (const Key& key : kRates) {
    if (!root.contains(key.name) || !root[key.name].is_number()) bad(key.name, "a number");
    const double rate = root[key.name];
    if (!(rate > 0 || (key.may_be_zero && rate == 0))) bad(key.name, "above zero");
    profile.*key.rate = rate;
  }
  return profile;
}

/// The fastest of a few runs of `work`, in seconds.
double seconds_of(const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < 4; ++i) {
    const Stopwatch watch;
    work();
    best = std::min(best, watch.seconds());
  }
  return best;
}

/// FLOP/s of y = x W^T and dx = dy W with W in NF4, of a small decoder's feed-forward shape.
double product_rate(int threads, DType compute) {
  constexpr int64_t kTokens = 1024, kIn = 1024, kOut = 2816;
  Context ctx(Device::cpu(), threads, 0);
  ctx.set_compute_dtype(compute);
  ctx.set_scratch(Arena(size_t{64} << 20));
  const quant::FrozenSpec spec{{}, kOut, kIn};
  const Buffer blob = Buffer::host(spec.bytes()), values = Buffer::host(kOut * kIn * 4);
  const Buffer x = Buffer::host(kTokens * kIn * 4), y = Buffer::host(kTokens * kOut * 4);
  const std::span<float> w(values.as<float>(), kOut * kIn);
  for (size_t i = 0; i < w.size(); ++i) w[i] = float(i % 1009) - 504.0f;
  quant::FrozenMatrix::quantize(ctx, spec, w, blob.data(), "a matrix to measure with");
  const quant::FrozenMatrix matrix(spec, blob.data());
  const Tensor in(x.data(), DType::kF32, {kTokens, kIn}),
      out(y.data(), DType::kF32, {kTokens, kOut});
  const double seconds = seconds_of([&] {
    quant::frozen_matmul(ctx, out, in, matrix, {});
    quant::frozen_matmul_backward(ctx, in, out, matrix, {}, false);
  });
  return 4.0 * double(kTokens * kIn * kOut) / seconds;
}

/// FLOP/s of attention in both directions, counted as docs/planning.md does.
double attention_rate(int threads) {
  constexpr int64_t kTokens = 1024, kHeads = 16, kKvHeads = 4, kDim = 64;
  Context ctx(Device::cpu(), threads, 0);
  ctx.set_scratch(Arena(size_t{64} << 20));
  std::vector<Buffer> buffers;
  const auto tensor = [&](int64_t rows, int64_t columns) {
    buffers.push_back(Buffer::host(rows * columns * 4));
    const Tensor made(buffers.back().data(), DType::kF32, {rows, columns});
    std::ranges::fill(made.span<float>(), 0.5f);
    return made;
  };
  const auto of_queries = [&] { return tensor(kTokens, kHeads * kDim); };
  const auto of_keys = [&] { return tensor(kTokens, kKvHeads * kDim); };
  const std::array<int32_t, 2> starts = {0, kTokens};
  AttentionSamples samples(ctx, ctx.scratch(), starts, 3);
  const AttentionInput in{.q = of_queries(),
                          .k = of_keys(),
                          .v = of_keys(),
                          .samples = samples,
                          .shape = {kHeads, kKvHeads, kDim, 0.125f}};
  const AttentionGrads grads{of_queries(), of_keys(), of_keys()};
  const Tensor out = of_queries(), dout = of_queries(), lse = tensor(kHeads, kTokens);
  const double seconds = seconds_of([&] {
    attention(ctx, out, lse, in);
    attention_backward(ctx, grads, dout, out, lse, in);
  });
  return 7.0 * double(kTokens * kTokens * kHeads * kDim) / seconds;
}

/// Bytes a second that `threads` threads copy, together.
double copy_rate(int threads) {
  constexpr size_t kBytes = size_t{128} << 20;
  const Buffer from = Buffer::host(kBytes), to = Buffer::host(kBytes);
  std::memset(from.data(), 1, kBytes);
  const size_t each = kBytes / size_t(threads);
  // The threads start before the clock does.
  std::barrier turn(threads + 1);
  std::atomic<bool> done = false;
  std::vector<std::jthread> copiers;
  for (int t = 0; t < threads; ++t) {
    copiers.emplace_back([&, offset = size_t(t) * each] {
      for (turn.arrive_and_wait(); !done; turn.arrive_and_wait()) {
        std::memcpy(to.data() + offset, from.data() + offset, each);
        turn.arrive_and_wait();
      }
    });
  }
  const double seconds = seconds_of([&] {
    turn.arrive_and_wait();
    turn.arrive_and_wait();
  });
  done = true;
  turn.arrive_and_wait();
  return double(each * size_t(threads)) / seconds;
}

}  // namespace

std::vector<std::string_view> gpu_names() {
  std::vector<std::string_view> names;
  for (const Gpu& gpu : kGpus) names.push_back(gpu.name);
  return names;
}

DeviceProfile find_profile(const std::string& name_or_path) {
  const std::string wanted = simplified(name_or_path);
  for (const Gpu& gpu : kGpus) {
    // "A100" alone is the one with 80 GB.
    if (simplified(gpu.name) == wanted || (wanted == "a100" && gpu.name == "A100-80GB")) {
      return profile_of(gpu);
    }
  }
  std::error_code error;
  if (!std::filesystem::exists(name_or_path, error)) {
    fail_usage("--profile {}: neither a file nor one of {}", name_or_path,
               fmt::join(gpu_names(), ", "));
  }
  return read_profile(name_or_path);
}

DeviceProfile nominal_cpu() {
  return {.name = "a CPU",
          .memory = 0,
          .flops_f32 = 200e9,
          .flops_bf16 = 0,
          .flops_attention = 120e9,
          .memory_bytes = 20e9,
          .host_bytes = 10e9,
          .link_bytes = 10e9,
          .network_bytes = 1e9};
}

DeviceProfile measure_profile(int threads) {
  DeviceProfile profile = nominal_cpu();
  profile.name = fmt::format("this CPU, {} threads", threads);
  profile.memory = available_bytes();
  profile.flops_f32 = product_rate(threads, DType::kF32);
  if (has_bf16_products(Device::cpu())) profile.flops_bf16 = product_rate(threads, DType::kBF16);
  profile.flops_attention = attention_rate(threads);
  const double copied = copy_rate(threads);
  profile.memory_bytes = 2 * copied;
  profile.host_bytes = profile.link_bytes = copied;
  return profile;
}

std::string profile_json(const DeviceProfile& profile) {
  nlohmann::ordered_json root = {
      {"name", profile.name}, {"gpu", profile.gpu}, {"memory", profile.memory}};
  for (const Key& key : kRates) root[key.name] = std::round(profile.*key.rate);
  return root.dump(2) + "\n";
}

}  // namespace tessera::launch
