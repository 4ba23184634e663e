// What every communicator must do. The program that includes this instantiates it for its kinds.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "parallel/communicator.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

using Body = std::function<void(Communicator&)>;

/// A kind of communicator: `run` calls the body once on every rank and returns when all are done.
struct Kind {
  std::string name;
  int ranks;
  int ranks_per_node;
  std::function<void(const Body&)> run;
  /// What it needs and there is not; empty where all is there.
  std::function<std::string()> missing = [] { return std::string(); };
};

inline void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class Communicators : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const std::string missing = GetParam().missing();
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
  void run(const Body& body) { GetParam().run(body); }
};

template <class T>
std::span<std::byte> bytes_of(std::vector<T>& values) {
  return std::as_writable_bytes(std::span(values));
}

TEST_P(Communicators, KnowsItsPlace) {
  run([&](Communicator& group) {
    EXPECT_EQ(group.size(), GetParam().ranks);
    EXPECT_GE(group.rank(), 0);
    EXPECT_LT(group.rank(), group.size());
    group.barrier();
  });
}

TEST_P(Communicators, Broadcasts) {
  run([](Communicator& group) {
    for (int root = 0; root < group.size(); ++root) {
      std::vector<int64_t> values(1000, group.rank());
      group.broadcast(bytes_of(values), root);
      EXPECT_EQ(values, std::vector<int64_t>(1000, root));
    }
    group.broadcast({}, 0);
  });
}

TEST_P(Communicators, GathersInRankOrder) {
  run([](Communicator& group) {
    for (bool in_place : {false, true}) {
      const size_t part = 777;
      std::vector<int32_t> mine(part, group.rank() + 1);
      std::vector<int32_t> all(part * size_t(group.size()), -1);
      std::span<const std::byte> from = bytes_of(mine);
      if (in_place) {
        const auto own = std::span(all).subspan(part * size_t(group.rank()), part);
        std::ranges::copy(mine, own.begin());
        from = std::as_bytes(own);
      }
      group.all_gather(from, bytes_of(all));
      for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], int32_t(i / part) + 1);
    }
    group.all_gather({}, {});
  });
}

TEST_P(Communicators, ExchangesPartsOfAnyLength) {
  // Rank r sends rank s a part of 3 r + 5 s bytes with the value 10 r + s; some are empty.
  run([](Communicator& group) {
    const int me = group.rank();
    std::vector<uint64_t> send_bytes, receive_bytes;
    std::vector<uint8_t> send, expected;
    for (int other = 0; other < group.size(); ++other) {
      send_bytes.push_back(uint64_t(3 * me + 5 * other));
      receive_bytes.push_back(uint64_t(3 * other + 5 * me));
      send.insert(send.end(), send_bytes.back(), uint8_t(10 * me + other));
      expected.insert(expected.end(), receive_bytes.back(), uint8_t(10 * other + me));
    }
    std::vector<uint8_t> received(expected.size(), 0xff);
    group.all_to_all({bytes_of(send), send_bytes}, {bytes_of(received), receive_bytes});
    EXPECT_EQ(received, expected);
  });
}

TEST_P(Communicators, ExchangesWithItselfToo) {
  run([](Communicator& group) {
    const std::vector<uint64_t> bytes(size_t(group.size()), 4);
    std::vector<int32_t> send(size_t(group.size())), received(size_t(group.size()), -1);
    for (int other = 0; other < group.size(); ++other) {
      send[size_t(other)] = 100 * group.rank() + other;
    }
    group.all_to_all({bytes_of(send), bytes}, {bytes_of(received), bytes});
    for (int other = 0; other < group.size(); ++other) {
      EXPECT_EQ(received[size_t(other)], 100 * other + group.rank());
    }
  });
}

TEST_P(Communicators, SumsFloats) {
  run([](Communicator& group) {
    std::vector<float> values(1001);
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i) * float(group.rank() + 1);
    group.all_reduce(values);
    const int ranks = group.size();
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], float(i) * float(ranks * (ranks + 1) / 2));
    }
  });
}

TEST_P(Communicators, SendsInOrderRoundARing) {
  run([](Communicator& group) {
    const int ranks = group.size(), me = group.rank();
    if (ranks == 1) return;
    const int next = (me + 1) % ranks, previous = (me + ranks - 1) % ranks;
    for (int message = 0; message < 3; ++message) {
      std::vector<int32_t> out(size_t(message + 1) * 100, 10 * me + message);
      std::vector<int32_t> in(out.size());
      // A send may wait for its receive, so the ring is not closed by sends alone.
      if (me == 0) {
        group.send(bytes_of(out), next);
        group.receive(bytes_of(in), previous);
      } else {
        group.receive(bytes_of(in), previous);
        group.send(bytes_of(out), next);
      }
      EXPECT_EQ(in, std::vector<int32_t>(in.size(), 10 * previous + message));
    }
  });
}

TEST_P(Communicators, RefusesToSendToItself) {
  run([](Communicator& group) {
    std::vector<int32_t> value(1);
    EXPECT_THROW(group.send(bytes_of(value), group.rank()), std::logic_error);
    EXPECT_THROW(group.receive(bytes_of(value), group.rank()), std::logic_error);
  });
}

TEST_P(Communicators, SplitsByColour) {
  run([](Communicator& group) {
    const int colour = group.rank() % 2;
    const auto part = group.split(colour);
    EXPECT_EQ(part->rank(), group.rank() / 2);
    EXPECT_EQ(part->size(), (group.size() + 1 - colour) / 2);
    std::vector<int32_t> mine(1, group.rank()), all(size_t(part->size()));
    part->all_gather(bytes_of(mine), bytes_of(all));
    for (int r = 0; r < part->size(); ++r) EXPECT_EQ(all[size_t(r)], 2 * r + colour);
    group.barrier();
  });
}

TEST_P(Communicators, MovesOddAndLargeSizes) {
  run([](Communicator& group) {
    for (const size_t part : {size_t(1), size_t(4097), size_t(3'000'001)}) {
      std::vector<uint8_t> pattern(part + size_t(group.size()));
      for (size_t i = 0; i < pattern.size(); ++i) pattern[i] = uint8_t(i * 31);
      const auto of_rank = [&](int rank) { return std::span(pattern).subspan(size_t(rank), part); };
      std::vector<uint8_t> mine(part), all(part * size_t(group.size()));
      std::ranges::copy(of_rank(group.rank()), mine.begin());
      group.all_gather(bytes_of(mine), bytes_of(all));
      for (int r = 0; r < group.size(); ++r) {
        const auto got = std::span(all).subspan(part * size_t(r), part);
        ASSERT_TRUE(std::ranges::equal(got, of_rank(r))) << part << " bytes of rank " << r;
      }
      group.broadcast(bytes_of(mine), group.size() - 1);
      ASSERT_TRUE(std::ranges::equal(mine, of_rank(group.size() - 1))) << part << " bytes";
    }
  });
}

TEST_P(Communicators, SplitsAgainWithinAPart) {
  run([](Communicator& group) {
    const auto low = group.split(group.rank() < (group.size() + 1) / 2 ? 0 : 7);
    const auto alone = low->split(low->rank());
    EXPECT_EQ(alone->size(), 1);
    const auto same = low->split(3);
    EXPECT_EQ(same->size(), low->size());
    EXPECT_EQ(same->rank(), low->rank());
    // All are in use at once, in one order on every rank.
    std::vector<float> values{1.0f};
    same->all_reduce(values);
    low->all_reduce(values);
    alone->all_reduce(values);
    group.all_reduce(values);
    const float n = float(low->size()), others = float(group.size()) - n;
    EXPECT_EQ(values[0], n * n * n + others * others * others);
  });
}

TEST_P(Communicators, ServesAThreadForEachGroup) {
  // Ranks make the calls of the two groups in different orders; neither group waits for the other.
  run([](Communicator& group) {
    const auto first = group.split(0), second = group.split(0);
    const auto work = [](Communicator& part) {
      std::vector<int32_t> mine(300), all(mine.size() * size_t(part.size()));
      for (int round = 0; round < 50; ++round) {
        std::ranges::fill(mine, 100 * round + part.rank());
        part.all_gather(bytes_of(mine), bytes_of(all));
        for (size_t i = 0; i < all.size(); ++i) {
          ASSERT_EQ(all[i], 100 * round + int32_t(i / mine.size()));
        }
      }
    };
    std::jthread other([&] { work(*second); });
    if (group.rank() % 2 == 0) other.join();
    work(*first);
  });
}

TEST_P(Communicators, NamesNodesByTheirLowestRank) {
  run([](Communicator& group) {
    const int per_node = GetParam().ranks_per_node;
    EXPECT_EQ(group.node(), group.rank() / per_node * per_node);
    // The odd ranks: their lowest one on this node, in their own numbering.
    const auto part = group.split(group.rank() % 2);
    EXPECT_LE(part->node(), part->rank());
    std::vector<int32_t> mine{group.node(), part->node()}, all(2 * size_t(part->size()));
    part->all_gather(bytes_of(mine), bytes_of(all));
    for (size_t r = 0; r < size_t(part->size()); ++r) {
      EXPECT_EQ(all[2 * r] == mine[0], all[2 * r + 1] == mine[1]);
    }
  });
}

TEST_P(Communicators, SharesMemoryWithinANode) {
  run([](Communicator& group) {
    const auto size_of = [](int rank) { return size_t(rank % 3) * 5001; };  // some are empty
    std::vector<int32_t> node{group.node()}, nodes(size_t(group.size()));
    group.all_gather(bytes_of(node), bytes_of(nodes));
    // The memory outlives its group.
    const auto memory = group.split(0)->share(size_of(group.rank()));
    const auto mine = memory->mine();
    ASSERT_EQ(mine.size(), size_of(group.rank()));
    EXPECT_TRUE(std::ranges::all_of(mine, [](std::byte b) { return b == std::byte(0); }));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(mine.data()) % 4096, 0u);
    for (int round = 1; round < 3; ++round) {
      std::ranges::fill(mine, std::byte(16 * round + group.rank()));
      group.barrier();
      for (int r = 0; r < group.size(); ++r) {
        const auto theirs = memory->of(r);
        ASSERT_EQ(theirs.has_value(), nodes[size_t(r)] == node[0]) << "rank " << r;
        if (!theirs) continue;
        ASSERT_EQ(theirs->size(), size_of(r));
        EXPECT_TRUE(std::ranges::all_of(
            *theirs, [&](std::byte b) { return b == std::byte(16 * round + r); }));
      }
      group.barrier();
    }
  });
}

TEST_P(Communicators, StaysQuietUnderAWatchdog) {
  run([](Communicator& group) {
    group.set_watchdog(std::chrono::seconds(20));
    for (int step = 0; step < 100; ++step) {
      group.set_phase("step " + std::to_string(step));
      group.barrier();
      group.poll();
    }
  });
}

TEST_P(Communicators, RefusesSpansThatDoNotFit) {
  run([](Communicator& group) {
    std::vector<float> mine(4), all(4 * size_t(group.size()) + 1);
    EXPECT_THROW(group.all_gather(bytes_of(mine), bytes_of(all)), std::logic_error);
    EXPECT_THROW(group.broadcast(bytes_of(mine), group.size()), std::logic_error);
    const std::vector<uint64_t> bytes(size_t(group.size()) + 1, 0);
    EXPECT_THROW(group.all_to_all({{}, bytes}, {{}, bytes}), std::logic_error);
  });
}

}  // namespace tessera::parallel
