#include "parallel/rank_board.h"

#include <algorithm>
#include <cstring>

#include "runtime/core/error.h"

namespace tessera::parallel {

std::string_view name_of(CallKind call) {
  constexpr std::array<std::string_view, 10> kNames{
      "",           "barrier", "broadcast", "all_gather", "all_to_all",
      "all_reduce", "send",    "receive",   "split",      "share"};
  TESSERA_CHECK(size_t(call) < kNames.size());
  return kNames[size_t(call)];
}

RankReport BoardPage::read(int rank, uint64_t group) const {
  RankReport report{};
  report.rank = rank;
  report.heartbeat = heartbeat.load(std::memory_order_relaxed);
  report.entered = entered(group);
  report.waits_in = waits_in.load(std::memory_order_relaxed);
  std::array<uint64_t, kPhaseBytes / 8> words;
  // A writer that was stopped in the middle leaves its half-written text.
  for (int attempt = 0; attempt < 100; ++attempt) {
    const uint64_t before = version.load(std::memory_order_acquire);
    for (size_t i = 0; i < words.size(); ++i) words[i] = phase[i].load(std::memory_order_acquire);
    if (before % 2 == 0 && version.load(std::memory_order_relaxed) == before) break;
  }
  std::memcpy(report.phase, words.data(), kPhaseBytes);
  report.phase[kPhaseBytes - 1] = 0;
  return report;
}

uint64_t BoardPage::entered(uint64_t group) const {
  for (const Group& slot : groups) {
    if (slot.id_and_one.load(std::memory_order_acquire) == group + 1) {
      return slot.entered.load(std::memory_order_relaxed);
    }
  }
  return 0;
}

void RankBoard::set_phase(std::string_view phase) {
  std::array<uint64_t, kPhaseBytes / 8> words{};
  std::memcpy(words.data(), phase.data(), std::min(phase.size(), kPhaseBytes - 1));
  const std::lock_guard lock(writing_);
  page_.version.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < words.size(); ++i) {
    page_.phase[i].store(words[i], std::memory_order_release);
  }
  page_.version.fetch_add(1, std::memory_order_release);
}

uint64_t RankBoard::enter(uint64_t group) {
  BoardPage::Group* free = nullptr;
  for (BoardPage::Group& slot : page_.groups) {
    const uint64_t id = slot.id_and_one.load(std::memory_order_relaxed);
    if (id == group + 1) return slot.entered.fetch_add(1, std::memory_order_relaxed) + 1;
    if (id == 0 && !free) free = &slot;
  }
  if (!free) return 0;
  free->entered.store(1, std::memory_order_relaxed);
  free->id_and_one.store(group + 1, std::memory_order_release);
  return 1;
}

void RankBoard::leave(uint64_t group) {
  for (BoardPage::Group& slot : page_.groups) {
    uint64_t id = group + 1;
    if (slot.id_and_one.compare_exchange_strong(id, 0)) return;
  }
}

}  // namespace tessera::parallel
