// Stands in for NCCL: the calls that a communicator needs, between threads and between processes of
// one machine, whose data goes in pieces through memory that the unique id names. Every operation
// is work of its stream that lets other streams go on until its peers come. It refuses what NCCL
// refuses, and reports, by failing the device, what would hang NCCL or spoil its results.
#include <fcntl.h>
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "queue.h"

namespace {

using cuda_on_cpu::accessible;
using cuda_on_cpu::Outcome;

constexpr int kMostRanks = 16;
constexpr size_t kPiece = size_t{256} << 10;  // of a collective
constexpr size_t kLetter = size_t{64} << 10;  // of a message

enum class Kind : uint64_t { kNone, kAllGather, kAllReduce, kBroadcast, kMessage };

/// What the ranks have to agree on.
struct Header {
  Kind kind;
  uint64_t count, type, root;

  bool operator==(const Header&) const = default;
};

/// Where one rank shows a piece to all. A piece is numbered from 1 over all collectives, and lies
/// in the half of its parity until all have taken it.
struct Board {
  std::atomic<uint64_t> posted, taken;
  Header headers[2];
};
/// The same from one rank to another, one piece at a time.
struct Mailbox {
  std::atomic<uint64_t> posted, taken;
  Header header;
};
/// The memory all ranks map; it begins as zeros.
struct Meeting {
  std::atomic<int> ranks, here, finalized, aborted, closed;
  std::atomic<int> device_plus_one[kMostRanks];
  Board boards[kMostRanks];
  Mailbox mailboxes[kMostRanks][kMostRanks];
  alignas(64) std::byte pieces[kMostRanks][2][kPiece];
  std::byte letters[kMostRanks][kMostRanks][kLetter];
};

/// What an ncclUniqueId says.
struct Place {
  int64_t process, descriptor;
};

thread_local std::string last_error;

ncclResult_t refuse(ncclResult_t result, const std::string& why) {
  last_error = why;
  return result;
}

size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return 1;
    case ncclFloat32:
      return 4;
    default:
      return 0;
  }
}

/// One operation of a rank, in pieces.
class Task {
 public:
  virtual ~Task() = default;
  /// Goes on as far as it can; true when it is done.
  virtual bool step() = 0;
};

}  // namespace

struct ncclComm {
  Meeting* meeting = nullptr;
  Place place{};
  int rank = 0, ranks = 0, device = 0;
  bool finalizing = false;
  std::atomic<bool> aborted = false;
  bool in_progress = true;  // what was called last has not been asked for since
  // Numbers given out to pieces so far.
  uint64_t pieces = 0;
  std::array<uint64_t, kMostRanks> sent{}, received{};
  std::atomic<int> queued = 0;  // operations that are not done
  cuda_on_cpu::FencePtr last;   // the newest of them, done or not

  ~ncclComm() { munmap(meeting, sizeof(Meeting)); }
  /// All have come, so that the file needs no name any more.
  bool complete() const {
    if (meeting->here < ranks) return false;
    if (place.process == getpid() && meeting->closed.exchange(1) == 0) close(int(place.descriptor));
    return true;
  }
};

namespace {

using Comm = std::shared_ptr<ncclComm>;

std::mutex comms_mutex;
std::vector<Comm>& comms() {
  static auto& live = *std::make_unique<std::vector<Comm>>().release();
  return live;
}
/// The live communicator of a handle, or null.
Comm find(ncclComm_t handle) {
  const std::lock_guard lock(comms_mutex);
  for (const Comm& comm : comms()) {
    if (comm.get() == handle) return comm;
  }
  return nullptr;
}
Comm forget(ncclComm_t handle) {
  const Comm comm = find(handle);
  const std::lock_guard lock(comms_mutex);
  std::erase(comms(), comm);
  return comm;
}

void fail(const ncclComm& comm, const std::string& message) {
  cuda_on_cpu::fail_device(comm.device, cudaErrorLaunchFailure,
                           "NCCL, rank " + std::to_string(comm.rank) + ": " + message);
}

const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"nothing", "AllGather", "AllReduce", "Broadcast", "a message"};
  return kNames[size_t(kind)];
}
std::string described(const Header& h) {
  return std::string(name_of(h.kind)) + " of " + std::to_string(h.count) + " elements of type " +
         std::to_string(h.type) + ", root " + std::to_string(h.root);
}

class Collective final : public Task {
 public:
  Collective(ncclComm& comm, Header header, const void* send, void* receive)
      : comm_(comm),
        header_(header),
        send_(static_cast<const std::byte*>(send)),
        receive_(static_cast<std::byte*>(receive)),
        bytes_(header.count * size_of(ncclDataType_t(header.type))),
        first_(comm.pieces + 1),
        pieces_((bytes_ + kPiece - 1) / kPiece) {
    comm.pieces += pieces_;
  }

  bool step() override {
    Meeting& meeting = *comm_.meeting;
    while (piece_ < pieces_) {
      const uint64_t number = first_ + piece_;
      Board& mine = meeting.boards[comm_.rank];
      if (mine.posted < number && !post(mine, number)) return false;
      for (int r = 0; r < comm_.ranks; ++r) {
        if (meeting.boards[r].posted < number) return false;
      }
      for (int r = 0; r < comm_.ranks; ++r) {
        const Header& theirs = meeting.boards[r].headers[number % 2];
        if (theirs == header_) continue;
        fail(comm_, "ranks disagree, which hangs or spoils results: here " + described(header_) +
                        ", on rank " + std::to_string(r) + " " + described(theirs));
        return true;
      }
      take(number);
      mine.taken = number;
      ++piece_;
    }
    return true;
  }

 private:
  size_t begin() const { return piece_ * kPiece; }
  size_t length() const { return std::min(kPiece, bytes_ - begin()); }
  const std::byte* piece_of(int rank, uint64_t number) const {
    return comm_.meeting->pieces[rank][number % 2];
  }

  bool post(Board& mine, uint64_t number) {
    if (mine.posted != number - 1) return false;  // an earlier operation's turn
    for (int r = 0; r < comm_.ranks; ++r) {
      if (comm_.meeting->boards[r].taken + 2 < number) return false;
    }
    if (header_.kind != Kind::kBroadcast || int(header_.root) == comm_.rank) {
      std::memcpy(comm_.meeting->pieces[comm_.rank][number % 2], send_ + begin(), length());
    }
    mine.headers[number % 2] = header_;
    mine.posted = number;
    return true;
  }
  void take(uint64_t number) {
    if (header_.kind == Kind::kBroadcast) {
      std::memcpy(receive_ + begin(), piece_of(int(header_.root), number), length());
    } else if (header_.kind == Kind::kAllGather) {
      for (int r = 0; r < comm_.ranks; ++r) {
        std::memcpy(receive_ + size_t(r) * bytes_ + begin(), piece_of(r, number), length());
      }
    } else {
      auto* to = reinterpret_cast<float*>(receive_ + begin());
      for (size_t i = 0; i < length() / sizeof(float); ++i) {
        float sum = 0.0f;
        for (int r = 0; r < comm_.ranks; ++r) {
          sum += reinterpret_cast<const float*>(piece_of(r, number))[i];
        }
        to[i] = sum;
      }
    }
  }

  ncclComm& comm_;
  const Header header_;
  const std::byte* const send_;
  std::byte* const receive_;
  const size_t bytes_;
  const uint64_t first_;
  const uint64_t pieces_;
  uint64_t piece_ = 0;
};

/// One side of a message; both are done when it has arrived.
class Message final : public Task {
 public:
  Message(ncclComm& comm, Header header, const void* from, void* to, int peer)
      : comm_(comm),
        header_(header),
        from_(static_cast<const std::byte*>(from)),
        to_(static_cast<std::byte*>(to)),
        box_(to ? comm.meeting->mailboxes[peer][comm.rank]
                : comm.meeting->mailboxes[comm.rank][peer]),
        letter_(to ? comm.meeting->letters[peer][comm.rank]
                   : comm.meeting->letters[comm.rank][peer]),
        bytes_(header.count * size_of(ncclDataType_t(header.type))) {
    uint64_t& given = to ? comm.received[size_t(peer)] : comm.sent[size_t(peer)];
    next_ = given + 1;
    given += std::max<uint64_t>(1, (bytes_ + kLetter - 1) / kLetter);
    last_ = given;
  }

  bool step() override {
    for (; next_ <= last_; ++next_, done_ += kLetter) {
      const size_t length = std::min(kLetter, bytes_ - done_);
      if (to_) {
        if (box_.posted < next_) return false;
        if (!(box_.header == header_)) {
          fail(comm_,
               "receives " + described(header_) + " where it is sent " + described(box_.header));
          box_.taken = last_;
          return true;
        }
        std::memcpy(to_ + done_, letter_, length);
        box_.taken = next_;
      } else {
        if (box_.taken + 1 != next_) return false;
        std::memcpy(letter_, from_ + done_, length);
        box_.header = header_;
        box_.posted = next_;
      }
    }
    return box_.taken >= last_;
  }

 private:
  ncclComm& comm_;
  const Header header_;
  const std::byte* const from_;
  std::byte* const to_;
  Mailbox& box_;
  std::byte* const letter_;
  const size_t bytes_;
  uint64_t next_, last_;
  size_t done_ = 0;
};

/// What a thread has called since ncclGroupStart.
struct Group {
  int depth = 0;
  ncclResult_t result = ncclSuccess;
  struct Entry {
    Comm comm;
    cudaStream_t stream;
    Header header;
    const void* send;
    void* receive;
    int peer;
  };
  std::vector<Entry> entries;
};
thread_local Group group;

std::unique_ptr<Task> task_of(const Group::Entry& e) {
  if (e.header.kind == Kind::kMessage) {
    return std::make_unique<Message>(*e.comm, e.header, e.send, e.receive, e.peer);
  }
  return std::make_unique<Collective>(*e.comm, e.header, e.send, e.receive);
}

/// Where two communicators of a device may be at work at once, ranks may begin with different ones,
/// each of which keeps the device's blocks that the other one needs.
bool comes_after_other_groups(const ncclComm& comm, cudaStream_t stream) {
  const std::lock_guard lock(comms_mutex);
  return std::ranges::all_of(comms(), [&](const Comm& other) {
    return other.get() == &comm || other->device != comm.device ||
           cuda_on_cpu::comes_after(stream, other->last);
  });
}

/// One operation of the stream: everything the group has for one communicator.
ncclResult_t enqueue(const Comm& comm, cudaStream_t stream, const std::vector<Group::Entry>& all) {
  auto tasks = std::make_shared<std::vector<std::unique_ptr<Task>>>();
  for (const Group::Entry& e : all) {
    if (e.comm == comm && e.stream == stream && e.header.count > 0) tasks->push_back(task_of(e));
  }
  if (tasks->empty()) return ncclSuccess;
  if (!comes_after_other_groups(*comm, stream)) {
    const char* why =
        "may communicate at once with another communicator of its device, which can hang NCCL: let "
        "its stream wait for the other's operation";
    fail(*comm, why);
    return refuse(ncclInvalidUsage, why);
  }
  ++comm->queued;
  const cudaError_t status = cuda_on_cpu::enqueue(stream, [comm, tasks] {
    if (!comm->aborted) {
      std::erase_if(*tasks, [](const auto& task) { return task->step(); });
      if (!tasks->empty()) return Outcome::kNotYet;
    }
    --comm->queued;
    return Outcome::kDone;
  });
  const std::lock_guard lock(comms_mutex);
  comm->last = cuda_on_cpu::newest_of(stream);
  return status == cudaSuccess ? ncclSuccess : refuse(ncclUnhandledCudaError, "the stream is gone");
}

/// A message to itself needs both its sides in one group.
bool self_messages_match(const std::vector<Group::Entry>& entries) {
  int open = 0;
  for (const Group::Entry& e : entries) {
    if (e.header.kind == Kind::kMessage && e.peer == e.comm->rank) open += e.receive ? -1 : 1;
  }
  return open == 0;
}

ncclResult_t end_group() {
  Group ended = std::exchange(group, {});
  if (ended.result != ncclSuccess) return ended.result;
  if (!self_messages_match(ended.entries)) {
    return refuse(ncclInvalidUsage, "a message to itself without its other side");
  }
  std::set<std::pair<ncclComm*, cudaStream_t>> seen;
  for (const Group::Entry& e : ended.entries) {
    if (!seen.emplace(e.comm.get(), e.stream).second) continue;
    const ncclResult_t result = enqueue(e.comm, e.stream, ended.entries);
    if (result != ncclSuccess) return result;
    e.comm->in_progress = true;
  }
  return ended.entries.empty() ? ncclSuccess : ncclInProgress;
}

/// Where operands may lie: apart, or as the operation's in-place rule says.
bool operands_fit(const Group::Entry& e) {
  const size_t bytes = e.header.count * size_of(ncclDataType_t(e.header.type));
  const ncclComm& comm = *e.comm;
  const size_t parts = e.header.kind == Kind::kAllGather ? size_t(comm.ranks) : 1;
  const bool reads =
      e.send && (e.header.kind != Kind::kBroadcast || int(e.header.root) == comm.rank);
  if (reads && !accessible(e.send, bytes, comm.device)) return false;
  if (e.receive && !accessible(e.receive, bytes * parts, comm.device)) return false;
  if (!e.send || !e.receive) return true;
  const auto* from = static_cast<const std::byte*>(e.send);
  const auto* to = static_cast<const std::byte*>(e.receive);
  const auto* in_place = to + (parts > 1 ? size_t(comm.rank) * bytes : 0);
  return from == in_place || from + bytes <= to || to + bytes * parts <= from;
}

ncclResult_t check(const Group::Entry& e) {
  const ncclComm& comm = *e.comm;
  if (comm.in_progress || comm.finalizing) {
    return refuse(ncclInvalidArgument, "used before the call before has ended, or after Finalize");
  }
  if (size_of(ncclDataType_t(e.header.type)) == 0) {
    return refuse(ncclInvalidArgument, "a type that the stand-in does not know");
  }
  const int other = e.header.kind == Kind::kMessage ? e.peer : int(e.header.root);
  if (other < 0 || other >= comm.ranks) return refuse(ncclInvalidArgument, "no such rank");
  if (cuda_on_cpu::device_of(e.stream) != comm.device) {
    return refuse(ncclInvalidUsage, "the stream is not one of the communicator's device");
  }
  if (e.header.count > 0 && !operands_fit(e)) {
    return refuse(ncclInvalidArgument,
                  "operands outside of the device's memory, or that overlap but not in place");
  }
  return ncclSuccess;
}

ncclResult_t call(ncclComm_t handle, cudaStream_t stream, Header header, const void* send,
                  void* receive, int peer = -1) {
  ncclGroupStart();
  const Comm comm = find(handle);
  Group::Entry entry{comm, stream, header, send, receive, peer};
  ncclResult_t result =
      comm ? check(entry) : refuse(ncclInvalidArgument, "the communicator was destroyed");
  if (result == ncclSuccess) {
    group.entries.push_back(std::move(entry));
  } else {
    group.result = result;
  }
  const ncclResult_t ended = ncclGroupEnd();
  return result == ncclSuccess ? ended : result;
}

/// The first to come says how many there are; each takes its own seat.
ncclResult_t sit_down(Meeting& meeting, int ranks, int rank, int device) {
  int expected = 0;
  if (!meeting.ranks.compare_exchange_strong(expected, ranks) && expected != ranks) {
    return refuse(ncclInvalidArgument, "ranks disagree on how many they are");
  }
  expected = 0;
  if (!meeting.device_plus_one[rank].compare_exchange_strong(expected, device + 1)) {
    return refuse(ncclInvalidUsage, "two ranks of one number");
  }
  for (int r = 0; r < ranks; ++r) {
    if (r != rank && meeting.device_plus_one[r] == device + 1) {
      return refuse(ncclInvalidUsage, "Duplicate GPU detected: ranks " + std::to_string(rank) +
                                          " and " + std::to_string(r) + " both on device " +
                                          std::to_string(device));
    }
  }
  ++meeting.here;
  return ncclSuccess;
}

}  // namespace

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const int descriptor = memfd_create("nccl_standin", MFD_CLOEXEC);
  if (descriptor < 0 || ftruncate(descriptor, sizeof(Meeting)) != 0) return ncclSystemError;
  const Place place{getpid(), descriptor};
  *id = {};
  std::memcpy(id->internal, &place, sizeof(place));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* made, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  *made = nullptr;
  if (ranks < 1 || ranks > kMostRanks || rank < 0 || rank >= ranks) {
    return refuse(ncclInvalidArgument, "no such rank, or more ranks than the stand-in can");
  }
  if (!config || config->magic != 0xcafebeef || config->blocking != 0) {
    return refuse(ncclInvalidArgument, "the stand-in knows only communicators that do not block");
  }
  Place place;
  std::memcpy(&place, id.internal, sizeof(place));
  const std::string path =
      "/proc/" + std::to_string(place.process) + "/fd/" + std::to_string(place.descriptor);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0)
    return refuse(ncclInvalidArgument, "not an id, or that of a process that has ended");
  void* const memory = mmap(nullptr, sizeof(Meeting), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  auto comm = std::make_shared<ncclComm>();
  comm->meeting = static_cast<Meeting*>(memory);
  comm->place = place;
  comm->rank = rank;
  comm->ranks = ranks;
  if (cudaGetDevice(&comm->device) != cudaSuccess) return ncclUnhandledCudaError;
  const ncclResult_t seated = sit_down(*comm->meeting, ranks, rank, comm->device);
  if (seated != ncclSuccess) return seated;
  *made = comm.get();
  const std::lock_guard lock(comms_mutex);
  comms().push_back(std::move(comm));
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* state) {
  const Comm comm = find(handle);
  if (!comm) return refuse(ncclInvalidArgument, "the communicator was destroyed");
  if (comm->meeting->aborted > 0) {
    *state = refuse(ncclRemoteError, "another rank aborted");
  } else if (!comm->complete()) {
    *state = ncclInProgress;
  } else if (comm->finalizing) {
    *state =
        comm->meeting->finalized == comm->ranks && comm->queued == 0 ? ncclSuccess : ncclInProgress;
  } else {
    comm->in_progress = false;
    *state = ncclSuccess;
  }
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t handle) {
  const Comm comm = find(handle);
  if (!comm || comm->finalizing) return refuse(ncclInvalidArgument, "destroyed or finalized");
  comm->finalizing = true;
  ++comm->meeting->finalized;
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t handle) {
  const Comm comm = forget(handle);
  if (!comm) return refuse(ncclInvalidArgument, "destroyed twice");
  if (comm->meeting->finalized == comm->ranks && comm->queued == 0) return ncclSuccess;
  fail(*comm, "destroyed before all ranks have finalized: what others need may be lost");
  return refuse(ncclInvalidUsage, "destroyed before all ranks have finalized");
}

ncclResult_t ncclCommAbort(ncclComm_t handle) {
  const Comm comm = forget(handle);
  if (!comm) return refuse(ncclInvalidArgument, "the communicator was destroyed");
  comm->aborted = true;
  ++comm->meeting->aborted;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (group.depth == 0) return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--group.depth > 0) return ncclSuccess;
  return end_group();
}

ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return call(comm, stream, {Kind::kAllGather, count, uint64_t(type), 0}, send, receive);
}
ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  if (op != ncclSum || type != ncclFloat32) {
    return refuse(ncclInvalidArgument, "the stand-in only adds float32");
  }
  return call(comm, stream, {Kind::kAllReduce, count, uint64_t(type), 0}, send, receive);
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
  return call(comm, stream, {Kind::kBroadcast, count, uint64_t(type), uint64_t(root)}, send,
              receive);
}
ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return call(comm, stream, {Kind::kMessage, count, uint64_t(type), 0}, from, nullptr, peer);
}
ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return call(comm, stream, {Kind::kMessage, count, uint64_t(type), 0}, nullptr, to, peer);
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
    default:
      return "unhandled error";
  }
}
const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }
ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
