#include "optim/state_layout.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::optim {

namespace {

constexpr size_t kMin8bitElements = 4096;

size_t whole_blocks(size_t elements) {
  return (elements + kStateBlock - 1) / kStateBlock * kStateBlock;
}

void append(std::vector<StateRun>& runs, const StateRun& run) {
  if (run.begin >= run.end) return;
  if (!runs.empty() && runs.back().bits == run.bits && runs.back().end == run.begin) {
    runs.back().end = run.end;
  } else {
    runs.push_back(run);
  }
}

}  // namespace

StateBits state_bits(size_t tensor_elements, bool optimizer_is_8bit) {
  return optimizer_is_8bit && tensor_elements >= kMin8bitElements ? StateBits::k8 : StateBits::k32;
}

size_t StateRun::block_bytes(StateBits bits) {
  return bits == StateBits::k8 ? 2 * (kStateBlock + sizeof(float))
                               : 2 * kStateBlock * sizeof(float);
}

std::vector<StateRun> state_runs(std::span<const StateSegment> segments, ElementRange range) {
  TESSERA_CHECK(range.begin % kStateBlock == 0 && range.begin <= range.end);
  std::vector<StateRun> runs;
  size_t next = 0;
  for (const StateSegment& segment : segments) {
    TESSERA_CHECK(segment.offset == next);
    next = whole_blocks(segment.offset + segment.elements);
    append(runs, {std::max(segment.offset, range.begin), std::min(next, range.end), segment.bits});
  }
  TESSERA_CHECK(range.end <= next);
  const size_t unpadded = segments.empty() ? 0 : segments.back().offset + segments.back().elements;
  TESSERA_CHECK(range.end % kStateBlock == 0 || range.end >= unpadded);
  return runs;
}

std::vector<StatePage> cut_pages(std::span<const StateRun> runs, size_t page_bytes) {
  std::vector<StatePage> pages;
  for (StateRun rest : runs) {
    const size_t block = StateRun::block_bytes(rest.bits);
    TESSERA_CHECK(page_bytes >= block);
    while (rest.begin < rest.end) {
      if (pages.empty() || pages.back().bytes + block > page_bytes) pages.emplace_back();
      StatePage& page = pages.back();
      const size_t blocks = std::min((page_bytes - page.bytes) / block, rest.blocks());
      const size_t cut = std::min(rest.begin + blocks * kStateBlock, rest.end);
      page.parts.push_back({{rest.begin, cut, rest.bits}, page.bytes});
      page.bytes += blocks * block;
      rest.begin = cut;
    }
  }
  return pages;
}

std::string field_name(StateField field) {
  constexpr const char* kNames[] = {"exp_avg",          "exp_avg_sq",     "exp_avg_codes",
                                    "exp_avg_sq_codes", "exp_avg_absmax", "exp_avg_sq_absmax"};
  return kNames[size_t(field)];
}

StateBits field_bits(StateField field) {
  return field <= StateField::kV ? StateBits::k32 : StateBits::k8;
}

size_t field_item_bytes(StateField field) {
  return field == StateField::kMCodes || field == StateField::kVCodes ? 1 : sizeof(float);
}

size_t field_items(StateField field, const StateRun& run) {
  if (run.bits != field_bits(field)) return 0;
  return field >= StateField::kMAbsmax ? run.blocks() : run.elements();
}

size_t field_offset(StateField field, const StateRun& run) {
  const size_t blocks = run.blocks();
  switch (field) {
    case StateField::kM:
    case StateField::kMCodes:
      return 0;
    case StateField::kV:
      return blocks * kStateBlock * sizeof(float);
    case StateField::kVCodes:
      return blocks * kStateBlock;
    case StateField::kMAbsmax:
      return blocks * 2 * kStateBlock;
    case StateField::kVAbsmax:
      return blocks * (2 * kStateBlock + sizeof(float));
  }
  TESSERA_CHECK(false);
  return 0;
}

std::vector<StateArray> state_arrays(std::span<const StateSegment> segments, ElementRange range) {
  const auto runs = state_runs(segments, range);
  std::vector<StateArray> arrays;
  for (StateField field : kStateFields) {
    uint64_t items = 0;
    for (const StateRun& run : runs) items += field_items(field, run);
    if (items == 0) continue;
    arrays.push_back({field_name(field), field_item_bytes(field) == 1 ? "U8" : "F32", items});
  }
  return arrays;
}

}  // namespace tessera::optim
