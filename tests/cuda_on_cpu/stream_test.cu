// Streams and events: what waits for what, what is refused, and operations that answer "not yet".
#include <array>
#include <barrier>
#include <chrono>
#include <thread>

#include "machine_test.h"
#include "queue.h"

namespace cuda_on_cpu {
namespace {

class StreamTest : public MachineTest {
 protected:
  cudaStream_t make_stream(unsigned flags = cudaStreamNonBlocking) {
    cudaStream_t stream = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, flags), cudaSuccess);
    return stream;
  }
  cudaEvent_t make_event(unsigned flags = cudaEventDisableTiming) {
    cudaEvent_t event = nullptr;
    EXPECT_EQ(cudaEventCreateWithFlags(&event, flags), cudaSuccess);
    return event;
  }
  /// Queues the appending of a number to the log.
  void note(cudaStream_t stream, int number) {
    EXPECT_EQ(enqueue(stream,
                      [this, number] {
                        append(number);
                        return Outcome::kDone;
                      }),
              cudaSuccess);
  }
  // Streams append in no order, which must be no race.
  void append(int number) { entries_[size_t(count_++)] = number; }
  std::vector<int> log() const {
    std::vector<int> log;
    for (int i = 0; i < count_; ++i) log.push_back(entries_[size_t(i)]);
    return log;
  }
  void clear_log() { count_ = 0; }

 private:
  std::array<std::atomic<int>, 8> entries_;
  std::atomic<int> count_ = 0;
};

TEST_F(StreamTest, WorkRunsWhenTheModeSays) {
  const cudaStream_t first = make_stream(), second = make_stream();
  note(first, 1);
  EXPECT_EQ(log(), std::vector<int>{1}) << "eager: at once";
  settings().streams = Streams::kLate;
  note(first, 2);
  note(second, 3);
  EXPECT_EQ(log(), std::vector<int>{1}) << "late: when waited for";
  EXPECT_EQ(cudaStreamSynchronize(second), cudaSuccess);
  EXPECT_EQ(log(), (std::vector<int>{1, 3})) << "and only what is waited for";
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(log(), (std::vector<int>{1, 3, 2}));
}

TEST_F(StreamTest, RandomModeFindsOrdersThatEventsAllow) {
  bool seen[2] = {};
  for (int i = 0; i < 50; ++i) {
    settings().streams = Streams::kRandom;
    const cudaStream_t first = make_stream(), second = make_stream();
    const cudaEvent_t event = make_event();
    note(first, 1);
    cudaEventRecord(event, first);
    note(second, 2);
    cudaStreamWaitEvent(second, event, 0);
    note(second, 3);
    cudaDeviceSynchronize();
    ASSERT_EQ(log().size(), 3u);
    EXPECT_EQ(log().back(), 3);
    seen[log()[0] - 1] = true;
    clear_log();
  }
  EXPECT_TRUE(seen[0] && seen[1]);
}

TEST_F(StreamTest, AnEventIsWhatItWasWhenWaitedFor) {
  settings().streams = Streams::kLate;
  const cudaStream_t first = make_stream(), second = make_stream();
  const cudaEvent_t event = make_event();
  EXPECT_EQ(cudaStreamWaitEvent(second, event, 0), cudaSuccess) << "never recorded: no wait";
  note(second, 1);
  note(first, 2);
  cudaEventRecord(event, first);
  EXPECT_EQ(cudaStreamSynchronize(second), cudaSuccess);
  EXPECT_EQ(log(), std::vector<int>{1});
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(log(), (std::vector<int>{1, 2}));
}

TEST_F(StreamTest, TheDefaultStreamWaitsForBlockingStreams) {
  settings().streams = Streams::kLate;
  const cudaStream_t blocking = make_stream(cudaStreamDefault), free = make_stream();
  note(blocking, 1);
  note(free, 2);
  note(nullptr, 3);
  note(blocking, 4);
  EXPECT_EQ(cudaStreamSynchronize(blocking), cudaSuccess);
  EXPECT_EQ(log(), (std::vector<int>{1, 3, 4}));
}

TEST_F(StreamTest, QueriesSayNotReadyAndGoOn) {
  settings().streams = Streams::kLate;
  const cudaStream_t stream = make_stream();
  const cudaEvent_t event = make_event();
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  for (int i = 0; i < 3; ++i) note(stream, i);
  cudaEventRecord(event, stream);
  int polls = 0;
  while (cudaEventQuery(event) == cudaErrorNotReady) ++polls;
  EXPECT_GE(polls, 2);
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "not ready is no error";
}

TEST_F(StreamTest, EventsThatAreRefused) {
  const cudaStream_t stream = make_stream();
  const cudaEvent_t event = make_event(), timed = make_event(0), late = make_event(0);
  float milliseconds = 0;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, timed, timed), cudaErrorInvalidResourceHandle)
      << "not recorded";
  cudaEventRecord(timed, stream);
  cudaEventRecord(event, stream);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, timed, event), cudaErrorInvalidResourceHandle)
      << "without timing";
  settings().streams = Streams::kLate;
  cudaEventRecord(late, stream);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, timed, late), cudaErrorNotReady);
  EXPECT_EQ(cudaEventSynchronize(late), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, timed, late), cudaSuccess);
  EXPECT_GE(milliseconds, 0.0f);
  cudaSetDevice(1);
  const cudaStream_t elsewhere = make_stream();
  EXPECT_EQ(cudaEventRecord(event, elsewhere), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamWaitEvent(elsewhere, event, 0), cudaSuccess) << "across devices it may";
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(event), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamWaitEvent(elsewhere, event, 0), cudaErrorInvalidResourceHandle);
}

TEST_F(StreamTest, HostFunctionsRunInOrderAndMayNotCallTheRuntime) {
  settings().streams = Streams::kLate;
  const cudaStream_t stream = make_stream();
  note(stream, 1);
  cudaError_t inside = cudaSuccess;
  struct Data {
    std::function<void()> append;
    cudaError_t* inside;
  } data{[this] { append(2); }, &inside};
  const auto function = [](void* p) {
    auto* const d = static_cast<Data*>(p);
    d->append();
    *d->inside = cudaDeviceSynchronize();
  };
  ASSERT_EQ(cudaLaunchHostFunc(stream, function, &data), cudaSuccess);
  note(stream, 3);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(log(), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(inside, cudaErrorNotPermitted);
}

TEST_F(StreamTest, AHostFunctionMayWaitForTheHost) {
  in_every_mode(4, [this] {
    const cudaStream_t stream = make_stream();
    std::atomic<bool> go = false;
    const auto wait = [](void* p) { static_cast<std::atomic<bool>*>(p)->wait(false); };
    ASSERT_EQ(cudaLaunchHostFunc(stream, wait, &go), cudaSuccess);
    note(stream, 2);
    EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
    append(1);
    go = true;
    go.notify_all();
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(log(), (std::vector<int>{1, 2}));
    clear_log();
  });
}

TEST_F(StreamTest, WorkGoesOnWhileTheHostIsSilent) {
  settings().streams = Streams::kLate;
  std::atomic<bool> ran = false;
  const cudaStream_t stream = make_stream();
  enqueue(stream, [&ran] {
    ran = true;
    return Outcome::kDone;
  });
  while (!ran) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST_F(StreamTest, NotYetLetsOtherStreamsGoOn) {
  in_every_mode(4, [this] {
    const cudaStream_t first = make_stream(), second = make_stream();
    std::atomic<bool> arrived = false;
    enqueue(first, [&] { return arrived ? Outcome::kDone : Outcome::kNotYet; });
    note(first, 2);
    enqueue(second, [&] {
      append(1);
      arrived = true;
      return Outcome::kDone;
    });
    EXPECT_EQ(cudaStreamSynchronize(first), cudaSuccess);
    EXPECT_EQ(log(), (std::vector<int>{1, 2}));
    clear_log();
  });
}

// As a collective does: each rank's operation is done when all have come. Then the hosts meet while
// one of them has never waited for its stream.
TEST_F(StreamTest, RanksAreThreadsThatWaitForEachOther) {
  in_every_mode(3, [] {
    constexpr int kRanks = 3;
    std::atomic<int> arrived = 0;
    std::barrier<> hosts(kRanks);
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < kRanks; ++rank) {
      ranks.emplace_back([&, rank] {
        EXPECT_EQ(cudaSetDevice(rank), cudaSuccess);
        cudaStream_t stream;
        EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
        bool came = false;
        EXPECT_EQ(enqueue(stream,
                          [&, came]() mutable {
                            if (!came) ++arrived;
                            came = true;
                            return arrived == kRanks ? Outcome::kDone : Outcome::kNotYet;
                          }),
                  cudaSuccess);
        EXPECT_TRUE(rank == 0 || cudaStreamSynchronize(stream) == cudaSuccess);
        hosts.arrive_and_wait();
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
      });
    }
    for (std::thread& rank : ranks) rank.join();
  });
}

TEST_F(StreamTest, AnOperationThatFailsBreaksItsDevice) {
  settings().streams = Streams::kLate;
  const cudaStream_t stream = make_stream();
  enqueue(stream, [] {
    fail_device(0, cudaErrorIllegalAddress, "planted");
    return Outcome::kDone;
  });
  note(stream, 1);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  EXPECT_TRUE(log().empty()) << "nothing runs after it";
  EXPECT_EQ(failure_of(0), "planted");
}

}  // namespace
}  // namespace cuda_on_cpu
