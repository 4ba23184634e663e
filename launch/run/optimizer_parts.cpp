#include "launch/run/optimizer_parts.h"

#include <algorithm>
#include <charconv>

#include "runtime/core/error.h"
#include "runtime/io/safetensors.h"

namespace tessera::launch {
namespace {

using optim::ElementRange;
using optim::StateArray;

constexpr size_t kChunkBytes = size_t{4} << 20;

/// Items of the array `name` over a range; 0 where the range has no such array.
uint64_t items_of(const StoredOptimizer& stored, ElementRange range, const std::string& name) {
  if (range.size() == 0) return 0;
  for (const StateArray& array : stored.arrays(range)) {
    if (array.name == name) return array.elements;
  }
  return 0;
}

/// Moves `items` items in pieces: move(done, piece), both in items and bytes of `buffer`.
template <class Move>
void in_chunks(uint64_t items, size_t item_bytes, std::vector<std::byte>& buffer, Move move) {
  const uint64_t most = kChunkBytes / item_bytes;
  buffer.resize(size_t(std::min(items, most)) * item_bytes);
  for (uint64_t done = 0; done < items; done += most) {
    const size_t n = size_t(std::min(most, items - done));
    move(done, std::span(buffer).first(n * item_bytes));
  }
}

ElementRange range_of(const io::SafetensorsFile& file) {
  const auto number = [&](const char* key) {
    const auto found = file.metadata().find(key);
    size_t value = 0;
    if (found != file.metadata().end()) {
      const std::string& text = found->second;
      const auto end = text.data() + text.size();
      if (std::from_chars(text.data(), end, value).ptr == end) return value;
    }
    fail("{} does not say which elements it holds ({})", file.path(), key);
  };
  return {number("begin"), number("end")};
}

}  // namespace

std::string optimizer_part_name(int part, int parts) {
  return fmt::format("optimizer-{:05}-of-{:05}.safetensors", part + 1, parts);
}

bool is_optimizer_part(std::string_view file_name) {
  return file_name.starts_with("optimizer-") && file_name.ends_with(".safetensors");
}

void write_optimizer_part(const std::string& path, const StoredOptimizer& stored,
                          ElementRange range) {
  const ElementRange whole = stored.optimizer.range();
  TESSERA_CHECK(whole.begin <= range.begin && range.end <= whole.end);
  std::vector<StateArray> arrays;
  if (range.size() > 0) arrays = stored.arrays(range);
  std::vector<io::SafetensorsEntry> layout;
  for (const StateArray& a : arrays)
    layout.push_back({a.name, io::safetensors_name(a.dtype), {int64_t(a.elements)}, 0, 0});
  io::SafetensorsWriter writer(
      path, layout, {{"begin", std::to_string(range.begin)}, {"end", std::to_string(range.end)}});
  std::vector<std::byte> buffer;
  for (const io::SafetensorsEntry& entry : writer.entries()) {
    const auto array = std::ranges::find(arrays, entry.name, &StateArray::name);
    const uint64_t before = items_of(stored, {whole.begin, range.begin}, array->name);
    in_chunks(array->elements, size_of(array->dtype), buffer,
              [&](uint64_t done, std::span<std::byte> piece) {
                stored.optimizer.read_state(array->name, before + done, piece);
                writer.write(array->name, piece);
              });
  }
  writer.commit();
}

void read_optimizer_parts(const std::vector<std::string>& paths, StoredOptimizer into) {
  const ElementRange mine = into.optimizer.range();
  std::vector<std::byte> buffer;
  size_t next = 0;
  for (const std::string& path : paths) {
    const io::SafetensorsFile file(path);
    const ElementRange part = range_of(file);
    if (part.begin != next || part.end < part.begin) {
      fail("{} holds elements {} to {}, but the files before it end at {}", path, part.begin,
           part.end, next);
    }
    next = part.end;
    const ElementRange both = {std::max(part.begin, mine.begin), std::min(part.end, mine.end)};
    if (both.begin >= both.end) continue;
    for (const StateArray& array : into.arrays(both)) {
      const io::SafetensorsEntry* entry = file.find(array.name);
      const uint64_t expected = items_of(into, part, array.name);
      const size_t bytes = size_of(array.dtype);
      const std::string dtype = io::safetensors_name(array.dtype);
      if (!entry || entry->dtype != dtype || entry->bytes != expected * bytes) {
        fail("{}: tensor {} with {} elements of {} expected", path, array.name, expected, dtype);
      }
      const uint64_t from = items_of(into, {part.begin, both.begin}, array.name);
      const uint64_t to = items_of(into, {mine.begin, both.begin}, array.name);
      in_chunks(array.elements, bytes, buffer, [&](uint64_t done, std::span<std::byte> piece) {
        file.read(*entry, (from + done) * bytes, piece);
        into.optimizer.write_state(array.name, to + done, piece);
      });
    }
  }
  if (next < mine.end) fail("the optimizer's files end at element {} of {}", next, mine.end);
}

}  // namespace tessera::launch
