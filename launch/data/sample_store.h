// The samples of a data set: written once, in their order, to memory or to a file, and then read
// one at a time. Of a file only the places of the samples are held in memory, 8 bytes each, so that
// a set may be larger than the memory.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/io/file.h"

namespace tessera::launch {

/// One tokenized row. labels[i] is ids[i] where the model is to learn to say it, else kIgnore.
struct Sample {
  static constexpr int32_t kIgnore = -100;

  std::vector<int32_t> ids;
  std::vector<int32_t> labels;
};

class SampleStore {
 public:
  /// Of a file that a SampleWriter finished; nothing where there is none, or it is damaged.
  static std::optional<SampleStore> open(const std::string& path);

  size_t size() const { return places_.size(); }
  /// Tokens of a sample.
  int64_t length(size_t i) const { return words(i) / (has_labels(i) ? 2 : 1); }
  Sample read(size_t i) const;
  /// Hash of every token and label, in their order.
  uint64_t fingerprint() const { return fingerprint_; }
  /// What its writer said of it.
  const nlohmann::json& about() const { return about_; }

 private:
  friend class SampleWriter;
  SampleStore() = default;

  uint64_t begin(size_t i) const { return i == 0 ? 0 : places_[i - 1] >> 1; }
  int64_t words(size_t i) const { return int64_t((places_[i] >> 1) - begin(i)); }
  bool has_labels(size_t i) const { return places_[i] & 1; }
  void read_words(uint64_t begin, std::span<int32_t> out) const;

  /// Where each sample ends, in words of 4 bytes, times 2; plus 1 where labels of its own follow
  /// its tokens.
  std::vector<uint64_t> places_;
  std::vector<int32_t> memory_;       // the words, or
  std::optional<io::ReadFile> file_;  // where they are
  uint64_t fingerprint_ = 0;
  nlohmann::json about_;
};

class SampleWriter {
 public:
  /// To memory.
  SampleWriter() = default;
  /// To a file, which appears when it is finished.
  explicit SampleWriter(const std::string& path)
      : path_(path), file_(std::make_unique<io::AtomicFile>(path)) {}

  void add(const Sample& sample);
  size_t size() const { return store_.places_.size(); }
  /// Ends the writing.
  SampleStore finish(nlohmann::json about);

 private:
  void flush();

  std::string path_;
  std::unique_ptr<io::AtomicFile> file_;
  SampleStore store_;  // in memory_: what is not in the file yet
  uint64_t end_ = 0;   // words so far
};

}  // namespace tessera::launch
