#include "optim/moments.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::optim {

namespace {

std::vector<StatePage> pages_of(MomentNames names, std::span<const StateSegment> segments,
                                ElementRange range, const PageOptions& options) {
  const auto runs = state_runs(segments, range);
  // Where nothing moves, one page will do, and it has any size.
  return cut_pages(runs, names.size(), options.budget ? options.page_bytes : SIZE_MAX);
}

std::vector<size_t> sizes_of(std::span<const StatePage> pages) {
  std::vector<size_t> sizes;
  for (const StatePage& page : pages) sizes.push_back(page.bytes);
  return sizes;
}

}  // namespace

Moments::Moments(MomentNames names, std::span<const StateSegment> segments, ElementRange range,
                 const PageOptions& options)
    : names_(names),
      range_(range),
      arrays_(state_arrays(names, segments, range)),
      layout_(pages_of(names, segments, range, options)),
      pages_(sizes_of(layout_), options) {}

PageMemory Moments::memory(MomentNames names, std::span<const StateSegment> segments,
                           ElementRange range, const PageOptions& options) {
  return StatePages::memory(sizes_of(pages_of(names, segments, range, options)), options);
}

void Moments::sweep(Context& ctx, FunctionRef<void(const StateView& state)> update) {
  pages_.sweep(ctx, [&](size_t page, std::byte* data) {
    for (const StatePart& part : layout_[page].parts) {
      update({part.run, names_.size(), data + part.offset});
    }
  });
}

/// Calls piece(page, offset in the page, done, bytes) for the pieces of items of an array, where
/// `done` bytes came before.
template <class Piece>
void Moments::each_piece(std::string_view name, uint64_t begin, size_t bytes,
                         const Piece& piece) const {
  const std::vector<StateField> fields = state_fields(names_.size());
  const auto field =
      std::ranges::find_if(fields, [&](StateField any) { return field_name(any, names_) == name; });
  TESSERA_CHECK(field != fields.end());
  const size_t item = field_item_bytes(*field);
  uint64_t skip = begin * item;
  size_t done = 0;
  for (size_t page = 0; page < layout_.size() && done < bytes; ++page) {
    for (const StatePart& part : layout_[page].parts) {
      const size_t all = field_items(*field, part.run) * item;
      const size_t skipped = size_t(std::min<uint64_t>(skip, all));
      const size_t n = std::min(all - skipped, bytes - done);
      skip -= skipped;
      if (n == 0) continue;
      piece(page, part.offset + field_offset(*field, part.run, names_.size()) + skipped, done, n);
      done += n;
    }
  }
  TESSERA_CHECK(skip == 0 && done == bytes);
}

void Moments::read(std::string_view name, uint64_t begin, std::span<std::byte> into) const {
  each_piece(name, begin, into.size(), [&](size_t page, size_t offset, size_t done, size_t n) {
    pages_.read(page, offset, into.subspan(done, n));
  });
}

void Moments::write(std::string_view name, uint64_t begin, std::span<const std::byte> bytes) {
  each_piece(name, begin, bytes.size(), [&](size_t page, size_t offset, size_t done, size_t n) {
    pages_.write(page, offset, bytes.subspan(done, n));
  });
}

}  // namespace tessera::optim
