// What the time of operators goes to, measured on the stream that they run on. A context without a
// timeline measures nothing.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/stream.h"

namespace tessera {

/// What computing is made of. The plan of a CPU counts what multiplies: products, attention,
/// adapters, head.
enum class ComputePart : uint8_t {
  kProducts,
  kAttention,
  kAdapters,
  kElementwise,
  kDequantize,
  kHead
};
inline constexpr std::array<std::string_view, 6> kPartNames = {
    "products", "attention", "adapters", "elementwise", "dequantize", "head"};
static_assert(kPartNames.size() == size_t(ComputePart::kHead) + 1);
using ComputeParts = std::array<double, kPartNames.size()>;  // seconds

class Timeline {
 public:
  /// Of a stream that outlives it; elementwise work until somebody says otherwise.
  explicit Timeline(Stream& stream);

  ComputePart now() const { return marks_.back().part; }
  /// From here on the stream does `part`.
  void enter(ComputePart part);
  /// Seconds of each part since the last call; waits for the stream. Where the stream itself
  /// waited, that counts for the part it was to do.
  ComputeParts take();

 private:
  struct Mark {
    std::shared_ptr<void> event;                 // of a device
    std::chrono::steady_clock::time_point time;  // of the CPU
    ComputePart part;                            // from here on
  };
  double seconds_between(const Mark& from, const Mark& to) const;

  Stream& stream_;
  std::vector<Mark> marks_;
};

/// While it lives, operators do `part`, unless one within says otherwise; all that the head does is
/// the head's.
class PartScope {
 public:
  /// A null timeline: nothing.
  PartScope(Timeline* timeline, ComputePart part) : timeline_(timeline), before_(part) {
    if (timeline_ && timeline_->now() == ComputePart::kHead) timeline_ = nullptr;
    if (!timeline_) return;
    before_ = timeline_->now();
    timeline_->enter(part);
  }
  ~PartScope() {
    if (!timeline_) return;
    try {  // perhaps because of an exception
      timeline_->enter(before_);
    } catch (const Error&) {  // a device that failed tells whoever waits for it next
    }
  }
  PartScope(const PartScope&) = delete;
  PartScope& operator=(const PartScope&) = delete;

 private:
  Timeline* timeline_;
  ComputePart before_;
};

}  // namespace tessera
