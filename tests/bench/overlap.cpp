// How much of the time that gathering layers takes is hidden behind the computation.
//   bench_overlap [HIDDEN] [TOKENS]
// Two ranks (threads of one core each) on two simulated nodes train a random model over a link that
// delays bytes. First without delay, to time a layer's forward and backward; then at bandwidths at
// which a layer's gather takes a given multiple of its forward. The bound of a pass is, for each
// layer and direction, the longer of computation and gather.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "launch/console/progress.h"
#include "lora/decoder/training_pass.h"
#include "lora/model/loader.h"
#include "parallel/thread_communicator.h"
#include "tests/bench/delayed_communicator.h"
#include "tests/random_model.h"

namespace tessera {
namespace {

constexpr int64_t kLayers = 8;
constexpr int kPasses = 5;

struct Times {
  double forward = 1e9, backward = 1e9;  // seconds, the best of several passes
  double waited = 0;                     // in all passes
  double gathered = 0;                   // bytes of one layer that come from others
};

Times train(const std::string& model, int64_t tokens, double bytes_per_second) {
  Times times;
  parallel::run_ranks(2, 1, [&](parallel::Communicator& world) {
    bench::DelayedCommunicator link(world, bytes_per_second);
    Context ctx(Device::cpu(), 1, 7);
    const lora::Checkpoint checkpoint = lora::Checkpoint::open(model);
    lora::BaseFormat format = lora::checkpoint_format(checkpoint);
    format.linear = {&quant::kNf4Format};
    lora::BaseWeights base(ctx, checkpoint.spec(), format,
                           {link, {parallel::Sharding::Mode::kFull, 0}});
    lora::load_base(ctx, checkpoint, base, link, [](int64_t, int64_t) {});
    parallel::LayerScheduler scheduler(ctx, base.store());
    lora::AdapterSet adapters(checkpoint.spec(), {});
    adapters.init(1);
    std::vector<float> gradients(adapters.size());
    adapters.set_gradient_buffer(gradients);
    lora::Decoder decoder(ctx, base, scheduler, &adapters);
    lora::TrainingPass pass(decoder, lora::default_loss());
    pass.plan(tokens);
    decoder.allocate();
    lora::Batch batch;
    batch.ids.assign(size_t(tokens), 5);
    batch.targets.assign(size_t(tokens), 6);
    batch.positions.resize(size_t(tokens));
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    batch.starts = {0, int32_t(tokens)};
    for (int i = 0; i < kPasses; ++i) {
      world.barrier();
      const launch::Stopwatch forward;
      pass.forward(batch, {}, 1.0f);
      const double forward_seconds = forward.seconds();
      const launch::Stopwatch backward;
      pass.backward();
      if (world.rank() != 0) continue;
      times.forward = std::min(times.forward, forward_seconds);
      times.backward = std::min(times.backward, backward.seconds());
    }
    if (world.rank() == 0) {
      times.waited = scheduler.waited_seconds();
      times.gathered = double(base.store().padded_bytes(0)) / 2;
    }
    world.barrier();
  });
  return times;
}

void compare(int64_t hidden, int64_t tokens) {
  testing::ScratchFolder folder;
  testing::write_random_model(folder, {.layers = kLayers,
                                       .hidden = hidden,
                                       .ffn = hidden * 8 / 3 / 64 * 64,
                                       .heads = hidden / 64,
                                       .kv_heads = hidden / 64,
                                       .vocab = 512});
  const Times alone = train(folder.path(), tokens, 0);
  fmt::print("{} layers of {} KiB on the link, {} tokens: forward {:.1f} ms, backward {:.1f} ms\n",
             kLayers, int64_t(alone.gathered) >> 10, tokens, alone.forward * 1e3,
             alone.backward * 1e3);
  fmt::print("gather / forward   MB/s   pass ms   bound ms   ratio   waited\n");
  for (const double share : {0.25, 0.5, 1.0, 2.0, 4.0}) {
    const double gather = share * alone.forward / kLayers;
    const Times slow = train(folder.path(), tokens, alone.gathered / gather);
    const double bound =
        std::max(alone.forward, gather * kLayers) + std::max(alone.backward, gather * kLayers);
    const double pass = slow.forward + slow.backward;
    fmt::print("{:>16.2f} {:>6.0f} {:>9.1f} {:>10.1f} {:>7.3f} {:>7.0f}%\n", share,
               alone.gathered / gather / 1e6, pass * 1e3, bound * 1e3, pass / bound,
               100 * slow.waited / kPasses / pass);
  }
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::compare(argc > 1 ? std::atoi(argv[1]) : 512, argc > 2 ? std::atoi(argv[2]) : 256);
}
