// What each rank of a job is at, for the watchdog: one page per rank in memory that the ranks of
// its node read at any time, even while it is stopped. One rank writes a page; nothing here waits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace tessera::parallel {

enum class CallKind : uint32_t {
  kNone,
  kBarrier,
  kBroadcast,
  kAllGather,
  kAllToAll,
  kAllReduce,
  kSend,
  kReceive,
  kSplit,
  kShare,
};
std::string_view name_of(CallKind call);

constexpr size_t kPhaseBytes = 128;

/// A page as read once, with the calls counted in one group. Plain bytes, made to be sent.
struct RankReport {
  int64_t rank;        // of the whole job
  uint64_t heartbeat;  // grows as long as the rank is alive, also while it computes
  uint64_t entered;    // collective calls it has made in the group
  CallKind waits_in;
  char phase[kPhaseBytes];  // zero-terminated
};

struct BoardPage {
  struct Group {
    std::atomic<uint64_t> id_and_one;  // 0: free
    std::atomic<uint64_t> entered;
  };
  static constexpr size_t kGroups = 64;  // a rank's groups beyond these are not watched by count

  std::atomic<uint64_t> heartbeat;
  std::atomic<uint64_t> version;  // odd while the phase is being written
  std::array<std::atomic<uint64_t>, kPhaseBytes / 8> phase;
  std::atomic<CallKind> waits_in;
  std::array<Group, kGroups> groups;

  RankReport read(int rank, uint64_t group) const;
  uint64_t entered(uint64_t group) const;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

/// The writer of one page, which must begin zero-filled and outlive it.
class RankBoard {
 public:
  explicit RankBoard(BoardPage& page) : page_(page) {}

  /// From any thread. Texts are cut at kPhaseBytes - 1 bytes.
  void set_phase(std::string_view phase);

  /// The group is no more; another may be counted in its place.
  void leave(uint64_t group);

  // By one thread:
  void beat() { page_.heartbeat.fetch_add(1, std::memory_order_relaxed); }
  void set_waits_in(CallKind call) { page_.waits_in.store(call, std::memory_order_relaxed); }
  /// Counts one more call; returns its number in the group, from 1, or 0 where the page is full.
  uint64_t enter(uint64_t group);

  const BoardPage& page() const { return page_; }

 private:
  BoardPage& page_;
  std::mutex writing_;
};

}  // namespace tessera::parallel
