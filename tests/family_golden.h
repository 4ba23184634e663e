// For tests: tests/golden/families, which hold a tiny model of every family and what transformers,
// PEFT and bitsandbytes compute with it in float32 and in float64.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"

namespace tessera::testing {

inline constexpr const char* kFamilyNames[] = {
    "exaone4",   "gemma",      "gemma2",  "gemma3",     "gemma3_text",   "glm",
    "glm4",      "granite",    "llama",   "llama_bias", "llama_dynamic", "llava",
    "ministral", "ministral3", "mistral", "mistral3",   "olmo2",         "olmo3",
    "phi3",      "qwen2",      "qwen3",   "seed_oss",   "smollm3",
};

/// The names of a golden's numbers.
inline constexpr const char *kExact = "float64", *kPeer = "float32";

struct FamilyGolden {
  explicit FamilyGolden(const std::string& family)
      : name(family),
        folder(std::string(TESSERA_GOLDEN_DIR) + "/families/" + family),
        adapter(folder + "/adapter"),
        numbers(io::read_json_file(folder + "/golden.json", 1 << 20)),
        samples(numbers.at("samples").get<std::vector<std::vector<int32_t>>>()),
        targets(numbers.at("targets").get<int64_t>()),
        tensors(folder + "/golden.safetensors") {}

  /// Of a tensor of float32 or float64.
  std::vector<double> values(const std::string& tensor) const {
    const io::SafetensorsEntry* entry = tensors.find(tensor);
    if (!entry) fail("{}: '{}' is missing", tensors.path(), tensor);
    return entry->dtype == "F64" ? read<double>(*entry) : read<float>(*entry);
  }
  std::vector<double> values(size_t sample, const char* what, const char* precision) const {
    return values(fmt::format("{}.{}.{}", sample, what, precision));
  }

  std::string name, folder, adapter;
  nlohmann::json numbers;
  std::vector<std::vector<int32_t>> samples;
  int64_t targets;
  io::SafetensorsFile tensors;

 private:
  template <class T>
  std::vector<double> read(const io::SafetensorsEntry& entry) const {
    std::vector<T> stored(entry.bytes / sizeof(T));
    tensors.read(entry, std::as_writable_bytes(std::span(stored)));
    return {stored.begin(), stored.end()};
  }
};

/// The largest distance of an element.
inline double largest_difference(std::span<const double> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    // A NaN is as far as can be.
    const double difference = std::fabs(a[i] - b[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? HUGE_VAL : difference;
  }
  return largest;
}

inline double relative_difference(double got, double expected) {
  return std::fabs(got / expected - 1.0);
}

/// How far Tessera's float32 and the peer's are from float64, the largest of all that is added.
struct Distances {
  double ours = 0.0, peer = 0.0;

  void add(double our_distance, double peer_distance) {
    ours = std::max(ours, our_distance);
    peer = std::max(peer, peer_distance);
  }
};

/// Where TESSERA_FAMILY_REPORT names a file, a row of a Markdown table is appended to it: family,
/// quantity, distance of Tessera and of the peer to float64; without a peer's, distance to the
/// peer.
inline void report(const FamilyGolden& golden, std::string_view quantity, double ours,
                   std::optional<double> peer) {
  const std::string row = fmt::format("| {} | {} | {:.1e} | {} |\n", golden.name, quantity, ours,
                                      peer ? fmt::format("{:.1e}", *peer) : "");
  ::testing::Test::RecordProperty("distances", row);
  const char* path = std::getenv("TESSERA_FAMILY_REPORT");
  if (!path) return;
  const int file = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  ASSERT_GE(file, 0) << path;
  // One write: tests that run at the same time append whole rows.
  EXPECT_EQ(::write(file, row.data(), row.size()), ssize_t(row.size()));
  ::close(file);
}

/// Holds ours to a bound, and reports it.
inline void expect_near_float64(const FamilyGolden& golden, std::string_view quantity,
                                const Distances& distances, double bound) {
  EXPECT_LE(distances.ours, bound) << golden.name << ", " << quantity
                                   << ": the peer's distance to float64 is " << distances.peer;
  report(golden, quantity, distances.ours, distances.peer);
}

}  // namespace tessera::testing
