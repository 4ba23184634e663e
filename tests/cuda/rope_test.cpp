// Rotary positions on the GPU: the CPU's bits, rounded to the type once, and back again.
#include "runtime/ops/rope.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

struct Shape {
  int64_t tokens, heads, head_dim;
  int64_t turned = head_dim;
};
constexpr int64_t kPositions = 50;

class CudaRope : public ::testing::TestWithParam<DType> {
 protected:
  template <class Turn>
  void expect_turned(const Shape& s, const Turn& turn) {
    for (bool interleaved : {false, true}) expect_turned(s, interleaved, turn);
  }

  template <class Turn>
  void expect_turned(const Shape& s, bool interleaved, const Turn& turn) {
    SCOPED_TRACE(std::to_string(s.tokens) + " x " + std::to_string(s.heads) + " x " +
                 std::to_string(s.head_dim) + ", of which " + std::to_string(s.turned) +
                 (interleaved ? ", neighbours" : ""));
    const DType dtype = GetParam();
    const int64_t half = s.turned / 2, width = s.heads * s.head_dim;
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, s.tokens * width, 1);
    Floats cos(static_cast<size_t>(kPositions * half)), sin = cos;
    rope_table(of(cos, kPositions), of(sin, kPositions), {.dims = s.turned}, {kPositions});
    std::vector<int32_t> places;
    for (int64_t i = 0; i < s.tokens; ++i) places.push_back(int32_t(i * 17 % kPositions));
    const OnDevice gpu_x(dtype, {s.tokens, width}, x), gpu_places = placed(places);
    const OnDevice gpu_cos(DType::kF32, {kPositions, half}, cos);
    const OnDevice gpu_sin(DType::kF32, {kPositions, half}, sin);
    turn(gpu, gpu_x, RopeTurn{gpu_places, gpu_cos, gpu_sin, s.head_dim, interleaved});
    turn(cpu, of(x, s.tokens),
         RopeTurn{Tensor::of(std::span(places), {s.tokens}), of(cos, kPositions),
                  of(sin, kPositions), s.head_dim, interleaved});
    expect_same(dtype, gpu_x.values(gpu), x);
  }

  static OnDevice placed(const std::vector<int32_t>& places) {
    OnDevice there(DType::kI32, {int64_t(places.size())});
    there.upload(places.data(), places.size() * sizeof(int32_t));
    return there;
  }
};

// Heads of whole runs and others; heads whose first elements turn, in whole runs, in runs that
// others' heads shift, and in no run.
constexpr Shape kShapes[] = {{1, 1, 2},      {5, 3, 6},      {4, 2, 8},     {7, 5, 16},
                             {3, 4, 20},     {2, 32, 64},    {2, 9, 128},   {3, 2, 64, 32},
                             {3, 3, 96, 72}, {2, 3, 20, 16}, {4, 3, 13, 6}, {3, 2, 80, 20}};

TEST_P(CudaRope, GivesTheBitsOfTheCpu) {
  for (const Shape& s : kShapes) expect_turned(s, [](auto&&... args) { rope(args...); });
}

TEST_P(CudaRope, BackwardGivesTheBitsOfTheCpu) {
  for (const Shape& s : kShapes) expect_turned(s, [](auto&&... args) { rope_backward(args...); });
}

INSTANTIATE_TEST_SUITE_P(Types, CudaRope, ::testing::ValuesIn(kFloatTypes),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace tessera
