#include "launch/text/tokenizer/bpe_cache.h"

#include <cstring>
#include <functional>

namespace tessera::launch {

size_t BpeCache::slot_of(std::string_view word) {
  return std::hash<std::string_view>()(word) & (kSlots - 1);
}

bool BpeCache::take(uint64_t key, AlignedView word, Encoding& out) const {
  if (slots_.empty() || word.text.size() > kLongestWord) return false;
  const Slot& slot = slots_[slot_of(word.text)];
  if (slot.key != key || std::string_view(slot.word.data(), slot.length) != word.text) return false;
  for (size_t i = 0; i < slot.count; ++i) {
    out.ids.push_back(slot.ids[i]);
    out.begins.push_back(word.origin[slot.begins[i]]);
  }
  return true;
}

void BpeCache::keep(uint64_t key, std::string_view word, const std::vector<Token>& tokens) {
  if (word.size() > kLongestWord || tokens.size() > kMostTokens) return;
  if (slots_.empty()) slots_.resize(kSlots);
  Slot& slot = slots_[slot_of(word)];
  slot.key = key;
  slot.length = uint8_t(word.size());
  slot.count = uint8_t(tokens.size());
  std::memcpy(slot.word.data(), word.data(), word.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    slot.ids[i] = tokens[i].id;
    slot.begins[i] = uint8_t(tokens[i].begin);
  }
}

}  // namespace tessera::launch
