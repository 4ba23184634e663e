// What `tokenize` prints, and how conversations are read.
#include "launch/commands/tokenize.h"

#include <gtest/gtest.h>

#include "launch/data/conversations.h"
#include "runtime/core/error.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/program.h"

namespace tessera::launch {
namespace {

using tessera::testing::expect_error;

class Tokenizing : public ::testing::Test {
 protected:
  void SetUp() override {
    tessera::testing::write_byte_tokenizer(folder_.path());
    options_.tokenizer = folder_.path();
    options_.chat_template = "chatml";
  }
  std::string messages(const std::string& name, const std::string& content) {
    options_.messages = folder_.write(name, content);
    return tokenize(options_, console_);
  }

  tessera::testing::ScratchFolder folder_;
  TokenizeOptions options_;
  Console console_{/*speaks=*/false};
};

TEST_F(Tokenizing, ATextIsOneArrayOfIds) {
  options_.file = folder_.write("text", "Hi <|im_end|>\n");
  EXPECT_EQ(tokenize(options_, console_), "[72,105,32,258,10]\n");
  options_.text = true;
  EXPECT_EQ(tokenize(options_, console_), "Hi <|im_end|>\n");
  options_.file = folder_.write("empty", "");
  EXPECT_EQ(tokenize(options_, console_), "");
  options_.text = false;
  EXPECT_EQ(tokenize(options_, console_), "[]\n");
}

TEST_F(Tokenizing, AConversationGoesThroughItsTemplate) {
  options_.text = true;
  const std::string text = messages("chat.json", R"([{"role": "user", "content": "A<|im_end|>"}])");
  EXPECT_EQ(text, "<|im_start|>user\nA<|im_end|><|im_end|>\n");
  options_.add_generation_prompt = true;
  EXPECT_EQ(tokenize(options_, console_), text + "<|im_start|>assistant\n");
  options_.text = false;
  options_.add_generation_prompt = false;
  // What a user wrote is never a special token.
  EXPECT_EQ(tokenize(options_, console_),
            "[257,117,115,101,114,10,65,60,124,105,109,95,101,110,100,124,62,258,10]\n");
}

TEST_F(Tokenizing, AnObjectSaysHowItIsRendered) {
  options_.text = true;
  options_.chat_template =
      "{{ tools | tojson }} {{ documents }} {{ mode }}:{% for m in messages %}{{ m.content }}."
      "{% endfor %}{{ 'open' if add_generation_prompt }}";
  const std::string turns = R"({"messages": [{"role": "user", "content": "A"},
                                {"role": "assistant", "content": "B "}])";
  EXPECT_EQ(messages("a.json", turns + "}"), "null None :A.B .");
  EXPECT_EQ(messages("b.json", turns + R"(, "tools": [{"z": 1, "a": 2}], "documents": [],
                                  "chat_template_kwargs": {"mode": "x"},
                                  "add_generation_prompt": true})"),
            "[{\"z\": 1, \"a\": 2}] [] x:A.B .open");
  EXPECT_EQ(messages("c.json", turns + R"(, "continue_final_message": true})"), "null None :A.B ");
  expect_error([&] { messages("d.json", turns + R"(, "continue_final_message": "thinking"})"); },
               "d.json: the last message has no \"thinking\"");
  expect_error([&] { messages("e.json", turns + R"(, "add_generation_prompt": 1})"); },
               "must be true or false");
  options_.chat_template = "{{ raise_exception('Only one turn, please.') }}";
  expect_error([&] { messages("f.json", turns + "}"); }, "f.json", "Only one turn, please.");
}

TEST_F(Tokenizing, MasksAreWhatTrainingLearns) {
  options_.masks = true;
  const std::string turns = R"([{"role": "user", "content": "A"},
                                {"role": "assistant", "content": "B"}])";
  EXPECT_EQ(
      messages("a.json", turns),
      "{\"input_ids\":[257,117,115,101,114,10,65,258,10,257,97,115,115,105,115,116,97,110,116,"
      "10,66,258,10],\"assistant_masks\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,1,0]}\n");
  options_.text = true;
  EXPECT_EQ(tokenize(options_, console_),
            "[{\"learned\":false,\"text\":\"<|im_start|>user\\nA<|im_end|>\\n<|im_start|>"
            "assistant\\n\"},{\"learned\":true,\"text\":\"B<|im_end|>\"},"
            "{\"learned\":false,\"text\":\"\\n\"}]\n");
  options_.add_generation_prompt = true;
  expect_error([&] { tokenize(options_, console_); }, "--masks shows what is trained on");
}

TEST_F(Tokenizing, JsonLinesGiveALineEach) {
  const std::string one = R"({"messages": [{"role": "user", "content": "A"}]})";
  const std::string two = R"([{"role": "user", "content": "B"}])";
  EXPECT_EQ(messages("chat.txt", one + "\n\n" + two + "\n"),
            "[257,117,115,101,114,10,65,258,10]\n[257,117,115,101,114,10,66,258,10]\n");
  options_.text = true;
  EXPECT_EQ(messages("chat.jsonl", one + "\n"), "\"<|im_start|>user\\nA<|im_end|>\\n\"\n");
  EXPECT_EQ(messages("chat.json", one + "\n"), "<|im_start|>user\nA<|im_end|>\n");
}

TEST_F(Tokenizing, SpecialTokensThatStayLettersAreCounted) {
  const std::string path =
      folder_.write("chat.jsonl",
                    "[{\"role\":\"user\",\"content\":\"<|im_end|> <image>\",\"id\":1}]\n"
                    "[{\"role\":\"user\",\"content\":\"<|im_end|><|im_start|>\"}]\n");
  const tessera::testing::Outcome o = tessera::testing::run_program(
      {"tokenize", "--tokenizer", folder_.path(), "--chat_template", "chatml", "--messages", path});
  EXPECT_EQ(o.code, 0) << o.err;
  const std::string at = path + ": ";
  EXPECT_EQ(o.err, at + "keys of messages not used: id\n" + at +
                       "special tokens inside messages, taken as letters: <|im_end|> (2), "
                       "<|im_start|> (1)\n" +
                       at + "messages with \"<image>\", which is taken as letters: 1\n");
  // Text has no tokens to count, but placeholders.
  const tessera::testing::Outcome text =
      tessera::testing::run_program({"tokenize", "--text", "--tokenizer", folder_.path(),
                                     "--chat_template", "chatml", "--messages", path});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(text.err, at + "keys of messages not used: id\n" + at +
                          "messages with \"<image>\", which is taken as letters: 1\n");
}

TEST_F(Tokenizing, RefusesBadInputByPlace) {
  const std::string good = R"({"messages": [{"role": "user", "content": "A"}]})";
  const auto expect = [&](const std::string& name, const std::string& content, auto... parts) {
    expect_error([&] { messages(name, content); }, name, parts...);
  };
  expect("empty.json", " \n", "empty");
  expect("lines.jsonl", good + "\n{\"messages\": [\n", "lines.jsonl:2");
  expect("list.jsonl", good + "\n\n[]\n", "list.jsonl:3", "non-empty");
  expect("number.json", "17", "expected a list of messages");
  expect("role.json", R"([{"role": 7, "content": "A"}])", "'role' must be a string");
  expect("content.json", R"([{"role": "user", "content": 3}])", "content");
  expect("cut.json", R"([{"role": "user", )", "cut.json");
  expect_error([&] { read_input(folder_.file("missing")); }, "missing");
}

TEST_F(Tokenizing, RefusesContradictions) {
  expect_error([&] { tokenize(options_, console_); }, "either a FILE");
  options_.file = folder_.write("text", "Hi");
  options_.add_generation_prompt = true;
  expect_error([&] { tokenize(options_, console_); }, "--add-generation-prompt needs --messages");
  options_.messages = *options_.file;
  expect_error([&] { tokenize(options_, console_); }, "either a FILE");
  options_ = {};
  options_.tokenizer = folder_.file("nothing");
  options_.file = "text";
  expect_error([&] { tokenize(options_, console_); }, "nothing");
  options_.tokenizer = folder_.path();
  options_.file = folder_.write("broken", "a\xff");
  expect_error([&] { tokenize(options_, console_); }, "UTF-8");
}

}  // namespace
}  // namespace tessera::launch
