// ldmatrix, mma and cp.async against plain loops. The fragments are those of the PTX ISA:
// "Warp-level matrix load instruction: ldmatrix" and "Matrix Fragments for mma.m16n8k16 with
// floating point type", written here as the tables there are, element by element.
#include <random>

#include "machine_test.h"

namespace cuda_on_cpu {
namespace {

class MatrixTest : public MachineTest {};

// Rows of 8 elements and 8 of padding, so that a wrong stride shows.
constexpr int kStride = 16;

static __global__ void __launch_bounds__(64)
    matrix_load(uint32_t* out, const uint16_t* in, bool transposed) {
  DYN_SHARED(uint16_t, tiles);
  const int lane = int(threadIdx.x % 32), warp = int(threadIdx.x / 32);
  tiles += warp * 32 * kStride;
  for (int i = lane; i < 32 * kStride; i += 32) tiles[i] = in[warp * 32 * kStride + i];
  __syncwarp();
  uint32_t r[4];
  const uint16_t* const row = tiles + lane * kStride;
  transposed ? ldmatrix_x4_trans(r, row) : ldmatrix_x4(r, row);
  for (int i = 0; i < 4; ++i) out[int(threadIdx.x) * 4 + i] = r[i];
}

TEST_F(MatrixTest, LoadGivesLaneAndRegisterWhatPtxSays) {
  std::vector<uint16_t> values(2 * 32 * kStride);
  for (size_t i = 0; i < values.size(); ++i) values[i] = uint16_t(i * 7 + 1);
  const uint16_t* const in = device_array(values);
  uint32_t* const out = device_array<uint32_t>(64 * 4);
  for (const bool transposed : {false, true}) {
    in_every_order(3, [&] {
      ASSERT_EQ(
          launch_kernel(matrix_load, 1, 64, 2 * 32 * kStride * 2, nullptr, out, in, transposed),
          cudaSuccess);
      const std::vector<uint32_t> got = from_device(out, 64 * 4);
      for (int warp = 0; warp < 2; ++warp) {
        for (int lane = 0; lane < 32; ++lane) {
          for (int tile = 0; tile < 4; ++tile) {
            for (int half = 0; half < 2; ++half) {
              // Thread l holds row l / 4, columns 2 (l % 4) and the next; .trans swaps the two.
              const int major = lane / 4, minor = lane % 4 * 2 + half;
              const int row = transposed ? minor : major, column = transposed ? major : minor;
              const uint16_t expected =
                  values[size_t((warp * 32 + tile * 8 + row) * kStride + column)];
              const uint32_t word = got[size_t((warp * 32 + lane) * 4 + tile)];
              ASSERT_EQ(uint16_t(word >> (16 * half)), expected);
            }
          }
        }
      }
    });
  }
}

template <class T>
__device__ uint32_t pair(const T* low, const T* high) {
  uint16_t bits[2];
  memcpy(&bits[0], low, 2);
  memcpy(&bits[1], high, 2);
  return bits[0] | uint32_t(bits[1]) << 16;
}

// c[16,8] += a[16,16] b[16,8], all row-major; each lane gathers its fragments by the tables.
template <class T>
static __global__ void __launch_bounds__(32) matrix_multiply(float* c, const T* a, const T* b) {
  const int lane = int(threadIdx.x), group = lane >> 2, in_group = lane % 4;
  uint32_t fa[4], fb[2];
  for (int r = 0; r < 4; ++r) {
    // a_i, i = 0..7: row group for 0 <= i < 2 || 4 <= i < 6, else group + 8;
    // column in_group * 2 + (i & 1) for i < 4, + 8 for i >= 4.
    const int i = 2 * r, row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
    const int column = in_group * 2 + (i < 4 ? 0 : 8);
    fa[r] = pair(&a[row * 16 + column], &a[row * 16 + column + 1]);
  }
  for (int r = 0; r < 2; ++r) {
    // b_i: row in_group * 2 + (i & 1) for i < 2, + 8 for i >= 2; column group.
    const int row = in_group * 2 + 8 * r;
    fb[r] = pair(&b[row * 8 + group], &b[(row + 1) * 8 + group]);
  }
  float fc[4];
  // c_i: row group for i < 2, else group + 8; column in_group * 2 + (i & 1).
  for (int i = 0; i < 4; ++i) fc[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  mma_16x8x16<T>(fc, fa, fb);
  for (int i = 0; i < 4; ++i) c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = fc[i];
}

template <class T>
void check_multiply() {
  // Integers: every order of summation is exact.
  std::mt19937 random(3);
  std::vector<T> a(16 * 16), b(16 * 8);
  std::vector<float> c(16 * 8), expected(16 * 8);
  for (T& x : a) x = T(float(int(random() % 17) - 8));
  for (T& x : b) x = T(float(int(random() % 17) - 8));
  for (float& x : c) x = float(random() % 100);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      expected[size_t(i * 8 + j)] = c[size_t(i * 8 + j)];
      for (int k = 0; k < 16; ++k) {
        expected[size_t(i * 8 + j)] += float(a[size_t(i * 16 + k)]) * float(b[size_t(k * 8 + j)]);
      }
    }
  }
  const T *const da = device_array(a), *const db = device_array(b);
  in_every_order(2, [&] {
    float* const dc = device_array(c);
    ASSERT_EQ(launch_kernel(matrix_multiply<T>, 1, 32, 0, nullptr, dc, da, db), cudaSuccess);
    EXPECT_EQ(from_device(dc, 16 * 8), expected);
  });
}

TEST_F(MatrixTest, MultiplyBfloat16) { check_multiply<__nv_bfloat16>(); }
TEST_F(MatrixTest, MultiplyHalf) { check_multiply<__half>(); }

enum class Wrong { kMisalignedRow, kRowOutside, kMisalignedCopy, kCopyOutside, kPartOfAWarp };

static __global__ void __launch_bounds__(32) matrix_wrong(const uint16_t* in, Wrong wrong) {
  DYN_SHARED(uint16_t, tile);
  uint32_t r[4];
  switch (wrong) {
    case Wrong::kMisalignedRow:
      return ldmatrix_x4(r, tile + threadIdx.x * 4);
    case Wrong::kRowOutside:
      return ldmatrix_x4(r, tile + threadIdx.x * 8 + 8);
    case Wrong::kMisalignedCopy:
      return cp_async16(tile, in + 4, true);
    case Wrong::kCopyOutside:
      return cp_async16(tile + 32 * 8, in, true);
    case Wrong::kPartOfAWarp:
      if (threadIdx.x < 16) ldmatrix_x4(r, tile);
      return;
  }
}

TEST_F(MatrixTest, WhatPtxForbidsIsRefused) {
  const std::pair<Wrong, cudaError_t> cases[] = {
      {Wrong::kMisalignedRow, cudaErrorMisalignedAddress},
      {Wrong::kRowOutside, cudaErrorIllegalAddress},
      {Wrong::kMisalignedCopy, cudaErrorMisalignedAddress},
      {Wrong::kCopyOutside, cudaErrorIllegalAddress},
      {Wrong::kPartOfAWarp, cudaErrorLaunchFailure}};
  for (const auto& [wrong, error] : cases) {
    const uint16_t* const in = device_array<uint16_t>(64);
    ASSERT_EQ(launch_kernel(matrix_wrong, 1, 32, 512, nullptr, in, wrong), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), error) << int(wrong);
    cudaDeviceReset();
  }
}

// What a thread sees of its three copies before and after each wait.
static __global__ void __launch_bounds__(8) matrix_copies(uint32_t* out, const uint32_t* in) {
  DYN_SHARED(uint32_t, buffer);
  uint32_t* const mine = buffer + threadIdx.x * 12;
  for (int i = 0; i < 12; ++i) mine[i] = 5;
  for (int group = 0; group < 3; ++group) {
    cp_async16(mine + 4 * group, in + 4 * group, group != 1);
    cp_async_commit();
  }
  const auto note = [&](int step) {
    for (int i = 0; i < 3; ++i) out[threadIdx.x * 12 + unsigned(step * 3 + i)] = mine[4 * i + 3];
  };
  note(0);
  cp_async_wait<2>();
  note(1);
  cp_async_wait<1>();
  note(2);
  cp_async_wait<0>();
  note(3);
}

TEST_F(MatrixTest, AnAsyncCopyArrivesWhenWaitedForInOrderOfGroups) {
  std::vector<uint32_t> values(12);
  for (size_t i = 0; i < 12; ++i) values[i] = uint32_t(i + 100);
  const uint32_t* const in = device_array(values);
  uint32_t* const out = device_array<uint32_t>(8 * 12);
  ASSERT_EQ(launch_kernel(matrix_copies, 1, 8, 8 * 48, nullptr, out, in), cudaSuccess);
  const std::vector<uint32_t> got = from_device(out, 8 * 12);
  constexpr uint32_t kNotYet = ~0u;
  const std::vector<uint32_t> expected = {kNotYet, kNotYet, kNotYet, 103, kNotYet, kNotYet,
                                          103,     0,       kNotYet, 103, 0,       111};
  for (int t = 0; t < 8; ++t) {
    EXPECT_EQ(std::vector<uint32_t>(got.begin() + t * 12, got.begin() + t * 12 + 12), expected);
  }
}

}  // namespace
}  // namespace cuda_on_cpu
