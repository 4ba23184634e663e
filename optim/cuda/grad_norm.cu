// The sums of squares of a gradient's chunks on a GPU, in the order of the CPU: sixteen FMA chains
// a chunk, joined by halving.
#include "optim/grad_norm.h"

#include "runtime/cuda/kernel.h"

namespace tessera::optim::cuda {
namespace {

using tessera::cuda::ceil_div;
using tessera::cuda::kAllLanes;
using tessera::cuda::launch;
using tessera::cuda::load_pack;
using tessera::cuda::Pack;
using tessera::cuda::packs_fit;

constexpr int kPack = Pack<float>::kSize;
constexpr int kChains = 16;
constexpr int kLanes = kChains / kPack;  // of a chunk
constexpr int kThreads = 64;
constexpr int kChunks = kThreads / kLanes;  // of a block

}  // namespace

// Reads 4 bytes an element for one FMA: bound by memory. The order leaves a chunk sixteen chains; a
// lane carries four, so that its loads are of 16 bytes, and several of them under way hide their
// latency where chunks are few. Blocks are small, so that they spread over the GPU.
template <bool kPacked>
static __global__ void __launch_bounds__(kThreads)
    grad_norm_chunks(const float* grads, int64_t count, float* sums) {
  const int lane = int(threadIdx.x) % kLanes;
  const int64_t chunk = int64_t{blockIdx.x} * kChunks + threadIdx.x / kLanes;
  const int64_t begin = min(chunk * int64_t{kNormChunk}, count);
  const int64_t end = min(begin + int64_t{kNormChunk}, count);
  const int64_t whole = (end - begin) / kChains * kChains;
  const float* x = grads + begin + lane * kPack;
  float chain[kPack] = {};
#pragma unroll 4
  for (int64_t i = 0; i < whole; i += kChains) {
    if constexpr (kPacked) {
      const Pack<float> pack = load_pack(x + i);
#pragma unroll
      for (int j = 0; j < kPack; ++j) chain[j] = fmaf(pack.v[j], pack.v[j], chain[j]);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j) chain[j] = fmaf(x[i + j], x[i + j], chain[j]);
    }
  }
  const int64_t rest = end - begin - whole - lane * kPack;
  for (int j = 0; j < kPack; ++j) {
    if (j < rest) chain[j] = fmaf(x[whole + j], x[whole + j], chain[j]);
  }
  // Chains i and i + 8 are two lanes apart, then i and i + 4 one lane; the others are one's own.
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      chain[j] += __shfl_xor_sync(kAllLanes, chain[j], distance);
    }
  }
  if (begin < end && lane == 0) sums[chunk] = chain[0] + chain[2] + (chain[1] + chain[3]);
}

void chunk_sums(Context& ctx, Tensor sums, std::span<const float> grads) {
  const int64_t chunks = sums.numel();
  const int64_t count = int64_t(grads.size());
  TESSERA_CHECK(chunks == ceil_div(count, int64_t{kNormChunk}));
  const auto kernel =
      packs_fit<float>(0, {grads.data()}) ? grad_norm_chunks<true> : grad_norm_chunks<false>;
  launch(ctx, "chunk_sums", kernel,
         {dim3(unsigned(ceil_div<int64_t>(chunks, kChunks))), dim3(kThreads)}, grads.data(), count,
         sums.data<float>());
}

}  // namespace tessera::optim::cuda
