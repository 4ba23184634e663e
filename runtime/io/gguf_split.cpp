#include "runtime/io/gguf_split.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

constexpr std::string_view kEnding = "-00000-of-00000.gguf";  // where 0 stands for any digit
constexpr uint32_t kMaxParts = 512;                           // each stays open

uint32_t number(std::string_view digits) {
  uint32_t value = 0;
  for (const char digit : digits) value = value * 10 + uint32_t(digit - '0');
  return value;
}

}  // namespace

std::string GgufPartName::path_of(uint32_t other_part) const {
  return fmt::format("{}-{:05}-of-{:05}.gguf", name, other_part, count);
}

std::optional<GgufPartName> gguf_part_name(std::string_view path) {
  if (path.size() <= kEnding.size()) return std::nullopt;
  const std::string_view name = path.substr(0, path.size() - kEnding.size());
  const std::string_view ending = path.substr(name.size());
  const bool spelt = std::ranges::equal(ending, kEnding, [](char found, char expected) {
    return expected == '0' ? found >= '0' && found <= '9' : found == expected;
  });
  if (!spelt) return std::nullopt;
  const uint32_t part = number(ending.substr(1, 5)), count = number(ending.substr(10, 5));
  if (part < 1 || part > count) return std::nullopt;
  return GgufPartName{std::string(name), part, count};
}

bool are_parts_of_one(std::span<const std::string> paths) {
  const auto first = paths.empty() ? std::nullopt : gguf_part_name(paths.front());
  return first && std::ranges::all_of(paths, [&](const std::string& path) {
           const auto other = gguf_part_name(path);
           return other && other->name == first->name && other->count == first->count;
         });
}

GgufFile GgufFile::joined(const GgufFile& any) {
  const std::optional<GgufPartName> name = gguf_part_name(any.path());
  if (!name) {
    fail(
        "{}: one of {} parts of a split model, but not named like one, e.g. "
        "model-00001-of-00003.gguf; name the parts so, or join them (llama-gguf-split --merge)",
        any.path(), any.integer(kSplitCount));
  }
  if (name->count > kMaxParts) {
    fail("{}: one of {} parts, at most {} are allowed", any.path(), name->count, kMaxParts);
  }
  std::vector<GgufFile> parts;
  for (uint32_t part = 1; part <= name->count; ++part) {
    const std::string path = name->path_of(part);
    if (!exists(path)) {
      fail("{}: missing, one of the {} parts of this model; download it again", path, name->count);
    }
    const GgufFile& file = parts.emplace_back(GgufFile(OnePart{}, ReadFile(path)));
    const int64_t number = file.integer(kSplitNumber), count = file.integer(kSplitCount);
    if (number != part - 1 || count != name->count) {
      fail("{}: metadata {} is {} and {} is {}; its name asks for {} and {}", path, kSplitNumber,
           number, kSplitCount, count, part - 1, name->count);
    }
  }
  GgufFile all = std::move(parts.front());
  for (size_t i = 1; i < parts.size(); ++i) {
    for (GgufTensor& tensor : parts[i].tensors_) {
      tensor.part = i;
      all.tensors_.push_back(std::move(tensor));
    }
    all.files_.push_back(std::move(parts[i].files_.front()));
  }
  all.index_.clear();
  for (size_t i = 0; i < all.tensors_.size(); ++i) {
    const GgufTensor& tensor = all.tensors_[i];
    const auto [first, is_new] = all.index_.emplace(tensor.name, i);
    if (!is_new) {
      fail("{}: tensor '{}' is in {} too", all.path_of(tensor), printable(tensor.name),
           all.path_of(all.tensors_[first->second]));
    }
  }
  if (all.integer(kSplitTensors) != int64_t(all.tensors_.size())) {
    fail("{}: metadata {} is {}, but the {} parts hold {} tensors; download the model again",
         all.path(), kSplitTensors, all.integer(kSplitTensors), parts.size(), all.tensors_.size());
  }
  return all;
}

}  // namespace tessera::io
