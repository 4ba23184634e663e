#include "launch/text/tokenizer/bpe.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "launch/text/tokenizer/byte_stand_ins.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

uint64_t pair_of(int32_t left, int32_t right) {
  return uint64_t(uint32_t(left)) << 32 | uint32_t(right);
}

uint64_t mix(uint64_t key) {  // the finalizer of MurmurHash3
  key = (key ^ key >> 33) * 0xff51afd7ed558ccdULL;
  key = (key ^ key >> 33) * 0xc4ceb9fe1a85ec53ULL;
  return key ^ key >> 33;
}

bool later(const Bpe::Scratch::Candidate& a, const Bpe::Scratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
         BpeOptions options, const std::string& source)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  static std::atomic<uint64_t> models = 0;
  cache_key_ = ++models;
  if (options_.unk_token) unk_id_ = find(*options_.unk_token);
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[size_t(byte)] = options_.byte_level ? find(byte_stand_in(uint8_t(byte)))
                                                  : find(fmt::format("<0x{:02X}>", byte));
  }
  index_merges(merges, source);
}

void Bpe::index_merges(const std::vector<std::pair<std::string, std::string>>& merges,
                       const std::string& source) {
  merges_.resize(std::bit_ceil(merges.size() * 2 + 2));
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string& left = merges[rank].first;
    const std::string& right = merges[rank].second;
    const auto id_of = [&](const std::string& token) {
      const auto id = find(token);
      if (!id) {
        fail("{}: merge {} ('{}' and '{}') needs the token '{}', which is not in the vocabulary",
             source, rank, io::printable(left), io::printable(right), io::printable(token));
      }
      return *id;
    };
    const uint64_t pair = pair_of(id_of(left), id_of(right));
    if (right.size() < options_.prefix.size()) {
      fail("{}: merge {} ('{}' and '{}') lacks the prefix '{}' on its right", source, rank,
           io::printable(left), io::printable(right), io::printable(options_.prefix));
    }
    // Of a pair listed twice the later rank holds, as in the reference.
    merges_[slot_of(pair)] = {pair, uint32_t(rank),
                              id_of(left + right.substr(options_.prefix.size()))};
  }
}

size_t Bpe::slot_of(uint64_t pair) const {
  const size_t mask = merges_.size() - 1;
  size_t at = mix(pair) & mask;
  while (merges_[at].pair != pair && merges_[at].pair != kEmpty) at = (at + 1) & mask;
  return at;
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const Merge& merge = merges_[slot_of(pair_of(left, right))];
  return merge.pair == kEmpty ? nullptr : &merge;
}

void Bpe::encode(AlignedView word, Scratch& scratch, Encoding& out) const {
  if (word.text.empty() || scratch.cache.take(cache_key_, word, out)) return;
  scratch.tokens.clear();
  const auto whole = options_.ignore_merges ? find_whole(word.text, scratch) : std::nullopt;
  if (whole) {
    scratch.tokens.push_back({*whole, 0});
  } else {
    split_into_symbols(word.text, scratch);
    merge_symbols(scratch);
    for (const Scratch::Symbol& symbol : scratch.symbols) {
      if (!symbol.gone) scratch.tokens.push_back({symbol.id, symbol.begin});
    }
  }
  for (const BpeCache::Token& token : scratch.tokens) {
    out.ids.push_back(token.id);
    out.begins.push_back(word.origin[token.begin]);
  }
  scratch.cache.keep(cache_key_, word.text, scratch.tokens);
}

std::optional<int32_t> Bpe::find_whole(std::string_view word, Scratch& scratch) const {
  if (!options_.byte_level) return find(word);
  scratch.spelling.clear();
  for (char c : word) scratch.spelling += byte_stand_in(uint8_t(c));
  return find(scratch.spelling);
}

std::optional<int32_t> Bpe::find_character(std::string_view word, size_t at, size_t length,
                                           Scratch& scratch) const {
  if (options_.byte_level) return byte_ids_[uint8_t(word[at])];
  scratch.spelling.clear();
  if (at > 0) scratch.spelling += options_.prefix;
  scratch.spelling += word.substr(at, length);
  if (at + length == word.size()) scratch.spelling += options_.suffix;
  return find(scratch.spelling);
}

int32_t Bpe::unknown(std::string_view character) const {
  if (unk_id_) return *unk_id_;
  fail(
      "the character '{}' is no token, and the tokenizer's unknown token '{}' is not in its "
      "vocabulary",
      character, io::printable(*options_.unk_token));
}

void Bpe::split_into_symbols(std::string_view word, Scratch& scratch) const {
  scratch.symbols.clear();
  const auto add = [&](int32_t id, size_t begin) {
    const auto index = int32_t(scratch.symbols.size());
    // An unknown token may come behind bytes of later characters. Where tokens begin never falls.
    if (index > 0) begin = std::max(begin, size_t(scratch.symbols.back().begin));
    scratch.symbols.push_back({id, int32_t(begin), index - 1, index + 1, false});
  };
  // An unknown token is held back until a known one follows it. Fallback bytes do not end the
  // wait, as in the reference.
  std::optional<size_t> unknown_from;
  size_t length = 0;
  for (size_t at = 0; at < word.size(); at += length) {
    length = options_.byte_level ? 1 : utf8_length(word[at]);
    if (const auto id = find_character(word, at, length, scratch)) {
      if (unknown_from) add(*unk_id_, *unknown_from);
      unknown_from.reset();
      add(*id, at);
      continue;
    }
    // The bytes are those of the character as it was looked for, prefix and suffix included.
    const std::string& spelling = scratch.spelling;
    const auto known = [&](char byte) { return byte_ids_[uint8_t(byte)].has_value(); };
    if (options_.byte_fallback && std::all_of(spelling.begin(), spelling.end(), known)) {
      for (size_t i = 0; i < spelling.size(); ++i) {
        add(*byte_ids_[uint8_t(spelling[i])], at + std::min(i, length - 1));
      }
      continue;
    }
    if (!options_.unk_token) continue;
    const int32_t unknown_id = unknown(word.substr(at, length));
    if (unknown_from && !options_.fuse_unk) {
      add(unknown_id, *unknown_from);
      unknown_from.reset();
    }
    if (!unknown_from) unknown_from = at;
  }
  if (unknown_from) add(*unk_id_, *unknown_from);
  if (!scratch.symbols.empty()) scratch.symbols.back().next = -1;
}

void Bpe::push_candidate(Scratch& scratch, int32_t position) const {
  const auto& symbols = scratch.symbols;
  if (position < 0 || symbols[size_t(position)].next < 0) return;
  const auto& left = symbols[size_t(position)];
  const Merge* merge = find_merge(left.id, symbols[size_t(left.next)].id);
  if (!merge) return;
  ++scratch.pushes;
  scratch.heap.push_back({merge->rank, position, merge->id});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), later);
}

void Bpe::merge_symbols(Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  scratch.heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) push_candidate(scratch, int32_t(i));
  while (!scratch.heap.empty()) {
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), later);
    const Scratch::Candidate best = scratch.heap.back();
    scratch.heap.pop_back();
    auto& left = symbols[size_t(best.position)];
    if (left.gone || left.next < 0) continue;
    auto& right = symbols[size_t(left.next)];
    // A neighbour may have changed since; then the pair was entered again in its new form.
    const Merge* merge = find_merge(left.id, right.id);
    if (!merge || merge->id != best.id) continue;
    left.id = best.id;
    left.next = right.next;
    right.gone = true;
    if (right.next >= 0) symbols[size_t(right.next)].previous = best.position;
    push_candidate(scratch, left.previous);
    push_candidate(scratch, best.position);
  }
}

}  // namespace tessera::launch
