// 4-bit block-wise quantization on a GPU, with the bits of the CPU: all arithmetic is one IEEE
// operation at a time, and what a block's scale depends on is a maximum, which has no order.
#include "quant/blockwise4.h"

#include <bit>

#include "runtime/cuda/runs.h"

namespace tessera::quant::cuda {
namespace {

using tessera::cuda::ceil_div;
using tessera::cuda::Floats;
using tessera::cuda::kAllLanes;
using tessera::cuda::kWarp;
using tessera::cuda::launch;
using tessera::cuda::LaunchShape;
using tessera::cuda::load_run;
using tessera::cuda::narrowed;
using tessera::cuda::Pack;
using tessera::cuda::packs_fit;
using tessera::cuda::store_pack;
using tessera::cuda::warp_max;
using tessera::cuda::widened;
using tessera::cuda::with_float_type;

constexpr int kThreads = 256;
constexpr int kThresholds = 15;
constexpr float kLeastScale = 1e-38f;  // what bitsandbytes divides by where a block is all zero

// Tables travel as arguments: they stay in constant memory, and no state outlives a launch.
struct DecodeTables {
  float values[16];
  float map[256];
};
struct EncodeTables {
  float thresholds[kThresholds];
  uint64_t order;  // code of rank r: bits 4r to 4r + 3
  unsigned pad;
};

DecodeTables decode_tables(const Codebook4& book) {
  DecodeTables tables;
  std::copy(book.values.begin(), book.values.end(), tables.values);
  std::copy(kDynamicSigned.begin(), kDynamicSigned.end(), tables.map);
  return tables;
}

EncodeTables encode_tables(const Codebook4& book) {
  EncodeTables tables{{}, 0, book.pad};
  std::copy(book.thresholds.begin(), book.thresholds.end(), tables.thresholds);
  for (size_t r = 0; r < 16; ++r) tables.order |= uint64_t{book.order[r]} << (4 * r);
  return tables;
}

/// Where element i of a run of codes is in its little-endian word.
__device__ constexpr int nibble_shift(int i) { return 8 * (i / 2) + (i % 2 == 0 ? 4 : 0); }

struct Decoder {
  const uint8_t* codes;
  int block_shift;
  Scales scales;
  const float* values;  // in shared memory, as is the map
  const float* map;

  __device__ float scale(int64_t element) const {
    const int64_t i = element >> block_shift;
    if (scales.plain != nullptr) return scales.plain[i];
    return map[scales.codes[i]] * scales.nested[i / 256] + *scales.offset;
  }
  __device__ float decoded(int64_t element) const {
    const unsigned code = codes[element / 2] >> (element % 2 == 0 ? 4 : 0) & 15u;
    return values[code] * scale(element);
  }
};

/// The codes of a pack: 8 in a word, or 4 in half of one.
template <int kSize>
__device__ inline uint32_t load_codes(const uint8_t* codes) {
  using Word = std::conditional_t<kSize == 8, uint32_t, uint16_t>;
  check_aligned(codes, sizeof(Word));
  return *reinterpret_cast<const Word*>(codes);
}

}  // namespace

// Reads 0.5 bytes of code an element (and 1 to 4 bytes of scale a block), writes 2 or 4: bound by
// the writes. So a thread makes one 16-byte store of neighbouring elements, a warp 512 bytes in a
// row, and four independent packs a thread keep loads under way. The 16 values lie in 16 banks of
// shared memory, where no lookup conflicts.
constexpr int kPacks = 4;

template <class T>
static __global__ void __launch_bounds__(kThreads)
    blockwise4_decode(DecodeTables tables, Decoder decoder, int64_t first, int64_t count, T* out,
                      bool packed) {
  constexpr int kSize = Pack<T>::kSize;
  constexpr int64_t kTile = int64_t{kThreads} * kPacks * kSize;
  DYN_SHARED(float, shared);
  for (int i = int(threadIdx.x); i < 16 + 256; i += kThreads) {
    shared[i] = i < 16 ? tables.values[i] : tables.map[i - 16];
  }
  __syncthreads();
  decoder.values = shared;
  decoder.map = shared + 16;

  for (int64_t tile = int64_t{blockIdx.x} * kTile; tile < count;
       tile += int64_t{gridDim.x} * kTile) {
    const int64_t mine = tile + int64_t{threadIdx.x} * kSize;
    if (packed && tile + kTile <= count) {
      uint32_t word[kPacks];
      float scale[kPacks];
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const int64_t element = first + mine + int64_t{p} * kThreads * kSize;
        word[p] = load_codes<kSize>(decoder.codes + element / 2);
        scale[p] = decoder.scale(element);
      }
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        Pack<T> pack;
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          pack.v[i] = narrowed<T>(shared[word[p] >> nibble_shift(i) & 15u] * scale[p]);
        }
        store_pack(out + mine + int64_t{p} * kThreads * kSize, pack);
      }
    } else {
      const int64_t end = min(tile + kTile, count);
      for (int64_t i = tile + threadIdx.x; i < end; i += kThreads) {
        out[i] = narrowed<T>(decoder.decoded(first + i));
      }
    }
  }
}

void dequantize4(Context& ctx, const Encoded4& in, int64_t first, Tensor out) {
  const int64_t count = out.numel();
  const Decoder decoder{in.codes, std::countr_zero(unsigned(in.block)), in.scales, nullptr,
                        nullptr};
  with_float_type(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int64_t kSize = Pack<T>::kSize;
    const int64_t tiles = ceil_div<int64_t>(count, kThreads * kPacks * kSize);
    // More blocks than a GPU has room for, yet each fills its tables for several tiles.
    const int64_t grid = std::min(tiles, std::max<int64_t>(2048, tiles / 8));
    T* const to = static_cast<T*>(out.raw());
    const bool packed = first % kSize == 0 && packs_fit<T>(0, {in.codes, to});
    launch(ctx, "dequantize4", blockwise4_decode<T>,
           {dim3(unsigned(grid)), dim3(kThreads), sizeof(DecodeTables)}, decode_tables(*in.book),
           decoder, first, count, to, packed);
  });
}

/// Eight neighbouring elements.
template <class T, bool kPacked>
__device__ inline Floats<8> load_eight(const T* x) {
  if constexpr (kPacked) {
    return load_run<8>(x);
  } else {
    Floats<8> floats;
#pragma unroll
    for (int i = 0; i < 8; ++i) floats.v[i] = widened(x[i]);
    return floats;
  }
}

__device__ inline unsigned code_of(const EncodeTables& tables, float scaled) {
  int rank = 0;
#pragma unroll
  for (int t = 0; t < kThresholds; ++t) rank += scaled > tables.thresholds[t] ? 1 : 0;
  return unsigned(tables.order >> (4 * rank)) & 15u;
}

// Whole blocks. Reads 2 or 4 bytes an element and writes 0.5, with 15 comparisons against constants
// on the way: near the balance of memory and arithmetic, and done once a run. A block belongs to
// block / 8 lanes, at most a warp, eight elements a lane and pass; the second pass, which encodes,
// finds them in L1. Magnitudes order as their bits do.
template <class T, bool kPacked>
static __global__ void __launch_bounds__(kThreads)
    blockwise4_encode(EncodeTables tables, const T* x, int64_t blocks, int block, uint8_t* codes,
                      float* scales) {
  const int lanes = min(block / 8, kWarp);
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t b = thread / lanes;
  const int lane = int(thread % lanes);
  const int64_t begin = b * block + lane * 8;
  const int64_t end = b < blocks ? (b + 1) * block : 0;
  unsigned largest = 0;
  for (int64_t i = begin; i < end; i += lanes * 8) {
    const Floats<8> v = load_eight<T, kPacked>(x + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) largest = max(largest, __float_as_uint(v.v[j]) & 0x7fffffffu);
  }
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, distance));
  }
  const float scale = __uint_as_float(largest);
  if (b < blocks && lane == 0) scales[b] = scale;
  // The multiplication by a reciprocal and its floor are bitsandbytes' rule for whole blocks.
  const float factor = 1.0f / fmaxf(scale, kLeastScale);
  for (int64_t i = begin; i < end; i += lanes * 8) {
    const Floats<8> v = load_eight<T, kPacked>(x + i);
    uint32_t word = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) word |= code_of(tables, v.v[j] * factor) << nibble_shift(j);
    check_aligned(codes + i / 2, sizeof word);
    *reinterpret_cast<uint32_t*>(codes + i / 2) = word;
  }
}

// The short last block, at most 4,095 elements, by one warp: nothing to gain here.
template <class T>
static __global__ void __launch_bounds__(kWarp)
    blockwise4_encode_tail(EncodeTables tables, const T* x, int count, uint8_t* codes,
                           float* scale) {
  float largest = kLeastScale;
  for (int i = int(threadIdx.x); i < count; i += kWarp) {
    largest = fmaxf(largest, fabsf(widened(x[i])));
  }
  largest = warp_max(largest);
  if (threadIdx.x == 0) *scale = largest;
  for (int i = 2 * int(threadIdx.x); i < count; i += 2 * kWarp) {
    const unsigned high = code_of(tables, widened(x[i]) / largest);
    const unsigned low = i + 1 < count ? code_of(tables, widened(x[i + 1]) / largest) : tables.pad;
    codes[i / 2] = uint8_t(high << 4 | low);
  }
}

void quantize4(Context& ctx, const Codebook4& book, int block, Tensor w, const Blocks4& out) {
  check_block(block);
  const int64_t n = w.numel();
  TESSERA_CHECK(int64_t(out.codes.size()) == (n + 1) / 2);
  TESSERA_CHECK(int64_t(out.scales.size()) == (n + block - 1) / block);
  const EncodeTables tables = encode_tables(book);
  const int64_t blocks = n / block;
  const int lanes = std::min(block / 8, kWarp);
  const LaunchShape shape{dim3(unsigned(ceil_div<int64_t>(blocks * lanes, kThreads))),
                          dim3(kThreads)};
  with_float_type(w.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* const x = static_cast<const T*>(w.raw());
    const auto kernel =
        packs_fit<T>(0, {x}) ? blockwise4_encode<T, true> : blockwise4_encode<T, false>;
    launch(ctx, "quantize4", kernel, shape, tables, x, blocks, block, out.codes.data(),
           out.scales.data());
    const int tail = int(n % block);
    if (tail == 0) return;
    launch(ctx, "quantize4", blockwise4_encode_tail<T>, {dim3(1), dim3(kWarp)}, tables,
           x + n - tail, tail, out.codes.data() + (n - tail) / 2, out.scales.data() + blocks);
  });
}

}  // namespace tessera::quant::cuda
