// What every operator needs to run: the first argument of each. No singletons; a program may hold
// several. Not thread-safe: one host thread drives one Context.
#pragma once

#include <cstdint>

#include "runtime/core/arena.h"
#include "runtime/core/device.h"
#include "runtime/core/dtype.h"
#include "runtime/core/stream.h"

namespace tessera {

class Context {
 public:
  Context(Device device, int threads, uint64_t seed)
      : device_(device), threads_(threads), seed_(seed) {}

  Device device() const { return device_; }
  int threads() const { return threads_; }
  uint64_t seed() const { return seed_; }

  /// What products with frozen weights are computed in, and part of a result's bits: float32,
  /// bfloat16 (operands rounded, float32 sums) or float16 (on the CPU only the weights are
  /// rounded). Activations are float32 in any case.
  DType compute_dtype() const { return compute_dtype_; }
  void set_compute_dtype(DType type) { compute_dtype_ = type; }

  /// Scratch for operators; each takes an ArenaScope. Starts measure-only; set before real work.
  Arena& scratch() { return scratch_; }
  void set_scratch(Arena arena) { scratch_ = std::move(arena); }
  /// True while memory is being planned: operators check their shapes, take their scratch and
  /// return before they touch any data.
  bool measuring() const { return scratch_.measuring(); }

  /// On the CPU the calling thread is the compute stream: operators return when they are done.
  Stream& copy_stream() { return copy_; }
  Stream& comm_stream() { return comm_; }

 private:
  Device device_;
  int threads_;
  uint64_t seed_;
  DType compute_dtype_ = DType::kF32;
  Arena scratch_;
  Stream copy_;
  Stream comm_;
};

}  // namespace tessera
