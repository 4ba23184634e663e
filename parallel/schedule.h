// The schedule of a pass: which layers it visits, in which order, to do what. The decoder walks
// this list, the scheduler gathers ahead along it, and the time model adds up its visits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace tessera::parallel {

/// What a group's forward leaves behind for its backward.
enum class Policy {
  kKeep,       // all activations
  kRecompute,  // the group's input only; backward runs the group's forward again
  kOffload,    // as kRecompute, with the input moved to host memory and back
};

/// Consecutive layers under one policy.
struct LayerGroup {
  int64_t first;
  int64_t count;
  Policy policy;
};
/// Groups of `size` layers, the last one shorter, all under `policy`.
std::vector<LayerGroup> uniform_groups(int64_t layers, Policy policy, int64_t size);
/// Groups of `size` layers under `policy`, and the last `kept` layers kept.
std::vector<LayerGroup> layer_groups(Policy policy, int64_t size, int64_t kept, int64_t layers);

enum class Work : uint8_t {
  kForward,
  kAgain,  // the forward of a group that was not kept, right before its backward
  kBackward,
};

constexpr std::string_view name_of(Work work) {
  constexpr std::string_view kNames[] = {"forward", "again", "backward"};
  return kNames[size_t(work)];
}

/// One layer's turn in a pass.
struct Visit {
  int64_t layer;
  Work work;
  bool begins = false;    // the first of its group's visits for this work
  bool ends = false;      // the last of them
  bool keeps = false;     // a forward whose activations stay for the backward
  bool offloads = false;  // a group's input moves to host memory, in the visit that begins it
  bool takes = false;     // a group's input comes back, likewise

  /// Of a forward: whether anything reads its output. The second forward of a group's last layer
  /// has no reader: the backward of the same layer comes next.
  bool needs_output() const { return !(work == Work::kAgain && ends); }

  bool operator==(const Visit&) const = default;
};

/// All layers forward; with `training`, all groups backward after that, the last one first, where
/// needed each after its second forward. The last group is always kept: backward begins with it, so
/// that keeping it costs no peak and saves its second forward. Throws std::logic_error unless the
/// groups follow each other from layer 0 on.
std::vector<Visit> visits_of(std::span<const LayerGroup> groups, bool training);

/// Layers that are whole at a time where layers are gathered: the visited one and the next.
inline constexpr int kGatherSlots = 2;
/// The layer that has to be whole after that of visits[i], and so is gathered during the visit
/// unless a slot holds it already; nothing where no other layer follows.
std::optional<int64_t> next_gather(std::span<const Visit> visits, size_t i);

}  // namespace tessera::parallel
