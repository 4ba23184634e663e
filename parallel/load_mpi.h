// MPI, and what of Tessera speaks it, are a shared object of their own, which is loaded where this
// process is one of several ranks: a program that runs alone needs no MPI.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "parallel/communicator.h"

namespace tessera::parallel {

struct MpiOptions {
  /// Called once, when this rank ends the job: says so to the user ("rank 2: message") and returns
  /// the job's exit code, not 0. From any thread.
  std::function<int(int rank, std::string_view message)> on_abort;
  /// The most that one MPI count says; longer messages are made of larger pieces. INT_MAX, but for
  /// tests.
  size_t largest_count;
};

/// All ranks of the job; once in the life of a process. Error where MPI is not there or cannot
/// start. The last of its communicators to go waits for the other ranks' and ends MPI; where an
/// exception destroys it, it aborts the job, so a rank should call abort() with the message first.
std::unique_ptr<Communicator> start_mpi(MpiOptions options);

/// "Open MPI v4.1.4", or why there is none.
std::string describe_mpi();

/// What the shared object exports.
struct MpiModule {
  std::unique_ptr<Communicator> (*start)(MpiOptions options);
  std::string (*describe)();
};
inline constexpr const char* kMpiModule = "tessera_mpi_module";

}  // namespace tessera::parallel
