// Published models' shapes, for benchmarks with random weights.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace tessera::launch {

struct Shape {
  int64_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab;
};
inline const std::map<std::string, Shape> kShapes = {
    {"tiny", {128, 256, 4, 2, 1, 64, 512}},
    {"8B", {4096, 14336, 32, 32, 8, 128, 128256}},
    {"70B", {8192, 28672, 80, 64, 8, 128, 128256}},
};

}  // namespace tessera::launch
