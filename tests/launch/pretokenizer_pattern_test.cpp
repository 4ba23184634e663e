// Regular expressions that are refused, and the time that a search may take. What those that are
// read find is in tokenizer_kinds_test.cpp.
#include "launch/text/tokenizer/pretokenizer_pattern.h"

#include <gtest/gtest.h>

#include "tests/expect_error.h"

namespace tessera::launch {
namespace {

using tessera::testing::expect_error;

std::optional<std::pair<size_t, size_t>> find(const std::string& regex, std::string_view text) {
  return Pattern::read(regex, "test").find(text, 0);
}

TEST(Pattern, GivesUpASearchThatTakesTooLong) {
  const std::string text = std::string(64, 'a') + "b";
  for (const char* regex : {"(a+)+$", "(?:a|a)*$", "(?:a{1,3})+$", R"((?=(?:a*)*\z))"}) {
    expect_error([&] { find(regex, text); }, "cannot split the text at byte 0 into words");
  }
  // One run may be given back character by character, however long it is.
  const std::string upper(1 << 21, 'A');
  EXPECT_EQ(find(R"([\p{Lu}]*[\p{Ll}]|\p{Lu}+)", upper), std::pair(size_t{0}, upper.size()));
}

TEST(Pattern, TakesLinearTimeForOverlappingMembersOfAClass) {
  const std::string text(1000, '!');
  EXPECT_FALSE(find(R"([\P{L}\P{N}[^a]]+b)", text));
}

TEST(Pattern, RefusesWhatTheTwoEnginesReadDifferently) {
  const auto refused = [](const std::string& regex, std::string_view why) {
    expect_error([&] { Pattern::read(regex, "file"); }, "file: the regular expression '",
                 "' is not supported: ", why);
  };
  refused(R"((a)\1)", R"('\1' at byte 5)");
  refused(R"(\k<a>)", R"('\k')");
  refused(R"(\G)", R"('\G')");
  refused(R"(\K)", R"('\K')");
  refused(R"(\X)", R"('\X')");
  refused(R"(\pL)", R"('\p' without '{')");
  refused(R"(\p{Greek_Extended})", "the property 'Greek_Extended'");
  refused(R"(\p{Mn})", "the property 'Mn'");
  refused(R"([[:graph:]])", "the class '[:graph:]'");
  refused(R"((?x:a))", "the group '(?x'");
  refused(R"((?~a))", "the group '(?~'");
  refused(R"((*FAIL))", "the group '(*F'");
  refused(R"((?(1)a|b))", "the group '(?('");
  refused(R"(\xff)", "a byte that is no character");
  refused(R"(\x{110000})", "no code point");
  refused(R"(\x{d800})", "no code point");
  refused("(?i:caf\u00e9)", "a letter beyond ASCII");
  refused("(?i:ss)", "that one character may stand for");
  refused(R"((?i:\p{Lu}))", "the property 'Lu' without regard to case");
  refused(R"((?i:[[^a]]))", "nested classes");
  refused("[^a[^b]]", "a negated class in a negated class");
  refused("[]a]", "begins with ']'");
  refused("[a-c-e]", "a range of a range");
  refused(R"([\d-a])", "a range from a set");
  refused("[c-a]", "out of order");
  refused("[a&&]", "an empty part");
  refused("a**", "a quantifier of a quantifier");
  refused("a{2}{3}", "a quantifier of a quantifier");
  refused("a{3,2}", "out of order");
  refused("a{5000}", "more than 1000");
  refused("(?=a)*", "has no width");
  refused("*a", "a quantifier of nothing");
  refused("(a", "'(' without ')'");
  refused("a)", "')' without '('");
  refused("[a", "it ends too early");
  refused("\\", "it ends with a backslash");
  refused("(?<=a+)b", "");  // PCRE2 says why
  refused(std::string(200, '(') + std::string(200, ')'), "nested deeper");
  expect_error([&] { Pattern::read(std::string(20000, 'a'), "file"); }, "20000 bytes");
}

}  // namespace
}  // namespace tessera::launch
