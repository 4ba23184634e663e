// What every communicator whose abort leaves the process alive must do about one.
#pragma once

#include <atomic>
#include <vector>

#include "tests/parallel/communicator_suite.h"

namespace tessera::parallel {

TEST_P(Communicators, AbortReachesEveryRankWithItsMessage) {
  run([](Communicator& group) {
    const auto part = group.split(0);
    if (group.rank() == group.size() - 1) {
      group.abort("model.safetensors: truncated");
      group.abort("a later message");
    }
    for (Communicator* any : {&group, part.get()}) {
      try {
        any->barrier();
        ADD_FAILURE() << "the barrier of an aborted group returned";
      } catch (const Error& e) {
        EXPECT_STREQ(e.what(), "model.safetensors: truncated");
      }
      EXPECT_THROW(any->poll(), Error);
    }
    std::vector<float> values(4);
    EXPECT_THROW(group.all_reduce(values), Error);
    EXPECT_THROW(group.broadcast(bytes_of(values), 0), Error);
  });
}

TEST_P(Communicators, OneThrowEndsAll) {
  const int last = GetParam().ranks - 1;
  std::atomic<int> ended = 0;
  try {
    run([&](Communicator& group) {
      const auto part = group.split(0);
      if (group.rank() == last) fail("layer {}: not finite", 3);
      try {
        part->barrier();
      } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "layer 3: not finite");
        ++ended;
        throw Error("an echo");
      }
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "layer 3: not finite");
  }
  EXPECT_EQ(ended, last);
}

}  // namespace tessera::parallel
