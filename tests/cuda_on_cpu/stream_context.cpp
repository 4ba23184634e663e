// Where queued work runs. Built without TSan's instrumentation: the OS thread that happens to run a
// stream must not be ordered with it.
#include "scheduler.h"

namespace cuda_on_cpu {

namespace {

thread_local bool in_host_function = false;

}  // namespace

HostFunction::HostFunction() { in_host_function = true; }
HostFunction::~HostFunction() { in_host_function = false; }
bool HostFunction::running() { return in_host_function; }

#if defined(CUDA_ON_CPU_TSAN)
namespace {

constexpr size_t kStackBytes = size_t(8) << 20;

struct Job {
  CUstream_st* stream;
  Operation* operation;
  const std::vector<FencePtr>* after;
  Fence* end;
  Outcome outcome;
  Fiber host;
};
thread_local Job* job = nullptr;

void run_job() {
  fiber_entered();
  Job& mine = *job;
  tsan_acquire(mine.operation);
  for (const FencePtr& fence : *mine.after) tsan_acquire(fence.get());
  mine.outcome = (*mine.operation)();
  if (mine.outcome == Outcome::kDone) {
    delete mine.operation;
    tsan_release(mine.end);
  }
  switch_fiber(mine.stream->fiber, mine.host);
}

}  // namespace

Outcome run_as_stream(CUstream_st& stream, Operation* operation, const std::vector<FencePtr>& after,
                      Fence& end) {
  Job mine{&stream, operation, &after, &end, Outcome::kDone, {}};
  adopt_running(mine.host);
  if (stream.fiber.stack == nullptr) create_fiber(stream.fiber, kStackBytes);
  start_fiber(stream.fiber, &run_job);
  Job* const outer = std::exchange(job, &mine);
  switch_fiber(mine.host, stream.fiber);
  job = outer;
  return mine.outcome;
}
#else
Outcome run_as_stream(CUstream_st&, Operation* operation, const std::vector<FencePtr>&, Fence&) {
  const Outcome outcome = (*operation)();
  if (outcome == Outcome::kDone) delete operation;
  return outcome;
}
#endif

}  // namespace cuda_on_cpu
