// For tests: files that `tessera export` writes, and what is in them.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "launch/commands/export.h"
#include "runtime/io/gguf.h"

namespace tessera::testing {

inline launch::ExportOptions export_options(const std::string& model, const std::string& out,
                                            const char* type) {
  launch::ExportOptions options;
  options.merge.base_model = model;
  options.merge.output = out;
  options.merge.threads = 2;
  options.type = lora::find_gguf_mix(type);
  return options;
}

inline launch::ExportReport export_silently(const launch::ExportOptions& options) {
  launch::Console console(false);
  return launch::export_gguf(options, console);
}

inline std::vector<std::byte> bytes_in(const io::GgufFile& file, const std::string& name) {
  const io::GgufTensor* tensor = file.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  if (!tensor) return {};
  std::vector<std::byte> bytes(tensor->bytes);
  file.read(*tensor, bytes);
  return bytes;
}

/// Of a tensor of float32.
inline std::vector<float> floats_in(const io::GgufFile& file, const std::string& name) {
  const std::vector<std::byte> bytes = bytes_in(file, name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace tessera::testing
