#include "runtime/io/gguf.h"

#include <bit>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/io/checked.h"
#include "runtime/io/gguf_cursor.h"
#include "runtime/io/gguf_split.h"
#include "runtime/io/pickle.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

constexpr uint64_t kMaxPairs = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 16;
constexpr uint64_t kMaxElements = 1 << 24;  // of one metadata array
constexpr uint64_t kMaxKey = 65535;
constexpr uint64_t kMaxTensorName = 63;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr std::string_view kAlignmentKey = "general.alignment";

bool take_boolean(GgufCursor& cursor, std::string_view path, std::string_view key) {
  const auto byte = cursor.number<uint8_t>(key);
  if (byte > 1) fail("{}: metadata '{}' is the boolean {}, not 0 or 1", path, key, byte);
  return byte == 1;
}

}  // namespace

class GgufFile::Parser {
 public:
  Parser(GgufFile& gguf, const ReadFile& file) : gguf_(gguf), file_(file), cursor_(file, 0) {}

  void parse() {
    header();
    for (uint64_t i = 0; i < pairs_; ++i) pair();
    read_alignment();
    for (uint64_t i = 0; i < tensors_; ++i) tensor();
    place();
  }

 private:
  const std::string& path() const { return file_.path(); }

  void header() {
    char magic[4] = {};
    if (file_.size() >= sizeof magic) file_.read(0, std::as_writable_bytes(std::span(magic)));
    if (std::string_view(magic, sizeof magic) != "GGUF") {
      if (is_pickle(std::string_view(magic, sizeof magic))) refuse_pickle(path());
      fail("{}: does not begin with 'GGUF'; not a GGUF file", path());
    }
    cursor_.skip(sizeof magic, "the magic");
    const auto version = cursor_.number<uint32_t>("the version");
    if (version != 2 && version != 3) {
      if (version != 0 && (version & 0xffffu) == 0)
        fail("{}: a big-endian GGUF file, which is not supported", path());
      fail("{}: GGUF version {}; versions 2 and 3 are supported", path(), version);
    }
    tensors_ = count(kMaxTensors, "tensors");
    pairs_ = count(kMaxPairs, "metadata values");
  }
  uint64_t count(uint64_t max, std::string_view what) {
    const auto n = cursor_.number<uint64_t>("the header");
    if (n > max) fail("{}: claims {} {}, at most {} are allowed", path(), n, what, max);
    return n;
  }

  void pair() {
    std::string key = cursor_.text(kMaxKey, "a metadata key");
    if (key.empty() || has_control_characters(key)) {
      fail("{}: a metadata key is empty or has control characters: '{}'", path(), printable(key));
    }
    Value value{.type = value_type(key), .is_array = false, .count = 1, .offset = 0};
    if (value.type == GgufValueType::kArray) {
      value.is_array = true;
      value.type = value_type(key);
      if (value.type == GgufValueType::kArray) {
        fail("{}: '{}' is an array of arrays, which is not supported", path(), printable(key));
      }
      value.count = cursor_.number<uint64_t>(key);
      if (value.count > kMaxElements) {
        fail("{}: '{}' claims {} elements, at most {} are allowed", path(), printable(key),
             value.count, kMaxElements);
      }
    }
    value.offset = cursor_.position();
    if (value.type == GgufValueType::kString) {
      for (uint64_t i = 0; i < value.count; ++i) cursor_.skip_text(key);
    } else {
      cursor_.skip(Checked(value.count) * size_of(value.type), key);
    }
    const auto [place, is_new] = gguf_.values_.emplace(std::move(key), value);
    if (!is_new) fail("{}: metadata key '{}' appears twice", path(), printable(place->first));
  }
  GgufValueType value_type(const std::string& key) {
    const auto type = cursor_.number<uint32_t>(key);
    if (type > uint32_t(GgufValueType::kF64)) {
      fail("{}: '{}' has the unknown value type {}", path(), printable(key), type);
    }
    return GgufValueType(type);
  }

  void read_alignment() {
    if (!gguf_.has(kAlignmentKey)) return;
    const Value& value = gguf_.values_.find(kAlignmentKey)->second;
    if (value.is_array || value.type != GgufValueType::kU32) {
      fail("{}: {} is not of type uint32", path(), kAlignmentKey);
    }
    alignment_ = GgufCursor(file_, value.offset).number<uint32_t>(kAlignmentKey);
    if (!std::has_single_bit(alignment_) || alignment_ > kMaxAlignment) {
      fail("{}: {} is {}, not a power of two up to {}", path(), kAlignmentKey, alignment_,
           kMaxAlignment);
    }
  }

  void tensor() {
    GgufTensor tensor;
    tensor.name = cursor_.text(kMaxTensorName, "a tensor name");
    const std::string& name = tensor.name;
    if (name.empty() || has_control_characters(name)) {
      fail("{}: a tensor name is empty or has control characters: '{}'", path(), printable(name));
    }
    const auto dims = cursor_.number<uint32_t>(name);
    if (dims > kMaxDims) {
      fail("{}: tensor '{}' has {} dimensions, at most {} are allowed", path(), printable(name),
           dims, kMaxDims);
    }
    Checked elements = 1;
    for (uint32_t i = 0; i < dims; ++i) {
      const auto extent = cursor_.number<uint64_t>(name);
      elements = elements * extent;
      if (extent == 0 || !elements.fits(INT64_MAX)) {
        fail("{}: tensor '{}' has a dimension of {}: zero, or too large", path(), printable(name),
             extent);
      }
      tensor.shape.insert(tensor.shape.begin(), int64_t(extent));
    }
    tensor.type = GgufType(cursor_.number<uint32_t>(name));
    const GgufBlock block = block_of(tensor.type);
    if (block.name.empty()) {
      fail("{}: tensor '{}' has the unknown type {}", path(), printable(name),
           uint32_t(tensor.type));
    }
    const uint64_t row = tensor.shape.empty() ? 1 : uint64_t(tensor.shape.back());
    if (row % block.elements != 0) {
      fail("{}: tensor '{}' has rows of {}, not a multiple of the {} elements of a {} block",
           path(), printable(name), row, block.elements, block.name);
    }
    const Checked bytes = Checked(elements.value() / block.elements) * block.bytes;
    if (!bytes.fits(file_.size())) {
      fail("{}: tensor '{}' needs more bytes than the file has; it is cut short", path(),
           printable(name));
    }
    tensor.bytes = bytes.value();
    tensor.offset = cursor_.number<uint64_t>(name);  // from the start of the data, for now
    gguf_.tensors_.push_back(std::move(tensor));
  }

  /// Each tensor begins at the aligned end of the one before, and the file ends with the last one
  /// or with its padding.
  void place() {
    const Checked data = Checked(cursor_.position()).round_up(alignment_);
    Checked end = gguf_.tensors_.empty() ? Checked(cursor_.position()) : data;
    for (GgufTensor& tensor : gguf_.tensors_) {
      const Checked begin = data + tensor.offset;
      const Checked expected = end.round_up(alignment_);
      if (!begin.valid() || !expected.valid() || begin.value() != expected.value()) {
        fail("{}: tensor '{}' begins at byte {} of the data, not where the one before ends", path(),
             printable(tensor.name), tensor.offset);
      }
      end = begin + tensor.bytes;
      if (!end.fits(file_.size())) {
        fail("{}: tensor '{}' ends beyond the file, which has {} bytes; it is cut short", path(),
             printable(tensor.name), file_.size());
      }
      tensor.offset = begin.value();
    }
    const Checked padded = end.round_up(alignment_);
    if (padded.valid() && file_.size() > padded.value()) {
      fail("{}: {} bytes follow the last tensor", path(), file_.size() - padded.value());
    }
    for (size_t i = 0; i < gguf_.tensors_.size(); ++i) {
      const std::string& name = gguf_.tensors_[i].name;
      if (!gguf_.index_.emplace(name, i).second) {
        fail("{}: tensor '{}' appears twice", path(), printable(name));
      }
    }
  }

  GgufFile& gguf_;
  const ReadFile& file_;
  GgufCursor cursor_;
  uint64_t tensors_ = 0;
  uint64_t pairs_ = 0;
  uint32_t alignment_ = 32;
};

GgufFile::GgufFile(OnePart, ReadFile file) {
  files_.push_back(std::move(file));
  Parser(*this, files_.front()).parse();
}

GgufFile::GgufFile(ReadFile file) : GgufFile(OnePart{}, std::move(file)) {
  if (has(kSplitCount) && integer(kSplitCount) > 1) *this = joined(*this);
}

bool GgufFile::has(std::string_view key) const { return values_.contains(key); }

bool GgufFile::is_array(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.is_array;
}

std::vector<std::string> GgufFile::keys() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : values_) names.push_back(key);
  return names;
}

const GgufFile::Value& GgufFile::value(std::string_view key, bool is_array,
                                       std::string_view wanted) const {
  const auto found = values_.find(key);
  if (found == values_.end()) fail("{}: metadata '{}' is missing", path(), key);
  if (found->second.is_array != is_array) fail("{}: metadata '{}' is not {}", path(), key, wanted);
  return found->second;
}

std::string GgufFile::string(std::string_view key) const {
  const Value& found = value(key, false, "a string");
  if (found.type != GgufValueType::kString) fail("{}: metadata '{}' is not a string", path(), key);
  return GgufCursor(files_.front(), found.offset).text(GgufCursor::kMaxString, key);
}

int64_t GgufFile::integer(std::string_view key) const {
  const Value& found = value(key, false, "an integer");
  GgufCursor cursor(files_.front(), found.offset);
  const GgufNumber number = take_number(cursor, found.type, key);
  if (!number.is_integer) fail("{}: metadata '{}' is not an integer", path(), key);
  return number.integer;
}

double GgufFile::real(std::string_view key) const {
  const Value& found = value(key, false, "a number");
  GgufCursor cursor(files_.front(), found.offset);
  const GgufNumber number = take_number(cursor, found.type, key);
  if (!number.is_real) fail("{}: metadata '{}' is not a number", path(), key);
  return number.real;
}

bool GgufFile::boolean(std::string_view key) const {
  const Value& found = value(key, false, "a boolean");
  if (found.type != GgufValueType::kBool) fail("{}: metadata '{}' is not a boolean", path(), key);
  GgufCursor cursor(files_.front(), found.offset);
  return take_boolean(cursor, path(), key);
}

std::vector<std::string> GgufFile::strings(std::string_view key) const {
  const Value& found = value(key, true, "an array of strings");
  if (found.type != GgufValueType::kString) {
    fail("{}: metadata '{}' is not an array of strings", path(), key);
  }
  GgufCursor cursor(files_.front(), found.offset);
  std::vector<std::string> texts(found.count);
  for (std::string& text : texts) text = cursor.text(GgufCursor::kMaxString, key);
  return texts;
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  const Value& found = value(key, true, "an array of integers");
  GgufCursor cursor(files_.front(), found.offset);
  std::vector<int64_t> numbers(found.count);
  for (int64_t& out : numbers) {
    const GgufNumber number = take_number(cursor, found.type, key);
    if (!number.is_integer) {
      fail("{}: metadata '{}' is not an array of integers", path(), key);
    }
    out = number.integer;
  }
  return numbers;
}

std::vector<double> GgufFile::reals(std::string_view key) const {
  const Value& found = value(key, true, "an array of numbers");
  GgufCursor cursor(files_.front(), found.offset);
  std::vector<double> numbers(found.count);
  for (double& out : numbers) {
    const GgufNumber number = take_number(cursor, found.type, key);
    if (!number.is_real) fail("{}: metadata '{}' is not an array of numbers", path(), key);
    out = number.real;
  }
  return numbers;
}

std::vector<bool> GgufFile::booleans(std::string_view key) const {
  const Value& found = value(key, true, "an array of booleans");
  GgufCursor cursor(files_.front(), found.offset);
  std::vector<bool> values(found.count);
  for (size_t i = 0; i < values.size(); ++i) {
    if (found.type == GgufValueType::kBool) {
      values[i] = take_boolean(cursor, path(), key);
      continue;
    }
    const GgufNumber number = take_number(cursor, found.type, key);
    if (!number.is_integer) fail("{}: metadata '{}' is not an array of booleans", path(), key);
    values[i] = number.integer != 0;
  }
  return values;
}

uint64_t GgufFile::count(std::string_view key) const { return value(key, true, "an array").count; }

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void GgufFile::read(const GgufTensor& tensor, std::span<std::byte> out) const {
  TESSERA_CHECK(out.size() == tensor.bytes);
  read(tensor, 0, out);
}

void GgufFile::read(const GgufTensor& tensor, uint64_t begin, std::span<std::byte> out) const {
  TESSERA_CHECK(begin <= tensor.bytes && out.size() <= tensor.bytes - begin);
  files_[tensor.part].read(tensor.offset + begin, out);
}

}  // namespace tessera::io
