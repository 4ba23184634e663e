// How the optimizer's state lies over the flat parameter buffer: in blocks of 256 elements, with
// moments of 32 or of 8 bits, tensor by tensor; and how it is cut into pages. Arithmetic only.
// Names: m is the first moment (exp_avg), v the second (exp_avg_sq).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tessera::optim {

/// Elements of a block, and what every cut of the buffer is a multiple of (its end excepted).
inline constexpr size_t kStateBlock = 256;

/// 8 bits: a code per element and moment, and a float32 per block and moment.
enum class StateBits : uint8_t { k8 = 8, k32 = 32 };

/// What a tensor of so many elements gets: 8 bits where the optimizer is an 8-bit one, but for
/// tensors under 4,096 elements, as in bitsandbytes.
StateBits state_bits(size_t tensor_elements, bool optimizer_is_8bit);

/// One tensor of the flat buffer. Tensors lie one after the other, each from the first multiple of
/// kStateBlock that is free.
struct StateSegment {
  size_t offset;    // in elements
  size_t elements;  // padding excluded
  StateBits bits;
};

/// Elements [begin, end) of the flat buffer.
struct ElementRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

/// Neighbouring elements whose moments have the same width. begin is a multiple of kStateBlock.
struct StateRun {
  size_t begin;
  size_t end;
  StateBits bits;

  size_t elements() const { return end - begin; }
  size_t blocks() const { return (elements() + kStateBlock - 1) / kStateBlock; }
  /// Of both moments. Whole blocks are stored, also where the last one is short.
  size_t bytes() const { return blocks() * block_bytes(bits); }
  static size_t block_bytes(StateBits bits);
};

/// The runs of a range, in order. `range` begins at a multiple of kStateBlock and ends at one or
/// at the end of the buffer, which is that of the last tensor with or without its padding.
std::vector<StateRun> state_runs(std::span<const StateSegment> segments, ElementRange range);

/// A part of a page: a run, and where its state begins in the page.
struct StatePart {
  StateRun run;
  size_t offset;  // in bytes
};
struct StatePage {
  std::vector<StatePart> parts;
  size_t bytes = 0;
};

/// As many whole blocks in a page as fit into `page_bytes`, in order. page_bytes must have room for
/// a block.
std::vector<StatePage> cut_pages(std::span<const StateRun> runs, size_t page_bytes);

/// The arrays in which state leaves and enters, all blocks of a kind in order, whatever the pages:
/// exp_avg and exp_avg_sq of the 32-bit blocks (F32); exp_avg_codes and exp_avg_sq_codes (U8) and
/// exp_avg_absmax and exp_avg_sq_absmax (F32, one per block) of the 8-bit ones.
enum class StateField : uint8_t { kM, kV, kMCodes, kVCodes, kMAbsmax, kVAbsmax };
inline constexpr StateField kStateFields[] = {StateField::kM,       StateField::kV,
                                              StateField::kMCodes,  StateField::kVCodes,
                                              StateField::kMAbsmax, StateField::kVAbsmax};

std::string field_name(StateField field);
StateBits field_bits(StateField field);
size_t field_item_bytes(StateField field);
/// Items that a run adds to the field's array: 0 where the run has another width.
size_t field_items(StateField field, const StateRun& run);
/// Where the field begins in the state of a run of the field's width, in bytes. Within the run,
/// arrays follow each other: m, v or m codes, v codes, m absmax, v absmax.
size_t field_offset(StateField field, const StateRun& run);

struct StateArray {
  std::string name;
  std::string dtype;  // "F32" or "U8", as safetensors calls them
  uint64_t elements;
};

/// The arrays of a range; those without elements are left out. The arrays of consecutive ranges,
/// put together in order, are those of the whole; the arrays of [0, begin) tell where a range that
/// begins there has its place in them.
std::vector<StateArray> state_arrays(std::span<const StateSegment> segments, ElementRange range);

}  // namespace tessera::optim
