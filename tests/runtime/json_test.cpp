// Strict JSON: what is refused, and that every error is one line that names source and place.
#include "runtime/io/json.h"

#include <gtest/gtest.h>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

using testing::expect_error;

TEST(Json, ReadsEveryKindOfValue) {
  const auto value = parse_json(R"({"a": [1, -2, 3.5, true, null, "xé"], "b": {}})", "f.json");
  EXPECT_EQ(value.dump(), R"({"a":[1,-2,3.5,true,null,"xé"],"b":{}})");
  EXPECT_EQ(parse_json(" 7 ", "f.json"), 7);
}

TEST(Json, IsWrittenWithItsLettersAndWithoutBrokenOnes) {
  EXPECT_EQ(json_text(nlohmann::json{{"b", "é"}, {"a", "x\xff"}}),
            "{\"a\":\"x\xef\xbf\xbd\",\"b\":\"é\"}");
  EXPECT_EQ(json_text(nlohmann::ordered_json{{"b", 1}, {"a", 2}}, 2),
            "{\n  \"b\": 1,\n  \"a\": 2\n}");
}

TEST(Json, KeepsTheOrderOfKeysWhereAsked) {
  const std::string_view text = R"({"z": {"b": 1, "a": [2]}, "y": null, "x": {}})";
  EXPECT_EQ(parse_ordered_json(text, "f.json").dump(), R"({"z":{"b":1,"a":[2]},"y":null,"x":{}})");
  // Few keys and many are told apart in different ways.
  for (const int count : {2, 31, 32, 33, 500}) {
    std::string object = "{";
    for (int i = 0; i < count; ++i) object += fmt::format("\"k{}\": {}, ", count - i, i);
    EXPECT_EQ(parse_ordered_json(object + "\"last\": 0}", "f.json").size(), size_t(count) + 1);
    for (const int twice : {1, count}) {
      expect_error(
          [&] { parse_ordered_json(fmt::format("{}\"k{}\": 0}}", object, twice), "f.json"); },
          "f.json: key 'k", "appears twice");
    }
  }
}

TEST(Json, RefusesMalformedText) {
  for (const std::string_view text :
       {"", " ", "{", "[1,]", "{\"a\":}", "{} x", "01", "nul", "'a'", "{\"a\" 1}", "[1 2]", "\"a",
        "\"\x01\"", "/* c */ 1", "\"\\ud800\"", "\"\xff\"", "\"\xc0\x80\"", "1e400", "NaN"}) {
    expect_error([&] { parse_json(text, "f.json"); }, "f.json: invalid JSON at byte");
  }
}

TEST(Json, RefusesEveryPrefix) {
  const std::string_view text = R"({"key": [1, "two", {"three": false}], "four": null})";
  for (size_t n = 0; n < text.size(); ++n) {
    expect_error([&] { parse_json(text.substr(0, n), "f.json"); }, "f.json: invalid JSON");
  }
}

TEST(Json, RefusesWhatFollowsANulByte) {
  using namespace std::string_view_literals;
  expect_error([] { parse_json("{}\0garbage"sv, "f.json"); }, "f.json", "byte 2", "NUL");
}

TEST(Json, RefusesAByteOrderMark) {
  expect_error([] { parse_json("\xef\xbb\xbf{}", "f.json"); }, "byte order mark");
}

TEST(Json, RefusesDuplicateKeys) {
  expect_error([] { parse_json(R"({"b": 1, "a": {"x": 1, "x": 2}})", "f.json"); },
               "f.json: key 'x' appears twice");
}

TEST(Json, BoundsDepthAndCount) {
  const JsonLimits limits{.max_depth = 3, .max_values = 5};
  EXPECT_NO_THROW(parse_json("[[[]]]", "f.json", limits));
  expect_error([&] { parse_json("[[[[]]]]", "f.json", limits); }, "deeper than 3");
  EXPECT_NO_THROW(parse_json("[1,2,3,4]", "f.json", limits));
  expect_error([&] { parse_json("[1,2,3,4,5]", "f.json", limits); }, "more than 5");
  expect_error([] { parse_json(std::string(1'000'000, '['), "f.json"); }, "deeper than 64");
}

TEST(Json, CutsWhatItQuotes) {
  const std::string key(100'000, 'k');
  const std::string text = "{\"" + key + "\n";
  EXPECT_LT(testing::error_of([&] { parse_json(text, "f.json"); }).size(), 500u);
}

TEST(Json, NamesTheFile) {
  const testing::ScratchFolder folder;
  const std::string path = folder.write("a.json", "[1, 2");
  expect_error([&] { read_json_file(path, 100); }, path, "invalid JSON at byte");
  expect_error([&] { read_json_file(path, 3); }, path, "more than the 3");
}

}  // namespace
}  // namespace tessera::io
