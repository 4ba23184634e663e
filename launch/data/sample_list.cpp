#include "launch/data/sample_list.h"

#include <algorithm>
#include <limits>

#include "runtime/core/error.h"
#include "runtime/io/hash.h"

namespace tessera::launch {

void SampleList::append(std::shared_ptr<const SampleStore> store, double weight) {
  const size_t begin = size(), end = begin + store->size();
  if (end > size_t(std::numeric_limits<int32_t>::max())) {
    fail("the data sets hold {} samples; at most {} can be trained on", end,
         std::numeric_limits<int32_t>::max());
  }
  parts_.push_back({begin, end, weight});
  stores_.push_back(std::move(store));
  chosen_.emplace_back();
}

SampleList::Place SampleList::place(size_t i) const {
  const auto part = std::ranges::upper_bound(parts_, i, {}, &Part::end);
  const size_t p = size_t(part - parts_.begin()), at = i - part->begin;
  return {p, chosen_[p] ? (*chosen_[p])[at] : at};
}

int64_t SampleList::length(size_t i) const {
  const auto [store, at] = find(i);
  return store->length(at);
}

Sample SampleList::operator[](size_t i) const {
  const auto [store, at] = find(i);
  return store->read(at);
}

int64_t SampleList::longest() const {
  int64_t longest = 0;
  for (size_t i = 0; i < size(); ++i) longest = std::max(longest, length(i));
  return longest;
}

int64_t SampleList::tokens() const {
  int64_t tokens = 0;
  for (size_t i = 0; i < size(); ++i) tokens += length(i);
  return tokens;
}

uint64_t SampleList::fingerprint() const {
  uint64_t hash = 0;
  for (size_t p = 0; p < parts_.size(); ++p) {
    const uint64_t own = stores_[p]->fingerprint();
    // One whole data set has the hash of its samples alone.
    hash = hash == 0 ? own : io::hash_bytes(std::as_bytes(std::span(&own, 1)), hash);
    if (chosen_[p]) hash = io::hash_bytes(std::as_bytes(std::span(*chosen_[p])), hash);
    if (parts_[p].weight == 1) continue;
    hash = io::hash_bytes(std::as_bytes(std::span(&parts_[p].weight, 1)), hash);
  }
  return hash;
}

std::pair<SampleList, SampleList> SampleList::split(const std::vector<bool>& held) const {
  std::pair<SampleList, SampleList> lists;
  for (size_t p = 0; p < parts_.size(); ++p) {
    for (const bool of_held : {true, false}) {
      std::vector<uint32_t> chosen;
      for (size_t i = parts_[p].begin; i < parts_[p].end; ++i) {
        if (held[i] == of_held) chosen.push_back(uint32_t(find(i).second));
      }
      SampleList& list = of_held ? lists.first : lists.second;
      const double weight = of_held ? 1 : parts_[p].weight;
      list.parts_.push_back({list.size(), list.size() + chosen.size(), weight});
      list.stores_.push_back(stores_[p]);
      list.chosen_.push_back(std::move(chosen));
    }
  }
  return lists;
}

}  // namespace tessera::launch
