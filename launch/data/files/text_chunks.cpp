#include "launch/data/files/text_chunks.h"

#include <algorithm>
#include <cstring>

#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

constexpr size_t kChunkBytes = size_t{256} << 10;

/// Bytes of ASCII at the front, in steps of eight.
size_t ascii_front(std::string_view bytes) {
  size_t at = 0;
  for (uint64_t eight; at + sizeof eight <= bytes.size(); at += sizeof eight) {
    std::memcpy(&eight, bytes.data() + at, sizeof eight);
    if (eight & 0x8080808080808080u) break;
  }
  return at;
}

}  // namespace

TextChunks::TextChunks(const std::string& path)
    : path_(path), bytes_(open_bytes(path)), buffer_(kChunkBytes) {
  raw_.assign(buffer_.data(), bytes_->read(buffer_));
  refuse_other_formats(raw_, path_);
  encoding_ = encoding_of(raw_, path_);
  const bool mark = raw_.starts_with("\xff\xfe") || raw_.starts_with("\xfe\xff");
  if (encoding_ != TextEncoding::kUtf8 && mark) raw_.erase(0, 2);
  if (raw_.starts_with(kByteOrderMark)) raw_.erase(0, kByteOrderMark.size());
}

std::string_view TextChunks::peek() {
  while (taken_ == text_.size() && !ended_) fill();
  return std::string_view(text_).substr(taken_);
}

void TextChunks::fill() {
  lines_ += std::ranges::count(text_, '\n');
  text_.clear();
  taken_ = 0;
  // The first chunk was read when the file was opened. Later, raw_ holds a part of one letter.
  if (raw_.size() < 4) {
    const size_t count = bytes_->read(buffer_);
    raw_.append(buffer_.data(), count);
    ended_ = count == 0;
  }
  if (encoding_ == TextEncoding::kUtf8) {
    take_utf8();
  } else {
    take_utf16(encoding_ == TextEncoding::kUtf16Little);
  }
  refuse_nul();
  if (ended_ && !raw_.empty()) refuse_at(text_.size(), "the text ends inside a letter");
}

void TextChunks::take_utf8() {
  const std::string_view bytes = raw_;
  size_t at = 0;
  Utf8Front front;
  while (at < bytes.size()) {
    at += ascii_front(bytes.substr(at));
    if (at == bytes.size()) break;
    front = utf8_front(bytes.substr(at));
    if (front.kind != Utf8Front::Kind::kPoint) break;
    at += front.length;
  }
  text_.assign(raw_, 0, at);
  if (front.kind == Utf8Front::Kind::kBroken) {
    refuse_at(at, "this is not valid UTF-8; save the file as UTF-8");
  }
  raw_.erase(0, at);
}

void TextChunks::take_utf16(bool little) {
  const auto unit = [&](size_t at) {
    const auto low = static_cast<unsigned char>(raw_[at + (little ? 0 : 1)]);
    const auto high = static_cast<unsigned char>(raw_[at + (little ? 1 : 0)]);
    return char32_t(high << 8 | low);
  };
  const auto is_high = [](char32_t point) { return point >= 0xd800 && point < 0xdc00; };
  const auto is_low = [](char32_t point) { return point >= 0xdc00 && point < 0xe000; };
  size_t at = 0;
  while (at + 2 <= raw_.size()) {
    char32_t point = unit(at);
    if (is_high(point)) {
      if (at + 4 > raw_.size()) break;
      const char32_t second = unit(at + 2);
      if (!is_low(second))
        refuse_at(text_.size(),
                  "this is not valid UTF-16 (half of a surrogate pair); save the file as UTF-8");
      point = 0x10000 + ((point - 0xd800) << 10) + (second - 0xdc00);
      at += 2;
    } else if (is_low(point)) {
      refuse_at(text_.size(),
                "this is not valid UTF-16 (half of a surrogate pair); save the file as UTF-8");
    }
    append_utf8(text_, point);
    at += 2;
  }
  raw_.erase(0, at);
}

void TextChunks::refuse_nul() const {
  const size_t zero = text_.find('\0');
  if (zero != text_.npos) refuse_at(zero, "a NUL byte, which no text has");
}

void TextChunks::refuse_at(size_t offset, std::string_view fault) const {
  const auto line = 1 + lines_ + std::count(text_.begin(), text_.begin() + int64_t(offset), '\n');
  fail("{}:{}: {}", path_, line, fault);
}

}  // namespace tessera::launch
