// The tokens of a model and their ids. All texts lie in one block of memory: a vocabulary of
// 262,144 tokens takes 7 MB, a quarter of what a map of strings does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::launch {

class Vocabulary {
 public:
  /// Space for so many tokens.
  void reserve(size_t tokens);

  /// Adds the token, or gives it another id.
  void set(std::string_view token, int32_t id);

  std::optional<int32_t> find(std::string_view token) const;

  size_t size() const { return entries_.size(); }

  /// Every token, in the order that they were added. The texts are the vocabulary's.
  std::vector<std::pair<std::string_view, int32_t>> tokens() const;

 private:
  struct Entry {
    size_t begin;  // in texts_
    uint32_t size;
    int32_t id;
  };

  /// The entry's text.
  std::string_view text(const Entry& entry) const {
    return std::string_view(texts_.data() + entry.begin, entry.size);
  }
  /// Of the slots, the one that holds the token, or the empty one that it would take.
  size_t slot_of(std::string_view token) const;
  void rehash(size_t slots);

  std::vector<char> texts_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // index of an entry plus one, 0 for none; a power of two of them
};

}  // namespace tessera::launch
