// The promise of paging and slicing: the numbers of the resident whole, to the bit; and the state
// in and out, whatever held it.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "optim/optimizer.h"
#include "tests/expect_error.h"
#include "tests/optim/golden_values.h"
#include "tests/optim/state_table.h"
#include "tests/scratch_folder.h"

namespace tessera::optim {
namespace {

using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

constexpr size_t kPage = 4096;  // two blocks of 32 bits, or seven of 8

using Arrays = std::map<std::string, std::vector<std::byte>>;

/// The optimizers of ranks that hold consecutive ranges of one buffer.
class Ranks {
 public:
  Ranks(const std::vector<StateSegment>& segments, const std::vector<size_t>& cuts,
        const PageOptions& paging)
      : segments_(segments), params_(golden_values(1, size_of(segments))) {
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      ranks_.push_back(std::make_unique<Optimizer>(adamw_rule(), segments,
                                                   ElementRange{cuts[i], cuts[i + 1]},
                                                   OptimizerOptions{.weight_decay = 0.1}, paging));
      begins_.push_back(cuts[i]);
    }
  }

  void steps(Context& ctx, int first, int last) {
    for (int step = first; step <= last; ++step) {
      const auto grads = golden_values(uint64_t(100 + step), params_.size());
      for (size_t r = 0; r < ranks_.size(); ++r) {
        const size_t n = ranks_[r]->size();
        ranks_[r]->step(ctx, std::span(params_).subspan(begins_[r], n),
                        std::span(grads).subspan(begins_[r], n), 1e-2, 0.5f);
      }
    }
  }

  /// Parameters and state of all ranks, put together; read in pieces of `piece` items.
  Arrays state(size_t piece) const {
    Arrays all;
    const auto params = std::as_bytes(std::span(params_));
    all["params"].assign(params.begin(), params.end());
    for (const auto& rank : ranks_) {
      for (const StateArray& array : rank->state_arrays()) {
        const size_t item = size_of(array.dtype);
        std::vector<std::byte>& joined = all[array.name];
        for (uint64_t at = 0; at < array.elements; at += piece) {
          const size_t n = size_t(std::min<uint64_t>(piece, array.elements - at));
          joined.resize(joined.size() + n * item);
          rank->read_state(array.name, at, std::span(joined).last(n * item));
        }
      }
    }
    return all;
  }

  void set_state(const Arrays& all, int64_t steps, size_t piece) {
    const auto& params = all.at("params");
    std::memcpy(params_.data(), params.data(), params.size());
    for (size_t r = 0; r < ranks_.size(); ++r) {
      std::map<std::string, uint64_t> before;
      const ElementRange below{0, begins_[r]};
      for (const StateArray& array : state_arrays(adamw_rule().moments, segments_, below)) {
        before[array.name] = array.elements;
      }
      for (const StateArray& array : ranks_[r]->state_arrays()) {
        const size_t item = size_of(array.dtype);
        const auto bytes =
            std::span(all.at(array.name)).subspan(before[array.name] * item, array.elements * item);
        for (uint64_t at = 0; at < array.elements; at += piece) {
          const size_t n = size_t(std::min<uint64_t>(piece, array.elements - at));
          ranks_[r]->write_state(array.name, at, bytes.subspan(at * item, n * item));
        }
      }
      ranks_[r]->set_steps_taken(steps);
    }
  }

  const Optimizer& rank(size_t r) const { return *ranks_[r]; }

 private:
  std::vector<StateSegment> segments_;
  std::vector<float> params_;
  std::vector<std::unique_ptr<Optimizer>> ranks_;
  std::vector<size_t> begins_;
};

struct Expected {
  std::vector<StateSegment> segments;
  size_t size;
  Arrays state;  // after five steps
  size_t bytes;
};

Expected expected(bool eight_bit) {
  Expected e{state_table(eight_bit), size_of(state_table(eight_bit)), {}, 0};
  Context ctx(Device::cpu(), 1, 0);
  Ranks whole(e.segments, {0, e.size}, {});
  whole.steps(ctx, 1, 5);
  e.state = whole.state(e.size);
  e.bytes = whole.rank(0).memory().resident;
  return e;
}

TEST(PagedAdamW, HasTheBitsOfTheResidentWholeWithAnyBudgetAndSlices) {
  ScratchFolder folder;
  for (bool eight_bit : {false, true}) {
    const Expected e = expected(eight_bit);
    EXPECT_EQ(e.state.size(), eight_bit ? 7u : 3u);
    for (size_t percent : {0, 10, 25, 50, 90, 100}) {
      for (const std::string& directory : {std::string(), folder.path()}) {
        for (const auto& cuts :
             {std::vector<size_t>{0, e.size}, {0, 8192, e.size}, {0, 4096, 4096, 20480, e.size}}) {
          for (int threads : {1, 2}) {
            SCOPED_TRACE(::testing::Message()
                         << (eight_bit ? 8 : 32) << " bits, budget " << percent << " %, "
                         << cuts.size() - 1 << " ranks, " << (directory.empty() ? "host" : "file"));
            Context ctx(Device::cpu(), threads, 0);
            Ranks ranks(
                e.segments, cuts,
                {.budget = e.bytes * percent / 100, .directory = directory, .page_bytes = kPage});
            ranks.steps(ctx, 1, 5);
            ASSERT_TRUE(ranks.state(1000) == e.state);
          }
        }
      }
    }
  }
}

TEST(PagedAdamW, GoesOnWithAnotherNumberOfRanksAndAnotherPaging) {
  for (bool eight_bit : {false, true}) {
    const Expected e = expected(eight_bit);
    Context ctx(Device::cpu(), 2, 0);
    Ranks four(e.segments, {0, 4096, 12288, 12288, e.size}, {.budget = 0, .page_bytes = kPage});
    four.steps(ctx, 1, 3);
    const Arrays saved = four.state(777);
    Ranks three(e.segments, {0, 8192, 28672, e.size}, {.budget = 30000, .page_bytes = 3 * kPage});
    three.set_state(saved, 3, 1234);
    EXPECT_TRUE(three.state(e.size) == saved);
    three.steps(ctx, 4, 5);
    EXPECT_TRUE(three.state(e.size) == e.state);
    // In the middle of a paged life, between an upward and a downward sweep.
    four.set_state(saved, 3, 999);
    four.steps(ctx, 4, 5);
    EXPECT_TRUE(four.state(e.size) == e.state);
  }
}

TEST(PagedAdamW, GoesOnInAnotherContext) {
  const Expected e = expected(true);
  Context one(Device::cpu(), 1, 0), two(Device::cpu(), 2, 0);
  Ranks ranks(e.segments, {0, e.size}, {.budget = 0, .page_bytes = kPage});
  for (int step = 1; step <= 5; ++step) ranks.steps(step % 2 == 0 ? one : two, step, step);
  EXPECT_TRUE(ranks.state(e.size) == e.state);
}

TEST(PagedAdamW, WithstandsACopyStreamThatIsLate) {
  const Expected e = expected(true);
  for (int repetition = 0; repetition < 20; ++repetition) {
    Context ctx(Device::cpu(), 1, 0);
    Ranks ranks(e.segments, {0, e.size}, {.budget = e.bytes / 3, .page_bytes = kPage});
    // Another thread's work gets between the copies, wherever it happens to.
    std::atomic<bool> done{false};
    std::atomic<uint64_t> sink{0};
    std::thread other([&] {
      uint64_t spins = uint64_t(repetition);
      while (!done) {
        spins = spins * 6364136223846793005u + 1442695040888963407u;
        ctx.copy_stream().enqueue([&sink, n = spins >> 50] {
          for (uint64_t i = 0; i < n; ++i) sink += i;
        });
        ctx.copy_stream().synchronize();
      }
    });
    ranks.steps(ctx, 1, 5);
    done = true;
    other.join();
    ASSERT_TRUE(ranks.state(e.size) == e.state);
  }
}

TEST(PagedAdamW, MovesOnlyWhatDoesNotFit) {
  const std::vector<StateSegment> segments{{0, 40 * 512, StateBits::k32}};
  const ElementRange range{0, 40 * 512};
  Context ctx(Device::cpu(), 1, 0);
  const auto grads = golden_values(1, range.size());
  for (size_t kept : {0, 1, 10, 37, 38, 40}) {
    Optimizer optimizer(adamw_rule(), segments, range, {},
                        {.budget = kept * kPage, .page_bytes = kPage});
    auto params = golden_values(2, range.size());
    for (int step = 0; step < 3; ++step) optimizer.step(ctx, params, grads, 1e-3, 1.0f);
    // Forty pages; of the two staging frames one keeps a page between sweeps.
    const uint64_t moved = kept >= 38 ? 0 : 40 - kept - 1;
    EXPECT_EQ(optimizer.page_counters().pages_in, 3 * moved) << kept;
    EXPECT_EQ(optimizer.page_counters().pages_out, 3 * moved) << kept;
    EXPECT_EQ(optimizer.page_counters().bytes_in, 3 * moved * kPage) << kept;
    EXPECT_EQ(optimizer.page_counters().bytes_out, 3 * moved * kPage) << kept;
  }
}

TEST(PagedAdamW, HoldsWhatThePlanSays) {
  ScratchFolder folder;
  const auto segments = state_table(true);
  for (const ElementRange range : {ElementRange{0, size_of(segments)}, {4096, 20480}, {0, 0}}) {
    const size_t all = Optimizer::memory(adamw_rule(), segments, range, {}).resident;
    size_t bytes = 0;
    for (const StateRun& run : state_runs(segments, range)) bytes += run.bytes(2);
    EXPECT_EQ(all, bytes);
    for (size_t budget : {size_t{0}, kPage - 1, kPage, all / 2, all - 1, all, 2 * all}) {
      for (const std::string& directory : {std::string(), folder.path()}) {
        const PageOptions paging{.budget = budget, .directory = directory, .page_bytes = kPage};
        const PageMemory planned = Optimizer::memory(adamw_rule(), segments, range, paging);
        EXPECT_EQ(planned, Optimizer(adamw_rule(), segments, range, {}, paging).memory());
        EXPECT_LE(planned.resident, budget);
        EXPECT_LE(planned.staging, 2 * kPage);
        EXPECT_GE(planned.resident + planned.staging + planned.host + planned.file, all);
        EXPECT_LE(planned.resident + planned.staging + planned.host + planned.file,
                  all + all / 4 + 2 * kPage);
        EXPECT_EQ(directory.empty() ? planned.file : planned.host, 0u);
      }
    }
  }
  const std::vector<StateSegment> large{{0, size_t{1} << 34, StateBits::k32}};
  const PageMemory planned =
      Optimizer::memory(adamw_rule(), large, {0, size_t{1} << 34}, {.budget = 1u << 30});
  EXPECT_EQ(planned.resident, 1u << 30);
  EXPECT_EQ(planned.staging, 2u << 20);
  EXPECT_EQ(planned.host, (size_t{8} << 34) - (1u << 30) - (1u << 20));
}

TEST(PagedAdamW, LeavesNothingInItsFolder) {
  ScratchFolder folder;
  const auto segments = state_table(false);
  Optimizer optimizer(adamw_rule(), segments, {0, size_of(segments)}, {},
                      {.budget = 0, .directory = folder.path(), .page_bytes = kPage});
  EXPECT_GT(optimizer.memory().file, 0u);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

/// Limits how large files may become, for as long as it lives.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_;
};

TEST(PagedAdamW, RefusesAFolderItCannotUse) {
  ScratchFolder folder;
  const auto segments = state_table(false);
  const auto make = [&](const std::string& directory) {
    Optimizer(adamw_rule(), segments, {0, size_of(segments)}, {},
              {.budget = 0, .directory = directory, .page_bytes = kPage});
  };
  expect_error([&] { make(folder.file("absent")); }, "optimizer_page_dir", folder.file("absent"),
               "No such file or directory");
  expect_error([&] { make(folder.write("file", "x")); }, "optimizer_page_dir", "Not a directory");
  std::filesystem::remove(folder.file("file"));
  const FileLimit limit(8192);
  expect_error([&] { make(folder.path()); }, "optimizer_page_dir", folder.path(),
               "no room for 1 MiB", "File too large");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(PagedAdamW, ReportsAPageThatCannotBeWritten) {
  ScratchFolder folder;
  const auto segments = state_table(false);
  const size_t size = size_of(segments);
  Optimizer optimizer(adamw_rule(), segments, {0, size}, {},
                      {.budget = 0, .directory = folder.path(), .page_bytes = kPage});
  auto params = golden_values(1, size);
  const auto grads = golden_values(2, size);
  Context ctx(Device::cpu(), 1, 0);
  optimizer.step(ctx, params, grads, 1e-3, 1.0f);
  std::vector<std::byte> state(size * sizeof(float));
  optimizer.read_state("exp_avg", 0, state);
  const FileLimit limit(0);
  expect_error([&] { optimizer.step(ctx, params, grads, 1e-3, 1.0f); }, "optimizer_page_dir",
               "cannot write a page", folder.path(), "File too large");
  expect_error([&] { optimizer.read_state("exp_avg", 0, state); }, "optimizer_page_dir");
}

}  // namespace
}  // namespace tessera::optim
