#include "launch/text/tokenizer/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <unordered_map>

#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

/// Reads the fields of one message of a protocol buffer, one after another.
class Message {
 public:
  Message(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  /// Goes to the next field; false at the end. Its value has to be taken or skipped.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const uint64_t key = varint();
    field_ = key >> 3;
    wire_ = Wire(key & 7);
    if (field_ == 0 || field_ > kLargestField) damaged();
    return true;
  }
  uint64_t field() const { return field_; }

  /// A whole number: protocol buffers keep negative ones as 64 bits.
  int32_t integer() {
    require(Wire::kVarint);
    return int32_t(uint32_t(varint()));
  }
  bool boolean() {
    require(Wire::kVarint);
    return varint() != 0;
  }
  float real() {
    require(Wire::kFixed32);
    const std::string_view four = take(4);
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) bits |= uint32_t(uint8_t(four[i])) << (8 * i);
    return std::bit_cast<float>(bits);
  }
  std::string_view bytes() {
    require(Wire::kBytes);
    return take(varint());
  }
  Message message() { return {bytes(), source_}; }
  void skip() {
    if (wire_ == Wire::kVarint) {
      varint();
    } else if (wire_ == Wire::kFixed64) {
      take(8);
    } else if (wire_ == Wire::kBytes) {
      take(varint());
    } else if (wire_ == Wire::kFixed32) {
      take(4);
    } else {
      damaged();  // groups, which no such file has
    }
  }

 private:
  enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  static constexpr uint64_t kLargestField = (1u << 29) - 1;

  [[noreturn]] void damaged() const {
    fail("{}: not a SentencePiece model, or damaged: field {} cannot be read", source_, field_);
  }
  void require(Wire wire) const {
    if (wire_ != wire) damaged();
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) damaged();
    const std::string_view taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = uint8_t(take(1)[0]);
      value |= uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    damaged();
  }

  std::string_view bytes_;
  const std::string& source_;
  size_t at_ = 0;
  uint64_t field_ = 0;
  Wire wire_ = Wire::kVarint;
};

SentencePiece read_piece(Message message, size_t id, const std::string& source) {
  SentencePiece piece;
  while (message.next()) {
    switch (message.field()) {
      case 1:
        piece.text = message.bytes();
        break;
      case 2:
        piece.score = message.real();
        break;
      case 3: {
        const int32_t type = message.integer();
        if (type < int32_t(PieceType::kNormal) || type > int32_t(PieceType::kByte)) {
          fail("{}: piece {} has the unknown type {}", source, id, type);
        }
        piece.type = PieceType(type);
        break;
      }
      default:
        message.skip();
    }
  }
  if (piece.text.empty() || piece.text.size() > SentencePieceModel::kLongestPiece) {
    fail("{}: piece {} has {} bytes; a piece has 1 to {}", source, id, piece.text.size(),
         SentencePieceModel::kLongestPiece);
  }
  if (find_invalid_utf8(piece.text)) fail("{}: piece {} is not valid UTF-8", source, id);
  if (!std::isfinite(piece.score)) fail("{}: the score of piece {} is not finite", source, id);
  return piece;
}

void read_trainer(Message message, SentencePieceModel& model, const std::string& source) {
  while (message.next()) {
    switch (message.field()) {
      case 3: {
        const int32_t kind = message.integer();
        if (kind < int32_t(SentencePieceKind::kUnigram) ||
            kind > int32_t(SentencePieceKind::kChar)) {
          fail("{}: the model type {} is unknown", source, kind);
        }
        model.kind = SentencePieceKind(kind);
        break;
      }
      case 24:
        model.whitespace_as_suffix = message.boolean();
        break;
      case 35:
        model.byte_fallback = message.boolean();
        break;
      case 40:
        model.unk_id = message.integer();
        break;
      case 41:
        model.bos_id = message.integer();
        break;
      case 42:
        model.eos_id = message.integer();
        break;
      case 43:
        model.pad_id = message.integer();
        break;
      case 45:
        model.unk_piece = message.bytes();
        break;
      case 46:
        model.bos_piece = message.bytes();
        break;
      case 47:
        model.eos_piece = message.bytes();
        break;
      case 48:
        model.pad_piece = message.bytes();
        break;
      default:
        message.skip();
    }
  }
}

void read_normalizer(Message message, SentencePieceModel& model) {
  while (message.next()) {
    switch (message.field()) {
      case 2:
        model.charsmap = message.bytes();
        break;
      case 3:
        model.add_dummy_prefix = message.boolean();
        break;
      case 4:
        model.remove_extra_whitespaces = message.boolean();
        break;
      case 5:
        model.escape_whitespaces = message.boolean();
        break;
      default:
        message.skip();
    }
  }
}

/// What SentencePiece itself requires of a model.
void check(const SentencePieceModel& model, const std::string& source) {
  std::unordered_map<std::string_view, size_t> ids;
  size_t unknown = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    const auto [known, is_new] = ids.emplace(piece.text, id);
    if (!is_new) {
      fail("{}: the pieces {} and {} are both '{}'", source, known->second, id,
           io::printable(piece.text));
    }
    unknown += piece.type == PieceType::kUnknown;
    if (piece.type == PieceType::kUnknown && id != size_t(model.unk_id)) {
      fail("{}: piece {} is the unknown one, but unk_id is {}", source, id, model.unk_id);
    }
  }
  if (unknown != 1) fail("{}: exactly one piece has to be unknown, not {}", source, unknown);
  for (const std::string* name :
       {&model.unk_piece, &model.bos_piece, &model.eos_piece, &model.pad_piece}) {
    if (find_invalid_utf8(*name)) fail("{}: a special piece's name is not valid UTF-8", source);
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& source) {
  SentencePieceModel model;
  Message message(bytes, source);
  while (message.next()) {
    switch (message.field()) {
      case 1:
        model.pieces.push_back(read_piece(message.message(), model.pieces.size(), source));
        break;
      case 2:
        read_trainer(message.message(), model, source);
        break;
      case 3:
        read_normalizer(message.message(), model);
        break;
      default:
        message.skip();
    }
  }
  check(model, source);
  return model;
}

bool is_sentencepiece_model(std::string_view bytes) {
  // Field 1 of the wire type "bytes", and in it, after its length, the same again: the piece's
  // text.
  constexpr char kPieces = 0x0a;
  return bytes.size() > 2 && bytes[0] == kPieces && bytes[2] == kPieces;
}

}  // namespace tessera::launch
