// Finds out who holds up a call that has waited too long. It reads the boards of its node and asks
// the ranks of other nodes by messages of its own; every rank's MPI thread answers, whatever its
// rank is at. Everything here runs on the MPI thread and never blocks.
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/mpi_operation.h"
#include "parallel/mpi_places.h"
#include "parallel/stuck_ranks.h"

namespace tessera::parallel {

class MpiWatchdog {
 public:
  using Clock = std::chrono::steady_clock;

  /// `comm` spans the whole job and is used by nothing else.
  MpiWatchdog(MPI_Comm comm, MpiPlaces& places) : comm_(comm), places_(places) {}

  /// To be called again and again. Once one of `active` has waited longer than `limit` (0: for ever
  /// is fine) and the facts are known: the message to end the job with.
  std::optional<std::string> poll(std::span<MpiOperation* const> active, std::chrono::seconds limit,
                                  Clock::time_point now);
  /// Letters under way are given up; before MPI_Finalize.
  void close();

 private:
  struct Question {
    uint64_t serial;
    uint64_t group;
  };
  struct Letter {
    MPI_Request request;
    std::vector<std::byte> bytes;
  };
  struct Inquiry {
    const MpiOperation* op;
    Question question;
    Clock::time_point begun;
    std::vector<RankSeen> others;
    bool settled = false;
    Clock::time_point report_at;
  };

  void begin(const MpiOperation& op, Clock::time_point now);
  bool may_report(Clock::time_point now);
  std::string message(std::chrono::seconds limit) const;
  void read_mail(Clock::time_point now);
  void answer(const Question& question, int to);
  void hear(std::span<const std::byte> letter, int from);
  void post(int tag, int to, std::vector<std::byte> bytes);

  MPI_Comm comm_;
  MpiPlaces& places_;
  std::optional<Inquiry> inquiry_;
  uint64_t next_serial_ = 1;
  Clock::time_point last_mail_{};
  std::deque<Letter> outbox_;
};

}  // namespace tessera::parallel
