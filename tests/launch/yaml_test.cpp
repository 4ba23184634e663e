#include "launch/config/yaml.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

Place start_of(const std::string& source, int line = 1) {
  return {std::make_shared<const std::string>(source), line};
}

YamlNode parse(const std::string& text, const Place& start = start_of("run.yml")) {
  Faults faults;
  const std::optional<YamlNode> root = parse_yaml(text, start, faults);
  faults.raise();
  return root.value();
}

std::string message_of(const std::string& text, int lines = 1) {
  try {
    parse(text);
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_EQ(std::ranges::count(message, '\n') + 1, lines) << message;
    return message;
  }
  return "accepted";
}

/// The tree as PyYAML's BaseLoader gives it: every scalar a text, a null among them.
nlohmann::json json_of(const YamlNode& node) {
  nlohmann::json out;
  switch (node.kind) {
    case YamlNode::Kind::kNull:
    case YamlNode::Kind::kFaulty:
      return nullptr;
    case YamlNode::Kind::kScalar:
      return node.text;
    case YamlNode::Kind::kList:
      out = nlohmann::json::array();
      for (const YamlNode& item : node.items) out.push_back(json_of(item));
      return out;
    case YamlNode::Kind::kMap:
      out = nlohmann::json::object();
      for (const YamlEntry& entry : node.entries) out[entry.key] = json_of(entry.value);
      return out;
  }
  return out;
}

TEST(Yaml, ReadsWhatPyYamlReads) {
  const auto golden = io::read_json_file(TESSERA_GOLDEN_DIR "/yaml/golden.json", 1 << 20);
  ASSERT_GT(golden.size(), 20u);
  for (const auto& entry : golden) {
    const auto text = entry.at("text").get<std::string>();
    EXPECT_EQ(json_of(parse(text)), entry.at("tree")) << text;
  }
}

TEST(Yaml, KnowsItsLines) {
  const YamlNode root = parse("# comment\na: 1\n\nb:\n  - x\n  - {c: 2}\n");
  ASSERT_EQ(root.entries.size(), 2u);
  EXPECT_EQ(root.entries[0].place.text(), "run.yml:2");
  EXPECT_EQ(root.entries[1].place.text(), "run.yml:4");
  EXPECT_EQ(root.entries[1].value.items[1].entries[0].value.place.text(), "run.yml:6");
  EXPECT_EQ(parse("a: 1", start_of("command line: x", 0)).entries[0].place.text(),
            "command line: x");
}

TEST(Yaml, TakesBomCarriageReturnsAndAMarkedDocument) {
  EXPECT_EQ(json_of(parse("\xef\xbb\xbf---\r\na: 1\r\nb: c\r\n...\r\n")).dump(),
            R"({"a":"1","b":"c"})");
  EXPECT_EQ(parse("").kind, YamlNode::Kind::kNull);
  EXPECT_EQ(parse("# nothing\n").kind, YamlNode::Kind::kNull);
}

TEST(Yaml, RefusesWhatAConfigNeedsNot) {
  const std::pair<std::string, std::string> cases[] = {
      {"a: &x 1", "run.yml:1: an anchor (&name) is not allowed here; write the value out"},
      {"a: 1\nb: &x\n", "run.yml:2: an anchor (&name) is not allowed here; write the value out"},
      {"a: *x", "run.yml:1: not valid YAML: the referenced anchor is not defined"},
      {"a: 1\n<<: {b: 2}", "run.yml:2: a merge key (<<) is not allowed here; write the keys out"},
      {"a: !!python/object:os.system x",
       "run.yml:1: the tag 'tag:yaml.org,2002:python/object:os.system' is not allowed here; "
       "remove it"},
      {"a: !x {b: 1}", "run.yml:1: the tag '!x' is not allowed here; remove it"},
      {"a: 1\nb: 2\n\na: 3", "run.yml:4: 'a' is given twice, first in line 1; keep one"},
      {"? [a]\n: 1", "run.yml:1: a key must be plain text; is a bracket left open?"},
      {": 1", "run.yml:1: a key is missing before ':'"},
      {"a: 1\n---\nb: 2", "run.yml:2: a second document begins here; a config is one"},
      {"- a\nb: c", "run.yml:2: a second document begins here; a config is one"},
      {"a: 1\nb: \x04\nc: 2", "run.yml:2: a control character is not allowed here"},
      {std::string("a: 1\0b", 6), "run.yml:1: a control character is not allowed here"},
      {"a: 1\nb: \xff\xfe", "run.yml:2: not valid UTF-8"},
      {std::string(40, '[') + std::string(40, ']'), "run.yml:1: nested more than 32 deep"},
      {std::string(20'000, '['), "run.yml:1: more brackets and commas than a config can need"},
      {std::string((1 << 20) + 1, ' '),
       "run.yml: 1048577 bytes, more than the 1048576 that a config may have"},
  };
  for (const auto& [text, message] : cases)
    EXPECT_EQ(message_of(text), message) << text.substr(0, 80);
  EXPECT_EQ(message_of("a: &x [*x]", 2),
            "run.yml:1: an anchor (&name) is not allowed here; write the value out\n"
            "run.yml:1: an alias (*name) is not allowed here; write the value out");
  EXPECT_EQ(message_of("a:\n\t- b"), "run.yml:2: a tab indents this line; YAML takes spaces only");
  for (const std::string text : {"a: [1, 2", "a: 'x", "a: b: c", "a: \"\\q\""}) {
    EXPECT_TRUE(message_of(text).starts_with("run.yml:")) << message_of(text);
    EXPECT_NE(message_of(text).find("not valid YAML"), std::string::npos) << message_of(text);
  }
}

TEST(Yaml, NestsAsDeepAsItsLimitAndNoDeeper) {
  const std::string fits = std::string(32, '[') + std::string(32, ']');
  EXPECT_EQ(message_of(fits), "accepted");
  EXPECT_EQ(message_of("[" + fits + "]"), "run.yml:1: nested more than 32 deep");
}

TEST(Yaml, NothingIsExpanded) {
  std::string laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'm'; ++c) {
    laughs += fmt::format("{0}: &{0} [*{1}, *{1}, *{1}, *{1}, *{1}, *{1}]\n", c, char(c - 1));
  }
  // One anchor per line, and all aliases.
  EXPECT_NE(message_of(laughs, 11 + 6 * 11 + 1).find("anchor"), std::string::npos);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "- ";
  EXPECT_EQ(message_of(deep), "run.yml:1: nested more than 32 deep");
  std::string wide = "{";
  for (int i = 0; i < 200'000; ++i) wide += "a,";
  EXPECT_EQ(message_of(wide + "a}"), "run.yml:1: more brackets and commas than a config can need");
  std::string tall;
  for (int i = 0; i < 30'000; ++i) tall += "- a\n";
  EXPECT_EQ(message_of(tall), "run.yml:20000: more than 20000 values");
}

TEST(Yaml, WritesTextThatReadsBack) {
  const std::string cases[] = {
      "plain",   "a/b-c_d.e", "/abs/path", "true",    "No",   "null", "~",     "",
      "1",       "0x10",      "-",         "- a",     "a: b", "a #b", " a ",   "a\nb",
      "tab\t",   "\"q\"",     "it's",      "back\\n", "[a]",  "{a}",  "*a",    "&a",
      "!t",      "%x",        "@x",        "`x",      "<<",   "=",    "\x01",  "\x7f",
      "ünïcode", "日本",      "a\r\nb",    "auto",    "n",    "...",  "--- a", "é\u0085\u2028"};
  for (const std::string& text : cases) {
    const YamlNode root = parse("key: " + yaml_text(text) + "\nnext: 1\n");
    ASSERT_EQ(root.entries.size(), 2u) << text;
    EXPECT_EQ(root.entries[0].value.kind, YamlNode::Kind::kScalar) << text;
    EXPECT_EQ(root.entries[0].value.text, text);
  }
}

TEST(Yaml, MessagesStayOnOneLine) {
  EXPECT_EQ(shown("a\nb"), "'a\\x0ab'");
  EXPECT_EQ(shown(std::string(100, 'x')), "'" + std::string(60, 'x') + "…'");
  EXPECT_EQ(shown(std::string(59, 'x') + "éé"), "'" + std::string(59, 'x') + "é…'");
}

}  // namespace
}  // namespace tessera::launch
