// The Jinja engine against Jinja2 (golden and maker in tests/golden; real templates in the shared
// data), where text came from, limits, and errors.
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <map>
#include <thread>

#include "launch/text/jinja/template.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"

namespace tessera::launch::jinja {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

const fs::path kShared = TESSERA_SHARED_DIR;

ordered_json read_ordered(const fs::path& path) {
  return io::parse_ordered_json(io::read_file(path.string(), 16 << 20), path.string());
}

Rendered render(const std::string& source, const ordered_json& variables = ordered_json::object(),
                int64_t now = 0) {
  return Template::parse(source, "t").render(Value::from_json(variables, 1), now);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no Error";
}

std::string fault_of(const std::string& source,
                     const ordered_json& variables = ordered_json::object()) {
  return message_of([&] { render(source, variables); });
}

/// The text with what came from data between brackets, and the number of its source after them.
std::string marked(const Rendered& rendered) {
  std::string text;
  size_t at = 0;
  for (const Mark& mark : rendered.marks) {
    EXPECT_LE(at, mark.begin);
    EXPECT_LT(mark.begin, mark.end);
    text += rendered.text.substr(at, mark.begin - at) + "[" +
            rendered.text.substr(mark.begin, mark.end - mark.begin) + "]" +
            std::to_string(mark.source);
    at = mark.end;
  }
  EXPECT_LE(at, rendered.text.size());
  return text + rendered.text.substr(at);
}

TEST(Jinja, EqualsJinja2OnSnippets) {
  const ordered_json golden = read_ordered(fs::path(TESSERA_GOLDEN_DIR) / "jinja/expressions.json");
  const Value variables = Value::from_json(golden["variables"], 1);
  for (const ordered_json& snippet : golden["snippets"]) {
    const std::string source = snippet["template"];
    SCOPED_TRACE(source);
    const auto text = [&] { return Template::parse(source, "t").render(variables, 0).text; };
    if (snippet.contains("error")) {
      EXPECT_THROW(text(), Error);
    } else {
      EXPECT_NO_THROW(EXPECT_EQ(text(), snippet["output"]));
    }
  }
  EXPECT_GE(golden["snippets"].size(), 800u);
}

// -- Real templates --------------------------------------------------------------------------

/// A message as transformers gives it to templates: without nulls, its reasoning by two names.
ordered_json prepared(const ordered_json& message) {
  ordered_json result = ordered_json::object();
  ordered_json reasoning;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    if (reasoning.is_null() && message.contains(name)) reasoning = message[name];
  }
  if (!reasoning.is_null()) result["thinking"] = reasoning;
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) result[key] = value;
  }
  if (!reasoning.is_null()) result["reasoning_content"] = reasoning;
  return result;
}

ordered_json variables_of(const ordered_json& golden, const ordered_json& one) {
  const auto named = [&](const char* key) -> ordered_json {
    return one.contains(key) ? golden[key][one[key].get<std::string>()] : ordered_json();
  };
  ordered_json variables = {{"messages", ordered_json::array()},
                            {"tools", named("tools")},
                            {"documents", named("documents")},
                            {"add_generation_prompt", false}};
  if (one.contains("tools_inline")) variables["tools"] = one["tools_inline"];
  const std::string conversation = one["conversation"];
  for (const ordered_json& message : golden["conversations"][conversation]) {
    variables["messages"].push_back(prepared(message));
  }
  const char* kTokens = "special_tokens";
  variables.update(one.contains(kTokens) ? one[kTokens] : golden[kTokens]);
  if (one.contains("kwargs")) variables.update(one["kwargs"]);
  return variables;
}

int64_t local_time(const std::string& text) {
  std::tm time = {};
  EXPECT_NE(strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &time), nullptr);
  time.tm_isdst = -1;
  return std::mktime(&time);
}

void expect_equal(const Template& chat, const Value& variables, int64_t now,
                  const ordered_json& wanted) {
  if (wanted.contains("output")) {
    const Rendered rendered = chat.render(variables, now);
    EXPECT_EQ(rendered.text, wanted["output"]);
    if (wanted.contains("generation_bytes")) {
      EXPECT_EQ(ordered_json(rendered.generation), wanted["generation_bytes"]);
    }
  } else if (wanted.value("by_template", false)) {
    try {
      chat.render(variables, now);
      ADD_FAILURE() << "no TemplateRefusal";
    } catch (const TemplateRefusal& refusal) {
      EXPECT_EQ(refusal.what(), wanted["message"]);
    }
  } else {
    EXPECT_THROW(chat.render(variables, now), Error);
  }
}

/// By template or case: how many renders are the reference's, by what these are.
using Counts = std::map<std::string, std::map<std::string, int>>;

TEST(Jinja, EqualsTheSharedRenders) {
  if (!fs::exists(kShared / "templates")) GTEST_SKIP() << kShared << " is absent";
  const ordered_json golden = read_ordered(kShared / "templates/golden_renders_2.json");
  const int64_t now = local_time(golden["now"]);
  size_t compared = 0;
  Counts templates, cases;
  for (const auto& [name, renders] : golden["renders"].items()) {
    const std::string source = io::read_file((kShared / "templates" / name).string(), 1 << 20);
    const Template chat = Template::parse(source, name);
    for (const ordered_json& one : golden["cases"]) {
      const std::string label = one["name"];
      // To continue the last message is the caller's business, with the engine's marks.
      if (one.contains("continue_final_message") || !renders.contains(label)) continue;
      SCOPED_TRACE(name + " " + label);
      expect_equal(chat, Value::from_json(variables_of(golden, one), 1), now, renders[label]);
      ++compared;
      for (const char* what : {"output", "error", "generation"}) {
        if (!renders[label].contains(what)) continue;
        ++templates[name][what];
        ++cases[label][what];
      }
    }
  }
  EXPECT_GE(compared, 2900u);
  // For docs/compatibility.md, which is not written where one of them differs.
  RecordProperty("templates", ordered_json(templates).dump());
  RecordProperty("cases", ordered_json(cases).dump());
}

// -- Where text came from --------------------------------------------------------------------

TEST(Jinja, MarksFollowTheText) {
  const ordered_json data = {{"s", "dAtA"}, {"l", {"x", "y"}}, {"d", {{"k", "v\n"}}}, {"i", 5}};
  for (const auto& [source, wanted] : std::initializer_list<std::pair<const char*, const char*>>{
           {"a {{ s }} b", "a [dAtA]1 b"},
           {"{{ 'x' ~ s ~ i }}", "x[dAtA]15"},
           {"{{ '<' + s[1:3] + '>' }}", "<[At]1>"},
           {"{{ (' ' ~ s ~ ' ').strip() | upper }}", "[DATA]1"},
           {"{{ s | lower | title | indent(2, true) }}", "  [Data]1"},
           {"{{ s.replace('A', 'oo') }}", "[d]1oo[t]1oo"},
           {"{{ 'a-b' | replace('-', s) }}", "a[dAtA]1b"},
           {"{{ s.split('A') | join('+') }}", "[d]1+[t]1+"},
           {"{{ l | join }}{{ l | join(', ') }}", "[xyx]1, [y]1"},
           {"{{ s | center(8) }}", "  [dAtA]1  "},
           {"{{ '%s=%5s' % (s, 'q') }}", "[dAtA]1=    q"},
           {"{{ '{}:{:>6}'.format('q', s) }}", "q:  [dAtA]1"},
           {"{{ d | tojson }}", "{\"[k]1\": \"[v\\n]1\"}"},
           {"{{ d }}", "{'[k]1': '[v\\n]1'}"},
           {"{{ l | tojson(indent=1) }}", "[\n \"[x]1\",\n \"[y]1\"\n]"},
           {"{% for c in s %}{{ c }}.{% endfor %}", "[d]1.[A]1.[t]1.[A]1."},
           {"{{ s | reverse }}{{ s * 2 }}", "[AtAddAtAdAtA]1"},
           {"{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(s) }}", "<[dAtA]1>"},
           {"{% set x %}<{{ s }}>{% endset %}{{ x | e }}", "&lt;[dAtA]1&gt;"},
           {"{% filter upper %}a{{ s }}{% endfilter %}", "A[DATA]1"},
           {"{{ s | truncate(3, true, '!', 0) }}", "[dA]1!"},
           {"{{ i }}{{ s == 'dAtA' }}{{ s | length }}", "5True4"}}) {
    EXPECT_EQ(marked(render(source, data)), wanted) << source;
  }
}

TEST(Jinja, SourcesStayApart) {
  Dict one, two, variables;
  one.set("content", Text("ab", 1));
  two.set("content", Value::from_json("cd", 2));
  variables.set("messages", Value::list({one, two}));
  variables.set("bos", "<s>");
  const Template chat = Template::parse(
      "{{ bos }}{% for m in messages %}{{ m.content }}{% endfor %}"
      "{{ messages | map(attribute='content') | join | reverse }}",
      "t");
  EXPECT_EQ(marked(chat.render(variables, 0)), "<s>[ab]1[cddc]2[ba]1");
}

// -- Generation ------------------------------------------------------------------------------

TEST(Jinja, GenerationIsGivenInBytes) {
  const Rendered rendered =
      render("é{% generation %}{{ s }}{% endgeneration %}-{% generation %}{% endgeneration %}",
             {{"s", "日"}});
  EXPECT_EQ(rendered.generation, (std::vector<std::pair<size_t, size_t>>{{2, 5}, {6, 6}}));
  EXPECT_TRUE(Template::parse("{% generation %}{% endgeneration %}", "t").has_generation());
  EXPECT_FALSE(Template::parse("{# {% generation %} #}", "t").has_generation());
}

// -- Errors and limits -----------------------------------------------------------------------

TEST(Jinja, ErrorsNameTheLine) {
  for (const auto& [source, wanted] : std::initializer_list<std::pair<const char*, const char*>>{
           {"a\n{{ x", "t:2: unexpected end of template in a tag"},
           {"\n\n{% if x %}", "t:3: expected '{% endif %}', got the end of the template"},
           {"{% nope %}", "t:1: unknown tag 'nope'"},
           {"{% include 'x' %}", "t:1: the tag 'include' is not supported"},
           {"\n{{ 1 | nope }}", "t:2: there is no filter named 'nope'"},
           {"{{ 1 | random }}", "t:1: the filter 'random' is not supported"},
           {"a\n{{ m.x }}", "t:2: 'm' is undefined"},
           {"{{ 1 +\n 'a' }}", "t:2: unsupported operand type(s) for +: 'int' and 'str'"},
           {"{{ 9223372036854775807 + 1 }}", "t:1: an integer grows beyond 64 bits"},
           {"{% set x = 1 %}\r\n{{ x.y.z }}", "t:2: 'y' is undefined"},
           {"\xff", "t: the template is not UTF-8 at byte 0"}}) {
    EXPECT_EQ(fault_of(source), wanted);
  }
}

TEST(Jinja, ARefusalHasTheTemplatesWords) {
  try {
    render("{{ raise_exception('Roles must alternate: ' ~ s) }}", {{"s", "x\ny"}});
    ADD_FAILURE() << "no TemplateRefusal";
  } catch (const TemplateRefusal& refusal) {
    EXPECT_STREQ(refusal.what(), "Roles must alternate: x\ny");
  }
}

TEST(Jinja, WhatGrowsWithoutEndIsAnError) {
  const std::string loop = "{% for a in range(99999) %}";
  for (const std::string& source : {
           loop + loop + "{% endfor %}{% endfor %}",
           std::string("{{ 'x' * 10 ** 9 }}"),
           std::string("{{ ['x'] * 10 ** 9 }}"),
           std::string("{{ '%999999999d' % 1 }}"),
           std::string("{{ '{:>99999999}'.format(1) }}"),
           std::string("{{ 'x' | center(999999999) }}"),
           std::string("{{ 'x' | indent(999999999, true) }}"),
           std::string("{{ [1] | batch(999999999, 1) | list }}"),
           std::string("{{ [1] | slice(999999999) | list }}"),
           std::string("{% set n = namespace(x='aa') %}" + loop + "{% set n.x = n.x ~ n.x %}") +
               "{% endfor %}",
           std::string("{% set n = namespace(x=[1]) %}" + loop + "{% set n.x = [n.x, n.x] %}") +
               "{% endfor %}{{ n.x }}",
           std::string("{% set n = namespace(x=[]) %}" + loop + "{% set n.x = [n.x] %}") +
               "{% endfor %}",
           std::string("{% set n = namespace(x=[1]) %}" + loop + "{% set n.x = n.x + n.x %}") +
               "{% endfor %}",
           std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
           std::string("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"),
           std::string("{{ 'a' | replace('', 'b' * 60000000) }}"),
           loop + "{{ 'x' * 100000 }}{% endfor %}",
           "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
           "{{ " + std::string(5000, '-') + "1 }}",
           "{{ x" + std::string(5000, '.') + " }}",
           std::string("{{ 1 }}") + std::string(2 << 20, ' '),
       }) {
    EXPECT_THROW(render(source), Error) << source.substr(0, 80);
  }
  std::string deep, chain = "{{ 1";
  for (int i = 0; i < 5000; ++i) {
    deep += "{% if 1 %}";
    chain += " + 1";
  }
  for (int i = 0; i < 5000; ++i) deep += "{% endif %}";
  EXPECT_THROW(render(deep), Error);
  EXPECT_THROW(render(chain + " }}"), Error);
}

TEST(Jinja, DataIsBounded) {
  ordered_json deep = ordered_json::array();
  for (int i = 0; i < 200; ++i) deep = ordered_json::array({deep});
  EXPECT_EQ(message_of([&] { Value::from_json(deep, 1); }), "the data nests more than 100 levels");
  EXPECT_EQ(message_of([] { Value::from_json(uint64_t{1} << 63, 1); }),
            "the integer 9223372036854775808 in the data is beyond 64 bits");
  EXPECT_EQ(message_of([] { Value::from_json("\xc3", 1); }), "a string in the data is not UTF-8");
}

TEST(Jinja, ANamespaceMayHoldItself) {
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.n = n %}{% macro m() %}{{ n.n.n is mapping }}"
                   "{% endmacro %}{% set n.m = m %}{{ n.m() }}")
                .text,
            "False");
}

TEST(Jinja, ThreadsShareATemplate) {
  const Template chat = Template::parse("{% for x in l %}{{ x }}{{ loop.index }}{% endfor %}", "t");
  const Value variables = Value::from_json({{"l", {"a", "b", "c"}}}, 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 500; ++k) EXPECT_EQ(chat.render(variables, 0).text, "a1b2c3");
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Jinja, PrintsTheLocalTime) {
  const int64_t now = local_time("2026-03-07T08:05:09");
  EXPECT_EQ(
      render("{{ strftime_now('%d %b %Y, %H:%M:%S.%f %-d%%') }}", ordered_json::object(), now).text,
      "07 Mar 2026, 08:05:09.000000 7%");
}

}  // namespace
}  // namespace tessera::launch::jinja
