#include "parallel/self_communicator.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/core/buffer.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

struct SelfCommunicator::Abort {
  std::mutex mutex;
  std::optional<std::string> message;
};

SelfCommunicator::SelfCommunicator() : SelfCommunicator(std::make_shared<Abort>()) {}
SelfCommunicator::SelfCommunicator(std::shared_ptr<Abort> abort) : abort_(std::move(abort)) {}

void SelfCommunicator::check_running() const {
  const std::lock_guard lock(abort_->mutex);
  if (abort_->message) throw Error(*abort_->message);
}

void SelfCommunicator::barrier() { check_running(); }

void SelfCommunicator::broadcast(std::span<std::byte>, int root) {
  TESSERA_CHECK(root == 0);
  check_running();
}

void SelfCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  TESSERA_CHECK(all.size() == mine.size());
  check_running();
  if (mine.data() != all.data()) std::ranges::copy(mine, all.begin());
}

void SelfCommunicator::all_to_all(SendParts send, ReceiveParts receive) {
  TESSERA_CHECK(send.bytes.size() == 1 && receive.bytes.size() == 1);
  TESSERA_CHECK(send.bytes[0] == send.data.size() && receive.bytes[0] == receive.data.size());
  TESSERA_CHECK(send.data.size() == receive.data.size());
  check_running();
  std::ranges::copy(send.data, receive.data.begin());
}

void SelfCommunicator::all_reduce(std::span<float>) { check_running(); }

void SelfCommunicator::send(std::span<const std::byte>, int to) {
  TESSERA_CHECK(to >= 0 && to < size() && to != rank());
}

void SelfCommunicator::receive(std::span<std::byte>, int from) {
  TESSERA_CHECK(from >= 0 && from < size() && from != rank());
}

std::unique_ptr<Communicator> SelfCommunicator::split(int colour) {
  TESSERA_CHECK(colour >= 0);
  check_running();
  return std::unique_ptr<Communicator>(new SelfCommunicator(abort_));
}

namespace {

class OwnMemory final : public SharedMemory {
 public:
  explicit OwnMemory(size_t bytes) : memory_(Buffer::host(bytes)) {}
  std::span<std::byte> mine() override { return {memory_.data(), memory_.size()}; }
  std::optional<std::span<const std::byte>> of(int rank) const override {
    TESSERA_CHECK(rank == 0);
    return std::span<const std::byte>(memory_.data(), memory_.size());
  }

 private:
  Buffer memory_;
};

}  // namespace

std::unique_ptr<SharedMemory> SelfCommunicator::share(size_t bytes) {
  check_running();
  return std::make_unique<OwnMemory>(bytes);
}

void SelfCommunicator::abort(std::string_view message) {
  const std::lock_guard lock(abort_->mutex);
  if (!abort_->message) abort_->message = message;
}

}  // namespace tessera::parallel
