// What every operator needs to run: the first argument of each. No singletons; a program may hold
// several. Not thread-safe: one host thread drives one Context.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/core/arena.h"
#include "runtime/core/device.h"
#include "runtime/core/dtype.h"
#include "runtime/core/stream.h"
#include "runtime/core/timeline.h"

namespace tessera {

class Context {
 public:
  /// On a GPU, the device becomes the calling thread's.
  Context(Device device, int threads, uint64_t seed);
  /// Only ever measures, as if it were on that device, which need not exist.
  static Context to_measure(Device device, DType compute) { return Context(device, compute); }

  Device device() const { return device_; }
  int threads() const { return threads_; }
  uint64_t seed() const { return seed_; }

  /// What products with frozen weights are computed in, and part of a result's bits: float32,
  /// bfloat16 (operands rounded, float32 sums) or float16 (on the CPU only the weights are
  /// rounded).
  DType compute_dtype() const { return compute_dtype_; }
  void set_compute_dtype(DType type) { compute_dtype_ = type; }
  /// What operators hand each other in: the compute dtype on a GPU, always float32 on the CPU.
  DType activation_dtype() const { return device_.is_cuda() ? compute_dtype_ : DType::kF32; }

  /// Scratch for operators; each takes an ArenaScope. Starts measure-only; set before real work.
  Arena& scratch() { return scratch_; }
  void set_scratch(Arena arena) { scratch_ = std::move(arena); }
  /// True while memory is being planned: operators check their shapes, take their scratch and
  /// return before they touch any data.
  bool measuring() const { return scratch_.measuring(); }

  /// Where operators run. On the CPU that is the calling thread: they return when they are done.
  Stream& compute_stream() { return compute_; }
  Stream& copy_stream() { return copy_; }
  Stream& comm_stream() { return comm_; }

  /// What the time of operators is measured by; null: it is not.
  Timeline* timeline() { return timeline_; }
  void set_timeline(Timeline* timeline) { timeline_ = timeline; }

  /// What the backend keeps between operators: plans of products, memory of threads and of uploads.
  std::shared_ptr<void>& backend() { return backend_; }

 private:
  Context(Device device, DType compute);

  Device device_;
  int threads_;
  uint64_t seed_;
  DType compute_dtype_ = DType::kF32;
  Arena scratch_;
  Stream compute_;
  Stream copy_;
  Stream comm_;
  Timeline* timeline_ = nullptr;
  std::shared_ptr<void> backend_;  // goes before the streams that its work is on
};

}  // namespace tessera
