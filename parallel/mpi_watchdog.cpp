#include "parallel/mpi_watchdog.h"

#include <algorithm>
#include <cstring>

namespace tessera::parallel {

namespace {

using namespace std::chrono_literals;

enum Tag { kQuestion, kAnswer };

constexpr auto kMailEvery = 20ms;
constexpr auto kAnswerTime = 2s;   // for a sign of life
// The lowest rank that waits reports; others if it does not. mpirun leaves those it ends a second.
constexpr auto kOthersFirst = 3s;

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

std::optional<std::string> MpiWatchdog::poll(std::span<MpiOperation* const> active,
                                             std::chrono::seconds limit, Clock::time_point now) {
  read_mail(now);
  if (limit == 0s) return std::nullopt;
  if (inquiry_ && std::ranges::find(active, inquiry_->op) == active.end()) inquiry_.reset();
  if (!inquiry_) {
    const auto late =
        std::ranges::find_if(active, [&](const MpiOperation* op) { return op->waited > limit; });
    if (late != active.end()) begin(**late, now);
  }
  if (!inquiry_ || !may_report(now)) return std::nullopt;
  return message(limit);
}

void MpiWatchdog::begin(const MpiOperation& op, Clock::time_point now) {
  inquiry_.emplace(Inquiry{&op, {next_serial_++, op.group.id}, now, {}, false, {}});
  for (int r : op.group.world_rank) {
    if (r == places_.rank() || (op.peer >= 0 && r != op.peer)) continue;
    RankSeen seen{{}, places_.host(r), false};
    seen.report.rank = r;
    if (const BoardPage* page = places_.page_of(r)) {
      seen.report = page->read(r, op.group.id);
    } else {
      const auto question = bytes_of(inquiry_->question);
      post(kQuestion, r, {question.begin(), question.end()});
    }
    inquiry_->others.push_back(std::move(seen));
  }
}

/// Whether the facts are known, and it is this rank that tells them.
bool MpiWatchdog::may_report(Clock::time_point now) {
  Inquiry& inquiry = *inquiry_;
  if (!inquiry.settled) {
    for (RankSeen& seen : inquiry.others) {
      const int rank = int(seen.report.rank);
      const BoardPage* page = places_.page_of(rank);
      if (!page || seen.answers) continue;
      const RankReport report = page->read(rank, inquiry.question.group);
      if (report.heartbeat == seen.report.heartbeat) continue;
      seen.report = report;
      seen.answers = true;
    }
    const bool all_answer = std::ranges::all_of(inquiry.others, &RankSeen::answers);
    if (!all_answer && now < inquiry.begun + kAnswerTime) return false;
    inquiry.settled = true;
    // A lower rank may wait in the call before this one: who got all that it needs goes on.
    const bool lower_waits = std::ranges::any_of(inquiry.others, [&](const RankSeen& seen) {
      return seen.answers && seen.report.rank < places_.rank() && inquiry.op->number > 0 &&
             (seen.report.entered >= inquiry.op->number || seen.report.waits_in != CallKind::kNone);
    });
    inquiry.report_at = lower_waits ? now + kOthersFirst : now;
  }
  return now >= inquiry.report_at;
}

std::string MpiWatchdog::message(std::chrono::seconds limit) const {
  const MpiOperation& op = *inquiry_->op;
  const int rank = places_.rank();
  const RankAt me{rank, places_.host(rank), places_.board().page().read(rank, op.group.id).phase};
  // The rank that a message comes from or goes to has not come, whatever else it has entered.
  const uint64_t number = op.peer < 0 ? op.number : UINT64_MAX;
  return stuck_message(stuck_ranks(inquiry_->others, number), me, name_of(op.call), limit);
}

void MpiWatchdog::read_mail(Clock::time_point now) {
  if (places_.one_node() || now < last_mail_ + kMailEvery) return;
  last_mail_ = now;
  for (;;) {
    int there = 0, length = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &there, &status);
    if (!there) break;
    MPI_Get_count(&status, MPI_BYTE, &length);
    std::vector<std::byte> letter(static_cast<size_t>(length));
    MPI_Recv(letter.data(), length, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, comm_,
             MPI_STATUS_IGNORE);
    if (status.MPI_TAG == kAnswer) {
      hear(letter, status.MPI_SOURCE);
    } else {
      Question question;
      std::memcpy(&question, letter.data(), sizeof(question));
      answer(question, status.MPI_SOURCE);
    }
  }
  std::erase_if(outbox_, [](Letter& letter) {
    int sent = 0;
    MPI_Test(&letter.request, &sent, MPI_STATUS_IGNORE);
    return sent != 0;
  });
}

/// Tells of all ranks of this node: of one that is stopped, nobody else can.
void MpiWatchdog::answer(const Question& question, int to) {
  const auto head = bytes_of(question);
  std::vector<std::byte> letter(head.begin(), head.end());
  for (int r = 0; r < places_.size(); ++r) {
    const BoardPage* page = places_.page_of(r);
    if (!page) continue;
    const RankReport report = page->read(r, question.group);
    const auto bytes = bytes_of(report);
    letter.insert(letter.end(), bytes.begin(), bytes.end());
  }
  post(kAnswer, to, std::move(letter));
}

void MpiWatchdog::hear(std::span<const std::byte> letter, int from) {
  Question question;
  std::memcpy(&question, letter.data(), sizeof(question));
  if (!inquiry_ || inquiry_->question.serial != question.serial) return;
  for (size_t at = sizeof(question); at < letter.size(); at += sizeof(RankReport)) {
    RankReport report;
    std::memcpy(&report, letter.data() + at, sizeof(report));
    for (RankSeen& seen : inquiry_->others) {
      if (seen.report.rank != report.rank) continue;
      seen.report = report;
      seen.answers = seen.answers || report.rank == from;
    }
  }
}

void MpiWatchdog::post(int tag, int to, std::vector<std::byte> bytes) {
  Letter& letter = outbox_.emplace_back(Letter{MPI_REQUEST_NULL, std::move(bytes)});
  MPI_Isend(letter.bytes.data(), int(letter.bytes.size()), MPI_BYTE, to, tag, comm_,
            &letter.request);
}

void MpiWatchdog::close() {
  for (Letter& letter : outbox_) MPI_Request_free(&letter.request);
}

}  // namespace tessera::parallel
