#include "launch/data/packing.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// Full rows that the samples of a window would fill. kPacker names it.
constexpr int64_t kWindow = 512;

/// SplitMix64 (Steele, Lea, Flood 2014): a stateless mix of a counter, enough to order samples.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Streams of random numbers other than those that order an epoch's samples, whose stream is the
// epoch's number.
constexpr uint64_t kHeldOut = 0x76616c6964617465u;
constexpr uint64_t kDrawn = 0x647261776e000000u;    // plus the part, mixed with the epoch
constexpr uint64_t kPacked = 0x7061636b65640000u;   // with the window's begin and the epoch
constexpr uint64_t kGrouped = 0x67726f7570656400u;  // mixed with the epoch

/// Orders 0..n-1 by a key drawn for each from (seed, stream); ties by index.
std::vector<int32_t> shuffled(size_t n, uint64_t seed, uint64_t stream) {
  struct Keyed {  // 12 bytes: there may be many millions
    uint32_t high, low;
    int32_t index;
    auto operator<=>(const Keyed&) const = default;
  };
  std::vector<Keyed> keyed(n);
  const uint64_t base = mix(mix(seed) ^ stream);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t key = mix(base ^ mix(i));
    keyed[i] = {uint32_t(key >> 32), uint32_t(key), int32_t(i)};
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<int32_t> order(n);
  for (size_t i = 0; i < n; ++i) order[i] = keyed[i].index;
  return order;
}

/// The samples of an epoch in the order of the data sets, each as often as its weight says.
std::vector<int32_t> drawn(const SampleList& samples, uint64_t seed, int64_t epoch) {
  std::vector<int32_t> all;
  all.reserve(samples.size());
  for (size_t p = 0; p < samples.parts().size(); ++p) {
    const auto& [begin, end, weight] = samples.parts()[p];
    const double whole = std::floor(weight);
    for (double copy = 0; copy < whole; ++copy) {
      for (size_t i = begin; i < end; ++i) all.push_back(int32_t(i));
    }
    const auto some = size_t(std::llround((weight - whole) * double(end - begin)));
    if (some == 0) continue;
    std::vector<int32_t> order =
        shuffled(end - begin, seed, mix(kDrawn + p) ^ mix(uint64_t(epoch)));
    order.resize(some);
    std::ranges::sort(order);
    for (const int32_t i : order) all.push_back(int32_t(begin) + i);
  }
  return all;
}

/// Takes samples for some 512 rows at a time, and puts each of them, the longest first, into the
/// row that it fills best. The rows then come in an order of chance, or the long samples came
/// first.
Rows pack(const SampleList& samples, const std::vector<int32_t>& order, const BatchOptions& options,
          int64_t epoch) {
  Rows packed;
  const auto length = [&](int32_t index) { return samples.length(size_t(index)); };
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    int64_t tokens = 0;
    while (end < order.size() && tokens < kWindow * options.sequence_len) {
      tokens += length(order[end++]);
    }
    std::vector<int32_t> window(order.begin() + int64_t(begin), order.begin() + int64_t(end));
    std::ranges::stable_sort(window, std::greater(), length);
    std::vector<std::vector<int32_t>> rows;
    std::set<std::pair<int64_t, size_t>> open;  // room in a row, and its index
    for (const int32_t index : window) {
      const auto best = open.lower_bound({length(index), 0});
      const bool fits = best != open.end();
      const auto [room, row] = fits ? *best : std::pair(options.sequence_len, rows.size());
      if (fits) {
        open.erase(best);
      } else {
        rows.emplace_back();
      }
      rows[row].push_back(index);
      open.emplace(room - length(index), row);
    }
    const uint64_t stream = mix(kPacked ^ begin) ^ mix(uint64_t(epoch));
    for (const int32_t row : shuffled(rows.size(), options.seed, stream)) {
      packed.add(rows[size_t(row)]);
    }
  }
  return packed;
}

/// A row takes samples until one does not fit: keeps their order.
Rows pack_in_order(const SampleList& samples, const std::vector<int32_t>& order, int64_t capacity) {
  Rows rows;
  std::vector<int32_t> row;
  int64_t room = capacity;
  for (const int32_t index : order) {
    const int64_t length = samples.length(size_t(index));
    if (length > room) {
      rows.add(row);
      row.clear();
      room = capacity;
    }
    row.push_back(index);
    room -= length;
  }
  if (!row.empty()) rows.add(row);
  return rows;
}

/// Sorts stretches of 50 steps by length, and puts the steps of each stretch in an order of chance
/// again: the rows of a step are of like length, and the steps of an epoch are not.
std::vector<int32_t> grouped(const SampleList& samples, std::vector<int32_t> order,
                             const BatchOptions& options, int64_t epoch) {
  const size_t step = size_t(options.micro_batch_size * options.micro_batches);
  const size_t stretch = 50 * step;
  std::vector<int32_t> out;
  out.reserve(order.size());
  for (size_t begin = 0; begin < order.size(); begin += stretch) {
    const size_t end = std::min(begin + stretch, order.size());
    std::stable_sort(order.begin() + int64_t(begin), order.begin() + int64_t(end),
                     [&](int32_t a, int32_t b) {
                       return samples.length(size_t(a)) > samples.length(size_t(b));
                     });
    // The last step of an epoch may be a short one, and stays where it is.
    const size_t whole = (end - begin) / step;
    const uint64_t stream = mix(kGrouped ^ begin) ^ mix(uint64_t(epoch));
    for (const int32_t s : shuffled(whole, options.seed, stream)) {
      const auto first = order.begin() + int64_t(begin + size_t(s) * step);
      out.insert(out.end(), first, first + int64_t(step));
    }
    out.insert(out.end(), order.begin() + int64_t(begin + whole * step),
               order.begin() + int64_t(end));
  }
  return out;
}

}  // namespace

Rows epoch_rows(const SampleList& samples, const BatchOptions& options, int64_t epoch) {
  std::vector<int32_t> order = drawn(samples, options.seed, epoch);
  if (options.shuffle) {
    std::vector<int32_t> places = shuffled(order.size(), options.seed, uint64_t(epoch));
    for (int32_t& place : places) place = order[size_t(place)];
    order = std::move(places);
  }
  if (options.packing) {
    return options.shuffle ? pack(samples, order, options, epoch)
                           : pack_in_order(samples, order, options.sequence_len);
  }
  if (options.group_by_length) order = grouped(samples, std::move(order), options, epoch);
  Rows rows;
  for (const int32_t index : order) rows.add(std::span(&index, 1));
  return rows;
}

int64_t row_tokens(const SampleList& samples, std::span<const int32_t> row) {
  int64_t tokens = 0;
  for (const int32_t index : row) tokens += samples.length(size_t(index));
  return tokens;
}

int64_t row_tokens(const SampleList& samples, const Rows& rows, size_t begin, size_t end) {
  int64_t tokens = 0;
  for (size_t r = begin; r < end; ++r) tokens += row_tokens(samples, rows[r]);
  return tokens;
}

std::vector<bool> held_out(size_t total, double size, uint64_t seed) {
  const size_t wanted = size < 1.0 ? size_t(std::ceil(size * double(total))) : size_t(size);
  if (wanted >= total) {
    fail_usage("val_set_size {} takes {} of {} rows and leaves none to train on", size, wanted,
               total);
  }
  const std::vector<int32_t> order = shuffled(total, seed, kHeldOut);
  std::vector<bool> held(total);
  for (size_t i = 0; i < wanted; ++i) held[size_t(order[i])] = true;
  return held;
}

}  // namespace tessera::launch
