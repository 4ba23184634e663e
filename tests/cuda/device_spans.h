// A group whose spans are the host's, over one whose spans are a device's: every call copies there
// and back, and waits. What holds of communicators can so be tested of those of devices.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <utility>

#include "parallel/nccl_communicator.h"
#include "runtime/core/buffer.h"

namespace tessera::testing {

inline int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

class DeviceSpans final : public parallel::Communicator {
 public:
  using Group = std::unique_ptr<parallel::Communicator>;

  /// `host`: of the same ranks, for memory of the host.
  DeviceSpans(Group inner, Group host, Device device, Stream& stream)
      : inner_(std::move(inner)), host_(std::move(host)), device_(device), stream_(stream) {}

  parallel::Communicator& inner() { return *inner_; }
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  void barrier() override { inner_->barrier(); }
  void broadcast(std::span<std::byte> bytes, int root) override {
    Copy there(*this, bytes);
    inner_->broadcast(there.span(), root);
    there.fetch(bytes);
  }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    Copy there(*this, all);
    const bool in_place = !mine.empty() && mine.data() >= all.data() &&
                          mine.data() + mine.size() <= all.data() + all.size();
    Copy apart(*this, mine);
    inner_->all_gather(in_place
                           ? there.span().subspan(size_t(mine.data() - all.data()), mine.size())
                           : apart.span(),
                       there.span());
    there.fetch(all);
  }
  void all_to_all(SendParts send, ReceiveParts receive) override {
    Copy out(*this, send.data), in(*this, receive.data);
    inner_->all_to_all({out.span(), send.bytes}, {in.span(), receive.bytes});
    in.fetch(receive.data);
  }
  void all_reduce(std::span<float> values) override {
    const auto bytes = std::as_writable_bytes(values);
    Copy there(*this, bytes);
    inner_->all_reduce({reinterpret_cast<float*>(there.span().data()), values.size()});
    there.fetch(bytes);
  }
  void send(std::span<const std::byte> bytes, int to) override {
    Copy there(*this, bytes);
    inner_->send(there.span(), to);
    there.wait();
  }
  void receive(std::span<std::byte> bytes, int from) override {
    Copy there(*this, bytes);
    inner_->receive(there.span(), from);
    there.fetch(bytes);
  }
  std::unique_ptr<parallel::Communicator> split(int colour) override {
    auto inner = inner_->split(colour);
    return std::make_unique<DeviceSpans>(std::move(inner), host_->split(colour), device_, stream_);
  }
  int node() const override { return inner_->node(); }
  std::unique_ptr<parallel::SharedMemory> share(size_t bytes) override {
    return host_->share(bytes);
  }
  void set_watchdog(std::chrono::seconds limit) override { inner_->set_watchdog(limit); }
  void abort(std::string_view message) override { inner_->abort(message); }
  void poll() override { inner_->poll(); }

 private:
  void publish_phase(std::string_view phase) override { inner_->set_phase(phase); }

  class Copy {
   public:
    Copy(DeviceSpans& owner, std::span<const std::byte> bytes)
        : owner_(owner), memory_(Buffer::on(owner.device_, bytes.size())) {
      owner_.stream_.copy(memory_.data(), bytes.data(), bytes.size());
    }
    std::span<std::byte> span() const { return {memory_.data(), memory_.size()}; }
    void fetch(std::span<std::byte> bytes) {
      owner_.stream_.copy(bytes.data(), memory_.data(), bytes.size());
      wait();
    }
    void wait() {
      owner_.stream_.synchronize();
      owner_.inner_->poll();
    }

   private:
    DeviceSpans& owner_;
    Buffer memory_;
  };

  Group inner_, host_;
  Device device_;
  Stream& stream_;
};

/// NCCL over the ranks of `host`, for spans of the host. Rank r drives device r.
inline std::unique_ptr<DeviceSpans> nccl_for_host_spans(parallel::Communicator& host,
                                                        Stream& stream) {
  const Device device = Device::cuda(host.rank());
  auto inner = std::make_unique<parallel::NcclCommunicator>(host.split(0), device, stream);
  return std::make_unique<DeviceSpans>(std::move(inner), host.split(0), device, stream);
}

}  // namespace tessera::testing
