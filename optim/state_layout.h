// How an optimizer's state lies over the flat parameter buffer: in blocks of 256 elements, with
// moments of 32 or of 8 bits, tensor by tensor; and how it is cut into pages. Arithmetic only.
// Which moments there are is the update rule's to say (optim/rule.h); all have the same form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/dtype.h"

namespace tessera::optim {

/// Elements of a block, and what every cut of the buffer is a multiple of (its end excepted).
inline constexpr size_t kStateBlock = 256;

/// 8 bits: a code per element and moment, and a float32 per block and moment.
enum class StateBits : uint8_t { k8 = 8, k32 = 32 };

/// The names in checkpoints of the moments that are kept of each element, such as exp_avg; at least
/// one. A function that needs only their number takes that.
using MomentNames = std::span<const std::string_view>;

/// What a tensor of so many elements gets: the bits of the optimizer, but 32 for tensors under
/// 4,096 elements, as in bitsandbytes.
StateBits state_bits(size_t tensor_elements, StateBits optimizer);

/// One tensor of the flat buffer. Tensors lie one after the other, each from the first multiple of
/// kStateBlock that is free.
struct StateSegment {
  size_t offset;    // in elements
  size_t elements;  // padding excluded
  StateBits bits;
  double rate_factor = 1.0;  // what the learning rate is multiplied by
};

/// Elements [begin, end) of the flat buffer.
struct ElementRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

/// Neighbouring elements whose moments have the same width and whose learning rate is the same.
/// begin is a multiple of kStateBlock. Where the runs are cut changes neither the bytes of the
/// state, nor its pages, nor the arrays of a checkpoint.
struct StateRun {
  size_t begin;
  size_t end;
  StateBits bits;
  double rate_factor = 1.0;  // as StateSegment

  size_t elements() const { return end - begin; }
  size_t blocks() const { return (elements() + kStateBlock - 1) / kStateBlock; }
  /// Of so many moments. Whole blocks are stored, also where the last one is short.
  size_t bytes(size_t moments) const { return blocks() * block_bytes(bits, moments); }
  static size_t block_bytes(StateBits bits, size_t moments);
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
std::vector<StatePage> cut_pages(std::span<const StateRun> runs, size_t moments, size_t page_bytes);

/// One of the arrays in which state leaves and enters, all blocks of a kind in order, whatever the
/// pages: of a moment its values in the 32-bit blocks (exp_avg, F32), or its codes (exp_avg_codes,
/// U8) or largest magnitudes (exp_avg_absmax, F32, one per block) in the 8-bit ones.
struct StateField {
  enum class Kind : uint8_t { kValues, kCodes, kAbsmax };
  Kind kind;
  size_t moment;
};

/// All fields, in the order of the arrays in a file: by kind, then by moment. Within a run's state
/// those of its width follow each other in the same order.
std::vector<StateField> state_fields(size_t moments);
std::string field_name(StateField field, MomentNames moments);
size_t field_item_bytes(StateField field);
/// Items that a run adds to the field's array: 0 where the run has another width.
size_t field_items(StateField field, const StateRun& run);
/// Where the field begins in the state of a run of the field's width, in bytes.
size_t field_offset(StateField field, const StateRun& run, size_t moments);

struct StateArray {
  std::string name;
  DType dtype;  // kF32 or kU8
  uint64_t elements;
};

/// The arrays of a range; those without elements are left out. The arrays of consecutive ranges,
/// put together in order, are those of the whole; the arrays of [0, begin) tell where a range that
/// begins there has its place in them.
std::vector<StateArray> state_arrays(MomentNames moments, std::span<const StateSegment> segments,
                                     ElementRange range);

/// A run with the memory of its state, as an update rule sees it.
struct StateView {
  StateRun run;
  size_t moments;
  std::byte* state;

  /// Of a moment, from element `begin` of the run on, which is a multiple of kStateBlock: float32
  /// values in a run of 32 bits; in one of 8, codes by element and largest magnitudes by block.
  float* values(size_t moment, size_t begin) const;
  uint8_t* codes(size_t moment, size_t begin) const;
  float* absmax(size_t moment, size_t begin) const;
};

}  // namespace tessera::optim
