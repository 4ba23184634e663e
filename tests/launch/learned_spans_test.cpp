// What of a conversation is learned, with templates of many habits: which mark it themselves, strip
// contents, move or drop thoughts, rewrite earlier turns, or end turns in odd ways.
#include "launch/data/learned_spans.h"

#include <gtest/gtest.h>

#include "launch/data/chat_rows.h"
#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::expect_error;
using Json = Conversation::Json;

constexpr char kChatMl[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

class LearnedSpans : public ::testing::Test {
 protected:
  void SetUp() override {
    tessera::testing::write_byte_tokenizer(folder_.path());
    tokenizer_ = Tokenizer::load(folder_.path());
  }

  ChatTemplate chat(const std::string& jinja) { return ChatTemplate::resolve(jinja, *tokenizer_); }

  LearnedText text(const std::string& jinja, const Json& messages) {
    return learned_text(chat(jinja), {.messages = messages, .learned = said_}, turns_, *tokenizer_,
                        ends_);
  }
  /// What is learned, with a bar after each stretch.
  std::string learned(const std::string& jinja, const Json& messages) {
    const LearnedText found = text(jinja, messages);
    unended_ = found.unended;
    rewritten_ = found.rewritten;
    std::string out;
    for (const auto& [begin, end] : found.learned) {
      out += found.text.text.substr(begin, end - begin) + "|";
    }
    return out;
  }
  ChatRow row(const std::string& jinja, const Json& messages) {
    const ChatTemplate of = chat(jinja);
    RowRemarks remarks;
    return chat_row({.messages = messages}, config_, {of, *tokenizer_, ends_}, "d.jsonl:1",
                    remarks);
  }
  std::string learned_of(const ChatRow& row) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < row.learned.size(); ++i) {
      if (row.learned[i]) ids.push_back(row.encoding.ids[i]);
    }
    return tokenizer_->decode(ids, false);
  }

  tessera::testing::ScratchFolder folder_;
  std::optional<Tokenizer> tokenizer_;
  LearnedTurns turns_;
  std::vector<std::optional<bool>> said_;
  std::vector<int32_t> ends_ = {tessera::testing::kImEnd};
  Config config_;
  int64_t unended_ = 0, rewritten_ = 0;
};

Json user(const std::string& content) { return {{"role", "user"}, {"content", content}}; }
Json answer(const std::string& content) { return {{"role", "assistant"}, {"content", content}}; }

const Json kTwoTurns = Json::array({user("One?"), answer("1"), user("Two?"), answer("2")});

TEST_F(LearnedSpans, AreTheAssistantsTurnsWithTheirEnds) {
  EXPECT_EQ(learned(kChatMl, kTwoTurns), "1<|im_end|>|2<|im_end|>|");
  EXPECT_EQ(learned(kChatMl, Json::array({user("a"), answer("")})), "<|im_end|>|");
  EXPECT_EQ(learned(kChatMl, Json::array({user("a"), answer("\n b \n")})), "\n b \n<|im_end|>|");
  EXPECT_EQ(learned(kChatMl, Json::array({answer("first"), user("a")})), "first<|im_end|>|");
  EXPECT_EQ(learned(kChatMl, Json::array({user("a")})), "");
  EXPECT_EQ(unended_ + rewritten_, 0);
}

TEST_F(LearnedSpans, AreThoseOfTheRolesAskedFor) {
  turns_.roles = {"user"};
  EXPECT_EQ(learned(kChatMl, kTwoTurns), "One?<|im_end|>|Two?<|im_end|>|");
  turns_.roles = {"user", "assistant"};
  EXPECT_EQ(learned(kChatMl, kTwoTurns), "One?<|im_end|>|1<|im_end|>|Two?<|im_end|>|2<|im_end|>|");
  turns_.last_only = true;
  EXPECT_EQ(learned(kChatMl, kTwoTurns), "2<|im_end|>|");
}

TEST_F(LearnedSpans, FollowWhatMessagesSayThemselves) {
  said_ = {true, false, std::nullopt, std::nullopt};
  EXPECT_EQ(learned(kChatMl, kTwoTurns), "One?<|im_end|>|2<|im_end|>|");
  said_ = {std::nullopt, std::nullopt, std::nullopt, false};
  turns_.last_only = true;
  EXPECT_EQ(learned(kChatMl, kTwoTurns), "1<|im_end|>|");
  turns_.last_only = false;
  turns_.all = true;
  EXPECT_EQ(learned(kChatMl, kTwoTurns),
            "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n1<|im_end|>\n"
            "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n|\n|");
}

/// Llama 3 trims, Gemma calls the assistant model, Mistral has the prompt in the user's turn.
TEST_F(LearnedSpans, AreFoundWhereContentsAreStripped) {
  const std::string trims =
      "{% for m in messages %}<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n"
      "{{ m.content | trim }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}";
  EXPECT_EQ(learned(trims, Json::array({user(" a "), answer("\n b \n"), user("c"), answer("d")})),
            "b<|im_end|>|d<|im_end|>|");
  const std::string inst =
      "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}"
      " {{ m.content }} <|im_end|>{% endif %}{% endfor %}";
  EXPECT_EQ(learned(inst, kTwoTurns), " 1 <|im_end|>| 2 <|im_end|>|");
}

/// Qwen 3's way: thoughts of earlier turns are dropped, and thinking can be switched off by an
/// empty thought in the prompt.
TEST_F(LearnedSpans, LeaveOutWhatThePromptSupplies) {
  const std::string thinks =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n"
      "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content or '' }}\n"
      "</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n$$${% endif %}";
  const auto prompting = [&](const std::string& opening) {
    std::string jinja = thinks;
    return jinja.replace(jinja.find("$$$"), 3, opening);
  };
  Json messages = kTwoTurns;
  EXPECT_EQ(learned(prompting(""), messages), "1<|im_end|>|<think>\n\n</think>\n\n2<|im_end|>|");
  EXPECT_EQ(rewritten_, 0);
  EXPECT_EQ(learned(prompting("<think>\n\n</think>\n\n"), messages), "1<|im_end|>|2<|im_end|>|");
  EXPECT_EQ(rewritten_, 1);  // the first turn has no thought here
  messages[3]["reasoning_content"] = "hm";
  EXPECT_EQ(learned(prompting("<think>\n"), messages), "1<|im_end|>|hm\n</think>\n\n2<|im_end|>|");
  EXPECT_EQ(learned(prompting("<think>\n\n</think>\n\n"), messages),
            "1<|im_end|>|hm\n</think>\n\n2<|im_end|>|");
}

TEST_F(LearnedSpans, HaveTheCallsOfTools) {
  const std::string calls =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
      "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>"
      "{% endfor %}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  Json call = answer("");
  call["tool_calls"] = Json::array({{{"function", {{"name", "f"}, {"arguments", {{"x", 1}}}}}}});
  const Json messages =
      Json::array({user("a"), call, {{"role", "tool"}, {"content", "7"}}, answer("b")});
  EXPECT_EQ(learned(calls, messages),
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call><|im_end|>|"
            "b<|im_end|>|");
}

TEST_F(LearnedSpans, AreTheTemplatesOwnMarks) {
  const std::string marked =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
      "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}"
      "<|im_end|>{% endif %}\n{% endfor %}";
  EXPECT_EQ(learned(marked, kTwoTurns), "1<|im_end|>|2<|im_end|>|");
  said_ = {std::nullopt, false, std::nullopt, std::nullopt};
  EXPECT_EQ(learned(marked, kTwoTurns), "2<|im_end|>|");
  said_.clear();
  EXPECT_EQ(learned(marked, Json::array({user("a"), answer(""), user("b"), answer("c")})),
            "<|im_end|>|c<|im_end|>|");
  turns_.last_only = true;
  EXPECT_EQ(learned(marked, Json::array({user("a"), answer("b"), user("c"), answer("")})),
            "<|im_end|>|");
  turns_ = {.roles = {"user", "assistant"}};
  EXPECT_EQ(learned(marked, kTwoTurns), "One?<|im_end|>|1<|im_end|>|Two?<|im_end|>|2<|im_end|>|");
}

/// A turn may end with the token that begins the next (GLM-4), in another way in the end (gpt-oss),
/// in letters, or not at all.
TEST_F(LearnedSpans, EndWhereAnEndTokenIs) {
  const std::string next =
      "{% for m in messages %}<|{{ 'im_start' if m.role == 'user' else 'im_end' }}|>{{ m.content }}"
      "{% endfor %}{% if add_generation_prompt %}<|im_end|>{% endif %}";
  ends_ = {tessera::testing::kImStart};
  EXPECT_EQ(learned(next, kTwoTurns), "1<|im_start|>|2|");
  EXPECT_EQ(unended_, 1);
  ends_ = {tessera::testing::kEndOfText};
  const std::string last =
      "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}"
      "{{ '<|endoftext|>' if loop.last and m.role == 'assistant' else '<|im_end|>' }}{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
  EXPECT_EQ(learned(last, kTwoTurns), "1<|im_end|>|2<|endoftext|>|");
  EXPECT_EQ(unended_, 0);
  const std::string letters =
      "{% for m in messages %}{{ m.role }}: {{ m.content }} </s>\n{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}";
  EXPECT_EQ(learned(letters, kTwoTurns), " 1 </s>| 2 </s>|");
  EXPECT_EQ(unended_, 2);
  const std::string none = "{% for m in messages %}{{ m.content }}\n{% endfor %}";
  EXPECT_EQ(learned(none, kTwoTurns), "1|2|");
}

/// Mistral writes the tools and the system text into the last question.
TEST_F(LearnedSpans, AreFoundWhereEarlierTurnsAreRewritten) {
  const std::string moves =
      "{% for m in messages %}{% if m.role == 'user' %}{% if loop.index0 >= messages | length - 2 "
      "%}"
      "TOOLS{% endif %}[{{ m.content }}]{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}";
  EXPECT_EQ(learned(moves, kTwoTurns), "1<|im_end|>|2<|im_end|>|");
  EXPECT_EQ(rewritten_, 1);
}

TEST_F(LearnedSpans, AreRefusedWhereTheyCannotBeTold) {
  const auto refuse = [&](const std::string& jinja, auto... parts) {
    expect_error([&] { text(jinja, kTwoTurns); }, parts...);
  };
  refuse("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
         "leaves message 2 (assistant) out of the text");
  refuse(
      "{% for m in messages %}answer: {{ m.content }}{% endfor %}"
      "{% if add_generation_prompt %}other: {% endif %}",
      "what message 2 (assistant) says cannot be told", "prompts for it with \"other: \"",
      "writes \"answer: 1");
  refuse(
      "{% if messages | length > 1 %}{{ messages[1].content ~ messages[0].content ~ "
      "messages[1].content }}{% endif %}{% for m in messages[2:] %}{{ m.content }}{% endfor %}",
      "writes it in two places");
  refuse("{{ raise_exception('no, ' ~ messages[0].content) }}", "no, One?");
}

/// A line feed behind the header, and one that begins the answer, are one token elsewhere.
TEST_F(LearnedSpans, TokensDoNotReachOverTheirBorders) {
  auto spec =
      nlohmann::json::parse(tessera::testing::bytes_of_file(folder_.file("tokenizer.json")));
  const std::string feed = tessera::testing::byte_symbol('\n');
  spec["model"]["vocab"][feed + feed] = 259;
  spec["model"]["merges"].push_back({feed, feed});
  folder_.write("tokenizer.json", spec.dump());
  tokenizer_ = Tokenizer::load(folder_.path());
  const ChatRow found = row(kChatMl, Json::array({user("\n"), answer("\nb")}));
  EXPECT_EQ(learned_of(found), "\nb<|im_end|>");
  EXPECT_EQ(std::ranges::count(found.encoding.ids, 259), 1);  // in the question alone
  const auto prompt = chat(kChatMl).chat({.messages = Json::array({user("\n")})}).render(true);
  const std::vector<int32_t> before = tokenizer_->encode(pieces_of(prompt)).ids;
  EXPECT_TRUE(std::equal(before.begin(), before.end(), found.encoding.ids.begin()));
}

TEST_F(LearnedSpans, EndTokensAreThoseAskedFor) {
  EXPECT_EQ(learned_of(row(kChatMl, kTwoTurns)), "1<|im_end|>2<|im_end|>");
  config_.train_on_eos = EndTokens::kAll;
  EXPECT_EQ(learned_of(row(kChatMl, kTwoTurns)), "<|im_end|>1<|im_end|><|im_end|>2<|im_end|>");
  config_.train_on_eos = EndTokens::kLast;
  EXPECT_EQ(learned_of(row(kChatMl, kTwoTurns)), "12<|im_end|>");
  config_.train_on_inputs = true;
  const std::string all = learned_of(row(kChatMl, kTwoTurns));
  EXPECT_EQ(all.find("<|im_end|>"), all.rfind("<|im_end|>"));
}

TEST_F(LearnedSpans, ArgumentsAndPartsComeAsTheTemplateTakesThem) {
  const auto whole = [&](const std::string& jinja, const Json& messages) {
    return tokenizer_->decode(row(jinja, messages).encoding.ids, false);
  };
  const std::string call =
      "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
      "{{ c.function.arguments$ }}{% endfor %}{% endfor %}";
  const auto calling = [&](const std::string& filter, const Json& arguments) {
    Json message = answer("c");
    message["tool_calls"] =
        Json::array({{{"function", {{"name", "f"}, {"arguments", arguments}}}}});
    std::string jinja = call;
    return whole(jinja.replace(jinja.find('$'), 1, filter), Json::array({user("u"), message}));
  };
  for (const Json& arguments : {Json{{"x", "é"}}, Json("{\"x\": \"é\"}")}) {
    EXPECT_EQ(calling("", arguments), "uc{\"x\": \"é\"}");
    EXPECT_EQ(calling(" | tojson", arguments), "uc{\"x\": \"é\"}");
  }
  expect_error([&] { calling(" | tojson", Json("{x}")); }, "d.jsonl:1: \"arguments\"", "JSON");
  Json silent = {{"role", "assistant"},
                 {"tool_calls", Json::array({{{"function", {{"name", "f"}}}}})}};
  EXPECT_EQ(whole("{% for m in messages %}{{ m.content + '.' }}{% for c in m.tool_calls or [] %}"
                  "{{ c.function.name }}{% endfor %}{% endfor %}",
                  Json::array({user("u"), silent})),
            "u..f");
  const Json parts =
      Json::array({{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}});
  const Json messages = Json::array({{{"role", "user"}, {"content", parts}}, answer("c")});
  EXPECT_EQ(whole(kChatMl, messages),
            "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n");
  EXPECT_EQ(whole("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
                  "{% for p in m.content %}({{ p.text }}){% endfor %}{% endif %}{% endfor %}",
                  messages),
            "(a)(b)c");
}

}  // namespace
}  // namespace tessera::launch
