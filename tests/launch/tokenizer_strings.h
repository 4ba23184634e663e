// For tests of tokenizers: their goldens, and the random strings and hashes that these are made of,
// as tests/golden/make_tokenizer_golden.py has them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/io/json.h"

namespace tessera::launch {

inline const std::filesystem::path kGolden =
    std::filesystem::path(TESSERA_GOLDEN_DIR) / "tokenizer";

inline nlohmann::json read_golden(const std::string& name) {
  return io::read_json_file((kGolden / name).string(), 16 << 20);
}

/// splitmix64.
inline uint64_t next_random(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

/// As random_string() of make_tokenizer_golden.py.
inline std::string random_string(uint64_t index, const nlohmann::json& groups) {
  std::string text;
  const uint64_t fragments = next_random(index) % 41;
  for (uint64_t i = 0; i < fragments; ++i) {
    const nlohmann::json& group = groups[next_random(index) % groups.size()];
    if (group.contains("texts")) {
      text += group["texts"][next_random(index) % group["texts"].size()].get<std::string>();
    } else {
      const nlohmann::json& range = group["ranges"][next_random(index) % group["ranges"].size()];
      const uint64_t low = range[0].get<uint64_t>(), high = range[1].get<uint64_t>();
      append_utf8(text, char32_t(low + next_random(index) % (high - low + 1)));
    }
  }
  return text;
}

inline std::vector<std::string> random_strings(size_t count) {
  const nlohmann::json golden = read_golden("strings.json");
  std::vector<std::string> strings;
  for (size_t i = 0; i < count; ++i) strings.push_back(random_string(i, golden["groups"]));
  for (size_t i = 0; i < golden["samples"].size() && i < count; ++i) {
    EXPECT_EQ(strings[i], golden["samples"][i].get<std::string>()) << "the generators differ";
  }
  return strings;
}

inline std::string hash_of(std::string_view bytes) {
  uint32_t value = 0x811c9dc5;
  for (char c : bytes) value = (value ^ uint8_t(c)) * 0x01000193;
  return fmt::format("{:08x}", value);
}

}  // namespace tessera::launch
