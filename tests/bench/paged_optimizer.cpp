// What paging costs: a step of AdamW with 0, 25, 50 and 100 % of the state resident, the rest in
// host memory or in a file. By hand: bench_paged_optimizer [MILLIONS_OF_ELEMENTS] [FOLDER]
// [THREADS]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace {

using namespace tessera;
using namespace tessera::optim;

constexpr int kSteps = 5;

struct Result {
  double seconds;  // the median step
  double waited;   // in all of them, divided by their number
  double moved;    // bytes a step, in and out
};

Result measure(const std::vector<StateSegment>& segments, const PageOptions& paging, int threads) {
  const ElementRange range{0, segments.back().elements};
  Context ctx(Device::cpu(), threads, 0);
  Optimizer optimizer(adamw_rule(), segments, range, {}, paging);
  std::vector<float> params(range.size(), 0.5f), grads(range.size());
  for (size_t i = 0; i < grads.size(); ++i) grads[i] = float(i % 1009) * 1e-4f - 0.05f;
  // Two steps, up and down, so that all memory has been touched.
  for (int i = 0; i < 2; ++i) optimizer.step(ctx, params, grads, 1e-4, 1.0f);
  const PageCounters before = optimizer.page_counters();
  std::vector<double> seconds;
  for (int i = 0; i < kSteps; ++i) {
    const auto start = std::chrono::steady_clock::now();
    optimizer.step(ctx, params, grads, 1e-4, 1.0f);
    ctx.copy_stream().synchronize();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::sort(seconds);
  const PageCounters& after = optimizer.page_counters();
  const uint64_t bytes = after.bytes_in - before.bytes_in + after.bytes_out - before.bytes_out;
  return {seconds[kSteps / 2], (after.seconds_waited - before.seconds_waited) / kSteps,
          double(bytes) / kSteps};
}

void table(size_t elements, const std::string& folder, int threads) {
  fmt::print("{} Mi elements, {} threads; seconds are those of a step\n", elements >> 20, threads);
  fmt::print("{:>4} {:>5} {:>8} {:>9} {:>8} {:>8} {:>11} {:>9}\n", "bits", "pages", "budget",
             "Mi elem/s", "seconds", "waited", "moved MiB", "GiB/s");
  for (const StateBits bits : {StateBits::k32, StateBits::k8}) {
    const std::vector<StateSegment> segments{{0, elements, bits}};
    const size_t all = Optimizer::memory(adamw_rule(), segments, {0, elements}, {}).resident;
    for (const std::string& where : {std::string(), folder}) {
      for (size_t percent : {100, 50, 25, 0}) {
        const PageOptions paging{.budget = all * percent / 100, .directory = where};
        const Result r = measure(segments, paging, threads);
        fmt::print("{:>4} {:>5} {:>6} % {:>9.0f} {:>8.3f} {:>8.3f} {:>11.0f} {:>9.2f}\n", int(bits),
                   where.empty() ? "host" : "file", percent, double(elements) / r.seconds / 0x1p20,
                   r.seconds, r.waited, r.moved / 0x1p20, r.moved / r.seconds / 0x1p30);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const size_t millions = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 128;
    table(std::max<size_t>(millions, 1) << 20, argc > 2 ? argv[2] : ".",
          argc > 3 ? std::atoi(argv[3]) : 2);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
