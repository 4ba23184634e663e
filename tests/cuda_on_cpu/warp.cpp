// What lanes of a warp do together, and cp.async: the device functions of cuda_on_cpu/thread.h.
#include <cuda_fp16.h>

#include <algorithm>

#include "executor.h"

namespace cuda_on_cpu {
namespace {

// Not memcpy, which TSan would see: the exchange through registers orders nothing.
void copy_words(uint64_t* to, const void* from, size_t bytes) {
  const auto* source = static_cast<const unsigned char*>(from);
  auto* target = reinterpret_cast<unsigned char*>(to);
  for (size_t i = 0; i < bytes; ++i) target[i] = source[i];
}

struct MatrixRow {
  const void* address;
};
struct Fragments {
  uint32_t a[4];
  uint32_t b[2];
  float c[4];
  Element element;
};
static_assert(sizeof(Fragments) <= sizeof(Slot));

template <class T>
T& in(Slot& slot) {
  return *reinterpret_cast<T*>(&slot);
}

// Reads four tiles and leaves each lane its four registers.
void distribute(Slot* slots, Executor& executor, Where where, bool transposed) {
  uint16_t tiles[4][8][8];
  for (unsigned l = 0; l < kLanes; ++l) {
    const void* const row = in<MatrixRow>(slots[l]).address;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
      executor.fail(cudaErrorMisalignedAddress, "ldmatrix: a row is not 16-byte aligned", where);
    }
    executor.check_shared(row, 16, "ldmatrix: a row outside of shared memory", where);
    tsan_read(row, 16);
    std::copy_n(static_cast<const uint16_t*>(row), 8, tiles[l / 8][l % 8]);
  }
  for (unsigned l = 0; l < kLanes; ++l) {
    uint32_t* const r = reinterpret_cast<uint32_t*>(slots[l].words);
    const unsigned row = l / 4, column = l % 4 * 2;
    for (int t = 0; t < 4; ++t) {
      const uint16_t low = transposed ? tiles[t][column][row] : tiles[t][row][column];
      const uint16_t high = transposed ? tiles[t][column + 1][row] : tiles[t][row][column + 1];
      r[t] = low | uint32_t(high) << 16;
    }
  }
}

// The tables of "Matrix Fragments for mma.m16n8k16": lane l is in group l / 4, at t = l % 4.
// a: registers 0, 1 hold rows group, group + 8 of columns 2t, 2t + 1; 2, 3 those of columns + 8.
// b: register 0 holds rows 2t, 2t + 1 of column group; 1 rows + 8.
// c: 0, 1 are row group, columns 2t, 2t + 1; 2, 3 row group + 8.
template <class Widen>
void multiply_as(Slot* slots, Widen widen) {
  float a[16][16], b[16][8], sums[16][8] = {};
  const auto half = [widen](uint32_t word, int h) { return widen(uint16_t(word >> (16 * h))); };
  for (unsigned l = 0; l < kLanes; ++l) {
    const Fragments& f = in<Fragments>(slots[l]);
    const unsigned group = l / 4, t2 = l % 4 * 2;
    for (int h = 0; h < 2; ++h) {
      for (int i = 0; i < 4; ++i) a[group + 8 * (i % 2)][t2 + h + 8 * (i / 2)] = half(f.a[i], h);
      for (int i = 0; i < 2; ++i) b[t2 + h + 8 * i][group] = half(f.b[i], h);
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) sums[row][column] += a[row][k] * b[k][column];
    }
  }
  for (unsigned l = 0; l < kLanes; ++l) {
    Fragments& f = in<Fragments>(slots[l]);
    for (int i = 0; i < 4; ++i) f.c[i] += sums[l / 4 + 8 * (i / 2)][l % 4 * 2 + i % 2];
  }
}

void multiply(Slot* slots, Executor&, Where) {
  if (in<Fragments>(slots[0]).element == Element::kBfloat16) {
    multiply_as(slots, [](uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); });
  } else {
    multiply_as(slots, [](uint16_t bits) { return __half2float(std::bit_cast<__half>(bits)); });
  }
}

}  // namespace

Meeting& Executor::meeting_of(unsigned mask, Where where) {
  Warp& warp = warps_[current_ / kLanes];
  if ((mask >> current_ % kLanes & 1) == 0) {
    fail(cudaErrorLaunchFailure, "warp function called by a lane that is not in its mask", where);
  }
  if ((mask & ~warp.live) != 0) {
    fail(cudaErrorLaunchFailure, "warp function with a mask that names a lane that has returned",
         where);
  }
  for (Meeting& meeting : warp.meetings) {
    if (meeting.mask == mask) return meeting;
    if (meeting.mask != 0) continue;
    meeting.mask = mask;
    return meeting;
  }
  fail(cudaErrorLaunchFailure, "more than four masks in use in one warp", where);
}

Slot* Executor::meet(unsigned mask, const void* value, size_t bytes, Complete complete,
                     Where where) {
  Meeting& meeting = meeting_of(mask, where);
  if (meeting.arrived == 0) {
    meeting.where = where;
  } else if (meeting.where.line() != where.line() ||
             meeting.where.file_name() != where.file_name()) {
    fail(cudaErrorLaunchFailure, "divergent warp function: other lanes wait", where,
         &meeting.where);
  }
  Slot* const slots = meeting.slots[meeting.parity];
  copy_words(slots[current_ % kLanes].words, value, bytes);
  meeting.arrived |= 1u << current_ % kLanes;
  if (meeting.arrived == mask) {
    if (complete != nullptr) complete(slots, *this, where);
    meeting.arrived = 0;
    meeting.parity ^= 1;
    const unsigned w = current_ / kLanes;
    warps_[w].runnable |= mask;
    runnable_warps_ |= 1u << w;
  }
  wait_here(where);
  return slots;
}

void* Executor::meeting_tag(unsigned mask, Where where) {
  Meeting& meeting = meeting_of(mask, where);
  return meeting.slots[meeting.parity];
}

PendingCopies& Executor::pending_copies() {
  PendingCopies& pending = copies_[current_];
  if (pending.block != blocks_started_) {
    pending.block = blocks_started_;
    pending.group = 0;
    pending.count = 0;
  }
  return pending;
}

void Executor::check_shared(const void* p, size_t bytes, const char* what, Where where) {
  const char* const at = static_cast<const char*>(p);
  if (shared_ != nullptr && at >= shared_ && at + bytes <= shared_ + shared_bytes()) return;
  fail(cudaErrorIllegalAddress, what, where);
}

void fail_kernel(cudaError_t code, const char* what, Where where) {
  running().fail(code, what, where);
}

void barrier(Where where) { running().barrier(where); }

unsigned barrier_count(bool predicate, Where where) {
  return running().barrier_count(predicate, where);
}

void warp_barrier(unsigned mask, Where where) {
  Executor& executor = running();
  void* const tag = executor.meeting_tag(mask, where);
  tsan_release(tag);
  executor.meet(mask, nullptr, 0, nullptr, where);
  tsan_acquire(tag);
}

void shuffle(unsigned mask, void* value, size_t bytes, int source, Where where) {
  Executor& executor = running();
  const Slot* const slots = executor.meet(mask, value, bytes, nullptr, where);
  if (source < 0) return;
  if ((mask >> source & 1) == 0) {
    executor.fail(cudaErrorLaunchFailure, "shuffle reads a lane outside of its mask", where);
  }
  const auto* from = reinterpret_cast<const unsigned char*>(slots[source].words);
  for (size_t i = 0; i < bytes; ++i) static_cast<unsigned char*>(value)[i] = from[i];
}

unsigned ballot(unsigned mask, bool predicate, Where where) {
  const Slot* const slots = running().meet(mask, &predicate, 1, nullptr, where);
  unsigned bits = 0;
  for (unsigned l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) != 0 && (slots[l].words[0] & 1) != 0) bits |= 1u << l;
  }
  return bits;
}

int lane() { return int(running().current() % kLanes); }

void* shared_memory() { return running().shared(); }

void copy_async(void* shared, const void* global, size_t bytes, bool valid, Where where) {
  Executor& executor = running();
  if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % bytes != 0) {
    executor.fail(cudaErrorMisalignedAddress, "cp.async: misaligned", where);
  }
  executor.check_shared(shared, bytes, "cp.async: target outside of shared memory", where);
  PendingCopies& pending = executor.pending_copies();
  if (pending.count == PendingCopies::kMost) {
    executor.fail(cudaErrorLaunchFailure, "cp.async: more under way than this simulation holds",
                  where);
  }
  tsan_write(shared, bytes);
  std::fill_n(static_cast<volatile unsigned char*>(shared), bytes, 0xFF);
  pending.copies[pending.count++] = {shared, global, pending.group, uint32_t(bytes), valid};
}

void copy_async_commit() { ++running().pending_copies().group; }

void copy_async_wait(int groups_under_way) {
  PendingCopies& pending = running().pending_copies();
  int kept = 0;
  for (int i = 0; i < pending.count; ++i) {
    const PendingCopies::Copy copy = pending.copies[i];
    if (copy.group + uint64_t(groups_under_way) >= pending.group) {
      pending.copies[kept++] = copy;
      continue;
    }
    if (copy.valid) tsan_read(copy.from, copy.bytes);
    tsan_write(copy.to, copy.bytes);
    const auto* from = static_cast<const volatile unsigned char*>(copy.from);
    auto* to = static_cast<volatile unsigned char*>(copy.to);
    for (uint32_t b = 0; b < copy.bytes; ++b) to[b] = copy.valid ? from[b] : 0;
  }
  pending.count = kept;
}

void load_matrices(uint32_t (&r)[4], const void* shared_row, bool transposed, Where where) {
  const auto straight = [](Slot* s, Executor& e, Where w) { distribute(s, e, w, false); };
  const auto turned = [](Slot* s, Executor& e, Where w) { distribute(s, e, w, true); };
  const MatrixRow mine{shared_row};
  Executor& executor = running();
  const Slot* const slots = executor.meet(
      ~0u, &mine, sizeof mine, transposed ? Executor::Complete(turned) : straight, where);
  const auto* got = reinterpret_cast<const uint32_t*>(slots[executor.current() % kLanes].words);
  for (int i = 0; i < 4; ++i) r[i] = got[i];
}

void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Element element,
                  Where where) {
  Fragments mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {c[0], c[1], c[2], c[3]}, element};
  Executor& executor = running();
  Slot* const slots = executor.meet(~0u, &mine, sizeof mine, multiply, where);
  const Fragments& got = in<Fragments>(slots[executor.current() % kLanes]);
  for (int i = 0; i < 4; ++i) c[i] = got.c[i];
}

}  // namespace cuda_on_cpu
