// What `data` says of the samples that a run will train on: its numbers against ones made by hand,
// the texts of tokens, and how it ends.
#include "launch/commands/data.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/program.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::expect_error;
using tessera::testing::kImEnd;
using tessera::testing::Outcome;
using tessera::testing::Program;
using tessera::testing::run_program;

/// A tokenized row: a token a byte, learned from the byte `learned` on.
std::string row(const std::string& text, size_t learned) {
  json ids = json::array(), labels = json::array();
  for (size_t i = 0; i < text.size(); ++i) {
    const int byte = static_cast<unsigned char>(text[i]);
    ids.push_back(byte);
    labels.push_back(i < learned ? Sample::kIgnore : byte);
  }
  return json{{"input_ids", ids}, {"labels", labels}}.dump() + "\n";
}

class DataCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    fs::current_path(folder_.path());
    tessera::testing::write_byte_tokenizer("base");
    folder_.write("a.jsonl", row("abcdefgh", 4) + row("ab\ncd", 3) +
                                 row("abcdefghijklmnopqrst", 0) + row("ab", 2));
    folder_.write("b.jsonl", row("abcdef", 0));
    folder_.write("t.jsonl", row("abc", 1));
    folder_.write("run.yml",
                  "base_model: base\n"
                  "datasets:\n"
                  "  - {path: a.jsonl, type: tokenized, weight: 2}\n"
                  "  - {path: b.jsonl, type: tokenized}\n"
                  "test_datasets: [{path: t.jsonl, type: tokenized}]\n"
                  "sequence_len: 16\n"
                  "shuffle: false\n"
                  "num_epochs: 2\n"
                  "threads: 1\n");
  }
  void TearDown() override { fs::current_path(before_); }

  DataOutput show(const DataOptions& options, const std::vector<std::string>& overrides = {}) {
    return show_data(load_config("run.yml", overrides), options, console_);
  }
  json shown(const std::vector<std::string>& overrides = {}, SampleChoice samples = {}) {
    return json::parse(show({.samples = samples, .json = true}, overrides).text);
  }

  tessera::testing::ScratchFolder folder_;
  fs::path before_;
  Console console_{/*speaks=*/false};
};

TEST_F(DataCommand, JsonHasTheNumbersOfTheRows) {
  const json root = shown({}, {.count = 0});
  const auto set = [](const char* path, bool evaluated, double weight) {
    return json{{"path", path},         {"type", "tokenized"},   {"evaluated", evaluated},
                {"weight", weight},     {"held_out", 0},         {"truncated", 0},
                {"cached_in", nullptr}, {"notes", json::array()}};
  };
  json a = set("a.jsonl", false, 2), b = set("b.jsonl", false, 1), t = set("t.jsonl", true, 1);
  a.update({{"rows", 4}, {"samples", 2}, {"tokens", 13}, {"learned", 6}});
  a.update({{"dropped_long", 1}, {"dropped_empty", 1}});
  b.update({{"rows", 1}, {"samples", 1}, {"tokens", 6}, {"learned", 5}});
  b.update({{"dropped_long", 0}, {"dropped_empty", 0}});
  t.update({{"rows", 1}, {"samples", 1}, {"tokens", 3}, {"learned", 2}});
  t.update({{"dropped_long", 0}, {"dropped_empty", 0}});
  EXPECT_EQ(root["datasets"], json({a, b, t}));
  EXPECT_EQ(root["lengths"], json::parse(R"({"samples": 3, "tokens": 19, "least": 5, "median": 6,
      "mean": 6.333333333333333, "p95": 8, "longest": 8, "bin_width": 1, "bins": [
      {"begin": 5, "end": 6, "samples": 1}, {"begin": 6, "end": 7, "samples": 1},
      {"begin": 7, "end": 8, "samples": 0}, {"begin": 8, "end": 9, "samples": 1}]})"));
  // Rows of 8 + 5, of 8 + 5 again, for the weight is 2, and of 6 tokens.
  EXPECT_EQ(root["run"], json::parse(R"({"steps": 6, "epochs": 2.0, "ranks": 1, "micro_batches": 1,
      "micro_batch_size": 1, "sequence_len": 16, "packing": true, "rows": 3,
      "filled": 0.6666666666666666,
      "samples_of_row": {"least": 1, "mean": 1.6666666666666667, "most": 2},
      "tokens_of_micro_batch": {"least": 6, "mean": 10.666666666666666, "most": 13},
      "largest_micro_batch": 13})"));
  EXPECT_EQ(root["lost"], json::parse(R"({"count": 2, "rows": [
      {"where": "a.jsonl:3", "why": "dropped: 20 tokens, sequence_len is 16"},
      {"where": "a.jsonl:4", "why": "dropped: no token to learn"}]})"));
  EXPECT_EQ(root["samples"], json::array());
}

TEST_F(DataCommand, CachedTokensGiveTheSame) {
  const json made = shown({"dataset_prepared_path=prepared"});
  const std::string file = made["datasets"][0]["cached_in"];
  EXPECT_TRUE(fs::path(file).parent_path().filename() == "prepared" && fs::exists(file)) << file;
  EXPECT_EQ(shown({"dataset_prepared_path=prepared"}), made);
  EXPECT_EQ(made["samples"], shown()["samples"]);
  EXPECT_EQ(made["lost"], shown()["lost"]);
}

TEST_F(DataCommand, RanksAndBatchesMakeTheSteps) {
  DataOptions options{.ranks = 2, .json = true};
  const json run =
      json::parse(show(options, {"sample_packing=false", "micro_batch_size=2"}).text)["run"];
  EXPECT_EQ(run["steps"], 4);  // 2 epochs of 5 rows, of which a step takes 4
  EXPECT_EQ(run["micro_batches"], 2);
  EXPECT_EQ(run["rows"], 5);
  EXPECT_EQ(run["tokens_of_micro_batch"],
            json::parse(R"({"least": 6, "mean": 10.666666666666666, "most": 13})"));
}

TEST_F(DataCommand, HeldOutSamplesAreCountedWithTheirSet) {
  for (const char* seed : {"seed=1", "seed=2", "seed=3", "seed=4"}) {
    const json root = shown({"val_set_size=1", seed}, {.count = 9});
    const json& sets = root["datasets"];
    EXPECT_EQ(sets[0]["samples"], 2);
    EXPECT_EQ(sets[1]["samples"], 1);
    EXPECT_EQ(sets[0]["held_out"].get<int>() + sets[1]["held_out"].get<int>(), 1);
    EXPECT_EQ(root["lengths"]["samples"], 2);
    for (const json& sample : root["samples"]) {
      EXPECT_EQ(sample["path"], sample["ids"].size() == 6 ? "b.jsonl" : "a.jsonl") << sample;
    }
  }
}

TEST_F(DataCommand, SamplesAreSpreadAndOfTheSeedAlone) {
  std::string rows;
  for (int i = 0; i < 100; ++i) rows += row(fmt::format("{:03}", i), 1);
  folder_.write("many.jsonl", rows);
  const auto numbers = [&](const std::string& seed) {
    std::vector<int64_t> out;
    const json root = shown({"datasets=[{path: many.jsonl, type: tokenized}]", seed}, {.count = 4});
    for (const json& sample : root["samples"]) {
      out.push_back(sample["number"]);
      EXPECT_EQ(
          sample["texts"].dump(),
          json(std::vector<std::string>{"0", std::string(1, char('0' + (out.back() - 1) / 10)),
                                        std::string(1, char('0' + (out.back() - 1) % 10))})
              .dump());
    }
    return out;
  };
  const std::vector<int64_t> first = numbers("seed=1");
  ASSERT_EQ(first.size(), 4u);
  for (int64_t k = 0; k < 4; ++k) EXPECT_EQ((first[size_t(k)] - 1) / 25, k);
  EXPECT_EQ(numbers("seed=1"), first);
  EXPECT_NE(numbers("seed=2"), first);
  EXPECT_EQ(shown({}, {.number = 2})["samples"][0]["ids"], json({97, 98, 10, 99, 100}));
  expect_error([&] { shown({}, {.number = 4}); }, "--sample 4", "from 1 to 3");
}

TEST_F(DataCommand, TextIsAPage) {
  DataOptions options{.samples = {.count = 9}};
  EXPECT_EQ(show(options).text,
            "data      a.jsonl: tokenized, weight 2\n"
            "          4 rows read, 2 samples\n"
            "          13 tokens, 6 learned (46.2 %)\n"
            "data      b.jsonl: tokenized\n"
            "          1 row read, 1 sample\n"
            "          6 tokens, 5 learned (83.3 %)\n"
            "data      t.jsonl: tokenized, evaluated on\n"
            "          1 row read, 1 sample\n"
            "          3 tokens, 2 learned (66.7 %)\n"
            "\n"
            "lengths   of 3 samples to train on, in tokens\n"
            "           5  1   33.3 %  ██████████████████████████████████████████████████████\n"
            "           6  1   33.3 %  ██████████████████████████████████████████████████████\n"
            "           7  0    0.0 %\n"
            "           8  1   33.3 %  ██████████████████████████████████████████████████████\n"
            "          16  ◂ sequence_len\n"
            "          least 5, median 6, mean 6.3, 95 % up to 8, longest 8\n"
            "\n"
            "run       6 steps of 1 x 1 row; 2 epochs\n"
            "          3 rows in an epoch, packed to 66.7 % of 16 tokens\n"
            "          1 to 2 samples in a row, 1.7 on average\n"
            "          6 to 13 tokens in a micro-batch, 10.7 on average\n"
            "\n"
            "lost      1 longer than sequence_len (dropped), 1 with nothing to learn\n"
            "            (dropped)\n"
            "          a.jsonl:3: dropped: 20 tokens, sequence_len is 16\n"
            "          a.jsonl:4: dropped: no token to learn\n"
            "\n"
            "samples   ⟦learned⟧\n"
            "\n"
            "sample 1 of a.jsonl: 8 tokens, 4 learned (50.0 %)\n"
            "  abcd⟦efgh⟧\n"
            "\n"
            "sample 2 of a.jsonl: 5 tokens, 2 learned (40.0 %)\n"
            "  ab↵\n"
            "  ⟦cd⟧\n"
            "\n"
            "sample 3 of b.jsonl: 6 tokens, 5 learned (83.3 %)\n"
            "  a⟦bcdef⟧\n");
  options.text = {.lost_rows = 1};
  const std::string more = "sequence_len is 16\n          1 more (--lost 2 names all)\n\n";
  EXPECT_NE(show(options).text.find(more), std::string::npos);
}

TEST_F(DataCommand, TokensAreALineEach) {
  folder_.write("b.jsonl",
                R"({"input_ids": [97, 195, 169, 258], "labels": [-100, -100, 169, 98]})");
  DataOptions options{.samples = {.number = 3}, .text = {.tokens = true}};
  const std::string text = show(options).text;
  EXPECT_EQ(text.substr(text.find("sample 3")),
            "sample 3 of b.jsonl: 4 tokens, 2 learned (50.0 %)\n"
            "   index       id  text                               predicts\n"
            "       0       97  \"a\"\n"
            "       1      195  ‹Ã›                                169 \"é\"\n"
            "       2      169  \"é\"                       learned  98 \"b\"\n"
            "       3      258  \"<|im_end|>\"              learned\n"
            "  ‹ ›: as the vocabulary spells it; the text comes with a later token\n");
}

TEST(DescribeTokens, CharactersStayWhole) {
  const tessera::testing::ScratchFolder folder;
  tessera::testing::write_byte_tokenizer(folder.path());
  const Tokenizer bytes = Tokenizer::load(folder.path());
  const auto texts = [](const std::vector<int32_t>& ids, const Tokenizer* tokenizer) {
    std::vector<std::string> out;
    for (const SampleToken& t : describe_tokens({ids, ids}, tokenizer)) out.push_back(t.text);
    return out;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(texts({0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80, kImEnd, 'a'}, &bytes),
            (Texts{"", "é", "", "", "", "😀", "<|im_end|>", "a"}));
  EXPECT_EQ(texts({'a', 0xff, 'b'}, &bytes), (Texts{"a", "\uFFFD", "b"}));
  EXPECT_EQ(texts({'a', 0xf0, 0x9f}, &bytes), (Texts{"a", "", "\uFFFD"}));
  EXPECT_EQ(texts({'a', 300}, &bytes), (Texts{"a", "⟨300⟩"}));  // no token has the id
  EXPECT_EQ(texts({5, 300}, nullptr), (Texts{"⟨5⟩", "⟨300⟩"}));

  // A decoder that waits for the end of a run of bytes.
  const Tokenizer fallback =
      Tokenizer::load(std::string(TESSERA_GOLDEN_DIR) + "/tokenizer/byte_fallback.json");
  const std::vector<int32_t> ids = fallback.encode("the 😀é the\n");
  const Texts found = texts(ids, &fallback);
  std::string all;
  for (const std::string& text : found) all += text;
  EXPECT_EQ(all, "the 😀é the\n");
  EXPECT_NE(std::ranges::find(found, "😀"), found.end());
  EXPECT_NE(std::ranges::find(found, "é"), found.end());
}

TEST_F(DataCommand, ThePageIsWrittenBesideTheText) {
  EXPECT_EQ(show({.html = "page.html"}).text, show({}).text);
  const std::string page = tessera::testing::bytes_of_file("page.html");
  EXPECT_NE(page.find("<h3>a.jsonl: tokenized, weight 2</h3>"), page.npos);
  EXPECT_TRUE(page.ends_with("</html>\n"));
}

TEST_F(DataCommand, ExitCodesAreOfTheProgram) {
  const Outcome plain = run_program({"data", "run.yml"});
  EXPECT_EQ(plain.code, 0) << plain.err;
  EXPECT_EQ(plain.out, show({}).text);
  EXPECT_EQ(plain.err, "");
  const Outcome failed = run_program({"data", "run.yml", "--fail-on-drop"});
  EXPECT_EQ(failed.code, 1);
  EXPECT_EQ(failed.out, plain.out);
  EXPECT_EQ(failed.err, "tessera: 2 rows are dropped or cut\n");
  EXPECT_EQ(run_program({"data", "run.yml", "--fail-on-drop", "datasets.0.path=b.jsonl"}).code, 0);
  EXPECT_EQ(run_program({"data", "run.yml", "--sample", "4"}).code, 2);
  EXPECT_EQ(run_program({"data", "run.yml", "--sample", "1", "--samples", "2"}).code, 2);
  folder_.write("bare.yml", "base_model: base\n");
  EXPECT_EQ(run_program({"data", "bare.yml"}).code, 2);
}

TEST_F(DataCommand, ColoursAreForATerminalOnly) {
  EXPECT_EQ(run_program({"data", "run.yml"}).out.find('\x1b'), std::string::npos);
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
  ASSERT_GE(master, 0);
  ASSERT_EQ(::grantpt(master) + ::unlockpt(master), 0);
  const std::string terminal = ::ptsname(master);
  const int kept_open = ::open(terminal.c_str(), O_RDWR | O_NOCTTY);
  for (const char* no_colour : {"", "1"}) {
    ::setenv("NO_COLOR", no_colour, 1);
    EXPECT_EQ(Program({"data", "run.yml", "--samples", "1"}, "", terminal).wait().code, 0);
    std::string out(1 << 16, '\0');
    out.resize(size_t(std::max<ssize_t>(0, ::read(master, out.data(), out.size()))));
    EXPECT_NE(out.find("sequence_len"), out.npos);
    EXPECT_EQ(out.find('\x1b') == out.npos, no_colour == std::string("1"));
  }
  ::unsetenv("NO_COLOR");
  ::close(kept_open);
  ::close(master);
}

}  // namespace
}  // namespace tessera::launch
