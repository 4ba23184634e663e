// The text of an answer and its stop strings, token by token, against the whole text.
#include "launch/run/answer_text.h"

#include <gtest/gtest.h>

#include "tests/launch/byte_tokenizer.h"
#include "tests/random_model.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::ScratchFolder;

/// What is before the stop string whose end comes first; the whole text where there is none.
std::string expected_text(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 0; end <= text.size(); ++end) {
    size_t first = text.npos;
    for (const std::string& stop : stops) {
      const size_t found = text.substr(0, end).find(stop);
      first = std::min(first, found);
    }
    if (first != text.npos) return text.substr(0, first);
  }
  return text;
}

class AnswerTextTest : public ::testing::Test {
 protected:
  /// One token for each byte.
  static Tokenizer byte_tokenizer() {
    const ScratchFolder folder;
    tessera::testing::write_byte_tokenizer(folder.path());
    return Tokenizer::load(folder.path());
  }

  /// Pushes the text byte by byte: what is out is never more than what is certain.
  void expect_cut(const std::string& text, const std::vector<std::string>& stops) {
    const std::string expected = expected_text(text, stops);
    AnswerText answer(tokenizer_, stops);
    std::string out;
    for (size_t i = 0; i < text.size() && !answer.stopped(); ++i) {
      out += answer.push(int32_t(static_cast<unsigned char>(text[i])));
      ASSERT_TRUE(expected.starts_with(out)) << text << ": " << out;
      EXPECT_EQ(answer.tokens(), int64_t(i) + 1);
    }
    out += answer.finish();
    EXPECT_EQ(out, expected) << text;
    EXPECT_EQ(answer.stopped(), expected != text || stops.empty() ? expected != text : false)
        << text;
  }

  const Tokenizer tokenizer_ = byte_tokenizer();
};

TEST_F(AnswerTextTest, EndsBeforeAStopString) {
  expect_cut("one two three", {" two"});
  expect_cut("one two three", {"three!", "xyz"});
  expect_cut("aaab", {"aab"});              // a beginning inside a beginning
  expect_cut("ababac", {"abac"});           // likewise
  expect_cut("abc", {"abc", "b"});          // the one that ends first
  expect_cut("aé\u20ac\nb", {"\u20ac\n"});  // letters of several bytes
  expect_cut("", {"x"});
}

TEST_F(AnswerTextTest, EqualsTheWholeTextCut) {
  tessera::testing::RandomNumbers random(5);
  const auto word = [&](uint32_t letters) {
    std::string text;
    while (letters-- > 0) text += random.bits() % 2 == 0 ? "a" : "b";
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops;
    for (uint32_t n = random.bits() % 3; n > 0; --n) stops.push_back(word(1 + random.bits() % 5));
    expect_cut(word(random.bits() % 12) + "c", stops);
    if (HasFatalFailure()) return;
  }
}

TEST_F(AnswerTextTest, HoldsNothingBackWithoutNeed) {
  const std::vector<std::string> stops = {"\nUser:"};
  AnswerText answer(tokenizer_, stops);
  EXPECT_EQ(answer.push('a'), "a");
  EXPECT_EQ(answer.push('\n'), "");
  EXPECT_EQ(answer.push('U'), "");
  EXPECT_EQ(answer.push('x'), "\nUx");
  EXPECT_EQ(answer.push('\n'), "");
  EXPECT_EQ(answer.finish(), "\n");
  EXPECT_FALSE(answer.stopped());
}

TEST_F(AnswerTextTest, TheRestOfACutLetterMayCompleteAStopString) {
  const std::vector<std::string> stops = {"\ufffd"};
  AnswerText answer(tokenizer_, stops);
  EXPECT_EQ(answer.push('a'), "a");
  EXPECT_EQ(answer.push(0xc3), "");
  EXPECT_EQ(answer.finish(), "");
  EXPECT_TRUE(answer.stopped());
}

}  // namespace
}  // namespace tessera::launch
