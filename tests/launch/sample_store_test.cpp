// What is kept of a data set's samples: in memory, in a file, and in the cache of tokens.
#include "launch/data/sample_store.h"

#include <gtest/gtest.h>

#include <thread>

#include "launch/data/dataset.h"
#include "launch/data/token_cache.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using testing::ScratchFolder;

constexpr int32_t kNone = Sample::kIgnore;

const std::vector<Sample>& some() {
  static const std::vector<Sample> samples = {
      {{5, 6, 7}, {kNone, 6, 7}},
      {{0x7fffffff, 0}, {0x7fffffff, kNone}},
      {{1, 2, 3, 4}, {2, kNone, 3, 9}},  // labels that are other tokens
      {{8}, {8}},
      {{}, {}},
  };
  return samples;
}

void expect_some(const SampleStore& store) {
  ASSERT_EQ(store.size(), some().size());
  for (size_t i = store.size(); i-- > 0;) {
    EXPECT_EQ(store.length(i), int64_t(some()[i].ids.size())) << i;
    EXPECT_EQ(store.read(i).ids, some()[i].ids) << i;
    EXPECT_EQ(store.read(i).labels, some()[i].labels) << i;
  }
}

json write_some(SampleWriter& writer) {
  for (const Sample& sample : some()) writer.add(sample);
  return {{"rows", 5}};
}

TEST(SampleStore, GivesWhatWasWritten) {
  const ScratchFolder folder;
  SampleWriter memory, file(folder.file("a.tokens"));
  const SampleStore held = memory.finish(write_some(memory));
  const SampleStore written = file.finish(write_some(file));
  const auto read = SampleStore::open(folder.file("a.tokens"));
  ASSERT_TRUE(read);
  for (const SampleStore* store : {&held, &written, &*read}) {
    expect_some(*store);
    EXPECT_EQ(store->about(), (json{{"rows", 5}}));
    EXPECT_EQ(store->fingerprint(), held.fingerprint());
  }
  // More than is buffered, so that it reaches the file in several parts.
  SampleWriter large(folder.file("b.tokens"));
  std::vector<int32_t> ids(1000);
  for (int32_t i = 0; i < 1000; ++i) {
    std::ranges::fill(ids, i);
    large.add({ids, ids});
  }
  const SampleStore store = large.finish(nullptr);
  for (size_t i = 0; i < 1000; ++i) EXPECT_EQ(store.read(i).ids.back(), int32_t(i));
}

TEST(SampleStore, KnowsADamagedFile) {
  const ScratchFolder folder;
  const std::string path = folder.file("a.tokens");
  SampleWriter writer(path);
  writer.finish(write_some(writer));
  const std::string whole = io::read_file(path, 1 << 20);
  EXPECT_FALSE(SampleStore::open(folder.file("none")));
  for (size_t size = 0; size < whole.size(); ++size) {
    io::write_file(path, whole.substr(0, size));
    EXPECT_FALSE(SampleStore::open(path)) << size;
  }
  const size_t words = size_t(3 + 2 + 8 + 1) * 4;
  for (size_t at = words; at < whole.size(); ++at) {
    std::string bad = whole;
    bad[at] = char(bad[at] ^ 0x10);
    io::write_file(path, bad);
    EXPECT_FALSE(SampleStore::open(path)) << at;
  }
}

TEST(TokenCache, MakesAnEntryOnce) {
  const ScratchFolder folder;
  const TokenCache cache(folder.file("cache"));
  int made = 0;
  const auto make = [&](SampleWriter& writer) {
    ++made;
    return write_some(writer);
  };
  for (int i = 0; i < 3; ++i) expect_some(*cache.get({{"a", 1}}, make, nullptr));
  EXPECT_EQ(made, 1);
  expect_some(*cache.get({{"a", 2}}, make, nullptr));
  EXPECT_EQ(made, 2);
  // What fails leaves nothing behind.
  const auto broken = [](SampleWriter&) -> json { fail("a row is broken"); };
  EXPECT_THROW(cache.get({{"a", 3}}, broken, nullptr), Error);
  EXPECT_FALSE(io::exists(cache.path_of({{"a", 3}})));
  expect_some(*cache.get({{"a", 3}}, make, nullptr));
  // A damaged entry is made again.
  const std::string path = cache.path_of({{"a", 1}});
  io::write_file(path, io::read_file(path, 1 << 20).substr(0, 20));
  expect_some(*cache.get({{"a", 1}}, make, nullptr));
  EXPECT_EQ(made, 4);
}

TEST(TokenCache, SeveralAtOnceMakeAnEntryOnce) {
  const ScratchFolder folder;
  const TokenCache cache(folder.file("cache"));
  std::atomic<int> made = 0;
  const auto make = [&](SampleWriter& writer) {
    ++made;
    return write_some(writer);
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { expect_some(*cache.get({{"a", 1}}, make, nullptr)); });
    }
  }
  EXPECT_EQ(made, 1);
}

TEST(TokenCache, SaysWhichFolderCannotBeWritten) {
  const ScratchFolder folder;
  io::write_file(folder.file("file"), "");
  const TokenCache cache(folder.file("file/cache"));
  try {
    cache.get(
        {}, [](SampleWriter& writer) { return write_some(writer); }, nullptr);
    FAIL() << "written";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("dataset_prepared_path"), std::string::npos);
  }
}

}  // namespace
}  // namespace tessera::launch
