// AdamW on a GPU: the bits of the CPU, with moments of 32 and 8 bits, resident and paged.
#include "optim/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <memory>

#include "optim/optimizer.h"
#include "quant/codebook.h"
#include "tests/cuda/on_device.h"

#include "tests/optim/golden_values.h"
#include "tests/optim/state_table.h"
#include "tests/scratch_folder.h"

namespace tessera::optim {
namespace {

using tessera::testing::DeviceContext;

using tessera::testing::OnDevice;
using tessera::testing::ScratchFolder;
using tessera::testing::test_device;

constexpr size_t kPage = 4096;  // two blocks of 32 bits, or seven of 8

/// Memory of a device with the bytes of an array of the host.
template <class T>
class Twin {
 public:
  explicit Twin(std::vector<T> values)
      : values_(std::move(values)), on_device_(DType::kU8, {int64_t(values_.size() * sizeof(T))}) {
    if (!values_.empty()) on_device_.upload(values_.data(), values_.size() * sizeof(T));
  }
  T* host() { return values_.data(); }
  T* device() { return static_cast<T*>(on_device_.tensor().raw()); }
  /// Waits for all work of `ctx` first.
  void expect_equal(Context& ctx) const {
    const std::vector<std::byte> bytes = on_device_.bytes(ctx);
    EXPECT_EQ(std::memcmp(bytes.data(), values_.data(), bytes.size()), 0);
  }

 private:
  std::vector<T> values_;
  OnDevice on_device_;
};

TEST(DeviceAdamW, UpdatesOf32BitsHaveTheBitsOfTheCpu) {
  DeviceContext ctx;
  for (const size_t n : {1, 3, 4, 255, 256, 1000, 1024, 4099}) {
    for (const size_t shift : {0, 1, 2}) {  // elements by which params are not aligned
      for (const float one_minus_beta1 : {0.1f, 0.7f}) {
        SCOPED_TRACE(::testing::Message() << n << " " << shift << " " << one_minus_beta1);
        Twin params(golden_values(1, n + shift)), m(golden_values(2, n));
        std::vector<float> squares = golden_values(3, n);
        for (float& x : squares) x = x * x;
        Twin v(squares);
        for (int step = 1; step <= 3; ++step) {
          const AdamWScalars scalars{
              0.5f, 0.999f, one_minus_beta1, 0.999f, 0.001f, 0.03f * float(step), 1e-8f, -1e-2f};
          Twin grads(golden_values(uint64_t(10 + step), n));
          cpu::adamw(scalars, {params.host() + shift, n}, {grads.host(), n}, {m.host(), v.host()});
          cuda::adamw(ctx, scalars, {params.device() + shift, n}, {grads.device(), n},
                      {m.device(), v.device()});
          ctx.compute_stream().synchronize();
        }
        params.expect_equal(ctx);
        m.expect_equal(ctx);
        v.expect_equal(ctx);
      }
    }
  }
}

TEST(DeviceAdamW, UpdatesOf8BitsHaveTheBitsOfTheCpu) {
  DeviceContext ctx;
  for (const size_t n : {1, 5, 127, 128, 130, 256, 257, 700, 2048, 2176, 20000}) {
    for (const size_t shift : {0, 1}) {
      SCOPED_TRACE(::testing::Message() << n << " " << shift);
      const size_t blocks = (n + kStateBlock - 1) / kStateBlock;
      // Moments that no training made: every code, a block of zeros, codes past the end.
      std::vector<uint8_t> codes(blocks * kStateBlock), others(codes.size());
      for (size_t i = 0; i < codes.size(); ++i) {
        codes[i] = uint8_t(i * 37 + i / 256);
        others[i] = uint8_t(i * 101 + 5 * (i / 256));
      }
      std::vector<float> m_largest(blocks), v_largest(blocks);
      for (size_t b = 0; b < blocks; ++b) {
        m_largest[b] = std::fabs(golden_values(7, blocks)[b]);
        v_largest[b] = b % 5 == 4 ? 0.0f : m_largest[b] * m_largest[b] * 2.0f;
      }
      Twin m_codes(codes), v_codes(others);
      Twin m_absmax(m_largest), v_absmax(v_largest);
      Twin params(golden_values(1, n + shift));
      for (int step = 1; step <= 4; ++step) {
        const AdamW8bitScalars scalars{0.5f, 0.9f, 0.1f, 0.999f, 0.001f, -1e-2f, 1e-9f, 0.99f};
        std::vector<float> values = golden_values(uint64_t(10 + step), n);
        if (step == 2) {
          values[n / 2] = std::numeric_limits<float>::infinity();
          values[n - 1] = std::nanf("");
        }
        if (step == 3) std::fill_n(values.begin(), std::min<size_t>(n, kStateBlock), 0.0f);
        Twin grads(values);
        cpu::adamw_8bit(scalars, {params.host() + shift, n}, {grads.host(), n},
                        {m_codes.host(), v_codes.host(), m_absmax.host(), v_absmax.host()});
        cuda::adamw_8bit(
            ctx, scalars, {params.device() + shift, n}, {grads.device(), n},
            {m_codes.device(), v_codes.device(), m_absmax.device(), v_absmax.device()});
        ctx.compute_stream().synchronize();
        params.expect_equal(ctx);
        m_codes.expect_equal(ctx);
        v_codes.expect_equal(ctx);
        m_absmax.expect_equal(ctx);
        v_absmax.expect_equal(ctx);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

/// Each block holds `x` and 1, whose code of x the update then has to find.
void compare_codes(const std::vector<float>& xs, DeviceContext& ctx) {
  const size_t n = xs.size() * kStateBlock;
  std::vector<float> values(n, 0.0f);
  for (size_t i = 0; i < xs.size(); ++i) {
    values[i * kStateBlock] = xs[i];
    values[i * kStateBlock + 1] = 1.0f;
  }
  // Moments become the gradient: m = 0 m + 1 g, v = 0 v + (1 g) g.
  const AdamW8bitScalars scalars{1.0f, 0.0f, 1.0f, 0.0f, 1.0f, -1.0f, 1.0f, 1.0f};
  Twin params(std::vector<float>(n, 0.5f)), grads(values);
  Twin m_codes(std::vector<uint8_t>(n, 127)), v_codes(std::vector<uint8_t>(n, 0));
  Twin m_absmax(std::vector<float>(xs.size(), 0.0f)), v_absmax(std::vector<float>(xs.size(), 0.0f));
  cpu::adamw_8bit(scalars, {params.host(), n}, {grads.host(), n},
                  {m_codes.host(), v_codes.host(), m_absmax.host(), v_absmax.host()});
  cuda::adamw_8bit(ctx, scalars, {params.device(), n}, {grads.device(), n},
                   {m_codes.device(), v_codes.device(), m_absmax.device(), v_absmax.device()});
  m_codes.expect_equal(ctx);
  v_codes.expect_equal(ctx);
}

TEST(DeviceAdamW, CodesAtMidpointsGoWhereTheCpuPutsThem) {
  DeviceContext ctx;
  std::vector<float> xs{0.0f, -0.0f, 1e-30f, -1e-30f, 1.0f, -1.0f};
  for (const auto& [map, squared] :
       {std::pair(quant::kDynamicSigned, false), {quant::kDynamicUnsigned, true}}) {
    for (size_t i = 0; i + 1 < map.size(); ++i) {
      const float middle = (map[i] + map[i + 1]) * 0.5f;
      const float x = squared ? std::sqrt(middle) : middle;
      xs.insert(xs.end(), {x, std::nextafter(x, -2.0f), std::nextafter(x, 2.0f)});
    }
  }
  compare_codes(xs, ctx);
}

using Arrays = std::map<std::string, std::vector<std::byte>>;

Arrays state_of(const Optimizer& optimizer) {
  Arrays all;
  for (const StateArray& array : optimizer.state_arrays()) {
    std::vector<std::byte>& bytes = all[array.name];
    bytes.resize(array.elements * (array.dtype == DType::kU8 ? 1 : 4));
    optimizer.read_state(array.name, 0, bytes);
  }
  return all;
}

struct Result {
  std::vector<float> params;
  Arrays state;
  bool operator==(const Result&) const = default;
};

std::vector<float> gradient(int step, size_t elements) {
  return golden_values(uint64_t(100 + step), elements);
}

constexpr OptimizerOptions kOptions{.weight_decay = 0.1};
constexpr int kSteps = 5;

/// On the CPU, resident.
Result expected(const std::vector<StateSegment>& segments, ElementRange range) {
  Context ctx(Device::cpu(), 1, 0);
  Optimizer optimizer(adamw_rule(), segments, range, kOptions, {});
  std::vector<float> params = golden_values(1, range.size());
  for (int step = 1; step <= kSteps; ++step) {
    optimizer.step(ctx, params, gradient(step, range.size()), 1e-2, 0.5f);
  }
  return {params, state_of(optimizer)};
}

/// An optimizer on the device with its parameters.
class OnGpu {
 public:
  OnGpu(const std::vector<StateSegment>& segments, ElementRange range, PageOptions paging)
      : optimizer_(adamw_rule(), segments, range, kOptions, on_device(std::move(paging))),
        params_(DType::kF32, {int64_t(range.size())}, golden_values(1, range.size())) {
    for (int step = 1; step <= kSteps; ++step) {
      grads_.emplace_back(DType::kF32, std::initializer_list<int64_t>{int64_t(range.size())},
                          gradient(step, range.size()));
    }
  }

  /// Neither waits nor takes memory, which would wait for the device.
  void step(Context& ctx, int step) {
    optimizer_.step(ctx, params_.tensor().span<float>(),
                    grads_[size_t(step - 1)].tensor().span<const float>(), 1e-2, 0.5f);
  }
  /// `ctx` is the one of the last step.
  Result result(Context& ctx) const {
    Arrays state = state_of(optimizer_);  // first: it has to wait by itself
    return {params_.values(ctx), std::move(state)};
  }
  Optimizer& optimizer() { return optimizer_; }
  void set_params(const std::vector<float>& values) { params_.set(values); }

  static PageOptions on_device(PageOptions paging) {
    paging.device = test_device();
    return paging;
  }

 private:
  Optimizer optimizer_;
  OnDevice params_;
  std::deque<OnDevice> grads_;  // by step
};

TEST(DeviceAdamW, HasTheBitsOfTheCpuWithAnyPaging) {
  ScratchFolder folder;
  for (const bool eight_bit : {false, true}) {
    const std::vector<StateSegment> segments = state_table(eight_bit);
    for (const ElementRange range : {ElementRange{0, size_of(segments)}, {4096, 20480}}) {
      const Result cpu = expected(segments, range);
      const size_t all = Optimizer::memory(adamw_rule(), segments, range, {}).resident;
      for (const size_t percent : {0, 25, 90, 100}) {
        for (const std::string& directory : {std::string(), folder.path()}) {
          SCOPED_TRACE(::testing::Message() << (eight_bit ? 8 : 32) << " bits, budget " << percent
                                            << " %, " << (directory.empty() ? "host" : "file"));
          DeviceContext ctx;
          OnGpu gpu(segments, range,
                    {.budget = all * percent / 100, .directory = directory, .page_bytes = kPage});
          for (int step = 1; step <= kSteps; ++step) gpu.step(ctx, step);
          ASSERT_TRUE(gpu.result(ctx) == cpu);
        }
      }
      DeviceContext ctx;
      OnGpu resident(segments, range, {});
      for (int step = 1; step <= kSteps; ++step) resident.step(ctx, step);
      ASSERT_TRUE(resident.result(ctx) == cpu);
    }
  }
}

TEST(DeviceAdamW, GoesOnFromACheckpointAndInAnotherContext) {
  const std::vector<StateSegment> segments = state_table(true);
  const ElementRange range{0, size_of(segments)};
  DeviceContext one, two;
  OnGpu first(segments, range, {.budget = 30000, .page_bytes = kPage});
  for (int step = 1; step <= 3; ++step) first.step(step % 2 == 0 ? two : one, step);
  const Result saved = first.result(one);
  OnGpu second(segments, range, {.budget = 0, .page_bytes = 3 * kPage});
  second.set_params(saved.params);
  for (const auto& [name, bytes] : saved.state) second.optimizer().write_state(name, 0, bytes);
  second.optimizer().set_steps_taken(3);
  for (int step = 4; step <= kSteps; ++step) second.step(one, step);
  EXPECT_TRUE(second.result(one) == expected(segments, range));
}

TEST(DeviceAdamW, HoldsWhatThePlanSays) {
  ScratchFolder folder;
  const std::vector<StateSegment> segments = state_table(true);
  const ElementRange range{0, size_of(segments)};
  const size_t all = Optimizer::memory(adamw_rule(), segments, range, {}).resident;
  for (const size_t budget : {size_t{0}, kPage, all / 2, all - 1, all}) {
    for (const std::string& directory : {std::string(), folder.path()}) {
      PageOptions paging{.budget = budget, .directory = directory, .page_bytes = kPage};
      PageMemory on_cpu = Optimizer::memory(adamw_rule(), segments, range, paging);
      const PageMemory planned =
          Optimizer::memory(adamw_rule(), segments, range, OnGpu::on_device(paging));
      EXPECT_EQ(planned, OnGpu(segments, range, paging).optimizer().memory());
      if (on_cpu.file > 0) on_cpu.host = kPage;  // the page on its way
      EXPECT_EQ(planned, on_cpu);
    }
  }
}

TEST(DeviceAdamW, RefusesAContextOfAnotherDevice) {
  const std::vector<StateSegment> segments = state_table(false);
  const ElementRange range{0, size_of(segments)};
  Optimizer optimizer(adamw_rule(), segments, range, {}, OnGpu::on_device({}));
  Context ctx(Device::cpu(), 1, 0);
  std::vector<float> params(range.size()), grads(range.size());
  EXPECT_THROW(optimizer.step(ctx, params, grads, 1e-3, 1.0f), std::logic_error);
}

}  // namespace
}  // namespace tessera::optim
