// An update rule over flat float32 spans, with moments of 32 or 8 bits, resident or paged. The bits
// depend on neither the device, nor the thread count, nor the vector width, nor the paging, and a
// step over slices equals a step over the whole.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "optim/moments.h"
#include "optim/rule.h"
#include "runtime/core/context.h"

namespace tessera::optim {

class Optimizer {
 public:
  /// State for the elements of `range` of a flat buffer with these tensors (see state_runs() for
  /// where a range may be cut): the moments zero, no step taken. `rule` outlives the object. Error
  /// (usage) where the rule's check refuses the options; Error as PageFile.
  Optimizer(const Rule& rule, std::span<const StateSegment> segments, ElementRange range,
            const OptimizerOptions& options, const PageOptions& paging);

  /// The memory that such an optimizer takes. Allocates nothing.
  static PageMemory memory(const Rule& rule, std::span<const StateSegment> segments,
                           ElementRange range, const PageOptions& paging);

  /// Bytes of memory that a step of such an optimizer reads and writes: parameters and moments both
  /// ways, gradients one way.
  static size_t bytes_moved(const Rule& rule, std::span<const StateSegment> segments,
                            ElementRange range);

  /// One step, in place. `params` and `grads` are the range's: size() elements in memory of the
  /// context's device, which is that of the pages; each gradient is first multiplied by
  /// `grad_scale` (the clip factor; 1 changes nothing). A tensor's learning rate is `lr` times the
  /// rate_factor of its segment. Error, before anything is changed, unless `lr` is finite and not
  /// negative. With 8 bits, an element whose gradient is not finite is left
  /// out: look at the gradient norm first. Error as StatePages::sweep().
  void step(Context& ctx, std::span<float> params, std::span<const float> grads, double lr,
            float grad_scale);

  const Rule& rule() const { return rule_; }
  ElementRange range() const { return moments_.range(); }
  size_t size() const { return range().size(); }
  const PageCounters& page_counters() const { return moments_.pages().counters(); }
  PageMemory memory() const { return moments_.pages().memory(); }

  /// The state a checkpoint holds: the step count, and the moments as arrays of the range. The
  /// arrays of the same tensors have the same form whatever the pages; see state_arrays() for how
  /// those of consecutive ranges join.
  int64_t steps_taken() const { return steps_taken_; }
  const std::vector<StateArray>& state_arrays() const { return moments_.arrays(); }
  /// Items [begin, begin + n) of an array, where n items fill the span.
  void read_state(std::string_view name, uint64_t begin, std::span<std::byte> into) const {
    moments_.read(name, begin, into);
  }
  void write_state(std::string_view name, uint64_t begin, std::span<const std::byte> bytes) {
    moments_.write(name, begin, bytes);
  }
  /// The step count of a checkpoint whose moments were written. Error if negative.
  void set_steps_taken(int64_t steps);

 private:
  const Rule& rule_;
  OptimizerOptions options_;
  Moments moments_;
  int64_t steps_taken_ = 0;
};

}  // namespace tessera::optim
