// Ranks that each drive a GPU of their own: NCCL, over a host communicator of the same ranks that
// serves all but the data. Spans are memory of the GPU. A call returns when all ranks have made it
// and it is work of the stream: later work of the stream may use the memory again, nobody else.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "parallel/communicator.h"
#include "runtime/core/function_ref.h"
#include "runtime/core/stream.h"

struct ncclComm;

namespace tessera::parallel {

class NcclCommunicator final : public Communicator {
 public:
  /// Collective, and so is the destructor, which waits for this group's work on all ranks unless an
  /// exception destroys it or the job was aborted. `stream`, of `device`, outlives the groups split
  /// off, too: they use the same. Error where two ranks of a host drive one device.
  NcclCommunicator(std::unique_ptr<Communicator> host, Device device, Stream& stream);
  ~NcclCommunicator() override;

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  /// Of the host threads, as node() and the phases are the host's.
  void barrier() override { host_->barrier(); }
  void broadcast(std::span<std::byte> bytes, int root) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void all_to_all(SendParts send, ReceiveParts receive) override;
  void all_reduce(std::span<float> values) override;
  void send(std::span<const std::byte> bytes, int to) override;
  void receive(std::span<std::byte> bytes, int from) override;
  std::unique_ptr<Communicator> split(int colour) override;
  int node() const override { return host_->node(); }
  /// Error: the memory of a GPU is not the host's to share.
  std::unique_ptr<SharedMemory> share(size_t bytes) override;
  /// A rank that does not come is found by the host's watchdog. One whose GPU does not get on with
  /// what all have come to ends the job by itself.
  void set_watchdog(std::chrono::seconds limit) override;
  void abort(std::string_view message) override;
  /// To be called after the host has waited for the stream: an abort ends the stream's work, too.
  void poll() override { host_->poll(); }

 private:
  void publish_phase(std::string_view phase) override;
  struct Job;
  struct UnderWay {
    Event done;
    const char* call;
    std::chrono::steady_clock::duration waited;
  };
  using Lock = std::unique_lock<std::mutex>;

  NcclCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<Job> job, Device device,
                   Stream& stream);
  void connect();
  /// Throws std::logic_error where the ranks do not make the same call.
  void meet(const char* call, uint64_t bytes, int root);
  /// Makes NCCL calls, given the ncclComm_t, and watches the work they start.
  void run(const char* call, FunctionRef<int(ncclComm*)> start);
  /// Waits until NCCL has done with a call that returned `result`.
  void settle(Lock& lock, int result, const char* call);
  /// For a call when there is no NCCL any more.
  [[noreturn]] void refuse(Lock& lock, const char* call);
  void watch(std::stop_token stop);
  void check_peers(std::chrono::steady_clock::duration since);
  void check_progress(std::chrono::steady_clock::duration since);
  void check_patience(const char* call, std::chrono::steady_clock::duration waited);
  void abort_nccl();

  const std::unique_ptr<Communicator> host_;
  const std::shared_ptr<Job> job_;
  const Device device_;
  Stream& stream_;
  const int exceptions_;

  std::mutex mutex_;          // of the next three
  ncclComm* comm_ = nullptr;  // none: a rank alone, or after an abort
  std::deque<UnderWay> under_way_;
  std::chrono::steady_clock::duration failing_{};  // since another rank gave up
  std::condition_variable_any stop_;
  std::jthread watcher_;
};

/// "NCCL 2.27.3 of FILE". Error that says why it cannot be opened.
std::string describe_nccl();

}  // namespace tessera::parallel
