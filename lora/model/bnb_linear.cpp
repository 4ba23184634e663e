#include "lora/model/bnb_linear.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "quant/codebook.h"
#include "quant/double_quant.h"
#include "quant/format_4bit.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using Found = Shards::Found;

constexpr const quant::Format* kFormats[] = {&quant::kNf4Format, &quant::kFp4Format};
constexpr size_t kMaxState = 4096;
constexpr size_t kCodes4 = 16, kCodes8 = 256;
// What the names of the parts end with.
constexpr std::string_view kScales = ".absmax";
constexpr std::string_view kTable = ".quant_map";
constexpr std::string_view kNestedScales = ".nested_absmax";
constexpr std::string_view kNestedTable = ".nested_quant_map";

uint64_t elements_of(const io::SafetensorsEntry& entry) {
  uint64_t elements = 1;
  for (int64_t extent : entry.shape) elements *= uint64_t(extent);
  return elements;
}

}  // namespace

/// Finds and checks the parts of one weight, and notes their names.
class BnbLinear::PartsReader {
 public:
  PartsReader(const Shards& shards, std::string_view weight, std::vector<std::string>& names)
      : shards_(shards), weight_(weight), names_(names) {}

  std::optional<Found> find(std::string_view suffix) {
    const std::optional<Found> found = shards_.find(weight_ + std::string(suffix));
    if (found) names_.push_back(found->entry->name);
    return found;
  }
  /// A part that has to be there, with `count` elements of `dtype`.
  Found need(std::string_view suffix, std::string_view dtype, uint64_t count) {
    const std::optional<Found> found = find(suffix);
    if (!found) wrong("'{}{}' is missing", weight_, suffix);
    const uint64_t elements = elements_of(*found->entry);
    if (found->entry->dtype != dtype || elements != count) {
      wrong("'{}' has {} elements of {}, expected {} of {}", found->entry->name, elements,
            found->entry->dtype, count, dtype);
    }
    return *found;
  }
  std::vector<float> floats(const Found& found, size_t count) const {
    std::vector<float> values(count);
    shards_.read(found, std::as_writable_bytes(std::span(values)));
    return values;
  }
  json state(const Found& found) const {
    const io::SafetensorsEntry& entry = *found.entry;
    if (entry.dtype != "U8" || entry.bytes > kMaxState) {
      wrong("'{}' is {} of {} bytes, expected U8 of {} at most", entry.name, entry.dtype,
            entry.bytes, kMaxState);
    }
    std::string text(entry.bytes, '\0');
    shards_.read(found, std::as_writable_bytes(std::span(text)));
    json root = io::parse_json(text, fmt::format("{}: {}", shards_.path(found), entry.name));
    if (!root.is_object()) wrong("'{}' is not a JSON object", entry.name);
    return root;
  }

  int64_t integer(const json& state, const char* key) const {
    const auto value = state.find(key);
    if (value == state.end() || !value->is_number_integer() || value->get<int64_t>() < 1 ||
        value->get<int64_t>() > (int64_t{1} << 31)) {
      wrong("{} of its quant_state is {}, expected a positive integer", key,
            value == state.end() ? "missing" : value->dump());
    }
    return value->get<int64_t>();
  }
  int block(const json& state) const {
    const int64_t block = integer(state, "blocksize");
    if (block < 32 || block > 4096 || !std::has_single_bit(uint64_t(block))) {
      wrong("blocks of {} elements are not supported", block);
    }
    return int(block);
  }

  template <class... Args>
  [[noreturn]] void wrong(fmt::format_string<Args...> format, Args&&... args) const {
    fail("tensor {}: its 4-bit form cannot be read: {}", io::printable(weight_),
         io::printable(fmt::format(format, std::forward<Args>(args)...), 400));
  }

 private:
  const Shards& shards_;
  std::string weight_;
  std::vector<std::string>& names_;
};

namespace {

/// Zeros of either sign are the same value.
template <size_t N>
bool same_values(std::span<const float> found, const std::array<float, N>& expected) {
  return std::ranges::equal(found, expected);
}

void read_at(std::span<const io::ReadFile> files, size_t file, uint64_t offset,
             std::span<std::byte> out) {
  files[file].read(offset, out);
}

/// The part of a weight that holds its settings.
std::string state_suffix(const quant::Format* format) {
  return fmt::format(".quant_state.bitsandbytes__{}", format->name);
}

/// A double as Python writes it.
std::string python_float(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

/// As bitsandbytes writes it with Python's json.
std::string state_text(const quant::FrozenSpec& spec, DType dtype, float offset) {
  std::string text =
      fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}, {}])",
                  spec.format->name, spec.block, name_of(dtype), spec.rows, spec.cols);
  if (spec.double_quant) {
    text +=
        fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})",
                    quant::kNestedBlock, python_float(double(offset)));
  }
  return text + "}";
}

}  // namespace

bool BnbLinear::is_bnb(const Shards& shards, const Found& found) {
  return std::ranges::any_of(kFormats, [&](const quant::Format* format) {
    return shards.find(found.entry->name + state_suffix(format)).has_value();
  });
}

BnbLinear::BnbLinear(const Shards& shards, const Found& found, int64_t rows, int64_t cols)
    : name_(found.entry->name), codes_{found.file, found.entry->offset} {
  const io::SafetensorsEntry& entry = *found.entry;
  PartsReader reader(shards, name_, parts_);
  const quant::Format* format = nullptr;
  json state;
  for (const quant::Format* known : kFormats) {
    const std::optional<Found> at = reader.find(state_suffix(known));
    if (!at) continue;
    if (format) reader.wrong("it has two quant_state tensors");
    format = known;
    state = reader.state(*at);
  }
  TESSERA_CHECK(format != nullptr);
  if (state.value("quant_type", json()) != std::string(format->name)) {
    reader.wrong("quant_type of its quant_state is not {}", format->name);
  }
  if (state.value("shape", json()) != json{rows, cols}) {
    reader.wrong("shape of its quant_state is {}, the config asks for [{}, {}]",
                 state.value("shape", json()).dump(), rows, cols);
  }
  spec_ = {{format, reader.block(state), false}, rows, cols};

  // The codes may be stored under a wider type, and are padded to whole elements of it then.
  const uint64_t bytes = uint64_t(rows * cols + 1) / 2;
  const uint64_t unit = entry.bytes / std::max(elements_of(entry), uint64_t{1});
  if (entry.bytes < bytes || entry.bytes >= bytes + std::max(unit, uint64_t{1})) {
    reader.wrong("its codes have {} bytes, expected {}", entry.bytes, bytes);
  }
  const auto table = reader.floats(reader.need(kTable, "F32", kCodes4), kCodes4);
  if (!same_values(table, quant::codebook_of(format).values)) {
    reader.wrong("its quant_map is not the table of {}", format->name);
  }
  const bool nested = reader.find(kNestedScales).has_value();
  const auto blocks = uint64_t(quant::Layout4(spec_).blocks);
  const Found scales = reader.need(kScales, nested ? "U8" : "F32", blocks);
  scales_ = {scales.file, scales.entry->offset};
  if (nested) read_nested(reader, state);
}

void BnbLinear::read_nested(PartsReader& reader, const json& state) {
  Nested& of = nested_.emplace();
  of.block = reader.integer(state, "nested_blocksize");
  const int64_t blocks = quant::Layout4(spec_).blocks;
  const int64_t groups = (blocks + of.block - 1) / of.block;
  const Found outer = reader.need(kNestedScales, "F32", uint64_t(groups));
  of.scales = {outer.file, outer.entry->offset};
  of.map = reader.floats(reader.need(kNestedTable, "F32", kCodes8), kCodes8);
  const auto offset = state.find("nested_offset");
  if (offset == state.end() || !offset->is_number()) {
    reader.wrong("nested_offset of its quant_state is not a number");
  }
  of.offset = float(offset->get<double>());
  if (!std::isfinite(of.offset)) reader.wrong("nested_offset is {}", of.offset);
  spec_.double_quant =
      of.block == quant::kNestedBlock && same_values(of.map, quant::kDynamicSigned);
}

std::vector<float> BnbLinear::decoded_scales(std::span<const io::ReadFile> files) const {
  const Nested& of = *nested_;
  const size_t blocks = size_t(quant::Layout4(spec_).blocks), step = size_t(of.block);
  std::vector<uint8_t> codes(blocks);
  std::vector<float> nested((blocks + step - 1) / step), scales(blocks);
  read_at(files, scales_.file, scales_.offset, std::as_writable_bytes(std::span(codes)));
  read_at(files, of.scales.file, of.scales.offset, std::as_writable_bytes(std::span(nested)));
  for (size_t i = 0; i < blocks; ++i) scales[i] = of.map[codes[i]] * nested[i / step] + of.offset;
  return scales;
}

void BnbLinear::check_finite(std::span<const float> scales) const {
  const auto bad = std::ranges::find_if(scales, [](float x) { return !std::isfinite(x); });
  if (bad == scales.end()) return;
  fail("tensor {}: scale {} is {}; the checkpoint is damaged", name_, bad - scales.begin(), *bad);
}

void BnbLinear::read_blob(std::span<const io::ReadFile> files, std::span<std::byte> blob) const {
  const quant::Layout4 layout(spec_);
  TESSERA_CHECK(blob.size() == layout.bytes);
  std::ranges::fill(blob, std::byte{0});
  const size_t blocks = size_t(layout.blocks);
  read_at(files, codes_.file, codes_.offset, blob.first(size_t(spec_.numel() + 1) / 2));
  std::byte* const scales = blob.data() + layout.scales_offset;
  if (!nested_) {
    const std::span<float> plain(reinterpret_cast<float*>(scales), blocks);
    read_at(files, scales_.file, scales_.offset, std::as_writable_bytes(plain));
    return check_finite(plain);
  }
  if (!spec_.double_quant) {
    const std::vector<float> plain = decoded_scales(files);
    check_finite(plain);
    std::memcpy(scales, plain.data(), blocks * sizeof(float));
    return;
  }
  read_at(files, scales_.file, scales_.offset, {scales, blocks});
  float* const nested = reinterpret_cast<float*>(blob.data() + layout.nested_offset);
  const std::span<float> outer(nested, size_t(layout.nested));
  read_at(files, nested_->scales.file, nested_->scales.offset, std::as_writable_bytes(outer));
  check_finite(outer);
  check_finite(decoded_scales(files));
  nested[layout.nested] = nested_->offset;
}

void BnbLinear::read_f32(std::span<const io::ReadFile> files, std::span<float> out) const {
  const size_t bytes = spec_.bytes();
  std::vector<float> memory(bytes / sizeof(float));  // aligned as a blob has to be
  const std::span<std::byte> blob = std::as_writable_bytes(std::span(memory));
  read_blob(files, blob);
  quant::FrozenMatrix(spec_, blob.data()).dequantize_span(0, spec_.numel(), out.data());
}

BnbParts::BnbParts(const std::string& weight, const quant::FrozenSpec& spec, DType dtype,
                   std::span<const std::byte> blob) {
  const quant::Layout4 layout(spec);
  TESSERA_CHECK(blob.size() == layout.bytes);
  const auto part = [&](std::string_view suffix, std::string_view type, std::vector<int64_t> shape,
                        std::span<const std::byte> bytes) {
    parts_.push_back({{.name = weight + std::string(suffix),
                       .dtype = std::string(type),
                       .shape = std::move(shape)},
                      bytes});
  };
  const auto values = [](const auto& table) { return std::as_bytes(std::span(table)); };
  const size_t codes = size_t(spec.numel() + 1) / 2;
  part("", "U8", {int64_t(codes), 1}, blob.first(codes));
  const size_t scale = spec.double_quant ? 1 : sizeof(float);
  part(kScales, spec.double_quant ? "U8" : "F32", {layout.blocks},
       blob.subspan(layout.scales_offset, size_t(layout.blocks) * scale));
  part(kTable, "F32", {int64_t(kCodes4)}, values(quant::codebook_of(spec.format).values));
  float offset = 0;
  if (spec.double_quant) {
    const size_t bytes = size_t(layout.nested) * sizeof(float);
    part(kNestedScales, "F32", {layout.nested}, blob.subspan(layout.nested_offset, bytes));
    part(kNestedTable, "F32", {int64_t(kCodes8)}, values(quant::kDynamicSigned));
    std::memcpy(&offset, blob.data() + layout.nested_offset + bytes, sizeof offset);
  }
  state_ = state_text(spec, dtype, offset);
  part(state_suffix(spec.format), "U8", {int64_t(state_.size())}, std::as_bytes(std::span(state_)));
}

}  // namespace tessera::lora
