// The AdamW updates on a GPU: the operations of the CPU, each rounded as there, so the same bits.
#include <cmath>

#include "optim/adamw.h"
#include "optim/state_layout.h"
#include "quant/codebook.h"
#include "runtime/cuda/kernel.h"

namespace tessera::optim::cuda {
namespace {

using tessera::cuda::ceil_div;
using tessera::cuda::kWarp;
using tessera::cuda::launch;
using tessera::cuda::load_pack;
using tessera::cuda::Pack;
using tessera::cuda::packs_fit;
using tessera::cuda::store_pack;
using tessera::cuda::warp_max;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kPack = Pack<float>::kSize;

struct Element {
  float param, m, v;
};

__device__ inline Element updated(const AdamWScalars& s, Element e, float grad) {
  grad *= s.grad_scale;
  e.param *= s.decay;
  // torch's lerp: m + w (g - m) for a small weight w, else g - (1 - w) (g - m); one FMA either way.
  const float w = s.one_minus_beta1;
  const bool small = fabsf(w) < 0.5f;
  e.m = fmaf(small ? w : w - 1.0f, grad - e.m, small ? e.m : grad);
  // torch's addcmul: (w2 g) g joins v in one FMA.
  e.v = fmaf(s.one_minus_beta2 * grad, grad, e.v * s.beta2);
  const float denominator = sqrtf(e.v) / s.correction2_sqrt + s.eps;
  // torch's addcdiv: (-step m) / denominator, then the sum.
  e.param += s.minus_step_size * e.m / denominator;
  return e;
}

/// The 8-bit rule for a finite gradient; moments are decoded ones.
__device__ inline Element updated(const AdamW8bitScalars& s, Element e, float grad) {
  const float scaled = grad * s.grad_scale;
  e.v = e.v * s.beta2 + s.one_minus_beta2 * scaled * scaled;
  e.m = e.m * s.beta1 + s.one_minus_beta1 * scaled;
  const float ratio = e.m / (sqrtf(e.v) + s.eps);
  e.param = (e.param + s.minus_step_size * ratio) * s.decay;
  return e;
}

}  // namespace

// Reads 16 bytes an element and writes 12, with some fifteen operations in between: bound by
// memory. Elements are independent, so a thread takes one 16-byte pack of each array.
template <bool kPacked>
static __global__ void __launch_bounds__(kThreads)
    adamw_32bit(AdamWScalars scalars, float* params, const float* grads, Moments32bit moments,
                int64_t count) {
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if constexpr (kPacked) {
    const int64_t i = thread * kPack;
    if (i >= count) return;
    Pack<float> p = load_pack(params + i);
    const Pack<float> g = load_pack(grads + i);
    Pack<float> m = load_pack(moments.m + i);
    Pack<float> v = load_pack(moments.v + i);
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const Element e = updated(scalars, {p.v[j], m.v[j], v.v[j]}, g.v[j]);
      p.v[j] = e.param;
      m.v[j] = e.m;
      v.v[j] = e.v;
    }
    store_pack(params + i, p);
    store_pack(moments.m + i, m);
    store_pack(moments.v + i, v);
  } else {
    if (thread >= count) return;
    const Element e =
        updated(scalars, {params[thread], moments.m[thread], moments.v[thread]}, grads[thread]);
    params[thread] = e.param;
    moments.m[thread] = e.m;
    moments.v[thread] = e.v;
  }
}

void adamw(Context& ctx, const AdamWScalars& scalars, std::span<float> params,
           std::span<const float> grads, const Moments32bit& moments) {
  const int64_t count = int64_t(params.size());
  const bool packed = packs_fit<float>(count, {params.data(), grads.data(), moments.m, moments.v});
  launch(
      ctx, "adamw", packed ? adamw_32bit<true> : adamw_32bit<false>,
      {dim3(unsigned(ceil_div<int64_t>(count, kThreads * (packed ? kPack : 1)))), dim3(kThreads)},
      scalars, params.data(), grads.data(), moments, count);
}

namespace {

constexpr int kEntries = 256;
constexpr int kBlock = int(kStateBlock);
constexpr int kSignedZero = 127;  // the index of 0 in the signed map
constexpr int kHalf = kBlock / 2;
static_assert(kHalf == kWarp * kPack);

/// As an argument they stay in constant memory, and no state outlives a launch.
struct Maps {
  float m[kEntries];  // quant::kDynamicSigned
  float v[kEntries];  // quant::kDynamicUnsigned
};

/// In shared memory.
struct Tables {
  Maps maps;
  // The largest value that an entry is nearest to; for m, of the entries from zero up.
  float m_largest[kEntries];
  float v_largest[kEntries];
};

/// Midpoints between entries in float32; an exact tie goes to the entry of even index.
__device__ inline float largest_of(const float* map, int entry) {
  if (entry >= kEntries - 1) return INFINITY;
  const float midpoint = (map[entry] + map[entry + 1]) * 0.5f;
  return entry % 2 == 0 ? midpoint : __uint_as_float(__float_as_uint(midpoint) - 1);
}

/// How many of the entries' largest values, in ascending order, lie below x.
__device__ inline int entry_of(const float* largest, float x) {
  int entry = 0;
#pragma unroll
  for (int half = kEntries / 2; half > 0; half /= 2) {
    if (largest[entry + half - 1] < x) entry += half;
  }
  return entry;
}

/// The code of x in the signed map. It keeps the sign: a negative value, -0 too, that is nearest to
/// zero gets the entry below zero.
__device__ inline unsigned signed_code(const float* largest, float x) {
  const int entry = entry_of(largest, fabsf(x));
  return unsigned(signbit(x) ? kSignedZero - min(max(entry, 1), kSignedZero) : kSignedZero + entry);
}

/// A block of state: its elements of the flat buffers, of which `size` exist, and its moments.
struct StateBlock {
  float* params;
  const float* grads;
  int64_t size;
  uint8_t* m_codes;
  uint8_t* v_codes;
};

/// What a lane holds: two packs, elements i * 128 + 4 * lane and the three that follow.
struct Held {
  float m[2][kPack], v[2][kPack];
};

__device__ inline uint32_t& code_word(uint8_t* codes) {
  check_aligned(codes, sizeof(uint32_t));
  return *reinterpret_cast<uint32_t*>(codes);
}

__device__ inline Pack<float> load_some(const float* from, int64_t count, bool packed) {
  if (packed && count >= kPack) return load_pack(from);
  Pack<float> pack;
#pragma unroll
  for (int j = 0; j < kPack; ++j) pack.v[j] = j < count ? from[j] : 0.0f;
  return pack;
}

__device__ inline void store_some(float* to, const Pack<float>& pack, int64_t count, bool packed) {
  if (packed && count >= kPack) return store_pack(to, pack);
#pragma unroll
  for (int j = 0; j < kPack; ++j) {
    if (j < count) to[j] = pack.v[j];
  }
}

/// Updates the lane's parameters and decoded moments; returns the largest magnitudes.
__device__ inline float2 update_held(const AdamW8bitScalars& s, const StateBlock& block, int lane,
                                     bool packed, Held& held) {
  float2 largest{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int at = i * kHalf + lane * kPack;
    const int64_t count = block.size - at;
    Pack<float> p = load_some(block.params + at, count, packed);
    const Pack<float> g = load_some(block.grads + at, count, packed);
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      if (j >= count) continue;  // the moments past the end of the buffer stay
      Element e{p.v[j], 0.0f, 0.0f};
      if (isfinite(g.v[j])) e = updated(s, {p.v[j], held.m[i][j], held.v[i][j]}, g.v[j]);
      p.v[j] = e.param;
      held.m[i][j] = e.m;
      held.v[i][j] = e.v;
      largest.x = fmaxf(largest.x, fabsf(e.m));
      largest.y = fmaxf(largest.y, fabsf(e.v));
    }
    store_some(block.params + at, p, count, packed);
  }
  return largest;
}

}  // namespace

// Reads 10 bytes an element and writes 6. The two searches of eight steps in shared memory cost as
// much as the traffic; pages are too small for finer tables to pay. A block of state belongs to a
// warp, which needs no barrier: 16 bytes of parameters, and 4 of codes, a lane and access.
static __global__ void __launch_bounds__(kThreads)
    adamw_8bit_blocks(AdamW8bitScalars scalars, Maps maps, float* params, const float* grads,
                      Moments8bit moments, int64_t count, bool packed) {
  DYN_SHARED(Tables, tables);
  const int t = int(threadIdx.x);
  tables->maps.m[t] = maps.m[t];
  tables->maps.v[t] = maps.v[t];
  tables->m_largest[t] = largest_of(maps.m, kSignedZero + t);
  tables->v_largest[t] = largest_of(maps.v, t);
  __syncthreads();
  const int lane = t % kWarp;
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  for (int64_t b = int64_t{blockIdx.x} * kWarps + t / kWarp; b < blocks;
       b += int64_t{gridDim.x} * kWarps) {
    const int64_t first = b * kBlock;
    const StateBlock block{params + first, grads + first, min(count - first, int64_t{kBlock}),
                           moments.m_codes + first, moments.v_codes + first};
    const float m_absmax = moments.m_absmax[b], v_absmax = moments.v_absmax[b];
    Held held;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t m = code_word(block.m_codes + i * kHalf + lane * kPack);
      const uint32_t v = code_word(block.v_codes + i * kHalf + lane * kPack);
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        held.m[i][j] = tables->maps.m[m >> (8 * j) & 255u] * m_absmax;
        held.v[i][j] = tables->maps.v[v >> (8 * j) & 255u] * v_absmax;
      }
    }
    float2 largest = update_held(scalars, block, lane, packed, held);
    largest.x = warp_max(largest.x);
    largest.y = warp_max(largest.y);
    __syncwarp();  // all lanes have read what the first one overwrites
    if (lane == 0) {
      moments.m_absmax[b] = largest.x;
      moments.v_absmax[b] = largest.y;
    }
    // A block of zeros encodes as zeros.
    const float m_divisor = largest.x == 0.0f ? 1.0f : largest.x;
    const float v_divisor = largest.y == 0.0f ? 1.0f : largest.y;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t m = 0, v = 0;
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        m |= signed_code(tables->m_largest, held.m[i][j] / m_divisor) << (8 * j);
        v |= unsigned(entry_of(tables->v_largest, held.v[i][j] / v_divisor)) << (8 * j);
      }
      code_word(block.m_codes + i * kHalf + lane * kPack) = m;
      code_word(block.v_codes + i * kHalf + lane * kPack) = v;
    }
  }
}

void adamw_8bit(Context& ctx, const AdamW8bitScalars& scalars, std::span<float> params,
                std::span<const float> grads, const Moments8bit& moments) {
  static_assert(kThreads == kEntries);
  const int64_t count = int64_t(params.size());
  const int64_t blocks = ceil_div<int64_t>(count, kBlock);
  Maps maps;
  std::copy(quant::kDynamicSigned.begin(), quant::kDynamicSigned.end(), maps.m);
  std::copy(quant::kDynamicUnsigned.begin(), quant::kDynamicUnsigned.end(), maps.v);
  // More than a GPU has room for at once; where there is more state, the tables serve for several.
  const int64_t grid = std::min<int64_t>(ceil_div<int64_t>(blocks, kWarps), 2048);
  launch(ctx, "adamw_8bit", adamw_8bit_blocks,
         {dim3(unsigned(grid)), dim3(kThreads), sizeof(Tables)}, scalars, maps, params.data(),
         grads.data(), moments, count, packs_fit<float>(0, {params.data(), grads.data()}));
}

}  // namespace tessera::optim::cuda
