#include "launch/text/tokenizer/tokenizer_charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

// A unit of the trie: what it is of, and where its children are.
bool has_form(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & 0x7fffffff; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000ff; }
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

/// End of the grapheme cluster that begins at `at`.
size_t grapheme_end(std::string_view text, size_t at) {
  auto point = utf8proc_int32_t(utf8_at(text, at));
  utf8proc_int32_t state = 0;
  for (at += utf8_length(text[at]); at < text.size(); at += utf8_length(text[at])) {
    const auto next = utf8proc_int32_t(utf8_at(text, at));
    if (utf8proc_grapheme_break_stateful(point, next, &state)) break;
    point = next;
  }
  return at;
}

}  // namespace

Charsmap::Charsmap(std::string_view blob, const std::string& where) : where_(where) {
  uint32_t bytes = 0;
  if (blob.size() >= 4) std::memcpy(&bytes, blob.data(), 4);
  if (bytes == 0 || bytes % 4 != 0 || bytes > blob.size() - 4) {
    fail("{}: the map of {} bytes cannot hold a trie of {}", where, blob.size(), bytes);
  }
  trie_.resize(bytes / 4);
  std::memcpy(trie_.data(), blob.data() + 4, bytes);
  forms_ = blob.substr(4 + bytes);
  if (const auto broken = find_invalid_utf8(forms_)) {
    fail("{}: the forms are not valid UTF-8 at byte {}", where, *broken);
  }
  for (size_t i = 0; i < changes_.size(); ++i) {
    const char c = char(i);
    changes_[i] = find({&c, 1}).has_value();
  }
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  const auto unit_at = [&](size_t place) {
    if (place >= trie_.size()) fail("{}: the trie is damaged at {}", where_, place);
    return trie_[place];
  };
  size_t place = offset_of(unit_at(0));
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    place ^= byte;
    const uint32_t unit = unit_at(place);
    if (label_of(unit) != byte) return std::nullopt;
    place ^= offset_of(unit);
    if (!has_form(unit)) continue;
    const size_t begin = value_of(unit_at(place));
    if (begin > forms_.size() ||
        (begin < forms_.size() && (static_cast<unsigned char>(forms_[begin]) & 0xc0) == 0x80)) {
      fail("{}: the trie points to {}, where no form begins", where_, begin);
    }
    const size_t end = std::min(forms_.find('\0', begin), forms_.size());
    return std::string_view(forms_).substr(begin, end - begin);
  }
  return std::nullopt;
}

void Charsmap::append_character(AlignedView character, AlignedText& out) const {
  if (const auto form = find(character.text)) {
    out.append(*form, character.origin[0]);
  } else {
    out.append(character);
  }
}

AlignedText Charsmap::normalize(AlignedView text) const {
  const auto ascii_at = [&](size_t at) { return static_cast<unsigned char>(text.text[at]) < 0x80; };
  AlignedText out;
  size_t at = 0;
  while (at < text.text.size()) {
    // Plain ASCII before ASCII is a cluster of its own, and mostly stays.
    size_t end = at;
    while (end < text.text.size() && ascii_at(end) && !changes_[size_t(text.text[end])] &&
           text.text[end] != '\r' && (end + 1 == text.text.size() || ascii_at(end + 1))) {
      ++end;
    }
    out.append(text.part(at, end));
    at = end;
    if (at == text.text.size()) break;
    end = grapheme_end(text.text, at);
    const AlignedView cluster = text.part(at, end);
    // The reference looks for a short cluster as a whole, and takes what its beginning becomes for
    // all of it.
    constexpr size_t kLongestCluster = 5;
    const auto form = cluster.text.size() <= kLongestCluster ? find(cluster.text)
                                                             : std::optional<std::string_view>();
    if (form) {
      out.append(*form, cluster.origin[0]);
    } else {
      for (size_t i = 0, length = 0; i < cluster.text.size(); i += length) {
        length = utf8_length(cluster.text[i]);
        append_character(cluster.part(i, i + length), out);
      }
    }
    at = end;
  }
  return out;
}

}  // namespace tessera::launch
