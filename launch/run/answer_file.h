// Finished answers in a file of JSON lines, one appended as soon as it is there. Each says by a key
// what it was made from, so that a run that was interrupted, in whatever way, can go on: what is
// finished is kept, and a last line that was cut off is made anew.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "launch/run/answers.h"
#include "runtime/io/lock_file.h"

namespace tessera::launch {

/// Hashes of what an answer follows from.
struct AnswerKey {
  uint32_t model = 0;
  uint32_t options = 0;
  uint32_t prompt = 0;

  /// "6b1f03a9-0c44aa19-77e01b55"
  std::string text() const;
  /// Nothing for any other text.
  static std::optional<AnswerKey> parse(std::string_view text);
};

/// A part of a key.
uint32_t key_part(std::span<const std::byte> bytes);

class AnswerFile {
 public:
  /// Reads the answers that are there. Error where the file is there and not to be resumed, where a
  /// line is no answer, and where another process writes it. Changes nothing.
  AnswerFile(std::string path, bool resume);
  ~AnswerFile();
  AnswerFile(const AnswerFile&) = delete;
  AnswerFile& operator=(const AnswerFile&) = delete;

  const std::string& path() const { return path_; }
  /// Error where the prompt of an answer is another than that of its index, by `prompts`, or its
  /// options are not these.
  void check_prompts(std::span<const uint32_t> prompts) const;
  void check_options(uint32_t options) const;
  void check_model(uint32_t model) const;
  bool has(uint64_t sequence) const { return sequences_.contains(sequence); }

  /// Makes the file, or drops what was cut off.
  void open();
  /// Error naming the file where the system refuses.
  void append(const Answer& answer, const AnswerKey& key);

 private:
  struct Kept {
    uint64_t index;
    AnswerKey key;
  };
  void read();
  void take(std::string_view line, const std::string& where);
  void refuse_tail(std::string_view tail) const;
  /// file:line
  std::string where(size_t kept) const;

  std::string path_;
  std::optional<io::LockFile> lock_;
  std::vector<Kept> kept_;
  std::unordered_set<uint64_t> sequences_;
  uint64_t whole_ = 0;  // bytes of whole lines
  int fd_ = -1;
};

}  // namespace tessera::launch
