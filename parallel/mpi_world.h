// The thread that makes every MPI call of this process, from MPI_Init to MPI_Finalize. Calls are
// handed to it; it starts them in that order, keeps any number under way at once, and polls them
// with growing pauses, so that a rank that waits leaves its cores to others.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "parallel/mpi_communicator.h"
#include "parallel/mpi_operation.h"
#include "parallel/mpi_places.h"
#include "parallel/mpi_watchdog.h"

namespace tessera::parallel {

class MpiWorld {
 public:
  /// Starts MPI; collective over the job.
  explicit MpiWorld(MpiOptions options);
  /// Waits for the other ranks' destructors and ends MPI.
  ~MpiWorld();
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  /// Returns when `op` is done. From any thread but the MPI thread.
  void run(MpiOperation& op);
  [[noreturn]] void abort(std::string_view message);

  const std::shared_ptr<MpiGroup>& all() const { return all_; }
  MpiPlaces& places() { return *places_; }
  size_t largest_count() const { return options_.largest_count; }
  void set_watchdog(std::chrono::seconds limit) { limit_ = limit; }

  /// For agreeing on a number that no group of any of the ranks has yet.
  uint64_t reserve_group_id();
  void use_group_id(uint64_t id);

 private:
  using Clock = std::chrono::steady_clock;

  // On the MPI thread:
  void serve();
  void start();
  bool take_work();
  void poll();
  bool ranks_missing() const;
  [[noreturn]] void end_job();

  /// The first message that ends the job goes to on_abort; false when another one came first.
  bool claim_end(std::string_view message);

  const MpiOptions options_;
  std::optional<MpiPlaces> places_;
  std::optional<MpiWatchdog> watchdog_;
  std::shared_ptr<MpiGroup> all_;

  std::mutex mutex_;
  std::condition_variable changed_;   // for the MPI thread
  std::condition_variable finished_;  // for those who wait for it
  std::deque<MpiOperation*> queue_;
  bool ready_ = false, closing_ = false, ending_ = false, end_now_ = false;
  std::exception_ptr start_error_;
  int exit_code_ = 1;
  uint64_t next_group_ = 1;
  std::atomic<std::chrono::seconds> limit_{std::chrono::seconds(0)};

  std::vector<MpiOperation*> active_;  // the MPI thread's, as are the times
  Clock::time_point last_poll_, last_event_;

  std::thread thread_;
};

}  // namespace tessera::parallel
