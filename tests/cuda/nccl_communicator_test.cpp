// Ranks that are threads of one process, each with a device: what every communicator must do, and
// what only one of devices can.
#include "parallel/nccl_communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "parallel/device_group.h"
#include "parallel/thread_communicator.h"
#include "tests/cuda/device_spans.h"
#include "tests/expect_error.h"
#include "tests/parallel/communicator_aborts.h"

namespace tessera::parallel {
namespace {

using testing::DeviceSpans;
using testing::nccl_for_host_spans;

/// Empty where there are so many devices.
std::string missing_devices(int count) {
  const int found = testing::device_count();
  if (found >= count) return "";
  return "needs " + std::to_string(count) + " devices, has " + std::to_string(found);
}
#define SKIP_WITHOUT_DEVICES(count) \
  if (const auto missing = missing_devices(count); !missing.empty()) GTEST_SKIP() << missing

Kind on_devices(std::string name, int ranks, int ranks_per_node) {
  return {name, ranks, ranks_per_node,
          [=](const Body& body) {
            run_ranks(ranks, ranks_per_node, [&](Communicator& host) {
              Stream stream(Device::cuda(host.rank()));
              const auto group = nccl_for_host_spans(host, stream);
              body(*group);
            });
          },
          [=] { return missing_devices(ranks); }};
}

INSTANTIATE_TEST_SUITE_P(
    Nccl, Communicators,
    ::testing::Values(on_devices("Threads1", 1, 1), on_devices("Threads2", 2, 2),
                      on_devices("Threads3", 3, 3), on_devices("Threads4", 4, 4),
                      on_devices("Threads7", 7, 7), on_devices("Threads8", 8, 8),
                      on_devices("Threads4On2Nodes", 4, 2)),
    [](const auto& info) { return info.param.name; });

/// A body for each of `ranks` ranks, given NCCL itself, a stream and its device.
void run_on_devices(int ranks,
                    const std::function<void(NcclCommunicator&, Stream&, Device)>& body) {
  run_ranks(ranks, [&](Communicator& host) {
    const Device device = Device::cuda(host.rank());
    Stream stream(device);
    NcclCommunicator group(host.split(0), device, stream);
    body(group, stream, device);
  });
}

/// Floats on a device.
struct Floats {
  Floats(Device device, size_t count)
      : memory(Buffer::on(device, count * sizeof(float))), span(memory.as<float>(), count) {}
  void set(Stream& stream, const std::vector<float>& values) {
    stream.copy(span.data(), values.data(), span.size_bytes());
    stream.synchronize();
  }
  std::vector<float> get(Stream& stream) const {
    std::vector<float> values(span.size());
    stream.copy(values.data(), span.data(), span.size_bytes());
    stream.synchronize();
    return values;
  }

  Buffer memory;
  std::span<float> span;
};

/// A GPU that does not get on: as long as this lives, the stream is held up.
class HeldUp {
 public:
  explicit HeldUp(Stream& stream) {
    const auto handle = static_cast<cudaStream_t>(stream.handle());
    const auto wait = [](void* data) {
      const std::unique_ptr<Ends> ends(static_cast<Ends*>(data));
      (*ends)->wait(false);
    };
    EXPECT_EQ(cudaLaunchHostFunc(handle, wait, std::make_unique<Ends>(ends_).release()),
              cudaSuccess);
  }
  ~HeldUp() {
    *ends_ = true;
    ends_->notify_all();
  }

 private:
  using Ends = std::shared_ptr<std::atomic<bool>>;
  const Ends ends_ = std::make_shared<std::atomic<bool>>(false);
};

TEST(NcclCommunicator, SumsToTheSameBitsOnAllRanks) {
  constexpr int ranks = 4;
  SKIP_WITHOUT_DEVICES(ranks);
  for (const size_t count : {size_t(1), size_t(70'001)}) {
    std::vector<std::vector<float>> in, out(ranks);
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (int r = 0; r < ranks; ++r) {
      in.emplace_back(count);
      for (float& x : in.back()) x = normal(random);
    }
    run_on_devices(ranks, [&](NcclCommunicator& group, Stream& stream, Device device) {
      Floats values(device, count);
      values.set(stream, in[size_t(group.rank())]);
      group.all_reduce(values.span);
      out[size_t(group.rank())] = values.get(stream);
    });
    for (int r = 1; r < ranks; ++r) EXPECT_EQ(out[size_t(r)], out[0]);
    for (size_t i = 0; i < count; ++i) {
      double sum = 0.0, size = 0.0;
      for (const auto& values : in) {
        sum += values[i];
        size += std::abs(values[i]);
      }
      // Each of the three additions rounds a partial sum that is no larger than `size`.
      ASSERT_NEAR(out[0][i], sum, 3 * 0x1p-24 * size);
    }
  }
}

TEST(NcclCommunicator, WorksInTheOrderOfItsStream) {
  // Memory is used again at once by later work of the same stream.
  SKIP_WITHOUT_DEVICES(2);
  run_on_devices(2, [](NcclCommunicator& group, Stream& stream, Device device) {
    constexpr size_t kCount = 100'000;
    constexpr int kRounds = 5;
    Floats mine(device, kCount), all(device, 2 * kCount), kept(device, kRounds * 2 * kCount);
    std::vector<std::vector<float>> values;
    for (int round = 0; round < kRounds; ++round) {
      values.emplace_back(kCount, float(10 * round + group.rank()));
    }
    for (int round = 0; round < kRounds; ++round) {
      stream.copy(mine.span.data(), values[size_t(round)].data(), mine.span.size_bytes());
      group.all_gather(std::as_bytes(mine.span), std::as_writable_bytes(all.span));
      stream.copy(kept.span.data() + size_t(round) * 2 * kCount, all.span.data(),
                  all.span.size_bytes());
    }
    const auto got = kept.get(stream);
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t round = i / (2 * kCount), rank = i / kCount % 2;
      ASSERT_EQ(got[i], float(10 * round + rank)) << i;
    }
  });
}

TEST(NcclCommunicator, WaitsForWhatItsStreamWaitsFor) {
  SKIP_WITHOUT_DEVICES(2);
  run_on_devices(2, [](NcclCommunicator& group, Stream& stream, Device device) {
    Stream compute(device);
    Floats values(device, 1000);
    const std::vector<float> source(1000, 3.0f);
    compute.copy(values.span.data(), source.data(), values.span.size_bytes());
    stream.wait(compute.record());
    group.all_reduce(values.span);
    compute.wait(stream.record());
    std::vector<float> got(1000);
    compute.copy(got.data(), values.span.data(), values.span.size_bytes());
    compute.synchronize();
    EXPECT_EQ(got, std::vector<float>(1000, 6.0f));
  });
}

TEST(NcclCommunicator, RefusesRanksThatDisagree) {
  SKIP_WITHOUT_DEVICES(2);
  using Do = std::function<void(NcclCommunicator&, Floats&)>;
  const std::vector<Do> bodies{
      [](NcclCommunicator& group, Floats& memory) {
        group.rank() == 0 ? group.barrier() : group.all_reduce(memory.span);
      },
      [](NcclCommunicator& group, Floats& memory) {
        group.all_reduce(memory.span.first(size_t(group.rank()) + 1));
      },
      [](NcclCommunicator& group, Floats& memory) {
        group.broadcast(std::as_writable_bytes(memory.span), group.rank());
      },
      [](NcclCommunicator& group, Floats& memory) {
        const std::vector<uint64_t> lengths{0, uint64_t(group.rank()) + 1};
        const auto bytes = std::as_writable_bytes(memory.span);
        group.all_to_all({bytes.first(lengths[1]), lengths},
                         {bytes.subspan(100, lengths[1]), lengths});
      },
      [](NcclCommunicator& group, Floats& memory) {
        const auto bytes = std::as_writable_bytes(memory.span).first(size_t(group.rank()) + 1);
        group.rank() == 0 ? group.send(bytes, 1) : group.receive(bytes, 0);
      }};
  for (size_t i = 0; i < bodies.size(); ++i) {
    EXPECT_THROW(run_on_devices(2,
                                [&](NcclCommunicator& group, Stream&, Device device) {
                                  Floats memory(device, 1000);
                                  bodies[i](group, memory);
                                }),
                 std::logic_error)
        << i;
  }
}

TEST(NcclCommunicator, RefusesTwoRanksOnOneDevice) {
  SKIP_WITHOUT_DEVICES(1);
  const std::string error = testing::error_of([] {
    run_ranks(2, [](Communicator& host) {
      Stream stream(Device::cuda(0));
      NcclCommunicator group(host.split(0), Device::cuda(0), stream);
    });
  });
  EXPECT_NE(error.find("Duplicate GPU"), error.npos) << error;
}

TEST(NcclCommunicator, KeepsItsMemoryToItself) {
  SKIP_WITHOUT_DEVICES(1);
  run_on_devices(1, [](NcclCommunicator& group, Stream&, Device) {
    testing::expect_error([&] { group.share(100); }, "cannot be shared");
  });
}

TEST(NcclCommunicator, WatchdogNamesWhoDoesNotCome) {
  SKIP_WITHOUT_DEVICES(3);
  const std::string error = testing::error_of([] {
    run_on_devices(3, [](NcclCommunicator& group, Stream& stream, Device device) {
      Floats values(device, 10);
      group.set_phase(group.rank() == 2 ? "step 3, forward" : "step 3, backward");
      group.set_watchdog(std::chrono::seconds(group.rank() == 2 ? 0 : 1));
      if (group.rank() == 2) group.receive(std::as_writable_bytes(values.span), 1);
      group.all_reduce(values.span);
      stream.synchronize();
      group.poll();
    });
  });
  EXPECT_TRUE(error.starts_with("rank 2 (step 3, forward) did not come to ")) << error;
  EXPECT_TRUE(error.ends_with(" (step 3, backward) has waited in for 1 s")) << error;
}

TEST(NcclCommunicator, WatchdogEndsWhatAllHaveComeToAndDoesNotGetOn) {
  SKIP_WITHOUT_DEVICES(2);
  const auto begin = std::chrono::steady_clock::now();
  const std::string error = testing::error_of([] {
    run_on_devices(2, [](NcclCommunicator& group, Stream& stream, Device device) {
      Floats values(device, 10);
      group.set_phase("step 5");
      group.set_watchdog(std::chrono::seconds(1));
      std::optional<HeldUp> held;
      if (group.rank() == 1) held.emplace(stream);
      group.all_reduce(values.span);
      if (group.rank() == 1) {
        while (true) {
          group.poll();
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
      }
      stream.synchronize();
      group.poll();
      ADD_FAILURE() << "went on with what was never summed";
    });
  });
  EXPECT_TRUE(
      error.ends_with(" (step 5) has waited for 1 s in an all_reduce that all ranks have "
                      "come to: check the network between the hosts"))
      << error;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
}

TEST(NcclCommunicator, AnAbortEndsWorkThatWaitsForOthers) {
  SKIP_WITHOUT_DEVICES(2);
  std::promise<void> waits, freed;
  const std::string error = testing::error_of([&] {
    run_on_devices(2, [&](NcclCommunicator& group, Stream& stream, Device device) {
      const auto part = group.split(0);
      Floats values(device, 10);
      std::optional<HeldUp> held;
      if (group.rank() == 1) held.emplace(stream);
      part->all_reduce(values.span);  // all have come, but the stream of rank 1 is held up
      if (group.rank() == 1) {
        waits.get_future().wait();
        group.abort("layer 3: not finite");
        EXPECT_EQ(freed.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
        return;
      }
      waits.set_value();
      stream.synchronize();
      freed.set_value();
      part->poll();
      ADD_FAILURE() << "went on with what was never summed";
    });
  });
  EXPECT_EQ(error, "layer 3: not finite");
}

TEST(DeviceGroup, IsTheHostsOnTheCpuAndNcclOnAGpu) {
  SKIP_WITHOUT_DEVICES(2);
  run_ranks(2, [](Communicator& host) {
    Context cpu(Device::cpu(), 1, 7), gpu(Device::cuda(host.rank()), 1, 7);
    auto part = host.split(0);
    const Communicator* const before = part.get();
    part = device_group(std::move(part), cpu, cpu.comm_stream());
    EXPECT_EQ(part.get(), before);
    part = device_group(std::move(part), gpu, gpu.comm_stream());
    EXPECT_NE(dynamic_cast<NcclCommunicator*>(part.get()), nullptr);
  });
}

}  // namespace
}  // namespace tessera::parallel
