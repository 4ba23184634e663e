#include "runtime/io/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_set>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/io/checked.h"
#include "runtime/io/json.h"
#include "runtime/io/pickle.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr size_t kMaxTensors = 1'000'000;
constexpr size_t kMaxDims = 8;
constexpr size_t kMaxName = 1024;
constexpr std::string_view kMetadata = "__metadata__";

struct DtypeInfo {
  std::string_view name;
  int bits;
  std::optional<DType> type = std::nullopt;  // Tessera's
};
// In the order by which the reference writer sorts, narrow before wide.
constexpr std::array<DtypeInfo, 22> kDtypes{{{"BOOL", 8},
                                             {"F4", 4},
                                             {"F6_E2M3", 6},
                                             {"F6_E3M2", 6},
                                             {"U8", 8, DType::kU8},
                                             {"I8", 8},
                                             {"F8_E5M2", 8},
                                             {"F8_E4M3", 8},
                                             {"F8_E8M0", 8},
                                             {"F8_E4M3FNUZ", 8},
                                             {"F8_E5M2FNUZ", 8},
                                             {"I16", 16},
                                             {"U16", 16},
                                             {"F16", 16, DType::kF16},
                                             {"BF16", 16, DType::kBF16},
                                             {"I32", 32, DType::kI32},
                                             {"U32", 32},
                                             {"F32", 32, DType::kF32},
                                             {"C64", 64},
                                             {"F64", 64},
                                             {"I64", 64, DType::kI64},
                                             {"U64", 64}}};

/// Its place in the table; behind the last for a name that the format does not know.
size_t rank_of(std::string_view dtype) {
  return size_t(std::ranges::find(kDtypes, dtype, &DtypeInfo::name) - kDtypes.begin());
}

/// Of one element; 0 for a name that the format does not know.
int bits_of(std::string_view dtype) {
  const size_t rank = rank_of(dtype);
  return rank < kDtypes.size() ? kDtypes[rank].bits : 0;
}

/// Size of the data, or nothing when it does not fit or is not whole bytes. Zero dims are applied
/// last, so that the order of the dims does not decide whether a product overflows.
std::optional<uint64_t> bytes_of(const SafetensorsEntry& entry) {
  Checked bits = uint64_t(bits_of(entry.dtype));
  bool empty = false;
  for (const int64_t extent : entry.shape) {
    if (extent == 0) {
      empty = true;
    } else {
      bits = bits * uint64_t(extent);
    }
  }
  if (!bits.fits(uint64_t{1} << 62)) return std::nullopt;
  if (empty) return 0;
  if (bits.value() % 8 != 0) return std::nullopt;
  return bits.value() / 8;
}

/// Collects the header without building a tree, refusing what the format does not define.
class HeaderEvents : public JsonEvents {
 public:
  using JsonEvents::JsonEvents;

  std::vector<SafetensorsEntry> entries;  // offset still counts from the data's start
  std::map<std::string, std::string> metadata;

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override {
    unexpected(fmt::format("the number {}", printable(text)));
  }
  bool number_integer(number_integer_t number) override {
    if (number >= 0) return number_unsigned(number_unsigned_t(number));
    unexpected(fmt::format("the negative number {}", number));
  }
  bool number_unsigned(number_unsigned_t number) override {
    if (state_ == State::kShape) {
      if (number > uint64_t{INT64_MAX}) wrong("a dimension of {} is too large", number);
      if (entry_.shape.size() == kMaxDims) wrong("more than {} dimensions", kMaxDims);
      entry_.shape.push_back(int64_t(number));
      return true;
    }
    if (state_ != State::kOffsets) unexpected(fmt::format("the number {}", number));
    if (offsets_.size() == 2) wrong("data_offsets has more than two numbers");
    offsets_.push_back(number);
    return true;
  }
  bool string(string_t& text) override {
    if (state_ == State::kMetadataValue) {
      metadata[name_] = std::move(text);
      state_ = State::kMetadata;
      return true;
    }
    if (state_ != State::kDtype) unexpected("a string");
    if (bits_of(text) == 0) wrong("unknown dtype '{}'", printable(text));
    entry_.dtype = std::move(text);
    state_ = State::kEntry;
    return true;
  }
  bool start_object(size_t) override {
    if (state_ == State::kStart) {
      state_ = State::kRoot;
    } else if (state_ == State::kRootValue) {
      state_ = name_ == kMetadata ? State::kMetadata : State::kEntry;
    } else {
      unexpected("an object");
    }
    return true;
  }
  bool start_array(size_t) override {
    if (state_ == State::kShapeStart) {
      state_ = State::kShape;
    } else if (state_ == State::kOffsetsStart) {
      state_ = State::kOffsets;
    } else {
      unexpected("an array");
    }
    return true;
  }
  bool end_array() override {
    state_ = State::kEntry;
    return true;
  }
  bool end_object() override {
    if (state_ == State::kEntry) finish_entry();
    state_ = State::kRoot;
    return true;
  }
  bool key(string_t& text) override {
    if (state_ == State::kRoot) return root_key(text);
    if (state_ != State::kMetadata) return entry_key(text);
    if (metadata.contains(text)) {
      fail("{}: __metadata__ holds '{}' twice", source(), printable(text));
    }
    name_ = std::move(text);
    state_ = State::kMetadataValue;
    return true;
  }

 private:
  enum class State {
    kStart,
    kRoot,
    kRootValue,
    kMetadata,
    kMetadataValue,
    kEntry,
    kDtype,
    kShapeStart,
    kShape,
    kOffsetsStart,
    kOffsets,
  };
  enum Field : unsigned { kHasDtype = 1, kHasShape = 2, kHasOffsets = 4, kHasAll = 7 };

  template <class... Args>
  [[noreturn]] void wrong(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: tensor '{}': {}", source(), printable(entry_.name),
         fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void unexpected(const std::string& what) const {
    if (state_ == State::kStart) fail("{}: the header is not a JSON object", source());
    if (state_ == State::kMetadataValue || name_ == kMetadata) {
      fail("{}: __metadata__ may hold strings only, found {}", source(), what);
    }
    fail(
        "{}: tensor '{}': found {}, expected dtype (a string), shape (integers from 0) and "
        "data_offsets (two integers from 0)",
        source(), printable(name_), what);
  }

  bool root_key(string_t& text) {
    if (text.empty() || text.size() > kMaxName || has_control_characters(text)) {
      fail("{}: bad tensor name '{}': it is empty, longer than {} bytes or has control characters",
           source(), printable(text), kMaxName);
    }
    if (!names_.insert(text).second) {
      fail("{}: tensor '{}' appears twice", source(), printable(text));
    }
    if (entries.size() == kMaxTensors) fail("{}: more than {} tensors", source(), kMaxTensors);
    name_ = text;
    entry_ = {};
    entry_.name = std::move(text);
    offsets_.clear();
    fields_ = 0;
    state_ = State::kRootValue;
    return true;
  }
  bool entry_key(const string_t& text) {
    unsigned field = 0;
    if (text == "dtype") {
      field = kHasDtype;
      state_ = State::kDtype;
    } else if (text == "shape") {
      field = kHasShape;
      state_ = State::kShapeStart;
    } else if (text == "data_offsets") {
      field = kHasOffsets;
      state_ = State::kOffsetsStart;
    } else {
      wrong("unknown field '{}'", printable(text));
    }
    if (fields_ & field) wrong("field '{}' appears twice", text);
    fields_ |= field;
    return true;
  }
  void finish_entry() {
    if (fields_ != kHasAll) wrong("dtype, shape or data_offsets is missing");
    if (offsets_.size() != 2) wrong("data_offsets has {} numbers, not two", offsets_.size());
    if (offsets_[0] > offsets_[1]) {
      wrong("data_offsets end at {}, before they begin at {}", offsets_[1], offsets_[0]);
    }
    const std::optional<uint64_t> bytes = bytes_of(entry_);
    if (!bytes) wrong("its size is not a whole number of bytes below 2^59");
    if (*bytes != offsets_[1] - offsets_[0]) {
      wrong("its shape and dtype {} need {} bytes, data_offsets give {}", entry_.dtype, *bytes,
            offsets_[1] - offsets_[0]);
    }
    entry_.offset = offsets_[0];
    entry_.bytes = *bytes;
    entries.push_back(std::move(entry_));
  }

  State state_ = State::kStart;
  std::string name_;  // the key whose value is being read
  SafetensorsEntry entry_;
  std::vector<uint64_t> offsets_;
  unsigned fields_ = 0;
  std::unordered_set<std::string> names_;
};

std::string read_header(const ReadFile& file) {
  const std::string& path = file.path();
  if (file.size() < 8) fail("{}: {} bytes are no safetensors file", path, file.size());
  std::array<std::byte, 8> first;
  file.read(0, first);
  uint64_t length = 0;
  for (size_t i = 0; i < first.size(); ++i) length |= uint64_t(first[i]) << (8 * i);
  const std::string_view magic(reinterpret_cast<const char*>(first.data()), first.size());
  if (length > kMaxHeader || length > file.size() - 8) {
    if (is_pickle(magic)) refuse_pickle(path);
    fail(
        "{}: the header claims {} bytes, but the file has {} and a header at most {}; the file is "
        "cut short or not safetensors",
        path, length, file.size(), kMaxHeader);
  }
  std::string header(length, '\0');
  file.read(8, std::as_writable_bytes(std::span(header)));
  const size_t begin = header.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos || header[begin] != '{') {
    if (is_pickle(magic)) refuse_pickle(path);
    fail("{}: the header does not begin with '{{'; not a safetensors file", path);
  }
  return header;
}

/// Each tensor begins where the last one ended, and the last ends where the file does.
void place(std::vector<SafetensorsEntry>& entries, const ReadFile& file, uint64_t data_start) {
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  Checked end = data_start;
  for (SafetensorsEntry& entry : entries) {
    const Checked begin = Checked(data_start) + entry.offset;
    if (!begin.fits(end.value()) || begin.value() != end.value()) {
      fail(
          "{}: tensor '{}' begins at byte {} of the data, expected {}: tensors overlap or leave a "
          "hole",
          file.path(), printable(entry.name), entry.offset, end.value() - data_start);
    }
    end = end + entry.bytes;
    if (!end.fits(file.size())) {
      fail("{}: tensor '{}' ends beyond the file, which has {} bytes; it is cut short", file.path(),
           printable(entry.name), file.size());
    }
    entry.offset = begin.value();
  }
  if (end.value() != file.size()) {
    fail("{}: {} bytes follow the last tensor", file.path(), file.size() - end.value());
  }
}

std::string header_of(const std::vector<SafetensorsEntry>& entries,
                      const std::map<std::string, std::string>& metadata) {
  const auto quoted = [](const std::string& text) { return nlohmann::json(text).dump(); };
  std::string header = "{";
  const auto comma = [&] {
    if (header.size() > 1) header += ',';
  };
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (header.back() != '{') header += ',';
      header += quoted(key) + ":" + quoted(value);
    }
    header += '}';
  }
  for (const SafetensorsEntry& entry : entries) {
    comma();
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          quoted(entry.name), entry.dtype, fmt::join(entry.shape, ","),
                          entry.offset, entry.offset + entry.bytes);
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

}  // namespace

std::string safetensors_name(DType dtype) {
  const auto found = std::ranges::find(kDtypes, std::optional(dtype), &DtypeInfo::type);
  TESSERA_CHECK(found != kDtypes.end());
  return std::string(found->name);
}

std::optional<DType> safetensors_dtype(std::string_view name) {
  const size_t rank = rank_of(name);
  return rank < kDtypes.size() ? kDtypes[rank].type : std::nullopt;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const std::string header = read_header(file_);
  HeaderEvents events(path);
  parse_json(header, path, events);
  entries_ = std::move(events.entries);
  metadata_ = std::move(events.metadata);
  place(entries_, file_, 8 + header.size());
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

void SafetensorsFile::read(const SafetensorsEntry& entry, std::span<std::byte> out) const {
  TESSERA_CHECK(out.size() == entry.bytes);
  read(entry, 0, out);
}

void SafetensorsFile::read(const SafetensorsEntry& entry, uint64_t begin,
                           std::span<std::byte> out) const {
  TESSERA_CHECK(begin <= entry.bytes && out.size() <= entry.bytes - begin);
  file_.read(entry.offset + begin, out);
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<SafetensorsEntry> layout,
                                     std::map<std::string, std::string> metadata)
    : file_(path), entries_(std::move(layout)) {
  std::sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
    const size_t rank_a = rank_of(a.dtype), rank_b = rank_of(b.dtype);
    return rank_a != rank_b ? rank_a > rank_b : a.name < b.name;
  });
  for (size_t i = 1; i < entries_.size(); ++i) {
    TESSERA_CHECK(entries_[i - 1].name != entries_[i].name);
  }
  uint64_t offset = 0;
  for (SafetensorsEntry& entry : entries_) {
    const std::optional<uint64_t> bytes = bytes_of(entry);
    TESSERA_CHECK(bits_of(entry.dtype) != 0 && bytes.has_value());
    entry.offset = offset;
    entry.bytes = *bytes;
    offset += *bytes;
  }
  const std::string header = header_of(entries_, metadata);
  std::array<std::byte, 8> length;
  for (size_t i = 0; i < length.size(); ++i) {
    length[i] = std::byte((uint64_t(header.size()) >> (8 * i)) & 0xffu);
  }
  file_.write(length);
  file_.write(header);
  for (SafetensorsEntry& entry : entries_) entry.offset += 8 + header.size();
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  while (current_ < entries_.size() && written_ == entries_[current_].bytes &&
         entries_[current_].name != name) {
    ++current_;
    written_ = 0;
  }
  TESSERA_CHECK(current_ < entries_.size() && entries_[current_].name == name);
  TESSERA_CHECK(bytes.size() <= entries_[current_].bytes - written_);
  file_.write(bytes);
  written_ += bytes.size();
}

void SafetensorsWriter::commit() {
  while (current_ < entries_.size() && written_ == entries_[current_].bytes) {
    ++current_;
    written_ = 0;
  }
  TESSERA_CHECK(current_ == entries_.size());
  file_.commit();
}

}  // namespace tessera::io
