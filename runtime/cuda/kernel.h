// What every kernel file needs: launching on the context's stream, element types, 16-byte packs and
// sums over a warp or a block in one fixed order.
#pragma once

#include <algorithm>

#include "gpu_primitives.h"
#include "runtime/core/context.h"
#include "runtime/core/dtype.h"
#include "runtime/core/error.h"

namespace tessera::cuda {

inline cudaStream_t stream_of(Context& ctx) {
  return static_cast<cudaStream_t>(ctx.compute_stream().handle());
}

/// Blocks and threads of a launch, and dynamic shared memory in bytes.
struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared = 0;
};

/// Starts a kernel on the compute stream; `name` is what an Error calls it. An empty grid is no
/// work.
template <class... Params, class... Args>
void launch(Context& ctx, const char* name, void (*kernel)(Params...), LaunchShape shape,
            Args... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  const cudaError_t status =
      launch_kernel(kernel, shape.grid, shape.block, shape.shared, stream_of(ctx), args...);
  if (status == cudaSuccess) return;
  cudaGetLastError();
  fail("kernel {} of {}x{}x{} blocks of {} threads: {}", name, shape.grid.x, shape.grid.y,
       shape.grid.z, shape.block.x * shape.block.y * shape.block.z, cudaGetErrorString(status));
}

template <class T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

template <class T>
struct TypeTag {
  using type = T;
};
/// Calls f(TypeTag<T>) with the device's type for a float dtype.
template <class F>
void with_float_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f(TypeTag<float>{});
    case DType::kBF16:
      return f(TypeTag<__nv_bfloat16>{});
    case DType::kF16:
      return f(TypeTag<__half>{});
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      break;
  }
  fail("an operator of the GPU cannot work on {}", name_of(dtype));
}

__host__ __device__ inline float widened(float x) { return x; }
__host__ __device__ inline float widened(__nv_bfloat16 x) { return __bfloat162float(x); }
__host__ __device__ inline float widened(__half x) { return __half2float(x); }
/// Rounded to nearest, ties to even.
template <class T>
__host__ __device__ inline T narrowed(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(x);
  } else {
    return __float2half_rn(x);
  }
}

/// 16 bytes of T, moved by one access.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = int(16 / sizeof(T));
  T v[kSize];
};
template <class T>
__device__ inline Pack<T> load_pack(const T* p) {
  check_aligned(p, 16);
  return *reinterpret_cast<const Pack<T>*>(p);
}
template <class T>
__device__ inline void store_pack(T* p, const Pack<T>& pack) {
  check_aligned(p, 16);
  *reinterpret_cast<Pack<T>*>(p) = pack;
}
/// Whether rows of `columns` elements can be walked in packs.
template <class T>
bool packs_fit(int64_t columns, std::initializer_list<const void*> pointers) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return columns % Pack<T>::kSize == 0 && std::all_of(pointers.begin(), pointers.end(), aligned);
}

inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kWarp = 32;

/// The same sum in every lane.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, distance));
  }
  return x;
}
/// The same sum in every thread of a block of whole warps; `parts` is shared memory for a float a
/// warp. Meets the block twice, so that `parts` may be used again at once.
__device__ inline float block_sum(float x, float* parts) {
  x = warp_sum(x);
  const int warps = int(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
  __syncthreads();
  float sum = 0.0f;
  for (int w = 0; w < warps; ++w) sum += parts[w];
  __syncthreads();
  return sum;
}

}  // namespace tessera::cuda
