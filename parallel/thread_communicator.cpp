#include "parallel/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>

#include "parallel/stuck_ranks.h"
#include "runtime/core/buffer.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

/// What all groups of one job share. One condition variable for all: an abort must wake everyone.
struct ThreadCommunicator::World {
  struct Rank {
    std::mutex mutex;
    std::string phase;
    std::chrono::seconds limit{0};
  };

  World(int ranks, int per_node) : ranks_per_node(per_node), ranks(size_t(ranks)) {}

  /// Waits until `ready`; false when this rank's watchdog expired first. Throws when aborted.
  template <class Ready>
  bool wait(Lock& lock, int world_rank, Ready ready) {
    const std::chrono::seconds limit = limit_of(world_rank);
    const Clock::time_point deadline = Clock::now() + limit;
    while (!ready()) {
      if (message) throw Error(*message);
      if (limit.count() == 0) {
        changed.wait(lock);
      } else if (changed.wait_until(lock, deadline) == std::cv_status::timeout && !ready() &&
                 !message) {
        return false;
      }
    }
    return true;
  }

  void check_running() const {
    if (message) throw Error(*message);
  }
  void abort(std::string_view text) {  // under the lock
    if (!message) message = text;
    changed.notify_all();
  }

  std::chrono::seconds limit_of(int world_rank) {
    const std::lock_guard lock(ranks[size_t(world_rank)].mutex);
    return ranks[size_t(world_rank)].limit;
  }
  RankAt at(int world_rank) {
    const std::lock_guard lock(ranks[size_t(world_rank)].mutex);
    return {world_rank, "", ranks[size_t(world_rank)].phase};
  }
  [[noreturn]] void expire(std::span<const int> missing, int waiting, const char* call) {
    std::vector<RankAt> absent;
    for (int rank : missing) absent.push_back(at(rank));
    abort(stuck_message(absent, at(waiting), call, limit_of(waiting)));
    throw Error(*message);
  }

  const int ranks_per_node;
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<std::string> message;  // of the first abort
  std::vector<Rank> ranks;             // each has its own lock, taken last
};

/// What one rank brings to a collective call; the others read it between the meetings.
struct ThreadCommunicator::Call {
  const char* name = nullptr;
  int number = 0;  // root or colour
  std::span<const std::byte> in{};
  std::span<const uint64_t> in_bytes{};
  std::span<float> values{};
  std::shared_ptr<Group> made{};
  std::shared_ptr<Buffer> region{};
};

/// A send that waits for its receive.
struct ThreadCommunicator::Message {
  std::span<const std::byte> bytes;
  bool taken = false;  // the receiver is copying
  bool done = false;
};

struct ThreadCommunicator::Group {
  Group(std::shared_ptr<World> w, std::vector<int> ranks)
      : world(std::move(w)),
        world_rank(std::move(ranks)),
        calls(world_rank.size()),
        came(world_rank.size()),
        mail(world_rank.size() * world_rank.size()) {}

  int size() const { return int(world_rank.size()); }
  int node_of(int rank) const { return world_rank[size_t(rank)] / world->ranks_per_node; }
  std::deque<Message*>& mail_of(int from, int to) { return mail[size_t(from * size() + to)]; }

  /// The first meeting of a collective. Once it returns on one rank it returns on all, and none may
  /// leave the call before meet(): the others are reading its memory.
  void begin(int rank, Call call) {
    Lock lock(world->mutex);
    world->check_running();
    for (size_t r = 0; r < calls.size(); ++r) {
      TESSERA_CHECK(!came[r] || std::strcmp(calls[r].name, call.name) == 0);
    }
    const char* name = call.name;
    calls[size_t(rank)] = std::move(call);
    came[size_t(rank)] = true;
    if (all_came()) return pass();
    const uint64_t here = meetings;
    if (world->wait(lock, world_rank[size_t(rank)], [&] { return meetings != here; })) return;
    std::vector<int> missing;
    for (size_t r = 0; r < came.size(); ++r) {
      if (!came[r]) missing.push_back(world_rank[r]);
    }
    world->expire(missing, world_rank[size_t(rank)], name);
  }

  /// A further meeting of the same call. Nobody aborts between the two, so it always comes to pass.
  void meet(int rank) {
    Lock lock(world->mutex);
    came[size_t(rank)] = true;
    if (all_came()) return pass();
    const uint64_t here = meetings;
    world->changed.wait(lock, [&] { return meetings != here; });
  }

  bool all_came() const { return std::ranges::find(came, false) == came.end(); }
  void pass() {
    came.assign(came.size(), false);
    ++meetings;
    world->changed.notify_all();
  }

  const std::shared_ptr<World> world;
  const std::vector<int> world_rank;
  std::vector<Call> calls;
  std::vector<bool> came;
  uint64_t meetings = 0;
  std::vector<std::deque<Message*>> mail;
};

namespace {

void copy(std::span<const std::byte> from, std::span<std::byte> to) {
  if (!to.empty() && from.data() != to.data()) std::memcpy(to.data(), from.data(), to.size());
}

uint64_t total(std::span<const uint64_t> bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t(0));
}

class SharedBuffers final : public SharedMemory {
 public:
  SharedBuffers(std::vector<std::shared_ptr<Buffer>> regions, int rank)
      : regions_(std::move(regions)), rank_(rank) {}

  std::span<std::byte> mine() override {
    const Buffer& region = *regions_[size_t(rank_)];
    return {region.data(), region.size()};
  }
  std::optional<std::span<const std::byte>> of(int rank) const override {
    TESSERA_CHECK(rank >= 0 && size_t(rank) < regions_.size());
    const Buffer* region = regions_[size_t(rank)].get();
    if (!region) return std::nullopt;
    return std::span<const std::byte>(region->data(), region->size());
  }

 private:
  std::vector<std::shared_ptr<Buffer>> regions_;  // empty where on another node
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> ThreadCommunicator::group(int ranks,
                                                                     int ranks_per_node) {
  TESSERA_CHECK(ranks > 0 && ranks_per_node > 0);
  std::vector<int> world_rank(static_cast<size_t>(ranks));
  std::iota(world_rank.begin(), world_rank.end(), 0);
  const auto all =
      std::make_shared<Group>(std::make_shared<World>(ranks, ranks_per_node), world_rank);
  std::vector<std::unique_ptr<Communicator>> group;
  for (int rank : world_rank) group.emplace_back(new ThreadCommunicator(all, rank));
  return group;
}

ThreadCommunicator::ThreadCommunicator(std::shared_ptr<Group> group, int rank)
    : group_(std::move(group)), rank_(rank) {}

int ThreadCommunicator::size() const { return group_->size(); }

void ThreadCommunicator::barrier() { group_->begin(rank_, {.name = "barrier"}); }

void ThreadCommunicator::broadcast(std::span<std::byte> bytes, int root) {
  TESSERA_CHECK(is_rank(root));
  group_->begin(rank_, {.name = "broadcast", .number = root, .in = bytes});
  const bool fits = std::ranges::all_of(group_->calls, [&](const Call& call) {
    return call.number == root && call.in.size() == bytes.size();
  });
  if (fits && rank_ != root) copy(group_->calls[size_t(root)].in, bytes);
  group_->meet(rank_);
  TESSERA_CHECK(fits);
}

void ThreadCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  TESSERA_CHECK(all.size() == mine.size() * size_t(size()));
  group_->begin(rank_, {.name = "all_gather", .in = mine});
  bool fits = true;
  for (size_t r = 0; r < size_t(size()); ++r) {
    const Call& from = group_->calls[r];
    const auto part = all.subspan(r * mine.size(), mine.size());
    fits = fits && from.in.size() == part.size();
    if (fits) copy(from.in, part);
  }
  group_->meet(rank_);
  TESSERA_CHECK(fits);
}

void ThreadCommunicator::all_to_all(SendParts send, ReceiveParts receive) {
  TESSERA_CHECK(send.bytes.size() == size_t(size()) && receive.bytes.size() == size_t(size()));
  TESSERA_CHECK(total(send.bytes) == send.data.size());
  TESSERA_CHECK(total(receive.bytes) == receive.data.size());
  group_->begin(rank_, {.name = "all_to_all", .in = send.data, .in_bytes = send.bytes});
  bool fits = true;
  size_t to = 0;
  for (size_t r = 0; r < size_t(size()); ++r) {
    const Call& from = group_->calls[r];
    const size_t length = receive.bytes[r];
    fits = fits && from.in_bytes[size_t(rank_)] == length;
    if (fits) {
      const size_t begin = total(from.in_bytes.first(size_t(rank_)));
      copy(from.in.subspan(begin, length), receive.data.subspan(to, length));
    }
    to += length;
  }
  group_->meet(rank_);
  TESSERA_CHECK(fits);
}

void ThreadCommunicator::all_reduce(std::span<float> values) {
  group_->begin(rank_, {.name = "all_reduce", .values = values});
  const auto& calls = group_->calls;
  const bool fits = std::ranges::all_of(
      calls, [&](const Call& call) { return call.values.size() == values.size(); });
  const size_t ranks = size_t(size());
  const auto begin_of = [&](size_t slice) { return values.size() * slice / ranks; };
  // Rank r sums slice r of all ranks into its own memory; nobody else reads or writes it there.
  if (fits) {
    for (size_t i = begin_of(size_t(rank_)); i < begin_of(size_t(rank_) + 1); ++i) {
      float sum = calls[0].values[i];
      for (size_t r = 1; r < ranks; ++r) sum += calls[r].values[i];
      values[i] = sum;
    }
  }
  group_->meet(rank_);
  for (size_t r = 0; fits && r < ranks; ++r) {
    const size_t begin = begin_of(r), count = begin_of(r + 1) - begin;
    copy(std::as_bytes(calls[r].values.subspan(begin, count)),
         std::as_writable_bytes(values.subspan(begin, count)));
  }
  group_->meet(rank_);
  TESSERA_CHECK(fits);
}

void ThreadCommunicator::send(std::span<const std::byte> bytes, int to) {
  TESSERA_CHECK(is_rank(to) && to != rank_);
  World& world = *group_->world;
  Lock lock(world.mutex);
  world.check_running();
  Message message{bytes};
  auto& mail = group_->mail_of(rank_, to);
  mail.push_back(&message);
  world.changed.notify_all();
  const int me = group_->world_rank[size_t(rank_)];
  try {
    if (!world.wait(lock, me, [&] { return message.taken; })) {
      world.expire({&group_->world_rank[size_t(to)], 1}, me, "send");
    }
  } catch (...) {
    std::erase(mail, &message);
    throw;
  }
  // The receiver is copying and does not wait for anything, an abort or not.
  world.changed.wait(lock, [&] { return message.done; });
}

void ThreadCommunicator::receive(std::span<std::byte> bytes, int from) {
  TESSERA_CHECK(is_rank(from) && from != rank_);
  World& world = *group_->world;
  Lock lock(world.mutex);
  world.check_running();
  auto& mail = group_->mail_of(from, rank_);
  const int me = group_->world_rank[size_t(rank_)];
  if (!world.wait(lock, me, [&] { return !mail.empty(); })) {
    world.expire({&group_->world_rank[size_t(from)], 1}, me, "receive");
  }
  Message& message = *mail.front();
  TESSERA_CHECK(message.bytes.size() == bytes.size());
  mail.pop_front();
  message.taken = true;
  lock.unlock();
  copy(message.bytes, bytes);
  lock.lock();
  message.done = true;
  world.changed.notify_all();
}

std::unique_ptr<Communicator> ThreadCommunicator::split(int colour) {
  TESSERA_CHECK(colour >= 0);
  group_->begin(rank_, {.name = "split", .number = colour});
  std::vector<int> members, world_rank;
  for (int r = 0; r < size(); ++r) {
    if (group_->calls[size_t(r)].number != colour) continue;
    members.push_back(r);
    world_rank.push_back(group_->world_rank[size_t(r)]);
  }
  Call& first = group_->calls[size_t(members.front())];
  if (members.front() == rank_) {
    first.made = std::make_shared<Group>(group_->world, std::move(world_rank));
  }
  group_->meet(rank_);
  const std::shared_ptr<Group> made = first.made;
  group_->meet(rank_);
  const auto place = std::ranges::find(members, rank_) - members.begin();
  return std::unique_ptr<Communicator>(new ThreadCommunicator(made, int(place)));
}

int ThreadCommunicator::node() const {
  int lowest = 0;
  while (group_->node_of(lowest) != group_->node_of(rank_)) ++lowest;
  return lowest;
}

std::unique_ptr<SharedMemory> ThreadCommunicator::share(size_t bytes) {
  group_->begin(rank_, {.name = "share", .region = std::make_shared<Buffer>(Buffer::host(bytes))});
  std::vector<std::shared_ptr<Buffer>> regions(static_cast<size_t>(size()));
  for (int r = 0; r < size(); ++r) {
    if (group_->node_of(r) == group_->node_of(rank_)) {
      regions[size_t(r)] = group_->calls[size_t(r)].region;
    }
  }
  group_->meet(rank_);
  group_->calls[size_t(rank_)].region.reset();  // the regions live as long as what is returned
  return std::make_unique<SharedBuffers>(std::move(regions), rank_);
}

void ThreadCommunicator::publish_phase(std::string_view phase) {
  World::Rank& me = group_->world->ranks[size_t(group_->world_rank[size_t(rank_)])];
  const std::lock_guard lock(me.mutex);
  me.phase = phase;
}

void ThreadCommunicator::set_watchdog(std::chrono::seconds limit) {
  TESSERA_CHECK(limit.count() >= 0);
  World::Rank& me = group_->world->ranks[size_t(group_->world_rank[size_t(rank_)])];
  const std::lock_guard lock(me.mutex);
  me.limit = limit;
}

void ThreadCommunicator::abort(std::string_view message) {
  const std::lock_guard lock(group_->world->mutex);
  group_->world->abort(message);
}

void ThreadCommunicator::poll() {
  const std::lock_guard lock(group_->world->mutex);
  group_->world->check_running();
}

void run_ranks(int ranks, int ranks_per_node, FunctionRef<void(Communicator&)> body) {
  const auto group = ThreadCommunicator::group(ranks, ranks_per_node);
  std::mutex mutex;
  std::exception_ptr first;
  const auto failed = [&](Communicator& rank, const char* message) {
    {
      // Before the abort, so that the errors it causes on other ranks come later.
      const std::lock_guard lock(mutex);
      if (!first) first = std::current_exception();
    }
    rank.abort(message);
  };
  std::vector<std::jthread> threads;
  for (const auto& one : group) {
    threads.emplace_back([&body, &failed, &rank = *one] {
      try {
        body(rank);
      } catch (const std::exception& error) {
        failed(rank, error.what());
      } catch (...) {
        failed(rank, "a rank threw what is no std::exception");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

void run_ranks(int ranks, FunctionRef<void(Communicator&)> body) { run_ranks(ranks, ranks, body); }

}  // namespace tessera::parallel
