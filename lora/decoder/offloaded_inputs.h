// Inputs of layer groups that wait for backward in host memory. Two device buffers take turns:
// while one input is computed or used, the other moves, by the copy stream. Forward puts them in
// order of the groups, backward takes them in reverse.
#pragma once

#include <array>
#include <vector>

#include "runtime/core/arena.h"
#include "runtime/core/context.h"

namespace tessera::lora {

class OffloadedInputs {
 public:
  OffloadedInputs() = default;
  OffloadedInputs(const OffloadedInputs&) = delete;
  OffloadedInputs& operator=(const OffloadedInputs&) = delete;
  ~OffloadedInputs() { settle(); }

  /// Forgets all, and takes room from the arena for the buffers if `count` > 0. Each input is a
  /// matrix like `like`.
  void begin(Arena& device, int64_t count, Tensor like);

  /// The buffer for the next input, which is number `index` from 0. Operators enqueued from now on
  /// wait until what it held before has left for the host.
  Tensor buffer(Context& ctx, int64_t index);
  /// The buffer is filled, and may be read but not written until the input is taken: starts its
  /// copy to the host.
  void put(Context& ctx, int64_t index);
  /// The input, back in a device buffer; starts to fetch the one before it.
  Tensor take(Context& ctx, int64_t index);

  /// Memory in the host: measured while the context measures, else as set.
  void set_host(Arena arena);
  const Arena& host() const { return host_; }

 private:
  static constexpr int64_t kBuffers = 2;
  struct Slot {
    Tensor tensor;
    int64_t holds = -1;
    Event moved;  // the copy, either way, that was started last
  };
  /// Waits for all copies under way.
  void settle();
  Slot& slot_of(int64_t index) { return slots_[size_t(index % kBuffers)]; }
  void fetch(Context& ctx, int64_t index);

  Arena host_;
  std::vector<Tensor> inputs_;  // in host_
  std::array<Slot, kBuffers> slots_;
};

}  // namespace tessera::lora
