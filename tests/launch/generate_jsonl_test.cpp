// `tessera generate` over files of prompts, as the program that users run: rows, samples, stop
// strings, and runs that are interrupted.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "runtime/io/json.h"
#include "tests/launch/answering_base.h"
#include "tests/launch/program.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using tessera::testing::AnsweringBase;
using tessera::testing::bytes_of_file;
using tessera::testing::Outcome;
using tessera::testing::Program;
using tessera::testing::run_program;
using Strings = std::vector<std::string>;

std::vector<json> rows_of(const std::string& text) {
  std::vector<json> rows;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_NE(end, text.npos) << "the last line has no end";
    rows.push_back(json::parse(text.substr(begin, end - begin)));
    begin = end == text.npos ? text.size() : end + 1;
  }
  return rows;
}

/// The rows of a file in the order of the prompts, without the times.
std::vector<json> sorted_rows(const std::string& text) {
  std::vector<json> rows = rows_of(text);
  for (json& row : rows) row.erase("seconds");
  std::ranges::sort(rows, {}, [](const json& row) {
    return std::pair(row["index"].get<int>(), row["sample"].get<int>());
  });
  return rows;
}

class GenerateJsonl : public ::testing::Test {
 protected:
  Outcome generate(const Strings& more) const {
    return run_program(model_.arguments("generate", more));
  }
  /// That has to succeed.
  std::string output_of(const Strings& more) const {
    const Outcome outcome = generate(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  }
  void expect_refused(const Strings& more, int code, const Strings& parts) const {
    const Outcome outcome = generate(more);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    for (const std::string& part : parts) {
      EXPECT_NE(outcome.err.find(part), std::string::npos) << part << "\nin " << outcome.err;
    }
  }

  std::string write_prompts(int count) const {
    std::string text;
    for (int i = 0; i < count; ++i) {
      text += json{{"prompt", "prompt " + std::to_string(i * 37)}}.dump() + "\n";
    }
    return model_.folder().write("prompts.jsonl", text);
  }

  AnsweringBase model_;
};

TEST_F(GenerateJsonl, RowsOfEveryFormHaveTheAnswersOfTheSameText) {
  const auto& folder = model_.folder();
  const std::string txt = folder.write("p.txt", "one\r\n\n two\n\xc3\xa9\n");
  const std::string jsonl =
      folder.write("p.jsonl", "\"one\"\n{\"prompt\": \" two\", \"id\": 7}\n\"\\u00e9\"\n");
  const std::string from_txt = output_of({"--prompts", txt, "--max_new_tokens", "9", "--json"});
  const Outcome from_json = generate({"--prompts", jsonl, "--max_new_tokens", "9", "--json"});
  EXPECT_EQ(sorted_rows(from_txt), sorted_rows(from_json.out));
  EXPECT_NE(from_json.err.find("p.jsonl: columns not used: id"), std::string::npos);
  const std::vector<json> rows = rows_of(from_txt);
  ASSERT_EQ(rows.size(), 3u);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string text = std::vector<std::string>{"one", " two", "\xc3\xa9"}[i];
    EXPECT_EQ(output_of({"--prompt", text, "--max_new_tokens", "9"}),
              rows[i]["text"].get<std::string>() + "\n");
    EXPECT_EQ(rows[i]["index"], i);
    EXPECT_EQ(rows[i]["prompt_tokens"], text.size());
    EXPECT_EQ(rows[i]["tokens"], 9);
    EXPECT_EQ(rows[i]["finish"], "length");
  }
}

TEST_F(GenerateJsonl, RefusesRowsThatAreNoPrompts) {
  const auto& folder = model_.folder();
  const auto expect_row = [&](const std::string& row, const std::string& part) {
    const std::string path = folder.write("p.jsonl", "\"a\"\n" + row + "\n");
    expect_refused({"--prompts", path}, 1, {"p.jsonl:2", part});
  };
  expect_row("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "--messages takes");
  expect_row("{\"text\": \"a\"}", "expected a JSON string or an object {\"prompt\": \"...\"}");
  expect_row("{\"prompt\": 7}", "expected a JSON string");
  expect_row("{\"prompt\": \"a\"", "");
  expect_row("\"\"", " is empty");
  expect_row("\"" + std::string(5000, 'a') + "\"", "5000 tokens, more than the model's 4096");
  expect_refused({"--prompts", folder.write("p.csv", "a\n")}, 1, {"--prompts takes .txt"});
  expect_refused({"--prompts", folder.write("e.txt", "\n")}, 1, {"e.txt: the file is empty"});
  expect_refused({"--prompts", "p.txt", "--prompt", "a"}, 2, {"give one of --prompt TEXT"});
  expect_refused({"--prompt", "a", "--resume"}, 2, {"--resume needs --output FILE"});
  expect_refused({"--prompt", "a", "--stop", ""}, 2, {"--stop is empty"});
  expect_refused({"--prompt", "a", "--samples", "2"}, 2, {"--samples 2 needs a --temperature"});
}

TEST_F(GenerateJsonl, SamplesAreDrawsThatDependOnNothingBeside) {
  const std::string prompts = write_prompts(3);
  const auto rows = [&](const Strings& more) {
    Strings all = {"--prompts", prompts, "--max_new_tokens", "12", "--temperature", "1", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return sorted_rows(output_of(all));
  };
  const std::vector<json> three = rows({"--samples", "3"}), one = rows({});
  ASSERT_EQ(three.size(), 9u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(three[3 * i], one[i]);
    EXPECT_NE(three[3 * i]["text"], three[3 * i + 1]["text"]);
    EXPECT_NE(three[3 * i + 1]["text"], three[3 * i + 2]["text"]);
  }
  // The text alone, in the order of the prompts and their samples.
  const std::string texts = output_of(
      {"--prompts", prompts, "--max_new_tokens", "12", "--temperature", "1", "--samples", "3"});
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(rows_of(texts)[i], json({{"text", three[i]["text"]}}));
}

TEST_F(GenerateJsonl, AStopStringEndsTheAnswerBeforeIt) {
  const Strings prompt = {"--prompt", "abc", "--max_new_tokens", "40", "--temperature", "1"};
  const auto with = [&](Strings more) {
    more.insert(more.begin(), prompt.begin(), prompt.end());
    return output_of(more);
  };
  const std::string whole = with({});
  ASSERT_GT(whole.size(), 12u);
  // Two letters of ASCII somewhere in the noise: two tokens.
  size_t at = 4;
  const auto ascii = [&](size_t i) { return whole[i] > ' ' && whole[i] < 0x7f; };
  while (!(ascii(at) && ascii(at + 1))) ASSERT_LT(++at, whole.size() - 2) << whole;
  const std::string stop = whole.substr(at, 2);
  const std::string before = whole.substr(0, whole.find(stop));
  EXPECT_EQ(with({"--stop", stop}), before + "\n");
  EXPECT_EQ(with({"--stop", "no such text", "--stop", stop}), before + "\n");
  const std::vector<json> rows = rows_of(with({"--stop", stop, "--json"}));
  EXPECT_EQ(rows.at(0)["text"], before);
  EXPECT_EQ(rows.at(0)["finish"], "stop_string");
}

/// Options of a run long enough to be interrupted, and its rows without an interruption.
class InterruptedGenerate : public GenerateJsonl {
 protected:
  InterruptedGenerate()
      : options_({"--prompts", write_prompts(150), "--max_new_tokens", "60", "--temperature", "1",
                  "--samples", "2"}),
        path_(model_.folder().file("answers.jsonl")) {}

  Strings with(const Strings& more) const {
    Strings all = options_;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string straight() const {
    const std::string path = model_.folder().file("straight.jsonl");
    EXPECT_EQ(output_of(with({"--output", path})), "");
    return bytes_of_file(path);
  }
  /// Ends a run by the signal when some of its rows are there.
  Outcome interrupt(int signal) const {
    Program program(model_.arguments("generate", with({"--output", path_})));
    EXPECT_TRUE(program.wait_until([&] {
      return std::filesystem::exists(path_) && std::filesystem::file_size(path_) >= 1000;
    }));
    program.send(signal);
    return program.wait();
  }

  const Strings options_;
  const std::string path_;
};

TEST_F(InterruptedGenerate, GoesOnAfterBeingKilled) {
  const std::vector<json> expected = sorted_rows(straight());
  ASSERT_EQ(expected.size(), 300u);
  EXPECT_EQ(interrupt(SIGKILL).code, 128 + SIGKILL);
  const std::string kept = bytes_of_file(path_);
  ASSERT_LT(std::ranges::count(kept, '\n'), 300);
  expect_refused(with({"--output", path_}), 2, {"is there already; --resume goes on with it"});
  output_of(with({"--output", path_, "--resume"}));
  const std::string all = bytes_of_file(path_);
  EXPECT_TRUE(all.starts_with(kept.substr(0, kept.rfind('\n') + 1)));
  EXPECT_EQ(sorted_rows(all), expected);
  output_of(with({"--output", path_, "--resume"}));
  EXPECT_EQ(bytes_of_file(path_), all);
}

TEST_F(InterruptedGenerate, KeepsWhatIsFinishedWhenASignalStopsIt) {
  const Outcome stopped = interrupt(SIGINT);
  EXPECT_EQ(stopped.code, 3) << stopped.err;
  const auto lines = std::ranges::count(bytes_of_file(path_), '\n');
  EXPECT_NE(stopped.err.find(fmt::format("stopped by a signal; {} of 300 answers are in {}; the "
                                         "same command with --resume goes on",
                                         lines, path_)),
            std::string::npos)
      << stopped.err;
  output_of(with({"--output", path_, "--resume"}));
  EXPECT_EQ(sorted_rows(bytes_of_file(path_)), sorted_rows(straight()));
}

TEST_F(InterruptedGenerate, GoesOnFromALineThatWasCut) {
  const std::string whole = straight();
  for (const size_t cut : {size_t{1}, size_t{2}, size_t{30}, size_t{150}, whole.size() - 5}) {
    model_.folder().write("answers.jsonl", whole.substr(0, whole.size() - cut));
    output_of(with({"--output", path_, "--resume"}));
    EXPECT_EQ(sorted_rows(bytes_of_file(path_)), sorted_rows(whole)) << cut;
  }
}

TEST_F(GenerateJsonl, DoesNotGoOnWithAnswersOfAnotherRun) {
  const std::string prompts = write_prompts(3), path = model_.folder().file("answers.jsonl");
  const auto resume = [&](const Strings& more) {
    Strings all = {"--prompts", prompts, "--output", path, "--resume", "--max_new_tokens", "4"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  output_of(resume({}));
  const std::string whole = bytes_of_file(path);
  expect_refused(resume({"--temperature", "1"}), 2, {path, "other values of --temperature"});
  expect_refused(resume({"--stop", "x"}), 2, {path, "other values of "});
  expect_refused(resume({"--adapter", model_.adapter()}), 2, {path, "another base model, adapter"});
  expect_refused(resume({"--load_in_4bit", "true"}), 2, {path, "another base model"});
  model_.folder().write("prompts.jsonl", "\"prompt 0\"\n\"another\"\n\"prompt 74\"\n");
  expect_refused(resume({}), 2, {path, "answers another prompt than the one of index 1"});
  model_.folder().write("prompts.jsonl", "\"prompt 0\"\n");
  expect_refused(resume({}), 2, {path, "but there are 1 prompts"});
  EXPECT_EQ(bytes_of_file(path), whole);
  write_prompts(5);  // more of them are no other run
  output_of(resume({}));
  EXPECT_TRUE(bytes_of_file(path).starts_with(whole));
  EXPECT_EQ(sorted_rows(bytes_of_file(path)).size(), 5u);
}

}  // namespace
}  // namespace tessera::launch
