// What tasks of a parallel region may do: throw, which reaches the caller, but not allocate, which
// no operator's do.
#include "runtime/cpu/parallel.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <numeric>
#include <thread>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/cpu/gemm_bf16.h"
#include "runtime/cpu/thread_memory.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/matmul.h"
#include "tests/sanitized.h"

// Threads that are counted are all but the caller of an operator, which may allocate beside
// regions.
static std::atomic<int> allocations{0};
static thread_local bool is_caller = false;

static void count_allocation() {
  if (!is_caller) ++allocations;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Never inlined, since the compiler takes what is inlined for a mismatch of malloc and delete.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  count_allocation();
  if (void* p = std::malloc(bytes)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
extern "C" void* mmap(void* at, size_t bytes, int access, int flags, int file, off_t offset) {
  count_allocation();
  return reinterpret_cast<void*>(::syscall(SYS_mmap, at, bytes, access, flags, file, offset));
}
#endif

namespace tessera {
namespace {

using cpu::parallel_for;
using cpu::parallel_ranges;
using cpu::ThreadMemory;

TEST(ParallelFor, CallsEachTaskOnceOnAKnownThread) {
  for (int threads : {1, 2, 4}) {
    std::vector<std::atomic<int>> calls(1000);
    std::atomic<bool> known{true};
    parallel_for(threads, 1000, [&](int64_t i, int thread) {
      ++calls[size_t(i)];
      if (thread < 0 || thread >= threads) known = false;
    });
    EXPECT_TRUE(known);
    for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST(ParallelFor, BringsAnExceptionToTheCaller) {
  for (int threads : {1, 2, 4}) {
    std::atomic<int> ended{0};
    try {
      parallel_for(threads, 1000, [&](int64_t i) {
        if (i >= 10) fail("task {} failed", i);
        ++ended;
      });
      ADD_FAILURE() << threads << " threads: nothing was thrown";
    } catch (const Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("task ")) << error.what();
    }
    EXPECT_LE(ended, 10);
  }
}

TEST(ParallelFor, WorksAgainAfterAnException) {
  EXPECT_THROW(parallel_ranges(4, 1000, 1 << 20, [](int64_t, int64_t) { throw Error("no"); }),
               Error);
  std::atomic<int64_t> sum{0};
  parallel_ranges(4, 1000, 1 << 20, [&](int64_t begin, int64_t end) { sum += end - begin; });
  EXPECT_EQ(sum, 1000);
}

TEST(ThreadMemory, EachThreadHasItsOwnAndKeepsIt) {
  struct Numbers {
    int of_thread[100];
  };
  Context ctx(Device::cpu(), 4, 0);
  const ThreadMemory<Numbers> memory(ctx);
  EXPECT_EQ(memory.of(3).of_thread[99], 0);
  for (int t = 0; t < 4; ++t) std::ranges::fill(memory.of(t).of_thread, t);
  const ThreadMemory<Numbers> again(ctx);
  for (int t = 0; t < 4; ++t) EXPECT_EQ(again.of(t).of_thread[99], t);
}

/// Operators with scratch of their own, each for the first time in its context.
class Regions : public ::testing::Test {
 protected:
  Regions() {
    ctx_.set_scratch(Arena(size_t{8} << 20));
    std::iota(values_.begin(), values_.end(), 0.0f);
    for (float& x : values_) x = 1e-4f * (x - 1000.0f);
    is_caller = true;
  }
  ~Regions() override { is_caller = false; }
  Tensor matrix(int64_t rows, int64_t cols) {
    return Tensor::of(std::span(values_).first(size_t(rows * cols)), {rows, cols});
  }
  Tensor output(int which, int64_t rows, int64_t cols) {
    outputs_[which].resize(size_t(rows * cols));
    return Tensor::of(std::span(outputs_[which]), {rows, cols});
  }
  /// Threads have begun, whatever they allocate at first.
  void warm_up() {
    parallel_for(kThreads, 64, [](int64_t) { std::this_thread::yield(); });
    allocations = 0;
  }

  static constexpr int kThreads = 4;
  Context ctx_{Device::cpu(), kThreads, 0};
  std::vector<float> values_ = std::vector<float>(512 * 512);
  std::vector<float> outputs_[6];
};

TEST_F(Regions, DoNotAllocate) {
  if (testing::kSanitized) GTEST_SKIP() << "a sanitizer has allocators of its own";
  const int64_t tokens = 512, heads = 4, dim = 64;
  const Tensor q = matrix(tokens, heads * dim), lse = output(0, heads, tokens);
  const Tensor out = output(1, tokens, heads * dim), dq = output(2, tokens, heads * dim);
  const Tensor dk = output(3, tokens, heads * dim), dv = output(4, tokens, heads * dim);
  const std::vector<int32_t> starts{0, 300, int32_t(tokens)};
  const AttentionShape shape{heads, heads, dim, 0.125f};
  AttentionSamples samples(ctx_, ctx_.scratch(), starts, 2);
  const AttentionInput in{q, q, q, samples, shape};
  warm_up();
  matmul(ctx_, output(5, 512, 512), matrix(512, 512), matrix(512, 512), {.transpose_b = true});
  EXPECT_EQ(allocations, 0) << "matmul";
  attention(ctx_, out, lse, in);
  EXPECT_EQ(allocations, 0) << "attention";
  attention_backward(ctx_, {dq, dk, dv}, q, out, lse, in);
  EXPECT_EQ(allocations, 0) << "attention_backward";
  Context fresh(Device::cpu(), kThreads, 0);
  attention_decode(fresh, out, {q, q, q, 0, shape});
  EXPECT_EQ(allocations, 0) << "attention_decode";
}

TEST_F(Regions, OfBfloat16ProductsDoNotAllocate) {
  if (testing::kSanitized) GTEST_SKIP() << "a sanitizer has allocators of its own";
  if (!cpu::has_gemm_bf16()) GTEST_SKIP() << "needs AVX512_BF16";
  const cpu::PackRows rows{values_.data(), 512};
  const cpu::GemmTerm term{values_.data(), 512, 1, 512, rows};
  const Tensor c = output(1, 512, 512);
  warm_up();
  cpu::gemm_bf16(ctx_, {c.data<float>(), 512, 512, 512, false}, {&term, 1});
  EXPECT_EQ(allocations, 0);
}

}  // namespace
}  // namespace tessera
