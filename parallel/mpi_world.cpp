#include "parallel/mpi_world.h"

#include <mpi.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;
using namespace std::chrono_literals;

constexpr auto kIdleBeat = 250ms;  // an idle thread still shows that the rank lives
constexpr auto kAbortTime = 5s;    // for MPI_Abort, before the process ends by itself

/// How long to sleep before the next poll, `quiet` after the last call began or ended: briefly not
/// at all, then a share of the time already waited, which sleeping adds at most. When all ranks
/// have come, or may have, bytes are on their way and MPI has to be driven.
Clock::duration poll_pause(Clock::duration quiet, bool ranks_missing) {
  if (ranks_missing) return quiet < 50us ? 0us : std::clamp<Clock::duration>(quiet / 16, 20us, 2ms);
  return quiet < 1ms ? 0us : std::clamp<Clock::duration>(quiet / 64, 20us, 500us);
}

}  // namespace

MpiWorld::MpiWorld(MpiOptions options) : options_(std::move(options)) {
  thread_ = std::thread([this] { serve(); });
  Lock lock(mutex_);
  finished_.wait(lock, [&] { return ready_; });
  if (start_error_) {
    lock.unlock();
    thread_.join();
    std::rethrow_exception(start_error_);
  }
}

MpiWorld::~MpiWorld() {
  // Others wait for calls that this rank will never make.
  if (std::uncaught_exceptions() > 0) abort("the work of this rank ended by an exception");
  places_->board().set_phase("finished");
  MpiOperation last{CallKind::kBarrier, *all_,
                    [&](MpiOperation& op) { MPI_Ibarrier(all_->comm, op.request()); }};
  run(last);
  {
    const Lock lock(mutex_);
    closing_ = true;
    changed_.notify_one();
  }
  thread_.join();
}

void MpiWorld::run(MpiOperation& op) {
  Lock lock(mutex_);
  queue_.push_back(&op);
  changed_.notify_one();
  finished_.wait(lock, [&] { return op.done; });
}

bool MpiWorld::claim_end(std::string_view message) {
  {
    const Lock lock(mutex_);
    if (std::exchange(ending_, true)) return false;
  }
  const int code = options_.on_abort(places_->rank(), message);
  const Lock lock(mutex_);
  exit_code_ = code;
  end_now_ = true;
  changed_.notify_one();
  return true;
}

void MpiWorld::abort(std::string_view message) {
  claim_end(message);
  // The MPI thread ends the process, unless it is stuck inside MPI.
  std::this_thread::sleep_for(kAbortTime);
  std::_Exit(1);
}

void MpiWorld::end_job() {
  MPI_Abort(MPI_COMM_WORLD, exit_code_);
  std::_Exit(exit_code_);
}

uint64_t MpiWorld::reserve_group_id() {
  const Lock lock(mutex_);
  return next_group_++;
}

void MpiWorld::use_group_id(uint64_t id) {
  const Lock lock(mutex_);
  next_group_ = std::max(next_group_, id + 1);
}

void MpiWorld::serve() {
  prctl(PR_SET_TIMERSLACK, 1000);  // ns; pauses of 20 us would otherwise last 70
  try {
    start();
  } catch (...) {
    start_error_ = std::current_exception();
  }
  {
    const Lock lock(mutex_);
    ready_ = true;
    finished_.notify_all();
  }
  if (start_error_) return;
  last_poll_ = last_event_ = Clock::now();
  while (take_work()) poll();
  watchdog_->close();
  MPI_Finalize();
}

void MpiWorld::start() {
  int before = 0, provided = 0;
  MPI_Initialized(&before);
  TESSERA_CHECK(!before);
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);  // ends the process on failure
  if (provided < MPI_THREAD_FUNNELED) fail("this MPI was built without support for threads");
  MPI_Comm comm, watch;
  MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  MPI_Comm_dup(MPI_COMM_WORLD, &watch);
  places_.emplace(comm);
  watchdog_.emplace(watch, *places_);
  std::vector<int> ranks(static_cast<size_t>(places_->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  all_ = std::make_shared<MpiGroup>(comm, 0, std::move(ranks), places_->board());
}

/// Sleeps until the next poll or until there is new work, and starts that; false at the end.
bool MpiWorld::take_work() {
  std::deque<MpiOperation*> fresh;
  const Clock::duration pause =
      active_.empty() ? kIdleBeat : poll_pause(Clock::now() - last_event_, ranks_missing());
  {
    Lock lock(mutex_);
    changed_.wait_for(lock, pause, [&] { return !queue_.empty() || closing_ || end_now_; });
    if (end_now_) end_job();
    if (closing_) return false;
    fresh.swap(queue_);
  }
  const Clock::time_point now = Clock::now();
  // Not the time during which this process was itself stopped.
  for (MpiOperation* op : active_) op->waited += std::min<Clock::duration>(now - last_poll_, 1s);
  last_poll_ = now;
  for (MpiOperation* op : fresh) {
    if (op->peer < 0) op->number = places_->board().enter(op->group.id);
    op->start(*op);
    active_.push_back(op);
    last_event_ = now;
  }
  return true;
}

void MpiWorld::poll() {
  RankBoard& board = places_->board();
  board.beat();
  std::vector<MpiOperation*> ended;
  std::erase_if(active_, [&](MpiOperation* op) {
    int done = 0;
    MPI_Testall(int(op->requests.size()), op->requests.data(), &done, MPI_STATUSES_IGNORE);
    if (done) ended.push_back(op);
    return done != 0;
  });
  board.set_waits_in(active_.empty() ? CallKind::kNone : active_.back()->call);
  const Clock::time_point now = Clock::now();
  const auto message = watchdog_->poll(active_, limit_.load(), now);
  if (message && claim_end(*message)) end_job();
  if (ended.empty()) return;
  last_event_ = now;
  for (MpiOperation* op : ended) {
    for (MPI_Datatype& type : op->types) MPI_Type_free(&type);
  }
  const Lock lock(mutex_);
  for (MpiOperation* op : ended) op->done = true;
  finished_.notify_all();
}

/// Whether every call under way still lacks a rank of this node.
bool MpiWorld::ranks_missing() const {
  return std::ranges::all_of(active_, [&](const MpiOperation* op) {
    return std::ranges::any_of(op->group.world_rank, [&](int r) {
      const BoardPage* page = places_->page_of(r);
      return page && page->entered(op->group.id) < op->number;
    });
  });
}

}  // namespace tessera::parallel
