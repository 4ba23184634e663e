#include "launch/text/tokenizer/tokenizer_vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace tessera::launch {

void Vocabulary::reserve(size_t tokens) {
  entries_.reserve(tokens);
  rehash(std::bit_ceil(std::max<size_t>(2 * tokens, 8)));
}

void Vocabulary::set(std::string_view token, int32_t id) {
  if (2 * (entries_.size() + 1) > slots_.size()) reserve(2 * entries_.size() + 1);
  uint32_t& slot = slots_[slot_of(token)];
  if (slot != 0) {
    entries_[slot - 1].id = id;
    return;
  }
  entries_.push_back({texts_.size(), uint32_t(token.size()), id});
  texts_.insert(texts_.end(), token.begin(), token.end());
  slot = uint32_t(entries_.size());
}

std::optional<int32_t> Vocabulary::find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const uint32_t slot = slots_[slot_of(token)];
  if (slot == 0) return std::nullopt;
  return entries_[slot - 1].id;
}

std::vector<std::pair<std::string_view, int32_t>> Vocabulary::tokens() const {
  std::vector<std::pair<std::string_view, int32_t>> tokens;
  tokens.reserve(entries_.size());
  for (const Entry& entry : entries_) tokens.emplace_back(text(entry), entry.id);
  return tokens;
}

size_t Vocabulary::slot_of(std::string_view token) const {
  const size_t mask = slots_.size() - 1;
  size_t at = std::hash<std::string_view>()(token) & mask;
  while (slots_[at] != 0 && text(entries_[slots_[at] - 1]) != token) at = (at + 1) & mask;
  return at;
}

void Vocabulary::rehash(size_t slots) {
  if (slots <= slots_.size()) return;
  slots_.assign(slots, 0);
  for (size_t i = 0; i < entries_.size(); ++i) slots_[slot_of(text(entries_[i]))] = uint32_t(i + 1);
}

}  // namespace tessera::launch
