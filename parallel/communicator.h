// How the ranks of a group talk: a virtual interface, with one file per kind.
// Every rank of the group makes the same collective calls in the same order; one thread at a time
// uses a communicator. A call returns when the caller's memory may be used again. Once a rank has
// called abort(), every pending and later call of its group throws Error with that rank's message.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::parallel {

/// One region of memory per rank, which the ranks of the same node read in place.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;

  /// This rank's own region, zero-filled, aligned to 4096 bytes.
  virtual std::span<std::byte> mine() = 0;
  /// The region of any rank; nothing where that rank is on another node. What its owner wrote
  /// before a barrier may be read after it.
  virtual std::optional<std::span<const std::byte>> of(int rank) const = 0;
  /// This rank has done with a part of another's region for now: what it read no longer counts as
  /// its own resident memory, and may be read again.
  virtual void let_go(int rank, size_t begin, size_t bytes) const {}
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Returns when every rank has called it.
  virtual void barrier() = 0;

  /// `bytes`, of one size on every rank, becomes what it is on `root`.
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;

  /// Rank r's `mine`, of one size on every rank, becomes the r-th of size() equal parts of `all`.
  /// `mine` may be this rank's part of `all` itself, and else must not overlap it.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  /// The two halves of an exchange: parts laid end to end in rank order, bytes[r] long for rank r.
  struct SendParts {
    std::span<const std::byte> data;
    std::span<const uint64_t> bytes;
  };
  struct ReceiveParts {
    std::span<std::byte> data;
    std::span<const uint64_t> bytes;
  };
  /// Part r of `send` goes to rank r, where it becomes part rank() of what that rank receives; the
  /// two sides name the same length. The spans must not overlap.
  virtual void all_to_all(SendParts send, ReceiveParts receive) = 0;

  /// Element-wise float32 sum over the ranks, in place; the order of the sum is the library's own.
  /// Every rank gets the same bits, but those depend on the number of ranks.
  virtual void all_reduce(std::span<float> values) = 0;

  /// One message to or from another rank; messages between two ranks arrive in the order sent, and
  /// the receiver names the length that was sent. A send may wait for its receive.
  virtual void send(std::span<const std::byte> bytes, int to) = 0;
  virtual void receive(std::span<std::byte> bytes, int from) = 0;

  /// Collective: the ranks that name one colour (>= 0) form a new group, in the order of their
  /// ranks here. abort() on either group reaches both.
  virtual std::unique_ptr<Communicator> split(int colour) = 0;

  /// The lowest rank of this group that runs on this rank's node. Ranks of one node name one
  /// number.
  virtual int node() const = 0;

  /// Collective: a region of `bytes` on each rank (sizes may differ, zero is allowed), shared with
  /// the ranks of its node. It lives as long as the returned object, whatever becomes of the group.
  virtual std::unique_ptr<SharedMemory> share(size_t bytes) = 0;

  /// What this rank is at ("step 12, backward"), for the watchdog's message and for phase(). From
  /// any thread, cheap.
  void set_phase(std::string_view phase) {
    {
      const std::lock_guard lock(phase_mutex_);
      phase_ = {std::string(phase), std::chrono::steady_clock::now()};
    }
    publish_phase(phase);
  }
  struct Phase {
    std::string text;
    std::chrono::steady_clock::time_point since;
  };
  /// The last that set_phase() was given here. From any thread.
  Phase phase() const {
    const std::lock_guard lock(phase_mutex_);
    return phase_;
  }
  /// From now on a rank that has waited in one call for longer than `limit` names the ranks that do
  /// not come and what they were at, and ends the job. 0: waits for ever. Holds for groups split
  /// off, too.
  virtual void set_watchdog(std::chrono::seconds limit) = 0;

  /// Ends the work of all ranks with one message, from any thread and more than once; the first
  /// message stays. Returns, or ends the process where the library can do no less (MPI).
  virtual void abort(std::string_view message) = 0;
  /// Throws the Error of an abort, if there was one; returns at once. From any thread. For one who
  /// waits for what other ranks may no longer do.
  virtual void poll() = 0;

 private:
  /// Tells the other ranks the phase, where somebody there may ask.
  virtual void publish_phase(std::string_view) {}

  mutable std::mutex phase_mutex_;
  Phase phase_;
};

/// The values of every rank, in rank order; as many on each. Collective.
template <class T>
std::vector<T> gather_values(Communicator& group, std::span<const T> mine) {
  std::vector<T> all(mine.size() * size_t(group.size()));
  group.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(all)));
  return all;
}
/// One value of every rank.
template <class T>
std::vector<T> gather_values(Communicator& group, const T& mine) {
  return gather_values(group, std::span<const T>(&mine, 1));
}

}  // namespace tessera::parallel
