// Every kind of communicator within one process, and what only such a kind can survive to show.
#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "parallel/self_communicator.h"
#include "parallel/stuck_ranks.h"
#include "parallel/thread_communicator.h"
#include "runtime/core/error.h"
#include "tests/expect_error.h"
#include "tests/parallel/communicator_aborts.h"

namespace tessera::parallel {
namespace {

Kind threads(std::string name, int ranks, int ranks_per_node) {
  return {name, ranks, ranks_per_node,
          [=](const Body& body) { run_ranks(ranks, ranks_per_node, body); }};
}

INSTANTIATE_TEST_SUITE_P(All, Communicators,
                         ::testing::Values(Kind{"Self", 1, 1,
                                                [](const Body& body) {
                                                  SelfCommunicator self;
                                                  body(self);
                                                }},
                                           threads("Threads1", 1, 1), threads("Threads2", 2, 2),
                                           threads("Threads3", 3, 3), threads("Threads4", 4, 4),
                                           threads("Threads7", 7, 7), threads("Threads8", 8, 8),
                                           threads("Threads4On2Nodes", 4, 2),
                                           threads("Threads7On3Nodes", 7, 3)),
                         [](const auto& info) { return info.param.name; });

TEST(ThreadCommunicator, SumsInRankOrder) {
  // In float32 the first order gives 1, the other ones 0.
  run_ranks(3, [](Communicator& group) {
    std::vector<float> values(5, std::vector<float>{1e8f, -1e8f, 1.0f}[size_t(group.rank())]);
    group.all_reduce(values);
    EXPECT_EQ(values, std::vector<float>(5, 1.0f));
  });
}

TEST(ThreadCommunicator, RefusesRanksThatDisagree) {
  const std::vector<std::function<void(Communicator&)>> bodies{
      [](Communicator& group) {
        std::vector<float> value(1);
        group.rank() == 0 ? group.barrier() : group.all_reduce(value);
      },
      [](Communicator& group) {
        std::vector<float> values(size_t(group.rank()) + 1);
        group.all_reduce(values);
      },
      [](Communicator& group) {
        std::vector<float> values(4);
        group.broadcast(bytes_of(values), group.rank());
      },
      [](Communicator& group) {
        const std::vector<uint64_t> lengths{0, uint64_t(group.rank()) + 1};
        std::vector<std::byte> out(lengths[1]), in(lengths[1]);
        group.all_to_all({out, lengths}, {in, lengths});
      },
      [](Communicator& group) {
        std::vector<std::byte> bytes(size_t(group.rank()) + 1);
        group.rank() == 0 ? group.send(bytes, 1) : group.receive(bytes, 0);
      }};
  for (size_t i = 0; i < bodies.size(); ++i) {
    EXPECT_THROW(run_ranks(2, bodies[i]), std::logic_error) << i;
  }
}

/// The message that ends three ranks whose rank 2 stays away from `call`.
std::string stuck_in(const Body& call) {
  return testing::error_of([&] {
    run_ranks(3, [&](Communicator& group) {
      const auto part = group.split(group.rank() / 2);
      group.set_phase(group.rank() == 2 ? "step 3, forward" : "step 3, backward");
      if (group.rank() < 2) {
        part->set_watchdog(std::chrono::seconds(1));
        call(group);
      } else {
        std::byte never;
        group.receive({&never, 1}, 1);
      }
    });
  });
}

TEST(ThreadCommunicator, WatchdogNamesWhoDoesNotCome) {
  // Whichever of the two that wait is first to lose patience reports.
  const std::string both = stuck_in([](Communicator& group) {
    std::vector<float> values(3);
    group.all_reduce(values);
  });
  EXPECT_TRUE(both.starts_with("rank 2 (step 3, forward) did not come to an all_reduce that rank "))
      << both;
  EXPECT_TRUE(both.ends_with(" (step 3, backward) has waited in for 1 s")) << both;

  std::byte byte{};
  const std::string receive = stuck_in([&](Communicator& group) {
    if (group.rank() == 0) group.receive({&byte, 1}, 2);
  });
  EXPECT_EQ(receive,
            "rank 2 (step 3, forward) did not come to a receive that rank 0 (step 3, backward) has "
            "waited in for 1 s");
  const std::string send = stuck_in([&](Communicator& group) {
    if (group.rank() == 1) group.send({&byte, 1}, 0);
    if (group.rank() == 0) group.send({&byte, 1}, 2);
  });
  EXPECT_NE(send.find(" did not come to a send that rank "), send.npos) << send;
}

TEST(StuckRanks, AreNamedWithHostAndPhase) {
  const std::vector<RankAt> missing{{1, "", ""}, {4, "gpu7", "step 2, forward"}, {5, "gpu7", ""}};
  EXPECT_EQ(stuck_message(missing, {0, "gpu3", "load"}, "broadcast", std::chrono::seconds(90)),
            "rank 1, rank 4 on gpu7 (step 2, forward) and rank 5 on gpu7 did not come to a "
            "broadcast that rank 0 on gpu3 (load) has waited in for 90 s");
}

}  // namespace
}  // namespace tessera::parallel
