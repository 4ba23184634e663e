// One rank of a job that loads a model of 16-bit weights, sharded: no rank's memory may ever hold
// more than its shard, what the node keeps once, one tensor in float32 and that tensor's blob.
// Exits 1 where one did.  Usage: load_memory_mpi
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "lora/model/loader.h"
#include "parallel/launcher.h"
#include "tests/random_model.h"

namespace tessera::lora {
namespace {

constexpr testing::RandomModel kModel = {
    .layers = 12, .hidden = 512, .ffn = 2048, .heads = 8, .kv_heads = 8, .vocab = 512};

/// Of /proc/self/status, in bytes.
size_t memory(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    size_t kib = 0;
    if (word == key + ":" && status >> kib) return kib * 1024;
  }
  return 0;
}

/// Starts the peak anew from what is resident now.
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

size_t largest_matrix(const BaseLayout& layout) {
  size_t bytes = 0;
  for (const PlacedTensor& tensor : layout.layers.front().tensors) {
    bytes = std::max(bytes, tensor.bytes);
  }
  return bytes;
}

int check(parallel::Communicator& world) {
  std::optional<testing::ScratchFolder> folder;
  std::string path(512, '\0');
  if (world.rank() == 0) {
    folder.emplace();
    testing::write_random_model(*folder, kModel);
    path.replace(0, folder->path().size(), folder->path());
  }
  world.broadcast(std::as_writable_bytes(std::span(path)), 0);
  path.resize(path.find('\0'));

  Context ctx(Device::cpu(), 1, 0);
  const Checkpoint checkpoint = Checkpoint::open(path);
  BaseFormat format = checkpoint_format(checkpoint);
  format.linear = {&quant::kNf4Format};
  world.barrier();
  reset_peak();
  const size_t before = memory("VmRSS");
  BaseWeights base(ctx, checkpoint.spec(), format, {world, {parallel::Sharding::Mode::kFull, 0}});
  load_base(ctx, checkpoint, base, world, [](int64_t, int64_t) {});
  const size_t used = memory("VmHWM") - before;

  const size_t largest = size_t(kModel.ffn * kModel.hidden);
  const size_t blob = largest_matrix(base.layout());
  // The last term is the system's granularity and MPI's buffers; 12 KiB were needed of it.
  const size_t allowed = base.bytes() + largest * sizeof(float) + blob + (size_t{1} << 20);
  const size_t whole = size_t(kModel.layers) * (4 * 512 * 512 + 3 * 2048 * 512) * 2;
  fmt::print("rank {}: {} KiB while loading, {} KiB allowed; 16-bit linears {} KiB\n", world.rank(),
             used >> 10, allowed >> 10, whole >> 10);
  world.barrier();
  return used <= allowed && allowed < whole ? 0 : 1;
}

}  // namespace
}  // namespace tessera::lora

int main() {
  const auto environment = [](const char* name) -> const char* { return std::getenv(name); };
  const auto world = tessera::parallel::start_world(environment, [](int, std::string_view text) {
    fmt::print(stderr, "{}\n", text);
    return 1;
  });
  return tessera::lora::check(*world);
}
