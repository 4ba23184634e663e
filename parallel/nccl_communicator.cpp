#include "parallel/nccl_communicator.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "parallel/nccl_library.h"
#include "parallel/stuck_ranks.h"
#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kSoon = 1ms;  // for NCCL to have started what it was asked for
constexpr auto kSettlePause = 100us;
constexpr auto kWatchEvery = 20ms;
constexpr auto kTheirWord = 2s;  // for the message of a rank that has given up to get here

bool went_well(ncclResult_t result) { return result == ncclSuccess || result == ncclInProgress; }

uint64_t total(std::span<const uint64_t> bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t(0));
}

}  // namespace

/// What all groups of one rank share.
struct NcclCommunicator::Job {
  explicit Job(int r) : rank(r) {}
  const int rank;
  std::atomic<std::chrono::seconds> limit{0s};
  std::mutex mutex;
  std::string phase;
};

NcclCommunicator::NcclCommunicator(std::unique_ptr<Communicator> host, Device device,
                                   Stream& stream)
    : NcclCommunicator(std::move(host), nullptr, device, stream) {}

NcclCommunicator::NcclCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<Job> job,
                                   Device device, Stream& stream)
    : host_(std::move(host)),
      job_(job ? std::move(job) : std::make_shared<Job>(host_->rank())),
      device_(device),
      stream_(stream),
      exceptions_(std::uncaught_exceptions()) {
  if (size() == 1) return;
  connect();
  watcher_ = std::jthread([this](std::stop_token stop) { watch(stop); });
}

NcclCommunicator::~NcclCommunicator() {
  if (watcher_.joinable()) {
    watcher_.request_stop();
    watcher_.join();
  }
  if (std::uncaught_exceptions() > exceptions_) abort_nccl();
  Lock lock(mutex_);
  if (!comm_) return;
  try {
    settle(lock, nccl().CommFinalize(comm_), "end of a group");
    nccl().CommDestroy(std::exchange(comm_, nullptr));
  } catch (...) {  // the others are told, or told us
    if (lock.owns_lock()) lock.unlock();
    abort_nccl();
  }
}

void NcclCommunicator::connect() {
  cuda::use(device_);
  ncclUniqueId id{};
  if (rank() == 0) {
    const ncclResult_t result = nccl().GetUniqueId(&id);
    if (result != ncclSuccess) fail("ncclGetUniqueId: {}", nccl().GetErrorString(result));
  }
  host_->broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // so that no call waits where neither an abort nor the watchdog reaches it
  Lock lock(mutex_);
  const ncclResult_t result = nccl().CommInitRankConfig(&comm_, size(), id, rank(), &config);
  try {
    settle(lock, result, "connection");
  } catch (...) {
    if (lock.owns_lock()) lock.unlock();
    abort_nccl();
    throw;
  }
}

void NcclCommunicator::meet(const char* call, uint64_t bytes, int root) {
  struct Wish {
    uint64_t call, bytes, root;
    bool operator==(const Wish&) const = default;
  };
  const Wish mine{std::hash<std::string_view>()(call), bytes, uint64_t(root)};
  const auto all = gather_values(*host_, mine);
  const bool fits = std::ranges::count(all, mine) == size();
  TESSERA_CHECK(fits);
}

void NcclCommunicator::run(const char* call, FunctionRef<int(ncclComm*)> start) {
  Lock lock(mutex_);
  if (!comm_) refuse(lock, call);
  settle(lock, start(comm_), call);
  under_way_.push_back({stream_.record(), call, {}});
}

void NcclCommunicator::refuse(Lock& lock, const char* call) {
  lock.unlock();
  host_->poll();
  fail("{} of a group that has failed", call);
}

void NcclCommunicator::settle(Lock& lock, int result, const char* call) {
  const auto begin = Clock::now();
  auto now = ncclResult_t(result);
  const auto waited = [&] { return Clock::now() - begin; };
  while (now == ncclInProgress || (now == ncclRemoteError && waited() < kTheirWord)) {
    lock.unlock();
    host_->poll();
    check_patience(call, waited());
    waited() < kSoon ? std::this_thread::yield() : std::this_thread::sleep_for(kSettlePause);
    lock.lock();
    if (!comm_) refuse(lock, call);
    const ncclResult_t asked = nccl().CommGetAsyncError(comm_, &now);
    if (asked != ncclSuccess) now = asked;
  }
  if (now == ncclSuccess) return;
  fail("NCCL, {} of {} ranks: {}: {}", call, size(), nccl().GetErrorString(now),
       nccl().GetLastError(comm_));
}

void NcclCommunicator::check_patience(const char* call, Clock::duration waited) {
  const std::chrono::seconds limit = job_->limit;
  if (limit == 0s || waited < limit) return;
  const std::lock_guard lock(job_->mutex);
  fail("{}", stuck_message({}, {job_->rank, "", job_->phase}, call, limit));
}

void NcclCommunicator::watch(std::stop_token stop) {
  auto last = Clock::now();
  try {
    for (;;) {
      Lock lock(mutex_);
      stop_.wait_for(lock, stop, kWatchEvery, [] { return false; });
      if (stop.stop_requested() || !comm_) return;
      const auto now = Clock::now();
      const auto since = std::min<Clock::duration>(now - std::exchange(last, now), 1s);
      check_peers(since);
      check_progress(since);
      lock.unlock();
      host_->poll();
    }
  } catch (const std::exception& error) {
    abort(error.what());
  }
}

/// Under the lock, as the next.
void NcclCommunicator::check_peers(Clock::duration since) {
  ncclResult_t state = ncclSuccess;
  nccl().CommGetAsyncError(comm_, &state);
  if (went_well(state)) return;
  failing_ += since;
  if (state == ncclRemoteError && failing_ < kTheirWord) return;
  fail("NCCL: {}: {}", nccl().GetErrorString(state), nccl().GetLastError(comm_));
}

/// Only what is next in the stream grows old.
void NcclCommunicator::check_progress(Clock::duration since) {
  while (!under_way_.empty() && under_way_.front().done.reached()) under_way_.pop_front();
  if (under_way_.empty()) return;
  UnderWay& next = under_way_.front();
  check_patience(next.call, next.waited += since);
}

void NcclCommunicator::broadcast(std::span<std::byte> bytes, int root) {
  TESSERA_CHECK(root >= 0 && root < size());
  meet("broadcast", bytes.size(), root);
  if (bytes.empty() || size() == 1) return;
  run("broadcast", [&](ncclComm* comm) {
    return nccl().Broadcast(bytes.data(), bytes.data(), bytes.size(), ncclUint8, root, comm,
                            static_cast<cudaStream_t>(stream_.handle()));
  });
}

void NcclCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  TESSERA_CHECK(all.size() == mine.size() * size_t(size()));
  meet("all_gather", mine.size(), 0);
  if (mine.empty()) return;
  if (size() == 1) {
    if (mine.data() != all.data()) stream_.copy(all.data(), mine.data(), mine.size());
    return;
  }
  run("all_gather", [&](ncclComm* comm) {
    return nccl().AllGather(mine.data(), all.data(), mine.size(), ncclUint8, comm,
                            static_cast<cudaStream_t>(stream_.handle()));
  });
}

void NcclCommunicator::all_to_all(SendParts send, ReceiveParts receive) {
  const size_t ranks = size_t(size()), me = size_t(rank());
  TESSERA_CHECK(send.bytes.size() == ranks && receive.bytes.size() == ranks);
  TESSERA_CHECK(total(send.bytes) == send.data.size());
  TESSERA_CHECK(total(receive.bytes) == receive.data.size());
  const std::vector<uint64_t> eight(ranks, sizeof(uint64_t));
  std::vector<uint64_t> announced(ranks);
  host_->all_to_all({std::as_bytes(send.bytes), eight},
                    {std::as_writable_bytes(std::span(announced)), eight});
  TESSERA_CHECK(std::ranges::equal(announced, receive.bytes));
  stream_.copy(receive.data.data() + total(receive.bytes.first(me)),
               send.data.data() + total(send.bytes.first(me)), send.bytes[me]);
  if (send.data.size() + receive.data.size() == 2 * send.bytes[me]) return;
  run("all_to_all", [&](ncclComm* comm) {
    const auto stream = static_cast<cudaStream_t>(stream_.handle());
    ncclResult_t result = nccl().GroupStart();
    size_t from = 0, to = 0;
    for (size_t r = 0; r < ranks; ++r) {
      const size_t out = r == me ? 0 : send.bytes[r], in = r == me ? 0 : receive.bytes[r];
      if (out > 0 && went_well(result)) {
        result = nccl().Send(send.data.data() + from, out, ncclUint8, int(r), comm, stream);
      }
      if (in > 0 && went_well(result)) {
        result = nccl().Recv(receive.data.data() + to, in, ncclUint8, int(r), comm, stream);
      }
      from += send.bytes[r];
      to += receive.bytes[r];
    }
    const ncclResult_t ended = nccl().GroupEnd();
    return went_well(result) ? ended : result;
  });
}

void NcclCommunicator::all_reduce(std::span<float> values) {
  meet("all_reduce", values.size_bytes(), 0);
  if (values.empty() || size() == 1) return;
  run("all_reduce", [&](ncclComm* comm) {
    return nccl().AllReduce(values.data(), values.data(), values.size(), ncclFloat32, ncclSum, comm,
                            static_cast<cudaStream_t>(stream_.handle()));
  });
}

void NcclCommunicator::send(std::span<const std::byte> bytes, int to) {
  const uint64_t announced = bytes.size();
  host_->send(std::as_bytes(std::span(&announced, 1)), to);
  if (bytes.empty()) return;
  run("send", [&](ncclComm* comm) {
    return nccl().Send(bytes.data(), bytes.size(), ncclUint8, to, comm,
                       static_cast<cudaStream_t>(stream_.handle()));
  });
}

void NcclCommunicator::receive(std::span<std::byte> bytes, int from) {
  uint64_t announced = 0;
  host_->receive(std::as_writable_bytes(std::span(&announced, 1)), from);
  TESSERA_CHECK(announced == bytes.size());
  if (bytes.empty()) return;
  run("receive", [&](ncclComm* comm) {
    return nccl().Recv(bytes.data(), bytes.size(), ncclUint8, from, comm,
                       static_cast<cudaStream_t>(stream_.handle()));
  });
}

std::unique_ptr<Communicator> NcclCommunicator::split(int colour) {
  return std::unique_ptr<Communicator>(
      new NcclCommunicator(host_->split(colour), job_, device_, stream_));
}

std::unique_ptr<SharedMemory> NcclCommunicator::share(size_t) {
  fail("a GPU's memory cannot be shared by the ranks of a node");
}

void NcclCommunicator::publish_phase(std::string_view phase) {
  host_->set_phase(phase);
  const std::lock_guard lock(job_->mutex);
  job_->phase = phase;
}

void NcclCommunicator::set_watchdog(std::chrono::seconds limit) {
  host_->set_watchdog(limit);
  job_->limit = limit;
}

void NcclCommunicator::abort(std::string_view message) {
  host_->abort(message);
  abort_nccl();
}

/// The work on the stream ends, done or not.
void NcclCommunicator::abort_nccl() {
  const std::lock_guard lock(mutex_);
  if (comm_) nccl().CommAbort(std::exchange(comm_, nullptr));
}

std::string describe_nccl() {
  int v = 0;
  nccl().GetVersion(&v);
  return fmt::format("NCCL {}.{}.{} of {}", v / 10000, v / 100 % 100, v % 100, nccl().place);
}

}  // namespace tessera::parallel
