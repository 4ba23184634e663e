// `tessera chat` as the program that users run: driven through pipes, and on a terminal.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>

#include <algorithm>

#include "runtime/io/json.h"
#include "tests/launch/answering_base.h"
#include "tests/launch/program.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using tessera::testing::AnsweringBase;
using tessera::testing::Outcome;
using tessera::testing::run_program;
using Strings = std::vector<std::string>;

class ChatTest : public ::testing::Test {
 protected:
  Outcome chat(const std::string& input, Strings more = {}, int code = 0) const {
    more.insert(more.end(), {"--max_new_tokens", "12"});
    const Outcome outcome = run_program(model_.arguments("chat", more), input);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    return outcome;
  }
  /// What `generate` answers to a conversation.
  std::string generated(const json& messages, Strings more = {}) const {
    const std::string file = model_.folder().write("m.json", messages.dump());
    more.insert(more.end(), {"--messages", file, "--max_new_tokens", "12"});
    const Outcome outcome = run_program(model_.arguments("generate", more));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  }
  json saved() const { return io::read_json_file(file("c.json"), 1 << 20).at("messages"); }
  std::string file(const std::string& name) const { return model_.folder().file(name); }
  std::string save() const { return "/save " + file("c.json") + "\n"; }

  /// That chat printed the answers of `messages`, and that each is generate's.
  void expect_generated(const std::string& out, const json& messages, const Strings& more) const {
    std::string expected;
    json before = json::array();
    for (const json& message : messages) {
      if (message["role"] == "assistant") {
        const std::string answer = generated(before, more);
        EXPECT_EQ(answer, message["content"].get<std::string>() + "\n");
        expected += answer;
      }
      before.push_back(message);
    }
    EXPECT_EQ(out, expected);
  }

  const AnsweringBase model_;
};

TEST_F(ChatTest, AnswersAsGenerateDoesToTheSameMessages) {
  const Outcome o =
      chat("hello\n\"\"\"two\nlines\"\"\"\n\n /not a command\n\"\"\"\n/nor this\n\"\"\"\n" + save(),
           {"--system", "Be brief."});
  const json messages = saved();
  ASSERT_EQ(messages.size(), 9u);
  EXPECT_EQ(messages[0], json({{"role", "system"}, {"content", "Be brief."}}));
  const Strings said = {"hello", "two\nlines", " /not a command", "/nor this"};
  for (size_t i = 0; i < said.size(); ++i) {
    EXPECT_EQ(messages[1 + 2 * i], json({{"role", "user"}, {"content", said[i]}}));
  }
  expect_generated(o.out, messages, {});
}

TEST_F(ChatTest, TurnsTheAdapterOffAndOn) {
  const Strings adapter = {"--adapter", model_.adapter()};
  const Outcome o = chat("a\n/undo\n/adapter off\na\n/undo\n/adapter on\na\n/adapter\n", adapter);
  const json question = json::array({{{"role", "user"}, {"content", "a"}}});
  const std::string with = generated(question, adapter), without = generated(question);
  EXPECT_NE(with, without);
  EXPECT_EQ(o.out, with + without + with);
  EXPECT_NE(o.err.find("(the adapter is off: the base answers)"), std::string::npos) << o.err;
  EXPECT_TRUE(o.err.ends_with("(the adapter is on)\n")) << o.err;
}

TEST_F(ChatTest, TakesBackAndBeginsAnew) {
  const Outcome o = chat("a\nb\n/undo\nb\n/reset\na\nb\n/system other\n/reset\na\n" + save());
  Strings lines;
  for (size_t begin = 0; begin < o.out.size();) {
    const size_t end = o.out.find('\n', begin);
    lines.push_back(o.out.substr(begin, end - begin));
    begin = end + 1;
  }
  ASSERT_EQ(lines.size(), 6u) << o.out;  // the noise has no line ends
  EXPECT_EQ(lines[1], lines[2]);
  EXPECT_EQ(lines[0], lines[3]);
  EXPECT_EQ(lines[1], lines[4]);
  EXPECT_NE(lines[0], lines[5]);
  EXPECT_EQ(saved().at(0)["content"], "other");
}

TEST_F(ChatTest, DrawsAnewForEachAnswerAndTheSameInEachSession) {
  const Strings draws = {"--temperature", "1"};
  const std::string twice = chat("a\n/undo\na\n", draws).out;
  EXPECT_EQ(chat("a\n/undo\na\n/reset\na\n/undo\na\n", draws).out, twice + twice);
  const std::string once = chat("a\n", draws).out;
  EXPECT_TRUE(twice.starts_with(once));
  EXPECT_NE(twice, once + once);
}

TEST_F(ChatTest, GoesOnWithASavedConversation) {
  const Outcome straight = chat("a\nb\nc\n" + save());
  const json messages = saved();
  chat("a\nb\n" + save());
  const Outcome loaded = chat("/load " + file("c.json") + "\nc\n" + save());
  EXPECT_TRUE(straight.out.ends_with(loaded.out));
  EXPECT_EQ(saved(), messages);
  // One that ends with a question is answered at once.
  json question = messages;
  question.erase(question.size() - 1);
  const std::string path = model_.folder().write("q.json", question.dump());
  EXPECT_EQ(chat("/load " + path + "\n").out, loaded.out);
}

TEST_F(ChatTest, EndsWithTheFirstErrorWhereNobodyTypes) {
  const auto expect_error = [&](const std::string& input, const std::string& message) {
    const Outcome o = chat(input + "\nb\n", {}, 1);
    EXPECT_NE(o.err.find("tessera: " + message), std::string::npos) << o.err;
    EXPECT_EQ(o.out, "");
  };
  expect_error("/undo", "/undo: there is no message to take back");
  expect_error("/udno", "unknown command /udno; did you mean /undo? (/help shows");
  expect_error("/adapter on", "/adapter: there is none; start with --adapter PATH");
  expect_error("/adapter maybe", "/adapter maybe: expected on or off");
  expect_error("/undo 2", "/undo takes no argument");
  expect_error("/load", "/load needs an argument: /load FILE");
  expect_error("/load " + file("none.json"), "");
  expect_error("\"\"\"a", "the input ends inside a message");
  expect_error("\xff", "");
  const std::string lines = model_.folder().write("l.jsonl", "{\"messages\": []}\n");
  expect_error("/load " + lines, lines);
}

TEST_F(ChatTest, AStopStringEndsAnAnswer) {
  const std::string whole = chat("a\n").out;
  size_t at = 1;
  while (at + 1 < whole.size() && !(whole[at] > ' ' && whole[at] < 0x7f)) ++at;
  ASSERT_LT(at + 1, whole.size()) << whole;
  const std::string stop(1, whole[at]);
  const std::string before = whole.substr(0, whole.find(stop));
  EXPECT_EQ(chat("a\n", {"--stop", stop}).out, before + "\n");
}

/// Its model has room for about two short turns.
class SmallChatTest : public ChatTest {
 protected:
  Outcome small(const std::string& input, int code) const {
    const AnsweringBase model(100);
    return [&] {
      const Outcome o = run_program(model.arguments("chat", {"--max_new_tokens", "30"}), input);
      EXPECT_EQ(o.code, code) << o.err;
      return o;
    }();
  }
};

TEST_F(SmallChatTest, DropsNoTurnInSilence) {
  const Outcome o = small("a\nb\nc\n", 1);
  EXPECT_NE(o.err.find("of the model's 100 positions are left; /undo or /reset makes room)"),
            std::string::npos)
      << o.err;
  EXPECT_NE(o.err.find("tokens, more than the model's 100 positions; a shorter message, /undo or "
                       "/reset makes room"),
            std::string::npos)
      << o.err;
  EXPECT_EQ(small("a\n/reset\nb\n/reset\nc\n", 0).code, 0);
}

/// The program on a terminal of its own.
class Terminal {
 public:
  Terminal(std::vector<std::string> args, const Strings& environment) {
    args.insert(args.begin(), TESSERA_PROGRAM);
    child_ = ::forkpty(&end_, nullptr, nullptr, nullptr);
    if (child_ != 0) return;
    ::setenv("TERM", "xterm", 1);
    ::unsetenv("NO_COLOR");
    for (const std::string& setting : environment) ::putenv(const_cast<char*>(setting.c_str()));
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ~Terminal() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(end_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& text) {
    ASSERT_EQ(::write(end_, text.data(), text.size()), ssize_t(text.size()));
  }
  /// Reads on until `text` is shown, behind what was read before. A failure when it is not.
  void expect(const std::string& text) {
    while (shown_.find(text, seen_) == shown_.npos) {
      pollfd end{end_, POLLIN, 0};
      char chunk[256];
      const ssize_t n = ::poll(&end, 1, 60'000) > 0 ? ::read(end_, chunk, sizeof chunk) : -1;
      ASSERT_GT(n, 0) << "no '" << text << "' in: " << shown_.substr(seen_);
      shown_.append(chunk, size_t(n));
    }
    seen_ = shown_.find(text, seen_) + text.size();
  }
  int wait() {
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& shown() const { return shown_; }

 private:
  int end_ = -1;
  pid_t child_ = -1;
  std::string shown_;
  size_t seen_ = 0;
};

TEST_F(ChatTest, CtrlCStopsAnAnswerAndKeepsTheSession) {
  Terminal terminal(model_.arguments("chat", {"--max_new_tokens", "3900", "--stop", "\n"}), {});
  terminal.expect(">>> ");
  terminal.type("\x03");
  terminal.expect("(Ctrl-D or /quit leaves)");
  terminal.expect(">>> ");
  terminal.type("hello\n");
  terminal.expect("hello\r\n");
  terminal.expect("?");  // what this noise begins with, or has soon
  terminal.type("\x03");
  terminal.expect("(stopped; /undo takes the message and this answer back)");
  terminal.type("/nonsense\n");
  terminal.expect("unknown command /nonsense");
  terminal.type(save());
  terminal.expect("(2 messages are in ");
  terminal.expect(">>> ");
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_EQ(saved().at(0)["content"], "hello");
}

TEST_F(ChatTest, NoColorIsHonoured) {
  for (const bool colours : {true, false}) {
    const Strings environment = colours ? Strings{} : Strings{"NO_COLOR=1"};
    Terminal terminal(model_.arguments("chat", {"--max_new_tokens", "2"}), environment);
    terminal.expect(">>> ");
    terminal.type("/quit\n");
    EXPECT_EQ(terminal.wait(), 0);
    EXPECT_EQ(terminal.shown().find('\x1b') != std::string::npos, colours) << terminal.shown();
  }
}

}  // namespace
}  // namespace tessera::launch
