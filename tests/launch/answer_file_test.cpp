// A file of answers that was cut anywhere, and files that are not one.
#include "launch/run/answer_file.h"

#include <gtest/gtest.h>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

const std::vector<uint32_t> kPrompts = {0x11111111, 0x22222222, 0xfffffff3};
constexpr uint32_t kModel = 0xabcdef01, kOptions = 7;

Answer answer_of(uint64_t index, uint64_t sample) {
  Answer answer;
  answer.index = index;
  answer.sample = sample;
  answer.text = "line 1\nline 2 \"\u20ac\" " + std::to_string(index);
  answer.tokens = 5;
  answer.finish = Finish::kLength;
  return answer;
}

/// Three prompts, two samples, not in their order.
std::string write_answers(const std::string& path) {
  AnswerFile file(path, false);
  file.open();
  for (const auto& [index, sample] :
       std::vector<std::pair<uint64_t, uint64_t>>{{1, 0}, {0, 0}, {1, 1}, {2, 0}, {0, 1}, {2, 1}}) {
    file.append(answer_of(index, sample), {kModel, kOptions, kPrompts[index]});
  }
  return bytes_of_file(path);
}

TEST(AnswerFile, ALineThatIsCutAnywhereIsDropped) {
  const ScratchFolder folder;
  const std::string path = folder.file("a.jsonl"), whole = write_answers(path);
  for (size_t size = 0; size <= whole.size(); ++size) {
    folder.write("a.jsonl", whole.substr(0, size));
    AnswerFile file(path, true);
    file.check_prompts(kPrompts);
    file.check_options(kOptions);
    file.check_model(kModel);
    const std::string kept = whole.substr(0, whole.rfind('\n', size == 0 ? 0 : size - 1) + 1);
    EXPECT_EQ(bytes_of_file(path), whole.substr(0, size)) << "changed before it is opened";
    file.open();
    ASSERT_EQ(bytes_of_file(path), size == 0 ? "" : kept) << size;
    EXPECT_EQ(file.has(sequence_of(1, 0)), kept.find("\"index\":1,\"sample\":0") != kept.npos);
    EXPECT_EQ(file.has(sequence_of(2, 1)), size == whole.size());
    EXPECT_FALSE(file.has(sequence_of(3, 0)));
    file.append(answer_of(0, 5), {kModel, kOptions, kPrompts[0]});
    EXPECT_TRUE(bytes_of_file(path).starts_with(size == 0 ? "" : kept));
  }
}

TEST(AnswerFile, SaysWhatAnAnswerWasNotMadeFrom) {
  const ScratchFolder folder;
  const std::string path = folder.file("a.jsonl");
  write_answers(path);
  const AnswerFile file(path, true);
  expect_error([&] { file.check_options(8); }, path + ":1: made with other values of ");
  expect_error([&] { file.check_model(8); }, path + ":1: made with another base model, adapter ");
  expect_error(
      [&] {
        file.check_prompts(std::vector{kPrompts[0], kPrompts[1]});
      },
      path + ":4: answers prompt 2, but there are 2 prompts");
  expect_error(
      [&] {
        file.check_prompts(std::vector{kPrompts[0], 5u, kPrompts[2]});
      },
      path + ":1: answers another prompt than the one of index 1");
  std::vector<uint32_t> more = kPrompts;
  more.push_back(9);
  file.check_prompts(more);
}

TEST(AnswerFile, LeavesAloneWhatIsNotItsOwn) {
  const ScratchFolder folder;
  const std::string path = folder.file("a.jsonl"), whole = write_answers(path);
  const std::string front = "{\"index\":0,\"sample\":0,\"text\":\"\",\"key\":";
  for (const std::string& other :
       {std::string("my notes\n"), std::string("my notes"), whole + "my notes", "\n" + whole,
        whole + front + "\"0-0-0\"}\n", whole + "{\"index\":0}\n", whole + front + "\n",
        whole + whole, whole.substr(0, whole.size() - 1) + "x\n"}) {
    folder.write("a.jsonl", other);
    expect_error([&] { AnswerFile(path, true); }, path + ":");
    EXPECT_EQ(bytes_of_file(path), other);
  }
}

TEST(AnswerFile, IsNeitherOverwrittenNorWrittenTwice) {
  const ScratchFolder folder;
  const std::string path = folder.file("a.jsonl");
  write_answers(path);
  expect_error([&] { AnswerFile(path, false); }, path, "is there already", "--resume");
  expect_error([&] { AnswerFile(folder.file("no/a"), true); }, "there is no folder");
  const AnswerFile first(path, true);
  expect_error([&] { AnswerFile(path, true); }, path, "another process writes");
  AnswerFile one(folder.file("new"), true), two(folder.file("new"), true);
  one.open();
  expect_error([&] { two.open(); }, "cannot write");
}

}  // namespace
}  // namespace tessera::launch
