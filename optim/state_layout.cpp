#include "optim/state_layout.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::optim {

using Kind = StateField::Kind;

namespace {

constexpr size_t kMin8bitElements = 4096;

size_t whole_blocks(size_t elements) {
  return (elements + kStateBlock - 1) / kStateBlock * kStateBlock;
}

void append(std::vector<StateRun>& runs, const StateRun& run) {
  if (run.begin >= run.end) return;
  const bool goes_on = !runs.empty() && runs.back().end == run.begin &&
                       runs.back().bits == run.bits && runs.back().rate_factor == run.rate_factor;
  if (goes_on) {
    runs.back().end = run.end;
  } else {
    runs.push_back(run);
  }
}

StateBits bits_of(StateField field) {
  return field.kind == Kind::kValues ? StateBits::k32 : StateBits::k8;
}

template <class T>
T* array(const StateView& view, StateField field) {
  return reinterpret_cast<T*>(view.state + field_offset(field, view.run, view.moments));
}

}  // namespace

StateBits state_bits(size_t tensor_elements, StateBits optimizer) {
  return tensor_elements >= kMin8bitElements ? optimizer : StateBits::k32;
}

size_t StateRun::block_bytes(StateBits bits, size_t moments) {
  return moments *
         (bits == StateBits::k8 ? kStateBlock + sizeof(float) : kStateBlock * sizeof(float));
}

std::vector<StateRun> state_runs(std::span<const StateSegment> segments, ElementRange range) {
  TESSERA_CHECK(range.begin % kStateBlock == 0 && range.begin <= range.end);
  std::vector<StateRun> runs;
  size_t next = 0;
  for (const StateSegment& segment : segments) {
    TESSERA_CHECK(segment.offset == next);
    next = whole_blocks(segment.offset + segment.elements);
    append(runs, {std::max(segment.offset, range.begin), std::min(next, range.end), segment.bits,
                  segment.rate_factor});
  }
  TESSERA_CHECK(range.end <= next);
  const size_t unpadded = segments.empty() ? 0 : segments.back().offset + segments.back().elements;
  TESSERA_CHECK(range.end % kStateBlock == 0 || range.end >= unpadded);
  return runs;
}

std::vector<StatePage> cut_pages(std::span<const StateRun> runs, size_t moments,
                                 size_t page_bytes) {
  TESSERA_CHECK(moments > 0);
  std::vector<StatePage> pages;
  for (StateRun rest : runs) {
    const size_t block = StateRun::block_bytes(rest.bits, moments);
    TESSERA_CHECK(page_bytes >= block);
    while (rest.begin < rest.end) {
      if (pages.empty() || pages.back().bytes + block > page_bytes) pages.emplace_back();
      StatePage& page = pages.back();
      const size_t blocks = std::min((page_bytes - page.bytes) / block, rest.blocks());
      const size_t cut = std::min(rest.begin + blocks * kStateBlock, rest.end);
      page.parts.push_back({{rest.begin, cut, rest.bits, rest.rate_factor}, page.bytes});
      page.bytes += blocks * block;
      rest.begin = cut;
    }
  }
  return pages;
}

std::vector<StateField> state_fields(size_t moments) {
  std::vector<StateField> fields;
  for (const Kind kind : {Kind::kValues, Kind::kCodes, Kind::kAbsmax}) {
    for (size_t moment = 0; moment < moments; ++moment) fields.push_back({kind, moment});
  }
  return fields;
}

std::string field_name(StateField field, MomentNames moments) {
  const std::string moment(moments[field.moment]);
  switch (field.kind) {
    case Kind::kValues:
      return moment;
    case Kind::kCodes:
      return moment + "_codes";
    case Kind::kAbsmax:
      return moment + "_absmax";
  }
  TESSERA_CHECK(false);
  return {};
}

size_t field_item_bytes(StateField field) { return field.kind == Kind::kCodes ? 1 : sizeof(float); }

size_t field_items(StateField field, const StateRun& run) {
  if (run.bits != bits_of(field)) return 0;
  return field.kind == Kind::kAbsmax ? run.blocks() : run.elements();
}

size_t field_offset(StateField field, const StateRun& run, size_t moments) {
  const size_t blocks = run.blocks();
  switch (field.kind) {
    case Kind::kValues:
      return blocks * field.moment * kStateBlock * sizeof(float);
    case Kind::kCodes:
      return blocks * field.moment * kStateBlock;
    case Kind::kAbsmax:
      return blocks * (moments * kStateBlock + field.moment * sizeof(float));
  }
  TESSERA_CHECK(false);
  return 0;
}

std::vector<StateArray> state_arrays(MomentNames moments, std::span<const StateSegment> segments,
                                     ElementRange range) {
  const auto runs = state_runs(segments, range);
  std::vector<StateArray> arrays;
  for (const StateField field : state_fields(moments.size())) {
    uint64_t items = 0;
    for (const StateRun& run : runs) items += field_items(field, run);
    if (items == 0) continue;
    const bool bytes = field_item_bytes(field) == 1;
    arrays.push_back({field_name(field, moments), bytes ? DType::kU8 : DType::kF32, items});
  }
  return arrays;
}

float* StateView::values(size_t moment, size_t begin) const {
  return array<float>(*this, {Kind::kValues, moment}) + begin;
}

uint8_t* StateView::codes(size_t moment, size_t begin) const {
  return array<uint8_t>(*this, {Kind::kCodes, moment}) + begin;
}

float* StateView::absmax(size_t moment, size_t begin) const {
  return array<float>(*this, {Kind::kAbsmax, moment}) + begin / kStateBlock;
}

}  // namespace tessera::optim
