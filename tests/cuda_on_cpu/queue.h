// How a stand-in for a library that works on streams (cuBLASLt, NCCL) queues its work. What the
// real library would refuse at the call is the stand-in's to refuse, before it queues.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace cuda_on_cpu {

/// kNotYet: other ranks have to come first. The operation is called again; meanwhile other streams
/// go on, of every device of the process, so that ranks may be threads or processes.
enum class Outcome { kDone, kNotYet };

/// Runs `operation` when the stream has come so far, on any OS thread, which must not be kept
/// waiting there. It may touch device memory only while it runs. An error where the stream is not
/// alive.
cudaError_t enqueue(cudaStream_t stream, std::function<Outcome()> operation);

/// A point in a stream, after all that was queued by then.
struct Fence;
using FencePtr = std::shared_ptr<Fence>;
FencePtr newest_of(cudaStream_t stream);
/// Whether what is queued on `stream` from now on begins after `point`, whatever the device does:
/// by the order of streams, by events, or because the calling thread has waited for it.
bool comes_after(cudaStream_t stream, const FencePtr& point);

/// The device of a live stream (null: the current device's default stream), or -1.
int device_of(cudaStream_t stream);
/// Whether all of the bytes lie in one live allocation that the device can access: its own memory,
/// or pinned host memory.
bool accessible(const void* p, size_t bytes, int device);

/// For an operation that goes wrong while it runs: the first such failure sticks to the device.
void fail_device(int device, cudaError_t code, const std::string& message);

}  // namespace cuda_on_cpu
