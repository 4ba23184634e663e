// Double quantization on a GPU, with the bits of the CPU. The mean keeps torch's order of
// additions: its partial sums start from zero, so those of a level are independent of each other.
#include "quant/double_quant.h"

#include "quant/codebook.h"
#include "runtime/core/buffer.h"
#include "runtime/cuda/kernel.h"

namespace tessera::quant::cuda {
namespace {

using tessera::cuda::ceil_div;
using tessera::cuda::kWarp;
using tessera::cuda::launch;
using tessera::cuda::warp_max;

constexpr int kSumThreads = 128;
constexpr int kSumsPerBlock = kSumThreads / kWarp;
constexpr int kThreads = int(kNestedBlock);
static_assert(kSumLanes == kWarp);

struct SignedMap {
  float entries[256];
};

}  // namespace

// One level of the mean: warp w adds groups [w * step, (w + 1) * step) of 32 floats to sums[w], and
// the warp after the last whole sum adds the groups that are left to `rest`. Reads 4 bytes an
// addition, a warp 128 in a row: bound by memory, or by latency where a level has few sums (the
// last has one, of at most groups / 4096 additions in a row).
static __global__ void __launch_bounds__(kSumThreads)
    double_quant_sum(const float* x, int64_t groups, int64_t step, float* sums, float* rest) {
  const int64_t warp = int64_t{blockIdx.x} * kSumsPerBlock + threadIdx.x / kWarp;
  const int lane = int(threadIdx.x) % kWarp;
  const int64_t whole = groups / step;
  if (warp > whole) return;
  const int64_t end = min((warp + 1) * step, groups);
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t i = warp * step; i < end; ++i) sum += x[i * kSumLanes + lane];
  float* const to = warp < whole ? sums + warp * kSumLanes : rest;
  to[lane] = sum;
}

float mean_as_torch(Context& ctx, std::span<const float> x) {
  const int64_t n = int64_t(x.size());
  Stream& stream = ctx.compute_stream();
  const auto fetch = [&](float* to, const float* from, size_t count) {
    stream.copy(to, from, count * sizeof(float));
    stream.synchronize();
  };
  if (n < kSumLanes) {
    std::vector<float> few(x.size());
    fetch(few.data(), x.data(), few.size());
    return quant::mean_as_torch(few);
  }
  const int64_t all = n / kSumLanes;
  const int64_t step = int64_t{1} << group_sum_power(all);
  int64_t sums = 0;
  for (int64_t groups = all / step; groups > 0; groups /= step) sums += groups;
  const Buffer memory =
      Buffer::on(ctx.device(), (size_t(sums) + kSumLevels) * kSumLanes * sizeof(float));
  float* const rest = memory.as<float>();
  const float* from = x.data();
  float* to = rest + kSumLevels * kSumLanes;
  int64_t groups = all;
  for (int level = 0; level < kSumLevels; ++level) {
    const bool last = level + 1 == kSumLevels;
    const int64_t of_sum = last ? groups + 1 : step;  // the last level is never complete
    const int64_t warps = groups / of_sum + 1;
    launch(ctx, "mean_as_torch", double_quant_sum,
           {dim3(unsigned(ceil_div<int64_t>(warps, kSumsPerBlock))), dim3(kSumThreads)}, from,
           groups, of_sum, to, rest + level * kSumLanes);
    from = to;
    groups /= of_sum;
    to += groups * kSumLanes;
  }
  SumLevels levels;
  fetch(levels.front().data(), rest, size_t{kSumLevels} * kSumLanes);
  std::vector<float> tail(size_t(n % kSumLanes));
  fetch(tail.data(), x.data() + all * kSumLanes, tail.size());
  return mean_of_levels(levels, tail, n);
}

// A block of scales a block of threads: reads 4 bytes a scale and writes 1, once a run, so that
// what the eight steps of the search cost does not matter. bitsandbytes' CPU code looks a scale up
// through the nearest of 65,536 points, whose entry is found here by searching for the point.
static __global__ void __launch_bounds__(kThreads)
    double_quant_encode(SignedMap map, const float* scales, int64_t count, float offset,
                        uint8_t* codes, float* nested) {
  DYN_SHARED(float, middle);  // of neighbouring entries; [255] is unused
  float* const parts = middle + 256;
  const int t = int(threadIdx.x);
  middle[t] = t < 255 ? (map.entries[t] + map.entries[t + 1]) / 2 : 0.0f;
  const int64_t i = int64_t{blockIdx.x} * kThreads + t;
  const float x = i < count ? scales[i] - offset : 0.0f;
  const float of_warp = warp_max(fabsf(x));
  if (t % kWarp == 0) parts[t / kWarp] = of_warp;
  __syncthreads();
  float largest = 0.0f;
  for (int w = 0; w < kThreads / kWarp; ++w) largest = fmaxf(largest, parts[w]);
  if (t == 0) nested[blockIdx.x] = largest;
  if (i >= count) return;
  const float scaled = x * (1.0f / largest);
  int entry = 0;
  // 0 * inf, where the reciprocal of a tiny scale overflowed, is code 0.
  if (largest != 0.0f && !isnan(scaled)) {
    const int nearest = int((fminf(fmaxf(scaled, -1.0f), 1.0f) + 1.0f) * 0.5f * 65535.0f + 0.5f);
    const float point = -1.0f + 2.0f * float(nearest) / 65535.0f;
    for (int half = 128; half > 0; half /= 2) {
      if (middle[entry + half - 1] < point) entry += half;
    }
  }
  codes[i] = uint8_t(entry);
}

float quantize_scales(Context& ctx, std::span<const float> scales, std::span<uint8_t> codes,
                      std::span<float> nested, std::string_view name) {
  const int64_t n = int64_t(scales.size());
  TESSERA_CHECK(int64_t(codes.size()) == n);
  TESSERA_CHECK(int64_t(nested.size()) == ceil_div(n, kNestedBlock));
  const float offset = cuda::mean_as_torch(ctx, scales);
  check_offset(offset, name);
  SignedMap map;
  std::copy(kDynamicSigned.begin(), kDynamicSigned.end(), map.entries);
  launch(ctx, "quantize_scales", double_quant_encode,
         {dim3(unsigned(nested.size())), dim3(kThreads), (256 + kThreads / kWarp) * sizeof(float)},
         map, scales.data(), n, offset, codes.data(), nested.data());
  return offset;
}

}  // namespace tessera::quant::cuda
