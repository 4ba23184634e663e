#include "quant/blockwise4.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "runtime/core/error.h"
#include "runtime/cpu/parallel.h"

namespace tessera::quant {

namespace {

constexpr int64_t kTask = 65536;  // elements of one task: a multiple of every block size

/// The short last block. bitsandbytes divides here, where whole blocks multiply by a reciprocal,
/// and stores the scale with its floor. Returns the first index that is not finite, or -1.
int64_t encode_tail(const Codebook4& book, std::span<const float> x, uint8_t* codes, float* scale) {
  float largest = 1e-38f;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i])) return int64_t(i);
    largest = std::max(largest, std::fabs(x[i]));
  }
  *scale = largest;
  for (size_t i = 0; i < x.size(); i += 2) {
    uint8_t pair[2] = {0, book.pad};
    for (size_t j = 0; j < std::min<size_t>(2, x.size() - i); ++j) {
      const float scaled = x[i + j] / largest;
      const auto rank = std::ranges::lower_bound(book.thresholds, scaled);
      pair[j] = book.order[size_t(rank - book.thresholds.begin())];
    }
    codes[i / 2] = uint8_t(pair[0] << 4 | pair[1]);
  }
  return -1;
}

}  // namespace

void check_block(int block) {
  if (block < 32 || block > 4096 || !std::has_single_bit(unsigned(block))) {
    fail_usage("bnb_4bit_blocksize: expected 32, 64, 128, 256, 512, 1024, 2048 or 4096, got {}",
               block);
  }
}

void quantize4(Context& ctx, const Codebook4& book, int block, std::span<const float> x,
               const Blocks4& out, std::string_view name) {
  check_block(block);
  const int64_t n = int64_t(x.size());
  TESSERA_CHECK(int64_t(out.codes.size()) == (n + 1) / 2);
  TESSERA_CHECK(int64_t(out.scales.size()) == (n + block - 1) / block);
  const int64_t whole = n / block * block;
  std::atomic<int64_t> bad{n};
  const auto report = [&](int64_t index) {
    int64_t seen = bad.load();
    while (index < seen && !bad.compare_exchange_weak(seen, index)) {
    }
  };
  cpu::parallel_for(ctx.threads(), (whole + kTask - 1) / kTask, [&](int64_t task) {
    const int64_t first = task * kTask;
    const int64_t blocks = std::min(kTask, whole - first) / block;
    const int64_t at =
        encode_blocks(book, block, blocks, x.data() + first, out.codes.data() + first / 2,
                      out.scales.data() + first / block);
    if (at >= 0) report(first + at);
  });
  if (whole < n) {
    const int64_t at = encode_tail(book, x.subspan(size_t(whole)), out.codes.data() + whole / 2,
                                   &out.scales.back());
    if (at >= 0) report(whole + at);
  }
  if (bad < n) refuse_element(name, bad, x[size_t(bad.load())]);
}

}  // namespace tessera::quant
